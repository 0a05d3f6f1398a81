/* container, inside: what this room's files share.
 *
 * slot: what is made ahead (a launcher in its cgroups, a box), by slot.c. container: takes a slot and lives
 * in it, by life.c. A box is RUN_DIR/c/SLOT: config.json, the fifo `ready`, `state` and `record.json`, the
 * launcher's runtime.log, upper. */
#pragma once
#include "container.h"

enum { CGROUP_DIRS_MAX = 5, CGROUP_V1_MAX = 16 };
enum cgroup_controller { CGROUP_MEMORY, CGROUP_CPU, CGROUP_PIDS, CGROUP_CONTROLLERS };

/* ---- cgroup.c, cgroup_find.c, cgroup_open.c ---- */
struct cgroup_host {
    char *unified; /* our group in the v2 hierarchy, wherever that is mounted; NULL: none */
    char *freezer; /* v1's, only where there is no v2 */
    char *controller[CGROUP_CONTROLLERS]; /* our group that limits it; NULL: this machine does not */
    bool controller_v2[CGROUP_CONTROLLERS];
    char *hide;      /* the v2 mount of a machine with both, which crun does not bear; NULL: pure v1 or v2 */
    char *delegated; /* v2: the group given to us (we move to a leaf of it); NULL: the root */
    char *v1[CGROUP_V1_MAX]; /* our group in every v1 hierarchy, NULL-terminated: some runtimes make it in all
                              */
};
/* From the texts of /proc/self/mountinfo and /proc/self/cgroup; touches nothing. */
void cgroup_find(const char *mountinfo, const char *own, const char *name, struct cgroup_host *ret_groups);
must_check struct error *cgroup_host_open(const char *name, struct cgroup_host *ret_groups);
/* The group that was given to this process, ours to divide. Takes groups->delegated. Owned; NULL: none. */
char *cgroup_given(struct cgroup_host *groups);
/* Without root all of it may be missing. */
bool cgroup_can_freeze(const struct cgroup_host *groups);
must_check struct error *cgroup_freeze_check(const struct cgroup_host *groups);
void cgroup_tell_lacks(const struct cgroup_host *groups); /* in the log */
void cgroup_host_done(struct cgroup_host *groups);
void cgroup_host_remove(const struct cgroup_host *groups); /* our groups, where nothing is left in them */
/* The directories of one slot, each once. Owned strings. */
size_t cgroup_dirs(const struct cgroup_host *groups, const char *slot, char *ret_dirs[CGROUP_DIRS_MAX]);
must_check struct error *cgroup_make(const struct cgroup_host *groups, const char *slot);
must_check struct error *cgroup_limit(const struct cgroup_host *groups, const char *slot,
                                      const struct core_function *function);
must_check struct error *cgroup_freeze(const struct cgroup_host *groups, const char *slot, bool freeze);
void cgroup_kill(const struct cgroup_host *groups, const char *slot);
/* Blocking: kills what is left and removes; false where something stays for longer than `patience_ms`. */
bool cgroup_remove(const struct cgroup_host *groups, const char *slot, int64_t patience_ms);
uint64_t cgroup_memory_bytes(const struct cgroup_host *groups, const char *slot);
uint64_t cgroup_oom_kills(const struct cgroup_host *groups, const char *slot);
/* Is it frozen or on the way there? */
bool cgroup_frozen(const struct cgroup_host *groups, const char *slot);
/* The file and the words that give memory back; NULL: nothing on this machine does. */
char *cgroup_reclaim_file(const struct cgroup_host *groups, const char *slot, const char **ret_word);

/* ---- slot.c ---- */
struct slot {
    struct list node; /* in host->slots */
    struct container_host *host;
    char *name, *box;
    struct io_child *launcher;
    int socket_fd;
    struct io_watch *watch;
    bool ready;
    struct container *container; /* whose it is; NULL: nobody's yet */
};
void slot_refill(struct container_host *host);       /* as many launchers as are wanted now */
void slot_remove(struct slot *slot);                 /* one that nobody took; blocking, milliseconds */
struct slot *slot_take(struct container_host *host); /* a ready one, out of the list; NULL: none */
struct slot *slot_of(struct container_host *host, const char *name); /* for one found after a restart */
must_check struct error *slot_send(struct slot *slot, struct span job);
char *slot_file(const struct slot *slot, const char *name); /* a path in the box */
char *slot_runtime_log(const struct slot *slot);            /* its last words, one line; never NULL */
void slot_free(struct slot *slot);

