/* One call of Modal's service: from bytes to a message and back, held calls, and answers that are given
 * twice.
 *
 * An idempotency key (a client's retries of one call repeat it) gets the answer that the first try got, so
 * that a retry after a lost answer does not do the work twice. The last REPLIES_MAX answers are kept for
 * that; one that comes before there is an answer waits for it. */
#include "inside.h"

#include "sandbox.h"

#include <stdio.h>
#include <stdlib.h>

#define REPLIES_MAX 4096
#define CLIENT_OLDEST 0, 60, 0
#define CLIENT_BEYOND 2, 0, 0 /* the first that is surely another protocol */
#define CLIENT_UNTRIED 1, 7, 0
#define CLIENT_NEWEST "1.6.4"
#define REPLY_BYTES_MAX 65536

struct reply {
    struct list node;
    char *key;
    struct text bytes;
};

/* ---- bytes ---- */

static void *in_arena(void *arena, size_t size) {
    return arena_alloc(arena, size ? size : 1);
}
static void out_of_arena(void *arena, void *memory) {
    (void)arena;
    (void)memory;
}

ProtobufCAllocator arena_allocator(struct arena *arena) {
    return (ProtobufCAllocator){in_arena, out_of_arena, arena};
}

struct arena *rpc_arena(struct rpc *rpc) {
    return grpc_call_arena(rpc->call);
}

char *arena_text(struct arena *arena, const char *string) {
    return string ? arena_string(arena, span_of(string)) : NULL;
}

struct text message_pack(const void *message) {
    struct text text = {0};
    size_t size = protobuf_c_message_get_packed_size(message);
    protobuf_c_message_pack(message, (uint8_t *)text_reserve(&text, size + 1));
    text.size = size;
    text.data[size] = 0;
    return text;
}

static bool varint(struct span *rest, uint64_t *ret) {
    *ret = 0;
    for (unsigned shift = 0; shift < 64 && rest->size > 0; shift += 7) {
        uint8_t byte = (uint8_t)*rest->data++;
        rest->size--;
        *ret |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return true;
    }
    return false;
}

struct span wire_field(struct span rest, uint32_t number) {
    struct span found = {0};
    uint64_t key, size;
    while (rest.size > 0 && varint(&rest, &key)) {
        switch (key & 7) {
        case 0:
            if (!varint(&rest, &size)) return found;
            continue;
        case 1: size = 8; break;
        case 5: size = 4; break;
        case 2:
            if (!varint(&rest, &size)) return found;
            break;
        default: return found;
        }
        if (size > rest.size) return found;
        if ((key & 7) == 2 && key >> 3 == number) found = (struct span){rest.data, (size_t)size};
        rest = (struct span){rest.data + size, rest.size - (size_t)size};
    }
    return found;
}

static void add_varint(struct text *out, uint64_t value) {
    while (value >= 0x80) {
        text_add_char(out, (char)(value | 0x80));
        value >>= 7;
    }
    text_add_char(out, (char)value);
}

void wire_add(struct text *out, uint32_t number, struct span bytes) {
    add_varint(out, (uint64_t)number << 3 | 2);
    add_varint(out, bytes.size);
    text_add(out, bytes);
}

void wire_add_number(struct text *out, uint32_t number, uint64_t value) {
    add_varint(out, (uint64_t)number << 3);
    add_varint(out, value);
}

const char *rpc_client_version(struct rpc *rpc) {
    struct span version = grpc_call_metadata(rpc->call, "x-modal-client-version");
    return arena_string(rpc_arena(rpc), version.data ? version : SPAN(""));
}

/* ---- answers that were given ---- */

static void reply_free(struct modal *modal, struct reply *reply) {
    map_remove(modal->reply_of, span_of(reply->key));
    list_remove(&reply->node);
    free(reply->key);
    text_done(&reply->bytes);
    free(reply);
}

void replies_free(struct modal *modal) {
    while (!list_empty(&modal->replies))
        reply_free(modal, CONTAINER_OF(modal->replies.next, struct reply, node));
    map_free(modal->reply_of);
    map_free(modal->under_way);
}

