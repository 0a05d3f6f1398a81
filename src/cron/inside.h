/* What the files of cron share: the calendar. Days are counted from 1970-01-01. */
#pragma once
#include "cron.h"

#define DAY_S 86400

struct cron_date {
    int64_t year;
    int month, day; /* from 1 */
};
int64_t cron_day_of(struct cron_date date);
struct cron_date cron_date_of(int64_t day);
int cron_month_days(int64_t year, int month);
int cron_weekday(int64_t day); /* 0: Sunday */
/* Rounded down, also below zero. */
static inline int64_t cron_floor_div(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}
