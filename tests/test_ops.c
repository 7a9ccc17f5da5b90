/* SPDX-License-Identifier: Apache-2.0
 * Operators against values worked out by hand and against the plainest possible loops: the fast paths (merged axes,
 * runs, blocks, several threads, in place) must give what the definition gives. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "ops_call.h"

static uint32_t seed = 1;

static uint32_t next(void)
{
    return op_random(&seed);
}

static float *random_floats(size_t n)
{
    float *p = op_random_floats(&seed, n);
    assert_non_null(p);
    return p;
}

static void expect_floats(const struct op_test *t, int out, size_t n, const float *want, float tolerance)
{
    size_t have;
    assert_int_equal(clq_tensor_elements(&have, &t->out[out]), CLQ_OK);
    assert_int_equal(have, n);
    for (size_t i = 0; i < n; i++) {
        float got = ((float *)t->out[out].data)[i];
        if (!(fabsf(got - want[i]) <= tolerance) && !(isnan(got) && isnan(want[i])) && got != want[i])
            fail_msg("%s: element %zu is %.9g, expected %.9g", t->node.op_type, i, (double)got, (double)want[i]);
    }
}

/* ---- broadcasting ---- */

static void random_shapes(int64_t *a, int *ra, int64_t *b, int *rb)
{
    int64_t full[6];
    int rank = 1 + (int)(next() % 5);
    for (int k = 0; k < rank; k++) full[k] = 1 + next() % 9;
    if (next() % 3 == 0) full[rank - 1] *= 700;
    *ra = next() % 4 ? rank : (int)(next() % (unsigned)(rank + 1));
    *rb = *ra == rank ? (int)(next() % (unsigned)(rank + 1)) : rank;
    for (int k = 0; k < *ra; k++) a[k] = next() % 3 ? full[rank - *ra + k] : 1;
    for (int k = 0; k < *rb; k++) b[k] = next() % 3 ? full[rank - *rb + k] : 1;
}

static size_t product(const int64_t *s, int n)
{
    size_t p = 1;
    for (int k = 0; k < n; k++) p *= (size_t)s[k];
    return p;
}

static size_t broadcast_index(size_t i, const clq_tensor *y, const int64_t *s, int rank)
{
    size_t at = 0, stride = 1;
    for (int k = y->rank - 1; k >= 0; k--) {
        size_t c = i % (size_t)y->shape[k];
        i /= (size_t)y->shape[k];
        int a = k - (y->rank - rank);
        if (a < 0) continue;
        if (s[a] != 1) at += c * stride;
        stride *= (size_t)s[a];
    }
    return at;
}

static void test_broadcast(void **state)
{
    (void)state;
    for (int round = 0; round < 400; round++) {
        int64_t a[6], b[6];
        int ra, rb;
        struct op_test t;
        random_shapes(a, &ra, b, &rb);
        float *x = random_floats(product(a, ra)), *z = random_floats(product(b, rb));
        op_start(&t, round % 2 ? "Sub" : "Less", 13, 1);
        op_input(&t, CLQ_DTYPE_F32, ra, a, x);
        op_input(&t, CLQ_DTYPE_F32, rb, b, z);
        t.call.threads = 1 + round % 3;
        assert_int_equal(op_run(&t), CLQ_OK);
        size_t n;
        assert_int_equal(clq_tensor_elements(&n, &t.out[0]), CLQ_OK);
        for (size_t i = 0; i < n; i++) {
            float u = x[broadcast_index(i, &t.out[0], a, ra)], v = z[broadcast_index(i, &t.out[0], b, rb)];
            if (round % 2)
                assert_true(((float *)t.out[0].data)[i] == u - v);
            else
                assert_int_equal(((uint8_t *)t.out[0].data)[i], u < v);
        }
        op_end(&t);
        free(x);
        free(z);
    }
}

static void test_in_place(void **state)
{
    (void)state;
    enum { N = 70000 };
    float *x = random_floats(N), *y = random_floats(N), *sum = malloc(N * sizeof *sum);
    struct op_test t;
    for (int i = 0; i < N; i++) sum[i] = x[i] + y[i];
    op_start(&t, "Add", 13, 1);
    op_input(&t, CLQ_DTYPE_F32, 1, SHAPE(N), x);
    op_input(&t, CLQ_DTYPE_F32, 1, SHAPE(N), y);
    assert_int_equal(op_infer(&t), CLQ_OK);
    t.out[0].data = y;
    assert_int_equal(clq_op_eval(t.op, &t.call), CLQ_OK);
    assert_memory_equal(y, sum, N * sizeof *y);
    free(x);
    free(y);
    free(sum);
}

