/* SPDX-License-Identifier: Apache-2.0
 * Cases of gemm_u8s8 and gemm_s8s8: every row, column and depth remainder up to 70, row distances, blocks of rows and
 * panels, all outputs and limits, extreme operands, multipliers that tie, saturate or vanish, weights beside the bound
 * of vpmaddubsw, residuals, sums of rows, and K at the limits of 32 bits. Tests run the units out of order and on two scratch buffers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/cases/suite.h"
#include "tests/harness.h"

enum weights { W_UNIFORM, W_EXTREME, W_SEVEN_BITS, W_PAIR_EDGE, W_PAIR_OVER, W_ALL_LOW, W_COUNT };
enum multipliers { M_MODERATE, M_TIES, M_HUGE, M_TINY, M_COUNT };
static const char *const weights_name[] = {"uniform", "extreme", "7 bits", "pairs of 128", "a pair of 129", "all -128"};
static const char *const multipliers_name[] = {"moderate", "ties", "huge", "tiny"};

struct sizes {
    size_t m, n, k;
};

/* What a test adds to the argument struct, which comes first. */
struct product {
    struct clq_gemm_args g;
    struct clq_residual residual;
    bool is_signed, split;
};

static const struct sizes large[] = {
    {1000, 100, 40}, {769, 65, 33}, {97, 400, 64}, {50, 80, 300}, {61, 144, 129}, {13, 208, 1030}, {200, 33, 5},
    {33, 1300, 8},   {49, 64, 576}, {300, 1, 1},   {1, 1000, 1},  {1, 1, 1000},   {257, 48, 16},   {3, 321, 2049},
    {384, 96, 256}, /* eight blocks of rows, which one call does as one */
};
/* 255 * 128 * 65793 and 128 * 128 * 131071 are the last that fit; one more column of K does not. */
static const size_t limits_u8[] = {33025, 65792, 65793, 65794, 70000};
static const size_t limits_s8[] = {65793, 131070, 131071, 131072, 140000};
enum {
    N_TAILS = 70,
    N_SWEEP = 4 * N_TAILS,
    N_LARGE = 4 * (sizeof large / sizeof *large),
    N_LIMITS = 2 * (sizeof limits_u8 / sizeof *limits_u8)
};

static void fill_weights(struct clq_case *c, int8_t *w, size_t n, size_t k, enum weights kind)
{
    for (size_t i = 0; i < n * k; i++) {
        const int r = clq_rng_range(&c->rng, -127, 127);
        const int big = clq_rng_range(&c->rng, 0, 1) ? 127 : clq_rng_range(&c->rng, 0, 1) ? -127 : -128;
        const int first = i % k % 2 == 0 ? clq_rng_range(&c->rng, 0, 128) : 0;
        switch (kind) {
        case W_UNIFORM: w[i] = (int8_t)r; break;
        case W_EXTREME: w[i] = (int8_t)big; break;
        case W_SEVEN_BITS: w[i] = (int8_t)(r / 2); break;
        case W_ALL_LOW: w[i] = -128; break;
        default: /* pairs whose magnitudes sum to 128 */
            if (i % k % 2 == 0)
                w[i] = (int8_t)-first;
            else
                w[i] = (int8_t)(128 + w[i - 1] == 128 ? -128 : 128 + w[i - 1]);
        }
    }
    if (kind == W_PAIR_OVER && n * k > 1) {
        const size_t at = clq_rng_below(&c->rng, n) * k + (k > 3 ? clq_rng_below(&c->rng, k / 2) * 2 : 0);
        w[at] = 127;
        if (k > 1) w[at + 1] = 2;
    }
}

static void fill_multipliers(struct clq_case *c, float *m, size_t n, size_t k, enum multipliers kind)
{
    for (size_t i = 0; i < n; i++) {
        const float moderate = (clq_rng_unit(&c->rng) + 0.1f) * 0.02f / (float)(k + 1);
        m[i] = kind == M_MODERATE ? moderate
               : kind == M_TIES   ? 1.0f / (float)(1u << clq_rng_below(&c->rng, 16))
               : kind == M_HUGE   ? (clq_rng_range(&c->rng, 0, 2) ? moderate * 0x1p40f : 0x1p100f)
                                  : 0x1p-126f;
    }
}

