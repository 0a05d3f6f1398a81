/* The body of a chat request, and its texts on their way through marks and back: nothing is lost, and no
 * control word of a user's reaches the template's side. */
#include "chat.h"

#include <stdlib.h>

static const char *const controls[] = {"<|im_end|>", "<|im_start|>", "[INST]", NULL};

static void round_trip(const json_t *content) {
    scoped_json json_t *marked = chat_plain_mark(content, controls);
    struct span before = {json_string_value(content), json_string_length(content)},
                after = {json_string_value(marked), json_string_length(marked)};
    struct engine_piece *pieces;
    size_t count = chat_plain_pieces(after, controls, &pieces);
    scoped_text struct text joined = {0};
    for (size_t i = 0; i < count; i++) {
        text_add(&joined, pieces[i].text);
        for (size_t c = 0; pieces[i].special && controls[c]; c++)
            if (memmem(pieces[i].text.data, pieces[i].text.size, controls[c], strlen(controls[c])))
                __builtin_trap();
    }
    /* A text that has marks of its own may come out as the words that they number. */
    bool odd = before.size > 0 && memmem(before.data, before.size, "\xef\xa3\xb0", 3);
    if (!odd && !span_equal(before, text_span(&joined))) __builtin_trap();
    free(pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    struct chat_request *request = NULL;
    struct error *error = chat_request_parse((struct span){(const char *)data, size_bytes}, &request);
    if (!error) {
        size_t i;
        const json_t *message;
        json_array_foreach(request->messages, i, message) {
            const json_t *content = json_object_get(message, "content");
            if (json_is_string(content)) round_trip(content);
        }
        struct chat_stops *stops = chat_stops_new(request->stops, request->stop_count);
        size_t told = 0;
        for (size_t at = 0; at < size_bytes; at += 3) {
            size_t size = size_bytes - at < 3 ? size_bytes - at : 3;
            chat_stops_add(stops, (struct span){(const char *)data + at, size});
            size_t now = chat_stops_text(stops, false).size;
            if (now < told) __builtin_trap(); /* what was told cannot be taken back */
            told = now;
        }
        if (chat_stops_text(stops, true).size < told) __builtin_trap();
        chat_stops_free(stops);
    }
    chat_request_free(request);
    error_free(error);
    return 0;
}
