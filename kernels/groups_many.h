/* SPDX-License-Identifier: Apache-2.0
 * Many rows of the product with 4-bit weights: weights are unpacked once per block of rows, as w - z in signed bytes, a strip
 * of some columns and 512 elements of K at a time, which stay in the first cache. The macros are those of groups_run.h; who
 * includes this defines clq_groups_block. */
#ifndef CLQ_KERNELS_GROUPS_MANY_H
#define CLQ_KERNELS_GROUPS_MANY_H

#include "kernels/groups_rows.h"

struct clq_groups_tile {
    const uint8_t *a; /* row 0, first element of the block */
    size_t lda;
    int8_t *data; /* what was unpacked, in scratch */
    int32_t *init;
    float *scale;
    size_t steps, piece_steps; /* of 4 along K, even */
    size_t depth;              /* of a tile register */
    const float *units;        /* of row 0, the block's first piece; rows are `pieces` apart */
    size_t pieces;
    bool resume;               /* slot 0 holds sums of the segment's earlier blocks */
    struct clq_groups_end end;
};

/* Adds a block of K to the sums of all rows, and finishes them behind the last one. */
static void clq_groups_block(const struct clq_groups_tile *t, size_t rows);

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
        clq_groups_block(t, rows);
        first += b.k;
    }
    t->a = a;
    t->units = units;
}

static void clq_groups_many(const struct clq_gemm_u4_args *g, size_t row, size_t rows, size_t panel, size_t end, size_t depth)
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
        .depth = depth,
        .piece_steps = (clq_groups_most(p) + 7) / 8 * 2,
        .units = clq_groups_row_units(g, &part, row),
        .pieces = clq_groups_pieces(p, p->count),
        .end = {.slots = (float *)(void *)(scratch + part.slots),
                .slot = (rows + CLQ_TILE - 1) / CLQ_TILE * CLQ_TILE * CLQ_STRIP,
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

/* The sums of all pieces of some rows: of four neighbors at a time, then of each piece's. Inlined, its constants would be spilled
 * in the loop over units. */
static __attribute__((noinline)) void clq_groups_sums(const struct clq_groups *p, const int8_t *a, int32_t *fours, int32_t *sums, size_t rows)
{
    const size_t pieces = clq_groups_pieces(p, p->count);
    const CLQ_V ones = CLQ_MM(set1_epi8)(1), none = CLQ_MM(set1_epi32)(0);
    for (size_t r = 0; r < rows; r++, a += clq_groups_distance(p->k8)) {
        for (size_t k = 0; k < 8 * p->k8; k += 4 * CLQ_LANES) CLQ_STORE(fours + k / 4, CLQ_DOTS(none, ones, CLQ_LOAD(a + k), none, none));
        struct clq_groups_piece t = clq_groups_piece_of(p, 0);
        for (size_t i = 0, k = 0; i < pieces; i++, t = clq_groups_piece_after(p, &t)) {
            int32_t sum = 0;
            for (size_t n = (t.k + 7) / 8; n > 0; n--, k += 2) sum += fours[k] + fours[k + 1];
            *sums++ = sum;
        }
    }
}

/* few_rows: what runs up to CLQ_FEW rows. depth: for clq_groups_block. */
static inline void clq_groups_units(const struct clq_gemm_u4_args *g, void (*few_rows)(const struct clq_gemm_u4_args *g, size_t panel, size_t end), size_t depth)
{
    const struct clq_groups *p = g->packed;
    const struct clq_grid grid = clq_groups_grid_make(g->m, g->n, g->k, CLQ_LIMBS);
    const struct clq_groups_parts part = clq_groups_parts_make(g);
    const size_t count = clq_groups_panels(g->n);
    uint8_t *rows = (uint8_t *)g->scratch + part.rows;
    struct clq_grid_part w, copied = {0};
    for (size_t u = g->unit_begin; u < g->unit_end; u += w.units) {
        w = clq_grid_part(&grid, g->m, u, g->unit_end);
        const size_t end = w.panel + grid.panels < count ? w.panel + grid.panels : count;
        const bool few = g->m <= CLQ_FEW;
        if ((copied.row != w.row || copied.rows != w.rows) && (few || clq_groups_copies(g))) {
#if CLQ_LIMBS > 1
            clq_groups_split(g, rows, (float *)(void *)((char *)g->scratch + part.units), w.row, w.rows, few || CLQ_SIGNED_ROWS);
#else
            clq_groups_copy(g, rows, w.row, w.rows, (few || CLQ_SIGNED_ROWS) == g->flipped);
#endif
            if (few)
                clq_groups_sums(p, (int8_t *)rows, (int32_t *)(void *)((char *)g->scratch + part.fours),
                                (int32_t *)(void *)((char *)g->scratch + part.sums), w.rows * CLQ_LIMBS);
        }
        copied = w;
        if (few)
            few_rows(g, w.panel, end);
        else
            clq_groups_many(g, w.row, w.rows, w.panel, end, depth);
    }
}

#endif
