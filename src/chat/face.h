/* The C face of libllama's chat library (C++): templates, tools, grammars, and reading an answer.
 *
 * No exception passes it. What fails gives a text that says why, owned by the caller; NULL is success. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct llama_model;
struct face_templates;
/* `text`: a Jinja template; NULL: the model's own. */
char *face_templates_new(const struct llama_model *model, const char *text,
                         struct face_templates **ret_templates);
void face_templates_free(struct face_templates *templates);
bool face_templates_tools(const struct face_templates *templates); /* it can tell the model of tools */

struct face_request {
    const char *messages;    /* JSON array, OpenAI's */
    const char *tools;       /* JSON array; NULL: none */
    const char *tool_choice; /* "auto", "none" or "required" */
    const char *schema;      /* JSON schema that the answer must have; NULL: none */
    const char *arguments;   /* JSON object of more variables for the template; NULL: none */
    bool parallel_tools;
};
struct face_reader; /* of an answer to that prompt */
struct face_prompt {
    char *text;
    char *grammar;   /* NULL: none */
    char *begun;     /* what the prompt ends with of the answer */
    bool lazy;       /* it begins to hold where a trigger matches */
    char **triggers; /* regular expressions; NULL-terminated */
    char **stops;    /* NULL-terminated */
    char **spelled;  /* control tokens that are part of the answer's text; NULL-terminated */
    bool plain;      /* an answer is its text and nothing else: it needs no reader */
    struct face_reader *reader;
};
char *face_render(const struct face_templates *templates, const struct face_request *request,
                  struct face_prompt *ret_prompt);
void face_prompt_done(struct face_prompt *prompt);

/* What is new in the answer when `text` (all of it so far) has come: a JSON array of OpenAI's deltas; owned
 * by the caller. `whole`: nothing more will come. */
char *face_read(struct face_reader *reader, const char *text, size_t size, bool whole, char **ret_deltas);
/* The message as a whole, OpenAI's; owned by the caller. */
char *face_message(const struct face_reader *reader);
bool face_calls_tools(const struct face_reader *reader);

#ifdef __cplusplus
}
#endif
