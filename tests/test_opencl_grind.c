/* SPDX-License-Identifier: Apache-2.0
 * Every portable OpenCL kernel at shapes small enough for oclgrind, on buffers without canaries so that the simulator
 * sees each access outside of them. Arguments: the variant, and one for few rows. Prints how many runs equal the reference. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device_cl.h"

enum { SIZE = 4096 };

struct state {
    struct clq_cl *cl;
    struct clq_kernels reference;
    struct clq_error err;
    int runs, bad;
    float f[SIZE], want_f[SIZE], got_f[SIZE];
    uint8_t a[SIZE], b[SIZE], want[SIZE], got[SIZE];
    int8_t w[SIZE];
    uint8_t zero[128];
    int32_t bias[128];
    float multiplier[128];
};

static void expect(struct state *s, clq_status st, const void *want, const void *got, size_t bytes, const char *what)
{
    s->runs++;
    if (st == CLQ_OK && memcmp(want, got, bytes) == 0) return;
    s->bad++;
    printf("%s: %s\n", what, st == CLQ_OK ? "differs from the reference" : s->err.text);
}

static void fill(struct state *s)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY, 0x1p-149f, -0.0f};
    uint32_t r = 1;
    for (size_t i = 0; i < SIZE; i++) {
        r = r * 1664525u + 1013904223u;
        s->a[i] = (uint8_t)(r >> 24);
        s->b[i] = (uint8_t)(r >> 16);
        s->w[i] = (int8_t)(r >> 8);
        s->f[i] = i % 13 ? (float)(int32_t)r * 0x1p-26f : odd[i / 13 % 5];
    }
    for (size_t i = 0; i < 128; i++) {
        s->zero[i] = i * 7 % 16;
        s->bias[i] = (int32_t)i * 37 - 900;
        s->multiplier[i] = 0x1p-9f * (float)(i + 1);
    }
}

static void elementwise(struct state *s, size_t n)
{
    struct clq_error *e = &s->err;
    struct clq_quantize_args q = {s->f, s->want, n, 0.05f, 3, false};
    struct clq_dequantize_args d = {s->a, s->want_f, n, 0.05f, 3, false};
    struct clq_binary_u8_args b = {s->a, s->b, s->want, n, 0.05f, 0.04f, 0.07f, 1, 2, 3, 0, 250};
    struct clq_lut_args l = {s->a, s->want, n, s->b};
    s->reference.quantize_f32_u8(&q);
    q.y = s->got;
    expect(s, clq_cl_quantize(s->cl, false, &q, NULL, e), s->want, s->got, n, "quantize");
    s->reference.dequantize_u8_f32(&d);
    d.y = s->got_f;
    expect(s, clq_cl_dequantize(s->cl, false, &d, NULL, e), s->want_f, s->got_f, n * sizeof(float), "dequantize");
    s->reference.add_u8(&b);
    b.y = s->got;
    expect(s, clq_cl_add(s->cl, &b, NULL, e), s->want, s->got, n, "add");
    b.y = s->want;
    s->reference.mul_u8(&b);
    b.y = s->got;
    expect(s, clq_cl_mul(s->cl, &b, NULL, e), s->want, s->got, n, "mul");
    s->reference.lut_u8(&l);
    l.y = s->got;
    expect(s, clq_cl_lut(s->cl, &l, NULL, e), s->want, s->got, n, "lut");
}

static void statistics(struct state *s, size_t n)
{
    struct clq_minmax_args want = {.x = s->f, .n = n, .min = INFINITY, .max = -INFINITY}, got = want;
    static uint64_t counts[4][1024];
    struct clq_histogram_args h = {s->f, n, 6, 10, counts[0], counts[1]};
    s->reference.minmax_f32(&want);
    clq_status st = clq_cl_minmax(s->cl, &got, NULL, &s->err);
    expect(s, st, &want, &got, sizeof want, "minmax");
    memset(counts, 0, sizeof counts);
    s->reference.histogram_f32(&h);
    h.positive = counts[2];
    h.negative = counts[3];
    st = clq_cl_histogram(s->cl, &h, NULL, &s->err);
    expect(s, st, counts[0], counts[2], sizeof counts / 2, "histogram");
}

static void pool(struct state *s)
{
    struct clq_pool_args p = {1, 5, 4,    7,       3,     2,     3, 3,  2,     2, 1, 1,
                              1, 1, s->a, s->want, 0.05f, 0.04f, 9, 17, false, 0, 3};
    s->reference.maxpool_u8(&p);
    p.y = s->got;
    expect(s, clq_cl_maxpool(s->cl, &p, NULL, &s->err), s->want, s->got, 3 * 2 * 7, "maxpool");
    p.y = s->want;
    s->reference.avgpool_u8(&p);
    p.y = s->got;
    expect(s, clq_cl_avgpool(s->cl, &p, NULL, &s->err), s->want, s->got, 3 * 2 * 7, "avgpool");
}

static void gemm(struct state *s, bool is_signed, size_t m, size_t n, size_t k)
{
    struct clq_gemm_args g = {.m = m,
                              .n = n,
                              .k = k,
                              .a = s->a,
                              .lda = k,
                              .weight = s->w,
                              .bias = s->bias,
                              .multiplier = s->multiplier,
                              .zero_point_a = 5,
                              .zero_point_y = 7,
                              .hi = 255,
                              .ldy = n,
                              .y = s->want,
                              .bound = INT32_MAX};
    struct clq_cl_weight *w = NULL;
    if (is_signed) s->reference.gemm_s8s8_plan(&g);
    else s->reference.gemm_u8s8_plan(&g);
    g.unit_end = g.units;
    if (is_signed) s->reference.gemm_s8s8(&g);
    else s->reference.gemm_u8s8(&g);
    g.y = s->got;
    clq_status st = clq_cl_prepare_gemm(&w, s->cl, is_signed, &g, &s->err);
    if (st == CLQ_OK) st = clq_cl_gemm(s->cl, w, &g, NULL, &s->err);
    expect(s, st, s->want, s->got, m * n, is_signed ? "gemm_s8s8" : "gemm_u8s8");
    clq_cl_weight_free(s->cl, w);
}

static void gemm_u4(struct state *s, size_t m, size_t n, size_t k, size_t group)
{
    struct clq_gemm_u4_args g = {.m = m,
                                 .n = n,
                                 .k = k,
                                 .group = group,
                                 .a = s->a,
                                 .lda = k,
                                 .scale_a = s->multiplier,
                                 .weight = s->b,
                                 .scale = s->multiplier,
                                 .zero_point = n % 2 ? s->zero : NULL,
                                 .bias = s->multiplier,
                                 .y = s->want_f,
                                 .ldy = n};
    struct clq_cl_u4 *w = NULL;
    s->reference.gemm_s8u4_plan(&g);
    g.unit_end = g.units;
    s->reference.gemm_s8u4(&g);
    g.y = s->got_f;
    clq_status st = clq_cl_prepare_u4(&w, s->cl, &g, &s->err);
    if (st == CLQ_OK) st = clq_cl_gemm_u4(s->cl, w, &g, NULL, &s->err);
    expect(s, st, s->want_f, s->got_f, m * n * sizeof(float), "gemm_s8u4");
    g.y = s->want_f;
    s->reference.gemm_g8u4(&g);
    g.y = s->got_f;
    if (st == CLQ_OK) st = clq_cl_gemm_u4_grouped(s->cl, w, &g, &s->err);
    expect(s, st, s->want_f, s->got_f, m * n * sizeof(float), "gemm_g8u4");
    g.a = s->multiplier;
    g.m = 1;
    g.y = s->want_f;
    s->reference.gemm_f32u4_plan(&g);
    g.unit_end = g.units;
    s->reference.gemm_f32u4(&g);
    g.y = s->got_f;
    if (st == CLQ_OK) st = clq_cl_gemm_u4_real(s->cl, w, &g, &s->err);
    expect(s, st, s->want_f, s->got_f, n * sizeof(float), "gemm_f32u4");
    clq_cl_u4_free(s->cl, w);
}

static void conv(struct state *s, size_t ci, size_t co, size_t groups)
{
    struct clq_conv_args c = {.batch = 1,
                              .h = 5,
                              .w = 4,
                              .ci = ci,
                              .oh = 3,
                              .ow = 2,
                              .co = co,
                              .kh = 3,
                              .kw = 3,
                              .stride_h = 2,
                              .stride_w = 2,
                              .pad_top = 1,
                              .pad_left = 1,
                              .dilation_h = 1,
                              .dilation_w = 1,
                              .groups = groups,
                              .x = s->a,
                              .weight = s->w,
                              .bias = s->bias,
                              .multiplier = s->multiplier,
                              .zero_point_x = 77,
                              .zero_point_y = 7,
                              .hi = 255,
                              .y = s->want,
                              .bound = INT32_MAX};
    struct clq_cl_weight *w = NULL;
    s->reference.conv_u8s8_plan(&c);
    c.unit_end = c.units;
    s->reference.conv_u8s8(&c);
    c.y = s->got;
    clq_status st = clq_cl_prepare_conv(&w, s->cl, &c, &s->err);
    if (st == CLQ_OK) st = clq_cl_conv(s->cl, w, &c, NULL, &s->err);
    expect(s, st, s->want, s->got, c.oh * c.ow * co, "conv");
    clq_cl_weight_free(s->cl, w);
}

int main(int argc, char **argv)
{
    static struct state s;
    const char *wanted = argc > 1 ? argv[1] : "generic";
    char only[128];
    struct clq_cl_options options = {
        .only = only, .exact_buffers = true, .skip_selftest = true, .timeout_ms = 600000};
    snprintf(only, sizeof only, "%s %s", wanted, argc > 2 ? argv[2] : "");
    clq_kernels_init(&s.reference, 0);
    fill(&s);
    if (clq_cl_open(&s.cl, 0, &options, &s.err) != CLQ_OK) {
        printf("%s\n", s.err.text);
        return 1;
    }
    if (strcmp(wanted, "generic") == 0) {
        elementwise(&s, 131);
        elementwise(&s, 3);
        statistics(&s, 131);
        pool(&s);
        conv(&s, 6, 6, 6);
        conv(&s, 6, 4, 2);
    }
    if (strcmp(wanted, "generic") == 0 || argc > 2) {
        gemm_u4(&s, 5, 9, 37, 16);
        gemm_u4(&s, 2, 70, 20, 32);
        if (argc > 2 && strcmp(clq_cl_variant(s.cl, CLQ_CL_GEMM_U4), wanted) + strcmp(clq_cl_variant(s.cl, CLQ_CL_GEMV_U4), argv[2]) != 0) s.bad++;
    }
    gemm(&s, false, 5, 9, 7);
    gemm(&s, true, 3, 70, 12);
    conv(&s, 3, 5, 1);
    conv(&s, 8, 66, 1);
    const char *variant = clq_cl_variant(s.cl, CLQ_CL_GEMM);
    if (!variant || strcmp(variant, wanted) != 0) s.bad++;
    clq_cl_close(s.cl);
    printf("%d runs equal the reference, %d do not\n", s.runs - s.bad, s.bad);
    return s.bad != 0;
}
