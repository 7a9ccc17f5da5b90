/* SPDX-License-Identifier: Apache-2.0
 * Which rounds of timing count as disturbed: over recorded rounds, so that nothing depends on this machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "scheduler/steady.h"

enum { N = 11 };

static void judge(struct clq_steadiness *s, bool out[N], const struct clq_round in[N])
{
    struct clq_error err = {""};
    assert_int_equal(clq_rounds_judge(out, s, in, N, &err), CLQ_OK);
    assert_int_equal(s->rounds, N);
}

/* A quiet machine: the same work differs by up to 4 %. */
static void quiet(struct clq_round r[N])
{
    for (int i = 0; i < N; i++) r[i] = (struct clq_round){.before = 5e-6 * (1 + 0.004 * (i * 7 % 10)), .after = 5e-6 * (1 + 0.004 * ((i + 1) * 7 % 10))};
}

static void test_quiet(void **state)
{
    struct clq_round r[N];
    struct clq_steadiness s;
    bool out[N];
    char text[300] = "x";
    (void)state;
    quiet(r);
    judge(&s, out, r);
    for (int i = 0; i < N; i++) assert_false(out[i] || clq_round_disturbed(&r[i]));
    assert_true(s.disturbed == 0 && s.drift < CLQ_STEADY_DRIFT);
    clq_steadiness_text(text, sizeof text, &s, "times");
    assert_string_equal(text, "");
}

static void test_disturbed(void **state)
{
    struct clq_round r[N];
    struct clq_steadiness s;
    bool out[N];
    char text[300];
    (void)state;
    quiet(r);
    r[2].stolen = true;
    r[5].after = r[5].before * 1.25; /* within the round */
    r[7].before = r[7].after = 5e-6 * 0.8; /* a faster clock than in the others, all along */
    r[8] = (struct clq_round){.stolen = true, .before = 9e-6, .after = 9e-6};
    judge(&s, out, r);
    for (int i = 0; i < N; i++) assert_int_equal(out[i], i == 2 || i == 5 || i == 7 || i == 8);
    assert_true(clq_round_disturbed(&r[2]) && clq_round_disturbed(&r[5]) && !clq_round_disturbed(&r[7]));
    assert_int_equal(s.disturbed, 4);
    assert_int_equal(s.stolen, 2);
    assert_int_equal(s.drifted, 3);
    assert_true(s.drift > 0.5);
    s.unsure = 1;
    clq_steadiness_text(text, sizeof text, &s, "times");
    assert_non_null(strstr(text, "4 of 11 rounds"));
    assert_non_null(strstr(text, "steal time in 2, another clock in 3"));
    assert_non_null(strstr(text, "1 of them were disturbed again"));
}

/* A clock that was never seen disturbs nothing. */
static void test_unknown(void **state)
{
    struct clq_round r[N];
    struct clq_steadiness s;
    bool out[N];
    (void)state;
    memset(r, 0, sizeof r);
    judge(&s, out, r);
    assert_int_equal(s.disturbed, 0);
    for (int i = 0; i < 3; i++) r[i].before = 1e-6;
    judge(&s, out, r);
    assert_int_equal(s.disturbed, 0);
    struct clq_error err = {""};
    assert_int_equal(clq_rounds_judge(out, &s, r, 0, &err), CLQ_OK);
    assert_int_equal(s.rounds, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_quiet), cmocka_unit_test(test_disturbed), cmocka_unit_test(test_unknown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
