/* SPDX-License-Identifier: Apache-2.0
 * The AMX product of strips with panels, with the bits of clq_strip_vnni. */
#ifndef CLQ_KERNELS_AVX512_GEMM_AMX_H
#define CLQ_KERNELS_AVX512_GEMM_AMX_H

#include "kernels/panels.h"

/* Rows of a block that fill two tiles. */
enum { CLQ_AMX_ROWS = 32 };

void clq_strips_amx(const struct clq_strips *strips);

#endif
