/* SPDX-License-Identifier: Apache-2.0
 * Rows of fused float steps against binary64: softmax with scale and mask, what follows a product, the scales of rows. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ops/rows.h"

enum { MOST = 300 };

static void fill(float *x, size_t n, float spread, unsigned seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = ((float)(seed >> 8) / 8388608.0f - 1) * spread;
    }
}

/* exp within 2 ulp, a sum of n terms in lanes, two more roundings: 1e-6 of the value; one rounding of the distance to the
 * largest score, up to 2^-24 of it; and what is flushed below e^-80. */
static void check_softmax(const float *y, const float *x, const float *mask, size_t n, float scale)
{
    double e[MOST], below[MOST], sum = 0, top = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        float v = x[i] * scale;
        e[i] = (double)(mask ? v + mask[i] : v);
        top = fmax(top, e[i]);
    }
    for (size_t i = 0; i < n; i++) {
        below[i] = top - e[i];
        sum += e[i] = exp(-below[i]);
    }
    for (size_t i = 0; i < n; i++) {
        double want = e[i] / sum;
        assert_true(fabs((double)y[i] - want) <= (1e-6 + fmin(below[i], 100) * 6e-8) * want + 2e-35);
        assert_true(y[i] == 0 || y[i] >= FLT_MIN);
    }
}

static void test_softmax(void **state)
{
    (void)state;
    enum { ROWS = 3 };
    float x[ROWS * MOST], mask[MOST], y[ROWS * MOST];
    const float *const masks[ROWS] = {mask, mask, mask};
    for (size_t n = 1; n < MOST; n += n < 40 ? 1 : 37)
        for (int masked = 0; masked < 2; masked++) {
            fill(x, ROWS * n, 90, (unsigned)n);
            for (size_t i = 0; i < n; i++) mask[i] = i % 3 == 1 ? -3.4028235e38f : (float)i * 0.01f;
            clq_rows_softmax(y, x, masked ? masks : NULL, ROWS, n, 0.7f);
            for (size_t r = 0; r < ROWS; r++) check_softmax(y + r * n, x + r * n, masked ? mask : NULL, n, 0.7f);
        }
    memcpy(y, x, sizeof x);
    clq_rows_softmax(x, x, NULL, ROWS, 64, 0.7f);
    for (size_t r = 0; r < ROWS; r++) check_softmax(x + r * 64, y + r * 64, NULL, 64, 0.7f);
}

/* Each row has a mask of its own. */
static void test_softmax_masks(void **state)
{
    (void)state;
    float x[CLQ_ROWS_TOGETHER * CLQ_ROWS_TOGETHER], mask[CLQ_ROWS_TOGETHER * CLQ_ROWS_TOGETHER], y[CLQ_ROWS_TOGETHER * CLQ_ROWS_TOGETHER];
    const float *masks[CLQ_ROWS_TOGETHER];
    fill(x, CLQ_ROWS_TOGETHER * CLQ_ROWS_TOGETHER, 3, 5);
    for (size_t r = 0; r < CLQ_ROWS_TOGETHER; r++) {
        masks[r] = mask + r * CLQ_ROWS_TOGETHER;
        for (size_t i = 0; i < CLQ_ROWS_TOGETHER; i++) mask[r * CLQ_ROWS_TOGETHER + i] = i > r ? -INFINITY : 0;
    }
    clq_rows_softmax(y, x, masks, CLQ_ROWS_TOGETHER, CLQ_ROWS_TOGETHER, 1);
    for (size_t r = 0; r < CLQ_ROWS_TOGETHER; r++)
        for (size_t i = 0; i < CLQ_ROWS_TOGETHER; i++) assert_true((y[r * CLQ_ROWS_TOGETHER + i] > 0) == (i <= r));
    for (size_t i = 0; i < CLQ_ROWS_TOGETHER; i++) mask[i] = -INFINITY;
    clq_rows_softmax(y, x, masks, 1, CLQ_ROWS_TOGETHER, 1);
    assert_true(isnan(y[0]));
}

static void check_layernorm(const float *y, const float *x, const float *scale, const float *shift, size_t n, double epsilon)
{
    double mean = 0, var = 0, magnitude = 0;
    for (size_t i = 0; i < n; i++) mean += (double)x[i] / (double)n;
    for (size_t i = 0; i < n; i++) var += ((double)x[i] - mean) * ((double)x[i] - mean) / (double)n;
    for (size_t i = 0; i < n; i++) magnitude += fabs((double)x[i]) / (double)n;
    const double inverse = 1 / sqrt(var + epsilon), gamma = ((double)n + 8) * 0x1p-24;
    for (size_t i = 0; i < n; i++) {
        const double k = scale ? (double)scale[i] : 1, b = shift ? (double)shift[i] : 0, base = ((double)x[i] - mean) * inverse;
        /* The mean is off by gamma * magnitude, which moves every difference, and the square root relatively. */
        const double bound = fabs(k) * (gamma * magnitude * inverse * (1 + fabs(base)) + 2 * gamma * fabs(base)) +
                             0x1p-23 * (fabs(base * k + b) + fabs(b)) + 0x1p-24;
        assert_true(fabs((double)y[i] - (base * k + b)) <= bound);
    }
}

