/* The repositories that are searched: those of config.toml and those that somebody added, as a list that
 * follows the database.
 *
 *   changed -> a worker reads the table, and the state of each index -> the loop merges: new ones are due,
 * those that are gone are dropped with their files
 * The list is changed on the loop only, under the mutex; others read it under the mutex. */
#include "forge.h"
#include "search.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>

#define HOUR_MS 3600000
#define TICK_MS 30000

/* ---- one ---- */

static void strings_free(char **strings) {
    for (size_t i = 0; strings && strings[i]; i++) free(strings[i]);
    free(strings);
}

static void source_free(struct source *source) {
    index_free(source->index);
    index_free(source->old_index);
    /* Nobody uses it any more. Documents of the same name may have come since: the sweep knows. */
    if (source->gone && !source->documents) {
        index_remove(source->database);
        if (!source->shares_mirror) error_free(tree_remove(source->mirror));
    }
    free(source->id), free(source->name), free(source->url), free(source->database), free(source->mirror);
    free(source->fetch_url), free(source->failure);
    strings_free(source->refs);
    free(source);
}

struct source *source_hold(struct source *source) {
    pthread_mutex_lock(&source->search->mutex);
    source->references++;
    pthread_mutex_unlock(&source->search->mutex);
    return source;
}

void source_drop(struct source *source) {
    if (!source) return;
    struct search *search = source->search;
    pthread_mutex_lock(&search->mutex);
    bool last = --source->references == 0;
    pthread_mutex_unlock(&search->mutex);
    if (last) source_free(source);
}

struct index_repository source_repository(const struct source *source) {
    return (struct index_repository){
        .url = source->url, .refs = (const char *const *)source->refs, .mirror = source->mirror};
}

struct error *source_index(struct source *source, struct index **ret_index) {
    struct search *search = source->search;
    struct error *error = NULL;
    struct stat file = {0};
    pthread_mutex_lock(&search->mutex);
    if (source->index && (stat(source->database, &file) != 0 || file.st_ino != source->inode)) {
        /* It was broken, and made again. Others may be at work with the old one. */
        index_free(source->old_index);
        source->old_index = take(source->index);
    }
    if (!source->index) error = index_open(source->database, &source->index);
    if (!error && stat(source->database, &file) == 0) source->inode = file.st_ino;
    *ret_index = source->index;
    pthread_mutex_unlock(&search->mutex);
    return error;
}

/* What has an id but no URL. Its name may be long, and have any characters. */
static struct source *documents_new(struct search *search, const json_t *listed) {
    struct source *source = NEW(struct source);
    char sum[SHA256_HEX_SIZE];
    source->search = search;
    source->references = 1;
    source->documents = true;
    source->id = mem_string(json_string_value(json_object_get(listed, "sourceId")));
    source->url = mem_string(source->id);
    source->name = mem_string(json_string_value(json_object_get(listed, "source")));
    source->total = json_integer_value(json_object_get(listed, "total"));
    source->newest = json_integer_value(json_object_get(listed, "last"));
    source->wanted = json_integer_value(json_object_get(listed, "pending")) > 0;
    sha256_of(span_of(source->id), sum);
    source->database = mem_printf("%s/index/ingested-%.32s.sqlite", search->serve->places.root, sum);
    list_init(&source->node);
    return source;
}

/* Where its files lie: named by its id and its URL, since config.toml counts its repositories anew when one
 * is taken out. */
static struct source *source_new(struct search *search, const char *id, const char *name, const char *url) {
    struct source *source = NEW(struct source);
    char sum[SHA256_HEX_SIZE];
    const char *root = search->serve->places.root, *short_id = strchr(id, ':');
    sha256_of(span_of(url), sum);
    scoped_string char *directory = settings_repository_directory(url);
    source->search = search;
    source->references = 1;
    source->id = mem_string(id);
    source->name = mem_string(name);
    source->url = mem_string(url);
    source->database =
        mem_printf("%s/index/%.*s-%s-%.8s.sqlite", root, (int)(short_id - id), id, short_id + 1, sum);
    source->mirror = mem_printf("%s/repositories/%s.git", root, directory);
    list_init(&source->node);
    return source;
}

/* ---- reading the list: on a worker ---- */

struct listing {
    struct io_work work;
    struct search *search;
    struct list sources; /* made anew */
    struct map *known;   /* by id and URL: what has its numbers already */
    bool complete;
};

