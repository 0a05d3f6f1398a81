/* Groups of users, and which of them may read what: Tabby's tables. A source that no group was granted is
 * everybody's; one that some were is theirs, and the admins'. */
#include "inside.h"

#include <stdlib.h>

/* ---- groups ---- */

static struct error *add_members(struct sql *sql, int64_t group, json_t *node) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    struct error *error = NULL;
    json_t *members = json_array();
    json_object_set_new(node, "members", members);
    TRY_PLAIN(sql_query(
        sql, &rows,
        "SELECT u.id, u.email, coalesce(u.name, '') AS name, u.created_at AS createdAt, u.is_admin AS "
        "isAdmin, u.id = 1 AS isOwner, u.active, u.password_encrypted IS NULL AS isSsoUser, "
        "u.password_encrypted IS NOT NULL AS isPasswordSet, m.is_group_admin AS isGroupAdmin, "
        "m.created_at AS since, m.updated_at AS updatedAt FROM user_group_memberships m JOIN users u ON "
        "u.id = m.user_id WHERE m.user_group_id = ?1 ORDER BY m.id",
        "i", group));
    while (sql_next(rows, &error)) {
        json_t *user = rows_object(rows, "Isstbbbbbbtt");
        json_t *member =
            json_pack("{s:O,s:O,s:O}", "isGroupAdmin", json_object_get(user, "isGroupAdmin"), "createdAt",
                      json_object_get(user, "since"), "updatedAt", json_object_get(user, "updatedAt"));
        json_object_set_new(member, "user", user);
        json_array_append_new(members, member);
    }
    return error;
}

/* source_id NULL: all groups. */
static struct error *groups(struct sql *sql, const char *source_id, json_t **ret_groups) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    scoped_json json_t *array = json_array();
    struct error *error = NULL;
    TRY_PLAIN(sql_query(
        sql, &rows,
        "SELECT id, name, created_at AS createdAt, updated_at AS updatedAt FROM user_groups WHERE ?1 "
        "IS NULL OR id IN (SELECT user_group_id FROM source_id_read_access_policies WHERE source_id "
        "= ?1) ORDER BY name",
        "s", source_id));
    while (!error && sql_next(rows, &error)) {
        json_t *group = rows_object(rows, "Istt");
        json_array_append_new(array, group);
        error = add_members(sql, sql_int(rows, 0), group);
    }
    if (error) return error;
    *ret_groups = json_incref(array);
    return NULL;
}

struct error *account_groups(struct account *account, const char *source_id, json_t **ret_groups) {
    struct error *error = groups(account_hold(account), source_id, ret_groups);
    account_let_go(account);
    return error;
}

struct error *account_group_add(struct account *account, const char *name, int64_t *ret_row) {
    struct sql *sql = account_hold(account);
    struct error *error = sql_do(sql, "INSERT INTO user_groups (name) VALUES (?1)", "s", name);
    if (error && error->code == ERROR_ALREADY_EXISTS) {
        error_free(error);
        error = error_new(ERROR_ALREADY_EXISTS, "A user group with the same name already exists");
    }
    if (!error) *ret_row = sql_last_id(sql);
    account_let_go(account);
    return error;
}

struct error *account_group_remove(struct account *account, int64_t row) {
    return account_one(account,
                       sql_do(account_hold(account), "DELETE FROM user_groups WHERE id = ?1", "i", row),
                       "User group"); /* members and what it may read go with it */
}

/* ---- members ---- */

struct error *account_member_set(struct account *account, int64_t group, int64_t user, bool is_admin) {
    return account_one(
        account,
        sql_do(account_hold(account),
               "INSERT INTO user_group_memberships (user_group_id, user_id, is_group_admin) SELECT g.id, "
               "u.id, ?3 FROM user_groups g, users u WHERE g.id = ?1 AND u.id = ?2 ON CONFLICT (user_id, "
               "user_group_id) DO UPDATE SET is_group_admin = ?3, updated_at = datetime('now')",
               "iii", group, user, (int64_t)is_admin),
        "User or group");
}

struct error *account_member_remove(struct account *account, int64_t group, int64_t user) {
    return account_one(account,
                       sql_do(account_hold(account),
                              "DELETE FROM user_group_memberships WHERE user_group_id = ?1 AND user_id = ?2",
                              "ii", group, user),
                       "Member");
}

struct error *account_member_leads(struct account *account, int64_t group, int64_t user, bool *ret_leads) {
    int64_t leads = 0;
    struct error *error =
        sql_number(account_hold(account), 0, &leads,
                   "SELECT is_group_admin FROM user_group_memberships WHERE user_group_id = ?1 "
                   "AND user_id = ?2",
                   "ii", group, user);
    account_let_go(account);
    *ret_leads = leads != 0;
    return error;
}

/* ---- what they may read ---- */

struct error *account_read_grant(struct account *account, const char *source_id, int64_t group) {
    return account_one(
        account,
        sql_do(account_hold(account),
               "INSERT INTO source_id_read_access_policies (source_id, user_group_id) SELECT ?1, id FROM "
               "user_groups WHERE id = ?2 ON CONFLICT (source_id, user_group_id) DO UPDATE SET updated_at = "
               "datetime('now')",
               "si", source_id, group),
        "User group");
}

struct error *account_read_revoke(struct account *account, const char *source_id, int64_t group) {
    return account_one(
        account,
        sql_do(account_hold(account),
               "DELETE FROM source_id_read_access_policies WHERE source_id = ?1 AND user_group_id = ?2", "si",
               source_id, group),
        "Access policy");
}

struct error *account_may_read(struct account *account, int64_t user, const char *source_id, bool *ret_may) {
    int64_t may = 0;
    struct error *error =
        sql_number(account_hold(account), 0, &may,
                   "SELECT EXISTS (SELECT 1 FROM users WHERE id = ?1 AND is_admin)"
                   " OR NOT EXISTS (SELECT 1 FROM source_id_read_access_policies WHERE source_id = ?2)"
                   " OR EXISTS (SELECT 1 FROM source_id_read_access_policies p"
                   " JOIN user_group_memberships m ON m.user_group_id = p.user_group_id WHERE p.source_id = "
                   "?2 AND m.user_id = ?1)",
                   "is", user, source_id);
    account_let_go(account);
    *ret_may = may != 0;
    return error;
}
