/* A house for accounts: a directory of its own, a loop, and SQL by somebody with a tool. */
#pragma once
#include "account.h"
#include "test.h"

#include <sqlite3.h>

#define SECRET "7f2a9c1e-8f55-4b8e-9d0a-1b2c3d4e5f60"

struct house {
    struct io_loop *loop;
    struct account *account;
    char root[64];
};

static inline struct error *open_at(struct house *house) {
    struct account_options options = {
        .loop = house->loop, .root = house->root, .secret = SECRET, .limit_per_minute = 3};
    return account_open(&options, &house->account);
}

static inline struct house house_new(void) {
    struct house house = {.loop = io_loop_new()};
    snprintf(house.root, sizeof house.root, "/tmp/account-test-XXXXXX");
    assert_non_null(mkdtemp(house.root));
    return house;
}

static inline void house_done(struct house *house) {
    account_free(house->account);
    io_loop_free(house->loop);
    assert_ok(tree_remove(house->root));
}

static inline struct error *enrol(struct house *house, const char *email, const char *code,
                                  struct account_tokens *tokens) {
    const struct account_registration new_user = {
        .email = email, .password = "Passw0rd!", .name = "n", .invitation_code = code};
    return account_register(house->account, &new_user, tokens);
}

/* SQL as somebody with a tool would do it. */
static inline void edit(const struct house *house, const char *sql) {
    sqlite3 *database;
    char path[128], *wrong = NULL;
    snprintf(path, sizeof path, "%s/ee/db.sqlite", house->root);
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    if (sqlite3_exec(database, sql, NULL, NULL, &wrong) != SQLITE_OK) fail_msg("%s: %s", sql, wrong);
    sqlite3_close(database);
}
