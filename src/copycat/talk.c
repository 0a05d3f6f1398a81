/* A thread of talk gets its answer: the subscriptions createThreadAndRun and createThreadRun.
 *
 *   noted (a worker: thread, question, empty answer) -> told: ids -> code, then documents searched, where the
 * run asks for them -> told: hits -> asked: the model, here or on another server -> deltas as they come ->
 * kept (a worker: the answer) -> told: completed
 *
 * Ends otherwise: no chat model, no such thread, not its owner, the model fails: an error, after which what
 * had come of the answer is kept. Cancelled: nobody is told any more, and what had come is kept too. */
#include "talk.h"

#include "answer_code.h"
#include "answer_docs.h"

#include <stdlib.h>

#define PERSONA                                                                                              \
    "You are a helpful assistant for people who write software. Answer in the language of the question, to " \
    "the point. "                                                                                            \
    "Put code into fenced blocks that name their language."
#define HISTORY_MAX 200 /* messages of a thread that the model is told of: the last ones */

struct talk {
    struct serve *serve;
    struct account *account;
    int64_t user, thread, question, answer;
    bool is_new;
    json_t *arguments; /* the subscription's */
    json_t *messages;  /* of the thread, up to the question */
    struct text text;  /* of the answer, so far */
    struct answer_code code;
    struct answer_docs docs;
    struct chat_request *request;
    struct chat *chat;
    struct remote_call *remote;
    struct talk_events events;
    bool cancelled;
    struct error *error; /* why it ends */
    struct io_work work;
};

static void talk_free(struct talk *talk) {
    chat_request_free(talk->request);
    json_decref(talk->arguments);
    json_decref(talk->messages);
    answer_code_done(&talk->code);
    answer_docs_done(&talk->docs);
    text_done(&talk->text);
    error_free(talk->error);
    free(talk);
}

/* ---- telling ---- */

static void tell(struct talk *talk, json_t *taken_item, const char *type) {
    json_object_set_new(taken_item, "__typename", json_string(type));
    if (talk->cancelled)
        json_decref(taken_item);
    else
        talk->events.item(talk->events.owner, taken_item);
}

static void tell_id(struct talk *talk, int64_t row, const char *type) {
    char id[ACCOUNT_ID_SIZE];
    account_id(row, id);
    tell(talk, json_pack("{s:s}", "id", id), type);
}

static void finish(struct talk *talk) {
    struct error *error = take(talk->error);
    struct serve *serve = talk->serve;
    search_busy(serve, -1);
    if (talk->cancelled)
        error_free(error);
    else
        talk->events.end(talk->events.owner, error);
    talk_free(talk);
    accounts_job_ended(serve);
}

/* ---- kept ---- */

static void on_keep(struct io_work *work) {
    struct talk *talk = CONTAINER_OF(work, struct talk, work);
    const char *text = talk->text.data ? talk->text.data : "";
    work->error = account_message_set(talk->account, talk->answer, text);
    if (work->error || json_array_size(talk->code.stored) + json_array_size(talk->docs.stored) == 0) return;
    scoped_json json_t *attachment =
        json_pack("{s:O*,s:O*}", "code", talk->code.stored, "doc", talk->docs.stored);
    work->error = account_message_attach(talk->account, talk->answer, talk->code.source_id, attachment);
}

static const json_t *run_options(const struct talk *talk) {
    return json_object_get(json_object_get(talk->arguments, "input"), "options");
}

static json_t *debug_of(const struct talk *talk) {
    const json_t *debug = json_object_get(run_options(talk), "debugOptions");
    if (!json_is_true(json_object_get(debug, "returnChatCompletionRequest")) || !talk->request)
        return json_null();
    return json_pack("{s:O}", "chatCompletionMessages", json_object_get(talk->request->root, "messages"));
}

static void on_kept(struct io_work *work) {
    struct talk *talk = CONTAINER_OF(work, struct talk, work);
    if (!talk->error) talk->error = take(work->error);
    error_free(take(work->error));
    if (!talk->error)
        tell(talk, json_pack("{s:o}", "debugData", debug_of(talk)), "ThreadAssistantMessageCompleted");
    finish(talk);
}

static void keep(struct talk *talk) {
    talk->work = (struct io_work){.work = on_keep, .done = on_kept};
    io_work_start(talk->serve->loop, &talk->work);
}

/* ---- asked ---- */

static void add_delta(struct talk *talk, const json_t *delta) {
    json_t *content = json_object_get(delta, "content");
    struct span text = {json_string_value(content), json_string_length(content)};
    if (text.size == 0) return;
    text_add(&talk->text, text);
    tell(talk, json_pack("{s:O}", "delta", content), "ThreadAssistantMessageContentDelta");
}

