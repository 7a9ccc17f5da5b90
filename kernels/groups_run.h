/* SPDX-License-Identifier: Apache-2.0
 * The product with 4-bit weights in groups, as one text for all vector widths. Before including it, a source defines
 *   CLQ_V, CLQ_VF, CLQ_MM(name), CLQ_LANES     integer and float vectors, what Intel's intrinsic of that name does, columns of
 *                                              one vector
 *   CLQ_LOAD, CLQ_STORE, CLQ_LOADF, CLQ_STOREF one vector at any address
 *   CLQ_AND(a, b)                              bits
 *   CLQ_STOREF_PART(p, v, n)                   its first n < CLQ_LANES floats
 *   CLQ_HALVES(p), CLQ_WIDEN(p)                CLQ_LANES binary16 as floats, bytes as int32
 *   CLQ_DOTS(sum, u0, s0, u1, s1)              sum + 4 products of each pair, u unsigned and s signed bytes, where
 *                                              u <= 255 and |s| <= 15, or u <= 15
 *   CLQ_VECTORS                                vectors of columns of the tile, 2 or 4
 *   CLQ_ROWS                                   rows of the tile, 4, 6 or 7
 *   CLQ_FEW_VECTORS, CLQ_PAIR_VECTORS          vectors of columns for one row, and for more of them
 *   CLQ_LIMBS                                  1: rows of 8 bits. 3: real rows, each as three rows of limbs: CLQ_ROWS is a
 *                                              multiple of 3, and
 *   CLQ_NARROW(p, v)                           stores the low bytes of CLQ_LANES int32
 *   CLQ_SIGNED_ROWS                            1, or not defined: the dots want signed bytes on both sides, so A is signed for any
 *                                              number of rows, and sums start at 0
 *
 * A row of limbs is a row of 8 bits until its sums meet those of the other two (clq_groups_add).
 * More than CLQ_FEW rows: weights are unpacked once per block of rows, as w - z in signed bytes, a strip of some columns and
 * 512 elements of K at a time, which stay in the first cache. A is unsigned, a + 128, and every sum starts at
 * -128 * sum(w - z). Up to CLQ_FEW rows: nibbles are split in registers while the weights stream by, A is signed, and every
 * sum starts at -z * sum(a). */
#ifndef CLQ_KERNELS_GROUPS_RUN_H
#define CLQ_KERNELS_GROUPS_RUN_H

#include "kernels/groups_rows.h"

/* ---- Many rows ---- */

struct clq_groups_tile {
    const uint8_t *a; /* row 0, first element of the block */
    size_t lda;
    int8_t *data; /* what was unpacked, in scratch */
    int32_t *init;
    float *scale;
    size_t steps, piece_steps; /* of 4 along K, even */
    const float *units;        /* of row 0, the block's first piece; rows are `pieces` apart */
    size_t pieces;
    bool resume;               /* slot 0 holds sums of the segment's earlier blocks */
    struct clq_groups_end end;
};

/* Two steps; with one instruction per dot all rows take the first one before the second, so that two dots of a sum are a
 * whole step apart. */
