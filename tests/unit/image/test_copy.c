/* COPY and ADD: what they make of the image, and that a context leads nowhere else. */
#include "site.h"

static void test_where_a_copy_goes(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    static const struct {
        const char *copy, *path, *content;
    } rows[] = {
        {"COPY a.txt /new", "new", "A"},
        {"COPY a.txt /new/", "new/a.txt", "A"},
        {"COPY a.txt /etc", "etc/a.txt", "A"},
        {"COPY a.txt b.txt /d/", "d/b.txt", "B"},
        {"COPY *.txt /d/", "d/a.txt", "A"},
        {"COPY dir /d", "d/in/c", "C"},
        {"COPY dir/ /d/", "d/in/c", "C"},
        {"COPY dir/*/c /d/", "d/c", "C"},
        {"COPY . /", "dir/in/c", "C"},
        {"COPY /a.txt /lib/x", "usr/lib/x", "A"},
        {"COPY a.txt /lib/", "usr/lib/a.txt", "A"},
        {"COPY a.txt /abs/x", "private/x", "A"},
        {"WORKDIR /w\nCOPY a.txt x", "w/x", "A"},
        {"WORKDIR /w\nCOPY a.txt .", "w/a.txt", "A"},
        {"ENV TO=/there\nCOPY ${TO#/}/../a.txt $TO/", "there/a.txt", "A"},
        {"COPY [\"with blank\", \"/to here\"]", "to here", "W"},
        {"COPY link /l", "l", "A"},
        {"COPY <<EOF /made\n$PATHLESS x\nEOF", "made", " x\n"},
        {"ADD a.txt /added", "added", "A"},
    };
    struct site *site = site_new();
    put(site, "a.txt", "A"), put(site, "b.txt", "B"), put(site, "dir/in/c", "C"),
        put(site, "with blank", "W");
    scoped_string char *link = path_join(site->context, "link");
    assert_int_equal(symlink("a.txt", link), 0);
    for (size_t i = 0; i < COUNT(rows); i++) {
        scoped_string char *text = mem_printf("FROM base\n%s\n", rows[i].copy), *id = built(site, text);
        scoped_string char *content = top_content(site, id, rows[i].path);
        if (strcmp(content, rows[i].content) != 0)
            fail_msg("%s: /%s is '%s'", rows[i].copy, rows[i].path, content);
    }
    site_free(site);
}

static void test_a_copy_keeps_what_is_there_as_it_is(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct site *site = site_new();
    struct stat at;
    put(site, "a", "A"), put(site, "lib/new", "N");
    scoped_string char *into = built(site, "FROM base\nCOPY a /private/a\n");
    assert_true(top_has(site, into, "private", &at)); /* with owner and mode of the image's */
    assert_int_equal(at.st_mode & 07777, 0700);
    assert_int_equal(at.st_uid, 5);
    assert_int_equal(at.st_gid, 6);
    scoped_string char *whole = built(site, "FROM base\nCOPY . /\n");
    assert_false(top_has(site, whole, "lib", &at)); /* it stays a link */
    assert_true(top_has(site, whole, "usr/lib/new", &at));
    scoped_string char *owned = built(site, "FROM base\nCOPY --chown=worker:staff --chmod=640 a /x/a\n");
    assert_true(top_has(site, owned, "x/a", &at));
    assert_int_equal(at.st_uid, 77);
    assert_int_equal(at.st_gid, 50);
    assert_int_equal(at.st_mode & 07777, 0640);
    scoped_string char *workdir = built(site, "FROM base\nUSER worker\nWORKDIR /home/w\n");
    assert_true(top_has(site, workdir, "home/w", &at));
    assert_int_equal(at.st_uid, 77);
    refused(site, "FROM base\nCOPY --chown=nobody-here a /x\n", "no user 'nobody-here'");
    refused(site, "FROM base\nCOPY a /etc/passwd/\n", "no directory in the image");
    refused(site, "FROM base\nCOPY nope /x\n", "nope in the context: there is no nope");
    refused(site, "FROM base\nCOPY *.nope /x\n", "nothing fits *.nope");
    refused(site, "FROM base\nCOPY ../../etc/passwd /x\n", "leads out");
    refused(site, "FROM base\nCOPY https://example.com/x /x\n", "only ADD fetches");
    refused(site, "FROM base\nADD https://example.com/x.git /x\n", "use RUN git clone");
    site_free(site);
}

static void test_links_of_a_context_lead_nowhere_else(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct site *site = site_new();
    scoped_string char *out = path_join(site->context, "out"), *up = path_join(site->context, "up");
    scoped_string char *secret = lab_path(site->lab, "secret");
    lab_write(secret, "not yours");
    assert_int_equal(symlink("/etc", out), 0);
    assert_int_equal(symlink("..", up), 0);
    refused(site, "FROM base\nCOPY out/passwd /x\n", "there is no out/passwd");
    refused(site, "FROM base\nCOPY up/secret /x\n", "there is no up/secret");
    put(site, "etc/passwd", "of the context");
    scoped_string char *id = built(site, "FROM base\nCOPY out/passwd /x\n"); /* / is the context */
    scoped_string char *content = top_content(site, id, "x");
    assert_string_equal(content, "of the context");
    site_free(site);
}

