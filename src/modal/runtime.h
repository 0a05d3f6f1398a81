/* runtime: what Modal's containers need besides their image: the client's own package at its own version,
 * what that imports, a Python to add. Got once from the package registry (or a configured place) and kept
 * below the state directory. */
#pragma once
#include "base.h"

struct modal;

/* `name` as the clients ask for it: "modal-client-mount-1.6.4",
 * "python-build-standalone.20230826.3.11.5-gnu"; or ours: "client-deps-1.6.4-2025.06-311". `done` gets the
 * directory below which the files lie at their own paths (borrowed), or the error, owned. It may come from
 * inside the call. NOT_FOUND: no such global mount. */
void runtime_mount(struct modal *modal, const char *name,
                   void (*done)(void *owner, const char *directory, struct error *error), void *owner);
char *runtime_path(const struct modal *modal, const char *name); /* where it lies; owned */
char *runtime_deps_name(const char *client_version, const char *builder, const char *python); /* owned */
void runtime_free(struct modal *modal); /* jobs under way end */
