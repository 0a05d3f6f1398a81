/* Builds: what a step is asked to do, what is taken from the cache, what a COPY makes of the image. Steps are
 * carried out by a runner of the test's own, which notes what it was asked and writes a file; real containers
 * are in tests/unit/node and tests/e2e. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/xattr.h>

#include "lab.h"
#include "store.h"
#include "tar.h"

#define NEEDS_ROOT()                                                  \
    do {                                                              \
        if (geteuid() != 0) {                                         \
            print_message("skipped: owners and devices need root\n"); \
            skip();                                                   \
        }                                                             \
    } while (0)

/* ---- the runner ---- */

struct runner;
struct run {
    struct runner *runner;
    struct image_step_events events;
    void *owner;
    int exit_code;
    bool cancelled, held;
};
struct runner {
    struct lab *lab;
    struct image_runner seam;
    size_t runs;
    struct text argv, env; /* of the last one, words joined by '|' */
    char *workdir, *user;
    struct text mounts; /* "/to=content" of files, "/to/name=content" of directories' files */
    enum image_network network;
    struct run *held; /* a step whose text is `hold` ends when the test lets it */
};

static void join(struct text *text, const char *const *words) {
    text_clear(text);
    for (; *words; words++) text_printf(text, "%s%s", text->size ? "|" : "", *words);
}

static void on_run(void *owner) {
    struct run *run = owner;
    run->events.line(run->owner, SPAN("it ran"));
    run->events.done(run->owner, &(struct image_step_end){.exit_code = run->cancelled ? -1 : run->exit_code,
                                                          .signal = run->cancelled ? 9 : 0});
    free(run);
}

static void note_file(struct runner *runner, const char *path, const char *shown) {
    scoped_text struct text text = {0};
    scoped(error) struct error *error = file_read(path, 1 << 16, &text);
    text_printf(&runner->mounts, "%s=%s\n", shown, error ? "?" : text.data ? text.data : "");
}

static void note_mount(struct runner *runner, const struct image_mount *mount) {
    struct stat at;
    if (strncmp(mount->destination, "/.catnap", 8) == 0 || stat(mount->source, &at)) return;
    if (!S_ISDIR(at.st_mode)) note_file(runner, mount->source, mount->destination);
    DIR *directory = S_ISDIR(at.st_mode) ? opendir(mount->source) : NULL;
    if (directory)
        text_printf(&runner->mounts, "%s/ %s\n", mount->destination, mount->read_only ? "ro" : "rw");
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        scoped_string char *path = path_join(mount->source, entry->d_name),
                           *shown = path_join(mount->destination, entry->d_name);
        if (entry->d_name[0] != '.') note_file(runner, path, shown);
    }
    if (directory) closedir(directory);
}

static void *run_step(void *owner, const struct image_step *step, const struct image_step_events *events,
                      void *events_owner) {
    struct runner *runner = owner;
    struct run *run = NEW(struct run);
    *run = (struct run){.runner = runner, .events = *events, .owner = events_owner};
    join(&runner->argv, step->argv);
    join(&runner->env, step->env);
    free(runner->workdir), free(runner->user);
    runner->workdir = mem_string(step->workdir), runner->user = mem_string(step->user);
    runner->network = step->network;
    text_clear(&runner->mounts);
    for (size_t i = 0; i < step->mount_count; i++) note_mount(runner, &step->mounts[i]);
    scoped_string char *made = mem_printf("%s/u/ran-%zu", step->upper, ++runner->runs);
    lab_write(made, runner->argv.data);
    if (strstr(runner->argv.data, "fail")) run->exit_code = 3;
    run->held = strstr(runner->argv.data, "hold") != NULL;
    if (run->held)
        runner->held = run;
    else
        io_defer(runner->lab->loop, on_run, run);
    return run;
}

static void let_go(struct runner *runner) {
    io_defer(runner->lab->loop, on_run, take(runner->held));
}

static void cancel_step(void *owner, void *run_) {
    struct runner *runner = owner;
    struct run *run = run_;
    run->cancelled = true;
    if (runner->held == run) let_go(runner);
}

/* ---- a lab with a base image ---- */

struct site {
    struct lab *lab;
    struct runner runner;
    char *context;
};

static void import_tar(struct lab *lab, const char *name, const struct tar_entry *entries, size_t count) {
    scoped_text struct text tar = {0};
    scoped_string char *path = lab_path(lab, "base.tar");
    for (size_t i = 0; i < count; i++) tar_add(&tar, &entries[i]);
    tar_end(&tar);
    assert_ok(file_replace(path, text_span(&tar), 0644));
    struct lab_job job = {.lab = lab};
    image_import(lab->store, name, path, &lab_events, &job);
    lab_await(lab, &job);
    assert_ok(take(job.error));
    lab_job_done(&job);
}

