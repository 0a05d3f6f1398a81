/* Runs of jobs in the background, as Tabby's table knows them: what they are is another room's matter. */
#include "inside.h"

#include <stdlib.h>

#define KEPT "-3 months"

static const struct listing job_list = {
    .table = "job_runs",
    .columns =
        "id, job, created_at AS createdAt, updated_at AS updatedAt, started_at AS startedAt, end_ts AS "
        "finishedAt, exit_code AS exitCode, stdout, stderr, command",
    .kinds = "Istttt"
             "isss",
};

struct error *account_job_begin(struct account *account, const char *job, const char *command, int64_t ago_s,
                                int64_t *ret_row) {
    struct sql *sql = account_hold(account);
    scoped_string char *ago = mem_printf("-%lld seconds", (long long)ago_s);
    struct error *error = sql_run(sql, "DELETE FROM job_runs WHERE created_at < datetime('now', '" KEPT "')");
    if (!error)
        error =
            sql_do(sql,
                   "INSERT INTO job_runs (job, start_ts, created_at, stdout, stderr, command) VALUES (?1, "
                   "datetime('now', ?3), datetime('now', ?3), '', '', ?2)",
                   "sss", job, command, ago);
    if (!error) *ret_row = sql_last_id(sql);
    account_let_go(account);
    return error;
}

struct error *account_job_end(struct account *account, int64_t row, int64_t took_s, int exit_code,
                              struct span output) {
    scoped_string char *ago = mem_printf("-%lld seconds", (long long)took_s);
    struct error *error = sql_do(account_hold(account),
                                 "UPDATE job_runs SET started_at = datetime('now', ?4), end_ts = "
                                 "datetime('now'), updated_at = datetime('now'), exit_code = ?2, stdout = ?3 "
                                 "WHERE id = ?1",
                                 "iits", row, (int64_t)exit_code, output.data ? output : SPAN(""), ago);
    account_let_go(account);
    return error;
}

/* 'a','b' of names; "''" where there are none. */
static void add_names(struct text *out, const json_t *names) {
    size_t i;
    json_t *name;
    text_add_string(out, "''");
    json_array_foreach(names, i, name) {
        text_add_string(out, ",'");
        for (const char *c = json_string_value(name); c && *c; c++) {
            if (*c == '\'') text_add_char(out, '\'');
            text_add_char(out, *c);
        }
        text_add_string(out, "'");
    }
}

struct error *account_jobs(struct account *account, const struct account_page *page, const json_t *ids,
                           const json_t *jobs, json_t **ret_jobs) {
    scoped_text struct text condition = {0};
    scoped_string char *rows = rows_of_ids(ids);
    text_add_string(&condition, "1");
    if (rows) text_printf(&condition, " AND id IN (%s)", rows);
    if (json_is_array(jobs)) {
        text_add_string(&condition, " AND job IN (");
        add_names(&condition, jobs);
        text_add_char(&condition, ')');
    }
    struct listing listing = job_list;
    listing.condition = condition.data;
    struct error *error = rows_page(account_hold(account), &listing, page, ret_jobs);
    account_let_go(account);
    return error;
}

struct error *account_job_last(struct account *account, const char *command, json_t **ret_job) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    scoped_string char *text =
        mem_printf("SELECT %s FROM job_runs WHERE command = ?1 ORDER BY id DESC LIMIT 1", job_list.columns);
    struct error *error = sql_query(account_hold(account), &rows, text, "s", command);
    *ret_job = NULL;
    if (!error && sql_next(rows, &error)) *ret_job = rows_object(rows, job_list.kinds);
    sql_rows_free(take(rows));
    account_let_go(account);
    return error;
}

struct error *account_job_stats(struct account *account, const json_t *jobs, json_t **ret_stats) {
    scoped(sql_rows) struct sql_rows *rows = NULL;
    scoped_text struct text text = {0};
    text_add_string(&text,
                    "SELECT coalesce(sum(exit_code = 0), 0) AS success, coalesce(sum(exit_code != 0), 0)"
                    " AS failed, coalesce(sum(exit_code IS NULL), 0) AS pending FROM job_runs");
    if (json_is_array(jobs)) {
        text_add_string(&text, " WHERE job IN (");
        add_names(&text, jobs);
        text_add_char(&text, ')');
    }
    struct error *error = sql_query(account_hold(account), &rows, text.data, "");
    if (!error && sql_next(rows, &error)) *ret_stats = rows_object(rows, "iii");
    sql_rows_free(take(rows));
    account_let_go(account);
    return error;
}

struct error *account_jobs_abandon(struct account *account) {
    struct error *error = sql_run(account_hold(account),
                                  "UPDATE job_runs SET exit_code = -1, end_ts = datetime('now'), stderr = "
                                  "'the server ended' WHERE exit_code IS NULL");
    account_let_go(account);
    return error;
}
