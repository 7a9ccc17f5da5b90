/* SPDX-License-Identifier: Apache-2.0
 * The decision rules for timings: see compare.h. */
#include "scheduler/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "scheduler/stats.h"

bool clq_is_warm(const double *seconds, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += seconds[i];
    if (n < 2 || !(sum >= 0.025)) return false;
    double a = seconds[n - 2], b = seconds[n - 1];
    return fabs(a - b) <= 0.10 * fmin(a, b);
}

bool clq_steal_ticks(uint64_t *out, const char *text)
{
    if (strncmp(text, "cpu ", 4) != 0) return false;
    const char *s = text + 4;
    for (int field = 0; field < 8; field++) { /* user nice system idle iowait irq softirq steal */
        uint64_t v = 0;
        while (*s == ' ')
            s++;
        if (*s < '0' || *s > '9') return false;
        for (; *s >= '0' && *s <= '9'; s++)
            v = v * 10 + (uint64_t)(*s - '0');
        if (field == 7) *out = v;
    }
    return true;
}

/* The ratios of the pairs that count. */
struct used {
    size_t n, discarded, wins, losses;
    double total;
    double *ratio, *scratch;
    int *process;
};

static bool usable(const struct clq_timing *pair)
{
    return !pair->discard && pair->reference > 0 && pair->candidate > 0 && isfinite(pair->reference) && isfinite(pair->candidate);
}

static clq_status collect(struct used *u, const struct clq_timing *pairs, size_t n, struct clq_arena *arena,
                          struct clq_error *err)
{
    memset(u, 0, sizeof *u);
    u->ratio = clq_arena_array(arena, n + 1, sizeof(double));
    u->scratch = clq_arena_array(arena, n + 1, sizeof(double));
    u->process = clq_arena_array(arena, n + 1, sizeof(int));
    if (!u->ratio || !u->scratch || !u->process)
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory for %zu timed pairs", n);
    for (size_t i = 0; i < n; i++) {
        if (!usable(&pairs[i])) {
            u->discarded++;
            continue;
        }
        u->wins += pairs[i].candidate < pairs[i].reference;
        u->losses += pairs[i].candidate > pairs[i].reference;
        u->total += pairs[i].candidate + pairs[i].reference;
        u->process[u->n] = pairs[i].process;
        u->ratio[u->n++] = pairs[i].candidate / pairs[i].reference;
    }
    return CLQ_OK;
}

clq_status clq_choose_kernel(struct clq_kernel_verdict *out, const struct clq_timing *pairs, size_t n, struct clq_error *err)
{
    struct clq_arena arena = {0};
    struct used u;
    clq_status st = collect(&u, pairs, n, &arena, err);
    if (st == CLQ_OK) {
        struct clq_kernel_verdict v = {.pairs = u.n, .discarded = u.discarded, .ratio = 1, .p = 1};
        v.enough = u.n >= CLQ_KERNEL_MIN_PAIRS && u.total >= CLQ_KERNEL_MIN_SECONDS;
        if (u.n > 0) {
            v.p = clq_binomial_tail(u.wins + u.losses, u.wins, 0.5);
            v.ratio = clq_median(u.ratio, u.n);
            v.spread = clq_quantile(u.ratio, u.n, 0.75) - clq_quantile(u.ratio, u.n, 0.25);
        }
        v.take = v.enough && v.ratio < CLQ_KERNEL_MAX_RATIO && v.p < CLQ_KERNEL_MAX_P;
        *out = v;
    }
    clq_arena_free(&arena);
    return st;
}

const char *clq_speed_name(enum clq_speed speed)
{
    return speed == CLQ_SPEED_FASTER ? "faster" : speed == CLQ_SPEED_SLOWER ? "slower" : "undecided";
}

/* Numbers the processes from 0 in order of appearance; returns how many there are. */
static size_t number_processes(struct used *u, int *number)
{
    size_t count = 0;
    for (size_t i = 0; i < u->n; i++) {
        size_t j = 0;
        while (u->process[j] != u->process[i])
            j++;
        number[i] = j < i ? number[j] : (int)count++;
    }
    return count;
}

struct ranked {
    double ratio;
    int process;
};

static int by_ratio(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    return (x->ratio > y->ratio) - (x->ratio < y->ratio);
}

/* The median of sorted values, each repeated weight[key] times; key is the place, or the process. */
static double weighted_median(const struct ranked *sorted, size_t n, const uint32_t *weight, bool by_process)
{
    uint64_t total = 0, seen = 0;
    for (size_t i = 0; i < n; i++)
        total += weight[by_process ? (size_t)sorted[i].process : i];
    double lower = 0;
    bool have = false;
    for (size_t i = 0; i < n; i++) {
        seen += weight[by_process ? (size_t)sorted[i].process : i];
        if (!have && seen >= (total + 1) / 2) {
            lower = sorted[i].ratio;
            have = true;
        }
        if (seen >= total / 2 + 1) return lower / 2 + sorted[i].ratio / 2;
    }
    return lower;
}

