/* network: the way out of a container: a cable (veth) to the host, and one table of nft rules that translates
 * addresses.
 *
 * Each daemon has a /16 of its own in 10.0.0.0/8 and a table named by it. What keeps daemons apart that live
 * side by side is a claim: an abstract socket bound to that name, which the kernel gives to one only, in one
 * network namespace as the table, and takes back with the process. So a table that a killed daemon left is
 * nobody's, and is made afresh by whoever claims its name next; a range that still has a killed daemon's
 * containers in it has their routes, and is not claimed but by its own next daemon, which finds the number
 * in RUN_DIR/network. A container gets a /30. Nobody reaches a container this way, neither its neighbours nor
 * other machines, and it reaches this machine's name server and nothing else here. The launcher lays the
 * cable; it goes with the container's network namespace. The table is made when the first container asks and
 * goes with the daemon, unless containers stay; so does the machine's forwarding of packets, where it was off
 * before.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "inside.h"

enum { INDEX_MAX = 16383, BASE_FIRST = 210, BASE_LAST = 239, NFT_MS = 10000 };

struct network {
    char prefix[16]; /* of our interfaces' names: "cnap210-" */
    char name[24];   /* of the table: "catnap-10.210" */
    unsigned base;   /* 10.BASE.0.0/16; 0: all are taken */
    int claim;       /* the socket that has the table's name */
    bool ready;
    bool table;      /* there is one, of ours or of the daemon before us */
    bool forwarding; /* we switched it on */
    struct io_child *nft;
    uint32_t last, count;
    uint8_t used[(INDEX_MAX + 8) / 8];
};

static void set_base(struct network *network, unsigned base) {
    network->base = base;
    snprintf(network->prefix, sizeof network->prefix, "cnap%u-", base);
    snprintf(network->name, sizeof network->name, "catnap-10.%u", base);
}

/* "eth0 0000FEA9 ...": the destination in hexadecimal, bytes in memory's order. */
static bool routed(unsigned base) {
    scoped_text struct text routes = {0};
    scoped(error) struct error *failed = file_read("/proc/net/route", 1 << 20, &routes);
    struct span rest = text_span(&routes);
    while (!failed && rest.data) {
        struct span line = span_cut(&rest, '\n');
        (void)span_cut(&line, '\t');
        scoped_string char *hex = span_string(span_cut(&line, '\t'));
        uint32_t to = ntohl((uint32_t)strtoul(hex, NULL, 16));
        if (to >> 16 == ((10U << 8) | base)) return true;
    }
    return false;
}

static bool claim(struct network *network, unsigned base) {
    set_base(network, base);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path + 1, network->name, strlen(network->name));
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(network->name));
    network->claim = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (network->claim >= 0 && bind(network->claim, (struct sockaddr *)&address, size) == 0) return true;
    scoped_fd_close(&network->claim);
    network->claim = -1;
    return false;
}

static void claim_any(struct network *network) {
    for (unsigned base = BASE_FIRST; base <= BASE_LAST; base++)
        if (!routed(base) && claim(network, base)) return;
    network->base = 0;
}

static char *kept_path(const struct container_host *host) {
    return path_join(host->run_dir, "network");
}

/* A table does not survive a boot, but the file that speaks of it may. */
static char *boot_id(void) {
    scoped_text struct text text = {0};
    error_free(file_read("/proc/sys/kernel/random/boot_id", 64, &text));
    return span_string(span_trim(text_span(&text)));
}

/* "BOOT BASE" or "BOOT BASE forwarding" of an earlier daemon with this run directory. */
static bool recall(const struct container_host *host, struct network *network) {
    scoped_string char *path = kept_path(host), *boot = boot_id();
    scoped_text struct text kept = {0};
    scoped(error) struct error *failed = file_read(path, 128, &kept);
    struct span rest = span_trim(text_span(&kept));
    uint64_t base = 0;
    if (failed || !span_is(span_cut(&rest, ' '), boot) || !span_to_u64(span_cut(&rest, ' '), &base) ||
        base < BASE_FIRST || base > BASE_LAST || !claim(network, (unsigned)base))
        return false;
    network->table = true;
    network->forwarding = span_is(rest, "forwarding");
    return true;
}

