/* Who gets in, by which token, and what they may call themselves. */
#include "account_house.h"

#include <openssl/hmac.h>

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
    struct account_tokens again, third;
    assert_ok(account_refresh(house.account, first.refresh, &again)); /* the answer was lost */
    assert_string_equal(again.refresh, next.refresh);
    account_tokens_done(&again);
    assert_ok(account_refresh(house.account, next.refresh, &third));
    assert_string_not_equal(third.refresh, next.refresh);
    assert_error(account_refresh(house.account, first.refresh, &again), ERROR_PERMISSION_DENIED,
                 "Invalid refresh token");
    account_tokens_done(&next);
    next = third;
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
    };
    return cmocka_run_group_tests_name("account", tests, NULL, NULL);
}
