/* cgroup: the groups of a container: making, limiting, freezing, killing, removing.
 *
 * Knows the files of both versions. Traps: v1 has no cgroup.kill, and a process frozen by v1 dies of SIGKILL
 * only once thawed; a group that was just emptied can be busy for some milliseconds; memory.events and the
 * like tell at most every 10 ms, so nothing here waits for them. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "inside.h"

static const char *const names[CGROUP_CONTROLLERS] = {"memory", "cpu", "pids"};

static bool file_has_word(const char *path, const char *word) {
    scoped_text struct text text = {0};
    scoped(error) struct error *failed = file_read(path, 4096, &text);
    struct span rest = span_trim(text_span(&text));
    while (!failed && rest.data)
        if (span_is(span_cut(&rest, ' '), word)) return true;
    return false;
}

static uint64_t read_number(const char *directory, const char *file) {
    scoped_string char *path = mem_printf("%s/%s", directory, file);
    scoped_text struct text text = {0};
    scoped(error) struct error *failed = file_read(path, 4096, &text);
    uint64_t value = 0;
    if (!failed) (void)span_to_u64(span_trim(text_span(&text)), &value);
    return value;
}

/* "oom_kill 1" of a file of such lines. */
static uint64_t read_field(const char *directory, const char *file, const char *field) {
    scoped_string char *path = mem_printf("%s/%s", directory, file);
    scoped_text struct text text = {0};
    scoped(error) struct error *failed = file_read(path, 4096, &text);
    struct span rest = text_span(&text);
    uint64_t value = 0;
    while (!failed && rest.data) {
        struct span line = span_cut(&rest, '\n');
        if (span_is(span_cut(&line, ' '), field) && span_to_u64(line, &value)) return value;
    }
    return 0;
}

static must_check struct error *poke(const char *directory, const char *file, const char *value) {
    scoped_string char *path = mem_printf("%s/%s", directory, file);
    return file_poke(path, value);
}

static char *group_of(const char *base, const char *slot) {
    return base ? mem_printf("%s/%s", base, slot) : NULL;
}

void cgroup_host_done(struct cgroup_host *groups) {
    free(groups->unified), free(groups->freezer), free(groups->hide), free(groups->delegated);
    for (int c = 0; c < CGROUP_CONTROLLERS; c++) free(groups->controller[c]);
    for (size_t i = 0; i < CGROUP_V1_MAX; i++) free(groups->v1[i]);
    *groups = (struct cgroup_host){0};
}

static size_t unique(const char *wanted[CGROUP_DIRS_MAX], size_t count, const char *candidate) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(wanted[i], candidate) == 0) return count;
    wanted[count] = candidate;
    return count + 1;
}

static size_t bases(const struct cgroup_host *groups, const char *ret_bases[CGROUP_DIRS_MAX]) {
    size_t count = 0;
    if (groups->unified) count = unique(ret_bases, count, groups->unified);
    if (groups->freezer) count = unique(ret_bases, count, groups->freezer);
    for (int c = 0; c < CGROUP_CONTROLLERS; c++)
        if (groups->controller[c]) count = unique(ret_bases, count, groups->controller[c]);
    return count;
}

void cgroup_host_remove(const struct cgroup_host *groups) {
    const char *own[CGROUP_DIRS_MAX];
    for (size_t i = 0, count = bases(groups, own); i < count; i++) (void)rmdir(own[i]);
    for (size_t i = 0; groups->v1[i]; i++) (void)rmdir(groups->v1[i]);
}

size_t cgroup_dirs(const struct cgroup_host *groups, const char *slot, char *ret_dirs[CGROUP_DIRS_MAX]) {
    const char *own[CGROUP_DIRS_MAX];
    size_t count = bases(groups, own);
    for (size_t i = 0; i < count; i++) ret_dirs[i] = group_of(own[i], slot);
    return count;
}

struct error *cgroup_make(const struct cgroup_host *groups, const char *slot) {
    char *dirs[CGROUP_DIRS_MAX];
    struct error *failed = NULL;
    for (size_t i = 0, count = cgroup_dirs(groups, slot, dirs); i < count; i++) {
        if (!failed && mkdir(dirs[i], 0755) && errno != EEXIST)
            failed = error_errno(errno, "make the cgroup %s", dirs[i]);
        free(dirs[i]);
    }
    return failed;
}

