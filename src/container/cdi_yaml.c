/* cdi_yaml: a description of devices in YAML, as nvidia-ctk writes it by default, into the JSON that it
 * stands for.
 *
 * Maps, lists and scalars. A plain scalar that is a whole number, true, false or null is that; everything
 * else is a text. Aliases are refused: they have no place in such a file, and a small one could grow large by
 * them. */
#include <stdio.h>
#include <yaml.h>

#include "inside.h"

enum { DEPTH_MAX = 32 };

struct reader {
    yaml_parser_t parser;
    yaml_event_t event;
    bool has_event;
};

static must_check struct error *wrong(const struct reader *reader, const char *what) {
    return error_new(ERROR_FAILED_PRECONDITION, "line %zu: %s", reader->event.start_mark.line + 1, what);
}

static must_check struct error *next(struct reader *reader) {
    if (reader->has_event) yaml_event_delete(&reader->event);
    reader->has_event = yaml_parser_parse(&reader->parser, &reader->event);
    if (reader->has_event) return NULL;
    return error_new(ERROR_FAILED_PRECONDITION, "line %zu: %s", reader->parser.problem_mark.line + 1,
                     reader->parser.problem ? reader->parser.problem : "no YAML");
}

static must_check struct error *scalar(struct reader *reader, json_t **ret_value) {
    struct span text = {(const char *)reader->event.data.scalar.value, reader->event.data.scalar.length};
    bool plain = reader->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    int64_t number;
    if (plain && span_to_i64(text, &number))
        *ret_value = json_integer(number);
    else if (plain && (span_is(text, "true") || span_is(text, "false")))
        *ret_value = json_boolean(span_is(text, "true"));
    else if (plain && (text.size == 0 || span_is(text, "null") || span_is(text, "~")))
        *ret_value = json_null();
    else
        *ret_value = json_stringn(text.data, text.size);
    return *ret_value ? NULL : wrong(reader, "a text that is not UTF-8");
}

static must_check struct error *node(struct reader *reader, int depth, json_t **ret_value);

static must_check struct error *list(struct reader *reader, int depth, json_t **ret_value) {
    scoped_json json_t *all = json_array();
    for (;;) {
        json_t *item = NULL;
        TRY_PLAIN(next(reader));
        if (reader->event.type == YAML_SEQUENCE_END_EVENT) break;
        TRY_PLAIN(node(reader, depth, &item));
        json_array_append_new(all, item);
    }
    *ret_value = take(all);
    return NULL;
}

static must_check struct error *map(struct reader *reader, int depth, json_t **ret_value) {
    scoped_json json_t *all = json_object();
    for (;;) {
        json_t *value = NULL;
        TRY_PLAIN(next(reader));
        if (reader->event.type == YAML_MAPPING_END_EVENT) break;
        if (reader->event.type != YAML_SCALAR_EVENT) return wrong(reader, "a key that is no text");
        scoped_string char *key =
            mem_string_n((const char *)reader->event.data.scalar.value, reader->event.data.scalar.length);
        TRY_PLAIN(next(reader));
        TRY_PLAIN(node(reader, depth, &value));
        if (json_object_set_new(all, key, value)) return wrong(reader, "a key that is not UTF-8");
    }
    *ret_value = take(all);
    return NULL;
}

static must_check struct error *node(struct reader *reader, int depth, json_t **ret_value) {
    if (depth == DEPTH_MAX) return wrong(reader, "too deep");
    switch (reader->event.type) {
    case YAML_SCALAR_EVENT: return scalar(reader, ret_value);
    case YAML_SEQUENCE_START_EVENT: return list(reader, depth + 1, ret_value);
    case YAML_MAPPING_START_EVENT: return map(reader, depth + 1, ret_value);
    case YAML_ALIAS_EVENT: return wrong(reader, "an alias");
    default: return wrong(reader, "no map, list or text");
    }
}

static must_check struct error *document(struct reader *reader, json_t **ret_value) {
    TRY_PLAIN(next(reader));
    if (reader->event.type != YAML_STREAM_START_EVENT) return wrong(reader, "no YAML");
    TRY_PLAIN(next(reader));
    if (reader->event.type != YAML_DOCUMENT_START_EVENT) return wrong(reader, "an empty file");
    TRY_PLAIN(next(reader));
    return node(reader, 0, ret_value);
}

struct error *cdi_yaml(struct span text, json_t **ret_json) {
    struct reader reader = {.has_event = false};
    *ret_json = NULL;
    if (!yaml_parser_initialize(&reader.parser))
        return error_new(ERROR_RESOURCE_EXHAUSTED, "no memory for YAML");
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)(text.data ? text.data : ""),
                                 text.size);
    struct error *failed = document(&reader, ret_json);
    if (reader.has_event) yaml_event_delete(&reader.event);
    yaml_parser_delete(&reader.parser);
    return failed;
}
