/* Rows of the database as JSON, and pages of lists in the form of Relay connections. */
#include "inside.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGE_MAX 10000 /* rows in a page, whatever was asked for */

/* "2026-01-02 03:04:05" to "2026-01-02T03:04:05Z"; what has another form stays as it is. */
static json_t *time_json(struct span text) {
    char out[40];
    if (text.size != 19 || text.data[10] != ' ') return json_stringn(text.data, text.size);
    snprintf(out, sizeof out, "%.10sT%.8sZ", text.data, text.data + 11);
    return json_string(out);
}

static json_t *upper_json(struct span text) {
    scoped_string char *copy = span_string(text);
    for (char *c = copy; *c; c++) *c = (char)toupper((unsigned char)*c);
    return json_string(copy);
}

static json_t *value(const struct sql_rows *rows, int column, char kind) {
    char id[ACCOUNT_ID_SIZE];
    struct span text = sql_span(rows, column);
    json_error_t unused;
    json_t *json = NULL;
    if (kind == 'b') return json_boolean(sql_int(rows, column));
    if (kind == 'j') {
        if (text.data) json = json_loadb(text.data, text.size, JSON_DECODE_ANY, &unused);
        return json ? json : json_array();
    }
    if (!text.data) return json_null();
    switch (kind) {
    case 'I': account_id(sql_int(rows, column), id); return json_string(id);
    case 'i': return json_integer(sql_int(rows, column));
    case 'r': return json_real(sql_real(rows, column));
    case 't': json = time_json(text); break;
    case 'U': json = upper_json(text); break;
    default: json = json_stringn(text.data, text.size); break;
    }
    return json ? json : json_string(""); /* what is no UTF-8 is not shown */
}

json_t *rows_object(const struct sql_rows *rows, const char *kinds) {
    json_t *object = json_object();
    for (int i = 0; kinds[i]; i++)
        json_object_set_new(object, sql_column_name(rows, i), value(rows, i, kinds[i]));
    return object;
}

struct error *rows_array(struct sql_rows *rows, const char *kinds, json_t **ret_array) {
    scoped_json json_t *array = json_array();
    struct error *error = NULL;
    while (sql_next(rows, &error)) json_array_append_new(array, rows_object(rows, kinds));
    if (error) return error;
    *ret_array = json_incref(array);
    return NULL;
}

char *rows_of_ids(const json_t *ids) {
    struct text list = {0};
    size_t i;
    json_t *id;
    if (!json_is_array(ids)) return NULL;
    json_array_foreach(ids, i, id) {
        int64_t row = 0;
        struct span text = {json_string_value(id), json_string_length(id)};
        if (text.data && account_row(text, &row))
            text_printf(&list, "%s%lld", list.size ? "," : "", (long long)row);
    }
    if (list.size == 0) text_add_char(&list, '0');
    return text_take(&list);
}

/* ---- pages ---- */

static struct error *cursor(struct span id, int64_t absent, int64_t *ret_row) {
    *ret_row = absent;
    if (id.data && !account_row(id, ret_row)) return error_new(ERROR_INVALID_ARGUMENT, "Invalid ID");
    return NULL;
}

static json_t *connection(json_t *nodes, size_t wanted, bool backwards, bool bounded) {
    size_t count = json_array_size(nodes), from = 0, shown = count < wanted ? count : wanted;
    if (backwards) from = count - shown;
    json_t *edges = json_array();
    const char *first = NULL, *last = NULL;
    for (size_t i = from; i < from + shown; i++) {
        json_t *node = json_array_get(nodes, i);
        last = json_string_value(json_object_get(node, "id"));
        if (!first) first = last;
        json_array_append_new(edges, json_pack("{s:O,s:s}", "node", node, "cursor", last));
    }
    bool more = shown < count;
    return json_pack("{s:o,s:{s:b,s:b,s:s?,s:s?}}", "edges", edges, "pageInfo", "hasPreviousPage",
                     backwards ? more : bounded, "hasNextPage", backwards ? bounded : more, "startCursor",
                     first, "endCursor", last);
}

struct error *rows_page(struct sql *sql, const struct listing *listing, const struct account_page *page,
                        json_t **ret_connection) {
    int64_t after, before;
    TRY_PLAIN(cursor(page->after, 0, &after));
    TRY_PLAIN(cursor(page->before, INT64_MAX, &before));
    bool backwards = page->last >= 0;
    int64_t wanted = backwards ? page->last : page->first;
    if (wanted < 0 || wanted > PAGE_MAX) wanted = PAGE_MAX;
    /* One more than is shown tells whether there are more. The inner query takes the right end of the list,
     * the outer one its order. */
    scoped_string char *text =
        mem_printf("SELECT %s FROM (SELECT * FROM %s WHERE id > ?1 AND id < ?2 AND (%s) ORDER BY id %s LIMIT "
                   "?3) ORDER BY id",
                   listing->columns, listing->table, listing->condition ? listing->condition : "1",
                   backwards ? "DESC" : "ASC");
    scoped(sql_rows) struct sql_rows *rows = NULL;
    scoped_json json_t *nodes = NULL;
    TRY_PLAIN(sql_query(sql, &rows, text, "iii", after, before, wanted + 1));
    TRY_PLAIN(rows_array(rows, listing->kinds, &nodes));
    *ret_connection =
        connection(nodes, (size_t)wanted, backwards, backwards ? page->before.data : page->after.data);
    return NULL;
}
