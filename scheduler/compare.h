/* SPDX-License-Identifier: Apache-2.0
 * Which of two timed candidates is faster. Pure functions over recorded pairs: times in, decision out, so that every rule
 * is tested with recorded noise and nothing sleeps. Two rules: choosing a kernel, and accepting a whole plan.
 *
 * A pair is one run of the reference (incumbent) and one of the candidate, side by side; clq_pair_candidate_first gives
 * the ABBA order. All ratios are candidate / reference: below 1 the candidate is faster. */
#ifndef CLQ_SCHEDULER_COMPARE_H
#define CLQ_SCHEDULER_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct clq_timing {
    double reference, candidate; /* seconds of wall time, transfers included; > 0 */
    int process;                 /* which fresh process measured it; any numbers */
    bool discard;                /* the CPU reported steal time, or the caller has another reason to drop the pair */
};

/* True for the pairs that run the candidate first: A B, B A, A B, ... */
static inline bool clq_pair_candidate_first(size_t pair)
{
    return pair & 1;
}

/* True once warm: the last two runs agree within 10 % and all runs together took at least 25 ms. */
bool clq_is_warm(const double *seconds, size_t n);

/* Reads the steal ticks of all CPUs from the text of /proc/stat; false if there is no such field. */
bool clq_steal_ticks(uint64_t *out, const char *proc_stat);

#define CLQ_KERNEL_MIN_PAIRS 21
#define CLQ_KERNEL_MIN_SECONDS 0.150
#define CLQ_KERNEL_MAX_RATIO 0.90
#define CLQ_KERNEL_MAX_P 0.01

struct clq_kernel_verdict {
    bool enough;      /* pairs and time suffice; without it there is no switch */
    bool take;        /* switch to the candidate; otherwise the incumbent stays */
    size_t pairs;     /* used */
    size_t discarded;
    double ratio;     /* median of paired ratios */
    double spread;    /* interquartile range of the ratios */
    double p;         /* one-sided sign test: chance of so many wins between equals */
};

/* The candidate is taken if enough pairs were measured (at least CLQ_KERNEL_MIN_PAIRS, and CLQ_KERNEL_MIN_SECONDS in all),
 * the median ratio is below CLQ_KERNEL_MAX_RATIO and p below CLQ_KERNEL_MAX_P. */
clq_status clq_choose_kernel(struct clq_kernel_verdict *out, const struct clq_timing *pairs, size_t n, struct clq_error *err);

enum clq_speed { CLQ_SPEED_UNDECIDED, CLQ_SPEED_FASTER, CLQ_SPEED_SLOWER };
const char *clq_speed_name(enum clq_speed speed);

struct clq_accept_options {
    size_t min_pairs;     /* 0: 200 */
    size_t min_processes; /* 0: 5; 1 where the measuring cannot start fresh processes */
    uint64_t seed;        /* of the bootstrap */
    bool interval_only;   /* the interval alone decides, as in a bar; otherwise the guard below is added */
};

/* What a claim needs beyond its interval, so that equals are never told apart: with the interval alone 1 A/A window in
 * 40 would be "faster". The median is at least this far from 1, and the interval at least its half-width. */
#define CLQ_ACCEPT_MARGIN 0.02
#define CLQ_ACCEPT_RESAMPLES 2000

struct clq_accept_verdict {
    enum clq_speed speed;
    bool enough;         /* pairs and processes suffice; without it the speed is undecided */
    size_t pairs, discarded, processes;
    size_t disturbed, unsure;         /* pairs that were timed once more, and of these those that count although they were disturbed
                                       * again; filled by who measures */
    double ratio, lo, hi;             /* median of the paired ratios, and its 95 % interval */
    double speedup, speedup_lo, speedup_hi; /* the same of reference / candidate */
    double reference, candidate;      /* medians, seconds */
};

/* The 95 % interval is a bootstrap of the median ratio. With more than one process, whole processes are drawn, and the
 * interval is widened for their small number (Student's t). */
clq_status clq_accept_plan(struct clq_accept_verdict *out, const struct clq_timing *pairs, size_t n,
                           const struct clq_accept_options *options, struct clq_error *err);

#endif
