/* The upstream of the gateway's benchmark: answers each request head with the same small answer, as fast as
 * one thread can, so that what is measured is what stands before it. Listens on $PORT of all addresses. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD_MAX 16384
#define BODY \
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
#define ANSWER "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n" BODY

struct connection {
    int fd;
    size_t size;
    char head[HEAD_MAX];
};

static int listen_at(unsigned short port) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&any, sizeof any) != 0 || listen(fd, 4096) != 0) {
        perror("listen");
        exit(1);
    }
    return fd;
}

static void take(int listener, int epoll) {
    for (int fd, on = 1; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        struct connection *connection = calloc(1, sizeof *connection);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        connection->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

/* The answers to all whole heads that are there go out in one write. */
static int serve(struct connection *connection) {
    ssize_t got = read(connection->fd, connection->head + connection->size, HEAD_MAX - 1 - connection->size);
    if (got <= 0) return got < 0 && errno == EAGAIN;
    connection->size += (size_t)got;
    connection->head[connection->size] = '\0';
    char answers[64 * (sizeof ANSWER - 1)];
    size_t size = 0, used = 0;
    for (char *end;
         size + sizeof ANSWER <= sizeof answers && (end = strstr(connection->head + used, "\r\n\r\n"));) {
        memcpy(answers + size, ANSWER, sizeof ANSWER - 1);
        size += sizeof ANSWER - 1;
        used = (size_t)(end + 4 - connection->head);
    }
    if (size > 0 && write(connection->fd, answers, size) != (ssize_t)size) return 0;
    connection->size -= used;
    memmove(connection->head, connection->head + used, connection->size + 1);
    return connection->size < HEAD_MAX - 1;
}

int main(void) {
    const char *port = getenv("PORT");
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int listener = listen_at((unsigned short)strtol(port ? port : "8000", NULL, 10)),
        epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN}, events[256];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (!connection) {
                take(listener, epoll);
            } else if (!serve(connection)) {
                close(connection->fd);
                free(connection);
            }
        }
    }
}
