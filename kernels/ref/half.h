/* SPDX-License-Identifier: Apache-2.0
 * binary16 to binary32, which is exact. */
#ifndef CLQ_KERNELS_REF_HALF_H
#define CLQ_KERNELS_REF_HALF_H

#include <stdint.h>
#include <string.h>

/* The exponent is raised by a product, so that subnormals become normal numbers. */
static inline float clq_half_ref(uint16_t half)
{
    const uint32_t magnitude = half & 0x7fffu;
    uint32_t bits = magnitude << 13;
    float v;
    memcpy(&v, &bits, sizeof v);
    v *= 0x1p112f;
    memcpy(&bits, &v, sizeof bits);
    if (magnitude >= 0x7c00u) bits = 0x7f800000u | magnitude << 13;
    bits |= (uint32_t)(half & 0x8000u) << 16;
    memcpy(&v, &bits, sizeof v);
    return v;
}

#endif
