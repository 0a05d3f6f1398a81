/* A model of a registry: its entry, its directory, its files.
 *
 *   entry found -> kind right -> files there? (sums checked, unless local ones are preferred) -> the missing
 * ones fetched A file is fetched to NAME.tmp, checked and renamed, so a file without .tmp is whole. A .tmp of
 * an earlier run is continued where a sum will tell whether it fits; without a sum it begins anew. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#define ATTEMPTS 3
#define HASH_BLOCK_BYTES (1u << 20)
#define PARTS_MAX 999

struct fetch {
    const struct model_source *source;
    char *full_id; /* ORGANISATION/NAME */
    char *directory, *files;
    json_t *entry;
    json_t *parts; /* [{urls, sha256}], owned */
    struct model_progress progress;
};

static void fetch_done(struct fetch *fetch) {
    free(fetch->full_id);
    free(fetch->directory);
    free(fetch->files);
    json_decref(fetch->entry);
    json_decref(fetch->parts);
}

static void tell(const struct fetch *fetch, const char *format, ...) printf_like(2, 3);
static void tell(const struct fetch *fetch, const char *format, ...) {
    if (!fetch->source->told) return;
    va_list args;
    va_start(args, format);
    scoped_string char *line = mem_vprintf(format, args);
    va_end(args);
    fetch->source->told(fetch->source->owner, line);
}