/* ---- quantization ---- */

static void test_quantize(void **state)
{
    (void)state;
    struct op_test t;
    const float x[] = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 1e30f, -1e30f, NAN, INFINITY, -INFINITY, 126.5f, -128.49f};
    const int8_t want[] = {-1 + 0, -1 + 2, -1 + 2, -1 + 0, -1 - 2, 127, -128, -1, 127, -128, -1 + 126, -128};
    int8_t zero = -1;
    op_start(&t, "QuantizeLinear", 13, 1);
    op_input(&t, CLQ_DTYPE_F32, 1, SHAPE(12), x);
    op_input(&t, CLQ_DTYPE_F32, 0, NULL, F32(1.0f));
    op_input(&t, CLQ_DTYPE_S8, 0, NULL, &zero);
    assert_int_equal(op_run(&t), CLQ_OK);
    assert_memory_equal(t.out[0].data, want, sizeof want);
    op_end(&t);
    /* blocks of 2 along axis 1, the last one shorter; unsigned nibbles, low half first */
    op_start(&t, "QuantizeLinear", 21, 1);
    op_input(&t, CLQ_DTYPE_F32, 2, SHAPE(1, 3), F32(3.0f, 30.0f, 5.0f));
    op_input(&t, CLQ_DTYPE_F32, 2, SHAPE(1, 2), F32(1.0f, 0.5f));
    op_int(&t, "block_size", 2);
    op_int(&t, "output_dtype", CLQ_DTYPE_U4);
    assert_int_equal(op_run(&t), CLQ_OK);
    assert_memory_equal(t.out[0].data, U8(0xf3, 0x0a), 2);
    op_end(&t);
    /* per axis 0; the bytes wait for a scale per row */
    op_start(&t, "DequantizeLinear", 13, 1);
    op_input(&t, CLQ_DTYPE_U8, 2, SHAPE(2, 2), U8(0, 255, 128, 1));
    op_input(&t, CLQ_DTYPE_F32, 1, SHAPE(2), F32(0.5f, 2.0f));
    op_input(&t, CLQ_DTYPE_U8, 1, SHAPE(2), U8(128, 0));
    op_int(&t, "axis", 0);
    assert_int_equal(op_run(&t), CLQ_OK);
    expect_floats(&t, 0, 4, F32(-64.0f, 63.5f, 256.0f, 2.0f), 0.0f);
    op_end(&t);
}

/* The vectorized rounding must equal rintf of the quotient, limited, at random values and beside half-way points. */
static void test_quantize_loop(void **state)
{
    (void)state;
    enum { N = 60000 };
    float *x = random_floats(N), s = 0.0473f;
    for (int i = 0; i < N; i += 2) x[i] = nextafterf(((float)(next() % 300) - 20.5f) * s, i % 4 ? INFINITY : 0.0f);
    for (int threads = 1; threads <= 3; threads++) {
        struct op_test t;
        op_start(&t, "QuantizeLinear", 13, 1);
        op_input(&t, CLQ_DTYPE_F32, 1, SHAPE(N), x);
        op_input(&t, CLQ_DTYPE_F32, 0, NULL, &s);
        op_input(&t, CLQ_DTYPE_U8, 0, NULL, U8(7));
        t.call.threads = threads;
        assert_int_equal(op_run(&t), CLQ_OK);
        for (int i = 0; i < N; i++) {
            float q = rintf(x[i] / s);
            q = q < -7.0f ? -7.0f : q > 248.0f ? 248.0f : q;
            assert_int_equal(((uint8_t *)t.out[0].data)[i], (int)q + 7);
        }
        op_end(&t);
    }
    free(x);
}

static void test_dynamic_quantize(void **state)
{
    (void)state;
    struct op_test t;
    op_start(&t, "DynamicQuantizeLinear", 11, 3);
    op_input(&t, CLQ_DTYPE_F32, 1, SHAPE(3), F32(0, 0, 0));
    assert_int_equal(op_run(&t), CLQ_OK);
    assert_true(*(float *)t.out[1].data == 1.0f);
    assert_int_equal(*(uint8_t *)t.out[2].data, 0);
    assert_memory_equal(t.out[0].data, U8(0, 0, 0), 3);
    op_end(&t);
}

