/* Events: a line each in events/YYYY-MM-DD.json, and counted in the database.
 *
 *   account_log -> waiting -(a worker: one write and one commit for all that wait)-> written -> done, on the
 * loop
 *
 * One batch is at work at a time; what comes meanwhile is the next. What was told to be done is in the file
 * and in the database's log, so that a killed process has lost nothing of it (for a power cut we don't wait:
 * an fsync for each keystroke is not worth it). On the first event of a day what is too old goes. */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#define WAITING_MAX 10000
#define DAY_SIZE 11 /* YYYY-MM-DD */

struct entry {
    struct list node;
    enum account_event_kind kind;
    int64_t user;
    char *completion_id, *language, *line, *payload;
    char at[ACCOUNT_TIME_SIZE], day[DAY_SIZE];
    void (*done)(void *owner, struct error *error);
    void *owner;
    struct error *error;
};

struct batch {
    struct io_work work;
    struct log *log; /* NULL: the log is gone, and nobody waits */
    struct list entries;
};

struct log {
    struct account *account;
    char *directory;
    struct list waiting;
    size_t waiting_count;
    struct batch *batch; /* at work; NULL: idle */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool working; /* under the lock: a worker is inside write_batch */
    /* Of whoever writes a batch. */
    int fd;
    char day[DAY_SIZE], cleaned[DAY_SIZE];
};

static const char *const names[] = {
    [ACCOUNT_COMPLETION] = "completion",
    [ACCOUNT_CHAT_COMPLETION] = "chat_completion",
    [ACCOUNT_VIEW] = "view",
    [ACCOUNT_SELECT] = "select",
    [ACCOUNT_DISMISS] = "dismiss",
};

static void entry_free(struct entry *entry) {
    free(entry->completion_id);
    free(entry->language);
    free(entry->line);
    free(entry->payload);
    error_free(entry->error);
    free(entry);
}

/* ---- on the worker ---- */

static struct error *open_day(struct log *log, const char *day) {
    if (log->fd >= 0 && strcmp(log->day, day) == 0) return NULL;
    if (log->fd >= 0) close(log->fd);
    scoped_string char *name = mem_printf("%s.json", day), *path = path_join(log->directory, name);
    TRY_PLAIN(dir_make(log->directory, 0700));
    log->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (log->fd < 0) return error_errno(errno, "%s", path);
    memcpy(log->day, day, DAY_SIZE);
    return NULL;
}

/* Whole lines or nothing: what a full disk took half of is cut off again. */
static struct error *append(struct log *log, struct span lines) {
    struct stat before;
    if (fstat(log->fd, &before) != 0) return error_errno(errno, "events of %s", log->day);
    while (lines.size > 0) {
        ssize_t wrote = write(log->fd, lines.data, lines.size);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) {
            int why = errno;
            if (ftruncate(log->fd, before.st_size) != 0)
                log_warn("account", "the events of %s end in half a line", log->day);
            return error_errno(why, "events of %s", log->day);
        }
        lines.data += wrote;
        lines.size -= (size_t)wrote;
    }
    return NULL;
}

static struct error *write_lines(struct log *log, struct list *entries) {
    scoped_text struct text lines = {0};
    LIST_EACH(node, entries) {
        struct entry *entry = CONTAINER_OF(node, struct entry, node);
        if (lines.size > 0 && strcmp(log->day, entry->day) != 0) {
            TRY_PLAIN(append(log, text_span(&lines)));
            text_clear(&lines);
        }
        TRY_PLAIN(open_day(log, entry->day));
        text_add_string(&lines, entry->line);
    }
    return append(log, text_span(&lines));
}

