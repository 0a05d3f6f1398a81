/* gather: what the sources of a COPY name, and the hash of all of it.
 *
 * Three kinds of places are read through one small table: a directory of this machine (never out of it: links
 * are resolved inside), a list of files by hash, and the layers of another image. Owners of a context count
 * for nothing (the files become root's), times neither: the same content is the same step. */
#include "copy.h"

#include "fetch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ITEMS_MAX = 2000000,
    DEPTH_MAX = 1000,
    LINKS_MAX = 40,
    FILE_TIME = 315532800 /* 1980-01-01: files by hash have no time */
};
#define BAD(...) error_new(ERROR_INVALID_ARGUMENT, __VA_ARGS__)

struct found {
    enum tree_kind kind;
    unsigned mode;
    uid_t uid;
    gid_t gid;
    struct timespec mtime;
    char *file, *link;
    const char *digest;
};
struct origin {
    const struct copy *copy;
    struct tree tree;
    struct within *within;
    struct ignore *ignore;
    void (*look)(struct origin *origin, const char *clean, struct found *ret_found);
    char **(*list)(struct origin *origin, const char *clean);
};

static void found_done(struct found *found) {
    free(found->file), free(found->link);
}

static char *link_at(int parent, const char *name) {
    char to[PATH_MAX];
    ssize_t size = readlinkat(parent, name, to, sizeof to);
    return size > 0 && size < (ssize_t)sizeof to ? mem_string_n(to, (size_t)size) : NULL;
}

static struct found found_of(const struct stat *at) {
    return (struct found){
        .kind = S_ISDIR(at->st_mode)   ? TREE_DIRECTORY
                : S_ISREG(at->st_mode) ? TREE_FILE
                : S_ISLNK(at->st_mode) ? TREE_LINK
                                       : TREE_OTHER,
        .mode = at->st_mode & 07777,
        .uid = at->st_uid,
        .gid = at->st_gid,
        .mtime = at->st_mtim,
    };
}

/* ---- a directory of this machine ---- */

/* Where it really lies: the path as given may lead through links, which the kernel would follow out of the
 * context. */
