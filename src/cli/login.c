/* `catnap login|logout`: Modal's client is told to ask this daemon, and told to forget it.
 *
 * A token of one's own, and a profile with it in the file where the client keeps its profiles. A profile of
 * Modal's own service is never overwritten: its secret could not be had again. */
#include <ctype.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "config_file.h"
#include "profile.h"
#include "token.h"

#define PROFILE_DEFAULT "catnap"
#define ANSWER_MS 60000

/* ---- where the client is to ask ---- */

static bool everywhere(struct span host) {
    return host.size == 0 || span_is(host, "0.0.0.0") || span_is(host, "[::]") || span_is(host, "*");
}

static bool only_here(struct span host) {
    return span_starts(host, "127.") || span_is(host, "[::1]") || span_is_nocase(host, "localhost");
}

static struct span host_of(const char *address) {
    const char *colon = strrchr(address, ':');
    return (struct span){address, colon ? (size_t)(colon - address) : strlen(address)};
}

static struct error *server_url(struct command *command, const json_t *version, char **ret_url) {
    const char *modal = json_string_value(json_object_get(version, "modal"));
    const char *socket = json_string_value(json_object_get(version, "modal_socket"));
    const char *place = command->place.address;
    bool remote = !strchr(place, '/') && !only_here(host_of(place));
    const char *url = json_string_value(json_object_get(version, "modal_url")); /* by TLS, by name */
    if (modal) {
        struct span host = host_of(modal);
        if (remote && only_here(host))
            return error_new(
                ERROR_FAILED_PRECONDITION,
                "the daemon at %s hears Modal's clients on its own machine only (%s); `catnap serve "
                "--modal ADDR:PORT` opens another address",
                command->place.told, modal);
        if (url) {
            *ret_url = mem_string(url);
            return NULL;
        }
        if (everywhere(host)) host = remote ? host_of(place) : SPAN("127.0.0.1");
        *ret_url = mem_printf("http://" SPAN_FORMAT "%s", SPAN_ARGS(host), strrchr(modal, ':'));
        return NULL;
    }
    if (!socket || remote)
        return error_new(
            ERROR_FAILED_PRECONDITION,
            "the daemon at %s does not hear Modal's clients; `catnap serve --modal ADDR:PORT` opens the "
            "door",
            command->place.told);
    *ret_url = mem_printf("unix://%s", socket);
    return NULL;
}

static struct error *ask_where(struct command *command, char **ret_url) {
    scoped_json json_t *version = NULL;
    const struct question question = {.method = "GET", .target = "/v1/version", .timeout_ms = ANSWER_MS};
    TRY_PLAIN(ask(command, &question, &version));
    return server_url(command, version, ret_url);
}

/* "ada@workbench", for `catnap token list`. */
static char *token_name(void) {
    char host[256] = "";
    const char *sudo = getenv("SUDO_USER");
    const struct passwd *entry = getpwuid(geteuid());
    const char *user = sudo && *sudo ? sudo : entry ? entry->pw_name : "user";
    bool known = gethostname(host, sizeof host - 1) == 0 && *host;
    return mem_printf("%.40s@%.50s", user, known ? host : "localhost");
}

/* ---- login ---- */

struct login {
    const char *profile;
    char *url;
    json_t *token;
    char *before; /* the token that the profile had; NULL: none */
};

static void login_done(struct login *login) {
    free(login->url), free(login->before);
    json_decref(login->token);
}

static const char *token_text(const struct login *login, const char *key) {
    return json_string_value(json_object_get(login->token, key));
}

/* What is in the environment beats what is in the file. */
static void warn_of_environment(const char *profile) {
    static const char *const names[] = {"MODAL_SERVER_URL", "MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"};
    const char *chosen = getenv("MODAL_PROFILE");
    for (size_t i = 0; i < COUNT(names); i++)
        if (getenv(names[i]))
            fprintf(stderr, "catnap login: %s is set here and goes before the profile: `unset %s`\n",
                    names[i], names[i]);
    if (chosen && *chosen && strcmp(chosen, profile) != 0)
        fprintf(stderr,
                "catnap login: MODAL_PROFILE=%s is set here and goes before the active profile: `unset "
                "MODAL_PROFILE`\n",
                chosen);
}

