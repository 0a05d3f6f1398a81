/* A connection to somebody who answers: see http.h, "client, streaming".
 *
 *   idle --request--> head --interim--> head            end: whole, and idle again, or over where either side
 * says so
 *                       |--final--> body --whole--> idle
 *                       `--101--> raw --closed--> over
 * Ends otherwise: the other side dies (UNAVAILABLE), sends what is no HTTP (INVALID_ARGUMENT), takes nothing
 * for too long (DEADLINE_EXCEEDED); in each case `end` tells, and the link is only good to be freed. */
#include "server.h"

#include <stdlib.h>
#include <sys/socket.h>

#define IDLE_READ 4096

enum link_state { LINK_IDLE, LINK_HEAD, LINK_BODY, LINK_RAW, LINK_OVER };
struct http_client {
    struct hub *hub;
    size_t head_bytes;
};
struct http_link {
    struct wire wire;
    const struct http_link_events *events;
    void *owner;
    enum link_state state;
    struct text pending;
    struct head_scan scan;
    struct body body;
    size_t head_limit_bytes;
    uint64_t requests;
    char method[24];
    bool chunked, finished; /* the request */
    bool shutting;          /* raw, and we have nothing more to send */
    bool upgrade, answered, keep_alive, paused, reusable;
    struct http_field *trailers;
    size_t trailer_count;
};

struct http_client *http_client_new(const struct http_client_options *options) {
    struct http_client *client = NEW(struct http_client);
    client->hub = options->server ? hub_ref(options->server->hub) : hub_new(options->loop);
    client->head_bytes = options->server ? options->server->limits.head_bytes : options->head_bytes;
    if (client->head_bytes == 0) client->head_bytes = 65536;
    return client;
}

void http_client_free(struct http_client *client) {
    if (!client) return;
    hub_unref(client->hub);
    free(client);
}

static void finish(struct http_link *link, struct error *error) {
    link->reusable =
        !error && link->state == LINK_BODY && link->finished && link->keep_alive && link->pending.size == 0;
    link->state = link->reusable ? LINK_IDLE : LINK_OVER;
    if (link->reusable) hub_wait_start(link->wire.hub, &link->wire.read_wait, WAIT_IDLE);
    link->events->end(link->owner, link, error);
}

static struct error *take_answer(struct http_link *link, struct span *bytes, bool *ret_more) {
    size_t size = 0;
    const char *why = NULL;
    size_t limit = link->head_limit_bytes;
    struct span within = {bytes->data, bytes->size < limit ? bytes->size : limit};
    enum head_state state = head_scan(&link->scan, within, &size, &why);
    if (state == HEAD_BROKEN) return error_new(ERROR_INVALID_ARGUMENT, "the answer is no HTTP: %s", why);
    if (state == HEAD_MORE && bytes->size > limit)
        return error_new(ERROR_INVALID_ARGUMENT, "the head of the answer is longer than %zu bytes", limit);
    *ret_more = state == HEAD_WHOLE;
    if (state == HEAD_MORE) return NULL;

    struct http_field fields[HEAD_FIELDS_MAX];
    struct http_head head;
    TRY(head_parse_answer((struct span){bytes->data, size}, span_of(link->method), fields, COUNT(fields),
                          &head),
        "the answer is no HTTP");
    bytes->data += size;
    bytes->size -= size;
    link->scan = (struct head_scan){0};
    if (head.status == 101) {
        if (!link->upgrade) return error_new(ERROR_INVALID_ARGUMENT, "an upgrade that nobody asked for");
        link->state = LINK_RAW;
        link->keep_alive = false;
    } else if (head.status >= 200) {
        link->state = LINK_BODY;
        link->keep_alive = head.keep_alive;
        body_start(&link->body, strcmp(link->method, "HEAD") == 0 || head.status == 204 || head.status == 304
                                    ? 0
                                    : head.length_bytes);
    }
    link->events->head(link->owner, link, &head);
    return NULL;
}

static struct error *take_trailers(struct http_link *link) {
    free(link->trailers);
    link->trailers = NULL;
    link->trailer_count = 0;
    if (link->body.trailer.size <= 2) return NULL;
    link->trailers = mem_new(HEAD_FIELDS_MAX * sizeof *link->trailers);
    return head_parse_trailers(text_span(&link->body.trailer), link->trailers, HEAD_FIELDS_MAX,
                               &link->trailer_count);
}

