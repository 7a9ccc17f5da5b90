/* SPDX-License-Identifier: Apache-2.0
 * The summation tree against a naive drawing of it, the error measures against hand-made numbers, and the coverage of the
 * intervals in simulation. */
#include "scheduler/error.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scheduler/stats.h"

static struct clq_random rng;

static double uniform(void)
{
    return (clq_random_word(&rng) + 0.5) * 0x1p-32;
}

static double normal(void)
{
    return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform());
}

/* The tree as the contract draws it: all leaves, then level by level. */
static double naive_tree(const double *x, size_t n)
{
    size_t leaves = (n + 1023) / 1024;
    if (leaves == 0) return 0;
    double *level = calloc(leaves, sizeof *level);
    for (size_t l = 0; l < leaves; l++) {
        double lane[16] = {0};
        for (size_t j = 0; j < 16; j++)
            for (size_t i = l * 1024 + j; i < n && i < (l + 1) * 1024; i += 16)
                lane[j] += x[i];
        for (int j = 0; j < 8; j++)
            lane[j] += lane[j + 8];
        for (int j = 0; j < 4; j++)
            lane[j] += lane[j + 4];
        for (int j = 0; j < 2; j++)
            lane[j] += lane[j + 2];
        level[l] = lane[0] + lane[1];
    }
    while (leaves > 1) {
        size_t next = 0;
        for (size_t i = 0; i < leaves; i += 2)
            level[next++] = i + 1 < leaves ? level[i] + level[i + 1] : level[i];
        leaves = next;
    }
    double total = level[0];
    free(level);
    return total;
}

static void test_tree(void **unused)
{
    (void)unused;
    enum { MOST = 40000 };
    double *x = malloc(MOST * sizeof *x);
    rng = clq_random_start(5, 0);
    for (size_t i = 0; i < MOST; i++)
        x[i] = normal() * exp(10 * normal());
    size_t plain_differs = 0;
    for (size_t n = 0; n <= MOST; n += n < 2100 ? 1 : 487) {
        double want = naive_tree(x, n), got = clq_sum_array(x, n), plain = 0;
        if (memcmp(&want, &got, sizeof want) != 0) fail_msg("n %zu: %a, expected %a", n, got, want);
        for (size_t i = 0; i < n; i++)
            plain += x[i];
        plain_differs += plain != got;
    }
    assert_true(plain_differs > 1000); /* the order is visible in these data */
    for (size_t leaves = 1; leaves <= 39; leaves++) {
        double want = naive_tree(x, leaves * 1024), got = clq_sum_array(x, leaves * 1024);
        assert_memory_equal(&want, &got, sizeof want);
    }
    free(x);
}

static struct clq_sample_error sample_of(const float *r, const float *c, size_t n)
{
    struct clq_sample_sums sums = {0};
    struct clq_sample_error out;
    clq_sample_add(&sums, r, c, n / 2); /* two outputs of one sample */
    clq_sample_add(&sums, r + n / 2, c + n / 2, n - n / 2);
    clq_sample_finish(&out, &sums);
    return out;
}

