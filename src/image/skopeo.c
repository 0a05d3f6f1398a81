/* skopeo as a child process: it speaks with registries and archives, and moves blobs. We know its words only
 * as far as to start it and to tell why it failed: time="..." level=fatal msg="..." on its last line. */
#include "skopeo.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>

enum { LINES_MAX = 65536, SAID_BYTES = 8192 };

struct skopeo {
    struct io_child *child;
    struct io_watch *watch; /* of its standard error (and output, where lines are wanted) */
    int pipe_fd;
    struct text partial, said;
    void (*line)(void *owner, struct span line);
    void (*done)(void *owner, struct error *error, struct span output);
    void *owner;
};

/* ---- what it says ---- */

/* The text in msg="..." of the last line that has one, unescaped. */
static char *message_of(struct span said) {
    static const char mark[] = "msg=\"";
    struct text text = {0};
    struct span rest = said, last = {0};
    while (rest.data) {
        struct span line = span_cut(&rest, '\n');
        const char *at = memmem(line.data ? line.data : "", line.size, mark, strlen(mark));
        if (at) last = (struct span){at + strlen(mark), line.size - (size_t)(at + strlen(mark) - line.data)};
    }
    if (!last.data) return span_string(span_trim(said));
    for (size_t i = 0; i < last.size && last.data[i] != '"'; i++) {
        if (last.data[i] == '\\' && i + 1 < last.size) i++;
        text_add_char(&text, last.data[i]);
    }
    return text_take(&text);
}

struct error *skopeo_error(struct span said) {
    static const struct {
        const char *words;
        enum error_code code;
    } meanings[] = {
        {"manifest unknown", ERROR_NOT_FOUND},
        {"name unknown", ERROR_NOT_FOUND},
        {"not found", ERROR_NOT_FOUND},
        {"unauthorized", ERROR_UNAUTHENTICATED},
        {"authentication required", ERROR_UNAUTHENTICATED},
        {"requested access to the resource is denied", ERROR_PERMISSION_DENIED},
        {"no space left on device", ERROR_RESOURCE_EXHAUSTED},
        {"toomanyrequests", ERROR_RESOURCE_EXHAUSTED},
        {"no such file or directory", ERROR_NOT_FOUND},
    };
    scoped_string char *message = message_of(said);
    const char *text = *message ? message : "skopeo failed and said nothing";
    /* "Error parsing image name \"docker://...\": " says what the caller says himself. */
    const char *after =
        strncmp(text, "Error parsing image name \"", 26) == 0 ? strstr(text + 26, "\": ") : NULL;
    if (after) text = after + 3;
    for (size_t i = 0; i < COUNT(meanings); i++)
        if (strcasestr(text, meanings[i].words)) return error_new(meanings[i].code, "%s", text);
    return error_new(ERROR_UNAVAILABLE, "%s", text);
}

/* ---- running ---- */

static void keep(struct skopeo *skopeo, struct span line) {
    text_add(&skopeo->said, line);
    text_add_char(&skopeo->said, '\n');
    if (skopeo->said.size > SAID_BYTES) text_remove_front(&skopeo->said, skopeo->said.size - SAID_BYTES);
}

static void take_lines(struct skopeo *skopeo) {
    for (char *newline;
         skopeo->partial.size > 0 && (newline = memchr(skopeo->partial.data, '\n', skopeo->partial.size));) {
        struct span line = {skopeo->partial.data, (size_t)(newline - skopeo->partial.data)};
        keep(skopeo, line);
        scoped_string char *copy = span_string(line);
        text_remove_front(&skopeo->partial, line.size + 1);
        if (skopeo->line && !strstr(copy, "level=")) skopeo->line(skopeo->owner, span_of(copy));
    }
    if (skopeo->partial.size > LINES_MAX) text_clear(&skopeo->partial);
}

static void read_pipe(struct skopeo *skopeo) {
    for (;;) {
        ssize_t got = read(skopeo->pipe_fd, text_reserve(&skopeo->partial, 4096), 4096);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        skopeo->partial.size += (size_t)got;
        skopeo->partial.data[skopeo->partial.size] = '\0';
    }
    take_lines(skopeo);
}

