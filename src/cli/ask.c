/* Asking the daemon, and telling what it refused or that it is not there.
 *
 * An asking ends once: with the answer, with what was refused, with no answer, or because the reader of its
 * stream has enough. What answers but is no catnap is told as such: CATNAP_API may name anything. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "command.h"
#include "http.h"

#define LINE_MAX_BYTES (16 * 1024 * 1024) /* of a stream; a ps of thousands of functions is far below */

struct asking {
    struct command *command;
    const struct question *question;
    struct http_ask *http;
    struct text body; /* of a stream: the line that is not whole yet, or a refusal */
    int status;
    void (*done)(void *owner, struct error *error, json_t *json);
    void *owner;
    struct io_timer *enough; /* armed: the stream's reader wants no more */
};

/* Whole lines go to the question; false: it has enough. */
static bool give_lines(struct asking *asking) {
    size_t begin = 0;
    for (const char *end; asking->body.size > begin &&
                          (end = memchr(asking->body.data + begin, '\n', asking->body.size - begin));) {
        struct span line = {asking->body.data + begin, (size_t)(end - asking->body.data) - begin};
        begin += line.size + 1;
        if (line.size > 0 && !asking->question->line(asking->question->owner, line)) return false;
    }
    text_remove_front(&asking->body, begin);
    return true;
}

/* The one way out. */
static void finish(struct asking *asking, struct error *error, json_t *json) {
    void (*done)(void *, struct error *, json_t *) = asking->done;
    void *owner = asking->owner;
    asking_free(asking);
    done(owner, error, json);
}

static void on_enough(void *owner) {
    finish(owner, NULL, NULL);
}

static void stop(struct asking *asking) {
    http_ask_free(take(asking->http));
    io_timer_arm(asking->enough, 0);
}

static void on_data(void *owner, struct span bytes) {
    struct asking *asking = owner;
    asking->status = http_ask_status(asking->http);
    text_add(&asking->body, bytes);
    if (asking->body.size > LINE_MAX_BYTES || (asking->status == 200 && !give_lines(asking))) stop(asking);
}

static struct error *no_answer(struct asking *asking, struct error *taken_error) {
    scoped(error) struct error *error = taken_error;
    struct command *command = asking->command;
    const char *told = command->place.told;
    command->failure = STATUS_NO_DAEMON;
    if (asking->status)
        return error_new(ERROR_UNAVAILABLE, "the daemon at %s %s", told,
                         asking->question->line ? "ended" : "went away before its answer was whole");
    if (error->code == ERROR_PERMISSION_DENIED) command->failure = STATUS_FAILED;
    if (error->code == ERROR_PERMISSION_DENIED)
        return error_new(ERROR_PERMISSION_DENIED,
                         "%s belongs to another user's daemon; ask as that user (sudo?), or name yours by "
                         "CATNAP_API",
                         told);
    if (error->code == ERROR_INVALID_ARGUMENT) command->failure = STATUS_USAGE;
    if (error->code == ERROR_INVALID_ARGUMENT || error->code == ERROR_DEADLINE_EXCEEDED) return take(error);
    scoped_string char *text = error_text(error);
    const char *why = text; /* "ask ADDR: connect: Connection refused": how we got there helps nobody */
    for (const char *colon; (colon = strstr(why, ": "));) why = colon + 2;
    bool roots = geteuid() != 0 && !getenv("CATNAP_API") && file_exists("/run/catnap/api.sock");
    return error_new(ERROR_UNAVAILABLE, "no daemon answers at %s (%s); %s", told, why,
                     roots ? "root's one is there: sudo catnap ..."
                           : "start one with `catnap serve`, or say by CATNAP_API where it is");
}

/* {"error", "code"}, or somebody else's page. */
static struct error *refusal(const struct command *command, int status, struct span body) {
    scoped_json json_t *json = json_loadb(body.data ? body.data : "", body.size, 0, NULL);
    const char *text = json_string_value(json_object_get(json, "error"));
    const char *name = json_string_value(json_object_get(json, "code"));
    const struct place *place = &command->place;
    if (status == 401 && place->token)
        return error_new(ERROR_UNAUTHENTICATED,
                         "the daemon at %s refuses the token of %s; its own one stands in api-token in its "
                         "state directory",
                         place->told, place->token_from);
    if (!text || !name)
        return error_new(ERROR_UNAVAILABLE,
                         "what answers at %s is no catnap (HTTP status %d); CATNAP_API says where to ask",
                         place->told, status);
    enum error_code code = ERROR_UNKNOWN;
    for (int i = ERROR_CANCELLED; i <= ERROR_UNAUTHENTICATED; i++)
        if (strcmp(error_code_name((enum error_code)i), name) == 0) code = (enum error_code)i;
    return error_new(code, "%s", text);
}

static void on_done(void *owner, struct http_answer *answer) {
    struct asking *asking = owner;
    bool stream = asking->question->line != NULL;
    struct span body = stream ? text_span(&asking->body) : answer->body;
    struct error *error = NULL;
    json_t *json = NULL;
    asking->http = NULL; /* it frees itself */
    asking->status = answer->status;
    if (answer->error) {
        error = no_answer(asking, answer->error);
    } else if (answer->status != 200) {
        error = refusal(asking->command, answer->status, body);
    } else if (!stream) {
        json = json_loadb(body.data ? body.data : "", body.size, 0, NULL);
        if (!json) error = refusal(asking->command, answer->status, body);
    }
    finish(asking, error, json);
}