static void test_measures(void **unused)
{
    (void)unused;
    struct clq_error_total t;
    struct clq_sample_error s[2];
    s[0] = sample_of((float[]){3, 4, 0}, (float[]){3, 4, 0}, 3);
    clq_error_combine(&t, s, 1);
    assert_true(t.identical && t.cosine == 1 && t.max_abs == 0 && t.noise == 0 && isinf(t.sqnr_db) && t.sqnr_db > 0);
    s[1] = sample_of((float[]){6, 8, 0}, (float[]){6, 8, 1}, 3);
    clq_error_combine(&t, s, 2);
    assert_true(!t.identical && fabs(t.sqnr_db - 10 * log10(125.0)) < 1e-12 && t.max_abs == 1 && t.elements == 6);
    assert_true(fabs(t.cosine - 125 / (sqrt(125) * sqrt(126))) < 1e-12 && fabs(t.noise - 1.0 / 125) < 1e-15);
    assert_true(fabs(clq_noise_from_db(t.sqnr_db) - t.noise) < 1e-15);
    s[0] = sample_of((float[]){0, 0}, (float[]){0, 1}, 2);
    clq_error_combine(&t, s, 1);
    assert_true(!t.identical && t.sqnr_db == CLQ_SQNR_WORST && t.cosine == 0);
    s[0] = sample_of((float[]){0, 0}, (float[]){0, -0.0f}, 2);
    clq_error_combine(&t, s, 1);
    assert_true(t.identical && t.cosine == 1);
    s[0] = sample_of((float[]){NAN, INFINITY, 2, -INFINITY}, (float[]){NAN, INFINITY, 2, -INFINITY}, 4);
    clq_error_combine(&t, s, 1);
    assert_true(t.identical && t.mismatches == 0);
    s[0] = sample_of((float[]){NAN, INFINITY, 2, 1}, (float[]){0, -INFINITY, 2, NAN}, 4);
    clq_error_combine(&t, s, 1);
    assert_true(!t.identical && t.mismatches == 3 && t.sqnr_db == CLQ_SQNR_WORST && isinf(t.max_abs));
    s[0] = sample_of((float[]){1e-30f, 1}, (float[]){2e-30f, 1}, 2); /* an error, though its energy is tiny */
    clq_error_combine(&t, s, 1);
    assert_true(!t.identical && t.sqnr_db > 500);
    clq_error_combine(&t, s, 0);
    assert_true(t.identical && t.samples == 0);
    assert_int_equal(clq_top1((float[]){1, 3, 3, 2}, 4), 1);
    assert_int_equal(clq_top1((float[]){NAN, -5, NAN}, 3), 1);
    assert_int_equal(clq_top1((float[]){NAN, NAN}, 2), 0);
}

static void test_proportions(void **unused)
{
    (void)unused;
    struct clq_proportion p = clq_proportion_of(120, 122);
    assert_true(fabs(p.value - 120.0 / 122) < 1e-12 && p.lo > 0.941 && p.lo < 0.943 && p.hi > 0.997 && p.hi < 0.9985);
    p = clq_proportion_of(0, 0);
    assert_true(p.value == 0 && p.lo == 0 && p.hi == 1);
    unsigned char a[1000], b[1000];
    for (int i = 0; i < 1000; i++) {
        a[i] = i < 910;
        b[i] = i >= 5 && i < 912;
    }
    struct clq_drop d = clq_drop_of(a, b, 1000);
    assert_true(d.lost == 5 && d.gained == 2 && fabs(d.points - 0.3) < 1e-12);
    assert_true(d.upper > 0.8 && d.upper < 1.3);
    assert_true(clq_drop_of(a, a, 10).upper > 25); /* ten samples decide nothing */
    assert_true(clq_drop_of(a, a, 0).upper >= 100);
    /* Coverage: in at most 5 % of the trials is the true drop above the bound. */
    int missed = 0;
    rng = clq_random_start(6, 0);
    for (int trial = 0; trial < 1000; trial++) {
        for (int i = 0; i < 300; i++) {
            double u = uniform();
            a[i] = u < 0.90;
            b[i] = u < 0.87 || u > 0.99;
        }
        missed += clq_drop_of(a, b, 300).upper < 2;
    }
    print_message("drop: bound below the truth in %d of 1000\n", missed);
    assert_true(missed <= 50);
}

/* Energies as networks give them: log-normal, reference and error correlated. */
static void random_samples(struct clq_sample_error *s, size_t n, double spread)
{
    for (size_t i = 0; i < n; i++) {
        double common = 0.5 * normal();
        s[i] = (struct clq_sample_error){.reference_energy = exp(common), .error_energy = 0.01 * exp(common + spread * normal())};
    }
}

