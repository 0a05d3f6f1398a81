/* An answer with progress before it: lines of JSON, {"line": "..."} as they come and the answer as the last.
 * Without a line before it, it is an ordinary answer with an ordinary status; behind one the status has gone
 * out as 200, and a refusal is the last line's
 * {"error", "code"}. A reader who does not keep up misses lines, and is told how many. */
#include "inside.h"

void lines_init(struct lines *lines, struct http_exchange *exchange, bool wanted) {
    *lines = (struct lines){.exchange = exchange, .wanted = wanted};
}

static void begin(struct lines *lines) {
    const char *const fields[] = {"Content-Type", "application/x-ndjson", "Cache-Control", "no-store", NULL};
    if (lines->begun) return;
    lines->begun = true;
    http_respond_begin(lines->exchange, 200, fields, -1);
    http_respond_on_drained(lines->exchange, lines->drained);
}

static void write_line(struct lines *lines, struct span text) {
    scoped_text struct text out = {0};
    if (lines->missed)
        text_printf(&out, "{\"line\":\"(%zu lines left out: the reader was too slow)\"}\n", lines->missed);
    lines->missed = 0;
    text_add_string(&out, "{\"line\":");
    text_add_json(&out, text);
    text_add_string(&out, "}\n");
    lines->choked = !http_respond_write(lines->exchange, text_span(&out));
}

void lines_say(struct lines *lines, struct span text) {
    if (!lines->wanted || !lines->exchange) return;
    begin(lines);
    if (lines->choked)
        lines->missed++;
    else
        write_line(lines, text);
}

void lines_drained(struct lines *lines) {
    lines->choked = false;
}

void lines_answer(struct lines *lines, json_t *taken_json) {
    struct http_exchange *exchange = take(lines->exchange);
    scoped_json json_t *json = taken_json;
    if (!exchange) return;
    scoped_string char *text = json_dumps(json, JSON_COMPACT);
    scoped_string char *line = mem_printf("%s\n", text ? text : "{}");
    static const char *const fields[] = {"Content-Type", "application/json", NULL};
    if (!lines->begun) {
        http_respond(exchange, 200, fields, span_of(line));
        return;
    }
    (void)http_respond_write(exchange, span_of(line));
    http_respond_end(exchange);
}

void lines_refuse(struct lines *lines, struct error *taken_error) {
    scoped(error) struct error *error = taken_error;
    if (!lines->exchange) return;
    if (!lines->begun) {
        http_respond_error(take(lines->exchange), take(error));
        return;
    }
    scoped_string char *text = error_text(error);
    lines_answer(lines, json_pack("{s:s, s:s}", "error", text, "code", error_code_name(error->code)));
}
