/* Code search on a repository that git itself made: what is indexed, what is found, what changes change. */
#include "index.h"
#include "sql.h"
#include "test.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

struct fixture {
    char folder[64];
    char *work, *database, *url;
};

static void run(const char *directory, const char *const *argv) {
    pid_t child = fork();
    int status = 0;
    if (child == 0) {
        if (chdir(directory) != 0) _exit(126);
        setenv("GIT_CONFIG_GLOBAL", "/dev/null", 1);
        setenv("GIT_CONFIG_SYSTEM", "/dev/null", 1);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_int_equal(status, 0);
}
#define GIT(FIXTURE, ...)                                                                                \
    run((FIXTURE)->work, (const char *const[]){"git", "-c", "user.name=t", "-c", "user.email=t@t", "-c", \
                                               "init.defaultBranch=main", __VA_ARGS__, NULL})

static void write_file(const struct fixture *fixture, const char *name, const char *content) {
    char *path = path_join(fixture->work, name), *slash = strrchr(path, '/');
    *slash = 0;
    assert_ok(dir_make(path, 0755));
    *slash = '/';
    assert_ok(file_replace(path, span_of(content), 0644));
    free(path);
}

static void commit(const struct fixture *fixture) {
    GIT(fixture, "add", "-A");
    GIT(fixture, "commit", "-q", "-m", "x");
}

static int setup(void **state) {
    struct fixture *fixture = NEW(struct fixture);
    snprintf(fixture->folder, sizeof fixture->folder, "/tmp/catnap-index-XXXXXX");
    if (!mkdtemp(fixture->folder)) return -1;
    fixture->work = path_join(fixture->folder, "repo");
    fixture->database = path_join(fixture->folder, "index.sqlite");
    fixture->url = mem_printf("file://%s", fixture->work);
    if (mkdir(fixture->work, 0755) != 0) return -1;
    GIT(fixture, "init", "-q");
    *state = fixture;
    return 0;
}

static int teardown(void **state) {
    struct fixture *fixture = *state;
    assert_ok(tree_remove(fixture->folder));
    free(fixture->work), free(fixture->database), free(fixture->url), free(fixture);
    return 0;
}

static struct index_report update(const struct fixture *fixture, const char *const *refs) {
    struct index_report report;
    struct index_update how = {.database = fixture->database,
                               .repository = {.url = fixture->url, .refs = refs, .mirror = "/nonexistent"}};
    assert_ok(index_update(&how, &report));
    return report;
}

/* Many files, so that words have weights. */
static void fill(const struct fixture *fixture) {
    for (int i = 0; i < 40; i++) {
        char name[32], body[256];
        snprintf(name, sizeof name, "pkg/module_%d.py", i);
        snprintf(body, sizeof body,
                 "def handler_%d(request):\n    value = request.number * %d\n    return value\n", i, i);
        write_file(fixture, name, body);
    }
    write_file(
        fixture, "pkg/invoice.py",
        "class Invoice:\n    def total_with_tax(self, rate):\n        return self.amount * (1 + rate)\n");
    write_file(fixture, "web/invoice.ts", "export class Invoice { total_with_tax(rate: number) {} }\n");
    write_file(fixture, "notes.xyz", "Invoice total_with_tax\n");
}

static struct index_hits search(const struct fixture *fixture, const struct index_query *query) {
    scoped(index) struct index *index = NULL;
    struct index_hits hits;
    assert_ok(index_open(fixture->database, &index));
    assert_ok(index_search(index, query, &hits));
    return hits;
}

static struct index_query query_of(const char *text) {
    return (struct index_query){.text = span_of(text),
                                .min_embedding = 0.75,
                                .min_bm25 = 2,
                                .min_rrf = 0.028,
                                .to_return = 20,
                                .to_score = 40};
}

static void test_words_are_found_with_their_case_in_files_of_the_language(void **state) {
    const struct fixture *fixture = *state;
    fill(fixture);
    commit(fixture);
    struct index_report report = update(fixture, NULL);
    assert_int_equal(report.files, 42);
    assert_int_equal(report.changed, 42);
    struct index_query query = query_of("bill = Invoice()\nprint(bill.total_with_tax(");
    query.language = SPAN("python");
    struct index_hits hits = search(fixture, &query);
    assert_int_equal(hits.count, 1);
    assert_string_equal(hits.hits[0].path, "pkg/invoice.py");
    assert_string_equal(hits.hits[0].language, "python");
    assert_int_equal(hits.hits[0].line, 0);
    assert_true(strstr(hits.hits[0].body, "total_with_tax") != NULL);
    assert_true(hits.hits[0].bm25 > 2);
    index_hits_done(&hits);
    query.language = SPAN("typescriptreact");
    hits = search(fixture, &query);
    assert_int_equal(hits.count, 1);
    assert_string_equal(hits.hits[0].path, "web/invoice.ts");
    index_hits_done(&hits);
    query.language = SPAN("python");
    query.except_path = SPAN("pkg/invoice.py");
    hits = search(fixture, &query);
    assert_int_equal(hits.count, 0);
    index_hits_done(&hits);
    query = query_of("INVOICE TOTAL_WITH_TAX");
    hits = search(fixture, &query);
    assert_int_equal(hits.count, 0);
    index_hits_done(&hits);
}

static void test_only_what_changed_is_read_again(void **state) {
    const struct fixture *fixture = *state;
    fill(fixture);
    commit(fixture);
    update(fixture, NULL);
    assert_int_equal(update(fixture, NULL).changed, 0);
    write_file(fixture, "pkg/invoice.py", "class Receipt:\n    def paid_amount(self):\n        pass\n");
    GIT(fixture, "rm", "-q", "pkg/module_1.py");
    GIT(fixture, "mv", "pkg/module_2.py", "pkg/renamed.py");
    assert_int_equal(update(fixture, NULL).changed, 0); /* what is not committed is nobody's business */
    commit(fixture);
    struct index_report report = update(fixture, NULL);
    assert_int_equal(report.changed, 2);
    assert_int_equal(report.removed, 3);
    assert_int_equal(report.files, 41);
    struct index_query query = query_of("Receipt paid_amount");
    struct index_hits hits = search(fixture, &query);
    assert_int_equal(hits.count, 1);
    assert_string_equal(hits.hits[0].path, "pkg/invoice.py");
    index_hits_done(&hits);
    query = query_of("Invoice total_with_tax amount rate");
    query.language = SPAN("python");
    hits = search(fixture, &query);
    assert_int_equal(hits.count, 0);
    index_hits_done(&hits);
}

static void test_branches_and_tags_that_are_named(void **state) {
    const struct fixture *fixture = *state;
    fill(fixture);
    commit(fixture);
    GIT(fixture, "tag", "v1");
    GIT(fixture, "checkout", "-q", "-b", "next");
    write_file(fixture, "pkg/next_only.py", "def only_in_next_branch():\n    return 'next_branch_marker'\n");
    commit(fixture);
    GIT(fixture, "checkout", "-q", "main");
    const char *const old[] = {"v1", NULL}, *const both[] = {"main", "next", NULL};
    assert_int_equal(update(fixture, old).files, 42);
    assert_int_equal(update(fixture, both).files, 43);
    struct index_report report;
    const char *const wrong[] = {"nowhere", NULL};
    struct index_update how = {.database = fixture->database,
                               .repository = {.url = fixture->url, .refs = wrong, .mirror = "/x"}};
    assert_error(index_update(&how, &report), ERROR_NOT_FOUND, "no branch, tag or commit nowhere");
    assert_int_equal(update(fixture, both).changed, 0); /* the failed run took nothing away */
}

static void test_links_huge_files_and_what_is_no_code(void **state) {
    const struct fixture *fixture = *state;
    fill(fixture);
    char *link = path_join(fixture->work, "pkg/passwd.py"), *huge = path_join(fixture->work, "huge.py");
    assert_int_equal(symlink("/etc/passwd", link), 0);
    FILE *file = fopen(huge, "w");
    for (int i = 0; i < 40000; i++) fputs("value = 'a line of a file that is huge'\n", file);
    fclose(file);
    write_file(fixture, "numbers.py", "12345678901234567890\n12345678901234567890\n");
    write_file(fixture, ".hidden/secret.py", "def secret_in_hidden_folder(): pass\n");
    commit(fixture);
    struct index_report report = update(fixture, NULL);
    assert_int_equal(report.files, 42);
    assert_int_equal(report.rejected, 2);
    struct index_query query = query_of("root daemon nologin secret_in_hidden_folder");
    struct index_hits hits = search(fixture, &query);
    assert_int_equal(hits.count, 0);
    index_hits_done(&hits);
    free(link), free(huge);
}

static void test_what_cannot_be_opened_is_said(void **state) {
    const struct fixture *fixture = *state;
    struct index_report report;
    struct index_update how = {.database = fixture->database,
                               .repository = {.url = fixture->url, .mirror = "/x"}};
    assert_error(index_update(&how, &report), ERROR_FAILED_PRECONDITION, "no commit yet");
    how.repository.url = "file:///nonexistent/repo";
    assert_error(index_update(&how, &report), ERROR_NOT_FOUND, "nothing at /nonexistent/repo");
    how.repository.url = "file:///tmp";
    assert_error(index_update(&how, &report), ERROR_NOT_FOUND, "no git repository");
    char *mirror = path_join(fixture->folder, "mirror");
    how.repository = (struct index_repository){.url = "http://u:secret@127.0.0.1:1/x.git", .mirror = mirror};
    struct error *error = index_update(&how, &report);
    char *text = error_text(error);
    assert_int_equal(error->code, ERROR_UNAVAILABLE);
    assert_true(strstr(text, "http://127.0.0.1:1/x.git") && !strstr(text, "secret"));
    free(text), error_free(error), free(mirror);
}

/* A vector of a text for tests: who has the same letters is near. */
static struct error *embed_letters(void *owner, struct span text, float *out) {
    for (uint32_t i = 0; i < 64; i++) out[i] = -1;
    for (size_t i = 0; i < text.size; i++) out[text.data[i] % 64] = 1;
    *(size_t *)owner += 1;
    return NULL;
}

static void test_vectors_and_words_are_fused(void **state) {
    const struct fixture *fixture = *state;
    fill(fixture);
    commit(fixture);
    update(fixture, NULL);
    scoped(index) struct index *index = NULL;
    size_t asked = 0, done = 0, all = 0;
    struct index_embedder embedder = {
        .model = "letters", .dimensions = 64, .embed = embed_letters, .owner = &asked};
    assert_ok(index_open(fixture->database, &index));
    do {
        assert_ok(index_embed(index, &embedder, 10, &done));
        all += done;
    } while (done > 0);
    struct index_state told;
    assert_ok(index_state(index, &told));
    assert_int_equal(told.vectors, 42);
    assert_int_equal(told.chunks, 42);
    assert_int_equal(all, 42);
    assert_int_equal(strlen(told.commit), 40);
    float wanted[64];
    static const char same[] = "```pkg/invoice.py\nclass Invoice:\n    def total_with_tax(self, rate):\n     "
                               "   return self.amount * (1 "
                               "+ rate)\n```";
    assert_ok(embed_letters(&asked, SPAN(same), wanted));
    struct index_query query = query_of(same);
    query.language = SPAN("python");
    query.vector = wanted, query.dimensions = 64;
    struct index_hits hits;
    assert_ok(index_search(index, &query, &hits));
    assert_true(hits.count >= 1);
    assert_string_equal(hits.hits[0].path, "pkg/invoice.py");
    assert_true(hits.hits[0].embedding > 0.99);
    assert_true(hits.hits[0].rrf > 2.0 / 61 - 1e-9 && hits.hits[0].rrf < 2.0 / 61 + 1e-9);
    index_hits_done(&hits);
    /* The opposite of it is near to nothing, so that its words alone do not help. */
    for (size_t i = 0; i < 64; i++) wanted[i] = -wanted[i];
    assert_ok(index_search(index, &query, &hits));
    assert_int_equal(hits.count, 0);
    index_hits_done(&hits);
    embedder.model = "others";
    assert_ok(index_embed(index, &embedder, 5, &done));
    assert_ok(index_state(index, &told));
    assert_int_equal(told.vectors, 5);
    /* Most of the new model's are still to come: until then words alone find it. */
    assert_ok(index_search(index, &query, &hits));
    assert_true(hits.count >= 1);
    assert_string_equal(hits.hits[0].path, "pkg/invoice.py");
    index_hits_done(&hits);
}

static void test_a_broken_index_is_made_again(void **state) {
    const struct fixture *fixture = *state;
    fill(fixture);
    commit(fixture);
    update(fixture, NULL);
    index_remove(fixture->database);
    assert_ok(file_replace(fixture->database, SPAN("this is no database, and never was one ..."), 0600));
    struct index *index = NULL;
    assert_error(index_open(fixture->database, &index), ERROR_NOT_FOUND, "made again");
    assert_int_equal(update(fixture, NULL).changed, 42);
}

/* As is one whose chunks were cut in another way. */
static void test_an_index_of_another_version_is_made_again(void **state) {
    const struct fixture *fixture = *state;
    struct sql *sql = NULL;
    fill(fixture);
    commit(fixture);
    update(fixture, NULL);
    assert_ok(sql_open(fixture->database, SQL_WRITE, &sql));
    assert_ok(sql_run(sql, "UPDATE fact SET value = '1' WHERE name = 'version'"));
    sql_free(sql);
    assert_int_equal(update(fixture, NULL).changed, 42);
    assert_int_equal(update(fixture, NULL).changed, 0);
}

static void test_killed_at_any_moment_it_goes_on(void **state) {
    const struct fixture *fixture = *state;
    char body[2048], name[32];
    for (int i = 0; i < 1200; i++) {
        snprintf(name, sizeof name, "d/%d.py", i);
        snprintf(body, sizeof body, "def function_%d():\n    return marker_%d\n", i, i);
        write_file(fixture, name, body);
    }
    commit(fixture);
    for (int round = 0; round < 6; round++) {
        pid_t child = fork();
        if (child == 0) {
            update(fixture, NULL);
            _exit(0);
        }
        struct timespec moment = {.tv_nsec = 15000000 * (round + 1)};
        nanosleep(&moment, NULL);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        scoped(index) struct index *index = NULL;
        struct error *error = index_open(fixture->database, &index);
        struct index_state told = {0};
        if (!error) assert_ok(index_state(index, &told));
        assert_int_equal(told.files, told.chunks); /* each file is there whole */
        error_free(error);
    }
    assert_int_equal(update(fixture, NULL).files, 1200);
    struct index_query query = query_of("function_777 marker_777");
    struct index_hits hits = search(fixture, &query);
    assert_int_equal(hits.count, 1);
    assert_string_equal(hits.hits[0].path, "d/777.py");
    index_hits_done(&hits);
}

/* So many chunks that words which stand everywhere are not looked for, but weighed. */
static void test_common_words_among_many_chunks(void **state) {
    const struct fixture *fixture = *state;
    for (int f = 0; f < 40; f++) {
        char name[32];
        scoped_text struct text body = {0};
        snprintf(name, sizeof name, "m/%d.py", f);
        for (int i = 0; i < 110; i++) {
            text_printf(&body, "def step_%d_%d(self, request):\n", f, i);
            for (int k = 0; k < 9; k++)
                text_printf(&body, "    request.value = self.count(request.value, %d)\n", k);
            text_add_string(&body, f == 7 && i == 50 ? "    return self.ledger_of(request)\n\n"
                                                     : "    return self\n\n");
        }
        write_file(fixture, name, body.data);
    }
    commit(fixture);
    assert_true(update(fixture, NULL).chunks > 4000);
    struct index_query query = query_of("def step(self, request):\n    value = self.count(request.value)\n"
                                        "    return self.ledger_of(request) or alpha or beta");
    query.min_bm25 = 6;
    struct index_hits hits = search(fixture, &query);
    assert_int_equal(hits.count, 1);
    assert_string_equal(hits.hits[0].path, "m/7.py");
    assert_true(strstr(hits.hits[0].body, "ledger_of") != NULL);
    index_hits_done(&hits);
    query = query_of("def request self return count value");
    query.min_bm25 = -1;
    hits = search(fixture, &query);
    assert_true(hits.count > 0); /* nothing but common words: then they are looked for */
    index_hits_done(&hits);
}

static void test_reading_finding_and_grepping(void **state) {
    const struct fixture *fixture = *state;
    scoped(repository) struct repository *repository = NULL;
    fill(fixture);
    commit(fixture);
    struct index_repository which = {.url = fixture->url};
    assert_ok(repository_open(&which, false, &repository));
    json_t *entries = NULL;
    scoped_text struct text content = {0};
    assert_ok(repository_read(repository, NULL, "", 1 << 20, &entries, &content));
    assert_int_equal(json_array_size(entries), 3);
    json_decref(entries);
    assert_ok(repository_read(repository, "main", "pkg/invoice.py", 1 << 20, &entries, &content));
    assert_null(entries);
    assert_true(memmem(content.data, content.size, "class Invoice", 13) != NULL);
    assert_error(repository_read(repository, NULL, "../../etc/passwd", 1 << 20, &entries, &content),
                 ERROR_NOT_FOUND, "no file or folder");
    assert_error(repository_read(repository, ":/x", "pkg", 1 << 20, &entries, &content), ERROR_NOT_FOUND,
                 "no branch");
    assert_error(repository_read(repository, NULL, "pkg/invoice.py", 10, &entries, &content),
                 ERROR_RESOURCE_EXHAUSTED, "at most 10");
    assert_ok(repository_find(repository, NULL, "invpy", 10, &entries));
    assert_int_equal(json_array_size(entries), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(entries, 0), "path")),
                        "pkg/invoice.py");
    json_decref(entries);
    assert_ok(repository_grep(repository, NULL, "total_\\w+ lang:python", 10, &entries));
    assert_int_equal(json_array_size(entries), 1);
    json_t *line = json_array_get(json_object_get(json_array_get(entries, 0), "lines"), 0);
    assert_int_equal(json_integer_value(json_object_get(line, "lineNumber")), 2);
    assert_int_equal(json_integer_value(json_object_get(line, "byteOffset")), 15);
    json_decref(entries);
    assert_ok(repository_grep(repository, NULL, "f:invoice -lang:python", 10, &entries));
    assert_int_equal(json_array_size(entries), 1);
    json_decref(entries);
    assert_error(repository_grep(repository, NULL, "(", 10, &entries), ERROR_INVALID_ARGUMENT, "regular");
    assert_error(repository_grep(repository, NULL, "(a{1,9999}){1,9999}", 10, &entries),
                 ERROR_INVALID_ARGUMENT, "counted");
    assert_ok(repository_refs(repository, &entries));
    assert_int_equal(json_array_size(entries), 1);
    json_decref(entries);
}

