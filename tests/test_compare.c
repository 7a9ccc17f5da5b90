/* SPDX-License-Identifier: Apache-2.0
 * The decision rules replayed over recorded and synthetic noise: how often equals are told apart (never), and how often
 * a real difference is found. No test measures anything. */
#include "scheduler/compare.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scheduler/stats.h"

#define MAX_PAIRS 6000
static const char *const traces[] = {"noise_26us.txt", "noise_195us.txt", "noise_memory.txt", "noise_loaded.txt"};

static size_t load_trace(struct clq_timing *pairs, const char *name)
{
    char path[1024], line[128];
    size_t n = 0;
    snprintf(path, sizeof path, "%s/timing/%s", CLQ_TEST_DATA, name);
    FILE *f = fopen(path, "r");
    if (!f) fail_msg("cannot open %s", path);
    while (fgets(line, sizeof line, f) && n < MAX_PAIRS) {
        long a, b;
        if (line[0] == '#' || sscanf(line, "%ld %ld", &a, &b) != 2) continue;
        pairs[n++] = (struct clq_timing){.reference = 1e-9 * (double)a, .candidate = 1e-9 * (double)b};
    }
    fclose(f);
    assert_true(n >= 2000);
    return n;
}

static struct clq_random rng;

static double uniform(void)
{
    return (clq_random_word(&rng) + 0.5) * 0x1p-32;
}

static double normal(void)
{
    return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform());
}

enum noise { HEAVY_TAIL, DRIFT, STEPS, PERIODIC, N_NOISE };

/* A window of pairs around one millisecond. The noise acts on time, not on the side: A/A. */
static void synthetic(struct clq_timing *pairs, size_t n, enum noise kind, int processes, double process_effect)
{
    double level = 1, effect = 0;
    for (size_t i = 0; i < n; i++) {
        size_t block = n / (size_t)processes ? n / (size_t)processes : 1;
        if (i % block == 0) effect = process_effect * normal();
        double t[2];
        for (int side = 0; side < 2; side++) {
            double e = 0.03 * normal();
            if (kind == HEAVY_TAIL && uniform() < 0.1) e += 0.2 / pow(uniform(), 0.7);
            if (kind == DRIFT) level += 0.0005;
            if (kind == STEPS && uniform() < 0.02) level = 0.7 + 0.9 * uniform();
            if (kind == PERIODIC) level = 1 + 0.3 * sin((double)i * 0.37);
            t[side] = 1e-3 * level * exp(e);
        }
        bool swap = clq_pair_candidate_first(i);
        pairs[i] = (struct clq_timing){.reference = t[swap], .candidate = t[!swap] * exp(effect), .process = (int)(i / block)};
    }
}

/* Slides windows that end as soon as the rule has enough; factor is the candidate's true ratio. */
static void count_switches(const struct clq_timing *trace, size_t n, double factor, size_t *windows, size_t *taken)
{
    struct clq_timing *w = malloc(n * sizeof *w);
    for (size_t start = 0; start + 21 <= n; start += 11) {
        double total = 0;
        size_t k = 0;
        while (start + k < n && (k < 21 || total < 0.15)) {
            w[k] = trace[start + k];
            w[k].candidate *= factor;
            total += w[k].reference + w[k].candidate;
            k++;
        }
        if (total < 0.15) break;
        struct clq_kernel_verdict v;
        assert_int_equal(clq_choose_kernel(&v, w, k, NULL), CLQ_OK);
        assert_true(v.enough);
        ++*windows;
        *taken += v.take;
    }
    free(w);
}

static void test_kernel_recorded(void **unused)
{
    (void)unused;
    struct clq_timing *pairs = malloc(MAX_PAIRS * sizeof *pairs);
    size_t windows = 0, false_switches = 0, windows_b = 0, found = 0, windows_c = 0, small = 0;
    for (size_t i = 0; i < sizeof traces / sizeof *traces; i++) {
        size_t n = load_trace(pairs, traces[i]);
        count_switches(pairs, n, 1.0, &windows, &false_switches);
        count_switches(pairs, n, 0.75, &windows_b, &found);
        count_switches(pairs, n, 0.97, &windows_c, &small);
    }
    print_message("recorded: %zu false switches in %zu; a ratio of 0.75 found %zu of %zu; 0.97 taken %zu\n", false_switches,
                  windows, found, windows_b, small);
    assert_true(windows > 150);
    assert_int_equal(false_switches, 0);
    assert_true(found * 100 >= windows_b * 99);
    assert_int_equal(small, 0);
    free(pairs);
}

