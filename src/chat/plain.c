/* Control words in what users say are text: a file about chat models may hold "<|im_end|>", and it must not
 * end the message that it is quoted in.
 *
 * The template renders one text, in which its own control words and the users' look alike. So the users' are
 * replaced by marks before: U+F8F0, a number, U+F8F1 (of the private use area, so nobody's text has them; a
 * text that does has them taken for a mark of a word that is not there, which stays as it is). */
#include "chat.h"

#include <stdlib.h>

#define MARK_BEGIN "\xef\xa3\xb0"
#define MARK_END "\xef\xa3\xb1"
#define MARK_DIGITS 6

static size_t control_at(struct span text, size_t at, const char *const *controls, size_t *ret_size) {
    size_t found = SIZE_MAX;
    *ret_size = 0;
    for (size_t i = 0; controls && controls[i]; i++) {
        size_t size = strlen(controls[i]);
        if (size <= *ret_size || size > text.size - at || controls[i][0] != text.data[at]) continue;
        if (memcmp(text.data + at, controls[i], size) == 0) found = i, *ret_size = size;
    }
    return found;
}

static json_t *mark_text(const json_t *value, const char *const *controls) {
    struct span text = {json_string_value(value), json_string_length(value)};
    scoped_text struct text out = {0};
    for (size_t at = 0; at < text.size;) {
        size_t size, control = control_at(text, at, controls, &size);
        if (control == SIZE_MAX) {
            text_add_char(&out, text.data[at++]);
            continue;
        }
        text_printf(&out, MARK_BEGIN "%zu" MARK_END, control);
        at += size;
    }
    return json_stringn(out.data ? out.data : "", out.size);
}

/* Everything that users wrote: contents, arguments of calls, names. */
json_t *chat_plain_mark(const json_t *value, const char *const *controls) {
    if (json_is_string(value)) return mark_text(value, controls);
    if (json_is_array(value)) {
        json_t *made = json_array();
        size_t i;
        const json_t *item;
        json_array_foreach(value, i, item) json_array_append_new(made, chat_plain_mark(item, controls));
        return made;
    }
    if (!json_is_object(value)) return json_incref((json_t *)value);
    json_t *made = json_object();
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item)
        json_object_set_new(made, key, chat_plain_mark(item, controls));
    return made;
}

/* The number of the control word whose mark begins here; its size in *ret_size. */
static size_t read_mark(struct span text, size_t *ret_size) {
    size_t at = sizeof MARK_BEGIN - 1, number = 0, digits = 0;
    while (at < text.size && digits < MARK_DIGITS && text.data[at] >= '0' && text.data[at] <= '9')
        number = number * 10 + (size_t)(text.data[at++] - '0'), digits++;
    if (digits == 0 || text.size - at < sizeof MARK_END - 1) return SIZE_MAX;
    if (memcmp(text.data + at, MARK_END, sizeof MARK_END - 1) != 0) return SIZE_MAX;
    *ret_size = at + sizeof MARK_END - 1;
    return number;
}

static void add(struct engine_piece **pieces, size_t *count, struct span text, bool special) {
    if (text.size == 0) return;
    *pieces = mem_grow(*pieces, *count + 1, sizeof **pieces);
    (*pieces)[(*count)++] = (struct engine_piece){.text = text, .special = special};
}

size_t chat_plain_pieces(struct span prompt, const char *const *controls, struct engine_piece **ret_pieces) {
    size_t control_count = 0, count = 0;
    while (controls && controls[control_count]) control_count++;
    *ret_pieces = NULL;
    size_t from = 0;
    for (size_t at = 0; at < prompt.size;) {
        const char *mark = memmem(prompt.data + at, prompt.size - at, MARK_BEGIN, sizeof MARK_BEGIN - 1);
        if (!mark) break;
        at = (size_t)(mark - prompt.data);
        size_t size, number = read_mark((struct span){mark, prompt.size - at}, &size);
        if (number >= control_count) {
            at++;
            continue;
        }
        add(ret_pieces, &count, (struct span){prompt.data + from, at - from}, true);
        add(ret_pieces, &count, span_of(controls[number]), false);
        from = at += size;
    }
    add(ret_pieces, &count, (struct span){prompt.data + from, prompt.size - from}, true);
    return count;
}
