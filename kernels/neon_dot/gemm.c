/* SPDX-License-Identifier: Apache-2.0
 * The matrix products by dot product instructions. */
#include "kernels/functions.h"
#include "kernels/neon_dot/gemm_dot.h"
#include "kernels/product.h"

static const struct clq_product_way u8 = {.strip = clq_strip_u8_neon_dot, .residual = clq_residual_neon, .native = true, .shift = -128};
static const struct clq_product_way s8 = {.strip = clq_strip_s8_neon_dot, .residual = clq_residual_neon, .is_signed = true, .native = true};

void clq_gemm_u8s8_plan_neon_dotprod(struct clq_gemm_args *g)
{
    if (!clq_product_plan(g, &u8)) clq_gemm_u8s8_plan_ref(g);
}

void clq_gemm_u8s8_pack_neon_dotprod(struct clq_gemm_args *g)
{
    clq_product_pack(g, &u8);
}

void clq_gemm_u8s8_neon_dotprod(struct clq_gemm_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_u8s8_ref(g);
    else
        clq_product_run(g, &u8);
}

void clq_gemm_s8s8_plan_neon_dotprod(struct clq_gemm_args *g)
{
    if (!clq_product_plan(g, &s8)) clq_gemm_s8s8_plan_ref(g);
}

void clq_gemm_s8s8_pack_neon_dotprod(struct clq_gemm_args *g)
{
    clq_product_pack(g, &s8);
}

void clq_gemm_s8s8_neon_dotprod(struct clq_gemm_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_s8s8_ref(g);
    else
        clq_product_run(g, &s8);
}
