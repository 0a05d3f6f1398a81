/* mount: a client's files, each by its SHA-256, put together as a directory that lies on top of an image.
 *
 * A file is sent once and kept as a blob. A mount's directory is made of hard links to blobs, once for each
 * list of files: the lower layers of a container's root are never written to. The global ones (the client's
 * own package, a Python) are made by runtime.c. */
#include "inside.h"

#include "runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define FILE_BYTES_MAX (UINT64_C(1) << 32)

const struct mount *mount_of(const struct modal *modal, const char *id) {
    return id ? map_get(modal->mounts, span_of(id)) : NULL;
}

static void mount_free(struct mount *mount) {
    free(mount->checksum);
    free(mount->directory);
    free(mount);
}

void mount_forget(struct modal *modal, struct mount *mount) {
    map_remove(modal->mounts, span_of(mount->id));
    if (map_get(modal->mount_names, span_of(mount->checksum)) == mount)
        map_remove(modal->mount_names, span_of(mount->checksum));
    mount_free(mount);
}

void mounts_free(struct modal *modal) {
    void *value;
    for (size_t i = 0; map_next(modal->mounts, &i, NULL, &value);) mount_free(value);
    map_free(modal->mounts);
    map_free(modal->mount_names);
}

static struct mount *mount_add(struct modal *modal, const char *id, const char *checksum,
                               const char *directory) {
    struct mount *mount = NEW(struct mount);
    id_set(mount->id, id);
    mount->checksum = mem_string(checksum);
    mount->directory = mem_string(directory);
    map_put(modal->mounts, span_of(mount->id), mount);
    map_put(modal->mount_names, span_of(checksum), mount);
    return mount;
}

void mount_restore(struct modal *modal, const Modal__MountRecord *record) {
    scoped_string char *directory = path_join(modal->state_dir, record->directory ? record->directory : "");
    if (record->id && record->checksum && file_exists(directory))
        mount_add(modal, record->id, record->checksum, directory);
}

/* ---- files ---- */

static void have(struct rpc *rpc, const void *message) {
    const Modal__MountBatchedCheckExistenceRequest *request = message;
    struct arena *arena = rpc_arena(rpc);
    Modal__MountBatchedCheckExistenceResponse answer = MODAL__MOUNT_BATCHED_CHECK_EXISTENCE_RESPONSE__INIT;
    answer.missing_sha256_hex_hashes =
        arena_alloc(arena, (request->n_sha256_hex_hashes + 1) * sizeof *answer.missing_sha256_hex_hashes);
    for (size_t i = 0; i < request->n_sha256_hex_hashes; i++)
        if (!store_blob_exists(rpc->modal->store, request->sha256_hex_hashes[i]))
            answer.missing_sha256_hex_hashes[answer.n_missing_sha256_hex_hashes++] =
                request->sha256_hex_hashes[i];
    rpc_answer(rpc, &answer);
}

struct putting {
    struct io_work work;
    struct rpc *rpc;
    const Modal__MountPutFileRequest *request;
};

static void put_on_worker(struct io_work *work) {
    struct putting *putting = CONTAINER_OF(work, struct putting, work);
    struct store *store = putting->rpc->modal->store;
    char digest[SHA256_HEX_SIZE];
    struct store_blob_writer *writer;
    struct span data = {(const char *)putting->request->data.data, putting->request->data.len};
    work->error = store_blob_begin(store, &writer);
    if (work->error) return;
    if (data.size > 0) work->error = store_blob_add(writer, data);
    if (!work->error) work->error = store_blob_end(writer, putting->request->sha256_hex, digest);
    store_blob_writer_free(writer);
}

static void put_done(struct io_work *work) {
    struct putting *putting = CONTAINER_OF(work, struct putting, work);
    struct rpc *rpc = putting->rpc;
    struct error *error = work->error;
    free(putting);
    Modal__MountPutFileResponse answer = MODAL__MOUNT_PUT_FILE_RESPONSE__INIT;
    answer.has_exists = answer.exists = true;
    if (error)
        rpc_fail(rpc, error_wrap(error, "a file of a mount"));
    else
        rpc_answer(rpc, &answer);
}

