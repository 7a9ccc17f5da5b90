/* SPDX-License-Identifier: Apache-2.0
 * Requantization: every target's epilogue against the reference, and the reference against the exact product in 128-bit
 * integers, on sums and multipliers that are drawn beside half-way points, beside 2^24 and 2^31, in saturation and at
 * random. A sample (label quick) or 10^8 values per target (argument "full", label full). The sum arrives as the bias
 * of a product with weights of 0, one column per value. */
#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/harness.h"

enum { COLUMNS = 1 << 14 };
static bool full;

struct batch {
    int32_t v[COLUMNS];
    float m[COLUMNS];
    int32_t zero_point, lo, hi;
    int64_t bound;
};

/* Sums below 2^23 with lo == zero_point take the short epilogue of AVX512-VNNI, the rest the general one. */
static void draw(struct clq_rng *rng, struct batch *b, bool small)
{
    b->zero_point = clq_rng_range(rng, 0, 255);
    b->lo = small || clq_rng_below(rng, 2) ? b->zero_point : 0;
    b->hi = clq_rng_below(rng, 2) ? 255 : clq_rng_range(rng, b->lo, 255);
    b->bound = small ? (1 << 23) - 1 : INT32_MAX;
    for (size_t i = 0; i < COLUMNS; i++) {
        const uint32_t r = clq_rng_u32(rng), way = r % 8;
        int64_t v = (int64_t)(int32_t)clq_rng_u32(rng) >> clq_rng_below(rng, 31);
        if (way == 1) v = (1 << 24) + clq_rng_range(rng, -300, 300);
        if (way == 2) v = (int64_t)INT32_MAX - clq_rng_range(rng, 0, 300);
        if (way == 3) v = -v;
        if (small) v %= b->bound + 1;
        if (v > b->bound) v = b->bound;
        if (v < -b->bound) v = -b->bound;
        float m = (clq_rng_unit(rng) + 0.5f) * ldexpf(1.0f, clq_rng_range(rng, -40, small ? 6 : 20));
        if (way >= 4 && v != 0) { /* a product beside a half-way point */
            m = fabsf((float)(clq_rng_range(rng, -260, 260) + 0.5) / (float)v);
            for (int ulp = clq_rng_range(rng, -2, 2); ulp != 0; ulp += ulp < 0 ? 1 : -1)
                m = nextafterf(m, ulp < 0 ? 0.0f : 1e30f);
        }
        if (small && m >= 256.0f) m = 255.0f;
        b->v[i] = (int32_t)v;
        b->m[i] = m;
    }
}

static void requantize(const struct clq_kernels *k, const struct batch *b, enum clq_out out, void *y)
{
    static const uint8_t a[4];
    static const int8_t weight[COLUMNS * 4];
    const int32_t below = out == CLQ_OUT_S8 ? 128 : 0;
    struct clq_gemm_args g = {
        .m = 1,
        .n = COLUMNS,
        .k = 4,
        .a = a,
        .lda = 4,
        .weight = weight,
        .bias = b->v,
        .multiplier = b->m,
        .zero_point_y = b->zero_point - below,
        .lo = b->lo - below,
        .hi = b->hi - below,
        .out = out,
        .y = y,
        .ldy = COLUMNS,
        .bound = b->bound,
    };
    k->gemm_u8s8_plan(&g);
    g.packed = aligned_alloc(64, (g.packed_bytes + 64) / 64 * 64);
    g.scratch = aligned_alloc(64, (g.scratch_bytes + 64) / 64 * 64);
    assert_non_null(g.packed);
    assert_non_null(g.scratch);
    k->gemm_u8s8_pack(&g);
    g.unit_end = g.units;
    k->gemm_u8s8(&g);
    free(g.packed);
    free(g.scratch);
}

/* The half-even rounding of the exact product, limited; *beside says whether it lies within 2^-22, relatively, of a
 * half-way point. A float is an integer of 24 bits times a power of two. */
