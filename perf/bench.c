/* SPDX-License-Identifier: Apache-2.0
 * Rounds of ceiling and kernel in turn; the share is the median of their ratios, so that a disturbance that lasts longer
 * than a round hits both. */
#include "perf/bench.h"

#include <stdlib.h>
#include <string.h>

#include "scheduler/compare.h"
#include "scheduler/stats.h"

enum { MOST_ROUNDS = 400, LEAST_ROUNDS = 21, MOST_WARM = 100 };

static double once(struct clq_case *c, const struct clq_kernels *k, const struct clq_bench_options *o, int runs)
{
    double t = clq_probe_now();
    for (int i = 0; i < runs; i++) c->family->run(c, k);
    if (o->finish) o->finish();
    return (clq_probe_now() - t) / runs;
}

/* Runs in one sample, so that it lasts 50 us and more; found while warming up. */
static int warm_up(struct clq_case *c, const struct clq_kernels *k, const struct clq_bench_options *o)
{
    double t[MOST_WARM];
    int runs = 1;
    for (size_t i = 0; i < MOST_WARM; i++) {
        t[i] = once(c, k, o, runs) * runs;
        if (t[i] < 50e-6 && runs < 4096) {
            runs *= 2;
            i = (size_t)-1;
            continue;
        }
        if (clq_is_warm(t, i + 1)) break;
    }
    return runs;
}

/* ---- The ceiling of a case: instructions or memory, whichever allows less ---- */
struct ceiling {
    const struct clq_probe *probe; /* or NULL */
    bool copy;
    char *memory;
    size_t bytes; /* 0: no memory ceiling */
    long loops;   /* of one look at the instructions */
};

static size_t written(const struct clq_case *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n_operands; i++)
        if (c->operand[i].role != CLQ_IN) n += c->operand[i].memory.bytes;
    return n;
}

static double rate(const struct ceiling *l)
{
    if (l->probe) return l->probe->run(l->loops);
    return l->copy ? clq_probe_copy(l->memory, l->bytes) : clq_probe_read(l->memory, l->bytes);
}

static struct ceiling find_ceiling(const struct clq_case *c, const char *level)
{
    const struct clq_probe *probe = c->operations > 0 ? clq_probe_of(level, strcmp(c->family->op, "gemm_s8s8") == 0) : NULL;
    struct ceiling l = {.loops = 2000, .copy = (double)written(c) > c->bytes / 8};
    if (probe && (probe->needs & ~clq_cpu_detect()) != 0) probe = NULL;
    if (c->bytes > 0) {
        l.bytes = ((size_t)c->bytes + 8191) / 8192 * 8192;
        l.memory = aligned_alloc(64, l.bytes);
        if (l.memory) memset(l.memory, 1, l.bytes);
        else l.bytes = 0;
    }
    if (probe && l.bytes) {
        rate(&l);
        double by_memory = c->bytes / rate(&l), by_code = c->operations / probe->run(20000);
        if (by_memory > by_code) probe = NULL;
    }
    l.probe = probe;
    return l;
}

/* The ceiling is looked at for about as long as the kernel runs, up to 5 ms: what takes the core away hits both alike. */
static void match_length(struct ceiling *l, double seconds)
{
    double t = clq_probe_now();
    if (!l->probe) return;
    l->probe->run(l->loops);
    t = clq_probe_now() - t;
    double times = (seconds < 5e-3 ? seconds : 5e-3) / t;
    if (times > 1) l->loops = (long)((double)l->loops * times);
}

void clq_bench_case(struct clq_bench *out, struct clq_case *c, const struct clq_kernels *k, const struct clq_bench_options *o)
{
    static double t[MOST_ROUNDS], ratio[MOST_ROUNDS];
    struct ceiling l = find_ceiling(c, o->level);
    bool limited = l.probe || l.bytes;
    double work = l.probe ? c->operations : c->bytes, begin;
    size_t n = 0;
    int runs = warm_up(c, k, o);
    match_length(&l, once(c, k, o, runs) * runs);
    for (begin = clq_probe_now(); n < MOST_ROUNDS && (n < LEAST_ROUNDS || clq_probe_now() - begin < o->seconds); n++) {
        double most = limited ? rate(&l) * o->cores : 0;
        t[n] = once(c, k, o, runs);
        ratio[n] = limited ? work / t[n] / most : -1;
    }
    *out = (struct clq_bench){.seconds = clq_median(t, n), .share = limited ? clq_median(ratio, n) : -1};
    out->spread = (clq_quantile(t, n, 0.75) - clq_quantile(t, n, 0.25)) / out->seconds;
    out->operations = c->operations / out->seconds;
    out->bytes = c->bytes / out->seconds;
    out->ceiling = l.probe ? l.probe->name : !l.bytes ? "" : l.copy ? "copy" : "read";
    free(l.memory);
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
