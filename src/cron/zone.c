/* Time zones as the tz database's files tell them (RFC 8536): changes of the offset by time, and behind them
 * a rule in POSIX's form for all that comes later. Of a file only offsets are looked at: no names, no leap
 * seconds. */
#include "inside.h"

#include <stdlib.h>
#include <string.h>

#define HEAD_SIZE 44
#define CHANGES_MAX 10000
#define OFFSET_MAX (26 * 3600) /* what a file may tell; the real ones are within 16 hours */

struct change {
    int64_t at_s;
    int32_t offset_s;
};
struct rule_day { /* one end of summer time, by local time */
    enum { DAY_JULIAN, DAY_OF_YEAR, DAY_OF_WEEK } kind;
    int day;         /* of the year, or of the week */
    int month, week; /* DAY_OF_WEEK */
    int32_t time_s;
};
struct cron_zone {
    struct change *changes;
    size_t change_count;
    int32_t first_s; /* before the first change */
    bool has_rule, has_summer;
    int32_t winter_s, summer_s; /* offsets */
    struct rule_day begin, end;
};

struct cron_zone *cron_zone_utc(void) {
    struct cron_zone *zone = NEW(struct cron_zone);
    zone->has_rule = true;
    return zone;
}

void cron_zone_free(struct cron_zone *zone) {
    if (!zone) return;
    free(zone->changes);
    free(zone);
}

bool cron_zone_name_good(const char *name) {
    if (!name || !*name || strlen(name) > 100 || *name == '/' || strstr(name, "..")) return false;
    for (const char *c = name; *c; c++) {
        bool letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9');
        if (!letter && !strchr("/_+-", *c)) return false;
    }
    return true;
}

/* ---- the rule behind the table: "CET-1CEST,M3.5.0,M10.5.0/3" ---- */

static bool take_char(struct span *rest, char c) {
    if (rest->size == 0 || *rest->data != c) return false;
    *rest = (struct span){rest->data + 1, rest->size - 1};
    return true;
}

static bool take_number(struct span *rest, int most, int *ret) {
    int value = 0;
    size_t digits = 0;
    while (rest->size > 0 && *rest->data >= '0' && *rest->data <= '9' && digits < 4) {
        value = value * 10 + (*rest->data - '0');
        *rest = (struct span){rest->data + 1, rest->size - 1};
        digits++;
    }
    *ret = value;
    return digits > 0 && value <= most;
}

static bool take_name(struct span *rest) {
    size_t size = 0;
    if (take_char(rest, '<')) {
        while (size < rest->size && rest->data[size] != '>') size++;
        if (size == rest->size) return false;
        *rest = (struct span){rest->data + size + 1, rest->size - size - 1};
        return true;
    }
    while (size < rest->size && ((rest->data[size] | 32) >= 'a' && (rest->data[size] | 32) <= 'z')) size++;
    *rest = (struct span){rest->data + size, rest->size - size};
    return size >= 3;
}

/* [+-]hh[:mm[:ss]] */
static bool take_time(struct span *rest, int hours_most, int32_t *ret_s) {
    bool minus = take_char(rest, '-');
    if (!minus) take_char(rest, '+');
    int hours, minutes = 0, seconds = 0;
    if (!take_number(rest, hours_most, &hours)) return false;
    if (take_char(rest, ':') && !take_number(rest, 59, &minutes)) return false;
    if (take_char(rest, ':') && !take_number(rest, 59, &seconds)) return false;
    *ret_s = (hours * 60 + minutes) * 60 + seconds;
    if (minus) *ret_s = -*ret_s;
    return true;
}

static bool take_day(struct span *rest, struct rule_day *day) {
    *day = (struct rule_day){.time_s = 2 * 3600};
    if (!take_char(rest, ',')) return false;
    if (take_char(rest, 'M')) {
        day->kind = DAY_OF_WEEK;
        if (!take_number(rest, 12, &day->month) || day->month < 1 || !take_char(rest, '.') ||
            !take_number(rest, 5, &day->week) || day->week < 1 || !take_char(rest, '.') ||
            !take_number(rest, 6, &day->day))
            return false;
    } else if (take_char(rest, 'J')) {
        day->kind = DAY_JULIAN;
        if (!take_number(rest, 365, &day->day) || day->day < 1) return false;
    } else {
        day->kind = DAY_OF_YEAR;
        if (!take_number(rest, 365, &day->day)) return false;
    }
    return !take_char(rest, '/') || take_time(rest, 167, &day->time_s);
}