/* One step. False: bytes are needed, or a reader. */
static bool step(struct http_link *link, struct span *bytes) {
    struct error *error = NULL;
    struct span piece = {0};
    bool more = true;
    if (link->paused) return false;
    switch (link->state) {
    case LINK_HEAD:
        if (bytes->size == 0) return false;
        link->answered = true;
        error = take_answer(link, bytes, &more);
        break;
    case LINK_BODY:
        switch (body_take(&link->body, bytes, &piece)) {
        case BODY_MORE: return false;
        case BODY_PIECE: link->events->data(link->owner, link, piece); return true;
        case BODY_WHOLE:
            error = take_trailers(link);
            if (!error && bytes->size > 0)
                link->keep_alive = false; /* whatever this is, nobody asked for it */
            finish(link, error);
            return true;
        case BODY_BROKEN:
            error = error_new(ERROR_INVALID_ARGUMENT, "the chunks of the answer are broken");
            break;
        }
        break;
    case LINK_RAW:
        if (bytes->size == 0) return false;
        piece = *bytes;
        *bytes = (struct span){0};
        link->events->data(link->owner, link, piece);
        return true;
    case LINK_IDLE:
        if (bytes->size == 0) return false;
        link->state = LINK_OVER;
        link->events->lost(link->owner, link);
        return false;
    case LINK_OVER: *bytes = (struct span){0}; return false;
    }
    if (error) finish(link, error);
    return more && !error;
}

static struct span use(struct http_link *link, struct span bytes) {
    while (!link->wire.closed && step(link, &bytes)) continue;
    return link->wire.closed ? (struct span){0} : bytes;
}

static void process(struct http_link *link) {
    size_t before = link->pending.size;
    struct span left = use(link, text_span(&link->pending));
    if (link->wire.closed) return;
    text_remove_front(&link->pending, before - left.size);
    if (link->pending.size == 0) text_done(&link->pending);
    if (!link->paused) wire_want(&link->wire);
}

static size_t appetite(struct wire *wire) {
    const struct http_link *link = CONTAINER_OF(wire, struct http_link, wire);
    if (link->state == LINK_IDLE || link->state == LINK_OVER) return IDLE_READ;
    return link->paused ? 0 : HUB_SCRATCH_BYTES;
}

static bool hangup_ends(struct wire *wire) {
    (void)wire;
    return false; /* what was sent before the end is part of the answer */
}

static void on_bytes(struct wire *wire, struct span bytes) {
    struct http_link *link = CONTAINER_OF(wire, struct http_link, wire);
    if (link->pending.size > 0) {
        text_add(&link->pending, bytes);
        process(link);
        return;
    }
    struct span left = use(link, bytes);
    if (!wire->closed && left.size > 0) text_add(&link->pending, left);
}

static void on_resume(struct wire *wire) {
    process(CONTAINER_OF(wire, struct http_link, wire));
}

static void on_drained(struct wire *wire) {
    struct http_link *link = CONTAINER_OF(wire, struct http_link, wire);
    if (link->shutting && wire_backlog(wire) == 0) wire_shut(wire);
    if (link->events->drained) link->events->drained(link->owner, link);
}

static void on_ended(struct wire *wire, struct error *error) {
    struct http_link *link = CONTAINER_OF(wire, struct http_link, wire);
    enum link_state state = link->state;
    bool complete =
        !error && (state == LINK_RAW || (state == LINK_BODY && link->body.length_bytes == HTTP_UNTIL_CLOSE));
    if (state == LINK_IDLE) {
        error_free(error);
        link->state = LINK_OVER;
        link->events->lost(link->owner, link);
    } else if (state == LINK_OVER) {
        error_free(error);
    } else if (complete) {
        link->keep_alive = false;
        finish(link, NULL);
    } else {
        const char *when = link->answered ? "in the middle of its answer" : "before it answered";
        finish(link, error ? error_wrap(error, "the connection broke %s", when)
                           : error_new(ERROR_UNAVAILABLE, "the connection was closed %s", when));
    }
}

static void on_expired(struct hub_waiter *waiter, enum hub_wait kind) {
    (void)kind;
    struct http_link *link =
        CONTAINER_OF(CONTAINER_OF(waiter, struct wire, read_wait), struct http_link, wire);
    link->state = LINK_OVER;
    link->events->lost(link->owner, link);
}

