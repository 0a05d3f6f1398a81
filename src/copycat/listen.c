/* The listening socket: bound before the model is loaded, listening after it.
 *
 * A port that accepts means: ready. So a taken port is told at once, and no client is let in before it can be
 * served. A socket given by the one who started us (LISTEN_FDS) listens already; its connections wait in its
 * backlog. */
#include "inside.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#define LISTEN_FD_FIRST 3 /* sd_listen_fds(3) */

static int inherited_fd(void) {
    const char *count = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");
    uint64_t number;
    if (!count || !span_to_u64(span_of(count), &number) || number < 1) return -1;
    if (pid && (!span_to_u64(span_of(pid), &number) || number != (uint64_t)getpid())) return -1;
    int listening = 0;
    socklen_t size = sizeof listening;
    if (getsockopt(LISTEN_FD_FIRST, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || !listening)
        return -1;
    return LISTEN_FD_FIRST;
}

static uint16_t port_of(int fd) {
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &size) != 0) return 0;
    if (address.ss_family == AF_INET) return ntohs(((struct sockaddr_in *)&address)->sin_port);
    if (address.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
    return 0;
}

struct error *listen_bind(const char *host, uint16_t port, int *ret_fd, bool *ret_inherited,
                          uint16_t *ret_port) {
    int given = inherited_fd();
    *ret_inherited = given >= 0;
    if (given >= 0) {
        *ret_fd = given;
        *ret_port = port_of(given);
        return NULL;
    }
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    bool is_six = inet_pton(AF_INET6, host, &six.sin6_addr) == 1;
    if (!is_six && inet_pton(AF_INET, host, &four.sin_addr) != 1)
        return error_new(ERROR_INVALID_ARGUMENT, "%s is no IP address", host);
    scoped_fd int fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return error_errno(errno, "make a socket");
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const struct sockaddr *address = is_six ? (struct sockaddr *)&six : (struct sockaddr *)&four;
    if (bind(fd, address, is_six ? sizeof six : sizeof four) != 0)
        return error_errno(errno, "listen on %s:%u", host, port);
    *ret_port = port_of(fd);
    *ret_fd = take_fd(&fd);
    return NULL;
}

struct error *listen_start(int fd) {
    if (listen(fd, SOMAXCONN) != 0) return error_errno(errno, "listen");
    return NULL;
}

/* sd_notify(3), for those who wait for it; nobody does: nothing happens. */
void notify_ready(void) {
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof address.sun_path) return;
    memcpy(address.sun_path, path, strlen(path));
    if (path[0] == '@') address.sun_path[0] = 0;
    scoped_fd int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (fd >= 0 && sendto(fd, "READY=1", 7, MSG_NOSIGNAL, (struct sockaddr *)&address, size) < 0)
        log_warn("copycat", "NOTIFY_SOCKET %s takes no message", path);
}
