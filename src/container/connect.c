/* connect: from here into a container's network namespace, and from the container to us: its loopback is ours
 * too.
 *
 * No cable, no address, no port on this machine: a socket made in there, used out here (foreign.c). */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "inside.h"

/* Loopback decides within the call; only a full queue of the app's leaves it open, and then the socket's
 * owner waits. */
static int settled(int fd, const struct sockaddr *address, socklen_t size) {
    if (connect(fd, address, size) == 0) return 0;
    if (errno != EINPROGRESS) return errno;
    struct pollfd now = {.fd = fd, .events = POLLOUT};
    int result = 0;
    socklen_t length = sizeof result;
    if (poll(&now, 1, 0) <= 0) return 0;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &result, &length) ? errno : result;
}

struct error *container_connect(struct container *container, uint16_t port, int *ret_fd) {
    struct sockaddr_in v4 = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    const struct sockaddr *addresses[] = {(struct sockaddr *)&v4, (struct sockaddr *)&v6};
    const socklen_t sizes[] = {sizeof v4, sizeof v6};
    if (container->netns_fd < 0 || container->life >= LIFE_ENDING)
        return error_new(ERROR_UNAVAILABLE, "container %s is not running", container->id);
    int failed = 0, on = 1;
    for (size_t i = 0; i < COUNT(addresses); i++) {
        scoped_fd int fd = -1;
        TRY(foreign_socket(container->host, container->netns_fd, addresses[i]->sa_family, &fd),
            "container %s", container->id);
        failed = settled(fd, addresses[i], sizes[i]);
        if (failed) continue;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        *ret_fd = take_fd(&fd);
        return NULL;
    }
    struct error *reason =
        error_errno(failed, "nobody listens on port %u in container %s", port, container->id);
    reason->code = ERROR_UNAVAILABLE;
    return reason;
}

struct error *container_listen(struct container *container, uint16_t port, int *ret_fd) {
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    scoped_fd int fd = -1;
    int on = 1;
    if (container->netns_fd < 0 || container->life >= LIFE_ENDING)
        return error_new(ERROR_UNAVAILABLE, "container %s is not running", container->id);
    TRY(foreign_socket(container->host, container->netns_fd, AF_INET, &fd), "container %s", container->id);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) || listen(fd, SOMAXCONN))
        return error_errno(errno, "listen on port %u in container %s", port, container->id);
    *ret_fd = take_fd(&fd);
    return NULL;
}
