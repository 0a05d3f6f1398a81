/* The life of volumes: names, commits, what clients read, and what the next daemon finds. */
#include "place.h"

#include <dirent.h>
#include <errno.h>
#include <sys/mman.h>

static void test_a_commit_is_what_the_live_tree_was(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    assert_committed(place, volume, "");
    write_live(volume, "a", "one");
    dir_live(volume, "d/e");
    write_live(volume, "d/e/f", "two");
    scoped_string char *link = live(volume, "d/l");
    assert_int_equal(symlink("../a", link), 0);
    assert_committed(place, volume, "");
    assert_ok(commit(place, volume));
    write_live(volume, "a", "later");
    write_live(volume, "new", "later");
    assert_committed(place, volume, "a=one d/ d/e/ d/e/f=two d/l>../a");
    struct volume_view view;
    volume_view(volume, &view);
    assert_int_equal(view.commits, 1);
    assert_int_equal(view.file_count, 3);
    assert_int_equal(view.size_bytes, 6);
    assert_ok(commit(place, volume));
    assert_committed(place, volume, "a=later d/ d/e/ d/e/f=two d/l>../a new=later");
}

static void test_a_commit_of_the_same_is_no_new_version(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    write_live(volume, "a", "one");
    assert_ok(commit(place, volume));
    assert_ok(commit(place, volume));
    struct volume_view view;
    volume_view(volume, &view);
    assert_int_equal(view.commits, 1);
}

/* Same size, and the time set back to what it was: a file that is known is told by more than that. */
static void test_a_change_that_hides_its_time_is_committed(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    scoped_string char *path = live(volume, "a");
    const struct timespec past[2] = {{1000000000, 0}, {1000000000, 0}};
    write_live(volume, "a", "one");
    assert_int_equal(utimensat(AT_FDCWD, path, past, 0), 0);
    for (int i = 0; i < 20; i++) {
        char bytes[16];
        snprintf(bytes, sizeof bytes, "%03d", i);
        assert_ok(commit(place, volume));
        scoped_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
        assert_int_equal(pwrite(fd, bytes, 3, 0), 3);
        assert_int_equal(futimens(fd, past), 0);
        assert_ok(commit(place, volume));
        scoped_text struct text found = {0};
        assert_ok(read_committed(place, volume, "a", &found));
        assert_string_equal(found.data, bytes);
    }
}

/* A container that writes at the worst moment: when the first piece was read. */
static const char *written_meanwhile;

static ssize_t pwrite_and_be_overtaken(int fd, const void *bytes, size_t size, off_t offset) {
    const char *path = written_meanwhile;
    written_meanwhile = NULL;
    if (path) {
        scoped_string char *other = mem_new(600000);
        memset(other, 'b', 600000);
        scoped_fd int live_fd = open(path, O_WRONLY | O_CLOEXEC);
        if (pwrite(live_fd, other, 600000, 0) != 600000) abort();
    }
    return pwrite(fd, bytes, size, offset);
}

static void test_a_file_that_is_written_while_it_is_read_is_read_again(void **state) {
    struct place *place = *state;
    const struct store_calls calls = {write,   pwrite_and_be_overtaken, fsync, ftruncate, rename, unlink,
                                      renameat};
    place_close(place);
    store_calls_set(&calls);
    place_open(place);
    struct volume *volume = new_volume(place, "data");
    scoped_string char *path = live(volume, "a"), *bytes = mem_new(600001);
    memset(bytes, 'a', 600000);
    write_live(volume, "a", bytes);
    written_meanwhile = path;
    assert_ok(commit(place, volume));
    assert_null(written_meanwhile);
    scoped_text struct text found = {0};
    assert_ok(read_committed(place, volume, "a", &found));
    memset(bytes, found.data[0], 600000); /* one of the two, whole: a clone is done before anybody writes */
    assert_true(strcmp(found.data, bytes) == 0);
    place_close(place);
    store_calls_set(NULL);
    place_open(place);
}

/* A page that stays mapped and dirty: the kernel tells of its first write only, until it has been written
 * back. */
