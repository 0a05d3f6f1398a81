/* Registering, signing in, and the tokens that come of it.
 *
 * A password's hash is worked out while nothing is held, so that one who signs in keeps nobody from the
 * database. What was looked at before it is looked at once more in the transaction that relies on it. */
#include "inside.h"

#include <ctype.h>
#include <stdlib.h>

#define FAILURES_MAX 10 /* wrong passwords for one address, then a pause */
#define FAILURES_FORGOTTEN_MS (5 * 60 * SECOND_MS)
#define FAILURES_KEPT 10000 /* addresses; beyond, all begin anew */

#define TURNED_MS (30 * SECOND_MS) /* a former refresh token may come once more */
#define TURNED_KEPT 10000          /* of them; beyond, all are forgotten */

struct failures {
    int64_t since_ms;
    uint32_t count;
};

void account_tokens_done(struct account_tokens *tokens) {
    free(tokens->access);
    free(tokens->refresh);
    *tokens = (struct account_tokens){0};
}

static void give_access(struct account *account, int64_t user, struct account_tokens *tokens) {
    int64_t now_s = clock_wall_ms() / SECOND_MS;
    tokens->access = jwt_new(account->secret, user, now_s);
    tokens->refresh_until_ms = (now_s + REFRESH_LIFE_S) * SECOND_MS;
}

static struct error *add_refresh_token(struct sql *sql, int64_t user, struct account_tokens *tokens) {
    scoped_string char *token = refresh_token_new(0);
    TRY_PLAIN(sql_do(
        sql, "INSERT INTO refresh_tokens (user_id, token, expires_at) VALUES (?1, ?2, datetime('now', ?3))",
        "iss", user, token, "+7 days"));
    tokens->refresh = take(token);
    return NULL;
}

/* ---- registering ---- */

/* *ret_invitation: its row, 0 for the first user. */
static struct error *may_register(struct sql *sql, const struct account_registration *new_user,
                                  int64_t *ret_invitation) {
    int64_t admins = 0, same = 0;
    scoped(sql_rows) struct sql_rows *rows = NULL;
    struct error *error = NULL;
    *ret_invitation = 0;
    TRY_PLAIN(sql_number(sql, 0, &admins, "SELECT count(*) FROM users WHERE is_admin", ""));
    if (admins > 0) {
        TRY_PLAIN(sql_query(sql, &rows, "SELECT id, email = ?2 FROM invitations WHERE code = ?1", "ss",
                            new_user->invitation_code, new_user->email));
        bool found = sql_next(rows, &error);
        if (error) return error;
        if (!found) return error_new(ERROR_PERMISSION_DENIED, "Invitation code is not valid");
        if (!sql_int(rows, 1))
            return error_new(ERROR_PERMISSION_DENIED, "Invitation code is not for this email address");
        *ret_invitation = sql_int(rows, 0);
    }
    TRY_PLAIN(sql_number(sql, 0, &same, "SELECT count(*) FROM users WHERE email = ?1", "s", new_user->email));
    return same ? error_new(ERROR_ALREADY_EXISTS, "Email is already registered") : NULL;
}

static struct error *add_user(struct sql *sql, const struct account_registration *new_user, const char *hash,
                              int64_t *ret_user, struct account_tokens *tokens) {
    int64_t invitation;
    scoped_string char *auth_token = auth_token_new();
    TRY_PLAIN(may_register(sql, new_user, &invitation));
    TRY_PLAIN(sql_do(sql, "DELETE FROM invitations WHERE id = ?1", "i", invitation));
    TRY_PLAIN(sql_do(sql,
                     "INSERT INTO users (email, password_encrypted, is_admin, auth_token, name)"
                     " VALUES (?1, ?2, ?3, ?4, ?5)",
                     "ssiss", new_user->email, hash, (int64_t)(invitation == 0), auth_token, new_user->name));
    *ret_user = sql_last_id(sql);
    return add_refresh_token(sql, *ret_user, tokens);
}

