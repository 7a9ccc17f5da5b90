/* SPDX-License-Identifier: Apache-2.0
 * Plan, pack and run of the integer product on packed panels, for every CPU version: an ISA file passes its strip
 * function and, where its products are narrower, its own packing. Static inline, so each ISA folder compiles its own.
 *
 * Signed activations are unsigned ones with the top bit flipped and a zero point that is 128 larger; their rows are
 * flipped into scratch once per unit, which costs K bytes per row. Rows whose K is no multiple of 4 are copied there
 * as well, so tiles read whole steps and nothing outside the rows. */
#ifndef CLQ_KERNELS_PRODUCT_H
#define CLQ_KERNELS_PRODUCT_H

#include "kernels/panels.h"

typedef void clq_strip_fn(const struct clq_strip *strip);

static inline bool clq_product_copies(const struct clq_gemm_args *g, bool is_signed)
{
    return is_signed || g->k % 4 != 0;
}

static inline struct clq_grid clq_product_grid(const struct clq_gemm_args *g)
{
    return clq_grid_make(g->m, clq_panels_columns(g->n), (g->k + 3) / 4);
}

/* False where the sum does not provably fit 32 bits: then the reference plans. */
static inline bool clq_product_plan(struct clq_gemm_args *g, bool is_signed)
{
    if (g->bound > INT32_MAX) return false;
    const size_t k4 = (g->k + 3) / 4;
    const struct clq_grid grid = clq_product_grid(g);
    g->packed_bytes = clq_panels_bytes(1, g->n, k4);
    g->scratch_bytes = clq_product_copies(g, is_signed) ? grid.rows * k4 * 4 : 0;
    g->units = grid.blocks * grid.ranges;
    return true;
}

/* wide: the tiles are those of AVX512-VNNI, which know the short epilogue and doubled columns. */
static inline struct clq_panels_source clq_product_source(const struct clq_gemm_args *g, bool is_signed, bool wide)
{
    return (struct clq_panels_source){
        .weight = g->weight,
        .bias = g->bias,
        .multiplier = g->out == CLQ_OUT_S32 ? NULL : g->multiplier,
        .groups = 1,
        .n = g->n,
        .segments = 1,
        .segment = g->k,
        .zero_point_a = g->zero_point_a + (is_signed ? 128 : 0),
        .relu = wide && g->out == CLQ_OUT_U8 && g->lo == g->zero_point_y && g->bound < 1 << 23,
        .doubles = wide,
    };
}

static inline void clq_product_copy_row(uint8_t *restrict to, const uint8_t *restrict from, size_t k, uint64_t flip)
{
    size_t i = 0;
    for (; i + 64 <= k; i += 64) {
        uint64_t v[8];
        memcpy(v, from + i, 64);
        for (int j = 0; j < 8; j++) v[j] ^= flip;
        memcpy(to + i, v, 64);
    }
    for (; i + 8 <= k; i += 8) {
        uint64_t v;
        memcpy(&v, from + i, 8);
        v ^= flip;
        memcpy(to + i, &v, 8);
    }
    for (; i < k; i++) to[i] = from[i] ^ (uint8_t)flip;
}

static inline void clq_product_pack(const struct clq_gemm_args *g, bool is_signed, bool wide)
{
    if (g->packed_bytes == 0) return;
    const struct clq_panels_source source = clq_product_source(g, is_signed, wide);
    clq_panels_pack(g->packed, &source);
}

/* Rows first .. first + rows - 1 into scratch, 4 * k4 bytes each. The padding meets weights of 0. */
static inline void clq_product_copy(const struct clq_gemm_args *g, size_t first, size_t rows, bool is_signed)
{
    const size_t ld = (g->k + 3) / 4 * 4;
    const uint64_t flip = is_signed ? 0x8080808080808080u : 0;
    for (size_t r = 0; r < rows; r++) {
        const uint8_t *from = (const uint8_t *)g->a + (first + r) * g->lda;
        uint8_t *to = (uint8_t *)g->scratch + r * ld;
        clq_product_copy_row(to, from, g->k, flip);
        for (size_t k = g->k; k < ld; k++) to[k] = 0;
    }
}

static inline void clq_product_run(const struct clq_gemm_args *g, clq_strip_fn *strip, bool is_signed)
{
    static const size_t start[1] = {0};
    const struct clq_grid grid = clq_product_grid(g);
    const struct clq_panels *packed = g->packed;
    const bool copies = clq_product_copies(g, is_signed);
    const size_t count = clq_panels_count(packed->columns),
                 bytes = g->out == CLQ_OUT_F32 || g->out == CLQ_OUT_S32 ? 4 : 1;
    size_t copied = SIZE_MAX;
    for (size_t u = g->unit_begin; u < g->unit_end; u++) {
        const size_t block = u / grid.ranges, panel = u % grid.ranges * grid.panels, row = block * grid.rows;
        struct clq_strip s = {
            .a = (const uint8_t *)g->a + row * g->lda,
            .lda = g->lda,
            .rows = g->m - row < grid.rows ? g->m - row : grid.rows,
            .offset = start,
            .segments = 1,
            .steps = packed->k4,
            .packed = packed,
            .y = (uint8_t *)g->y + row * g->ldy * bytes,
            .ldy = g->ldy,
            .out = g->out,
            .zero_point_y = g->zero_point_y,
            .lo = g->lo,
            .hi = g->hi,
        };
        if (copies) {
            if (copied != block) clq_product_copy(g, row, s.rows, is_signed);
            copied = block;
            s.a = g->scratch;
            s.lda = 4 * packed->k4;
        }
        for (s.panel = panel; s.panel < panel + grid.panels && s.panel < count; s.panel++) strip(&s);
    }
}

#endif
