/* Names of images; the grammar of github.com/distribution/reference.
 *
 * The first part is a registry when it looks like a host (a dot, a colon, or "localhost"), else the registry
 * is docker.io; a single word there lies under library/. */
#include "reference.h"

#include <stdlib.h>

enum { PATH_MAX_BYTES = 255, TAG_MAX_BYTES = 128, DIGEST_HEX = 64 };
#define OFFICIAL "library/"
#define BAD(...) error_new(ERROR_INVALID_ARGUMENT, __VA_ARGS__)

static bool lower_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool alphanumeric(char c) {
    return lower_or_digit(c) || (c >= 'A' && c <= 'Z');
}

/* Lower case and digits, parted by '.', one or two '_', or any number of '-'. */
static bool path_part_good(struct span part) {
    if (part.size == 0 || !lower_or_digit(part.data[0]) || !lower_or_digit(part.data[part.size - 1]))
        return false;
    for (size_t i = 0; i < part.size; i++) {
        char c = part.data[i], before = i ? part.data[i - 1] : 'a';
        if (lower_or_digit(c)) continue;
        if (c != '.' && c != '_' && c != '-') return false;
        if (!lower_or_digit(before) && !(c == '-' && before == '-') &&
            !(c == '_' && before == '_' && lower_or_digit(part.data[i - 2])))
            return false;
    }
    return true;
}

static bool path_good(struct span path, size_t most) {
    if (path.size == 0 || path.size > most) return false;
    while (path.data)
        if (!path_part_good(span_cut(&path, '/'))) return false;
    return true;
}

static bool registry_good(struct span registry) {
    struct span rest = registry, host = span_cut(&rest, ':');
    uint64_t port;
    if (host.size == 0 || host.size > PATH_MAX_BYTES) return false;
    for (size_t i = 0; i < host.size; i++)
        if (!alphanumeric(host.data[i]) && host.data[i] != '.' && host.data[i] != '-') return false;
    return !rest.data || (span_to_u64(rest, &port) && port > 0 && port < 65536);
}

static bool tag_good(struct span tag) {
    if (tag.size == 0 || tag.size > TAG_MAX_BYTES || tag.data[0] == '.' || tag.data[0] == '-') return false;
    for (size_t i = 0; i < tag.size; i++)
        if (!alphanumeric(tag.data[i]) && tag.data[i] != '_' && tag.data[i] != '.' && tag.data[i] != '-')
            return false;
    return true;
}

static bool digest_good(struct span digest) {
    if (!span_starts(digest, "sha256:") || digest.size != strlen("sha256:") + DIGEST_HEX) return false;
    for (size_t i = strlen("sha256:"); i < digest.size; i++)
        if (!(digest.data[i] >= '0' && digest.data[i] <= '9') &&
            !(digest.data[i] >= 'a' && digest.data[i] <= 'f'))
            return false;
    return true;
}

static struct span after(struct span text, size_t at) {
    return (struct span){text.data + at, text.size - at};
}

/* Cuts "@digest", then ":tag", off the end; a colon before the last slash is a port's. */
static void cut_ends(struct span *name, struct span *tag, struct span *digest) {
    const char *at = memchr(name->data, '@', name->size);
    if (at) {
        *digest = after(*name, (size_t)(at - name->data) + 1);
        name->size = (size_t)(at - name->data);
    }
    for (size_t i = name->size; i > 0 && name->data[i - 1] != '/'; i--) {
        if (name->data[i - 1] != ':') continue;
        *tag = after(*name, i);
        name->size = i - 1;
        return;
    }
}

static bool is_host(struct span part) {
    return memchr(part.data, '.', part.size) || memchr(part.data, ':', part.size) ||
           span_is(part, "localhost");
}

struct error *reference_parse(struct span text, struct reference *ret_reference) {
    struct span name = text, tag = {0}, digest = {0}, registry = SPAN("docker.io");
    *ret_reference = (struct reference){0};
    if (text.size == 0) return BAD("an image's name is missing");
    cut_ends(&name, &tag, &digest);
    const char *slash = memchr(name.data, '/', name.size);
    struct span first = {name.data, slash ? (size_t)(slash - name.data) : 0}, path = name;
    if (slash && is_host(first)) {
        registry = first;
        path = after(name, first.size + 1);
    }
    if (span_is(registry, "index.docker.io")) registry = SPAN("docker.io");
    if (!registry_good(registry))
        return BAD("image '" SPAN_FORMAT "': its registry is no host name", SPAN_ARGS(text));
    bool official = span_is(registry, "docker.io") && !memchr(path.data, '/', path.size);
    if (!path_good(path, official ? PATH_MAX_BYTES - strlen(OFFICIAL) : PATH_MAX_BYTES))
        return BAD("image '" SPAN_FORMAT
                   "': no name of an image; [registry/]path[:tag][@sha256:digest] in lower case, "
                   "like debian:bookworm",
                   SPAN_ARGS(text));
    if (tag.data && !tag_good(tag))
        return BAD("image '" SPAN_FORMAT "': its tag has characters that no tag has", SPAN_ARGS(text));
    if (digest.data && !digest_good(digest))
        return BAD("image '" SPAN_FORMAT "': its digest is not sha256: and 64 hexadecimal digits",
                   SPAN_ARGS(text));
    *ret_reference = (struct reference){
        .registry = span_string(registry),
        .path = mem_printf("%s" SPAN_FORMAT, official ? OFFICIAL : "", SPAN_ARGS(path)),
        .tag = tag.data      ? span_string(tag)
               : digest.data ? NULL
                             : mem_string("latest"),
        .digest = digest.data ? span_string(digest) : NULL,
    };
    return NULL;
}

void reference_done(struct reference *reference) {
    free(reference->registry), free(reference->path), free(reference->tag), free(reference->digest);
    *reference = (struct reference){0};
}

char *reference_repository(const struct reference *reference) {
    return mem_printf("%s/%s", reference->registry, reference->path);
}

char *reference_name(const struct reference *reference) {
    const char *tag = reference->tag, *digest = reference->digest;
    return mem_printf("%s/%s%s%s%s%s", reference->registry, reference->path, tag ? ":" : "", tag ? tag : "",
                      digest ? "@" : "", digest ? digest : "");
}

struct error *reference_normal(const char *name, char **ret_name) {
    struct reference reference;
    TRY_PLAIN(reference_parse(span_of(name), &reference));
    *ret_name = reference_name(&reference);
    reference_done(&reference);
    return NULL;
}

char *reference_short(const char *normal) {
    static const char *const prefixes[] = {"docker.io/library/", "docker.io/"};
    for (size_t i = 0; i < COUNT(prefixes); i++) {
        size_t size = strlen(prefixes[i]);
        if (strncmp(normal, prefixes[i], size) == 0) return mem_string(normal + size);
    }
    return mem_string(normal);
}
