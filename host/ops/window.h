/* SPDX-License-Identifier: Apache-2.0
 * Tap ranges of windows, so that no loop runs over padding. */
#ifndef CLQ_OPS_WINDOW_H
#define CLQ_OPS_WINDOW_H

#include <stdint.h>

/* The i of 0..n-1 for which 0 <= i * step + offset < limit: begin..end-1. step >= 1. */
static inline void clq_window_range(int64_t *begin, int64_t *end, int64_t n, int64_t step, int64_t offset,
                                    int64_t limit)
{
    *begin = offset >= 0 ? 0 : (-offset + step - 1) / step;
    *end = limit - offset <= 0 ? 0 : (limit - offset + step - 1) / step;
    if (*end > n) *end = n;
    if (*begin > *end) *begin = *end;
}

#endif
