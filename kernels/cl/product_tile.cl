/* SPDX-License-Identifier: Apache-2.0
 * Integer matrix product and convolution with tiles in local memory, for devices with many small cores (family F2),
 * bits of ref/gemm.c and ref/conv.c.
 * -D: CLQ_TM, CLQ_TN 4 or 8: rows and columns of results per work-item; CLQ_DOT as in dot.clh.
 * Weight object and parameters as in gemm.cl and conv.cl (groups = 1). 2-D, local size (16, 16): group = (16 CLQ_TM rows
 * or output pixels, 16 CLQ_TN columns). A step is 32 k: while the group multiplies one of two buffers, every work-item
 * has its 16-byte pieces of the next step on the way in registers. Local memory: 1024 (CLQ_TM + CLQ_TN) + 256 bytes. */
#ifndef CLQ_COMMON_CLH
#include "common.clh"
#include "dot.clh"
#endif
#ifndef CLQ_TM
#define CLQ_TM 4
#endif
#ifndef CLQ_TN
#define CLQ_TN 4
#endif

#define CLQ_WORDS 8 /* of k per step */
#define CLQ_TILE_M (16 * (CLQ_TM))
#define CLQ_TILE_N (16 * (CLQ_TN))
/* A row of the transposed tile of a: its length keeps 16-byte alignment and spreads the pieces of a row over the banks. */
#define CLQ_PITCH (CLQ_TILE_M + 4)
#define CLQ_PIECES_A (2 * CLQ_TILE_M)
#define CLQ_PIECES_B (2 * CLQ_TILE_N)
#define CLQ_PER_ITEM ((CLQ_PIECES_A + CLQ_PIECES_B + 255) / 256)

struct tile {
    uint a[CLQ_WORDS * CLQ_PITCH] __attribute__((aligned(16)));
    uint b[CLQ_WORDS * CLQ_TILE_N] __attribute__((aligned(16)));
};

/* Piece p of b in the step that begins at word at: four columns of one word of k; zero behind the last word and the last
 * panel. */
static inline uint4 clq_piece_b(global const uint4 *w, int at, int words, int panels, int p)
{
    const int k = at + p / (CLQ_TILE_N / 4), column = p % (CLQ_TILE_N / 4);
    return k < words && column / 16 < panels ? w[((ulong)column / 16 * words + k) * 16 + column % 16] : (uint4)(0);
}

static inline void clq_put(local struct tile *t, int p, uint4 v)
{
    if (p < CLQ_PIECES_A) { /* four words of k of row p / 2 */
        local uint *to = t->a + p % 2 * 4 * CLQ_PITCH + p / 2;
        v = clq_activation(v);
        to[0] = v.x;
        to[CLQ_PITCH] = v.y;
        to[2 * CLQ_PITCH] = v.z;
        to[3 * CLQ_PITCH] = v.w;
    } else if (p < CLQ_PIECES_A + CLQ_PIECES_B) {
        *(local uint4 *)(t->b + (p - CLQ_PIECES_A) * 4) = v;
    }
}

/* Row i of a work-item lies at i / 4 * 64 + ly * 4 + i % 4, column j likewise: both are read 16 bytes at a time. */
static inline void clq_multiply(int4 acc[CLQ_TM][CLQ_TN / 4], local const struct tile *t, int lx, int ly)
{
    /* Unrolled completely, the accumulators of 8 x 8 results would go through memory (clang 15). */
    _Pragma("unroll 2") for (int k = 0; k < CLQ_WORDS; k++) {
        uint4 u[CLQ_TM / 4], v[CLQ_TN / 4];
        CLQ_UNROLL for (int i = 0; i < CLQ_TM / 4; i++)
            u[i] = *(local const uint4 *)(t->a + k * CLQ_PITCH + i * 64 + ly * 4);
        CLQ_UNROLL for (int j = 0; j < CLQ_TN / 4; j++)
            v[j] = *(local const uint4 *)(t->b + k * CLQ_TILE_N + j * 64 + lx * 4);
        CLQ_UNROLL for (int i = 0; i < CLQ_TM; i++) {
            const uint4 quad = u[i / 4];
            const uint a = i % 4 == 0 ? quad.x : i % 4 == 1 ? quad.y : i % 4 == 2 ? quad.z : quad.w;
            CLQ_UNROLL for (int j = 0; j < CLQ_TN / 4; j++) {
                acc[i][j].x = clq_dot(a, v[j].x, acc[i][j].x);
                acc[i][j].y = clq_dot(a, v[j].y, acc[i][j].y);
                acc[i][j].z = clq_dot(a, v[j].z, acc[i][j].z);
                acc[i][j].w = clq_dot(a, v[j].w, acc[i][j].w);
            }
        }
    }
}

