/* SPDX-License-Identifier: Apache-2.0
 * Sum and product of two quantized tensors, 64 codes at a time; bits of ref/binary.c. The quotient is a product with
 * the reciprocal in two parts, README.md "Quotients". */
#include <immintrin.h>

#include "kernels/kernels.h"
#include "kernels/quotients.h"

enum { CLQ_BINARY_CODES = 64 };

/* Of the codes in even bytes and of those in odd ones, which are 256 times as large. */
struct binary {
    __m512 offset_a[2], offset_b[2]; /* 2^23 + zero point */
    __m512 scale_a[2], scale_b[2], near, rest;
    __m512i zero_point; /* 16-bit lanes */
    __m512i lo, hi;     /* 8-bit lanes */
};

/* The codes in one byte of each 32-bit lane become binary32 without a conversion: 0x4b000000 | code is 2^23 + code, and
 * subtracting 2^23 + zero point is exact. A code in the second byte counts 256 times, which a power of two in the scale undoes. */
static inline __m512 value(__m512i x, bool odd, const __m512 offset[2], const __m512 scale[2])
{
    const __m512i byte = _mm512_set1_epi32(odd ? 0xff00 : 0xff), exponent = _mm512_set1_epi32(0x4b000000);
    const __m512 v = _mm512_castsi512_ps(_mm512_ternarylogic_epi32(x, byte, exponent, 0xea));
    return _mm512_mul_ps(_mm512_sub_ps(v, offset[odd]), scale[odd]);
}

static inline __attribute__((always_inline)) __m512i codes(__m512i a, __m512i b, bool odd, const struct binary *p,
                                                           bool multiply)
{
    const __m512 x = value(a, odd, p->offset_a, p->scale_a), y = value(b, odd, p->offset_b, p->scale_b);
    const __m512 f = multiply ? _mm512_mul_ps(x, y) : _mm512_add_ps(x, y);
    return _mm512_cvtps_epi32(_mm512_fmadd_ps(f, p->near, _mm512_mul_ps(f, p->rest)));
}

/* Packing works within 128-bit lanes: 4 codes of each of the four bytes of a lane, which a shuffle puts in order. */
static inline __attribute__((always_inline)) __m512i results(__m512i a, __m512i b, const struct binary *p, bool multiply)
{
    const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 8, 4, 12, 1, 9, 5, 13, 2, 10, 6, 14, 3, 11, 7, 15));
    const __m512i a_high = _mm512_srli_epi32(a, 16), b_high = _mm512_srli_epi32(b, 16);
    const __m512i c0 = codes(a, b, false, p, multiply), c1 = codes(a, b, true, p, multiply);
    const __m512i c2 = codes(a_high, b_high, false, p, multiply), c3 = codes(a_high, b_high, true, p, multiply);
    const __m512i even = _mm512_adds_epi16(_mm512_packs_epi32(c0, c2), p->zero_point);
    const __m512i odd = _mm512_adds_epi16(_mm512_packs_epi32(c1, c3), p->zero_point);
    const __m512i y = _mm512_shuffle_epi8(_mm512_packus_epi16(even, odd), order);
    return _mm512_min_epu8(_mm512_max_epu8(y, p->lo), p->hi);
}

static inline struct binary constants(const struct clq_binary_u8_args *v, int up)
{
    const struct clq_reciprocal r = clq_reciprocal_of(v->scale_y);
    return (struct binary){
        .offset_a = {_mm512_set1_ps((float)(0x800000 + v->zero_point_a + up)), _mm512_set1_ps((float)(0x800000 + 256 * (v->zero_point_a + up)))},
        .offset_b = {_mm512_set1_ps((float)(0x800000 + v->zero_point_b + up)), _mm512_set1_ps((float)(0x800000 + 256 * (v->zero_point_b + up)))},
        .scale_a = {_mm512_set1_ps(v->scale_a), _mm512_set1_ps(v->scale_a / 256)},
        .scale_b = {_mm512_set1_ps(v->scale_b), _mm512_set1_ps(v->scale_b / 256)},
        .near = _mm512_set1_ps(r.near),
        .rest = _mm512_set1_ps(r.rest),
        .zero_point = _mm512_set1_epi16((short)(v->zero_point_y + up)),
        .lo = _mm512_set1_epi8((char)(v->lo + up)),
        .hi = _mm512_set1_epi8((char)(v->hi + up)),
    };
}

static inline __attribute__((always_inline)) __m512i turned(__m512i codes, bool turn)
{
    return turn ? _mm512_xor_si512(codes, _mm512_set1_epi8((char)128)) : codes;
}

static inline __attribute__((always_inline)) void block(const uint8_t *at_a, const uint8_t *at_b, uint8_t *at_y,
                                                        const struct binary *p, bool multiply, bool turn)
{
    const __m512i a = _mm512_loadu_si512(at_a), b = _mm512_loadu_si512(at_b);
    _mm512_storeu_si512(at_y, turned(results(turned(a, turn), turned(b, turn), p, multiply), turn));
}

static inline __attribute__((always_inline)) void rest(const uint8_t *at_a, const uint8_t *at_b, uint8_t *at_y, size_t n,
                                                       const struct binary *p, bool multiply, bool turn)
{
    const __mmask64 mask = ~0ull >> (64 - n);
    const __m512i a = _mm512_maskz_loadu_epi8(mask, at_a), b = _mm512_maskz_loadu_epi8(mask, at_b);
    _mm512_mask_storeu_epi8(at_y, mask, turned(results(turned(a, turn), turned(b, turn), p, multiply), turn));
}

#include "kernels/binary_run.h"

void clq_add_u8_avx512(struct clq_binary_u8_args *v)
{
    clq_binary_add(v);
}

void clq_mul_u8_avx512(struct clq_binary_u8_args *v)
{
    clq_binary_mul(v);
}

void clq_residual_avx512(const struct clq_residual_rows *r)
{
    clq_binary_residual(r);
}
