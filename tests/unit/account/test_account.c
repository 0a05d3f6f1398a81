/* Accounts without HTTP: ids, tokens, who gets in, databases that are known and those that are not. */
#include "account.h"
#include "test.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <openssl/hmac.h>

#define SECRET "7f2a9c1e-8f55-4b8e-9d0a-1b2c3d4e5f60"

struct house {
    struct io_loop *loop;
    struct account *account;
    char root[64];
};

static struct error *open_at(struct house *house) {
    struct account_options options = {
        .loop = house->loop, .root = house->root, .secret = SECRET, .limit_per_minute = 3};
    return account_open(&options, &house->account);
}

static struct house house_new(void) {
    struct house house = {.loop = io_loop_new()};
    snprintf(house.root, sizeof house.root, "/tmp/account-test-XXXXXX");
    assert_non_null(mkdtemp(house.root));
    return house;
}

static void house_done(struct house *house) {
    account_free(house->account);
    io_loop_free(house->loop);
    assert_ok(tree_remove(house->root));
}

static struct error *enrol(struct house *house, const char *email, const char *code,
                           struct account_tokens *tokens) {
    const struct account_registration new_user = {
        .email = email, .password = "Passw0rd!", .name = "n", .invitation_code = code};
    return account_register(house->account, &new_user, tokens);
}

/* SQL as somebody with a tool would do it. */
static void edit(const struct house *house, const char *sql) {
    sqlite3 *database;
    char path[128], *wrong = NULL;
    snprintf(path, sizeof path, "%s/ee/db.sqlite", house->root);
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    if (sqlite3_exec(database, sql, NULL, NULL, &wrong) != SQLITE_OK) fail_msg("%s: %s", sql, wrong);
    sqlite3_close(database);
}

/* ---- ids and tokens ---- */

static void test_ids_are_those_that_clients_have(void **unused) {
    (void)unused;
    /* From the Python package hashids. */
    static const struct {
        int64_t row;
        const char *id;
    } rows[] = {{0, "5NVZN2"},
                {1, "E16n1q"},
                {2, "R1AWw5"},
                {3, "V1xYGx"},
                {43, "QN7p13"},
                {44, "5NVJZN"},
                {99, "bGEzDw"},
                {100, "5NV8XG"},
                {1000, "5NVYgw"},
                {123456, "NRa67J"},
                {2147483648, "r3nWWav"},
                {9007199254740992, "rQobb3b97XZ"},
                {4611686018427387904, "r7VvMYW2vO9WA"},
                {9223372036854775807, "PL0rmBKnVgXKL"}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        char id[ACCOUNT_ID_SIZE];
        int64_t row = -1;
        account_id(rows[i].row, id);
        assert_string_equal(id, rows[i].id);
        assert_true(account_row(span_of(id), &row));
        assert_int_equal(row, rows[i].row);
    }
    for (int64_t i = 0; i < 3000; i++) {
        char id[ACCOUNT_ID_SIZE];
        int64_t row = -1;
        account_id(i * i * 7919, id);
        assert_true(account_row(span_of(id), &row) && row == i * i * 7919);
    }
    static const char *const wrong[] = {"",       "1",       "E16n1",       "E16n1qq",
                                        "e16n1q", "E16n1q ", "' OR 1=1 --", "000000"};
    int64_t row;
    for (size_t i = 0; i < COUNT(wrong); i++) assert_false(account_row(span_of(wrong[i]), &row));
}

static void add_base64url(struct text *out, struct span bytes) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    int count = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        bits = bits << 8 | (uint8_t)bytes.data[i];
        for (count += 8; count >= 6; count -= 6) text_add_char(out, digits[bits >> (count - 6) & 63]);
    }
    if (count > 0) text_add_char(out, digits[bits << (6 - count) & 63]);
}

