/* SPDX-License-Identifier: Apache-2.0
 * Integer matrix product and convolution for OpenCL on x86 CPUs with AVX512-VNNI (family F1), bits of ref/gemm.c and
 * ref/conv.c. vpdpbusd is one-instruction inline assembly, because the drivers' compilers do not emit it; a driver may
 * drop assembly that it cannot parse, so only an exact self-test admits these kernels.
 * Weight object and parameters as in gemm.cl and conv.cl (groups = 1), plus a row of zp_x, [cp] u8, behind the scales.
 * 2-D, local size (1, 1): group = (CLQ_GROUP_ROWS rows or output pixels, panel of
 * 64 columns). The first index runs over the rows,
 * so neighbors share the panel in the cache. No barrier, no local memory. Rows past the end repeat the last row and
 * are not stored. A tile is 6 rows x 64 columns, 2 x 64 for a last row or two, or 6 x 48, 12 x 32 and 12 x 16 for a last
 * panel of few columns: at most 24 accumulators in registers. */
#ifndef CLQ_COMMON_CLH
#include "common.clh"
#endif
#if !defined(__x86_64__) || !defined(__AVX512F__)
#error "product_x86.cl is for x86 CPUs with AVX-512"
#endif

/* 0: the product, 1: the convolution. A driver compiles what the program holds, and these are long. */
#ifndef CLQ_CONV
#define CLQ_CONV 0
#endif
/* A multiple of 12. */
#ifndef CLQ_GROUP_ROWS
#define CLQ_GROUP_ROWS 48
#endif

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

/* The low bytes of sixteen codes, or those whose mask bit is set: no other byte is written. */
static inline void clq_narrow(global uchar *y, int16 code)
{
    __asm__("vpmovdb %1,%0" : "=m"(*(global uchar16 *)y) : "v"(code));
}

static inline void clq_narrow_part(global uchar *y, int16 code, uint mask)
{
    __asm__("kmovw %2,%%k1\n\tvpmovdb %1,%0%{%%k1%}" : "+m"(*(global uchar16 *)y) : "v"(code), "r"(mask) : "k1");
}

/* Stores a tile: straight vector code for whole rows of codes, the general store for the rest. What the rows share is in
 * registers before the first store, which could alias it. */
#define CLQ_STORE_TILE(R, NB)                                                                          \
    if (e->out <= CLQ_OUT_S8 && row + R <= e->m && (int)column + 16 * NB - 15 <= e->columns) {         \
        const float16 low = (float)(e->lo - e->zp), high = (float)(e->hi - e->zp);                     \
        const int16 back = e->zp - CLQ_MAGIC_BITS;                                                     \
        const ulong ldy = e->ldy;                                                                      \
        const int columns = e->columns - (int)column;                                                  \
        global uchar *y = e->y + e->y_at + row * ldy + column;                                         \
        global const float *scales = e->scale + column;                                                \
        CLQ_UNROLL for (int j = 0; j < NB; j++, y += 16) {                                             \
            const float16 scale = vload16(j, scales);                                                  \
            CLQ_UNROLL for (int i = 0; i < R; i++) {                                                   \
                const float16 f = min(max(convert_float16(acc[i][j]) * scale, low), high);             \
                acc[i][j] = as_int16(f + CLQ_MAGIC) + back;                                            \
            }                                                                                          \
            if (columns >= 16 * j + 16)                                                                \
                CLQ_UNROLL for (int i = 0; i < R; i++) clq_narrow(y + i * ldy, acc[i][j]);             \
            else                                                                                       \
                CLQ_UNROLL for (int i = 0; i < R; i++)                                                 \
                    clq_narrow_part(y + i * ldy, acc[i][j], (1u << (columns - 16 * j)) - 1);           \
        }                                                                                              \
    } else {                                                                                           \
        int16 part[R * NB]; /* the accumulators stay in registers up to here */                        \
        CLQ_UNROLL for (int i = 0; i < R * NB; i++) part[i] = acc[i / NB][i % NB];                     \
        _Pragma("unroll 1") for (int i = 0; i < R * NB; i++)                                          \
            clq_store16(e, row + i / NB, column + i % NB * 16, part[i]);  \
    }

/* acc[0 .. NB-1] of a row += the four bytes (u8) at p x panel columns b (s8). The broadcast is part of the assembly:
 * LLVM would move all rows' broadcasts in front of the products and spill accumulators for them. */
#define CLQ_ROW_1(acc, p, b)                                                                           \
    __asm__("vpbroadcastd %2,%1\n\tvpdpbusd %3,%1,%0" : "+v"((acc)[0]), "=&v"(t) : "m"(*(p)), "v"((b)[0]))
#define CLQ_ROW_2(acc, p, b)                                                                           \
    __asm__("vpbroadcastd %3,%2\n\tvpdpbusd %4,%2,%0\n\tvpdpbusd %5,%2,%1"                             \
            : "+v"((acc)[0]), "+v"((acc)[1]), "=&v"(t)                                                 \
            : "m"(*(p)), "v"((b)[0]), "v"((b)[1]))
