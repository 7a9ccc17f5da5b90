/* SPDX-License-Identifier: Apache-2.0
 * The AMX products with 4-bit weights: 16 x 16 sums of a piece in a tile register, added to floats in vector registers while later
 * pieces are multiplied. Rows and weights are both signed bytes. A tile is as deep as the largest divisor of a piece's steps;
 * where K ends in a piece, zeros behind the rows make up the rest. */
#ifndef CLQ_KERNELS_AVX512_GEMM_U4_AMX_H
#define CLQ_KERNELS_AVX512_GEMM_U4_AMX_H

#include "kernels/avx512/amx.h"
#include "kernels/avx512/gemm_u4_tiles.h"

#define CLQ_TILE 16
#define CLQ_SIGNED_ROWS 1

#include "kernels/avx512/gemm_u4_vectors.h"
#include "kernels/groups_many.h"

/* Sums are added to the floats LATE pieces later. Shorter pieces than LEAST_STEPS are as fast on VNNI. */
enum { LATE = CLQ_LIMBS == 1 ? 3 : 1, BUFFERS = LATE + 1, LEAST_DEPTH = 4, LEAST_STEPS = CLQ_LIMBS == 1 ? 32 : 4, LEAST_ROWS = 8 };
enum { SUMS = CLQ_LIMBS * CLQ_TILE * CLQ_TILE };

/* Steps of 4 of a tile, or 0: the tiles do not suit. */
static size_t depth_of(const struct clq_gemm_u4_args *g)
{
    if (g->m <= LEAST_ROWS || (g->group % 8 != 0 && g->group < g->k)) return 0;
    const struct clq_groups p = clq_groups_make(g);
    const size_t most = clq_groups_most(&p), steps = (most + 7) / 8 * 2;
    size_t depth = steps < CLQ_TILE ? steps : CLQ_TILE;
    if (steps < LEAST_STEPS || (p.count > 1 && p.group % most != 0)) return 0;
    while (p.count > 1 && steps % depth != 0) depth--;
    return depth < LEAST_DEPTH ? 0 : depth;
}

/* Sums of one piece: [limb][row][column]. Tile registers are not renamed: pieces take turns at them, or wait for each other. */
#if CLQ_LIMBS == 1
enum { TURNS = 4 };
#define MULTIPLY(sum, row, column) \
    do { \
        CLQ_AMX_ZERO(sum); \
        for (size_t i = 0; i < steps; i += t->depth, a += 4 * t->depth, b += 4 * CLQ_STRIP * t->depth) { \
            CLQ_AMX_LOAD(column, b, 4 * CLQ_STRIP); \
            CLQ_AMX_LOAD(row, a, t->lda); \
            CLQ_AMX_DOT("tdpbssd", sum, row, column); \
        } \
        CLQ_AMX_STORE(sum, sums, 64); \
    } while (0)
CLQ_INLINE void multiply(const struct clq_groups_tile *t, const uint8_t *a, const int8_t *b, size_t steps, int32_t *sums, const int turn)
{
    if (turn == 0) MULTIPLY(0, 4, 6);
    else if (turn == 1) MULTIPLY(1, 5, 7);
    else if (turn == 2) MULTIPLY(2, 4, 6);
    else MULTIPLY(3, 5, 7);
}
#else
enum { TURNS = 1 };
CLQ_INLINE void multiply(const struct clq_groups_tile *t, const uint8_t *a, const int8_t *b, size_t steps, int32_t *sums, const int turn)
{
    (void)turn;
    CLQ_AMX_ZERO(0);
    CLQ_AMX_ZERO(1);
    CLQ_AMX_ZERO(2);
    for (size_t i = 0; i < steps; i += t->depth, a += 4 * t->depth, b += 4 * CLQ_STRIP * t->depth) {
        CLQ_AMX_LOAD(6, b, 4 * CLQ_STRIP);
        CLQ_AMX_LOAD(4, a, CLQ_LIMBS * t->lda);
        CLQ_AMX_DOT("tdpbssd", 0, 4, 6);
        CLQ_AMX_LOAD(5, a + t->lda, CLQ_LIMBS * t->lda);
        CLQ_AMX_DOT("tdpbssd", 1, 5, 6);
        CLQ_AMX_LOAD(4, a + 2 * t->lda, CLQ_LIMBS * t->lda);
        CLQ_AMX_DOT("tdpbssd", 2, 4, 6);
    }
    CLQ_AMX_STORE(0, sums, 64);
    CLQ_AMX_STORE(1, sums + 256, 64);
    CLQ_AMX_STORE(2, sums + 512, 64);
}
#endif

CLQ_INLINE void add(CLQ_VF f[CLQ_TILE], const struct clq_groups_tile *t, const int32_t *sums, const float *unit, const float *scale)
{
    const CLQ_VF s = CLQ_LOADF(scale);
    CLQ_UNROLL for (int r = 0; r < CLQ_TILE; r++)
    {
        CLQ_V c[CLQ_LIMBS];
        CLQ_UNROLL for (int l = 0; l < CLQ_LIMBS; l++) c[l] = CLQ_LOAD(sums + 256 * l + 16 * r);
        f[r] = clq_groups_add(f[r], c, 1, unit + (size_t)r * t->pieces, s);
    }
}

/* 16 rows times 16 columns of the strip, from column `at` on. */
CLQ_INLINE void block_of(const struct clq_groups_tile *t, size_t row, size_t rows, size_t at)
{
    _Alignas(64) int32_t sums[BUFFERS][SUMS];
    const uint8_t *a = t->a + row * CLQ_LIMBS * t->lda;
    const int8_t *b = t->data + 4 * at;
    const float *scale = t->scale + at, *unit = t->units + row * t->pieces;
    float *slot = t->end.slots + row * CLQ_STRIP + at;
    CLQ_VF f[CLQ_TILE];
    CLQ_UNROLL for (int r = 0; r < CLQ_TILE; r++) f[r] = t->resume ? CLQ_LOADF(slot + CLQ_STRIP * r) : CLQ_MM(setzero_ps)();
    const size_t pieces = (t->steps + t->piece_steps - 1) / t->piece_steps;
    size_t left = t->steps, done = 0;
    for (size_t q = 0; q < pieces + LATE; q += TURNS) {
        CLQ_UNROLL for (int turn = 0; turn < TURNS; turn++)
        {
            const size_t steps = left < t->piece_steps ? left : t->piece_steps;
            if (steps > 0) multiply(t, a, b, steps, sums[(q + (size_t)turn) % BUFFERS], turn);
            a += 4 * steps;
            b += 4 * CLQ_STRIP * steps;
            left -= steps;
            if (q + (size_t)turn < LATE || done == pieces) continue;
            add(f, t, sums[done % BUFFERS], unit, scale);
            scale += CLQ_STRIP;
            unit++;
            done++;
        }
    }
    if (t->end.keep == 0) {
        CLQ_UNROLL for (int r = 0; r < CLQ_TILE; r++) CLQ_STOREF(slot + CLQ_STRIP * r, f[r]);
        return;
    }
    CLQ_UNROLL for (int r = 0; r < CLQ_TILE; r++)
        if ((size_t)r < rows) clq_groups_finish(&t->end, row + (size_t)r, at, f[r]);
}

static void clq_groups_block(const struct clq_groups_tile *t, size_t rows)
{
    for (size_t row = 0; row < rows; row += CLQ_TILE)
        for (size_t at = 0; at < CLQ_STRIP; at += CLQ_TILE) block_of(t, row, rows - row, at);
}

#endif
