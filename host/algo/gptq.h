/* SPDX-License-Identifier: Apache-2.0
 * Rounding that knows the inputs: GPTQ, in the form of Babai's nearest plane. Must not know models. */
#ifndef CLQ_ALGO_GPTQ_H
#define CLQ_ALGO_GPTQ_H

#include "algo/groups.h"
#include "base/pool.h"

/* moments += x^T x for x [rows][k]; moments [k][k], of which the upper triangle is kept. */
void clq_moments_add(float *moments, const float *x, size_t rows, size_t k, struct clq_pool *pool, int threads);

/* Fills out, which clq_groups_quantize has filled, with codes whose errors weigh least on inputs of these second moments:
 * columns are rounded one by one, those of the largest moments first, and each takes up the errors of those before it.
 * Scales and zero points stay as they are. */
clq_status clq_gptq_round(struct clq_group_weights *out, const struct clq_group_job *job, const float *moments, struct clq_pool *pool, int threads,
                          struct clq_error *err);

/* sum over rows of W of (w - q)^T M (w - q), relative to the same of w: the error of the product's output. scratch: [2 k]. */
double clq_moments_error(const struct clq_group_weights *g, const float *weight, const float *moments, float *scratch);

#endif
