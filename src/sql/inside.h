/* What the files of sql share. */
#pragma once
#include "sql.h"

#include <sqlite3.h>

struct sql {
    sqlite3 *database;
    char *path;
};

/* Of the last call that failed. */
struct error *sql_failed(struct sql *sql);