struct error *account_register(struct account *account, const struct account_registration *new_user,
                               struct account_tokens *ret_tokens) {
    int64_t unused, user = 0;
    *ret_tokens = (struct account_tokens){0};
    struct error *error = may_register(account_hold(account), new_user, &unused);
    account_let_go(account);
    if (error) return error;
    scoped_string char *hash = password_hash(new_user->password);
    struct sql *sql = account_hold(account);
    error = sql_begin(sql);
    if (!error) error = add_user(sql, new_user, hash, &user, ret_tokens);
    if (!error) error = sql_commit(sql);
    if (error) sql_rollback(sql);
    account_let_go(account);
    if (error)
        account_tokens_done(ret_tokens);
    else
        give_access(account, user, ret_tokens);
    return error;
}

/* ---- signing in ---- */

static char *lower(const char *email) {
    char *copy = mem_string(email);
    for (char *c = copy; *c; c++) *c = (char)tolower((unsigned char)*c);
    return copy;
}

static bool is_locked_out(struct account *account, struct span email) {
    struct failures *failures = map_get(account->failures, email);
    return failures && failures->count >= FAILURES_MAX &&
           clock_monotonic_ms() - failures->since_ms < FAILURES_FORGOTTEN_MS;
}

static void note_failure(struct account *account, struct span email) {
    int64_t now_ms = clock_monotonic_ms();
    struct failures *failures = map_get(account->failures, email);
    if (!failures && map_count(account->failures) >= FAILURES_KEPT) {
        void *value;
        for (size_t i = 0; map_next(account->failures, &i, NULL, &value);) free(value);
        map_free(account->failures);
        account->failures = map_new();
    }
    if (!failures) map_put(account->failures, email, failures = NEW(struct failures));
    if (now_ms - failures->since_ms >= FAILURES_FORGOTTEN_MS)
        *failures = (struct failures){.since_ms = now_ms};
    failures->count++;
}

struct candidate {
    int64_t user; /* 0: none with that address */
    char *hash;   /* NULL: signs in elsewhere */
    bool active;
};

static struct error *find_candidate(struct account *account, struct sql *sql, const char *email,
                                    struct candidate *candidate) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    struct error *error = NULL;
    scoped_string char *key = lower(email);
    if (is_locked_out(account, span_of(key)))
        return error_new(ERROR_RESOURCE_EXHAUSTED,
                         "Too many failed attempts to sign in; try again in 5 minutes");
    TRY_PLAIN(sql_query(sql, &rows, "SELECT id, password_encrypted, active FROM users WHERE email = ?1", "s",
                        email));
    if (!sql_next(rows, &error)) return error;
    candidate->user = sql_int(rows, 0);
    candidate->hash = sql_is_null(rows, 1) ? NULL : span_string(sql_span(rows, 1));
    candidate->active = sql_int(rows, 2) != 0;
    return NULL;
}

static struct error *start_session(struct account *account, int64_t user, struct account_tokens *ret_tokens) {
    struct error *error = add_refresh_token(account_hold(account), user, ret_tokens);
    account_let_go(account);
    if (!error) give_access(account, user, ret_tokens);
    return error;
}

struct error *account_sign_in(struct account *account, const char *email, const char *password,
                              struct account_tokens *ret_tokens) {
    struct candidate candidate = {0};
    *ret_tokens = (struct account_tokens){0};
    if (account->impersonate_email && strcmp(account->impersonate_email, email) == 0 &&
        password_fits(password, account->impersonate_hash))
        return start_session(account, OWNER_ROW, ret_tokens);
    struct error *error = find_candidate(account, account_hold(account), email, &candidate);
    account_let_go(account);
    if (error) return error;
    scoped_string char *hash = candidate.hash;
    if (!hash) password_waste(password); /* so that the time does not tell who has an account */
    if (!hash || !password_fits(password, hash)) {
        scoped_string char *key = lower(email);
        account_hold(account);
        note_failure(account, span_of(key));
        account_let_go(account);
        return error_new(ERROR_PERMISSION_DENIED, "Invalid email address or password");
    }
    if (!candidate.active) return error_new(ERROR_PERMISSION_DENIED, "User is disabled");
    return start_session(account, candidate.user, ret_tokens);
}

