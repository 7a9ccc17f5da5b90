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

/* Shorter pieces than LEAST_STEPS are as fast on VNNI. */
enum { LEAST_DEPTH = 4, LEAST_STEPS = CLQ_LIMBS == 1 ? 8 : 4, LEAST_ROWS = 8 };
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

CLQ_INLINE void add(CLQ_VF f[CLQ_TILE], const int32_t *sums, const float *unit, size_t pieces, const float *scale)
{
    const CLQ_VF s = CLQ_LOADF(scale);
    CLQ_UNROLL for (int r = 0; r < CLQ_TILE; r++)
    {
        CLQ_V c[CLQ_LIMBS];
        CLQ_UNROLL for (int l = 0; l < CLQ_LIMBS; l++) c[l] = CLQ_LOAD(sums + 256 * l + 16 * r);
        f[r] = clq_groups_add(f[r], c, 1, unit + (size_t)r * pieces, s);
    }
}

/* Where the pieces of a block are. Tiles may write all memory, so all is kept in locals, and few of them: gcc keeps what does not fit
 * in vector registers, whose ports are what this waits for. */
struct pieces {
    const uint8_t *a;
    const int8_t *b;
    const float *scale;
    size_t lda, depth;
    size_t whole, left; /* steps of a piece, and of all that remain */
};

/* A block: 16 rows times 16 columns of the strip. */
struct place {
    size_t row, at;
};

static inline struct place next_place(const struct place *p)
{
    return p->at + CLQ_TILE < CLQ_STRIP ? (struct place){p->row, p->at + CLQ_TILE} : (struct place){p->row + CLQ_TILE, 0};
}

CLQ_INLINE void go_to(struct pieces *p, const struct clq_groups_tile *t, const struct place *to)
{
    p->a = t->a + to->row * CLQ_LIMBS * p->lda;
    p->b = t->data + 4 * to->at;
    p->left = t->steps;
}

CLQ_INLINE void start_block(CLQ_VF f[CLQ_TILE], const struct clq_groups_tile *t, const struct place *here)
{
    const float *slot = t->end.slots + here->row * CLQ_STRIP + here->at;
    CLQ_UNROLL for (int r = 0; r < CLQ_TILE; r++) f[r] = t->resume ? CLQ_LOADF(slot + CLQ_STRIP * r) : CLQ_MM(setzero_ps)();
}

CLQ_INLINE void end_block(const CLQ_VF f[CLQ_TILE], const struct clq_groups_tile *t, const struct place *here, size_t rows)
{
    float *slot = t->end.slots + here->row * CLQ_STRIP + here->at;
    const enum clq_groups_way way = clq_groups_way(&t->end);
    if (way == CLQ_GROUPS_TO_Y && here->row + CLQ_TILE <= rows) {
        clq_groups_to_y(&t->end, here->row, here->at, f, CLQ_TILE, 1);
        return;
    }
    CLQ_UNROLL for (int r = 0; r < CLQ_TILE; r++)
    {
        if (way == CLQ_GROUPS_TO_SLOT) CLQ_STOREF(slot + t->end.keep * t->end.slot + CLQ_STRIP * r, f[r]);
        else if (here->row + (size_t)r < rows) clq_groups_finish(&t->end, here->row + (size_t)r, here->at, f[r]);
    }
}

#if CLQ_LIMBS == 1
/* Sums of piece q stay in tile q % 4: tile registers are not renamed, pieces take turns at them, or wait for each other. `once`: a tile is
 * as deep as a piece. */
#define MULTIPLY(sum, row, column) \
    do { \
        CLQ_AMX_ZERO(sum); \
        for (size_t i = 0, steps = p->left < p->whole ? p->left : p->whole; once || i < steps; i += p->depth) { \
            CLQ_AMX_LOAD(column, p->b, 4 * CLQ_STRIP); \
            CLQ_AMX_LOAD(row, p->a, p->lda); \
            CLQ_AMX_DOT("tdpbssd", sum, row, column); \
            p->a += 4 * p->depth, p->b += 4 * CLQ_STRIP * p->depth; \
            if (once) break; \
        } \
        p->left -= p->whole; \
    } while (0)
CLQ_INLINE void multiply(struct pieces *p, const int turn, const bool once)
{
    if (turn == 0) MULTIPLY(0, 4, 6);
    else if (turn == 1) MULTIPLY(1, 5, 7);
    else if (turn == 2) MULTIPLY(2, 4, 6);
    else MULTIPLY(3, 5, 7);
}

CLQ_INLINE void store(int32_t sums[2][SUMS], const int turn)
{
    if (turn == 0) CLQ_AMX_STORE(0, sums[0], 64);
    else if (turn == 1) CLQ_AMX_STORE(1, sums[1], 64);
    else if (turn == 2) CLQ_AMX_STORE(2, sums[0], 64);
    else CLQ_AMX_STORE(3, sums[1], 64);
}

CLQ_INLINE void add_next(CLQ_VF f[CLQ_TILE], struct pieces *p, int32_t sums[2][SUMS], const int turn)
{
    add(f, sums[turn % 2], NULL, 0, p->scale);
    p->scale += CLQ_STRIP;
}

