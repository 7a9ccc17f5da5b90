/* SPDX-License-Identifier: Apache-2.0
 * Cases of minmax_f32 and histogram_f32. Sizes reach past the point where 16-bit private counters of one bin would
 * overflow; counts start at values other than zero, since the kernels add. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/harness.h"

static const size_t sizes[] = {0,  1,  3,  7,   8,   9,   15,  16,   17,   31,   32,    33,     63,    64,
                               65, 67, 127, 131, 257, 511, 513, 1023, 2049, 4099, 9973, 100003};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

struct minmax_result {
    float min, max;
    uint64_t n_nan, n_pos_inf, n_neg_inf;
};

static void describe_minmax(struct clq_case *c, size_t n, enum clq_fill fill, size_t slack, bool fresh)
{
    clq_case_label(c, "n=%zu slack=%zu %s%s", n, slack, clq_fill_name(fill), fresh ? "" : " continued");
    struct clq_minmax_args *m = clq_case_args(c, sizeof *m);
    float *x = clq_case_operand(c, "x", CLQ_IN, CLQ_ELEM_F32, n, slack);
    clq_fill_f32(&c->rng, x, n, fill, 0.05f);
    *m = (struct clq_minmax_args){.x = x, .n = n, .min = INFINITY, .max = -INFINITY};
    if (!fresh)
        *m = (struct clq_minmax_args){x, n, -1.25f, 0.5f, 3, (uint64_t)1 << 40, 7};
    clq_case_operand(c, "range", CLQ_OUT, CLQ_ELEM_F32, 2, 0);
    clq_case_operand(c, "counters", CLQ_OUT, CLQ_ELEM_U64, 3, 0);
    c->bytes = 4.0 * (double)n;
    c->operations = (double)n;
}

static void prepare_minmax(struct clq_case *c, size_t index)
{
    const enum clq_fill fill = (enum clq_fill)(index % CLQ_FILL_COUNT);
    describe_minmax(c, sizes[index / CLQ_FILL_COUNT], fill, index % 4, index % 5 != 0);
}

static const size_t bench_sizes[] = {(size_t)1 << 18, (size_t)1 << 24};

static void bench_minmax(struct clq_case *c, size_t index)
{
    describe_minmax(c, bench_sizes[index], CLQ_FILL_UNIFORM, 0, true);
}

static void run_minmax(struct clq_case *c, const struct clq_kernels *k)
{
    struct clq_minmax_args m = *(const struct clq_minmax_args *)c->args;
    k->minmax_f32(&m);
    const float range[2] = {m.min, m.max};
    const uint64_t counters[3] = {m.n_nan, m.n_pos_inf, m.n_neg_inf};
    memcpy(c->operand[1].memory.data, range, sizeof range);
    memcpy(c->operand[2].memory.data, counters, sizeof counters);
}

static void describe_histogram(struct clq_case *c, size_t n, enum clq_fill fill, size_t slack, unsigned log2_bins,
                               int exponent, float scale)
{
    clq_case_label(c, "n=%zu slack=%zu bins=2^%u exponent=%d %s", n, slack, log2_bins, exponent, clq_fill_name(fill));
    struct clq_histogram_args *h = clq_case_args(c, sizeof *h);
    float *x = clq_case_operand(c, "x", CLQ_IN, CLQ_ELEM_F32, n, slack);
    clq_fill_f32(&c->rng, x, n, fill, scale);
    const size_t bins = (size_t)1 << log2_bins;
    *h = (struct clq_histogram_args){
        .x = x,
        .n = n,
        .exponent = exponent,
        .log2_bins = log2_bins,
        .positive = clq_case_operand(c, "positive", CLQ_INOUT, CLQ_ELEM_U64, bins, 0),
        .negative = clq_case_operand(c, "negative", CLQ_INOUT, CLQ_ELEM_U64, bins, 0),
    };
    for (size_t i = 0; i < bins; i++) {
        h->positive[i] = clq_rng_u32(&c->rng);
        h->negative[i] = (uint64_t)clq_rng_u32(&c->rng) << 20;
    }
    c->bytes = 4.0 * (double)n;
    c->operations = (double)n;
}

/* 600,011 equal values fill one bin of one of 8 copies 75,001 times, which no 16-bit counter holds. */
static const struct {
    size_t n;
    enum clq_fill fill;
    unsigned log2_bins;
} large[] = {
    {600011, CLQ_FILL_SPARSE, 10}, {600011, CLQ_FILL_SUBNORMAL, 10}, {600011, CLQ_FILL_UNIFORM, 10},
    {600011, CLQ_FILL_SUBNORMAL, 12}, {600011, CLQ_FILL_SUBNORMAL, 11}, {1200007, CLQ_FILL_SUBNORMAL, 6},
    {600011, CLQ_FILL_SPECIAL, 10},
};
enum { N_LARGE = sizeof large / sizeof *large, N_HISTOGRAM = N_SIZES * CLQ_FILL_COUNT };

/* Exponents over the whole legal range; the data's scale follows so that the bins are used, and every seventh case is
 * beyond its range or far below it. */
static void prepare_histogram(struct clq_case *c, size_t index)
{
    static const int exponents[] = {4, 128, -64, 0, 1, 64, -20};
    if (index >= N_HISTOGRAM) {
        const size_t at = index - N_HISTOGRAM;
        describe_histogram(c, large[at].n, large[at].fill, at % 4, large[at].log2_bins, 4, 0.05f);
        return;
    }
    const int exponent = exponents[index % 7];
    const float scale = index % 11 == 0 ? 1.0f : ldexpf(1, exponent - 9);
    const enum clq_fill fill = (enum clq_fill)(index % CLQ_FILL_COUNT);
    const unsigned log2_bins = 6 + (unsigned)(index / 3 % 7);
    describe_histogram(c, sizes[index / CLQ_FILL_COUNT], fill, index % 4, log2_bins, exponent, scale);
}

static void bench_histogram(struct clq_case *c, size_t index)
{
    describe_histogram(c, bench_sizes[index % 2], index < 2 ? CLQ_FILL_UNIFORM : CLQ_FILL_SPARSE, 0, 10, 4, 0.05f);
}

static void run_histogram(struct clq_case *c, const struct clq_kernels *k)
{
    k->histogram_f32(c->args);
}

static void explain(const struct clq_case *c, size_t operand, size_t at, char *text, size_t bytes)
{
    snprintf(text, bytes, "%s, element %zu", c->operand[operand].name, at);
}

const struct clq_family clq_family_minmax_f32 = {
    .op = "minmax_f32", .n_tests = N_SIZES * CLQ_FILL_COUNT, .n_benches = 2,
    .prepare = prepare_minmax, .prepare_bench = bench_minmax, .run = run_minmax, .explain = explain,
};

const struct clq_family clq_family_histogram_f32 = {
    .op = "histogram_f32", .n_tests = N_HISTOGRAM + N_LARGE, .n_benches = 4,
    .prepare = prepare_histogram, .prepare_bench = bench_histogram, .run = run_histogram, .explain = explain,
};
