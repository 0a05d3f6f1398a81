/* The way out, for those who ask for it: to other machines, not to this one, not to one another; and gone
 * with the last of them. Another machine is played by a network namespace with a cable to this one. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/prctl.h>

#include "inside.h"
#include "power.h"

__attribute__((format(printf, 1, 2))) static int run(const char *format, ...) {
    va_list args;
    va_start(args, format);
    scoped_string char *command = mem_vprintf(format, args);
    va_end(args);
    const char *argv[] = {"sh", "-c", command, NULL};
    pid_t pid = fork();
    if (pid == 0) execvp("sh", (char **)argv), _exit(127);
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* ---- the other machine: a name of our own, an address out of 198.18.0.0/15 (kept for tests of networks)
 * ---- */
struct outside {
    char cable[16], here[16], there[16]; /* the interface on our side; both addresses */
    pid_t server;
};

static struct outside outside_new(void) {
    struct outside outside;
    unsigned number = (unsigned)getpid() % 16384 * 4;
    snprintf(outside.cable, sizeof outside.cable, "ct%u", (unsigned)getpid() % 1000000);
    snprintf(outside.here, sizeof outside.here, "198.18.%u.%u", number >> 8, (number & 255) + 1);
    snprintf(outside.there, sizeof outside.there, "198.18.%u.%u", number >> 8, (number & 255) + 2);
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    outside.server = fork();
    if (outside.server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* also where the test fails */
        if (unshare(CLONE_NEWNET) || write(ready[1], "r", 1) != 1) _exit(1);
        scoped_string char *server =
            mem_printf("%s/tiny_server", environment("CATNAP_FIXTURES", "tests/unit"));
        setenv("PORT", "7000", 1);
        execl(server, server, NULL);
        _exit(1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]), close(ready[1]);
    assert_int_equal(run("ip link add %s type veth peer name eth0 netns %d && ip address add %s/30 dev %s &&"
                         "ip link set %s up && nsenter -t %d -n ip address add %s/30 dev eth0 &&"
                         "nsenter -t %d -n ip link set eth0 up",
                         outside.cable, outside.server, outside.here, outside.cable, outside.cable,
                         outside.server, outside.there, outside.server),
                     0);
    return outside;
}

static void outside_free(struct outside *outside) {
    kill(outside->server, SIGKILL);
    assert_int_equal(waitpid(outside->server, NULL, 0), outside->server);
    (void)run("ip link delete %s 2>/dev/null", outside->cable);
}

/* ---- what is asked inside ---- */
#define TRY_TO_REACH                                                           \
    "python3 -c \"import socket, sys\n"                                        \
    "for place in sys.argv[1:]:\n"                                             \
    "    host, port = place.split(':')\n"                                      \
    "    try:\n"                                                               \
    "        s = socket.create_connection((host, int(port)), 1)\n"             \
    "        s.send(b'GET / HTTP/1.1\\r\\n\\r\\n')\n"                          \
    "        print(s.recv(1000).split(b'\\r\\n\\r\\n')[1].decode().strip())\n" \
    "    except OSError as e: print('no way')\n\" "

static struct core_function *outgoing(const char *name, const char *format, const char *place) {
    scoped_string char *script = mem_printf("%s%s%s", TRY_TO_REACH, format, place);
    struct core_function *function = shell_function(name, script);
    function->network = CORE_NETWORK_OUTBOUND;
    return function;
}

/* The number that the house's addresses and names go by; 0: it has none. */
static unsigned base_of(const struct house *house) {
    scoped_string char *path = path_join(house->run_dir, "network");
    scoped_text struct text text = {0};
    scoped(error) struct error *none = file_read(path, 128, &text);
    struct span rest = span_trim(text_span(&text));
    uint64_t base = 0;
    (void)span_cut(&rest, ' ');
    (void)(!none && span_to_u64(span_cut(&rest, ' '), &base));
    return (unsigned)base;
}