static char *forge(const char *secret, const char *header, const char *claims) {
    struct text token = {0};
    unsigned char signature[32];
    unsigned size;
    add_base64url(&token, span_of(header));
    text_add_char(&token, '.');
    add_base64url(&token, span_of(claims));
    HMAC(EVP_sha256(), secret, (int)strlen(secret), (unsigned char *)token.data, token.size, signature,
         &size);
    text_add_char(&token, '.');
    add_base64url(&token, (struct span){(char *)signature, sizeof signature});
    return text_take(&token);
}

static void test_only_tokens_that_we_signed_and_that_are_fresh_let_somebody_in(void **unused) {
    (void)unused;
    struct house house = house_new();
    struct account_tokens tokens;
    assert_ok(open_at(&house));
    assert_ok(enrol(&house, "a@b.c", NULL, &tokens));
    assert_int_equal(account_known(house.account, span_of(tokens.access)).user, 1);
    static const char good[] = "{\"exp\":99999999999,\"iat\":1,\"sub\":\"E16n1q\"}",
                      hs[] = "{\"alg\":\"HS256\"}";
    static const struct {
        const char *secret, *header, *claims;
        int64_t user;
    } rows[] = {
        {SECRET, hs, good, 1},
        {SECRET, "{\"typ\":\"JWT\",\"alg\":\"HS256\",\"kid\":\"x\"}", good, 1},
        {"another", hs, good, 0},
        {"", hs, good, 0},
        {SECRET, "{\"alg\":\"none\"}", good, 0},
        {SECRET, "{\"alg\":\"HS512\"}", good, 0},
        {SECRET, "{\"alg\":\"hs256\"}", good, 0},
        {SECRET, "{}", good, 0},
        {SECRET, "[]", good, 0},
        {SECRET, hs, "{\"exp\":1,\"sub\":\"E16n1q\"}", 0},
        {SECRET, hs, "{\"sub\":\"E16n1q\"}", 0},
        {SECRET, hs, "{\"exp\":\"99999999999\",\"sub\":\"E16n1q\"}", 0},
        {SECRET, hs, "{\"exp\":99999999999}", 0},
        {SECRET, hs, "{\"exp\":99999999999,\"sub\":\"R1AWw5\"}", 0}, /* nobody is the second */
        {SECRET, hs, "{\"exp\":99999999999,\"sub\":\"1\"}", 0},
        {SECRET, hs, "{\"exp\":99999999999,\"exp\":99999999999,\"sub\":\"E16n1q\"}", 0},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *token = forge(rows[i].secret, rows[i].header, rows[i].claims);
        if (account_known(house.account, span_of(token)).user != rows[i].user)
            fail_msg("row %zu: %s", i, token);
        free(token);
    }
    char *token = forge(SECRET, hs, good);
    char *cut = mem_string_n(token, strlen(token) - 1), *more = mem_printf("%s.x", token),
         *padded = mem_printf("%s=", token);
    assert_int_equal(account_known(house.account, span_of(cut)).user, 0);
    assert_int_equal(account_known(house.account, span_of(more)).user, 0);
    assert_int_equal(account_known(house.account, span_of(padded)).user, 0);
    assert_int_equal(account_known(house.account, SPAN("..")).user, 0);
    assert_int_equal(account_known(house.account, SPAN("")).user, 0);
    free(cut), free(more), free(padded), free(token);
    account_tokens_done(&tokens);
    house_done(&house);
}

/* ---- people ---- */

