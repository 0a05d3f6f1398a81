/* GET /metrics: Prometheus text. */
#include "inside.h"
#include "search.h"

static const char *const names[ROUTES] = {
    [ROUTE_HEALTH] = "/v1/health",
    [ROUTE_COMPLETIONS] = "/v1/completions",
    [ROUTE_CHAT] = "/v1/chat/completions",
    [ROUTE_EVENTS] = "/v1/events",
    [ROUTE_MODELS] = "/v1beta/models",
    [ROUTE_SETTING] = "/v1beta/server_setting",
    [ROUTE_INGESTION] = "/v1beta/ingestion",
    [ROUTE_GRAPHQL] = "/graphql",
    [ROUTE_METRICS] = "/metrics",
};

static void add(struct text *out, const char *name, const char *type, uint64_t value) {
    text_printf(out, "# TYPE copycat_%s %s\ncopycat_%s %llu\n", name, type, name, (unsigned long long)value);
}

static void add_seconds(struct text *out, const char *name, const char *type, int64_t us) {
    text_printf(out, "# TYPE copycat_%s %s\ncopycat_%s %.6f\n", name, type, name, (double)us / 1e6);
}

static void add_times(struct text *out, const char *name, const struct engine_times *times) {
    static const int64_t bounds[] = ENGINE_BOUNDS_US;
    uint64_t count = 0;
    text_printf(out, "# TYPE copycat_%s_seconds histogram\n", name);
    for (size_t i = 0; i < ENGINE_BOUNDS; i++)
        text_printf(out, "copycat_%s_seconds_bucket{le=\"%g\"} %llu\n", name, (double)bounds[i] / 1e6,
                    (unsigned long long)(count += times->counts[i]));
    count += times->counts[ENGINE_BOUNDS];
    text_printf(out, "copycat_%s_seconds_bucket{le=\"+Inf\"} %llu\n", name, (unsigned long long)count);
    text_printf(out, "copycat_%s_seconds_sum %.6f\ncopycat_%s_seconds_count %llu\n", name,
                (double)times->sum_us / 1e6, name, (unsigned long long)count);
}

static void add_engine(struct text *out, struct engine *engine) {
    struct engine_counters counters;
    engine_counters(engine, &counters);
    add(out, "jobs_total", "counter", counters.jobs);
    add(out, "jobs_cancelled_total", "counter", counters.cancelled);
    add(out, "jobs_failed_total", "counter", counters.failed);
    add(out, "prompt_tokens_total", "counter", counters.prompt_tokens);
    add(out, "prompt_tokens_reused_total", "counter", counters.reused_tokens);
    add(out, "prompt_tokens_moved_total", "counter", counters.moved_tokens);
    add(out, "generated_tokens_total", "counter", counters.generated_tokens);
    add(out, "steps_total", "counter", counters.steps);
    add(out, "steps_aborted_total", "counter", counters.aborted_steps);
    add(out, "jobs_queued", "gauge", counters.queued);
    add(out, "jobs_working", "gauge", counters.working);
    add(out, "threads", "gauge", counters.threads);
    add(out, "documents_restored", "gauge", counters.restored);
    add(out, "repacked", "gauge", counters.repacked);
    add_seconds(out, "queued_seconds_total", "counter", counters.queued_us);
    add_seconds(out, "prompt_seconds_total", "counter", counters.prompt_us);
    add_seconds(out, "generate_seconds_total", "counter", counters.generate_us);
    add_times(out, "first_token", &counters.first_token);
    add_times(out, "job", &counters.whole);
    add_seconds(out, "load_seconds", "gauge", counters.load_us);
}

static void add_search(struct text *out, struct search *search) {
    uint64_t repositories = 0, chunks = 0, vectors = 0;
    pthread_mutex_lock(&search->mutex);
    LIST_EACH(node, &search->sources) {
        const struct source *source = CONTAINER_OF(node, struct source, node);
        repositories += !source->documents, chunks += source->numbers.chunks,
            vectors += source->numbers.vectors;
    }
    pthread_mutex_unlock(&search->mutex);
    add(out, "index_repositories", "gauge", repositories);
    add(out, "index_chunks", "gauge", chunks);
    add(out, "index_vectors", "gauge", vectors);
    add(out, "searches_total", "counter", search->searches);
    add(out, "searches_failed_total", "counter", search->searches_failed);
    add_seconds(out, "search_seconds_total", "counter", search->searches_us);
}

void metrics_answer(struct serve *serve, struct http_exchange *exchange) {
    scoped_text struct text out = {0};
    text_add_string(&out, "# TYPE axum_http_requests_total counter\n");
    for (size_t i = 0; i < ROUTES; i++)
        for (int class = 1; class < 6; class ++)
            if (serve->counts[i].by_class[class])
                text_printf(&out, "axum_http_requests_total{endpoint=\"%s\",status=\"%dxx\"} %llu\n",
                            names[i], class, (unsigned long long)serve->counts[i].by_class[class]);
    const struct backend *completion = &serve->completion, *chat = &serve->chat;
    if (completion->engine) add_engine(&out, completion->engine);
    if (chat->engine && !chat->shares && !completion->engine) add_engine(&out, chat->engine);
    if (serve->search) add_search(&out, serve->search);
    add(&out, "clients_gone_total", "counter", serve->client_gone);
    add(&out, "timeouts_total", "counter", serve->timeouts);
    add(&out, "doze_signals_total", "counter", serve->doze_signals);
    add(&out, "gave_back_bytes_total", "counter", serve->gave_back_bytes);
    rest_answer(serve, ROUTE_METRICS, exchange, 200, "text/plain; version=0.0.4", text_span(&out));
}
