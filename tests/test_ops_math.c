/* SPDX-License-Identifier: Apache-2.0
 * The bounds of ops/vecmath.h over all floats (or every stride-th with an argument), and that the vectorized loops of
 * Exp, Tanh, Erf and Sigmoid give the bits of the scalar functions at every position. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "ops/vecmath.h"
#include "ops_call.h"

static uint32_t stride = 1;

/* |got - want| in units of the last place of want's binary32. */
static double ulps(float got, double want)
{
    if (want == 0.0 && fabsf(got) < 0x1p-126f) return 0.0; /* the exact value is below every normal float */
    if (isnan(want)) return isnan(got) ? 0.0 : INFINITY;
    if (isinf(want) || fabs(want) >= 0x1.ffffffp127)
        return isinf(got) && (got > 0) == (want > 0)
                   ? 0.0
                   : (isinf((float)want) ? INFINITY : fabs((double)got - want) / 0x1p104);
    int e;
    frexp(want, &e);
    double unit = ldexp(1.0, e < -125 ? -149 : e - 24);
    return fabs((double)got - want) / unit;
}

static void check(const char *name, float (*f)(float), double (*exact)(double), double bound)
{
    double worst = 0.0;
    float at = 0.0f;
    for (uint64_t u = 0; u < (1ull << 32); u += stride) {
        float x = clq_float_from((uint32_t)u);
        double d = ulps(f(x), exact((double)x));
        if (d > worst) {
            worst = d;
            at = x;
        }
    }
    printf("%s: %.3f ulp at %a (%.9g, exact %.17g), bound %g\n", name, worst, (double)at, (double)f(at),
           exact((double)at), bound);
    assert_true(worst <= bound);
}

static float vec_exp(float x)
{
    return clq_vec_exp(x);
}

static float vec_tanh(float x)
{
    return clq_vec_tanh(x);
}

static float vec_erf(float x)
{
    return clq_vec_erf(x);
}

static float vec_sigmoid(float x)
{
    return clq_vec_sigmoid(x);
}

/* Below -88 the loop gives 0 where the exact value is subnormal; the header says so. */
static double sigmoid(double x)
{
    if (x < -88.0) return 0.0;
    return 1.0 / (1.0 + exp(-x));
}

static void test_bounds(void **state)
{
    (void)state;
    check("exp", vec_exp, exp, 1.0);
    check("tanh", vec_tanh, tanh, 1.5);
    check("erf", vec_erf, erf, 1.5);
    check("sigmoid", vec_sigmoid, sigmoid, 3.0);
}

static void same_bits(const char *type, float (*f)(float))
{
    enum { N = 40000 };
    float *x = malloc(N * sizeof *x);
    assert_non_null(x);
    uint32_t seed = 12345;
    for (int i = 0; i < N; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = i % 3 ? ((float)(seed >> 8) / 8388608.0f - 1.0f) * 20.0f : clq_float_from(seed);
    }
    for (int threads = 1; threads <= 3; threads += 2) {
        struct op_test t;
        op_start(&t, type, 13, 1);
        op_input(&t, CLQ_DTYPE_F32, 1, SHAPE(N - threads), x + threads);
        t.call.threads = threads;
        assert_int_equal(op_run(&t), CLQ_OK);
        for (int i = 0; i < N - threads; i++) {
            float got = ((float *)t.out[0].data)[i], want = f(x[i + threads]);
            if (isnan(want) ? !isnan(got) : clq_float_bits(got) != clq_float_bits(want))
                fail_msg("%s(%a) is %a in the loop, %a alone", type, (double)x[i + threads], (double)got, (double)want);
        }
        op_end(&t);
    }
    free(x);
}

static void test_vectors_equal_scalars(void **state)
{
    (void)state;
    same_bits("Exp", vec_exp);
    same_bits("Tanh", vec_tanh);
    same_bits("Erf", vec_erf);
    same_bits("Sigmoid", vec_sigmoid);
}

int main(int argc, char **argv)
{
    if (argc > 1) stride = (uint32_t)strtoul(argv[1], NULL, 10);
    if (stride == 0) stride = 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bounds), cmocka_unit_test(test_vectors_equal_scalars)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
