/* GET /subscriptions: GraphQL over a WebSocket, in both protocols that clients of Tabby know.
 *
 *   101 -> connection_init {authorization} -> connection_ack -> subscribe -> next ... complete
 *
 * The older protocol ("graphql-ws") has other names for the same. Queries and mutations are carried out too,
 * on another thread. A client that breaks the order is closed with the code that the protocol has for it; one
 * that says nothing for ten seconds, too. */
#include "accounts.h"

#include "resolve.h"
#include "talk.h"

#include <stdlib.h>

#define MESSAGE_BYTES_MAX (1u << 20)
#define RUNS_MAX 16
#define GREETING_MS 10000

enum code {
    CODE_NORMAL = 1000,
    CODE_GOING_AWAY = 1001,
    CODE_INVALID = 4400,
    CODE_UNAUTHORIZED = 4401,
    CODE_NO_GREETING = 4408,
    CODE_SAME_ID = 4409,
    CODE_SECOND_GREETING = 4429,
};

struct socket {
    struct list node;
    struct serve *serve;
    struct http_exchange *exchange; /* NULL: closed */
    struct http_socket_reader *reader;
    struct io_timer *greeting;
    bool is_old, greeted;
    char *token; /* NULL: none */
    struct list runs;
    size_t run_count;
};

/* An operation: a query or mutation at work on another thread, or a subscription that talks. */
struct run {
    struct list node;
    struct graphql_subscription *subscription; /* NULL: a query or mutation */
    struct talk *talk;                         /* NULL: it ended */
    struct io_work work;
    struct socket *socket; /* NULL: nobody waits */
    struct serve *serve;
    const struct graphql_schema *schema;
    struct asker asker;
    char *id, *token;
    json_t *request, *answer;
    bool executed;
};

/* ---- sending ---- */

/* Who does not read is not listened to. */
static void write_out(struct socket *socket, struct span bytes) {
    if (!http_respond_write(socket->exchange, bytes)) http_exchange_pause(socket->exchange, true);
}

static void on_drained(struct http_exchange *exchange) {
    http_exchange_pause(exchange, false);
}

static void send_message(struct socket *socket, const char *type, const char *id, json_t *taken_payload) {
    scoped_json json_t *message = json_pack("{s:s}", "type", type);
    if (id) json_object_set_new(message, "id", json_string(id));
    if (taken_payload) json_object_set_new(message, "payload", taken_payload);
    if (!socket->exchange) return;
    scoped_string char *text = json_dumps(message, JSON_COMPACT);
    scoped_text struct text out = {0};
    http_socket_frame(&out, HTTP_SOCKET_TEXT, span_of(text));
    write_out(socket, text_span(&out));
}

static void run_free(struct run *run) {
    graphql_subscription_free(run->subscription);
    free(run->id);
    free(run->token);
    json_decref(run->request);
    json_decref(run->answer);
    free(run);
}

/* Nobody waits for it any more. A mutation that was begun is done all the same. */
static void forget(struct run *run) {
    list_remove(&run->node);
    run->socket->run_count--;
    run->socket = NULL;
    if (!run->subscription) return;
    if (run->talk) talk_cancel(run->talk);
    run_free(run);
}

static void forget_runs(struct socket *socket) {
    LIST_EACH_SAFE(node, next, &socket->runs) forget(CONTAINER_OF(node, struct run, node));
}

static void socket_free(void *owner) {
    struct socket *socket = owner;
    http_socket_reader_free(socket->reader);
    io_timer_free(socket->greeting);
    free(socket->token);
    free(socket);
}

/* The reader may be in the middle of telling us something: what is left is freed in the next round. */
static void retire(struct socket *socket) {
    forget_runs(socket);
    list_remove(&socket->node);
    io_defer(socket->serve->loop, socket_free, socket);
}

static void close_socket(struct socket *socket, unsigned code, const char *reason) {
    struct http_exchange *exchange = take(socket->exchange);
    if (!exchange) return;
    scoped_text struct text out = {0};
    scoped_string char *data = mem_printf("%c%c%s", (char)(code >> 8), (char)code, reason);
    http_socket_frame(&out, HTTP_SOCKET_CLOSE, (struct span){data, 2 + strlen(reason)});
    http_exchange_on_gone(exchange, NULL);
    http_respond_write(exchange, text_span(&out));
    http_respond_end(exchange);
    retire(socket);
}

