/* SPDX-License-Identifier: Apache-2.0
 * Plan, pack and run of the integer product on packed panels, for every CPU version: an ISA file passes its strip
 * function and, where its products are narrower, its own packing. Static inline, so each ISA folder compiles its own.
 *
 * Signed activations, where the ISA multiplies unsigned by signed bytes only in the other order of operands, are unsigned
 * ones with the top bit flipped and a zero point that is 128 larger; their rows are flipped into scratch once per
 * unit, or for units that are done as one.
 * Where the tiles take either order, weights are packed as w + 128, rows are read as they are, and a unit only sums them, unless the caller has:
 * the sum of a * (w + 128) is too large by 128 times the sum of the row. NEON multiplies signed by signed bytes, and flips
 * unsigned ones as it loads them where it has to: these rows are never flipped in a copy. Rows whose K is no multiple of 4
 * (8 where weights lie in steps of 8) are copied in any case, so tiles read whole steps and nothing outside the rows. */
#ifndef CLQ_KERNELS_PRODUCT_H
#define CLQ_KERNELS_PRODUCT_H

#include "kernels/panels.h"
#include "kernels/residual.h"

/* -128 times the sums of rows of k signed bytes, at the distance lda; row_bias has space for whole groups of 4 rows. */
typedef void clq_row_bias_fn(const int8_t *a, size_t lda, size_t rows, size_t k, int32_t *row_bias);

/* Rows of `steps` dwords of bytes to 16 bits: 2 * steps even elements, then 2 * steps odd ones. */
typedef void clq_widen_rows_fn(const uint8_t *a, size_t lda, size_t rows, size_t steps, int16_t *to);

/* How an ISA runs a product. */
struct clq_product_way {
    clq_strip_fn *strip;       /* or, where many at once are more than one after the other, */
    clq_strips_fn *strips;
    clq_residual_fn *residual;
    size_t multiple;           /* of the rows of a block, see clq_grid_make; 0: any number */
    bool is_signed;
    bool wide;                 /* the tiles are those of AVX512-VNNI: short epilogue, doubled columns */
    clq_row_bias_fn *row_bias; /* signed rows are read as they are; NULL: they are flipped */
    bool native;               /* the tiles take rows of either type as they are: no flip, no row bias */
    bool eights;               /* weights lie in steps of 8 along K */
    bool signed_pairs;         /* of struct clq_panels_source */
    int32_t shift;             /* the tiles read a code as code + shift: 0, or -128 where they flip unsigned ones */
    clq_widen_rows_fn *widen;  /* where weights need 16 bits, enough rows are widened once per unit; NULL: in the tiles */
};

static inline bool clq_product_flips(const struct clq_product_way *way)
{
    return way->is_signed && way->row_bias == NULL && !way->native;
}

static inline size_t clq_product_depth(const struct clq_product_way *way)
{
    return way->eights ? 8 : 4;
}

/* Steps of 4 that k bytes take. */
static inline size_t clq_product_steps(size_t k, const struct clq_product_way *way)
{
    const size_t depth = clq_product_depth(way);
    return (k + depth - 1) / depth * depth / 4;
}

static inline bool clq_product_copies(const struct clq_gemm_args *g, const struct clq_product_way *way)
{
    return clq_product_flips(way) || g->k % clq_product_depth(way) != 0;
}

static inline size_t clq_product_copy_bytes(size_t rows, size_t steps)
{
    return (4 * rows * steps + 63) / 64 * 64;
}

/* Scratch begins with the row biases. */
static inline size_t clq_product_row_bias_bytes(size_t rows, const struct clq_product_way *way)
{
    return way->is_signed && way->row_bias ? (4 * rows + 63) / 64 * 64 : 0;
}

static inline struct clq_grid clq_product_grid(const struct clq_gemm_args *g, const struct clq_product_way *way)
{
    struct clq_grid grid = clq_grid_make(g->m, clq_panels_columns(g->n), clq_product_steps(g->k, way), way->multiple ? way->multiple : 1);
    /* AVX2's wide rows are twice as large, and the cache is not; AVX-VNNI runs what AVX2 has planned. So neither joins. */
    if (!way->wide && !way->native) grid.joins = false;
    return grid;
}

/* Fewer rows do not repay the copy. */
enum { CLQ_PRODUCT_LEAST_WIDE = 8 };