static void test_kernel_synthetic(void **unused)
{
    (void)unused;
    struct clq_timing w[80];
    size_t false_switches = 0, found = 0, windows = 0;
    rng = clq_random_start(1, 0);
    for (int kind = 0; kind < N_NOISE; kind++)
        for (int i = 0; i < 500; i++) {
            struct clq_kernel_verdict v;
            synthetic(w, 80, kind, 1, 0);
            for (int k = 0; k < 80; k++) { /* two milliseconds a pair and more */
                w[k].reference *= 2;
                w[k].candidate *= 2;
            }
            assert_int_equal(clq_choose_kernel(&v, w, 80, NULL), CLQ_OK);
            assert_true(v.enough);
            false_switches += v.take;
            for (int k = 0; k < 80; k++)
                w[k].candidate *= 0.8;
            assert_int_equal(clq_choose_kernel(&v, w, 80, NULL), CLQ_OK);
            found += v.take;
            windows++;
        }
    print_message("synthetic: %zu false switches in %zu, a ratio of 0.8 found %zu\n", false_switches, windows, found);
    assert_int_equal(false_switches, 0);
    assert_true(found * 100 >= windows * 99);
}

static void fill(struct clq_timing *w, size_t n, double reference, double candidate)
{
    for (size_t i = 0; i < n; i++)
        w[i] = (struct clq_timing){.reference = reference, .candidate = candidate, .process = (int)(i % 5)};
}

/* Each bound of the rule from both sides. */
static void test_kernel_rule(void **unused)
{
    (void)unused;
    struct clq_timing w[64];
    struct clq_kernel_verdict v;
    fill(w, 64, 0.01, 0.008);
    assert_int_equal(clq_choose_kernel(&v, w, 20, NULL), CLQ_OK);
    assert_false(v.enough || v.take); /* 20 pairs */
    assert_int_equal(clq_choose_kernel(&v, w, 21, NULL), CLQ_OK);
    assert_true(v.enough && v.take);
    fill(w, 64, 0.001, 0.0008);
    assert_int_equal(clq_choose_kernel(&v, w, 64, NULL), CLQ_OK);
    assert_false(v.enough || v.take); /* 115 ms */
    fill(w, 64, 0.01, 0.0091);
    assert_int_equal(clq_choose_kernel(&v, w, 64, NULL), CLQ_OK);
    assert_true(v.enough && !v.take); /* 0.91 */
    fill(w, 64, 0.01, 0.008);
    for (int i = 0; i < 9; i++)
        w[i].candidate = 0.02; /* 12 wins of 21: p is 0.33 */
    assert_int_equal(clq_choose_kernel(&v, w, 21, NULL), CLQ_OK);
    assert_true(v.ratio < 0.9 && v.p > 0.3 && !v.take);
    w[0].candidate = w[1].candidate = w[2].candidate = w[3].candidate = 0.008; /* 16 of 21: 0.0133 */
    assert_int_equal(clq_choose_kernel(&v, w, 21, NULL), CLQ_OK);
    assert_true(fabs(v.p - 0.013302) < 1e-6 && !v.take);
    w[4].candidate = 0.008; /* 17 of 21: 0.0036 */
    assert_int_equal(clq_choose_kernel(&v, w, 21, NULL), CLQ_OK);
    assert_true(fabs(v.p - 0.003599) < 1e-6 && v.take);
    w[20].discard = true;
    w[19].reference = NAN;
    w[18].candidate = 0;
    assert_int_equal(clq_choose_kernel(&v, w, 21, NULL), CLQ_OK);
    assert_true(v.pairs == 18 && v.discarded == 3 && !v.take);
    fill(w, 64, 0.01, 0.01); /* ties are neither wins nor losses */
    assert_int_equal(clq_choose_kernel(&v, w, 64, NULL), CLQ_OK);
    assert_true(v.p >= 1 && !v.take);
    assert_int_equal(clq_choose_kernel(&v, w, 0, NULL), CLQ_OK);
    assert_false(v.enough || v.take);
}

