/* SPDX-License-Identifier: Apache-2.0
 * The oneDNN steps against naive sums in binary64. A product of K terms may be off by gamma_K times the sum of the
 * magnitudes (numerics.md 11), K counting bias and residual; an activation carries that on with its largest slope and
 * adds an error of its own. Buffers are misaligned on purpose and end at canaries. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu_dnnl.h"

enum { PAD = 16 };
static const float canary = -12345.678f;

static uint64_t seed = 0x243f6a8885a308d3u;

static float uniform(void) /* -1 .. 1 */
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(seed >> 40) / 8388608.0 - 1.0);
}

static float *array(int64_t n) /* misaligned by 4 bytes, canaries at both ends */
{
    float *p = malloc(((size_t)n + 2 * PAD + 1) * sizeof *p);
    assert_non_null(p);
    for (int64_t i = 0; i < n + 2 * PAD + 1; i++) p[i] = canary;
    return p + PAD + 1;
}

static float *random_array(int64_t n)
{
    float *p = array(n);
    for (int64_t i = 0; i < n; i++) p[i] = uniform();
    return p;
}

static void release(float *p, int64_t n)
{
    if (!p) return;
    for (int i = 0; i < PAD; i++) {
        assert_true(p[-1 - i] == canary);
        assert_true(p[n + i] == canary);
    }
    free(p - PAD - 1);
}

static double act_value(enum clq_act act, double a, double b, double x)
{
    switch (act) {
    case CLQ_ACT_NONE: return x;
    case CLQ_ACT_RELU: return x > 0 ? x : 0;
    case CLQ_ACT_CLIP: return fmin(fmax(x, a), b);
    case CLQ_ACT_LEAKY: return x > 0 ? x : a * x;
    case CLQ_ACT_HARDSWISH: return x * fmax(0, fmin(1, x / 6 + 0.5));
    case CLQ_ACT_HARDSIGMOID: return fmax(0, fmin(1, a * x + b));
    case CLQ_ACT_SIGMOID: return 1 / (1 + exp(-x));
    case CLQ_ACT_TANH: return tanh(x);
    case CLQ_ACT_GELU: return 0.5 * x * (1 + erf(x / sqrt(2)));
    case CLQ_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
    case CLQ_ACT_SWISH: return x / (1 + exp(-x));
    case CLQ_ACT_ELU: return x > 0 ? x : a * expm1(x);
    }
    return NAN;
}

/* Own error: a few roundings for the piecewise linear ones; oneDNN's polynomials for the others, which are good to
 * about 2^-21 of the input's or the result's magnitude. */
static double act_error(enum clq_act act, double x, double y)
{
    double scale = fmax(fmax(fabs(x), fabs(y)), 1);
    switch (act) {
    case CLQ_ACT_NONE:
    case CLQ_ACT_RELU:
    case CLQ_ACT_CLIP:
    case CLQ_ACT_LEAKY: return 0x1p-23 * fabs(y);
    case CLQ_ACT_HARDSWISH:
    case CLQ_ACT_HARDSIGMOID: return 0x1p-22 * scale;
    default: return 0x1p-21 * scale;
    }
}

static double act_slope(enum clq_act act, double a)
{
    return act == CLQ_ACT_LEAKY || act == CLQ_ACT_ELU ? fmax(1, fabs(a)) : act == CLQ_ACT_HARDSIGMOID ? fabs(a)
         : act == CLQ_ACT_HARDSWISH ? 1.5 : act == CLQ_ACT_GELU || act == CLQ_ACT_GELU_TANH || act == CLQ_ACT_SWISH ? 1.2 : 1;
}

struct value { /* one reference result: sum, sum of magnitudes, number of terms */
    double sum, magnitude, terms;
};

static void add_term(struct value *v, double x)
{
    v->sum += x;
    v->magnitude += fabs(x);
    v->terms += 1;
}

static void check_value(const char *what, const char *impl, int64_t at, float got, struct value v, enum clq_act act,
                        float a, float b)
{
    double u = 0x1p-24, gamma = v.terms * u / (1 - v.terms * u);
    double want = act_value(act, a, b, v.sum);
    double bound = gamma * v.magnitude * act_slope(act, a) + act_error(act, v.sum, want);
    if (!(fabs(got - want) <= bound))
        fail_msg("%s (%s): element %lld is %a (%.9g), expected %.17g, off by %g, bound %g", what, impl, (long long)at,
                 (double)got, (double)got, want, fabs(got - want), bound);
}

/* ---- convolution */

