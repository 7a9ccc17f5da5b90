/* SPDX-License-Identifier: Apache-2.0
 * Cases of dequantize_u8_f32 and dequantize_s8_f32. One size is every code once; the result must be equal to the bit,
 * subnormal and infinite products included. */
#include <stdio.h>

#include "tests/harness.h"

static const size_t sizes[] = {0,  1,  3,  7,  8,  9,  15, 16,  17,  19,   31,
                               32, 33, 35, 63, 64, 65, 67, 131, 256, 1009, 100003};
static const float scales[] = {0.05f, 1.0f, 0x1p-126f, 0x1.fffffep127f, 0x1.8p-120f, 1 / 127.5f, 3.7f};
static const int zero_points_u8[] = {0, 128, 255, 3}, zero_points_s8[] = {0, -128, 127, -5};
enum { N_SIZES = sizeof sizes / sizeof *sizes, N_SCALES = sizeof scales / sizeof *scales, PER_SIZE = 8 };

static void describe(struct clq_case *c, size_t n, enum clq_fill_codes fill, size_t slack, float scale, int zero_point,
                     enum clq_elem elem, bool streaming)
{
    clq_case_label(c, "n=%zu slack=%zu scale=%a zp=%d %s%s", n, slack, (double)scale, zero_point, clq_codes_name(fill),
                   streaming ? " streaming" : "");
    struct clq_dequantize_args *d = clq_case_args(c, sizeof *d);
    unsigned char *x = clq_case_operand(c, "x", CLQ_IN, elem, n, slack);
    clq_fill_codes(&c->rng, x, n, fill);
    for (size_t i = 0; n == 256 && i < n; i++)
        x[i] = (unsigned char)i;
    *d = (struct clq_dequantize_args){
        .x = x,
        .y = clq_case_operand(c, "y", CLQ_OUT, CLQ_ELEM_F32, n, slack * 3 % 4),
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
    describe(c, sizes[size], (enum clq_fill_codes)(kind % CLQ_CODES_COUNT), index % 4,
             scales[(index + size) % N_SCALES], zero_points[(kind + size / 2) % 4], elem, (kind + size) % 2);
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
    describe(c, bench_sizes[index], CLQ_CODES_UNIFORM, 0, 0.05f, 113, CLQ_ELEM_U8, false);
}

static void bench_s8(struct clq_case *c, size_t index)
{
    describe(c, bench_sizes[index], CLQ_CODES_UNIFORM, 0, 0.05f, -3, CLQ_ELEM_S8, false);
}

static void run_u8(struct clq_case *c, const struct clq_kernels *k)
{
    k->dequantize_u8_f32(c->args);
}

static void run_s8(struct clq_case *c, const struct clq_kernels *k)
{
    k->dequantize_s8_f32(c->args);
}

static void explain(const struct clq_case *c, size_t operand, size_t at, char *text, size_t bytes)
{
    const struct clq_dequantize_args *d = c->args;
    const unsigned char code = ((const unsigned char *)d->x)[at];
    snprintf(text, bytes, "byte %u of operand %zu", code, operand);
}

const struct clq_family clq_family_dequantize_u8_f32 = {
    .op = "dequantize_u8_f32", .n_tests = N_SIZES * PER_SIZE, .n_benches = N_BENCHES,
    .prepare = prepare_u8, .prepare_bench = bench_u8, .run = run_u8, .explain = explain,
};

const struct clq_family clq_family_dequantize_s8_f32 = {
    .op = "dequantize_s8_f32", .n_tests = N_SIZES * PER_SIZE, .n_benches = N_BENCHES,
    .prepare = prepare_s8, .prepare_bench = bench_s8, .run = run_s8, .explain = explain,
};