static char **refs_of(const json_t *names) {
    if (json_array_size(names) == 0) return NULL;
    char **refs = mem_array(json_array_size(names) + 1, sizeof *refs);
    size_t i, count = 0;
    json_t *name;
    json_array_foreach(names, i, name) if (json_is_string(name)) refs[count++] =
        mem_string(json_string_value(name));
    return refs;
}

static void add_configured(struct listing *listing) {
    const struct settings *settings = listing->search->serve->settings;
    for (size_t i = 0; i < settings->repository_count; i++) {
        const struct settings_repository *one = &settings->repositories[i];
        char id[ACCOUNT_ID_SIZE];
        account_config_id(i, id);
        scoped_string char *whole = mem_printf("config:%s", id);
        scoped_string char *name = span_string(index_url_name(span_of(one->git_url)));
        struct source *source = source_new(listing->search, whole, name, one->git_url);
        size_t count = 0;
        while (one->refs && one->refs[count]) count++;
        if (count > 0) source->refs = mem_array(count + 1, sizeof *source->refs);
        for (size_t r = 0; r < count; r++) source->refs[r] = mem_string(one->refs[r]);
        source->from_config = true;
        list_append(&listing->sources, &source->node);
    }
}

static struct error *add_listed(struct listing *listing) {
    const struct account_page all = {.first = -1, .last = -1};
    scoped_json json_t *repositories = NULL;
    size_t i;
    json_t *edge;
    TRY_PLAIN(account_repositories(listing->search->serve->accounts->account, &all, &repositories));
    json_array_foreach(json_object_get(repositories, "edges"), i, edge) {
        const json_t *node = json_object_get(edge, "node");
        scoped_string char *id = mem_printf("git:%s", json_string_value(json_object_get(node, "id")));
        struct source *source =
            source_new(listing->search, id, json_string_value(json_object_get(node, "name")),
                       json_string_value(json_object_get(node, "gitUrl")));
        source->refs = refs_of(json_object_get(node, "refs"));
        list_append(&listing->sources, &source->node);
    }
    return NULL;
}

/* Of GitHub and GitLab. */
static struct error *add_provided(struct listing *listing) {
    scoped_json json_t *listed = NULL;
    size_t i;
    json_t *one;
    TRY_PLAIN(account_provided_sources(listing->search->serve->accounts->account, &listed));
    json_array_foreach(listed, i, one) {
        scoped_string char *id = source_id_of(json_string_value(json_object_get(one, "id")),
                                              span_of(json_string_value(json_object_get(one, "kind"))));
        struct source *source =
            source_new(listing->search, id, json_string_value(json_object_get(one, "name")),
                       json_string_value(json_object_get(one, "gitUrl")));
        bool lab = strncmp(json_string_value(json_object_get(one, "kind")), "GITLAB", 6) == 0;
        source->fetch_url = forge_clone_url(lab ? FORGE_GITLAB : FORGE_GITHUB, source->url,
                                            json_string_value(json_object_get(one, "token")));
        source->refs = refs_of(json_object_get(one, "refs"));
        list_append(&listing->sources, &source->node);
    }
    return NULL;
}

static struct error *add_documents(struct listing *listing) {
    struct account *account = listing->search->serve->accounts->account;
    scoped_json json_t *listed = NULL;
    size_t i;
    json_t *one;
    TRY_PLAIN(account_documents_expire(account, clock_wall_ms() / 1000));
    TRY_PLAIN(account_document_sources(account, NULL, &listed));
    json_array_foreach(listed, i, one) {
        struct source *source = documents_new(listing->search, one);
        list_append(&listing->sources, &source->node);
    }
    return NULL;
}

static char *key_of(const struct source *source) {
    return mem_printf("%s %s", source->id, source->url);
}

static void read_numbers(const struct listing *listing, struct source *source) {
    scoped_string char *key = key_of(source);
    if (map_get(listing->known, span_of(key))) return;
    struct index *index = NULL;
    struct error *error = index_open(source->database, &index);
    if (!error) error = index_state(index, &source->numbers);
    index_free(index);
    error_free(error); /* there is none yet */
}

static void on_list(struct io_work *work) {
    struct listing *listing = CONTAINER_OF(work, struct listing, work);
    add_configured(listing);
    if (listing->search->serve->accounts->schema) work->error = add_listed(listing);
    if (listing->search->serve->accounts->schema && !work->error) work->error = add_provided(listing);
    if (listing->search->serve->accounts->schema && !work->error) work->error = add_documents(listing);
    listing->complete = !work->error;
    LIST_EACH(node, &listing->sources) read_numbers(listing, CONTAINER_OF(node, struct source, node));
}

/* ---- merging: on the loop ---- */

