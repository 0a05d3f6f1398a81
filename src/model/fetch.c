/* A model of a registry: its entry, its directory, its files.
 *
 *   whole already and local ones preferred: nothing is asked of anybody (a start that needs no network)
 *   entry found -> kind right -> files there and their sums right? -> the missing ones fetched (part.c)
 *
 * One process at a time: the directory is locked, and who had to wait finds the files there. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>

struct fetch {
    const struct model_source *source;
    char *organisation, *full_id; /* ORGANISATION/NAME */
    char *directory, *files;
    json_t *entry;
    json_t *parts; /* [{urls, sha256}], owned */
    struct model_progress progress;
};

static void fetch_done(struct fetch *fetch) {
    free(fetch->organisation);
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

static struct error *read_id(struct fetch *fetch, const char *id) {
    struct span name = span_of(id), organisation = SPAN(MODEL_REGISTRY);
    if (memchr(name.data, '/', name.size)) organisation = span_cut(&name, '/');
    if (!is_name(name) || !is_name(organisation))
        return error_new(ERROR_INVALID_ARGUMENT,
                         "Invalid model id <%s>: it is neither NAME nor ORGANISATION/NAME, nor a directory",
                         id);
    fetch->organisation = span_string(organisation);
    fetch->full_id = mem_printf("%s/" SPAN_FORMAT, fetch->organisation, SPAN_ARGS(name));
    fetch->directory = path_join(fetch->source->models, fetch->full_id);
    fetch->files = path_join(fetch->directory, "ggml");
    return NULL;
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
    scoped_string char *name = layout_part_name(part, fetch->progress.parts);
    return path_join(fetch->files, name);
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
    TRY_PLAIN(part_hash(path, got));
    *ret_good = part_same_sum(expected, got);
    if (!*ret_good) tell(fetch, "Checksum doesn't match for <%s>, re-downloading...", fetch->full_id);
    return NULL;
}

static void on_progress(void *owner, uint64_t done_bytes, uint64_t total_bytes) {
    struct fetch *fetch = owner;
    fetch->progress.done_bytes = done_bytes;
    fetch->progress.total_bytes = total_bytes;
    if (fetch->source->progress) fetch->source->progress(fetch->source->owner, &fetch->progress);
}

static struct error *fetch_part(struct fetch *fetch, uint32_t number) {
    scoped_string char *path = part_path(fetch, number), *url = NULL;
    TRY_PLAIN(part_url(fetch, number, &url));
    fetch->progress.file = strrchr(path, '/') + 1;
    fetch->progress.part = number;
    struct part_fetch part = {
        .source = fetch->source,
        .url = url,
        .path = path,
        .name = fetch->progress.file,
        .sum = part_sum(fetch, number),
        .progress = on_progress,
        .owner = fetch,
    };
    return part_get(&part);
}

static struct error *write_metadata(const struct fetch *fetch) {
    scoped_string char *path = path_join(fetch->directory, "tabby.json");
    scoped_string char *content = json_dumps(fetch->entry, JSON_INDENT(2));
    return file_replace(path, span_of(content), 0644);
}

/* Waits for another process that fetches the same model. */
static struct error *lock(const struct fetch *fetch, int *ret_fd) {
    scoped_fd int fd = open(fetch->files, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return error_errno(errno, "open %s", fetch->files);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        tell(fetch, "Another process fetches <%s>; waiting for it", fetch->full_id);
        while (flock(fd, LOCK_EX) != 0)
            if (errno != EINTR) return error_errno(errno, "lock %s", fetch->files);
    }
    *ret_fd = take_fd(&fd);
    return NULL;
}

/* What lies here serves as it is: no registry is asked, so that a start costs no network. */
static bool is_whole(struct fetch *fetch) {
    migrate(fetch);
    scoped_string char *file = NULL;
    scoped(error) struct error *error = layout_first_file(fetch->files, &file);
    if (!error) error = layout_metadata(fetch->directory, &fetch->entry);
    return !error;
}

static struct error *fetch_all(struct fetch *fetch, bool prefer_local) {
    scoped_fd int locked = -1;
    TRY_PLAIN(dir_make(fetch->files, 0755));
    TRY_PLAIN(lock(fetch, &locked));
    migrate(fetch);
    TRY_PLAIN(write_metadata(fetch));
    for (uint32_t part = 1; part <= fetch->progress.parts; part++) {
        bool good;
        TRY_PLAIN(is_good(fetch, part, prefer_local, &good));
        if (!good) TRY_PLAIN(fetch_part(fetch, part));
    }
    layout_remove_others(fetch->files, fetch->progress.parts);
    return NULL;
}

static struct error *run(struct fetch *fetch, const char *id, enum model_kind kind, bool prefer_local) {
    TRY_PLAIN(read_id(fetch, id));
    if (prefer_local && is_whole(fetch)) return check_kind(fetch, kind, id);
    TRY_PLAIN(registry_find(fetch->source, fetch->organisation,
                            fetch->full_id + strlen(fetch->organisation) + 1, &fetch->entry));
    TRY_PLAIN(check_kind(fetch, kind, id));
    TRY_PLAIN(list_parts(fetch));
    return fetch_all(fetch, prefer_local);
}

struct error *model_fetch(const struct model_source *source, const char *id, enum model_kind kind,
                          bool prefer_local, char **ret_directory) {
    struct fetch fetch = {.source = source};
    struct error *error = run(&fetch, id, kind, prefer_local);
    if (!error) *ret_directory = mem_string(fetch.directory);
    fetch_done(&fetch);
    return error;
}