#define CLQ_ROW_3(acc, p, b)                                                                           \
    __asm__("vpbroadcastd %4,%3\n\tvpdpbusd %5,%3,%0\n\tvpdpbusd %6,%3,%1\n\tvpdpbusd %7,%3,%2"        \
            : "+v"((acc)[0]), "+v"((acc)[1]), "+v"((acc)[2]), "=&v"(t)                                 \
            : "m"(*(p)), "v"((b)[0]), "v"((b)[1]), "v"((b)[2]))
#define CLQ_ROW_4(acc, p, b)                                                                           \
    __asm__("vpbroadcastd %5,%4\n\tvpdpbusd %6,%4,%0\n\tvpdpbusd %7,%4,%1\n\tvpdpbusd %8,%4,%2\n\tvpdpbusd %9,%4,%3" \
            : "+v"((acc)[0]), "+v"((acc)[1]), "+v"((acc)[2]), "+v"((acc)[3]), "=&v"(t)                 \
            : "m"(*(p)), "v"((b)[0]), "v"((b)[1]), "v"((b)[2]), "v"((b)[3]))

/* One step of four k: at, in which i is the row, is where its four bytes lie. */
#define CLQ_STEP_AT(R, NB, at)                                                                         \
    do {                                                                                               \
        int16 b[NB], t;                                                                                \
        CLQ_UNROLL for (int j = 0; j < NB; j++) b[j] = panel[j];                                       \
        CLQ_UNROLL for (int i = 0; i < R; i++) CLQ_CAT(CLQ_ROW_, NB)(acc[i], (global const int *)(at), b); \
        panel += 4;                                                                                    \
    } while (0)

/* The same for a word in a register. */
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
#define CLQ_LAST_STEP(R, NB, at, n, safe)                                                              \
    do {                                                                                               \
        int last[R];                                                                                   \
        _Pragma("unroll 1") for (int i = 0; i < R; i++)                                                \
            last[i] = safe(i) ? CLQ_WORD(from[i] + (at)) : clq_tail(from[i] + (at), n);                \
        CLQ_STEP(R, NB, last[i]);                                                                      \
    } while (0)

#if CLQ_CONV == 0
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
        for (uint at = 0; at + 4 <= k; at += 4) CLQ_STEP_AT(R, NB, from[i] + at);                      \
        if (k & 3) CLQ_LAST_STEP(R, NB, k & ~3u, k & 3, CLQ_SAFE_ROW);                                 \
        CLQ_STORE_TILE(R, NB)                                                                          \
    }

CLQ_DEFINE_GEMM_TILE(clq_gemm_2x64, 2, 4)
CLQ_DEFINE_GEMM_TILE(clq_gemm_6x64, 6, 4)
CLQ_DEFINE_GEMM_TILE(clq_gemm_6x48, 6, 3)
CLQ_DEFINE_GEMM_TILE(clq_gemm_12x32, 12, 2)
CLQ_DEFINE_GEMM_TILE(clq_gemm_12x16, 12, 1)

__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void gemm_u8s8(global const uchar *a, ulong a_at, ulong lda, global const char *w, ulong w_at, global uchar *y,
                      ulong y_at, ulong ldy, uint m, uint n, uint k, int out, int zp, int lo, int hi)
{
    const uint row = get_group_id(0) * CLQ_GROUP_ROWS, column = get_group_id(1) * 64;
    const ulong np = (n + 63) & ~63u, kp = (k + 3) & ~3u;
    global const int *fold = (global const int *)(w + w_at + np * kp);
    const struct epilogue e = {fold, (global const float *)(fold + np), y, y_at, ldy, m, (int)n, out, zp, lo, hi};
    global const int16 *panel = (global const int16 *)(w + w_at + column * kp);
    a += a_at;
    const uint end = min(row + CLQ_GROUP_ROWS, m), columns = n - column;
    if (columns <= 32) {
        for (uint r = row; r < end; r += 12) {
            if (columns <= 16) clq_gemm_12x16(a, lda, panel, r, column, k, &e);
            else clq_gemm_12x32(a, lda, panel, r, column, k, &e);
        }
        return;
    }
    for (uint r = row; r < end; r += 6) {
        if (columns <= 48) clq_gemm_6x48(a, lda, panel, r, column, k, &e);
        else if (end - r <= 2) clq_gemm_2x64(a, lda, panel, r, column, k, &e);
        else clq_gemm_6x64(a, lda, panel, r, column, k, &e);
    }
}

#else
struct image {
    global const uchar *x, *pad;
    long image, end; /* bytes of an image and of all */
    int h, w, ci, oh, ow, kh, kw, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w;
};

/* A tile whose pixels are neighbors in one line of the output, with windows that lie inside of the image: the rows of a
 * step are a fixed distance apart, and no word that is read lies behind the last image. */
