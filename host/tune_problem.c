/* SPDX-License-Identifier: Apache-2.0
 * Shapes and operands of the tuner's problems, and their solution on the CPU. */
#include "tune_problem.h"

#include <stdlib.h>
#include <string.h>

enum { ELEMENTS = 1 << 20, GROUP = 32 };
#define SCALE_X 0.05f
#define SCALE_B 0.04f
#define SCALE_Y 0.07f

/* A product has sides m, n, k; a convolution an image's side, channels in and out, kernel, stride, and is depthwise where
 * depthwise is. On a large device the sides are four times as long, but for one to sixteen rows, and channels twice, depthwise
 * ones four times as many. */
struct shape {
    size_t m, n, k, side, ci, co, kernel, stride;
    bool depthwise;
};
#define PRODUCT(m, n, k) {m, n, k, 0, 0, 0, 0, 0, false}
#define CONV(side, ci, co, kernel, stride) {0, 0, 0, side, ci, co, kernel, stride, false}
#define DEPTHWISE(side, c, kernel, stride) {0, 0, 0, side, c, c, kernel, stride, true}

/* Square, few rows, few columns; then the kinds of layers. conv_u8s8 of the CPU has all convolutions, a device apart. */
static const struct course {
    const char *family;
    enum clq_tune_kind kind;
    size_t n;
    struct shape shape[3];
} courses[] = {
    {"gemm_u8s8", CLQ_TUNE_GEMM, 3, {PRODUCT(384, 384, 384), PRODUCT(32, 768, 768), PRODUCT(768, 48, 384)}},
    {"gemm_s8s8", CLQ_TUNE_GEMM_S8, 3, {PRODUCT(384, 384, 384), PRODUCT(32, 768, 768), PRODUCT(768, 48, 384)}},
    {"gemv_u8s8", CLQ_TUNE_GEMM, 2, {PRODUCT(1, 1024, 1024), PRODUCT(4, 512, 1024)}},
    {"gemm_s8u4", CLQ_TUNE_GEMM_U4, 3, {PRODUCT(128, 256, 512), PRODUCT(20, 256, 1024), PRODUCT(192, 48, 512)}},
    {"gemv_s8u4", CLQ_TUNE_GEMM_U4, 2, {PRODUCT(1, 1024, 1024), PRODUCT(4, 512, 1024)}},
    {"conv_u8s8", CLQ_TUNE_CONV, 3, {CONV(28, 64, 64, 3, 1), CONV(14, 128, 256, 3, 1), CONV(56, 32, 64, 3, 2)}},
    {"conv_depthwise_u8s8", CLQ_TUNE_CONV, 2, {DEPTHWISE(56, 96, 3, 1), DEPTHWISE(28, 192, 5, 2)}},
    {"quantize_f32_u8", CLQ_TUNE_QUANTIZE_U8, 1, {{0}}},
    {"quantize_f32_s8", CLQ_TUNE_QUANTIZE_S8, 1, {{0}}},
    {"dequantize_u8_f32", CLQ_TUNE_DEQUANTIZE_U8, 1, {{0}}},
    {"dequantize_s8_f32", CLQ_TUNE_DEQUANTIZE_S8, 1, {{0}}},
    {"add_u8", CLQ_TUNE_ADD, 1, {{0}}},
    {"mul_u8", CLQ_TUNE_MUL, 1, {{0}}},
    {"lut_u8", CLQ_TUNE_LUT, 1, {{0}}},
};

static const struct course *find(const char *family)
{
    for (size_t i = 0; i < sizeof courses / sizeof *courses; i++)
        if (strcmp(courses[i].family, family) == 0) return &courses[i];
    return NULL;
}

size_t clq_tune_problem_count(const char *family)
{
    const struct course *c = find(family);
    return c ? c->n : 0;
}

void clq_tune_problem_free(struct clq_tune_problem *p)
{
    if (!p) return;
    free(p->x);
    free(p->b);
    free(p->expected);
    free(p->weight);
    free(p->multiplier);
    free(p);
}

