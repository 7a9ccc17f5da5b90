/* SPDX-License-Identifier: Apache-2.0
 * Addition and multiplication of 8-bit tensors of equal shape, and 256-entry tables; bits of ref/binary.c and
 * ref/lut.c.
 * -D: CLQ_VEC, CLQ_BLOCKED, CLQ_DIVIDE. Any 1-D global and local size. y may be a, b or x: every element is read
 * before it is written, by the same work-item. *_at count elements. */
#ifndef CLQ_COMMON_CLH
#include "common.clh"
#endif

#define CLQ_ADD(a, b) ((a) + (b))
#define CLQ_MUL(a, b) ((a) * (b))

#define CLQ_BINARY_KERNEL(name, OPERATION)                                                                    \
    kernel void name(global const uchar *a, ulong a_at, global const uchar *b, ulong b_at, global uchar *y,   \
                     ulong y_at, ulong n, float scale_a, float scale_b, float scale_y, float reciprocal,      \
                     int zp_a, int zp_b, int zp_y, int lo, int hi)                                            \
    {                                                                                                         \
        a += a_at;                                                                                            \
        b += b_at;                                                                                            \
        y += y_at;                                                                                            \
        CLQ_SPAN(n / CLQ_VEC);                                                                                \
        for (ulong i = begin; i < end; i += step) {                                                           \
            floatv fa = convert_floatv(convert_intv(vloadv(i, a)) - zp_a) * scale_a;                          \
            floatv fb = convert_floatv(convert_intv(vloadv(i, b)) - zp_b) * scale_b;                          \
            vstorev(convert_ucharv(clq_quantize(OPERATION(fa, fb), scale_y, reciprocal, zp_y, lo, hi)), i, y); \
        }                                                                                                     \
        if (get_global_id(0) == 0)                                                                            \
            for (ulong i = n - n % CLQ_VEC; i < n; i++) {                                                     \
                float fa = (float)((int)a[i] - zp_a) * scale_a;                                               \
                float fb = (float)((int)b[i] - zp_b) * scale_b;                                               \
                y[i] = (uchar)clq_quantize(OPERATION(fa, fb), scale_y, reciprocal, zp_y, lo, hi);             \
            }                                                                                                 \
    }

CLQ_BINARY_KERNEL(add_u8, CLQ_ADD)
CLQ_BINARY_KERNEL(mul_u8, CLQ_MUL)

kernel void lut_u8(global const uchar *x, ulong x_at, global uchar *y, ulong y_at, ulong n, global const uchar *table,
                   ulong table_at)
{
    x += x_at;
    y += y_at;
    table += table_at;
    CLQ_SPAN(n);
    for (ulong i = begin; i < end; i += step) y[i] = table[x[i]];
}

/* y = x with the sign bit turned: int8 codes as uint8 codes with the zero point 128 higher. Rows of k bytes, the
 * source with stride x_ld, the target dense with stride y_ld >= k; bytes between k and y_ld are not written. */
kernel void flip_s8(global const uchar *x, ulong x_at, ulong x_ld, global uchar *y, ulong y_at, ulong y_ld, ulong rows,
                    ulong k)
{
    x += x_at;
    y += y_at;
    const ulong per = (k + CLQ_VEC - 1) / CLQ_VEC;
    CLQ_SPAN(rows * per);
    for (ulong i = begin; i < end; i += step) {
        const ulong row = i / per, at = i % per * CLQ_VEC;
        if (at + CLQ_VEC <= k) vstorev(vloadv(0, x + row * x_ld + at) ^ (uchar)128, 0, y + row * y_ld + at);
        else for (ulong j = at; j < k; j++) y[row * y_ld + j] = x[row * x_ld + j] ^ 128;
    }
}
