/* Images: listed, pulled, built, imported, named and pruned. What takes time answers with lines of progress
 * first; a client that goes away takes its work with it, unless somebody else waits for the same. */
#include "inside.h"

#include "image.h"

#include <stdlib.h>

enum { BODY_MAX = 8 << 20, BLOB_KEPT_S = 3600 };

struct image_work {   /* one exchange */
    struct list node; /* in api->image_works */
    struct api *api;
    struct lines lines;
    struct image_job *job;
    struct error *error;
    json_t *answer;
    bool syncing; /* its names are on their way to the disk */
};

static json_t *image_json(const struct image *image) {
    return json_pack("{s:s, s:I, s:I, s:s, s:I}", "id", image->id, "size_bytes",
                     (json_int_t)image->size_bytes, "layers", (json_int_t)image->layer_count, "source",
                     image->source, "made_ms", (json_int_t)image->made_wall_ms);
}

/* ---- GET /v1/images ---- */

static void add_listed(void *owner, const struct image_listed *listed) {
    json_t *item = listed->image ? image_json(listed->image) : json_object();
    json_object_set_new(item, "name", listed->name ? json_string(listed->name) : json_null());
    if (listed->alias_of) json_object_set_new(item, "alias_of", json_string(listed->alias_of));
    json_array_append_new(owner, item);
}

static void answer_list(struct api *api, struct http_exchange *exchange) {
    json_t *images = json_array();
    image_list(api->images, add_listed, images);
    struct image_usage usage = image_usage(api->images);
    http_respond_json(exchange, 200,
                      json_pack("{s:o, s:I, s:I, s:I}", "images", images, "layers_bytes",
                                (json_int_t)usage.layers_bytes, "unused_bytes",
                                (json_int_t)usage.unused_bytes, "quota_bytes",
                                (json_int_t)usage.quota_bytes));
}

/* ---- one piece of work ---- */

static void work_free(struct image_work *work) {
    list_remove(&work->node);
    error_free(work->error);
    json_decref(work->answer);
    free(work);
}

/* The one way out. */
static void finish(struct image_work *work) {
    if (work->error)
        lines_refuse(&work->lines, take(work->error));
    else
        lines_answer(&work->lines, take(work->answer));
    work_free(work);
}

static void on_line(void *owner, struct span text) {
    struct image_work *work = owner;
    lines_say(&work->lines, text);
}

static void on_done(void *owner, struct error *error, const struct image *image) {
    struct image_work *work = owner;
    work->job = NULL;
    work->error = error;
    if (image) work->answer = json_pack("{s:o}", "image", image_json(image));
    finish(work);
}
static const struct image_events job_events = {on_line, on_done};

static void on_gone(struct http_exchange *exchange) {
    struct image_work *work = http_exchange_owner(exchange);
    work->lines.exchange = NULL;
    http_exchange_release(exchange);
    image_job_cancel(take(work->job));
    if (!work->syncing) work_free(work);
}

static void on_drained(struct http_exchange *exchange) {
    struct image_work *work = http_exchange_owner(exchange);
    lines_drained(&work->lines);
}

static void on_synced(void *owner, struct error *error) {
    struct image_work *work = owner;
    work->syncing = false;
    if (!work->error)
        work->error = error;
    else
        error_free(error);
    finish(work);
}

/* What was said of names is told as done only when it is on the disk. */
static void sync_then_answer(struct image_work *work, json_t *taken_answer) {
    work->answer = taken_answer;
    work->syncing = true;
    image_sync(work->api->images, on_synced, work);
}

/* ---- what is asked ---- */

static const char *text_of(const json_t *body, const char *key) {
    return json_string_value(json_object_get(body, key));
}

static struct error *need(const json_t *body, const char *key, const char **ret_text) {
    *ret_text = text_of(body, key);
    return *ret_text ? NULL : error_new(ERROR_INVALID_ARGUMENT, "the body lacks \"%s\", a text", key);
}

static struct error *pull(struct image_work *work, const json_t *body) {
    const char *name;
    TRY_PLAIN(need(body, "name", &name));
    const struct image_credentials credentials = {text_of(body, "user"), text_of(body, "password")};
    work->job = image_pull(work->api->images,
                           &(struct image_pull){
                               .name = name,
                               .credentials = credentials.user && credentials.password ? &credentials : NULL,
                               .again = json_is_true(json_object_get(body, "again")),
                           },
                           &job_events, work);
    return NULL;
}

static struct error *import(struct image_work *work, const json_t *body) {
    const char *name, *path;
    TRY_PLAIN(need(body, "name", &name));
    TRY_PLAIN(need(body, "path", &path));
    work->job = image_import(work->api->images, name, path, &job_events, work);
    return NULL;
}

/* {NAME: VALUE}; borrowed from the body. */
static struct image_pair *pairs_of(const json_t *body, const char *key, size_t *ret_count) {
    json_t *object = json_object_get(body, key), *value;
    const char *name;
    struct image_pair *pairs = mem_array(json_object_size(object) + 1, sizeof *pairs);
    *ret_count = 0;
    json_object_foreach(object, name, value) if (json_is_string(value)) pairs[(*ret_count)++] =
        (struct image_pair){name, json_string_value(value)};
    return pairs;
}

