/* The workspace's proxy tokens: what opens web functions with requires_proxy_auth. Made, listed, named and
 * deleted by `modal workspace proxy-tokens` as by `catnap token`; each is good for all environments. */
#include "inside.h"

static void on_made(void *owner, struct error *error, const struct identity_token *token) {
    struct rpc *rpc = owner;
    if (error) {
        rpc_fail(rpc, error);
        return;
    }
    Modal__TokenCreateResponse answer = MODAL__TOKEN_CREATE_RESPONSE__INIT;
    answer.token_id = (char *)token->id;
    answer.token_secret = (char *)token->secret;
    rpc_answer(rpc, &answer);
}

static void create(struct rpc *rpc, const void *message) {
    const Modal__WebhookTokenCreateRequest *request = message;
    identity_token_new(rpc->modal->identity, IDENTITY_PROXY, request->name ? request->name : "", on_made,
                       rpc);
}

static int by_age(const void *a, const void *b) {
    const Modal__WebhookToken *left = *(Modal__WebhookToken *const *)a,
                              *right = *(Modal__WebhookToken *const *)b;
    if (left->created_at != right->created_at) return left->created_at < right->created_at ? -1 : 1;
    return strcmp(left->token_id, right->token_id);
}

static void list(struct rpc *rpc, const void *message) {
    (void)message; /* of an environment: all are good for each */
    struct arena *arena = rpc_arena(rpc);
    Modal__UserIdentity maker = MODAL__USER_IDENTITY__INIT;
    Modal__WebhookTokenListResponse answer = MODAL__WEBHOOK_TOKEN_LIST_RESPONSE__INIT;
    struct identity_token token;
    size_t count = 0;
    for (size_t i = 0; identity_token_next(rpc->modal->identity, &i, &token);) count++;
    answer.tokens = arena_alloc(arena, (count + 1) * sizeof *answer.tokens);
    maker.user_id = maker.username = rpc->modal->user;
    for (size_t i = 0; identity_token_next(rpc->modal->identity, &i, &token);) {
        if (token.kind != IDENTITY_PROXY) continue;
        Modal__WebhookToken *item = answer.tokens[answer.n_tokens++] = arena_alloc(arena, sizeof *item);
        modal__webhook_token__init(item);
        item->token_id = (char *)token.id;
        item->name = (char *)token.name;
        item->has_created_at = true;
        item->created_at = (double)token.created_ms / 1000.0;
        item->created_by = &maker;
    }
    if (answer.n_tokens > 0) qsort(answer.tokens, answer.n_tokens, sizeof *answer.tokens, by_age);
    rpc_answer(rpc, &answer);
}

static void on_changed(void *owner, struct error *error) {
    rpc_answer_kept(owner, error);
}

/* Clients' tokens are not to be changed by this way. */
static bool is_proxys(struct rpc *rpc, const char *id) {
    struct identity_token token;
    if (id && identity_token_find(rpc->modal->identity, id, &token) && token.kind == IDENTITY_PROXY)
        return true;
    rpc_fail(rpc, no_object("proxy token", id));
    return false;
}

static void update(struct rpc *rpc, const void *message) {
    const Modal__WebhookTokenUpdateRequest *request = message;
    if (!is_proxys(rpc, request->token_id)) return;
    identity_token_rename(rpc->modal->identity, request->token_id, request->name ? request->name : "",
                          on_changed, rpc);
}

static void delete (struct rpc *rpc, const void *message) {
    const Modal__TokenDeleteRequest *request = message;
    if (!is_proxys(rpc, request->token_id)) return;
    identity_token_revoke(rpc->modal->identity, request->token_id, on_changed, rpc);
}

const struct rpc_method proxy_token_methods[] = {
    {"WebhookTokenCreate", &modal__webhook_token_create_request__descriptor, create, RPC_ONCE},
    {"WebhookTokenList", &modal__empty__descriptor, list, 0},
    {"WebhookTokenListForEnvironment", &modal__webhook_token_list_for_environment_request__descriptor, list,
     0},
    {"WebhookTokenUpdate", &modal__webhook_token_update_request__descriptor, update, 0},
    {"WebhookTokenDelete", &modal__token_delete_request__descriptor, delete, 0},
    {0},
};