static size_t interfaces_of(unsigned base) {
    scoped_string char *prefix = mem_printf("cnap%u-", base);
    DIR *directory = opendir("/sys/class/net");
    size_t count = 0;
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    closedir(directory);
    return count;
}

/* The kernel takes a network namespace apart a moment after its last process ended. */
static void await_no_interfaces(unsigned base) {
    int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (interfaces_of(base) > 0) {
        if (clock_monotonic_ms() > until_ms) fail_msg("interfaces are left behind");
        wait_a_moment();
    }
}

static bool has_table(unsigned base) {
    return run("nft list table inet catnap-10.%u >/dev/null 2>&1", base) == 0;
}

static bool can_network(void) {
    if (run("command -v nft ip nsenter >/dev/null") == 0) return true;
    print_message("skipped: the packages nftables and iproute2 are not here\n");
    return false;
}
#define NEEDS_NETWORK() \
    NEEDS_ROOT();       \
    if (!can_network()) skip()

/* house_free, and nothing of the network is left: no interface, and no file that speaks of it, so no table.
 */
static void house_free_all(struct house *house) {
    unsigned base = base_of(house);
    assert_true(base > 0);
    await_no_interfaces(base);
    house_close(house);
    assert_int_equal(base_of(house), 0);
    int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (has_table(base)) { /* another daemon of this machine may have taken the number since */
        if (clock_monotonic_ms() > until_ms) fail_msg("the table catnap-10.%u is left behind", base);
        wait_a_moment();
    }
    house_free(house);
}

static void test_who_asks_gets_out_and_who_does_not_stays(void **unused) {
    NEEDS_NETWORK();
    struct outside outside = outside_new();
    struct house *house = house_new(NULL);
    scoped_string char *place = mem_printf("%s:7000", outside.there);
    scoped(core_function) struct core_function *asks = outgoing("asks", "", place);
    scoped_string char *reached = house_run(house, asks, 1);
    assert_string_equal(reached, "hello");
    assert_true(has_table(base_of(house))); /* kept for the next one */
    scoped(core_function) struct core_function *stays = outgoing("stays", "", place);
    stays->network = CORE_NETWORK_NONE;
    scoped_string char *not_reached = house_run(house, stays, 2);
    assert_string_equal(not_reached, "no way");
    outside_free(&outside);
    house_free_all(house);
}

