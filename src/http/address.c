/* Addresses as text: see address.h. */
#include "address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/un.h>

bool address_split(const char *text, char *host, size_t host_size, uint16_t *ret_port) {
    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (!colon || !span_to_u64(span_of(colon + 1), &port) || port > UINT16_MAX) return false;
    struct span name = {text, (size_t)(colon - text)};
    if (name.size >= 2 && name.data[0] == '[' && name.data[name.size - 1] == ']') {
        name.data++;
        name.size -= 2;
    } else if (memchr(name.data, ':', name.size)) {
        return false; /* an IPv6 address without brackets: which colon is the last of it? */
    }
    if (name.size >= host_size) return false;
    memcpy(host, name.data, name.size);
    host[name.size] = '\0';
    *ret_port = (uint16_t)port;
    return true;
}

struct error *address_parse(const char *text, struct address *ret_address) {
    *ret_address = (struct address){0};
    if (strchr(text, '/')) {
        struct sockaddr_un *local = (struct sockaddr_un *)&ret_address->storage;
        if (strlen(text) >= sizeof local->sun_path)
            return error_new(ERROR_INVALID_ARGUMENT, "the path of a socket has at most %zu characters: %s",
                             sizeof local->sun_path - 1, text);
        local->sun_family = AF_UNIX;
        memcpy(local->sun_path, text, strlen(text) + 1);
        ret_address->size = sizeof *local;
        return NULL;
    }
    char host[256];
    uint16_t port;
    if (!address_split(text, host, sizeof host, &port))
        return error_new(ERROR_INVALID_ARGUMENT, "'%s' is no address: HOST:PORT, [HOST6]:PORT or a path",
                         text);
    struct sockaddr_in *four = (struct sockaddr_in *)&ret_address->storage;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&ret_address->storage;
    const char *number = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host[0] == '\0' ? "0.0.0.0" : host;
    if (inet_pton(AF_INET, number, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(port);
        ret_address->size = sizeof *four;
    } else if (inet_pton(AF_INET6, number, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(port);
        ret_address->size = sizeof *six;
    } else {
        return error_new(ERROR_NOT_FOUND, "'%s' is no IP address", host);
    }
    return NULL;
}

void address_text(const struct address *address, char *text, size_t size) {
    char host[INET6_ADDRSTRLEN] = "";
    if (address->storage.ss_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)&address->storage;
        inet_ntop(AF_INET, &four->sin_addr, host, sizeof host);
        snprintf(text, size, "%s:%u", host, address_port(address));
    } else if (address->storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&address->storage;
        inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host);
        snprintf(text, size, "[%s]:%u", host, address_port(address));
    } else {
        snprintf(text, size, "unix");
    }
}

uint16_t address_port(const struct address *address) {
    if (address->storage.ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)&address->storage)->sin_port);
    if (address->storage.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&address->storage)->sin6_port);
    return 0;
}
