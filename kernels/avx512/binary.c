/* SPDX-License-Identifier: Apache-2.0
 * Sum and product of two quantized tensors, 64 codes at a time; bits of ref/binary.c. The quotient is a product with
 * the reciprocal in two parts, README.md "Quotients". */
#include <immintrin.h>

#include "kernels/functions.h"
#include "kernels/quotients.h"
#include "kernels/residual.h"

struct binary {
    __m512 offset_a, offset_b; /* 2^23 + zero point */
    __m512 scale_a, scale_b, near, rest;
    __m512i zero_point; /* 16-bit lanes */
    __m512i lo, hi;     /* 8-bit lanes */
};

/* Four codes in the low bytes of 16-bit lanes become binary32 without a conversion: 0x4b000000 | code is 2^23 + code,
 * and subtracting 2^23 + zero_point is exact. */
static inline __m512 value(__m512i words, bool high, __m512 offset, __m512 scale)
{
    const __m512i exponent = _mm512_set1_epi16(0x4b00);
    const __m512i bits = high ? _mm512_unpackhi_epi16(words, exponent) : _mm512_unpacklo_epi16(words, exponent);
    return _mm512_mul_ps(_mm512_sub_ps(_mm512_castsi512_ps(bits), offset), scale);
}

static inline __attribute__((always_inline)) __m512i codes(__m512i a, __m512i b, bool high, const struct binary *p,
                                                           bool multiply)
{
    const __m512 x = value(a, high, p->offset_a, p->scale_a), y = value(b, high, p->offset_b, p->scale_b);
    const __m512 f = multiply ? _mm512_mul_ps(x, y) : _mm512_add_ps(x, y);
    return _mm512_cvtps_epi32(_mm512_fmadd_ps(f, p->near, _mm512_mul_ps(f, p->rest)));
}

/* Unpacking and packing both work within 128-bit lanes, so the order of the bytes is kept. */
static inline __attribute__((always_inline)) __m512i block(__m512i a, __m512i b, const struct binary *p, bool multiply)
{
    const __m512i zero = _mm512_setzero_si512();
    const __m512i a0 = _mm512_unpacklo_epi8(a, zero), a1 = _mm512_unpackhi_epi8(a, zero);
    const __m512i b0 = _mm512_unpacklo_epi8(b, zero), b1 = _mm512_unpackhi_epi8(b, zero);
    const __m512i w0 = _mm512_packs_epi32(codes(a0, b0, false, p, multiply), codes(a0, b0, true, p, multiply));
    const __m512i w1 = _mm512_packs_epi32(codes(a1, b1, false, p, multiply), codes(a1, b1, true, p, multiply));
    const __m512i y = _mm512_packus_epi16(_mm512_adds_epi16(w0, p->zero_point), _mm512_adds_epi16(w1, p->zero_point));
    return _mm512_min_epu8(_mm512_max_epu8(y, p->lo), p->hi);
}

/* up: 128 where codes are those of int8, which are codes of uint8 with the top bit flipped. */
static inline struct binary constants(const struct clq_binary_u8_args *v, int up)
{
    const struct clq_reciprocal r = clq_reciprocal_of(v->scale_y);
    return (struct binary){
        .offset_a = _mm512_set1_ps((float)(0x800000 + v->zero_point_a + up)),
        .offset_b = _mm512_set1_ps((float)(0x800000 + v->zero_point_b + up)),
        .scale_a = _mm512_set1_ps(v->scale_a),
        .scale_b = _mm512_set1_ps(v->scale_b),
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

static inline __attribute__((always_inline)) void row(const struct clq_binary_u8_args *v, size_t at_y, size_t at_b,
                                                      const struct binary *p, bool multiply, bool turn)
{
    const uint8_t *at_a = v->a + at_y, *from = v->b + at_b;
    uint8_t *to = v->y + at_y;
    size_t i = 0;
    for (; i + 64 <= v->n; i += 64) {
        const __m512i a = _mm512_loadu_si512(at_a + i), b = _mm512_loadu_si512(from + i);
        _mm512_storeu_si512(to + i, turned(block(turned(a, turn), turned(b, turn), p, multiply), turn));
    }
    if (i < v->n) {
        const __mmask64 mask = ~0ull >> (64 - (v->n - i));
        const __m512i a = _mm512_maskz_loadu_epi8(mask, at_a + i), b = _mm512_maskz_loadu_epi8(mask, from + i);
        _mm512_mask_storeu_epi8(to + i, mask, turned(block(turned(a, turn), turned(b, turn), p, multiply), turn));
    }
}

static inline __attribute__((always_inline)) void binary(const struct clq_binary_u8_args *v, bool multiply)
{
    const struct binary p = constants(v, 0);
    row(v, 0, 0, &p, multiply, false);
}

void clq_add_u8_avx512(struct clq_binary_u8_args *v)
{
    if (clq_quotient_add(v))
        binary(v, false);
    else
        clq_add_u8_ref(v);
}

void clq_mul_u8_avx512(struct clq_binary_u8_args *v)
{
    if (clq_quotient_mul(v))
        binary(v, true);
    else
        clq_mul_u8_ref(v);
}

void clq_residual_avx512(const struct clq_residual_rows *r)
{
    if (!clq_quotient_add(&r->add)) {
        clq_residual_ref(r);
        return;
    }
    const struct binary p = constants(&r->add, r->is_signed ? 128 : 0);
    for (size_t i = 0; i < r->rows; i++) {
        if (r->is_signed)
            row(&r->add, i * r->ld_y, i * r->ld_r, &p, false, true);
        else
            row(&r->add, i * r->ld_y, i * r->ld_r, &p, false, false);
    }
}