static void on_pipe(void *owner, unsigned events) {
    struct skopeo *skopeo = owner;
    read_pipe(skopeo);
    if (!(events & IO_READABLE)) io_watch_set(skopeo->watch, 0); /* its end alone */
}

static void release(struct skopeo *skopeo) {
    io_watch_free(skopeo->watch);
    scoped_fd_close(&skopeo->pipe_fd);
    text_done(&skopeo->partial), text_done(&skopeo->said);
    free(skopeo);
}

static void on_end(void *owner, struct io_child_end *end) {
    struct skopeo *skopeo = owner;
    struct error *error = end->error;
    skopeo->child = NULL;
    skopeo->line = NULL;
    read_pipe(skopeo);
    keep(skopeo, text_span(&skopeo->partial));
    if (error && error->code == ERROR_NOT_FOUND)
        error = error_wrap(error, "skopeo moves images, and it is not here (Debian: apt-get install skopeo)");
    if (!error && end->exit_code != 0) error = skopeo_error(text_span(&skopeo->said));
    skopeo->done(skopeo->owner, error, end->output);
    release(skopeo);
}

static const char **argv_of(const struct skopeo_options *options) {
    size_t count = words_count(options->words);
    const char **argv = mem_array(count + 3, sizeof *argv), **at = argv;
    *at++ = options->store->skopeo;
    /* Without a policy of the machine there is none to ask, and skopeo would refuse everything. */
    if (!file_exists("/etc/containers/policy.json")) *at++ = "--insecure-policy";
    for (size_t i = 0; i < count; i++) *at++ = options->words[i];
    return argv;
}

struct skopeo *skopeo_start(const struct skopeo_options *options) {
    struct skopeo *skopeo = NEW(struct skopeo);
    *skopeo =
        (struct skopeo){.line = options->line, .done = options->done, .owner = options->owner, .pipe_fd = -1};
    int ends[2] = {-1, -1};
    if (pipe2(ends, O_CLOEXEC) || fcntl(ends[0], F_SETFL, O_NONBLOCK)) abort();
    skopeo->pipe_fd = ends[0];
    scoped(error) struct error *unwatched =
        io_watch_new(options->store->loop, ends[0], IO_READABLE, on_pipe, skopeo, &skopeo->watch);
    if (unwatched) log_warn("image", "skopeo is not watched; what it says comes at its end");
    const char **argv = argv_of(options);
    skopeo->child = io_child_start(options->store->loop, &(struct io_child_options){
                                                             .argv = argv,
                                                             .stdin_fd = -1,
                                                             .stdout_fd = options->line ? ends[1] : -1,
                                                             .stderr_fd = ends[1],
                                                             .output_limit_bytes = 5 << 20,
                                                             .deadline_ms = options->deadline_ms,
                                                             .done = on_end,
                                                             .owner = skopeo,
                                                         });
    free(argv);
    close(ends[1]);
    return skopeo;
}

void skopeo_free(struct skopeo *skopeo) {
    if (!skopeo) return;
    io_child_free(skopeo->child);
    release(skopeo);
}

/* ---- who we are to a registry ---- */

static char *base64(struct span bytes) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct text text = {0};
    for (size_t i = 0; i < bytes.size; i += 3) {
        uint32_t group = 0;
        for (size_t k = 0; k < 3; k++)
            group = group << 8 | (i + k < bytes.size ? (unsigned char)bytes.data[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            text_add_char(&text, i + k <= bytes.size ? digits[group >> (18 - 6 * k) & 63] : '=');
    }
    return text_take(&text);
}

struct error *skopeo_auth_write(const char *path, const char *registry,
                                const struct image_credentials *credentials) {
    scoped_string char *plain = mem_printf("%s:%s", credentials->user, credentials->password),
                       *coded = base64(span_of(plain));
    scoped_json json_t *json = json_pack("{s:{s:{s:s}}}", "auths", registry, "auth", coded);
    if (!json) return error_new(ERROR_INVALID_ARGUMENT, "the credentials of %s are no text", registry);
    scoped_string char *text = json_dumps(json, JSON_COMPACT);
    return file_replace(path, span_of(text), 0600);
}
