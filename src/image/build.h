/* build, inside: what its files share. evaluate.c: instructions that change the configuration only; layers of
 * RUN and COPY: steps.c (what is wanted of a step); build.c: the journey. */
#pragma once
#include "dockerfile.h"
#include "step.h"

struct pair {
    char *name, *value; /* value NULL: declared, not set */
};
struct pairs {
    struct pair *pair;
    size_t count;
};
void pairs_set(struct pairs *pairs, const char *name, const char *value);
const struct pair *pairs_find(const struct pairs *pairs, const char *name);
void pairs_done(struct pairs *pairs);

struct stage {
    size_t first, end; /* instructions behind its FROM */
    const struct instruction *from;
    char *name; /* NULL: none */
    bool needed, begun;
    struct state state;
    struct pairs args; /* declared so far */
    bool cmd_set;
};
struct bind { /* of the RUN under way */
    struct copy *copy;
    char *target;
    bool writable;
    char sum[SHA256_HEX_SIZE];
};
struct build {
    struct flight flight;
    struct dockerfile dockerfile;
    struct stage *stages;
    size_t stage_count, stage, next; /* under way: stage, instruction */
    size_t target, done, all;        /* of the instructions that are carried out */
    struct pairs globals, given, bases, secrets;
    char *context_directory, *user, *password, *name;
    struct copy_files *files;
    bool force, credentials, cancelled, advancing;
    struct image_job *job;                                  /* a pull or a step that is waited for */
    void (*after)(struct build *build, const char *result); /* what its result is for */
    char *what;        /* of the instruction under way: "[3/10] RUN make" */
    struct copy *copy; /* being gathered by `work` */
    char copy_sum[SHA256_HEX_SIZE];
    struct bind *binds;
    size_t bind_count;
    bool binds_gathered, binds_copied;
    char *bind_dir;                    /* a draft of ours, gone with the build */
    char **scratch;                    /* more of them */
    const struct instruction *waiting; /* the RUN whose binds are worked at */
    struct io_work work;
    bool working;
    atomic_bool stop;
    char *record, *images_dir, id[SHA256_HEX_SIZE];
};

/* ---- recipe.c ---- */
must_check struct error *recipe_stages(struct build *build, const char *target);
/* A stage by name or number before `limit`; stage_count: none. */
size_t recipe_stage_find(const struct build *build, const char *name, size_t limit);
const char *recipe_flag(const struct instruction *instruction,
                        const char *name); /* the value of --name=; NULL */

/* ---- evaluate.c ---- */
struct variables build_variables(struct build *build);  /* of the stage under way */
struct variables global_variables(struct build *build); /* before the first FROM, and in it */
/* What changes the configuration and makes no layer. *ret_handled false: it is of another kind. */
must_check struct error *evaluate(struct build *build, const struct instruction *instruction,
                                  bool *ret_handled);
must_check struct error *evaluate_arg(struct build *build, const struct instruction *instruction,
                                      struct pairs *args, bool global);
must_check struct error *expand_one(struct build *build, const char *text, char **ret_text);
char **shell_command(const struct stage *stage, const char *text); /* owned */
char **run_environment(struct build *build);                       /* in full, for RUN; owned */

/* ---- binds.c ---- */
void binds_add(struct build *build, const char *source, const char *target, bool writable,
               const struct state *from);
void binds_gather(struct build *build, const struct instruction *instruction);
must_check struct error *binds_copy(struct build *build, const struct instruction *instruction);
void binds_go_on(struct build *build, const char *result);  /* its RUN once more */
char *bind_source(const struct build *build, size_t index); /* owned */
void binds_drop(struct build *build);

/* ---- steps.c, runs.c ---- */
void key_add(struct sha256 *sum, const char *text);
void key_add_all(struct sha256 *sum, char *const *words);
must_check struct error *steps_run(struct build *build, const struct instruction *instruction);
must_check struct error *steps_copy(struct build *build, const struct instruction *instruction);
must_check struct error *steps_workdir(struct build *build, const struct instruction *instruction);

/* ---- build.c ---- */
struct stage *build_stage(struct build *build);
void build_wait(struct build *build, struct flight *flight,
                void (*after)(struct build *build, const char *result));
void build_pull(struct build *build, const char *name,
                void (*after)(struct build *build, const char *result));
void build_step(struct build *build, const struct step_wanted *wanted,
                const char *key);                       /* from the cache, or made */
bool build_knows(struct build *build, const char *key); /* the step needs not be carried out */
void build_fail(struct build *build, struct error *taken_error);
void build_advance(struct build *build);