/* 500 A/A windows of 200 pairs: none may be faster, or slower. With the interval alone about 1 in 40 would be. */
static void test_accept_equals(void **unused)
{
    (void)unused;
    enum { N = 200 };
    struct clq_timing w[N];
    rng = clq_random_start(2, 0);
    for (int kind = 0; kind < N_NOISE; kind++)
        for (int many = 0; many < 3; many++) {
            int claims = 0, plain = 0;
            for (int i = 0; i < 500; i++) {
                struct clq_accept_verdict v;
                synthetic(w, N, kind, many ? 5 : 1, many == 1 ? 0.003 : many == 2 ? 0.01 : 0);
                struct clq_accept_options opt = {.min_processes = 1, .seed = (uint64_t)i};
                assert_int_equal(clq_accept_plan(&v, w, N, &opt, NULL), CLQ_OK);
                assert_true(v.enough && v.processes == (many ? 5u : 1u));
                claims += v.speed != CLQ_SPEED_UNDECIDED;
                opt.interval_only = true;
                plain += v.lo > 1 || v.hi < 1;
            }
            print_message("noise %d, %s: %d claims in 500 A/A windows, %d intervals without 1\n", kind,
                          many == 0 ? "1 process" : many == 1 ? "5 processes" : "5 unlike processes", claims, plain);
            assert_int_equal(claims, 0);
            assert_true(plain <= 50); /* 5 % nominal; twice that is the most for few processes */
        }
}

static void test_accept_recorded(void **unused)
{
    (void)unused;
    struct clq_timing *pairs = malloc(MAX_PAIRS * sizeof *pairs), *w = malloc(200 * sizeof *w);
    int claims = 0, windows = 0, found = 0, slower = 0;
    for (size_t i = 0; i < sizeof traces / sizeof *traces; i++) {
        size_t n = load_trace(pairs, traces[i]);
        for (size_t start = 0; start + 200 <= n; start += 50, windows++) {
            struct clq_accept_options opt = {.min_processes = 1, .seed = start};
            struct clq_accept_verdict v;
            for (int pass = 0; pass < 3; pass++) {
                static const double factor[] = {1, 0.9, 1.1};
                memcpy(w, pairs + start, 200 * sizeof *w);
                for (int k = 0; k < 200; k++)
                    w[k].candidate *= factor[pass];
                assert_int_equal(clq_accept_plan(&v, w, 200, &opt, NULL), CLQ_OK);
                claims += pass == 0 && v.speed != CLQ_SPEED_UNDECIDED;
                found += pass == 1 && v.speed == CLQ_SPEED_FASTER;
                slower += pass == 2 && v.speed == CLQ_SPEED_SLOWER;
            }
        }
    }
    print_message("recorded: %d claims in %d A/A windows; 0.9 found %d, 1.1 found %d\n", claims, windows, found, slower);
    assert_int_equal(claims, 0);
    assert_true(windows > 190 && found * 100 >= windows * 95 && slower * 100 >= windows * 95);
    free(pairs);
    free(w);
}

static void test_accept_rule(void **unused)
{
    (void)unused;
    enum { N = 250 };
    struct clq_timing w[N];
    struct clq_accept_verdict v, again;
    rng = clq_random_start(3, 0);
    synthetic(w, N, HEAVY_TAIL, 5, 0.005);
    for (int i = 0; i < N; i++)
        w[i].candidate *= 0.8;
    assert_int_equal(clq_accept_plan(&v, w, N, NULL, NULL), CLQ_OK);
    assert_true(v.speed == CLQ_SPEED_FASTER && v.enough && v.pairs == N && v.processes == 5);
    assert_true(v.lo < v.ratio && v.ratio < v.hi && fabs(v.ratio - 0.8) < 0.03);
    assert_true(fabs(v.speedup * v.ratio - 1) < 0.01 && v.speedup_lo < v.speedup && v.speedup < v.speedup_hi);
    assert_int_equal(clq_accept_plan(&again, w, N, NULL, NULL), CLQ_OK);
    assert_true(v.lo == again.lo && v.hi == again.hi && v.speedup == again.speedup); /* seeded */
    assert_int_equal(clq_accept_plan(&v, w, 199, NULL, NULL), CLQ_OK);
    assert_true(!v.enough && v.speed == CLQ_SPEED_UNDECIDED && v.ratio < 0.9);
    for (int i = 0; i < N; i++)
        w[i].process = i % 4;
    assert_int_equal(clq_accept_plan(&v, w, N, NULL, NULL), CLQ_OK);
    assert_true(!v.enough && v.processes == 4);
    assert_int_equal(clq_accept_plan(&v, w, 0, NULL, NULL), CLQ_OK);
    assert_true(v.pairs == 0 && v.speed == CLQ_SPEED_UNDECIDED);
    /* One process of five that disagrees widens the interval: pooled pairs alone would claim. */
    synthetic(w, N, HEAVY_TAIL, 5, 0);
    for (int i = 0; i < N; i++)
        w[i].candidate *= w[i].process < 2 ? 1.08 : 0.95;
    struct clq_accept_options one = {.min_processes = 1};
    assert_int_equal(clq_accept_plan(&v, w, N, NULL, NULL), CLQ_OK);
    double width = v.hi - v.lo;
    assert_int_equal(v.speed, CLQ_SPEED_UNDECIDED);
    for (int i = 0; i < N; i++)
        w[i].process = 0;
    assert_int_equal(clq_accept_plan(&v, w, N, &one, NULL), CLQ_OK);
    assert_true(v.hi - v.lo < width / 2);
}

