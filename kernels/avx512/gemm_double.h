/* SPDX-License-Identifier: Apache-2.0
 * The register tile for panels whose last vector has at most 8 columns: 24, 40 and 56 wide ones. The packed vector
 * holds the 8 columns twice, so one accumulator takes them for two rows: its lower half multiplies the codes of the
 * even row, its upper half those of the odd row. That saves a quarter of the dots of a panel of 24. */
#ifndef CLQ_KERNELS_AVX512_GEMM_DOUBLE_H
#define CLQ_KERNELS_AVX512_GEMM_DOUBLE_H

#include "kernels/avx512/gemm_tile.h"

/* Codes of the 8 last columns of 8 rows, 8 bytes each, in q. A masked store may begin before the row: bytes that the
 * mask leaves out are not touched. */
CLQ_INLINE void clq_double_store(uint8_t *y, size_t ldy, size_t width, __m512i q, const int rows)
{
    const __m128i lane[4] = {_mm512_castsi512_si128(q), _mm512_extracti32x4_epi32(q, 1),
                             _mm512_extracti32x4_epi32(q, 2), _mm512_extracti32x4_epi32(q, 3)};
    const __mmask16 mask = (__mmask16)((1u << width) - 1), above = (__mmask16)(mask << 8);
    CLQ_UNROLL for (int i = 0; i < rows; i += 2)
    {
        uint8_t *even = y + (size_t)i * ldy, *odd = even + ldy;
        if (width == 8) {
            _mm_storel_epi64((__m128i *)even, lane[i / 2]);
            if (i + 1 < rows) _mm_storel_epi64((__m128i *)odd, _mm_unpackhi_epi64(lane[i / 2], lane[i / 2]));
        } else {
            _mm_mask_storeu_epi8(even, mask, lane[i / 2]);
            if (i + 1 < rows) _mm_mask_storeu_epi8(odd - 8, above, lane[i / 2]);
        }
    }
}

CLQ_INLINE void clq_double_codes(const struct clq_tile *t, const __m512i *d, uint8_t *y, const int mr, const int nv,
                                 const enum clq_finish finish)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512 m = _mm512_loadu_ps(t->multiplier + 16 * nv), f = _mm512_loadu_ps(t->shift + 16 * nv);
    const int pairs = (mr + 1) / 2;
    CLQ_UNROLL for (int i = 0; i < pairs; i += 4)
    {
        __m512i v[4];
        CLQ_UNROLL for (int j = 0; j < 4; j++) v[j] = clq_scale(d[i + j < pairs ? i + j : pairs - 1], m, f, finish);
        const __m512i q =
            clq_codes(_mm512_packs_epi32(v[0], v[1]), _mm512_packs_epi32(v[2], v[3]), &t->epilogue, finish);
        clq_double_store(y + 2 * (size_t)i * t->ldy, t->ldy, t->rest, _mm512_permutexvar_epi32(order, q),
                         mr - 2 * i < 8 ? mr - 2 * i : 8);
    }
}

CLQ_INLINE void clq_double_words(const struct clq_tile *t, const __m512i *d, uint8_t *y, const int mr, const int nv,
                                 const enum clq_finish finish)
{
    const __mmask16 mask = (__mmask16)((1u << t->rest) - 1), above = (__mmask16)(mask << 8);
    const __m512 m = _mm512_loadu_ps(t->multiplier + 16 * nv);
    CLQ_UNROLL for (int i = 0; i < mr; i += 2)
    {
        __m512i v = d[i / 2];
        if (finish == CLQ_FINISH_F32) v = _mm512_castps_si512(_mm512_mul_ps(_mm512_cvtepi32_ps(v), m));
        _mm512_mask_storeu_epi32(y + (size_t)i * t->ldy, mask, v);
        if (i + 1 < mr) _mm512_mask_storeu_epi32(y + (size_t)(i + 1) * t->ldy - 32, above, v);
    }
}