static clq_status no_memory(struct clq_error *err) { return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "tuning: out of memory"); }

/* The next word of a small generator. */
static uint32_t next_word(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

static void random_bytes(void *out, size_t n, uint64_t seed)
{
    unsigned char *p = out;
    for (size_t i = 0; i < n; i++) p[i] = (unsigned char)next_word(&seed);
}

static bool fill_product(struct clq_tune_problem *p, size_t n, size_t k)
{
    uint64_t seed = n * 31 + k;
    p->x = malloc(p->x_bytes);
    p->weight = malloc(n * k);
    p->multiplier = malloc(n * sizeof *p->multiplier);
    p->expected = malloc(p->y_bytes);
    if (!p->x || !p->weight || !p->multiplier || !p->expected) return false;
    random_bytes(p->x, p->x_bytes, seed);
    random_bytes(p->weight, n * k, seed + 1);
    for (size_t i = 0; i < n; i++) p->multiplier[i] = (float)(1 + next_word(&seed) % 997) * 0x1p-22f;
    return true;
}

static clq_status make_gemm(struct clq_tune_problem *p, size_t m, size_t n, size_t k, struct clq_error *err)
{
    const bool is_signed = p->kind == CLQ_TUNE_GEMM_S8;
    p->x_bytes = m * k;
    p->y_bytes = m * n;
    if (!fill_product(p, n, k)) return no_memory(err);
    p->args.gemm = (struct clq_gemm_args){.m = m,
                                          .n = n,
                                          .k = k,
                                          .a = p->x,
                                          .lda = k,
                                          .weight = p->weight,
                                          .multiplier = p->multiplier,
                                          .zero_point_a = is_signed ? -8 : 120,
                                          .zero_point_y = is_signed ? 0 : 128,
                                          .lo = is_signed ? -128 : 0,
                                          .hi = is_signed ? 127 : 255,
                                          .out = is_signed ? CLQ_OUT_S8 : CLQ_OUT_U8,
                                          .y = p->expected,
                                          .ldy = n,
                                          .bound = (int64_t)k * 255 * 128};
    return CLQ_OK;
}

static clq_status make_gemm_u4(struct clq_tune_problem *p, size_t m, size_t n, size_t k, struct clq_error *err)
{
    uint64_t seed = n * 31 + k;
    const size_t points = n * (k / GROUP);
    p->x_bytes = m * k;
    p->b_bytes = m * sizeof(float);
    p->y_bytes = m * n * sizeof(float);
    p->x = malloc(p->x_bytes);
    p->b = malloc(p->b_bytes);
    p->weight = malloc(n * k / 2);
    p->multiplier = malloc(points * sizeof *p->multiplier);
    p->expected = malloc(p->y_bytes);
    if (!p->x || !p->b || !p->weight || !p->multiplier || !p->expected) return no_memory(err);
    random_bytes(p->x, p->x_bytes, seed);
    random_bytes(p->weight, n * k / 2, seed + 1);
    for (size_t i = 0; i < m; i++) ((float *)p->b)[i] = (float)(1 + next_word(&seed) % 997) * 0x1p-15f;
    for (size_t i = 0; i < points; i++) p->multiplier[i] = (float)(1 + next_word(&seed) % 997) * 0x1p-15f;
    p->args.u4 = (struct clq_gemm_u4_args){.m = m,
                                           .n = n,
                                           .k = k,
                                           .group = GROUP,
                                           .a = p->x,
                                           .lda = k,
                                           .flipped = true,
                                           .scale_a = p->b,
                                           .weight = (const uint8_t *)p->weight,
                                           .scale = p->multiplier,
                                           .y = p->expected,
                                           .ldy = n};
    return CLQ_OK;
}

static clq_status make_product(struct clq_tune_problem *p, const struct shape *s, size_t factor, struct clq_error *err)
{
    const size_t m = s->m > 16 ? factor * s->m : s->m, n = factor * s->n, k = factor * s->k;
    return p->kind == CLQ_TUNE_GEMM_U4 ? make_gemm_u4(p, m, n, k, err) : make_gemm(p, m, n, k, err);
}

static clq_status make_conv(struct clq_tune_problem *p, const struct shape *s, size_t factor, struct clq_error *err)
{
    const size_t out = s->side / s->stride, ci = factor * s->ci, co = factor * s->co, groups = s->depthwise ? ci : 1;
    p->x_bytes = s->side * s->side * ci;
    p->y_bytes = out * out * co;
    if (!fill_product(p, co, s->kernel * s->kernel * (ci / groups))) return no_memory(err);
    p->args.conv = (struct clq_conv_args){.batch = 1,
                                          .h = s->side,
                                          .w = s->side,
                                          .ci = ci,
                                          .oh = out,
                                          .ow = out,
                                          .co = co,
                                          .kh = s->kernel,
                                          .kw = s->kernel,
                                          .stride_h = s->stride,
                                          .stride_w = s->stride,
                                          .pad_top = (s->kernel - 1) / 2,
                                          .pad_left = (s->kernel - 1) / 2,
                                          .dilation_h = 1,
                                          .dilation_w = 1,
                                          .groups = groups,
                                          .x = p->x,
                                          .weight = p->weight,
                                          .multiplier = p->multiplier,
                                          .zero_point_x = 120,
                                          .zero_point_y = 128,
                                          .hi = 255,
                                          .y = p->expected,
                                          .bound = 1 << 28};
    return CLQ_OK;
}

static clq_status make_elementwise(struct clq_tune_problem *p, size_t n, struct clq_error *err)
{
    const bool from_float = p->kind == CLQ_TUNE_QUANTIZE_U8 || p->kind == CLQ_TUNE_QUANTIZE_S8;
    const bool to_float = p->kind == CLQ_TUNE_DEQUANTIZE_U8 || p->kind == CLQ_TUNE_DEQUANTIZE_S8;
    uint64_t seed = n;
    p->x_bytes = from_float ? sizeof(float) * n : n;
    p->b_bytes = n;
    p->y_bytes = to_float ? sizeof(float) * n : n;
    p->x = malloc(p->x_bytes);
    p->b = malloc(p->b_bytes);
    p->expected = malloc(p->y_bytes);
    if (!p->x || !p->b || !p->expected) return no_memory(err);
    random_bytes(p->x, p->x_bytes, seed);
    random_bytes(p->b, p->b_bytes, seed + 1);
    for (size_t i = 0; from_float && i < n; i++) ((float *)p->x)[i] = (float)(int32_t)next_word(&seed) * 0x1p-28f;
    if (from_float)
        p->args.quantize = (struct clq_quantize_args){p->x, p->expected, n, SCALE_X, p->kind == CLQ_TUNE_QUANTIZE_S8 ? -3 : 125, false};
    else if (to_float)
        p->args.dequantize = (struct clq_dequantize_args){p->x, p->expected, n, SCALE_X, p->kind == CLQ_TUNE_DEQUANTIZE_S8 ? -3 : 125, false};
    else if (p->kind == CLQ_TUNE_LUT)
        p->args.lut = (struct clq_lut_args){p->x, p->expected, n, p->b};
    else
        p->args.binary = (struct clq_binary_u8_args){p->x, p->b, p->expected, n, SCALE_X, SCALE_B, SCALE_Y, 120, 130, 128, 0, 255};
    return CLQ_OK;
}

/* The operands of one shape, and what is expected. */
static clq_status make(struct clq_tune_problem **out, enum clq_tune_kind kind, const struct shape *s, bool large,
                       const struct clq_kernels *by, struct clq_error *err)
{
    const size_t f = large ? 4 : 1;
    struct clq_tune_problem *p = calloc(1, sizeof *p);
    struct clq_tune_solver solver = {0};
    if (!p) return no_memory(err);
    p->kind = kind;
    clq_status st = s->side  ? make_conv(p, s, large ? s->depthwise ? 4 : 2 : 1, err)
                    : s->m   ? make_product(p, s, f, err)
                             : make_elementwise(p, f * ELEMENTS, err);
    if (st == CLQ_OK) st = clq_tune_solver_begin(&solver, p, by, NULL, 1, err);
    if (st == CLQ_OK) {
        clq_tune_solver_run(&solver);
        memcpy(p->expected, solver.y, p->y_bytes);
    }
    clq_tune_solver_end(&solver);
    if (st != CLQ_OK) clq_tune_problem_free(p);
    else *out = p;
    return st;
}

clq_status clq_tune_problem_create(struct clq_tune_problem **out, const char *family, size_t i, bool large,
                                   const struct clq_kernels *by, struct clq_error *err)
{
    const struct course *c = find(family);
    if (!c || i >= c->n) return clq_fail(err, CLQ_ERR_INTERNAL, "tuning: '%s' has no problem %zu", family, i);
    return make(out, c->kind, &c->shape[i], large, by, err);
}

clq_status clq_tune_problem_rows(struct clq_tune_problem **out, const char *family, size_t m, bool large, const struct clq_kernels *by,
                                 struct clq_error *err)
{
    const struct course *c = find(family);
    const size_t side = c && c->kind == CLQ_TUNE_GEMM_U4 ? 2048 : 1024; /* half as many bytes an element */
    const struct shape s = PRODUCT(m, side, side);
    if (!c) return clq_fail(err, CLQ_ERR_INTERNAL, "tuning: '%s' has no rows", family);
    return make(out, c->kind, &s, large, by, err);
}

clq_status clq_tune_problem_compare(const struct clq_tune_problem *p, const void *y, struct clq_error *err)
{
    const unsigned char *want = p->expected, *got = y;
    for (size_t i = 0; i < p->y_bytes; i++)
        if (got[i] != want[i])
            return clq_fail(err, CLQ_ERR_NUMERIC, "byte %zu of %zu is %u, expected %u", i, p->y_bytes, got[i], want[i]);
    return CLQ_OK;
}

/* ---- On the CPU ---- */
static void *room(size_t bytes) { return aligned_alloc(64, bytes / 64 * 64 + 64); }

clq_status clq_tune_solver_begin(struct clq_tune_solver *s, const struct clq_tune_problem *problem, const struct clq_kernels *k,
                                 struct clq_pool *pool, int threads, struct clq_error *err)
{
    *s = (struct clq_tune_solver){.kernels = k, .problem = *problem, .pool = pool, .threads = threads};
    struct clq_gemm_args *g = &s->problem.args.gemm;
    struct clq_gemm_u4_args *u = &s->problem.args.u4;
    struct clq_conv_args *c = &s->problem.args.conv;
    size_t packed = 0, scratch = 0;
    s->y = room(problem->y_bytes);
    switch (problem->kind) {
    case CLQ_TUNE_GEMM:
    case CLQ_TUNE_GEMM_S8:
        (problem->kind == CLQ_TUNE_GEMM ? k->gemm_u8s8_plan : k->gemm_s8s8_plan)(g);
        packed = g->packed_bytes;
        scratch = g->scratch_bytes;
        g->y = s->y;
        break;
    case CLQ_TUNE_GEMM_U4:
        k->gemm_s8u4_plan(u);
        packed = u->packed_bytes;
        scratch = u->scratch_bytes;
        u->y = s->y;
        break;
    case CLQ_TUNE_CONV:
        k->conv_u8s8_plan(c);
        packed = c->packed_bytes;
        scratch = c->scratch_bytes;
        c->y = s->y;
        break;
    case CLQ_TUNE_QUANTIZE_U8:
    case CLQ_TUNE_QUANTIZE_S8: s->problem.args.quantize.y = s->y; break;
    case CLQ_TUNE_DEQUANTIZE_U8:
    case CLQ_TUNE_DEQUANTIZE_S8: s->problem.args.dequantize.y = s->y; break;
    case CLQ_TUNE_ADD:
    case CLQ_TUNE_MUL: s->problem.args.binary.y = s->y; break;
    case CLQ_TUNE_LUT: s->problem.args.lut.y = s->y; break;
    }
    s->stride = (scratch + 127) / 64 * 64;
    s->packed = room(packed);
    s->scratch = room(s->stride * (size_t)threads);
    if (!s->y || !s->packed || !s->scratch) return no_memory(err);
    if (problem->kind == CLQ_TUNE_CONV) {
        c->packed = s->packed;
        k->conv_u8s8_pack(c);
    } else if (problem->kind == CLQ_TUNE_GEMM_U4) {
        u->packed = s->packed;
        k->gemm_s8u4_pack(u);
    } else if (problem->kind <= CLQ_TUNE_GEMM_S8) {
        g->packed = s->packed;
        (problem->kind == CLQ_TUNE_GEMM ? k->gemm_u8s8_pack : k->gemm_s8s8_pack)(g);
    }
    return CLQ_OK;
}

static void run_product(void *state, size_t begin, size_t end, int thread)
{
    const struct clq_tune_solver *s = state;
    struct clq_gemm_args g = s->problem.args.gemm;
    g.unit_begin = begin;
    g.unit_end = end;
    g.scratch = (char *)s->scratch + (size_t)thread * s->stride;
    (s->problem.kind == CLQ_TUNE_GEMM ? s->kernels->gemm_u8s8 : s->kernels->gemm_s8s8)(&g);
}

static void run_u4(void *state, size_t begin, size_t end, int thread)
{
    const struct clq_tune_solver *s = state;
    struct clq_gemm_u4_args g = s->problem.args.u4;
    g.unit_begin = begin;
    g.unit_end = end;
    g.scratch = (char *)s->scratch + (size_t)thread * s->stride;
    s->kernels->gemm_s8u4(&g);
}

static void run_conv(void *state, size_t begin, size_t end, int thread)
{
    const struct clq_tune_solver *s = state;
    struct clq_conv_args c = s->problem.args.conv;
    c.unit_begin = begin;
    c.unit_end = end;
    c.scratch = (char *)s->scratch + (size_t)thread * s->stride;
    s->kernels->conv_u8s8(&c);
}

void clq_tune_solver_run(struct clq_tune_solver *s)
{
    const struct clq_kernels *k = s->kernels;
    struct clq_tune_problem *p = &s->problem;
    switch (p->kind) {
    case CLQ_TUNE_GEMM:
    case CLQ_TUNE_GEMM_S8: clq_pool_for(s->pool, s->threads, p->args.gemm.units, run_product, s); break;
    case CLQ_TUNE_GEMM_U4: clq_pool_for(s->pool, s->threads, p->args.u4.units, run_u4, s); break;
    case CLQ_TUNE_CONV: clq_pool_for(s->pool, s->threads, p->args.conv.units, run_conv, s); break;
    case CLQ_TUNE_QUANTIZE_U8: k->quantize_f32_u8(&p->args.quantize); break;
    case CLQ_TUNE_QUANTIZE_S8: k->quantize_f32_s8(&p->args.quantize); break;
    case CLQ_TUNE_DEQUANTIZE_U8: k->dequantize_u8_f32(&p->args.dequantize); break;
    case CLQ_TUNE_DEQUANTIZE_S8: k->dequantize_s8_f32(&p->args.dequantize); break;
    case CLQ_TUNE_ADD: k->add_u8(&p->args.binary); break;
    case CLQ_TUNE_MUL: k->mul_u8(&p->args.binary); break;
    case CLQ_TUNE_LUT: k->lut_u8(&p->args.lut); break;
    }
}

void clq_tune_solver_end(struct clq_tune_solver *s)
{
    free(s->y);
    free(s->packed);
    free(s->scratch);
    *s = (struct clq_tune_solver){0};
}
