/* Addresses as text and as the kernel has them: see io.h. Numbers only: looking up names may block. */
#include "io.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

bool io_address_split(const char *text, char *host, size_t host_size, uint16_t *ret_port) {
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

struct error *io_address_parse(const char *text, struct sockaddr_storage *ret_address, uint32_t *ret_size) {
    *ret_address = (struct sockaddr_storage){0};
    if (strchr(text, '/')) {
        struct sockaddr_un *local = (struct sockaddr_un *)ret_address;
        if (strlen(text) >= sizeof local->sun_path)
            return error_new(ERROR_INVALID_ARGUMENT, "the path of a socket has at most %zu characters: %s",
                             sizeof local->sun_path - 1, text);
        local->sun_family = AF_UNIX;
        memcpy(local->sun_path, text, strlen(text) + 1);
        *ret_size = sizeof *local;
        return NULL;
    }
    char host[256];
    uint16_t port;
    if (!io_address_split(text, host, sizeof host, &port))
        return error_new(ERROR_INVALID_ARGUMENT, "'%s' is no address: HOST:PORT, [HOST6]:PORT or a path",
                         text);
    struct sockaddr_in *four = (struct sockaddr_in *)ret_address;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)ret_address;
    const char *number = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host[0] == '\0' ? "0.0.0.0" : host;
    if (inet_pton(AF_INET, number, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(port);
        *ret_size = sizeof *four;
    } else if (inet_pton(AF_INET6, number, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(port);
        *ret_size = sizeof *six;
    } else {
        return error_new(ERROR_NOT_FOUND, "'%s' is no IP address", host);
    }
    return NULL;
}

void io_address_text(const struct sockaddr_storage *address, char *text, size_t size) {
    char host[INET6_ADDRSTRLEN] = "";
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)address;
        inet_ntop(AF_INET, &four->sin_addr, host, sizeof host);
        snprintf(text, size, "%s:%u", host, io_address_port(address));
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
        inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host);
        snprintf(text, size, "[%s]:%u", host, io_address_port(address));
    } else {
        snprintf(text, size, "unix");
    }
}

uint16_t io_address_port(const struct sockaddr_storage *address) {
    if (address->ss_family == AF_INET) return ntohs(((const struct sockaddr_in *)address)->sin_port);
    if (address->ss_family == AF_INET6) return ntohs(((const struct sockaddr_in6 *)address)->sin6_port);
    return 0;
}