CLQ_INLINE void clq_double_finish(const struct clq_tile *t, const __m512i *c, const __m512i *d, uint8_t *y,
                                  const int mr, const int nv, const enum clq_finish finish)
{
    const bool words = finish == CLQ_FINISH_F32 || finish == CLQ_FINISH_S32;
    if (words) {
        clq_tile_words(t, c, y, mr, nv, finish);
        clq_double_words(t, d, y + 64 * nv, mr, nv, finish);
    } else {
        clq_tile_codes(t, c, y, mr, nv, finish);
        clq_double_codes(t, d, y + 16 * nv, mr, nv, finish);
    }
}

/* As clq_tile_run, nv full vectors and one doubled. The second row of an odd last pair is the first again. */
CLQ_INLINE void clq_double_run(const struct clq_tile *t, const uint8_t *a, uint8_t *y, const int32_t *row_bias,
                               size_t tiles, const int mr, const int nv, const bool signed_rows)
{
    const size_t lda = t->lda;
    for (; tiles > 0; tiles--, a += (size_t)mr * lda, y += (size_t)mr * t->ldy) {
        __m512i c[21], d[8];
        const int8_t *b = t->data;
        CLQ_UNROLL for (int i = 0; i < mr * nv; i++) c[i] = _mm512_loadu_si512(t->bias + 16 * (i % nv));
        CLQ_UNROLL for (int i = 0; i < (mr + 1) / 2; i++) d[i] = _mm512_loadu_si512(t->bias + 16 * nv);
        if (signed_rows) {
            CLQ_UNROLL for (int i = 0; i < mr * nv; i++)
            {
                c[i] = _mm512_add_epi32(c[i], _mm512_set1_epi32(row_bias[i / nv]));
            }
            CLQ_UNROLL for (int i = 0; i < mr; i++)
            {
                const __mmask16 half = i % 2 ? 0xff00 : i + 1 < mr ? 0x00ff : 0xffff;
                d[i / 2] = _mm512_mask_add_epi32(d[i / 2], half, d[i / 2], _mm512_set1_epi32(row_bias[i]));
            }
            row_bias += mr;
        }
        for (size_t s = 0; s < t->segments; s++) {
            const uint8_t *p[6];
            CLQ_UNROLL for (int i = 0; i < mr; i += 3) p[i / 3] = a + t->offset[s] + (size_t)i * lda;
            for (size_t k = t->steps; k > 0; k--, b += 64 * (nv + 1)) {
                __m512i w[4], x[2];
                CLQ_UNROLL for (int j = 0; j <= nv; j++)
                {
                    w[j] = _mm512_loadu_si512(b + 64 * j);
                    _mm_prefetch((const char *)b + 1024 + 64 * j, _MM_HINT_T0);
                }
                CLQ_UNROLL for (int i = 0; i < mr; i++)
                {
                    x[i % 2] = _mm512_set1_epi32(*(const clq_dword *)(p[i / 3] + (size_t)(i % 3) * lda));
                    CLQ_UNROLL for (int j = 0; j < nv; j++)
                    {
                        c[i * nv + j] = clq_tile_dot(c[i * nv + j], x[i % 2], w[j], signed_rows);
                    }
                    if (i % 2 == 0 && i + 1 < mr) continue;
                    const __m512i both = i % 2 ? _mm512_mask_blend_epi32(0xff00, x[0], x[1]) : x[0];
                    d[i / 2] = clq_tile_dot(d[i / 2], both, w[nv], signed_rows);
                }
                CLQ_UNROLL for (int i = 0; i < mr; i += 3) p[i / 3] += 4;
            }
        }
        if (t->finish == CLQ_FINISH_SHORT)
            clq_double_finish(t, c, d, y, mr, nv, CLQ_FINISH_SHORT);
        else if (t->finish == CLQ_FINISH_CODES)
            clq_double_finish(t, c, d, y, mr, nv, CLQ_FINISH_CODES);
        else if (t->finish == CLQ_FINISH_F32)
            clq_double_finish(t, c, d, y, mr, nv, CLQ_FINISH_F32);
        else
            clq_double_finish(t, c, d, y, mr, nv, CLQ_FINISH_S32);
    }
}

#endif