CLQ_INLINE void clq_groups_two_steps(CLQ_V c[CLQ_ROWS][CLQ_VECTORS], const uint8_t *const p[3], size_t lda,
                                     const int8_t *b, const int mr)
{
    CLQ_V w[2][CLQ_VECTORS];
#ifdef CLQ_DOT
    CLQ_UNROLL for (int k = 0; k < 2; k++)
    {
        CLQ_UNROLL for (int j = 0; j < CLQ_VECTORS; j++) w[k][j] = CLQ_LOAD(b + 4 * CLQ_LANES * (CLQ_VECTORS * k + j));
        CLQ_UNROLL for (int i = 0; i < mr; i++)
        {
            const CLQ_V x = CLQ_MM(set1_epi32)(*(const clq_dword *)(p[i / 3] + (size_t)(i % 3) * lda + 4 * k));
            CLQ_UNROLL for (int j = 0; j < CLQ_VECTORS; j++) c[i][j] = CLQ_DOT(c[i][j], x, w[k][j]);
        }
    }
#else
    CLQ_UNROLL for (int j = 0; j < 2 * CLQ_VECTORS; j++)
        w[j / CLQ_VECTORS][j % CLQ_VECTORS] = CLQ_LOAD(b + 4 * CLQ_LANES * j);
    CLQ_UNROLL for (int i = 0; i < mr; i++)
    {
        const uint8_t *a = p[i / 3] + (size_t)(i % 3) * lda;
        const CLQ_V x = CLQ_MM(set1_epi32)(*(const clq_dword *)a), z = CLQ_MM(set1_epi32)(*(const clq_dword *)(a + 4));
        CLQ_UNROLL for (int j = 0; j < CLQ_VECTORS; j++) c[i][j] = CLQ_DOTS(c[i][j], x, w[0][j], z, w[1][j]);
    }
#endif
}

/* mr rows of limbs: mr / CLQ_LIMBS rows from `row` on. */
CLQ_INLINE void clq_groups_tile_run(const struct clq_groups_tile *t, size_t row, size_t tiles, const int mr)
{
    const int real = mr / CLQ_LIMBS;
    for (; tiles > 0; tiles--, row += (size_t)real) {
        const size_t lda = t->lda;
        const uint8_t *a = t->a + row * CLQ_LIMBS * lda, *p[3] = {a, a + 3 * lda, a + 6 * lda};
        const int8_t *b = t->data;
        const int32_t *init = t->init;
        const float *scale = t->scale, *unit = t->units + row * t->pieces;
        float *slot = t->end.slots + row * CLQ_STRIP;
        CLQ_VF f[CLQ_ROWS / CLQ_LIMBS][CLQ_VECTORS];
        CLQ_UNROLL for (int i = 0; i < CLQ_VECTORS * real; i++)
            f[i / CLQ_VECTORS][i % CLQ_VECTORS] = t->resume ? CLQ_LOADF(slot + CLQ_LANES * i) : CLQ_MM(setzero_ps)();
        for (size_t left = t->steps; left > 0; init += CLQ_STRIP, scale += CLQ_STRIP, unit++) {
            size_t steps = left < t->piece_steps ? left : t->piece_steps;
            left -= steps;
            CLQ_V c[CLQ_ROWS][CLQ_VECTORS];
            CLQ_UNROLL for (int i = 0; i < CLQ_VECTORS * mr; i++)
                c[i / CLQ_VECTORS][i % CLQ_VECTORS] = CLQ_LOAD(init + CLQ_LANES * (i % CLQ_VECTORS));
            for (; steps > 0; steps -= 2, b += 8 * CLQ_STRIP) {
                clq_groups_two_steps(c, p, lda, b, mr);
                CLQ_UNROLL for (int i = 0; i < mr; i += 3) p[i / 3] += 8;
            }
            CLQ_UNROLL for (int j = 0; j < CLQ_VECTORS; j++)
            {
                const CLQ_VF s = CLQ_LOADF(scale + CLQ_LANES * j);
                CLQ_UNROLL for (int i = 0; i < real; i++)
                    f[i][j] = clq_groups_add(f[i][j], &c[i * CLQ_LIMBS][j], CLQ_VECTORS, unit + (size_t)i * t->pieces, s);
            }
        }
        CLQ_UNROLL for (int i = 0; i < CLQ_VECTORS * real; i++)
            CLQ_STOREF(slot + CLQ_LANES * i, f[i / CLQ_VECTORS][i % CLQ_VECTORS]);
        if (t->end.keep == 0) continue;
        for (size_t r = 0; r < (size_t)real; r++)
            for (size_t at = 0; at < CLQ_STRIP; at += CLQ_LANES)
                clq_groups_finish(&t->end, row + r, at, CLQ_LOADF(slot + CLQ_STRIP * r + at));
    }
}

