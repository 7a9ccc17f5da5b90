/* SPDX-License-Identifier: Apache-2.0
 * Rows and results of the product with 4-bit weights, for groups_run.h, whose macros are those of this file: scratch, copies
 * of rows, real rows as limbs, and where sums go. */
#ifndef CLQ_KERNELS_GROUPS_ROWS_H
#define CLQ_KERNELS_GROUPS_ROWS_H

#include "kernels/groups.h"
#include "kernels/limbs.h"

#ifndef CLQ_TILE /* rows of A and of slots are a multiple of it */
#define CLQ_TILE 1
#endif
#ifndef CLQ_SIGNED_ROWS
#define CLQ_SIGNED_ROWS 0
#endif
#ifndef CLQ_UNITS
#define CLQ_UNITS (CLQ_LIMBS > 1)
#endif

#define CLQ_INLINE static inline __attribute__((always_inline))
#define CLQ_UNROLL _Pragma("GCC unroll 16")

typedef int32_t __attribute__((may_alias, aligned(1))) clq_dword;

enum { CLQ_FEW = CLQ_TILE > 1 ? 0 : CLQ_LIMBS == 1 ? 8 : 4, CLQ_STRIP = CLQ_VECTORS * CLQ_LANES, CLQ_BLOCK = 512 };

/* Offsets of the parts of scratch in bytes. */
struct clq_groups_parts {
    size_t rows;  /* copied rows of A, or CLQ_LIMBS rows of limbs for each */
    size_t units; /* limbs: float [row][pieces] */
    size_t sums;  /* few rows: int32 [row of limbs][pieces], sums of a */
    size_t fours; /* few rows: int32 [k / 4], sums of four neighbors of one row */
    size_t data, init, scale; /* a strip's block: int8 [steps][CLQ_STRIP][4], int32 and float [pieces][CLQ_STRIP] */
    size_t slots; /* float [1 + levels][rows][columns]: running sums of a block, then the segments that wait */
    size_t bytes;
};