static bool read_rule(struct cron_zone *zone, struct span text) {
    if (text.size == 0) return true; /* none: the last offset holds for ever */
    int32_t west_s;
    if (!take_name(&text) || !take_time(&text, 24, &west_s)) return false;
    zone->has_rule = true;
    zone->winter_s = -west_s;
    if (text.size == 0) return true;
    zone->has_summer = true;
    zone->summer_s = zone->winter_s + 3600;
    if (!take_name(&text)) return false;
    if (text.size > 0 && *text.data != ',') {
        if (!take_time(&text, 24, &west_s)) return false;
        zone->summer_s = -west_s;
    }
    return take_day(&text, &zone->begin) && take_day(&text, &zone->end) && text.size == 0;
}

/* ---- the file ---- */

static uint64_t big_endian(const char *data, size_t bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) value = value << 8 | (uint8_t)data[i];
    return value;
}

struct block {
    size_t times, types, letters, leaps, standards, universals;
};

static bool read_head(struct span tzif, struct block *block, char *ret_version) {
    if (tzif.size < HEAD_SIZE || memcmp(tzif.data, "TZif", 4) != 0) return false;
    *ret_version = tzif.data[4];
    size_t *const counts[] = {&block->universals, &block->standards, &block->leaps,
                              &block->times,      &block->types,     &block->letters};
    for (size_t i = 0; i < COUNT(counts); i++) *counts[i] = big_endian(tzif.data + 20 + 4 * i, 4);
    for (size_t i = 0; i < COUNT(counts); i++)
        if (*counts[i] > CHANGES_MAX) return false;
    return block->types > 0;
}

static size_t block_size(const struct block *block, size_t time_bytes) {
    return block->times * (time_bytes + 1) + block->types * 6 + block->letters +
           block->leaps * (time_bytes + 4) + block->standards + block->universals;
}

static bool read_offset(const char *types, size_t count, size_t type, int32_t *ret_s) {
    if (type >= count) return false;
    int64_t offset_s = (int32_t)(uint32_t)big_endian(types + 6 * type, 4);
    *ret_s = (int32_t)offset_s;
    return offset_s >= -OFFSET_MAX && offset_s <= OFFSET_MAX;
}

static bool read_changes(struct cron_zone *zone, const char *data, const struct block *block, size_t bytes) {
    const char *indexes = data + block->times * bytes, *types = indexes + block->times;
    if (!read_offset(types, block->types, 0, &zone->first_s)) return false;
    zone->changes = mem_array(block->times + 1, sizeof *zone->changes);
    for (size_t i = 0; i < block->times; i++) {
        uint64_t raw = big_endian(data + i * bytes, bytes);
        struct change *change = &zone->changes[i];
        change->at_s = bytes == 8 ? (int64_t)raw : (int32_t)(uint32_t)raw;
        if (i > 0 && change->at_s <= change[-1].at_s) return false;
        /* Beyond what a calendar of ours counts. */
        if (change->at_s < -(INT64_C(1) << 60) || change->at_s > INT64_C(1) << 60) return false;
        if (!read_offset(types, block->types, (uint8_t)indexes[i], &change->offset_s)) return false;
    }
    zone->change_count = block->times;
    return true;
}

static bool read_file(struct cron_zone *zone, struct span tzif) {
    struct block block;
    char version, again;
    if (!read_head(tzif, &block, &version)) return false;
    size_t size = block_size(&block, 4), bytes = 4;
    if (size > tzif.size - HEAD_SIZE) return false;
    if (version >= '2') { /* the same once more, with longer times */
        tzif = (struct span){tzif.data + HEAD_SIZE + size, tzif.size - HEAD_SIZE - size};
        bytes = 8;
        if (!read_head(tzif, &block, &again)) return false;
        size = block_size(&block, bytes);
        if (size > tzif.size - HEAD_SIZE) return false;
    }
    if (!read_changes(zone, tzif.data + HEAD_SIZE, &block, bytes)) return false;
    if (version < '2') return true;
    struct span foot = {tzif.data + HEAD_SIZE + size, tzif.size - HEAD_SIZE - size};
    if (!take_char(&foot, '\n')) return false;
    const char *end = memchr(foot.data, '\n', foot.size);
    return end && read_rule(zone, (struct span){foot.data, (size_t)(end - foot.data)});
}