static char *real_path(int parent, const char *name) {
    char link[40], directory[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", parent);
    ssize_t size = readlink(link, directory, sizeof directory);
    return size > 0 && size < (ssize_t)sizeof directory ? mem_printf("%.*s/%s", (int)size, directory, name)
                                                        : mem_string("");
}

static void directory_look(struct origin *origin, const char *clean, struct found *ret_found) {
    int parent = within_fd(origin->within);
    const char *name = ".";
    struct stat at;
    *ret_found = (struct found){.kind = TREE_ABSENT};
    if (*clean && ignore_hides(origin->ignore, clean)) return;
    scoped(error) struct error *error =
        *clean ? within_parent(origin->within, clean, false, &parent, &name) : NULL;
    if (error || fstatat(parent, name, &at, AT_SYMLINK_NOFOLLOW)) return;
    *ret_found = found_of(&at);
    ret_found->uid = 0, ret_found->gid = 0;
    ret_found->file = real_path(parent, name);
    if (ret_found->kind == TREE_LINK) ret_found->link = link_at(parent, name);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char **directory_list(struct origin *origin, const char *clean) {
    scoped_string char *dot = mem_printf("%s%s.", clean, *clean ? "/" : "");
    char **names = mem_array(1, sizeof *names);
    size_t count = 0;
    int parent;
    const char *name;
    scoped(error) struct error *error = within_parent(origin->within, dot, false, &parent, &name);
    int fd = error ? -1 : openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        names = mem_grow(names, count + 2, sizeof *names);
        names[count++] = mem_string(entry->d_name);
        names[count] = NULL;
    }
    if (directory) closedir(directory);
    qsort(names, count, sizeof *names, by_name);
    return names;
}

/* ---- a list of files by hash ---- */

/* The first file whose path is not before `clean`. */
static size_t file_index(const struct copy_files *files, const char *clean) {
    size_t low = 0, high = files->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(files->file[middle].path, clean) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool below(const char *path, const char *clean) {
    size_t size = strlen(clean);
    return !size || (strncmp(path, clean, size) == 0 && path[size] == '/');
}

static void files_look(struct origin *origin, const char *clean, struct found *ret_found) {
    const struct copy_files *files = origin->copy->files;
    *ret_found = (struct found){.kind = TREE_ABSENT, .mode = 0755, .mtime = {.tv_sec = FILE_TIME}};
    if (!*clean) ret_found->kind = TREE_DIRECTORY;
    if (!files || !*clean) return;
    size_t i = file_index(files, clean);
    if (i < files->count && strcmp(files->file[i].path, clean) == 0) {
        ret_found->kind = TREE_FILE;
        ret_found->mode = files->file[i].mode;
        ret_found->file = mem_string(files->file[i].blob);
        ret_found->digest = files->file[i].digest;
        return;
    }
    scoped_string char *first = mem_printf("%s/", clean);
    i = file_index(files, first);
    if (i < files->count && below(files->file[i].path, clean)) ret_found->kind = TREE_DIRECTORY;
}

static char **files_list(struct origin *origin, const char *clean) {
    const struct copy_files *files = origin->copy->files;
    char **names = mem_array(1, sizeof *names);
    size_t count = 0, skip = *clean ? strlen(clean) + 1 : 0;
    scoped_string char *first = *clean ? mem_printf("%s/", clean) : mem_string("");
    for (size_t i = files ? file_index(files, first) : 0; files && i < files->count; i++) {
        const char *path = files->file[i].path;
        if (!below(path, clean)) break;
        size_t size = strcspn(path + skip, "/");
        if (count > 0 && strlen(names[count - 1]) == size &&
            strncmp(names[count - 1], path + skip, size) == 0)
            continue;
        names = mem_grow(names, count + 2, sizeof *names);
        names[count++] = mem_string_n(path + skip, size);
        names[count] = NULL;
    }
    return names;
}

/* ---- layers ---- */

/* Directories on the way may be links (/bin); seldom, so they are resolved only where nothing is found. */
static void look_through_links(struct origin *origin, const char *clean, struct tree_node *ret_node) {
    overlay_look(&origin->tree, clean, ret_node);
    const char *slash = strrchr(clean, '/');
    if (ret_node->kind != TREE_ABSENT || !slash) return;
    scoped_string char *above = mem_string_n(clean, (size_t)(slash - clean)), *real = NULL;
    scoped(error) struct error *circle = overlay_resolve(&origin->tree, above, &real);
    if (circle || strcmp(real, above) == 0) return;
    scoped_string char *whole = mem_printf("%s%s%s", real, *real ? "/" : "", slash + 1);
    overlay_node_done(ret_node);
    overlay_look(&origin->tree, whole, ret_node);
}

static void layers_look(struct origin *origin, const char *clean, struct found *ret_found) {
    struct tree_node node;
    look_through_links(origin, clean, &node);
    *ret_found = (struct found){.kind = TREE_ABSENT};
    if (node.kind != TREE_ABSENT) *ret_found = found_of(&node.at);
    ret_found->kind = node.kind;
    if (node.kind == TREE_LINK) ret_found->link = link_at(AT_FDCWD, node.path);
    ret_found->file = take(node.path);
}

static char **layers_list(struct origin *origin, const char *clean) {
    struct tree_node node;
    overlay_look(&origin->tree, clean, &node);
    bool direct = node.kind == TREE_DIRECTORY;
    overlay_node_done(&node);
    if (direct) return overlay_list(&origin->tree, clean);
    scoped_string char *real = NULL;
    scoped(error) struct error *circle = overlay_resolve(&origin->tree, clean, &real);
    return overlay_list(&origin->tree, circle ? clean : real);
}

/* ---- gathering ---- */

static struct copy_item *item_add(struct copy *copy, const char *relative, struct found *taken_found) {
    if (copy->item_count == copy->item_capacity) {
        copy->item_capacity = copy->item_capacity ? copy->item_capacity * 2 : 64;
        copy->items = mem_grow(copy->items, copy->item_capacity, sizeof *copy->items);
    }
    struct copy_item *item = &copy->items[copy->item_count++];
    *item = (struct copy_item){
        .relative = mem_string(relative),
        .kind = taken_found->kind == TREE_DIRECTORY ? ITEM_DIRECTORY
                : taken_found->kind == TREE_LINK    ? ITEM_LINK
                                                    : ITEM_FILE,
        .mode = taken_found->mode,
        .uid = taken_found->uid,
        .gid = taken_found->gid,
        .mtime = taken_found->mtime,
        .file = take(taken_found->file),
        .link = take(taken_found->link),
    };
    if (taken_found->digest) memcpy(item->digest, taken_found->digest, SHA256_HEX_SIZE);
    return item;
}

static struct error *gather_one(struct copy *copy, struct origin *origin, const char *clean,
                                const char *relative, int depth);

static struct error *gather_below(struct copy *copy, struct origin *origin, const char *clean,
                                  const char *relative, int depth) {
    char **names = origin->list(origin, clean);
    struct error *error = NULL;
    if (depth > DEPTH_MAX) error = BAD("%s: directories nested too deep", clean);
    for (size_t i = 0; names[i] && !error; i++) {
        scoped_string char *inner = mem_printf("%s%s%s", clean, *clean ? "/" : "", names[i]);
        scoped_string char *inner_relative = mem_printf("%s%s%s", relative, *relative ? "/" : "", names[i]);
        error = gather_one(copy, origin, inner, inner_relative, depth + 1);
    }
    words_free(names);
    return error;
}

/* What is hidden by .dockerignore may have something below that is not. Devices, sockets and fifos are left
 * out. */
static struct error *gather_one(struct copy *copy, struct origin *origin, const char *clean,
                                const char *relative, int depth) {
    struct found found;
    if (copy->item_count >= ITEMS_MAX)
        return error_new(ERROR_RESOURCE_EXHAUSTED, "more than %d files", ITEMS_MAX);
    if (copy->cancelled && atomic_load(copy->cancelled)) return error_new(ERROR_CANCELLED, "cancelled");
    origin->look(origin, clean, &found);
    enum tree_kind kind = found.kind;
    if (kind == TREE_FILE || (kind == TREE_DIRECTORY && *relative) || (kind == TREE_LINK && found.link))
        item_add(copy, relative, &found);
    found_done(&found);
    if (kind != TREE_DIRECTORY && !(kind == TREE_ABSENT && origin->ignore)) return NULL;
    return gather_below(copy, origin, clean, relative, depth);
}

/* A source that is a link stands for what it points to, inside of its place, under the name that was given.
 */
static struct error *follow_links(struct origin *origin, const char *clean, char **ret_real,
                                  struct found *ret_found) {
    scoped_string char *real = mem_string(clean);
    for (int links = 0; links < LINKS_MAX; links++) {
        origin->look(origin, real, ret_found);
        if (ret_found->kind != TREE_LINK || !ret_found->link) {
            *ret_real = take(real);
            return NULL;
        }
        const char *slash = strrchr(real, '/');
        scoped_string char *next =
            ret_found->link[0] == '/'
                ? mem_string(ret_found->link)
                : mem_printf("%.*s%s", slash ? (int)(slash - real) + 1 : 0, real, ret_found->link);
        found_done(ret_found);
        free(take(real));
        TRY_PLAIN(within_clean(next, &real));
    }
    return BAD("links in a circle");
}

static struct error *source_take(struct copy *copy, struct origin *origin, const char *clean) {
    struct found found;
    scoped_string char *real = NULL;
    TRY_PLAIN(follow_links(origin, clean, &real, &found));
    const char *slash = strrchr(clean, '/');
    enum tree_kind kind = found.kind;
    if (kind == TREE_FILE) item_add(copy, slash ? slash + 1 : clean, &found);
    copy->one_file = kind == TREE_FILE && copy->item_count == 1;
    found_done(&found);
    if (kind == TREE_FILE) return NULL;
    if (kind != TREE_DIRECTORY)
        return error_new(ERROR_NOT_FOUND, "there is no %s", *clean ? clean : "context");
    copy->into = true;
    return gather_below(copy, origin, real, "", 0);
}

static bool has_wildcard(const char *text) {
    return strpbrk(text, "*?[") != NULL;
}

/* Part by part: each may be a pattern. */
static struct error *pattern_walk(struct copy *copy, struct origin *origin, const char *clean,
                                  struct span rest, size_t *ret_matches) {
    if (!rest.data) {
        ++*ret_matches;
        return source_take(copy, origin, clean);
    }
    scoped_string char *part = span_string(span_cut(&rest, '/'));
    char **names = origin->list(origin, clean);
    struct error *error = NULL;
    for (size_t i = 0; names[i] && !error; i++) {
        if (!pattern_matches(part, names[i])) continue;
        scoped_string char *inner = mem_printf("%s%s%s", clean, *clean ? "/" : "", names[i]);
        struct found found;
        origin->look(origin, inner, &found);
        bool goes_on = found.kind == TREE_DIRECTORY || found.kind == TREE_LINK ||
                       (!rest.data && found.kind != TREE_ABSENT);
        found_done(&found);
        if (goes_on) error = pattern_walk(copy, origin, inner, rest, ret_matches);
    }
    words_free(names);
    return error;
}

/* ADD of a URL: a file named by the last part of its path, for its owner only, as docker does. */
static struct error *url_gather(struct copy *copy, const char *url) {
    scoped_string char *name = fetch_name(url), *id = random_id("fetched"),
                       *path = path_join(copy->scratch, id);
    struct found found = {.kind = TREE_FILE, .mode = 0600};
    words_add(&copy->fetched, path);
    if (!*name && span_ends(span_of(copy->to), "/"))
        return BAD("it has no name that the file could get; say one: ADD %s %sNAME", url, copy->to);
    TRY_PLAIN(fetch_file(url, path, copy->cancelled, &found.mtime.tv_sec));
    found.file = mem_string(path);
    struct copy_item *item = item_add(copy, *name ? name : "fetched", &found);
    item->fetched = true;
    copy->one_file = copy->item_count == 1;
    return NULL;
}

static struct error *source_gather(struct copy *copy, struct origin *origin, const char *source) {
    scoped_string char *clean = NULL;
    size_t matches = 0;
    if (copy->add && fetch_is_url(source)) return url_gather(copy, source);
    TRY_PLAIN(within_clean(source, &clean));
    if (!has_wildcard(clean)) {
        return source_take(copy, origin, clean);
    }
    TRY_PLAIN(pattern_walk(copy, origin, "", span_of(clean), &matches));
    if (matches > 1) copy->into = true;
    return matches > 0 ? NULL : error_new(ERROR_NOT_FOUND, "nothing fits %s", source);
}

/* Where a context is both, a list of files and a directory: a file of just that path is the list's. */
static bool listed(const struct copy *copy, const char *source) {
    const char *clean = source + strspn(source, "/");
    for (size_t i = 0; copy->files && i < copy->files->count; i++)
        if (strcmp(copy->files->file[i].path, clean) == 0) return true;
    return false;
}

static struct error *gather_all(struct copy *copy, struct origin *origin) {
    if (copy->from == COPY_FROM_TEXT) {
        struct found found = {.kind = TREE_FILE, .mode = 0644, .mtime = {.tv_sec = FILE_TIME}};
        struct copy_item *item = item_add(copy, copy->sources[0], &found);
        sha256_of(span_of(copy->text), item->digest);
        return NULL;
    }
    const char *where = copy->from == COPY_FROM_LAYERS ? "the image" : "the context";
    struct origin list = {.copy = copy, .look = files_look, .list = files_list};
    for (size_t i = 0; copy->sources[i]; i++) {
        bool of_list = copy->from == COPY_FROM_CONTEXT && copy->directory && listed(copy, copy->sources[i]);
        TRY(source_gather(copy, of_list ? &list : origin, copy->sources[i]), "%s in %s", copy->sources[i],
            where);
    }
    return NULL;
}

/* ---- the hash ---- */

static struct error *hash_file(struct copy_item *item) {
    scoped_fd int fd = open(item->file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    scoped(sha256) struct sha256 *sum = sha256_new();
    enum { PIECE = 256 * 1024 };
    scoped_text struct text piece = {0};
    if (fd < 0) return error_errno(errno, "read %s", item->file);
    for (;;) {
        ssize_t got = read(fd, text_reserve(&piece, PIECE), PIECE);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_errno(errno, "read %s", item->file);
        if (got == 0) break;
        sha256_add(sum, piece.data, (size_t)got);
    }
    sha256_hex(sum, item->digest);
    return NULL;
}

static struct error *hash_all(struct copy *copy, char ret_sum[SHA256_HEX_SIZE]) {
    scoped(sha256) struct sha256 *sum = sha256_new();
    for (size_t i = 0; i < copy->item_count; i++) {
        struct copy_item *item = &copy->items[i];
        if (copy->cancelled && atomic_load(copy->cancelled)) return error_new(ERROR_CANCELLED, "cancelled");
        if (item->kind == ITEM_FILE && !item->digest[0]) TRY_PLAIN(hash_file(item));
        scoped_string char *line =
            mem_printf("%d %o %s %s", item->kind, item->mode, item->digest, item->link ? item->link : "");
        sha256_add(sum, item->relative, strlen(item->relative) + 1);
        sha256_add(sum, line, strlen(line) + 1);
    }
    sha256_hex(sum, ret_sum);
    if (!copy->checksum) return NULL;
    if (copy->item_count != 1 || strncmp(copy->checksum, "sha256:", 7) != 0)
        return BAD("--checksum=%s: it is sha256:HEX, of one file", copy->checksum);
    if (strcmp(copy->checksum + 7, copy->items[0].digest) == 0) return NULL;
    return error_new(ERROR_DATA_LOSS, "it is sha256:%s, not %s", copy->items[0].digest, copy->checksum);
}

struct error *copy_gather(struct copy *copy, bool hash, char ret_sum[SHA256_HEX_SIZE]) {
    struct origin origin = {.copy = copy, .look = files_look, .list = files_list};
    scoped(within) struct within *within = NULL;
    scoped(ignore) struct ignore *ignore = NULL;
    copy->into = words_count(copy->sources) > 1 || span_ends(span_of(copy->to), "/");
    if (copy->from == COPY_FROM_LAYERS) {
        origin.tree = (struct tree){copy->layers, words_count(copy->layers), copy->grafts};
        origin.look = layers_look, origin.list = layers_list;
    } else if (copy->from == COPY_FROM_CONTEXT && copy->directory) {
        TRY(within_open(copy->directory, &within), "the context");
        ignore = ignore_read(copy->directory);
        origin.within = within, origin.ignore = ignore;
        origin.look = directory_look, origin.list = directory_list;
    }
    TRY_PLAIN(gather_all(copy, &origin));
    return hash ? hash_all(copy, ret_sum) : NULL;
}
