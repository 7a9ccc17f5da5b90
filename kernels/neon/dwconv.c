/* SPDX-License-Identifier: Apache-2.0
 * Depthwise convolution, any kernel, stride and dilation: 16 channels of 4 neighboring pixels at a time, codes widened to 16
 * bits and multiplied into sums of 32, exact always.
 *
 *   packed:  struct dw, bias int32 [blocks][16], multiplier float [blocks][16], weight int16 [blocks][taps][16]
 *
 * A block is 16 channels; the last one is moved down to be a full one if it can. */
#include "kernels/neon/dwconv.h"

#include "kernels/dw_taps.h"
#include "kernels/neon_product.h"
#include "kernels/residual.h"

enum { PIXELS = 4, WIDTH = 16 };

struct dw { /* 64 bytes */
    size_t blocks, taps;
    size_t unused[6];
};

static int32_t *bias_of(const struct dw *d, size_t block)
{
    return (int32_t *)(d + 1) + block * WIDTH;
}

static float *multiplier_of(const struct dw *d, size_t block)
{
    return (float *)(d + 1) + (d->blocks + block) * WIDTH;
}

static int16_t *weight_of(const struct dw *d, size_t block)
{
    return (int16_t *)((float *)(d + 1) + 2 * d->blocks * WIDTH) + block * d->taps * WIDTH;
}

static size_t blocks_of(const struct clq_conv_args *c)
{
    return (c->co + WIDTH - 1) / WIDTH;
}

static size_t first_channel(const struct clq_conv_args *c, size_t block)
{
    return c->co >= WIDTH && c->co - block * WIDTH < WIDTH ? c->co - WIDTH : block * WIDTH;
}

/* Scratch: one pixel of padding, then a pointer per tap and pixel. */
void clq_dwconv_plan_neon(struct clq_conv_args *c)
{
    const size_t channels = blocks_of(c) * WIDTH, taps = c->kh * c->kw;
    c->packed_bytes = sizeof(struct dw) + channels * (8 + 2 * taps);
    c->scratch_bytes = channels + PIXELS * taps * sizeof(void *);
    c->units = c->oh * c->ow * c->co == 0 ? 0 : c->batch * clq_dw_taps_bands(c);
}

void clq_dwconv_pack_neon(struct clq_conv_args *c)
{
    struct dw *d = c->packed;
    memset(d, 0, c->packed_bytes);
    d->blocks = blocks_of(c);
    d->taps = c->kh * c->kw;
    for (size_t i = 0; i < d->blocks * WIDTH; i++) {
        const size_t block = i / WIDTH, at = i % WIDTH, channel = first_channel(c, block) + at;
        if (channel >= c->co) continue;
        const int8_t *w = c->weight + channel * d->taps;
        int64_t sum = 0;
        for (size_t t = 0; t < d->taps; t++) {
            weight_of(d, block)[t * WIDTH + at] = w[t];
            sum += w[t];
        }
        const uint32_t bias = (uint32_t)(c->bias ? c->bias[channel] : 0) - (uint32_t)(uint64_t)(c->zero_point_x * sum);
        bias_of(d, block)[at] = (int32_t)bias;
        if (c->out != CLQ_OUT_S32) multiplier_of(d, block)[at] = c->multiplier[channel];
    }
}

/* 16 codes, of which the first `channels` exist. */
CLQ_INLINE uint8x16_t load_codes(const uint8_t *x, size_t channels, const bool whole)
{
    if (whole) return vld1q_u8(x);
    uint8_t codes[WIDTH] = {0};
    for (size_t i = 0; i < channels; i++) codes[i] = x[i];
    return vld1q_u8(codes);
}