static void test_this_machine_and_the_neighbours_are_not_outside(void **unused) {
    NEEDS_NETWORK();
    struct outside outside = outside_new();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *server = server_function("neighbour");
    server->network = CORE_NETWORK_OUTBOUND;
    struct guest neighbour;
    guest_create(house, &neighbour, server, 1, true);
    AWAIT_READY(neighbour);
    ASSERT_SERVES(neighbour); /* from us to it goes another way */

    int here = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    assert_int_equal(bind(here, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(here, 8), 0);
    assert_int_equal(getsockname(here, (struct sockaddr *)&address, &size), 0);
    scoped_text struct text places = {0};
    text_printf(&places, "%s:%d 10.%d.0.5:%d 10.%d.0.6:8000 %s:7000", outside.here, ntohs(address.sin_port),
                base_of(house), ntohs(address.sin_port), base_of(house), outside.there);
    scoped(core_function) struct core_function *asks = outgoing("tries", "", places.data);
    scoped_string char *reached = house_run(house, asks, 2);
    assert_string_equal(reached, "no way\nno way\nno way\nhello");
    close(here);
    guest_end(&neighbour);
    outside_free(&outside);
    house_free_all(house);
}

static void test_two_daemons_live_side_by_side(void **unused) {
    NEEDS_NETWORK();
    struct outside outside = outside_new();
    struct house *one = house_new(NULL), *other = house_new(NULL);
    scoped(core_function) struct core_function *server = server_function("neighbour");
    server->network = CORE_NETWORK_OUTBOUND;
    struct guest in_one, in_other;
    guest_create(one, &in_one, server, 1, true);
    AWAIT_READY(in_one);
    guest_create(other, &in_other, server, 1, true);
    AWAIT_READY(in_other);
    assert_int_not_equal(base_of(one), base_of(other));
    scoped_string char *places =
        mem_printf("10.%u.0.6:8000 10.%u.0.6:8000 %s:7000", base_of(one), base_of(other), outside.there);
    scoped(core_function) struct core_function *asks = outgoing("asks", "", places);
    scoped_string char *from_one = house_run(one, asks, 2), *from_other = house_run(other, asks, 2);
    assert_string_equal(from_one, "no way\nno way\nhello");
    assert_string_equal(from_other, "no way\nno way\nhello");
    guest_end(&in_one);
    guest_end(&in_other);
    outside_free(&outside);
    house_free_all(other);
    house_free_all(one);
}

static void test_names_can_be_asked_for(void **unused) {
    NEEDS_NETWORK();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function =
        shell_function("names", "grep -c nameserver /etc/resolv.conf; ls /sys/class/net | tr '\\n' ' '");
    function->network = CORE_NETWORK_OUTBOUND;
    scoped_text struct text ours = {0};
    assert_ok(file_read("/etc/resolv.conf", 1 << 16, &ours));
    scoped_string char *said = house_run(house, function, 1);
    assert_string_equal(said, strstr(ours.data, "nameserver 127.") ? said : "1\neth0 lo ");
    house_free_all(house);
}

static void on_found(void *owner, struct container *container, const struct container_found *found) {
    struct guest *guest = owner;
    (void)found;
    guest->container = container;
}

static void test_the_way_out_outlives_the_daemon(void **unused) {
    NEEDS_NETWORK();
    struct outside outside = outside_new();
    struct house *house = house_new(NULL);
    scoped_string char *place = mem_printf("%s:7000", outside.there);
    scoped(core_function) struct core_function *server = server_function("stays");
    server->network = CORE_NETWORK_OUTBOUND;
    struct guest first, found = {.house = house};
    guest_create(house, &first, server, 1, true);
    AWAIT_READY(first);
    int pid = container_pid(first.container);
    house_close(house);
    assert_true(has_table(base_of(house)));
    assert_int_equal(interfaces_of(base_of(house)), 1);
    assert_int_equal(
        run("nsenter -t %d -n python3 -c \"import socket; socket.create_connection(('%s', 7000), 5)\"", pid,
            outside.there),
        0);

    house_open(house);
    assert_ok(container_host_adopt(house->host, &house_events, &found, on_found));
    scoped(core_function) struct core_function *asks = outgoing("asks", "", place);
    scoped_string char *reached = house_run(house, asks, 2); /* with an address of its own */
    assert_string_equal(reached, "hello");
    guest_end(&found);
    outside_free(&outside);
    house_free_all(house);
}

/* It died while nobody looked: the next daemon clears the table away all the same. */
static void test_what_a_dead_daemon_left_is_cleared_away(void **unused) {
    NEEDS_NETWORK();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *server = server_function("dies");
    server->network = CORE_NETWORK_OUTBOUND;
    struct guest guest, found = {.house = house};
    guest_create(house, &guest, server, 1, true);
    AWAIT_READY(guest);
    int pid = container_pid(guest.container);
    house_close(house);
    kill(pid, SIGKILL);
    house_open(house);
    await_no_interfaces(base_of(house));
    assert_ok(container_host_adopt(house->host, &house_events, &found, on_found));
    assert_null(found.container);
    house_free_all(house);
}

/* A daemon that was killed before it could take its table away, and one whose container was only being made:
 * neither keeps the next daemon from the range, nor a cable of that moment from the next address. */
static void test_what_nobody_claims_is_taken_over(void **unused) {
    NEEDS_NETWORK();
    struct outside outside = outside_new();
    struct house *house = house_new(NULL);
    scoped_string char *place = mem_printf("%s:7000", outside.there);
    scoped(core_function) struct core_function *asks = outgoing("asks", "", place);
    scoped_string char *reached = house_run(house, asks, 1);
    unsigned base = base_of(house);
    await_no_interfaces(base);
    house_close(house);
    assert_int_equal(run("nft 'add table inet catnap-10.%u; add chain inet catnap-10.%u old'", base, base),
                     0);
    assert_int_equal(run("ip link add cnap%u--1 type veth peer name cnap%u--2", base, base), 0);
    house_open(house);
    scoped(core_function) struct core_function *asks_again = outgoing("asks-again", "", place);
    scoped_string char *again = house_run(house, asks_again, 2);
    assert_string_equal(again, "hello");
    unsigned taken = base_of(house);
    assert_int_not_equal(run("nft list chain inet catnap-10.%u old >/dev/null 2>&1", taken), 0);
    assert_int_equal(run("ip link del cnap%u--1", base), 0);
    if (taken != base) (void)run("nft delete table inet catnap-10.%u 2>/dev/null", base);
    outside_free(&outside);
    house_free_all(house);
}

static void test_without_nft_it_says_so(void **unused) {
    NEEDS_NETWORK();
    struct house *house = house_new(NULL);
    scoped(core_function) struct core_function *function = server_function("no-nft");
    function->network = CORE_NETWORK_OUTBOUND;
    scoped_string char *path = mem_string(getenv("PATH"));
    setenv("PATH", "/nowhere", 1);
    struct guest guest;
    guest_create(house, &guest, function, 1, true);
    AWAIT(guest, exited);
    assert_non_null(strstr(guest.error, "no outbound network: run nft: "));
    assert_non_null(strstr(guest.error, "nftables"));
    container_free(guest.container);
    function->network = CORE_NETWORK_IF_THERE; /* it serves without */
    guest_create(house, &guest, function, 2, true);
    AWAIT_READY(guest);
    setenv("PATH", path, 1);
    assert_non_null(strstr(guest.shut_in, "no outbound network: run nft: "));
    guest_end(&guest);
    house_free(house);
}

static void test_what_of_resolv_conf_a_container_can_use(void **unused) {
    (void)unused;
    static const struct {
        const char *ours, *theirs;
    } rows[] = {
        {"nameserver 192.0.2.1\nsearch example.org\n", "nameserver 192.0.2.1\nsearch example.org\n"},
        {"nameserver 127.0.0.1\nnameserver 192.0.2.1\n", "nameserver 192.0.2.1\n"},
        {"nameserver 2001:db8::1\nnameserver 192.0.2.1\n", "nameserver 192.0.2.1\n"}, /* no IPv6 out there */
        {"# made by hand\n\nnameserver 192.0.2.1 \n", "# made by hand\nnameserver 192.0.2.1 \n"},
        {"nameserver\t192.0.2.1\n", "nameserver\t192.0.2.1\n"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        scoped_string char *got = network_resolv_conf(rows[i].ours);
        assert_string_equal(got, rows[i].theirs);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_asks_gets_out_and_who_does_not_stays),
        cmocka_unit_test(test_this_machine_and_the_neighbours_are_not_outside),
        cmocka_unit_test(test_two_daemons_live_side_by_side),
        cmocka_unit_test(test_names_can_be_asked_for),
        cmocka_unit_test(test_the_way_out_outlives_the_daemon),
        cmocka_unit_test(test_what_a_dead_daemon_left_is_cleared_away),
        cmocka_unit_test(test_what_nobody_claims_is_taken_over),
        cmocka_unit_test(test_without_nft_it_says_so),
        cmocka_unit_test(test_what_of_resolv_conf_a_container_can_use),
    };
    return cmocka_run_group_tests_name("container network", tests, NULL, NULL);
}
