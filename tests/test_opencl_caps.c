/* SPDX-License-Identifier: Apache-2.0
 * The capability step without a device: what devices say of themselves, which variants they are offered, in which order.
 * Argument "ptx": prints one line per variant that contains PTX, "source;options;instructions;bytes of stack", for
 * opencl_ptx.cmake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cl/variants.h"

#define KHR "cl_khr_global_int32_base_atomics "
#define NVIDIA KHR "cl_nv_device_attribute_query"

struct device {
    const char *what;
    struct clq_cl_facts facts;
    const char *gemm, *conv, *gemv; /* the first variant offered; gemv "": none */
};

static const struct device devices[] = {
    {"H100", {.max_group = 1024, .local_memory = 49152, .divide = true, .denorm = true, .extensions = NVIDIA, .nv_major = 9},
     "mma_128x128", "tile_dp4a_64x64", "gemv_fragments_16"},
    {"GTX 1080", {.max_group = 1024, .local_memory = 49152, .divide = true, .extensions = NVIDIA, .nv_major = 6, .nv_minor = 1},
     "tile_dp4a_64x64", "tile_dp4a_64x64", "gemv_dp4a_16"},
    {"P100", {.max_group = 1024, .local_memory = 49152, .extensions = NVIDIA, .nv_major = 6}, "tile_64x64", "tile_64x64", "gemv_16"},
    {"tensor cores, little local memory", {.max_group = 1024, .local_memory = 32768, .extensions = NVIDIA, .nv_major = 8},
     "mma_64x64", "tile_dp4a_64x64", "gemv_fragments_16"},
    {"a compute capability without the extension", {.max_group = 1024, .local_memory = 65536, .extensions = KHR, .nv_major = 9},
     "tile_64x64", "tile_64x64", "gemv_16"},
    {"khr dot product", {.max_group = 512, .local_memory = 65536, .extensions = KHR "cl_khr_integer_dot_product"},
     "tile_dot_64x64", "tile_dot_64x64", "gemv_dot_16"},
    {"a name that only begins so", {.max_group = 512, .local_memory = 65536, .extensions = "cl_khr_integer_dot_product2 " KHR},
     "tile_64x64", "tile_64x64", "gemv_16"},
    {"Arm", {.max_group = 256, .local_memory = 32768, .extensions = "cl_arm_integer_dot_product_accumulate_int8 " KHR},
     "tile_arm_64x64", "tile_arm_64x64", "gemv_arm_16"},
    {"AMD", {.max_group = 256, .local_memory = 65536, .extensions = KHR "cl_amd_device_attribute_query"},
     "tile_amd_64x64", "tile_amd_64x64", "gemv_amd_16"},
    {"small groups", {.max_group = 128, .local_memory = 65536, .extensions = "cl_khr_integer_dot_product"}, "generic", "generic", ""},
    {"little local memory", {.max_group = 256, .local_memory = 4096}, "generic", "generic", "gemv_16"},
    {"nothing said", {.max_group = 1}, "generic", "generic", ""},
    {"CPU with VNNI", {.is_cpu = true, .vnni = true, .max_group = 4096, .local_memory = 1 << 20}, "x86_vnni", "x86_vnni", ""},
    {"CPU", {.is_cpu = true, .max_group = 4096, .local_memory = 1 << 20, .extensions = "cl_khr_integer_dot_product"},
     "generic", "generic", ""},
    {"VNNI says nothing about a GPU", {.vnni = true, .max_group = 1024, .local_memory = 65536}, "tile_64x64", "tile_64x64", "gemv_16"},
};
enum { DEVICES = sizeof devices / sizeof *devices };

/* The first admitted variant of op from *at on, or NULL; *at moves behind it. */
static const struct clq_cl_variant *next(size_t *at, const char *op, const struct clq_cl_facts *f)
{
    const unsigned caps = clq_cl_capabilities(f);
    while (*at < clq_cl_variant_count) {
        const struct clq_cl_variant *v = &clq_cl_variants[(*at)++];
        if (strcmp(v->op, op) == 0 && clq_cl_admits(v, caps, f->max_group, f->local_memory)) return v;
    }
    return NULL;
}

static void expect(const struct device *d, const char *op, const char *name)
{
    size_t at = 0;
    const struct clq_cl_variant *v = next(&at, op, &d->facts);
    if (strcmp(v ? v->name : "", name) != 0) fail_msg("%s, %s: %s is offered first, expected '%s'", d->what, op, v ? v->name : "nothing", name);
}