static void reference_conv(struct value *y, const struct clq_dnnl_conv *d, const float *x)
{
    int64_t g = d->groups, ci = d->ci / g, co = d->co / g;
    for (int64_t n = 0; n < d->batch; n++)
    for (int64_t iy = 0; iy < d->h; iy++)
    for (int64_t ix = 0; ix < d->w; ix++)
    for (int64_t ky = 0; ky < d->kh; ky++)
    for (int64_t kx = 0; kx < d->kw; kx++) {
        int64_t oy = d->transposed ? iy * d->stride_h - d->pad_top + ky * d->dilation_h
                                   : iy + d->pad_top - ky * d->dilation_h;
        int64_t ox = d->transposed ? ix * d->stride_w - d->pad_left + kx * d->dilation_w
                                   : ix + d->pad_left - kx * d->dilation_w;
        if (!d->transposed) {
            if (oy % d->stride_h != 0 || ox % d->stride_w != 0) continue;
            oy /= d->stride_h;
            ox /= d->stride_w;
        }
        if (oy < 0 || ox < 0 || oy >= d->oh || ox >= d->ow) continue;
        for (int64_t q = 0; q < g; q++)
        for (int64_t i = 0; i < ci; i++)
        for (int64_t o = 0; o < co; o++) {
            int64_t w = d->transposed ? ((q * ci + i) * co + o) : ((q * co + o) * ci + i);
            add_term(&y[((n * d->oh + oy) * d->ow + ox) * d->co + q * co + o],
                     (double)x[((n * d->h + iy) * d->w + ix) * d->ci + q * ci + i] *
                     d->weight[(w * d->kh + ky) * d->kw + kx]);
        }
    }
}

static struct clq_dnnl *dnnl;
static const char *last_impl;

/* in_y: the residual is y itself. */
static void check_conv(struct clq_dnnl_conv d, bool bias, bool in_y)
{
    struct clq_error err = {""};
    struct clq_dnnl_step *step = NULL;
    int64_t nx = d.batch * d.h * d.w * d.ci, ny = d.batch * d.oh * d.ow * d.co;
    int64_t nw = d.co * (d.ci / d.groups) * d.kh * d.kw;
    float *x = random_array(nx), *w = random_array(nw), *b = random_array(d.co), *r = random_array(ny), *y = array(ny);
    struct value *want = calloc((size_t)ny, sizeof *want);
    d.weight = w;
    d.bias = bias ? b : NULL;
    reference_conv(want, &d, x);
    for (int64_t i = 0; i < ny; i++) {
        add_term(&want[i], bias ? b[i % d.co] : 0);
        add_term(&want[i], d.residual ? r[i] : 0);
        if (in_y) y[i] = r[i];
    }
    if (clq_dnnl_conv(&step, dnnl, &d, &err) != CLQ_OK) fail_msg("%s", err.text);
    for (int64_t i = 0; i < nw; i++) w[i] = NAN; /* the step has its own copy */
    for (int64_t i = 0; i < d.co; i++) b[i] = NAN;
    for (int repeat = 0; repeat < 2; repeat++) {
        if (in_y) memcpy(y, r, (size_t)ny * sizeof *y);
        assert_int_equal(clq_dnnl_run(dnnl, step, x, NULL, !d.residual ? NULL : in_y ? y : r, y, &err), CLQ_OK);
        for (int64_t i = 0; i < ny; i++)
            check_value("conv", clq_dnnl_step_name(step), i, y[i], want[i], d.act, d.a, d.b);
    }
    static char name[64];
    strcpy(name, clq_dnnl_step_name(step));
    last_impl = name;
    clq_dnnl_step_free(step);
    free(want);
    release(x, nx);
    release(w, nw);
    release(b, d.co);
    release(r, ny);
    release(y, ny);
}

