/* SPDX-License-Identifier: Apache-2.0
 * Depthwise convolution for OpenCL on x86 CPUs with AVX512-VNNI (family F1), bits of ref/conv.c. Four taps of 64
 * channels are interleaved by byte and word unpacking, which works inside 128-bit lanes, so that one vpdpbusd adds
 * four taps; the packs of the epilogue undo the order. Instructions are inline assembly, because the drivers'
 * compilers do not emit them; a driver may drop assembly that it cannot parse, so only an exact self-test admits
 * the kernel.
 * Weight object w at byte w_at (64-byte aligned), quads = ceil(kh * kw / 4), np = co rounded up to 64:
 *   panels [np/64][quads][4][16][4] s8: vector j, lane 4 l + i is channel 16 l + 4 j + i; four taps
 *          per lane, 0 past the last
 *   fold   [np/64][4][16] s32 = bias - zp_x * column sum, scale [np/64][4][16] f32, in the order of the lanes
 *   pad    [64] u8 = zp_x
 * Parameters as in conv.cl (groups = ci = co). 2-D, local size (1, 1): group = (output row, panel of 64 channels). */
#ifndef CLQ_COMMON_CLH
#include "common.clh"
#endif
#if !defined(__x86_64__) || !defined(__AVX512F__)
#error "depthwise_x86.cl is for x86 CPUs with AVX-512"
#endif

#define CLQ_DEFINE_PAIR(name, instruction)                                               \
    static inline int16 name(int16 a, int16 b)                                           \
    {                                                                                    \
        int16 r;                                                                         \
        __asm__(instruction " %2,%1,%0" : "=v"(r) : "v"(a), "v"(b));                     \
        return r;                                                                        \
    }
CLQ_DEFINE_PAIR(clq_low_bytes, "vpunpcklbw")
CLQ_DEFINE_PAIR(clq_high_bytes, "vpunpckhbw")
CLQ_DEFINE_PAIR(clq_low_words, "vpunpcklwd")
CLQ_DEFINE_PAIR(clq_high_words, "vpunpckhwd")
CLQ_DEFINE_PAIR(clq_pack_words, "vpackusdw")
CLQ_DEFINE_PAIR(clq_pack_bytes, "vpackuswb")

static inline int16 clq_dot_taps(int16 acc, int16 u, int16 s)
{
    __asm__("vpdpbusd %2,%1,%0" : "+v"(acc) : "v"(u), "v"(s));
    return acc;
}

/* Bytes whose mask bit is 0 are neither read nor written. */
static inline int16 clq_load64(global const uchar *p, ulong mask)
{
    int16 v;
    __asm__("kmovq %2,%%k1\n\tvmovdqu8 (%1),%0%{%%k1%}%{z%}" : "=v"(v) : "r"(p), "r"(mask) : "k1");
    return v;
}

static inline void clq_store64(global uchar *p, int16 v, ulong mask)
{
    __asm__ volatile("kmovq %2,%%k1\n\tvmovdqu8 %0,(%1)%{%%k1%}" : : "v"(v), "r"(p), "r"(mask) : "k1", "memory");
}

struct layer {
    global const uchar *x, *pad;
    global const int16 *w;
    global const int16 *fold;
    global const float16 *scale;
    global uchar *y;
    ulong y_at, mask;
    int h, width, ci, kh, kw, stride_w, pad_left, dilation_h, dilation_w;
    int lanes, out, zp, lo, hi;
};

/* acc += four taps. */
static inline void clq_quad(int16 acc[4], const int16 tap[4], global const int16 *w)
{
    const int16 low[2] = {clq_low_bytes(tap[0], tap[1]), clq_low_bytes(tap[2], tap[3])};
    const int16 high[2] = {clq_high_bytes(tap[0], tap[1]), clq_high_bytes(tap[2], tap[3])};
    acc[0] = clq_dot_taps(acc[0], clq_low_words(low[0], low[1]), w[0]);
    acc[1] = clq_dot_taps(acc[1], clq_high_words(low[0], low[1]), w[1]);
    acc[2] = clq_dot_taps(acc[2], clq_low_words(high[0], high[1]), w[2]);
    acc[3] = clq_dot_taps(acc[3], clq_high_words(high[0], high[1]), w[3]);
}

