/* schedule: functions that run by the clock; see schedule.c. */
#pragma once
#include "inside.h"

bool schedule_is_told(const Modal__Schedule *said);
/* Good: none is told. INVALID_ARGUMENT tells the column of a fault, or the time zone that is not there. */
must_check struct error *schedule_check(const Modal__Schedule *said);
/* Those of what is published now, in place of those before; of an app that is not deployed, none. */
void schedules_start(struct app *app);
void schedules_stop(struct app *app);
void schedule_free(struct schedule *schedule);
