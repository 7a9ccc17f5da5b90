/* SPDX-License-Identifier: Apache-2.0
 * Depthwise convolution on AVX2, 16 channels at a time. */
#include "kernels/avx2/dwconv_narrow.h"

#define CLQ_V __m256i
#define CLQ_MM(name) _mm256_##name
#define CLQ_LOAD(p) _mm256_loadu_si256((const __m256i *)(p))
#define CLQ_STORE(p, v) _mm256_storeu_si256((__m256i *)(p), v)
#define CLQ_LOW(x, mask) _mm256_and_si256(x, mask)
#define CLQ_LANES 8
#define CLQ_LOAD_CODES(p, left) load_codes(p, left)
#include <immintrin.h>
#include <string.h>

static inline __m256i load_codes(const uint8_t *p, size_t left)
{
    if (left >= 16) return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
    uint8_t codes[16] = {0};
    for (size_t i = 0; i < left; i++) codes[i] = p[i];
    return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)codes));
}

static inline void clq_narrow_dw_sums(int32_t *sums, __m256i lo, __m256i hi)
{
    _mm256_storeu_si256((__m256i *)sums, _mm256_permute2x128_si256(lo, hi, 0x20));
    _mm256_storeu_si256((__m256i *)(sums + 8), _mm256_permute2x128_si256(lo, hi, 0x31));
}

#include "kernels/narrow_dw.h"

void clq_dwconv_plan_avx2(struct clq_conv_args *c)
{
    clq_narrow_dw_plan(c);
}

void clq_dwconv_pack_avx2(struct clq_conv_args *c)
{
    clq_narrow_dw_pack(c);
}

void clq_dwconv_run_avx2(const struct clq_conv_args *c)
{
    clq_narrow_dw_run(c, clq_residual_avx2);
}
