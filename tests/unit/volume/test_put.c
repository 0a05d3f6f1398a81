/* What clients change: uploads of both versions, removing, copying; and that the live tree has it too. */
#include "place.h"

static char *hex(const char *bytes, size_t size) {
    char digest[SHA256_HEX_SIZE];
    sha256_of((struct span){bytes, size}, digest);
    return mem_string(digest);
}

static void test_an_upload_is_committed_and_in_the_live_tree(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    assert_ok(put(place, volume, "/d/e/file.txt", "one", false));
    assert_ok(put(place, volume, "top", "two", false));
    assert_committed(place, volume, "d/ d/e/ d/e/file.txt=one top=two");
    assert_live(volume, "d/e/file.txt", "one");
    assert_live(volume, "top", "two");
    place_again(place);
    volume = volume_find(place->volumes, NULL, "data");
    assert_committed(place, volume, "d/ d/e/ d/e/file.txt=one top=two");
    assert_ok(commit(place, volume)); /* nothing of it is lost in the next commit */
    assert_committed(place, volume, "d/ d/e/ d/e/file.txt=one top=two");
}

static void test_an_upload_needs_the_blob_no_longer(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    assert_ok(put(place, volume, "a", "one", false));
    scoped_string char *digest = hex("one", 3), *blob = store_blob_path(place->store, digest);
    assert_int_equal(unlink(blob), 0);
    assert_committed(place, volume, "a=one");
    assert_ok(copy_path(place, volume, "a", "b", false));
    assert_committed(place, volume, "a=one b=one");
    assert_live(volume, "b", "one");
}

static void test_what_a_container_writes_after_an_upload_does_not_change_what_was_committed(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    assert_ok(put(place, volume, "a", "one", false));
    scoped_string char *at = live(volume, "a");
    scoped_fd int fd = open(at, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "X", 1, 0), 1);
    assert_committed(place, volume, "a=one");
    assert_ok(commit(place, volume));
    assert_committed(place, volume, "a=Xne");
    scoped_text struct text blob = {0};
    scoped_string char *digest = hex("one", 3);
    assert_ok(store_blob_get(place->store, digest, 100, &blob));
}

static void test_without_leave_nothing_is_overwritten(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    char one[SHA256_HEX_SIZE];
    assert_ok(store_blob_put(place->store, SPAN("one"), one));
    assert_ok(put(place, volume, "a", "one", false));
    write_live(volume, "uncommitted", "theirs");
    const struct volume_file files[] = {{.path = "new", .digest = one}, {.path = "a", .digest = one}};
    assert_error(put_files(place, volume, files, 2, false), ERROR_ALREADY_EXISTS, "a is there already");
    assert_error(put(place, volume, "uncommitted", "mine", false), ERROR_ALREADY_EXISTS, "uncommitted");
    assert_committed(place, volume, "a=one");
    assert_live(volume, "new", NULL);
    assert_live(volume, "uncommitted", "theirs");
    assert_ok(put(place, volume, "a", "two", true));
    assert_ok(put(place, volume, "uncommitted", "mine", true));
    assert_committed(place, volume, "a=two uncommitted=mine");
    assert_live(volume, "a", "two");
    assert_live(volume, "uncommitted", "mine");
}

static void test_missing_blobs_are_told_and_nothing_is_changed(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    char here[SHA256_HEX_SIZE];
    assert_ok(store_blob_put(place->store, SPAN("here"), here));
    scoped_string char *gone = hex("gone", 4);
    const char *const blocks[] = {here, gone, here, gone};
    const struct volume_file files[] = {
        {.path = "a", .digest = here},
        {.path = "b", .digest = gone},
        {.path = "c", .blocks = blocks, .block_count = 4, .size_bytes = 4 * VOLUME_BLOCK_BYTES},
    };
    assert_ok(put_files(place, volume, files, 3, false));
    assert_int_equal(place->missing_count, 3);
    assert_int_equal(place->missing[0].file, 1);
    assert_int_equal(place->missing[0].block, 0);
    assert_int_equal(place->missing[1].file, 2);
    assert_int_equal(place->missing[1].block, 1);
    assert_int_equal(place->missing[2].block, 3);
    assert_committed(place, volume, "");
    assert_ok(put_files(place, volume, files, 1, false));
    assert_int_equal(place->missing_count, 0);
    assert_committed(place, volume, "a=here");
}

/* Blocks of 8 MiB whose trailing zeros were cut: in the middle, at the end, and a block of nothing but zeros.
 */
