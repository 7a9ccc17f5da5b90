/* SPDX-License-Identifier: Apache-2.0
 * The AMX product of a strip of u8 rows with one panel, with the bits of clq_strip_vnni. */
#ifndef CLQ_KERNELS_AVX512_GEMM_AMX_H
#define CLQ_KERNELS_AVX512_GEMM_AMX_H

#include "kernels/panels.h"

void clq_strip_amx(const struct clq_strip *strip);

#endif
