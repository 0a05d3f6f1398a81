/* Steps of builds in real containers, on top of this machine's own programs: what they write becomes the
 * layer, what they print is told, and nothing else is left of them. */
#include <sys/socket.h>

#include "house.h"
#include "lab.h"
#include "node.h"

struct site {
    struct house *house;
    struct lab lab;
    struct node *node;
};

static struct site *site_new(void) {
    struct site *site = NEW(struct site);
    struct house *house = site->house = house_new(NULL);
    scoped_string char *logs = path_join(house->state_dir, "logs");
    site->node = node_new(&(struct node_options){
        .loop = house->loop, .host = house->host, .logs_dir = logs, .step_numbers = 1000});
    site->lab = (struct lab){.loop = house->loop, .dir = house->dir};
    site->lab.deadline = io_timer_new(house->loop, lab_on_deadline, &site->lab);
    site->lab.options.runner = node_image_runner(site->node);
    lab_open(&site->lab);
    node_images_set(site->node, site->lab.store);
    return site;
}

static void on_stopped(void *owner) {
    struct site *site = owner;
    site->lab.timed_out = true;
    io_loop_stop(site->house->loop);
}

static void site_free(struct site *site) {
    site->lab.timed_out = false;
    image_store_stop(site->lab.store, on_stopped, site);
    while (!site->lab.timed_out) io_loop_run(site->house->loop);
    image_store_free(site->lab.store);
    node_free(site->node);
    io_timer_free(site->lab.deadline);
    house_free(site->house);
    free(site);
}

static void build(struct site *site, const char *text, struct lab_job *job) {
    *job = (struct lab_job){.lab = &site->lab};
    image_build(site->lab.store, &(struct image_build){.commands = text}, &lab_events, job);
    lab_await(&site->lab, job);
}

static char *layer_file(struct site *site, const char *id, const char *path) {
    struct image_layers layers;
    scoped_string char *name = mem_printf("sha256:%s", id);
    assert_ok(image_resolve(site->lab.store, name, &layers));
    char *whole = path_join(layers.layer[0], path);
    image_layers_done(&layers);
    return whole;
}

static void test_what_a_step_writes_is_the_layer_and_what_it_prints_is_told(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct site *site = site_new();
    struct lab_job job;
    build(site,
          "FROM host\nENV WHO=world\nWORKDIR /somewhere\n"
          "RUN echo \"hello $WHO\" | tee made; echo on-stderr >&2; printf no-newline; rm /usr/bin/yes; id -u "
          "> /usr/share/who\n",
          &job);
    assert_ok(take(job.error));
    assert_non_null(strstr(job.lines.data, "\nhello world\n"));
    assert_non_null(strstr(job.lines.data, "\non-stderr\n"));
    assert_non_null(strstr(job.lines.data, "\nno-newline\n"));
    scoped_string char *made = layer_file(site, job.id, "somewhere/made"),
                       *who = layer_file(site, job.id, "usr/share/who"),
                       *own = layer_file(site, job.id, ".catnap"),
                       *gone = layer_file(site, job.id, "usr/bin/yes");
    scoped_text struct text text = {0};
    assert_ok(file_read(made, 100, &text));
    assert_string_equal(text.data, "hello world\n");
    assert_true(file_exists(who));
    assert_false(file_exists(own));
    struct stat at;
    assert_int_equal(lstat(gone, &at), 0); /* a whiteout */
    assert_true(S_ISCHR(at.st_mode));
    assert_true(file_exists("/usr/bin/yes"));
    lab_job_done(&job);
    site_free(site);
}

static void test_a_step_sees_nothing_of_the_machine_but_its_programs(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct site *site = site_new();
    struct lab_job job;
    build(site,
          "FROM host\nRUN ls -A /root /home; test ! -e /etc/shadow; test ! -e /var/lib; test ! -e /dev/kvm; "
          "! touch /proc/sys/x; "
          "test $$ -lt 10; ! mount -t tmpfs x /mnt\n",
          &job);
    assert_ok(take(job.error));
    lab_job_done(&job);
    site_free(site);
}

static void test_how_a_step_failed_is_told(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    static const char *const rows[][2] = {
        {"FROM host\nRUN echo why; exit 9\n", "it exited with code 9; its last lines:\nwhy"},
        {"FROM host\nRUN kill -9 $$\n", "it was ended by signal 9"},
        {"FROM host\nRUN [\"/no/such\"]\n", "cannot run '/no/such': No such file or directory"},
        {"FROM host\nUSER nobody-here\nRUN true\n", "user 'nobody-here'"},
    };
    struct site *site = site_new();
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct lab_job job;
        build(site, rows[i][0], &job);
        scoped_string char *said = job.error ? error_text(job.error) : mem_string("no error");
        if (!strstr(said, rows[i][1])) fail_msg("'%s' instead of '%s'", said, rows[i][1]);
        lab_job_done(&job);
    }
    scoped_string char *logs = mem_printf("%s/logs/_build", site->house->state_dir);
    site_free(site);
    assert_false(file_exists(logs)); /* with the house; until then each step's own is gone */
}

static void test_a_cancelled_step_is_killed(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct site *site = site_new();
    struct lab_job job = {.lab = &site->lab};
    struct image_job *leaves = image_build(
        site->lab.store, &(struct image_build){.commands = "FROM host\nRUN echo begun; sleep 1000\n"},
        &lab_events, &job);
    lab_await_line(&site->lab, &job, "\nbegun\n");
    image_job_cancel(leaves);
    struct lab_job next;
    build(site, "FROM host\nRUN ! ls /proc/2/cwd 2>/dev/null; echo fine\n", &next);
    assert_ok(take(next.error));
    assert_false(job.done);
    lab_job_done(&job), lab_job_done(&next);
    site_free(site); /* which looks for what is left behind */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_step_writes_is_the_layer_and_what_it_prints_is_told),
        cmocka_unit_test(test_a_step_sees_nothing_of_the_machine_but_its_programs),
        cmocka_unit_test(test_how_a_step_failed_is_told),
        cmocka_unit_test(test_a_cancelled_step_is_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
