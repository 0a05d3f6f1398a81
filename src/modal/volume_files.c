/* volume_files: what is in a volume: listed, put, got, copied, removed. Files come as blobs (version 1) or as
 * blocks of 8 MiB, each by its SHA-256 with trailing zeros cut off (version 2); they go out in ranges. */
#include "inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ENTRIES_AT_ONCE 500
#define INLINE_MAX (VOLUME_BLOCK_BYTES)

static void done_empty(void *owner, struct error *error) {
    if (error)
        rpc_fail(owner, error);
    else
        rpc_answer_empty(owner);
}

/* ---- listings: both versions' messages have the same fields ---- */

static Modal__FileEntry *entry_of(const struct volume_entry *entry, struct arena *arena) {
    Modal__FileEntry *file = arena_alloc(arena, sizeof *file);
    modal__file_entry__init(file);
    file->path = arena_text(arena, entry->path);
    file->has_type = file->has_mtime = file->has_size = true;
    file->type = entry->kind == VOLUME_DIRECTORY ? MODAL__FILE_ENTRY_FILE_TYPE__FileEntryFileType_DIRECTORY
                 : entry->kind == VOLUME_LINK    ? MODAL__FILE_ENTRY_FILE_TYPE__FileEntryFileType_SYMLINK
                                                 : MODAL__FILE_ENTRY_FILE_TYPE__FileEntryFileType_FILE;
    file->mtime = (uint64_t)(entry->mtime_ms / 1000);
    file->size = entry->size_bytes;
    return file;
}

static void on_listed(void *owner, struct error *error, struct volume_listing *taken) {
    struct rpc *rpc = owner;
    scoped(volume_listing) struct volume_listing *listing = taken;
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    struct arena *arena = rpc_arena(rpc);
    struct volume_entry entry;
    bool more = true;
    while (more) {
        Modal__VolumeListFilesResponse answer = MODAL__VOLUME_LIST_FILES_RESPONSE__INIT;
        answer.entries = arena_alloc(arena, ENTRIES_AT_ONCE * sizeof *answer.entries);
        while (answer.n_entries < ENTRIES_AT_ONCE && (more = volume_listing_next(listing, &entry)))
            answer.entries[answer.n_entries++] = entry_of(&entry, arena);
        if (answer.n_entries > 0) rpc_send(rpc, &answer);
    }
    rpc_end(rpc);
}

static void list_files(struct rpc *rpc, const void *message) {
    const Modal__VolumeListFilesRequest *request = message;
    struct volume *volume = volume_asked(rpc, request->volume_id);
    if (volume) volume_list(volume, request->path ? request->path : "/", request->recursive, on_listed, rpc);
}

static void list_files2(struct rpc *rpc, const void *message) {
    const Modal__VolumeListFiles2Request *request = message;
    struct volume *volume = volume_asked(rpc, request->volume_id);
    if (volume) volume_list(volume, request->path ? request->path : "/", request->recursive, on_listed, rpc);
}

/* ---- put ---- */

static void on_put(void *owner, struct error *error, const struct volume_missing *missing, size_t count) {
    struct rpc *rpc = owner;
    (void)missing;
    if (!error && count > 0)
        error = error_new(ERROR_FAILED_PRECONDITION, "the content of %zu files was never sent", count);
    done_empty(rpc, error);
}

static void put_files(struct rpc *rpc, const void *message) {
    const Modal__VolumePutFilesRequest *request = message;
    struct volume *volume = volume_asked(rpc, request->volume_id);
    if (!volume) return;
    struct volume_file *files = arena_alloc(rpc_arena(rpc), (request->n_files + 1) * sizeof *files);
    for (size_t i = 0; i < request->n_files; i++)
        files[i] = (struct volume_file){.path = request->files[i]->filename,
                                        .mode = request->files[i]->mode & 0777,
                                        .digest = request->files[i]->sha256_hex};
    volume_put(volume, files, request->n_files, !request->disallow_overwrite_existing_files, on_put, rpc);
}

struct putting2 { /* in the call's arena */
    struct volume_file *files;
};

