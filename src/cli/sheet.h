/* sheet: rows of cells, as wide as what stands in them; colours only where they are wanted. */
#pragma once
#include "base.h"

enum colour { COLOUR_NONE, COLOUR_DIM, COLOUR_BOLD, COLOUR_RED, COLOUR_GREEN, COLOUR_YELLOW, COLOUR_BLUE };

struct sheet_column {
    const char *title;
    bool right; /* numbers */
    int spare;  /* where that makes the others fit, 1 is left out first, then 2, ...; 0: never */
};
struct sheet_cell {
    char *text;
    enum colour colour;
};
struct sheet {
    const struct sheet_column *columns; /* borrowed */
    size_t column_count;
    struct sheet_cell *cells; /* row by row */
    size_t cell_count, cell_capacity;
    size_t *kept; /* NULL, or borrowed: a width a column that only grows, so that a live table stands still */
    size_t *widths; /* of `measured` cells; its own */
    size_t measured;
};
#define scoped_sheet __attribute__((cleanup(sheet_done)))
void sheet_done(struct sheet *sheet);
/* The next cell, from the left. Control characters are left out. */
void sheet_add(struct sheet *sheet, enum colour colour, const char *format, ...) printf_like(3, 4);
size_t sheet_rows(const struct sheet *sheet);
/* Titles are row 0. `width`: longer lines are cut there; 0: none are. No newline at the end. */
void sheet_line(struct sheet *sheet, size_t row, size_t width, bool coloured, struct text *out);
void sheet_print(struct sheet *sheet); /* to stdout */

/* Columns on a terminal; bytes of UTF-8 that begin a character count as one. */
size_t text_columns(struct span utf8);
bool colours_wanted(int fd); /* a terminal, not a dumb one, and no NO_COLOR */
/* `string` in that colour, where `coloured`. */
void text_add_coloured(struct text *out, enum colour colour, bool coloured, struct span string);
