/* router_token: who may run commands in which container.
 *
 * A client that is known asks for access to one container and gets a token for that one: signed with a key of
 * this life of the daemon, good for an hour. The other service (router.c) takes nothing else. A container may
 * reach containers of its own app only. */
#include "sandbox.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#define GOOD_S 3600
#define HEAD "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9" /* {"alg":"HS256","typ":"JWT"} */

static char *base64url(struct span bytes) {
    char *out = mem_array(1, bytes.size / 3 * 4 + 8);
    int size = EVP_EncodeBlock((unsigned char *)out, (const unsigned char *)bytes.data, (int)bytes.size);
    while (size > 0 && out[size - 1] == '=') out[--size] = '\0';
    for (int i = 0; i < size; i++) out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
    return out;
}

static void sign(const struct modal *modal, struct span body, char hex[SHA256_HEX_SIZE]) {
    scoped_string char *text = mem_printf("router " SPAN_FORMAT, SPAN_ARGS(body));
    blob_sign(modal, text, hex);
}

/* Its task and its end stand in the payload; what was signed is the payload as it was written. */
char *router_token(const struct modal *modal, const char *task_id) {
    long long until_s = clock_wall_ms() / 1000 + GOOD_S;
    scoped_string char *payload = mem_printf("{\"exp\":%lld,\"task\":\"%s\"}", until_s, task_id);
    scoped_string char *body = base64url(span_of(payload));
    char hex[SHA256_HEX_SIZE];
    sign(modal, span_of(body), hex);
    return mem_printf(HEAD ".%s.%s", body, hex);
}

static char *decoded(struct span body) {
    size_t size = (body.size + 3) / 4 * 4;
    scoped_string char *in = mem_array(1, size + 1);
    char *out = mem_array(1, size + 1);
    for (size_t i = 0; i < size; i++) {
        char c = i < body.size ? body.data[i] : '=';
        in[i] = c == '-' ? '+' : c == '_' ? '/' : c;
    }
    if (EVP_DecodeBlock((unsigned char *)out, (const unsigned char *)in, (int)size) < 0) out[0] = '\0';
    return out;
}

char *router_token_task(const struct modal *modal, struct span authorization) {
    static const char bearer[] = "Bearer " HEAD ".";
    char hex[SHA256_HEX_SIZE];
    if (!span_starts(authorization, bearer) || authorization.size > 1024) return NULL;
    struct span rest = {authorization.data + sizeof bearer - 1, authorization.size - (sizeof bearer - 1)};
    struct span body = span_cut(&rest, '.');
    sign(modal, body, hex);
    if (rest.size != strlen(hex) || CRYPTO_memcmp(rest.data, hex, rest.size) != 0) return NULL;
    scoped_string char *payload = decoded(body);
    scoped_json json_t *json = json_loads(payload, 0, NULL);
    const char *task = json_string_value(json_object_get(json, "task"));
    if (!task || json_integer_value(json_object_get(json, "exp")) < clock_wall_ms() / 1000) return NULL;
    return mem_string(task);
}

struct error *router_target(struct rpc *rpc, const char *task_id, uint64_t *ret_container) {
    const struct task *task = task_of(rpc->modal, task_id);
    const struct sandbox *sandbox = task ? NULL : sandbox_of_task(rpc->modal, task_id);
    const struct app *app = task && task->function ? task->function->app : sandbox ? sandbox->app : NULL;
    if ((!task && !sandbox) || (rpc->task && (!rpc->task->function || rpc->task->function->app != app)))
        return error_new(ERROR_NOT_FOUND, "there is no container '%.100s' (it may have ended)",
                         task_id ? task_id : "");
    if (!ret_container) return NULL;
    if (sandbox && !sandbox->number)
        return error_new(ERROR_FAILED_PRECONDITION, "the sandbox %s has ended", sandbox->id);
    *ret_container = task ? task->container : sandbox->number;
    return NULL;
}

static bool is_loopback(struct span host) {
    static const char *const names[] = {"localhost", "127.0.0.1", "::1", "[::1]"};
    for (size_t i = 0; i < COUNT(names); i++)
        if (span_is(host, names[i])) return true;
    return false;
}

struct span host_of(struct span authority) {
    for (size_t i = authority.size; i > 0 && authority.data[i - 1] != ']'; i--)
        if (authority.data[i - 1] == ':') return (struct span){authority.data, i - 1};
    return authority;
}

/* The client asks there what it asked here. It takes plain HTTP for this machine only. */
struct error *router_url(struct rpc *rpc, const char **ret_url) {
    struct span authority = grpc_call_authority(rpc->call), host = host_of(authority);
    bool secure =
        grpc_call_secure(rpc->call) || span_is(grpc_call_metadata(rpc->call, "x-forwarded-proto"), "https");
    if (!secure && !is_loopback(host))
        return error_new(
            ERROR_FAILED_PRECONDITION,
            "Modal's client runs commands over https only, or on this machine as http://localhost: put a "
            "proxy with TLS (that sets X-Forwarded-Proto) before catnap, or forward the port by ssh");
    *ret_url =
        arena_printf(rpc_arena(rpc), "%s://" SPAN_FORMAT, secure ? "https" : "http", SPAN_ARGS(authority));
    return NULL;
}
