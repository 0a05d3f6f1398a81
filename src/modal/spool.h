/* spool: bytes that wait on the disk, and no longer than the daemon lives: a file without a name. */
#pragma once
#include "base.h"

struct spool;
must_check struct error *spool_new(const char *directory, struct spool **ret_spool);
void spool_free(struct spool *spool);
must_check struct error *spool_add(struct spool *spool, struct span bytes, uint64_t *ret_offset);
/* Added to `ret`. */
must_check struct error *spool_get(const struct spool *spool, uint64_t offset, size_t size, struct text *ret);
void spool_drop(struct spool *spool, uint64_t offset, size_t size); /* its room is given back */
