/* See toml.h. */
#include "toml.h"

#include <cstdlib>
#include <cstring>
#include <string>

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
/* Its own assertions are wrong about some bad files ("[`x"), which the code behind them refuses in words; and
 * with NDEBUG they become promises to the compiler. */
#undef NDEBUG
#define TOML_ASSERT(expr) static_assert(true)
#include <toml++/toml.h>

static char *copy(std::string_view text) {
    char *made = static_cast<char *>(malloc(text.size() + 1));
    if (!made) abort();
    memcpy(made, text.data(), text.size());
    made[text.size()] = 0;
    return made;
}

static void fill(struct toml_node *out, const toml::node &node);

static struct toml_node *add(struct toml_node *parent) {
    size_t bytes = (parent->count + 1) * sizeof *parent->children;
    parent->children = static_cast<struct toml_node *>(realloc(parent->children, bytes));
    if (!parent->children) abort();
    struct toml_node *made = &parent->children[parent->count++];
    *made = {};
    return made;
}

static void fill(struct toml_node *out, const toml::node &node) {
    out->line = node.source().begin.line;
    out->column = node.source().begin.column;
    if (const auto *table = node.as_table()) {
        out->kind = TOML_TABLE;
        for (const auto &[key, value] : *table) {
            struct toml_node *child = add(out);
            child->key = copy(key.str());
            fill(child, value);
        }
    } else if (const auto *array = node.as_array()) {
        out->kind = TOML_ARRAY;
        for (const auto &value : *array) fill(add(out), value);
    } else if (const auto *text = node.as_string()) {
        out->kind = TOML_STRING;
        out->string = copy(text->get());
    } else if (const auto *integer = node.as_integer()) {
        out->kind = TOML_INTEGER;
        out->integer = integer->get();
        out->number = static_cast<double>(out->integer);
    } else if (const auto *number = node.as_floating_point()) {
        out->kind = TOML_FLOAT;
        out->number = number->get();
    } else if (const auto *truth = node.as_boolean()) {
        out->kind = TOML_BOOLEAN;
        out->boolean = truth->get();
    } else {
        out->kind = TOML_DATE;
    }
}

struct toml_node *toml_read(const char *text, size_t size, char **ret_fault) {
    *ret_fault = nullptr;
    toml::parse_result parsed = toml::parse(std::string_view(text, size));
    if (!parsed) {
        const auto &fault = parsed.error();
        std::string said = "line " + std::to_string(fault.source().begin.line) + ", column " +
                           std::to_string(fault.source().begin.column) + ": " +
                           std::string(fault.description());
        *ret_fault = copy(said);
        return nullptr;
    }
    struct toml_node *root = static_cast<struct toml_node *>(calloc(1, sizeof *root));
    if (!root) abort();
    fill(root, parsed.table());
    return root;
}

static void done(struct toml_node *node) {
    for (size_t i = 0; i < node->count; i++) done(&node->children[i]);
    free(node->children);
    free(node->key);
    free(node->string);
}

void toml_free(struct toml_node *root) {
    if (!root) return;
    done(root);
    free(root);
}
