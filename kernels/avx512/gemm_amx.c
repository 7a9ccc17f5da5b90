/* SPDX-License-Identifier: Apache-2.0
 * The AMX tiles: 32 x 32 sums in four tile registers, from two tiles of rows and two of columns. A panel as it is packed for
 * VNNI is a tile of columns too: its row distance is the panel's width. Sums of up to 32 rows and 64 columns go through 8 KiB
 * of stack, twice, to the epilogue of the VNNI tiles.
 *
 * A tile is as deep as the largest divisor of a segment's steps that fits, so no depth remains over. Where that is too
 * shallow, or the rows are too few to fill tiles, the strip runs on the VNNI tiles. */
#include "kernels/avx512/gemm_amx.h"

#include "kernels/avx512/amx.h"
#include "kernels/avx512/gemm_tile.h"
#include "kernels/avx512/gemm_vnni.h"

enum { TILE = 16, MOST_ROWS = 2 * TILE, MOST_COLUMNS = 64, LEAST_ROWS = 8, LEAST_DEPTH = 6, LEAST_STEPS = 16 };

#define ZERO(t) CLQ_AMX_ZERO(t)
#define LOAD(t, from, distance) CLQ_AMX_LOAD(t, from, distance)
#define STORE(t, to) CLQ_AMX_STORE(t, to, 4 * MOST_COLUMNS)
#define DOT_AS(name, sum, row, column) CLQ_AMX_DOT(name, sum, row, column)
/* Rows of int8 meet weights of uint8, the others weights of int8. */
#define DOT(sum, row, column) \
    do { \
        if (signed_rows) DOT_AS("tdpbsud", sum, row, column); \
        else DOT_AS("tdpbusd", sum, row, column); \
    } while (0)

struct block {
    const uint8_t *a; /* the first of its rows */
    const int8_t *b;  /* its first column, step 0 */
    size_t width;     /* bytes of one step of the panel */
    size_t depth;     /* steps of a tile */
    size_t lower;     /* the first row of the lower tiles */
};

/* Rows whose sums are there and whose results are not. Vector instructions run beside those of the tiles: a few rows are
 * finished in every step of the next block. */
struct unfinished {
    const int32_t *sums, *row_bias; /* row_bias: NULL with rows of uint8 */
    const struct clq_tile *tile;
    uint8_t *y;
    size_t rows, per_step;
};

/* One to four rows, as many as one vector of codes holds. */
CLQ_INLINE void finish_some(struct unfinished *u, const int mr, const int nv)
{
    const struct clq_tile *t = u->tile;
    __m512i c[4];
    CLQ_UNROLL for (int i = 0; i < mr; i++)
    {
        CLQ_UNROLL for (int j = 0; j < nv; j++)
        {
            const int32_t *sums = u->sums + MOST_COLUMNS * i + TILE * j;
            c[i * nv + j] = _mm512_add_epi32(_mm512_loadu_si512(sums), _mm512_loadu_si512(t->bias + TILE * j));
            if (u->row_bias) c[i * nv + j] = _mm512_add_epi32(c[i * nv + j], _mm512_set1_epi32(u->row_bias[i]));
        }
    }
    if (u->row_bias) u->row_bias += mr;
    if (t->finish == CLQ_FINISH_SHORT)
        clq_tile_codes(t, c, u->y, mr, nv, CLQ_FINISH_SHORT);
    else if (t->finish == CLQ_FINISH_CODES)
        clq_tile_codes(t, c, u->y, mr, nv, CLQ_FINISH_CODES);
    else if (t->finish == CLQ_FINISH_F32)
        clq_tile_words(t, c, u->y, mr, nv, CLQ_FINISH_F32);
    else
        clq_tile_words(t, c, u->y, mr, nv, CLQ_FINISH_S32);
    u->sums += MOST_COLUMNS * mr;
    u->y += (size_t)mr * t->ldy;
    u->rows -= (size_t)mr;
}

CLQ_INLINE void finish_step(struct unfinished *u, const int nv)
{
    const int mr = nv < 3 ? 4 / nv : 1;
    for (size_t i = u->per_step; i > 0 && u->rows >= (size_t)mr; i--) finish_some(u, mr, nv);
}

CLQ_INLINE void finish_all(struct unfinished *u, const int nv)
{
    const int mr = nv < 3 ? 4 / nv : 1;
    while (u->rows >= (size_t)mr) finish_some(u, mr, nv);
    while (u->rows > 0) finish_some(u, 1, nv);
}

/* Sums of one block of one or two tiles in each direction. */
CLQ_INLINE void sum_block(const struct clq_strip *s, const struct block *k, struct unfinished *u, int32_t *sums,
                          const bool two_rows, const bool two_columns, const int nv, const bool signed_rows)
{
    const int8_t *b = k->b;
    ZERO(0);
    if (two_columns) ZERO(1);
    if (two_rows) ZERO(2);
    if (two_rows && two_columns) ZERO(3);
    for (size_t g = 0; g < s->segments; g++) {
        const uint8_t *a = k->a + s->offset[g], *lower = a + k->lower * s->lda;
        for (size_t i = 0; i < s->steps; i += k->depth) {
            LOAD(6, b, k->width);
            if (two_columns) LOAD(7, b + 64, k->width);
            LOAD(4, a + 4 * i, s->lda);
            DOT(0, 4, 6);
            if (two_columns) DOT(1, 4, 7);
            if (two_rows) {
                LOAD(5, lower + 4 * i, s->lda);
                DOT(2, 5, 6);
                if (two_columns) DOT(3, 5, 7);
            }
            b += k->depth * k->width;
            finish_step(u, nv);
        }
    }
    STORE(0, sums);
    if (two_columns) STORE(1, sums + TILE);
    if (two_rows) STORE(2, sums + k->lower * MOST_COLUMNS);
    if (two_rows && two_columns) STORE(3, sums + k->lower * MOST_COLUMNS + TILE);
}

