/* SPDX-License-Identifier: Apache-2.0
 * Rows become columns: the specification. */
#include <string.h>

#include "kernels/functions.h"

void clq_transpose_u8_ref(struct clq_transpose_args *t)
{
    const uint8_t *x = t->x;
    uint8_t *y = t->y;
    for (size_t c = 0; c < t->cols; c++)
        for (size_t r = 0; r < t->rows; r++) y[c * t->y_stride + r] = x[r * t->x_stride + c];
}

void clq_transpose_u32_ref(struct clq_transpose_args *t)
{
    const char *x = t->x;
    char *y = t->y;
    for (size_t c = 0; c < t->cols; c++)
        for (size_t r = 0; r < t->rows; r++) memcpy(y + 4 * (c * t->y_stride + r), x + 4 * (r * t->x_stride + c), 4);
}