static struct site *site_new(void) {
    static const struct tar_entry base[] = {
        {.kind = '5', .name = "etc", .mode = 0755},
        {.kind = '0',
         .name = "etc/passwd",
         .content = "root:x:0:0::/root:/bin/sh\nworker:x:77:88::/:/bin/sh\n"},
        {.kind = '0', .name = "etc/group", .content = "root:x:0:\nstaff:x:50:\n"},
        {.kind = '5', .name = "usr", .mode = 0755},
        {.kind = '5', .name = "usr/lib", .mode = 0755},
        {.kind = '0', .name = "usr/lib/old", .content = "old"},
        {.kind = '2', .name = "lib", .target = "usr/lib"},
        {.kind = '5', .name = "private", .mode = 0700, .uid = 5, .gid = 6},
        {.kind = '2', .name = "abs", .target = "/private"},
    };
    struct site *site = NEW(struct site);
    site->lab = lab_new();
    site->runner.lab = site->lab;
    site->runner.seam = (struct image_runner){.owner = &site->runner, .run = run_step, .cancel = cancel_step};
    site->lab->options.runner = &site->runner.seam;
    lab_open(site->lab);
    site->context = lab_path(site->lab, "context");
    assert_ok(dir_make(site->context, 0755));
    import_tar(site->lab, "base", base, COUNT(base));
    return site;
}

static void site_free(struct site *site) {
    text_done(&site->runner.argv), text_done(&site->runner.env), text_done(&site->runner.mounts);
    free(site->runner.workdir), free(site->runner.user), free(site->context);
    lab_free(site->lab);
    free(site);
}

static void put(struct site *site, const char *name, const char *content) {
    scoped_string char *path = path_join(site->context, name);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    assert_ok(dir_make(path, 0755));
    *slash = '/';
    lab_write(path, content);
}

static struct image_build commands(const struct site *site, const char *text) {
    return (struct image_build){.commands = text, .context = {.directory = site->context}};
}

/* Runs it to its end; the job holds lines, error and id. */
static void build(struct site *site, const struct image_build *options, struct lab_job *job) {
    *job = (struct lab_job){.lab = site->lab};
    image_build(site->lab->store, options, &lab_events, job);
    lab_await(site->lab, job);
}

static char *built(struct site *site, const char *text) {
    struct lab_job job;
    const struct image_build options = commands(site, text);
    build(site, &options, &job);
    if (job.error) fail_msg("%s: %s", text, error_text(job.error));
    char *id = mem_string(job.id);
    lab_job_done(&job);
    return id;
}

static void refused(struct site *site, const char *text, const char *needle) {
    struct lab_job job;
    const struct image_build options = commands(site, text);
    build(site, &options, &job);
    scoped_string char *said = job.error ? error_text(job.error) : mem_string("no error");
    if (!strstr(said, needle)) fail_msg("%s: '%s' instead of '%s'", text, said, needle);
    lab_job_done(&job);
}

/* The layers of an image, top first, as `sha256:ID` resolves. */
static struct image_layers layers_of(struct site *site, const char *id) {
    struct image_layers layers;
    scoped_string char *name = mem_printf("sha256:%s", id);
    assert_ok(image_resolve(site->lab->store, name, &layers));
    return layers;
}

static bool top_has(struct site *site, const char *id, const char *path, struct stat *ret_at) {
    struct image_layers layers = layers_of(site, id);
    scoped_string char *whole = path_join(layers.layer[0], path);
    image_layers_done(&layers);
    return lstat(whole, ret_at) == 0;
}

static char *top_content(struct site *site, const char *id, const char *path) {
    struct image_layers layers = layers_of(site, id);
    scoped_string char *whole = path_join(layers.layer[0], path);
    image_layers_done(&layers);
    struct text text = {0};
    scoped(error) struct error *error = file_read(whole, 1 << 20, &text);
    return error ? mem_string("(absent)") : text_take(&text);
}

/* ---- RUN ---- */

