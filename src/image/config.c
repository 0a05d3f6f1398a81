/* What an image says about how its programs are run, to and from JSON. The keys are those of the OCI image
 * specification (config.md), which are docker's. Unknown keys are dropped: nothing here could obey them. */
#include "config.h"

#include <stdlib.h>

enum { WORDS_MAX = 4096 };
#define BAD(...) error_new(ERROR_INVALID_ARGUMENT, __VA_ARGS__)

/* ---- words ---- */

size_t words_count(char *const *words) {
    size_t count = 0;
    while (words && words[count]) count++;
    return count;
}

char **words_copy(char *const *words) {
    if (!words) return NULL;
    size_t count = words_count(words);
    char **copy = mem_array(count + 1, sizeof *copy);
    for (size_t i = 0; i < count; i++) copy[i] = mem_string(words[i]);
    return copy;
}

void words_free(char **words) {
    for (size_t i = 0; words && words[i]; i++) free(words[i]);
    free(words);
}

void words_add(char ***words, const char *word) {
    size_t count = words_count(*words);
    *words = mem_grow(*words, count + 2, sizeof **words);
    (*words)[count] = mem_string(word);
    (*words)[count + 1] = NULL;
}

static bool names(const char *variable, const char *name) {
    size_t size = strlen(name);
    return strncmp(variable, name, size) == 0 && variable[size] == '=';
}

void words_set_env(char ***env, const char *name, const char *value) {
    scoped_string char *variable = mem_printf("%s=%s", name, value);
    for (char **at = *env; at && *at; at++) {
        if (!names(*at, name)) continue;
        free(*at);
        *at = take(variable);
        return;
    }
    words_add(env, variable);
}

const char *words_env(char *const *env, const char *name) {
    for (; env && *env; env++)
        if (names(*env, name)) return *env + strlen(name) + 1;
    return NULL;
}

json_t *words_json(char *const *words) {
    json_t *array = json_array();
    for (; words && *words; words++) json_array_append_new(array, json_string(*words));
    return array;
}

struct error *words_from_json(const json_t *array, const char *what, char ***ret_words) {
    *ret_words = NULL;
    if (!array || json_is_null(array)) return NULL;
    if (!json_is_array(array) || json_array_size(array) > WORDS_MAX)
        return BAD("%s is no list of texts", what);
    char **words = mem_array(json_array_size(array) + 1, sizeof *words);
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *word = json_array_get(array, i);
        const char *text = json_string_value(word);
        if (!text || strlen(text) != json_string_length(word)) {
            words_free(words);
            return BAD("%s: its entry %zu is no text", what, i + 1);
        }
        words[i] = mem_string(text);
    }
    *ret_words = words;
    return NULL;
}

/* ---- the configuration ---- */

const char *image_config_env(const struct image_config *config, const char *name) {
    return words_env(config->env, name);
}

void image_config_done(struct image_config *config) {
    words_free(config->env), words_free(config->entrypoint), words_free(config->cmd),
        words_free(config->shell);
    free(config->workdir), free(config->user), free(config->stop_signal);
    json_decref(config->labels), json_decref(config->exposed);
    *config = (struct image_config){0};
}

void image_config_copy(const struct image_config *config, struct image_config *ret_config) {
    *ret_config = (struct image_config){
        .env = words_copy(config->env),
        .entrypoint = words_copy(config->entrypoint),
        .cmd = words_copy(config->cmd),
        .shell = words_copy(config->shell),
        .workdir = mem_string(config->workdir),
        .user = mem_string(config->user),
        .stop_signal = mem_string(config->stop_signal),
        .labels = json_deep_copy(config->labels),
        .exposed = json_deep_copy(config->exposed),
    };
}

/* Empty means not said: docker writes "User": "". */
static struct error *text_of(const json_t *json, const char *key, char **ret_text) {
    const json_t *value = json_object_get(json, key);
    *ret_text = NULL;
    if (!value || json_is_null(value)) return NULL;
    const char *text = json_string_value(value);
    if (!text || strlen(text) != json_string_length(value)) return BAD("%s is no text", key);
    if (*text) *ret_text = mem_string(text);
    return NULL;
}

static json_t *object_of(const json_t *json, const char *key) {
    json_t *value = json_object_get(json, key);
    return json_is_object(value) && json_object_size(value) > 0 ? json_deep_copy(value) : NULL;
}

static struct error *read_all(const json_t *json, struct image_config *config) {
    TRY_PLAIN(words_from_json(json_object_get(json, "Env"), "Env", &config->env));
    for (size_t i = 0; config->env && config->env[i]; i++)
        if (config->env[i][0] == '=' || !strchr(config->env[i], '='))
            return BAD("Env: '%.80s' is not NAME=VALUE", config->env[i]);
    TRY_PLAIN(words_from_json(json_object_get(json, "Entrypoint"), "Entrypoint", &config->entrypoint));
    TRY_PLAIN(words_from_json(json_object_get(json, "Cmd"), "Cmd", &config->cmd));
    TRY_PLAIN(words_from_json(json_object_get(json, "Shell"), "Shell", &config->shell));
    TRY_PLAIN(text_of(json, "WorkingDir", &config->workdir));
    TRY_PLAIN(text_of(json, "User", &config->user));
    TRY_PLAIN(text_of(json, "StopSignal", &config->stop_signal));
    config->labels = object_of(json, "Labels");
    config->exposed = object_of(json, "ExposedPorts");
    return NULL;
}

struct error *image_config_from_json(const json_t *json, struct image_config *ret_config) {
    *ret_config = (struct image_config){0};
    if (!json || json_is_null(json)) return NULL;
    if (!json_is_object(json)) return BAD("config is no object");
    struct error *error = read_all(json, ret_config);
    if (error) image_config_done(ret_config);
    return error;
}

json_t *image_config_to_json(const struct image_config *config) {
    json_t *json = json_object();
    const struct {
        const char *key;
        char *const *words;
    } lists[] = {{"Env", config->env},
                 {"Entrypoint", config->entrypoint},
                 {"Cmd", config->cmd},
                 {"Shell", config->shell}};
    const struct {
        const char *key, *text;
    } texts[] = {
        {"WorkingDir", config->workdir}, {"User", config->user}, {"StopSignal", config->stop_signal}};
    for (size_t i = 0; i < COUNT(lists); i++)
        if (lists[i].words) json_object_set_new(json, lists[i].key, words_json(lists[i].words));
    for (size_t i = 0; i < COUNT(texts); i++)
        if (texts[i].text) json_object_set_new(json, texts[i].key, json_string(texts[i].text));
    if (config->labels) json_object_set(json, "Labels", config->labels);
    if (config->exposed) json_object_set(json, "ExposedPorts", config->exposed);
    return json;
}
