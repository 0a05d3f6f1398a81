/* daemon: `catnap serve`. Makes the rooms, ties them together, and takes them down again.
 *
 * Start: lock and journal (store), this machine (container, node), the apps as they were (pool), what an
 * earlier daemon left running, then the doors (api, gateway), then --up, and only then "catnap is up". End by
 * SIGINT or SIGTERM: the doors close, what is being answered ends, containers stop unless they are to be
 * left, and nothing stays behind. A second signal is impatient: containers are killed. */
#include "daemon.h"

#include "api.h"
#include "certificate.h"
#include "config.h"
#include "container.h"
#include "gateway.h"
#include "identity.h"
#include "image.h"
#include "modal.h"
#include "node.h"
#include "pool.h"
#include "store.h"
#include "volume.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#ifndef CATNAP_VERSION
#define CATNAP_VERSION "0"
#endif
#define CONTAINER_NUMBERS 1000000000u /* for one life of the daemon */
#define STEP_NUMBERS 10000000u        /* of containers in which images are built */
#define MANIFEST_LIMIT (1024 * 1024)
#define URL_MARK "{url}"
#define HAND_OVER_MS 3000 /* for what is being answered when another daemon comes */
#define LOOK_MS 20

enum { REST_MS = 1000 };

struct daemon {
    struct config config;
    struct io_loop *loop;
    struct store *store;
    struct identity *identity;
    struct container_host *host;
    struct volumes *volumes;
    struct node *node;
    struct image_store *images;
    struct pool *pool;
    struct certificates *certificates;
    struct api *api;
    struct gateway *gateway;
    struct modal *modal;
    struct io_signal *interrupt, *terminate, *usr1, *hangup;
    struct io_rest *rest;
    struct io_timer *patience; /* of a hand-over */
    int64_t left_ms;
    bool gateway_closed;
    char *logs_dir;
    size_t ups; /* of config.up, applied so far */
    int signals;
    bool ended; /* by the first `end` */
    bool in_terminal;
    int status; /* of the process */
};

static struct error *app_load(struct daemon *daemon, struct core_app *app) {
    return pool_app_set(daemon->pool, app);
}

/* An app that can't be run any more (its directory is gone, its port has another owner) keeps the others from
 * nothing. */
static void on_app(void *owner, struct core_app *taken_app) {
    scoped(core_app) struct core_app *app = taken_app;
    scoped(error) struct error *error = app_load(owner, app);
    if (!error) return;
    scoped_string char *text = error_text(error);
    log_error("daemon", "app %s is not served: %s", app->name, text);
}

static struct image_pair *image_pairs(const struct config_pair *pairs, size_t count) {
    struct image_pair *result = mem_array(count + 1, sizeof *result);
    for (size_t i = 0; i < count; i++) result[i] = (struct image_pair){pairs[i].name, pairs[i].value};
    return result;
}

static struct error *images_open(struct daemon *daemon) {
    const struct config *config = &daemon->config;
    scoped_string char *dir = path_join(config->state_dir, "images");
    struct image_pair *mirrors = image_pairs(config->mirrors, config->mirror_count);
    struct image_pair *aliases = image_pairs(config->aliases, config->alias_count);
    struct error *error = image_store_open(
        &(struct image_options){
            .loop = daemon->loop,
            .dir = dir,
            .store = daemon->store,
            .runner = node_image_runner(daemon->node),
            .mirrors = mirrors,
            .mirror_count = config->mirror_count,
            .aliases = aliases,
            .alias_count = config->alias_count,
            .auth_file = config->registry_auth,
            .quota_bytes = config->image_bytes,
            .cache_bytes = config->image_cache_bytes ? config->image_cache_bytes : 1,
            .cache_ms = config->image_cache_ms > 0 ? config->image_cache_ms : 1,
            .stall_ms = config->pull_stall_ms,
        },
        &daemon->images);
    free(mirrors), free(aliases);
    if (!error) node_images_set(daemon->node, daemon->images);
    return error;
}

static struct error *machine_open(struct daemon *daemon) {
    const struct config *config = &daemon->config;
    const char *run_name = strrchr(config->run_dir, '/') + 1; /* "catnap-1a2b3c4d": the group's name too */
    daemon->logs_dir = path_join(config->state_dir, "logs");
    const struct container_host_options options = {
        .loop = daemon->loop,
        .state_dir = config->state_dir,
        .run_dir = config->run_dir,
        .runtime = config->runtime,
        .init_path = config->init_path,
        .cgroup = run_name,
        .launchers = config->launchers,
        .log_file_bytes = config->log_file_bytes,
    };
    uint64_t steps;
    TRY_PLAIN(store_numbers(daemon->store, STEP_NUMBERS, &steps));
    TRY_PLAIN(container_host_open(&options, &daemon->host));
    scoped_string char *volumes = path_join(config->state_dir, "volumes");
    TRY_PLAIN(
        volumes_open(&(struct volumes_options){.loop = daemon->loop, .store = daemon->store, .dir = volumes},
                     &daemon->volumes));
    daemon->node = node_new(&(struct node_options){
        .loop = daemon->loop,
        .host = daemon->host,
        .volumes = daemon->volumes,
        .logs_dir = daemon->logs_dir,
        .step_numbers = steps,
    });
    return images_open(daemon);
}

