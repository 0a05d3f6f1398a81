/* Nodes of the tree as values, each fault with its place. What was asked for is marked, so that the rest can
 * be told as unknown. */
#include "inside.h"

#include <math.h>
#include <stdlib.h>

struct toml_node *node_get(struct toml_node *table, const char *key) {
    for (size_t i = 0; table && i < table->count; i++) {
        if (!table->children[i].key || strcmp(table->children[i].key, key) != 0) continue;
        table->children[i].seen = true;
        return &table->children[i];
    }
    return NULL;
}

struct error *node_wrong(const struct toml_node *node, const char *where, const char *expected) {
    return error_new(ERROR_INVALID_ARGUMENT, "line %u, column %u: [%s] %s: expected %s", node->line,
                     node->column, where, node->key ? node->key : "element", expected);
}

struct error *node_need(const struct toml_node *table, const char *key, const char *where) {
    for (size_t i = 0; i < table->count; i++)
        if (table->children[i].key && strcmp(table->children[i].key, key) == 0) return NULL;
    return error_new(ERROR_INVALID_ARGUMENT, "line %u: [%s]: missing field `%s`", table->line, where, key);
}

struct error *node_table(struct toml_node *parent, const char *key, const char *where,
                         struct toml_node **ret_table) {
    *ret_table = node_get(parent, key);
    if (!*ret_table || (*ret_table)->kind == TOML_TABLE) return NULL;
    return node_wrong(*ret_table, where, "a table");
}

struct error *node_string(struct toml_node *table, const char *key, const char *where, char **value) {
    const struct toml_node *node = node_get(table, key);
    if (!node) return NULL;
    if (node->kind != TOML_STRING) return node_wrong(node, where, "a string");
    free(*value);
    *value = mem_string(node->string);
    return NULL;
}

struct error *node_strings(struct toml_node *table, const char *key, const char *where, char ***value) {
    struct toml_node *node = node_get(table, key);
    if (!node) return NULL;
    if (node->kind != TOML_ARRAY) return node_wrong(node, where, "a list of strings");
    for (size_t i = 0; i < node->count; i++)
        if (node->children[i].kind != TOML_STRING) return node_wrong(node, where, "a list of strings");
    char **made = mem_array(node->count + 1, sizeof *made);
    for (size_t i = 0; i < node->count; i++) made[i] = mem_string(node->children[i].string);
    node_strings_free(*value);
    *value = made;
    return NULL;
}

struct error *node_u64(struct toml_node *table, const char *key, const char *where, uint64_t most,
                       uint64_t *value) {
    const struct toml_node *node = node_get(table, key);
    if (!node) return NULL;
    if (node->kind != TOML_INTEGER || node->integer < 0 || (uint64_t)node->integer > most) {
        scoped_string char *expected = mem_printf("an integer from 0 to %llu", (unsigned long long)most);
        return node_wrong(node, where, expected);
    }
    *value = (uint64_t)node->integer;
    return NULL;
}

struct error *node_u32(struct toml_node *table, const char *key, const char *where, uint64_t most,
                       uint32_t *value) {
    uint64_t wide = *value;
    TRY_PLAIN(node_u64(table, key, where, most, &wide));
    *value = (uint32_t)wide;
    return NULL;
}

struct error *node_double(struct toml_node *table, const char *key, const char *where, double *value) {
    const struct toml_node *node = node_get(table, key);
    if (!node) return NULL;
    if ((node->kind != TOML_FLOAT && node->kind != TOML_INTEGER) || !isfinite(node->number))
        return node_wrong(node, where, "a number");
    *value = node->number;
    return NULL;
}

struct error *node_bool(struct toml_node *table, const char *key, const char *where, bool *value) {
    const struct toml_node *node = node_get(table, key);
    if (!node) return NULL;
    if (node->kind != TOML_BOOLEAN) return node_wrong(node, where, "true or false");
    *value = node->boolean;
    return NULL;
}

void node_strings_free(char **strings) {
    for (size_t i = 0; strings && strings[i]; i++) free(strings[i]);
    free(strings);
}
