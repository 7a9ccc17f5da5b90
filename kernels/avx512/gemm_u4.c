/* SPDX-License-Identifier: Apache-2.0
 * The AVX-512 products with 4-bit weights: how each is planned and packed, and which tiles it runs on. */
#include "kernels/avx512/gemm_u4_tiles.h"
#include "kernels/functions.h"

void clq_gemm_s8u4_plan_avx512(struct clq_gemm_u4_args *g)
{
    if (!clq_u4_plan_avx512(g)) clq_gemm_s8u4_plan_ref(g);
}

void clq_gemm_s8u4_pack_avx512(struct clq_gemm_u4_args *g)
{
    if (g->packed_bytes > 0) clq_groups_pack(g->packed, g);
}

void clq_gemm_s8u4_avx512(struct clq_gemm_u4_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_s8u4_ref(g);
    else
        clq_u4_run_avx512(g);
}

void clq_gemm_s8u4_plan_avx512_vnni(struct clq_gemm_u4_args *g)
{
    if (!clq_u4_plan_vnni(g)) clq_gemm_s8u4_plan_ref(g);
}

void clq_gemm_s8u4_pack_avx512_vnni(struct clq_gemm_u4_args *g)
{
    if (g->packed_bytes > 0) clq_groups_pack(g->packed, g);
}

void clq_gemm_s8u4_avx512_vnni(struct clq_gemm_u4_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_s8u4_ref(g);
    else
        clq_u4_run_vnni(g);
}

void clq_gemm_f32u4_plan_avx512(struct clq_gemm_u4_args *g)
{
    if (!clq_u4_plan_avx512_real(g)) clq_gemm_f32u4_plan_ref(g);
}

void clq_gemm_f32u4_avx512(struct clq_gemm_u4_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_f32u4_ref(g);
    else
        clq_u4_run_avx512_real(g);
}

void clq_gemm_f32u4_plan_avx512_vnni(struct clq_gemm_u4_args *g)
{
    if (!clq_u4_plan_vnni_real(g)) clq_gemm_f32u4_plan_ref(g);
}

void clq_gemm_f32u4_avx512_vnni(struct clq_gemm_u4_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_f32u4_ref(g);
    else
        clq_u4_run_vnni_real(g);
}

void clq_gemm_s8u4_plan_amx(struct clq_gemm_u4_args *g)
{
    if (!clq_u4_plan_amx(g)) clq_gemm_s8u4_plan_ref(g);
}

void clq_gemm_s8u4_amx(struct clq_gemm_u4_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_s8u4_ref(g);
    else
        clq_u4_run_amx(g);
}

void clq_gemm_f32u4_plan_amx(struct clq_gemm_u4_args *g)
{
    if (!clq_u4_plan_amx_real(g)) clq_gemm_f32u4_plan_ref(g);
}

void clq_gemm_f32u4_amx(struct clq_gemm_u4_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_f32u4_ref(g);
    else
        clq_u4_run_amx_real(g);
}

void clq_gemm_g8u4_plan_avx512(struct clq_gemm_u4_args *g)
{
    if (!clq_u4_plan_avx512_grouped(g)) clq_gemm_g8u4_plan_ref(g);
}

void clq_gemm_g8u4_avx512(struct clq_gemm_u4_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_g8u4_ref(g);
    else
        clq_u4_run_avx512_grouped(g);
}

void clq_gemm_g8u4_plan_avx512_vnni(struct clq_gemm_u4_args *g)
{
    if (!clq_u4_plan_vnni_grouped(g)) clq_gemm_g8u4_plan_ref(g);
}

void clq_gemm_g8u4_avx512_vnni(struct clq_gemm_u4_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_g8u4_ref(g);
    else
        clq_u4_run_vnni_grouped(g);
}
