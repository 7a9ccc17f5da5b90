/* SPDX-License-Identifier: Apache-2.0
 * Proofs about the 8-bit quantizers by trying everything (argument "full", label full) or a sample (label quick): every
 * float against the reference per target, and the repaired division for every mantissa of the scale at every
 * half-way point. The reference itself is compared with a quotient that is computed another way. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/harness.h"

static bool full;

static float from_bits(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* Runs the u8 or s8 quantizer of a table. */
static void quantize(const struct clq_kernels *k, bool is_signed, const float *x, void *y, size_t n, float scale,
                     int32_t zero_point)
{
    struct clq_quantize_args q = {x, y, n, scale, zero_point, false};
    (is_signed ? k->quantize_f32_s8 : k->quantize_f32_u8)(&q);
}

/* True if all usable targets give the reference's bytes. */
static bool same(const struct clq_target *targets, size_t n_targets, bool is_signed, const float *x, size_t n,
                 float scale, int32_t zero_point, unsigned char *expected, unsigned char *actual)
{
    quantize(&targets[0].kernels, is_signed, x, expected, n, scale, zero_point);
    for (size_t t = 1; t < n_targets; t++) {
        if (!targets[t].usable ||
            (t > 1 && targets[t].kernels.quantize_f32_u8 == targets[t - 1].kernels.quantize_f32_u8))
            continue;
        quantize(&targets[t].kernels, is_signed, x, actual, n, scale, zero_point);
        if (memcmp(expected, actual, n) == 0)
            continue;
        for (size_t i = 0; i < n; i++) {
            if (expected[i] != actual[i]) {
                print_error("%s: scale %a, zero point %d, x %a: expected byte %u, actual %u\n", targets[t].name,
                            (double)scale, zero_point, (double)x[i], expected[i], actual[i]);
                break;
            }
        }
        return false;
    }
    return true;
}

/* All floats, or every 1,021st, in blocks. */
static int64_t wrong_blocks(bool is_signed, float scale, int32_t zero_point)
{
    enum { BLOCK = 1 << 16 };
    struct clq_target targets[CLQ_MAX_TARGETS];
    const size_t n_targets = clq_targets(targets);
    const uint32_t stride = full ? 1 : 1021;
    const int64_t count = ((int64_t)1 << 32) / stride, blocks = count / BLOCK;
    int64_t wrong = 0;
#pragma omp parallel for reduction(+ : wrong)
    for (int64_t block = 0; block < blocks; block++) {
        float *x = malloc(BLOCK * sizeof *x);
        unsigned char *bytes = malloc(2 * BLOCK);
        for (uint32_t i = 0; x && bytes && i < BLOCK; i++)
            x[i] = from_bits(((uint32_t)block * BLOCK + i) * stride);
        if (!x || !bytes || !same(targets, n_targets, is_signed, x, BLOCK, scale, zero_point, bytes, bytes + BLOCK))
            wrong++;
        free(bytes);
        free(x);
    }
    return wrong;
}

static void test_all_floats(void **state)
{
    (void)state;
    static const struct {
        float scale;
        int zero_point; /* unsigned; the signed one is 128 less */
    } settings[] = {{0.05f, 128}, {0.37f, 3}, {1 / 127.5f, 255}, {0x1p-64f, 0}, {0x1.fffffep63f, 77}};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        assert_int_equal(wrong_blocks(false, settings[i].scale, settings[i].zero_point), 0);
        assert_int_equal(wrong_blocks(true, settings[i].scale, settings[i].zero_point - 128), 0);
    }
}

/* The points h + 0.5 for h = 0..255 and 3 ulp on both sides, times the scale; the sign makes them positive or
 * negative. Together with the zero points 0 and 255 of u8 that is every rounding decision of 8-bit codes. */
enum { HALVES = 256, NEAR = 7, POINTS = HALVES * NEAR };