static void test_a_step_sees_what_the_dockerfile_says(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct site *site = site_new();
    struct lab_job job;
    const struct image_pair arg = {"GIVEN", "by me"}, secret = {"TOKEN", "s3cret"};
    struct image_build options =
        commands(site, "ARG OUTER=1\nFROM base\nARG GIVEN=default\nARG OUTER\nARG UNSET\nARG BOTH=arg\n"
                       "ENV A=\"x y\" B=$GIVEN-$OUTER\nENV BOTH env\nUSER worker:staff\nWORKDIR /srv\n"
                       "WORKDIR app\nRUN one \\\n  && two\n");
    options.args = &arg, options.arg_count = 1;
    options.secrets = &secret, options.secret_count = 1;
    build(site, &options, &job);
    assert_ok(take(job.error));
    assert_string_equal(site->runner.argv.data, "/bin/sh|-c|one   && two");
    assert_string_equal(site->runner.workdir, "/srv/app");
    assert_string_equal(site->runner.user, "worker:staff");
    assert_int_equal(site->runner.network, IMAGE_NETWORK_OUTBOUND);
    static const char *const wanted[] = {
        "A=x y", "B=by me-1", "BOTH=env", "GIVEN=by me", "OUTER=1", "TOKEN=s3cret", "PATH=/usr/local/sbin"};
    for (size_t i = 0; i < COUNT(wanted); i++)
        if (!strstr(site->runner.env.data, wanted[i]))
            fail_msg("%s is not in %s", wanted[i], site->runner.env.data);
    assert_null(strstr(site->runner.env.data, "UNSET"));
    assert_non_null(strstr(job.lines.data, "RUN one"));
    assert_non_null(strstr(job.lines.data, "\nit ran\n"));
    lab_job_done(&job);
    site_free(site);
}

static void test_forms_of_run(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    static const char *const rows[][2] = {
        {"RUN [\"/a\", \"b c\"]", "/a|b c"},
        {"RUN [not a list", "/bin/sh|-c|[not a list"},
        {"SHELL [\"/bin/bash\", \"-ec\"]\nRUN x $Y", "/bin/bash|-ec|x $Y"},
        {"RUN <<EOF\none\ntwo\nEOF", "/bin/sh|-c|one\ntwo\n"},
        {"RUN <<EOF\n#!/usr/bin/env python3\nprint(1)\nEOF", "/.catnap/script"},
        {"RUN cat <<A > /x\nbody\nA", "/bin/sh|-c|cat <<A > /x\nbody\nA\n"},
    };
    struct site *site = site_new();
    for (size_t i = 0; i < COUNT(rows); i++) {
        scoped_string char *text = mem_printf("FROM base\n%s\n", rows[i][0]), *id = built(site, text);
        assert_string_equal(site->runner.argv.data, rows[i][1]);
    }
    scoped_string char *alone = built(site, "FROM base\nRUN --network=none x\n");
    assert_int_equal(site->runner.network, IMAGE_NETWORK_NONE);
    site_free(site);
}

static void test_what_a_step_depends_on_decides_whether_it_runs_again(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    static const struct {
        const char *text;
        bool again; /* than the one before */
    } rows[] = {
        {"FROM base\nRUN a\n", true},
        {"FROM base\nRUN a\n", false},
        {"FROM base\nLABEL x=1\nCMD [\"y\"]\nEXPOSE 80\nRUN a\n", false},
        {"FROM base\nENV A=1\nRUN a\n", true},
        {"FROM base\nENV A=1\nRUN a\n", false},
        {"FROM base\nENV A=2\nRUN a\n", true},
        {"FROM base\nARG A=2\nRUN a\n", true},
        {"FROM base\nUSER 5\nRUN a\n", true},
        {"FROM base\nWORKDIR /etc\nRUN a\n", true},
        {"FROM base\nRUN --network=none a\n", true},
        {"FROM base\nSHELL [\"/bin/x\"]\nRUN a\n", true},
        {"FROM base AS other\nRUN a\n", false},
        {"FROM scratch\nRUN a\n", true},
    };
    struct site *site = site_new();
    for (size_t i = 0; i < COUNT(rows); i++) {
        size_t before = site->runner.runs;
        scoped_string char *id = built(site, rows[i].text);
        if ((site->runner.runs > before) != rows[i].again)
            fail_msg("%s: ran %zu times", rows[i].text, site->runner.runs - before);
    }
    site_free(site);
}

static void test_a_forced_build_runs_all_and_is_the_one_that_counts(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct site *site = site_new();
    struct lab_job job;
    scoped_string char *first = built(site, "FROM base\nRUN a\nRUN b\n");
    struct image_build options = commands(site, "FROM base\nRUN a\nRUN b\n");
    options.force = true;
    build(site, &options, &job);
    assert_ok(take(job.error));
    assert_int_equal(site->runner.runs, 4);
    assert_string_not_equal(job.id, first);
    scoped_string char *again = built(site, "FROM base\nRUN a\nRUN b\n");
    assert_string_equal(again, job.id);
    assert_int_equal(site->runner.runs, 4);
    lab_job_done(&job);
    site_free(site);
}

