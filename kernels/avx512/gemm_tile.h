/* SPDX-License-Identifier: Apache-2.0
 * The register tile of the AVX512-VNNI product: MR rows times NV vectors of 16 columns of one panel, with its stores.
 * Every function here is inlined into a version with constant MR and NV; nothing may be called while a tile is live,
 * because a call spills all vector registers. */
#ifndef CLQ_KERNELS_AVX512_GEMM_TILE_H
#define CLQ_KERNELS_AVX512_GEMM_TILE_H

#include "kernels/avx512/gemm_epilogue.h"
#include "kernels/panels.h"

/* One instruction, not the intrinsic: gcc 12 copies the accumulator around the intrinsic and spills the tile. u is the
 * unsigned operand. s of the first form may stay in memory; of the second, which many dots share, it must not: gcc 12
 * then stores it to the stack. */
CLQ_INLINE __m512i clq_dot_vnni(__m512i acc, __m512i u, __m512i s)
{
    __asm__("vpdpbusd %2,%1,%0" : "+v"(acc) : "v"(u), "vm"(s));
    return acc;
}

CLQ_INLINE __m512i clq_dot_vnni_shared(__m512i acc, __m512i u, __m512i s)
{
    __asm__("vpdpbusd %2,%1,%0" : "+v"(acc) : "v"(u), "v"(s));
    return acc;
}

/* One panel's pointers, and how its results are stored. */
struct clq_tile {
    const int8_t *data;
    const int8_t *ahead, *end; /* weights that come next, and are fetched into the second-level cache beside the products */
    const int32_t *bias;
    const float *multiplier, *shift;
    const size_t *offset;
    size_t lda, segments, steps, pace; /* pace: bytes ahead per step */
    size_t ldy;   /* bytes */
    size_t width; /* columns that are stored */
    size_t rest;  /* of them, in a doubled last vector: not in width (gemm_double.h) */
    bool dense;   /* the panel is the whole row and its width is a multiple of 4: rows touch each other in memory */
    enum clq_finish finish;
    struct clq_epilogue epilogue;
    int32_t order[16]; /* dword of the result <- dword of the packed vector */
};

/* Dword d of a stored vector is row r of the group, columns 4e .. 4e + 3. */
static inline void clq_tile_order(struct clq_tile *t, unsigned nv)
{
    const unsigned row = t->dense && nv < 3 ? (unsigned)t->width / 4 : 4 * nv;
    for (unsigned d = 0; d < 16; d++) {
        const unsigned r = d / row, e = d % row;
        t->order[d] = (int32_t)((4 * (e % 4) + r * nv + e / 4) % 16);
    }
}

static inline size_t clq_out_bytes(enum clq_out out)
{
    return out == CLQ_OUT_F32 || out == CLQ_OUT_S32 ? 4 : 1;
}

/* Row 0 of the strip, first column of its panel. */
static inline uint8_t *clq_tile_output(const struct clq_strip *s)
{
    return (uint8_t *)s->y + clq_panels_start(s->packed->columns, s->panel) * clq_out_bytes(s->out);
}

/* nv vectors of columns are stored alike; twice: the panel has one more, which holds its columns twice. */
static inline struct clq_tile clq_tile_make(const struct clq_strip *s, size_t nv, bool twice)
{
    const struct clq_panels *p = s->packed;
    const size_t first = clq_panels_start(p->columns, s->panel), end = clq_panels_start(p->columns, s->panel + 1);
    const int8_t *after = clq_panels_data(p, s->group, end);
    struct clq_tile t = {
        .data = clq_panels_data(p, s->group, first),
        .ahead = after,
        .end = after + (p->columns - end < 64 ? p->columns - end : 64) * 4 * p->k4,
        .bias = clq_panels_bias(p, s->group) + first,
        .multiplier = clq_panels_multiplier(p, s->group) + first,
        .shift = clq_panels_shift(p, s->group) + first,
        .offset = s->offset,
        .lda = s->lda,
        .segments = s->segments,
        .steps = s->steps,
        .ldy = s->ldy * clq_out_bytes(s->out),
        .width = (end < p->n ? end : p->n) - first,
        .finish = clq_finish_of(s->out, p->relu),
        .epilogue = clq_epilogue_make(s->out, s->zero_point_y, s->lo, s->hi),
    };
    if (twice) {
        t.rest = t.width - 16 * nv;
        t.width = 16 * nv;
    }
    t.dense = nv < 3 && s->ldy == t.width && t.width % 4 == 0;
    clq_tile_order(&t, (unsigned)nv);
    return t;
}