typedef void clq_groups_tile_fn(const struct clq_groups_tile *t, size_t row, size_t tiles);
#define CLQ_GROUPS_TILE(mr) \
    static __attribute__((noinline)) void tile_##mr(const struct clq_groups_tile *t, size_t row, size_t tiles) \
    { \
        clq_groups_tile_run(t, row, tiles, mr); \
    }
#if CLQ_LIMBS == 1
CLQ_GROUPS_TILE(1)
CLQ_GROUPS_TILE(2)
CLQ_GROUPS_TILE(3)
CLQ_GROUPS_TILE(4)
#if CLQ_ROWS > 4
CLQ_GROUPS_TILE(5)
CLQ_GROUPS_TILE(6)
#endif
#if CLQ_ROWS > 6
CLQ_GROUPS_TILE(7)
#endif
#else
CLQ_GROUPS_TILE(3)
#if CLQ_ROWS > 3
CLQ_GROUPS_TILE(6)
#endif
#endif
static clq_groups_tile_fn *const clq_groups_tiles[CLQ_ROWS / CLQ_LIMBS + 1] = {
    NULL,
#if CLQ_LIMBS == 1
    tile_1, tile_2, tile_3, tile_4,
#if CLQ_ROWS > 4
    tile_5, tile_6,
#endif
#if CLQ_ROWS > 6
    tile_7,
#endif
#else
    tile_3,
#if CLQ_ROWS > 3
    tile_6,
#endif
#endif
};

/* The strip's part of one piece: w - z, its sums times -128, and scales. Returns the end of what was written. */
CLQ_INLINE int8_t *clq_groups_unpack_piece(int8_t *to, int32_t *init, const uint8_t *from, const CLQ_V z[CLQ_VECTORS], size_t k8)
{
    const CLQ_V low = CLQ_MM(set1_epi8)(15), ones = CLQ_MM(set1_epi8)(1);
    CLQ_V sum[CLQ_VECTORS];
    CLQ_UNROLL for (int j = 0; j < CLQ_VECTORS; j++) sum[j] = CLQ_MM(set1_epi32)(0);
    for (; k8 > 0; k8--, from += CLQ_GROUPS_ROW, to += 8 * CLQ_STRIP) {
        CLQ_UNROLL for (int j = 0; j < CLQ_VECTORS; j++)
        {
            const CLQ_V v = CLQ_LOAD(from + 4 * CLQ_LANES * j);
            __builtin_prefetch(from + 8192 + 4 * CLQ_LANES * j, 0, 2);
            const CLQ_V even = CLQ_MM(sub_epi8)(CLQ_AND(v, low), z[j]);
            const CLQ_V odd = CLQ_MM(sub_epi8)(CLQ_AND(CLQ_MM(srli_epi16)(v, 4), low), z[j]);
            CLQ_STORE(to + 4 * CLQ_LANES * j, even);
            CLQ_STORE(to + 4 * CLQ_STRIP + 4 * CLQ_LANES * j, odd);
            if (!CLQ_SIGNED_ROWS) sum[j] = CLQ_DOTS(sum[j], ones, even, ones, odd);
        }
    }
    CLQ_UNROLL for (int j = 0; j < CLQ_VECTORS; j++)
        CLQ_STORE(init + CLQ_LANES * j, CLQ_MM(sub_epi32)(CLQ_MM(set1_epi32)(0), CLQ_MM(slli_epi32)(sum[j], 7)));
    return to;
}

CLQ_INLINE CLQ_V clq_groups_zeros(const struct clq_groups *p, const uint8_t *zero)
{
    if (!p->zeros) return CLQ_MM(set1_epi8)(CLQ_GROUPS_MIDDLE);
    return CLQ_MM(mullo_epi32)(CLQ_WIDEN(zero), CLQ_MM(set1_epi32)(0x01010101));
}

