/* Vectors of texts from another server: one request a text, which blocks, on whichever thread it is made.
 *
 * Ends otherwise: no connection, silence, a status that is not 200 (with the server's own words), an answer
 * without a vector, or one of another length than the first had. Requests beyond the limit of a second wait
 * for the next one. */
#include "inside.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define TIMEOUT_S 60L
#define ANSWER_BYTES_MAX (4u << 20)
#define DIMENSIONS_MAX 65536

enum question { ASKS_CONTENT, ASKS_INPUT, ASKS_LIST };
struct embedding_kind {
    const char *name, *path, *default_endpoint, *key_header;
    enum question question;
    bool needs_model;
};
static const struct embedding_kind kinds[] = {
    {"llama.cpp/embedding", "/embeddings", NULL, "Authorization: Bearer ", ASKS_CONTENT, false},
    {"llama.cpp/before_b4356_embedding", "/embedding", NULL, "Authorization: Bearer ", ASKS_CONTENT, false},
    {"openai/embedding", "/embeddings", "https://api.openai.com/v1", "Authorization: Bearer ", ASKS_INPUT,
     true},
    {"ollama/embedding", "/api/embed", NULL, "Authorization: Bearer ", ASKS_INPUT, true},
    {"voyage/embedding", "/embeddings", "https://api.voyageai.com/v1", "Authorization: Bearer ", ASKS_LIST,
     true},
    {"azure/embedding", "/openai/deployments/%s/embeddings?api-version=2024-02-01", NULL,
     "api-key: ", ASKS_LIST, true},
    {"mistral/embedding", "/embeddings", "https://api.mistral.ai/v1", "Authorization: Bearer ", ASKS_LIST,
     true},
};

struct remote_embedder {
    const struct embedding_kind *kind;
    char *url, *model, *key;
    pthread_mutex_t mutex; /* one request at a time */
    uint32_t dimensions;   /* 0: not known yet */
    uint64_t per_second, left;
    int64_t second;
};

struct error *remote_embedder_new(const struct remote_options *options,
                                  struct remote_embedder **ret_embedder) {
    const struct embedding_kind *kind = NULL;
    for (size_t i = 0; i < COUNT(kinds); i++)
        if (strcmp(kinds[i].name, options->kind) == 0) kind = &kinds[i];
    if (!kind) return error_new(ERROR_INVALID_ARGUMENT, "%s is no kind of embedding model", options->kind);
    const char *endpoint = options->endpoint ? options->endpoint : kind->default_endpoint;
    if (!endpoint) return error_new(ERROR_INVALID_ARGUMENT, "%s needs an api_endpoint", kind->name);
    if (kind->needs_model && !options->model)
        return error_new(ERROR_INVALID_ARGUMENT, "%s needs a model_name", kind->name);
    struct span base = span_of(endpoint);
    while (base.size > 0 && base.data[base.size - 1] == '/') base.size--;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    struct remote_embedder *embedder = NEW(struct remote_embedder);
    embedder->kind = kind;
    embedder->model = mem_string(options->model);
    embedder->key = options->api_key ? mem_printf("%s%s", kind->key_header, options->api_key) : NULL;
    const char *mark = strstr(kind->path, "%s");
    char *model = mark ? curl_easy_escape(NULL, options->model, 0) : NULL;
    embedder->url = mark ? mem_printf(SPAN_FORMAT "%.*s%s%s", SPAN_ARGS(base), (int)(mark - kind->path),
                                      kind->path, model, mark + 2)
                         : mem_printf(SPAN_FORMAT "%s", SPAN_ARGS(base), kind->path);
    curl_free(model);
    uint64_t limit = options->requests_per_minute;
    embedder->per_second = limit / 60 + (limit % 60 != 0);
    pthread_mutex_init(&embedder->mutex, NULL);
    *ret_embedder = embedder;
    return NULL;
}

void remote_embedder_free(struct remote_embedder *embedder) {
    if (!embedder) return;
    pthread_mutex_destroy(&embedder->mutex);
    free(embedder->url), free(embedder->model), free(embedder->key);
    free(embedder);
}

/* ---- asking ---- */

static char *body_of(const struct remote_embedder *embedder, struct span text) {
    scoped_json json_t *body = json_object();
    json_t *string = json_stringn(text.data ? text.data : "", text.size);
    if (!string) return NULL; /* no UTF-8 */
    if (embedder->kind->question == ASKS_CONTENT)
        json_object_set_new(body, "content", string);
    else
        json_object_set_new(body, "input",
                            embedder->kind->question == ASKS_LIST ? json_pack("[o]", string) : string);
    if (embedder->model && embedder->kind->question != ASKS_CONTENT)
        json_object_set_new(body, "model", json_string(embedder->model));
    return json_dumps(body, JSON_COMPACT);
}