/* Vector q holds the codes of rows i .. of one group; stores those of them that exist. */
CLQ_INLINE void clq_tile_store(const struct clq_tile *t, uint8_t *y, __m512i q, const int i, const int mr, const int nv)
{
    const unsigned width = (unsigned)t->width;
    const int rows = nv >= 3 ? 1 : mr - i < 4 / nv ? mr - i : 4 / nv;
    if (nv == 4 && width == 64) {
        _mm512_storeu_si512(y, q);
    } else if (nv >= 3) {
        _mm512_mask_storeu_epi8(y, (1ull << width) - 1, q);
    } else if (t->dense) {
        const unsigned bytes = width * (unsigned)rows;
        if (bytes == 64)
            _mm512_storeu_si512(y, q);
        else
            _mm512_mask_storeu_epi8(y, (1ull << bytes) - 1, q);
    } else if (nv == 2 && width == 32) {
        _mm256_storeu_si256((__m256i *)y, _mm512_castsi512_si256(q));
        if (rows > 1) _mm256_storeu_si256((__m256i *)(y + t->ldy), _mm512_extracti64x4_epi64(q, 1));
    } else if (nv == 2) {
        const __mmask32 mask = (__mmask32)((1ull << width) - 1);
        _mm256_mask_storeu_epi8(y, mask, _mm512_castsi512_si256(q));
        if (rows > 1) _mm256_mask_storeu_epi8(y + t->ldy, mask, _mm512_extracti64x4_epi64(q, 1));
    } else if (width == 16) {
        _mm_storeu_si128((__m128i *)y, _mm512_castsi512_si128(q));
        if (rows > 1) _mm_storeu_si128((__m128i *)(y + t->ldy), _mm512_extracti32x4_epi32(q, 1));
        if (rows > 2) _mm_storeu_si128((__m128i *)(y + 2 * t->ldy), _mm512_extracti32x4_epi32(q, 2));
        if (rows > 3) _mm_storeu_si128((__m128i *)(y + 3 * t->ldy), _mm512_extracti32x4_epi32(q, 3));
    } else {
        const __mmask16 mask = (__mmask16)((1u << width) - 1);
        _mm_mask_storeu_epi8(y, mask, _mm512_castsi512_si128(q));
        if (rows > 1) _mm_mask_storeu_epi8(y + t->ldy, mask, _mm512_extracti32x4_epi32(q, 1));
        if (rows > 2) _mm_mask_storeu_epi8(y + 2 * t->ldy, mask, _mm512_extracti32x4_epi32(q, 2));
        if (rows > 3) _mm_mask_storeu_epi8(y + 3 * t->ldy, mask, _mm512_extracti32x4_epi32(q, 3));
    }
}

/* Accumulators 4g .. 4g + 3 of a tile, row by row, become one vector of codes. */
CLQ_INLINE void clq_tile_codes(const struct clq_tile *t, const __m512i *c, uint8_t *y, const int mr, const int nv,
                               const enum clq_finish finish)
{
    const int per = nv == 3 ? 1 : 4 / nv; /* rows per vector */
    CLQ_UNROLL for (int i = 0; i < mr; i += per)
    {
        const int last = (mr - i < per ? mr - i : per) * nv - 1; /* repeat the last one: the compiler merges it */
        const __m512i *g = c + i * nv;
        __m512i v[4];
        CLQ_UNROLL for (int j = 0; j < 4; j++)
        {
            const __m512 m = _mm512_loadu_ps(t->multiplier + 16 * (j % nv));
            const __m512 f = _mm512_loadu_ps(t->shift + 16 * (j % nv));
            v[j] = clq_scale(g[last < j ? last : j], m, f, finish);
        }
        const __m512i q =
            clq_codes(_mm512_packs_epi32(v[0], v[1]), _mm512_packs_epi32(v[2], v[3]), &t->epilogue, finish);
        const __m512i order = _mm512_loadu_si512(t->order);
        clq_tile_store(t, y + (size_t)i * t->ldy, _mm512_permutexvar_epi32(order, q), i, mr, nv);
    }
}

CLQ_INLINE __mmask16 clq_tile_mask(size_t width, int j)
{
    const size_t left = width - 16 * (size_t)j; /* only the last vector of a panel may be ragged */
    return (__mmask16)(left >= 16 ? 0xffffu : (1u << left) - 1);
}

