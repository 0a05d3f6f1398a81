/* The two pages that a person may see: an app that wakes, and one that can't. Small, without scripts from
 * elsewhere, light or dark as the browser wishes. The first reloads itself: at once when a request of its
 * own, held like any other, comes back; after two seconds otherwise, to show the stage. */
#include "inside.h"

static const char style[] =
    "<style>:root{color-scheme:light "
    "dark;--fg:#1d2026;--bg:#fbfaf8;--dim:#6b7280;--line:#e5e2dc;--hi:#c2672b}"
    "@media(prefers-color-scheme:dark){:root{--fg:#e8e6e3;--bg:#16181c;--dim:#9096a1;--line:#2c2f36;--hi:#"
    "e8935a}}"
    "*{box-sizing:border-box}body{margin:0;min-height:100vh;display:grid;place-items:center;background:var(--"
    "bg);"
    "color:var(--fg);font:16px/1.5 system-ui,sans-serif}main{width:min(30rem,90vw);padding:2rem 0}"
    "h1{font-size:1.5rem;font-weight:600;margin:0 0 .25rem}p{margin:.25rem 0;color:var(--dim)}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;border:1px solid "
    "var(--line);border-radius:.5rem;padding:1rem;"
    "font-size:.85rem}.bar{height:6px;border-radius:3px;background:var(--line);overflow:hidden;margin:1.5rem "
    "0 .75rem}"
    ".bar i{display:block;height:100%;border-radius:3px;background:var(--hi);transform-origin:left}"
    "@keyframes fill{to{transform:scaleX(.97)}}"
    "@keyframes run{from{transform:translateX(-100%)}to{transform:translateX(350%)}}"
    "@media(prefers-reduced-motion:reduce){.bar i{animation-duration:0s!important}}</style>";

static void add_html(struct text *page, const char *string) {
    for (; *string; string++) {
        switch (*string) {
        case '<': text_add_string(page, "&lt;"); break;
        case '>': text_add_string(page, "&gt;"); break;
        case '&': text_add_string(page, "&amp;"); break;
        case '"': text_add_string(page, "&quot;"); break;
        default: text_add_char(page, *string);
        }
    }
}

static void begin(struct text *page, const char *title, const char *more_head) {
    text_add_string(page, "<!doctype html><html lang=en><meta charset=utf-8>"
                          "<meta name=viewport content=\"width=device-width\"><title>");
    add_html(page, title);
    text_add_string(page, "</title>");
    text_add_string(page, more_head);
    text_add_string(page, style);
    text_add_string(page, "<main role=status>");
}

/* The bar fills in the time that wakes took so far; where none is known it runs to and fro. */
static void add_bar(struct text *page, int64_t estimate_ms, int64_t gone_ms) {
    if (estimate_ms <= 0) {
        text_add_string(
            page, "<div class=bar><i style=\"width:30%;animation:run 1.6s ease-in-out infinite\"></i></div>");
        return;
    }
    double share = gone_ms < estimate_ms ? (double)gone_ms / (double)estimate_ms : 0.95;
    int64_t left_ms = estimate_ms > gone_ms ? estimate_ms - gone_ms : 200;
    text_printf(
        page,
        "<div class=bar><i style=\"transform:scaleX(%.3f);animation:fill %lldms linear forwards\"></i></div>",
        share, (long long)left_ms);
}

char *page_waking(const struct core_function *function, const struct pool_function_view *view) {
    struct text page = {0};
    scoped_string char *title = mem_printf("%s is waking up", function->app);
    begin(&page, title, "<noscript><meta http-equiv=refresh content=2></noscript>");
    text_add_string(&page, "<h1>");
    add_html(&page, title);
    text_add_string(&page, "</h1>");
    add_bar(&page, view->estimate_ms, view->starting_for_ms);
    text_add_string(&page, "<p>Stage: ");
    add_html(&page, view->stage ? view->stage : "starting");
    text_add_string(&page, "</p><p>");
    if (view->estimate_ms > 0) {
        text_printf(&page, "It usually takes %.1f s", (double)view->estimate_ms / 1000.0);
    } else {
        text_add_string(&page, "How long it takes is not known yet");
    }
    if (view->starting_for_ms > 0)
        text_printf(&page, "; %.1f s have passed", (double)view->starting_for_ms / 1000.0);
    text_add_string(
        &page, ".</p><p>It slept because nobody used it. This page goes on by itself.</p></main>"
               "<script>const again=()=>location.reload();setTimeout(again,2000);"
               "fetch(location.href,{method:'HEAD',cache:'no-store'}).then(again,()=>{})</script></html>\n");
    return text_take(&page);
}

char *page_refusal(const struct refusal *refusal) {
    struct text page = {0};
    scoped_string char *title = mem_printf("%d %s", refusal->status, http_status_text(refusal->status));
    begin(&page, title, "");
    text_add_string(&page, "<h1>");
    add_html(&page, title);
    text_add_string(&page, "</h1><pre>");
    add_html(&page, refusal->text);
    text_add_string(&page, "</pre>");
    if (refusal->retry_ms > 0)
        text_printf(&page, "<p>Worth another try in %lld s.</p>",
                    (long long)(refusal->retry_ms + 999) / 1000);
    text_add_string(&page, "</main></html>\n");
    return text_take(&page);
}
