/* `catnap token`: who may ask by Modal's clients, and who may ask guarded web functions. */
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "sheet.h"
#include "token.h"

#define ANSWER_MS 60000

struct error *token_new(struct command *command, const char *kind, const char *name, json_t **ret_answer) {
    scoped_json json_t *body = json_pack("{s:s, s:s}", "name", name, "kind", kind);
    scoped_string char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    if (!text) return error_new(ERROR_INVALID_ARGUMENT, "a name is UTF-8 text");
    const struct question question = {
        .method = "POST", .target = "/v1/tokens", .body = span_of(text), .timeout_ms = ANSWER_MS};
    TRY_PLAIN(ask(command, &question, ret_answer));
    if (json_string_value(json_object_get(*ret_answer, "id")) &&
        json_string_value(json_object_get(*ret_answer, "secret")))
        return NULL;
    json_decref(take(*ret_answer));
    return error_new(ERROR_UNAVAILABLE, "the daemon at %s answered without a token", command->place.told);
}

struct error *token_revoke(struct command *command, const char *id, json_t **ret_answer) {
    scoped_text struct text target = {0};
    text_add_string(&target, "/v1/tokens/");
    words_add_url(&target, id);
    const struct question question = {.method = "DELETE", .target = target.data, .timeout_ms = ANSWER_MS};
    return ask(command, &question, ret_answer);
}

static struct error *make(struct command *command, json_t **ret_answer) {
    return token_new(command, command->options.proxy ? "proxy" : "client", command->words[1], ret_answer);
}

static void print_made(const json_t *answer) {
    printf("%s\n%s\n", json_string_value(json_object_get(answer, "id")),
           json_string_value(json_object_get(answer, "secret")));
    fflush(stdout);
    const char *kind = json_string_value(json_object_get(answer, "kind"));
    fputs(kind && strcmp(kind, "proxy") == 0
              ? "the secret is shown this once: the headers Modal-Key and Modal-Secret take these two\n"
              : "the secret is shown this once: MODAL_TOKEN_ID and MODAL_TOKEN_SECRET take these two\n",
          stderr);
}

static struct error *list(struct command *command, json_t **ret_answer) {
    const struct question question = {.method = "GET", .target = "/v1/tokens", .timeout_ms = ANSWER_MS};
    return ask(command, &question, ret_answer);
}

static void print_list(const json_t *answer) {
    enum { COLUMNS = 4 };
    static const struct sheet_column columns[COLUMNS] = {
        {"TOKEN", false, 0}, {"KIND", false, 0}, {"NAME", false, 0}, {"MADE", false, 0}};
    scoped_sheet struct sheet sheet = {.columns = columns, .column_count = COLUMNS};
    const json_t *tokens = json_object_get(answer, "tokens"), *token;
    size_t i;
    json_array_foreach(tokens, i, token) {
        const char *id = json_string_value(json_object_get(token, "id"));
        const char *name = json_string_value(json_object_get(token, "name"));
        char when[CLOCK_TEXT_SIZE];
        clock_text((int64_t)json_integer_value(json_object_get(token, "created_ms")), when);
        const char *kind = json_string_value(json_object_get(token, "kind"));
        sheet_add(&sheet, COLOUR_NONE, "%s", id ? id : "");
        sheet_add(&sheet, COLOUR_NONE, "%s", kind ? kind : "client");
        sheet_add(&sheet, COLOUR_NONE, "%s", name ? name : "");
        sheet_add(&sheet, COLOUR_DIM, "%.16sZ", when);
    }
    if (json_array_size(tokens) > 0)
        sheet_print(&sheet);
    else
        puts("no tokens yet; `catnap login` makes one for Modal's client");
}

static struct error *revoke_one(struct command *command, json_t **ret_answer) {
    return token_revoke(command, command->words[1], ret_answer);
}

static void print_revoked(const json_t *answer) {
    printf("%s opens nothing any more\n", json_string_value(json_object_get(answer, "id")));
}

static const struct {
    const char *name, *operands;
    size_t words; /* behind it */
    struct error *(*ask)(struct command *command, json_t **ret_answer);
    void (*print)(const json_t *answer);
} actions[] = {
    {"new", " NAME", 1, make, print_made},
    {"list", "", 0, list, print_list},
    {"revoke", " ID", 1, revoke_one, print_revoked},
};

int token_run(struct command *command) {
    const char *name = command->words[0];
    size_t i = 0;
    while (i < COUNT(actions) && strcmp(actions[i].name, name) != 0) i++;
    if (i == COUNT(actions)) return fail_usage(command, "'%.40s' is nothing to do with tokens", name);
    if (command->word_count != actions[i].words + 1)
        return fail_usage(command, "expected: catnap token %s%s", name, actions[i].operands);
    scoped_json json_t *answer = NULL;
    struct error *error = actions[i].ask(command, &answer);
    if (error) return fail(command, error);
    if (command->options.json)
        print_json(answer);
    else
        actions[i].print(answer);
    return STATUS_OK;
}