CLQ_INLINE CLQ_VF clq_groups_scales(const struct clq_groups *p, const void *scale, size_t at)
{
    return p->scale_bytes == 2 ? CLQ_HALVES((const uint16_t *)scale + at) : CLQ_LOADF((const float *)scale + at);
}

static void clq_groups_unpack(const struct clq_groups *p, size_t panel, size_t column,
                              const struct clq_groups_block *b, int8_t *data, int32_t *init, float *scale)
{
    const uint8_t *from = clq_groups_data(p, panel) + b->first / 8 * CLQ_GROUPS_ROW + 4 * column;
    struct clq_groups_piece t = clq_groups_piece_of(p, b->group);
    for (; t.first < b->first + b->k; t = clq_groups_piece_after(p, &t)) {
        const size_t at = t.group * CLQ_GROUPS_WIDTH + column, k8 = (t.k + 7) / 8;
        CLQ_V z[CLQ_VECTORS];
        CLQ_UNROLL for (int j = 0; j < CLQ_VECTORS; j++)
        {
            z[j] = clq_groups_zeros(p, clq_groups_zero(p, panel) + at + CLQ_LANES * (size_t)j);
            CLQ_STOREF(scale + CLQ_LANES * j,
                       clq_groups_scales(p, clq_groups_scale(p, panel), at + CLQ_LANES * (size_t)j));
        }
        data = clq_groups_unpack_piece(data, init, from, z, k8);
        from += k8 * CLQ_GROUPS_ROW;
        init += CLQ_STRIP;
        scale += CLQ_STRIP;
    }
}

/* All rows of a block times one strip. t: a, lda and end.y, ldy, width, bias, scale_a are set. */
static void clq_groups_strip(const struct clq_groups *p, struct clq_groups_tile *t, size_t rows, size_t panel,
                             size_t column)
{
    const uint8_t *a = t->a;
    const float *units = t->units;
    const size_t most = CLQ_ROWS / CLQ_LIMBS, tiles = (rows + most - 1) / most, each = rows / tiles, big = rows % tiles;
    for (size_t first = 0; first < p->k;) {
        const struct clq_groups_block b = clq_groups_block_at(p, first, CLQ_BLOCK);
        clq_groups_unpack(p, panel, column, &b, t->data, t->init, t->scale);
        t->a = a + first;
        t->units = units + clq_groups_pieces(p, b.group);
        t->steps = (b.k + 7) / 8 * 2;
        t->resume = !b.opens;
        if (b.closes)
            clq_groups_close(&t->end, p, b.segment);
        else
            t->end.merge = t->end.keep = t->end.last = 0;
        if (big > 0) clq_groups_tiles[each + 1](t, 0, big);
        clq_groups_tiles[each](t, big * (each + 1), tiles - big);
        first += b.k;
    }
    t->a = a;
    t->units = units;
}

static void clq_groups_many(const struct clq_gemm_u4_args *g, size_t row, size_t rows, size_t panel, size_t end)
{
    const struct clq_groups *p = g->packed;
    const struct clq_groups_parts part = clq_groups_parts_make(g);
    char *scratch = g->scratch;
    const bool copies = clq_groups_copies(g);
    struct clq_groups_tile t = {
        .a = copies ? (uint8_t *)scratch + part.rows : (const uint8_t *)g->a + row * g->lda,
        .lda = copies ? clq_groups_distance(p->k8) : g->lda,
        .data = (int8_t *)(scratch + part.data),
        .init = (int32_t *)(void *)(scratch + part.init),
        .scale = (float *)(void *)(scratch + part.scale),
        .piece_steps = (clq_groups_most(p) + 7) / 8 * 2,
        .units = (const float *)(void *)(scratch + part.units),
        .pieces = clq_groups_pieces(p, p->count),
        .end = {.slots = (float *)(void *)(scratch + part.slots),
                .slot = rows * CLQ_STRIP,
                .stride = CLQ_STRIP,
                .ldy = g->ldy,
                .scale_a = g->scale_a + row},
    };
    for (; panel < end; panel++) {
        for (size_t c = 0; c < CLQ_GROUPS_WIDTH; c += CLQ_STRIP) {
            const size_t n = panel * CLQ_GROUPS_WIDTH + c;
            if (n >= p->n) return;
            t.end.width = p->n - n;
            t.end.y = g->y + row * g->ldy + n;
            t.end.bias = g->bias ? g->bias + n : NULL;
            clq_groups_strip(p, &t, rows, panel, c);
        }
    }
}

