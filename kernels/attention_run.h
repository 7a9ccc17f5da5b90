/* SPDX-License-Identifier: Apache-2.0
 * Attention as the vector versions share it. Lanes are query rows: scores lie as [key][row], so that softmax goes down the lanes
 * and needs no order of its own, and keys and values are read in place, one broadcast element at a time. A version includes this
 * behind its own
 *   vector, LANES, TILE                  TILE * 2 sums, 2 rows and an element fit the registers
 *   load, store, all, fused, times, plus, minus, larger, exp_down, quotient, settled   all(x): x in every lane; larger(a, b):
 *                                        a > b ? a : b; settled: NaN becomes the quiet one without a sign
 *   turn(arguments)                      clq_transpose_u32 */
#ifndef CLQ_KERNELS_ATTENTION_RUN_H
#define CLQ_KERNELS_ATTENTION_RUN_H

#include <math.h>
#include <string.h>

#include "kernels/functions.h"

#define ALWAYS static inline __attribute__((always_inline))
/* The sums of a tile stay in registers only where no loop over them is left. */
#define UNROLL _Pragma("GCC unroll 12")

enum { ROWS = 2 * LANES, CHUNK = 128 }; /* rows of a unit; keys whose shares stay in the first-level cache while they meet the values */

enum mask {
    NONE,
    SHARED, /* by the rows of a unit */
    APART   /* every row has its own, and they wait where the scores will be */
};

struct head {
    const float *k, *v, *mask; /* mask: of the unit's first row, or NULL */
    float *q, *scores, *sums;  /* scratch: [size][ROWS], [keys][ROWS], [size_v][ROWS] */
};

/* Rows a multiple of 2 KiB apart share so few sets of the first-level cache that they evict each other; heads of many rows copy them
 * then, once. README.md "Notes" has what that gains. */
static inline bool copies(const struct clq_attention_args *a)
{
    return a->rows >= 256 && a->k_step == 1 && (a->of_k.row % 512 == 0 || a->of_v.row % 512 == 0);
}

static inline void plan(struct clq_attention_args *a)
{
    a->scratch_bytes = ((a->size + a->keys + a->size_v) * ROWS + (copies(a) ? a->keys * (a->size + a->size_v) : 0)) * sizeof(float);
    a->units = a->batch * a->heads * ((a->rows + ROWS - 1) / ROWS);
}

/* Scores of n keys, and the largest so far. */
ALWAYS void score_tile(const struct clq_attention_args *a, const struct head *h, size_t t, size_t n, enum mask kind, vector top[2])
{
    const size_t row = a->of_k.row, step = a->k_step;
    const float *k = h->k + t * row, *q = h->q, *next = k + n * row;
    float *s = h->scores + t * ROWS;
    vector sum[TILE][2];
    UNROLL for (size_t j = 0; j < n; j++) sum[j][0] = sum[j][1] = all(0.0f);
    for (size_t d = 0; d < a->size; d++, q += ROWS, k += step) {
        if (d % 16 < n) __builtin_prefetch(next + d % 16 * row + d / 16 * 16); /* the next tile's rows, a line of each in turn */
        const vector q0 = load(q), q1 = load(q + LANES);
        UNROLL for (size_t j = 0; j < n; j++) {
            const vector x = all(k[j * row]);
            sum[j][0] = fused(x, q0, sum[j][0]);
            sum[j][1] = fused(x, q1, sum[j][1]);
        }
    }
    const vector scale = all(a->scale);
    UNROLL for (size_t j = 0; j < n; j++) {
        const vector shared = all(kind == SHARED ? h->mask[t + j] : 0.0f);
        UNROLL for (size_t i = 0; i < 2; i++) {
            float *at = s + j * ROWS + i * LANES;
            const vector v = fused(sum[j][i], scale, kind == APART ? load(at) : shared);
            store(at, v);
            top[i] = larger(v, top[i]);
        }
    }
}

/* Adds what keys first .. first + count - 1 give to n elements of the values, which begin at d. */
ALWAYS void value_tile(const struct clq_attention_args *a, const struct head *h, size_t first, size_t count, size_t d, size_t n)
{
    const size_t row = a->of_v.row;
    const float *v = h->v + first * row + d, *p = h->scores + first * ROWS;
    float *y = h->sums + d * ROWS;
    vector sum[TILE][2];
    UNROLL for (size_t j = 0; j < n; j++)
        UNROLL for (size_t i = 0; i < 2; i++) sum[j][i] = first > 0 ? load(y + j * ROWS + i * LANES) : all(0.0f);
    for (size_t t = count; t > 0; t--, p += ROWS, v += row) {
        __builtin_prefetch(v + 8 * row);
        const vector p0 = load(p), p1 = load(p + LANES);
        UNROLL for (size_t j = 0; j < n; j++) {
            const vector x = all(v[j]);
            sum[j][0] = fused(x, p0, sum[j][0]);
            sum[j][1] = fused(x, p1, sum[j][1]);
        }
    }
    UNROLL for (size_t j = 0; j < n; j++)
        UNROLL for (size_t i = 0; i < 2; i++) store(y + j * ROWS + i * LANES, sum[j][i]);
}

