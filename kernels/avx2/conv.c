/* SPDX-License-Identifier: Apache-2.0
 * The AVX2 convolutions, and those of AVX-VNNI, which are planned and packed like them. */
#include "kernels/avx2/dwconv_narrow.h"
#include "kernels/avx2/gemm_narrow.h"
#include "kernels/functions.h"
#include "kernels/window.h"

static const struct clq_conv_way way_avx2 = {
    {.strip = clq_strip_avx2, .residual = clq_residual_avx2, .widen = clq_widen_rows_avx2},
    clq_dwconv_plan_avx2,
    clq_dwconv_pack_avx2,
    clq_dwconv_run_avx2,
};
static const struct clq_conv_way way_avx_vnni = {
    {.strip = clq_strip_avx_vnni, .residual = clq_residual_avx2},
    clq_dwconv_plan_avx2,
    clq_dwconv_pack_avx2,
    clq_dwconv_run_avx2,
};

void clq_conv_u8s8_plan_avx2(struct clq_conv_args *c)
{
    if (!clq_conv_plan(c, &way_avx2)) clq_conv_u8s8_plan_ref(c);
}

void clq_conv_u8s8_pack_avx2(struct clq_conv_args *c)
{
    clq_conv_pack(c, &way_avx2);
}

void clq_conv_u8s8_avx2(struct clq_conv_args *c)
{
    if (c->packed_bytes == 0)
        clq_conv_u8s8_ref(c);
    else
        clq_conv_run(c, &way_avx2);
}

void clq_conv_u8s8_avx_vnni(struct clq_conv_args *c)
{
    if (c->packed_bytes == 0)
        clq_conv_u8s8_ref(c);
    else
        clq_conv_run(c, &way_avx_vnni);
}
