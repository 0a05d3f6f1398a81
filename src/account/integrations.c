/* Servers of repositories (GitHub, GitLab) that an admin gave a token for, and the repositories that were
 * listed there: Tabby's tables. Asking those servers is another room's matter.
 *
 * One that was never listed, or whose token or address was changed since, has `synced` 0 and no error. */
#include "inside.h"

#include <stdlib.h>

static const struct listing integration_list = {
    .table = "integrations",
    .columns =
        "id, kind, display_name AS displayName, api_base AS apiBase, created_at AS createdAt, updated_at AS "
        "updatedAt, CASE WHEN error IS NOT NULL THEN 'FAILED' WHEN synced THEN 'READY' ELSE 'PENDING' END AS "
        "status, error AS message",
    .kinds = "IUssttss",
};
static const struct listing provided_list = {
    .table = "(SELECT p.*, i.kind AS kind FROM provided_repositories p JOIN integrations i ON i.id = "
             "p.integration_id)",
    .columns = "id, integration_id AS integrationId, kind, active, name AS displayName, git_url AS gitUrl, "
               "vendor_id AS vendorId, created_at AS createdAt, updated_at AS updatedAt, refs",
    .kinds = "IIUbsssttj",
};

/* ---- servers ---- */

struct error *account_integration_add(struct account *account, const struct account_integration *integration,
                                      int64_t *ret_row) {
    struct sql *sql = account_hold(account);
    struct error *error =
        sql_do(sql,
               "INSERT INTO integrations (kind, display_name, access_token, api_base) VALUES "
               "(lower(?1), ?2, ?3, ?4)",
               "ssss", integration->kind, integration->name, integration->token, integration->api_base);
    if (!error) *ret_row = sql_last_id(sql);
    account_let_go(account);
    return error;
}

struct error *account_integration_set(struct account *account, int64_t row,
                                      const struct account_integration *integration) {
    /* What was listed with another token, or elsewhere, is to be listed anew. */
    return account_one(
        account,
        sql_do(account_hold(account),
               "UPDATE integrations SET display_name = ?3, access_token = coalesce(?4, access_token),"
               " synced = synced AND api_base IS ?5 AND coalesce(?4, access_token) = access_token,"
               " error = CASE WHEN api_base IS ?5 AND coalesce(?4, access_token) = access_token THEN error "
               "END, api_base = ?5, updated_at = datetime('now') WHERE id = ?1 AND kind = lower(?2)",
               "issss", row, integration->kind, integration->name, integration->token, integration->api_base),
        "Integration");
}

struct error *account_integration_remove(struct account *account, int64_t row, const char *kind) {
    return account_one(account,
                       sql_do(account_hold(account),
                              "DELETE FROM integrations WHERE id = ?1 AND kind = lower(?2)", "is", row, kind),
                       "Integration"); /* its repositories go with it */
}

struct error *account_integrations(struct account *account, const struct account_page *page,
                                   const struct account_integration_filter *filter,
                                   json_t **ret_integrations) {
    scoped_text struct text condition = {0};
    scoped_string char *rows = rows_of_ids(filter->ids);
    text_add_string(&condition, "1");
    if (rows) text_printf(&condition, " AND id IN (%s)", rows);
    if (filter->kind) text_printf(&condition, " AND upper(kind) = '%s'", filter->kind);
    struct listing listing = integration_list;
    listing.condition = condition.data;
    struct error *error = rows_page(account_hold(account), &listing, page, ret_integrations);
    account_let_go(account);
    return error;
}

struct error *account_integration_again(struct account *account, int64_t row) {
    return account_one(account,
                       sql_do(account_hold(account),
                              "UPDATE integrations SET synced = 0, error = NULL WHERE id = ?1", "i", row),
                       "Integration");
}

struct error *account_integration_due(struct account *account, int64_t interval_s, json_t **ret_integration) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    scoped_string char *ago = mem_printf("-%lld seconds", (long long)interval_s);
    struct error *error = sql_query(
        account_hold(account), &rows,
        "SELECT id AS row, kind, display_name AS name, access_token AS token, api_base AS apiBase FROM "
        "integrations WHERE (NOT synced AND error IS NULL) OR updated_at <= datetime('now', ?1) ORDER "
        "BY id LIMIT 1",
        "s", ago);
    *ret_integration = NULL;
    if (!error && sql_next(rows, &error)) *ret_integration = rows_object(rows, "iUsss");
    sql_rows_free(take(rows));
    account_let_go(account);
    return error;
}

/* ---- listed ---- */

