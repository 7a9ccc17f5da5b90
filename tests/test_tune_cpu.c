/* SPDX-License-Identifier: Apache-2.0
 * The CPU under the tuner: what it finds is legal, checked, stored and used, for these instructions and threads alone. Who
 * wins a timing is not asserted. Argument: the tuning file, which the test writes and removes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <clquant/tune.h>

#include "base/file.h"
#include "tune_cpu.h"
#include "tune_problem.h"

static const char *path;
static char logged[4096];

static void on_log(void *user, const char *line)
{
    (void)user;
    snprintf(logged + strlen(logged), sizeof logged - strlen(logged), "%s\n", line);
}

static bool on_cancel(void *user)
{
    int *left = user;
    return left && --*left < 0;
}

static clq_context *open_context(const char *isa, int threads, int *stop_after)
{
    clq_context *ctx = NULL;
    const clq_context_options o = {.threads = threads, .isa = isa, .tuning_path = path, .log = on_log, .cancel = on_cancel, .user = stop_after};
    logged[0] = 0;
    assert_int_equal(clq_context_create(&ctx, &o), CLQ_OK);
    return ctx;
}

static void write_text(const char *text)
{
    struct clq_error err = {""};
    const struct clq_writer_options o = {.force = true};
    assert_int_equal(clq_file_write(path, text, strlen(text), &o, &err), CLQ_OK);
}

/* The stored text with every `from` replaced, for free(). */
static char *stored_with(const char *from, const char *to)
{
    struct clq_error err = {""};
    struct clq_blob blob;
    assert_int_equal(clq_file_read(&blob, path, 1 << 20, &err), CLQ_OK);
    char *out = calloc(2, blob.bytes), *end = out;
    const char *at = (const char *)blob.data, *stop = at + blob.bytes;
    assert_non_null(out);
    while (at < stop) {
        const bool hit = (size_t)(stop - at) >= strlen(from) && memcmp(at, from, strlen(from)) == 0;
        if (hit) end = stpcpy(end, to);
        else *end++ = *at;
        at += hit ? strlen(from) : 1;
    }
    free(blob.data);
    return out;
}

static void test_choose(void **state)
{
    struct clq_kernels k, reference;
    struct clq_tuning t = {.n = 3};
    const unsigned cpu = clq_cpu_detect();
    (void)state;
    if (!(cpu & CLQ_CPU_AVX2)) skip();
    snprintf(t.choice[0].family, sizeof t.choice[0].family, "gemm_u8s8");
    snprintf(t.choice[0].variant, sizeof t.choice[0].variant, "avx2");
    snprintf(t.choice[1].family, sizeof t.choice[1].family, "add_u8");
    snprintf(t.choice[1].variant, sizeof t.choice[1].variant, "no_such_thing");
    snprintf(t.choice[2].family, sizeof t.choice[2].family, "no_such_thing");
    snprintf(t.choice[2].variant, sizeof t.choice[2].variant, "avx2");
    clq_kernels_init(&k, cpu & ~CLQ_CPU_AVX512);
    const struct clq_kernels before = k;
    const bool better = strcmp(k.variant.gemm_u8s8, "avx2") != 0;
    assert_int_equal(clq_tune_cpu_choose(&k, cpu & ~CLQ_CPU_AVX512, &t), better);
    clq_kernels_init(&reference, CLQ_CPU_AVX2);
    assert_string_equal(k.variant.gemm_u8s8, "avx2");
    assert_ptr_equal(k.gemm_u8s8, reference.gemm_u8s8);
    assert_ptr_equal(k.gemm_u8s8_plan, reference.gemm_u8s8_plan);
    assert_ptr_equal(k.gemm_u8s8_pack, reference.gemm_u8s8_pack);
    assert_ptr_equal(k.gemm_s8s8, before.gemm_s8s8);
    assert_ptr_equal(k.add_u8, before.add_u8);
    assert_null(clq_kernels_variant(&k, "no_such_thing"));
    clq_kernels_init(&k, 0); /* what the instructions do not allow is not taken */
    assert_false(clq_tune_cpu_choose(&k, 0, &t));
    assert_string_equal(k.variant.gemm_u8s8, "ref");
}

/* A wrong byte anywhere is seen. */
static void test_compare(void **state)
{
    struct clq_tune_problem *p = NULL;
    struct clq_kernels k;
    struct clq_error err = {""};
    (void)state;
    clq_kernels_init(&k, clq_cpu_detect());
    assert_int_equal(clq_tune_problem_create(&p, "lut_u8", 0, false, &k, &err), CLQ_OK);
    unsigned char *y = malloc(p->y_bytes);
    assert_non_null(y);
    memcpy(y, p->expected, p->y_bytes);
    assert_int_equal(clq_tune_problem_compare(p, y, &err), CLQ_OK);
    y[p->y_bytes - 1] ^= 1;
    assert_int_equal(clq_tune_problem_compare(p, y, &err), CLQ_ERR_NUMERIC);
    free(y);
    clq_tune_problem_free(p);
    assert_int_equal(clq_tune_problem_count("no_such_thing"), 0);
    assert_int_equal(clq_tune_problem_create(&p, "lut_u8", 1, false, &k, &err), CLQ_ERR_INTERNAL);
}