/* ---- Few rows ---- */

enum { CLQ_FEW_ROWS = CLQ_LIMBS == 1 ? 4 : 6 };

struct clq_groups_few {
    const struct clq_groups *p;
    const int8_t *a;     /* signed rows */
    const int32_t *sums; /* [row of limbs][pieces] */
    const float *units;  /* [row][pieces] */
    size_t panel, column;
    struct clq_groups_end end;
};

static inline void clq_groups_sums(const struct clq_groups *p, const int8_t *a, int32_t *sums, size_t rows)
{
    const size_t pieces = clq_groups_pieces(p, p->count);
    for (size_t r = 0; r < rows; r++, a += clq_groups_distance(p->k8)) {
        struct clq_groups_piece t = clq_groups_piece_of(p, 0);
        for (size_t i = 0; i < pieces; i++, t = clq_groups_piece_after(p, &t)) {
            int32_t sum = 0;
            for (size_t k = t.first; k < t.first + t.k; k++) sum += a[k];
            *sums++ = sum;
        }
    }
}

CLQ_INLINE void clq_groups_nibbles(CLQ_V *even, CLQ_V *odd, const uint8_t *from)
{
    const CLQ_V low = CLQ_MM(set1_epi8)(15), v = CLQ_LOAD(from);
    __builtin_prefetch(from + 4096, 0, 3);
    *even = CLQ_AND(v, low);
    *odd = CLQ_AND(CLQ_MM(srli_epi16)(v, 4), low);
}

/* The dots of one piece. */
CLQ_INLINE void clq_groups_few_dots(CLQ_V c[CLQ_FEW_ROWS][CLQ_FEW_VECTORS], const int8_t *a, size_t lda, const uint8_t *from,
                                    size_t k8, const int mr, const int nv)
{
    for (; k8 > 0; k8--, from += CLQ_GROUPS_ROW, a += 8) {
        CLQ_V even[4], odd[4];
        if (nv > CLQ_PAIR_VECTORS) { /* as many columns as the registers hold */
            CLQ_V x[CLQ_LIMBS], z[CLQ_LIMBS];
            CLQ_UNROLL for (int i = 0; i < CLQ_LIMBS; i++)
            {
                const clq_dword *at = (const clq_dword *)(a + (size_t)i * lda);
                x[i] = CLQ_MM(set1_epi32)(at[0]), z[i] = CLQ_MM(set1_epi32)(at[1]);
            }
            CLQ_UNROLL for (int j = 0; j < nv; j++)
            {
                clq_groups_nibbles(&even[0], &odd[0], from + 4 * CLQ_LANES * j);
                CLQ_UNROLL for (int i = 0; i < CLQ_LIMBS; i++) c[i][j] = CLQ_DOTS(c[i][j], even[0], x[i], odd[0], z[i]);
            }
            continue;
        }
        CLQ_UNROLL for (int j = 0; j < nv; j++) clq_groups_nibbles(&even[j], &odd[j], from + 4 * CLQ_LANES * j);
        CLQ_UNROLL for (int i = 0; i < mr; i++)
        {
            const clq_dword *at = (const clq_dword *)(a + (size_t)i * lda);
            const CLQ_V x = CLQ_MM(set1_epi32)(at[0]), z = CLQ_MM(set1_epi32)(at[1]);
            CLQ_UNROLL for (int j = 0; j < nv; j++) c[i][j] = CLQ_DOTS(c[i][j], even[j], x, odd[j], z);
        }
    }
}

