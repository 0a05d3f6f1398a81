/* What the files of account share.
 *
 * Two connections: `reader` is the loop's, for what must be known at once; `database` belongs to whoever
 * holds `access`, on any thread. In WAL mode the one never waits for the other. */
#pragma once
#include "account.h"
#include "sql.h"

#include <pthread.h>

#define SECOND_MS 1000
#define ACCESS_LIFE_S (30 * 60)
#define REFRESH_LIFE_S (7 * 24 * 3600)
#define OWNER_ROW 1
#define UUID_SIZE 37 /* with NUL */

struct log;
struct account {
    struct io_loop *loop;
    char *root, *path;
    char *secret, *impersonate_email, *impersonate_hash;
    uint32_t limit_per_minute;
    struct table *asked;  /* user -> struct asked; of the loop's thread */
    struct map *failures; /* e-mail -> struct failures; under `access` */
    struct map *turned;   /* refresh token -> struct turned; under `access` */
    struct sql *reader;   /* NULL: without a database */
    pthread_mutex_t access;
    struct sql *database;
    struct log *log;
};

/* ---- account.c ---- */
/* The connection, for a few statements; never over a password hash. */
struct sql *account_hold(struct account *account);
void account_let_go(struct account *account);
/* After a statement about one row, with its error: NOT_FOUND where there was none. Lets go. */
must_check struct error *account_one(struct account *account, struct error *taken_error, const char *what);

/* ---- hashid.c ---- */
void hashid_text(const char *salt, uint64_t number, char out[ACCOUNT_ID_SIZE]);
bool hashid_number(const char *salt, struct span text, uint64_t *ret_number);

/* ---- token.c ---- */
void uuid_new(char out[UUID_SIZE]);
bool uuid_is(const char *text);
char *auth_token_new(void);                  /* auth_ and 32 hex digits; owned */
char *refresh_token_new(int64_t former_row); /* 0: the first of a session; owned */

/* ---- jwt.c ---- */
char *jwt_new(const char *secret, int64_t user, int64_t now_s); /* owned */
must_check struct error *jwt_read(const char *secret, struct span token, int64_t now_s, int64_t *ret_user);

/* ---- session.c ---- */
void session_forget_turned(struct map *map); /* with the map */

/* ---- password.c: argon2id, about 20 ms and 19 MiB a call ---- */
char *password_hash(const char *password); /* PHC string, owned */
bool password_fits(const char *password, const char *hash);
void password_waste(const char *password); /* the time of password_fits, for nobody */

/* ---- schema.c ---- */
/* Opens it, new or brought up to date, for reading and writing. */
must_check struct error *schema_open(const char *path, struct sql **ret_sql);
extern const char schema_tables[]; /* tables.c */

/* ---- migrations.c ---- */
#define MIGRATIONS 49
#define MIGRATION_LAST 50
#define MIGRATION_FIRST_KEPT 40 /* older databases are for Tabby to bring up */
struct migration {
    int64_t version;
    const char *description;
    const char *checksum; /* of Tabby's own file of it: SHA-384, base64 */
    const char *sql;      /* from MIGRATION_FIRST_KEPT on: what it changes */
};
extern const struct migration migrations[MIGRATIONS];

/* ---- rows.c: rows as JSON ---- */
/* A letter a column: I id, s text, b truth, i number, t time (to RFC 3339), r real, j JSON, U upper case.
 * Null stays null but for b and j. */
must_check struct error *rows_array(struct sql_rows *rows, const char *kinds, json_t **ret_array);
json_t *rows_object(const struct sql_rows *rows, const char *kinds);
struct listing {
    const char *table, *columns, *kinds; /* the first column is the row's number, kind I */
    const char *condition;               /* NULL: all rows */
};
/* A page of a list, as a Relay connection. */
must_check struct error *rows_page(struct sql *sql, const struct listing *listing,
                                   const struct account_page *page, json_t **ret_connection);
/* "1,2,3" of an array of ids, unknown ones left out; "0" where none is left. Owned. NULL array: NULL. */
char *rows_of_ids(const json_t *ids);

/* ---- log.c ---- */
struct log *log_new(struct account *account);
void log_free(struct log *log); /* writes what is queued */
