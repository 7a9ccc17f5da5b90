/* SPDX-License-Identifier: Apache-2.0
 * Weights in groups: formats, fits without data, rounding. */
#include "algo/groups.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "scheduler/stats.h"

/* The 16 quantiles of a normal distribution, scaled to -1 .. 1 with an exact 0: the table that QLoRA's authors published. */
static const float nf4[16] = {-1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f, -0.18477343022823334f,
                              -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
                              0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f};

clq_status clq_groups_start(struct clq_group_weights *g, struct clq_arena *arena, size_t n, size_t k, const struct clq_mode *mode, struct clq_error *err)
{
    size_t codes, scales;
    int bits = mode->kind == CLQ_WEIGHT_BINARY ? 2 : mode->scheme.weight_bits;
    size_t group = mode->scheme.weight_group > 0 ? (size_t)mode->scheme.weight_group : k;
    *g = (struct clq_group_weights){.n = n, .k = k, .group = group, .groups = group ? (k + group - 1) / group : 0, .bits = bits,
                                    .symmetric = mode->scheme.weight_symmetric};
    if (!clq_size_mul(&codes, n, k) || !clq_size_mul(&scales, n, g->groups)) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    g->codes = clq_arena_array(arena, codes + 1, 1);
    g->scale = clq_arena_array(arena, scales + 1, sizeof(float));
    g->zero = clq_arena_array(arena, scales + 1, 1);
    if (!g->codes || !g->scale || !g->zero) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    g->has_table = mode->kind == CLQ_WEIGHT_NF4 || mode->kind == CLQ_WEIGHT_CODEBOOK;
    if (mode->kind == CLQ_WEIGHT_NF4) memcpy(g->table, nf4, sizeof nf4);
    return CLQ_OK;
}

void clq_groups_copy(struct clq_group_weights *to, const struct clq_group_weights *from)
{
    size_t codes = from->n * from->k, scales = from->n * from->groups;
    if (codes) memcpy(to->codes, from->codes, codes);
    if (scales) memcpy(to->scale, from->scale, scales * sizeof *to->scale);
    if (scales) memcpy(to->zero, from->zero, scales);
    memcpy(to->table, from->table, sizeof to->table);
    to->algorithm = from->algorithm;
}

float clq_groups_value(const struct clq_group_weights *g, size_t row, size_t column)
{
    size_t at = row * g->groups + column / g->group;
    uint8_t code = g->codes[row * g->k + column];
    return g->has_table ? g->table[code] * g->scale[at] : (float)(code - g->zero[at]) * g->scale[at];
}

/* ---- Codes ---- */

/* Limits of code - zero for symmetric kinds, of the code for asymmetric ones. */
static void limits(const struct clq_mode *mode, int *lo, int *hi)
{
    int half = 1 << (mode->scheme.weight_bits - 1);
    if (mode->kind == CLQ_WEIGHT_TERNARY) *lo = -1, *hi = 1;
    else if (!mode->scheme.weight_symmetric) *lo = 0, *hi = 2 * half - 1;
    else *lo = -half, *hi = half - 1; /* a scale from the largest magnitude leaves the lowest code unused, a smaller one does not */
}

bool clq_groups_code_known(uint8_t code, const struct clq_mode *mode)
{
    if (mode->kind == CLQ_WEIGHT_BINARY) return code == 1 || code == 3;
    if (mode->kind == CLQ_WEIGHT_TERNARY) return code >= 1 && code <= 3;
    return code < 1 << mode->scheme.weight_bits;
}

static uint32_t random_word(const struct clq_weight_rounding *r, size_t at)
{
    uint32_t out[4];
    uint64_t block = (uint64_t)at / 4;
    const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)r->tensor, (uint32_t)(r->tensor >> 32)};
    clq_philox(out, counter, r->seed);
    return out[at % 4];
}

static float rounded(float y, const struct clq_weight_rounding *r, size_t at)
{
    if (!r->stochastic) return rintf(y);
    float f = floorf(y);
    return (uint64_t)random_word(r, at) < (uint64_t)((double)(y - f) * 4294967296.0) ? f + 1 : f;
}

/* The count of midpoints below y: a tie takes the lower index. */
static uint8_t table_code(float y, const float *table)
{
    uint8_t code = 0;
    for (int i = 0; i < 15; i++) code = (uint8_t)(code + ((table[i] + table[i + 1]) / 2 < y));
    return code;
}

