/* ready: when does the app's port accept?
 *
 * Asked of the kernel (sock_diag: which sockets listen in this network namespace), so the app never sees a
 * connection that nobody uses; where there is no sock_diag, by connecting. Looked at when a filter on
 * listen(2) says that someone is about to (ready_hint: the call runs after its notification, hence the looks
 * 20 us apart), and by the clock as a safety net: an app can listen in ways that no filter sees (io_uring, an
 * inherited socket). */
#include "init.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { HINT_US = 20, FIRST_US = 200, OFTEN_US = 5000, SELDOM_US = 50000, OFTEN_FOR_US = 10000000 };

void ready_init(struct ready *ready, const struct run_options *options) {
    *ready = (struct ready){.port = options->port, .interval_us = FIRST_US};
    ready->diag_fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    int64_t now = now_us();
    ready->began_us = now;
    ready->next_us = now + FIRST_US;
    ready->give_up_us = options->startup_ms > 0 ? now + options->startup_ms * 1000 : INT64_MAX;
}

void ready_hint(struct ready *ready) {
    ready->interval_us = HINT_US;
    ready->next_us = now_us() + HINT_US;
}

static bool reachable(const struct inet_diag_msg *socket_, int family) {
    const uint32_t *ip = socket_->id.idiag_src;
    if (family == AF_INET) return ip[0] == 0 || (ntohl(ip[0]) >> 24) == 127;
    return ip[0] == 0 && ip[1] == 0 && ip[2] == 0 && ntohl(ip[3]) <= 1;
}

/* 1: someone listens, 0: nobody, -1: the kernel can't tell */
static int ask_kernel(int fd, uint16_t port, int family) {
    struct {
        struct nlmsghdr head;
        struct inet_diag_req_v2 ask;
    } request = {.head = {.nlmsg_len = sizeof request,
                          .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                          .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
                 .ask = {.sdiag_family = (uint8_t)family,
                         .sdiag_protocol = IPPROTO_TCP,
                         .idiag_states = 1U << TCP_LISTEN,
                         .id = {.idiag_sport = htons(port)}}};
    if (send(fd, &request, sizeof request, 0) < 0) return -1;
    int found = 0;
    for (;;) {
        _Alignas(struct nlmsghdr) char buffer[8192];
        ssize_t got = recv(fd, buffer, sizeof buffer, 0);
        if (got < 0) return -1;
        size_t left = (size_t)got;
        for (struct nlmsghdr *head = (struct nlmsghdr *)buffer; NLMSG_OK(head, left);
             head = NLMSG_NEXT(head, left)) {
            if (head->nlmsg_type == NLMSG_DONE) return found;
            if (head->nlmsg_type == NLMSG_ERROR) return -1;
            const struct inet_diag_msg *one = NLMSG_DATA(head);
            if (ntohs(one->id.idiag_sport) == port && reachable(one, family)) found = 1;
        }
    }
}

static bool connects(uint16_t port) {
    struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in v4 = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool yes = fd >= 0 && connect(fd, (struct sockaddr *)&v4, sizeof v4) == 0;
    if (fd >= 0) close(fd);
    if (yes) return true;
    fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    yes = fd >= 0 && connect(fd, (struct sockaddr *)&v6, sizeof v6) == 0;
    if (fd >= 0) close(fd);
    return yes;
}

static bool accepts(struct ready *ready) {
    if (ready->diag_fd >= 0) {
        int four = ask_kernel(ready->diag_fd, ready->port, AF_INET);
        int six = four == 0 ? ask_kernel(ready->diag_fd, ready->port, AF_INET6) : 0;
        if (four == 1 || six == 1) return true;
        if (four == 0) return false;
        close(ready->diag_fd);
        ready->diag_fd = -1;
    }
    return connects(ready->port);
}

bool ready_probe(struct ready *ready) {
    if (accepts(ready)) return true;
    int64_t now = now_us();
    int64_t most = now < ready->began_us + OFTEN_FOR_US ? OFTEN_US : SELDOM_US;
    ready->interval_us += ready->interval_us / 4;
    if (ready->interval_us > most) ready->interval_us = most;
    ready->next_us = now < ready->give_up_us ? now + ready->interval_us : INT64_MAX;
    return false;
}

int ready_socket(uint16_t port) {
    struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1, off = 0;
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
        if (bind(fd, (struct sockaddr *)&any6, sizeof any6) == 0 && listen(fd, 1024) == 0) return fd;
        close(fd);
    }
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&any4, sizeof any4) == 0 && listen(fd, 1024) == 0) return fd;
    close(fd);
    return -1;
}

/* An abstract name belongs to the network namespace: no file, no writable directory needed, nobody outside
 * sees it. */
int ready_notify_socket(void) {
    static const char name[] = "\0catnap-notify";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, name, sizeof name - 1);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    if (bind(fd, (struct sockaddr *)&address,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof name - 1)) == 0)
        return fd;
    close(fd);
    return -1;
}

bool ready_notified(int fd) {
    char text[4096];
    ssize_t got = recv(fd, text, sizeof text - 1, 0);
    if (got <= 0) return false;
    text[got] = '\0';
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (strcmp(line, "READY=1") == 0) return true;
    return false;
}
