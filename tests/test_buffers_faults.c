/* SPDX-License-Identifier: Apache-2.0
 * The calls on plain arrays while the device fails: at every command in turn, the CPU must give the bits of the reference and
 * the context must say why; where the device is required, the call must fail instead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "context.h"
#include "device_cl.h"
#include <clquant/buffers.h>

enum { M = 7, N = 65, K = 130, COUNT = 5000, SIDE = 6, CHANNELS = 24 };

/* What all calls give. */
struct results {
    uint8_t codes[COUNT];
    float reals[COUNT];
    uint64_t positive[1024], negative[1024];
    uint8_t gemm[M * N];
    uint8_t conv[SIDE * SIDE * CHANNELS];
};

static float x[COUNT], multiplier[N];
static uint8_t image[SIDE * SIDE * CHANNELS], a[M * K];
static int8_t weight[N * K], taps[9 * CHANNELS];

static void fill(void)
{
    uint32_t s = 1;
    for (int i = 0; i < COUNT; i++) x[i] = (float)((s = s * 1664525u + 1013904223u) >> 8) * 0x1p-20f - 8;
    for (size_t i = 0; i < sizeof a; i++) a[i] = (uint8_t)((s = s * 1664525u + 1013904223u) >> 24);
    for (size_t i = 0; i < sizeof image; i++) image[i] = (uint8_t)((s = s * 1664525u + 1013904223u) >> 24);
    for (size_t i = 0; i < sizeof weight; i++) weight[i] = (int8_t)((s = s * 1664525u + 1013904223u) >> 24);
    for (size_t i = 0; i < sizeof taps; i++) taps[i] = (int8_t)((s = s * 1664525u + 1013904223u) >> 24);
    for (int i = 0; i < N; i++) multiplier[i] = 0.0002f;
}

static clq_status arrays(clq_context *ctx, struct results *r)
{
    const float scale = 0.07f;
    const int32_t zero = 100;
    const clq_array_params p = {CLQ_DTYPE_U8, 1, 1, COUNT, &scale, &zero};
    clq_histogram *h = NULL;
    clq_histogram_info info;
    clq_status st = clq_quantize_array(ctx, r->codes, x, &p);
    if (st == CLQ_OK) st = clq_dequantize_array(ctx, r->reals, r->codes, &p);
    if (st == CLQ_OK) st = clq_histogram_create(&h, ctx);
    for (size_t at = 0; at < COUNT && st == CLQ_OK; at += COUNT / 2) st = clq_histogram_add(ctx, h, x + at, COUNT / 2);
    if (st == CLQ_OK) st = clq_histogram_read(&info, ctx, h);
    if (st == CLQ_OK) {
        memcpy(r->positive, info.positive, sizeof r->positive);
        memcpy(r->negative, info.negative, sizeof r->negative);
    }
    clq_histogram_free(h);
    return st;
}

static clq_status products(clq_context *ctx, struct results *r)
{
    const clq_product_output output = {.dtype = CLQ_DTYPE_U8, .multiplier = multiplier, .zero_point = 128};
    const clq_gemm_desc g = {.n = N, .k = K, .weight = weight, .input = CLQ_DTYPE_S8, .input_zero_point = 3, .output = output};
    const clq_conv_desc c = {.h = SIDE, .w = SIDE, .ci = CHANNELS, .co = CHANNELS, .kh = 3, .kw = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1,
                             .pad_right = 1, .groups = CHANNELS, .weight = taps, .input = CLQ_DTYPE_U8, .input_zero_point = 9, .output = output};
    clq_gemm *gemm = NULL;
    clq_conv *conv = NULL;
    clq_status st = clq_gemm_prepare(&gemm, ctx, &g);
    for (int turn = 0; turn < 2; turn++) /* the first may be the one that fails */
        if (st == CLQ_OK) st = clq_gemm_run(gemm, a, K, M, r->gemm, N);
    if (st == CLQ_OK) st = clq_conv_prepare(&conv, ctx, &c);
    if (st == CLQ_OK) st = clq_conv_run(conv, image, 1, r->conv);
    clq_gemm_free(gemm);
    clq_conv_free(conv);
    return st;
}

/* A context whose device fails at its n-th command. Self-tests are left out, so that n counts the commands of the calls. */
static clq_context *faulty(uint64_t n, bool require)
{
    clq_context *ctx = NULL;
    struct clq_error err;
    struct clq_cl_options o = {.fail_at = n, .skip_selftest = true, .timeout_ms = 300000};
    if (clq_context_create(&ctx, &(clq_context_options){.threads = 2}) != CLQ_OK) fail_msg("no context");
    ctx->require_device = require;
    if (clq_cl_open(&ctx->cl, 0, &o, &err) != CLQ_OK) fail_msg("%s", err.text);
    return ctx;
}

static void test_every_command(void **state)
{
    struct results *expected = calloc(1, sizeof *expected), *actual = calloc(1, sizeof *actual);
    clq_context *ref;
    const size_t used = offsetof(struct results, conv) + sizeof expected->conv; /* padding follows */
    unsigned failed = 0;
    (void)state;
    assert_int_equal(clq_context_create(&ref, &(clq_context_options){.threads = 1, .isa = "ref"}), CLQ_OK);
    assert_int_equal(arrays(ref, expected), CLQ_OK);
    assert_int_equal(products(ref, expected), CLQ_OK);
    clq_context_free(ref);
    for (uint64_t n = 1;; n++) {
        memset(actual, 0x5c, sizeof *actual);
        clq_context *ctx = faulty(n, false);
        if (arrays(ctx, actual) != CLQ_OK || products(ctx, actual) != CLQ_OK) fail_msg("command %llu: %s", (unsigned long long)n, clq_error_message(ctx));
        if (memcmp(expected, actual, used) != 0) fail_msg("command %llu fails: other bits (%s)", (unsigned long long)n, clq_context_fallback(ctx));
        const bool fell = clq_context_fallback(ctx)[0] != 0;
        assert_int_equal(fell, ctx->cl_dead);
        assert_int_equal(strcmp(clq_context_device(ctx), "cpu") == 0, fell);
        clq_context_free(ctx);
        if (!fell) break;
        failed++;
        ctx = faulty(n, true);
        clq_status st = arrays(ctx, actual);
        if (st == CLQ_OK) st = products(ctx, actual);
        assert_int_equal(st, CLQ_ERR_DEVICE);
        assert_non_null(strstr(clq_error_message(ctx), "required device"));
        assert_int_equal(arrays(ctx, actual), CLQ_ERR_DEVICE); /* and it stays so */
        clq_context_free(ctx);
    }
    print_message("%u commands failed in turn\n", failed);
    assert_true(failed > 20);
    free(expected);
    free(actual);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_command)};
    struct clq_cl_info *list = NULL;
    int n = 0;
    const bool none = clq_cl_list(&list, &n, NULL) != CLQ_OK || n == 0;
    free(list);
    if (none) {
        puts("no OpenCL device: SKIPPED");
        return 77;
    }
    fill();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
