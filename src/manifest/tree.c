/* YAML by libyaml's events to a tree of nodes that remember where they stood.
 *
 * Events rather than libyaml's own documents, because bounds belong here: depth, nodes, anchors, and what
 * aliases unfold to. A file of a few lines can't become millions of nodes. One document a file; tags and
 * merge keys are refused with a text. */
#include "inside.h"

#include <stdlib.h>
#include <yaml.h>

#define DEPTH_MAX 16
#define NODES_MAX 20000 /* unfolded aliases included */
#define ANCHORS_MAX 100

struct loader {
    struct reading *reading;
    yaml_parser_t parser;
    struct {
        char *name;
        struct node *node;
    } anchors[ANCHORS_MAX];
    size_t anchor_count;
    size_t nodes;
};

static void complain_at(struct reading *reading, const yaml_mark_t *mark, const char *text) {
    struct node at = {.line = mark->line + 1, .column = mark->column + 1};
    complain(reading, &at, "%s", text);
}

static struct node *node_new(struct loader *loader, enum node_kind kind, const yaml_mark_t *mark) {
    struct node *node = arena_alloc(loader->reading->arena, sizeof *node);
    *node = (struct node){.kind = kind, .line = mark->line + 1, .column = mark->column + 1, .weight = 1};
    return node;
}

static void grow(struct arena *arena, void **array, struct node *node, size_t size_bytes) {
    if (node->count < node->capacity) return;
    size_t capacity = node->capacity ? node->capacity * 2 : 4;
    void *bigger = arena_alloc(arena, capacity * size_bytes);
    if (node->count > 0) memcpy(bigger, *array, node->count * size_bytes);
    *array = bigger;
    node->capacity = capacity;
}

static bool remember(struct loader *loader, const yaml_char_t *anchor, struct node *node,
                     const yaml_mark_t *mark) {
    if (!anchor) return true;
    if (loader->anchor_count == ANCHORS_MAX) {
        complain_at(loader->reading, mark, "too many anchors; at most 100");
        return false;
    }
    loader->anchors[loader->anchor_count].name =
        arena_string(loader->reading->arena, span_of((const char *)anchor));
    loader->anchors[loader->anchor_count++].node = node;
    return true;
}

static struct node *behind_alias(struct loader *loader, const yaml_event_t *event) {
    const char *name = (const char *)event->data.alias.anchor;
    for (size_t i = loader->anchor_count; i-- > 0;) { /* the last of a name counts */
        struct node *node = loader->anchors[i].node;
        if (strcmp(loader->anchors[i].name, name) != 0) continue;
        if (node->complete) return node;
        complain_at(loader->reading, &event->start_mark, "this alias stands inside of what it stands for");
        return NULL;
    }
    complain_at(loader->reading, &event->start_mark, "there is no anchor of this name before here");
    return NULL;
}

static bool next(struct loader *loader, yaml_event_t *event) {
    if (yaml_parser_parse(&loader->parser, event)) return true;
    const char *problem = loader->parser.problem ? loader->parser.problem : "this can't be read as YAML";
    yaml_mark_t mark = loader->parser.problem_mark;
    scoped_string char *text =
        loader->parser.context ? mem_printf("%s %s", problem, loader->parser.context) : mem_string(problem);
    complain_at(loader->reading, &mark, text);
    return false;
}

static struct node *read_node(struct loader *loader, const yaml_event_t *event, unsigned depth);

/* Items of a list, or keys and values of a map, up to its end. */
static bool read_children(struct loader *loader, struct node *parent, unsigned depth) {
    struct node *key = NULL;
    for (;;) {
        yaml_event_t event;
        if (!next(loader, &event)) return false;
        if (event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&event);
            parent->complete = true;
            return true;
        }
        struct node *child = read_node(loader, &event, depth);
        yaml_event_delete(&event);
        if (!child) return false;
        parent->weight += child->weight;
        if (parent->kind == NODE_LIST) {
            grow(loader->reading->arena, (void **)&parent->items, parent, sizeof *parent->items);
            parent->items[parent->count++] = child;
        } else if (!key) {
            key = child;
            if (key->kind == NODE_SCALAR) continue;
            complain(loader->reading, key, "a key must be a word");
            return false;
        } else {
            grow(loader->reading->arena, (void **)&parent->pairs, parent, sizeof *parent->pairs);
            parent->pairs[parent->count++] = (struct pair){key, child};
            key = NULL;
        }
    }
}

