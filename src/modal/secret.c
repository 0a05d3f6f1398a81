/* secret: variables under a name, sealed at rest.
 *
 * AES-256-GCM with a key that lies beside the state (0600, made once); what is on the disk says which names
 * there are and nothing of the values. In memory they are opened only when a function that uses them is made
 * ready for the pool. Never logged. */
#include "inside.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#define KEY_BYTES 32
#define NONCE_BYTES 12
#define TAG_BYTES 16
#define KIND "modal-secret"

struct secret {
    char id[ID_MAX];
    char *name, *environment; /* name NULL: of one app only */
    double created_at, used_at;
    struct text sealed;
    char **keys;
    size_t key_count;
    char app_id[ID_MAX]; /* whose it is, where it has no name; after a restart its app's functions tell */
};

/* ---- sealing ---- */

static struct error *key_of(const struct modal *modal, unsigned char key[KEY_BYTES]) {
    scoped_string char *path = path_join(modal->state_dir, "secret-key");
    scoped_text struct text text = {0};
    if (!file_exists(path)) {
        random_bytes(key, KEY_BYTES);
        return file_replace(path, (struct span){(const char *)key, KEY_BYTES}, 0600);
    }
    TRY_PLAIN(file_read(path, 4096, &text));
    if (text.size != KEY_BYTES)
        return error_new(ERROR_DATA_LOSS, "%s is no key: secrets can't be opened with it", path);
    memcpy(key, text.data, KEY_BYTES);
    return NULL;
}

static struct error *seal(const struct modal *modal, struct span plain, struct text *ret) {
    unsigned char key[KEY_BYTES], nonce[NONCE_BYTES];
    int size = 0, more = 0;
    TRY(key_of(modal, key), "the key of the secrets");
    random_bytes(nonce, sizeof nonce);
    text_add(ret, (struct span){(const char *)nonce, NONCE_BYTES});
    unsigned char *out = (unsigned char *)text_reserve(ret, plain.size + TAG_BYTES);
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    bool good = cipher && EVP_EncryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, key, nonce) &&
                EVP_EncryptUpdate(cipher, out, &size, (const unsigned char *)plain.data, (int)plain.size) &&
                EVP_EncryptFinal_ex(cipher, out + size, &more) &&
                EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, out + size + more);
    EVP_CIPHER_CTX_free(cipher);
    OPENSSL_cleanse(key, sizeof key);
    if (!good) return error_new(ERROR_INTERNAL, "a secret could not be sealed");
    ret->size += (size_t)(size + more) + TAG_BYTES;
    return NULL;
}

static struct error *unseal(const struct modal *modal, const struct secret *secret, struct text *ret) {
    unsigned char key[KEY_BYTES];
    int size = 0, more = 0;
    const char *name = secret->name ? secret->name : secret->id;
    TRY(key_of(modal, key), "the key of the secrets");
    if (secret->sealed.size < NONCE_BYTES + TAG_BYTES)
        return error_new(ERROR_DATA_LOSS, "secret %s is cut short", name);
    const unsigned char *nonce = (const unsigned char *)secret->sealed.data;
    size_t length = secret->sealed.size - NONCE_BYTES - TAG_BYTES;
    unsigned char *out = (unsigned char *)text_reserve(ret, length + 1);
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    bool good = cipher && EVP_DecryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, key, nonce) &&
                EVP_DecryptUpdate(cipher, out, &size, nonce + NONCE_BYTES, (int)length) &&
                EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_SET_TAG, TAG_BYTES,
                                    (void *)(nonce + NONCE_BYTES + length)) &&
                EVP_DecryptFinal_ex(cipher, out + size, &more);
    EVP_CIPHER_CTX_free(cipher);
    OPENSSL_cleanse(key, sizeof key);
    if (!good)
        return error_new(ERROR_DATA_LOSS, "secret %s can't be opened: it was sealed with another key", name);
    ret->size += (size_t)(size + more);
    return NULL;
}

/* ---- in memory ---- */

static void secret_free(struct secret *secret) {
    for (size_t i = 0; i < secret->key_count; i++) free(secret->keys[i]);
    free(secret->keys);
    text_done(&secret->sealed);
    free(secret->name);
    free(secret->environment);
    free(secret);
}

