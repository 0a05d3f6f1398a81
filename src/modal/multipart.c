/* multipart: a big blob that comes in parts, several at a time and in any order, each by a PUT of its own;
 * then its client says that it is whole.
 *
 *   BlobCreate -> PUT /part/ID/NUMBER/SIZE/SIGNATURE (each) -> POST /whole/ID/COUNT/DIGEST/SIGNATURE -> blob
 * Parts lie as files below DIR/ID until they are put together, each removed as it has been read, and the
 * whole is held against its SHA-256. What a killed daemon or a client that left leaves there is removed: at
 * the start, and where nobody has written to it for hours; of a disk that is full it goes at once. */
#include "blob.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define PART_BYTES (INT64_C(64) << 20)
#define PARTS_MAX 10000
#define BLOB_BYTES_MAX (INT64_C(5) << 40) /* as of an object where Modal's own blobs lie */
#define STALE_S 21600
#define MD5_BYTES 16
#define PIECE_BYTES (1 << 20)

static char *directory_of(const struct modal *modal, const char *id) {
    return mem_printf("%s/modal/uploads/%s", modal->state_dir, id);
}

/* ---- one part ---- */

struct part {
    struct http_exchange *exchange;
    int fd;
    int64_t left;    /* that it may still have */
    char *directory; /* of its upload */
    EVP_MD_CTX *md5;
    struct error *error;
};

static void part_free(struct part *part) {
    if (part->fd >= 0) close(part->fd);
    EVP_MD_CTX_free(part->md5);
    error_free(part->error);
    free(part->directory);
    free(part);
}

static void on_part_gone(struct http_exchange *exchange) {
    part_free(http_exchange_owner(exchange));
    http_exchange_release(exchange);
}

static struct error *part_write(struct part *part, struct span bytes) {
    part->left -= (int64_t)bytes.size;
    if (part->left < 0) return error_new(ERROR_INVALID_ARGUMENT, "the part is longer than it was to be");
    EVP_DigestUpdate(part->md5, bytes.data, bytes.size);
    while (bytes.size > 0) {
        ssize_t written = store_calls_now()->write(part->fd, bytes.data, bytes.size);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return error_errno(errno, "a part of a blob");
        bytes = (struct span){bytes.data + written, bytes.size - (size_t)written};
    }
    return NULL;
}

static void on_part_data(struct http_exchange *exchange, struct span bytes) {
    struct part *part = http_exchange_owner(exchange);
    if (!part->error) part->error = part_write(part, bytes);
}

/* The parts that are here would keep a full disk full. A file in their place tells it to those that come yet.
 */
static void give_up(const char *directory) {
    error_free(tree_remove(directory));
    error_free(file_replace(directory, SPAN(""), 0600));
}

static struct error *part_error(int number, const char *path) {
    if (number == ENOTDIR)
        return error_new(ERROR_RESOURCE_EXHAUSTED, "the disk is full; the upload was given up");
    if (number == ENOENT) return error_new(ERROR_FAILED_PRECONDITION, "a part of the blob was never sent");
    return error_errno(number, "%s", path);
}

static void on_part_end(struct http_exchange *exchange, struct error *error) {
    struct part *part = http_exchange_owner(exchange);
    http_exchange_on_gone(exchange, NULL);
    if (!error) error = take(part->error);
    if (error) {
        if (error->code == ERROR_RESOURCE_EXHAUSTED) give_up(part->directory);
        http_respond_error(exchange, error);
    } else {
        unsigned char sum[EVP_MAX_MD_SIZE];
        char tag[2 * MD5_BYTES + 3] = "\"";
        EVP_DigestFinal_ex(part->md5, sum, NULL);
        for (size_t i = 0; i < MD5_BYTES; i++) snprintf(tag + 1 + 2 * i, 4, "%02x\"", sum[i]);
        const char *const fields[] = {"ETag", tag, "Content-Type", "text/plain", NULL};
        http_respond(exchange, 200, fields, SPAN("taken"));
        utimensat(AT_FDCWD, part->directory, NULL, 0);
    }
    part_free(part);
}

static void put_part(struct modal *modal, struct http_exchange *exchange, const char *id, uint64_t number,
                     int64_t size) {
    scoped_string char *directory = directory_of(modal, id);
    scoped_string char *path = mem_printf("%s/%llu", directory, (unsigned long long)number);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        http_respond_error(exchange, errno == ENOENT ? no_object("upload", id) : part_error(errno, path));
        return;
    }
    struct part *part = NEW(struct part);
    *part = (struct part){.exchange = exchange, .fd = fd, .left = size, .md5 = EVP_MD_CTX_new()};
    part->directory = take(directory);
    EVP_DigestInit_ex(part->md5, EVP_md5(), NULL);
    http_exchange_owner_set(exchange, part);
    http_exchange_on_gone(exchange, on_part_gone);
    http_exchange_read(exchange, on_part_data, on_part_end);
}

