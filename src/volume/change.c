/* A committed change on its way into the live tree.
 *
 *   staged: each file lies in STAGE/INDEX, with mode and owner, on the disk. All that can fail for want of
 *           room happens here, before the version is recorded
 *   carried out: one rename for each, in the order of paths. What is to go moves to STAGE/INDEX
 *
 * So STAGE tells after a crash how far it came: a file that is still staged was not placed, something gone
 * that lies there was taken away. Late, an entry is left alone where a container has changed, since the
 * commit, what stood there: that write is the newer one. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

struct index_name {
    char text[24];
};

static struct index_name name_of(size_t index) {
    struct index_name name;
    snprintf(name.text, sizeof name.text, "%zu", index);
    return name;
}

void change_forget(struct change *change) {
    tree_free(change->tree);
    free(change->stage);
    *change = (struct change){0};
}

/* Under another name first: a directory that is half removed tells nothing any more. */
void change_done(struct change *change) {
    if (change->stage) {
        scoped_string char *over = mem_printf("%s.done", change->stage);
        const char *path = rename(change->stage, over) == 0 ? over : change->stage;
        scoped(error) struct error *error = tree_remove(path);
        if (error) log_warn("volume", "%s stays until the next start: %s", path, error->message);
    }
    change_forget(change);
}

/* ---- may it be? ---- */

/* What is on the way down to `path` must be directories, where it is there. */
static struct error *check_above(const struct tree *base, const char *path) {
    struct span above = span_of(path);
    for (;;) {
        path_last(above, &above);
        if (!above.data) return NULL;
        const struct entry *entry = tree_get(base, above);
        if (entry && entry->kind != ENTRY_DIRECTORY)
            return error_new(ERROR_FAILED_PRECONDITION, SPAN_FORMAT " is a %s, so %s can't be in it",
                             SPAN_ARGS(above), entry->kind == ENTRY_LINK ? "link" : "file", path);
    }
}

static struct error *check_live_above(int root, const char *path) {
    scoped_fd int parent = -1;
    const char *name;
    struct error *error = live_parent(root, path, false, &parent, &name);
    if (!error) return NULL;
    if (error->code != ERROR_NOT_FOUND) return error_wrap(error, "%s", path);
    error_free(error);
    return NULL;
}

static struct error *check_place(const struct entry *entry, bool there, bool is_directory, bool overwrite) {
    if (!there) return NULL;
    if (entry->kind == ENTRY_DIRECTORY) {
        if (is_directory) return NULL;
        return error_new(ERROR_FAILED_PRECONDITION, "%s is there and is no directory", entry->path);
    }
    if (is_directory)
        return error_new(ERROR_FAILED_PRECONDITION, "%s is a directory; a file can't take its place",
                         entry->path);
    if (overwrite) return NULL;
    return error_new(ERROR_ALREADY_EXISTS, "%s is there already", entry->path);
}

struct error *change_check(const struct tree *change, const struct tree *base, int root, bool overwrite) {
    for (size_t i = 0; i < change->count; i++) {
        const struct entry *entry = &change->entries[i];
        if (entry->kind == ENTRY_GONE) continue;
        TRY_PLAIN(check_above(base, entry->path));
        TRY_PLAIN(check_live_above(root, entry->path));
        const struct entry *old = tree_get(base, span_of(entry->path));
        struct stat at;
        bool live = live_stat(root, entry->path, &at);
        TRY_PLAIN(check_place(entry, old, old && old->kind == ENTRY_DIRECTORY, overwrite));
        TRY_PLAIN(check_place(entry, live, live && S_ISDIR(at.st_mode), overwrite));
    }
    return NULL;
}

/* ---- staged ---- */

static struct error *stage_file(const struct contents *contents, int stage, const char *name,
                                const struct entry *entry, const bool *cancel, int *ret_fd) {
    scoped_string char *path = content_path(contents, entry->digest);
    scoped_fd int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0) return error_errno(errno, "content of %s", entry->path);
    scoped_fd int to = openat(stage, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (to < 0) return error_errno(errno, "make room for %s", entry->path);
    TRY(file_copy(to, from, cancel), "%s", entry->path);
    const struct timespec times[2] = {
        {entry->mtime_ns / 1000000000, entry->mtime_ns % 1000000000},
        {entry->mtime_ns / 1000000000, entry->mtime_ns % 1000000000},
    };
    if (fchmod(to, entry->mode) != 0 || futimens(to, times) != 0)
        return error_errno(errno, "mode and time of %s", entry->path);
    *ret_fd = take_fd(&to);
    return NULL;
}

