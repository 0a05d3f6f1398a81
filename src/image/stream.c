/* Decompressing costs about as much as writing files: a thread of its own halves the time of a layer. Pieces travel through a ring
 * of a few buffers under one lock; the hash of the plain bytes is the reader's, who has less to do. Ends early when the reader is
 * freed. */
#include "stream.h"

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
struct stream {
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
    struct stream *stream = owner;
    while (size > 0) {
        pthread_mutex_lock(&stream->lock);
        while (stream->count == PIECES && !stream->abandoned) pthread_cond_wait(&stream->changed, &stream->lock);
        bool abandoned = stream->abandoned;
        struct piece *piece = &stream->pieces[(stream->first + stream->count) % PIECES];
        pthread_mutex_unlock(&stream->lock);
        if (abandoned) return false;
        piece->size = size < PIECE_BYTES ? size : PIECE_BYTES;
        memcpy(piece->data, data, piece->size);
        data += piece->size, size -= piece->size;
        pthread_mutex_lock(&stream->lock);
        stream->count++;
        pthread_cond_signal(&stream->changed);
        pthread_mutex_unlock(&stream->lock);
    }
    return true;
}

static struct error *failure(struct archive *archive) {
    int code = archive_errno(archive);
    const char *text = archive_error_string(archive);
    return error_new(ERROR_DATA_LOSS, "it can't be decompressed: %s", text ? text : code ? "broken" : "no reason is known");
}

static struct error *decompress(struct stream *stream, struct archive *archive) {
    struct archive_entry *entry;
    archive_read_support_filter_gzip(archive);
    archive_read_support_filter_zstd(archive);
    archive_read_support_filter_xz(archive);
    archive_read_support_filter_bzip2(archive);
    archive_read_support_format_raw(archive);
    archive_read_support_format_empty(archive);
    if (archive_read_open_fd(archive, stream->fd, 256 * 1024) != ARCHIVE_OK) return failure(archive);
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
        if (!put(stream, data, size)) return NULL;
    }
}

static struct error *decompress_any(struct stream *stream) {
    if (gunzip_built() && gunzip_is(stream->fd)) return gunzip_all(stream->fd, put, stream);
    struct archive *archive = archive_read_new();
    struct error *error = decompress(stream, archive);
    archive_read_free(archive);
    return error;
}

static void *run(void *argument) {
    struct stream *stream = argument;
    struct error *error = decompress_any(stream);
    pthread_mutex_lock(&stream->lock);
    stream->ended = true;
    stream->error = error;
    pthread_cond_signal(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
    return NULL;
}

/* ---- the reader ---- */

struct error *stream_open(int fd, struct stream **ret_stream) {
    struct stream *stream = NEW(struct stream);
    stream->fd = fd;
    stream->sum = sha256_new();
    pthread_mutex_init(&stream->lock, NULL);
    pthread_cond_init(&stream->changed, NULL);
    for (size_t i = 0; i < PIECES; i++) stream->pieces[i].data = mem_new(PIECE_BYTES);
    int failed = pthread_create(&stream->thread, NULL, run, stream);
    stream->running = failed == 0;
    if (failed) {
        stream_free(stream);
        return error_errno(failed, "start a thread");
    }
    *ret_stream = stream;
    return NULL;
}

struct error *stream_next(struct stream *stream, struct span *ret_piece) {
    struct error *error = NULL;
    *ret_piece = (struct span){"", 0};
    pthread_mutex_lock(&stream->lock);
    if (stream->taken) {
        stream->first = (stream->first + 1) % PIECES;
        stream->count--;
        stream->taken = false;
        pthread_cond_signal(&stream->changed);
    }
    while (stream->count == 0 && !stream->ended) pthread_cond_wait(&stream->changed, &stream->lock);
    if (stream->count > 0) {
        stream->taken = true;
        *ret_piece = (struct span){stream->pieces[stream->first].data, stream->pieces[stream->first].size};
    } else {
        error = error_copy(stream->error);
    }
    pthread_mutex_unlock(&stream->lock);
    sha256_add(stream->sum, ret_piece->data, ret_piece->size);
    return error;
}

struct error *stream_end(struct stream *stream, char ret_sum[SHA256_HEX_SIZE]) {
    struct span piece;
    do TRY_PLAIN(stream_next(stream, &piece));
    while (piece.size > 0);
    sha256_hex(stream->sum, ret_sum);
    return NULL;
}

void stream_free(struct stream *stream) {
    if (!stream) return;
    pthread_mutex_lock(&stream->lock);
    stream->abandoned = true;
    pthread_cond_signal(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
    if (stream->running) pthread_join(stream->thread, NULL);
    for (size_t i = 0; i < PIECES; i++) free(stream->pieces[i].data);
    pthread_cond_destroy(&stream->changed);
    pthread_mutex_destroy(&stream->lock);
    sha256_free(stream->sum);
    error_free(stream->error);
    free(stream);
}
