/* SPDX-License-Identifier: Apache-2.0
 * Real activations of the products with 4-bit weights: the elements of a piece as integers of 24 bits, times a power of
 * two. */
#ifndef CLQ_KERNELS_LIMBS_H
#define CLQ_KERNELS_LIMBS_H

#include <stdint.h>
#include <string.h>

/* x = rne(x * inverse) * unit, both powers of two. The largest magnitude becomes 2^22 or more, and at most
 * 127 * 65536 + 127 * 256 + 127, which three signed bytes hold: values just below a power of two take the next unit. Units
 * below 2^-122 are not used, so that neither power is subnormal. unit is NaN where an element is not finite. */
struct clq_limbs {
    float inverse, unit;
};

static inline float clq_limbs_float(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* most: the largest of the elements' bits without their signs. */
static inline struct clq_limbs clq_limbs_of(uint32_t most)
{
    if (most >= 0x7f800000u) return (struct clq_limbs){0, clq_limbs_float(0x7fc00000u)};
    const float raised = clq_limbs_float(most) * 1.0078125f;
    uint32_t exponent;
    memcpy(&exponent, &raised, sizeof exponent);
    exponent >>= 23;
    if (exponent < 27) exponent = 27;
    return (struct clq_limbs){clq_limbs_float((276 - exponent) << 23), clq_limbs_float((exponent - 22) << 23)};
}

#endif
