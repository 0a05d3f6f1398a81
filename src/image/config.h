/* An image's configuration as JSON, in OCI's words, and lists of words. */
#pragma once
#include "image.h"

/* ---- NULL-terminated lists of owned strings ---- */
size_t words_count(char *const *words); /* NULL: 0 */
char **words_copy(char *const *words);  /* NULL stays NULL */
void words_free(char **words);
void words_add(char ***words, const char *word);                      /* copies the word */
void words_set_env(char ***env, const char *name, const char *value); /* replaces NAME=... or adds it */
const char *words_env(char *const *env, const char *name);            /* borrowed; NULL: not there */
json_t *words_json(char *const *words);
/* An array of strings without NUL; null or absent gives NULL. */
must_check struct error *words_from_json(const json_t *array, const char *what, char ***ret_words);

/* The object "config" of an OCI or docker image configuration. */
must_check struct error *image_config_from_json(const json_t *json, struct image_config *ret_config);
json_t *image_config_to_json(const struct image_config *config); /* what is not said is left out */
void image_config_copy(const struct image_config *config, struct image_config *ret_config);
