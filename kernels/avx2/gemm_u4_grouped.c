/* SPDX-License-Identifier: Apache-2.0
 * The AVX2 product of 8-bit rows with 4-bit weights, a scale per group on both sides: the 4x16 tile, and 1x64 and 4x16 for few
 * rows. */
#include "kernels/avx2/gemm_u4_vectors.h"
#include "kernels/functions.h"

#define CLQ_LIMBS 1
#define CLQ_UNITS 1
#define CLQ_ROWS 4
#define CLQ_FEW_VECTORS 8
#define CLQ_PAIR_VECTORS 2

#include "kernels/groups_run.h"

void clq_gemm_g8u4_plan_avx2(struct clq_gemm_u4_args *g)
{
    if (!clq_groups_plan(g)) clq_gemm_g8u4_plan_ref(g);
}

void clq_gemm_g8u4_avx2(struct clq_gemm_u4_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_g8u4_ref(g);
    else
        clq_groups_run(g);
}
