/* The file of profiles: where it is, whose it is, and how it is replaced without being lost. */
#include "config_file.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>

#define FILE_BYTES_MAX (1024 * 1024)

void config_file_done(struct config_file *file) {
    free(file->path), free(file->real);
    text_done(&file->text);
}

static const struct passwd *who_typed_it(void) {
    const char *name = getenv("SUDO_USER"), *home = getenv("HOME");
    const struct passwd *root = geteuid() == 0 && name && *name ? getpwuid(0) : NULL;
    if (!root || !home || strcmp(home, root->pw_dir) != 0)
        return NULL; /* `sudo -E`, HOME=...: that is the answer */
    const struct passwd *entry = getpwnam(name);
    return entry && entry->pw_uid != 0 ? entry : NULL;
}

struct error *config_file_read(struct config_file *file) {
    const char *told = getenv("MODAL_CONFIG_PATH"), *home = getenv("HOME");
    const struct passwd *entry = who_typed_it();
    struct stat status;
    *file = (struct config_file){0};
    if (told && *told)
        file->path = mem_string(told);
    else if (entry)
        file->path = path_join(entry->pw_dir, ".modal.toml");
    else if (home && *home)
        file->path = path_join(home, ".modal.toml");
    else
        return error_new(ERROR_FAILED_PRECONDITION,
                         "HOME is not set; MODAL_CONFIG_PATH can name the client's file");
    file->real = realpath(file->path, NULL);
    if (!file->real && errno != ENOENT) return error_errno(errno, "%s", file->path);
    if (file->real && stat(file->real, &status) == 0) {
        file->owner_known = true;
        file->uid = status.st_uid, file->gid = status.st_gid;
    } else if (entry && !(told && *told)) {
        file->owner_known = true;
        file->uid = entry->pw_uid, file->gid = entry->pw_gid;
    }
    if (!file->real) {
        file->real = mem_string(file->path);
        return NULL;
    }
    return file_read(file->real, FILE_BYTES_MAX, &file->text);
}

struct error *config_file_write(const struct config_file *file, struct span content) {
    if (content.size == 0) /* as before the first login */
        return unlink(file->real) == 0 || errno == ENOENT ? NULL
                                                          : error_errno(errno, "remove %s", file->real);
    TRY_PLAIN(file_replace(file->real, content, 0600));
    if (geteuid() == 0 && file->owner_known && file->uid != 0 && chown(file->real, file->uid, file->gid) != 0)
        return error_errno(errno, "give %s to its owner", file->real);
    return NULL;
}
