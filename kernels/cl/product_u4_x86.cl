/* SPDX-License-Identifier: Apache-2.0
 * Product of 8-bit rows with 4-bit weights in groups for OpenCL on x86 CPUs with AVX512-VNNI (family F1), bits of
 * ref/gemm_u4.c. vpdpbusd is inline assembly as in product_x86.cl, and only an exact self-test admits these kernels.
 * Weight object and parameters as in gemm_u4.cl. 2-D, local size (1, 1): group = (block of rows, panel of 64 columns); the first
 * index runs over the rows, so neighbors share the panel in the cache. No barrier.
 *   CLQ_FEW 0: gemm_s8u4, blocks of up to 112 rows, a multiple of 7, by the number of groups; rows are codes + 128 (flip is not
 *              read). Weights are unpacked as w - z, a strip of 32 columns and a segment at a time, or 1,024 elements of a
 *              longer group, into local memory. Sums begin at -128 times the sum of w - z. A tile is 7 rows x 32 columns, or
 *              4 x 32.
 *   CLQ_FEW 1: gemv_s8u4, blocks of 4 rows. Nibbles are split in registers while the weights stream by, and stay unsigned;
 *              sums of a go along. Tiles of 1 x 64, 2 x 64 and 4 x 32.
 * Rows past the end repeat the last row and are not stored. */
#ifndef CLQ_COMMON_CLH
#include "common.clh"
#endif
#if !defined(__x86_64__) || !defined(__AVX512F__)
#error "product_u4_x86.cl is for x86 CPUs with AVX-512"
#endif
#ifndef CLQ_FEW
#define CLQ_FEW 0
#endif
#define CLQ_GROUP_ROWS 112 /* at most; a multiple of 7 */
#define CLQ_SEGMENT 1024u
#define CLQ_LEVELS 15

struct weight {
    global const uchar *data, *zero; /* of the panel */
    global const void *scale;
    global const float *bias; /* of the panel; NULL: none */
    uint k, group, count, per; /* per: groups of a segment */
    int half_scales;
};

struct result {
    global const float *scale_a;
    global float *y;
    ulong ldy;
    int columns; /* of the panel that are there */
};

static inline struct weight clq_weight(global const uchar *w, uint n, uint k, uint group, int half_scales, int zeros, int biased)
{
    const uint count = (k + group - 1) / group, panel = get_group_id(1);
    const ulong data = (ulong)(k + 7) / 8 * 256, scales = (ulong)count * (half_scales ? 128 : 256);
    const ulong bytes = data + scales + (zeros ? (ulong)count * 64 : 0);
    global const uchar *from = w + panel * bytes;
    global const float *bias = (global const float *)(w + (n + 63) / 64 * bytes) + panel * 64;
    const struct weight r = {from, zeros ? from + data + scales : 0, from + data, biased ? bias : 0,
                             k, group, count, (CLQ_SEGMENT + group - 1) / group, half_scales};
    return r;
}

/* Sixteen scales from number at on, in the panel's order. */
static inline float16 clq_scales(const struct weight *w, ulong at)
{
    float16 f;
    if (!w->half_scales) return ((global const float16 *)w->scale)[at / 16];
    __asm__("vcvtph2ps %1,%0" : "=v"(f) : "m"(((global const ushort16 *)w->scale)[at / 16]));
    return f;
}

static inline int16 clq_zeros(const struct weight *w, ulong at)
{
    return w->zero ? convert_int16(((global const uchar16 *)w->zero)[at / 16]) : (int16)(8);
}

static inline float16 clq_fma(float16 a, float16 b, float16 c)
{
    __asm__("vfmadd231ps %2,%1,%0" : "+v"(c) : "v"(a), "v"(b));
    return c;
}

/* sum + products of unsigned and signed bytes. */
static inline int16 clq_dots(int16 sum, int16 u, int16 s)
{
    __asm__("vpdpbusd %2,%1,%0" : "+v"(sum) : "v"(u), "v"(s));
    return sum;
}

/* Bytes p[0..n) as the word number part of them, zero behind. */
static inline uint clq_tail(global const uchar *p, uint n, uint part)
{
    uint v = 0;
    for (uint i = 4 * part; i < min(n, 4 * part + 4); i++) v |= (uint)p[i] << (8 * (i & 3));
    return v;
}