void secrets_free(struct modal *modal) {
    void *value;
    for (size_t i = 0; map_next(modal->secrets, &i, NULL, &value);) secret_free(value);
    map_free(modal->secrets);
    map_free(modal->secret_names);
}

static struct secret *secret_new(struct modal *modal, const char *id, const char *name,
                                 const char *environment) {
    struct secret *secret = NEW(struct secret);
    id_set(secret->id, id);
    secret->environment = mem_string(environment);
    secret->created_at = now_s();
    map_put(modal->secrets, span_of(secret->id), secret);
    if (!name || !*name) return secret;
    secret->name = mem_string(name);
    scoped_string char *key = object_key(environment, name);
    map_put(modal->secret_names, span_of(key), secret);
    return secret;
}

static void keys_set(struct secret *secret, char *const *keys, size_t count) {
    for (size_t i = 0; i < secret->key_count; i++) free(secret->keys[i]);
    secret->keys = mem_grow(secret->keys, count + 1, sizeof *secret->keys);
    for (size_t i = 0; i < count; i++) secret->keys[i] = mem_string(keys[i]);
    secret->key_count = count;
}

void secret_restore(struct modal *modal, struct span bytes) {
    Modal__SecretRecord *record = modal__secret_record__unpack(NULL, bytes.size, (const uint8_t *)bytes.data);
    if (!record || !record->id) return;
    struct secret *secret = secret_new(modal, record->id, record->name, environment_of(record->environment));
    secret->created_at = record->created_at;
    text_add(&secret->sealed, (struct span){(const char *)record->sealed.data, record->sealed.len});
    keys_set(secret, record->keys, record->n_keys);
    modal__secret_record__free_unpacked(record, NULL);
}

struct error *secret_apply(struct modal *modal, const char *id, struct core_function *function) {
    struct secret *secret = id ? map_get(modal->secrets, span_of(id)) : NULL;
    if (!secret) return no_object("secret", id);
    scoped_text struct text plain = {0};
    TRY_PLAIN(unseal(modal, secret, &plain));
    Modal__SecretValues *values = modal__secret_values__unpack(NULL, plain.size, (const uint8_t *)plain.data);
    if (!values) return error_new(ERROR_DATA_LOSS, "secret %s has no values", secret->id);
    for (size_t i = 0; i < values->n_keys && i < values->n_values; i++)
        definition_env_set(function, values->keys[i], values->values[i]);
    modal__secret_values__free_unpacked(values, NULL);
    if (plain.data) OPENSSL_cleanse(plain.data, plain.size);
    secret->used_at = now_s();
    return NULL;
}

/* ---- what a container may use: what its app's functions name, and what the app made itself ---- */

static bool names_secret(const struct definition *definition, const char *id) {
    for (size_t i = 0; definition && i < definition->function->n_secret_ids; i++)
        if (strcmp(definition->function->secret_ids[i], id) == 0) return true;
    return false;
}

static bool app_has(const struct app *app, const struct secret *secret) {
    if (!app) return false;
    if (!secret->name && strcmp(secret->app_id, app->id) == 0) return true;
    void *value;
    for (size_t i = 0; map_next(app->functions, &i, NULL, &value);) {
        const struct function *function = value;
        if (names_secret(function->published, secret->id) || names_secret(function->staged, secret->id))
            return true;
    }
    return false;
}

static struct error *may_use(const struct rpc *rpc, const struct secret *secret) {
    if (!rpc->task || app_has(rpc->task->function ? rpc->task->function->app : NULL, secret)) return NULL;
    return error_new(
        ERROR_PERMISSION_DENIED,
        "the secret '%s' is none of this container's app; a function of the app has to name it in "
        "its `secrets`",
        secret->name ? secret->name : secret->id);
}

struct error *secrets_may_use(const struct rpc *rpc, char *const *ids, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const struct secret *secret = map_get(rpc->modal->secrets, span_of(ids[i]));
        if (!secret) return no_object("secret", ids[i]);
        TRY_PLAIN(may_use(rpc, secret));
    }
    return NULL;
}

/* ---- what clients ask ---- */

static struct error *value_add(Modal__SecretValues *values, char *key, char *value) {
    if (!key || !*key || strchr(key, '='))
        return error_new(ERROR_INVALID_ARGUMENT, "'%.80s' is no name of a variable", key ? key : "");
    for (size_t i = 0; i < values->n_keys; i++) {
        if (strcmp(values->keys[i], key) != 0) continue;
        values->values[i] = value ? value : "";
        return NULL;
    }
    values->keys[values->n_keys++] = key;
    values->values[values->n_values++] = value ? value : "";
    return NULL;
}

