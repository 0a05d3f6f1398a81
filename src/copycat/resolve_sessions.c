/* GraphQL: registering, signing in and out, passwords. Most of it is for those who are nobody yet. */
#include "resolve.h"

#include <stdio.h>
#include <stdlib.h>

#define PASSWORDS_MAX 8 /* of one request */

/* A hash takes a worker's thread for long, and whoever asks needs not be anybody: one request is not to ask
 * for hundreds under as many names. */
static struct error *check_passwords(struct graphql_call *call) {
    if (++asker_of(call)->passwords <= PASSWORDS_MAX) return NULL;
    return refuse(call, "FORBIDDEN", "Too many passwords in one request");
}

static json_t *tokens_json(struct account_tokens *tokens) {
    char until[CLOCK_TEXT_SIZE], seconds[CLOCK_TEXT_SIZE];
    clock_text(tokens->refresh_until_ms, until);
    snprintf(seconds, sizeof seconds, "%.19sZ", until);
    json_t *json = json_pack("{s:s,s:s,s:s}", "accessToken", tokens->access, "refreshToken", tokens->refresh,
                             "refreshExpiresAt", seconds);
    account_tokens_done(tokens);
    return json;
}

static struct error *do_register(struct graphql_call *call, json_t **ret) {
    struct account_registration new_user = {
        .email = argument_string(call, "email"),
        .password = argument_string(call, "password1"),
        .name = argument_string(call, "name"),
        .invitation_code = argument_string(call, "invitationCode"),
    };
    json_t *complaints = json_array();
    struct account_tokens tokens;
    account_check_email(new_user.email, "email", complaints);
    account_check_passwords(new_user.password, argument_string(call, "password2"), "password1", complaints);
    TRY_PLAIN(check_input(call, complaints));
    TRY_PLAIN(check_passwords(call));
    TRY_PLAIN(account_register(asker_of(call)->account, &new_user, &tokens));
    *ret = tokens_json(&tokens);
    return NULL;
}

static struct error *token_auth(struct graphql_call *call, json_t **ret) {
    const char *email = argument_string(call, "email"), *password = argument_string(call, "password");
    json_t *complaints = json_array();
    struct account_tokens tokens;
    account_check_email(email, "email", complaints);
    size_t size = strlen(password);
    if (size < 8 || size > 80) /* 20 characters of UTF-8 at most */
        json_array_append_new(complaints, json_pack("{s:s,s:s}", "path", "password", "message",
                                                    "Password must be between 8 and 20 characters"));
    TRY_PLAIN(check_input(call, complaints));
    TRY_PLAIN(check_passwords(call));
    TRY_PLAIN(account_sign_in(asker_of(call)->account, email, password, &tokens));
    *ret = tokens_json(&tokens);
    return NULL;
}

static struct error *refresh(struct graphql_call *call, json_t **ret) {
    struct account_tokens tokens;
    TRY_PLAIN(account_refresh(asker_of(call)->account, argument_string(call, "refreshToken"), &tokens));
    *ret = tokens_json(&tokens);
    return NULL;
}

static struct error *verify(struct graphql_call *call, json_t **ret) {
    TRY_PLAIN(account_verify(asker_of(call)->account, span_of(argument_string(call, "token"))));
    *ret = json_true();
    return NULL;
}

static struct error *log_out_everywhere(struct graphql_call *call, json_t **ret) {
    TRY_PLAIN(check_claims(call));
    TRY_PLAIN(account_sign_out_everywhere(asker_of(call)->account, asker_of(call)->who.user));
    *ret = json_true();
    return NULL;
}

static struct error *reset_auth_token(struct graphql_call *call, json_t **ret) {
    TRY_PLAIN(check_claims(call));
    TRY_PLAIN(account_user_token_renew(asker_of(call)->account, asker_of(call)->who.user));
    *ret = json_true();
    return NULL;
}

/* ---- passwords ---- */

static const char *input_string(const struct graphql_call *call, const char *name) {
    return json_string_value(json_object_get(json_object_get(call->arguments, "input"), name));
}

static struct error *password_change(struct graphql_call *call, json_t **ret) {
    const char *password = input_string(call, "newPassword1");
    TRY_PLAIN(check_claims(call));
    json_t *complaints = json_array();
    account_check_passwords(password, input_string(call, "newPassword2"), "newPassword1", complaints);
    TRY_PLAIN(check_input(call, complaints));
    TRY_PLAIN(check_passwords(call));
    TRY_PLAIN(account_password_change(asker_of(call)->account, asker_of(call)->who.user,
                                      input_string(call, "oldPassword"), password));
    *ret = json_true();
    return NULL;
}

static struct error *reset_url(struct graphql_call *call, json_t **ret) {
    int64_t user;
    scoped_string char *code = NULL;
    scoped_json json_t *settings = NULL;
    TRY_PLAIN(check_admin(call));
    TRY_PLAIN(argument_row(call, "userId", &user));
    TRY_PLAIN(account_password_code(asker_of(call)->account, user, &code));
    TRY_PLAIN(account_settings(asker_of(call)->account, &settings));
    *ret = json_sprintf("%s/auth/reset-password?code=%s",
                        json_string_value(json_object_get(settings, "externalUrl")), code);
    return NULL;
}

static struct error *password_reset(struct graphql_call *call, json_t **ret) {
    json_t *complaints = json_array();
    const char *password = input_string(call, "password1");
    account_check_passwords(password, input_string(call, "password2"), "password1", complaints);
    TRY_PLAIN(check_input(call, complaints));
    TRY_PLAIN(check_passwords(call));
    TRY_PLAIN(account_password_reset(asker_of(call)->account, input_string(call, "code"), password));
    *ret = json_true();
    return NULL;
}

const struct graphql_resolver resolve_sessions[] = {
    {"Mutation.register", do_register},
    {"Mutation.tokenAuth", token_auth},
    {"Mutation.refreshToken", refresh},
    {"Mutation.verifyToken", verify},
    {"Mutation.logoutAllSessions", log_out_everywhere},
    {"Mutation.resetUserAuthToken", reset_auth_token},
    {"Mutation.passwordChange", password_change},
    {"Mutation.generateResetPasswordUrl", reset_url},
    {"Mutation.passwordReset", password_reset},
    {NULL, NULL},
};
