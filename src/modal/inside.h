/* What the files of modal share: the call at hand, and the nouns with their relations.
 *
 *   environment -> app -> function -> definition (what its client sent)
 *                            '-> call -> input -> task (a container at work on it)
 * An object is found by its id; who keeps another's pointer says so. All is on the loop's thread. */
#pragma once
#include "modal.h"

#include "app.pb-c.h"
#include "call.pb-c.h"
#include "container.pb-c.h"
#include "dict.pb-c.h"
#include "function.pb-c.h"
#include "grpc.h"
#include "image.pb-c.h"
#include "mount.pb-c.h"
#include "queue.pb-c.h"
#include "record.pb-c.h"
#include "secret.pb-c.h"
#include "volume.pb-c.h"
#include "web.pb-c.h"

#define ENVIRONMENT_DEFAULT "main"
#define ID_MAX 32

struct app;
struct function;
struct input;
struct task;

/* ---- rpc.c: one call of Modal's service ---- */
enum rpc_flag {
    RPC_TASK = 1,      /* containers may ask it too */
    RPC_TASK_ONLY = 2, /* nobody else */
    RPC_ONCE = 4,      /* the same idempotency key gets the same answer */
    RPC_STREAM = 8,    /* the client sends many messages: it is handled before the first one is read */
};
struct rpc;
struct rpc_method {
    const char *name;
    const ProtobufCMessageDescriptor *request;
    void (*handle)(struct rpc *rpc, const void *request); /* answers now or later, once */
    unsigned flags;
};
struct rpc {
    struct list node; /* of who holds it */
    struct modal *modal;
    struct grpc_call *call;
    const struct rpc_method *method;
    const char *router_task;      /* of the router's calls: the container that their token is for */
    struct task *task;            /* the container that asks; NULL: a client. Looked at while handling only */
    ProtobufCAllocator allocator; /* the call's arena */
    struct span message;          /* the request's bytes; while handling only */
    char *once;                   /* idempotency key; NULL */
    struct list twins;            /* with that key too, come while this one is not answered yet */
    /* Of a call that is held: */
    void *owner;
    void (*expired)(struct rpc *rpc); /* `rpc_hold`'s time is over */
    struct io_timer *timer;
    bool held; /* by rpc_hold */
};
struct arena *rpc_arena(struct rpc *rpc);
const char *rpc_client_version(struct rpc *rpc); /* "1.6.4"; "" where it is not told */
const char *rpc_client_warning(struct rpc *rpc); /* of a client that is newer than those tried; NULL: none */
void rpc_answer(struct rpc *rpc,
                const void *message); /* a message of protobuf-c; ends the call, as the next do */
void rpc_answer_empty(struct rpc *rpc);
void rpc_answer_kept(struct rpc *rpc, struct error *error); /* empty, or the error: for rpc_commit */
void rpc_fail(struct rpc *rpc, struct error *taken_error);
bool rpc_send(struct rpc *rpc, const void *message); /* of a stream; false: the client is slow */
void rpc_end(struct rpc *rpc);                       /* of a stream: OK */
/* Holds it in `list` until it is answered. `expired` (it answers) after `hold_ms`, never where that is 0 or
 * less. A client that goes away is taken out of the list. */
void rpc_hold(struct rpc *rpc, struct list *list, void *owner, double hold_ms,
              void (*expired)(struct rpc *rpc));
void rpc_hold_shorter(struct rpc *rpc, int64_t left_ms); /* of one that `expired` may answer */
/* Writes records, then `done` with the same rpc. */
void rpc_commit(struct rpc *rpc, const struct store_record *records, size_t count,
                void (*done)(struct rpc *rpc, struct error *error));
/* The same, but a power cut may take it: for values that change often. */
void rpc_commit_soon(struct rpc *rpc, const struct store_record *records, size_t count,
                     void (*done)(struct rpc *rpc, struct error *error));
void rpc_start(struct modal *modal, struct grpc_call *call);
/* An answer that another daemon gave, or was about to. */
void rpc_reply_restore(struct modal *modal, const char *once, const void *message);
void replies_free(struct modal *modal);
void rpc_let_go(struct rpc *rpc); /* out of its list; it is still to be answered */
void rpc_held_end(struct list *list, enum error_code code, const char *text); /* all in it */
/* A length-delimited field of a message's bytes, its last occurrence; data NULL: not there. */
struct span wire_field(struct span message, uint32_t number);
void wire_add(struct text *out, uint32_t number, struct span bytes);
void wire_add_number(struct text *out, uint32_t number, uint64_t value);
/* Packed, in memory of the caller's. */
struct text message_pack(const void *message);
ProtobufCAllocator arena_allocator(struct arena *arena);   /* for protobuf-c: nothing is freed one by one */
char *arena_text(struct arena *arena, const char *string); /* a copy; NULL gives NULL */