static void test_canceled(void **state)
{
    (void)state;
    unlink(path);
    for (int stop = 0; stop < 4; stop += 3) {
        clq_tune_report *r = NULL;
        int left = stop;
        clq_context *ctx = open_context(NULL, 1, &left);
        assert_int_equal(clq_tune(ctx, "cpu", path, &r), CLQ_ERR_INVALID_ARGUMENT);
        assert_non_null(strstr(clq_error_message(ctx), "canceled"));
        assert_null(r);
        assert_int_not_equal(access(path, F_OK), 0);
        clq_context_free(ctx);
    }
}

/* Every operation keeps exactly one variant; what was found is what a context with the same threads gets. */
static void test_tune(void **state)
{
    clq_tune_report *r = NULL;
    (void)state;
    unlink(path);
    clq_context *ctx = open_context(NULL, 2, NULL);
    if (clq_tune(ctx, "cpu", path, &r) != CLQ_OK) fail_msg("%s", clq_error_message(ctx));
    assert_string_equal(r->note, "");
    assert_string_equal(r->id, "cpu");
    assert_int_equal(r->n, clq_tune_cpu_count(ctx));
    clq_context_free(ctx);
    ctx = open_context(NULL, 2, NULL);
    assert_string_equal(logged, "");
    size_t chosen = 0, families = 0;
    for (size_t i = 0; i < r->n; i++) {
        const clq_tune_row *row = &r->rows[i];
        if (!row->passed) fail_msg("%s %s: %s", row->family, row->variant, row->why);
        assert_true(row->seconds > 0);
        if (row->pairs) assert_true(row->pairs >= 21 && row->ratio > 0);
        families += i == 0 || strcmp(row->family, r->rows[i - 1].family) != 0;
        chosen += row->chosen;
        if (row->chosen) assert_string_equal(clq_kernels_variant(&ctx->kernels, row->family), row->variant);
    }
    assert_int_equal(chosen, families);
    clq_context_free(ctx);
    clq_tune_report_free(r);
}

/* With what the file says, and where it does not hold. Needs the file of test_tune. */
static void test_apply(void **state)
{
    struct clq_kernels top;
    char *text;
    (void)state;
    if (!(clq_cpu_detect() & CLQ_CPU_AVX2)) skip();
    clq_kernels_init(&top, clq_cpu_detect());
    char *original = stored_with("\"devices\"", "\"devices\"");
    static const struct {
        const char *from, *to, *says;
    } broken[] = {{"\"kernel_hash\": \"", "\"kernel_hash\": \"0", "other kernels"},
                  {"\"clquant\": \"", "\"clquant\": \"0", "another clquant"},
                  {"\"choices\"", "choices", "is not used"}};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        text = stored_with(broken[i].from, broken[i].to);
        write_text(text);
        free(text);
        clq_context *ctx = open_context(NULL, 2, NULL);
        if (!strstr(logged, broken[i].says)) fail_msg("'%s' is not in '%s'", broken[i].says, logged);
        assert_int_equal(ctx->tuned, 0);
        assert_string_equal(clq_context_isa(ctx), top.variant.conv_u8s8);
        clq_context_free(ctx);
        write_text(original);
    }
    char from[64];
    snprintf(from, sizeof from, "\"variant\": \"%s\"", top.variant.gemm_u8s8);
    text = stored_with(from, "\"variant\": \"avx2\"");
    write_text(text);
    free(text);
    clq_context *ctx = open_context(NULL, 2, NULL), *one = open_context(NULL, 1, NULL), *low = open_context("ref", 2, NULL);
    assert_string_equal(logged, "");
    assert_string_equal(ctx->kernels.variant.gemm_u8s8, "avx2");
    assert_int_equal(ctx->tuned != 0, strcmp(top.variant.gemm_u8s8, "avx2") != 0);
    assert_string_equal(one->kernels.variant.gemm_u8s8, top.variant.gemm_u8s8);
    assert_string_equal(low->kernels.variant.gemm_u8s8, "ref");
    assert_int_equal(one->tuned | low->tuned, 0);
    clq_context_free(ctx);
    clq_context_free(one);
    clq_context_free(low);
    free(original);
    unlink(path);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_choose), cmocka_unit_test(test_compare), cmocka_unit_test(test_canceled),
                                       cmocka_unit_test(test_tune), cmocka_unit_test(test_apply)};
    path = argc > 1 ? argv[1] : "cpu-tuning.json";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