static void on_delta(void *owner, const json_t *delta) {
    add_delta(owner, delta);
}

static void on_done(void *owner, struct chat_end *end) {
    struct talk *talk = owner;
    talk->chat = NULL;
    talk->error = end->error;
    keep(talk);
}

static void on_remote_json(void *owner, const json_t *json) {
    add_delta(owner, json_object_get(json_array_get(json_object_get(json, "choices"), 0), "delta"));
}

static void on_remote_done(void *owner, struct error *error) {
    struct talk *talk = owner;
    talk->remote = NULL;
    talk->error = error;
    keep(talk);
}

/* Code that came with a message stands before it, each piece with its file's name. */
static json_t *content_of(const json_t *message, const struct talk *found) {
    const json_t *code = json_object_get(json_object_get(message, "attachment"), "client_code");
    scoped_text struct text whole = {0};
    size_t i;
    if (found) answer_docs_add(&found->docs, &whole);
    if (found) answer_code_add(&found->code, &whole);
    json_t *piece;
    json_array_foreach(code, i, piece) {
        const char *path = json_string_value(json_object_get(piece, "filepath"));
        const char *text = json_string_value(json_object_get(piece, "content"));
        text_printf(&whole, "%s\n```\n", path ? path : "");
        text_add_string(&whole, text ? text : "");
        text_add_string(&whole, "\n```\n\n");
    }
    const json_t *content = json_object_get(message, "content");
    text_add(&whole, (struct span){json_string_value(content), json_string_length(content)});
    return json_stringn(whole.data ? whole.data : "", whole.size);
}

static json_t *body_of(const struct talk *talk) {
    const struct settings *settings = talk->serve->settings;
    const json_t *model = json_object_get(run_options(talk), "modelName");
    const json_t *edges = json_object_get(talk->messages, "edges");
    json_t *messages = json_pack("[{s:s,s:s}]", "role", "system", "content",
                                 settings->answer_system_prompt ? settings->answer_system_prompt : PERSONA);
    size_t i;
    json_t *edge;
    json_array_foreach(edges, i, edge) {
        const json_t *node = json_object_get(edge, "node");
        const struct talk *found = i + 1 == json_array_size(edges) ? talk : NULL;
        bool asks = strcmp(json_string_value(json_object_get(node, "role")), "USER") == 0;
        json_array_append_new(messages, json_pack("{s:s,s:o}", "role", asks ? "user" : "assistant", "content",
                                                  content_of(node, found)));
    }
    return json_pack("{s:s,s:o,s:b,s:f}", "model", json_is_string(model) ? json_string_value(model) : "",
                     "messages", messages, "stream", true, "presence_penalty",
                     settings->answer_presence_penalty);
}

static struct error *compute(struct talk *talk) {
    const struct backend *backend = &talk->serve->chat;
    if (backend->remote) {
        const struct remote_chat ask = {
            .body = talk->request->root,
            .model = talk->request->model,
            .stream = true,
            .json = on_remote_json,
            .done = on_remote_done,
            .owner = talk,
        };
        talk->remote = remote_chat_start(backend->remote, &ask);
        return NULL;
    }
    const struct chat_options options = {
        .engine = backend->engine,
        .templates = backend->templates,
        .stop_words = (const char *const *)backend->how.stop_words,
        .delta = on_delta,
        .done = on_done,
        .owner = talk,
    };
    return chat_start(&options, talk->request, &talk->chat);
}

static struct error *ask(struct talk *talk) {
    scoped_json json_t *body = body_of(talk);
    scoped_string char *text = json_dumps(body, JSON_COMPACT);
    TRY_PLAIN(chat_request_parse(span_of(text ? text : ""), &talk->request));
    return compute(talk);
}

/* ---- noted ---- */

/* The message as it is stored: attachments in the form of Tabby's tables. */
static json_t *attachment_of(const json_t *message) {
    json_t *pieces = json_array();
    size_t i;
    json_t *piece;
    json_array_foreach(json_object_get(json_object_get(message, "attachments"), "code"), i, piece) {
        json_t *path = json_object_get(piece, "filepath"), *line = json_object_get(piece, "startLine");
        json_array_append_new(pieces, json_pack("{s:O?,s:O?,s:O}", "filepath", path, "start_line", line,
                                                "content", json_object_get(piece, "content")));
    }
    return json_pack("{s:o}", "client_code", pieces);
}

