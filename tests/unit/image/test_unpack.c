/* From tars to directories: what a layer may be, what it must not do, and what of it overlay sees. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "inflow.h"
#include "tar.h"
#include "test.h"
#include "tree.h"
#include "unpack.h"

#define NEEDS_ROOT()                                                  \
    do {                                                              \
        if (geteuid() != 0) {                                         \
            print_message("skipped: owners and devices need root\n"); \
            skip();                                                   \
        }                                                             \
    } while (0)

struct place {
    char *dir, *root; /* root: where it is unpacked, one level below dir */
    struct unpack_stats stats;
    char sum[SHA256_HEX_SIZE];
};

static void place_open(struct place *place) {
    const char *tmp = getenv("TMPDIR");
    scoped_string char *id = random_id("catnap-test");
    place->dir = path_join(tmp ? tmp : "/tmp", id);
    place->root = path_join(place->dir, "root");
    assert_ok(dir_make(place->root, 0755));
}

static void place_close(struct place *place) {
    assert_ok(tree_remove(place->dir));
    free(place->dir), free(place->root);
}

static struct error *unpack_bytes(struct place *place, struct span bytes, const char *into, bool whiteouts,
                                  uint64_t limit) {
    scoped_string char *path = path_join(place->dir, "tar"),
                       *root = into ? path_join(place->dir, into) : mem_string(place->root);
    assert_ok(dir_make(root, 0755));
    assert_ok(file_replace(path, bytes, 0600));
    scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct unpack_options options = {.whiteouts = whiteouts, .limit_bytes = limit};
    struct error *error = unpack_file(fd, root, &options, &place->stats, place->sum);
    unlink(path);
    return error;
}

static struct error *unpack_entries(struct place *place, const struct tar_entry *entries, size_t count,
                                    const char *into) {
    scoped_text struct text tar = {0};
    for (size_t i = 0; i < count; i++) tar_add(&tar, &entries[i]);
    tar_end(&tar);
    struct error *error = unpack_bytes(place, text_span(&tar), into, true, 0);
    char sum[SHA256_HEX_SIZE];
    sha256_of(text_span(&tar), sum);
    if (!error) assert_string_equal(sum, place->sum);
    return error;
}
#define UNPACK(PLACE, ENTRIES) unpack_entries(PLACE, ENTRIES, COUNT(ENTRIES), NULL)

static struct stat look(const struct place *place, const char *name) {
    scoped_string char *path = path_join(place->root, name);
    struct stat at;
    if (lstat(path, &at)) fail_msg("%s is not there", name);
    return at;
}

static char *content(const struct place *place, const char *name) {
    scoped_string char *path = path_join(place->root, name);
    struct text text = {0};
    assert_ok(file_read(path, 1 << 20, &text));
    return text_take(&text);
}

/* Nothing but the tree of the test is in its directory. */
static void assert_nothing_outside(const struct place *place) {
    scoped_string char *outside = path_join(place->dir, "outside");
    assert_false(file_exists(outside));
    assert_false(file_exists("/catnap-test-outside"));
}

static void test_files_links_owners_modes_and_times(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct place place;
    place_open(&place);
    const struct tar_entry entries[] = {
        {.kind = '5', .name = "./", .mode = 0711, .mtime = 5},
        {.kind = '5', .name = "d", .mode = 0750, .uid = 7, .gid = 8, .mtime = 1234},
        {.kind = '0', .name = "d/f", .content = "hello", .mode = 04755, .uid = 1, .gid = 2, .mtime = 777},
        {.kind = '1', .name = "d/again", .target = "d/f"},
        {.kind = '2', .name = "d/link", .target = "/etc/passwd", .mode = 0777, .uid = 3},
        {.kind = '6', .name = "fifo", .mode = 0600},
        {.kind = '0', .name = "a/b/c/made", .content = ""},
        {.kind = '0', .name = "./x/../y", .content = "dots"},
    };
    assert_ok(UNPACK(&place, entries));
    struct stat at = look(&place, "d/f");
    assert_int_equal(at.st_mode, S_IFREG | 04755);
    assert_int_equal(at.st_uid, 1);
    assert_int_equal(at.st_gid, 2);
    assert_int_equal(at.st_mtime, 777);
    assert_int_equal(at.st_nlink, 2);
    assert_int_equal(look(&place, "d/again").st_ino, at.st_ino);
    assert_int_equal(look(&place, "d").st_mtime, 1234);
    assert_int_equal(look(&place, "d").st_mode, S_IFDIR | 0750);
    assert_int_equal(look(&place, "").st_mode, S_IFDIR | 0711);
    assert_true(S_ISLNK(look(&place, "d/link").st_mode));
    assert_int_equal(look(&place, "d/link").st_uid, 3);
    assert_true(S_ISFIFO(look(&place, "fifo").st_mode));
    assert_int_equal(look(&place, "a/b").st_mode, S_IFDIR | 0755);
    scoped_string char *text = content(&place, "y");
    assert_string_equal(text, "dots");
    place_close(&place);
}

