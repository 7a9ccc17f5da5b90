/* SPDX-License-Identifier: Apache-2.0
 * The AVX512-VNNI product of 8-bit rows with 4-bit weights, a scale per group on both sides: the 7x32 tile, and 1x64 and 4x32
 * for few rows. */
#include "kernels/avx512/gemm_u4_tiles.h"

#define CLQ_LIMBS 1
#define CLQ_UNITS 1
#define CLQ_ROWS 7
#define CLQ_FEW_VECTORS 4
#define CLQ_PAIR_VECTORS 2

#include "kernels/avx512/gemm_u4_vectors.h"
#include "kernels/groups_run.h"

bool clq_u4_plan_vnni_grouped(struct clq_gemm_u4_args *g)
{
    return clq_groups_plan(g);
}

void clq_u4_run_vnni_grouped(const struct clq_gemm_u4_args *g)
{
    clq_groups_run(g);
}
