/* SPDX-License-Identifier: Apache-2.0
 * The AVX512-VNNI product with 4-bit weights: the 7x32 tile, and 1x64 and 4x32 for few rows. */
#include "kernels/avx512/gemm_u4_tiles.h"

#include <immintrin.h>

#define CLQ_V __m512i
#define CLQ_VF __m512
#define CLQ_MM(name) _mm512_##name
#define CLQ_LANES 16
#define CLQ_LOAD(p) _mm512_loadu_si512(p)
#define CLQ_STORE(p, v) _mm512_storeu_si512(p, v)
#define CLQ_LOADF(p) _mm512_loadu_ps(p)
#define CLQ_STOREF(p, v) _mm512_storeu_ps(p, v)
#define CLQ_STOREF_PART(p, v, n) _mm512_mask_storeu_ps(p, (__mmask16)((1u << (n)) - 1), v)
#define CLQ_HALVES(p) _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(p)))
#define CLQ_WIDEN(p) _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)(p)))
#define CLQ_AND(a, b) _mm512_and_si512(a, b)
#define CLQ_DOT(sum, u, s) dot(sum, u, s)
#define CLQ_DOTS(sum, u0, s0, u1, s1) dot(dot(sum, u0, s0), u1, s1)
#define CLQ_ROWS 7
#define CLQ_VECTORS 2
#define CLQ_FEW_VECTORS 4

/* One instruction, not the intrinsic, which makes gcc 12 spill, and no compiler flag. */
static inline __attribute__((always_inline)) __m512i dot(__m512i sum, __m512i u, __m512i s)
{
    __asm__("vpdpbusd %2,%1,%0" : "+v"(sum) : "v"(u), "v"(s));
    return sum;
}

#include "kernels/groups_run.h"

bool clq_u4_plan_vnni(struct clq_gemm_u4_args *g)
{
    return clq_groups_plan(g);
}

void clq_u4_run_vnni(const struct clq_gemm_u4_args *g)
{
    clq_groups_run(g);
}
