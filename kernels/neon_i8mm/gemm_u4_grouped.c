/* SPDX-License-Identifier: Apache-2.0
 * The product of 8-bit rows with 4-bit weights, a scale per group on both sides, by dot products of unsigned with signed bytes:
 * the 6x8 tile, and 1x32 and 4x16 for few rows. */
#include "kernels/functions.h"
#include "kernels/neon_i8mm/gemm_u4_vectors.h"

#define CLQ_LIMBS 1
#define CLQ_UNITS 1
#define CLQ_ROWS 6
#define CLQ_FEW_VECTORS 8
#define CLQ_PAIR_VECTORS 4

#include "kernels/groups_run.h"

void clq_gemm_g8u4_plan_neon_i8mm(struct clq_gemm_u4_args *g)
{
    if (!clq_groups_plan(g)) clq_gemm_g8u4_plan_ref(g);
}

void clq_gemm_g8u4_neon_i8mm(struct clq_gemm_u4_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_g8u4_ref(g);
    else
        clq_groups_run(g);
}
