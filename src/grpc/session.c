/* nghttp2 and what it tells us: frames become calls, bytes of calls, and ends of calls. nghttp2 judges what
 * is well-formed HTTP/2 and HTTP; what is well-formed gRPC is judged in head.c and message.c.
 *
 * Any callback may find that the connection was cut by somebody whom an earlier one told something: then
 * nghttp2 is told to stop. It is never asked to send from in here; that waits for conn_settle. */
#include "inside.h"

#define STOP NGHTTP2_ERR_CALLBACK_FAILURE
/* A client may give up all of its calls at once and often: today's cancelled long polls are no attack. */
#define RESET_BURST 50000
#define RESETS_A_SECOND 5000

static bool over(const struct conn *conn) {
    return conn->line.closed || conn->state == CONN_LINGER;
}

static struct grpc_call *call_of(nghttp2_session *session, int32_t stream) {
    return nghttp2_session_get_stream_user_data(session, stream);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *owner) {
    struct conn *conn = owner;
    if (over(conn)) return STOP;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    int32_t stream = frame->hd.stream_id;
    if (conn->server->closing || conn->state == CONN_LEAVING) {
        /* Only now: Python's clients take GOAWAY as the end of all their calls, so that those which run are
         * left in peace as long as no other comes. This one was not looked at, and is asked again elsewhere.
         */
        conn_leave(conn);
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream, NGHTTP2_REFUSED_STREAM);
        return 0;
    }
    nghttp2_session_set_stream_user_data(session, stream, call_open(conn, stream));
    conn->last_stream = stream;
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags, void *owner) {
    (void)flags;
    if (over(owner)) return STOP;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    struct grpc_call *call = call_of(session, frame->hd.stream_id);
    if (call)
        head_field(call, (struct span){(const char *)name, name_size},
                   (struct span){(const char *)value, value_size});
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *owner) {
    struct conn *conn = owner;
    if (over(conn)) return STOP;
    if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK)) conn_greeted(conn);
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    struct grpc_call *call = call_of(session, frame->hd.stream_id);
    if (!call) return 0;
    call_ref(call);
    bool last = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        call->input_ended = last;
        head_complete(call);
    } else if (last) {
        call_input_ended(call);
    }
    call_unref(call);
    return over(conn) ? STOP : 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t size,
                   void *owner) {
    (void)flags;
    struct conn *conn = owner;
    if (over(conn)) return STOP;
    /* The connection's window is given back at once: a call that nobody reads must not hold up its
     * neighbours. Its own window is given back as it is read, and what all hold together is counted in the
     * server. */
    nghttp2_session_consume_connection(session, size);
    struct grpc_call *call = call_of(session, stream);
    if (!call) {
        nghttp2_session_consume_stream(session, stream, size);
        return 0;
    }
    call_ref(call);
    read_bytes(call, (struct span){(const char *)data, size});
    call_unref(call);
    return over(conn) ? STOP : 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t why, void *owner) {
    (void)why; /* whatever the client says, it means that nobody waits for the answer: grpclib cancels with
                  NO_ERROR */
    struct conn *conn = owner;
    if (conn->line.closed) return STOP;
    struct grpc_call *call = call_of(session, stream);
    if (!call) return 0;
    nghttp2_session_set_stream_user_data(session, stream, NULL);
    call_stream_closed(call, ERROR_CANCELLED);
    return over(conn) ? STOP : 0;
}

static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *owner) {
    struct conn *conn = owner;
    if (conn->line.closed) return STOP;
    bool last = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (!last || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)) return 0;
    struct grpc_call *call = call_of(session, frame->hd.stream_id);
    if (!call) return 0;
    call->all_sent = true;
    if (!call->input_ended) call_linger(call);
    return 0;
}

static int on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int why, void *owner) {
    struct conn *conn = owner;
    if (conn->line.closed) return STOP;
    if (frame->hd.type != NGHTTP2_HEADERS || !call_of(session, frame->hd.stream_id)) return 0;
    log_warn("grpc", "an answer's head could not be sent: %s", nghttp2_strerror(why)); /* fields of 64 KiB */
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_INTERNAL_ERROR);
    return 0;
}

static int send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t length,
                     nghttp2_data_source *source, void *owner) {
    (void)session;
    (void)frame;
    struct conn *conn = owner;
    if (conn->line.closed) return STOP;
    if (line_backlog(&conn->line) >= LINE_BACKLOG_BYTES) return NGHTTP2_ERR_WOULDBLOCK;
    answer_put(source->ptr, head, length);
    return 0;
}

nghttp2_session_callbacks *session_callbacks(void) {
    nghttp2_session_callbacks *callbacks;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) abort();
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_not_sent);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
    return callbacks;
}

nghttp2_option *session_option(const struct grpc_limits *limits) {
    nghttp2_option *option;
    if (nghttp2_option_new(&option) != 0) abort();
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
#ifdef HAVE_NGHTTP2_OPTION_SET_STREAM_RESET_RATE_LIMIT
    nghttp2_option_set_stream_reset_rate_limit(option, RESET_BURST, RESETS_A_SECOND);
#endif
#ifdef HAVE_NGHTTP2_OPTION_SET_MAX_CONTINUATIONS
    nghttp2_option_set_max_continuations(option, 8 + limits->metadata_bytes / 16384);
#endif
    (void)limits;
    return option;
}

struct error *session_open(struct conn *conn) {
    const struct grpc_server *server = conn->server;
    const struct grpc_limits *limits = &server->limits;
    if (nghttp2_session_server_new2(&conn->session, server->callbacks, conn, server->option) != 0)
        return error_new(ERROR_RESOURCE_EXHAUSTED, "no memory for a connection");
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits->calls},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits->window_bytes},
        {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, FRAME_BYTES},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)limits->metadata_bytes},
    };
    nghttp2_session *session = conn->session;
    int failed = nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, COUNT(settings));
    int32_t window = limits->window_bytes > NGHTTP2_INITIAL_CONNECTION_WINDOW_SIZE
                         ? (int32_t)limits->window_bytes
                         : NGHTTP2_INITIAL_CONNECTION_WINDOW_SIZE;
    if (!failed) failed = nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, window);
    return failed ? error_new(ERROR_INTERNAL, "HTTP/2: %s", nghttp2_strerror(failed)) : NULL;
}
