/* SPDX-License-Identifier: Apache-2.0
 * Factors that whole plans were made with are found again, and nothing runs away where plans say little or nonsense. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "scheduler/time_model.h"

static struct clq_time_point point(double f32, double codes, double convert, const struct clq_time_factors *g)
{
    return (struct clq_time_point){f32, codes, convert, g->f32 * f32 + g->codes * codes + g->convert * convert};
}

static void near(double a, double b, double part)
{
    if (!(fabs(a / b - 1) <= part)) fail_msg("%g, expected %g within %g", a, b, part);
}

static void test_factors_are_found(void **state)
{
    static const struct clq_time_factors made[] = {{1, 1, 1}, {2, 2, 2}, {0.8, 0.8, 0.8}, {1, 1.8, 1}, {1, 1, 3}, {1.5, 2.5, 0.6}, {1, 0.7, 2}};
    (void)state;
    for (size_t k = 0; k < sizeof made / sizeof *made; k++) {
        const struct clq_time_factors *g = &made[k];
        struct clq_time_point p[] = {point(0, 40, 2, g), point(50, 20, 20, g), point(30, 28, 4, g), point(70, 12, 9, g)};
        struct clq_time_factors f = clq_time_fit(100, 100 * g->f32, p, 4);
        near(f.f32, g->f32, 1e-12);
        near(f.codes, g->codes, 0.05);
        near(f.convert, g->convert, 0.15); /* the prior draws at what plans hold little of */
        for (size_t i = 0; i < 4; i++) near(f.f32 * p[i].f32 + f.codes * p[i].codes + f.convert * p[i].convert, p[i].whole, 0.05);
    }
}

/* A machine that other work slows down by a factor is no misprediction, with and without plans. */
static void test_a_slow_machine(void **state)
{
    (void)state;
    struct clq_time_factors f = clq_time_fit(100, 250, NULL, 0);
    near(f.codes, 2.5, 1e-9);
    near(f.convert, 2.5, 1e-9);
    struct clq_time_point one = {.f32 = 40, .codes = 20, .convert = 5, .whole = 2.5 * 65};
    f = clq_time_fit(100, 250, &one, 1);
    near(f.codes, 2.5, 1e-6);
    near(f.convert, 2.5, 1e-6);
}

/* One plan pulls at what it has: nearly all of a difference goes to its larger part, and it is predicted as it was timed. */
static void test_one_plan(void **state)
{
    (void)state;
    struct clq_time_point p = {.f32 = 10, .codes = 30, .convert = 1, .whole = 70};
    struct clq_time_factors f = clq_time_fit(100, 100, &p, 1);
    near(f.f32 * p.f32 + f.codes * p.codes + f.convert * p.convert, p.whole, 0.01);
    assert_true(f.codes > 1.8 && f.convert < 1.2);
}

static void test_nonsense(void **state)
{
    const struct clq_time_point p[] = {{1, 1, 1, 0}, {NAN, 1, 1, 1}, {1, INFINITY, 1, 1}, {1, 1, 1, -1}, {0, 1, 0, 1e9}, {1e9, 1e-9, 0, 1}, {0, 0, 0, 5}};
    (void)state;
    for (size_t n = 0; n <= sizeof p / sizeof *p; n++) {
        struct clq_time_factors f = clq_time_fit(1, 1, p, n);
        assert_true(f.f32 == 1 && f.codes >= 0.2 && f.codes <= 5 && f.convert >= 0.2 && f.convert <= 5);
    }
    assert_true(clq_time_fit(0, 0, NULL, 0).f32 == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_factors_are_found), cmocka_unit_test(test_a_slow_machine), cmocka_unit_test(test_one_plan),
                                       cmocka_unit_test(test_nonsense)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