static void test_writes_through_a_mapping_are_committed(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    scoped_string char *path = live(volume, "a");
    scoped_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(ftruncate(fd, 4096), 0);
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(page != MAP_FAILED);
    for (int i = 0; i < 4; i++) {
        page[0] = (char)('a' + i);
        let_live(place, 150); /* so that the commit finds a file that has stood still */
        assert_ok(commit(place, volume));
        scoped_text struct text found = {0};
        assert_ok(read_committed(place, volume, "a", &found));
        assert_int_equal(found.data[0], 'a' + i);
    }
    munmap(page, 4096);
}

static void test_what_was_committed_is_there_for_the_next_daemon(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    write_live(volume, "a", "one");
    assert_ok(commit(place, volume));
    write_live(volume, "a", "two");
    scoped_string char *id = NULL;
    struct volume_view view;
    volume_view(volume, &view);
    id = mem_string(view.id);
    place_again(place);
    volume = volume_find(place->volumes, NULL, "data");
    assert_ptr_equal(volume, volume_by_id(place->volumes, id));
    assert_committed(place, volume, "a=one");
    assert_live(volume, "a", "two");
    volume_view(volume, &view);
    assert_int_equal(view.file_count, 1);
    assert_true(view.created_ms > 0);
}

static void test_names(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    assert_error(make_volume(place, NULL, "data", false), ERROR_ALREADY_EXISTS, "data");
    assert_ok(make_volume(place, NULL, "data", true));
    assert_ptr_equal(place->volume, volume);
    assert_ok(make_volume(place, "dev", "data", false));
    assert_ptr_not_equal(place->volume, volume);
    struct volume *dev = place->volume;
    assert_ptr_equal(volume_find(place->volumes, "dev", "data"), dev);
    assert_ok(make_volume(place, NULL, "Upper_Case.1", false));
    static const char *const bad[] = {"",
                                      ".",
                                      "..",
                                      "a/b",
                                      "a b",
                                      "../x",
                                      "vo-aaaaaaaaaaaaaaaa",
                                      "a123456789a123456789a123456789a123456789a123456789a123456789a1234"};
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_error(make_volume(place, NULL, bad[i], true), ERROR_INVALID_ARGUMENT, "no name of a volume");
    size_t count = 0;
    for (size_t i = 0; volumes_next(place->volumes, &i);) count++;
    assert_int_equal(count, 3);
    volume_rename(volume, "Upper_Case.1", on_answer, place);
    assert_error(answer(place), ERROR_ALREADY_EXISTS, "Upper_Case.1");
    volume_rename(volume, "no/name", on_answer, place);
    assert_error(answer(place), ERROR_INVALID_ARGUMENT, "no/name");
    volume_rename(volume, "other", on_answer, place);
    assert_ok(answer(place));
    assert_null(volume_find(place->volumes, NULL, "data"));
    place_again(place);
    assert_null(volume_find(place->volumes, NULL, "data"));
    assert_non_null(volume_find(place->volumes, NULL, "other"));
    assert_non_null(volume_find(place->volumes, "dev", "data"));
}

/* Both ask before either has its answer. */
static void test_two_who_create_the_same_get_the_same(void **state) {
    struct place *place = *state;
    const struct volume_options options = {.name = "data", .if_missing = true};
    volume_create(place->volumes, &options, on_volume, place);
    volume_create(place->volumes, &options, on_volume, place);
    assert_ok(answer(place));
    struct volume *first = place->volume;
    assert_ok(answer(place));
    assert_ptr_equal(first, place->volume);
}

static void test_people_find_a_volume_by_its_name(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    write_live(volume, "a", "one");
    scoped_string char *path = mem_printf("%s/volumes/data/a", place->dir),
                       *renamed = mem_printf("%s/volumes/other/a", place->dir);
    assert_true(file_exists(path));
    volume_rename(volume, "other", on_answer, place);
    assert_ok(answer(place));
    assert_false(file_exists(path));
    assert_true(file_exists(renamed));
}