/* ---- modal.c ---- */
struct modal {
    struct io_loop *loop;
    struct store *store;
    struct pool *pool;
    struct node *node;
    struct identity *identity;
    struct volumes *volumes_room;
    struct image_store *images_room;
    struct list builds, buildruns;
    uint64_t buildrun_count;
    struct gateway *web_gateway;
    char *state_dir, *run_dir, *logs_dir, *user, *gateway, *domain;
    bool no_auth, gpu_fallback, secure, closing;
    size_t held_calls;    /* by rpc_hold: their clients ask again when they end */
    size_t mounts_making; /* by workers */
    size_t web_bytes;     /* of bodies, read and not taken by a container yet */
    int64_t last_call_ms; /* came, or ended */
    struct tls *tls;      /* of clients' addresses, and of blobs there; NULL: in the clear */
    struct grpc_server *server;
    struct map *methods;                            /* name -> const struct rpc_method */
    struct map *environments;                       /* name -> struct environment */
    struct map *router_methods, *execs, *sandboxes; /* of the other service; id; id */
    struct list tunnels, snapshots;
    struct map *apps;                                            /* id */
    struct map *deployed;                                        /* "ENVIRONMENT/NAME" -> struct app */
    struct map *functions, *classes, *images, *mounts, *secrets; /* id */
    struct map *image_keys, *mount_names, *secret_names;
    double born_at;
    struct map *images_needed;  /* ids, while the image room asks (image_use.c) */
    struct map *image_names;    /* "ENVIRONMENT/NAME:TAG", of image_name.c */
    struct map *calls, *inputs; /* id */
    size_t held_bytes;          /* by calls, of held.c */
    struct journal *journal;
    struct rest *rest;
    struct map *dicts, *dict_names, *queues, *queue_names;
    struct map *publications;   /* "APP/FUNCTION" -> its port; of port.c */
    struct map *core_functions; /* "app.function" of the pool -> struct function */
    struct table *tasks;        /* container -> struct task */
    struct list replies;        /* of idempotent calls, oldest first */
    struct map *reply_of;       /* key -> struct reply */
    struct map *under_way;      /* key -> struct rpc that is not answered yet */
    struct list runtime_jobs;   /* of runtime.c */
    struct http_server *blobs;
    struct io_timer *sweeps;             /* of keep.c */
    uint16_t blob_port, blob_local_port; /* for those who ask by an address, and by a socket */
    char *blob_key;                      /* of this life of the daemon: signs URLs */
    char *pythons;                       /* directory of relocatable Pythons: 3.11/, ...; NULL */
};
double now_s(void); /* wall clock, as Modal tells times */
struct error *no_object(const char *what, const char *id);

/* ---- names.c ---- */
void id_set(char out[ID_MAX], const char *id); /* NULL: empty */
/* A thing that was made anew has the id that it was kept with, and is known by that in `map`. */
void id_restore(struct map *map, char id[ID_MAX], const char *kept, void *thing);
const char *environment_of(const char *name);       /* "" and NULL: the default */
char *core_name_of(const char *name, size_t limit); /* what the pool takes for a name; owned */
char *object_key(const char *environment, const char *name);
char *web_label(const struct modal *modal, const struct app *app, const char *function,
                const Modal__WebhookConfig *web);
char *web_url_of(const struct modal *modal, const char *label);

/* ---- environment.c ---- */
bool environment_known(const struct modal *modal, const char *name);
const char *environment_suffix(const struct modal *modal, const char *name); /* in host names; "": none */
void environment_restore(struct modal *modal, const char *name, struct span value);
void environments_free(struct modal *modal);
extern const struct rpc_method environment_methods[], proxy_token_methods[];

/* ---- definition.c: what a client said a function is ---- */
struct definition {
    unsigned references;
    char id[ID_MAX];   /* de-... */
    struct text bytes; /* Modal's Function, as it came */
    struct arena *arena;
    const Modal__Function *function; /* in the arena */
    char *client_version;
};
must_check struct error *definition_new(struct span bytes, const char *client_version, const char *id_or_null,
                                        struct definition **ret);
struct definition *definition_ref(struct definition *definition);
void definition_unref(struct definition *definition);
/* For the pool; owned. */
must_check struct error *definition_core(const struct function *function, const struct definition *definition,
                                         struct core_function **ret);