static struct source *same_in(const struct list *sources, const struct source *wanted) {
    LIST_EACH(node, sources) {
        struct source *source = CONTAINER_OF(node, struct source, node);
        if (strcmp(source->id, wanted->id) == 0 && strcmp(source->url, wanted->url) == 0) return source;
    }
    return NULL;
}

static bool same_refs(char **a, char **b) {
    size_t i = 0;
    for (; a && b && a[i] && b[i]; i++)
        if (strcmp(a[i], b[i]) != 0) return false;
    return !(a && a[i]) && !(b && b[i]);
}

/* The same repository may be known by another id too. */
static bool has_mirror(const struct list *sources, const struct source *wanted) {
    LIST_EACH(node, sources) {
        const struct source *source = CONTAINER_OF(node, struct source, node);
        if (source != wanted && source->mirror && wanted->mirror &&
            strcmp(source->mirror, wanted->mirror) == 0)
            return true;
    }
    return false;
}

static void forget_gone(struct search *search, const struct list *listed) {
    LIST_EACH_SAFE(node, next, &search->sources) {
        struct source *source = CONTAINER_OF(node, struct source, node);
        if (same_in(listed, source)) continue;
        pthread_mutex_lock(&search->mutex);
        list_remove(&source->node);
        source->shares_mirror = has_mirror(&search->sources, source) || has_mirror(listed, source);
        source->gone = true;
        pthread_mutex_unlock(&search->mutex);
        if (search->at_work == source) indexing_cancel(search);
        source_drop(source);
    }
}

static void take_in(struct search *search, struct source *source) {
    struct source *known = same_in(&search->sources, source);
    pthread_mutex_lock(&search->mutex);
    if (known) {
        if (!same_refs(known->refs, source->refs)) {
            char **refs = known->refs;
            known->refs = source->refs;
            source->refs = refs;
            known->wanted = true;
        }
        known->wanted |= source->fetch_url && strcmp(known->fetch_url, source->fetch_url) != 0;
        char *fetch_url = known->fetch_url; /* may have another token */
        known->fetch_url = source->fetch_url;
        source->fetch_url = fetch_url;
        if (known->newest != source->newest || known->total != source->total) known->wanted = true;
        known->newest = source->newest, known->total = source->total;
    } else {
        if (source->documents)
            source->wanted |= source->numbers.files != (uint64_t)source->total;
        else
            source->wanted = clock_wall_ms() - source->numbers.updated_ms >= search->interval_ms;
        source->unfinished = source->numbers.vectors < source->numbers.chunks;
        source->state = source->wanted ? SOURCE_WAITING : SOURCE_READY;
        list_append(&search->sources, &source->node);
    }
    pthread_mutex_unlock(&search->mutex);
    if (known) source_drop(source);
}

/* Indexes and mirrors that no repository of the list has: of one that was taken out while nobody looked. */
static void sweep(struct search *search, const char *folder, const char *ending) {
    scoped_string char *path = path_join(search->serve->places.root, folder);
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        bool used = !span_ends(span_of(entry->d_name), ending);
        scoped_string char *whole = path_join(path, entry->d_name);
        LIST_EACH(node, &search->sources) {
            const struct source *source = CONTAINER_OF(node, struct source, node);
            used |= strcmp(whole, source->database) == 0 ||
                    (source->mirror && strcmp(whole, source->mirror) == 0);
        }
        used |= search->at_work && strcmp(whole, search->at_work->database) == 0;
        if (!used && strcmp(ending, ".sqlite") == 0) index_remove(whole);
        if (!used && strcmp(ending, ".git") == 0) error_free(tree_remove(whole));
    }
    if (directory) closedir(directory);
}

static void start_listing(struct search *search);

static void on_listed(struct io_work *work) {
    struct listing *listing = CONTAINER_OF(work, struct listing, work);
    struct search *search = listing->search;
    scoped_string char *why = work->error ? error_text(work->error) : NULL;
    if (why) log_error("copycat", "the list of repositories cannot be read: %s", why);
    error_free(take(work->error));
    if (listing->complete) forget_gone(search, &listing->sources);
    LIST_EACH_SAFE(node, next, &listing->sources) {
        struct source *source = CONTAINER_OF(node, struct source, node);
        list_remove(&source->node);
        if (listing->complete)
            take_in(search, source);
        else
            source_drop(source);
    }
    if (listing->complete) sweep(search, "index", ".sqlite"), sweep(search, "repositories", ".git");
    map_free(listing->known);
    free(listing);
    search->listing = false;
    bool again = search->list_again;
    search->list_again = false;
    if (again) start_listing(search);
    indexing_next(search);
    integrations_next(search);
    accounts_job_ended(search->serve);
}

