/* GraphQL: threads of talk that were kept. An ephemeral one is its owner's; one that was shared is
 * everybody's to read, and its owner's to change. */
#include "resolve.h"

#include <stdlib.h>

static struct error *list(struct graphql_call *call, struct account_thread_filter *filter, json_t **ret) {
    struct account_page page;
    TRY_PLAIN(check_claims(call));
    argument_page(call, &page);
    TRY_PLAIN(check_page(&page));
    return account_threads(asker_of(call)->account, &page, filter, ret);
}

static struct error *threads(struct graphql_call *call, json_t **ret) {
    const json_t *ephemeral = json_object_get(call->arguments, "isEphemeral");
    struct account_thread_filter filter = {
        .ids = json_object_get(call->arguments, "ids"),
        .is_ephemeral = json_is_boolean(ephemeral) ? json_is_true(ephemeral) : -1,
        .readable_by = asker_of(call)->who.is_admin ? 0 : asker_of(call)->who.user,
    };
    return list(call, &filter, ret);
}

static struct error *my_threads(struct graphql_call *call, json_t **ret) {
    struct account_thread_filter filter = {.user = asker_of(call)->who.user, .is_ephemeral = -1};
    return list(call, &filter, ret);
}

/* *ret_row of the id; the thread's owner must ask, or anybody who may read it. */
static struct error *thread_with(struct graphql_call *call, const char *id, bool to_change,
                                 const char *refusal, int64_t *ret_row) {
    scoped_json json_t *thread = NULL;
    int64_t owner = 0;
    TRY_PLAIN(check_claims(call));
    TRY_PLAIN(id_row(id, ret_row));
    struct error *error = account_thread(asker_of(call)->account, *ret_row, &thread);
    if (error && error->code == ERROR_NOT_FOUND) call->extensions = json_pack("{s:s}", "code", "NOT_FOUND");
    if (error) return error;
    account_row(span_of(json_string_value(json_object_get(thread, "userId"))), &owner);
    bool shared = !json_is_true(json_object_get(thread, "isEphemeral"));
    bool may_read = shared || asker_of(call)->who.is_admin;
    if (owner == asker_of(call)->who.user || (!to_change && may_read)) return NULL;
    return refuse(call, "FORBIDDEN", refusal);
}

static struct error *thread_of(struct graphql_call *call, const char *argument, bool to_change,
                               const char *refusal, int64_t *ret_row) {
    return thread_with(call, argument_string(call, argument), to_change, refusal, ret_row);
}

/* ---- attachments: stored with underscores and without what is empty, shown as the schema has them ---- */

static char *camel(const char *name) {
    char *copy = mem_string(name), *to = copy;
    for (const char *from = name; *from; from++) {
        if (*from == '_' && from[1] >= 'a' && from[1] <= 'z')
            *to++ = (char)(*++from - 'a' + 'A');
        else
            *to++ = *from;
    }
    *to = 0;
    return copy;
}

static json_t *camel_object(const json_t *object) {
    json_t *copy = json_object();
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        scoped_string char *name = camel(key);
        json_object_set(copy, name, value);
    }
    return copy;
}

static json_t *camel_array(const json_t *array) {
    json_t *copy = json_array();
    size_t i;
    json_t *value;
    json_array_foreach(array, i, value) json_array_append_new(copy, camel_object(value));
    return copy;
}

/* Which kind a document is shows in the members that it has. */
static const char *doc_type(const json_t *doc) {
    static const struct {
        const char *member, *type;
    } marks[] = {
        {"sha", "MessageAttachmentCommitDoc"},    {"closed", "MessageAttachmentIssueDoc"},
        {"merged", "MessageAttachmentPullDoc"},   {"pageLink", "MessageAttachmentPageDoc"},
        {"body", "MessageAttachmentIngestedDoc"},
    };
    for (size_t i = 0; i < COUNT(marks); i++)
        if (json_object_get(doc, marks[i].member)) return marks[i].type;
    return "MessageAttachmentWebDoc";
}

static json_t *docs(const json_t *stored) {
    json_t *array = camel_array(stored);
    size_t i;
    json_t *doc;
    json_array_foreach(array, i, doc) {
        json_object_set_new(doc, "__typename", json_string(doc_type(doc)));
        if (json_object_get(doc, "pageLink")) json_object_set(doc, "link", json_object_get(doc, "pageLink"));
        if (json_object_get(doc, "diff")) json_object_set(doc, "patch", json_object_get(doc, "diff"));
    }
    return array;
}

