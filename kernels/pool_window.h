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

/* One vector of channels of one output pixel, from `channel` on; y is the pixel's channel 0. */
typedef void clq_pool_step(const struct clq_pool_args *p, const struct clq_pool_window *w, size_t channel, uint8_t *y);

/* The columns of output pixel ox of a row whose taps begin at line, the first column of the image. */
static inline void clq_pool_window_columns(struct clq_pool_window *w, const struct clq_pool_args *p, const uint8_t *line, size_t ox)
{
    const size_t start = ox * p->stride_w;
    size_t first = 0, end = p->kw;
    if (start < p->pad_left || start + (p->kw - 1) * p->dilation_w >= p->w + p->pad_left)
        first = clq_pool_window_taps(start, p->pad_left, p->dilation_w, p->kw, p->w, &end);
    w->x = line + (start + first * p->dilation_w - p->pad_left) * p->c;
    w->columns = end - first;
}

/* All pixels of the rows, `width` channels at a time; the step is a constant of each caller and becomes a part of its loop. */
static inline __attribute__((always_inline)) void clq_pool_each(const struct clq_pool_args *p, size_t width, clq_pool_step *step)
{
    const struct clq_pool_args own = *p; /* writing codes cannot change it, so constants are computed once */
    uint8_t *y = p->y + p->row_begin * p->ow * p->c;
    p = &own;
    for (size_t row = p->row_begin; row < p->row_end; row++) {
        size_t end;
        const size_t start = row % p->oh * p->stride_h;
        const size_t first = clq_pool_window_taps(start, p->pad_top, p->dilation_h, p->kh, p->h, &end);
        const uint8_t *line = p->x + (row / p->oh * p->h + start + first * p->dilation_h - p->pad_top) * p->w * p->c;
        struct clq_pool_window w = {.rows = end - first, .row_step = p->dilation_h * p->w * p->c, .column_step = p->dilation_w * p->c};
        for (size_t ox = 0; ox < p->ow; ox++, y += p->c) {
            clq_pool_window_columns(&w, p, line, ox);
            for (size_t c = 0; c < p->c; c += width) step(p, &w, c, y);
        }
    }
}

/* Where the step for channel c really starts: the last one is moved down to be a full one if it can. */
static inline size_t clq_pool_step_start(size_t c, size_t channels, size_t width)
{
    return channels >= width && channels - c < width ? channels - width : c;
}

#endif
