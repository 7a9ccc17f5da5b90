/* SPDX-License-Identifier: Apache-2.0
 * Sum and product of two quantized tensors, the specification: dequantize, one operation, quantize, in binary32. */
#include "kernels/functions.h"
#include "kernels/ref/code.h"
#include "kernels/residual.h"

/* code_a, code_b: values of either type. */
static uint8_t sum(const struct clq_binary_u8_args *v, int32_t code_a, int32_t code_b)
{
    const float a = (float)(code_a - v->zero_point_a) * v->scale_a;
    const float b = (float)(code_b - v->zero_point_b) * v->scale_b;
    return (uint8_t)clq_code_ref(a + b, v->scale_y, v->zero_point_y, v->lo, v->hi);
}

void clq_add_u8_ref(struct clq_binary_u8_args *v)
{
    for (size_t i = 0; i < v->n; i++) v->y[i] = sum(v, v->a[i], v->b[i]);
}

void clq_residual_ref(const struct clq_residual_rows *r)
{
    for (size_t row = 0; row < r->rows; row++) {
        uint8_t *y = r->add.y + row * r->ld_y;
        const uint8_t *b = r->add.b + row * r->ld_r;
        for (size_t i = 0; i < r->add.n; i++)
            y[i] = r->is_signed ? sum(&r->add, (int8_t)y[i], (int8_t)b[i]) : sum(&r->add, y[i], b[i]);
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
