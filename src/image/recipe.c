/* recipe: stages, which of them are needed, and flags of instructions. */
#include "build.h"

#include <stdlib.h>
#include <strings.h>

#define BAD(LINE, ...) at_line(build, LINE, error_new(ERROR_INVALID_ARGUMENT, __VA_ARGS__))

static struct error *at_line(const struct build *build, unsigned line, struct error *error) {
    return error_wrap(error, "%s:%u", build->dockerfile.name, line);
}

const char *recipe_flag(const struct instruction *instruction, const char *name) {
    size_t size = strlen(name);
    for (char **flag = instruction->flags; flag && *flag; flag++)
        if (strncmp(*flag + 2, name, size) == 0 && ((*flag)[2 + size] == '=' || !(*flag)[2 + size]))
            return (*flag)[2 + size] ? *flag + 3 + size : "";
    return NULL;
}

size_t recipe_stage_find(const struct build *build, const char *name, size_t limit) {
    uint64_t number;
    for (size_t i = limit; i-- > 0;) /* the last of a name counts */
        if (build->stages[i].name && strcasecmp(build->stages[i].name, name) == 0) return i;
    if (span_to_u64(span_of(name), &number) && number < limit) return (size_t)number;
    return build->stage_count;
}

/* ---- flags that are known ---- */

static struct error *flags_check(const struct build *build, const struct instruction *instruction) {
    static const struct {
        enum keyword keyword;
        const char *known;
    } rows[] = {
        {KEYWORD_FROM, "platform"},
        {KEYWORD_RUN, "mount network security"},
        {KEYWORD_COPY, "from chown chmod link"},
        {KEYWORD_ADD, "chown chmod link checksum"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (rows[i].keyword != instruction->keyword) continue;
        for (char **flag = instruction->flags; flag && *flag; flag++) {
            struct span rest = span_of(*flag + 2), name = span_cut(&rest, '='),
                        known = span_of(rows[i].known);
            bool found = false;
            while (known.data && !found) found = span_equal(span_cut(&known, ' '), name);
            if (!found)
                return BAD(instruction->line, "%s: the flag %s is not known here (known: %s)",
                           keyword_name(instruction->keyword), *flag, rows[i].known);
        }
    }
    return NULL;
}

/* ---- stages ---- */

static struct error *stage_begin(struct build *build, const struct instruction *from, size_t index) {
    char **words = words_split_plain(span_of(from->text));
    size_t count = words_count(words);
    bool named = count == 3 && strcasecmp(words[1], "AS") == 0;
    struct error *error = NULL;
    if (count != 1 && !named) error = BAD(from->line, "FROM: expected IMAGE, or IMAGE AS NAME");
    if (!error) {
        build->stages = mem_grow(build->stages, build->stage_count + 1, sizeof *build->stages);
        build->stages[build->stage_count++] = (struct stage){
            .from = from, .first = index + 1, .end = index + 1, .name = named ? mem_string(words[2]) : NULL};
    }
    words_free(words);
    return error;
}

static struct error *stages_find(struct build *build) {
    for (size_t i = 0; i < build->dockerfile.count; i++) {
        const struct instruction *instruction = &build->dockerfile.instructions[i];
        TRY_PLAIN(flags_check(build, instruction));
        if (instruction->keyword == KEYWORD_FROM)
            TRY_PLAIN(stage_begin(build, instruction, i));
        else if (build->stage_count > 0)
            build->stages[build->stage_count - 1].end = i + 1;
        else if (instruction->keyword != KEYWORD_ARG)
            return BAD(instruction->line, "%s: before the first FROM only ARG may stand",
                       keyword_name(instruction->keyword));
    }
    return build->stage_count > 0 ? NULL : BAD(1, "there is no FROM");
}

/* --from=NAME, --mount=...,from=NAME,... */
static char *from_of_flag(const char *flag) {
    struct span rest = span_of(flag);
    if (span_starts(rest, "--from=")) return mem_string(flag + strlen("--from="));
    if (!span_starts(rest, "--mount=")) return NULL;
    (void)span_cut(&rest, '=');
    while (rest.data) {
        struct span value = span_cut(&rest, ','), name = span_cut(&value, '=');
        if (span_is(name, "from") && value.data) return span_string(value);
    }
    return NULL;
}

/* A name in FROM is another stage's only when that comes before. */
static struct error *need(struct build *build, size_t index) {
    struct stage *stage = &build->stages[index];
    if (stage->needed) return NULL;
    stage->needed = true;
    build->all += 1 + stage->end - stage->first;
    scoped_string char *base = NULL;
    char **words = words_split_plain(span_of(stage->from->text));
    struct variables variables = global_variables(build);
    struct error *error = word_expand(span_of(words[0]), build->dockerfile.escape, &variables, &base);
    words_free(words);
    if (error) return at_line(build, stage->from->line, error);
    size_t other = recipe_stage_find(build, base, index);
    if (other < build->stage_count && pairs_find(&build->bases, base) == NULL) TRY_PLAIN(need(build, other));
    for (size_t i = stage->first; i < stage->end; i++) {
        const struct instruction *instruction = &build->dockerfile.instructions[i];
        for (char **flag = instruction->flags; flag && *flag; flag++) {
            scoped_string char *from = from_of_flag(*flag);
            other = from ? recipe_stage_find(build, from, index) : build->stage_count;
            if (other < build->stage_count) TRY_PLAIN(need(build, other));
        }
    }
    return NULL;
}

struct error *recipe_stages(struct build *build, const char *target) {
    TRY_PLAIN(stages_find(build));
    for (size_t i = 0; i < build->dockerfile.count; i++) {
        const struct instruction *instruction = &build->dockerfile.instructions[i];
        if (instruction->keyword == KEYWORD_FROM) break;
        struct error *error = evaluate_arg(build, instruction, &build->globals, true);
        if (error) return at_line(build, instruction->line, error);
    }
    build->target = build->stage_count - 1;
    if (target && *target) build->target = recipe_stage_find(build, target, build->stage_count);
    if (build->target == build->stage_count)
        return error_new(ERROR_NOT_FOUND, "%s has no stage '%s'", build->dockerfile.name, target);
    return need(build, build->target);
}
