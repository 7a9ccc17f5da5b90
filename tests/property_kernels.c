/* SPDX-License-Identifier: Apache-2.0
 * Properties of the elementwise kernels that hold whatever the reference says, on every usable target: error bound,
 * idempotence, monotony, common powers of two, named degenerate inputs, and histograms that do not depend on split or
 * order and grow exactly. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/harness.h"

enum { N = 1000, BINS = 1024 };

static void on_targets(void (*body)(const struct clq_kernels *k, struct clq_rng *rng))
{
    struct clq_target targets[CLQ_MAX_TARGETS];
    const size_t n = clq_targets(targets);
    for (size_t t = 0; t < n; t++) {
        if (!targets[t].usable) {
            print_message("this CPU cannot run %s\n", targets[t].name);
            continue;
        }
        for (size_t round = 0; round < 200; round++) {
            struct clq_rng rng = clq_rng_make(CLQ_SEED, "property", round);
            body(&targets[t].kernels, &rng);
        }
    }
}

static float ordinary_scale(struct clq_rng *rng)
{
    return ldexpf(1 + clq_rng_unit(rng), clq_rng_range(rng, -20, 20));
}

static void to_codes(const struct clq_kernels *k, const float *x, uint8_t *y, size_t n, float scale, int zero_point)
{
    struct clq_quantize_args q = {x, y, n, scale, zero_point, false};
    k->quantize_f32_u8(&q);
}

static void to_floats(const struct clq_kernels *k, const uint8_t *x, float *y, size_t n, float scale, int zero_point)
{
    struct clq_dequantize_args d = {x, y, n, scale, zero_point, false};
    k->dequantize_u8_f32(&d);
}

static void round_trip(const struct clq_kernels *k, struct clq_rng *rng)
{
    float x[N], back[N];
    uint8_t codes[N], again[N];
    const float scale = ordinary_scale(rng);
    const int zp = clq_rng_range(rng, 0, 255);
    clq_fill_f32(rng, x, N, CLQ_FILL_UNIFORM, scale);
    to_codes(k, x, codes, N, scale, zp);
    to_floats(k, codes, back, N, scale, zp);
    to_codes(k, back, again, N, scale, zp);
    assert_memory_equal(codes, again, N);
    for (size_t i = 0; i < N; i++) {
        const double low = (0 - zp) * (double)scale, high = (255 - zp) * (double)scale;
        if (x[i] < low || x[i] > high)
            continue;
        const double ulp = nextafterf(fabsf(x[i]), INFINITY) - fabsf(x[i]);
        assert_true(fabs((double)back[i] - (double)x[i]) <= 0.5 * (double)scale + 2 * ulp);
    }
}

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void monotone(const struct clq_kernels *k, struct clq_rng *rng)
{
    float x[N];
    uint8_t codes[N];
    const float scale = ordinary_scale(rng);
    clq_fill_f32(rng, x, N, CLQ_FILL_HALFWAY, scale);
    qsort(x, N, sizeof *x, by_value);
    to_codes(k, x, codes, N, scale, clq_rng_range(rng, 0, 255));
    for (size_t i = 1; i < N; i++)
        assert_true(codes[i - 1] <= codes[i]);
}

static void common_power_of_two(const struct clq_kernels *k, struct clq_rng *rng)
{
    float x[N], shifted[N];
    uint8_t codes[N], same[N];
    const float scale = ordinary_scale(rng);
    const int zp = clq_rng_range(rng, 0, 255), power = clq_rng_range(rng, -40, 40);
    clq_fill_f32(rng, x, N, CLQ_FILL_HALFWAY, scale);
    for (size_t i = 0; i < N; i++)
        shifted[i] = ldexpf(x[i], power);
    to_codes(k, x, codes, N, scale, zp);
    to_codes(k, shifted, same, N, ldexpf(scale, power), zp);
    assert_memory_equal(codes, same, N);
}

static void named_values(const struct clq_kernels *k, struct clq_rng *rng)
{
    const int zp = clq_rng_range(rng, 1, 254);
    const float x[] = {NAN, -NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 1e-45f, -1e-45f, 3e38f, -3e38f, 0x1p-126f};
    const uint8_t expected[] = {(uint8_t)zp, (uint8_t)zp, 255, 0, (uint8_t)zp, (uint8_t)zp,
                                (uint8_t)zp, (uint8_t)zp, 255, 0, (uint8_t)zp};
    enum { COUNT = sizeof x / sizeof *x, REPEATED = 8 * COUNT };
    float many[REPEATED];
    uint8_t codes[REPEATED];
    for (size_t i = 0; i < REPEATED; i++)
        many[i] = x[i % COUNT];
    to_codes(k, many, codes, REPEATED, ordinary_scale(rng), zp);
    for (size_t i = 0; i < REPEATED; i++)
        assert_int_equal(codes[i], expected[i % COUNT]);
}

struct counts {
    uint64_t positive[BINS], negative[BINS];
};

static void count(const struct clq_kernels *k, struct counts *out, const float *x, size_t n, int exponent)
{
    struct clq_histogram_args h = {x, n, exponent, 10, out->positive, out->negative};
    k->histogram_f32(&h);
}

static void merge_pairs(uint64_t *bins)
{
    for (size_t i = 0; i < BINS; i++)
        bins[i] = i < BINS / 2 ? bins[2 * i] + bins[2 * i + 1] : 0;
}

/* A random split in random order gives the counts of one pass, and doubling the range by merging pairs gives the
 * counts of a pass with the larger range. */
