/* foreign: sockets of another network namespace.
 *
 * A socket belongs to the namespace in which it was made, wherever it is used. Root goes there and back
 * within five microseconds. In a user namespace there is no way back into the machine's network; so a thread
 * is kept that goes from container to container, makes the sockets and never comes back. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "inside.h"

struct foreign {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t asked, answered;
    bool waiting, ending; /* a question is open; the thread is to end */
    int netns_fd, family;
    int fd, failed; /* the answer */
};

static int make_socket(int family) {
    return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static void *travel(void *foreign_) {
    struct foreign *foreign = foreign_;
    pthread_mutex_lock(&foreign->lock);
    while (!foreign->ending) {
        if (foreign->waiting) {
            foreign->fd = setns(foreign->netns_fd, CLONE_NEWNET) ? -1 : make_socket(foreign->family);
            foreign->failed = errno;
            foreign->waiting = false;
            pthread_cond_signal(&foreign->answered);
        }
        pthread_cond_wait(&foreign->asked, &foreign->lock);
    }
    pthread_mutex_unlock(&foreign->lock);
    return NULL;
}

static struct foreign *foreign_new(void) {
    struct foreign *foreign = NEW(struct foreign);
    pthread_mutex_init(&foreign->lock, NULL);
    pthread_cond_init(&foreign->asked, NULL);
    pthread_cond_init(&foreign->answered, NULL);
    if (pthread_create(&foreign->thread, NULL, travel, foreign) == 0) return foreign;
    free(foreign);
    return NULL;
}

void foreign_free(struct foreign *foreign) {
    if (!foreign) return;
    pthread_mutex_lock(&foreign->lock);
    foreign->ending = true;
    pthread_cond_signal(&foreign->asked);
    pthread_mutex_unlock(&foreign->lock);
    pthread_join(foreign->thread, NULL);
    free(foreign);
}

static int ask(struct foreign *foreign, int netns_fd, int family) {
    pthread_mutex_lock(&foreign->lock);
    foreign->netns_fd = netns_fd;
    foreign->family = family;
    foreign->waiting = true;
    pthread_cond_signal(&foreign->asked);
    while (foreign->waiting) pthread_cond_wait(&foreign->answered, &foreign->lock);
    int fd = foreign->fd;
    errno = foreign->failed;
    pthread_mutex_unlock(&foreign->lock);
    return fd;
}

struct error *foreign_socket(struct container_host *host, int netns_fd, int family, int *ret_fd) {
    if (host->in_userns) {
        if (!host->foreign) host->foreign = foreign_new();
        *ret_fd = host->foreign ? ask(host->foreign, netns_fd, family) : -1;
        return *ret_fd >= 0 ? NULL : error_errno(errno, "make a socket in the container");
    }
    if (setns(netns_fd, CLONE_NEWNET)) return error_errno(errno, "enter the network of the container");
    *ret_fd = make_socket(family);
    int failed = errno;
    if (setns(host->own_netns, CLONE_NEWNET))
        abort(); /* everything after it would run in the wrong network */
    return *ret_fd >= 0 ? NULL : error_errno(failed, "make a socket in the container");
}
