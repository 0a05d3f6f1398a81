/* Which methods there are: one table a noun, gathered by name. What is in none of them is answered
 * UNIMPLEMENTED. */
#include "inside.h"

#include "autoscaler.h"
#include "callgraph.h"
#include "deployment.h"
#include "named.h"
#include "sandbox.h"
#include "service.h"
#include "stats.h"

void service_methods(struct map *methods) {
    const struct rpc_method *const tables[] = {
        app_methods,       about_methods,      publish_methods, layout_methods,      environment_methods,
        logs_methods,      function_methods,   class_methods,   mount_methods,       blob_methods,
        image_methods,     image_name_methods, volume_methods,  volume_file_methods, secret_methods,
        exec_methods,      access_methods,     sandbox_methods, tunnel_methods,      call_methods,
        dataout_methods,   container_methods,  dict_methods,    queue_methods,       autoscaler_methods,
        callgraph_methods, stream_methods,     bound_methods,   proxy_token_methods, deployment_methods,
        stats_methods};
    for (size_t i = 0; i < COUNT(tables); i++)
        for (const struct rpc_method *method = tables[i]; method->name; method++)
            map_put(methods, span_of(method->name), (void *)method);
}

void service_router_methods(struct map *methods) {
    for (const struct rpc_method *method = router_methods; method->name; method++)
        map_put(methods, span_of(method->name), (void *)method);
}
