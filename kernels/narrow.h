/* SPDX-License-Identifier: Apache-2.0
 * The integer product for CPUs without AVX512-VNNI, as one text for both vector widths. Before including it, a source
 * defines the vector type CLQ_V, its intrinsics CLQ_MM(name), CLQ_LOAD(p), CLQ_STORE(p, v) and the number of columns of
 * one vector, CLQ_LANES. Sums leave the registers through a small buffer.
 *
 * Three exact ways to add 4 products to a sum of int32:
 *   pairs  vpmaddubsw, where packing proved that no pair saturates, then vpmaddwd by 1
 *   wide   even and odd bytes widened to 16 bits, then vpmaddwd
 *   dot    one instruction, CLQ_DOT(sum, u8, s8), for a source that defines it */
#ifndef CLQ_KERNELS_NARROW_H
#define CLQ_KERNELS_NARROW_H

#include <immintrin.h>

#include "kernels/panels.h"

#ifndef CLQ_DOT
#define CLQ_DOT(sum, u, s) (sum)
#endif
#define CLQ_INLINE static inline __attribute__((always_inline))
#define CLQ_UNROLL _Pragma("GCC unroll 16")

typedef int32_t __attribute__((may_alias, aligned(1))) clq_dword;

enum clq_narrow { CLQ_NARROW_PAIRS, CLQ_NARROW_WIDE, CLQ_NARROW_DOT };

/* 16 columns: sums to results. Limits come before the conversion, as in ref/requantize.h. */
struct clq_narrow_finish {
    enum clq_out out;
    float least, most;
    int32_t zero_point;
};

static inline struct clq_narrow_finish clq_narrow_finish_make(enum clq_out out, int32_t zero_point, int32_t lo,
                                                              int32_t hi)
{
    return (struct clq_narrow_finish){
        .out = out,
        .least = (float)(lo - zero_point),
        .most = (float)(hi - zero_point),
        .zero_point = zero_point,
    };
}

/* The low byte is the code of either type. */
CLQ_INLINE __m128i clq_narrow_codes(const struct clq_narrow_finish *f, const float p[16])
{
    const __m256 least = _mm256_set1_ps(f->least), most = _mm256_set1_ps(f->most);
    __m256i v[2];
    for (int i = 0; i < 2; i++)
        v[i] = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(_mm256_loadu_ps(p + 8 * i), least), most));
    const __m256i words = _mm256_add_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_set1_epi16((int16_t)f->zero_point));
    const __m256i bytes = _mm256_and_si256(words, _mm256_set1_epi16(255));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 0, 0, 0, 0);
    return _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(_mm256_packus_epi16(bytes, bytes), order));
}

static inline void clq_narrow_store(const struct clq_narrow_finish *f, void *y, size_t width, const int32_t *sums,
                                    const float *multiplier)
{
    if (f->out == CLQ_OUT_S32) {
        if (width >= 16)
            memcpy(y, sums, 64);
        else
            memcpy(y, sums, 4 * width);
        return;
    }
    float p[16];
    for (int i = 0; i < 16; i++) p[i] = (float)sums[i] * multiplier[i];
    if (f->out == CLQ_OUT_F32) {
        if (width >= 16)
            memcpy(y, p, 64);
        else
            memcpy(y, p, 4 * width);
        return;
    }
    const __m128i codes = clq_narrow_codes(f, p);
    if (width >= 16)
        memcpy(y, &codes, 16);
    else
        memcpy(y, &codes, width);
}

/* One step of 4 along K: mr rows times nv vectors of columns. */
CLQ_INLINE void clq_narrow_step(CLQ_V c[8][2], const uint8_t *const row[3], size_t lda, const int8_t *b, const int mr,
                                const int nv, const enum clq_narrow way)
{
    const CLQ_V ones = CLQ_MM(set1_epi16)(1), low = CLQ_MM(set1_epi16)(255);
    CLQ_V w[2], odd[2];
    CLQ_UNROLL for (int j = 0; j < nv; j++)
    {
        w[j] = CLQ_LOAD(b + 4 * CLQ_LANES * j);
        if (way == CLQ_NARROW_WIDE) {
            odd[j] = CLQ_MM(srai_epi16)(w[j], 8);
            w[j] = CLQ_MM(srai_epi16)(CLQ_MM(slli_epi16)(w[j], 8), 8);
        }
    }
    CLQ_UNROLL for (int i = 0; i < mr; i++)
    {
        const CLQ_V x = CLQ_MM(set1_epi32)(*(const clq_dword *)(row[i / 3] + (size_t)(i % 3) * lda));
        CLQ_UNROLL for (int j = 0; j < nv; j++)
        {
            if (way == CLQ_NARROW_DOT) {
                c[i][j] = CLQ_DOT(c[i][j], x, w[j]);
            } else if (way == CLQ_NARROW_PAIRS) {
                const CLQ_V pairs = CLQ_MM(maddubs_epi16)(x, w[j]);
                c[i][j] = CLQ_MM(add_epi32)(c[i][j], CLQ_MM(madd_epi16)(pairs, ones));
            } else {
                const CLQ_V even = CLQ_MM(madd_epi16)(CLQ_LOW(x, low), w[j]);
                c[i][j] = CLQ_MM(add_epi32)(c[i][j], even);
                c[i][j] = CLQ_MM(add_epi32)(c[i][j], CLQ_MM(madd_epi16)(CLQ_MM(srli_epi16)(x, 8), odd[j]));
            }
        }
    }
}

