/* SPDX-License-Identifier: Apache-2.0
 * Maximum and mean over windows of an NHWC image of codes, 32 channels at a time; bits of ref/pool.c. The last channels
 * are read and written as bytes through a buffer, or as an overlapping step where there are 32 or more. */
#include <immintrin.h>
#include <string.h>

#include "kernels/functions.h"
#include "kernels/pool_window.h"
#include "kernels/quotients.h"

/* 32 channels from x, of which the first `lanes` exist. */
static inline __m256i load(const uint8_t *x, size_t lanes)
{
    uint8_t part[32];
    if (lanes >= 32) return _mm256_loadu_si256((const __m256i *)x);
    if (lanes == 16) return _mm256_zextsi128_si256(_mm_loadu_si128((const __m128i *)x));
    _mm256_storeu_si256((__m256i *)part, _mm256_setzero_si256());
    for (size_t i = 0; i < lanes; i++) part[i] = x[i];
    return _mm256_loadu_si256((const __m256i *)part);
}

static inline void store(uint8_t *y, size_t lanes, __m256i v)
{
    uint8_t part[32];
    if (lanes >= 32) {
        _mm256_storeu_si256((__m256i *)y, v);
        return;
    }
    _mm256_storeu_si256((__m256i *)part, v);
    memcpy(y, part, lanes);
}

static inline __attribute__((always_inline)) __m256i largest_of(const struct clq_pool_window *w, size_t columns, size_t channel, size_t lanes)
{
    __m256i best = _mm256_setzero_si256();
    for (size_t ky = 0; ky < w->rows; ky++) {
        const uint8_t *x = w->x + ky * w->row_step + channel;
#pragma GCC unroll 3
        for (size_t kx = 0; kx < columns; kx++, x += w->column_step) best = _mm256_max_epu8(best, load(x, lanes));
    }
    return best;
}

/* The usual widths have loops without a counter. */
static inline __attribute__((always_inline)) __m256i largest(const struct clq_pool_window *w, size_t channel, size_t lanes)
{
    if (w->columns == 3) return largest_of(w, 3, channel, lanes);
    if (w->columns == 2) return largest_of(w, 2, channel, lanes);
    return largest_of(w, w->columns, channel, lanes);
}

static void largest_step(const struct clq_pool_args *p, const struct clq_pool_window *w, size_t channel, uint8_t *y)
{
    const size_t at = clq_pool_step_start(channel, p->c, 32), lanes = p->c - at;
    store(y + at, lanes, lanes >= 32 ? largest(w, at, 32) : largest(w, at, lanes));
}

void clq_maxpool_u8_avx2(struct clq_pool_args *p)
{
    clq_pool_each(p, 32, largest_step);
}

/* Sums of 32 channels: 16-bit lanes hold up to 257 codes of 255, then they are emptied into 32-bit lanes.
 * wide[j] lane i belongs to channel 4 * i + j. */
struct sums {
    __m256i wide[4];
};

/* all: even + 256 * odd channel, modulo 2^16; odd: the odd channel. */
static inline __attribute__((always_inline)) void empty(struct sums *s, __m256i all, __m256i odd)
{
    const __m256i low = _mm256_set1_epi32(0xffff), even = _mm256_sub_epi16(all, _mm256_slli_epi16(odd, 8));
    s->wide[0] = _mm256_add_epi32(s->wide[0], _mm256_and_si256(even, low));
    s->wide[1] = _mm256_add_epi32(s->wide[1], _mm256_and_si256(odd, low));
    s->wide[2] = _mm256_add_epi32(s->wide[2], _mm256_srli_epi32(even, 16));
    s->wide[3] = _mm256_add_epi32(s->wide[3], _mm256_srli_epi32(odd, 16));
}

/* `taps` neighboring codes, at most 257 of them since all and odd were zero. */
static inline __attribute__((always_inline)) void add_row(__m256i *all, __m256i *odd, const uint8_t *x, size_t step, size_t taps, size_t lanes)
{
#pragma GCC unroll 3
    for (size_t kx = 0; kx < taps; kx++, x += step) {
        const __m256i codes = load(x, lanes);
        *all = _mm256_add_epi16(*all, codes);
        *odd = _mm256_add_epi16(*odd, _mm256_srli_epi16(codes, 8));
    }
}

