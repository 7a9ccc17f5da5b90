/* SPDX-License-Identifier: Apache-2.0
 * Integer matrix product and convolution for OpenCL on x86 CPUs with AVX512-VNNI (family F1), bits of ref/gemm.c and
 * ref/conv.c. vpdpbusd is one-instruction inline assembly, because the drivers' compilers do not emit it; a driver may
 * drop assembly that it cannot parse, so only an exact self-test admits these kernels.
 * Weight object and parameters as in gemm.cl and conv.cl (groups = 1), plus a row of zp_x, [cp] u8, behind the scales.
 * 2-D, local size (1, 1): group = (12 rows or output pixels, panel of 64 columns). The first index runs over the rows,
 * so neighbors share the panel in the cache. No barrier, no local memory. Rows past the end repeat the last row and
 * are not stored. A tile is 6 rows x 64 columns, or 12 x 32 and 12 x 16 for a last panel of few columns: 24 or 12
 * accumulators in registers. */
#ifndef CLQ_COMMON_CLH
#include "common.clh"
#endif
#if !defined(__x86_64__) || !defined(__AVX512F__)
#error "product_x86.cl is for x86 CPUs with AVX-512"
#endif

#define CLQ_TILE_ROWS 12

struct epilogue {
    global const int *fold;
    global const float *scale;
    global uchar *y;
    ulong y_at, ldy;
    uint m;
    int columns, out, zp, lo, hi;
};

/* Bytes of a[0..n), n < 4, as a little-endian word. */
static inline int clq_tail(global const uchar *a, uint n)
{
    int v = a[0];
    if (n > 1) v |= a[1] << 8;
    if (n > 2) v |= a[2] << 16;
    return v;
}

static inline int16 clq_code16(const struct epilogue *e, int16 v, float16 scale)
{
    const float16 low = (float)(e->lo - e->zp), high = (float)(e->hi - e->zp);
    const float16 f = min(max(convert_float16(v) * scale, low), high);
    return as_int16(f + CLQ_MAGIC) - (CLQ_MAGIC_BITS - e->zp);
}

/* The first n < 16 bytes of q. */
static void clq_store_part(global uchar *y, uchar16 q, int n)
{
    uchar8 eight = q.lo;
    uchar4 four;
    if (n & 8) {
        vstore8(eight, 0, y);
        y += 8;
        eight = q.hi;
    }
    four = eight.lo;
    if (n & 4) {
        vstore4(four, 0, y);
        y += 4;
        four = eight.hi;
    }
    if (n & 2) {
        vstore2(four.lo, 0, y);
        y += 2;
        four.lo = four.hi;
    }
    if (n & 1) y[0] = four.x;
}

/* Any row, column and type; 16 columns. */
static void clq_store16(const struct epilogue *e, uint row, uint column, int16 v)
{
    if (row >= e->m || (int)column >= e->columns) return;
    const ulong at = e->y_at + row * e->ldy + column;
    const int rest = e->columns - (int)column;
    int16 q = v;
    if (e->out == CLQ_OUT_F32) q = as_int16(convert_float16(v) * vload16(0, e->scale + column));
    if (e->out <= CLQ_OUT_S8) {
        const uchar16 code = convert_uchar16(clq_code16(e, v, vload16(0, e->scale + column)));
        if (rest >= 16) vstore16(code, 0, e->y + at);
        else clq_store_part(e->y + at, code, rest);
        return;
    }
    if (rest >= 16) {
        vstore16(q, 0, (global int *)e->y + at);
        return;
    }
    int part[16];
    vstore16(q, 0, part);
    for (int i = 0; i < rest; i++) ((global int *)e->y)[at + i] = part[i];
}

/* Stores a tile: straight vector code for whole rows of codes, the general store for the rest. */
#define CLQ_STORE_TILE(R, NB)                                                                          \
    if (e->out <= CLQ_OUT_S8 && row + R <= e->m && (int)column + 16 * NB - 15 <= e->columns) {         \
        CLQ_UNROLL for (int j = 0; j < NB; j++) {                                                      \
            global uchar *y = e->y + e->y_at + row * e->ldy + column + 16 * j;                         \
            const float16 scale = vload16(j, e->scale + column);                                       \
            const int rest = e->columns - (int)column - 16 * j;                                        \
            if (rest >= 16)                                                                            \
                CLQ_UNROLL for (int i = 0; i < R; i++)                                                 \
                    vstore16(convert_uchar16(clq_code16(e, acc[i][j], scale)), 0, y + i * e->ldy);     \
            else                                                                                       \
                CLQ_UNROLL for (int i = 0; i < R; i++)                                                 \
                    clq_store_part(y + i * e->ldy, convert_uchar16(clq_code16(e, acc[i][j], scale)), rest); \
        }                                                                                              \
    } else {                                                                                           \
        CLQ_UNROLL for (int i = 0; i < R; i++)                                                         \
            CLQ_UNROLL for (int j = 0; j < NB; j++) clq_store16(e, row + i, column + 16 * j, acc[i][j]); \
    }

