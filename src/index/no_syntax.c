/* Built without grammars: no file has one. */
#include "inside.h"

const char grammars_mark[] = "";

const struct grammar *grammar_of(const char *path, const char *language) {
    (void)path, (void)language;
    return NULL;
}

struct syntax *syntax_new(bool apart) {
    (void)apart;
    return NULL;
}

void syntax_free(struct syntax *syntax) {
    (void)syntax;
}

bool syntax_mark(struct syntax *syntax, const struct grammar *grammar, struct span content,
                 struct cut_lines *lines) {
    (void)syntax, (void)grammar, (void)content, (void)lines;
    return false;
}
