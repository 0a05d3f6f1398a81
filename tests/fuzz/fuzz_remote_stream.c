/* Lines of another server's stream, of each shape. The first byte says which. */
#include "remote.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    if (size_bytes == 0) return 0;
    enum remote_shape shape = (enum remote_shape)(data[0] % (REMOTE_CHAT + 1));
    struct span rest = {(const char *)data + 1, size_bytes - 1};
    while (rest.data) {
        struct span line = span_cut(&rest, '\n');
        json_t *json = NULL;
        bool ends;
        struct error *error = remote_line_json(shape, line, &json, &ends);
        if (error && json) __builtin_trap();
        if (json) {
            struct span text = remote_json_text(shape, json);
            if (text.size > line.size) __builtin_trap();
        }
        json_decref(json);
        error_free(error);
    }
    return 0;
}
