/* SPDX-License-Identifier: Apache-2.0
 * The AVX512-VNNI product with packed 4-bit weights. */
#ifndef CLQ_KERNELS_AVX512_GEMM_U4_VNNI_H
#define CLQ_KERNELS_AVX512_GEMM_U4_VNNI_H

#include "kernels/groups.h"

/* False where only the reference takes the groups. */
bool clq_u4_plan_vnni(struct clq_gemm_u4_args *g);
void clq_u4_run_vnni(const struct clq_gemm_u4_args *g);

#endif