static void test_blocks_are_put_together(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    size_t size = 3 * VOLUME_BLOCK_BYTES + 1000;
    scoped_string char *bytes = mem_new(size);
    for (size_t i = 0; i < VOLUME_BLOCK_BYTES - 5000; i++) bytes[i] = (char)(1 + i % 251);
    memcpy(bytes + 2 * VOLUME_BLOCK_BYTES + 77, "middle", 6);
    memcpy(bytes + 3 * VOLUME_BLOCK_BYTES, "end", 3);
    const size_t cut[] = {VOLUME_BLOCK_BYTES - 5000, 0, 77 + 6, 3};
    char digests[4][SHA256_HEX_SIZE];
    const char *blocks[4];
    for (size_t b = 0; b < 4; b++) {
        assert_ok(
            store_blob_put(place->store, (struct span){bytes + b * VOLUME_BLOCK_BYTES, cut[b]}, digests[b]));
        blocks[b] = digests[b];
    }
    struct volume_file file = {
        .path = "big", .blocks = blocks, .block_count = 4, .size_bytes = size, .mode = 0755};
    assert_ok(put_files(place, volume, &file, 1, false));
    volume_open(volume, "big", on_content, place);
    assert_ok(answer(place));
    scoped_string char *whole = hex(bytes, size);
    assert_string_equal(place->content.digest, whole);
    assert_int_equal(place->content.size_bytes, size);
    assert_int_equal(place->content.mode, 0755);
    struct stat at;
    assert_int_equal(fstat(place->content.fd, &at), 0);
    assert_int_equal(at.st_size, size);
    close(place->content.fd);
    scoped_string char *live_file = live(volume, "big");
    scoped_text struct text found = {0};
    assert_ok(file_read(live_file, size, &found));
    assert_memory_equal(found.data, bytes, size);
    assert_int_equal(stat(live_file, &at), 0);
    assert_int_equal(at.st_mode & 0777, 0755);
    file.path = "short";
    file.size_bytes = 2 * VOLUME_BLOCK_BYTES + 10; /* its third block has more bytes than that */
    file.block_count = 3;
    assert_error(put_files(place, volume, &file, 1, false), ERROR_INVALID_ARGUMENT, "block 2 has 83 bytes");
    file.block_count = 2;
    assert_error(put_files(place, volume, &file, 1, false), ERROR_INVALID_ARGUMENT, "3 blocks, not 2");
    assert_live(volume, "short", NULL);
}

static void test_empty_files_of_both_versions(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    assert_ok(put(place, volume, "a", "", false));
    assert_ok(put_files(place, volume, &(struct volume_file){.path = "b", .blocks = NULL}, 1, false));
    assert_committed(place, volume, "a= b=");
    assert_live(volume, "b", "");
}

static void test_paths_that_lead_elsewhere_are_refused(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    static const char *const bad[] = {"../x", "a/../../x", "/..", "", "/", ".", "a/.."};
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_error(put(place, volume, bad[i], "x", true), ERROR_INVALID_ARGUMENT,
                     bad[i][0] ? bad[i] : "root");
    scoped_string char *name = mem_new(300), *path = mem_new(5000);
    memset(name, 'n', 256);
    memset(path, '/', 4999);
    path[4998] = 'a';
    assert_error(put(place, volume, name, "x", true), ERROR_INVALID_ARGUMENT, "255");
    assert_error(put(place, volume, path, "x", true), ERROR_INVALID_ARGUMENT, "4095");
    assert_ok(put(place, volume, "./a//b/./c", "x", false));
    assert_committed(place, volume, "a/ a/b/ a/b/c=x");
}

static void test_a_file_can_t_be_where_a_directory_is(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    char one[SHA256_HEX_SIZE];
    assert_ok(store_blob_put(place->store, SPAN("one"), one));
    assert_ok(put(place, volume, "d/f", "x", false));
    dir_live(volume, "uncommitted");
    assert_error(put(place, volume, "d", "x", true), ERROR_FAILED_PRECONDITION, "d is a directory");
    assert_error(put(place, volume, "uncommitted", "x", true), ERROR_FAILED_PRECONDITION, "is a directory");
    assert_error(put(place, volume, "d/f/g", "x", true), ERROR_FAILED_PRECONDITION, "d/f is a file");
    const struct volume_file both[] = {{.path = "n", .digest = one}, {.path = "n/m", .digest = one}};
    assert_error(put_files(place, volume, both, 2, true), ERROR_INVALID_ARGUMENT, "n can't be a file");
    assert_committed(place, volume, "d/ d/f=x");
}

