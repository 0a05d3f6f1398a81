/* A store of images for tests: its directory, a loop, and waiting for jobs with a deadline. */
#pragma once
#include <sys/stat.h>

#include "image.h"
#include "test.h"

enum { LAB_PATIENCE_MS = 60000 };

struct lab {
    struct io_loop *loop;
    struct io_timer *deadline;
    char *dir;
    struct image_store *store;
    struct image_options options;
    bool timed_out;
};
struct lab_job { /* what a job told */
    struct lab *lab;
    bool done;
    struct error *error;
    char id[SHA256_HEX_SIZE];
    struct text lines;
};

static inline void lab_on_deadline(void *owner) {
    struct lab *lab = owner;
    lab->timed_out = true;
    io_loop_stop(lab->loop);
}

static inline void lab_open(struct lab *lab) {
    scoped_string char *dir = path_join(lab->dir, "images");
    lab->options.loop = lab->loop;
    lab->options.dir = dir;
    assert_ok(image_store_open(&lab->options, &lab->store));
}

static inline struct lab *lab_new(void) {
    struct lab *lab = NEW(struct lab);
    scoped_string char *id = random_id("catnap-test");
    const char *tmp = getenv("TMPDIR");
    lab->dir = mem_printf("%s/%s", tmp ? tmp : "/tmp", id);
    assert_ok(dir_make(lab->dir, 0755));
    lab->loop = io_loop_new();
    lab->deadline = io_timer_new(lab->loop, lab_on_deadline, lab);
    return lab;
}

static inline void lab_close(struct lab *lab) {
    image_store_free(take(lab->store));
    io_loop_run(lab->loop); /* what is still being cleared away */
}

static inline void lab_free(struct lab *lab) {
    lab_close(lab);
    io_timer_free(lab->deadline);
    io_loop_free(lab->loop);
    assert_ok(tree_remove(lab->dir));
    free(lab->dir);
    free(lab);
}

static inline void lab_on_line(void *owner, struct span text) {
    struct lab_job *job = owner;
    text_add(&job->lines, text);
    text_add_char(&job->lines, '\n');
    io_loop_stop(job->lab->loop);
}

static inline void lab_on_done(void *owner, struct error *error, const struct image *image) {
    struct lab_job *job = owner;
    job->done = true;
    job->error = error;
    if (image) snprintf(job->id, sizeof job->id, "%s", image->id);
    io_loop_stop(job->lab->loop);
}
static const struct image_events lab_events = {lab_on_line, lab_on_done};

static inline void lab_await(struct lab *lab, struct lab_job *job) {
    lab->timed_out = false;
    io_timer_arm(lab->deadline, LAB_PATIENCE_MS);
    while (!job->done && !lab->timed_out) io_loop_run(lab->loop);
    io_timer_stop(lab->deadline);
    if (!job->done) fail_msg("a job does not end; it said:\n%s", job->lines.data ? job->lines.data : "");
}

static inline void lab_await_line(struct lab *lab, struct lab_job *job, const char *needle) {
    lab->timed_out = false;
    io_timer_arm(lab->deadline, LAB_PATIENCE_MS);
    while (!(job->lines.data && strstr(job->lines.data, needle)) && !lab->timed_out) io_loop_run(lab->loop);
    io_timer_stop(lab->deadline);
    if (lab->timed_out)
        fail_msg("'%s' was not said, but:\n%s", needle, job->lines.data ? job->lines.data : "");
}

static inline void lab_job_done(struct lab_job *job) {
    error_free(job->error);
    text_done(&job->lines);
    *job = (struct lab_job){.lab = job->lab};
}

static inline char *lab_path(const struct lab *lab, const char *name) {
    return path_join(lab->dir, name);
}

static inline void lab_write(const char *path, const char *content) {
    assert_ok(file_replace(path, span_of(content), 0644));
}