/* One step of four k: accumulators += word (u8, four bytes of row i) x panel columns (s8). */
#define CLQ_STEP(R, NB, word)                                                                          \
    do {                                                                                               \
        int16 b[NB];                                                                                   \
        CLQ_UNROLL for (int j = 0; j < NB; j++) b[j] = panel[j];                                       \
        CLQ_UNROLL for (int i = 0; i < R; i++) {                                                       \
            const int16 av = (int16)(word);                                                            \
            CLQ_UNROLL for (int j = 0; j < NB; j++)                                                    \
                __asm__("vpdpbusd %2,%1,%0" : "+v"(acc[i][j]) : "v"(av), "v"(b[j]));                   \
        }                                                                                              \
        panel += 4;                                                                                    \
    } while (0)

#define CLQ_WORD(p) (*(global const int *)(p))

/* The last step of a row whose length is no multiple of 4 reads a whole word where the operand has one (its weights
 * are 0 there), else byte by byte; safe(i) decides per row. */
#define CLQ_LAST_STEP(R, NB, at, n, safe) \
    CLQ_STEP(R, NB, safe(i) ? CLQ_WORD(from[i] + (at)) : clq_tail(from[i] + (at), n))

#define CLQ_SAFE_ROW(i) (from[i] + k + 3 < end)
#define CLQ_DEFINE_GEMM_TILE(name, R, NB)                                                              \
    static inline void name(global const uchar *a, ulong lda, global const int16 *panel, uint row, uint column, \
                            uint k, const struct epilogue *e)                                          \
    {                                                                                                  \
        int16 acc[R][NB];                                                                              \
        global const uchar *from[R], *end = a + (e->m - 1) * lda + k;                                  \
        CLQ_UNROLL for (int i = 0; i < R; i++) {                                                       \
            from[i] = a + min(row + i, e->m - 1) * lda;                                                \
            CLQ_UNROLL for (int j = 0; j < NB; j++) acc[i][j] = vload16(j, e->fold + column);          \
        }                                                                                              \
        for (uint at = 0; at + 4 <= k; at += 4) CLQ_STEP(R, NB, CLQ_WORD(from[i] + at));               \
        if (k & 3) CLQ_LAST_STEP(R, NB, k & ~3u, k & 3, CLQ_SAFE_ROW);                                 \
        CLQ_STORE_TILE(R, NB)                                                                          \
    }

CLQ_DEFINE_GEMM_TILE(clq_gemm_6x64, 6, 4)
CLQ_DEFINE_GEMM_TILE(clq_gemm_12x32, 12, 2)
CLQ_DEFINE_GEMM_TILE(clq_gemm_12x16, 12, 1)

__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void gemm_u8s8(global const uchar *a, ulong a_at, ulong lda, global const char *w, ulong w_at, global uchar *y,
                      ulong y_at, ulong ldy, uint m, uint n, uint k, int out, int zp, int lo, int hi)
{
    const uint row = get_group_id(0) * CLQ_TILE_ROWS, column = get_group_id(1) * 64;
    const ulong np = (n + 63) & ~63u, kp = (k + 3) & ~3u;
    global const int *fold = (global const int *)(w + w_at + np * kp);
    const struct epilogue e = {fold, (global const float *)(fold + np), y, y_at, ldy, m, (int)n, out, zp, lo, hi};
    global const int16 *panel = (global const int16 *)(w + w_at + column * kp);
    a += a_at;
    if (n - column <= 16) {
        clq_gemm_12x16(a, lda, panel, row, column, k, &e);
    } else if (n - column <= 32) {
        clq_gemm_12x32(a, lda, panel, row, column, k, &e);
    } else {
        for (uint r = row; r < min(row + CLQ_TILE_ROWS, m); r += 6) clq_gemm_6x64(a, lda, panel, r, column, k, &e);
    }
}

struct image {
    global const uchar *x, *pad;
    long image, end; /* bytes of an image and of all */
    int h, w, ci, oh, ow, kh, kw, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w;
};

/* safe: a whole word may be read at the end of the pixel's channels. Consecutive rows are consecutive pixels, so one
 * division per tile finds the first and counting finds the others. */
