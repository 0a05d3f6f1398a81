/* Databases that are known and those that are not, events that are kept, pages of lists. */
#include "account_house.h"

static void test_a_database_that_nobody_here_knows_is_left_as_it_is(void **unused) {
    (void)unused;
    static const struct {
        const char *sql, *needle;
        enum error_code code;
    } rows[] = {
        {"INSERT INTO _sqlx_migrations VALUES (51, 'next', '2030-01-01', 1, x'00', 0)",
         "newer Tabby wrote it (migration 51", ERROR_FAILED_PRECONDITION},
        {"INSERT INTO _sqlx_migrations VALUES (32, 'gap', '2030-01-01', 1, x'00', 0)", "migration 32",
         ERROR_FAILED_PRECONDITION},
        {"UPDATE _sqlx_migrations SET success = 0 WHERE version = 50", "was cut short",
         ERROR_FAILED_PRECONDITION},
        {"DELETE FROM _sqlx_migrations WHERE version > 20", "old Tabby (migration 20)",
         ERROR_FAILED_PRECONDITION},
        {"DELETE FROM _sqlx_migrations", "no migration is noted", ERROR_FAILED_PRECONDITION},
        {"DROP TABLE _sqlx_migrations; ALTER TABLE users DROP COLUMN name", "table users has no column name",
         ERROR_FAILED_PRECONDITION},
        {"DROP TABLE _sqlx_migrations; PRAGMA foreign_keys = OFF; DROP TABLE users", "no table of users",
         ERROR_FAILED_PRECONDITION},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct house house = house_new();
        char path[128], before[SHA256_HEX_SIZE], after[SHA256_HEX_SIZE];
        struct text bytes = {0};
        assert_ok(open_at(&house));
        account_free(take(house.account));
        edit(&house, "PRAGMA journal_mode = DELETE");
        edit(&house, rows[i].sql);
        snprintf(path, sizeof path, "%s/ee/db.sqlite", house.root);
        assert_ok(file_read(path, 1 << 24, &bytes));
        sha256_of(text_span(&bytes), before);
        assert_error(open_at(&house), rows[i].code, rows[i].needle);
        text_clear(&bytes);
        assert_ok(file_read(path, 1 << 24, &bytes));
        sha256_of(text_span(&bytes), after);
        assert_string_equal(before, after);
        snprintf(path, sizeof path, "%s/ee/db.sqlite-wal", house.root);
        assert_false(file_exists(path));
        text_done(&bytes);
        house_done(&house);
    }
}

static void test_what_is_no_database_is_said_to_be_none(void **unused) {
    (void)unused;
    struct house house = house_new();
    char path[128];
    snprintf(path, sizeof path, "%s/ee", house.root);
    assert_ok(dir_make(path, 0700));
    snprintf(path, sizeof path, "%s/ee/db.sqlite", house.root);
    assert_ok(file_replace(path, SPAN("this is a shopping list\n"), 0600));
    assert_error(open_at(&house), ERROR_DATA_LOSS, "file is not a database");
    house_done(&house);
}

