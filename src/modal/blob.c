/* blob: bytes too many for a message, put and got by HTTP.
 *
 * A blob is kept by its SHA-256, which its client tells before it sends it, so its id holds it. The URLs
 * carry a signature of ours: who was given one may use it, nobody else. Clients reach them at an address of
 * this machine; containers at one of their own loopback, where a socket of ours listens (they can't reach
 * this machine's). Big ones come in parts: multipart.c. */
#include "blob.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define PORT_INSIDE 47071
#define PIECE_BYTES (256 * 1024)
#define PATH "/blob/"

struct upload { /* one PUT */
    struct modal *modal;
    struct http_exchange *exchange; /* NULL: the client is gone */
    struct store_blob_writer *writer;
    EVP_MD_CTX *md5;
    char digest[SHA256_HEX_SIZE];
    struct error *error;
    struct io_work work;
    bool working;
};
struct download { /* one GET */
    int fd;
    int64_t left;
};

/* ---- signed paths ---- */

void blob_sign(const struct modal *modal, const char *text, char hex[SHA256_HEX_SIZE]) {
    scoped_string char *whole = mem_printf("%s %s", modal->blob_key, text);
    sha256_of(span_of(whole), hex);
    hex[32] = '\0';
}

bool blob_sign_good(struct span given, const char *ours) {
    return given.size == strlen(ours) && CRYPTO_memcmp(given.data, ours, given.size) == 0;
}

static void sign(const struct modal *modal, const char *method, const char *digest,
                 char hex[SHA256_HEX_SIZE]) {
    scoped_string char *text = mem_printf("%s %s", method, digest);
    blob_sign(modal, text, hex);
}

static char *path_of(const struct modal *modal, const char *method, const char *digest) {
    char hex[SHA256_HEX_SIZE];
    sign(modal, method, digest, hex);
    return mem_printf(PATH "%s/%s", digest, hex);
}

/* The digest of a path that we signed for this method; NULL: it is none. */
static char *digest_of(const struct modal *modal, const char *method, struct span path) {
    if (!span_starts(path, PATH)) return NULL;
    struct span rest = {path.data + sizeof PATH - 1, path.size - (sizeof PATH - 1)};
    struct span digest = span_cut(&rest, '/');
    scoped_string char *wanted = span_string(digest);
    char hex[SHA256_HEX_SIZE];
    sign(modal, method, wanted, hex);
    return rest.data && blob_sign_good(rest, hex) ? take(wanted) : NULL;
}

static struct error *base_url(struct rpc *rpc, char **ret) {
    struct modal *modal = rpc->modal;
    struct task *task = rpc->task;
    if (!task) { /* as the client calls this machine */
        struct span host = grpc_call_authority(rpc->call);
        const char *colon = host.data ? memrchr(host.data, ':', host.size) : NULL;
        if (colon) host.size = (size_t)(colon - host.data);
        bool local = grpc_call_tag(rpc->call) != modal;
        if (host.size == 0 || local) host = SPAN("127.0.0.1");
        *ret = arena_printf(rpc_arena(rpc), "%s://" SPAN_FORMAT ":%u",
                            !local && grpc_call_secure(rpc->call) ? "https" : "http", SPAN_ARGS(host),
                            local ? modal->blob_local_port : modal->blob_port);
        return NULL;
    }
    if (!task->blobs_inside) {
        int fd = -1;
        TRY(node_listen(modal->node, task->container, PORT_INSIDE, &fd), "blobs for the container");
        TRY_PLAIN(http_server_listen_fd(modal->blobs, fd, task));
        task->blobs_inside = true;
    }
    *ret = arena_printf(rpc_arena(rpc), "http://127.0.0.1:%d", PORT_INSIDE);
    return NULL;
}

/* ---- PUT ---- */

static void upload_free(struct upload *upload) {
    store_blob_writer_free(upload->writer);
    EVP_MD_CTX_free(upload->md5);
    error_free(upload->error);
    free(upload);
}

static void answer_put(struct upload *upload) {
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    char tag[40] = "\"";
    EVP_DigestFinal_ex(upload->md5, sum, &size);
    for (unsigned i = 0; i < size && i < 16; i++) snprintf(tag + 1 + 2 * i, 4, "%02x\"", sum[i]);
    const char *const fields[] = {"ETag", tag, "Content-Type", "text/plain", NULL};
    http_respond(upload->exchange, 200, fields, SPAN("taken"));
}

static void end_on_worker(struct io_work *work) {
    struct upload *upload = CONTAINER_OF(work, struct upload, work);
    char digest[SHA256_HEX_SIZE];
    work->error = store_blob_end(upload->writer, upload->digest, digest);
}

static void end_done(struct io_work *work) {
    struct upload *upload = CONTAINER_OF(work, struct upload, work);
    struct error *error = work->error;
    upload->working = false;
    if (upload->exchange && error)
        http_respond_error(upload->exchange, error_wrap(error, "blob"));
    else if (upload->exchange)
        answer_put(upload);
    else
        error_free(error);
    upload_free(upload);
}

