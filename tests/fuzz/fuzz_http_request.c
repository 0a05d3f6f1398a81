/* Requests through the real server, behind a socket. Whatever comes:
 *
 * - the same requests are seen, and the same statuses answered, all bytes at once or in any pieces;
 * - what passes is unambiguous: one framing, one Host, names that are tokens, no stray line ends;
 * - carried on by a link to a second server, as the gateway does, each whole request arrives there as the
 * same single request, and one that is not whole never does. */
#include "pipe.h"
#include "server.h"

struct message { /* a request while it is read */
    struct text head, body;
    struct run *run;
    struct http_exchange *exchange;
    bool relayed, raw;
};
struct run {
    struct pipe_end pipe;
    struct text seen;             /* all that the first server told of */
    struct text whole, delivered; /* requests that were whole, here and behind the link */
    bool relays;
    struct http_link *link;
    struct message *waiting; /* for the answer of the link */
};
static struct io_loop *loop;
static struct http_server *front, *back;
static struct http_client *client;
static struct run *now; /* one at a time */

static bool is_token(struct span name) {
    for (size_t i = 0; i < name.size; i++)
        if (name.data[i] <= ' ' || name.data[i] >= 127 || strchr("\"(),/:;<=>?@[\\]{}", name.data[i]))
            return false;
    return name.size > 0;
}

static bool has_line_end(struct span value) {
    return value.size > 0 && (memchr(value.data, '\r', value.size) || memchr(value.data, '\n', value.size) ||
                              memchr(value.data, '\0', value.size));
}

/* What two readers could take in two ways must not have passed. */
static void check_head(const struct http_head *head) {
    size_t lengths = 0, encodings = 0, hosts = 0;
    for (size_t i = 0; i < head->field_count; i++) {
        struct span name = head->fields[i].name, value = head->fields[i].value;
        uint64_t number;
        if (!is_token(name) || has_line_end(value)) abort();
        if (span_is_nocase(name, "host")) hosts++;
        if (span_is_nocase(name, "content-length")) {
            lengths++;
            if (!span_to_u64(value, &number) || (int64_t)number != head->length_bytes) abort();
        }
        if (span_is_nocase(name, "transfer-encoding")) {
            encodings++;
            if (!span_is_nocase(value, "chunked") || head->length_bytes != HTTP_CHUNKED) abort();
        }
    }
    if (lengths + encodings > 1 || hosts > 1 || (hosts == 0 && head->minor > 0)) abort();
    if (lengths + encodings == 0 && head->length_bytes != 0) abort();
    if (head->minor == 0 && encodings > 0) abort();
    for (size_t i = 0; i < head->target.size; i++)
        if ((unsigned char)head->target.data[i] <= ' ' || head->target.data[i] == 127) abort();
    if (!is_token(head->method) || head->target.size == 0) abort();
}

static void add_fields(struct text *text, const struct http_field *fields, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (head_is_framing(fields[i].name)) continue;
        text_printf(text, SPAN_FORMAT ": ", SPAN_ARGS(fields[i].name));
        text_add(text, fields[i].value);
        text_add_char(text, '\n');
    }
}

static struct message *message_new(struct http_exchange *exchange) {
    struct message *message = NEW(struct message);
    const struct http_head *head = http_exchange_head(exchange);
    check_head(head);
    message->run = now;
    message->exchange = exchange;
    text_printf(&message->head, SPAN_FORMAT " " SPAN_FORMAT "\n", SPAN_ARGS(head->method),
                SPAN_ARGS(head->target));
    add_fields(&message->head, head->fields, head->field_count);
    http_exchange_owner_set(exchange, message);
    now->pipe.moved++;
    return message;
}

static void message_free(struct message *message) {
    text_done(&message->head);
    text_done(&message->body);
    if (message->run->waiting == message) message->run->waiting = NULL;
    free(message);
}

static void add_whole(struct text *text, struct message *message) {
    size_t count;
    const struct http_field *trailers = http_exchange_trailers(message->exchange, &count);
    text_add(text, text_span(&message->head));
    text_printf(text, "%zu bytes: ", message->body.size);
    text_add(text, text_span(&message->body));
    text_add_char(text, '\n');
    add_fields(text, trailers, count);
    text_add_char(text, '\n');
}

static void answer(struct message *message) {
    struct http_exchange *exchange = message->exchange;
    message_free(message);
    http_respond(exchange, 200, NULL, SPAN("ok\n"));
}

/* ---- the second server ---- */

static void on_back_data(struct http_exchange *exchange, struct span bytes) {
    struct message *message = http_exchange_owner(exchange);
    text_add(&message->body, bytes);
    message->run->pipe.moved++;
}

static void on_back_end(struct http_exchange *exchange, struct error *error) {
    struct message *message = http_exchange_owner(exchange);
    if (error) abort(); /* what the link writes is well formed */
    add_whole(&message->run->delivered, message);
    answer(message);
}

static void on_back_gone(struct http_exchange *exchange) {
    message_free(http_exchange_owner(exchange));
    http_exchange_release(exchange);
}

static void on_back_request(void *owner, struct http_exchange *exchange) {
    (void)owner;
    message_new(exchange);
    http_exchange_on_gone(exchange, on_back_gone);
    http_exchange_read(exchange, on_back_data, on_back_end);
}

/* ---- the link between them ---- */

static void on_link_head(void *owner, struct http_link *link, const struct http_head *head) {
    (void)link;
    ((struct run *)owner)->pipe.moved++;
    if (head->status != 200 && head->status != 100) abort();
}

static void on_link_data(void *owner, struct http_link *link, struct span bytes) {
    (void)link;
    (void)bytes;
    ((struct run *)owner)->pipe.moved++;
}