static struct error *pool_open(struct daemon *daemon) {
    const struct config *config = &daemon->config;
    uint64_t first;
    TRY_PLAIN(store_numbers(daemon->store, CONTAINER_NUMBERS, &first));
    struct nap_config nap = config->nap;
    nap.first_container = first ? first : 1;
    daemon->pool = pool_new(&(struct pool_options){
        .loop = daemon->loop,
        .node = daemon->node,
        .user = config->user,
        .nap = nap,
    });
    TRY(store_apps_load(daemon->store, on_app, daemon), "apps of the state directory");
    daemon->modal = modal_new(&(struct modal_options){
        .loop = daemon->loop,
        .store = daemon->store,
        .pool = daemon->pool,
        .node = daemon->node,
        .identity = daemon->identity,
        .volumes = daemon->volumes,
        .images = daemon->images,
        .state_dir = config->state_dir,
        .run_dir = config->run_dir,
        .logs_dir = daemon->logs_dir,
        .user = config->user,
        .gateway = config->gateway,
        .domain = config->domain,
        .pythons = config->pythons,
        .no_auth = config->no_auth,
        .secure = certificates_gateway(daemon->certificates) != NULL,
        .tls = certificates_modal(daemon->certificates),
        .gpu_fallback = config->gpu_fallback,
    });
    TRY_PLAIN(modal_load(daemon->modal));
    TRY_PLAIN(pool_adopt(daemon->pool));
    modal_resume(daemon->modal);
    return NULL;
}

/* The default gives way to who has the port already (another catnap, say); an address that was asked for does
 * not. */
static struct error *modal_open(struct daemon *daemon) {
    const struct config *config = &daemon->config;
    scoped_string char *socket = path_join(config->run_dir, "modal.sock");
    modal_serve_web(daemon->modal, daemon->gateway);
    TRY(modal_listen(daemon->modal, socket, NULL), "modal");
    api_modal_set(daemon->api, NULL, socket, NULL);
    if (strcmp(config->modal, "off") == 0) return NULL;
    const char *address = config->modal;
    uint16_t port = 0;
    struct error *error = modal_listen(daemon->modal, address, &port);
    if (!error) {
        const char *colon = strrchr(address, ':');
        scoped_string char *exact = mem_printf("%.*s:%u", (int)(colon ? colon - address : 0), address, port);
        api_modal_set(daemon->api, strchr(address, '/') ? NULL : exact,
                      strchr(address, '/') ? address : socket, certificates_modal_name(daemon->certificates));
        return NULL;
    }
    if (config->modal_asked) return error_wrap(error, "modal");
    scoped_string char *text = error_text(error);
    log_warn("daemon", "Modal's clients are served over %s only: %s", socket, text);
    error_free(error);
    return NULL;
}

static void publish(void *owner, const char *app, const char *function, uint16_t port,
                    void (*done)(void *owner, struct error *error), void *done_owner) {
    const struct daemon *daemon = owner;
    modal_publish(daemon->modal, app, function, port, done, done_owner);
}

static bool proxy_token_good(void *owner, struct span id, struct span secret) {
    const struct daemon *daemon = owner;
    return identity_token_good(daemon->identity, IDENTITY_PROXY, id, secret);
}

static struct error *doors_open(struct daemon *daemon) {
    const struct config *config = &daemon->config;
    daemon->api = api_new(&(struct api_options){
        .loop = daemon->loop,
        .pool = daemon->pool,
        .store = daemon->store,
        .identity = daemon->identity,
        .images = daemon->images,
        .version = CATNAP_VERSION,
        .state_dir = config->state_dir,
        .runtime_dir = config->run_dir,
        .logs_dir = daemon->logs_dir,
        .gateway = config->gateway,
        .domain = config->domain,
        .tls_name = certificates_gateway_name(daemon->certificates),
        .publish = publish,
        .publish_owner = daemon,
    });
    TRY(api_listen(daemon->api, config->api, NULL), "api");
    daemon->gateway = gateway_new(&(struct gateway_options){.loop = daemon->loop,
                                                            .pool = daemon->pool,
                                                            .tls = certificates_gateway(daemon->certificates),
                                                            .token_good = proxy_token_good,
                                                            .token_owner = daemon,
                                                            .limits = config->limits,
                                                            .body_bytes = config->body_bytes,
                                                            .keepalive_ms = config->comments_every_ms});
    TRY(gateway_listen(daemon->gateway, config->gateway), "gateway");
    return modal_open(daemon);
}