static void test_a_mirror_follows_its_origin(void **state) {
    const struct fixture *fixture = *state;
    fill(fixture);
    commit(fixture);
    struct index_report report;
    char *mirror = path_join(fixture->folder, "mirror");
    /* A path without a scheme goes the way of all that is fetched, and needs no server. */
    struct index_update how = {.database = fixture->database,
                               .repository = {.url = fixture->work, .mirror = mirror}};
    assert_ok(index_update(&how, &report));
    assert_int_equal(report.files, 42);
    write_file(fixture, "pkg/later.py", "def came_later():\n    pass\n");
    commit(fixture);
    assert_ok(index_update(&how, &report));
    assert_int_equal(report.files, 43);
    assert_int_equal(report.changed, 1);
    free(mirror);
}

int main(void) {
#define WITH_REPOSITORY(TEST) cmocka_unit_test_setup_teardown(TEST, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_REPOSITORY(test_words_are_found_with_their_case_in_files_of_the_language),
        WITH_REPOSITORY(test_only_what_changed_is_read_again),
        WITH_REPOSITORY(test_branches_and_tags_that_are_named),
        WITH_REPOSITORY(test_links_huge_files_and_what_is_no_code),
        WITH_REPOSITORY(test_what_cannot_be_opened_is_said),
        WITH_REPOSITORY(test_vectors_and_words_are_fused),
        WITH_REPOSITORY(test_a_broken_index_is_made_again),
        WITH_REPOSITORY(test_an_index_of_another_version_is_made_again),
        WITH_REPOSITORY(test_killed_at_any_moment_it_goes_on),
        WITH_REPOSITORY(test_common_words_among_many_chunks),
        WITH_REPOSITORY(test_reading_finding_and_grepping),
        WITH_REPOSITORY(test_a_mirror_follows_its_origin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