static void test_a_database_of_an_older_tabby_is_brought_up_and_kept_a_copy_of(void **unused) {
    (void)unused;
    struct house house = house_new();
    struct account_tokens tokens;
    assert_ok(open_at(&house));
    assert_ok(enrol(&house, "a@b.c", NULL, &tokens));
    account_tokens_done(&tokens);
    account_free(take(house.account));
    /* As migration 40 left it. */
    edit(&house,
         "PRAGMA foreign_keys = OFF; DROP TABLE ldap_credential; DROP TABLE ingested_documents;"
         "DROP TABLE page_sections; DROP TABLE pages;"
         "ALTER TABLE thread_messages DROP COLUMN attachment;"
         "ALTER TABLE thread_messages ADD COLUMN code_attachments BLOB;"
         "ALTER TABLE thread_messages ADD COLUMN client_code_attachments BLOB;"
         "ALTER TABLE thread_messages ADD COLUMN doc_attachments BLOB;"
         "ALTER TABLE server_setting DROP COLUMN security_disable_password_login;"
         "ALTER TABLE server_setting DROP COLUMN branding_logo;"
         "ALTER TABLE server_setting DROP COLUMN branding_icon;"
         "ALTER TABLE oauth_credential DROP COLUMN config_url;"
         "ALTER TABLE oauth_credential DROP COLUMN config_scopes;"
         "ALTER TABLE repositories DROP COLUMN refs; ALTER TABLE provided_repositories DROP COLUMN refs;"
         "DELETE FROM _sqlx_migrations WHERE version > 40;"
         "INSERT INTO threads (is_ephemeral, user_id) VALUES (0, 1);"
         "INSERT INTO thread_messages (thread_id, role, content, client_code_attachments)"
         " VALUES (1, 'user', 'hi', '[{\"content\":\"x = 1\"}]');");
    assert_ok(open_at(&house));
    const struct account_page all = {.first = -1, .last = -1};
    json_t *messages = NULL;
    assert_ok(account_messages(house.account, 1, &all, &messages));
    json_t *node = json_object_get(json_array_get(json_object_get(messages, "edges"), 0), "node");
    json_t *code = json_array_get(json_object_get(json_object_get(node, "attachment"), "client_code"), 0);
    assert_string_equal(json_string_value(json_object_get(code, "content")), "x = 1");
    json_decref(messages);
    assert_ok(account_sign_in(house.account, "a@b.c", "Passw0rd!", &tokens));
    account_tokens_done(&tokens);
    char now[CLOCK_TEXT_SIZE], copy[160];
    clock_text(clock_wall_ms(), now);
    snprintf(copy, sizeof copy, "%s/ee/db.backup-%.4s%.2s%.2s.sqlite", house.root, now, now + 5, now + 8);
    assert_true(file_exists(copy));
    house_done(&house);
}

/* ---- events ---- */

static void on_kept(void *owner, struct error *error) {
    struct house *house = owner;
    assert_ok(error);
    io_loop_stop(house->loop);
}

static void log_one(struct house *house, enum account_event_kind kind, int64_t user, const char *id,
                    bool wait) {
    struct account_event event = {.kind = kind,
                                  .user = user,
                                  .completion_id = span_of(id),
                                  .language = SPAN("rust"),
                                  .fields = json_pack("{s:s}", "completion_id", id)};
    account_log(house->account, &event, wait ? on_kept : NULL, house);
    if (wait) io_loop_run(house->loop);
}

static int64_t count(json_t *stats, const char *name) {
    int64_t sum = 0;
    size_t i;
    json_t *row;
    json_array_foreach(stats, i, row) sum += json_integer_value(json_object_get(row, name));
    return sum;
}

static void test_events_are_kept_and_counted_for_whom_they_are(void **unused) {
    (void)unused;
    struct house house = house_new();
    struct account_tokens tokens;
    assert_ok(open_at(&house));
    assert_ok(enrol(&house, "a@b.c", NULL, &tokens));
    account_tokens_done(&tokens);
    edit(&house, "INSERT INTO users (email, auth_token) VALUES ('d@e.f', 'auth_2')");
    log_one(&house, ACCOUNT_COMPLETION, 1, "c1", false);
    log_one(&house, ACCOUNT_COMPLETION, 1, "c2", false);
    log_one(&house, ACCOUNT_VIEW, 1, "c1", true);
    log_one(&house, ACCOUNT_SELECT, 1, "c1", true);
    log_one(&house, ACCOUNT_SELECT, 2, "c2", true); /* another's: noted, but not counted as the first one's */
    log_one(&house, ACCOUNT_CHAT_COMPLETION, 1, "", true);
    log_one(&house, ACCOUNT_VIEW, 1, "c2", false); /* written when the house is closed */
    account_free(take(house.account));
    assert_ok(open_at(&house));
    json_t *stats = NULL, *users = json_pack("[s]", "E16n1q");
    const struct account_span span = {"2020-01-01 00:00:00", "2100-01-01 00:00:00"};
    assert_ok(account_daily_stats(house.account, &span, NULL, NULL, &stats));
    assert_int_equal(count(stats, "completions"), 2);
    assert_int_equal(count(stats, "views"), 2);
    assert_int_equal(count(stats, "selects"), 1);
    json_decref(stats);
    assert_ok(account_daily_chats(house.account, &span, users, &stats));
    assert_int_equal(count(stats, "chats"), 1);
    json_decref(stats);
    const struct account_page page = {.first = 2, .last = -1};
    assert_ok(account_events(house.account, &page, &span, users, &stats));
    assert_int_equal(json_array_size(json_object_get(stats, "edges")), 2);
    assert_true(json_is_true(json_object_get(json_object_get(stats, "pageInfo"), "hasNextPage")));
    json_decref(stats);
    json_decref(users);
    house_done(&house);
}

