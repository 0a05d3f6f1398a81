/* Giving the mapped weights' memory back: the light sleep of the model.
 *
 * The pages of the mapping are clean copies of the file, so dropping them loses nothing; they stay in the
 * page cache and come back by a minor fault each. The mapping is found by the file's device and inode,
 * because libllama made it and tells no address. */
#include "inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static uint64_t give_back_file(const char *path) {
    struct stat file;
    FILE *maps = fopen("/proc/self/maps", "re");
    uint64_t given = 0;
    char *line = NULL;
    size_t capacity = 0;
    while (maps && stat(path, &file) == 0 && getline(&line, &capacity, maps) > 0) {
        unsigned long from, to, inode;
        unsigned major_, minor_;
        char mode[5];
        if (sscanf(line, "%lx-%lx %4s %*x %x:%x %lu", &from, &to, mode, &major_, &minor_, &inode) != 6)
            continue;
        /* A writable mapping could hold changes of ours, and they would be lost. */
        if (inode != file.st_ino || mode[1] == 'w') continue;
        if (madvise((void *)from, to - from, MADV_DONTNEED) == 0)
            given += to - from; // NOLINT(performance-no-int-to-ptr)
    }
    free(line);
    if (maps) fclose(maps);
    return given;
}

uint64_t maps_give_back(const char *first) {
    uint64_t given = 0;
    for (uint32_t part = 1;; part++) {
        scoped_string char *path = gguf_part(first, part);
        if (!path) return given;
        given += give_back_file(path);
    }
}

uint64_t engine_give_back(struct engine *engine) {
    return maps_give_back(engine->path);
}
