/* SPDX-License-Identifier: Apache-2.0
 * Depthwise convolution on AVX-512 without VNNI, 32 channels at a time. */
#include "kernels/avx512/dwconv_narrow.h"

#define CLQ_V __m512i
#define CLQ_MM(name) _mm512_##name
#define CLQ_LOAD(p) _mm512_loadu_si512(p)
#define CLQ_STORE(p, v) _mm512_storeu_si512(p, v)
#define CLQ_LOW(x, mask) _mm512_and_si512(x, mask)
#define CLQ_LANES 16
#define CLQ_LOAD_CODES(p, left) load_codes(p, left)
#include <immintrin.h>

static inline __m512i load_codes(const uint8_t *p, size_t left)
{
    const __mmask32 mask = left >= 32 ? 0xffffffffu : (1u << left) - 1;
    return _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(mask, p));
}

static inline void clq_narrow_dw_sums(int32_t *sums, __m512i lo, __m512i hi)
{
    const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11),
                  last = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    _mm512_storeu_si512(sums, _mm512_permutex2var_epi64(lo, first, hi));
    _mm512_storeu_si512(sums + 16, _mm512_permutex2var_epi64(lo, last, hi));
}

#include "kernels/narrow_dw.h"

void clq_dwconv_plan_avx512(struct clq_conv_args *c)
{
    clq_narrow_dw_plan(c);
}

void clq_dwconv_pack_avx512(struct clq_conv_args *c)
{
    clq_narrow_dw_pack(c);
}

void clq_dwconv_run_avx512(const struct clq_conv_args *c)
{
    clq_narrow_dw_run(c, clq_residual_avx512);
}
