/* SPDX-License-Identifier: Apache-2.0
 * The bits of a binary32 number, and back, in code that compilers vectorize. */
#ifndef CLQ_KERNELS_FLOAT_BITS_H
#define CLQ_KERNELS_FLOAT_BITS_H

#include <stdint.h>
#include <string.h>

static inline __attribute__((always_inline)) uint32_t clq_float_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline __attribute__((always_inline)) float clq_float_from(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

#endif
