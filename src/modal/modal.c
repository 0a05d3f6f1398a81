/* The door: what hangs on one object, from its birth to its end. */
#include "modal.h"

#include "inside.h"

#include "blob.h"
#include "journal.h"
#include "named.h"
#include "rest.h"
#include "runtime.h"
#include "sandbox.h"
#include "service.h"

#include <stdlib.h>

#define QUIET_MS 100 /* a client that is at work asks its next question sooner, mostly */

double now_s(void) {
    return (double)clock_wall_ms() / 1000.0;
}

struct error *no_object(const char *what, const char *id) {
    return error_new(ERROR_NOT_FOUND, "there is no %s '%.100s'", what, id ? id : "");
}

static void on_call(void *owner, struct grpc_call *call) {
    rpc_start(owner, call);
}

static void make_maps(struct modal *modal) {
    struct map **const maps[] = {
        &modal->methods,      &modal->environments, &modal->image_names,  &modal->apps,
        &modal->deployed,     &modal->functions,    &modal->classes,      &modal->images,
        &modal->mounts,       &modal->secrets,      &modal->image_keys,   &modal->mount_names,
        &modal->secret_names, &modal->calls,        &modal->inputs,       &modal->core_functions,
        &modal->reply_of,     &modal->under_way,    &modal->dicts,        &modal->dict_names,
        &modal->queues,       &modal->queue_names,  &modal->publications, &modal->router_methods,
        &modal->execs,        &modal->sandboxes};
    for (size_t i = 0; i < COUNT(maps); i++) *maps[i] = map_new();
}

struct modal *modal_new(const struct modal_options *options) {
    struct modal *modal = NEW(struct modal);
    modal->loop = options->loop;
    modal->store = options->store;
    modal->pool = options->pool;
    modal->node = options->node;
    modal->identity = options->identity;
    modal->volumes_room = options->volumes;
    modal->images_room = options->images;
    list_init(&modal->builds);
    list_init(&modal->buildruns);
    modal->state_dir = mem_string(options->state_dir);
    modal->run_dir = mem_string(options->run_dir);
    modal->logs_dir = mem_string(options->logs_dir);
    modal->user = mem_string(options->user);
    modal->gateway = mem_string(options->gateway);
    modal->domain = mem_string(options->domain ? options->domain : "localhost");
    modal->pythons = mem_string(options->pythons);
    modal->no_auth = options->no_auth;
    modal->secure = options->secure;
    modal->tls = options->tls;
    modal->gpu_fallback = options->gpu_fallback;
    make_maps(modal);
    list_init(&modal->replies);
    list_init(&modal->runtime_jobs);
    modal->tasks = table_new();
    list_init(&modal->tunnels), list_init(&modal->snapshots);
    service_methods(modal->methods);
    service_router_methods(modal->router_methods);
    environment_restore(modal, ENVIRONMENT_DEFAULT, SPAN("en-main"));
    modal->server = grpc_server_new(
        &(struct grpc_server_options){.loop = modal->loop, .on_call = on_call, .owner = modal});
    blob_server_open(modal);
    blobs_keep(modal);
    images_keeper_set(modal);
    modal->born_at = now_s();
    journal_open(modal);
    rest_open(modal);
    tasks_hook(modal);
    return modal;
}

struct error *modal_load(struct modal *modal) {
    multipart_sweep(modal->state_dir, true);
    TRY(ports_load(modal), "ports of web functions"); /* first: what is deployed comes with them */
    TRY(records_load(modal), "what was deployed by Modal's client");
    TRY(calls_load(modal), "calls");
    TRY(dicts_load(modal), "dicts");
    TRY(queues_load(modal), "queues");
    return NULL;
}

void modal_serve_web(struct modal *modal, struct gateway *gateway) {
    modal->web_gateway = gateway;
    gateway_on_runner(gateway, web_request, modal);
}

/* The tag says who may ask: a TCP address wants a token, a path is guarded by its mode; a task's socket has
 * the task as its tag. */
struct error *modal_listen(struct modal *modal, const char *address, uint16_t *ret_port) {
    void *tag = strchr(address, '/') ? (void *)&modal->server : (void *)modal;
    const struct grpc_listener listener = {
        .address = address, .tag = tag, .tls = tag == modal ? modal->tls : NULL};
    TRY_PLAIN(grpc_server_listen_on(modal->server, &listener, ret_port));
    TRY(blob_server_listen(modal, address), "blobs");
    return NULL;
}

void modal_resume(struct modal *modal) {
    tasks_sweep(modal);
    calls_resume(modal);
}

static void end_calls(struct modal *modal) {
    void *value;
    for (size_t i = 0; map_next(modal->calls, &i, NULL, &value);) {
        struct call *call = value;
        if (call->kept && call->unsure) journal_again(call);
        call_free(call); /* web requests were cut with the gateway */
        i = 0;
    }
}

void modal_retire(struct modal *modal) {
    grpc_server_unlisten(modal->server, modal, false);
    grpc_server_unlisten(modal->server, &modal->server, false);
}

bool modal_is_quiet(const struct modal *modal) {
    return grpc_server_calls(modal->server) <= modal->held_calls &&
           io_now_ms(modal->loop) - modal->last_call_ms >= QUIET_MS;
}

void modal_close(struct modal *modal) {
    if (!modal || modal->closing) return;
    modal->closing = true;
    grpc_server_unlisten(modal->server, modal, true);
    grpc_server_unlisten(modal->server, &modal->server, true);
    if (modal->web_gateway) gateway_on_runner(modal->web_gateway, NULL, NULL);
    modal->web_gateway = NULL;
    runtime_free(modal);
    builds_cancel(modal);
    buildruns_cancel(modal);
    snapshots_cancel(modal);
    void *value;
    for (size_t i = 0; map_next(modal->apps, &i, NULL, &value);) logs_streams_end(value);
    for (size_t i = 0; map_next(modal->functions, &i, NULL, &value);)
        function_refuse_all(value, "catnap is ending");
}

void modal_free(struct modal *modal) {
    if (!modal) return;
    modal_close(modal);
    blobs_keep_end(modal);
    blob_server_free(modal);
    end_calls(modal);
    rest_close(modal);
    journal_close(modal);
    tunnels_free(modal);
    sandboxes_free(modal);
    execs_free(modal);
    tasks_free(modal);
    grpc_server_free(modal->server);
    void *value;
    for (size_t i = 0; map_next(modal->apps, &i, NULL, &value); i = 0) app_free(value);
    environments_free(modal);
    images_free(modal);
    image_names_free(modal);
    mounts_free(modal);
    secrets_free(modal);
    dicts_free(modal);
    queues_free(modal);
    ports_free(modal);
    replies_free(modal);
    struct map *const maps[] = {modal->methods, modal->execs,    modal->sandboxes,     modal->router_methods,
                                modal->apps,    modal->deployed, modal->functions,     modal->classes,
                                modal->calls,   modal->inputs,   modal->core_functions};
    for (size_t i = 0; i < COUNT(maps); i++) map_free(maps[i]);
    char *const strings[] = {modal->state_dir, modal->run_dir, modal->logs_dir, modal->user,
                             modal->gateway,   modal->domain,  modal->pythons};
    for (size_t i = 0; i < COUNT(strings); i++) free(strings[i]);
    free(modal);
}
