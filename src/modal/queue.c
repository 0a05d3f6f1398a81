/* queue: values in order under a name, in partitions. Whoever asks first gets the next one; who asks in vain
 * waits.
 *
 * A partition that nobody put into for its time to live is emptied. Limits are Modal's: what is full says so,
 * and its client tries again or raises queue.Full, as it was told. */
#include "inside.h"

#include "named.h"

#include <stdio.h>
#include <stdlib.h>

#define KIND "modal-queue"
#define ITEM_KIND "modal-queue-item" /* key: ID/PARTITION-HEX/NUMBER */
#define ITEMS_MAX 5000               /* of a partition */
#define ITEM_BYTES_MAX (1 << 20)
#define PARTITIONS_MAX 100000
#define TTL_DEFAULT_S 86400
#define NEXT_AT_ONCE 100

struct queue {
    struct named named;
    struct map *partitions; /* key in hexadecimal -> struct partition */
};
struct partition {
    struct queue *queue;
    char *hex;
    struct list items;
    size_t count;
    uint64_t last;                /* number of the newest item */
    struct list getters, lookers; /* held QueueGet, QueueNextItems */
    struct io_timer *ttl;
};
struct item {
    struct list node;
    uint64_t number;
    struct text value;
};
struct getting { /* in the call's arena */
    struct partition *partition;
    size_t wanted;
    uint64_t after;
};

static void item_free(struct partition *partition, struct item *item) {
    list_remove(&item->node);
    partition->count--;
    text_done(&item->value);
    free(item);
}

static void partition_empty(struct partition *partition) {
    while (!list_empty(&partition->items))
        item_free(partition, CONTAINER_OF(partition->items.next, struct item, node));
}

static void partition_free(struct partition *partition) {
    partition_empty(partition);
    rpc_held_end(&partition->getters, ERROR_NOT_FOUND, "the queue is gone");
    rpc_held_end(&partition->lookers, ERROR_NOT_FOUND, "the queue is gone");
    io_timer_free(partition->ttl);
    free(partition->hex);
    free(partition);
}

static void queue_free(struct queue *queue) {
    struct modal *modal = queue->named.modal;
    void *value;
    for (size_t i = 0; map_next(queue->partitions, &i, NULL, &value);) partition_free(value);
    map_free(queue->partitions);
    map_remove(modal->queues, span_of(queue->named.id));
    named_done(&queue->named, modal->queue_names);
    free(queue);
}

static void dies(struct named *named) {
    queue_free(CONTAINER_OF(named, struct queue, named));
}

static struct named *make(struct modal *modal) {
    struct queue *queue = NEW(struct queue);
    named_init(&queue->named, modal, "qu", dies);
    queue->partitions = map_new();
    map_put(modal->queues, span_of(queue->named.id), queue);
    return &queue->named;
}

void queues_free(struct modal *modal) {
    void *value;
    for (size_t i = 0; map_next(modal->queues, &i, NULL, &value); i = 0) queue_free(value);
    map_free(modal->queues);
    map_free(modal->queue_names);
}

/* ---- kept ---- */

static char *item_key(const struct partition *partition, uint64_t number) {
    return mem_printf("%s/%s/%016llx", partition->queue->named.id, partition->hex,
                      (unsigned long long)number);
}

/* Removes the items' records up to `last`; not waited for. */
static void forget(const struct partition *partition, const uint64_t *numbers, size_t count) {
    if (!partition->queue->named.name || count == 0) return;
    struct store_record *records = mem_array(count, sizeof *records);
    for (size_t i = 0; i < count; i++)
        records[i] = (struct store_record){ITEM_KIND, item_key(partition, numbers[i]), {NULL, 0}};
    store_records_write_soon(partition->queue->named.modal->store, records, count, NULL, NULL);
    for (size_t i = 0; i < count; i++) free((char *)records[i].key);
    free(records);
}

static void forget_all(struct partition *partition) {
    uint64_t *numbers = mem_array(partition->count + 1, sizeof *numbers);
    size_t count = 0;
    LIST_EACH(node, &partition->items) numbers[count++] = CONTAINER_OF(node, struct item, node)->number;
    forget(partition, numbers, count);
    free(numbers);
    partition_empty(partition);
}