/* ---- the whole ---- */

struct whole {
    struct modal *modal;
    struct http_exchange *exchange; /* NULL: the client is gone */
    char *directory, *digest;
    uint64_t count;
    char etag[2 * MD5_BYTES + 16];
    struct io_work work;
    bool working;
};

static void whole_free(struct whole *whole) {
    free(whole->directory);
    free(whole->digest);
    free(whole);
}

static struct error *add_part(struct store_blob_writer *writer, const char *path, EVP_MD_CTX *sums,
                              char *buffer) {
    scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return part_error(errno, path);
    EVP_MD_CTX *md5 = EVP_MD_CTX_new();
    EVP_DigestInit_ex(md5, EVP_md5(), NULL);
    struct error *error = NULL;
    for (ssize_t size; !error && (size = read(fd, buffer, PIECE_BYTES)) != 0;) {
        if (size < 0) error = error_errno(errno, "%s", path);
        if (size > 0) EVP_DigestUpdate(md5, buffer, (size_t)size);
        if (size > 0) error = store_blob_add(writer, (struct span){buffer, (size_t)size});
    }
    unsigned char sum[EVP_MAX_MD_SIZE];
    EVP_DigestFinal_ex(md5, sum, NULL);
    EVP_DigestUpdate(sums, sum, MD5_BYTES);
    EVP_MD_CTX_free(md5);
    if (!error) unlink(path);
    return error;
}

static void join(struct io_work *work) {
    struct whole *whole = CONTAINER_OF(work, struct whole, work);
    scoped(store_blob_writer) struct store_blob_writer *writer = NULL;
    EVP_MD_CTX *sums = EVP_MD_CTX_new();
    scoped_string char *buffer = mem_array(1, PIECE_BYTES);
    EVP_DigestInit_ex(sums, EVP_md5(), NULL);
    work->error = store_blob_begin(whole->modal->store, &writer);
    for (uint64_t i = 1; i <= whole->count && !work->error; i++) {
        scoped_string char *path = mem_printf("%s/%llu", whole->directory, (unsigned long long)i);
        work->error = add_part(writer, path, sums, buffer);
    }
    char digest[SHA256_HEX_SIZE];
    unsigned char sum[EVP_MAX_MD_SIZE];
    EVP_DigestFinal_ex(sums, sum, NULL);
    EVP_MD_CTX_free(sums);
    for (size_t i = 0; i < MD5_BYTES; i++) snprintf(whole->etag + 2 * i, 3, "%02x", sum[i]);
    snprintf(whole->etag + 2 * MD5_BYTES, 16, "-%llu", (unsigned long long)whole->count);
    if (!work->error) work->error = store_blob_end(writer, whole->digest, digest);
    error_free(tree_remove(whole->directory));
}

static void joined(struct io_work *work) {
    struct whole *whole = CONTAINER_OF(work, struct whole, work);
    struct error *error = work->error;
    if (whole->exchange) http_exchange_on_gone(whole->exchange, NULL);
    if (whole->exchange && error) {
        http_respond_error(whole->exchange, error_wrap(error, "blob"));
    } else if (whole->exchange) {
        scoped_string char *text =
            mem_printf("<CompleteMultipartUploadResult><ETag>\"%s\"</ETag></CompleteMultipartUploadResult>",
                       whole->etag);
        static const char *const fields[] = {"Content-Type", "application/xml", NULL};
        http_respond(whole->exchange, 200, fields, span_of(text));
    } else {
        error_free(error);
    }
    whole_free(whole);
}

static void on_whole_gone(struct http_exchange *exchange) {
    struct whole *whole = http_exchange_owner(exchange);
    whole->exchange = NULL;
    http_exchange_release(exchange);
    if (!whole->working) whole_free(whole);
}

/* Its list of the parts and their sums: the whole has a better one. */
static void on_whole_data(struct http_exchange *exchange, struct span bytes) {
    (void)exchange, (void)bytes;
}

static void on_whole_end(struct http_exchange *exchange, struct error *error) {
    struct whole *whole = http_exchange_owner(exchange);
    if (error) {
        http_exchange_on_gone(exchange, NULL);
        http_respond_error(exchange, error);
        whole_free(whole);
        return;
    }
    whole->working = true;
    whole->work = (struct io_work){.work = join, .done = joined};
    io_work_start(whole->modal->loop, &whole->work);
}

