/* The table of writes.
 *
 * Blobs use it directly; SQLite's Unix layer has a table of its own, in which the same functions are put
 * where it writes. */
#include "inside.h"

#include <stdio.h>

static const struct store_calls system_calls = {
    .write = write,
    .pwrite = pwrite,
    .fsync = fsync,
    .ftruncate = ftruncate,
    .rename = rename,
    .unlink = unlink,
    .renameat = renameat,
};
struct store_calls store_calls = {
    .write = write,
    .pwrite = pwrite,
    .fsync = fsync,
    .ftruncate = ftruncate,
    .rename = rename,
    .unlink = unlink,
    .renameat = renameat,
};

const struct store_calls *store_calls_now(void) {
    return &store_calls;
}

void store_calls_set(const struct store_calls *calls) {
    store_calls = calls ? *calls : system_calls;
    sqlite3_vfs *unix_layer = sqlite3_vfs_find(NULL);
    const struct {
        const char *name;
        sqlite3_syscall_ptr call;
    } table[] = {
        {"write", calls ? (sqlite3_syscall_ptr)calls->write : NULL},
        {"pwrite", calls ? (sqlite3_syscall_ptr)calls->pwrite : NULL},
        {"pwrite64", calls ? (sqlite3_syscall_ptr)calls->pwrite : NULL}, /* off_t has 64 bits here */
        {"ftruncate", calls ? (sqlite3_syscall_ptr)calls->ftruncate : NULL},
        {"unlink", calls ? (sqlite3_syscall_ptr)calls->unlink : NULL},
    };
    for (size_t i = 0; i < COUNT(table); i++)
        unix_layer->xSetSystemCall(unix_layer, table[i].name, table[i].call);
}