static inline size_t clq_groups_round(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* Bytes from row to row of a copy: not a multiple of 4096, which would put the rows of a tile into the same sets of the
 * first cache. */
static inline size_t clq_groups_distance(size_t k8)
{
    return 8 * k8 + 64;
}

static inline bool clq_groups_copies(const struct clq_gemm_u4_args *g)
{
    return CLQ_LIMBS > 1 || CLQ_TILE > 1 || g->flipped == CLQ_SIGNED_ROWS || g->k % 8 != 0;
}

/* ---- Pieces: what one integer sum covers, a group or, of real rows, at most CLQ_U4_PIECE elements of one ---- */

struct clq_groups_piece {
    size_t first, k, group;
    size_t end; /* of its group */
};

static inline size_t clq_groups_most(const struct clq_groups *p)
{
    return CLQ_LIMBS == 1 || p->group < CLQ_U4_PIECE ? p->group : CLQ_U4_PIECE;
}

/* Pieces of all groups before number `groups`, or of all. */
static inline size_t clq_groups_pieces(const struct clq_groups *p, size_t groups)
{
    const size_t most = clq_groups_most(p), each = (p->group - 1) / most + 1;
    if (groups < p->count) return groups * each;
    return (p->count - 1) * each + (p->k - (p->count - 1) * p->group - 1) / most + 1;
}

static inline struct clq_groups_piece clq_groups_piece_cut(const struct clq_groups *p, size_t first, size_t group, size_t end)
{
    const size_t most = clq_groups_most(p), left = end - first;
    return (struct clq_groups_piece){.first = first, .k = left < most ? left : most, .group = group, .end = end};
}

/* The first piece of a group. */
static inline struct clq_groups_piece clq_groups_piece_of(const struct clq_groups *p, size_t group)
{
    const size_t first = group * p->group, left = p->k - first;
    return clq_groups_piece_cut(p, first, group, first + (left < p->group ? left : p->group));
}

static inline struct clq_groups_piece clq_groups_piece_after(const struct clq_groups *p, const struct clq_groups_piece *t)
{
    const size_t first = t->first + t->k, left = p->k - t->end;
    if (first < t->end) return clq_groups_piece_cut(p, first, t->group, t->end);
    return clq_groups_piece_cut(p, first, t->group + 1, t->end + (left < p->group ? left : p->group));
}

static inline struct clq_groups_parts clq_groups_parts_make(const struct clq_gemm_u4_args *g)
{
    const struct clq_groups p = clq_groups_make(g);
    const struct clq_grid grid = clq_groups_grid_make(g->m, g->n, g->k, CLQ_LIMBS);
    const bool few = g->m <= CLQ_FEW;
    const size_t block = p.group > CLQ_BLOCK ? (p.group + 7) / 8 * 8 : CLQ_BLOCK, pieces = block / clq_groups_most(&p) + 1;
    const size_t whole = (clq_grid_most_rows(&grid, g->m) + CLQ_TILE - 1) / CLQ_TILE * CLQ_TILE, rows = whole * CLQ_LIMBS, all = clq_groups_pieces(&p, p.count);
    struct clq_groups_parts s = {0};
    s.units = s.rows + clq_groups_round(few || clq_groups_copies(g) ? rows * clq_groups_distance(p.k8) : 0);
    s.sums = s.units + clq_groups_round(CLQ_LIMBS > 1 ? whole * all * 4 : 0);
    s.fours = s.sums + clq_groups_round(few ? rows * all * 4 : 0);
    s.data = s.fours + clq_groups_round(few ? clq_groups_distance(p.k8) : 0);
    s.init = s.data + (few ? 0 : block * CLQ_STRIP + (CLQ_TILE - 1) * 4 * CLQ_STRIP); /* a last tile reads more */
    s.scale = s.init + (few ? 0 : pieces * CLQ_STRIP * 4);
    s.slots = s.scale + (few ? 0 : pieces * CLQ_STRIP * 4);
    s.bytes = s.slots + (1 + clq_groups_levels(&p)) * whole * (few ? CLQ_GROUPS_WIDTH : CLQ_STRIP) * 4;
    return s;
}

static inline bool clq_groups_plan(struct clq_gemm_u4_args *g)
{
    if (g->group % 8 != 0 && g->group < g->k) return false;
    const struct clq_groups p = clq_groups_make(g);
    const struct clq_grid grid = clq_groups_grid_make(g->m, g->n, g->k, CLQ_LIMBS);
    g->packed_bytes = clq_groups_bytes(&p);
    g->scratch_bytes = clq_groups_parts_make(g).bytes;
    g->units = grid.blocks * grid.ranges;
    return true;
}

#if CLQ_LIMBS == 1
/* Rows first .. first + rows - 1 into scratch with zeros behind K; flip turns signed codes into unsigned ones and back. */
static inline void clq_groups_copy(const struct clq_gemm_u4_args *g, uint8_t *restrict to, size_t first, size_t rows, bool flip)
{
    const size_t k = g->k, ld = clq_groups_distance((k + 7) / 8);
    const uint8_t mask = flip ? 0x80 : 0;
    for (size_t r = 0; r < rows; r++, to += ld) {
        const uint8_t *restrict from = (const uint8_t *)g->a + (first + r) * g->lda;
        for (size_t i = 0; i < k; i++) to[i] = from[i] ^ mask;
        memset(to + k, 0, ld - k);
    }
}
#else
/* The limbs of one piece, most significant first, each `ld` bytes behind the other, with zeros up to whole steps of 8; returns
 * its unit. Whole vectors are written: what is behind a piece belongs to the next one, or to the gap between rows. Limbs are
 * unsigned, + 128, or, with flip 128, signed. */
static inline float clq_groups_split_piece(const float *x, size_t k, uint8_t *to, size_t ld, int flip)
{
    float tail[CLQ_LANES + 8] = {0};
    int32_t lanes[CLQ_LANES];
    const size_t whole = k / CLQ_LANES * CLQ_LANES;
    memcpy(tail, x + whole, 4 * (k - whole));
    const CLQ_V magnitude = CLQ_MM(set1_epi32)(INT32_MAX);
    CLQ_V most = CLQ_AND(CLQ_LOAD(tail), magnitude);
    for (size_t i = 0; i < whole; i += CLQ_LANES) most = CLQ_MM(max_epi32)(most, CLQ_AND(CLQ_LOAD(x + i), magnitude));
    CLQ_STORE(lanes, most);
    for (int i = 1; i < CLQ_LANES; i++)
        if (lanes[i] > lanes[0]) lanes[0] = lanes[i];
    const struct clq_limbs l = clq_limbs_of((uint32_t)lanes[0]);
    const CLQ_VF inverse = CLQ_MM(set1_ps)(l.inverse);
    const CLQ_V bias = CLQ_MM(set1_epi32)(0x808080), turn = CLQ_MM(set1_epi32)(flip);
    for (size_t i = 0; i < (k + 7) / 8 * 8; i += CLQ_LANES) {
        const CLQ_VF v = CLQ_MM(mul_ps)(CLQ_LOADF(i < whole ? x + i : tail + (i - whole)), inverse);
        const CLQ_V q = CLQ_MM(add_epi32)(CLQ_MM(cvtps_epi32)(v), bias);
        CLQ_NARROW(to + i, CLQ_MM(add_epi32)(CLQ_MM(srli_epi32)(q, 16), turn));
        CLQ_NARROW(to + ld + i, CLQ_MM(add_epi32)(CLQ_MM(srli_epi32)(q, 8), turn));
        CLQ_NARROW(to + 2 * ld + i, CLQ_MM(add_epi32)(q, turn));
    }
    return l.unit;
}

static inline void clq_groups_split(const struct clq_gemm_u4_args *g, uint8_t *to, float *units, size_t first, size_t rows, bool flip)
{
    const struct clq_groups *p = g->packed;
    const size_t ld = clq_groups_distance(p->k8), pieces = clq_groups_pieces(p, p->count);
    for (size_t r = 0; r < rows; r++, to += CLQ_LIMBS * ld) {
        const float *x = (const float *)g->a + (first + r) * g->lda;
        struct clq_groups_piece t = clq_groups_piece_of(p, 0);
        for (size_t i = 0; i < pieces; i++, t = clq_groups_piece_after(p, &t))
            *units++ = clq_groups_split_piece(x + t.first, t.k, to + t.first, ld, flip ? 128 : 0);
        for (int i = 0; i < CLQ_LIMBS; i++) memset(to + (size_t)i * ld + p->k, 0, ld - p->k);
    }
}
#endif

/* What multiplies the pieces of the rows from `row` on: those of their limbs, in scratch, or their scales. */
static inline const float *clq_groups_row_units(const struct clq_gemm_u4_args *g, const struct clq_groups_parts *part, size_t row)
{
    const struct clq_groups *p = g->packed;
    if (CLQ_UNITS && CLQ_LIMBS == 1) return g->scale_a + row * p->count;
    return (const float *)(const void *)((const char *)g->scratch + part->units);
}

/* ---- Results ---- */

/* Where a row's sums go: into a slot, or, after the last segment, to y. */
struct clq_groups_end {
    float *slots;
    size_t slot, stride; /* floats of a slot, of a row in it */
    size_t merge;        /* bit l: the sum that waits in slot 1 + l is added */
    size_t keep;         /* the slot that takes the result */
    bool last;
    float *y;            /* row 0, column 0 */
    size_t ldy, width;
    const float *scale_a;
    const float *bias;   /* column 0, or NULL */
};

/* One vector of row `row` at column `at` of the strip. */
CLQ_INLINE void clq_groups_finish(const struct clq_groups_end *e, size_t row, size_t at, CLQ_VF f)
{
    const float *slot = e->slots + row * e->stride + at;
    for (size_t l = 1, merge = e->merge; merge > 0; l++, merge /= 2)
        if (merge % 2) f = CLQ_MM(add_ps)(CLQ_LOADF(slot + l * e->slot), f);
    if (!e->last) {
        CLQ_STOREF(e->slots + row * e->stride + at + e->keep * e->slot, f);
        return;
    }
    if (at >= e->width) return;
    const size_t width = e->width - at;
    float *y = e->y + row * e->ldy + at;
    CLQ_VF v = CLQ_UNITS ? f : CLQ_MM(mul_ps)(f, CLQ_MM(set1_ps)(e->scale_a[row]));
    if (e->bias && width < CLQ_LANES) {
        float bias[CLQ_LANES] = {0};
        memcpy(bias, e->bias + at, 4 * width);
        v = CLQ_MM(add_ps)(v, CLQ_LOADF(bias));
    } else if (e->bias) {
        v = CLQ_MM(add_ps)(v, CLQ_LOADF(e->bias + at));
    }
    if (width < CLQ_LANES)
        CLQ_STOREF_PART(y, v, width);
    else
        CLQ_STOREF(y, v);
}

/* Vectors of a full strip go straight from registers to y where at most one sum waits for them, and to the slot that takes them
 * where none does. */
enum clq_groups_way { CLQ_GROUPS_ONE_BY_ONE, CLQ_GROUPS_TO_SLOT, CLQ_GROUPS_TO_Y };

CLQ_INLINE enum clq_groups_way clq_groups_way(const struct clq_groups_end *e)
{
    if (e->keep == 0 || (!e->last && e->merge == 0)) return CLQ_GROUPS_TO_SLOT;
    return e->last && e->merge <= 1 && e->width >= CLQ_STRIP ? CLQ_GROUPS_TO_Y : CLQ_GROUPS_ONE_BY_ONE;
}

/* As clq_groups_finish, f[rows][vectors] from row `row` and column `at` on. */
CLQ_INLINE void clq_groups_to_y(const struct clq_groups_end *e, size_t row, size_t at, const CLQ_VF *f, const int rows, const int vectors)
{
    const size_t ldy = e->ldy, stride = e->stride;
    const float *scale = CLQ_UNITS ? NULL : e->scale_a + row, *bias = e->bias ? e->bias + at : NULL;
    const float *waits = e->merge ? e->slots + e->slot + row * stride + at : NULL;
    float *y = e->y + row * ldy + at;
    CLQ_UNROLL for (int i = 0; i < rows; i++, y += ldy)
    {
        CLQ_UNROLL for (int j = 0; j < vectors; j++)
        {
            CLQ_VF v = f[i * vectors + j];
            if (waits) v = CLQ_MM(add_ps)(CLQ_LOADF(waits + (size_t)i * stride + CLQ_LANES * j), v);
            if (!CLQ_UNITS) v = CLQ_MM(mul_ps)(v, CLQ_MM(set1_ps)(scale[i]));
            if (bias) v = CLQ_MM(add_ps)(v, CLQ_LOADF(bias + CLQ_LANES * j));
            CLQ_STOREF(y + CLQ_LANES * j, v);
        }
    }
}

/* Adds one piece: the exact sums of a row's limbs, or the row's only sum. */
CLQ_INLINE CLQ_VF clq_groups_add(CLQ_VF f, const CLQ_V *sums, size_t distance, const float *unit, CLQ_VF scale)
{
#if CLQ_LIMBS > 1
    const CLQ_V high = CLQ_MM(add_epi32)(CLQ_MM(slli_epi32)(sums[0], 8), sums[distance]);
    const CLQ_VF v = CLQ_MM(fmadd_ps)(CLQ_MM(cvtepi32_ps)(high), CLQ_MM(set1_ps)(256), CLQ_MM(cvtepi32_ps)(sums[2 * distance]));
    return CLQ_MM(fmadd_ps)(CLQ_MM(mul_ps)(v, CLQ_MM(set1_ps)(*unit)), scale, f);
#else
    (void)distance;
    const CLQ_VF v = CLQ_MM(cvtepi32_ps)(sums[0]);
    return CLQ_MM(fmadd_ps)(CLQ_UNITS ? CLQ_MM(mul_ps)(v, CLQ_MM(set1_ps)(*unit)) : v, scale, f);
#endif
}

static inline void clq_groups_close(struct clq_groups_end *e, const struct clq_groups *p, size_t segment)
{
    e->merge = clq_groups_merge(p, segment);
    e->last = segment + 1 == clq_groups_segments(p);
    e->keep = 1;
    for (size_t s = segment; s % 2 == 1; s /= 2) e->keep++;
}

#endif
