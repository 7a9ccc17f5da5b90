/* SPDX-License-Identifier: Apache-2.0
 * Every mode on the example network: a file is written, runs, and is as good as its bits allow. Bounds are 3 dB below what
 * was measured; no test depends on a time. */
#include <math.h>

#include "quantize_fixture.h"

static const struct {
    const char *mode;
    double least_db; /* of the network's output */
} modes[] = {
    {"int8-weight", 35}, {"int16-int8", 35}, {"int8-dynamic", 35}, {"int4-g16", 15}, {"int4-g64", 15}, {"int4-g32-asym", 15}, {"int4-channel", 10}, {"int4-channel-asym", 10},
    {"nf4-g32", 15}, {"codebook16", 10}, {"int2-g16", 3}, {"int2-g32-asym", 3}, {"ternary", 0.5}, {"binary", 0},
};

static void test_each(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        struct ran r;
        quantize(&r, &(struct run){.threads = 2, .options = {.uniform = modes[i].mode}}, NULL);
        must(&r);
        if (r.summary.int8_layers == 0 || r.summary.kept_float) fail_msg("%s: nothing was changed", modes[i].mode);
        if (!(r.summary.sqnr_db >= modes[i].least_db) || !isfinite(r.summary.sqnr_db)) fail_msg("%s: %.2f dB", modes[i].mode, r.summary.sqnr_db);
        assert_true(r.summary.model_bytes < r.summary.reference_bytes);
        free(r.bytes);
    }
}

/* Both forms of 4-bit weights are the same arithmetic. */
static void test_forms(void **state)
{
    (void)state;
    static const char *const four[] = {"int4-g32", "int4-g32-asym", "int4-channel", NULL};
    for (int i = 0; four[i]; i++) {
        struct ran a, b;
        struct run r = {.threads = 2, .options = {.uniform = four[i], .algorithm = "mse"}};
        quantize(&a, &r, NULL);
        r.options.int4_matmulnbits = true;
        quantize(&b, &r, NULL);
        must(&a);
        must(&b);
        assert_true(memmem(b.bytes, b.n, "MatMulNBits", 11) != NULL && memmem(a.bytes, a.n, "MatMulNBits", 11) == NULL);
        assert_true(a.summary.sqnr_db == b.summary.sqnr_db);
        free(a.bytes);
        free(b.bytes);
    }
}

static void test_algorithms(void **state)
{
    (void)state;
    static const char *const names[] = {"minmax", "mse", "hqq", "gptq", "auto"};
    double db[5];
    for (int i = 0; i < 5; i++) {
        struct ran r;
        quantize(&r, &(struct run){.threads = 2, .options = {.uniform = "int4-g64", .algorithm = names[i]}}, NULL);
        must(&r);
        db[i] = r.summary.sqnr_db;
        assert_true(db[i] > 10);
        free(r.bytes);
    }
    assert_true(db[3] != db[0] && db[3] != db[1]);
    struct ran r;
    quantize(&r, &(struct run){.threads = 2, .options = {.uniform = "int4-g64", .algorithm = "best"}}, NULL);
    assert_int_equal(r.status, CLQ_ERR_INVALID_ARGUMENT);
}

static void test_seeds(void **state)
{
    (void)state;
    struct ran a, b, c;
    const struct run one = {.threads = 1, .options = {.uniform = "int4-g32", .algorithm = "mse", .stochastic = true, .rounding_seed = 5}};
    struct run other = one;
    other.threads = 3;
    quantize(&a, &one, NULL);
    quantize(&b, &other, NULL);
    other.options.rounding_seed = 6;
    quantize(&c, &other, NULL);
    must(&a);
    must(&b);
    must(&c);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.bytes, b.bytes, a.n);
    assert_true(a.n != c.n || memcmp(a.bytes, c.bytes, a.n) != 0);
    free(a.bytes);
    free(b.bytes);
    free(c.bytes);
}

/* A plan with these modes is replayed where codes follow from the weights alone. */
static void test_replay(void **state)
{
    (void)state;
    struct ran a, b;
    const char *plan = scratch("modes.plan.json");
    unlink(plan);
    quantize(&a, &(struct run){.threads = 2, .options = {.uniform = "int4-g32", .algorithm = "mse"}}, plan);
    must(&a);
    quantize(&b, &(struct run){.threads = 1, .options = {.plan_path = plan}}, NULL);
    must(&b);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.bytes, b.bytes, a.n);
    free(a.bytes);
    free(b.bytes);
    unlink(plan);
    quantize(&a, &(struct run){.threads = 2, .options = {.uniform = "int4-g32", .algorithm = "gptq"}}, plan);
    must(&a);
    quantize(&b, &(struct run){.threads = 1, .options = {.plan_path = plan}}, NULL);
    assert_int_equal(b.status, CLQ_ERR_UNSUPPORTED);
    assert_non_null(strstr(b.message, "gptq"));
    free(a.bytes);
    unlink(plan);
}

/* The scheduler sees them beside f32 and int8, and the plan says what each costs. */
static void test_candidates(void **state)
{
    (void)state;
    struct ran a;
    const char *plan = scratch("candidates.plan.json");
    unlink(plan);
    quantize(&a, &(struct run){.threads = 2, .options = {.candidates = "f32,int8,int8-dynamic,int4-g32", .min_sqnr_db = 10}}, plan);
    must(&a);
    struct clq_blob text = slurp(plan);
    assert_true(memmem(text.data, text.bytes, "\"int8-dynamic\"", 14) != NULL);
    assert_true(memmem(text.data, text.bytes, "\"int4-g32\"", 10) != NULL);
    free(text.data);
    free(a.bytes);
    unlink(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each), cmocka_unit_test(test_forms), cmocka_unit_test(test_algorithms), cmocka_unit_test(test_seeds), cmocka_unit_test(test_replay),
                                       cmocka_unit_test(test_candidates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