static struct error *count(struct sql *sql, const struct entry *entry) {
    static const char *const counters[] = {
        [ACCOUNT_VIEW] = "views", [ACCOUNT_SELECT] = "selects", [ACCOUNT_DISMISS] = "dismisses"};
    if (entry->kind == ACCOUNT_CHAT_COMPLETION) return NULL;
    if (entry->kind == ACCOUNT_COMPLETION)
        return sql_do(sql,
                      "INSERT INTO user_completions (user_id, completion_id, language, created_at)"
                      " VALUES (?1, ?2, ?3, ?4)",
                      "isss", entry->user, entry->completion_id, entry->language, entry->at);
    scoped_string char *text = mem_printf("UPDATE user_completions SET %s = %s + 1, updated_at = ?1"
                                          " WHERE completion_id = ?2 AND user_id = ?3",
                                          counters[entry->kind], counters[entry->kind]);
    return sql_do(sql, text, "ssi", entry->at, entry->completion_id, entry->user);
}

static struct error *store(struct sql *sql, const struct entry *entry) {
    if (entry->user == 0) return NULL;
    TRY_PLAIN(count(sql, entry));
    return sql_do(sql, "INSERT INTO user_events (user_id, kind, created_at, payload) VALUES (?1, ?2, ?3, ?4)",
                  "issb", entry->user, names[entry->kind], entry->at, span_of(entry->payload));
}

static struct error *clean(struct sql *sql) {
    TRY_PLAIN(sql_run(sql, "DELETE FROM user_events WHERE created_at < datetime('now', '-3 months')"));
    TRY_PLAIN(sql_run(sql, "DELETE FROM refresh_tokens WHERE expires_at < datetime('now')"));
    return sql_run(sql, "DELETE FROM password_reset WHERE created_at < datetime('now', '-1 hour')");
}

static struct error *store_all(struct log *log, struct sql *sql, struct list *entries) {
    TRY_PLAIN(sql_begin(sql));
    LIST_EACH(node, entries) {
        struct entry *entry = CONTAINER_OF(node, struct entry, node);
        entry->error =
            store(sql, entry); /* the others are not to suffer; what ends all shows in the commit */
    }
    if (strcmp(log->cleaned, log->day) != 0) TRY_PLAIN(clean(sql));
    TRY_PLAIN(sql_commit(sql));
    memcpy(log->cleaned, log->day, DAY_SIZE);
    return NULL;
}

static struct error *count_all(struct log *log, struct list *entries) {
    struct sql *sql = account_hold(log->account);
    struct error *error = sql ? sql_run(sql, "PRAGMA synchronous = NORMAL") : NULL;
    if (sql && !error) error = store_all(log, sql, entries);
    if (sql && error) sql_rollback(sql);
    if (sql)
        error_free(sql_run(sql, "PRAGMA synchronous = FULL")); /* a setting of the connection: cannot fail */
    account_let_go(log->account);
    return error;
}

static void write_batch(struct log *log, struct list *entries) {
    scoped(error) struct error *error = write_lines(log, entries);
    if (!error) error = count_all(log, entries);
    if (!error) return;
    LIST_EACH(node, entries) {
        struct entry *entry = CONTAINER_OF(node, struct entry, node);
        if (!entry->error) entry->error = error_copy(error);
    }
}

static void on_work(struct io_work *work) {
    struct batch *batch = CONTAINER_OF(work, struct batch, work);
    struct log *log = batch->log;
    write_batch(log, &batch->entries);
    pthread_mutex_lock(&log->lock);
    log->working = false;
    pthread_cond_signal(&log->ended);
    pthread_mutex_unlock(&log->lock);
}

/* ---- on the loop ---- */

static void tell(struct list *entries) {
    LIST_EACH_SAFE(node, next, entries) {
        struct entry *entry = CONTAINER_OF(node, struct entry, node);
        list_remove(node);
        if (entry->done) {
            entry->done(entry->owner, take(entry->error));
        } else if (entry->error) {
            scoped_string char *text = error_text(entry->error);
            log_warn("account", "an event is not kept: %s", text);
        }
        entry_free(entry);
    }
}

