/* Fetching over HTTP with libcurl, blocking.
 *
 * A server is not trusted: sizes are bounded, a silence has an end, a range that is not the one asked for is
 * an error. */
#include "inside.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define CONNECT_TIMEOUT_S 15L
#define SILENCE_S 30L /* without a byte; then the attempt has failed */
#define REDIRECTS_MAX 10L
#define PROGRESS_US 200000

struct transfer {
    CURL *curl;
    char said[CURL_ERROR_SIZE];
    struct text *text; /* into memory ... */
    size_t limit_bytes;
    int fd; /* ... or to a file */
    uint64_t at_bytes, total_bytes;
    bool begun, full, too_long;
    int write_errno;
    int64_t told_us;
    const struct get_file *get;
};

static struct error *open_transfer(struct transfer *transfer, const char *url) {
    curl_global_init(CURL_GLOBAL_DEFAULT); /* counts; before any thread of ours uses it */
    CURL *curl = transfer->curl = curl_easy_init();
    if (!curl) return error_new(ERROR_INTERNAL, "libcurl can't be used");
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, SILENCE_S);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, transfer->said);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "copycat");
    return NULL;
}

/* The URL without a name and a password: it goes to logs. */
static char *shown(const char *url) {
    const char *begin = strstr(url, "://"), *end, *at;
    if (!begin) return mem_string(url);
    begin += 3;
    end = begin + strcspn(begin, "/?#");
    at = memrchr(begin, '@', (size_t)(end - begin));
    return at ? mem_printf("%.*s%s", (int)(begin - url), url, at + 1) : mem_string(url);
}

static struct error *explain(const struct transfer *transfer, const char *full_url, CURLcode code) {
    scoped_string char *url = shown(full_url);
    long status = 0;
    curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_HTTP_RETURNED_ERROR)
        return error_new(status == 404 ? ERROR_NOT_FOUND : ERROR_UNAVAILABLE,
                         "Fetching '%s' failed: Server returned %ld HTTP status", url, status);
    return error_new(ERROR_UNAVAILABLE, "Fetching '%s' failed: %s", url,
                     transfer->said[0] ? transfer->said : curl_easy_strerror(code));
}

static size_t on_text(char *data, size_t size, size_t count, void *owner) {
    struct transfer *transfer = owner;
    size_t bytes = size * count;
    transfer->too_long = transfer->text->size + bytes > transfer->limit_bytes;
    if (transfer->too_long) return CURL_WRITEFUNC_ERROR;
    text_add(transfer->text, (struct span){data, bytes});
    return bytes;
}

struct error *get_text(const char *url, size_t limit_bytes, int64_t timeout_ms, struct text *ret_text) {
    struct transfer transfer = {.text = ret_text, .limit_bytes = limit_bytes};
    TRY_PLAIN(open_transfer(&transfer, url));
    curl_easy_setopt(transfer.curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(transfer.curl, CURLOPT_WRITEFUNCTION, on_text);
    curl_easy_setopt(transfer.curl, CURLOPT_WRITEDATA, &transfer);
    CURLcode code = curl_easy_perform(transfer.curl);
    struct error *error = NULL;
    if (transfer.too_long)
        error = error_new(ERROR_RESOURCE_EXHAUSTED, "Fetching '%s' failed: it is longer than %zu bytes", url,
                          limit_bytes);
    else if (code != CURLE_OK)
        error = explain(&transfer, url, code);
    curl_easy_cleanup(transfer.curl);
    return error;
}

/* At the first byte: is it where we go on, and is there room for the rest? */
static bool begin(struct transfer *transfer) {
    long status = 0;
    curl_off_t length = -1;
    curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(transfer->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    if (status != 206 && transfer->at_bytes > 0) {
        transfer->at_bytes = 0;
        if (ftruncate(transfer->fd, 0) != 0) return transfer->write_errno = errno, false;
    }
    if (length > 0) transfer->total_bytes = transfer->at_bytes + (uint64_t)length;
    struct statvfs disk;
    if (length > 0 && fstatvfs(transfer->fd, &disk) == 0 &&
        (uint64_t)length > (uint64_t)disk.f_bavail * disk.f_frsize) {
        transfer->full = true;
        return false;
    }
    return transfer->begun = true;
}

static size_t on_bytes(char *data, size_t size, size_t count, void *owner) {
    struct transfer *transfer = owner;
    if (!transfer->begun && !begin(transfer)) return CURL_WRITEFUNC_ERROR;
    for (size_t done = 0, bytes = size * count; done < bytes;) {
        ssize_t written = pwrite(transfer->fd, data + done, bytes - done, (off_t)transfer->at_bytes);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return transfer->write_errno = written < 0 ? errno : ENOSPC, CURL_WRITEFUNC_ERROR;
        done += (size_t)written;
        transfer->at_bytes += (uint64_t)written;
    }
    int64_t now_us = clock_monotonic_us();
    bool ends = transfer->at_bytes == transfer->total_bytes;
    if (transfer->get->progress && (ends || now_us - transfer->told_us > PROGRESS_US)) {
        transfer->told_us = now_us;
        transfer->get->progress(transfer->get->owner, transfer->at_bytes, transfer->total_bytes);
    }
    return size * count;
}

static struct error *perform(struct transfer *transfer, bool *ret_retry) {
    const struct get_file *get = transfer->get;
    CURLcode code = curl_easy_perform(transfer->curl);
    long status = 0;
    curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &status);
    *ret_retry = false;
    if (transfer->full)
        return error_new(ERROR_RESOURCE_EXHAUSTED, "%s: there is no room for %llu bytes on the disk",
                         get->path, (unsigned long long)transfer->total_bytes);
    if (transfer->write_errno) return error_errno(transfer->write_errno, "write %s", get->path);
    if (code == CURLE_OK) return NULL;
    if (status == 416 && transfer->at_bytes > 0) return NULL; /* it has no more: the sum will tell */
    if (code == CURLE_RANGE_ERROR) {                          /* it can't go on there: all of it again */
        *ret_retry = true;
        if (ftruncate(transfer->fd, 0) != 0) return error_errno(errno, "truncate %s", get->path);
    } else if (code != CURLE_HTTP_RETURNED_ERROR || status >= 500 || status == 408 || status == 429) {
        *ret_retry = code != CURLE_URL_MALFORMAT && code != CURLE_UNSUPPORTED_PROTOCOL;
    }
    return explain(transfer, get->url, code);
}

struct error *get_file(const struct get_file *get, bool *ret_retry) {
    *ret_retry = false;
    scoped_fd int fd = open(get->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    struct stat stat;
    if (fd < 0 || fstat(fd, &stat) != 0) return error_errno(errno, "open %s", get->path);
    struct transfer transfer = {.fd = fd, .get = get, .at_bytes = (uint64_t)stat.st_size};
    TRY_PLAIN(open_transfer(&transfer, get->url));
    if (stat.st_size > 0)
        curl_easy_setopt(transfer.curl, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)stat.st_size);
    curl_easy_setopt(transfer.curl, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(transfer.curl, CURLOPT_WRITEDATA, &transfer);
    struct error *error = perform(&transfer, ret_retry);
    curl_easy_cleanup(transfer.curl);
    if (!error && fsync(fd) != 0) error = error_errno(errno, "fsync %s", get->path);
    return error;
}