/* Multiplies a piece, stores the sums of the one before and adds those of the one before that. */
CLQ_INLINE void step(CLQ_VF f[CLQ_TILE], struct pieces *p, int32_t sums[2][SUMS], const int turn, const bool once)
{
    multiply(p, turn, once);
    store(sums, (turn + 3) % 4);
    add_next(f, p, sums, turn);
}

/* What is left of a block's pieces behind the first two, up to the sums of the last one. */
CLQ_INLINE void steps_of(CLQ_VF f[CLQ_TILE], struct pieces *p, int32_t sums[2][SUMS], size_t count, const bool once)
{
    for (; count >= 4; count -= 4) {
        step(f, p, sums, 2, once);
        step(f, p, sums, 3, once);
        step(f, p, sums, 0, once);
        step(f, p, sums, 1, once);
    }
    if (count > 0) step(f, p, sums, 2, once);
    if (count > 1) step(f, p, sums, 3, once);
    if (count > 2) step(f, p, sums, 0, once);
    if (count == 0) store(sums, 1);
    else if (count == 1) store(sums, 2);
    else if (count == 2) store(sums, 3);
    else store(sums, 0);
}

/* The tiles begin with the next block before this one's last sums are added. */
CLQ_INLINE void run_blocks(const struct clq_groups_tile *t, size_t rows, const bool once)
{
    _Alignas(64) int32_t sums[2][SUMS];
    const size_t count = (t->steps + t->piece_steps - 1) / t->piece_steps;
    const bool two = count > 1;
    struct place here = {0};
    struct pieces p = {.lda = t->lda, .depth = t->depth, .whole = t->piece_steps, .scale = t->scale};
    CLQ_VF f[CLQ_TILE];
    go_to(&p, t, &here);
    multiply(&p, 0, once);
    if (two) multiply(&p, 1, once);
    for (;;) {
        struct place next = next_place(&here);
        const bool more = next.row < rows;
        store(sums, 0);
        start_block(f, t, &here);
        if (two) steps_of(f, &p, sums, count - 2, once);
        if (more) go_to(&p, t, &next);
        if (more) multiply(&p, 0, once);
        if (two) add_next(f, &p, sums, (int)(count % 2));
        if (more && two) multiply(&p, 1, once);
        add_next(f, &p, sums, (int)(count % 2) + 1);
        end_block(f, t, &here, rows);
        if (!more) return;
        here = next;
        p.scale = t->scale + here.at;
    }
}

static __attribute__((noinline)) void run_once(const struct clq_groups_tile *t, size_t rows)
{
    run_blocks(t, rows, true);
}

static void clq_groups_block(const struct clq_groups_tile *t, size_t rows)
{
    if (t->piece_steps == t->depth) run_once(t, rows);
    else run_blocks(t, rows, false);
}
#else
/* Sums are [limb][row][column]; those of a piece are added while the next one is multiplied. */
CLQ_INLINE void multiply(struct pieces *p, int32_t *sums)
{
    const size_t steps = p->left < p->whole ? p->left : p->whole;
    CLQ_AMX_ZERO(0);
    CLQ_AMX_ZERO(1);
    CLQ_AMX_ZERO(2);
    for (size_t i = 0; i < steps; i += p->depth, p->a += 4 * p->depth, p->b += 4 * CLQ_STRIP * p->depth) {
        CLQ_AMX_LOAD(6, p->b, 4 * CLQ_STRIP);
        CLQ_AMX_LOAD(4, p->a, CLQ_LIMBS * p->lda);
        CLQ_AMX_DOT("tdpbssd", 0, 4, 6);
        CLQ_AMX_LOAD(5, p->a + p->lda, CLQ_LIMBS * p->lda);
        CLQ_AMX_DOT("tdpbssd", 1, 5, 6);
        CLQ_AMX_LOAD(4, p->a + 2 * p->lda, CLQ_LIMBS * p->lda);
        CLQ_AMX_DOT("tdpbssd", 2, 4, 6);
    }
    p->left -= steps;
    CLQ_AMX_STORE(0, sums, 64);
    CLQ_AMX_STORE(1, sums + 256, 64);
    CLQ_AMX_STORE(2, sums + 512, 64);
}

CLQ_INLINE void add_pieces(CLQ_VF f[CLQ_TILE], struct pieces *p, size_t count, const float *unit, size_t distance)
{
    _Alignas(64) int32_t sums[2][SUMS];
    multiply(p, sums[0]);
    for (size_t q = 1; q <= count; q++, p->scale += CLQ_STRIP, unit++) {
        if (q < count) multiply(p, sums[q % 2]);
        add(f, sums[(q - 1) % 2], unit, distance, p->scale);
    }
}

static void clq_groups_block(const struct clq_groups_tile *t, size_t rows)
{
    const size_t count = (t->steps + t->piece_steps - 1) / t->piece_steps;
    for (struct place here = {0}; here.row < rows; here = next_place(&here)) {
        struct pieces p = {.lda = t->lda, .depth = t->depth, .whole = t->piece_steps, .scale = t->scale + here.at};
        CLQ_VF f[CLQ_TILE];
        start_block(f, t, &here);
        go_to(&p, t, &here);
        add_pieces(f, &p, count, t->units + here.row * t->pieces, t->pieces);
        end_block(f, t, &here, rows);
    }
}
#endif

#endif
