/* Chance, and how wild a life is. Each seed switches some accidents off and others to the front (a swarm):
 * what only shows without a thing, or with very much of it, is met as well. */
#include "sim.h"

#include <stdlib.h>

uint64_t dice_roll(struct dice *dice) { /* splitmix64 */
    uint64_t z = dice->state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

bool dice_chance(struct dice *dice, uint32_t per_mille) {
    return dice_roll(dice) % 1000 < per_mille;
}

int64_t dice_between(struct dice *dice, int64_t low, int64_t high) {
    return low + (int64_t)(dice_roll(dice) % (uint64_t)(high - low + 1));
}

int64_t dice_wait(struct dice *dice, int64_t mean_ms) {
    int64_t most_ms = dice_chance(dice, 50) ? 12 * mean_ms : 2 * mean_ms;
    return dice_between(dice, 0, most_ms > 0 ? most_ms : 1);
}

static int64_t pick(struct dice *dice, const int64_t *values, size_t count) {
    return values[dice_roll(dice) % count];
}
#define PICK(DICE, ...) pick((DICE), (const int64_t[]){__VA_ARGS__}, COUNT(((const int64_t[]){__VA_ARGS__})))

/* Off in half of all lives. */
static int64_t sometimes(struct dice *dice, int64_t low, int64_t high) {
    return dice_chance(dice, 500) ? 0 : dice_between(dice, low, high);
}
static uint32_t permille(struct dice *dice, uint32_t most) {
    return (uint32_t)sometimes(dice, 1, most);
}

void mood_draw(struct mood *mood, struct dice *dice) {
    *mood = (struct mood){
        .pools = (uint32_t)dice_between(dice, 1, POOLS_MAX),
        .config =
            {
                .containers_max = (uint32_t)PICK(dice, 0, 0, 1, 2, 3, 5, 8, 20),
                .primed_max = (uint32_t)PICK(dice, 0, 0, 1, 2, 3),
                .starting_max = (uint32_t)PICK(dice, 0, 0, 1, 2, 5),
                .reclaim_after_ms = PICK(dice, NAP_NEVER, 0, 50, 2000, 60000),
                .backoff_first_ms = PICK(dice, 0, 1, 100, 1000),
                .backoff_max_ms = PICK(dice, 0, 100, 5000, 60000),
                .first_container = (uint64_t)PICK(dice, 0, 1, 1000),
            },
        .arrival_ms = PICK(dice, 2, 20, 300, 2000, 20000, 200000),
        .burst_permille = permille(dice, 200),
        .cancel_permille = permille(dice, 400),
        .deadline_permille = permille(dice, 1000),
        .linger_permille = permille(dice, 1000),
        .endless_permille = permille(dice, 100),
        .work_ms = PICK(dice, 0, 2, 10, 100, 1000),
        .start_ms = PICK(dice, 0, 2, 30, 300, 3000),
        .exit_ms = PICK(dice, 0, 1, 20, 500),
        .start_fails_permille = permille(dice, 300),
        .start_hangs_permille = permille(dice, 100),
        .freeze_fails_permille = permille(dice, 300),
        .stubborn_permille = permille(dice, 300),
        .leaves_permille = permille(dice, 100),
        .crash_ms = sometimes(dice, 1, 20000),
        .timer_late_permille = permille(dice, 300),
        .backwards_permille = permille(dice, 20),
        .echo_permille = permille(dice, 50),
        .pressure_ms = sometimes(dice, 100, 50000),
        .jump_ms = sometimes(dice, 5000, 500000),
        .restart_ms = sometimes(dice, 5000, 200000),
        .user_ms = sometimes(dice, 20, 20000),
        .redeploy_ms = sometimes(dice, 50, 50000),
        .remove_ms = sometimes(dice, 500, 100000),
        .early_timer_ms = sometimes(dice, 10, 10000),
        .group_permille = permille(dice, 1000),
        .pin_permille = permille(dice, 300),
        .prime_permille = permille(dice, 1000),
        .min_permille = permille(dice, 500),
        .buffer_permille = permille(dice, 500),
        .wide = dice_chance(dice, 200),
    };
    if (mood->remove_ms > 0 && mood->redeploy_ms == 0) mood->redeploy_ms = mood->remove_ms / 2 + 1;
    if (mood->config.backoff_max_ms > 0 && mood->config.backoff_max_ms < mood->config.backoff_first_ms)
        mood->config.backoff_max_ms = mood->config.backoff_first_ms;
}

void mood_limits(const struct mood *mood, struct dice *dice, struct core_function *function) {
    int64_t most = mood->wide ? 30 : 4;
    function->max_containers = (uint32_t)dice_between(dice, 1, dice_chance(dice, 400) ? 1 : most);
    function->min_containers =
        dice_chance(dice, mood->min_permille) ? (uint32_t)dice_between(dice, 1, function->max_containers) : 0;
    function->buffer_containers = dice_chance(dice, mood->buffer_permille)
                                      ? (uint32_t)dice_between(dice, 1, function->max_containers)
                                      : 0;
    function->max_inputs = (uint32_t)dice_between(dice, 1, dice_chance(dice, 300) ? 1 : most);
    function->target_inputs = (uint32_t)dice_between(dice, 0, function->max_inputs);
    function->queue_max = (uint32_t)PICK(dice, 1, 5, 50, 1000);
    function->doze_after_ms = PICK(dice, NAP_NEVER, 0, 1, 50, 1000, 10000);
    function->scaledown_window_ms = PICK(dice, NAP_NEVER, 0, 1, 200, 5000, 60000, 300000);
    function->startup_timeout_ms = PICK(dice, 1, 50, 1000, 10000, 60000, 60000);
    function->timeout_ms = PICK(dice, 1, 100, 5000, 60000, 300000);
    function->stop_grace_ms = PICK(dice, 0, 10, 1000, 10000);
    function->pin = dice_chance(dice, mood->pin_permille);
    function->prime = dice_chance(dice, mood->prime_permille);
    free(function->group);
    function->group = dice_chance(dice, mood->group_permille)
                          ? mem_printf("group%d", (int)dice_between(dice, 0, GROUPS_MAX - 1))
                          : NULL;
}
