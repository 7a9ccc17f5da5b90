/* SPDX-License-Identifier: Apache-2.0
 * The AVX2 product of real rows with 4-bit weights: the 1x16 tile of three rows of limbs, and 1x16 and 2x8 for few rows. */
#include "kernels/avx2/gemm_u4_vectors.h"
#include "kernels/functions.h"

#define CLQ_LIMBS 3
#define CLQ_ROWS 3
#define CLQ_FEW_VECTORS 2
#define CLQ_PAIR_VECTORS 1

#include "kernels/groups_run.h"

void clq_gemm_f32u4_plan_avx2(struct clq_gemm_u4_args *g)
{
    if (!clq_groups_plan(g)) clq_gemm_f32u4_plan_ref(g);
}

void clq_gemm_f32u4_avx2(struct clq_gemm_u4_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_f32u4_ref(g);
    else
        clq_groups_run(g);
}
