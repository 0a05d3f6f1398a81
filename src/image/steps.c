/* What is wanted of a step: RUN, COPY and ADD, WORKDIR, from their words to a key and a `step_wanted`.
 *
 * A key is the hash of all that the result depends on: the layers below (their ids), the configuration that
 * the step sees, its text, and the content of what it copies. Not in it: secrets, the machine's settings,
 * times. */
#include "build.h"

#include <stdlib.h>
#include <sys/stat.h>

#define BAD(...) error_new(ERROR_INVALID_ARGUMENT, __VA_ARGS__)

static void add(struct sha256 *sum, const char *text) {
    sha256_add(sum, text ? text : "", text ? strlen(text) + 1 : 1);
}

static void add_all(struct sha256 *sum, char *const *words) {
    for (; words && *words; words++) add(sum, *words);
    add(sum, NULL);
}

/* ---- RUN ---- */

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
    run->mounts[run->mount_count++] = (struct image_mount){taken_source, taken_destination, read_only};
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

static struct error *mount_read(struct build *build, const char *flag, struct run *run) {
    struct pairs options = {0};
    struct span rest = span_of(flag);
    while (rest.data) {
        struct span value = span_cut(&rest, ','), name = span_cut(&value, '=');
        scoped_string char *name_text = span_string(name),
                           *value_text = value.data ? span_string(value) : NULL;
        scoped_string char *expanded = NULL;
        struct error *error = value_text ? expand_one(build, value_text, &expanded) : NULL;
        if (error) {
            pairs_done(&options);
            return error;
        }
        pairs_set(&options, name_text, expanded ? expanded : "true");
    }
    const char *type = option(&options, "type", NULL);
    struct error *error = NULL;
    if (type && strcmp(type, "secret") == 0)
        error = secret_mount(build, &options, run);
    else if (type && strcmp(type, "cache") == 0)
        error = cache_mount(build, &options, run);
    else
        error =
            error_new(ERROR_UNIMPLEMENTED,
                      "RUN --mount=type=%s: only cache and secret are built; COPY brings files into a step",
                      type ? type : "bind");
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

static struct error *run_key(struct build *build, const struct instruction *instruction,
                             const struct run *run, char ret_key[SHA256_HEX_SIZE]) {
    scoped(sha256) struct sha256 *sum = sha256_new();
    add(sum, "run 1");
    state_hash(&build_stage(build)->state, sum);
    add_all(sum, run->argv);
    add_all(sum, run->env);
    add_all(sum, instruction->flags);
    add(sum, run->script);
    sha256_hex(sum, ret_key);
    return NULL;
}

struct error *steps_run(struct build *build, const struct instruction *instruction) {
    struct run run = {0};
    char key[SHA256_HEX_SIZE];
    struct error *error = run_read(build, instruction, &run);
    if (!error) error = run_key(build, instruction, &run, key);
    for (char **flag = instruction->flags; flag && *flag && !error; flag++)
        if (strncmp(*flag, "--mount=", 8) == 0) error = mount_read(build, *flag + 8, &run);
    for (size_t i = 0; i < build->secrets.count; i++)
        words_set_env(&run.env, build->secrets.pair[i].name, build->secrets.pair[i].value);
    if (!error)
        build_step(build,
                   &(struct step_wanted){
                       .kind = STEP_RUN,
                       .argv = run.argv,
                       .env = run.env,
                       .script = run.script,
                       .mounts = run.mounts,
                       .mount_count = run.mount_count,
                       .network = run.network,
                       .secret_files = run.secrets,
                       .secret_count = run.secret_count,
                   },
                   key);
    run_done(&run);
    return error;
}

/* ---- WORKDIR ---- */

/* Makes the directory where the image lacks it; a layer only then. */
struct error *steps_workdir(struct build *build, const struct instruction *instruction) {
    struct stage *stage = build_stage(build);
    scoped_string char *text = NULL, *clean = NULL, *real = NULL;
    const char *before = stage->state.config.workdir;
    TRY_PLAIN(expand_one(build, instruction->text, &text));
    if (!*text) return BAD("WORKDIR: a path is missing");
    scoped_string char *whole =
        text[0] == '/' ? mem_string(text) : mem_printf("%s/%s", before ? before : "", text);
    TRY_PLAIN(within_clean(whole, &clean));
    free(stage->state.config.workdir);
    stage->state.config.workdir = mem_printf("/%s", clean);
    char **dirs = state_dirs(build->flight.store, &stage->state);
    struct tree tree = {dirs, words_count(dirs), stage->state.host ? build->flight.store->grafts : NULL};
    struct tree_node node = {0};
    struct error *error = overlay_resolve(&tree, clean, &real);
    if (!error) overlay_look(&tree, real, &node);
    enum tree_kind kind = node.kind;
    overlay_node_done(&node);
    words_free(dirs);
    if (error || kind == TREE_DIRECTORY) return error;
    if (kind != TREE_ABSENT) return BAD("WORKDIR: /%s is no directory in the image", clean);
    scoped(sha256) struct sha256 *sum = sha256_new();
    char key[SHA256_HEX_SIZE];
    add(sum, "directory 1");
    state_hash(&stage->state, sum);
    add(sum, clean);
    sha256_hex(sum, key);
    build_step(
        build,
        &(struct step_wanted){.kind = STEP_DIRECTORY, .directory = clean, .owner = stage->state.config.user},
        key);
    return NULL;
}

/* ---- COPY and ADD ---- */

static struct error *flag_expand(struct build *build, const struct instruction *instruction, const char *name,
                                 char **ret_value) {
    const char *value = recipe_flag(instruction, name);
    *ret_value = NULL;
    return value ? expand_one(build, value, ret_value) : NULL;
}

/* The words: sources, and the last one where to. */
static struct error *words_read(struct build *build, const struct instruction *instruction,
                                struct copy *copy) {
    char **words =
        instruction->json ? words_copy(instruction->json) : words_split_plain(span_of(instruction->text));
    size_t count = words_count(words);
    struct error *error =
        count >= 2 ? NULL : BAD("%s: expected SOURCE... and where to", keyword_name(instruction->keyword));
    for (size_t i = 0; i < count && !error; i++) {
        scoped_string char *word = NULL;
        error = expand_one(build, words[i], &word);
        if (error) break;
        const char *workdir = build_stage(build)->state.config.workdir;
        if (i + 1 < count)
            words_add(&copy->sources, word);
        else
            copy->to = word[0] == '/' ? mem_string(word) : mem_printf("%s/%s", workdir ? workdir : "", word);
    }
    words_free(words);
    if (error) return error;
    if (strcmp(copy->to, "/.") == 0 || span_ends(span_of(copy->to), "/."))
        copy->to[strlen(copy->to) - 1] = '\0';
    for (char **source = copy->sources; *source; source++)
        if (strstr(*source, "://") || strncmp(*source, "git@", 4) == 0)
            return error_new(ERROR_UNIMPLEMENTED,
                             "%s %s: nothing is fetched from the network here; use RUN with curl or git",
                             keyword_name(instruction->keyword), *source);
    return NULL;
}

/* COPY <<NAME /where: the here-document is the file. */
static struct error *text_read(struct build *build, const struct instruction *instruction,
                               struct copy *copy) {
    const struct heredoc *heredoc = &instruction->heredocs[0];
    if (instruction->heredoc_count != 1 || words_count(copy->sources) != 1)
        return error_new(ERROR_UNIMPLEMENTED, "%s: one here-document alone can be copied",
                         keyword_name(instruction->keyword));
    copy->from = COPY_FROM_TEXT;
    copy->sources[0] = (free(copy->sources[0]), mem_string(heredoc->name));
    if (!heredoc->expand) {
        copy->text = mem_string(heredoc->body);
        return NULL;
    }
    struct variables variables = build_variables(build);
    return body_expand(span_of(heredoc->body), build->dockerfile.escape, &variables, &copy->text);
}

static struct error *copy_read(struct build *build, const struct instruction *instruction,
                               struct copy *copy) {
    copy->add = instruction->keyword == KEYWORD_ADD;
    copy->onto = state_dirs(build->flight.store, &build_stage(build)->state);
    copy->onto_grafts = state_grafts(build->flight.store, &build_stage(build)->state);
    TRY_PLAIN(flag_expand(build, instruction, "chown", &copy->chown));
    TRY_PLAIN(flag_expand(build, instruction, "chmod", &copy->chmod));
    TRY_PLAIN(words_read(build, instruction, copy));
    if (instruction->heredoc_count > 0) return text_read(build, instruction, copy);
    copy->directory = mem_string(build->context_directory);
    copy->files = build->files;
    if (copy->files) copy->files->references++;
    return NULL;
}

static void copy_key(struct build *build, const struct copy *copy, const char *content,
                     char ret_key[SHA256_HEX_SIZE]) {
    scoped(sha256) struct sha256 *sum = sha256_new();
    add(sum, copy->add ? "add 1" : "copy 1");
    state_hash(&build_stage(build)->state, sum);
    add(sum, copy->to), add(sum, copy->chown), add(sum, copy->chmod);
    add(sum, content);
    sha256_hex(sum, ret_key);
}

static void copy_begin(struct build *build, struct copy *taken_copy, const char *content) {
    char key[SHA256_HEX_SIZE];
    copy_key(build, taken_copy, content, key);
    build_step(build, &(struct step_wanted){.kind = STEP_COPY, .copy = taken_copy}, key);
}

static void gather_work(struct io_work *work) {
    struct build *build = work->owner;
    work->error = copy_gather(build->copy, true, build->copy_sum);
}

static void on_gathered(struct io_work *work) {
    struct build *build = work->owner;
    struct error *error = take(work->error);
    build->working = false;
    if (!error && build->cancelled) error = error_new(ERROR_CANCELLED, "nobody waits for it any more");
    if (error)
        build_fail(build, error);
    else
        copy_begin(build, take(build->copy), build->copy_sum);
}

/* From another image the layers' names say what is copied: nothing has to be read for the key. */
static void from_layers(struct build *build, const struct state *state) {
    struct copy *copy = take(build->copy);
    scoped(sha256) struct sha256 *sum = sha256_new();
    char content[SHA256_HEX_SIZE];
    copy->from = COPY_FROM_LAYERS;
    copy->layers = state_dirs(build->flight.store, state);
    copy->grafts = state_grafts(build->flight.store, state);
    state_hash(&(struct state){.layers = state->layers, .host = state->host}, sum);
    add_all(sum, copy->sources);
    sha256_hex(sum, content);
    copy_begin(build, copy, content);
}

static void on_other_image(struct build *build, const char *result) {
    struct state state;
    struct error *error = state_of_image(build->flight.store, result, &state);
    if (error) {
        build_fail(build, error);
        return;
    }
    from_layers(build, &state);
    state_done(&state);
}

static struct error *from_other(struct build *build, const char *from) {
    size_t stage = recipe_stage_find(build, from, build->stage);
    if (stage < build->stage_count)
        from_layers(build, &build->stages[stage].state);
    else
        build_pull(build, from, on_other_image);
    return NULL;
}

struct error *steps_copy(struct build *build, const struct instruction *instruction) {
    scoped_string char *from = NULL;
    struct copy *copy = build->copy = NEW(struct copy);
    TRY_PLAIN(copy_read(build, instruction, copy));
    TRY_PLAIN(flag_expand(build, instruction, "from", &from));
    if (from && *from) return from_other(build, from);
    copy->cancelled = &build->stop;
    build->working = true;
    build->work = (struct io_work){.work = gather_work, .done = on_gathered, .owner = build};
    io_work_start(build->flight.store->loop, &build->work);
    return NULL;
}