static void test_layernorm(void **state)
{
    (void)state;
    static float x[CLQ_ROWS_TOGETHER * 1000], y[CLQ_ROWS_TOGETHER * 1000], scale[1000], shift[1000];
    static const size_t cases[][2] = {{1, 1}, {3, 7}, {8, 384}, {3, 33}, {5, 1000}, {2, 64}};
    fill(scale, 1000, 2, 3);
    fill(shift, 1000, 1, 4);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        for (unsigned flags = 0; flags < 8; flags++) {
            const size_t rows = cases[k][0], n = cases[k][1];
            const float *gain = flags & 1 ? scale : NULL, *bias = flags & 2 ? shift : NULL;
            fill(x, rows * n, 1, (unsigned)n);
            for (size_t i = 0; i < rows * n; i++) x[i] += flags & 4 ? 10.0f : 0.0f;
            clq_rows_layernorm(y, x, rows, n, gain, bias, 1e-5f);
            for (size_t r = 0; r < rows; r++) check_layernorm(y + r * n, x + r * n, gain, bias, n, 1e-5);
        }
    memcpy(y, x, sizeof x);
    clq_rows_layernorm(x, x, 2, 64, scale, NULL, 1e-5f);
    for (size_t r = 0; r < 2; r++) check_layernorm(x + r * 64, y + r * 64, scale, NULL, 64, 1e-5);
}

static void test_gelu(void **state)
{
    (void)state;
    const struct clq_rows_epilogue e = {.act = CLQ_ACT_GELU};
    for (int i = -20000; i <= 20000; i++) {
        double x = (double)i * 5e-4;
        float y = (float)x;
        double want = 0.5 * (double)y * (1 + erf((double)y / sqrt(2)));
        clq_rows_finish(&y, 0, 1, 1, &e);
        assert_true(fabs((double)y - want) <= 1.5e-7 + 2.4e-7 * fabs(want));
    }
    float ends[4] = {-3e38f, 3e38f, -0.0f, NAN};
    clq_rows_finish(ends, 0, 1, 4, &e);
    assert_true(ends[0] <= 0 && ends[0] > -1e-8f && ends[1] == 3e38f && ends[2] == 0 && isnan(ends[3]));
}

/* Each part alone and all together, to the bit. */
static void test_finish(void **state)
{
    (void)state;
    enum { R = 3, N = 37 };
    float x[R * N], y[R * N], scale[R], bias[N], residual[R * N];
    fill(x, R * N, 4, 1);
    fill(scale, R, 2, 2);
    fill(bias, N, 3, 3);
    fill(residual, R * N, 3, 4);
    for (int parts = 0; parts < 16; parts++) {
        struct clq_rows_epilogue e = {parts & 1 ? scale : NULL, parts & 2 ? bias : NULL, parts & 4 ? residual : NULL, parts & 8 ? CLQ_ACT_RELU : CLQ_ACT_NONE};
        for (int i = 0; i < R * N; i++) y[i] = x[i];
        clq_rows_finish(y, 0, 2, N, &e);
        clq_rows_finish(y, 2, R, N, &e);
        for (int i = 0; i < R * N; i++) {
            float v = x[i];
            if (e.scale) v = v * scale[i / N];
            if (e.bias) v = v + bias[i % N];
            if (e.residual) v = v + residual[i];
            if (e.act == CLQ_ACT_RELU) v = v > 0 ? v : 0;
            assert_true(v == y[i]);
        }
    }
}

static void test_scale(void **state)
{
    (void)state;
    float x[MOST];
    for (size_t n = 1; n < MOST; n += 13) {
        float top = 0;
        fill(x, n, 7, (unsigned)n + 9);
        for (size_t i = 0; i < n; i++) top = fmaxf(top, fabsf(x[i]));
        assert_true(clq_rows_scale(x, n) == top / 127.0f);
    }
    x[0] = 0;
    assert_true(clq_rows_scale(x, 1) == FLT_MIN);
    x[0] = 1e-40f;
    assert_true(clq_rows_scale(x, 1) == FLT_MIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_softmax), cmocka_unit_test(test_softmax_masks), cmocka_unit_test(test_layernorm),
                                       cmocka_unit_test(test_gelu), cmocka_unit_test(test_finish), cmocka_unit_test(test_scale)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
