/* SPDX-License-Identifier: Apache-2.0
 * Sum and product of two quantized tensors, the specification: dequantize, one operation, quantize, in binary32. */
#include "kernels/functions.h"
#include "kernels/ref/code.h"

void clq_add_u8_ref(struct clq_binary_u8_args *v)
{
    for (size_t i = 0; i < v->n; i++) {
        const float a = (float)(v->a[i] - v->zero_point_a) * v->scale_a;
        const float b = (float)(v->b[i] - v->zero_point_b) * v->scale_b;
        v->y[i] = (uint8_t)clq_code_ref(a + b, v->scale_y, v->zero_point_y, v->lo, v->hi);
    }
}

void clq_mul_u8_ref(struct clq_binary_u8_args *v)
{
    for (size_t i = 0; i < v->n; i++) {
        const float a = (float)(v->a[i] - v->zero_point_a) * v->scale_a;
        const float b = (float)(v->b[i] - v->zero_point_b) * v->scale_b;
        v->y[i] = (uint8_t)clq_code_ref(a * b, v->scale_y, v->zero_point_y, v->lo, v->hi);
    }
}
