/* A lab with a base image and a runner of the tests' own, which notes what it was asked and writes a file;
 * real containers are in tests/unit/node and tests/e2e. */
#pragma once
#include <dirent.h>
#include <fcntl.h>
#include <sys/xattr.h>

#include "lab.h"
#include "store.h"
#include "tar.h"

#define NEEDS_ROOT()                                                  \
    do {                                                              \
        if (geteuid() != 0) {                                         \
            print_message("skipped: owners and devices need root\n"); \
            skip();                                                   \
        }                                                             \
    } while (0)

/* ---- the runner ---- */

struct runner;
struct run {
    struct runner *runner;
    struct image_step_events events;
    void *owner;
    int exit_code;
    bool cancelled, held;
};
struct runner {
    struct lab *lab;
    struct image_runner seam;
    size_t runs;
    struct text argv, env; /* of the last one, words joined by '|' */
    char *workdir, *user;
    struct text mounts; /* "/to=content" of files, "/to/name=content" of directories' files */
    enum image_network network;
    struct run *held; /* a step whose text is `hold` ends when the test lets it */
};

static inline void join(struct text *text, const char *const *words) {
    text_clear(text);
    for (; *words; words++) text_printf(text, "%s%s", text->size ? "|" : "", *words);
}

static inline void on_run(void *owner) {
    struct run *run = owner;
    run->events.line(run->owner, SPAN("it ran"));
    run->events.done(run->owner, &(struct image_step_end){.exit_code = run->cancelled ? -1 : run->exit_code,
                                                          .signal = run->cancelled ? 9 : 0});
    free(run);
}

static inline void note_file(struct runner *runner, const char *path, const char *shown) {
    scoped_text struct text text = {0};
    scoped(error) struct error *error = file_read(path, 1 << 16, &text);
    text_printf(&runner->mounts, "%s=%s\n", shown, error ? "?" : text.data ? text.data : "");
}

static inline void note_mount(struct runner *runner, const struct image_mount *mount) {
    struct stat at;
    if (strncmp(mount->destination, "/.catnap", 8) == 0 || stat(mount->source, &at)) return;
    if (!S_ISDIR(at.st_mode)) note_file(runner, mount->source, mount->destination);
    DIR *directory = S_ISDIR(at.st_mode) ? opendir(mount->source) : NULL;
    if (directory)
        text_printf(&runner->mounts, "%s/ %s\n", mount->destination, mount->read_only ? "ro" : "rw");
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        scoped_string char *path = path_join(mount->source, entry->d_name),
                           *shown = path_join(mount->destination, entry->d_name);
        if (entry->d_name[0] != '.') note_file(runner, path, shown);
    }
    if (directory) closedir(directory);
}

static inline void *run_step(void *owner, const struct image_step *step,
                             const struct image_step_events *events, void *events_owner) {
    struct runner *runner = owner;
    struct run *run = NEW(struct run);
    *run = (struct run){.runner = runner, .events = *events, .owner = events_owner};
    join(&runner->argv, step->argv);
    join(&runner->env, step->env);
    free(runner->workdir), free(runner->user);
    runner->workdir = mem_string(step->workdir), runner->user = mem_string(step->user);
    runner->network = step->network;
    text_clear(&runner->mounts);
    for (size_t i = 0; i < step->mount_count; i++) note_mount(runner, &step->mounts[i]);
    scoped_string char *made = mem_printf("%s/u/ran-%zu", step->upper, ++runner->runs);
    lab_write(made, runner->argv.data);
    if (strstr(runner->argv.data, "fail")) run->exit_code = 3;
    run->held = strstr(runner->argv.data, "hold") != NULL;
    if (run->held)
        runner->held = run;
    else
        io_defer(runner->lab->loop, on_run, run);
    return run;
}

static inline void let_go(struct runner *runner) {
    io_defer(runner->lab->loop, on_run, take(runner->held));
}

static inline void cancel_step(void *owner, void *run_) {
    struct runner *runner = owner;
    struct run *run = run_;
    run->cancelled = true;
    if (runner->held == run) let_go(runner);
}

/* ---- a lab with a base image ---- */

struct site {
    struct lab *lab;
    struct runner runner;
    char *context;
};

