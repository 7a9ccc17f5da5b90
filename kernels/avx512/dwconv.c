/* SPDX-License-Identifier: Apache-2.0
 * Depthwise convolution on AVX512-VNNI: choice of the method, packing, and the method for any kernel, stride and
 * dilation. dwconv_quads.c has the fast one. */
#include "kernels/avx512/dwconv.h"

#include "kernels/avx512/dwconv_block.h"
#include "kernels/dw_taps.h"
#include "kernels/residual.h"

void clq_dwconv_plan_vnni(struct clq_conv_args *c)
{
    const bool quads = clq_dw_method_of(c) == CLQ_DW_QUADS;
    const struct clq_dw_grid grid = clq_dw_grid_make(c);
    const size_t q = clq_dw_window_quads(c), variants = quads && c->stride_w == 1 ? 4 : 1;
    const size_t per = quads ? q * q : (c->kh * c->kw + 3) / 4;
    c->packed_bytes = sizeof(struct clq_dw) + grid.blocks * (768 + variants * per * 256);
    /* quads: 64 bytes of padding, the sums of a tile and a ring of quad rows; taps: padding and a pointer per tap */
    c->scratch_bytes = 64 + (quads ? CLQ_DW_WORDS + clq_dw_chunk_quads(c) * q * 256 : per * 4 * sizeof(void *));
    c->units = c->batch * c->oh * c->ow == 0 ? 0 : c->batch * grid.blocks * grid.bands;
}

/* The channel at a position of the order that the transpose leaves, or co and more where there is none. */
static size_t channel_at(const struct clq_conv_args *c, size_t position)
{
    const struct clq_dw_block b = clq_dw_block_make(c, position / 64);
    const size_t j = position / 16 % 4, lane = position / 4 % 4, i = position % 4;
    return b.c0 + (b.mode ? lane % (size_t)(4 / b.mode) : lane) * 16 + 4 * j + i;
}

/* Weight of byte e % 4 of quad e / 4 in a variant: the window is shifted by variant / 2 rows and variant % 2 columns.
 * */
static int8_t quad_weight(const struct clq_conv_args *c, const int8_t *w, size_t variant, size_t e)
{
    const size_t q = clq_dw_window_quads(c);
    const ptrdiff_t ky = (ptrdiff_t)(e / 4 / q * 2 + e % 4 / 2) - (ptrdiff_t)(variant / 2);
    const ptrdiff_t kx = (ptrdiff_t)(e / 4 % q * 2 + e % 2) - (ptrdiff_t)(variant % 2);
    if (ky < 0 || kx < 0 || (size_t)ky >= c->kh || (size_t)kx >= c->kw) return 0;
    return w[(size_t)ky * c->kw + (size_t)kx];
}

static void pack_position(const struct clq_conv_args *c, struct clq_dw *d, size_t position, size_t channel, bool quads)
{
    const size_t taps = c->kh * c->kw;
    const int8_t *w = c->weight + channel * taps;
    int8_t *data = clq_dw_data(d, position / 64) + position % 64 * 4;
    for (size_t v = 0; v < d->variants; v++) {
        for (size_t e = 0; e < 4 * d->quads; e++) {
            const int8_t weight = quads ? quad_weight(c, w, v, e) : e < taps ? w[e] : 0;
            data[(v * d->quads + e / 4) * 256 + e % 4] = weight;
        }
    }
    int64_t sum = 0;
    for (size_t t = 0; t < taps; t++) sum += w[t];
    const uint32_t bias = (uint32_t)(c->bias ? c->bias[channel] : 0) - (uint32_t)(uint64_t)(c->zero_point_x * sum);
    clq_dw_bias(d)[position] = (int32_t)(bias + (d->relu ? 0x4B000000u : 0));
    if (c->out == CLQ_OUT_S32) return;
    clq_dw_multiplier(d)[position] = c->multiplier[channel];
    clq_dw_shift(d)[position] = -8388608.0f * c->multiplier[channel];
}

void clq_dwconv_pack_vnni(struct clq_conv_args *c)
{
    const bool quads = clq_dw_method_of(c) == CLQ_DW_QUADS;
    const size_t q = clq_dw_window_quads(c);
    struct clq_dw *d = c->packed;
    memset(d, 0, c->packed_bytes);
    d->blocks = clq_dw_grid_make(c).blocks;
    d->variants = quads && c->stride_w == 1 ? 4 : 1;
    d->quads = quads ? q * q : (c->kh * c->kw + 3) / 4;
    bool relu = c->out == CLQ_OUT_U8 && c->lo == c->zero_point_y && c->bound < 1 << 23;
    for (size_t i = 0; relu && i < c->co; i++) relu = c->multiplier[i] > 0.0f && c->multiplier[i] < 256.0f;
    d->relu = relu;
    for (size_t p = 0; p < 64 * d->blocks; p++) {
        const size_t channel = channel_at(c, p);
        if (channel < c->co) pack_position(c, d, p, channel, quads);
    }
}

