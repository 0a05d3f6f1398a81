/* Documents kept over an end of the process: the caches of the heads used last, a file each (kept.c: where).
 *
 * Written when the engine ends, read when the next one has told that it is loaded. A file names the model
 * (its size, time and samples of its content), the library and how both compute, and ends with a sum of all
 * of it: what does not fit, is cut or damaged is removed and computed anew.
 *
 *   magic, key, counts, tokens of the head and of the movable pieces, libllama's own state of one sequence,
 * sha256 of all that (hex) */
#include "inside.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX (2 * PARALLELISM_MAX + PARALLELISM_MAX)
#define WORTH_TOKENS 32 /* fewer are computed as quickly */
#define SAMPLES 64
#define SUM_SIZE (SHA256_HEX_SIZE - 1)

struct head {
    char magic[8];
    char key[SHA256_HEX_SIZE + 7];
    uint32_t tokens, movable, movable_head, movable_same;
};
static const char magic[8] = "catkept2";

static char *file_of(const char *directory, uint32_t number) {
    char name[32];
    snprintf(name, sizeof name, "%u.kv", number);
    return path_join(directory, name);
}

static void add_stat(struct sha256 *sum, const struct stat *file) {
    int64_t facts[] = {file->st_size, file->st_mtim.tv_sec, file->st_mtim.tv_nsec};
    sha256_add(sum, facts, sizeof facts);
}

static bool add_model_file(struct sha256 *sum, const char *path) {
    scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat file;
    if (fd < 0 || fstat(fd, &file) != 0) return false;
    add_stat(sum, &file);
    char sample[4096];
    for (off_t i = 0; i < SAMPLES; i++) {
        ssize_t size = pread(fd, sample, sizeof sample, file.st_size / SAMPLES * i);
        if (size < 0) return false;
        sha256_add(sum, sample, (size_t)size);
    }
    return true;
}

/* Of all that a cache depends on. False: it can't be told. */
static bool key_of(const struct engine *engine, char key[SHA256_HEX_SIZE]) {
    scoped(sha256) struct sha256 *sum = sha256_new();
    for (uint32_t part = 1;; part++) {
        scoped_string char *path = gguf_part(engine->path, part);
        if (!path) break;
        if (!add_model_file(sum, path)) return false;
    }
    Dl_info library;
    struct stat file;
    void *inside;
    int (*decode)(struct llama_context *, struct llama_batch) = llama_decode;
    memcpy(&inside, &decode, sizeof inside);
    if (!dladdr(inside, &library) || stat(library.dli_fname, &file) != 0) return false;
    add_stat(sum, &file);
    const char *machine = llama_print_system_info();
    sha256_add(sum, machine, strlen(machine));
    uint32_t facts[] = {LLAMA_STATE_SEQ_VERSION, engine->options.gpu_layers, engine->options.flash_attention,
                        engine->options.repack};
    sha256_add(sum, facts, sizeof facts);
    sha256_hex(sum, key);
    return true;
}

/* ---- saved ---- */

/* Returns how many bytes that took of the room. */
static uint64_t save_slot(struct engine *engine, const struct slot *slot, const char *key, uint32_t number,
                          uint64_t room) {
    struct head head = {.tokens = slot->held.count};
    if (!engine->shifted && !slot->job && slot->branch_head == slot->held.count &&
        slot->movable_at == slot->held.count) {
        head.movable = slot->movable.count;
        head.movable_head = slot->movable_head;
        head.movable_same = slot->movable_same;
    }
    llama_seq_id sequence = head.movable ? slot->branch : slot->trunk;
    llama_pos end = (llama_pos)(head.tokens + head.movable);
    llama_memory_seq_rm(llama_get_memory(engine->context), sequence, end, -1);
    size_t state = llama_state_seq_get_size(engine->context, sequence);
    size_t held = head.tokens * sizeof(llama_token), movable = head.movable * sizeof(llama_token),
           total = sizeof head + held + movable + state + SUM_SIZE;
    if (total > room) return 0;
    memcpy(head.magic, magic, sizeof magic);
    memcpy(head.key, key, SUM_SIZE);
    char *data = malloc(total);
    if (!data) return 0;
    memcpy(data, &head, sizeof head);
    memcpy(data + sizeof head, slot->held.data, held);
    if (movable) memcpy(data + sizeof head + held, slot->movable.data, movable);
    size_t at = sizeof head + held + movable;
    at += llama_state_seq_get_data(engine->context, (uint8_t *)data + at, state, sequence);
    char sum[SHA256_HEX_SIZE];
    sha256_of((struct span){data, at}, sum);
    memcpy(data + at, sum, SUM_SIZE);
    scoped_string char *directory = kept_directory(engine->keep, key), *path = file_of(directory, number);
    kept_make_room(engine->keep, directory, room - total);
    scoped(error) struct error *error = file_replace(path, (struct span){data, at + SUM_SIZE}, 0600);
    free(data);
    if (!error) return at + SUM_SIZE;
    scoped_string char *text = error_text(error);
    log_warn("copycat", "a document's cache is not kept: %s", text);
    return 0;
}