static inline void import_tar(struct lab *lab, const char *name, const struct tar_entry *entries,
                              size_t count) {
    scoped_text struct text tar = {0};
    scoped_string char *path = lab_path(lab, "base.tar");
    for (size_t i = 0; i < count; i++) tar_add(&tar, &entries[i]);
    tar_end(&tar);
    assert_ok(file_replace(path, text_span(&tar), 0644));
    struct lab_job job = {.lab = lab};
    image_import(lab->store, name, path, &lab_events, &job);
    lab_await(lab, &job);
    assert_ok(take(job.error));
    lab_job_done(&job);
}

static inline struct site *site_new(void) {
    static const struct tar_entry base[] = {
        {.kind = '5', .name = "etc", .mode = 0755},
        {.kind = '0',
         .name = "etc/passwd",
         .content = "root:x:0:0::/root:/bin/sh\nworker:x:77:88::/:/bin/sh\n"},
        {.kind = '0', .name = "etc/group", .content = "root:x:0:\nstaff:x:50:\n"},
        {.kind = '5', .name = "usr", .mode = 0755},
        {.kind = '5', .name = "usr/lib", .mode = 0755},
        {.kind = '0', .name = "usr/lib/old", .content = "old"},
        {.kind = '2', .name = "lib", .target = "usr/lib"},
        {.kind = '5', .name = "private", .mode = 0700, .uid = 5, .gid = 6},
        {.kind = '2', .name = "abs", .target = "/private"},
    };
    struct site *site = NEW(struct site);
    site->lab = lab_new();
    site->runner.lab = site->lab;
    site->runner.seam = (struct image_runner){.owner = &site->runner, .run = run_step, .cancel = cancel_step};
    site->lab->options.runner = &site->runner.seam;
    lab_open(site->lab);
    site->context = lab_path(site->lab, "context");
    assert_ok(dir_make(site->context, 0755));
    import_tar(site->lab, "base", base, COUNT(base));
    return site;
}

static inline void site_free(struct site *site) {
    text_done(&site->runner.argv), text_done(&site->runner.env), text_done(&site->runner.mounts);
    free(site->runner.workdir), free(site->runner.user), free(site->context);
    lab_free(site->lab);
    free(site);
}

static inline void put(struct site *site, const char *name, const char *content) {
    scoped_string char *path = path_join(site->context, name);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    assert_ok(dir_make(path, 0755));
    *slash = '/';
    lab_write(path, content);
}

static inline struct image_build commands(const struct site *site, const char *text) {
    return (struct image_build){.commands = text, .context = {.directory = site->context}};
}

/* Runs it to its end; the job holds lines, error and id. */
static inline void build(struct site *site, const struct image_build *options, struct lab_job *job) {
    *job = (struct lab_job){.lab = site->lab};
    image_build(site->lab->store, options, &lab_events, job);
    lab_await(site->lab, job);
}

static inline char *built(struct site *site, const char *text) {
    struct lab_job job;
    const struct image_build options = commands(site, text);
    build(site, &options, &job);
    if (job.error) fail_msg("%s: %s", text, error_text(job.error));
    char *id = mem_string(job.id);
    lab_job_done(&job);
    return id;
}

static inline void refused(struct site *site, const char *text, const char *needle) {
    struct lab_job job;
    const struct image_build options = commands(site, text);
    build(site, &options, &job);
    scoped_string char *said = job.error ? error_text(job.error) : mem_string("no error");
    if (!strstr(said, needle)) fail_msg("%s: '%s' instead of '%s'", text, said, needle);
    lab_job_done(&job);
}

/* The layers of an image, top first, as `sha256:ID` resolves. */
static inline struct image_layers layers_of(struct site *site, const char *id) {
    struct image_layers layers;
    scoped_string char *name = mem_printf("sha256:%s", id);
    assert_ok(image_resolve(site->lab->store, name, &layers));
    return layers;
}

static inline bool top_has(struct site *site, const char *id, const char *path, struct stat *ret_at) {
    struct image_layers layers = layers_of(site, id);
    scoped_string char *whole = path_join(layers.layer[0], path);
    image_layers_done(&layers);
    return lstat(whole, ret_at) == 0;
}

static inline char *top_content(struct site *site, const char *id, const char *path) {
    struct image_layers layers = layers_of(site, id);
    scoped_string char *whole = path_join(layers.layer[0], path);
    image_layers_done(&layers);
    struct text text = {0};
    scoped(error) struct error *error = file_read(whole, 1 << 20, &text);
    return error ? mem_string("(absent)") : text_take(&text);
}
