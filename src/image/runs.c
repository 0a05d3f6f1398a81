/* RUN, from its words and flags to a key and what is wanted of a step.
 *
 * A mount of files (bind) takes two workers before the step: one that looks, because the key depends on what
 * is bound, and one that copies; see binds.c. Mounts of caches, secrets and tmpfs count for nothing in the
 * key but their flags. */
#include "build.h"

#include <stdlib.h>
#include <sys/stat.h>

#define BAD(...) error_new(ERROR_INVALID_ARGUMENT, __VA_ARGS__)

struct run { /* what a RUN line says */
    char **argv, **env;
    char *script;
    struct image_mount *mounts;
    size_t mount_count;
    struct image_pair *secrets; /* destination, content (borrowed from the build) */
    size_t secret_count;
    enum image_network network;
};

static void run_done(struct run *run) {
    words_free(run->argv), words_free(run->env);
    free(run->script);
    for (size_t i = 0; i < run->mount_count; i++)
        free((char *)run->mounts[i].source), free((char *)run->mounts[i].destination);
    for (size_t i = 0; i < run->secret_count; i++) free((char *)run->secrets[i].name);
    free(run->mounts), free(run->secrets);
}

/* One here-document alone is the script itself; a first line #! names who reads it. Else it is the shell's
 * own. */
static void run_command(struct build *build, const struct instruction *instruction, struct run *run) {
    if (instruction->json) {
        run->argv = words_copy(instruction->json);
        return;
    }
    scoped_text struct text text = {0};
    bool alone = instruction->heredoc_count == 1 && !strchr(instruction->text, ' ') &&
                 strncmp(instruction->text, "<<", 2) == 0;
    if (alone && strncmp(instruction->heredocs[0].body, "#!", 2) == 0) {
        run->script = mem_string(instruction->heredocs[0].body);
        words_add(&run->argv, "/.catnap/script");
        return;
    }
    if (!alone) text_add_string(&text, instruction->text);
    for (size_t i = 0; i < instruction->heredoc_count; i++) {
        const struct heredoc *heredoc = &instruction->heredocs[i];
        if (alone)
            text_add_string(&text, heredoc->body);
        else
            text_printf(&text, "%s%s%s\n", i == 0 ? "\n" : "", heredoc->body, heredoc->name);
    }
    run->argv = shell_command(build_stage(build), text.data ? text.data : "");
}

static const char *option(const struct pairs *options, const char *name, const char *other_name) {
    const struct pair *found = pairs_find(options, name);
    if (!found && other_name) found = pairs_find(options, other_name);
    return found ? found->value : NULL;
}

static void mount_add(struct run *run, char *taken_source, char *taken_destination, bool read_only) {
    run->mounts = mem_grow(run->mounts, run->mount_count + 1, sizeof *run->mounts);
    run->mounts[run->mount_count++] = (struct image_mount){taken_source, taken_destination, read_only, NULL};
}

static struct error *target_of(struct build *build, const struct pairs *options, const char *otherwise,
                               char **ret_target) {
    const char *target = option(options, "target", "dst"),
               *workdir = build_stage(build)->state.config.workdir;
    if (!target) target = option(options, "destination", NULL);
    if (!target) target = otherwise;
    if (!target) return BAD("RUN --mount: target= is missing");
    *ret_target = target[0] == '/' ? mem_string(target) : mem_printf("%s/%s", workdir ? workdir : "", target);
    return NULL;
}