static must_check struct error *limit(const struct cgroup_host *groups, const char *slot,
                                      enum cgroup_controller which, const char *file_v1, const char *file_v2,
                                      const char *value) {
    if (!groups->controller[which])
        return error_new(
            ERROR_FAILED_PRECONDITION,
            "this machine has no cgroup controller '%s' (catnap doctor); without it the limit cannot be kept",
            names[which]);
    scoped_string char *group = group_of(groups->controller[which], slot);
    return poke(group, groups->controller_v2[which] ? file_v2 : file_v1, value);
}

/* Swap is no way around the limit, but as much again may lie there, so that a dozing container can be put
 * into it whole. A kernel without accounting of swap lacks the file. */
static void limit_swap(const struct cgroup_host *groups, const char *slot, uint64_t memory_bytes) {
    const bool v2 = groups->controller_v2[CGROUP_MEMORY];
    char value[24];
    snprintf(value, sizeof value, "%llu", (unsigned long long)(v2 ? memory_bytes : 2 * memory_bytes));
    error_free(limit(groups, slot, CGROUP_MEMORY, "memory.memsw.limit_in_bytes", "memory.swap.max", value));
}

struct error *cgroup_limit(const struct cgroup_host *groups, const char *slot,
                           const struct core_function *function) {
    char value[64];
    if (function->memory_bytes) {
        snprintf(value, sizeof value, "%llu", (unsigned long long)function->memory_bytes);
        TRY(limit(groups, slot, CGROUP_MEMORY, "memory.limit_in_bytes", "memory.max", value), "memory");
        limit_swap(groups, slot, function->memory_bytes);
    }
    if (function->cpu_milli) {
        const bool v2 = groups->controller_v2[CGROUP_CPU];
        snprintf(value, sizeof value, v2 ? "%llu 100000" : "%llu",
                 (unsigned long long)function->cpu_milli * 100);
        TRY(limit(groups, slot, CGROUP_CPU, "cpu.cfs_quota_us", "cpu.max", value), "cpu");
    }
    /* A bound that nobody asked for is no reason to fail. */
    if (!groups->controller[CGROUP_PIDS] && !function->pids_max) return NULL;
    snprintf(value, sizeof value, "%u", function->pids_max ? function->pids_max : 4096);
    TRY(limit(groups, slot, CGROUP_PIDS, "pids.max", "pids.max", value), "pids");
    return NULL;
}

bool cgroup_can_freeze(const struct cgroup_host *groups) {
    return groups->unified || groups->freezer;
}

static char *freezer_of(const struct cgroup_host *groups, const char *slot) {
    return group_of(groups->unified ? groups->unified : groups->freezer, slot);
}

struct error *cgroup_freeze_check(const struct cgroup_host *groups) {
    if (cgroup_can_freeze(groups)) return NULL;
    return error_new(ERROR_FAILED_PRECONDITION,
                     "no cgroup was given to this user, and nothing else can freeze (catnap doctor)");
}

void cgroup_tell_lacks(const struct cgroup_host *groups) {
    scoped_text struct text lacks = {0};
    if (!cgroup_can_freeze(groups))
        text_add_string(&lacks, "apps do not doze (they go from awake to asleep)");
    for (int c = 0; c < CGROUP_CONTROLLERS; c++)
        if (!groups->controller[c]) text_printf(&lacks, "%sno limit on %s", lacks.size ? "; " : "", names[c]);
    if (lacks.size) log_warn("container", "%s: `catnap doctor` says why, and what to do", lacks.data);
}

struct error *cgroup_freeze(const struct cgroup_host *groups, const char *slot, bool freeze) {
    TRY_PLAIN(cgroup_freeze_check(groups));
    scoped_string char *group = freezer_of(groups, slot);
    if (groups->unified) return poke(group, "cgroup.freeze", freeze ? "1" : "0");
    return poke(group, "freezer.state", freeze ? "FROZEN" : "THAWED");
}

bool cgroup_frozen(const struct cgroup_host *groups, const char *slot) {
    if (!cgroup_can_freeze(groups)) return false;
    scoped_string char *group = freezer_of(groups, slot);
    if (groups->unified) return read_number(group, "cgroup.freeze") == 1;
    scoped_string char *path = path_join(group, "freezer.state");
    return !file_has_word(path, "THAWED");
}

