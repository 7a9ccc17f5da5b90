/* SPDX-License-Identifier: Apache-2.0
 * Integer convolution over NHWC for every device, bits of ref/conv.c (family F0): an implicit matrix product by index
 * arithmetic, and a kernel of its own for depthwise layers.
 * Weight object w at byte w_at (64-byte aligned), cg = ci / groups rounded up to 4, taps = kh * kw:
 *   conv_u8s8        panels [np/64][taps * cg/4][64][4] s8: k runs over (ky, kx, channel); np = co rounded up to 64
 *   depthwise_u8s8   [taps][np] s8
 *   then for both    fold [np] s32 = bias - zp_x * column sum (conv_u8s8) or bias (depthwise_u8s8), scale [np] f32
 * conv_u8s8: 2-D, item = (output channel, block of CLQ_ROWS output pixels). depthwise_u8s8: 1-D, item = (output pixel,
 * CLQ_VEC channels); global size >= pixels * ceil(co / CLQ_VEC). Any local size. pixels = batch * oh * ow < 2^31.
 * x_at bytes, y_at elements of the out type. */
#ifndef CLQ_COMMON_CLH
#include "common.clh"
#endif
#ifndef CLQ_ROWS
#define CLQ_ROWS 4
#endif

#define CLQ_CONV_PARAMETERS                                                                                         \
    global const uchar *x, ulong x_at, global const char *w, ulong w_at, global uchar *y, ulong y_at, uint pixels,  \
        int h, int width, int ci, int oh, int ow, int co, int kh, int kw, int stride_h, int stride_w, int pad_top,  \
        int pad_left, int dilation_h, int dilation_w, int groups, int zp_x, int out, int zp, int lo, int hi

static inline int clq_dot4(uchar4 a, char4 b)
{
    const int4 p = convert_int4(a) * convert_int4(b);
    return p.x + p.y + p.z + p.w;
}

kernel void conv_u8s8(CLQ_CONV_PARAMETERS)
{
    const uint column = get_global_id(0), first = get_global_id(1) * CLQ_ROWS;
    if (column >= co || first >= pixels) return;
    const int cg = ci / groups, cp = (cg + 3) & ~3, channel = (int)column / (co / groups) * cg;
    const ulong np = (co + 63) & ~63, kp = (ulong)kh * kw * cp;
    global const char *panel = w + w_at + (column & ~63u) * kp + (column & 63) * 4;
    global const int *fold = (global const int *)(w + w_at + np * kp);
    global const float *scale = (global const float *)(fold + np);
    const float f = out == CLQ_OUT_S32 ? 0.0f : scale[column];
    for (uint pixel = first; pixel < min(first + CLQ_ROWS, pixels); pixel++) {
        const int oy = pixel / (uint)ow % (uint)oh, ox = pixel % (uint)ow;
        const ulong image = (ulong)(pixel / (uint)ow / (uint)oh) * h;
        global const char *b = panel;
        int acc = fold[column];
        for (int tap = 0; tap < kh * kw; tap++) {
            const int iy = oy * stride_h - pad_top + tap / kw * dilation_h;
            const int ix = ox * stride_w - pad_left + tap % kw * dilation_w;
            const int inside = iy >= 0 && iy < h && ix >= 0 && ix < width;
            global const uchar *a = x + x_at + ((image + (inside ? iy : 0)) * width + (inside ? ix : 0)) * ci + channel;
            for (int i = 0; i < cg; i += 4, b += 256) {
                uchar4 v = (uchar4)((uchar)zp_x);
                if (inside && i + 4 <= cg) v = vload4(0, a + i);
                else if (inside) v = (uchar4)(a[i], i + 1 < cg ? a[i + 1] : 0, i + 2 < cg ? a[i + 2] : 0, 0);
                acc += clq_dot4(v, vload4(0, b));
            }
        }
        clq_store(y, y_at + (ulong)pixel * co + column, acc, f, out, zp, lo, hi);
    }
}

/* The products (x - zp_x) * w have magnitudes of at most 255 * 128 and fit into 16 bits; their sums are 32-bit. */
kernel void depthwise_u8s8(CLQ_CONV_PARAMETERS)
{
    const uint per = (uint)(co + CLQ_VEC - 1) / CLQ_VEC, item = get_global_id(0), pixel = item / per;
    if (pixel >= pixels) return;
    const int channel = (int)(item % per * CLQ_VEC), lanes = min(co - channel, CLQ_VEC);
    const int np = (co + 63) & ~63;
    const int iy = (int)(pixel / (uint)ow % (uint)oh) * stride_h - pad_top;
    const int ix = (int)(pixel % (uint)ow) * stride_w - pad_left;
    x += x_at + (ulong)(pixel / (uint)ow / (uint)oh) * h * width * ci + channel;
    w += w_at + channel;
    global const int *fold = (global const int *)(w + (ulong)kh * kw * np - channel) + channel;
    global const float *scale = (global const float *)(fold + np);
    const ulong to = y_at + (ulong)pixel * co + channel;
    intv acc = lanes == CLQ_VEC ? vloadv(0, fold) : (intv)(0);
    int rest[CLQ_VEC];
    for (int k = 0; k < CLQ_VEC; k++) rest[k] = k < lanes ? fold[k] : 0;
    for (int i = 0; i < kh; i++) {
        const int sy = iy + i * dilation_h;
        if (sy < 0 || sy >= h) continue;
        for (int j = 0; j < kw; j++) {
            const int sx = ix + j * dilation_w;
            if (sx < 0 || sx >= width) continue;
            global const uchar *a = x + ((long)sy * width + sx) * ci;
            global const char *b = w + (i * kw + j) * np;
            if (lanes == CLQ_VEC)
                acc += convert_intv((convert_shortv(vloadv(0, a)) - (short)zp_x) * convert_shortv(vloadv(0, b)));
            else
                for (int k = 0; k < lanes; k++) rest[k] += (a[k] - zp_x) * b[k];
        }
    }
    if (lanes < CLQ_VEC) {
        for (int k = 0; k < lanes; k++)
            clq_store(y, to + k, rest[k], out == CLQ_OUT_S32 ? 0.0f : scale[k], out, zp, lo, hi);
        return;
    }
    if (out == CLQ_OUT_S32) vstorev(acc, 0, (global int *)y + to);
    else if (out == CLQ_OUT_F32) vstorev(convert_floatv(acc) * vloadv(0, scale), 0, (global float *)y + to);
    else vstorev(convert_ucharv(clq_code(convert_floatv(acc) * vloadv(0, scale), zp, lo, hi)), 0, y + to);
}