ALWAYS void scores_of(const struct clq_attention_args *a, const struct head *h, enum mask kind, vector top[2])
{
    vector most[2] = {all(-INFINITY), all(-INFINITY)};
    size_t t = 0;
    for (; t + TILE <= a->keys; t += TILE) score_tile(a, h, t, TILE, kind, most);
    for (; TILE > 8 && t + 8 <= a->keys; t += 8) score_tile(a, h, t, 8, kind, most);
    for (; t + 3 <= a->keys; t += 3) score_tile(a, h, t, 3, kind, most);
    for (; t < a->keys; t++) score_tile(a, h, t, 1, kind, most);
    top[0] = most[0];
    top[1] = most[1];
}

static void scores(const struct clq_attention_args *a, const struct head *h, enum mask kind, vector top[2])
{
    if (kind == APART) scores_of(a, h, APART, top);
    else if (kind == SHARED) scores_of(a, h, SHARED, top);
    else scores_of(a, h, NONE, top);
}

static void values(const struct clq_attention_args *a, const struct head *h, size_t first, size_t count)
{
    size_t d = 0;
    for (; d + TILE <= a->size_v; d += TILE) value_tile(a, h, first, count, d, TILE);
    for (; TILE > 8 && d + 8 <= a->size_v; d += 8) value_tile(a, h, first, count, d, 8);
    for (; d + 2 <= a->size_v; d += 2) value_tile(a, h, first, count, d, 2);
    for (; d < a->size_v; d++) value_tile(a, h, first, count, d, 1);
}

/* Scores become shares that lack the division by their total. */
static void shares(float *s, size_t count, const vector top[2], vector total[2])
{
    vector t0 = total[0], t1 = total[1];
    for (size_t t = 0; t < count; t++, s += ROWS) {
        const vector p0 = exp_down(minus(load(s), top[0])), p1 = exp_down(minus(load(s + LANES), top[1]));
        store(s, p0);
        store(s + LANES, p1);
        t0 = plus(t0, p0);
        t1 = plus(t1, p1);
    }
    total[0] = t0;
    total[1] = t1;
}

static void copy_rows(float *to, const float *from, size_t rows, size_t n, size_t row)
{
    for (size_t r = 0; r < rows; r++) memcpy(to + r * n, from + r * row, n * sizeof *to);
}

/* a->k and a->v are those of the head. */
static void unit(const struct clq_attention_args *a, size_t b, size_t n, size_t first)
{
    const size_t rows = a->rows - first < ROWS ? a->rows - first : ROWS;
    float *scratch = a->scratch;
    struct head h = {a->k, a->v, NULL, scratch, scratch + a->size * ROWS, scratch + (a->size + a->keys) * ROWS};
    if (a->mask) h.mask = a->mask + b * a->of_mask.batch + n * a->of_mask.head + first * a->of_mask.row;
    const enum mask kind = !h.mask ? NONE : a->of_mask.row == 0 ? SHARED : APART;
    if (rows < ROWS) memset(scratch, 0, (a->size + a->keys) * ROWS * sizeof *scratch); /* the other lanes compute as well */
    struct clq_transpose_args t = {a->q + b * a->of_q.batch + n * a->of_q.head + first * a->of_q.row, h.q, rows, a->size, a->of_q.row, ROWS};
    turn(&t);
    if (kind == APART) {
        t = (struct clq_transpose_args){h.mask, h.scores, rows, a->keys, a->of_mask.row, ROWS};
        turn(&t);
    }
    vector top[2], total[2] = {all(0.0f), all(0.0f)};
    scores(a, &h, kind, top);
    for (size_t at = 0; at < a->keys; at += CHUNK) {
        const size_t count = a->keys - at < CHUNK ? a->keys - at : CHUNK;
        shares(h.scores + at * ROWS, count, top, total);
        values(a, &h, at, count);
    }
    UNROLL for (size_t i = 0; i < 2; i++) {
        const vector share = quotient(all(1.0f), total[i]);
        for (size_t d = 0; d < a->size_v; d++) {
            float *at = h.sums + d * ROWS + i * LANES;
            store(at, settled(times(load(at), share)));
        }
    }
    t = (struct clq_transpose_args){h.sums, a->y + b * a->of_y.batch + n * a->of_y.head + first * a->of_y.row, a->size_v, rows, ROWS, a->of_y.row};
    turn(&t);
}

static inline void run(const struct clq_attention_args *a)
{
    const size_t blocks = (a->rows + ROWS - 1) / ROWS;
    float *k = (float *)a->scratch + (a->size + a->keys + a->size_v) * ROWS, *v = k + a->keys * a->size;
    struct clq_attention_args of = *a;
    for (size_t u = a->unit_begin; u < a->unit_end; u++) {
        const size_t b = u / blocks / a->heads, n = u / blocks % a->heads;
        if (u == a->unit_begin || u % blocks == 0) {
            of.k = a->k + b * a->of_k.batch + n * a->of_k.head;
            of.v = a->v + b * a->of_v.batch + n * a->of_v.head;
            if (copies(a)) {
                copy_rows(k, of.k, a->keys, a->size, a->of_k.row);
                copy_rows(v, of.v, a->keys, a->size_v, a->of_v.row);
                of.k = k;
                of.v = v;
                of.of_k.row = a->size;
                of.of_v.row = a->size_v;
            }
        }
        unit(&of, b, n, u % blocks * ROWS);
    }
}

#endif