static json_t *attachment(const json_t *stored) {
    json_t *files = json_object_get(stored, "code_file_list");
    json_t *shown = json_is_object(files) ? camel_object(files) : json_null();
    if (json_is_object(shown) && !json_object_get(shown, "truncated"))
        json_object_set_new(shown, "truncated", json_false());
    return json_pack("{s:o,s:o,s:o,s:o}", "clientCode", camel_array(json_object_get(stored, "client_code")),
                     "code", camel_array(json_object_get(stored, "code")), "doc",
                     docs(json_object_get(stored, "doc")), "codeFileList", shown);
}

static struct error *messages(struct graphql_call *call, json_t **ret) {
    struct account_page page;
    int64_t row = 0;
    size_t i;
    json_t *edge;
    TRY_PLAIN(thread_of(call, "threadId", false,
                        "You are unable to view a thread that you do not own unless it has been shared.",
                        &row));
    argument_page(call, &page);
    TRY_PLAIN(check_page(&page));
    TRY_PLAIN(account_messages(asker_of(call)->account, row, &page, ret));
    json_array_foreach(json_object_get(*ret, "edges"), i, edge) {
        json_t *node = json_object_get(edge, "node");
        json_object_set_new(node, "attachment", attachment(json_object_get(node, "attachment")));
    }
    return NULL;
}

/* ---- changes ---- */

static struct error *persist(struct graphql_call *call, json_t **ret) {
    int64_t row = 0;
    TRY_PLAIN(thread_of(call, "threadId", true,
                        "You cannot update the persistence of a thread that you do not own.", &row));
    TRY_PLAIN(account_thread_persist(asker_of(call)->account, row));
    *ret = json_true();
    return NULL;
}

static struct error *edit_message(struct graphql_call *call, json_t **ret) {
    const json_t *input = json_object_get(call->arguments, "input");
    const char *id = json_string_value(json_object_get(input, "id"));
    const char *content = json_string_value(json_object_get(input, "content"));
    int64_t thread = 0, row = 0;
    TRY_PLAIN(check_user(call));
    TRY_PLAIN(thread_with(call, json_string_value(json_object_get(input, "threadId")), true,
                          "You cannot update a message in a thread that you do not own.", &thread));
    json_t *complaints = json_array();
    if (span_trim(span_of(content)).size == 0)
        json_array_append_new(
            complaints, json_pack("{s:s,s:s}", "path", "content", "message", "Content should not be empty"));
    TRY_PLAIN(check_input(call, complaints));
    TRY_PLAIN(id_row(id, &row));
    TRY_PLAIN(account_message_edit(asker_of(call)->account, thread, row, content));
    *ret = json_true();
    return NULL;
}

static struct error *remove_thread(struct graphql_call *call, json_t **ret) {
    int64_t row = 0;
    TRY_PLAIN(thread_of(call, "id", true, "You cannot delete a thread that you do not own.", &row));
    TRY_PLAIN(account_thread_remove(asker_of(call)->account, row));
    *ret = json_true();
    return NULL;
}

static struct error *remove_pair(struct graphql_call *call, json_t **ret) {
    int64_t row = 0, user_message = 0, assistant_message = 0;
    TRY_PLAIN(thread_of(call, "threadId", true, "You cannot delete messages in a thread that you do not own.",
                        &row));
    TRY_PLAIN(argument_row(call, "userMessageId", &user_message));
    TRY_PLAIN(argument_row(call, "assistantMessageId", &assistant_message));
    TRY_PLAIN(account_message_pair_remove(asker_of(call)->account, row, user_message, assistant_message));
    *ret = json_true();
    return NULL;
}

const struct graphql_resolver resolve_threads[] = {
    {"Query.threads", threads},
    {"Query.myThreads", my_threads},
    {"Query.threadMessages", messages},
    {"Mutation.setThreadPersisted", persist},
    {"Mutation.updateThreadMessage", edit_message},
    {"Mutation.deleteThread", remove_thread},
    {"Mutation.deleteThreadMessagePair", remove_pair},
    {NULL, NULL},
};
