/* Opening and closing, who a token belongs to, and how often somebody may ask. */
#include "inside.h"

#include <stdlib.h>

#define MINUTE_MS 60000
#define ASKED_MAX 10000 /* users whose requests are counted at once; beyond, all begin anew */

struct asked {
    int64_t since_ms;
    uint32_t count;
};

struct sql *account_hold(struct account *account) {
    pthread_mutex_lock(&account->access);
    return account->database;
}

void account_let_go(struct account *account) {
    pthread_mutex_unlock(&account->access);
}

struct error *account_one(struct account *account, struct error *taken_error, const char *what) {
    struct error *error = taken_error;
    if (!error && sql_changed(account->database) < 1)
        error = error_new(ERROR_NOT_FOUND, "%s not found", what);
    account_let_go(account);
    return error;
}

/* ---- open and close ---- */

static struct error *take_secret(struct account *account, const char *secret) {
    char once[UUID_SIZE];
    uuid_new(once);
    account->secret = mem_string(secret ? secret : once);
    if (uuid_is(account->secret)) return NULL;
    return error_new(ERROR_FAILED_PRECONDITION,
                     "JWT token secret needs to be in standard uuid format to ensure its security; "
                     "`uuidgen` makes one");
}

static void take_impersonation(struct account *account, const char *given) {
    struct span rest = span_of(given), email = span_cut(&rest, ':');
    if (!given || !rest.data || memchr(rest.data, ':', rest.size)) return;
    scoped_string char *password = span_string(rest);
    account->impersonate_email = span_string(email);
    account->impersonate_hash = password_hash(password);
}

static struct error *open_database(struct account *account) {
    scoped_string char *directory = path_join(account->root, "ee");
    TRY_PLAIN(dir_make(directory, 0700));
    account->path = path_join(directory, "db.sqlite");
    TRY_PLAIN(schema_open(account->path, &account->database));
    return sql_open(account->path, SQL_READ, &account->reader);
}

struct error *account_open(const struct account_options *options, struct account **ret_account) {
    scoped(account) struct account *account = NEW(struct account);
    account->loop = options->loop;
    account->root = mem_string(options->root);
    account->limit_per_minute = options->limit_per_minute;
    account->asked = table_new();
    account->failures = map_new();
    account->turned = map_new();
    pthread_mutex_init(&account->access, NULL);
    TRY_PLAIN(take_secret(account, options->secret));
    if (!options->without_database) {
        take_impersonation(account, options->impersonate);
        TRY(open_database(account), "accounts");
    }
    account->log = log_new(account);
    *ret_account = take(account);
    return NULL;
}

static void forget_asked(struct account *account) {
    void *value;
    for (size_t i = 0; table_next(account->asked, &i, NULL, &value);) free(value);
    table_free(account->asked);
}

void account_free(struct account *account) {
    if (!account) return;
    log_free(account->log);
    sql_free(account->reader);
    sql_free(account->database);
    forget_asked(account);
    void *value;
    for (size_t i = 0; map_next(account->failures, &i, NULL, &value);) free(value);
    map_free(account->failures);
    session_forget_turned(account->turned);
    pthread_mutex_destroy(&account->access);
    free(account->root);
    free(account->path);
    free(account->secret);
    free(account->impersonate_email);
    free(account->impersonate_hash);
    free(account);
}

/* ---- who ---- */

static struct error *look_up(struct account *account, struct sql *sql, struct span token,
                             struct account_who *ret_who) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    struct error *error = NULL;
    int64_t user = 0;
    scoped(error) struct error *no_jwt = jwt_read(account->secret, token, clock_wall_ms() / SECOND_MS, &user);
    if (no_jwt)
        TRY_PLAIN(sql_query(sql, &rows, "SELECT id, is_admin FROM users WHERE auth_token = ?1 AND active",
                            "t", token));
    else
        TRY_PLAIN(
            sql_query(sql, &rows, "SELECT id, is_admin FROM users WHERE id = ?1 AND active", "i", user));
    if (sql_next(rows, &error))
        *ret_who = (struct account_who){sql_int(rows, 0), sql_int(rows, 1) != 0, no_jwt != NULL};
    return error;
}

static struct account_who known(struct account *account, struct sql *sql, struct span token) {
    struct account_who who = {0};
    if (!sql || token.size == 0) return who;
    scoped(error) struct error *error = look_up(account, sql, token, &who);
    if (!error) return who;
    scoped_string char *text = error_text(error);
    log_error("account", "nobody can be let in: %s", text);
    return (struct account_who){0};
}

struct account_who account_known(struct account *account, struct span token) {
    return known(account, account->reader, token);
}

struct account_who account_known_blocking(struct account *account, struct span token) {
    struct account_who who = known(account, account_hold(account), token);
    account_let_go(account);
    return who;
}

/* ---- how often ---- */

bool account_may_ask(struct account *account, int64_t user, int64_t now_ms, int64_t *ret_wait_ms) {
    *ret_wait_ms = 0;
    if (account->limit_per_minute == 0) return true;
    struct asked *asked = table_get(account->asked, (uint64_t)user);
    if (!asked) {
        if (table_count(account->asked) >= ASKED_MAX) {
            forget_asked(account);
            account->asked = table_new();
        }
        asked = NEW(struct asked);
        asked->since_ms = now_ms;
        table_put(account->asked, (uint64_t)user, asked);
    }
    if (now_ms - asked->since_ms >= MINUTE_MS) *asked = (struct asked){.since_ms = now_ms};
    if (asked->count >= account->limit_per_minute) {
        *ret_wait_ms = asked->since_ms + MINUTE_MS - now_ms;
        return false;
    }
    asked->count++;
    return true;
}
