/* The process that parses files: a grammar's code is not ours, and files are anybody's.
 *
 * Some inputs of a few kilobytes take a grammar minutes and gigabytes, in one step that nothing can
 * interrupt; and a scanner written by hand may crash. So the parser is a process without files or sockets but
 * one: asked for a file, it answers with rows. It is ended when a file takes too much of its processor time,
 * and dies when it wants too much memory; the next file has a new one. A repository that ends many is cut
 * without it.
 *
 * A question: struct question, the content. An answer: struct answer, so many rows. */
#include "grammar.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#define PARSE_US 1000000 /* of processor time, and two more for each byte: ten times what is usual */
#define ANSWER_MS 60000  /* by the clock on the wall */
#define LOOK_MS 20       /* so often is the time looked at */
#define MEMORY_MAX (640ull << 20)
#define ENDED_MAX 50 /* processes of one run */
#define CONTENT_MAX (1u << 24)

struct syntax {
    bool apart;
    pid_t process; /* 0: none */
    int fd;
    unsigned ended;
    struct syntax_tree tree;
};

struct question {
    const struct grammar *grammar; /* the process is a fork: it lies at the same place */
    size_t size;
};
struct answer {
    bool sense;
    size_t count;
};

static bool send_all(int fd, const void *data, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t sent = send(fd, (const char *)data + done, size - done, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return false;
        done += (size_t)sent;
    }
    return true;
}

static bool receive_all(int fd, void *data, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t got = recv(fd, (char *)data + done, size - done, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        done += (size_t)got;
    }
    return true;
}

/* ---- inside ---- */

static void answer_one(int fd, struct syntax_tree *tree) {
    struct question question;
    if (!receive_all(fd, &question, sizeof question)) _exit(0);
    char *content = mem_array(question.size + 1, 1);
    if (!receive_all(fd, content, question.size)) _exit(0);
    bool sense = syntax_read(tree, question.grammar, (struct span){content, question.size});
    struct answer answer = {sense, tree->count};
    free(content);
    if (!send_all(fd, &answer, sizeof answer) || !send_all(fd, tree->rows, tree->count * sizeof *tree->rows))
        _exit(0);
}

static void limit(int resource, rlim_t most) {
    struct rlimit limits = {most, most};
    setrlimit(resource, &limits); /* where it fails, the time is still bounded */
}

static _Noreturn void parse_for_others(int fd, pid_t parent) {
    struct syntax_tree tree = {0};
    int null = open("/dev/null", O_RDWR);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || null < 0) _exit(1);
    for (int i = 0; i < 3; i++) dup2(null, i);
    if (dup2(fd, 3) != 3 || close_range(4, ~0u, 0) != 0) _exit(1);
    limit(RLIMIT_CORE, 0);
#ifndef __SANITIZE_ADDRESS__
    limit(RLIMIT_AS, MEMORY_MAX);
#endif
    for (;;) answer_one(3, &tree);
}

/* ---- outside ---- */

static void end_process(struct syntax *syntax) {
    if (syntax->process <= 0) return;
    kill(syntax->process, SIGKILL);
    while (waitpid(syntax->process, NULL, 0) < 0 && errno == EINTR) continue;
    close(syntax->fd);
    syntax->process = 0;
}

static bool begin_process(struct syntax *syntax) {
    int ends[2];
    pid_t parent = getpid();
    if (syntax->process > 0) return true;
    if (syntax->ended >= ENDED_MAX) return false;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return false;
    syntax->process = fork();
    if (syntax->process == 0) parse_for_others(ends[1], parent);
    close(ends[1]);
    syntax->fd = ends[0];
    if (syntax->process > 0) return true;
    close(syntax->fd);
    return false;
}

static int64_t used_us(pid_t process) {
    clockid_t clock;
    struct timespec used;
    if (clock_getcpuclockid(process, &clock) != 0 || clock_gettime(clock, &used) != 0) return 0;
    return (int64_t)used.tv_sec * 1000000 + used.tv_nsec / 1000;
}

/* Until there is something to read. */
static bool wait_answer(const struct syntax *syntax, size_t size) {
    int64_t until_us = used_us(syntax->process) + PARSE_US + 2 * (int64_t)size;
    int64_t until_ms = clock_monotonic_ms() + ANSWER_MS;
    struct pollfd ready = {.fd = syntax->fd, .events = POLLIN};
    for (;;) {
        int got = poll(&ready, 1, LOOK_MS);
        if (got > 0) return true;
        if (got < 0 && errno != EINTR) return false;
        if (used_us(syntax->process) > until_us || clock_monotonic_ms() > until_ms) return false;
    }
}

static bool ask(struct syntax *syntax, const struct grammar *grammar, struct span content, bool *ret_sense) {
    struct question question = {grammar, content.size};
    struct answer answer;
    struct syntax_tree *tree = &syntax->tree;
    if (!send_all(syntax->fd, &question, sizeof question) ||
        !send_all(syntax->fd, content.data, content.size) || !wait_answer(syntax, content.size) ||
        !receive_all(syntax->fd, &answer, sizeof answer) || answer.count > 16 * content.size)
        return false;
    if (answer.count > tree->capacity) {
        tree->capacity = answer.count;
        tree->rows = mem_grow(tree->rows, tree->capacity, sizeof *tree->rows);
    }
    tree->count = answer.count;
    *ret_sense = answer.sense;
    return receive_all(syntax->fd, tree->rows, tree->count * sizeof *tree->rows);
}

static bool read_apart(struct syntax *syntax, const struct grammar *grammar, struct span content) {
    bool sense = false;
    if (!begin_process(syntax)) return false;
    if (ask(syntax, grammar, content, &sense)) return sense;
    end_process(syntax);
    if (++syntax->ended == ENDED_MAX)
        log_warn("index", "%u files were too much for their grammars: the others are cut by indentation",
                 syntax->ended);
    return false;
}

struct syntax *syntax_new(bool apart) {
    struct syntax *syntax = NEW(struct syntax);
    syntax->apart = apart;
    return syntax;
}

void syntax_free(struct syntax *syntax) {
    if (!syntax) return;
    end_process(syntax);
    free(syntax->tree.rows);
    free(syntax);
}

bool syntax_mark(struct syntax *syntax, const struct grammar *grammar, struct span content,
                 struct cut_lines *lines) {
    if (content.size > CONTENT_MAX) return false;
    if (!(syntax->apart ? read_apart(syntax, grammar, content)
                        : syntax_read(&syntax->tree, grammar, content)))
        return false;
    for (size_t i = 0; i < syntax->tree.count; i++)
        cut_mark(lines, syntax->tree.rows[i].first, syntax->tree.rows[i].last);
    return true;
}
