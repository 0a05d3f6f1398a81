/* From what a function asks for to a directory to mount. */
#include "inside.h"

#include <errno.h>

static struct error *find(const struct volumes *volumes, const struct core_volume_mount *mount,
                          struct volume **ret_volume) {
    const char *name = mount->volume;
    *ret_volume = id_good(name) ? volume_by_id(volumes, name) : volume_find(volumes, VOLUME_MAIN, name);
    if (*ret_volume || !id_good(name)) return NULL;
    return error_new(ERROR_NOT_FOUND, "the volume %s, to be mounted at %s, is gone; deploy the app again",
                     name, mount->path);
}

struct error *volume_check(const struct volumes *volumes, const struct core_volume_mount *mount) {
    struct volume *volume;
    struct stat at;
    if (mount->volume[0] != '/') {
        TRY_PLAIN(core_name_check("volume", mount->volume));
        return find(volumes, mount, &volume);
    }
    if (stat(mount->volume, &at) < 0)
        return error_errno(errno, "directory %s, to be mounted at %s", mount->volume, mount->path);
    return NULL;
}

struct error *volume_directory(struct volumes *volumes, const struct core_volume_mount *mount,
                               char **ret_path) {
    TRY_PLAIN(volume_check(volumes, mount));
    if (mount->volume[0] == '/') {
        *ret_path = mem_string(mount->volume);
        return NULL;
    }
    struct volume *volume;
    TRY_PLAIN(find(volumes, mount, &volume));
    if (!volume) volume = volume_make(volumes, VOLUME_MAIN, mount->volume);
    if (!volume->durable && !volume->linked) {
        /* A container writes into it from now on: the link alone keeps it if we die before its record is
         * written. */
        volume->linked = true;
        struct error *error = dir_make(volume->live_path, 0755);
        if (error) {
            if (volume->ops == 0) volume_forget(volume);
            return error_wrap(error, "volume %s", mount->volume);
        }
        volume_link(volume);
        volume_record_soon(volume);
    }
    *ret_path = mem_string(volume->live_path);
    return NULL;
}
