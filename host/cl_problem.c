/* SPDX-License-Identifier: Apache-2.0
 * Shapes, operands and runs of the tuner's problems. What is expected comes from the host's own kernels, which are proven
 * equal to the reference. */
#include "cl_problem.h"

#include <stdlib.h>
#include <string.h>

#include "cl_selftest.h"

enum { ELEMENTS = 1 << 20, MOST = 3 };
#define SCALE_X 0.05f
#define SCALE_B 0.04f
#define SCALE_Y 0.07f

/* Square, few rows, few columns; all sides are four times as long on a large device. */
static const struct {
    size_t m, n, k;
} gemm_shapes[] = {{384, 384, 384}, {32, 768, 768}, {768, 48, 384}}, gemv_shapes[] = {{1, 1024, 1024}, {4, 512, 1024}};

/* Side of the image, channels in and out, kernel, stride. Channels are twice as many on a large device, depthwise ones
 * four times. */
static const struct {
    size_t side, ci, co, kernel, stride;
} conv_shapes[] = {{28, 64, 64, 3, 1}, {14, 128, 256, 3, 1}, {56, 32, 64, 3, 2}},
  depthwise_shapes[] = {{56, 96, 96, 3, 1}, {28, 192, 192, 5, 2}};

size_t clq_cl_problem_count(enum clq_cl_family family)
{
    switch (family) {
    case CLQ_CL_GEMM: return sizeof gemm_shapes / sizeof *gemm_shapes;
    case CLQ_CL_GEMV: return sizeof gemv_shapes / sizeof *gemv_shapes;
    case CLQ_CL_CONV: return sizeof conv_shapes / sizeof *conv_shapes;
    case CLQ_CL_DEPTHWISE: return sizeof depthwise_shapes / sizeof *depthwise_shapes;
    case CLQ_CL_QUANTIZE_U8:
    case CLQ_CL_QUANTIZE_S8:
    case CLQ_CL_DEQUANTIZE_U8:
    case CLQ_CL_DEQUANTIZE_S8:
    case CLQ_CL_ADD:
    case CLQ_CL_MUL:
    case CLQ_CL_LUT: return 1;
    default: return 0;
    }
}

void clq_cl_problem_free(struct clq_cl_problem *p)
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

/* Random operands for products: weights [n][k] and one multiplier per column. */
static bool fill_product(struct clq_cl_problem *p, size_t n, size_t k)
{
    uint64_t seed = n * 31 + k;
    p->x = malloc(p->x_bytes);
    p->weight = malloc(n * k);
    p->multiplier = malloc(n * sizeof *p->multiplier);
    p->expected = malloc(p->y_bytes);
    if (!p->x || !p->weight || !p->multiplier || !p->expected) return false;
    clq_cl_random_bytes(p->x, p->x_bytes, seed);
    clq_cl_random_bytes(p->weight, n * k, seed + 1);
    for (size_t i = 0; i < n; i++) p->multiplier[i] = (float)(1 + clq_cl_random(&seed) % 997) * 0x1p-22f;
    return true;
}

/* Packs and runs on the host's kernels. */
static clq_status solve_gemm(struct clq_gemm_args g, struct clq_error *err)
{
    struct clq_kernels k;
    clq_kernels_init(&k, clq_cpu_detect());
    k.gemm_u8s8_plan(&g);
    void *packed = aligned_alloc(64, (g.packed_bytes + 64) / 64 * 64), *scratch = aligned_alloc(64, (g.scratch_bytes + 64) / 64 * 64);
    if (packed && scratch) {
        g.packed = packed;
        g.scratch = scratch;
        g.unit_end = g.units;
        k.gemm_u8s8_pack(&g);
        k.gemm_u8s8(&g);
    }
    const bool ok = packed && scratch;
    free(packed);
    free(scratch);
    return ok ? CLQ_OK : no_memory(err);
}

static clq_status solve_conv(struct clq_conv_args c, struct clq_error *err)
{
    struct clq_kernels k;
    clq_kernels_init(&k, clq_cpu_detect());
    k.conv_u8s8_plan(&c);
    void *packed = aligned_alloc(64, (c.packed_bytes + 64) / 64 * 64), *scratch = aligned_alloc(64, (c.scratch_bytes + 64) / 64 * 64);
    if (packed && scratch) {
        c.packed = packed;
        c.scratch = scratch;
        c.unit_end = c.units;
        k.conv_u8s8_pack(&c);
        k.conv_u8s8(&c);
    }
    const bool ok = packed && scratch;
    free(packed);
    free(scratch);
    return ok ? CLQ_OK : no_memory(err);
}

static clq_status make_gemm(struct clq_cl_problem *p, size_t m, size_t n, size_t k, struct clq_error *err)
{
    p->x_bytes = m * k;
    p->y_bytes = m * n;
    if (!fill_product(p, n, k)) return no_memory(err);
    p->gemm = (struct clq_gemm_args){.m = m,
                                     .n = n,
                                     .k = k,
                                     .a = p->x,
                                     .lda = k,
                                     .weight = p->weight,
                                     .multiplier = p->multiplier,
                                     .zero_point_a = 120,
                                     .zero_point_y = 128,
                                     .hi = 255,
                                     .y = p->expected,
                                     .ldy = n,
                                     .bound = (int64_t)k * 255 * 128};
    return solve_gemm(p->gemm, err);
}

