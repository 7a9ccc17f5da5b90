/* SPDX-License-Identifier: Apache-2.0
 * The AVX2 matrix products, and those of AVX-VNNI, which are planned and packed like them. */
#include "kernels/avx2/gemm_narrow.h"
#include "kernels/functions.h"
#include "kernels/product.h"

void clq_gemm_u8s8_plan_avx2(struct clq_gemm_args *g)
{
    if (!clq_product_plan(g, false)) clq_gemm_u8s8_plan_ref(g);
}

void clq_gemm_u8s8_pack_avx2(struct clq_gemm_args *g)
{
    clq_product_pack(g, false, false);
}

void clq_gemm_u8s8_avx2(struct clq_gemm_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_u8s8_ref(g);
    else
        clq_product_run(g, clq_strip_avx2, false);
}

void clq_gemm_s8s8_plan_avx2(struct clq_gemm_args *g)
{
    if (!clq_product_plan(g, true)) clq_gemm_s8s8_plan_ref(g);
}

void clq_gemm_s8s8_pack_avx2(struct clq_gemm_args *g)
{
    clq_product_pack(g, true, false);
}

void clq_gemm_s8s8_avx2(struct clq_gemm_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_s8s8_ref(g);
    else
        clq_product_run(g, clq_strip_avx2, true);
}

void clq_gemm_u8s8_avx_vnni(struct clq_gemm_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_u8s8_ref(g);
    else
        clq_product_run(g, clq_strip_avx_vnni, false);
}

void clq_gemm_s8s8_avx_vnni(struct clq_gemm_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_s8s8_ref(g);
    else
        clq_product_run(g, clq_strip_avx_vnni, true);
}
