/* GraphQL: what was completed and said, by day. Everybody may see their own, admins all. */
#include "resolve.h"

#include <stdio.h>
#include <stdlib.h>

#define YEAR_MS (365LL * 24 * 3600 * 1000)

/* Names as editors write them, and the words of the schema for them; all others are OTHER. */
static const struct {
    const char *name, *word;
} languages[] = {
    {"rust", "RUST"},
    {"python", "PYTHON"},
    {"java", "JAVA"},
    {"kotlin", "KOTLIN"},
    {"javascript", "JAVASCRIPT"},
    {"javascriptreact", "JAVASCRIPT"},
    {"typescript", "TYPESCRIPT"},
    {"typescriptreact", "TYPESCRIPT"},
    {"go", "GO"},
    {"ruby", "RUBY"},
    {"csharp", "CSHARP"},
    {"c", "C"},
    {"cpp", "CPP"},
    {"c++", "CPP"},
    {"solidity", "SOLIDITY"},
    {"php", "PHP"},
};

static const char *word_of(const char *name) {
    for (size_t i = 0; i < COUNT(languages); i++)
        if (strcmp(languages[i].name, name) == 0) return languages[i].word;
    return "OTHER";
}

static bool is_wanted(const char *word, const json_t *wanted) {
    size_t i;
    json_t *one;
    if (json_array_size(wanted) == 0) return true;
    json_array_foreach(wanted, i, one) if (strcmp(json_string_value(one), word) == 0) return true;
    return false;
}

static struct error *check_reader(struct graphql_call *call, const json_t *users) {
    size_t i;
    json_t *id;
    int64_t row = 0;
    TRY_PLAIN(check_user(call));
    if (asker_of(call)->who.is_admin) return NULL;
    bool only_own = json_array_size(users) > 0;
    json_array_foreach(users, i, id) only_own &=
        account_row(span_of(json_string_value(id)), &row) && row == asker_of(call)->who.user;
    return only_own ? NULL
                    : refuse(call, "FORBIDDEN", "You must be admin to read other users' analytic data");
}

struct period {
    char start[ACCOUNT_TIME_SIZE], end[ACCOUNT_TIME_SIZE];
};

static void past_year(struct period *period) {
    char text[CLOCK_TEXT_SIZE];
    int64_t now_ms = clock_wall_ms();
    clock_text(now_ms - YEAR_MS, text);
    snprintf(period->start, sizeof period->start, "%.10s 00:00:00", text); /* whole days */
    clock_text(now_ms + 1000, text);
    snprintf(period->end, sizeof period->end, "%.10s %.8s", text, text + 11);
}

static struct error *read_period(const struct graphql_call *call, struct period *period) {
    if (!argument_string(call, "start")) {
        past_year(period);
        return NULL;
    }
    if (account_time_read(span_of(argument_string(call, "start")), period->start) &&
        account_time_read(span_of(argument_string(call, "end")), period->end))
        return NULL;
    return error_new(ERROR_INVALID_ARGUMENT, "start and end are times as in 2026-01-31T12:00:00Z");
}

static struct error *stats(struct graphql_call *call, json_t **ret) {
    const json_t *users = json_object_get(call->arguments, "users");
    const json_t *wanted = json_object_get(call->arguments, "languages");
    struct period period;
    scoped_json json_t *rows = NULL;
    size_t i;
    json_t *row;
    TRY_PLAIN(check_reader(call, users));
    TRY_PLAIN(read_period(call, &period));
    const struct account_span span = {period.start, period.end};
    TRY_PLAIN(account_daily_stats(asker_of(call)->account, &span, users, NULL, &rows));
    *ret = json_array();
    json_array_foreach(rows, i, row) {
        const char *name = json_string_value(json_object_get(row, "language"));
        const char *word = word_of(name ? name : "");
        if (!is_wanted(word, wanted)) continue;
        json_object_set_new(row, "languageName", json_string(name ? name : ""));
        json_object_set_new(row, "language", json_string(word));
        json_array_append(*ret, row);
    }
    return NULL;
}

static struct error *chats(struct graphql_call *call, json_t **ret) {
    const json_t *users = json_object_get(call->arguments, "users");
    struct period period;
    TRY_PLAIN(check_reader(call, users));
    TRY_PLAIN(read_period(call, &period));
    const struct account_span span = {period.start, period.end};
    return account_daily_chats(asker_of(call)->account, &span, users, ret);
}

static struct error *events(struct graphql_call *call, json_t **ret) {
    struct account_page page;
    struct period period;
    TRY_PLAIN(check_admin(call));
    argument_page(call, &page);
    TRY_PLAIN(check_page(&page));
    TRY_PLAIN(read_period(call, &period));
    const struct account_span span = {period.start, period.end};
    return account_events(asker_of(call)->account, &page, &span, json_object_get(call->arguments, "users"),
                          ret);
}

const struct graphql_resolver resolve_activity[] = {
    {"Query.dailyStatsInPastYear", stats},
    {"Query.dailyStats", stats},
    {"Query.chatDailyStatsInPastYear", chats},
    {"Query.chatDailyStats", chats},
    {"Query.userEvents", events},
    {NULL, NULL},
};