/* ---- operations ---- */

static void on_run(struct io_work *work) {
    struct run *run = CONTAINER_OF(work, struct run, work);
    const json_t *query = json_object_get(run->request, "query");
    struct graphql_request request = {
        .query = {json_string_value(query), json_string_length(query)},
        .operation = json_string_value(json_object_get(run->request, "operationName")),
        .variables = json_object_get(run->request, "variables"),
        .context = &run->asker,
    };
    if (run->token) run->asker.who = account_known_blocking(run->asker.account, span_of(run->token));
    run->answer = graphql_run(run->schema, &request, &run->executed);
}

static void tell_end(struct socket *socket, const char *id, json_t *taken_answer, bool executed) {
    if (executed) {
        send_message(socket, socket->is_old ? "data" : "next", id, taken_answer);
        send_message(socket, "complete", id, NULL);
        return;
    }
    json_t *errors = json_incref(json_object_get(taken_answer, "errors"));
    if (socket->is_old) { /* one error, not all */
        json_t *first = json_incref(json_array_get(errors, 0));
        json_decref(errors);
        errors = first;
    }
    json_decref(taken_answer);
    send_message(socket, "error", id, errors);
}

static void on_ran(struct io_work *work) {
    struct run *run = CONTAINER_OF(work, struct run, work);
    struct serve *serve = run->serve;
    struct socket *socket = run->socket;
    if (socket) {
        forget(run);
        tell_end(socket, run->id, take(run->answer), run->executed);
    }
    run_free(run);
    accounts_job_ended(serve);
}

static void add_run(struct socket *socket, struct run *run) {
    list_append(&socket->runs, &run->node);
    socket->run_count++;
}

static void start_run(struct socket *socket, const char *id, const json_t *request) {
    struct serve *serve = socket->serve;
    struct run *run = NEW(struct run);
    *run = (struct run){
        .work = {.work = on_run, .done = on_ran},
        .socket = socket,
        .serve = serve,
        .schema = serve->accounts->schema,
        .asker = {.account = serve->accounts->account,
                  .root = serve->places.root,
                  .models = serve->places.models,
                  .chat_enabled = rest_has_chat(serve),
                  .search = serve->search},
        .id = mem_string(id),
        .token = mem_string(socket->token),
        .request = json_deep_copy(request),
    };
    add_run(socket, run);
    accounts_job_began(serve);
    io_work_start(serve->loop, &run->work);
}

/* ---- talk ---- */

static void on_item(void *owner, json_t *item) {
    struct run *run = owner;
    send_message(run->socket, run->socket->is_old ? "data" : "next", run->id,
                 graphql_subscription_event(run->subscription, item));
}

static json_t *code_of(const struct error *error) {
    switch (error->code) {
    case ERROR_UNAUTHENTICATED: return json_pack("{s:s}", "code", "UNAUTHORIZED");
    case ERROR_PERMISSION_DENIED: return json_pack("{s:s}", "code", "FORBIDDEN");
    case ERROR_NOT_FOUND: return json_pack("{s:s}", "code", "NOT_FOUND");
    default: return NULL;
    }
}

static void on_end(void *owner, struct error *error) {
    struct run *run = owner;
    struct socket *socket = run->socket;
    run->talk = NULL;
    if (error) {
        json_t *code = code_of(error);
        send_message(socket, socket->is_old ? "data" : "next", run->id,
                     graphql_subscription_error(run->subscription, error, code));
    }
    send_message(socket, "complete", run->id, NULL);
    forget(run);
}

static struct error *may_talk(const struct serve *serve, const struct account_who *who) {
    if (who->user == 0) return error_new(ERROR_UNAUTHENTICATED, "You're not logged in");
    if (rest_has_chat(serve)) return NULL;
    return error_new(ERROR_FAILED_PRECONDITION, "There is no chat model: start the server with --chat-model");
}

