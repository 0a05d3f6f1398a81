/* One request, whole answer: a link, a deadline and, for host names, a lookup on another thread. `done` comes
 * exactly once, from the loop, unless the ask is freed before; a lookup that is under way then ends alone. */
#include "http.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#define BODY_LIMIT_BYTES (64ull * 1024 * 1024)

struct lookup { /* lives until its work is done, whoever is still interested */
    struct io_work work;
    struct http_ask *ask;
    char host[256];
    uint16_t port;
    struct sockaddr_storage address;
    socklen_t address_size;
};
struct http_ask {
    struct http_ask_options options;
    char *address, *method, *target;
    struct http_field fields[64];
    size_t field_count;
    struct text strings; /* what the fields point into */
    struct io_timer *deadline, *at_once;
    struct http_client *client;
    struct http_link *link;
    struct lookup *lookup;
    struct text body;
    int status;
    struct error *error; /* to be told at once */
};

static void tell(struct http_ask *ask, struct error *error) {
    struct http_answer answer = {
        .status = ask->status, .body = error ? (struct span){0} : text_span(&ask->body), .error = error};
    void (*done)(void *, struct http_answer *) = ask->options.done;
    http_link_free(take(ask->link));
    io_timer_stop(ask->deadline);
    done(ask->options.owner, &answer);
    http_ask_free(ask);
}

static void on_deadline(void *owner) {
    struct http_ask *ask = owner;
    tell(ask, error_new(ERROR_DEADLINE_EXCEEDED, "%s gave no whole answer within %lld ms", ask->address,
                        (long long)ask->options.timeout_ms));
}

static void on_at_once(void *owner) {
    struct http_ask *ask = owner;
    tell(ask, take(ask->error));
}

static void fail(struct http_ask *ask, struct error *error) {
    ask->error = error;
    io_timer_arm(ask->at_once, 0);
}

static void on_head(void *owner, struct http_link *link, const struct http_head *head) {
    (void)link;
    ((struct http_ask *)owner)->status = head->status;
}

static void on_data(void *owner, struct http_link *link, struct span bytes) {
    (void)link;
    struct http_ask *ask = owner;
    if (ask->options.data) {
        ask->options.data(ask->options.owner, bytes);
    } else if (bytes.size > ask->options.body_limit_bytes - ask->body.size) {
        tell(ask, error_new(ERROR_RESOURCE_EXHAUSTED, "the answer of %s is longer than %zu bytes",
                            ask->address, ask->options.body_limit_bytes));
    } else {
        text_add(&ask->body, bytes);
    }
}

static void on_end(void *owner, struct http_link *link, struct error *error) {
    (void)link;
    struct http_ask *ask = owner;
    tell(ask, error ? error_wrap(error, "ask %s", ask->address) : NULL);
}

static void on_lost(void *owner, struct http_link *link) {
    (void)owner;
    (void)link; /* between requests there is no ask */
}

static const struct http_link_events events = {
    .head = on_head, .data = on_data, .end = on_end, .lost = on_lost};

static struct error *reach(struct http_ask *ask, const struct sockaddr_storage *address, socklen_t size) {
    scoped_fd int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return error_errno(errno, "socket");
    if (connect(fd, (const struct sockaddr *)address, size) != 0 && errno != EINPROGRESS)
        return error_errno(errno, "connect to %s", ask->address);
    TRY_PLAIN(http_link_new(ask->client, take_fd(&fd), &events, &ask->link));
    http_link_owner_set(ask->link, ask);
    const struct http_head head = {.method = span_of(ask->method),
                                   .target = span_of(ask->target),
                                   .fields = ask->fields,
                                   .field_count = ask->field_count,
                                   .length_bytes = (int64_t)ask->options.body.size};
    http_link_request(ask->link, &head);
    http_link_write(ask->link, ask->options.body);
    http_link_finish(ask->link, NULL, 0);
    return NULL;
}