static void put_file(struct rpc *rpc, const void *message) {
    const Modal__MountPutFileRequest *request = message;
    Modal__MountPutFileResponse answer = MODAL__MOUNT_PUT_FILE_RESPONSE__INIT;
    answer.has_exists = true;
    const char *sum = request->sha256_hex ? request->sha256_hex : "";
    if (strlen(sum) != SHA256_HEX_SIZE - 1 || strspn(sum, "0123456789abcdef") != SHA256_HEX_SIZE - 1) {
        rpc_fail(rpc,
                 error_new(ERROR_INVALID_ARGUMENT, "'%.80s' is no SHA-256 in lower-case hexadecimal", sum));
        return;
    }
    answer.exists = store_blob_exists(rpc->modal->store, sum);
    if (answer.exists || (!request->has_data && !request->data_blob_id)) {
        rpc_answer(rpc, &answer);
        return;
    }
    if (request->data_blob_id) { /* it came by HTTP; blobs are kept by content, so it is there under its sum
                                    or was another */
        rpc_fail(rpc, error_new(ERROR_INVALID_ARGUMENT, "the blob %s is not the file %s",
                                request->data_blob_id, sum));
        return;
    }
    struct putting *putting = NEW(struct putting);
    *putting =
        (struct putting){.work = {.work = put_on_worker, .done = put_done}, .rpc = rpc, .request = request};
    io_work_start(rpc->modal->loop, &putting->work);
}

/* ---- a mount of files ---- */

struct making {
    struct io_work work;
    struct rpc *rpc;
    const Modal__MountGetOrCreateRequest *request;
    char *directory; /* where it will be */
    char *name;      /* the same, below the state directory */
    char checksum[SHA256_HEX_SIZE];
};

static bool path_good(const char *path) {
    if (!path || path[0] != '/' || !path[1]) return false;
    struct span rest = span_of(path + 1);
    while (rest.data) {
        struct span part = span_cut(&rest, '/');
        if (part.size == 0 || span_is(part, ".") || span_is(part, "..")) return false;
    }
    return true;
}

static struct error *copy_blob(const char *from, const char *to, unsigned mode) {
    scoped_fd int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0) return error_errno(errno, "%s", from);
    scoped_fd int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (out < 0) return error_errno(errno, "%s", to);
    for (ssize_t size; (size = copy_file_range(in, NULL, out, NULL, 1 << 30, 0)) != 0;)
        if (size < 0) return error_errno(errno, "copy to %s", to);
    return fchmod(out, mode) ? error_errno(errno, "%s", to) : NULL;
}

static struct error *place(struct store *store, const char *root, const Modal__MountFile *file) {
    if (!path_good(file->filename))
        return error_new(ERROR_INVALID_ARGUMENT, "'%.200s' is no absolute path of a file", file->filename);
    if (!file->sha256_hex || !store_blob_exists(store, file->sha256_hex))
        return error_new(ERROR_FAILED_PRECONDITION, "the content of %s was never sent", file->filename);
    scoped_string char *blob = store_blob_path(store, file->sha256_hex);
    scoped_string char *path = mem_printf("%s%s", root, file->filename);
    scoped_string char *directory = mem_string_n(path, (size_t)(strrchr(path, '/') - path));
    TRY_PLAIN(dir_make(directory, 0755));
    unsigned mode = file->mode & 0777 ? file->mode & 0777 : 0644;
    return copy_blob(blob, path, mode); /* no hard link: modes belong to inodes */
}

static void make_on_worker(struct io_work *work) {
    struct making *making = CONTAINER_OF(work, struct making, work);
    const Modal__MountGetOrCreateRequest *request = making->request;
    if (file_exists(making->directory)) return;
    scoped_string char *id = random_id("t");
    scoped_string char *fresh = mem_printf("%s.%s", making->directory, id);
    work->error = dir_make(fresh, 0755);
    for (size_t i = 0; i < request->n_files && !work->error; i++)
        work->error = place(making->rpc->modal->store, fresh, request->files[i]);
    if (!work->error && rename(fresh, making->directory) && errno != EEXIST && errno != ENOTEMPTY)
        work->error = error_errno(errno, "%s", making->directory);
    error_free(tree_remove(fresh));
}

