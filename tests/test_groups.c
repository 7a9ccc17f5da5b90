/* SPDX-License-Identifier: Apache-2.0
 * Weights in groups: formats, fits, rounding, and rounding that knows the inputs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "algo/descent.h"
#include "algo/gptq.h"
#include "scheduler/stats.h"

enum { N = 12, K = 72 };

static float weight[N * K];

static void fill(unsigned seed)
{
    for (int i = 0; i < N * K; i++) {
        seed = seed * 1664525u + 1013904223u;
        weight[i] = ((float)(seed >> 8) / 8388608.0f - 1) * ((i % 7) ? 0.1f : 0.4f);
    }
}

struct made {
    struct clq_arena arena;
    struct clq_mode mode;
    struct clq_group_weights g;
    struct clq_group_job job;
};

static void make(struct made *m, const char *mode, enum clq_group_fit fit)
{
    struct clq_error err = {""};
    memset(m, 0, sizeof *m);
    assert_int_equal(clq_mode_parse(&m->mode, mode, &err), CLQ_OK);
    m->job = (struct clq_group_job){.weight = weight, .n = N, .k = K, .mode = &m->mode, .fit = fit};
    assert_int_equal(clq_groups_start(&m->g, &m->arena, N, K, &m->mode, &err), CLQ_OK);
    assert_int_equal(clq_groups_quantize(&m->g, &m->job, &err), CLQ_OK);
}

static double noise(const struct made *m)
{
    double e = 0;
    for (size_t r = 0; r < N; r++)
        for (size_t c = 0; c < K; c++) {
            double d = (double)weight[r * K + c] - (double)clq_groups_value(&m->g, r, c);
            e += d * d;
        }
    return e;
}

/* Nearest rounding inside the range: at most half a step off, the range's ends included. */
static void test_nearest(void **state)
{
    (void)state;
    static const char *const modes[] = {"int4-g16", "int4-g16-asym", "int4-g64", "int4-channel", "int4-channel-asym", "int2-g16-asym", NULL};
    for (int i = 0; modes[i]; i++) {
        struct made m;
        fill((unsigned)i + 1);
        make(&m, modes[i], CLQ_FIT_RANGE);
        int lo = m.g.symmetric ? 1 : 0, hi = (1 << m.g.bits) - 1;
        for (size_t r = 0; r < N; r++)
            for (size_t c = 0; c < K; c++) {
                float scale = m.g.scale[r * m.g.groups + c / m.g.group];
                assert_true(m.g.codes[r * K + c] >= lo && m.g.codes[r * K + c] <= hi);
                double half = m.g.symmetric ? 0.5 : 1.0; /* the rounded zero point moves an asymmetric range by up to half a step */
                assert_true(fabs((double)weight[r * K + c] - (double)clq_groups_value(&m.g, r, c)) <= half * (double)scale * (1 + 1e-6));
            }
        clq_arena_free(&m.arena);
    }
}

static void test_fits(void **state)
{
    (void)state;
    fill(5);
    struct made range, mse, hqq;
    make(&range, "int4-g32", CLQ_FIT_RANGE);
    make(&mse, "int4-g32", CLQ_FIT_MSE);
    make(&hqq, "int4-g32", CLQ_FIT_HQQ);
    assert_true(noise(&mse) < noise(&range));
    assert_true(noise(&hqq) < 2 * noise(&range));
    clq_arena_free(&range.arena);
    clq_arena_free(&mse.arena);
    clq_arena_free(&hqq.arena);
}

/* Few values: what they are, and that the scale suits them. */
static void test_few(void **state)
{
    (void)state;
    fill(7);
    double signal = 0;
    for (int i = 0; i < N * K; i++) signal += (double)weight[i] * (double)weight[i];
    struct made ternary, binary;
    make(&ternary, "ternary", CLQ_FIT_MSE);
    make(&binary, "binary", CLQ_FIT_MSE);
    for (size_t i = 0; i < N * K; i++) {
        assert_true(ternary.g.codes[i] >= 1 && ternary.g.codes[i] <= 3);
        assert_int_equal(binary.g.codes[i], weight[i] < 0 ? 1 : 3);
    }
    double mean = 0;
    for (int c = 0; c < K; c++) mean += fabs((double)weight[c]) / K;
    assert_true(binary.g.scale[0] == (float)mean);
    assert_true(noise(&ternary) < noise(&binary) && noise(&binary) < signal);
    clq_arena_free(&ternary.arena);
    clq_arena_free(&binary.arena);
}

