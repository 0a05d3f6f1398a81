/* Documents that scripts hand in, as Tabby's table knows them: what is found in them is another room's
 * matter.
 *
 * Names are kept as Tabby writes them: the source as "ingested:" and its name, it and the document's id
 * escaped as in URLs. One that comes again takes a new row, so that whoever is at work on the old text can
 * tell. */
#include "inside.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <stdlib.h>

#define PREFIX "ingested:"

/* Owned by the caller, as the next. */
static char *escaped(const char *prefix, const char *name) {
    struct text out = {0};
    text_add_string(&out, prefix);
    for (const unsigned char *c = (const unsigned char *)name; *c; c++) {
        if (*c < 0x80 && (isalnum(*c) || strchr("-_.~", *c)))
            text_add_char(&out, (char)*c);
        else
            text_printf(&out, "%%%02X", *c);
    }
    return text_take(&out);
}

static char *source_name(struct span id) {
    struct text out = {0};
    if (span_starts(id, PREFIX)) id = (struct span){id.data + strlen(PREFIX), id.size - strlen(PREFIX)};
    for (size_t i = 0; i < id.size; i++) {
        bool is_escape = id.data[i] == '%' && i + 2 < id.size && isxdigit((unsigned char)id.data[i + 1]) &&
                         isxdigit((unsigned char)id.data[i + 2]);
        char hex[3] = {id.data[i], 0, 0};
        if (is_escape) hex[0] = id.data[i + 1], hex[1] = id.data[i + 2], i += 2;
        text_add_char(&out, is_escape ? (char)strtol(hex, NULL, 16) : hex[0]);
    }
    return text_take(&out);
}

bool account_is_registrar(struct account *account, struct span token) {
    scoped_string char *known = NULL;
    if (!account->reader) return false;
    error_free(/* unread: nobody is */
               sql_text(account->reader, &known, "SELECT token FROM registration_token WHERE id = 1", ""));
    return known && token.size > 0 && token.size == strlen(known) &&
           CRYPTO_memcmp(known, token.data, token.size) == 0;
}

/* ---- changes ---- */

struct error *account_document_put(struct account *account, const struct account_document *document) {
    scoped_string char *source = escaped(PREFIX, document->source), *id = escaped("", document->id);
    struct error *error = sql_do(
        account_hold(account),
        "INSERT OR REPLACE INTO ingested_documents (source, doc_id, link, title, body, status, expired_at)"
        " VALUES (?1, ?2, ?3, ?4, ?5, 'pending', ?6)",
        "sssssi", source, id, document->link, document->title, document->body, document->expires_s);
    account_let_go(account);
    return error;
}

struct error *account_document_remove(struct account *account, const char *source_given, const char *id) {
    scoped_string char *source = escaped(PREFIX, source_given), *path = id ? escaped("", id) : NULL;
    struct error *error = sql_do(account_hold(account),
                                 "DELETE FROM ingested_documents WHERE source = ?1 AND"
                                 " (?2 IS NULL OR doc_id = ?2)",
                                 "ss", source, path);
    account_let_go(account);
    return error;
}

struct error *account_documents_expire(struct account *account, int64_t now_s) {
    struct error *error =
        sql_do(account_hold(account),
               "DELETE FROM ingested_documents WHERE expired_at != 0 AND expired_at <= ?1", "i", now_s);
    account_let_go(account);
    return error;
}

struct error *account_documents_mark(struct account *account, const char *source_id, int64_t last,
                                     bool indexed) {
    struct error *error =
        indexed ? sql_do(account_hold(account),
                         "UPDATE ingested_documents SET status = 'indexed', updated_at = datetime('now')"
                         " WHERE source = ?1 AND id <= ?2 AND status != 'indexed'",
                         "si", source_id, last)
                : sql_do(account_hold(account),
                         "UPDATE ingested_documents SET status = 'failed', updated_at = datetime('now')"
                         " WHERE source = ?1 AND status = 'pending'",
                         "s", source_id);
    account_let_go(account);
    return error;
}

/* ---- lists ---- */

static bool is_named(const json_t *names, const char *name) {
    size_t i;
    json_t *one;
    if (!json_is_array(names)) return true;
    json_array_foreach(names, i, one) if (strcmp(json_string_value(one), name) == 0) return true;
    return false;
}

static struct error *sources(struct sql *sql, const json_t *names, json_t *array) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    struct error *error = NULL;
    TRY_PLAIN(sql_query(sql, &rows,
                        "SELECT source, sum(status = 'pending'), sum(status = 'failed'), count(*), max(id)"
                        " FROM ingested_documents GROUP BY source ORDER BY source",
                        ""));
    while (sql_next(rows, &error)) {
        scoped_string char *id = span_string(sql_span(rows, 0)), *name = source_name(span_of(id));
        json_t *one = json_pack("{s:s,s:s,s:I,s:I,s:I,s:I}", "source", name, "sourceId", id, "pending",
                                (json_int_t)sql_int(rows, 1), "failed", (json_int_t)sql_int(rows, 2), "total",
                                (json_int_t)sql_int(rows, 3), "last", (json_int_t)sql_int(rows, 4));
        if (one && is_named(names, name))
            json_array_append_new(array, one);
        else
            json_decref(one); /* not asked for, or a name that is no UTF-8 */
    }
    return error;
}

struct error *account_document_sources(struct account *account, const json_t *names, json_t **ret_sources) {
    *ret_sources = json_array();
    struct error *error = sources(account_hold(account), names, *ret_sources);
    account_let_go(account);
    return error;
}

struct error *account_document_list(struct account *account, const char *source_id, json_t **ret_list) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    *ret_list = json_array();
    struct error *error =
        sql_query(account_hold(account), &rows,
                  "SELECT doc_id AS path, id AS mark FROM ingested_documents WHERE source = ?1"
                  " ORDER BY id",
                  "s", source_id);
    while (!error && sql_next(rows, &error)) json_array_append_new(*ret_list, rows_object(rows, "si"));
    sql_rows_free(take(rows));
    account_let_go(account);
    return error;
}

struct error *account_document(struct account *account, const char *source_id, const char *path,
                               json_t **ret_document) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    struct error *error = sql_query(account_hold(account), &rows,
                                    "SELECT title, body, link FROM ingested_documents WHERE source = ?1 AND"
                                    " doc_id = ?2 AND (expired_at = 0 OR expired_at > unixepoch())",
                                    "ss", source_id, path);
    *ret_document = NULL;
    if (!error && sql_next(rows, &error)) *ret_document = rows_object(rows, "sss");
    sql_rows_free(take(rows));
    account_let_go(account);
    if (!error && !*ret_document) error = error_new(ERROR_NOT_FOUND, "There is no such document any more");
    return error;
}
