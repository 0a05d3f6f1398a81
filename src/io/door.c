/* Doors: sockets that listen while no process of ours does. Found again by their address, whoever held them.
 *
 * A door that came by LISTEN_FDS under a name of ours was opened by an earlier life of this daemon, one under
 * another name by who started us: its file and its end are not our business. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define FIRST_FD 3
#define OURS "held-"
#define SEND_TIMEOUT_S 2

struct door {
    struct list node;
    char *name; /* "held-..." of those that we opened; NULL: held by nobody */
    char *path; /* of a Unix socket; NULL otherwise */
    struct sockaddr_storage address;
    int fd;
    bool ours, claimed;
};
struct doors {
    struct list list;
    int notify_fd; /* to who started us; -1: nobody listens */
    bool keeping, inherited;
};

static bool same(const struct sockaddr_storage *a, const struct sockaddr_storage *b) {
    if (a->ss_family != b->ss_family) return false;
    if (a->ss_family == AF_UNIX)
        return strcmp(((const struct sockaddr_un *)a)->sun_path, ((const struct sockaddr_un *)b)->sun_path) ==
               0;
    if (io_address_port(a) != io_address_port(b)) return false;
    const struct sockaddr_in *four_a = (const void *)a, *four_b = (const void *)b;
    const struct sockaddr_in6 *six_a = (const void *)a, *six_b = (const void *)b;
    return a->ss_family == AF_INET ? four_a->sin_addr.s_addr == four_b->sin_addr.s_addr
                                   : memcmp(&six_a->sin6_addr, &six_b->sin6_addr, 16) == 0;
}

static struct door *door_new(struct doors *doors, int fd, const char *name) {
    struct door *door = NEW(struct door);
    socklen_t size = sizeof door->address;
    door->fd = fd;
    door->name = mem_string(name);
    door->ours = name && strncmp(name, OURS, strlen(OURS)) == 0;
    getsockname(fd, (struct sockaddr *)&door->address, &size);
    if (door->address.ss_family == AF_UNIX && size > sizeof(sa_family_t))
        door->path = mem_string(((struct sockaddr_un *)&door->address)->sun_path);
    list_append(&doors->list, &door->node);
    return door;
}

static void door_free(struct door *door) {
    list_remove(&door->node);
    free(door->name), free(door->path);
    free(door);
}

/* ---- who started us ---- */

static int notify_open(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = path ? strlen(path) : 0;
    if (size < 2 || size >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@')) return -1;
    memcpy(address.sun_path, path, size);
    if (path[0] == '@') address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct timeval wait = {.tv_sec =
                               SEND_TIMEOUT_S}; /* it is at work for others too; at its best it is quick */
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    if (connect(fd, (struct sockaddr *)&address,
                (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size)) == 0)
        return fd;
    close(fd);
    return -1;
}

static void tell(const struct doors *doors, const char *state, int fd) {
    if (!doors || doors->notify_fd < 0) return;
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof fd)];
    } control = {0};
    struct iovec part = {(void *)(uintptr_t)state, strlen(state)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        control.head = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
    }
    if (sendmsg(doors->notify_fd, &message, MSG_NOSIGNAL) < 0)
        log_warn("io", "who started catnap can't be told '%.20s': %m", state);
}

static void take_fds(struct doors *doors, const char *count, const char *names) {
    uint64_t number = 0;
    struct span rest = span_of(names ? names : "");
    if (!span_to_u64(span_of(count), &number)) return;
    for (int fd = FIRST_FD; fd < FIRST_FD + (int)number; fd++) {
        scoped_string char *name = span_string(span_cut(&rest, ':'));
        int listens = 0;
        socklen_t size = sizeof listens;
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || !listens) {
            log_warn("io", "descriptor %d (%s) that catnap was started with is no socket that listens", fd,
                     name);
            continue;
        }
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        (void)fcntl(fd, F_SETFL, O_NONBLOCK);
        doors->inherited |= door_new(doors, fd, name)->ours;
    }
}

static struct doors *doors_new(struct io_loop *loop, const char *notify_path) {
    struct doors *doors = loop->doors = NEW(struct doors);
    list_init(&doors->list);
    doors->notify_fd = notify_open(notify_path);
    return doors;
}

