/* Models by the name the user typed: a directory, or a model of a registry that is fetched when it is not
 * there.
 *
 * Also `tabby download`. Progress is one line that moves on a terminal, and a line every tenth elsewhere. */
#include "inside.h"

#include <stdio.h>
#include <stdlib.h>

struct teller {
    bool terminal;
    uint32_t part, tenth;
};

static void on_line(void *owner, const char *line) {
    (void)owner;
    printf("%s\n", line);
    fflush(stdout);
}

static void on_progress(void *owner, const struct model_progress *progress) {
    struct teller *teller = owner;
    uint64_t total = progress->total_bytes ? progress->total_bytes : progress->done_bytes + 1;
    uint32_t percent = (uint32_t)(100 * progress->done_bytes / total), tenth = percent / 10;
    bool whole = progress->done_bytes == progress->total_bytes;
    if (!teller->terminal && teller->part == progress->part && teller->tenth == tenth && !whole) return;
    teller->part = progress->part;
    teller->tenth = tenth;
    fprintf(stderr, "%sDownloading %s (%u of %u): %llu of %llu MB, %u %%%s", teller->terminal ? "\r" : "",
            progress->file, progress->part, progress->parts, (unsigned long long)(progress->done_bytes >> 20),
            (unsigned long long)(progress->total_bytes >> 20), percent,
            teller->terminal && !whole ? "\033[K" : "\n");
}

static struct error *fetch(const struct places *places, const char *id, enum model_kind kind,
                           bool prefer_local, char **ret_directory, bool *ret_stands_in) {
    struct teller teller = {.terminal = isatty(STDERR_FILENO)};
    struct model_source source = {
        .models = places->models,
        .registry_url = getenv("COPYCAT_REGISTRY_URL"),
        .download_host = getenv("TABBY_DOWNLOAD_HOST"),
        .host_override = getenv("TABBY_HUGGINGFACE_HOST_OVERRIDE"),
        .told = on_line,
        .progress = on_progress,
        .owner = &teller,
    };
    TRY_PLAIN(dir_make(places->models, 0755));
    struct error *error = model_fetch(&source, id, kind, prefer_local, ret_directory);
    *ret_stands_in = error && packaged_stands_in(error, id, ret_directory);
    if (!*ret_stands_in) return error;
    error_free(error);
    return NULL;
}

struct error *model_find(const struct places *places, const char *id, enum model_kind kind,
                         struct model **ret_model) {
    scoped_string char *directory = NULL;
    bool stands_in = false;
    if (file_exists(id)) {
        log_info("copycat", "Loading model from local path %s", id);
        directory = mem_string(id);
    } else if (packaged_is_noted(places, id, &directory)) {
        stands_in = true;
    } else {
        TRY(fetch(places, id, kind, true, &directory, &stands_in), "Failed to fetch model '%s'", id);
    }
    TRY_PLAIN(model_open(directory, id, ret_model));
    (*ret_model)->stands_in = stands_in;
    return NULL;
}

int download_run(const struct arguments *arguments) {
    struct places places;
    places_read(&places);
    scoped_string char *directory = NULL;
    struct error *error = dir_make(places.root, 0700);
    bool stands_in = false;
    if (!error)
        error =
            fetch(&places, arguments->model, MODEL_ANY, arguments->prefer_local_file, &directory, &stands_in);
    if (!error) error = packaged_note(&places, arguments->model, stands_in);
    places_done(&places);
    if (error) {
        scoped_string char *text = error_text(error);
        fprintf(stderr, "Failed to fetch model '%s' due to '%s'\n", arguments->model, text);
        error_free(error);
        return EXIT_FAILED;
    }
    printf("model '%s' is ready\n", arguments->model);
    return 0;
}
