/* token: tokens of Modal's clients, made and revoked by the daemon. */
#pragma once
#include "command.h"

/* kind: "client" or "proxy". The answer has texts `id` and `secret`. */
must_check struct error *token_new(struct command *command, const char *kind, const char *name,
                                   json_t **ret_answer);
must_check struct error *token_revoke(struct command *command, const char *id, json_t **ret_answer);
