/* base: what every room stands on.
 *
 * Errors that gather context, memory that aborts when it is gone, borrowed and built strings, maps, lists,
 * clocks, the log, SHA-256 and small files. Nothing in here knows what catnap is for.
 *
 * Ownership words in all headers: `borrowed` (the caller keeps it, valid for the call or as said), `owned`
 * (the receiver frees it), `taken` (the call frees it, also when it fails). */
#pragma once
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define must_check __attribute__((warn_unused_result))
#define printf_like(FORMAT, FIRST) __attribute__((format(printf, FORMAT, FIRST), nonnull(FORMAT)))
#define COUNT(ARRAY) (sizeof(ARRAY) / sizeof *(ARRAY))
#define CONTAINER_OF(POINTER, TYPE, MEMBER) ((TYPE *)((char *)(POINTER)-offsetof(TYPE, MEMBER)))

/* ---- cleanup by scope ---- */
#define scoped(type) __attribute__((cleanup(type##_freep), unused))
#define DEFINE_SCOPED(type)                            \
    static inline void type##_freep(struct type **p) { \
        type##_free(*p);                               \
    }
#define take(p)                     \
    ({                              \
        __typeof__(p) taken_ = (p); \
        (p) = (void *)0;            \
        taken_;                     \
    })
void scoped_text_free(char **p);
void scoped_fd_close(int *fd);
void scoped_json_decref(json_t **p);
#define scoped_string __attribute__((cleanup(scoped_text_free), unused)) /* char *, freed */
#define scoped_fd __attribute__((cleanup(scoped_fd_close), unused))      /* int, closed unless -1 */
#define scoped_json \
    __attribute__((cleanup(scoped_json_decref), unused)) /* json_t *, one reference given back */
static inline int take_fd(int *fd) {
    int taken = *fd;
    *fd = -1;
    return taken;
}

/* ---- memory: small allocations abort when there is none; sizes from outside are bounded by the caller
 * before ---- */
void *mem_new(size_t size_bytes);                           /* zeroed */
void *mem_array(size_t count, size_t size_bytes);           /* zeroed; aborts on overflow */
void *mem_grow(void *old, size_t count, size_t size_bytes); /* realloc of an array; new part not zeroed */
char *mem_string(const char *string);                       /* NULL gives NULL */
char *mem_string_n(const char *data, size_t size_bytes);
char *mem_printf(const char *format, ...) printf_like(1, 2);
char *mem_vprintf(const char *format, va_list args) printf_like(1, 0);
#define NEW(TYPE) ((TYPE *)mem_new(sizeof(TYPE)))

/* ---- errors: NULL is success; codes are gRPC's numbers ---- */
enum error_code {
    ERROR_CANCELLED = 1,
    ERROR_UNKNOWN = 2,
    ERROR_INVALID_ARGUMENT = 3,
    ERROR_DEADLINE_EXCEEDED = 4,
    ERROR_NOT_FOUND = 5,
    ERROR_ALREADY_EXISTS = 6,
    ERROR_PERMISSION_DENIED = 7,
    ERROR_RESOURCE_EXHAUSTED = 8,
    ERROR_FAILED_PRECONDITION = 9,
    ERROR_ABORTED = 10,
    ERROR_OUT_OF_RANGE = 11,
    ERROR_UNIMPLEMENTED = 12,
    ERROR_INTERNAL = 13,
    ERROR_UNAVAILABLE = 14,
    ERROR_DATA_LOSS = 15,
    ERROR_UNAUTHENTICATED = 16,
};
struct error {
    enum error_code code;
    char *message;
    struct error *cause;
};
must_check struct error *error_new(enum error_code code, const char *format, ...) printf_like(2, 3);
/* "FORMAT: strerror(errno_value)", with a code that fits the errno (ENOENT: NOT_FOUND, ENOSPC:
 * RESOURCE_EXHAUSTED, ...). */
must_check struct error *error_errno(int errno_value, const char *format, ...) printf_like(2, 3);
must_check struct error *error_wrap(struct error *cause, const char *format, ...)
    printf_like(2, 3);                             /* takes cause; keeps its code */
struct error *error_copy(const struct error *err); /* deep; NULL gives NULL */
char *error_text(const struct error *err);         /* "start tabby: no blob sha256:ab"; owned by the caller */
int error_http(enum error_code code);              /* the HTTP status that says the same */
const char *error_code_name(enum error_code code); /* "NOT_FOUND"; static */
void error_free(struct error *err);
DEFINE_SCOPED(error)
#define TRY(EXPR, ...)                              \
    do {                                            \
        struct error *e_ = (EXPR);                  \
        if (e_) return error_wrap(e_, __VA_ARGS__); \
    } while (0)
