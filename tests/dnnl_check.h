/* SPDX-License-Identifier: Apache-2.0
 * What the tests of the oneDNN steps share: arrays that are misaligned on purpose and end at canaries, and the check against
 * naive sums in binary64. A product of K terms may be off by gamma_K times the sum of the magnitudes (numerics.md 11), K
 * counting bias and residual; an activation carries that on with its largest slope and adds an error of its own. */
#ifndef CLQ_TESTS_DNNL_CHECK_H
#define CLQ_TESTS_DNNL_CHECK_H

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

static inline float uniform(void) /* -1 .. 1 */
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(seed >> 40) / 8388608.0 - 1.0);
}

static inline float *array(int64_t n) /* misaligned by 4 bytes, canaries at both ends */
{
    float *p = malloc(((size_t)n + 2 * PAD + 1) * sizeof *p);
    assert_non_null(p);
    for (int64_t i = 0; i < n + 2 * PAD + 1; i++) p[i] = canary;
    return p + PAD + 1;
}

static inline float *random_array(int64_t n)
{
    float *p = array(n);
    for (int64_t i = 0; i < n; i++) p[i] = uniform();
    return p;
}

static inline void release(float *p, int64_t n)
{
    if (!p) return;
    for (int i = 0; i < PAD; i++) {
        assert_true(p[-1 - i] == canary);
        assert_true(p[n + i] == canary);
    }
    free(p - PAD - 1);
}

static inline double act_value(enum clq_act act, double a, double b, double x)
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
static inline double act_error(enum clq_act act, double x, double y)
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

static inline double act_slope(enum clq_act act, double a)
{
    return act == CLQ_ACT_LEAKY || act == CLQ_ACT_ELU ? fmax(1, fabs(a)) : act == CLQ_ACT_HARDSIGMOID ? fabs(a)
         : act == CLQ_ACT_HARDSWISH ? 1.5 : act == CLQ_ACT_GELU || act == CLQ_ACT_GELU_TANH || act == CLQ_ACT_SWISH ? 1.2 : 1;
}

struct value { /* one reference result: sum, sum of magnitudes, number of terms */
    double sum, magnitude, terms;
};

static inline void add_term(struct value *v, double x)
{
    v->sum += x;
    v->magnitude += fabs(x);
    v->terms += 1;
}

static inline void check_value(const char *what, const char *impl, int64_t at, float got, struct value v, enum clq_act act,
                        float a, float b)
{
    double u = 0x1p-24, gamma = v.terms * u / (1 - v.terms * u);
    double want = act_value(act, a, b, v.sum);
    double bound = gamma * v.magnitude * act_slope(act, a) + act_error(act, v.sum, want);
    if (!(fabs(got - want) <= bound))
        fail_msg("%s (%s): element %lld is %a (%.9g), expected %.17g, off by %g, bound %g", what, impl, (long long)at,
                 (double)got, (double)got, want, fabs(got - want), bound);
}

/* Activations with their parameters. */
static const struct {
    enum clq_act act;
    float a, b;
} acts[] = {{CLQ_ACT_NONE, 0, 0}, {CLQ_ACT_RELU, 0, 0}, {CLQ_ACT_CLIP, 0, 6}, {CLQ_ACT_CLIP, -0.25f, INFINITY},
            {CLQ_ACT_CLIP, -INFINITY, 0.5f}, {CLQ_ACT_CLIP, 2, -1}, {CLQ_ACT_LEAKY, 0.01f, 0}, {CLQ_ACT_LEAKY, 1.5f, 0},
            {CLQ_ACT_HARDSWISH, 0, 0}, {CLQ_ACT_HARDSIGMOID, 0.2f, 0.5f}, {CLQ_ACT_HARDSIGMOID, 1.0f / 6, 0.5f},
            {CLQ_ACT_SIGMOID, 0, 0}, {CLQ_ACT_TANH, 0, 0}, {CLQ_ACT_GELU, 0, 0}, {CLQ_ACT_GELU_TANH, 0, 0},
            {CLQ_ACT_SWISH, 0, 0},
            {CLQ_ACT_ELU, 1, 0}, {CLQ_ACT_ELU, 0.3f, 0}};

static struct clq_dnnl *dnnl;

static inline int setup(void **state)
{
    struct clq_error err = {""};
    (void)state;
    return clq_dnnl_create(&dnnl, 1, &err) == CLQ_OK ? 0 : -1;
}

static inline int teardown(void **state)
{
    (void)state;
    clq_dnnl_free(dnnl);
    return 0;
}

#endif
