/* How many threads compute: as many as the machine has free.
 *
 * libllama's threads wait for each other by spinning, many hundred times a step. Where one of them has to
 * wait for a processor the others burn theirs, and a step can take a hundred times as long as with a single
 * thread. So after each step it is asked how much of the processors it had: `ran` over `took`. Less than the
 * threads wanted: fewer in the next one. When the machine has been free for a while they are tried again, one
 * more at a time. */
#include "inside.h"

#include <stdio.h>
#include <time.h>

#define RETRY_US 1000000 /* how soon one more is tried ... */
#define RETRY_MAX_US                                                                            \
    30000000      /* ... at first, and at most: each time it was no good it takes twice as long \
                   */
#define GOOD 0.85 /* of what the threads wanted */

static int64_t ran_us(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec * 1000000ll + time.tv_nsec / 1000;
}

/* Tasks on this machine that want a processor now; ours too. */
static uint32_t runnable(void) {
    FILE *file = fopen("/proc/loadavg", "re");
    unsigned count = 0;
    if (file && fscanf(file, "%*f %*f %*f %u/", &count) != 1) count = 0;
    if (file) fclose(file);
    return count;
}

static uint32_t at_first(uint32_t most) {
    uint32_t others = runnable();
    others = others > 1 ? others - 1 : 0; /* one is this very thread */
    return others < most ? most - others : 1;
}

void threads_begin(struct engine *engine) {
    struct threads *threads = &engine->threads;
    int64_t now_us = clock_monotonic_us();
    if (threads->now == 0) threads->now = at_first(engine->options.threads);
    if (threads->retry_us == 0) threads->retry_us = RETRY_US;
    bool fewer = threads->now < engine->options.threads;
    if (fewer && now_us - threads->changed_us > threads->retry_us && runnable() <= threads->now) {
        threads->now++;
        threads->changed_us = now_us;
        threads->tried = true;
    }
    llama_set_n_threads(engine->context, (int32_t)threads->now, (int32_t)threads->now);
    threads->began_us = now_us;
    threads->ran_us = ran_us();
}

void threads_end(struct engine *engine) {
    struct threads *threads = &engine->threads;
    int64_t now_us = clock_monotonic_us(), took_us = now_us - threads->began_us;
    if (threads->now < 2 || took_us < 2000) return; /* too short to tell */
    double had = (double)(ran_us() - threads->ran_us) / (double)took_us;
    if (had >= GOOD * threads->now) {
        if (threads->tried) threads->retry_us = RETRY_US;
        threads->tried = false;
        return;
    }
    if (threads->tried && threads->retry_us < RETRY_MAX_US) threads->retry_us *= 2;
    threads->tried = false;
    threads->now = had < 1.5 ? 1 : (uint32_t)had;
    threads->changed_us = now_us;
}
