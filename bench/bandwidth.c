/* How many bytes a second this machine's memory brings, read in order by so many threads: the limit of
 * decoding. bandwidth THREADS      prints bytes a second, the best of seven */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BYTES (1ul << 30)
#define ROUNDS 7
#define THREADS_MAX 256

static uint64_t *memory;
static int thread_count;

struct share {
    int number;
    uint64_t sum;
};

static void *read_share(void *data) {
    struct share *share = data;
    size_t words = BYTES / sizeof *memory / (size_t)thread_count;
    const uint64_t *at = memory + words * (size_t)share->number;
    uint64_t sums[8] = {0};
    for (size_t i = 0; i + 8 <= words; i += 8)
        for (int j = 0; j < 8; j++) sums[j] += at[i + (size_t)j];
    for (int j = 0; j < 8; j++) share->sum += sums[j];
    return NULL;
}

int main(int argc, char **argv) {
    thread_count = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 1;
    if (thread_count < 1 || thread_count > THREADS_MAX) return 2;
    memory = aligned_alloc(1 << 21, BYTES);
    if (!memory) return 1;
    memset(memory, 1, BYTES);
    double best = 0;
    uint64_t sum = 0;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[THREADS_MAX];
        struct share shares[THREADS_MAX] = {0};
        struct timespec began, ended;
        clock_gettime(CLOCK_MONOTONIC, &began);
        for (int i = 0; i < thread_count; i++) {
            shares[i].number = i;
            if (pthread_create(&threads[i], NULL, read_share, &shares[i]) != 0) return 1;
        }
        for (int i = 0; i < thread_count; i++) pthread_join(threads[i], NULL), sum += shares[i].sum;
        clock_gettime(CLOCK_MONOTONIC, &ended);
        double seconds =
            (double)(ended.tv_sec - began.tv_sec) + (double)(ended.tv_nsec - began.tv_nsec) / 1e9;
        if (BYTES / seconds > best) best = BYTES / seconds;
    }
    printf("%.0f\n", best + (double)(sum == 1));
    return 0;
}