static const struct {
    int batch, g, ci, co, kh, kw, sh, sw, dh, dw, h, w, top, left, bottom, right;
} geometries[] = {
    {1, 1, 3, 32, 3, 3, 2, 2, 1, 1, 23, 21, 0, 0, 1, 1},
    {1, 1, 1, 5, 3, 3, 1, 1, 1, 1, 9, 9, 1, 1, 1, 1},
    {2, 1, 3, 7, 5, 5, 1, 1, 1, 1, 11, 13, 2, 2, 2, 2},
    {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
    {1, 1, 16, 96, 1, 1, 1, 1, 1, 1, 14, 14, 0, 0, 0, 0},
    {1, 1, 96, 24, 1, 1, 1, 1, 1, 1, 15, 13, 0, 0, 0, 0},
    {2, 1, 40, 240, 1, 1, 1, 1, 1, 1, 7, 7, 0, 0, 0, 0},
    {1, 1, 480, 112, 1, 1, 1, 1, 1, 1, 7, 7, 0, 0, 0, 0},
    {1, 1, 13, 17, 1, 1, 1, 1, 1, 1, 5, 6, 0, 0, 0, 0},
    {1, 1, 33, 8, 1, 1, 2, 2, 1, 1, 9, 9, 0, 0, 0, 0},
    {1, 1, 3, 11, 1, 1, 1, 1, 1, 1, 9, 9, 0, 0, 0, 0},
    {1, 1, 64, 64, 3, 3, 1, 1, 1, 1, 10, 10, 1, 1, 1, 1},
    {1, 1, 24, 24, 3, 3, 1, 1, 1, 1, 17, 19, 1, 1, 1, 1},
    {2, 1, 19, 21, 3, 3, 2, 1, 1, 2, 17, 18, 1, 2, 0, 3},
    {1, 1, 32, 40, 3, 3, 1, 1, 2, 2, 17, 17, 2, 2, 2, 2},
    {1, 1, 56, 24, 9, 9, 1, 1, 1, 1, 12, 12, 4, 4, 4, 4},
    {1, 1, 8, 16, 3, 3, 3, 3, 1, 1, 11, 11, 0, 0, 0, 0},
    {1, 32, 32, 32, 3, 3, 1, 1, 1, 1, 14, 14, 1, 1, 1, 1},
    {1, 96, 96, 96, 3, 3, 2, 2, 1, 1, 15, 15, 0, 0, 1, 1},
    {2, 144, 144, 144, 5, 5, 2, 2, 1, 1, 9, 9, 2, 2, 2, 2},
    {1, 13, 13, 13, 3, 3, 1, 1, 1, 1, 8, 8, 1, 1, 1, 1},
    {1, 20, 20, 20, 5, 5, 1, 1, 2, 2, 12, 12, 4, 4, 4, 4},
    {1, 24, 24, 48, 3, 3, 1, 1, 1, 1, 8, 8, 1, 1, 1, 1},
    {1, 16, 16, 16, 1, 1, 1, 1, 1, 1, 8, 8, 0, 0, 0, 0},
    {1, 4, 32, 64, 3, 3, 1, 1, 1, 1, 9, 9, 1, 1, 1, 1},
    {1, 2, 64, 64, 1, 1, 1, 1, 1, 1, 9, 9, 0, 0, 0, 0},
    {2, 4, 12, 20, 3, 3, 1, 1, 1, 1, 7, 9, 1, 1, 1, 1},
    {1, 3, 3, 3, 3, 3, 1, 1, 1, 1, 7, 9, 1, 1, 1, 1},
    {1, 1, 64, 48, 1, 3, 1, 1, 1, 1, 1, 50, 0, 1, 0, 1},
    {2, 1, 1, 19, 1, 10, 1, 5, 1, 1, 1, 101, 0, 0, 0, 0},
    {1, 64, 64, 64, 1, 5, 1, 1, 1, 3, 1, 40, 0, 6, 0, 6},
    {1, 1, 24, 24, 3, 1, 1, 1, 1, 1, 9, 7, 1, 0, 1, 0},
    {1, 1, 16, 16, 3, 3, 1, 1, 1, 1, 3, 3, 3, 3, 3, 3}
};

static struct clq_dnnl_conv geometry(size_t i)
{
    int64_t eh = (geometries[i].kh - 1) * geometries[i].dh + 1, ew = (geometries[i].kw - 1) * geometries[i].dw + 1;
    struct clq_dnnl_conv d = {
        .batch = geometries[i].batch, .h = geometries[i].h, .w = geometries[i].w, .ci = geometries[i].ci,
        .co = geometries[i].co, .kh = geometries[i].kh, .kw = geometries[i].kw, .stride_h = geometries[i].sh,
        .stride_w = geometries[i].sw, .dilation_h = geometries[i].dh, .dilation_w = geometries[i].dw,
        .pad_top = geometries[i].top, .pad_left = geometries[i].left, .pad_bottom = geometries[i].bottom,
        .pad_right = geometries[i].right, .groups = geometries[i].g};
    d.oh = (d.h + d.pad_top + d.pad_bottom - eh) / d.stride_h + 1;
    d.ow = (d.w + d.pad_left + d.pad_right - ew) / d.stride_w + 1;
    return d;
}

static void test_conv(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof geometries / sizeof *geometries; i++) {
        struct clq_dnnl_conv d = geometry(i);
        check_conv(d, i % 3 != 0, false);
        d.act = CLQ_ACT_CLIP;
        d.a = 0;
        d.b = 6;
        check_conv(d, true, false);
        assert_null(strstr(last_impl, "ref"));
    }
}

static void test_residual(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof geometries / sizeof *geometries; i++) {
        struct clq_dnnl_conv d = geometry(i);
        d.residual = true;
        check_conv(d, i % 2 == 0, false);
        d.act = CLQ_ACT_RELU;
        check_conv(d, true, false);
        check_conv(d, true, true);
        assert_null(strstr(last_impl, "ref"));
    }
}

static const struct {
    enum clq_act act;
    float a, b;
} acts[] = {{CLQ_ACT_NONE, 0, 0}, {CLQ_ACT_RELU, 0, 0}, {CLQ_ACT_CLIP, 0, 6}, {CLQ_ACT_CLIP, -0.25f, INFINITY},
            {CLQ_ACT_CLIP, -INFINITY, 0.5f}, {CLQ_ACT_CLIP, 2, -1}, {CLQ_ACT_LEAKY, 0.01f, 0}, {CLQ_ACT_LEAKY, 1.5f, 0},
            {CLQ_ACT_HARDSWISH, 0, 0}, {CLQ_ACT_HARDSIGMOID, 0.2f, 0.5f}, {CLQ_ACT_HARDSIGMOID, 1.0f / 6, 0.5f},
            {CLQ_ACT_SIGMOID, 0, 0}, {CLQ_ACT_TANH, 0, 0}, {CLQ_ACT_GELU, 0, 0}, {CLQ_ACT_GELU_TANH, 0, 0},
            {CLQ_ACT_SWISH, 0, 0},
            {CLQ_ACT_ELU, 1, 0}, {CLQ_ACT_ELU, 0.3f, 0}};

