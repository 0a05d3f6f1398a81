/* What is to be done about a rule as time passes. A run that is due comes once; what came much too late was
 * missed, and a clock that was set is taken for what it now says. */
#include "inside.h"

int64_t cron_rule_next(const struct cron_rule *rule, int64_t after_ms) {
    if (!rule->is_table) return cron_period_next(&rule->period, rule->from_ms, after_ms);
    int64_t next_s = cron_table_next(&rule->table, rule->zone, cron_floor_div(after_ms, 1000));
    return next_s == CRON_NEVER ? CRON_NEVER : next_s * 1000;
}

uint32_t cron_rule_count(const struct cron_rule *rule, int64_t after_ms, int64_t until_ms, uint32_t limit,
                         int64_t *ret_last_ms) {
    uint32_t count = 0;
    *ret_last_ms = CRON_NEVER;
    int64_t next_ms = cron_rule_next(rule, after_ms);
    while (next_ms <= until_ms && next_ms != CRON_NEVER && count < limit) {
        count++;
        *ret_last_ms = next_ms;
        next_ms = cron_rule_next(rule, next_ms);
    }
    return count;
}

/* A count beyond which nobody waits for the exact number: the last one is what matters. */
static uint32_t due_between(const struct cron_rule *rule, int64_t after_ms, int64_t now_ms,
                            int64_t *ret_last_ms) {
    const uint32_t some = 1000;
    uint32_t count = cron_rule_count(rule, after_ms, now_ms, some, ret_last_ms);
    if (count < some) return count;
    if (!rule->is_table && rule->period.months == 0) {
        int64_t more = (now_ms - *ret_last_ms) / (rule->period.us / 1000);
        count = more < CRON_MISSED_MAX - some ? some + (uint32_t)more : CRON_MISSED_MAX;
    }
    int64_t last_ms = CRON_NEVER;
    if (cron_rule_count(rule, now_ms - CRON_LATE_MS, now_ms, some, &last_ms) > 0) *ret_last_ms = last_ms;
    return count;
}

struct cron_step cron_beat_begin(struct cron_beat *beat, const struct cron_rule *rule, int64_t done_ms,
                                 int64_t now_ms) {
    struct cron_step step = {.due_ms = CRON_NEVER};
    if (done_ms > now_ms && done_ms - now_ms > CRON_BACK_MS) {
        step.clock_reset = true;
        done_ms = now_ms;
    }
    int64_t last_ms;
    step.missed = due_between(rule, done_ms, now_ms, &last_ms);
    beat->done_ms = done_ms > now_ms ? done_ms : now_ms;
    beat->next_ms = cron_rule_next(rule, beat->done_ms);
    return step;
}

struct cron_step cron_beat_step(struct cron_beat *beat, const struct cron_rule *rule, int64_t now_ms) {
    struct cron_step step = {.due_ms = CRON_NEVER};
    if (now_ms < beat->done_ms) {
        if (beat->done_ms - now_ms <= CRON_BACK_MS) return step;
        step.clock_reset = true;
        beat->done_ms = now_ms;
        beat->next_ms = cron_rule_next(rule, now_ms);
        return step;
    }
    if (now_ms >= beat->next_ms) {
        int64_t last_ms;
        step.missed = due_between(rule, beat->done_ms, now_ms, &last_ms);
        step.run = step.missed > 0 && now_ms - last_ms <= CRON_LATE_MS;
        step.missed -= step.run;
        if (step.run) step.due_ms = last_ms;
        beat->next_ms = cron_rule_next(rule, now_ms);
    }
    beat->done_ms = now_ms;
    return step;
}