static void test_the_first_owns_the_house_and_the_next_are_invited(void **unused) {
    (void)unused;
    struct house house = house_new();
    struct account_tokens tokens;
    json_t *list = NULL;
    int64_t row = 0;
    const struct account_page all = {.first = -1, .last = -1};
    assert_ok(open_at(&house));
    assert_ok(enrol(&house, "Owner@b.c", NULL, &tokens));
    account_tokens_done(&tokens);
    assert_error(enrol(&house, "d@e.f", NULL, &tokens), ERROR_PERMISSION_DENIED,
                 "Invitation code is not valid");
    assert_error(enrol(&house, "d@e.f", "' OR '1'='1", &tokens), ERROR_PERMISSION_DENIED, "not valid");
    assert_ok(account_invite(house.account, "d@e.f", &row));
    assert_error(account_invite(house.account, "D@E.F", &row), ERROR_ALREADY_EXISTS, "email already exists");
    assert_error(account_invite(house.account, "owner@b.c", &row), ERROR_ALREADY_EXISTS,
                 "already registered");
    assert_ok(account_invitations(house.account, &all, &list));
    json_t *node = json_object_get(json_array_get(json_object_get(list, "edges"), 0), "node");
    char *code = mem_string(json_string_value(json_object_get(node, "code")));
    json_decref(list);
    assert_error(enrol(&house, "x@e.f", code, &tokens), ERROR_PERMISSION_DENIED, "not for this email");
    assert_ok(enrol(&house, "d@e.f", code, &tokens));
    assert_false(account_known(house.account, span_of(tokens.access)).is_admin);
    account_tokens_done(&tokens);
    assert_error(enrol(&house, "d@e.f", code, &tokens), ERROR_PERMISSION_DENIED, "not valid"); /* used up */
    assert_error(account_user_active_set(house.account, 1, false), ERROR_FAILED_PRECONDITION,
                 "owner's active");
    assert_error(account_user_admin_set(house.account, 1, false), ERROR_FAILED_PRECONDITION, "owner's admin");
    free(code);
    house_done(&house);
}

static void test_who_is_put_out_is_out_at_once_with_every_token(void **unused) {
    (void)unused;
    struct house house = house_new();
    struct account_tokens owner, second, renewed;
    json_t *user = NULL;
    assert_ok(open_at(&house));
    assert_ok(enrol(&house, "a@b.c", NULL, &owner));
    edit(&house, "INSERT INTO invitations (email, code) VALUES ('d@e.f', 'code')");
    assert_ok(enrol(&house, "d@e.f", "code", &second));
    assert_ok(account_user(house.account, 2, &user));
    char *auth = mem_string(json_string_value(json_object_get(user, "authToken")));
    json_decref(user);
    assert_int_equal(account_known(house.account, span_of(auth)).user, 2);
    assert_true(account_known(house.account, span_of(auth)).by_auth_token);
    assert_ok(account_user_active_set(house.account, 2, false));
    assert_int_equal(account_known(house.account, span_of(auth)).user, 0);
    assert_int_equal(account_known(house.account, span_of(second.access)).user, 0);
    assert_error(account_refresh(house.account, second.refresh, &renewed), ERROR_PERMISSION_DENIED,
                 "Invalid refresh");
    assert_error(account_sign_in(house.account, "d@e.f", "Passw0rd!", &renewed), ERROR_PERMISSION_DENIED,
                 "disabled");
    assert_ok(account_user_active_set(house.account, 2, true));
    assert_int_equal(account_known(house.account, span_of(auth)).user, 2);
    edit(&house, "UPDATE users SET active = 0 WHERE id = 2"); /* by another program: counts at once too */
    assert_int_equal(account_known(house.account, span_of(auth)).user, 0);
    free(auth);
    account_tokens_done(&owner);
    account_tokens_done(&second);
    house_done(&house);
}

