/* Periods: every so many months and so much time, counted from a moment. The k-th run is k whole periods away
 * from it, so that neither rounding nor short months add up. */
#include "inside.h"

#define US_S 1000000
#define MONTHS_MAX 1200
#define US_MAX (INT64_C(36525) * DAY_S * US_S)
#define US_MIN (US_S / 10)
#define MONTH_US (INT64_C(2629746) * US_S) /* on the average */

struct error *cron_period_of(const struct cron_span *span, struct cron_period *ret_period) {
    bool negative = span->years < 0 || span->months < 0 || span->weeks < 0 || span->days < 0 ||
                    span->hours < 0 || span->minutes < 0 || span->seconds < 0;
    if (negative)
        return error_new(ERROR_INVALID_ARGUMENT, "a Period goes forward: none of its parts is negative");
    /* Written so that a seconds of no number is refused too. */
    if (!(span->seconds <= 1e10))
        return error_new(ERROR_INVALID_ARGUMENT, "a Period is a hundred years at most");
    int64_t months = (int64_t)span->years * 12 + span->months;
    int64_t minutes =
        ((int64_t)span->weeks * 7 + span->days) * 1440 + (int64_t)span->hours * 60 + span->minutes;
    if (months > MONTHS_MAX || minutes > US_MAX / US_S / 60 || span->seconds > (double)(US_MAX / US_S))
        return error_new(ERROR_INVALID_ARGUMENT, "a Period is a hundred years at most");
    int64_t us = minutes * 60 * US_S + (int64_t)(span->seconds * US_S + 0.5);
    if (months == 0 && us == 0)
        return error_new(ERROR_INVALID_ARGUMENT, "a Period of no length: tell it hours=, minutes=, ...");
    if (months == 0 && us < US_MIN)
        return error_new(ERROR_INVALID_ARGUMENT, "a Period is a tenth of a second at least");
    *ret_period = (struct cron_period){months, us};
    return NULL;
}

/* The moment of the k-th run. */
static int64_t moment(const struct cron_period *period, int64_t from_ms, int64_t k) {
    int64_t day = cron_floor_div(from_ms, DAY_S * INT64_C(1000));
    int64_t rest_ms = from_ms - day * DAY_S * 1000;
    struct cron_date date = cron_date_of(day);
    int64_t months = date.year * 12 + date.month - 1 + k * period->months;
    date.year = cron_floor_div(months, 12);
    date.month = (int)(months - date.year * 12) + 1;
    int days = cron_month_days(date.year, date.month);
    if (date.day > days) date.day = days;
    return cron_day_of(date) * DAY_S * 1000 + rest_ms + k * period->us / 1000;
}

int64_t cron_period_next(const struct cron_period *period, int64_t from_ms, int64_t after_ms) {
    if (after_ms < from_ms) after_ms = from_ms;
    int64_t about_us = period->months * MONTH_US + period->us;
    int64_t k = (after_ms - from_ms) / about_us * 1000 + (after_ms - from_ms) % about_us * 1000 / about_us;
    k = k > 2 ? k - 2 : 1; /* the average may be off by a few days in either direction */
    while (moment(period, from_ms, k) <= after_ms) k++;
    return moment(period, from_ms, k);
}
