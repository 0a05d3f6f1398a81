/* The gateway's limits as keys of the configuration file: how much a client may send, how slow it may be, and
 * how many there may be. Each has its bounds, so that a slip of the pen neither lets everybody in nor shuts
 * everybody out. */
#include "config.h"

#include "core.h"

#include <stddef.h>

#define DAY_MS (24 * 3600 * 1000)

static struct error *duration(const char *value, int64_t *ret_ms) {
    int64_t value_ms;
    TRY_PLAIN(core_duration_parse(value, &value_ms));
    if (value_ms < 1 || value_ms > DAY_MS)
        return error_new(ERROR_INVALID_ARGUMENT, "'%s' is out of range; from 1ms to 24h", value);
    *ret_ms = value_ms;
    return NULL;
}

static struct error *head_size(const char *value, size_t *ret_bytes) {
    uint64_t bytes;
    TRY_PLAIN(core_size_parse(value, &bytes));
    if (bytes < 1024 || bytes > 16 * 1024 * 1024)
        return error_new(ERROR_INVALID_ARGUMENT, "'%s' is out of range; from 1KiB to 16MiB", value);
    *ret_bytes = (size_t)bytes;
    return NULL;
}

static struct error *connections(const char *value, uint32_t *ret_count) {
    uint64_t count;
    if (!span_to_u64(span_of(value), &count) || count < 1 || count > 1000000)
        return error_new(ERROR_INVALID_ARGUMENT, "'%s': a whole number from 1 to 1000000 is expected", value);
    *ret_count = (uint32_t)count;
    return NULL;
}

struct error *config_limit_set(struct config *config, const char *key, const char *value, bool *ret_known) {
    const struct {
        const char *key;
        int64_t *ms;
    } durations[] = {
        {"head_timeout", &config->limits.head_timeout_ms},
        {"idle_timeout", &config->limits.idle_timeout_ms},
        {"body_timeout", &config->limits.body_timeout_ms},
        {"write_timeout", &config->limits.write_timeout_ms},
        {"comments_every", &config->comments_every_ms},
    };
    *ret_known = true;
    for (size_t i = 0; i < COUNT(durations); i++)
        if (strcmp(key, durations[i].key) == 0) return duration(value, durations[i].ms);
    if (strcmp(key, "head_size") == 0) return head_size(value, &config->limits.head_bytes);
    if (strcmp(key, "body_size") == 0) return core_size_parse(value, &config->body_bytes);
    if (strcmp(key, "connections_max") == 0) return connections(value, &config->limits.connections);
    *ret_known = false;
    return NULL;
}
