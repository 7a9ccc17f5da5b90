/* SPDX-License-Identifier: Apache-2.0
 * Error measures between a reference and a candidate, and how sure they are. Pure. (host/base/error.h is about failure
 * messages; this is about numbers.)
 *
 * Sums follow the fixed tree of the numeric contract: leaves of 1024 elements in 16 lanes, neighbors added level by level,
 * binary64. They depend on the element count alone, never on how the elements arrive. */
#ifndef CLQ_SCHEDULER_ERROR_H
#define CLQ_SCHEDULER_ERROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* A running sum over the fixed tree. Zero-initialized is empty. */
struct clq_sum {
    size_t count;
    double lane[16];
    double stack[64]; /* one partial sum per set bit of the number of finished leaves */
};
void clq_sum_add(struct clq_sum *sum, double term);
double clq_sum_total(const struct clq_sum *sum);
double clq_sum_array(const double *terms, size_t n);

/* What one sample (all its outputs together) says. Elements where both sides are NaN, or the same infinity, count as
 * equal and enter no energy; other non-finite elements are mismatches. */
struct clq_sample_error {
    double reference_energy; /* sum of r^2 */
    double error_energy;     /* sum of (r - c)^2 */
    double candidate_energy, dot;
    double max_abs;
    size_t elements, mismatches;
    bool identical;          /* every element compares equal (so +0 and -0 do) */
};

/* The sample's running sums: call add for each output in order, then finish. Zero-initialized is empty. */
struct clq_sample_sums {
    struct clq_sum reference, error, candidate, dot;
    double max_abs;
    size_t elements, mismatches, differing;
};
void clq_sample_add(struct clq_sample_sums *sums, const float *reference, const float *candidate, size_t n);
void clq_sample_finish(struct clq_sample_error *out, const struct clq_sample_sums *sums);

/* SQNR stands for "worse than any number" where an element is mismatched, or the reference is all zero and the candidate
 * is not. */
#define CLQ_SQNR_WORST (-1000.0)

struct clq_error_total {
    bool identical;  /* no error at all: sqnr_db is then meaningless and written as null */
    double sqnr_db;  /* 10 log10 of reference energy over error energy, all samples together */
    double cosine;   /* 1 if both sides are all zero */
    double max_abs;  /* infinite if there are mismatches */
    double noise;    /* error energy over reference energy: what adds up in a precision problem */
    size_t samples, elements, mismatches;
};
void clq_error_combine(struct clq_error_total *out, const struct clq_sample_error *samples, size_t n);

/* Conversion between SQNR and relative noise power. clq_noise_to_db(0) is INFINITY. */
double clq_noise_to_db(double noise);
double clq_noise_from_db(double sqnr_db);

/* The index of the largest value; the lower one among equals; NaN never wins. n >= 1. */
size_t clq_top1(const float *row, size_t n);

/* A proportion with its exact 95 % interval (Clopper-Pearson). */
struct clq_proportion {
    size_t hits, n;
    double value, lo, hi; /* value is 0 for n == 0 */
};
struct clq_proportion clq_proportion_of(size_t hits, size_t n);

/* Paired top-1 results of a reference and a candidate on the same labeled samples: the drop in points (positive: the
 * candidate is worse), and its one-sided 95 % upper bound, from exact bounds on the two kinds of discordant samples
 * (one right, the other wrong): with few samples it is wide. */
struct clq_drop {
    size_t n, lost, gained; /* reference right and candidate wrong; the other way round */
    double points, upper;
};
struct clq_drop clq_drop_of(const unsigned char *reference_right, const unsigned char *candidate_right, size_t n);

/* The bootstrap percentile interval of any metric over samples. metric(state, index, n) is computed on n samples drawn
 * with replacement; paired by nature, since it sees which samples were drawn. */
typedef double clq_metric(void *state, const uint32_t *index, size_t n);
clq_status clq_bootstrap(double *lo, double *hi, clq_metric *metric, void *state, size_t n, double confidence,
                         size_t resamples, uint64_t seed, struct clq_error *err);

/* The one-sided lower bound of the SQNR that unseen samples of the same kind will have together. Studentized
 * bootstrap over samples: errors are skewed, and plain percentiles would promise too much. *decidable is false for fewer than CLQ_SQNR_MIN_SAMPLES samples. */
#define CLQ_SQNR_MIN_SAMPLES 8
struct clq_sqnr_bound {
    bool decidable;
    double sqnr_db, lower_db; /* CLQ_SQNR_WORST where there are mismatches; INFINITY where there is no error */
};
clq_status clq_sqnr_lower(struct clq_sqnr_bound *out, const struct clq_sample_error *samples, size_t n, double confidence,
                          uint64_t seed, struct clq_error *err);

/* The paired interval of SQNR(b) - SQNR(a) in dB on the same samples: above 0, b is better beyond chance. */
clq_status clq_sqnr_difference(double *lo, double *hi, const struct clq_sample_error *a, const struct clq_sample_error *b,
                               size_t n, double confidence, uint64_t seed, struct clq_error *err);

#endif
