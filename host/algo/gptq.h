/* SPDX-License-Identifier: Apache-2.0
 * Rounding that knows the inputs: GPTQ, in the form of Babai's nearest plane. Must not know models. */
#ifndef CLQ_ALGO_GPTQ_H
#define CLQ_ALGO_GPTQ_H

#include "algo/moments.h"

/* Fills out, which clq_groups_quantize has filled, with codes whose errors weigh least on inputs of these second moments
 * ([k][k], upper triangle): columns are rounded one by one, those of the largest moments first, and each takes up the errors of those before it.
 * Scales and zero points stay as they are. */
clq_status clq_gptq_round(struct clq_group_weights *out, const struct clq_group_job *job, const float *second, struct clq_pool *pool, int threads,
                          struct clq_error *err);

#endif
