/* gzip, streamed. A file may be several members one after the other (pigz and estargz write such); zeros
 * behind the last are padding. Each member's checksum is verified. */
#include "gunzip.h"

#include <errno.h>
#include <stdlib.h>

bool gunzip_is(int fd) {
    unsigned char magic[2];
    return pread(fd, magic, sizeof magic, 0) == sizeof magic && magic[0] == 0x1f && magic[1] == 0x8b;
}

#ifdef HAVE_ISAL
#include <isa-l/igzip_lib.h>

enum { IN_BYTES = 256 * 1024, OUT_BYTES = 512 * 1024 };

bool gunzip_built(void) {
    return true;
}

struct gunzip {
    struct inflate_state state;
    bool between; /* members: nothing of the next was read yet */
    uint8_t in[IN_BYTES], out[OUT_BYTES];
};

static struct error *fill(struct gunzip *gunzip, int fd, bool *ret_end) {
    ssize_t got;
    do got = read(fd, gunzip->in, IN_BYTES);
    while (got < 0 && errno == EINTR);
    if (got < 0) return error_errno(errno, "read it");
    gunzip->state.next_in = gunzip->in;
    gunzip->state.avail_in = (uint32_t)got;
    *ret_end = got == 0;
    return NULL;
}

static void skip_zeros(struct inflate_state *state) {
    while (state->avail_in > 0 && *state->next_in == 0) state->next_in++, state->avail_in--;
}

static struct error *members(struct gunzip *gunzip, int fd,
                             bool (*put)(void *owner, const char *data, size_t size), void *owner) {
    struct inflate_state *state = &gunzip->state;
    for (bool end = false;;) {
        if (state->avail_in == 0 && !end) TRY_PLAIN(fill(gunzip, fd, &end));
        if (gunzip->between) {
            skip_zeros(state);
            if (state->avail_in == 0 && end) return NULL;
            if (state->avail_in == 0) continue;
            gunzip->between = false;
        }
        state->next_out = gunzip->out;
        state->avail_out = OUT_BYTES;
        int result = isal_inflate(state);
        size_t made = OUT_BYTES - state->avail_out;
        if (result != ISAL_DECOMP_OK)
            return error_new(ERROR_DATA_LOSS, "it can't be decompressed: broken gzip (%d)", result);
        if (made > 0 && !put(owner, (const char *)gunzip->out, made)) return NULL;
        if (state->block_state == ISAL_BLOCK_FINISH) {
            isal_inflate_reset(state);
            gunzip->between = true;
        } else if (end && made == 0) {
            return error_new(ERROR_DATA_LOSS, "it can't be decompressed: the file was cut off");
        }
    }
}

struct error *gunzip_all(int fd, bool (*put)(void *owner, const char *data, size_t size), void *owner) {
    struct gunzip *gunzip = NEW(struct gunzip);
    isal_inflate_init(&gunzip->state);
    gunzip->state.crc_flag = ISAL_GZIP;
    struct error *error = members(gunzip, fd, put, owner);
    free(gunzip);
    return error;
}

#else
bool gunzip_built(void) {
    return false;
}

struct error *gunzip_all(int fd, bool (*put)(void *owner, const char *data, size_t size), void *owner) {
    (void)fd, (void)put, (void)owner;
    return error_new(ERROR_UNIMPLEMENTED, "ISA-L is not built in");
}
#endif
