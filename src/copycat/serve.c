/* `tabby serve`: from the arguments to a port that accepts, and to its end.
 *
 *   model found -> socket bound -> model loaded -> listening, banner, READY=1 -> SIGTERM or SIGINT -> last
 * answers -> exit 0 SIGUSR1 says that we are about to sleep: the weights' pages go back to the system. */
#include "accounts.h"
#include "inside.h"
#include "recent.h"
#include "search.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

void places_read(struct places *places) {
    const char *root = getenv("TABBY_ROOT"), *models = getenv("TABBY_MODEL_CACHE_ROOT"),
               *home = getenv("HOME");
    places->root = root ? mem_string(root) : path_join(home ? home : "/", ".tabby");
    places->models = models ? mem_string(models) : path_join(places->root, "models");
}

void places_done(struct places *places) {
    free(places->root);
    free(places->models);
}

struct error *device_check(const char **device) {
    scoped(error) struct error *error = engine_device_check(*device);
    if (!error) return NULL;
    const char *fallback = getenv("COPYCAT_DEVICE_FALLBACK");
    if (!fallback || strcmp(fallback, "cpu") != 0)
        return error_wrap(
            take(error),
            "--device %s (--device cpu computes here; COPYCAT_DEVICE_FALLBACK=cpu does so by itself)",
            *device);
    scoped_string char *why = error_text(error);
    log_warn("copycat", "--device %s is not there: the CPU computes (COPYCAT_DEVICE_FALLBACK=cpu); %s",
             *device, why);
    *device = "cpu";
    return NULL;
}

static int failed(struct error *taken_error) {
    scoped(error) struct error *error = taken_error;
    scoped_string char *text = error_text(error);
    fprintf(stderr, "%s\n", text);
    /* A model that is not among its own supported ones is Tabby's only fault of this kind. */
    return error->code == ERROR_FAILED_PRECONDITION && strstr(text, "supported_models") ? 1 : EXIT_FAILED;
}

static void stop(struct serve *serve, int status) {
    serve->exit_status = status;
    io_loop_stop(serve->loop);
}

static void on_idle(void *owner) {
    stop(owner, 0);
}

static void on_closed(void *owner) {
    accounts_when_idle(owner, on_idle, owner);
}

static void on_end_signal(void *owner, int signo) {
    struct serve *serve = owner;
    (void)signo;
    if (serve->server) {
        search_stop(serve);
        subscriptions_close(serve);
        http_server_close(serve->server, on_closed);
    } else {
        stop(serve, 0);
    }
}

static void on_doze_signal(void *owner, int signo) {
    struct serve *serve = owner;
    (void)signo;
    serve->doze_signals++;
    serve->gave_back_bytes += backends_give_back(serve) + embeddings_give_back(serve);
    search_give_back(serve->search);
    malloc_trim(0);
}

static struct error *open_server(struct serve *serve) {
    if (!serve->inherited) TRY_PLAIN(listen_start(serve->listen_fd));
    struct http_server_options options = {.loop = serve->loop, .on_request = rest_on_request, .owner = serve};
    serve->server = http_server_new(&options);
    return http_server_listen_fd(serve->server, take_fd(&serve->listen_fd), NULL);
}

static void on_loaded(struct serve *serve, struct error *error) {
    if (!error) error = open_server(serve);
    if (!error) error = search_open(serve);
    if (error) return stop(serve, failed(error));
    bool six = strchr(serve->arguments->host, ':') != NULL;
    printf("\n  copycat, in the place of TABBY\n\n📄 Version " TABBY_VERSION
           "\n🚀 Listening at http://%s%s%s:%u\n\n",
           six ? "[" : "", serve->arguments->host, six ? "]" : "", serve->port);
    fflush(stdout);
    notify_ready();
}

static void on_unknown(void *owner, const char *text) {
    log_warn("copycat", "%s: %s; it is ignored", (const char *)owner, text);
}

static struct error *read_settings(struct serve *serve) {
    scoped_string char *path = path_join(serve->places.root, "config.toml");
    struct error *error = settings_read(path, on_unknown, path, &serve->settings);
    if (error) return error_wrap(error, "Must be able to load config: Config file '%s' is not valid", path);
    if (serve->settings->repositories_fault)
        fprintf(stderr, "\n  Parsing config failed\n\n  %s: %s\n  No repository of it is used.\n\n", path,
                serve->settings->repositories_fault);
    return languages_read(serve->settings, &serve->languages);
}

static struct error *prepare(struct serve *serve) {
    const struct arguments *arguments = serve->arguments;
    TRY_PLAIN(read_settings(serve));
    TRY(dir_make(serve->places.root, 0700), "TABBY_ROOT");
    chmod(serve->places.root, 0700);
    TRY_PLAIN(accounts_open(serve));
    TRY_PLAIN(backends_find(serve));
    TRY_PLAIN(embeddings_find(serve));
    return listen_bind(arguments->host, arguments->port, &serve->listen_fd, &serve->inherited, &serve->port);
}

int serve_run(const struct arguments *arguments) {
    struct serve serve = {.arguments = arguments, .listen_fd = -1};
    places_read(&serve.places);
    serve.recent = recent_new();
    signal(SIGPIPE, SIG_IGN);
    scoped(io_loop) struct io_loop *loop = serve.loop = io_loop_new();
    struct error *error = prepare(&serve);
    if (error) {
        serve.exit_status = failed(error);
    } else {
        serve.on_term = io_signal_new(loop, SIGTERM, on_end_signal, &serve);
        serve.on_interrupt = io_signal_new(loop, SIGINT, on_end_signal, &serve);
        serve.on_doze = io_signal_new(loop, SIGUSR1, on_doze_signal, &serve);
        backends_load(&serve, on_loaded);
        io_loop_run(loop);
        http_server_free(serve.server);
        io_signal_free(serve.on_term);
        io_signal_free(serve.on_interrupt);
        io_signal_free(serve.on_doze);
    }
    search_free(&serve);
    embeddings_free(&serve);
    recent_free(serve.recent);
    backends_free(&serve);
    accounts_free(&serve);
    languages_free(serve.languages);
    settings_free(serve.settings);
    scoped_fd_close(&serve.listen_fd);
    places_done(&serve.places);
    return serve.exit_status;
}