static void test_a_failing_step_ends_the_build_and_is_no_layer(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct site *site = site_new();
    refused(site, "FROM base\nRUN fail\nRUN never\n",
            "[2/3] RUN fail: it exited with code 3; its last lines:\nit ran");
    assert_int_equal(site->runner.runs, 1);
    refused(site, "FROM base\nRUN fail\n", "code 3"); /* not from the cache */
    assert_int_equal(site->runner.runs, 2);
    assert_int_equal(image_usage(site->lab->store).unused_bytes, 0);
    site_free(site);
}

static void test_two_builds_share_what_is_under_way(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct site *site = site_new();
    struct lab_job jobs[3] = {{.lab = site->lab}, {.lab = site->lab}, {.lab = site->lab}};
    const struct image_build options = commands(site, "FROM base\nRUN hold\n"),
                             other = commands(site, "FROM base\nRUN hold\nENV A=1\n");
    image_build(site->lab->store, &options, &lab_events, &jobs[0]);
    struct image_job *leaves = image_build(site->lab->store, &options, &lab_events, &jobs[1]);
    image_build(site->lab->store, &other, &lab_events, &jobs[2]);
    lab_await_line(site->lab, &jobs[2], "RUN hold");
    image_job_cancel(leaves); /* the others still wait for it */
    assert_non_null(site->runner.held);
    let_go(&site->runner);
    lab_await(site->lab, &jobs[0]);
    lab_await(site->lab, &jobs[2]);
    assert_ok(take(jobs[0].error));
    assert_ok(take(jobs[2].error));
    assert_int_equal(site->runner.runs, 1);
    assert_false(jobs[1].done);
    assert_non_null(strstr(jobs[2].lines.data, "it ran"));
    for (size_t i = 0; i < COUNT(jobs); i++) lab_job_done(&jobs[i]);
    site_free(site);
}

static void test_the_last_one_to_leave_ends_the_step(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct site *site = site_new();
    struct lab_job job = {.lab = site->lab};
    const struct image_build options = commands(site, "FROM base\nRUN hold\n");
    struct image_job *leaves = image_build(site->lab->store, &options, &lab_events, &job);
    lab_await_line(site->lab, &job, "RUN hold");
    image_job_cancel(leaves);
    scoped_string char *id = built(site, "FROM base\nRUN other\n"); /* goes on as if nothing had been */
    assert_false(job.done);
    assert_null(site->runner.held);
    lab_job_done(&job);
    site_free(site);
}

static void test_mounts_of_a_step(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct site *site = site_new();
    put(site, "lock", "1"), put(site, "d/x", "X");
    static const char file[] = "FROM base\nRUN --mount=type=bind,source=lock,target=/in make\n";
    scoped_string char *first = built(site, file);
    assert_non_null(strstr(site->runner.mounts.data, "/in=1\n"));
    scoped_string char *same = built(site, file);
    assert_string_equal(first, same);
    assert_int_equal(site->runner.runs, 1);
    put(site, "lock", "2");
    scoped_string char *other = built(site, file);
    assert_string_not_equal(first, other);
    assert_non_null(strstr(site->runner.mounts.data, "/in=2\n"));
    scoped_string char *several =
        built(site, "FROM base AS tools\nCOPY d /tools\nFROM base\nWORKDIR /w\nRUN "
                    "--mount=source=d,target=sub,rw --mount=from=tools,src=/tools,dst=/t "
                    "--mount=type=tmpfs,target=/scratch --mount=type=cache,target=/cache make\n");
    static const char *const wanted[] = {"/w/sub/ rw\n/w/sub/x=X\n", "/t/ ro\n/t/x=X\n", "/scratch/ rw\n",
                                         "/cache/ rw\n"};
    for (size_t i = 0; i < COUNT(wanted); i++)
        if (!strstr(site->runner.mounts.data, wanted[i]))
            fail_msg("%s is not in %s", wanted[i], site->runner.mounts.data);
    scoped_string char *image =
        built(site, "FROM scratch\nRUN --mount=from=base,source=/etc/passwd,target=/p make\n");
    assert_non_null(strstr(site->runner.mounts.data, "/p=root:"));
    refused(site, "FROM base\nRUN --mount=source=nope,target=/x make\n", "there is no nope");
    refused(site, "FROM base\nRUN --mount=source=lock make\n", "target= is missing");
    struct stat at;
    assert_false(top_has(site, several, "script", &at));
    site_free(site);
}

