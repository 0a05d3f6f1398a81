/* A granted request on its way through a container's port.
 *
 * The head goes out with whatever of the body is there already; the rest follows as the client sends it. A
 * client that waits for 100 is left waiting until the app says 100, or a second has passed: some apps never
 * do. The answer comes back the same way; who is slow on either side stops the other (pause), so that no more
 * than two backlogs are ever held. After 101 both are pipes.
 *
 * Ends: the answer is whole (the connection is kept if both mean it); the app's end comes too early (see
 * request_broke, or once more on a new connection if it was a kept one that gave no byte of an answer); the
 * client leaves (request_cancel). */
#include "inside.h"

#define CONTINUE_MS 1000
#define LINGER_MS 5000 /* for an app to close a pipe that its client closed */

static bool is_idempotent(struct span method) {
    static const char *const methods[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"};
    for (size_t i = 0; i < COUNT(methods); i++)
        if (span_is(method, methods[i])) return true;
    return false;
}

static bool replayable(const struct request *request) {
    const struct http_head *head = http_exchange_head(request->exchange);
    return !request->body_started && !request->upgraded && is_idempotent(head->method);
}

static void on_body(struct http_exchange *exchange, struct span bytes) {
    struct request *request = http_exchange_owner(exchange);
    uint64_t limit = request->gateway->body_bytes;
    request->body_bytes += bytes.size;
    if (limit > 0 && request->body_bytes > limit && !request->upgraded) {
        if (request->begun) {
            http_respond_abort(exchange);
        } else {
            answer_refusal(exchange, &(struct refusal){413, "OUT_OF_RANGE", "BODY_TOO_LARGE",
                                                       "the body is over the limit", 0});
        }
        request_end(request);
        return;
    }
    if (!request->upstream) return; /* it ended; what the client still sends falls away */
    if (!http_link_write(request->upstream->link, bytes)) http_exchange_pause(exchange, true);
}

static void on_body_end(struct http_exchange *exchange, struct error *error) {
    struct request *request = http_exchange_owner(exchange);
    request->body_ended = true;
    if (request->upgraded && request->upstream) {
        /* The client closed its end of the pipe; its last bytes are still to be delivered, and the app's
         * answer to them is the end. */
        error_free(error);
        http_link_finish(request->upstream->link, NULL, 0);
        request_timer(request, TIMER_LINGER, LINGER_MS);
    } else if (error) {
        if (request->begun) {
            error_free(error);
            http_respond_abort(exchange);
        } else {
            http_respond_error(exchange, error);
        }
        request_end(request);
    } else if (request->upstream) {
        size_t count;
        const struct http_field *trailers = http_exchange_trailers(exchange, &count);
        http_link_finish(request->upstream->link, trailers, count);
    }
}

void forward_body(struct request *request) {
    if (request->timer_use == TIMER_CONTINUE) request_timer(request, TIMER_UNUSED, 0);
    if (request->body_started) return;
    request->body_started = true;
    http_exchange_read(request->exchange, on_body, on_body_end);
}

static struct span origin_form(const struct http_exchange *exchange) {
    struct span target = http_exchange_target(exchange), path = http_exchange_path(exchange);
    if (target.data[0] == '/' || target.data[0] == '*') return target;
    struct span query = http_exchange_query(exchange);
    bool in_target = path.data >= target.data && path.data < target.data + target.size;
    if (!in_target) return path; /* "http://host": the path is "/", and of the room above */
    return (struct span){path.data, path.size + (query.size > 0 ? query.size + 1 : 0)};
}

static void on_drained(struct http_exchange *exchange) {
    struct request *request = http_exchange_owner(exchange);
    if (request->upstream) http_link_pause(request->upstream->link, false);
}

void forward_start(struct request *request) {
    struct http_exchange *exchange = request->exchange;
    const struct http_head *from = http_exchange_head(exchange);
    struct error *error = upstream_take(request, replayable(request), &request->upstream);
    if (error) {
        request_unreachable(request, error);
        return;
    }
    struct http_field fields[FIELDS_MAX];
    const struct http_head head = {
        .method = from->method,
        .target = origin_form(exchange),
        .fields = fields,
        .field_count = fields_upstream(exchange, fields),
        .length_bytes = from->length_bytes,
        .upgrade = from->upgrade,
    };
    http_link_request(request->upstream->link, &head);
    http_respond_on_drained(exchange, on_drained);
    if (from->length_bytes == 0) return;
    if (from->expect_continue && http_exchange_body_pending(exchange)) {
        request_timer(request, TIMER_CONTINUE, CONTINUE_MS);
    } else {
        forward_body(request);
    }
}

static void upgrade(struct request *request, const struct http_head *head) {
    request->upgraded = true;
    http_respond_upgrade(request->exchange, head);
    request->body_started = true;
    http_exchange_read(request->exchange, on_body, on_body_end);
}

/* A stream that was begun with comments can't become another answer; it says so in its own language. */
static bool continue_comments(struct request *request, const struct http_head *head) {
    struct span type = http_head_field(head, "content-type");
    if (head->status == 200 && type.data && span_starts(type, "text/event-stream")) return true;
    scoped_text struct text event = {0};
    text_printf(&event, "event: error\ndata: {\"error\":\"the app answered %d\",\"status\":%d}\n\n",
                head->status, head->status);
    http_respond_write(request->exchange, text_span(&event));
    http_respond_end(request->exchange);
    request_end(request);
    return false;
}

void forward_head(struct request *request, const struct http_head *head) {
    struct http_field fields[FIELDS_MAX];
    struct http_head out = *head;
    out.fields = fields;
    out.field_count = fields_downstream(head, fields);
    if (head->status == 101) {
        request->begun = true;
        upgrade(request, &out);
    } else if (head->status == 100) {
        if (!request->body_ended && http_exchange_head(request->exchange)->length_bytes != 0)
            forward_body(request);
    } else if (head->status < 200) {
        if (!request->commented) http_respond_interim(request->exchange, &out);
    } else {
        request->begun = true;
        if (request->timer_use != TIMER_UNUSED) request_timer(request, TIMER_UNUSED, 0);
        if (request->commented) {
            continue_comments(request, head);
            return;
        }
        http_respond_head(request->exchange, &out);
    }
}

void forward_data(struct request *request, struct span bytes) {
    if (!http_respond_write(request->exchange, bytes) && request->upstream)
        http_link_pause(request->upstream->link, true);
}

void forward_drained(struct request *request) {
    http_exchange_pause(request->exchange, false);
}

void forward_end(struct request *request, struct error *error) {
    struct upstream *upstream = request->upstream;
    bool kept_one = http_link_requests(upstream->link) > 1;
    if (error) {
        bool dead_before = kept_one && !http_link_answered(upstream->link) && replayable(request);
        upstream_free(take(request->upstream));
        if (dead_before) {
            error_free(error);
            request->gateway->counters.retried++;
            request->sent = true;
            forward_start(request); /* each such try uses up one kept connection */
        } else {
            request_broke(request, error);
        }
        return;
    }
    if (request->commented || request->upgraded) {
        http_respond_end(request->exchange);
    } else {
        size_t count;
        const struct http_field *trailers = http_link_trailers(upstream->link, &count);
        http_respond_end_trailers(request->exchange, trailers, count);
    }
    if (http_link_reusable(upstream->link)) {
        upstream_keep(take(request->upstream));
    }
    request_end(request);
}