static struct error *put_all(struct sql *sql, int64_t integration, const json_t *list) {
    size_t i;
    json_t *found;
    /* Gone there: gone here. Those that stay keep whether they are active. */
    TRY_PLAIN(sql_run(sql, "CREATE TEMP TABLE IF NOT EXISTS listed (vendor_id TEXT PRIMARY KEY);"
                           "DELETE FROM listed"));
    json_array_foreach(list, i, found) {
        const char *vendor_id = json_string_value(json_object_get(found, "vendorId"));
        TRY_PLAIN(sql_do(sql, "INSERT OR IGNORE INTO listed VALUES (?1)", "s", vendor_id));
        TRY_PLAIN(
            sql_do(sql,
                   "INSERT INTO provided_repositories (integration_id, vendor_id, name, git_url) VALUES "
                   "(?1, ?2, ?3, ?4) ON CONFLICT (integration_id, vendor_id) DO UPDATE SET name = ?3, "
                   "git_url = ?4, updated_at = datetime('now')",
                   "isss", integration, vendor_id, json_string_value(json_object_get(found, "name")),
                   json_string_value(json_object_get(found, "gitUrl"))));
    }
    return sql_do(sql,
                  "DELETE FROM provided_repositories WHERE integration_id = ?1 AND vendor_id NOT IN (SELECT "
                  "vendor_id FROM listed)",
                  "i", integration);
}

/* What was asked for with a token that was changed meanwhile counts no more. */
static struct error *note(struct sql *sql, const json_t *integration, const json_t *list, const char *fault) {
    int64_t row = json_integer_value(json_object_get(integration, "row"));
    TRY_PLAIN(
        sql_do(sql,
               "UPDATE integrations SET synced = ?4 IS NULL, error = ?4, updated_at = datetime('now') WHERE "
               "id = ?1 AND access_token = ?2 AND api_base IS ?3",
               "isss", row, json_string_value(json_object_get(integration, "token")),
               json_string_value(json_object_get(integration, "apiBase")), fault));
    return list && sql_changed(sql) == 1 ? put_all(sql, row, list) : NULL;
}

struct error *account_integration_listed(struct account *account, const json_t *integration,
                                         const json_t *list, const char *fault) {
    struct sql *sql = account_hold(account);
    struct error *error = sql_begin(sql);
    if (!error) error = note(sql, integration, list, fault);
    if (!error) error = sql_commit(sql);
    if (error) sql_rollback(sql);
    account_let_go(account);
    return error;
}

/* ---- repositories there ---- */

struct error *account_provided(struct account *account, const struct account_page *page,
                               const struct account_integration_filter *filter, json_t **ret_repositories) {
    scoped_text struct text condition = {0};
    scoped_string char *rows = rows_of_ids(filter->ids);
    text_add_string(&condition, "1");
    if (rows) text_printf(&condition, " AND integration_id IN (%s)", rows);
    if (filter->kind) text_printf(&condition, " AND upper(kind) = '%s'", filter->kind);
    if (filter->active >= 0) text_printf(&condition, " AND active = %d", filter->active);
    struct listing listing = provided_list;
    listing.condition = condition.data;
    struct error *error = rows_page(account_hold(account), &listing, page, ret_repositories);
    account_let_go(account);
    return error;
}

struct error *account_provided_sources(struct account *account, json_t **ret_sources) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    struct error *error = sql_query(
        account_hold(account), &rows,
        "SELECT p.id, i.kind, p.name, p.git_url AS gitUrl, p.refs, i.access_token AS token FROM "
        "provided_repositories p JOIN integrations i ON i.id = p.integration_id WHERE p.active ORDER BY "
        "p.id",
        "");
    if (!error) error = rows_array(rows, "IUssjs", ret_sources);
    sql_rows_free(take(rows));
    account_let_go(account);
    return error;
}

static char *refs_text(const json_t *refs) {
    return json_array_size(refs) > 0 ? json_dumps(refs, JSON_COMPACT) : NULL;
}

struct error *account_provided_refs_set(struct account *account, int64_t row, const json_t *refs) {
    scoped_string char *names = refs_text(refs);
    return account_one(
        account,
        sql_do(account_hold(account),
               "UPDATE provided_repositories SET refs = ?2, updated_at = datetime('now') WHERE id = ?1", "is",
               row, names),
        "Repository");
}

struct error *account_provided_active_set(struct account *account, int64_t row, bool active) {
    return account_one(
        account,
        sql_do(account_hold(account),
               "UPDATE provided_repositories SET active = ?2, updated_at = datetime('now') WHERE id = ?1",
               "ii", row, (int64_t)active),
        "Repository");
}
