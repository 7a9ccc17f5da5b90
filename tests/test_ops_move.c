/* SPDX-License-Identifier: Apache-2.0
 * Transpose, Slice, Pad and Resize against the plainest possible loops, over random shapes, types and thread counts. */
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

static size_t product(const int64_t *s, int n)
{
    size_t p = 1;
    for (int k = 0; k < n; k++) p *= (size_t)s[k];
    return p;
}

static void test_transpose(void **state)
{
    (void)state;
    static const clq_dtype types[] = {CLQ_DTYPE_F32, CLQ_DTYPE_U8, CLQ_DTYPE_F16, CLQ_DTYPE_S64};
    for (int round = 0; round < 400; round++) {
        int rank = 1 + (int)(next() % 5);
        int64_t shape[5], perm[5], stride[5], s = 1;
        size_t size = clq_dtype_bits(types[round % 4]) / 8;
        for (int k = 0; k < rank; k++) {
            shape[k] = 1 + next() % (rank < 3 ? 90 : 11);
            perm[k] = k;
        }
        for (int k = rank - 1; k > 0; k--) {
            int other = (int)(next() % (unsigned)(k + 1));
            int64_t p = perm[k];
            perm[k] = perm[other];
            perm[other] = p;
        }
        for (int k = rank - 1; k >= 0; s *= shape[k--]) stride[k] = s;
        unsigned char *x = malloc((size_t)s * size);
        assert_non_null(x);
        for (size_t i = 0; i < (size_t)s * size; i++) x[i] = (unsigned char)next();
        struct op_test t;
        op_start(&t, "Transpose", 13, 1);
        op_input(&t, types[round % 4], rank, shape, x);
        op_ints(&t, "perm", (size_t)rank, perm);
        t.call.threads = 1 + round % 3;
        assert_int_equal(op_run(&t), CLQ_OK);
        for (int64_t i = 0; i < s; i++) {
            int64_t rest = i, from = 0;
            for (int k = rank - 1; k >= 0; k--) {
                from += rest % shape[perm[k]] * stride[perm[k]];
                rest /= shape[perm[k]];
            }
            assert_memory_equal((char *)t.out[0].data + (size_t)i * size, x + (size_t)from * size, size);
        }
        op_end(&t);
        free(x);
    }
}

static void test_slice_and_pad(void **state)
{
    (void)state;
    for (int round = 0; round < 300; round++) {
        int64_t shape[3] = {1 + next() % 6, 1 + next() % 40, 1 + next() % 40}, start[3], end[3], step[3], n[3];
        float *x = random_floats(product(shape, 3));
        for (int k = 0; k < 3; k++) {
            step[k] = next() % 2 ? 1 : next() % 2 ? 2 : -1 - (int64_t)(next() % 2);
            int64_t a = next() % shape[k], b = next() % shape[k];
            start[k] = step[k] > 0 ? (a < b ? a : b) : (a < b ? b : a);
            end[k] = step[k] > 0 ? (a < b ? b : a) + 1 : (a < b ? a : b) - 1;
            n[k] = step[k] > 0 ? (end[k] - start[k] + step[k] - 1) / step[k]
                               : (start[k] - end[k] - step[k] - 1) / -step[k];
            if (end[k] < 0) end[k] = INT64_MIN;
        }
        struct op_test t;
        op_start(&t, "Slice", 13, 1);
        op_input(&t, CLQ_DTYPE_F32, 3, shape, x);
        op_input(&t, CLQ_DTYPE_S64, 1, SHAPE(3), start);
        op_input(&t, CLQ_DTYPE_S64, 1, SHAPE(3), end);
        op_input(&t, CLQ_DTYPE_S64, 1, SHAPE(3), S64(0, 1, 2));
        op_input(&t, CLQ_DTYPE_S64, 1, SHAPE(3), step);
        assert_int_equal(op_run(&t), CLQ_OK);
        assert_true(op_has_shape(&t, 0, 3, n));
        const float *y = t.out[0].data;
        for (int64_t a = 0; a < n[0]; a++)
            for (int64_t b = 0; b < n[1]; b++)
                for (int64_t c = 0; c < n[2]; c++, y++)
                    assert_true(*y == x[((start[0] + a * step[0]) * shape[1] + start[1] + b * step[1]) * shape[2] +
                                        start[2] + c * step[2]]);
        op_end(&t);
        int64_t pads[6];
        for (int k = 0; k < 6; k++) pads[k] = (int64_t)(next() % 4) - (shape[k % 3] > 2 && next() % 4 == 0);
        float fill = 42.0f;
        op_start(&t, "Pad", 13, 1);
        op_input(&t, CLQ_DTYPE_F32, 3, shape, x);
        op_input(&t, CLQ_DTYPE_S64, 1, SHAPE(6), pads);
        op_input(&t, CLQ_DTYPE_F32, 0, NULL, &fill);
        t.call.threads = 1 + round % 2;
        assert_int_equal(op_run(&t), CLQ_OK);
        y = t.out[0].data;
        for (int64_t a = 0; a < t.out[0].shape[0]; a++)
            for (int64_t b = 0; b < t.out[0].shape[1]; b++)
                for (int64_t c = 0; c < t.out[0].shape[2]; c++, y++) {
                    int64_t i = a - pads[0], j = b - pads[1], k = c - pads[2];
                    bool in = i >= 0 && i < shape[0] && j >= 0 && j < shape[1] && k >= 0 && k < shape[2];
                    assert_true(*y == (in ? x[(i * shape[1] + j) * shape[2] + k] : fill));
                }
        op_end(&t);
        free(x);
    }
}

