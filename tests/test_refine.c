/* SPDX-License-Identifier: Apache-2.0
 * The loop that solves, measures whole plans and solves again, on injected numbers: layers whose errors interact, files with
 * overhead, whole times that are not the sum of the layers', plans that something refuses. */
#include "scheduler/refine.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define LAYERS 24
enum { ROUNDS = 6 };

struct world {
    struct clq_problem problem;
    struct clq_problem_layer layers[LAYERS];
    struct clq_candidate candidates[LAYERS][2];
    double interaction; /* measured error / sum of errors */
    double base_us, slope;
    double overhead;    /* bytes per converted layer that no layer knows */
    int refused_above;  /* more layers than this on codes are refused; -1: none */
    double unsure;      /* the error margin of a measured plan */
    int calls;
};

static void make(struct world *w, double interaction)
{
    *w = (struct world){.interaction = interaction, .base_us = 100, .slope = 1, .refused_above = -1};
    for (int l = 0; l < LAYERS; l++) {
        double f32_us = 10 + l % 7, error = 1e-5 * (1 + (l * 13) % 24);
        w->candidates[l][0] = (struct clq_candidate){.label = "f32", .weight_bits = 32, .act_bits = 32, .time_us = f32_us, .bytes = 4000};
        w->candidates[l][1] = (struct clq_candidate){.label = "int8", .domain = 1, .domain_out = 1, .weight_bits = 8, .act_bits = 8,
                                                     .time_us = f32_us / 3, .error = error, .bytes = 1000};
        w->layers[l] = (struct clq_problem_layer){.name = "layer", .n_candidates = 2, .candidates = w->candidates[l], .params = 1000, .macs = 1e5};
    }
    w->problem = (struct clq_problem){.n_domains = 2, .n_layers = LAYERS, .layers = w->layers, .objective = CLQ_AXIS_TIME,
                                      .bound = {INFINITY, INFINITY, INFINITY}};
}

static clq_status measure(void *state, struct clq_whole *out, const int *choice, struct clq_error *err)
{
    struct world *w = state;
    struct clq_totals t;
    int codes = 0;
    w->calls++;
    assert_int_equal(clq_problem_evaluate(&t, &w->problem, choice, err), CLQ_OK);
    for (int l = 0; l < LAYERS; l++) codes += choice[l];
    *out = (struct clq_whole){.axis = {w->base_us + w->slope * t.axis[CLQ_AXIS_TIME], w->interaction * t.axis[CLQ_AXIS_ERROR],
                                       t.axis[CLQ_AXIS_BYTES] + w->overhead * codes},
                              .error_margin = w->unsure};
    if (w->refused_above >= 0 && codes > w->refused_above) {
        out->refused = true;
        out->blame = CLQ_AXIS_ERROR;
        out->excess = (double)codes / w->refused_above - 1;
    }
    return CLQ_OK;
}

static struct clq_refine_request request(struct world *w)
{
    return (struct clq_refine_request){.problem = &w->problem, .bound = {INFINITY, INFINITY, INFINITY}, .margin = {1, 1, 1}, .base = {w->base_us, 0, 0},
                                       .scale = {1, 1, 1}, .rounds = ROUNDS, .measure = measure, .state = w};
}

static struct clq_refined refine(int *choice, const struct clq_refine_request *q)
{
    struct clq_refined out;
    struct clq_error err = {""};
    if (clq_refine(&out, choice, q, &err) != CLQ_OK) fail_msg("%s", err.text);
    return out;
}

static double db(double noise)
{
    return -10 * log10(noise);
}

/* Errors that add up, half of it, and up to 5 dB more: the bound holds as measured, and prediction and measurement agree. */
static void test_interaction(void **state)
{
    static const double factors[] = {0.3, 0.7, 1, 1.5, 2.2, 3.1};
    (void)state;
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++) {
        struct world w;
        int choice[LAYERS];
        make(&w, factors[i]);
        struct clq_refine_request q = request(&w);
        q.bound[CLQ_AXIS_ERROR] = 1e-3;
        q.margin[CLQ_AXIS_ERROR] = 1.122;
        struct clq_refined r = refine(choice, &q);
        assert_true(r.feasible);
        double measured = r.measured.axis[CLQ_AXIS_ERROR];
        assert_true(measured * 1.122 <= 1e-3 * (1 + 1e-9));
        assert_true(measured > 0.7e-3 / 1.122); /* what may be spent is spent */
        assert_true(fabs(db(measured) - db(r.predicted[CLQ_AXIS_ERROR])) <= 1);
        assert_true(r.rounds <= ROUNDS && w.calls <= ROUNDS + 1);
    }
}

/* A plan whose error is less sure than the request asks for has to keep more room, and still uses what is left. */
static void test_unsure(void **state)
{
    static const double margins[] = {0, 1.05, 1.3, 1.585};
    (void)state;
    for (size_t i = 0; i < sizeof margins / sizeof *margins; i++) {
        struct world w;
        int choice[LAYERS];
        make(&w, 1.5);
        w.unsure = margins[i];
        struct clq_refine_request q = request(&w);
        q.bound[CLQ_AXIS_ERROR] = 1e-3;
        q.margin[CLQ_AXIS_ERROR] = 1.122;
        struct clq_refined r = refine(choice, &q);
        double room = fmax(margins[i], 1.122), measured = r.measured.axis[CLQ_AXIS_ERROR];
        assert_true(r.feasible && measured * room <= 1e-3 * (1 + 1e-9));
        assert_true(measured > 0.7e-3 / room);
    }
}

