/* SPDX-License-Identifier: Apache-2.0
 * binary32 to 8-bit codes, 64 at a time; bits of ref/quantize.c. The quotient is a product with the reciprocal
 * in two parts, README.md "Quotients"; scales outside 2^-64 .. 2^64 go to the reference, which divides. */
#include <immintrin.h>

#include "kernels/functions.h"
#include "kernels/quotients.h"

struct quantizer {
    __m512 near, rest, low, high;
    __m512i zero_point; /* 16-bit lanes */
};

/* Limiting x to 1024 scales is limiting the quotient to 1024: beyond it every code is saturated, and neither an
 * infinity nor an overflow reaches the products. So the codes fit 16 bits with any zero point. NaN gives 0. */
static inline __m512i codes(__m512 x, const struct quantizer *q)
{
    const __mmask16 number = _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q);
    x = _mm512_min_ps(_mm512_max_ps(x, q->low), q->high);
    return _mm512_maskz_cvtps_epi32(number, _mm512_fmadd_ps(x, q->near, _mm512_mul_ps(x, q->rest)));
}

static inline __attribute__((always_inline)) __m512i pack(const __m512i v[4], const struct quantizer *q, bool is_signed)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i a = _mm512_add_epi16(_mm512_packs_epi32(v[0], v[1]), q->zero_point);
    const __m512i b = _mm512_add_epi16(_mm512_packs_epi32(v[2], v[3]), q->zero_point);
    return _mm512_permutexvar_epi32(order, is_signed ? _mm512_packs_epi16(a, b) : _mm512_packus_epi16(a, b));
}

/* Up to 64 values. */
static inline __attribute__((always_inline)) void some(const char *x, char *y, size_t n, const struct quantizer *q, bool is_signed)
{
    const __mmask64 mask = ~0ull >> (64 - n);
    __m512i v[4];
    for (int i = 0; i < 4; i++) {
        const __mmask16 part = (__mmask16)(mask >> (16 * i));
        v[i] = codes(_mm512_maskz_loadu_ps(part, x + 64 * i), q);
    }
    _mm512_mask_storeu_epi8(y, mask, pack(v, q, is_signed));
}

/* A store past the caches spares reading the line that it fills: 5 bytes per value move in place of 6. */
static inline __attribute__((always_inline)) void quantize(const struct clq_quantize_args *args, bool is_signed)
{
    const struct clq_reciprocal r = clq_reciprocal_of(args->scale);
    const struct quantizer q = {
        .near = _mm512_set1_ps(r.near),
        .rest = _mm512_set1_ps(r.rest),
        .low = _mm512_set1_ps(-1024 * args->scale),
        .high = _mm512_set1_ps(1024 * args->scale),
        .zero_point = _mm512_set1_epi16((short)args->zero_point),
    };
    const char *x = (const char *)args->x;
    char *y = args->y;
    size_t left = args->n;
    __m512i v[4];
    if (args->streaming && left >= 128) {
        const size_t head = (64 - (uintptr_t)y % 64) % 64;
        if (head > 0) some(x, y, head, &q, is_signed);
        x += 4 * head;
        y += head;
        for (left -= head; left >= 64; left -= 64, x += 256, y += 64) {
            for (int i = 0; i < 4; i++) v[i] = codes(_mm512_loadu_ps(x + 64 * i), &q);
            _mm512_stream_si512((void *)y, pack(v, &q, is_signed));
        }
        _mm_sfence();
    }
    for (; left >= 64; left -= 64, x += 256, y += 64) {
        for (int i = 0; i < 4; i++) v[i] = codes(_mm512_loadu_ps(x + 64 * i), &q);
        _mm512_storeu_si512(y, pack(v, &q, is_signed));
    }
    if (left) some(x, y, left, &q, is_signed);
}

void clq_quantize_f32_u8_avx512(struct clq_quantize_args *q)
{
    if (!clq_quotient_scale(q->scale)) {
        clq_quantize_f32_u8_ref(q);
        return;
    }
    quantize(q, false);
}

void clq_quantize_f32_s8_avx512(struct clq_quantize_args *q)
{
    if (!clq_quotient_scale(q->scale)) {
        clq_quantize_f32_s8_ref(q);
        return;
    }
    quantize(q, true);
}
