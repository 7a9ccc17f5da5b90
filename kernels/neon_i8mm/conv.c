/* SPDX-License-Identifier: Apache-2.0
 * The convolutions by matrix instructions; depthwise ones are those of every 64-bit Arm CPU. */
#include "kernels/functions.h"
#include "kernels/neon/dwconv.h"
#include "kernels/neon_i8mm/gemm_mmla.h"
#include "kernels/window.h"

static const struct clq_conv_way way = {
    {.strip = clq_strip_u8_neon_i8mm, .residual = clq_residual_neon, .native = true, .eights = true},
    clq_dwconv_plan_neon,
    clq_dwconv_pack_neon,
    clq_dwconv_run_neon,
};

void clq_conv_u8s8_plan_neon_i8mm(struct clq_conv_args *c)
{
    if (!clq_conv_plan(c, &way)) clq_conv_u8s8_plan_ref(c);
}

void clq_conv_u8s8_pack_neon_i8mm(struct clq_conv_args *c)
{
    clq_conv_pack(c, &way);
}

void clq_conv_u8s8_neon_i8mm(struct clq_conv_args *c)
{
    if (c->packed_bytes == 0)
        clq_conv_u8s8_ref(c);
    else
        clq_conv_run(c, &way);
}
