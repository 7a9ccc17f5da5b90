/* SPDX-License-Identifier: Apache-2.0
 * The smmla and usmmla tiles: 6x16 and all lower ones, 2x32 and 1x32. One instruction multiplies 2 rows by 2 columns over 8
 * bytes of K; an odd last row is its own partner. A sum is [row 0: columns 0, 1][row 1: columns 0, 1]. */
#include "kernels/neon_i8mm/gemm_mmla.h"

#include "kernels/neon_product.h"

/* One instruction in the order written, not the intrinsic: gcc 12 reorders those and spills. */
CLQ_INLINE int32x4_t products(int32x4_t sum, uint8x16_t x, int8x16_t w, const bool unsigned_rows)
{
    if (unsigned_rows)
        __asm__ volatile("usmmla %0.4s,%1.16b,%2.16b" : "+w"(sum) : "w"(x), "w"(w));
    else
        __asm__ volatile("smmla %0.4s,%1.16b,%2.16b" : "+w"(sum) : "w"(x), "w"(w));
    return sum;
}

/* One step of 8 along K; x[p] holds it for 2 rows. */
CLQ_INLINE void step(int32x4_t c[3][16], const uint8x16_t x[3], const int8_t *b, const int pairs, const int blocks,
                     const bool unsigned_rows)
{
    CLQ_UNROLL for (int j = 0; j < 8 * blocks; j++)
    {
        const int8x16_t w = vld1q_s8(b + 16 * j);
        CLQ_UNROLL for (int p = 0; p < pairs; p++) c[p][j] = products(c[p][j], x[p], w, unsigned_rows);
    }
}

CLQ_INLINE uint8x16_t low_halves(uint8x16_t a, uint8x16_t b)
{
    return vreinterpretq_u8_u64(vzip1q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)));
}

CLQ_INLINE uint8x16_t high_halves(uint8x16_t a, uint8x16_t b)
{
    return vreinterpretq_u8_u64(vzip2q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)));
}

CLQ_INLINE void store(const struct clq_neon_tile *t, uint8_t *y, int32x4_t c[3][16], const int mr, const int blocks)
{
    CLQ_UNROLL for (int i = 0; i < mr; i++)
    {
        int32x4_t sums[8];
        CLQ_UNROLL for (int j = 0; j < 4 * blocks; j++)
        {
            const int64x2_t v = vreinterpretq_s64_s32(c[i / 2][2 * j]), w = vreinterpretq_s64_s32(c[i / 2][2 * j + 1]);
            sums[j] = vreinterpretq_s32_s64(i % 2 ? vzip2q_s64(v, w) : vzip1q_s64(v, w));
        }
        clq_neon_store_row(t, y + (size_t)i * t->ldy, sums, blocks);
    }
}

CLQ_INLINE void tile(const struct clq_neon_tile *t, const uint8_t *a, uint8_t *y, const int mr, const int blocks,
                     const bool unsigned_rows)
{
    const int pairs = (mr + 1) / 2;
    int32x4_t c[3][16];
    uint8x16_t x[3], next[3];
    CLQ_UNROLL for (int j = 0; j < 8 * blocks; j++)
    {
        const int32x2_t bias = vld1_s32(t->bias + 2 * j);
        CLQ_UNROLL for (int p = 0; p < pairs; p++) c[p][j] = vcombine_s32(bias, bias);
    }
    const int8_t *b = t->b;
    const size_t b_step = t->b_step;
    for (size_t g = 0; g < t->segments; g++) {
        const uint8_t *row[6];
        CLQ_UNROLL for (int i = 0; i < 2 * pairs; i++) row[i] = a + t->offset[g] + (size_t)(i < mr ? i : mr - 1) * t->lda;
        size_t k = t->steps;
        for (; k >= 4; k -= 4) {
            CLQ_UNROLL for (int p = 0; p < pairs; p++)
            {
                const uint8x16_t even = vld1q_u8(row[2 * p]), odd = vld1q_u8(row[2 * p + 1]);
                x[p] = low_halves(even, odd);
                next[p] = high_halves(even, odd);
            }
            CLQ_UNROLL for (int i = 0; i < 2 * pairs; i++) row[i] += 16;
            step(c, x, b, pairs, blocks, unsigned_rows);
            step(c, next, b + b_step, pairs, blocks, unsigned_rows);
            b += 2 * b_step;
        }
        if (k == 0) continue;
        CLQ_UNROLL for (int p = 0; p < pairs; p++) x[p] = vcombine_u8(vld1_u8(row[2 * p]), vld1_u8(row[2 * p + 1]));
        step(c, x, b, pairs, blocks, unsigned_rows);
        b += b_step;
    }
    store(t, y, c, mr, blocks);
}

#define TILES(name, unsigned_rows) \
    CLQ_NEON_TILE(name, tile, 1, 1, unsigned_rows) \
    CLQ_NEON_TILE(name, tile, 1, 2, unsigned_rows) \
    CLQ_NEON_TILE(name, tile, 2, 1, unsigned_rows) \
    CLQ_NEON_TILE(name, tile, 2, 2, unsigned_rows) \
    CLQ_NEON_TILE(name, tile, 3, 1, unsigned_rows) \
    CLQ_NEON_TILE(name, tile, 4, 1, unsigned_rows) \
    CLQ_NEON_TILE(name, tile, 5, 1, unsigned_rows) \
    CLQ_NEON_TILE(name, tile, 6, 1, unsigned_rows) \
    static const struct clq_neon_ladder name = { \
        .most = 6, \
        .depth = 8, \
        .blocks = {0, 2, 2, 1, 1, 1, 1}, \
        .tile = {{NULL}, {name##_1_1, name##_1_2}, {name##_2_1, name##_2_2}, {name##_3_1}, {name##_4_1}, {name##_5_1}, \
                 {name##_6_1}}, \
    };
TILES(rows_u8, true)
TILES(rows_s8, false)

void clq_strip_u8_neon_i8mm(const struct clq_strip *s)
{
    clq_neon_strip(s, &rows_u8);
}

void clq_strip_s8_neon_i8mm(const struct clq_strip *s)
{
    clq_neon_strip(s, &rows_s8);
}
