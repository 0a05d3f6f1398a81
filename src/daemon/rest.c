/* rest: a daemon at rest keeps only the memory that it needs to hear of the next request.
 *
 * What start-up and the last piece of work have touched of the program and its libraries is some megabytes of
 * pages that the page cache has anyway; let go, they come back from there in microseconds, and until then the
 * machine may use them. Only segments that can't be written to are let go: a page that was, by the dynamic
 * linker for example, is nowhere else. The program itself and what every request passes through stay: half a
 * millisecond of page faults would be more than a wake from doze costs. */
#include "daemon.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

static bool on_every_way(const char *object) {
    return !object[0] /* the program */ || strstr(object, "/libc.so") || strstr(object, "/libuv.so") ||
           strstr(object, "/ld-linux");
}

static int let_go(struct dl_phdr_info *object, size_t size_bytes, void *page_bytes) {
    const uintptr_t mask = *(const uintptr_t *)page_bytes - 1;
    (void)size_bytes;
    if (on_every_way(object->dlpi_name)) return 0;
    for (size_t i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || segment->p_flags & PF_W) continue;
        uintptr_t from = object->dlpi_addr + segment->p_vaddr, to = from + segment->p_filesz;
        from &= ~mask;
        to = (to + mask) & ~mask;
        (void)madvise((void *)from, to - from,
                      MADV_DONTNEED); /* of what is no file (vdso): refused, and good */
    }
    return 0;
}

void daemon_rest(void *unused) {
    uintptr_t page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    (void)unused;
    malloc_trim(0);
    (void)dl_iterate_phdr(let_go, &page_bytes);
}
