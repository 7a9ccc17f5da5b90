/* SPDX-License-Identifier: Apache-2.0
 * exp as softmax needs it: 2^n times a minimax fit of 2^r made for this project. The constants are shared by every version, whose
 * bits are those of clq_exp_down: each operation is rounded once, and multiply-adds are fused. */
#ifndef CLQ_KERNELS_EXPONENT_H
#define CLQ_KERNELS_EXPONENT_H

#include "kernels/float_bits.h"

/* n comes from the low bits of a sum with this number, with the exponent's bias already there. */
#define CLQ_EXP_MAGIC (12582912.0f + 127.0f)
/* log2(e) in two parts. */
#define CLQ_EXP_LOG2E 1.442695022e+00f
#define CLQ_EXP_LOG2E_REST 1.925963034e-08f
/* 2^r = 1 + r * (C1 + r * (C2 + ...)), |r| <= 1 / 2. */
#define CLQ_EXP_C1 6.931470037e-01f
#define CLQ_EXP_C2 2.402224243e-01f
#define CLQ_EXP_C3 5.550733581e-02f
#define CLQ_EXP_C4 9.671512991e-03f
#define CLQ_EXP_C5 1.326472731e-03f
/* Below, softmax's exp is 0: subnormal numbers would take hundreds of cycles each. */
#define CLQ_EXP_LEAST -80.0f

/* exp(x), -88 < x <= 0, within 2 ulp. NaN gives NaN. Where instructions fuse multiply and add, these do; elsewhere a function does. */
static inline __attribute__((always_inline)) float clq_exp_near(float x)
{
    float t = __builtin_fmaf(x, CLQ_EXP_LOG2E, CLQ_EXP_MAGIC), n = t - CLQ_EXP_MAGIC;
    float r = __builtin_fmaf(x, CLQ_EXP_LOG2E_REST, __builtin_fmaf(x, CLQ_EXP_LOG2E, -n));
    float p = __builtin_fmaf(CLQ_EXP_C5, r, CLQ_EXP_C4);
    p = __builtin_fmaf(p, r, CLQ_EXP_C3);
    p = __builtin_fmaf(p, r, CLQ_EXP_C2);
    p = __builtin_fmaf(p, r, CLQ_EXP_C1);
    p = __builtin_fmaf(p, r, 1.0f);
    return p * clq_float_from(clq_float_bits(t) << 23);
}

/* exp(x) for x <= 0, and 0 below CLQ_EXP_LEAST. */
static inline __attribute__((always_inline)) float clq_exp_down(float x)
{
    float p = clq_exp_near(x < CLQ_EXP_LEAST ? CLQ_EXP_LEAST : x);
    return x < CLQ_EXP_LEAST ? 0.0f : p;
}

#endif