static void reply_keep(struct modal *modal, const char *once, struct span bytes) {
    if (!once || bytes.size > REPLY_BYTES_MAX || map_get(modal->reply_of, span_of(once))) return;
    if (map_count(modal->reply_of) >= REPLIES_MAX)
        reply_free(modal, CONTAINER_OF(modal->replies.next, struct reply, node));
    struct reply *reply = NEW(struct reply);
    reply->key = mem_string(once);
    text_add(&reply->bytes, bytes);
    list_append(&modal->replies, &reply->node);
    map_put(modal->reply_of, span_of(reply->key), reply);
}

void rpc_reply_restore(struct modal *modal, const char *once, const void *message) {
    scoped_text struct text bytes = message_pack(message);
    reply_keep(modal, once, text_span(&bytes));
}

static void once_set(struct rpc *rpc) {
    struct span key = grpc_call_metadata(rpc->call, "x-idempotency-key");
    if (!(rpc->method->flags & RPC_ONCE) || !key.data || key.size == 0 || key.size > 128) return;
    rpc->once = arena_printf(rpc_arena(rpc), "%s " SPAN_FORMAT, rpc->method->name, SPAN_ARGS(key));
}

/* Or is about to be: then it waits. */
static bool answered_before(struct rpc *rpc) {
    if (!rpc->once) return false;
    const struct reply *reply = map_get(rpc->modal->reply_of, span_of(rpc->once));
    if (reply) {
        grpc_call_answer(rpc->call, text_span(&reply->bytes));
        return true;
    }
    struct rpc *first = map_get(rpc->modal->under_way, span_of(rpc->once));
    if (first)
        rpc_hold(rpc, &first->twins, NULL, 0, NULL);
    else
        map_put(rpc->modal->under_way, span_of(rpc->once), rpc);
    return first != NULL;
}

/* ---- answering ---- */

static void let_go(struct rpc *rpc) {
    rpc->modal->last_call_ms = io_now_ms(rpc->modal->loop);
    if (rpc->held) rpc->modal->held_calls--;
    rpc->held = false;
    list_remove(&rpc->node);
    io_timer_free(take(rpc->timer));
}

/* Its twins end as it does. */
static void over(struct rpc *rpc, struct span answer, const struct error *error) {
    struct modal *modal = rpc->modal;
    let_go(rpc);
    if (rpc->once && map_get(modal->under_way, span_of(rpc->once)) == rpc)
        map_remove(modal->under_way, span_of(rpc->once));
    while (!list_empty(&rpc->twins)) {
        struct rpc *twin = CONTAINER_OF(rpc->twins.next, struct rpc, node);
        let_go(twin);
        if (error)
            grpc_call_end(twin->call, error_copy(error));
        else
            grpc_call_answer(twin->call, answer);
    }
}

static void answer_bytes(struct rpc *rpc, struct span bytes) {
    over(rpc, bytes, NULL);
    grpc_call_answer(rpc->call, bytes);
}

void rpc_answer(struct rpc *rpc, const void *message) {
    scoped_text struct text bytes = message_pack(message);
    reply_keep(rpc->modal, rpc->once, text_span(&bytes));
    answer_bytes(rpc, text_span(&bytes));
}

void rpc_answer_empty(struct rpc *rpc) {
    answer_bytes(rpc, SPAN(""));
}

void rpc_answer_kept(struct rpc *rpc, struct error *error) {
    if (error)
        rpc_fail(rpc, error);
    else
        rpc_answer_empty(rpc);
}

void rpc_fail(struct rpc *rpc, struct error *error) {
    over(rpc, (struct span){0}, error);
    grpc_call_end(rpc->call, error);
}

bool rpc_send(struct rpc *rpc, const void *message) {
    scoped_text struct text bytes = message_pack(message);
    return grpc_call_send(rpc->call, text_span(&bytes));
}

void rpc_end(struct rpc *rpc) {
    let_go(rpc);
    grpc_call_end(rpc->call, NULL);
}

/* ---- held calls ---- */

