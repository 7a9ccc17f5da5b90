/* SPDX-License-Identifier: Apache-2.0
 * What the NEON products share: how sums of 16 columns become results, and how a strip is walked in tiles. Static inline, so
 * that each ISA folder compiles its own copy. */
#ifndef CLQ_KERNELS_NEON_PRODUCT_H
#define CLQ_KERNELS_NEON_PRODUCT_H

#include <arm_neon.h>

#include "kernels/panels.h"

#define CLQ_INLINE static inline __attribute__((always_inline))
#define CLQ_UNROLL _Pragma("GCC unroll 32")

/* Limits come before the conversion, as in ref/requantize.h. */
struct clq_neon_finish {
    enum clq_out out;
    float32x4_t least, most;
    int32x4_t zero_point;
};

static inline struct clq_neon_finish clq_neon_finish_make(enum clq_out out, int32_t zero_point, int32_t lo, int32_t hi)
{
    return (struct clq_neon_finish){
        .out = out,
        .least = vdupq_n_f32((float)(lo - zero_point)),
        .most = vdupq_n_f32((float)(hi - zero_point)),
        .zero_point = vdupq_n_s32(zero_point),
    };
}

CLQ_INLINE void clq_neon_store_words(void *y, size_t width, const int32x4_t v[4])
{
    if (width >= 16) {
        CLQ_UNROLL for (int j = 0; j < 4; j++) vst1q_s8((int8_t *)y + 16 * j, vreinterpretq_s8_s32(v[j]));
        return;
    }
    int32_t words[16];
    CLQ_UNROLL for (int j = 0; j < 4; j++) vst1q_s32(words + 4 * j, v[j]);
    memcpy(y, words, 4 * width);
}

/* One row: the sums of 16 columns, of which the first `width` are stored. The low byte is the code of either type. */
CLQ_INLINE void clq_neon_store(const struct clq_neon_finish *f, void *y, size_t width, const int32x4_t sums[4],
                               const float *multiplier)
{
    if (f->out == CLQ_OUT_S32) {
        clq_neon_store_words(y, width, sums);
        return;
    }
    int32x4_t v[4];
    CLQ_UNROLL for (int j = 0; j < 4; j++)
    {
        const float32x4_t p = vmulq_f32(vcvtq_f32_s32(sums[j]), vld1q_f32(multiplier + 4 * j));
        if (f->out == CLQ_OUT_F32)
            v[j] = vreinterpretq_s32_f32(p);
        else
            v[j] = vaddq_s32(vcvtnq_s32_f32(vminq_f32(vmaxq_f32(p, f->least), f->most)), f->zero_point);
    }
    if (f->out == CLQ_OUT_F32) {
        clq_neon_store_words(y, width, v);
        return;
    }
    const int16x8_t low = vuzp1q_s16(vreinterpretq_s16_s32(v[0]), vreinterpretq_s16_s32(v[1]));
    const int16x8_t high = vuzp1q_s16(vreinterpretq_s16_s32(v[2]), vreinterpretq_s16_s32(v[3]));
    const int8x16_t codes = vuzp1q_s8(vreinterpretq_s8_s16(low), vreinterpretq_s8_s16(high));
    if (width >= 16) {
        vst1q_s8(y, codes);
        return;
    }
    int8_t bytes[16];
    vst1q_s8(bytes, codes);
    memcpy(y, bytes, width);
}

/* Some blocks of 16 columns of a panel, and where their results go. */
struct clq_neon_tile {
    const size_t *offset;
    size_t lda, segments, steps; /* as in struct clq_strip */
    const int8_t *b;             /* weights of the first step */
    size_t b_step;               /* bytes from step to step */
    const int32_t *bias;
    const float *multiplier;
    size_t ldy, bytes;           /* bytes from row to row, of one result */
    size_t width;                /* columns that are stored */
    struct clq_neon_finish finish;
};

/* A fixed number of rows from a on, whose results go to y. */
typedef void clq_neon_tile_fn(const struct clq_neon_tile *t, const uint8_t *a, uint8_t *y);

/* tile[rows][blocks - 1] for 1 <= rows <= most, 1 <= blocks <= blocks[rows], which falls as rows rise. depth: bytes of a
 * column in one step of the packed weights. */
struct clq_neon_ladder {
    size_t most, depth;
    size_t blocks[7];
    clq_neon_tile_fn *tile[7][4];
};

/* All rows of a strip times blocks of 16 columns from column `first` on; returns how many blocks were done. */
static inline size_t clq_neon_columns(const struct clq_strip *s, const struct clq_neon_ladder *ladder, size_t first)
{
    const struct clq_panels *p = s->packed;
    const size_t start = clq_panels_start(p->columns, s->panel), end = clq_panels_start(p->columns, s->panel + 1);
    const size_t tiles = (s->rows + ladder->most - 1) / ladder->most, tallest = tiles ? (s->rows + tiles - 1) / tiles : 1;
    const size_t left = (end - first) / 16, blocks = left < ladder->blocks[tallest] ? left : ladder->blocks[tallest];
    const size_t bytes = s->out == CLQ_OUT_F32 || s->out == CLQ_OUT_S32 ? 4 : 1;
    const struct clq_neon_tile t = {
        .offset = s->offset,
        .lda = s->lda,
        .segments = s->segments,
        .steps = s->steps,
        .b = clq_panels_data(p, s->group, start) + ladder->depth * (first - start),
        .b_step = ladder->depth * (end - start),
        .bias = clq_panels_bias(p, s->group) + first,
        .multiplier = clq_panels_multiplier(p, s->group) + first,
        .ldy = s->ldy * bytes,
        .bytes = bytes,
        .width = (end < p->n ? end : p->n) - first,
        .finish = clq_neon_finish_make(s->out, s->zero_point_y, s->lo, s->hi),
    };
    uint8_t *y = (uint8_t *)s->y + first * bytes;
    for (size_t i = 0, row = 0; i < tiles; i++) {
        const size_t rows = s->rows * (i + 1) / tiles - row; /* even tiles */
        ladder->tile[rows][blocks - 1](&t, s->a + row * s->lda, y + row * t.ldy);
        row += rows;
    }
    return blocks;
}

/* All rows of a strip times its panel. */
static inline void clq_neon_strip(const struct clq_strip *s, const struct clq_neon_ladder *ladder)
{
    const size_t columns = s->packed->columns, end = clq_panels_start(columns, s->panel + 1);
    for (size_t first = clq_panels_start(columns, s->panel); first < end;) first += 16 * clq_neon_columns(s, ladder, first);
}

/* One row of a tile: 4 vectors of sums for each block. A block behind the last column is all padding. */
CLQ_INLINE void clq_neon_store_row(const struct clq_neon_tile *t, uint8_t *y, const int32x4_t *sums, const int blocks)
{
    CLQ_UNROLL for (int i = 0; i < blocks; i++)
        clq_neon_store(&t->finish, y + 16 * (size_t)i * t->bytes, t->width - 16 * (size_t)i, sums + 4 * i,
                       t->multiplier + 16 * i);
}

#define CLQ_NEON_TILE(name, run, mr, blocks, way) \
    static __attribute__((noinline)) void name##_##mr##_##blocks(const struct clq_neon_tile *t, const uint8_t *a, uint8_t *y) \
    { \
        run(t, a, y, mr, blocks, way); \
    }

#endif
