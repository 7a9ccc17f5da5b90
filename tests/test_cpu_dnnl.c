/* SPDX-License-Identifier: Apache-2.0
 * The oneDNN convolutions, what all steps do with values that are not finite, and threads. */
#include "tests/dnnl_check.h"

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
    static float weight[512 * 512];
    for (int i = 0; i < 2; i++) { /* rows 1: shorter than waking a thread; 512: long enough */
        struct clq_dnnl_step *step = NULL;
        struct clq_dnnl_matmul d = {.m = i ? 512 : 1, .n = 512, .k = 512, .alpha = 1, .weight = weight};
        assert_int_equal(clq_dnnl_matmul(&step, other, &d, &err), CLQ_OK);
#if defined(__SANITIZE_THREAD__)
        assert_int_equal(clq_dnnl_step_threads(step), 1);
#else
        assert_int_equal(clq_dnnl_step_threads(step), i ? 3 : 1);
#endif
        clq_dnnl_step_free(step);
    }
    dnnl = first;
    clq_dnnl_free(other);
    assert_string_equal(clq_dnnl_version(), clq_dnnl_version());
    assert_true(clq_dnnl_version()[0] >= '2');
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_conv),       cmocka_unit_test(test_residual),     cmocka_unit_test(test_activations),
                                       cmocka_unit_test(test_transposed), cmocka_unit_test(test_conv_refused), cmocka_unit_test(test_special_values),
                                       cmocka_unit_test(test_threads)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
