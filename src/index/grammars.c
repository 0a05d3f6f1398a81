/* Which grammar reads which files: Tabby's languages that have one. A language of the user's own settings has
 * none, whatever its files are called. */
#include "grammar.h"

static const struct grammar known[] = {
    {"python", "py", tree_sitter_python, NULL},
    {"rust", "rs", tree_sitter_rust, NULL},
    {"java", "java", tree_sitter_java, NULL},
    {"kotlin", "kt kts", tree_sitter_kotlin, NULL},
    {"javascript-typescript", "js jsx mjs", tree_sitter_javascript, NULL},
    {"javascript-typescript", "ts mts", tree_sitter_typescript, NULL},
    {"javascript-typescript", "tsx", tree_sitter_tsx, NULL},
    {"go", "go", tree_sitter_go, NULL},
    {"ruby", "rb", tree_sitter_ruby, NULL},
    {"c", "c", tree_sitter_c, NULL},
    {"c", "h", tree_sitter_c, tree_sitter_cpp}, /* nothing in the name tells which it is */
    {"cpp", "cpp hpp c++ h++ cc hh C H tcc", tree_sitter_cpp, NULL},
    {"csharp", "cs", tree_sitter_c_sharp, NULL},
    {"solidity", "sol", tree_sitter_solidity, NULL},
    {"elixir", "ex exs", tree_sitter_elixir, NULL},
    {"lua", "lua", tree_sitter_lua, NULL},
    {"scala", "scala sbt", tree_sitter_scala, NULL},
    {"gdscript", "gd", tree_sitter_gdscript, NULL},
};

const char grammars_mark[] = "-syntax";

const struct grammar *grammar_of(const char *path, const char *language) {
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < COUNT(known); i++)
        if (strcmp(known[i].language, language) == 0 && word_is_in(known[i].endings, span_of(dot + 1)))
            return &known[i];
    return NULL;
}