static void on_gone(struct http_exchange *exchange) {
    struct upload *upload = http_exchange_owner(exchange);
    upload->exchange = NULL;
    http_exchange_release(exchange);
    if (!upload->working) upload_free(upload);
}

static void on_data(struct http_exchange *exchange, struct span bytes) {
    struct upload *upload = http_exchange_owner(exchange);
    if (upload->error) return;
    EVP_DigestUpdate(upload->md5, bytes.data, bytes.size);
    upload->error = store_blob_add(upload->writer, bytes);
}

static void on_end(struct http_exchange *exchange, struct error *error) {
    struct upload *upload = http_exchange_owner(exchange);
    if (!error) error = take(upload->error);
    if (error) {
        http_exchange_on_gone(exchange, NULL);
        http_respond_error(exchange, error);
        upload_free(upload);
        return;
    }
    upload->working = true;
    upload->work = (struct io_work){.work = end_on_worker, .done = end_done};
    io_work_start(upload->modal->loop, &upload->work);
}

static void put(struct modal *modal, struct http_exchange *exchange, const char *digest) {
    struct upload *upload = NEW(struct upload);
    upload->modal = modal;
    upload->exchange = exchange;
    snprintf(upload->digest, sizeof upload->digest, "%s", digest);
    upload->md5 = EVP_MD_CTX_new();
    EVP_DigestInit_ex(upload->md5, EVP_md5(), NULL);
    struct error *error = store_blob_begin(modal->store, &upload->writer);
    if (error) {
        upload_free(upload);
        http_respond_error(exchange, error);
        return;
    }
    http_exchange_owner_set(exchange, upload);
    http_exchange_on_gone(exchange, on_gone);
    http_exchange_read(exchange, on_data, on_end);
}

/* ---- GET ---- */

static void download_free(struct download *download) {
    close(download->fd);
    free(download);
}

static void send_more(struct http_exchange *exchange) {
    struct download *download = http_exchange_owner(exchange);
    char bytes[PIECE_BYTES];
    bool room = true;
    while (room && download->left > 0) {
        size_t wanted = download->left < (int64_t)sizeof bytes ? (size_t)download->left : sizeof bytes;
        ssize_t size = read(download->fd, bytes, wanted);
        if (size <= 0) {
            http_exchange_on_gone(exchange, NULL);
            http_respond_abort(exchange);
            download_free(download);
            return;
        }
        download->left -= size;
        room = http_respond_write(exchange, (struct span){bytes, (size_t)size});
    }
    if (download->left > 0) return;
    http_exchange_on_gone(exchange, NULL);
    http_respond_on_drained(exchange, NULL);
    http_respond_end(exchange);
    download_free(download);
}

static void on_download_gone(struct http_exchange *exchange) {
    download_free(http_exchange_owner(exchange));
    http_exchange_release(exchange);
}

/* A blob of the store, or what a volume holds: DIGEST, or DIGEST.OFFSET.LENGTH of it. */
static struct error *open_part(const struct modal *modal, const char *part, int *ret_fd,
                               int64_t *ret_length) {
    struct span rest = span_of(part);
    scoped_string char *digest = span_string(span_cut(&rest, '.'));
    uint64_t offset = 0, length = UINT64_MAX;
    if (rest.data && (!span_to_u64(span_cut(&rest, '.'), &offset) || !span_to_u64(rest, &length)))
        return error_new(ERROR_INVALID_ARGUMENT, "'%s' is no part of a file", part);
    scoped_string char *path = store_blob_path(modal->store, digest);
    scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) TRY_PLAIN(volume_content_open(modal->volumes_room, digest, &fd));
    struct stat status;
    if (fstat(fd, &status) || lseek(fd, (off_t)offset, SEEK_SET) < 0)
        return error_errno(errno, "blob %s", digest);
    uint64_t size = (uint64_t)status.st_size, left = offset < size ? size - offset : 0;
    *ret_length = (int64_t)(length < left ? length : left);
    *ret_fd = take_fd(&fd);
    return NULL;
}

static void get(struct modal *modal, struct http_exchange *exchange, const char *part) {
    int fd = -1;
    int64_t length = 0;
    struct error *error = open_part(modal, part, &fd, &length);
    if (error) {
        http_respond_error(exchange, error);
        return;
    }
    struct download *download = NEW(struct download);
    *download = (struct download){fd, length};
    static const char *const fields[] = {"Content-Type", "application/octet-stream", NULL};
    http_exchange_owner_set(exchange, download);
    http_exchange_on_gone(exchange, on_download_gone);
    http_respond_begin(exchange, 200, fields, length);
    http_respond_on_drained(exchange, send_more);
    send_more(exchange);
}

static void on_request(void *owner, struct http_exchange *exchange) {
    struct modal *modal = owner;
    if (multipart_request(modal, exchange)) return;
    bool puts = span_is(http_exchange_method(exchange), "PUT");
    struct span path = http_exchange_path(exchange);
    scoped_string char *digest = digest_of(modal, puts ? "PUT" : "GET", path);
    if (!digest)
        http_respond_error(exchange,
                           error_new(ERROR_PERMISSION_DENIED, "this address was not given out by catnap"));
    else if (puts)
        put(modal, exchange, digest);
    else
        get(modal, exchange, digest);
}

