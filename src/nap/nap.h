/* nap: when apps sleep and when they wake.
 *
 * All pools of one node as one pure state machine: the same events at the same times give the same actions.
 * No clock, no I/O, no libuv in here; memory is allocated, nothing else. Tickets and pools are numbers that
 * the caller gives, containers are numbers that nap gives.
 *
 *   gone --start--> starting --ready--> awake --idle--> dozing --idle--> stopping --exited--> gone
 *    |                 ^                  ^-----work------'                  ^
 *    '---prime--> primed                                    any -------------'
 *
 * The caller carries out the actions in order and sends NAP_TIMER when nap_deadline_ms() comes; an early one
 * is ignored.
 *
 * The rules:
 * - One start serves all who wait: a pool starts as many as it takes to have at most target_inputs in each,
 * not more than max_containers (of its version), and keeps min_containers (which may doze). Not more than
 * starting_max start at the same time: the first that are up may be all it takes for work that is short. Up
 * to max_inputs is granted at once meanwhile. While it has work it keeps buffer_containers more; who was kept
 * so and idle counts as used until the last work ended.
 * - Work goes to the fullest container below the target, then to the last one frozen, then above the target.
 * - A ticket may linger: until it is ripe it wants a container as any other, so that one comes up meanwhile,
 * but it is not granted, nor is who came after it.
 * - A start that nobody waits for any more goes on and dozes later: who asked a moment ago will likely ask
 * again.
 * - A failed start refuses all who wait, unless another container of the pool may serve them; until retry_ms
 * nothing is started and who comes is refused, doubling with each failure in a row.
 * - Eviction (containers_max, memory): idle ones only, dozing first, the least recently used first; never
 * pinned ones nor those that min_containers or the load needs. Pools that wait for a place get one start each
 * in turn.
 * - Of a group one pool lives at a time. The oldest waiting ticket has the turn; the others then grant
 * nothing, stop what is idle or starting (min_containers too) and finish what works. A pinned pool yields to
 * nobody. */
#pragma once
#include "base.h"
#include "core.h"

#define NAP_NEVER INT64_MAX

enum nap_event_kind {
    /* pool; `function` (borrowed for the call: nap copies what it needs); `version`. A new one begins with
     * nothing. Starts for min_containers and priming wait for the NAP_TIMER that is due at once, so that
     * adoption in between comes first. */
    NAP_POOL_SET,
    NAP_POOL_REMOVED,   /* pool: who waits is refused, all containers stop; work in them may end within their
                           grace */
    NAP_WORK_ARRIVED,   /* pool, ticket (never used before); deadline_ms or NAP_NEVER: waiting longer is
                           refused; ripe_ms: not granted before; 0: at once; resumed: granted in that
                           container, where it is awake */
    NAP_WORK_RIPE,      /* ticket: lingers no more; granted as soon as there is a slot */
    NAP_WORK_CANCELLED, /* ticket: waiting or working; a working one frees its slot */
    NAP_WORK_DONE,      /* ticket: its slot is free. One that is gone is ignored (its container died) */
    NAP_PRIMED,         /* container: created and waiting for its start */
    NAP_READY,          /* container: accepts work */
    NAP_START_FAILED,   /* container: never became ready, and is gone; the same as NAP_EXITED */
    NAP_EXITED, /* container: it is gone, from whatever state; while it started, that is a failed start */
    NAP_FREEZE_FAILED, /* container: could not be frozen, is awake still; tried again after its next work */
    NAP_LEAVES,        /* container: it asked for no more work; it stops when what it has is done */
    NAP_ADOPTED,       /* pool, container (its number from before the restart), version, dozing, started_ms */
    NAP_PRESSURE,  /* the machine is short of memory: a quarter of the idle ones stop, as said for eviction */
    NAP_USER_WAKE, /* pool: start or thaw one, without work; ends USER_STOP, USER_SLEEP and a backoff */
    NAP_USER_DOZE, /* pool: freeze what is idle, now */
    NAP_USER_SLEEP, /* pool: what is idle stops, what works stops when it gets idle; the next request wakes */
    NAP_USER_STOP,  /* pool: stop all now, refuse all; requests are refused until NAP_USER_WAKE */
    NAP_TIMER,
};