/* mr rows x nv vectors: sums of the whole K into sums[mr][nv * CLQ_LANES]. */
CLQ_INLINE void clq_narrow_tile(const struct clq_strip *s, const uint8_t *a, const int8_t *b, size_t b_step,
                                const int32_t *bias, int32_t *sums, const int mr, const int nv,
                                const enum clq_narrow way)
{
    CLQ_V c[8][2];
    CLQ_UNROLL for (int i = 0; i < mr; i++)
    {
        CLQ_UNROLL for (int j = 0; j < nv; j++) c[i][j] = CLQ_LOAD(bias + CLQ_LANES * j);
    }
    for (size_t g = 0; g < s->segments; g++) {
        const uint8_t *row[3]; /* one pointer for 3 rows */
        CLQ_UNROLL for (int i = 0; i < mr; i += 3) row[i / 3] = a + s->offset[g] + (size_t)i * s->lda;
        for (size_t k = s->steps; k > 0; k--, b += b_step) {
            _mm_prefetch((const char *)(b + 8 * b_step), _MM_HINT_T0); /* the lines of a strip are far apart */
            if (nv * CLQ_LANES == 32) _mm_prefetch((const char *)(b + 8 * b_step + 64), _MM_HINT_T0);
            clq_narrow_step(c, row, s->lda, b, mr, nv, way);
            CLQ_UNROLL for (int i = 0; i < mr; i += 3) row[i / 3] += 4;
        }
    }
    CLQ_UNROLL for (int i = 0; i < mr; i++)
    {
        CLQ_UNROLL for (int j = 0; j < nv; j++) CLQ_STORE(sums + (i * nv + j) * CLQ_LANES, c[i][j]);
    }
}

typedef void clq_narrow_fn(const struct clq_strip *s, const uint8_t *a, const int8_t *b, size_t b_step,
                           const int32_t *bias, int32_t *sums);
#define CLQ_NARROW_TILE(name, mr, nv, way) \
    static __attribute__((noinline)) void name(const struct clq_strip *s, const uint8_t *a, const int8_t *b, \
                                               size_t b_step, const int32_t *bias, int32_t *sums) \
    { \
        clq_narrow_tile(s, a, b, b_step, bias, sums, mr, nv, way); \
    }

/* A ladder of tiles: row[r] does r rows of `columns` columns, 1 <= r <= most. */
struct clq_narrow_ladder {
    size_t columns, most;
    clq_narrow_fn *row[9];
};

/* Columns of a panel: their weights of step 0, and the bytes from one step to the next. */
struct clq_narrow_weights {
    const int8_t *b;
    size_t step;
};

static inline struct clq_narrow_weights clq_narrow_weights_of(const struct clq_strip *s, size_t panel, size_t first)
{
    const struct clq_panels *p = s->packed;
    const size_t start = clq_panels_start(p->columns, panel), end = clq_panels_start(p->columns, panel + 1);
    return (struct clq_narrow_weights){clq_panels_data(p, s->group, start) + 4 * (first - start), 4 * (end - start)};
}

/* All rows of a strip times the columns first .. first + ladder->columns - 1. */
static inline void clq_narrow_columns(const struct clq_strip *s, const struct clq_narrow_ladder *ladder,
                                      const struct clq_narrow_weights *w, size_t first,
                                      const struct clq_narrow_finish *finish)
{
    const struct clq_panels *p = s->packed;
    const int32_t *bias = clq_panels_bias(p, s->group) + first;
    const float *multiplier = clq_panels_multiplier(p, s->group) + first;
    const size_t bytes = s->out == CLQ_OUT_F32 || s->out == CLQ_OUT_S32 ? 4 : 1;
    const size_t tiles = (s->rows + ladder->most - 1) / ladder->most;
    int32_t sums[8 * 32] __attribute__((aligned(64)));
    size_t row = 0;
    for (size_t t = 0; t < tiles; t++) {
        const size_t rows = s->rows * (t + 1) / tiles - row; /* even tiles */
        ladder->row[rows](s, s->a + row * s->lda, w->b, w->step, bias, sums);
        for (size_t r = 0; r < rows; r++, row++) {
            uint8_t *y = (uint8_t *)s->y + (row * s->ldy + first) * bytes;
            for (size_t c = 0; c < ladder->columns && first + c < p->n; c += 16) {
                clq_narrow_store(finish, y + c * bytes, p->n - first - c, sums + r * ladder->columns + c,
                                 multiplier + c);
            }
        }
    }
}

#endif
