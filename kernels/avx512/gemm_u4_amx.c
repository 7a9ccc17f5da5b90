/* SPDX-License-Identifier: Apache-2.0
 * The AMX product of 8-bit rows with 4-bit weights. */
#define CLQ_LIMBS 1
#include "kernels/avx512/gemm_u4_amx.h"

bool clq_u4_plan_amx(struct clq_gemm_u4_args *g)
{
    return depth_of(g) > 0 ? clq_groups_plan(g) : clq_u4_plan_vnni(g);
}

void clq_u4_run_amx(const struct clq_gemm_u4_args *g)
{
    const size_t depth = depth_of(g);
    if (depth == 0) {
        clq_u4_run_vnni(g);
        return;
    }
    clq_amx_configure(CLQ_TILE, depth);
    clq_groups_units(g, NULL, depth);
    CLQ_AMX_RELEASE();
}
