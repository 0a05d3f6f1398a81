/* What the files that resolve GraphQL fields share: who asks, the checks of rights, and arguments read. */
#pragma once
#include "account.h"
#include "graphql.h"

/* The context of a run. It works on a worker's thread: nothing in it changes meanwhile. */
struct asker {
    struct account *account;
    struct account_who who;
    const char *root, *models; /* TABBY_ROOT and where models lie */
    bool chat_enabled;
    struct search *search; /* NULL: it is off */
    unsigned passwords;    /* hashed for this request so far */
};

/* ---- resolve.c ---- */
must_check struct error *resolve_schema_new(struct graphql_schema **ret_schema);
static inline struct asker *asker_of(struct graphql_call *call) {
    return call->context;
}
/* Somebody is signed in, or uses an auth token. */
must_check struct error *check_claims(struct graphql_call *call);
/* Signed in, not by an auth token. */
must_check struct error *check_user(struct graphql_call *call);
must_check struct error *check_admin(struct graphql_call *call);
must_check struct error *refuse(struct graphql_call *call, const char *code, const char *text);
/* "Invalid input parameters" where there are complaints (taken), else NULL. */
must_check struct error *check_input(struct graphql_call *call, json_t *taken_complaints);

const char *argument_string(const struct graphql_call *call, const char *name); /* NULL: not given, or null */
must_check struct error *argument_row(const struct graphql_call *call, const char *name, int64_t *ret_row);
must_check struct error *id_row(const char *id_or_null, int64_t *ret_row); /* of an id in an input */
void argument_page(const struct graphql_call *call, struct account_page *ret_page);
must_check struct error *check_page(const struct account_page *page);

/* ---- resolve_code.c ---- */
/* {"jobInfo", "index"} of a source, as the schema has them. */
must_check struct error *code_facts(struct graphql_call *call, const char *source_id, json_t *node);
/* Refs with their commits, of git itself; NULL where it cannot be asked. */
json_t *code_refs(struct graphql_call *call, const char *source_id);
/* Whether a repository's or a server's name may be so. */
bool is_source_name(const char *name);
json_t *source_references(const json_t *names); /* names that somebody wrote down, as clients want them */
/* The sources of config.toml: an array of those that search_states tells of. */
json_t *code_configured(struct graphql_call *call);

/* ---- one file a subject; each ends its table by a NULL ---- */
extern const struct graphql_resolver resolve_sessions[], resolve_users[], resolve_settings[],
    resolve_activity[], resolve_sources[], resolve_threads[], resolve_code[], resolve_integrations[],
    resolve_groups[];
