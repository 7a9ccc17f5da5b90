/* SPDX-License-Identifier: Apache-2.0
 * The AVX2 and AVX-VNNI products of a strip of u8 rows with one panel. */
#ifndef CLQ_KERNELS_AVX2_GEMM_NARROW_H
#define CLQ_KERNELS_AVX2_GEMM_NARROW_H

#include "kernels/panels.h"

void clq_strip_avx2(const struct clq_strip *strip);
void clq_strip_avx_vnni(const struct clq_strip *strip);

#endif
