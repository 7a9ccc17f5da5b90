/* SPDX-License-Identifier: Apache-2.0
 * Every variant is prepared, checked and timed roughly; the default and the fastest few stay; then each of these meets the
 * incumbent in interleaved pairs. */
#include "tune_search.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "scheduler/compare.h"
#include "scheduler/stats.h"

/* Pairs of one short problem must reach CLQ_KERNEL_MIN_SECONDS, or nothing is ever taken. */
enum { FINALISTS = 4, MOST_PAIRS = 601, ROUGH = 5, MOST_RUNS = 256 };
#define ROUGH_LIMIT 1.5      /* a candidate that looks slower than this does not come into the final */
#define HOPELESS 4.0         /* slower than that by single runs: not timed again, a sample of it would take seconds */
#define PROBLEM_SECONDS 1e-3 /* of every problem in one sample */

/* A variant that is ready to run. */
struct entrant {
    void *runner;
    clq_tune_row *row;
};

/* A family under search: those in the final, and how often each problem runs in a sample so that none is drowned. */
struct contest {
    const struct clq_tune_family *f;
    struct entrant e[FINALISTS + 1];
    size_t n;
    int runs[CLQ_TUNE_PROBLEMS];
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static clq_status report(const struct clq_tune_search *s, const char *family, struct clq_error *err)
{
    const double fraction = (double)s->done / (double)(s->total ? s->total : 1);
    if (!s->progress || s->progress(s->user, family, fraction < 1 ? fraction : 1)) return CLQ_OK;
    return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
}

/* Seconds of problem i, run so many times; a failure shows in *st. */
static double sample_one(void *runner, const struct clq_tune_family *f, size_t i, int runs, clq_status *st, struct clq_error *err)
{
    const double begin = now();
    for (int k = 0; k < runs && *st == CLQ_OK; k++) *st = f->run(runner, i, err);
    if (*st == CLQ_OK) *st = f->finish(runner, err);
    return now() - begin;
}

/* Seconds of one sample. once: every problem one time. */
static double sample(void *runner, const struct contest *c, bool once, clq_status *st, struct clq_error *err)
{
    double sum = 0;
    for (size_t i = 0; i < c->f->problems && *st == CLQ_OK; i++) sum += sample_one(runner, c->f, i, once ? 1 : c->runs[i], st, err);
    return sum;
}

/* Runs per problem, from this runner's speed. */
static void set_runs(struct contest *c, void *runner, clq_status *st, struct clq_error *err)
{
    for (size_t i = 0; i < c->f->problems && *st == CLQ_OK; i++) {
        double t[ROUGH];
        for (int k = 0; k < ROUGH; k++) t[k] = sample_one(runner, c->f, i, 1, st, err);
        const double runs = PROBLEM_SECONDS / clq_median(t, ROUGH);
        c->runs[i] = runs < 1 ? 1 : runs > MOST_RUNS ? MOST_RUNS : (int)runs;
    }
}

static void leave(const struct contest *c, struct entrant *e)
{
    if (e->runner) c->f->end(e->runner);
    *e = (struct entrant){0};
}

/* The default first, then by rough time; what is far behind or too many leaves. */
static void drop_slow(struct contest *c)
{
    struct entrant *e = c->e;
    for (size_t i = 1; i < c->n; i++)
        for (size_t k = i; k > 1 && e[k].row->seconds < e[k - 1].row->seconds; k--) {
            const struct entrant swap = e[k];
            e[k] = e[k - 1];
            e[k - 1] = swap;
        }
    double best = e[0].row->seconds;
    if (c->n > 1 && e[1].row->seconds < best) best = e[1].row->seconds;
    while (c->n > 1 && (c->n > FINALISTS || e[c->n - 1].row->seconds > ROUGH_LIMIT * best)) leave(c, &e[--c->n]);
}

/* Prepares and times one variant; true where it takes part from now on. *first: single runs of the first that passed. */
static bool enter(struct contest *c, struct entrant *next, size_t i, double *first, struct clq_error *why)
{
    clq_tune_row *row = next->row;
    clq_status st = c->f->begin(&next->runner, c->f->user, i, why);
    double alone = 0, times[ROUGH];
    for (int k = 0; k < 2 && st == CLQ_OK; k++) {
        const double seconds = sample(next->runner, c, true, &st, why);
        if (k == 0 || seconds < alone) alone = seconds;
    }
    if (st == CLQ_OK && c->f->variants == 1) { /* nothing to compare with */
        row->passed = true;
        row->seconds = alone;
        return true;
    }
    if (st == CLQ_OK && c->n > 0 && alone > HOPELESS * *first) {
        row->passed = true;
        row->seconds = c->e[0].row->seconds * alone / *first;
        return false;
    }
    if (c->n == 0) set_runs(c, next->runner, &st, why);
    for (int k = 0; k < ROUGH && st == CLQ_OK; k++) times[k] = sample(next->runner, c, false, &st, why);
    if (st != CLQ_OK) {
        snprintf(row->why, sizeof row->why, "%.150s", why->text);
        return false;
    }
    row->passed = true;
    row->seconds = clq_median(times, ROUGH);
    if (c->n == 0) *first = alone;
    return true;
}

static clq_status qualify(struct clq_tune_search *s, struct contest *c, struct clq_error *err)
{
    double first = 0;
    for (size_t i = 0; i < c->f->variants; i++, s->done++) {
        struct clq_error why = {""};
        CLQ_TRY(report(s, c->f->name, err));
        struct entrant *next = &c->e[c->n];
        *next = (struct entrant){.row = &s->rows[s->n++]};
        *next->row = (clq_tune_row){0};
        snprintf(next->row->family, sizeof next->row->family, "%s", c->f->name);
        snprintf(next->row->variant, sizeof next->row->variant, "%s", c->f->variant(c->f->user, i));
        if (enter(c, next, i, &first, &why)) {
            c->n++;
            drop_slow(c);
        } else {
            leave(c, next);
        }
    }
    return CLQ_OK;
}

/* Interleaved pairs of the incumbent and a challenger. */
static clq_status duel(struct clq_kernel_verdict *out, const struct contest *c, void *incumbent, void *challenger, struct clq_error *err)
{
    struct clq_timing pairs[MOST_PAIRS];
    clq_status st = CLQ_OK;
    double all = 0;
    size_t n = 0;
    for (; n < MOST_PAIRS && (n < CLQ_KERNEL_MIN_PAIRS || all < CLQ_KERNEL_MIN_SECONDS) && st == CLQ_OK; n++) {
        struct clq_timing *p = &pairs[n];
        *p = (struct clq_timing){0};
        if (clq_pair_candidate_first(n)) p->candidate = sample(challenger, c, false, &st, err);
        p->reference = sample(incumbent, c, false, &st, err);
        if (!clq_pair_candidate_first(n)) p->candidate = sample(challenger, c, false, &st, err);
        all += p->reference + p->candidate;
    }
    return st == CLQ_OK ? clq_choose_kernel(out, pairs, n, err) : st;
}

static clq_status final(struct clq_tune_search *s, struct contest *c, struct clq_error *err)
{
    struct clq_tuning_choice choice = {.ratio = 1};
    size_t best = 0;
    for (size_t i = 1; i < c->n; i++) {
        struct clq_kernel_verdict v = {0};
        CLQ_TRY(report(s, c->f->name, err));
        CLQ_TRY(duel(&v, c, c->e[best].runner, c->e[i].runner, err));
        c->e[i].row->ratio = v.ratio;
        c->e[i].row->spread = v.spread;
        c->e[i].row->pairs = (int)v.pairs;
        choice.pairs += (int)v.pairs;
        if (!v.take) continue;
        choice.ratio *= v.ratio;
        choice.spread = v.spread;
        best = i;
    }
    c->e[best].row->chosen = true;
    snprintf(choice.family, sizeof choice.family, "%s", c->f->name);
    snprintf(choice.variant, sizeof choice.variant, "%s", c->e[best].row->variant);
    if (s->tuning->n == CLQ_TUNING_CHOICES) return clq_fail(err, CLQ_ERR_INTERNAL, "tuning: more than %d families", CLQ_TUNING_CHOICES);
    s->tuning->choice[s->tuning->n++] = choice;
    return CLQ_OK;
}

clq_status clq_tune_search(struct clq_tune_search *s, const struct clq_tune_family *f, struct clq_error *err)
{
    struct contest c = {.f = f};
    clq_status st = qualify(s, &c, err);
    if (st == CLQ_OK && c.n > 0) st = final(s, &c, err);
    for (size_t i = 0; i <= FINALISTS; i++) leave(&c, &c.e[i]);
    return st;
}
