/* named: values under a name, or of one app for as long as it beats: what dicts and queues share; see
 * named.c.
 */
#pragma once
#include "inside.h"

struct named {
    char id[ID_MAX];
    struct modal *modal;
    char *name, *environment; /* name NULL: ephemeral */
    double created_at;
    struct io_timer *patience;         /* ephemeral */
    void (*dies)(struct named *named); /* frees what it is a part of */
};
/* By an id or by a name; makes one by `make` where the creation type says so. */
must_check struct error *named_get_or_create(struct modal *modal, struct map *names, const char *name,
                                             const char *environment, int creation, const char *what,
                                             struct named *(*make)(struct modal *modal), struct named **ret,
                                             bool *ret_made);
void named_init(struct named *named, struct modal *modal, const char *prefix,
                void (*dies)(struct named *named));
void named_done(struct named *named, struct map *names);
void named_beat(struct named *named);
char *named_record(const struct named *named); /* owned */
bool named_restore(struct named *named, struct map *names, const char *id, struct span record);
void dicts_free(struct modal *modal);
must_check struct error *dicts_load(struct modal *modal);
void queues_free(struct modal *modal);
must_check struct error *queues_load(struct modal *modal);
extern const struct rpc_method dict_methods[], queue_methods[];
