/* SPDX-License-Identifier: Apache-2.0
 * exp, tanh and erf on binary32 as straight-line code that compilers vectorize: no table, no branch, no fused
 * multiply-add, so every instruction set gives the same bits. Polynomials are minimax fits made for this project.
 * Bounds, checked over all floats by tests/test_ops_math.c: exp 1 ulp, tanh 1.5, erf 1.5, sigmoid 3 (below -88, where
 * the exact value is subnormal: anything under 2^-126). NaN gives NaN. */
#ifndef CLQ_OPS_VECMATH_H
#define CLQ_OPS_VECMATH_H

#include <math.h>

#include "kernels/float_bits.h"

/* 2^n * p with |r| <= ln2 / 2; n comes from the low bits of x * log2(e) + 1.5 * 2^23. The factor 2^n is applied in two
 * halves, so results may be subnormal or infinite. */
static inline __attribute__((always_inline)) float clq_vec_exp(float x)
{
    const float magic = 12582912.0f;
    x = x < -104.0f ? -104.0f : x;
    x = x > 89.0f ? 89.0f : x;
    float t = x * 1.44269504f + magic, n = t - magic;
    float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.381431939e-03f;
    p = p * r + 8.368850686e-03f;
    p = p * r + 4.166840017e-02f;
    p = p * r + 1.666651964e-01f;
    p = p * r + 4.999999404e-01f;
    p = p * (r * r) + r + 1.0f;
    int32_t i = (int32_t)(clq_float_bits(t) - clq_float_bits(magic)), half = i >> 1;
    float a = clq_float_from(((uint32_t)half + 127u) << 23), b = clq_float_from(((uint32_t)(i - half) + 127u) << 23);
    return p * a * b;
}

static inline __attribute__((always_inline)) float clq_vec_sigmoid(float x)
{
    return 1.0f / (1.0f + clq_vec_exp(-x));
}

static inline __attribute__((always_inline)) float clq_vec_tanh(float x)
{
    float t = fabsf(x), u = x * x;
    float p = -5.693523213e-03f;
    p = p * u + 2.063041553e-02f;
    p = p * u + -5.373761430e-02f;
    p = p * u + 1.333142519e-01f;
    p = p * u + -3.333328068e-01f;
    float low = p * u * x + x;
    float high = copysignf(1.0f - 2.0f / (clq_vec_exp(2.0f * t) + 1.0f), x);
    return t < 0.625f ? low : high;
}

static inline __attribute__((always_inline)) float clq_vec_erf(float x)
{
    float t = fabsf(x), u = x * x;
    float p = 8.266266377e-05f;
    p = p * u + -8.118452388e-04f;
    p = p * u + 5.198937375e-03f;
    p = p * u + -2.685857937e-02f;
    p = p * u + 1.128368154e-01f;
    p = p * u + -3.761263192e-01f;
    p = p * u + 1.283791661e-01f;
    float low = p * x + x;
    t = t > 4.0f ? 4.0f : t; /* erf(4) rounds to 1 */
    float q = 2.121790203e-05f;
    q = q * t + -4.358845472e-04f;
    q = q * t + 4.177961498e-03f;
    q = q * t + -2.513762005e-02f;
    q = q * t + 1.083082706e-01f;
    q = q * t + 6.333212256e-01f;
    q = q * t + 1.129527688e+00f;
    q = q * t + -1.773346885e-04f;
    float high = copysignf(1.0f - clq_vec_exp(-q), x);
    return fabsf(x) < 0.9375f ? low : high;
}

#endif
