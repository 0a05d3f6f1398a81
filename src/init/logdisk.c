/* logdisk: NAME.log, which turns into NAME.log.1, .2, .3 as it grows.
 *
 * The part of the log that may wait for a disk; only the log's thread is in here. Whole lines or nothing:
 * what a full disk took half of is cut off again. What could not be written is counted, and told in a line of
 * its own ("sys N lines lost") as soon as something can be written again. */
#include "init.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { KEPT = 3, LOST_BYTES = STAMP_BYTES + 96 };

size_t log_stamp(char out[STAMP_BYTES], const char *stream) {
    static _Thread_local time_t second;
    static _Thread_local char text[32]; /* of that second: a flood has many lines in one */
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != second || !text[0]) {
        gmtime_r(&now.tv_sec, &utc);
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
        second = now.tv_sec;
    }
    return (size_t)snprintf(out, STAMP_BYTES, "%s.%03dZ %s ", text, (int)(now.tv_nsec / 1000000), stream);
}

static void reopen(struct logdisk *disk) {
    char path[80];
    struct stat status;
    snprintf(path, sizeof path, "%s.log", disk->name);
    disk->fd = openat(disk->dir_fd, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    disk->size_bytes = disk->fd >= 0 && fstat(disk->fd, &status) == 0 ? (uint64_t)status.st_size : 0;
}

void logdisk_open(struct logdisk *disk, int dir_fd, const char *name, uint64_t limit_bytes) {
    *disk = (struct logdisk){.dir_fd = dir_fd, .limit_bytes = limit_bytes};
    snprintf(disk->name, sizeof disk->name, "%s", name);
    reopen(disk);
}

static void turn(struct logdisk *disk) {
    char from[96], to[96];
    for (int i = KEPT; i > 0; i--) {
        snprintf(to, sizeof to, "%s.log.%d", disk->name, i);
        if (i > 1)
            snprintf(from, sizeof from, "%s.log.%d", disk->name, i - 1);
        else
            snprintf(from, sizeof from, "%s.log", disk->name);
        (void)renameat(disk->dir_fd, from, disk->dir_fd, to);
    }
    if (disk->fd >= 0) close(disk->fd);
    reopen(disk);
}

static bool put(struct logdisk *disk, const char *data, size_t size) {
    if (disk->fd < 0) reopen(disk);
    if (disk->fd < 0) return false;
    if (disk->size_bytes > 0 && disk->size_bytes + size > disk->limit_bytes) turn(disk);
    if (disk->fd < 0) return false;
    ssize_t written = write(disk->fd, data, size);
    if (written == (ssize_t)size) {
        disk->size_bytes += size;
        return true;
    }
    if (written > 0) (void)!ftruncate(disk->fd, (off_t)disk->size_bytes);
    return false;
}

static uint64_t newlines(const char *data, size_t size) {
    uint64_t count = 0;
    for (size_t i = 0; i < size; i++) count += data[i] == '\n';
    return count;
}

static void tell_lost(struct logdisk *disk) {
    char line[LOST_BYTES];
    size_t used = log_stamp(line, "sys");
    used += (size_t)snprintf(line + used, sizeof line - used,
                             "%llu lines lost: the disk is full, or too slow for so many\n",
                             (unsigned long long)disk->lost);
    if (put(disk, line, used)) disk->lost = 0;
}

/* Where a block of lines does not fit any more, its first ones may. */
static size_t put_what_fits(struct logdisk *disk, const char *data, size_t size) {
    size_t done = 0, piece = size;
    while (done < size) {
        while (piece > 0 && data[done + piece - 1] != '\n') piece--;
        if (piece == 0) return done;
        if (put(disk, data + done, piece)) {
            done += piece;
            piece = size - done;
        } else {
            piece /= 2;
        }
    }
    return done;
}

void logdisk_write(struct logdisk *disk, const char *lines, size_t size, uint64_t lost_after) {
    if (disk->lost > 0) tell_lost(disk);
    size_t written = disk->lost > 0 ? 0 : put_what_fits(disk, lines, size);
    disk->lost += newlines(lines + written, size - written);
    disk->lost += lost_after;
    if (lost_after > 0 && written == size) tell_lost(disk);
}
