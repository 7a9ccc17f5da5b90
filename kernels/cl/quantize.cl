/* SPDX-License-Identifier: Apache-2.0
 * float32 to and from 8-bit codes, bits of ref/quantize.c and ref/dequantize.c.
 * -D: CLQ_VEC, CLQ_BLOCKED, CLQ_DIVIDE. Any 1-D global and local size. Reads x[0..n), writes y[0..n); *_at count
 * elements. No alignment beyond the element's. */
#ifndef CLQ_COMMON_CLH
#include "common.clh"
#endif

#define CLQ_QUANTIZE_KERNEL(name, type, convert_typev, qmin, qmax)                                            \
    kernel void name(global const float *x, ulong x_at, global type *y, ulong y_at, ulong n, float scale,     \
                     float reciprocal, int zp)                                                                \
    {                                                                                                         \
        x += x_at;                                                                                            \
        y += y_at;                                                                                            \
        CLQ_SPAN(n / CLQ_VEC);                                                                                \
        for (ulong i = begin; i < end; i += step)                                                             \
            vstorev(convert_typev(clq_quantize(vloadv(i, x), scale, reciprocal, zp, qmin, qmax)), i, y);      \
        if (get_global_id(0) == 0)                                                                            \
            for (ulong i = n - n % CLQ_VEC; i < n; i++)                                                       \
                y[i] = (type)clq_quantize(x[i], scale, reciprocal, zp, qmin, qmax);                           \
    }

#define CLQ_DEQUANTIZE_KERNEL(name, type)                                                                     \
    kernel void name(global const type *x, ulong x_at, global float *y, ulong y_at, ulong n, float scale, int zp) \
    {                                                                                                         \
        x += x_at;                                                                                            \
        y += y_at;                                                                                            \
        CLQ_SPAN(n / CLQ_VEC);                                                                                \
        for (ulong i = begin; i < end; i += step)                                                             \
            vstorev(convert_floatv(convert_intv(vloadv(i, x)) - zp) * scale, i, y);                           \
        if (get_global_id(0) == 0)                                                                            \
            for (ulong i = n - n % CLQ_VEC; i < n; i++) y[i] = (float)((int)x[i] - zp) * scale;               \
    }

CLQ_QUANTIZE_KERNEL(quantize_f32_u8, uchar, convert_ucharv, 0, 255)
CLQ_QUANTIZE_KERNEL(quantize_f32_s8, char, convert_charv, -128, 127)
CLQ_DEQUANTIZE_KERNEL(dequantize_u8_f32, uchar)
CLQ_DEQUANTIZE_KERNEL(dequantize_s8_f32, char)