static void start_talk(struct socket *socket, const char *id,
                       struct graphql_subscription *taken_subscription) {
    struct serve *serve = socket->serve;
    struct account_who who = {0};
    struct run *run = NEW(struct run);
    *run = (struct run){.subscription = taken_subscription, .socket = socket, .id = mem_string(id)};
    add_run(socket, run);
    if (socket->token) who = account_known(serve->accounts->account, span_of(socket->token));
    struct error *error = may_talk(serve, &who);
    if (error) return on_end(run, error);
    const struct talk_options options = {
        .user = who.user,
        .is_new = span_is(graphql_subscription_field(taken_subscription), "createThreadAndRun"),
        .arguments = graphql_subscription_arguments(taken_subscription),
        .events = {.item = on_item, .end = on_end, .owner = run},
    };
    run->talk = talk_start(serve, &options);
}

/* ---- messages ---- */

static bool is_running(const struct socket *socket, const char *id) {
    LIST_EACH(node, &socket->runs)
    if (strcmp(CONTAINER_OF(node, struct run, node)->id, id) == 0) return true;
    return false;
}

static void subscribe(struct socket *socket, const char *id, const json_t *payload) {
    const json_t *query = json_object_get(payload, "query");
    struct graphql_request request = {
        .query = {json_string_value(query), json_string_length(query)},
        .operation = json_string_value(json_object_get(payload, "operationName")),
        .variables = json_object_get(payload, "variables"),
    };
    scoped(graphql_subscription) struct graphql_subscription *subscription = NULL;
    json_t *errors = NULL;
    if (!id || !json_is_string(query)) return close_socket(socket, CODE_INVALID, "Invalid message");
    if (is_running(socket, id)) {
        scoped_string char *reason = mem_printf("Subscriber for %.60s already exists", id);
        return close_socket(socket, CODE_SAME_ID, reason);
    }
    graphql_subscribe(socket->serve->accounts->schema, &request, &subscription, &errors);
    if (errors) return tell_end(socket, id, errors, false);
    if (socket->run_count >= RUNS_MAX)
        return close_socket(socket, CODE_INVALID, "Too many operations at once");
    if (!subscription && socket->serve->accounts->jobs >= JOBS_MAX)
        return tell_end(socket, id,
                        json_pack("{s:[{s:s}]}", "errors", "message",
                                  "Too many queries are being worked on; ask again in a moment"),
                        false);
    if (subscription)
        start_talk(socket, id, take(subscription));
    else
        start_run(socket, id, payload);
}

static void greet(struct socket *socket, const json_t *payload) {
    if (socket->greeted)
        return close_socket(socket, CODE_SECOND_GREETING, "Too many initialisation requests");
    struct span rest = span_of(json_string_value(json_object_get(payload, "authorization")));
    struct span scheme = span_cut(&rest, ' ');
    if (span_is(scheme, "Bearer") && rest.data) socket->token = span_string(rest);
    socket->greeted = true;
    io_timer_stop(socket->greeting);
    send_message(socket, "connection_ack", NULL, NULL);
}

static void stop_run(struct socket *socket, const char *id) {
    LIST_EACH_SAFE(node, next, &socket->runs) {
        struct run *run = CONTAINER_OF(node, struct run, node);
        if (id && strcmp(run->id, id) == 0) forget(run);
    }
}

static void on_text(struct socket *socket, struct span text) {
    scoped_json json_t *message = json_loadb(text.data ? text.data : "", text.size, 0, NULL);
    const char *type = json_string_value(json_object_get(message, "type"));
    const char *id = json_string_value(json_object_get(message, "id"));
    const json_t *payload = json_object_get(message, "payload");
    struct span kind = span_of(type);
    if (!type) return close_socket(socket, CODE_INVALID, "Invalid message");
    if (span_is(kind, "connection_init")) return greet(socket, payload);
    if (!socket->is_old && span_is(kind, "ping")) return send_message(socket, "pong", NULL, NULL);
    if (!socket->is_old && span_is(kind, "pong")) return;
    if (socket->is_old && span_is(kind, "connection_terminate")) return close_socket(socket, CODE_NORMAL, "");
    if (!socket->greeted) return close_socket(socket, CODE_UNAUTHORIZED, "Unauthorized");
    if (span_is(kind, socket->is_old ? "start" : "subscribe")) return subscribe(socket, id, payload);
    if (span_is(kind, socket->is_old ? "stop" : "complete")) return stop_run(socket, id);
    close_socket(socket, CODE_INVALID, "Invalid message");
}