/* Which of the segments that wait are added to a sum of number segment, as bits; the last one takes them all. */
static inline uint clq_merged(uint segment, int last) { return last ? segment : segment & ~(segment + 1); }

/* Sixteen finished sums of one row. */
static void clq_put(const struct weight *w, const struct result *r, uint row, uint column, float16 f)
{
    const int rest = r->columns - (int)column;
    global float *y = r->y + row * r->ldy + column;
    if (rest <= 0) return;
    f *= r->scale_a[row];
    if (w->bias) f += ((global const float16 *)w->bias)[column / 16];
    if (rest >= 16) {
        __asm__("vmovups %1,%0" : "=m"(*(global float16 *)y) : "v"(f));
        return;
    }
    float part[16];
    vstore16(f, 0, part);
    for (int i = 0; i < rest; i++) y[i] = part[i];
}

#if CLQ_FEW == 0
#define CLQ_CHUNK 2048 /* elements that are unpacked at a time, at most: a segment of groups of up to 1,024 */
#define CLQ_MOST_GROUPS 128
#define CLQ_SLOT (CLQ_GROUP_ROWS * 2)

struct block {
    global const uchar *a; /* first row and element */
    ulong lda;
    uint rows, steps, group_steps, groups, rest; /* steps of 8 elements; rest: elements of a last step that is not whole */
    int resume, open;      /* it goes on in a group, the group goes on behind it */
    uint segment, column;
    int last;              /* segment of all */
    /* Pairs of vectors, per group, per row, per step of 4, per group, and per level and row. */
    local int16 *init, *sums; /* sums: as float where they are of a segment, not of a group that goes on */
    local int16 *data;
    local float16 *scale, *level;
};

/* A strip of a chunk of K: w - z, -128 times their sums per group, and scales. */
static void clq_unpack(const struct block *b, const struct weight *w, uint first)
{
    const int16 low = 0x0f0f0f0f, ones = 0x01010101;
    global const int16 *from = (global const int16 *)(w->data + first / 8 * 256ul) + b->column / 16;
    local int16 *to = b->data;
    uint left = b->steps;
    for (uint g = 0; g < b->groups; g++) {
        const ulong at = (first / w->group + g) * 64ul + b->column;
        const uint steps = min(left, b->group_steps);
        int16 z[2], sum[2] = {0, 0};
        left -= steps;
        CLQ_UNROLL for (int j = 0; j < 2; j++) {
            z[j] = clq_zeros(w, at + 16 * j) * 0x01010101;
            b->scale[2 * g + j] = clq_scales(w, at + 16 * j);
        }
        for (uint s = 0; s < steps; s++, from += 4, to += 4) {
            CLQ_UNROLL for (int j = 0; j < 2; j++) {
                const int16 v = from[j];
                int16 even = v & low, odd = (v >> 4) & low;
                __asm__("vpsubb %1,%0,%0" : "+v"(even) : "v"(z[j]));
                __asm__("vpsubb %1,%0,%0" : "+v"(odd) : "v"(z[j]));
                sum[j] = clq_dots(clq_dots(sum[j], ones, even), ones, odd);
                to[j] = even;
                to[2 + j] = odd;
            }
        }
        CLQ_UNROLL for (int j = 0; j < 2; j++) b->init[2 * g + j] = sum[j] * -128;
    }
}

/* A sum of the segment is finished: it meets those that wait, and waits itself or is stored. */
static void clq_close(const struct block *b, const struct weight *w, const struct result *r, uint row, uint j)
{
    local float16 *level = b->level + 2 * row + j;
    float16 f = as_float16(b->sums[2 * row + j]);
    for (uint merged = clq_merged(b->segment, b->last), l = 0; merged >> l; l++)
        if (merged >> l & 1) f = level[l * CLQ_SLOT] + f;
    if (b->last) clq_put(w, r, row, b->column + 16 * j, f);
    else level[popcount(b->segment & ~(b->segment + 1)) * CLQ_SLOT] = f;
}

