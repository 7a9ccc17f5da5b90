/* SPDX-License-Identifier: Apache-2.0
 * The AVX2 and AVX-VNNI products of a strip of u8 rows with one panel. */
#ifndef CLQ_KERNELS_AVX2_GEMM_NARROW_H
#define CLQ_KERNELS_AVX2_GEMM_NARROW_H

#include "kernels/panels.h"

void clq_strip_avx2(const struct clq_strip *strip);
void clq_strip_avx_vnni(const struct clq_strip *strip);

/* A clq_widen_rows_fn of product.h. */
void clq_widen_rows_avx2(const uint8_t *a, size_t lda, size_t rows, size_t steps, int16_t *to);

#endif
