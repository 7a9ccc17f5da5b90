/* SPDX-License-Identifier: Apache-2.0
 * Times two models in fresh processes. A worker gets both models and one sample in a private temporary folder and answers
 * with the raw seconds; its answer is checked like any other input. */
#include "prove.h"

#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <clquant/quantize.h>

#include "base/file.h"
#include "base/json.h"
#include "formats/arrays.h"
#include "formats/onnx.h"

enum { PROCESSES = 5 };
extern char **environ;

struct folder {
    char path[256];
    char reference[300], candidate[300], sample[300], answer[300];
    bool made;
};

static clq_status make_folder(struct folder *f, const struct clq_proof_request *q, struct clq_error *err)
{
    const char *base = getenv("TMPDIR");
    if (!base || !base[0] || strlen(base) > 200) base = "/tmp";
    snprintf(f->path, sizeof f->path, "%s/clquant-XXXXXX", base);
    if (!mkdtemp(f->path)) return clq_fail(err, CLQ_ERR_IO, "'%s': %s", f->path, strerror(errno));
    f->made = true;
    snprintf(f->reference, sizeof f->reference, "%s/reference.onnx", f->path);
    snprintf(f->candidate, sizeof f->candidate, "%s/candidate.onnx", f->path);
    snprintf(f->sample, sizeof f->sample, "%s/sample.npz", f->path);
    snprintf(f->answer, sizeof f->answer, "%s/answer.json", f->path);
    CLQ_TRY(clq_onnx_write(f->reference, q->reference, false, err));
    CLQ_TRY(clq_onnx_write(f->candidate, q->candidate, false, err));
    int n = q->reference->graph.n_inputs;
    const char **names = calloc((size_t)n + 1, sizeof *names);
    clq_tensor *rows = calloc((size_t)n + 1, sizeof *rows);
    clq_status st = names && rows ? CLQ_OK : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; i < n && st == CLQ_OK; i++) { /* one sample: a leading axis of 1 in front of the whole input */
        names[i] = q->reference->graph.inputs[i].name;
        rows[i] = q->inputs[i];
        if (rows[i].rank >= CLQ_MAX_RANK) st = clq_fail(err, CLQ_ERR_UNSUPPORTED, "input '%s': rank %d is too high", names[i], rows[i].rank);
        for (int d = rows[i].rank; d > 0 && st == CLQ_OK; d--) rows[i].shape[d] = rows[i].shape[d - 1];
        rows[i].shape[0] = 1;
        rows[i].rank++;
    }
    if (st == CLQ_OK) st = clq_npz_write(f->sample, (size_t)n, names, rows, false, NULL, err);
    free(names);
    free(rows);
    return st;
}

static void remove_folder(const struct folder *f)
{
    if (!f->made) return;
    unlink(f->reference);
    unlink(f->candidate);
    unlink(f->sample);
    unlink(f->answer);
    rmdir(f->path);
}

