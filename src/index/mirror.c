/* Repositories opened: those on this disk where they are, others as mirrors that are fetched.
 *
 * What is on this disk is only ever read, from git's own objects: neither its work tree nor its refs are
 * touched, and whose files they are is the file system's matter. A mirror has branches and tags and no work
 * tree; a fetch that is cut leaves its old refs. */
#include "inside.h"

#include <dirent.h>
#include <git2.h>
#include <stdlib.h>

struct error *git_failure(int code, const char *format, ...) {
    const git_error *last = git_error_last();
    va_list args;
    va_start(args, format);
    scoped_string char *what = mem_vprintf(format, args);
    va_end(args);
    enum error_code kind = ERROR_INTERNAL;
    int class = last ? last->klass : GIT_ERROR_NONE;
    if (code == GIT_ENOTFOUND)
        kind = ERROR_NOT_FOUND;
    else if (code == GIT_EAUTH || class == GIT_ERROR_SSH || code == GIT_ECERTIFICATE)
        kind = ERROR_PERMISSION_DENIED;
    else if (class == GIT_ERROR_NET || class == GIT_ERROR_HTTP || class == GIT_ERROR_SSL ||
             class == GIT_ERROR_OS)
        kind = ERROR_UNAVAILABLE;
    else if (class == GIT_ERROR_REPOSITORY)
        kind = ERROR_FAILED_PRECONDITION;
    return error_new(kind, "%s: %s", what, last && last->message ? last->message : "git tells no reason");
}

/* ---- on this disk ---- */

static int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* NULL: no file:// URL. Owned. */
static char *local_path(const char *url) {
    if (strncmp(url, "file://", 7) != 0) return NULL;
    struct text path = {0};
    for (const char *c = url + 7; *c; c++) {
        int high = *c == '%' && c[1] ? digit(c[1]) : -1, low = high >= 0 && c[2] ? digit(c[2]) : -1;
        if (low >= 0) c += 2;
        text_add_char(&path, (char)(low >= 0 ? high << 4 | low : *c));
    }
    return text_take(&path);
}

static struct error *open_local(const char *path, struct repository *repository) {
    if (!file_exists(path)) return error_new(ERROR_NOT_FOUND, "there is nothing at %s", path);
    int code = git_repository_open_ext(&repository->git, path, GIT_REPOSITORY_OPEN_NO_SEARCH, NULL);
    if (code == GIT_ENOTFOUND)
        return error_new(ERROR_NOT_FOUND, "%s is no git repository (`git init` makes one of it)", path);
    return code == 0 ? NULL : git_failure(code, "%s", path);
}

/* ---- elsewhere ---- */

struct ask {
    bool asked; /* credentials: once */
};

static int on_credentials(git_credential **out, const char *url, const char *user, unsigned allowed,
                          void *payload) {
    struct ask *ask = payload;
    (void)url;
    if (!ask->asked && (allowed & GIT_CREDENTIAL_SSH_KEY)) {
        ask->asked = true;
        return git_credential_ssh_key_from_agent(out, user ? user : "git");
    }
    git_error_set_str(GIT_ERROR_NET,
                      "it asks for credentials: put user and token into the URL, or a key into "
                      "the SSH agent");
    return GIT_EAUTH;
}

/* Packs whose fetch was cut: nothing names them. */
static void drop_cut_packs(const char *mirror) {
    scoped_string char *folder = path_join(mirror, "objects/pack");
    DIR *directory = opendir(folder);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        if (strncmp(entry->d_name, "pack_git2_", 10) != 0 && strncmp(entry->d_name, "tmp_", 4) != 0) continue;
        scoped_string char *path = path_join(folder, entry->d_name);
        unlink(path);
    }
    if (directory) closedir(directory);
}

static struct error *fetch_from(git_remote *remote, struct repository *repository) {
    char branches[] = "+refs/heads/*:refs/heads/*", tags[] = "+refs/tags/*:refs/tags/*";
    char *specs[] = {branches, tags};
    const git_strarray wanted = {specs, COUNT(specs)};
    struct ask ask = {false};
    git_fetch_options options;
    git_buf head = {0};
    git_fetch_options_init(&options, GIT_FETCH_OPTIONS_VERSION);
    options.callbacks.credentials = on_credentials;
    options.callbacks.payload = &ask;
    options.prune = GIT_FETCH_PRUNE;
    options.download_tags = GIT_REMOTE_DOWNLOAD_TAGS_NONE; /* the second refspec has them */
    options.update_fetchhead = 0; /* the URL, with what is secret in it, would be there */
    int code = git_remote_connect(remote, GIT_DIRECTION_FETCH, &options.callbacks, NULL, NULL);
    if (code == 0 && git_remote_default_branch(&head, remote) == 0)
        git_repository_set_head(repository->git, head.ptr);
    git_buf_dispose(&head);
    if (code == 0) code = git_remote_fetch(remote, &wanted, &options, NULL);
    return code == 0 ? NULL : git_failure(code, "fetch");
}

static struct error *open_mirror(const struct index_repository *which, bool fetch,
                                 struct repository *repository) {
    int code = git_repository_open_bare(&repository->git, which->mirror);
    if (!fetch && code != 0) return error_new(ERROR_FAILED_PRECONDITION, "it was not fetched yet");
    if (code != 0) {
        TRY_PLAIN(tree_remove(which->mirror)); /* begun, and no repository yet */
        TRY_PLAIN(dir_make(which->mirror, 0700));
        code = git_repository_init(&repository->git, which->mirror, true);
        if (code != 0) return git_failure(code, "%s", which->mirror);
    }
    if (!fetch) return NULL;
    drop_cut_packs(which->mirror);
    git_remote *remote = NULL;
    git_remote_create_options options;
    git_remote_create_options_init(&options, GIT_REMOTE_CREATE_OPTIONS_VERSION);
    options.repository = repository->git;
    options.flags = GIT_REMOTE_CREATE_SKIP_INSTEADOF; /* the URL is what was said */
    code = git_remote_create_with_opts(&remote, which->url, &options);
    struct error *error = code == 0 ? fetch_from(remote, repository) : git_failure(code, "this URL");
    git_remote_free(remote);
    return error;
}

/* Once, and never ended: ending it leaks what it keeps for other threads. */
static void begin_library(void) {
    if (git_libgit2_init() > 1) git_libgit2_shutdown(); /* it was begun already: only counted down */
}

struct error *repository_open(const struct index_repository *which, bool fetch,
                              struct repository **ret_repository) {
    scoped(repository) struct repository *repository = NEW(struct repository);
    begin_library();
    /* Whoever may read the files may read them: nothing of the repository's own settings is ever run. */
    git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
    scoped_string char *path = local_path(which->url);
    scoped_string char *told = index_url_public(which->url);
    if (path)
        TRY(open_local(path, repository), "%s", told);
    else
        TRY(open_mirror(which, fetch, repository), "%s", told);
    *ret_repository = take(repository);
    return NULL;
}

void repository_free(struct repository *repository) {
    if (!repository) return;
    git_repository_free(repository->git);
    free(repository);
}
