/* SPDX-License-Identifier: Apache-2.0
 * The tuner. Per family: every legal variant is built, self-tested, checked on the problems and timed roughly; the
 * default and the fastest few stay; then each of these meets the incumbent in interleaved pairs. */
#include "cl_tune.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cl_problem.h"
#include "scheduler/compare.h"
#include "scheduler/stats.h"

enum { PROBLEMS = 3, FINALISTS = 4, MOST_PAIRS = 61, ROUGH = 5, MOST_RUNS = 256, PREFER = 2048 };
#define ROUGH_LIMIT 1.5   /* a candidate that looks slower than this does not come into the final */
#define HOPELESS 4.0      /* slower than that by single runs: not timed again, a sample of it would take seconds */
#define PROBLEM_SECONDS 1e-3 /* of every problem in one sample */

/* The problems of a family, and how often each runs in a sample so that none is drowned. */
struct course {
    struct clq_cl_problem *problem[PROBLEMS];
    size_t n;
    int runs[PROBLEMS];
};

/* A variant on a device of its own: choices of one do not touch another. */
struct runner {
    struct clq_cl *cl;
    struct clq_cl_attempt attempt[PROBLEMS];
    struct clq_cl_candidate *row;
};

struct tuner {
    const struct clq_cl_tune_options *options;
    int index;
    struct clq_cl_tuned *out;
    size_t capacity, done, total; /* candidates: room, tried, in all */
    bool large;
    char prefer[PREFER]; /* what was chosen so far */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static clq_status report(struct tuner *t, enum clq_cl_family family, double part, struct clq_error *err)
{
    const double all = (double)(t->total ? t->total : 1), fraction = ((double)t->done + part) / all;
    if (!t->options->progress || t->options->progress(t->options->user, clq_cl_family_name(family), fraction < 1 ? fraction : 1))
        return CLQ_OK;
    return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
}

/* ---- Problems ---- */
static void course_end(struct course *c)
{
    for (size_t i = 0; i < c->n; i++) clq_cl_problem_free(c->problem[i]);
    c->n = 0;
}

static clq_status course_begin(struct course *c, enum clq_cl_family family, bool large, struct clq_error *err)
{
    *c = (struct course){.runs = {1, 1, 1}};
    for (size_t i = 0; i < clq_cl_problem_count(family) && i < PROBLEMS; i++, c->n++) {
        clq_status st = clq_cl_problem_create(&c->problem[i], family, i, large, err);
        if (st == CLQ_OK) continue;
        course_end(c);
        return st;
    }
    return CLQ_OK;
}

/* Seconds of one sample; a failure of the device shows in *st. */
static double sample(struct runner *r, const struct course *c, clq_status *st, struct clq_error *err)
{
    const double begin = now();
    for (size_t i = 0; i < c->n && *st == CLQ_OK; i++) {
        for (int k = 0; k < c->runs[i] && *st == CLQ_OK; k++) *st = clq_cl_attempt_run(&r->attempt[i], err);
        if (*st == CLQ_OK) *st = clq_cl_finish(r->cl, err);
    }
    return now() - begin;
}

/* Runs per problem, from this runner's speed. */
static clq_status set_runs(struct course *c, struct runner *r, struct clq_error *err)
{
    for (size_t i = 0; i < c->n; i++) {
        struct course one = {.n = 1, .runs = {1}};
        struct runner only = {.cl = r->cl, .attempt = {r->attempt[i]}};
        clq_status st = CLQ_OK;
        double t[ROUGH];
        for (int k = 0; k < ROUGH && st == CLQ_OK; k++) t[k] = sample(&only, &one, &st, err);
        if (st != CLQ_OK) return st;
        const double runs = PROBLEM_SECONDS / clq_median(t, ROUGH);
        c->runs[i] = runs < 1 ? 1 : runs > MOST_RUNS ? MOST_RUNS : (int)runs;
    }
    return CLQ_OK;
}

/* The better of two rounds with one run per problem. */
static double single(struct runner *r, const struct course *c, clq_status *st, struct clq_error *err)
{
    struct course once = *c;
    for (size_t i = 0; i < PROBLEMS; i++) once.runs[i] = 1;
    const double a = sample(r, &once, st, err), b = sample(r, &once, st, err);
    return a < b ? a : b;
}

/* ---- One candidate ---- */
static void runner_end(struct runner *r)
{
    for (size_t i = 0; i < PROBLEMS; i++) clq_cl_attempt_end(&r->attempt[i]);
    clq_cl_close(r->cl);
    *r = (struct runner){0};
}

/* Builds, self-tests and checks. */
static clq_status runner_begin(struct runner *r, const struct tuner *t, const struct clq_cl_variant *v,
                               enum clq_cl_family family, const struct course *c, struct clq_error *err)
{
    char prefer[PREFER + 2 * CLQ_TUNING_NAME];
    struct clq_cl_options o = t->options->device;
    snprintf(prefer, sizeof prefer, "%s %s=%s", t->prefer, v->op, v->name);
    o.prefer = prefer;
    o.few_rows = 0;
    CLQ_TRY(clq_cl_open(&r->cl, t->index, &o, err));
    CLQ_TRY(clq_cl_ready(r->cl, family, err));
    if (strcmp(clq_cl_variant(r->cl, family), v->name) != 0) {
        const char *why = clq_cl_refused(r->cl, family);
        return clq_fail(err, CLQ_ERR_BUILD, "%.150s", *why ? why : "it does not fit the other choices");
    }
    for (size_t i = 0; i < c->n; i++) {
        CLQ_TRY(clq_cl_attempt_begin(&r->attempt[i], r->cl, c->problem[i], err));
        CLQ_TRY(clq_cl_attempt_check(&r->attempt[i], err));
    }
    return CLQ_OK;
}

/* ---- The search in one family ---- */
static struct clq_cl_candidate *add_row(struct tuner *t, enum clq_cl_family family, const char *variant)
{
    struct clq_cl_candidate *row = &t->out->candidate[t->out->n++];
    *row = (struct clq_cl_candidate){.family = family};
    snprintf(row->variant, sizeof row->variant, "%s", variant);
    return row;
}

/* The default first, then by rough time; what is far behind or too many leaves. */
static void drop_slow(struct runner *r, size_t *n)
{
    for (size_t i = 1; i < *n; i++)
        for (size_t k = i; k > 1 && r[k].row->seconds < r[k - 1].row->seconds; k--) {
            const struct runner swap = r[k];
            r[k] = r[k - 1];
            r[k - 1] = swap;
        }
    double best = r[0].row->seconds;
    if (*n > 1 && r[1].row->seconds < best) best = r[1].row->seconds;
    while (*n > 1 && (*n > FINALISTS || r[*n - 1].row->seconds > ROUGH_LIMIT * best)) runner_end(&r[--*n]);
}

/* Interleaved pairs of the incumbent and a challenger. */
static clq_status duel(struct clq_kernel_verdict *out, struct runner *incumbent, struct runner *challenger, const struct course *c,
                       struct clq_error *err)
{
    struct clq_timing pairs[MOST_PAIRS];
    clq_status st = CLQ_OK;
    double all = 0;
    size_t n = 0;
    for (; n < MOST_PAIRS && (n < CLQ_KERNEL_MIN_PAIRS || all < CLQ_KERNEL_MIN_SECONDS) && st == CLQ_OK; n++) {
        struct clq_timing *p = &pairs[n];
        *p = (struct clq_timing){0};
        if (clq_pair_candidate_first(n)) p->candidate = sample(challenger, c, &st, err);
        p->reference = sample(incumbent, c, &st, err);
        if (!clq_pair_candidate_first(n)) p->candidate = sample(challenger, c, &st, err);
        all += p->reference + p->candidate;
    }
    return st == CLQ_OK ? clq_choose_kernel(out, pairs, n, err) : st;
}

/* Tries all legal variants of the family; those in the final stay in r. */
static clq_status qualify(struct tuner *t, enum clq_cl_family family, struct runner *r, size_t *n, struct course *c,
                          const struct clq_cl_variant *const *legal, size_t n_legal, struct clq_error *err)
{
    double first = 0; /* single runs of the first that passed */
    for (size_t i = 0; i < n_legal; i++, t->done++) {
        struct clq_error why = {""};
        CLQ_TRY(report(t, family, 0, err));
        struct runner *next = &r[*n];
        *next = (struct runner){.row = add_row(t, family, legal[i]->name)};
        struct clq_cl_candidate *row = next->row;
        clq_status st = runner_begin(next, t, legal[i], family, c, &why);
        const double alone = st == CLQ_OK ? single(next, c, &st, &why) : 0;
        if (st == CLQ_OK && *n > 0 && alone > HOPELESS * first) {
            row->passed = true;
            row->seconds = r[0].row->seconds * alone / first;
            runner_end(next);
            continue;
        }
        if (st == CLQ_OK && *n == 0) st = set_runs(c, next, &why);
        double times[ROUGH];
        for (int k = 0; k < ROUGH && st == CLQ_OK; k++) times[k] = sample(next, c, &st, &why);
        if (st != CLQ_OK) {
            snprintf(row->why, sizeof row->why, "%.150s", why.text);
            runner_end(next);
            continue;
        }
        row->passed = true;
        row->seconds = clq_median(times, ROUGH);
        if (++*n == 1) first = alone;
        drop_slow(r, n);
    }
    return CLQ_OK;
}

static clq_status final(struct tuner *t, enum clq_cl_family family, struct runner *r, size_t n, const struct course *c,
                        struct clq_error *err)
{
    struct clq_tuning_choice *choice = &t->out->tuning.choice[t->out->tuning.n];
    size_t best = 0;
    *choice = (struct clq_tuning_choice){.ratio = 1};
    for (size_t i = 1; i < n; i++) {
        struct clq_kernel_verdict v = {0};
        CLQ_TRY(report(t, family, 0, err));
        CLQ_TRY(duel(&v, &r[best], &r[i], c, err));
        r[i].row->ratio = v.ratio;
        r[i].row->spread = v.spread;
        r[i].row->pairs = (int)v.pairs;
        choice->pairs += (int)v.pairs;
        if (!v.take) continue;
        choice->ratio *= v.ratio;
        choice->spread = v.spread;
        best = i;
    }
    r[best].row->chosen = true;
    snprintf(choice->family, sizeof choice->family, "%s", clq_cl_family_name(family));
    snprintf(choice->variant, sizeof choice->variant, "%s", r[best].row->variant);
    t->out->tuning.n++;
    const size_t used = strlen(t->prefer);
    snprintf(t->prefer + used, sizeof t->prefer - used, " %s=%s", choice->family, choice->variant);
    return CLQ_OK;
}

static clq_status tune_family(struct tuner *t, enum clq_cl_family family, const struct clq_cl_variant *const *legal,
                              size_t n_legal, struct clq_error *err)
{
    struct runner r[FINALISTS + 1] = {{0}};
    struct course c;
    size_t n = 0;
    CLQ_TRY(course_begin(&c, family, t->large, err));
    clq_status st = qualify(t, family, r, &n, &c, legal, n_legal, err);
    if (st == CLQ_OK && n > 0) st = final(t, family, r, n, &c, err);
    for (size_t i = 0; i <= FINALISTS; i++) runner_end(&r[i]);
    course_end(&c);
    return st;
}

/* ---- Up to how many rows the GEMV form wins: the same device and weight, with and without it. ---- */
static clq_status compare_rows(bool *take, struct tuner *t, struct clq_cl *cl, size_t m, struct clq_error *err)
{
    struct course c = {.n = 1, .runs = {1}};
    struct clq_cl_attempt a = {0};
    struct clq_timing pairs[MOST_PAIRS];
    struct clq_kernel_verdict v = {0};
    CLQ_TRY(report(t, CLQ_CL_GEMV, 0, err));
    CLQ_TRY(clq_cl_problem_rows(&c.problem[0], m, t->large, err));
    clq_status st = clq_cl_attempt_begin(&a, cl, c.problem[0], err);
    for (int few = 0; few < 2 && st == CLQ_OK; few++) {
        cl->few_rows = few ? m : 0;
        st = clq_cl_attempt_check(&a, err);
    }
    struct runner r = {.cl = cl, .attempt = {a}};
    if (st == CLQ_OK) st = set_runs(&c, &r, err);
    double all = 0;
    size_t n = 0;
    for (; n < MOST_PAIRS && (n < CLQ_KERNEL_MIN_PAIRS || all < CLQ_KERNEL_MIN_SECONDS) && st == CLQ_OK; n++) {
        double times[2] = {0, 0};
        for (int k = 0; k < 2; k++) {
            const int few = k ^ (int)clq_pair_candidate_first(n);
            cl->few_rows = few ? m : 0;
            times[few] = sample(&r, &c, &st, err);
        }
        pairs[n] = (struct clq_timing){.reference = times[0], .candidate = times[1]};
        all += times[0] + times[1];
    }
    if (st == CLQ_OK) st = clq_choose_kernel(&v, pairs, n, err);
    *take = v.take;
    clq_cl_attempt_end(&a);
    course_end(&c);
    return st;
}

static clq_status tune_rows(struct tuner *t, struct clq_error *err)
{
    static const size_t rows[] = {1, 4, 8, 16};
    struct clq_cl_options o = t->options->device;
    struct clq_cl *cl = NULL;
    clq_status st = CLQ_OK;
    bool take = true;
    o.prefer = t->prefer;
    CLQ_TRY(clq_cl_open(&cl, t->index, &o, err));
    if (clq_cl_ready(cl, CLQ_CL_GEMV, NULL) == CLQ_OK) t->out->tuning.few_rows = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && st == CLQ_OK && take && t->out->tuning.few_rows >= 0; i++) {
        st = compare_rows(&take, t, cl, rows[i], err);
        if (st == CLQ_OK && take) t->out->tuning.few_rows = (int)rows[i];
    }
    clq_cl_close(cl);
    return st;
}