/* ---- going on, and ending ---- */

/* A browser that leaves a page while it renews its session never learns of the new token, and two windows
 * renew with the same one. So the former token is good for the same new one, until that is used itself. */
struct turned {
    int64_t at_ms;
    char *token; /* the new one */
};

void session_forget_turned(struct map *map) {
    void *value;
    for (size_t i = 0; map_next(map, &i, NULL, &value);) {
        free(((struct turned *)value)->token);
        free(value);
    }
    map_free(map);
}

/* NULL: it was not turned a moment ago. */
static const char *turned_into(struct account *account, const char *former) {
    const struct turned *turned = map_get(account->turned, span_of(former));
    return turned && clock_monotonic_ms() - turned->at_ms < TURNED_MS ? turned->token : NULL;
}

static void note_turned(struct account *account, const char *former, const char *token) {
    struct turned *turned = NEW(struct turned);
    if (map_count(account->turned) >= TURNED_KEPT) {
        session_forget_turned(account->turned);
        account->turned = map_new();
    }
    *turned = (struct turned){clock_monotonic_ms(), mem_string(token)};
    map_put(account->turned, span_of(former), turned);
}

static struct error *find_session(struct sql *sql, const char *token, int64_t *ret_row, int64_t *ret_user) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    struct error *error = NULL;
    TRY_PLAIN(
        sql_query(sql, &rows,
                  "SELECT r.id, r.user_id, r.expires_at >= datetime('now'), u.active FROM refresh_tokens r"
                  " JOIN users u ON u.id = r.user_id WHERE r.token = ?1",
                  "s", token));
    bool found = sql_next(rows, &error);
    if (error) return error;
    if (!found) return error_new(ERROR_PERMISSION_DENIED, "Invalid refresh token");
    if (!sql_int(rows, 2)) return error_new(ERROR_PERMISSION_DENIED, "Expired refresh token");
    if (!sql_int(rows, 3)) return error_new(ERROR_PERMISSION_DENIED, "User is disabled");
    *ret_row = sql_int(rows, 0);
    *ret_user = sql_int(rows, 1);
    return NULL;
}

static struct error *renew(struct sql *sql, const char *former, const char *turned, int64_t *ret_user,
                           char **ret_token) {
    int64_t row = 0;
    TRY_PLAIN(find_session(sql, turned ? turned : former, &row, ret_user));
    *ret_token = turned ? mem_string(turned) : refresh_token_new(row);
    if (turned) return NULL;
    return sql_do(
        sql, "UPDATE refresh_tokens SET token = ?1, expires_at = datetime('now', '+7 days') WHERE id = ?2",
        "si", *ret_token, row);
}

struct error *account_refresh(struct account *account, const char *refresh_token,
                              struct account_tokens *ret_tokens) {
    int64_t user = 0;
    *ret_tokens = (struct account_tokens){0};
    struct sql *sql = account_hold(account);
    const char *turned = turned_into(account, refresh_token);
    struct error *error = sql_begin(sql);
    if (!error) error = renew(sql, refresh_token, turned, &user, &ret_tokens->refresh);
    if (!error) error = sql_commit(sql);
    if (error)
        sql_rollback(sql);
    else if (!turned)
        note_turned(account, refresh_token, ret_tokens->refresh);
    account_let_go(account);
    if (error)
        account_tokens_done(ret_tokens);
    else
        give_access(account, user, ret_tokens);
    return error;
}

struct error *account_sign_out_everywhere(struct account *account, int64_t user) {
    struct error *error =
        sql_do(account_hold(account), "DELETE FROM refresh_tokens WHERE user_id = ?1", "i", user);
    account_let_go(account);
    return error;
}

struct error *account_verify(struct account *account, struct span access_token) {
    int64_t user;
    return jwt_read(account->secret, access_token, clock_wall_ms() / SECOND_MS, &user);
}
