/* address: HOST:PORT, [HOST6]:PORT, or the path of a Unix socket, as text and as the kernel has it. */
#pragma once
#include "base.h"

#include <sys/socket.h>

struct address {
    struct sockaddr_storage storage;
    socklen_t size;
};
/* Numbers and `localhost` only; a name is NOT_FOUND (see ask.c, which may wait for a lookup). */
must_check struct error *address_parse(const char *text, struct address *ret_address);
bool address_split(const char *text, char *host, size_t host_size, uint16_t *ret_port);
void address_text(const struct address *address, char *text, size_t size);
uint16_t address_port(const struct address *address);
