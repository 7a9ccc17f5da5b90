/* SPDX-License-Identifier: Apache-2.0
 * Rows in passes over data that stays in the first-level cache. Sums run in 16 lanes by position. */
#include "ops/rows.h"

#include <float.h>
#include <stdint.h>

#include "ops/util.h"
#include "ops/vecmath.h"

enum { LANES = 16 };

/* A lane's worth of row as one value: gcc 12 does not vectorize reductions over arrays of lanes. */
typedef float vector __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));
typedef int32_t bits __attribute__((vector_size(LANES * sizeof(int32_t))));

/* These are macros because gcc splits vectors that are wider than the baseline's before it inlines a function. */
#define LARGER(a, b) ((vector)(((bits)(a) & (bits)((a) > (b))) | ((bits)(b) & ~(bits)((a) > (b)))))
/* The lanes that are width further on. */
#define FOLD(v, w) \
    __builtin_shuffle(v, (bits){0 ^ w, 1 ^ w, 2 ^ w, 3 ^ w, 4 ^ w, 5 ^ w, 6 ^ w, 7 ^ w, 8 ^ w, 9 ^ w, 10 ^ w, 11 ^ w, 12 ^ w, 13 ^ w, 14 ^ w, 15 ^ w})

/* clq_vec_exp for x <= 0; below -80 the result is 0: subnormal numbers would take hundreds of cycles each. */
static inline __attribute__((always_inline)) float exp_down(float x)
{
    const float magic = 12582912.0f, given = x;
    x = x < -80.0f ? -80.0f : x;
    float t = x * 1.44269504f + magic, n = t - magic;
    float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.381431939e-03f;
    p = p * r + 8.368850686e-03f;
    p = p * r + 4.166840017e-02f;
    p = p * r + 1.666651964e-01f;
    p = p * r + 4.999999404e-01f;
    p = p * (r * r) + r + 1.0f;
    p = p * clq_vec_from((clq_vec_bits(t) - clq_vec_bits(magic) + 127u) << 23);
    return given < -80.0f ? 0.0f : p;
}

/* y = x * scale + mask; returns the largest. */
CLQ_CLONES static float scores(float *y, const float *x, const float *mask, size_t n, float scale)
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
    most = LARGER(most, FOLD(most, 8));
    most = LARGER(most, FOLD(most, 4));
    most = LARGER(most, FOLD(most, 2));
    most = LARGER(most, FOLD(most, 1));
    top = most[0];
    for (; i < n; i++) {
        y[i] = x[i] * scale + (mask ? mask[i] : 0.0f);
        top = y[i] > top ? y[i] : top;
    }
    return top;
}

/* y = exp(y - top); returns the sum. */
CLQ_CLONES static float exponents(float *y, size_t n, float top)
{
    float all = 0;
    size_t i = 0;
    vector sum = {0};
    CLQ_IVDEP
    for (size_t k = 0; k < n; k++) y[k] = exp_down(y[k] - top);
    for (; i + LANES <= n; i += LANES) sum += *(const vector *)(y + i);
    sum += FOLD(sum, 8);
    sum += FOLD(sum, 4);
    sum += FOLD(sum, 2);
    sum += FOLD(sum, 1);
    all = sum[0];
    for (; i < n; i++) all += y[i];
    return all;
}

CLQ_CLONES static void multiply(float *y, size_t n, float by)
{
    for (size_t i = 0; i < n; i++) y[i] = y[i] * by;
}

void clq_rows_softmax(float *y, const float *x, const float *mask, size_t n, float scale)
{
    multiply(y, n, 1.0f / exponents(y, n, scores(y, x, mask, n, scale)));
}

/* exp(-q) is erfc(|x| / sqrt 2) for a polynomial q, so gelu(x) = max(x, 0) - |x| / 2 * exp(-q) needs neither a branch nor a
 * division. q is a minimax fit made for this project; beyond 4.2 its part is below 1e-8 and dropped. */
static inline __attribute__((always_inline)) float gelu(float x)
{
    float a = fabsf(x), t = a * 0.70710678f;
    a = t > 4.2f ? 0.0f : a;
    t = t > 4.2f ? 4.2f : t;
    float q = -3.355424269e-05f;
    q = q * t + 7.096878107e-05f;
    q = q * t + 2.257675165e-03f;
    q = q * t + -2.126792632e-02f;
    q = q * t + 1.038065180e-01f;
    q = q * t + 6.363700032e-01f;
    q = q * t + 1.128401518e+00f;
    q = q * t;
    return (x > 0.0f ? x : 0.0f) - 0.5f * a * exp_down(-q);
}

CLQ_CLONES static void apply_gelu(float *y, size_t n)
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

CLQ_CLONES static float largest_magnitude(const float *x, size_t n)
{
    const bits clear = (bits){0} + 0x7fffffff;
    vector most = {0};
    float top = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vector v = (vector)((bits)*(const vector *)(x + i) & clear);
        most = LARGER(v, most);
    }
    most = LARGER(most, FOLD(most, 8));
    most = LARGER(most, FOLD(most, 4));
    most = LARGER(most, FOLD(most, 2));
    most = LARGER(most, FOLD(most, 1));
    top = most[0];
    for (; i < n; i++) top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
    return top;
}

float clq_rows_scale(const float *x, size_t n)
{
    float scale = largest_magnitude(x, n) / 127.0f;
    return scale > FLT_MIN ? scale : FLT_MIN;
}