static void test_small_rules(void **unused)
{
    (void)unused;
    uint64_t ticks = 0;
    assert_false(clq_is_warm((double[]){0.030}, 1));
    assert_true(clq_is_warm((double[]){0.020, 0.021}, 2));
    assert_false(clq_is_warm((double[]){0.010, 0.010}, 2)); /* 20 ms */
    assert_false(clq_is_warm((double[]){0.030, 0.020}, 2));
    assert_true(clq_is_warm((double[]){0.5, 0.001, 0.00105}, 3));
    assert_true(clq_steal_ticks(&ticks, "cpu  10 2 30 400 5 0 6 77 0 0\ncpu0 1 2 3 4 5 6 7 8\n"));
    assert_int_equal(ticks, 77);
    assert_false(clq_steal_ticks(&ticks, "cpu  10 2 30\n"));
    assert_false(clq_steal_ticks(&ticks, "intr 5"));
    assert_false(clq_steal_ticks(&ticks, ""));
    assert_false(clq_pair_candidate_first(0) || !clq_pair_candidate_first(1) || clq_pair_candidate_first(2));
}

/* Values of the published Philox 4x32-10 vectors, and of tables. */
static void test_stats(void **unused)
{
    (void)unused;
    uint32_t out[4];
    clq_philox(out, (uint32_t[]){0, 0, 0, 0}, 0);
    assert_true(out[0] == 0x6627e8d5 && out[1] == 0xe169c58d && out[2] == 0xbc57ac4c && out[3] == 0x9b00dbd8);
    clq_philox(out, (uint32_t[]){0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822);
    assert_true(out[0] == 0xd16cfe09 && out[1] == 0x94fdcceb && out[2] == 0x5001e420 && out[3] == 0x24126ea1);
    double v[] = {5, 1, 4, 2, 3}, w[] = {4, 1, 3, 2};
    assert_true(clq_median(v, 5) == 3 && clq_median(w, 4) == 2.5 && clq_quantile(v, 5, 0.25) == 2);
    assert_true(clq_quantile(w, 4, 1) == 4 && clq_quantile(w, 4, 0) == 1);
    assert_true(fabs(clq_binomial_tail(21, 17, 0.5) - 7547.0 / 2097152) < 1e-12); /* 5985 + 1330 + 210 + 21 + 1 of 2^21 */
    assert_true(fabs(clq_student_quantile(0.975, 4) - 2.7764451) < 1e-6);
    assert_true(fabs(clq_student_quantile(0.95, 31) - 1.6955188) < 1e-6);
    double lo, hi;
    clq_clopper_pearson(&lo, &hi, 0, 10, 0.95);
    assert_true(lo == 0 && fabs(hi - 0.3084971) < 1e-6);
    clq_clopper_pearson(&lo, &hi, 122, 122, 0.95);
    assert_true(hi == 1 && fabs(lo - pow(0.025, 1.0 / 122)) < 1e-9);
    clq_clopper_pearson(&lo, &hi, 8, 10, 0.95);
    assert_true(fabs(lo - 0.4439045) < 1e-6 && fabs(hi - 0.9747893) < 1e-6);
    clq_clopper_pearson(&lo, &hi, 0, 0, 0.95);
    assert_true(lo == 0 && hi == 1);
    double scratch[20], x[] = {3, 1, 4, 1, 5}, same[] = {2, 2, 2, 2, 2};
    assert_true(clq_spearman(x, x, 5, scratch) == 1 && isnan(clq_spearman(x, same, 5, scratch)));
    assert_true(fabs(clq_spearman(x, (double[]){2, 7, 1, 8, 3}, 5, scratch) + 0.6668859288553503) < 1e-9); /* scipy.stats.spearmanr */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stats),          cmocka_unit_test(test_small_rules),
        cmocka_unit_test(test_kernel_rule),    cmocka_unit_test(test_kernel_recorded),
        cmocka_unit_test(test_kernel_synthetic), cmocka_unit_test(test_accept_rule),
        cmocka_unit_test(test_accept_equals),  cmocka_unit_test(test_accept_recorded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
