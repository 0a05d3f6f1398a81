/* Which endings are which language (Tabby's table), and what of a git URL is compared. */
#include "inside.h"

static const struct {
    const char *name, *extensions;
} known[] = {
    {"python", "py"},
    {"rust", "rs"},
    {"java", "java"},
    {"kotlin", "kt kts"},
    {"javascript-typescript", "js ts jsx tsx mjs mts"},
    {"go", "go"},
    {"ruby", "rb"},
    {"c", "c h"},
    {"cpp", "cpp hpp c++ h++ cc hh C H tcc"},
    {"csharp", "cs"},
    {"php", "php php3 php4 php5 phps phpt"},
    {"solidity", "sol"},
    {"dart", "dart"},
    {"elixir", "ex exs"},
    {"r", "R r"},
    {"lua", "lua"},
    {"scala", "scala sbt"},
    {"ocaml", "ml mli"},
    {"gdscript", "gd tscn tres"},
    {"css", "css"},
    {"dockerfile", "Dockerfile"},
    {"haskell", "hs"},
    {"html", "html"},
    {"julia", "jl"},
    {"makefile", "Makefile"},
    {"markdown", "md markdown"},
    {"txt", "txt"},
    {"perl", "pl pm pod perl"},
    {"powershell", "ps1 psd1 psm1"},
    {"sql", "sql"},
    {"shellscript", "sh bash command zsh"},
    {"tex", "tex"},
    {"vb", "vb"},
};

bool word_is_in(const char *words, struct span word) {
    struct span rest = span_of(words);
    while (rest.data)
        if (span_equal(span_cut(&rest, ' '), word)) return true;
    return false;
}

const char *index_language_of(const char *path, const struct index_language *more) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
    struct span ending = span_of(dot && dot != name ? dot + 1 : name);
    if (ending.size == 0) return NULL;
    for (size_t i = 0; more && more[i].name; i++)
        for (size_t e = 0; more[i].extensions[e]; e++)
            if (span_is(ending, more[i].extensions[e])) return more[i].name;
    for (size_t i = 0; i < COUNT(known); i++)
        if (word_is_in(known[i].extensions, ending)) return known[i].name;
    return NULL;
}

struct span index_language_kind(struct span name) {
    static const char both[] = "javascript-typescript";
    return word_is_in("javascript typescript javascriptreact typescriptreact", name) ? SPAN(both) : name;
}

struct span index_url_name(struct span url) {
    while (url.size > 0 && url.data[url.size - 1] == '/') url.size--;
    if (span_ends(url, ".git")) url.size -= 4;
    for (size_t i = url.size; i > 0; i--)
        if (url.data[i - 1] == '/' || url.data[i - 1] == ':')
            return (struct span){url.data + i, url.size - i};
    return url;
}

char *index_url_public(const char *url) {
    const char *begin = strstr(url, "://");
    if (!begin) return mem_string(url);
    begin += 3;
    size_t host = strcspn(begin, "/");
    const char *user = memrchr(begin, '@', host);
    return user ? mem_printf("%.*s%s", (int)(begin - url), url, user + 1) : mem_string(url);
}
