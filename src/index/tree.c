/* What is in a repository: refs, trees, files. Links and submodules are never followed: what they name is not
 * in the repository. */
#include "inside.h"

#include <git2.h>
#include <stdlib.h>

#define DEPTH_MAX 64 /* folders in folders; who has more wants to hurt */
#define REFS_MAX 1000

/* ---- which tree ---- */

/* Branches, tags, full names and hashes; the rest of git's language of revisions can make it look for long.
 */
static int find_object(struct repository *repository, const char *rev, git_object **ret_object) {
    static const char *const kinds[] = {"refs/heads/", "refs/tags/", ""};
    git_oid id;
    size_t size = strlen(rev);
    for (size_t i = 0; i < COUNT(kinds); i++) {
        git_reference *reference = NULL;
        scoped_string char *name = mem_printf("%s%s", kinds[i], rev);
        if (git_reference_lookup(&reference, repository->git, name) != 0) continue;
        int code = git_reference_peel(ret_object, reference, GIT_OBJECT_ANY);
        git_reference_free(reference);
        return code;
    }
    if (size < GIT_OID_MINPREFIXLEN + 3 || size > GIT_OID_HEXSZ || git_oid_fromstrn(&id, rev, size) != 0)
        return GIT_ENOTFOUND;
    return git_object_lookup_prefix(ret_object, repository->git, &id, size, GIT_OBJECT_ANY);
}

static struct error *head_of(struct repository *repository, git_object **ret_object) {
    if (find_object(repository, "HEAD", ret_object) == 0) return NULL;
    if (git_repository_is_empty(repository->git) == 1 || git_repository_head_unborn(repository->git) == 1)
        return error_new(ERROR_FAILED_PRECONDITION, "it has no commit yet");
    return git_failure(GIT_ENOTFOUND, "HEAD");
}

struct error *tree_of(struct repository *repository, const char *rev, struct git_tree **ret_tree,
                      char commit[48]) {
    git_object *object = NULL, *peeled = NULL;
    commit[0] = 0;
    if (rev && find_object(repository, rev, &object) != 0)
        return error_new(ERROR_NOT_FOUND, "there is no branch, tag or commit %s", rev);
    if (!rev) TRY_PLAIN(head_of(repository, &object));
    if (git_object_peel(&peeled, object, GIT_OBJECT_COMMIT) == 0)
        git_oid_tostr(commit, 41, git_object_id(peeled));
    git_object_free(peeled);
    peeled = NULL;
    int code = git_object_peel(&peeled, object, GIT_OBJECT_TREE);
    git_object_free(object);
    if (code != 0) return git_failure(code, "%s", rev ? rev : "HEAD");
    *ret_tree = (struct git_tree *)peeled;
    return NULL;
}

struct error *repository_refs(struct repository *repository, json_t **ret_refs) {
    git_reference_iterator *iterator = NULL;
    git_reference *reference = NULL;
    scoped_json json_t *refs = json_array();
    int code = git_reference_iterator_new(&iterator, repository->git);
    if (code != 0) return git_failure(code, "refs");
    while (json_array_size(refs) < REFS_MAX && git_reference_next(&reference, iterator) == 0) {
        git_object *commit = NULL;
        char hash[48] = "";
        bool known = git_reference_is_branch(reference) || git_reference_is_tag(reference);
        if (known && git_reference_peel(&commit, reference, GIT_OBJECT_COMMIT) == 0) {
            git_oid_tostr(hash, 41, git_object_id(commit));
            json_t *one = json_pack("{s:s,s:s}", "name", git_reference_name(reference), "commit", hash);
            if (one) json_array_append_new(refs, one); /* a name that is no UTF-8 cannot be told */
        }
        git_object_free(commit);
        git_reference_free(reference);
    }
    git_reference_iterator_free(iterator);
    *ret_refs = json_incref(refs);
    return NULL;
}

/* ---- files of a tree ---- */

struct walk {
    struct error *(*visit)(void *owner, const struct tree_file *file);
    void *owner;
    struct error *error;
};

static size_t depth_of(const char *root) {
    size_t depth = 0;
    for (; *root; root++) depth += *root == '/';
    return depth;
}