static void on_link_end(void *owner, struct http_link *link, struct error *error) {
    struct run *run = owner;
    run->pipe.moved++;
    if (error || !run->waiting || !http_link_reusable(link)) abort();
    answer(take(run->waiting));
}

static void on_link_lost(void *owner, struct http_link *link) {
    (void)owner;
    (void)link;
    abort(); /* the second server keeps its connections */
}

static const struct http_link_events link_events = {
    .head = on_link_head, .data = on_link_data, .end = on_link_end, .lost = on_link_lost};

static void relay(struct run *run, struct message *message) {
    const struct http_head *head = http_exchange_head(message->exchange);
    if (!run->link) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) abort();
        struct error *error = http_link_new(client, pair[0], &link_events, &run->link);
        if (error) abort();
        http_link_owner_set(run->link, run);
        connection_open(back, pair[1], NULL, NULL, "unix");
    }
    struct http_head out = *head;
    out.upgrade = false;
    message->relayed = true;
    http_link_request(run->link, &out);
}

/* ---- the first server ---- */

static void on_data(struct http_exchange *exchange, struct span bytes) {
    struct message *message = http_exchange_owner(exchange);
    text_add(&message->body, bytes);
    message->run->pipe.moved++;
    if (message->relayed) http_link_write(message->run->link, bytes);
}

static void on_end(struct http_exchange *exchange, struct error *error) {
    struct message *message = http_exchange_owner(exchange);
    struct run *run = message->run;
    run->pipe.moved++;
    if (error) { /* trailers that are none; the link never hears of an end */
        text_add_string(&run->seen, "broken\n");
        http_link_free(message->relayed ? take(run->link) : NULL);
        message_free(message);
        http_respond_error(exchange, error);
        return;
    }
    add_whole(&run->seen, message);
    if (message->raw) {
        message_free(message);
        http_respond_end(exchange);
    } else if (message->relayed) {
        size_t count;
        const struct http_field *trailers = http_exchange_trailers(exchange, &count);
        add_whole(&run->whole, message);
        run->waiting = message;
        http_link_finish(run->link, trailers, count);
    } else {
        answer(message);
    }
}

static void on_gone(struct http_exchange *exchange) {
    struct message *message = http_exchange_owner(exchange);
    struct run *run = message->run;
    run->pipe.moved++;
    text_add(&run->seen, text_span(&message->head));
    text_printf(&run->seen, "gone after %zu bytes: ", message->body.size);
    text_add(&run->seen, text_span(&message->body));
    text_add_char(&run->seen, '\n');
    http_link_free(message->relayed ? take(run->link) : NULL);
    message_free(message);
    http_exchange_release(exchange);
}

static void on_request(void *owner, struct http_exchange *exchange) {
    (void)owner;
    struct message *message = message_new(exchange);
    const struct http_head *head = http_exchange_head(exchange);
    http_exchange_on_gone(exchange, on_gone);
    if (head->upgrade && span_is(head->method, "GET") && head->length_bytes == 0) {
        message->raw = true;
        http_respond_upgrade(exchange, &(struct http_head){0});
    } else if (now->relays && head->minor > 0) {
        relay(now, message);
    }
    http_exchange_read(exchange, on_data, on_end);
}

/* The statuses of what was answered, but for 100: whether that is needed depends on how fast the body comes.
 */
static void statuses(const struct text *got, struct text *ret_text) {
    const char *at = got->data;
    while (at && (at = strstr(at, "HTTP/1."))) {
        if (strncmp(at + 8, " 100 ", 5) != 0) text_add(ret_text, (struct span){at + 8, 4});
        at += 8;
    }
}

static void live(struct run *run, struct span bytes, uint32_t *seed) {
    now = run;
    connection_open(front, pipe_open(&run->pipe, loop), NULL, NULL, "127.0.0.1:1");
    if (!seed) pipe_put(&run->pipe, bytes);
    while (seed && bytes.size > 0) pipe_put(&run->pipe, pipe_cut(&bytes, seed));
    pipe_close(&run->pipe);
    http_link_free(take(run->link));
    pipe_take(&run->pipe);
    if (http_server_connections(front) > 0 || run->waiting) abort(); /* all ends */
}

static void set_up(void) {
    struct http_limits limits = {.head_bytes = 4096};
    loop = io_loop_new();
    front = http_server_new(
        &(struct http_server_options){.loop = loop, .limits = limits, .on_request = on_request});
    limits.head_bytes = 8192; /* what is written is a little longer than what was read */
    back = http_server_new(
        &(struct http_server_options){.loop = loop, .limits = limits, .on_request = on_back_request});
    client = http_client_new(&(struct http_client_options){.loop = loop});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    if (!loop) set_up();
    uint32_t seed = 1;
    for (size_t i = 0; i < size_bytes && i < 64; i++) seed = seed * 31 + data[i];
    struct span bytes = {(const char *)data, size_bytes};
    struct run whole = {.relays = true}, pieces = {0};
    scoped_text struct text told = {0}, told_in_pieces = {0};
    live(&whole, bytes, NULL);
    live(&pieces, bytes, &seed);
    statuses(&whole.pipe.got, &told);
    statuses(&pieces.pipe.got, &told_in_pieces);
    if (!text_same(&whole.seen, &pieces.seen)) abort();
    if (!text_same(&told, &told_in_pieces)) abort();
    if (!text_same(&whole.whole, &whole.delivered)) abort();
    struct text *texts[] = {&whole.seen,  &whole.whole,  &whole.delivered,  &whole.pipe.got,
                            &pieces.seen, &pieces.whole, &pieces.delivered, &pieces.pipe.got};
    for (size_t i = 0; i < COUNT(texts); i++) text_done(texts[i]);
    return 0;
}