/* What all pixels of a row share, in registers before the first store, which could alias it. */
struct epilogue {
    float16 low, high, scale[4];
    int16 fold[4], back;
};

static inline struct epilogue clq_epilogue(const struct layer *g)
{
    struct epilogue e = {(float16)(float)(g->lo - g->zp), (float16)(float)(g->hi - g->zp)};
    e.back = (int16)(g->zp - CLQ_MAGIC_BITS);
    CLQ_UNROLL for (int j = 0; j < 4; j++) {
        e.scale[j] = g->scale[j];
        e.fold[j] = g->fold[j];
    }
    return e;
}

/* at: element of y of the pixel's first channel. */
static inline void clq_emit(const struct layer *g, const struct epilogue *e, const int16 acc[4], ulong at)
{
    if (g->out <= CLQ_OUT_S8) {
        int16 q[4];
        CLQ_UNROLL for (int j = 0; j < 4; j++) {
            const float16 f = min(max(convert_float16(acc[j]) * e->scale[j], e->low), e->high);
            q[j] = as_int16(f + CLQ_MAGIC) + e->back;
        }
        clq_store64(g->y + at, clq_pack_bytes(clq_pack_words(q[0], q[1]), clq_pack_words(q[2], q[3])), g->mask);
        return;
    }
    int part[4][16];
    CLQ_UNROLL for (int j = 0; j < 4; j++)
        vstore16(g->out == CLQ_OUT_S32 ? acc[j] : as_int16(convert_float16(acc[j]) * e->scale[j]), 0, part[j]);
    for (int c = 0; c < g->lanes; c++) ((global int *)g->y)[at + c] = part[c % 16 / 4][c / 16 * 4 + c % 4];
}

/* One output row of any window: top is the input row of the first kernel row. */
static void clq_row(const struct layer *g, global const uchar *image, int top, int ow)
{
    const struct epilogue e = clq_epilogue(g);
    for (int ox = 0; ox < ow; ox++) {
        const int left = ox * g->stride_w - g->pad_left;
        int16 acc[4] = {e.fold[0], e.fold[1], e.fold[2], e.fold[3]};
        global const int16 *w = g->w;
        for (int ky = 0, kx = 0; ky < g->kh; w += 4) {
            int16 tap[4];
            for (int b = 0; b < 4; b++) {
                const int sy = top + ky * g->dilation_h, sx = left + kx * g->dilation_w;
                const int inside = ((uint)sy < (uint)g->h) & ((uint)sx < (uint)g->width) & (ky < g->kh);
                tap[b] = clq_load64(inside ? image + ((long)sy * g->width + sx) * g->ci : g->pad, g->mask);
                if (++kx == g->kw) {
                    kx = 0;
                    ky++;
                }
            }
            clq_quad(acc, tap, w);
        }
        clq_emit(g, &e, acc, g->y_at + (ulong)ox * g->ci);
    }
}

/* All 64 channels are there. */
static inline int16 clq_load_whole(global const uchar *p, ulong mask)
{
    (void)mask;
    return vload16(0, (global const int *)p);
}

/* The same for K x K taps: rows outside the image become the pad row with a step of 0. LOAD: clq_load64, or
 * clq_load_whole without the cost of a mask. */