static void on_gone(struct grpc_call *call) {
    scoped(error) struct error *error = error_new(ERROR_UNAVAILABLE, "who asked the same before is gone");
    over(grpc_call_owner(call), (struct span){0}, error); /* they ask again */
    grpc_call_release(call);
}

void rpc_let_go(struct rpc *rpc) {
    let_go(rpc);
    grpc_call_on_cancelled(rpc->call, NULL);
}

static void on_expired(void *owner) {
    struct rpc *rpc = owner;
    rpc->expired(rpc);
}

void rpc_hold(struct rpc *rpc, struct list *list, void *owner, double hold_ms,
              void (*expired)(struct rpc *rpc)) {
    rpc->owner = owner;
    rpc->expired = expired;
    list_append(list, &rpc->node);
    if (!rpc->held) rpc->modal->held_calls++;
    rpc->held = true;
    grpc_call_on_cancelled(rpc->call, on_gone);
    if (!(hold_ms > 0) || !expired) return; /* also what is no number */
    rpc->timer = io_timer_new(rpc->modal->loop, on_expired, rpc);
    io_timer_arm(rpc->timer, hold_ms > 86400e3 ? 86400000 : (int64_t)hold_ms);
}

void rpc_hold_shorter(struct rpc *rpc, int64_t left_ms) {
    if (rpc->timer) io_timer_arm(rpc->timer, left_ms);
}

void rpc_held_end(struct list *list, enum error_code code, const char *text) {
    while (!list_empty(list))
        rpc_fail(CONTAINER_OF(list->next, struct rpc, node), error_new(code, "%s", text));
}

/* A call whose client goes away meanwhile goes on: what it changed is changed. */
struct commit {
    struct rpc *rpc;
    void (*done)(struct rpc *rpc, struct error *error);
};

static void on_committed(void *owner, struct error *error) {
    struct commit *commit = owner;
    struct rpc *rpc = commit->rpc;
    void (*done)(struct rpc * rpc, struct error * error) = commit->done;
    free(commit);
    if (rpc->modal->closing) {
        error_free(error);
        error = error_new(ERROR_UNAVAILABLE, "catnap is ending; the change is kept");
        rpc_fail(rpc, error);
        return;
    }
    done(rpc, error);
}

void rpc_commit_soon(struct rpc *rpc, const struct store_record *records, size_t count,
                     void (*done)(struct rpc *rpc, struct error *error)) {
    struct commit *commit = NEW(struct commit);
    *commit = (struct commit){rpc, done};
    store_records_write_soon(rpc->modal->store, records, count, on_committed, commit);
}

void rpc_commit(struct rpc *rpc, const struct store_record *records, size_t count,
                void (*done)(struct rpc *rpc, struct error *error)) {
    struct commit *commit = NEW(struct commit);
    *commit = (struct commit){rpc, done};
    store_records_write(rpc->modal->store, records, count, on_committed, commit);
}

/* ---- from the call to its handler ---- */

static void on_message(struct grpc_call *call, struct span message, struct error *error) {
    struct rpc *rpc = grpc_call_owner(call);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    const void *request = protobuf_c_message_unpack(rpc->method->request, &rpc->allocator, message.size,
                                                    (const uint8_t *)message.data);
    if (!request) {
        rpc_fail(rpc, error_new(ERROR_INVALID_ARGUMENT, "the request of %s is no valid %s", rpc->method->name,
                                rpc->method->request->short_name));
        return;
    }
    if (answered_before(rpc)) return;
    rpc->message = message;
    rpc->method->handle(rpc, request);
}

static bool token_good(const struct modal *modal, const struct grpc_call *call) {
    return identity_token_good(modal->identity, IDENTITY_CLIENT, grpc_call_metadata(call, "x-modal-token-id"),
                               grpc_call_metadata(call, "x-modal-token-secret"));
}