static void test_a_deleted_volume_is_gone_with_its_tree(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    write_live(volume, "a", "one");
    assert_ok(commit(place, volume));
    scoped_string char *tree = mem_string(volume_live_path(volume));
    volume_commit(volume, on_answer, place);
    volume_delete(volume, on_answer, place);
    volume_remove(volume, "a", false, on_answer, place);
    error_free(
        answer(place)); /* the first commit: it may have been through, or be told that it was cancelled */
    assert_ok(answer(place));
    assert_error(answer(place), ERROR_NOT_FOUND, "deleted");
    assert_null(volume_find(place->volumes, NULL, "data"));
    assert_false(file_exists(tree));
    volume = new_volume(place, "data");
    assert_committed(place, volume, "");
    assert_live(volume, "a", NULL);
    place_again(place);
    assert_committed(place, volume_find(place->volumes, NULL, "data"), "");
}

static void test_an_ephemeral_volume_lives_while_its_heart_beats(void **state) {
    struct place *place = *state;
    place_close(place);
    place->ephemeral_ms = 1500;
    place_open(place);
    assert_ok(make_volume(place, NULL, NULL, false));
    struct volume *volume = place->volume;
    struct volume_view view;
    volume_view(volume, &view);
    assert_null(view.name);
    scoped_string char *id = mem_string(view.id), *tree = mem_string(volume_live_path(volume));
    for (int i = 0; i < 40; i++) { /* longer than it would live by itself */
        volume_heartbeat(volume);
        let_live(place, 50);
        assert_ptr_equal(volume_by_id(place->volumes, id), volume);
    }
    while (volume_by_id(place->volumes, id)) let_live(place, 50);
    assert_false(file_exists(tree));
}

static void test_mounts(void **state) {
    struct place *place = *state;
    char *path = NULL;
    struct core_volume_mount mount = {.path = "/data", .volume = "data"};
    assert_ok(volume_check(place->volumes, &mount));
    assert_null(volume_find(place->volumes, NULL, "data")); /* a look makes nothing */
    assert_ok(volume_directory(place->volumes, &mount, &path));
    struct volume *volume = volume_find(place->volumes, NULL, "data");
    assert_string_equal(path, volume_live_path(volume));
    struct volume_view view;
    volume_view(volume, &view);
    scoped_string char *id = mem_string(view.id), *again = NULL;
    mount.volume = id;
    assert_ok(volume_directory(place->volumes, &mount, &again));
    assert_string_equal(path, again);
    mount.volume = "vo-0000000000000000";
    assert_error(volume_check(place->volumes, &mount), ERROR_NOT_FOUND, "gone");
    mount.volume = place->dir;
    free(take(again));
    assert_ok(volume_directory(place->volumes, &mount, &again));
    assert_string_equal(again, place->dir);
    mount.volume = "/no/such/directory";
    assert_error(volume_check(place->volumes, &mount), ERROR_NOT_FOUND, "/no/such/directory");
    mount.volume = "No Name";
    assert_error(volume_check(place->volumes, &mount), ERROR_INVALID_ARGUMENT, "No Name");
    free(path);
}

/* The daemon is killed between the mount and the record: what the container wrote has its name still. */
static void test_a_mounted_volume_without_a_record_is_found_again(void **state) {
    struct place *place = *state;
    char *path = NULL;
    assert_ok(volume_directory(place->volumes, &(struct core_volume_mount){.path = "/data", .volume = "data"},
                               &path));
    struct volume *volume = volume_find(place->volumes, NULL, "data");
    write_live(volume, "a", "one");
    place_again(place); /* the loop never ran: nothing was written to the store */
    volume = volume_find(place->volumes, NULL, "data");
    assert_non_null(volume);
    assert_string_equal(path, volume_live_path(volume));
    assert_live(volume, "a", "one");
    assert_ok(commit(place, volume));
    place_again(place);
    assert_committed(place, volume_find(place->volumes, NULL, "data"), "a=one");
    free(path);
}

