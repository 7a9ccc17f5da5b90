/* SPDX-License-Identifier: Apache-2.0
 * Which taps of a pooling window lie inside the image. Static, so that each ISA folder compiles its own copy. */
#ifndef CLQ_KERNELS_POOL_WINDOW_H
#define CLQ_KERNELS_POOL_WINDOW_H

#include "kernels/kernels.h"

/* The inside of one output pixel's window: x points to its first tap and channel 0; rows and columns count taps;
 * row_step and column_step are the distances of neighboring taps in bytes. */
struct clq_pool_window {
    const uint8_t *x;
    size_t rows, columns, row_step, column_step;
};

/* Along one axis tap i lies at start + i * dilation - pad. Returns the first i inside 0..limit-1, and in *end the first
 * one behind them; both are equal where none is inside. */
static inline size_t clq_pool_window_taps(size_t start, size_t pad, size_t dilation, size_t taps, size_t limit,
                                          size_t *end)
{
    const size_t first = start >= pad ? 0 : (pad - start + dilation - 1) / dilation;
    const size_t behind = limit + pad > start ? (limit + pad - start + dilation - 1) / dilation : 0;
    *end = behind < taps ? behind : taps;
    return first < *end ? first : *end;
}

static inline struct clq_pool_window clq_pool_window_make(const struct clq_pool_args *p, size_t row, size_t ox)
{
    size_t y_end, x_end;
    const size_t y_start = row % p->oh * p->stride_h, x_start = ox * p->stride_w;
    const size_t ky = clq_pool_window_taps(y_start, p->pad_top, p->dilation_h, p->kh, p->h, &y_end);
    const size_t kx = clq_pool_window_taps(x_start, p->pad_left, p->dilation_w, p->kw, p->w, &x_end);
    const size_t top = y_start + ky * p->dilation_h - p->pad_top, left = x_start + kx * p->dilation_w - p->pad_left;
    return (struct clq_pool_window){
        .x = p->x + ((row / p->oh * p->h + top) * p->w + left) * p->c,
        .rows = y_end - ky,
        .columns = x_end - kx,
        .row_step = p->dilation_h * p->w * p->c,
        .column_step = p->dilation_w * p->c,
    };
}

#endif