static void on_ttl(void *owner) {
    forget_all(owner);
}

static struct partition *partition_of(struct queue *queue, const char *hex, bool create) {
    struct partition *partition = map_get(queue->partitions, span_of(hex));
    if (partition || !create) return partition;
    partition = NEW(struct partition);
    partition->queue = queue;
    partition->hex = mem_string(hex);
    list_init(&partition->items);
    list_init(&partition->getters);
    list_init(&partition->lookers);
    partition->ttl = io_timer_new(queue->named.modal->loop, on_ttl, partition);
    map_put(queue->partitions, span_of(hex), partition);
    return partition;
}

static struct item *item_add(struct partition *partition, uint64_t number, struct span value) {
    struct item *item = NEW(struct item);
    item->number = number;
    text_add(&item->value, value);
    list_append(&partition->items, &item->node);
    partition->count++;
    if (number > partition->last) partition->last = number;
    return item;
}

static void on_queue(void *owner, const char *key, struct span value) {
    struct modal *modal = owner;
    struct queue *queue = CONTAINER_OF(make(modal), struct queue, named);
    map_remove(modal->queues, span_of(queue->named.id));
    if (named_restore(&queue->named, modal->queue_names, key, value))
        map_put(modal->queues, span_of(queue->named.id), queue);
}

static void on_item(void *owner, const char *key, struct span value) {
    struct modal *modal = owner;
    struct span rest = span_of(key), id = span_cut(&rest, '/'), hex = span_cut(&rest, '/');
    struct queue *queue = map_get(modal->queues, id);
    if (!queue || !rest.data) return;
    scoped_string char *name = span_string(hex), *number = span_string(rest);
    struct partition *partition = partition_of(queue, name, true);
    item_add(partition, strtoull(number, NULL, 16), value);
    io_timer_arm(partition->ttl, INT64_C(1000) * TTL_DEFAULT_S);
}

struct error *queues_load(struct modal *modal) {
    TRY_PLAIN(store_records_load(modal->store, KIND, on_queue, modal));
    return store_records_load(modal->store, ITEM_KIND, on_item, modal);
}

/* ---- what clients ask ---- */

static struct queue *asked(struct rpc *rpc, const char *id) {
    struct queue *queue = id ? map_get(rpc->modal->queues, span_of(id)) : NULL;
    if (!queue) rpc_fail(rpc, no_object("queue", id));
    return queue;
}

static char *hex_key(struct rpc *rpc, const ProtobufCBinaryData *key) {
    char *hex = arena_alloc(rpc_arena(rpc), 2 * key->len + 1);
    for (size_t i = 0; i < key->len; i++) snprintf(hex + 2 * i, 3, "%02x", key->data[i]);
    return hex;
}

static void answer_queue(struct rpc *rpc, struct error *error) {
    const struct queue *queue = map_get(rpc->modal->queues, span_of(rpc->owner));
    if (error || !queue) {
        rpc_fail(rpc, error ? error : no_object("queue", rpc->owner));
        return;
    }
    Modal__CreationInfo creation = MODAL__CREATION_INFO__INIT;
    Modal__QueueMetadata metadata = MODAL__QUEUE_METADATA__INIT;
    creation.has_created_at = true;
    creation.created_at = queue->named.created_at;
    creation.created_by = rpc->modal->user;
    metadata.name = queue->named.name ? queue->named.name : "";
    metadata.creation_info = &creation;
    Modal__QueueGetOrCreateResponse answer = MODAL__QUEUE_GET_OR_CREATE_RESPONSE__INIT;
    answer.queue_id = (char *)queue->named.id;
    answer.metadata = &metadata;
    rpc_answer(rpc, &answer);
}

static void get_or_create(struct rpc *rpc, const void *message) {
    const Modal__QueueGetOrCreateRequest *request = message;
    struct named *named;
    bool made;
    struct error *error =
        named_get_or_create(rpc->modal, rpc->modal->queue_names, request->deployment_name,
                            environment_of(request->environment_name), (int)request->object_creation_type,
                            "queue", make, &named, &made);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    rpc->owner = arena_text(rpc_arena(rpc), named->id);
    if (!made) {
        answer_queue(rpc, NULL);
        return;
    }
    scoped_string char *text = named_record(named);
    const struct store_record record = {KIND, named->id, span_of(text)};
    rpc_commit(rpc, &record, 1, answer_queue);
}

