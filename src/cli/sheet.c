/* Tables for people. Two blanks between columns, none at the end of a line; the last column is never padded.
 */
#include "sheet.h"

#include <stdio.h>
#include <stdlib.h>

#include "command.h"

#define GAP 2

void sheet_done(struct sheet *sheet) {
    for (size_t i = 0; i < sheet->cell_count; i++) free(sheet->cells[i].text);
    free(sheet->cells);
    free(sheet->widths);
    *sheet = (struct sheet){0};
}

void sheet_add(struct sheet *sheet, enum colour colour, const char *format, ...) {
    va_list args;
    va_start(args, format);
    scoped_string char *raw = mem_vprintf(format, args);
    va_end(args);
    struct text text = {0};
    words_add_clean(&text, span_of(raw));
    if (sheet->cell_count == sheet->cell_capacity) {
        sheet->cell_capacity = sheet->cell_capacity ? 2 * sheet->cell_capacity : 64;
        sheet->cells = mem_grow(sheet->cells, sheet->cell_capacity, sizeof *sheet->cells);
    }
    sheet->cells[sheet->cell_count++] = (struct sheet_cell){text_take(&text), colour};
}

size_t sheet_rows(const struct sheet *sheet) {
    return sheet->cell_count / sheet->column_count;
}

size_t text_columns(struct span utf8) {
    size_t columns = 0;
    for (size_t i = 0; i < utf8.size; i++) columns += ((unsigned char)utf8.data[i] & 0xc0) != 0x80;
    return columns;
}

/* As much of it as fits. */
static struct span cut(struct span utf8, size_t columns) {
    size_t size = 0;
    for (; size < utf8.size; size++) {
        bool begins = ((unsigned char)utf8.data[size] & 0xc0) != 0x80;
        if (begins && columns-- == 0) break;
    }
    return (struct span){utf8.data, size};
}

bool colours_wanted(int fd) {
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fd) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

void text_add_coloured(struct text *out, enum colour colour, bool coloured, struct span string) {
    static const char *const codes[] = {
        [COLOUR_NONE] = "",       [COLOUR_DIM] = "\33[2m",    [COLOUR_BOLD] = "\33[1m",
        [COLOUR_RED] = "\33[31m", [COLOUR_GREEN] = "\33[32m", [COLOUR_YELLOW] = "\33[33m",
        [COLOUR_BLUE] = "\33[36m"};
    bool painted = coloured && colour != COLOUR_NONE && string.size > 0;
    if (painted) text_add_string(out, codes[colour]);
    text_add(out, string);
    if (painted) text_add_string(out, "\33[0m");
}

static void measure(struct sheet *sheet) {
    if (sheet->widths && sheet->measured == sheet->cell_count) return;
    if (!sheet->widths) sheet->widths = mem_array(sheet->column_count, sizeof *sheet->widths);
    for (size_t column = 0; column < sheet->column_count; column++) {
        size_t width = text_columns(span_of(sheet->columns[column].title));
        for (size_t i = column; i < sheet->cell_count; i += sheet->column_count) {
            size_t columns = text_columns(span_of(sheet->cells[i].text));
            if (columns > width) width = columns;
        }
        if (sheet->kept && sheet->kept[column] > width) width = sheet->kept[column];
        if (sheet->kept) sheet->kept[column] = width;
        sheet->widths[column] = width;
    }
    sheet->measured = sheet->cell_count;
}

static void blanks(struct text *out, size_t count) {
    while (count-- > 0) text_add_char(out, ' ');
}

/* How many of the spare ones have to go; none where even that would not do. */
static int spared(const struct sheet *sheet, size_t width) {
    size_t all = 0, most = 0;
    for (size_t i = 0; i < sheet->column_count; i++) {
        all += sheet->widths[i] + (i ? GAP : 0);
        if ((size_t)sheet->columns[i].spare > most) most = (size_t)sheet->columns[i].spare;
    }
    for (int gone = 0; width && gone <= (int)most; gone++) {
        size_t left = all;
        for (size_t i = 0; i < sheet->column_count; i++)
            if (sheet->columns[i].spare && sheet->columns[i].spare <= gone) left -= sheet->widths[i] + GAP;
        if (left <= width) return gone;
    }
    return 0;
}

void sheet_line(struct sheet *sheet, size_t row, size_t width, bool coloured, struct text *out) {
    measure(sheet);
    size_t at = 0, owed = 0; /* blanks that are written only where something follows */
    const int gone = spared(sheet, width);
    for (size_t column = 0; column < sheet->column_count; column++) {
        if (sheet->columns[column].spare && sheet->columns[column].spare <= gone) continue;
        const struct sheet_cell *cell = row ? &sheet->cells[(row - 1) * sheet->column_count + column] : NULL;
        struct span text = span_of(cell ? cell->text : sheet->columns[column].title);
        size_t wide = sheet->widths[column], used = text_columns(text);
        size_t before = sheet->columns[column].right ? wide - used : 0;
        if (column > 0) owed += GAP;
        owed += before;
        if (used > 0 && width && at + owed >= width) return;
        if (used > 0) {
            blanks(out, owed);
            at += owed;
            if (width && at + used > width) text = cut(text, width - at);
            text_add_coloured(out, cell ? cell->colour : COLOUR_BOLD, coloured, text);
            at += used;
            owed = wide - used - before;
        } else {
            owed += wide - before;
        }
    }
}

void sheet_print(struct sheet *sheet) {
    bool coloured = colours_wanted(STDOUT_FILENO);
    for (size_t row = 0; row <= sheet_rows(sheet); row++) {
        scoped_text struct text line = {0};
        sheet_line(sheet, row, 0, coloured, &line);
        text_add_char(&line, '\n');
        fwrite(line.data, 1, line.size, stdout);
    }
}
