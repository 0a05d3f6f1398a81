/* Devices beside the CPU: which of them libllama can compute on here.
 *
 * Its backends may be part of it, or libraries beside it that are loaded when asked for. */
#include "llama.h"

#include <dlfcn.h>
#include <include/ggml-backend.h>
#include <include/llama.h>
#include <stdlib.h>

struct known {
    const char *device, *backend, *library;
};

static const struct known known[] = {
    {"cuda", "CUDA", "libggml-cuda.so"},
    {"rocm", "ROCm", "libggml-hip.so"},
    {"metal", "Metal", "libggml-metal.so"},
    {"vulkan", "Vulkan", "libggml-vulkan.so"},
};

static bool is_of(size_t i, const char *backend) {
    ggml_backend_dev_t device = ggml_backend_dev_get(i);
    if (ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_CPU) return false;
    const char *name = ggml_backend_reg_name(ggml_backend_dev_backend_reg(device));
    return span_equal_nocase(span_of(name), span_of(backend));
}

static bool has(const char *backend) {
    for (size_t i = 0; i < ggml_backend_dev_count(); i++)
        if (is_of(i, backend)) return true;
    return false;
}

/* Where libllama lies: its backends lie beside it. */
static char *library_directory(void) {
    Dl_info info;
    if (!dladdr((void *)llama_backend_init, &info) || !info.dli_fname) return NULL; // NOLINT
    const char *slash = strrchr(info.dli_fname, '/');
    return slash ? mem_string_n(info.dli_fname, (size_t)(slash - info.dli_fname)) : NULL;
}

struct error *engine_device_check(const char *device) {
    if (strcmp(device, "cpu") == 0) return NULL;
    const struct known *wanted = NULL;
    for (size_t i = 0; i < COUNT(known); i++)
        if (strcmp(known[i].device, device) == 0) wanted = &known[i];
    if (!wanted) return error_new(ERROR_INVALID_ARGUMENT, "there is no device '%s'", device);
    if (has(wanted->backend)) return NULL;
    scoped_string char *directory = library_directory();
    scoped_string char *path = path_join(directory ? directory : "/usr/lib", wanted->library);
    if (!file_exists(path))
        return error_new(ERROR_UNIMPLEMENTED,
                         "this libllama was built without %s, and there is no %s beside it", wanted->backend,
                         path);
    if (!ggml_backend_load(path))
        return error_new(ERROR_UNIMPLEMENTED, "%s can't be loaded: is the driver of %s installed?", path,
                         wanted->backend);
    if (has(wanted->backend)) return NULL;
    return error_new(ERROR_UNIMPLEMENTED, "%s was loaded, but it sees no %s device", path, wanted->backend);
}

json_t *engine_device_names(const char *device) {
    json_t *names = json_array();
    for (size_t k = 0; k < COUNT(known); k++) {
        if (strcmp(known[k].device, device) != 0) continue;
        for (size_t i = 0; i < ggml_backend_dev_count(); i++)
            if (is_of(i, known[k].backend))
                json_array_append_new(names,
                                      json_string(ggml_backend_dev_description(ggml_backend_dev_get(i))));
    }
    return names;
}