/* As they lay there before volumes had records. */
static void test_a_plain_directory_becomes_a_volume(void **state) {
    struct place *place = *state;
    place_close(place);
    scoped_string char *old = mem_printf("%s/volumes/copycat-data", place->dir),
                       *file = path_join(old, "db.sqlite"),
                       *odd = mem_printf("%s/volumes/Odd Name", place->dir);
    assert_ok(dir_make(old, 0755));
    assert_ok(dir_make(odd, 0755));
    assert_ok(file_replace(file, SPAN("rows"), 0644));
    place_open(place);
    struct volume *volume = volume_find(place->volumes, NULL, "copycat-data");
    assert_non_null(volume);
    assert_live(volume, "db.sqlite", "rows");
    assert_true(file_exists(file));
    assert_true(file_exists(odd));
    place_again(place);
    assert_live(volume_find(place->volumes, NULL, "copycat-data"), "db.sqlite", "rows");
}

static void test_a_tree_that_is_missing_comes_back_as_it_was_committed(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    dir_live(volume, "d");
    write_live(volume, "d/a", "one");
    scoped_string char *at = live(volume, "d/a"), *dir = live(volume, "d"), *link = live(volume, "l");
    assert_int_equal(chmod(at, 0750), 0);
    assert_int_equal(chmod(dir, 0500), 0);
    assert_int_equal(symlink("/anywhere", link), 0);
    assert_ok(commit(place, volume));
    assert_ok(tree_remove(volume_live_path(volume)));
    place_again(place);
    volume = volume_find(place->volumes, NULL, "data");
    assert_live(volume, "d/a", "one");
    struct stat now;
    assert_int_equal(stat(at, &now), 0);
    assert_int_equal(now.st_mode & 0777, 0750);
    assert_int_equal(stat(dir, &now), 0);
    assert_int_equal(now.st_mode & 0777, 0500);
    assert_int_equal(lstat(link, &now), 0);
    assert_ok(commit(place, volume));
    assert_committed(place, volume, "d/ d/a=one l>/anywhere");
}

static void damage_all_but(const struct place *place, const char *digest) {
    for (unsigned i = 0; i < 256; i++) {
        scoped_string char *path = mem_printf("%s/volumes/.content/%02x", place->dir, i);
        DIR *directory = opendir(path);
        if (!directory) continue;
        for (struct dirent *entry; (entry = readdir(directory));) {
            scoped_string char *file = path_join(path, entry->d_name);
            if (entry->d_name[0] == '.' || strcmp(entry->d_name, digest) == 0) continue;
            assert_int_equal(chmod(file, 0600), 0);
            scoped_fd int fd = open(file, O_WRONLY | O_APPEND | O_CLOEXEC);
            assert_int_equal(write(fd, "damage", 6), 6);
        }
        closedir(directory);
    }
}

/* The disk has lost it: all that reads says so, and a commit makes a good one again. */
static void test_a_version_that_is_damaged_is_told_and_mended_by_a_commit(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    write_live(volume, "a", "one");
    let_live(place, 150); /* known and settled both times: the same version, byte for byte */
    assert_ok(commit(place, volume));
    volume_open(volume, "a", on_content, place);
    assert_ok(answer(place));
    close(place->content.fd);
    place_again(place);
    volume = volume_find(place->volumes, NULL, "data");
    damage_all_but(place, place->content.digest);
    scoped_text struct text found = {0};
    assert_error(listed(place, volume, "", true, &found), ERROR_DATA_LOSS, "its bytes are others");
    assert_error(put(place, volume, "b", "two", false), ERROR_DATA_LOSS, "its bytes are others");
    assert_error(collect(place), ERROR_DATA_LOSS, "its bytes are others");
    assert_ok(commit(place, volume));
    assert_committed(place, volume, "a=one");
    assert_ok(collect(place));
    assert_committed(place, volume, "a=one");
}

