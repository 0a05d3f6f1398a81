/* snapshot: what a sandbox wrote as a layer on top of its image, an image of its own.
 *
 *   copying (cp, which knows holes, links and overlay's marks) -> committing (image room) -> answered
 * The sandbox goes on meanwhile: who wants files of one moment pauses their writer. Volumes and files added
 * to the image when the sandbox was made are no part of it. */
#include "sandbox.h"

#include <stdio.h>
#include <stdlib.h>

#define COPY_MS 600000

struct snapshot {
    struct list node; /* of modal->snapshots */
    struct modal *modal;
    struct modal_image *image;
    struct image_draft *draft;
    struct io_child *copy;
    struct image_job *job;
    struct list asker; /* the held call */
};

static void snapshot_free(struct snapshot *snapshot) {
    list_remove(&snapshot->node);
    rpc_held_end(&snapshot->asker, ERROR_UNAVAILABLE, "catnap is ending");
    io_child_free(snapshot->copy);
    image_draft_free(snapshot->draft);
    if (snapshot->job) image_job_cancel(snapshot->job);
    free(snapshot);
}

void snapshots_cancel(struct modal *modal) {
    while (!list_empty(&modal->snapshots))
        snapshot_free(CONTAINER_OF(modal->snapshots.next, struct snapshot, node));
}

static struct rpc *asker_of(const struct snapshot *snapshot) {
    return list_empty(&snapshot->asker) ? NULL : CONTAINER_OF(snapshot->asker.next, struct rpc, node);
}

static void on_kept(struct rpc *rpc, struct error *error) {
    Modal__TaskSnapshotFilesystemResponse answer = MODAL__TASK_SNAPSHOT_FILESYSTEM_RESPONSE__INIT;
    answer.image_id = rpc->owner;
    if (error)
        rpc_fail(rpc, error);
    else
        rpc_answer(rpc, &answer);
}

static void end(struct snapshot *snapshot, const char *name, struct error *taken_error) {
    struct rpc *rpc = asker_of(snapshot);
    struct modal_image *image = snapshot->image;
    struct modal *modal = snapshot->modal;
    struct error *told = error_copy(taken_error);
    image_built(modal, image, name, taken_error);
    if (!told && !image->name)
        told = error_new(ERROR_INTERNAL, "%s", image->exception ? image->exception : "it could not be kept");
    if (rpc) list_remove(&rpc->node);
    snapshot_free(snapshot);
    if (!rpc || told) {
        if (rpc) rpc_fail(rpc, error_wrap(told, "snapshot of the sandbox's files"));
        return;
    }
    /* Behind the image's own record in the store's line: the client is told what is on the disk. */
    rpc->owner = arena_text(rpc_arena(rpc), image->id);
    const struct store_record nothing = {"modal-snapshot", image->id, {NULL, 0}};
    grpc_call_on_cancelled(rpc->call, NULL);
    rpc_commit(rpc, &nothing, 1, on_kept);
}

static void on_committed(void *owner, struct error *error, const struct image *image) {
    struct snapshot *snapshot = owner;
    scoped_string char *name = image ? mem_printf("sha256:%s", image->id) : NULL;
    snapshot->job = NULL;
    end(snapshot, name, error);
}

static void on_line(void *owner, struct span text) {
    (void)owner, (void)text;
}

static void on_copied(void *owner, struct io_child_end *child) {
    static const struct image_events events = {on_line, on_committed};
    struct snapshot *snapshot = owner;
    snapshot->copy = NULL;
    struct error *error = take(child->error);
    if (!error && child->exit_code != 0)
        error = error_new(ERROR_INTERNAL, "cp: " SPAN_FORMAT, SPAN_ARGS(span_trim(child->output)));
    if (error)
        end(snapshot, NULL, error);
    else
        snapshot->job = image_draft_commit(take(snapshot->draft), NULL, &events, snapshot);
}

static void copy(struct snapshot *snapshot, const char *upper) {
    scoped_string char *from = path_join(upper, "."),
                       *to = path_join(image_draft_upper(snapshot->draft), "u");
    const char *argv[] = {"cp", "--archive", "--reflink=auto", from, to, NULL};
    snapshot->copy = io_child_start(snapshot->modal->loop, &(struct io_child_options){.argv = argv,
                                                                                      .stdin_fd = -1,
                                                                                      .stdout_fd = -1,
                                                                                      .stderr_fd = -1,
                                                                                      .deadline_ms = COPY_MS,
                                                                                      .done = on_copied,
                                                                                      .owner = snapshot});
}

static struct error *begin(struct modal *modal, const struct sandbox *sandbox, struct snapshot *snapshot) {
    scoped_string char *upper = node_upper(modal->node, sandbox->number);
    const struct modal_image *base = image_of(modal, sandbox->definition->image_id);
    if (!base || !base->name) return no_object("image", sandbox->definition->image_id);
    if (!upper)
        return error_new(ERROR_FAILED_PRECONDITION,
                         "its image has no layers: what is written in it is kept in memory only");
    TRY_PLAIN(image_draft_new(modal->images_room, base->name, &snapshot->draft));
    scoped_string char *into = path_join(image_draft_upper(snapshot->draft), "u");
    TRY_PLAIN(dir_make(into, 0755));
    scoped_string char *head = random_id(IMAGE_SNAPSHOT), *tail = random_id("");
    scoped_string char *key = mem_printf("%s%s", head, tail);
    snapshot->image = image_new(modal, key, base->builder_version);
    copy(snapshot, upper);
    return NULL;
}

void snapshot_filesystem(struct rpc *rpc, const void *message) {
    const Modal__TaskSnapshotFilesystemRequest *request = message;
    struct modal *modal = rpc->modal;
    struct sandbox *sandbox = request->task_id && strcmp(request->task_id, rpc->router_task) == 0
                                  ? sandbox_of_task(modal, request->task_id)
                                  : NULL;
    if (!sandbox || !sandbox->number || sandbox->stopping) {
        rpc_fail(rpc, error_new(ERROR_NOT_FOUND, "there is no running sandbox of this token"));
        return;
    }
    struct snapshot *snapshot = NEW(struct snapshot);
    snapshot->modal = modal;
    list_init(&snapshot->asker);
    list_append(&modal->snapshots, &snapshot->node);
    struct error *error = begin(modal, sandbox, snapshot);
    if (error) {
        snapshot_free(snapshot);
        rpc_fail(rpc, error);
        return;
    }
    rpc_hold(rpc, &snapshot->asker, snapshot, 0, NULL);
}
