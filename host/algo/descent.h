/* SPDX-License-Identifier: Apache-2.0
 * Learned rounding: codes and scales of a product's weights that lower the error of its output until no single code can.
 * Must not know models. */
#ifndef CLQ_ALGO_DESCENT_H
#define CLQ_ALGO_DESCENT_H

#include "algo/moments.h"

/* Starts from what g holds and never makes it worse under the moments second [k][k], of which the upper triangle is read:
 * coordinate descent over the codes of a row, and, where scales are free, their least-squares fit to the codes. */
clq_status clq_descend(struct clq_group_weights *g, const struct clq_group_job *job, const float *second, struct clq_pool *pool, int threads, struct clq_error *err);

#endif