/* By a status that clients of all ages show with its text, and that none tries again. */
static struct error *version_check(struct rpc *rpc) {
    const char *version = rpc_client_version(rpc);
    bool old = version_before(version, CLIENT_OLDEST);
    if (!*version || (!old && version_before(version, CLIENT_BEYOND))) return NULL;
    return error_new(
        ERROR_INVALID_ARGUMENT,
        "the modal client %.40s is too %s for catnap; 0.64.0 and those from 1.0 to 1.x work: `pip "
        "install modal==" CLIENT_NEWEST "`%s",
        version, old ? "old" : "new", old ? "" : ", or a newer catnap");
}

const char *rpc_client_warning(struct rpc *rpc) {
    const char *version = rpc_client_version(rpc);
    if (!*version || version_before(version, CLIENT_UNTRIED)) return NULL;
    return arena_printf(rpc_arena(rpc),
                        "catnap was tried with modal up to " CLIENT_NEWEST
                        ", and %.40s is newer: what it has that " CLIENT_NEWEST
                        " had not is not there, or not known to work",
                        version);
}

static bool is_router(const struct rpc *rpc) {
    return span_is(grpc_call_service(rpc->call), "modal.task_command_router.TaskCommandRouter");
}

/* Its token is for one container, and says so. */
static struct error *router_may_ask(struct rpc *rpc) {
    scoped_string char *task = router_token_task(rpc->modal, grpc_call_metadata(rpc->call, "authorization"));
    if (!task)
        return error_new(
            ERROR_UNAUTHENTICATED,
            "this token for a container is not good, or not any more: with a restart of catnap commands and "
            "sandboxes end");
    rpc->router_task = arena_text(rpc_arena(rpc), task);
    return NULL;
}

static struct error *may_ask(struct rpc *rpc) {
    if (is_router(rpc)) return router_may_ask(rpc);
    unsigned flags = rpc->method->flags;
    if (rpc->task) {
        if (flags & (RPC_TASK | RPC_TASK_ONLY)) return NULL;
        return error_new(ERROR_PERMISSION_DENIED,
                         "%s is not for containers: they can't change what is deployed", rpc->method->name);
    }
    if (flags & RPC_TASK_ONLY)
        return error_new(ERROR_PERMISSION_DENIED, "%s is asked by containers only, each over its own socket",
                         rpc->method->name);
    TRY_PLAIN(version_check(rpc));
    const struct modal *modal = rpc->modal;
    if (grpc_call_tag(rpc->call) != modal || modal->no_auth || token_good(modal, rpc->call)) return NULL;
    return error_new(
        ERROR_UNAUTHENTICATED,
        grpc_call_metadata(rpc->call, "x-modal-token-id").data
            ? "catnap does not know this token (it was revoked, or is another server's): `catnap login` "
              "makes one and writes it where the client looks"
            : "catnap wants a token: `catnap login` makes one and writes it where the client looks");
}

void rpc_start(struct modal *modal, struct grpc_call *call) {
    struct rpc *rpc = arena_alloc(grpc_call_arena(call), sizeof *rpc);
    void *tag = grpc_call_tag(call);
    *rpc = (struct rpc){
        .modal = modal,
        .call = call,
        .task = tag && tag != modal && tag != &modal->server ? tag : NULL,
        .allocator = arena_allocator(grpc_call_arena(call)),
    };
    list_init(&rpc->node);
    list_init(&rpc->twins);
    modal->last_call_ms = io_now_ms(modal->loop);
    grpc_call_owner_set(call, rpc);
    rpc->method = map_get(is_router(rpc) ? modal->router_methods : modal->methods, grpc_call_method(call));
    if (!is_router(rpc) && !span_is(grpc_call_service(call), "modal.client.ModalClient")) rpc->method = NULL;
    if (!rpc->method) {
        rpc_fail(rpc,
                 error_new(ERROR_UNIMPLEMENTED,
                           "catnap does not have " SPAN_FORMAT " of Modal; docs/compat.md tells what it has",
                           SPAN_ARGS(grpc_call_method(call))));
        return;
    }
    struct error *error = may_ask(rpc);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    once_set(rpc);
    if (rpc->method->flags & RPC_STREAM)
        rpc->method->handle(rpc, NULL);
    else
        grpc_call_read_one(call, on_message);
}