static void test_pages_of_a_list(void **unused) {
    (void)unused;
    struct house house = house_new();
    assert_ok(open_at(&house));
    for (int i = 0; i < 5; i++) {
        int64_t row;
        char name[8];
        snprintf(name, sizeof name, "r%d", i);
        assert_ok(account_repository_add(house.account, name, name, NULL, &row));
    }
    int64_t unused_row;
    assert_error(account_repository_add(house.account, "r1", "other", NULL, &unused_row),
                 ERROR_ALREADY_EXISTS, "same name");
    static const struct {
        int64_t first, last, after, before;
        const char *names;
        bool previous, next;
    } rows[] = {
        {-1, -1, 0, 0, "r0r1r2r3r4", false, false},
        {2, -1, 0, 0, "r0r1", false, true},
        {2, -1, 2, 0, "r2r3", true, true},
        {9, -1, 2, 0, "r2r3r4", true, false},
        {-1, 2, 0, 0, "r3r4", true, false},
        {-1, 2, 0, 4, "r1r2", true, true},
        {0, -1, 0, 0, "", false, true},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char after[ACCOUNT_ID_SIZE], before[ACCOUNT_ID_SIZE], names[64] = "";
        account_id(rows[i].after, after);
        account_id(rows[i].before, before);
        const struct account_page page = {.first = rows[i].first,
                                          .last = rows[i].last,
                                          .after = rows[i].after ? span_of(after) : (struct span){0},
                                          .before = rows[i].before ? span_of(before) : (struct span){0}};
        json_t *list = NULL, *edge, *info;
        size_t at;
        assert_ok(account_repositories(house.account, &page, &list));
        json_array_foreach(json_object_get(list, "edges"), at, edge)
            snprintf(names + strlen(names), sizeof names - strlen(names), "%s",
                     json_string_value(json_object_get(json_object_get(edge, "node"), "name")));
        assert_string_equal(names, rows[i].names);
        info = json_object_get(list, "pageInfo");
        assert_int_equal(json_is_true(json_object_get(info, "hasPreviousPage")), rows[i].previous);
        assert_int_equal(json_is_true(json_object_get(info, "hasNextPage")), rows[i].next);
        json_decref(list);
    }
    const struct account_page bad = {.first = 1, .last = -1, .after = SPAN("1 OR 1=1")};
    json_t *none = NULL;
    assert_error(account_repositories(house.account, &bad, &none), ERROR_INVALID_ARGUMENT, "Invalid ID");
    house_done(&house);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_database_that_nobody_here_knows_is_left_as_it_is),
        cmocka_unit_test(test_what_is_no_database_is_said_to_be_none),
        cmocka_unit_test(test_a_database_of_an_older_tabby_is_brought_up_and_kept_a_copy_of),
        cmocka_unit_test(test_events_are_kept_and_counted_for_whom_they_are),
        cmocka_unit_test(test_pages_of_a_list),
    };
    return cmocka_run_group_tests_name("account database", tests, NULL, NULL);
}
