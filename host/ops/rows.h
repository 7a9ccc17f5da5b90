/* SPDX-License-Identifier: Apache-2.0
 * Float operations on rows that fused steps are made of: what stands around products in transformers. Plain C, the same
 * bits on every ISA. Must not know graphs. */
#ifndef CLQ_OPS_ROWS_H
#define CLQ_OPS_ROWS_H

#include <stdbool.h>
#include <stddef.h>

#include "cpu_dnnl.h"

/* y = softmax(x * scale + mask[r]) of up to CLQ_ROWS_TOGETHER rows of n; mask NULL: none. y may be x. A row of which every score is
 * -inf gives NaN, as unfused. */
enum { CLQ_ROWS_TOGETHER = 8 };
void clq_rows_softmax(float *y, const float *x, const float *const *mask, size_t rows, size_t n, float scale);

/* What follows a product [rows][n], in this order and with one rounding each: y = act(y * scale[r] + bias[c] + residual).
 * Absent parts are NULL. GELU is within 1.5e-7 plus 2 ulp of the exact one. */
struct clq_rows_epilogue {
    const float *scale, *bias, *residual;
    enum clq_act act;
};
bool clq_rows_takes_act(enum clq_act act);
/* Rows begin .. end - 1 of y. */
void clq_rows_finish(float *y, size_t begin, size_t end, size_t n, const struct clq_rows_epilogue *epilogue);

/* y = (x - mean) / sqrt(variance + epsilon) * scale + shift of up to CLQ_ROWS_TOGETHER rows of n > 0; scale and shift [n] or NULL. y may
 * be x. Means are sums of binary32 in lanes: off by at most (n + 8) 2^-24 of the mean magnitude. */
void clq_rows_layernorm(float *y, const float *x, size_t rows, size_t n, const float *scale, const float *shift, float epsilon);

/* The scale of a row whose largest magnitude gets the code 127; at least the smallest normal number. */
float clq_rows_scale(const float *x, size_t n);

#endif
