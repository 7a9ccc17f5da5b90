/* SPDX-License-Identifier: Apache-2.0
 * Exact self-tests of integer products and convolutions against the reference kernels: every tail, every output type,
 * all pairs of operands, ties of the requantization, and sums at the limit of 32 bits. */
#include "cl_selftest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How operands are filled. */
enum fill {
    RANDOM, /* with many extremes */
    PAIRS,  /* row m is all m, column n all n: every pair of codes with k = 1 */
    EXTREME /* codes at the largest distance from za, times -128 or 127 by column */
};

struct gemm_case {
    size_t m, n, k, gap; /* gap: extra elements between rows of a and y */
    int32_t za, zy, lo, hi;
    enum clq_out out;
    enum fill fill;
    bool tie; /* multiplier 0.5: every odd sum is a tie */
};

static const struct gemm_case gemm_cases[] = {
    {1, 1, 1, 0, 0, 0, 0, 255, CLQ_OUT_U8, RANDOM, true},
    {256, 256, 1, 0, 0, 0, 0, 0, CLQ_OUT_S32, PAIRS, false},
    {256, 256, 1, 0, 128, 128, 0, 255, CLQ_OUT_U8, PAIRS, true},
    {13, 70, 37, 3, 7, 100, 0, 255, CLQ_OUT_U8, RANDOM, false},
    {5, 129, 64, 1, 255, 3, 3, 200, CLQ_OUT_U8, RANDOM, false},
    {25, 24, 130, 0, 128, -5, -128, 127, CLQ_OUT_S8, RANDOM, false},
    {12, 16, 7, 0, 1, 0, 0, 255, CLQ_OUT_F32, RANDOM, false},
    {4, 200, 192, 0, 77, 9, 0, 255, CLQ_OUT_U8, RANDOM, false},
    {141, 150, 320, 16, 128, 128, 0, 255, CLQ_OUT_U8, RANDOM, false},
    {7, 33, 1023, 0, 128, 0, 0, 0, CLQ_OUT_F32, RANDOM, false},
    {3, 90, 2050, 5, 19, 255, 0, 255, CLQ_OUT_U8, RANDOM, false},
    {2, 65, 65793, 0, 0, 0, 0, 0, CLQ_OUT_S32, EXTREME, false},
    {1, 17, 33025, 0, 255, 128, 0, 255, CLQ_OUT_U8, EXTREME, false},
};

/* The operands of one product on the heap; the arrays are bytes long enough for every case. */
struct gemm_data {
    unsigned char *a, *y;
    int8_t *weight;
    int32_t *bias;
    float *multiplier;
};

static void fill_gemm(struct gemm_data *d, const struct gemm_case *c, bool signed_a)
{
    const size_t lda = c->k + c->gap;
    uint64_t seed = c->m * 31 + c->n * 7 + c->k;
    clq_cl_random_bytes(d->a, c->m * lda, seed + 1);
    clq_cl_random_bytes(d->weight, c->n * c->k, seed + 2);
    const unsigned char far = c->za < 128 ? (signed_a ? 0x7f : 0xff) : (signed_a ? 0x80 : 0x00);
    for (size_t i = 0; c->fill == EXTREME && i < c->m * lda; i++) d->a[i] = far;
    for (size_t i = 0; c->fill == EXTREME && i < c->n * c->k; i++) d->weight[i] = i / c->k % 2 ? 127 : -128;
    for (size_t i = 0; c->fill == PAIRS && i < c->m; i++) d->a[i * lda] = (unsigned char)i;
    for (size_t i = 0; c->fill == PAIRS && i < c->n; i++) d->weight[i * c->k] = (int8_t)((int)i - 128);
    for (size_t n = 0; n < c->n; n++) {
        d->bias[n] = c->fill == RANDOM ? (int32_t)(clq_cl_random(&seed) % 20001) - 10000 : 0;
        d->multiplier[n] = c->tie ? 0.5f : (float)(1 + clq_cl_random(&seed) % 997) * 0x1.3p-17f;
    }
}

static void free_gemm(struct gemm_data *d)
{
    free(d->a);
    free(d->y);
    free(d->weight);
    free(d->bias);
    free(d->multiplier);
}

static bool alloc_gemm(struct gemm_data *d, size_t a, size_t weight, size_t n, size_t y)
{
    *d = (struct gemm_data){calloc(a, 1), calloc(y, 4), calloc(weight, 1), calloc(n, sizeof(int32_t)),
                            calloc(n, sizeof(float))};
    return d->a && d->y && d->weight && d->bias && d->multiplier;
}

