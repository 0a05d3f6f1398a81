/* GraphQL: users, their roles and pictures, and who is invited. */
#include "resolve.h"

#include <openssl/evp.h>
#include <stdlib.h>

static struct error *me(struct graphql_call *call, json_t **ret) {
    TRY_PLAIN(check_claims(call));
    return account_user(asker_of(call)->account, asker_of(call)->who.user, ret);
}

static struct error *users(struct graphql_call *call, json_t **ret) {
    struct account_page page;
    size_t i;
    json_t *edge;
    TRY_PLAIN(check_user(call));
    argument_page(call, &page);
    TRY_PLAIN(check_page(&page));
    TRY_PLAIN(account_users(asker_of(call)->account, &page, json_object_get(call->arguments, "ids"), ret));
    json_array_foreach(json_object_get(*ret, "edges"), i, edge) {
        json_t *user = json_object_get(edge, "node");
        json_object_set_new(user, "__typename", json_string("UserSecured"));
        /* A list is no place for what opens doors, whoever reads it. */
        json_object_set_new(user, "authToken", json_string(""));
    }
    return NULL;
}

static struct error *not_yourself(struct graphql_call *call, int64_t user, const char *text) {
    return user == asker_of(call)->who.user ? refuse(call, "FORBIDDEN", text) : NULL;
}

static struct error *yourself(struct graphql_call *call, int64_t user, const char *text) {
    return user != asker_of(call)->who.user ? refuse(call, "UNAUTHORIZED", text) : NULL;
}

static struct error *active_set(struct graphql_call *call, json_t **ret) {
    int64_t user;
    TRY_PLAIN(check_admin(call));
    TRY_PLAIN(argument_row(call, "id", &user));
    TRY_PLAIN(not_yourself(call, user, "You cannot change your own active status"));
    TRY_PLAIN(account_user_active_set(asker_of(call)->account, user,
                                      json_is_true(json_object_get(call->arguments, "active"))));
    *ret = json_true();
    return NULL;
}

static struct error *role_set(struct graphql_call *call, json_t **ret) {
    int64_t user;
    TRY_PLAIN(check_admin(call));
    TRY_PLAIN(argument_row(call, "id", &user));
    TRY_PLAIN(not_yourself(call, user, "You cannot update your own role"));
    TRY_PLAIN(account_user_admin_set(asker_of(call)->account, user,
                                     json_is_true(json_object_get(call->arguments, "isAdmin"))));
    *ret = json_true();
    return NULL;
}

static struct error *name_set(struct graphql_call *call, json_t **ret) {
    int64_t user;
    const char *name = argument_string(call, "name");
    TRY_PLAIN(check_claims(call));
    TRY_PLAIN(argument_row(call, "id", &user));
    TRY_PLAIN(yourself(call, user, "You cannot change another user's name"));
    json_t *complaints = json_array();
    account_check_name(name, "name", complaints);
    TRY_PLAIN(check_input(call, complaints));
    TRY_PLAIN(account_user_name_set(asker_of(call)->account, user, name));
    *ret = json_true();
    return NULL;
}

static struct error *decode(const char *base64, struct text *out) {
    size_t size = strlen(base64), padding = 0;
    if (size % 4 == 0 && size > 0) padding = (base64[size - 1] == '=') + (base64[size - 2] == '=');
    char *to = text_reserve(out, size / 4 * 3 + 1);
    int got = size % 4 ? -1 : EVP_DecodeBlock((unsigned char *)to, (const unsigned char *)base64, (int)size);
    if (got < 0) return error_new(ERROR_INVALID_ARGUMENT, "avatar is not valid base64 string");
    out->size = (size_t)got - padding;
    return NULL;
}

static struct error *avatar_set(struct graphql_call *call, json_t **ret) {
    int64_t user;
    scoped_text struct text image = {0};
    const char *base64 = argument_string(call, "avatarBase64");
    TRY_PLAIN(check_claims(call));
    TRY_PLAIN(argument_row(call, "id", &user));
    TRY_PLAIN(yourself(call, user, "You cannot change another user's avatar"));
    if (base64) TRY_PLAIN(decode(base64, &image));
    TRY_PLAIN(
        account_avatar_set(asker_of(call)->account, user, base64 ? text_span(&image) : (struct span){0}));
    *ret = json_true();
    return NULL;
}

/* ---- invitations ---- */

static struct error *invitations(struct graphql_call *call, json_t **ret) {
    struct account_page page;
    TRY_PLAIN(check_admin(call));
    argument_page(call, &page);
    TRY_PLAIN(check_page(&page));
    return account_invitations(asker_of(call)->account, &page, ret);
}

static json_t *id_json(int64_t row) {
    char id[ACCOUNT_ID_SIZE];
    account_id(row, id);
    return json_string(id);
}

static struct error *invite(struct graphql_call *call, json_t **ret) {
    int64_t row = 0;
    const char *email = argument_string(call, "email");
    TRY_PLAIN(check_admin(call));
    json_t *complaints = json_array();
    account_check_email(email, "email", complaints);
    TRY_PLAIN(check_input(call, complaints));
    TRY_PLAIN(account_invite(asker_of(call)->account, email, &row));
    *ret = id_json(row);
    return NULL;
}

static struct error *uninvite(struct graphql_call *call, json_t **ret) {
    int64_t row;
    TRY_PLAIN(check_admin(call));
    TRY_PLAIN(argument_row(call, "id", &row));
    TRY_PLAIN(account_uninvite(asker_of(call)->account, row));
    *ret = id_json(row);
    return NULL;
}

const struct graphql_resolver resolve_users[] = {
    {"Query.me", me},
    {"Query.users", users},
    {"Query.invitations", invitations},
    {"Mutation.updateUserActive", active_set},
    {"Mutation.updateUserRole", role_set},
    {"Mutation.updateUserName", name_set},
    {"Mutation.uploadUserAvatarBase64", avatar_set},
    {"Mutation.createInvitation", invite},
    {"Mutation.deleteInvitation", uninvite},
    {NULL, NULL},
};