/* Draws pairs with replacement, or whole processes where there is more than one. */
static clq_status interval(struct clq_accept_verdict *v, struct used *u, uint64_t seed, struct clq_arena *arena,
                           struct clq_error *err)
{
    int *number = clq_arena_array(arena, u->n, sizeof(int));
    uint32_t *weight = clq_arena_array(arena, u->n, sizeof(uint32_t));
    struct ranked *sorted = clq_arena_array(arena, u->n, sizeof *sorted);
    double *medians = clq_arena_array(arena, CLQ_ACCEPT_RESAMPLES, sizeof(double));
    if (!number || !weight || !sorted || !medians)
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory for %zu timed pairs", u->n);
    v->processes = number_processes(u, number);
    for (size_t i = 0; i < u->n; i++)
        sorted[i] = (struct ranked){u->ratio[i], number[i]};
    qsort(sorted, u->n, sizeof *sorted, by_ratio);
    bool clusters = v->processes > 1;
    size_t units = clusters ? v->processes : u->n;
    struct clq_random random = clq_random_start(seed, 0x636f6d70617265); /* "compare" */
    for (size_t i = 0; i < CLQ_ACCEPT_RESAMPLES; i++) {
        memset(weight, 0, units * sizeof *weight);
        for (size_t k = 0; k < units; k++)
            weight[clq_random_below(&random, (uint32_t)units)]++;
        medians[i] = weighted_median(sorted, u->n, weight, clusters);
    }
    v->lo = fmin(clq_quantile(medians, CLQ_ACCEPT_RESAMPLES, 0.025), v->ratio);
    v->hi = fmax(clq_quantile(medians, CLQ_ACCEPT_RESAMPLES, 0.975), v->ratio);
    if (clusters) {
        double k = (double)v->processes;
        double widen = clq_student_quantile(0.975, k - 1) / 1.959963984540054 * sqrt(k / (k - 1));
        v->lo = v->ratio - (v->ratio - v->lo) * widen;
        v->hi = v->ratio + (v->hi - v->ratio) * widen;
    }
    return CLQ_OK;
}

static enum clq_speed judge(const struct clq_accept_verdict *v, bool interval_only)
{
    if (!v->enough) return CLQ_SPEED_UNDECIDED;
    double guard = interval_only ? 0 : 1, margin = interval_only ? 0 : CLQ_ACCEPT_MARGIN;
    if (v->hi + guard * (v->hi - v->ratio) < 1 && v->ratio < 1 - margin) return CLQ_SPEED_FASTER;
    if (v->lo - guard * (v->ratio - v->lo) > 1 && v->ratio > 1 + margin) return CLQ_SPEED_SLOWER;
    return CLQ_SPEED_UNDECIDED;
}

static double median_of(struct used *u, const struct clq_timing *pairs, size_t n, int which)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (!usable(&pairs[i])) continue;
        double r = pairs[i].reference, c = pairs[i].candidate;
        u->scratch[at++] = which == 0 ? r : which == 1 ? c : r / c;
    }
    return clq_median(u->scratch, at);
}

clq_status clq_accept_plan(struct clq_accept_verdict *out, const struct clq_timing *pairs, size_t n,
                           const struct clq_accept_options *options, struct clq_error *err)
{
    struct clq_accept_options opt = options ? *options : (struct clq_accept_options){0};
    struct clq_arena arena = {0};
    struct used u;
    if (opt.min_pairs == 0) opt.min_pairs = 200;
    if (opt.min_processes == 0) opt.min_processes = 5;
    clq_status st = collect(&u, pairs, n, &arena, err);
    struct clq_accept_verdict v = {.pairs = u.n, .discarded = u.discarded, .ratio = 1, .lo = 0, .hi = INFINITY,
                                   .speedup = 1, .speedup_lo = 0, .speedup_hi = INFINITY};
    if (st == CLQ_OK && u.n > 0) {
        v.reference = median_of(&u, pairs, n, 0);
        v.candidate = median_of(&u, pairs, n, 1);
        v.speedup = median_of(&u, pairs, n, 2);
        memcpy(u.scratch, u.ratio, u.n * sizeof(double));
        v.ratio = clq_median(u.scratch, u.n);
        st = interval(&v, &u, opt.seed, &arena, err);
        v.speedup_lo = fmin(1 / v.hi, v.speedup);
        v.speedup_hi = v.lo > 0 ? fmax(1 / v.lo, v.speedup) : INFINITY;
        v.enough = u.n >= opt.min_pairs && v.processes >= opt.min_processes;
        v.speed = judge(&v, opt.interval_only);
    }
    clq_arena_free(&arena);
    if (st == CLQ_OK) *out = v;
    return st;
}
