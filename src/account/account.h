/* account: who may use the server, and what they did with it.
 *
 * Users, their tokens and passwords, invitations, settings, repositories' names, events and counts, in the
 * SQLite database of Tabby's own schema (TABBY_ROOT/ee/db.sqlite), so that a database of Tabby goes on
 * working here and one of ours there; and the log of events in files beside it. Without a database
 * (`--no-webserver`) the log is all.
 *
 * Two kinds of calls. On the loop: those marked so; they take microseconds. From any thread: all others; they
 * block, for the disk or for the price of a password hash, and belong into io_work. What they change is on
 * the disk when they return. Rows go by their number here; outside they are known by a short text
 * (account_id). */
#pragma once
#include "io.h"

struct account;

struct account_options {
    struct io_loop *loop;
    const char *root;        /* TABBY_ROOT, there already; borrowed for the call */
    bool without_database;   /* only the log of events */
    const char *secret;      /* of access tokens; a UUID. NULL: one that lives as long as this process */
    const char *impersonate; /* EMAIL:PASSWORD that signs in as the owner; NULL: none */
    uint32_t limit_per_minute /* requests a user, on the API; 0: no limit */;
};
/* FAILED_PRECONDITION: the database is of a version that is not known here (then it was not touched), or the
 * secret is no UUID. DATA_LOSS: it is no database, or a broken one. */
must_check struct error *account_open(const struct account_options *options, struct account **ret_account);
/* Writes what is queued first; each `done` comes from within. No other thread may be in a call. */
void account_free(struct account *account);
DEFINE_SCOPED(account)

/* ---- ids ---- */
#define ACCOUNT_ID_SIZE 32
void account_id(int64_t row, char out[ACCOUNT_ID_SIZE]);
bool account_row(struct span id, int64_t *ret_row);

/* ---- who asks. On the loop (account_known_blocking: anywhere) ---- */
struct account_who {
    int64_t user;       /* 0: nobody that is known, or nobody any more */
    bool is_admin;      /* now, in the database */
    bool by_auth_token; /* with the long-lived token of editors, not after signing in */
};
struct account_who account_known(struct account *account, struct span token);
struct account_who account_known_blocking(struct account *account, struct span token);
/* Counts a request; false: too many in this minute, and how long until the next. On the loop. */
bool account_may_ask(struct account *account, int64_t user, int64_t now_ms, int64_t *ret_wait_ms);

/* ---- signing in ---- */
struct account_tokens {
    char *access, *refresh;   /* owned: account_tokens_done */
    int64_t refresh_until_ms; /* wall clock */
};
void account_tokens_done(struct account_tokens *tokens);
struct account_registration {
    const char *email, *password, *name;
    const char *invitation_code; /* NULL: none; fine for the first user, who becomes the owner */
};
/* Errors of these are told to the user as they are. */
must_check struct error *account_register(struct account *account,
                                          const struct account_registration *new_user,
                                          struct account_tokens *ret_tokens);
must_check struct error *account_sign_in(struct account *account, const char *email, const char *password,
                                         struct account_tokens *ret_tokens);
/* The token turns; the former one gives the same once more, for half a minute and until the new one is used.
 */
must_check struct error *account_refresh(struct account *account, const char *refresh_token,
                                         struct account_tokens *ret_tokens);
must_check struct error *account_sign_out_everywhere(struct account *account, int64_t user);
must_check struct error *account_verify(struct account *account, struct span access_token);

/* ---- what is wrong with what somebody typed: adds {"path", "message"} to the array ---- */
void account_check_email(const char *email, const char *path, json_t *complaints);
void account_check_name(const char *name, const char *path, json_t *complaints);
/* `path` names the first of the two fields, which ends in 1; the second is the same with a 2. */
void account_check_passwords(const char *password1, const char *password2, const char *path,
                             json_t *complaints);

/* ---- passwords ---- */
/* old_password NULL: the user has none yet. */
must_check struct error *account_password_change(struct account *account, int64_t user,
                                                 const char *old_password, const char *new_password);
/* A code that lets whoever has it set a new password, for 15 minutes. */
must_check struct error *account_password_code(struct account *account, int64_t user, char **ret_code);
must_check struct error *account_password_reset(struct account *account, const char *code,
                                                const char *new_password);