static void histogram_splits(const struct clq_kernels *k, struct clq_rng *rng)
{
    enum { MANY = 6000 };
    static float x[MANY], reversed[MANY];
    struct counts whole = {{0}, {0}}, parts = {{0}, {0}}, larger = {{0}, {0}};
    const enum clq_fill fills[] = {CLQ_FILL_UNIFORM, CLQ_FILL_SPARSE, CLQ_FILL_SUBNORMAL, CLQ_FILL_HALFWAY};
    clq_fill_f32(rng, x, MANY, fills[clq_rng_below(rng, 4)], 0.05f);
    for (size_t i = 0; i < MANY; i++)
        reversed[i] = x[MANY - 1 - i];
    count(k, &whole, x, MANY, 4);
    for (size_t at = 0; at < MANY;) {
        size_t now = 1 + clq_rng_below(rng, 3000);
        now = now < MANY - at ? now : MANY - at;
        count(k, &parts, reversed + at, now, 4);
        at += now;
    }
    assert_memory_equal(&whole, &parts, sizeof whole);
    count(k, &larger, x, MANY, 5);
    merge_pairs(whole.positive);
    merge_pairs(whole.negative);
    assert_memory_equal(&whole, &larger, sizeof whole);
    uint64_t sum = 0;
    for (size_t i = 0; i < BINS; i++)
        sum += larger.positive[i] + larger.negative[i];
    assert_int_equal(sum, MANY);
}

/* Every value lies in the bin whose edges hold it, told by comparisons instead of the scaled index. */
static void histogram_edges(const struct clq_kernels *k, struct clq_rng *rng)
{
    enum { MANY = 2048 };
    static float x[MANY];
    struct counts found = {{0}, {0}}, expected = {{0}, {0}};
    clq_fill_f32(rng, x, MANY, CLQ_FILL_UNIFORM, 0.05f);
    for (size_t i = 0; i < MANY; i += 3)
        x[i] = ldexpf((float)clq_rng_range(rng, -BINS + 1, BINS - 1), -6); /* on an edge */
    count(k, &found, x, MANY, 4);
    for (size_t i = 0; i < MANY; i++) {
        size_t low = 0, high = BINS;
        while (high - low > 1) {
            const size_t middle = (low + high) / 2;
            if (fabsf(x[i]) >= ldexpf((float)middle, -6))
                low = middle;
            else
                high = middle;
        }
        (x[i] < 0 ? expected.negative : expected.positive)[low]++;
    }
    assert_memory_equal(&found, &expected, sizeof found);
}

