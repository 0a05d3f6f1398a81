/* runtime: jobs that fetch by pip, one at a time for each name, their result renamed into place when it is
 * whole.
 *
 *   client mount:  modal==VERSION, then the synchronicity that it asks for          -> /pkg
 *   dependencies:  the list in the client's own package, for the image's Python     -> /__modal/deps
 *   python:        a relocatable CPython from `pythons`, or what uv gets            -> /python */
#include "inside.h"

#include "runtime.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define CLIENT "modal-client-mount-"
#define PYTHON "python-build-standalone."
#define DEPS "client-deps-"
#define FETCH_MS (10 * 60 * 1000)
#define WORDS_MAX 24
#define RELEASE_WITH_LINK 20241008

struct waiter {
    struct list node;
    void (*done)(void *owner, const char *directory, struct error *error);
    void *owner;
};
struct job {
    struct list node;
    struct modal *modal;
    char *name, *directory, *fresh; /* where it will be, where it is made */
    struct io_child *child;
    struct list waiters;
    int step;
};

static bool named(const char *name, const char *prefix) {
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* A version or a release: nothing that could lead out of the directory or into a command's options. */
static bool word_good(const char *word) {
    return *word && strspn(word, "0123456789abcdefghijklmnopqrstuvwxyz.-_+") == strlen(word) &&
           word[0] != '-' && word[0] != '.' && !strstr(word, "..");
}

char *runtime_path(const struct modal *modal, const char *name) {
    return mem_printf("%s/modal/runtime/%s", modal->state_dir, name);
}

char *runtime_deps_name(const char *client_version, const char *builder, const char *python) {
    return mem_printf(DEPS "%s-%s-%s", client_version, builder, python);
}

static void job_free(struct job *job) {
    list_remove(&job->node);
    io_child_free(job->child);
    free(job->name);
    free(job->directory);
    free(job->fresh);
    free(job);
}

static void finish(struct job *job, struct error *error) {
    if (!error && rename(job->fresh, job->directory) && errno != EEXIST && errno != ENOTEMPTY)
        error = error_errno(errno, "%s", job->directory);
    error_free(tree_remove(job->fresh));
    if (error) error = error_wrap(error, "%s", job->name);
    while (!list_empty(&job->waiters)) {
        struct waiter *waiter = CONTAINER_OF(job->waiters.next, struct waiter, node);
        list_remove(&waiter->node);
        waiter->done(waiter->owner, job->directory, error_copy(error));
        free(waiter);
    }
    error_free(error);
    job_free(job);
}

static void step(struct job *job);

static void on_child(void *owner, struct io_child_end *end) {
    struct job *job = owner;
    job->child = NULL;
    struct error *error = end->error;
    if (!error && end->exit_code != 0) {
        struct span said = span_trim(end->output);
        if (said.size > 1500) said = (struct span){said.data + said.size - 1500, 1500};
        error =
            error_new(ERROR_FAILED_PRECONDITION, "it could not be fetched: " SPAN_FORMAT, SPAN_ARGS(said));
    }
    if (error)
        finish(job, error);
    else
        step(job);
}

static void run(struct job *job, const char *const *argv) {
    job->child = io_child_start(job->modal->loop, &(struct io_child_options){.argv = argv,
                                                                             .stdin_fd = -1,
                                                                             .stdout_fd = -1,
                                                                             .stderr_fd = -1,
                                                                             .deadline_ms = FETCH_MS,
                                                                             .done = on_child,
                                                                             .owner = job});
}

static void pip(struct job *job, const char *below, const char *const *more) {
    scoped_string char *target = path_join(job->fresh, below);
    const char *argv[WORDS_MAX] = {"python3",
                                   "-m",
                                   "pip",
                                   "install",
                                   "--quiet",
                                   "--disable-pip-version-check",
                                   "--root-user-action=ignore",
                                   "--no-deps",
                                   "--no-compile",
                                   "--target",
                                   target};
    size_t count = 11;
    for (size_t i = 0; more[i] && count + 1 < COUNT(argv); i++) argv[count++] = more[i];
    run(job, argv);
}

/* ---- the client's package ---- */

/* "Requires-Dist: synchronicity (~=0.6.7)" or "synchronicity~=0.12.7". */
static char *requirement_of(const char *metadata_path, const char *wanted) {
    scoped_text struct text text = {0};
    scoped(error) struct error *error = file_read(metadata_path, 1 << 20, &text);
    struct span rest = error ? (struct span){0} : text_span(&text);
    while (rest.data) {
        struct span line = span_cut(&rest, '\n');
        if (!span_starts(line, "Requires-Dist: ")) continue;
        line = (struct span){line.data + 15, line.size - 15};
        if (!span_starts(line, wanted)) continue;
        struct span requirement = span_cut(&line, ';');
        scoped_text struct text plain = {0};
        for (size_t i = 0; i < requirement.size; i++)
            if (!strchr(" ()\r", requirement.data[i])) text_add_char(&plain, requirement.data[i]);
        return text_take(&plain);
    }
    return mem_string(wanted);
}

static void client_step(struct job *job) {
    const char *version = job->name + strlen(CLIENT);
    if (job->step == 1) {
        scoped_string char *wanted = mem_printf("modal==%s", version);
        pip(job, "pkg", (const char *const[]){wanted, NULL});
    } else if (job->step == 2) {
        scoped_string char *metadata = mem_printf("%s/pkg/modal-%s.dist-info/METADATA", job->fresh, version);
        scoped_string char *wanted = requirement_of(metadata, "synchronicity");
        pip(job, "pkg", (const char *const[]){"--upgrade", wanted, NULL});
    } else {
        finish(job, NULL);
    }
}

/* ---- what it imports ---- */

/* The list pins what was there when the client was released; a certificate bundle that is served no longer
 * gives way to the newest. */
static struct error *list_copy(const char *from, const char *to) {
    scoped_text struct text text = {0}, relaxed = {0};
    TRY_PLAIN(file_read(from, 1 << 20, &text));
    struct span rest = text_span(&text);
    while (rest.data) {
        struct span line = span_cut(&rest, '\n');
        text_add(&relaxed, span_starts(line, "certifi==") ? SPAN("certifi") : line);
        text_add_char(&relaxed, '\n');
    }
    return file_replace(to, text_span(&relaxed), 0644);
}

static struct error *deps_prepare(struct job *job, char **ret_list, char **ret_python) {
    struct span rest = span_of(job->name + strlen(DEPS));
    struct span version = span_cut(&rest, '-'), builder = span_cut(&rest, '-');
    scoped_string char *client = mem_printf(CLIENT SPAN_FORMAT, SPAN_ARGS(version));
    scoped_string char *package = runtime_path(job->modal, client);
    scoped_string char *newer =
        mem_printf("%s/pkg/modal/builder/" SPAN_FORMAT ".txt", package, SPAN_ARGS(builder));
    scoped_string char *older =
        mem_printf("%s/pkg/modal/requirements/" SPAN_FORMAT ".txt", package, SPAN_ARGS(builder));
    const char *list = file_exists(newer) ? newer : older;
    if (!file_exists(list))
        return error_new(ERROR_FAILED_PRECONDITION,
                         "the client " SPAN_FORMAT " has no list for the builder " SPAN_FORMAT,
                         SPAN_ARGS(version), SPAN_ARGS(builder));
    *ret_list = mem_printf("%s/requirements.txt", job->fresh);
    *ret_python = mem_printf("%.1s.%s", rest.data, rest.data + 1);
    return list_copy(list, *ret_list);
}

static void deps_fetch(struct job *job) {
    scoped_string char *list = NULL, *python = NULL;
    struct error *error = deps_prepare(job, &list, &python);
    if (error) {
        finish(job, error);
        return;
    }
    pip(job, "__modal/deps",
        (const char *const[]){"--implementation", "cp", "--python-version", python, "--platform",
                              "manylinux_2_17_x86_64", "--platform", "manylinux2014_x86_64", "-r", list,
                              NULL});
}

static void deps_step(struct job *job) {
    if (job->step == 1) {
        deps_fetch(job);
        return;
    }
    scoped_string char *directory = path_join(job->fresh, "pkg"),
                       *path = path_join(directory, "sitecustomize.py");
    struct error *error = dir_make(directory, 0755);
    if (!error) error = file_replace(path, SPAN("import sys\n\nsys.path.append(\"/__modal/deps\")\n"), 0644);
    finish(job, error);
}

/* ---- a Python ---- */

static void python_step(struct job *job) {
    struct span rest = span_of(job->name + strlen(PYTHON));
    uint64_t release = 0;
    (void)span_to_u64(span_cut(&rest, '.'), &release);
    if (job->step > 1) {
        /* Older releases had no such link: their images make it, and fail where it is there. */
        scoped_string char *plain = mem_printf("%s/python/bin/python", job->fresh);
        if (release < RELEASE_WITH_LINK) (void)unlink(plain);
        finish(job, NULL);
        return;
    }
    struct span major = span_cut(&rest, '.'), minor = span_cut(&rest, '.');
    scoped_string char *version = mem_printf(SPAN_FORMAT "." SPAN_FORMAT, SPAN_ARGS(major), SPAN_ARGS(minor));
    scoped_string char *from = job->modal->pythons ? path_join(job->modal->pythons, version) : NULL;
    scoped_string char *to = path_join(job->fresh, "python");
    if (from && file_exists(from)) {
        scoped_string char *all = path_join(from, ".");
        run(job, (const char *const[]){"cp", "-a", "--reflink=auto", all, to, NULL});
        return;
    }
    /* uv puts it into a directory named after the build: that directory is what is wanted. */
    scoped_string char *script =
        mem_printf("command -v uv >/dev/null || { echo 'a Python %s to add is neither below `pythons` of the "
                   "configuration nor can uv be asked for one (it is not installed)'; exit 1; }\n"
                   "uv python install --install-dir \"$1/uv\" %s && mv \"$1\"/uv/cpython-*/ \"$1/python\" && "
                   "rm -rf \"$1/uv\"",
                   version, version);
    run(job, (const char *const[]){"sh", "-c", script, "sh", job->fresh, NULL});
}

/* ---- jobs ---- */

static void step(struct job *job) {
    job->step++;
    if (named(job->name, CLIENT))
        client_step(job);
    else if (named(job->name, DEPS))
        deps_step(job);
    else
        python_step(job);
}

static struct job *job_start(struct modal *modal, const char *name, const char *directory) {
    struct job *job = NEW(struct job);
    scoped_string char *id = random_id("t");
    job->modal = modal;
    job->name = mem_string(name);
    job->directory = mem_string(directory);
    job->fresh = mem_printf("%s.%s", directory, id);
    list_init(&job->waiters);
    list_append(&modal->runtime_jobs, &job->node);
    return job;
}

void runtime_mount(struct modal *modal, const char *name,
                   void (*done)(void *owner, const char *directory, struct error *error), void *owner) {
    bool known = named(name, CLIENT) || named(name, PYTHON) || named(name, DEPS);
    scoped_string char *directory = runtime_path(modal, name);
    if (!known || !word_good(name)) {
        done(owner, NULL, error_new(ERROR_NOT_FOUND, "there is no mount '%.100s'", name));
        return;
    }
    if (file_exists(directory)) {
        done(owner, directory, NULL);
        return;
    }
    struct job *job = NULL;
    LIST_EACH(node, &modal->runtime_jobs) {
        struct job *other = CONTAINER_OF(node, struct job, node);
        if (strcmp(other->name, name) == 0) job = other;
    }
    struct waiter *waiter = NEW(struct waiter);
    waiter->done = done;
    waiter->owner = owner;
    if (job) {
        list_append(&job->waiters, &waiter->node);
        return;
    }
    log_info("modal", "%s is fetched (once)", name);
    job = job_start(modal, name, directory);
    list_append(&job->waiters, &waiter->node);
    struct error *error = dir_make(job->fresh, 0755);
    if (error)
        finish(job, error);
    else
        step(job);
}

void runtime_free(struct modal *modal) {
    LIST_EACH_SAFE(node, next, &modal->runtime_jobs) {
        struct job *job = CONTAINER_OF(node, struct job, node);
        io_child_free(take(job->child));
        finish(job, error_new(ERROR_UNAVAILABLE, "catnap is ending"));
    }
}
