/* record: what the next daemon must know of a container.
 *
 * record.json in its box, written when the runtime has created it, whole or not at all; a box without one was
 * never a container. A process is told from a later one with its number by its start time. `state` in the
 * same box is catnap-init's. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "inside.h"

uint64_t process_start_ticks(int pid) {
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    scoped_text struct text text = {0};
    scoped(error) struct error *failed = file_read(path, 4096, &text);
    const char *after_name =
        failed ? NULL
               : strrchr(text.data ? text.data : "", ')'); /* the name may hold blanks and parentheses */
    if (!after_name) return 0;
    struct span rest = span_of(after_name + 2);
    uint64_t ticks = 0;
    for (int field = 3; field < 22; field++) (void)span_cut(&rest, ' ');
    (void)span_to_u64(span_cut(&rest, ' '), &ticks);
    return ticks;
}

struct error *record_write(const struct container *container) {
    scoped_string char *path = slot_file(container->slot, "record.json"),
                       *fresh = slot_file(container->slot, "record.new");
    const struct core_function *function = container->function;
    scoped_json json_t *json = json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:I, s:i, s:I, s:I, s:i, s:i, s:i, s:i, s:b, s:I}", "app", function->app,
        "function", function->name, "id", container->id, "slot", container->slot->name, "number",
        (json_int_t)container->number, "version", (json_int_t)container->version, "pid", container->pid,
        "start_ticks", (json_int_t)process_start_ticks(container->pid), "started_wall_ms",
        (json_int_t)container->started_wall_ms, "port", function->port, "doze_signal", function->doze_signal,
        "network", (int)container->network_index, "stop_signal", function->stop_signal, "runner",
        function->runner, "gpus", (json_int_t)container->gpus);
    scoped_string char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    FILE *file = text ? fopen(fresh, "we") : NULL;
    if (!file) return error_errno(errno, "write %s", fresh);
    bool written = fputs(text, file) >= 0;
    written = fclose(file) == 0 && written;
    if (!written || rename(fresh, path)) return error_errno(errno, "write %s", path);
    return NULL;
}

struct error *record_read(const char *box, struct record *ret_record) {
    scoped_string char *path = path_join(box, "record.json");
    scoped_text struct text text = {0};
    *ret_record = (struct record){0};
    TRY_PLAIN(file_read(path, 1 << 16, &text));
    json_error_t where;
    scoped_json json_t *json = json_loadb(text.data, text.size, 0, &where);
    const char *app, *function, *id, *slot;
    json_int_t number, version, ticks, started, gpus = 0;
    int pid, port, doze_signal, network, stop_signal = SIGTERM, runner = 0;
    if (!json ||
        json_unpack(json, "{s:s, s:s, s:s, s:s, s:I, s:I, s:i, s:I, s:I, s:i, s:i, s:i, s?i, s?b, s?I}",
                    "app", &app, "function", &function, "id", &id, "slot", &slot, "number", &number,
                    "version", &version, "pid", &pid, "start_ticks", &ticks, "started_wall_ms", &started,
                    "port", &port, "doze_signal", &doze_signal, "network", &network, "stop_signal",
                    &stop_signal, "runner", &runner, "gpus", &gpus))
        return error_new(ERROR_DATA_LOSS, "%s is no record of a container", path);
    *ret_record = (struct record){.app = mem_string(app),
                                  .function = mem_string(function),
                                  .id = mem_string(id),
                                  .slot = mem_string(slot),
                                  .number = (uint64_t)number,
                                  .version = (uint64_t)version,
                                  .pid = pid,
                                  .start_ticks = (uint64_t)ticks,
                                  .started_wall_ms = started,
                                  .port = (uint16_t)port,
                                  .doze_signal = doze_signal,
                                  .stop_signal = stop_signal,
                                  .runner = runner != 0,
                                  .gpus = (uint64_t)gpus,
                                  .network_index = (uint32_t)network};
    return NULL;
}

void record_done(struct record *record) {
    free(record->app), free(record->function), free(record->id), free(record->slot);
    *record = (struct record){0};
}

struct state state_read(const char *box) {
    struct state state = {.exit_code = -1};
    scoped_string char *path = path_join(box, "state");
    scoped_text struct text text = {0};
    scoped(error) struct error *failed = file_read(path, 4096, &text);
    struct span rest = text_span(&text);
    while (!failed && rest.data) {
        struct span line = span_cut(&rest, '\n'), word = span_cut(&line, ' '), code = span_cut(&line, ' ');
        int64_t exit_code, signal;
        if (span_is(word, "started")) state.started = true;
        if (span_is(word, "ready")) state.ready = true;
        if (!span_is(word, "exit") || !span_to_i64(code, &exit_code) || !span_to_i64(line, &signal)) continue;
        state.exited = true;
        state.exit_code = (int)exit_code;
        state.signal = (int)signal;
    }
    return state;
}
