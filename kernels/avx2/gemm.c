/* SPDX-License-Identifier: Apache-2.0
 * The AVX2 matrix products, and those of AVX-VNNI, which are planned and packed like them. */
#include "kernels/avx2/gemm_narrow.h"
#include "kernels/functions.h"
#include "kernels/product.h"

static const struct clq_product_way u8_avx2 = {.strip = clq_strip_avx2, .residual = clq_residual_avx2, .widen = clq_widen_rows_avx2};
static const struct clq_product_way s8_avx2 = {.strip = clq_strip_avx2, .residual = clq_residual_avx2, .is_signed = true, .widen = clq_widen_rows_avx2};
static const struct clq_product_way u8_avx_vnni = {.strip = clq_strip_avx_vnni, .residual = clq_residual_avx2};
static const struct clq_product_way s8_avx_vnni = {.strip = clq_strip_avx_vnni, .residual = clq_residual_avx2, .is_signed = true};

void clq_gemm_u8s8_plan_avx2(struct clq_gemm_args *g)
{
    if (!clq_product_plan(g, &u8_avx2)) clq_gemm_u8s8_plan_ref(g);
}

void clq_gemm_u8s8_pack_avx2(struct clq_gemm_args *g)
{
    clq_product_pack(g, &u8_avx2);
}

void clq_gemm_u8s8_avx2(struct clq_gemm_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_u8s8_ref(g);
    else
        clq_product_run(g, &u8_avx2);
}

void clq_gemm_s8s8_plan_avx2(struct clq_gemm_args *g)
{
    if (!clq_product_plan(g, &s8_avx2)) clq_gemm_s8s8_plan_ref(g);
}

void clq_gemm_s8s8_pack_avx2(struct clq_gemm_args *g)
{
    clq_product_pack(g, &s8_avx2);
}

void clq_gemm_s8s8_avx2(struct clq_gemm_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_s8s8_ref(g);
    else
        clq_product_run(g, &s8_avx2);
}

void clq_gemm_u8s8_avx_vnni(struct clq_gemm_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_u8s8_ref(g);
    else
        clq_product_run(g, &u8_avx_vnni);
}

void clq_gemm_s8s8_avx_vnni(struct clq_gemm_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_s8s8_ref(g);
    else
        clq_product_run(g, &s8_avx_vnni);
}
