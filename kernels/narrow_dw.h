/* SPDX-License-Identifier: Apache-2.0
 * Depthwise convolution for CPUs without AVX512-VNNI, any kernel, stride and dilation: pairs of taps widened to 16 bits
 * and vpmaddwd, exact always. One text for both vector widths; a source defines what narrow.h wants and
 *   CLQ_LOAD_CODES(p, left)        2 * CLQ_LANES codes as 16 bits each, only the first `left` of them readable
 *   clq_narrow_dw_sums(buf, lo, hi)  stores the unpacked halves in the order of the channels
 *
 *   packed:  struct clq_narrow_dw, bias int32 [positions], multiplier float [channels], data int16
 *   data:    [blocks][pairs][2 halves][CLQ_LANES channels][2 taps]
 *
 * A block is 2 * CLQ_LANES channels. The unpacks leave half h, element e with channel 8 * (e / 4) + 4 * h + e % 4. */
#ifndef CLQ_KERNELS_NARROW_DW_H
#define CLQ_KERNELS_NARROW_DW_H

#include "kernels/dw_taps.h"
#include "kernels/narrow.h"
#include "kernels/residual.h"

enum { CLQ_NARROW_BLOCK = 2 * CLQ_LANES };

struct clq_narrow_dw { /* 64 bytes */
    size_t blocks, pairs;
    size_t unused[6];
};

static inline size_t clq_narrow_dw_channels(const struct clq_conv_args *c)
{
    return (c->co + CLQ_NARROW_BLOCK - 1) / CLQ_NARROW_BLOCK * CLQ_NARROW_BLOCK;
}

static inline int32_t *clq_narrow_dw_bias(const struct clq_narrow_dw *d)
{
    return (int32_t *)(d + 1);
}

static inline float *clq_narrow_dw_multiplier(const struct clq_narrow_dw *d)
{
    return (float *)(d + 1) + d->blocks * CLQ_NARROW_BLOCK;
}

static inline int16_t *clq_narrow_dw_data(const struct clq_narrow_dw *d, size_t block)
{
    return (int16_t *)(clq_narrow_dw_multiplier(d) + d->blocks * CLQ_NARROW_BLOCK) +
           block * d->pairs * CLQ_NARROW_BLOCK * 2;
}

/* Scratch: one pixel of padding, then a pointer per tap. */
static inline void clq_narrow_dw_plan(struct clq_conv_args *c)
{
    const size_t channels = clq_narrow_dw_channels(c), pairs = (c->kh * c->kw + 1) / 2;
    c->packed_bytes = sizeof(struct clq_narrow_dw) + channels * (8 + 4 * pairs);
    c->scratch_bytes = channels + 2 * pairs * sizeof(void *); /* channels is a multiple of 16: pointers stay aligned */
    c->units = c->oh * c->ow * c->co == 0 ? 0 : c->batch * clq_dw_taps_bands(c);
}

static inline void clq_narrow_dw_pack(struct clq_conv_args *c)
{
    struct clq_narrow_dw *d = c->packed;
    const size_t taps = c->kh * c->kw;
    memset(d, 0, c->packed_bytes);
    d->blocks = clq_narrow_dw_channels(c) / CLQ_NARROW_BLOCK;
    d->pairs = (taps + 1) / 2;
    for (size_t position = 0; position < d->blocks * CLQ_NARROW_BLOCK; position++) {
        const size_t block = position / CLQ_NARROW_BLOCK, at = position % CLQ_NARROW_BLOCK;
        const size_t half = at / CLQ_LANES, e = at % CLQ_LANES;
        const size_t channel = block * CLQ_NARROW_BLOCK + 8 * (e / 4) + 4 * half + e % 4;
        if (channel >= c->co) continue;
        const int8_t *w = c->weight + channel * taps;
        int16_t *data = clq_narrow_dw_data(d, block) + at * 2;
        int64_t sum = 0;
        for (size_t t = 0; t < taps; t++) {
            data[t / 2 * CLQ_NARROW_BLOCK * 2 + t % 2] = w[t];
            sum += w[t];
        }
        const uint32_t bias = (uint32_t)(c->bias ? c->bias[channel] : 0) - (uint32_t)(uint64_t)(c->zero_point_x * sum);
        clq_narrow_dw_bias(d)[position] = (int32_t)bias;
        if (c->out != CLQ_OUT_S32) clq_narrow_dw_multiplier(d)[channel] = c->multiplier[channel];
    }
}

