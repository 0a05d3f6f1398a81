/* A tar as a directory of files: a layer with its whiteouts, or a plain archive. */
#pragma once
#include "base.h"

#include <stdatomic.h>

struct unpack_options {
    bool whiteouts;       /* `.wh.` names are OCI's and become overlay's; else they are names like others */
    uint64_t limit_bytes; /* of what is written; 0: none */
    const atomic_bool *cancelled; /* looked at between entries and pieces; NULL: never */
};
struct unpack_stats {
    uint64_t bytes; /* of the tar */
    uint64_t entries;
    uint64_t devices; /* left out: a container's /dev is its own */
};
/* For a worker. `directory` exists; nothing outside of it is touched, whatever the tar says. ret_sum: SHA-256
 * of the plain tar. */
must_check struct error *unpack_file(int fd, const char *directory, const struct unpack_options *options,
                                     struct unpack_stats *ret_stats, char ret_sum[SHA256_HEX_SIZE]);
/* Is it a tar (compressed or not) at all? Reads the start; the position of `fd` is moved. */
bool unpack_is_tar(int fd);
