/* SPDX-License-Identifier: Apache-2.0
 * Cases of add_u8 and mul_u8: all pairs of codes under scales of every kind (common, tiny, huge, overflowing), limits,
 * and y in place of a or b. */
#include <stdio.h>

#include "tests/harness.h"

struct setting {
    float scale_a, scale_b, scale_y;
    int zero_point_a, zero_point_b, zero_point_y, lo, hi;
};

static const struct setting settings[] = {
    {0.05f, 0.03f, 0.06f, 128, 120, 115, 0, 255},
    {0.05f, 0.05f, 0.05f, 0, 0, 0, 0, 255},
    {0.5f, 0.25f, 1.0f, 128, 128, 128, 0, 255},          /* half-way points everywhere */
    {0.0235f, 0.0157f, 0.02f, 3, 255, 0, 7, 201},
    {1.0f, 1.0f, 0x1p-20f, 17, 200, 128, 0, 255},        /* the quotient passes every 16-bit limit */
    {0x1p-20f, 0x1p-19f, 1.0f, 10, 20, 128, 100, 130},
    {0x1p-40f, 0x1p-41f, 0x1p-40f, 0, 255, 77, 0, 255},  /* outside the range of the fast path */
    {0x1p60f, 0x1p60f, 0x1p60f, 128, 128, 128, 0, 255},
    {0x1p127f, 0x1p127f, 1.0f, 128, 1, 9, 0, 255},       /* infinity minus infinity, 0 times infinity */
    {0x1p-126f, 0x1p-126f, 0x1p-126f, 3, 4, 5, 0, 254},  /* subnormal products */
    {0x1.3p-126f, 0x1.7p-125f, 0x1.9p-126f, 3, 200, 128, 0, 255},
    {0x1.3p-100f, 0x1.7p-20f, 0x1.9p-120f, 3, 200, 128, 0, 255},
    {0x1.3p120f, 0x1.7p119f, 0x1.9p127f, 3, 200, 128, 0, 255},
    {0.017f, 3.1f, 0.055f, 255, 0, 255, 255, 255},
    {0x1p-31f, 0x1p31f, 0x1p-30f, 128, 128, 128, 1, 255},
};
static const size_t sizes[] = {0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 35, 63, 64, 65, 67, 127, 128, 129, 131, 1009, 65536};
enum { N_SETTINGS = sizeof settings / sizeof *settings, N_SIZES = sizeof sizes / sizeof *sizes };

/* in_place: 0 none, 1 y is a, 2 y is b. */
static void describe(struct clq_case *c, size_t n, const struct setting *s, size_t slack, int in_place,
                     enum clq_fill_codes fill)
{
    static const char *const places[] = {"", " y=a", " y=b"};
    clq_case_label(c, "n=%zu slack=%zu sa=%a sb=%a sy=%a zy=%d %s%s", n, slack, (double)s->scale_a, (double)s->scale_b,
                   (double)s->scale_y, s->zero_point_y, clq_codes_name(fill), places[in_place]);
    struct clq_binary_u8_args *v = clq_case_args(c, sizeof *v);
    uint8_t *a = clq_case_operand(c, "a", in_place == 1 ? CLQ_INOUT : CLQ_IN, CLQ_ELEM_U8, n, slack);
    uint8_t *b = clq_case_operand(c, "b", in_place == 2 ? CLQ_INOUT : CLQ_IN, CLQ_ELEM_U8, n, slack * 3 % 4);
    uint8_t *y = in_place == 1 ? a : in_place == 2 ? b : clq_case_operand(c, "y", CLQ_OUT, CLQ_ELEM_U8, n, 1);
    clq_fill_codes(&c->rng, a, n, fill);
    clq_fill_codes(&c->rng, b, n, fill);
    for (size_t i = 0; n == 65536 && i < n; i++) {
        a[i] = (uint8_t)i;
        b[i] = (uint8_t)(i >> 8);
    }
    *v = (struct clq_binary_u8_args){
        .a = a, .b = b, .y = y, .n = n,
        .scale_a = s->scale_a, .scale_b = s->scale_b, .scale_y = s->scale_y,
        .zero_point_a = s->zero_point_a, .zero_point_b = s->zero_point_b, .zero_point_y = s->zero_point_y,
        .lo = s->lo, .hi = s->hi,
    };
    c->bytes = 3.0 * (double)n;
    c->operations = (double)n;
}

static void prepare(struct clq_case *c, size_t index)
{
    const size_t setting = index % N_SETTINGS, size = index / N_SETTINGS;
    const enum clq_fill_codes fill = index % 3 ? CLQ_CODES_UNIFORM : CLQ_CODES_EXTREME;
    describe(c, sizes[size], &settings[setting], index % 4, (int)((index + size) % 3), fill);
}

static const size_t bench_sizes[] = {(size_t)1 << 14, (size_t)1 << 18, (size_t)1 << 22};

static void prepare_bench(struct clq_case *c, size_t index)
{
    describe(c, bench_sizes[index], &settings[0], 0, 0, CLQ_CODES_UNIFORM);
}

static void run_add(struct clq_case *c, const struct clq_kernels *k)
{
    k->add_u8(c->args);
}

static void run_mul(struct clq_case *c, const struct clq_kernels *k)
{
    k->mul_u8(c->args);
}

/* The operand that was in place is read from its initial bytes. */
static void explain(const struct clq_case *c, size_t operand, size_t at, char *text, size_t bytes)
{
    snprintf(text, bytes, "a=%u b=%u, operand %zu", c->operand[0].initial[at], c->operand[1].initial[at], operand);
}

const struct clq_family clq_family_add_u8 = {
    .op = "add_u8", .n_tests = N_SIZES * N_SETTINGS, .n_benches = 3,
    .prepare = prepare, .prepare_bench = prepare_bench, .run = run_add, .explain = explain,
};

const struct clq_family clq_family_mul_u8 = {
    .op = "mul_u8", .n_tests = N_SIZES * N_SETTINGS, .n_benches = 3,
    .prepare = prepare, .prepare_bench = prepare_bench, .run = run_mul, .explain = explain,
};