uint8_t clq_groups_code(float w, float scale, uint8_t zero, const struct clq_group_weights *g, const struct clq_group_job *job, size_t at)
{
    const struct clq_mode *mode = job->mode;
    int lo, hi;
    if (g->has_table) return table_code(w / scale, g->table);
    if (mode->kind == CLQ_WEIGHT_BINARY) return w < 0 ? 1 : 3; /* -1 and 1 around the zero point 2 */
    limits(mode, &lo, &hi);
    int shift = mode->scheme.weight_symmetric ? 0 : zero, base = mode->scheme.weight_symmetric ? zero : 0;
    float y = w / scale, low = (float)(lo - shift), high = (float)(hi - shift);
    y = y < low ? low : y > high ? high : y;
    return (uint8_t)((int)rounded(y, &job->rounding, at) + shift + base);
}

/* ---- Fits of one group ---- */
static float usable(double scale)
{
    return scale > (double)FLT_MIN ? (float)scale : FLT_MIN;
}

static double group_error(float scale, uint8_t zero, const float *w, const double *importance, size_t count, const struct clq_group_job *job)
{
    static const struct clq_group_weights plain;
    struct clq_group_job nearest = *job;
    double e = 0;
    nearest.rounding.stochastic = false;
    for (size_t i = 0; i < count; i++) {
        double d = (double)w[i] - (double)(clq_groups_code(w[i], scale, zero, &plain, &nearest, 0) - zero) * (double)scale;
        e += d * d * (importance ? importance[i] : 1);
    }
    return e;
}

/* From the largest magnitude, or the range, which contains 0. */
static void fit_range(float *scale, uint8_t *zero, const float *w, size_t count, const struct clq_group_job *job)
{
    int lo, hi;
    double least = 0, most = 0;
    limits(job->mode, &lo, &hi);
    for (size_t i = 0; i < count; i++) {
        least = (double)w[i] < least ? (double)w[i] : least;
        most = (double)w[i] > most ? (double)w[i] : most;
    }
    if (job->mode->scheme.weight_symmetric) {
        double top = most > -least ? most : -least;
        *zero = (uint8_t)(1 << (job->mode->scheme.weight_bits == 1 ? 1 : job->mode->scheme.weight_bits - 1));
        *scale = top > 0 ? usable(top / hi) : 1;
        return;
    }
    *scale = most > least ? usable((most - least) / hi) : 1;
    double z = nearbyint(-least / (double)*scale);
    *zero = (uint8_t)(z < 0 ? 0 : z > hi ? hi : z);
}

/* Smaller scales by steps of 2.5 %, by the squared error of the rounded values. */
static void fit_mse(float *scale, uint8_t *zero, const float *w, const double *importance, size_t count, const struct clq_group_job *job)
{
    enum { STEPS = 32 };
    const float full = *scale;
    const uint8_t middle = *zero;
    int lo, hi;
    limits(job->mode, &lo, &hi);
    double best = group_error(full, middle, w, importance, count, job);
    for (int s = 1; s < STEPS; s++) {
        float t = full * (1.1f - 0.025f * (float)s);
        if (!(t >= FLT_MIN)) return;
        uint8_t from = middle, to = middle;
        if (!job->mode->scheme.weight_symmetric) {
            from = (uint8_t)(middle > 0 ? middle - 1 : 0);
            to = (uint8_t)(middle < hi ? middle + 1 : hi);
        }
        for (uint8_t z = from; z <= to; z++) {
            double e = group_error(t, z, w, importance, count, job);
            if (e >= best) continue;
            best = e;
            *scale = t;
            *zero = z;
        }
    }
}

/* Half-quadratic: alternates the codes with the scale that suits them best under a norm below 1, which lets few weights be
 * far off. */
static void fit_hqq(float *scale, const uint8_t *zero, const float *w, const double *importance, size_t count, const struct clq_group_job *job)
{
    static const struct clq_group_weights plain;
    const double p = 0.7;
    double beta = 10;
    for (int round = 0; round < 20; round++, beta *= 1.05) {
        double above = 0, below = 0;
        for (size_t i = 0; i < count; i++) {
            double q = clq_groups_code(w[i], *scale, *zero, &plain, job, 0) - *zero, e = (double)w[i] - q * (double)*scale;
            double keep = fabs(e) - pow(fabs(e) + 1e-12, p - 1) / (beta * 100); /* the generalized soft threshold */
            double target = (double)w[i] - (keep > 0 ? copysign(keep, e) : 0), h = importance ? importance[i] : 1;
            above += h * q * target;
            below += h * q * q;
        }
        if (!(below > 0) || !(above / below > 0)) return;
        *scale = usable(above / below);
    }
}

