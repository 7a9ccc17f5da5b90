/* SPDX-License-Identifier: Apache-2.0
 * Product of 8-bit rows with 4-bit weights in groups with tiles in local memory, for devices with many small cores (family F2),
 * bits of ref/gemm_u4.c.
 * -D: CLQ_TM 4 or 8: rows of results per work-item, which has 4 columns; CLQ_DOT as in dot.clh.
 * Weight object and parameters as in gemm_u4.cl. 2-D, local size (16, 16): group = (16 CLQ_TM rows, 64 columns). A step is 32 k:
 * while the group multiplies one of two buffers, every work-item has its 16-byte pieces of the next step on the way in registers;
 * weights become w - z on the way into local memory. Groups end at any multiple of 8 in a step. Local memory:
 * 1024 CLQ_TM + 4352 bytes. */
#ifndef CLQ_COMMON_CLH
#include "common.clh"
#include "dot.clh"
#endif
#ifndef CLQ_TM
#define CLQ_TM 4
#endif

#define CLQ_SEGMENT 1024u
#define CLQ_LEVELS 15
#define CLQ_WORDS 8 /* of k per step */
#define CLQ_TILE_M (16 * (CLQ_TM))
#define CLQ_PITCH (CLQ_TILE_M + 4) /* see product_tile.cl */
#define CLQ_PIECES_A (2 * CLQ_TILE_M)
#define CLQ_PIECES_B 64 /* four columns of eight k */
#define CLQ_PER_ITEM ((CLQ_PIECES_A + CLQ_PIECES_B + 255) / 256)

struct tile {
    uint a[CLQ_WORDS * CLQ_PITCH] __attribute__((aligned(16)));
    uint b[CLQ_WORDS * 64] __attribute__((aligned(16)));
};

struct panel {
    global const uchar *data, *zero; /* zero NULL: 8 */
    global const void *scale;
    int half_scales;
    uint k8, group;
};

/* Four columns' zero points in all bytes of their words. */
static inline uint4 clq_zeros(const struct panel *p, uint group, uint column)
{
    const uint4 z = p->zero ? convert_uint4(vload4(0, p->zero + (ulong)group * 64 + column)) : (uint4)(8);
    return z * 0x01010101u;
}

static inline float4 clq_scales(const struct panel *p, uint group, uint column)
{
    const ulong at = (ulong)group * 64 + column;
    if (!p->half_scales) return *(global const float4 *)((global const float *)p->scale + at);
    global const half *h = (global const half *)p->scale + at;
    return (float4)(vload_half(0, h), vload_half(1, h), vload_half(2, h), vload_half(3, h));
}

/* Piece p of the weights of the step that begins at element k; zero behind the last. */
static inline uint4 clq_piece_b(const struct panel *w, uint k, uint p)
{
    const uint at = k / 8 + p / 16;
    return at < w->k8 ? *(global const uint4 *)(w->data + at * 256ul + p % 16 * 16) : (uint4)(0);
}

/* code - z in signed bytes: no byte borrows from its neighbor. */
static inline uint4 clq_signed(uint4 code, uint4 z) { return ((code | 0x80808080u) - z) ^ 0x80808080u; }

static inline void clq_put(local struct tile *t, const struct panel *w, uint k, uint p, uint4 v, uint turn)
{
    if (p < CLQ_PIECES_A) { /* four words of k of row p / 2 */
        local uint *to = t->a + p % 2 * 4 * CLQ_PITCH + p / 2;
        v ^= turn;
        to[0] = v.x;
        to[CLQ_PITCH] = v.y;
        to[2 * CLQ_PITCH] = v.z;
        to[3 * CLQ_PITCH] = v.w;
    } else if (p < CLQ_PIECES_A + CLQ_PIECES_B) {
        p -= CLQ_PIECES_A;
        k += p / 16 * 8;
        if (k / 8 >= w->k8) return; /* not multiplied */
        const uint4 z = clq_zeros(w, k / w->group, p % 16 * 4);
        local uint *to = t->b + p / 16 * 128 + p % 16 * 4;
        *(local uint4 *)to = clq_signed(v & 0x0f0f0f0fu, z);
        *(local uint4 *)(to + 64) = clq_signed(v >> 4 & 0x0f0f0f0fu, z);
    }
}

/* Eight k from word k of the tile on. Row i of a work-item lies at i / 4 * 64 + ly * 4 + i % 4. */
static inline void clq_multiply(int4 acc[CLQ_TM], local const struct tile *t, uint k, int lx, int ly)
{
    _Pragma("unroll 2") for (uint word = k; word < k + 2; word++) {
        uint4 u[CLQ_TM / 4];
        const uint4 v = *(local const uint4 *)(t->b + word * 64 + lx * 4);
        CLQ_UNROLL for (int i = 0; i < CLQ_TM / 4; i++)
            u[i] = *(local const uint4 *)(t->a + word * CLQ_PITCH + i * 64 + ly * 4);
        CLQ_UNROLL for (int i = 0; i < CLQ_TM; i++) {
            const uint4 quad = u[i / 4];
            const uint a = i % 4 == 0 ? quad.x : i % 4 == 1 ? quad.y : i % 4 == 2 ? quad.z : quad.w;
            acc[i].x = clq_dot_signed(a, v.x, acc[i].x);
            acc[i].y = clq_dot_signed(a, v.y, acc[i].y);
            acc[i].z = clq_dot_signed(a, v.z, acc[i].z);
            acc[i].w = clq_dot_signed(a, v.w, acc[i].w);
        }
    }
}

