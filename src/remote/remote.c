/* One model on another server, and its calls.
 *
 *   asked -> (waits while the minute is full) -> sent -> lines as they come -> end
 * Ends otherwise: no connection, a status that is not 200 (with the server's own words), a line that is no
 * JSON, silence, cancelled. Each ends in `done`, once, never from inside the call that began it. */
#include "inside.h"

#include <stdlib.h>

#define CONNECT_TIMEOUT_S 10L
#define SILENCE_S 120L
#define WHOLE_BYTES_MAX (16u << 20)

struct remote {
    struct io_loop *loop;
    struct transfers *transfers;
    const struct kind *kind;
    char *url, *api_key, *model;
    struct list calls, waiting;
    struct io_timer *refill;
    uint64_t per_second, left; /* requests */
};

struct remote_call {
    struct list node;
    struct remote *remote;
    CURL *easy; /* NULL: not sent yet */
    struct curl_slist *headers;
    char *body, said[CURL_ERROR_SIZE];
    struct text line;
    struct error *error;
    struct io_timer *later; /* NULL until it is cancelled: `done` comes in the next round */
    bool stream, enough, cancelled;
    bool (*text)(void *owner, struct span utf8);
    void (*json)(void *owner, const json_t *json);
    void (*done)(void *owner, struct error *error);
    void *owner;
};

static void call_free(struct remote_call *call) {
    list_remove(&call->node);
    io_timer_free(call->later);
    if (call->easy) curl_easy_cleanup(call->easy);
    curl_slist_free_all(call->headers);
    free(call->body);
    text_done(&call->line);
    error_free(call->error);
    free(call);
}

static void finish(struct remote_call *call, struct error *taken_error) {
    call->done(call->owner, taken_error);
    call_free(call);
}

static long status_of(const struct remote_call *call) {
    long status = 0;
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

/* ---- what comes ---- */

static void take_line(struct remote_call *call, struct span line) {
    bool ends;
    scoped_json json_t *json = NULL;
    call->error = remote_line_json(call->remote->kind->shape, line, &json, &ends);
    if (call->error || (!json && !ends)) return;
    if (json && call->json) call->json(call->owner, json);
    if (json && call->text) {
        struct span text = remote_json_text(call->remote->kind->shape, json);
        if (text.size > 0 && !call->text(call->owner, text)) ends = true;
    }
    call->enough = ends && !call->json; /* a chat's stream may say more after its end: its own is the last */
}

static size_t on_bytes(char *data, size_t size, size_t count, void *owner) {
    struct remote_call *call = owner;
    size_t bytes = size * count, limit = call->stream ? LINE_BYTES_MAX : WHOLE_BYTES_MAX;
    if (call->cancelled) return CURL_WRITEFUNC_ERROR;
    if (status_of(call) != 200) { /* its own words, for the log */
        if (call->line.size < FAULT_BYTES_MAX) text_add(&call->line, (struct span){data, bytes});
        return bytes;
    }
    if (call->line.size + bytes > limit) {
        call->error =
            error_new(ERROR_INVALID_ARGUMENT, "the server's answer is longer than %zu bytes", limit);
        return CURL_WRITEFUNC_ERROR;
    }
    text_add(&call->line, (struct span){data, bytes});
    while (call->stream && !call->error && !call->enough) {
        const char *end = memchr(call->line.data, '\n', call->line.size);
        if (!end) break;
        size_t length = (size_t)(end - call->line.data);
        take_line(call, (struct span){call->line.data, length});
        text_remove_front(&call->line, length + 1);
    }
    return call->error || call->enough || call->cancelled ? CURL_WRITEFUNC_ERROR : bytes;
}

static struct error *whole_answer(struct remote_call *call) {
    scoped_json json_t *root = json_loadb(call->line.data ? call->line.data : "", call->line.size, 0, NULL);
    if (!json_is_object(root)) return error_new(ERROR_UNAVAILABLE, "the server's answer is no JSON object");
    call->json(call->owner, root);
    return NULL;
}

static struct error *how_it_ended(struct remote_call *call, CURLcode code) {
    const struct remote *remote = call->remote;
    if (call->cancelled) return error_new(ERROR_CANCELLED, "nobody waits for it any more");
    if (call->error) return error_wrap(take(call->error), "%s", remote->kind->name);
    if (call->enough) return NULL;
    if (code != CURLE_OK)
        return error_new(ERROR_UNAVAILABLE, "%s: %s", remote->kind->name,
                         call->said[0] ? call->said : curl_easy_strerror(code));
    long status = status_of(call);
    struct span words = span_trim(text_span(&call->line));
    if (status != 200)
        return error_new(status == 429 ? ERROR_RESOURCE_EXHAUSTED : ERROR_UNAVAILABLE,
                         "%s: the server answered %ld: %.*s", remote->kind->name, status,
                         (int)(words.size < 500 ? words.size : 500), words.data ? words.data : "");
    if (call->stream && words.size > 0) take_line(call, words); /* a last line without its end */
    if (call->error) return error_wrap(take(call->error), "%s", remote->kind->name);
    return call->stream ? NULL : whole_answer(call);
}

static void on_ended(void *owner, CURL *easy, CURLcode code) {
    struct remote_call *call = NULL;
    (void)owner;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&call);
    finish(call, how_it_ended(call, code));
}

/* ---- asking ---- */

