/* SPDX-License-Identifier: Apache-2.0
 * Product with 4-bit weights in groups, the specification: exact sums inside a group, one chain of fused multiply-adds per
 * segment, segments added as neighbors. One unit is one row; nothing is packed. */
#include <math.h>

#include "kernels/functions.h"
#include "kernels/limbs.h"
#include "kernels/ref/half.h"

enum { LEVELS = 64 };

void clq_gemm_s8u4_plan_ref(struct clq_gemm_u4_args *g)
{
    g->packed_bytes = 0;
    g->scratch_bytes = 0;
    g->units = g->m;
}

void clq_gemm_s8u4_pack_ref(struct clq_gemm_u4_args *g)
{
    (void)g;
}

static float scale_at(const struct clq_gemm_u4_args *g, size_t at)
{
    return g->scale_f16 ? clq_half_ref(((const uint16_t *)g->scale)[at]) : ((const float *)g->scale)[at];
}

static int weight_at(const struct clq_gemm_u4_args *g, size_t n, size_t k)
{
    return g->weight[n * ((g->k + 1) / 2) + k / 2] >> (k % 2 * 4) & 15;
}

/* The sum of elements begin .. end - 1 of a row of 8 bits, which are of one group. */
static float sum_codes(const struct clq_gemm_u4_args *g, size_t row, size_t n, size_t begin, size_t end, int zero)
{
    int64_t sum = 0;
    for (size_t k = begin; k < end; k++) {
        const size_t at = row * g->lda + k;
        const int a = g->flipped ? ((const uint8_t *)g->a)[at] - 128 : ((const int8_t *)g->a)[at];
        sum += a * (weight_at(g, n, k) - zero);
    }
    return (float)sum;
}

static float add_codes(const struct clq_gemm_u4_args *g, size_t row, size_t n, size_t begin, size_t end, int zero, float scale, float f)
{
    return fmaf(sum_codes(g, row, n, begin, end, zero), scale, f);
}

/* The same of a row with one scale per group. */
static float add_scaled(const struct clq_gemm_u4_args *g, size_t row, size_t n, size_t begin, size_t end, int zero, float scale, float f)
{
    const float unit = g->scale_a[row * ((g->k - 1) / g->group + 1) + begin / g->group];
    return fmaf(sum_codes(g, row, n, begin, end, zero) * unit, scale, f);
}

static float real_at(const struct clq_gemm_u4_args *g, size_t at)
{
    float v;
    memcpy(&v, (const char *)g->a + at * sizeof v, sizeof v);
    return v;
}

/* The same of a real row, in pieces. */
static float add_reals(const struct clq_gemm_u4_args *g, size_t row, size_t n, size_t begin, size_t end, int zero, float scale, float f)
{
    const size_t x = row * g->lda;
    for (size_t stop; begin < end; begin = stop) {
        uint32_t most = 0;
        int32_t high = 0, low = 0;
        stop = end - begin < CLQ_U4_PIECE ? end : begin + CLQ_U4_PIECE;
        for (size_t k = begin; k < stop; k++) {
            const float v = real_at(g, x + k);
            uint32_t bits;
            memcpy(&bits, &v, sizeof bits);
            bits &= INT32_MAX;
            if (bits > most) most = bits;
        }
        const struct clq_limbs l = clq_limbs_of(most);
        for (size_t k = begin; k < stop && isfinite(l.unit); k++) {
            const int32_t q = (int32_t)rintf(real_at(g, x + k) * l.inverse), w = weight_at(g, n, k) - zero;
            const int32_t least = ((q + 128) & 255) - 128;
            high += (q - least) / 256 * w;
            low += least * w;
        }
        f = fmaf(fmaf((float)high, 256, (float)low) * l.unit, scale, f);
    }
    return f;
}

typedef float add_group(const struct clq_gemm_u4_args *g, size_t row, size_t n, size_t begin, size_t end, int zero, float scale, float f);

static float element(const struct clq_gemm_u4_args *g, add_group *add, size_t row, size_t n)
{
    const size_t count = (g->k - 1) / g->group + 1, per = (CLQ_U4_SEGMENT - 1) / g->group + 1;
    float level[LEVELS]; /* level[l]: the sum of 2^l segments that waits for its neighbor */
    size_t segment = 0;
    for (size_t first = 0; first < count; first += per, segment++) {
        float f = 0;
        for (size_t i = first; i < count && i < first + per; i++) {
            const size_t begin = i * g->group, end = g->k - begin < g->group ? g->k : begin + g->group;
            const int zero = g->zero_point ? g->zero_point[n * count + i] : 8;
            f = add(g, row, n, begin, end, zero, scale_at(g, n * count + i), f);
        }
        size_t l = 0;
        for (; segment >> l & 1; l++) f = level[l] + f;
        level[l] = f;
    }
    float f = 0;
    bool any = false;
    for (size_t l = 0; l < LEVELS; l++) {
        if (!(segment >> l & 1)) continue;
        f = any ? level[l] + f : level[l];
        any = true;
    }
    if (add == add_codes) f *= g->scale_a[row];
    return g->bias ? f + g->bias[n] : f;
}

static void run(const struct clq_gemm_u4_args *g, add_group *add)
{
    for (size_t row = g->unit_begin; row < g->unit_end; row++)
        for (size_t n = 0; n < g->n; n++) g->y[row * g->ldy + n] = element(g, add, row, n);
}

void clq_gemm_s8u4_ref(struct clq_gemm_u4_args *g)
{
    run(g, add_codes);
}

void clq_gemm_g8u4_plan_ref(struct clq_gemm_u4_args *g)
{
    clq_gemm_s8u4_plan_ref(g);
}

void clq_gemm_g8u4_ref(struct clq_gemm_u4_args *g)
{
    run(g, add_scaled);
}

void clq_gemm_f32u4_plan_ref(struct clq_gemm_u4_args *g)
{
    clq_gemm_s8u4_plan_ref(g);
}

void clq_gemm_f32u4_ref(struct clq_gemm_u4_args *g)
{
    run(g, add_reals);
}
