/* SPDX-License-Identifier: Apache-2.0
 * The AMX tiles: 32 x 32 sums in four tile registers, from two tiles of rows and two of columns. A panel as it is packed for
 * VNNI is a tile of columns too: its row distance is the panel's width. Sums of up to 32 rows and 64 columns go through 8 KiB
 * of stack to the epilogue of the VNNI tiles.
 *
 * A tile is as deep as the largest divisor of a segment's steps that fits, so no depth remains over. Where that is too
 * shallow, or the rows are too few to fill tiles, the strip runs on the VNNI tiles. */
#include "kernels/avx512/gemm_amx.h"

#include "kernels/avx512/gemm_tile.h"
#include "kernels/avx512/gemm_vnni.h"

enum { TILE = 16, MOST_ROWS = 2 * TILE, MOST_COLUMNS = 64, LEAST_ROWS = 8, LEAST_DEPTH = 6, LEAST_STEPS = 16 };

/* The operand of ldtilecfg. Tiles 0 to 3 hold sums, 4 and 5 rows, 6 and 7 columns. */
struct config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

static void configure(size_t rows, size_t depth)
{
    struct config c = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        c.rows[i] = (uint8_t)(i >= 6 ? depth : rows);
        c.row_bytes[i] = (uint16_t)(i == 4 || i == 5 ? 4 * depth : 64);
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(c));
}

#define ZERO(t) __asm__ volatile("tilezero %%tmm" #t : :)
#define LOAD(t, from, distance) __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t : : "r"(from), "r"(distance) : "memory")
#define STORE(t, to) __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" : : "r"(to), "r"((size_t)(4 * MOST_COLUMNS)) : "memory")
#define DOT(sum, row, column) __asm__ volatile("tdpbusd %%tmm" #column ", %%tmm" #row ", %%tmm" #sum : :)

struct block {
    const uint8_t *a; /* the first of its rows */
    const int8_t *b;  /* its first column, step 0 */
    size_t width;     /* bytes of one step of the panel */
    size_t depth;     /* steps of a tile */
    size_t lower;     /* the first row of the lower tiles */
};

/* Sums of one block of one or two tiles in each direction. */
CLQ_INLINE void sum_block(const struct clq_strip *s, const struct block *k, int32_t *sums, const bool two_rows, const bool two_columns)
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
        }
    }
    STORE(0, sums);
    if (two_columns) STORE(1, sums + TILE);
    if (two_rows) STORE(2, sums + k->lower * MOST_COLUMNS);
    if (two_rows && two_columns) STORE(3, sums + k->lower * MOST_COLUMNS + TILE);
}

/* All columns of up to 32 rows. */
static void sum_rows(const struct clq_strip *s, struct block k, int32_t *sums, bool two_rows)
{
    const size_t columns = k.width / 4;
    for (size_t c = 0; c < columns; c += 2 * TILE, k.b += 128, sums += 2 * TILE) {
        const bool two_columns = columns - c > TILE;
        if (two_rows && two_columns) sum_block(s, &k, sums, true, true);
        else if (two_rows) sum_block(s, &k, sums, true, false);
        else if (two_columns) sum_block(s, &k, sums, false, true);
        else sum_block(s, &k, sums, false, false);
    }
}

/* One to four rows, as many as one vector of codes holds. */
CLQ_INLINE void finish_some(const struct clq_tile *t, const int32_t *sums, uint8_t *y, const int mr, const int nv)
{
    __m512i c[4];
    CLQ_UNROLL for (int i = 0; i < mr; i++)
    {
        CLQ_UNROLL for (int j = 0; j < nv; j++)
        {
            c[i * nv + j] = _mm512_add_epi32(_mm512_loadu_si512(sums + MOST_COLUMNS * i + TILE * j), _mm512_loadu_si512(t->bias + TILE * j));
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

CLQ_INLINE void finish_rows(const struct clq_tile *t, const int32_t *sums, uint8_t *y, size_t rows, const int mr, const int nv)
{
    for (; rows >= (size_t)mr; rows -= (size_t)mr, sums += mr * MOST_COLUMNS, y += (size_t)mr * t->ldy) finish_some(t, sums, y, mr, nv);
    for (; mr > 1 && rows > 0; rows--, sums += MOST_COLUMNS, y += t->ldy) finish_some(t, sums, y, 1, nv);
}

static void finish(const struct clq_tile *t, const int32_t *sums, uint8_t *y, size_t rows, size_t nv)
{
    if (nv == 1) finish_rows(t, sums, y, rows, 4, 1);
    else if (nv == 2) finish_rows(t, sums, y, rows, 2, 2);
    else if (nv == 3) finish_rows(t, sums, y, rows, 1, 3);
    else finish_rows(t, sums, y, rows, 1, 4);
}

static size_t depth_of(size_t steps)
{
    size_t depth = steps < TILE ? steps : TILE;
    while (steps % depth != 0) depth--;
    return depth;
}

void clq_strip_amx(const struct clq_strip *s)
{
    _Alignas(64) int32_t sums[MOST_ROWS * MOST_COLUMNS];
    const size_t depth = s->steps ? depth_of(s->steps) : 0;
    if (s->rows < LEAST_ROWS || depth < LEAST_DEPTH || s->segments * s->steps < LEAST_STEPS) {
        clq_strip_vnni(s);
        return;
    }
    const struct clq_panels *p = s->packed;
    const size_t columns = clq_panels_start(p->columns, s->panel + 1) - clq_panels_start(p->columns, s->panel), nv = columns / TILE;
    const struct clq_tile t = clq_tile_make(s, nv, false); /* the second half of a doubled vector is not stored */
    const size_t tile = s->rows < TILE ? s->rows : TILE;
    uint8_t *y = clq_tile_output(s);
    configure(tile, depth);
    for (size_t row = 0; row < s->rows; row += MOST_ROWS) {
        const size_t left = s->rows - row, rows = left < MOST_ROWS ? left : MOST_ROWS;
        /* A last tile begins as early as it must to be full: some rows are computed twice. */
        const size_t upper = rows <= tile ? s->rows - tile : row;
        const struct block k = {.a = s->a + upper * s->lda, .b = t.data, .width = 4 * columns, .depth = depth, .lower = rows - tile};
        sum_rows(s, k, sums, rows > tile);
        finish(&t, sums, y + upper * t.ldy, rows > tile ? rows : tile, nv);
    }
    __asm__ volatile("tilerelease" : :);
}
