/* SPDX-License-Identifier: Apache-2.0
 * binary32 to 8-bit codes, the specification: a true division for every value. */
#include "kernels/functions.h"
#include "kernels/ref/code.h"

void clq_quantize_f32_u8_ref(struct clq_quantize_args *q)
{
    uint8_t *y = q->y;
    for (size_t i = 0; i < q->n; i++)
        y[i] = (uint8_t)clq_code_ref(clq_load_ref(q->x, i), q->scale, q->zero_point, 0, 255);
}

void clq_quantize_f32_s8_ref(struct clq_quantize_args *q)
{
    int8_t *y = q->y;
    for (size_t i = 0; i < q->n; i++)
        y[i] = (int8_t)clq_code_ref(clq_load_ref(q->x, i), q->scale, q->zero_point, -128, 127);
}
