/* SPDX-License-Identifier: Apache-2.0
 * The vectors of groups_run.h on AVX-512, and the dots of CPUs with VNNI and, where CLQ_PLAIN_DOTS is defined, without it. */
#ifndef CLQ_KERNELS_AVX512_GEMM_U4_VECTORS_H
#define CLQ_KERNELS_AVX512_GEMM_U4_VECTORS_H

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
#define CLQ_NARROW(p, v) _mm_storeu_si128((void *)(p), _mm512_cvtepi32_epi8(v))
#define CLQ_WIDEN(p) _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)(p)))
#define CLQ_AND(a, b) _mm512_and_si512(a, b)
#define CLQ_VECTORS 2

#ifdef CLQ_PLAIN_DOTS
#define CLQ_DOTS(sum, u0, s0, u1, s1) dots(sum, u0, s0, u1, s1)

/* Products of bytes are added in 16 bits, four at a time, which cannot saturate: 4 * 255 * 15 = 15,300. */
static inline __attribute__((always_inline)) __m512i dots(__m512i sum, __m512i u0, __m512i s0, __m512i u1, __m512i s1)
{
    const __m512i pairs = _mm512_add_epi16(_mm512_maddubs_epi16(u0, s0), _mm512_maddubs_epi16(u1, s1));
    return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}
#else
#define CLQ_DOT(sum, u, s) dot(sum, u, s)
#define CLQ_DOTS(sum, u0, s0, u1, s1) dot(dot(sum, u0, s0), u1, s1)

/* One instruction, not the intrinsic, which makes gcc 12 spill, and no compiler flag. */
static inline __attribute__((always_inline)) __m512i dot(__m512i sum, __m512i u, __m512i s)
{
    __asm__("vpdpbusd %2,%1,%0" : "+v"(sum) : "v"(u), "v"(s));
    return sum;
}
#endif

#endif
