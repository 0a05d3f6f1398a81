/* logfile: lines on their way to the disk.
 *
 * Lines go into a ring, a thread takes them out to the disk (logdisk.c). A healthy disk loses none: while the
 * ring is full, who brings lines is asked to wait (logfile_line is false), and tries again when `room_fd`
 * says so. A disk that is slow or hangs costs the app at most WAIT_BURST_US at once and a tenth of its time;
 * what is too much then is counted as lost. The ring holds whole lines only, so nothing is ever lost in the
 * middle of one. */
#include "init.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { RING_BYTES = 256 * 1024, CHUNK_BYTES = 64 * 1024 };
enum { WAIT_BURST_US = 1000000, WAIT_LEAST_US = 5000, WAIT_SHARE = 10 /* one part in as many */ };

struct logfile {
    struct logdisk disk; /* the thread's own */
    pthread_t thread;
    bool threaded;
    int room_fd;

    /* Only for those who bring lines. */
    int64_t budget_us, budget_at_us; /* for how long we may wait yet, and when that was reckoned */
    int64_t waiting_since_us;        /* 0: not */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t lines, room;
    size_t head, used;
    uint64_t lost_in_ring;
    bool idle, room_wanted, closing, closed;
    char ring[RING_BYTES];
};

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

static void tell_room(struct logfile *log) {
    const uint64_t one = 1;
    pthread_cond_broadcast(&log->room);
    if (log->room_wanted) (void)!write(log->room_fd, &one, sizeof one);
    log->room_wanted = false;
}

static void *write_out(void *log_) {
    struct logfile *log = log_;
    char *chunk = malloc(CHUNK_BYTES);
    pthread_mutex_lock(&log->lock);
    while (chunk && (log->used > 0 || log->lost_in_ring > 0 || !log->closing)) {
        if (log->used == 0 && log->lost_in_ring == 0) {
            log->idle = true;
            pthread_cond_wait(&log->lines, &log->lock);
            log->idle = false;
            continue;
        }
        size_t size = take_out(log, chunk);
        uint64_t lost = log->lost_in_ring;
        log->lost_in_ring = 0;
        tell_room(log);
        pthread_mutex_unlock(&log->lock);
        logdisk_write(&log->disk, chunk, size, lost);
        pthread_mutex_lock(&log->lock);
    }
    logdisk_write(&log->disk, "", 0, 0); /* what was lost last */
    log->closed = true;
    pthread_cond_broadcast(&log->room);
    pthread_mutex_unlock(&log->lock);
    free(chunk);
    return NULL;
}

struct logfile *logfile_open(int dir_fd, const char *name, uint64_t limit_bytes) {
    struct logfile *log = calloc(1, sizeof *log);
    if (!log) return NULL;
    logdisk_open(&log->disk, dir_fd, name, limit_bytes);
    log->room_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    log->budget_us = WAIT_BURST_US;
    log->budget_at_us = now_us();
    pthread_mutex_init(&log->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&log->lines, &monotonic);
    pthread_cond_init(&log->room, &monotonic);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 * 1024);
    log->threaded = pthread_create(&log->thread, &small, write_out, log) == 0;
    return log;
}

int logfile_room_fd(const struct logfile *log) {
    return log ? log->room_fd : -1;
}

int64_t logfile_waits_until_us(const struct logfile *log) {
    return log && log->waiting_since_us ? log->waiting_since_us + log->budget_us : INT64_MAX;
}

static void reckon(struct logfile *log, int64_t now) {
    log->budget_us += (now - log->budget_at_us) / WAIT_SHARE;
    if (log->budget_us > WAIT_BURST_US) log->budget_us = WAIT_BURST_US;
    log->budget_at_us = now;
}

static void stop_waiting(struct logfile *log, int64_t now) {
    if (!log->waiting_since_us) return;
    log->budget_us -= now - log->waiting_since_us;
    if (log->budget_us < 0) log->budget_us = 0;
    log->budget_at_us = now;
    log->waiting_since_us = 0;
}

/* May the one who brings a line that does not fit wait for room? */
static bool may_wait(struct logfile *log) {
    int64_t now = now_us();
    if (log->waiting_since_us) {
        if (now < log->waiting_since_us + log->budget_us) return true;
        stop_waiting(log, now);
        return false;
    }
    reckon(log, now);
    if (log->budget_us < WAIT_LEAST_US) return false;
    log->waiting_since_us = now;
    return true;
}

static void append(struct logfile *log, const char *data, size_t size) {
    size_t tail = (log->head + log->used) % RING_BYTES;
    size_t first = RING_BYTES - tail < size ? RING_BYTES - tail : size;
    memcpy(log->ring + tail, data, first);
    memcpy(log->ring, data + first, size - first);
    log->used += size;
}

bool logfile_line(struct logfile *log, const char *stream, const char *text, size_t size) {
    char head[STAMP_BYTES];
    if (!log || !log->threaded) return true;
    size_t head_size = log_stamp(head, stream);
    pthread_mutex_lock(&log->lock);
    bool fits = log->used + head_size + size + 1 <= RING_BYTES;
    bool waits = !fits && may_wait(log);
    if (fits) {
        append(log, head, head_size);
        append(log, text, size);
        append(log, "\n", 1);
    } else if (waits) {
        log->room_wanted = true;
    } else {
        log->lost_in_ring++;
    }
    if (log->idle) pthread_cond_signal(&log->lines);
    pthread_mutex_unlock(&log->lock);
    if (fits && log->waiting_since_us) stop_waiting(log, now_us());
    return !waits;
}

static struct timespec moment(int64_t us) {
    return (struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
}

void logfile_await_room(struct logfile *log, int64_t until_us) {
    struct timespec until = moment(until_us);
    if (!log || !log->threaded) return;
    pthread_mutex_lock(&log->lock);
    while (log->used > RING_BYTES / 2 && !log->closed &&
           pthread_cond_timedwait(&log->room, &log->lock, &until) == 0) {
    }
    pthread_mutex_unlock(&log->lock);
}

void logfile_say(struct logfile *log, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (size < 0) return;
    logfile_await_room(log, now_us() + WAIT_BURST_US);
    (void)logfile_line(log, "sys", text, (size_t)size < sizeof text ? (size_t)size : sizeof text - 1);
}

void logfile_close(struct logfile *log, int64_t until_us) {
    struct timespec until = moment(until_us);
    if (!log || !log->threaded) return;
    pthread_mutex_lock(&log->lock);
    log->closing = true;
    pthread_cond_broadcast(&log->lines);
    while (!log->closed && pthread_cond_timedwait(&log->room, &log->lock, &until) == 0) {
    }
    pthread_mutex_unlock(&log->lock);
}
