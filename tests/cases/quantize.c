/* SPDX-License-Identifier: Apache-2.0
 * Cases of quantize_f32_u8 and quantize_f32_s8: every size around the vector widths, each with several kinds of data,
 * scales on both sides of the limits of the repaired division, and extreme zero points. */
#include <stdio.h>
#include <string.h>

#include "tests/harness.h"

static const size_t sizes[] = {0,  1,  2,  3,   7,   8,   9,   15,  16,  17,   19,   31,   32,
                               33, 35, 61, 63,  64,  65,  67,  97,  127, 128,  129,  131,  1009, 100003};
static const float scales[] = {0.05f,      1.0f,        0.37f, 1 / 127.5f, 0x1p-64f, 0x1p64f, 0x1.fffffep-65f,
                               0x1.8p64f, 0x1.p-126f, 3e36f, 2.5e-7f,    0x1.fffffep-1f};
static const int zero_points_u8[] = {0, 128, 255, 3}, zero_points_s8[] = {0, -128, 127, -5};
enum {
    N_SIZES = sizeof sizes / sizeof *sizes,
    N_SCALES = sizeof scales / sizeof *scales,
    PER_SIZE = CLQ_FILL_COUNT * 2
};

/* Scale, zero point and offset walk through their lists at different paces, so that neighbors differ in all of them. */
static void describe(struct clq_case *c, size_t n, enum clq_fill fill, size_t slack, float scale, int zero_point,
                     enum clq_elem elem, bool streaming)
{
    clq_case_label(c, "n=%zu slack=%zu scale=%a zp=%d %s%s", n, slack, (double)scale, zero_point, clq_fill_name(fill),
                   streaming ? " streaming" : "");
    struct clq_quantize_args *q = clq_case_args(c, sizeof *q);
    float *x = clq_case_operand(c, "x", CLQ_IN, CLQ_ELEM_F32, n, slack);
    clq_fill_f32(&c->rng, x, n, fill, scale);
    *q = (struct clq_quantize_args){
        .x = x,
        .y = clq_case_operand(c, "y", CLQ_OUT, elem, n, slack * 3 % 4),
        .n = n,
        .scale = scale,
        .zero_point = zero_point,
        .streaming = streaming,
    };
    c->bytes = 5.0 * (double)n;
    c->operations = (double)n;
}

static void prepare(struct clq_case *c, size_t index, const int zero_points[4], enum clq_elem elem)
{
    const size_t kind = index % PER_SIZE, size = index / PER_SIZE;
    describe(c, sizes[size], (enum clq_fill)(kind % CLQ_FILL_COUNT), index % 4, scales[(index + size) % N_SCALES],
             zero_points[(kind + size / 2) % 4], elem, (kind + size) % 2);
}

static void prepare_u8(struct clq_case *c, size_t index)
{
    prepare(c, index, zero_points_u8, CLQ_ELEM_U8);
}

static void prepare_s8(struct clq_case *c, size_t index)
{
    prepare(c, index, zero_points_s8, CLQ_ELEM_S8);
}

static const size_t bench_sizes[] = {(size_t)1 << 14, (size_t)1 << 18, (size_t)1 << 24};
enum { N_BENCHES = 3 };

static void bench_u8(struct clq_case *c, size_t index)
{
    describe(c, bench_sizes[index], CLQ_FILL_UNIFORM, 0, 0.05f, 113, CLQ_ELEM_U8, false);
}

static void bench_s8(struct clq_case *c, size_t index)
{
    describe(c, bench_sizes[index], CLQ_FILL_UNIFORM, 0, 0.05f, -3, CLQ_ELEM_S8, false);
}

static void run_u8(struct clq_case *c, const struct clq_kernels *k)
{
    k->quantize_f32_u8(c->args);
}

static void run_s8(struct clq_case *c, const struct clq_kernels *k)
{
    k->quantize_f32_s8(c->args);
}

static void explain(const struct clq_case *c, size_t operand, size_t at, char *text, size_t bytes)
{
    const struct clq_quantize_args *q = c->args;
    float x;
    memcpy(&x, (const char *)q->x + at * sizeof x, sizeof x);
    snprintf(text, bytes, "x=%a of operand %zu", (double)x, operand);
}

const struct clq_family clq_family_quantize_f32_u8 = {
    .op = "quantize_f32_u8", .n_tests = N_SIZES * PER_SIZE, .n_benches = N_BENCHES,
    .prepare = prepare_u8, .prepare_bench = bench_u8, .run = run_u8, .explain = explain,
};

const struct clq_family clq_family_quantize_f32_s8 = {
    .op = "quantize_f32_s8", .n_tests = N_SIZES * PER_SIZE, .n_benches = N_BENCHES,
    .prepare = prepare_s8, .prepare_bench = bench_s8, .run = run_s8, .explain = explain,
};
