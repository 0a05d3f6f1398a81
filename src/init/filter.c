/* filter: what an app may ask the kernel, as a list of what is allowed; and who listens.
 *
 * The list is that of the common container engines: all but what reaches out of a container or into the
 * kernel (mounts, modules, namespaces, keyrings, bpf, io_uring, clocks, other machines' personalities). What
 * is not on it answers EPERM; what is newer than this table answers ENOSYS, so that programs fall back to
 * what they knew before. Numbers come from the compiler's headers, merged into ranges; the kernel remembers
 * which are always allowed, so the length of the list costs nothing. */
#include "init.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE AUDIT_ARCH_AARCH64
#else
#error "this machine's system calls are not known to the filter"
#endif

/* clang-format off */
static const uint16_t allowed[] = {
    __NR_accept, __NR_accept4, __NR_adjtimex, __NR_bind, __NR_brk, __NR_capget, __NR_capset, __NR_chdir,
    __NR_chroot, __NR_clock_adjtime, __NR_clock_getres, __NR_clock_gettime, __NR_clock_nanosleep,
    __NR_close, __NR_close_range, __NR_connect, __NR_copy_file_range, __NR_dup, __NR_dup3,
    __NR_epoll_create1, __NR_epoll_ctl, __NR_epoll_pwait, __NR_epoll_pwait2, __NR_eventfd2, __NR_execve,
    __NR_execveat, __NR_exit, __NR_exit_group, __NR_faccessat, __NR_faccessat2, __NR_fadvise64,
    __NR_fallocate, __NR_fchdir, __NR_fchmod, __NR_fchmodat, __NR_fchown, __NR_fchownat, __NR_fcntl,
    __NR_fdatasync, __NR_fgetxattr, __NR_flistxattr, __NR_flock, __NR_fremovexattr, __NR_fsetxattr,
    __NR_fstat, __NR_fstatfs, __NR_fsync, __NR_ftruncate, __NR_futex, __NR_futex_waitv,
    __NR_get_robust_list, __NR_getcpu, __NR_getcwd, __NR_getdents64, __NR_getegid, __NR_geteuid,
    __NR_getgid, __NR_getgroups, __NR_getitimer, __NR_getpeername, __NR_getpgid, __NR_getpid, __NR_getppid,
    __NR_getpriority, __NR_getrandom, __NR_getresgid, __NR_getresuid, __NR_getrlimit, __NR_getrusage,
    __NR_getsid, __NR_getsockname, __NR_getsockopt, __NR_gettid, __NR_gettimeofday, __NR_getuid,
    __NR_getxattr, __NR_inotify_add_watch, __NR_inotify_init1, __NR_inotify_rm_watch, __NR_io_cancel,
    __NR_io_destroy, __NR_io_getevents, __NR_io_pgetevents, __NR_io_setup, __NR_io_submit, __NR_ioctl,
    __NR_ioprio_get, __NR_ioprio_set, __NR_kill, __NR_landlock_add_rule, __NR_landlock_create_ruleset,
    __NR_landlock_restrict_self, __NR_lgetxattr, __NR_linkat, __NR_listen, __NR_listxattr, __NR_llistxattr,
    __NR_lremovexattr, __NR_lseek, __NR_lsetxattr, __NR_lstat, __NR_madvise, __NR_membarrier,
    __NR_memfd_create, __NR_memfd_secret, __NR_mincore, __NR_mkdirat, __NR_mknodat, __NR_mlock, __NR_mlock2,
    __NR_mlockall, __NR_mmap, __NR_mprotect, __NR_mq_getsetattr, __NR_mq_notify, __NR_mq_open,
    __NR_mq_timedreceive, __NR_mq_timedsend, __NR_mq_unlink, __NR_mremap, __NR_msgctl, __NR_msgget,
    __NR_msgrcv, __NR_msgsnd, __NR_msync, __NR_munlock, __NR_munlockall, __NR_munmap,
    __NR_name_to_handle_at, __NR_nanosleep, __NR_newfstatat, __NR_openat, __NR_openat2, __NR_pidfd_open,
    __NR_pidfd_send_signal, __NR_pipe2, __NR_pkey_alloc, __NR_pkey_free, __NR_pkey_mprotect, __NR_ppoll,
    __NR_prctl, __NR_pread64, __NR_preadv, __NR_preadv2, __NR_prlimit64, __NR_process_mrelease,
    __NR_process_vm_readv, __NR_process_vm_writev, __NR_pselect6, __NR_ptrace, __NR_pwrite64, __NR_pwritev,
    __NR_pwritev2, __NR_read, __NR_readahead, __NR_readlinkat, __NR_readv, __NR_recvfrom, __NR_recvmmsg,
    __NR_recvmsg, __NR_remap_file_pages, __NR_removexattr, __NR_renameat, __NR_renameat2,
    __NR_restart_syscall, __NR_rseq, __NR_rt_sigaction, __NR_rt_sigpending, __NR_rt_sigprocmask,
    __NR_rt_sigqueueinfo, __NR_rt_sigreturn, __NR_rt_sigsuspend, __NR_rt_sigtimedwait,
    __NR_rt_tgsigqueueinfo, __NR_sched_get_priority_max, __NR_sched_get_priority_min,
    __NR_sched_getaffinity, __NR_sched_getattr, __NR_sched_getparam, __NR_sched_getscheduler,
    __NR_sched_rr_get_interval, __NR_sched_setaffinity, __NR_sched_setattr, __NR_sched_setparam,
    __NR_sched_setscheduler, __NR_sched_yield, __NR_seccomp, __NR_semctl, __NR_semget, __NR_semop,
    __NR_semtimedop, __NR_sendfile, __NR_sendmmsg, __NR_sendmsg, __NR_sendto, __NR_set_robust_list,
    __NR_set_tid_address, __NR_setfsgid, __NR_setfsuid, __NR_setgid, __NR_setgroups, __NR_setitimer,
    __NR_setpgid, __NR_setpriority, __NR_setregid, __NR_setresgid, __NR_setresuid, __NR_setreuid,
    __NR_setrlimit, __NR_setsid, __NR_setsockopt, __NR_setuid, __NR_setxattr, __NR_shmat, __NR_shmctl,
    __NR_shmdt, __NR_shmget, __NR_shutdown, __NR_sigaltstack, __NR_signalfd4, __NR_socket, __NR_socketpair,
    __NR_splice, __NR_stat, __NR_statfs, __NR_statx, __NR_symlinkat, __NR_sync, __NR_sync_file_range,
    __NR_syncfs, __NR_sysinfo, __NR_tee, __NR_tgkill, __NR_timer_create, __NR_timer_delete,
    __NR_timer_getoverrun, __NR_timer_gettime, __NR_timer_settime, __NR_timerfd_create,
    __NR_timerfd_gettime, __NR_timerfd_settime, __NR_times, __NR_tkill, __NR_truncate, __NR_umask,
    __NR_uname, __NR_unlinkat, __NR_utimensat, __NR_vmsplice, __NR_wait4, __NR_waitid, __NR_write,
    __NR_writev,
#ifdef __x86_64__
    __NR_access, __NR_alarm, __NR_arch_prctl, __NR_chmod, __NR_chown, __NR_creat, __NR_dup2,
    __NR_epoll_create, __NR_epoll_wait, __NR_eventfd, __NR_fork, __NR_futimesat, __NR_getdents,
    __NR_getpgrp, __NR_inotify_init, __NR_lchown, __NR_link, __NR_mkdir, __NR_mknod, __NR_modify_ldt,
    __NR_open, __NR_pause, __NR_pipe, __NR_poll, __NR_readlink, __NR_rename, __NR_rmdir, __NR_select,
    __NR_signalfd, __NR_symlink, __NR_time, __NR_unlink, __NR_utime, __NR_utimes, __NR_vfork,
#endif
    /* Newer than the oldest headers we build with; the same number on every machine. */
    451 /* cachestat */, 452 /* fchmodat2 */, 453 /* map_shadow_stack */, 454 /* futex_wake */,
    455 /* futex_wait */, 456 /* futex_requeue */, 462 /* mseal */,
};
/* clang-format on */