/* The proof of numerics.md 4, as the host makes it. */
static int64_t bound_of(const struct clq_gemm_args *g, bool is_signed)
{
    const int64_t low = is_signed ? -128 : 0, high = low + 255;
    const int64_t most =
        high - g->zero_point_a > g->zero_point_a - low ? high - g->zero_point_a : g->zero_point_a - low;
    int64_t bound = 0;
    for (size_t n = 0; n < g->n; n++) {
        int64_t sum = 0;
        for (size_t k = 0; k < g->k; k++) sum += llabs(g->weight[n * g->k + k]);
        sum = sum * most + (g->bias ? llabs(g->bias[n]) : 0);
        if (sum > bound) bound = sum;
    }
    return bound;
}

/* Sums of rows: of y in every second product that leaves codes, and of a in every third. */
static void add_sums(struct clq_case *c, struct clq_gemm_args *g, bool is_signed, size_t variation)
{
    if (variation % 2 == 1 && g->out <= CLQ_OUT_S8) g->sums_y = clq_case_operand(c, "sums of y", CLQ_OUT, CLQ_ELEM_S32, g->m, 0);
    if (variation % 3 != 2) return;
    int32_t *sums = clq_case_operand(c, "sums of a", CLQ_IN, CLQ_ELEM_S32, g->m, 0);
    for (size_t i = 0; i < g->m; i++) {
        sums[i] = 0;
        for (size_t k = 0; k < g->k; k++) {
            const uint8_t code = ((const uint8_t *)g->a)[i * g->lda + k];
            sums[i] += is_signed ? (int8_t)code : code;
        }
    }
    g->sums_a = sums;
}

/* A third of the products that leave codes add a residual of another row distance. */
static void add_residual(struct clq_case *c, struct product *p, size_t variation)
{
    struct clq_gemm_args *g = &p->g;
    const enum clq_elem elem = g->out == CLQ_OUT_S8 ? CLQ_ELEM_S8 : CLQ_ELEM_U8;
    if (variation % 3 != 1 || g->out > CLQ_OUT_S8) return;
    const size_t ld = g->n + (variation % 2 ? variation % 5 : 0), n = g->m ? (g->m - 1) * ld + g->n : 0;
    uint8_t *r = clq_case_operand(c, "residual", CLQ_IN, elem, n, elem == CLQ_ELEM_U8 ? variation / 3 % 4 : 0);
    clq_fill_codes(&c->rng, r, n, (enum clq_fill_codes)(variation / 5 % CLQ_CODES_COUNT));
    clq_fill_residual(&c->rng, &p->residual, g->out);
    p->residual.codes = r;
    p->residual.ld = ld;
    g->residual = &p->residual;
}

