/* SPDX-License-Identifier: Apache-2.0
 * The statistics that decisions rest on: a seeded generator, medians, exact binomial and Student quantiles. Pure. Equal
 * inputs give equal results for the same C library (exp, log and lgamma are its). */
#ifndef CLQ_SCHEDULER_STATS_H
#define CLQ_SCHEDULER_STATS_H

#include <stddef.h>
#include <stdint.h>

/* Philox 4x32-10: key = seed, counter = {block, stream}. */
struct clq_random {
    uint64_t seed, stream, block;
    uint32_t words[4];
    int left;
};
void clq_philox(uint32_t out[4], const uint32_t counter[4], uint64_t key);
struct clq_random clq_random_start(uint64_t seed, uint64_t stream);
uint32_t clq_random_word(struct clq_random *random);
/* Uniform in 0 .. n-1, n >= 1, without bias. */
uint32_t clq_random_below(struct clq_random *random, uint32_t n);

/* The k-th smallest (from 0) of n values; reorders them. No NaN. */
double clq_select(double *values, size_t n, size_t k);
/* The median, the mean of the middle two for even n; reorders the values. n >= 1. */
double clq_median(double *values, size_t n);
/* The quantile q in [0,1] by linear interpolation between order statistics; reorders the values. n >= 1. */
double clq_quantile(double *values, size_t n, double q);

/* Spearman's rank correlation of two lists, tied values sharing their mean rank; NaN where all of either are equal. No NaN
 * inside. scratch [4 n] is the caller's. */
double clq_spearman(const double *x, const double *y, size_t n, double *scratch);

/* The regularized incomplete beta function I_x(a, b); a, b > 0, x in [0,1]. Relative error about 1e-12. */
double clq_beta_inc(double a, double b, double x);
/* P(X >= k) for X binomial with n trials of probability p. */
double clq_binomial_tail(size_t n, size_t k, double p);
/* The exact (Clopper-Pearson) interval of a proportion with k hits in n trials. n = 0 gives 0 and 1. */
void clq_clopper_pearson(double *lo, double *hi, size_t k, size_t n, double confidence);
/* The quantile of Student's t, p in [0.5, 1). */
double clq_student_quantile(double p, double degrees);

#endif
