/* SPDX-License-Identifier: Apache-2.0
 * The sdot tiles: 6x16 and all lower ones, 2x32 and 1x64. A register holds 16 bytes of a row, and 4 columns of weights meet
 * each 4 of them by lane. */
#include "kernels/neon_dot/gemm_dot.h"

#include "kernels/neon_product.h"

/* One instruction in the order written, not the intrinsic: gcc 12 reorders those until one sum waits for itself, and spills. */
CLQ_INLINE int32x4_t dot(int32x4_t sum, int8x16_t w, int8x16_t x, const int lane)
{
    switch (lane) {
    case 0: __asm__ volatile("sdot %0.4s,%1.16b,%2.4b[0]" : "+w"(sum) : "w"(w), "w"(x)); break;
    case 1: __asm__ volatile("sdot %0.4s,%1.16b,%2.4b[1]" : "+w"(sum) : "w"(w), "w"(x)); break;
    case 2: __asm__ volatile("sdot %0.4s,%1.16b,%2.4b[2]" : "+w"(sum) : "w"(w), "w"(x)); break;
    default: __asm__ volatile("sdot %0.4s,%1.16b,%2.4b[3]" : "+w"(sum) : "w"(w), "w"(x)); break;
    }
    return sum;
}

/* One step of 4 along K, which lane `lane` of x holds. */
CLQ_INLINE void step(int32x4_t c[6][16], const int8x16_t x[6], const int8_t *b, const int mr, const int blocks,
                     const int lane)
{
    CLQ_UNROLL for (int j = 0; j < 4 * blocks; j++)
    {
        const int8x16_t w = vld1q_s8(b + 16 * j);
        CLQ_UNROLL for (int i = 0; i < mr; i++) c[i][j] = dot(c[i][j], w, x[i], lane);
    }
}

CLQ_INLINE int8x16_t signed_row(uint8x16_t x, const bool flip)
{
    return vreinterpretq_s8_u8(flip ? veorq_u8(x, vdupq_n_u8(0x80)) : x);
}

CLQ_INLINE void tile(const struct clq_neon_tile *t, const uint8_t *a, uint8_t *y, const int mr, const int blocks,
                     const bool flip)
{
    int32x4_t c[6][16];
    int8x16_t x[6];
    CLQ_UNROLL for (int i = 0; i < mr; i++)
    {
        CLQ_UNROLL for (int j = 0; j < 4 * blocks; j++) c[i][j] = vld1q_s32(t->bias + 4 * j);
    }
    const int8_t *b = t->b;
    const size_t b_step = t->b_step;
    for (size_t g = 0; g < t->segments; g++) {
        const uint8_t *row[6];
        CLQ_UNROLL for (int i = 0; i < mr; i++) row[i] = a + t->offset[g] + (size_t)i * t->lda;
        size_t k = t->steps;
        for (; k >= 4; k -= 4) {
            CLQ_UNROLL for (int i = 0; i < mr; i++)
            {
                x[i] = signed_row(vld1q_u8(row[i]), flip);
                row[i] += 16;
            }
            CLQ_UNROLL for (int lane = 0; lane < 4; lane++, b += b_step) step(c, x, b, mr, blocks, lane);
        }
        for (; k > 0; k--, b += b_step) {
            CLQ_UNROLL for (int i = 0; i < mr; i++)
            {
                uint32_t dword;
                memcpy(&dword, row[i], 4);
                x[i] = signed_row(vreinterpretq_u8_u32(vdupq_n_u32(dword)), flip);
                row[i] += 4;
            }
            step(c, x, b, mr, blocks, 0);
        }
    }
    CLQ_UNROLL for (int i = 0; i < mr; i++) clq_neon_store_row(t, y + (size_t)i * t->ldy, c[i], blocks);
}

#define TILES(name, flip) \
    CLQ_NEON_TILE(name, tile, 1, 1, flip) \
    CLQ_NEON_TILE(name, tile, 1, 2, flip) \
    CLQ_NEON_TILE(name, tile, 1, 3, flip) \
    CLQ_NEON_TILE(name, tile, 1, 4, flip) \
    CLQ_NEON_TILE(name, tile, 2, 1, flip) \
    CLQ_NEON_TILE(name, tile, 2, 2, flip) \
    CLQ_NEON_TILE(name, tile, 3, 1, flip) \
    CLQ_NEON_TILE(name, tile, 4, 1, flip) \
    CLQ_NEON_TILE(name, tile, 5, 1, flip) \
    CLQ_NEON_TILE(name, tile, 6, 1, flip) \
    static const struct clq_neon_ladder name = { \
        .most = 6, \
        .depth = 4, \
        .blocks = {0, 4, 2, 1, 1, 1, 1}, \
        .tile = {{NULL}, {name##_1_1, name##_1_2, name##_1_3, name##_1_4}, {name##_2_1, name##_2_2}, {name##_3_1}, \
                 {name##_4_1}, {name##_5_1}, {name##_6_1}}, \
    };
TILES(rows_u8, true)
TILES(rows_s8, false)

void clq_strip_u8_neon_dot(const struct clq_strip *s)
{
    clq_neon_strip(s, &rows_u8);
}

void clq_strip_s8_neon_dot(const struct clq_strip *s)
{
    clq_neon_strip(s, &rows_s8);
}
