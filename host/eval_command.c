/* SPDX-License-Identifier: Apache-2.0
 * Runs the user's scoring program: see eval_command.h. Its output goes to files, so that it can never block on us. */
#include "eval_command.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/model.h"
#include "context.h"
#include "formats/onnx.h"
#include "runner.h"

extern char **environ;
enum { MOST_WORDS = 256, TAIL = 4096 };

struct words {
    char *text;              /* all words, each terminated */
    char *argv[MOST_WORDS + 1];
    int n;
};

/* Takes one character of a word, with its quoting. False at the end of the word. */
static bool take(const char **p, char *quote, char **to)
{
    char c = **p;
    if (!*quote && (c == ' ' || c == '\t' || c == '\n')) return false;
    if (c == *quote && c) *quote = 0;
    else if (!*quote && (c == '\'' || c == '"')) *quote = c;
    else if (c == '\\' && *quote != '\'' && (*p)[1]) *(*to)++ = *++*p;
    else *(*to)++ = c;
    ++*p;
    return true;
}

static clq_status split(struct words *w, const char *command, struct clq_error *err)
{
    *w = (struct words){.text = malloc(strlen(command) + 1)};
    if (!w->text) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    char *to = w->text;
    for (const char *p = command;;) {
        while (*p == ' ' || *p == '\t' || *p == '\n') p++;
        if (!*p) break;
        if (w->n == MOST_WORDS) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "eval command: more than %d words", MOST_WORDS);
        w->argv[w->n++] = to;
        char quote = 0;
        while (*p && take(&p, &quote, &to)) {}
        *to++ = 0;
        if (quote) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "eval command '%s': a quote %c is not closed", command, quote);
    }
    if (w->n == 0) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "eval command: it is empty");
    return CLQ_OK;
}

clq_status clq_eval_command_check(const char *command, struct clq_error *err)
{
    struct words w;
    clq_status st = split(&w, command, err);
    if (st == CLQ_OK && !strstr(command, "{model}"))
        st = clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "eval command '%s': it does not contain {model}, which the candidate's path replaces", command);
    free(w.text);
    return st;
}

/* The word with every {model} replaced; for free(). */
static char *with_model(const char *word, const char *path)
{
    static const char mark[] = "{model}";
    size_t marks = 0, n = sizeof mark - 1;
    for (const char *p = word; (p = strstr(p, mark)); p += n) marks++;
    char *out = malloc(strlen(word) + marks * strlen(path) + 1), *to = out;
    while (out && *word) {
        if (strncmp(word, mark, n) == 0) {
            to = stpcpy(to, path);
            word += n;
        } else *to++ = *word++;
    }
    if (out) *to = 0;
    return out;
}

struct place {
    char folder[256], model[300], out[300], errors[300];
};

/* The last line that is not blank, of at most TAIL bytes from the end; "" when there is none. */
static void last_line(char line[TAIL + 1], const char *path)
{
    FILE *f = fopen(path, "r");
    size_t n = 0;
    line[0] = 0;
    if (!f) return;
    if (fseek(f, 0, SEEK_END) == 0 && fseek(f, ftell(f) > TAIL ? ftell(f) - TAIL : 0, SEEK_SET) == 0) n = fread(line, 1, TAIL, f);
    fclose(f);
    while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r' || line[n - 1] == ' ' || line[n - 1] == '\t')) n--;
    line[n] = 0;
    char *start = strrchr(line, '\n');
    if (start) memmove(line, start + 1, strlen(start));
}

/* Waits until the process ends, the time is over or the work is canceled; then its whole group is ended. */
static clq_status wait_for(int *status, pid_t pid, struct clq_context *ctx, double timeout_s, const char *name, struct clq_error *err)
{
    double end = clq_now() + timeout_s;
    clq_status st = CLQ_OK;
    for (;;) {
        pid_t got = waitpid(pid, status, WNOHANG);
        if (got == pid) return st;
        if (got < 0 && errno != EINTR) return clq_fail(err, CLQ_ERR_IO, "eval command '%s': %s", name, strerror(errno));
        if (clq_now() > end) st = clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "eval command '%s': not done after %g s", name, timeout_s);
        else if (!clq_context_progress(ctx, "scoring with the command", 0)) st = clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
        if (st != CLQ_OK) {
            kill(-pid, SIGKILL);
            while (waitpid(pid, status, 0) < 0 && errno == EINTR) {}
            return st;
        }
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
}

static clq_status run(char **argv, const struct place *at, struct clq_context *ctx, double timeout_s, struct clq_error *err)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    pid_t pid;
    int status = 0;
    const int flags = 0x241; /* O_WRONLY | O_CREAT | O_TRUNC */
    if (posix_spawn_file_actions_init(&files) != 0) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    if (posix_spawnattr_init(&attributes) != 0) {
        posix_spawn_file_actions_destroy(&files);
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    }
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", 0, 0);
    posix_spawn_file_actions_addopen(&files, 1, at->out, flags, 0600);
    posix_spawn_file_actions_addopen(&files, 2, at->errors, flags, 0600);
    int e = posix_spawnp(&pid, argv[0], &files, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    if (e != 0) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "eval command '%s': %s", argv[0], strerror(e));
    CLQ_TRY(wait_for(&status, pid, ctx, timeout_s, argv[0], err));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return CLQ_OK;
    char why[TAIL + 1];
    last_line(why, at->errors);
    return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "eval command '%s' failed with %s %d%s%.400s", argv[0], WIFEXITED(status) ? "exit code" : "signal",
                    WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), why[0] ? ": " : "", why);
}

static clq_status read_score(double *out, const struct place *at, const char *name, struct clq_error *err)
{
    char line[TAIL + 1], *end;
    last_line(line, at->out);
    *out = strtod(line, &end);
    if (end == line || *end || !isfinite(*out))
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "eval command '%s': its last line is '%.200s', expected a number", name, line);
    return CLQ_OK;
}

static clq_status make_place(struct place *p, struct clq_error *err)
{
    const char *base = getenv("TMPDIR");
    if (!base || !base[0] || strlen(base) > 200) base = "/tmp";
    snprintf(p->folder, sizeof p->folder, "%s/clquant-XXXXXX", base);
    if (!mkdtemp(p->folder)) return clq_fail(err, CLQ_ERR_IO, "'%s': %s", p->folder, strerror(errno));
    snprintf(p->model, sizeof p->model, "%s/model.onnx", p->folder);
    snprintf(p->out, sizeof p->out, "%s/out", p->folder);
    snprintf(p->errors, sizeof p->errors, "%s/errors", p->folder);
    return CLQ_OK;
}

static void remove_place(const struct place *p)
{
    unlink(p->model);
    unlink(p->out);
    unlink(p->errors);
    rmdir(p->folder);
}

clq_status clq_eval_command_score(double *out, struct clq_context *ctx, const char *command, double timeout_s, const struct clq_model *model,
                                  struct clq_error *err)
{
    struct place at;
    struct words w;
    char *argv[MOST_WORDS + 1] = {NULL};
    CLQ_TRY(make_place(&at, err));
    clq_status st = split(&w, command, err);
    for (int i = 0; i < w.n && st == CLQ_OK; i++)
        if (!(argv[i] = with_model(w.argv[i], at.model))) st = clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    if (st == CLQ_OK) st = clq_onnx_write(at.model, model, false, err);
    if (st == CLQ_OK) st = run(argv, &at, ctx, timeout_s, err);
    if (st == CLQ_OK) st = read_score(out, &at, argv[0], err);
    for (int i = 0; i < w.n; i++) free(argv[i]);
    free(w.text);
    remove_place(&at);
    return st;
}
