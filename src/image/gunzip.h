/* gzip by ISA-L where it was built in: three times as fast as zlib. */
#pragma once
#include "base.h"

bool gunzip_built(void);
bool gunzip_is(int fd); /* a gzip file? The position stays where it is */
/* From the position of `fd` to its end, all members. `put` false: enough. */
must_check struct error *gunzip_all(int fd, bool (*put)(void *owner, const char *data, size_t size),
                                    void *owner);