/* What its containers import, where their image lacks it: a name for runtime_mount; NULL: nothing. Owned. */
char *definition_deps(const struct modal *modal, const struct definition *definition);
/* The definition's bytes for a container of that function: what its options say of concurrency and batches
 * stands behind, where a reader takes it for the last word. */
struct text definition_for_container(const struct function *function, const struct definition *definition);
uint32_t function_max_inputs(const struct function *function); /* that a container has at once; of batches */
uint32_t function_batch_size(const struct function *function);
int64_t function_batch_linger_ms(const struct function *function);
const Modal__FunctionRetryPolicy *function_retries(const struct function *function); /* NULL: none */
bool definition_is_web(const struct definition *definition);
/* Its own, or that of a class's first web method, which is named then; NULL: it is not asked by HTTP. */
const Modal__WebhookConfig *definition_web(const Modal__Function *said, const char **ret_method);
/* The parts of it that a sandbox has as well. Fields by number that our messages leave out: those mounts are
 * not there. */
must_check struct error *definition_mounts_check(struct span bytes, uint32_t shared, uint32_t s3,
                                                 uint32_t bucket);
/* `deps`: a name for runtime_path; NULL: none. */
must_check struct error *definition_files_set(struct core_function *core, const struct modal *modal,
                                              const Modal__Function *function, const char *deps);
void definition_resources_set(struct core_function *core, const Modal__Resources *resources);
void definition_gpu_or_none(struct core_function *core, const struct modal *modal);
/* For who deploys, where the machine has no such GPU; owned, NULL: it has. Before definition_gpu_or_none. */
char *definition_gpu_words(const struct core_function *core, const struct modal *modal);
void definition_env_set(struct core_function *core, const char *name, const char *value);
bool version_before(const char *version, unsigned major, unsigned minor, unsigned patch);

/* ---- function.c ---- */
struct function {
    char id[ID_MAX]; /* fu-... */
    struct app *app;
    char *name;                            /* "f", "C.*", "C.m" */
    struct definition *published, *staged; /* NULL: none */
    struct function *base;                 /* of a class with parameters: the class's own; else NULL */
    char *parameters;                      /* with its size; NULL */
    size_t parameters_size;
    Modal__FunctionOptions *options; /* of `with_options`; NULL: none */
    char *bind_key;
    struct stats *stats; /* of stats.c; of a bound one its base's count. NULL: none yet */
    char *label, *url;   /* of a web function; NULL */
    char *core_app, *core_name;
    struct list queue;    /* inputs that wait for a container, oldest first */
    struct list retrying; /* inputs that wait for the time of their retry */
    struct list slots;    /* tickets that wait */
    size_t queued, waiting;
    size_t queued_bytes;       /* of their arguments */
    struct list builds;        /* of an image's function: who waits for its end */
    struct schedule *schedule; /* NULL: it runs when it is called */
};
struct function *function_new(struct app *app, const char *name);
void function_id_restore(struct function *function, const char *id); /* as id_restore, with its app's map */
void function_free(struct function *function);
void function_bound_restore(struct modal *modal, const Modal__BoundRecord *record);
struct function *function_of(struct modal *modal, const char *id);
const struct definition *
function_definition(const struct function *function); /* published, else staged; NULL */
const char *function_core_key(const struct function *function, char *out, size_t size);
struct function *function_by_name(struct modal *modal, const char *environment, const char *app_name,
                                  const char *tag);
void function_web_of(struct function *function, const Modal__Function *said); /* a class's web method too */
void function_web_reset(struct function *function, const Modal__Function *said); /* also to none */
Modal__Warning *warning_new(struct arena *arena, char *borrowed_text, Modal__WarningWarningType type);
void function_warnings(Modal__FunctionCreateResponse *answer, const struct function *function,
                       struct arena *arena); /* warning.c */
Modal__FunctionHandleMetadata *function_metadata(const struct function *function, struct arena *arena);
extern const struct rpc_method function_methods[], bound_methods[];

/* ---- class.c ---- */
struct class {
    char id[ID_MAX]; /* cs-... */
    struct app *app;
    char *name;
    char **method_names, **method_ids;
    size_t method_count;
};
void class_free(struct class *class);
Modal__ClassHandleMetadata *class_metadata(const struct class *class, struct arena *arena);
struct class *class_restore(struct app *app, const Modal__ClassRecord *record);
extern const struct rpc_method class_methods[];

