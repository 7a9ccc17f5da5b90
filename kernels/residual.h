/* SPDX-License-Identifier: Apache-2.0
 * The residual of an integer product: added to its codes block by block, as soon as a block is written and while it is in the
 * caches. The sum is bound by arithmetic, so registers would spare it one load and one store in a hundred instructions. Every
 * CPU version of products and convolutions ends here; products then sum the rows for a next one. */
#ifndef CLQ_KERNELS_RESIDUAL_H
#define CLQ_KERNELS_RESIDUAL_H

#include "kernels/kernels.h"

/* Rows of add.n codes at add.a, which is add.y, and at add.b. is_signed: all codes and constants are those of int8. */
struct clq_residual_rows {
    struct clq_binary_u8_args add;
    size_t rows, ld_y, ld_r;
    bool is_signed;
};
typedef void clq_residual_fn(const struct clq_residual_rows *rows);
clq_residual_fn clq_residual_ref, clq_residual_avx2, clq_residual_avx512, clq_residual_neon;

/* A part of y: rows are those of a product, or pixels. */
struct clq_residual_block {
    size_t row, rows, column, columns;
};

/* The sum as an addition of n codes, whose arrays are still missing. */
static inline struct clq_binary_u8_args clq_residual_sum(const struct clq_residual *r, size_t n)
{
    return (struct clq_binary_u8_args){
        .n = n,
        .scale_a = r->scale_q,
        .scale_b = r->scale_r,
        .scale_y = r->scale_y,
        .zero_point_a = r->zero_point_q,
        .zero_point_b = r->zero_point_r,
        .zero_point_y = r->zero_point_y,
        .lo = r->lo,
        .hi = r->hi,
    };
}

static inline void clq_residual_run(const struct clq_residual *r, enum clq_out out, void *y, size_t ldy,
                                    const struct clq_residual_block *b, clq_residual_fn *add)
{
    if (r == NULL || b->columns == 0) return;
    struct clq_residual_rows rows = {
        .add = clq_residual_sum(r, b->columns),
        .rows = b->rows,
        .ld_y = ldy,
        .ld_r = r->ld,
        .is_signed = out == CLQ_OUT_S8,
    };
    rows.add.y = (uint8_t *)y + b->row * ldy + b->column;
    rows.add.a = rows.add.y;
    rows.add.b = (const uint8_t *)r->codes + b->row * r->ld + b->column;
    if (b->columns == ldy && b->columns == r->ld) { /* one long row */
        rows.add.n *= b->rows;
        rows.rows = 1;
    }
    add(&rows);
}

/* Adds the codes of a block to the sums of its rows. Other units may do the same for other columns at the same time. */
static inline void clq_row_sums(int32_t *sums, enum clq_out out, const void *y, size_t ldy, const struct clq_residual_block *b)
{
    if (sums == NULL || b->columns == 0) return;
    for (size_t r = b->row; r < b->row + b->rows; r++) {
        const uint8_t *row = (const uint8_t *)y + r * ldy + b->column;
        const int8_t *signed_row = (const int8_t *)row;
        uint32_t sum = 0;
        if (out == CLQ_OUT_S8)
            for (size_t i = 0; i < b->columns; i++) sum += (uint32_t)signed_row[i];
        else
            for (size_t i = 0; i < b->columns; i++) sum += row[i];
        __atomic_fetch_add((uint32_t *)sums + r, sum, __ATOMIC_RELAXED);
    }
}

/* The channels from c0 on of some rows of output pixels of one image. */
static inline void clq_residual_pixels(const struct clq_conv_args *c, size_t image, size_t oy, size_t rows, size_t c0,
                                       size_t channels, clq_residual_fn *add)
{
    const struct clq_residual_block b = {(image * c->oh + oy) * c->ow, rows * c->ow, c0, channels};
    clq_residual_run(c->residual, c->out, c->y, c->co, &b, add);
}

#endif