static void test_tables(void **state)
{
    (void)state;
    fill(9);
    struct made nf4, book;
    make(&nf4, "nf4-g16", CLQ_FIT_MSE);
    make(&book, "codebook16", CLQ_FIT_MSE);
    for (int i = 1; i < 16; i++) assert_true(nf4.g.table[i] > nf4.g.table[i - 1] && book.g.table[i] >= book.g.table[i - 1]);
    assert_true(nf4.g.table[0] == -1 && nf4.g.table[7] == 0 && nf4.g.table[15] == 1);
    for (size_t r = 0; r < N; r++)
        for (size_t c = 0; c < K; c++) { /* no other entry is nearer */
            float got = clq_groups_value(&nf4.g, r, c), scale = nf4.g.scale[r * nf4.g.groups + c / 16];
            for (int i = 0; i < 16; i++)
                assert_true(fabs((double)weight[r * K + c] - (double)got) <= fabs((double)weight[r * K + c] - (double)(nf4.g.table[i] * scale)) + 1e-7);
            got = clq_groups_value(&book.g, r, c);
            for (int i = 0; i < 16; i++)
                assert_true(fabs((double)weight[r * K + c] - (double)got) <= fabs((double)weight[r * K + c] - (double)book.g.table[i]) + 1e-7);
        }
    clq_arena_free(&nf4.arena);
    clq_arena_free(&book.arena);
}

/* The words of numerics.md 2, whatever the order; means within 6 standard errors. */
static void test_stochastic(void **state)
{
    (void)state;
    struct clq_mode mode;
    struct clq_error err = {""};
    assert_int_equal(clq_mode_parse(&mode, "int4-g16", &err), CLQ_OK);
    static const struct clq_group_weights plain = {.symmetric = true};
    struct clq_group_job job = {.mode = &mode, .rounding = {.stochastic = true, .seed = 77, .tensor = 0x0123456789abcdefu}};
    double mean = 0;
    enum { TRIALS = 40000 };
    for (size_t i = TRIALS; i-- > 0;) {
        uint32_t words[4];
        const uint32_t counter[4] = {(uint32_t)(i / 4), 0, 0x89abcdefu, 0x01234567u};
        clq_philox(words, counter, 77);
        float y = 0.3f / 0.125f;
        bool up = (double)words[i % 4] < (double)(y - 2) * 4294967296.0;
        uint8_t code = clq_groups_code(0.3f, 0.125f, 8, &plain, &job, i);
        assert_int_equal(code, 8 + 2 + up);
        mean += code - 8;
    }
    assert_true(fabs(mean / TRIALS - 2.4) < 6 * sqrt(0.24 / TRIALS));
}

/* Descent from there lowers the error further, whatever the threads, and no single code can be bettered. */
static void learn(struct made *from, const struct clq_moments *m, double before, struct clq_pool *pool)
{
    struct clq_error err = {""};
    struct made one;
    double after, moved;
    make(&one, "int4-g16", CLQ_FIT_MSE);
    clq_groups_copy(&one.g, &from->g);
    assert_int_equal(clq_descend(&one.g, &one.job, m->second, NULL, 1, &err), CLQ_OK);
    assert_int_equal(clq_descend(&from->g, &from->job, m->second, pool, 2, &err), CLQ_OK);
    assert_memory_equal(one.g.codes, from->g.codes, N * K);
    assert_memory_equal(one.g.scale, from->g.scale, N * one.g.groups * sizeof(float));
    assert_int_equal(clq_moments_error(&after, &one.g, weight, m->second, NULL, 1, &err), CLQ_OK);
    assert_true(after < before);
    for (size_t at = 0; at < N * K; at += 7)
        for (int by = -1; by <= 1; by += 2) {
            uint8_t code = one.g.codes[at];
            if (code + by < 0 || code + by > 15) continue;
            one.g.codes[at] = (uint8_t)(code + by);
            assert_int_equal(clq_moments_error(&moved, &one.g, weight, m->second, NULL, 1, &err), CLQ_OK);
            assert_true(moved > after * (1 - 1e-4));
            one.g.codes[at] = code;
        }
    clq_arena_free(&one.arena);
}

/* What a bias takes back has no weight: centered moments do not see a shift of all rows. */
static void test_centered(void **state)
{
    (void)state;
    enum { ROWS = 60, SOME = 24 };
    static float x[2][ROWS * SOME], second[2][SOME * SOME];
    struct clq_arena arena = {0};
    struct clq_error err = {""};
    unsigned seed = 4;
    for (int i = 0; i < ROWS * SOME; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[0][i] = (float)(seed >> 8) / 8388608.0f - 1;
        x[1][i] = x[0][i] + (float)(i % SOME);
    }
    for (int i = 0; i < 2; i++) {
        struct clq_moments m;
        assert_int_equal(clq_moments_start(&m, &arena, SOME, &err), CLQ_OK);
        clq_moments_add(&m, x[i], ROWS, NULL, 1);
        clq_moments_center(second[i], &m);
    }
    for (int i = 0; i < SOME; i++)
        for (int j = i; j < SOME; j++) assert_true(fabs((double)second[0][i * SOME + j] - (double)second[1][i * SOME + j]) < 0.05);
    assert_true(second[0][0] > 5);
    clq_arena_free(&arena);
}