/* ---- app.c, publish.c, deployment.c, layout.c ---- */
struct app {
    char id[ID_MAX]; /* ap-... */
    struct modal *modal;
    char *name; /* deployed as, or described as */
    char *environment;
    char *core_name;
    int state; /* MODAL__APP_STATE__... */
    double created_at, stopped_at, deployed_at;
    struct list functions_made;            /* not used by lists of others: all functions of the app */
    struct map *functions;                 /* id -> struct function: all, bound and builders too */
    struct map *layout;                    /* tag -> struct function */
    struct map *classes;                   /* tag -> struct class */
    Modal__DeploymentRecord **deployments; /* of deployment.c: oldest first, staged ones too */
    size_t deployment_count;
    struct io_timer *heartbeat; /* ephemeral: its client is gone when this fires */
    struct list log_streams;    /* held AppGetLogs */
    struct map *tags;           /* name -> its value, owned */
    struct map *overrides; /* of autoscaler.c: core name of a function -> what was set since the deploy */
    struct stats *sandbox_stats;
    bool in_pool, done_told;
};
struct app *app_of(struct modal *modal, const char *id);
struct app *app_new(struct modal *modal, const char *name, const char *environment, int state);
void app_free(struct app *app);
void app_stop(struct app *app);
uint32_t app_running_tasks(const struct app *app);
bool app_is_ephemeral(const struct app *app);
must_check struct error *app_core(struct app *app, struct core_app **ret); /* for the pool; owned */
must_check struct error *app_to_pool(struct app *app);
void app_restore(struct modal *modal, const Modal__AppRecord *record);
void logs_streams_end(struct app *app);
void app_tasks_gone(struct app *app); /* a container ended: perhaps the last of a stopped app */
void app_name_take(struct app *app, const char *name_or_null); /* it is the deployed one of its name now */
/* about.c. `entries`: of any message's map of tags; they take the place of those that were there. */
must_check struct error *app_tags_set(struct app *app, void *const *entries, size_t count);
void app_tags_free(struct app *app);
void app_lifecycle_fill(const struct app *app, Modal__AppLifecycle *out);
Modal__AppLayout *app_layout(const struct app *app, const struct definition *needs, struct arena *arena);
extern const struct rpc_method app_methods[], about_methods[], publish_methods[], layout_methods[],
    logs_methods[];

/* ---- mount.c, image.c, volume.c, secret.c ---- */
struct mount {
    char id[ID_MAX]; /* mo-... */
    char *checksum;
    char *directory; /* absolute: the files at their own paths below it */
};
const struct mount *mount_of(const struct modal *modal, const char *id);
void mounts_free(struct modal *modal);
void mount_restore(struct modal *modal, const Modal__MountRecord *record);
void mount_forget(struct modal *modal, struct mount *mount); /* freed */
void mount_touch(const struct mount *mount);                 /* it was asked for */
void mounts_sweep(struct modal *modal);
extern const struct rpc_method mount_methods[];

#define IMAGE_SNAPSHOT "snapshot" /* so begin keys of what can't be made again; others are hashes */
struct modal_image {
    char id[ID_MAX];                    /* im-... */
    char *key, *name, *builder_version; /* name: as the image room takes it; NULL: not built */
    char *python;                       /* "311"; NULL: it has none */
    bool has_client;                    /* what the client imports is in it */
    int64_t used_ms;                    /* last, by the wall's clock */
    int status;                         /* MODAL__GENERIC_RESULT__GENERIC_STATUS__...; 0: being built */
    char *exception;
    struct text lines;  /* what its build said, each ended by a newline */
    struct list joined; /* held ImageJoinStreaming */
    struct list asking; /* calls that wait for a base to be built: none so far */
};
const struct modal_image *image_of(const struct modal *modal, const char *id);
struct modal_image *image_find_key(const struct modal *modal, const char *key);
struct modal_image *image_new(struct modal *modal, const char *key, const char *builder_version);
void image_say(struct modal_image *image, struct span line);
/* Its end: a name of the image room, or why not (taken). */
void image_built(struct modal *modal, struct modal_image *image, const char *name, struct error *error);
void image_look(struct modal *modal, struct modal_image *image); /* which Python is in it */
void images_free(struct modal *modal);
struct text image_record(const struct modal_image *image); /* for the store */
void image_written(void *owner, struct error *error);      /* a record of which nobody waits */
bool image_is_snapshot(const struct modal_image *image);
void image_forget(struct modal *modal, struct modal_image *image); /* and frees it */
/* image_use.c */
void image_used(const struct modal *modal, const char *id); /* just now */
void images_keeper_set(struct modal *modal);
void image_restore(struct modal *modal, const Modal__ImageRecord *record);
/* build.c: begins to build; the end comes by image_built. */
void build_start(struct modal *modal, struct modal_image *image,
                 const Modal__ImageGetOrCreateRequest *request);