static struct error *find_thread(struct talk *talk, const json_t *input) {
    scoped_json json_t *thread = NULL;
    int64_t owner = 0;
    const char *id = json_string_value(json_object_get(input, "threadId"));
    if (!id || !account_row(span_of(id), &talk->thread))
        return error_new(ERROR_INVALID_ARGUMENT, "Invalid ID");
    TRY_PLAIN(account_thread(talk->account, talk->thread, &thread));
    account_row(span_of(json_string_value(json_object_get(thread, "userId"))), &owner);
    if (owner == talk->user) return NULL;
    return error_new(ERROR_PERMISSION_DENIED, "You must be the thread owner to create a run");
}

static struct error *note(struct talk *talk) {
    const json_t *input = json_object_get(talk->arguments, "input");
    const json_t *message = talk->is_new ? json_object_get(json_object_get(input, "thread"), "userMessage")
                                         : json_object_get(input, "additionalUserMessage");
    scoped_json json_t *attachment = attachment_of(message);
    const char *content = json_string_value(json_object_get(message, "content"));
    const struct account_page last = {.first = -1, .last = HISTORY_MAX};
    if (span_trim(span_of(content)).size == 0)
        return error_new(ERROR_INVALID_ARGUMENT, "The message is empty: there is nothing to answer");
    if (talk->is_new)
        TRY_PLAIN(account_thread_new(talk->account, talk->user, &talk->thread));
    else
        TRY_PLAIN(find_thread(talk, input));
    TRY_PLAIN(account_message_add(talk->account, talk->thread, "user", content, attachment, &talk->question));
    TRY_PLAIN(account_messages(talk->account, talk->thread, &last, &talk->messages));
    return account_message_add(talk->account, talk->thread, "assistant", "", NULL, &talk->answer);
}

static void on_note(struct io_work *work) {
    struct talk *talk = CONTAINER_OF(work, struct talk, work);
    work->error = note(talk);
}

static void answer(struct talk *talk) {
    if (!talk->cancelled) talk->error = ask(talk);
    if (talk->error || talk->cancelled) return keep(talk);
    const struct visitor visitor = {.who = {.user = talk->user}};
    events_chat(talk->serve, &visitor);
}

/* ---- documents, code ---- */

static void on_docs(void *owner, json_t *taken_found) {
    struct talk *talk = owner;
    answer_docs_read(&talk->docs, taken_found);
    tell(talk, json_pack("{s:O}", "hits", talk->docs.hits), "ThreadAssistantMessageAttachmentsDoc");
    answer(talk);
}

static void look_for_docs(struct talk *talk) {
    json_t *ids = NULL;
    if (!talk->cancelled && answer_docs_find(talk->serve, run_options(talk), talk->user, &ids, on_docs, talk))
        tell(talk, json_pack("{s:o}", "sourceIds", ids), "ThreadAssistantMessageReadingDoc");
    else
        answer(talk);
}

static void on_code(void *owner, struct find_answer *found) {
    struct talk *talk = owner;
    scoped(error) struct error *error = found->error;
    scoped_string char *why = error ? error_text(error) : NULL;
    if (why) log_warn("copycat", "an answer goes without code: %s", why);
    answer_code_read(&talk->code, found);
    tell(talk, json_pack("{s:O}", "hits", talk->code.hits), "ThreadAssistantMessageAttachmentsCode");
    look_for_docs(talk);
}

static void on_noted(struct io_work *work) {
    struct talk *talk = CONTAINER_OF(work, struct talk, work);
    talk->error = take(work->error);
    if (talk->error) return finish(talk);
    if (talk->is_new) tell_id(talk, talk->thread, "ThreadCreated");
    tell_id(talk, talk->question, "ThreadUserMessageCreated");
    tell_id(talk, talk->answer, "ThreadAssistantMessageCreated");
    if (!talk->cancelled && answer_code_find(talk->serve, run_options(talk), talk->user, on_code, talk))
        tell(talk, json_pack("{s:b,s:b}", "snippet", true, "fileList", false),
             "ThreadAssistantMessageReadingCode");
    else
        look_for_docs(talk);
}

/* ---- the door ---- */

struct talk *talk_start(struct serve *serve, const struct talk_options *options) {
    struct talk *talk = NEW(struct talk);
    *talk = (struct talk){
        .serve = serve,
        .account = serve->accounts->account,
        .user = options->user,
        .is_new = options->is_new,
        .arguments = json_deep_copy(options->arguments),
        .events = options->events,
        .work = {.work = on_note, .done = on_noted},
    };
    accounts_job_began(serve);
    search_busy(serve, 1);
    io_work_start(serve->loop, &talk->work);
    return talk;
}

void talk_cancel(struct talk *talk) {
    talk->cancelled = true;
    if (talk->chat) chat_cancel(talk->chat);
    if (talk->remote) remote_cancel(talk->remote);
}
