/* SPDX-License-Identifier: Apache-2.0
 * The smull tiles: 2x16 and 1x16. Bytes multiply to 16 bits, pairs of neighbors along K are added to sums of 32, two per
 * column, which meet at the end. Where packing found no weight of -128, the products of two steps are added in 16 bits first:
 * 2 * 128 * 127 = 32,512. */
#include "kernels/neon/gemm_mull.h"

#include "kernels/neon/pairs.h"
#include "kernels/neon_product.h"

enum way { TOGETHER, APART };

CLQ_INLINE int8x16_t load_row(const uint8_t *row, const bool flip)
{
    uint32_t dword;
    memcpy(&dword, row, 4);
    return vreinterpretq_s8_u32(vdupq_n_u32(flip ? dword ^ 0x80808080u : dword));
}

/* One step of 4 along K: c[i][2j] and c[i][2j + 1] hold columns 4j .. 4j + 3. */
CLQ_INLINE void step(int32x4_t c[2][8], const uint8_t *const row[2], const int8_t *b, const int mr, const bool flip)
{
    int8x16_t x[2];
    CLQ_UNROLL for (int i = 0; i < mr; i++) x[i] = load_row(row[i], flip);
    CLQ_UNROLL for (int j = 0; j < 4; j++)
    {
        const int8x16_t w = vld1q_s8(b + 16 * j);
        CLQ_UNROLL for (int i = 0; i < mr; i++)
        {
            c[i][2 * j] = clq_add_pairs(c[i][2 * j], vmull_s8(vget_low_s8(w), vget_low_s8(x[i])));
            c[i][2 * j + 1] = clq_add_pairs(c[i][2 * j + 1], vmull_high_s8(w, x[i]));
        }
    }
}

CLQ_INLINE void two_steps(int32x4_t c[2][8], const uint8_t *const row[2], const int8_t *b, size_t b_step, const int mr,
                          const bool flip)
{
    int8x16_t x[2], z[2];
    CLQ_UNROLL for (int i = 0; i < mr; i++)
    {
        x[i] = load_row(row[i], flip);
        z[i] = load_row(row[i] + 4, flip);
    }
    CLQ_UNROLL for (int j = 0; j < 4; j++)
    {
        const int8x16_t w = vld1q_s8(b + 16 * j), v = vld1q_s8(b + b_step + 16 * j);
        CLQ_UNROLL for (int i = 0; i < mr; i++)
        {
            int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(x[i])), high = vmull_high_s8(w, x[i]);
            low = vmlal_s8(low, vget_low_s8(v), vget_low_s8(z[i]));
            high = vmlal_high_s8(high, v, z[i]);
            c[i][2 * j] = clq_add_pairs(c[i][2 * j], low);
            c[i][2 * j + 1] = clq_add_pairs(c[i][2 * j + 1], high);
        }
    }
}

CLQ_INLINE void tile(const struct clq_neon_tile *t, const uint8_t *a, uint8_t *y, const int mr, const enum way way,
                     const bool flip)
{
    int32x4_t c[2][8];
    CLQ_UNROLL for (int j = 0; j < 4; j++)
    {
        const int32x4_t bias = vld1q_s32(t->bias + 4 * j), zero = vdupq_n_s32(0);
        CLQ_UNROLL for (int i = 0; i < mr; i++)
        {
            c[i][2 * j] = vzip1q_s32(bias, zero);
            c[i][2 * j + 1] = vzip2q_s32(bias, zero);
        }
    }
    const int8_t *b = t->b;
    const size_t b_step = t->b_step;
    for (size_t g = 0; g < t->segments; g++) {
        const uint8_t *row[2] = {a + t->offset[g], a + t->offset[g] + t->lda};
        size_t k = t->steps;
        for (; way == TOGETHER && k >= 2; k -= 2, b += 2 * b_step) {
            two_steps(c, row, b, b_step, mr, flip);
            CLQ_UNROLL for (int i = 0; i < mr; i++) row[i] += 8;
        }
        for (; k > 0; k--, b += b_step) {
            step(c, row, b, mr, flip);
            CLQ_UNROLL for (int i = 0; i < mr; i++) row[i] += 4;
        }
    }
    CLQ_UNROLL for (int i = 0; i < mr; i++)
    {
        int32x4_t sums[4];
        CLQ_UNROLL for (int j = 0; j < 4; j++) sums[j] = vpaddq_s32(c[i][2 * j], c[i][2 * j + 1]);
        clq_neon_store_row(t, y + (size_t)i * t->ldy, sums, 1);
    }
}

#define TILE(name, mr, way, flip) \
    static __attribute__((noinline)) void name##_##mr(const struct clq_neon_tile *t, const uint8_t *a, uint8_t *y) \
    { \
        tile(t, a, y, mr, way, flip); \
    }
#define TILES(name, way, flip) \
    TILE(name, 1, way, flip) \
    TILE(name, 2, way, flip) \
    static const struct clq_neon_ladder name = { \
        .most = 2, .depth = 4, .blocks = {0, 1, 1}, .tile = {{NULL}, {name##_1}, {name##_2}}};
TILES(together_u8, TOGETHER, true)
TILES(apart_u8, APART, true)
TILES(together_s8, TOGETHER, false)
TILES(apart_s8, APART, false)

static void strip_run(const struct clq_strip *s, const struct clq_neon_ladder *together, const struct clq_neon_ladder *apart)
{
    const uint8_t *fits = clq_panels_pairs(s->packed, s->group);
    const size_t columns = s->packed->columns, end = clq_panels_start(columns, s->panel + 1);
    for (size_t c = clq_panels_start(columns, s->panel); c < end; c += 16) clq_neon_columns(s, fits[c / 16] ? together : apart, c);
}

void clq_strip_u8_neon(const struct clq_strip *s)
{
    strip_run(s, &together_u8, &apart_u8);
}

void clq_strip_s8_neon(const struct clq_strip *s)
{
    strip_run(s, &together_s8, &apart_s8);
}