static void kill_listed(const char *group) {
    scoped_string char *path = mem_printf("%s/cgroup.procs", group);
    scoped_text struct text text = {0};
    scoped(error) struct error *failed = file_read(path, 1 << 20, &text);
    struct span rest = text_span(&text);
    uint64_t pid;
    while (!failed && rest.data)
        if (span_to_u64(span_cut(&rest, '\n'), &pid) && pid > 1) (void)kill((pid_t)pid, SIGKILL);
}

void cgroup_kill(const struct cgroup_host *groups, const char *slot) {
    if (!cgroup_can_freeze(groups)) return; /* the end of its first process is the end of all */
    scoped_string char *group = freezer_of(groups, slot);
    scoped(error) struct error *failed = NULL;
    if (groups->unified) failed = poke(group, "cgroup.kill", "1");
    if (groups->unified && !failed) return;
    kill_listed(group);
    error_free(cgroup_freeze(groups, slot, false));
}

static bool remove_group(const char *group) {
    if (rmdir(group) == 0 || errno == ENOENT) return true;
    scoped_string char *of_the_runtime = mem_printf("%s/r", group);
    (void)rmdir(of_the_runtime);
    return rmdir(group) == 0 || errno == ENOENT;
}

static bool remove_patiently(const struct cgroup_host *groups, const char *slot, const char *group,
                             int64_t until_ms) {
    for (int64_t pause_us = 500; !remove_group(group); pause_us += pause_us < 50000 ? pause_us : 0) {
        if (clock_monotonic_ms() >= until_ms) return false;
        cgroup_kill(groups, slot);
        nanosleep(&(struct timespec){.tv_nsec = pause_us * 1000}, NULL);
    }
    return true;
}

bool cgroup_remove(const struct cgroup_host *groups, const char *slot, int64_t patience_ms) {
    char *dirs[CGROUP_DIRS_MAX];
    size_t count = cgroup_dirs(groups, slot, dirs);
    bool gone = true;
    int64_t until_ms = clock_monotonic_ms() + patience_ms;
    for (size_t i = 0; i < count; i++) {
        gone = remove_patiently(groups, slot, dirs[i], until_ms) && gone;
        free(dirs[i]);
    }
    for (size_t i = 0; groups->v1[i]; i++) {
        scoped_string char *group = group_of(groups->v1[i], slot);
        gone = remove_patiently(groups, slot, group, until_ms) && gone;
    }
    return gone;
}

uint64_t cgroup_memory_bytes(const struct cgroup_host *groups, const char *slot) {
    if (!groups->controller[CGROUP_MEMORY]) return 0;
    scoped_string char *group = group_of(groups->controller[CGROUP_MEMORY], slot);
    return read_number(group,
                       groups->controller_v2[CGROUP_MEMORY] ? "memory.current" : "memory.usage_in_bytes");
}

/* v1 counts where the victim was, and that may be the runtime's own group below ours. */
uint64_t cgroup_oom_kills(const struct cgroup_host *groups, const char *slot) {
    if (!groups->controller[CGROUP_MEMORY]) return 0;
    scoped_string char *group = group_of(groups->controller[CGROUP_MEMORY], slot);
    if (groups->controller_v2[CGROUP_MEMORY]) return read_field(group, "memory.events", "oom_kill");
    scoped_string char *of_the_runtime = mem_printf("%s/r", group);
    return read_field(group, "memory.oom_control", "oom_kill") +
           read_field(of_the_runtime, "memory.oom_control", "oom_kill");
}

char *cgroup_reclaim_file(const struct cgroup_host *groups, const char *slot, const char **ret_word) {
    const bool v2 = groups->controller_v2[CGROUP_MEMORY];
    scoped_string char *group = group_of(groups->controller[CGROUP_MEMORY], slot);
    scoped_string char *path =
        group ? mem_printf("%s/%s", group, v2 ? "memory.reclaim" : "memory.force_empty") : NULL;
    *ret_word = v2 ? "16M" : "0";
    return path && file_exists(path) ? take(path) : NULL;
}