static void keep(const struct container_host *host) {
    const struct network *network = host->network;
    scoped_string char *path = kept_path(host), *boot = boot_id();
    scoped_string char *text =
        mem_printf("%s %u%s\n", boot, network->base, network->forwarding ? " forwarding" : "");
    error_free(file_replace(path, span_of(text), 0600));
}

static struct network *network_of(struct container_host *host) {
    if (host->network) return host->network;
    host->network = NEW(struct network);
    host->network->claim = -1;
    if (!recall(host, host->network)) claim_any(host->network);
    return host->network;
}

void network_resume(struct container_host *host) {
    scoped_string char *path = kept_path(host);
    if (file_exists(path)) (void)network_of(host);
}

/* What the name stood for before is gone with this. */
static char *rules(const struct network *network) {
    struct text text = {0};
    text_printf(
        &text,
        "add table inet %1$s\n"
        "delete table inet %1$s\n"
        "create table inet %1$s\n"
        "table inet %1$s {\n"
        "  chain out { type nat hook postrouting priority 100; ip saddr 10.%2$u.0.0/16 oifname != \"%3$s*\" "
        "masquerade; }\n"
        "  chain through { type filter hook forward priority 0; iifname \"%3$s*\" oifname \"%3$s*\" drop;\n"
        "    oifname \"%3$s*\" ct state established,related accept; oifname \"%3$s*\" drop; }\n"
        "  chain in { type filter hook input priority 0; iifname \"%3$s*\" ct state established,related "
        "accept;\n"
        "    iifname \"%3$s*\" meta l4proto { tcp, udp } th dport 53 accept; iifname \"%3$s*\" drop; }\n"
        "}\n",
        network->name, network->base, network->prefix);
    return text_take(&text);
}

static void fail_waiting(struct container_host *host, const char *text) {
    LIST_EACH_SAFE(node, next, &host->waiting) {
        struct container *container = CONTAINER_OF(node, struct container, node);
        if (container->function->network == CORE_NETWORK_NONE || container->shut_in) continue;
        struct error *failed = life_no_way_out(
            container,
            error_new(ERROR_FAILED_PRECONDITION,
                      "no outbound network: %s (it needs nft; Debian: apt-get install nftables)", text));
        if (!failed) continue; /* host_pump takes it */
        list_remove(node);
        list_append(&host->containers, node);
        life_fail(container, failed);
    }
}

/* ---- the machine forwards packets, or only while we need it ---- */
#define FORWARD "/proc/sys/net/ipv4/ip_forward"

static must_check struct error *switch_forwarding_on(const struct container_host *host) {
    scoped_text struct text now = {0};
    TRY_PLAIN(file_read(FORWARD, 16, &now));
    if (span_is(span_trim(text_span(&now)), "1")) return NULL;
    TRY_PLAIN(file_poke(FORWARD, "1"));
    host->network->forwarding = true;
    keep(host);
    return NULL;
}

/* Another daemon that found it on relies on it. */
static bool others_go_out(const struct network *network) {
    DIR *interfaces = opendir("/sys/class/net");
    bool found = false;
    for (struct dirent *entry; interfaces && !found && (entry = readdir(interfaces));)
        found = strncmp(entry->d_name, "cnap", 4) == 0 && strchr(entry->d_name, '-') &&
                strncmp(entry->d_name, network->prefix, strlen(network->prefix)) != 0;
    if (interfaces) closedir(interfaces);
    return found;
}

static void on_nft(void *owner, struct io_child_end *end) {
    struct container_host *host = owner;
    host->network->nft = NULL;
    scoped(error) struct error *failed = end->error;
    scoped_string char *because =
        failed ? error_text(failed) : mem_printf("nft: " SPAN_FORMAT, SPAN_ARGS(span_trim(end->output)));
    bool good = !failed && end->exit_code == 0;
    host->network->table |= good;
    if (good) keep(host);
    host->network->ready = good;
    if (!good) fail_waiting(host, because);
    host_pump(host);
}

static void make_table(struct container_host *host) {
    scoped_string char *text = rules(host->network);
    const char *argv[] = {"nft", text, NULL};
    host->network->nft = io_child_start(host->loop, &(struct io_child_options){.argv = argv,
                                                                               .stdin_fd = -1,
                                                                               .stdout_fd = -1,
                                                                               .stderr_fd = -1,
                                                                               .deadline_ms = NFT_MS,
                                                                               .done = on_nft,
                                                                               .owner = host});
}

