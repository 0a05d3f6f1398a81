/* A file from the network by libcurl, which knows proxies and certificates of this machine. What comes too
 * slowly to ever end is given up like a registry that stalls. */
#include "fetch.h"

#include <curl/curl.h>
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

static int on_progress(void *owner, curl_off_t all, curl_off_t now, curl_off_t up_all, curl_off_t up_now) {
    const atomic_bool *cancelled = owner;
    (void)all, (void)now, (void)up_all, (void)up_now;
    return cancelled && atomic_load(cancelled);
}

static void options_set(CURL *curl, const char *url, FILE *file, const atomic_bool *cancelled) {
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, file);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L); /* a thread of many */
    curl_easy_setopt(curl, CURLOPT_FILETIME, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)SLOW_S);
    curl_easy_setopt(curl, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)BYTES_MAX);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, (void *)cancelled);
    const char *certificates = getenv("SSL_CERT_FILE");
    if (certificates) curl_easy_setopt(curl, CURLOPT_CAINFO, certificates);
}

struct error *fetch_file(const char *url, const char *path, const atomic_bool *cancelled, time_t *ret_time) {
    char said[CURL_ERROR_SIZE] = "";
    long status = 0;
    curl_off_t changed = -1;
    FILE *file = fopen(path, "we");
    if (!file) return error_errno(errno, "make %s", path);
    CURL *curl = curl_easy_init();
    if (!curl) abort();
    options_set(curl, url, file, cancelled);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, said);
    CURLcode result = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(curl, CURLINFO_FILETIME_T, &changed);
    curl_easy_cleanup(curl);
    bool written = fclose(file) == 0;
    *ret_time = changed > 0 ? (time_t)changed : 0;
    if (result == CURLE_ABORTED_BY_CALLBACK) return error_new(ERROR_CANCELLED, "cancelled");
    if (result == CURLE_OK && written) return NULL;
    if (result == CURLE_OK || result == CURLE_WRITE_ERROR)
        return error_errno(ENOSPC, "write what came from %s", url);
    return error_new(status == 404 || status == 410 ? ERROR_NOT_FOUND : ERROR_UNAVAILABLE, "%s: %s", url,
                     said[0] ? said : curl_easy_strerror(result));
}