/* ---- gpu.c, beneath ---- */
enum { CDI_CARDS_MAX = 64 };
struct gpu {
    uint64_t mib; /* 0: not known */
    char name[64];
};
struct gpus {
    struct gpu card[CDI_CARDS_MAX];
};

/* ---- host.c ---- */
enum runtime_kind { RUNTIME_CRUN, RUNTIME_RUNC, RUNTIME_OTHER };
struct container_host {
    struct io_loop *loop;
    char *state_dir, *run_dir, *runtime, *runtime_path, *init_path, *cgroup;
    enum runtime_kind kind;
    uint32_t launchers;
    uint64_t log_file_bytes;
    struct cgroup_host groups;
    int own_netns;
    bool in_userns;          /* started without root: in a user namespace of our own */
    bool one_user;           /* and it is the only one there */
    struct foreign *foreign; /* NULL: not needed yet */
    char *epoch;             /* of this daemon's slots */
    uint64_t slots_made;
    struct list slots;      /* without a container */
    struct list waiting;    /* containers without a slot */
    struct list containers; /* all the others */
    struct io_timer *refill;
    struct network *network; /* NULL: nobody went out yet */
    struct gpus gpus;
    char *gpus_told;     /* what was left out when it was told last; NULL: nothing yet */
    unsigned references; /* work in flight, and the owner's */
};
char *host_program_find(const char *program); /* where launchers will look; owned, NULL: nowhere */
void host_unref(struct container_host *host);
void host_pump(struct container_host *host); /* brings those who wait and slots together */
/* No launcher could be made: `text` says why to all who wait. */
void host_no_launcher(struct container_host *host, const char *text);

/* ---- userns.c ---- */
bool userns_inside(void);    /* are we root of a user namespace only? */
bool userns_has_users(void); /* more than one there */
/* How many more users this one may have in its namespaces: of /etc/subuid, with newuidmap; 0: none. */
uint64_t userns_range_size(void);
must_check struct error *userns_map_self(uid_t uid, gid_t gid); /* as the only one */
bool userns_find_range(const char *subuid, const char *name, unsigned id, uint64_t ret_range[2]);

/* ---- probe.c: for doctor ---- */
enum probe {
    PROBE_NAMESPACES,
    PROBE_OVERLAY,
    PROBE_NOTIFICATIONS,
    PROBE_USER_NAMESPACE,
    PROBE_NFT,
    PROBE_VETH
};
int probe(enum probe what); /* 0, or the errno that it ends with; nothing of it is left */
char *probe_first_line(const char *const *argv);

/* ---- program.c ---- */
/* Runs it to its end; blocking. False: it can't be run, failed, or was ended after a while. */
bool program_ask(const char *const *argv, struct text *ret_said);

/* ---- foreign.c ---- */
must_check struct error *foreign_socket(struct container_host *host, int netns_fd, int family, int *ret_fd);
void foreign_free(struct foreign *foreign);

/* ---- life.c ---- */
enum life { LIFE_WAITING, LIFE_CREATING, LIFE_CREATED, LIFE_STARTING, LIFE_READY, LIFE_ENDING, LIFE_GONE };
struct container {
    struct list node;
    struct container_host *host;
    enum life life;
    const struct container_events *events;
    void *owner;
    uint64_t number, version;
    char id[24]; /* the number, in decimal */
    struct core_function *function;
    char **layers;
    size_t layer_count;
    char **grafts; /* NULL-terminated */
    char *upper;
    struct container_mount *mounts;
    size_t mount_count;
    struct slot *slot;
    struct list execs;
    uint64_t exec_count;
    bool plain_env, start, shut_in, was_ready, frozen, freed, kill_wanted;
    int64_t started_wall_ms;
    int pid, pidfd, netns_fd, ready_fd;
    uint32_t network_index; /* 0: no way out */
    uint64_t gpus;          /* bit N: it has the card N */
    uint64_t oom_kills;
    struct io_watch *pid_watch, *ready_watch;
    struct io_timer
        *timer; /* deadline of the creation, later the pause between doze_signal and the freezer */
    struct io_child *helper; /* reclaiming, the way out, or the runtime's delete */
    void (*way_out)(struct container *container, struct error *taken);
    struct io_work work;
    struct container_end end;
};
struct container *life_found(struct container_host *host, const struct container_events *events,
                             void *owner); /* blank */
void life_take_slot(struct container *container, struct slot *slot);
void life_created(struct container *container,
                  const struct io_child_end *end); /* the runtime's create has ended */