static struct error *may_write(const struct config_file *file, struct login *login) {
    struct profile_found found;
    TRY(profile_find(text_span(&file->text), login->profile, &found), "%s", file->path);
    bool modals = found.token_id && (!found.server_url || strstr(found.server_url, "modal.com"));
    if (!modals) login->before = take(found.token_id);
    profile_found_done(&found);
    if (!modals) return NULL;
    return error_new(
        ERROR_ALREADY_EXISTS,
        "the profile '%s' in %s has a token of Modal's own service; give this one another name: `catnap "
        "login --profile NAME`",
        login->profile, file->path);
}

static struct error *write_profile(struct command *command, struct login *login,
                                   const struct config_file *file) {
    const struct profile profile = {login->profile, login->url, token_text(login, "id"),
                                    token_text(login, "secret")};
    scoped_text struct text content = {0};
    struct error *error = profile_put(text_span(&file->text), &profile, &content);
    if (!error) error = config_file_write(file, text_span(&content));
    if (!error) return NULL;
    error_free(token_revoke(command, profile.token_id, NULL)); /* nobody has it */
    return error_wrap(error, "%s", file->path);
}

static void tell(const struct command *command, const struct login *login, const struct config_file *file) {
    if (command->options.json) {
        scoped_json json_t *json =
            json_pack("{s:s, s:s, s:s, s:s}", "profile", login->profile, "path", file->path, "server_url",
                      login->url, "token_id", token_text(login, "id"));
        print_json(json);
        return;
    }
    printf("Modal's client asks %s now, by the token %s\n"
           "(profile '%s' in %s, which is the active one).\n"
           "Undo it with `catnap logout%s%s`, or choose another with `modal profile activate NAME`.\n",
           login->url, token_text(login, "id"), login->profile, file->path,
           strcmp(login->profile, PROFILE_DEFAULT) == 0 ? "" : " --profile ",
           strcmp(login->profile, PROFILE_DEFAULT) == 0 ? "" : login->profile);
}

static void quote(struct text *out, const char *name, const char *value) {
    text_printf(out, " %s=", name);
    bool plain = true;
    for (const char *c = value; *c; c++)
        plain = plain && (strchr("-_./:@", *c) || isalnum((unsigned char)*c));
    if (plain) {
        text_add_string(out, value);
        return;
    }
    text_add_char(out, '\'');
    for (const char *c = value; *c; c++) {
        if (*c == '\'')
            text_add_string(out, "'\\''");
        else
            text_add_char(out, *c);
    }
    text_add_char(out, '\'');
}

static void print_env(const struct login *login) {
    scoped_text struct text out = {0};
    text_add_string(&out, "export");
    quote(&out, "MODAL_SERVER_URL", login->url);
    quote(&out, "MODAL_TOKEN_ID", token_text(login, "id"));
    quote(&out, "MODAL_TOKEN_SECRET", token_text(login, "secret"));
    bool proxied = getenv("HTTP_PROXY") || getenv("http_proxy") || getenv("ALL_PROXY") || getenv("all_proxy");
    if (proxied) text_add_string(&out, " MODAL_DISABLE_API_PROXY=1");
    puts(out.data);
}

static struct error *login_to_file(struct command *command, struct login *login) {
    struct config_file file = {0};
    scoped_string char *name = token_name();
    struct error *error = config_file_read(&file);
    if (!error) error = may_write(&file, login);
    if (!error) error = token_new(command, "client", name, &login->token);
    if (!error) error = write_profile(command, login, &file);
    if (!error) {
        tell(command, login, &file);
        if (login->before)
            error_free(token_revoke(command, login->before, NULL)); /* perhaps another daemon's */
        warn_of_environment(login->profile);
    }
    config_file_done(&file);
    return error;
}