/* mr rows of limbs, from row `row` on, times nv vectors of columns, all of K. */
CLQ_INLINE void clq_groups_few_run(struct clq_groups_few *t, size_t row, const int mr, const int nv)
{
    const struct clq_groups *p = t->p;
    const size_t lda = clq_groups_distance(p->k8), pieces = clq_groups_pieces(p, p->count), segment = clq_groups_segment(p);
    const uint8_t *from = clq_groups_data(p, t->panel) + 4 * t->column, *zero = clq_groups_zero(p, t->panel) + t->column;
    const void *scale = clq_groups_scale(p, t->panel);
    const int8_t *a = t->a + row * CLQ_LIMBS * lda;
    const int32_t *sums = t->sums + row * CLQ_LIMBS * pieces;
    const float *unit = t->units + row * pieces;
    const int real = mr / CLQ_LIMBS;
    struct clq_groups_piece at = clq_groups_piece_of(p, 0);
    for (size_t stop = segment, done = 0; at.first < p->k; stop += segment, done++) {
        CLQ_VF f[CLQ_FEW_ROWS / CLQ_LIMBS][CLQ_FEW_VECTORS];
        CLQ_UNROLL for (int i = 0; i < real * nv; i++) f[i / nv][i % nv] = CLQ_MM(setzero_ps)();
        for (; at.first < p->k && at.first < stop; at = clq_groups_piece_after(p, &at), sums++, unit++) {
            const size_t k8 = (at.k + 7) / 8, column = at.group * CLQ_GROUPS_WIDTH;
            CLQ_V c[CLQ_FEW_ROWS][CLQ_FEW_VECTORS];
            CLQ_UNROLL for (int j = 0; j < nv; j++)
            {
                const CLQ_V z = p->zeros ? CLQ_WIDEN(zero + column + CLQ_LANES * (size_t)j)
                                         : CLQ_MM(set1_epi32)(CLQ_GROUPS_MIDDLE);
                CLQ_UNROLL for (int r = 0; r < mr; r++)
                    c[r][j] = CLQ_MM(mullo_epi32)(z, CLQ_MM(set1_epi32)(-sums[(size_t)r * pieces]));
            }
            clq_groups_few_dots(c, a + at.first, lda, from, k8, mr, nv);
            from += k8 * CLQ_GROUPS_ROW;
            CLQ_UNROLL for (int j = 0; j < nv; j++)
            {
                const CLQ_VF s = clq_groups_scales(p, scale, column + t->column + CLQ_LANES * (size_t)j);
                CLQ_UNROLL for (int r = 0; r < real; r++)
                    f[r][j] = clq_groups_add(f[r][j], &c[r * CLQ_LIMBS][j], CLQ_FEW_VECTORS, unit + (size_t)r * pieces, s);
            }
        }
        clq_groups_close(&t->end, p, done);
        CLQ_UNROLL for (int i = 0; i < real * nv; i++)
            clq_groups_finish(&t->end, row + (size_t)(i / nv), (size_t)(i % nv) * CLQ_LANES, f[i / nv][i % nv]);
    }
}

typedef void clq_groups_few_fn(struct clq_groups_few *t, size_t row);
#define CLQ_GROUPS_FEW(mr, nv) \
    static __attribute__((noinline)) void few_##mr(struct clq_groups_few *t, size_t row) \
    { \
        clq_groups_few_run(t, row, mr, nv); \
    }