static void answer_mount(struct rpc *rpc, const struct mount *mount) {
    mount_touch(mount);
    Modal__MountHandleMetadata metadata = MODAL__MOUNT_HANDLE_METADATA__INIT;
    metadata.content_checksum_sha256_hex = mount->checksum;
    Modal__MountGetOrCreateResponse answer = MODAL__MOUNT_GET_OR_CREATE_RESPONSE__INIT;
    answer.mount_id = (char *)mount->id;
    answer.handle_metadata = &metadata;
    rpc_answer(rpc, &answer);
}

static void on_kept(struct rpc *rpc, struct error *error) {
    const struct mount *mount = mount_of(rpc->modal, rpc->owner);
    if (error || !mount)
        rpc_fail(rpc, error ? error : no_object("mount", rpc->owner));
    else
        answer_mount(rpc, mount);
}

static void keep(struct rpc *rpc, const struct mount *mount, const char *name) {
    Modal__MountRecord record = MODAL__MOUNT_RECORD__INIT;
    record.id = (char *)mount->id;
    record.checksum = mount->checksum;
    record.directory = (char *)name;
    scoped_text struct text bytes = message_pack(&record);
    rpc->owner = arena_text(rpc_arena(rpc), mount->id);
    const struct store_record row = {"modal-mount", mount->id, text_span(&bytes)};
    rpc_commit(rpc, &row, 1, on_kept);
}

static void make_done(struct io_work *work) {
    struct making *making = CONTAINER_OF(work, struct making, work);
    struct rpc *rpc = making->rpc;
    rpc->modal->mounts_making--;
    const struct mount *mount = map_get(rpc->modal->mount_names, span_of(making->checksum));
    if (work->error) {
        rpc_fail(rpc, error_wrap(work->error, "mount"));
    } else if (mount) { /* another made it meanwhile */
        answer_mount(rpc, mount);
    } else {
        scoped_string char *id = random_id("mo");
        keep(rpc, mount_add(rpc->modal, id, making->checksum, making->directory), making->name);
    }
    free(making->directory);
    free(making->name);
    free(making);
}

static void checksum_of(const Modal__MountGetOrCreateRequest *request, char hex[SHA256_HEX_SIZE]) {
    scoped(sha256) struct sha256 *sum = sha256_new();
    for (size_t i = 0; i < request->n_files; i++) {
        const Modal__MountFile *file = request->files[i];
        scoped_string char *line = mem_printf("%s %s %o\n", file->filename ? file->filename : "",
                                              file->sha256_hex ? file->sha256_hex : "", file->mode);
        sha256_add(sum, line, strlen(line));
    }
    sha256_hex(sum, hex);
}

static void make(struct rpc *rpc, const Modal__MountGetOrCreateRequest *request) {
    struct making *making = NEW(struct making);
    *making =
        (struct making){.work = {.work = make_on_worker, .done = make_done}, .rpc = rpc, .request = request};
    checksum_of(request, making->checksum);
    making->name = mem_printf("modal/mounts/%s", making->checksum);
    making->directory = path_join(rpc->modal->state_dir, making->name);
    rpc->modal->mounts_making++;
    io_work_start(rpc->modal->loop, &making->work);
}

/* ---- global ones ---- */

static void on_global(void *owner, const char *directory, struct error *error) {
    struct rpc *rpc = owner;
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    char hex[SHA256_HEX_SIZE];
    sha256_of(span_of(directory), hex);
    const struct mount *mount = map_get(rpc->modal->mount_names, span_of(hex));
    if (mount) {
        answer_mount(rpc, mount);
        return;
    }
    scoped_string char *id = random_id("mo");
    size_t state = strlen(rpc->modal->state_dir);
    keep(rpc, mount_add(rpc->modal, id, hex, directory), directory + state + 1);
}

static void get_or_create(struct rpc *rpc, const void *message) {
    const Modal__MountGetOrCreateRequest *request = message;
    const char *name = request->deployment_name ? request->deployment_name : "";
    if (*name && request->n_files == 0)
        runtime_mount(rpc->modal, name, on_global, rpc);
    else
        make(rpc, request);
}

const struct rpc_method mount_methods[] = {
    {"MountPutFile", &modal__mount_put_file_request__descriptor, put_file, 0},
    {"MountBatchedCheckExistence", &modal__mount_batched_check_existence_request__descriptor, have, 0},
    {"MountGetOrCreate", &modal__mount_get_or_create_request__descriptor, get_or_create, 0},
    {0},
};