static void halfway_points(float *x, float scale, uint32_t sign)
{
    for (int h = 0; h < HALVES; h++) {
        const float at = ((float)h + 0.5f) * scale;
        uint32_t bits;
        memcpy(&bits, &at, sizeof bits);
        for (int d = 0; d < NEAR; d++)
            x[h * NEAR + d] = from_bits((bits + (uint32_t)(d - 3)) | sign);
    }
}

static int64_t wrong_mantissas(int exponent, uint32_t stride)
{
    struct clq_target targets[CLQ_MAX_TARGETS];
    const size_t n_targets = clq_targets(targets);
    int64_t wrong = 0;
#pragma omp parallel for reduction(+ : wrong) schedule(static)
    for (int64_t m = 0; m < (1 << 23); m += stride) {
        const float scale = from_bits((uint32_t)(exponent + 127) << 23 | (uint32_t)m);
        float x[POINTS];
        unsigned char expected[POINTS], actual[POINTS];
        halfway_points(x, scale, 0);
        wrong += !same(targets, n_targets, false, x, POINTS, scale, 0, expected, actual);
        halfway_points(x, scale, 0x80000000u);
        wrong += !same(targets, n_targets, false, x, POINTS, scale, 255, expected, actual);
    }
    return wrong;
}

/* Powers of two shift out, so one exponent is the proof; the ends of the allowed range are sampled. */
static void test_repaired_division(void **state)
{
    (void)state;
    assert_int_equal(wrong_mantissas(-4, full ? 1 : 251), 0);
    assert_int_equal(wrong_mantissas(-64, full ? 257 : 4099), 0);
    assert_int_equal(wrong_mantissas(63, full ? 257 : 4099), 0);
    assert_int_equal(wrong_mantissas(-65, 4099), 0);
    assert_int_equal(wrong_mantissas(64, 4099), 0);
    assert_int_equal(wrong_mantissas(-126, 4099), 0);
    assert_int_equal(wrong_mantissas(126, 4099), 0);
}

/* A binary64 quotient of two binary32 numbers rounds to the correct binary32 quotient, since 53 >= 2 * 24 + 2. Only a
 * subnormal quotient may be rounded twice, and its code is the zero point either way. */
static int32_t oracle(float x, float scale, int32_t zero_point, int32_t lo, int32_t hi)
{
    if (x != x)
        return zero_point;
    const double quotient = (double)(float)((double)x / (double)scale);
    if (quotient <= -1000)
        return lo;
    if (quotient >= 1000)
        return hi;
    const double below = floor(quotient), rest = quotient - below;
    int32_t q = (int32_t)below;
    if (rest > 0.5 || (rest == 0.5 && (q & 1)))
        q++;
    q += zero_point;
    return q < lo ? lo : q > hi ? hi : q;
}

static void test_reference(void **state)
{
    (void)state;
    struct clq_kernels k;
    struct clq_rng rng = clq_rng_make(CLQ_SEED, "oracle", 0);
    enum { N = 4096 };
    static float x[N];
    static uint8_t u[N];
    static int8_t s[N];
    clq_kernels_init(&k, 0);
    for (int round = 0; round < (full ? 20000 : 400); round++) {
        const float scale = ldexpf(1 + clq_rng_unit(&rng), clq_rng_range(&rng, -126, 126));
        const int zero_point = clq_rng_range(&rng, 0, 255);
        clq_fill_f32(&rng, x, N, (enum clq_fill)(round % CLQ_FILL_COUNT), scale);
        quantize(&k, false, x, u, N, scale, zero_point);
        quantize(&k, true, x, s, N, scale, zero_point - 128);
        for (size_t i = 0; i < N; i++) {
            if (u[i] != oracle(x[i], scale, zero_point, 0, 255) ||
                s[i] != oracle(x[i], scale, zero_point - 128, -128, 127))
                fail_msg("scale %a, zero point %d, x %a: actual %u and %d", (double)scale, zero_point, (double)x[i],
                         u[i], s[i]);
        }
    }
}

int main(int argc, char **argv)
{
    full = argc > 1 && strcmp(argv[1], "full") == 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_all_floats),
        cmocka_unit_test(test_repaired_division),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
