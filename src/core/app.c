/* The app: a named set of functions, in the order in which they were told, and the host label of one of them.
 */
#include "core.h"

#include <stdio.h>
#include <stdlib.h>

#define LABEL_MAX 63 /* one label of a host name: RFC 1035, 2.3.4 */

struct core_app *core_app_new(const char *name) {
    struct core_app *app = NEW(struct core_app);
    app->name = mem_string(name);
    return app;
}

void core_app_free(struct core_app *app) {
    if (!app) return;
    for (size_t i = 0; i < app->function_count; i++) core_function_free(app->functions[i]);
    free(app->functions);
    free(app->name);
    free(app);
}

struct core_app *core_app_copy(const struct core_app *app) {
    struct core_app *copy = core_app_new(app->name);
    copy->version = app->version;
    for (size_t i = 0; i < app->function_count; i++)
        core_app_add(copy, core_function_copy(app->functions[i]));
    return copy;
}

void core_app_add(struct core_app *app, struct core_function *taken_function) {
    app->functions = mem_grow(app->functions, app->function_count + 1, sizeof *app->functions);
    app->functions[app->function_count++] = taken_function;
}

struct core_function *core_app_find(const struct core_app *app, const char *function) {
    for (size_t i = 0; i < app->function_count; i++)
        if (app->functions[i]->name && strcmp(app->functions[i]->name, function) == 0)
            return app->functions[i];
    return NULL;
}

static bool is_label_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* FNV-1a: two long names that begin alike must not get one label; nothing here withstands an enemy, nor must
 * it. */
static uint32_t hash_of(const char *string) {
    uint32_t hash = 2166136261u;
    for (; *string; string++) hash = (hash ^ (unsigned char)*string) * 16777619u;
    return hash;
}

char *core_function_label(const struct core_function *function, const char *user) {
    if (function->label) return mem_string(function->label);
    scoped_string char *whole = mem_printf("%s--%s-%s", user ? user : "", function->app, function->name);
    char *label = mem_string(whole);
    for (char *c = label; *c; c++) {
        if (*c >= 'A' && *c <= 'Z') *c = (char)(*c - 'A' + 'a');
        if (!is_label_character(*c)) *c = '-';
    }
    char *begin = label;
    while (*begin == '-') begin++; /* a label neither begins nor ends with a hyphen */
    memmove(label, begin, strlen(begin) + 1);
    size_t size = strlen(label);
    if (size > LABEL_MAX) {
        size = LABEL_MAX;
        snprintf(label + LABEL_MAX - 9, 10, "-%08x", hash_of(whole));
    }
    while (size > 0 && label[size - 1] == '-') label[--size] = '\0';
    return label;
}
