/* SPDX-License-Identifier: Apache-2.0
 * Attention, the specification: one row of scores at a time, every sum in ascending order. One unit is one row of one head. */
#include <math.h>

#include "kernels/exponent.h"
#include "kernels/functions.h"

void clq_attention_f32_plan_ref(struct clq_attention_args *a)
{
    a->scratch_bytes = a->keys * sizeof(float);
    a->units = a->batch * a->heads * a->rows;
}

/* Where the head of image b begins. */
static size_t head_at(const struct clq_strides *s, size_t b, size_t h)
{
    return b * s->batch + h * s->head;
}

static void run_row(const struct clq_attention_args *a, size_t b, size_t h, size_t row)
{
    const float *q = a->q + head_at(&a->of_q, b, h) + row * a->of_q.row, *k = a->k + head_at(&a->of_k, b, h);
    const float *v = a->v + head_at(&a->of_v, b, h), *mask = a->mask ? a->mask + head_at(&a->of_mask, b, h) + row * a->of_mask.row : NULL;
    float *y = a->y + head_at(&a->of_y, b, h) + row * a->of_y.row, *p = a->scratch, top = -INFINITY, total = 0;
    for (size_t t = 0; t < a->keys; t++) {
        float sum = 0;
        for (size_t d = 0; d < a->size; d++) sum = fmaf(q[d], k[t * a->of_k.row + d * a->k_step], sum);
        p[t] = fmaf(sum, a->scale, mask ? mask[t] : 0.0f);
        top = p[t] > top ? p[t] : top;
    }
    for (size_t t = 0; t < a->keys; t++) {
        p[t] = clq_exp_down(p[t] - top);
        total += p[t];
    }
    const float share = 1.0f / total;
    for (size_t d = 0; d < a->size_v; d++) {
        float sum = 0;
        for (size_t t = 0; t < a->keys; t++) sum = fmaf(p[t], v[t * a->of_v.row + d], sum);
        sum *= share;
        y[d] = sum != sum ? NAN : sum;
    }
}

void clq_attention_f32_ref(struct clq_attention_args *a)
{
    for (size_t u = a->unit_begin; u < a->unit_end; u++) run_row(a, u / a->rows / a->heads, u / a->rows % a->heads, u % a->rows);
}
