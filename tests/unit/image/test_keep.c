/* What is kept of images and layers, and what is cleared away. */
#include "site.h"

static void test_prune_leaves_what_names_keeps_and_containers_need(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct site *site = site_new();
    struct image_store *store = site->lab->store;
    put(site, "f", "x");
    scoped_string char *kept = built(site, "FROM base\nRUN kept\n"),
                       *used = built(site, "FROM base\nRUN used\n"),
                       *gone = built(site, "FROM base\nRUN gone\n");
    assert_ok(image_keep(store, "somebody/1", kept));
    image_use(store, 4711, used);
    assert_true(image_usage(store).unused_bytes > 0);
    image_prune(store, NULL);
    scoped_string char *kept_name = mem_printf("sha256:%s", kept), *used_name = mem_printf("sha256:%s", used),
                       *gone_name = mem_printf("sha256:%s", gone);
    assert_non_null(image_find(store, kept_name));
    assert_non_null(image_find(store, used_name));
    assert_null(image_find(store, gone_name));
    assert_non_null(image_find(store, "base"));
    lab_close(site->lab); /* all of it is known again */
    lab_open(site->lab);
    store = site->lab->store;
    image_prune(store, NULL);
    assert_non_null(image_find(store, kept_name));
    assert_non_null(image_find(store, used_name));
    image_unuse(store, 4711);
    assert_ok(image_keep(store, "somebody/1", NULL));
    const char *const nothing[] = {NULL};
    image_prune(store, nothing);
    assert_null(image_find(store, kept_name));
    assert_null(image_find(store, used_name));
    assert_null(image_find(store, "base"));
    assert_int_equal(image_usage(store).layers_bytes, 0);
    site_free(site);
}

static void test_a_layer_that_the_caller_fills(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct site *site = site_new();
    struct image_store *store = site->lab->store;
    struct image_draft *draft;
    static const char key[] = "00000000000000000000000000000000000000000000000000000000000000aa";
    assert_null(image_draft_find(store, "base", key));
    assert_ok(image_draft_new(store, "base", &draft));
    image_prune(store, NULL);
    scoped_string char *file = mem_printf("%s/u/model", image_draft_upper(draft)),
                       *own = mem_printf("%s/u/.catnap", image_draft_upper(draft));
    lab_write(file, "weights");
    assert_ok(dir_make(own, 0755));
    struct lab_job job = {.lab = site->lab};
    image_draft_commit(draft, key, &lab_events, &job);
    lab_await(site->lab, &job);
    assert_ok(take(job.error));
    scoped_string char *content = top_content(site, job.id, "model");
    assert_string_equal(content, "weights");
    struct stat at;
    assert_false(top_has(site, job.id, ".catnap", &at));
    assert_string_equal(image_draft_find(store, "base", key)->id, job.id);
    assert_ok(image_draft_new(store, "base", &draft));
    image_draft_free(draft);
    lab_job_done(&job);
    site_free(site);
}

static void test_what_a_kill_left_is_cleared_away(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct site *site = site_new();
    scoped_string char *id = built(site, "FROM base\nRUN a\n"), *name = mem_printf("sha256:%s", id);
    lab_close(site->lab);
    scoped_string char *half = lab_path(site->lab, "images/tmp/d-half/u/deep"),
                       *old = lab_path(site->lab, "images/trash/t-old/x");
    scoped_string char *record = mem_printf("%s/images/images/%064d.json", site->lab->dir, 7);
    assert_ok(dir_make(half, 0755));
    assert_ok(dir_make(old, 0755));
    lab_write(record, "{\"image\": {\"layers\": [\"nope\"]}}");
    lab_open(site->lab);
    assert_non_null(image_find(site->lab->store, name));
    size_t runs = site->runner.runs;
    scoped_string char *again = built(site, "FROM base\nRUN a\n");
    assert_string_equal(again, id);
    assert_int_equal(site->runner.runs, runs);
    lab_close(site->lab);
    assert_false(file_exists(half));
    assert_false(file_exists(old));
    assert_false(file_exists(record));
    lab_open(site->lab);
    site_free(site);
}

static void test_dockerfiles_that_cannot_be_built(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    static const char *const rows[][2] = {
        {"RUN x\n", "before the first FROM only ARG"},
        {"ARG A=1\n", "there is no FROM"},
        {"FROM a b c d\n", "expected IMAGE, or IMAGE AS NAME"},
        {"FROM $NOPE\n", "the name of the image is empty"},
        {"FROM base\nCOPY --parents a /b\n", "the flag --parents is not known"},
        {"FROM base\nRUN --mount=type=ssh x\n", "bind, cache, secret and tmpfs are known"},
        {"FROM base\nRUN --mount=type=secret,id=nope,required x\n", "no secret 'nope'"},
        {"FROM base\nSHELL bash\n", "expected a list"},
        {"FROM base\nENV A\n", "A has no value"},
        {"FROM base\nENV A=1 B\n", "'B' is not NAME=VALUE"},
        {"FROM base\nCOPY a\n", "expected SOURCE..."},
        {"FROM base\nWORKDIR /etc/passwd\n", "no directory in the image"},
        {"FROM base\nUSER ${A:?who}\n", "who"},
        {"FROM /etc\n", "a directory is no base"},
    };
    struct site *site = site_new();
    for (size_t i = 0; i < COUNT(rows); i++) refused(site, rows[i][0], rows[i][1]);
    site_free(site);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prune_leaves_what_names_keeps_and_containers_need),
        cmocka_unit_test(test_a_layer_that_the_caller_fills),
        cmocka_unit_test(test_what_a_kill_left_is_cleared_away),
        cmocka_unit_test(test_dockerfiles_that_cannot_be_built),
    };
    return cmocka_run_group_tests_name("image keep", tests, NULL, NULL);
}
