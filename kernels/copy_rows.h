/* SPDX-License-Identifier: Apache-2.0
 * Copies rows in pieces whose size the compiler knows: the last piece of a row overlaps the one before. Static, so that each
 * ISA folder compiles its own copy. */
#ifndef CLQ_KERNELS_COPY_ROWS_H
#define CLQ_KERNELS_COPY_ROWS_H

#include <string.h>

#include "kernels/kernels.h"

/* Rows of piece .. bytes; at most two pieces where a row is shorter than two of them. */
static inline __attribute__((always_inline)) void clq_copy_pieces(const struct clq_copy_rows_args *v, size_t piece)
{
    const uint8_t *x = v->x;
    uint8_t *y = v->y;
    for (size_t r = 0; r < v->rows; r++, x += v->x_stride, y += v->y_stride) {
        size_t i = 0;
        for (; i + piece < v->n; i += piece) memcpy(y + i, x + i, piece);
        memcpy(y + v->n - piece, x + v->n - piece, piece);
    }
}

static inline __attribute__((always_inline)) void clq_copy_plain(const struct clq_copy_rows_args *v)
{
    if (v->n >= 32) clq_copy_pieces(v, 32);
    else if (v->n >= 16) clq_copy_pieces(v, 16);
    else if (v->n >= 8) clq_copy_pieces(v, 8);
    else if (v->n >= 4) clq_copy_pieces(v, 4);
    else if (v->n >= 2) clq_copy_pieces(v, 2);
    else if (v->n == 1) clq_copy_pieces(v, 1);
}

/* Short rows that follow each other are looked up together, in a buffer of the first-level cache, and then copied. */
static inline __attribute__((always_inline)) void clq_copy_rows_run(const struct clq_copy_rows_args *v, void (*look_up)(struct clq_lut_args *))
{
    enum { ROOM = 4096 };
    uint8_t found[ROOM];
    if (!v->table) {
        clq_copy_plain(v);
        return;
    }
    const size_t together = v->n > 0 && v->x_stride == v->n ? ROOM / v->n : 0;
    for (size_t r = 0; r < v->rows;) {
        const uint8_t *x = v->x + r * v->x_stride;
        uint8_t *y = v->y + r * v->y_stride;
        const size_t now = together < v->rows - r ? together : v->rows - r;
        if (now < 2) {
            look_up(&(struct clq_lut_args){x, y, v->n, v->table});
            r++;
            continue;
        }
        look_up(&(struct clq_lut_args){x, found, now * v->n, v->table});
        clq_copy_plain(&(struct clq_copy_rows_args){found, y, now, v->n, v->n, v->y_stride, NULL});
        r += now;
    }
}

#endif
