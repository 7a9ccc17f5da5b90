/* SPDX-License-Identifier: Apache-2.0
 * The AVX-512 convolutions: a plain product for 1x1, depthwise, and bands of output rows for everything else. */
#include "kernels/avx512/dwconv.h"
#include "kernels/avx512/gemm_vnni.h"
#include "kernels/functions.h"
#include "kernels/window.h"

void clq_conv_u8s8_plan_avx512_vnni(struct clq_conv_args *c)
{
    if (c->bound > INT32_MAX) {
        clq_conv_u8s8_plan_ref(c);
    } else if (clq_conv_is_product(c)) {
        struct clq_gemm_args g = clq_conv_product(c);
        clq_product_plan(&g, false);
        c->packed_bytes = g.packed_bytes;
        c->scratch_bytes = g.scratch_bytes;
        c->units = g.units;
    } else if (clq_conv_is_depthwise(c)) {
        clq_dwconv_plan_vnni(c);
    } else {
        clq_window_plan(c);
    }
}

void clq_conv_u8s8_pack_avx512_vnni(struct clq_conv_args *c)
{
    if (c->packed_bytes == 0) return;
    if (clq_conv_is_depthwise(c)) {
        clq_dwconv_pack_vnni(c);
    } else {
        const struct clq_panels_source source = clq_window_source(c);
        clq_panels_pack(c->packed, &source);
    }
}

void clq_conv_u8s8_avx512_vnni(struct clq_conv_args *c)
{
    if (c->packed_bytes == 0) {
        clq_conv_u8s8_ref(c);
    } else if (clq_conv_is_product(c)) {
        const struct clq_gemm_args g = clq_conv_product(c);
        clq_product_run(&g, clq_strip_vnni, false);
    } else if (clq_conv_is_depthwise(c)) {
        clq_dwconv_run_vnni(c);
    } else {
        clq_window_run(c, clq_strip_vnni);
    }
}
