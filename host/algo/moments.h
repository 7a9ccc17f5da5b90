/* SPDX-License-Identifier: Apache-2.0
 * Second moments of what a product reads: they say how much an error of its weights is worth at its output. Must not know
 * models. */
#ifndef CLQ_ALGO_MOMENTS_H
#define CLQ_ALGO_MOMENTS_H

#include "algo/groups.h"
#include "base/pool.h"

/* Sums over the rows x [k] that were seen. */
struct clq_moments {
    size_t k;
    float *second; /* [k][k] of x_i x_j, of which the upper triangle is kept */
    double *sum;   /* [k] of x_i */
    uint64_t rows;
};

clq_status clq_moments_start(struct clq_moments *out, struct clq_arena *arena, size_t k, struct clq_error *err);
/* x [rows][k] */
void clq_moments_add(struct clq_moments *m, const float *x, size_t rows, struct clq_pool *pool, int threads);
/* to [k][k]: the sums of products of what differs from the mean. An error that a bias can take back weighs nothing there. */
void clq_moments_center(float *to, const struct clq_moments *m);

/* sum over the rows of W of (w - q)^T M (w - q): the energy of the product's error over the rows that were seen. M: [k][k],
 * upper triangle. The sum does not depend on the threads. */
clq_status clq_moments_error(double *out, const struct clq_group_weights *g, const float *weight, const float *second, struct clq_pool *pool, int threads,
                             struct clq_error *err);

#endif