enum nap_reason { /* why a ticket was refused */
                  NAP_REASON_NONE,
                  NAP_REASON_QUEUE_FULL,      /* 503 with Retry-After */
                  NAP_REASON_START_FAILED,    /* the container could not be started, or ended before it was of
                                                 any use */
                  NAP_REASON_START_TIMEOUT,   /* startup_timeout */
                  NAP_REASON_BACKOFF,         /* failed a moment ago; not tried again until retry_ms */
                  NAP_REASON_WAITED_TOO_LONG, /* the ticket's own deadline */
                  NAP_REASON_REMOVED,         /* the pool is gone; also where that ended its work */
                  NAP_REASON_STOPPED,         /* by the user; also where that ended its work */
                  NAP_REASON_CONTAINER_DIED,  /* while the ticket was at work; it may have had effects */
                  NAP_REASON_TIMEOUT,         /* `timeout` of the function, from the grant */
                  NAP_REASON_BUSY_GROUP,      /* its deadline came while another of its group was at work */
};
const char *nap_reason_text(enum nap_reason reason);

struct nap_event {
    enum nap_event_kind kind;
    uint64_t pool, ticket, container;
    const struct core_function
        *function;    /* POOL_SET; nap reads the limits: numbers, times, group, pin, prime */
    uint64_t version; /* POOL_SET: containers of any other version take no new work and leave when idle */
    int64_t deadline_ms, ripe_ms; /* WORK_ARRIVED */
    uint64_t resumed;             /* WORK_ARRIVED: the adopted container that is at it already; 0: none */
    int64_t started_ms;           /* ADOPTED: last use as far as known */
    bool dozing;                  /* ADOPTED */
};

enum nap_verb {
    NAP_START,   /* pool, container (new, or one that is primed): bring it up */
    NAP_PRIME,   /* pool, container (new): create it, don't start */
    NAP_GRANT,   /* ticket, container */
    NAP_REFUSE,  /* ticket, reason, retry_ms: it waits no more, or (DIED, TIMEOUT) its work is over */
    NAP_FREEZE,  /* container */
    NAP_RECLAIM, /* container: frozen a while; give its memory back */
    NAP_THAW,    /* container */
    NAP_STOP,    /* container, perhaps a dozing one: SIGTERM (and a thaw, to hear it); a primed one is just
                    removed */
    NAP_KILL,    /* container: its grace is over. Told again as long as it does not end */
};
struct nap_action {
    enum nap_verb verb;
    enum nap_reason reason;
    uint64_t pool, ticket, container;
    int64_t retry_ms; /* REFUSE: how long until another try makes sense; 0: unknown */
};
struct nap_actions {
    const struct nap_action *action; /* borrowed until the next nap_step */
    size_t count;
};

struct nap_config {
    uint32_t containers_max;  /* on this node, all pools; 0: 1000 */
    uint32_t primed_max;      /* 0: none are primed */
    uint32_t starting_max;    /* of one pool at once; 0: as many as it needs */
    int64_t reclaim_after_ms; /* from the freezer to giving memory back; NAP_NEVER: not at all */
    int64_t backoff_first_ms, backoff_max_ms; /* after failed starts: doubles; 0: 1 s, 60 s */
    uint64_t first_container; /* numbers given start here, so that they differ from those before a restart */
};
struct nap;
struct nap *nap_new(const struct nap_config *config);
void nap_free(struct nap *nap);
DEFINE_SCOPED(nap)
/* `now_ms` never goes backwards (an earlier one counts as the last). */
struct nap_actions nap_step(struct nap *nap, const struct nap_event *event, int64_t now_ms);
int64_t nap_deadline_ms(const struct nap *nap); /* NAP_NEVER: nothing is waited for */

/* ---- looking at it ---- */
enum nap_state {
    NAP_ASLEEP,
    NAP_PRIMED_STATE,
    NAP_STARTING,
    NAP_AWAKE,
    NAP_DOZING,
    NAP_STOPPING,
    NAP_FAILED
};
/* "asleep", "primed", "starting", "awake", "dozing", "stopping", "failed" */
const char *nap_state_name(enum nap_state state);
struct nap_pool_view {
    enum nap_state state; /* of the pool: the liveliest of its containers; FAILED while it backs off */
    uint32_t waiting, working, containers; /* without primed ones */
    int64_t retry_ms;                      /* FAILED: how long still; else 0 */
    bool stopped;                          /* by the user */
};
/* false: no such pool */
bool nap_pool_view(const struct nap *nap, uint64_t pool, int64_t now_ms, struct nap_pool_view *ret_view);
/* ASLEEP: no such container */
enum nap_state nap_container_state(const struct nap *nap, uint64_t container, uint32_t *ret_working);