/* Windows of any size. */
static inline __attribute__((always_inline)) void add_many(struct sums *s, const struct clq_pool_window *w, size_t channel, size_t lanes)
{
    __m256i all = _mm256_setzero_si256(), odd = all;
    size_t room = 257;
    for (size_t ky = 0; ky < w->rows; ky++) {
        const uint8_t *x = w->x + ky * w->row_step + channel;
        for (size_t left = w->columns; left;) {
            const size_t now = left < room ? left : room;
            add_row(&all, &odd, x, w->column_step, now, lanes);
            x += now * w->column_step;
            left -= now;
            room -= now;
            if (!room) {
                empty(s, all, odd);
                all = odd = _mm256_setzero_si256();
                room = 257;
            }
        }
    }
    empty(s, all, odd);
}

/* The usual windows need no more room than 16 bits, and rows of three codes no counter. */
static inline __attribute__((always_inline)) void add_up(struct sums *s, const struct clq_pool_window *w, size_t channel, size_t lanes)
{
    __m256i all = _mm256_setzero_si256(), odd = all;
    const uint8_t *x = w->x + channel;
    *s = (struct sums){{all, all, all, all}};
    if (w->rows * w->columns > 257) {
        add_many(s, w, channel, lanes);
        return;
    }
    if (w->columns == 3)
        for (size_t ky = 0; ky < w->rows; ky++, x += w->row_step) add_row(&all, &odd, x, w->column_step, 3, lanes);
    else
        for (size_t ky = 0; ky < w->rows; ky++, x += w->row_step) add_row(&all, &odd, x, w->column_step, w->columns, lanes);
    empty(s, all, odd);
}

static inline __m256 quotient(__m256 x, struct clq_reciprocal r)
{
    return _mm256_fmadd_ps(x, _mm256_set1_ps(r.near), _mm256_mul_ps(x, _mm256_set1_ps(r.rest)));
}

/* quick: the scales allow it (quotients.h); otherwise two true divisions. */
static inline __attribute__((always_inline)) __m256i mean(const struct clq_pool_args *p, __m256i sum, int32_t offset, float taps, bool quick)
{
    const __m256 low = _mm256_set1_ps((float)(0 - p->zero_point_y)), high = _mm256_set1_ps((float)(255 - p->zero_point_y));
    __m256 f = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(sum, _mm256_set1_epi32(offset))), _mm256_set1_ps(p->scale_x));
    if (quick) f = quotient(quotient(f, clq_reciprocal_of(taps)), clq_reciprocal_of(p->scale_y));
    else f = _mm256_div_ps(_mm256_div_ps(f, _mm256_set1_ps(taps)), _mm256_set1_ps(p->scale_y));
    f = _mm256_min_ps(_mm256_max_ps(f, low), high);
    return _mm256_add_epi32(_mm256_cvtps_epi32(f), _mm256_set1_epi32(p->zero_point_y));
}

static inline __attribute__((always_inline)) __m256i means(const struct clq_pool_args *p, const struct sums *s, size_t taps, bool quick)
{
    const int32_t offset = (int32_t)taps * p->zero_point_x;
    const float count = (float)(p->count_include_pad ? p->kh * p->kw : taps);
    const __m256i a = mean(p, s->wide[0], offset, count, quick), b = mean(p, s->wide[1], offset, count, quick);
    const __m256i c = mean(p, s->wide[2], offset, count, quick), d = mean(p, s->wide[3], offset, count, quick);
    return _mm256_or_si256(_mm256_or_si256(a, _mm256_slli_epi32(b, 8)),
                           _mm256_or_si256(_mm256_slli_epi32(c, 16), _mm256_slli_epi32(d, 24)));
}

static inline __attribute__((always_inline)) void mean_step(const struct clq_pool_args *p, const struct clq_pool_window *w, size_t channel, uint8_t *y, bool quick)
{
    const size_t at = clq_pool_step_start(channel, p->c, 32), lanes = p->c - at;
    struct sums s;
    if (lanes >= 32)
        add_up(&s, w, at, 32);
    else
        add_up(&s, w, at, lanes);
    store(y + at, lanes, means(p, &s, w->rows * w->columns, quick));
}

static void mean_quick(const struct clq_pool_args *p, const struct clq_pool_window *w, size_t channel, uint8_t *y)
{
    mean_step(p, w, channel, y, true);
}

static void mean_divided(const struct clq_pool_args *p, const struct clq_pool_window *w, size_t channel, uint8_t *y)
{
    mean_step(p, w, channel, y, false);
}

void clq_avgpool_u8_avx2(struct clq_pool_args *p)
{
    if (p->kh > INT32_MAX / 255 / p->kw) /* a sum could leave 32 bits */
        clq_avgpool_u8_ref(p);
    else if (clq_quotient_mean(p))
        clq_pool_each(p, 32, mean_quick);
    else
        clq_pool_each(p, 32, mean_divided);
}
