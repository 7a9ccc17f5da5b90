/* SPDX-License-Identifier: Apache-2.0
 * Integer matrix product of few rows (the GEMV form of F2 and F5), bits of ref/gemm.c: bound by the bandwidth at which
 * the weights are read, 16 bytes per work-item and step, k split over the group.
 * -D: CLQ_COLUMNS 16 or 64: columns of a group; CLQ_FRAGMENTS 1: weights lie as product_mma.cl has them, 0: as gemm.cl;
 *     CLQ_DOT as in dot.clh.
 * Parameters as in gemm.cl. 2-D, local size (256, 1): group = (4 rows, CLQ_COLUMNS columns). Local memory 4 KiB. */
#ifndef CLQ_COMMON_CLH
#include "common.clh"
#include "dot.clh"
#endif
#ifndef CLQ_COLUMNS
#define CLQ_COLUMNS 64
#endif
#ifndef CLQ_FRAGMENTS
#define CLQ_FRAGMENTS 0
#endif

#define CLQ_ROWS 4
#if CLQ_FRAGMENTS
#define CLQ_BLOCK 64                   /* k of a block of weights; a piece is sixteen k of one column */
#define CLQ_PIECES (4 * CLQ_COLUMNS)   /* of a block in the group's columns */
#define CLQ_OF_PIECE 1                 /* columns */
#define CLQ_FIRST_PIECE(column) ((column) * 4)
#else
#define CLQ_BLOCK 4                    /* a piece is four k of four columns */
#define CLQ_PIECES (CLQ_COLUMNS / 4)
#define CLQ_OF_PIECE 4
#define CLQ_FIRST_PIECE(column) ((column) / 4)
#endif
#define CLQ_SHARES (256 / CLQ_PIECES) /* blocks that the group reads at a time */

/* The dot products of one piece with the bytes of a from p on, of which n are there. */
static inline void clq_add_piece(int acc[4], uint4 b, global const uchar *p, int n, int aligned)
{
#if CLQ_FRAGMENTS
    acc[0] = clq_dot(clq_activation(clq_word(p, n, aligned)), b.x, acc[0]);
    acc[0] = clq_dot(clq_activation(clq_word(p + 16, n - 16, aligned)), b.y, acc[0]);
    acc[0] = clq_dot(clq_activation(clq_word(p + 32, n - 32, aligned)), b.z, acc[0]);
    acc[0] = clq_dot(clq_activation(clq_word(p + 48, n - 48, aligned)), b.w, acc[0]);
#else
    const uint a = clq_activation(clq_word(p, n, aligned));
    acc[0] = clq_dot(a, b.x, acc[0]);
    acc[1] = clq_dot(a, b.y, acc[1]);
    acc[2] = clq_dot(a, b.z, acc[2]);
    acc[3] = clq_dot(a, b.w, acc[3]);
#endif
}

__attribute__((reqd_work_group_size(256, 1, 1)))
kernel void gemv_u8s8(global const uchar *a, ulong a_at, ulong lda, global const char *w, ulong w_at, global uchar *y,
                      ulong y_at, ulong ldy, uint m, uint n, uint k, int out, int zp, int lo, int hi)
{
    local int part[1024];
    const uint item = get_local_id(0), row = get_group_id(0) * CLQ_ROWS, column = get_group_id(1) * CLQ_COLUMNS;
    const uint piece = item % CLQ_PIECES, share = item / CLQ_PIECES, of_k = CLQ_FRAGMENTS ? piece % 4 * 4 : 0;
    const ulong np = (n + 63) & ~63u, blocks = (k + CLQ_BLOCK - 1) / CLQ_BLOCK, kp = blocks * CLQ_BLOCK;
    global const uint4 *from = (global const uint4 *)(w + w_at + (column & ~63u) * kp) + CLQ_FIRST_PIECE(column & 63) + piece;
    global const int *fold = (global const int *)(w + w_at + np * kp);
    global const float *scale = (global const float *)(fold + np);
    const int aligned = ((a_at | lda) & 3) == 0;
    int acc[CLQ_ROWS][4] = {{0}};
    a += a_at + of_k;
    for (uint block = share; block < blocks; block += CLQ_SHARES) {
        const uint4 b = from[(ulong)block * (CLQ_BLOCK * 4)];
        const uint at = block * CLQ_BLOCK;
        CLQ_UNROLL for (uint i = 0; i < CLQ_ROWS; i++)
            clq_add_piece(acc[i], b, a + min(row + i, m - 1) * lda + at, (int)k - (int)(at + of_k), aligned);
    }
    CLQ_UNROLL for (uint i = 0; i < CLQ_ROWS; i++) {
        CLQ_UNROLL for (uint j = 0; j < CLQ_OF_PIECE; j++) part[item * CLQ_OF_PIECE + j] = acc[i][j];
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < CLQ_COLUMNS && column + item < n && row + i < m) {
            const uint c = column + item;
            int sum = fold[c];
            for (uint s = 0; s < CLQ_SHARES; s++)
                for (uint t = 0; t < (CLQ_FRAGMENTS ? 4 : 1); t++)
                    sum += part[(s * CLQ_PIECES * CLQ_OF_PIECE) + item * (CLQ_FRAGMENTS ? 4 : 1) + t];
            clq_store(y, y_at + (row + i) * ldy + c, sum, out == CLQ_OUT_S32 ? 0.0f : scale[c], out, zp, lo, hi);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}
