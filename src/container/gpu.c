/* gpu: which of the machine's GPUs a container gets.
 *
 * Modal's names stand for an amount of memory here: on one's own machine a function that asks for a T4 runs
 * on any card that has at least a T4's. A name that is not Modal's is looked for in the card's own. Cards are
 * shared (`group` is what excludes), so the one that the fewest containers have is given. How much memory a
 * card has is known from NVIDIA's own tool, asked once a boot, since it takes up to seconds where no driver
 * is loaded yet; where it is not there, every card will do. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "inside.h"

enum { KEPT_MAX = 1 << 17, SLACK_PERCENT = 5 /* a T4 with ECC on tells 15.8 GB */ };

/* NVIDIA's data sheets, in GB of 10^9 bytes. */
static const struct {
    const char *name;
    unsigned gb;
} kinds[] = {{"any", 0},   {"T4", 16},   {"L4", 24},    {"A10", 24},       {"A10G", 24},      {"L40S", 48},
             {"A100", 40}, {"H100", 80}, {"H200", 141}, {"A100-40GB", 40}, {"A100-80GB", 80}, {"B200", 180}};

void gpus_parse(struct span csv, struct gpus *gpus) {
    while (csv.data) {
        struct span line = span_cut(&csv, '\n'), number_text = span_cut(&line, ',');
        struct span mib_text = span_cut(&line, ',');
        uint64_t number, mib;
        if (!span_to_u64(span_trim(number_text), &number) || number >= CDI_CARDS_MAX ||
            !span_to_u64(span_trim(mib_text), &mib) || mib > UINT32_MAX)
            continue;
        struct span name = span_trim(line);
        struct gpu *gpu = &gpus->card[number];
        gpu->mib = mib;
        snprintf(gpu->name, sizeof gpu->name, SPAN_FORMAT, SPAN_ARGS(name));
    }
}

