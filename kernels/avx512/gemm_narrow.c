/* SPDX-License-Identifier: Apache-2.0
 * The tiles for AVX-512 without VNNI: 8x32, and 8x16 where a panel ends, by vpmaddubsw for the columns where packing
 * proved it exact, else in 16 bits. */
#include "kernels/avx512/gemm_narrow.h"

#define CLQ_V __m512i
#define CLQ_MM(name) _mm512_##name
#define CLQ_LOAD(p) _mm512_loadu_si512(p)
#define CLQ_STORE(p, v) _mm512_storeu_si512(p, v)
#define CLQ_LOW(x, mask) _mm512_and_si512(x, mask)
#define CLQ_LANES 16
#include "kernels/narrow.h"

#define ROWS(F, name, nv, way) \
    F(name##_1, 1, nv, way) \
    F(name##_2, 2, nv, way) \
    F(name##_3, 3, nv, way) \
    F(name##_4, 4, nv, way) \
    F(name##_5, 5, nv, way) \
    F(name##_6, 6, nv, way) \
    F(name##_7, 7, nv, way) \
    F(name##_8, 8, nv, way)
#define LADDER(name) \
    { \
        NULL, name##_1, name##_2, name##_3, name##_4, name##_5, name##_6, name##_7, name##_8 \
    }

ROWS(CLQ_NARROW_TILE, pairs, 2, CLQ_NARROW_PAIRS)
ROWS(CLQ_NARROW_TILE, pairs_half, 1, CLQ_NARROW_PAIRS)
ROWS(CLQ_NARROW_TILE, wide, 2, CLQ_NARROW_WIDE)
ROWS(CLQ_NARROW_TILE, wide_half, 1, CLQ_NARROW_WIDE)
static const struct clq_narrow_ladder ladders[2][2] = {{{16, 8, LADDER(wide_half)}, {16, 8, LADDER(pairs_half)}},
                                                       {{32, 8, LADDER(wide)}, {32, 8, LADDER(pairs)}}};

void clq_strip_avx512(const struct clq_strip *s)
{
    const struct clq_panels *p = s->packed;
    const struct clq_narrow_finish finish = clq_narrow_finish_make(s->out, s->zero_point_y, s->lo, s->hi);
    const uint8_t *fits = clq_panels_pairs(p, s->group);
    const size_t end = clq_panels_start(p->columns, s->panel + 1);
    for (size_t c = clq_panels_start(p->columns, s->panel), width; c < end; c += width) {
        width = end - c >= 32 ? 32 : 16;
        const bool pairs_fit = fits[c / 16] && fits[(c + width - 1) / 16];
        const struct clq_narrow_weights w = clq_narrow_weights_of(s, s->panel, c);
        clq_narrow_columns(s, &ladders[width == 32][pairs_fit], &w, c, &finish);
    }
}