static clq_status run_gemm(struct clq_cl *cl, struct gemm_data *d, struct clq_gemm_args *g, bool signed_a,
                           struct clq_error *err)
{
    const size_t unit = g->out == CLQ_OUT_F32 || g->out == CLQ_OUT_S32 ? 4 : 1, bytes = g->m * g->ldy * unit;
    struct clq_cl_weight *w = NULL;
    struct clq_cl_trial t;
    CLQ_TRY(clq_cl_prepare_gemm(&w, cl, signed_a, g, err));
    clq_status st = clq_cl_trial_begin(&t, cl, d->a, g->m * g->lda, NULL, 0, bytes, err);
    memset(d->y, 0x5a, bytes);
    if (st == CLQ_OK) st = clq_cl_upload(cl, &t.y, d->y, bytes, err);
    struct clq_kernels reference;
    clq_kernels_init(&reference, 0);
    if (signed_a) {
        reference.gemm_s8s8_plan(g);
        g->unit_end = g->units;
        reference.gemm_s8s8(g);
    } else {
        reference.gemm_u8s8_plan(g);
        g->unit_end = g->units;
        reference.gemm_u8s8(g);
    }
    if (st == CLQ_OK) st = clq_cl_gemm(cl, w, g, &t.io, err);
    char what[96];
    snprintf(what, sizeof what, "product %zux%zux%zu out %d%s", g->m, g->n, g->k, (int)g->out, signed_a ? " s8" : "");
    st = clq_cl_trial_end(&t, st, d->y, bytes, what, err);
    clq_cl_weight_free(cl, w);
    return st;
}

static clq_status test_gemm(struct clq_cl *cl, const struct gemm_case *c, bool signed_a, struct clq_error *err)
{
    struct gemm_data d;
    const size_t lda = c->k + c->gap, ldy = c->n + c->gap;
    clq_status st;
    if (!alloc_gemm(&d, c->m * lda, c->n * c->k, c->n, c->m * ldy)) {
        st = clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "OpenCL self-test: out of memory");
    } else {
        fill_gemm(&d, c, signed_a);
        struct clq_gemm_args g = {.m = c->m,
                                  .n = c->n,
                                  .k = c->k,
                                  .a = d.a,
                                  .lda = lda,
                                  .weight = d.weight,
                                  .bias = d.bias,
                                  .multiplier = d.multiplier,
                                  .zero_point_a = signed_a ? c->za - 128 : c->za,
                                  .zero_point_y = c->zy,
                                  .lo = c->lo,
                                  .hi = c->hi,
                                  .out = c->out,
                                  .y = d.y,
                                  .ldy = ldy,
                                  .bound = INT32_MAX};
        st = run_gemm(cl, &d, &g, signed_a, err);
    }
    free_gemm(&d);
    return st;
}

/* batch, h, w, ci, oh, ow, co, kh, kw, strides, pads, dilations, groups. */
static const unsigned char conv_cases[][16] = {
    {2, 9, 7, 3, 5, 4, 20, 3, 3, 2, 2, 1, 1, 1, 1, 1},       {1, 8, 8, 16, 8, 8, 64, 3, 3, 1, 1, 1, 1, 1, 1, 1},
    {1, 11, 6, 37, 4, 4, 70, 3, 2, 2, 1, 0, 0, 2, 2, 1},     {1, 7, 7, 24, 4, 4, 33, 1, 1, 2, 2, 0, 0, 1, 1, 1},
    {1, 5, 40, 4, 5, 40, 129, 5, 5, 1, 1, 2, 2, 1, 1, 1},    {1, 3, 3, 5, 2, 2, 9, 4, 4, 1, 1, 1, 1, 1, 1, 1},
    {2, 6, 5, 12, 6, 5, 20, 3, 3, 1, 1, 1, 1, 1, 1, 4},      {1, 7, 7, 6, 4, 4, 66, 3, 3, 2, 2, 1, 1, 1, 1, 2},
    {2, 9, 7, 37, 9, 7, 37, 3, 3, 1, 1, 1, 1, 1, 1, 37},     {1, 14, 14, 64, 7, 7, 64, 3, 3, 2, 2, 1, 1, 1, 1, 64},
    {1, 12, 12, 20, 12, 12, 20, 5, 5, 1, 1, 2, 2, 1, 1, 20}, {1, 9, 9, 19, 5, 5, 19, 3, 3, 1, 1, 0, 0, 2, 2, 19},
};

static struct clq_conv_args conv_shape(const unsigned char *c)
{
    struct clq_conv_args a = {.batch = c[0],
                              .h = c[1],
                              .w = c[2],
                              .ci = c[3],
                              .oh = c[4],
                              .ow = c[5],
                              .co = c[6],
                              .kh = c[7],
                              .kw = c[8],
                              .stride_h = c[9],
                              .stride_w = c[10],
                              .pad_top = c[11],
                              .pad_left = c[12],
                              .dilation_h = c[13],
                              .dilation_w = c[14],
                              .groups = c[15]};
    return a;
}