/* Correlated inputs: rounding that knows them loses much less at the output, and its measured error is the true one. */
static void test_gptq(void **state)
{
    (void)state;
    enum { ROWS = 400 };
    static float x[ROWS * K];
    unsigned seed = 3;
    for (int r = 0; r < ROWS; r++) {
        float common[3];
        for (int i = 0; i < 3; i++) {
            seed = seed * 1664525u + 1013904223u;
            common[i] = (float)(seed >> 8) / 8388608.0f - 1;
        }
        for (int c = 0; c < K; c++) {
            seed = seed * 1664525u + 1013904223u;
            x[r * K + c] = common[c % 3] + 0.2f * ((float)(seed >> 8) / 8388608.0f - 1);
        }
    }
    struct clq_arena arena = {0};
    struct clq_moments m;
    struct clq_pool *pool = clq_pool_create(2);
    struct clq_error err = {""};
    struct made plain, known;
    double a, b;
    fill(11);
    assert_int_equal(clq_moments_start(&m, &arena, K, &err), CLQ_OK);
    clq_moments_add(&m, x, 150, pool, 2);
    clq_moments_add(&m, x + 150 * K, ROWS - 150, pool, 2);
    make(&plain, "int4-g16", CLQ_FIT_MSE);
    make(&known, "int4-g16", CLQ_FIT_MSE);
    assert_int_equal(clq_gptq_round(&known.g, &known.job, m.second, pool, 2, &err), CLQ_OK);
    assert_int_equal(clq_moments_error(&a, &plain.g, weight, m.second, pool, 2, &err), CLQ_OK);
    assert_int_equal(clq_moments_error(&b, &known.g, weight, m.second, NULL, 1, &err), CLQ_OK);
    assert_true(b < 0.3 * a);
    double e = 0;
    for (int r = 0; r < ROWS; r++)
        for (size_t n = 0; n < N; n++) {
            double d = 0;
            for (size_t c = 0; c < K; c++) d += (double)x[r * K + (int)c] * ((double)weight[n * K + c] - (double)clq_groups_value(&known.g, n, c));
            e += d * d;
        }
    assert_true(fabs(b - e) < 0.01 * b);
    struct made again;
    make(&again, "int4-g16", CLQ_FIT_MSE);
    assert_int_equal(clq_gptq_round(&again.g, &again.job, m.second, NULL, 1, &err), CLQ_OK);
    assert_memory_equal(again.g.codes, known.g.codes, N * K); /* whatever the threads */
    learn(&again, &m, b, pool);
    clq_pool_free(pool);
    clq_arena_free(&arena);
    clq_arena_free(&plain.arena);
    clq_arena_free(&known.arena);
    clq_arena_free(&again.arena);
}

static void test_modes(void **state)
{
    (void)state;
    struct clq_mode m[CLQ_MODES_MOST];
    struct clq_arena arena = {0};
    struct clq_error err = {""};
    int n = 0;
    assert_int_equal(clq_modes_add(m, &n, &arena, "f32,int8,int4-g32,int8,int4-g32-asym", &err), CLQ_OK);
    assert_int_equal(n, 4);
    assert_int_equal(m[2].run, CLQ_RUN_ROWS4);
    assert_true(m[2].scheme.weight_symmetric && !m[3].scheme.weight_symmetric);
    static const char *const wrong[] = {"int4-g48", "int4-g32-sym", "nf4-g16-asym", "int4", "int8-", "", "int4-g032", NULL};
    for (int i = 0; wrong[i]; i++) assert_int_equal(clq_mode_parse(&m[0], wrong[i], &err), CLQ_ERR_INVALID_ARGUMENT);
    assert_int_equal(clq_mode_parse(&m[0], "int16-int8", &err), CLQ_OK);
    assert_true(m[0].run == CLQ_RUN_STORED && m[0].scheme.act_bits == 16 && !m[0].products_only);
    clq_arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nearest), cmocka_unit_test(test_fits), cmocka_unit_test(test_few), cmocka_unit_test(test_tables),
                                       cmocka_unit_test(test_stochastic), cmocka_unit_test(test_gptq), cmocka_unit_test(test_centered), cmocka_unit_test(test_modes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