static void minmax_named(const struct clq_kernels *k, struct clq_rng *rng)
{
    float x[N];
    for (size_t i = 0; i < N; i++)
        x[i] = -0x1.8p-130f; /* subnormal: counts as zero */
    struct clq_minmax_args m = {x, N, INFINITY, -INFINITY, 0, 0, 0};
    k->minmax_f32(&m);
    assert_true(m.min == 0 && m.max == 0 && !signbit(m.min) && !signbit(m.max));
    x[clq_rng_below(rng, N / 2)] = NAN;
    x[N / 2 + clq_rng_below(rng, N / 4)] = -INFINITY;
    x[N - 1] = INFINITY;
    x[N - 2] = -7;
    k->minmax_f32(&m);
    assert_true(m.min == -7 && m.max == 0);
    assert_int_equal(m.n_nan, 1);
    assert_int_equal(m.n_neg_inf, 1);
    assert_int_equal(m.n_pos_inf, 1);
    struct clq_minmax_args nothing = {x, 0, INFINITY, -INFINITY, 0, 0, 0};
    k->minmax_f32(&nothing);
    assert_true(nothing.min == INFINITY && nothing.max == -INFINITY);
}

/* Within (2.1 d + (2 keys + 16) u) max |v| of real arithmetic, with u = 2^-24 and d the largest of (size + 2) u (|scale| sum |q k| + |m|)
 * of a row's scores. */
static void attention_bound(const struct clq_kernels *k, struct clq_rng *rng)
{
    enum { MOST = 40 };
    const size_t keys = 1 + clq_rng_below(rng, MOST), size = 1 + clq_rng_below(rng, MOST), v_size = 3;
    float q[MOST], key[MOST * MOST], v[MOST * 3], mask[MOST], y[3];
    unsigned char scratch[8 * MOST * MOST * sizeof(float)] __attribute__((aligned(64)));
    for (size_t i = 0; i < size; i++) q[i] = (clq_rng_unit(rng) - 0.5f) * 8;
    for (size_t i = 0; i < keys * size; i++) key[i] = (clq_rng_unit(rng) - 0.5f) * 4;
    for (size_t i = 0; i < keys * v_size; i++) v[i] = clq_rng_unit(rng) - 0.5f;
    for (size_t i = 0; i < keys; i++) mask[i] = clq_rng_below(rng, 3) ? 0 : -4 * clq_rng_unit(rng);
    struct clq_attention_args a = {.batch = 1, .heads = 1, .rows = 1, .keys = keys, .size = size, .size_v = v_size, .q = q, .k = key, .v = v, .y = y,
                                   .of_q = {0, 0, size}, .of_k = {0, 0, size}, .of_v = {0, 0, v_size}, .of_y = {0, 0, v_size}, .k_step = 1,
                                   .mask = mask, .scale = 0.3f, .scratch = scratch};
    k->attention_f32_plan(&a);
    assert_true(a.scratch_bytes <= sizeof scratch);
    a.unit_end = a.units;
    k->attention_f32(&a);
    const double u = 0x1p-24;
    double d = 0, total = 0, exact[3] = {0}, most = 0;
    for (size_t t = 0; t < keys; t++) {
        double s = 0, magnitude = 0;
        for (size_t i = 0; i < size; i++) {
            s += (double)q[i] * (double)key[t * size + i];
            magnitude += fabs((double)q[i] * (double)key[t * size + i]);
        }
        d = fmax(d, (double)(size + 2) * u * (magnitude * (double)a.scale + fabs((double)mask[t])));
        const double p = exp(s * (double)a.scale + (double)mask[t]);
        total += p;
        for (size_t i = 0; i < v_size; i++) {
            exact[i] += p * (double)v[t * v_size + i];
            most = fmax(most, fabs((double)v[t * v_size + i]));
        }
    }
    for (size_t i = 0; i < v_size; i++) assert_true(fabs((double)y[i] - exact[i] / total) <= (2.1 * d + (double)(2 * keys + 16) * u) * most);
}

#define PROPERTY(name)                                                                                                 \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        on_targets(name);                                                                                              \
    }
PROPERTY(round_trip)
PROPERTY(monotone)
PROPERTY(common_power_of_two)
PROPERTY(named_values)
PROPERTY(histogram_splits)
PROPERTY(histogram_edges)
PROPERTY(minmax_named)
PROPERTY(attention_bound)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),       cmocka_unit_test(test_monotone),
        cmocka_unit_test(test_common_power_of_two), cmocka_unit_test(test_named_values),
        cmocka_unit_test(test_histogram_splits), cmocka_unit_test(test_histogram_edges),
        cmocka_unit_test(test_minmax_named),  cmocka_unit_test(test_attention_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