/* ---- lists: JSON in the form of Relay connections, {"edges": [{"node", "cursor"}], "pageInfo"} ---- */
struct account_page {
    struct span after, before; /* ids; data NULL: from the end of the list */
    int64_t first, last;       /* how many; -1: all. At most one of the two */
};

/* ---- users: id, email, name, createdAt, isAdmin, isOwner, active, authToken, isPasswordSet, isSsoUser ----
 */
must_check struct error *account_owner_exists(struct account *account, bool *ret_exists); /* any admin */
must_check struct error *account_user(struct account *account, int64_t user, json_t **ret_user);
/* ids NULL: all. */
must_check struct error *account_users(struct account *account, const struct account_page *page,
                                       const json_t *ids, json_t **ret_users);
must_check struct error *account_user_active_set(struct account *account, int64_t user, bool active);
must_check struct error *account_user_admin_set(struct account *account, int64_t user, bool is_admin);
must_check struct error *account_user_name_set(struct account *account, int64_t user, const char *name);
must_check struct error *account_user_token_renew(struct account *account, int64_t user);
/* image: data NULL takes it away. */
must_check struct error *account_avatar_set(struct account *account, int64_t user, struct span image);
/* NOT_FOUND: no such user, or none set. */
must_check struct error *account_avatar(struct account *account, int64_t user, struct text *ret_image);

/* ---- invitations: id, email, code, createdAt ---- */
must_check struct error *account_invite(struct account *account, const char *email, int64_t *ret_row);
must_check struct error *account_invitations(struct account *account, const struct account_page *page,
                                             json_t **ret_invitations);
must_check struct error *account_uninvite(struct account *account, int64_t row);

/* ---- settings ---- */
/* allowedRegisterDomainList, disableClientSideTelemetry, disablePasswordLogin, externalUrl */
must_check struct error *account_settings(struct account *account, json_t **ret_settings);
must_check struct error *account_security_set(struct account *account, const json_t *settings);
must_check struct error *account_external_url_set(struct account *account, const char *url);
bool account_telemetry_disabled(struct account *account); /* on the loop */
must_check struct error *account_registration_token(struct account *account, bool renew, char **ret_token);

/* ---- repositories by git URL: id, name, gitUrl, refs (array of names) ---- */
must_check struct error *account_repository_add(struct account *account, const char *name,
                                                const char *git_url, const json_t *refs, int64_t *ret_row);
must_check struct error *account_repository_refs_set(struct account *account, int64_t row,
                                                     const json_t *refs);
must_check struct error *account_repository_remove(struct account *account, int64_t row, bool *ret_removed);
must_check struct error *account_repositories(struct account *account, const struct account_page *page,
                                              json_t **ret_repositories);

/* ---- servers of repositories: id, kind (GITHUB, GITLAB, GITHUB_SELF_HOSTED, GITLAB_SELF_HOSTED),
 * displayName, apiBase, status (PENDING, READY, FAILED), message, createdAt, updatedAt; the token is never
 * among them ---- */
struct account_integration {
    const char *kind, *name;
    const char *token;    /* NULL, of one that is changed: as it was */
    const char *api_base; /* NULL: none */
};
must_check struct error *account_integration_add(struct account *account,
                                                 const struct account_integration *integration,
                                                 int64_t *ret_row);
/* NOT_FOUND: also where it is of another kind. */
must_check struct error *account_integration_set(struct account *account, int64_t row,
                                                 const struct account_integration *integration);
must_check struct error *account_integration_remove(struct account *account, int64_t row, const char *kind);
struct account_integration_filter {
    const json_t *ids; /* of integrations; NULL: all */
    const char *kind;  /* NULL: all */
    int active;        /* of repositories; -1: both */
};
must_check struct error *account_integrations(struct account *account, const struct account_page *page,
                                              const struct account_integration_filter *filter,
                                              json_t **ret_integrations);
must_check struct error *account_integration_again(struct account *account,
                                                   int64_t row); /* is to be listed */
/* One that is to be listed: {"row", "kind", "name", "token", "apiBase"}; NULL: none. interval_s: how old what
 * was listed may get. */
must_check struct error *account_integration_due(struct account *account, int64_t interval_s,
                                                 json_t **ret_integration);
/* It was: list is [{"vendorId", "name", "gitUrl"}], or NULL and what went wrong. */
must_check struct error *account_integration_listed(struct account *account, const json_t *integration,
                                                    const json_t *list, const char *fault);