/* Scratch ends with the wide rows and 16 wide columns. */
static inline size_t clq_product_wide_bytes(size_t rows, size_t steps, const struct clq_product_way *way)
{
    return way->widen && rows >= CLQ_PRODUCT_LEAST_WIDE ? 8 * steps * (rows + 16) : 0;
}

static inline bool clq_product_all_pairs(const struct clq_panels *p)
{
    return memchr(clq_panels_pairs(p, 0), 0, p->columns / 16) == NULL;
}

/* False where the sum does not provably fit 32 bits: then the reference plans. */
static inline bool clq_product_plan(struct clq_gemm_args *g, const struct clq_product_way *way)
{
    if (g->bound > INT32_MAX) return false;
    const size_t k4 = clq_product_steps(g->k, way);
    const struct clq_grid grid = clq_product_grid(g, way);
    g->packed_bytes = clq_panels_bytes(1, g->n, k4);
    const size_t rows = clq_grid_most_rows(&grid, g->m);
    g->scratch_bytes = clq_product_row_bias_bytes(rows, way) + (clq_product_copies(g, way) ? clq_product_copy_bytes(rows, k4) : 0) +
                       clq_product_wide_bytes(rows, k4, way);
    g->units = grid.blocks * grid.ranges;
    return true;
}

static inline struct clq_panels_source clq_product_source(const struct clq_gemm_args *g,
                                                          const struct clq_product_way *way)
{
    return (struct clq_panels_source){
        .weight = g->weight,
        .bias = g->bias,
        .multiplier = g->out == CLQ_OUT_S32 ? NULL : g->multiplier,
        .groups = 1,
        .n = g->n,
        .segments = 1,
        .segment = g->k,
        .zero_point_a = g->zero_point_a + (clq_product_flips(way) ? 128 : 0) + way->shift,
        .offset = way->is_signed && way->row_bias ? 128 : 0,
        .depth = clq_product_depth(way),
        .signed_pairs = way->signed_pairs,
        .relu = way->wide && g->out == CLQ_OUT_U8 && g->lo == g->zero_point_y && g->bound < 1 << 23,
        .doubles = way->wide,
    };
}

static inline void clq_product_copy_row(uint8_t *restrict to, const uint8_t *restrict from, size_t k, uint64_t flip)
{
    typedef uint64_t quad __attribute__((vector_size(32), may_alias, aligned(1)));
    size_t i = 0;
    for (; i + 32 <= k; i += 32) *(quad *)(to + i) = *(const quad *)(from + i) ^ flip;
    for (; i + 8 <= k; i += 8) {
        uint64_t v;
        memcpy(&v, from + i, 8);
        v ^= flip;
        memcpy(to + i, &v, 8);
    }
    for (; i < k; i++) to[i] = from[i] ^ (uint8_t)flip;
}

static inline void clq_product_pack(const struct clq_gemm_args *g, const struct clq_product_way *way)
{
    if (g->packed_bytes == 0) return;
    const struct clq_panels_source source = clq_product_source(g, way);
    clq_panels_pack(g->packed, &source);
}

/* Rows first .. first + rows - 1 into scratch, 4 * k4 bytes each. The padding meets weights of 0. */
static inline void clq_product_copy(const struct clq_gemm_args *g, size_t first, size_t rows, uint8_t *to,
                                    const struct clq_product_way *way)
{
    const size_t ld = 4 * clq_product_steps(g->k, way);
    const uint64_t flip = clq_product_flips(way) ? 0x8080808080808080u : 0;
    for (size_t r = 0; r < rows; r++, to += ld) {
        const uint8_t *from = (const uint8_t *)g->a + (first + r) * g->lda;
        clq_product_copy_row(to, from, g->k, flip);
        for (size_t k = g->k; k < ld; k++) to[k] = 0;
    }
}

static inline void clq_strips_run(const struct clq_strips *g, const struct clq_product_way *way)
{
    if (way->strips) way->strips(g);
    else clq_strips_each(g, way->strip);
}

/* Units of a call, with `panels` panels each but the last of a row of blocks: `ranges` of them in a row have the same rows, or,
 * where blocks are joined, `joined` of them the same panels. */
struct clq_product_units {
    size_t begin, end, ranges, panels, joined;
};

/* The columns whose residual is added behind a unit: its own, or, where the call computes all columns of its rows, all of them
 * behind the last one, since long rows are faster. */
