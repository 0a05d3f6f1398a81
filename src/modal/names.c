/* Names: what Modal calls a thing, and what that becomes in the pool, in a host name, in a URL. */
#include "inside.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define LABEL_MAX 63 /* of DNS */
#define HASH_SIZE 6

void id_set(char out[ID_MAX], const char *id) {
    snprintf(out, ID_MAX, "%s", id ? id : "");
}

void id_restore(struct map *map, char id[ID_MAX], const char *kept, void *thing) {
    map_remove(map, span_of(id));
    id_set(id, kept);
    map_put(map, span_of(id), thing);
}

const char *environment_of(const char *name) {
    return name && *name ? name : ENVIRONMENT_DEFAULT;
}

char *object_key(const char *environment, const char *name) {
    return mem_printf("%s/%s", environment, name);
}

/* Lower case, [a-z0-9-_.]; where that lost something or is too long, a hash of the name keeps it apart from
 * others. */
char *core_name_of(const char *name, size_t limit) {
    struct text text = {0};
    bool changed = false;
    for (const char *c = name; *c; c++) {
        char lower = (char)tolower((unsigned char)*c);
        bool good = isalnum((unsigned char)lower) || (text.size > 0 && strchr("-_.", lower));
        changed |= !good || lower != *c;
        text_add_char(&text, good ? lower : text.size > 0 ? '-' : 'x');
    }
    if (text.size == 0) text_add_char(&text, 'x');
    if (!changed && text.size <= limit) return text_take(&text);
    char hex[SHA256_HEX_SIZE];
    sha256_of(span_of(name), hex);
    size_t most = limit - HASH_SIZE - 1;
    struct span head = {text.data, text.size < most ? text.size : most};
    char *result = mem_printf(SPAN_FORMAT "-%.*s", SPAN_ARGS(head), HASH_SIZE, hex);
    text_done(&text);
    return result;
}

static void add_label(struct text *text, const char *part) {
    for (; *part; part++) {
        char lower = (char)tolower((unsigned char)*part);
        text_add_char(text, isalnum((unsigned char)lower) ? lower : '-');
    }
}

/* USER--APP-FUNCTION, or USER--LABEL; "-dev" behind it while it is only served. */
char *web_label(const struct modal *modal, const struct app *app, const char *function,
                const Modal__WebhookConfig *web) {
    scoped_text struct text text = {0};
    add_label(&text, modal->user);
    text_add_string(&text, "--");
    const char *suffix = environment_suffix(modal, app->environment);
    if (*suffix) {
        add_label(&text, suffix);
        text_add_char(&text, '-');
    }
    if (web->requested_suffix && *web->requested_suffix) {
        add_label(&text, web->requested_suffix);
    } else {
        add_label(&text, app->name);
        text_add_char(&text, '-');
        add_label(&text, function);
    }
    if (web->ephemeral_suffix && *web->ephemeral_suffix && app_is_ephemeral(app)) {
        text_add_char(&text, '-');
        add_label(&text, web->ephemeral_suffix);
    } else if (app_is_ephemeral(app)) {
        text_add_string(&text, "-dev");
    }
    if (text.size <= LABEL_MAX) return text_take(&text);
    char hex[SHA256_HEX_SIZE];
    sha256_of(text_span(&text), hex);
    return mem_printf("%.*s-%.*s", LABEL_MAX - HASH_SIZE - 1, text.data, HASH_SIZE, hex);
}

char *web_url_of(const struct modal *modal, const char *label) {
    const char *colon = strrchr(modal->gateway, ':');
    bool usual = !colon || strcmp(colon, modal->secure ? ":443" : ":80") == 0;
    return mem_printf("%s://%s.%s%s", modal->secure ? "https" : "http", label, modal->domain,
                      usual ? "" : colon);
}