/* Two sums of a row += the four bytes (u8) at p x 32 columns. The broadcast is part of the assembly, see product_x86.cl. */
#define CLQ_ROW(sum, p, w)                                                                             \
    __asm__("vpbroadcastd %3,%2\n\tvpdpbusd %4,%2,%0\n\tvpdpbusd %5,%2,%1"                             \
            : "+v"((sum)[0]), "+v"((sum)[1]), "=&v"(t)                                                 \
            : "m"(*(p)), "v"((w)[0]), "v"((w)[1]))
#define CLQ_STEP(R, p)                                                                                 \
    do {                                                                                               \
        int16 v[2], t;                                                                                 \
        CLQ_UNROLL for (int j = 0; j < 2; j++) v[j] = data[j];                                         \
        CLQ_UNROLL for (int i = 0; i < R; i++) CLQ_ROW(sum[i], p, v);                                  \
        data += 2;                                                                                     \
    } while (0)

#define CLQ_DEFINE_TILE(name, R)                                                                       \
    static inline void name(const struct block *b, uint row)                                           \
    {                                                                                                  \
        global const uchar *from[R];                                                                   \
        local const int16 *data = b->data;                                                             \
        float16 f[R][2];                                                                               \
        uint left = b->steps;                                                                          \
        ulong at = 0;                                                                                  \
        CLQ_UNROLL for (int i = 0; i < R; i++) {                                                       \
            from[i] = b->a + min(row + i, b->rows - 1) * b->lda;                                       \
            f[i][0] = f[i][1] = 0.0f;                                                                  \
        }                                                                                              \
        for (uint g = 0; g < b->groups; g++) {                                                         \
            const uint steps = min(left, b->group_steps);                                              \
            const int tail = b->rest && g + 1 == b->groups;                                            \
            const ulong end = at + 8ul * (steps - tail);                                               \
            int16 sum[R][2];                                                                           \
            left -= steps;                                                                             \
            CLQ_UNROLL for (int i = 0; i < R; i++)                                                     \
                CLQ_UNROLL for (int j = 0; j < 2; j++) sum[i][j] = b->init[2 * g + j];                 \
            if (b->resume)                                                                             \
                CLQ_UNROLL for (int i = 0; i < R; i++)                                                 \
                    CLQ_UNROLL for (int j = 0; j < 2; j++) sum[i][j] += b->sums[2 * (row + i) + j];    \
            for (; at < end; at += 8) {                                                                \
                CLQ_STEP(R, (global const int *)(from[i] + at));                                       \
                CLQ_STEP(R, (global const int *)(from[i] + at + 4));                                   \
            }                                                                                          \
            if (tail) {                                                                                \
                uint last[2 * R];                                                                      \
                _Pragma("unroll 1") for (int i = 0; i < 2 * R; i++)                                    \
                    last[i] = clq_tail(from[i / 2] + at, b->rest, i & 1);                              \
                CLQ_STEP(R, last + 2 * i);                                                             \
                CLQ_STEP(R, last + 2 * i + 1);                                                         \
            }                                                                                          \
            if (b->open) {                                                                             \
                CLQ_UNROLL for (int i = 0; i < R; i++)                                                 \
                    CLQ_UNROLL for (int j = 0; j < 2; j++) b->sums[2 * (row + i) + j] = sum[i][j];     \
                return;                                                                                \
            }                                                                                          \
            CLQ_UNROLL for (int j = 0; j < 2; j++) {                                                   \
                const float16 scale = b->scale[2 * g + j];                                             \
                CLQ_UNROLL for (int i = 0; i < R; i++)                                                 \
                    f[i][j] = clq_fma(convert_float16(sum[i][j]), scale, f[i][j]);                     \
            }                                                                                          \
        }                                                                                              \
        CLQ_UNROLL for (int i = 0; i < R; i++)                                                         \
            CLQ_UNROLL for (int j = 0; j < 2; j++) b->sums[2 * (row + i) + j] = as_int16(f[i][j]);     \
    }

CLQ_DEFINE_TILE(clq_tile_7x32, 7)
CLQ_DEFINE_TILE(clq_tile_4x32, 4)

