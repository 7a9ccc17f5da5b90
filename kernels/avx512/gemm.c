/* SPDX-License-Identifier: Apache-2.0
 * The AVX-512 matrix products: how each is planned and packed, and which tiles it runs on. */
#include "kernels/avx512/gemm_amx.h"
#include "kernels/avx512/gemm_narrow.h"
#include "kernels/avx512/gemm_vnni.h"
#include "kernels/functions.h"
#include "kernels/product.h"

void clq_gemm_u8s8_plan_avx512(struct clq_gemm_args *g)
{
    if (!clq_product_plan(g, false)) clq_gemm_u8s8_plan_ref(g);
}

void clq_gemm_u8s8_pack_avx512(struct clq_gemm_args *g)
{
    clq_product_pack(g, false, false);
}

void clq_gemm_u8s8_avx512(struct clq_gemm_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_u8s8_ref(g);
    else
        clq_product_run(g, clq_strip_avx512, false);
}

void clq_gemm_s8s8_plan_avx512(struct clq_gemm_args *g)
{
    if (!clq_product_plan(g, true)) clq_gemm_s8s8_plan_ref(g);
}

void clq_gemm_s8s8_pack_avx512(struct clq_gemm_args *g)
{
    clq_product_pack(g, true, false);
}

void clq_gemm_s8s8_avx512(struct clq_gemm_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_s8s8_ref(g);
    else
        clq_product_run(g, clq_strip_avx512, true);
}

void clq_gemm_u8s8_plan_avx512_vnni(struct clq_gemm_args *g)
{
    if (!clq_product_plan(g, false)) clq_gemm_u8s8_plan_ref(g);
}

void clq_gemm_u8s8_pack_avx512_vnni(struct clq_gemm_args *g)
{
    clq_product_pack(g, false, true);
}

void clq_gemm_u8s8_avx512_vnni(struct clq_gemm_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_u8s8_ref(g);
    else
        clq_product_run(g, clq_strip_vnni, false);
}

void clq_gemm_s8s8_plan_avx512_vnni(struct clq_gemm_args *g)
{
    if (!clq_product_plan(g, true)) clq_gemm_s8s8_plan_ref(g);
}

void clq_gemm_s8s8_pack_avx512_vnni(struct clq_gemm_args *g)
{
    clq_product_pack(g, true, true);
}

void clq_gemm_s8s8_avx512_vnni(struct clq_gemm_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_s8s8_ref(g);
    else
        clq_product_run(g, clq_strip_vnni, true);
}

/* AMX has the panels of AVX512-VNNI. */
void clq_gemm_u8s8_amx(struct clq_gemm_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_u8s8_ref(g);
    else
        clq_product_run(g, clq_strip_amx, false);
}

void clq_gemm_s8s8_amx(struct clq_gemm_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_s8s8_ref(g);
    else
        clq_product_run(g, clq_strip_amx, true);
}