static void post_whole(struct modal *modal, struct http_exchange *exchange, const char *id, uint64_t count,
                       const char *digest) {
    struct whole *whole = NEW(struct whole);
    *whole = (struct whole){.modal = modal, .exchange = exchange, .count = count};
    whole->directory = directory_of(modal, id);
    whole->digest = mem_string(digest);
    http_exchange_owner_set(exchange, whole);
    http_exchange_on_gone(exchange, on_whole_gone);
    http_exchange_read(exchange, on_whole_data, on_whole_end);
}

/* ---- addresses ---- */

static char *address(const struct modal *modal, const char *kind, const char *id, int64_t number,
                     const char *last) {
    char hex[SHA256_HEX_SIZE];
    scoped_string char *path = mem_printf("/%s/%s/%lld/%s", kind, id, (long long)number, last);
    blob_sign(modal, path, hex);
    return mem_printf("%s/%s", path, hex);
}

bool multipart_request(struct modal *modal, struct http_exchange *exchange) {
    struct span path = http_exchange_path(exchange), rest = path;
    span_cut(&rest, '/');
    scoped_string char *kind = span_string(span_cut(&rest, '/')), *id = span_string(span_cut(&rest, '/'));
    struct span number = span_cut(&rest, '/');
    scoped_string char *last = span_string(span_cut(&rest, '/'));
    bool part = strcmp(kind, "part") == 0;
    uint64_t at = 0, size = 0;
    if (!part && strcmp(kind, "whole") != 0) return false;
    if (!rest.data || !span_to_u64(number, &at) || (part && !span_to_u64(span_of(last), &size))) return false;
    scoped_string char *ours = address(modal, kind, id, (int64_t)at, last);
    if (!blob_sign_good(path, ours) || !span_is(http_exchange_method(exchange), part ? "PUT" : "POST"))
        return false;
    if (part)
        put_part(modal, exchange, id, at, (int64_t)size);
    else
        post_whole(modal, exchange, id, at, last);
    return true;
}

/* ---- begun and forgotten ---- */

bool multipart_wanted(int64_t length_bytes) {
    return length_bytes > PART_BYTES;
}

struct error *multipart_begin(struct rpc *rpc, int64_t length_bytes, const char *digest, const char *base,
                              Modal__MultiPartUpload **ret) {
    struct modal *modal = rpc->modal;
    struct arena *arena = rpc_arena(rpc);
    scoped_string char *id = random_id("up"), *directory = directory_of(modal, id);
    int64_t part = PART_BYTES;
    if (length_bytes > BLOB_BYTES_MAX)
        return error_new(ERROR_INVALID_ARGUMENT, "a blob of %lld bytes; at most %lld",
                         (long long)length_bytes, (long long)BLOB_BYTES_MAX);
    while ((length_bytes + part - 1) / part > PARTS_MAX) part *= 2;
    TRY(dir_make(directory, 0700), "upload");
    Modal__MultiPartUpload *upload = *ret = arena_alloc(arena, sizeof *upload);
    modal__multi_part_upload__init(upload);
    upload->has_part_length = true;
    upload->part_length = part;
    upload->n_upload_urls = (size_t)((length_bytes + part - 1) / part);
    upload->upload_urls = arena_alloc(arena, upload->n_upload_urls * sizeof *upload->upload_urls);
    scoped_string char *size = mem_printf("%lld", (long long)part);
    for (size_t i = 0; i < upload->n_upload_urls; i++) {
        scoped_string char *path = address(modal, "part", id, (int64_t)i + 1, size);
        upload->upload_urls[i] = arena_printf(arena, "%s%s", base, path);
    }
    scoped_string char *path = address(modal, "whole", id, (int64_t)upload->n_upload_urls, digest);
    upload->completion_url = arena_printf(arena, "%s%s", base, path);
    return NULL;
}

void multipart_sweep(const char *state_dir, bool all) {
    scoped_string char *parent = path_join(state_dir, "modal/uploads");
    DIR *entries = opendir(parent);
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        struct stat status;
        if (entry->d_name[0] == '.') continue;
        scoped_string char *path = path_join(parent, entry->d_name);
        if (!all && (stat(path, &status) || status.st_mtime > time(NULL) - STALE_S)) continue;
        error_free(tree_remove(path));
    }
    if (entries) closedir(entries);
}