static void describe(struct clq_case *c, struct sizes s, bool is_signed, size_t variation)
{
    struct product *p = clq_case_args(c, sizeof *p);
    struct clq_gemm_args *g = &p->g;
    static const enum clq_elem elem[] = {CLQ_ELEM_U8, CLQ_ELEM_S8, CLQ_ELEM_F32, CLQ_ELEM_S32};
    const enum weights kind = (enum weights)(variation % W_COUNT);
    const enum multipliers scale = (enum multipliers)(variation / 2 % M_COUNT);
    const enum clq_fill_codes fill = (enum clq_fill_codes)(variation / 3 % CLQ_CODES_COUNT);
    const size_t lda = s.k + (variation % 3 == 2 ? variation % 7 : 0),
                 ldy = s.n + (variation % 4 == 3 ? variation % 5 : 0);
    p->is_signed = is_signed;
    p->split = true;
    g->m = s.m;
    g->n = s.n;
    g->k = s.k;
    g->lda = lda;
    g->ldy = ldy;
    g->out = (enum clq_out)(variation % 8 < 4 ? CLQ_OUT_U8 : variation % 4);
    const int below = g->out == CLQ_OUT_S8 ? 128 : 0, below_a = is_signed ? 128 : 0;
    g->zero_point_a = (int)clq_rng_below(&c->rng, 256) - below_a;
    if (fill == CLQ_CODES_LOW) g->zero_point_a = is_signed ? 127 : 255;
    if (fill == CLQ_CODES_HIGH) g->zero_point_a = is_signed ? -128 : 0;
    g->zero_point_y = (int)clq_rng_below(&c->rng, 256) - below;
    g->lo = variation % 3 == 0 ? g->zero_point_y : -below;
    g->hi = variation % 5 == 0 ? clq_rng_range(&c->rng, g->lo, 255 - below) : 255 - below;
    clq_case_label(c,
                   "%zux%zux%zu lda+%zu ldy+%zu out %d zero points %d,%d limits %d..%d %s weights, %s, %s multipliers",
                   s.m, s.n, s.k, lda - s.k, ldy - s.n, (int)g->out, g->zero_point_a, g->zero_point_y, g->lo, g->hi,
                   weights_name[kind], clq_codes_name(fill), multipliers_name[scale]);
    const size_t n_a = s.m ? (s.m - 1) * lda + s.k : 0, n_y = s.m ? (s.m - 1) * ldy + s.n : 0;
    uint8_t *a = clq_case_operand(c, "a", CLQ_IN, is_signed ? CLQ_ELEM_S8 : CLQ_ELEM_U8, n_a, variation % 4);
    int8_t *w = clq_case_operand(c, "weight", CLQ_IN, CLQ_ELEM_S8, s.n * s.k, 0);
    int32_t *bias = clq_case_operand(c, "bias", CLQ_IN, CLQ_ELEM_S32, s.n, 0);
    float *m = clq_case_operand(c, "multiplier", CLQ_IN, CLQ_ELEM_F32, s.n, 0);
    clq_fill_codes(&c->rng, a, n_a, fill);
    if (is_signed && fill == CLQ_CODES_LOW)
        for (size_t i = 0; i < n_a; i++) a[i] = 128;
    if (is_signed && fill == CLQ_CODES_HIGH)
        for (size_t i = 0; i < n_a; i++) a[i] = 127;
    fill_weights(c, w, s.n, s.k, kind);
    for (size_t i = 0; i < s.n; i++) bias[i] = clq_rng_range(&c->rng, -20000, 20000);
    fill_multipliers(c, m, s.n, s.k, scale);
    g->a = a;
    g->weight = w;
    g->bias = variation % 7 == 6 ? NULL : bias;
    g->multiplier = g->out == CLQ_OUT_S32 ? NULL : m;
    g->bound = bound_of(g, is_signed);
    g->y = clq_case_operand(c, "y", CLQ_OUT, elem[g->out], n_y, elem[g->out] == CLQ_ELEM_U8 ? variation / 4 % 4 : 0);
    add_residual(c, p, variation);
    add_sums(c, g, is_signed, variation);
    c->bytes = (double)(s.m * s.k + s.n * s.k + s.m * s.n);
    c->operations = 2.0 * (double)s.m * (double)s.n * (double)s.k;
}

/* Largest magnitudes: v beside the end of int32 and, one step of K later, beyond it. */
static void describe_limit(struct clq_case *c, size_t index, bool is_signed)
{
    const size_t k = (is_signed ? limits_s8 : limits_u8)[index / 2];
    struct product *p = clq_case_args(c, sizeof *p);
    const bool f32 = index % 2 != 0;
    clq_case_label(c, "3x2x%zu at the limit, %s", k, f32 ? "f32" : "s32");
    *p = (struct product){.is_signed = is_signed, .split = true};
    p->g = (struct clq_gemm_args){.m = 3, .n = 2, .k = k, .lda = k, .ldy = 2, .hi = 255};
    p->g.out = f32 ? CLQ_OUT_F32 : CLQ_OUT_S32;
    uint8_t *a = clq_case_operand(c, "a", CLQ_IN, is_signed ? CLQ_ELEM_S8 : CLQ_ELEM_U8, 3 * k, 0);
    int8_t *w = clq_case_operand(c, "weight", CLQ_IN, CLQ_ELEM_S8, 2 * k, 0);
    float *m = clq_case_operand(c, "multiplier", CLQ_IN, CLQ_ELEM_F32, 2, 0);
    clq_fill_codes(&c->rng, a, 3 * k, CLQ_CODES_UNIFORM);
    for (size_t i = 0; i < k; i++) {
        a[i] = is_signed ? 128 : 255;
        w[i] = -128;
        w[k + i] = 127;
    }
    m[0] = m[1] = 0x1.8p-20f;
    p->g.a = a;
    p->g.weight = w;
    p->g.multiplier = m;
    const int64_t most = is_signed ? 128 : 255; /* with zero_point_a = 0 */
    p->g.bound = most * 128 * (int64_t)k;
    p->g.y = clq_case_operand(c, "y", CLQ_OUT, f32 ? CLQ_ELEM_F32 : CLQ_ELEM_S32, 6, 0);
}