static void start_listing(struct search *search) {
    if (search->listing) {
        search->list_again = true;
        return;
    }
    if (!search->timer) return; /* it ends */
    struct listing *listing = NEW(struct listing);
    listing->work = (struct io_work){.work = on_list, .done = on_listed};
    listing->search = search;
    list_init(&listing->sources);
    listing->known = map_new();
    LIST_EACH(node, &search->sources) {
        scoped_string char *key = key_of(CONTAINER_OF(node, struct source, node));
        map_put(listing->known, span_of(key), search);
    }
    search->listing = true;
    search->listed_ms = clock_wall_ms();
    accounts_job_began(search->serve);
    io_work_start(search->serve->loop, &listing->work);
}

static void on_changed(void *owner) {
    start_listing(owner);
}

void search_changed(struct search *search) {
    if (search) io_post_send(search->changed);
}

/* ---- life ---- */

static void on_tick(void *owner) {
    struct search *search = owner;
    int64_t now_ms = clock_wall_ms();
    io_timer_arm(search->timer, search->interval_ms < TICK_MS ? search->interval_ms : TICK_MS);
    LIST_EACH(node, &search->sources) {
        struct source *source = CONTAINER_OF(node, struct source, node);
        int64_t last_ms =
            source->numbers.updated_ms > source->tried_ms ? source->numbers.updated_ms : source->tried_ms;
        bool may_change = !source->documents || source->state == SOURCE_FAILED;
        if (may_change && now_ms - last_ms >= search->interval_ms) source->wanted = true;
    }
    if (now_ms - search->listed_ms >= search->interval_ms) start_listing(search); /* some expire */
    indexing_next(search); /* which may want the next tick sooner */
}

static int64_t interval_ms(void) {
    uint64_t seconds;
    const char *text = getenv("COPYCAT_INDEX_SECONDS");
    return text && span_to_u64(span_of(text), &seconds) && seconds > 0 && seconds < 1u << 30
               ? (int64_t)seconds * 1000
               : HOUR_MS;
}

/* More languages, by the first of each one's names. */
static struct index_language *languages_of(const struct settings *settings) {
    struct index_language *languages = mem_array(settings->language_count + 1, sizeof *languages);
    for (size_t i = 0; i < settings->language_count; i++)
        languages[i] = (struct index_language){settings->languages[i].languages[0],
                                               (const char *const *)settings->languages[i].extensions};
    return languages;
}

struct error *search_open(struct serve *serve) {
    const char *enabled = getenv("TABBY_EMBEDDING_ENABLED");
    if (enabled && strcmp(enabled, "yes") != 0) return NULL; /* all of it is off, as the user says */
    scoped_string char *indexes = path_join(serve->places.root, "index");
    scoped_string char *mirrors = path_join(serve->places.root, "repositories");
    TRY_PLAIN(dir_make(indexes, 0700));
    TRY_PLAIN(dir_make(mirrors, 0700));
    struct search *search = serve->search = NEW(struct search);
    search->serve = serve;
    search->interval_ms = interval_ms();
    search->languages = languages_of(serve->settings);
    pthread_mutex_init(&search->mutex, NULL);
    list_init(&search->sources);
    if (serve->accounts->schema) TRY_PLAIN(account_jobs_abandon(serve->accounts->account));
    search->changed = io_post_new(serve->loop, on_changed, search);
    io_post_unref(search->changed);
    search->timer = io_timer_new(serve->loop, on_tick, search);
    io_timer_arm(search->timer, search->interval_ms < TICK_MS ? search->interval_ms : TICK_MS);
    start_listing(search);
    return NULL;
}

void search_stop(struct serve *serve) {
    struct search *search = serve->search;
    if (!search) return;
    io_timer_free(take(search->timer));
    atomic_store(&search->stopping, true);
    indexing_cancel(search);
}

void search_give_back(struct search *search) {
    if (!search) return;
    LIST_EACH(node, &search->sources) {
        struct source *source = CONTAINER_OF(node, struct source, node);
        if (source->index) index_forget(source->index);
    }
}

void search_free(struct serve *serve) {
    struct search *search = serve->search;
    if (!search) return;
    search_stop(serve);
    io_post_free(search->changed);
    LIST_EACH_SAFE(node, next, &search->sources) source_drop(CONTAINER_OF(node, struct source, node));
    pthread_mutex_destroy(&search->mutex);
    free(search->languages);
    free(search);
    serve->search = NULL;
}