/* The steps; FETCH(p, at) gives piece p of a, at being its first word of k. */
#define CLQ_STEPS(FETCH)                                                                                     \
    uint4 next[CLQ_PER_ITEM];                                                                                \
    for (int step = -1, steps = (words + CLQ_WORDS - 1) / CLQ_WORDS; step < steps; step++) {                 \
        const int more = step + 1 < steps, at = (step + 1) * CLQ_WORDS;                                      \
        if (more) {                                                                                          \
            CLQ_UNROLL for (int i = 0; i < CLQ_PER_ITEM; i++) {                                              \
                const int p = item + 256 * i;                                                                \
                if (p < CLQ_PIECES_A) next[i] = FETCH(p, at + p % 2 * 4);                                    \
                else if (p < CLQ_PIECES_A + CLQ_PIECES_B)                                                    \
                    next[i] = clq_piece_b(panel, at, words, panels, p - CLQ_PIECES_A);                       \
            }                                                                                                \
        }                                                                                                    \
        if (step >= 0) clq_multiply(acc, &tiles[step & 1], lx, ly);                                          \
        if (more)                                                                                            \
            CLQ_UNROLL for (int i = 0; i < CLQ_PER_ITEM; i++) clq_put(&tiles[(step + 1) & 1], item + 256 * i, next[i]); \
        barrier(CLK_LOCAL_MEM_FENCE);                                                                        \
    }

#define CLQ_STORE(rows, columns, ld)                                                                         \
    CLQ_UNROLL for (int j = 0; j < CLQ_TN / 4; j++) {                                                        \
        const uint c = column + j * 64 + lx * 4;                                                             \
        CLQ_UNROLL for (int i = 0; i < CLQ_TM; i++) {                                                        \
            const uint r = row + i / 4 * 64 + ly * 4 + i % 4;                                                \
            if (r < (uint)(rows) && c < (uint)(columns))                                                     \
                clq_store4(y, y_at + r * (ulong)(ld) + c, acc[i][j] + vload4(0, fold + c),                           \
                           out == CLQ_OUT_S32 ? (float4)(0) : vload4(0, scale + c), (uint)(columns) - c, out, zp, lo, hi); \
        }                                                                                                    \
    }

__attribute__((reqd_work_group_size(16, 16, 1)))
kernel void gemm_u8s8(global const uchar *a, ulong a_at, ulong lda, global const char *w, ulong w_at, global uchar *y,
                      ulong y_at, ulong ldy, uint m, uint n, uint k, int out, int zp, int lo, int hi)
{
    local struct tile tiles[2];
    const int lx = get_local_id(0), ly = get_local_id(1), item = ly * 16 + lx;
    const uint row = get_group_id(0) * CLQ_TILE_M, column = get_group_id(1) * CLQ_TILE_N;
    const ulong np = (n + 63) & ~63u, kp = (k + 3) & ~3u;
    global const uint4 *panel = (global const uint4 *)(w + w_at + column * kp);
    global const int *fold = (global const int *)(w + w_at + np * kp);
    global const float *scale = (global const float *)(fold + np);
    const int words = (int)(kp / 4), panels = (int)(np - column) / 64, aligned = ((a_at | lda) & 15) == 0;
    int4 acc[CLQ_TM][CLQ_TN / 4] = {{(int4)(0)}};
    a += a_at;
#define CLQ_FETCH_ROW(p, at) clq_piece(a + min(row + (p) / 2, m - 1) * lda + 4 * (at), (int)k - 4 * (at), aligned)
    CLQ_STEPS(CLQ_FETCH_ROW)
    CLQ_STORE(m, n, ldy)
}

