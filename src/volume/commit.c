/* A commit: the live tree as it is now. Those who ask while one waits share it, as it has not looked yet. */
#include "inside.h"

#include <stdlib.h>

struct commit {
    struct op op;
    struct walk_told told;
};

static struct error *walk(struct op *op, struct batch *batch) {
    struct commit *commit = CONTAINER_OF(op, struct commit, op);
    scoped_fd int root = -1;
    scoped(tree) struct tree *made = NULL;
    TRY_PLAIN(live_open(op->volume->live_path, &root));
    TRY_PLAIN(walk_tree(root, op->base, batch, &made, &commit->told));
    op->same = op->volume->now.commits > 0 && tree_equal(made, op->base);
    if (op->same) { /* what is known of its files is newer; not worth a write */
        op->made = take(made);
        return NULL;
    }
    return op_version(op, batch, take(made), NULL, root);
}

static struct error *commit_prepare(struct op *op) {
    struct batch batch = {.contents = &op->volumes->contents, .cancel = &op->cancel};
    struct error *error = walk(op, &batch);
    batch_done(&batch);
    return error ? error_wrap(error, "commit of volume %s",
                              op->volume->name ? op->volume->name : op->volume->id)
                 : NULL;
}

static void commit_end(struct op *op) {
    const struct walk_told *told = &CONTAINER_OF(op, struct commit, op)->told;
    const char *name = op->volume->name ? op->volume->name : op->volume->id;
    if (op->error) return;
    if (told->skipped_count)
        log_info("volume", "%s: %zu that are no files, directories or links are not committed (%s)", name,
                 told->skipped_count, told->skipped);
    if (told->torn_count)
        log_info("volume", "%s: %zu files were being written during the commit", name, told->torn_count);
    log_debug("volume", "%s: commit %llu, %zu files read", name, (unsigned long long)op->volume->now.commits,
              told->read_count);
}

static void commit_done(struct op *op) {
    free(CONTAINER_OF(op, struct commit, op)->told.skipped);
}

static const struct op_kind commit_kind = {
    .name = "commit", .anew = true, .prepare = commit_prepare, .end = commit_end, .done = commit_done};

void volume_commit(struct volume *volume, volume_done *done, void *owner) {
    LIST_EACH(node, &volume->volumes->waiting) {
        struct op *op = CONTAINER_OF(node, struct op, node);
        if (op->volume != volume || op->kind != &commit_kind || op->error) continue;
        op_wait(op, done, owner);
        return;
    }
    struct commit *commit = NEW(struct commit);
    op_wait(&commit->op, done, owner);
    op_start(volume, &commit_kind, &commit->op, NULL);
}
