/* What tests of the command line share: a line that is run in a process of its own, what it printed, and an
 * answer of the daemon with functions in every state. */
#pragma once
#include "command.h"
#include "test.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the world ---- */

static inline int hooked(int argc, char **argv) {
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

static inline void ran_done(struct ran *ran) {
    text_done(&ran->out);
    text_done(&ran->err);
}

static inline char *temporary(const char *suffix) {
    return mem_printf("/tmp/catnap-test-cli-%d%s", (int)getpid(), suffix);
}

/* In a process of its own: it may be killed, and has this process's tables of files to itself. */
static inline pid_t begin(char *const *words, const char *out, const char *err) {
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

static inline void collect(struct ran *ran, int wait_status, const char *out, const char *err) {
    *ran = (struct ran){.status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1};
    assert_ok(file_read(out, 1 << 20, &ran->out));
    assert_ok(file_read(err, 1 << 20, &ran->err));
    text_add_string(&ran->out, "");
    text_add_string(&ran->err, "");
    unlink(out);
    unlink(err);
}

/* "catnap ..." split at blanks. */
static inline char **split(struct arena *arena, const char *line) {
    char **words = arena_alloc(arena, 32 * sizeof *words);
    struct span rest = span_of(line);
    for (size_t i = 0; rest.data; i++) words[i] = arena_string(arena, span_cut(&rest, ' '));
    return words;
}

static inline void run(const char *line, struct ran *ran) {
    scoped(arena) struct arena *arena = arena_new();
    scoped_string char *out = temporary(".out"), *err = temporary(".err");
    int status;
    pid_t pid = begin(split(arena, line), out, err);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    collect(ran, status, out, err);
}

static inline void says(const char *line, int status, const char *in_out, const char *in_err) {
    struct ran ran;
    run(line, &ran);
    const char *out = ran.out.data ? ran.out.data : "", *err = ran.err.data ? ran.err.data : "";
    if (ran.status != status || !strstr(out, in_out) || !strstr(err, in_err))
        fail_msg("%s: %d, '%s', '%s' instead of %d, '%s', '%s'", line, ran.status, out, err, status, in_out,
                 in_err);
    ran_done(&ran);
}

/* clang-format off */
static const char ps_answer[] =
    "{\"apps\":[{\"app\":\"copycat\",\"functions\":[{\"function\":\"serve\","
    "\"state\":\"awake\",\"urls\":[\"http://h:1\",\"http://x.localhost\"],"
    "\"waiting\":2,\"working\":13,\"max_inputs\":10,\"memory_bytes\":1288490189,"
    "\"last_wake_us\":1234567,\"last_wake_kind\":\"start\","
    "\"last_wake_wall_ms\":1000000,\"stopped\":false,\"containers\":[{\"id\":\"1\","
    "\"state\":\"awake\",\"pid\":7,\"memory_bytes\":1},{\"id\":\"2\",\"state\":\"awake\","
    "\"pid\":8,\"memory_bytes\":1}]},{\"function\":\"chat\",\"state\":\"starting\","
    "\"urls\":[],\"waiting\":1,\"starting_for_ms\":1200,\"containers\":[]}]},"
    "{\"app\":\"b\",\"functions\":[{\"function\":\"f\",\"state\":\"asleep\",\"urls\":[],"
    "\"stopped\":false,\"containers\":[{\"id\":\"3\",\"state\":\"primed\"}]},"
    "{\"function\":\"g\",\"state\":\"asleep\",\"stopped\":true},{\"function\":\"h\","
    "\"state\":\"dozing\",\"last_wake_us\":410,\"last_wake_kind\":\"thaw\","
    "\"last_wake_wall_ms\":1059000},{\"function\":\"i\",\"state\":\"failed\","
    "\"retry_ms\":800,"
    "\"failure\":\"it exited with code 7; log:\\nthe pump\\u001b[2J is broken\"},"
    "{\"function\":\"j\",\"state\":\"from the future\",\"urls\":7,\"waiting\":\"x\"}]}]}\n";
/* clang-format on */
