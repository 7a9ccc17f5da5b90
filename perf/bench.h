/* SPDX-License-Identifier: Apache-2.0
 * Timing one case of a kernel beside a ceiling, in the same run and in turn. */
#ifndef CLQ_PERF_BENCH_H
#define CLQ_PERF_BENCH_H

#include "perf/probe.h"
#include "tests/harness.h"

/* What was measured. Rates are of the median; 0 where the case does not count it. */
struct clq_bench {
    double seconds;     /* median of one run */
    double spread;      /* interquartile range / median */
    double operations, bytes; /* per second */
    double share;       /* median of the paired ratios to the ceiling; < 0: none */
    const char *ceiling; /* "vpdpbusd zmm", "read", "copy" or "" */
};

struct clq_bench_options {
    double seconds;     /* measured time per case, at least 21 rounds in any case */
    int cores;          /* ceilings count for so many cores (OpenCL devices that are the CPU) */
    const char *level;  /* of clq_cpu_levels, for the choice of the ceiling */
    void (*finish)(void); /* waits for queued work, or NULL */
};

/* Times case c, whose setup has run on table k. */
void clq_bench_case(struct clq_bench *out, struct clq_case *c, const struct clq_kernels *k, const struct clq_bench_options *options);

/* The median of one run within about a fifth of a second; < 0 when a single run would take longer. */
double clq_bench_quickly(struct clq_case *c, const struct clq_kernels *k);

#endif
