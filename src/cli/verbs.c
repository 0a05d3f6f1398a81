/* The verbs: what each takes, how it is told, who carries it out. `catnap help` and completion read the same
 * table. */
#include <limits.h>
#include <stdio.h>

#include "command.h"

#define TARGETS "APP[.FUNCTION]..."

static int version_run(struct command *command) {
    scoped_json json_t *json = json_pack("{s:s}", "version", CATNAP_VERSION);
    if (command->options.json)
        print_json(json);
    else
        puts("catnap " CATNAP_VERSION);
    return STATUS_OK;
}

static int serve_run(struct command *command) {
    return command->hooks->serve(command->argc, command->argv);
}

static int hold_run(struct command *command) {
    return command->hooks->hold(command->argc, command->argv);
}

static int doctor_run(struct command *command) {
    return command->hooks->doctor(command->argc, command->argv);
}

const struct verb verbs[] = {
    {
        .name = "ps",
        .summary = "what sleeps, what is awake, who waits, what it costs",
        .details = "A function's state is asleep (\"primed\" where a container stands ready to be started), "
                   "starting,\nawake with the requests at work and the slots there are, dozing (frozen), "
                   "stopping, failed,\nor stopped (by `catnap stop`).",
        .examples = "catnap ps\ncatnap ps --json | jq '.apps[].functions[] | select(.state == \"failed\")'",
        .options = OPTION_JSON,
        .run = ps_run,
    },
    {
        .name = "top",
        .summary = "the same, live",
        .details =
            "q or Ctrl-C ends it; a shows only what is not asleep, m sorts by memory, arrows and PgUp/PgDn\n"
            "scroll. Where the daemon is started anew, it goes on with that one. With --json: the answer of\n"
            "`catnap ps --json` as a line at each change, for programs.",
        .examples = "catnap top\ncatnap top --json | jq -c '[.apps[].functions[].state]'",
        .options = OPTION_JSON,
        .run = top_run,
    },
    {
        .name = "logs",
        .operands = "APP[.FUNCTION]",
        .summary = "what an app wrote, and what became of its containers",
        .details =
            "Lines of all its containers in the order of time, also of those that are gone. What catnap "
            "itself\nsays of a container begins with --.",
        .examples = "catnap logs copycat -f\ncatnap logs copycat.serve --since 10m\n"
                    "catnap logs copycat --last 50 --text | grep error",
        .options = OPTION_JSON | OPTION_FOLLOW | OPTION_SINCE | OPTION_LAST | OPTION_TEXT,
        .least = 1,
        .most = 1,
        .kind = WORDS_FUNCTIONS,
        .run = logs_run,
    },
    {
        .name = "wake",
        .operands = TARGETS,
        .summary = "wake it now, rather than at the next request; ends a `stop`",
        .details = "Comes back when all of it is awake, or says why it could not be woken.",
        .examples = "catnap wake copycat\ncatnap wake copycat.serve --no-wait",
        .options = OPTION_JSON | OPTION_NO_WAIT,
        .least = 1,
        .most = UINT_MAX,
        .kind = WORDS_FUNCTIONS,
        .run = app_run,
    },
    {
        .name = "doze",
        .operands = TARGETS,
        .summary = "freeze what is idle, now; the next request thaws it",
        .examples = "catnap doze copycat",
        .options = OPTION_JSON,
        .least = 1,
        .most = UINT_MAX,
        .kind = WORDS_FUNCTIONS,
        .run = app_run,
    },
    {
        .name = "sleep",
        .operands = TARGETS,
        .summary = "stop what is idle, now; the next request starts it again",
        .details = "What works finishes first.",
        .examples = "catnap sleep copycat",
        .options = OPTION_JSON,
        .least = 1,
        .most = UINT_MAX,
        .kind = WORDS_FUNCTIONS,
        .run = app_run,
    },
    {
        .name = "stop",
        .operands = TARGETS,
        .summary = "stop it now and keep it stopped, until `catnap wake`",
        .details = "Requests that wait or work are refused; so are those that come.",
        .examples = "catnap stop copycat\ncatnap wake copycat",
        .options = OPTION_JSON,
        .least = 1,
        .most = UINT_MAX,
        .kind = WORDS_FUNCTIONS,
        .run = app_run,
    },
    {
        .name = "up",
        .operands = "FILE...",
        .summary = "create or change an app from its catnap.yaml",
        .details =
            "Running containers that still fit go on, others finish their work and leave. ${NAME} in the "
            "file is\ntaken from your environment. Where anything is wrong nothing is changed. - is "
            "standard input.",
        .examples = "catnap up catnap.yaml\nMODEL=/models/small catnap up assistant.yaml\n"
                    "sed s/8080/9090/ app.yaml | catnap up -",
        .options = OPTION_JSON,
        .least = 1,
        .most = UINT_MAX,
        .kind = WORDS_FILES,
        .run = up_run,
    },
    {
        .name = "down",
        .operands = "APP...",
        .summary = "remove an app and stop its containers; its volumes and logs stay",
        .examples = "catnap down copycat",
        .options = OPTION_JSON,
        .least = 1,
        .most = UINT_MAX,
        .kind = WORDS_APPS,
        .run = down_run,
    },
    {
        .name = "image",
        .operands = "ls|pull|build|import|alias|rm|prune [...]",
        .summary = "images: what there is, bring, build, name and prune them",
        .details =
            "  ls                    names, sizes, where they came from\n"
            "  pull NAME             from a registry; CATNAP_REGISTRY_USER and CATNAP_REGISTRY_PASSWORD "
            "where it is private\n"
            "  build DIRECTORY       its Dockerfile; steps that did not change come from the cache\n"
            "  import NAME FILE.tar  a docker-archive, an OCI archive, or the tar of a root file system\n"
            "  alias NAME TARGET     NAME means TARGET from now on: a name, sha256:ID, host\n"
            "  rm NAME               the name goes; its layers go with the next prune\n"
            "  prune                 what no name, app or container needs\n"
            "An app's image is pulled by `catnap up`; this is for the rest.",
        .examples =
            "catnap image pull debian:bookworm\ncatnap image build . -t my/app --build-arg VERSION=3\n"
            "docker save my/app -o my-app.tar && catnap image import my/app my-app.tar\n"
            "catnap image prune --all",
        .options = OPTION_JSON | OPTION_ALL | OPTION_AGAIN | OPTION_FORCE | OPTION_NAME | OPTION_DOCKERFILE |
                   OPTION_BUILD_ARG | OPTION_TARGET,
        .least = 1,
        .most = 3,
        .kind = WORDS_IMAGES,
        .run = image_run,
    },
    {
        .name = "login",
        .summary = "Modal's client asks this daemon from now on",
        .details = "Makes a token and writes it as the active profile into ~/.modal.toml (or "
                   "$MODAL_CONFIG_PATH). The "
                   "other\nprofiles stay as they are; `catnap logout` makes the one active again that was.",
        .examples = "catnap login\ncatnap login --profile home\neval \"$(catnap login --env)\"",
        .options = OPTION_PROFILE | OPTION_ENV | OPTION_JSON,
        .run = login_run,
    },
    {
        .name = "logout",
        .summary = "the profile goes, and its token with it",
        .examples = "catnap logout",
        .options = OPTION_PROFILE | OPTION_JSON,
        .run = logout_run,
    },
    {
        .name = "token",
        .operands = "new|list|revoke [...]",
        .summary = "who may ask by Modal's clients, or ask guarded web functions: tokens",
        .details =
            "  new NAME   its id and its secret, which is shown this once; --proxy: not for Modal's "
            "clients,\n"
            "             but for who asks web functions that require it (Modal-Key and Modal-Secret)\n"
            "  list       all there are, without their secrets\n"
            "  revoke ID  it opens nothing any more, from now on",
        .examples = "catnap token new \"the build machine\"\ncatnap token new --proxy \"the web "
                    "shop\"\ncatnap token list",
        .options = OPTION_PROXY | OPTION_JSON,
        .least = 1,
        .most = 2,
        .kind = WORDS_TOKENS,
        .run = token_run,
    },
    {
        .name = "publish",
        .operands = "APP.FUNCTION PORT",
        .summary = "a web function of Modal's kind on a port of its own as well",
        .details = "For programs that can't resolve its host name. It holds for later deploys too, and for "
                   "an app that\n"
                   "is served again (APP-dev.FUNCTION), until `catnap unpublish`. In a catnap.yaml it is "
                   "`publish: PORT`.",
        .examples = "catnap publish tabby-server.app_serve 8080",
        .options = OPTION_JSON,
        .least = 2,
        .most = 2,
        .kind = WORDS_FUNCTIONS,
        .run = publish_run,
    },
    {
        .name = "unpublish",
        .operands = "APP.FUNCTION",
        .summary = "it is at its host name only",
        .examples = "catnap unpublish tabby-server.app_serve",
        .options = OPTION_JSON,
        .least = 1,
        .most = 1,
        .kind = WORDS_FUNCTIONS,
        .run = publish_run,
    },
    {
        .name = "doctor",
        .operands = "[--json] [--runtime PROGRAM]",
        .summary = "what this machine can and can't do, with the fix for each",
        .details = "Needs no daemon. Its exit status is 1 where something that containers need is missing.",
        .examples = "catnap doctor\ncatnap doctor --runtime runc",
        .foreign_options = "--json --runtime",
        .run = doctor_run,
    },
    {
        .name = "serve",
        .operands = "[OPTIONS]",
        .summary = "the daemon, in the foreground",
        .foreign_options = "--state --gateway --api --modal --config --up --leave-containers --no-auth",
        .run = serve_run,
    },
    {
        .name = "hold",
        .operands = "[OPTIONS OF SERVE]",
        .summary = "`serve`, and its sockets stay open while it is started again",
        .details =
            "A small parent keeps the sockets: who connects while the daemon is away waits, and nobody is\n"
            "refused. A daemon that dies is started again. kill -HUP to the parent: the next daemon (a "
            "newer\n"
            "program, a changed configuration), while containers go on. kill -TERM ends all. systemd needs\n"
            "it not: it does the same.",
        .examples = "catnap hold --state /srv/catnap --gateway 0.0.0.0:80",
        .foreign_options = "--state --gateway --api --modal --config --up --leave-containers --no-auth",
        .run = hold_run,
    },
    {
        .name = "version",
        .summary = "the version of this program",
        .options = OPTION_JSON,
        .run = version_run,
    },
    {
        .name = "completion",
        .operands = "bash",
        .summary = "completion for the shell: verbs, options, names of apps",
        .examples = "source <(catnap completion bash)\n"
                    "catnap completion bash >/etc/bash_completion.d/catnap",
        .least = 1,
        .most = 1,
        .kind = WORDS_SHELLS,
        .run = completion_run,
    },
    {
        .name = "complete",
        .operands = "WORD...",
        .summary = "what may stand in the place of the last word; the shell's script asks this",
        .foreign_options = "",
        .hidden = true,
        .run = complete_run,
    },
    {
        .name = "help",
        .operands = "[VERB]",
        .summary = "a verb with its options and examples",
        .examples = "catnap help logs",
        .most = 1,
        .kind = WORDS_VERBS,
        .run = help_run,
    },
};
const size_t verb_count = COUNT(verbs);

const struct verb *verb_find(const char *name) {
    for (size_t i = 0; i < verb_count; i++)
        if (strcmp(verbs[i].name, name) == 0) return &verbs[i];
    return NULL;
}
