/* SPDX-License-Identifier: Apache-2.0
 * Integer matrix product on NVIDIA's tensor cores (family F5), bits of ref/gemm.c: mma.sync m16n8k32 u8 by s8, operands
 * through cp.async, a through ldmatrix, all by inline PTX.
 * -D: CLQ_WARPS_M warps share the rows and 8 / CLQ_WARPS_M the columns; CLQ_MI, CLQ_NI: tiles of 16 rows and of 8 columns
 *     per warp; CLQ_STAGES 2 to 4: steps of 64 k in local memory;
 *     CLQ_MMA 1: PTX, compute capability 8.0; 0: the same program with each special instruction replaced by what it means,
 *     in plain C, for every device; CLQ_LATE 1 (with CLQ_MMA 0): a copy is done no sooner than the wait for it says.
 * Parameters as in gemm.cl. 2-D, local size (256, 1): group = (16 CLQ_WARPS_M CLQ_MI rows, 8 CLQ_NI 8 / CLQ_WARPS_M
 * columns). Local memory: CLQ_STAGES (rows + columns) 64 bytes.
 * Weight object, kp = k rounded up to 64, np = n rounded up to 64: blocks [np/64][kp/64] of [8][32][16] bytes: byte
 * 8 h + 4 r + i of lane 4 g + t of tile j is k = 32 h + 16 r + 4 t + i of column 8 j + g, the order of mma.sync's
 * registers; then fold [np] s32 and scale [np] f32 as in gemm.cl.
 * A row of a's tile is four pieces of 16 bytes; piece p of row r lies in place p ^ (r / 2 % 4), so that the eight rows
 * of one ldmatrix matrix lie in different banks. */
#ifndef CLQ_COMMON_CLH
#include "common.clh"
#include "dot.clh"
#endif
#ifndef CLQ_MMA
#define CLQ_MMA 0
#endif
#ifndef CLQ_LATE
#define CLQ_LATE 0
#endif
#ifndef CLQ_WARPS_M
#define CLQ_WARPS_M 2
#define CLQ_MI 4
#define CLQ_NI 4
#define CLQ_STAGES 3
#endif

#define CLQ_WARPS_N (8 / CLQ_WARPS_M)
#define CLQ_TILE_M (CLQ_WARPS_M * CLQ_MI * 16)
#define CLQ_TILE_N (CLQ_WARPS_N * CLQ_NI * 8)
#define CLQ_SWATH 8 /* blocks of rows whose groups are neighbors in time, so that they share panels in the cache */

struct stage {
    uchar a[CLQ_TILE_M * 64] __attribute__((aligned(128)));
    uchar b[CLQ_TILE_N * 64] __attribute__((aligned(128)));
};

/* Where in a's tile the row lies whose address a lane gives to ldmatrix: matrices 0 and 1 are rows 0-7 and 8-15 of 16
 * bytes of k, matrices 2 and 3 the same rows of the next 16; part selects 32 of the 64 k. */
static inline uint clq_row_place(uint first, uint lane, uint part)
{
    const uint row = first + lane % 16, piece = 2 * part + lane / 16;
    return row * 64 + ((piece ^ (row / 2 % 4)) << 4);
}

#if CLQ_MMA
#define CLQ_SHARED(p) ((uint)(ulong)(p))

static inline void clq_copy16(local uchar *to, global const uchar *from, int n)
{
    __asm__ volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(CLQ_SHARED(to)), "l"(from), "r"(n) : "memory");
}

static inline void clq_copy4(local uchar *to, global const uchar *from, int n)
{
    __asm__ volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" : : "r"(CLQ_SHARED(to)), "l"(from), "r"(n) : "memory");
}

#define CLQ_COMMIT() __asm__ volatile("cp.async.commit_group;" : : : "memory")
#if CLQ_STAGES == 2
#define CLQ_WAIT(step) __asm__ volatile("cp.async.wait_group 0;" : : : "memory")
#elif CLQ_STAGES == 3
#define CLQ_WAIT(step) __asm__ volatile("cp.async.wait_group 1;" : : : "memory")
#else
#define CLQ_WAIT(step) __asm__ volatile("cp.async.wait_group 2;" : : : "memory")
#endif

static inline uint4 clq_load_a(local const uchar *tile, uint first, uint lane, uint part)
{
    uint4 r;
    __asm__ volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r.x), "=r"(r.y), "=r"(r.z), "=r"(r.w)
                     : "r"(CLQ_SHARED(tile + clq_row_place(first, lane, part)))
                     : "memory");
    return r;
}

static inline int4 clq_mma(int4 d, uint4 a, uint2 b)
{
    __asm__ volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                     : "+r"(d.x), "+r"(d.y), "+r"(d.z), "+r"(d.w)
                     : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y));
    return d;
}

