/* Counts by day, language and user, for the plots. */
#include "inside.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- times ---- */

/* Civil date to days since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms"). */
static int64_t days_of(int64_t year, int64_t month, int64_t day) {
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400, of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static bool number(const char **at, int digits, int64_t *ret) {
    *ret = 0;
    for (int i = 0; i < digits; i++, (*at)++) {
        if (**at < '0' || **at > '9') return false;
        *ret = *ret * 10 + (**at - '0');
    }
    return true;
}

static bool letter(const char **at, const char *one_of) {
    if (!**at || !strchr(one_of, **at)) return false;
    (*at)++;
    return true;
}

/* Z, or +HH:MM; seconds that the text is ahead of UTC. */
static bool offset(const char **at, int64_t *ret_ahead_s) {
    int64_t hours, minutes;
    char sign = **at;
    *ret_ahead_s = 0;
    if (letter(at, "Zz")) return true;
    if (!letter(at, "+-") || !number(at, 2, &hours) || !letter(at, ":") || !number(at, 2, &minutes))
        return false;
    *ret_ahead_s = (hours * 3600 + minutes * 60) * (sign == '-' ? -1 : 1);
    return hours < 24 && minutes < 60;
}

bool account_time_read(struct span rfc3339, char out[ACCOUNT_TIME_SIZE]) {
    scoped_string char *copy = span_string(rfc3339);
    const char *at = copy;
    int64_t year, month, day, hour, minute, second, ahead_s;
    if (!number(&at, 4, &year) || !letter(&at, "-") || !number(&at, 2, &month) || !letter(&at, "-") ||
        !number(&at, 2, &day) || !letter(&at, "Tt ") || !number(&at, 2, &hour) || !letter(&at, ":") ||
        !number(&at, 2, &minute) || !letter(&at, ":") || !number(&at, 2, &second))
        return false;
    if (letter(&at, "."))
        while (letter(&at, "0123456789")) continue;
    if (!offset(&at, &ahead_s) || *at || rfc3339.size != strlen(copy)) return false;
    if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60)
        return false;
    int64_t seconds = days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - ahead_s;
    char text[CLOCK_TEXT_SIZE];
    clock_text(seconds * 1000, text);
    snprintf(out, ACCOUNT_TIME_SIZE, "%.10s %.8s", text, text + 11);
    return true;
}

/* ---- lists in SQL: made of numbers that we read ourselves, and of names that are bound ---- */

static char *user_condition(const json_t *users, const char *column) {
    scoped_string char *rows = json_array_size(users) > 0 ? rows_of_ids(users) : NULL;
    return rows ? mem_printf("%s IN (%s)", column, rows) : mem_string("1");
}

static struct error *select_all(struct account *account, const char *text, const char *kinds,
                                const struct account_span *span, const char *names, json_t **ret) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    TRY_PLAIN(sql_query(account->database, &rows, text, "sss", span->start, span->end, names));
    return rows_array(rows, kinds, ret);
}

struct error *account_daily_stats(struct account *account, const struct account_span *span,
                                  const json_t *users, const json_t *languages, json_t **ret_stats) {
    scoped_string char *who = user_condition(users, "user_id");
    scoped_string char *names = json_array_size(languages) > 0 ? json_dumps(languages, JSON_COMPACT) : NULL;
    /* Days begin at the hour of `start`, wherever the client lives. */
    scoped_string char *text =
        mem_printf("SELECT datetime(strftime('%%s', ?1) + day * 86400, 'unixepoch') AS start,"
                   " datetime(strftime('%%s', ?1) + (day + 1) * 86400, 'unixepoch') AS end, language,"
                   " count(*) AS completions, sum(views) AS views, sum(selects) AS selects FROM ("
                   "SELECT (strftime('%%s', c.created_at) - strftime('%%s', ?1)) / 86400 AS day, language, "
                   "views, selects"
                   " FROM user_completions c JOIN users u ON u.id = c.user_id AND u.active"
                   " WHERE c.created_at >= ?1 AND c.created_at < ?2 AND %s"
                   " AND (?3 IS NULL OR language IN (SELECT value FROM json_each(?3))))"
                   " GROUP BY day, language ORDER BY day, language",
                   who);
    account_hold(account);
    struct error *error = select_all(account, text, "ttsiii", span, names, ret_stats);
    account_let_go(account);
    return error;
}

struct error *account_daily_chats(struct account *account, const struct account_span *span,
                                  const json_t *users, json_t **ret_stats) {
    scoped_string char *who = user_condition(users, "user_id");
    scoped_string char *text =
        mem_printf("SELECT datetime(date(created_at)) AS start,"
                   " datetime(date(created_at), '+1 day') AS end, user_id AS userId,"
                   " count(*) AS chats FROM user_events WHERE created_at >= ?1"
                   " AND created_at < ?2 AND kind = 'chat_completion' AND %s AND ?3 IS NULL"
                   " GROUP BY 1, 3 ORDER BY 1, 3",
                   who);
    account_hold(account);
    struct error *error = select_all(account, text, "ttIi", span, NULL, ret_stats);
    account_let_go(account);
    return error;
}

struct error *account_events(struct account *account, const struct account_page *page,
                             const struct account_span *span, const json_t *users, json_t **ret_events) {
    scoped_string char *who = user_condition(users, "user_id");
    /* Both times were made by account_time_read: digits, hyphens, colons and a blank. */
    scoped_string char *condition =
        mem_printf("created_at >= '%s' AND created_at < '%s' AND %s", span->start, span->end, who);
    struct listing listing = {
        .table = "user_events",
        .columns = "id, user_id AS userId, kind, created_at AS createdAt, payload",
        .kinds = "IIUts",
        .condition = condition,
    };
    struct error *error = rows_page(account_hold(account), &listing, page, ret_events);
    account_let_go(account);
    return error;
}
