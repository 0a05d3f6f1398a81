/* autoscaler: how many containers a function has and for how long; see autoscaler.c. */
#pragma once
#include "inside.h"

/* What its definition, its options and what was set since the deploy say together. */
void autoscaler_apply(struct core_function *core, const struct function *function,
                      const struct definition *definition);
void autoscaler_forget(struct app *app); /* a deploy: the definitions alone count again */
/* For its record, and back from there. */
void autoscaler_record(const struct app *app, Modal__AppRecord *record);
void autoscaler_record_done(Modal__AppRecord *record);
void autoscaler_restore(struct app *app, const Modal__AppRecord *record);
extern const struct rpc_method autoscaler_methods[];