/* Ternary and binary have closed forms for the scale that suits given codes; a few rounds settle both. */
static void fit_few(float *scale, const float *w, const double *importance, size_t count, const struct clq_group_job *job)
{
    static const struct clq_group_weights plain;
    double mean = 0;
    for (size_t i = 0; i < count; i++) mean += fabs((double)w[i]) / (double)count;
    *scale = mean > 0 ? usable(mean * (job->mode->kind == CLQ_WEIGHT_TERNARY ? 1.4 : 1)) : 1;
    for (int round = 0; round < 10 && job->mode->kind == CLQ_WEIGHT_TERNARY; round++) {
        double above = 0, below = 0;
        for (size_t i = 0; i < count; i++) {
            double q = clq_groups_code(w[i], *scale, 2, &plain, job, 0) - 2, h = importance ? importance[i] : 1;
            above += h * q * (double)w[i];
            below += h * q * q;
        }
        if (!(below > 0) || !(above > 0)) return;
        *scale = usable(above / below);
    }
}

/* Scale and zero point of one group from its values [count]. */
static void fit_group(float *scale, uint8_t *zero, const float *w, const double *importance, size_t count, const struct clq_group_job *given)
{
    struct clq_group_job nearest = *given;
    const struct clq_group_job *job = &nearest;
    nearest.rounding.stochastic = false;
    if (job->mode->kind == CLQ_WEIGHT_TERNARY || job->mode->kind == CLQ_WEIGHT_BINARY) {
        *zero = 2;
        fit_few(scale, w, importance, count, job);
        return;
    }
    if (job->mode->kind != CLQ_WEIGHT_INTEGER) { /* the largest magnitude meets the table's ends */
        float top = 0;
        for (size_t i = 0; i < count; i++) top = fabsf(w[i]) > top ? fabsf(w[i]) : top;
        *zero = 0;
        *scale = top > 0 ? usable((double)top) : 1;
        return;
    }
    fit_range(scale, zero, w, count, job);
    if (job->fit == CLQ_FIT_MSE) fit_mse(scale, zero, w, importance, count, job);
    else if (job->fit == CLQ_FIT_HQQ) fit_hqq(scale, zero, w, importance, count, job);
}

/* ---- One table for the whole tensor: k-means of its values from their quantiles ---- */
static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static clq_status fit_table(struct clq_group_weights *g, const struct clq_group_job *job, struct clq_error *err)
{
    size_t n = g->n * g->k;
    float *sorted = malloc((n + 1) * sizeof *sorted);
    if (!sorted) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    if (n) memcpy(sorted, job->weight, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, ascending);
    for (int i = 0; i < 16; i++) g->table[i] = n ? sorted[(size_t)(((double)i + 0.5) / 16 * (double)n)] : 0;
    for (int round = 0; round < 60; round++) { /* sorted values fall into runs, one per entry */
        size_t at = 0;
        bool moved = false;
        for (int i = 0; i < 16; i++) {
            double sum = 0;
            size_t begin = at;
            float end = i < 15 ? (g->table[i] + g->table[i + 1]) / 2 : INFINITY;
            while (at < n && sorted[at] <= end) sum += (double)sorted[at++];
            float mean = at > begin ? (float)(sum / (double)(at - begin)) : g->table[i];
            moved = moved || mean != g->table[i];
            g->table[i] = mean;
        }
        if (!moved) break;
    }
    free(sorted);
    return CLQ_OK;
}

clq_status clq_groups_quantize(struct clq_group_weights *g, const struct clq_group_job *job, struct clq_error *err)
{
    if (job->mode->kind == CLQ_WEIGHT_CODEBOOK) CLQ_TRY(fit_table(g, job, err));
    for (size_t r = 0; r < g->n; r++)
        for (size_t b = 0; b < g->groups; b++) {
            size_t begin = b * g->group, end = begin + g->group < g->k ? begin + g->group : g->k, at = r * g->groups + b;
            const float *w = job->weight + r * g->k;
            fit_group(&g->scale[at], &g->zero[at], w + begin, job->importance ? job->importance + begin : NULL, end - begin, job);
            if (job->mode->kind == CLQ_WEIGHT_CODEBOOK) g->scale[at] = 1;
            for (size_t c = begin; c < end; c++) g->codes[r * g->k + c] = clq_groups_code(w[c], g->scale[at], g->zero[at], g, job, r * g->k + c);
        }
    return CLQ_OK;
}
