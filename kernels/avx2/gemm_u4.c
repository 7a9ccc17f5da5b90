/* SPDX-License-Identifier: Apache-2.0
 * The AVX2 product with 4-bit weights: the 4x16 tile, and 1x64 and 4x16 for few rows. Products of bytes are added in 16
 * bits, four at a time, which cannot saturate: 4 * 255 * 15 = 15,300. */
#include <immintrin.h>
#include <string.h>

#include "kernels/functions.h"

#define CLQ_V __m256i
#define CLQ_VF __m256
#define CLQ_MM(name) _mm256_##name
#define CLQ_LANES 8
#define CLQ_LOAD(p) _mm256_loadu_si256((const void *)(p))
#define CLQ_STORE(p, v) _mm256_storeu_si256((void *)(p), v)
#define CLQ_LOADF(p) _mm256_loadu_ps(p)
#define CLQ_STOREF(p, v) _mm256_storeu_ps(p, v)
#define CLQ_STOREF_PART(p, v, n) store_part(p, v, n)
#define CLQ_HALVES(p) _mm256_cvtph_ps(_mm_loadu_si128((const void *)(p)))
#define CLQ_WIDEN(p) _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(p)))
#define CLQ_AND(a, b) _mm256_and_si256(a, b)
#define CLQ_DOTS(sum, u0, s0, u1, s1) dots(sum, u0, s0, u1, s1)
#define CLQ_ROWS 4
#define CLQ_VECTORS 2
#define CLQ_FEW_VECTORS 8

static inline void store_part(float *p, __m256 v, size_t n)
{
    float part[8];
    _mm256_storeu_ps(part, v);
    memcpy(p, part, 4 * n);
}

static inline __attribute__((always_inline)) __m256i dots(__m256i sum, __m256i u0, __m256i s0, __m256i u1, __m256i s1)
{
    const __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(u0, s0), _mm256_maddubs_epi16(u1, s1));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

#include "kernels/groups_run.h"

void clq_gemm_s8u4_plan_avx2(struct clq_gemm_u4_args *g)
{
    if (!clq_groups_plan(g)) clq_gemm_s8u4_plan_ref(g);
}

void clq_gemm_s8u4_pack_avx2(struct clq_gemm_u4_args *g)
{
    if (g->packed_bytes > 0) clq_groups_pack(g->packed, g);
}

void clq_gemm_s8u4_avx2(struct clq_gemm_u4_args *g)
{
    if (g->packed_bytes == 0)
        clq_gemm_s8u4_ref(g);
    else
        clq_groups_run(g);
}
