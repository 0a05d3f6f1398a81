/* What is kept of images and layers, and what is cleared away. */
#include "inside.h"
#include "site.h"

#include <sys/stat.h>

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

/* ---- what goes by itself ---- */

static void stop_loop(void *owner) {
    io_loop_stop(owner);
}

/* The store looks now, and not in some minutes. */
static void sweep_now(struct lab *lab) {
    struct io_timer *after = io_timer_new(lab->loop, stop_loop, lab->loop);
    io_timer_arm(lab->store->sweep, 0);
    io_timer_arm(after, 1);
    io_loop_run(lab->loop);
    io_timer_free(after);
}

struct keeper {
    const char *tag; /* the one that is not needed */
    int64_t used_ms;
    struct text gone;
};

static int64_t keeper_used_ms(void *owner, const char *tag) {
    const struct keeper *keeper = owner;
    return strcmp(tag, keeper->tag) == 0 ? keeper->used_ms : INT64_MAX;
}

static void keeper_gone(void *owner, const char *tag) {
    text_printf(&((struct keeper *)owner)->gone, "%s ", tag);
}

static bool is_here(struct image_store *store, const char *id) {
    scoped_string char *name = mem_printf("sha256:%s", id);
    return image_find(store, name) != NULL;
}

static void on_needs(void *owner, struct image_store *store) {
    image_need(store, owner);
}

static void test_what_its_keeper_does_not_need_goes_when_it_is_old(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct site *site = site_new();
    struct image_store *store = site->lab->store;
    scoped_string char *needed = built(site, "FROM base\nRUN needed\n"),
                       *spare = built(site, "FROM base\nRUN needed\nRUN spare\n"),
                       *app = built(site, "FROM base\nRUN app\n"), *app_name = mem_printf("sha256:%s", app);
    const int64_t hour_ms = 3600000, now_ms = clock_wall_ms();
    struct keeper keeper = {.tag = "spare", .used_ms = now_ms - 6 * 24 * hour_ms};
    assert_ok(image_keep(store, "needed", needed));
    assert_ok(image_keep(store, "spare", spare));
    image_keeper_set(
        store, &(struct image_keeper){.owner = &keeper, .used_ms = keeper_used_ms, .gone = keeper_gone});
    image_needs_set(store, on_needs, app_name);
    sweep_now(site->lab);
    assert_true(is_here(store, needed) && is_here(store, spare) && is_here(store, app));

    keeper.used_ms = now_ms - hour_ms / 2; /* just built: a prune is no reason to take it from its builder */
    image_prune(store, NULL);
    assert_true(is_here(store, spare));
    keeper.used_ms = now_ms - 8 * 24 * hour_ms;
    keeper.tag = "needed"; /* its layers are needed by the other: it costs nothing */
    sweep_now(site->lab);
    assert_true(is_here(store, needed) && keeper.gone.size == 0);
    keeper.tag = "spare";
    struct layer *layer;
    for (size_t i = 0; map_next(store->layers, &i, NULL, (void **)&layer);) layer->used_ms = keeper.used_ms;
    sweep_now(site->lab);
    assert_string_equal(keeper.gone.data, "spare ");
    assert_true(is_here(store, needed) && !is_here(store, spare) && is_here(store, app));
    assert_int_equal(image_usage(store).unused_bytes, 0);

    image_needs_set(store, NULL, NULL);
    image_prune(store, NULL);
    assert_false(is_here(store, app));
    text_done(&keeper.gone);
    image_keeper_set(store, NULL);
    site_free(site);
}

static void make_old(struct site *site, const char *id, int64_t hours) {
    const struct record *record = map_get(site->lab->store->records, span_of(id));
    const char *layer = record->layers[record->image.layer_count - 1];
    scoped_string char *path = mem_printf("%s/images/layers/%s/size", site->lab->dir, layer);
    const struct timespec then = {.tv_sec = clock_wall_ms() / 1000 - hours * 3600};
    const struct timespec times[2] = {then, then};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* Rebuilt every day for a year: so much stays, and no more. */
static void test_old_builds_stay_within_a_bound(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct site *site = site_new();
    scoped_string char *young = built(site, "FROM base\nRUN young\n"),
                       *old = built(site, "FROM base\nRUN old\n"),
                       *older = built(site, "FROM base\nRUN older\n"),
                       *oldest = built(site, "FROM base\nRUN oldest\n");
    make_old(site, young, 2);
    make_old(site, old, 3);
    make_old(site, older, 4);
    make_old(site, oldest, 8 * 24);
    lab_close(site->lab);
    lab_open(site->lab);
    sweep_now(site->lab);
    assert_true(is_here(site->lab->store, older) && !is_here(site->lab->store, oldest));

    size_t runs = site->runner.runs;
    scoped_string char *again = built(site, "FROM base\nRUN older\n"); /* from the cache: it is young now */
    assert_int_equal(site->runner.runs, runs);
    const struct image_usage usage = image_usage(site->lab->store);
    site->lab->options.cache_bytes = usage.unused_bytes * 2 / 3;
    lab_close(site->lab);
    lab_open(site->lab);
    sweep_now(site->lab);
    struct image_store *store = site->lab->store;
    assert_true(is_here(store, older) && is_here(store, young) && !is_here(store, old));
    assert_true(io_timer_armed(store->sweep)); /* what stays grows old */
    image_prune(store, NULL);
    assert_int_equal(image_usage(store).unused_bytes, 0);
    assert_non_null(image_find(store, "base"));
    sweep_now(site->lab);
    assert_false(io_timer_armed(store->sweep)); /* nothing is left to look for */
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
        cmocka_unit_test(test_what_its_keeper_does_not_need_goes_when_it_is_old),
        cmocka_unit_test(test_old_builds_stay_within_a_bound),
        cmocka_unit_test(test_a_layer_that_the_caller_fills),
        cmocka_unit_test(test_what_a_kill_left_is_cleared_away),
        cmocka_unit_test(test_dockerfiles_that_cannot_be_built),
    };
    return cmocka_run_group_tests_name("image keep", tests, NULL, NULL);
}