static void test_signing_in_and_going_on(void **unused) {
    (void)unused;
    struct house house = house_new();
    struct account_tokens first, next;
    assert_ok(open_at(&house));
    assert_ok(enrol(&house, "a@b.c", NULL, &first));
    assert_ok(account_sign_in(house.account, "A@B.C", "Passw0rd!", &next));
    account_tokens_done(&next);
    assert_error(account_sign_in(house.account, "a@b.c", "passw0rd!", &next), ERROR_PERMISSION_DENIED,
                 "Invalid email address or password");
    assert_error(account_sign_in(house.account, "x@b.c", "Passw0rd!", &next), ERROR_PERMISSION_DENIED,
                 "Invalid email address or password");
    assert_ok(account_refresh(house.account, first.refresh, &next));
    assert_int_equal(account_known(house.account, span_of(next.access)).user, 1);
    struct account_tokens again;
    assert_error(account_refresh(house.account, first.refresh, &again), ERROR_PERMISSION_DENIED,
                 "Invalid refresh token");
    edit(&house, "UPDATE refresh_tokens SET expires_at = datetime('now', '-1 second')");
    assert_error(account_refresh(house.account, next.refresh, &again), ERROR_PERMISSION_DENIED,
                 "Expired refresh token");
    for (int i = 0; i < 9; i++)
        assert_error(account_sign_in(house.account, "a@b.c", "Wrong0ne!", &again), ERROR_PERMISSION_DENIED,
                     "Invalid");
    assert_error(account_sign_in(house.account, "a@b.c", "Passw0rd!", &again), ERROR_RESOURCE_EXHAUSTED,
                 "Too many failed attempts");
    account_tokens_done(&first);
    account_tokens_done(&next);
    house_done(&house);
}

static void test_a_new_password_ends_what_was_begun_with_the_old(void **unused) {
    (void)unused;
    struct house house = house_new();
    struct account_tokens tokens, again;
    char *code = NULL;
    assert_ok(open_at(&house));
    assert_ok(enrol(&house, "a@b.c", NULL, &tokens));
    assert_error(account_password_change(house.account, 1, "wrong", "N3w-word!"), ERROR_PERMISSION_DENIED,
                 "incorrect");
    assert_error(account_password_change(house.account, 1, "Passw0rd!", "Passw0rd!"), ERROR_INVALID_ARGUMENT,
                 "same");
    assert_ok(account_password_change(house.account, 1, "Passw0rd!", "N3w-word!"));
    assert_error(account_refresh(house.account, tokens.refresh, &again), ERROR_PERMISSION_DENIED,
                 "Invalid refresh");
    assert_error(account_password_reset(house.account, "no-such-code", "An0ther!!"), ERROR_PERMISSION_DENIED,
                 "Invalid code");
    assert_ok(account_password_code(house.account, 1, &code));
    assert_ok(account_password_reset(house.account, code, "An0ther!!"));
    assert_error(account_password_reset(house.account, code, "Y3t-another!"), ERROR_PERMISSION_DENIED,
                 "Invalid code");
    free(code);
    assert_ok(account_password_code(house.account, 1, &code));
    edit(&house, "UPDATE password_reset SET created_at = datetime('now', '-16 minutes')");
    assert_error(account_password_reset(house.account, code, "Y3t-another!"), ERROR_PERMISSION_DENIED,
                 "Invalid code");
    free(code);
    account_tokens_done(&tokens);
    assert_ok(account_sign_in(house.account, "a@b.c", "An0ther!!", &tokens));
    account_tokens_done(&tokens);
    house_done(&house);
}

static void test_requests_of_a_minute_are_counted_by_user(void **unused) {
    (void)unused;
    struct house house = house_new();
    int64_t wait_ms;
    assert_ok(open_at(&house));
    for (int i = 0; i < 3; i++) assert_true(account_may_ask(house.account, 1, 1000 + i, &wait_ms));
    assert_false(account_may_ask(house.account, 1, 21000, &wait_ms));
    assert_int_equal(wait_ms, 40000);
    assert_true(account_may_ask(house.account, 2, 21000, &wait_ms));
    assert_true(account_may_ask(house.account, 1, 61000, &wait_ms));
    house_done(&house);
}

