/* One chat: rendered, computed, told piece by piece.
 *
 * Stop words are looked for twice: on the compute thread, so that not a token too many is computed, and on
 * the loop, where what may be told is cut. The two have nothing in common but the words. */
#include "inside.h"

#include <stdlib.h>

#define MIN_P 0.05f /* llama.cpp's default */

struct chat {
    struct chat_options options;
    struct face_prompt prompt;
    struct chat_stops *computed; /* the compute thread's until done */
    struct chat_stops *told;
    struct engine_job *job;
    size_t told_size;
    bool stopped;
    struct error *error;
};

static void chat_free(struct chat *chat) {
    if (!chat) return;
    face_prompt_done(&chat->prompt);
    chat_stops_free(chat->computed);
    chat_stops_free(chat->told);
    error_free(chat->error);
    free(chat);
}
DEFINE_SCOPED(chat)

static bool check(void *owner, struct span piece) {
    struct chat *chat = owner;
    return !chat_stops_add(chat->computed, piece);
}

static void give(struct chat *chat, const json_t *delta) {
    if (chat->options.delta) chat->options.delta(chat->options.owner, delta);
}

static void tell_plain(struct chat *chat, struct span text) {
    if (text.size <= chat->told_size) return;
    struct span news = {text.data + chat->told_size, text.size - chat->told_size};
    news.size = utf8_whole(news);
    if (news.size == 0) return;
    chat->told_size += news.size;
    json_t *content = json_stringn(news.data, news.size);
    scoped_json json_t *delta = json_pack("{s:o}", "content", content ? content : json_string(""));
    give(chat, delta);
}

static void tell_read(struct chat *chat, struct span text, bool whole) {
    scoped_string char *deltas = NULL;
    scoped_string char *fault = face_read(chat->prompt.reader, text.data, text.size, whole, &deltas);
    /* What is not of the expected form while it is partial may still become it. */
    if (fault && whole && !chat->error)
        chat->error = error_new(ERROR_INTERNAL, "the model's answer can't be read: %s", fault);
    scoped_json json_t *list = deltas ? json_loads(deltas, 0, NULL) : NULL;
    size_t i;
    const json_t *delta;
    json_array_foreach(list, i, delta) if (json_object_size(delta) > 0) give(chat, delta);
}

static void tell(struct chat *chat, bool whole) {
    struct span text = chat_stops_text(chat->told, whole);
    if (chat->prompt.plain)
        tell_plain(chat, text);
    else
        tell_read(chat, text, whole);
}

static void on_text(void *owner, struct span utf8) {
    struct chat *chat = owner;
    if (chat->stopped) return;
    chat->stopped = chat_stops_add(chat->told, utf8);
    tell(chat, false);
}

static json_t *message_of(struct chat *chat) {
    scoped_string char *text = chat->prompt.plain ? NULL : face_message(chat->prompt.reader);
    json_t *message = text ? json_loads(text, 0, NULL) : NULL;
    if (message) return message;
    struct span all = chat_stops_text(chat->told, true);
    all.size = utf8_whole(all);
    json_t *content = json_stringn(all.data, all.size);
    return json_pack("{s:s,s:o}", "role", "assistant", "content", content ? content : json_string(""));
}

static void on_done(void *owner, const struct engine_result *result) {
    struct chat *chat = owner;
    struct chat_end end = {
        .error = result->error,
        .finish = result->finish == ENGINE_LENGTH ? CHAT_LENGTH : CHAT_STOP,
        .prompt_tokens = result->prompt_tokens,
        .reused_tokens = result->reused_tokens,
        .generated_tokens = result->generated_tokens,
    };
    if (!end.error) tell(chat, end.finish != CHAT_LENGTH);
    if (!end.error) end.error = take(chat->error);
    if (!end.error && !chat->prompt.plain && face_calls_tools(chat->prompt.reader) && end.finish == CHAT_STOP)
        end.finish = CHAT_TOOL_CALLS;
    scoped_json json_t *message = end.message = message_of(chat);
    chat->options.done(chat->options.owner, &end);
    chat_free(chat);
}

static struct chat_stops *stops_of(const struct chat *chat, const struct chat_request *request) {
    struct span words[CHAT_STOPS_MAX * 4];
    size_t count = 0;
    for (size_t i = 0; i < request->stop_count; i++) words[count++] = request->stops[i];
    for (size_t i = 0; chat->prompt.stops[i] && count < COUNT(words); i++)
        words[count++] = span_of(chat->prompt.stops[i]);
    for (size_t i = 0; chat->options.stop_words && chat->options.stop_words[i] && count < COUNT(words); i++)
        words[count++] = span_of(chat->options.stop_words[i]);
    return chat_stops_new(words, count);
}

struct error *chat_start(const struct chat_options *options, const struct chat_request *request,
                         struct chat **ret_chat) {
    scoped(chat) struct chat *chat = NEW(struct chat);
    chat->options = *options;
    TRY_PLAIN(template_render(options->templates, request, &chat->prompt));
    chat->computed = stops_of(chat, request);
    chat->told = stops_of(chat, request);
    struct engine_piece *pieces;
    size_t count = chat_plain_pieces(span_of(chat->prompt.text), options->templates->controls, &pieces);
    struct engine_job_options job = {
        .pieces = pieces,
        .piece_count = count,
        .max_tokens = request->max_tokens,
        .patient = true,
        .temperature = (float)request->temperature,
        .top_p = (float)request->top_p,
        .min_p = MIN_P,
        .seed = request->has_seed ? request->seed : (uint64_t)clock_monotonic_us(),
        .presence_penalty = (float)request->presence_penalty,
        .frequency_penalty = (float)request->frequency_penalty,
        .biases = request->biases,
        .bias_count = request->bias_count,
        .grammar = chat->prompt.grammar,
        .triggers = chat->prompt.lazy ? (const char *const *)chat->prompt.triggers : NULL,
        .begun = chat->prompt.begun,
        .spelled = (const char *const *)chat->prompt.spelled,
        .check = check,
        .text = on_text,
        .done = on_done,
        .owner = chat,
    };
    struct error *error = engine_job_start(options->engine, &job, &chat->job);
    free(pieces);
    if (error) return error;
    *ret_chat = take(chat);
    return NULL;
}

void chat_cancel(struct chat *chat) {
    engine_job_cancel(chat->job);
}
