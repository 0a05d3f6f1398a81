/* Volumes: a name is a directory of ours, made when it is first used; a path is one that must be there. */
#include <sys/stat.h>

#include "test.h"
#include "volume.h"

static void test_a_name_is_a_directory_of_ours(void **unused) {
    (void)unused;
    scoped_string char *id = random_id("catnap-volume"), *dir = mem_printf("/tmp/%s", id), *path = NULL,
                       *again = NULL, *expected = path_join(dir, "models"),
                       *file = path_join(expected, "file");
    struct core_volume_mount mount = {.path = (char *)"/data", .volume = (char *)"models"};
    assert_ok(volume_check(&mount));
    assert_false(file_exists(dir)); /* looking makes nothing */
    assert_ok(volume_directory(dir, &mount, &path));
    assert_string_equal(path, expected);
    assert_ok(file_replace(file, SPAN("kept"), 0644));
    assert_ok(volume_directory(dir, &mount, &again));
    assert_true(file_exists(file)); /* the second use finds what the first left */
    assert_ok(tree_remove(dir));
}

static void test_a_path_must_be_there(void **unused) {
    (void)unused;
    scoped_string char *path = NULL;
    struct core_volume_mount here = {.path = (char *)"/data", .volume = (char *)"/tmp"};
    struct core_volume_mount nowhere = {.path = (char *)"/data", .volume = (char *)"/no/such/directory"};
    assert_ok(volume_directory("/nowhere", &here, &path));
    assert_string_equal(path, "/tmp");
    assert_error(volume_check(&nowhere), ERROR_NOT_FOUND, "/no/such/directory, to be mounted at /data");
    char *none = NULL;
    assert_error(volume_directory("/nowhere", &nowhere, &none), ERROR_NOT_FOUND, "/no/such/directory");
    assert_null(none);
}

static void test_a_name_leads_nowhere_else(void **unused) {
    (void)unused;
    static const char *const names[] = {"..", "a/b", "../x", "", "A", ".hidden"};
    for (size_t i = 0; i < COUNT(names); i++) {
        struct core_volume_mount mount = {.path = (char *)"/data", .volume = (char *)names[i]};
        assert_error(volume_check(&mount), ERROR_INVALID_ARGUMENT, "volume");
    }
}

static void test_a_directory_that_cannot_be_made_is_told(void **unused) {
    (void)unused;
    struct core_volume_mount mount = {.path = (char *)"/data", .volume = (char *)"models"};
    char *none = NULL;
    assert_error(volume_directory("/proc/nowhere", &mount, &none), ERROR_NOT_FOUND, "volume models");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_name_is_a_directory_of_ours),
        cmocka_unit_test(test_a_path_must_be_there),
        cmocka_unit_test(test_a_name_leads_nowhere_else),
        cmocka_unit_test(test_a_directory_that_cannot_be_made_is_told),
    };
    return cmocka_run_group_tests_name("volume", tests, NULL, NULL);
}