/* The variants of a family that the device may be offered. */
static size_t find_legal(const struct clq_cl_variant **out, const struct clq_cl *cl, enum clq_cl_family family)
{
    size_t n = 0;
    for (size_t i = 0; i < clq_cl_variant_count; i++)
        if (strcmp(clq_cl_variants[i].op, clq_cl_family_name(family)) == 0 && clq_cl_allows(cl, &clq_cl_variants[i]))
            out[n++] = &clq_cl_variants[i];
    return n;
}

static clq_status tune_all(struct tuner *t, const struct clq_cl *cl, const struct clq_cl_variant **legal, struct clq_error *err)
{
    bool gemv = false;
    for (int f = 0; f < CLQ_CL_FAMILIES; f++)
        if (clq_cl_problem_count((enum clq_cl_family)f)) t->total += find_legal(legal, cl, (enum clq_cl_family)f);
    for (int f = 0; f < CLQ_CL_FAMILIES; f++) {
        const enum clq_cl_family family = (enum clq_cl_family)f;
        const size_t n = clq_cl_problem_count(family) ? find_legal(legal, cl, family) : 0;
        if (n == 0) continue;
        CLQ_TRY(tune_family(t, family, legal, n, err));
        gemv = gemv || family == CLQ_CL_GEMV;
    }
    return gemv ? tune_rows(t, err) : CLQ_OK;
}

clq_status clq_cl_tune(struct clq_cl_tuned *out, int index, const struct clq_cl_tune_options *options, struct clq_error *err)
{
    struct tuner t = {.options = options, .index = index, .out = out, .capacity = clq_cl_variant_count};
    struct clq_cl_options o = options->device;
    struct clq_cl *cl = NULL;
    *out = (struct clq_cl_tuned){.tuning = {.few_rows = -1}};
    o.prefer = NULL;
    CLQ_TRY(clq_cl_open(&cl, index, &o, err));
    t.large = !clq_cl_describe(cl)->is_cpu;
    out->candidate = calloc(t.capacity, sizeof *out->candidate);
    const struct clq_cl_variant **legal = calloc(clq_cl_variant_count, sizeof *legal);
    clq_status st = out->candidate && legal ? tune_all(&t, cl, legal, err)
                                            : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "tuning: out of memory");
    free(legal);
    clq_cl_close(cl);
    if (st != CLQ_OK) {
        free(out->candidate);
        *out = (struct clq_cl_tuned){.tuning = {.few_rows = -1}};
    }
    return st;
}