static bool is_alnum(char c) {
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

/* "RTX-4090" is in "NVIDIA GeForce RTX 4090". `whole`: A10 is not in A100. */
static bool is_named(const struct gpu *gpu, struct span kind, bool whole) {
    for (const char *at = gpu->name; *at; at++) {
        size_t same = 0;
        while (
            same < kind.size && at[same] &&
            (strncasecmp(at + same, kind.data + same, 1) == 0 || (kind.data[same] == '-' && at[same] == ' ')))
            same++;
        if (same < kind.size) continue;
        if (!whole || ((at == gpu->name || !is_alnum(at[-1])) && !is_alnum(at[same]))) return true;
    }
    return false;
}

/* "H100!" is an H100 and nothing better. "B200+", one or a better one, is what each name means here. */
static bool suits(const struct gpu *gpu, const char *said) {
    struct span kind = span_of(said), family;
    bool exact = kind.size && kind.data[kind.size - 1] == '!';
    if (exact || span_ends(kind, "+")) kind.size--;
    family = kind; /* "A100" of "A100-80GB" */
    while (span_ends(kind, "GB") && family.size && family.data[family.size - 1] != '-') family.size--;
    if (family.size == 0) family = kind;
    while (family.size && family.data[family.size - 1] == '-') family.size--;
    if (exact && !is_named(gpu, family, true)) return false;
    if (gpu->mib == 0) return true; /* not known: what there is */
    for (size_t i = 0; i < COUNT(kinds); i++)
        if (strlen(kinds[i].name) == kind.size && strncasecmp(kinds[i].name, kind.data, kind.size) == 0)
            return gpu->mib << 20 >= kinds[i].gb * 10000000ULL * (100 - SLACK_PERCENT);
    return is_named(gpu, kind, false);
}

char *gpus_words(const struct gpus *gpus, uint64_t cards) {
    struct text text = {0};
    for (unsigned number = 0; number < CDI_CARDS_MAX; number++) {
        const struct gpu *gpu = &gpus->card[number];
        if (!(cards >> number & 1)) continue;
        text_printf(&text, "%sGPU %u", text.size ? ", " : "", number);
        if (gpu->mib) text_printf(&text, " (%s, %llu MiB)", gpu->name, (unsigned long long)gpu->mib);
    }
    return text_take(&text);
}

static struct error *too_few(const struct gpus *gpus, const char *kind, uint64_t wanted, unsigned good,
                             uint64_t cards) {
    if (!cards)
        return error_new(ERROR_FAILED_PRECONDITION,
                         "no GPU is described in /etc/cdi or /var/run/cdi. With NVIDIA's container toolkit: "
                         "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml");
    scoped_string char *words = gpus_words(gpus, cards);
    return error_new(ERROR_FAILED_PRECONDITION,
                     "%llu of the kind %s %s wanted, this machine has %u; it has %s",
                     (unsigned long long)wanted, kind, wanted == 1 ? "is" : "are", good, words);
}

struct error *gpus_choose(const struct gpus *gpus, uint64_t cards, const unsigned users[CDI_CARDS_MAX],
                          const char *gpu, uint64_t *ret_cards) {
    struct span count = span_of(gpu);
    scoped_string char *kind = span_string(span_cut(&count, ':'));
    uint64_t wanted = 1, chosen = 0;
    unsigned good = 0;
    if (count.data && (!span_to_u64(count, &wanted) || wanted == 0 || wanted > CDI_CARDS_MAX))
        return error_new(ERROR_INVALID_ARGUMENT, "a count from 1 to %d comes after the colon", CDI_CARDS_MAX);
    for (unsigned number = 0; number < CDI_CARDS_MAX; number++)
        good += (cards >> number & 1) && suits(&gpus->card[number], kind);
    if (good < wanted) return too_few(gpus, kind, wanted, good, cards);
    for (uint64_t i = 0; i < wanted; i++) {
        unsigned best = CDI_CARDS_MAX;
        for (unsigned number = 0; number < CDI_CARDS_MAX; number++)
            if ((cards & ~chosen) >> number & 1 && suits(&gpus->card[number], kind) &&
                (best == CDI_CARDS_MAX || users[number] < users[best]))
                best = number;
        chosen |= 1ULL << best;
    }
    *ret_cards = chosen;
    return NULL;
}

/* ---- what NVIDIA's tool says ---- */
/* "BOOT\nANSWER" as kept from an earlier start. */
void gpus_find(const char *program, const char *kept, struct gpus *ret_gpus) {
    scoped_text struct text text = {0}, boot = {0};
    *ret_gpus = (struct gpus){0};
    scoped_string char *path = host_program_find(program);
    if (!path) return;
    error_free(file_read("/proc/sys/kernel/random/boot_id", 64, &boot));
    error_free(file_read(kept, KEPT_MAX, &text));
    struct span now = span_trim(text_span(&boot)), rest = text_span(&text);
    if (now.size && span_equal(span_cut(&rest, '\n'), now)) {
        gpus_parse(rest, ret_gpus);
        return;
    }
    scoped_text struct text answer = {0};
    const char *const argv[] = {path, "--query-gpu=index,memory.total,name", "--format=csv,noheader,nounits",
                                NULL};
    if (!program_ask(argv, &answer)) {
        log_warn("container", "%s did not tell what GPUs there are: any of them passes for any kind", path);
        return;
    }
    gpus_parse(text_span(&answer), ret_gpus);
    scoped_text struct text keep = {0};
    text_printf(&keep, SPAN_FORMAT "\n" SPAN_FORMAT, SPAN_ARGS(now), SPAN_ARGS(text_span(&answer)));
    error_free(file_replace(kept, text_span(&keep), 0600));
}

/* ---- a container's ---- */
void gpu_described(struct cdi *ret_cdi) {
    static const char *const dirs[] = {"/etc/cdi", "/var/run/cdi", NULL};
    cdi_read(dirs, ret_cdi);
}

/* Each time that it is another: who mends one file wants to hear of the next. */
static void tell_left_out(struct container_host *host, const struct cdi *cdi) {
    const char *left_out = cdi->left_out.size ? cdi->left_out.data : "";
    if (strcmp(left_out, host->gpus_told ? host->gpus_told : "") == 0) return;
    free(host->gpus_told);
    host->gpus_told = mem_string(left_out);
    struct span rest = span_of(left_out);
    while (rest.data && rest.size) {
        struct span line = span_cut(&rest, '\n');
        log_warn("container", "GPUs: left out: " SPAN_FORMAT, SPAN_ARGS(line));
    }
}

static struct error *choose(struct container_host *host, const struct cdi *cdi,
                            const unsigned users[CDI_CARDS_MAX], const char *gpu, uint64_t *ret_cards) {
    tell_left_out(host, cdi);
    struct error *failed = gpus_choose(&host->gpus, cdi->cards, users, gpu, ret_cards);
    if (!failed || !cdi->left_out.size) return failed;
    scoped(error) struct error *short_one = failed;
    scoped_string char *text = error_text(short_one);
    return error_new(failed->code, "%s; left out: %s", text, cdi->left_out.data);
}

static void count_users(const struct container_host *host, unsigned users[CDI_CARDS_MAX]) {
    LIST_EACH(node, &host->containers) {
        uint64_t cards = CONTAINER_OF(node, struct container, node)->gpus;
        for (unsigned number = 0; number < CDI_CARDS_MAX; number++)
            users[number] += (unsigned)(cards >> number & 1);
    }
}

struct error *gpu_give(struct container *container, json_t *config) {
    struct container_host *host = container->host;
    unsigned users[CDI_CARDS_MAX] = {0};
    uint64_t cards = 0;
    struct cdi cdi;
    gpu_described(&cdi);
    count_users(host, users);
    struct error *failed = choose(host, &cdi, users, container->function->gpu, &cards);
    if (!failed) failed = cdi_apply(&cdi, cards, config);
    if (!failed) container->gpus = cards;
    cdi_done(&cdi);
    return failed;
}

char *container_gpus(const struct container *container) {
    return container->gpus ? gpus_words(&container->host->gpus, container->gpus) : NULL;
}

struct error *container_gpu_check(struct container_host *host, const char *gpu) {
    unsigned nobody[CDI_CARDS_MAX] = {0};
    uint64_t cards;
    struct cdi cdi;
    gpu_described(&cdi);
    struct error *failed = choose(host, &cdi, nobody, gpu, &cards);
    cdi_done(&cdi);
    return failed;
}
