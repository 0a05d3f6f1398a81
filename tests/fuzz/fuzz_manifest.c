/* Manifests: whatever comes in ends in complaints, or in an app that passes core's check and survives its
 * JSON form. */
#include "manifest.h"

#include <stdlib.h>

static const char *variable(void *owner, const char *name) {
    (void)owner;
    return name[0] == 'A' ? "value" : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    scoped(core_app) struct core_app *app = NULL, *again = NULL;
    scoped(error) struct error *error =
        manifest_parse((struct span){(const char *)data, size_bytes}, "fuzz.yaml", variable, NULL, &app);
    if (error) {
        if (app || error->code != ERROR_INVALID_ARGUMENT || !strstr(error->message, "fuzz.yaml:")) abort();
        return 0;
    }
    if ((error = core_app_check(app))) abort();
    scoped_json json_t *json = core_app_to_json(app);
    if ((error = core_app_from_json(json, &again))) abort();
    scoped_json json_t *json_again = core_app_to_json(again);
    if (!json_equal(json, json_again)) abort();
    return 0;
}
