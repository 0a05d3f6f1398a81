/* Work that several wait for: pulls, steps of builds.
 *
 * Who asks for what is under way joins it: he gets the lines that were said before, then the rest, then the
 * end. The last one to leave ends the work. Nobody is told anything from within a call: all telling is done
 * by `pump`, in the next round of the loop. */
#include "inside.h"

#include <stdlib.h>

void flight_init(struct flight *flight, struct image_store *store, char *taken_key,
                 void (*cancel)(struct flight *flight), void (*free_around)(struct flight *flight)) {
    flight->store = store;
    flight->key = taken_key;
    flight->cancel = cancel;
    flight->free = free_around;
    list_init(&flight->jobs);
    list_append(&store->flights, &flight->node);
    store->references++;
}

struct flight *flight_find(struct image_store *store, const char *key) {
    LIST_EACH(node, &store->flights) {
        struct flight *flight = CONTAINER_OF(node, struct flight, node);
        if (!flight->ended && flight->key && strcmp(flight->key, key) == 0) return flight;
    }
    return NULL;
}

bool flight_any_pull(const struct image_store *store) {
    LIST_EACH(node, &store->flights)
    if (CONTAINER_OF(node, struct flight, node)->pulls) return true;
    return false;
}

static void flight_free(struct flight *flight) {
    struct image_store *store = flight->store;
    LIST_EACH_SAFE(node, next, &flight->jobs) {
        list_remove(node);
        free(CONTAINER_OF(node, struct image_job, node));
    }
    list_remove(&flight->node);
    free(take(flight->key));
    error_free(take(flight->error));
    free(take(flight->result));
    words_free(take(flight->holds));
    text_done(&flight->said);
    flight->free(flight);
    flights_look(store);
    images_unref(store);
}

/* One thing that somebody has not heard yet; false: nothing. Callbacks may change the list. */
static bool tell_one(struct flight *flight) {
    uint64_t all = flight->dropped + flight->said.size;
    LIST_EACH(node, &flight->jobs) {
        struct image_job *job = CONTAINER_OF(node, struct image_job, node);
        if (job->told < flight->dropped) job->told = flight->dropped;
        if (job->told < all) {
            size_t at = (size_t)(job->told - flight->dropped);
            struct span rest = {flight->said.data + at, flight->said.size - at}, line = span_cut(&rest, '\n');
            job->told += line.size + 1;
            scoped_string char *copy = span_string(line); /* what is said meanwhile moves the text */
            if (job->line) job->line(job->owner, span_of(copy));
            return true;
        }
        if (!flight->ended) continue;
        list_remove(&job->node);
        void (*ended)(void *, struct error *, const char *) = job->ended;
        void *owner = job->owner;
        if (job->events.done) {
            ended = NULL;
            const struct image *image = NULL;
            const struct record *record =
                flight->result ? map_get(flight->store->records, span_of(flight->result)) : NULL;
            if (record) image = &record->image;
            void (*done)(void *, struct error *, const struct image *) = job->events.done;
            free(job);
            done(owner, error_copy(flight->error), image);
        } else {
            free(job);
        }
        if (ended) ended(owner, error_copy(flight->error), flight->result);
        return true;
    }
    return false;
}

static void pump(void *owner) {
    struct flight *flight = owner;
    while (!flight->store->closing && tell_one(flight)) {
    }
    flight->pump_due = false;
    if (flight->ended) flight_free(flight);
}

static void pump_due(struct flight *flight) {
    if (flight->pump_due) return;
    flight->pump_due = true;
    io_defer(flight->store->loop, pump, flight);
}

struct image_job *flight_join(struct flight *flight, void (*line)(void *owner, struct span text),
                              void (*ended)(void *owner, struct error *error, const char *result),
                              void *owner) {
    struct image_job *job = NEW(struct image_job);
    *job = (struct image_job){.flight = flight, .line = line, .ended = ended, .owner = owner};
    list_append(&flight->jobs, &job->node);
    pump_due(flight);
    return job;
}

struct image_job *flight_join_outside(struct flight *flight, const struct image_events *events, void *owner) {
    struct image_job *job = flight_join(flight, events->line, NULL, owner);
    job->events = *events;
    return job;
}

void flight_say_span(struct flight *flight, struct span line) {
    while (line.size > 0 && (line.data[line.size - 1] == '\n' || line.data[line.size - 1] == '\r'))
        line.size--;
    const char *newline = memchr(line.data ? line.data : "", '\n', line.size);
    if (newline) { /* several */
        struct span rest = line;
        while (rest.data) flight_say_span(flight, span_cut(&rest, '\n'));
        return;
    }
    text_add(&flight->said, line);
    text_add_char(&flight->said, '\n');
    if (flight->said.size > SAID_MAX) { /* seldom, then much at once */
        const char *middle = flight->said.data + flight->said.size - SAID_MAX / 2;
        const char *end = memchr(middle, '\n', SAID_MAX / 2);
        size_t size = (size_t)(end - flight->said.data) + 1;
        text_remove_front(&flight->said, size);
        flight->dropped += size;
    }
    pump_due(flight);
}

void flight_say(struct flight *flight, const char *format, ...) {
    va_list args;
    va_start(args, format);
    scoped_string char *line = mem_vprintf(format, args);
    va_end(args);
    flight_say_span(flight, span_of(line));
}

void flight_end(struct flight *flight, struct error *taken_error, char *taken_result) {
    if (flight->ended) abort();
    flight->ended = true;
    flight->error = taken_error;
    flight->result = taken_result;
    pump_due(flight);
}

void image_job_cancel(struct image_job *job) {
    if (!job) return;
    struct flight *flight = job->flight;
    list_remove(&job->node);
    free(job);
    if (!list_empty(&flight->jobs) || flight->ended) return;
    free(take(flight->key)); /* who asks from now on begins anew */
    flight->cancel(flight);
}

void flights_look(struct image_store *store) {
    LIST_EACH(node, &store->flights)
    if (!CONTAINER_OF(node, struct flight, node)->passive) return;
    void (*stopped)(void *owner) = store->stopped;
    store->stopped = NULL;
    if (stopped) stopped(store->stopped_owner);
}

void flights_drop(struct image_store *store) {
    LIST_EACH_SAFE(node, next, &store->flights) {
        struct flight *flight = CONTAINER_OF(node, struct flight, node);
        LIST_EACH_SAFE(job, next_job, &flight->jobs) {
            list_remove(job);
            free(CONTAINER_OF(job, struct image_job, node));
        }
        free(take(flight->key));
        if (!flight->ended) flight->cancel(flight);
    }
}
