/* SPDX-License-Identifier: Apache-2.0
 * Paths: outputs before the work, the cache, safe names. The library checks again when it writes. */
#include "files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool same_file(const char *a, const struct stat *b)
{
    struct stat s;
    return a && stat(a, &s) == 0 && s.st_dev == b->st_dev && s.st_ino == b->st_ino;
}

/* The folder that a path lies in, for free(). */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? cli_print("%.*s", slash == path ? 1 : (int)(slash - path), path) : cli_print(".");
}

bool cli_same_output(const char *a, const char *b)
{
    struct stat s, t;
    if (stat(b, &s) == 0 && same_file(a, &s)) return true;
    const char *a_slash = strrchr(a, '/'), *b_slash = strrchr(b, '/');
    if (strcmp(a_slash ? a_slash + 1 : a, b_slash ? b_slash + 1 : b) != 0) return false;
    char *folder = folder_of(a), *other = folder_of(b);
    bool same = stat(other, &t) == 0 && same_file(folder, &t);
    free(folder);
    free(other);
    return same;
}

static int check_folder(struct cli *cli, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = folder_of(path);
    int code = CLI_GO_ON;
    struct stat s;
    if (slash && !slash[1]) code = cli_usage(cli, "output '%s' names a folder, expected a file", path);
    else if (stat(folder, &s) != 0) code = cli_system(cli, "output '%s': folder '%s': %s", path, folder, strerror(errno));
    else if (!S_ISDIR(s.st_mode)) code = cli_system(cli, "output '%s': '%s' is not a folder", path, folder);
    else if (access(folder, W_OK | X_OK) != 0) code = cli_system(cli, "output '%s': folder '%s' cannot be written: %s", path, folder, strerror(errno));
    free(folder);
    return code;
}

int cli_check_output(struct cli *cli, const char *path, const char *const *inputs, int n_inputs)
{
    struct stat s;
    if (lstat(path, &s) == 0) {
        if (S_ISDIR(s.st_mode)) return cli_usage(cli, "output '%s' is a folder, expected a file", path);
        if (!S_ISREG(s.st_mode) && !S_ISLNK(s.st_mode)) return cli_usage(cli, "output '%s' exists and is no regular file", path);
        if (stat(path, &s) == 0)
            for (int i = 0; i < n_inputs; i++)
                if (same_file(inputs[i], &s)) return cli_usage(cli, "output '%s' is the input '%s'; inputs are never replaced", path, inputs[i]);
        if (!cli->force) return cli_usage(cli, "output '%s' exists; --force replaces it", path);
    }
    return check_folder(cli, path);
}

int cli_find_journal(struct cli *cli, char **out, const char *given, bool resume, const char *beside, const char *const *others, int n)
{
    bool none = given && strcmp(given, "none") == 0;
    *out = none ? NULL : given ? cli_print("%s", given) : beside ? cli_print("%s.journal", beside) : NULL;
    if (resume && !*out) return cli_usage(cli, "--resume needs a journal: %s", none ? "--journal is none" : "--journal FILE says where it is");
    for (int i = 0; i < n && *out; i++)
        if (others[i] && cli_same_output(*out, others[i])) return cli_usage(cli, "--journal '%s' is an input or another output", *out);
    return *out ? check_folder(cli, *out) : CLI_GO_ON;
}

void cli_tell_journal(struct cli *cli, const char *journal)
{
    if (journal && cli_stopped() && access(journal, F_OK) == 0)
        cli_note(cli, "what was measured is in '%s': the same command goes on from there", journal);
}

bool cli_make_folder(const char *path)
{
    struct stat s;
    if (mkdir(path, 0777) == 0) return true;
    int e = errno;
    if (e == EEXIST && stat(path, &s) == 0 && S_ISDIR(s.st_mode)) return true;
    errno = e == EEXIST ? ENOTDIR : e;
    return false;
}

char *cli_cache_path(void)
{
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (base && base[0] == '/') return cli_print("%s/clquant", base);
    return home && home[0] == '/' ? cli_print("%s/.cache/clquant", home) : NULL;
}

char *cli_cache_folder(const char **why)
{
    char *folder = cli_cache_path(), *parent = folder ? cli_print("%s", folder) : NULL;
    if (!folder) {
        *why = "there is no home folder";
        return NULL;
    }
    *strrchr(parent, '/') = 0;
    bool made = cli_make_folder(parent) && cli_make_folder(folder) && access(folder, W_OK | X_OK) == 0;
    if (!made) *why = strerror(errno);
    free(parent);
    if (made) return folder;
    free(folder);
    return NULL;
}

char *cli_safe_name(const char *name, const char *otherwise)
{
    static const char legal[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    char *out = cli_print("%.150s", *name ? name : otherwise);
    for (char *p = out; *p; p++)
        if (!strchr(legal, *p) || (p == out && *p == '.')) *p = '_';
    return out;
}

char *cli_own_path(void)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0) return NULL;
    path[n] = 0;
    return cli_print("%s", path);
}
