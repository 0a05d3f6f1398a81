/* Times that are due, held against the C library's own local time, minute by minute over years with their
 * changes of the clock; faults with their column; and a clock that stops, jumps and goes back. */
#include "cron.h"
#include "test.h"

#include <time.h>

#define DAY_S 86400
#define HOUR_MS INT64_C(3600000)

static struct cron_table table_of(const char *text) {
    struct cron_table table;
    assert_ok(cron_table_parse(span_of(text), &table));
    return table;
}

static int64_t at(int year, int month, int day, int hour, int minute) {
    struct tm parts = {
        .tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour, .tm_min = minute};
    return (int64_t)timegm(&parts);
}

static char *written(int64_t utc_s) {
    if (utc_s == CRON_NEVER) return mem_string("never");
    time_t seconds = (time_t)utc_s;
    struct tm parts;
    gmtime_r(&seconds, &parts);
    char text[32];
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
    return mem_string(text);
}

/* ---- what is written ---- */

static void test_tables_as_people_write_them(void **unused) {
    (void)unused;
    static const struct {
        const char *table, *after, *next; /* UTC */
    } rows[] = {
        {"* * * * *", "2026-01-01 00:00:00", "2026-01-01 00:01:00"},
        {"* * * * *", "2026-01-01 00:00:59", "2026-01-01 00:01:00"},
        {"5 4 * * *", "2026-01-01 04:05:00", "2026-01-02 04:05:00"},
        {"5 4 * * *", "2026-01-01 04:04:59", "2026-01-01 04:05:00"},
        {"0 9 * * 4", "2026-01-01 09:00:00", "2026-01-08 09:00:00"},
        {"0 9 * * thu", "2026-01-01 08:00:00", "2026-01-01 09:00:00"},
        {"*/15 * * * *", "2026-01-01 00:46:00", "2026-01-01 01:00:00"},
        {"5/15 * * * *", "2026-01-01 00:06:00", "2026-01-01 00:20:00"},
        {"1-9/4,50 3 * * *", "2026-01-01 03:09:00", "2026-01-01 03:50:00"},
        {"0 */24 * * *", "2026-01-01 00:00:00", "2026-01-02 00:00:00"},
        {"0 0 29 2 *", "2026-01-01 00:00:00", "2028-02-29 00:00:00"},
        {"0 0 29 2 *", "2096-03-01 00:00:00", "2104-02-29 00:00:00"},
        {"0 0 29 2 */6", "2026-01-01 00:00:00", "2032-02-29 00:00:00"}, /* a star: and a Sunday or Saturday */
        {"0 0 29 2 */7", "2280-03-01 00:00:00", "2320-02-29 00:00:00"}, /* none in 2300 */
        {"0 0 31 * *", "2026-01-31 00:00:00", "2026-03-31 00:00:00"},
        {"0 0 13 * 5", "2026-01-01 00:00:00", "2026-01-02 00:00:00"}, /* either of the two days */
        {"0 0 13 * 5", "2026-01-09 00:00:00", "2026-01-13 00:00:00"},
        {"0 0 */2 * 5", "2026-01-02 00:00:00", "2026-01-09 00:00:00"}, /* a star: both of them */
        {"0 0 * * 7", "2026-01-01 00:00:00", "2026-01-04 00:00:00"},
        {"0 0 * * 5-7", "2026-01-03 00:00:00", "2026-01-04 00:00:00"},
        {"0 12 * JAN-mar,dec *", "2026-03-31 12:00:00", "2026-12-01 12:00:00"},
        {"  0\t0  1 1 * ", "2026-01-01 00:00:00", "2027-01-01 00:00:00"},
        {"@hourly", "2026-01-01 00:30:00", "2026-01-01 01:00:00"},
        {"@Weekly", "2026-01-01 00:30:00", "2026-01-04 00:00:00"},
        {"@annually", "2026-01-01 00:30:00", "2027-01-01 00:00:00"},
        {"59 23 31 12 *", "1969-12-31 23:58:00", "1969-12-31 23:59:00"},
    };
    scoped(cron_zone) struct cron_zone *utc = cron_zone_utc();
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct cron_table table = table_of(rows[i].table);
        struct tm parts = {0};
        assert_non_null(strptime(rows[i].after, "%Y-%m-%d %H:%M:%S", &parts));
        scoped_string char *next = written(cron_table_next(&table, utc, (int64_t)timegm(&parts)));
        if (strcmp(next, rows[i].next) != 0)
            fail_msg("'%s' after %s: %s instead of %s", rows[i].table, rows[i].after, next, rows[i].next);
    }
}