static void answer_get(struct rpc *rpc, struct partition *partition, size_t wanted) {
    struct arena *arena = rpc_arena(rpc);
    Modal__QueueGetResponse answer = MODAL__QUEUE_GET_RESPONSE__INIT;
    size_t count = partition ? partition->count : 0;
    if (count > wanted) count = wanted;
    answer.values = arena_alloc(arena, (count + 1) * sizeof *answer.values);
    uint64_t *numbers = arena_alloc(arena, (count + 1) * sizeof *numbers);
    struct item **items = arena_alloc(arena, (count + 1) * sizeof *items);
    for (; answer.n_values < count; answer.n_values++) {
        struct item *item = CONTAINER_OF(partition->items.next, struct item, node);
        list_remove(&item->node);
        items[answer.n_values] = item;
        numbers[answer.n_values] = item->number;
        answer.values[answer.n_values] = (ProtobufCBinaryData){item->value.size, (uint8_t *)item->value.data};
    }
    if (partition) forget(partition, numbers, count);
    rpc_answer(rpc, &answer);
    for (size_t i = 0; i < count; i++) item_free(partition, items[i]);
}

static void get_expired(struct rpc *rpc) {
    answer_get(rpc, NULL, 0);
}

static void get(struct rpc *rpc, const void *message) {
    const Modal__QueueGetRequest *request = message;
    struct queue *queue = asked(rpc, request->queue_id);
    if (!queue) return;
    struct partition *partition =
        partition_of(queue, hex_key(rpc, &request->partition_key), request->timeout > 0);
    size_t wanted = request->n_values > 0 ? (size_t)request->n_values : 1;
    if (!partition || !(request->timeout > 0) || partition->count > 0) {
        answer_get(rpc, partition, wanted);
        return;
    }
    struct getting *getting = arena_alloc(rpc_arena(rpc), sizeof *getting);
    *getting = (struct getting){partition, wanted, 0};
    rpc_hold(rpc, &partition->getters, getting, (double)request->timeout * 1000, get_expired);
}

static void answer_next(struct rpc *rpc, const struct partition *partition, uint64_t after) {
    struct arena *arena = rpc_arena(rpc);
    Modal__QueueNextItemsResponse answer = MODAL__QUEUE_NEXT_ITEMS_RESPONSE__INIT;
    answer.items = arena_alloc(arena, NEXT_AT_ONCE * sizeof *answer.items);
    for (const struct list *node = partition ? partition->items.next : NULL;
         node && node != &partition->items; node = node->next) {
        const struct item *item = CONTAINER_OF(node, struct item, node);
        if (item->number <= after) continue;
        if (answer.n_items == NEXT_AT_ONCE) break;
        Modal__QueueItem *told = arena_alloc(arena, sizeof *told);
        modal__queue_item__init(told);
        told->has_value = true;
        told->value = (ProtobufCBinaryData){item->value.size, (uint8_t *)item->value.data};
        told->entry_id = arena_printf(arena, "%llu", (unsigned long long)item->number);
        answer.items[answer.n_items++] = told;
    }
    rpc_answer(rpc, &answer);
}

static void next_expired(struct rpc *rpc) {
    answer_next(rpc, NULL, 0);
}

static void next_items(struct rpc *rpc, const void *message) {
    const Modal__QueueNextItemsRequest *request = message;
    struct queue *queue = asked(rpc, request->queue_id);
    if (!queue) return;
    struct partition *partition = partition_of(queue, hex_key(rpc, &request->partition_key), true);
    uint64_t after = 0;
    if (request->last_entry_id) (void)span_to_u64(span_of(request->last_entry_id), &after);
    if (!(request->item_poll_timeout > 0) || (partition->count > 0 && partition->last > after)) {
        answer_next(rpc, partition, after);
        return;
    }
    struct getting *getting = arena_alloc(rpc_arena(rpc), sizeof *getting);
    *getting = (struct getting){partition, 0, after};
    rpc_hold(rpc, &partition->lookers, getting, (double)request->item_poll_timeout * 1000, next_expired);
}

