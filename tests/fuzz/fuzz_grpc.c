/* A client that sends anything. Behind the preface come the input's bytes, frames or not, to a real server
 * whose calls are read, paused, answered and given up in all the ways there are. Whatever comes: no crash, no
 * leak, and once the client has left, the server has neither connections nor calls. */
#include "grpc.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
#define ROUNDS 20000 /* of a loop that never sleeps: more means that somebody waits for ever */

struct fuzz {
    struct io_loop *loop;
    struct grpc_server *server;
    int client, rounds;
    bool accepted;
};

static void end(struct grpc_call *call, struct span message, struct error *error) {
    if (error) {
        grpc_call_end(call, error);
    } else {
        grpc_call_answer(call, message);
    }
}

static void release(struct grpc_call *call) {
    grpc_call_release(call);
}

static void drained(struct grpc_call *call) {
    grpc_call_pause(call, false);
}

static void echo(struct grpc_call *call, struct span message) {
    bool room = grpc_call_send(call, message);
    if (span_is(message, "end")) {
        grpc_call_end(call, NULL);
    } else if (!room) {
        grpc_call_pause(call, true);
    }
}

static void give_up(struct grpc_call *call, struct span message) {
    (void)message;
    grpc_call_release(call);
}

static void ended(struct grpc_call *call, struct error *error) {
    grpc_call_trailer_add(call, "x-bin", grpc_call_metadata(call, "x-bin"));
    grpc_call_end(call, error);
}

static void on_call(void *owner, struct grpc_call *call) {
    (void)owner;
    struct span method = grpc_call_method(call), name, value;
    if (method.size == 0 || grpc_call_service(call).size == 0) abort(); /* the room refuses such paths */
    for (size_t i = 0; grpc_call_metadata_at(call, i, &name, &value); i++)
        if (name.size == 0 || name.data[0] == ':') abort();
    switch (method.data[0]) {
    case 'U': grpc_call_read_one(call, end); return;
    case 'E': grpc_call_end(call, error_new(ERROR_NOT_FOUND, SPAN_FORMAT, SPAN_ARGS(method))); return;
    case 'G':
        grpc_call_on_cancelled(call, release);
        grpc_call_read(call, give_up, ended);
        return;
    case 'P': grpc_call_pause(call, true); break;
    default: break;
    }
    grpc_call_on_cancelled(call, release);
    grpc_call_on_drained(call, drained);
    grpc_call_read(call, echo, ended);
}

/* Once a round: takes what the server sends, and sees whether all is over. */
static void look(void *owner) {
    struct fuzz *fuzz = owner;
    char bytes[65536];
    while (recv(fuzz->client, bytes, sizeof bytes, MSG_DONTWAIT) > 0) continue;
    if (grpc_server_connections(fuzz->server) > 0) fuzz->accepted = true;
    if (++fuzz->rounds > ROUNDS) abort();
    if (fuzz->accepted && grpc_server_connections(fuzz->server) == 0) {
        io_loop_stop(fuzz->loop);
    } else {
        io_defer(fuzz->loop, look, fuzz);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    struct fuzz fuzz = {.loop = io_loop_new()};
    struct grpc_limits limits = {
        .message_bytes = 1 << 16, .window_bytes = 1 << 16, .held_bytes = 1 << 17, .calls = 8};
    fuzz.server = grpc_server_new(
        &(struct grpc_server_options){.loop = fuzz.loop, .limits = limits, .on_call = on_call});
    struct sockaddr_un address = {.sun_family = AF_UNIX}; /* the kernel finds a name */
    socklen_t size = sizeof(sa_family_t);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 1) != 0) abort();
    size = sizeof address;
    getsockname(listener, (struct sockaddr *)&address, &size);
    struct grpc_listener options = {.fd = listener, .gzip_from_bytes = 64};
    if (grpc_server_listen_on(fuzz.server, &options, NULL)) abort();

    fuzz.client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int room = 1 << 20;
    setsockopt(fuzz.client, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    if (connect(fuzz.client, (struct sockaddr *)&address, size) != 0) abort();
    bool greets = size_bytes == 0 || data[0] != 'P'; /* else the preface is the input's too */
    if (greets && send(fuzz.client, PREFACE, sizeof PREFACE - 1, MSG_NOSIGNAL) < 0) abort();
    if (size_bytes > 0 && send(fuzz.client, data, size_bytes, MSG_NOSIGNAL) < 0) abort();
    shutdown(fuzz.client, SHUT_WR);
    io_defer(fuzz.loop, look, &fuzz);
    io_loop_run(fuzz.loop);
    if (grpc_server_calls(fuzz.server) != 0) abort();
    grpc_server_free(fuzz.server);
    close(fuzz.client);
    io_loop_free(fuzz.loop);
    return 0;
}