/* ---- repositories there: id, integrationId, kind, active, displayName, gitUrl, vendorId, refs, createdAt,
 * updatedAt ---- */
must_check struct error *account_provided(struct account *account, const struct account_page *page,
                                          const struct account_integration_filter *filter,
                                          json_t **ret_repositories);
/* [{"id", "kind", "name", "gitUrl", "refs", "token"}] of the active ones. */
must_check struct error *account_provided_sources(struct account *account, json_t **ret_sources);
must_check struct error *account_provided_active_set(struct account *account, int64_t row, bool active);
must_check struct error *account_provided_refs_set(struct account *account, int64_t row, const json_t *refs);

/* ---- documents that scripts hand in, each by the name of its source and its id there. Elsewhere a source is
 * known as "ingested:" and its name, escaped as in URLs (source_id), and a document by its escaped id (path)
 * ---- */
bool account_is_registrar(struct account *account,
                          struct span token); /* the registration token? On the loop */
struct account_document {
    const char *source, *id, *title, *body;
    const char *link;  /* NULL: none */
    int64_t expires_s; /* Unix time; 0: never */
};
/* In the place of the one with the same source and id. */
must_check struct error *account_document_put(struct account *account,
                                              const struct account_document *document);
/* id NULL: all of the source. What is not there is gone already. */
must_check struct error *account_document_remove(struct account *account, const char *source, const char *id);
must_check struct error *account_documents_expire(struct account *account, int64_t now_s);
/* [{"source", "sourceId", "pending", "failed", "total", "last"}]; last: the newest row. names NULL: all. */
must_check struct error *account_document_sources(struct account *account, const json_t *names,
                                                  json_t **ret_sources);
/* [{"path", "mark"}] of all, in the order of their rows; the mark is the row: another text has another. */
must_check struct error *account_document_list(struct account *account, const char *source_id,
                                               json_t **ret_list);
/* {"title", "body", "link"}. NOT_FOUND: it is gone. */
must_check struct error *account_document(struct account *account, const char *source_id, const char *path,
                                          json_t **ret_document);
/* Those up to a row were indexed; or those that wait could not be. */
must_check struct error *account_documents_mark(struct account *account, const char *source_id, int64_t last,
                                                bool indexed);

/* ---- groups: [{id, name, createdAt, updatedAt, members: [{isGroupAdmin, createdAt, updatedAt, user}]}] ----
 */
/* source_id NULL: all; else those that may read it. */
must_check struct error *account_groups(struct account *account, const char *source_id, json_t **ret_groups);
must_check struct error *account_group_add(struct account *account, const char *name, int64_t *ret_row);
must_check struct error *account_group_remove(struct account *account, int64_t row);
must_check struct error *account_member_set(struct account *account, int64_t group, int64_t user,
                                            bool is_admin);
must_check struct error *account_member_remove(struct account *account, int64_t group, int64_t user);
must_check struct error *account_member_leads(struct account *account, int64_t group, int64_t user,
                                              bool *ret_leads);
must_check struct error *account_read_grant(struct account *account, const char *source_id, int64_t group);
must_check struct error *account_read_revoke(struct account *account, const char *source_id, int64_t group);
/* Whether the user may read what has that source id ("git:ID"). */
must_check struct error *account_may_read(struct account *account, int64_t user, const char *source_id,
                                          bool *ret_may);

/* The id of a repository that config.toml names, by its place there: "config:" and this. */
void account_config_id(size_t place, char out[ACCOUNT_ID_SIZE]);

/* ---- runs of jobs: id, job, createdAt, updatedAt, startedAt, finishedAt, exitCode, stdout, stderr, command
 * ---- */
/* ago_s: seconds since it began. */
must_check struct error *account_job_begin(struct account *account, const char *job, const char *command,
                                           int64_t ago_s, int64_t *ret_row);
/* took_s: seconds, of the run itself. */
must_check struct error *account_job_end(struct account *account, int64_t row, int64_t took_s, int exit_code,
                                         struct span output);
/* ids, jobs (their names): NULL: all. */
must_check struct error *account_jobs(struct account *account, const struct account_page *page,
                                      const json_t *ids, const json_t *jobs, json_t **ret_jobs);
