/* record: what is kept over a restart, and read again at the start. */
#include "inside.h"

#include "autoscaler.h"

#include <stdlib.h>

void app_record(const struct app *app, struct text *ret) {
    Modal__AppRecord record = MODAL__APP_RECORD__INIT;
    record.id = (char *)app->id;
    record.name = app->name;
    record.environment = app->environment;
    record.has_created_at = true;
    record.created_at = app->created_at;
    record.deployments = app->deployments;
    record.n_deployments = app->deployment_count;
    size_t count = map_count(app->tags);
    char **names = record.tag_names = mem_array(2 * count + 1, sizeof *names), **values = names + count;
    record.tag_values = values;
    const char *name;
    void *value;
    for (size_t i = 0; map_next(app->tags, &i, &name, &value); record.n_tag_names++) {
        names[record.n_tag_names] = (char *)name;
        values[record.n_tag_names] = value;
    }
    record.n_tag_values = count;
    autoscaler_record(app, &record);
    *ret = message_pack(&record);
    free(names);
    autoscaler_record_done(&record);
}

static void on_environment(void *owner, const char *key, struct span value) {
    struct modal *modal = owner;
    environment_restore(modal, key, value);
}

static void on_mount(void *owner, const char *key, struct span value) {
    (void)key;
    Modal__MountRecord *record = modal__mount_record__unpack(NULL, value.size, (const uint8_t *)value.data);
    if (!record) return;
    mount_restore(owner, record);
    modal__mount_record__free_unpacked(record, NULL);
}

static void on_image(void *owner, const char *key, struct span value) {
    (void)key;
    Modal__ImageRecord *record = modal__image_record__unpack(NULL, value.size, (const uint8_t *)value.data);
    if (!record) return;
    if (record->id && record->key) image_restore(owner, record);
    modal__image_record__free_unpacked(record, NULL);
}

static void on_image_name(void *owner, const char *key, struct span value) {
    image_name_restore(owner, key, value);
}

static void on_secret(void *owner, const char *key, struct span value) {
    (void)key;
    secret_restore(owner, value);
}

static void on_app(void *owner, const char *key, struct span value) {
    Modal__AppRecord *record = modal__app_record__unpack(NULL, value.size, (const uint8_t *)value.data);
    if (record && record->id && record->name) {
        app_restore(owner, record);
    } else {
        log_error("modal", "the record of the app %s can't be read", key);
    }
    if (record) modal__app_record__free_unpacked(record, NULL);
}

struct error *records_load(struct modal *modal) {
    static const struct {
        const char *kind;
        void (*record)(void *owner, const char *key, struct span value);
    } kinds[] = {
        {"modal-environment", on_environment},
        {"modal-mount", on_mount},
        {"modal-image", on_image},
        {"modal-image-name", on_image_name},
        {"modal-secret", on_secret},
        {"modal-app", on_app}, /* last: it needs the others */
    };
    for (size_t i = 0; i < COUNT(kinds); i++)
        TRY_PLAIN(store_records_load(modal->store, kinds[i].kind, kinds[i].record, modal));
    return NULL;
}
