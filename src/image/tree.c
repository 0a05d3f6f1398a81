/* What overlay shows, by looking: of each name the uppermost counts, a whiteout hides what lies below,
 * directories are merged down to an opaque one or to what is no directory. Layers never change, so looking is
 * safe without locks; no path goes through a link, because every part is looked at before the next. */
#include "tree.h"

#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>

enum { LINKS_MAX = 40 };

static enum tree_kind kind_of(const struct stat *at) {
    return S_ISDIR(at->st_mode)   ? TREE_DIRECTORY
           : S_ISREG(at->st_mode) ? TREE_FILE
           : S_ISLNK(at->st_mode) ? TREE_LINK
                                  : TREE_OTHER;
}

/* The directories that make up one place of the tree, uppermost first. */
struct place {
    char **dirs;
    size_t count;
};

static void place_done(struct place *place) {
    for (size_t i = 0; i < place->count; i++) free(place->dirs[i]);
    free(place->dirs);
    *place = (struct place){0};
}

static void place_of_root(const struct tree *tree, struct place *ret_place) {
    *ret_place = (struct place){.dirs = mem_array(tree->count + 1, sizeof *ret_place->dirs)};
    for (size_t i = 0; i < tree->count; i++) {
        ret_place->dirs[ret_place->count++] = mem_string(tree->dirs[i]);
        if (within_is_opaque(tree->dirs[i])) break;
    }
}

/* One step down: *ret_node is the uppermost of that name, `place` becomes the directories that it is made of.
 */
static void step(struct place *place, struct span name, const char *graft, struct tree_node *ret_node) {
    struct place below = {.dirs = mem_array(place->count + 2, sizeof *below.dirs)};
    *ret_node = (struct tree_node){.kind = TREE_ABSENT};
    bool cut = false;
    for (size_t i = 0; i < place->count && !cut; i++) {
        struct stat at;
        scoped_string char *path = mem_printf("%s/" SPAN_FORMAT, place->dirs[i], SPAN_ARGS(name));
        if (lstat(path, &at)) continue;
        cut = !S_ISDIR(at.st_mode) || within_is_opaque(path);
        if (within_is_whiteout(&at)) break;
        if (below.count == 0) *ret_node = (struct tree_node){kind_of(&at), at, mem_string(path)};
        if (S_ISDIR(at.st_mode)) below.dirs[below.count++] = take(path);
    }
    if (graft && !cut) below.dirs[below.count++] = mem_string(graft);
    place_done(place);
    *place = below;
}

/* The graft at the first `size` bytes of a clean path; NULL: none. */
static const char *graft_at(const struct tree *tree, const char *clean, size_t size) {
    for (char *const *graft = tree->grafts; graft && *graft; graft++)
        if (strlen(*graft) == size + 1 && strncmp(*graft + 1, clean, size) == 0) return *graft;
    return NULL;
}

static void walk(const struct tree *tree, const char *clean, struct tree_node *ret_node,
                 struct place *ret_place) {
    struct span rest = span_of(clean);
    place_of_root(tree, ret_place);
    *ret_node = (struct tree_node){.kind = TREE_DIRECTORY};
    if (ret_place->count > 0) {
        ret_node->path = mem_string(ret_place->dirs[0]);
        (void)lstat(ret_node->path, &ret_node->at);
    }
    while (rest.data && *clean && ret_node->kind == TREE_DIRECTORY) {
        struct span name = span_cut(&rest, '/');
        overlay_node_done(ret_node);
        step(ret_place, name, graft_at(tree, clean, (size_t)(name.data + name.size - clean)), ret_node);
    }
    if (!rest.data || !*clean) return;
    overlay_node_done(ret_node); /* something is left to walk, but there is no directory */
    *ret_node = (struct tree_node){.kind = TREE_ABSENT};
    place_done(ret_place);
}

void overlay_look(const struct tree *tree, const char *clean, struct tree_node *ret_node) {
    struct place place;
    walk(tree, clean, ret_node, &place);
    place_done(&place);
}

