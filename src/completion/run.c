/* One completion: builds the prompt, has it computed, stops at stop words, puts the line ends back.
 *
 * The stop words are looked at on the compute thread (`check`), so that not a token too many is computed;
 * until `done` nobody else touches them. */
#include "completion.h"

#include <stdlib.h>

struct completion {
    struct completion_options options;
    struct prompt prompt;
    struct stop *stop;
    struct engine_job *job; /* or: */
    void *run;              /* of the source */
};

static void completion_free(struct completion *completion) {
    if (!completion) return;
    prompt_done(&completion->prompt);
    stop_free(completion->stop);
    free(completion);
}
DEFINE_SCOPED(completion)

static bool check(void *owner, struct span piece) {
    struct completion *completion = owner;
    return !stop_add(completion->stop, piece);
}

/* "\n" to "\r\n", but not one at the very start: it ends the line that the editor has already. */
static void add_cr(struct span text, struct text *out) {
    for (size_t i = 0; i < text.size; i++) {
        if (i > 0 && text.data[i] == '\n' && text.data[i - 1] != '\r') text_add_char(out, '\r');
        text_add_char(out, text.data[i]);
    }
}

static void finish(struct completion *completion, struct error *taken_error,
                   const struct engine_result *result) {
    struct span text = stop_text(completion->stop);
    text.size = utf8_whole(text);
    scoped_text struct text told = {0};
    if (completion->prompt.crlf)
        add_cr(text, &told);
    else
        text_add(&told, text);
    struct completion_end end = {
        .error = taken_error, .text = text_span(&told), .prompt = &completion->prompt, .result = result};
    completion->options.done(completion->options.owner, &end);
    completion_free(completion);
}

/* ---- computed here ---- */

static void on_done(void *owner, const struct engine_result *result) {
    finish(owner, result->error, result);
}

static struct error *compute(struct completion *completion, const struct completion_ask *ask) {
    struct engine_piece pieces[5];
    struct engine_job_options job = {
        .pieces = pieces,
        .piece_count = prompt_pieces(&completion->prompt, pieces),
        .max_tokens = ask->max_tokens,
        .temperature = (float)ask->temperature,
        .seed = ask->seed,
        .check = check,
        .done = on_done,
        .owner = completion,
    };
    return engine_job_start(completion->options.engine, &job, &completion->job);
}

/* ---- asked of another server ---- */

static void on_asked(void *owner, struct error *error) {
    finish(owner, error, NULL);
}

static void ask_source(struct completion *completion, struct completion_ask *ask) {
    const struct completion_source *source = completion->options.source;
    struct engine_piece pieces[5];
    size_t count = prompt_pieces(&completion->prompt, pieces);
    scoped_text struct text prompt = {0};
    for (size_t i = 0; i < count; i++) text_add(&prompt, pieces[i].text);
    bool raw = !completion->prompt.prefix.data && !completion->prompt.has_template;
    ask->prompt = text_span(&prompt);
    ask->prefix = raw ? ask->prompt : text_span(&completion->prompt.prefix);
    ask->suffix = text_span(&completion->prompt.suffix);
    ask->text = check;
    ask->done = on_asked;
    ask->owner = completion;
    completion->run = source->start(source->source, ask);
}

struct error *completion_start(const struct completion_options *options,
                               const struct completion_request *request, struct completion **ret_completion) {
    scoped(completion) struct completion *completion = NEW(struct completion);
    completion->options = *options;
    uint32_t max_tokens = options->max_tokens ? options->max_tokens : 64;
    struct prompt_options how = {
        .template_text = options->template_text,
        .window = options->window,
        .input_bytes = options->input_bytes ? options->input_bytes : PROMPT_INPUT_BYTES,
        .languages = options->languages,
        .user = options->user,
    };
    TRY_PLAIN(prompt_build(request, &how, &completion->prompt));
    const struct language *language = language_find(request->language, options->languages);
    completion->stop = stop_new(language, text_span(&completion->prompt.whole), options->stop_words);
    if (request->next_edit) stop_ignore(completion->stop);
    struct completion_ask ask = {
        .max_tokens = request->next_edit ? max_tokens * 2 : max_tokens,
        .temperature = request->has_temperature ? request->temperature : 0.1,
        .seed = request->has_seed ? request->seed : (uint64_t)clock_wall_ms(),
    };
    if (options->source)
        ask_source(completion, &ask);
    else
        TRY_PLAIN(compute(completion, &ask));
    *ret_completion = take(completion);
    return NULL;
}

void completion_cancel(struct completion *completion) {
    if (completion->options.source)
        completion->options.source->cancel(completion->run);
    else
        engine_job_cancel(completion->job);
}