struct image {
    global const uchar *x;
    int h, w, ci, per, kw, dilation_h, dilation_w, aligned;
    uint pad;
};

/* Word k of the pixel whose window begins at (iy, ix). */
static inline uint clq_window_word(const struct image *g, global const uchar *x, int iy, int ix, int k, int words)
{
    const int tap = k / g->per, channel = k % g->per * 4;
    const int sy = iy + tap / g->kw * g->dilation_h, sx = ix + tap % g->kw * g->dilation_w;
    if (k >= words || sy < 0 || sy >= g->h || sx < 0 || sx >= g->w) return g->pad;
    return clq_word(x + ((long)sy * g->w + sx) * g->ci + channel, g->ci - channel, g->aligned);
}

/* Four words from k on: in one tap where the channels are whole pieces. */
static inline uint4 clq_window(const struct image *g, global const uchar *x, int iy, int ix, int k, int words)
{
    if (g->per % 4 == 0) {
        const int tap = k / g->per, channel = k % g->per * 4;
        const int sy = iy + tap / g->kw * g->dilation_h, sx = ix + tap % g->kw * g->dilation_w;
        if (k >= words || sy < 0 || sy >= g->h || sx < 0 || sx >= g->w) return (uint4)(g->pad);
        return clq_piece(x + ((long)sy * g->w + sx) * g->ci + channel, g->ci - channel, g->aligned && (g->ci & 15) == 0);
    }
    return (uint4)(clq_window_word(g, x, iy, ix, k, words), clq_window_word(g, x, iy, ix, k + 1, words),
                   clq_window_word(g, x, iy, ix, k + 2, words), clq_window_word(g, x, iy, ix, k + 3, words));
}

__attribute__((reqd_work_group_size(16, 16, 1)))
kernel void conv_u8s8(global const uchar *x, ulong x_at, global const char *w, ulong w_at, global uchar *y, ulong y_at,
                      uint pixels, int h, int width, int ci, int oh, int ow, int co, int kh, int kw, int stride_h,
                      int stride_w, int pad_top, int pad_left, int dilation_h, int dilation_w, int groups, int zp_x,
                      int out, int zp, int lo, int hi)
{
    local struct tile tiles[2];
    const int lx = get_local_id(0), ly = get_local_id(1), item = ly * 16 + lx;
    const uint row = get_group_id(0) * CLQ_TILE_M, column = get_group_id(1) * CLQ_TILE_N;
    const int per = (ci + 3) / 4, words = kh * kw * per;
    const ulong np = (co + 63) & ~63;
    const int panels = (int)(np - column) / 64;
    global const uint4 *panel = (global const uint4 *)(w + w_at) + (ulong)column / 4 * words;
    global const int *fold = (global const int *)(w + w_at) + np * words;
    global const float *scale = (global const float *)(fold + np);
    const struct image g = {x, h, width, ci, per, kw, dilation_h, dilation_w, ((x_at | (ulong)ci) & 3) == 0 && (x_at & 15) == 0,
                            (uint)zp_x * 0x01010101u};
    int4 acc[CLQ_TM][CLQ_TN / 4] = {{(int4)(0)}};
    int iy[CLQ_PER_ITEM], ix[CLQ_PER_ITEM];
    global const uchar *image[CLQ_PER_ITEM];
    CLQ_UNROLL for (int i = 0; i < CLQ_PER_ITEM; i++) {
        const uint pixel = min(row + (uint)(item + 256 * i) / 2, pixels - 1), line = pixel / (uint)ow;
        iy[i] = (int)(line % (uint)oh) * stride_h - pad_top;
        ix[i] = (int)(pixel % (uint)ow) * stride_w - pad_left;
        image[i] = x + x_at + (ulong)(line / (uint)oh) * h * width * ci;
    }
#define CLQ_FETCH_WINDOW(p, at) clq_window(&g, image[i], iy[i], ix[i], at, words)
    CLQ_STEPS(CLQ_FETCH_WINDOW)
    CLQ_STORE(pixels, co, co)
}