void clq_dwconv_run_vnni(const struct clq_conv_args *c)
{
    if (clq_dw_method_of(c) == CLQ_DW_QUADS)
        clq_dw_run_quads(c);
    else
        clq_dw_run_taps(c);
}

/* One output pixel of one block: tap[4 * quads], each 64 (or mask) bytes. */
struct taps {
    const uint8_t **tap;
    const struct clq_dw *d;
    size_t block;
    __mmask64 mask;
    size_t channels;
    enum clq_finish finish;
    struct clq_epilogue epilogue;
};

CLQ_INLINE void taps_pixel(const struct taps *t, void *y, const enum clq_finish finish)
{
    const int8_t *w = clq_dw_data(t->d, t->block);
    __m512i a[4];
    CLQ_UNROLL for (int j = 0; j < 4; j++) a[j] = _mm512_loadu_si512(clq_dw_bias(t->d) + 64 * t->block + 16 * j);
    const uint8_t **tap = t->tap;
    for (size_t q = 0; q < t->d->quads; q++, tap += 4, w += 256) {
        __m512i x[4], v[4];
        CLQ_UNROLL for (int i = 0; i < 4; i++) x[i] = _mm512_maskz_loadu_epi8(t->mask, tap[i]);
        clq_dw_transpose(v, x[0], x[1], x[2], x[3]);
        CLQ_UNROLL for (int j = 0; j < 4; j++) a[j] = clq_dot_vnni(a[j], v[j], _mm512_loadu_si512(w + 64 * j));
    }
    const float *m = clq_dw_multiplier(t->d) + 64 * t->block, *f = clq_dw_shift(t->d) + 64 * t->block;
    if (finish == CLQ_FINISH_F32) {
        CLQ_UNROLL for (int j = 0; j < 4; j++)
        {
            const __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(a[j]), _mm512_loadu_ps(m + 16 * j));
            clq_dw_store_words(y, _mm512_castps_si512(v), j, t->channels);
        }
        return;
    }
    if (finish == CLQ_FINISH_S32) {
        CLQ_UNROLL for (int j = 0; j < 4; j++) clq_dw_store_words(y, a[j], j, t->channels);
        return;
    }
    CLQ_UNROLL for (int j = 0; j < 4; j++)
    {
        a[j] = clq_scale(a[j], _mm512_loadu_ps(m + 16 * j), _mm512_loadu_ps(f + 16 * j), finish);
    }
    const __m512i p = _mm512_packs_epi32(a[0], a[1]), q = _mm512_packs_epi32(a[2], a[3]);
    clq_dw_store(y, 0, clq_codes(p, q, &t->epilogue, finish), 0, t->mask);
}

void clq_dw_run_taps(const struct clq_conv_args *c)
{
    const struct clq_dw_grid grid = clq_dw_grid_make(c);
    const struct clq_dw *d = c->packed;
    const size_t bytes = c->out == CLQ_OUT_U8 ? 1 : 4;
    uint8_t *pad = c->scratch;
    const uint8_t **tap = (const uint8_t **)(pad + 64);
    memset(pad, c->zero_point_x, 64);
    for (size_t i = 0; i < 4 * d->quads; i++) tap[i] = pad; /* past the last tap the weights are 0 */
    for (size_t u = c->unit_begin; u < c->unit_end; u++) {
        const size_t image = u / grid.blocks / grid.bands, band = u / grid.blocks % grid.bands, block = u % grid.blocks;
        const struct clq_dw_block b = clq_dw_block_make(c, block);
        const struct taps t = {
            .tap = tap,
            .d = d,
            .block = block,
            .mask = b.mask,
            .channels = b.channels,
            .finish = clq_finish_of(c->out, d->relu),
            .epilogue = clq_epilogue_make(c->out, c->zero_point_y, c->lo, c->hi),
        };
        const size_t begin = c->oh * band / grid.bands, end = c->oh * (band + 1) / grid.bands;
        for (size_t p = begin * c->ow; p < end * c->ow; p++) {
            clq_dw_taps_point(c, tap, pad, c->x + image * c->h * c->w * c->ci + b.c0, p / c->ow, p % c->ow);
            uint8_t *y = (uint8_t *)c->y + ((image * c->oh * c->ow + p) * c->co + b.c0) * bytes;
            if (t.finish == CLQ_FINISH_SHORT)
                taps_pixel(&t, y, CLQ_FINISH_SHORT);
            else if (t.finish == CLQ_FINISH_CODES)
                taps_pixel(&t, y, CLQ_FINISH_CODES);
            else if (t.finish == CLQ_FINISH_F32)
                taps_pixel(&t, y, CLQ_FINISH_F32);
            else
                taps_pixel(&t, y, CLQ_FINISH_S32);
        }
        clq_residual_pixels(c, image, begin, end - begin, b.c0, b.channels, clq_residual_avx512);
    }
}
