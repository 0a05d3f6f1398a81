/* Lines of a log, as they are read back from the disk: what is taken for one has a stream and a text within
 * it. */
#include "inside.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    struct span whole = {(const char *)data, size_bytes};
    struct logs_line line = {0};
    if (!line_parse(whole, &line)) return 0;
    if (!strchr("oes", line.stream)) abort();
    if (line.text.data < whole.data || line.text.data + line.text.size != whole.data + whole.size) abort();
    return 0;
}
