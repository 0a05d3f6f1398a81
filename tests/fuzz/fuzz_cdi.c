/* Descriptions of devices (CDI), the first byte tells which form: whatever comes in ends in a complaint, or
 * in edits that can be written out, of no more devices than were asked for. */
#include "inside.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    if (size_bytes == 0) return 0;
    const bool yaml = data[0] == 'y';
    uint64_t chosen = 0;
    scoped_json json_t *config = json_object();
    scoped(error) struct error *error =
        cdi_apply_text((struct span){(const char *)data + 1, size_bytes - 1}, yaml, 2, &chosen, config);
    if (chosen > 2) abort();
    if (error) return 0;
    scoped_string char *text = json_dumps(config, JSON_COMPACT);
    if (!text) abort();
    return 0;
}
