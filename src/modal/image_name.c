/* image_name: names that a user gives to images (`image.publish("tools:v2")`), and who had them before.
 *
 * A name is ENVIRONMENT/NAME:TAG; a client leaves out the environment (its default one) or writes it. The
 * last image published under it is what it means; the ones before are its history, of which the last
 * REVISIONS_KEPT stay. A name keeps no image alive that somebody deletes by its id. */
#include "inside.h"

#include <stdio.h>
#include <stdlib.h>

#define KIND "modal-image-name"
#define REVISIONS_KEPT 100
#define PART_MAX 128
#define PAGE_MAX 100

struct revision {
    char image[ID_MAX], id[ID_MAX];
    double at;
};
struct image_name {
    char *environment, *name_tag;
    struct revision *revisions; /* the last one counts */
    size_t count;
    double created_at;
};

/* ---- what a name may be ---- */

static bool part_good(struct span part, const char *others) {
    if (part.size == 0 || part.size > PART_MAX) return false;
    for (size_t i = 0; i < part.size; i++) {
        char c = part.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && (i == 0 || !strchr(others, c))) return false;
    }
    return true;
}

/* "ENV/NAME:TAG", "NAME:TAG" or "NAME" as its whole key; owned. */
static struct error *key_of(const struct modal *modal, const char *text, const char *environment,
                            char **ret) {
    const char *slash = text ? strchr(text, '/') : NULL;
    scoped_string char *prefix = slash ? mem_string_n(text, (size_t)(slash - text)) : NULL;
    const char *where = prefix ? prefix : environment_of(environment);
    struct span rest = span_of(slash ? slash + 1 : text ? text : ""), tag = rest;
    struct span name = span_cut(&tag, ':');
    if (!part_good(name, "-_.") || (tag.data && !part_good(tag, "-_.")))
        return error_new(
            ERROR_INVALID_ARGUMENT,
            "'%.200s' is no name of an image: [ENVIRONMENT/]NAME[:TAG], of letters, digits, '-', "
            "'_' and '.'",
            text ? text : "");
    if (!environment_known(modal, where)) return no_object("environment", where);
    *ret = tag.data ? mem_printf("%s/" SPAN_FORMAT ":" SPAN_FORMAT, where, SPAN_ARGS(name), SPAN_ARGS(tag))
                    : mem_printf("%s/" SPAN_FORMAT ":latest", where, SPAN_ARGS(name));
    return NULL;
}

/* ---- kept ---- */

static void name_free(struct image_name *name) {
    free(name->environment);
    free(name->name_tag);
    free(name->revisions);
    free(name);
}

void image_names_free(struct modal *modal) {
    void *value;
    for (size_t i = 0; map_next(modal->image_names, &i, NULL, &value);) name_free(value);
    map_free(modal->image_names);
}

/* What each means now. */
void image_names_need(const struct modal *modal, struct map *needed) {
    void *value;
    for (size_t i = 0; map_next(modal->image_names, &i, NULL, &value);) {
        const struct image_name *name = value;
        if (name->count > 0) map_put(needed, span_of(name->revisions[name->count - 1].image), value);
    }
}

static struct image_name *name_new(struct modal *modal, const char *key) {
    struct image_name *name = NEW(struct image_name);
    const char *slash = strchr(key, '/');
    name->environment = mem_string_n(key, (size_t)(slash - key));
    name->name_tag = mem_string(slash + 1);
    map_put(modal->image_names, span_of(key), name);
    return name;
}

static void revision_add(struct image_name *name, const char *image, const char *id, double at) {
    if (name->count == REVISIONS_KEPT)
        memmove(name->revisions, name->revisions + 1, --name->count * sizeof *name->revisions);
    name->revisions = mem_grow(name->revisions, name->count + 1, sizeof *name->revisions);
    struct revision *revision = &name->revisions[name->count++];
    id_set(revision->image, image);
    id_set(revision->id, id);
    revision->at = at;
    if (name->created_at == 0) name->created_at = at;
}

void image_name_restore(struct modal *modal, const char *key, struct span value) {
    Modal__ImageNameRecord *record =
        modal__image_name_record__unpack(NULL, value.size, (const uint8_t *)value.data);
    if (!record || !strchr(key, '/')) return;
    struct image_name *name = name_new(modal, key);
    name->created_at = record->created_at;
    for (size_t i = 0; i < record->n_image_ids && i < record->n_ids && i < record->n_times; i++)
        revision_add(name, record->image_ids[i], record->ids[i], record->times[i]);
    modal__image_name_record__free_unpacked(record, NULL);
}

