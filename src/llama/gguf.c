/* The head of a GGUF file, read before libllama gets it.
 *
 * libllama says "failed to load model" for a download cut short and for a page of HTML alike; this tells
 * which file, what is wrong with it and how much is missing. Only the head is read; all counts and sizes in
 * it are taken as hostile. */
#include "llama.h"

#include <errno.h>
#include <fcntl.h>
#include <include/ggml.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPES
};
static const uint8_t sizes[GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

struct reader {
    const char *at, *end;
    bool ended; /* something was to be read beyond the end */
};

static const char *skip(struct reader *reader, uint64_t bytes) {
    if (reader->ended || bytes > (uint64_t)(reader->end - reader->at)) {
        reader->ended = true;
        return NULL;
    }
    const char *at = reader->at;
    reader->at += bytes;
    return at;
}

static uint32_t read_u32(struct reader *reader) {
    uint32_t value = 0;
    const char *at = skip(reader, sizeof value);
    if (at) memcpy(&value, at, sizeof value);
    return value;
}

static uint64_t read_u64(struct reader *reader) {
    uint64_t value = 0;
    const char *at = skip(reader, sizeof value);
    if (at) memcpy(&value, at, sizeof value);
    return value;
}

static struct span read_string(struct reader *reader) {
    uint64_t size = read_u64(reader);
    const char *at = skip(reader, size);
    return (struct span){at, at ? (size_t)size : 0};
}

/* Arrays of arrays are allowed by the format, but nobody writes them. */
static struct error *skip_array(struct reader *reader) {
    uint32_t type = read_u32(reader);
    uint64_t count = read_u64(reader);
    if (reader->ended) return NULL;
    if (type == GGUF_STRING) {
        for (uint64_t i = 0; i < count && !reader->ended; i++) read_string(reader);
        return NULL;
    }
    if (type >= GGUF_TYPES || sizes[type] == 0)
        return error_new(ERROR_INVALID_ARGUMENT, "it has an array of the unknown type %u", type);
    if (count > UINT64_MAX / 8) reader->ended = true;
    skip(reader, count * sizes[type]);
    return NULL;
}

static void copy_fact(char *out, size_t size_bytes, struct span value) {
    size_t length = value.size < size_bytes - 1 ? value.size : size_bytes - 1;
    if (length) memcpy(out, value.data, length);
    out[length] = 0;
}

static struct error *read_pairs(struct reader *reader, uint64_t count, struct gguf_facts *facts,
                                uint64_t *alignment) {
    for (uint64_t i = 0; i < count && !reader->ended; i++) {
        struct span key = read_string(reader);
        uint32_t type = read_u32(reader);
        if (reader->ended) break;
        if (type == GGUF_STRING) {
            struct span value = read_string(reader);
            if (span_is(key, "general.architecture"))
                copy_fact(facts->architecture, sizeof facts->architecture, value);
            if (span_is(key, "general.name")) copy_fact(facts->name, sizeof facts->name, value);
        } else if (type == GGUF_ARRAY) {
            TRY_PLAIN(skip_array(reader));
        } else if (type == GGUF_U32 && span_is(key, "general.alignment")) {
            *alignment = read_u32(reader);
        } else if (type < GGUF_TYPES) {
            skip(reader, sizes[type]);
        } else {
            return error_new(ERROR_INVALID_ARGUMENT, "it has a value of the unknown type %u", type);
        }
    }
    return NULL;
}

/* 0 for a type that this libllama does not know: it will say so itself. */
static uint64_t tensor_bytes(uint32_t type, const uint64_t *dimensions, uint32_t count) {
    if (type >= GGML_TYPE_COUNT) return 0;
    uint64_t block = (uint64_t)ggml_blck_size((enum ggml_type)type),
             size = ggml_type_size((enum ggml_type)type);
    if (block == 0 || size == 0) return 0;
    uint64_t elements = 1;
    for (uint32_t i = 0; i < count; i++)
        if (__builtin_mul_overflow(elements, dimensions[i], &elements)) return UINT64_MAX;
    uint64_t bytes;
    return __builtin_mul_overflow(elements / block, size, &bytes) ? UINT64_MAX : bytes;
}

static struct error *read_tensors(struct reader *reader, uint64_t count, uint64_t *ret_data_bytes) {
    *ret_data_bytes = 0;
    for (uint64_t i = 0; i < count && !reader->ended; i++) {
        read_string(reader);
        uint32_t dimension_count = read_u32(reader);
        if (dimension_count > 4)
            return error_new(ERROR_INVALID_ARGUMENT, "a tensor in it has %u dimensions", dimension_count);
        uint64_t dimensions[4] = {0};
        for (uint32_t d = 0; d < dimension_count; d++) dimensions[d] = read_u64(reader);
        uint32_t type = read_u32(reader);
        uint64_t offset = read_u64(reader), end;
        if (reader->ended) break;
        if (__builtin_add_overflow(offset, tensor_bytes(type, dimensions, dimension_count), &end))
            return error_new(ERROR_INVALID_ARGUMENT, "a tensor in it has an impossible size");
        if (end > *ret_data_bytes) *ret_data_bytes = end;
    }
    return NULL;
}

struct error *gguf_check(struct span head, uint64_t file_bytes, struct gguf_facts *ret_facts) {
    *ret_facts = (struct gguf_facts){0};
    struct reader reader = {.at = head.data, .end = head.data + head.size};
    const char *magic = skip(&reader, 4);
    if (!magic || memcmp(magic, "GGUF", 4) != 0)
        return error_new(ERROR_INVALID_ARGUMENT, "it is no GGUF file (its first bytes are not \"GGUF\")");
    uint32_t version = read_u32(&reader);
    uint64_t tensors = read_u64(&reader), pairs = read_u64(&reader);
    if (!reader.ended && (version < 2 || version > 3))
        return error_new(ERROR_INVALID_ARGUMENT, "it is GGUF of version %u; 2 and 3 can be read", version);
    uint64_t alignment = 32, data_bytes = 0;
    TRY_PLAIN(read_pairs(&reader, pairs, ret_facts, &alignment));
    TRY_PLAIN(read_tensors(&reader, tensors, &data_bytes));
    if (reader.ended)
        return error_new(ERROR_DATA_LOSS,
                         "it is cut short: its %llu bytes do not even hold its own table of contents",
                         (unsigned long long)file_bytes);
    if (alignment == 0 || alignment > 1 << 20 || (alignment & (alignment - 1)))
        return error_new(ERROR_INVALID_ARGUMENT, "its alignment of %llu is impossible",
                         (unsigned long long)alignment);
    uint64_t begin = ((uint64_t)(reader.at - head.data) + alignment - 1) & ~(alignment - 1);
    if (__builtin_add_overflow(begin, data_bytes, &ret_facts->needed_bytes))
        return error_new(ERROR_INVALID_ARGUMENT, "its tensors have an impossible size");
    ret_facts->tensors = tensors;
    if (ret_facts->needed_bytes > file_bytes)
        return error_new(ERROR_DATA_LOSS, "it is cut short: %llu of %llu bytes are there",
                         (unsigned long long)file_bytes, (unsigned long long)ret_facts->needed_bytes);
    return NULL;
}

struct error *gguf_check_file(const char *path, struct gguf_facts *ret_facts) {
    scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat stat;
    if (fd < 0 || fstat(fd, &stat) != 0) return error_errno(errno, "model file %s", path);
    if (!S_ISREG(stat.st_mode))
        return error_new(ERROR_INVALID_ARGUMENT, "model file %s: it is not a file", path);
    if (stat.st_size == 0)
        return error_new(ERROR_DATA_LOSS, "model file %s: it is empty; remove it and download it again",
                         path);
    void *head = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (head == MAP_FAILED) return error_errno(errno, "map the model file %s", path);
    struct error *error =
        gguf_check((struct span){head, (size_t)stat.st_size}, (uint64_t)stat.st_size, ret_facts);
    munmap(head, (size_t)stat.st_size);
    if (!error) return NULL;
    const char *advice =
        error->code == ERROR_DATA_LOSS ? "remove it and download it again" : "name another model";
    return error_wrap(error, "model file %s can't be used (%s)", path, advice);
}