static clq_status run_worker(const struct folder *f, const struct clq_proof_request *q, size_t pairs, const struct clq_context *ctx, struct clq_error *err)
{
    char count[32], threads[32], device[32];
    snprintf(count, sizeof count, "%zu", pairs);
    snprintf(threads, sizeof threads, "%d", ctx->threads);
    clq_context_device_spec(device, ctx);
    char *argv[] = {(char *)(uintptr_t)q->worker, "bench", "model", (char *)(uintptr_t)f->candidate, "--reference", (char *)(uintptr_t)f->reference, "--data",
                    (char *)(uintptr_t)f->sample, "--pairs", count, "--threads", threads, "--raw", "--json", "--quiet", "--measure",
                    (char *)(uintptr_t)clq_context_runtime_spec(ctx), "--device", device,
                    ctx->cl ? "--require-device" : NULL, NULL}; /* times of the CPU are no verdict on a device */
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status;
    if (posix_spawn_file_actions_init(&actions) != 0) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", 0, 0);
    posix_spawn_file_actions_addopen(&actions, 1, f->answer, 0x241 /* O_WRONLY | O_CREAT | O_TRUNC */, 0600);
    int e = posix_spawn(&pid, q->worker, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (e != 0) return clq_fail(err, CLQ_ERR_IO, "'%s': %s", q->worker, strerror(e));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return clq_fail(err, CLQ_ERR_IO, "'%s': %s", q->worker, strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return clq_fail(err, CLQ_ERR_INTERNAL, "the timing process '%s' failed with %s %d", q->worker, WIFEXITED(status) ? "exit code" : "signal",
                        WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    return CLQ_OK;
}

/* The pairs of all processes. */
struct collected {
    struct clq_timing *pairs;
    size_t n, capacity, disturbed, unsure;
};

static clq_status read_answer(struct collected *c, int process, const char *path, struct clq_error *err)
{
    clq_json *doc;
    CLQ_TRY(clq_json_read(&doc, path, (size_t)16 << 20, err));
    const clq_json *list = clq_json_get(doc, "seconds");
    clq_status st = clq_json_is_array(list) ? CLQ_OK : clq_fail(err, CLQ_ERR_INTERNAL, "the timing process gave no 'seconds'");
    const double disturbed = clq_json_as_real(clq_json_get(doc, "disturbed"), 0), unsure = clq_json_as_real(clq_json_get(doc, "discarded"), 0);
    if (disturbed > 0 && disturbed <= (double)clq_json_size(list)) c->disturbed += (size_t)disturbed;
    if (unsure > 0 && unsure <= disturbed && disturbed <= (double)clq_json_size(list)) c->unsure += (size_t)unsure;
    for (size_t i = 0; st == CLQ_OK && i < clq_json_size(list) && c->n < c->capacity; i++) {
        const clq_json *p = clq_json_at(list, i);
        double r = clq_json_as_real(clq_json_at(p, 0), 0), m = clq_json_as_real(clq_json_at(p, 1), 0);
        if (!(r > 0) || !(m > 0) || !isfinite(r) || !isfinite(m)) st = clq_fail(err, CLQ_ERR_INTERNAL, "the timing process gave a time that is none");
        else c->pairs[c->n++] = (struct clq_timing){.reference = r, .candidate = m, .process = process};
    }
    clq_json_free(doc);
    return st;
}

/* Fresh sessions of this process: new programs and new memory each time. */
static clq_status in_process(struct collected *c, size_t each, int process, struct clq_context *ctx, const struct clq_proof_request *q)
{
    clq_pair_timing t;
    double *seconds = calloc(each * 2, sizeof *seconds);
    if (!seconds) return CLQ_ERR_OUT_OF_MEMORY;
    clq_progress_fn *progress = ctx->progress; /* the phase is reported by the caller */
    ctx->progress = NULL;
    clq_status st = clq_time_pair(&t, ctx, q->candidate, q->reference, q->inputs, each, seconds);
    ctx->progress = progress;
    for (size_t i = 0; st == CLQ_OK && i < each; i++)
        c->pairs[c->n++] = (struct clq_timing){.reference = seconds[2 * i], .candidate = seconds[2 * i + 1], .process = process};
    if (st == CLQ_OK) c->disturbed += t.disturbed;
    if (st == CLQ_OK) c->unsure += t.discarded;
    free(seconds);
    return st;
}

int clq_proof_rounds(const struct clq_proof_request *q)
{
    return q->rounds ? q->rounds : PROCESSES;
}

static clq_status collect(struct collected *c, size_t each, struct clq_context *ctx, const struct clq_proof_request *q, struct clq_error *err)
{
    struct folder f = {.made = false};
    int rounds = clq_proof_rounds(q);
    clq_status st = q->worker ? make_folder(&f, q, err) : CLQ_OK;
    for (int k = 0; k < rounds && st == CLQ_OK; k++) {
        if (!clq_context_progress(ctx, q->phase, (double)k / rounds)) st = clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
        else if (!q->worker) st = in_process(c, each, k, ctx, q);
        else {
            st = run_worker(&f, q, each, ctx, err);
            if (st == CLQ_OK) st = read_answer(c, k, f.answer, err);
        }
    }
    remove_folder(&f);
    return st;
}

/* Pairs that were disturbed twice count all the same: a plan is never refused for the machine's sake, but it is told. */
static void tell(struct clq_accept_verdict *v, struct clq_context *ctx, const struct clq_proof_request *q, const struct collected *c)
{
    v->disturbed = c->disturbed;
    v->unsure = c->unsure;
    if (c->unsure * 10 > c->n) /* fewer do not move a median */
        clq_context_log(ctx, "%s: %zu of %zu pairs were disturbed by steal time or another clock, and again when they were repeated: less sure", q->phase, c->unsure, c->n);
}

clq_status clq_prove_speed(struct clq_accept_verdict *out, struct clq_context *ctx, const struct clq_proof_request *q, struct clq_error *err)
{
    size_t rounds = (size_t)clq_proof_rounds(q), each = (q->pairs + rounds - 1) / rounds;
    if (each < 2) each = 2;
    struct collected c = {.pairs = calloc(each * rounds, sizeof *c.pairs), .capacity = each * rounds};
    if (!c.pairs) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    clq_status st = collect(&c, each, ctx, q, err);
    struct clq_accept_options o = {.min_pairs = q->pairs < 200 ? q->pairs : 200, .min_processes = rounds < PROCESSES ? rounds : PROCESSES, .seed = 1};
    if (st == CLQ_OK) st = clq_accept_plan(out, c.pairs, c.n, &o, err);
    if (st == CLQ_OK) tell(out, ctx, q, &c);
    if (st == CLQ_OK) clq_context_progress(ctx, q->phase, 1);
    free(c.pairs);
    return st;
}
