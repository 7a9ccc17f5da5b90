/* SPDX-License-Identifier: Apache-2.0
 * The end of every AVX-512 integer product: 4 x 16 sums of int32 become 64 codes, bit-equal to ref/requantize.h.
 *
 * General form: no clamp of the product but one against overflow, since the saturating packs and adds are monotone and
 * so give the code of a clamp in int32. Signed codes are unsigned ones with the top bit flipped.
 * Short form, where lo == zero_point_y and |v| < 2^23 are proved: the bias carries 0x4B000000, so the sum, read as a
 * float, is 2^23 + v, and one fma with shift = -2^23 * M (exact) gives RN32(v * M). For v < 0 that float is 2^23 - |v|
 * / 2: a wrong value, but the result is not positive, and every such value ends as lo. The code is min(clamp(rne, 0,
 * 255) + zy, hi). This is the only fused multiply-add of the integer path; its product with the shift undone is exact.
 *
 * Both packs work inside 128-bit lanes: a result holds 4 bytes of each of its 4 inputs per lane. */
#ifndef CLQ_KERNELS_AVX512_GEMM_EPILOGUE_H
#define CLQ_KERNELS_AVX512_GEMM_EPILOGUE_H

#include <immintrin.h>

#include "kernels/kernels.h"

#define CLQ_INLINE static inline __attribute__((always_inline))
#define CLQ_UNROLL _Pragma("GCC unroll 32")

typedef int32_t __attribute__((may_alias, aligned(1))) clq_dword;

/* How sums leave a tile; a compile-time constant inside the tiles. */
enum clq_finish { CLQ_FINISH_SHORT, CLQ_FINISH_CODES, CLQ_FINISH_F32, CLQ_FINISH_S32 };

/* Constants repeated over a dword: a dword broadcast from memory needs no shuffle port. */
struct clq_epilogue {
    int32_t zero2, zero4, lo4, hi4, flip4;
};

static inline struct clq_epilogue clq_epilogue_make(enum clq_out out, int32_t zero_point, int32_t lo, int32_t hi)
{
    const int32_t up = out == CLQ_OUT_S8 ? 128 : 0;
    return (struct clq_epilogue){
        .zero2 = (zero_point + up) * 0x10001,
        .zero4 = (int32_t)(0x01010101u * (uint32_t)(zero_point + up)),
        .lo4 = (int32_t)(0x01010101u * (uint32_t)(lo + up)),
        .hi4 = (int32_t)(0x01010101u * (uint32_t)(hi + up)),
        .flip4 = (int32_t)(0x01010101u * (uint32_t)up),
    };
}

static inline enum clq_finish clq_finish_of(enum clq_out out, bool relu)
{
    if (out == CLQ_OUT_F32) return CLQ_FINISH_F32;
    if (out == CLQ_OUT_S32) return CLQ_FINISH_S32;
    return relu ? CLQ_FINISH_SHORT : CLQ_FINISH_CODES;
}

/* 16 sums to 16 rounded, unlimited values. Beyond 2^30 every code is saturated anyway; the conversion would wrap. */
CLQ_INLINE __m512i clq_scale(__m512i v, __m512 multiplier, __m512 shift, const enum clq_finish finish)
{
    if (finish == CLQ_FINISH_SHORT) {
        return _mm512_cvtps_epi32(_mm512_fmadd_ps(_mm512_castsi512_ps(v), multiplier, shift));
    }
    const __m512 p = _mm512_mul_ps(_mm512_cvtepi32_ps(v), multiplier);
    return _mm512_cvtps_epi32(_mm512_min_ps(p, _mm512_set1_ps(1073741824.0f)));
}

/* p, q: 2 x 32 rounded values as saturated int16. */
CLQ_INLINE __m512i clq_codes(__m512i p, __m512i q, const struct clq_epilogue *e, const enum clq_finish finish)
{
    const __m512i hi = _mm512_set1_epi32(e->hi4);
    if (finish == CLQ_FINISH_SHORT) {
        p = _mm512_adds_epu8(_mm512_packus_epi16(p, q), _mm512_set1_epi32(e->zero4));
        return _mm512_min_epu8(p, hi);
    }
    const __m512i zero = _mm512_set1_epi32(e->zero2);
    p = _mm512_packus_epi16(_mm512_adds_epi16(p, zero), _mm512_adds_epi16(q, zero));
    p = _mm512_min_epu8(_mm512_max_epu8(p, _mm512_set1_epi32(e->lo4)), hi);
    return _mm512_xor_si512(p, _mm512_set1_epi32(e->flip4));
}

#endif
