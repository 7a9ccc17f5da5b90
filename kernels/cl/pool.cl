/* SPDX-License-Identifier: Apache-2.0
 * Largest code and mean over NHWC windows, bits of ref/pool.c.
 * -D: CLQ_VEC channels per work-item, CLQ_DIVIDE (avgpool_u8 needs 1). 1-D: item = (output pixel, CLQ_VEC channels);
 * global size >= pixels * ceil(c / CLQ_VEC), any local size. Output pixels pixel_begin.. of batch * oh * ow, at most
 * 2^31 items. *_at count elements. */
#ifndef CLQ_COMMON_CLH
#include "common.clh"
#endif

struct window {
    int y0, y1, x0, x1; /* kernel positions that fall inside the image */
    int iy, ix;         /* of kernel position 0, may be negative */
    ulong base;         /* of the image */
};

/* Kernel positions k with 0 <= start + k * dilation < size are first..last-1. */
static inline int2 clq_inside(int start, int dilation, int size, int k)
{
    const int first = start < 0 ? (-start + dilation - 1) / dilation : 0;
    const int last = start >= size ? 0 : (size - 1 - start) / dilation + 1;
    return (int2)(first, min(last, k));
}

#define CLQ_POOL_PARAMETERS                                                                                     \
    global const uchar *x, ulong x_at, global uchar *y, ulong y_at, uint pixel_begin, uint pixels, int h, int w, \
        int c, int oh, int ow, int kh, int kw, int stride_h, int stride_w, int pad_top, int pad_left, int dilation_h,  \
        int dilation_w

#define CLQ_POOL_PROLOGUE                                                                                       \
    const uint per = (uint)(c + CLQ_VEC - 1) / CLQ_VEC, item = get_global_id(0);                                \
    if (item / per >= pixels) return;                                                                           \
    const uint pixel = pixel_begin + item / per, ox = pixel % (uint)ow, oy = pixel / (uint)ow % (uint)oh;       \
    const int channel = (int)(item % per * CLQ_VEC), lanes = min(c - channel, CLQ_VEC);                         \
    const int iy = (int)oy * stride_h - pad_top, ix = (int)ox * stride_w - pad_left;                            \
    const int2 ky = clq_inside(iy, dilation_h, h, kh), kx = clq_inside(ix, dilation_w, w, kw);                  \
    x += x_at + (ulong)(pixel / (uint)ow / (uint)oh) * (ulong)h * (ulong)w * (ulong)c + channel;                \
    y += y_at + (ulong)(pixel - pixel_begin) * (ulong)c + channel

#define CLQ_POOL_TAP(i, j) ((long)((iy + (i) * dilation_h) * (long)w + ix + (j) * dilation_w) * c)

kernel void maxpool_u8(CLQ_POOL_PARAMETERS)
{
    CLQ_POOL_PROLOGUE;
    if (lanes == CLQ_VEC) {
        ucharv best = 0;
        for (int i = ky.x; i < ky.y; i++)
            for (int j = kx.x; j < kx.y; j++) best = max(best, vloadv(0, x + CLQ_POOL_TAP(i, j)));
        vstorev(best, 0, y);
        return;
    }
    for (int k = 0; k < lanes; k++) {
        uchar best = 0;
        for (int i = ky.x; i < ky.y; i++)
            for (int j = kx.x; j < kx.y; j++) best = max(best, x[CLQ_POOL_TAP(i, j) + k]);
        y[k] = best;
    }
}

kernel void avgpool_u8(CLQ_POOL_PARAMETERS, float scale_x, float scale_y, float reciprocal, int zp_x, int zp_y, int all)
{
    CLQ_POOL_PROLOGUE;
    const int taps = (ky.y - ky.x) * (kx.y - kx.x);
    const float count = (float)(all ? kh * kw : taps);
    if (lanes == CLQ_VEC) {
        intv sum = -zp_x * taps;
        for (int i = ky.x; i < ky.y; i++)
            for (int j = kx.x; j < kx.y; j++) sum += convert_intv(vloadv(0, x + CLQ_POOL_TAP(i, j)));
        const floatv f = convert_floatv(sum) * scale_x / count;
        vstorev(convert_ucharv(clq_quantize(f, scale_y, reciprocal, zp_y, 0, 255)), 0, y);
        return;
    }
    for (int k = 0; k < lanes; k++) {
        int sum = -zp_x * taps;
        for (int i = ky.x; i < ky.y; i++)
            for (int j = kx.x; j < kx.y; j++) sum += x[CLQ_POOL_TAP(i, j) + k];
        y[k] = (uchar)clq_quantize((float)sum * scale_x / count, scale_y, reciprocal, zp_y, 0, 255);
    }
}
