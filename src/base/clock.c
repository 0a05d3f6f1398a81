/* The two clocks: one that never goes back, and the one on the wall. */
#include "base.h"

#include <stdio.h>
#include <time.h>

static int64_t read_us(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_monotonic_us(void) {
    return read_us(CLOCK_MONOTONIC);
}
int64_t clock_monotonic_ms(void) {
    return read_us(CLOCK_MONOTONIC) / 1000;
}
int64_t clock_wall_ms(void) {
    return read_us(CLOCK_REALTIME) / 1000;
}

void clock_text(int64_t wall_ms, char out[CLOCK_TEXT_SIZE]) {
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    size_t size = strftime(out, CLOCK_TEXT_SIZE, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(out + size, CLOCK_TEXT_SIZE - size, ".%03dZ", (int)(wall_ms % 1000));
}
