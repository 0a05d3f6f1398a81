/* Dockerfiles: whatever comes in ends in a complaint that names the file, or in instructions of one line each
 * whose words can be expanded. */
#include "dockerfile.h"

#include "config.h"

#include <stdlib.h>

static const char *variable(void *owner, const char *name) {
    (void)owner;
    return name[0] == 'A' ? "a 'value' with $A in it" : NULL;
}
static const struct variables variables = {variable, NULL};

static void expand(struct span text, char escape) {
    char *result = NULL;
    error_free(word_expand(text, escape, &variables, &result));
    free(result);
    result = NULL;
    error_free(body_expand(text, escape, &variables, &result));
    free(result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    struct dockerfile dockerfile;
    if (size_bytes > 65536) return 0;
    struct error *error =
        dockerfile_parse((struct span){(const char *)data, size_bytes}, "fuzz", &dockerfile);
    if (error) {
        if (error->code != ERROR_INVALID_ARGUMENT || !strstr(error->message, "fuzz:")) abort();
        error_free(error);
        return 0;
    }
    for (size_t i = 0; i < dockerfile.count; i++) {
        const struct instruction *instruction = &dockerfile.instructions[i];
        if (strchr(instruction->text, '\n') || instruction->line == 0) abort();
        char **words = words_split(span_of(instruction->text), dockerfile.escape);
        for (size_t k = 0; words[k]; k++) {
            if (!words[k][0]) abort();
            expand(span_of(words[k]), dockerfile.escape);
        }
        words_free(words);
        for (size_t k = 0; k < instruction->heredoc_count; k++)
            expand(span_of(instruction->heredocs[k].body), dockerfile.escape);
    }
    dockerfile_done(&dockerfile);
    return 0;
}
