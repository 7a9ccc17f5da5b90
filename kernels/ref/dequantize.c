/* SPDX-License-Identifier: Apache-2.0
 * 8-bit codes to binary32, the specification: the zero point is subtracted in integers, one rounding. */
#include "kernels/functions.h"
#include "kernels/ref/code.h"

void clq_dequantize_u8_f32_ref(struct clq_dequantize_args *d)
{
    const uint8_t *x = d->x;
    for (size_t i = 0; i < d->n; i++)
        clq_store_f32_ref(d->y, i, (float)(x[i] - d->zero_point) * d->scale);
}

void clq_dequantize_s8_f32_ref(struct clq_dequantize_args *d)
{
    const int8_t *x = d->x;
    for (size_t i = 0; i < d->n; i++)
        clq_store_f32_ref(d->y, i, (float)(x[i] - d->zero_point) * d->scale);
}
