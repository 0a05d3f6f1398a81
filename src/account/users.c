/* Users and who is invited: lists, roles, tokens, pictures, passwords. */
#include "inside.h"

#include <stdlib.h>

#define AVATAR_BYTES_MAX (512 * 1024)

static const struct listing user_list = {
    .table = "users",
    .columns = "id, email, coalesce(name, '') AS name, created_at AS createdAt, is_admin AS isAdmin,"
               " id = 1 AS isOwner, active, auth_token AS authToken,"
               " password_encrypted IS NOT NULL AS isPasswordSet, password_encrypted IS NULL AS isSsoUser",
    .kinds = "Isstbbbsbb",
};
static const struct listing invitation_list = {
    .table = "invitations",
    .columns = "id, email, code, created_at AS createdAt",
    .kinds = "Isst",
};

struct error *account_owner_exists(struct account *account, bool *ret_exists) {
    int64_t admins = 0;
    struct error *error =
        sql_number(account_hold(account), 0, &admins, "SELECT count(*) FROM users WHERE is_admin", "");
    account_let_go(account);
    *ret_exists = admins > 0;
    return error;
}

static struct error *user_row(struct sql *sql, int64_t user, json_t **ret_user) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    struct error *error = NULL;
    scoped_string char *text = mem_printf("SELECT %s FROM users WHERE id = ?1", user_list.columns);
    TRY_PLAIN(sql_query(sql, &rows, text, "i", user));
    if (sql_next(rows, &error))
        *ret_user = rows_object(rows, user_list.kinds);
    else if (!error)
        error = error_new(ERROR_NOT_FOUND, "User not found");
    return error;
}

struct error *account_user(struct account *account, int64_t user, json_t **ret_user) {
    struct error *error = user_row(account_hold(account), user, ret_user);
    account_let_go(account);
    return error;
}

struct error *account_users(struct account *account, const struct account_page *page, const json_t *ids,
                            json_t **ret_users) {
    struct listing listing = user_list;
    scoped_string char *rows = rows_of_ids(ids), *condition = rows ? mem_printf("id IN (%s)", rows) : NULL;
    listing.condition = condition;
    struct error *error = rows_page(account_hold(account), &listing, page, ret_users);
    account_let_go(account);
    return error;
}

/* ---- changes ---- */

static struct error *not_of_the_owner(struct sql *sql, int64_t user, const char *what, const char *flag,
                                      bool value) {
    scoped_json json_t *row = NULL;
    TRY_PLAIN(user_row(sql, user, &row));
    if (user == OWNER_ROW)
        return error_new(ERROR_FAILED_PRECONDITION, "The owner's %s status cannot be changed", what);
    if (json_is_true(json_object_get(row, flag)) == value)
        return error_new(ERROR_FAILED_PRECONDITION, "User's %s status is already set to %s", what,
                         value ? "true" : "false");
    return NULL;
}

static struct error *active_set(struct sql *sql, int64_t user, bool active) {
    TRY_PLAIN(not_of_the_owner(sql, user, "active", "active", active));
    TRY_PLAIN(sql_do(sql, "UPDATE users SET active = ?2, updated_at = datetime('now') WHERE id = ?1", "ii",
                     user, (int64_t)active));
    /* Who was put out does not come back with a session of before. */
    return sql_do(sql, "DELETE FROM refresh_tokens WHERE user_id = ?1 AND NOT ?2", "ii", user,
                  (int64_t)active);
}

static struct error *admin_set(struct sql *sql, int64_t user, bool is_admin) {
    int64_t active = 0;
    TRY_PLAIN(not_of_the_owner(sql, user, "admin", "isAdmin", is_admin));
    TRY_PLAIN(sql_number(sql, 0, &active, "SELECT active FROM users WHERE id = ?1", "i", user));
    if (!active) return error_new(ERROR_FAILED_PRECONDITION, "Inactive user's status cannot be changed");
    return sql_do(sql, "UPDATE users SET is_admin = ?2, updated_at = datetime('now') WHERE id = ?1", "ii",
                  user, (int64_t)is_admin);
}

