/* GraphQL: what the server is, what an admin sets, what it takes on the disk. */
#include "resolve.h"

#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <sys/stat.h>

static struct error *server_info(struct graphql_call *call, json_t **ret) {
    bool initialized = false;
    scoped_json json_t *settings = NULL;
    TRY_PLAIN(account_owner_exists(asker_of(call)->account, &initialized));
    TRY_PLAIN(account_settings(asker_of(call)->account, &settings));
    *ret = json_pack("{s:b,s:b,s:b,s:b,s:O,s:b}", "isAdminInitialized", initialized, "isChatEnabled",
                     asker_of(call)->chat_enabled, "isEmailConfigured", false, "allowSelfSignup", false,
                     "disablePasswordLogin", json_object_get(settings, "disablePasswordLogin"), "isDemoMode",
                     false);
    return NULL;
}

static struct error *license(struct graphql_call *call, json_t **ret) {
    scoped_json json_t *users = NULL;
    const struct account_page all = {.first = -1, .last = -1};
    json_int_t used = 0;
    size_t i;
    json_t *edge;
    TRY_PLAIN(account_users(asker_of(call)->account, &all, NULL, &users));
    json_array_foreach(json_object_get(users, "edges"), i, edge) used +=
        json_is_true(json_object_get(json_object_get(edge, "node"), "active"));
    *ret = json_pack("{s:s,s:s,s:i,s:I,s:n,s:n,s:n}", "type", "COMMUNITY", "status", "OK", "seats", INT32_MAX,
                     "seatsUsed", used, "issuedAt", "expiresAt", "features");
    return NULL;
}

static struct error *auth_providers(struct graphql_call *call, json_t **ret) {
    (void)call; /* only passwords are looked at here */
    *ret = json_array();
    return NULL;
}

static struct error *settings(struct graphql_call *call, json_t **ret) {
    TRY_PLAIN(check_admin(call));
    return account_settings(asker_of(call)->account, ret);
}

static struct error *registration_token(struct graphql_call *call, json_t **ret) {
    scoped_string char *token = NULL;
    TRY_PLAIN(check_admin(call));
    TRY_PLAIN(account_registration_token(asker_of(call)->account, span_starts(call->field, "reset"), &token));
    *ret = json_string(token);
    return NULL;
}

static bool is_url(const char *url) {
    struct span rest = span_of(url);
    if (!span_starts(rest, "http://") && !span_starts(rest, "https://")) return false;
    for (const char *c = url; *c; c++)
        if ((unsigned char)*c <= ' ' || strchr("\"<>\\^`{|}", *c)) return false;
    return url[strcspn(url, ":") + 3] != 0;
}

static struct error *network_set(struct graphql_call *call, json_t **ret) {
    const char *url =
        json_string_value(json_object_get(json_object_get(call->arguments, "input"), "externalUrl"));
    TRY_PLAIN(check_admin(call));
    json_t *complaints = json_array();
    if (!is_url(url))
        json_array_append_new(complaints,
                              json_pack("{s:s,s:s}", "path", "externalUrl", "message", "URL is malformed"));
    TRY_PLAIN(check_input(call, complaints));
    TRY_PLAIN(account_external_url_set(asker_of(call)->account, url));
    *ret = json_true();
    return NULL;
}

static struct error *security_set(struct graphql_call *call, json_t **ret) {
    const json_t *input = json_object_get(call->arguments, "input");
    size_t i;
    json_t *domain;
    TRY_PLAIN(check_admin(call));
    json_t *complaints = json_array();
    json_array_foreach(json_object_get(input, "allowedRegisterDomainList"), i, domain) {
        scoped_string char *address = mem_printf("noreply@%s", json_string_value(domain));
        scoped_string char *path = mem_printf("allowedRegisterDomainList.%zu.value", i);
        account_check_email(address, path, complaints);
    }
    TRY_PLAIN(check_input(call, complaints));
    TRY_PLAIN(account_security_set(asker_of(call)->account, input));
    *ret = json_true();
    return NULL;
}

/* ---- the disk ---- */

static struct error *usage_of(const char *path, json_t **ret) {
    char *const paths[] = {(char *)path, NULL};
    int64_t bytes = 0;
    FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    if (!walk) return error_errno(errno, "%s", path);
    for (FTSENT *entry; (entry = fts_read(walk));)
        if (entry->fts_info == FTS_F) bytes += entry->fts_statp->st_size;
    fts_close(walk);
    *ret = json_pack("{s:[s],s:f}", "filepath", path, "sizeKb", (double)bytes / 1000.0);
    return NULL;
}

static struct error *disk_usage(struct graphql_call *call, json_t **ret) {
    static const char *const names[] = {"events", "index", "ee"}, *const fields[] = {"events",
                                                                                     "indexedRepositories",
                                                                                     "database"};
    TRY_PLAIN(check_admin(call));
    scoped_json json_t *usage = json_object();
    json_t *one = NULL;
    for (size_t i = 0; i < COUNT(names); i++) {
        scoped_string char *path = path_join(asker_of(call)->root, names[i]);
        TRY_PLAIN(usage_of(path, &one));
        json_object_set_new(usage, fields[i], one);
    }
    TRY_PLAIN(usage_of(asker_of(call)->models, &one));
    json_object_set_new(usage, "models", one);
    *ret = json_incref(usage);
    return NULL;
}

const struct graphql_resolver resolve_settings[] = {
    {"Query.serverInfo", server_info},
    {"Query.license", license},
    {"Query.authProviders", auth_providers},
    {"Query.networkSetting", settings},
    {"Query.securitySetting", settings},
    {"Query.registrationToken", registration_token},
    {"Query.diskUsageStats", disk_usage},
    {"Mutation.resetRegistrationToken", registration_token},
    {"Mutation.updateNetworkSetting", network_set},
    {"Mutation.updateSecuritySetting", security_set},
    {NULL, NULL},
};