#define CLQ_DECLARE_REGISTERS
#define CLQ_SHOW_REGISTERS(a, b)
#define CLQ_HIDE_REGISTERS()
#define CLQ_MULTIPLY(d, mi, ni, a, b) d = clq_mma(d, (a)[mi], (b)[ni])
#else
static inline void clq_copy16(local uchar *to, global const uchar *from, int n)
{
    for (int i = 0; i < 16; i++) to[i] = i < n ? from[i] : 0;
}

static inline void clq_copy4(local uchar *to, global const uchar *from, int n)
{
    for (int i = 0; i < 4; i++) to[i] = i < n ? from[i] : 0;
}

#define CLQ_COMMIT()
#if CLQ_LATE
#define CLQ_START(step)
#define CLQ_WAIT(step) clq_fill(&stages[(step) % CLQ_STAGES], &g, step, item)
#else
#define CLQ_WAIT(step)
#endif

/* Register j of a lane is word lane % 4 of row lane / 4 of matrix j, whose address lane 8 j + lane / 4 gave. */
static inline uint4 clq_load_a(local const uchar *tile, uint first, uint lane, uint part)
{
    uint r[4];
    for (uint j = 0; j < 4; j++)
        r[j] = *(local const uint *)(tile + clq_row_place(first, 8 * j + lane / 4, part) + lane % 4 * 4);
    return (uint4)(r[0], r[1], r[2], r[3]);
}

/* The registers of all lanes of a group, which mma.sync exchanges inside a warp. */
struct registers {
    uint4 a[CLQ_MI];
    uint2 b[CLQ_NI];
};

/* Results 0 and 1 of a lane are columns 2 t and 2 t + 1 of row g, 2 and 3 of row g + 8, g = lane / 4, t = lane % 4.
 * Register 2 r + h of a: row g + 8 h, k = 16 r + 4 t; register r of b: column g, k = 16 r + 4 t. */
static inline int4 clq_mma(int4 d, local const struct registers *warp, uint lane, uint mi, uint ni)
{
    int v[4] = {d.x, d.y, d.z, d.w};
    for (uint i = 0; i < 4; i++)
        for (uint q = 0; q < 4; q++) {
            const uint4 a = warp[lane / 4 * 4 + q].a[mi];
            const uint2 b = warp[(lane % 4 * 2 + i % 2) * 4 + q].b[ni];
            v[i] = clq_dot(i < 2 ? a.x : a.y, b.x, v[i]);
            v[i] = clq_dot(i < 2 ? a.z : a.w, b.y, v[i]);
        }
    return (int4)(v[0], v[1], v[2], v[3]);
}

#define CLQ_DECLARE_REGISTERS local struct registers shown[256];
#define CLQ_SHOW_REGISTERS(from_a, from_b)                                         \
    for (int i = 0; i < CLQ_MI; i++) shown[item].a[i] = (from_a)[i];               \
    for (int i = 0; i < CLQ_NI; i++) shown[item].b[i] = (from_b)[i];               \
    barrier(CLK_LOCAL_MEM_FENCE);
#define CLQ_HIDE_REGISTERS() barrier(CLK_LOCAL_MEM_FENCE)
#define CLQ_MULTIPLY(d, mi, ni, a, b) d = clq_mma(d, shown + warp * 32, lane, mi, ni)
#endif

#ifndef CLQ_START
#define CLQ_START(step) clq_fill(&stages[(step) % CLQ_STAGES], &g, step, item)
#endif

struct source {
    global const uchar *a, *b; /* b: of the group's first panel */
    ulong lda;
    uint row, m, k, blocks, panels; /* panels from b on */
    int aligned;                    /* of the rows of a: 16, 4 or less */
};

/* Sixteen bytes of a's row, of which n are there, the rest 0. */
static inline void clq_copy_row(local uchar *to, global const uchar *from, int n, int aligned)
{
    n = clamp(n, 0, 16);
    if (aligned == 16) {
        clq_copy16(to, from, n);
    } else if (aligned == 4) {
        CLQ_UNROLL for (int i = 0; i < 16; i += 4) clq_copy4(to + i, from + min(i, max(n - 1, 0) & ~3), clamp(n - i, 0, 4));
    } else {
        *(local uint4 *)to = clq_piece(from, n, 0);
    }
}

/* Starts the copies of one step. A panel that does not exist is read from the last one: its columns are not stored. */
static inline void clq_fill(local struct stage *s, const struct source *g, uint step, uint item)
{
    CLQ_UNROLL for (uint i = 0; i < CLQ_TILE_M / 64; i++) {
        const uint p = item + 256 * i, row = p / 4, piece = p % 4, at = step * 64 + piece * 16;
        clq_copy_row(s->a + row * 64 + ((piece ^ (row / 2 % 4)) << 4), g->a + min(g->row + row, g->m - 1) * g->lda + min(at, g->k),
                     (int)g->k - (int)at, g->aligned);
    }
    CLQ_UNROLL for (uint i = 0; i < CLQ_TILE_N / 64; i++) {
        const uint p = item + 256 * i;
        const ulong block = (ulong)min(p / 256, g->panels - 1) * g->blocks + step;
        clq_copy16(s->b + p * 16, g->b + block * 4096 + p % 256 * 16, 16);
    }
}