enum { NEWEST_KNOWN = 462, CALLS = sizeof allowed / sizeof *allowed, PROGRAM_MAX = 3 * CALLS + 64 };

#define NR offsetof(struct seccomp_data, nr)
#define ARCH offsetof(struct seccomp_data, arch)
#define ARGUMENT0 offsetof(struct seccomp_data, args[0]) /* its low half: both machines are little-endian */
#define NEW_NAMESPACES                                                                            \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | \
     CLONE_NEWNET)
enum { FAMILY_VSOCK = 40 /* to the hypervisor: no network namespace holds it back */ };

struct program {
    struct sock_filter step[PROGRAM_MAX];
    unsigned short size;
};

static void add(struct program *program, uint16_t code, uint32_t k, uint8_t if_true, uint8_t if_false) {
    program->step[program->size++] = (struct sock_filter)BPF_JUMP(code, k, if_true, if_false);
}
static void answer(struct program *program, uint32_t action) {
    add(program, BPF_RET | BPF_K, action, 0, 0);
}
static void load(struct program *program, size_t what) {
    add(program, BPF_LD | BPF_W | BPF_ABS, (uint32_t)what, 0, 0);
}
static uint32_t refuse(uint32_t errno_value) {
    return SECCOMP_RET_ERRNO | errno_value;
}

