/* toml: the lines of a TOML file that is somebody else's, found and named, never rewritten.
 *
 * Knows just enough of TOML for that: where a statement ends (strings and arrays go over lines), which table
 * it is in, and where its key, its value and its comment stand. What a value means is the reader's business.
 */
#pragma once
#include "base.h"

enum toml_kind {
    TOML_BLANK,  /* nothing but a comment, perhaps */
    TOML_HEADER, /* [key] */
    TOML_PAIR,   /* key = value */
};
struct toml_line {
    enum toml_kind kind;
    unsigned number;     /* of its first line, from 1 */
    struct span whole;   /* with its newline, where it has one */
    struct span key;     /* the first part of it, without quotes: "a" of [a.b] and of a.b = 1 */
    bool dotted;         /* more parts follow */
    bool array;          /* [[key]] */
    struct span value;   /* of a pair, as it is written, without blanks around it */
    struct span comment; /* from '#' on, without the newline; data NULL: none */
};
struct toml {
    struct span rest;
    unsigned number; /* lines read */
};
#define TOML_OF(FILE) ((struct toml){.rest = (FILE)})
/* NULL and kind BLANK with an empty `whole`: the end. INVALID_ARGUMENT: what is no TOML, with its line. */
must_check struct error *toml_next(struct toml *toml, struct toml_line *ret_line);