#define TRY_PLAIN(EXPR) /* where this level has nothing to add */ \
    do {                                                          \
        struct error *e_ = (EXPR);                                \
        if (e_) return e_;                                        \
    } while (0)

/* ---- spans: borrowed bytes, not NUL-terminated ---- */
struct span {
    const char *data;
    size_t size; /* bytes */
};
#define SPAN(LITERAL) ((struct span){(LITERAL), sizeof(LITERAL) - 1})
#define SPAN_FORMAT "%.*s"
#define SPAN_ARGS(S) (int)(S).size, (S).data
static inline struct span span_of(const char *string) {
    return (struct span){string, string ? strlen(string) : 0};
}
bool span_equal(struct span a, struct span b);
bool span_equal_nocase(struct span a, struct span b); /* ASCII */
bool span_is(struct span a, const char *string);
bool span_is_nocase(struct span a, const char *string);
bool span_starts(struct span a, const char *prefix);
bool span_ends(struct span a, const char *suffix);
struct span span_trim(struct span a); /* ASCII blanks on both ends */
/* Cuts what is before the first `separator` off *rest and returns it; without one, all of it. *rest has data
 * NULL at the end. */
struct span span_cut(struct span *rest, char separator);
/* Whole span a number in range, decimal, no sign for the unsigned form. */
bool span_to_u64(struct span a, uint64_t *ret_value);
bool span_to_i64(struct span a, int64_t *ret_value);
char *span_string(struct span a); /* NUL-terminated copy, owned by the caller */
/* json_loadb, for bodies of other people's clients: where an integer has more than 63 bits, all numbers are
 * read as reals instead of none at all. */
json_t *json_read(struct span text, size_t flags, json_error_t *where);
/* Length of the UTF-8 character at the front of what is not empty; 0: it is none (overlong, surrogate, cut,
 * out of range). */
size_t utf8_size(struct span rest);

/* ---- text: bytes being built; always NUL-terminated behind `size` once anything was added ---- */
struct text {
    char *data; /* NULL while empty */
    size_t size;
    size_t capacity;
};
void text_add(struct text *text, struct span bytes);
void text_add_string(struct text *text, const char *string);
void text_add_char(struct text *text, char c);
void text_printf(struct text *text, const char *format, ...) printf_like(2, 3);
void text_add_json(struct text *text,
                   struct span utf8); /* quoted and escaped; invalid UTF-8 becomes U+FFFD */
char *text_reserve(struct text *text, size_t more_bytes); /* where to write; then add to size */
void text_remove_front(struct text *text, size_t bytes);
void text_clear(struct text *text); /* keeps the memory */
void text_done(struct text *text);
char *text_take(struct text *text); /* owned by the caller, never NULL; text is empty afterwards */
static inline struct span text_span(const struct text *text) {
    return (struct span){text->data, text->size};
}
#define scoped_text __attribute__((cleanup(text_done), unused)) /* struct text x = {0}; */

/* ---- list: intrusive, doubly linked, circular; a node not in a list is initialised by list_init too ---- */
struct list {
    struct list *next, *prev;
};
static inline void list_init(struct list *list) {
    list->next = list->prev = list;
}
static inline bool list_empty(const struct list *list) {
    return list->next == list;
}
static inline void list_append(struct list *list, struct list *node) {
    node->prev = list->prev;
    node->next = list;
    list->prev->next = node;
    list->prev = node;
}
static inline void list_remove(struct list *node) {
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}
#define LIST_EACH(NODE, LIST) for (struct list *NODE = (LIST)->next; NODE != (LIST); NODE = NODE->next)
#define LIST_EACH_SAFE(NODE, NEXT, LIST) \
    for (struct list *NODE = (LIST)->next, *NEXT = NODE->next; NODE != (LIST); NODE = NEXT, NEXT = NODE->next)

/* ---- map: string keys (copied) to pointers (borrowed); order of insertion is kept while nothing is removed
 * ---- */
struct map;
struct map *map_new(void);
void map_free(struct map *map); /* not the values */
DEFINE_SCOPED(map)
void *map_get(const struct map *map, struct span key);        /* NULL where absent */
void *map_put(struct map *map, struct span key, void *value); /* value not NULL; returns what it replaced */
void *map_remove(struct map *map, struct span key);           /* returns what was there */
size_t map_count(const struct map *map);
/* for (size_t i = 0; map_next(map, &i, &key, &value);) ...: no put or remove meanwhile. key and value may be
 * NULL. */
