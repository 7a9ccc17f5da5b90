/* SPDX-License-Identifier: Apache-2.0
 * Which taps of a pooling window lie inside the image, and the loop over windows. Static, so that each ISA folder compiles its
 * own copy. */
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

/* One vector of channels of one output pixel, from `channel` on; y is the pixel's channel 0. */
typedef void clq_pool_step(const struct clq_pool_args *p, const struct clq_pool_window *w, size_t channel, uint8_t *y);

/* All pixels of the rows, `width` channels at a time; the step is a constant of each caller and becomes a part of its loop. */
static inline __attribute__((always_inline)) void clq_pool_each(const struct clq_pool_args *p, size_t width, clq_pool_step *step)
{
    uint8_t *y = p->y + p->row_begin * p->ow * p->c;
    for (size_t row = p->row_begin; row < p->row_end; row++)
        for (size_t ox = 0; ox < p->ow; ox++, y += p->c) {
            const struct clq_pool_window w = clq_pool_window_make(p, row, ox);
            for (size_t c = 0; c < p->c; c += width) step(p, &w, c, y);
        }
}

/* Where the step for channel c really starts: the last one is moved down to be a full one if it can. */
static inline size_t clq_pool_step_start(size_t c, size_t channels, size_t width)
{
    return channels >= width && channels - c < width ? channels - width : c;
}

#endif