/* QLinearConv's sums beyond int32 must not wrap: 66000 products of 255 * 128. */
static void test_qlinear_wide(void **state)
{
    (void)state;
    enum { K = 70000 };
    uint8_t *x = malloc(K);
    int8_t *w = malloc(K), y_zero = 0;
    assert_true(x && w);
    memset(x, 255, K);
    memset(w, -128, K);
    struct op_test t;
    op_start(&t, "QLinearMatMul", 13, 1);
    op_input(&t, CLQ_DTYPE_U8, 2, SHAPE(1, K), x);
    op_input(&t, CLQ_DTYPE_F32, 0, NULL, F32(1.0f));
    op_input(&t, CLQ_DTYPE_U8, 0, NULL, U8(0));
    op_input(&t, CLQ_DTYPE_S8, 2, SHAPE(K, 1), w);
    op_input(&t, CLQ_DTYPE_F32, 0, NULL, F32(1.0f));
    op_input(&t, CLQ_DTYPE_S8, 0, NULL, &y_zero);
    op_input(&t, CLQ_DTYPE_F32, 0, NULL, F32(22848000.0f)); /* 70000 * 255 * -128 / 22848000 = -100 */
    op_input(&t, CLQ_DTYPE_S8, 0, NULL, &y_zero);
    assert_int_equal(op_run(&t), CLQ_OK);
    assert_int_equal(*(int8_t *)t.out[0].data, -100);
    op_end(&t);
    free(x);
    free(w);
}

/* ---- meanings that changed between opsets ---- */

static void test_opsets(void **state)
{
    (void)state;
    struct op_test t;
    const float x[] = {0, 0, 0, 0};
    op_start(&t, "Softmax", 11, 1); /* one row of four */
    op_input(&t, CLQ_DTYPE_F32, 3, SHAPE(1, 2, 2), x);
    assert_int_equal(op_run(&t), CLQ_OK);
    expect_floats(&t, 0, 4, F32(0.25f, 0.25f, 0.25f, 0.25f), 1e-6f);
    op_end(&t);
    op_start(&t, "Softmax", 13, 1);
    op_input(&t, CLQ_DTYPE_F32, 3, SHAPE(1, 2, 2), x);
    assert_int_equal(op_run(&t), CLQ_OK);
    expect_floats(&t, 0, 4, F32(0.5f, 0.5f, 0.5f, 0.5f), 1e-6f);
    op_end(&t);
    op_start(&t, "Clip", 10, 1);
    op_input(&t, CLQ_DTYPE_F32, 1, SHAPE(3), F32(-2, 3, 9));
    op_float(&t, "max", 6.0f);
    assert_int_equal(op_run(&t), CLQ_OK);
    expect_floats(&t, 0, 3, F32(-2, 3, 6), 0.0f);
    op_end(&t);
    op_start(&t, "Clip", 11, 1); /* the attribute means nothing any more */
    op_input(&t, CLQ_DTYPE_F32, 1, SHAPE(3), F32(-2, 3, NAN));
    op_input(&t, CLQ_DTYPE_F32, 0, NULL, F32(0.0f));
    op_float(&t, "max", 1.0f);
    assert_int_equal(op_run(&t), CLQ_OK);
    expect_floats(&t, 0, 3, F32(0, 3, NAN), 0.0f);
    op_end(&t);
    op_start(&t, "Squeeze", 11, 1);
    op_input(&t, CLQ_DTYPE_F32, 3, SHAPE(1, 2, 1), F32(4, 5));
    op_ints(&t, "axes", 1, S64(-1));
    assert_int_equal(op_run(&t), CLQ_OK);
    assert_true(op_has_shape(&t, 0, 2, SHAPE(1, 2)));
    op_end(&t);
    op_start(&t, "Squeeze", 13, 1);
    op_input(&t, CLQ_DTYPE_F32, 3, SHAPE(1, 2, 1), F32(4, 5));
    op_ints(&t, "axes", 1, S64(-1));
    assert_int_equal(op_run(&t), CLQ_OK);
    assert_true(op_has_shape(&t, 0, 1, SHAPE(2)));
    op_end(&t);
    assert_null(clq_op_find("", "Upsample", 10));
    assert_non_null(clq_op_find("", "Upsample", 9));
    assert_null(clq_op_find("", "HardSwish", 13));
    assert_null(clq_op_find("com.microsoft", "Add", 1));
}

/* ---- windows ---- */

static void expect_window(const struct op_test *t, const clq_tensor *w, bool transposed, int64_t out, int64_t begin,
                          int64_t end)
{
    struct clq_window win;
    struct clq_error err = {{0}};
    assert_int_equal(clq_window_read(&win, &t->node, &t->in[0], w, transposed, &err), CLQ_OK);
    assert_int_equal(win.out[0], out);
    assert_int_equal(win.pad_begin[0], begin);
    assert_int_equal(win.pad_end[0], end);
}