__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void gemm_s8u4(global const uchar *a, ulong a_at, ulong lda, global const float *scale_a, ulong s_at, global const uchar *w,
                      ulong w_at, global float *y, ulong y_at, ulong ldy, uint m, uint n, uint k, uint group, int flip,
                      int half_scales, int zeros, int biased, uint pieces)
{
    local int16 data[CLQ_CHUNK / 4 * 2], init[CLQ_MOST_GROUPS * 2], sums[CLQ_SLOT];
    local float16 scale[CLQ_MOST_GROUPS * 2], level[CLQ_LEVELS * CLQ_SLOT];
    const uint each = (m + get_num_groups(0) - 1) / get_num_groups(0), rows = (each + 6) / 7 * 7;
    const uint row = get_group_id(0) * rows, column = get_group_id(1) * 64;
    if (row >= m) return;
    const struct weight weight = clq_weight(w + w_at, n, k, group, half_scales, zeros, biased);
    const struct result r = {scale_a + s_at + row, y + y_at + row * ldy + column, ldy, (int)(n - column)};
    const int is_long = group > CLQ_SEGMENT;
    struct block b = {.lda = lda, .rows = min(m - row, rows), .group_steps = (group + 7) / 8, .init = init,
                      .sums = sums, .data = data, .scale = scale, .level = level};
    for (b.column = 0; b.column < min(n - column, 64u); b.column += 32) {
        b.segment = 0;
        for (uint first = 0, end; first < k; first = end) {
            const uint opens = first / group * group, closes = min(k - opens, group * weight.per) + opens;
            end = is_long ? min(closes - first, CLQ_SEGMENT) + first : closes;
            b.a = a + a_at + row * lda + first;
            b.steps = (end - first + 7) / 8;
            b.rest = (end - first) & 7;
            b.groups = is_long ? 1 : (end - first + group - 1) / group;
            b.resume = first > opens;
            b.open = end < closes;
            b.last = end == k;
            clq_unpack(&b, &weight, first);
            for (uint at = 0; at < b.rows;) {
                const uint left = b.rows - at;
                const int four = left <= 4 || left == 8;
                if (four) clq_tile_4x32(&b, at);
                else clq_tile_7x32(&b, at);
                at += four ? 4 : 7;
            }
            if (b.open) continue;
            _Pragma("unroll 1") for (uint i = 0; i < 2 * b.rows; i++) clq_close(&b, &weight, &r, i / 2, i % 2);
            b.segment++;
        }
    }
}

#else
/* The bytes of the operand's word at p as signed codes in all lanes. */
#define CLQ_SPREAD(word) ((int16)(as_int(word) ^ flip))

#define CLQ_FEW_STEP(R, NV, word)                                                                      \
    do {                                                                                               \
        int16 x[R][2];                                                                                 \
        CLQ_UNROLL for (int i = 0; i < R; i++)                                                         \
            CLQ_UNROLL for (int h = 0; h < 2; h++) {                                                   \
                x[i][h] = CLQ_SPREAD(word);                                                            \
                of_a[i] = clq_dots(of_a[i], ones, x[i][h]);                                            \
            }                                                                                          \
        CLQ_UNROLL for (int j = 0; j < NV; j++) {                                                      \
            const int16 v = from[j];                                                                   \
            const int16 even = v & low, odd = (v >> 4) & low;                                          \
            __asm__ volatile("prefetcht0 %0" : : "m"(from[64 + j]));                                   \
            CLQ_UNROLL for (int i = 0; i < R; i++)                                                     \
                sum[i][j] = clq_dots(clq_dots(sum[i][j], even, x[i][0]), odd, x[i][1]);                \
        }                                                                                              \
        from += 4;                                                                                     \
        at += 8;                                                                                       \
    } while (0)

#define CLQ_WORD(i, h) (*(global const uint *)(row[i] + at + 4 * (h)))

