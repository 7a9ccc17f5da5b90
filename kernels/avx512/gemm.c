/* SPDX-License-Identifier: Apache-2.0
 * The AVX-512 matrix products: how each is planned and packed, and which tiles it runs on. */
#include "kernels/avx512/gemm_amx.h"
#include "kernels/avx512/gemm_narrow.h"
#include "kernels/avx512/gemm_vnni.h"
#include "kernels/functions.h"
#include "kernels/product.h"

static const struct clq_product_way u8_avx512 = {.strip = clq_strip_avx512, .residual = clq_residual_avx512};
static const struct clq_product_way s8_avx512 = {.strip = clq_strip_avx512, .residual = clq_residual_avx512, .is_signed = true};
static const struct clq_product_way u8_vnni = {.strip = clq_strip_vnni, .residual = clq_residual_avx512, .wide = true};
static const struct clq_product_way s8_vnni = {.strip = clq_strip_vnni, .residual = clq_residual_avx512, .is_signed = true, .wide = true,
                                              .row_bias = clq_row_bias_vnni};
static const struct clq_product_way u8_amx = {.strips = clq_strips_amx, .residual = clq_residual_avx512, .multiple = CLQ_AMX_ROWS, .wide = true};
static const struct clq_product_way s8_amx = {.strips = clq_strips_amx, .residual = clq_residual_avx512, .multiple = CLQ_AMX_ROWS,
                                             .is_signed = true, .wide = true, .row_bias = clq_row_bias_vnni};

void clq_gemm_u8s8_plan_avx512(struct clq_gemm_args *g)
{
    if (!clq_product_plan(g, &u8_avx512)) clq_gemm_u8s8_plan_ref(g);
}

void clq_gemm_u8s8_pack_avx512(struct clq_gemm_args *g)
{
    clq_product_pack(g, &u8_avx512);
}

void clq_gemm_u8s8_avx512(struct clq_gemm_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_u8s8_ref(g);
    else
        clq_product_run(g, &u8_avx512);
}

void clq_gemm_s8s8_plan_avx512(struct clq_gemm_args *g)
{
    if (!clq_product_plan(g, &s8_avx512)) clq_gemm_s8s8_plan_ref(g);
}

void clq_gemm_s8s8_pack_avx512(struct clq_gemm_args *g)
{
    clq_product_pack(g, &s8_avx512);
}

void clq_gemm_s8s8_avx512(struct clq_gemm_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_s8s8_ref(g);
    else
        clq_product_run(g, &s8_avx512);
}

void clq_gemm_u8s8_plan_avx512_vnni(struct clq_gemm_args *g)
{
    if (!clq_product_plan(g, &u8_vnni)) clq_gemm_u8s8_plan_ref(g);
}

void clq_gemm_u8s8_pack_avx512_vnni(struct clq_gemm_args *g)
{
    clq_product_pack(g, &u8_vnni);
}

void clq_gemm_u8s8_avx512_vnni(struct clq_gemm_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_u8s8_ref(g);
    else
        clq_product_run(g, &u8_vnni);
}

void clq_gemm_s8s8_plan_avx512_vnni(struct clq_gemm_args *g)
{
    if (!clq_product_plan(g, &s8_vnni)) clq_gemm_s8s8_plan_ref(g);
}

void clq_gemm_s8s8_pack_avx512_vnni(struct clq_gemm_args *g)
{
    clq_product_pack(g, &s8_vnni);
}

void clq_gemm_s8s8_avx512_vnni(struct clq_gemm_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_s8s8_ref(g);
    else
        clq_product_run(g, &s8_vnni);
}

/* AMX has the panels of AVX512-VNNI, and blocks of its own. */
void clq_gemm_u8s8_plan_amx(struct clq_gemm_args *g)
{
    if (!clq_product_plan(g, &u8_amx)) clq_gemm_u8s8_plan_ref(g);
}

void clq_gemm_u8s8_amx(struct clq_gemm_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_u8s8_ref(g);
    else
        clq_product_run(g, &u8_amx);
}

void clq_gemm_s8s8_plan_amx(struct clq_gemm_args *g)
{
    if (!clq_product_plan(g, &s8_amx)) clq_gemm_s8s8_plan_ref(g);
}

void clq_gemm_s8s8_amx(struct clq_gemm_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_s8s8_ref(g);
    else
        clq_product_run(g, &s8_amx);
}
