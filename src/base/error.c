/* Errors: a code for the client, a chain of messages for the person.
 *
 * Each level adds what only it knows; the chain reads from the outside in: "start tabby: layer sha256:ab: no
 * such blob". */
#include "base.h"

#include <errno.h>
#include <stdlib.h>

static const struct {
    const char *name;
    int http;
} codes[] = {
    [0] = {"OK", 200},
    [ERROR_CANCELLED] = {"CANCELLED", 499},
    [ERROR_UNKNOWN] = {"UNKNOWN", 500},
    [ERROR_INVALID_ARGUMENT] = {"INVALID_ARGUMENT", 400},
    [ERROR_DEADLINE_EXCEEDED] = {"DEADLINE_EXCEEDED", 504},
    [ERROR_NOT_FOUND] = {"NOT_FOUND", 404},
    [ERROR_ALREADY_EXISTS] = {"ALREADY_EXISTS", 409},
    [ERROR_PERMISSION_DENIED] = {"PERMISSION_DENIED", 403},
    [ERROR_RESOURCE_EXHAUSTED] = {"RESOURCE_EXHAUSTED", 429},
    [ERROR_FAILED_PRECONDITION] = {"FAILED_PRECONDITION", 412},
    [ERROR_ABORTED] = {"ABORTED", 409},
    [ERROR_OUT_OF_RANGE] = {"OUT_OF_RANGE", 400},
    [ERROR_UNIMPLEMENTED] = {"UNIMPLEMENTED", 501},
    [ERROR_INTERNAL] = {"INTERNAL", 500},
    [ERROR_UNAVAILABLE] = {"UNAVAILABLE", 503},
    [ERROR_DATA_LOSS] = {"DATA_LOSS", 500},
    [ERROR_UNAUTHENTICATED] = {"UNAUTHENTICATED", 401},
};

static bool known(enum error_code code) {
    return (size_t)code < COUNT(codes) && codes[code].name;
}
int error_http(enum error_code code) {
    return known(code) ? codes[code].http : 500;
}
const char *error_code_name(enum error_code code) {
    return known(code) ? codes[code].name : "UNKNOWN";
}

static struct error *make(enum error_code code, char *taken_message, struct error *cause) {
    struct error *err = NEW(struct error);
    *err = (struct error){code, taken_message, cause};
    return err;
}

struct error *error_new(enum error_code code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *message = mem_vprintf(format, args);
    va_end(args);
    return make(code, message, NULL);
}

struct error *error_wrap(struct error *cause, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *message = mem_vprintf(format, args);
    va_end(args);
    return make(cause->code, message, cause);
}

static enum error_code code_of(int errno_value) {
    switch (errno_value) {
    case ENOENT:
    case ESRCH: return ERROR_NOT_FOUND;
    case EEXIST:
    case EADDRINUSE: return ERROR_ALREADY_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS: return ERROR_PERMISSION_DENIED;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EFBIG: return ERROR_RESOURCE_EXHAUSTED;
    case EINVAL:
    case ENAMETOOLONG:
    case ENOTDIR:
    case EISDIR:
    case ELOOP: return ERROR_INVALID_ARGUMENT;
    case ETIMEDOUT: return ERROR_DEADLINE_EXCEEDED;
    case ECANCELED: return ERROR_CANCELLED;
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EAGAIN:
    case EBUSY: return ERROR_UNAVAILABLE;
    case ENOSYS:
    case EOPNOTSUPP: return ERROR_UNIMPLEMENTED;
    default: return ERROR_INTERNAL;
    }
}

struct error *error_errno(int errno_value, const char *format, ...) {
    va_list args;
    va_start(args, format);
    scoped_string char *what = mem_vprintf(format, args);
    va_end(args);
    return make(code_of(errno_value), mem_printf("%s: %s", what, strerror(errno_value)), NULL);
}

struct error *error_copy(const struct error *err) {
    if (!err) return NULL;
    return make(err->code, mem_string(err->message), error_copy(err->cause));
}

char *error_text(const struct error *err) {
    struct text text = {0};
    for (; err; err = err->cause) {
        if (text.size) text_add_string(&text, ": ");
        text_add_string(&text, err->message);
    }
    return text_take(&text);
}

void error_free(struct error *err) {
    while (err) {
        struct error *cause = err->cause;
        free(err->message);
        free(err);
        err = cause;
    }
}
