/* Asked and answered: what the command line sends, and what it makes of what comes. A server of this test
 * answers it: a daemon's words, and what is no daemon at all. The real daemon is asked in tests/e2e. */
#include "http.h"
#include "line.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

/* ---- asked and answered ---- */

enum answering { ANSWER_WHOLE, ANSWER_STREAM, ANSWER_BYTES /* body is all of it; then it hangs up */ };
struct reply {
    const char *method_and_target; /* NULL: any */
    int status;
    const char *body;
    enum answering how;
};
struct door {
    struct io_loop *loop;
    struct http_server *server;
    struct io_signal *ended;
    struct io_watch *raw; /* ANSWER_BYTES */
    int raw_fd;
    const struct reply *replies;
    size_t reply_count;
    struct text asked; /* method, target, Authorization and body of each request, a line each */
    pid_t pid;
    int wait_status;
};

static void on_body(struct http_exchange *exchange, struct span body, struct error *error) {
    struct door *door = http_exchange_owner(exchange);
    static const char *const fields[] = {"Content-Type", "application/json", NULL};
    error_free(error);
    struct span method = http_exchange_method(exchange), target = http_exchange_target(exchange);
    scoped_string char *line = mem_printf(SPAN_FORMAT " " SPAN_FORMAT, SPAN_ARGS(method), SPAN_ARGS(target));
    struct span token = http_exchange_header(exchange, "Authorization");
    text_printf(&door->asked, "%s|" SPAN_FORMAT "|" SPAN_FORMAT "\n", line, SPAN_ARGS(token),
                SPAN_ARGS(body));
    const struct reply *reply = NULL;
    for (size_t i = 0; i < door->reply_count && !reply; i++)
        if (!door->replies[i].method_and_target || strcmp(door->replies[i].method_and_target, line) == 0)
            reply = &door->replies[i];
    if (!reply) fail_msg("asked for '%s'", line);
    if (reply->how == ANSWER_WHOLE) {
        http_respond(exchange, reply->status, fields, span_of(reply->body));
        return;
    }
    http_respond_begin(exchange, reply->status, fields, -1);
    http_respond_write(exchange, span_of(reply->body));
    http_respond_end(exchange);
}

static void on_request(void *owner, struct http_exchange *exchange) {
    http_exchange_owner_set(exchange, owner);
    http_exchange_read_all(exchange, 1 << 20, on_body);
}

static void on_raw(void *owner, unsigned events) {
    struct door *door = owner;
    (void)events;
    char head[4096];
    scoped_fd int fd = accept4(door->raw_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return;
    assert_true(read(fd, head, sizeof head) > 0); /* small enough to come at once */
    struct span bytes = span_of(door->replies[0].body);
    assert_int_equal(write(fd, bytes.data, bytes.size), (ssize_t)bytes.size);
}

static void listen_raw(struct door *door, const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path) + 1);
    door->raw_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(door->raw_fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(door->raw_fd, 4), 0);
    assert_ok(io_watch_new(door->loop, door->raw_fd, IO_READABLE, on_raw, door, &door->raw));
}

static void on_child(void *owner, int signo) {
    (void)signo;
    struct door *door = owner;
    if (waitpid(door->pid, &door->wait_status, WNOHANG) == door->pid) io_loop_stop(door->loop);
}

/* Runs the line against a server that gives these replies. `asked` is owned by the caller. */
static void ask_line(const char *line, const struct reply *replies, size_t reply_count, struct ran *ran,
                     struct text *asked) {
    scoped(arena) struct arena *arena = arena_new();
    scoped_string char *out = temporary(".out"), *err = temporary(".err"), *path = temporary(".sock");
    struct door door = {.loop = io_loop_new(), .replies = replies, .reply_count = reply_count};
    door.server = http_server_new(
        &(struct http_server_options){.loop = door.loop, .on_request = on_request, .owner = &door});
    uint16_t port;
    if (replies[0].how == ANSWER_BYTES)
        listen_raw(&door, path);
    else
        assert_ok(http_server_listen(door.server, path, NULL, &port));
    door.ended = io_signal_new(door.loop, SIGCHLD, on_child, &door);
    setenv("CATNAP_API", path, 1);
    door.pid = begin(split(arena, line), out, err);
    io_loop_run(door.loop);
    unsetenv("CATNAP_API");
    io_signal_free(door.ended);
    io_watch_free(door.raw);
    if (door.raw) close(door.raw_fd);
    http_server_free(door.server);
    io_loop_free(door.loop);
    unlink(path);
    collect(ran, door.wait_status, out, err);
    *asked = door.asked;
}

