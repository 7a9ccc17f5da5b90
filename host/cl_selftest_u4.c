/* SPDX-License-Identifier: Apache-2.0
 * Exact self-test of the products with 4-bit weights against the reference: tails, groups, scales of both widths with
 * subnormal ones, zero points, one to seven segments, and several blocks of rows. */
#include "cl_selftest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    size_t m, n, k, group, gap;
    bool flipped, f16, zeros, bias;
} cases[] = {
    {1, 1, 1, 1, 0, false, false, false, false},  {5, 70, 37, 64, 3, true, true, true, true},
    {9, 64, 96, 16, 0, false, true, false, true}, {2, 130, 1064, 32, 1, true, false, true, false},
    {4, 9, 6152, 128, 0, false, false, false, true}, {3, 3, 7168, 256, 0, true, true, true, false},
    {1, 65, 2500, 2500, 0, false, false, true, false}, {230, 2, 45, 16, 0, false, true, true, true},
};

enum { MOST_A = 40000, MOST_W = 90000, MOST_POINTS = 4608, MOST_Y = 640, MOST_N = 130, MOST_SCALES = 690 };

struct work {
    float x[MOST_A];
    uint8_t a[MOST_A], weight[MOST_W], zero[MOST_POINTS], scale[4 * MOST_POINTS];
    float scale_a[MOST_SCALES], bias[MOST_N], y[MOST_Y], got[MOST_Y];
};

static void fill(struct work *w, size_t i)
{
    uint64_t seed = i + 77;
    clq_cl_random_bytes(w->a, sizeof w->a, seed);
    clq_cl_random_bytes(w->weight, sizeof w->weight, seed + 1);
    for (size_t j = 0; j < MOST_POINTS; j++) {
        const uint32_t r = clq_cl_random(&seed);
        const uint16_t half = (uint16_t)(r % 7 == 0 ? r >> 22 : r % 0x7c00u);
        const float scale = (float)(1 + r % 997) * 0x1.3p-12f;
        w->zero[j] = (uint8_t)(r >> 28);
        if (cases[i].f16) memcpy(w->scale + 2 * j, &half, 2);
        else memcpy(w->scale + 4 * j, &scale, 4);
    }
    for (size_t j = 0; j < MOST_A; j++) w->x[j] = ldexpf((float)(clq_cl_random(&seed) % 16777216) - 8388608, (int)(clq_cl_random(&seed) % 30) - 30);
    for (size_t j = 0; j < MOST_SCALES; j++) w->scale_a[j] = (float)(1 + clq_cl_random(&seed) % 997) * 0x1.7p-15f;
    for (size_t j = 0; j < MOST_N; j++) w->bias[j] = (float)(clq_cl_random(&seed) % 2001) * 0.01f - 10;
}

static clq_status run_codes(struct clq_cl *cl, struct work *w, struct clq_gemm_u4_args *g, const struct clq_cl_u4 *weight, struct clq_error *err)
{
    const size_t bytes = 4 * g->m * g->ldy;
    struct clq_kernels reference;
    struct clq_cl_trial t;
    char what[96];
    clq_status st = clq_cl_trial_begin(&t, cl, w->a, g->m * g->lda, w->scale_a, sizeof w->scale_a, bytes, err);
    if (st == CLQ_OK) st = clq_cl_upload(cl, &t.y, w->y, bytes, err);
    clq_kernels_init(&reference, 0);
    reference.gemm_s8u4_plan(g);
    g->unit_end = g->units;
    reference.gemm_s8u4(g);
    if (st == CLQ_OK) st = clq_cl_gemm_u4(cl, weight, g, &t.io, err);
    snprintf(what, sizeof what, "4-bit product %zux%zux%zu group %zu", g->m, g->n, g->k, g->group);
    return clq_cl_trial_end(&t, st, w->y, bytes, what, err);
}

/* Operands in host memory: real rows, or rows with a scale per group. */
static clq_status run_hosted(struct clq_cl *cl, struct work *w, struct clq_gemm_u4_args *g, const struct clq_cl_u4 *weight, bool real, struct clq_error *err)
{
    struct clq_kernels reference;
    if (real) g->a = w->x;
    CLQ_TRY((real ? clq_cl_gemm_u4_real : clq_cl_gemm_u4_grouped)(cl, weight, g, err));
    memcpy(w->got, w->y, sizeof w->got);
    memset(w->y, 0x5a, sizeof w->y);
    clq_kernels_init(&reference, 0);
    (real ? reference.gemm_f32u4_plan : reference.gemm_g8u4_plan)(g);
    g->unit_end = g->units;
    (real ? reference.gemm_f32u4 : reference.gemm_g8u4)(g);
    for (size_t i = 0; i < g->m * g->ldy; i++)
        if (memcmp(&w->got[i], &w->y[i], sizeof w->y[i]) != 0)
            return clq_fail(err, CLQ_ERR_NUMERIC, "4-bit product of rows %s %zux%zux%zu group %zu: element %zu: expected %a, actual %a",
                            real ? "of reals" : "in groups", g->m, g->n, g->k,
                            g->group, i, (double)w->y[i], (double)w->got[i]);
    return CLQ_OK;
}

static clq_status test(struct clq_cl *cl, struct work *w, size_t i, enum clq_cl_family family, struct clq_error *err)
{
    const size_t m = cases[i].m, n = cases[i].n, k = cases[i].k;
    struct clq_gemm_u4_args g = {.m = m, .n = n, .k = k, .group = cases[i].group, .a = w->a, .lda = k + cases[i].gap, .ldy = n + cases[i].gap};
    struct clq_cl_u4 *weight = NULL;
    fill(w, i);
    g.flipped = cases[i].flipped;
    g.scale_a = w->scale_a;
    g.weight = w->weight;
    g.scale = w->scale;
    g.scale_f16 = cases[i].f16;
    g.zero_point = cases[i].zeros ? w->zero : NULL;
    g.bias = cases[i].bias ? w->bias : NULL;
    g.y = w->y;
    memset(w->y, 0x5a, sizeof w->y);
    CLQ_TRY(clq_cl_prepare_u4(&weight, cl, &g, err));
    const bool real = family == CLQ_CL_GEMM_U4_REAL, hosted = real || family == CLQ_CL_GEMM_U4_GROUPED;
    clq_status st = hosted ? run_hosted(cl, w, &g, weight, real, err) : run_codes(cl, w, &g, weight, err);
    clq_cl_u4_free(cl, weight);
    return st;
}

clq_status clq_cl_selftest_u4(struct clq_cl *cl, enum clq_cl_family family, struct clq_error *err)
{
    const size_t few_rows = cl->few_rows;
    struct work *w = malloc(sizeof *w);
    if (!w) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "OpenCL self-test: out of memory");
    clq_status st = CLQ_OK;
    cl->few_rows = family == CLQ_CL_GEMV_U4 ? SIZE_MAX : 0;
    for (size_t i = 0; st == CLQ_OK && i < clq_cl_cases(cl, sizeof cases / sizeof *cases); i++)
        st = test(cl, w, i, family, err);
    cl->few_rows = few_rows;
    free(w);
    return st;
}