struct error *cron_zone_parse(struct span tzif, struct cron_zone **ret_zone) {
    scoped(cron_zone) struct cron_zone *zone = NEW(struct cron_zone);
    if (!read_file(zone, tzif)) return error_new(ERROR_INVALID_ARGUMENT, "no file of the tz database");
    *ret_zone = take(zone);
    return NULL;
}

/* ---- which offset holds ---- */

/* By local time, as seconds since 1970. */
static int64_t rule_s(const struct rule_day *day, int64_t year) {
    int64_t at = cron_day_of((struct cron_date){year, 1, 1});
    if (day->kind == DAY_OF_WEEK) {
        int64_t first = cron_day_of((struct cron_date){year, day->month, 1});
        at = first + (day->day - cron_weekday(first) + 7) % 7 + (day->week - 1) * 7;
        if (at - first >= cron_month_days(year, day->month)) at -= 7; /* the last one of the month */
    } else if (day->kind == DAY_JULIAN) {
        bool leap = cron_month_days(year, 2) == 29;
        at += day->day - 1 + (leap && day->day >= 60); /* the 29th of February is never counted */
    } else {
        at += day->day;
    }
    return at * DAY_S + day->time_s;
}

static int by_time(const void *a, const void *b) {
    const struct change *left = a, *right = b;
    return left->at_s < right->at_s ? -1 : left->at_s > right->at_s;
}

/* Around a time that lies behind the table. `first`: where the rule begins to hold, and what held before. */
static struct cron_stretch by_rule(const struct cron_zone *zone, int64_t utc_s, struct change first) {
    struct cron_stretch stretch = {first.at_s, INT64_MAX, zone->winter_s, first.offset_s};
    if (!zone->has_rule) stretch.offset_s = first.offset_s;
    if (!zone->has_summer) return stretch;
    struct change changes[6];
    int64_t year = cron_date_of(cron_floor_div(utc_s, DAY_S)).year;
    for (int i = 0; i < 3; i++) {
        changes[2 * i] = (struct change){rule_s(&zone->begin, year - 1 + i) - zone->winter_s, zone->summer_s};
        changes[2 * i + 1] =
            (struct change){rule_s(&zone->end, year - 1 + i) - zone->summer_s, zone->winter_s};
    }
    qsort(changes, COUNT(changes), sizeof *changes, by_time);
    stretch.offset_s = changes[0].offset_s == zone->summer_s ? zone->winter_s : zone->summer_s;
    for (size_t i = 0; i < COUNT(changes); i++) {
        if (changes[i].at_s > utc_s) {
            stretch.end_s = changes[i].at_s;
            break;
        }
        if (changes[i].at_s > stretch.start_s || stretch.start_s == INT64_MIN) {
            stretch.start_s = changes[i].at_s;
            stretch.before_s = stretch.offset_s;
        }
        stretch.offset_s = changes[i].offset_s;
    }
    return stretch;
}

struct cron_stretch cron_zone_at(const struct cron_zone *zone, int64_t utc_s) {
    size_t low = 0, high = zone->change_count; /* changes before `low` are not later than utc_s */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (zone->changes[middle].at_s <= utc_s)
            low = middle + 1;
        else
            high = middle;
    }
    const struct change *changes = zone->changes;
    if (low == zone->change_count) {
        struct change last = low > 0 ? changes[low - 1] : (struct change){INT64_MIN, zone->first_s};
        int32_t before_s = low > 1 ? changes[low - 2].offset_s : zone->first_s;
        struct cron_stretch stretch = by_rule(zone, utc_s, last);
        if (stretch.start_s == last.at_s) stretch.before_s = low > 0 ? before_s : stretch.offset_s;
        return stretch;
    }
    struct cron_stretch stretch = {INT64_MIN, changes[low].at_s, zone->first_s, zone->first_s};
    if (low == 0) return stretch;
    stretch.start_s = changes[low - 1].at_s;
    stretch.offset_s = changes[low - 1].offset_s;
    stretch.before_s = low > 1 ? changes[low - 2].offset_s : zone->first_s;
    return stretch;
}