/* Layout passes move axes: nearest and linear must not care where the image is. */
static void test_resize_layouts(void **state)
{
    (void)state;
    enum { C = 5, H = 6, W = 7 };
    float *plain = random_floats(C * H * W), last[C * H * W];
    for (int c = 0; c < C; c++)
        for (int i = 0; i < H * W; i++) last[i * C + c] = plain[c * H * W + i];
    for (int mode = 0; mode < 3; mode++)
        for (int up = 1; up <= 3; up++) {
            struct op_test a, b;
            float scale = (float)up * (mode == 1 ? 0.75f : 1.0f);
            const char *names[] = {"nearest", "linear", "cubic"};
            op_start(&a, "Resize", 13, 1);
            op_start(&b, "Resize", 13, 1);
            op_input(&a, CLQ_DTYPE_F32, 4, SHAPE(1, C, H, W), plain);
            op_input(&b, CLQ_DTYPE_F32, 4, SHAPE(1, H, W, C), last);
            op_input(&a, CLQ_DTYPE_NONE, 0, NULL, NULL);
            op_input(&b, CLQ_DTYPE_NONE, 0, NULL, NULL);
            op_input(&a, CLQ_DTYPE_F32, 1, SHAPE(4), F32(1, 1, scale, scale));
            op_input(&b, CLQ_DTYPE_F32, 1, SHAPE(4), F32(1, scale, scale, 1));
            op_string(&a, "mode", names[mode]);
            op_string(&b, "mode", names[mode]);
            op_string(&a, "coordinate_transformation_mode", up == 2 ? "asymmetric" : "half_pixel");
            op_string(&b, "coordinate_transformation_mode", up == 2 ? "asymmetric" : "half_pixel");
            assert_int_equal(op_run(&a), CLQ_OK);
            assert_int_equal(op_run(&b), CLQ_OK);
            int64_t plane = a.out[0].shape[2] * a.out[0].shape[3];
            assert_int_equal(plane, (int64_t)((float)H * scale) * (int64_t)((float)W * scale));
            for (int64_t i = 0; i < plane; i++)
                for (int c = 0; c < C; c++) {
                    float got = ((float *)b.out[0].data)[i * C + c], want = ((float *)a.out[0].data)[c * plane + i];
                    if (fabsf(got - want) > 1e-5f)
                        fail_msg("%s x%g: %g and %g", names[mode], (double)scale, (double)got, (double)want);
                    if (mode == 0 && up == 2)
                        assert_true(want ==
                                    plain[c * H * W + i / a.out[0].shape[3] / 2 * W + i % a.out[0].shape[3] / 2]);
                }
            op_end(&a);
            op_end(&b);
        }
    free(plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_transpose), cmocka_unit_test(test_slice_and_pad),
                                       cmocka_unit_test(test_resize_layouts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
