/* dict: values by key under a name, shared by all who know it. Keys and values are the clients' bytes; we
 * look into neither. */
#include "inside.h"

#include "named.h"

#include <stdio.h>
#include <stdlib.h>

#define KIND "modal-dict"
#define ENTRY_KIND "modal-dict-entry" /* key: ID/HEX */
#define VALUE_MAX (100 << 20)
#define ENTRIES_MAX 10000000

struct dict {
    struct named named;
    struct map *entries; /* key bytes, in hexadecimal -> struct entry */
};
struct entry {
    struct text key, value;
};

static void entry_free(struct entry *entry) {
    text_done(&entry->key);
    text_done(&entry->value);
    free(entry);
}

static char *hex_of(struct span bytes) {
    struct text text = {0};
    text_add_string(&text, "");
    for (size_t i = 0; i < bytes.size; i++) text_printf(&text, "%02x", (unsigned char)bytes.data[i]);
    return text_take(&text);
}

static void dict_free(struct dict *dict) {
    struct modal *modal = dict->named.modal;
    void *value;
    for (size_t i = 0; map_next(dict->entries, &i, NULL, &value);) entry_free(value);
    map_free(dict->entries);
    map_remove(modal->dicts, span_of(dict->named.id));
    named_done(&dict->named, modal->dict_names);
    free(dict);
}

static void dies(struct named *named) {
    dict_free(CONTAINER_OF(named, struct dict, named));
}

static struct named *make(struct modal *modal) {
    struct dict *dict = NEW(struct dict);
    named_init(&dict->named, modal, "di", dies);
    dict->entries = map_new();
    map_put(modal->dicts, span_of(dict->named.id), dict);
    return &dict->named;
}

void dicts_free(struct modal *modal) {
    void *value;
    for (size_t i = 0; map_next(modal->dicts, &i, NULL, &value); i = 0) dict_free(value);
    map_free(modal->dicts);
    map_free(modal->dict_names);
}

/* False: it was there, and `replace` is not. */
static bool entry_put(struct dict *dict, struct span key, struct span value, bool replace) {
    scoped_string char *hex = hex_of(key);
    struct entry *entry = map_get(dict->entries, span_of(hex));
    if (entry && !replace) return false;
    if (!entry) {
        entry = NEW(struct entry);
        text_add(&entry->key, key);
        map_put(dict->entries, span_of(hex), entry);
    }
    text_clear(&entry->value);
    text_add(&entry->value, value);
    return true;
}

/* ---- kept ---- */

static void on_dict(void *owner, const char *key, struct span value) {
    struct modal *modal = owner;
    struct dict *dict = CONTAINER_OF(make(modal), struct dict, named);
    map_remove(modal->dicts, span_of(dict->named.id));
    if (named_restore(&dict->named, modal->dict_names, key, value))
        map_put(modal->dicts, span_of(dict->named.id), dict);
}

static void on_entry(void *owner, const char *key, struct span value) {
    struct modal *modal = owner;
    struct span rest = span_of(key), id = span_cut(&rest, '/');
    struct dict *dict = map_get(modal->dicts, id);
    if (!dict || !rest.data) return;
    scoped_text struct text bytes = {0};
    for (size_t i = 0; i + 1 < rest.size; i += 2) {
        char digits[3] = {rest.data[i], rest.data[i + 1], '\0'};
        text_add_char(&bytes, (char)strtoul(digits, NULL, 16));
    }
    entry_put(dict, text_span(&bytes), value, true);
}

struct error *dicts_load(struct modal *modal) {
    TRY_PLAIN(store_records_load(modal->store, KIND, on_dict, modal));
    return store_records_load(modal->store, ENTRY_KIND, on_entry, modal);
}

static struct dict *asked(struct rpc *rpc, const char *id) {
    struct dict *dict = id ? map_get(rpc->modal->dicts, span_of(id)) : NULL;
    if (!dict) rpc_fail(rpc, no_object("dict", id));
    return dict;
}

static struct span bytes_of(const ProtobufCBinaryData *data) {
    return (struct span){data->data ? (const char *)data->data : "", data->len};
}

/* Of an ephemeral one nothing is kept. */
static void keep(struct rpc *rpc, const struct dict *dict, const struct store_record *records, size_t count,
                 void (*done)(struct rpc *rpc, struct error *error)) {
    if (dict->named.name && count > 0)
        rpc_commit_soon(rpc, records, count, done);
    else
        done(rpc, NULL);
}