static void test_what_comes_later_replaces_what_was(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct place place;
    place_open(&place);
    const struct tar_entry entries[] = {
        {.kind = '0', .name = "a", .content = "file"},   {.kind = '5', .name = "a", .mode = 0755},
        {.kind = '0', .name = "a/in", .content = "in"},  {.kind = '5', .name = "b", .mode = 0755},
        {.kind = '0', .name = "b/gone", .content = "x"}, {.kind = '0', .name = "b", .content = "file"},
        {.kind = '2', .name = "l", .target = "a"},       {.kind = '0', .name = "l", .content = "own"},
        {.kind = '5', .name = "d", .mode = 0755},        {.kind = '0', .name = "d/f", .content = "1"},
        {.kind = '2', .name = "d", .target = "a"},       {.kind = '0', .name = "d/g", .content = "through"},
    };
    assert_ok(UNPACK(&place, entries));
    scoped_string char *in = content(&place, "a/in"), *b = content(&place, "b"), *l = content(&place, "l");
    assert_string_equal(in, "in");
    assert_string_equal(b, "file");
    assert_string_equal(l, "own");
    scoped_string char *g = content(&place, "a/g"); /* d is a link to a by then */
    assert_string_equal(g, "through");
    place_close(&place);
}

static void test_nothing_is_written_outside(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    const struct tar_entry rows[][3] = {
        {{.kind = '0', .name = "../outside", .content = "x"}},
        {{.kind = '0', .name = "a/../../outside", .content = "x"}},
        {{.kind = '2', .name = "up", .target = ".."}, {.kind = '0', .name = "up/outside", .content = "x"}},
        {{.kind = '2', .name = "up", .target = "../../../../../.."},
         {.kind = '0', .name = "up/catnap-test-outside", .content = "x"}},
        {{.kind = '2', .name = "abs", .target = "/"},
         {.kind = '0', .name = "abs/catnap-test-outside", .content = "x"}},
        {{.kind = '5', .name = "d", .mode = 0755},
         {.kind = '2', .name = "d/l", .target = "../.."},
         {.kind = '0', .name = "d/l/outside", .content = "x"}},
        {{.kind = '1', .name = "mine", .target = "../../../../etc/passwd"}},
        {{.kind = '2', .name = "etc", .target = "/etc"},
         {.kind = '1', .name = "mine", .target = "etc/passwd"}},
        {{.kind = '2', .name = "mine", .target = "/etc/passwd"},
         {.kind = '1', .name = "hard", .target = "mine"},
         {.kind = '0', .name = "hard", .content = "x"}},
        {{.kind = '0', .name = "/catnap-test-outside/x", .content = "x"}},
        {{.kind = '2', .name = ".wh.x", .target = "y"}, {.kind = '0', .name = ".wh...", .content = ""}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct place place;
        struct stat before, after;
        size_t count = 0;
        place_open(&place);
        stat("/etc/passwd", &before);
        while (count < 3 && rows[i][count].name) count++;
        error_free(unpack_entries(&place, rows[i], count, NULL));
        stat("/etc/passwd", &after);
        assert_nothing_outside(&place);
        assert_int_equal(before.st_nlink, after.st_nlink);
        assert_int_equal(before.st_mtime, after.st_mtime);
        place_close(&place);
    }
}

static void test_devices_and_overlays_own_marks_are_left_out(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct place place;
    place_open(&place);
    const struct tar_entry entries[] = {{.kind = '3', .name = "null"},
                                        {.kind = '0', .name = "f", .content = ""}};
    assert_ok(UNPACK(&place, entries));
    assert_int_equal(place.stats.devices, 1);
    scoped_string char *null = path_join(place.root, "null");
    assert_false(file_exists(null)); /* 0:0, it would be a whiteout that no layer meant */
    place_close(&place);
}

/* ---- whiteouts, and layers seen as one tree ---- */

static bool whiteout_at(const struct place *place, const char *layer, const char *name) {
    scoped_string char *path = mem_printf("%s/%s/%s", place->dir, layer, name);
    struct stat at;
    return lstat(path, &at) == 0 && within_is_whiteout(&at);
}

static void assert_ways(const struct tree *tree) {
    static const char *const resolved[][2] = {{"lib/a", "usr/lib/a"},
                                              {"up/a", "usr/lib/a"},
                                              {"/../../lib", "usr/lib"},
                                              {"lib/none/x", "usr/lib/none/x"},
                                              {"d/./two", "d/two"}};
    for (size_t i = 0; i < COUNT(resolved); i++) {
        scoped_string char *clean = NULL;
        assert_ok(overlay_resolve(tree, resolved[i][0], &clean));
        assert_string_equal(clean, resolved[i][1]);
    }
    char *clean = NULL;
    assert_error(overlay_resolve(tree, "loop/x", &clean), ERROR_INVALID_ARGUMENT, "circle");
}

static void test_whiteouts_hide_what_lies_below(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct place place;
    place_open(&place);
    const struct tar_entry below[] = {
        {.kind = '5', .name = "d", .mode = 0755},
        {.kind = '0', .name = "d/one", .content = "1"},
        {.kind = '0', .name = "d/two", .content = "2"},
        {.kind = '0', .name = "file", .content = "f"},
        {.kind = '5', .name = "o", .mode = 0755},
        {.kind = '0', .name = "o/old", .content = "x"},
        {.kind = '2', .name = "lib", .target = "usr/lib"},
        {.kind = '5', .name = "usr/lib", .mode = 0755},
        {.kind = '0', .name = "usr/lib/a", .content = "a"},
        {.kind = '2', .name = "up", .target = "../../lib"},
        {.kind = '2', .name = "loop", .target = "loop"},
    };
    const struct tar_entry above[] = {
        {.kind = '0', .name = "d/.wh.one"},
        {.kind = '0', .name = ".wh.file"},
        {.kind = '0', .name = "o/new", .content = "n"},
        {.kind = '0', .name = "o/.wh..wh..opq"},
        {.kind = '0', .name = ".wh.absent"},
        {.kind = '0', .name = "d/.wh..wh.plnk"},
        {.kind = '0', .name = "d/two", .content = "22"},
        {.kind = '0', .name = "gone/.wh.x"},
        {.kind = '0', .name = ".wh.back"},
        {.kind = '0', .name = "back/in", .content = "b"},
    };
    assert_ok(unpack_entries(&place, below, COUNT(below), "below"));
    assert_ok(unpack_entries(&place, above, COUNT(above), "above"));
    assert_true(whiteout_at(&place, "above", "d/one"));
    assert_true(whiteout_at(&place, "above", "file"));
    assert_false(whiteout_at(&place, "above", "d/.wh..wh.plnk"));
    scoped_string char *above_dir = path_join(place.dir, "above"), *below_dir = path_join(place.dir, "below");
    char *dirs[] = {above_dir, below_dir};
    const struct tree tree = {dirs, 2, NULL};
    static const struct {
        const char *path;
        enum tree_kind kind;
    } rows[] = {
        {"", TREE_DIRECTORY},   {"d", TREE_DIRECTORY},    {"d/one", TREE_ABSENT},  {"d/two", TREE_FILE},
        {"file", TREE_ABSENT},  {"o/new", TREE_FILE},     {"o/old", TREE_ABSENT},  {"lib", TREE_LINK},
        {"lib/a", TREE_ABSENT}, {"usr/lib/a", TREE_FILE}, {"file/x", TREE_ABSENT}, {"back/in", TREE_FILE},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct tree_node node;
        overlay_look(&tree, rows[i].path, &node);
        if (node.kind != rows[i].kind)
            fail_msg("'%s' is of kind %d, not %d", rows[i].path, node.kind, rows[i].kind);
        overlay_node_done(&node);
    }
    char **names = overlay_list(&tree, "d");
    assert_string_equal(names[0], "two");
    assert_null(names[1]);
    free(names[0]), free(names);
    assert_ways(&tree);
    place_close(&place);
}

/* ---- streams ---- */

static void test_broken_and_cut_streams_are_told(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct place place;
    place_open(&place);
    scoped_text struct text tar = {0};
    const struct tar_entry entry = {.kind = '0', .name = "f", .content = "0123456789"};
    tar_add(&tar, &entry);
    struct error *error = unpack_bytes(&place, (struct span){tar.data, 515}, NULL, true, 0);
    assert_non_null(error);
    error_free(error);
    static const char cut_gzip[] = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xed";
    assert_error(unpack_bytes(&place, (struct span){cut_gzip, sizeof cut_gzip - 1}, NULL, true, 0),
                 ERROR_DATA_LOSS, "decompress");
    error = unpack_bytes(&place, SPAN("no tar, but long enough to look at: ................................"),
                         NULL, true, 0);
    assert_non_null(error);
    error_free(error);
    assert_ok(unpack_bytes(&place, SPAN(""), NULL, true, 0));
    place_close(&place);
}

static void test_more_than_the_limit_is_refused(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct place place;
    place_open(&place);
    scoped_text struct text tar = {0};
    const struct tar_entry entry = {.kind = '0', .name = "f", .content = "0123456789"};
    tar_add(&tar, &entry);
    tar_end(&tar);
    assert_error(unpack_bytes(&place, text_span(&tar), NULL, true, 9), ERROR_RESOURCE_EXHAUSTED,
                 "larger than");
    assert_ok(unpack_bytes(&place, text_span(&tar), NULL, true, 10));
    place_close(&place);
}

/* "abc", stored. */
#define MEMBER                                       \
    "\x1f\x8b\x08\0\0\0\0\0\0\x03\x01\x03\0\xfc\xff" \
    "abc"                                            \
    "\xc2\x41\x24\x35\x03\0\0\0"

static struct error *plain_of(const struct place *place, struct span bytes, struct text *ret_plain) {
    scoped_string char *path = path_join(place->dir, "stream");
    assert_ok(file_replace(path, bytes, 0600));
    scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    scoped(inflow) struct inflow *inflow = NULL;
    assert_ok(inflow_open(fd, &inflow));
    for (;;) {
        struct span piece;
        TRY_PLAIN(inflow_next(inflow, &piece));
        if (piece.size == 0) return NULL;
        text_add(ret_plain, piece);
    }
}

static void test_several_gzip_members_are_one_stream(void **unused) {
    (void)unused;
    struct place place;
    place_open(&place);
    scoped_text struct text plain = {0}, none = {0}, cut = {0}, wrong = {0};
    assert_ok(plain_of(&place, SPAN(MEMBER MEMBER MEMBER "\0\0\0\0"), &plain));
    assert_string_equal(plain.data, "abcabcabc");
    assert_ok(plain_of(&place, SPAN("as it is"), &none));
    assert_string_equal(none.data, "as it is");
    assert_error(plain_of(&place, (struct span){MEMBER MEMBER, sizeof MEMBER + 8}, &cut), ERROR_DATA_LOSS,
                 "decompress");
    char bad[] = MEMBER;
    bad[15] = 'x';
    assert_error(plain_of(&place, (struct span){bad, sizeof bad - 1}, &wrong), ERROR_DATA_LOSS, "decompress");
    place_close(&place);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_links_owners_modes_and_times),
        cmocka_unit_test(test_what_comes_later_replaces_what_was),
        cmocka_unit_test(test_nothing_is_written_outside),
        cmocka_unit_test(test_devices_and_overlays_own_marks_are_left_out),
        cmocka_unit_test(test_whiteouts_hide_what_lies_below),
        cmocka_unit_test(test_broken_and_cut_streams_are_told),
        cmocka_unit_test(test_more_than_the_limit_is_refused),
        cmocka_unit_test(test_several_gzip_members_are_one_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