static void test_of_a_path_that_comes_twice_the_later_counts(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    char one[SHA256_HEX_SIZE], two[SHA256_HEX_SIZE];
    assert_ok(store_blob_put(place->store, SPAN("one"), one));
    assert_ok(store_blob_put(place->store, SPAN("two"), two));
    const struct volume_file files[] = {{.path = "a", .digest = one}, {.path = "/a", .digest = two}};
    assert_ok(put_files(place, volume, files, 2, false));
    assert_committed(place, volume, "a=two");
}

static unsigned owner_of(const struct volume *volume, const char *path) {
    scoped_string char *at = live(volume, path);
    struct stat now;
    assert_int_equal(lstat(at, &now), 0);
    return now.st_uid;
}

/* So that a program that is not root can go on with what was uploaded for it. */
static void test_uploads_belong_to_who_the_directory_belongs_to(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    if (geteuid() != 0) skip();
    dir_live(volume, "theirs");
    write_live(volume, "file", "old");
    scoped_string char *dir = live(volume, "theirs"), *file = live(volume, "file");
    assert_int_equal(chown(dir, 1234, 1234), 0);
    assert_int_equal(chown(file, 4321, 4321), 0);
    assert_ok(put(place, volume, "theirs/new/a", "x", false));
    assert_ok(put(place, volume, "file", "new", true));
    assert_ok(put(place, volume, "ours", "x", false));
    assert_int_equal(owner_of(volume, "theirs/new"), 1234);
    assert_int_equal(owner_of(volume, "theirs/new/a"), 1234);
    assert_int_equal(owner_of(volume, "file"), 4321);
    assert_int_equal(owner_of(volume, "ours"), 0);
}

/* More than one batch of content, and of what is staged. */
static void test_many_files_at_once(void **state) {
    enum { MANY = 700 };
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    struct volume_file *files = mem_array(MANY, sizeof *files);
    char(*digests)[SHA256_HEX_SIZE] = mem_array(MANY, SHA256_HEX_SIZE);
    scoped_text struct text expected = {0};
    for (size_t i = 0; i < MANY; i++) {
        char bytes[16];
        snprintf(bytes, sizeof bytes, "%zu", i % 600); /* some have the same content */
        sha256_of(span_of(bytes), digests[i]);
        assert_ok(store_blob_put(place->store, span_of(bytes), digests[i]));
        files[i] = (struct volume_file){.path = mem_printf("d/%03zu", i), .digest = digests[i]};
        text_printf(&expected, "d/%03zu=%s%s", i, bytes, i + 1 < MANY ? " " : "");
    }
    assert_ok(put_files(place, volume, files, MANY, false));
    scoped_text struct text found = {0};
    assert_ok(listed(place, volume, "d", false, &found));
    assert_string_equal(found.data, expected.data);
    assert_live(volume, "d/699", "99");
    for (size_t i = 0; i < MANY; i++) free((char *)files[i].path);
    free(files);
    free(digests);
}

static void test_listings(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    static const char *const paths[] = {"a/b", "a/c/d", "a/c-x", "a-b", "a/c/e/f", "z"};
    for (size_t i = 0; i < COUNT(paths); i++) assert_ok(put(place, volume, paths[i], "", false));
    static const struct {
        const char *path;
        bool recursive;
        const char *expected;
    } rows[] = {
        {"", false, "a/ a-b= z="},        {"/", true, "a/ a/b= a/c/ a/c/d= a/c/e/ a/c/e/f= a/c-x= a-b= z="},
        {"a", false, "a/b= a/c/ a/c-x="}, {"/a/", true, "a/b= a/c/ a/c/d= a/c/e/ a/c/e/f= a/c-x="},
        {"a/c", false, "a/c/d= a/c/e/"},  {"a/c/d", false, "a/c/d="},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        scoped_text struct text found = {0};
        assert_ok(listed(place, volume, rows[i].path, rows[i].recursive, &found));
        assert_string_equal(found.data, rows[i].expected);
    }
    scoped_text struct text nothing = {0};
    assert_error(listed(place, volume, "no", false, &nothing), ERROR_NOT_FOUND, "no");
    assert_error(listed(place, volume, "a/../..", false, &nothing), ERROR_INVALID_ARGUMENT, "..");
    assert_error(read_committed(place, volume, "a", &nothing), ERROR_FAILED_PRECONDITION, "directory");
    assert_error(read_committed(place, volume, "a/none", &nothing), ERROR_NOT_FOUND, "a/none");
}

