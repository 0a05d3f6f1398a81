/* deployment: the versions of an app that was deployed: what serves, what did, what is staged. */
#pragma once
#include "inside.h"

struct deployment {               /* one that begins; all borrowed for the call */
    struct map *layout, *classes; /* name -> struct function, struct class */
    Modal__DeploymentType type;
    uint32_t of; /* the version that it brings back or forth; 0: none */
    const char *client_version, *tag;
    const Modal__CommitInfo *commit; /* NULL: not known */
};
/* What serves from now on: written down, then to the pool, then answered. */
void deployment_keep(struct rpc *rpc, struct app *app, const struct deployment *deployment);
/* Of the staged definitions, where there are; what serves goes on. Written down and answered. `name`: of an
 * app that is not deployed yet. */
void deployment_stage(struct rpc *rpc, struct app *app, const char *name,
                      const struct deployment *deployment);
void deployment_answer(struct rpc *rpc, const struct app *app);           /* AppPublishResponse */
const Modal__DeploymentRecord *deployment_serving(const struct app *app); /* NULL: none yet */
void deployments_free(struct app *app);
void deployments_need(const struct app *app, struct map *needed); /* adds the ids of images */
extern const struct rpc_method deployment_methods[];