/* Those who wait get what came, in the order in which they asked. */
static void serve(struct partition *partition) {
    while (!list_empty(&partition->lookers)) {
        struct rpc *rpc = CONTAINER_OF(partition->lookers.next, struct rpc, node);
        answer_next(rpc, partition, ((const struct getting *)rpc->owner)->after);
    }
    while (partition->count > 0 && !list_empty(&partition->getters)) {
        struct rpc *rpc = CONTAINER_OF(partition->getters.next, struct rpc, node);
        answer_get(rpc, partition, ((const struct getting *)rpc->owner)->wanted);
    }
}

static struct error *may_put(const struct queue *queue, const struct partition *partition,
                             const Modal__QueuePutRequest *request) {
    size_t there = partition ? partition->count : 0;
    for (size_t i = 0; i < request->n_values; i++)
        if (request->values[i].len > ITEM_BYTES_MAX)
            return error_new(ERROR_INVALID_ARGUMENT, "a value of %zu bytes; a queue takes up to %d",
                             request->values[i].len, ITEM_BYTES_MAX);
    if (there + request->n_values > ITEMS_MAX)
        return error_new(ERROR_RESOURCE_EXHAUSTED, "the queue is full: %zu of %d values are in it", there,
                         ITEMS_MAX);
    if (!partition && map_count(queue->partitions) >= PARTITIONS_MAX)
        return error_new(ERROR_RESOURCE_EXHAUSTED, "the queue has %d partitions already", PARTITIONS_MAX);
    return NULL;
}

static void put(struct rpc *rpc, const void *message) {
    const Modal__QueuePutRequest *request = message;
    struct queue *queue = asked(rpc, request->queue_id);
    if (!queue) return;
    const char *hex = hex_key(rpc, &request->partition_key);
    struct partition *partition = partition_of(queue, hex, false);
    struct error *error = may_put(queue, partition, request);
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    partition = partition_of(queue, hex, true);
    struct store_record *records = mem_array(request->n_values + 1, sizeof *records);
    for (size_t i = 0; i < request->n_values; i++) {
        struct span value = {request->values[i].data ? (const char *)request->values[i].data : "",
                             request->values[i].len};
        const struct item *item = item_add(partition, partition->last + 1, value);
        records[i] = (struct store_record){ITEM_KIND, item_key(partition, item->number), value};
    }
    int64_t ttl_s = request->partition_ttl_seconds > 0 ? request->partition_ttl_seconds : TTL_DEFAULT_S;
    io_timer_arm(partition->ttl, ttl_s * 1000);
    if (queue->named.name && request->n_values > 0)
        rpc_commit_soon(rpc, records, request->n_values, rpc_answer_kept);
    else
        rpc_answer_empty(rpc);
    for (size_t i = 0; i < request->n_values; i++) free((char *)records[i].key);
    free(records);
    serve(partition);
}

static void length(struct rpc *rpc, const void *message) {
    const Modal__QueueLenRequest *request = message;
    struct queue *queue = asked(rpc, request->queue_id);
    if (!queue) return;
    size_t count = 0;
    const char *wanted = hex_key(rpc, &request->partition_key), *hex;
    void *value;
    for (size_t i = 0; map_next(queue->partitions, &i, &hex, &value);)
        if (request->total || strcmp(hex, wanted) == 0) count += ((const struct partition *)value)->count;
    Modal__QueueLenResponse answer = MODAL__QUEUE_LEN_RESPONSE__INIT;
    answer.has_len = true;
    answer.len = (int32_t)count;
    rpc_answer(rpc, &answer);
}

static void clear(struct rpc *rpc, const void *message) {
    const Modal__QueueClearRequest *request = message;
    struct queue *queue = asked(rpc, request->queue_id);
    if (!queue) return;
    const char *wanted = hex_key(rpc, &request->partition_key), *hex;
    void *value;
    for (size_t i = 0; map_next(queue->partitions, &i, &hex, &value);)
        if (request->all_partitions || strcmp(hex, wanted) == 0) forget_all(value);
    rpc_answer_empty(rpc);
}