static bool is_name(struct span name) {
    if (name.size == 0 || name.size > 128 || name.data[0] == '.') return false;
    for (size_t i = 0; i < name.size; i++)
        if (!memchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", name.data[i], 65))
            return false;
    return true;
}

static struct error *find_entry(struct fetch *fetch, const char *id) {
    struct span name = span_of(id), organisation = SPAN(MODEL_REGISTRY);
    if (memchr(name.data, '/', name.size)) organisation = span_cut(&name, '/');
    if (!is_name(name) || !is_name(organisation))
        return error_new(ERROR_INVALID_ARGUMENT,
                         "Invalid model id <%s>: it is neither NAME nor ORGANISATION/NAME, nor a directory",
                         id);
    scoped_string char *part = span_string(organisation);
    fetch->full_id = mem_printf("%s/" SPAN_FORMAT, part, SPAN_ARGS(name));
    fetch->directory = path_join(fetch->source->models, fetch->full_id);
    fetch->files = path_join(fetch->directory, "ggml");
    return registry_find(fetch->source, part, fetch->full_id + organisation.size + 1, &fetch->entry);
}

static struct error *check_kind(const struct fetch *fetch, enum model_kind kind, const char *id) {
    bool completes = json_is_string(json_object_get(fetch->entry, "prompt_template"));
    bool chats = json_is_string(json_object_get(fetch->entry, "chat_template"));
    if (kind == MODEL_COMPLETION && !completes)
        return error_new(ERROR_INVALID_ARGUMENT,
                         "Model '%s' is not a completion model; it does not have a prompt template.", id);
    if (kind == MODEL_CHAT && !chats)
        return error_new(ERROR_INVALID_ARGUMENT,
                         "Model '%s' is not a chat model, it does not have a chat template", id);
    return NULL;
}

static struct error *list_parts(struct fetch *fetch) {
    const json_t *urls = json_object_get(fetch->entry, "urls"),
                 *parts = json_object_get(fetch->entry, "partition_urls");
    if (json_array_size(urls) > 0) {
        json_t *sum = json_object_get(fetch->entry, "sha256");
        fetch->parts = json_pack("[{s:O,s:O}]", "urls", urls, "sha256", sum ? sum : json_null());
    } else if (json_array_size(parts) > 0 && json_array_size(parts) <= PARTS_MAX) {
        fetch->parts = json_incref((json_t *)parts);
    }
    if (!fetch->parts)
        return error_new(ERROR_INVALID_ARGUMENT, "No download URLs available for <%s>", fetch->full_id);
    fetch->progress.parts = (uint32_t)json_array_size(fetch->parts);
    return NULL;
}

static char *part_path(const struct fetch *fetch, uint32_t part) {
    return mem_printf("%s/model-%05u-of-%05u.gguf", fetch->files, part, fetch->progress.parts);
}

static const char *part_sum(const struct fetch *fetch, uint32_t part) {
    const char *sum = json_string_value(json_object_get(json_array_get(fetch->parts, part - 1), "sha256"));
    return sum && *sum ? sum : NULL;
}

static struct error *part_url(const struct fetch *fetch, uint32_t part, char **ret_url) {
    const char *host = fetch->source->download_host ? fetch->source->download_host : "huggingface.co";
    const json_t *urls = json_object_get(json_array_get(fetch->parts, part - 1), "urls"), *value;
    size_t i;
    json_array_foreach(urls, i, value) {
        const char *url = json_string_value(value), *at;
        if (!url || !strstr(url, host)) continue;
        if (fetch->source->host_override && (at = strstr(url, "huggingface.co")))
            *ret_url = mem_printf("%.*s%s%s", (int)(at - url), url, fetch->source->host_override,
                                  at + strlen("huggingface.co"));
        else
            *ret_url = mem_string(url);
        return NULL;
    }
    return error_new(ERROR_INVALID_ARGUMENT, "No download URLs available for <%s>", fetch->full_id);
}

static struct error *hash(const char *path, char out[SHA256_HEX_SIZE]) {
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

static bool same_sum(const char *a, const char *b) {
    return span_equal_nocase(span_of(a), span_of(b));
}

/* Older trees have one file of another name. */
static void migrate(const struct fetch *fetch) {
    scoped_string char *old = path_join(fetch->files, "model.gguf");
    scoped_string char *now = path_join(fetch->files, "model-00001-of-00001.gguf");
    if (file_exists(old) && !file_exists(now) && rename(old, now) != 0)
        log_warn("model", "%s can't be renamed", old);
}

static struct error *is_good(const struct fetch *fetch, uint32_t part, bool prefer_local, bool *ret_good) {
    scoped_string char *path = part_path(fetch, part);
    const char *expected = part_sum(fetch, part);
    *ret_good = file_exists(path);
    if (!*ret_good || prefer_local || !expected) return NULL;
    tell(fetch, "Checking model integrity..");
    char got[SHA256_HEX_SIZE];
    TRY_PLAIN(hash(path, got));
    *ret_good = same_sum(expected, got);
    if (!*ret_good) tell(fetch, "Checksum doesn't match for <%s>, re-downloading...", fetch->full_id);
    return NULL;
}

static void on_progress(void *owner, uint64_t done_bytes, uint64_t total_bytes) {
    struct fetch *fetch = owner;
    fetch->progress.done_bytes = done_bytes;
    fetch->progress.total_bytes = total_bytes;
    if (fetch->source->progress) fetch->source->progress(fetch->source->owner, &fetch->progress);
}

/* 0.1 s, then up to 10 s, a random share of it, so that many don't come back at the same moment. */
static void wait_before(uint32_t attempt) {
    uint16_t dice;
    random_bytes(&dice, sizeof dice);
    int64_t longest_ms = attempt == 1 ? 100 : 10000, wait_ms = longest_ms * dice / UINT16_MAX;
    struct timespec wait = {.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000};
    nanosleep(&wait, NULL);
}

static struct error *fetch_bytes(struct fetch *fetch, const char *url, const char *path) {
    for (uint32_t attempt = 1;; attempt++) {
        bool retry;
        struct get_file get = {.url = url, .path = path, .progress = on_progress, .owner = fetch};
        struct error *error = get_file(&get, &retry);
        if (!error || !retry || attempt == ATTEMPTS) return error;
        scoped_string char *text = error_text(error);
        tell(fetch, "%s; trying again", text);
        error_free(error);
        wait_before(attempt);
    }
}

static struct error *check_sum(const struct fetch *fetch, const char *name, const char *path,
                               const char *expected) {
    if (!expected) return NULL;
    char got[SHA256_HEX_SIZE];
    TRY_PLAIN(hash(path, got));
    if (same_sum(expected, got)) {
        tell(fetch, "✅ Checksum OK.");
        return NULL;
    }
    return error_new(ERROR_DATA_LOSS, "❌ Checksum verification failed for %s: expected %s, got %s", name,
                     expected, got);
}

static struct error *fetch_part(struct fetch *fetch, uint32_t part) {
    scoped_string char *path = part_path(fetch, part), *partial = mem_printf("%s.tmp", path), *url = NULL;
    const char *expected = part_sum(fetch, part), *name = strrchr(path, '/') + 1;
    TRY_PLAIN(part_url(fetch, part, &url));
    if (!expected) unlink(partial);
    struct stat before = {0};
    bool continued = stat(partial, &before) == 0 && before.st_size > 0;
    fetch->progress.file = name;
    fetch->progress.part = part;
    TRY_PLAIN(fetch_bytes(fetch, url, partial));
    struct error *error = check_sum(fetch, name, partial, expected);
    if (error && error->code == ERROR_DATA_LOSS) {
        unlink(partial); /* or it would be continued, and fail, for ever */
        if (continued) { /* what an earlier run left may have been of another version */
            error_free(error);
            TRY_PLAIN(fetch_bytes(fetch, url, partial));
            error = check_sum(fetch, name, partial, expected);
            if (error) unlink(partial);
        }
    }
    if (error) return error;
    if (rename(partial, path) != 0) return error_errno(errno, "rename %s", partial);
    return NULL;
}

static struct error *write_metadata(const struct fetch *fetch) {
    scoped_string char *path = path_join(fetch->directory, "tabby.json");
    scoped_string char *content = json_dumps(fetch->entry, JSON_INDENT(2));
    return file_replace(path, span_of(content), 0644);
}

static struct error *run(struct fetch *fetch, const char *id, enum model_kind kind, bool prefer_local) {
    TRY_PLAIN(find_entry(fetch, id));
    TRY_PLAIN(check_kind(fetch, kind, id));
    TRY_PLAIN(list_parts(fetch));
    TRY_PLAIN(dir_make(fetch->files, 0755));
    migrate(fetch);
    TRY_PLAIN(write_metadata(fetch));
    for (uint32_t part = 1; part <= fetch->progress.parts; part++) {
        bool good;
        TRY_PLAIN(is_good(fetch, part, prefer_local, &good));
        if (!good) TRY_PLAIN(fetch_part(fetch, part));
    }
    return NULL;
}

struct error *model_fetch(const struct model_source *source, const char *id, enum model_kind kind,
                          bool prefer_local, char **ret_directory) {
    struct fetch fetch = {.source = source};
    struct error *error = run(&fetch, id, kind, prefer_local);
    if (!error) *ret_directory = mem_string(fetch.directory);
    fetch_done(&fetch);
    return error;
}
