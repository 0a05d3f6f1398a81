/* schedule: functions that run by the clock, awake or asleep: a run is an input without arguments, which
 * wakes its function as any other does.
 *
 * Only what is deployed runs. A period counts from its deploy. What was due while the daemon was down is
 * skipped; when things are due, and what a clock that was set means, is decided by the room of cron. */
#include "schedule.h"
#include "inside.h"

#include "cron.h"

#include <stdlib.h>

#define ZONES_DIR "/usr/share/zoneinfo" /* of the system's tzdata */
#define ZONE_BYTES_MAX (1 << 20)
#define WAITING_MAX 10 /* inputs that wait already: another run would only make the heap higher */

struct schedule {
    struct function *function;
    struct cron_rule rule;
    struct cron_zone *zone; /* NULL: a period */
    struct cron_beat beat;
    struct io_alarm *alarm;
};

/* ---- what a client said ---- */

static struct error *zone_of(const char *name, struct cron_zone **ret) {
    if (!name || !*name || strcmp(name, "UTC") == 0) {
        *ret = cron_zone_utc();
        return NULL;
    }
    if (!cron_zone_name_good(name))
        return error_new(ERROR_INVALID_ARGUMENT, "'%s' is no name of a time zone", name);
    scoped_string char *path = path_join(ZONES_DIR, name);
    scoped_text struct text bytes = {0};
    TRY(file_read(path, ZONE_BYTES_MAX, &bytes), "the time zone '%s' (they come with the package tzdata)",
        name);
    TRY(cron_zone_parse(text_span(&bytes), ret), "the time zone '%s'", name);
    return NULL;
}

static struct error *rule_of(const Modal__Schedule *said, struct cron_rule *ret_rule,
                             struct cron_zone **ret_zone) {
    *ret_rule = (struct cron_rule){.is_table = said->cron != NULL};
    if (said->cron) {
        const char *text = said->cron->cron_string ? said->cron->cron_string : "";
        TRY(cron_table_parse(span_of(text), &ret_rule->table), "Cron(\"%s\")", text);
        TRY_PLAIN(zone_of(said->cron->timezone, ret_zone));
        ret_rule->zone = *ret_zone;
        return NULL;
    }
    const Modal__SchedulePeriod *period = said->period;
    const struct cron_span span = {period->years, period->months,  period->weeks,  period->days,
                                   period->hours, period->minutes, period->seconds};
    TRY(cron_period_of(&span, &ret_rule->period), "Period");
    return NULL;
}

bool schedule_is_told(const Modal__Schedule *said) {
    return said && (said->cron || said->period);
}

struct error *schedule_check(const Modal__Schedule *said) {
    struct cron_rule rule;
    scoped(cron_zone) struct cron_zone *zone = NULL;
    return schedule_is_told(said) ? rule_of(said, &rule, &zone) : NULL;
}

/* ---- runs ---- */

static void on_done(void *owner, const struct input *input) {
    (void)owner;
    struct call *call = input->call;
    enum {
        SUCCESS = MODAL__GENERIC_RESULT_GENERIC_STATUS__GenericResultGenericStatus_GENERIC_STATUS_SUCCESS
    };
    if (input->status != SUCCESS)
        log_warn("modal", "the scheduled run %s of %s failed", call->id, call->function->name);
    call_free(call);
}

static void run(struct schedule *schedule) {
    static const char arguments[] = "\x80\x03)}\x86."; /* ((), {}), pickled */
    struct function *function = schedule->function;
    if (function->queued >= WAITING_MAX) {
        log_warn("modal", "a scheduled run of %s is skipped: %zu inputs wait for it already", function->name,
                 function->queued);
        return;
    }
    Modal__FunctionInput input = MODAL__FUNCTION_INPUT__INIT;
    input.has_args = true;
    input.args.data = (uint8_t *)arguments;
    input.args.len = sizeof arguments - 1;
    input.has_data_format = true;
    input.data_format = MODAL__DATA_FORMAT__DATA_FORMAT_PICKLE;
    scoped_text struct text bytes = message_pack(&input);
    struct call *call =
        call_new(function->app->modal, function, MODAL__FUNCTION_CALL_TYPE__FUNCTION_CALL_TYPE_UNARY);
    call->on_done = on_done;
    call->scheduled = true;
    input_enqueue(call_add(call, 0, text_span(&bytes)));
}

/* ---- the clock ---- */

static void next_run_tell(const struct function *function, int64_t wall_ms) {
    struct pool_function *there =
        pool_function_find(function->app->modal->pool, function->core_app, function->core_name);
    if (there) pool_function_next_run_set(there, wall_ms);
}

static void await_next(struct schedule *schedule) {
    bool never = schedule->beat.next_ms == CRON_NEVER;
    next_run_tell(schedule->function, never ? 0 : schedule->beat.next_ms);
    if (never)
        io_alarm_stop(schedule->alarm);
    else
        io_alarm_set(schedule->alarm, schedule->beat.next_ms);
}

static void on_alarm(void *owner) {
    struct schedule *schedule = owner;
    const char *name = schedule->function->name;
    struct cron_step step = cron_beat_step(&schedule->beat, &schedule->rule, clock_wall_ms());
    if (step.clock_reset) log_warn("modal", "the clock was set back: the schedule of %s begins anew", name);
    if (step.missed > 0) log_warn("modal", "%u scheduled runs of %s were missed", step.missed, name);
    await_next(schedule);
    if (step.run) run(schedule);
}

void schedule_free(struct schedule *schedule) {
    if (!schedule) return;
    io_alarm_free(schedule->alarm);
    cron_zone_free(schedule->zone);
    free(schedule);
}

static struct error *begin(struct function *function) {
    struct schedule *schedule = NEW(struct schedule);
    schedule->function = function;
    struct error *error = rule_of(function->published->function->schedule, &schedule->rule, &schedule->zone);
    if (!error) error = io_alarm_new(function->app->modal->loop, on_alarm, schedule, &schedule->alarm);
    if (error) {
        schedule_free(schedule);
        return error;
    }
    int64_t now_ms = clock_wall_ms();
    schedule->rule.from_ms = (int64_t)(function->app->deployed_at * 1000);
    (void)cron_beat_begin(&schedule->beat, &schedule->rule, now_ms, now_ms);
    function->schedule = schedule;
    await_next(schedule);
    return NULL;
}

void schedules_stop(struct app *app) {
    void *value;
    for (size_t i = 0; map_next(app->functions, &i, NULL, &value);) {
        struct function *function = value;
        if (!function->schedule) continue;
        schedule_free(take(function->schedule));
        next_run_tell(function, 0);
    }
}

void schedules_start(struct app *app) {
    schedules_stop(app);
    if (app->state != MODAL__APP_STATE__APP_STATE_DEPLOYED) return;
    void *value;
    for (size_t i = 0; map_next(app->layout, &i, NULL, &value);) {
        struct function *function = value;
        if (!function->published || !schedule_is_told(function->published->function->schedule)) continue;
        scoped(error) struct error *error = begin(function);
        if (!error) continue;
        scoped_string char *text = error_text(error);
        log_error("modal", "%s does not run by its schedule: %s", function->name, text);
    }
}
