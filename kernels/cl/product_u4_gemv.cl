/* SPDX-License-Identifier: Apache-2.0
 * Product of few 8-bit rows with 4-bit weights in groups (the GEMV form of F2), bits of ref/gemm_u4.c: bound by the bandwidth at
 * which the weights are read, 16 bytes per work-item and step.
 * -D: CLQ_COLUMNS 16 or 64: columns of a group; CLQ_DOT as in dot.clh.
 * Weight object and parameters as in gemm_u4.cl. 2-D, local size (256, 1): group = (4 rows, CLQ_COLUMNS columns). K is cut into
 * pieces of at most 64 elements of one group; work-items take pieces in turn and leave their integer sums in local memory,
 * where one work-item per result adds them in the order of the contract. Local memory 16 KiB. */
#ifndef CLQ_COMMON_CLH
#include "common.clh"
#include "dot.clh"
#endif
#ifndef CLQ_COLUMNS
#define CLQ_COLUMNS 64
#endif

#define CLQ_SEGMENT 1024u
#define CLQ_LEVELS 15
#define CLQ_ROWS 4
#define CLQ_QUADS (CLQ_COLUMNS / 4)
#define CLQ_SHARES (256 / CLQ_QUADS) /* pieces that the group takes at a time */
#define CLQ_MOST 64u                 /* elements of a piece */

/* Eight bytes of a row, of which n are there, as two words of signed codes; what is behind them meets weights of zero. */
static inline uint2 clq_eight(global const uchar *p, int n, int aligned, uint turn)
{
    return (uint2)(clq_word(p, n, aligned), clq_word(p + 4, n - 4, aligned)) ^ turn;
}

/* Adds the dot products of one piece of K, from element first to end, of four columns. */
static inline void clq_add_piece(int4 acc[CLQ_ROWS], global const uchar *data, global const uchar *a, ulong lda, uint rows,
                                 uint first, uint end, uint4 z, int aligned, uint turn)
{
    for (uint k = first; k < end; k += 8) {
        const uint4 v = *(global const uint4 *)(data + k / 8 * 256ul);
        const uint4 even = ((v & 0x0f0f0f0fu | 0x80808080u) - z) ^ 0x80808080u;
        const uint4 odd = ((v >> 4 & 0x0f0f0f0fu | 0x80808080u) - z) ^ 0x80808080u;
        CLQ_UNROLL for (uint i = 0; i < CLQ_ROWS; i++) {
            const uint2 x = clq_eight(a + min(i, rows - 1) * lda + k, (int)(end - k), aligned, turn);
            acc[i].x = clq_dot_signed(x.y, odd.x, clq_dot_signed(x.x, even.x, acc[i].x));
            acc[i].y = clq_dot_signed(x.y, odd.y, clq_dot_signed(x.x, even.y, acc[i].y));
            acc[i].z = clq_dot_signed(x.y, odd.z, clq_dot_signed(x.x, even.z, acc[i].z));
            acc[i].w = clq_dot_signed(x.y, odd.w, clq_dot_signed(x.x, even.w, acc[i].w));
        }
    }
}

__attribute__((reqd_work_group_size(256, 1, 1)))
kernel void gemv_s8u4(global const uchar *a, ulong a_at, ulong lda, global const float *scale_a, ulong s_at, global const uchar *w,
                      ulong w_at, global float *y, ulong y_at, ulong ldy, uint m, uint n, uint k, uint group, int flip,
                      int half_scales, int zeros, int biased, uint pieces)
{
    local int part[CLQ_ROWS * CLQ_SHARES * CLQ_COLUMNS] __attribute__((aligned(16)));
    const uint item = get_local_id(0), row = get_group_id(0) * CLQ_ROWS, column = get_group_id(1) * CLQ_COLUMNS;
    const uint quad = item % CLQ_QUADS, share = item / CLQ_QUADS, rows = min(m - row, (uint)CLQ_ROWS);
    const uint count = (k + group - 1) / group, per = (CLQ_SEGMENT + group - 1) / group, each = (group + CLQ_MOST - 1) / CLQ_MOST;
    const uint all = (count - 1) * each + (k - (count - 1) * group + CLQ_MOST - 1) / CLQ_MOST;
    const ulong data = (ulong)(k + 7) / 8 * 256, scales = (ulong)count * (half_scales ? 128 : 256);
    const ulong bytes = data + scales + (zeros ? (ulong)count * 64 : 0), panels = (n + 63) / 64;
    global const uchar *panel = w + w_at + column / 64 * bytes;
    global const uchar *points = panel + data + scales + column % 64 + quad * 4;
    const int aligned = ((a_at | lda) & 3) == 0;
    /* The result of this work-item. */
    const uint own_row = item / CLQ_COLUMNS, own = column % 64 + item % CLQ_COLUMNS;
    const int has = own_row < rows && column / 64 * 64 + own < n;
    float f = 0.0f, level[CLQ_LEVELS];
    int sum = 0;
    uint segment = 0;
    a += a_at + row * lda;
    for (uint from = 0; from < all; from += CLQ_SHARES) {
        const uint piece = from + share;
        if (piece < all) {
            const uint g = piece / each, first = g * group + piece % each * CLQ_MOST;
            const uint end = min(min(first + CLQ_MOST, (g + 1) * group), k);
            const uint4 z = (zeros ? convert_uint4(vload4(0, points + (ulong)g * 64)) : (uint4)(8)) * 0x01010101u;
            int4 acc[CLQ_ROWS] = {(int4)(0), (int4)(0), (int4)(0), (int4)(0)};
            clq_add_piece(acc, panel + (column % 64 + quad * 4) * 4, a, lda, rows, first, end, z, aligned, flip ? 0x80808080u : 0);
            CLQ_UNROLL for (uint i = 0; i < CLQ_ROWS; i++) *(local int4 *)(part + (i * CLQ_SHARES + share) * CLQ_COLUMNS + quad * 4) = acc[i];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint p = from; has && p < min(from + CLQ_SHARES, all); p++) {
            const uint g = p / each;
            sum += part[(own_row * CLQ_SHARES + p - from) * CLQ_COLUMNS + item % CLQ_COLUMNS];
            if (p + 1 < all && p % each + 1 < each) continue;
            const float s = half_scales ? vload_half((ulong)g * 64 + own, (global const half *)(panel + data))
                                        : ((global const float *)(panel + data))[(ulong)g * 64 + own];
            f = fma((float)sum, s, f);
            sum = 0;
            if ((g + 1) % per != 0 && g + 1 < count) continue;
            const int last = g + 1 == count;
            for (uint merged = last ? segment : segment & ~(segment + 1), l = 0; merged >> l; l++)
                if (merged >> l & 1) f = level[l] + f;
            if (!last) {
                level[popcount(segment & ~(segment + 1))] = f;
                f = 0.0f;
            }
            segment++;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (!has) return;
    const uint c = column / 64 * 64 + own;
    const float v = f * scale_a[s_at + row + own_row];
    y[y_at + (row + own_row) * ldy + c] = biased ? v + ((global const float *)(w + w_at + panels * bytes))[c] : v;
}
