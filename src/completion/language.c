/* Tabby's table of languages: how a comment begins, and which words begin something new at the start of a
 * line.
 *
 * A language that is not in the table has the empty comment, so that its completions end with the line. */
#include "completion.h"

static const struct language languages[] = {
    {"python", "#", "def from class import"},
    {"rust", "//", "fn trait impl enum pub extern static trait unsafe use"},
    {"java", "//",
     "abstract public private class const exports extends implements static import interface module package "
     "var "
     "enum return"},
    {"kotlin", "//",
     "abstract public private companion class data const actual expect sealed suspend fun import interface "
     "package var val enum"},
    {"javascript-typescript javascript typescript javascriptreact typescriptreact", "//",
     "abstract async class const export function interface module package type var enum let"},
    {"go", "//", "func interface struct package type import var const"},
    {"ruby", "#", "begin class def end ensure include module require rescue self"},
    {"c", "//", "const enum extern inline register static struct typedef union volatile"},
    {"cpp", "//",
     "auto class const concept enum extern inline namespace register static struct template typedef union "
     "volatile"},
    {"csharp", "//", "class struct enum interface abstract static extern namespace using var dynamic async"},
    {"php", "//",
     "abstract class const declare extends final finally function global implements include_once include "
     "interface "
     "namespace private protected public require_once require static trait use"},
    {"solidity", "//", "contract interface error library struct enum function type"},
    {"dart", "//",
     "abstract class late var final const export interface type enum int String double DateTime typedef"},
    {"elixir", "#",
     "def defp defmacro defmacrop module use import alias require if unless case cond with try catch throw "
     "receive after do end"},
    {"r", "#", "function library install.packages"},
    {"lua", "--",
     "and break do else elseif end false for function if in local nil not or repeat return then true until "
     "while"},
    {"scala", "//",
     "abstract case class def do else enum extends final for given if implicit import lazy match new object "
     "override package private protected return sealed then throw trait try type val var while with yield"},
    {"ocaml", "none",
     "and as assert begin class constraint do done downto else end exception external for fun function "
     "functor "
     "if in include inherit initializer lazy let match method module mutable new nonrec object of open "
     "private "
     "rec sig struct then to try type val virtual when while with"},
    {"gdscript", "#", "var const enum func class class_name extends"},
    {"css dockerfile haskell html julia makefile markdown txt perl powershell sql shellscript tex vb", NULL,
     ""},
};
static const struct language unknown = {"unknown", "", ""};

static bool is_named(const struct language *language, struct span id) {
    struct span rest = span_of(language->ids);
    while (rest.data)
        if (span_equal(span_cut(&rest, ' '), id)) return true;
    return false;
}

const struct language *language_find(struct span id, const struct language *more) {
    for (size_t i = 0; id.size > 0 && i < COUNT(languages); i++)
        if (is_named(&languages[i], id)) return &languages[i];
    for (size_t i = 0; id.size > 0 && more && more[i].ids; i++)
        if (is_named(&more[i], id)) return &more[i];
    return &unknown;
}