/* ---- what is kept of the configuration ---- */

static void test_commands_entry_points_and_shells(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct site *site = site_new();
    scoped_string char *first =
        built(site, "FROM base\nENTRYPOINT [\"/e\", \"1\"]\nCMD a $B\nSTOPSIGNAL INT\nLABEL k=\"v w\"\n"
                    "EXPOSE 80 53/udp\nVOLUME /data\nHEALTHCHECK NONE\n");
    scoped_string char *name = mem_printf("sha256:%s", first);
    const struct image_config *config = &image_find(site->lab->store, name)->config;
    assert_string_equal(config->entrypoint[1], "1");
    assert_string_equal(config->cmd[2], "a $B");
    assert_string_equal(config->stop_signal, "INT");
    assert_string_equal(json_string_value(json_object_get(config->labels, "k")), "v w");
    assert_non_null(json_object_get(config->exposed, "80/tcp"));
    assert_non_null(json_object_get(config->exposed, "53/udp"));
    const struct image_pair base = {"mine", name};
    struct image_build options = commands(site, "FROM mine\nENTRYPOINT [\"/other\"]\n");
    options.bases = &base, options.base_count = 1;
    struct lab_job job;
    build(site, &options, &job);
    assert_ok(take(job.error));
    scoped_string char *second = mem_printf("sha256:%s", job.id);
    config = &image_find(site->lab->store, second)->config;
    assert_string_equal(config->entrypoint[0], "/other");
    assert_null(config->cmd); /* it was meant for the other entry point */
    lab_job_done(&job);
    site_free(site);
}

static void test_stages_that_nobody_needs_are_not_built(void **unused) {
    (void)unused;
    NEEDS_ROOT();
    struct site *site = site_new();
    put(site, "f", "content");
    scoped_string char *id =
        built(site, "FROM base AS one\nCOPY f /f\nFROM base AS two\nRUN never\nFROM one AS three\nRUN x\n"
                    "FROM scratch\nCOPY --from=three /f /lib/ol* /to/\nCOPY --from=0 /lib /lib\n");
    assert_int_equal(site->runner.runs, 1);
    scoped_string char *old = top_content(site, id, "lib/old");
    assert_string_equal(old, "old"); /* through the link that /lib is there */
    struct lab_job job;
    struct image_build options = commands(site, "FROM base AS one\nRUN a\nFROM base AS two\nRUN b\n");
    options.target = "one";
    build(site, &options, &job);
    assert_ok(take(job.error));
    assert_string_equal(site->runner.argv.data, "/bin/sh|-c|a");
    lab_job_done(&job);
    options.target = "nope";
    build(site, &options, &job);
    assert_error(take(job.error), ERROR_NOT_FOUND, "no stage 'nope'");
    lab_job_done(&job);
    site_free(site);
}

/* ---- COPY ---- */

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

/* ---- what is kept ---- */

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
        cmocka_unit_test(test_a_step_sees_what_the_dockerfile_says),
        cmocka_unit_test(test_forms_of_run),
        cmocka_unit_test(test_mounts_of_a_step),
        cmocka_unit_test(test_what_a_step_depends_on_decides_whether_it_runs_again),
        cmocka_unit_test(test_a_forced_build_runs_all_and_is_the_one_that_counts),
        cmocka_unit_test(test_a_failing_step_ends_the_build_and_is_no_layer),
        cmocka_unit_test(test_two_builds_share_what_is_under_way),
        cmocka_unit_test(test_the_last_one_to_leave_ends_the_step),
        cmocka_unit_test(test_commands_entry_points_and_shells),
        cmocka_unit_test(test_stages_that_nobody_needs_are_not_built),
        cmocka_unit_test(test_where_a_copy_goes),
        cmocka_unit_test(test_a_copy_keeps_what_is_there_as_it_is),
        cmocka_unit_test(test_links_of_a_context_lead_nowhere_else),
        cmocka_unit_test(test_the_content_of_a_copy_decides),
        cmocka_unit_test(test_dockerignore),
        cmocka_unit_test(test_add_unpacks_a_tar),
        cmocka_unit_test(test_a_context_of_files_by_hash),
        cmocka_unit_test(test_prune_leaves_what_names_keeps_and_containers_need),
        cmocka_unit_test(test_a_layer_that_the_caller_fills),
        cmocka_unit_test(test_what_a_kill_left_is_cleared_away),
        cmocka_unit_test(test_dockerfiles_that_cannot_be_built),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