static void take_waiting(struct log *log, struct list *to) {
    LIST_EACH_SAFE(node, next, &log->waiting) {
        list_remove(node);
        list_append(to, node);
    }
    log->waiting_count = 0;
}

static void start(struct log *log);

static void on_worked(struct io_work *work) {
    struct batch *batch = CONTAINER_OF(work, struct batch, work);
    struct log *log = batch->log;
    if (log) {
        log->batch = NULL;
        tell(&batch->entries); /* may add more */
        if (!log->batch && !list_empty(&log->waiting)) start(log);
    }
    free(batch);
}

static void start(struct log *log) {
    struct batch *batch = log->batch = NEW(struct batch);
    batch->log = log;
    batch->work = (struct io_work){.work = on_work, .done = on_worked};
    list_init(&batch->entries);
    take_waiting(log, &batch->entries);
    log->working = true;
    io_work_start(log->account->loop, &batch->work);
}

struct log *log_new(struct account *account) {
    struct log *log = NEW(struct log);
    log->account = account;
    log->directory = path_join(account->root, "events");
    log->fd = -1;
    list_init(&log->waiting);
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->ended, NULL);
    return log;
}

void log_free(struct log *log) {
    if (!log) return;
    if (log->batch) {
        pthread_mutex_lock(&log->lock);
        while (log->working) pthread_cond_wait(&log->ended, &log->lock);
        pthread_mutex_unlock(&log->lock);
        log->batch->log = NULL; /* its on_worked only frees it */
        tell(&log->batch->entries);
    }
    struct list rest;
    list_init(&rest);
    take_waiting(log, &rest);
    if (!list_empty(&rest)) write_batch(log, &rest);
    tell(&rest);
    if (log->fd >= 0) close(log->fd);
    pthread_mutex_destroy(&log->lock);
    pthread_cond_destroy(&log->ended);
    free(log->directory);
    free(log);
}

/* ---- one event ---- */

static char *line_of(const struct account_event *event, int64_t now_ms, const json_t *body) {
    char id[ACCOUNT_ID_SIZE];
    json_t *user = json_null();
    if (event->user) {
        account_id(event->user, id);
        user = json_string(id);
    } else if (event->user_name.size > 0) {
        user = json_stringn(event->user_name.data, event->user_name.size);
    }
    scoped_json json_t *line =
        json_pack("{s:o?,s:I,s:O}", "user", user, "ts", (json_int_t)now_ms, "event", body);
    scoped_string char *text = json_dumps(line, JSON_COMPACT);
    return mem_printf("%s\n", text ? text : "{}");
}

static struct entry *entry_new(const struct account_event *event) {
    struct entry *entry = NEW(struct entry);
    char now[CLOCK_TEXT_SIZE];
    int64_t now_ms = clock_wall_ms();
    scoped_json json_t *body = json_pack("{s:O}", names[event->kind], event->fields);
    clock_text(now_ms, now);
    list_init(&entry->node);
    entry->kind = event->kind;
    entry->user = event->user;
    entry->completion_id = span_string(event->completion_id);
    entry->language = span_string(event->language);
    entry->line = line_of(event, now_ms, body);
    entry->payload = json_dumps(body, JSON_INDENT(2));
    memcpy(entry->day, now, DAY_SIZE - 1);
    memcpy(entry->at, now, 19);
    entry->at[10] = ' ';
    return entry;
}

void account_log(struct account *account, const struct account_event *event,
                 void (*done)(void *owner, struct error *error), void *owner) {
    struct log *log = account->log;
    struct entry *entry = entry_new(event);
    json_decref(event->fields);
    entry->done = done;
    entry->owner = owner;
    if (log->waiting_count >= WAITING_MAX && !done) {
        log_warn("account", "an event is not kept: %d wait already", WAITING_MAX);
        entry_free(entry);
        return;
    }
    list_append(&log->waiting, &entry->node);
    log->waiting_count++;
    if (!log->batch) start(log);
}