static struct error *secret_mount(struct build *build, const struct pairs *options, struct run *run) {
    const char *id = option(options, "id", NULL), *env = option(options, "env", NULL),
               *required = option(options, "required", NULL);
    const struct pair *secret = id ? pairs_find(&build->secrets, id) : NULL;
    if (!id) return BAD("RUN --mount=type=secret: id= is missing");
    if (!secret && required && strcmp(required, "false") != 0)
        return error_new(ERROR_NOT_FOUND, "RUN --mount=type=secret: there is no secret '%s'", id);
    if (!secret) return NULL;
    if (env) words_set_env(&run->env, env, secret->value);
    if (env && !option(options, "target", "dst")) return NULL;
    scoped_string char *otherwise = mem_printf("/run/secrets/%s", id);
    char *target;
    TRY_PLAIN(target_of(build, options, otherwise, &target));
    run->secrets = mem_grow(run->secrets, run->secret_count + 1, sizeof *run->secrets);
    run->secrets[run->secret_count++] = (struct image_pair){target, secret->value};
    return NULL;
}

/* Kept from build to build, by its id, else by its target. */
static struct error *cache_mount(struct build *build, const struct pairs *options, struct run *run) {
    char *target, sum[SHA256_HEX_SIZE];
    TRY_PLAIN(target_of(build, options, NULL, &target));
    const char *id = option(options, "id", NULL);
    sha256_of(span_of(id ? id : target), sum);
    char *source = images_path(build->flight.store, "caches", sum);
    mount_add(run, source, target, false);
    TRY_PLAIN(dir_make(source, 0700));
    return chmod(source, 0755) ? BAD("RUN --mount=type=cache: %s", source) : NULL;
}

static struct error *pairs_of_flag(struct build *build, const char *flag, struct pairs *options) {
    struct span rest = span_of(flag);
    while (rest.data) {
        struct span value = span_cut(&rest, ','), name = span_cut(&value, '=');
        scoped_string char *name_text = span_string(name),
                           *value_text = value.data ? span_string(value) : NULL;
        scoped_string char *expanded = NULL;
        if (value_text) TRY_PLAIN(expand_one(build, value_text, &expanded));
        pairs_set(options, name_text, expanded ? expanded : "true");
    }
    return NULL;
}

/* Gone with the step. */
static struct error *tmpfs_mount(struct build *build, const struct pairs *options, struct run *run) {
    char *target;
    TRY_PLAIN(target_of(build, options, NULL, &target));
    scoped_string char *draft = NULL;
    struct error *error = draft_make(build->flight.store, &draft);
    if (error) {
        free(target);
        return error;
    }
    words_add(&build->scratch, draft);
    mount_add(run, path_join(draft, "u"), target, false);
    return NULL;
}

/* `from` is another stage, or an image; NULL state: it is not here yet, and a pull is under way. */
static struct error *from_of(struct build *build, const char *from, struct state *ret_state,
                             bool *ret_pulling) {
    size_t stage = recipe_stage_find(build, from, build->stage);
    const struct pair *base = pairs_find(&build->bases, from);
    scoped_string char *id = NULL, *other = NULL, *normal = NULL;
    *ret_pulling = false;
    if (!base && stage < build->stage_count) {
        state_copy(&build->stages[stage].state, ret_state);
        return NULL;
    }
    TRY_PLAIN(names_follow(build->flight.store, base ? base->value : from, &id, &other, &normal));
    if (id) return state_of_image(build->flight.store, id, ret_state);
    *ret_pulling = true;
    build_pull(build, from, binds_go_on);
    return NULL;
}

static struct error *bind_mount(struct build *build, const struct pairs *options) {
    const char *from = option(options, "from", NULL), *writable = option(options, "rw", "readwrite");
    struct state state = {0};
    bool pulling = false;
    scoped_string char *target = NULL;
    TRY_PLAIN(target_of(build, options, NULL, &target));
    if (from) TRY_PLAIN(from_of(build, from, &state, &pulling));
    const char *source = option(options, "source", "src");
    if (!pulling)
        binds_add(build, source, target, writable && strcmp(writable, "false") != 0, from ? &state : NULL);
    state_done(&state);
    return NULL;
}