static void test_a_listing_is_a_snapshot(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    assert_ok(put(place, volume, "a", "1", false));
    assert_ok(put(place, volume, "b", "2", false));
    volume_list(volume, "", true, on_listing, place);
    assert_ok(answer(place));
    struct volume_listing *listing = take(place->listing);
    struct volume_entry entry;
    assert_true(volume_listing_next(listing, &entry));
    assert_ok(remove_path(place, volume, "b", false));
    assert_true(volume_listing_next(listing, &entry));
    assert_string_equal(entry.path, "b");
    assert_false(volume_listing_next(listing, &entry));
    volume_listing_free(listing);
}

static void test_remove(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    static const char *const paths[] = {"a", "d/b", "d/c/e", "d-x"};
    for (size_t i = 0; i < COUNT(paths); i++) assert_ok(put(place, volume, paths[i], "", false));
    assert_error(remove_path(place, volume, "none", true), ERROR_NOT_FOUND, "none");
    assert_error(remove_path(place, volume, "d", false), ERROR_INVALID_ARGUMENT, "recursively");
    assert_error(remove_path(place, volume, "../a", false), ERROR_INVALID_ARGUMENT, "..");
    assert_ok(remove_path(place, volume, "/a", false));
    assert_ok(remove_path(place, volume, "d/c", true));
    assert_committed(place, volume, "d/ d/b= d-x=");
    assert_live(volume, "a", NULL);
    assert_live(volume, "d/c", NULL);
    assert_live(volume, "d/b", "");
    assert_error(remove_path(place, volume, "/", false), ERROR_INVALID_ARGUMENT, "/ is a directory");
    assert_ok(remove_path(place, volume, "/", true));
    assert_committed(place, volume, "");
    assert_live(volume, "d", NULL);
    place_again(place);
    assert_committed(place, volume_find(place->volumes, NULL, "data"), "");
}

static void test_copy(void **state) {
    struct place *place = *state;
    struct volume *volume = new_volume(place, "data");
    assert_ok(put(place, volume, "bar/example.txt", "one", false));
    assert_ok(put(place, volume, "bar/deep/er", "two", false));
    assert_ok(copy_path(place, volume, "bar/example.txt", "bar2", false));
    assert_ok(copy_path(place, volume, "bar/example.txt", "bar/deep", false));
    assert_error(copy_path(place, volume, "bar", "new", false), ERROR_INVALID_ARGUMENT, "recursively");
    assert_error(copy_path(place, volume, "bar", "bar/deep/in", true), ERROR_INVALID_ARGUMENT, "into itself");
    assert_error(copy_path(place, volume, "bar2", "/", false), ERROR_INVALID_ARGUMENT, "onto itself");
    assert_error(copy_path(place, volume, "none", "new", false), ERROR_NOT_FOUND, "none");
    assert_error(copy_path(place, volume, "bar2", "../out", false), ERROR_INVALID_ARGUMENT, "..");
    assert_ok(copy_path(place, volume, "bar", "new", true));
    assert_live(volume, "new/deep/example.txt", "one");
    volume_copy(volume, (const char *const[]){"bar2", "new/deep/er"}, 2, "bar2", false, on_answer, place);
    assert_error(answer(place), ERROR_INVALID_ARGUMENT, "bar2 is no directory");
    volume_copy(volume, (const char *const[]){"bar2", "new/deep/er"}, 2, "bar", false, on_answer, place);
    assert_ok(answer(place));
    scoped_text struct text found = {0};
    assert_ok(listed(place, volume, "bar", false, &found));
    assert_string_equal(found.data, "bar/bar2=one bar/deep/ bar/er=two bar/example.txt=one");
    place_again(place);
    assert_live(volume_find(place->volumes, NULL, "data"), "bar/er", "two");
}

int main(void) {
    log_level_set(LOG_ERROR);
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, place_setup, place_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_an_upload_is_committed_and_in_the_live_tree),
        TEST(test_an_upload_needs_the_blob_no_longer),
        TEST(test_what_a_container_writes_after_an_upload_does_not_change_what_was_committed),
        TEST(test_without_leave_nothing_is_overwritten),
        TEST(test_missing_blobs_are_told_and_nothing_is_changed),
        TEST(test_blocks_are_put_together),
        TEST(test_empty_files_of_both_versions),
        TEST(test_paths_that_lead_elsewhere_are_refused),
        TEST(test_a_file_can_t_be_where_a_directory_is),
        TEST(test_of_a_path_that_comes_twice_the_later_counts),
        TEST(test_uploads_belong_to_who_the_directory_belongs_to),
        TEST(test_many_files_at_once),
        TEST(test_listings),
        TEST(test_a_listing_is_a_snapshot),
        TEST(test_remove),
        TEST(test_copy),
    };
    return cmocka_run_group_tests_name("volume put", tests, NULL, NULL);
}
