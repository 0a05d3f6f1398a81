/* port: web functions on ports of their own, besides their host names, for programs that can't resolve those.
 *
 * What was published is kept by the names of app and function, so that it holds for each later deploy of the
 * same names, and also while the app is stopped. An app that is only served has another name in the pool each
 * time; here it is APP-dev. Where a port can't be had when an app comes, the app comes without it, and the
 * log says so: a port is no reason to serve nothing. */
#include "inside.h"

#include <stdio.h>
#include <stdlib.h>

#define KIND "publish"
#define EPHEMERAL_TAIL 7 /* "-ab12cd" behind "-dev" */

struct publication {
    char *key;
    uint16_t port;
};

static void publication_free(struct publication *publication) {
    if (!publication) return;
    free(publication->key);
    free(publication);
}

static char *app_key(const struct app *app) {
    size_t size = strlen(app->core_name);
    bool tail = strncmp(app->core_name + (size > 11 ? size - 11 : 0), "-dev-", 5) == 0;
    return mem_string_n(app->core_name, app_is_ephemeral(app) && tail ? size - EPHEMERAL_TAIL : size);
}

static char *key_of(const struct function *function) {
    scoped_string char *app = app_key(function->app);
    return mem_printf("%s/%s", app, function->core_name);
}

/* The port that was published for it, where no other function has it now; 0: none. */
uint16_t port_of(const struct function *function) {
    const struct modal *modal = function->app->modal;
    if (!function->label) return 0;
    scoped_string char *key = key_of(function);
    const struct publication *publication = map_get(modal->publications, span_of(key));
    if (!publication) return 0;
    const struct pool_function *holder = pool_function_by_publish(modal->pool, publication->port);
    const struct core_function *spec = holder ? pool_function_spec(holder) : NULL;
    if (!spec || (strcmp(spec->app, function->core_app) == 0 && strcmp(spec->name, function->core_name) == 0))
        return publication->port;
    log_warn("modal", "%s.%s is not at its port %u: %s.%s is there", function->core_app, function->core_name,
             publication->port, spec->app, spec->name);
    return 0;
}

/* ---- kept ---- */

static void on_record(void *owner, const char *key, struct span value) {
    struct modal *modal = owner;
    uint64_t port = 0;
    if (!span_to_u64(value, &port) || port < 1 || port > UINT16_MAX) {
        log_warn("modal", "the record of the port of %s can't be read", key);
        return;
    }
    struct publication *publication = NEW(struct publication);
    *publication = (struct publication){mem_string(key), (uint16_t)port};
    map_put(modal->publications, span_of(key), publication);
}

struct error *ports_load(struct modal *modal) {
    return store_records_load(modal->store, KIND, on_record, modal);
}

void ports_free(struct modal *modal) {
    void *value;
    for (size_t i = 0; map_next(modal->publications, &i, NULL, &value);) publication_free(value);
    map_free(modal->publications);
}

/* As `catnap ps` or its program calls it; a class ("Model.*") also by its own name and by its web method's.
 */
static bool is_called(const struct function *function, const char *name) {
    if (strcmp(function->core_name, name) == 0 || strcmp(function->name, name) == 0) return true;
    const struct definition *definition = function_definition(function);
    const char *method = NULL;
    if (definition) (void)definition_web(definition->function, &method);
    if (!method) return false;
    struct span rest = span_of(name), wanted = span_cut(&rest, '.'), own = span_of(function->name);
    struct span class = span_cut(&own, '.');
    return span_equal(wanted, class) && (!rest.data || span_is(rest, method));
}

/* ---- asked for ---- */

/* By the names in the pool, which `catnap ps` shows, or by Modal's. */
static struct function *named(struct modal *modal, const char *app_name, const char *name) {
    void *value, *inner;
    for (size_t i = 0; map_next(modal->apps, &i, NULL, &value);) {
        const struct app *app = value;
        scoped_string char *key = app_key(app);
        scoped_string char *plain =
            app_is_ephemeral(app) ? mem_printf("%s-dev", app->name) : mem_string(app->name);
        const char *const names[] = {app->core_name, key, plain};
        bool fits = false;
        for (size_t n = 0; n < COUNT(names) && !fits; n++) fits = strcmp(names[n], app_name) == 0;
        if (!fits || app->state == MODAL__APP_STATE__APP_STATE_STOPPED) continue;
        for (size_t j = 0; map_next(app->layout, &j, NULL, &inner);) {
            struct function *function = inner;
            if (is_called(function, name)) return function;
        }
    }
    return NULL;
}