void builds_cancel(struct modal *modal);
/* buildrun.c: a layer that a function makes, run in a container. */
void buildrun_start(struct modal *modal, struct modal_image *image, const char *base,
                    struct function *function, struct span input);
void buildruns_cancel(struct modal *modal);
extern const struct rpc_method image_methods[];
void image_names_free(struct modal *modal);
void image_names_need(const struct modal *modal, struct map *needed);
void image_name_restore(struct modal *modal, const char *key, struct span value);
extern const struct rpc_method image_name_methods[];

struct volume *volume_asked(struct rpc *rpc, const char *id); /* NULL: the call is answered */
extern const struct rpc_method volume_file_methods[], volume_methods[];

void secrets_free(struct modal *modal);
void secret_restore(struct modal *modal, struct span record);
must_check struct error *secret_apply(struct modal *modal, const char *id, struct core_function *function);
/* PERMISSION_DENIED where a container asks for what is not its app's; clients may use all. */
must_check struct error *secrets_may_use(const struct rpc *rpc, char *const *ids, size_t count);
extern const struct rpc_method secret_methods[];

#include "work.h" /* calls, their inputs and streams */

/* ---- task.c, container.c ---- */
struct task {
    char id[ID_MAX]; /* ta-... */
    struct modal *modal;
    uint64_t container;
    struct function *function; /* NULL: it is gone */
    struct definition *definition;
    char *directory; /* its socket and its arguments */
    struct list assigned, running;
    struct list polls;      /* held FunctionGetInputs: at most one */
    struct list heartbeats; /* held ContainerHeartbeat */
    struct text cancelled;  /* ids of inputs to be cancelled, each ended by a NUL */
    bool ready, stopping, blobs_inside, builds;
    bool greeted; /* the client in it said hello, to us or to an earlier daemon */
    double enqueued_at, started_at;
    char *exception; /* TaskResult */
};
struct task *task_of_container(const struct modal *modal, uint64_t container);
struct task *task_of(const struct modal *modal, const char *id);
char *task_id_of(struct arena *arena, uint64_t container); /* 0: NULL */
void task_assign(struct task *task, struct input *input);
void task_assign_slot(struct task *task, struct slot *slot);
void task_cancel_input(struct task *task, struct input *input);
/* Its work ends now: it is told, and so is who waits. */
void task_abandon(struct task *task, const char *why);
void task_stop(struct task *task); /* it gets the kill switch when it asks next, or now */
/* A container that only builds: not the pool's, its number is of our own making. `core` is filled in as a
 * container's. */
must_check struct error *task_build_new(struct modal *modal, struct function *function,
                                        struct core_function *core, struct task **ret);
void task_build_done(struct task *task); /* NULL: fine */
void tasks_hook(struct modal *modal);
void tasks_sweep(struct modal *modal); /* after containers were adopted */
void tasks_free(struct modal *modal);
extern const struct rpc_method container_methods[];

/* ---- blob.c ---- */
void blob_server_open(struct modal *modal);
/* At any port of that ADDR:PORT's ADDR. */
/* For clients who ask there: an address, beside which blobs have a port of their own, or a path. */
must_check struct error *blob_server_listen(struct modal *modal, const char *address);
void blob_server_free(struct modal *modal);
void blob_sign(const struct modal *modal, const char *text, char hex[SHA256_HEX_SIZE]);
bool blob_sign_good(struct span given, const char *ours); /* how long it takes tells nothing */
const char *blob_digest(const char *id);                  /* within it; NULL: no id of a blob */
char *blob_url(struct rpc *rpc, const char *method,
               const char *digest); /* in the call's arena; NULL: none can be had */
extern const struct rpc_method blob_methods[];

/* ---- web.c, pickle.c ---- */
void web_request(void *owner, struct http_exchange *exchange, struct pool_function *function);
void pickle_scope(struct text *out, struct http_exchange *exchange, bool websocket, const char *scheme);

/* ---- port.c ---- */
uint16_t port_of(const struct function *function); /* of its own, to be published; 0: none */
must_check struct error *ports_load(struct modal *modal);
void ports_free(struct modal *modal);

/* ---- record.c ---- */
struct error *records_load(struct modal *modal);
void app_record(const struct app *app, struct text *ret);