static void transmit(struct remote_call *call) {
    const struct remote *remote = call->remote;
    CURL *easy = call->easy = curl_easy_init();
    call->headers = curl_slist_append(NULL, "Content-Type: application/json");
    call->headers = curl_slist_append(call->headers, "Expect:");
    if (remote->api_key) {
        scoped_string char *key = mem_printf("%s%s", remote->kind->key_header, remote->api_key);
        call->headers = curl_slist_append(call->headers, key);
    }
    curl_easy_setopt(easy, CURLOPT_URL, remote->url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->body);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, SILENCE_S);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->said);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "copycat");
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
    transfers_add(remote->transfers, easy);
}

static void on_refill(void *owner) {
    struct remote *remote = owner;
    remote->left = remote->per_second;
    while (remote->left > 0 && !list_empty(&remote->waiting)) {
        struct remote_call *call = CONTAINER_OF(remote->waiting.next, struct remote_call, node);
        list_remove(&call->node);
        list_append(&remote->calls, &call->node);
        remote->left--;
        transmit(call);
    }
    if (remote->left < remote->per_second) io_timer_arm(remote->refill, 1000);
}

static struct remote_call *begin(struct remote *remote, json_t *taken_body) {
    struct remote_call *call = NEW(struct remote_call);
    call->remote = remote;
    call->body = json_dumps(taken_body, JSON_COMPACT);
    json_decref(taken_body);
    if (!call->body) call->body = mem_string("{}");
    bool now = remote->left > 0;
    list_append(now ? &remote->calls : &remote->waiting, &call->node);
    if (!io_timer_armed(remote->refill)) io_timer_arm(remote->refill, 1000);
    if (now) remote->left--, transmit(call);
    return call;
}

struct remote_call *remote_complete(struct remote *remote, const struct remote_completion *ask) {
    struct remote_call *call = begin(remote, kind_completion_body(remote->kind, remote->model, ask));
    call->stream = true;
    call->text = ask->text;
    call->done = ask->done;
    call->owner = ask->owner;
    return call;
}

struct remote_call *remote_chat_start(struct remote *remote, const struct remote_chat *ask) {
    struct remote_call *call = begin(remote, kind_chat_body(remote->kind, remote->model, ask));
    call->stream = ask->stream;
    call->json = ask->json;
    call->done = ask->done;
    call->owner = ask->owner;
    return call;
}

static void on_cancelled(void *owner) {
    finish(owner, error_new(ERROR_CANCELLED, "nobody waits for it any more"));
}

void remote_cancel(struct remote_call *call) {
    if (call->cancelled) return;
    call->cancelled = true;
    if (call->easy) transfers_remove(call->remote->transfers, call->easy);
    call->later = io_timer_new(call->remote->loop, on_cancelled, call);
    io_timer_arm(call->later, 0);
}

/* ---- life ---- */

static char *escaped(const char *text) {
    char *made = curl_easy_escape(NULL, text, 0), *copy = mem_string(made ? made : text);
    curl_free(made);
    return copy;
}

static char *url_of(const struct kind *kind, const char *endpoint, const char *model) {
    size_t size = strlen(endpoint);
    while (size > 0 && endpoint[size - 1] == '/') size--;
    const char *place = strstr(kind->path, "%s");
    if (!place) return mem_printf("%.*s%s", (int)size, endpoint, kind->path);
    scoped_string char *name = escaped(model);
    return mem_printf("%.*s%.*s%s%s", (int)size, endpoint, (int)(place - kind->path), kind->path, name,
                      place + 2);
}

struct error *remote_new(const struct remote_options *options, struct remote **ret_remote) {
    const struct kind *kind = kind_find(options->kind);
    if (!kind) return error_new(ERROR_INVALID_ARGUMENT, "Unsupported model kind: %s", options->kind);
    const char *endpoint = options->endpoint ? options->endpoint : kind->default_endpoint,
               *model = options->model ? options->model : kind->default_model;
    if (!endpoint) return error_new(ERROR_INVALID_ARGUMENT, "%s: api_endpoint is required", kind->name);
    if (!model && kind->needs_model)
        return error_new(ERROR_INVALID_ARGUMENT, "%s: model_name is required", kind->name);
    if (strncmp(endpoint, "http://", 7) != 0 && strncmp(endpoint, "https://", 8) != 0)
        return error_new(ERROR_INVALID_ARGUMENT, "%s: api_endpoint is no http or https URL: %s", kind->name,
                         endpoint);
    struct remote *remote = NEW(struct remote);
    remote->loop = options->loop;
    remote->kind = kind;
    remote->url = url_of(kind, endpoint, model);
    remote->api_key = mem_string(options->api_key);
    remote->model = mem_string(model);
    remote->per_second = remote->left = (options->requests_per_minute + 59) / 60;
    if (remote->per_second == 0) remote->per_second = remote->left = 1;
    remote->refill = io_timer_new(options->loop, on_refill, remote);
    remote->transfers = transfers_new(options->loop, on_ended, remote);
    list_init(&remote->calls);
    list_init(&remote->waiting);
    *ret_remote = remote;
    return NULL;
}

static void cut(struct list *calls, struct transfers *transfers) {
    LIST_EACH_SAFE(node, next, calls) {
        struct remote_call *call = CONTAINER_OF(node, struct remote_call, node);
        if (call->easy && !call->cancelled) transfers_remove(transfers, call->easy);
        call_free(call);
    }
}

void remote_free(struct remote *remote) {
    if (!remote) return;
    cut(&remote->calls, remote->transfers);
    cut(&remote->waiting, remote->transfers);
    transfers_free(remote->transfers);
    io_timer_free(remote->refill);
    free(remote->url);
    free(remote->api_key);
    free(remote->model);
    free(remote);
}

bool remote_takes_parts(const struct remote *remote) {
    return remote->kind->takes_parts;
}