static int32_t oracle(int32_t v, float m, const struct batch *b, bool *beside)
{
    int exponent;
    const int64_t mantissa = (int64_t)ldexpf(frexpf(m, &exponent), 24);
    const __int128 product = (__int128)v * mantissa, limit = 1 << 20;
    const int shift = 24 - exponent; /* v * m = product / 2^shift */
    __int128 q = 0;
    *beside = false;
    if (shift <= 0) {
        q = shift < -31 ? (product > 0 ? limit : product < 0 ? -limit : 0) : product * ((__int128)1 << -shift);
    } else if (shift < 64) {
        const __int128 unit = (__int128)1 << shift, floor = product >> shift, rest = product - floor * unit;
        const __int128 off = rest > unit / 2 ? rest - unit / 2 : unit / 2 - rest;
        q = floor + (2 * rest > unit || (2 * rest == unit && floor % 2 != 0));
        *beside = off << 22 <= (product < 0 ? -product : product);
    }
    q += b->zero_point;
    return q < b->lo ? b->lo : q > b->hi ? b->hi : (int32_t)q;
}

static void check_oracle(const struct batch *b, const uint8_t *codes)
{
    for (size_t i = 0; i < COLUMNS; i++) {
        bool beside;
        const int32_t exact = oracle(b->v[i], b->m[i], b, &beside), off = exact - codes[i];
        if (off == 0 || (beside && (off == 1 || off == -1))) continue;
        fail_msg("v %d, multiplier %a, zero point %d: exact %d, reference %d", b->v[i], (double)b->m[i], b->zero_point,
                 exact, codes[i]);
    }
}

static void test_requantize(void **state)
{
    (void)state;
    static struct batch b;
    static uint8_t expected[COLUMNS * 4], actual[COLUMNS * 4];
    struct clq_target targets[CLQ_MAX_TARGETS];
    const size_t n_targets = clq_targets(targets), batches = full ? 6104 : 60; /* 6104 * 2^14 > 10^8 */
    size_t compared = 0;
    for (size_t i = 0; i < batches; i++) {
        struct clq_rng rng = clq_rng_make(CLQ_SEED, "requantize", i);
        const enum clq_out out = i % 8 == 5 ? CLQ_OUT_S8 : i % 8 == 6 ? CLQ_OUT_F32 : CLQ_OUT_U8;
        draw(&rng, &b, i % 2 == 0 && out == CLQ_OUT_U8);
        requantize(&targets[0].kernels, &b, out, expected);
        if (out == CLQ_OUT_U8) check_oracle(&b, expected);
        for (size_t t = 1; t < n_targets; t++) {
            if (!targets[t].usable) continue;
            requantize(&targets[t].kernels, &b, out, actual);
            if (memcmp(expected, actual, out == CLQ_OUT_F32 ? sizeof actual : COLUMNS) != 0)
                fail_msg("%s differs from the reference in batch %zu, output %d", targets[t].name, i, (int)out);
            compared += COLUMNS;
        }
    }
    print_message("%zu values, %zu comparisons with other targets\n", batches * COLUMNS, compared);
}

/* The oracle itself: ties, signs and saturation. */
static void test_oracle(void **state)
{
    (void)state;
    const struct batch b = {.zero_point = 100, .lo = 0, .hi = 255};
    bool beside;
    assert_int_equal(oracle(5, 0.5f, &b, &beside), 102);
    assert_true(beside);
    assert_int_equal(oracle(7, 0.5f, &b, &beside), 104);
    assert_int_equal(oracle(-5, 0.5f, &b, &beside), 98);
    assert_int_equal(oracle(4, 0.5f, &b, &beside), 102);
    assert_false(beside);
    assert_int_equal(oracle(INT32_MAX, 0x1p60f, &b, &beside), 255);
    assert_int_equal(oracle(-1, 0x1p60f, &b, &beside), 0);
    assert_int_equal(oracle(0, 0x1p60f, &b, &beside), 100);
    assert_int_equal(oracle(3, 0x1p-100f, &b, &beside), 100);
}

int main(int argc, char **argv)
{
    full = argc > 1 && strcmp(argv[1], "full") == 0;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_oracle), cmocka_unit_test(test_requantize)};
    return cmocka_run_group_tests_name("requantize", tests, NULL, NULL);
}