static void answered(const char *line, struct reply reply, int status, const char *in_out,
                     const char *in_err) {
    struct ran ran;
    struct text asked = {0};
    ask_line(line, &reply, 1, &ran, &asked);
    const char *out = ran.out.data ? ran.out.data : "", *err = ran.err.data ? ran.err.data : "";
    if (ran.status != status || !strstr(out, in_out) || !strstr(err, in_err))
        fail_msg("%s: %d, '%s', '%s' instead of %d, '%s', '%s'", line, ran.status, out, err, status, in_out,
                 in_err);
    text_done(&asked);
    ran_done(&ran);
}

static void test_ps_prints_the_answer_itself_as_json(void **unused) {
    (void)unused;
    struct ran ran;
    struct text asked = {0};
    const struct reply reply = {"GET /v1/ps", 200, ps_answer, ANSWER_WHOLE};
    ask_line("catnap ps --json", &reply, 1, &ran, &asked);
    assert_int_equal(ran.status, 0);
    scoped_json json_t *printed = json_loads(ran.out.data, 0, NULL), *sent = json_loads(ps_answer, 0, NULL);
    assert_true(json_equal(printed, sent));
    text_done(&asked);
    ran_done(&ran);
    answered("catnap ps", reply, 0, "b        g         stopped", "");
    answered("catnap ps", reply, 0, "b.i: it exited with code 7; log:\n  the pump[2J is broken\n", "");
    answered("catnap ps", (struct reply){NULL, 200, "{\"apps\":[]}", ANSWER_WHOLE}, 0, "no apps yet", "");
}

static void test_refusals_and_strangers(void **unused) {
    (void)unused;
    answered("catnap down x",
             (struct reply){"DELETE /v1/apps/x", 404, "{\"error\":\"no app x\",\"code\":\"NOT_FOUND\"}", 0},
             1, "", "catnap: no app x\n");
    answered("catnap ps", (struct reply){NULL, 404, "<html>nginx</html>", 0}, 1, "",
             "is no catnap (HTTP status 404)");
    answered("catnap ps", (struct reply){NULL, 200, "<html>hello</html>", 0}, 1, "",
             "is no catnap (HTTP status 200)");
#define HEAD "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    answered("catnap ps", (struct reply){NULL, 0, HEAD "{\"apps\":[", ANSWER_BYTES}, 3, "",
             "went away before its answer was whole");
    answered("catnap logs x -f", (struct reply){NULL, 0, HEAD "{\"te", ANSWER_BYTES}, 3, "", "ended");
    answered("catnap ps", (struct reply){NULL, 0, "SSH-2.0-OpenSSH_9.2\r\n", ANSWER_BYTES}, 3, "",
             "no daemon answers");
    answered("catnap ps", (struct reply){NULL, 0, "", ANSWER_BYTES}, 3, "", "no daemon answers");
    answered("catnap logs x -f", (struct reply){NULL, 200, "", ANSWER_STREAM}, 3, "", "ended");
    setenv("CATNAP_API", "/tmp/catnap-test-cli-nobody.sock", 1);
    says("catnap ps", 3, "",
         "no daemon answers at /tmp/catnap-test-cli-nobody.sock (No such file or directory)");
    says("catnap top --json", 3, "", "no daemon answers");
    says("catnap complete wake a", 0, "", "");
    setenv("CATNAP_API", "http://127.0.0.1:1", 1);
    says("catnap wake x", 3, "", "no daemon answers at http://127.0.0.1:1 (Connection refused)");
    unsetenv("CATNAP_API");
}

