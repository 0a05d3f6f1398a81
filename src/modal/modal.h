/* modal: Modal's service, so that its official clients work against catnap as they are.
 *
 * Knows Modal's nouns (apps, functions, images, mounts, volumes, secrets, calls, inputs, tasks) and its
 * protocol; docs/compat.md tells what of it is there. Functions become functions of the pool: an input waits
 * as a ticket, and its container fetches it over a socket of its own, which is its identity. Web functions
 * get their requests from the gateway. */
#pragma once
#include "gateway.h"
#include "identity.h"
#include "image.h"
#include "node.h"
#include "pool.h"
#include "store.h"
#include "volume.h"

struct modal;
struct modal_options {
    struct io_loop *loop;
    struct store *store;
    struct pool *pool;
    struct node *node;
    struct identity *identity;
    struct volumes *volumes;
    struct image_store *images;
    const char *state_dir, *run_dir, *logs_dir; /* copied, as all strings */
    const char *user;                           /* the workspace: USER--APP-FUNCTION */
    const char *gateway;                        /* ADDR:PORT, for URLs */
    const char *domain;
    const char *pythons; /* directory with relocatable Pythons, 3.11/ and so on, for `add_python`; NULL: uv is
                            asked */
    bool gpu_fallback;   /* a function whose GPU this machine has not runs without one */
    bool no_auth;        /* no token is asked for */
    bool secure;         /* the gateway speaks https */
    struct tls *tls;     /* borrowed: of the addresses that clients ask at; NULL: in the clear */
};
struct modal *modal_new(const struct modal_options *options);
/* What was deployed is in the pool again. Before pool_adopt. */
must_check struct error *modal_load(struct modal *modal);
/* Calls of the daemon before go on. After pool_adopt. */
void modal_resume(struct modal *modal);
/* Requests to web functions come by this gateway from now on. */
void modal_serve_web(struct modal *modal, struct gateway *gateway);
/* ADDR:PORT (a token is asked for) or a path of a Unix socket (its mode says who may). */
must_check struct error *modal_listen(struct modal *modal, const char *address, uint16_t *ret_port);
/* A web function on that port of the gateway's as well, from now on and after each deploy; 0: not any more.
 * NOT_FOUND, FAILED_PRECONDITION (no web function), ALREADY_EXISTS (the port). `done` comes once and owns the
 * error; it is told after the change is on the disk. */
void modal_publish(struct modal *modal, const char *app, const char *function, uint16_t port,
                   void (*done)(void *owner, struct error *error), void *owner);
/* No new connections; those that are there go on. Before modal_close, where another daemon comes after this
 * one.
 */
void modal_retire(struct modal *modal);
/* No call is at work but such as wait for something and are asked again: they may be cut. */
bool modal_is_quiet(const struct modal *modal);
/* No new work; long polls end. Containers can still be heard, so that they end well. Before gateway_free. */
void modal_close(struct modal *modal);
/* Before the pool. */
void modal_free(struct modal *modal);
DEFINE_SCOPED(modal)
