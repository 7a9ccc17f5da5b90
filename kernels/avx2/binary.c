/* SPDX-License-Identifier: Apache-2.0
 * Sum and product of two quantized tensors, 32 codes at a time; bits of ref/binary.c. The quotient is a product with
 * the reciprocal in two parts, README.md "Quotients". */
#include <immintrin.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/quotients.h"

enum { CLQ_BINARY_CODES = 32 };

struct binary {
    __m256 offset_a, offset_b; /* 2^23 + zero point */
    __m256 scale_a, scale_b, near, rest;
    __m256i zero_point; /* 16-bit lanes */
    __m256i lo, hi;     /* 8-bit lanes */
};

/* Four codes in the low bytes of 16-bit lanes become binary32 without a conversion: 0x4b000000 | code is 2^23 + code,
 * and subtracting 2^23 + zero_point is exact. */
static inline __m256 value(__m256i words, bool high, __m256 offset, __m256 scale)
{
    const __m256i exponent = _mm256_set1_epi16(0x4b00);
    const __m256i bits = high ? _mm256_unpackhi_epi16(words, exponent) : _mm256_unpacklo_epi16(words, exponent);
    return _mm256_mul_ps(_mm256_sub_ps(_mm256_castsi256_ps(bits), offset), scale);
}

static inline __attribute__((always_inline)) __m256i codes(__m256i a, __m256i b, bool high, const struct binary *p,
                                                           bool multiply)
{
    const __m256 x = value(a, high, p->offset_a, p->scale_a), y = value(b, high, p->offset_b, p->scale_b);
    const __m256 f = multiply ? _mm256_mul_ps(x, y) : _mm256_add_ps(x, y);
    return _mm256_cvtps_epi32(_mm256_fmadd_ps(f, p->near, _mm256_mul_ps(f, p->rest)));
}

/* Unpacking and packing both work within 128-bit lanes, so the order of the bytes is kept. */
static inline __attribute__((always_inline)) void block(const uint8_t *at_a, const uint8_t *at_b, uint8_t *at_y,
                                                        const struct binary *p, bool multiply, bool turn)
{
    const __m256i top = _mm256_set1_epi8((char)(turn ? 128 : 0));
    const __m256i a = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)at_a), top);
    const __m256i b = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)at_b), top);
    const __m256i zero = _mm256_setzero_si256();
    const __m256i a0 = _mm256_unpacklo_epi8(a, zero), a1 = _mm256_unpackhi_epi8(a, zero);
    const __m256i b0 = _mm256_unpacklo_epi8(b, zero), b1 = _mm256_unpackhi_epi8(b, zero);
    const __m256i w0 = _mm256_packs_epi32(codes(a0, b0, false, p, multiply), codes(a0, b0, true, p, multiply));
    const __m256i w1 = _mm256_packs_epi32(codes(a1, b1, false, p, multiply), codes(a1, b1, true, p, multiply));
    const __m256i y = _mm256_packus_epi16(_mm256_adds_epi16(w0, p->zero_point), _mm256_adds_epi16(w1, p->zero_point));
    _mm256_storeu_si256((__m256i *)at_y, _mm256_xor_si256(_mm256_min_epu8(_mm256_max_epu8(y, p->lo), p->hi), top));
}

static inline struct binary constants(const struct clq_binary_u8_args *v, int up)
{
    const struct clq_reciprocal r = clq_reciprocal_of(v->scale_y);
    return (struct binary){
        .offset_a = _mm256_set1_ps((float)(0x800000 + v->zero_point_a + up)),
        .offset_b = _mm256_set1_ps((float)(0x800000 + v->zero_point_b + up)),
        .scale_a = _mm256_set1_ps(v->scale_a),
        .scale_b = _mm256_set1_ps(v->scale_b),
        .near = _mm256_set1_ps(r.near),
        .rest = _mm256_set1_ps(r.rest),
        .zero_point = _mm256_set1_epi16((short)(v->zero_point_y + up)),
        .lo = _mm256_set1_epi8((char)(v->lo + up)),
        .hi = _mm256_set1_epi8((char)(v->hi + up)),
    };
}

#include "kernels/binary_rest.h"
#include "kernels/binary_run.h"

void clq_add_u8_avx2(struct clq_binary_u8_args *v)
{
    clq_binary_add(v);
}

void clq_mul_u8_avx2(struct clq_binary_u8_args *v)
{
    clq_binary_mul(v);
}

void clq_residual_avx2(const struct clq_residual_rows *r)
{
    clq_binary_residual(r);
}
