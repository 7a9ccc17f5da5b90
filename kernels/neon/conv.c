/* SPDX-License-Identifier: Apache-2.0
 * The convolutions by widening products of bytes; depthwise ones are those of every 64-bit Arm CPU. */
#include "kernels/functions.h"
#include "kernels/neon/dwconv.h"
#include "kernels/neon/gemm_mull.h"
#include "kernels/window.h"

static const struct clq_conv_way way = {
    {.strip = clq_strip_u8_neon, .residual = clq_residual_neon, .native = true, .signed_pairs = true, .shift = -128},
    clq_dwconv_plan_neon,
    clq_dwconv_pack_neon,
    clq_dwconv_run_neon,
};

void clq_conv_u8s8_plan_neon(struct clq_conv_args *c)
{
    if (!clq_conv_plan(c, &way)) clq_conv_u8s8_plan_ref(c);
}

void clq_conv_u8s8_pack_neon(struct clq_conv_args *c)
{
    clq_conv_pack(c, &way);
}

void clq_conv_u8s8_neon(struct clq_conv_args *c)
{
    if (c->packed_bytes == 0)
        clq_conv_u8s8_ref(c);
    else
        clq_conv_run(c, &way);
}
