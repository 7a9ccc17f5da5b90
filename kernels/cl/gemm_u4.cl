/* SPDX-License-Identifier: Apache-2.0
 * Product with 4-bit weights in groups for every device, bits of ref/gemm_u4.c (family F0): plain OpenCL C 1.2, CLQ_ROWS
 * rows of one column per work-item. A few rows run on it as well. With CLQ_GROUPED=1 it is gemm_g8u4, with
 * CLQ_REAL=1 gemm_f32u4.
 * Weight object w at byte w_at (64-byte aligned), the panels of kernels/groups.h without their header, then bias [np] f32:
 *   panel [np / 64]: data [k8][64][4], scale [count][64] f32 or f16, zero [count][64] u8 only with zeros
 * 2-D: item = (column, block of CLQ_ROWS rows); global >= (n, ceil(m / CLQ_ROWS)), any local size. a is s8, or code + 128 with
 * flip 128; CLQ_REAL: the integers q of kernels.h as int32, and their units [m][pieces] in place of scale_a, which has `pieces` per row:
 * 1, or with CLQ_GROUPED that of groups.
 * a_at bytes, s_at and y_at elements. group: a multiple of 8, or k. At most 2^14 segments. */
#ifndef CLQ_COMMON_CLH
#include "common.clh"
#endif
#ifndef CLQ_REAL
#define CLQ_REAL 0
#endif
#ifndef CLQ_GROUPED
#define CLQ_GROUPED 0
#endif
#ifndef CLQ_ROWS
#define CLQ_ROWS 4
#endif
#define CLQ_SEGMENT 1024
#define CLQ_LEVELS 15
#if CLQ_REAL
#define CLQ_PIECE 256u
#define CLQ_ELEMENT int
#else
#define CLQ_PIECE 0x7fffffffu
#define CLQ_ELEMENT uchar
#endif

#if CLQ_REAL
kernel void gemm_f32u4(
#elif CLQ_GROUPED
kernel void gemm_g8u4(
#else
kernel void gemm_s8u4(
#endif
                      global const uchar *a, ulong a_at, ulong lda, global const float *scale_a, ulong s_at,
                      global const uchar *w, ulong w_at, global float *y, ulong y_at, ulong ldy, uint m, uint n, uint k,
                      uint group, int flip, int half_scales, int zeros, int biased, uint pieces)
{
    const uint column = get_global_id(0), row = get_global_id(1) * CLQ_ROWS;
    if (column >= n || row >= m) return;
    const uint count = (k + group - 1) / group, per = (CLQ_SEGMENT + group - 1) / group;
    const ulong k8 = (k + 7) / 8, scales = k8 * 256, points = scales + (ulong)count * (half_scales ? 128 : 256);
    const ulong bytes = points + (zeros ? (ulong)count * 64 : 0), np = (n + 63) & ~63u;
    global const uchar *panel = w + w_at + column / 64 * bytes;
    global const uchar *data = panel + column % 64 * 4;
    global const CLQ_ELEMENT *from[CLQ_ROWS];
    float level[CLQ_ROWS][CLQ_LEVELS], f[CLQ_ROWS];
    const uint rows = min((uint)CLQ_ROWS, m - row);
    uint segment = 0, piece = 0;
    for (uint i = 0; i < rows; i++) from[i] = (global const CLQ_ELEMENT *)(a + a_at) + (row + i) * lda;
    for (uint first = 0; first < count; first += per, segment++) {
        for (uint i = 0; i < rows; i++) f[i] = 0.0f;
        for (uint g = first; g < min(first + per, count); g++) {
            const int z = zeros ? panel[points + (ulong)g * 64 + column % 64] : 8;
            const ulong at = (ulong)g * 64 + column % 64;
            const float s = half_scales ? vload_half(at, (global const half *)(panel + scales))
                                        : ((global const float *)(panel + scales))[at];
            const uint end = min(k - g * group, group) + g * group;
            for (uint at_k = g * group; at_k < end; piece++) {
                const uint stop = min(end - at_k, CLQ_PIECE) + at_k;
                int acc[CLQ_ROWS], high[CLQ_ROWS];
                for (uint i = 0; i < rows; i++) acc[i] = high[i] = 0;
                for (; at_k < stop; at_k += 4) {
                    const uchar4 packed = vload4(0, data + at_k / 8 * 256);
                    const int4 v = (convert_int4(packed) >> (int)(at_k & 4)) & 15;
                    const int code[4] = {v.x - z, v.y - z, v.z - z, v.w - z};
                    const uint taken = min(stop - at_k, 4u);
                    for (uint i = 0; i < rows; i++)
                        for (uint j = 0; j < taken; j++) {
                            const CLQ_ELEMENT q = from[i][at_k + j];
#if CLQ_REAL
                            const int low = (char)(q & 255);
                            high[i] += ((q - low) >> 8) * code[j];
#else
                            const int low = flip ? (int)q - 128 : (int)(char)q;
#endif
                            acc[i] += low * code[j];
                        }
                }
                at_k = stop;
                for (uint i = 0; i < rows; i++) {
                    float v = (float)acc[i];
                    if (CLQ_REAL) v = fma((float)high[i], 256.0f, v);
                    if (CLQ_REAL || CLQ_GROUPED) v *= scale_a[s_at + (ulong)(row + i) * pieces + piece];
                    f[i] = fma(v, s, f[i]);
                }
            }
        }
        const bool last = first + per >= count;
        uint l = 0;
        for (; segment >> l & 1; l++)
            for (uint i = 0; i < rows; i++) f[i] = level[i][l] + f[i];
        for (uint up = l + 1; last && segment >> up; up++)
            for (uint i = 0; i < rows && (segment >> up & 1); i++) f[i] = level[i][up] + f[i];
        for (uint i = 0; i < rows; i++) level[i][l] = f[i];
    }
    global const float *bias = (global const float *)(w + w_at + np / 64 * bytes);
    for (uint i = 0; i < rows; i++) {
        const float v = CLQ_REAL || CLQ_GROUPED ? f[i] : f[i] * scale_a[s_at + row + i];
        y[y_at + (row + i) * ldy + column] = biased ? v + bias[column] : v;
    }
}