struct error *asking_start(struct io_loop *loop, struct command *command, const struct question *question,
                           void (*done)(void *owner, struct error *error, json_t *json), void *owner,
                           struct asking **ret_asking) {
    struct place *place = &command->place;
    *ret_asking = NULL;
    command->failure = STATUS_USAGE;
    if (!place->address) TRY_PLAIN(place_find(place));
    command->failure = STATUS_FAILED;
    struct asking *asking = NEW(struct asking);
    *asking = (struct asking){.command = command, .question = question, .done = done, .owner = owner};
    asking->enough = io_timer_new(loop, on_enough, asking);
    scoped_string char *bearer = place->token ? mem_printf("Bearer %s", place->token) : NULL;
    const char *const fields[] = {"Content-Type", "application/json", bearer ? "Authorization" : NULL, bearer,
                                  NULL};
    asking->http = http_ask_start(&(struct http_ask_options){
        .loop = loop,
        .address = place->address,
        .method = question->method,
        .target = question->target,
        .fields = fields,
        .body = question->body,
        .timeout_ms = question->timeout_ms,
        .data = question->line ? on_data : NULL,
        .done = on_done,
        .owner = asking,
    });
    *ret_asking = asking;
    return NULL;
}

void asking_free(struct asking *asking) {
    if (!asking) return;
    http_ask_free(asking->http);
    io_timer_free(asking->enough);
    text_done(&asking->body);
    free(asking);
}

/* ---- one question, waited for ---- */

struct waiting {
    struct command *command;
    struct io_loop *loop;
    struct asking *asking;
    struct error *error;
    json_t *json;
};

static void on_answer(void *owner, struct error *error, json_t *json) {
    struct waiting *waiting = owner;
    waiting->asking = NULL;
    waiting->error = error;
    waiting->json = json;
    io_loop_stop(waiting->loop);
}

/* A pipe whose reader left, e.g. `head`: told by the pipe, not only by the next write to it. */
static void on_pipe(void *owner, unsigned events) {
    struct waiting *waiting = owner;
    if (!(events & IO_HANGUP)) return;
    waiting->command->reader_left = true;
    asking_free(take(waiting->asking));
    io_loop_stop(waiting->loop);
}

/* Opened once more, because watching makes it non-blocking, and what others write to must stay as it is. */
static int pipe_of_stdout(void) {
    struct stat status;
    if (fstat(STDOUT_FILENO, &status) != 0 || !S_ISFIFO(status.st_mode)) return -1;
    return open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
}

struct error *ask(struct command *command, const struct question *question, json_t **ret_json) {
    scoped(io_loop) struct io_loop *loop = io_loop_new();
    scoped_fd int pipe_fd = question->line ? pipe_of_stdout() : -1;
    struct waiting waiting = {.command = command, .loop = loop};
    struct io_watch *watch = NULL;
    if (ret_json) *ret_json = NULL;
    TRY_PLAIN(asking_start(loop, command, question, on_answer, &waiting, &waiting.asking));
    if (pipe_fd >= 0) error_free(io_watch_new(loop, pipe_fd, IO_HANGUP, on_pipe, &waiting, &watch));
    io_loop_run(loop);
    io_watch_free(watch);
    if (ret_json)
        *ret_json = waiting.json;
    else
        json_decref(waiting.json);
    return waiting.error;
}

struct error *ask_about(struct command *command, const char *word, target_maker *target,
                        struct question *question, json_t **ret_json) {
    scoped_string char *app = mem_string(word);
    scoped_string char *whole = target(app, NULL, question->owner);
    question->target = whole;
    struct error *error = ask(command, question, ret_json);
    for (char *dot = app + strlen(app); error && error->code == ERROR_NOT_FOUND;) {
        while (dot > app && *--dot != '.') continue;
        if (dot == app || !dot[1]) break;
        *dot = 0;
        scoped_string char *part = target(app, word + (dot - app) + 1, question->owner);
        question->target = part;
        error_free(error);
        error = ask(command, question, ret_json);
    }
    return error;
}

int fail(const struct command *command, struct error *taken_error) {
    scoped(error) struct error *error = taken_error;
    scoped_string char *text = error_text(error);
    fflush(stdout);
    fprintf(stderr, "catnap: %s\n", text);
    return (int)command->failure;
}

int fail_usage(const struct command *command, const char *format, ...) {
    va_list args;
    va_start(args, format);
    scoped_string char *text = mem_vprintf(format, args);
    va_end(args);
    const char *verb = command && command->verb ? command->verb->name : NULL;
    fprintf(stderr, "catnap%s%s: %s (see `catnap help%s%s`)\n", verb ? " " : "", verb ? verb : "", text,
            verb ? " " : "", verb ? verb : "");
    return STATUS_USAGE;
}

void print_json(const json_t *json) {
    json_dumpf(json, stdout, isatty(STDOUT_FILENO) ? JSON_INDENT(2) : JSON_COMPACT);
    putchar('\n');
}