static void test_a_table_that_is_wrong_is_told_with_its_column(void **unused) {
    (void)unused;
    static const struct {
        const char *table, *needle;
    } rows[] = {
        {"60 * * * *", "column 1: the minute is 0 to 59"},
        {"* 24 * * *", "column 3: the hour is 0 to 23"},
        {"0 0 0 * *", "column 5: the day of the month is 1 to 31"},
        {"0 0 1 13 *", "column 7: the month is 1 to 12, or a name"},
        {"0 0 1 foo *", "column 7: the month"},
        {"0 0 1 janu *", "column 7: the month"},
        {"0 0 * * 8", "column 9: the day of the week is 0 to 7"},
        {"* * * *", "column 8: the day of the week is missing"},
        {"", "column 1: the minute is missing"},
        {"* * * * * *", "column 11: there are five fields, and here begins a sixth"},
        {"5-1 * * * *", "column 1: a range goes from the lower to the higher"},
        {"*/0 * * * *", "column 3: the step is 1 to 999"},
        {"*/70 * * * *", "column 3: the step is longer"},
        {"1, * * * *", "column 3: the minute"},
        {"1-2-3 * * * *", "column 4: this can't stand in the minute"},
        {"*5 * * * *", "column 2: this can't stand in the minute"},
        {"0 0 L * *", "column 5: the day of the month"},
        {"0 0 30 2 *", "such a day never comes"},
        {"@reboot", "column 1: the names are @hourly"},
        {"-1 * * * *", "column 1: the minute"},
        {"99999999999999999999 * * * *", "column 1: the minute"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct cron_table table;
        assert_error(cron_table_parse(span_of(rows[i].table), &table), ERROR_INVALID_ARGUMENT,
                     rows[i].needle);
    }
}

/* ---- time zones ---- */

/* A file of the tz database that consists of its last line alone. */
static struct cron_zone *zone_of_rule(const char *rule) {
    scoped_text struct text file = {0};
    for (int i = 0; i < 2; i++) {
        text_add(&file, SPAN("TZif2"));
        for (int b = 0; b < 15 + 4 * 4; b++) text_add_char(&file, '\0');
        text_add(&file, (struct span){"\0\0\0\1\0\0\0\0", 8}); /* one type, no letters */
        text_add(&file, (struct span){"\0\0\0\0\0\0", 6});
    }
    text_printf(&file, "\n%s\n", rule);
    struct cron_zone *zone;
    assert_ok(cron_zone_parse(text_span(&file), &zone));
    return zone;
}

static bool fits(const struct cron_table *table, const struct tm *parts) {
    bool in_month = table->days >> parts->tm_mday & 1, in_week = table->weekdays >> parts->tm_wday & 1;
    return (table->minutes >> parts->tm_min & 1) && (table->hours >> parts->tm_hour & 1) &&
           (table->months >> (parts->tm_mon + 1) & 1) &&
           (table->either_day ? in_month || in_week : in_month && in_week);
}

static int64_t local_of(int64_t utc_s, struct tm *ret_parts) {
    time_t seconds = (time_t)utc_s;
    localtime_r(&seconds, ret_parts);
    return utc_s + ret_parts->tm_gmtoff;
}

/* By the C library alone: whether that minute is due. `highest`: of local times before it. */
static bool due_by_library(const struct cron_table *table, int64_t utc_s, int64_t *highest) {
    struct tm parts;
    int64_t local_s = local_of(utc_s, &parts);
    bool due = fits(table, &parts) && (table->hours_passed || local_s > *highest);
    for (int64_t gap_s = *highest + 60; !table->hours_passed && gap_s < local_s; gap_s += 60) {
        time_t seconds = (time_t)gap_s;
        gmtime_r(&seconds, &parts);
        due |= fits(table, &parts);
    }
    if (local_s > *highest) *highest = local_s;
    return due;
}

static void compare(const char *tz, const struct cron_zone *zone, const char *text, int from_year,
                    int until_year) {
    setenv("TZ", tz, 1);
    tzset();
    struct cron_table table = table_of(text);
    int64_t start_s = at(from_year, 1, 1, 0, 0), end_s = at(until_year, 1, 1, 0, 0);
    struct tm parts;
    int64_t highest = local_of(start_s - 60, &parts);
    int64_t next_s = cron_table_next(&table, zone, start_s - 1);
    for (int64_t utc_s = start_s; utc_s < end_s; utc_s += 60) {
        bool due = due_by_library(&table, utc_s, &highest);
        if (due != (next_s == utc_s)) {
            scoped_string char *here = written(utc_s), *next = written(next_s);
            fail_msg("%s '%s': at %s UTC it is %s, and ours is due at %s", tz, text, here,
                     due ? "due" : "not due", next);
        }
        if (due) next_s = cron_table_next(&table, zone, utc_s);
    }
}

static const char *const year_tables[] = {"30 2 * * *", "*/20 1-3 * * *", "0 * * * *",  "15,45 */2 * * *",
                                          "0 0 * * 0",  "59 23 31 * 6",   "0 12 29 2 *"};

static void test_rules_of_summer_time_agree_with_the_library(void **unused) {
    (void)unused;
    static const char *const rules[] = {
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "EST5EDT,M3.2.0,M11.1.0",
        "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", /* half an hour, on the southern side */
        "AEST-10AEDT,M10.1.0,M4.1.0/3",
        "IST-2IDT,M3.4.4/26,M10.5.0",
        "<-02>2<-01>,M3.5.0/-1,M10.5.0/0", /* changes on the day before */
        "XXX3YYY,J60/0,J300/0",
        "XXX3YYY2,59,299",
        "<+0545>-5:45",
    };
    for (size_t i = 0; i < COUNT(rules); i++) {
        scoped(cron_zone) struct cron_zone *zone = zone_of_rule(rules[i]);
        for (size_t t = 0; t < COUNT(year_tables); t++) compare(rules[i], zone, year_tables[t], 2027, 2028);
    }
}

/* Where the machine has the database: zones with all that happened to them. */
static void test_zones_of_the_database_agree_with_the_library(void **unused) {
    (void)unused;
    static const struct {
        const char *name;
        int from_year, until_year;
    } zones[] = {
        {"America/New_York", 2037, 2038},
        {"Africa/Casablanca", 2026, 2027},
        {"Asia/Kathmandu", 1985, 1987},
    };
    size_t seen = 0;
    for (size_t i = 0; i < COUNT(zones); i++) {
        scoped_string char *path = path_join("/usr/share/zoneinfo", zones[i].name);
        scoped_text struct text file = {0};
        struct error *error = file_read(path, 1 << 20, &file);
        if (error) {
            error_free(error);
            continue;
        }
        seen++;
        struct cron_zone *zone;
        assert_ok(cron_zone_parse(text_span(&file), &zone));
        for (size_t t = 0; t < COUNT(year_tables); t++)
            compare(zones[i].name, zone, year_tables[t], zones[i].from_year, zones[i].until_year);
        cron_zone_free(zone);
    }
    if (seen == 0) skip(); /* a machine without tzdata */
}

static void test_a_clock_that_changes(void **unused) {
    (void)unused;
    scoped(cron_zone) struct cron_zone *berlin = zone_of_rule("CET-1CEST,M3.5.0,M10.5.0/3");
    struct cron_table night = table_of("30 2 * * *"), hourly = table_of("0 * * * *");
    /* 29 March 2026: 02:00 becomes 03:00, which is 01:00 UTC; what was swallowed is due then. */
    assert_int_equal(cron_table_next(&night, berlin, at(2026, 3, 28, 2, 0)), at(2026, 3, 29, 1, 0));
    assert_int_equal(cron_table_next(&night, berlin, at(2026, 3, 29, 1, 0)), at(2026, 3, 30, 0, 30));
    /* 25 October 2026: 03:00 becomes 02:00; the first 02:30 is 00:30 UTC, the second is no other. */
    assert_int_equal(cron_table_next(&night, berlin, at(2026, 10, 24, 12, 0)), at(2026, 10, 25, 0, 30));
    assert_int_equal(cron_table_next(&night, berlin, at(2026, 10, 25, 0, 30)), at(2026, 10, 26, 1, 30));
    /* Hours as they pass: 25 of them. */
    int hours = 0;
    for (int64_t s = at(2026, 10, 24, 22, 0) - 1;
         (s = cron_table_next(&hourly, berlin, s)) < at(2026, 10, 25, 23, 0);)
        hours++;
    assert_int_equal(hours, 25);
}

static void test_files_that_are_none(void **unused) {
    (void)unused;
    struct cron_zone *zone;
    assert_error(cron_zone_parse(SPAN(""), &zone), ERROR_INVALID_ARGUMENT, "no file of the tz database");
    assert_error(cron_zone_parse(
                     SPAN("TZif2 and then nothing of it that is of any use, but longer than a head"), &zone),
                 ERROR_INVALID_ARGUMENT, "no file");
    static const char *const good[] = {"UTC", "Europe/Berlin", "Etc/GMT+5", "America/Port-au-Prince"};
    static const char *const bad[] = {"",    "/etc/passwd",   "../zone", "Europe/../../x",
                                      "a b", "Europe\nBerlin"};
    for (size_t i = 0; i < COUNT(good); i++) assert_true(cron_zone_name_good(good[i]));
    for (size_t i = 0; i < COUNT(bad); i++) assert_false(cron_zone_name_good(bad[i]));
}

/* ---- periods ---- */

static struct cron_period period_of(struct cron_span span) {
    struct cron_period period;
    assert_ok(cron_period_of(&span, &period));
    return period;
}

static void test_periods_do_not_drift(void **unused) {
    (void)unused;
    int64_t from_ms = at(2026, 1, 31, 10, 0) * 1000 + 123;
    struct cron_period pi = period_of((struct cron_span){.seconds = 3.14159274f});
    int64_t now_ms = from_ms;
    for (int k = 1; k <= 100000; k++) {
        now_ms = cron_period_next(&pi, from_ms, now_ms);
        assert_int_equal(now_ms, from_ms + (int64_t)k * 3141593 / 1000);
    }
    /* The 31st of a short month is its last day, and no later month pays for it. */
    struct cron_period monthly = period_of((struct cron_span){.months = 1});
    static const int days[] = {28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31, 28, 31};
    now_ms = from_ms;
    for (size_t k = 0; k < COUNT(days); k++) {
        now_ms = cron_period_next(&monthly, from_ms, now_ms);
        int month = (int)(k + 1) % 12 + 1, year = 2026 + (int)(k + 1) / 12;
        assert_int_equal(now_ms, at(year, month, days[k], 10, 0) * 1000 + 123);
    }
    struct cron_period mixed =
        period_of((struct cron_span){.years = 1, .weeks = 1, .hours = 2, .minutes = 30});
    assert_int_equal(cron_period_next(&mixed, from_ms, from_ms), at(2027, 2, 7, 12, 30) * 1000 + 123);
    /* Far from its beginning, and before it. */
    struct cron_period second = period_of((struct cron_span){.seconds = 1});
    assert_int_equal(cron_period_next(&second, from_ms, from_ms + 1000 * INT64_C(4000000000)),
                     from_ms + 1000 * INT64_C(4000000001));
    assert_int_equal(cron_period_next(&second, from_ms, from_ms - 500000), from_ms + 1000);
}

static void test_periods_that_are_none(void **unused) {
    (void)unused;
    static const struct {
        struct cron_span span;
        const char *needle;
    } rows[] = {
        {{0}, "no length"},
        {{.days = -1}, "negative"},
        {{.hours = 1, .seconds = -2}, "negative"},
        {{.seconds = 0.01}, "tenth of a second"},
        {{.years = 101}, "hundred years"},
        {{.weeks = INT32_MAX}, "hundred years"},
        {{.seconds = 1e30}, "hundred years"},
        {{.seconds = __builtin_nan("")}, "hundred years"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct cron_period period;
        assert_error(cron_period_of(&rows[i].span, &period), ERROR_INVALID_ARGUMENT, rows[i].needle);
    }
}

/* ---- the clock ---- */

static void test_a_run_is_due_once_whatever_the_clock_does(void **unused) {
    (void)unused;
    struct cron_rule rule = {.period = period_of((struct cron_span){.minutes = 10}), .from_ms = 1000};
    struct cron_beat beat;
    struct cron_step step = cron_beat_begin(&beat, &rule, 1000, 2000);
    assert_int_equal(step.missed, 0);
    assert_int_equal(beat.next_ms, 601000);
    static const struct {
        int64_t now_ms;
        bool run;
        uint32_t missed;
        bool reset;
        int64_t next_ms;
    } day[] = {
        {600999, false, 0, false, 601000},  /* early */
        {601003, true, 0, false, 1201000},  /* it runs */
        {600500, false, 0, false, 1201000}, /* the clock went back a second: not again */
        {601000, false, 0, false, 1201000},
        {1801000, true, 1, false, 2401000},        /* a busy machine: the last one runs */
        {5 * HOUR_MS, false, 26, false, 18001000}, /* it slept: all of them were missed */
        {18001000, true, 0, false, 18601000},
        {18001000 - 2 * HOUR_MS, false, 0, false, 18601000}, /* back a little: it waits */
        {18601000, true, 0, false, 19201000},
        {1000000, false, 0, true, 1201000}, /* back by hours: the clock was wrong before */
        {1201000, true, 0, false, 1801000},
    };
    for (size_t i = 0; i < COUNT(day); i++) {
        step = cron_beat_step(&beat, &rule, day[i].now_ms);
        if (step.run != day[i].run || step.missed != day[i].missed || step.clock_reset != day[i].reset ||
            beat.next_ms != day[i].next_ms)
            fail_msg("row %zu: run %d missed %u reset %d next %lld", i, step.run, step.missed,
                     step.clock_reset, (long long)beat.next_ms);
    }
}

static void test_what_was_missed_in_another_life_is_counted(void **unused) {
    (void)unused;
    scoped(cron_zone) struct cron_zone *utc = cron_zone_utc();
    struct cron_rule daily = {.is_table = true, .table = table_of("0 3 * * *"), .zone = utc};
    struct cron_beat beat;
    int64_t now_ms = at(2026, 5, 10, 12, 0) * 1000;
    struct cron_step step = cron_beat_begin(&beat, &daily, at(2026, 5, 7, 3, 0) * 1000, now_ms);
    assert_int_equal(step.missed, 3);
    assert_false(step.run);
    assert_int_equal(beat.next_ms, at(2026, 5, 11, 3, 0) * 1000);
    struct cron_rule often = {.period = period_of((struct cron_span){.seconds = 1}), .from_ms = 0};
    step = cron_beat_begin(&beat, &often, now_ms - 50000 * INT64_C(1000), now_ms);
    assert_int_equal(step.missed, 50000);
    step = cron_beat_begin(&beat, &often, 0, now_ms);
    assert_int_equal(step.missed, CRON_MISSED_MAX); /* and it took no time to say so */
    step = cron_beat_begin(&beat, &often, now_ms + 5 * HOUR_MS, now_ms);
    assert_true(step.clock_reset);
    assert_int_equal(beat.next_ms, now_ms + 1000);
    step = cron_beat_begin(&beat, &often, now_ms + HOUR_MS, now_ms);
    assert_false(step.clock_reset);
    assert_int_equal(beat.next_ms, now_ms + HOUR_MS + 1000);
}

/* A world in which the clock is moody: what is due runs once or is counted as missed, never both. */
static void test_a_thousand_moody_clocks(void **unused) {
    (void)unused;
    for (unsigned seed = 1; seed <= 1000; seed++) {
        unsigned dice = seed;
        struct cron_rule rule = {.period = {0, (rand_r(&dice) % 600 + 1) * INT64_C(1000000)}, .from_ms = 5};
        struct cron_beat beat;
        int64_t now_ms = 5, last_due_ms = 0, decided = 0;
        cron_beat_begin(&beat, &rule, 5, now_ms);
        for (int i = 0; i < 300; i++) {
            int64_t before_ms = beat.done_ms;
            now_ms += rand_r(&dice) % 5 ? rand_r(&dice) % 30000 : rand_r(&dice) % 9000000 - 3000000;
            if (now_ms < 5) now_ms = 5;
            struct cron_step step = cron_beat_step(&beat, &rule, now_ms);
            decided += step.run + step.missed;
            if (step.clock_reset) { /* begins anew: what is decided is counted from here */
                assert_true(before_ms - now_ms > CRON_BACK_MS);
                decided = (now_ms - 5) / (rule.period.us / 1000);
                last_due_ms = 0;
            }
            if (step.run) {
                assert_true(step.due_ms > last_due_ms && step.due_ms <= now_ms);
                assert_true(now_ms - step.due_ms <= CRON_LATE_MS);
                last_due_ms = step.due_ms;
            }
            assert_int_equal(decided, (beat.done_ms - 5) / (rule.period.us / 1000));
            assert_true(beat.next_ms > beat.done_ms);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables_as_people_write_them),
        cmocka_unit_test(test_a_table_that_is_wrong_is_told_with_its_column),
        cmocka_unit_test(test_rules_of_summer_time_agree_with_the_library),
        cmocka_unit_test(test_zones_of_the_database_agree_with_the_library),
        cmocka_unit_test(test_a_clock_that_changes),
        cmocka_unit_test(test_files_that_are_none),
        cmocka_unit_test(test_periods_do_not_drift),
        cmocka_unit_test(test_periods_that_are_none),
        cmocka_unit_test(test_a_run_is_due_once_whatever_the_clock_does),
        cmocka_unit_test(test_what_was_missed_in_another_life_is_counted),
        cmocka_unit_test(test_a_thousand_moody_clocks),
    };
    return cmocka_run_group_tests_name("cron", tests, NULL, NULL);
}
