/* GET|POST /v1/health: who computes what, on which machine.
 *
 * Clients read `model`, `chat_model`, `device` and `version.git_describe`; without `version` Tabby's own
 * agent crashes. */
#include "inside.h"
#include "search.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>

static char *cpu_name(void) {
    scoped_text struct text content = {0};
    scoped(error) struct error *error = file_read("/proc/cpuinfo", 1 << 22, &content);
    struct span rest = text_span(&content);
    while (!error && rest.data) {
        struct span line = span_cut(&rest, '\n'), value = line;
        struct span key = span_trim(span_cut(&value, ':'));
        if (value.data && span_is(key, "model name")) return span_string(span_trim(value));
    }
    return mem_string("unknown");
}

static json_t *local_of(const struct backend *backend) {
    json_t *local = json_pack("{s:s,s:s}", "model_id", backend->model->id, "device", backend->device),
           *devices = engine_device_names(backend->device);
    if (json_array_size(devices) > 0) json_object_set(local, "cuda_devices", devices);
    json_decref(devices);
    const char *slash = strrchr(backend->model->directory, '/');
    if (backend->model->stands_in)
        json_object_set_new(local, "packaged",
                            json_string(slash && slash[1] ? slash + 1 : backend->model->directory));
    return json_pack("{s:o}", "local", local);
}

static json_t *model_of(const struct backend *backend) {
    const struct settings_model *how = &backend->how;
    if (how->source == SETTINGS_LOCAL) return local_of(backend);
    json_t *remote = json_pack("{s:s}", "kind", how->kind);
    if (how->model_name) json_object_set_new(remote, "model_name", json_string(how->model_name));
    json_object_set_new(remote, "api_endpoint", json_string(how->api_endpoint ? how->api_endpoint : ""));
    return json_pack("{s:o}", "remote", remote);
}

static bool is_there(const struct backend *backend) {
    return backend->how.source != SETTINGS_NONE;
}

static json_t *models(const struct serve *serve) {
    json_t *models = json_object();
    if (is_there(&serve->completion)) json_object_set_new(models, "completion", model_of(&serve->completion));
    if (is_there(&serve->chat)) json_object_set_new(models, "chat", model_of(&serve->chat));
    json_object_set_new(models, "embedding", embeddings_health(serve));
    return models;
}

void health_answer(struct serve *serve, struct http_exchange *exchange) {
    scoped_json json_t *root = json_object();
    struct utsname machine;
    scoped_string char *cpu = cpu_name();
    if (is_there(&serve->completion))
        json_object_set_new(root, "model", json_string(backend_name(&serve->completion)));
    if (is_there(&serve->chat))
        json_object_set_new(root, "chat_model", json_string(backend_name(&serve->chat)));
    if (serve->arguments->chat_model)
        json_object_set_new(root, "chat_device", json_string(serve->chat.device));
    json_object_set_new(root, "device", json_string(serve->completion.device));
    json_object_set_new(root, "cuda_devices", engine_device_names("cuda"));
    json_object_set_new(root, "models", models(serve));
    json_object_set_new(root, "arch", json_string(uname(&machine) == 0 ? machine.machine : ""));
    json_object_set_new(root, "cpu_info", json_string(cpu));
    json_object_set_new(root, "cpu_count", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    json_object_set_new(root, "version",
                        json_pack("{s:s,s:s,s:s,s:s}", "build_date", "", "build_timestamp", "", "git_sha",
                                  "0000000000000000000000000000000000000000", "git_describe",
                                  "v" TABBY_VERSION));
    json_object_set_new(root, "webserver", json_boolean(!serve->arguments->no_webserver));
    scoped_string char *body = json_dumps(root, JSON_COMPACT);
    rest_answer(serve, ROUTE_HEALTH, exchange, 200, "application/json", span_of(body));
}
