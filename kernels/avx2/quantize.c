/* SPDX-License-Identifier: Apache-2.0
 * binary32 to 8-bit codes, 32 at a time; bits of ref/quantize.c. The quotient is a product with the reciprocal
 * in two parts, README.md "Quotients"; scales outside 2^-64 .. 2^64 go to the reference, which divides. */
#include <immintrin.h>
#include <string.h>

#include "kernels/functions.h"
#include "kernels/quotients.h"

struct quantizer {
    __m256 near, rest, low, high;
    __m256i zero_point; /* 16-bit lanes */
};

/* Limiting x to 1024 scales is limiting the quotient to 1024: beyond it every code is saturated, and neither an
 * infinity nor an overflow reaches the products. So the codes fit 16 bits with any zero point. NaN gives 0. */
static inline __m256i codes(__m256 x, const struct quantizer *q)
{
    const __m256 number = _mm256_cmp_ps(x, x, _CMP_ORD_Q);
    x = _mm256_min_ps(_mm256_max_ps(x, q->low), q->high);
    const __m256 quotient = _mm256_fmadd_ps(x, q->near, _mm256_mul_ps(x, q->rest));
    return _mm256_cvtps_epi32(_mm256_and_ps(quotient, number));
}

static inline __attribute__((always_inline)) __m256i block(const char *x, const struct quantizer *q, bool is_signed)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i v[4];
    for (int i = 0; i < 4; i++) v[i] = codes(_mm256_loadu_ps((const float *)(x + 32 * i)), q);
    const __m256i a = _mm256_add_epi16(_mm256_packs_epi32(v[0], v[1]), q->zero_point);
    const __m256i b = _mm256_add_epi16(_mm256_packs_epi32(v[2], v[3]), q->zero_point);
    return _mm256_permutevar8x32_epi32(is_signed ? _mm256_packs_epi16(a, b) : _mm256_packus_epi16(a, b), order);
}

/* Up to 32 values. */
static inline __attribute__((always_inline)) void some(const char *x, char *y, size_t n, const struct quantizer *q, bool is_signed)
{
    char in[128] = {0}, out[32];
    memcpy(in, x, 4 * n);
    _mm256_storeu_si256((__m256i *)out, block(in, q, is_signed));
    memcpy(y, out, n);
}

/* A store past the caches spares reading the line that it fills: 5 bytes per value move in place of 6. */
static inline __attribute__((always_inline)) void quantize(const struct clq_quantize_args *args, bool is_signed)
{
    const struct clq_reciprocal r = clq_reciprocal_of(args->scale);
    const struct quantizer q = {
        .near = _mm256_set1_ps(r.near),
        .rest = _mm256_set1_ps(r.rest),
        .low = _mm256_set1_ps(-1024 * args->scale),
        .high = _mm256_set1_ps(1024 * args->scale),
        .zero_point = _mm256_set1_epi16((short)args->zero_point),
    };
    const char *x = (const char *)args->x;
    char *y = args->y;
    size_t left = args->n;
    if (args->streaming && left >= 64) {
        const size_t head = (32 - (uintptr_t)y % 32) % 32;
        some(x, y, head, &q, is_signed);
        x += 4 * head;
        y += head;
        for (left -= head; left >= 32; left -= 32, x += 128, y += 32) _mm256_stream_si256((__m256i *)(void *)y, block(x, &q, is_signed));
        _mm_sfence();
    }
    for (; left >= 32; left -= 32, x += 128, y += 32) _mm256_storeu_si256((__m256i *)y, block(x, &q, is_signed));
    if (left) some(x, y, left, &q, is_signed);
}

void clq_quantize_f32_u8_avx2(struct clq_quantize_args *q)
{
    if (!clq_quotient_scale(q->scale)) {
        clq_quantize_f32_u8_ref(q);
        return;
    }
    quantize(q, false);
}

void clq_quantize_f32_s8_avx2(struct clq_quantize_args *q)
{
    if (!clq_quotient_scale(q->scale)) {
        clq_quantize_f32_s8_ref(q);
        return;
    }
    quantize(q, true);
}
