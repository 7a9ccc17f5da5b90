/* SPDX-License-Identifier: Apache-2.0
 * The vectors of groups_run.h on AVX2. Products of bytes are added in 16 bits, four at a time, which cannot saturate:
 * 4 * 255 * 15 = 15,300. */
#ifndef CLQ_KERNELS_AVX2_GEMM_U4_VECTORS_H
#define CLQ_KERNELS_AVX2_GEMM_U4_VECTORS_H

#include <immintrin.h>
#include <string.h>

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
#define CLQ_NARROW(p, v) narrow(p, v)
#define CLQ_WIDEN(p) _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(p)))
#define CLQ_AND(a, b) _mm256_and_si256(a, b)
#define CLQ_DOTS(sum, u0, s0, u1, s1) dots(sum, u0, s0, u1, s1)
#define CLQ_VECTORS 2

static inline void narrow(void *p, __m256i v)
{
    const __m256i low = _mm256_shuffle_epi8(v, _mm256_setr_epi32(0x0c080400, -1, -1, -1, -1, 0x0c080400, -1, -1));
    _mm_storel_epi64(p, _mm_or_si128(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
}

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

#endif