/* F32 and S32: 4 bytes per column, one masked store per vector. */
CLQ_INLINE void clq_tile_words(const struct clq_tile *t, const __m512i *c, uint8_t *y, const int mr, const int nv,
                               const enum clq_finish finish)
{
    CLQ_UNROLL for (int j = 0; j < nv; j++)
    {
        const __mmask16 mask = clq_tile_mask(t->width, j);
        const bool full = t->width == 16 * (size_t)nv;
        const __m512 m = _mm512_loadu_ps(t->multiplier + 16 * j);
        CLQ_UNROLL for (int i = 0; i < mr; i++)
        {
            __m512i v = c[i * nv + j];
            if (finish == CLQ_FINISH_F32) v = _mm512_castps_si512(_mm512_mul_ps(_mm512_cvtepi32_ps(v), m));
            uint8_t *at = y + (size_t)i * t->ldy + 64 * (size_t)j;
            if (j + 1 < nv || full)
                _mm512_storeu_si512(at, v); /* a masked store is slow on some CPUs */
            else
                _mm512_mask_storeu_epi32(at, mask, v);
        }
    }
}

/* One dot of a tile: the rows are the unsigned operand, or, rows of int8, the weights are. */
CLQ_INLINE __m512i clq_tile_dot(__m512i acc, __m512i row, __m512i w, const bool signed_rows)
{
    return signed_rows ? clq_dot_vnni_shared(acc, w, row) : clq_dot_vnni_shared(acc, row, w);
}

/* The row loop is inside, so a short K does not pay for calls. row_bias is read with signed rows. */
CLQ_INLINE void clq_tile_run(const struct clq_tile *t, const uint8_t *a, uint8_t *y, const int32_t *row_bias,
                             size_t tiles, const int mr, const int nv, const bool signed_rows)
{
    const size_t lda = t->lda;
    const int ahead = mr <= 4 ? 4096 : 1024; /* few rows only stream the weights */
    const int8_t *next = t->ahead;
    const size_t pace = t->pace;
    for (; tiles > 0; tiles--, a += (size_t)mr * lda, y += (size_t)mr * t->ldy) {
        __m512i c[28];
        const int8_t *b = t->data;
        if (next >= t->end) next = b; /* all is fetched: a line that is there costs nothing */
        CLQ_UNROLL for (int i = 0; i < mr * nv; i++) c[i] = _mm512_loadu_si512(t->bias + 16 * (i % nv));
        if (signed_rows) {
            CLQ_UNROLL for (int i = 0; i < mr * nv; i++)
            {
                c[i] = _mm512_add_epi32(c[i], _mm512_set1_epi32(row_bias[i / nv]));
            }
            row_bias += mr;
        }
        for (size_t s = 0; s < t->segments; s++) {
            const uint8_t *p[6]; /* one pointer for 3 rows: p, p + lda, p + 2 * lda */
            CLQ_UNROLL for (int i = 0; i < mr; i += 3) p[i / 3] = a + t->offset[s] + (size_t)i * lda;
            for (size_t k = t->steps; k > 0; k--, b += 64 * nv) {
                __m512i w[4];
                _mm_prefetch((const char *)next, _MM_HINT_T1);
                __asm__("addq %1, %0" : "+r"(next) : "m"(pace)); /* from memory: another register makes gcc spill a tile of 8 x 3 */
                CLQ_UNROLL for (int j = 0; j < nv; j++)
                {
                    w[j] = _mm512_loadu_si512(b + 64 * j);
                    _mm_prefetch((const char *)b + ahead + 64 * j, _MM_HINT_T0);
                }
                CLQ_UNROLL for (int i = 0; i < mr; i++)
                {
                    const __m512i x = _mm512_set1_epi32(*(const clq_dword *)(p[i / 3] + (size_t)(i % 3) * lda));
                    CLQ_UNROLL for (int j = 0; j < nv; j++)
                    {
                        c[i * nv + j] = clq_tile_dot(c[i * nv + j], x, w[j], signed_rows);
                    }
                }
                CLQ_UNROLL for (int i = 0; i < mr; i += 3) p[i / 3] += 4;
            }
        }
        if (t->finish == CLQ_FINISH_SHORT)
            clq_tile_codes(t, c, y, mr, nv, CLQ_FINISH_SHORT);
        else if (t->finish == CLQ_FINISH_CODES)
            clq_tile_codes(t, c, y, mr, nv, CLQ_FINISH_CODES);
        else if (t->finish == CLQ_FINISH_F32)
            clq_tile_words(t, c, y, mr, nv, CLQ_FINISH_F32);
        else
            clq_tile_words(t, c, y, mr, nv, CLQ_FINISH_S32);
    }
}

#endif
