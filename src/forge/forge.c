/* The list call, page after page, with libcurl.
 *
 * Redirects are not followed: the token would go along to wherever they lead. Sizes and numbers are bounded,
 * and a silence has an end. */
#include "forge.h"

#include <curl/curl.h>
#include <stdlib.h>

#define CONNECT_TIMEOUT_S 15L
#define SILENCE_S 30L
#define PAGE_REPOSITORIES 100
#define PAGE_BYTES_MAX (16u << 20)
#define PAGES_MAX 500
#define FAULT_BYTES_MAX 200 /* of the server's own words */

struct call {
    const struct forge *forge;
    CURL *easy;
    char *base; /* without slashes at its end */
    struct text body;
    bool goes_on, too_long;
    char said[CURL_ERROR_SIZE];
};

static const char *name_of(const struct forge *forge) {
    return forge->kind == FORGE_GITHUB ? "GitHub" : "GitLab";
}

/* ---- libcurl's questions ---- */

static size_t on_body(char *data, size_t size, size_t count, void *owner) {
    struct call *call = owner;
    call->too_long = call->body.size + size * count > PAGE_BYTES_MAX;
    if (call->too_long) return CURL_WRITEFUNC_ERROR;
    text_add(&call->body, (struct span){data, size * count});
    return size * count;
}

static size_t on_field(char *data, size_t size, size_t count, void *owner) {
    struct call *call = owner;
    struct span value = {data, size * count}, name = span_cut(&value, ':');
    if (!value.data) return size * count;
    value = span_trim(value);
    if (span_is_nocase(name, "link")) call->goes_on |= forge_link_goes_on(value);
    if (span_is_nocase(name, "x-next-page")) call->goes_on |= value.size > 0;
    return size * count;
}

static int on_progress(void *owner, curl_off_t total, curl_off_t now, curl_off_t up_total,
                       curl_off_t up_now) {
    const struct call *call = owner;
    (void)total, (void)now, (void)up_total, (void)up_now;
    return call->forge->cancelled(call->forge->owner);
}

/* ---- one page ---- */

/* {"message"} of GitHub, {"message"} or {"error"} of GitLab; owned. */
static char *own_words(const struct call *call) {
    struct span body = span_trim(text_span(&call->body));
    scoped_json json_t *root = json_loadb(body.data ? body.data : "", body.size, 0, NULL);
    const char *words = json_string_value(json_object_get(root, "message"));
    if (!words) words = json_string_value(json_object_get(root, "error"));
    if (!words) return mem_string("no reason is told");
    return mem_printf("%.*s", FAULT_BYTES_MAX, words);
}

static struct error *refusal(const struct call *call, long status) {
    const char *name = name_of(call->forge);
    scoped_string char *words = own_words(call);
    if (status == 401)
        return error_new(ERROR_UNAUTHENTICATED, "%s refuses the access token (401): %s", name, words);
    if (status == 403 || status == 429)
        return error_new(
            status == 429 ? ERROR_RESOURCE_EXHAUSTED : ERROR_PERMISSION_DENIED,
            "%s refuses to list repositories (%ld): %s; the token must be allowed to read them, and "
            "not be used too often",
            name, status, words);
    if (status == 404)
        return error_new(ERROR_NOT_FOUND, "there is no list of repositories at %s (404); %s", call->base,
                         call->forge->kind == FORGE_GITHUB
                             ? "the API base of GitHub Enterprise ends in /api/v3"
                             : "the API base of GitLab is its address");
    if (status >= 300 && status < 400)
        return error_new(ERROR_UNAVAILABLE,
                         "%s points elsewhere (%ld): give the API base as it is, with https", call->base,
                         status);
    return error_new(ERROR_UNAVAILABLE, "%s answered %ld: %s", call->base, status, words);
}

static struct error *fetch(struct call *call, unsigned page) {
    const struct forge *forge = call->forge;
    scoped_string char *url = mem_printf("%s%s&per_page=%d&page=%u", call->base,
                                         forge->kind == FORGE_GITHUB ? "/user/repos?visibility=all"
                                                                     : "/api/v4/projects?membership=true",
                                         PAGE_REPOSITORIES, page);
    long status = 0;
    text_clear(&call->body);
    call->goes_on = false;
    curl_easy_setopt(call->easy, CURLOPT_URL, url);
    CURLcode code = curl_easy_perform(call->easy);
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    if (call->too_long)
        return error_new(ERROR_RESOURCE_EXHAUSTED, "%s answers with more than %u bytes", call->base,
                         PAGE_BYTES_MAX);
    if (code == CURLE_ABORTED_BY_CALLBACK) return error_new(ERROR_ABORTED, "the server ends");
    if (code != CURLE_OK)
        return error_new(ERROR_UNAVAILABLE, "%s cannot be reached: %s", call->base,
                         call->said[0] ? call->said : curl_easy_strerror(code));
    return status == 200 ? NULL : refusal(call, status);
}

static struct error *fetch_all(struct call *call, json_t *list) {
    for (unsigned page = 1; page <= PAGES_MAX; page++) {
        TRY_PLAIN(fetch(call, page));
        TRY(forge_page(call->forge->kind, text_span(&call->body), list), "%s", call->base);
        if (!call->goes_on) return NULL;
    }
    return error_new(ERROR_RESOURCE_EXHAUSTED, "%s lists more than %d pages of repositories", call->base,
                     PAGES_MAX);
}

/* ---- all ---- */

static char *base_of(const struct forge *forge) {
    const char *usual = forge->kind == FORGE_GITHUB ? "https://api.github.com" : "https://gitlab.com";
    struct span base = span_of(forge->api_base ? forge->api_base : usual);
    while (base.size > 0 && base.data[base.size - 1] == '/') base.size--;
    if (forge->kind == FORGE_GITLAB && span_ends(base, "/api/v4")) base.size -= sizeof "/api/v4" - 1;
    return span_string(base);
}

struct error *forge_list(const struct forge *forge, json_t **ret_list) {
    scoped_json json_t *list = json_array();
    struct call call = {.forge = forge};
    curl_global_init(CURL_GLOBAL_DEFAULT); /* counts */
    CURL *easy = call.easy = curl_easy_init();
    if (!easy) return error_new(ERROR_INTERNAL, "libcurl can't be used");
    call.base = base_of(forge);
    scoped_string char *authorization = mem_printf("Authorization: Bearer %s", forge->token);
    struct curl_slist *fields = curl_slist_append(NULL, authorization);
    fields = curl_slist_append(fields, forge->kind == FORGE_GITHUB ? "Accept: application/vnd.github+json"
                                                                   : "Accept: application/json");
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, fields);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "copycat");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, SILENCE_S);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call.said);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &call);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_field);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, &call);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(easy, CURLOPT_XFERINFODATA, &call);
    struct error *error = fetch_all(&call, list);
    curl_easy_cleanup(easy);
    curl_slist_free_all(fields);
    text_done(&call.body);
    free(call.base);
    if (!error) *ret_list = json_incref(list);
    return error;
}

char *forge_clone_url(enum forge_kind kind, const char *git_url, const char *token) {
    const char *host = strstr(git_url, "://");
    char *escaped = curl_easy_escape(NULL, token, 0);
    if (!host || !escaped) return mem_string(git_url);
    char *url = mem_printf("%.*s%s:%s@%s", (int)(host + 3 - git_url), git_url,
                           kind == FORGE_GITHUB ? "x-access-token" : "oauth2", escaped, host + 3);
    curl_free(escaped);
    return url;
}
