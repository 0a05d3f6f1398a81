/* What the files of cli share: the command line as it was understood, the daemon as it is found and asked,
 * and words for people.
 *
 * A verb is a row of the table in verbs.c; its `run` gives the exit status and has told what went wrong. */
#pragma once
#include <stdio.h>

#include "cli.h"

enum status { STATUS_OK, STATUS_FAILED, STATUS_USAGE, STATUS_NO_DAEMON };

enum option {
    OPTION_JSON = 1,
    OPTION_FOLLOW = 2,
    OPTION_SINCE = 4,
    OPTION_LAST = 8,
    OPTION_TEXT = 16,
    OPTION_NO_WAIT = 32,
    OPTION_ALL = 64,
    OPTION_AGAIN = 128,
    OPTION_FORCE = 256,
    OPTION_NAME = 512,
    OPTION_DOCKERFILE = 1024,
    OPTION_BUILD_ARG = 2048,
    OPTION_TARGET = 4096,
    OPTION_PROFILE = 8192,
    OPTION_ENV = 16384,
    OPTION_PROXY = 32768,
};
struct options {
    bool json, follow, text, no_wait, all, again, force, env, proxy;
    const char *name, *dockerfile, *target, *profile; /* NULL: not told */
    const char **args;                                /* of --build-arg */
    size_t arg_count;
    bool help;        /* --help: nothing else counts */
    int64_t since_ms; /* wall; -1: not told */
    int64_t last;     /* -1: not told */
};

/* ---- place.c: where the daemon is ---- */
struct place {
    char *address;    /* a path of a Unix socket, or HOST:PORT */
    char *told;       /* as the user would write it */
    char *token;      /* NULL: none */
    char *token_from; /* a file or a variable; NULL: none */
};
/* INVALID_ARGUMENT where CATNAP_API can't be read. */
must_check struct error *place_find(struct place *ret_place);
void place_done(struct place *place);

struct command {
    const struct verb *verb;
    const struct cli_hooks *hooks;
    struct options options;
    char **words; /* what is no option; borrowed, word_count */
    size_t word_count;
    int argc; /* all of it, from the verb on */
    char **argv;
    struct place place;  /* found when first asked */
    enum status failure; /* what the last failure ends in */
    bool reader_left;    /* of our standard output, while a stream came */
};

enum words_kind {
    WORDS_NONE,
    WORDS_APPS,
    WORDS_FUNCTIONS,
    WORDS_FILES,
    WORDS_VERBS,
    WORDS_SHELLS,
    WORDS_IMAGES,
    WORDS_TOKENS
};
struct verb {
    const char *name;
    const char *operands; /* "APP[.FUNCTION]..." */
    const char *summary;  /* a line of `catnap help` */
    const char *details;  /* NULL: the summary says it all */
    const char *examples; /* lines */
    unsigned options;
    unsigned least, most;        /* words; most 0: none, UINT_MAX: any */
    enum words_kind kind;        /* of the words, for completion */
    const char *foreign_options; /* not NULL: it reads its arguments itself; these are for completion */
    bool hidden;                 /* from help */
    int (*run)(struct command *command);
};
extern const struct verb verbs[];
extern const size_t verb_count;
const struct verb *verb_find(const char *name); /* NULL: none */

/* ---- options.c ---- */
struct option_row {
    const char *name;  /* "--since" */
    char letter;       /* 'f'; 0: none */
    const char *value; /* "DURATION"; NULL: a switch */
    const char *help;
    enum option bit;
};
extern const struct option_row option_rows[];
extern const size_t option_row_count;
/* Sorts argv[1..] into options and words; argv[0] is the verb. INVALID_ARGUMENT says what is wrong. */
must_check struct error *options_read(struct command *command);

/* ---- help.c ---- */
void help_all(FILE *out);
void help_verb(const struct verb *verb, const struct cli_hooks *hooks);
int help_run(struct command *command);

/* ---- ask.c: one question to the daemon ---- */
struct question {
    const char *method, *target;
    struct span body;
    int64_t timeout_ms; /* 0: none */
    /* A stream of JSON lines: each as it came, without its newline. False: enough, the asking ends. */
    bool (*line)(void *owner, struct span line);
    void *owner;
};
/* `json`: the answer, owned by the callback, NULL for a stream. `error`: the daemon's refusal with its code,
 * or that none answers; command->failure knows which. */
struct asking;
struct io_loop;
must_check struct error *asking_start(struct io_loop *loop, struct command *command,
                                      const struct question *question, /* borrowed until done */
                                      void (*done)(void *owner, struct error *error, json_t *json),
                                      void *owner, struct asking **ret_asking);
void asking_free(struct asking *asking); /* no done; not after it */
/* The same, waited for. ret_json may be NULL. */
must_check struct error *ask(struct command *command, const struct question *question, json_t **ret_json);
/* "APP.FUNCTION" asked as an app of that name, then as a function of an app: names may have dots in them. The
 * maker of targets gets the question's owner. */
typedef char *target_maker(const char *app, const char *function_or_null, void *owner);
must_check struct error *ask_about(struct command *command, const char *word, target_maker *target,
                                   struct question *question, json_t **ret_json);
/* Tells the error, frees it, gives the exit status. */
int fail(const struct command *command, struct error *taken_error);
int fail_usage(const struct command *command, const char *format, ...) printf_like(2, 3);
/* Pretty for a person, one line for a program. */
void print_json(const json_t *json);

/* ---- words.c ---- */
#define WORDS_SIZE 24
char *words_bytes(uint64_t bytes, char out[WORDS_SIZE]);    /* "1.2 GiB" */
char *words_time_us(int64_t time_us, char out[WORDS_SIZE]); /* "0.41 ms", "1.2 s", "3 min" */
bool words_to_ms(const char *text, int64_t *ret_ms);        /* "10m", "1h30m", bare seconds */
bool words_to_wall_ms(const char *text, int64_t *ret_ms); /* "2026-01-02T03:04", "03:04:05", of this place */
/* The likeliest of `count` names; NULL: none is near. `name(i)` gives them. */
const char *words_nearest(const char *word, const char *(*name)(size_t i), size_t count);
void words_add_url(struct text *text, const char *value);   /* percent-encoded */
void words_add_clean(struct text *text, struct span bytes); /* without control characters */

/* ---- the verbs ---- */
int ps_run(struct command *command);
int up_run(struct command *command);
int down_run(struct command *command);
int app_run(struct command *command); /* wake, doze, sleep, stop */
int logs_run(struct command *command);
int top_run(struct command *command);
int image_run(struct command *command);
int token_run(struct command *command);
int login_run(struct command *command);
int logout_run(struct command *command);
int publish_run(struct command *command);    /* publish, unpublish */
int completion_run(struct command *command); /* the shell's script */
int complete_run(struct command *command);   /* what may stand at the cursor */
