/* GraphQL: groups of users, who is in them, and what they alone may read. An admin changes all of it; whoever
 * leads a group says who else is in it. */
#include "resolve.h"

#include <ctype.h>
#include <stdlib.h>

static struct error *read_groups(struct graphql_call *call, const char *source_id, json_t **ret) {
    size_t i, m;
    json_t *group, *member;
    TRY_PLAIN(account_groups(asker_of(call)->account, source_id, ret));
    json_array_foreach(*ret, i, group) json_array_foreach(json_object_get(group, "members"), m, member) {
        json_t *user = json_object_get(member, "user");
        json_object_set_new(user, "__typename", json_string("UserSecured"));
        json_object_set_new(user, "authToken", json_string("")); /* as in each list of users */
    }
    return NULL;
}

static struct error *groups(struct graphql_call *call, json_t **ret) {
    TRY_PLAIN(check_user(call));
    return read_groups(call, NULL, ret);
}

static struct error *policy(struct graphql_call *call, json_t **ret) {
    json_t *read = NULL;
    TRY_PLAIN(check_admin(call));
    TRY_PLAIN(read_groups(call, argument_string(call, "sourceId"), &read));
    *ret = json_pack("{s:s,s:o}", "sourceId", argument_string(call, "sourceId"), "read", read);
    return NULL;
}

static bool is_name(const char *name) {
    if (!islower((unsigned char)*name)) return false;
    for (const char *c = name; *c; c++)
        if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) && !strchr("_-", *c)) return false;
    return true;
}

static struct error *add(struct graphql_call *call, json_t **ret) {
    const char *name = json_string_value(json_object_get(json_object_get(call->arguments, "input"), "name"));
    char id[ACCOUNT_ID_SIZE];
    int64_t row = 0;
    TRY_PLAIN(check_admin(call));
    json_t *complaints = json_array();
    if (!is_name(name))
        json_array_append_new(complaints,
                              json_pack("{s:s,s:s}", "path", "name", "message",
                                        "Invalid name, name may contain numbers or special characters "
                                        "which are not supported"));
    TRY_PLAIN(check_input(call, complaints));
    TRY_PLAIN(account_group_add(asker_of(call)->account, name, &row));
    account_id(row, id);
    *ret = json_string(id);
    return NULL;
}

static struct error *remove_one(struct graphql_call *call, json_t **ret) {
    int64_t row = 0;
    TRY_PLAIN(check_admin(call));
    TRY_PLAIN(argument_row(call, "id", &row));
    TRY_PLAIN(account_group_remove(asker_of(call)->account, row));
    *ret = json_true();
    return NULL;
}

/* ---- members ---- */

/* Who leads a group may change its plain members; who leads it is for an admin to say. */
static struct error *check_leader(struct graphql_call *call, int64_t group, int64_t user, bool to_lead) {
    bool leads = false, is_leader = false;
    TRY_PLAIN(check_user(call));
    if (asker_of(call)->who.is_admin) return NULL;
    TRY_PLAIN(account_member_leads(asker_of(call)->account, group, asker_of(call)->who.user, &leads));
    TRY_PLAIN(account_member_leads(asker_of(call)->account, group, user, &is_leader));
    if (leads && !is_leader && !to_lead) return NULL;
    return refuse(call, "FORBIDDEN", "You are not allowed to change the members of this group");
}

static struct error *set_member(struct graphql_call *call, json_t **ret) {
    const json_t *input = json_object_get(call->arguments, "input");
    bool to_lead = json_is_true(json_object_get(input, "isGroupAdmin"));
    int64_t group = 0, user = 0;
    TRY_PLAIN(check_user(call));
    TRY_PLAIN(id_row(json_string_value(json_object_get(input, "userGroupId")), &group));
    TRY_PLAIN(id_row(json_string_value(json_object_get(input, "userId")), &user));
    TRY_PLAIN(check_leader(call, group, user, to_lead));
    TRY_PLAIN(account_member_set(asker_of(call)->account, group, user, to_lead));
    *ret = json_true();
    return NULL;
}

static struct error *remove_member(struct graphql_call *call, json_t **ret) {
    int64_t group = 0, user = 0;
    TRY_PLAIN(check_user(call));
    TRY_PLAIN(argument_row(call, "userGroupId", &group));
    TRY_PLAIN(argument_row(call, "userId", &user));
    TRY_PLAIN(check_leader(call, group, user, false));
    TRY_PLAIN(account_member_remove(asker_of(call)->account, group, user));
    *ret = json_true();
    return NULL;
}

/* ---- what they may read ---- */

static struct error *change_read(struct graphql_call *call, json_t **ret) {
    const char *source = argument_string(call, "sourceId");
    int64_t group = 0;
    TRY_PLAIN(check_admin(call));
    TRY_PLAIN(argument_row(call, "userGroupId", &group));
    if (span_starts(call->field, "grant"))
        TRY_PLAIN(account_read_grant(asker_of(call)->account, source, group));
    else
        TRY_PLAIN(account_read_revoke(asker_of(call)->account, source, group));
    *ret = json_true();
    return NULL;
}

const struct graphql_resolver resolve_groups[] = {
    {"Query.userGroups", groups},
    {"Query.sourceIdAccessPolicies", policy},
    {"Mutation.createUserGroup", add},
    {"Mutation.deleteUserGroup", remove_one},
    {"Mutation.upsertUserGroupMembership", set_member},
    {"Mutation.deleteUserGroupMembership", remove_member},
    {"Mutation.grantSourceIdReadAccess", change_read},
    {"Mutation.revokeSourceIdReadAccess", change_read},
    {NULL, NULL},
};