struct publishing {
    struct modal *modal;
    char *key;
    char app_id[ID_MAX];
    void (*done)(void *owner, struct error *error);
    void *owner;
};

static void on_kept(void *owner, struct error *error) {
    struct publishing *publishing = owner;
    struct app *app = publishing->modal->closing ? NULL : app_of(publishing->modal, publishing->app_id);
    if (!error && app && app->in_pool) error = app_to_pool(app);
    publishing->done(publishing->owner, error);
    free(publishing->key);
    free(publishing);
}

static void keep(struct modal *modal, const char *key, const struct function *function_or_null, uint16_t port,
                 void (*done)(void *owner, struct error *error), void *owner) {
    struct publishing *publishing = NEW(struct publishing);
    *publishing = (struct publishing){.modal = modal, .key = mem_string(key), .done = done, .owner = owner};
    id_set(publishing->app_id, function_or_null ? function_or_null->app->id : NULL);
    char text[8];
    snprintf(text, sizeof text, "%u", port);
    const struct store_record record = {KIND, publishing->key, port ? span_of(text) : (struct span){0}};
    store_records_write(modal->store, &record, 1, on_kept, publishing);
}

static struct error *port_check(struct modal *modal, const struct function *function, const char *key,
                                uint16_t port) {
    if (!function->label)
        return error_new(ERROR_FAILED_PRECONDITION,
                         "%s.%s is no web function: its work comes as calls, not to a port",
                         function->core_app, function->core_name);
    void *value;
    for (size_t i = 0; map_next(modal->publications, &i, NULL, &value);) {
        const struct publication *other = value;
        if (other->port != port || strcmp(other->key, key) == 0) continue;
        const char *slash = strchr(other->key, '/');
        return error_new(ERROR_ALREADY_EXISTS,
                         "port %u is that of %.*s.%s already (`catnap unpublish` takes it off)", port,
                         (int)(slash - other->key), other->key, slash + 1);
    }
    const struct pool_function *holder = pool_function_by_publish(modal->pool, port);
    const struct core_function *spec = holder ? pool_function_spec(holder) : NULL;
    if (spec && (strcmp(spec->app, function->core_app) != 0 || strcmp(spec->name, function->core_name) != 0))
        return error_new(ERROR_ALREADY_EXISTS, "port %u is that of %s.%s already", port, spec->app,
                         spec->name);
    scoped(core_app) struct core_app *core = NULL;
    TRY_PLAIN(app_core(function->app, &core));
    core_app_find(core, function->core_name)->publish = port;
    return pool_app_check(modal->pool, core);
}

static struct error *unpublish(struct modal *modal, const char *app_name, const char *name, char **ret_key) {
    const struct function *function = named(modal, app_name, name);
    *ret_key = function ? key_of(function) : mem_printf("%s/%s", app_name, name);
    struct publication *publication = map_remove(modal->publications, span_of(*ret_key));
    if (!publication)
        return error_new(ERROR_NOT_FOUND, "%s.%s is at no port of its own (`catnap publish` puts it there)",
                         app_name, name);
    publication_free(publication);
    return NULL;
}

void modal_publish(struct modal *modal, const char *app_name, const char *name, uint16_t port,
                   void (*done)(void *owner, struct error *error), void *owner) {
    const struct function *function = named(modal, app_name, name);
    scoped_string char *key = NULL;
    struct error *error = NULL;
    if (port == 0) {
        error = unpublish(modal, app_name, name, &key);
    } else if (!function) {
        error = error_new(ERROR_NOT_FOUND,
                          "there is no function '%.80s.%.80s'; `catnap ps` lists those there are", app_name,
                          name);
    } else {
        key = key_of(function);
        error = port_check(modal, function, key, port);
    }
    if (error) {
        done(owner, error);
        return;
    }
    if (port != 0) {
        struct publication *publication = NEW(struct publication);
        *publication = (struct publication){mem_string(key), port};
        publication_free(map_put(modal->publications, span_of(key), publication));
    }
    keep(modal, key, function, port, done, owner);
}
