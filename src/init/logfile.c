/* logfile: lines into NAME.log, which turns into NAME.log.1, .2, .3 as it grows.
 *
 * The one who adds a line never waits: lines go into a ring, a thread takes them out to the disk. A full ring
 * or a full disk costs lines, which are counted and told ("sys N lines lost") as soon as something can be
 * written again. The ring holds whole lines only, so a file never turns, and nothing is ever lost, in the
 * middle of one. */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { RING_BYTES = 256 * 1024, CHUNK_BYTES = 64 * 1024, KEPT = 3, STAMP_BYTES = 64 };

struct logfile {
    int dir_fd, fd;
    char name[64];
    uint64_t limit_bytes, size_bytes;
    uint64_t lost_on_disk; /* the thread's own */
    pthread_t thread;
    bool threaded;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    size_t head, used;
    uint64_t lost_in_ring;
    bool closing, closed;
    char ring[RING_BYTES];
};

static size_t stamp(char *out, size_t size, const char *stream) {
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t used = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &utc);
    return used +
           (size_t)snprintf(out + used, size - used, ".%03dZ %s ", (int)(now.tv_nsec / 1000000), stream);
}

static void reopen(struct logfile *log) {
    char path[80];
    struct stat status;
    snprintf(path, sizeof path, "%s.log", log->name);
    log->fd = openat(log->dir_fd, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    log->size_bytes = log->fd >= 0 && fstat(log->fd, &status) == 0 ? (uint64_t)status.st_size : 0;
}

static void turn(struct logfile *log) {
    char from[96], to[96];
    for (int i = KEPT; i > 0; i--) {
        snprintf(to, sizeof to, "%s.log.%d", log->name, i);
        if (i > 1)
            snprintf(from, sizeof from, "%s.log.%d", log->name, i - 1);
        else
            snprintf(from, sizeof from, "%s.log", log->name);
        (void)renameat(log->dir_fd, from, log->dir_fd, to);
    }
    if (log->fd >= 0) close(log->fd);
    reopen(log);
}

static bool put(struct logfile *log, const char *data, size_t size) {
    if (log->fd < 0) reopen(log);
    if (log->fd < 0) return false;
    if (log->size_bytes > 0 && log->size_bytes + size > log->limit_bytes) turn(log);
    if (log->fd < 0) return false;
    ssize_t written = write(log->fd, data, size);
    if (written == (ssize_t)size) {
        log->size_bytes += size;
        return true;
    }
    /* Half a line on a full disk: as if it had not been. */
    if (written > 0) (void)!ftruncate(log->fd, (off_t)log->size_bytes);
    return false;
}

static uint64_t newlines(const char *data, size_t size) {
    uint64_t count = 0;
    for (size_t i = 0; i < size; i++) count += data[i] == '\n';
    return count;
}

static void tell_lost(struct logfile *log, uint64_t lost) {
    char line[STAMP_BYTES + 64];
    size_t used = stamp(line, sizeof line, "sys");
    used +=
        (size_t)snprintf(line + used, sizeof line - used,
                         "%llu lines lost: the log could not be written fast enough, or the disk is full\n",
                         (unsigned long long)lost);
    log->lost_on_disk = put(log, line, used) ? 0 : lost;
}

/* The longest part of the ring that ends in a newline and fits in `out`. */
static size_t take_out(struct logfile *log, char *out) {
    size_t size = log->used < CHUNK_BYTES ? log->used : CHUNK_BYTES;
    size_t first = RING_BYTES - log->head < size ? RING_BYTES - log->head : size;
    memcpy(out, log->ring + log->head, first);
    memcpy(out + first, log->ring, size - first);
    while (size > 0 && out[size - 1] != '\n') size--;
    log->head = (log->head + size) % RING_BYTES;
    log->used -= size;
    return size;
}

static void *write_out(void *log_) {
    struct logfile *log = log_;
    char *chunk = malloc(CHUNK_BYTES);
    pthread_mutex_lock(&log->lock);
    while (chunk && (log->used > 0 || log->lost_in_ring > 0 || !log->closing)) {
        if (log->used == 0 && log->lost_in_ring == 0) {
            pthread_cond_wait(&log->changed, &log->lock);
            continue;
        }
        size_t size = take_out(log, chunk);
        uint64_t lost = log->lost_in_ring;
        log->lost_in_ring = 0;
        pthread_mutex_unlock(&log->lock);
        if (log->lost_on_disk > 0) tell_lost(log, log->lost_on_disk);
        if (size > 0 && (log->lost_on_disk > 0 || !put(log, chunk, size)))
            log->lost_on_disk += newlines(chunk, size);
        if (lost > 0) tell_lost(log, log->lost_on_disk + lost);
        pthread_mutex_lock(&log->lock);
    }
    log->closed = true;
    pthread_cond_broadcast(&log->changed);
    pthread_mutex_unlock(&log->lock);
    free(chunk);
    return NULL;
}

struct logfile *logfile_open(int dir_fd, const char *name, uint64_t limit_bytes) {
    struct logfile *log = calloc(1, sizeof *log);
    if (!log) return NULL;
    log->dir_fd = dir_fd;
    log->limit_bytes = limit_bytes;
    snprintf(log->name, sizeof log->name, "%s", name);
    pthread_mutex_init(&log->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&log->changed, &monotonic);
    reopen(log);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 * 1024);
    log->threaded = pthread_create(&log->thread, &small, write_out, log) == 0;
    return log;
}

static void append(struct logfile *log, const char *data, size_t size) {
    size_t tail = (log->head + log->used) % RING_BYTES;
    size_t first = RING_BYTES - tail < size ? RING_BYTES - tail : size;
    memcpy(log->ring + tail, data, first);
    memcpy(log->ring, data + first, size - first);
    log->used += size;
}

void logfile_line(struct logfile *log, const char *stream, const char *text, size_t size) {
    char head[STAMP_BYTES];
    size_t head_size = stamp(head, sizeof head, stream);
    if (!log) return;
    pthread_mutex_lock(&log->lock);
    if (!log->threaded || log->used + head_size + size + 1 > RING_BYTES) {
        log->lost_in_ring++;
    } else {
        append(log, head, head_size);
        append(log, text, size);
        append(log, "\n", 1);
    }
    pthread_cond_signal(&log->changed);
    pthread_mutex_unlock(&log->lock);
}

void logfile_say(struct logfile *log, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (size > 0) logfile_line(log, "sys", text, (size_t)size < sizeof text ? (size_t)size : sizeof text - 1);
}

void logfile_close(struct logfile *log, int64_t patience_ms) {
    if (!log || !log->threaded) return;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += patience_ms / 1000;
    pthread_mutex_lock(&log->lock);
    log->closing = true;
    pthread_cond_broadcast(&log->changed);
    while (!log->closed && pthread_cond_timedwait(&log->changed, &log->lock, &until) == 0) {
    }
    pthread_mutex_unlock(&log->lock);
}
