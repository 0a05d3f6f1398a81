/* Descriptions of devices (CDI) and what NVIDIA's tool says of them, the first byte tells which form:
 * whatever comes in ends in a complaint, or in edits that can be written out, of no more devices than were
 * asked for. */
#include "inside.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    if (size_bytes == 0) return 0;
    const struct span rest = {(const char *)data + 1, size_bytes - 1};
    scoped_json json_t *config = json_object();
    static const unsigned nobody[CDI_CARDS_MAX];
    struct gpus gpus = {0};
    struct cdi cdi = {0};
    uint64_t cards = 0;
    gpus_parse(rest, &gpus);
    cdi_add_text(&cdi, "fuzz", rest, data[0] == 'y');
    scoped(error) struct error *error =
        gpus_choose(&gpus, cdi.cards, nobody, data[0] == '!' ? "T4!:2" : "T4:2", &cards);
    if (__builtin_popcountll(cards) != (error ? 0 : 2)) abort();
    if (!error && (error = cdi_apply(&cdi, cards, config))) abort(); /* what is bad was left out */
    cdi_done(&cdi);
    if (error) return 0;
    scoped_string char *text = json_dumps(config, JSON_COMPACT);
    if (!text) abort();
    return 0;
}
