/* Groups: functions that exclude one another, as they would not fit into one GPU together.
 *
 * Only one pool of a group may have live containers. The turn is with the pool whose oldest ticket waits
 * longest: all others of the group yield to it, that is, they grant and start nothing, stop what is idle or
 * still starting, and let the rest finish. A pinned pool with live containers yields to nobody. */
#include "inside.h"

#include <stdlib.h>

static struct nap_pool *on_turn(const struct nap_group *group) {
    struct heap_node *top = nap_heap_top(&group->turns);
    return top ? CONTAINER_OF(top, struct nap_pool, turn) : NULL;
}

/* Whoever may act differently now: who lives or is in line for a place may have to yield, who is next may
 * start. Without anybody waiting, those that want to keep their min_containers may begin. */
static void touch_group(struct nap_group *group) {
    struct nap_pool *next = on_turn(group);
    LIST_EACH(node, &group->pools) {
        struct nap_pool *pool = CONTAINER_OF(node, struct nap_pool, group_link);
        bool begins = !next && pool->limits.min_containers > 0;
        if (pool == next || begins || pool->live > 0 || pool->wants > 0) nap_pool_touch(pool);
    }
}

static void leave(struct nap_pool *pool) {
    struct nap_group *group = pool->group;
    if (!group) return;
    pool->group = NULL;
    nap_heap_remove(&pool->turn);
    list_remove(&pool->group_link);
    list_remove(&pool->live_link);
    if (!list_empty(&group->pools)) {
        touch_group(group);
        return;
    }
    map_remove(pool->nap->groups, span_of(group->name));
    nap_heap_done(&group->turns);
    free(group->name);
    free(group);
}

void nap_group_join(struct nap_pool *pool, const char *name) {
    if (pool->group && name && strcmp(pool->group->name, name) == 0) return;
    leave(pool);
    if (!name) return;
    struct nap_group *group = map_get(pool->nap->groups, span_of(name));
    if (!group) {
        group = NEW(struct nap_group);
        group->name = mem_string(name);
        list_init(&group->pools);
        list_init(&group->live);
        map_put(pool->nap->groups, span_of(name), group);
    }
    pool->group = group;
    list_append(&group->pools, &pool->group_link);
    if (pool->live > 0) list_append(&group->live, &pool->live_link);
    touch_group(group);
}

void nap_group_live(struct nap_pool *pool) {
    if (!pool->group) return;
    list_remove(&pool->live_link);
    if (pool->live > 0) list_append(&pool->group->live, &pool->live_link);
    touch_group(pool->group);
}

void nap_group_turn(struct nap_pool *pool) {
    if (!pool->group) return;
    const struct nap_pool *before = on_turn(pool->group);
    uint64_t turn = UINT64_MAX;
    if (pool->wake_wanted) turn = pool->wake_turn;
    if (pool->waiting > 0) {
        const struct nap_ticket *oldest = CONTAINER_OF(pool->queue.next, struct nap_ticket, link);
        if (oldest->turn < turn) turn = oldest->turn;
    }
    if (turn == UINT64_MAX)
        nap_heap_remove(&pool->turn);
    else
        nap_heap_set(&pool->group->turns, &pool->turn, (int64_t)turn, pool->number);
    if (on_turn(pool->group) != before) touch_group(pool->group);
}

bool nap_group_yields(const struct nap_pool *pool) {
    if (!pool->group || (pool->limits.pin && pool->live > 0)) return false;
    const struct nap_pool *next = on_turn(pool->group);
    return next && next != pool;
}

bool nap_group_others_live(const struct nap_pool *pool) {
    if (!pool->group) return false;
    const struct list *live = &pool->group->live;
    if (list_empty(live)) return false;
    return live->next != &pool->live_link || live->prev != &pool->live_link;
}
