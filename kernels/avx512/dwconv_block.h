/* SPDX-License-Identifier: Apache-2.0
 * What the two depthwise methods of AVX512-VNNI share: the packed form, the blocks of 64 byte columns and their loads
 * and stores.
 *
 *   packed:  struct clq_dw, then bias int32, multiplier float, shift float, [64 * blocks] each by position, then data
 *   data:    [blocks][variants][quads][4 vectors][16 channels][4 taps]
 *
 * Four taps are byte-transposed into 4 vectors of [16 channels][4 taps]. The unpacks leave the channels of a block in
 * the order vector j, 128-bit lane l, i: channel 16 l + 4 j + i, which the packs of the epilogue undo. */
#ifndef CLQ_KERNELS_AVX512_DWCONV_BLOCK_H
#define CLQ_KERNELS_AVX512_DWCONV_BLOCK_H

#include "kernels/avx512/gemm_tile.h"

/* Method of a whole convolution. */
enum clq_dw_method {
    CLQ_DW_QUADS, /* 3x3 and 5x5, strides of 1 and 2: 2x2 pixel quads, transposed once, serve every tap */
    CLQ_DW_TAPS   /* everything else: per output, four taps at a time */
};

enum { CLQ_DW_WORDS = 8 * 64 * 4 }; /* the sums of a tile of 8 outputs */

struct clq_dw { /* 64 bytes */
    size_t blocks, variants, quads, relu;
    size_t unused[4];
};

static inline enum clq_dw_method clq_dw_method_of(const struct clq_conv_args *c)
{
    const bool square = c->kh == c->kw && (c->kh == 3 || c->kh == 5) && c->dilation_h == 1 && c->dilation_w == 1;
    const bool stride = c->stride_h <= 2 && c->stride_w <= 2;
    return square && stride ? CLQ_DW_QUADS : CLQ_DW_TAPS;
}

/* A block is 64 byte columns: 64 channels, or, for a last block of 32 (16) channels and codes out, the same channels of
 * 2 (4) horizontal strips of a band, so that no lane idles. mode: 1, 2 or 4 strips, 0 masked. */
struct clq_dw_block {
    int mode;
    size_t c0, channels, strips, rows; /* rows: of the image, in all bands together, per strip */
    __mmask64 mask;
};

static inline struct clq_dw_block clq_dw_block_make(const struct clq_conv_args *c, size_t block)
{
    const size_t left = c->co - 64 * block;
    const bool strips_pay = c->out == CLQ_OUT_U8 && clq_dw_method_of(c) == CLQ_DW_QUADS;
    int mode = left >= 64 ? 1 : 0;
    if (strips_pay && left == 32 && c->oh % 2 == 0) mode = 2;
    if (strips_pay && left == 16 && c->oh % 4 == 0) mode = 4;
    const size_t strips = mode ? (size_t)mode : 1;
    return (struct clq_dw_block){
        .mode = mode,
        .c0 = 64 * block,
        .channels = left < 64 ? left : 64,
        .strips = strips,
        .rows = c->oh / strips,
        .mask = left >= 64 ? ~0ull : (1ull << left) - 1,
    };
}

static inline int32_t *clq_dw_bias(const struct clq_dw *d)
{
    return (int32_t *)(d + 1);
}

static inline float *clq_dw_multiplier(const struct clq_dw *d)
{
    return (float *)(d + 1) + 64 * d->blocks;
}

static inline float *clq_dw_shift(const struct clq_dw *d)
{
    return (float *)(d + 1) + 128 * d->blocks;
}

static inline int8_t *clq_dw_data(const struct clq_dw *d, size_t block)
{
    return (int8_t *)(d + 1) + 768 * d->blocks + block * d->variants * d->quads * 256;
}

/* Bytes a, b, c, d of 64 channels become t[j] = [16 channels][a b c d]. */
CLQ_INLINE void clq_dw_transpose(__m512i t[4], __m512i a, __m512i b, __m512i c, __m512i d)
{
    const __m512i l0 = _mm512_unpacklo_epi8(a, b), h0 = _mm512_unpackhi_epi8(a, b);
    const __m512i l1 = _mm512_unpacklo_epi8(c, d), h1 = _mm512_unpackhi_epi8(c, d);
    t[0] = _mm512_unpacklo_epi16(l0, l1);
    t[1] = _mm512_unpackhi_epi16(l0, l1);
    t[2] = _mm512_unpacklo_epi16(h0, h1);
    t[3] = _mm512_unpackhi_epi16(h0, h1);
}

