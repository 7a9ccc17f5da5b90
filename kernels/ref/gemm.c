/* SPDX-License-Identifier: Apache-2.0
 * Integer matrix product, the specification: sums in int64, so every K and every operand is exact. One unit is one row;
 * nothing is packed. */
#include "kernels/functions.h"
#include "kernels/ref/requantize.h"
#include "kernels/residual.h"

static void plan(struct clq_gemm_args *g)
{
    g->packed_bytes = 0;
    g->scratch_bytes = 0;
    g->units = g->m;
}

void clq_gemm_u8s8_plan_ref(struct clq_gemm_args *g)
{
    plan(g);
}

void clq_gemm_s8s8_plan_ref(struct clq_gemm_args *g)
{
    plan(g);
}

void clq_gemm_u8s8_pack_ref(struct clq_gemm_args *g)
{
    (void)g;
}

void clq_gemm_s8s8_pack_ref(struct clq_gemm_args *g)
{
    (void)g;
}

static void store(const struct clq_gemm_args *g, size_t row, size_t n, int64_t v)
{
    const float *multiplier = g->out == CLQ_OUT_S32 ? NULL : g->multiplier + n;
    clq_store_ref(g->y, row * g->ldy + n, g->out, v, multiplier, g->zero_point_y, g->lo, g->hi);
}

static void finish_row(const struct clq_gemm_args *g, size_t row)
{
    const struct clq_residual_block b = {row, 1, 0, g->n};
    clq_residual_run(g->residual, g->out, g->y, g->ldy, &b, clq_residual_ref);
    clq_row_sums(g->sums_y, g->out, g->y, g->ldy, &b);
}

void clq_gemm_u8s8_ref(struct clq_gemm_args *g)
{
    for (size_t row = g->unit_begin; row < g->unit_end; row++) {
        const uint8_t *a = (const uint8_t *)g->a + row * g->lda;
        for (size_t n = 0; n < g->n; n++) {
            const int8_t *w = g->weight + n * g->k;
            int64_t v = g->bias ? g->bias[n] : 0;
            for (size_t k = 0; k < g->k; k++) v += (a[k] - g->zero_point_a) * w[k];
            store(g, row, n, v);
        }
        finish_row(g, row);
    }
}

void clq_gemm_s8s8_ref(struct clq_gemm_args *g)
{
    for (size_t row = g->unit_begin; row < g->unit_end; row++) {
        const int8_t *a = (const int8_t *)g->a + row * g->lda;
        for (size_t n = 0; n < g->n; n++) {
            const int8_t *w = g->weight + n * g->k;
            int64_t v = g->bias ? g->bias[n] : 0;
            for (size_t k = 0; k < g->k; k++) v += (a[k] - g->zero_point_a) * w[k];
            store(g, row, n, v);
        }
        finish_row(g, row);
    }
}