static void test_a_name_with_dots_is_an_app_first(void **unused) {
    (void)unused;
#define NOT_FOUND(TEXT) "{\"error\":\"" TEXT "\",\"code\":\"NOT_FOUND\"}"
    static const struct reply replies[] = {
        {"POST /v1/apps/my.app/doze?wait=1&function=web", 200,
         "{\"app\":\"my.app\",\"functions\":[{\"function\":\"web\",\"state\":\"dozing\"}]}", 0},
        {"POST /v1/apps/my.app.web/doze?wait=1", 404, NOT_FOUND("no app my.app.web"), 0},
        {"POST /v1/apps/no.such/doze?wait=1", 404, NOT_FOUND("no app no.such"), 0},
        {"POST /v1/apps/no/doze?wait=1&function=such", 404, NOT_FOUND("no app no"), 0},
        {"POST /v1/apps/%2E%2E%2Fps/doze?wait=1", 404, NOT_FOUND("no such name"), 0},
    };
    struct ran ran;
    struct text asked = {0};
    ask_line("catnap doze my.app.web", replies, COUNT(replies), &ran, &asked);
    assert_int_equal(ran.status, 0);
    assert_string_equal(ran.out.data, "my.app.web is dozing\n");
    text_done(&asked), ran_done(&ran);
    asked = (struct text){0};
    ask_line("catnap doze no.such", replies, COUNT(replies), &ran, &asked);
    assert_int_equal(ran.status, 1);
    assert_string_equal(ran.err.data, "catnap: no app no\n");
    text_done(&asked), ran_done(&ran);
}

static void test_up_sends_the_variables_that_the_file_names(void **unused) {
    (void)unused;
    static const char yaml[] = "a: ${CLI_ONE} ${CLI_TWO:-x} ${CLI_UNSET} $${CLI_THREE\n";
    scoped_string char *path = temporary(".yaml"), *line = mem_printf("catnap up %s", path);
    assert_ok(file_replace(path, SPAN(yaml), 0600));
    setenv("CLI_ONE", "one \"quoted\"", 1);
    setenv("CLI_TWO", "", 1);
    setenv("CLI_SECRET", "not asked for", 1);
    struct ran ran;
    struct text asked = {0};
    const struct reply reply = {
        "PUT /v1/apps?lines=1", 200,
        "{\"app\":\"x\",\"created\":true,\"functions\":[{\"function\":\"web\",\"state\":"
        "\"asleep\",\"urls\":[\"http://h:1\"],\"example\":\"curl {url}/a {url}\"}]}\n",
        ANSWER_STREAM};
    ask_line(line, &reply, 1, &ran, &asked);
    assert_string_equal(
        ran.out.data, "x was created\nx.web is asleep at http://h:1\n  try: curl http://h:1/a http://h:1\n");
    const char *body = strstr(asked.data, "||") + 2;
    scoped_json json_t *sent = json_loads(body, 0, NULL);
    scoped_json json_t *expected = json_pack("{s:s, s:s, s:{s:s, s:s}}", "yaml", yaml, "file_name", path,
                                             "env", "CLI_ONE", "one \"quoted\"", "CLI_TWO", "");
    assert_true(json_equal(sent, expected));
    text_done(&asked), ran_done(&ran);

    answered(line, (struct reply){NULL, 400, "{\"error\":\"/tmp/other\",\"code\":\"INVALID_ARGUMENT\"}", 0},
             1, "", "catnap: /tmp/other\n");
    scoped_string char *refused =
        mem_printf("{\"error\":\"%s:1:2: bad\\n%s:3:4: worse\",\"code\":\"INVALID_ARGUMENT\"}", path, path);
    scoped_string char *told =
        mem_printf("%s:1:2: bad\n%s:3:4: worse\ncatnap: nothing was changed\n", path, path);
    answered(line, (struct reply){NULL, 400, refused, 0}, 1, "", told);

    setenv("CLI_ONE", "\xff", 1);
    says(line, 1, "", "the variable CLI_ONE is no UTF-8");
    assert_ok(file_replace(path, SPAN("\xff\xfe"), 0600));
    says(line, 1, "", "no UTF-8 text, so no YAML");
    unlink(path);
    says(line, 1, "", "No such file or directory");
    unsetenv("CLI_ONE"), unsetenv("CLI_TWO"), unsetenv("CLI_SECRET");
}