static void test_sqnr_bound(void **unused)
{
    (void)unused;
    struct clq_sample_error s[128];
    static const size_t sizes[] = {8, 16, 32, 128};
    for (int spread = 0; spread < 2; spread++)
        for (int k = 0; k < 4; k++) {
            double sigma = spread ? 0.9 : 0.4, width = 0;
            double truth = clq_noise_to_db(0.01 * exp(sigma * sigma / 2)); /* ratio of the expectations */
            int missed = 0;
            rng = clq_random_start(7, (uint64_t)k);
            for (int trial = 0; trial < 400; trial++) {
                struct clq_sqnr_bound b;
                random_samples(s, sizes[k], sigma);
                assert_int_equal(clq_sqnr_lower(&b, s, sizes[k], 0.95, (uint64_t)trial, NULL), CLQ_OK);
                assert_true(b.decidable && b.lower_db <= b.sqnr_db);
                missed += b.lower_db > truth;
                width += (b.sqnr_db - b.lower_db) / 400;
            }
            print_message("n %zu, spread %.1f: bound above the truth in %d of 400, %.2f dB below the estimate\n", sizes[k], sigma, missed, width);
            assert_true(missed <= (sizes[k] >= 32 && !spread ? 36 : 56) && width < 5);
        }
    struct clq_sqnr_bound b, again;
    assert_int_equal(clq_sqnr_lower(&b, s, 64, 0.95, 1, NULL), CLQ_OK);
    assert_int_equal(clq_sqnr_lower(&again, s, 64, 0.95, 1, NULL), CLQ_OK);
    assert_true(b.lower_db == again.lower_db);
    assert_int_equal(clq_sqnr_lower(&b, s, 7, 0.95, 1, NULL), CLQ_OK);
    assert_false(b.decidable);
    assert_int_equal(clq_sqnr_lower(&b, s, 7, 0.4, 1, NULL), CLQ_ERR_INVALID_ARGUMENT);
    for (int i = 0; i < 16; i++)
        s[i] = (struct clq_sample_error){.reference_energy = 1, .identical = true};
    assert_int_equal(clq_sqnr_lower(&b, s, 16, 0.95, 1, NULL), CLQ_OK);
    assert_true(isinf(b.lower_db) && b.lower_db > 0);
    s[3].mismatches = 1;
    assert_int_equal(clq_sqnr_lower(&b, s, 16, 0.95, 1, NULL), CLQ_OK);
    assert_true(b.lower_db == CLQ_SQNR_WORST);
}

/* Pairing: a difference of half a dB is certain though both values alone are uncertain by more. */
static void test_paired(void **unused)
{
    (void)unused;
    struct clq_sample_error a[64], b[64];
    double lo, hi;
    rng = clq_random_start(8, 0);
    random_samples(a, 64, 0.9);
    for (int i = 0; i < 64; i++) {
        b[i] = a[i];
        b[i].error_energy *= pow(10, -0.05) * exp(0.05 * normal());
    }
    assert_int_equal(clq_sqnr_difference(&lo, &hi, a, b, 64, 0.95, 3, NULL), CLQ_OK);
    assert_true(lo > 0.3 && hi < 0.7);
    struct clq_sqnr_bound bound;
    assert_int_equal(clq_sqnr_lower(&bound, a, 64, 0.95, 3, NULL), CLQ_OK);
    assert_true(bound.sqnr_db - bound.lower_db > 0.7);
    assert_int_equal(clq_sqnr_difference(&lo, &hi, a, a, 64, 0.95, 3, NULL), CLQ_OK);
    assert_true(lo == 0 && hi == 0);
    assert_int_equal(clq_sqnr_difference(&lo, &hi, a, a, 0, 0.95, 3, NULL), CLQ_ERR_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree),        cmocka_unit_test(test_measures), cmocka_unit_test(test_proportions),
        cmocka_unit_test(test_sqnr_bound),  cmocka_unit_test(test_paired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
