/* Where a file is cut whose syntax is known: so that the largest parts that fit into a chunk stay whole.
 *
 * Each line that is not blank may begin a chunk. What that costs follows from the nodes of syntax that it
 * would part: much where the node fits into one chunk, little where it must be parted somewhere. The cheapest
 * way through the file is found as for the lines of a paragraph: the best cuts up to a line, for each line
 * after the other. */
#include "inside.h"

#include <ctype.h>
#include <stdlib.h>

/* A function that fits must be worth the two chunks more that it may take to keep it in one. */
#define COST_CHUNK 6  /* each one: few and full ones are good to search */
#define COST_SMALL 4  /* ... which a small one is not */
#define SMALL 128     /* characters */
#define COST_WHOLE 24 /* a node parted that would fit */
#define COST_PARTED 1 /* a node parted that would not */
#define COST_CLOSE 2  /* no blank line before it: it may be a comment's function */

static void read_line(struct cut_lines *lines, struct span content, size_t *at, size_t *characters) {
    struct cut_line line = {.at = *at, .first = *characters, .number = lines->rows + 1};
    for (; *at < content.size && content.data[*at] != '\n'; ++*at) {
        unsigned char c = (unsigned char)content.data[*at];
        *characters += (c & 0xc0) != 0x80;
        if (!isspace(c)) line.end = *at + 1, line.last = *characters;
    }
    if (*at < content.size) ++*at, ++*characters;
    lines->of_row[lines->rows++] = (uint32_t)lines->count;
    if (line.end > 0) lines->lines[lines->count++] = line;
}

/* False: a line is longer than a chunk. */
static bool read_lines(struct span content, struct cut_lines *lines) {
    size_t rows = 1, at = 0, characters = 0;
    for (size_t i = 0; i < content.size; i++) rows += content.data[i] == '\n';
    lines->lines = mem_array(rows, sizeof *lines->lines);
    lines->of_row = mem_array(rows + 1, sizeof *lines->of_row);
    while (at < content.size) read_line(lines, content, &at, &characters);
    lines->of_row[lines->rows] = (uint32_t)lines->count;
    for (size_t i = 0; i < lines->count; i++)
        if (lines->lines[i].last - lines->lines[i].first > INDEX_CHUNK_CHARACTERS) return false;
    return true;
}

static bool fits(const struct cut_lines *lines, size_t first, size_t last) {
    return lines->lines[last].last - lines->lines[first].first <= INDEX_CHUNK_CHARACTERS;
}

/* Counted as differences: where a node begins to be parted, and where it is no longer. */
void cut_mark(struct cut_lines *lines, uint32_t first_row, uint32_t last_row) {
    if (last_row >= lines->rows) last_row = lines->rows - 1;
    if (first_row >= last_row) return;
    size_t first = lines->of_row[first_row], after = lines->of_row[last_row + 1];
    if (after - first < 2) return;
    bool whole = fits(lines, first, after - 1);
    uint32_t one = 1;
    *(whole ? &lines->lines[first + 1].parts_whole : &lines->lines[first + 1].parts) += one;
    if (after < lines->count) *(whole ? &lines->lines[after].parts_whole : &lines->lines[after].parts) -= one;
}

static void sum_marks(struct cut_lines *lines) {
    for (size_t i = 1; i < lines->count; i++) {
        lines->lines[i].parts_whole += lines->lines[i - 1].parts_whole;
        lines->lines[i].parts += lines->lines[i - 1].parts;
    }
}

static uint64_t cost_of(const struct cut_lines *lines, size_t at) {
    const struct cut_line *line = &lines->lines[at];
    if (at == 0) return 0;
    return (uint64_t)COST_WHOLE * line->parts_whole + (uint64_t)COST_PARTED * line->parts +
           (line->number == line[-1].number + 1 ? COST_CLOSE : 0);
}

struct way {
    uint64_t cost; /* of all up to here */
    size_t from;   /* where the last chunk begins */
};

/* ways[i]: the cheapest to have all lines before i in chunks. */
static struct way *find_ways(const struct cut_lines *lines) {
    struct way *ways = mem_array(lines->count + 1, sizeof *ways);
    for (size_t i = 1; i <= lines->count; i++) {
        ways[i].cost = UINT64_MAX;
        for (size_t from = i; from-- > 0 && fits(lines, from, i - 1);) {
            size_t characters = lines->lines[i - 1].last - lines->lines[from].first;
            uint64_t cost = ways[from].cost + cost_of(lines, from) + COST_CHUNK;
            if (characters < SMALL) cost += COST_SMALL;
            if (cost <= ways[i].cost) ways[i] = (struct way){cost, from};
        }
    }
    return ways;
}

static void add_pieces(struct index_chunker *chunker, struct span content, const struct cut_lines *lines,
                       struct way *ways) {
    size_t next = lines->count; /* the ways lead back: turned round, they lead on */
    for (size_t at = lines->count; at > 0;) {
        size_t from = ways[at].from;
        ways[at].from = next;
        next = at, at = from;
    }
    ways[0].from = next;
    for (size_t at = 0; at < lines->count; at = ways[at].from) {
        const struct cut_line *first = &lines->lines[at], *last = &lines->lines[ways[at].from - 1];
        pieces_add(chunker, (struct span){content.data + first->at, last->end - first->at}, first->number);
    }
}

bool cut_by_syntax(struct index_chunker *chunker, struct span content, const struct grammar *grammar) {
    struct cut_lines lines = {0};
    bool good = read_lines(content, &lines);
    bool one = good && (lines.count == 0 || fits(&lines, 0, lines.count - 1));
    if (good && !one) good = syntax_mark(chunker->syntax, grammar, content, &lines);
    if (good && lines.count > 0) {
        sum_marks(&lines);
        struct way *ways = find_ways(&lines);
        add_pieces(chunker, content, &lines, ways);
        free(ways);
    }
    free(lines.lines);
    free(lines.of_row);
    return good;
}
