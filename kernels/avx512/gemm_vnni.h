/* SPDX-License-Identifier: Apache-2.0
 * The AVX512-VNNI product of a strip of rows with one panel, used by the matrix product and by convolutions. */
#ifndef CLQ_KERNELS_AVX512_GEMM_VNNI_H
#define CLQ_KERNELS_AVX512_GEMM_VNNI_H

#include "kernels/panels.h"

void clq_strip_vnni(const struct clq_strip *strip);

/* A clq_row_bias_fn of product.h. */
void clq_row_bias_vnni(const int8_t *a, size_t lda, size_t rows, size_t k, int32_t *row_bias);

#endif
