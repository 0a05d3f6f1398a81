/* Where the daemon is: CATNAP_API, or the user's own socket; and the token that it wants over TCP.
 *
 * The defaults are those of src/daemon/config.c, the token's file is the one that src/api/token.c leaves in
 * the daemon's runtime directory, whose name only the daemon knows in full. */
#include <glob.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "command.h"

#define TOKEN_FILE_MAX 512

void place_done(struct place *place) {
    free(place->address);
    free(place->told);
    free(place->token);
    free(place->token_from);
    *place = (struct place){0};
}

static char *default_socket(void) {
    if (geteuid() == 0) return mem_string("/run/catnap/api.sock");
    const char *runtime = dir_runtime(), *home = getenv("HOME");
    if (runtime) return mem_printf("%s/catnap/api.sock", runtime);
    scoped_string char *cache = path_join(home && home[0] ? home : "/", ".cache");
    return mem_printf("%s/catnap/api.sock", cache);
}

static bool here(struct span host) {
    return span_is(host, "127.0.0.1") || span_is(host, "localhost") || span_is(host, "[::1]");
}

/* The newest of our own files that fit: a killed daemon leaves its one behind. */
static char *newest(const char *pattern) {
    glob_t found = {0};
    char *path = NULL;
    struct timespec when = {0};
    if (glob(pattern, GLOB_NOSORT, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            struct stat file;
            if (lstat(found.gl_pathv[i], &file) != 0 || !S_ISREG(file.st_mode) || file.st_uid != geteuid())
                continue;
            bool newer = file.st_mtim.tv_sec > when.tv_sec ||
                         (file.st_mtim.tv_sec == when.tv_sec && file.st_mtim.tv_nsec > when.tv_nsec);
            if (path && !newer) continue;
            free(path);
            path = mem_string(found.gl_pathv[i]);
            when = file.st_mtim;
        }
    }
    globfree(&found);
    return path;
}

/* Written "[::1]" it would be a set of characters to glob. */
static char *escaped(const char *text) {
    scoped_text struct text out = {0};
    for (; *text; text++) {
        if (strchr("[]*?\\", *text)) text_add_char(&out, '\\');
        text_add_char(&out, *text);
    }
    return text_take(&out);
}

static struct error *find_token(struct place *place) {
    const char *told = getenv("CATNAP_API_TOKEN");
    if (told && *told) {
        place->token = mem_string(told);
        place->token_from = mem_string("CATNAP_API_TOKEN");
        return NULL;
    }
    const char *runtime = dir_runtime(), *colon = strrchr(place->address, ':');
    const char *base = geteuid() == 0 ? "/run" : runtime ? runtime : "/tmp";
    scoped_string char *name = escaped(place->address);
    scoped_string char *exact = mem_printf("%s/catnap-*/api-token-%s", base, name);
    char *path = newest(exact);
    if (!path && here((struct span){place->address, (size_t)(colon - place->address)})) {
        scoped_string char *any = mem_printf("%s/catnap-*/api-token-*%s", base, colon);
        path = newest(any);
    }
    if (!path) return NULL;
    place->token_from = path;
    scoped_text struct text text = {0};
    TRY(file_read(path, TOKEN_FILE_MAX, &text), "the daemon's token");
    place->token = span_string(span_trim(text_span(&text)));
    return NULL;
}

static struct error *bad(const char *api, const char *what) {
    return error_new(ERROR_INVALID_ARGUMENT,
                     "CATNAP_API: '%s' %s; it is the path of a socket or http://ADDR:PORT", api, what);
}

struct error *place_find(struct place *ret_place) {
    const char *api = getenv("CATNAP_API");
    *ret_place = (struct place){0};
    if (!api || !*api) {
        ret_place->address = default_socket();
        ret_place->told = mem_string(ret_place->address);
        return NULL;
    }
    struct span rest = span_of(api);
    const struct span scheme = SPAN("http://"), socket = SPAN("unix:");
    if (span_starts(rest, "https://")) return bad(api, "is https, which the daemon does not speak");
    if (span_starts(rest, scheme.data)) {
        rest = (struct span){rest.data + scheme.size, rest.size - scheme.size};
        if (span_ends(rest, "/")) rest.size--;
    } else if (span_starts(rest, socket.data) || memchr(rest.data, '/', rest.size)) {
        if (span_starts(rest, socket.data))
            rest = (struct span){rest.data + socket.size, rest.size - socket.size};
        if (!memchr(rest.data, '/', rest.size)) return bad(api, "is no path with a / in it");
        ret_place->address = span_string(rest);
        ret_place->told = mem_string(ret_place->address);
        return NULL;
    }
    uint64_t port = 0;
    scoped_string char *address = span_string(rest);
    const char *colon = strrchr(address, ':');
    if (strchr(address, '/')) return bad(api, "has a path behind the port");
    if (!colon || colon == address) return bad(api, "has no host and port");
    if (!span_to_u64(span_of(colon + 1), &port) || port < 1 || port > UINT16_MAX)
        return bad(api, "has no port from 1 to 65535");
    ret_place->address = take(address);
    ret_place->told = mem_printf("http://%s", ret_place->address);
    return find_token(ret_place);
}
