/* Tokens: made, checked, listed, revoked. A record holds the hash of the secret; a secret has so many bits
 * that guessing is no way in, so a plain SHA-256 does. */
#include "identity.h"

#include <ctype.h>
#include <stdlib.h>

#define KIND "token"
#define NAME_MAX_BYTES 100

struct token {
    enum identity_kind kind;
    char *id, *name;
    char hash[SHA256_HEX_SIZE];
    int64_t created_ms;
};
struct identity {
    struct store *store;
    struct map *tokens; /* id */
};

static void token_free(struct token *token) {
    free(token->id);
    free(token->name);
    free(token);
}

/* ---- kept ---- */

static void on_record(void *owner, const char *key, struct span value) {
    struct identity *identity = owner;
    scoped_json json_t *json = json_loadb(value.data, value.size, 0, NULL);
    const char *name, *hash, *kind = "client";
    json_int_t created;
    if (!json ||
        json_unpack(json, "{s:s, s:s, s:I, s?s}", "name", &name, "hash", &hash, "created_ms", &created,
                    "kind", &kind) ||
        strlen(hash) != SHA256_HEX_SIZE - 1) {
        log_warn("identity", "the record of token %s can't be read: it opens nothing", key);
        return;
    }
    struct token *token = NEW(struct token);
    token->kind = strcmp(kind, "proxy") == 0 ? IDENTITY_PROXY : IDENTITY_CLIENT;
    token->id = mem_string(key);
    token->name = mem_string(name);
    token->created_ms = created;
    memcpy(token->hash, hash, sizeof token->hash);
    map_put(identity->tokens, span_of(key), token);
}

struct error *identity_open(struct store *store, struct identity **ret_identity) {
    scoped(identity) struct identity *identity = NEW(struct identity);
    identity->store = store;
    identity->tokens = map_new();
    TRY(store_records_load(store, KIND, on_record, identity), "tokens");
    *ret_identity = take(identity);
    return NULL;
}

void identity_free(struct identity *identity) {
    if (!identity) return;
    void *value;
    for (size_t i = 0; map_next(identity->tokens, &i, NULL, &value);) token_free(value);
    map_free(identity->tokens);
    free(identity);
}

/* ---- made ---- */

struct making {
    struct identity *identity;
    struct token *token;
    char *secret;
    void (*done)(void *owner, struct error *error, const struct identity_token *token);
    void *owner;
};

static void on_kept(void *owner, struct error *error) {
    struct making *making = owner;
    struct token *token = making->token;
    if (error) {
        making->done(making->owner, error, NULL);
        token_free(token);
    } else {
        const struct identity_token told = {token->kind, token->id, making->secret, token->name,
                                            token->created_ms};
        map_put(making->identity->tokens, span_of(token->id), token);
        making->done(making->owner, NULL, &told);
    }
    free(making->secret);
    free(making);
}

static struct error *name_check(enum identity_kind kind, const char *name) {
    bool good = name && (*name || kind == IDENTITY_PROXY) && strlen(name) <= NAME_MAX_BYTES;
    for (const char *c = name; good && *c; c++) good = isprint((unsigned char)*c);
    if (good) return NULL;
    return error_new(ERROR_INVALID_ARGUMENT, "a token has a name of 1 to %d printable characters",
                     NAME_MAX_BYTES);
}

static void write_record(struct identity *identity, const struct token *token, const char *name,
                         void (*done)(void *owner, struct error *error), void *owner) {
    scoped_json json_t *json =
        json_pack("{s:s, s:s, s:I, s:s}", "name", name, "hash", token->hash, "created_ms",
                  (json_int_t)token->created_ms, "kind", token->kind == IDENTITY_PROXY ? "proxy" : "client");
    scoped_string char *text = json_dumps(json, JSON_COMPACT);
    const struct store_record record = {KIND, token->id, span_of(text)};
    store_records_write(identity->store, &record, 1, done, owner);
}

