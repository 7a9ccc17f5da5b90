/* SPDX-License-Identifier: Apache-2.0
 * The AVX512-VNNI product of real rows with 4-bit weights: the 2x32 tile of six rows of limbs, and 1x64 and 2x32 for few
 * rows. */
#include "kernels/avx512/gemm_u4_tiles.h"

#define CLQ_LIMBS 3
#define CLQ_ROWS 6
#define CLQ_FEW_VECTORS 4
#define CLQ_PAIR_VECTORS 2

#include "kernels/avx512/gemm_u4_vectors.h"
#include "kernels/groups_run.h"

bool clq_u4_plan_vnni_real(struct clq_gemm_u4_args *g)
{
    return clq_groups_plan(g);
}

void clq_u4_run_vnni_real(const struct clq_gemm_u4_args *g)
{
    clq_groups_run(g);
}
