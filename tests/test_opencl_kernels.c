/* SPDX-License-Identifier: Apache-2.0
 * The kernels' cases on the first OpenCL device, bit for bit against the reference: the device stands in for the CPU's
 * table. Arguments: "all", or the variant that products and convolutions must use, and one for few rows. Inputs end at guard pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "device_cl.h"
#include "tests/harness.h"

static struct clq_cl *device;
static struct clq_kernels reference;
static struct clq_error failure;
static size_t on_device, on_cpu; /* runs of the current family */

static void must(clq_status st)
{
    if (st != CLQ_OK) fail_msg("%s", failure.text);
    on_device++;
}

static void run_quantize_u8(struct clq_quantize_args *a) { must(clq_cl_quantize(device, false, a, NULL, &failure)); }
static void run_quantize_s8(struct clq_quantize_args *a) { must(clq_cl_quantize(device, true, a, NULL, &failure)); }
static void run_dequantize_u8(struct clq_dequantize_args *a)
{
    must(clq_cl_dequantize(device, false, a, NULL, &failure));
}
static void run_dequantize_s8(struct clq_dequantize_args *a)
{
    must(clq_cl_dequantize(device, true, a, NULL, &failure));
}
static void run_minmax(struct clq_minmax_args *a) { must(clq_cl_minmax(device, a, NULL, &failure)); }
static void run_add(struct clq_binary_u8_args *a) { must(clq_cl_add(device, a, NULL, &failure)); }
static void run_mul(struct clq_binary_u8_args *a) { must(clq_cl_mul(device, a, NULL, &failure)); }
static void run_lut(struct clq_lut_args *a) { must(clq_cl_lut(device, a, NULL, &failure)); }
static void run_maxpool(struct clq_pool_args *a) { must(clq_cl_maxpool(device, a, NULL, &failure)); }
static void run_avgpool(struct clq_pool_args *a) { must(clq_cl_avgpool(device, a, NULL, &failure)); }

/* What the device says that it does not take runs where the executor would run it. */
static void run_histogram(struct clq_histogram_args *a)
{
    if (a->log2_bins != 10) {
        reference.histogram_f32(a);
        on_cpu++;
        return;
    }
    must(clq_cl_histogram(device, a, NULL, &failure));
}

static void plan_gemm(struct clq_gemm_args *a)
{
    a->packed_bytes = a->scratch_bytes = 0;
    a->units = 1;
    if (!clq_cl_supports_gemm(device, a)) reference.gemm_u8s8_plan(a);
}

static void pack_gemm(struct clq_gemm_args *a) { (void)a; }

static void run_gemm(struct clq_gemm_args *a, bool is_signed)
{
    struct clq_cl_weight *w = NULL;
    if (!clq_cl_supports_gemm(device, a)) {
        if (is_signed) reference.gemm_s8s8(a);
        else reference.gemm_u8s8(a);
        on_cpu++;
        return;
    }
    must(clq_cl_prepare_gemm(&w, device, is_signed, a, &failure));
    must(clq_cl_gemm(device, w, a, NULL, &failure));
    clq_cl_weight_free(device, w);
}

static void run_gemm_u8(struct clq_gemm_args *a) { run_gemm(a, false); }
static void run_gemm_s8(struct clq_gemm_args *a) { run_gemm(a, true); }

static void plan_u4(struct clq_gemm_u4_args *a)
{
    a->packed_bytes = a->scratch_bytes = 0;
    a->units = 1;
    if (!clq_cl_supports_u4(device, a)) reference.gemm_s8u4_plan(a);
}

static void pack_u4(struct clq_gemm_u4_args *a) { (void)a; }

enum u4_rows { BY_ROW, BY_GROUP, REAL };

static void run_u4_of(struct clq_gemm_u4_args *a, enum u4_rows rows)
{
    struct clq_cl_u4 *w = NULL;
    if (!clq_cl_supports_u4(device, a)) {
        (rows == REAL ? reference.gemm_f32u4 : rows == BY_GROUP ? reference.gemm_g8u4 : reference.gemm_s8u4)(a);
        on_cpu++;
        return;
    }
    must(clq_cl_prepare_u4(&w, device, a, &failure));
    if (rows == REAL) must(clq_cl_gemm_u4_real(device, w, a, &failure));
    else if (rows == BY_GROUP) must(clq_cl_gemm_u4_grouped(device, w, a, &failure));
    else must(clq_cl_gemm_u4(device, w, a, NULL, &failure));
    clq_cl_u4_free(device, w);
}

static void run_u4(struct clq_gemm_u4_args *a) { run_u4_of(a, BY_ROW); }
static void run_u4_grouped(struct clq_gemm_u4_args *a) { run_u4_of(a, BY_GROUP); }
static void run_u4_real(struct clq_gemm_u4_args *a) { run_u4_of(a, REAL); }

