/* SPDX-License-Identifier: Apache-2.0
 * The AVX2 tiles: 4x16, by vpmaddubsw for the columns where packing proved it exact, else in 16 bits; and the 6x16 tile
 * of AVX-VNNI. A panel is walked in strips of 16 columns. */
#include "kernels/avx2/gemm_narrow.h"

#define CLQ_V __m256i
#define CLQ_MM(name) _mm256_##name
#define CLQ_LOAD(p) _mm256_loadu_si256((const __m256i *)(p))
#define CLQ_STORE(p, v) _mm256_storeu_si256((__m256i *)(p), v)
#define CLQ_LOW(x, mask) _mm256_and_si256(x, mask)
#define CLQ_LANES 8
#define CLQ_DOT(sum, u, s) dot_vnni(sum, u, s)
#include <immintrin.h>

/* One instruction, not the intrinsic, which makes gcc 12 spill, and no compiler flag. */
static inline __attribute__((always_inline)) __m256i dot_vnni(__m256i sum, __m256i u, __m256i s)
{
    __asm__("%{vex%} vpdpbusd %2,%1,%0" : "+x"(sum) : "x"(u), "x"(s));
    return sum;
}

#include "kernels/narrow.h"

CLQ_NARROW_TILE(pairs_1, 1, 2, CLQ_NARROW_PAIRS)
CLQ_NARROW_TILE(pairs_2, 2, 2, CLQ_NARROW_PAIRS)
CLQ_NARROW_TILE(pairs_3, 3, 2, CLQ_NARROW_PAIRS)
CLQ_NARROW_TILE(pairs_4, 4, 2, CLQ_NARROW_PAIRS)
static const struct clq_narrow_ladder pairs = {16, 4, {NULL, pairs_1, pairs_2, pairs_3, pairs_4}};

CLQ_NARROW_TILE(wide_1, 1, 2, CLQ_NARROW_WIDE)
CLQ_NARROW_TILE(wide_2, 2, 2, CLQ_NARROW_WIDE)
CLQ_NARROW_TILE(wide_3, 3, 2, CLQ_NARROW_WIDE)
CLQ_NARROW_TILE(wide_4, 4, 2, CLQ_NARROW_WIDE)
static const struct clq_narrow_ladder wide = {16, 4, {NULL, wide_1, wide_2, wide_3, wide_4}};

CLQ_NARROW_TILE(dot_1, 1, 2, CLQ_NARROW_DOT)
CLQ_NARROW_TILE(dot_2, 2, 2, CLQ_NARROW_DOT)
CLQ_NARROW_TILE(dot_3, 3, 2, CLQ_NARROW_DOT)
CLQ_NARROW_TILE(dot_4, 4, 2, CLQ_NARROW_DOT)
CLQ_NARROW_TILE(dot_5, 5, 2, CLQ_NARROW_DOT)
CLQ_NARROW_TILE(dot_6, 6, 2, CLQ_NARROW_DOT)
static const struct clq_narrow_ladder dot = {16, 6, {NULL, dot_1, dot_2, dot_3, dot_4, dot_5, dot_6}};

static void strip_run(const struct clq_strip *s, bool vnni)
{
    const struct clq_panels *p = s->packed;
    const struct clq_narrow_finish finish = clq_narrow_finish_make(s->out, s->zero_point_y, s->lo, s->hi);
    const size_t end = clq_panels_start(p->columns, s->panel + 1);
    for (size_t c = clq_panels_start(p->columns, s->panel); c < end; c += 16) {
        const struct clq_narrow_ladder *ladder = vnni ? &dot : clq_panels_pairs(p, s->group)[c / 16] ? &pairs : &wide;
        clq_narrow_columns(s, ladder, s->panel, c, &finish);
    }
}

void clq_strip_avx2(const struct clq_strip *s)
{
    strip_run(s, false);
}

void clq_strip_avx_vnni(const struct clq_strip *s)
{
    strip_run(s, true);
}
