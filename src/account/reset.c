/* New passwords in the place of old ones: by who knows the old one, or by a code that an admin hands out.
 *
 * Whoever changes a password puts an end to all sessions that were begun with the old one. */
#include "inside.h"

#include <stdlib.h>

static struct error *hash_of(struct account *account, int64_t user, char **ret_hash) {
    struct error *error =
        sql_text(account_hold(account), ret_hash,
                 "SELECT password_encrypted FROM users WHERE id = ?1 AND active", "i", user);
    account_let_go(account);
    return error;
}

static struct error *store_hash(struct sql *sql, int64_t user, const char *hash, const char *code) {
    TRY_PLAIN(sql_do(sql,
                     "UPDATE users SET password_encrypted = ?2, updated_at = datetime('now') WHERE id = ?1",
                     "is", user, hash));
    TRY_PLAIN(sql_do(sql, "DELETE FROM refresh_tokens WHERE user_id = ?1", "i", user));
    TRY_PLAIN(sql_do(sql, "DELETE FROM password_reset WHERE user_id = ?1", "i", user));
    /* The code may have been used by somebody else while the hash was worked out. */
    if (code && sql_changed(sql) != 1) return error_new(ERROR_PERMISSION_DENIED, "Invalid code");
    return NULL;
}

static struct error *replace(struct account *account, int64_t user, const char *password, const char *code) {
    scoped_string char *hash = password_hash(password);
    struct sql *sql = account_hold(account);
    struct error *error = sql_begin(sql);
    if (!error) error = store_hash(sql, user, hash, code);
    if (!error) error = sql_commit(sql);
    if (error) sql_rollback(sql);
    account_let_go(account);
    return error;
}

struct error *account_password_change(struct account *account, int64_t user, const char *old_password,
                                      const char *new_password) {
    scoped_string char *hash = NULL;
    TRY_PLAIN(hash_of(account, user, &hash));
    if (!hash) return error_new(ERROR_FAILED_PRECONDITION, "Password cannot be changed for SSO users");
    if (!old_password || !password_fits(old_password, hash))
        return error_new(ERROR_PERMISSION_DENIED, "Password is incorrect");
    if (strcmp(old_password, new_password) == 0)
        return error_new(ERROR_INVALID_ARGUMENT, "New password cannot be the same as your current password");
    return replace(account, user, new_password, NULL);
}

struct error *account_password_code(struct account *account, int64_t user, char **ret_code) {
    scoped_string char *hash = NULL;
    char code[UUID_SIZE];
    TRY_PLAIN(hash_of(account, user, &hash));
    if (!hash)
        return error_new(ERROR_FAILED_PRECONDITION, "Only an active user with a password can get a new one");
    uuid_new(code);
    struct error *error =
        sql_do(account_hold(account),
               "INSERT INTO password_reset (user_id, code) VALUES (?1, ?2) ON CONFLICT (user_id)"
               " DO UPDATE SET code = ?2, created_at = datetime('now')",
               "is", user, code);
    account_let_go(account);
    *ret_code = error ? NULL : mem_string(code);
    return error;
}

struct error *account_password_reset(struct account *account, const char *code, const char *new_password) {
    int64_t user = 0;
    scoped_string char *hash = NULL;
    struct error *error =
        sql_number(account_hold(account), 0, &user,
                   "SELECT u.id FROM password_reset p JOIN users u ON u.id = p.user_id AND u.active"
                   " WHERE p.code = ?1 AND p.created_at >= datetime('now', '-15 minutes')",
                   "s", code);
    account_let_go(account);
    if (error) return error;
    if (user == 0) return error_new(ERROR_PERMISSION_DENIED, "Invalid code");
    TRY_PLAIN(hash_of(account, user, &hash));
    if (!hash) return error_new(ERROR_FAILED_PRECONDITION, "Password cannot be reset for SSO users");
    if (password_fits(new_password, hash))
        return error_new(ERROR_INVALID_ARGUMENT, "New password cannot be the same as your current password");
    return replace(account, user, new_password, code);
}
