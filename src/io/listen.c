/* Sockets that listen: see io.h. Knows how an address that is taken shows itself, and that a socket left
 * behind by a dead process is replaced while a living one is not. */
#include "io.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define BACKLOG 4096

static struct error *bind_path(int fd, const char *path, unsigned mode, const struct sockaddr *there,
                               socklen_t size) {
    /* The file gets the mode less the umask, so that it is never open to more than it should be; then all of
     * it. */
    fchmod(fd, mode);
    for (int attempt = 0; attempt < 2; attempt++) {
        if (bind(fd, there, size) == 0) {
            if (chmod(path, mode) == 0) return NULL;
            struct error *error = error_errno(errno, "mode of %s", path);
            unlink(path);
            return error;
        }
        if (errno != EADDRINUSE) return error_errno(errno, "listen at %s", path);
        scoped_fd int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (probe >= 0 && connect(probe, there, size) == 0) break;
        struct stat old;
        if (errno != ECONNREFUSED || lstat(path, &old) != 0 || !S_ISSOCK(old.st_mode)) break;
        unlink(path);
    }
    return error_new(ERROR_ALREADY_EXISTS,
                     "somebody listens at %s already: stop that process or take another path", path);
}

static struct error *port_error(int why, const char *text) {
    if (why == EADDRINUSE)
        return error_new(ERROR_ALREADY_EXISTS,
                         "%s is taken by another process: stop it or choose another port", text);
    return error_errno(why, "listen at %s", text);
}

struct error *io_listen(const char *text, unsigned mode, int *ret_fd, uint16_t *ret_port) {
    struct sockaddr_storage address;
    socklen_t size;
    TRY(io_address_parse(text, &address, &size), "listen at %s", text);
    scoped_fd int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return error_errno(errno, "socket for %s", text);
    if (address.ss_family == AF_UNIX) {
        TRY_PLAIN(bind_path(fd, text, mode, (const struct sockaddr *)&address, size));
    } else {
        int yes = 1;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        if (bind(fd, (const struct sockaddr *)&address, size) != 0) return port_error(errno, text);
    }
    if (listen(fd, BACKLOG) != 0) return port_error(errno, text);
    size = sizeof address;
    getsockname(fd, (struct sockaddr *)&address, &size);
    if (ret_port) *ret_port = io_address_port(&address);
    *ret_fd = take_fd(&fd);
    return NULL;
}