static struct store_record record_of(struct rpc *rpc, const struct dict *dict, struct span key,
                                     struct span value) {
    scoped_string char *hex = hex_of(key);
    return (struct store_record){ENTRY_KIND, arena_printf(rpc_arena(rpc), "%s/%s", dict->named.id, hex),
                                 value};
}

/* ---- what clients ask ---- */

static void answer_dict(struct rpc *rpc, struct error *error) {
    const struct dict *dict = map_get(rpc->modal->dicts, span_of(rpc->owner));
    if (error || !dict) {
        rpc_fail(rpc, error ? error : no_object("dict", rpc->owner));
        return;
    }
    Modal__CreationInfo creation = MODAL__CREATION_INFO__INIT;
    Modal__DictMetadata metadata = MODAL__DICT_METADATA__INIT;
    creation.has_created_at = true;
    creation.created_at = dict->named.created_at;
    creation.created_by = rpc->modal->user;
    metadata.name = dict->named.name ? dict->named.name : "";
    metadata.creation_info = &creation;
    Modal__DictGetOrCreateResponse answer = MODAL__DICT_GET_OR_CREATE_RESPONSE__INIT;
    answer.dict_id = (char *)dict->named.id;
    answer.metadata = &metadata;
    rpc_answer(rpc, &answer);
}

static void get_or_create(struct rpc *rpc, const void *message) {
    const Modal__DictGetOrCreateRequest *request = message;
    struct named *named;
    bool made;
    struct error *error =
        named_get_or_create(rpc->modal, rpc->modal->dict_names, request->deployment_name,
                            environment_of(request->environment_name), (int)request->object_creation_type,
                            "dict", make, &named, &made);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    struct dict *dict = CONTAINER_OF(named, struct dict, named);
    struct arena *arena = rpc_arena(rpc);
    struct store_record *records = arena_alloc(arena, (request->n_data + 1) * sizeof *records);
    size_t count = 0;
    scoped_string char *record = named->name ? named_record(named) : NULL;
    if (made) records[count++] = (struct store_record){KIND, named->id, span_of(record)};
    for (size_t i = 0; (made || !named->name) && i < request->n_data; i++) {
        struct span key = bytes_of(&request->data[i]->key), value = bytes_of(&request->data[i]->value);
        entry_put(dict, key, value, true);
        records[count++] = record_of(rpc, dict, key, value);
    }
    rpc->owner = arena_text(arena, named->id);
    keep(rpc, dict, records, count, answer_dict);
}

static void answer_update(struct rpc *rpc, struct error *error) {
    Modal__DictUpdateResponse answer = MODAL__DICT_UPDATE_RESPONSE__INIT;
    answer.has_created = true;
    answer.created = rpc->owner != NULL;
    if (error)
        rpc_fail(rpc, error);
    else
        rpc_answer(rpc, &answer);
}

static void update(struct rpc *rpc, const void *message) {
    const Modal__DictUpdateRequest *request = message;
    struct dict *dict = asked(rpc, request->dict_id);
    if (!dict) return;
    struct store_record *records = arena_alloc(rpc_arena(rpc), (request->n_updates + 1) * sizeof *records);
    size_t count = 0;
    for (size_t i = 0; i < request->n_updates; i++) {
        struct span key = bytes_of(&request->updates[i]->key), value = bytes_of(&request->updates[i]->value);
        if (value.size > VALUE_MAX || map_count(dict->entries) >= ENTRIES_MAX) {
            rpc_fail(rpc, error_new(ERROR_RESOURCE_EXHAUSTED,
                                    "a dict takes values of up to %d MiB, and %d entries", VALUE_MAX >> 20,
                                    ENTRIES_MAX));
            return;
        }
        if (entry_put(dict, key, value, !request->if_not_exists))
            records[count++] = record_of(rpc, dict, key, value);
    }
    rpc->owner = count > 0 ? dict : NULL;
    keep(rpc, dict, records, count, answer_update);
}

static struct entry *entry_of(const struct dict *dict, const ProtobufCBinaryData *key) {
    scoped_string char *hex = hex_of(bytes_of(key));
    return map_get(dict->entries, span_of(hex));
}

