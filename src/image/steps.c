/* What is wanted of a step: COPY and ADD, WORKDIR, from their words to a key and a `step_wanted`; RUN:
 * runs.c.
 *
 * A key is the hash of all that the result depends on: the layers below (their ids), the configuration that
 * the step sees, its text, and the content of what it copies. Not in it: secrets, the machine's settings,
 * times. */
#include "build.h"

#include "fetch.h"

#include <stdlib.h>

#define BAD(...) error_new(ERROR_INVALID_ARGUMENT, __VA_ARGS__)

void key_add(struct sha256 *sum, const char *text) {
    sha256_add(sum, text ? text : "", text ? strlen(text) + 1 : 1);
}

void key_add_all(struct sha256 *sum, char *const *words) {
    for (; words && *words; words++) key_add(sum, *words);
    key_add(sum, NULL);
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
    key_add(sum, "directory 1");
    state_hash(&stage->state, sum);
    key_add(sum, clean);
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
    for (char **source = copy->sources; *source; source++) {
        bool url = fetch_is_url(*source);
        bool git = strncmp(*source, "git@", 4) == 0 || (strstr(*source, "://") && !url) ||
                   (url && strstr(*source, ".git"));
        if (git || (url && !copy->add))
            return error_new(ERROR_UNIMPLEMENTED, "%s %s: %s", keyword_name(instruction->keyword), *source,
                             git ? "repositories are not fetched here; use RUN git clone"
                                 : "only ADD fetches from the network");
    }
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
    TRY_PLAIN(flag_expand(build, instruction, "checksum", &copy->checksum));
    TRY_PLAIN(words_read(build, instruction, copy));
    if (instruction->heredoc_count > 0) return text_read(build, instruction, copy);
    copy->scratch = build->flight.store->tmp;
    copy->directory = mem_string(build->context_directory);
    copy->files = build->files;
    if (copy->files) copy->files->references++;
    return NULL;
}

static void copy_key(struct build *build, const struct copy *copy, const char *content,
                     char ret_key[SHA256_HEX_SIZE]) {
    scoped(sha256) struct sha256 *sum = sha256_new();
    key_add(sum, copy->add ? "add 1" : "copy 1");
    state_hash(&build_stage(build)->state, sum);
    key_add(sum, copy->to), key_add(sum, copy->chown), key_add(sum, copy->chmod);
    key_add(sum, content);
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
    key_add_all(sum, copy->sources);
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
