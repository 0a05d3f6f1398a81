/* head: the first lines of a message, from bytes to spans. The bytes stay where they are; spans point into
 * them. */
#pragma once
#include "http.h"

#define HEAD_FIELDS_MAX 200

struct head_scan {  /* zero it for a new head; it goes on where more bytes arrive */
    size_t checked; /* bytes of whole lines */
    size_t lines;
};
enum head_state { HEAD_MORE, HEAD_WHOLE, HEAD_BROKEN };
/* Looks for the empty line. HEAD_WHOLE: `*ret_size` bytes with it. HEAD_BROKEN: `*ret_why`, static. */
enum head_state head_scan(struct head_scan *scan, struct span bytes, size_t *ret_size, const char **ret_why);

/* `fields` has room for `room` entries. `whole` is what head_scan found. The code of an error tells the
 * answer: INVALID_ARGUMENT 400, UNIMPLEMENTED 501, OUT_OF_RANGE 505, RESOURCE_EXHAUSTED 431. */
must_check struct error *head_parse_request(struct span whole, struct http_field *fields, size_t room,
                                            struct http_head *ret_head);
/* `method` of the request that it answers: HEAD means no body. */
must_check struct error *head_parse_answer(struct span whole, struct span method, struct http_field *fields,
                                           size_t room, struct http_head *ret_head);
/* Lines behind a chunked body, with the empty one. */
must_check struct error *head_parse_trailers(struct span whole, struct http_field *fields, size_t room,
                                             size_t *ret_count);
bool head_is_framing(
    struct span name); /* Content-Length, Transfer-Encoding, Connection, Keep-Alive: set by this room alone */
void head_add_field(struct text *out, struct span name, struct span value);
/* The host that is asked for: of an absolute target, else of Host. */
struct span head_host(const struct http_head *head);