void identity_token_new(struct identity *identity, enum identity_kind kind, const char *name,
                        void (*done)(void *owner, struct error *error, const struct identity_token *token),
                        void *owner) {
    struct error *error = name_check(kind, name);
    if (error) {
        done(owner, error, NULL);
        return;
    }
    struct making *making = NEW(struct making);
    struct token *token = making->token = NEW(struct token);
    bool proxy = kind == IDENTITY_PROXY;
    scoped_string char *half = random_id(proxy ? "ws" : "as"), *rest = random_id("x");
    *making = (struct making){identity, token, mem_printf("%s%s", half, rest + 2), done, owner};
    token->kind = kind;
    token->id = random_id(proxy ? "wk" : "ak");
    token->name = mem_string(name);
    token->created_ms = clock_wall_ms();
    sha256_of(span_of(making->secret), token->hash);
    write_record(identity, token, name, on_kept, making);
}

/* ---- renamed, revoked ---- */

static struct error *unknown(const char *id) {
    return error_new(ERROR_NOT_FOUND, "there is no token '%.80s' (`catnap token list` shows them)", id);
}

struct renaming {
    struct identity *identity;
    char *id, *name;
    void (*done)(void *owner, struct error *error);
    void *owner;
};

/* It has the name that its record has. */
static void on_renamed(void *owner, struct error *error) {
    struct renaming *renaming = owner;
    struct token *token = error ? NULL : map_get(renaming->identity->tokens, span_of(renaming->id));
    if (token) {
        free(token->name);
        token->name = take(renaming->name);
    }
    renaming->done(renaming->owner, error);
    free(renaming->id);
    free(renaming->name);
    free(renaming);
}

void identity_token_rename(struct identity *identity, const char *id, const char *name,
                           void (*done)(void *owner, struct error *error), void *owner) {
    struct token *token = map_get(identity->tokens, span_of(id));
    struct error *error = token ? name_check(token->kind, name) : unknown(id);
    if (error) {
        done(owner, error);
        return;
    }
    struct renaming *renaming = NEW(struct renaming);
    *renaming = (struct renaming){identity, mem_string(id), mem_string(name), done, owner};
    write_record(identity, token, name, on_renamed, renaming);
}

void identity_token_revoke(struct identity *identity, const char *id,
                           void (*done)(void *owner, struct error *error), void *owner) {
    struct token *token = map_remove(identity->tokens, span_of(id));
    if (!token) {
        done(owner, unknown(id));
        return;
    }
    const struct store_record record = {KIND, id, {NULL, 0}};
    token_free(token);
    store_records_write(identity->store, &record, 1, done, owner);
}

/* ---- checked, listed ---- */

bool identity_token_good(const struct identity *identity, enum identity_kind kind, struct span id,
                         struct span secret) {
    const struct token *token = id.data ? map_get(identity->tokens, id) : NULL;
    char hash[SHA256_HEX_SIZE];
    sha256_of(secret.data ? secret : SPAN(""), hash);
    const char *wanted = token ? token->hash : hash;
    unsigned difference = 0;
    for (size_t i = 0; i < SHA256_HEX_SIZE; i++) difference |= (unsigned)(hash[i] ^ wanted[i]);
    return token && token->kind == kind && difference == 0;
}

static struct identity_token told_of(const struct token *token) {
    return (struct identity_token){token->kind, token->id, NULL, token->name, token->created_ms};
}

bool identity_token_find(const struct identity *identity, const char *id, struct identity_token *ret_token) {
    const struct token *token = map_get(identity->tokens, span_of(id));
    if (token) *ret_token = told_of(token);
    return token != NULL;
}

bool identity_token_next(const struct identity *identity, size_t *i, struct identity_token *ret_token) {
    void *value;
    if (!map_next(identity->tokens, i, NULL, &value)) return false;
    *ret_token = told_of(value);
    return true;
}
