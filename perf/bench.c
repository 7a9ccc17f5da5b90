/* SPDX-License-Identifier: Apache-2.0
 * Rounds of ceiling and work in turn; the share is the median of their ratios, so that a disturbance that lasts longer
 * than a round hits both. Each runs once more before it is timed, which wakes its threads and lets those of the other one,
 * which still look for work, go to sleep. */
#include "perf/bench.h"

#include <string.h>

#include "perf/ceiling.h"
#include "scheduler/compare.h"
#include "scheduler/stats.h"

enum { MOST_ROUNDS = 400, LEAST_ROUNDS = 21, MOST_WARM = 100 };

static double once(const struct clq_job *job, const struct clq_bench_options *o, int runs)
{
    double t = clq_probe_now();
    for (int i = 0; i < runs; i++) job->run(job->state);
    if (o->finish) o->finish();
    return (clq_probe_now() - t) / runs;
}

/* Runs in one sample, so that it lasts 50 us and more; found while warming up. */
static int warm_up(const struct clq_job *job, const struct clq_bench_options *o)
{
    double t[MOST_WARM];
    int runs = 1;
    for (size_t i = 0; i < MOST_WARM; i++) {
        t[i] = once(job, o, runs) * runs;
        if (t[i] < 50e-6 && runs < 4096) {
            runs *= 2;
            i = (size_t)-1;
            continue;
        }
        if (clq_is_warm(t, i + 1)) break;
    }
    return runs;
}

void clq_bench_run(struct clq_bench *out, const struct clq_job *job, const struct clq_bench_options *o)
{
    double t[MOST_ROUNDS], ratio[MOST_ROUNDS], most[MOST_ROUNDS], begin;
    struct clq_ceiling l;
    clq_ceiling_find(&l, clq_probe_of(o->level, job->is_signed), o->cores, job->operations, job->bytes, job->copies);
    const bool limited = clq_ceiling_exists(&l);
    const double work = l.probe ? job->operations : job->bytes;
    size_t n = 0;
    int runs = warm_up(job, o);
    clq_ceiling_last(&l, once(job, o, runs) * runs);
    for (begin = clq_probe_now(); n < MOST_ROUNDS && (n < LEAST_ROUNDS || clq_probe_now() - begin < o->seconds); n++) {
        if (limited) clq_ceiling_look(&l);
        most[n] = limited ? clq_ceiling_look(&l) : 0;
        once(job, o, 1);
        t[n] = once(job, o, runs);
        ratio[n] = limited ? work / t[n] / most[n] : -1;
    }
    *out = (struct clq_bench){.seconds = clq_median(t, n), .share = limited ? clq_median(ratio, n) : -1, .limit = clq_median(most, n)};
    out->spread = (clq_quantile(t, n, 0.75) - clq_quantile(t, n, 0.25)) / out->seconds;
    out->operations = job->operations / out->seconds;
    out->bytes = job->bytes / out->seconds;
    out->ceiling = clq_ceiling_name(&l);
    clq_ceiling_drop(&l);
}

/* ---- Cases of the tests ---- */
struct running {
    struct clq_case *c;
    const struct clq_kernels *k;
};

static void run_case(void *state)
{
    const struct running *r = state;
    r->c->family->run(r->c, r->k);
}

static double written(const struct clq_case *c)
{
    double n = 0;
    for (size_t i = 0; i < c->n_operands; i++)
        if (c->operand[i].role != CLQ_IN) n += (double)c->operand[i].memory.bytes;
    return n;
}

void clq_bench_case(struct clq_bench *out, struct clq_case *c, const struct clq_kernels *k, const struct clq_bench_options *o)
{
    struct running r = {c, k};
    const struct clq_job job = {
        .run = run_case,
        .state = &r,
        .operations = c->operations,
        .bytes = c->bytes,
        .copies = written(c) > c->bytes / 8,
        .is_signed = strcmp(c->family->op, "gemm_s8s8") == 0,
    };
    clq_bench_run(out, &job, o);
}

double clq_bench_quickly(struct clq_case *c, const struct clq_kernels *k)
{
    enum { MOST = 15 };
    double t[MOST], begin = clq_probe_now();
    size_t n = 0;
    while (n < MOST && (n == 0 || clq_probe_now() - begin < 0.2)) {
        double a = clq_probe_now();
        c->family->run(c, k);
        t[n++] = clq_probe_now() - a;
    }
    return clq_median(t, n);
}
