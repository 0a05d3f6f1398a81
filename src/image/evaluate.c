/* Instructions that change the configuration and make no layer, and the variables that all instructions see.
 *
 * ENV wins over ARG; an ARG counts from its line on, in its stage; one that stands before the first FROM is
 * seen in FROM, and in a stage only after an ARG that names it. Within one ENV line all values see the
 * variables of before. */
#include "build.h"
#include "oci.h"

#include <stdlib.h>
#include <strings.h>

#define BAD(...) error_new(ERROR_INVALID_ARGUMENT, __VA_ARGS__)
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* ---- pairs ---- */

const struct pair *pairs_find(const struct pairs *pairs, const char *name) {
    for (size_t i = 0; i < pairs->count; i++)
        if (strcmp(pairs->pair[i].name, name) == 0) return &pairs->pair[i];
    return NULL;
}

void pairs_set(struct pairs *pairs, const char *name, const char *value) {
    struct pair *found = (struct pair *)pairs_find(pairs, name);
    if (found) {
        free(found->value);
        found->value = mem_string(value);
        return;
    }
    pairs->pair = mem_grow(pairs->pair, pairs->count + 1, sizeof *pairs->pair);
    pairs->pair[pairs->count++] = (struct pair){mem_string(name), mem_string(value)};
}

void pairs_done(struct pairs *pairs) {
    for (size_t i = 0; i < pairs->count; i++) free(pairs->pair[i].name), free(pairs->pair[i].value);
    free(pairs->pair);
    *pairs = (struct pairs){0};
}

/* ---- variables ---- */

static const char *platform(const char *name) {
    static const char *const prefixes[] = {"TARGET", "BUILD"};
    for (size_t i = 0; i < COUNT(prefixes); i++) {
        size_t size = strlen(prefixes[i]);
        if (strncmp(name, prefixes[i], size) != 0) continue;
        if (strcmp(name + size, "OS") == 0) return "linux";
        if (strcmp(name + size, "ARCH") == 0) return oci_architecture();
        if (strcmp(name + size, "VARIANT") == 0) return "";
        if (strcmp(name + size, "PLATFORM") == 0)
            return strcmp(oci_architecture(), "arm64") == 0 ? "linux/arm64" : "linux/amd64";
    }
    return NULL;
}

static const char *global_get(void *owner, const char *name) {
    const struct build *build = owner;
    const struct pair *arg = pairs_find(&build->globals, name);
    return arg ? arg->value : platform(name);
}

struct variables global_variables(struct build *build) {
    return (struct variables){global_get, build};
}

static const char *stage_get(void *owner, const char *name) {
    struct build *build = owner;
    const struct stage *stage = build_stage(build);
    const char *value = image_config_env(&stage->state.config, name);
    const struct pair *arg = value ? NULL : pairs_find(&stage->args, name);
    return arg ? arg->value : value;
}

struct variables build_variables(struct build *build) {
    return (struct variables){stage_get, build};
}

struct error *expand_one(struct build *build, const char *text, char **ret_text) {
    struct variables variables = build_variables(build);
    return word_expand(span_of(text), build->dockerfile.escape, &variables, ret_text);
}

char **run_environment(struct build *build) {
    const struct stage *stage = build_stage(build);
    char **env = words_copy(stage->state.config.env);
    for (size_t i = 0; i < stage->args.count; i++) {
        const struct pair *arg = &stage->args.pair[i];
        if (arg->value && !words_env(env, arg->name)) words_set_env(&env, arg->name, arg->value);
    }
    if (!words_env(env, "PATH")) words_set_env(&env, "PATH", DEFAULT_PATH);
    return env;
}

/* ---- ARG ---- */

static struct error *arg_one(struct build *build, const char *word, struct pairs *args, bool global) {
    struct variables variables = global ? global_variables(build) : build_variables(build);
    scoped_string char *value = NULL, *name = NULL;
    struct span rest = span_of(word), name_word = span_cut(&rest, '=');
    TRY_PLAIN(word_expand(name_word, build->dockerfile.escape, &variables, &name));
    if (!*name) return BAD("ARG: a name is missing");
    const struct pair *given = pairs_find(&build->given, name);
    const struct pair *outer = global ? NULL : pairs_find(&build->globals, name);
    if (rest.data) TRY_PLAIN(word_expand(rest, build->dockerfile.escape, &variables, &value));
    if (given)
        pairs_set(args, name, given->value);
    else if (value)
        pairs_set(args, name, value);
    else
        pairs_set(args, name, outer ? outer->value : platform(name));
    return NULL;
}

struct error *evaluate_arg(struct build *build, const struct instruction *instruction, struct pairs *args,
                           bool global) {
    char **words = words_split(span_of(instruction->text), build->dockerfile.escape);
    struct error *error = NULL;
    for (size_t i = 0; words[i] && !error; i++) error = arg_one(build, words[i], args, global);
    words_free(words);
    return error;
}

/* ---- ENV and LABEL ---- */

