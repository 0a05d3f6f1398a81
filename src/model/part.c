/* One file of a model: fetched to NAME.tmp, checked, renamed; so a file without .tmp is whole.
 *
 * A .tmp of an earlier attempt or run is continued where a sum will tell whether it fits; without a sum it
 * begins anew. What fails its sum is removed: continued, it would fail for ever. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#define ATTEMPTS 3
#define PROGRESS_BYTES (1 << 20) /* an attempt that brought as much was none that failed */
#define HASH_BLOCK_BYTES (1u << 20)

struct error *part_hash(const char *path, char out[SHA256_HEX_SIZE]) {
    scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return error_errno(errno, "open %s", path);
    scoped(sha256) struct sha256 *sum = sha256_new();
    scoped_string char *block = mem_new(HASH_BLOCK_BYTES);
    ssize_t bytes;
    while ((bytes = read(fd, block, HASH_BLOCK_BYTES)) > 0) sha256_add(sum, block, (size_t)bytes);
    if (bytes < 0) return error_errno(errno, "read %s", path);
    sha256_hex(sum, out);
    return NULL;
}

bool part_same_sum(const char *a, const char *b) {
    return span_equal_nocase(span_of(a), span_of(b));
}

/* 0.1 s, then up to 10 s, a random share of it, so that many don't come back at the same moment. */
static void wait_before(uint32_t attempt) {
    uint16_t dice;
    random_bytes(&dice, sizeof dice);
    int64_t longest_ms = attempt == 1 ? 100 : 10000, wait_ms = longest_ms * dice / UINT16_MAX;
    struct timespec wait = {.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000};
    nanosleep(&wait, NULL);
}

static void tell(const struct part_fetch *part, const char *line) {
    if (part->source->told) part->source->told(part->source->owner, line);
}

static int64_t size_of(const char *path) {
    struct stat stat_;
    return stat(path, &stat_) == 0 ? stat_.st_size : 0;
}

static struct error *fetch_bytes(const struct part_fetch *part, const char *path) {
    for (uint32_t attempt = 1;; attempt++) {
        bool retry;
        struct get_file get = {
            .url = part->url, .path = path, .progress = part->progress, .owner = part->owner};
        int64_t before_bytes = size_of(path);
        struct error *error = get_file(&get, &retry);
        if (!error || !retry) return error;
        if (size_of(path) - before_bytes >= PROGRESS_BYTES) attempt = 1;
        if (attempt == ATTEMPTS) return error;
        scoped_string char *text = error_text(error);
        scoped_string char *line = mem_printf("%s; trying again", text);
        tell(part, line);
        error_free(error);
        wait_before(attempt);
    }
}

/* DATA_LOSS: the sum is another one, and the file is gone. */
static struct error *check_sum(const struct part_fetch *part, const char *path) {
    if (!part->sum) return NULL;
    char got[SHA256_HEX_SIZE];
    TRY_PLAIN(part_hash(path, got));
    if (part_same_sum(part->sum, got)) {
        tell(part, "✅ Checksum OK.");
        return NULL;
    }
    unlink(path);
    return error_new(ERROR_DATA_LOSS, "❌ Checksum verification failed for %s: expected %s, got %s",
                     part->name, part->sum, got);
}

/* A directory's fsync makes the rename survive a power cut. */
static void settle(const char *path) {
    const char *slash = strrchr(path, '/');
    scoped_string char *directory = mem_string_n(path, (size_t)(slash - path));
    scoped_fd int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && fsync(fd) != 0) log_warn("model", "%s can't be made durable", directory);
}

struct error *part_get(const struct part_fetch *part) {
    scoped_string char *partial = mem_printf("%s.tmp", part->path);
    if (!part->sum) unlink(partial);
    bool continued = size_of(partial) > 0;
    TRY_PLAIN(fetch_bytes(part, partial));
    struct error *error = check_sum(part, partial);
    if (error && error->code == ERROR_DATA_LOSS && continued) {
        error_free(error); /* what an earlier run left may have been of another version */
        tell(part, "What was fetched before is of another version; beginning anew");
        TRY_PLAIN(fetch_bytes(part, partial));
        error = check_sum(part, partial);
    }
    if (error) return error;
    if (rename(partial, part->path) != 0) return error_errno(errno, "rename %s", partial);
    settle(part->path);
    return NULL;
}
