/* SPDX-License-Identifier: Apache-2.0
 * Maximum and mean over windows of an NHWC image of codes, 64 channels at a time; bits of ref/pool.c. */
#include <immintrin.h>

#include "kernels/functions.h"
#include "kernels/pool_window.h"

static __m512i largest(const struct clq_pool_window *w, size_t channel, __mmask64 mask)
{
    __m512i best = _mm512_setzero_si512();
    for (size_t ky = 0; ky < w->rows; ky++) {
        const uint8_t *x = w->x + ky * w->row_step + channel;
        for (size_t kx = 0; kx < w->columns; kx++, x += w->column_step)
            best = _mm512_max_epu8(best, _mm512_maskz_loadu_epi8(mask, x));
    }
    return best;
}

static __mmask64 lanes(size_t left)
{
    return left < 64 ? ~0ull >> (64 - left) : ~0ull;
}

static void largest_step(const struct clq_pool_args *p, const struct clq_pool_window *w, size_t channel, uint8_t *y)
{
    const __mmask64 mask = lanes(p->c - channel);
    _mm512_mask_storeu_epi8(y + channel, mask, largest(w, channel, mask));
}

void clq_maxpool_u8_avx512(struct clq_pool_args *p)
{
    clq_pool_each(p, 64, largest_step);
}

/* Sums of 64 channels: 16-bit lanes hold up to 257 codes of 255, then they are emptied into 32-bit lanes.
 * wide[j] lane i belongs to channel 4 * i + j. */
struct sums {
    __m512i all;  /* even + 256 * odd channel, modulo 2^16 */
    __m512i odd;  /* odd channel */
    __m512i wide[4];
};

static inline void empty(struct sums *s)
{
    const __m512i low = _mm512_set1_epi32(0xffff);
    const __m512i even = _mm512_sub_epi16(s->all, _mm512_slli_epi16(s->odd, 8));
    s->wide[0] = _mm512_add_epi32(s->wide[0], _mm512_and_si512(even, low));
    s->wide[1] = _mm512_add_epi32(s->wide[1], _mm512_and_si512(s->odd, low));
    s->wide[2] = _mm512_add_epi32(s->wide[2], _mm512_srli_epi32(even, 16));
    s->wide[3] = _mm512_add_epi32(s->wide[3], _mm512_srli_epi32(s->odd, 16));
    s->all = s->odd = _mm512_setzero_si512();
}

static void add_up(struct sums *s, const struct clq_pool_window *w, size_t channel, __mmask64 mask)
{
    size_t room = 257;
    *s = (struct sums){0};
    for (size_t ky = 0; ky < w->rows; ky++) {
        const uint8_t *x = w->x + ky * w->row_step + channel;
        for (size_t left = w->columns; left;) {
            const size_t now = left < room ? left : room;
            for (size_t kx = 0; kx < now; kx++, x += w->column_step) {
                const __m512i codes = _mm512_maskz_loadu_epi8(mask, x);
                s->all = _mm512_add_epi16(s->all, codes);
                s->odd = _mm512_add_epi16(s->odd, _mm512_srli_epi16(codes, 8));
            }
            left -= now;
            room -= now;
            if (!room) {
                empty(s);
                room = 257;
            }
        }
    }
    empty(s);
}

/* Two true divisions: few results per tap, and no condition on the scales. */
static inline __m512i mean(const struct clq_pool_args *p, __m512i sum, int32_t offset, float count)
{
    const __m512 low = _mm512_set1_ps((float)(0 - p->zero_point_y));
    const __m512 high = _mm512_set1_ps((float)(255 - p->zero_point_y));
    __m512 f = _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, _mm512_set1_epi32(offset)));
    f = _mm512_div_ps(_mm512_mul_ps(f, _mm512_set1_ps(p->scale_x)), _mm512_set1_ps(count));
    f = _mm512_div_ps(f, _mm512_set1_ps(p->scale_y));
    f = _mm512_min_ps(_mm512_max_ps(f, low), high);
    return _mm512_add_epi32(_mm512_cvtps_epi32(f), _mm512_set1_epi32(p->zero_point_y));
}

static __m512i means(const struct clq_pool_args *p, const struct sums *s, size_t taps)
{
    const int32_t offset = (int32_t)taps * p->zero_point_x;
    const float count = (float)(p->count_include_pad ? p->kh * p->kw : taps);
    const __m512i a = mean(p, s->wide[0], offset, count), b = mean(p, s->wide[1], offset, count);
    const __m512i c = mean(p, s->wide[2], offset, count), d = mean(p, s->wide[3], offset, count);
    return _mm512_or_si512(_mm512_or_si512(a, _mm512_slli_epi32(b, 8)),
                           _mm512_or_si512(_mm512_slli_epi32(c, 16), _mm512_slli_epi32(d, 24)));
}

static void mean_step(const struct clq_pool_args *p, const struct clq_pool_window *w, size_t channel, uint8_t *y)
{
    const __mmask64 mask = lanes(p->c - channel);
    struct sums s;
    add_up(&s, w, channel, mask);
    _mm512_mask_storeu_epi8(y + channel, mask, means(p, &s, w->rows * w->columns));
}

void clq_avgpool_u8_avx512(struct clq_pool_args *p)
{
    if (p->kh > INT32_MAX / 255 / p->kw) /* a sum could leave 32 bits */
        clq_avgpool_u8_ref(p);
    else
        clq_pool_each(p, 64, mean_step);
}