static struct error *seal_values(struct modal *modal, struct secret *secret,
                                 const Modal__SecretValues *values) {
    scoped_text struct text plain = message_pack(values), sealed = {0};
    struct error *error = seal(modal, text_span(&plain), &sealed);
    OPENSSL_cleanse(plain.data, plain.size);
    if (error) return error;
    keys_set(secret, values->keys, values->n_keys);
    text_clear(&secret->sealed);
    text_add(&secret->sealed, text_span(&sealed));
    return NULL;
}

static struct error *values_set(struct modal *modal, struct secret *secret,
                                const Modal__SecretGetOrCreateRequest *request, struct arena *arena) {
    Modal__SecretValues values = MODAL__SECRET_VALUES__INIT;
    values.keys = arena_alloc(arena, (request->n_env_dict + 1) * sizeof *values.keys);
    values.values = arena_alloc(arena, (request->n_env_dict + 1) * sizeof *values.values);
    for (size_t i = 0; i < request->n_env_dict; i++)
        TRY_PLAIN(value_add(&values, request->env_dict[i]->key, request->env_dict[i]->value));
    return seal_values(modal, secret, &values);
}

static Modal__SecretMetadata *metadata_of(struct rpc *rpc, const struct secret *secret) {
    struct arena *arena = rpc_arena(rpc);
    Modal__SecretMetadata *metadata = arena_alloc(arena, sizeof *metadata);
    Modal__CreationInfo *creation = arena_alloc(arena, sizeof *creation);
    modal__secret_metadata__init(metadata);
    modal__creation_info__init(creation);
    creation->has_created_at = true;
    creation->created_at = secret->created_at;
    creation->created_by = rpc->modal->user;
    metadata->name = secret->name ? secret->name : "";
    metadata->creation_info = creation;
    metadata->environment_name = secret->environment;
    metadata->has_last_used_at = secret->used_at > 0;
    metadata->last_used_at = secret->used_at;
    metadata->keys = secret->keys;
    metadata->n_keys = secret->key_count;
    return metadata;
}

static void answer_secret(struct rpc *rpc, struct error *error) {
    struct secret *secret = map_get(rpc->modal->secrets, span_of(rpc->owner));
    if (!error && !secret) error = no_object("secret", rpc->owner);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    Modal__SecretGetOrCreateResponse answer = MODAL__SECRET_GET_OR_CREATE_RESPONSE__INIT;
    answer.secret_id = secret->id;
    answer.metadata = metadata_of(rpc, secret);
    rpc_answer(rpc, &answer);
}

static void keep(struct rpc *rpc, struct secret *secret, void (*done)(struct rpc *rpc, struct error *error)) {
    Modal__SecretRecord record = MODAL__SECRET_RECORD__INIT;
    record.id = secret->id;
    record.name = secret->name;
    record.environment = secret->environment;
    record.has_created_at = record.has_sealed = true;
    record.created_at = secret->created_at;
    record.sealed.data = (uint8_t *)secret->sealed.data;
    record.sealed.len = secret->sealed.size;
    record.keys = secret->keys;
    record.n_keys = secret->key_count;
    scoped_text struct text bytes = message_pack(&record);
    const struct store_record row = {KIND, secret->id, text_span(&bytes)};
    rpc_commit(rpc, &row, 1, done);
}

static struct error *required(const struct secret *secret, const Modal__SecretGetOrCreateRequest *request) {
    for (size_t i = 0; i < request->n_required_keys; i++) {
        bool found = false;
        for (size_t k = 0; k < secret->key_count; k++)
            found |= strcmp(secret->keys[k], request->required_keys[i]) == 0;
        if (!found)
            return error_new(ERROR_FAILED_PRECONDITION, "the secret '%s' lacks the variable %s",
                             secret->name ? secret->name : "", request->required_keys[i]);
    }
    return NULL;
}

