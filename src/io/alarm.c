/* Alarms: at a time of the wall clock, rather than after a while. The kernel keeps them (timerfd), so that
 * one comes on time through a suspended machine and a clock that is set, and nobody looks at the clock
 * meanwhile. */
#include "inside.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>

struct io_alarm {
    int fd;
    struct io_watch *watch;
    void (*fire)(void *owner);
    void *owner;
};

static void on_ready(void *owner, unsigned events) {
    (void)events;
    struct io_alarm *alarm = owner;
    uint64_t times;
    /* ECANCELED: the clock was set, and the alarm stays as it was. Whoever waits for it looks for himself. */
    if (read(alarm->fd, &times, sizeof times) < 0 && errno != ECANCELED) return;
    alarm->fire(alarm->owner);
}

struct error *io_alarm_new(struct io_loop *loop, void (*fire)(void *owner), void *owner,
                           struct io_alarm **ret_alarm) {
    scoped_fd int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd < 0) return error_errno(errno, "a timer of the wall clock");
    struct io_alarm *alarm = NEW(struct io_alarm);
    struct error *error = io_watch_new(loop, fd, IO_READABLE, on_ready, alarm, &alarm->watch);
    if (error) {
        free(alarm);
        return error;
    }
    alarm->fd = take_fd(&fd);
    alarm->fire = fire;
    alarm->owner = owner;
    *ret_alarm = alarm;
    return NULL;
}

void io_alarm_set(struct io_alarm *alarm, int64_t wall_ms) {
    struct itimerspec when = {0};
    if (wall_ms < 1) wall_ms = 1; /* zero would take it away */
    when.it_value.tv_sec = (time_t)(wall_ms / 1000);
    when.it_value.tv_nsec = (long)(wall_ms % 1000) * 1000000;
    (void)timerfd_settime(alarm->fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &when, NULL);
}

void io_alarm_stop(struct io_alarm *alarm) {
    (void)timerfd_settime(alarm->fd, 0, &(struct itimerspec){0}, NULL);
}

void io_alarm_free(struct io_alarm *alarm) {
    if (!alarm) return;
    io_watch_free(alarm->watch);
    close(alarm->fd);
    free(alarm);
}
