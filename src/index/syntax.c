/* What tree-sitter says of a file: which rows its nodes cover.
 *
 * Files are anybody's: a parse has a bound of time, and where most of a file makes no sense to its grammar,
 * the tree is not believed. Nodes of one row are of no interest, nor is what is in them; a node that covers
 * the very rows of the one around it is the same one for us. */
#include "grammar.h"

#include <stdlib.h>

#define PARSE_US 250000 /* and one more for each byte */

struct syntax {
    TSParser *parser;
};

void syntax_free(struct syntax *syntax) {
    if (!syntax) return;
    ts_parser_delete(syntax->parser);
    free(syntax);
}

/* ---- the parse ---- */

struct reading {
    struct span content;
    int64_t until_us;
};

static const char *read_on(void *payload, uint32_t at, TSPoint point, uint32_t *ret_bytes) {
    const struct reading *reading = payload;
    (void)point;
    *ret_bytes = at < reading->content.size ? (uint32_t)(reading->content.size - at) : 0;
    return *ret_bytes ? reading->content.data + at : "";
}

static bool is_late(TSParseState *state) {
    const struct reading *reading = state->payload;
    return clock_monotonic_us() > reading->until_us;
}

static TSTree *parse(TSParser *parser, struct span content) {
    struct reading reading = {content, clock_monotonic_us() + PARSE_US + (int64_t)content.size};
    TSInput input = {.payload = &reading, .read = read_on, .encoding = TSInputEncodingUTF8};
    TSParseOptions options = {.payload = &reading, .progress_callback = is_late};
    TSTree *tree = ts_parser_parse_with_options(parser, NULL, input, options);
    if (!tree) ts_parser_reset(parser); /* or the next file would go on with this one */
    return tree;
}

/* ---- its nodes ---- */

struct marking {
    struct cut_lines *lines;
    uint32_t first, last; /* rows that were marked last */
    size_t senseless;     /* bytes in nodes that are errors */
};

static bool mark(struct marking *marking, TSNode node) {
    TSPoint start = ts_node_start_point(node), end = ts_node_end_point(node);
    uint32_t last = end.column == 0 && end.row > start.row ? end.row - 1 : end.row;
    if (ts_node_is_error(node)) marking->senseless += ts_node_end_byte(node) - ts_node_start_byte(node);
    if (last <= start.row) return false;
    if (start.row != marking->first || last != marking->last) cut_mark(marking->lines, start.row, last);
    marking->first = start.row, marking->last = last;
    return !ts_node_is_error(node);
}

static void mark_all(struct marking *marking, TSNode root) {
    TSTreeCursor cursor = ts_tree_cursor_new(root);
    bool more = ts_tree_cursor_goto_first_child(&cursor);
    while (more) {
        if (mark(marking, ts_tree_cursor_current_node(&cursor)) && ts_tree_cursor_goto_first_child(&cursor))
            continue;
        while (more && !ts_tree_cursor_goto_next_sibling(&cursor)) more = ts_tree_cursor_goto_parent(&cursor);
    }
    ts_tree_cursor_delete(&cursor);
}

bool syntax_mark(struct syntax **syntax, const struct grammar *grammar, struct span content,
                 struct cut_lines *lines) {
    if (content.size > UINT32_MAX / 2) return false;
    if (!*syntax) {
        *syntax = NEW(struct syntax);
        (*syntax)->parser = ts_parser_new();
    }
    if (!ts_parser_set_language((*syntax)->parser, grammar->make())) return false;
    TSTree *tree = parse((*syntax)->parser, content);
    if (!tree) return false;
    struct marking marking = {.lines = lines, .last = UINT32_MAX};
    TSNode root = ts_tree_root_node(tree);
    bool sense = !ts_node_is_error(root);
    if (sense) mark_all(&marking, root);
    ts_tree_delete(tree);
    return sense && marking.senseless <= content.size / 2;
}
