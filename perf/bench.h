/* SPDX-License-Identifier: Apache-2.0
 * Timing a piece of work beside a ceiling, in the same run and in turn. */
#ifndef CLQ_PERF_BENCH_H
#define CLQ_PERF_BENCH_H

#include <stdbool.h>

#include "perf/probe.h"
#include "tests/harness.h"

/* What is timed. */
struct clq_job {
    void (*run)(void *state);
    void *state;
    double operations, bytes; /* of one run; 0 where it does not count */
    bool copies;              /* memory allows it what copying allows, otherwise what reading does */
    bool is_signed;           /* its product has signed activations */
};

/* What was measured. Rates are of the median; 0 where the job does not count it. */
struct clq_bench {
    double seconds;     /* median of one run */
    double spread;      /* interquartile range / median */
    double operations, bytes; /* per second */
    double share;       /* median of the paired ratios to the ceiling; < 0: none */
    double limit;       /* median of the ceiling itself, operations or bytes per second */
    const char *ceiling; /* "vpdpbusd zmm", "read", "copy" or "" */
};

struct clq_bench_options {
    double seconds;     /* measured time per job, at least 21 rounds in any case */
    int cores;          /* that the work may use, and so the ceiling */
    const char *level;  /* of clq_cpu_levels, for the choice of the ceiling; "": no ceiling of instructions */
    void (*finish)(void); /* waits for queued work, or NULL */
};

void clq_bench_run(struct clq_bench *out, const struct clq_job *job, const struct clq_bench_options *options);

/* Times case c, whose setup has run on table k. */
void clq_bench_case(struct clq_bench *out, struct clq_case *c, const struct clq_kernels *k, const struct clq_bench_options *options);

/* The median of one run within about a fifth of a second; < 0 when a single run would take longer. */
double clq_bench_quickly(struct clq_case *c, const struct clq_kernels *k);

#endif