static void on_freed(struct wire *wire) {
    struct http_link *link = CONTAINER_OF(wire, struct http_link, wire);
    text_done(&link->pending);
    body_done(&link->body);
    free(link->trailers);
    free(link);
}

static const struct wire_events events = {
    .appetite = appetite,
    .hangup_ends = hangup_ends,
    .bytes = on_bytes,
    .ended = on_ended,
    .resume = on_resume,
    .drained = on_drained,
    .freed = on_freed,
};

struct error *http_link_new(struct http_client *client, int fd, const struct http_link_events *told,
                            struct http_link **ret_link) {
    struct http_link *link = NEW(struct http_link);
    struct error *error = wire_open(&link->wire, client->hub, fd, NULL, &events);
    if (error) {
        free(link);
        return error;
    }
    link->events = told;
    link->wire.read_wait.expired = on_expired;
    link->head_limit_bytes = client->head_bytes;
    *ret_link = link;
    return NULL;
}

void http_link_owner_set(struct http_link *link, void *owner) {
    link->owner = owner;
}

void http_link_request(struct http_link *link, const struct http_head *head) {
    link->requests++;
    hub_wait_stop(&link->wire.read_wait);
    link->state = LINK_HEAD;
    link->scan = (struct head_scan){0};
    link->answered = link->reusable = link->paused = false;
    link->upgrade = head->upgrade;
    link->chunked = head->length_bytes == HTTP_CHUNKED;
    link->finished = head->length_bytes == 0;
    size_t method_size =
        head->method.size < sizeof link->method ? head->method.size : sizeof link->method - 1;
    memcpy(link->method, head->method.data, method_size);
    link->method[method_size] = '\0';

    struct text *out = wire_out(&link->wire);
    text_add(out, head->method);
    text_add_char(out, ' ');
    text_add(out, head->target);
    text_add(out, SPAN(" HTTP/1.1\r\n"));
    for (size_t i = 0; i < head->field_count; i++)
        if (!head_is_framing(head->fields[i].name))
            head_add_field(out, head->fields[i].name, head->fields[i].value);
    if (link->chunked) {
        text_add(out, SPAN("Transfer-Encoding: chunked\r\n"));
    } else if (head->length_bytes > 0 || span_is(head->method, "POST") || span_is(head->method, "PUT") ||
               span_is(head->method, "PATCH")) {
        text_printf(out, "Content-Length: %lld\r\n", (long long)head->length_bytes);
    }
    if (head->upgrade) text_add(out, SPAN("Connection: Upgrade\r\n"));
    text_add(out, SPAN("\r\n"));
}

bool http_link_write(struct http_link *link, struct span bytes) {
    if (bytes.size == 0 || link->state == LINK_OVER) return true;
    if (!link->chunked || link->state == LINK_RAW) return wire_write(&link->wire, bytes);
    body_add_chunk_size(wire_out(&link->wire), bytes.size);
    wire_write(&link->wire, bytes);
    return wire_write(&link->wire, SPAN("\r\n"));
}

void http_link_finish(struct http_link *link, const struct http_field *trailers, size_t count) {
    if ((link->finished && link->state != LINK_RAW) || link->state == LINK_OVER) return;
    link->finished = true;
    if (link->state == LINK_RAW) {
        link->shutting = true;
        wire_finish(&link->wire);
    }
    if (!link->chunked || link->state == LINK_RAW) return;
    struct text *out = wire_out(&link->wire);
    text_add(out, SPAN("0\r\n"));
    for (size_t i = 0; i < count; i++)
        if (!head_is_framing(trailers[i].name)) head_add_field(out, trailers[i].name, trailers[i].value);
    text_add(out, SPAN("\r\n"));
}

void http_link_pause(struct http_link *link, bool paused) {
    if (link->paused == paused) return;
    link->paused = paused;
    if (!paused) wire_resume(&link->wire);
}

const struct http_field *http_link_trailers(const struct http_link *link, size_t *ret_count) {
    *ret_count = link->trailer_count;
    return link->trailers;
}

bool http_link_answered(const struct http_link *link) {
    return link->answered;
}
bool http_link_reusable(const struct http_link *link) {
    return link->reusable;
}
uint64_t http_link_requests(const struct http_link *link) {
    return link->requests;
}

void http_link_free(struct http_link *link) {
    if (link) wire_close(&link->wire);
}