static struct text packed(const struct image_name *name, struct arena *arena) {
    Modal__ImageNameRecord record = MODAL__IMAGE_NAME_RECORD__INIT;
    record.has_created_at = true;
    record.created_at = name->created_at;
    record.n_image_ids = record.n_ids = record.n_times = name->count;
    record.image_ids = arena_alloc(arena, (name->count + 1) * sizeof *record.image_ids);
    record.ids = arena_alloc(arena, (name->count + 1) * sizeof *record.ids);
    record.times = arena_alloc(arena, (name->count + 1) * sizeof *record.times);
    for (size_t i = 0; i < name->count; i++) {
        record.image_ids[i] = name->revisions[i].image;
        record.ids[i] = name->revisions[i].id;
        record.times[i] = name->revisions[i].at;
    }
    return message_pack(&record);
}

/* ---- what clients ask ---- */

static struct image_name *asked_name(struct rpc *rpc, const char *tag, const char *environment,
                                     char **ret_key) {
    struct error *error = key_of(rpc->modal, tag, environment, ret_key);
    struct image_name *name = error ? NULL : map_get(rpc->modal->image_names, span_of(*ret_key));
    if (!error && (!name || name->count == 0))
        error = error_new(ERROR_NOT_FOUND, "no image is published as '%s' (`image.publish(...)` does it)",
                          *ret_key);
    if (!error) return name;
    rpc_fail(rpc, error);
    return NULL;
}

static void on_published(struct rpc *rpc, struct error *error) {
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    const struct revision *revision = rpc->owner;
    Modal__ImagePublishResponse answer = MODAL__IMAGE_PUBLISH_RESPONSE__INIT;
    answer.image_id = (char *)revision->image;
    answer.revision_id = (char *)revision->id;
    rpc_answer(rpc, &answer);
}

static void publish(struct rpc *rpc, const void *message) {
    const Modal__ImagePublishRequest *request = message;
    const struct modal_image *image = image_of(rpc->modal, request->image_id);
    scoped_string char *key = NULL, *id = random_id("ir");
    struct error *error = image && image->name ? NULL : no_object("image", request->image_id);
    if (!error) error = key_of(rpc->modal, request->tag, request->environment_name, &key);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    struct image_name *name = map_get(rpc->modal->image_names, span_of(key));
    if (!name) name = name_new(rpc->modal, key);
    revision_add(name, image->id, id, now_s());
    struct revision *made = rpc->owner = arena_alloc(rpc_arena(rpc), sizeof *made);
    *made = name->revisions[name->count - 1];
    scoped_text struct text bytes = packed(name, rpc_arena(rpc));
    rpc_commit(rpc, &(struct store_record){KIND, key, text_span(&bytes)}, 1, on_published);
}

static void by_tag(struct rpc *rpc, const void *message) {
    const Modal__ImageGetByTagRequest *request = message;
    scoped_string char *key = NULL;
    const struct image_name *name = asked_name(rpc, request->tag, request->environment_name, &key);
    if (!name) return;
    const struct revision *last = &name->revisions[name->count - 1];
    if (!image_of(rpc->modal, last->image)) {
        rpc_fail(rpc, error_new(ERROR_NOT_FOUND, "the image %s, published as '%s', was deleted", last->image,
                                key));
        return;
    }
    image_used(rpc->modal, last->image);
    Modal__ImageGetByTagResponse answer = MODAL__IMAGE_GET_BY_TAG_RESPONSE__INIT;
    answer.image_id = (char *)last->image;
    rpc_answer(rpc, &answer);
}

static int by_text(const void *a, const void *b) {
    return strcmp((*(struct image_name *const *)a)->name_tag, (*(struct image_name *const *)b)->name_tag);
}

static bool wanted(const struct image_name *name, const char *environment,
                   const Modal__ImageListTagsRequest *request) {
    const char *prefix = request->tag_prefix ? request->tag_prefix : "", *id = request->image_id;
    return name->count > 0 && strcmp(name->environment, environment) == 0 &&
           strncmp(name->name_tag, prefix, strlen(prefix)) == 0 &&
           (!id || !*id || strcmp(name->revisions[name->count - 1].image, id) == 0) &&
           (!request->page_token || strcmp(name->name_tag, request->page_token) > 0);
}