static void on_put2(void *owner, struct error *error, const struct volume_missing *missing, size_t count) {
    struct rpc *rpc = owner;
    const struct putting2 *putting = rpc->owner;
    struct arena *arena = rpc_arena(rpc);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    Modal__VolumePutFiles2Response answer = MODAL__VOLUME_PUT_FILES2_RESPONSE__INIT;
    answer.missing_blocks = arena_alloc(arena, (count + 1) * sizeof *answer.missing_blocks);
    for (size_t i = 0; i < count; i++) {
        Modal__VolumePutFiles2ResponseMissingBlock *block = arena_alloc(arena, sizeof *block);
        modal__volume_put_files2_response_missing_block__init(block);
        block->has_file_index = block->has_block_index = true;
        block->file_index = missing[i].file;
        block->block_index = missing[i].block;
        block->put_url = blob_url(rpc, "PUT", putting->files[missing[i].file].blocks[missing[i].block]);
        answer.missing_blocks[answer.n_missing_blocks++] = block;
    }
    rpc_answer(rpc, &answer);
}

static const char *hex_digest(struct arena *arena, const ProtobufCBinaryData *sum) {
    char *hex = arena_alloc(arena, SHA256_HEX_SIZE);
    for (size_t i = 0; i < sum->len && i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", sum->data[i]);
    return hex;
}

static void put_files2(struct rpc *rpc, const void *message) {
    const Modal__VolumePutFiles2Request *request = message;
    struct volume *volume = volume_asked(rpc, request->volume_id);
    if (!volume) return;
    struct arena *arena = rpc_arena(rpc);
    struct putting2 *putting = arena_alloc(arena, sizeof *putting);
    putting->files = arena_alloc(arena, (request->n_files + 1) * sizeof *putting->files);
    for (size_t i = 0; i < request->n_files; i++) {
        const Modal__VolumePutFiles2RequestFile *file = request->files[i];
        const char **blocks = arena_alloc(arena, (file->n_blocks + 1) * sizeof *blocks);
        for (size_t b = 0; b < file->n_blocks; b++)
            blocks[b] = hex_digest(arena, &file->blocks[b]->contents_sha256);
        putting->files[i] = (struct volume_file){.path = file->path,
                                                 .mode = file->mode & 0777,
                                                 .blocks = blocks,
                                                 .block_count = file->n_blocks,
                                                 .size_bytes = file->size};
    }
    rpc->owner = putting;
    volume_put(volume, putting->files, request->n_files, !request->disallow_overwrite_existing_files, on_put2,
               rpc);
}

/* ---- get ---- */

struct getting {            /* in the call's arena */
    uint64_t start, length; /* length 0: to the end */
    bool in_blocks;
};

static void clip(const struct getting *getting, uint64_t size, uint64_t *ret_start, uint64_t *ret_length) {
    uint64_t start = getting->start < size ? getting->start : size, left = size - start;
    *ret_start = start;
    *ret_length = getting->length > 0 && getting->length < left ? getting->length : left;
}

static void answer_blocks(struct rpc *rpc, const struct getting *getting,
                          const struct volume_content *content) {
    struct arena *arena = rpc_arena(rpc);
    uint64_t start, length;
    clip(getting, content->size_bytes, &start, &length);
    size_t count = (size_t)((length + VOLUME_BLOCK_BYTES - 1) / VOLUME_BLOCK_BYTES);
    Modal__VolumeGetFile2Response answer = MODAL__VOLUME_GET_FILE2_RESPONSE__INIT;
    answer.get_urls = arena_alloc(arena, (count + 1) * sizeof *answer.get_urls);
    for (uint64_t at = 0; at < length; at += VOLUME_BLOCK_BYTES) {
        uint64_t bytes = length - at < VOLUME_BLOCK_BYTES ? length - at : VOLUME_BLOCK_BYTES;
        const char *part = arena_printf(arena, "%s.%llu.%llu", content->digest,
                                        (unsigned long long)(start + at), (unsigned long long)bytes);
        answer.get_urls[answer.n_get_urls++] = blob_url(rpc, "GET", part);
    }
    answer.has_size = answer.has_start = answer.has_len = true;
    answer.size = content->size_bytes;
    answer.start = start;
    answer.len = length;
    rpc_answer(rpc, &answer);
}

static void answer_bytes(struct rpc *rpc, const struct getting *getting,
                         const struct volume_content *content) {
    struct arena *arena = rpc_arena(rpc);
    uint64_t start, length;
    clip(getting, content->size_bytes, &start, &length);
    Modal__VolumeGetFileResponse answer = MODAL__VOLUME_GET_FILE_RESPONSE__INIT;
    answer.has_size = answer.has_start = answer.has_len = true;
    answer.size = content->size_bytes;
    answer.start = start;
    answer.len = length;
    if (length <= INLINE_MAX) {
        char *bytes = arena_alloc(arena, (size_t)length + 1);
        ssize_t got = pread(content->fd, bytes, (size_t)length, (off_t)start);
        answer.has_data = true;
        answer.data = (ProtobufCBinaryData){got > 0 ? (size_t)got : 0, (uint8_t *)bytes};
    } else {
        answer.data_blob_id = arena_printf(arena, "bl-%s", content->digest);
    }
    rpc_answer(rpc, &answer);
}

static void on_opened(void *owner, struct error *error, const struct volume_content *content) {
    struct rpc *rpc = owner;
    const struct getting *getting = rpc->owner;
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    scoped_fd int fd = content->fd;
    if (getting->in_blocks)
        answer_blocks(rpc, getting, content);
    else
        answer_bytes(rpc, getting, content);
}

static void get(struct rpc *rpc, const char *id, const char *path, uint64_t start, uint64_t length,
                bool in_blocks) {
    struct volume *volume = volume_asked(rpc, id);
    if (!volume) return;
    struct getting *getting = arena_alloc(rpc_arena(rpc), sizeof *getting);
    *getting = (struct getting){start, length, in_blocks};
    rpc->owner = getting;
    volume_open(volume, path ? path : "", on_opened, rpc);
}

static void get_file(struct rpc *rpc, const void *message) {
    const Modal__VolumeGetFileRequest *request = message;
    get(rpc, request->volume_id, request->path, request->start, request->len, false);
}

static void get_file2(struct rpc *rpc, const void *message) {
    const Modal__VolumeGetFile2Request *request = message;
    get(rpc, request->volume_id, request->path, request->start, request->len, true);
}

/* ---- remove, copy ---- */

static void remove_file(struct rpc *rpc, const void *message) {
    const Modal__VolumeRemoveFileRequest *request = message;
    struct volume *volume = volume_asked(rpc, request->volume_id);
    if (volume)
        volume_remove(volume, request->path ? request->path : "", request->recursive, done_empty, rpc);
}

static void copy_files(struct rpc *rpc, const void *message) {
    const Modal__VolumeCopyFilesRequest *request = message;
    struct volume *volume = volume_asked(rpc, request->volume_id);
    if (volume)
        volume_copy(volume, (const char *const *)request->src_paths, request->n_src_paths,
                    request->dst_path ? request->dst_path : "", request->recursive, done_empty, rpc);
}

/* The second version's requests of remove and copy have the first's fields under the same numbers. */
const struct rpc_method volume_file_methods[] = {
    {"VolumeListFiles", &modal__volume_list_files_request__descriptor, list_files, RPC_TASK},
    {"VolumeListFiles2", &modal__volume_list_files2_request__descriptor, list_files2, RPC_TASK},
    {"VolumePutFiles", &modal__volume_put_files_request__descriptor, put_files, RPC_TASK},
    {"VolumePutFiles2", &modal__volume_put_files2_request__descriptor, put_files2, RPC_TASK},
    {"VolumeGetFile", &modal__volume_get_file_request__descriptor, get_file, RPC_TASK},
    {"VolumeGetFile2", &modal__volume_get_file2_request__descriptor, get_file2, RPC_TASK},
    {"VolumeRemoveFile", &modal__volume_remove_file_request__descriptor, remove_file, RPC_TASK},
    {"VolumeRemoveFile2", &modal__volume_remove_file_request__descriptor, remove_file, RPC_TASK},
    {"VolumeCopyFiles", &modal__volume_copy_files_request__descriptor, copy_files, RPC_TASK},
    {"VolumeCopyFiles2", &modal__volume_copy_files_request__descriptor, copy_files, RPC_TASK},
    {0},
};