/* All channels of one output pixel. */
static inline void clq_narrow_dw_pixel(const struct clq_conv_args *c, const uint8_t **tap, uint8_t *y,
                                       const struct clq_narrow_finish *finish)
{
    const struct clq_narrow_dw *d = c->packed;
    const size_t bytes = c->out == CLQ_OUT_U8 ? 1 : 4;
    const float *multiplier = clq_narrow_dw_multiplier(d);
    for (size_t block = 0, c0 = 0; block < d->blocks; block++, c0 += CLQ_NARROW_BLOCK) {
        const int16_t *w = clq_narrow_dw_data(d, block);
        CLQ_V lo = CLQ_LOAD(clq_narrow_dw_bias(d) + c0), hi = CLQ_LOAD(clq_narrow_dw_bias(d) + c0 + CLQ_LANES);
        for (size_t i = 0; i < d->pairs; i++, w += 2 * CLQ_NARROW_BLOCK) {
            const CLQ_V x0 = CLQ_LOAD_CODES(tap[2 * i] + c0, c->co - c0);
            const CLQ_V x1 = CLQ_LOAD_CODES(tap[2 * i + 1] + c0, c->co - c0);
            const CLQ_V l = CLQ_MM(unpacklo_epi16)(x0, x1), h = CLQ_MM(unpackhi_epi16)(x0, x1);
            lo = CLQ_MM(add_epi32)(lo, CLQ_MM(madd_epi16)(l, CLQ_LOAD(w)));
            hi = CLQ_MM(add_epi32)(hi, CLQ_MM(madd_epi16)(h, CLQ_LOAD(w + CLQ_NARROW_BLOCK)));
        }
        int32_t sums[CLQ_NARROW_BLOCK] __attribute__((aligned(64)));
        clq_narrow_dw_sums(sums, lo, hi);
        for (size_t i = 0; i < CLQ_NARROW_BLOCK && c0 + i < c->co; i += 16) {
            clq_narrow_store(finish, y + (c0 + i) * bytes, c->co - c0 - i, sums + i, multiplier + c0 + i);
        }
    }
}

static inline void clq_narrow_dw_run(const struct clq_conv_args *c, clq_residual_fn *residual)
{
    const size_t bands = clq_dw_taps_bands(c), channels = clq_narrow_dw_channels(c);
    const size_t bytes = c->out == CLQ_OUT_U8 ? 1 : 4, pairs = (c->kh * c->kw + 1) / 2;
    const struct clq_narrow_finish finish = clq_narrow_finish_make(c->out, c->zero_point_y, c->lo, c->hi);
    uint8_t *pad = c->scratch;
    const uint8_t **tap = (const uint8_t **)(pad + channels);
    memset(pad, c->zero_point_x, channels);
    tap[2 * pairs - 1] = pad; /* after an odd number of taps: meets weights of 0 */
    for (size_t u = c->unit_begin; u < c->unit_end; u++) {
        const size_t image = u / bands, band = u % bands;
        const size_t begin = c->oh * band / bands, end = c->oh * (band + 1) / bands;
        for (size_t p = begin * c->ow; p < end * c->ow; p++) {
            clq_dw_taps_point(c, tap, pad, c->x + image * c->h * c->w * c->ci, p / c->ow, p % c->ow);
            uint8_t *y = (uint8_t *)c->y + (image * c->oh * c->ow + p) * c->co * bytes;
            clq_narrow_dw_pixel(c, tap, y, &finish);
        }
        clq_residual_pixels(c, image, begin, end - begin, 0, c->co, residual);
    }
}

#endif
