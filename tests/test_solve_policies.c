/* SPDX-License-Identifier: Apache-2.0
 * The table of policies on problems where the right answer of each is known, and "measured" never loses to one that keeps
 * the same bounds. */
#include "scheduler/policies.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "scheduler/solve.h"
#include "scheduler/stats.h"

#define N 6
static struct clq_candidate candidates[N][3];
static struct clq_problem_layer layers[N];
static struct clq_problem_tensor tensors[N + 1];
static int consumers[N + 1][1], tied[2] = {2, 4};
static const struct clq_tie tie = {2, tied};
static double convert[9];

/* A chain of six: f32, int8 and int4-g32; layer 3 has no int8. Conversions cost 5. */
static struct clq_problem chain(void)
{
    static const double error[N] = {6, 1, 2, 9, 3, 5};
    for (int l = 0; l < N; l++) {
        candidates[l][0] = (struct clq_candidate){"f32", 0, 0, 32, 32, 20, 0, 400};
        candidates[l][1] = (struct clq_candidate){"int8", 1, 1, 8, 8, 10, error[l], 100};
        candidates[l][2] = (struct clq_candidate){"int4-g32", 2, 2, 4, 8, 12, 10 * error[l], 60};
        if (l == 3) candidates[l][1] = candidates[l][2];
        layers[l] = (struct clq_problem_layer){"layer", l == 3 ? 2 : 3, candidates[l], 100 * (l + 1), 1000 * (N - l)};
        consumers[l][0] = l;
        tensors[l] = (struct clq_problem_tensor){l - 1, 1, consumers[l], convert};
    }
    consumers[N][0] = CLQ_GRAPH_OUTPUT;
    tensors[N] = (struct clq_problem_tensor){N - 1, 1, consumers[N], convert};
    for (int i = 0; i < 9; i++)
        convert[i] = i % 4 == 0 ? 0 : 5;
    return (struct clq_problem){3, N, 0, N + 1, layers, &tie, tensors, CLQ_AXIS_TIME, {INFINITY, INFINITY, INFINITY}};
}

static void expect(const struct clq_problem *p, const char *policy, const char *const *labels)
{
    int choice[N];
    struct clq_error err = {""};
    if (clq_policy_find(policy)->choose(choice, p, &err) != CLQ_OK) fail_msg("%s: %s", policy, err.text);
    for (int l = 0; l < N; l++)
        if (strcmp(layers[l].candidates[choice[l]].label, labels[l]) != 0)
            fail_msg("%s: layer %d is %s, expected %s", policy, l, layers[l].candidates[choice[l]].label, labels[l]);
}

#define F "f32"
#define I "int8"
#define Q "int4-g32"
#define LABELS(...) (const char *const[]){__VA_ARGS__}

static void test_known(void **unused)
{
    (void)unused;
    struct clq_problem p = chain();
    expect(&p, "uniform-f32", LABELS(F, F, F, F, F, F));
    expect(&p, "uniform-int8", LABELS(I, I, I, F, I, I));
    expect(&p, "uniform-int4", LABELS(Q, Q, Q, Q, Q, Q));
    expect(&p, "first-last-float", LABELS(F, I, I, F, I, F));
    p.bound[CLQ_AXIS_ERROR] = 6.5;
    expect(&p, "greedy-by-sensitivity", LABELS(F, I, I, F, I, F));
    expect(&p, "uniform-int8", LABELS(I, I, I, F, I, I)); /* knows no budget */
    p.bound[CLQ_AXIS_ERROR] = 5;
    expect(&p, "greedy-by-sensitivity", LABELS(F, I, I, F, F, F));
    /* Bits: parameters 1 to 6 hundred. Layers 2 and 4 save on 800, 1 and 4 on 700, 5 alone on 600. */
    expect(&p, "bits-only", LABELS(F, F, I, F, I, F));
    /* Operations: weights 6 5 4 3 2 1 thousand. 1 and 2 save on 9, 1 and 4 on 7. */
    expect(&p, "ops-only", LABELS(F, I, I, F, F, F));
    /* Time: two int8 layers side by side save 20 and pay 10; one alone saves 10 and pays 10. */
    expect(&p, "measured", LABELS(F, I, I, F, F, F));
    p.n_ties = 1; /* 2 and 4 agree */
    expect(&p, "uniform-int8", LABELS(I, I, I, F, I, I));
    expect(&p, "greedy-by-sensitivity", LABELS(F, I, F, F, F, F));
    candidates[4][1].label = "other";
    expect(&p, "uniform-int8", LABELS(I, I, F, F, F, I)); /* one of the tied has no int8 */
    candidates[4][1].label = "int8";
    int choice[N];
    assert_int_equal(clq_policy_uniform(choice, &p, "int9", NULL), CLQ_OK);
    for (int l = 0; l < N; l++)
        assert_int_equal(choice[l], 0);
}

static void test_table(void **unused)
{
    (void)unused;
    size_t n;
    const struct clq_policy *table = clq_policies(&n);
    assert_true(n >= 7);
    assert_string_equal(table[n - 1].name, "measured");
    for (size_t i = 0; i < n; i++) {
        assert_ptr_equal(clq_policy_find(table[i].name), &table[i]);
        assert_true(strlen(table[i].summary) > 10);
    }
    assert_null(clq_policy_find("best"));
    struct clq_problem bad = chain();
    bad.n_domains = 0;
    int choice[N];
    for (size_t i = 0; i < n; i++)
        assert_int_equal(table[i].choose(choice, &bad, NULL), CLQ_ERR_INVALID_ARGUMENT);
}

static void test_measured_never_loses(void **unused)
{
    (void)unused;
    size_t n, compared = 0, better = 0;
    const struct clq_policy *table = clq_policies(&n);
    struct clq_random rng = clq_random_start(12, 0);
    for (int trial = 0; trial < 60; trial++) {
        struct clq_problem p = chain();
        p.n_ties = trial % 2;
        for (int l = 0; l < N; l++)
            for (int c = 0; c < layers[l].n_candidates; c++) {
                candidates[l][c].time_us = 5 + clq_random_below(&rng, 20);
                if (c) candidates[l][c].error = 1 + clq_random_below(&rng, 30);
            }
        p.bound[CLQ_AXIS_ERROR] = clq_random_below(&rng, 120);
        struct clq_totals ours, theirs;
        int choice[N];
        assert_int_equal(table[n - 1].choose(choice, &p, NULL), CLQ_OK);
        assert_int_equal(clq_problem_evaluate(&ours, &p, choice, NULL), CLQ_OK);
        assert_true(ours.axis[CLQ_AXIS_ERROR] <= p.bound[CLQ_AXIS_ERROR]);
        for (size_t i = 0; i + 1 < n; i++) {
            assert_int_equal(table[i].choose(choice, &p, NULL), CLQ_OK);
            assert_int_equal(clq_problem_evaluate(&theirs, &p, choice, NULL), CLQ_OK); /* ties kept */
            if (theirs.axis[CLQ_AXIS_ERROR] > p.bound[CLQ_AXIS_ERROR]) continue;
            assert_true(ours.axis[CLQ_AXIS_TIME] <= theirs.axis[CLQ_AXIS_TIME] * (1 + CLQ_TIE_TOLERANCE));
            compared++;
            better += ours.axis[CLQ_AXIS_TIME] < 0.999 * theirs.axis[CLQ_AXIS_TIME];
        }
    }
    assert_true(compared > 150 && better > compared / 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known), cmocka_unit_test(test_table), cmocka_unit_test(test_measured_never_loses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
