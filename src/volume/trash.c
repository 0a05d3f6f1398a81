/* Trees of deleted volumes. A container that has one mounted keeps it: the tree is removed when no process of
 * this machine sees a mount of it any more. The kernel's own list is asked, so that containers of an earlier
 * daemon count too; it names a mount's directory as it is called now, in the trash. */
#include "inside.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#define MOUNTINFO_MAX (16 << 20)

struct emptying {
    struct volumes *volumes;
    struct io_work work;
    size_t left_count;
};

/* ---- on a worker ---- */

/* Adds what one process sees, unless another of its mount namespace was asked already. */
static void add_mounts(const char *pid, struct map *seen, struct text *mounts) {
    char space[64];
    scoped_string char *link = mem_printf("/proc/%s/ns/mnt", pid),
                       *path = mem_printf("/proc/%s/mountinfo", pid);
    ssize_t size = readlink(link, space, sizeof space);
    if (size <= 0 || map_put(seen, (struct span){space, (size_t)size}, seen)) return;
    error_free(file_read(path, MOUNTINFO_MAX, mounts)); /* it may have ended meanwhile */
}

static struct error *mounts_read(struct text *mounts) {
    scoped(map) struct map *seen = map_new();
    DIR *directory = opendir("/proc");
    if (!directory) return error_errno(errno, "read /proc");
    for (struct dirent *entry; (entry = readdir(directory));)
        if (isdigit((unsigned char)entry->d_name[0])) add_mounts(entry->d_name, seen, mounts);
    closedir(directory);
    text_add_char(mounts, '\n');
    return NULL;
}

static struct error *empty(struct emptying *emptying) {
    const char *trash = emptying->volumes->trash;
    scoped_text struct text mounts = {0};
    DIR *directory = opendir(trash);
    if (!directory) return error_errno(errno, "read %s", trash);
    struct error *error = NULL;
    for (struct dirent *entry; !error && (entry = readdir(directory));) {
        const char *name = entry->d_name;
        if (name[0] == '.') continue;
        if (mounts.size == 0) error = mounts_read(&mounts);
        if (error) break;
        if (strstr(mounts.data, name)) { /* a random name: it can be no other's */
            emptying->left_count++;
            continue;
        }
        scoped_string char *path = path_join(trash, name);
        error = tree_remove(path);
    }
    closedir(directory);
    return error;
}

static void on_empty(struct io_work *work) {
    work->error = empty(work->owner);
}

/* ---- on the loop ---- */

static void on_emptied(struct io_work *work) {
    struct emptying *emptying = work->owner;
    struct volumes *volumes = emptying->volumes;
    scoped(error) struct error *error = take(work->error);
    volumes->trash_works = false;
    volumes->trash_waits = error || emptying->left_count > 0;
    free(emptying);
    if (error) {
        scoped_string char *text = error_text(error);
        log_error("volume", "deleted volumes are not removed yet: %s", text);
    }
    if (!volumes->closed && volumes->trash_again) trash_empty(volumes);
    volumes_unref(volumes);
}

void trash_empty(struct volumes *volumes) {
    volumes->trash_again = volumes->trash_works;
    if (volumes->trash_works) return;
    volumes->trash_works = true;
    struct emptying *emptying = NEW(struct emptying);
    emptying->volumes = volumes_ref(volumes);
    emptying->work = (struct io_work){.work = on_empty, .done = on_emptied, .owner = emptying};
    io_work_start(volumes->loop, &emptying->work);
}

void volumes_unmounted(struct volumes *volumes) {
    if (volumes->trash_waits || volumes->trash_works) trash_empty(volumes);
}
