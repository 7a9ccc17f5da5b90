/* SPDX-License-Identifier: Apache-2.0
 * The tuner on the first OpenCL device: what it finds is legal, checked, stored and used; a canceled search changes
 * nothing. Who wins a timing is not asserted. Argument: the tuning file, which the test writes and removes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <clquant/tune.h>

#include "cl_tune.h"

static const char *path;
static char logged[4096];

struct watch {
    double last;
    int calls, stop_after; /* 0: never */
};

static void on_progress(void *user, const char *phase, double fraction)
{
    struct watch *w = user;
    assert_true(strncmp(phase, "tuning ", 7) == 0);
    assert_true(fraction >= w->last && fraction <= 1);
    w->last = fraction;
    w->calls++;
}

static bool on_cancel(void *user)
{
    const struct watch *w = user;
    return w->stop_after && w->calls >= w->stop_after;
}

static void on_log(void *user, const char *line)
{
    (void)user;
    snprintf(logged + strlen(logged), sizeof logged - strlen(logged), "%s\n", line);
}

static clq_context *open_context(struct watch *w, const char *device)
{
    clq_context *ctx = NULL;
    const clq_context_options o = {.threads = 1, .device = device, .require_device = true, .device_timeout_ms = 300000, .tuning_path = path, .log = on_log,
                                   .progress = on_progress, .cancel = on_cancel, .user = w};
    logged[0] = 0;
    assert_int_equal(clq_context_create(&ctx, &o), CLQ_OK);
    return ctx;
}

static bool have_device(void)
{
    struct clq_cl_info *list = NULL;
    struct clq_error err;
    int n = 0;
    clq_cl_list(&list, &n, &err);
    free(list);
    if (n == 0) print_message("no OpenCL device: skipped\n");
    return n > 0;
}

static void test_arguments(void **state)
{
    struct watch w = {0};
    clq_tune_report *r = NULL;
    (void)state;
    clq_context *ctx = open_context(&w, NULL);
    assert_int_equal(clq_tune(ctx, "opencl:77", NULL, &r), CLQ_ERR_NO_DEVICE);
    assert_int_equal(clq_tune(ctx, "gpu", NULL, &r), CLQ_ERR_INVALID_ARGUMENT);
    assert_int_equal(clq_tune(ctx, "opencl:x", NULL, &r), CLQ_ERR_INVALID_ARGUMENT);
    assert_null(r);
    clq_tune_report_free(NULL);
    clq_context_free(ctx);
}

static void test_canceled(void **state)
{
    (void)state;
    if (!have_device()) skip();
    unlink(path);
    for (int stop = 1; stop < 6; stop += 2) {
        struct watch w = {.stop_after = stop};
        clq_tune_report *r = NULL;
        clq_context *ctx = open_context(&w, NULL);
        assert_int_equal(clq_tune(ctx, "opencl", path, &r), CLQ_ERR_INVALID_ARGUMENT);
        assert_non_null(strstr(clq_error_message(ctx), "canceled"));
        assert_null(r);
        assert_int_equal(w.calls, stop);
        assert_int_not_equal(access(path, F_OK), 0);
        clq_context_free(ctx);
    }
}

static void check_report(const clq_tune_report *r)
{
    size_t chosen = 0, u4 = 0;
    assert_true(r->n > 0 && r->seconds > 0);
    assert_string_equal(r->note, "");
    for (size_t i = 0; i < r->n; i++) {
        const clq_tune_row *row = &r->rows[i];
        chosen += row->chosen;
        u4 += row->chosen && strcmp(row->family, "gemm_s8u4") == 0;
        if (!row->passed) fail_msg("%s %s: %s", row->family, row->variant, row->why);
        assert_true(row->seconds > 0);
        assert_null(strstr(row->variant, "plain"));
        if (row->pairs) assert_true(row->pairs >= 21 && row->ratio > 0);
    }
    assert_in_range(chosen, 10, r->n);
    assert_int_equal(u4, 1);
}

/* The file is used by a context that names it, and by no other. */
static void test_tune(void **state)
{
    struct watch w = {0};
    clq_tune_report *r = NULL;
    (void)state;
    if (!have_device()) skip();
    clq_context *ctx = open_context(&w, NULL);
    if (clq_tune(ctx, "opencl:0", path, &r) != CLQ_OK) fail_msg("%s", clq_error_message(ctx));
    check_report(r);
    assert_true(w.calls > 10);
    clq_context_free(ctx);
    ctx = open_context(&w, "opencl:0");
    assert_string_equal(logged, "");
    clq_device_info list[8];
    size_t n = 0;
    assert_int_equal(clq_devices_list(ctx, list, 8, &n, true), CLQ_OK);
    assert_non_null(strstr(list[1].verdict, "tuned"));
    for (size_t i = 0; i < r->n; i++) { /* "family: variant" of every choice is what the device now runs */
        char line[128];
        snprintf(line, sizeof line, "%s: %s", r->rows[i].family, r->rows[i].variant);
        if (r->rows[i].chosen && !strstr(list[1].families, line)) fail_msg("'%s' is not in:\n%s", line, list[1].families);
    }
    clq_context_free(ctx);
    clq_tune_report_free(r);
    FILE *f = fopen(path, "r+b");
    fputs("]", f);
    fclose(f);
    ctx = open_context(&w, "opencl:0");
    assert_non_null(strstr(logged, "is not used"));
    clq_context_free(ctx);
    unlink(path);
}

/* Stand-ins by name: the form for few rows has a threshold, and preferences bind. */
static void test_few_rows(void **state)
{
    struct clq_cl_tuned tuned;
    struct clq_error err = {""};
    struct clq_cl *cl = NULL;
    (void)state;
    if (!have_device()) skip();
    const struct clq_cl_tune_options o = {.device = {.only = "generic blocked gemv_plain_16 gemv_plain_64", .timeout_ms = 300000}};
    if (clq_cl_tune(&tuned, 0, &o, &err) != CLQ_OK) fail_msg("%s", err.text);
    assert_in_range(tuned.tuning.few_rows, 0, 16);
    size_t gemv = 0, gemv_u4 = 0;
    for (size_t i = 0; i < tuned.n; i++) {
        gemv += strcmp(tuned.rows[i].family, "gemv_u8s8") == 0 && tuned.rows[i].passed;
        gemv_u4 += strcmp(tuned.rows[i].family, "gemv_s8u4") == 0 && tuned.rows[i].passed;
    }
    assert_int_equal(gemv, 2);
    assert_int_equal(gemv_u4, 2);
    free(tuned.rows);
    const struct clq_cl_options prefer = {.only = "generic gemv_plain_16 gemv_plain_64", .prefer = "gemv_u8s8=gemv_plain_64", .timeout_ms = 300000};
    if (clq_cl_open(&cl, 0, &prefer, &err) != CLQ_OK || clq_cl_ready(cl, CLQ_CL_GEMV, &err) != CLQ_OK) fail_msg("%s", err.text);
    assert_string_equal(clq_cl_variant(cl, CLQ_CL_GEMV), "gemv_plain_64");
    clq_cl_close(cl);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_arguments), cmocka_unit_test(test_canceled), cmocka_unit_test(test_tune),
                                       cmocka_unit_test(test_few_rows)};
    path = argc > 1 ? argv[1] : "opencl-tuning.json";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
