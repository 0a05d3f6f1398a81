/* Plain HTTP to a port of TLS. A person who typed a name gets to where it is served; a program that sends
 * something is told, since what it sent was open to everybody on the way. */
#include "server.h"

void answer_misplaced(struct http_exchange *exchange) {
    struct span method = http_exchange_method(exchange), host = http_exchange_host(exchange);
    bool reads = span_is(method, "GET") || span_is(method, "HEAD");
    const char *fields[6] = {"Content-Type", "text/plain; charset=utf-8"};
    if (reads && host.size > 0) {
        fields[2] = "Location";
        fields[3] = arena_printf(
            http_exchange_arena(exchange), "https://" SPAN_FORMAT SPAN_FORMAT "%s" SPAN_FORMAT,
            SPAN_ARGS(host), SPAN_ARGS(http_exchange_path(exchange)),
            http_exchange_query(exchange).size > 0 ? "?" : "", SPAN_ARGS(http_exchange_query(exchange)));
    }
    http_respond(exchange, fields[2] ? 308 : 400, fields,
                 SPAN("This port speaks HTTP under TLS (https), and not in the clear.\n"));
}
