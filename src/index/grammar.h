/* The index room's own, where it is built with grammars: what a grammar is, and what it says of a file. */
#pragma once
#include "inside.h"

#include <tree_sitter/api.h>

struct grammar {
    const char *language, *endings;
    const TSLanguage *(*make)(void);
    const TSLanguage *(*other)(void); /* for what makes no sense to the first; or NULL */
};

/* Rows that a node covers, from 0, the last one too. */
struct syntax_rows {
    uint32_t first, last;
};
struct syntax_tree {
    struct syntax_rows *rows;
    size_t count, capacity;
};
/* Replaces what the tree held. False: the file makes no sense to the grammar. */
bool syntax_read(struct syntax_tree *ret_tree, const struct grammar *grammar, struct span content);

const TSLanguage *tree_sitter_c(void);
const TSLanguage *tree_sitter_c_sharp(void);
const TSLanguage *tree_sitter_cpp(void);
const TSLanguage *tree_sitter_elixir(void);
const TSLanguage *tree_sitter_gdscript(void);
const TSLanguage *tree_sitter_go(void);
const TSLanguage *tree_sitter_java(void);
const TSLanguage *tree_sitter_javascript(void);
const TSLanguage *tree_sitter_kotlin(void);
const TSLanguage *tree_sitter_lua(void);
const TSLanguage *tree_sitter_python(void);
const TSLanguage *tree_sitter_ruby(void);
const TSLanguage *tree_sitter_rust(void);
const TSLanguage *tree_sitter_scala(void);
const TSLanguage *tree_sitter_solidity(void);
const TSLanguage *tree_sitter_tsx(void);
const TSLanguage *tree_sitter_typescript(void);