static void delete (struct rpc *rpc, const void *message) {
    const Modal__QueueDeleteRequest *request = message;
    struct queue *queue = asked(rpc, request->queue_id);
    if (!queue) return;
    void *value;
    for (size_t i = 0; map_next(queue->partitions, &i, NULL, &value);) forget_all(value);
    const struct store_record record = {KIND, request->queue_id, {NULL, 0}};
    queue_free(queue);
    rpc_commit(rpc, &record, 1, rpc_answer_kept);
}

static void heartbeat(struct rpc *rpc, const void *message) {
    const Modal__QueueHeartbeatRequest *request = message;
    struct queue *queue = asked(rpc, request->queue_id);
    if (!queue) return;
    named_beat(&queue->named);
    rpc_answer_empty(rpc);
}

static void list(struct rpc *rpc, const void *message) {
    const Modal__QueueListRequest *request = message;
    struct modal *modal = rpc->modal;
    struct arena *arena = rpc_arena(rpc);
    const char *environment = environment_of(request->environment_name);
    double before = request->pagination ? request->pagination->created_before : 0;
    Modal__QueueListResponse answer = MODAL__QUEUE_LIST_RESPONSE__INIT;
    answer.queues = arena_alloc(arena, (map_count(modal->queues) + 1) * sizeof *answer.queues);
    answer.environment_name = (char *)environment;
    void *value;
    for (size_t i = 0; map_next(modal->queues, &i, NULL, &value);) {
        struct queue *queue = value;
        if (!queue->named.name || strcmp(queue->named.environment, environment) != 0) continue;
        if (before > 0 && queue->named.created_at >= before) continue;
        Modal__QueueListResponseQueueInfo *info = arena_alloc(arena, sizeof *info);
        Modal__QueueMetadata *metadata = arena_alloc(arena, sizeof *metadata);
        Modal__CreationInfo *creation = arena_alloc(arena, sizeof *creation);
        modal__queue_list_response_queue_info__init(info);
        modal__queue_metadata__init(metadata);
        modal__creation_info__init(creation);
        info->name = metadata->name = queue->named.name;
        info->has_created_at = creation->has_created_at = info->has_num_partitions = info->has_total_size =
            true;
        info->created_at = creation->created_at = queue->named.created_at;
        creation->created_by = modal->user;
        info->queue_id = queue->named.id;
        info->num_partitions = (int32_t)map_count(queue->partitions);
        void *each;
        for (size_t p = 0; map_next(queue->partitions, &p, NULL, &each);)
            info->total_size += (int32_t)((const struct partition *)each)->count;
        metadata->creation_info = creation;
        info->metadata = metadata;
        answer.queues[answer.n_queues++] = info;
    }
    rpc_answer(rpc, &answer);
}

/* The answer has the fields of QueueGetOrCreate's. */
static void by_id(struct rpc *rpc, const void *message) {
    const Modal__QueueGetByIdRequest *request = message;
    if (!asked(rpc, request->queue_id)) return;
    rpc->owner = request->queue_id;
    answer_queue(rpc, NULL);
}

const struct rpc_method queue_methods[] = {
    {"QueueGetById", &modal__queue_get_by_id_request__descriptor, by_id, RPC_TASK},
    {"QueueGetOrCreate", &modal__queue_get_or_create_request__descriptor, get_or_create, RPC_TASK | RPC_ONCE},
    {"QueuePut", &modal__queue_put_request__descriptor, put, RPC_TASK | RPC_ONCE},
    {"QueueGet", &modal__queue_get_request__descriptor, get, RPC_TASK | RPC_ONCE},
    {"QueueNextItems", &modal__queue_next_items_request__descriptor, next_items, RPC_TASK},
    {"QueueLen", &modal__queue_len_request__descriptor, length, RPC_TASK},
    {"QueueClear", &modal__queue_clear_request__descriptor, clear, RPC_TASK},
    {"QueueHeartbeat", &modal__queue_heartbeat_request__descriptor, heartbeat, RPC_TASK},
    {"QueueList", &modal__queue_list_request__descriptor, list, RPC_TASK},
    {"QueueDelete", &modal__queue_delete_request__descriptor, delete, RPC_TASK},
    {0},
};