/* All of K for R rows, of which rows are there, and 16 NV columns from column on. */
#define CLQ_DEFINE_FEW(name, R, NV)                                                                    \
    static inline void name(const struct weight *w, const struct result *r, global const uchar *a, ulong lda, uint rows, \
                            uint column, int flip)                                                     \
    {                                                                                                  \
        const int16 low = 0x0f0f0f0f, ones = 0x01010101;                                               \
        global const int16 *from = (global const int16 *)w->data + column / 16;                        \
        global const uchar *row[R];                                                                    \
        float16 level[CLQ_LEVELS][R * NV];                                                             \
        uint segment = 0;                                                                              \
        ulong at = 0;                                                                                  \
        CLQ_UNROLL for (int i = 0; i < R; i++) row[i] = a + min((uint)i, rows - 1) * lda;              \
        for (uint first = 0; first < w->count; first += w->per, segment++) {                           \
            float16 f[R][NV];                                                                          \
            CLQ_UNROLL for (int i = 0; i < R * NV; i++) f[i / NV][i % NV] = 0.0f;                      \
            for (uint g = first; g < min(first + w->per, w->count); g++) {                             \
                const ulong end = min(w->k - at, (ulong)w->group) + at;                                \
                int16 sum[R][NV], of_a[R];                                                             \
                CLQ_UNROLL for (int i = 0; i < R; i++) {                                               \
                    of_a[i] = 0;                                                                       \
                    CLQ_UNROLL for (int j = 0; j < NV; j++) sum[i][j] = 0;                             \
                }                                                                                      \
                while (at + 8 <= end) CLQ_FEW_STEP(R, NV, CLQ_WORD(i, h));                             \
                if (at < end) {                                                                        \
                    uint last[R][2];                                                                   \
                    _Pragma("unroll 1") for (int i = 0; i < 2 * R; i++)                                \
                        last[i / 2][i & 1] = clq_tail(row[i / 2] + at, (uint)(end - at), i & 1);       \
                    CLQ_FEW_STEP(R, NV, last[i][h]); /* codes behind the end are z */                  \
                }                                                                                      \
                CLQ_UNROLL for (int j = 0; j < NV; j++) {                                              \
                    const int16 z = clq_zeros(w, g * 64ul + column + 16 * j);                          \
                    const float16 s = clq_scales(w, g * 64ul + column + 16 * j);                       \
                    CLQ_UNROLL for (int i = 0; i < R; i++)                                             \
                        f[i][j] = clq_fma(convert_float16(sum[i][j] - z * of_a[i]), s, f[i][j]);       \
                }                                                                                      \
            }                                                                                          \
            const int last = first + w->per >= w->count;                                               \
            const uint merged = clq_merged(segment, last), keep = popcount(segment & ~(segment + 1));  \
            float16 part[R * NV]; /* the sums stay in registers up to here */                          \
            CLQ_UNROLL for (int i = 0; i < R * NV; i++) part[i] = f[i / NV][i % NV];                   \
            _Pragma("unroll 1") for (int i = 0; i < R * NV; i++) {                                     \
                float16 v = part[i];                                                                   \
                for (uint l = 0; merged >> l; l++)                                                     \
                    if (merged >> l & 1) v = level[l][i] + v;                                          \
                if (!last) level[keep][i] = v;                                                         \
                else if (i / NV < (int)rows) clq_put(w, r, i / NV, column + i % NV * 16, v);           \
            }                                                                                          \
        }                                                                                              \
    }

CLQ_DEFINE_FEW(clq_few_1x64, 1, 4)
CLQ_DEFINE_FEW(clq_few_2x64, 2, 4)
CLQ_DEFINE_FEW(clq_few_4x32, 4, 2)

__attribute__((reqd_work_group_size(1, 1, 1)))
kernel void gemv_s8u4(global const uchar *a, ulong a_at, ulong lda, global const float *scale_a, ulong s_at, global const uchar *w,
                      ulong w_at, global float *y, ulong y_at, ulong ldy, uint m, uint n, uint k, uint group, int flip,
                      int half_scales, int zeros, int biased, uint pieces)
{
    const uint row = get_group_id(0) * 4, column = get_group_id(1) * 64, rows = min(m - row, 4u);
    const struct weight weight = clq_weight(w + w_at, n, k, group, half_scales, zeros, biased);
    const struct result r = {scale_a + s_at + row, y + y_at + row * ldy + column, ldy, (int)(n - column)};
    const int turn = flip ? 0x80808080 : 0;
    a += a_at + row * lda;
    if (rows == 1) clq_few_1x64(&weight, &r, a, lda, rows, 0, turn);
    else if (rows == 2) clq_few_2x64(&weight, &r, a, lda, rows, 0, turn);
    else
        for (uint c = 0; c < min(n - column, 64u); c += 32) clq_few_4x32(&weight, &r, a, lda, rows, c, turn);
}
#endif
