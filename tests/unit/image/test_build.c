/* Builds: what a step is asked to do, what is taken from the cache, what of the configuration is kept. */
#include "site.h"

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
        assert_non_null(id);
        assert_string_equal(site->runner.argv.data, rows[i][1]);
    }
    scoped_string char *alone = built(site, "FROM base\nRUN --network=none x\n");
    assert_non_null(alone);
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
        assert_non_null(id);
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
    assert_non_null(id);
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
    assert_non_null(image);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_step_sees_what_the_dockerfile_says),
        cmocka_unit_test(test_forms_of_run),
        cmocka_unit_test(test_what_a_step_depends_on_decides_whether_it_runs_again),
        cmocka_unit_test(test_a_forced_build_runs_all_and_is_the_one_that_counts),
        cmocka_unit_test(test_a_failing_step_ends_the_build_and_is_no_layer),
        cmocka_unit_test(test_two_builds_share_what_is_under_way),
        cmocka_unit_test(test_the_last_one_to_leave_ends_the_step),
        cmocka_unit_test(test_mounts_of_a_step),
        cmocka_unit_test(test_commands_entry_points_and_shells),
        cmocka_unit_test(test_stages_that_nobody_needs_are_not_built),
    };
    return cmocka_run_group_tests_name("image build", tests, NULL, NULL);
}