bool map_next(const struct map *map, size_t *i, const char **key, void **value);

/* ---- table: numbers to pointers (borrowed); open addressing, O(1) ---- */
struct table;
struct table *table_new(void);
void table_free(struct table *table); /* not the values */
DEFINE_SCOPED(table)
void *table_get(const struct table *table, uint64_t key); /* NULL where absent */
void *table_put(struct table *table, uint64_t key,
                void *value);                          /* value not NULL; returns what it replaced */
void *table_remove(struct table *table, uint64_t key); /* returns what was there */
size_t table_count(const struct table *table);
/* for (size_t i = 0; table_next(table, &i, &key, &value);) ...: no order; no put or remove meanwhile. */
bool table_next(const struct table *table, size_t *i, uint64_t *key, void **value);

/* ---- arena: many small things that die together ---- */
struct arena;
struct arena *arena_new(void);
void arena_free(struct arena *arena);
DEFINE_SCOPED(arena)
void *arena_alloc(struct arena *arena, size_t size_bytes);  /* zeroed, aligned for anything */
char *arena_string(struct arena *arena, struct span bytes); /* NUL-terminated copy */
char *arena_printf(struct arena *arena, const char *format, ...) printf_like(2, 3);

/* ---- time ---- */
int64_t clock_monotonic_ms(void);
int64_t clock_monotonic_us(void);
int64_t clock_wall_ms(void); /* since 1970, UTC */
#define CLOCK_TEXT_SIZE 32
void clock_text(int64_t wall_ms, char out[CLOCK_TEXT_SIZE]); /* "2026-01-02T03:04:05.678Z" */

/* ---- random ---- */
void random_bytes(void *out, size_t size_bytes); /* from the kernel; aborts when there is none */
/* "PREFIX-" and 16 characters of [a-z0-9]; owned by the caller. */
char *random_id(const char *prefix);

/* ---- log: one line a message to stderr: "12:34:56.789 level room: text". Thread-safe. ---- */
enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
void log_level_set(enum log_level lowest); /* by main, once; the initial level is LOG_INFO */
void log_write(enum log_level level, const char *room, const char *format, ...) printf_like(3, 4);
#define log_debug(ROOM, ...) log_write(LOG_DEBUG, ROOM, __VA_ARGS__)
#define log_info(ROOM, ...) log_write(LOG_INFO, ROOM, __VA_ARGS__)
#define log_warn(ROOM, ...) log_write(LOG_WARN, ROOM, __VA_ARGS__)
#define log_error(ROOM, ...) log_write(LOG_ERROR, ROOM, __VA_ARGS__)

/* ---- SHA-256 (libcrypto) ---- */
#define SHA256_HEX_SIZE 65 /* with NUL */
struct sha256;
struct sha256 *sha256_new(void);
void sha256_add(struct sha256 *sum, const void *data, size_t size_bytes);
void sha256_hex(struct sha256 *sum, char out[SHA256_HEX_SIZE]); /* ends it; only free is allowed after */
void sha256_free(struct sha256 *sum);
DEFINE_SCOPED(sha256)
void sha256_of(struct span bytes, char out[SHA256_HEX_SIZE]);

/* ---- files: whole and small, or trees. `path` is in every error text. ---- */
/* `limit_bytes`: a longer file is RESOURCE_EXHAUSTED. Works on /proc and cgroup files (size 0). */
must_check struct error *file_read(const char *path, size_t limit_bytes, struct text *ret_text);
/* One write(2) to an existing file: cgroup and proc files. */
must_check struct error *file_poke(const char *path, const char *value);
/* Whole new content or the old one, also after a power cut: temporary file beside it, fsync, rename, fsync of
 * the directory. */
must_check struct error *file_replace(const char *path, struct span content, unsigned mode);
/* $XDG_RUNTIME_DIR, where it is there and this user's (after `su` it may be another's); NULL. */
const char *dir_runtime(void);
must_check struct error *dir_make(const char *path,
                                  unsigned mode); /* with its parents; exists already: fine */
must_check struct error *
tree_remove(const char *path); /* never follows links, never crosses into a mount; absent: fine */
bool file_exists(const char *path);
char *path_join(const char *directory, const char *name); /* owned by the caller */