static struct error *mount_read(struct build *build, const char *flag, struct run *run) {
    struct pairs options = {0};
    struct error *error = pairs_of_flag(build, flag, &options);
    const char *type = option(&options, "type", NULL);
    if (!type) type = "bind";
    if (error)
        ;
    else if (strcmp(type, "secret") == 0)
        error = secret_mount(build, &options, run);
    else if (strcmp(type, "cache") == 0)
        error = cache_mount(build, &options, run);
    else if (strcmp(type, "tmpfs") == 0)
        error = tmpfs_mount(build, &options, run);
    else if (strcmp(type, "bind") != 0)
        error = error_new(ERROR_UNIMPLEMENTED,
                          "RUN --mount=type=%s: bind, cache, secret and tmpfs are known here", type);
    else if (!build->binds_gathered)
        error = bind_mount(build, &options);
    pairs_done(&options);
    return error;
}

static struct error *run_read(struct build *build, const struct instruction *instruction, struct run *run) {
    run_command(build, instruction, run);
    run->env = run_environment(build);
    run->network = IMAGE_NETWORK_OUTBOUND;
    const char *network = recipe_flag(instruction, "network");
    if (network && strcmp(network, "none") == 0) run->network = IMAGE_NETWORK_NONE;
    if (network && strcmp(network, "none") != 0 && strcmp(network, "default") != 0)
        return BAD("RUN --network=%s: default and none are known here", network);
    if (recipe_flag(instruction, "security"))
        return error_new(ERROR_UNIMPLEMENTED, "RUN --security: steps run without more rights");
    if (!run->argv[0]) return BAD("RUN: the list is empty");
    return NULL;
}

static void run_key(struct build *build, const struct instruction *instruction, const struct run *run,
                    char ret_key[SHA256_HEX_SIZE]) {
    scoped(sha256) struct sha256 *sum = sha256_new();
    key_add(sum, "run 1");
    state_hash(&build_stage(build)->state, sum);
    key_add_all(sum, run->argv);
    key_add_all(sum, run->env);
    key_add_all(sum, instruction->flags);
    key_add(sum, run->script);
    for (size_t i = 0; i < build->bind_count; i++) key_add(sum, build->binds[i].sum);
    sha256_hex(sum, ret_key);
}

static void run_go(struct build *build, struct run *run, const char *key) {
    for (size_t i = 0; build->binds_copied && i < build->bind_count; i++)
        mount_add(run, bind_source(build, i), mem_string(build->binds[i].target), !build->binds[i].writable);
    for (size_t i = 0; i < build->secrets.count; i++)
        words_set_env(&run->env, build->secrets.pair[i].name, build->secrets.pair[i].value);
    binds_drop(build);
    build_step(build,
               &(struct step_wanted){
                   .kind = STEP_RUN,
                   .argv = run->argv,
                   .env = run->env,
                   .script = run->script,
                   .mounts = run->mounts,
                   .mount_count = run->mount_count,
                   .network = run->network,
                   .secret_files = run->secrets,
                   .secret_count = run->secret_count,
               },
               key);
}

/* Comes here again when what it bound has been looked at, and again when it has been copied. */
struct error *steps_run(struct build *build, const struct instruction *instruction) {
    struct run run = {0};
    char key[SHA256_HEX_SIZE];
    if (!build->binds_gathered) binds_drop(build);
    struct error *error = run_read(build, instruction, &run);
    for (char **flag = instruction->flags; flag && *flag && !error && !build->job; flag++)
        if (strncmp(*flag, "--mount=", 8) == 0) error = mount_read(build, *flag + 8, &run);
    if (!error) run_key(build, instruction, &run, key);
    build->waiting = instruction;
    if (error || build->job) {
        /* an image that it binds is being pulled */
    } else if (build->bind_count > 0 && !build->binds_gathered) {
        binds_gather(build, instruction);
    } else if (build->bind_count > 0 && !build->binds_copied && !build_knows(build, key)) {
        error = binds_copy(build, instruction);
    } else {
        run_go(build, &run, key);
    }
    run_done(&run);
    return error;
}