static void test_activations(void **state)
{
    static const size_t some[] = {0, 5, 7, 11, 12, 18, 21, 24, 26, 29};
    (void)state;
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        for (size_t k = 0; k < sizeof some / sizeof *some; k++) {
            struct clq_dnnl_conv d = geometry(some[k]);
            d.act = acts[i].act;
            d.a = acts[i].a;
            d.b = acts[i].b;
            check_conv(d, true, false);
            d.residual = true;
            check_conv(d, true, false);
            check_conv(d, true, true);
        }
}

/* {g, ci, co, k, stride, dilation, pad, extra} on an image of 6 x 7; extra is ONNX's output_padding. */
static const int transposed[][8] = {{1, 24, 24, 2, 2, 1, 0, 0}, {1, 24, 1, 2, 2, 1, 0, 0}, {1, 5, 7, 3, 3, 1, 0, 0},
                                    {1, 24, 16, 3, 2, 1, 1, 0}, {1, 24, 16, 3, 2, 1, 1, 1}, {1, 13, 5, 4, 2, 1, 1, 0},
                                    {4, 16, 8, 3, 2, 1, 1, 1}, {16, 16, 16, 4, 2, 1, 1, 0}, {1, 8, 8, 3, 1, 2, 1, 0},
                                    {1, 8, 8, 2, 3, 1, 0, 0}, {1, 3, 1, 3, 2, 1, 0, 1}, {1, 8, 24, 1, 1, 1, 0, 0}};

static void test_transposed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof transposed / sizeof *transposed; i++)
        for (size_t k = 0; k < sizeof acts / sizeof *acts; k++) {
            const int *t = transposed[i];
            struct clq_dnnl_conv d = {.batch = 1 + (int64_t)(k % 2), .h = 6, .w = 7, .ci = t[1], .co = t[2],
                                      .kh = t[3], .kw = t[3], .stride_h = t[4], .stride_w = t[4], .dilation_h = t[5],
                                      .dilation_w = t[5], .pad_top = t[6], .pad_left = t[6], .pad_bottom = t[6],
                                      .pad_right = t[6], .groups = t[0], .transposed = true, .act = acts[k].act,
                                      .a = acts[k].a, .b = acts[k].b};
            d.oh = (d.h - 1) * d.stride_h + (d.kh - 1) * d.dilation_h + 1 - 2 * t[6] + t[7];
            d.ow = (d.w - 1) * d.stride_w + (d.kw - 1) * d.dilation_w + 1 - 2 * t[6] + t[7];
            check_conv(d, k % 3 != 1, false);
            d.residual = true;
            check_conv(d, true, false);
            check_conv(d, true, true);
        }
}

static void test_conv_refused(void **state)
{
    struct clq_error err = {""};
    struct clq_dnnl_step *step = NULL;
    float w[64] = {0};
    struct clq_dnnl_conv good = {.batch = 1, .h = 4, .w = 4, .ci = 4, .oh = 2, .ow = 2, .co = 4, .kh = 3, .kw = 3,
                                 .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .groups = 4,
                                 .weight = w};
    struct clq_dnnl_conv d[10];
    (void)state;
    for (size_t i = 0; i < 10; i++) d[i] = good;
    d[0].groups = 3;
    d[1].oh = 3;
    d[2].h = 0;
    d[3].stride_h = 0;
    d[4].pad_left = -1;
    d[5].weight = NULL;
    d[6].w = d[6].h = 1 << 20;
    d[7].kh = INT64_MAX;
    d[8].dilation_w = INT64_MAX;
    d[9].transposed = true;
    for (size_t i = 0; i < 10; i++) {
        err.text[0] = '\0';
        clq_status st = clq_dnnl_conv(&step, dnnl, &d[i], &err);
        if (st != CLQ_ERR_INVALID_ARGUMENT && st != CLQ_ERR_UNSUPPORTED) fail_msg("case %zu: status %d", i, (int)st);
        assert_true(err.text[0] != '\0');
        assert_null(step);
    }
    assert_int_equal(clq_dnnl_conv(&step, dnnl, &good, &err), CLQ_OK);
    assert_int_equal(clq_dnnl_run(dnnl, step, w, w, NULL, w, &err), CLQ_ERR_INVALID_ARGUMENT);
    assert_int_equal(clq_dnnl_run(dnnl, step, w, NULL, w, w, &err), CLQ_ERR_INVALID_ARGUMENT);
    clq_dnnl_step_free(step);
}

/* ---- matrix product */

static int64_t offset(int rank, const int64_t *index, const int64_t *batch, int64_t inner)
{
    int64_t at = 0;
    for (int i = 0; i < rank; i++) at = at * batch[i] + (batch[i] == 1 ? 0 : index[i]);
    return at * inner;
}