static struct error *set(struct account *account, struct error *(*change)(struct sql *, int64_t, bool),
                         int64_t user, bool value) {
    struct sql *sql = account_hold(account);
    struct error *error = sql_begin(sql);
    if (!error) error = change(sql, user, value);
    if (!error) error = sql_commit(sql);
    if (error) sql_rollback(sql);
    account_let_go(account);
    return error;
}

struct error *account_user_active_set(struct account *account, int64_t user, bool active) {
    return set(account, active_set, user, active);
}

struct error *account_user_admin_set(struct account *account, int64_t user, bool is_admin) {
    return set(account, admin_set, user, is_admin);
}

/* After a statement that changes one user, or nobody. */
static struct error *changed_one(struct account *account, struct error *error) {
    if (!error && sql_changed(account->database) != 1) error = error_new(ERROR_NOT_FOUND, "User not found");
    account_let_go(account);
    return error;
}

struct error *account_user_name_set(struct account *account, int64_t user, const char *name) {
    struct sql *sql = account_hold(account);
    return changed_one(account,
                       sql_do(sql, "UPDATE users SET name = ?2, updated_at = datetime('now') WHERE id = ?1",
                              "is", user, name));
}

struct error *account_user_token_renew(struct account *account, int64_t user) {
    scoped_string char *token = auth_token_new();
    struct sql *sql = account_hold(account);
    return changed_one(
        account, sql_do(sql, "UPDATE users SET auth_token = ?2, updated_at = datetime('now') WHERE id = ?1",
                        "is", user, token));
}

struct error *account_avatar_set(struct account *account, int64_t user, struct span image) {
    if (image.size > AVATAR_BYTES_MAX)
        return error_new(ERROR_INVALID_ARGUMENT,
                         "The image you are attempting to upload is too large. Please ensure "
                         "the file size is under 512KB");
    struct sql *sql = account_hold(account);
    return changed_one(account, sql_do(sql, "UPDATE users SET avatar = ?2 WHERE id = ?1", "ib", user, image));
}

struct error *account_avatar(struct account *account, int64_t user, struct text *ret_image) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    struct sql *sql = account_hold(account);
    struct error *error =
        sql_query(sql, &rows, "SELECT avatar FROM users WHERE id = ?1 AND avatar IS NOT NULL", "i", user);
    if (!error && sql_next(rows, &error))
        text_add(ret_image, sql_span(rows, 0));
    else if (!error)
        error = error_new(ERROR_NOT_FOUND, "no picture");
    sql_rows_free(take(rows)); /* while the connection is still ours */
    account_let_go(account);
    return error;
}

/* ---- invitations ---- */

static struct error *invite(struct sql *sql, const char *email, int64_t *ret_row) {
    char code[UUID_SIZE];
    int64_t users = 0, invited = 0;
    uuid_new(code);
    TRY_PLAIN(sql_number(sql, 0, &users, "SELECT count(*) FROM users WHERE email = ?1", "s", email));
    if (users) return error_new(ERROR_ALREADY_EXISTS, "User already registered");
    TRY_PLAIN(sql_number(sql, 0, &invited, "SELECT count(*) FROM invitations WHERE email = ?1", "s", email));
    if (invited) return error_new(ERROR_ALREADY_EXISTS, "Failed to create invitation, email already exists");
    TRY_PLAIN(sql_do(sql, "INSERT INTO invitations (email, code) VALUES (?1, ?2)", "ss", email, code));
    *ret_row = sql_last_id(sql);
    return NULL;
}

struct error *account_invite(struct account *account, const char *email, int64_t *ret_row) {
    struct error *error = invite(account_hold(account), email, ret_row);
    account_let_go(account);
    return error;
}

struct error *account_invitations(struct account *account, const struct account_page *page,
                                  json_t **ret_invitations) {
    struct error *error = rows_page(account_hold(account), &invitation_list, page, ret_invitations);
    account_let_go(account);
    return error;
}

struct error *account_uninvite(struct account *account, int64_t row) {
    struct sql *sql = account_hold(account);
    struct error *error = sql_do(sql, "DELETE FROM invitations WHERE id = ?1", "i", row);
    if (!error && sql_changed(sql) != 1) error = error_new(ERROR_NOT_FOUND, "failed to delete invitation");
    account_let_go(account);
    return error;
}
