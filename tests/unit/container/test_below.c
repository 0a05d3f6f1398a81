/* A part of a volume as a mount: made where it is missing, and never found by a link that others planted. */
#include "house.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char *seen(struct house *house, const char *name, const char *script,
                  const struct container_mount *mount) {
    static uint64_t number = 100;
    scoped(core_function) struct core_function *function = plain_shell_function(name, script);
    return house_run_with(house, function, number++, mount, 1);
}

static void test_a_part_is_all_that_is_seen(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped_string char *tree = path_join(house->dir, "tree"), *other = path_join(tree, "other"),
                       *made = path_join(tree, "users/ann"), *note = path_join(made, "note");
    assert_ok(dir_make(other, 0755));
    assert_int_equal(chown(tree, 70, 71), 0);
    const struct container_mount part = {.source = tree, .destination = "/mine", .below = "users/ann"};
    scoped_string char *said =
        seen(house, "part", "ls -A /mine; echo hers > /mine/note; ls -A /mine/..", &part);
    assert_null(strstr(said, "other"));
    scoped_text struct text text = {0};
    assert_ok(file_read(note, 16, &text));
    assert_string_equal(text.data, "hers\n");
    struct stat at;
    assert_int_equal(stat(made, &at), 0);
    assert_int_equal(at.st_uid, 70); /* whose the volume is */
    const struct container_mount read_only = {
        .source = tree, .destination = "/mine", .below = "users/ann", .read_only = true};
    scoped_string char *again = seen(house, "again", "cat /mine/note; touch /mine/x || echo no", &read_only);
    assert_non_null(strstr(again, "hers"));
    assert_non_null(strstr(again, "no"));
    house_free(house);
}

static void fails(struct house *house, const char *tree, const char *below, const char *text) {
    scoped(core_function) struct core_function *function = plain_shell_function("fails", "true");
    const struct container_mount part = {.source = tree, .destination = "/mine", .below = below};
    struct guest guest;
    guest_create_with(house, &guest, function, 1, true, &part, 1);
    AWAIT(guest, exited);
    if (!strstr(guest.error, text)) fail_msg("'%s' instead of '%s'", guest.error, text);
    container_free(guest.container);
}

static void test_a_link_leads_nowhere(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped_string char *tree = path_join(house->dir, "tree"), *outside = path_join(house->dir, "outside"),
                       *link = path_join(tree, "link"), *here = path_join(tree, "here");
    assert_ok(dir_make(tree, 0755));
    assert_ok(dir_make(outside, 0755));
    assert_int_equal(symlink("../outside", link), 0);
    assert_int_equal(symlink(".", here), 0); /* also one that stays inside: what it says may change */
    fails(house, tree, "link", "sub_path link: link is there in the volume and is no directory");
    fails(house, tree, "link/deep", "link is there in the volume and is no directory");
    fails(house, tree, "here/deep", "here is there in the volume and is no directory");
    fails(house, tree, "a/../../outside", "it is no clean path");
    assert_int_equal(rmdir(outside), 0); /* still empty */
    house_free(house);
}

/* Somebody exchanges the directory and a link all the time: whoever starts has the directory or fails. */
static void test_an_exchange_at_the_same_moment_wins_nothing(void **unused) {
    NEEDS_ROOT();
    struct house *house = house_new(NULL);
    scoped_string char *tree = path_join(house->dir, "tree"), *outside = path_join(house->dir, "outside"),
                       *part = path_join(tree, "part"), *deep = path_join(part, "deep"),
                       *link = path_join(tree, "link"), *secret = path_join(outside, "deep/secret"),
                       *out_deep = path_join(outside, "deep");
    assert_ok(dir_make(deep, 0755));
    assert_ok(dir_make(out_deep, 0755));
    assert_ok(file_replace(secret, SPAN("outside"), 0644));
    assert_int_equal(symlink(outside, link), 0);
    const pid_t turning = fork();
    if (turning == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) (void)renameat2(AT_FDCWD, part, AT_FDCWD, link, RENAME_EXCHANGE);
    }
    const struct container_mount mount = {.source = tree, .destination = "/mine", .below = "part/deep"};
    for (uint64_t i = 1; i <= 10; i++) {
        scoped(core_function) struct core_function *function =
            plain_shell_function("races", "test ! -e /mine/secret");
        struct guest guest;
        guest_create_with(house, &guest, function, i, true, &mount, 1);
        AWAIT(guest, exited);
        if (!strstr(guest.error, "is no directory")) assert_int_equal(guest.end.exit_code, 0);
        container_free(guest.container);
    }
    kill(turning, SIGKILL);
    waitpid(turning, NULL, 0);
    house_free(house);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_part_is_all_that_is_seen),
        cmocka_unit_test(test_a_link_leads_nowhere),
        cmocka_unit_test(test_an_exchange_at_the_same_moment_wins_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