static size_t on_bytes(char *data, size_t size, size_t count, void *owner) {
    struct text *answer = owner;
    if (answer->size + size * count > ANSWER_BYTES_MAX) return CURL_WRITEFUNC_ERROR;
    text_add(answer, (struct span){data, size * count});
    return size * count;
}

static void wait_for_turn(struct remote_embedder *embedder) {
    if (embedder->per_second == 0) return;
    for (;;) {
        int64_t now_ms = clock_monotonic_ms();
        if (now_ms / 1000 != embedder->second) {
            embedder->second = now_ms / 1000;
            embedder->left = embedder->per_second;
        }
        if (embedder->left > 0) break;
        struct timespec rest = {.tv_nsec = (1000 - now_ms % 1000) * 1000000};
        if (rest.tv_nsec >= 1000000000) rest = (struct timespec){.tv_sec = 1};
        nanosleep(&rest, NULL);
    }
    embedder->left--;
}

static struct error *ask(struct remote_embedder *embedder, const char *body, struct text *answer) {
    char said[CURL_ERROR_SIZE] = "";
    long status = 0;
    CURL *easy = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    headers = curl_slist_append(headers, "Expect:");
    if (embedder->key) headers = curl_slist_append(headers, embedder->key);
    curl_easy_setopt(easy, CURLOPT_URL, embedder->url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, said);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, TIMEOUT_S);
    CURLcode code = curl_easy_perform(easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(easy);
    curl_slist_free_all(headers);
    if (code != CURLE_OK)
        return error_new(ERROR_UNAVAILABLE, "%s: %s", embedder->kind->name,
                         said[0] ? said : curl_easy_strerror(code));
    struct span words = span_trim(text_span(answer));
    if (status == 200) return NULL;
    return error_new(status == 429 ? ERROR_RESOURCE_EXHAUSTED : ERROR_UNAVAILABLE,
                     "%s: the server answered %ld: %.*s", embedder->kind->name, status,
                     (int)(words.size < 300 ? words.size : 300), words.data ? words.data : "");
}

/* Each server has its own way to wrap one list of numbers. */
json_t *remote_vector_in(json_t *root) {
    json_t *at = root;
    for (int depth = 0; depth < 6 && at; depth++) {
        if (json_is_array(at) && json_is_number(json_array_get(at, 0))) return at;
        if (json_is_array(at)) {
            at = json_array_get(at, 0);
            continue;
        }
        json_t *data = json_object_get(at, "data"), *many = json_object_get(at, "embeddings");
        at = data ? data : many ? many : json_object_get(at, "embedding");
    }
    return NULL;
}

static struct error *run(struct remote_embedder *embedder, struct span text, float *out) {
    scoped_text struct text answer = {0};
    scoped_string char *body = body_of(embedder, text);
    if (!body) return error_new(ERROR_INVALID_ARGUMENT, "the text is no UTF-8");
    wait_for_turn(embedder);
    TRY_PLAIN(ask(embedder, body, &answer));
    scoped_json json_t *root = json_loadb(answer.data ? answer.data : "", answer.size, JSON_DECODE_ANY, NULL);
    json_t *numbers = remote_vector_in(root);
    size_t count = json_array_size(numbers);
    if (count == 0 || count > DIMENSIONS_MAX)
        return error_new(ERROR_UNAVAILABLE, "%s: the server's answer has no vector", embedder->kind->name);
    if (embedder->dimensions == 0) embedder->dimensions = (uint32_t)count;
    if (embedder->dimensions != count)
        return error_new(ERROR_UNAVAILABLE, "%s: a vector of %zu numbers, and others had %u",
                         embedder->kind->name, count, embedder->dimensions);
    for (size_t i = 0; out && i < count; i++) out[i] = (float)json_number_value(json_array_get(numbers, i));
    return NULL;
}

struct error *remote_embedder_run(struct remote_embedder *embedder, struct span text, float *out) {
    pthread_mutex_lock(&embedder->mutex);
    struct error *error = run(embedder, text, out);
    pthread_mutex_unlock(&embedder->mutex);
    return error;
}

struct error *remote_embedder_dimensions(struct remote_embedder *embedder, uint32_t *ret_dimensions) {
    pthread_mutex_lock(&embedder->mutex);
    struct error *error = embedder->dimensions ? NULL : run(embedder, SPAN("dimensions"), NULL);
    *ret_dimensions = embedder->dimensions;
    pthread_mutex_unlock(&embedder->mutex);
    return error;
}
