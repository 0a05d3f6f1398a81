/* The body of a completion request, to the pieces that the engine would get. The cut keeps its promises for
 * any text. */
#include "completion.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    struct completion_request *request = NULL;
    struct error *error = completion_request_parse((struct span){(const char *)data, size_bytes}, &request);
    if (!error) {
        struct prompt prompt;
        struct window *window = window_new();
        for (int again = 0; again < 2 && !error; again++) {
            struct prompt_options options = {.template_text = "<a>{prefix}<b>{suffix}<c>",
                                             .window = window,
                                             .input_bytes = PROMPT_INPUT_BYTES};
            error = prompt_build(request, &options, &prompt);
            struct engine_piece pieces[5];
            size_t total = 0, count = error ? 0 : prompt_pieces(&prompt, pieces);
            for (size_t i = 0; i < count; i++) total += pieces[i].text.size;
            if (total > 2 * PROMPT_INPUT_BYTES + 4096 && prompt.snippet_count == 0) __builtin_trap();
            if (!error) prompt_done(&prompt);
        }
        struct stop *stop = stop_new(language_find(request->language, NULL), request->prefix, NULL);
        stop_add(stop, request->suffix);
        if (stop_text(stop).size > request->suffix.size) __builtin_trap();
        stop_free(stop);
        window_free(window);
    }
    completion_request_free(request);
    error_free(error);
    return 0;
}