void overlay_node_done(struct tree_node *node) {
    free(node->path);
    *node = (struct tree_node){0};
}

/* ---- links ---- */

static char *read_link(const char *path) {
    char to[PATH_MAX];
    ssize_t size = readlink(path, to, sizeof to);
    return size > 0 && size < (ssize_t)sizeof to ? mem_string_n(to, (size_t)size) : NULL;
}

static char *above(const char *clean) {
    const char *slash = strrchr(clean, '/');
    return mem_string_n(clean, slash ? (size_t)(slash - clean) : 0);
}

/* ".." at the root stays there, as in every root. */
struct error *overlay_resolve(const struct tree *tree, const char *path, char **ret_clean) {
    scoped_string char *done = mem_string(""), *todo = mem_string(path);
    for (int links = 0; *todo;) {
        struct span rest = span_of(todo), name = span_cut(&rest, '/');
        scoped_string char *left = rest.data ? span_string(rest) : mem_string("");
        char *next = NULL;
        if (span_is(name, "..")) {
            next = above(done);
        } else if (name.size > 0 && !span_is(name, ".")) {
            struct tree_node node;
            next = mem_printf("%s%s" SPAN_FORMAT, done, *done ? "/" : "", SPAN_ARGS(name));
            overlay_look(tree, next, &node);
            scoped_string char *to = node.kind == TREE_LINK ? read_link(node.path) : NULL;
            overlay_node_done(&node);
            if (to) {
                free(next);
                if (++links > LINKS_MAX)
                    return error_new(ERROR_INVALID_ARGUMENT, "/%s: links in a circle", path);
                next = *to == '/' ? mem_string("") : mem_string(done);
                char *longer = mem_printf("%s/%s", to, left);
                free(left);
                left = longer;
            }
        }
        if (next) {
            free(done);
            done = next;
        }
        free(todo);
        todo = take(left);
        if (strlen(todo) + strlen(done) > PATH_MAX)
            return error_new(ERROR_INVALID_ARGUMENT, "/%s: too long", path);
    }
    *ret_clean = take(done);
    return NULL;
}

/* ---- directories and files ---- */

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static const char there[] = "there", hidden[] = "hidden";

static void list_one(const char *path, struct map *seen) {
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        struct span name = span_of(entry->d_name);
        struct stat at;
        if (span_is(name, ".") || span_is(name, "..") || map_get(seen, name)) continue;
        if (fstatat(dirfd(directory), entry->d_name, &at, AT_SYMLINK_NOFOLLOW)) continue;
        map_put(seen, name, (void *)(within_is_whiteout(&at) ? hidden : there));
    }
    if (directory) closedir(directory);
}

char **overlay_list(const struct tree *tree, const char *clean) {
    scoped(map) struct map *seen = map_new();
    struct tree_node node;
    struct place place;
    walk(tree, clean, &node, &place);
    for (size_t i = 0; i < place.count; i++) list_one(place.dirs[i], seen);
    overlay_node_done(&node);
    place_done(&place);
    char **names = mem_array(map_count(seen) + 1, sizeof *names);
    size_t count = 0;
    const char *name;
    void *value;
    for (size_t i = 0; map_next(seen, &i, &name, &value);)
        if (value == there) names[count++] = mem_string(name);
    qsort(names, count, sizeof *names, by_name);
    return names;
}

struct error *overlay_read(const struct tree *tree, const char *path, size_t limit_bytes,
                           struct text *ret_text) {
    scoped_string char *clean = NULL;
    struct tree_node node;
    TRY_PLAIN(overlay_resolve(tree, path, &clean));
    overlay_look(tree, clean, &node);
    struct error *error = node.kind == TREE_FILE ? file_read(node.path, limit_bytes, ret_text)
                                                 : error_new(ERROR_NOT_FOUND, "there is no file /%s", clean);
    overlay_node_done(&node);
    return error;
}
