/* The command line: Tabby's flags, defaults, texts by meaning and exit statuses.
 *
 * Help and version go to stdout with 0; whatever is wrong with the line goes to stderr with 2. No flag may be
 * repeated, none comes from the environment. */
#include "inside.h"
#include "search.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

enum kind { TAKES_TEXT, TAKES_IP, TAKES_U16, TAKES_U8, TAKES_DEVICE, TAKES_NOTHING };

struct flag {
    const char *name, *value, *help, *fallback;
    enum kind kind;
    bool hidden;
    size_t place; /* in struct arguments */
};

#define PLACE(FIELD) offsetof(struct arguments, FIELD)
static const struct flag serve_flags[] = {
    {"--model", "<MODEL>", "Model id for `/completions` API endpoint", NULL, TAKES_TEXT, false, PLACE(model)},
    {"--chat-model", "<CHAT_MODEL>", "Model id for `/chat/completions` API endpoint", NULL, TAKES_TEXT, false,
     PLACE(chat_model)},
    {"--host", "<HOST>", "IP address to listen on", "0.0.0.0", TAKES_IP, false, PLACE(host)},
    {"--port", "<PORT>", "Port to listen on", "8080", TAKES_U16, false, PLACE(port)},
    {"--device", "<DEVICE>", "Device to run the models on: cpu, cuda, rocm, metal, vulkan", "cpu",
     TAKES_DEVICE, false, PLACE(device)},
    {"--chat-device", "<CHAT_DEVICE>", "Device to run the chat model on; the same as --device by default",
     NULL, TAKES_DEVICE, false, PLACE(chat_device)},
    {"--parallelism", "<PARALLELISM>", "Requests computed at once", "1", TAKES_U8, false, PLACE(parallelism)},
    {"--no-webserver", NULL, NULL, NULL, TAKES_NOTHING, true, PLACE(no_webserver)},
    {NULL, NULL, NULL, NULL, TAKES_NOTHING, true, 0},
};
static const struct flag download_flags[] = {
    {"--model", "<MODEL>", "Model id to fetch", NULL, TAKES_TEXT, false, PLACE(model)},
    {"--prefer-local-file", NULL, "Skip checking for remote model file", NULL, TAKES_NOTHING, false,
     PLACE(prefer_local_file)},
    {NULL, NULL, NULL, NULL, TAKES_NOTHING, true, 0},
};
static const char usage[] = "Usage: tabby <COMMAND>\n\n"
                            "Commands:\n"
                            "  serve     Starts the api endpoint for IDE / Editor extensions\n"
                            "  download  Download the language model for serving\n"
                            "  help      Print this message or the help of the given subcommand\n\n"
                            "Options:\n"
                            "  -h, --help     Print help\n"
                            "  -V, --version  Print version\n";

static void print_help(FILE *out, const char *command, const struct flag *flags) {
    fprintf(out, "Usage: tabby %s [OPTIONS]%s\n\nOptions:\n", command,
            strcmp(command, "download") == 0 ? " --model <MODEL>" : "");
    for (const struct flag *flag = flags; flag->name; flag++) {
        if (flag->hidden) continue;
        fprintf(out, "      %s %s\n          %s", flag->name, flag->value ? flag->value : "", flag->help);
        if (flag->fallback) fprintf(out, " [default: %s]", flag->fallback);
        fputs("\n", out);
    }
    fputs("  -h, --help\n          Print help\n  -V, --version\n          Print version\n", out);
}

static bool is_device(const char *value) {
    static const char *const devices[] = {"cpu", "cuda", "rocm", "metal", "vulkan"};
    for (size_t i = 0; i < COUNT(devices); i++)
        if (strcmp(value, devices[i]) == 0) return true;
    return false;
}

static bool set(const struct flag *flag, const char *value, struct arguments *arguments) {
    void *place = (char *)arguments + flag->place;
    uint64_t number;
    unsigned char address[sizeof(struct in6_addr)];
    switch (flag->kind) {
    case TAKES_NOTHING: *(bool *)place = true; return true;
    case TAKES_IP:
        if (inet_pton(AF_INET, value, address) != 1 && inet_pton(AF_INET6, value, address) != 1) return false;
        break;
    case TAKES_DEVICE:
        if (!is_device(value)) return false;
        break;
    case TAKES_TEXT: break;
    case TAKES_U16:
    case TAKES_U8:
        if (!span_to_u64(span_of(value), &number) ||
            number > (flag->kind == TAKES_U16 ? UINT16_MAX : UINT8_MAX))
            return false;
        if (flag->kind == TAKES_U16)
            *(uint16_t *)place = (uint16_t)number;
        else
            *(uint32_t *)place = (uint32_t)number;
        return true;
    }
    *(const char **)place = value;
    return true;
}

