/* Threads of talk and their messages, as tables know them: who answers in them is another room's matter. */
#include "inside.h"

#include <stdlib.h>

static const struct listing thread_list = {
    .table = "threads",
    .columns = "id, user_id AS userId, is_ephemeral AS isEphemeral, created_at AS createdAt, updated_at AS "
               "updatedAt",
    .kinds = "IIbtt",
};
static const struct listing message_list = {
    .table = "thread_messages",
    .columns = "id, thread_id AS threadId, role, content, code_source_id AS codeSourceId, attachment,"
               " created_at AS createdAt, updated_at AS updatedAt",
    .kinds = "IIUssjtt",
};

static struct error *thread_row(struct sql *sql, int64_t row, json_t **ret_thread) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    struct error *error = NULL;
    scoped_string char *text = mem_printf("SELECT %s FROM threads WHERE id = ?1", thread_list.columns);
    TRY_PLAIN(sql_query(sql, &rows, text, "i", row));
    if (sql_next(rows, &error))
        *ret_thread = rows_object(rows, thread_list.kinds);
    else if (!error)
        error = error_new(ERROR_NOT_FOUND, "Thread not found");
    return error;
}

struct error *account_thread(struct account *account, int64_t row, json_t **ret_thread) {
    struct error *error = thread_row(account_hold(account), row, ret_thread);
    account_let_go(account);
    return error;
}

struct error *account_thread_new(struct account *account, int64_t user, int64_t *ret_row) {
    struct sql *sql = account_hold(account);
    /* Ephemeral until somebody shares it. */
    struct error *error =
        sql_do(sql, "INSERT INTO threads (user_id, is_ephemeral) VALUES (?1, 1)", "i", user);
    if (!error) *ret_row = sql_last_id(sql);
    account_let_go(account);
    return error;
}

struct error *account_threads(struct account *account, const struct account_page *page,
                              const struct account_thread_filter *filter, json_t **ret_threads) {
    scoped_text struct text condition = {0};
    scoped_string char *rows = rows_of_ids(filter->ids);
    text_add_string(&condition, "1");
    if (rows) text_printf(&condition, " AND id IN (%s)", rows);
    if (filter->user) text_printf(&condition, " AND user_id = %lld", (long long)filter->user);
    if (filter->is_ephemeral >= 0) text_printf(&condition, " AND is_ephemeral = %d", filter->is_ephemeral);
    if (filter->readable_by)
        text_printf(&condition, " AND (NOT is_ephemeral OR user_id = %lld)", (long long)filter->readable_by);
    struct listing listing = thread_list;
    listing.condition = condition.data;
    struct error *error = rows_page(account_hold(account), &listing, page, ret_threads);
    account_let_go(account);
    return error;
}

struct error *account_messages(struct account *account, int64_t thread, const struct account_page *page,
                               json_t **ret_messages) {
    scoped_string char *condition = mem_printf("thread_id = %lld", (long long)thread);
    struct listing listing = message_list;
    listing.condition = condition;
    struct error *error = rows_page(account_hold(account), &listing, page, ret_messages);
    account_let_go(account);
    return error;
}

/* ---- changes ---- */

static struct error *add_message(struct sql *sql, int64_t thread, const char *role, const char *content,
                                 const char *attachment, int64_t *ret_row) {
    scoped_string char *last = NULL;
    TRY_PLAIN(sql_text(sql, &last,
                       "SELECT role FROM thread_messages WHERE thread_id = ?1 ORDER BY id DESC LIMIT 1", "i",
                       thread));
    if (last && strcmp(last, role) == 0)
        return error_new(ERROR_FAILED_PRECONDITION, "Cannot send two messages in a row with the same role");
    TRY_PLAIN(sql_do(
        sql, "INSERT INTO thread_messages (thread_id, role, content, attachment) VALUES (?1, ?2, ?3, ?4)",
        "isss", thread, role, content, attachment));
    *ret_row = sql_last_id(sql);
    return sql_do(sql, "UPDATE threads SET updated_at = datetime('now') WHERE id = ?1", "i", thread);
}

struct error *account_message_add(struct account *account, int64_t thread, const char *role,
                                  const char *content, const json_t *attachment, int64_t *ret_row) {
    scoped_string char *text = attachment ? json_dumps(attachment, JSON_COMPACT) : mem_string("{}");
    struct sql *sql = account_hold(account);
    struct error *error = sql_begin(sql);
    if (!error) error = add_message(sql, thread, role, content, text ? text : "{}", ret_row);
    if (!error) error = sql_commit(sql);
    if (error) sql_rollback(sql);
    account_let_go(account);
    return error;
}

struct error *account_message_set(struct account *account, int64_t row, const char *content) {
    struct sql *sql = account_hold(account);
    return account_one(
        account,
        sql_do(sql, "UPDATE thread_messages SET content = ?2, updated_at = datetime('now') WHERE id = ?1",
               "is", row, content),
        "Message");
}

struct error *account_message_edit(struct account *account, int64_t thread, int64_t row,
                                   const char *content) {
    struct sql *sql = account_hold(account);
    return account_one(
        account,
        sql_do(sql,
               "UPDATE thread_messages SET content = ?3, updated_at = datetime('now') WHERE id = ?2 AND "
               "thread_id = ?1",
               "iis", thread, row, content),
        "Message");
}

struct error *account_message_attach(struct account *account, int64_t row, const char *source_id,
                                     const json_t *attachment) {
    scoped_string char *text = json_dumps(attachment, JSON_COMPACT);
    struct sql *sql = account_hold(account);
    return account_one(account,
                       sql_do(sql,
                              "UPDATE thread_messages SET code_source_id = ?2, attachment = ?3 WHERE id = ?1",
                              "iss", row, source_id, text ? text : "{}"),
                       "Message");
}

struct error *account_thread_persist(struct account *account, int64_t row) {
    struct sql *sql = account_hold(account);
    return account_one(
        account,
        sql_do(sql, "UPDATE threads SET is_ephemeral = 0, updated_at = datetime('now') WHERE id = ?1", "i",
               row),
        "Thread");
}

struct error *account_thread_remove(struct account *account, int64_t row) {
    struct sql *sql = account_hold(account);
    return account_one(account, sql_do(sql, "DELETE FROM threads WHERE id = ?1", "i", row),
                       "Thread"); /* messages go with it */
}

static struct error *remove_pair(struct sql *sql, int64_t thread, int64_t user_message,
                                 int64_t assistant_message) {
    int64_t found = 0;
    TRY_PLAIN(sql_number(sql, 0, &found,
                         "SELECT count(*) FROM thread_messages WHERE thread_id = ?1 AND"
                         " ((id = ?2 AND role = 'user') OR (id = ?3 AND role = 'assistant'))",
                         "iii", thread, user_message, assistant_message));
    if (found != 2)
        return error_new(ERROR_NOT_FOUND,
                         "Thread message pair is not valid: a user's message and its answer are wanted");
    return sql_do(sql, "DELETE FROM thread_messages WHERE id IN (?1, ?2)", "ii", user_message,
                  assistant_message);
}

struct error *account_message_pair_remove(struct account *account, int64_t thread, int64_t user_message,
                                          int64_t assistant_message) {
    struct error *error = remove_pair(account_hold(account), thread, user_message, assistant_message);
    account_let_go(account);
    return error;
}
