/* SPDX-License-Identifier: Apache-2.0
 * Calibration: one streaming pass fills a histogram per tensor (numerics.md 7); range searches read only the counts. Memory
 * grows with tensors times bins, never with samples. Must not know models or plans. */
#ifndef CLQ_CALIBRATE_H
#define CLQ_CALIBRATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "kernels/kernels.h"

enum { CLQ_HIST_LOG2 = 10, CLQ_HIST_BINS = 1 << CLQ_HIST_LOG2 };

struct clq_hist {
    int exponent;              /* every |x| < 2^exponent */
    uint64_t count;            /* finite values seen */
    float min, max;            /* +inf, -inf while empty */
    uint64_t n_nan, n_pos_inf, n_neg_inf;
    uint64_t positive[CLQ_HIST_BINS], negative[CLQ_HIST_BINS];
};

enum clq_calibrator { CLQ_CAL_MINMAX, CLQ_CAL_PERCENTILE, CLQ_CAL_ENTROPY, CLQ_CAL_MSE, CLQ_CAL_COUNT };
/* "minmax", "percentile", "entropy", "mse". */
const char *clq_calibrator_name(enum clq_calibrator method);

struct clq_range {
    float lo, hi;     /* lo <= 0 <= hi */
    double clipped;   /* part of the values outside */
};

struct clq_qparams {
    float scale;
    int32_t zero_point; /* of uint8 codes */
};

void clq_hist_start(struct clq_hist *h);
/* Adds n values; the range grows by exact merging. */
void clq_hist_add(struct clq_hist *h, const struct clq_kernels *k, const float *x, size_t n);
/* Takes the counters and the range of a batch, and grows to hold it; returns how many values are still to be put into bins. */
size_t clq_hist_accept(struct clq_hist *h, const struct clq_minmax_args *mm);
/* Adds what another histogram has seen; equal to adding its values. */
void clq_hist_merge(struct clq_hist *into, const struct clq_hist *from);
/* The range that a method chooses. bound_lo and bound_hi clamp it (an activation's own limits; -inf, +inf: none). */
struct clq_range clq_hist_range(const struct clq_hist *h, enum clq_calibrator method, float bound_lo, float bound_hi);
/* Whether the values fall into two clusters that 8 bits cannot hold together, as masks and sentinels make them: most lie below
 * 1/256 of the largest magnitude, none between that and 1/8, and the largest is 1,000 or more. */
bool clq_hist_has_sentinel(const struct clq_hist *h);
/* Mean squared error of quantizing the histogram's values with these parameters, from bin centers. */
double clq_hist_error(const struct clq_hist *h, const struct clq_qparams *q);

/* Scale and zero point of uint8 codes for a range that includes 0 (numerics.md 3). symmetric: zero point 128, for int8 with 0. */
struct clq_qparams clq_range_params(struct clq_range r, bool symmetric);

#endif
