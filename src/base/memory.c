/* Memory that aborts when there is none, and what frees at the end of a scope. */
#include "base.h"

#include <stdio.h>
#include <stdlib.h>

static void *or_abort(void *memory) {
    if (memory) return memory;
    static const char text[] = "catnap: out of memory\n";
    ssize_t told = write(2, text, sizeof text - 1);
    (void)told;
    abort();
}

void *mem_new(size_t size_bytes) {
    return or_abort(calloc(1, size_bytes ? size_bytes : 1));
}

void *mem_array(size_t count, size_t size_bytes) {
    return or_abort(calloc(count ? count : 1, size_bytes ? size_bytes : 1));
}

void *mem_grow(void *old, size_t count, size_t size_bytes) {
    size_t total;
    if (__builtin_mul_overflow(count, size_bytes, &total)) return or_abort(NULL);
    return or_abort(realloc(old, total ? total : 1));
}

char *mem_string(const char *string) {
    return string ? mem_string_n(string, strlen(string)) : NULL;
}

char *mem_string_n(const char *data, size_t size_bytes) {
    char *copy = mem_new(size_bytes + 1);
    if (size_bytes) memcpy(copy, data, size_bytes);
    return copy;
}

char *mem_vprintf(const char *format, va_list args) {
    char *string = NULL;
    if (vasprintf(&string, format, args) < 0) return or_abort(NULL);
    return string;
}

char *mem_printf(const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *string = mem_vprintf(format, args);
    va_end(args);
    return string;
}

void scoped_text_free(char **p) {
    free(*p);
}

void scoped_fd_close(int *fd) {
    if (*fd >= 0) close(*fd);
}

void scoped_json_decref(json_t **p) {
    json_decref(*p);
}

json_t *json_read(struct span text, size_t flags, json_error_t *where) {
    const char *data = text.data ? text.data : "";
    json_t *root = json_loadb(data, text.size, flags, where);
    if (root || json_error_code(where) != json_error_numeric_overflow) return root;
    return json_loadb(data, text.size, flags | JSON_DECODE_INT_AS_REAL, where);
}
