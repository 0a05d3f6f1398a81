/* What an admin sets: row 1 of server_setting, the registration token, and the repositories by git URL. */
#include "inside.h"

#include <stdlib.h>

static const struct listing repository_list = {
    .table = "repositories",
    .columns = "id, name, git_url AS gitUrl, refs",
    .kinds = "Issj",
};

/* ---- server_setting ---- */

static json_t *domains_array(struct span list) {
    json_t *array = json_array();
    while (list.data) {
        struct span domain = span_trim(span_cut(&list, ','));
        if (domain.size > 0) json_array_append_new(array, json_stringn(domain.data, domain.size));
    }
    return array;
}

static struct error *settings(struct sql *sql, json_t **ret_settings) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    struct error *error = NULL;
    /* Without the row, all is as its defaults say. */
    TRY_PLAIN(sql_query(sql, &rows,
                        "SELECT network_external_url, security_disable_client_side_telemetry,"
                        " security_disable_password_login, security_allowed_register_domain_list"
                        " FROM server_setting WHERE id = 1",
                        ""));
    bool found = sql_next(rows, &error);
    if (error) return error;
    struct span url = found ? sql_span(rows, 0) : SPAN("http://localhost:8080");
    *ret_settings =
        json_pack("{s:s%,s:b,s:b,s:o}", "externalUrl", url.data, url.size, "disableClientSideTelemetry",
                  found && sql_int(rows, 1), "disablePasswordLogin", found && sql_int(rows, 2),
                  "allowedRegisterDomainList", domains_array(found ? sql_span(rows, 3) : (struct span){0}));
    return *ret_settings ? NULL : error_new(ERROR_DATA_LOSS, "the settings are no UTF-8");
}

struct error *account_settings(struct account *account, json_t **ret_settings) {
    struct error *error = settings(account_hold(account), ret_settings);
    account_let_go(account);
    return error;
}

bool account_telemetry_disabled(struct account *account) {
    int64_t disabled = 0;
    if (!account->reader) return false;
    error_free(/* unread: as it is without the row */
               sql_number(account->reader, 0, &disabled,
                          "SELECT security_disable_client_side_telemetry FROM server_setting WHERE id = 1",
                          ""));
    return disabled != 0;
}

struct error *account_security_set(struct account *account, const json_t *values) {
    scoped_text struct text domains = {0};
    size_t i;
    json_t *domain;
    json_array_foreach(json_object_get(values, "allowedRegisterDomainList"), i, domain) {
        if (domains.size) text_add_char(&domains, ',');
        text_add_string(&domains, json_string_value(domain));
    }
    struct error *error =
        sql_do(account_hold(account),
               "INSERT INTO server_setting (id, security_allowed_register_domain_list, "
               "security_disable_client_side_telemetry,"
               " security_disable_password_login) VALUES (1, ?1, ?2, ?3) ON CONFLICT (id) DO UPDATE SET"
               " security_allowed_register_domain_list = ?1, security_disable_client_side_telemetry = ?2,"
               " security_disable_password_login = ?3",
               "tii", text_span(&domains),
               (int64_t)json_is_true(json_object_get(values, "disableClientSideTelemetry")),
               (int64_t)json_is_true(json_object_get(values, "disablePasswordLogin")));
    account_let_go(account);
    return error;
}

struct error *account_external_url_set(struct account *account, const char *url) {
    struct error *error = sql_do(account_hold(account),
                                 "INSERT INTO server_setting (id, network_external_url) VALUES (1, ?1)"
                                 " ON CONFLICT (id) DO UPDATE SET network_external_url = ?1",
                                 "s", url);
    account_let_go(account);
    return error;
}

struct error *account_registration_token(struct account *account, bool renew, char **ret_token) {
    char token[UUID_SIZE];
    struct sql *sql = account_hold(account);
    struct error *error = NULL;
    uuid_new(token);
    if (renew)
        error =
            sql_do(sql, "UPDATE registration_token SET token = ?1, updated_at = datetime('now') WHERE id = 1",
                   "s", token);
    if (!error) error = sql_text(sql, ret_token, "SELECT token FROM registration_token WHERE id = 1", "");
    if (!error && !*ret_token) error = error_new(ERROR_NOT_FOUND, "there is no registration token");
    account_let_go(account);
    return error;
}

/* ---- repositories ---- */

static char *refs_text(const json_t *refs) {
    return json_array_size(refs) > 0 ? json_dumps(refs, JSON_COMPACT) : NULL;
}

struct error *account_repository_add(struct account *account, const char *name, const char *git_url,
                                     const json_t *refs, int64_t *ret_row) {
    scoped_string char *names = refs_text(refs);
    struct sql *sql = account_hold(account);
    struct error *error = sql_do(sql, "INSERT INTO repositories (name, git_url, refs) VALUES (?1, ?2, ?3)",
                                 "sss", name, git_url, names);
    if (error && error->code == ERROR_ALREADY_EXISTS) {
        error_free(error);
        error = error_new(ERROR_ALREADY_EXISTS, "A repository with the same name or URL already exists");
    }
    if (!error) *ret_row = sql_last_id(sql);
    account_let_go(account);
    return error;
}

struct error *account_repository_refs_set(struct account *account, int64_t row, const json_t *refs) {
    scoped_string char *names = refs_text(refs);
    struct sql *sql = account_hold(account);
    struct error *error = sql_do(sql, "UPDATE repositories SET refs = ?2 WHERE id = ?1", "is", row, names);
    if (!error && sql_changed(sql) != 1) error = error_new(ERROR_NOT_FOUND, "repository not found");
    account_let_go(account);
    return error;
}

struct error *account_repository_remove(struct account *account, int64_t row, bool *ret_removed) {
    struct sql *sql = account_hold(account);
    struct error *error = sql_do(sql, "DELETE FROM repositories WHERE id = ?1", "i", row);
    *ret_removed = !error && sql_changed(sql) == 1;
    account_let_go(account);
    return error;
}

struct error *account_repositories(struct account *account, const struct account_page *page,
                                   json_t **ret_repositories) {
    struct error *error = rows_page(account_hold(account), &repository_list, page, ret_repositories);
    account_let_go(account);
    return error;
}