/* ---- the end ---- */

static void on_images_stopped(void *owner) {
    struct daemon *daemon = owner;
    io_loop_stop(daemon->loop);
}

static void on_all_stopped(void *owner) {
    struct daemon *daemon = owner;
    image_store_stop(daemon->images, on_images_stopped, daemon);
}

static void end(struct daemon *daemon, int status) {
    if (daemon->ended) return;
    daemon->ended = true;
    daemon->status = status;
    io_timer_stop(daemon->patience);
    io_doors_tell(daemon->loop, "STOPPING=1");
    if (daemon->config.leave_containers) io_doors_keep(daemon->loop);
    api_free(take(daemon->api));
    modal_close(daemon->modal);
    gateway_free(take(daemon->gateway));
    if (!daemon->pool || daemon->config.leave_containers) {
        if (daemon->images)
            image_store_stop(daemon->images, on_images_stopped, daemon);
        else
            io_loop_stop(daemon->loop);
        return;
    }
    pool_stop_all(daemon->pool, on_all_stopped, daemon);
}

static void on_signal(void *owner, int signo) {
    struct daemon *daemon = owner;
    if (daemon->signals++ == 0) {
        log_info("daemon", "%s: stopping%s", signo == SIGINT ? "interrupted" : "asked to end",
                 daemon->config.leave_containers ? "; containers are left" : "");
        end(daemon, 0);
    } else if (daemon->config.leave_containers) {
        end(daemon, 0); /* whatever is being answered */
    } else if (daemon->pool) {
        log_warn("daemon", "asked again: containers are killed");
        pool_kill_all(daemon->pool);
    }
}

/* Certificates are read again by whom they belong to. */
static void on_hangup(void *owner, int signo) {
    struct daemon *daemon = owner;
    if (daemon->in_terminal && terminal_is_gone() && daemon->signals == 0) on_signal(daemon, signo);
}

/* ---- another one comes after us ---- */

static void on_look(void *owner) {
    struct daemon *daemon = owner;
    daemon->left_ms -= LOOK_MS;
    bool answered = daemon->gateway_closed && (!daemon->modal || modal_is_quiet(daemon->modal));
    if (answered || daemon->left_ms <= 0)
        end(daemon, 0);
    else
        io_timer_arm(daemon->patience, LOOK_MS);
}

static void on_gateway_closed(void *owner) {
    struct daemon *daemon = owner;
    daemon->gateway_closed = true;
}

/* Containers are left, and so are the sockets where somebody holds them: who asks meanwhile waits, and the
 * next daemon answers. What is being answered has a moment to end. */
static void on_hand_over(void *owner, int signo) {
    struct daemon *daemon = owner;
    (void)signo;
    if (daemon->signals++ > 0) return;
    log_info("daemon", "asked to make room for another one; containers are left");
    daemon->config.leave_containers = true;
    io_doors_keep(daemon->loop);
    daemon->left_ms = HAND_OVER_MS;
    io_timer_arm(daemon->patience, 0);
    if (daemon->modal) modal_retire(daemon->modal);
    daemon->gateway_closed = daemon->gateway == NULL;
    if (daemon->gateway) gateway_close(daemon->gateway, on_gateway_closed, daemon);
}

/* ---- coming up ---- */

/* A function's own words on how to try it, with the place put in. */
static char *example_of(const char *example, const char *url) {
    if (!example) return mem_printf("curl %s", url);
    struct text text = {0};
    for (const char *mark; (mark = strstr(example, URL_MARK)); example = mark + strlen(URL_MARK)) {
        text_add(&text, (struct span){example, (size_t)(mark - example)});
        text_add_string(&text, url);
    }
    text_add_string(&text, example);
    return text_take(&text);
}

static void say_up(struct daemon *daemon) {
    io_doors_settle(daemon->loop);
    io_doors_tell(daemon->loop, "READY=1");
    printf("catnap is up");
    struct pool_function *function;
    for (size_t i = 0; (function = pool_function_next(daemon->pool, &i));) {
        const struct core_function *spec = pool_function_spec(function);
        if (spec->publish == 0) continue;
        scoped_string char *url = api_function_url(daemon->api, spec->app, spec->name);
        if (!url) continue;
        struct pool_function_view view;
        pool_function_view(function, &view);
        scoped_string char *example = example_of(spec->example, url);
        printf("; %s is %s at %s (try: %s)", spec->app, nap_state_name(view.state), url, example);
    }
    printf("\n");
    fflush(stdout);
}

static const char *variable(void *owner, const char *name) {
    (void)owner;
    return getenv(name);
}

static void up_next(struct daemon *daemon);

