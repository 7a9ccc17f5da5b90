/* SPDX-License-Identifier: Apache-2.0
 * Rows in passes over data that stays in the first-level cache. Sums run in 16 lanes by position. */
#include "ops/rows.h"

#include <float.h>
#include <stdint.h>

#include "kernels/exponent.h"
#include "ops/util.h"
#include "ops/vecmath.h"

enum { LANES = 16 };

/* Where instructions fuse multiply and add, their clones do; elsewhere a function does, to the same bits. */
#define FUSED(a, b, c) __builtin_fmaf(a, b, c)
#if defined(__x86_64__) && defined(CLQ_HAVE_CLONES)
#define FUSED_CLONES __attribute__((target_clones("avx512f", "arch=haswell", "default")))
#else
#define FUSED_CLONES
#endif

/* A lane's worth of row as one value: gcc 12 does not vectorize reductions over arrays of lanes. */
typedef float vector __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));
typedef int32_t bits __attribute__((vector_size(LANES * sizeof(int32_t))));

/* These are macros because gcc splits vectors that are wider than the baseline's before it inlines a function. */
#define LARGER(a, b) ((vector)(((bits)(a) & (bits)((a) > (b))) | ((bits)(b) & ~(bits)((a) > (b)))))
/* The lanes that are width further on. */
#define FOLD(v, w) \
    __builtin_shuffle(v, (bits){0 ^ w, 1 ^ w, 2 ^ w, 3 ^ w, 4 ^ w, 5 ^ w, 6 ^ w, 7 ^ w, 8 ^ w, 9 ^ w, 10 ^ w, 11 ^ w, 12 ^ w, 13 ^ w, 14 ^ w, 15 ^ w})
#define OTHER_HALVES(v, JOIN) (v = JOIN(v, FOLD(v, 8)), v = JOIN(v, FOLD(v, 4)), v = JOIN(v, FOLD(v, 2)), v = JOIN(v, FOLD(v, 1)))
#define SUM(a, b) ((a) + (b))
/* Every lane becomes the sum, or the largest, of all. */
#define SUM_LANES(v) OTHER_HALVES(v, SUM)
#define LARGEST_LANE(v) OTHER_HALVES(v, LARGER)

/* y = x * scale + mask; returns the largest. */
static inline __attribute__((always_inline)) float scores(float *y, const float *x, const float *mask, size_t n, float scale)
{
    float top = -INFINITY;
    size_t i = 0;
    vector most = (vector){0} - INFINITY;
    for (; i + LANES <= n; i += LANES) {
        vector v = *(const vector *)(x + i) * scale;
        if (mask) v += *(const vector *)(mask + i);
        *(vector *)(y + i) = v;
        most = LARGER(v, most);
    }
    LARGEST_LANE(most);
    top = most[0];
    for (; i < n; i++) {
        y[i] = x[i] * scale + (mask ? mask[i] : 0.0f);
        top = y[i] > top ? y[i] : top;
    }
    return top;
}

static inline __attribute__((always_inline)) float sum_of(const float *y, size_t n)
{
    float all = 0;
    size_t i = 0;
    vector sum = {0};
    for (; i + LANES <= n; i += LANES) sum += *(const vector *)(y + i);
    SUM_LANES(sum);
    all = sum[0];
    for (; i < n; i++) all += y[i];
    return all;
}

/* Each pass takes all rows, so that one row's sum and largest need not be there before the next row begins. */
FUSED_CLONES static void softmax_rows(float *y, const float *x, const float *const *mask, size_t rows, size_t n, float scale)
{
    float top[CLQ_ROWS_TOGETHER], by[CLQ_ROWS_TOGETHER];
    for (size_t r = 0; r < rows; r++) top[r] = scores(y + r * n, x + r * n, mask ? mask[r] : NULL, n, scale);
    for (size_t r = 0; r < rows; r++) {
        float *row = y + r * n;
        const float most = top[r];
        CLQ_IVDEP
        for (size_t i = 0; i < n; i++) row[i] = clq_exp_down(row[i] - most);
    }
    for (size_t r = 0; r < rows; r++) by[r] = 1.0f / sum_of(y + r * n, n);
    for (size_t r = 0; r < rows; r++) {
        float *row = y + r * n;
        const float share = by[r];
        CLQ_IVDEP
        for (size_t i = 0; i < n; i++) row[i] *= share;
    }
}