struct staging {
    int dir;
    struct syncing syncing;
};

static struct error *stage_entry(const struct contents *contents, struct staging *staging, size_t index,
                                 struct entry *entry, int root, const bool *cancel) {
    struct stat at;
    bool there = live_stat(root, entry->path, &at);
    entry->inode = there ? at.st_ino : 0;
    entry->ctime_ns = there ? stat_ctime_ns(&at) : 0;
    struct index_name name = name_of(index);
    if (entry->kind == ENTRY_LINK && symlinkat(entry->target, staging->dir, name.text) != 0)
        return error_errno(errno, "make the link %s", entry->path);
    if (entry->kind != ENTRY_FILE) return NULL;
    int fd = -1;
    TRY_PLAIN(stage_file(contents, staging->dir, name.text, entry, cancel, &fd));
    syncing_add(&staging->syncing, fd);
    return NULL;
}

struct error *change_stage(const struct contents *contents, struct change *change, int root,
                           const bool *cancel) {
    scoped_string char *id = random_id("change");
    change->stage = path_join(contents->unfinished, id);
    if (mkdir(change->stage, 0700) != 0) return error_errno(errno, "make %s", change->stage);
    struct staging staging = {.dir = open(change->stage, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (staging.dir < 0) return error_errno(errno, "open %s", change->stage);
    struct error *error = NULL;
    for (size_t i = 0; i < change->tree->count && !error; i++)
        error = stage_entry(contents, &staging, i, &change->tree->entries[i], root, cancel);
    if (!error) error = syncing_end(&staging.syncing, staging.dir);
    syncing_done(&staging.syncing);
    close(staging.dir);
    return error;
}

/* ---- carried out ---- */

#define SYNC_PARENTS_MAX 8 /* entries; of more, one sync of the file system is cheaper */

struct carrying {
    int root, stage;
    bool late;
    bool sync; /* each directory by itself */
    struct tree *version;
    size_t left_count; /* entries that were left alone */
    const char *left;  /* the first */
};

static void leave(struct carrying *carrying, const struct entry *entry) {
    if (carrying->left_count++ == 0) carrying->left = entry->path;
}

/* The owner of what it replaces, else of the directory that it comes into. */
static void give_owner(int stage, const char *name, int parent, const struct stat *old) {
    struct stat staged, above;
    if (fstatat(stage, name, &staged, AT_SYMLINK_NOFOLLOW) != 0) return;
    if (!old) {
        if (fstatat(parent, "", &above, AT_EMPTY_PATH) != 0) return;
        old = &above;
    }
    if (old->st_uid != staged.st_uid || old->st_gid != staged.st_gid)
        (void)!fchownat(stage, name, old->st_uid, old->st_gid, AT_SYMLINK_NOFOLLOW);
}

/* The version remembers the file as it stands now, so that the next commit need not read it. A write that
 * came in between shows in time or size. */
static void learn(struct tree *version, const struct entry *entry, int parent, const char *name) {
    struct stat at;
    if (!version || entry->kind != ENTRY_FILE || fstatat(parent, name, &at, AT_SYMLINK_NOFOLLOW) != 0) return;
    struct entry *known = (struct entry *)tree_get(version, span_of(entry->path));
    if (!known || known->kind != ENTRY_FILE || stat_mtime_ns(&at) != entry->mtime_ns ||
        (uint64_t)at.st_size != entry->size_bytes)
        return;
    known->inode = at.st_ino;
    known->ctime_ns = stat_ctime_ns(&at);
    known->settled = true;
}

static struct error *sync_parent(const struct carrying *carrying, int parent) {
    if (!carrying->sync) return NULL;
    scoped_fd int fd = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || store_calls_now()->fsync(fd) != 0)
        return error_errno(errno, "sync a directory of the live tree");
    return NULL;
}

static struct error *place(struct carrying *carrying, size_t index, const struct entry *entry, int parent,
                           const char *name) {
    struct index_name staged = name_of(index);
    struct stat at;
    bool there = fstatat(parent, name, &at, AT_SYMLINK_NOFOLLOW) == 0;
    if (carrying->late) {
        struct stat unplaced;
        if (fstatat(carrying->stage, staged.text, &unplaced, AT_SYMLINK_NOFOLLOW) != 0) return NULL;
        bool changed = there && (at.st_ino != entry->inode || stat_ctime_ns(&at) != entry->ctime_ns);
        if (changed || (!there && entry->inode != 0)) {
            leave(carrying, entry);
            return NULL;
        }
    }
    give_owner(carrying->stage, staged.text, parent, there ? &at : NULL);
    if (store_calls_now()->renameat(carrying->stage, staged.text, parent, name) != 0) {
        if (errno != EISDIR && errno != ENOTDIR)
            return error_errno(errno, "put %s in its place", entry->path);
        leave(carrying, entry);
        return NULL;
    }
    learn(carrying->version, entry, parent, name);
    return sync_parent(carrying, parent);
}

static struct error *take_away(struct carrying *carrying, size_t index, const struct entry *entry, int parent,
                               const char *name) {
    struct index_name staged = name_of(index);
    struct stat at;
    if (fstatat(carrying->stage, staged.text, &at, AT_SYMLINK_NOFOLLOW) == 0) return NULL; /* it was */
    if (fstatat(parent, name, &at, AT_SYMLINK_NOFOLLOW) != 0) return NULL;
    if (carrying->late && at.st_ino != entry->inode) {
        leave(carrying, entry);
        return NULL;
    }
    if (store_calls_now()->renameat(parent, name, carrying->stage, staged.text) == 0)
        return sync_parent(carrying, parent);
    return errno == ENOENT ? NULL : error_errno(errno, "remove %s", entry->path);
}

static struct error *carry_entry(struct carrying *carrying, size_t index, const struct entry *entry) {
    scoped_fd int parent = -1;
    const char *name;
    bool gone = entry->kind == ENTRY_GONE;
    struct error *error = live_parent(carrying->root, entry->path, !gone, &parent, &name);
    if (error && (error->code == ERROR_FAILED_PRECONDITION || (gone && error->code == ERROR_NOT_FOUND))) {
        error_free(error); /* a container has put something in the way since it was checked */
        if (!gone) leave(carrying, entry);
        return NULL;
    }
    if (error) return error_wrap(error, "%s", entry->path);
    if (gone) return take_away(carrying, index, entry, parent, name);
    if (entry->kind != ENTRY_DIRECTORY) return place(carrying, index, entry, parent, name);
    /* "NAME/." has NAME as its parent: that makes it. */
    scoped_fd int made = -1;
    const char *dot;
    scoped_string char *within = mem_printf("%s/.", name);
    error = live_parent(parent, within, true, &made, &dot);
    if (!error) return NULL;
    if (error->code != ERROR_FAILED_PRECONDITION) return error_wrap(error, "%s", entry->path);
    error_free(error);
    leave(carrying, entry);
    return NULL;
}

/* After all that is in it: it may be one that nothing can be put into. */
static void give_modes(const struct carrying *carrying, const struct tree *change) {
    for (size_t i = change->count; i-- > 0;) {
        const struct entry *entry = &change->entries[i];
        scoped_fd int parent = -1;
        const char *name;
        if (entry->kind != ENTRY_DIRECTORY || entry->inode != 0) continue;
        scoped(error) struct error *error = live_parent(carrying->root, entry->path, false, &parent, &name);
        if (!error) (void)!fchmodat(parent, name, entry->mode, AT_SYMLINK_NOFOLLOW);
    }
}

struct error *change_carry_out(const struct change *change, int root, bool late, struct tree *version) {
    struct carrying carrying = {.root = root, .late = late, .version = version};
    carrying.sync = change->tree->count <= SYNC_PARENTS_MAX;
    carrying.stage = open(change->stage, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (carrying.stage < 0) return error_errno(errno, "open %s", change->stage);
    struct error *error = NULL;
    for (size_t i = 0; i < change->tree->count && !error; i++)
        error = carry_entry(&carrying, i, &change->tree->entries[i]);
    if (!error) give_modes(&carrying, change->tree);
    /* On the disk before the record forgets the change. */
    if (!error && change->tree->count > SYNC_PARENTS_MAX && syncfs(root) != 0)
        error = error_errno(errno, "sync the live tree");
    close(carrying.stage);
    if (carrying.left_count)
        log_info("volume", "%zu of %zu files stay as a container wrote them meanwhile (%s)",
                 carrying.left_count, change->tree->count, carrying.left);
    return error;
}