static struct error *profile_told(struct command *command, const char **ret_name) {
    *ret_name = command->options.profile ? command->options.profile : PROFILE_DEFAULT;
    if (profile_name_good(*ret_name)) return NULL;
    command->failure = STATUS_USAGE;
    return error_new(ERROR_INVALID_ARGUMENT,
                     "--profile: '%.40s' has more in it than letters, digits, - and _", *ret_name);
}

int login_run(struct command *command) {
    struct login login = {0};
    struct error *error = profile_told(command, &login.profile);
    if (!error) error = ask_where(command, &login.url);
    if (!error && command->options.env) {
        scoped_string char *name = token_name();
        error = token_new(command, "client", name, &login.token);
        if (!error) print_env(&login);
    } else if (!error) {
        error = login_to_file(command, &login);
    }
    login_done(&login);
    return error ? fail(command, error) : STATUS_OK;
}

/* ---- logout ---- */

struct logout {
    const char *profile;
    char *token_id; /* NULL: it had none */
    char *active;   /* who is active then; NULL: nobody */
    bool others;    /* there are */
};

static struct error *forget(struct logout *logout, struct config_file *file) {
    struct profile_found found;
    scoped_text struct text content = {0};
    TRY_PLAIN(config_file_read(file));
    TRY(profile_find(text_span(&file->text), logout->profile, &found), "%s", file->path);
    bool there = found.there, modals = !found.server_url || strstr(found.server_url, "modal.com");
    logout->token_id = take(found.token_id);
    profile_found_done(&found);
    if (!there)
        return error_new(ERROR_NOT_FOUND, "there is no profile '%s' in %s", logout->profile, file->path);
    if (modals)
        return error_new(ERROR_FAILED_PRECONDITION, "the profile '%s' in %s is not one of `catnap login`'s",
                         logout->profile, file->path);
    TRY(profile_remove(text_span(&file->text), logout->profile, &content, &logout->active), "%s", file->path);
    logout->others = span_trim(text_span(&content)).size > 0;
    return config_file_write(file, text_span(&content));
}

static void tell_forgotten(const struct command *command, const struct logout *logout,
                           const struct config_file *file, bool revoked) {
    if (command->options.json) {
        scoped_json json_t *json = json_pack("{s:s, s:s, s:b, s:s*}", "profile", logout->profile, "path",
                                             file->path, "revoked", revoked, "active", logout->active);
        print_json(json);
        return;
    }
    printf("the profile '%s' is not in %s any more", logout->profile, file->path);
    if (revoked) printf(", and its token opens nothing");
    if (logout->active)
        printf("; '%s' is the active one", logout->active);
    else if (logout->others)
        printf("; none is active now: `modal profile activate NAME` chooses one");
    putchar('\n');
}

/* The file first: a daemon that is gone for good keeps nobody logged in. */
int logout_run(struct command *command) {
    struct logout logout = {0};
    struct config_file file = {0};
    struct error *error = profile_told(command, &logout.profile);
    bool forgotten = false, revoked = false;
    if (!error) error = forget(&logout, &file);
    forgotten = !error;
    if (forgotten && logout.token_id) {
        error = token_revoke(command, logout.token_id, NULL);
        revoked = !error;
        bool unknown = error && error->code == ERROR_NOT_FOUND; /* revoked before, or another daemon's */
        if (unknown) error_free(take(error));
    }
    if (forgotten) tell_forgotten(command, &logout, &file, revoked);
    if (forgotten && error)
        error = error_wrap(error, "the token %s could not be revoked (`catnap token revoke` does it later)",
                           logout.token_id);
    free(logout.token_id), free(logout.active);
    config_file_done(&file);
    return error ? fail(command, error) : STATUS_OK;
}