void clq_rows_softmax(float *y, const float *x, const float *const *mask, size_t rows, size_t n, float scale)
{
    softmax_rows(y, x, mask, rows, n, scale);
}

CLQ_CLONES static void multiply(float *y, size_t n, float by)
{
    for (size_t i = 0; i < n; i++) y[i] = y[i] * by;
}

/* 2^(a * q) is erfc(a / sqrt 2) for a polynomial q, so gelu(x) = max(x, 0) - |x| / 2 * 2^(|x| * q) needs neither a branch nor a
 * division. q is a minimax fit made for this project, weighted by what an error of q means for the result, up to 5.94: beyond,
 * erfc's part stays at 9e-9. 2^r is the fit of clq_exp_near, times -1 / 2. NaN is in the maximum. */
static inline __attribute__((always_inline)) float gelu(float x)
{
    const float magic = 12582912.0f + 127.0f;
    const int32_t size = (int32_t)(clq_float_bits(x) & 0x7fffffffu), most = 0x40be147b; /* 5.94: numbers without a sign compare as integers */
    const float a = clq_float_from((uint32_t)(size < most ? size : most));
    float q = FUSED(2.99241994e-05f, a, -7.39874313e-04f);
    q = FUSED(q, a, 7.97746298e-03f);
    q = FUSED(q, a, -5.32381869e-02f);
    q = FUSED(q, a, -4.58915686e-01f);
    q = FUSED(q, a, -1.15114708e+00f);
    float e = a * q, t = e + magic, r = e - (t - magic);
    float p = FUSED(-6.632363655e-04f, r, -4.835756496e-03f);
    p = FUSED(p, r, -2.775366790e-02f);
    p = FUSED(p, r, -1.201112121e-01f);
    p = FUSED(p, r, -3.465735018e-01f);
    p = FUSED(p, r, -0.5f);
    return FUSED(a, p * clq_float_from(clq_float_bits(t) << 23), 0.0f > x ? 0.0f : x);
}

FUSED_CLONES static void apply_gelu(float *y, size_t n)
{
    CLQ_IVDEP
    for (size_t i = 0; i < n; i++) y[i] = gelu(y[i]);
}

CLQ_CLONES static void apply_relu(float *y, size_t n)
{
    CLQ_IVDEP
    for (size_t i = 0; i < n; i++) y[i] = y[i] > 0.0f ? y[i] : 0.0f;
}

CLQ_CLONES static void scale_and_add(float *restrict y, const float *restrict bias, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++) y[i] = y[i] * scale + bias[i];
}

CLQ_CLONES static void add(float *restrict y, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = y[i] + x[i];
}

bool clq_rows_takes_act(enum clq_act act)
{
    return act == CLQ_ACT_NONE || act == CLQ_ACT_RELU || act == CLQ_ACT_GELU;
}

void clq_rows_finish(float *y, size_t begin, size_t end, size_t n, const struct clq_rows_epilogue *e)
{
    for (size_t r = begin; r < end; r++) {
        float *row = y + r * n;
        if (e->scale && e->bias) scale_and_add(row, e->bias, n, e->scale[r]);
        else if (e->scale) multiply(row, n, e->scale[r]);
        else if (e->bias) add(row, e->bias, n);
        if (e->residual) add(row, e->residual + r * n, n);
        if (e->act == CLQ_ACT_GELU) apply_gelu(row, n);
        else if (e->act == CLQ_ACT_RELU) apply_relu(row, n);
    }
}