static struct error *find_or_make(struct rpc *rpc, const Modal__SecretGetOrCreateRequest *request,
                                  struct secret **ret, bool *ret_keep) {
    struct modal *modal = rpc->modal;
    int type = (int)request->object_creation_type;
    const char *name = request->deployment_name ? request->deployment_name : "";
    const char *environment = environment_of(request->environment_name);
    scoped_string char *key = object_key(environment, name);
    struct secret *secret = *name ? map_get(modal->secret_names, span_of(key)) : NULL;
    *ret = secret;
    if (secret) TRY_PLAIN(may_use(rpc, secret));
    if (rpc->task && *name &&
        (!secret || type != MODAL__OBJECT_CREATION_TYPE__OBJECT_CREATION_TYPE_UNSPECIFIED))
        return error_new(ERROR_PERMISSION_DENIED, "secrets with a name are not made by containers");
    if (secret && type == MODAL__OBJECT_CREATION_TYPE__OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS)
        return error_new(ERROR_ALREADY_EXISTS, "there is a secret '%s' already", name);
    if (secret && type != MODAL__OBJECT_CREATION_TYPE__OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS)
        return required(secret, request);
    if (!secret && type == MODAL__OBJECT_CREATION_TYPE__OBJECT_CREATION_TYPE_UNSPECIFIED)
        return error_new(ERROR_NOT_FOUND,
                         "there is no secret '%s' (`modal secret create %s NAME=VALUE` makes it)", name,
                         name);
    if (!secret) {
        scoped_string char *id = random_id("st");
        secret = secret_new(modal, id, name, environment);
        const struct function *asking = rpc->task ? rpc->task->function : NULL;
        id_set(secret->app_id, rpc->task ? asking ? asking->app->id : "" : request->app_id);
    }
    *ret = secret;
    *ret_keep = true;
    return values_set(modal, secret, request, rpc_arena(rpc));
}

/* What is deployed gets the new values with its next containers; those that are at work finish with the old.
 */
static void apps_renew(struct modal *modal, const struct secret *secret) {
    void *value;
    for (size_t i = 0; map_next(modal->apps, &i, NULL, &value);) {
        struct app *app = value;
        if (!app->in_pool || !app_has(app, secret)) continue;
        scoped(error) struct error *error = app_to_pool(app);
        if (!error) continue;
        scoped_string char *text = error_text(error);
        log_error("modal", "app %s goes on with the old values of a secret: %s", app->name, text);
    }
}

static void on_changed(struct rpc *rpc, struct error *error) {
    const struct secret *secret = map_get(rpc->modal->secrets, span_of(rpc->owner));
    if (!error && secret) apps_renew(rpc->modal, secret);
    answer_secret(rpc, error);
}

static void get_or_create(struct rpc *rpc, const void *message) {
    struct secret *secret = NULL;
    bool write = false;
    struct error *error = find_or_make(rpc, message, &secret, &write);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    rpc->owner = arena_text(rpc_arena(rpc), secret->id);
    if (write)
        keep(rpc, secret, on_changed);
    else
        answer_secret(rpc, NULL);
}

static void list(struct rpc *rpc, const void *message) {
    const Modal__SecretListRequest *request = message;
    struct modal *modal = rpc->modal;
    struct arena *arena = rpc_arena(rpc);
    const char *environment = environment_of(request->environment_name);
    double before = request->pagination && request->pagination->created_before > 0
                        ? request->pagination->created_before
                        : now_s() + 1;
    Modal__SecretListResponse answer = MODAL__SECRET_LIST_RESPONSE__INIT;
    answer.items = arena_alloc(arena, (map_count(modal->secrets) + 1) * sizeof *answer.items);
    answer.environment_name = (char *)environment;
    void *value;
    for (size_t i = 0; map_next(modal->secrets, &i, NULL, &value);) {
        struct secret *secret = value;
        if (!secret->name || strcmp(secret->environment, environment) != 0 || secret->created_at >= before)
            continue;
        Modal__SecretListItem *item = arena_alloc(arena, sizeof *item);
        modal__secret_list_item__init(item);
        item->label = secret->name;
        item->has_created_at = true;
        item->created_at = secret->created_at;
        item->has_last_used_at = secret->used_at > 0;
        item->last_used_at = secret->used_at;
        item->environment_name = secret->environment;
        item->secret_id = secret->id;
        item->metadata = metadata_of(rpc, secret);
        answer.items[answer.n_items++] = item;
    }
    rpc_answer(rpc, &answer);
}