static size_t page_of(int32_t asked) {
    return asked > 0 && asked < PAGE_MAX ? (size_t)asked : PAGE_MAX;
}

static void list_tags(struct rpc *rpc, const void *message) {
    const Modal__ImageListTagsRequest *request = message;
    struct arena *arena = rpc_arena(rpc);
    const char *environment = environment_of(request->environment_name);
    struct image_name **all = arena_alloc(arena, (map_count(rpc->modal->image_names) + 1) * sizeof *all);
    size_t count = 0, page = page_of(request->max_objects);
    void *value;
    for (size_t i = 0; map_next(rpc->modal->image_names, &i, NULL, &value);)
        if (wanted(value, environment, request)) all[count++] = value;
    qsort(all, count, sizeof *all, by_text);
    Modal__ImageListTagsResponse answer = MODAL__IMAGE_LIST_TAGS_RESPONSE__INIT;
    answer.environment_name = (char *)environment;
    answer.items = arena_alloc(arena, (page + 1) * sizeof *answer.items);
    for (size_t i = 0; i < count && i < page; i++) {
        const struct revision *last = &all[i]->revisions[all[i]->count - 1];
        Modal__ImageListTagsItem *item = arena_alloc(arena, sizeof *item);
        modal__image_list_tags_item__init(item);
        item->tag = all[i]->name_tag;
        item->image_id = (char *)last->image;
        item->revision_id = (char *)last->id;
        item->has_created_at = item->has_updated_at = true;
        item->created_at = all[i]->created_at;
        item->updated_at = last->at;
        item->last_published_by = rpc->modal->user;
        answer.items[answer.n_items++] = item;
    }
    if (count > page) answer.next_page_token = all[page - 1]->name_tag;
    rpc_answer(rpc, &answer);
}

/* The newest first. */
static void revisions(struct rpc *rpc, const void *message) {
    const Modal__ImageTagRevisionsRequest *request = message;
    scoped_string char *key = NULL;
    const struct image_name *name = asked_name(rpc, request->tag, request->environment_name, &key);
    if (!name) return;
    struct arena *arena = rpc_arena(rpc);
    uint64_t skipped = 0;
    if (request->page_token) (void)span_to_u64(span_of(request->page_token), &skipped);
    size_t page = page_of(request->max_objects);
    Modal__ImageTagRevisionsResponse answer = MODAL__IMAGE_TAG_REVISIONS_RESPONSE__INIT;
    answer.tag = name->name_tag;
    answer.environment_name = name->environment;
    answer.items = arena_alloc(arena, (page + 1) * sizeof *answer.items);
    for (size_t i = (size_t)skipped; i < name->count && answer.n_items < page; i++) {
        const struct revision *revision = &name->revisions[name->count - 1 - i];
        Modal__ImageTagRevisionsItem *item = arena_alloc(arena, sizeof *item);
        modal__image_tag_revisions_item__init(item);
        item->image_id = (char *)revision->image;
        item->revision_id = (char *)revision->id;
        item->has_created_at = true;
        item->created_at = revision->at;
        item->published_by = rpc->modal->user;
        answer.items[answer.n_items++] = item;
    }
    if (skipped + answer.n_items < name->count)
        answer.next_page_token = arena_printf(arena, "%llu", (unsigned long long)skipped + answer.n_items);
    rpc_answer(rpc, &answer);
}

static void name_delete(struct rpc *rpc, const void *message) {
    const Modal__ImageNameDeleteRequest *request = message;
    scoped_string char *key = NULL;
    if (!asked_name(rpc, request->tag, NULL, &key)) return;
    name_free(map_remove(rpc->modal->image_names, span_of(key)));
    rpc_commit(rpc, &(struct store_record){KIND, key, {NULL, 0}}, 1, rpc_answer_kept);
}

const struct rpc_method image_name_methods[] = {
    {"ImagePublish", &modal__image_publish_request__descriptor, publish, RPC_TASK | RPC_ONCE},
    {"ImageGetByTag", &modal__image_get_by_tag_request__descriptor, by_tag, RPC_TASK},
    {"ImageListTags", &modal__image_list_tags_request__descriptor, list_tags, RPC_TASK},
    {"ImageTagRevisions", &modal__image_tag_revisions_request__descriptor, revisions, RPC_TASK},
    {"ImageNameDelete", &modal__image_name_delete_request__descriptor, name_delete, 0},
    {0},
};
