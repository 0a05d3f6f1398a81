/* The body of PUT /v1/apps: an error that names what is wrong, or an app that passes core's check and comes
 * back the same when it is sent as JSON. */
#include "inside.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    scoped(core_app) struct core_app *app = NULL, *again = NULL;
    scoped(error) struct error *error = body_parse((struct span){(const char *)data, size_bytes}, &app);
    if (error) {
        scoped_string char *text = error_text(error);
        if (error->code != ERROR_INVALID_ARGUMENT || !*text) abort();
        return 0;
    }
    scoped_json json_t *json = core_app_to_json(app);
    scoped_string char *body = json_dumps(json, JSON_COMPACT);
    if ((error = body_parse(span_of(body), &again))) abort();
    scoped_json json_t *json_again = core_app_to_json(again);
    if (!json_equal(json, json_again)) abort();
    return 0;
}