static clq_status make_conv(struct clq_cl_problem *p, size_t side, size_t ci, size_t co, size_t kernel, size_t stride,
                            size_t groups, struct clq_error *err)
{
    const size_t out = side / stride;
    p->x_bytes = side * side * ci;
    p->y_bytes = out * out * co;
    if (!fill_product(p, co, kernel * kernel * (ci / groups))) return no_memory(err);
    p->conv = (struct clq_conv_args){.batch = 1,
                                     .h = side,
                                     .w = side,
                                     .ci = ci,
                                     .oh = out,
                                     .ow = out,
                                     .co = co,
                                     .kh = kernel,
                                     .kw = kernel,
                                     .stride_h = stride,
                                     .stride_w = stride,
                                     .pad_top = (kernel - 1) / 2,
                                     .pad_left = (kernel - 1) / 2,
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
    return solve_conv(p->conv, err);
}

static struct clq_binary_u8_args binary_args(const struct clq_cl_problem *p)
{
    return (struct clq_binary_u8_args){p->x, p->b, p->expected, p->n, SCALE_X, SCALE_B, SCALE_Y, 120, 130, 128, 0, 255};
}

static struct clq_quantize_args quantize_args(const struct clq_cl_problem *p)
{
    return (struct clq_quantize_args){p->x, p->expected, p->n, SCALE_X, p->family == CLQ_CL_QUANTIZE_S8 ? -3 : 125};
}

static struct clq_dequantize_args dequantize_args(const struct clq_cl_problem *p)
{
    return (struct clq_dequantize_args){p->x, p->expected, p->n, SCALE_X, p->family == CLQ_CL_DEQUANTIZE_S8 ? -3 : 125};
}

static clq_status make_elementwise(struct clq_cl_problem *p, struct clq_error *err)
{
    const bool from_float = p->family == CLQ_CL_QUANTIZE_U8 || p->family == CLQ_CL_QUANTIZE_S8;
    const bool to_float = p->family == CLQ_CL_DEQUANTIZE_U8 || p->family == CLQ_CL_DEQUANTIZE_S8;
    uint64_t seed = p->n;
    p->x_bytes = from_float ? 4 * p->n : p->n;
    p->b_bytes = p->n;
    p->y_bytes = to_float ? 4 * p->n : p->n;
    p->x = malloc(p->x_bytes);
    p->b = malloc(p->b_bytes);
    p->expected = malloc(p->y_bytes);
    if (!p->x || !p->b || !p->expected) return no_memory(err);
    clq_cl_random_bytes(p->x, p->x_bytes, seed);
    clq_cl_random_bytes(p->b, p->b_bytes, seed + 1);
    for (size_t i = 0; from_float && i < p->n; i++) ((float *)p->x)[i] = (float)(int32_t)clq_cl_random(&seed) * 0x1p-28f;
    struct clq_kernels k;
    clq_kernels_init(&k, clq_cpu_detect());
    struct clq_binary_u8_args binary = binary_args(p);
    struct clq_quantize_args q = quantize_args(p);
    struct clq_dequantize_args d = dequantize_args(p);
    struct clq_lut_args lut = {p->x, p->expected, p->n, p->b};
    switch (p->family) {
    case CLQ_CL_QUANTIZE_U8: k.quantize_f32_u8(&q); break;
    case CLQ_CL_QUANTIZE_S8: k.quantize_f32_s8(&q); break;
    case CLQ_CL_DEQUANTIZE_U8: k.dequantize_u8_f32(&d); break;
    case CLQ_CL_DEQUANTIZE_S8: k.dequantize_s8_f32(&d); break;
    case CLQ_CL_ADD: k.add_u8(&binary); break;
    case CLQ_CL_MUL: k.mul_u8(&binary); break;
    default: k.lut_u8(&lut); break;
    }
    return CLQ_OK;
}

static clq_status make(struct clq_cl_problem *p, size_t i, bool large, struct clq_error *err)
{
    const size_t f = large ? 4 : 1;
    switch (p->family) {
    case CLQ_CL_GEMM: return make_gemm(p, f * gemm_shapes[i].m, f * gemm_shapes[i].n, f * gemm_shapes[i].k, err);
    case CLQ_CL_GEMV: return make_gemm(p, gemv_shapes[i].m, f * gemv_shapes[i].n, f * gemv_shapes[i].k, err);
    case CLQ_CL_CONV:
        return make_conv(p, conv_shapes[i].side, (large ? 2 : 1) * conv_shapes[i].ci, (large ? 2 : 1) * conv_shapes[i].co,
                         conv_shapes[i].kernel, conv_shapes[i].stride, 1, err);
    case CLQ_CL_DEPTHWISE:
        return make_conv(p, depthwise_shapes[i].side, f * depthwise_shapes[i].ci, f * depthwise_shapes[i].co,
                         depthwise_shapes[i].kernel, depthwise_shapes[i].stride, f * depthwise_shapes[i].ci, err);
    default: p->n = f * ELEMENTS; return make_elementwise(p, err);
    }
}

clq_status clq_cl_problem_create(struct clq_cl_problem **out, enum clq_cl_family family, size_t i, bool large,
                                 struct clq_error *err)
{
    struct clq_cl_problem *p = calloc(1, sizeof *p);
    if (!p) return no_memory(err);
    p->family = family;
    clq_status st = make(p, i, large, err);
    if (st != CLQ_OK) clq_cl_problem_free(p);
    else *out = p;
    return st;
}

clq_status clq_cl_problem_rows(struct clq_cl_problem **out, size_t m, bool large, struct clq_error *err)
{
    struct clq_cl_problem *p = calloc(1, sizeof *p);
    if (!p) return no_memory(err);
    p->family = CLQ_CL_GEMM;
    clq_status st = make_gemm(p, m, large ? 4096 : 1024, large ? 4096 : 1024, err);
    if (st != CLQ_OK) clq_cl_problem_free(p);
    else *out = p;
    return st;
}

clq_status clq_cl_attempt_begin(struct clq_cl_attempt *a, struct clq_cl *cl, const struct clq_cl_problem *p,
                                struct clq_error *err)
{
    *a = (struct clq_cl_attempt){.cl = cl, .problem = p};
    if (p->family == CLQ_CL_GEMM || p->family == CLQ_CL_GEMV) CLQ_TRY(clq_cl_prepare_gemm(&a->weight, cl, false, &p->gemm, err));
    if (p->family == CLQ_CL_CONV || p->family == CLQ_CL_DEPTHWISE) CLQ_TRY(clq_cl_prepare_conv(&a->weight, cl, &p->conv, err));
    CLQ_TRY(clq_cl_alloc(&a->x, cl, p->x_bytes, err));
    CLQ_TRY(clq_cl_upload(cl, &a->x, p->x, p->x_bytes, err));
    if (p->b) {
        CLQ_TRY(clq_cl_alloc(&a->b, cl, p->b_bytes, err));
        CLQ_TRY(clq_cl_upload(cl, &a->b, p->b, p->b_bytes, err));
    }
    return clq_cl_alloc(&a->y, cl, p->y_bytes, err);
}

clq_status clq_cl_attempt_run(struct clq_cl_attempt *a, struct clq_error *err)
{
    const struct clq_cl_problem *p = a->problem;
    const struct clq_cl_io one = {.x = &a->x, .y = &a->y}, two = {.x = &a->x, .b = &a->b, .y = &a->y};
    const struct clq_binary_u8_args binary = binary_args(p);
    const struct clq_quantize_args q = quantize_args(p);
    const struct clq_dequantize_args d = dequantize_args(p);
    const struct clq_lut_args lut = {p->x, p->expected, p->n, p->b};
    switch (p->family) {
    case CLQ_CL_GEMM:
    case CLQ_CL_GEMV: return clq_cl_gemm(a->cl, a->weight, &p->gemm, &one, err);
    case CLQ_CL_CONV:
    case CLQ_CL_DEPTHWISE: return clq_cl_conv(a->cl, a->weight, &p->conv, &one, err);
    case CLQ_CL_QUANTIZE_U8: return clq_cl_quantize(a->cl, false, &q, &one, err);
    case CLQ_CL_QUANTIZE_S8: return clq_cl_quantize(a->cl, true, &q, &one, err);
    case CLQ_CL_DEQUANTIZE_U8: return clq_cl_dequantize(a->cl, false, &d, &one, err);
    case CLQ_CL_DEQUANTIZE_S8: return clq_cl_dequantize(a->cl, true, &d, &one, err);
    case CLQ_CL_ADD: return clq_cl_add(a->cl, &binary, &two, err);
    case CLQ_CL_MUL: return clq_cl_mul(a->cl, &binary, &two, err);
    default: return clq_cl_lut(a->cl, &lut, &one, err);
    }
}

clq_status clq_cl_attempt_check(struct clq_cl_attempt *a, struct clq_error *err)
{
    const struct clq_cl_problem *p = a->problem;
    const unsigned char *want = p->expected;
    unsigned char *got = malloc(p->y_bytes);
    if (!got) return no_memory(err);
    clq_status st = clq_cl_attempt_run(a, err);
    if (st == CLQ_OK) st = clq_cl_download(got, a->cl, &a->y, p->y_bytes, err);
    for (size_t i = 0; st == CLQ_OK && i < p->y_bytes; i++)
        if (got[i] != want[i])
            st = clq_fail(err, CLQ_ERR_NUMERIC, "byte %zu of %zu is %u, expected %u", i, p->y_bytes, got[i], want[i]);
    free(got);
    return st;
}

void clq_cl_attempt_end(struct clq_cl_attempt *a)
{
    if (!a->cl) return;
    clq_cl_release(a->cl, &a->x);
    clq_cl_release(a->cl, &a->b);
    clq_cl_release(a->cl, &a->y);
    clq_cl_weight_free(a->cl, a->weight);
    *a = (struct clq_cl_attempt){0};
}
