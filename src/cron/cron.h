/* cron: when something is due. Time-tables (five fields, in a time zone) and periods, as pure arithmetic.
 *
 * No clock, no I/O: what the time is and what a time zone's file says come from outside. Times are those of
 * the wall clock: milliseconds since 1970 in UTC, so that no run drifts: each is computed from the rule, not
 * from the run before.
 *
 * Daylight saving, as cron keeps it: a time that a day does not have (the clock went forward over it) is due
 * when the gap ends; one that it has twice is due the first time. A table whose hours are `*` follows the
 * hours as they pass, those that come twice too. */
#pragma once
#include "base.h"

#define CRON_NEVER INT64_MAX

/* ---- time zones ---- */
struct cron_zone;
struct cron_zone *cron_zone_utc(void);
/* A file of the tz database (TZif, any version). INVALID_ARGUMENT. */
must_check struct error *cron_zone_parse(struct span tzif, struct cron_zone **ret_zone);
void cron_zone_free(struct cron_zone *zone);
DEFINE_SCOPED(cron_zone)
/* A name as it may stand in a path below the database: Europe/Berlin. */
bool cron_zone_name_good(const char *name);
/* A stretch of time with one offset: [start_s, end_s), UTC; before it another one held. */
struct cron_stretch {
    int64_t start_s, end_s; /* INT64_MIN, INT64_MAX: none before, none after */
    int32_t offset_s;       /* local time minus UTC */
    int32_t before_s;       /* the offset that held before start_s; offset_s where none did */
};
struct cron_stretch cron_zone_at(const struct cron_zone *zone, int64_t utc_s);

/* ---- time-tables: minute hour day-of-month month day-of-week ---- */
struct cron_table {
    uint64_t minutes;  /* bits */
    uint32_t hours;    /* bits */
    uint32_t days;     /* bits 1 to 31 */
    uint16_t months;   /* bits 1 to 12 */
    uint8_t weekdays;  /* bits 0 (Sunday) to 6 */
    bool either_day;   /* day of month and day of week are both told: one of the two is enough */
    bool hours_passed; /* the hours are `*`: by hours as they pass */
};
/* Lists, ranges, steps, names of months and days, and @hourly, @daily, ... INVALID_ARGUMENT with the column.
 */
must_check struct error *cron_table_parse(struct span text, struct cron_table *ret_table);
/* The first time after `after_s`, UTC; CRON_NEVER: there is none in the next 41 years, thus none at all. */
int64_t cron_table_next(const struct cron_table *table, const struct cron_zone *zone, int64_t after_s);

/* ---- periods ---- */
struct cron_period {
    int64_t months; /* by the calendar: the 31st becomes the last day of a shorter month */
    int64_t us;
};
struct cron_span { /* as people write it */
    int32_t years, months, weeks, days, hours, minutes;
    double seconds;
};
/* INVALID_ARGUMENT: nothing, negative, shorter than a tenth of a second, longer than a hundred years. */
must_check struct error *cron_period_of(const struct cron_span *span, struct cron_period *ret_period);
int64_t cron_period_next(const struct cron_period *period, int64_t from_ms, int64_t after_ms);

/* ---- a rule: one of the two ---- */
struct cron_rule {
    bool is_table;
    struct cron_table table;
    const struct cron_zone *zone; /* of the table; borrowed */
    struct cron_period period;
    int64_t from_ms; /* where the period counts from */
};
int64_t cron_rule_next(const struct cron_rule *rule, int64_t after_ms);
/* How many are due in (after_ms, until_ms], `limit` at most, and the last of them. */
uint32_t cron_rule_count(const struct cron_rule *rule, int64_t after_ms, int64_t until_ms, uint32_t limit,
                         int64_t *ret_last_ms);

/* ---- a beat: what is to be done about a rule as the clock goes, or jumps ---- */
#define CRON_LATE_MS 60000      /* a run that is later than that was missed */
#define CRON_BACK_MS 10800000   /* a clock that goes back further was wrong before: all begins anew */
#define CRON_MISSED_MAX 1000000 /* more are not counted */
struct cron_beat {
    int64_t done_ms; /* what was due up to here is decided: it ran or was missed */
    int64_t next_ms; /* CRON_NEVER: nothing more */
};
struct cron_step {
    bool run;
    int64_t due_ms;   /* of the run */
    uint32_t missed;  /* runs that were due before it, or instead of it, and are skipped */
    bool clock_reset; /* the clock was set back, and the beat begins anew */
};
/* `done_ms`: up to when all was decided in an earlier life, or since when the rule holds. Nothing is run:
 * what was due meanwhile was missed. */
struct cron_step cron_beat_begin(struct cron_beat *beat, const struct cron_rule *rule, int64_t done_ms,
                                 int64_t now_ms);
struct cron_step cron_beat_step(struct cron_beat *beat, const struct cron_rule *rule, int64_t now_ms);
