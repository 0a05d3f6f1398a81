/* Decompressing costs about as much as writing files: a thread of its own halves the time of a layer. Pieces
 * travel through a ring of a few buffers under one lock; the hash of the plain bytes is the reader's, who has
 * less to do. Ends early when the reader is freed. */
#include "inflow.h"

#include "gunzip.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

enum { PIECES = 8, PIECE_BYTES = 512 * 1024 };

struct piece {
    char *data;
    size_t size;
};
struct inflow {
    int fd;
    pthread_t thread;
    bool running, taken; /* taken: the reader still has the piece at `first` */
    struct sha256 *sum;
    pthread_mutex_t lock; /* for what follows */
    pthread_cond_t changed;
    struct piece pieces[PIECES];
    size_t first, count;
    bool ended, abandoned;
    struct error *error;
};

/* ---- the thread that decompresses ---- */

static bool put(void *owner, const char *data, size_t size) {
    struct inflow *inflow = owner;
    while (size > 0) {
        pthread_mutex_lock(&inflow->lock);
        while (inflow->count == PIECES && !inflow->abandoned)
            pthread_cond_wait(&inflow->changed, &inflow->lock);
        bool abandoned = inflow->abandoned;
        struct piece *piece = &inflow->pieces[(inflow->first + inflow->count) % PIECES];
        pthread_mutex_unlock(&inflow->lock);
        if (abandoned) return false;
        piece->size = size < PIECE_BYTES ? size : PIECE_BYTES;
        memcpy(piece->data, data, piece->size);
        data += piece->size, size -= piece->size;
        pthread_mutex_lock(&inflow->lock);
        inflow->count++;
        pthread_cond_signal(&inflow->changed);
        pthread_mutex_unlock(&inflow->lock);
    }
    return true;
}

static struct error *failure(struct archive *archive) {
    int code = archive_errno(archive);
    const char *text = archive_error_string(archive);
    return error_new(ERROR_DATA_LOSS, "it can't be decompressed: %s",
                     text   ? text
                     : code ? "broken"
                            : "no reason is known");
}

static struct error *decompress(struct inflow *inflow, struct archive *archive) {
    struct archive_entry *entry;
    archive_read_support_filter_gzip(archive);
    archive_read_support_filter_zstd(archive);
    archive_read_support_filter_xz(archive);
    archive_read_support_filter_bzip2(archive);
    archive_read_support_format_raw(archive);
    archive_read_support_format_empty(archive);
    if (archive_read_open_fd(archive, inflow->fd, 256 * 1024) != ARCHIVE_OK) return failure(archive);
    int result = archive_read_next_header(archive, &entry);
    if (result == ARCHIVE_EOF) return NULL;
    if (result != ARCHIVE_OK) return failure(archive);
    for (;;) {
        const void *data;
        size_t size;
        la_int64_t offset;
        result = archive_read_data_block(archive, &data, &size, &offset);
        if (result == ARCHIVE_EOF) return NULL;
        if (result != ARCHIVE_OK) return failure(archive);
        if (!put(inflow, data, size)) return NULL;
    }
}

static struct error *decompress_any(struct inflow *inflow) {
    if (gunzip_built() && gunzip_is(inflow->fd)) return gunzip_all(inflow->fd, put, inflow);
    struct archive *archive = archive_read_new();
    struct error *error = decompress(inflow, archive);
    archive_read_free(archive);
    return error;
}

static void *run(void *argument) {
    struct inflow *inflow = argument;
    struct error *error = decompress_any(inflow);
    pthread_mutex_lock(&inflow->lock);
    inflow->ended = true;
    inflow->error = error;
    pthread_cond_signal(&inflow->changed);
    pthread_mutex_unlock(&inflow->lock);
    return NULL;
}

/* ---- the reader ---- */

struct error *inflow_open(int fd, struct inflow **ret_inflow) {
    struct inflow *inflow = NEW(struct inflow);
    inflow->fd = fd;
    inflow->sum = sha256_new();
    pthread_mutex_init(&inflow->lock, NULL);
    pthread_cond_init(&inflow->changed, NULL);
    for (size_t i = 0; i < PIECES; i++) inflow->pieces[i].data = mem_new(PIECE_BYTES);
    int failed = pthread_create(&inflow->thread, NULL, run, inflow);
    inflow->running = failed == 0;
    if (failed) {
        inflow_free(inflow);
        return error_errno(failed, "start a thread");
    }
    *ret_inflow = inflow;
    return NULL;
}

struct error *inflow_next(struct inflow *inflow, struct span *ret_piece) {
    struct error *error = NULL;
    *ret_piece = (struct span){"", 0};
    pthread_mutex_lock(&inflow->lock);
    if (inflow->taken) {
        inflow->first = (inflow->first + 1) % PIECES;
        inflow->count--;
        inflow->taken = false;
        pthread_cond_signal(&inflow->changed);
    }
    while (inflow->count == 0 && !inflow->ended) pthread_cond_wait(&inflow->changed, &inflow->lock);
    if (inflow->count > 0) {
        inflow->taken = true;
        *ret_piece = (struct span){inflow->pieces[inflow->first].data, inflow->pieces[inflow->first].size};
    } else {
        error = error_copy(inflow->error);
    }
    pthread_mutex_unlock(&inflow->lock);
    sha256_add(inflow->sum, ret_piece->data, ret_piece->size);
    return error;
}

struct error *inflow_end(struct inflow *inflow, char ret_sum[SHA256_HEX_SIZE]) {
    struct span piece;
    do TRY_PLAIN(inflow_next(inflow, &piece));
    while (piece.size > 0);
    sha256_hex(inflow->sum, ret_sum);
    return NULL;
}

void inflow_free(struct inflow *inflow) {
    if (!inflow) return;
    pthread_mutex_lock(&inflow->lock);
    inflow->abandoned = true;
    pthread_cond_signal(&inflow->changed);
    pthread_mutex_unlock(&inflow->lock);
    if (inflow->running) pthread_join(inflow->thread, NULL);
    for (size_t i = 0; i < PIECES; i++) free(inflow->pieces[i].data);
    pthread_cond_destroy(&inflow->changed);
    pthread_mutex_destroy(&inflow->lock);
    sha256_free(inflow->sum);
    error_free(inflow->error);
    free(inflow);
}
