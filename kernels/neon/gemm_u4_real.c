/* SPDX-License-Identifier: Apache-2.0
 * The product of real rows with 4-bit weights by widening products of bytes: the 2x8 tile of six rows of limbs, and 1x16
 * and 2x8 for few rows. */
#include "kernels/functions.h"
#include "kernels/neon/gemm_u4_vectors.h"

#define CLQ_LIMBS 3
#define CLQ_ROWS 6
#define CLQ_FEW_VECTORS 4
#define CLQ_PAIR_VECTORS 2

#include "kernels/groups_run.h"

void clq_gemm_f32u4_plan_neon(struct clq_gemm_u4_args *g)
{
    if (!clq_groups_plan(g)) clq_gemm_f32u4_plan_ref(g);
}

void clq_gemm_f32u4_neon(struct clq_gemm_u4_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_f32u4_ref(g);
    else
        clq_groups_run(g);
}