static void test_logs_as_text_and_as_json(void **unused) {
    (void)unused;
#define LINE(TIME, STREAM, TEXT)                                                                         \
    "{\"time\":\"" TIME "\",\"app\":\"a\",\"function\":\"web\",\"container\":\"1\",\"stream\":\"" STREAM \
    "\",\"text\":\"" TEXT "\"}\n"
    static const char lines[] = LINE("2026-01-02T03:04:05.678Z", "out", "one")
        LINE("2026-01-03T00:00:00.000Z", "sys",
             "exited with code 7") "{\"skipped\":3}\n" LINE("2026-01-03T00:00:01.500Z", "err", "tab\\there");
    const struct reply reply = {NULL, 200, lines, ANSWER_STREAM};
    setenv("TZ", "UTC", 1);
    answered("catnap logs a", reply, 0,
             "--- 2026-01-02\n03:04:05.678 web one\n--- 2026-01-03\n00:00:00.000 web -- exited with code 7\n"
             "--- 3 lines came faster than they were read and are left out\n00:00:01.500 web tab\there\n",
             "");
    answered("catnap logs a --text", reply, 0, "one\n--- 3 lines", "");
    answered("catnap logs a --json", reply, 0, lines, "");
    unsetenv("TZ");
    struct ran ran;
    struct text asked = {0};
    ask_line("catnap logs a -f --since 2026-01-02T00:00:00Z --last 5", &reply, 1, &ran, &asked);
    assert_string_equal(asked.data, "GET /v1/logs?app=a&since=1767312000000&last=5&follow=1||\n");
    text_done(&asked), ran_done(&ran);
}

static void test_completion_knows_verbs_options_and_apps(void **unused) {
    (void)unused;
    static const struct {
        const char *line, *offers;
    } rows[] = {
        {"catnap complete w", "wake\n"},
        {"catnap complete co", "completion\n"},
        {"catnap complete logs --l", "--last\n"},
        {"catnap complete logs x --since ", "10m\n1h\n1d\n"},
        {"catnap complete logs x -n ", ""},
        {"catnap complete up ca", ":files\n"},
        {"catnap complete serve --state ", ":files\n"},
        {"catnap complete serve --le", "--leave-containers\n"},
        {"catnap complete help dow", "down\n"},
        {"catnap complete completion ", "bash\n"},
        {"catnap complete wake c", "copycat\ncopycat.serve\ncopycat.chat\n"},
        {"catnap complete wake copycat.serve copycat.", "copycat.chat\n"},
        {"catnap complete down ", "copycat\nb\n"},
        {"catnap complete nonsense ", ""},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct ran ran;
        struct text asked = {0};
        const struct reply reply = {"GET /v1/ps", 200, ps_answer, 0};
        ask_line(rows[i].line, &reply, 1, &ran, &asked);
        const char *out = ran.out.data ? ran.out.data : "";
        if (ran.status != 0 || strcmp(out, rows[i].offers) != 0)
            fail_msg("%s: %d, '%s' instead of '%s'", rows[i].line, ran.status, out, rows[i].offers);
        text_done(&asked), ran_done(&ran);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ps_prints_the_answer_itself_as_json),
        cmocka_unit_test(test_refusals_and_strangers),
        cmocka_unit_test(test_a_name_with_dots_is_an_app_first),
        cmocka_unit_test(test_up_sends_the_variables_that_the_file_names),
        cmocka_unit_test(test_logs_as_text_and_as_json),
        cmocka_unit_test(test_completion_knows_verbs_options_and_apps),
    };
    unsetenv("CATNAP_API");
    unsetenv("CATNAP_API_TOKEN");
    return cmocka_run_group_tests_name("cli ask", tests, NULL, NULL);
}
