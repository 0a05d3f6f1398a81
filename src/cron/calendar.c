/* The Gregorian calendar, in both directions and before 1970 too. A year begins in March here: the leap day
 * is its last, and months have a pattern of 153 days in five. */
#include "inside.h"

int64_t cron_day_of(struct cron_date date) {
    int64_t year = date.year - (date.month <= 2);
    int64_t era = cron_floor_div(year, 400);
    int64_t year_of_era = year - era * 400;
    int64_t month = (date.month + 9) % 12;
    int64_t day_of_year = (153 * month + 2) / 5 + date.day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

struct cron_date cron_date_of(int64_t day) {
    day += 719468;
    int64_t era = cron_floor_div(day, 146097);
    int64_t day_of_era = day - era * 146097;
    int64_t year = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * day_of_year + 2) / 153;
    struct cron_date date = {
        .year = year + era * 400 + (month >= 10),
        .month = (int)(month < 10 ? month + 3 : month - 9),
        .day = (int)(day_of_year - (153 * month + 2) / 5 + 1),
    };
    return date;
}

int cron_month_days(int64_t year, int month) {
    struct cron_date first = {year, month, 1}, next = {year + month / 12, month % 12 + 1, 1};
    return (int)(cron_day_of(next) - cron_day_of(first));
}

int cron_weekday(int64_t day) {
    return (int)(day + 4 - 7 * cron_floor_div(day + 4, 7)); /* 1970-01-01 was a Thursday */
}