static clq_status run_conv(struct clq_cl *cl, struct gemm_data *d, struct clq_conv_args *c, struct clq_error *err)
{
    const size_t unit = c->out == CLQ_OUT_U8 ? 1 : 4, bytes = c->batch * c->oh * c->ow * c->co * unit;
    struct clq_kernels reference;
    struct clq_cl_weight *w = NULL;
    struct clq_cl_trial t;
    clq_kernels_init(&reference, 0);
    reference.conv_u8s8_plan(c);
    c->unit_begin = 0;
    c->unit_end = c->units;
    reference.conv_u8s8(c);
    CLQ_TRY(clq_cl_prepare_conv(&w, cl, c, err));
    clq_status st = clq_cl_trial_begin(&t, cl, d->a, c->batch * c->h * c->w * c->ci, NULL, 0, bytes, err);
    if (st == CLQ_OK) st = clq_cl_conv(cl, w, c, &t.io, err);
    char what[96];
    snprintf(what, sizeof what, "convolution %zux%zux%zu to %zu, %zux%zu, groups %zu, out %d", c->h, c->w, c->ci, c->co,
             c->kh, c->kw, c->groups, (int)c->out);
    st = clq_cl_trial_end(&t, st, d->y, bytes, what, err);
    clq_cl_weight_free(cl, w);
    return st;
}

static clq_status test_conv(struct clq_cl *cl, const struct clq_conv_args *like, enum clq_out out, int32_t zero_point,
                            bool extreme, struct clq_error *err)
{
    struct clq_conv_args c = *like;
    struct gemm_data d;
    const size_t x = c.batch * c.h * c.w * c.ci, k = c.kh * c.kw * (c.ci / c.groups);
    uint64_t seed = x + c.co;
    clq_status st;
    if (!alloc_gemm(&d, x, c.co * k, c.co, c.batch * c.oh * c.ow * c.co)) {
        free_gemm(&d);
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "OpenCL self-test: out of memory");
    }
    clq_cl_random_bytes(d.a, x, seed + 1);
    clq_cl_random_bytes(d.weight, c.co * k, seed + 2);
    if (extreme) memset(d.a, 0xff, x);
    if (extreme) memset(d.weight, 0x80, c.co * k);
    for (size_t n = 0; n < c.co; n++) {
        d.bias[n] = (int32_t)(clq_cl_random(&seed) % 20001) - 10000;
        d.multiplier[n] = n % 3 ? (float)(1 + clq_cl_random(&seed) % 997) * 0x1.3p-17f : 0x1p-6f;
    }
    c.x = d.a;
    c.weight = d.weight;
    c.bias = d.bias;
    c.multiplier = d.multiplier;
    c.zero_point_x = zero_point;
    c.zero_point_y = 255 - zero_point;
    c.lo = zero_point ? 5 : 0;
    c.hi = 255;
    c.out = out;
    c.y = d.y;
    c.bound = INT32_MAX;
    st = run_conv(cl, &d, &c, err);
    free_gemm(&d);
    return st;
}

clq_status clq_cl_selftest_product(struct clq_cl *cl, enum clq_cl_family family, struct clq_error *err)
{
    static const enum clq_out outs[] = {CLQ_OUT_U8, CLQ_OUT_F32, CLQ_OUT_S32};
    static const int32_t zero_points[] = {0, 128, 255};
    if (family == CLQ_CL_GEMM || family == CLQ_CL_GEMV || family == CLQ_CL_FLIP) {
        for (size_t i = 0; i < clq_cl_cases(cl, sizeof gemm_cases / sizeof *gemm_cases); i++)
            CLQ_TRY(test_gemm(cl, &gemm_cases[i], family == CLQ_CL_FLIP, err));
        return CLQ_OK;
    }
    for (size_t i = 0; i < sizeof conv_cases / sizeof *conv_cases; i++) {
        const struct clq_conv_args shape = conv_shape(conv_cases[i]);
        if (clq_cl_conv_family(&shape) != family) continue;
        for (size_t j = 0; j < clq_cl_cases(cl, 3); j++) CLQ_TRY(test_conv(cl, &shape, outs[j], zero_points[(i + j) % 3], false, err));
        if (cl->brief) return CLQ_OK;
        CLQ_TRY(test_conv(cl, &shape, CLQ_OUT_S32, 0, true, err));
    }
    return CLQ_OK;
}
