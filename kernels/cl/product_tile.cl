/* SPDX-License-Identifier: Apache-2.0
 * Integer matrix product and convolution with tiles in local memory, for devices with many small cores (family F2),
 * bits of ref/gemm.c and ref/conv.c.
 * -D: CLQ_DOT 0: four multiplications, 1: cl_khr_integer_dot_product, 2: dp4a by inline PTX. A driver may drop assembly
 * that it cannot parse, so only an exact self-test admits these kernels.
 * Weight object and parameters as in gemm.cl and conv.cl (groups = 1). 2-D, local size (16, 16): group = (64 rows or
 * output pixels, panel of 64 columns), 4 x 4 results per work-item, 32 k per step. Local memory 4.3 KiB. */
#ifndef CLQ_COMMON_CLH
#include "common.clh"
#endif
#ifndef CLQ_DOT
#define CLQ_DOT 0
#endif

#if CLQ_DOT == 1
#pragma OPENCL EXTENSION cl_khr_integer_dot_product : enable
static inline int clq_dot(uint a, uint b, int c)
{
    return c + dot_4x8packed_us_int(a, b);
}
#elif CLQ_DOT == 2
static inline int clq_dot(uint a, uint b, int c)
{
    int d;
    __asm__("dp4a.u32.s32 %0,%1,%2,%3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}
#else
static inline int clq_dot(uint a, uint b, int c)
{
    const int4 p = convert_int4(as_uchar4(a)) * convert_int4(as_char4(b));
    return c + p.x + p.y + p.z + p.w;
}
#endif

#define CLQ_STEP_WORDS 8
#define CLQ_PITCH 68 /* words of a row of the transposed tile of a; free of bank conflicts for 32 banks */

/* Four bytes at p as a word, of which n are there. */
static inline uint clq_word(global const uchar *p, int n, int aligned)
{
    if (n >= 4) return aligned ? *(global const uint *)p : as_uint(vload4(0, p));
    return n <= 0 ? 0 : p[0] | (n > 1 ? p[1] << 8 : 0) | (n > 2 ? p[2] << 16 : 0);
}

/* acc[i][j] += the 32 k of one step: row ly + 16 i, column lx + 16 j. */
#define CLQ_MULTIPLY()                                                                                   \
    for (int k = 0; k < CLQ_STEP_WORDS; k++) {                                                           \
        uint u[4], v[4];                                                                                 \
        for (int i = 0; i < 4; i++) u[i] = tile_a[k * CLQ_PITCH + ly + 16 * i];                          \
        for (int j = 0; j < 4; j++) v[j] = tile_b[k * 64 + lx + 16 * j];                                 \
        for (int i = 0; i < 4; i++)                                                                      \
            for (int j = 0; j < 4; j++) acc[i][j] = clq_dot(u[i], v[j], acc[i][j]);                      \
    }

#define CLQ_LOAD_B(words)                                                                                \
    for (int i = 0; i < 2; i++) {                                                                        \
        const int at = item + 256 * i;                                                                   \
        tile_b[at] = step + at / 64 < (words) ? panel[(ulong)step * 64 + at] : 0;                        \
    }

#define CLQ_STORE(rows, columns, ld)                                                                     \
    for (int j = 0; j < 4; j++) {                                                                        \
        const uint c = column + lx + 16 * j;                                                             \
        if (c >= (uint)(columns)) continue;                                                              \
        const float f = out == CLQ_OUT_S32 ? 0.0f : scale[c];                                            \
        for (int i = 0; i < 4; i++) {                                                                    \
            const uint r = row + ly + 16 * i;                                                            \
            if (r < (rows)) clq_store(y, y_at + r * (ulong)(ld) + c, acc[i][j] + fold[c], f, out, zp, lo, hi); \
        }                                                                                                \
    }

__attribute__((reqd_work_group_size(16, 16, 1)))
kernel void gemm_u8s8(global const uchar *a, ulong a_at, ulong lda, global const char *w, ulong w_at, global uchar *y,
                      ulong y_at, ulong ldy, uint m, uint n, uint k, int out, int zp, int lo, int hi)
{
    local uint tile_a[CLQ_STEP_WORDS * CLQ_PITCH], tile_b[CLQ_STEP_WORDS * 64];
    const int lx = get_local_id(0), ly = get_local_id(1), item = ly * 16 + lx;
    const uint row = get_group_id(0) * 64, column = get_group_id(1) * 64;
    const ulong np = (n + 63) & ~63u, kp = (k + 3) & ~3u;
    global const uint *panel = (global const uint *)(w + w_at + column * kp);
    global const int *fold = (global const int *)(w + w_at + np * kp);
    global const float *scale = (global const float *)(fold + np);
    const int words = (int)(kp / 4), aligned = ((a_at | lda) & 3) == 0;
    int acc[4][4] = {{0}};
    for (int step = 0; step < words; step += CLQ_STEP_WORDS) {
        for (int i = 0; i < 2; i++) {
            const int r = item / 8 + 32 * i, at = (step + item % 8) * 4;
            global const uchar *from = a + a_at + min(row + r, m - 1) * lda + at;
            tile_a[item % 8 * CLQ_PITCH + r] = clq_word(from, (int)k - at, aligned);
        }
        CLQ_LOAD_B(words)
        barrier(CLK_LOCAL_MEM_FENCE);
        CLQ_MULTIPLY()
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    CLQ_STORE(m, n, ldy)
}

__attribute__((reqd_work_group_size(16, 16, 1)))
kernel void conv_u8s8(global const uchar *x, ulong x_at, global const char *w, ulong w_at, global uchar *y, ulong y_at,
                      uint pixels, int h, int width, int ci, int oh, int ow, int co, int kh, int kw, int stride_h,
                      int stride_w, int pad_top, int pad_left, int dilation_h, int dilation_w, int groups, int zp_x,
                      int out, int zp, int lo, int hi)
{
    local uint tile_a[CLQ_STEP_WORDS * CLQ_PITCH], tile_b[CLQ_STEP_WORDS * 64];
    const int lx = get_local_id(0), ly = get_local_id(1), item = ly * 16 + lx;
    const uint row = get_group_id(0) * 64, column = get_group_id(1) * 64;
    const int per = (ci + 3) / 4, words = kh * kw * per, aligned = ((x_at | (ulong)ci) & 3) == 0;
    const ulong np = (co + 63) & ~63;
    global const uint *panel = (global const uint *)(w + w_at) + (ulong)column * words;
    global const int *fold = (global const int *)(w + w_at) + np * words;
    global const float *scale = (global const float *)(fold + np);
    const uint pad = (uint)zp_x * 0x01010101u;
    int acc[4][4] = {{0}}, iy[2], ix[2];
    global const uchar *image[2];
    for (int i = 0; i < 2; i++) {
        const uint pixel = min(row + item / 8 + 32 * i, pixels - 1), line = pixel / (uint)ow;
        iy[i] = (int)(line % (uint)oh) * stride_h - pad_top;
        ix[i] = (int)(pixel % (uint)ow) * stride_w - pad_left;
        image[i] = x + x_at + (ulong)(line / (uint)oh) * h * width * ci;
    }
    for (int step = 0; step < words; step += CLQ_STEP_WORDS) {
        const int word = step + item % 8, tap = word / per, channel = word % per * 4;
        for (int i = 0; i < 2; i++) {
            const int sy = iy[i] + tap / kw * dilation_h, sx = ix[i] + tap % kw * dilation_w;
            uint v = pad;
            if (word < words && sy >= 0 && sy < h && sx >= 0 && sx < width)
                v = clq_word(image[i] + ((long)sy * width + sx) * ci + channel, ci - channel, aligned);
            tile_a[item % 8 * CLQ_PITCH + item / 8 + 32 * i] = v;
        }
        CLQ_LOAD_B(words)
        barrier(CLK_LOCAL_MEM_FENCE);
        CLQ_MULTIPLY()
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    CLQ_STORE(pixels, co, co)
}