void io_doors_take(struct io_loop *loop) {
    struct doors *doors = doors_new(loop, getenv("NOTIFY_SOCKET"));
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    uint64_t meant = 0;
    if (pid && count && span_to_u64(span_of(pid), &meant) && meant == (uint64_t)getpid())
        take_fds(doors, count, getenv("LISTEN_FDNAMES"));
    static const char *const variables[] = {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET"};
    for (size_t i = 0; i < COUNT(variables); i++) unsetenv(variables[i]); /* not our children's */
}

void doors_free(struct doors *doors) {
    if (!doors) return;
    while (!list_empty(&doors->list)) {
        struct door *door = CONTAINER_OF(doors->list.next, struct door, node);
        if (!door->claimed) close(door->fd);
        door_free(door);
    }
    if (doors->notify_fd >= 0) close(doors->notify_fd);
    free(doors);
}

void io_doors_tell(struct io_loop *loop, const char *state) {
    tell(loop->doors, state, -1);
}

void io_doors_keep(struct io_loop *loop) {
    if (loop->doors) loop->doors->keeping = true;
}

bool io_doors_inherited(const struct io_loop *loop) {
    return loop->doors && loop->doors->inherited;
}

char *io_door_named(struct io_loop *loop, const char *name) {
    if (!loop->doors) return NULL;
    LIST_EACH(node, &loop->doors->list) {
        const struct door *door = CONTAINER_OF(node, struct door, node);
        char text[IO_ADDRESS_TEXT_SIZE];
        if (!door->name || strcmp(door->name, name) != 0) continue;
        if (door->path) return mem_string(door->path);
        io_address_text(&door->address, text, sizeof text);
        return mem_string(text);
    }
    return NULL;
}

/* ---- open and close ---- */

/* Where its file is gone nobody finds the socket any more. */
static bool usable(const struct door *door) {
    struct stat about;
    return !door->path || (lstat(door->path, &about) == 0 && S_ISSOCK(about.st_mode));
}

static void door_close(struct doors *doors, struct door *door) {
    if (!doors->keeping && door->ours) {
        scoped_string char *state = mem_printf("FDSTOREREMOVE=1\nFDNAME=%s", door->name);
        tell(doors, state, -1);
        (void)shutdown(door->fd, SHUT_RDWR); /* whoever holds it has not heard yet; the address is free now */
    }
    if (!doors->keeping && door->path && (door->ours || !door->name)) unlink(door->path);
    close(door->fd);
    door_free(door);
}

static bool claim(struct doors *doors, const struct sockaddr_storage *address, int *ret_fd) {
    LIST_EACH_SAFE(node, next, &doors->list) {
        struct door *door = CONTAINER_OF(node, struct door, node);
        if (door->claimed || !same(&door->address, address)) continue;
        if (!usable(door)) {
            door_close(doors, door);
            continue;
        }
        door->claimed = true;
        *ret_fd = door->fd;
        return true;
    }
    return false;
}

static bool everywhere(const struct sockaddr_storage *address) {
    return address->ss_family == AF_INET
               ? ((const struct sockaddr_in *)address)->sin_addr.s_addr == htonl(INADDR_ANY)
               : IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

/* The same port on one address and on all of them: the configuration is another one than in our last life. */
static bool make_way(struct doors *doors, const struct sockaddr_storage *address) {
    bool made = false;
    LIST_EACH_SAFE(node, next, &doors->list) {
        struct door *door = CONTAINER_OF(node, struct door, node);
        if (door->claimed || !door->ours || door->path || address->ss_family == AF_UNIX) continue;
        if (io_address_port(&door->address) != io_address_port(address)) continue;
        if (!everywhere(&door->address) && !everywhere(address)) continue;
        door_close(doors, door);
        made = true;
    }
    return made;
}

static struct error *listen_anew(struct doors *doors, const struct sockaddr_storage *address,
                                 const char *text, unsigned mode, int *ret_fd, uint16_t *ret_port) {
    struct error *error = io_listen(text, mode, ret_fd, ret_port);
    if (!error || error->code != ERROR_ALREADY_EXISTS || !make_way(doors, address)) return error;
    error_free(error);
    return io_listen(text, mode, ret_fd, ret_port);
}

/* A name that one address always has, within what a name may be. */
static char *name_of(const char *address) {
    char hex[SHA256_HEX_SIZE];
    sha256_of(span_of(address), hex);
    return mem_printf(OURS "%.12s", hex);
}

struct error *io_door_open(struct io_loop *loop, const char *text, unsigned mode, int *ret_fd,
                           uint16_t *ret_port) {
    struct sockaddr_storage address;
    uint32_t size;
    TRY(io_address_parse(text, &address, &size), "listen at %s", text);
    if (!loop->doors) doors_new(loop, NULL);
    struct doors *doors = loop->doors;
    if (claim(doors, &address, ret_fd)) {
        if (ret_port) *ret_port = io_address_port(&address);
        return NULL;
    }
    TRY_PLAIN(listen_anew(doors, &address, text, mode, ret_fd, ret_port));
    bool stays = doors->notify_fd >= 0 && (address.ss_family == AF_UNIX || io_address_port(&address) != 0);
    scoped_string char *name = stays ? name_of(text) : NULL;
    struct door *door = door_new(doors, *ret_fd, name);
    door->claimed = true;
    if (!stays) return NULL;
    scoped_string char *state = mem_printf("FDSTORE=1\nFDNAME=%s", name);
    tell(doors, state, door->fd);
    return NULL;
}

static struct door *claimed(const struct doors *doors, int fd) {
    if (!doors) return NULL;
    LIST_EACH(node, &doors->list) {
        struct door *door = CONTAINER_OF(node, struct door, node);
        if (door->fd == fd && door->claimed) return door;
    }
    return NULL;
}

void io_door_close(struct io_loop *loop, int fd) {
    struct door *door = claimed(loop->doors, fd);
    if (door)
        door_close(loop->doors, door);
    else
        close(fd);
}

void io_doors_settle(struct io_loop *loop) {
    if (!loop->doors) return;
    LIST_EACH_SAFE(node, next, &loop->doors->list) {
        struct door *door = CONTAINER_OF(node, struct door, node);
        if (door->claimed) continue;
        if (!door->ours)
            log_warn("io", "catnap was started with a socket named '%s', and listens at no such address",
                     door->name);
        door_close(loop->doors, door);
    }
}