static void reference_matmul(struct value *y, const struct clq_dnnl_matmul *d, const float *a, const float *b)
{
    int64_t index[4] = {0}, at = 0;
    for (bool more = true; more; at += d->m * d->n) {
        const float *pa = a + offset(d->batch_rank, index, d->batch_a, d->m * d->k);
        const float *pb = b + offset(d->batch_rank, index, d->batch_b, d->k * d->n);
        for (int64_t i = 0; i < d->m; i++)
            for (int64_t j = 0; j < d->n; j++)
                for (int64_t k = 0; k < d->k; k++)
                    add_term(&y[at + i * d->n + j],
                             (double)d->alpha * pa[d->transpose_a ? k * d->m + i : i * d->k + k] *
                             pb[d->transpose_b ? j * d->k + k : k * d->n + j]);
        more = false;
        for (int i = d->batch_rank - 1; i >= 0 && !more; i--) {
            int64_t size = d->batch_a[i] > d->batch_b[i] ? d->batch_a[i] : d->batch_b[i];
            more = ++index[i] < size;
            if (!more) index[i] = 0;
        }
    }
}

static void check_matmul(struct clq_dnnl_matmul d, bool constant, bool bias, bool in_y)
{
    struct clq_error err = {""};
    struct clq_dnnl_step *step = NULL;
    int64_t na = d.m * d.k, nb = d.k * d.n, ny = d.m * d.n;
    for (int i = 0; i < d.batch_rank; i++) {
        na *= d.batch_a[i];
        nb *= d.batch_b[i];
        ny *= d.batch_a[i] > d.batch_b[i] ? d.batch_a[i] : d.batch_b[i];
    }
    float *a = random_array(na), *b = random_array(nb), *c = random_array(d.n), *r = random_array(ny), *y = array(ny);
    struct value *want = calloc((size_t)ny, sizeof *want);
    d.weight = constant ? b : NULL;
    d.bias = bias ? c : NULL;
    reference_matmul(want, &d, a, b);
    for (int64_t i = 0; i < ny; i++) {
        add_term(&want[i], bias ? c[i % d.n] : 0);
        add_term(&want[i], d.residual ? r[i] : 0);
        want[i].terms += d.alpha != 1;
        if (in_y) y[i] = r[i];
    }
    if (clq_dnnl_matmul(&step, dnnl, &d, &err) != CLQ_OK) fail_msg("%s", err.text);
    for (int64_t i = 0; i < nb && constant; i++) b[i] = NAN;
    const float *residual = !d.residual ? NULL : in_y ? y : r;
    assert_int_equal(clq_dnnl_run(dnnl, step, a, constant ? NULL : b, residual, y, &err), CLQ_OK);
    assert_null(strstr(clq_dnnl_step_name(step), "ref"));
    for (int64_t i = 0; i < ny; i++)
        check_value("matmul", clq_dnnl_step_name(step), i, y[i], want[i], d.act, d.a, d.b);
    clq_dnnl_step_free(step);
    free(want);
    release(a, na);
    release(b, nb);
    release(c, d.n);
    release(r, ny);
    release(y, ny);
}

static void test_matmul(void **state)
{
    static const int sizes[][3] = {{1, 1, 1},     {1, 33, 17},  {5, 1, 9},    {7, 13, 1},    {37, 13, 7},
                                   {1, 100, 128}, {16, 64, 64}, {31, 24, 65}, {64, 48, 300}, {3, 257, 96}};
    static const struct {
        int rank;
        int64_t a[4], b[4];
    } batches[] = {{0, {0}, {0}},
                   {1, {3}, {3}},
                   {1, {1}, {3}},
                   {2, {2, 3}, {2, 3}},
                   {2, {2, 1}, {1, 3}},
                   {2, {1, 3}, {2, 3}},
                   {3, {2, 2, 1}, {2, 2, 3}},
                   {4, {2, 3, 1, 1}, {1, 1, 2, 2}},
                   {2, {2, 3}, {1, 1}},
                   {4, {1, 1, 1, 1}, {1, 1, 1, 1}}};
    (void)state;
    unsigned turn = 0;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t k = 0; k < sizeof batches / sizeof *batches; k++)
            for (int t = 0; t < 4; t++) {
                struct clq_dnnl_matmul d = {.batch_rank = batches[k].rank, .m = sizes[s][0], .n = sizes[s][1],
                                            .k = sizes[s][2], .transpose_a = t & 1, .transpose_b = t & 2,
                                            .alpha = turn % 3 == 1 ? 0.37f : 1.0f};
                memcpy(d.batch_a, batches[k].a, sizeof d.batch_a);
                memcpy(d.batch_b, batches[k].b, sizeof d.batch_b);
                size_t act = turn++ % (sizeof acts / sizeof *acts);
                d.act = acts[act].act;
                d.a = acts[act].a;
                d.b = acts[act].b;
                check_matmul(d, false, turn % 2, false);
                d.residual = true;
                check_matmul(d, false, turn % 5 < 2, turn % 2);
                for (int i = 0; i < 4; i++) d.batch_b[i] = 1;
                check_matmul(d, true, turn % 2, turn % 4 < 2);
                d.residual = false;
                check_matmul(d, true, turn % 5 < 2, false);
            }
}