static void test_window(void **state)
{
    (void)state;
    struct op_test t;
    struct clq_error err = {{0}};
    struct clq_window win;
    clq_tensor w = {.dtype = CLQ_DTYPE_F32, .rank = 3, .shape = {4, 2, 3}};
    op_start(&t, "Conv", 13, 1);
    op_input(&t, CLQ_DTYPE_F32, 3, SHAPE(1, 2, 10), NULL);
    op_ints(&t, "strides", 1, S64(2));
    expect_window(&t, &w, false, 4, 0, 0);
    op_string(&t, "auto_pad", "SAME_UPPER"); /* 5 outputs need 11 inputs: one pad, at the end */
    expect_window(&t, &w, false, 5, 0, 1);
    t.attrs[1].s = "SAME_LOWER";
    expect_window(&t, &w, false, 5, 1, 0);
    t.attrs[1].s = "other";
    assert_int_equal(clq_window_read(&win, &t.node, &t.in[0], &w, false, &err), CLQ_ERR_FORMAT);
    op_start(&t, "MaxPool", 13, 1);
    op_input(&t, CLQ_DTYPE_F32, 3, SHAPE(1, 2, 10), NULL);
    op_ints(&t, "kernel_shape", 1, S64(3));
    op_ints(&t, "strides", 1, S64(2));
    op_int(&t, "ceil_mode", 1);
    expect_window(&t, NULL, false, 5, 0, 0); /* (10 - 3) / 2 rounded up, plus one */
    op_ints(&t, "pads", 2, S64(1, 2));
    expect_window(&t, NULL, false, 6, 1, 2); /* a window at 10 still starts in the padded image: 6th begins at 9 */
    t.attrs[1].ints = S64(0);
    assert_int_equal(clq_window_read(&win, &t.node, &t.in[0], NULL, false, &err), CLQ_ERR_FORMAT);
    t.attrs[1].ints = S64(2);
    t.attrs[0].ints = S64(14);
    assert_int_equal(clq_window_read(&win, &t.node, &t.in[0], NULL, false, &err), CLQ_ERR_FORMAT);
    w = (clq_tensor){.dtype = CLQ_DTYPE_F32, .rank = 3, .shape = {2, 4, 3}};
    op_start(&t, "ConvTranspose", 13, 1);
    op_input(&t, CLQ_DTYPE_F32, 3, SHAPE(1, 2, 10), NULL);
    op_ints(&t, "strides", 1, S64(2));
    op_ints(&t, "pads", 2, S64(1, 1));
    op_ints(&t, "output_padding", 1, S64(1));
    expect_window(&t, &w, true, 20, 1, 1);
    op_ints(&t, "output_shape", 1, S64(19)); /* 22 - 19 = 3 to cut, the larger half first unless SAME_UPPER */
    expect_window(&t, &w, true, 19, 2, 1);
    w.shape[0] = 3;
    assert_int_equal(clq_window_read(&win, &t.node, &t.in[0], &w, true, &err), CLQ_ERR_FORMAT);
}