__attribute__((reqd_work_group_size(16, 16, 1)))
kernel void gemm_s8u4(global const uchar *a, ulong a_at, ulong lda, global const float *scale_a, ulong s_at, global const uchar *w,
                      ulong w_at, global float *y, ulong y_at, ulong ldy, uint m, uint n, uint k, uint group, int flip,
                      int half_scales, int zeros, int biased, uint pieces)
{
    local struct tile tiles[2];
    const int lx = get_local_id(0), ly = get_local_id(1), item = ly * 16 + lx;
    const uint row = get_group_id(0) * CLQ_TILE_M, column = lx * 4, turn = flip ? 0x80808080u : 0;
    const uint count = (k + group - 1) / group, per = (CLQ_SEGMENT + group - 1) / group;
    const ulong data = (ulong)(k + 7) / 8 * 256, scales = (ulong)count * (half_scales ? 128 : 256);
    const ulong bytes = data + scales + (zeros ? (ulong)count * 64 : 0), panels = (n + 63) / 64;
    global const uchar *from = w + w_at + get_group_id(1) * bytes;
    const struct panel panel = {from, zeros ? from + data + scales : 0, from + data, half_scales, (k + 7) / 8, group};
    const int aligned = ((a_at | lda) & 15) == 0;
    int4 acc[CLQ_TM];
    float4 f[CLQ_TM], level[CLQ_LEVELS][CLQ_TM];
    uint4 next[CLQ_PER_ITEM];
    uint g = 0, left = min(group, k), in_segment = per, segment = 0;
    a += a_at;
    CLQ_UNROLL for (int i = 0; i < CLQ_TM; i++) {
        acc[i] = (int4)(0);
        f[i] = (float4)(0.0f);
    }
    for (int step = -1, steps = (int)((k + 31) / 32); step < steps; step++) {
        const int more = step + 1 < steps;
        const uint at = (uint)(step + 1) * 32;
        if (more) {
            CLQ_UNROLL for (int i = 0; i < CLQ_PER_ITEM; i++) {
                const uint p = item + 256 * i;
                if (p < CLQ_PIECES_A)
                    next[i] = clq_piece(a + min(row + p / 2, m - 1) * lda + at + p % 2 * 16, (int)k - (int)(at + p % 2 * 16), aligned);
                else if (p < CLQ_PIECES_A + CLQ_PIECES_B) next[i] = clq_piece_b(&panel, at, p - CLQ_PIECES_A);
            }
        }
        const uint end = step < 0 ? 0 : min(k - (at - 32), 32u);
        _Pragma("unroll 1") for (uint done = 0; done < end; done += 8) {
            clq_multiply(acc, &tiles[step & 1], done / 4, lx, ly);
            if (left > 8) {
                left -= 8;
                continue;
            }
            const float4 s = clq_scales(&panel, g++, column);
            left = min(group, k - (at - 32) - min(done + 8, end));
            CLQ_UNROLL for (int i = 0; i < CLQ_TM; i++) {
                f[i] = fma(convert_float4(acc[i]), s, f[i]);
                acc[i] = (int4)(0);
            }
            if (--in_segment > 0 && g < count) continue;
            const uint keep = popcount(segment & ~(segment + 1));
            for (uint merged = g < count ? segment & ~(segment + 1) : segment, l = 0; merged >> l; l++)
                if (merged >> l & 1) CLQ_UNROLL for (int i = 0; i < CLQ_TM; i++) f[i] = level[l][i] + f[i];
            in_segment = per;
            segment++;
            if (g == count) break;
            CLQ_UNROLL for (int i = 0; i < CLQ_TM; i++) {
                level[keep][i] = f[i];
                f[i] = (float4)(0.0f);
            }
        }
        if (more)
            CLQ_UNROLL for (int i = 0; i < CLQ_PER_ITEM; i++)
                clq_put(&tiles[(step + 1) & 1], &panel, at, item + 256 * i, next[i], turn);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    const uint c = get_group_id(1) * 64 + column;
    global const float *bias = (global const float *)(w + w_at + panels * bytes) + c;
    CLQ_UNROLL for (int i = 0; i < CLQ_TM; i++) {
        const uint r = row + i / 4 * 64 + ly * 4 + i % 4;
        if (r >= m || c >= n) continue;
        float4 v = f[i] * scale_a[s_at + r];
        if (biased) v += vload4(0, bias);
        global float *to = y + y_at + r * ldy + c;
        to[0] = v.x;
        if (c + 1 < n) to[1] = v.y;
        if (c + 2 < n) to[2] = v.z;
        if (c + 3 < n) to[3] = v.w;
    }
}