static void test_the_content_of_a_copy_decides(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct site *site = site_new();
    put(site, "d/a", "1");
    scoped_string char *path = path_join(site->context, "d/a");
    scoped_string char *first = built(site, "FROM base\nCOPY d /d\n");
    struct timespec old[2] = {{.tv_sec = 5}, {.tv_sec = 5}};
    utimensat(AT_FDCWD, path, old, 0);
    put(site, "other", "x");
    scoped_string char *same = built(site, "FROM base\nCOPY d /d\n");
    assert_string_equal(first, same); /* neither times nor what is not copied */
    chmod(path, 0755);
    scoped_string char *mode = built(site, "FROM base\nCOPY d /d\n");
    assert_string_not_equal(first, mode);
    put(site, "d/a", "2"), put(site, "d/b", "");
    scoped_string char *changed = built(site, "FROM base\nCOPY d /d\n");
    assert_string_not_equal(mode, changed);
    site_free(site);
}

static void test_dockerignore(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct site *site = site_new();
    struct stat at;
    put(site, ".dockerignore", "# a comment\n*.log\n**/*.pyc\nnode_modules\n!node_modules/kept\n/build/**\n");
    put(site, "a.log", ""), put(site, "d/b.log", ""), put(site, "d/x.pyc", ""),
        put(site, "node_modules/m/f", "");
    put(site, "node_modules/kept", ""), put(site, "build/out", ""), put(site, "f", "");
    scoped_string char *id = built(site, "FROM base\nCOPY . /c/\n");
    static const char *const in[] = {"c/f", "c/d/b.log", "c/node_modules/kept"}, *const out[] = {
                                                                                     "c/a.log", "c/d/x.pyc",
                                                                                     "c/node_modules/m",
                                                                                     "c/build/out"};
    for (size_t i = 0; i < COUNT(in); i++)
        if (!top_has(site, id, in[i], &at)) fail_msg("%s is missing", in[i]);
    for (size_t i = 0; i < COUNT(out); i++)
        if (top_has(site, id, out[i], &at)) fail_msg("%s should be ignored", out[i]);
    refused(site, "FROM base\nCOPY a.log /x\n", "there is no a.log");
    site_free(site);
}

static void test_add_unpacks_a_tar(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct site *site = site_new();
    scoped_text struct text tar = {0};
    const struct tar_entry entries[] = {{.kind = '0', .name = "in/f", .content = "packed"},
                                        {.kind = '0', .name = ".wh.kept", .content = "w"}};
    for (size_t i = 0; i < COUNT(entries); i++) tar_add(&tar, &entries[i]);
    tar_end(&tar);
    scoped_string char *path = path_join(site->context, "a.tar");
    assert_ok(file_replace(path, text_span(&tar), 0644));
    scoped_string char *added = built(site, "FROM base\nADD a.tar /lib/x\n"),
                       *copied = built(site, "FROM base\nCOPY a.tar /lib/x\n");
    scoped_string char *content = top_content(site, added, "usr/lib/x/in/f"),
                       *name = top_content(site, added, "usr/lib/x/.wh.kept");
    assert_string_equal(content, "packed");
    assert_string_equal(name, "w"); /* only in layers these names mean something */
    struct stat at;
    assert_true(top_has(site, copied, "usr/lib/x", &at));
    assert_true(S_ISREG(at.st_mode));
    site_free(site);
}

static void test_a_context_of_files_by_hash(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct site *site = site_new();
    lab_close(site->lab);
    scoped_string char *state = lab_path(site->lab, "state");
    struct store *store = NULL;
    assert_ok(store_open(site->lab->loop, state, &store));
    site->lab->options.store = store;
    lab_open(site->lab);
    char one[SHA256_HEX_SIZE], two[SHA256_HEX_SIZE];
    assert_ok(store_blob_put(store, SPAN("one"), one));
    assert_ok(store_blob_put(store, SPAN("two"), two));
    const struct image_file files[] = {
        {"/requirements.txt", one, 0}, {"/src/app.py", two, 0755}, {"src/deep/er.py", one, 0600}};
    struct image_build options = {.commands = "FROM base\nCOPY /requirements.txt /r.txt\nCOPY . /all\n",
                                  .context = {.files = files, .file_count = COUNT(files)}};
    struct lab_job job;
    build(site, &options, &job);
    assert_ok(take(job.error));
    scoped_string char *app = top_content(site, job.id, "all/src/app.py"),
                       *deep = top_content(site, job.id, "all/src/deep/er.py");
    assert_string_equal(app, "two");
    assert_string_equal(deep, "one");
    struct stat at;
    assert_true(top_has(site, job.id, "all/src/app.py", &at));
    assert_int_equal(at.st_mode & 07777, 0755);
    assert_true(top_has(site, job.id, "all/requirements.txt", &at));
    assert_int_equal(at.st_mode & 07777, 0644);
    lab_job_done(&job);
    const struct image_file absent = {"x", "0000000000000000000000000000000000000000000000000000000000000000",
                                      0};
    options.context = (struct image_context){.files = &absent, .file_count = 1};
    build(site, &options, &job);
    assert_error(take(job.error), ERROR_NOT_FOUND, "the content of x");
    lab_job_done(&job);
    lab_close(site->lab);
    store_free(store);
    lab_open(site->lab);
    site_free(site);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_where_a_copy_goes),
        cmocka_unit_test(test_a_copy_keeps_what_is_there_as_it_is),
        cmocka_unit_test(test_links_of_a_context_lead_nowhere_else),
        cmocka_unit_test(test_the_content_of_a_copy_decides),
        cmocka_unit_test(test_dockerignore),
        cmocka_unit_test(test_add_unpacks_a_tar),
        cmocka_unit_test(test_a_context_of_files_by_hash),
    };
    return cmocka_run_group_tests_name("image copy", tests, NULL, NULL);
}
