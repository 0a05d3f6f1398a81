/* The next time of a table.
 *
 * Between two changes of a zone's offset local time is a plain calendar; so a search goes stretch by stretch,
 * and what is special about a change is seen to where two stretches meet: a gap that swallows times, or times
 * that were there before. */
#include "inside.h"

/* A 29th of February on a certain day of the week is 40 years away at most, over a century without one. */
#define SEARCH_S (INT64_C(41) * 366 * DAY_S)

static bool day_fits(const struct cron_table *table, int64_t day) {
    struct cron_date date = cron_date_of(day);
    if (!(table->months >> date.month & 1)) return false;
    bool in_month = table->days >> date.day & 1, in_week = table->weekdays >> cron_weekday(day) & 1;
    return table->either_day ? in_month || in_week : in_month && in_week;
}

/* The first local time at or after `from_s` and before `end_s`; CRON_NEVER: none. */
static int64_t local_next(const struct cron_table *table, int64_t from_s, int64_t end_s) {
    int64_t minute = cron_floor_div(from_s + 59, 60);
    for (int64_t day = cron_floor_div(minute, 1440); day * DAY_S < end_s; day++) {
        if (!day_fits(table, day)) continue;
        int64_t at = minute > day * 1440 ? minute - day * 1440 : 0;
        for (; at < 1440; at++) {
            if (!(table->hours >> (at / 60) & 1)) {
                at += 59 - at % 60;
                continue;
            }
            if (!(table->minutes >> (at % 60) & 1)) continue;
            int64_t found_s = (day * 1440 + at) * 60;
            return found_s < end_s ? found_s : CRON_NEVER;
        }
    }
    return CRON_NEVER;
}

int64_t cron_table_next(const struct cron_table *table, const struct cron_zone *zone, int64_t after_s) {
    int64_t at_s = after_s + 1, give_up_s = after_s + SEARCH_S;
    while (at_s < give_up_s) {
        struct cron_stretch stretch = cron_zone_at(zone, at_s);
        int64_t offset_s = stretch.offset_s, before_s = stretch.before_s;
        int64_t end_s = stretch.end_s < give_up_s ? stretch.end_s : give_up_s;
        int64_t from_s = at_s + offset_s;
        if (!table->hours_passed) {
            /* The clock went back: what it shows again has been. */
            int64_t seen_s = stretch.start_s == INT64_MIN ? from_s : stretch.start_s + before_s;
            if (before_s > offset_s && from_s < seen_s) from_s = seen_s;
            /* It went forward: what it jumped over is due as it lands. */
            if (before_s < offset_s && at_s == stretch.start_s &&
                local_next(table, at_s + before_s, at_s + offset_s) != CRON_NEVER)
                return at_s;
        }
        int64_t local_s = local_next(table, from_s, end_s + offset_s);
        if (local_s != CRON_NEVER) return local_s - offset_s;
        at_s = end_s;
    }
    return CRON_NEVER;
}