static void test_matmul_refused(void **state)
{
    struct clq_error err = {""};
    struct clq_dnnl_step *step = NULL;
    float w[4] = {0};
    struct clq_dnnl_matmul good = {.batch_rank = 1, .batch_a = {2}, .batch_b = {2}, .m = 2, .n = 2, .k = 2, .alpha = 1};
    struct clq_dnnl_matmul d[5] = {good, good, good, good, good};
    (void)state;
    d[0].batch_b[0] = 3;
    d[1].k = 0;
    d[2].batch_rank = 5;
    d[3].weight = w;
    d[4].m = d[4].n = d[4].k = INT32_MAX;
    for (size_t i = 0; i < 5; i++) {
        clq_status st = clq_dnnl_matmul(&step, dnnl, &d[i], &err);
        if (st != CLQ_ERR_INVALID_ARGUMENT && st != CLQ_ERR_UNSUPPORTED) fail_msg("case %zu: status %d", i, (int)st);
        assert_null(step);
    }
}

/* ---- pooling, softmax, layer norm */

static void check_pool(struct clq_dnnl_pool d)
{
    struct clq_error err = {""};
    struct clq_dnnl_step *step = NULL;
    int64_t nx = d.batch * d.h * d.w * d.c, ny = d.batch * d.oh * d.ow * d.c;
    float *x = random_array(nx), *y = array(ny);
    for (int64_t i = 0; i < nx && d.kind == CLQ_POOL_MAX; i++) x[i] -= 2; /* padding must not win */
    if (clq_dnnl_pool(&step, dnnl, &d, &err) != CLQ_OK) fail_msg("%s", err.text);
    assert_int_equal(clq_dnnl_run(dnnl, step, x, NULL, NULL, y, &err), CLQ_OK);
    for (int64_t at = 0; at < ny; at++) {
        int64_t c = at % d.c, ox = at / d.c % d.ow, oy = at / d.c / d.ow % d.oh, n = at / d.c / d.ow / d.oh;
        struct value v = {0};
        double max = -INFINITY, count = 0;
        for (int64_t ky = 0; ky < d.kh; ky++)
            for (int64_t kx = 0; kx < d.kw; kx++) {
                int64_t iy = oy * d.stride_h - d.pad_top + ky * d.dilation_h;
                int64_t ix = ox * d.stride_w - d.pad_left + kx * d.dilation_w;
                if (iy < 0 || ix < 0 || iy >= d.h || ix >= d.w) continue;
                float p = x[((n * d.h + iy) * d.w + ix) * d.c + c];
                max = fmax(max, p);
                count += 1;
                add_term(&v, p);
            }
        double area = d.kind == CLQ_POOL_AVG_INCLUDE_PAD ? (double)(d.kh * d.kw) : count;
        double want = d.kind == CLQ_POOL_MAX ? max : v.sum / area;
        double bound = d.kind == CLQ_POOL_MAX ? 0 : (v.terms + 2) * 0x1p-24 * v.magnitude / area;
        if (!(fabs(y[at] - want) <= bound))
            fail_msg("pool kind %d (%s) element %lld: %.9g, expected %.17g", (int)d.kind, clq_dnnl_step_name(step),
                     (long long)at, (double)y[at], want);
    }
    clq_dnnl_step_free(step);
    release(x, nx);
    release(y, ny);
}

static void test_pool(void **state)
{
    /* {h, w, c, k, stride, dilation, pad_begin, pad_end, ceil} */
    static const int cases[][9] = {{14, 14, 64, 2, 2, 1, 0, 0, 0}, {15, 13, 17, 3, 2, 1, 1, 1, 0},
                                   {7, 7, 1280, 7, 1, 1, 0, 0, 0}, {9, 9, 3, 3, 1, 1, 1, 1, 0},
                                   {8, 8, 16, 3, 2, 1, 0, 0, 1},   {12, 10, 24, 3, 1, 2, 2, 2, 0},
                                   {1, 1, 5, 1, 1, 1, 0, 0, 0},    {10, 11, 8, 3, 2, 1, 0, 1, 0}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int kind = 0; kind < 3; kind++) {
            const int *c = cases[i];
            int64_t e = (c[3] - 1) * c[5] + 1, up = c[8] ? c[4] - 1 : 0;
            struct clq_dnnl_pool d = {.kind = (enum clq_pool_kind)kind, .batch = 2, .h = c[0], .w = c[1], .c = c[2],
                                      .oh = (c[0] + c[6] + c[7] - e + up) / c[4] + 1,
                                      .ow = (c[1] + c[6] + c[7] - e + up) / c[4] + 1, .kh = c[3], .kw = c[3],
                                      .stride_h = c[4], .stride_w = c[4], .dilation_h = c[5], .dilation_w = c[5],
                                      .pad_top = c[6], .pad_left = c[6], .pad_bottom = c[7], .pad_right = c[7]};
            if (c[8] && kind == CLQ_POOL_AVG_INCLUDE_PAD) {
                struct clq_dnnl_step *step = NULL;
                assert_int_equal(clq_dnnl_pool(&step, dnnl, &d, NULL), CLQ_ERR_UNSUPPORTED);
            } else {
                check_pool(d);
            }
        }
}

