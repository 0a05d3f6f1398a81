/* The command line as a user types it: cli_main with its output in files, and the functions behind it. What
 * answers it is a server of this test: a daemon's words, and what is no daemon at all. The real daemon is
 * asked in tests/e2e. */
#include "command.h"
#include "http.h"
#include "ps.h"
#include "screen.h"
#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- the world ---- */

static int hooked(int argc, char **argv) {
    printf("hook");
    for (int i = 0; i < argc; i++) printf(" %s", argv[i]);
    printf("\n");
    return 0;
}
static const struct cli_hooks hooks = {.serve = hooked, .doctor = hooked};

struct ran {
    int status;
    struct text out, err;
};

static void ran_done(struct ran *ran) {
    text_done(&ran->out);
    text_done(&ran->err);
}

static char *temporary(const char *suffix) {
    return mem_printf("/tmp/catnap-test-cli-%d%s", (int)getpid(), suffix);
}

/* In a process of its own: it may be killed, and has this process's tables of files to itself. */
static pid_t begin(char *const *words, const char *out, const char *err) {
    pid_t pid = fork();
    if (pid != 0) return pid;
    int argc = 0;
    while (words[argc]) argc++;
    const char *const paths[] = {out, err};
    for (int i = 0; i < 2; i++) {
        int fd = open(paths[i], O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(fd, i + 1);
        close(fd);
    }
    exit(cli_main(argc, (char **)words, &hooks));
}

static void collect(struct ran *ran, int wait_status, const char *out, const char *err) {
    *ran = (struct ran){.status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1};
    assert_ok(file_read(out, 1 << 20, &ran->out));
    assert_ok(file_read(err, 1 << 20, &ran->err));
    text_add_string(&ran->out, "");
    text_add_string(&ran->err, "");
    unlink(out);
    unlink(err);
}

/* "catnap ..." split at blanks. */
static char **split(struct arena *arena, const char *line) {
    char **words = arena_alloc(arena, 32 * sizeof *words);
    struct span rest = span_of(line);
    for (size_t i = 0; rest.data; i++) words[i] = arena_string(arena, span_cut(&rest, ' '));
    return words;
}

static void run(const char *line, struct ran *ran) {
    scoped(arena) struct arena *arena = arena_new();
    scoped_string char *out = temporary(".out"), *err = temporary(".err");
    int status;
    pid_t pid = begin(split(arena, line), out, err);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    collect(ran, status, out, err);
}

static void says(const char *line, int status, const char *in_out, const char *in_err) {
    struct ran ran;
    run(line, &ran);
    const char *out = ran.out.data ? ran.out.data : "", *err = ran.err.data ? ran.err.data : "";
    if (ran.status != status || !strstr(out, in_out) || !strstr(err, in_err))
        fail_msg("%s: %d, '%s', '%s' instead of %d, '%s', '%s'", line, ran.status, out, err, status, in_out,
                 in_err);
    ran_done(&ran);
}

/* ---- the line ---- */

static void test_a_wrong_line_is_told_and_costs_status_2(void **unused) {
    (void)unused;
    static const struct {
        const char *line, *told;
    } rows[] = {
        {"catnap", "usage: catnap VERB"},
        {"catnap stutas", "there is no verb 'stutas' (see `catnap help`)"},
        {"catnap pss", "did you mean 'ps'?"},
        {"catnap wkae x", "did you mean 'wake'?"},
        {"catnap comp", "did you mean 'completion'?"},
        {"catnap wake", "APP[.FUNCTION]... is missing"},
        {"catnap logs", "APP[.FUNCTION] is missing"},
        {"catnap logs a b", "'b' is one too many"},
        {"catnap ps extra", "'extra' is one too many"},
        {"catnap ps --jsn", "there is no option --jsn; did you mean --json?"},
        {"catnap ps -x", "there is no option -x"},
        {"catnap ps --since 1m", "--since is no option of this verb"},
        {"catnap ps --json=yes", "--json takes no value"},
        {"catnap logs a --since", "--since wants a value"},
        {"catnap logs a --since yesterday", "'yesterday' is neither a duration"},
        {"catnap logs a --since=30m1h", "'30m1h' is neither a duration"},
        {"catnap logs a --last -3", "'-3' is no whole number"},
        {"catnap logs a -n 100001", "from 0 to 100000"},
        {"catnap help wakee", "there is no verb 'wakee'"},
        {"catnap completion zsh", "not for 'zsh'"},
        {"catnap top", "a terminal is needed"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) says(rows[i].line, 2, "", rows[i].told);
}

static void test_help_and_version_are_for_standard_output(void **unused) {
    (void)unused;
    says("catnap help", 0, "catnap VERB", "");
    says("catnap --help", 0, "catnap VERB", "");
    says("catnap --version", 0, "catnap ", "");
    says("catnap version --json", 0, "{\"version\":\"", "");
    says("catnap logs --help", 0, "-n, --last N", "");
    says("catnap logs a b c --help", 0, "-n, --last N", "");
    says("catnap doctor -h", 0, "catnap doctor [--json]", "");
    says("catnap help serve", 0, "hook serve --help", "");
    says("catnap doctor --runtime runc", 0, "hook doctor --runtime runc", "");
    says("catnap serve --state x", 0, "hook serve --state x", "");
    for (size_t i = 0; i < verb_count; i++) {
        if (verbs[i].hidden || strcmp(verbs[i].name, "serve") == 0) continue;
        scoped_string char *line = mem_printf("catnap help %s", verbs[i].name);
        scoped_string char *usage = mem_printf("usage: catnap %s", verbs[i].name);
        says(line, 0, usage, "");
        says("catnap help", 0, verbs[i].summary, "");
    }
}

static void test_options_and_words_may_stand_in_any_order(void **unused) {
    (void)unused;
    char *argv[] = {(char *)"logs",   (char *)"-f", (char *)"--since=10m", (char *)"-n", (char *)"7",
                    (char *)"--text", (char *)"--", (char *)"-app",        NULL};
    struct command command = {.verb = verb_find("logs"), .argc = 8, .argv = argv};
    int64_t now_ms = clock_wall_ms();
    assert_ok(options_read(&command));
    assert_true(command.options.follow && command.options.text && !command.options.json);
    assert_in_range(command.options.since_ms, now_ms - 600000, now_ms - 600000 + 60000);
    assert_int_equal(command.options.last, 7);
    assert_int_equal(command.word_count, 1);
    assert_string_equal(command.words[0], "-app");
    free(command.words);
}

static void test_where_the_daemon_is(void **unused) {
    (void)unused;
    static const struct {
        const char *api, *address, *told; /* address NULL: told is in the error */
    } rows[] = {
        {"/tmp/x.sock", "/tmp/x.sock", "/tmp/x.sock"},
        {"unix:/tmp/x.sock", "/tmp/x.sock", "/tmp/x.sock"},
        {"./x.sock", "./x.sock", "./x.sock"},
        {"http://127.0.0.1:7071", "127.0.0.1:7071", "http://127.0.0.1:7071"},
        {"http://[::1]:7071/", "[::1]:7071", "http://[::1]:7071"},
        {"box.lan:80", "box.lan:80", "http://box.lan:80"},
        {"https://127.0.0.1:7071", NULL, "https"},
        {"http://127.0.0.1", NULL, "no host and port"},
        {"http://127.0.0.1:0", NULL, "no port"},
        {"http://127.0.0.1:70710", NULL, "no port"},
        {"http://127.0.0.1:7071/v1", NULL, "a path behind the port"},
        {"catnap", NULL, "no host and port"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct place place;
        setenv("CATNAP_API", rows[i].api, 1);
        if (!rows[i].address) {
            assert_error(place_find(&place), ERROR_INVALID_ARGUMENT, rows[i].told);
            scoped_string char *in_err = mem_printf("CATNAP_API: '%s'", rows[i].api);
            says("catnap ps", 2, "", in_err);
        } else {
            assert_ok(place_find(&place));
            assert_string_equal(place.address, rows[i].address);
            assert_string_equal(place.told, rows[i].told);
        }
        place_done(&place);
    }
    setenv("CATNAP_API", "http://127.0.0.1:7071", 1);
    setenv("CATNAP_API_TOKEN", "secret-of-somebody", 1);
    struct place place;
    assert_ok(place_find(&place));
    assert_string_equal(place.token, "secret-of-somebody");
    place_done(&place);
    unsetenv("CATNAP_API_TOKEN");
    unsetenv("CATNAP_API");
    assert_ok(place_find(&place));
    assert_true(span_ends(span_of(place.address), "/catnap/api.sock"));
    place_done(&place);
}

/* ---- words for people ---- */

static void test_numbers_as_people_read_and_write_them(void **unused) {
    (void)unused;
    static const struct {
        const char *text;
        int64_t ms; /* -1: is none */
    } durations[] = {
        {"10m", 600000},  {"1h30m", 5400000}, {"90", 90000}, {"250ms", 250}, {"2d", 172800000},
        {"0s", 0},        {"", -1},           {"m", -1},     {"5s5s", -1},   {"1m2h", -1},
        {"10 m", -1},     {"-1m", -1},        {"1x", -1},    {"3m7", -1},    {"99999999999999999999", -1},
        {"9999999d", -1}, {"10min", 600000}};
    for (size_t i = 0; i < COUNT(durations); i++) {
        int64_t ms = -1;
        bool good = words_to_ms(durations[i].text, &ms);
        if (good != (durations[i].ms >= 0) || (good && ms != durations[i].ms))
            fail_msg("'%s': %d, %lld", durations[i].text, good, (long long)ms);
    }
    static const struct {
        int64_t us;
        const char *text;
    } times[] = {{0, "0.0 ms"},        {410, "0.4 ms"},      {9949, "9.9 ms"},   {12000, "12 ms"},
                 {999000, "999 ms"},   {999600, "1.0 s"},    {59400000, "59 s"}, {300000000, "5 min"},
                 {10000000000, "3 h"}, {200000000000, "2 d"}};
    char out[WORDS_SIZE];
    for (size_t i = 0; i < COUNT(times); i++)
        assert_string_equal(words_time_us(times[i].us, out), times[i].text);
    static const struct {
        uint64_t bytes;
        const char *text;
    } sizes[] = {{0, "0 B"},
                 {999, "999 B"},
                 {1000, "1.0 KiB"},
                 {717 << 10, "717 KiB"},
                 {1 << 20, "1.0 MiB"},
                 {412ull << 20, "412 MiB"},
                 {1288490189, "1.2 GiB"},
                 {UINT64_MAX, "16384 PiB"}};
    for (size_t i = 0; i < COUNT(sizes); i++)
        assert_string_equal(words_bytes(sizes[i].bytes, out), sizes[i].text);
}

static void test_times_of_the_wall(void **unused) {
    (void)unused;
    setenv("TZ", "UTC-2", 1); /* two hours east */
    tzset();
    int64_t ms;
    assert_true(words_to_wall_ms("2026-01-02T03:04", &ms));
    assert_int_equal(ms, INT64_C(1767315840000));
    assert_true(words_to_wall_ms("2026-01-02T01:04:00Z", &ms));
    assert_int_equal(ms, INT64_C(1767315840000));
    assert_true(words_to_wall_ms("2026-01-02", &ms));
    assert_int_equal(ms, INT64_C(1767304800000));
    assert_true(words_to_wall_ms("14:05", &ms));
    assert_int_equal(ms / 60000 % (24 * 60), 12 * 60 + 5);
    static const char *const bad[] = {"", "25:00", "2026-13-01", "2026-01-02T03:04:05+02", "now", "14:05 "};
    for (size_t i = 0; i < COUNT(bad); i++)
        if (words_to_wall_ms(bad[i], &ms)) fail_msg("'%s' is a time", bad[i]);
    unsetenv("TZ");
    tzset();
}

/* ---- tables ---- */

static void assert_line(struct sheet *sheet, size_t row, size_t width, bool coloured, const char *expected) {
    scoped_text struct text line = {0};
    text_add_string(&line, "");
    sheet_line(sheet, row, width, coloured, &line);
    assert_string_equal(line.data ? line.data : "", expected);
}

static void test_a_table_is_as_wide_as_what_stands_in_it(void **unused) {
    (void)unused;
    static const struct sheet_column columns[] = {{"NAME", false}, {"N", true}, {"WHERE", false}};
    scoped_sheet struct sheet sheet = {.columns = columns, .column_count = COUNT(columns)};
    assert_line(&sheet, 0, 0, false, "NAME  N  WHERE"); /* empty */
    sheet_add(&sheet, COLOUR_GREEN, "%s", "längere");
    sheet_add(&sheet, COLOUR_NONE, "%d", 7);
    sheet_add(&sheet, COLOUR_NONE, "%s", "\33[31mhere\7\n");
    sheet_add(&sheet, COLOUR_NONE, "%s", "");
    sheet_add(&sheet, COLOUR_NONE, "%d", 1234);
    sheet_add(&sheet, COLOUR_NONE, "%s", "");
    assert_int_equal(sheet_rows(&sheet), 2);
    assert_line(&sheet, 0, 0, false, "NAME        N  WHERE");
    assert_line(&sheet, 1, 0, false, "längere     7  [31mhere"); /* what controls a terminal is gone */
    assert_line(&sheet, 2, 0, false, "         1234");
    assert_line(&sheet, 1, 0, true, "\33[32mlängere\33[0m     7  [31mhere");
    assert_line(&sheet, 1, 3, false, "län");
    assert_line(&sheet, 1, 16, false, "längere     7  [");
    assert_line(&sheet, 1, 14, false, "längere     7");
}

static void test_a_live_table_does_not_shrink(void **unused) {
    (void)unused;
    static const struct sheet_column columns[] = {{"A", false}, {"B", false}};
    size_t kept[COUNT(columns)] = {0};
    for (int i = 0; i < 2; i++) {
        scoped_sheet struct sheet sheet = {.columns = columns, .column_count = COUNT(columns), .kept = kept};
        sheet_add(&sheet, COLOUR_NONE, "%s", i ? "x" : "wide one");
        sheet_add(&sheet, COLOUR_NONE, "y");
        assert_line(&sheet, 0, 0, false, "A         B");
    }
}

/* clang-format off */
static const char ps_answer[] =
    "{\"apps\":[{\"app\":\"copycat\",\"functions\":["
    "{\"function\":\"serve\",\"state\":\"awake\",\"urls\":[\"http://127.0.0.1:8080\",\"http://x.localhost\"],"
    "\"waiting\":2,\"working\":13,\"max_inputs\":10,\"memory_bytes\":1288490189,\"last_wake_us\":1234567,"
    "\"last_wake_kind\":\"start\",\"last_wake_wall_ms\":1000000,\"stopped\":false,\"containers\":["
    "{\"id\":\"1\",\"state\":\"awake\",\"pid\":7,\"memory_bytes\":1},{\"id\":\"2\",\"state\":\"awake\",\"pid\":8,\"memory_bytes\":1}]},"
    "{\"function\":\"chat\",\"state\":\"starting\",\"urls\":[],\"waiting\":1,\"starting_for_ms\":1200,\"containers\":[]}]},"
    "{\"app\":\"b\",\"functions\":["
    "{\"function\":\"f\",\"state\":\"asleep\",\"urls\":[],\"stopped\":false,\"containers\":[{\"id\":\"3\",\"state\":\"primed\"}]},"
    "{\"function\":\"g\",\"state\":\"asleep\",\"stopped\":true},"
    "{\"function\":\"h\",\"state\":\"dozing\",\"last_wake_us\":410,\"last_wake_kind\":\"thaw\",\"last_wake_wall_ms\":1059000},"
    "{\"function\":\"i\",\"state\":\"failed\",\"retry_ms\":800,\"failure\":\"it exited with code 7; log:\\nthe pump\\u001b[2J is broken\"},"
    "{\"function\":\"j\",\"state\":\"from the future\",\"urls\":7,\"waiting\":\"x\"}]}]}\n";
static const char ps_table[] =
    "APP      FUNCTION  STATE                 WAITING   MEMORY  LAST WAKE  TOOK           URL\n"
    "copycat  serve     awake 13/20                 2  1.2 GiB  60 s ago   1.2 s          http://127.0.0.1:8080\n"
    "copycat  chat      starting 1.2 s              1\n"
    "b        f         asleep, primed              0\n"
    "b        g         stopped                     0\n"
    "b        h         dozing                      0           1 s ago    0.4 ms (thaw)\n"
    "b        i         failed, retry 800 ms        0\n"
    "b        j         from the future             0\n";
/* clang-format on */

static void test_ps_has_a_row_a_function_in_every_state(void **unused) {
    (void)unused;
    scoped_json json_t *ps = json_loads(ps_answer, 0, NULL);
    assert_non_null(ps);
    scoped_sheet struct sheet sheet = {.columns = ps_columns, .column_count = PS_COLUMNS};
    struct ps_row *rows;
    size_t count = ps_rows(ps, &rows);
    for (size_t i = 0; i < count; i++) ps_add(&sheet, &rows[i], 1060000);
    free(rows);
    struct text table = {0};
    for (size_t row = 0; row <= count; row++) {
        sheet_line(&sheet, row, 0, false, &table);
        text_add_char(&table, '\n');
    }
    assert_string_equal(table.data, ps_table);
    text_done(&table);
}

static void test_keys_of_a_terminal(void **unused) {
    (void)unused;
    struct span bytes = SPAN("q\33[A\33OB\33[5~\33[1;5Cj\33");
    static const struct {
        enum key key;
        char letter;
    } expected[] = {{KEY_OTHER, 'q'}, {KEY_UP, 0},      {KEY_DOWN, 0},      {KEY_PAGE_UP, 0},
                    {KEY_OTHER, 0},   {KEY_OTHER, 'j'}, {KEY_OTHER, '\33'}, {KEY_NONE, 0}};
    for (size_t i = 0; i < COUNT(expected); i++) {
        char letter;
        assert_int_equal(screen_key(&bytes, &letter), expected[i].key);
        assert_int_equal(letter, expected[i].letter);
    }
}

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
        "PUT /v1/apps", 200,
        "{\"app\":\"x\",\"created\":true,\"functions\":[{\"function\":\"web\",\"state\":"
        "\"asleep\",\"urls\":[\"http://h:1\"],\"example\":\"curl {url}/a {url}\"}]}",
        0};
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
        cmocka_unit_test(test_a_wrong_line_is_told_and_costs_status_2),
        cmocka_unit_test(test_help_and_version_are_for_standard_output),
        cmocka_unit_test(test_options_and_words_may_stand_in_any_order),
        cmocka_unit_test(test_where_the_daemon_is),
        cmocka_unit_test(test_numbers_as_people_read_and_write_them),
        cmocka_unit_test(test_times_of_the_wall),
        cmocka_unit_test(test_a_table_is_as_wide_as_what_stands_in_it),
        cmocka_unit_test(test_a_live_table_does_not_shrink),
        cmocka_unit_test(test_ps_has_a_row_a_function_in_every_state),
        cmocka_unit_test(test_keys_of_a_terminal),
        cmocka_unit_test(test_ps_prints_the_answer_itself_as_json),
        cmocka_unit_test(test_refusals_and_strangers),
        cmocka_unit_test(test_a_name_with_dots_is_an_app_first),
        cmocka_unit_test(test_up_sends_the_variables_that_the_file_names),
        cmocka_unit_test(test_logs_as_text_and_as_json),
        cmocka_unit_test(test_completion_knows_verbs_options_and_apps),
    };
    unsetenv("CATNAP_API");
    unsetenv("CATNAP_API_TOKEN");
    return cmocka_run_group_tests_name("cli", tests, NULL, NULL);
}