static void get(struct rpc *rpc, const void *message) {
    const Modal__DictGetRequest *request = message;
    const struct dict *dict = asked(rpc, request->dict_id);
    if (!dict) return;
    const struct entry *entry = entry_of(dict, &request->key);
    Modal__DictGetResponse answer = MODAL__DICT_GET_RESPONSE__INIT;
    answer.has_found = true;
    answer.found = answer.has_value = entry != NULL;
    if (entry) answer.value = (ProtobufCBinaryData){entry->value.size, (uint8_t *)entry->value.data};
    rpc_answer(rpc, &answer);
}

static void contains(struct rpc *rpc, const void *message) {
    const Modal__DictContainsRequest *request = message;
    const struct dict *dict = asked(rpc, request->dict_id);
    if (!dict) return;
    Modal__DictContainsResponse answer = MODAL__DICT_CONTAINS_RESPONSE__INIT;
    answer.has_found = true;
    answer.found = entry_of(dict, &request->key) != NULL;
    rpc_answer(rpc, &answer);
}

static void length(struct rpc *rpc, const void *message) {
    const Modal__DictLenRequest *request = message;
    const struct dict *dict = asked(rpc, request->dict_id);
    if (!dict) return;
    Modal__DictLenResponse answer = MODAL__DICT_LEN_RESPONSE__INIT;
    answer.has_len = true;
    answer.len = (int32_t)map_count(dict->entries);
    rpc_answer(rpc, &answer);
}

static void answer_pop(struct rpc *rpc, struct error *error) {
    struct entry *entry = rpc->owner;
    Modal__DictPopResponse answer = MODAL__DICT_POP_RESPONSE__INIT;
    answer.has_found = answer.found = answer.has_value = true;
    answer.value = (ProtobufCBinaryData){entry->value.size, (uint8_t *)entry->value.data};
    if (error)
        rpc_fail(rpc, error);
    else
        rpc_answer(rpc, &answer);
    entry_free(entry);
}

static void pop(struct rpc *rpc, const void *message) {
    const Modal__DictPopRequest *request = message;
    struct dict *dict = asked(rpc, request->dict_id);
    if (!dict) return;
    scoped_string char *hex = hex_of(bytes_of(&request->key));
    struct entry *entry = map_remove(dict->entries, span_of(hex));
    if (!entry) {
        Modal__DictPopResponse answer = MODAL__DICT_POP_RESPONSE__INIT;
        answer.has_found = true;
        rpc_answer(rpc, &answer);
        return;
    }
    const struct store_record record = record_of(rpc, dict, text_span(&entry->key), (struct span){NULL, 0});
    rpc->owner = entry;
    keep(rpc, dict, &record, 1, answer_pop);
}

static void clear(struct rpc *rpc, struct dict *dict, bool all,
                  void (*done)(struct rpc *rpc, struct error *error)) {
    struct store_record *records = mem_array(map_count(dict->entries) + 1, sizeof *records);
    size_t count = 0;
    const char *hex;
    void *value;
    for (size_t i = 0; map_next(dict->entries, &i, &hex, &value);) {
        records[count++] = (struct store_record){
            ENTRY_KIND, arena_printf(rpc_arena(rpc), "%s/%s", dict->named.id, hex), {NULL, 0}};
        entry_free(value);
    }
    map_free(dict->entries);
    dict->entries = map_new();
    if (all)
        records[count++] = (struct store_record){KIND, arena_text(rpc_arena(rpc), dict->named.id), {NULL, 0}};
    if (dict->named.name && count > 0)
        rpc_commit(rpc, records, count, done);
    else
        done(rpc, NULL);
    free(records);
}

static void clear_asked(struct rpc *rpc, const void *message) {
    const Modal__DictClearRequest *request = message;
    struct dict *dict = asked(rpc, request->dict_id);
    if (dict) clear(rpc, dict, false, rpc_answer_kept);
}

static void delete (struct rpc *rpc, const void *message) {
    const Modal__DictDeleteRequest *request = message;
    struct dict *dict = asked(rpc, request->dict_id);
    if (!dict) return;
    clear(rpc, dict, true, rpc_answer_kept);
    dict_free(dict);
}