static void on_up(void *owner, struct error *error) {
    struct daemon *daemon = owner;
    if (!error) {
        daemon->ups++;
        up_next(daemon);
        return;
    }
    scoped_string char *text = error_text(error);
    fprintf(stderr, "catnap: %s\n", text);
    error_free(error);
    daemon->config.leave_containers |= io_doors_inherited(daemon->loop); /* the next try finds what was */
    end(daemon, 1);
}

static void up_next(struct daemon *daemon) {
    if (!daemon->api) return; /* ended meanwhile */
    if (daemon->ups == daemon->config.up_count) {
        say_up(daemon);
        return;
    }
    const char *path = daemon->config.up[daemon->ups];
    scoped_text struct text yaml = {0};
    struct error *error = file_read(path, MANIFEST_LIMIT, &yaml);
    if (error)
        on_up(daemon, error);
    else
        api_app_put(daemon->api, text_span(&yaml), path, variable, NULL, on_up, daemon);
}

/* Sockets that came along say by their names where to listen. */
static struct error *doors_named(struct daemon *daemon) {
    static const char *const names[] = {"gateway", "api", "modal"};
    io_doors_take(daemon->loop);
    for (size_t i = 0; i < COUNT(names); i++) {
        scoped_string char *address = io_door_named(daemon->loop, names[i]);
        if (address) TRY_PLAIN(config_door_set(&daemon->config, names[i], address));
    }
    return NULL;
}

static struct error *open_all(struct daemon *daemon) {
    TRY_PLAIN(doors_named(daemon));
    TRY_PLAIN(certificates_open(daemon->loop, &daemon->config, &daemon->certificates));
    TRY_PLAIN(store_open(daemon->loop, daemon->config.state_dir, &daemon->store));
    TRY_PLAIN(identity_open(daemon->store, &daemon->identity));
    TRY_PLAIN(machine_open(daemon));
    TRY_PLAIN(pool_open(daemon));
    return doors_open(daemon);
}

static void close_all(struct daemon *daemon) {
    io_rest_free(daemon->rest);
    io_signal_free(daemon->interrupt);
    io_signal_free(daemon->terminate);
    io_signal_free(daemon->usr1);
    io_signal_free(daemon->hangup);
    io_timer_free(daemon->patience);
    store_settle(daemon->store); /* while those who wait for it are there */
    api_free(daemon->api);
    gateway_free(daemon->gateway);
    modal_free(daemon->modal);
    certificates_free(daemon->certificates);
    pool_free(daemon->pool);
    image_store_free(daemon->images);
    node_free(daemon->node);
    container_host_free(daemon->host);
    identity_free(daemon->identity);
    volumes_free(daemon->volumes);
    /* Workers still clear away containers' directories, which the next daemon would take for its own. */
    scoped_fd int lock = store_lock_keep(daemon->store);
    store_free(daemon->store);
    io_loop_free(daemon->loop);
    free(daemon->logs_dir);
    config_done(&daemon->config);
}

/* Ten thousand idle connections are ordinary; the usual soft limit of 1024 is for programs that use
 * select(2). */
static void allow_descriptors(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

int daemon_main(int argc, char **argv) {
    /* Whoever holds our sockets decides when we end. */
    struct daemon daemon = {.in_terminal = !getenv("NOTIFY_SOCKET") && terminal_is_ours()};
    bool help;
    struct error *error = config_read(argc, argv, &daemon.config, &help);
    if (!error && help) {
        fputs(config_usage, stdout);
        return 0;
    }
    signal(SIGPIPE, SIG_IGN);
    allow_descriptors();
    if (!error) error = container_enter_user_namespace(); /* the configuration was ours, as who we were */
    daemon.loop = io_loop_new();
    daemon.patience = io_timer_new(daemon.loop, on_look, &daemon);
    if (!error) error = open_all(&daemon);
    if (error) {
        scoped_string char *text = error_text(error);
        fprintf(stderr, "catnap: %s\n", text);
        int status = daemon.config.line_is_wrong ? 2 : 1;
        error_free(error);
        if (io_doors_inherited(daemon.loop)) io_doors_keep(daemon.loop);
        close_all(&daemon);
        return status;
    }
    daemon.interrupt = io_signal_new(daemon.loop, SIGINT, on_signal, &daemon);
    daemon.terminate = io_signal_new(daemon.loop, SIGTERM, on_signal, &daemon);
    daemon.rest = io_rest_new(daemon.loop, REST_MS, daemon_rest, NULL);
    daemon.usr1 = io_signal_new(daemon.loop, SIGUSR1, on_hand_over, &daemon);
    daemon.hangup = io_signal_new(daemon.loop, SIGHUP, on_hangup, &daemon);
    up_next(&daemon);
    io_loop_run(daemon.loop);
    close_all(&daemon);
    return daemon.status;
}
