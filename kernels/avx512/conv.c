/* SPDX-License-Identifier: Apache-2.0
 * The AVX-512 convolutions: a plain product for 1x1, depthwise, and bands of output rows for everything else. */
#include "kernels/avx512/dwconv.h"
#include "kernels/avx512/dwconv_narrow.h"
#include "kernels/avx512/gemm_amx.h"
#include "kernels/avx512/gemm_narrow.h"
#include "kernels/avx512/gemm_vnni.h"
#include "kernels/functions.h"
#include "kernels/window.h"

static const struct clq_conv_way way_avx512 = {
    {.strip = clq_strip_avx512, .residual = clq_residual_avx512},
    clq_dwconv_plan_avx512,
    clq_dwconv_pack_avx512,
    clq_dwconv_run_avx512,
};
static const struct clq_conv_way way_avx512_vnni = {
    {.strip = clq_strip_vnni, .residual = clq_residual_avx512, .wide = true},
    clq_dwconv_plan_vnni,
    clq_dwconv_pack_vnni,
    clq_dwconv_run_vnni,
};
static const struct clq_conv_way way_amx = {
    {.strips = clq_strips_amx, .residual = clq_residual_avx512, .multiple = CLQ_AMX_ROWS, .wide = true},
    clq_dwconv_plan_vnni,
    clq_dwconv_pack_vnni,
    clq_dwconv_run_vnni,
};

void clq_conv_u8s8_plan_avx512(struct clq_conv_args *c)
{
    if (!clq_conv_plan(c, &way_avx512)) clq_conv_u8s8_plan_ref(c);
}

void clq_conv_u8s8_pack_avx512(struct clq_conv_args *c)
{
    clq_conv_pack(c, &way_avx512);
}

void clq_conv_u8s8_avx512(struct clq_conv_args *c)
{
    if (c->packed_bytes == 0)
        clq_conv_u8s8_ref(c);
    else
        clq_conv_run(c, &way_avx512);
}

void clq_conv_u8s8_plan_avx512_vnni(struct clq_conv_args *c)
{
    if (!clq_conv_plan(c, &way_avx512_vnni)) clq_conv_u8s8_plan_ref(c);
}

void clq_conv_u8s8_pack_avx512_vnni(struct clq_conv_args *c)
{
    clq_conv_pack(c, &way_avx512_vnni);
}

void clq_conv_u8s8_avx512_vnni(struct clq_conv_args *c)
{
    if (c->packed_bytes == 0)
        clq_conv_u8s8_ref(c);
    else
        clq_conv_run(c, &way_avx512_vnni);
}

/* AMX has the panels of AVX512-VNNI, and blocks of its own. */
void clq_conv_u8s8_plan_amx(struct clq_conv_args *c)
{
    if (!clq_conv_plan(c, &way_amx)) clq_conv_u8s8_plan_ref(c);
}

void clq_conv_u8s8_amx(struct clq_conv_args *c)
{
    if (c->packed_bytes == 0)
        clq_conv_u8s8_ref(c);
    else
        clq_conv_run(c, &way_amx);
}
