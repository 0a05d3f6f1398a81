/* The small things: names of states and reasons, the actions of a step, times that may be never. */
#include "inside.h"

const char *nap_reason_text(enum nap_reason reason) {
    switch (reason) {
    case NAP_REASON_NONE: return "no reason";
    case NAP_REASON_QUEUE_FULL: return "too many requests wait already";
    case NAP_REASON_START_FAILED: return "the container could not be started";
    case NAP_REASON_START_TIMEOUT: return "the container did not become ready in time";
    case NAP_REASON_BACKOFF: return "the last start failed a moment ago";
    case NAP_REASON_WAITED_TOO_LONG: return "no container was free in time";
    case NAP_REASON_REMOVED: return "the app was removed";
    case NAP_REASON_STOPPED: return "the app was stopped";
    case NAP_REASON_CONTAINER_DIED: return "the container ended while it worked";
    case NAP_REASON_TIMEOUT: return "the work took longer than its timeout";
    case NAP_REASON_BUSY_GROUP: return "another app of its group was busy";
    }
    return "unknown reason";
}

const char *nap_state_name(enum nap_state state) {
    switch (state) {
    case NAP_ASLEEP: return "asleep";
    case NAP_PRIMED_STATE: return "primed";
    case NAP_STARTING: return "starting";
    case NAP_AWAKE: return "awake";
    case NAP_DOZING: return "dozing";
    case NAP_STOPPING: return "stopping";
    case NAP_FAILED: return "failed";
    }
    return "unknown";
}

int64_t nap_later(int64_t from_ms, int64_t after_ms) {
    int64_t sum_ms;
    if (after_ms == NAP_NEVER || __builtin_add_overflow(from_ms, after_ms, &sum_ms)) return NAP_NEVER;
    return sum_ms;
}

struct nap_action *nap_add(struct nap *nap, enum nap_verb verb) {
    if (nap->action_count == nap->action_capacity) {
        nap->action_capacity = nap->action_capacity ? nap->action_capacity * 2 : 16;
        nap->actions = mem_grow(nap->actions, nap->action_capacity, sizeof *nap->actions);
    }
    struct nap_action *action = &nap->actions[nap->action_count++];
    *action = (struct nap_action){.verb = verb};
    return action;
}

void nap_timer_set(struct nap *nap, struct nap_timer *timer, int64_t deadline_ms, uint64_t order) {
    if (deadline_ms == NAP_NEVER)
        nap_heap_remove(&timer->node);
    else
        nap_heap_set(&nap->timers, &timer->node, deadline_ms, order);
}
