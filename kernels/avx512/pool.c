/* SPDX-License-Identifier: Apache-2.0
 * Maximum and mean over windows of an NHWC image of codes, 64 channels at a time; bits of ref/pool.c. */
#include <immintrin.h>

#include "kernels/functions.h"
#include "kernels/pool_window.h"
#include "kernels/quotients.h"

/* A full vector is read without a mask, which would cost an instruction per tap. */
static inline __attribute__((always_inline)) __m512i load(const uint8_t *x, __mmask64 mask, bool full)
{
    return full ? _mm512_loadu_si512(x) : _mm512_maskz_loadu_epi8(mask, x);
}

static inline __attribute__((always_inline)) __m512i largest_of(const struct clq_pool_window *w, size_t columns, size_t channel, __mmask64 mask, bool full)
{
    __m512i best = _mm512_setzero_si512();
    for (size_t ky = 0; ky < w->rows; ky++) {
        const uint8_t *x = w->x + ky * w->row_step + channel;
#pragma GCC unroll 3
        for (size_t kx = 0; kx < columns; kx++, x += w->column_step) best = _mm512_max_epu8(best, load(x, mask, full));
    }
    return best;
}

/* The usual widths have loops without a counter. */
static inline __attribute__((always_inline)) __m512i largest(const struct clq_pool_window *w, size_t channel, __mmask64 mask, bool full)
{
    if (w->columns == 3) return largest_of(w, 3, channel, mask, full);
    if (w->columns == 2) return largest_of(w, 2, channel, mask, full);
    return largest_of(w, w->columns, channel, mask, full);
}

static __mmask64 lanes(size_t left)
{
    return left < 64 ? ~0ull >> (64 - left) : ~0ull;
}

static void largest_step(const struct clq_pool_args *p, const struct clq_pool_window *w, size_t channel, uint8_t *y)
{
    const __mmask64 mask = lanes(p->c - channel);
    if (p->c - channel >= 64) _mm512_storeu_si512(y + channel, largest(w, channel, mask, true));
    else _mm512_mask_storeu_epi8(y + channel, mask, largest(w, channel, mask, false));
}

void clq_maxpool_u8_avx512(struct clq_pool_args *p)
{
    clq_pool_each(p, 64, largest_step);
}

/* Sums of 64 channels: 16-bit lanes hold up to 257 codes of 255, then they are emptied into 32-bit lanes.
 * wide[j] lane i belongs to channel 4 * i + j. */
struct sums {
    __m512i wide[4];
};

/* all: even + 256 * odd channel, modulo 2^16; odd: the odd channel. */
static inline __attribute__((always_inline)) void empty(struct sums *s, __m512i all, __m512i odd)
{
    const __m512i low = _mm512_set1_epi32(0xffff), even = _mm512_sub_epi16(all, _mm512_slli_epi16(odd, 8));
    s->wide[0] = _mm512_add_epi32(s->wide[0], _mm512_and_si512(even, low));
    s->wide[1] = _mm512_add_epi32(s->wide[1], _mm512_and_si512(odd, low));
    s->wide[2] = _mm512_add_epi32(s->wide[2], _mm512_srli_epi32(even, 16));
    s->wide[3] = _mm512_add_epi32(s->wide[3], _mm512_srli_epi32(odd, 16));
}

/* `taps` neighboring codes, at most 257 of them since all and odd were zero. */
static inline __attribute__((always_inline)) void add_row(__m512i *all, __m512i *odd, const uint8_t *x, size_t step, size_t taps, __mmask64 mask, bool full)
{
#pragma GCC unroll 3
    for (size_t kx = 0; kx < taps; kx++, x += step) {
        const __m512i codes = load(x, mask, full);
        *all = _mm512_add_epi16(*all, codes);
        *odd = _mm512_add_epi16(*odd, _mm512_srli_epi16(codes, 8));
    }
}

/* Windows of any size. */
static inline __attribute__((always_inline)) void add_many(struct sums *s, const struct clq_pool_window *w, size_t channel, __mmask64 mask, bool full)
{
    __m512i all = _mm512_setzero_si512(), odd = all;
    size_t room = 257;
    for (size_t ky = 0; ky < w->rows; ky++) {
        const uint8_t *x = w->x + ky * w->row_step + channel;
        for (size_t left = w->columns; left;) {
            const size_t now = left < room ? left : room;
            add_row(&all, &odd, x, w->column_step, now, mask, full);
            x += now * w->column_step;
            left -= now;
            room -= now;
            if (!room) {
                empty(s, all, odd);
                all = odd = _mm512_setzero_si512();
                room = 257;
            }
        }
    }
    empty(s, all, odd);
}

