/* The settings room's own: reading nodes of a TOML tree, with faults that say where. */
#pragma once
#include "settings.h"
#include "toml.h"

/* NULL: absent. A table asked for by `node_table` must be one. */
struct toml_node *node_get(struct toml_node *table, const char *key);
must_check struct error *node_wrong(const struct toml_node *node, const char *where, const char *expected);
must_check struct error *node_table(struct toml_node *parent, const char *key, const char *where,
                                    struct toml_node **ret_table);
/* These leave *value as it is where the key is absent. */
must_check struct error *node_string(struct toml_node *table, const char *key, const char *where,
                                     char **value);
must_check struct error *node_strings(struct toml_node *table, const char *key, const char *where,
                                      char ***value);
must_check struct error *node_u64(struct toml_node *table, const char *key, const char *where, uint64_t most,
                                  uint64_t *value);
must_check struct error *node_u32(struct toml_node *table, const char *key, const char *where, uint64_t most,
                                  uint32_t *value);
must_check struct error *node_double(struct toml_node *table, const char *key, const char *where,
                                     double *value);
must_check struct error *node_bool(struct toml_node *table, const char *key, const char *where, bool *value);
must_check struct error *node_need(const struct toml_node *table, const char *key, const char *where);
void node_strings_free(char **strings);

/* model.c */
must_check struct error *settings_model_read(struct toml_node *models, const char *name,
                                             struct settings_model *model);
void settings_model_done(struct settings_model *model);