/* Direct convolution against the definition, with groups, strides, dilations and uneven padding. */
static void test_conv(void **state)
{
    (void)state;
    for (int round = 0; round < 60; round++) {
        int64_t g = 1 + next() % 3, ci = g * (1 + next() % 2), co = g * (1 + next() % 3), h = 4 + next() % 5,
                wd = 4 + next() % 6, kh = 1 + next() % 3, kw = 1 + next() % 3;
        int64_t stride[2] = {1 + next() % 2, 1 + next() % 3}, dil[2] = {1 + next() % 2, 1},
                pads[4] = {next() % 2, next() % 3, next() % 2, next() % 2};
        float *x = random_floats((size_t)(2 * ci * h * wd)), *w = random_floats((size_t)(co * ci / g * kh * kw)),
              *b = random_floats((size_t)co);
        struct op_test t;
        op_start(&t, "Conv", 13, 1);
        op_input(&t, CLQ_DTYPE_F32, 4, SHAPE(2, ci, h, wd), x);
        op_input(&t, CLQ_DTYPE_F32, 4, SHAPE(co, ci / g, kh, kw), w);
        op_input(&t, CLQ_DTYPE_F32, 1, SHAPE(co), b);
        op_int(&t, "group", g);
        op_ints(&t, "strides", 2, stride);
        op_ints(&t, "dilations", 2, dil);
        op_ints(&t, "pads", 4, pads);
        t.call.threads = 1 + round % 2;
        clq_status st = op_run(&t);
        if (h + pads[0] + pads[2] < (kh - 1) * dil[0] + 1 || wd + pads[1] + pads[3] < kw) {
            assert_int_equal(st, CLQ_ERR_FORMAT);
        } else {
            assert_int_equal(st, CLQ_OK);
            int64_t oh = t.out[0].shape[2], ow = t.out[0].shape[3];
            for (int64_t i = 0; i < 2 * co * oh * ow; i++) {
                int64_t n = i / (co * oh * ow), o = i / (oh * ow) % co, r = i / ow % oh, c = i % ow;
                double sum = (double)b[o];
                for (int64_t k = 0; k < ci / g * kh * kw; k++) {
                    int64_t ch = k / (kh * kw), y0 = r * stride[0] - pads[0] + k / kw % kh * dil[0],
                            x0 = c * stride[1] - pads[1] + k % kw * dil[1];
                    if (y0 < 0 || y0 >= h || x0 < 0 || x0 >= wd) continue;
                    sum += (double)w[o * (ci / g * kh * kw) + k] *
                           (double)x[((n * ci + o / (co / g) * (ci / g) + ch) * h + y0) * wd + x0];
                }
                if (fabs(sum - (double)((float *)t.out[0].data)[i]) > 1e-3)
                    fail_msg("element %lld: %g, expected %g", (long long)i, (double)((float *)t.out[0].data)[i], sum);
            }
        }
        op_end(&t);
        free(x);
        free(w);
        free(b);
    }
}

/* Means over image axes in both layouts, and over none. */
static void test_reduce(void **state)
{
    (void)state;
    enum { C = 70, N = 130 };
    float *x = random_floats(C * N), last[C * N], want[C];
    for (int c = 0; c < C; c++) {
        double sum = 0;
        for (int i = 0; i < N; i++) {
            sum += (double)x[c * N + i];
            last[i * C + c] = x[c * N + i];
        }
        want[c] = (float)(sum / N);
    }
    for (int layout = 0; layout < 2; layout++) {
        struct op_test t;
        op_start(&t, "ReduceMean", 13, 1);
        op_input(&t, CLQ_DTYPE_F32, 4, layout ? SHAPE(1, 13, 10, C) : SHAPE(1, C, 13, 10), layout ? last : x);
        op_ints(&t, "axes", 2, layout ? S64(1, 2) : S64(-1, -2));
        assert_int_equal(op_run(&t), CLQ_OK);
        expect_floats(&t, 0, C, want, 1e-6f);
        op_end(&t);
    }
    struct op_test t;
    op_start(&t, "ReduceSum", 13, 1);
    op_input(&t, CLQ_DTYPE_F32, 2, SHAPE(0, 2), NULL);
    op_input(&t, CLQ_DTYPE_S64, 1, SHAPE(1), S64(0));
    assert_int_equal(op_run(&t), CLQ_OK);
    expect_floats(&t, 0, 2, F32(0, 0), 0.0f);
    op_end(&t);
    free(x);
}

/* All rows are well formed, and none is listed twice. */
static void test_table(void **state)
{
    (void)state;
    const struct clq_op *ops;
    size_t n = clq_op_table(&ops);
    assert_true(n > 150);
    for (size_t i = 0; i < n; i++) {
        assert_true(ops[i].max_in < 0 || ops[i].min_in <= ops[i].max_in);
        assert_true(ops[i].max_out < 0 || ops[i].min_out <= ops[i].max_out);
        for (size_t k = i + 1; k < n; k++)
            assert_false(ops[i].since == ops[k].since && !strcmp(ops[i].op_type, ops[k].op_type) &&
                         !strcmp(ops[i].domain, ops[k].domain));
        if (ops[i].eval) assert_ptr_equal(clq_op_find(ops[i].domain, ops[i].op_type, ops[i].since), &ops[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),         cmocka_unit_test(test_broadcast),
        cmocka_unit_test(test_in_place),      cmocka_unit_test(test_quantize),
        cmocka_unit_test(test_quantize_loop), cmocka_unit_test(test_dynamic_quantize),
        cmocka_unit_test(test_qlinear_wide),  cmocka_unit_test(test_opsets),
        cmocka_unit_test(test_window),        cmocka_unit_test(test_conv),
        cmocka_unit_test(test_reduce),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