/* ---- what clients ask ---- */

/* Base64 of 32 bytes as 64 hexadecimal digits; false: it is none. */
static bool digest_from_base64(const char *base64, char hex[SHA256_HEX_SIZE]) {
    unsigned char bytes[48];
    if (!base64 || strlen(base64) != 44) return false;
    if (EVP_DecodeBlock(bytes, (const unsigned char *)base64, 44) != 33) return false;
    for (size_t i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    return true;
}

static struct error *create(struct rpc *rpc, const Modal__BlobCreateRequest *request,
                            Modal__BlobCreateResponse *ret) {
    struct arena *arena = rpc_arena(rpc);
    char hex[SHA256_HEX_SIZE], *base = NULL;
    if (!digest_from_base64(request->content_sha256_base64, hex))
        return error_new(ERROR_INVALID_ARGUMENT, "content_sha256_base64 is no SHA-256 in base64");
    TRY_PLAIN(base_url(rpc, &base));
    ret->blob_id = arena_printf(arena, "bl-%s", hex);
    ret->n_blob_ids = 1;
    ret->blob_ids = &ret->blob_id;
    if (multipart_wanted(request->content_length)) {
        Modal__MultiPartUploadList *list = ret->multiparts = arena_alloc(arena, sizeof *list);
        modal__multi_part_upload_list__init(list);
        TRY_PLAIN(multipart_begin(rpc, request->content_length, hex, base, &ret->multipart));
        list->n_items = 1;
        list->items = &ret->multipart;
        return NULL;
    }
    scoped_string char *path = path_of(rpc->modal, "PUT", hex);
    Modal__UploadUrlList *urls = ret->upload_urls = arena_alloc(arena, sizeof *urls);
    modal__upload_url_list__init(urls);
    ret->upload_url = arena_printf(arena, "%s%s", base, path);
    urls->n_items = 1;
    urls->items = &ret->upload_url;
    return NULL;
}

static void blob_create(struct rpc *rpc, const void *message) {
    Modal__BlobCreateResponse answer = MODAL__BLOB_CREATE_RESPONSE__INIT;
    struct error *error = create(rpc, message, &answer);
    if (error)
        rpc_fail(rpc, error);
    else
        rpc_answer(rpc, &answer);
}

const char *blob_digest(const char *id) {
    return id && strncmp(id, "bl-", 3) == 0 && strlen(id) == 3 + SHA256_HEX_SIZE - 1 ? id + 3 : NULL;
}

static void blob_get(struct rpc *rpc, const void *message) {
    const Modal__BlobGetRequest *request = message;
    const char *digest = blob_digest(request->blob_id);
    char *base = NULL;
    scoped_fd int fd = -1;
    int64_t length = 0;
    struct error *error =
        digest ? open_part(rpc->modal, digest, &fd, &length) : no_object("blob", request->blob_id);
    if (!error) error = base_url(rpc, &base);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    scoped_string char *path = path_of(rpc->modal, "GET", digest);
    Modal__BlobGetResponse answer = MODAL__BLOB_GET_RESPONSE__INIT;
    answer.download_url = arena_printf(rpc_arena(rpc), "%s%s", base, path);
    rpc_answer(rpc, &answer);
}

char *blob_url(struct rpc *rpc, const char *method, const char *digest) {
    char *base = NULL;
    scoped(error) struct error *error = base_url(rpc, &base);
    if (error) return NULL;
    scoped_string char *path = path_of(rpc->modal, method, digest);
    return arena_printf(rpc_arena(rpc), "%s%s", base, path);
}

void blob_server_open(struct modal *modal) {
    unsigned char key[16];
    random_bytes(key, sizeof key);
    modal->blob_key = mem_array(1, 33);
    for (size_t i = 0; i < sizeof key; i++) snprintf(modal->blob_key + 2 * i, 3, "%02x", key[i]);
    modal->blobs = http_server_new(
        &(struct http_server_options){.loop = modal->loop, .on_request = on_request, .owner = modal});
}

struct error *blob_server_listen(struct modal *modal, const char *address) {
    if (strchr(address, '/'))
        return modal->blob_local_port
                   ? NULL
                   : http_server_listen(modal->blobs, "127.0.0.1:0", NULL, &modal->blob_local_port);
    const char *colon = strrchr(address, ':');
    scoped_string char *any = mem_printf("%.*s:0", (int)(colon ? colon - address : 0), address);
    const struct http_listener listener = {.address = any, .tls = modal->tls};
    return http_server_listen_on(modal->blobs, &listener, &modal->blob_port);
}

void blob_server_free(struct modal *modal) {
    http_server_free(modal->blobs);
    free(modal->blob_key);
}

const struct rpc_method blob_methods[] = {
    {"BlobCreate", &modal__blob_create_request__descriptor, blob_create, RPC_TASK},
    {"BlobGet", &modal__blob_get_request__descriptor, blob_get, RPC_TASK},
    {0},
};
