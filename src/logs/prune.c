/* prune: which logs of ended containers are forgotten, and when an empty directory goes.
 *
 * Of a function the newest stay, up to so many and so many bytes; what nobody wrote to for long goes too, and
 * with it, at last, what is left of apps that are gone. A living container's log is never touched. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "inside.h"

enum { LOOKED_AT_MAX = 4096 };

struct old {
    char *container;
    int64_t changed_s;
    uint64_t bytes;
};

static int newest_first(const void *a, const void *b) {
    int64_t x = ((const struct old *)a)->changed_s, y = ((const struct old *)b)->changed_s;
    return x < y ? 1 : x > y ? -1 : 0;
}

static char *part_name(const char *container, int part) {
    return part ? mem_printf("%s.log.%d", container, part) : mem_printf("%s.log", container);
}

static uint64_t bytes_of(int directory, const char *container) {
    uint64_t bytes = 0;
    for (int part = 0; part <= LOGS_PARTS; part++) {
        struct stat status;
        scoped_string char *name = part_name(container, part);
        if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0) bytes += (uint64_t)status.st_size;
    }
    return bytes;
}

static void forget(int directory, const char *container) {
    for (int part = 0; part <= LOGS_PARTS; part++) {
        scoped_string char *name = part_name(container, part);
        (void)unlinkat(directory, name, 0);
    }
}

static size_t find(DIR *directory, struct old *all) {
    size_t count = 0;
    for (struct dirent *entry; count < LOOKED_AT_MAX && (entry = readdir(directory));) {
        struct span name = span_of(entry->d_name);
        struct stat status;
        if (!span_ends(name, ".log") || fstatat(dirfd(directory), entry->d_name, &status, 0)) continue;
        char *container = mem_string_n(name.data, name.size - strlen(".log"));
        all[count++] = (struct old){container, status.st_mtime, bytes_of(dirfd(directory), container)};
    }
    return count;
}

void logs_prune(const struct logs_keeping *keeping, const char *app, const char *function) {
    scoped_string char *path = mem_printf("%s/%s/%s", keeping->dir, app, function);
    DIR *directory = opendir(path);
    if (!directory) return;
    struct old *all = mem_array(LOOKED_AT_MAX, sizeof *all);
    size_t count = find(directory, all);
    qsort(all, count, sizeof *all, newest_first);
    uint64_t bytes = 0;
    int64_t oldest_s = time(NULL) - keeping->age_s;
    for (size_t i = 0; i < count; i++) {
        bytes += all[i].bytes;
        bool much = i >= keeping->count || (i > 0 && bytes > keeping->bytes);
        bool lives = keeping->living && map_get(keeping->living, span_of(all[i].container));
        if ((much || all[i].changed_s < oldest_s) && !lives) forget(dirfd(directory), all[i].container);
        free(all[i].container);
    }
    free(all);
    closedir(directory);
}

/* Names in a directory that are directories; owned, ended by NULL. */
static char **folders_of(const char *path) {
    char **names = mem_array(1, sizeof *names);
    size_t count = 0;
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        struct stat status;
        if (entry->d_name[0] == '.' ||
            fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) ||
            !S_ISDIR(status.st_mode))
            continue;
        names = mem_grow(names, count + 2, sizeof *names);
        names[count++] = mem_string(entry->d_name);
        names[count] = NULL;
    }
    if (directory) closedir(directory);
    return names;
}

/* Only one that was left alone for as long: a container that starts just now has its log there next. */
static void remove_if_unused(const struct logs_keeping *keeping, const char *path,
                             const struct stat *before) {
    if (before->st_mtime < time(NULL) - keeping->age_s) (void)rmdir(path);
}

void logs_prune_all(const struct logs_keeping *keeping) {
    char **apps = folders_of(keeping->dir);
    for (char **app = apps; *app; app++) {
        scoped_string char *path = path_join(keeping->dir, *app);
        struct stat app_before = {0};
        (void)stat(path, &app_before);
        char **functions = folders_of(path);
        for (char **function = functions; *function; function++) {
            scoped_string char *inner = path_join(path, *function);
            struct stat before = {0};
            if (stat(inner, &before) == 0) {
                logs_prune(keeping, *app, *function);
                remove_if_unused(keeping, inner, &before);
            }
            free(*function);
        }
        free(functions);
        if (app_before.st_mtime) remove_if_unused(keeping, path, &app_before);
        free(*app);
    }
    free(apps);
}