static void test_first(void **state)
{
    (void)state;
    for (size_t i = 0; i < DEVICES; i++) {
        expect(&devices[i], "gemm_u8s8", devices[i].gemm);
        expect(&devices[i], "conv_u8s8", devices[i].conv);
        expect(&devices[i], "gemv_u8s8", devices[i].gemv);
    }
}

/* 4-bit weights: their sums need subnormal numbers. */
static void test_first_u4(void **state)
{
    static const struct {
        struct clq_cl_facts facts;
        const char *gemm, *gemv;
    } cases[] = {
        {{.max_group = 1024, .local_memory = 49152, .denorm = true, .extensions = NVIDIA, .nv_major = 9}, "tile_dp4a_64x64", "gemv_dp4a_16"},
        {{.max_group = 1024, .local_memory = 49152, .extensions = NVIDIA, .nv_major = 9}, "", ""},
        {{.max_group = 512, .local_memory = 65536, .denorm = true, .extensions = KHR "cl_khr_integer_dot_product"}, "tile_dot_64x64", "gemv_dot_16"},
        {{.max_group = 256, .local_memory = 8192, .denorm = true, .extensions = "cl_amd_device_attribute_query"}, "generic", ""},
        {{.is_cpu = true, .vnni = true, .denorm = true, .max_group = 4096, .local_memory = 1 << 20}, "x86_vnni", "x86_vnni"},
        {{.is_cpu = true, .vnni = true, .denorm = true, .max_group = 4096, .local_memory = 1 << 18}, "generic", "x86_vnni"},
        {{.is_cpu = true, .denorm = true, .max_group = 4096, .local_memory = 1 << 20}, "generic", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct device d = {.what = "4-bit weights", .facts = cases[i].facts};
        expect(&d, "gemm_s8u4", cases[i].gemm);
        expect(&d, "gemv_s8u4", cases[i].gemv);
    }
}

/* Whatever a device says, every operation ends with a variant that needs nothing; stand-ins run only by name; what is
 * offered fits the device. */
static void test_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < DEVICES; i++) {
        const struct clq_cl_facts *f = &devices[i].facts;
        size_t at = 0, offered = 0;
        for (const struct clq_cl_variant *v; (v = next(&at, "gemm_u8s8", f)) != NULL; offered++) {
            assert_null(strstr(v->name, "plain"));
            if (!v->groups) continue;
            assert_true(v->local[0] * v->local[1] <= f->max_group && v->local_bytes <= f->local_memory);
            assert_true(v->cover[0] > 0 && v->cover[1] > 0);
        }
        assert_true(offered > 0);
    }
    struct clq_cl_facts by_name = {.is_cpu = true, .max_group = 4096, .local_memory = 1 << 20, .by_name = true};
    size_t at = 0, plain = 0;
    for (const struct clq_cl_variant *v; (v = next(&at, "gemm_u8s8", &by_name)) != NULL;) plain += strstr(v->name, "plain") != NULL;
    assert_int_equal(plain, 8);
}

/* Names are unique in their operation: they are what a caller and a tuning file choose by. */
static void test_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < clq_cl_variant_count; i++)
        for (size_t j = 0; j < i; j++) {
            const struct clq_cl_variant *a = &clq_cl_variants[i], *b = &clq_cl_variants[j];
            if (strcmp(a->op, b->op) == 0 && strcmp(a->name, b->name) == 0) fail_msg("%s has two variants %s", a->op, a->name);
        }
}

static int print_ptx(void)
{
    for (size_t i = 0; i < clq_cl_variant_count; i++) {
        const struct clq_cl_variant *v = &clq_cl_variants[i];
        const bool conv = strncmp(v->op, "conv", 4) == 0; /* in the same program as the product */
        if (conv || !(v->needs & (CLQ_CL_CAP_DOT_PTX | CLQ_CL_CAP_MMA))) continue;
        const bool mma = strcmp(v->source, "product_mma") == 0, u4 = v->layout == CLQ_CL_GROUPS;
        const unsigned results = v->cover[0] * v->cover[1] / (v->local[0] * v->local[1]);
        printf("%s;%s;%s;%u\n", v->source, v->options,
               mma ? "mma.sync.aligned.m16n8k32 ldmatrix.sync.aligned.m8n8.x4 cp.async.cg" : u4 ? "dp4a.s32.s32" : "dp4a.u32.s32",
               u4 ? 64 * (results ? results : 1) : 0); /* segments that wait */
    }
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_first), cmocka_unit_test(test_first_u4), cmocka_unit_test(test_rules), cmocka_unit_test(test_names)};
    if (argc > 1 && strcmp(argv[1], "ptx") == 0) return print_ptx();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