__attribute__((reqd_work_group_size(256, 1, 1)))
kernel void gemm_u8s8(global const uchar *a, ulong a_at, ulong lda, global const char *w, ulong w_at, global uchar *y,
                      ulong y_at, ulong ldy, uint m, uint n, uint k, int out, int zp, int lo, int hi)
{
    local struct stage stages[CLQ_STAGES];
    CLQ_DECLARE_REGISTERS
    const uint item = get_local_id(0), lane = item % 32, warp = item / 32;
    const uint id = get_group_id(1) * get_num_groups(0) + get_group_id(0), swath = CLQ_SWATH * get_num_groups(1);
    const uint first = id / swath * CLQ_SWATH, high = min((uint)get_num_groups(0) - first, (uint)CLQ_SWATH);
    const uint row = (first + id % swath % high) * CLQ_TILE_M, column = id % swath / high * CLQ_TILE_N;
    const uint row_of_warp = warp / CLQ_WARPS_N * CLQ_MI * 16, tile_of_warp = warp % CLQ_WARPS_N * CLQ_NI;
    const ulong np = (n + 63) & ~63u, kp = (k + 63) & ~63u;
    const uint steps = (uint)(kp / 64), odds = (uint)(a_at | lda);
    global const int *fold = (global const int *)(w + w_at + np * kp);
    global const float *scale = (global const float *)(fold + np);
    const struct source g = {a + a_at, (global const uchar *)w + w_at + column / 64 * 64 * kp, lda, row, m, k, steps,
                             (uint)(np - column / 64 * 64) / 64, (odds & 15) == 0 ? 16 : (odds & 3) == 0 ? 4 : 1};
    int4 acc[CLQ_MI][CLQ_NI];
    CLQ_UNROLL for (int i = 0; i < CLQ_MI; i++)
        CLQ_UNROLL for (int j = 0; j < CLQ_NI; j++) acc[i][j] = (int4)(0);
    CLQ_UNROLL for (uint step = 0; step < CLQ_STAGES - 1; step++) {
        if (step < steps) CLQ_START(step);
        CLQ_COMMIT();
    }
    for (uint step = 0; step < steps; step++) {
        CLQ_WAIT(step);
        barrier(CLK_LOCAL_MEM_FENCE);
        const uint ahead = step + CLQ_STAGES - 1;
        if (ahead < steps) CLQ_START(ahead);
        CLQ_COMMIT();
        local const struct stage *s = &stages[step % CLQ_STAGES];
        uint4 fb[CLQ_NI];
        CLQ_UNROLL for (int j = 0; j < CLQ_NI; j++) fb[j] = *(local const uint4 *)(s->b + ((tile_of_warp + j) * 32 + lane) * 16);
        CLQ_UNROLL for (int half_k = 0; half_k < 2; half_k++) {
            uint4 ra[CLQ_MI];
            uint2 rb[CLQ_NI];
            CLQ_UNROLL for (int i = 0; i < CLQ_MI; i++) ra[i] = clq_load_a(s->a, row_of_warp + 16 * i, lane, half_k);
            CLQ_UNROLL for (int j = 0; j < CLQ_NI; j++) rb[j] = half_k ? fb[j].zw : fb[j].xy;
            CLQ_SHOW_REGISTERS(ra, rb)
            CLQ_UNROLL for (int i = 0; i < CLQ_MI; i++)
                CLQ_UNROLL for (int j = 0; j < CLQ_NI; j++) CLQ_MULTIPLY(acc[i][j], i, j, ra, rb);
            CLQ_HIDE_REGISTERS();
        }
    }
    CLQ_UNROLL for (int j = 0; j < CLQ_NI; j++) {
        const uint c = column + (tile_of_warp + j) * 8 + lane % 4 * 2;
        CLQ_UNROLL for (int e = 0; e < 2; e++) {
            if (c + e >= n) continue;
            const float f = out == CLQ_OUT_S32 ? 0.0f : scale[c + e];
            CLQ_UNROLL for (int i = 0; i < CLQ_MI; i++) {
                const uint r = row + row_of_warp + 16 * i + lane / 4;
                const int top = e ? acc[i][j].y : acc[i][j].x, bottom = e ? acc[i][j].w : acc[i][j].z;
                if (r < m) clq_store(y, y_at + r * ldy + c + e, top + fold[c + e], f, out, zp, lo, hi);
                if (r + 8 < m) clq_store(y, y_at + (r + 8) * ldy + c + e, bottom + fold[c + e], f, out, zp, lo, hi);
            }
        }
    }
}
