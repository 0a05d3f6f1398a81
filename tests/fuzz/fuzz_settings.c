/* config.toml: any bytes give settings or a fault with words. */
#include "settings.h"

#include <stdlib.h>

static void on_unknown(void *owner, const char *text) {
    *(size_t *)owner += strlen(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    struct settings *settings = NULL;
    size_t told = 0;
    struct error *error =
        settings_parse((struct span){(const char *)data, size_bytes}, on_unknown, &told, &settings);
    if (!error == !settings) __builtin_trap();
    if (error) free(error_text(error));
    if (settings && settings->completion.source == SETTINGS_LOCAL && !settings->completion.model_id)
        __builtin_trap();
    for (size_t i = 0; settings && i < settings->repository_count; i++) {
        char *directory = settings_repository_directory(settings->repositories[i].git_url);
        if (strchr(directory, '/')) __builtin_trap();
        free(directory);
    }
    error_free(error);
    settings_free(settings);
    return 0;
}
