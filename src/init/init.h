/* init: what catnap-init's files share.
 *
 * One static program with two faces. `catnap-init run` is PID 1 in a container: reaps, forwards signals,
 * writes the log files, sees when the app is ready, records how it ended. `catnap-init launch` lives outside:
 * a process made ahead, already in its cgroups and namespaces, that mounts a root file system and becomes the
 * OCI runtime. Libc only, no room's code. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum {
    LOGS_FD = 3,
    BOX_FD = 4
}; /* inherited: the directory of the log files, the container's directory in the run directory */
enum ready_by { READY_BY_PORT, READY_BY_NOTIFY, READY_BY_SOCKET };

struct run_options {
    uint16_t port;
    enum ready_by ready_by;
    const char *user;     /* NULL: 0 */
    bool keep_home;       /* HOME is the user's own wish, not the runtime's guess */
    const char *log_name; /* NAME.log */
    uint64_t log_bytes;   /* a file turns at this size */
    int64_t startup_ms;   /* after it readiness is no longer looked for by the clock */
    int oom_score;        /* of the app, not of ourselves */
    char **command;       /* NULL-terminated */
};

int run_main(int argc, char **argv);
int launch_main(int argc, char **argv);
int enter_main(int argc, char **argv);
int exec_main(int argc, char **argv);
int fs_main(int argc, char **argv);

/* ---- fs.c, fswatch.c ---- */
void fs_json(FILE *out, const char *text);
int fs_failed(int reason); /* tells why, and gives the program's end */
int fs_watch(const char *path, bool deep, int64_t seconds, const char *kinds);

/* ---- app.c: the child ---- */
enum step { STEP_RUN, STEP_USER, STEP_FILTER, STEP_DESCRIPTORS };
struct failure { /* of the child before it became the command */
    enum step step;
    int reason; /* errno */
};
struct app {
    pid_t pid;
    int out_fd, err_fd; /* reading ends */
    int listener_fd;    /* of the filter on listen(2); -1: none */
    int failed_fd;      /* a struct failure where it could not be run; ends when it runs */
};
/* `socket_fd`: handed over as fd 3 with LISTEN_FDS; -1: none. Returns 0 or -1 with errno. */
int app_start(const struct run_options *options, int socket_fd, struct app *ret_app);

/* The container's own users; HOME follows. False: errno says why. */
bool app_become(const struct run_options *options);

/* ---- launch.c: what a command that comes later needs as well ---- */
int launch_enter_cgroup(const char *directory);
int launch_hide(const char *path);
void launch_protect(const char *program);

/* ---- filter.c: seccomp ---- */
int filter_install(void);        /* the allow list; 0 or -1 with errno */
int filter_watch_listen(void);   /* a notification fd for listen(2), or -1 */
bool filter_listen_seen(int fd); /* takes one notification and lets the call go on */

/* ---- ready.c ---- */
struct ready {
    uint16_t port;
    int diag_fd; /* -1: by connecting */
    bool done;
    int64_t began_us, next_us, interval_us, give_up_us;
};
void ready_init(struct ready *ready, const struct run_options *options);
void ready_hint(struct ready *ready);  /* someone is about to listen */
bool ready_probe(struct ready *ready); /* looks, and sets the time of the next look */
int ready_socket(uint16_t port);       /* a listening socket for LISTEN_FDS, or -1 */
int ready_notify_socket(void);         /* where sd_notify(3) reports to, or -1 */
bool ready_notified(int fd);           /* reads what came; true on READY=1 */

/* ---- lines.c, logfile.c, logdisk.c: from a pipe to the log ---- */
enum { LINE_MAX_BYTES = 16384, STAMP_BYTES = 64 };
struct logfile;
struct logfile *logfile_open(int dir_fd, const char *name, uint64_t limit_bytes);
/* Never blocks. False: not taken, there is no room just now; try again when room_fd is readable or the time
 * has come. True: taken, or counted as lost and told later. `text` without the newline. */
bool logfile_line(struct logfile *log, const char *stream, const char *text, size_t size);
int logfile_room_fd(const struct logfile *log);
int64_t logfile_waits_until_us(const struct logfile *log); /* INT64_MAX: nobody waits */
void logfile_await_room(struct logfile *log, int64_t until_us);
void logfile_say(struct logfile *log, const char *format, ...) __attribute__((format(printf, 2, 3)));
void logfile_close(struct logfile *log, int64_t until_us); /* writes what is left, until then */

struct lines {
    char stream[4]; /* "out" or "err" */
    bool held;      /* the log has no room for the next one */
    size_t size;
    char data[LINE_MAX_BYTES];
};
/* Reads what the pipe holds. False: its end. */
bool lines_read(struct lines *lines, int fd, struct logfile *log);
bool lines_pass(struct lines *lines, struct logfile *log); /* those that were held; false: again */
void lines_end(struct lines *lines, struct logfile *log);  /* a last line without its newline */

struct logdisk {
    int dir_fd, fd;
    char name[64];
    uint64_t limit_bytes, size_bytes, lost;
};
void logdisk_open(struct logdisk *disk, int dir_fd, const char *name, uint64_t limit_bytes);
/* `lost_after`: lines that came after these and found no room. */
void logdisk_write(struct logdisk *disk, const char *lines, size_t size, uint64_t lost_after);
size_t log_stamp(char out[STAMP_BYTES], const char *stream);

/* ---- rootfs.c, veth.c, layers.c: for the launcher ---- */
int rootfs_host(const char *box, const char *init);
int rootfs_bring_init(const char *init);       /* into the working directory */
int rootfs_dir(const char *path, mode_t mode); /* there already: fine */
/* ---- layers.c ---- */
enum { LAYERS_MAX = 256, GRAFTS_MAX = 32 };
struct layers {
    char *layers[LAYERS_MAX]; /* directories, top first */
    size_t count;
    char *grafts[GRAFTS_MAX]; /* directories of this machine that lie below the layers at the same path:
                                 "/usr" */
    size_t graft_count;
    bool writable;
    const char *kept; /* a directory in whose u and w is written, and that stays; NULL: one in the box */
};
int rootfs_layers(const char *box, const struct layers *layers, const char *init);
/* ---- below.c ---- */
enum { BELOW_MAX = 64 };
struct below {
    const char *tree[BELOW_MAX]; /* a volume's live tree */
    const char *path[BELOW_MAX]; /* the part of it that is to be mounted: "a/b" */
    size_t count;
};
int below_mount(const char *box, const struct below *below); /* BOX/below/0, ... */
int loopback_up(void);
struct veth {
    char host_name[16];
    uint32_t host_ip, own_ip; /* host byte order; a /30 */
    int host_netns;
};
int veth_make(const struct veth *veth);

int64_t now_us(void);
/* Keeps what is said last for the one who reads the runtime's log. Returns -1. */
int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
int write_file(int dir_fd, const char *path, const char *content, int flags);