static int by_number(const void *a, const void *b) {
    return *(const uint16_t *)a - *(const uint16_t *)b;
}

static void add_ranges(struct program *program) {
    uint16_t calls[CALLS];
    memcpy(calls, allowed, sizeof calls);
    qsort(calls, CALLS, sizeof *calls, by_number);
    for (size_t i = 0, last; i < CALLS; i = last + 1) {
        for (last = i; last + 1 < CALLS && calls[last + 1] <= calls[last] + 1;) last++;
        add(program, BPF_JMP | BPF_JGE | BPF_K, calls[i], 0, 2);
        add(program, BPF_JMP | BPF_JGT | BPF_K, calls[last], 1, 0);
        answer(program, SECCOMP_RET_ALLOW);
    }
}

/* Calls that are allowed or not by their first argument. */
static void add_special(struct program *program) {
    add(program, BPF_JMP | BPF_JEQ | BPF_K, __NR_clone3, 0,
        1); /* its flags lie in memory: out of a filter's sight */
    answer(program, refuse(ENOSYS));
    add(program, BPF_JMP | BPF_JEQ | BPF_K, __NR_clone, 0, 4);
    load(program, ARGUMENT0);
    add(program, BPF_JMP | BPF_JSET | BPF_K, NEW_NAMESPACES, 0, 1);
    answer(program, refuse(EPERM));
    answer(program, SECCOMP_RET_ALLOW);
    add(program, BPF_JMP | BPF_JEQ | BPF_K, __NR_socket, 0, 4);
    load(program, ARGUMENT0);
    add(program, BPF_JMP | BPF_JEQ | BPF_K, FAMILY_VSOCK, 0, 1);
    answer(program, refuse(EPERM));
    answer(program, SECCOMP_RET_ALLOW);
    static const uint32_t personalities[] = {0, 0x0008, 0x20000, 0x20008, 0xffffffff};
    const uint8_t count = sizeof personalities / sizeof *personalities;
    add(program, BPF_JMP | BPF_JEQ | BPF_K, __NR_personality, 0, (uint8_t)(count + 3));
    load(program, ARGUMENT0);
    for (uint8_t i = 0; i < count; i++)
        add(program, BPF_JMP | BPF_JEQ | BPF_K, personalities[i], (uint8_t)(count - i), 0);
    answer(program, refuse(EPERM));
    answer(program, SECCOMP_RET_ALLOW);
}

static int install(struct program *program, unsigned flags) {
    struct sock_fprog all = {.len = program->size, .filter = program->step};
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &all);
}

int filter_install(void) {
    struct program program = {.size = 0};
    load(&program, ARCH);
    add(&program, BPF_JMP | BPF_JEQ | BPF_K, NATIVE, 1, 0);
    answer(&program, refuse(ENOSYS));
    load(&program, NR);
    add(&program, BPF_JMP | BPF_JGT | BPF_K, NEWEST_KNOWN, 0, 1); /* also the x32 half of x86-64 */
    answer(&program, refuse(ENOSYS));
    add_special(&program);
    add_ranges(&program);
    answer(&program, refuse(EPERM));
    return install(&program, 0);
}

int filter_watch_listen(void) {
    struct program program = {.size = 0};
    load(&program, ARCH);
    add(&program, BPF_JMP | BPF_JEQ | BPF_K, NATIVE, 1, 0);
    answer(&program, SECCOMP_RET_ALLOW);
    load(&program, NR);
    add(&program, BPF_JMP | BPF_JEQ | BPF_K, __NR_listen, 0, 1);
    answer(&program, SECCOMP_RET_USER_NOTIF);
    answer(&program, SECCOMP_RET_ALLOW);
    return install(&program, SECCOMP_FILTER_FLAG_NEW_LISTENER);
}

bool filter_listen_seen(int fd) {
    union {
        struct seccomp_notif seen;
        char room_for_newer_kernels[512];
    } in;
    union {
        struct seccomp_notif_resp answer;
        char room_for_newer_kernels[512];
    } out;
    memset(&in, 0, sizeof in); /* the kernel refuses a request that is not zero */
    if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &in)) return false;
    memset(&out, 0, sizeof out);
    out.answer.id = in.seen.id;
    out.answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    return ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &out) == 0;
}
