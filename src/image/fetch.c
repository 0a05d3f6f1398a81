/* A file from the network by libcurl, which knows proxies and certificates of this machine. What comes too
 * slowly to ever end is given up like a registry that stalls.
 *
 * The library is loaded when the first file is asked for: with what it needs itself (mail, directories, file
 * shares) it takes more memory than the rest of an idle daemon. */
#include "fetch.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { CONNECT_S = 30, SLOW_S = 60, REDIRECTS_MAX = 10 };
#define BYTES_MAX (INT64_C(64) << 30)

bool fetch_is_url(const char *text) {
    return strncasecmp(text, "http://", 7) == 0 || strncasecmp(text, "https://", 8) == 0;
}

char *fetch_name(const char *url) {
    const char *from = strstr(url, "://") + 3, *end = from + strcspn(from, "?#");
    const char *slash = memrchr(from, '/', (size_t)(end - from));
    return slash ? mem_string_n(slash + 1, (size_t)(end - slash - 1)) : mem_string("");
}

struct curl {
    __typeof__(curl_easy_init) *init;
    __typeof__(curl_easy_setopt) *setopt;
    __typeof__(curl_easy_perform) *perform;
    __typeof__(curl_easy_getinfo) *getinfo;
    __typeof__(curl_easy_cleanup) *cleanup;
    __typeof__(curl_easy_strerror) *strerror;
};

/* It stays loaded. */
static must_check struct error *curl_load(struct curl *ret_curl) {
    static const struct {
        const char *name;
        size_t at;
    } calls[] = {{"curl_easy_init", offsetof(struct curl, init)},
                 {"curl_easy_setopt", offsetof(struct curl, setopt)},
                 {"curl_easy_perform", offsetof(struct curl, perform)},
                 {"curl_easy_getinfo", offsetof(struct curl, getinfo)},
                 {"curl_easy_cleanup", offsetof(struct curl, cleanup)},
                 {"curl_easy_strerror", offsetof(struct curl, strerror)}};
    void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; library && i < COUNT(calls); i++) {
        void *call = dlsym(library, calls[i].name);
        if (!call) library = NULL;
        memcpy((char *)ret_curl + calls[i].at, &call, sizeof call);
    }
    if (library) return NULL;
    return error_new(ERROR_FAILED_PRECONDITION,
                     "files are fetched by libcurl: %s (Debian: apt-get install libcurl4)", dlerror());
}

static int on_progress(void *owner, curl_off_t all, curl_off_t now, curl_off_t up_all, curl_off_t up_now) {
    const atomic_bool *cancelled = owner;
    (void)all, (void)now, (void)up_all, (void)up_now;
    return cancelled && atomic_load(cancelled);
}

static void options_set(const struct curl *curl, CURL *easy, const char *url, FILE *file,
                        const atomic_bool *cancelled) {
    curl->setopt(easy, CURLOPT_URL, url);
    curl->setopt(easy, CURLOPT_WRITEDATA, file);
    curl->setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl->setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
    curl->setopt(easy, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    curl->setopt(easy, CURLOPT_FAILONERROR, 1L);
    curl->setopt(easy, CURLOPT_NOSIGNAL, 1L); /* a thread of many */
    curl->setopt(easy, CURLOPT_FILETIME, 1L);
    curl->setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl->setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl->setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)SLOW_S);
    curl->setopt(easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)BYTES_MAX);
    curl->setopt(easy, CURLOPT_NOPROGRESS, 0L);
    curl->setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl->setopt(easy, CURLOPT_XFERINFODATA, (void *)cancelled);
    const char *certificates = getenv("SSL_CERT_FILE");
    if (certificates) curl->setopt(easy, CURLOPT_CAINFO, certificates);
}

struct error *fetch_file(const char *url, const char *path, const atomic_bool *cancelled, time_t *ret_time) {
    char said[CURL_ERROR_SIZE] = "";
    long status = 0;
    curl_off_t changed = -1;
    struct curl curl;
    TRY_PLAIN(curl_load(&curl));
    FILE *file = fopen(path, "we");
    if (!file) return error_errno(errno, "make %s", path);
    CURL *easy = curl.init();
    if (!easy) abort();
    options_set(&curl, easy, url, file, cancelled);
    curl.setopt(easy, CURLOPT_ERRORBUFFER, said);
    CURLcode result = curl.perform(easy);
    curl.getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl.getinfo(easy, CURLINFO_FILETIME_T, &changed);
    curl.cleanup(easy);
    bool written = fclose(file) == 0;
    *ret_time = changed > 0 ? (time_t)changed : 0;
    if (result == CURLE_ABORTED_BY_CALLBACK) return error_new(ERROR_CANCELLED, "cancelled");
    if (result == CURLE_OK && written) return NULL;
    if (result == CURLE_OK || result == CURLE_WRITE_ERROR)
        return error_errno(ENOSPC, "write what came from %s", url);
    return error_new(status == 404 || status == 410 ? ERROR_NOT_FOUND : ERROR_UNAVAILABLE, "%s: %s", url,
                     said[0] ? said : curl.strerror(result));
}
