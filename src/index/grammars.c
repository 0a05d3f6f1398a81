/* Which grammar reads which files: Tabby's languages that have one. A language of the user's own settings has
 * none, whatever its files are called. */
#include "grammar.h"

static const struct grammar known[] = {
    {"python", "py", tree_sitter_python},
    {"rust", "rs", tree_sitter_rust},
    {"java", "java", tree_sitter_java},
    {"kotlin", "kt kts", tree_sitter_kotlin},
    {"javascript-typescript", "js jsx mjs", tree_sitter_javascript},
    {"javascript-typescript", "ts mts", tree_sitter_typescript},
    {"javascript-typescript", "tsx", tree_sitter_tsx},
    {"go", "go", tree_sitter_go},
    {"ruby", "rb", tree_sitter_ruby},
    {"c", "c h", tree_sitter_c},
    {"cpp", "cpp hpp c++ h++ cc hh C H tcc", tree_sitter_cpp},
    {"csharp", "cs", tree_sitter_c_sharp},
    {"solidity", "sol", tree_sitter_solidity},
    {"elixir", "ex exs", tree_sitter_elixir},
    {"lua", "lua", tree_sitter_lua},
    {"scala", "scala sbt", tree_sitter_scala},
    {"gdscript", "gd", tree_sitter_gdscript},
};

const char grammars_mark[] = "-syntax";

const struct grammar *grammar_of(const char *path, const char *language) {
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < COUNT(known); i++)
        if (strcmp(known[i].language, language) == 0 && word_is_in(known[i].endings, span_of(dot + 1)))
            return &known[i];
    return NULL;
}
