/* model: model files, where they lie and how they get there.
 *
 * What it knows that others don't: Tabby's tree of models, its registries (models.json of an organisation), downloads that go on
 * where they were cut. It looks at no model's content: that is the llama room's. */
#pragma once
#include "io.h"

struct model {
    char *id;              /* as the user typed it */
    char *directory;       /* holds tabby.json and ggml/ */
    char *file;            /* the first GGUF file */
    char *prompt_template; /* NULL: not a completion model */
    char *chat_template;   /* NULL: not a chat model */
};
void model_free(struct model *model);
DEFINE_SCOPED(model)
/* NOT_FOUND: no such directory, or no tabby.json or model file in it. INVALID_ARGUMENT: tabby.json is broken. */
must_check struct error *model_open(const char *directory, const char *id, struct model **ret_model);