/* ---- changed in part, and told about ---- */

static struct secret *asked(struct rpc *rpc, const char *id) {
    struct secret *secret = id ? map_get(rpc->modal->secrets, span_of(id)) : NULL;
    struct error *error = secret ? may_use(rpc, secret) : no_object("secret", id);
    if (!error) return secret;
    rpc_fail(rpc, error);
    return NULL;
}

static struct error *values_merge(struct modal *modal, struct secret *secret,
                                  const Modal__SecretUpdateRequest *request) {
    scoped_text struct text plain = {0};
    TRY_PLAIN(unseal(modal, secret, &plain));
    Modal__SecretValues *old = modal__secret_values__unpack(NULL, plain.size, (const uint8_t *)plain.data);
    if (plain.data) OPENSSL_cleanse(plain.data, plain.size);
    if (!old) return error_new(ERROR_DATA_LOSS, "secret %s has no values", secret->id);
    Modal__SecretValues values = MODAL__SECRET_VALUES__INIT;
    size_t most = old->n_keys + request->n_updates + 1;
    values.keys = mem_array(most, sizeof *values.keys);
    values.values = mem_array(most, sizeof *values.values);
    struct error *error = NULL;
    for (size_t i = 0; !error && i < old->n_keys && i < old->n_values; i++)
        error = value_add(&values, old->keys[i], old->values[i]);
    for (size_t i = 0; !error && i < request->n_updates; i++)
        error = value_add(&values, request->updates[i]->key, request->updates[i]->value);
    if (!error) error = seal_values(modal, secret, &values);
    for (size_t i = 0; i < old->n_values; i++) OPENSSL_cleanse(old->values[i], strlen(old->values[i]));
    modal__secret_values__free_unpacked(old, NULL);
    free(values.keys);
    free(values.values);
    return error;
}

static void on_updated(struct rpc *rpc, struct error *error) {
    const struct secret *secret = map_get(rpc->modal->secrets, span_of(rpc->owner));
    if (!error && secret) apps_renew(rpc->modal, secret);
    rpc_answer_kept(rpc, error);
}

static void update(struct rpc *rpc, const void *message) {
    const Modal__SecretUpdateRequest *request = message;
    struct secret *secret = asked(rpc, request->secret_id);
    if (!secret) return;
    struct error *error = values_merge(rpc->modal, secret, request);
    rpc->owner = request->secret_id;
    if (error)
        rpc_fail(rpc, error);
    else
        keep(rpc, secret, on_updated);
}

static void get_info(struct rpc *rpc, const void *message) {
    const Modal__SecretGetInfoRequest *request = message;
    const struct secret *secret = asked(rpc, request->secret_id);
    if (!secret) return;
    Modal__SecretGetInfoResponse answer = MODAL__SECRET_GET_INFO_RESPONSE__INIT;
    answer.metadata = metadata_of(rpc, secret);
    rpc_answer(rpc, &answer);
}

static void delete (struct rpc *rpc, const void *message) {
    const Modal__SecretDeleteRequest *request = message;
    struct modal *modal = rpc->modal;
    struct secret *secret = request->secret_id ? map_get(modal->secrets, span_of(request->secret_id)) : NULL;
    if (!secret) {
        rpc_fail(rpc, no_object("secret", request->secret_id));
        return;
    }
    const struct store_record row = {KIND, request->secret_id, {NULL, 0}};
    map_remove(modal->secrets, span_of(secret->id));
    scoped_string char *key = object_key(secret->environment, secret->name ? secret->name : "");
    if (map_get(modal->secret_names, span_of(key)) == secret) map_remove(modal->secret_names, span_of(key));
    secret_free(secret);
    rpc_commit(rpc, &row, 1, rpc_answer_kept);
}

const struct rpc_method secret_methods[] = {
    {"SecretGetOrCreate", &modal__secret_get_or_create_request__descriptor, get_or_create,
     RPC_TASK | RPC_ONCE},
    {"SecretGetInfo", &modal__secret_get_info_request__descriptor, get_info, RPC_TASK},
    {"SecretUpdate", &modal__secret_update_request__descriptor, update, 0},
    {"SecretList", &modal__secret_list_request__descriptor, list, 0},
    {"SecretDelete", &modal__secret_delete_request__descriptor, delete, 0},
    {0},
};