static struct node *read_scalar(struct loader *loader, const yaml_event_t *event) {
    struct node *node = node_new(loader, NODE_SCALAR, &event->start_mark);
    struct span value = {(const char *)event->data.scalar.value, event->data.scalar.length};
    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->text = arena_string(loader->reading->arena, value);
    node->complete = true;
    if (value.size > 0 && memchr(value.data, 0, value.size)) {
        complain(loader->reading, node, "a NUL byte can't stand in here");
        return NULL;
    }
    return node;
}

static struct node *read_node(struct loader *loader, const yaml_event_t *event, unsigned depth) {
    struct node *node = NULL;
    const yaml_char_t *anchor = NULL, *tag = NULL;
    switch (event->type) {
    case YAML_ALIAS_EVENT: node = behind_alias(loader, event); break;
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        node = read_scalar(loader, event);
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
        node = node_new(loader, NODE_LIST, &event->start_mark);
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        node = node_new(loader, NODE_MAP, &event->start_mark);
        break;
    default: complain_at(loader->reading, &event->start_mark, "a value is missing here"); break;
    }
    if (!node) return NULL;
    if (tag) {
        complain_at(loader->reading, &event->start_mark, "tags (!...) have no meaning here; leave it out");
        return NULL;
    }
    if (!remember(loader, anchor, node, &event->start_mark)) return NULL;
    if (node->kind != NODE_SCALAR && !node->complete) {
        if (depth >= DEPTH_MAX) {
            complain(loader->reading, node, "nested too deeply; at most %d levels", DEPTH_MAX);
            return NULL;
        }
        if (!read_children(loader, node, depth + 1)) return NULL;
    }
    loader->nodes += event->type == YAML_ALIAS_EVENT ? node->weight : 1;
    if (loader->nodes > NODES_MAX || node->weight > NODES_MAX) {
        complain_at(loader->reading, &event->start_mark,
                    "too much: more than 20000 values, unfolded aliases included");
        return NULL;
    }
    return node;
}

static struct node *read_document(struct loader *loader) {
    struct node *root = NULL;
    for (bool first = true;; first = false) {
        yaml_event_t event;
        if (!next(loader, &event)) return NULL;
        yaml_event_type_t type = event.type;
        bool done = type == YAML_STREAM_END_EVENT, bad = false;
        if (type == YAML_DOCUMENT_START_EVENT && root) {
            complain_at(loader->reading, &event.start_mark, "a second document; one app a file");
            bad = true;
        } else if (!first && type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_START_EVENT &&
                   type != YAML_DOCUMENT_END_EVENT && !done) {
            root = read_node(loader, &event, 0);
            bad = !root;
        }
        if (done && !root)
            complain_at(loader->reading, &event.start_mark,
                        "the file is empty; it needs `app:` and `functions:`");
        yaml_event_delete(&event);
        if (bad) return NULL;
        if (done) return root;
    }
}

struct node *tree_read(struct reading *reading, struct span yaml) {
    struct loader *loader = arena_alloc(reading->arena, sizeof *loader);
    loader->reading = reading;
    if (!yaml_parser_initialize(&loader->parser)) abort(); /* out of memory */
    yaml_parser_set_input_string(&loader->parser, (const unsigned char *)yaml.data, yaml.size);
    struct node *root = read_document(loader);
    yaml_parser_delete(&loader->parser);
    return root;
}

static const struct pair *find(const struct node *map, const char *key) {
    for (size_t i = 0; i < map->count; i++)
        if (strcmp(map->pairs[i].key->text, key) == 0) return &map->pairs[i];
    return NULL;
}

struct node *tree_find(const struct node *map, const char *key) {
    const struct pair *pair = find(map, key);
    return pair ? pair->value : NULL;
}

const struct node *tree_find_key(const struct node *map, const char *key) {
    const struct pair *pair = find(map, key);
    return pair ? pair->key : NULL;
}

const char *node_kind_text(const struct node *node) {
    switch (node->kind) {
    case NODE_LIST: return "a list";
    case NODE_MAP: return "a map";
    case NODE_SCALAR: break;
    }
    return "a single value";
}
