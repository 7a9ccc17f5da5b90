/* SPDX-License-Identifier: Apache-2.0
 * The product of a strip of u8 rows with one panel on AVX-512 without VNNI. */
#ifndef CLQ_KERNELS_AVX512_GEMM_NARROW_H
#define CLQ_KERNELS_AVX512_GEMM_NARROW_H

#include "kernels/panels.h"

void clq_strip_avx512(const struct clq_strip *strip);

#endif
