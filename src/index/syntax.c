/* What tree-sitter says of a file: which rows its nodes cover.
 *
 * Where most of a file makes no sense to its grammar, the tree is not believed. Nodes of one row are of no
 * interest, nor is what is in them; a node that covers the very rows of the one around it is the same one for
 * us. Comments are a node with the row that follows them: they speak of it. Knows no bound of time or memory:
 * that is the process's around it (parser.c). */
#include "grammar.h"

struct marking {
    struct syntax_tree *tree;
    uint32_t first, last; /* rows that were added last */
    uint32_t ended;       /* row in which the node before this one ended */
    uint32_t preface;     /* row where comments began that end just before this node; NONE */
    size_t senseless;     /* bytes in nodes that are errors */
};
#define NONE UINT32_MAX
#define OTHER_PART 20 /* less of a file makes no sense for other reasons: macros */

/* What stands before a thing and speaks of it. */
static bool is_preface(TSNode node) {
    return ts_node_is_extra(node) || strcmp(ts_node_type(node), "attribute_item") == 0;
}

static void add(struct syntax_tree *tree, uint32_t first, uint32_t last) {
    if (tree->count == tree->capacity) {
        tree->capacity = tree->capacity ? 2 * tree->capacity : 256;
        tree->rows = mem_grow(tree->rows, tree->capacity, sizeof *tree->rows);
    }
    tree->rows[tree->count++] = (struct syntax_rows){first, last};
}

static void mark_preface(struct marking *marking, TSNode node, uint32_t first, uint32_t last) {
    bool follows = marking->preface != NONE && first == marking->ended + 1;
    if (!follows && marking->preface != NONE) marking->preface = NONE;
    if (is_preface(node)) {
        if (marking->preface == NONE && first != marking->ended) marking->preface = first;
    } else if (follows) {
        add(marking->tree, marking->preface, marking->ended);
        add(marking->tree, marking->preface, first);
        marking->preface = NONE;
    }
    marking->ended = last;
}

/* Whether what is in it is of interest. */
static bool mark(struct marking *marking, TSNode node) {
    TSPoint start = ts_node_start_point(node), end = ts_node_end_point(node);
    uint32_t last = end.column == 0 && end.row > start.row ? end.row - 1 : end.row;
    mark_preface(marking, node, start.row, last);
    if (ts_node_is_error(node)) marking->senseless += ts_node_end_byte(node) - ts_node_start_byte(node);
    if (last <= start.row) return false;
    if (start.row != marking->first || last != marking->last) add(marking->tree, start.row, last);
    marking->first = start.row, marking->last = last;
    return !ts_node_is_error(node);
}

static void mark_all(struct marking *marking, TSNode root) {
    TSTreeCursor cursor = ts_tree_cursor_new(root);
    bool more = ts_tree_cursor_goto_first_child(&cursor);
    while (more) {
        if (mark(marking, ts_tree_cursor_current_node(&cursor)) && ts_tree_cursor_goto_first_child(&cursor)) {
            marking->ended = NONE;
            continue;
        }
        while (more && !ts_tree_cursor_goto_next_sibling(&cursor)) {
            more = ts_tree_cursor_goto_parent(&cursor);
            TSNode parent = ts_tree_cursor_current_node(&cursor);
            marking->ended = ts_node_end_point(parent).row, marking->preface = NONE;
        }
    }
    ts_tree_cursor_delete(&cursor);
}

/* Returns how many bytes of it make no sense to the language. */
static size_t read_as(struct syntax_tree *ret_tree, const TSLanguage *language, struct span content) {
    TSParser *parser = ts_parser_new();
    TSTree *tree = ts_parser_set_language(parser, language)
                       ? ts_parser_parse_string(parser, NULL, content.data, (uint32_t)content.size)
                       : NULL;
    struct marking marking = {.tree = ret_tree, .last = NONE, .ended = NONE, .preface = NONE};
    ret_tree->count = 0;
    if (tree && !ts_node_is_error(ts_tree_root_node(tree)))
        mark_all(&marking, ts_tree_root_node(tree));
    else
        marking.senseless = content.size;
    if (tree) ts_tree_delete(tree);
    ts_parser_delete(parser);
    return marking.senseless;
}

bool syntax_read(struct syntax_tree *ret_tree, const struct grammar *grammar, struct span content) {
    size_t senseless = read_as(ret_tree, grammar->make(), content);
    if (senseless > content.size / OTHER_PART && grammar->other) {
        size_t first = senseless;
        senseless = read_as(ret_tree, grammar->other(), content);
        if (senseless >= first) senseless = read_as(ret_tree, grammar->make(), content);
    }
    return senseless <= content.size / 2;
}