/* The usual windows need no more room than 16 bits, and rows of three codes no counter. */
static inline __attribute__((always_inline)) void add_up(struct sums *s, const struct clq_pool_window *w, size_t channel, __mmask64 mask, bool full)
{
    __m512i all = _mm512_setzero_si512(), odd = all;
    const uint8_t *x = w->x + channel;
    *s = (struct sums){{all, all, all, all}};
    if (w->rows * w->columns > 257) {
        add_many(s, w, channel, mask, full);
        return;
    }
    if (w->columns == 3)
        for (size_t ky = 0; ky < w->rows; ky++, x += w->row_step) add_row(&all, &odd, x, w->column_step, 3, mask, full);
    else
        for (size_t ky = 0; ky < w->rows; ky++, x += w->row_step) add_row(&all, &odd, x, w->column_step, w->columns, mask, full);
    empty(s, all, odd);
}

static inline __m512 quotient(__m512 x, struct clq_reciprocal r)
{
    return _mm512_fmadd_ps(x, _mm512_set1_ps(r.near), _mm512_mul_ps(x, _mm512_set1_ps(r.rest)));
}

/* quick: the scales allow it (quotients.h); otherwise two true divisions. */
static inline __attribute__((always_inline)) __m512i mean(const struct clq_pool_args *p, __m512i sum, int32_t offset, float taps, bool quick)
{
    const __m512 low = _mm512_set1_ps((float)(0 - p->zero_point_y)), high = _mm512_set1_ps((float)(255 - p->zero_point_y));
    __m512 f = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(sum, _mm512_set1_epi32(offset))), _mm512_set1_ps(p->scale_x));
    if (quick) f = quotient(quotient(f, clq_reciprocal_of(taps)), clq_reciprocal_of(p->scale_y));
    else f = _mm512_div_ps(_mm512_div_ps(f, _mm512_set1_ps(taps)), _mm512_set1_ps(p->scale_y));
    f = _mm512_min_ps(_mm512_max_ps(f, low), high);
    return _mm512_add_epi32(_mm512_cvtps_epi32(f), _mm512_set1_epi32(p->zero_point_y));
}

static inline __attribute__((always_inline)) __m512i means(const struct clq_pool_args *p, const struct sums *s, size_t taps, bool quick)
{
    const int32_t offset = (int32_t)taps * p->zero_point_x;
    const float count = (float)(p->count_include_pad ? p->kh * p->kw : taps);
    const __m512i a = mean(p, s->wide[0], offset, count, quick), b = mean(p, s->wide[1], offset, count, quick);
    const __m512i c = mean(p, s->wide[2], offset, count, quick), d = mean(p, s->wide[3], offset, count, quick);
    return _mm512_or_si512(_mm512_or_si512(a, _mm512_slli_epi32(b, 8)),
                           _mm512_or_si512(_mm512_slli_epi32(c, 16), _mm512_slli_epi32(d, 24)));
}

static inline __attribute__((always_inline)) void mean_step(const struct clq_pool_args *p, const struct clq_pool_window *w, size_t channel, uint8_t *y, bool quick)
{
    const __mmask64 mask = lanes(p->c - channel);
    struct sums s;
    if (p->c - channel >= 64) add_up(&s, w, channel, mask, true);
    else add_up(&s, w, channel, mask, false);
    _mm512_mask_storeu_epi8(y + channel, mask, means(p, &s, w->rows * w->columns, quick));
}

static void mean_quick(const struct clq_pool_args *p, const struct clq_pool_window *w, size_t channel, uint8_t *y)
{
    mean_step(p, w, channel, y, true);
}

static void mean_divided(const struct clq_pool_args *p, const struct clq_pool_window *w, size_t channel, uint8_t *y)
{
    mean_step(p, w, channel, y, false);
}

void clq_avgpool_u8_avx512(struct clq_pool_args *p)
{
    if (p->kh > INT32_MAX / 255 / p->kw) /* a sum could leave 32 bits */
        clq_avgpool_u8_ref(p);
    else if (clq_quotient_mean(p))
        clq_pool_each(p, 64, mean_quick);
    else
        clq_pool_each(p, 64, mean_divided);
}