static void check_softmax(int64_t outer, int64_t n, int64_t inner, bool logarithm, float scale, float low)
{
    struct clq_error err = {""};
    struct clq_dnnl_step *step = NULL;
    int64_t total = outer * n * inner;
    float *x = random_array(total), *y = array(total);
    for (int64_t i = 0; i < total; i++) x[i] = low < 0 && i % 3 != 0 ? low : x[i] * scale;
    if (clq_dnnl_softmax(&step, dnnl, outer, n, inner, logarithm, &err) != CLQ_OK) fail_msg("%s", err.text);
    assert_int_equal(clq_dnnl_run(dnnl, step, x, NULL, NULL, y, &err), CLQ_OK);
    for (int64_t at = 0; at < total; at++) {
        int64_t i = at % inner, o = at / inner / n;
        double max = -INFINITY, sum = 0;
        for (int64_t k = 0; k < n; k++) max = fmax(max, x[(o * n + k) * inner + i]);
        for (int64_t k = 0; k < n; k++) sum += exp(x[(o * n + k) * inner + i] - max);
        double want = logarithm ? x[at] - max - log(sum) : exp(x[at] - max) / sum;
        /* The sum of n terms, oneDNN's exponential (2^-22) and one rounding of x - max, which the exponential turns
         * into a relative error of |x - max| u. */
        double distance = fabs((double)x[at] - max), relative = ((double)n + 8 + distance) * 0x1p-24;
        double bound = logarithm ? ((double)n + 8) * 0x1p-24 + 0x1p-22 * fabs(want) : relative * want + 0x1p-126;
        if (!(fabs(y[at] - want) <= bound))
            fail_msg("softmax (%s) %lldx%lldx%lld element %lld: %.9g, expected %.17g, bound %g",
                     clq_dnnl_step_name(step), (long long)outer, (long long)n, (long long)inner, (long long)at,
                     (double)y[at], want, bound);
    }
    clq_dnnl_step_free(step);
    release(x, total);
    release(y, total);
}

static void test_softmax(void **state)
{
    static const int64_t cases[][3] = {{1, 1, 1},  {3, 7, 1},  {5, 128, 1}, {2, 1000, 1},
                                       {2, 13, 5}, {1, 6, 64}, {4, 33, 17}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int logarithm = 0; logarithm < 2; logarithm++) {
            check_softmax(cases[i][0], cases[i][1], cases[i][2], logarithm, 4, 0);
            check_softmax(cases[i][0], cases[i][1], cases[i][2], logarithm, 60, 0);
        }
    check_softmax(4, 96, 1, false, 4, -FLT_MAX); /* an attention mask: whole rows and parts of rows */
    check_softmax(4, 96, 7, false, 4, -FLT_MAX);
}

static void check_layernorm(int64_t outer, int64_t n, bool scale, bool shift, float center)
{
    struct clq_error err = {""};
    struct clq_dnnl_step *step = NULL;
    float epsilon = 1e-5f;
    float *x = random_array(outer * n), *y = array(outer * n), *s = random_array(n), *b = random_array(n);
    for (int64_t i = 0; i < outer * n; i++) x[i] += center;
    if (clq_dnnl_layernorm(&step, dnnl, outer, n, epsilon, scale ? s : NULL, shift ? b : NULL, &err) != CLQ_OK)
        fail_msg("%s", err.text);
    assert_int_equal(clq_dnnl_run(dnnl, step, x, NULL, NULL, y, &err), CLQ_OK);
    for (int64_t o = 0; o < outer; o++) {
        double mean = 0, var = 0, magnitude = 0;
        for (int64_t i = 0; i < n; i++) mean += (double)x[o * n + i] / (double)n;
        for (int64_t i = 0; i < n; i++)
            var += ((double)x[o * n + i] - mean) * ((double)x[o * n + i] - mean) / (double)n;
        for (int64_t i = 0; i < n; i++) magnitude += fabs((double)x[o * n + i]) / (double)n;
        double inverse = 1 / sqrt(var + (double)epsilon), gamma = ((double)n + 8) * 0x1p-24;
        for (int64_t i = 0; i < n; i++) {
            double k = scale ? s[i] : 1, base = ((double)x[o * n + i] - mean) * inverse;
            double want = base * k + (shift ? b[i] : 0);
            /* The mean is off by gamma * magnitude, which moves every difference, and the square root relatively. */
            double bound = fabs(k) * (gamma * magnitude * inverse * (1 + fabs(base)) + 2 * gamma * fabs(base)) +
                           0x1p-23 * (fabs(want) + (shift ? fabs((double)b[i]) : 0)) + 0x1p-24;
            if (!(fabs(y[o * n + i] - want) <= bound))
                fail_msg("layer norm (%s) %lldx%lld element %lld,%lld: %.9g, expected %.17g, bound %g",
                         clq_dnnl_step_name(step), (long long)outer, (long long)n, (long long)o, (long long)i,
                         (double)y[o * n + i], want, bound);
        }
    }
    clq_dnnl_step_free(step);
    release(x, outer * n);
    release(y, outer * n);
    release(s, n);
    release(b, n);
}

