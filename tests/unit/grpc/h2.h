/* A raw client of HTTP/2 in the loop of the test: writes frames as a test wants them, well-formed or not,
 * reads what comes and keeps it by stream. Waiting runs the loop until something has come; in vain, it fails
 * after ten seconds and shows what came. */
#pragma once
#include "grpc.h"
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <sys/socket.h>

#define STREAMS 64

struct h2 {
    struct io_loop *loop;
    struct io_watch *watch;
    struct io_timer *deadline;
    int fd;
    struct text raw; /* not parsed yet */
    struct text
        story; /* what came, a line each: "HEADERS 1 end", "name: value", "DATA 1 5", "GOAWAY 0 last 1" */
    struct text data[STREAMS]; /* of stream 2 i + 1 */
    nghttp2_hd_inflater *inflater;
    const char *needle;
    bool closed, late;
};

static inline uint32_t h2_u32(const char *at) {
    const unsigned char *b = (const unsigned char *)at;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static inline void h2_tell_fields(struct h2 *h2, struct span block, bool last) {
    while (block.size > 0) {
        nghttp2_nv field;
        int flags = 0;
        ssize_t used = nghttp2_hd_inflate_hd2(h2->inflater, &field, &flags, (const uint8_t *)block.data,
                                              block.size, last);
        assert_true(used >= 0);
        block.data += used;
        block.size -= (size_t)used;
        if (flags & NGHTTP2_HD_INFLATE_EMIT)
            text_printf(&h2->story, "%.*s: %.*s\n", (int)field.namelen, (char *)field.name,
                        (int)field.valuelen, (char *)field.value);
        if (flags & NGHTTP2_HD_INFLATE_FINAL) nghttp2_hd_inflate_end_headers(h2->inflater);
    }
}

static inline void h2_tell(struct h2 *h2, int type, int flags, uint32_t stream, struct span payload) {
    bool ack = flags & 1;
    switch (type) {
    case NGHTTP2_DATA:
        text_printf(&h2->story, "DATA %u %zu%s\n", stream, payload.size, flags & 1 ? " end" : "");
        if (stream / 2 < STREAMS) text_add(&h2->data[stream / 2], payload);
        break;
    case NGHTTP2_HEADERS:
        text_printf(&h2->story, "HEADERS %u%s\n", stream, flags & 1 ? " end" : "");
        h2_tell_fields(h2, payload, flags & 4);
        break;
    case NGHTTP2_RST_STREAM:
        text_printf(&h2->story, "RST_STREAM %u code %u\n", stream, h2_u32(payload.data));
        break;
    case NGHTTP2_SETTINGS: text_printf(&h2->story, "SETTINGS%s\n", ack ? " ack" : ""); break;
    case NGHTTP2_PING: text_printf(&h2->story, "PING%s\n", ack ? " ack" : ""); break;
    case NGHTTP2_GOAWAY:
        text_printf(&h2->story, "GOAWAY last %u code %u\n", h2_u32(payload.data), h2_u32(payload.data + 4));
        break;
    case NGHTTP2_WINDOW_UPDATE:
        text_printf(&h2->story, "WINDOW_UPDATE %u %u\n", stream, h2_u32(payload.data));
        break;
    default: text_printf(&h2->story, "FRAME %d\n", type);
    }
}

static inline void h2_parse(struct h2 *h2) {
    while (h2->raw.size >= 9) {
        size_t size = h2_u32(h2->raw.data) >> 8;
        if (h2->raw.size < size + 9) return;
        h2_tell(h2, (unsigned char)h2->raw.data[3], (unsigned char)h2->raw.data[4], h2_u32(h2->raw.data + 5),
                (struct span){h2->raw.data + 9, size});
        text_remove_front(&h2->raw, size + 9);
    }
}

static inline bool h2_has(const struct h2 *h2, const char *needle) {
    return h2->story.size > 0 && strstr(h2->story.data, needle);
}

static inline void h2_ready(void *owner, unsigned events) {
    (void)events;
    struct h2 *h2 = owner;
    char bytes[65536];
    ssize_t size = read(h2->fd, bytes, sizeof bytes);
    if (size > 0) text_add(&h2->raw, (struct span){bytes, (size_t)size});
    if (size == 0 || (size < 0 && errno != EAGAIN)) {
        h2->closed = true;
        io_watch_set(h2->watch, 0);
    }
    h2_parse(h2);
    if (h2->closed || (h2->needle && h2_has(h2, h2->needle))) io_loop_stop(h2->loop);
}

static inline void h2_late(void *owner) {
    struct h2 *h2 = owner;
    h2->late = true;
    io_loop_stop(h2->loop);
}

static inline void h2_connect(struct h2 *h2, struct io_loop *loop, uint16_t port) {
    *h2 = (struct h2){.loop = loop};
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    h2->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(h2->fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_ok(io_watch_new(loop, h2->fd, IO_READABLE, h2_ready, h2, &h2->watch));
    h2->deadline = io_timer_new(loop, h2_late, h2);
    nghttp2_hd_inflate_new(&h2->inflater);
}

static inline void h2_send(struct h2 *h2, struct span bytes) {
    while (bytes.size > 0) {
        ssize_t sent = send(h2->fd, bytes.data, bytes.size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN) { /* the server reads in the same loop: let it */
            struct io_timer *soon = io_timer_new(h2->loop, h2_late, h2);
            io_timer_arm(soon, 1);
            io_loop_run(h2->loop);
            io_timer_free(soon);
            h2->late = false;
            continue;
        }
        if (sent < 0) return; /* refused in the middle: what comes tells */
        bytes.data += sent;
        bytes.size -= (size_t)sent;
    }
}

static inline void h2_add_frame(struct text *out, int type, int flags, uint32_t stream, struct span payload) {
    const char head[9] = {
        (char)(payload.size >> 16), (char)(payload.size >> 8), (char)payload.size,  (char)type,  (char)flags,
        (char)(stream >> 24),       (char)(stream >> 16),      (char)(stream >> 8), (char)stream};
    text_add(out, (struct span){head, 9});
    text_add(out, payload);
}

static inline void h2_frame(struct h2 *h2, int type, int flags, uint32_t stream, struct span payload) {
    scoped_text struct text out = {0};
    h2_add_frame(&out, type, flags, stream, payload);
    h2_send(h2, text_span(&out));
}

/* "name: value\n" lines as a block of literal fields: RFC 7541, 6.2.2 */
static inline void h2_add_block(struct text *out, const char *fields) {
    struct span rest = span_of(fields);
    while (rest.size > 0) {
        struct span line = span_cut(&rest, '\n');
        const char *colon =
            memchr(line.data + 1, ':', line.size - 1); /* that of a pseudo field comes first */
        struct span parts[2] = {{line.data, (size_t)(colon - line.data)}};
        parts[1] = span_trim((struct span){colon + 1, line.size - parts[0].size - 1});
        text_add_char(out, 0);
        for (int i = 0; i < 2; i++) {
            size_t rest_size = parts[i].size; /* an integer with a prefix of seven bits: RFC 7541, 5.1 */
            text_add_char(out, (char)(rest_size < 127 ? rest_size : 127));
            bool long_one = rest_size >= 127;
            for (rest_size -= long_one ? 127 : 0; long_one && rest_size >= 128; rest_size /= 128)
                text_add_char(out, (char)(rest_size % 128 + 128));
            if (long_one) text_add_char(out, (char)rest_size);
            text_add(out, parts[i]);
        }
    }
}

static inline void h2_hello(struct h2 *h2, struct span settings) {
    h2_send(h2, SPAN(NGHTTP2_CLIENT_MAGIC));
    h2_frame(h2, NGHTTP2_SETTINGS, 0, 0, settings);
}

#define H2_POST(METHOD)                                       \
    ":method: POST\n:scheme: http\n:path: /test.Test/" METHOD \
    "\n:authority: here\ncontent-type: application/grpc\n"

static inline void h2_head(struct h2 *h2, uint32_t stream, const char *fields, bool last) {
    scoped_text struct text block = {0};
    h2_add_block(&block, fields);
    h2_frame(h2, NGHTTP2_HEADERS, last ? 5 : 4, stream, text_span(&block));
}

/* A message behind its five bytes, as one DATA frame. */
static inline void h2_message(struct h2 *h2, uint32_t stream, struct span message, bool last) {
    scoped_text struct text out = {0};
    const char prefix[5] = {0, (char)(message.size >> 24), (char)(message.size >> 16),
                            (char)(message.size >> 8), (char)message.size};
    text_add(&out, (struct span){prefix, 5});
    text_add(&out, message);
    h2_frame(h2, NGHTTP2_DATA, last, stream, text_span(&out));
}

/* Runs the loop until `needle` (NULL: the end) is in the story. */
static inline void h2_wait(struct h2 *h2, const char *needle) {
    h2->needle = needle;
    if (h2->closed || (needle && h2_has(h2, needle))) {
        if (needle && !h2_has(h2, needle)) fail_msg("'%s' never came: %s", needle, h2->story.data);
        return;
    }
    io_timer_arm(h2->deadline, 10000);
    do { /* others may stop the loop too */
        io_loop_run(h2->loop);
    } while (!h2->late && !h2->closed && !(needle && h2_has(h2, needle)));
    io_timer_stop(h2->deadline);
    if (h2->late || (needle && !h2_has(h2, needle)))
        fail_msg("waited for '%s', got '%s'", needle ? needle : "(end)",
                 h2->story.data ? h2->story.data : "");
}

static inline void h2_close(struct h2 *h2) {
    io_watch_free(h2->watch);
    io_timer_free(h2->deadline);
    close(h2->fd);
    nghttp2_hd_inflate_del(h2->inflater);
    text_done(&h2->raw);
    text_done(&h2->story);
    for (int i = 0; i < STREAMS; i++) text_done(&h2->data[i]);
}