static int on_entry(const char *root, const git_tree_entry *entry, void *payload) {
    struct walk *walk = payload;
    const char *name = git_tree_entry_name(entry);
    git_filemode_t mode = git_tree_entry_filemode(entry);
    if (name[0] == '.' || strchr(name, '/')) return 1; /* and nothing below it */
    if (mode == GIT_FILEMODE_TREE) return depth_of(root) >= DEPTH_MAX;
    if (mode != GIT_FILEMODE_BLOB && mode != GIT_FILEMODE_BLOB_EXECUTABLE) return 0;
    scoped_string char *path = mem_printf("%s%s", root, name);
    struct tree_file file = {.path = path};
    git_oid_tostr(file.hash, 41, git_tree_entry_id(entry));
    walk->error = walk->visit(walk->owner, &file);
    return walk->error ? -1 : 0;
}

struct error *tree_walk(struct git_tree *tree,
                        struct error *(*visit)(void *owner, const struct tree_file *file), void *owner) {
    struct walk walk = {.visit = visit, .owner = owner};
    int code = git_tree_walk(tree, GIT_TREEWALK_PRE, on_entry, &walk);
    if (walk.error) return walk.error;
    return code == 0 ? NULL : git_failure(code, "a folder of it");
}

/* The size is asked first: a huge file is never read. */
struct error *tree_content(struct repository *repository, const char *hash, size_t limit_bytes,
                           struct text *ret_content) {
    git_oid id;
    git_odb *objects = NULL;
    git_blob *blob = NULL;
    git_object_t type = GIT_OBJECT_INVALID;
    size_t size = 0;
    int code = git_oid_fromstr(&id, hash);
    if (code == 0) code = git_repository_odb(&objects, repository->git);
    if (code == 0) code = git_odb_read_header(&size, &type, objects, &id);
    git_odb_free(objects);
    if (code != 0) return git_failure(code, "file %s", hash);
    if (size > limit_bytes)
        return error_new(ERROR_RESOURCE_EXHAUSTED, "the file has %zu bytes; at most %zu are read", size,
                         limit_bytes);
    code = git_blob_lookup(&blob, repository->git, &id);
    if (code != 0) return git_failure(code, "file %s", hash);
    text_add(ret_content, (struct span){git_blob_rawcontent(blob), (size_t)git_blob_rawsize(blob)});
    git_blob_free(blob);
    return NULL;
}

/* ---- reading one ---- */

static json_t *entries_of(const git_tree *tree) {
    json_t *entries = json_array();
    for (size_t i = 0; i < git_tree_entrycount(tree); i++) {
        const git_tree_entry *entry = git_tree_entry_byindex(tree, i);
        git_filemode_t mode = git_tree_entry_filemode(entry);
        bool folder = mode == GIT_FILEMODE_TREE;
        if (!folder && mode != GIT_FILEMODE_BLOB && mode != GIT_FILEMODE_BLOB_EXECUTABLE) continue;
        json_t *one =
            json_pack("{s:s,s:s}", "kind", folder ? "dir" : "file", "basename", git_tree_entry_name(entry));
        if (one) json_array_append_new(entries, one);
    }
    return entries;
}

static struct error *read_entry(struct repository *repository, const git_tree *tree, const char *path,
                                size_t limit_bytes, json_t **ret_entries, struct text *ret_content) {
    git_tree_entry *entry = NULL;
    git_tree *folder = NULL;
    char hash[48];
    int code = git_tree_entry_bypath(&entry, tree, path);
    if (code != 0) return error_new(ERROR_NOT_FOUND, "there is no file or folder %s", path);
    git_filemode_t mode = git_tree_entry_filemode(entry);
    git_oid_tostr(hash, 41, git_tree_entry_id(entry));
    if (mode == GIT_FILEMODE_TREE) code = git_tree_lookup(&folder, repository->git, git_tree_entry_id(entry));
    git_tree_entry_free(entry);
    if (code != 0) return git_failure(code, "%s", path);
    if (folder) {
        *ret_entries = entries_of(folder);
        git_tree_free(folder);
        return NULL;
    }
    if (mode != GIT_FILEMODE_BLOB && mode != GIT_FILEMODE_BLOB_EXECUTABLE)
        return error_new(ERROR_NOT_FOUND, "%s is a link or a submodule: it is not followed", path);
    return tree_content(repository, hash, limit_bytes, ret_content);
}

struct error *repository_read(struct repository *repository, const char *rev, const char *path,
                              size_t limit_bytes, json_t **ret_entries, struct text *ret_content) {
    struct git_tree *tree = NULL;
    char commit[48];
    *ret_entries = NULL;
    TRY_PLAIN(tree_of(repository, rev, &tree, commit));
    struct error *error = NULL;
    if (*path)
        error = read_entry(repository, tree, path, limit_bytes, ret_entries, ret_content);
    else
        *ret_entries = entries_of(tree);
    git_tree_free(tree);
    return error;
}
