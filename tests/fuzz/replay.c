/* Replays a corpus directory through a fuzz target, for compilers without libFuzzer: each file once, in no
 * order. */
#include "base.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static void replay(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) abort();
    size_t capacity = 1 << 20;
    uint8_t *data = malloc(capacity);
    size_t size_bytes = fread(data, 1, capacity, file);
    fclose(file);
    uint8_t *exact = malloc(size_bytes ? size_bytes : 1); /* so that a read past the end is seen */
    memcpy(exact, data, size_bytes);
    LLVMFuzzerTestOneInput(exact, size_bytes);
    free(exact);
    free(data);
}

int main(int argc, char **argv) {
    int replayed = 0;
    for (int i = 1; i < argc; i++) {
        DIR *directory = opendir(argv[i]);
        if (!directory) {
            replay(argv[i]);
            replayed++;
            continue;
        }
        for (struct dirent *entry; (entry = readdir(directory));) {
            if (entry->d_name[0] == '.') continue;
            char path[4096];
            snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
            replay(path);
            replayed++;
        }
        closedir(directory);
    }
    printf("%d inputs replayed\n", replayed);
    return replayed > 0 ? 0 : 1;
}
