/* service: the methods of Modal's service by name. */
#pragma once
#include "base.h"

/* name -> const struct rpc_method */
void service_methods(struct map *methods);
void service_router_methods(struct map *methods); /* of TaskCommandRouter */
