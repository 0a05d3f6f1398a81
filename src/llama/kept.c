/* The directories of kept documents: one a model (and way to compute with it), all within one bound of bytes.
 *
 *   KEEP/16 digits of the model's key/0.kv, 1.kv, ...
 * Who comes back to a model finds what it had, unless others needed the room: then the files that were
 * written longest ago went first, whosever they were. */
#include "inside.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_DIGITS 16

char *kept_directory(const char *keep, const char *key) {
    char name[NAME_DIGITS + 1];
    snprintf(name, sizeof name, "%.*s", NAME_DIGITS, key);
    return path_join(keep, name);
}

static bool is_ours(const char *name) {
    return strspn(name, "0123456789abcdef") == NAME_DIGITS && name[NAME_DIGITS] == 0;
}

struct kept_file {
    char *path;
    struct timespec written;
    uint64_t size_bytes;
};
struct kept_files {
    struct kept_file *files;
    size_t count;
    uint64_t bytes;
};

static void add_files(struct kept_files *files, const char *directory) {
    DIR *open = opendir(directory);
    for (struct dirent *entry; open && (entry = readdir(open));) {
        scoped_string char *path = path_join(directory, entry->d_name);
        struct stat facts;
        if (lstat(path, &facts) != 0 || !S_ISREG(facts.st_mode)) continue;
        files->files = mem_grow(files->files, files->count + 1, sizeof *files->files);
        files->files[files->count++] =
            (struct kept_file){mem_string(path), facts.st_mtim, (uint64_t)facts.st_size};
        files->bytes += (uint64_t)facts.st_size;
    }
    if (open) closedir(open);
}

static int by_age(const void *a, const void *b) {
    const struct timespec *left = &((const struct kept_file *)a)->written,
                          *right = &((const struct kept_file *)b)->written;
    if (left->tv_sec != right->tv_sec) return left->tv_sec < right->tv_sec ? -1 : 1;
    return left->tv_nsec < right->tv_nsec ? -1 : left->tv_nsec > right->tv_nsec;
}

void kept_make_room(const char *keep, const char *own, uint64_t most_bytes) {
    struct kept_files files = {0};
    DIR *open = opendir(keep);
    for (struct dirent *entry; open && (entry = readdir(open));) {
        scoped_string char *path = path_join(keep, entry->d_name);
        size_t length = strlen(entry->d_name);
        if (is_ours(entry->d_name) && strcmp(path, own) != 0) add_files(&files, path);
        if (length > 3 && strcmp(entry->d_name + length - 3, ".kv") == 0) unlink(path); /* of an older one */
    }
    if (open) closedir(open);
    if (files.count > 0) qsort(files.files, files.count, sizeof *files.files, by_age);
    for (size_t i = 0; i < files.count; i++) {
        struct kept_file *file = &files.files[i];
        if (files.bytes > most_bytes && unlink(file->path) == 0) {
            files.bytes -= file->size_bytes;
            *strrchr(file->path, '/') = 0;
            rmdir(file->path); /* which works with the last one in it */
        }
        free(file->path);
    }
    free(files.files);
}