#define CLQ_DEFINE_INNER_TILE(name, R, NB)                                                             \
    static inline void name(const struct image *g, global const int16 *panel, uint row, uint column,   \
                            const struct epilogue *e, global const uchar *first)                       \
    {                                                                                                  \
        int16 acc[R][NB];                                                                              \
        const long step = (long)g->stride_w * g->ci, line = (long)g->dilation_h * g->w * g->ci;        \
        const long next = (long)g->dilation_w * g->ci;                                                 \
        CLQ_UNROLL for (int i = 0; i < R; i++)                                                         \
            CLQ_UNROLL for (int j = 0; j < NB; j++) acc[i][j] = vload16(j, e->fold + column);          \
        for (int ky = 0; ky < g->kh; ky++, first += line) {                                            \
            global const uchar *from = first;                                                          \
            for (int kx = 0; kx < g->kw; kx++, from += next)                                           \
                for (int at = 0; at < g->ci; at += 4) CLQ_STEP_AT(R, NB, from + at + i * step);        \
        }                                                                                              \
        CLQ_STORE_TILE(R, NB)                                                                          \
    }

CLQ_DEFINE_INNER_TILE(clq_inner_6x64, 6, 4)
CLQ_DEFINE_INNER_TILE(clq_inner_12x32, 12, 2)

/* The first byte of the first window where rows pixels from row on make such a tile, else NULL. */
static inline global const uchar *clq_inner(const struct image *g, uint row, uint rows, uint m)
{
    const int ox = (int)(row % (uint)g->ow), oy = (int)(row / (uint)g->ow % (uint)g->oh);
    const int iy = oy * g->stride_h - g->pad_top, ix = ox * g->stride_w - g->pad_left;
    const int last_y = iy + (g->kh - 1) * g->dilation_h;
    const int last_x = ix + ((int)rows - 1) * g->stride_w + (g->kw - 1) * g->dilation_w;
    const long at = (long)(row / (uint)g->ow / (uint)g->oh) * g->image + ((long)iy * g->w + ix) * g->ci;
    const long behind = at + ((long)(last_y - iy) * g->w + last_x - ix) * g->ci + ((g->ci + 3) & ~3);
    return row + rows <= m && ox + (int)rows <= g->ow && iy >= 0 && last_y < g->h && ix >= 0 && last_x < g->w &&
                   behind <= g->end ? g->x + at : 0;
}

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
                for (int at = 0; at + 4 <= g->ci; at += 4) CLQ_STEP_AT(R, NB, from[i] + at);           \
                if (g->ci & 3) CLQ_LAST_STEP(R, NB, g->ci & ~3, g->ci & 3, CLQ_SAFE_PIXEL);            \
            }                                                                                          \
        }                                                                                              \
        CLQ_STORE_TILE(R, NB)                                                                          \
    }

CLQ_DEFINE_CONV_TILE(clq_conv_2x64, 2, 4)
CLQ_DEFINE_CONV_TILE(clq_conv_6x64, 6, 4)
CLQ_DEFINE_CONV_TILE(clq_conv_12x32, 12, 2)
CLQ_DEFINE_CONV_TILE(clq_conv_12x16, 12, 1)

__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void conv_u8s8(global const uchar *x, ulong x_at, global const char *w, ulong w_at, global uchar *y, ulong y_at,
                      uint pixels, int h, int width, int ci, int oh, int ow, int co, int kh, int kw, int stride_h,
                      int stride_w, int pad_top, int pad_left, int dilation_h, int dilation_w, int groups, int zp_x,
                      int out, int zp, int lo, int hi)
{
    const uint row = get_group_id(0) * CLQ_GROUP_ROWS, column = get_group_id(1) * 64;
    const ulong np = (co + 63) & ~63, kp = (ulong)kh * kw * ((ci + 3) & ~3);
    global const int *fold = (global const int *)(w + w_at + np * kp);
    global const float *scale = (global const float *)(fold + np);
    const struct epilogue e = {fold, scale, y, y_at, (ulong)co, pixels, co, out, zp, lo, hi};
    const long bytes = (long)h * width * ci, images = pixels / (uint)(oh * ow);
    const struct image g = {x + x_at, (global const uchar *)(scale + np), bytes, bytes * images, h, width, ci,
                            oh, ow, kh, kw, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w};
    global const int16 *panel = (global const int16 *)(w + w_at + column * kp);
    const uint last = min(row + CLQ_GROUP_ROWS, pixels), columns = (uint)co - column;
    if (columns <= 32) {
        for (uint r = row; r < last; r += 12) {
            global const uchar *first = columns > 16 ? clq_inner(&g, r, 12, pixels) : 0;
            if (columns <= 16) clq_conv_12x16(&g, panel, r, column, &e);
            else if (first) clq_inner_12x32(&g, panel, r, column, &e, first);
            else clq_conv_12x32(&g, panel, r, column, &e);
        }
        return;
    }
    for (uint r = row; r < last; r += 6) {
        global const uchar *first = clq_inner(&g, r, 6, pixels);
        if (first) clq_inner_6x64(&g, panel, r, column, &e, first);
        else if (last - r <= 2) clq_conv_2x64(&g, panel, r, column, &e);
        else clq_conv_6x64(&g, panel, r, column, &e);
    }
}
#endif
