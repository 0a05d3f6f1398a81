/* The doors: one for host names, one for each published port, and from a request to its function. */
#include "inside.h"

#include <stdlib.h>

struct pool_function *gateway_function_of(struct gateway *gateway, const struct http_exchange *exchange) {
    const struct port *port = http_exchange_tag(exchange);
    if (port) return pool_function_by_publish(gateway->pool, port->number);
    struct pool_function *function = pool_function_by_host(gateway->pool, http_exchange_host(exchange));
    /* Who publishes on our own port gets what no host name claims. */
    return function ? function : pool_function_by_publish(gateway->pool, gateway->port);
}

static void on_request(void *owner, struct http_exchange *exchange) {
    struct gateway *gateway = owner;
    gateway->counters.requests++;
    struct pool_function *function = gateway_function_of(gateway, exchange);
    if (!function)
        answer_unknown_host(exchange);
    else if (token_check(gateway, exchange, pool_function_spec(function)))
        request_start(gateway, exchange, function);
}

/* ---- published ports ---- */

static struct port *port_find(const struct gateway *gateway, uint16_t number) {
    LIST_EACH(node, &gateway->ports) {
        struct port *port = CONTAINER_OF(node, struct port, node);
        if (port->number == number) return port;
    }
    return NULL;
}

static struct error *listen_on(struct gateway *gateway, uint16_t number, void *tag) {
    char address[300];
    snprintf(address, sizeof address, "%s:%u", gateway->address, number);
    const struct http_listener listener = {.address = address, .tag = tag, .tls = gateway->tls};
    return http_server_listen_on(gateway->server, &listener, NULL);
}

/* Before an app is taken: opens the port and closes it again, so that one that another program has is told in
 * time. */
static struct error *publish_check(void *owner, uint16_t number) {
    struct gateway *gateway = owner;
    const struct port *port = port_find(gateway, number);
    if (!gateway->address || number == gateway->port || (port && !port->trouble)) return NULL;
    char probe; /* its address is a tag that nothing else has */
    TRY_PLAIN(listen_on(gateway, number, &probe));
    http_server_unlisten(gateway->server, &probe);
    return NULL;
}

static void port_open(struct gateway *gateway, struct port *port) {
    struct error *error = listen_on(gateway, port->number, port);
    free(port->trouble);
    port->trouble = error ? error_text(error) : NULL;
    if (error) log_warn("gateway", "published port: %s", port->trouble);
    error_free(error);
}

/* The tag of a listener is its port: requests at work on a port that goes still have it, so it is freed with
 * the gateway. */
static void on_publish_changed(void *owner) {
    struct gateway *gateway = owner;
    if (!gateway->address) return;
    LIST_EACH(node, &gateway->ports) CONTAINER_OF(node, struct port, node)->wanted = false;
    const struct pool_function *function;
    for (size_t i = 0; (function = pool_function_next(gateway->pool, &i));) {
        uint16_t number = pool_function_spec(function)->publish;
        if (number == 0 || number == gateway->port) continue;
        struct port *port = port_find(gateway, number);
        if (!port) {
            port = NEW(struct port);
            port->number = number;
            port->trouble = mem_string("closed");
            list_append(&gateway->ports, &port->node);
        }
        port->wanted = true;
    }
    LIST_EACH(node, &gateway->ports) {
        struct port *port = CONTAINER_OF(node, struct port, node);
        if (port->wanted && port->trouble) port_open(gateway, port);
        if (!port->wanted && !port->trouble) {
            http_server_unlisten(gateway->server, port);
            port->trouble = mem_string("closed");
        }
    }
}

const char *gateway_publish_trouble(const struct gateway *gateway, uint16_t number) {
    const struct port *port = port_find(gateway, number);
    return port && port->wanted ? port->trouble : NULL;
}

/* ---- life ---- */

struct gateway *gateway_new(const struct gateway_options *options) {
    struct gateway *gateway = NEW(struct gateway);
    gateway->loop = options->loop;
    gateway->pool = options->pool;
    gateway->tls = options->tls;
    gateway->token_good = options->token_good;
    gateway->token_owner = options->token_owner;
    gateway->body_bytes = options->body_bytes;
    gateway->keepalive_ms = options->keepalive_ms > 0 ? options->keepalive_ms : 15000;
    list_init(&gateway->ports);
    list_init(&gateway->requests);
    gateway->kept = table_new();
    gateway->server = http_server_new(&(struct http_server_options){
        .loop = options->loop, .limits = options->limits, .on_request = on_request, .owner = gateway});
    gateway->client =
        http_client_new(&(struct http_client_options){.loop = options->loop, .server = gateway->server});
    pool_on_publish_changed(options->pool, on_publish_changed, gateway);
    pool_on_publish_check(options->pool, publish_check, gateway);
    return gateway;
}

struct error *gateway_listen(struct gateway *gateway, const char *address) {
    const struct http_listener listener = {.address = address, .tls = gateway->tls};
    TRY_PLAIN(http_server_listen_on(gateway->server, &listener, &gateway->port));
    const char *colon = strrchr(address, ':');
    free(gateway->address);
    gateway->address = colon && !strchr(address, '/')
                           ? span_string((struct span){address, (size_t)(colon - address)})
                           : mem_string("127.0.0.1");
    on_publish_changed(gateway);
    return NULL;
}

void gateway_on_runner(struct gateway *gateway,
                       void (*request)(void *owner, struct http_exchange *exchange,
                                       struct pool_function *function),
                       void *owner) {
    gateway->runner = request;
    gateway->runner_owner = owner;
}

uint16_t gateway_port(const struct gateway *gateway) {
    return gateway->port;
}

static void on_closed(void *owner) {
    struct gateway *gateway = owner;
    if (gateway->closed) gateway->closed(gateway->closed_owner);
}

void gateway_close(struct gateway *gateway, void (*closed)(void *owner), void *owner) {
    gateway->closed = closed;
    gateway->closed_owner = owner;
    http_server_close(gateway->server, on_closed);
}

void gateway_free(struct gateway *gateway) {
    if (!gateway) return;
    pool_on_publish_changed(gateway->pool, NULL, NULL);
    pool_on_publish_check(gateway->pool, NULL, NULL);
    http_server_free(gateway->server); /* each client is gone now, and with it its request */
    upstream_free_kept(gateway);
    http_client_free(gateway->client);
    table_free(gateway->kept);
    LIST_EACH_SAFE(node, next, &gateway->ports) {
        struct port *port = CONTAINER_OF(node, struct port, node);
        free(port->trouble);
        free(port);
    }
    free(gateway->address);
    free(gateway);
}

void gateway_counters(const struct gateway *gateway, struct gateway_counters *ret_counters) {
    *ret_counters = gateway->counters;
    ret_counters->connections = http_server_connections(gateway->server);
}
