/* What somebody answers, as the link reads it, and as ask does. The first byte says what was asked for.
 *
 * - The same heads, body, trailers and kind of end, all bytes at once or in any pieces.
 * - One end a request, nothing behind it; an answer is whole only if it says where it ends.
 * - ask (one request, whole answer) says the same as the link below it. */
#include "pipe.h"
#include "server.h"

#include <stdio.h>
#include <sys/un.h>

#define ASK_BODY_MAX 1000

struct run {
    struct pipe_end pipe;
    struct http_link *link;
    struct text seen, body;
    int status, ends;
    int64_t length_bytes;
    enum error_code code; /* 0: the answer is whole */
};
static struct io_loop *loop;
static struct http_client *client;
static int listener = -1;
static char path[108];

/* ---- the link ---- */

static void on_head(void *owner, struct http_link *link, const struct http_head *head) {
    struct run *run = owner;
    (void)link;
    run->pipe.moved++;
    if (run->ends > 0 || head->status < 100 || head->status > 999 || run->status >= 200) abort();
    run->status = head->status;
    run->length_bytes = head->length_bytes;
    text_printf(&run->seen, "%d " SPAN_FORMAT " %lld\n", head->status, SPAN_ARGS(head->reason),
                (long long)head->length_bytes);
    for (size_t i = 0; i < head->field_count; i++) {
        text_add(&run->seen, head->fields[i].name);
        text_add(&run->seen, SPAN(": "));
        text_add(&run->seen, head->fields[i].value);
        text_add_char(&run->seen, '\n');
    }
}

static void on_data(void *owner, struct http_link *link, struct span bytes) {
    struct run *run = owner;
    (void)link;
    run->pipe.moved++;
    if (run->ends > 0 || (run->status < 200 && run->status != 101) || bytes.size == 0) abort();
    text_add(&run->body, bytes);
}

static void on_end(void *owner, struct http_link *link, struct error *error) {
    struct run *run = owner;
    size_t count;
    const struct http_field *trailers = http_link_trailers(link, &count);
    run->pipe.moved++;
    if (run->ends++ > 0) abort();
    if (error) run->code = error->code;
    for (size_t i = 0; !error && i < count; i++)
        text_printf(&run->seen, "trailer " SPAN_FORMAT ": " SPAN_FORMAT "\n", SPAN_ARGS(trailers[i].name),
                    SPAN_ARGS(trailers[i].value));
    bool has_length = !error && run->status != 101 && run->length_bytes > 0 && run->body.size > 0;
    if (has_length && run->body.size != (size_t)run->length_bytes) abort();
    if (error && http_link_reusable(link)) abort();
    error_free(error);
}

static void on_lost(void *owner, struct http_link *link) {
    struct run *run = owner;
    (void)link;
    run->pipe.moved++;
    if (run->ends != 1) abort(); /* only between requests */
}

static const struct http_link_events events = {
    .head = on_head, .data = on_data, .end = on_end, .lost = on_lost};

static const struct http_head *asked(uint8_t kind) {
    static const struct http_head heads[] = {
        {.method = {"GET", 3}, .target = {"/", 1}},
        {.method = {"HEAD", 4}, .target = {"/", 1}},
        {.method = {"POST", 4}, .target = {"/", 1}},
        {.method = {"GET", 3}, .target = {"/", 1}, .upgrade = true},
    };
    return &heads[kind % COUNT(heads)];
}

static void live(struct run *run, uint8_t kind, struct span bytes, uint32_t *seed) {
    struct error *error = http_link_new(client, pipe_open(&run->pipe, loop), &events, &run->link);
    if (error) abort();
    http_link_owner_set(run->link, run);
    http_link_request(run->link, asked(kind));
    http_link_finish(run->link, NULL, 0);
    if (!seed) pipe_put(&run->pipe, bytes);
    while (seed && bytes.size > 0) pipe_put(&run->pipe, pipe_cut(&bytes, seed));
    pipe_close(&run->pipe);
    if (run->ends != 1) abort();
    http_link_free(run->link);
}

/* ---- ask ---- */

static void on_done(void *owner, struct http_answer *answer) {
    struct run *run = owner;
    run->pipe.moved++;
    run->ends++;
    run->status = answer->status;
    if (answer->error) run->code = answer->error->code;
    error_free(answer->error);
    text_add(&run->body, answer->body);
}

static void ask(struct run *run, uint8_t kind, struct span bytes) {
    const struct http_ask_options options = {.loop = loop,
                                             .address = path,
                                             .method = kind % 2 ? "HEAD" : "GET",
                                             .target = "/",
                                             .body_limit_bytes = ASK_BODY_MAX,
                                             .done = on_done,
                                             .owner = run};
    http_ask_start(&options);
    run->pipe =
        (struct pipe_end){.loop = loop, .fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)};
    if (run->pipe.fd < 0) abort();
    run->pipe.timer = io_timer_new(loop, pipe_stop, &run->pipe);
    pipe_put(&run->pipe, bytes);
    pipe_close(&run->pipe);
    if (run->ends != 1) abort();
}

static void compare(const struct run *link, const struct run *asked_once) {
    bool overlong = link->body.size > ASK_BODY_MAX;
    enum error_code code = overlong ? ERROR_RESOURCE_EXHAUSTED : link->code;
    if (asked_once->code != code) abort();
    if (code == 0 && (asked_once->status != link->status || !text_same(&asked_once->body, &link->body)))
        abort();
}

static void tidy_up(void) {
    unlink(path);
}

static void set_up(void) {
    loop = io_loop_new();
    client = http_client_new(&(struct http_client_options){.loop = loop, .head_bytes = 4096});
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(path, sizeof path, "/tmp/fuzz-http-answer-%d", (int)getpid());
    memcpy(address.sun_path, path, sizeof path);
    unlink(path);
    atexit(tidy_up);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 16) != 0)
        abort();
}

static void run_done(struct run *run) {
    text_done(&run->seen);
    text_done(&run->body);
    text_done(&run->pipe.got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    if (!loop) set_up();
    if (size_bytes == 0) return 0;
    uint32_t seed = 1;
    for (size_t i = 0; i < size_bytes && i < 64; i++) seed = seed * 31 + data[i];
    struct span bytes = {(const char *)data + 1, size_bytes - 1};
    struct run whole = {0}, pieces = {0}, once = {0};
    live(&whole, data[0], bytes, NULL);
    live(&pieces, data[0], bytes, &seed);
    if (whole.code != pieces.code || !text_same(&whole.seen, &pieces.seen)) abort();
    if (!text_same(&whole.body, &pieces.body)) abort();
    if (data[0] % 4 < 2 && data[0] & 128) {
        ask(&once, data[0], bytes);
        compare(&whole, &once);
    }
    run_done(&whole);
    run_done(&pieces);
    run_done(&once);
    return 0;
}