/* One block of PIXELS pixels, whose taps are tap[pixel][taps]; the first `pixels` of them are stored, y_step bytes apart. */
CLQ_INLINE void block_run(const struct clq_conv_args *c, const struct clq_neon_finish *finish, size_t block,
                          const uint8_t *const *tap, size_t pixels, uint8_t *y, size_t y_step, const bool whole)
{
    const struct dw *d = c->packed;
    const size_t taps = d->taps, c0 = first_channel(c, block);
    const int16_t *w = weight_of(d, block);
    int32x4_t sums[PIXELS][4];
    CLQ_UNROLL for (int i = 0; i < 4 * PIXELS; i++) sums[i / 4][i % 4] = vld1q_s32(bias_of(d, block) + 4 * (i % 4));
    for (size_t t = 0; t < taps; t++, w += WIDTH) {
        const int16x8_t w0 = vld1q_s16(w), w1 = vld1q_s16(w + 8);
        CLQ_UNROLL for (int i = 0; i < PIXELS; i++)
        {
            const uint8x16_t x = load_codes(tap[(size_t)i * taps + t] + c0, c->co - c0, whole);
            const int16x8_t x0 = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(x)));
            const int16x8_t x1 = vreinterpretq_s16_u16(vmovl_high_u8(x));
            sums[i][0] = vmlal_s16(sums[i][0], vget_low_s16(x0), vget_low_s16(w0));
            sums[i][1] = vmlal_high_s16(sums[i][1], x0, w0);
            sums[i][2] = vmlal_s16(sums[i][2], vget_low_s16(x1), vget_low_s16(w1));
            sums[i][3] = vmlal_high_s16(sums[i][3], x1, w1);
        }
    }
    CLQ_UNROLL for (int i = 0; i < PIXELS; i++)
    {
        if ((size_t)i < pixels) clq_neon_store(finish, y + (size_t)i * y_step, c->co - c0, sums[i], multiplier_of(d, block));
    }
}

/* Pixels ox .. ox + pixels - 1 of an output row. */
static void pixels_run(const struct clq_conv_args *c, const struct clq_neon_finish *finish, const uint8_t **tap,
                       size_t pixels, uint8_t *y)
{
    const struct dw *d = c->packed;
    const size_t bytes = c->out == CLQ_OUT_U8 ? 1 : 4, y_step = c->co * bytes;
    for (size_t block = 0; block < d->blocks; block++) {
        uint8_t *at = y + first_channel(c, block) * bytes;
        if (c->co >= WIDTH)
            block_run(c, finish, block, tap, pixels, at, y_step, true);
        else
            block_run(c, finish, block, tap, pixels, at, y_step, false);
    }
}

void clq_dwconv_run_neon(const struct clq_conv_args *c)
{
    const size_t bands = clq_dw_taps_bands(c), channels = blocks_of(c) * WIDTH, taps = c->kh * c->kw;
    const size_t bytes = c->out == CLQ_OUT_U8 ? 1 : 4;
    const struct clq_neon_finish finish = clq_neon_finish_make(c->out, c->zero_point_y, c->lo, c->hi);
    uint8_t *pad = c->scratch;
    const uint8_t **tap = (const uint8_t **)(void *)(pad + channels);
    memset(pad, c->zero_point_x, channels);
    for (size_t u = c->unit_begin; u < c->unit_end; u++) {
        const size_t image = u / bands, band = u % bands;
        const uint8_t *x = c->x + image * c->h * c->w * c->ci;
        const size_t begin = c->oh * band / bands, end = c->oh * (band + 1) / bands;
        for (size_t oy = begin; oy < end; oy++) {
            uint8_t *y = (uint8_t *)c->y + (image * c->oh + oy) * c->ow * c->co * bytes;
            for (size_t ox = 0; ox < c->ow; ox += PIXELS) {
                const size_t pixels = c->ow - ox < PIXELS ? c->ow - ox : PIXELS;
                for (size_t i = 0; i < PIXELS; i++)
                    clq_dw_taps_point(c, tap + i * taps, pad, x, oy, ox + (i < pixels ? i : 0));
                pixels_run(c, &finish, tap, pixels, y + ox * c->co * bytes);
            }
        }
        clq_residual_pixels(c, image, begin, end - begin, 0, c->co, clq_residual_neon);
    }
}
