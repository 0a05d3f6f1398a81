/* The token that TCP asks for: STATE/api-token, 0600, made once and kept.
 *
 * For the user's own command line a copy lies in the runtime directory under the address, so that
 * CATNAP_API=http://ADDR:PORT is all it needs; it goes away with the daemon. */
#include "inside.h"

#include <ctype.h>
#include <stdlib.h>

#define TOKEN_BYTES 32
#define TOKEN_FILE_MAX 512

struct token_file {
    struct list node;
    char *path;
};

static struct error *make(struct api *api, const char *path) {
    unsigned char bytes[TOKEN_BYTES];
    scoped_text struct text text = {0};
    random_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) text_printf(&text, "%02x", bytes[i]);
    api->token = mem_string(text.data);
    text_add_char(&text, '\n');
    return file_replace(path, text_span(&text), 0600);
}

struct error *token_prepare(struct api *api) {
    if (api->token) return NULL;
    scoped_string char *path = path_join(api->state_dir, "api-token");
    if (!file_exists(path)) {
        TRY(make(api, path), "the api's token");
        return NULL;
    }
    scoped_text struct text text = {0};
    TRY(file_read(path, TOKEN_FILE_MAX, &text), "the api's token");
    struct span token = span_trim(text_span(&text));
    bool good = token.size >= 16;
    for (size_t i = 0; i < token.size; i++) good = good && isgraph((unsigned char)token.data[i]);
    if (!good)
        return error_new(ERROR_FAILED_PRECONDITION,
                         "%s: a token has 16 characters or more and no blanks; remove the file for a new one",
                         path);
    api->token = span_string(token);
    return NULL;
}

struct error *token_publish(struct api *api, const char *address, uint16_t port) {
    if (!api->runtime_dir) return NULL;
    const char *colon = strrchr(address, ':');
    scoped_string char *name =
        mem_printf("api-token-%.*s:%u", (int)(colon ? colon - address : 0), address, port);
    TRY(dir_make(api->runtime_dir, 0700), "the api's token for the command line");
    struct token_file *file = NEW(struct token_file);
    file->path = path_join(api->runtime_dir, name);
    list_append(&api->token_files, &file->node);
    scoped_string char *line = mem_printf("%s\n", api->token);
    TRY(file_replace(file->path, span_of(line), 0600), "the api's token for the command line");
    return NULL;
}

bool token_allows(const struct api *api, const struct http_exchange *exchange) {
    if (http_exchange_tag(exchange) != api) return true; /* a Unix socket: its mode said who may */
    struct span given = http_exchange_header(exchange, "Authorization");
    const struct span scheme = SPAN("Bearer ");
    if (given.size < scheme.size || !span_equal_nocase((struct span){given.data, scheme.size}, scheme))
        return false;
    given = span_trim((struct span){given.data + scheme.size, given.size - scheme.size});
    /* Sums rather than the texts, all of their bytes: how long it takes tells nothing. */
    char sums[2][SHA256_HEX_SIZE];
    sha256_of(given, sums[0]);
    sha256_of(span_of(api->token), sums[1]);
    unsigned difference = 0;
    for (size_t i = 0; i < SHA256_HEX_SIZE; i++) difference |= (unsigned)(sums[0][i] ^ sums[1][i]);
    return difference == 0;
}

void token_done(struct api *api) {
    while (!list_empty(&api->token_files)) {
        struct token_file *file = CONTAINER_OF(api->token_files.next, struct token_file, node);
        list_remove(&file->node);
        unlink(file->path);
        free(file->path);
        free(file);
    }
}
