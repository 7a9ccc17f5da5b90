/* SPDX-License-Identifier: Apache-2.0
 * Integer matrix product for every device, bits of ref/gemm.c (family F0): plain OpenCL C 1.2, CLQ_ROWS rows of one
 * column per work-item.
 * Weight object w, from the host's packer, at byte w_at (64-byte aligned):
 *   panels [np/64][kp/4][64][4] s8, np = n rounded up to 64, kp = k rounded up to 4, padding 0
 *   fold   [np] s32 at np * kp: bias - zp_a * column sum
 *   scale  [np] f32 behind it
 * 2-D: item = (column, block of CLQ_ROWS rows); global >= (n, ceil(m / CLQ_ROWS)), any local size. a is u8 with row
 * stride lda, y has row stride ldy in elements of its type; a_at bytes, y_at elements. */
#ifndef CLQ_COMMON_CLH
#include "common.clh"
#endif
#ifndef CLQ_ROWS
#define CLQ_ROWS 4
#endif

kernel void gemm_u8s8(global const uchar *a, ulong a_at, ulong lda, global const char *w, ulong w_at, global uchar *y,
                      ulong y_at, ulong ldy, uint m, uint n, uint k, int out, int zp, int lo, int hi)
{
    const uint column = get_global_id(0), row = get_global_id(1) * CLQ_ROWS;
    if (column >= n || row >= m) return;
    const ulong np = (n + 63) & ~63u, kp = (k + 3) & ~3u;
    global const char *panel = w + w_at + (column & ~63u) * kp + (column & 63) * 4;
    global const int *fold = (global const int *)(w + w_at + np * kp);
    global const float *scale = (global const float *)(fold + np);
    int acc[CLQ_ROWS];
    global const uchar *from[CLQ_ROWS];
    for (uint i = 0; i < CLQ_ROWS; i++) {
        acc[i] = fold[column];
        from[i] = a + a_at + min(row + i, m - 1) * lda;
    }
    for (uint at = 0; at + 4 <= k; at += 4, panel += 256) {
        const int4 b = convert_int4(vload4(0, panel));
        for (uint i = 0; i < CLQ_ROWS; i++) {
            const int4 p = convert_int4(vload4(0, from[i] + at)) * b;
            acc[i] += p.x + p.y + p.z + p.w;
        }
    }
    for (uint at = k & ~3u; at < k; at++)
        for (uint i = 0; i < CLQ_ROWS; i++) acc[i] += from[i][at] * panel[at & 3];
    const float f = out == CLQ_OUT_S32 ? 0.0f : scale[column];
    for (uint i = 0; i < CLQ_ROWS; i++)
        if (row + i < m) clq_store(y, y_at + (row + i) * ldy + column, acc[i], f, out, zp, lo, hi);
}
