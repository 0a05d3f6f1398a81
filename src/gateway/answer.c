/* What the gateway itself answers: as JSON, as a line of text or as a page, by Accept. */
#include "inside.h"

#include <stdio.h>

static const char *accept_of(const struct http_exchange *exchange, char *text, size_t size) {
    struct span accept = http_exchange_header(exchange, "accept");
    snprintf(text, size, SPAN_FORMAT, SPAN_ARGS(accept));
    return text;
}

bool answer_is_navigation(const struct http_exchange *exchange) {
    struct span mode = http_exchange_header(exchange, "sec-fetch-mode");
    if (!mode.data || !span_is_nocase(mode, "navigate")) return false;
    char accept[512];
    return strstr(accept_of(exchange, accept, sizeof accept), "text/html") != NULL;
}

void answer_refusal(struct http_exchange *exchange, const struct refusal *refusal) {
    char accept[512], retry[24];
    accept_of(exchange, accept, sizeof accept);
    const char *fields[8] = {"Content-Type", "application/json", "Cache-Control", "no-store"};
    if (refusal->retry_ms > 0) {
        snprintf(retry, sizeof retry, "%lld", (long long)(refusal->retry_ms + 999) / 1000);
        fields[4] = "Retry-After";
        fields[5] = retry;
    } else if (refusal->status == 401) {
        fields[4] = "WWW-Authenticate";
        fields[5] = "Bearer";
    }
    if (strstr(accept, "text/html")) {
        fields[1] = "text/html; charset=utf-8";
        scoped_string char *page = page_refusal(refusal);
        http_respond(exchange, refusal->status, fields, span_of(page));
        return;
    }
    scoped_text struct text body = {0};
    if (strstr(accept, "text/plain") && !strstr(accept, "json")) {
        fields[1] = "text/plain; charset=utf-8";
        text_add_string(&body, refusal->text);
        text_add_char(&body, '\n');
    } else {
        text_add_string(&body, "{\"error\":");
        text_add_json(&body, span_of(refusal->text));
        text_printf(&body, ",\"code\":\"%s\",\"reason\":\"%s\"", refusal->code, refusal->reason);
        if (refusal->retry_ms > 0)
            text_printf(&body, ",\"retry_after_ms\":%lld", (long long)refusal->retry_ms);
        text_add_string(&body, "}\n");
    }
    http_respond(exchange, refusal->status, fields, text_span(&body));
}

struct refusal answer_of_pool(const struct pool_refusal *told) {
    struct refusal refusal = {503, "UNAVAILABLE", "UNKNOWN", told->text, told->retry_ms};
    switch (told->reason) {
    case NAP_REASON_QUEUE_FULL:
        refusal.code = "RESOURCE_EXHAUSTED";
        refusal.reason = "QUEUE_FULL";
        if (refusal.retry_ms <= 0) refusal.retry_ms = 1000;
        break;
    case NAP_REASON_START_FAILED: refusal.reason = "START_FAILED"; break;
    case NAP_REASON_BACKOFF: refusal.reason = "BACKOFF"; break;
    case NAP_REASON_STOPPED: refusal.reason = "STOPPED"; break;
    case NAP_REASON_BUSY_GROUP: refusal.reason = "BUSY_GROUP"; break;
    case NAP_REASON_START_TIMEOUT:
    case NAP_REASON_WAITED_TOO_LONG:
    case NAP_REASON_TIMEOUT:
        refusal.status = 504;
        refusal.code = "DEADLINE_EXCEEDED";
        refusal.reason = told->reason == NAP_REASON_START_TIMEOUT ? "START_TIMEOUT"
                         : told->reason == NAP_REASON_TIMEOUT     ? "TIMEOUT"
                                                                  : "WAITED_TOO_LONG";
        break;
    case NAP_REASON_REMOVED:
        refusal.status = 404;
        refusal.code = "NOT_FOUND";
        refusal.reason = "REMOVED";
        break;
    case NAP_REASON_CONTAINER_DIED:
        refusal.status = 502;
        refusal.reason = "CONTAINER_DIED";
        break;
    case NAP_REASON_NONE: break;
    }
    return refusal;
}

/* Tells nothing that the client did not say itself: names of apps are nobody's business. */
void answer_unknown_host(struct http_exchange *exchange) {
    struct span host = http_exchange_host(exchange);
    scoped_text struct text text = {0};
    text_printf(&text,
                "no app is called '" SPAN_FORMAT
                "' here. `catnap ps` lists apps with their URLs; a host name is USER--APP-FUNCTION "
                "or a label of its own, before any domain that leads here",
                SPAN_ARGS(host));
    answer_refusal(exchange, &(struct refusal){404, "NOT_FOUND", "UNKNOWN_HOST", text.data, 0});
}
