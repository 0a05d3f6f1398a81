/* The head of a model file. Whatever it holds: an error or facts, and never a read beyond it. */
#include "llama.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    struct gguf_facts facts;
    struct error *error = gguf_check((struct span){(const char *)data, size_bytes}, size_bytes, &facts);
    if (!error && facts.needed_bytes > size_bytes) __builtin_trap();
    error_free(error);
    return 0;
}