/* The sum of x - from, or of its square. Four parts, so that no addition waits for the one before. */
static inline __attribute__((always_inline)) float sum_beyond(const float *x, size_t n, float from, bool square)
{
    vector part[4] = {{0}};
    size_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        const vector *at = (const vector *)(x + i);
        const vector a = at[0] - from, b = at[1] - from, c = at[2] - from, d = at[3] - from;
        part[0] += square ? (vector)(a * a) : a;
        part[1] += square ? (vector)(b * b) : b;
        part[2] += square ? (vector)(c * c) : c;
        part[3] += square ? (vector)(d * d) : d;
    }
    for (; i + LANES <= n; i += LANES) {
        const vector a = *(const vector *)(x + i) - from;
        part[0] += square ? (vector)(a * a) : a;
    }
    vector sum = (part[0] + part[1]) + (part[2] + part[3]);
    SUM_LANES(sum);
    float all = sum[0];
    for (; i < n; i++) {
        const float d = x[i] - from;
        all += square ? d * d : d;
    }
    return all;
}

/* As softmax_rows: each pass takes all rows. */
CLQ_CLONES static void normalize_rows(float *y, const float *x, size_t rows, size_t n, const float *scale, const float *shift, float epsilon)
{
    float mean[CLQ_ROWS_TOGETHER], by[CLQ_ROWS_TOGETHER];
    for (size_t r = 0; r < rows; r++) mean[r] = sum_beyond(x + r * n, n, 0, false) / (float)n;
    for (size_t r = 0; r < rows; r++) by[r] = 1.0f / sqrtf(sum_beyond(x + r * n, n, mean[r], true) / (float)n + epsilon);
    for (size_t r = 0; r < rows; r++) {
        float *to = y + r * n;
        const float *from = x + r * n, middle = mean[r], factor = by[r];
        if (scale && shift) {
            CLQ_IVDEP
            for (size_t i = 0; i < n; i++) to[i] = (from[i] - middle) * factor * scale[i] + shift[i];
        } else if (scale) {
            CLQ_IVDEP
            for (size_t i = 0; i < n; i++) to[i] = (from[i] - middle) * factor * scale[i];
        } else {
            CLQ_IVDEP
            for (size_t i = 0; i < n; i++) to[i] = (from[i] - middle) * factor + (shift ? shift[i] : 0.0f);
        }
    }
}

void clq_rows_layernorm(float *y, const float *x, size_t rows, size_t n, const float *scale, const float *shift, float epsilon)
{
    normalize_rows(y, x, rows, n, scale, shift, epsilon);
}

CLQ_CLONES static float largest_magnitude(const float *x, size_t n)
{
    const bits clear = (bits){0} + 0x7fffffff;
    vector most = {0}, second = {0}, third = {0}, fourth = {0}; /* so that no comparison waits for the one before */
    float top = 0;
    size_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        const vector *at = (const vector *)(x + i);
        const vector a = (vector)((bits)at[0] & clear), b = (vector)((bits)at[1] & clear), c = (vector)((bits)at[2] & clear),
                     d = (vector)((bits)at[3] & clear);
        most = LARGER(a, most);
        second = LARGER(b, second);
        third = LARGER(c, third);
        fourth = LARGER(d, fourth);
    }
    most = LARGER(second, most);
    third = LARGER(fourth, third);
    most = LARGER(third, most);
    for (; i + LANES <= n; i += LANES) {
        vector v = (vector)((bits)*(const vector *)(x + i) & clear);
        most = LARGER(v, most);
    }
    LARGEST_LANE(most);
    top = most[0];
    for (; i < n; i++) top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
    return top;
}

float clq_rows_scale(const float *x, size_t n)
{
    float scale = largest_magnitude(x, n) / 127.0f;
    return scale > FLT_MIN ? scale : FLT_MIN;
}