#if CLQ_LIMBS == 1
CLQ_GROUPS_FEW(1, CLQ_FEW_VECTORS)
CLQ_GROUPS_FEW(2, CLQ_PAIR_VECTORS)
CLQ_GROUPS_FEW(3, CLQ_PAIR_VECTORS)
CLQ_GROUPS_FEW(4, CLQ_PAIR_VECTORS)
static clq_groups_few_fn *const clq_groups_few_by_rows[] = {NULL, few_1, few_2, few_3, few_4};
#else
CLQ_GROUPS_FEW(3, CLQ_FEW_VECTORS)
CLQ_GROUPS_FEW(6, CLQ_PAIR_VECTORS)
static clq_groups_few_fn *const clq_groups_few_by_rows[] = {NULL, few_3, few_6};
#endif

static void clq_groups_few_rows(const struct clq_gemm_u4_args *g, size_t panel, size_t end)
{
    const struct clq_groups_parts part = clq_groups_parts_make(g);
    char *scratch = g->scratch;
    struct clq_groups_few t = {
        .p = g->packed,
        .a = (int8_t *)(scratch + part.rows),
        .sums = (int32_t *)(void *)(scratch + part.sums),
        .units = (const float *)(void *)(scratch + part.units),
        .end = {.slots = (float *)(void *)(scratch + part.slots),
                .slot = g->m * CLQ_GROUPS_WIDTH,
                .stride = CLQ_GROUPS_WIDTH,
                .ldy = g->ldy,
                .scale_a = g->scale_a},
    };
    const size_t n = t.p->n;
    for (t.panel = panel; t.panel < end; t.panel++) {
        for (size_t row = 0; row < g->m;) {
            const size_t left = g->m - row, rows = left > CLQ_FEW / 2 ? (left + 1) / 2 : left;
            const size_t step = CLQ_LANES * (rows > 1 ? CLQ_PAIR_VECTORS : CLQ_FEW_VECTORS);
            for (t.column = 0; t.column < CLQ_GROUPS_WIDTH; t.column += step) {
                const size_t at = t.panel * CLQ_GROUPS_WIDTH + t.column;
                if (at >= n) break;
                t.end.width = n - at;
                t.end.y = g->y + at;
                t.end.bias = g->bias ? g->bias + at : NULL;
                clq_groups_few_by_rows[rows](&t, row);
            }
            row += rows;
        }
    }
}

static void clq_groups_run(const struct clq_gemm_u4_args *g)
{
    const struct clq_groups *p = g->packed;
    const struct clq_groups_grid grid = clq_groups_grid_make(g->m, g->n, g->k, CLQ_LIMBS);
    const struct clq_groups_parts part = clq_groups_parts_make(g);
    const size_t count = clq_groups_panels(g->n);
    uint8_t *rows = (uint8_t *)g->scratch + part.rows;
    size_t copied = SIZE_MAX;
    for (size_t u = g->unit_begin; u < g->unit_end; u++) {
        const size_t block = u / grid.ranges, panel = u % grid.ranges * grid.panels, row = block * grid.rows;
        const size_t end = panel + grid.panels < count ? panel + grid.panels : count;
        const size_t taken = g->m - row < grid.rows ? g->m - row : grid.rows;
        const bool few = g->m <= CLQ_FEW;
        if (copied != block && (few || clq_groups_copies(g))) {
#if CLQ_LIMBS > 1
            clq_groups_split(g, rows, (float *)(void *)((char *)g->scratch + part.units), row, taken, few || CLQ_SIGNED_ROWS);
#else
            clq_groups_copy(g, rows, row, taken, (few || CLQ_SIGNED_ROWS) == g->flipped);
#endif
            if (few) clq_groups_sums(p, (int8_t *)rows, (int32_t *)(void *)((char *)g->scratch + part.sums), taken * CLQ_LIMBS);
        }
        copied = block;
        if (few)
            clq_groups_few_rows(g, panel, end);
        else
            clq_groups_many(g, row, taken, panel, end);
    }
}

#endif