static void test_content_that_nothing_uses_is_removed_and_no_other(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data"), *other = new_volume(place, "other");
    write_live(volume, "a", "first");
    write_live(volume, "b", "kept");
    write_live(other, "c", "first");
    assert_ok(commit(place, volume));
    assert_ok(commit(place, other));
    volume_open(volume, "a", on_content, place);
    assert_ok(answer(place));
    close(place->content.fd);
    char first[SHA256_HEX_SIZE];
    memcpy(first, place->content.digest, sizeof first);
    write_live(volume, "a", "second");
    assert_ok(commit(place, volume));
    assert_ok(collect(place)); /* the other volume has it still */
    assert_committed(place, volume, "a=second b=kept");
    assert_committed(place, other, "c=first");
    int fd;
    assert_ok(volume_content_open(place->volumes, first, &fd));
    close(fd);
    volume_delete(other, on_answer, place);
    assert_ok(answer(place));
    assert_ok(volume_content_open(place->volumes, first, &fd)); /* for who is reading it */
    close(fd);
    assert_ok(collect(place));
    assert_error(volume_content_open(place->volumes, first, &fd), ERROR_NOT_FOUND, first);
    place_again(place);
    assert_committed(place, volume_find(place->volumes, NULL, "data"), "a=second b=kept");
}

static void test_unused_content_goes_by_itself(void **state) {
    struct place *place = *state;
    place_close(place);
    place->keep_ms = 20;
    place_open(place);
    struct volume *volume = new_volume(place, "data");
    write_live(volume, "a", "first");
    assert_ok(commit(place, volume));
    volume_open(volume, "a", on_content, place);
    assert_ok(answer(place));
    close(place->content.fd);
    write_live(volume, "a", "second");
    assert_ok(commit(place, volume));
    for (bool gone = false; !gone;) { /* two rounds of it */
        let_live(place, 10);
        int fd = -1;
        scoped(error) struct error *error = volume_content_open(place->volumes, place->content.digest, &fd);
        gone = error != NULL;
        if (fd >= 0) close(fd);
    }
    assert_committed(place, volume, "a=second");
}

static void test_what_waits_is_cancelled_at_the_end(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    write_live(volume, "a", "one");
    volume_commit(volume, on_answer, place);
    volume_list(volume, "", true, on_listing, place);
    volumes_free(take(place->volumes));
    assert_int_equal(place->answers, 3); /* the creation, and both of these */
    assert_non_null(place->error);
    assert_int_equal(place->error->code, ERROR_CANCELLED);
    error_free(take(place->error));
    store_free(place->store);
    io_timer_free(place->patience);
    io_loop_free(place->loop);
    place_open(place);
    assert_live(volume_find(place->volumes, NULL, "data"), "a", "one");
}

int main(void) {
    log_level_set((enum log_level)(LOG_ERROR + 1));
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, place_setup, place_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_commit_is_what_the_live_tree_was),
        TEST(test_a_commit_of_the_same_is_no_new_version),
        TEST(test_a_change_that_hides_its_time_is_committed),
        TEST(test_a_file_that_is_written_while_it_is_read_is_read_again),
        TEST(test_writes_through_a_mapping_are_committed),
        TEST(test_what_was_committed_is_there_for_the_next_daemon),
        TEST(test_names),
        TEST(test_two_who_create_the_same_get_the_same),
        TEST(test_people_find_a_volume_by_its_name),
        TEST(test_a_deleted_volume_is_gone_with_its_tree),
        TEST(test_an_ephemeral_volume_lives_while_its_heart_beats),
        TEST(test_mounts),
        TEST(test_a_mounted_volume_without_a_record_is_found_again),
        TEST(test_a_plain_directory_becomes_a_volume),
        TEST(test_a_tree_that_is_missing_comes_back_as_it_was_committed),
        TEST(test_a_version_that_is_damaged_is_told_and_mended_by_a_commit),
        TEST(test_content_that_nothing_uses_is_removed_and_no_other),
        TEST(test_unused_content_goes_by_itself),
        TEST(test_what_waits_is_cancelled_at_the_end),
    };
    return cmocka_run_group_tests_name("volume", tests, NULL, NULL);
}