/* NAME=VALUE ..., or, the old form, NAME and the rest of the line. */
static struct error *pairs_read(struct build *build, const struct instruction *instruction,
                                struct pairs *ret_pairs) {
    struct variables variables = build_variables(build);
    const char *keyword = keyword_name(instruction->keyword);
    char **words = words_split(span_of(instruction->text), build->dockerfile.escape);
    struct error *error = NULL;
    bool old = words[0] && !strchr(words[0], '=');
    if (old && !words[1]) error = BAD("%s: %s has no value", keyword, words[0]);
    for (size_t i = 0; words[i] && !error && !(old && i > 0); i++) {
        scoped_string char *name = NULL, *value = NULL;
        struct span rest = span_of(words[i]), name_word = span_cut(&rest, '=');
        if (old) rest = span_trim(span_of(instruction->text + strlen(words[0])));
        if (!rest.data) error = BAD("%s: '%s' is not NAME=VALUE", keyword, words[i]);
        if (!error) error = word_expand(name_word, build->dockerfile.escape, &variables, &name);
        if (!error) error = word_expand(rest, build->dockerfile.escape, &variables, &value);
        if (!error && !*name) error = BAD("%s: a name is missing", keyword);
        if (!error) pairs_set(ret_pairs, name, value);
    }
    words_free(words);
    return error;
}

static struct error *env(struct build *build, const struct instruction *instruction) {
    struct pairs pairs = {0};
    struct error *error = pairs_read(build, instruction, &pairs);
    for (size_t i = 0; i < pairs.count && !error; i++)
        words_set_env(&build_stage(build)->state.config.env, pairs.pair[i].name, pairs.pair[i].value);
    pairs_done(&pairs);
    return error;
}

static struct error *label(struct build *build, const struct instruction *instruction) {
    struct pairs pairs = {0};
    struct image_config *config = &build_stage(build)->state.config;
    struct error *error = pairs_read(build, instruction, &pairs);
    if (!config->labels) config->labels = json_object();
    for (size_t i = 0; i < pairs.count && !error; i++)
        if (json_object_set_new(config->labels, pairs.pair[i].name, json_string(pairs.pair[i].value)))
            error = BAD("LABEL: a text in it is not UTF-8");
    pairs_done(&pairs);
    return error;
}

/* ---- the others ---- */

static struct error *set_text(struct build *build, const struct instruction *instruction, char **field) {
    char *text;
    TRY_PLAIN(expand_one(build, instruction->text, &text));
    free(*field);
    *field = *text ? text : NULL;
    if (!*field) free(text);
    return NULL;
}

static struct error *expose(struct build *build, const struct instruction *instruction) {
    struct image_config *config = &build_stage(build)->state.config;
    char **words = words_split(span_of(instruction->text), build->dockerfile.escape);
    struct error *error = NULL;
    if (!config->exposed) config->exposed = json_object();
    for (size_t i = 0; words[i] && !error; i++) {
        scoped_string char *port = NULL;
        error = expand_one(build, words[i], &port);
        scoped_string char *full = error               ? NULL
                                   : strchr(port, '/') ? mem_string(port)
                                                       : mem_printf("%s/tcp", port);
        if (!error && json_object_set_new(config->exposed, full, json_object()))
            error = BAD("EXPOSE: not UTF-8");
    }
    words_free(words);
    return error;
}

char **shell_command(const struct stage *stage, const char *text) {
    char **words = words_copy(stage->state.config.shell);
    if (!words) words_add(&words, "/bin/sh"), words_add(&words, "-c");
    words_add(&words, text);
    return words;
}

/* The exec form as it is; a shell's text behind the shell. */
static char **command_of(const struct stage *stage, const struct instruction *instruction) {
    if (instruction->json) return words_copy(instruction->json);
    return shell_command(stage, instruction->text);
}

static struct error *cmd(struct build *build, const struct instruction *instruction) {
    struct stage *stage = build_stage(build);
    words_free(stage->state.config.cmd);
    stage->state.config.cmd = command_of(stage, instruction);
    stage->cmd_set = true;
    return NULL;
}

/* A base's CMD was meant for the base's ENTRYPOINT. */
static struct error *entrypoint(struct build *build, const struct instruction *instruction) {
    struct stage *stage = build_stage(build);
    words_free(stage->state.config.entrypoint);
    stage->state.config.entrypoint = command_of(stage, instruction);
    if (stage->cmd_set) return NULL;
    words_free(stage->state.config.cmd);
    stage->state.config.cmd = NULL;
    return NULL;
}

static struct error *shell(struct build *build, const struct instruction *instruction) {
    struct image_config *config = &build_stage(build)->state.config;
    if (!instruction->json || !instruction->json[0])
        return BAD("SHELL: expected a list, like [\"/bin/bash\", \"-c\"]");
    words_free(config->shell);
    config->shell = words_copy(instruction->json);
    return NULL;
}

struct error *evaluate(struct build *build, const struct instruction *instruction, bool *ret_handled) {
    struct image_config *config = &build_stage(build)->state.config;
    *ret_handled = true;
    switch (instruction->keyword) {
    case KEYWORD_ARG: return evaluate_arg(build, instruction, &build_stage(build)->args, false);
    case KEYWORD_ENV: return env(build, instruction);
    case KEYWORD_LABEL: return label(build, instruction);
    case KEYWORD_USER: return set_text(build, instruction, &config->user);
    case KEYWORD_STOPSIGNAL: return set_text(build, instruction, &config->stop_signal);
    case KEYWORD_EXPOSE: return expose(build, instruction);
    case KEYWORD_CMD: return cmd(build, instruction);
    case KEYWORD_ENTRYPOINT: return entrypoint(build, instruction);
    case KEYWORD_SHELL: return shell(build, instruction);
    case KEYWORD_VOLUME:
    case KEYWORD_HEALTHCHECK:
    case KEYWORD_ONBUILD:
    case KEYWORD_MAINTAINER:
        flight_say(&build->flight, "note: %s has no effect here", keyword_name(instruction->keyword));
        return NULL;
    default: *ret_handled = false; return NULL;
    }
}