#define CLQ_SAFE_PIXEL(i) safe[i]
#define CLQ_DEFINE_CONV_TILE(name, R, NB)                                                              \
    static inline void name(const struct image *g, global const int16 *panel, uint row, uint column,   \
                            const struct epilogue *e)                                                  \
    {                                                                                                  \
        int16 acc[R][NB];                                                                              \
        long image[R];                                                                                 \
        int iy[R], ix[R];                                                                              \
        uint ox = row % (uint)g->ow, oy = row / (uint)g->ow % (uint)g->oh;                             \
        long at_image = (long)(row / (uint)g->ow / (uint)g->oh) * g->image;                            \
        CLQ_UNROLL for (int i = 0; i < R; i++) {                                                       \
            iy[i] = (int)oy * g->stride_h - g->pad_top;                                                \
            ix[i] = (int)ox * g->stride_w - g->pad_left;                                               \
            image[i] = at_image;                                                                       \
            if (row + i + 1 < e->m && ++ox == (uint)g->ow) {                                           \
                ox = 0;                                                                                \
                if (++oy == (uint)g->oh) {                                                             \
                    oy = 0;                                                                            \
                    at_image += g->image;                                                              \
                }                                                                                      \
            }                                                                                          \
            CLQ_UNROLL for (int j = 0; j < NB; j++) acc[i][j] = vload16(j, e->fold + column);          \
        }                                                                                              \
        for (int ky = 0; ky < g->kh; ky++) {                                                           \
            for (int kx = 0; kx < g->kw; kx++) {                                                       \
                global const uchar *from[R];                                                           \
                int safe[R];                                                                           \
                CLQ_UNROLL for (int i = 0; i < R; i++) {                                               \
                    const int sy = iy[i] + ky * g->dilation_h, sx = ix[i] + kx * g->dilation_w;        \
                    const int inside = ((uint)sy < (uint)g->h) & ((uint)sx < (uint)g->w);              \
                    const long pixel = image[i] + ((long)sy * g->w + sx) * g->ci;                      \
                    from[i] = inside ? g->x + pixel : g->pad;                                          \
                    safe[i] = !inside | (pixel + g->ci + 3 < g->end);                                  \
                }                                                                                      \
                for (int at = 0; at + 4 <= g->ci; at += 4) CLQ_STEP(R, NB, CLQ_WORD(from[i] + at));    \
                if (g->ci & 3) CLQ_LAST_STEP(R, NB, g->ci & ~3, g->ci & 3, CLQ_SAFE_PIXEL);            \
            }                                                                                          \
        }                                                                                              \
        CLQ_STORE_TILE(R, NB)                                                                          \
    }

CLQ_DEFINE_CONV_TILE(clq_conv_6x64, 6, 4)
CLQ_DEFINE_CONV_TILE(clq_conv_12x32, 12, 2)
CLQ_DEFINE_CONV_TILE(clq_conv_12x16, 12, 1)

__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void conv_u8s8(global const uchar *x, ulong x_at, global const char *w, ulong w_at, global uchar *y, ulong y_at,
                      uint pixels, int h, int width, int ci, int oh, int ow, int co, int kh, int kw, int stride_h,
                      int stride_w, int pad_top, int pad_left, int dilation_h, int dilation_w, int groups, int zp_x,
                      int out, int zp, int lo, int hi)
{
    const uint row = get_group_id(0) * CLQ_TILE_ROWS, column = get_group_id(1) * 64;
    const ulong np = (co + 63) & ~63, kp = (ulong)kh * kw * ((ci + 3) & ~3);
    global const int *fold = (global const int *)(w + w_at + np * kp);
    global const float *scale = (global const float *)(fold + np);
    const struct epilogue e = {fold, scale, y, y_at, (ulong)co, pixels, co, out, zp, lo, hi};
    const long bytes = (long)h * width * ci, images = pixels / (uint)(oh * ow);
    const struct image g = {x + x_at, (global const uchar *)(scale + np), bytes, bytes * images, h, width, ci,
                            oh, ow, kh, kw, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w};
    global const int16 *panel = (global const int16 *)(w + w_at + column * kp);
    if (co - column <= 16) {
        clq_conv_12x16(&g, panel, row, column, &e);
    } else if (co - column <= 32) {
        clq_conv_12x32(&g, panel, row, column, &e);
    } else {
        for (uint r = row; r < min(row + CLQ_TILE_ROWS, pixels); r += 6) clq_conv_6x64(&g, panel, r, column, &e);
    }
}
