/* SPDX-License-Identifier: Apache-2.0
 * One real to one 8-bit code, README.md "Quantize", and loads and stores of binary32 at any address. Shared by the
 * references, which define these operations. */
#ifndef CLQ_KERNELS_REF_CODE_H
#define CLQ_KERNELS_REF_CODE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* The limits are small integers, exact in binary32, and come before the conversion; a NaN has been replaced by then.
 * The zero point is added in integers, after rounding. */
static inline int32_t clq_code_ref(float x, float scale, int32_t zero_point, int32_t lo, int32_t hi)
{
    const float least = (float)(lo - zero_point), most = (float)(hi - zero_point);
    float y = x / scale;
    if (isnan(y)) y = 0;
    if (y < least) y = least;
    if (y > most) y = most;
    return (int32_t)lrintf(y) + zero_point;
}

/* Tensors may lie at any byte of a mapped file, so x need not have the alignment of a float. */
static inline float clq_load_ref(const float *x, size_t i)
{
    float v;
    memcpy(&v, (const char *)x + i * sizeof v, sizeof v);
    return v;
}

static inline void clq_store_f32_ref(float *y, size_t i, float v)
{
    memcpy((char *)y + i * sizeof v, &v, sizeof v);
}

static inline uint32_t clq_bits_ref(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

#endif
