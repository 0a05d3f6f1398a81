/* What the pools share: places on the node, its memory, the few primed containers.
 *
 * A pool without a place for its start gets hungry and waits in line; one start each in turn. For each place
 * that is wanted one idle container leaves: dozing ones first, the least recently used first, never one with
 * work, pinned, or kept by its pool. */
#include "inside.h"

static uint32_t containers_max(const struct nap *nap) {
    return nap->config.containers_max ? nap->config.containers_max : 1000;
}

bool nap_share_room(const struct nap_pool *pool) {
    const struct nap *nap = pool->nap;
    if (nap->live >= containers_max(nap)) return false;
    return list_empty(&nap->hungry) || nap->hungry.next == &pool->hungry_link;
}

void nap_share_want(struct nap_pool *pool, uint32_t starts, bool had_one) {
    struct nap *nap = pool->nap;
    if (starts == 0 || had_one) list_remove(&pool->hungry_link); /* who had one goes to the end of the line */
    if (starts > 0 && list_empty(&pool->hungry_link)) list_append(&nap->hungry, &pool->hungry_link);
    nap->wants = nap->wants - pool->wants + starts;
    pool->wants = starts;
}

static bool evict(struct nap *nap) {
    struct heap_node *least = nap_heap_top(&nap->evict_dozing);
    if (!least) least = nap_heap_top(&nap->evict_awake);
    if (!least) return false;
    nap_container_stop(CONTAINER_OF(least, struct nap_container, evict), NAP_REASON_NONE);
    return true;
}

/* Turns first: who yields is decided by all that happened, not by who is served before whom. */
static void serve_touched(struct nap *nap) {
    LIST_EACH(node, &nap->touched) nap_group_turn(CONTAINER_OF(node, struct nap_pool, touched_link));
    while (!list_empty(&nap->touched)) {
        struct nap_pool *pool = CONTAINER_OF(nap->touched.next, struct nap_pool, touched_link);
        list_remove(&pool->touched_link);
        nap_pool_serve(pool);
    }
}

void nap_share_pressure(struct nap *nap) {
    /* A quarter: the next complaint comes within a second if that was too little, and nobody gets back what
     * was too much. */
    size_t idle = nap->evict_dozing.count + nap->evict_awake.count;
    for (size_t i = 0; i < (idle + 3) / 4 && evict(nap); i++)
        serve_touched(nap); /* who is kept by its pool may have changed with it */
}

/* ---- primed containers ---- */

void nap_share_sleeper(struct nap_pool *pool) {
    struct nap *nap = pool->nap;
    bool could = pool->limits.prime && !pool->removed && !pool->stopped && !pool->hold &&
                 !pool->prime_failed && list_empty(&pool->containers) && !nap_pool_backs_off(pool) &&
                 nap->config.primed_max > 0;
    if (could)
        nap_heap_set(&nap->sleepers, &pool->sleeper, -pool->last_used_ms, pool->number);
    else
        nap_heap_remove(&pool->sleeper);
}

/* The few places go to the pools used last: one that fell asleep takes the place of one that was used longer
 * ago. */
static void prime(struct nap *nap) {
    for (struct heap_node *top; (top = nap_heap_top(&nap->sleepers));) {
        struct nap_pool *pool = CONTAINER_OF(top, struct nap_pool, sleeper);
        if (nap->primed.count >= nap->config.primed_max) {
            struct heap_node *least = nap_heap_top(&nap->primed);
            if (least->key >= pool->last_used_ms) return;
            nap_container_stop(CONTAINER_OF(least, struct nap_container, prime), NAP_REASON_NONE);
        }
        nap_container_prime(pool);
        serve_touched(nap);
    }
}

void nap_share_settle(struct nap *nap) {
    for (;;) {
        serve_touched(nap);
        if (list_empty(&nap->hungry)) break;
        if (nap->live < containers_max(nap)) {
            nap_pool_touch(CONTAINER_OF(nap->hungry.next, struct nap_pool, hungry_link));
            continue;
        }
        if (nap->stopping >= nap->wants || !evict(nap)) break;
    }
    prime(nap);
}