static int wrong(const char *format, ...) printf_like(1, 2);
static int wrong(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("error: ", stderr);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("\n\nFor more information, try '--help'.\n", stderr);
    return EXIT_USAGE;
}

static const struct flag *find(const struct flag *flags, struct span name) {
    for (const struct flag *flag = flags; flag->name; flag++)
        if (span_is(name, flag->name)) return flag;
    return NULL;
}

/* Returns -1 when the line is good. */
static int parse(const struct flag *flags, const char *command, int argc, char **argv,
                 struct arguments *arguments) {
    uint32_t seen = 0;
    for (const struct flag *flag = flags; flag->name; flag++)
        if (flag->fallback) set(flag, flag->fallback, arguments);
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return print_help(stdout, command, flags), 0;
        if (strcmp(argv[i], "--version") == 0 || strcmp(argv[i], "-V") == 0)
            return printf("tabby-%s " TABBY_VERSION "\n", command), 0;
        struct span rest = span_of(argv[i]), name = span_cut(&rest, '=');
        const struct flag *flag = find(flags, name);
        if (!flag) return wrong("unexpected argument '%s' found", argv[i]);
        uint32_t bit = 1u << (flag - flags);
        if (seen & bit)
            return wrong("the argument '%s%s%s' cannot be used multiple times", flag->name,
                         flag->value ? " " : "", flag->value ? flag->value : "");
        seen |= bit;
        const char *value = rest.data;
        if (flag->kind == TAKES_NOTHING && value)
            return wrong("unexpected value '%s' for '%s' found; no more were expected", value, flag->name);
        if (flag->kind != TAKES_NOTHING && !value && ++i < argc) value = argv[i];
        if (flag->kind != TAKES_NOTHING && !value)
            return wrong("a value is required for '%s %s' but none was supplied", flag->name, flag->value);
        if (!set(flag, value, arguments))
            return wrong("invalid value '%s' for '%s %s'", value, flag->name, flag->value);
    }
    if (arguments->chat_device && !arguments->chat_model)
        return wrong("the following required arguments were not provided:\n  --chat-model <CHAT_MODEL>");
    if (!arguments->serve && !arguments->model)
        return wrong("the following required arguments were not provided:\n  --model <MODEL>");
    return -1;
}

int copycat_main(int argc, char **argv) {
    int at = 1;
    /* Where traces would go: taken, so that command lines of Tabby's go on working; there are none. */
    if (argc > 2 && strcmp(argv[1], "--otlp-endpoint") == 0) at = 3;
    const char *command = at < argc ? argv[at] : NULL;
    if (!command) return fputs(usage, stderr), EXIT_USAGE;
    if (strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0) return fputs(usage, stdout), 0;
    if (strcmp(command, "--version") == 0 || strcmp(command, "-V") == 0)
        return puts("tabby " TABBY_VERSION), 0;
    if (strcmp(command, "help") == 0) {
        const char *about = at + 1 < argc ? argv[at + 1] : "";
        if (strcmp(about, "serve") == 0) return print_help(stdout, about, serve_flags), 0;
        if (strcmp(about, "download") == 0) return print_help(stdout, about, download_flags), 0;
        return fputs(usage, stdout), 0;
    }
    if (strcmp(command, "index") == 0 && argc == at + 1) return index_run(); /* for `serve` alone */
    struct arguments arguments = {.serve = strcmp(command, "serve") == 0};
    if (!arguments.serve && strcmp(command, "download") != 0)
        return wrong("unrecognized subcommand '%s'", command);
    int status = parse(arguments.serve ? serve_flags : download_flags, command, argc - at - 1, argv + at + 1,
                       &arguments);
    if (status >= 0) return status;
    return arguments.serve ? serve_run(&arguments) : download_run(&arguments);
}
