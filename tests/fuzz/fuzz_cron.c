/* Time-tables and time zones: the first byte says which. A table that is taken has times that come one after
 * the other and fit it; in any zone that is taken a time is found without end or overflow. */
#include "cron.h"

#include <stdlib.h>

static void table(struct span text) {
    struct cron_table table;
    scoped(cron_zone) struct cron_zone *utc = cron_zone_utc();
    scoped(error) struct error *error = cron_table_parse(text, &table);
    if (error) {
        if (error->code != ERROR_INVALID_ARGUMENT) abort();
        return;
    }
    int64_t at_s = 1700000000;
    for (int i = 0; i < 3; i++) {
        int64_t next_s = cron_table_next(&table, utc, at_s);
        if (next_s == CRON_NEVER || next_s <= at_s || next_s % 60 != 0) abort();
        if (!(table.minutes >> (next_s / 60 % 60) & 1) || !(table.hours >> (next_s / 3600 % 24) & 1)) abort();
        at_s = next_s;
    }
}

static void zone(struct span file) {
    scoped(cron_zone) struct cron_zone *zone = NULL;
    scoped(error) struct error *error = cron_zone_parse(file, &zone);
    if (error) return;
    struct cron_table often, seldom;
    if (cron_table_parse(SPAN("*/7 2 * * *"), &often) || cron_table_parse(SPAN("0 * 29 2 *"), &seldom))
        abort();
    static const int64_t times_s[] = {-5000000000, 0, 1700000000, 2200000000, 4000000000};
    for (size_t i = 0; i < COUNT(times_s); i++) {
        struct cron_stretch stretch = cron_zone_at(zone, times_s[i]);
        if (stretch.start_s > times_s[i] || stretch.end_s <= times_s[i]) abort();
        int64_t next_s = cron_table_next(&often, zone, times_s[i]);
        if (next_s <= times_s[i]) abort();
        if (cron_table_next(&seldom, zone, times_s[i]) <= times_s[i]) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    if (size_bytes == 0) return 0;
    struct span rest = {(const char *)data + 1, size_bytes - 1};
    if (data[0] == 'z')
        zone(rest);
    else
        table(rest);
    return 0;
}