static inline struct clq_residual_block clq_product_due(const struct clq_product_units *u, size_t unit, const struct clq_panels *p)
{
    const size_t range = u->joined ? unit / u->joined : unit % u->ranges, count = clq_panels_count(p->columns);
    const bool around = unit - range >= u->begin && unit - range + u->ranges <= u->end, last = range + 1 == u->ranges;
    const bool whole = u->joined ? u->begin == 0 && u->end == u->joined * u->ranges : around;
    const size_t first = whole ? 0 : range * u->panels, behind = last || whole ? count : first + u->panels;
    const size_t column = clq_panels_start(p->columns, first), end = clq_panels_start(p->columns, behind);
    return (struct clq_residual_block){.column = column, .columns = whole && !last ? 0 : (end < p->n ? end : p->n) - column};
}

/* Into scratch: -128 times the sums of some rows, which the caller may know. */
static inline void clq_product_row_bias(const struct clq_gemm_args *g, size_t row, size_t rows, const struct clq_product_way *way)
{
    uint32_t *row_bias = g->scratch;
    if (g->sums_a == NULL) {
        way->row_bias((const int8_t *)g->a + row * g->lda, g->lda, rows, g->k, g->scratch);
        return;
    }
    for (size_t i = 0; i < rows; i++) row_bias[i] = (uint32_t)g->sums_a[row + i] * (uint32_t)-128;
}

static inline void clq_product_run(const struct clq_gemm_args *g, const struct clq_product_way *way)
{
    static const size_t start[1] = {0};
    const struct clq_grid grid = clq_product_grid(g, way);
    const struct clq_panels *packed = g->packed;
    const bool copies = clq_product_copies(g, way), sums = way->is_signed && way->row_bias;
    const size_t most = clq_grid_most_rows(&grid, g->m);
    uint8_t *space = (uint8_t *)g->scratch + clq_product_row_bias_bytes(most, way);
    const size_t count = clq_panels_count(packed->columns),
                 bytes = g->out == CLQ_OUT_F32 || g->out == CLQ_OUT_S32 ? 4 : 1;
    const bool wide = way->widen && !clq_product_all_pairs(packed);
    const struct clq_product_units units = {g->unit_begin, g->unit_end, grid.ranges, grid.panels, grid.joins ? grid.blocks : 0};
    struct clq_grid_part w, ready = {0}; /* ready: whose rows are in scratch */
    for (size_t u = g->unit_begin; u < g->unit_end; u += w.units) {
        w = clq_grid_part(&grid, g->m, u, g->unit_end);
        const bool fresh = ready.row != w.row || ready.rows != w.rows;
        struct clq_strip s = {
            .a = (const uint8_t *)g->a + w.row * g->lda,
            .lda = g->lda,
            .rows = w.rows,
            .offset = start,
            .segments = 1,
            .steps = packed->k4,
            .packed = packed,
            .y = (uint8_t *)g->y + w.row * g->ldy * bytes,
            .ldy = g->ldy,
            .out = g->out,
            .zero_point_y = g->zero_point_y,
            .lo = g->lo,
            .hi = g->hi,
        };
        if (sums) {
            if (fresh) clq_product_row_bias(g, w.row, w.rows, way);
            s.row_bias = g->scratch;
        }
        if (copies) {
            if (fresh) clq_product_copy(g, w.row, s.rows, space, way);
            s.a = space;
            s.lda = 4 * packed->k4;
        }
        if (wide && s.rows >= CLQ_PRODUCT_LEAST_WIDE) {
            int16_t *to = (int16_t *)(space + (copies ? clq_product_copy_bytes(most, packed->k4) : 0));
            s.wide_columns = to;
            s.wide_rows = to + 64 * packed->k4;
            if (fresh) way->widen(s.a, s.lda, s.rows, packed->k4, to + 64 * packed->k4);
        }
        ready = w;
        s.panel = w.panel;
        const struct clq_strips all = {.strip = s, .panels = count - w.panel < grid.panels ? count - w.panel : grid.panels, .lines = 1};
        clq_strips_run(&all, way);
        struct clq_residual_block b = clq_product_due(&units, u, packed);
        b.row = w.row;
        b.rows = w.rows;
        clq_residual_run(g->residual, g->out, g->y, g->ldy, &b, way->residual);
        clq_row_sums(g->sums_y, g->out, g->y, g->ldy, &b);
    }
}

#endif