static void look_up(struct io_work *work) {
    struct lookup *lookup = CONTAINER_OF(work, struct lookup, work);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int failed = getaddrinfo(lookup->host, NULL, &hints, &found);
    if (failed) {
        work->error = error_new(ERROR_NOT_FOUND, "look up %s: %s", lookup->host, gai_strerror(failed));
        return;
    }
    memcpy(&lookup->address, found->ai_addr, found->ai_addrlen);
    lookup->address_size = found->ai_addrlen;
    freeaddrinfo(found);
    struct sockaddr_in *four = (struct sockaddr_in *)&lookup->address;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&lookup->address;
    if (lookup->address.ss_family == AF_INET) four->sin_port = htons(lookup->port);
    if (lookup->address.ss_family == AF_INET6) six->sin6_port = htons(lookup->port);
}

static void on_looked_up(struct io_work *work) {
    struct lookup *lookup = CONTAINER_OF(work, struct lookup, work);
    struct http_ask *ask = lookup->ask;
    struct error *error = take(work->error);
    if (ask) {
        ask->lookup = NULL;
        if (!error) error = reach(ask, &lookup->address, lookup->address_size);
        if (error) tell(ask, error);
    } else {
        error_free(error);
    }
    free(lookup);
}

static struct error *begin(struct http_ask *ask) {
    struct sockaddr_storage address;
    socklen_t size;
    struct error *error = io_address_parse(ask->address, &address, &size);
    if (!error) return reach(ask, &address, size);
    if (error->code != ERROR_NOT_FOUND) return error;
    error_free(error);
    struct lookup *lookup = NEW(struct lookup);
    io_address_split(ask->address, lookup->host, sizeof lookup->host, &lookup->port);
    lookup->ask = ask;
    lookup->work.work = look_up;
    lookup->work.done = on_looked_up;
    ask->lookup = lookup;
    io_work_start(ask->options.loop, &lookup->work);
    return NULL;
}

/* Names and values are copied: the request may be sent after a lookup. */
static void copy_fields(struct http_ask *ask, const char *const *fields) {
    bool has_host = false;
    size_t ends[2 * COUNT(ask->fields)], count = 0;
    for (; fields && fields[0] && count + 2 < COUNT(ends) - 2; fields += 2) {
        has_host |= span_is_nocase(span_of(fields[0]), "host");
        text_add_string(&ask->strings, fields[0]);
        ends[count++] = ask->strings.size;
        text_add_string(&ask->strings, fields[1]);
        ends[count++] = ask->strings.size;
    }
    if (!has_host) {
        text_add_string(&ask->strings, "Host");
        ends[count++] = ask->strings.size;
        text_add_string(&ask->strings, strchr(ask->address, '/') ? "localhost" : ask->address);
        ends[count++] = ask->strings.size;
    }
    size_t start = 0;
    for (size_t i = 0; i < count; i++) {
        struct span part = {ask->strings.data + start, ends[i] - start};
        *(i % 2 == 0 ? &ask->fields[i / 2].name : &ask->fields[i / 2].value) = part;
        start = ends[i];
    }
    ask->field_count = count / 2;
}

struct http_ask *http_ask_start(const struct http_ask_options *options) {
    struct http_ask *ask = NEW(struct http_ask);
    ask->options = *options;
    if (ask->options.body_limit_bytes == 0) ask->options.body_limit_bytes = BODY_LIMIT_BYTES;
    ask->address = span_string(span_of(options->address));
    ask->method = span_string(span_of(options->method ? options->method : "GET"));
    ask->target = span_string(span_of(options->target));
    copy_fields(ask, options->fields);
    ask->deadline = io_timer_new(options->loop, on_deadline, ask);
    ask->at_once = io_timer_new(options->loop, on_at_once, ask);
    ask->client = http_client_new(&(struct http_client_options){.loop = options->loop});
    if (options->timeout_ms > 0) io_timer_arm(ask->deadline, options->timeout_ms);
    struct error *error = begin(ask);
    if (error) fail(ask, error);
    return ask;
}

int http_ask_status(const struct http_ask *ask) {
    return ask->status;
}

void http_ask_free(struct http_ask *ask) {
    if (!ask) return;
    if (ask->lookup) ask->lookup->ask = NULL;
    http_link_free(ask->link);
    http_client_free(ask->client);
    io_timer_free(ask->deadline);
    io_timer_free(ask->at_once);
    error_free(ask->error);
    text_done(&ask->body);
    text_done(&ask->strings);
    free(ask->address);
    free(ask->method);
    free(ask->target);
    free(ask);
}