/* All columns of up to 32 rows, and the rest of the rows before. */
CLQ_INLINE void sum_rows(const struct clq_strip *s, struct block k, struct unfinished *u, int32_t *sums,
                         const bool two_rows, const int nv, const bool signed_rows)
{
    sum_block(s, &k, u, sums, two_rows, nv > 1, nv, signed_rows);
    k.b += 128;
    if (nv > 2) sum_block(s, &k, u, sums + 2 * TILE, two_rows, nv > 3, nv, signed_rows);
    finish_all(u, nv);
}

/* All rows of a strip. A last tile begins as early as it must to be full: some rows are computed twice. */
CLQ_INLINE void run_strip(const struct clq_strip *s, const struct clq_tile *t, struct unfinished *u, int32_t sums[2][MOST_ROWS * MOST_COLUMNS],
                          size_t depth, size_t tile, const int nv, const bool signed_rows)
{
    uint8_t *y = clq_tile_output(s);
    for (size_t row = 0; row < s->rows; row += MOST_ROWS) {
        const size_t left = s->rows - row, rows = left < MOST_ROWS ? left : MOST_ROWS;
        const size_t upper = rows <= tile ? s->rows - tile : row;
        const struct block k = {.a = s->a + upper * s->lda, .b = t->data, .width = 64 * (size_t)nv, .depth = depth, .lower = rows - tile};
        int32_t *to = u->sums == sums[0] ? sums[1] : sums[0];
        if (rows > tile) sum_rows(s, k, u, to, true, nv, signed_rows);
        else sum_rows(s, k, u, to, false, nv, signed_rows);
        u->sums = to;
        u->tile = t;
        if (signed_rows) u->row_bias = s->row_bias + upper;
        u->y = y + upper * t->ldy;
        u->rows = rows > tile ? rows : tile;
    }
}

/* All lines with panels of the same width. What is unfinished may be of the panel before, never of one before that. */
CLQ_INLINE void run_panels(const struct clq_strips *g, size_t panels, size_t depth, size_t tile, const int nv, const bool signed_rows)
{
    _Alignas(64) int32_t sums[2][MOST_ROWS * MOST_COLUMNS];
    struct clq_tile t[2];
    struct clq_strip s = g->strip;
    const size_t steps = s.segments * (s.steps / depth) * (nv > 2 ? 2 : 1), vectors = (size_t)(nv < 3 ? MOST_ROWS * nv / 4 : MOST_ROWS);
    struct unfinished u = {.per_step = (vectors + steps - 1) / steps};
    for (size_t p = 0; p < panels; p++, s.panel++) {
        s.y = g->strip.y;
        t[p % 2] = clq_tile_make(&s, (size_t)nv, false); /* the second half of a doubled vector is not stored */
        for (size_t line = 0; line < g->lines; line++) {
            s.a = g->strip.a + line * g->line_a;
            s.y = (uint8_t *)g->strip.y + line * g->line_y;
            run_strip(&s, &t[p % 2], &u, sums, depth, tile, nv, signed_rows);
        }
    }
    finish_all(&u, nv);
}

#define RUN(name, nv, signed_rows) \
    static __attribute__((noinline)) void name##_##nv(const struct clq_strips *g, size_t panels, size_t depth, size_t tile) \
    { \
        run_panels(g, panels, depth, tile, nv, signed_rows); \
    }
#define RUNS(name, signed_rows) RUN(name, 1, signed_rows) RUN(name, 2, signed_rows) RUN(name, 3, signed_rows) RUN(name, 4, signed_rows)
RUNS(run, false)
RUNS(run_s8, true)

static size_t depth_of(size_t steps)
{
    size_t depth = steps < TILE ? steps : TILE;
    while (steps % depth != 0) depth--;
    return depth;
}

static size_t panel_vectors(const struct clq_strip *s)
{
    const size_t columns = s->packed->columns;
    return (clq_panels_start(columns, s->panel + 1) - clq_panels_start(columns, s->panel)) / TILE;
}

void clq_strips_amx(const struct clq_strips *g)
{
    static void (*const run[2][4])(const struct clq_strips *g, size_t panels, size_t depth, size_t tile) = {
        {run_1, run_2, run_3, run_4}, {run_s8_1, run_s8_2, run_s8_3, run_s8_4}};
    struct clq_strips rest = *g;
    struct clq_strip *s = &rest.strip;
    const size_t depth = s->steps ? depth_of(s->steps) : 0;
    if (s->rows < LEAST_ROWS || depth < LEAST_DEPTH || s->segments * s->steps < LEAST_STEPS) {
        clq_strips_each(g, clq_strip_vnni);
        return;
    }
    const size_t tile = s->rows < TILE ? s->rows : TILE;
    clq_amx_configure(tile, depth);
    while (rest.panels > 0) {
        const size_t nv = panel_vectors(s);
        struct clq_strip next = *s;
        size_t same = 0;
        while (same < rest.panels && panel_vectors(&next) == nv) {
            same++;
            next.panel++;
        }
        run[s->row_bias != NULL][nv - 1](&rest, same, depth, tile);
        s->panel += same;
        rest.panels -= same;
    }
    CLQ_AMX_RELEASE();
}
