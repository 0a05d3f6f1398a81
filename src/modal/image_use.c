/* image_use: which images are needed, and when the others were used last.
 *
 * Needed is what a function, a sandbox or a name has, what one of the last versions of an app had, and what
 * cannot be made again (a snapshot). All else can: it is kept as builds are, by the image room's rules, and
 * asked for again it is built anew. Of a build that ended an hour ago nobody reads what it said. */
#include "deployment.h"
#include "sandbox.h"

#include <stdlib.h>

enum { HOUR_MS = 3600000 };

static void write_down(const struct modal *modal, const struct modal_image *image) {
    scoped_text struct text bytes = image_record(image);
    const struct store_record row = {"modal-image", image->id, text_span(&bytes)};
    store_records_write(modal->store, &row, 1, image_written, NULL);
}

void image_used(const struct modal *modal, const char *id) {
    struct modal_image *image = id ? map_get(modal->images, span_of(id)) : NULL;
    if (!image || !image->name) return;
    int64_t before_ms = image->used_ms;
    image->used_ms = clock_wall_ms();
    if (image->used_ms - before_ms > HOUR_MS)
        write_down(modal, image); /* on the disk it is true to the hour */
}

/* ---- for the image room ---- */

static void need(struct modal *modal, const char *id) {
    if (id && *id) map_put(modal->images_needed, span_of(id), modal);
}

static void definition_need(struct modal *modal, const struct definition *definition) {
    if (definition) need(modal, definition->function->image_id);
}

/* Their clients may still listen to those that were built a moment ago. */
static void forget_builds(struct modal *modal) {
    const int64_t old_ms = clock_wall_ms() - HOUR_MS;
    void *value;
    for (size_t i = 0; map_next(modal->images, &i, NULL, &value);) {
        struct modal_image *image = value;
        if (image->status == 0 || image->used_ms > old_ms || !list_empty(&image->joined)) continue;
        text_done(&image->lines);
        if (image->name) continue;
        image_forget(modal, image); /* it failed */
        i = 0;
    }
}

static void begin(void *owner) {
    struct modal *modal = owner;
    void *value;
    map_free(modal->images_needed);
    modal->images_needed = map_new();
    forget_builds(modal);
    for (size_t i = 0; map_next(modal->functions, &i, NULL, &value);) {
        const struct function *function = value;
        if (function->app->state == MODAL__APP_STATE__APP_STATE_STOPPED) continue;
        definition_need(modal, function->published);
        definition_need(modal, function->staged);
    }
    for (size_t i = 0; map_next(modal->apps, &i, NULL, &value);)
        deployments_need(value, modal->images_needed);
    for (size_t i = 0; map_next(modal->sandboxes, &i, NULL, &value);) {
        const struct sandbox *sandbox = value;
        if (sandbox->finished_at == 0) need(modal, sandbox->definition->image_id);
    }
    image_names_need(modal, modal->images_needed);
}

static int64_t used_ms(void *owner, const char *tag) {
    const struct modal *modal = owner;
    const struct modal_image *image = image_of(modal, tag);
    if (!image) return 0; /* a kill came between its keep and its record */
    if (map_get(modal->images_needed, span_of(tag)) || image_is_snapshot(image)) return INT64_MAX;
    return image->used_ms;
}

static void gone(void *owner, const char *tag) {
    struct modal *modal = owner;
    struct modal_image *image = (struct modal_image *)image_of(modal, tag);
    if (image) image_forget(modal, image);
    store_records_write(modal->store, &(struct store_record){"modal-image", tag, {NULL, 0}}, 1, image_written,
                        NULL);
}

void images_keeper_set(struct modal *modal) {
    modal->images_needed = map_new();
    if (!modal->images_room) return;
    image_keeper_set(modal->images_room, &(struct image_keeper){modal, begin, used_ms, gone});
}