static void on_event(void *owner, enum http_socket_event event, struct span data) {
    struct socket *socket = owner;
    scoped_text struct text out = {0};
    if (!socket->exchange) return; /* closed by an earlier one of the same bytes */
    if (event == HTTP_SOCKET_TEXT) return on_text(socket, data);
    if (event == HTTP_SOCKET_BYTES) return close_socket(socket, CODE_INVALID, "Invalid message");
    if (event == HTTP_SOCKET_CLOSE) return close_socket(socket, CODE_NORMAL, "");
    if (event != HTTP_SOCKET_PING) return;
    http_socket_frame(&out, HTTP_SOCKET_PONG, data);
    write_out(socket, text_span(&out));
}

static void on_bytes(struct http_exchange *exchange, struct span bytes) {
    struct socket *socket = http_exchange_owner(exchange);
    unsigned code = 1002;
    scoped(error) struct error *error = http_socket_read(socket->reader, bytes, &code);
    if (error) close_socket(socket, code, "");
}

static void on_gone(struct http_exchange *exchange) {
    struct socket *socket = http_exchange_owner(exchange);
    socket->exchange = NULL;
    http_exchange_release(exchange);
    retire(socket);
}

static void on_left(struct http_exchange *exchange, struct error *taken_error) {
    struct socket *socket = http_exchange_owner(exchange);
    error_free(taken_error);
    close_socket(socket, CODE_NORMAL, "");
}

static void on_silence(void *owner) {
    close_socket(owner, CODE_NO_GREETING, "Connection initialisation timeout");
}

/* ---- the handshake ---- */

static void refuse_handshake(struct http_exchange *exchange, int status, const char *why) {
    const char *const fields[] = {"content-type", "text/plain; charset=utf-8", "sec-websocket-version", "13",
                                  NULL};
    http_respond(exchange, status, fields, span_of(why));
}

static const char *protocol_of(const struct http_head *head) {
    static const char *const known[] = {"graphql-transport-ws", "graphql-ws"};
    for (size_t i = 0; i < COUNT(known); i++)
        if (http_head_lists(head, "sec-websocket-protocol", known[i])) return known[i];
    return NULL;
}

void subscriptions_answer(struct serve *serve, struct http_exchange *exchange) {
    const struct http_head *head = http_exchange_head(exchange);
    struct span key = http_exchange_header(exchange, "sec-websocket-key");
    if (!head->upgrade || !http_head_lists(head, "upgrade", "websocket"))
        return refuse_handshake(exchange, 426, "This address speaks WebSocket\n");
    if (!span_is(http_exchange_header(exchange, "sec-websocket-version"), "13") || key.size != 24)
        return refuse_handshake(exchange, 400, "No WebSocket handshake of version 13\n");
    const char *protocol = protocol_of(head);
    scoped_string char *accept = http_socket_accept(key);
    struct socket *socket = NEW(struct socket);
    *socket = (struct socket){
        .serve = serve, .exchange = exchange, .is_old = protocol && strcmp(protocol, "graphql-ws") == 0};
    list_init(&socket->runs);
    list_append(&serve->accounts->sockets, &socket->node);
    socket->reader = http_socket_reader_new(MESSAGE_BYTES_MAX, on_event, socket);
    socket->greeting = io_timer_new(serve->loop, on_silence, socket);
    io_timer_arm(socket->greeting, GREETING_MS);
    const struct http_field fields[] = {{SPAN("Upgrade"), SPAN("websocket")},
                                        {SPAN("Sec-WebSocket-Accept"), span_of(accept)},
                                        {SPAN("Sec-WebSocket-Protocol"), span_of(protocol)}};
    const struct http_head answer = {
        .status = 101, .fields = fields, .field_count = protocol ? 3 : 2, .upgrade = true};
    http_exchange_owner_set(exchange, socket);
    http_exchange_on_gone(exchange, on_gone);
    http_respond_upgrade(exchange, &answer);
    http_respond_on_drained(exchange, on_drained);
    http_exchange_read(exchange, on_bytes, on_left);
}

void subscriptions_close(struct serve *serve) {
    LIST_EACH_SAFE(node, next, &serve->accounts->sockets)
    close_socket(CONTAINER_OF(node, struct socket, node), CODE_GOING_AWAY, "The server ends");
}
