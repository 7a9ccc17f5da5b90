/* SPDX-License-Identifier: Apache-2.0
 * How the exact sum of an integer product becomes one result: the three rounding steps of the numeric contract. Shared
 * by the reference product and the reference convolution, which define it; every faster epilogue equals it. */
#ifndef CLQ_KERNELS_REF_REQUANTIZE_H
#define CLQ_KERNELS_REF_REQUANTIZE_H

#include <math.h>

#include "kernels/kernels.h"

/* The limits are small integers, exact in binary32, and come before the conversion: no float-to-int conversion ever
 * sees a value out of range. */
static inline int32_t clq_requantize_ref(int64_t v, float multiplier, int32_t zero_point, int32_t lo, int32_t hi)
{
    const float least = (float)(lo - zero_point), most = (float)(hi - zero_point);
    float p = (float)v * multiplier;
    if (p < least) p = least;
    if (p > most) p = most;
    return (int32_t)rintf(p) + zero_point;
}

/* multiplier points to the column's value; it is not read for CLQ_OUT_S32. */
static inline void clq_store_ref(void *y, size_t at, enum clq_out out, int64_t v, const float *multiplier,
                                 int32_t zero_point, int32_t lo, int32_t hi)
{
    switch (out) {
    case CLQ_OUT_U8: ((uint8_t *)y)[at] = (uint8_t)clq_requantize_ref(v, *multiplier, zero_point, lo, hi); break;
    case CLQ_OUT_S8: ((int8_t *)y)[at] = (int8_t)clq_requantize_ref(v, *multiplier, zero_point, lo, hi); break;
    case CLQ_OUT_F32: ((float *)y)[at] = (float)v * *multiplier; break;
    case CLQ_OUT_S32: ((int32_t *)y)[at] = (int32_t)(uint32_t)(uint64_t)v; break;
    }
}

#endif
