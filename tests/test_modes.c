/* SPDX-License-Identifier: Apache-2.0
 * Every mode on the example network: a file is written, runs, and is as good as its bits allow. Bounds are 3 dB below what
 * was measured; no test depends on a time. */
#include <math.h>

#include "quantize_fixture.h"

/* The threads are those of the search, whatever the mode: under a thread sanitizer every third run shows them. */
#if defined(__SANITIZE_THREAD__)
enum { EVERY = 3 };
#else
enum { EVERY = 1 };
#endif

static const struct {
    const char *mode;
    double least_db; /* of the network's output */
} modes[] = {
    {"int8-weight", 35}, {"int16-int8", 35}, {"int8-dynamic", 35}, {"int8-tensor", 35}, {"int4-g16", 15}, {"int4-g64", 15}, {"int4-g32-asym", 15}, {"int4-channel", 10}, {"int4-channel-asym", 10},
    {"nf4-g32", 15}, {"codebook16", 10}, {"int2-g16", 3}, {"int2-g32-asym", 3}, {"ternary", 0.5}, {"binary", 0},
};

static void test_each(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i += EVERY) {
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
    for (int i = 0; four[i] && i < 3 / EVERY; i++) {
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
    static const char *const names[] = {"minmax", "mse", "hqq", "gptq", "weighted", "adaround", "auto"};
    double db[7];
    for (int i = 0; i < 7; i++) {
        struct ran r;
        quantize(&r, &(struct run){.threads = 2, .options = {.uniform = "int4-g64", .algorithm = names[i]}}, NULL);
        must(&r);
        db[i] = r.summary.sqnr_db;
        assert_true(db[i] > 10);
        free(r.bytes);
    }
    assert_true(db[3] != db[0] && db[3] != db[1] && db[5] != db[3] && db[4] != db[1]);
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

/* Plans hold what only the data gives: they write the same bytes on other threads and ISAs, with other samples. */
static void test_replay(void **state)
{
    (void)state;
    static const struct run runs[] = {
        {.threads = 2, .options = {.uniform = "int4-g32", .algorithm = "mse"}},
        {.threads = 2, .options = {.uniform = "int4-g32-asym", .algorithm = "auto"}},
        {.threads = 2, .options = {.uniform = "ternary", .algorithm = "gptq"}},
        {.threads = 1, .options = {.uniform = "codebook16", .algorithm = "adaround", .no_bias_correction = true}},
        {.threads = 1, .options = {.uniform = "int4-channel", .algorithm = "mse", .stochastic = true, .rounding_seed = 3}},
    };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i += EVERY) {
        struct ran a, b;
        const char *plan = scratch("modes.plan.json"), *again = scratch("again.plan.json");
        quantize(&a, &runs[i], plan);
        must(&a);
        quantize(&b, &(struct run){.threads = 3, .isa = "ref", .options = {.plan_path = plan}, .samples = 5}, again);
        must(&b);
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.bytes, b.bytes, a.n);
        free(b.bytes);
        quantize(&b, &(struct run){.threads = 1, .options = {.plan_path = again}, .samples = 4}, NULL); /* the plan of a replay is a plan */
        must(&b);
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.bytes, b.bytes, a.n);
        free(a.bytes);
        free(b.bytes);
    }
}

/* Edited weights are refused in one line that names the layer. */
static void test_replay_broken(void **state)
{
    (void)state;
    static const char key[] = "\"weights\": \"";
    struct ran a, b;
    const char *plan = scratch("whole.plan.json"), *bad = scratch("bad.plan.json");
    quantize(&a, &(struct run){.threads = 1, .options = {.uniform = "ternary", .algorithm = "gptq"}, .samples = 8}, plan);
    must(&a);
    free(a.bytes);
    struct clq_blob text = slurp(plan);
    char *first = memmem(text.data, text.bytes, key, sizeof key - 1);
    assert_non_null(first);
    first += sizeof key - 1;
    char *end = strchr(first, '"');
    static const struct {
        size_t at;
        const char *with, *part;
    } edits[] = {{0, "?", "base64"}, {0, "CA", "unknown kind"}, {0, "AQAA", "does not fit"}, {4, "//", "not positive"}};
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        char kept[8];
        size_t n = strlen(edits[i].with);
        memcpy(kept, first + edits[i].at, n);
        memcpy(first + edits[i].at, edits[i].with, n);
        spit(bad, text.data, text.bytes);
        memcpy(first + edits[i].at, kept, n);
        quantize(&b, &(struct run){.threads = 1, .options = {.plan_path = bad}, .samples = 4}, NULL);
        if (b.status != CLQ_ERR_INVALID_ARGUMENT || !strstr(b.message, edits[i].part) || strchr(b.message, '\n')) fail_msg("%zu: '%s'", i, b.message);
    }
    memmove(first, end, text.bytes - (size_t)(end - (char *)text.data)); /* no weights at all */
    spit(bad, text.data, text.bytes - (size_t)(end - first));
    quantize(&b, &(struct run){.threads = 1, .options = {.plan_path = bad}, .samples = 4}, NULL);
    assert_int_equal(b.status, CLQ_ERR_UNSUPPORTED);
    assert_non_null(strstr(b.message, "gptq"));
    free(text.data);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each), cmocka_unit_test(test_forms), cmocka_unit_test(test_algorithms), cmocka_unit_test(test_seeds), cmocka_unit_test(test_replay), cmocka_unit_test(test_replay_broken),
                                       cmocka_unit_test(test_candidates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