static void test_what_people_type_is_checked(void **unused) {
    (void)unused;
    static const struct {
        const char *kind, *text;
        bool good;
    } rows[] = {
        {"email", "a@b.c", true},
        {"email", "a.b+c@localhost", true},
        {"email", "a@b_c.d", false},
        {"email", "a", false},
        {"email", "@b.c", false},
        {"email", "a@", false},
        {"email", "a@b..c", false},
        {"email", "a b@c.d", false},
        {"email", "a@-b.c", false},
        {"name", "Ada Lovelace", true},
        {"name", "O'Connor", true},
        {"name", "李雷", true},
        {"name", "a", false},
        {"name", "R2D2", false},
        {"name", "<script>", false},
        {"name", "12345678901234567890a", false},
        {"password", "Passw0rd!", true},
        {"password", "passw0rd!", false},
        {"password", "PASSW0RD!", false},
        {"password", "Password!", false},
        {"password", "Passw0rdd", false},
        {"password", "Pw0!", false},
        {"password", "Passw0rd!Passw0rd!Pas", false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        json_t *complaints = json_array();
        if (strcmp(rows[i].kind, "email") == 0) account_check_email(rows[i].text, "x", complaints);
        if (strcmp(rows[i].kind, "name") == 0) account_check_name(rows[i].text, "x", complaints);
        if (strcmp(rows[i].kind, "password") == 0)
            account_check_passwords(rows[i].text, rows[i].text, "x1", complaints);
        if ((json_array_size(complaints) == 0) != rows[i].good)
            fail_msg("%s '%s'", rows[i].kind, rows[i].text);
        json_decref(complaints);
    }
    json_t *complaints = json_array();
    account_check_passwords("Passw0rd!", "Passw0rd?", "newPassword1", complaints);
    assert_string_equal(json_string_value(json_object_get(json_array_get(complaints, 0), "path")),
                        "newPassword2");
    json_decref(complaints);
}

static void test_times(void **unused) {
    (void)unused;
    static const struct {
        const char *text, *wanted;
    } rows[] = {
        {"2026-01-31T12:34:56Z", "2026-01-31 12:34:56"},
        {"2026-01-31t12:34:56.789z", "2026-01-31 12:34:56"},
        {"2026-03-01T00:30:00+01:00", "2026-02-28 23:30:00"},
        {"2024-03-01T00:30:00+01:00", "2024-02-29 23:30:00"},
        {"2026-01-31T23:59:59-00:30", "2026-02-01 00:29:59"},
        {"2026-01-31", NULL},
        {"2026-13-31T12:34:56Z", NULL},
        {"2026-01-31T12:34:56", NULL},
        {"2026-01-31T12:34:56Z'; DROP TABLE users; --", NULL},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char out[ACCOUNT_TIME_SIZE] = "";
        bool good = account_time_read(span_of(rows[i].text), out);
        assert_int_equal(good, rows[i].wanted != NULL);
        if (good) assert_string_equal(out, rows[i].wanted);
    }
}

/* ---- databases ---- */

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
        cmocka_unit_test(test_ids_are_those_that_clients_have),
        cmocka_unit_test(test_only_tokens_that_we_signed_and_that_are_fresh_let_somebody_in),
        cmocka_unit_test(test_the_first_owns_the_house_and_the_next_are_invited),
        cmocka_unit_test(test_who_is_put_out_is_out_at_once_with_every_token),
        cmocka_unit_test(test_signing_in_and_going_on),
        cmocka_unit_test(test_a_new_password_ends_what_was_begun_with_the_old),
        cmocka_unit_test(test_requests_of_a_minute_are_counted_by_user),
        cmocka_unit_test(test_what_people_type_is_checked),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_a_database_that_nobody_here_knows_is_left_as_it_is),
        cmocka_unit_test(test_what_is_no_database_is_said_to_be_none),
        cmocka_unit_test(test_a_database_of_an_older_tabby_is_brought_up_and_kept_a_copy_of),
        cmocka_unit_test(test_events_are_kept_and_counted_for_whom_they_are),
        cmocka_unit_test(test_pages_of_a_list),
    };
    return cmocka_run_group_tests_name("account", tests, NULL, NULL);
}
