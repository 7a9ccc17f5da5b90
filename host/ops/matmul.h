/* SPDX-License-Identifier: Apache-2.0
 * Exact integer products for the quantization operators. */
#ifndef CLQ_OPS_MATMUL_H
#define CLQ_OPS_MATMUL_H

#include "ops/util.h"

/* The shape of MatMul(a, b); shape has room for 2 * CLQ_MAX_RANK. */
clq_status clq_matmul_int_shape(struct clq_op_call *call, const clq_tensor *a, const clq_tensor *b, int *rank,
                                int64_t *shape);

/* The sums of av * bv, whose zero points are already subtracted. a and b give the shapes alone. */
clq_status clq_matmul_int_run(struct clq_op_call *call, const clq_tensor *a, const int32_t *av, const clq_tensor *b,
                              const int32_t *bv, int64_t *sum);

#endif