/* 64 codes of one output pixel; strip: bytes between the strips of a block. */
CLQ_INLINE void clq_dw_store(uint8_t *y, size_t strip, __m512i q, int mode, __mmask64 mask)
{
    if (mode == 1) {
        _mm512_storeu_si512(y, q);
    } else if (mode == 0) {
        _mm512_mask_storeu_epi8(y, mask, q);
    } else if (mode == 2) {
        _mm256_storeu_si256((__m256i *)y, _mm512_castsi512_si256(q));
        _mm256_storeu_si256((__m256i *)(y + strip), _mm512_extracti64x4_epi64(q, 1));
    } else {
        _mm_storeu_si128((__m128i *)y, _mm512_castsi512_si128(q));
        _mm_storeu_si128((__m128i *)(y + strip), _mm512_extracti32x4_epi32(q, 1));
        _mm_storeu_si128((__m128i *)(y + 2 * strip), _mm512_extracti32x4_epi32(q, 2));
        _mm_storeu_si128((__m128i *)(y + 3 * strip), _mm512_extracti32x4_epi32(q, 3));
    }
}

/* 16 words of vector j: lane l holds channels 16 l + 4 j .. + 3. A ragged end is stored word by word: gcc 12 folds a
 * masked store of an extracted lane into vextracti32x4, whose mask does not suppress faults. */
CLQ_INLINE void clq_dw_store_words(void *y, __m512i v, int j, size_t channels)
{
    const __m128i lane[4] = {_mm512_castsi512_si128(v), _mm512_extracti32x4_epi32(v, 1),
                             _mm512_extracti32x4_epi32(v, 2), _mm512_extracti32x4_epi32(v, 3)};
    CLQ_UNROLL for (int l = 0; l < 4; l++)
    {
        const size_t first = 16 * (size_t)l + 4 * (size_t)j;
        uint8_t *at = (uint8_t *)y + 4 * first;
        if (first + 4 <= channels) {
            _mm_storeu_si128((__m128i *)at, lane[l]);
        } else if (first < channels) {
            uint32_t word[4];
            _mm_storeu_si128((__m128i *)word, lane[l]);
            memcpy(at, word, 4 * (channels - first));
        }
    }
}

/* Quads of a window along one axis of the fast method, for an even start. */
static inline size_t clq_dw_window_quads(const struct clq_conv_args *c)
{
    return (c->kh + 1) / 2;
}

/* The fast method walks columns in chunks, so that a ring of quad rows stays in the first-level cache. */
static inline size_t clq_dw_chunk(const struct clq_conv_args *c)
{
    const size_t chunk = c->stride_w == 1 ? 112 : 56;
    return c->ow > chunk + chunk / 4 ? chunk : c->ow;
}

static inline size_t clq_dw_chunk_quads(const struct clq_conv_args *c)
{
    const size_t chunk = clq_dw_chunk(c);
    return (c->stride_w == 1 ? (chunk + 1) / 2 : chunk) + clq_dw_window_quads(c) - 1;
}

/* The methods. A method's unit loop is its own; units were planned by clq_dwconv_plan_vnni. */
void clq_dw_run_quads(const struct clq_conv_args *c);
void clq_dw_run_taps(const struct clq_conv_args *c);

/* Units: images x bands of rows x blocks, so that neighbors, which one thread gets, write the same cache lines. Each band of a block
 * with strips has strips of its own. */
struct clq_dw_grid {
    size_t blocks, bands;
};
static inline struct clq_dw_grid clq_dw_grid_make(const struct clq_conv_args *c)
{
    const size_t blocks = (c->co + 63) / 64, units = c->batch * blocks;
    const size_t wanted = units == 0 ? 1 : (16 + units - 1) / units, most = (c->oh + 13) / 14;
    return (struct clq_dw_grid){.blocks = blocks, .bands = wanted < most ? wanted : most};
}

/* The first row of a band, of the rows that all bands have together. Two rows are made at a time, so bands are even where they can. */
static inline size_t clq_dw_band_begin(size_t rows, size_t bands, size_t band)
{
    const size_t step = rows % 2 == 0 ? 2 : 1;
    return rows / step * band / bands * step;
}

#endif
