/* SPDX-License-Identifier: Apache-2.0
 * The AVX2 tiles: 4x16, by vpmaddubsw for the columns where packing proved it exact, else in 16 bits; 6x16 in 16 bits where
 * widening rows and columns before is repaid; and the 6x16 tile of AVX-VNNI. A panel is walked in strips of 16 columns. */
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

/* One product and its sum, together: gcc otherwise adds even and odd products first, which takes more registers than there
 * are. */
CLQ_INLINE __m256i add_products(__m256i sum, __m256i x, __m256i w)
{
    __m256i product;
    __asm__("vpmaddwd %3,%2,%1\n\tvpaddd %1,%0,%0" : "+x"(sum), "=&x"(product) : "x"(x), "x"(w));
    return sum;
}

/* mr rows x 16 columns, both widened before: nothing but products and sums. Row i of a is the wide row. */
CLQ_INLINE void widened_tile(const struct clq_strip *s, const uint8_t *a, const int8_t *b, const int32_t *bias, int32_t *sums,
                             const int mr)
{
    __m256i c[6][2];
    const size_t odd = 4 * s->steps;
    CLQ_UNROLL for (int i = 0; i < mr; i++)
    {
        CLQ_UNROLL for (int j = 0; j < 2; j++) c[i][j] = CLQ_LOAD(bias + 8 * j);
    }
    const uint8_t *row[2][2]; /* even and odd elements, one pointer for 3 rows */
    CLQ_UNROLL for (int i = 0; i < mr; i += 3)
    {
        row[0][i / 3] = a + (size_t)i * s->lda;
        row[1][i / 3] = row[0][i / 3] + odd;
    }
    for (size_t k = s->steps; k > 0; k--, b += 128) {
        CLQ_UNROLL for (int half = 0; half < 2; half++)
        {
            const __m256i w0 = CLQ_LOAD(b + 64 * half), w1 = CLQ_LOAD(b + 64 * half + 32);
            CLQ_UNROLL for (int i = 0; i < mr; i++)
            {
                const uint8_t *at = row[half][i / 3] + (size_t)(i % 3) * s->lda;
                const __m256i x = _mm256_set1_epi32(*(const clq_dword *)at);
                c[i][0] = add_products(c[i][0], x, w0);
                c[i][1] = add_products(c[i][1], x, w1);
            }
        }
        CLQ_UNROLL for (int i = 0; i < mr; i += 3)
        {
            row[0][i / 3] += 4;
            row[1][i / 3] += 4;
        }
    }
    CLQ_UNROLL for (int i = 0; i < mr; i++)
    {
        CLQ_UNROLL for (int j = 0; j < 2; j++) CLQ_STORE(sums + 16 * i + 8 * j, c[i][j]);
    }
}

#define WIDENED_TILE(mr) \
    static __attribute__((noinline)) void widened_##mr(const struct clq_strip *s, const uint8_t *a, const int8_t *b, \
                                                       size_t b_step, const int32_t *bias, int32_t *sums) \
    { \
        (void)b_step; \
        widened_tile(s, a, b, bias, sums, mr); \
    }
WIDENED_TILE(1)
WIDENED_TILE(2)
WIDENED_TILE(3)
WIDENED_TILE(4)
WIDENED_TILE(5)
WIDENED_TILE(6)
static const struct clq_narrow_ladder widened = {
    16, 6, {NULL, widened_1, widened_2, widened_3, widened_4, widened_5, widened_6}};

/* 16 columns to 16 bits: in every step the even elements, then the odd ones. */
static void widen_columns(const struct clq_narrow_weights *w, size_t steps, int16_t *to)
{
    const int8_t *b = w->b;
    for (size_t k = 0; k < steps; k++, b += w->step, to += 64) {
        CLQ_UNROLL for (int j = 0; j < 2; j++)
        {
            const __m256i v = CLQ_LOAD(b + 32 * j);
            CLQ_STORE(to + 16 * j, _mm256_srai_epi16(_mm256_slli_epi16(v, 8), 8));
            CLQ_STORE(to + 32 + 16 * j, _mm256_srai_epi16(v, 8));
        }
    }
}

void clq_widen_rows_avx2(const uint8_t *a, size_t lda, size_t rows, size_t steps, int16_t *to)
{
    for (; rows > 0; rows--, a += lda, to += 4 * steps) {
        int16_t *odd = to + 2 * steps;
        size_t k = 0;
        for (; k + 8 <= steps; k += 8) {
            const __m256i v = CLQ_LOAD(a + 4 * k);
            CLQ_STORE(to + 2 * k, _mm256_and_si256(v, _mm256_set1_epi16(255)));
            CLQ_STORE(odd + 2 * k, _mm256_srli_epi16(v, 8));
        }
        for (k *= 2; k < 2 * steps; k++) {
            to[k] = a[2 * k];
            odd[k] = a[2 * k + 1];
        }
    }
}

static void strip_run(const struct clq_strip *s, bool vnni)
{
    const struct clq_panels *p = s->packed;
    const struct clq_narrow_finish finish = clq_narrow_finish_make(s->out, s->zero_point_y, s->lo, s->hi);
    const size_t end = clq_panels_start(p->columns, s->panel + 1);
    struct clq_strip in_16_bits = *s;
    in_16_bits.a = (const uint8_t *)s->wide_rows;
    in_16_bits.lda = 8 * s->steps;
    for (size_t c = clq_panels_start(p->columns, s->panel); c < end; c += 16) {
        const struct clq_narrow_weights w = clq_narrow_weights_of(s, s->panel, c);
        const bool pairs_fit = clq_panels_pairs(p, s->group)[c / 16];
        if (vnni || pairs_fit || !s->wide_rows) {
            clq_narrow_columns(s, vnni ? &dot : pairs_fit ? &pairs : &wide, &w, c, &finish);
        } else {
            widen_columns(&w, s->steps, s->wide_columns);
            clq_narrow_columns(&in_16_bits, &widened, &(struct clq_narrow_weights){(const int8_t *)s->wide_columns, 0}, c, &finish);
        }
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
