/* SPDX-License-Identifier: Apache-2.0
 * Where a product with the reciprocal gives the codes of a division, README.md "Quotients". Static, so that each ISA folder
 * compiles its own copy. */
#ifndef CLQ_KERNELS_QUOTIENTS_H
#define CLQ_KERNELS_QUOTIENTS_H

#include "kernels/kernels.h"

/* x / divisor is fma(x, near, x * rest): the reciprocal in two parts. */
struct clq_reciprocal {
    float near, rest;
};

static inline struct clq_reciprocal clq_reciprocal_of(float divisor)
{
    const float near = 1 / divisor;
    return (struct clq_reciprocal){near, (float)((1.0 - (double)near * (double)divisor) / (double)divisor)};
}

/* For quantizers, which limit x to 1024 scales. */
static inline bool clq_quotient_scale(float scale)
{
    return scale >= 0x1p-64f && scale <= 0x1p64f;
}

/* Between these bounds no step can overflow or be subnormal, and no quotient leaves the range of the
 * conversion, so the limits may be applied to the bytes: saturation to 16 and then 8 bits is monotone. */
static inline bool clq_quotient_binary(const struct clq_binary_u8_args *v, double largest)
{
    const float low = 0x1p-30f, high = 0x1p30f;
    return v->scale_a >= low && v->scale_a <= high && v->scale_b >= low && v->scale_b <= high && v->scale_y >= low &&
           v->scale_y <= high && largest / (double)v->scale_y < 0x1p30;
}

static inline bool clq_quotient_add(const struct clq_binary_u8_args *v)
{
    return clq_quotient_binary(v, 255 * ((double)v->scale_a + (double)v->scale_b));
}

static inline bool clq_quotient_mul(const struct clq_binary_u8_args *v)
{
    return clq_quotient_binary(v, 65025 * (double)v->scale_a * (double)v->scale_b);
}

/* A mean is divided by its count, which must give the rounded quotient, and by the scale. A quotient of a binary32 by a count n lies
 * at least 2^-25 / n of itself beside the middle of two neighbors, and the two parts of a reciprocal err by less than 2^-47. */
static inline bool clq_quotient_mean(const struct clq_pool_args *p)
{
    const float low = 0x1p-30f, high = 0x1p30f;
    return p->scale_x >= low && p->scale_x <= high && p->scale_y >= low && p->scale_y <= high && 255 * (double)p->scale_x / (double)p->scale_y < 0x1p30 &&
           (double)p->kh * (double)p->kw <= 0x1p20;
}

#endif
