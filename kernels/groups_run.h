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
 *   CLQ_UNITS                                  1, or not defined: rows of 8 bits have a scale per group (gemm_g8u4)
 *   CLQ_SIGNED_ROWS                            1, or not defined: the dots want signed bytes on both sides, so A is signed for any
 *                                              number of rows, and sums start at 0
 *
 * A row of limbs is a row of 8 bits until its sums meet those of the other two (clq_groups_add).
 * More than CLQ_FEW rows (groups_many.h): A is unsigned, a + 128, and every sum starts at -128 * sum(w - z). Up to CLQ_FEW
 * rows: nibbles are split in registers while the weights stream by, A is signed, and every sum starts at -z * sum(a). */
#ifndef CLQ_KERNELS_GROUPS_RUN_H
#define CLQ_KERNELS_GROUPS_RUN_H

#include "kernels/groups_many.h"

/* ---- Many rows ---- */

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
        const enum clq_groups_way way = clq_groups_way(&t->end);
        if (way == CLQ_GROUPS_TO_Y) {
            clq_groups_to_y(&t->end, row, 0, &f[0][0], real, CLQ_VECTORS);
            continue;
        }
        float *to = way == CLQ_GROUPS_TO_SLOT ? slot + t->end.keep * t->end.slot : slot;
        CLQ_UNROLL for (int i = 0; i < CLQ_VECTORS * real; i++)
            CLQ_STOREF(to + CLQ_LANES * i, f[i / CLQ_VECTORS][i % CLQ_VECTORS]);
        if (way == CLQ_GROUPS_TO_SLOT) continue;
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

static void clq_groups_block(const struct clq_groups_tile *t, size_t rows)
{
    const size_t most = CLQ_ROWS / CLQ_LIMBS, tiles = (rows + most - 1) / most, each = rows / tiles, big = rows % tiles;
    if (big > 0) clq_groups_tiles[each + 1](t, 0, big);
    clq_groups_tiles[each](t, big * (each + 1), tiles - big);
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
        .units = clq_groups_row_units(g, &part, 0),
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
    clq_groups_units(g, clq_groups_few_rows, 0);
}

#endif
