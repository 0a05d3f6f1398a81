/* named: what Dict and Queue have in common: a name in an environment, or a life as long as its client's
 * heartbeats. */
#include "inside.h"

#include "named.h"

#include <stdlib.h>

#define PATIENCE_MS 900000 /* clients beat every 300 s */

static void on_silent(void *owner) {
    struct named *named = owner;
    named->dies(named);
}

void named_init(struct named *named, struct modal *modal, const char *prefix,
                void (*dies)(struct named *named)) {
    scoped_string char *id = random_id(prefix);
    id_set(named->id, id);
    named->modal = modal;
    named->dies = dies;
    named->created_at = now_s();
    named->environment = mem_string(ENVIRONMENT_DEFAULT);
}

void named_done(struct named *named, struct map *names) {
    if (named->name) {
        scoped_string char *key = object_key(named->environment, named->name);
        if (map_get(names, span_of(key)) == named) map_remove(names, span_of(key));
    }
    io_timer_free(named->patience);
    free(named->name);
    free(named->environment);
}

void named_beat(struct named *named) {
    if (named->patience) io_timer_arm(named->patience, PATIENCE_MS);
}

static void name_set(struct named *named, struct map *names, const char *name, const char *environment) {
    named->name = mem_string(name);
    free(named->environment);
    named->environment = mem_string(environment);
    scoped_string char *key = object_key(environment, name);
    map_put(names, span_of(key), named);
}

struct error *named_get_or_create(struct modal *modal, struct map *names, const char *name,
                                  const char *environment, int creation, const char *what,
                                  struct named *(*make)(struct modal *modal), struct named **ret,
                                  bool *ret_made) {
    *ret_made = false;
    if (creation == MODAL__OBJECT_CREATION_TYPE__OBJECT_CREATION_TYPE_EPHEMERAL) {
        *ret = make(modal);
        (*ret)->patience = io_timer_new(modal->loop, on_silent, *ret);
        named_beat(*ret);
        return NULL;
    }
    if (!name || !*name) return error_new(ERROR_INVALID_ARGUMENT, "a %s needs a name", what);
    if (!environment_known(modal, environment)) return no_object("environment", environment);
    scoped_string char *key = object_key(environment, name);
    *ret = map_get(names, span_of(key));
    if (*ret && creation == MODAL__OBJECT_CREATION_TYPE__OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS)
        return error_new(ERROR_ALREADY_EXISTS, "there is a %s '%s' already", what, name);
    if (*ret) return NULL;
    if (creation == MODAL__OBJECT_CREATION_TYPE__OBJECT_CREATION_TYPE_UNSPECIFIED)
        return error_new(ERROR_NOT_FOUND, "there is no %s '%s' (create_if_missing=True makes it)", what,
                         name);
    *ret = make(modal);
    name_set(*ret, names, name, environment);
    *ret_made = true;
    return NULL;
}

char *named_record(const struct named *named) {
    scoped_json json_t *json = json_pack("{s:s, s:s, s:f}", "name", named->name, "environment",
                                         named->environment, "created_at", named->created_at);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    return text ? text : mem_string("{}");
}

bool named_restore(struct named *named, struct map *names, const char *id, struct span record) {
    scoped_json json_t *json = json_loadb(record.data, record.size, 0, NULL);
    const char *name, *environment;
    if (!json || json_unpack(json, "{s:s, s:s, s:F}", "name", &name, "environment", &environment,
                             "created_at", &named->created_at))
        return false;
    id_set(named->id, id);
    name_set(named, names, name, environment);
    return true;
}