void life_fail(struct container *container, struct error *taken_error);
must_check struct error *life_watch(struct container *container); /* pid known: pidfd, netns, fifo */
/* NULL: it goes on without, and that is told. Takes the error. */
must_check struct error *life_no_way_out(struct container *container, struct error *taken_why);
void life_tell_ready(struct container *container);
void life_free(struct container *container);

/* ---- exec.c ---- */
void exec_container_gone(struct container *container);

/* ---- end.c ---- */
void end_begin(struct container *container);
/* Removes a dead one's remains on a worker. Takes the slot. */
void end_sweep(struct container_host *host, struct slot *slot, const char *id);

/* ---- spec.c ---- */
must_check struct error *spec_write(struct container *container);   /* config.json into the box; takes GPUs */
void spec_job(const struct container *container, struct text *job); /* what the launcher is to do */
void spec_delete_argv(const struct container *container, const char *root, const char *argv[8]);
char *spec_logs_dir(const struct container *container);

/* ---- record.c ---- */
struct record {
    char *app, *function, *id, *slot;
    uint64_t number, version;
    int pid;
    uint64_t start_ticks;
    int64_t started_wall_ms;
    uint16_t port;
    int doze_signal, stop_signal;
    bool runner;
    uint32_t network_index;
    uint64_t gpus;
};
must_check struct error *record_write(const struct container *container);
must_check struct error *record_read(const char *box, struct record *ret_record);
void record_done(struct record *record);
uint64_t process_start_ticks(int pid); /* field 22 of its stat; 0: gone */
/* What catnap-init wrote: how far it came, how it ended. */
struct state {
    bool started, ready, exited;
    int exit_code, signal;
};
struct state state_read(const char *box);

/* ---- network.c: the way out ---- */
/* Whether containers may go out already. If not, it is being prepared: host_pump runs again, or who waits for
 * it fails. */
bool network_prepared(struct container_host *host);
must_check struct error *network_take(struct container_host *host, uint32_t *ret_index);
void network_adopt(struct container_host *host, uint32_t index);
void network_give(struct container_host *host, uint32_t index);
void network_resume(struct container_host *host); /* an earlier daemon's, where it left one */
void network_stop(struct container_host *host);   /* nothing of it runs on the loop any more */
void network_free(struct container_host *host);   /* the table too where nobody uses it; blocking */
void network_job(const struct container_host *host, uint32_t index, struct text *job);
char *network_resolv_conf(const char *text); /* what a container can use of the machine's; owned */

/* ---- slirp.c: the way out without root ---- */
/* For a created one: `done` comes on the loop, NULL or why there is none. Uses container->helper. */
void slirp_start(struct container *container, void (*done)(struct container *container, struct error *taken));
void slirp_stop(const char *box); /* blocking, briefly; where there was none, nothing */
extern const char *const slirp_resolv_conf;

/* ---- cdi.c, cdi_yaml.c: how GPUs are given ---- */
struct cdi {
    json_t *specs;
    uint64_t cards; /* bit N: there is a card N */
    struct {
        json_t *spec, *device; /* borrowed of specs */
    } of[CDI_CARDS_MAX];
    struct text left_out; /* a line for each file or card that is not as it must be: "PATH: why" */
};
must_check struct error *cdi_yaml(struct span text, json_t **ret_json); /* new reference */
/* What can't be used is noted and left out: one broken file takes nothing from the others. */
void cdi_add_text(struct cdi *cdi, const char *path, struct span text, bool yaml);
void cdi_read(const char *const *dirs, struct cdi *ret_cdi); /* `dirs`: NULL-terminated */
must_check struct error *cdi_apply(const struct cdi *cdi, uint64_t cards, json_t *config);
void cdi_done(struct cdi *cdi);

/* ---- gpu.c: which are given ---- */
void gpus_parse(struct span csv,
                struct gpus *gpus); /* "INDEX, MIB, NAME" a line; what is none is passed over */
/* Asks `program`, blocking, where the file `kept` has no answer of this boot. */
void gpus_find(const char *program, const char *kept, struct gpus *ret_gpus);
/* Of `cards`, for "KIND" or "KIND:COUNT". FAILED_PRECONDITION: there are not so many such. */
must_check struct error *gpus_choose(const struct gpus *gpus, uint64_t cards,
                                     const unsigned users[CDI_CARDS_MAX], const char *gpu,
                                     uint64_t *ret_cards);
char *gpus_words(const struct gpus *gpus, uint64_t cards); /* owned */
void gpu_described(struct cdi *ret_cdi);                   /* all that this machine describes */
must_check struct error *gpu_give(struct container *container, json_t *config);
