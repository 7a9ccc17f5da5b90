/* SPDX-License-Identifier: Apache-2.0
 * The AVX512-VNNI tiles: 6x64, 8x48, 14x32 and 16x16, 6x56, 8x40 and 16x24, chosen by the panel's width, and every
 * smaller number of rows. */
#include "kernels/avx512/gemm_vnni.h"

#include "kernels/avx512/gemm_double.h"

typedef void tile_fn(const struct clq_tile *t, const uint8_t *a, uint8_t *y, size_t tiles);

#define TILE(name, run, nv, mr) \
    static __attribute__((noinline)) void name##_##nv##_##mr(const struct clq_tile *t, const uint8_t *a, uint8_t *y, \
                                                             size_t tiles) \
    { \
        run(t, a, y, tiles, mr, nv); \
    }
#define PLAIN(nv, mr) TILE(plain, clq_tile_run, nv, mr)
#define DOUBLE(nv, mr) TILE(doubled, clq_double_run, nv, mr)
#define ROWS_6(F, nv) F(nv, 1) F(nv, 2) F(nv, 3) F(nv, 4) F(nv, 5) F(nv, 6)
#define ROWS_8(F, nv) ROWS_6(F, nv) F(nv, 7) F(nv, 8)
#define ROWS_14(F, nv) ROWS_8(F, nv) F(nv, 9) F(nv, 10) F(nv, 11) F(nv, 12) F(nv, 13) F(nv, 14)
#define ROWS_16(F, nv) ROWS_14(F, nv) F(nv, 15) F(nv, 16)
ROWS_16(PLAIN, 1)
ROWS_14(PLAIN, 2)
ROWS_8(PLAIN, 3)
ROWS_6(PLAIN, 4)
ROWS_16(DOUBLE, 1)
ROWS_8(DOUBLE, 2)
ROWS_6(DOUBLE, 3)

struct ladder {
    size_t most; /* rows of the tallest tile */
    tile_fn *row[17];
};
#define PLAIN_ROW(nv, mr) plain_##nv##_##mr,
#define DOUBLE_ROW(nv, mr) doubled_##nv##_##mr,
static const struct ladder plain[5] = {{0},
                                       {16, {NULL, ROWS_16(PLAIN_ROW, 1)}},
                                       {14, {NULL, ROWS_14(PLAIN_ROW, 2)}},
                                       {8, {NULL, ROWS_8(PLAIN_ROW, 3)}},
                                       {6, {NULL, ROWS_6(PLAIN_ROW, 4)}}};
static const struct ladder doubled[4] = {
    {0}, {16, {NULL, ROWS_16(DOUBLE_ROW, 1)}}, {8, {NULL, ROWS_8(DOUBLE_ROW, 2)}}, {6, {NULL, ROWS_6(DOUBLE_ROW, 3)}}};

void clq_strip_vnni(const struct clq_strip *s)
{
    if (s->rows == 0) return;
    const struct clq_panels *p = s->packed;
    const size_t first = clq_panels_start(p->columns, s->panel), end = clq_panels_start(p->columns, s->panel + 1);
    const bool twice = p->doubled && end == p->columns; /* the panel's last vector holds 8 columns twice */
    const size_t nv = (end - first) / 16 - twice;
    const struct clq_tile t = clq_tile_make(s, nv, twice);
    uint8_t *y = clq_tile_output(s);
    /* Even tiles: 49 rows are 4 x 6 and 5 x 5, never 8 x 6 and 1. */
    const struct ladder *ladder = twice ? &doubled[nv] : &plain[nv];
    const size_t tiles = (s->rows + ladder->most - 1) / ladder->most, rows = s->rows / tiles, big = s->rows % tiles;
    if (big > 0) ladder->row[rows + 1](&t, s->a, y, big);
    const size_t done = big * (rows + 1);
    ladder->row[rows](&t, s->a + done * s->lda, y + done * t.ldy, tiles - big);
}