/* The whole of it as a stream; what changes meanwhile is not seen. */
static void contents(struct rpc *rpc, const void *message) {
    const Modal__DictContentsRequest *request = message;
    const struct dict *dict = asked(rpc, request->dict_id);
    if (!dict) return;
    void *value;
    for (size_t i = 0; map_next(dict->entries, &i, NULL, &value);) {
        const struct entry *entry = value;
        Modal__DictEntry item = MODAL__DICT_ENTRY__INIT;
        item.has_key = request->keys;
        item.has_value = request->values;
        item.key = (ProtobufCBinaryData){entry->key.size, (uint8_t *)entry->key.data};
        item.value = (ProtobufCBinaryData){entry->value.size, (uint8_t *)entry->value.data};
        rpc_send(rpc, &item);
    }
    rpc_end(rpc);
}

static void heartbeat(struct rpc *rpc, const void *message) {
    const Modal__DictHeartbeatRequest *request = message;
    struct dict *dict = asked(rpc, request->dict_id);
    if (!dict) return;
    named_beat(&dict->named);
    rpc_answer_empty(rpc);
}

static void list(struct rpc *rpc, const void *message) {
    const Modal__DictListRequest *request = message;
    struct modal *modal = rpc->modal;
    struct arena *arena = rpc_arena(rpc);
    const char *environment = environment_of(request->environment_name);
    double before = request->pagination ? request->pagination->created_before : 0;
    Modal__DictListResponse answer = MODAL__DICT_LIST_RESPONSE__INIT;
    answer.dicts = arena_alloc(arena, (map_count(modal->dicts) + 1) * sizeof *answer.dicts);
    answer.environment_name = (char *)environment;
    void *value;
    for (size_t i = 0; map_next(modal->dicts, &i, NULL, &value);) {
        struct dict *dict = value;
        if (!dict->named.name || strcmp(dict->named.environment, environment) != 0) continue;
        if (before > 0 && dict->named.created_at >= before) continue;
        Modal__DictListResponseDictInfo *info = arena_alloc(arena, sizeof *info);
        Modal__DictMetadata *metadata = arena_alloc(arena, sizeof *metadata);
        Modal__CreationInfo *creation = arena_alloc(arena, sizeof *creation);
        modal__dict_list_response_dict_info__init(info);
        modal__dict_metadata__init(metadata);
        modal__creation_info__init(creation);
        info->name = metadata->name = dict->named.name;
        info->has_created_at = creation->has_created_at = true;
        info->created_at = creation->created_at = dict->named.created_at;
        creation->created_by = modal->user;
        info->dict_id = dict->named.id;
        metadata->creation_info = creation;
        info->metadata = metadata;
        answer.dicts[answer.n_dicts++] = info;
    }
    rpc_answer(rpc, &answer);
}

/* The answer has the fields of DictGetOrCreate's. */
static void by_id(struct rpc *rpc, const void *message) {
    const Modal__DictGetByIdRequest *request = message;
    if (!asked(rpc, request->dict_id)) return;
    rpc->owner = request->dict_id;
    answer_dict(rpc, NULL);
}

const struct rpc_method dict_methods[] = {
    {"DictGetById", &modal__dict_get_by_id_request__descriptor, by_id, RPC_TASK},
    {"DictGetOrCreate", &modal__dict_get_or_create_request__descriptor, get_or_create, RPC_TASK | RPC_ONCE},
    {"DictUpdate", &modal__dict_update_request__descriptor, update, RPC_TASK | RPC_ONCE},
    {"DictGet", &modal__dict_get_request__descriptor, get, RPC_TASK},
    {"DictContains", &modal__dict_contains_request__descriptor, contains, RPC_TASK},
    {"DictLen", &modal__dict_len_request__descriptor, length, RPC_TASK},
    {"DictPop", &modal__dict_pop_request__descriptor, pop, RPC_TASK | RPC_ONCE},
    {"DictClear", &modal__dict_clear_request__descriptor, clear_asked, RPC_TASK},
    {"DictContents", &modal__dict_contents_request__descriptor, contents, RPC_TASK},
    {"DictHeartbeat", &modal__dict_heartbeat_request__descriptor, heartbeat, RPC_TASK},
    {"DictList", &modal__dict_list_request__descriptor, list, RPC_TASK},
    {"DictDelete", &modal__dict_delete_request__descriptor, delete, RPC_TASK},
    {0},
};
