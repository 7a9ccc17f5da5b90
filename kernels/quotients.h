/* SPDX-License-Identifier: Apache-2.0
 * Where the repaired product with the reciprocal gives the codes of a division, README.md "Quotients". Static, so that each
 * ISA folder compiles its own copy. */
#ifndef CLQ_KERNELS_QUOTIENTS_H
#define CLQ_KERNELS_QUOTIENTS_H

#include "kernels/kernels.h"

/* For quantizers, which limit x to 1024 scales. */
static inline bool clq_quotient_scale(float scale)
{
    return scale >= 0x1p-64f && scale <= 0x1p64f;
}

/* Between these bounds no step of the repair can overflow or be subnormal, and no quotient leaves the range of the
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

/* A mean is divided by its count, exactly, and by the scale. For a count the repair runs twice: the first one leaves an error of
 * less than a unit in the last place, the second one then gives the rounded quotient, since the reciprocal is itself rounded
 * (Markstein). */
static inline bool clq_quotient_mean(const struct clq_pool_args *p)
{
    const float low = 0x1p-30f, high = 0x1p30f;
    return p->scale_x >= low && p->scale_x <= high && p->scale_y >= low && p->scale_y <= high && 255 * (double)p->scale_x / (double)p->scale_y < 0x1p30;
}

#endif