#define CLQ_DEFINE_ROW(name, K, LOAD)                                                                  \
    static void name(const struct layer *g, global const uchar *image, int top, int ow)                \
    {                                                                                                  \
        const struct epilogue e = clq_epilogue(g);                                                     \
        global const uchar *line[K];                                                                   \
        long step[K];                                                                                  \
        CLQ_UNROLL for (int ky = 0; ky < K; ky++) {                                                    \
            const int sy = top + ky * g->dilation_h, inside = (uint)sy < (uint)g->h;                   \
            line[ky] = inside ? image + (long)sy * g->width * g->ci : g->pad;                          \
            step[ky] = inside ? g->ci : 0;                                                             \
        }                                                                                              \
        for (int ox = 0; ox < ow; ox++) {                                                              \
            const int left = ox * g->stride_w - g->pad_left, inner = left >= 0 && left + (K - 1) * g->dilation_w < g->width; \
            int16 acc[4] = {e.fold[0], e.fold[1], e.fold[2], e.fold[3]};                               \
            CLQ_UNROLL for (int quad = 0; quad < (K * K + 3) / 4; quad++) {                            \
                int16 tap[4];                                                                          \
                CLQ_UNROLL for (int b = 0; b < 4; b++) {                                               \
                    const int t = 4 * quad + b, ky = t / K, sx = left + t % K * g->dilation_w;         \
                    if (t >= K * K) tap[b] = tap[0]; /* its weights are 0 */                           \
                    else if (inner) tap[b] = LOAD(line[ky] + sx * step[ky], g->mask);                  \
                    else tap[b] = LOAD((uint)sx < (uint)g->width ? line[ky] + sx * step[ky] : g->pad, g->mask); \
                }                                                                                      \
                clq_quad(acc, tap, g->w + 4 * quad);                                                   \
            }                                                                                          \
            clq_emit(g, &e, acc, g->y_at + (ulong)ox * g->ci);                                         \
        }                                                                                              \
    }

CLQ_DEFINE_ROW(clq_row_3x3, 3, clq_load64)
CLQ_DEFINE_ROW(clq_row_3x3_whole, 3, clq_load_whole)
CLQ_DEFINE_ROW(clq_row_5x5, 5, clq_load64)
CLQ_DEFINE_ROW(clq_row_5x5_whole, 5, clq_load_whole)

__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void depthwise_u8s8(global const uchar *x, ulong x_at, global const char *w, ulong w_at, global uchar *y,
                           ulong y_at, uint pixels, int h, int width, int ci, int oh, int ow, int co, int kh, int kw,
                           int stride_h, int stride_w, int pad_top, int pad_left, int dilation_h, int dilation_w,
                           int groups, int zp_x, int out, int zp, int lo, int hi)
{
    const uint row = get_group_id(0), channel = get_group_id(1) * 64;
    const int quads = (kh * kw + 3) / 4, lanes = min(co - (int)channel, 64);
    const ulong np = (co + 63) & ~63;
    global const int *fold = (global const int *)(w + w_at + np * quads * 4);
    global const float *scale = (global const float *)(fold + np);
    global const int16 *panel = (global const int16 *)(w + w_at + (ulong)channel * quads * 4);
    const struct layer g = {x, (global const uchar *)(scale + np), panel,
                            (global const int16 *)(fold + channel), (global const float16 *)(scale + channel), y,
                            y_at + (ulong)row * ow * co + channel, ~0ul >> (64 - lanes), h, width, ci, kh, kw, stride_w,
                            pad_left, dilation_h, dilation_w, lanes, out, zp, lo, hi};
    global const uchar *image = x + x_at + (ulong)(row / (uint)oh) * h * width * ci + channel;
    const int top = (int)(row % (uint)oh) * stride_h - pad_top;
    if (kh == 3 && kw == 3 && lanes == 64) clq_row_3x3_whole(&g, image, top, ow);
    else if (kh == 3 && kw == 3) clq_row_3x3(&g, image, top, ow);
    else if (kh == 5 && kw == 5 && lanes == 64) clq_row_5x5_whole(&g, image, top, ow);
    else if (kh == 5 && kw == 5) clq_row_5x5(&g, image, top, ow);
    else clq_row(&g, image, top, ow);
}