static struct error *build(struct image_work *work, const json_t *body) {
    const char *commands, *directory = text_of(body, "directory");
    size_t arg_count, secret_count;
    TRY_PLAIN(need(body, "commands", &commands));
    if (directory && directory[0] != '/')
        return error_new(ERROR_INVALID_ARGUMENT, "directory: '%s' is not absolute", directory);
    struct image_pair *args = pairs_of(body, "args", &arg_count),
                      *secrets = pairs_of(body, "secrets", &secret_count);
    work->job = image_build(work->api->images,
                            &(struct image_build){
                                .commands = commands,
                                .file_name = text_of(body, "file_name"),
                                .context = {.directory = directory},
                                .args = args,
                                .arg_count = arg_count,
                                .secrets = secrets,
                                .secret_count = secret_count,
                                .target = text_of(body, "target"),
                                .name = text_of(body, "name"),
                                .force = json_is_true(json_object_get(body, "force")),
                            },
                            &job_events, work);
    free(args), free(secrets);
    return NULL;
}

static struct error *alias(struct image_work *work, const json_t *body) {
    const char *name;
    TRY_PLAIN(need(body, "name", &name));
    TRY_PLAIN(image_alias(work->api->images, name, text_of(body, "target")));
    sync_then_answer(work, json_pack("{s:s}", "name", name));
    return NULL;
}

static struct error *remove_name(struct image_work *work, const json_t *body) {
    const char *name;
    TRY_PLAIN(need(body, "name", &name));
    TRY_PLAIN(image_remove(work->api->images, name));
    sync_then_answer(work, json_pack("{s:s}", "name", name));
    return NULL;
}

/* Names that apps use, also sleeping ones. */
static const char **needed_names(struct api *api) {
    const char **names = mem_array(1, sizeof *names);
    size_t count = 0;
    struct pool_function *function;
    for (size_t i = 0; (function = pool_function_next(api->pool, &i));) {
        names = mem_grow(names, count + 2, sizeof *names);
        names[count++] = pool_function_spec(function)->image;
        names[count] = NULL;
    }
    return names;
}

static void on_needs(void *owner, struct image_store *store) {
    const struct api *api = owner;
    struct pool_function *function;
    for (size_t i = 0; (function = pool_function_next(api->pool, &i));)
        image_need(store, pool_function_spec(function)->image);
}

void images_begin(struct api *api) {
    if (api->images) image_needs_set(api->images, on_needs, api);
}

static struct error *prune(struct image_work *work, const json_t *body) {
    const char **needed = json_is_true(json_object_get(body, "all")) ? needed_names(work->api) : NULL;
    uint64_t bytes = image_prune(work->api->images, needed);
    free(needed);
    (void)store_blobs_sweep(work->api->store, BLOB_KEPT_S, NULL,
                            NULL); /* beside it; what it frees is not told */
    sync_then_answer(work, json_pack("{s:I}", "freed_bytes", (json_int_t)bytes));
    return NULL;
}

/* ---- the routes ---- */

static const struct {
    const char *name;
    struct error *(*begin)(struct image_work *work, const json_t *body);
} verbs[] = {{"pull", pull},   {"import", import},      {"build", build},
             {"alias", alias}, {"remove", remove_name}, {"prune", prune}};

struct request {
    struct api *api;
    size_t verb;
};

static void on_body(struct http_exchange *exchange, struct span bytes, struct error *error) {
    struct request *request = http_exchange_owner(exchange);
    json_error_t where;
    scoped_json json_t *body =
        error ? NULL : json_loadb(bytes.size ? bytes.data : "{}", bytes.size ? bytes.size : 2, 0, &where);
    if (!error && !json_is_object(body))
        error = error_new(ERROR_INVALID_ARGUMENT, "the body is no JSON object");
    if (error) {
        http_respond_error(exchange, error);
        return;
    }
    struct api *api = request->api;
    struct image_work *work = NEW(struct image_work);
    work->api = api;
    lines_init(&work->lines, exchange, true);
    work->lines.drained = on_drained;
    list_append(&api->image_works, &work->node);
    http_exchange_owner_set(exchange, work);
    http_exchange_on_gone(exchange, on_gone);
    work->error = verbs[request->verb].begin(work, body);
    if (work->error) finish(work);
}

/* GET /v1/images, POST /v1/images/VERB */
bool images_handle(struct api *api, struct http_exchange *exchange, struct span rest) {
    struct span method = http_exchange_method(exchange);
    if (rest.size == 0 && span_is(method, "GET")) {
        answer_list(api, exchange);
        return true;
    }
    for (size_t i = 0; i < COUNT(verbs); i++) {
        if (!span_is(method, "POST") || !span_is(rest, verbs[i].name)) continue;
        struct request *request = arena_alloc(http_exchange_arena(exchange), sizeof *request);
        *request = (struct request){api, i};
        http_exchange_owner_set(exchange, request);
        http_exchange_read_all(exchange, BODY_MAX, on_body);
        return true;
    }
    return false;
}

void images_forget(struct api *api) {
    if (api->images) image_needs_set(api->images, NULL, NULL);
    LIST_EACH_SAFE(node, next, &api->image_works) {
        struct image_work *work = CONTAINER_OF(node, struct image_work, node);
        image_job_cancel(take(work->job));
        if (work->lines.exchange) http_exchange_on_gone(work->lines.exchange, NULL);
        lines_refuse(&work->lines, error_new(ERROR_CANCELLED, "catnap is ending"));
        if (work->syncing) {
            list_remove(node); /* its saving is under way, and finds nobody to answer */
            continue;
        }
        work_free(work);
    }
}
