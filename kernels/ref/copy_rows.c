/* SPDX-License-Identifier: Apache-2.0
 * Rows of bytes copied to another distance, through a table or not: the specification. */
#include "kernels/functions.h"

void clq_copy_rows_u8_ref(struct clq_copy_rows_args *v)
{
    for (size_t r = 0; r < v->rows; r++)
        for (size_t i = 0; i < v->n; i++) {
            const uint8_t code = v->x[r * v->x_stride + i];
            v->y[r * v->y_stride + i] = v->table ? v->table[code] : code;
        }
}
