/* The file of Modal's client: whatever it has in it, a profile that was put into it is found in it, is the
 * only active one, and taken out again leaves every byte as it was. */
#include "profile.h"

#include <stdlib.h>

#define MARK "was active before"

static bool in_order(struct span file) { /* ended by a newline, and no traces of a login before */
    scoped_string char *text = span_string(file);
    return strlen(text) == file.size && (file.size == 0 || file.data[file.size - 1] == '\n') &&
           !strstr(text, MARK);
}

static void check(struct span file, bool was_there) {
    const struct profile profile = {"catnap", "http://127.0.0.1:7071", "ak-1", "as-1"};
    struct profile_found found;
    scoped_text struct text with = {0}, again = {0}, without = {0};
    scoped_string char *active = NULL;
    if (profile_put(file, &profile, &with) || profile_put(text_span(&with), &profile, &again)) abort();
    if (!span_equal(text_span(&with), text_span(&again))) abort();
    if (profile_find(text_span(&with), "catnap", &found) || !found.there) abort();
    if (!found.active || strcmp(found.active, "catnap") != 0 || strcmp(found.token_id, "ak-1") != 0) abort();
    profile_found_done(&found);
    if (profile_remove(text_span(&with), "catnap", &without, &active)) abort();
    if (profile_find(text_span(&without), "catnap", &found) || found.there) abort();
    profile_found_done(&found);
    if (!was_there && in_order(file) && !span_equal(text_span(&without), file)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    struct span file = {(const char *)data, size_bytes};
    struct profile_found found;
    scoped(error) struct error *error = profile_find(file, "catnap", &found);
    if (error) return 0;
    bool was_there = found.there;
    profile_found_done(&found);
    check(file, was_there);
    return 0;
}