static void plan_conv(struct clq_conv_args *a)
{
    a->packed_bytes = a->scratch_bytes = 0;
    a->units = 1;
    if (!clq_cl_supports_conv(device, a)) reference.conv_u8s8_plan(a);
}

static void pack_conv(struct clq_conv_args *a) { (void)a; }

static void run_conv(struct clq_conv_args *a)
{
    struct clq_cl_weight *w = NULL;
    if (!clq_cl_supports_conv(device, a)) {
        reference.conv_u8s8(a);
        on_cpu++;
        return;
    }
    must(clq_cl_prepare_conv(&w, device, a, &failure));
    must(clq_cl_conv(device, w, a, NULL, &failure));
    clq_cl_weight_free(device, w);
}

static void fill_table(struct clq_kernels *k)
{
    k->quantize_f32_u8 = run_quantize_u8;
    k->quantize_f32_s8 = run_quantize_s8;
    k->dequantize_u8_f32 = run_dequantize_u8;
    k->dequantize_s8_f32 = run_dequantize_s8;
    k->minmax_f32 = run_minmax;
    k->histogram_f32 = run_histogram;
    k->gemm_u8s8_plan = k->gemm_s8s8_plan = plan_gemm;
    k->gemm_u8s8_pack = k->gemm_s8s8_pack = pack_gemm;
    k->gemm_u8s8 = run_gemm_u8;
    k->gemm_s8s8 = run_gemm_s8;
    k->gemm_s8u4_plan = plan_u4;
    k->gemm_s8u4_pack = pack_u4;
    k->gemm_s8u4 = run_u4;
    k->gemm_g8u4_plan = k->gemm_f32u4_plan = plan_u4;
    k->gemm_g8u4 = run_u4_grouped;
    k->gemm_f32u4 = run_u4_real;
    k->conv_u8s8_plan = plan_conv;
    k->conv_u8s8_pack = pack_conv;
    k->conv_u8s8 = run_conv;
    k->add_u8 = run_add;
    k->mul_u8 = run_mul;
    k->lut_u8 = run_lut;
    k->maxpool_u8 = run_maxpool;
    k->avgpool_u8 = run_avgpool;
}

/* Moving bytes is left to the host. */
static bool stays_on_host(const char *op)
{
    struct clq_kernels table = reference;
    fill_table(&table);
#define CLQ_OP(name, args, stem) \
    if (strcmp(#name, op) == 0) return table.name == reference.name;
#include "kernels/ops.def"
#undef CLQ_OP
    return true;
}

static void test_family(void **state)
{
    const struct clq_family *family = *state;
    struct clq_kernels table = reference;
    if (!device) {
        print_message("no OpenCL device: %s is skipped\n", family->op);
        skip();
    }
    fill_table(&table);
    on_device = on_cpu = 0;
    for (size_t i = 0; i < family->n_tests; i++) {
        struct clq_case c = {0};
        char text[1024];
        clq_case_begin(&c, family, i, false, CLQ_SEED);
        clq_case_run(&c, &reference);
        clq_case_expect(&c);
        clq_case_run(&c, &table);
        if (!clq_case_check(&c, "opencl", text, sizeof text)) fail_msg("%s", text);
        clq_case_end(&c);
    }
    print_message("%s: %zu cases, %zu calls on the device, %zu on the CPU\n", family->op, family->n_tests, on_device,
                  on_cpu);
    assert_true(on_device > 0);
}

int main(int argc, char **argv)
{
    const bool all = argc < 2 || strcmp(argv[1], "all") == 0;
    char only[128];
    struct clq_cl_options options = {.cpu = ~0u, .only = all ? NULL : only, .timeout_ms = 120000};
    snprintf(only, sizeof only, "%s %s", argc > 1 ? argv[1] : "", argc > 2 ? argv[2] : "");
    struct CMUnitTest tests[64];
    size_t n = 0;
    clq_kernels_init(&reference, 0);
    if (clq_cl_open(&device, 0, &options, &failure) != CLQ_OK) print_message("%s\n", failure.text);
    for (size_t i = 0; clq_families[i] && n < sizeof tests / sizeof *tests; i++)
        if (!stays_on_host(clq_families[i]->op))
            tests[n++] = (struct CMUnitTest){clq_families[i]->op, test_family, NULL, NULL, (void *)(uintptr_t)clq_families[i]};
    int failed = _cmocka_run_group_tests("opencl kernels", tests, n, NULL, NULL);
    for (int f = 0; device && f < CLQ_CL_FAMILIES; f++)
        if (clq_cl_variant(device, f)) print_message("%s: %s\n", clq_cl_family_name(f), clq_cl_variant(device, f));
    if (device && !all && clq_cl_variant(device, CLQ_CL_GEMM) &&
        strcmp(clq_cl_variant(device, CLQ_CL_GEMM), argv[1]) != 0)
        failed++;
    clq_cl_close(device);
    return failed != 0;
}
