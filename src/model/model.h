/* model: model files, where they lie and how they get there.
 *
 * What it knows that others don't: Tabby's tree of models, its registries (models.json of an organisation),
 * downloads that go on where they were cut. It looks at no model's content: that is the llama room's. All of
 * it blocks: called before the loop runs, or on a worker thread. */
#pragma once
#include "io.h"

struct model {
    char *id;              /* as the user typed it */
    char *directory;       /* holds tabby.json and ggml/ */
    char *file;            /* the first GGUF file */
    char *prompt_template; /* NULL: not a completion model */
    char *chat_template;   /* NULL: not a chat model */
    bool stands_in;        /* it is another one than its id says; said by whoever opened it */
};
void model_free(struct model *model);
DEFINE_SCOPED(model)
/* NOT_FOUND: no such directory, or no tabby.json or model file in it. INVALID_ARGUMENT: tabby.json is broken.
 */
must_check struct error *model_open(const char *directory, const char *id, struct model **ret_model);

/* ---- registries and downloads ---- */
#define MODEL_REGISTRY "TabbyML" /* of an id without a slash */
enum model_kind { MODEL_ANY, MODEL_COMPLETION, MODEL_CHAT };
struct model_progress {
    const char *file;     /* its name */
    uint32_t part, parts; /* from 1 */
    uint64_t done_bytes;  /* of this part */
    uint64_t total_bytes; /* 0: not known */
};
struct model_source {
    const char *models;        /* directory of all models */
    const char *registry_url;  /* before "/ORGANISATION/registry-tabby/main/models.json"; NULL: GitHub's */
    const char *download_host; /* a URL must contain it; NULL: huggingface.co */
    const char *host_override; /* replaces huggingface.co in the URL; NULL: nothing */
    void (*told)(void *owner, const char *line); /* what is being done, a line each */
    void (*progress)(void *owner, const struct model_progress *progress);
    void *owner;
};
/* Finds `id` (NAME or ORGANISATION/NAME) in its registry and makes its files be there, as far as they are
 * not: checked by their sums unless `prefer_local`; a download that was cut goes on. INVALID_ARGUMENT: no
 * such model, or not of this kind. UNAVAILABLE: the network. DATA_LOSS: what came has another sum. */
must_check struct error *model_fetch(const struct model_source *source, const char *id, enum model_kind kind,
                                     bool prefer_local, char **ret_directory);
