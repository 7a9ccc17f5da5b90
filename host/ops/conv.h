/* SPDX-License-Identifier: Apache-2.0
 * Exact integer convolution for the quantization operators. */
#ifndef CLQ_OPS_CONV_H
#define CLQ_OPS_CONV_H

#include "ops/util.h"

/* The result's shape of a convolution of x with w. */
clq_status clq_conv_int_shape(struct clq_op_call *call, const clq_tensor *x, const clq_tensor *w, int64_t *shape);

/* Receives n finished sums of one output plane, which begins at element `at` of the result; of one output channel. */
typedef void clq_conv_int_row(void *state, const int64_t *sum, int64_t at, int64_t n, int64_t channel);

/* The exact sums of xv * wv (zero points already subtracted; padding counts as 0), in int64. */
clq_status clq_conv_int_run(struct clq_op_call *call, const clq_tensor *x, const int32_t *xv, const clq_tensor *w,
                            const int32_t *wv, clq_conv_int_row *done, void *state);

#endif