must_check struct error *account_job_last(struct account *account, const char *command,
                                          json_t **ret_job); /* NULL: none */
/* {success, failed, pending} */
must_check struct error *account_job_stats(struct account *account, const json_t *jobs, json_t **ret_stats);
/* At start: those that a server which is no more was at work on. */
must_check struct error *account_jobs_abandon(struct account *account);

/* ---- talk: threads are id, userId, isEphemeral, createdAt, updatedAt; messages id, threadId, role (USER,
 * ASSISTANT), content, codeSourceId, attachment (as stored: code, client_code, doc, code_file_list),
 * createdAt, updatedAt ---- */
must_check struct error *account_thread_new(struct account *account, int64_t user, int64_t *ret_row);
must_check struct error *account_thread(struct account *account, int64_t row, json_t **ret_thread);
struct account_thread_filter {
    const json_t *ids;   /* NULL: all */
    int64_t user;        /* 0: everybody's */
    int is_ephemeral;    /* -1: both kinds */
    int64_t readable_by; /* shows ephemeral ones of that user only; 0: all */
};
must_check struct error *account_threads(struct account *account, const struct account_page *page,
                                         const struct account_thread_filter *filter, json_t **ret_threads);
must_check struct error *account_messages(struct account *account, int64_t thread,
                                          const struct account_page *page, json_t **ret_messages);
/* FAILED_PRECONDITION: the last one is of the same role. attachment NULL: none. */
must_check struct error *account_message_add(struct account *account, int64_t thread, const char *role,
                                             const char *content, const json_t *attachment, int64_t *ret_row);
must_check struct error *account_message_set(struct account *account, int64_t row, const char *content);
/* NOT_FOUND: also where it is of another thread. */
must_check struct error *account_message_edit(struct account *account, int64_t thread, int64_t row,
                                              const char *content);
/* What an answer was given: {"code", "doc"}, arrays as stored. source_id: of the code; NULL: none. */
must_check struct error *account_message_attach(struct account *account, int64_t row, const char *source_id,
                                                const json_t *attachment);
must_check struct error *account_thread_persist(struct account *account, int64_t row);
must_check struct error *account_thread_remove(struct account *account, int64_t row);
must_check struct error *account_message_pair_remove(struct account *account, int64_t thread,
                                                     int64_t user_message, int64_t assistant_message);

/* ---- what was done ---- */
enum account_event_kind {
    ACCOUNT_COMPLETION,
    ACCOUNT_CHAT_COMPLETION,
    ACCOUNT_VIEW,
    ACCOUNT_SELECT,
    ACCOUNT_DISMISS
};
struct account_event {
    enum account_event_kind kind;
    int64_t user;              /* 0: nobody that has an account */
    struct span user_name;     /* where user is 0: what the client calls itself; may be empty */
    struct span completion_id; /* all but CHAT_COMPLETION */
    struct span language;      /* COMPLETION */
    json_t *fields;            /* taken; of the event, in the order in which they are to be written */
};
/* In the log and in the database before `done` (NULL: nobody waits) is called with an error or without. On
 * the loop. RESOURCE_EXHAUSTED: the disk is full, or too many wait already. */
void account_log(struct account *account, const struct account_event *event,
                 void (*done)(void *owner, struct error *error), void *owner);

/* start, end: "YYYY-MM-DD HH:MM:SS", UTC. users, languages (names as in events): NULL or empty: all. An array
 * of {start, end, language, completions, views, selects}, a row a day and language. */
struct account_span {
    const char *start, *end;
};
must_check struct error *account_daily_stats(struct account *account, const struct account_span *span,
                                             const json_t *users, const json_t *languages,
                                             json_t **ret_stats);
/* {start, end, userId, chats}, a row a day and user. */
must_check struct error *account_daily_chats(struct account *account, const struct account_span *span,
                                             const json_t *users, json_t **ret_stats);
/* A page of id, userId, kind, createdAt, payload. */
must_check struct error *account_events(struct account *account, const struct account_page *page,
                                        const struct account_span *span, const json_t *users,
                                        json_t **ret_events);

/* ---- times: SQLite's text to and from RFC 3339 ---- */
#define ACCOUNT_TIME_SIZE 32
bool account_time_read(struct span rfc3339, char out[ACCOUNT_TIME_SIZE]); /* to "YYYY-MM-DD HH:MM:SS", UTC */
