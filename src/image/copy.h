/* COPY and ADD: what is to be copied, its hash, and the copying into a draft. For workers, but for copy_new
 * and copy_free. */
#pragma once
#include "inside.h"
#include "tree.h"

enum copy_from { COPY_FROM_CONTEXT, COPY_FROM_LAYERS, COPY_FROM_TEXT };
struct copy {
    enum copy_from from;
    char *directory;          /* a context that is a directory; NULL: `files` only */
    struct copy_files *files; /* a context that is a list; shared */
    char **layers, **grafts;  /* FROM_LAYERS: the same of the image that is copied from */
    char *text;               /* FROM_TEXT: a file of this content, named by the only source */
    char **sources;           /* patterns; owned */
    char *to;                 /* absolute; a / at the end means a directory */
    char *chown, *chmod;      /* NULL: as it is */
    bool add;                 /* tars are unpacked */
    char **onto,
        **onto_grafts;   /* the image so far: directories, top first, and what lies below (see tree.h) */
    const char *scratch; /* a directory where what is fetched lies until the copy is freed; borrowed */
    char **fetched;      /* files there */
    char *checksum;      /* "sha256:..." that the only file must have; NULL: any */
    const atomic_bool *cancelled;
    struct copy_item *items; /* made by copy_gather */
    size_t item_count, item_capacity;
    bool one_file; /* all that the sources name is one file */
    bool into;     /* what is copied goes into `to`, which is a directory */
};
void copy_free(struct copy *copy);

/* A context that is a list: sorted, shared by all steps of a build. */
struct copy_file {
    char *path, *blob; /* clean; where its content lies */
    char digest[SHA256_HEX_SIZE];
    unsigned mode;
};
struct copy_files {
    struct copy_file *file;
    size_t count;
    unsigned references;
};
must_check struct error *copy_files_new(struct store *store, const struct image_file *files, size_t count,
                                        struct copy_files **ret_files);
void copy_files_unref(struct copy_files *files);

/* Finds what the sources name. With `hash`: the content too is read, and *ret_sum says all that matters of
 * it. NOT_FOUND: a source that is not there. */
must_check struct error *copy_gather(struct copy *copy, bool hash, char ret_sum[SHA256_HEX_SIZE]);
must_check struct error *copy_apply(struct copy *copy, const char *upper);
/* "user[:group]" or numbers, by the tree's own /etc/passwd and /etc/group. */
must_check struct error *copy_owner(const struct tree *tree, const char *text, uid_t *ret_uid,
                                    gid_t *ret_gid);
/* A directory with all above it, as WORKDIR makes it; what is there stays as it is. */
must_check struct error *copy_make_directory(const struct tree *onto, const char *upper, const char *path,
                                             const char *owner);

/* ---- inside: gather.c and apply.c ---- */
enum item_kind { ITEM_DIRECTORY, ITEM_FILE, ITEM_LINK };
struct copy_item {
    char *relative; /* below `to`; "" itself */
    enum item_kind kind;
    unsigned mode;
    uid_t uid;
    gid_t gid;
    struct timespec mtime;
    char *file;                   /* on the disk; NULL: the copy's text */
    bool fetched;                 /* from the network: never unpacked */
    char *link;                   /* where it points to */
    char digest[SHA256_HEX_SIZE]; /* "": not known */
};

/* ---- ignore.c: .dockerignore ---- */
struct ignore;
struct ignore *ignore_read(const char *directory); /* never NULL */
bool ignore_hides(const struct ignore *ignore, const char *clean);
void ignore_free(struct ignore *ignore);
DEFINE_SCOPED(ignore)
/* Go's path matching: `*` and `?` stop at a slash, `**` does not. */
bool pattern_matches(const char *pattern, const char *path);