static void test_layernorm(void **state)
{
    static const int64_t cases[][2] = {{1, 1}, {1, 7}, {128, 384}, {3, 33}, {5, 1000}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int flags = 0; flags < 4; flags++) {
            check_layernorm(cases[i][0], cases[i][1], flags & 1, flags & 2, 0);
            check_layernorm(cases[i][0], cases[i][1], flags & 1, flags & 2, 10);
        }
}

/* ---- values that are not finite, as cpu_dnnl.h states */

static void check_special(enum clq_act act, float nan_gives, float a, float b)
{
    static const int shapes[][3] = {{16, 16, 1}, {1, 16, 1}, {1, 24, 1}, {1, 16, 3}, {1, 24, 3}, {16, 16, 3}};
    struct clq_error err = {""};
    float x[16 * 9], y[24], w[24 * 16 * 9];
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        struct clq_dnnl_step *step = NULL;
        int64_t size = shapes[k][2];
        struct clq_dnnl_conv d = {.batch = 1, .h = size, .w = size, .ci = 16, .oh = 1, .ow = 1, .co = shapes[k][1],
                                  .kh = size, .kw = size, .stride_h = 1, .stride_w = 1, .dilation_h = 1,
                                  .dilation_w = 1, .groups = shapes[k][0], .weight = w, .act = act, .a = a, .b = b};
        for (size_t i = 0; i < sizeof w / sizeof *w; i++) w[i] = 1;
        assert_int_equal(clq_dnnl_conv(&step, dnnl, &d, &err), CLQ_OK);
        for (int what = 0; what < 3; what++) {
            float in = what == 0 ? NAN : what == 1 ? INFINITY : -INFINITY;
            for (size_t i = 0; i < sizeof x / sizeof *x; i++) x[i] = in;
            assert_int_equal(clq_dnnl_run(dnnl, step, x, NULL, NULL, y, &err), CLQ_OK);
            double want = what == 0 ? (double)nan_gives : act_value(act, (double)a, (double)b, (double)in);
            for (int64_t i = 0; i < d.co; i++)
                if (!(isnan(want) ? isnan(y[i]) : (double)y[i] == want))
                    fail_msg("act %d of %g (%s) is %g, expected %g", (int)act, (double)in, clq_dnnl_step_name(step),
                             (double)y[i], want);
        }
        clq_dnnl_step_free(step);
    }
}

static void test_special_values(void **state)
{
    (void)state;
    check_special(CLQ_ACT_NONE, NAN, 0, 0);
    check_special(CLQ_ACT_RELU, 0, 0, 0);
    check_special(CLQ_ACT_CLIP, -0.25f, -0.25f, 6);
    check_special(CLQ_ACT_LEAKY, NAN, 0.5f, 0);
    check_special(CLQ_ACT_SIGMOID, NAN, 0, 0);
    check_special(CLQ_ACT_TANH, NAN, 0, 0);
    check_special(CLQ_ACT_ELU, NAN, 0.5f, 0);
    check_special(CLQ_ACT_HARDSIGMOID, 0, 0.2f, 0.5f);
    struct clq_error err = {""};
    struct clq_dnnl_step *step = NULL;
    struct clq_dnnl_pool d = {.kind = CLQ_POOL_MAX, .batch = 1, .h = 3, .w = 3, .c = 16, .oh = 1, .ow = 1, .kh = 3,
                              .kw = 3, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1};
    float x[9 * 16], y[16];
    for (int i = 0; i < 9 * 16; i++) x[i] = -INFINITY;
    assert_int_equal(clq_dnnl_pool(&step, dnnl, &d, &err), CLQ_OK);
    assert_int_equal(clq_dnnl_run(dnnl, step, x, NULL, NULL, y, &err), CLQ_OK);
    for (int i = 0; i < 16; i++) assert_true(y[i] == -FLT_MAX);
    clq_dnnl_step_free(step);
}

static void test_threads(void **state)
{
    struct clq_error err = {""};
    struct clq_dnnl *other = NULL, *first = dnnl;
    (void)state;
    assert_int_equal(clq_dnnl_create(&other, 0, &err), CLQ_ERR_INVALID_ARGUMENT);
    assert_int_equal(clq_dnnl_create(&other, 3, &err), CLQ_OK);
    dnnl = other;
    check_conv(geometry(11), true, false);
    check_conv(geometry(18), true, false);
    dnnl = first;
    clq_dnnl_free(other);
    assert_string_equal(clq_dnnl_version(), clq_dnnl_version());
    assert_true(clq_dnnl_version()[0] >= '2');
}

static int setup(void **state)
{
    struct clq_error err = {""};
    (void)state;
    return clq_dnnl_create(&dnnl, 1, &err) == CLQ_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    clq_dnnl_free(dnnl);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv), cmocka_unit_test(test_residual), cmocka_unit_test(test_activations),
        cmocka_unit_test(test_transposed), cmocka_unit_test(test_conv_refused), cmocka_unit_test(test_matmul),
        cmocka_unit_test(test_matmul_refused), cmocka_unit_test(test_pool), cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_layernorm), cmocka_unit_test(test_special_values), cmocka_unit_test(test_threads)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