bool network_prepared(struct container_host *host) {
    if (host->in_userns) return true; /* each has its own: slirp.c */
    struct network *network = network_of(host);
    if (network->base == 0) claim_any(network); /* one may have ended since */
    if (network->base == 0) return true;        /* network_take tells why it is not to be had */
    if (!network->ready && !network->nft) make_table(host);
    return network->ready;
}

static bool is_used(const struct network *network, uint32_t index) {
    return network->used[index / 8] & (1U << index % 8);
}

/* A container that was only being made when the daemon before us was killed is nobody's, and for a moment its
 * cable is still there. */
static bool has_cable(const struct network *network, uint32_t index) {
    char name[IF_NAMESIZE + 16];
    snprintf(name, sizeof name, "%s-%u", network->prefix, index);
    return if_nametoindex(name) != 0;
}

void network_adopt(struct container_host *host, uint32_t index) {
    struct network *network = network_of(host);
    if (index == 0 || index > INDEX_MAX || is_used(network, index)) return;
    network->used[index / 8] |= (uint8_t)(1U << index % 8);
    network->count++;
}

struct error *network_take(struct container_host *host, uint32_t *ret_index) {
    struct network *network = network_of(host);
    if (network->base == 0)
        return error_new(
            ERROR_RESOURCE_EXHAUSTED,
            "no outbound network: each range from 10.%d.0.0/16 to 10.%d.0.0/16 is routed already or "
            "another daemon's",
            BASE_FIRST, BASE_LAST);
    uint32_t tried = 0;
    do {
        if (tried++ == INDEX_MAX)
            return error_new(ERROR_RESOURCE_EXHAUSTED, "all %d addresses of the way out are taken",
                             INDEX_MAX);
        network->last = network->last % INDEX_MAX + 1;
    } while (is_used(network, network->last) || has_cable(network, network->last));
    TRY(switch_forwarding_on(host), "no outbound network"); /* each time: another daemon may have ended */
    network_adopt(host, network->last);
    *ret_index = network->last;
    return NULL;
}

void network_give(struct container_host *host, uint32_t index) {
    struct network *network = host->network;
    if (!network || index == 0 || index > INDEX_MAX || !is_used(network, index)) return;
    network->used[index / 8] &= (uint8_t) ~(1U << index % 8);
    network->count--;
}

void network_job(const struct container_host *host, uint32_t index, struct text *job) {
    const struct network *network = host->network;
    uint32_t first = (10U << 24) | (network->base << 16) | (index * 4);
    text_printf(job, "veth=%s-%u %u %u", network->prefix, index, first + 1, first + 2);
    text_add_char(job, '\0');
}

static void delete_table(const char *name) {
    scoped_text struct text said = {0};
    (void)program_ask((const char *const[]){"nft", "delete", "table", "inet", name, NULL}, &said);
}

void network_stop(struct container_host *host) {
    if (host->network) io_child_free(take(host->network->nft));
}

void network_free(struct container_host *host) {
    struct network *network = take(host->network);
    if (!network) return;
    scoped_fd int claim = network->claim;
    if (network->count == 0) {
        if (network->table) delete_table(network->name);
        if (network->forwarding && !others_go_out(network)) error_free(file_poke(FORWARD, "0"));
        scoped_string char *path = kept_path(host);
        (void)unlink(path);
    }
    free(network);
}

/* A name server on this machine's loopback is not the container's loopback; systemd-resolved keeps the real
 * ones beside. */
char *network_resolv_conf(const char *text) {
    scoped_text struct text out = {0};
    struct span rest = span_of(text);
    bool server = false;
    while (rest.data) {
        struct span line = span_cut(&rest, '\n'), address = line;
        if (span_starts(line, "nameserver")) {
            address.data += strlen("nameserver"), address.size -= strlen("nameserver");
            address = span_trim(address);
            if (span_starts(address, "127.") || memchr(address.data, ':', address.size)) continue;
            server = true;
        }
        if (line.size) text_printf(&out, SPAN_FORMAT "\n", SPAN_ARGS(line));
    }
    if (server) return text_take(&out);
    scoped_text struct text resolved = {0};
    scoped(error) struct error *failed = file_read("/run/systemd/resolve/resolv.conf", 1 << 16, &resolved);
    return failed || !resolved.data ? mem_string("") : text_take(&resolved);
}
