/* The context's cells are zero without anybody writing zeros.
 *
 * libllama clears the buffer of a new context's cache with ggml_backend_buffer_clear, so all of it is written
 * to, and resident, before the first token: 28 kB a token of a model of 1.5 B, some hundred MB, and a fifth
 * of the time to ready. The memory comes fresh from the kernel, which has zeros for whoever touches a page.
 * Calls by one library of a function of another go through the program, so the function that is defined here
 * is the one that libllama calls; what it does not know how to do better goes on to the real one. */
#include "inside.h"

#include <dlfcn.h>
#include <include/ggml-backend.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* In bytes: below it a system call and the faults cost more than the zeros. */
#define WORTH_IT ((size_t)1 << 20)

typedef void clear_function(ggml_backend_buffer_t buffer, uint8_t value);

static void clear_for_real(ggml_backend_buffer_t buffer, uint8_t value) {
    void *found = dlsym(RTLD_NEXT, "ggml_backend_buffer_clear");
    if (!found) abort(); /* it is in the library that made the buffer */
    clear_function *real;
    memcpy(&real, &found, sizeof real); /* ISO C has no cast from an object to a function */
    real(buffer, value);
}

/* The buffers of the CPU's own type are memory of malloc's: private, and of no file. */
void ggml_backend_buffer_clear(ggml_backend_buffer_t buffer, uint8_t value) {
    size_t size = ggml_backend_buffer_get_size(buffer), page = (size_t)sysconf(_SC_PAGESIZE);
    bool plain = ggml_backend_buffer_get_type(buffer) == ggml_backend_cpu_buffer_type();
    if (!plain || value != 0 || size < WORTH_IT) {
        clear_for_real(buffer, value);
        return;
    }
    char *base = ggml_backend_buffer_get_base(buffer);
    size_t before = (page - (uintptr_t)base % page) % page, whole = (size - before) / page * page;
    memset(base, 0, before);
    memset(base + before + whole, 0, size - before - whole);
    if (madvise(base + before, whole, MADV_DONTNEED)) memset(base + before, 0, whole);
}