void keep_save(struct engine *engine) {
    char key[SHA256_HEX_SIZE];
    if (!engine->keep || !engine->context || !key_of(engine, key)) return;
    scoped_string char *directory = kept_directory(engine->keep, key);
    scoped(error) struct error *error = dir_make(directory, 0700);
    uint64_t room = engine->options.keep_bytes;
    uint32_t number = 0;
    bool *done = mem_array(engine->slot_count, sizeof *done);
    while (!error) { /* those used last first */
        struct slot *best = NULL;
        for (uint32_t i = 0; i < engine->slot_count; i++) {
            struct slot *slot = &engine->slots[i];
            if (done[i] || slot->held.count < WORTH_TOKENS) continue;
            if (!best || slot->used_us > best->used_us) best = slot;
        }
        if (!best) break;
        done[best - engine->slots] = true;
        uint64_t size = save_slot(engine, best, key, number, room);
        room -= size;
        number += size > 0;
    }
    free(done);
    for (; number < FILES_MAX; number++) {
        scoped_string char *path = file_of(directory, number);
        unlink(path);
    }
    rmdir(directory); /* where nothing is in it */
}

/* ---- restored ---- */

static bool restore(struct engine *engine, struct slot *slot, const char *key, struct span file) {
    struct head head;
    if (file.size < sizeof head + SUM_SIZE) return false;
    memcpy(&head, file.data, sizeof head);
    size_t rest = file.size - sizeof head - SUM_SIZE;
    if (memcmp(head.magic, magic, sizeof magic) != 0 || memcmp(head.key, key, SUM_SIZE) != 0) return false;
    uint32_t most = llama_n_ctx(engine->context);
    if (head.tokens == 0 || head.tokens >= most || head.movable >= most - head.tokens) return false;
    size_t tokens = (head.tokens + head.movable) * sizeof(llama_token);
    char sum[SHA256_HEX_SIZE];
    sha256_of((struct span){file.data, file.size - SUM_SIZE}, sum);
    if (tokens >= rest || memcmp(sum, file.data + file.size - SUM_SIZE, SUM_SIZE) != 0) return false;
    llama_seq_id sequence = head.movable ? slot->branch : slot->trunk;
    const uint8_t *state = (const uint8_t *)file.data + sizeof head + tokens;
    if (llama_state_seq_set_data(engine->context, state, rest - tokens, sequence) == 0) {
        slot_forget(engine, slot);
        return false;
    }
    llama_token *copy = mem_array(head.tokens + head.movable, sizeof *copy);
    memcpy(copy, file.data + sizeof head, tokens);
    tokens_add(&slot->held, copy, head.tokens);
    if (head.movable) {
        tokens_add(&slot->movable, copy + head.tokens, head.movable);
        slot->branch_head = slot->movable_at = head.tokens;
        slot->movable_head = head.movable_head;
        slot->movable_same = head.movable_same;
        llama_memory_seq_cp(llama_get_memory(engine->context), slot->branch, slot->trunk, 0,
                            (llama_pos)head.tokens);
    }
    free(copy);
    return true;
}

void keep_restore(struct engine *engine) {
    char key[SHA256_HEX_SIZE];
    if (!engine->keep || !file_exists(engine->keep) || !key_of(engine, key)) return;
    scoped_string char *directory = kept_directory(engine->keep, key);
    int64_t now_us = clock_monotonic_us();
    uint64_t documents = 0;
    for (uint32_t i = 0; i < engine->slot_count && !atomic_load(&engine->stopping); i++) {
        scoped_string char *path = file_of(directory, i);
        if (!file_exists(path)) continue;
        scoped_text struct text file = {0};
        scoped(error) struct error *error = file_read(path, engine->options.keep_bytes, &file);
        if (error || !restore(engine, &engine->slots[i], key, text_span(&file))) {
            log_info("copycat", "%s is of another model or library, or damaged: not used", path);
            unlink(path);
            continue;
        }
        engine->slots[i].used_us = now_us - i;
        documents++;
    }
    pthread_mutex_lock(&engine->mutex);
    engine->counters.restored = documents;
    pthread_mutex_unlock(&engine->mutex);
}