/* Layers in place take 1.4 times what they took when they were timed, and something is beside them. */
static void test_time(void **state)
{
    (void)state;
    for (int objective = 0; objective < 2; objective++) {
        struct world w;
        int choice[LAYERS];
        make(&w, 1);
        w.slope = 1.4;
        w.problem.objective = objective ? CLQ_AXIS_ERROR : CLQ_AXIS_BYTES;
        struct clq_refine_request q = request(&w);
        q.bound[CLQ_AXIS_TIME] = 400;
        struct clq_refined r = refine(choice, &q);
        assert_true(r.feasible);
        double measured = r.measured.axis[CLQ_AXIS_TIME];
        assert_true(measured <= 400 * (1 + 1e-9));
        assert_true(measured / r.predicted[CLQ_AXIS_TIME] < 1.1 && measured / r.predicted[CLQ_AXIS_TIME] > 0.9);
        if (objective) assert_true(measured > 360); /* no more error than the time asks for */
    }
}

static void test_size(void **state)
{
    (void)state;
    struct world w;
    int choice[LAYERS];
    make(&w, 1);
    w.overhead = 150;
    w.problem.objective = CLQ_AXIS_ERROR;
    struct clq_refine_request q = request(&w);
    q.bound[CLQ_AXIS_BYTES] = 60000;
    struct clq_refined r = refine(choice, &q);
    assert_true(r.feasible);
    assert_true(r.measured.axis[CLQ_AXIS_BYTES] <= 60000 && r.measured.axis[CLQ_AXIS_BYTES] > 50000);
}

/* Three bounds that leave something, then three that cannot be kept together. */
static void test_together(void **state)
{
    (void)state;
    struct world w;
    int choice[LAYERS];
    make(&w, 1.2);
    struct clq_refine_request q = request(&w);
    q.bound[CLQ_AXIS_TIME] = 380;
    q.bound[CLQ_AXIS_ERROR] = 2e-3;
    q.bound[CLQ_AXIS_BYTES] = 70000;
    struct clq_refined r = refine(choice, &q);
    assert_true(r.feasible);
    for (int a = 0; a < CLQ_AXIS_COUNT; a++) assert_true(r.measured.axis[a] <= q.bound[a] * (1 + 1e-9));
    make(&w, 1.2);
    q.bound[CLQ_AXIS_TIME] = 150; /* all in int8 takes more */
    q.bound[CLQ_AXIS_ERROR] = 1;
    r = refine(choice, &q);
    assert_false(r.feasible);
    assert_int_equal(r.binding, CLQ_AXIS_TIME);
    assert_true(r.excess > 0.3);
    for (int l = 0; l < LAYERS; l++) assert_int_equal(choice[l], 1); /* the closest there is */
}

static void test_refused(void **state)
{
    (void)state;
    struct world w;
    int choice[LAYERS], codes = 0;
    make(&w, 1);
    w.refused_above = 15;
    struct clq_refine_request q = request(&w);
    q.bound[CLQ_AXIS_ERROR] = 1;
    struct clq_refined r = refine(choice, &q);
    for (int l = 0; l < LAYERS; l++) codes += choice[l];
    assert_true(r.feasible);
    assert_true(codes > 0 && codes <= 15);
}

/* Without bounds one round does; the other policies keep the same error budget; those that know no bounds answer once. */
static void test_policies(void **state)
{
    (void)state;
    struct world w;
    int choice[LAYERS];
    size_t n;
    make(&w, 1);
    struct clq_refine_request q = request(&w);
    assert_int_equal(refine(choice, &q).rounds, 1);
    const struct clq_policy *p = clq_policies(&n);
    for (size_t i = 0; i < n; i++) {
        make(&w, 1.8);
        q = request(&w);
        q.policy = &p[i];
        q.bound[CLQ_AXIS_ERROR] = 1.5e-3;
        struct clq_refined r = refine(choice, &q);
        if (p[i].looks_at_bounds) {
            assert_true(r.feasible);
            assert_true(r.measured.axis[CLQ_AXIS_ERROR] > 0.5e-3);
        } else assert_int_equal(r.rounds, 1);
    }
}

static void test_infinite(void **state)
{
    (void)state;
    struct world w;
    int choice[LAYERS];
    make(&w, INFINITY);
    struct clq_refine_request q = request(&w);
    q.bound[CLQ_AXIS_ERROR] = 1e-2;
    for (int l = 0; l < LAYERS; l++) assert_true(refine(choice, &q).feasible && choice[l] == 0); /* float is what is left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_interaction), cmocka_unit_test(test_time),     cmocka_unit_test(test_size),     cmocka_unit_test(test_together),
        cmocka_unit_test(test_unsure),  cmocka_unit_test(test_refused),     cmocka_unit_test(test_policies), cmocka_unit_test(test_infinite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