static void prepare(struct clq_case *c, size_t index, bool is_signed)
{
    if (index < N_SWEEP) {
        const size_t t = index % N_TAILS + 1, way = index / N_TAILS;
        const struct sizes s = {way == 0 ? t : 1 + clq_rng_below(&c->rng, 20),
                                way == 1 ? t : 1 + clq_rng_below(&c->rng, 90),
                                way == 2 ? t : 1 + clq_rng_below(&c->rng, 140)};
        describe(c, s, is_signed, index);
    } else if (index < N_SWEEP + N_LARGE) {
        describe(c, large[(index - N_SWEEP) / 4], is_signed, index + (index - N_SWEEP) % 4 * 13);
        ((struct product *)c->args)->split = index % 4 != 3; /* the others: all units in one call */
    } else {
        describe_limit(c, index - N_SWEEP - N_LARGE, is_signed);
    }
}

static void prepare_u8(struct clq_case *c, size_t index)
{
    prepare(c, index, false);
}

static void prepare_s8(struct clq_case *c, size_t index)
{
    prepare(c, index, true);
}

enum { N_BENCHES = 12 };

static void prepare_bench(struct clq_case *c, size_t index, bool is_signed)
{
    const struct clq_gemm_shape *s = &clq_suite_gemm("default")[index];
    describe(c, (struct sizes){s->m, s->n, s->k}, is_signed, 0);
    ((struct product *)c->args)->split = false;
}

static void prepare_bench_u8(struct clq_case *c, size_t index)
{
    prepare_bench(c, index, false);
}

static void prepare_bench_s8(struct clq_case *c, size_t index)
{
    prepare_bench(c, index, true);
}

enum { WORK_PACKED, WORK_SCRATCH, WORK_SCRATCH_TOO };

static void setup(struct clq_case *c, const struct clq_kernels *k)
{
    struct product *p = c->args;
    (p->is_signed ? k->gemm_s8s8_plan : k->gemm_u8s8_plan)(&p->g);
    p->g.packed = clq_case_work(c, WORK_PACKED, p->g.packed_bytes);
    clq_case_work(c, WORK_SCRATCH_TOO, p->g.scratch_bytes);
    p->g.scratch = clq_case_work(c, WORK_SCRATCH, p->g.scratch_bytes);
    (p->is_signed ? k->gemm_s8s8_pack : k->gemm_u8s8_pack)(&p->g);
}

/* Split: two or three units a call, the later calls first, on alternating scratch. */
static void run(struct clq_case *c, const struct clq_kernels *k)
{
    struct clq_gemm_args g = ((struct product *)c->args)->g;
    void (*const product)(struct clq_gemm_args *) =
        ((struct product *)c->args)->is_signed ? k->gemm_s8s8 : k->gemm_u8s8;
    if (g.sums_y) memset(g.sums_y, 0, g.m * sizeof *g.sums_y);
    if (!((struct product *)c->args)->split) {
        g.unit_begin = 0;
        g.unit_end = g.units;
        product(&g);
        return;
    }
    for (size_t end = g.units, call = 0; end > 0; call++) {
        const size_t taken = end < 2 + call % 2 ? end : 2 + call % 2;
        g.unit_end = end;
        g.unit_begin = end - taken;
        g.scratch = c->work[WORK_SCRATCH + call % 2].data;
        product(&g);
        end -= taken;
    }
}

static void explain(const struct clq_case *c, size_t operand, size_t at, char *text, size_t bytes)
{
    const struct clq_gemm_args *g = &((const struct product *)c->args)->g;
    snprintf(text, bytes, "row %zu, column %zu of operand %zu, bound %lld%s", at / g->ldy, at % g->ldy, operand,
             (long long)g->bound, g->residual ? ", residual" : "");
}

const struct clq_family clq_family_gemm_u8s8 = {
    .op = "gemm_u8s8",
    .n_tests = N_SWEEP + N_LARGE + N_LIMITS,
    .n_benches = N_BENCHES,
    .prepare = prepare_u8,
    .prepare_bench = prepare_bench_u8,
    .setup = setup,
    .run = run,
    .explain = explain,
};

const struct clq_family clq_family_gemm_s8s8 = {
    .op = "gemm_s8s8",
    .n_tests = N_SWEEP + N_LARGE + N_LIMITS,
    .n_benches = N_BENCHES,
    .prepare = prepare_s8,
    .prepare_bench = prepare_bench_s8,
    .setup = setup,
    .run = run,
    .explain = explain,
};
