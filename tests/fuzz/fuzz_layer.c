/* Layers: any bytes unpacked into a directory, which alone is written to: what lies beside it stays as it
 * was. */
#include "unpack.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* Two levels below a directory of our own, so that a way out by ".." is seen. */
static char *place(void) {
    const char *tmp = getenv("TMPDIR");
    return mem_printf("%s/catnap-fuzz-%d", tmp ? tmp : "/dev/shm", (int)getpid());
}

static size_t count_in(const char *path) {
    size_t count = 0;
    DIR *directory = opendir(path);
    while (directory && readdir(directory)) count++;
    if (directory) closedir(directory);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes) {
    scoped_string char *outer = place(), *middle = path_join(outer, "a"), *root = path_join(middle, "b");
    struct unpack_options options = {.whiteouts = size_bytes % 2 == 0, .limit_bytes = 1 << 20};
    struct unpack_stats stats;
    char sum[SHA256_HEX_SIZE];
    scoped_fd int fd = memfd_create("layer", MFD_CLOEXEC);
    if (size_bytes > 1 << 16 || fd < 0 || write(fd, data, size_bytes) != (ssize_t)size_bytes ||
        lseek(fd, 0, SEEK_SET))
        return 0;
    error_free(dir_make(root, 0755));
    error_free(unpack_file(fd, root, &options, &stats, sum));
    if (count_in(outer) != 3 || count_in(middle) != 3) abort(); /* "." and ".." and ours */
    error_free(tree_remove(outer));
    return 0;
}
