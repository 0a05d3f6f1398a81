/* Named directories; see volume.h. */
#include "volume.h"

#include <errno.h>
#include <sys/stat.h>

struct error *volume_check(const struct core_volume_mount *mount) {
    if (mount->volume[0] != '/') return core_name_check("volume", mount->volume);
    struct stat at;
    if (stat(mount->volume, &at) < 0)
        return error_errno(errno, "directory %s, to be mounted at %s", mount->volume, mount->path);
    return NULL;
}

struct error *volume_directory(const char *dir, const struct core_volume_mount *mount, char **ret_path) {
    TRY_PLAIN(volume_check(mount));
    if (mount->volume[0] == '/') {
        *ret_path = mem_string(mount->volume);
        return NULL;
    }
    scoped_string char *path = path_join(dir, mount->volume);
    TRY(dir_make(path, 0755), "volume %s", mount->volume);
    *ret_path = take(path);
    return NULL;
}
