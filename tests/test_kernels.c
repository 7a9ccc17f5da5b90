/* SPDX-License-Identifier: Apache-2.0
 * Every kernel on every CPU target against its reference, bit for bit: one cmocka test per op x case x target, named
 * quantize_f32_s8/avx2/n=17 ... Arguments: [op] runs that op only (a prefix will do), [seed] draws other inputs,
 * [part/parts] runs one part of the cases: 0/2 every second one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/functions.h"
#include "tests/harness.h"

struct entry {
    const struct clq_family *family;
    size_t index;
    uint64_t seed;
    const struct clq_target *target;
};

/* The targets of one case follow each other, so the last case and its expected bytes are kept. */
static struct clq_case current;

static struct clq_case *case_of(const struct entry *e)
{
    if (current.family != e->family || current.index != e->index) {
        struct clq_kernels reference;
        clq_kernels_init(&reference, 0);
        clq_case_end(&current);
        clq_case_begin(&current, e->family, e->index, false, e->seed);
        clq_case_run(&current, &reference);
        clq_case_expect(&current);
    }
    return &current;
}

static void test_case(void **state)
{
    const struct entry *e = *state;
    if (!e->target->usable) {
        print_message("this CPU cannot run %s\n", e->target->name);
        skip();
    }
    struct clq_case *c = case_of(e);
    char text[1024];
    clq_case_run(c, &e->target->kernels);
    if (!clq_case_check(c, e->target->name, text, sizeof text))
        fail_msg("%s", text);
}

/* ---- which version runs under which mask ---- */

static void check_variant(unsigned mask, const char *op, const char *expected)
{
    struct clq_kernels k;
    clq_kernels_init(&k, mask);
    if (strcmp(clq_variant(&k, op), expected) != 0)
        fail_msg("mask 0x%x, %s: expected %s, actual %s", mask, op, expected, clq_variant(&k, op));
}

static void test_variants(void **state)
{
    (void)state;
    static const char *const elementwise[] = {"quantize_f32_u8", "quantize_f32_s8", "dequantize_u8_f32",
                                              "dequantize_s8_f32", "minmax_f32", "histogram_f32", "add_u8", "mul_u8",
                                              "maxpool_u8", "avgpool_u8"};
    static const char *const tables[] = {"lut_u8", "copy_rows_u8"}, *const moves[] = {"transpose_u8", "transpose_u32"};
    static const char *const products[] = {"gemm_u8s8", "gemm_s8s8", "conv_u8s8"};
    /* Of this architecture: level, elementwise operations there, products there. */
    static const char *const expected[][3] = {
        {"ref", "ref", "ref"},
#if defined(__x86_64__)
        {"avx2", "avx2", "avx2"},
        {"avx_vnni", "avx2", "avx_vnni"},
        {"avx512", "avx512", "avx512"},
        {"avx512_vnni", "avx512", "avx512_vnni"},
        {"amx", "avx512", "amx"},
#elif defined(__aarch64__)
        {"neon", "neon", "neon"},
        {"neon_dotprod", "neon", "neon_dotprod"},
        {"neon_i8mm", "neon", "neon_i8mm"},
#endif
    };
    for (const struct clq_cpu_level *level = clq_cpu_levels; level->name; level++) {
        const char *const *e = expected[0]; /* another architecture's levels */
        for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
            if (strcmp(expected[i][0], level->name) == 0) e = expected[i];
        for (size_t i = 0; i < sizeof elementwise / sizeof *elementwise; i++)
            check_variant(level->mask, elementwise[i], e[1]);
        for (size_t i = 0; i < sizeof products / sizeof *products; i++) check_variant(level->mask, products[i], e[2]);
        check_variant(level->mask, "attention_f32", strstr(e[1], "avx") ? e[1] : "ref");
        for (size_t i = 0; i < 2; i++) {
            check_variant(level->mask, tables[i], strcmp(e[2], "amx") == 0 ? "avx512_vbmi" : e[1]);
            check_variant(level->mask, moves[i], strstr(e[1], "avx") ? "avx2" : "ref");
        }
    }
    for (size_t i = 0; i < sizeof elementwise / sizeof *elementwise; i++)
        check_variant(CLQ_CPU_VNNI | CLQ_CPU_AVX_VNNI | CLQ_CPU_NEON_DOT, elementwise[i], "ref");
}

/* The name in the table and the function in the table belong together. */
static void test_entries(void **state)
{
    (void)state;
    for (const struct clq_cpu_level *level = clq_cpu_levels; level->name; level++) {
        struct clq_kernels k;
        clq_kernels_init(&k, level->mask);
        size_t named = 0, ops = 0;
#define CLQ_OP(name, args, stem)                                                                                       \
    ops++;                                                                                                             \
    if (strcmp(k.variant.name, "ref") == 0) {                                                                          \
        assert_true(k.name == clq_##name##_ref);                                                                       \
        named++;                                                                                                       \
    }
#include "kernels/ops.def"
#undef CLQ_OP
#define CLQ_KERNEL(op, version, needs)                                                                                 \
    if (strcmp(k.variant.op, #version) == 0) {                                                                         \
        assert_int_equal(level->mask & (needs), needs);                                                                \
        assert_true(k.op == clq_##op##_##version);                                                                     \
        named++;                                                                                                       \
    }
#define CLQ_KERNEL_FILE(stem)
#include "kernels/versions.def"
#undef CLQ_KERNEL_FILE
#undef CLQ_KERNEL
        assert_int_equal(named, ops);
    }
}

static void test_levels(void **state)
{
    (void)state;
    assert_int_equal(clq_cpu_parse("ref"), 0);
    assert_int_equal(clq_cpu_parse("avx2"), CLQ_CPU_AVX2);
    assert_int_equal(clq_cpu_parse("avx512_vnni"), CLQ_CPU_AVX2 | CLQ_CPU_AVX512 | CLQ_CPU_VNNI);
    assert_int_equal(clq_cpu_parse("amx"), CLQ_CPU_AVX2 | CLQ_CPU_AVX512 | CLQ_CPU_VNNI | CLQ_CPU_VBMI | CLQ_CPU_AMX);
    assert_int_equal(clq_cpu_parse("neon_i8mm"), CLQ_CPU_NEON | CLQ_CPU_NEON_DOT | CLQ_CPU_NEON_I8MM);
    assert_int_equal(clq_cpu_parse("native"), clq_cpu_detect());
    assert_int_equal(clq_cpu_parse("avx5"), CLQ_CPU_UNKNOWN);
    assert_int_equal(clq_cpu_parse(""), CLQ_CPU_UNKNOWN);
    for (const struct clq_cpu_level *level = clq_cpu_levels; level->name; level++)
        assert_int_equal(clq_cpu_parse(level->name), level->mask);
}

/* A family is reached by its own name or as a call of another one: plan and pack run with their product. */
static bool has_cases(const char *op)
{
    for (const struct clq_family *const *f = clq_families; *f; f++) {
        const size_t length = strlen((*f)->op);
        if (strncmp(op, (*f)->op, length) != 0)
            continue;
        if (!op[length] || strcmp(op + length, "_plan") == 0 || strcmp(op + length, "_pack") == 0)
            return true;
    }
    return false;
}

static void test_every_op_has_cases(void **state)
{
    (void)state;
#define CLQ_OP(name, args, stem)                                                                                       \
    if (!has_cases(#name))                                                                                             \
        fail_msg("%s has no row in tests/cases/cases.def", #name);
#include "kernels/ops.def"
#undef CLQ_OP
}

/* The harness itself must find a wrong bit, a written input and a write outside. */
static void test_harness_finds_faults(void **state)
{
    (void)state;
    struct clq_kernels k;
    struct clq_case c;
    char text[1024];
    clq_kernels_init(&k, 0);
    clq_case_begin(&c, clq_families[0], 300, false, CLQ_SEED);
    assert_string_equal(c.family->op, "quantize_f32_u8");
    clq_case_run(&c, &k);
    clq_case_expect(&c);
    assert_true(clq_case_check(&c, "ref", text, sizeof text));
    unsigned char *x = c.operand[0].memory.data, *y = c.operand[1].memory.data;
    assert_true(c.operand[1].memory.bytes > 0);
    y[0] ^= 1;
    assert_false(clq_case_check(&c, "ref", text, sizeof text));
    assert_non_null(strstr(text, "output y[0] from x="));
    y[0] ^= 1;
    x[3] ^= 128;
    assert_false(clq_case_check(&c, "ref", text, sizeof text));
    assert_non_null(strstr(text, "input was written"));
    x[3] ^= 128;
    *(y - 1) ^= 1;
    assert_false(clq_case_check(&c, "ref", text, sizeof text));
    assert_non_null(strstr(text, "bytes outside y"));
    *(y - 1) ^= 1;
    assert_true(clq_case_check(&c, "ref", text, sizeof text));
    clq_case_end(&c);
}

/* ---- the list ---- */

static char *name_of(const struct clq_family *f, const struct clq_target *t, const char *label)
{
    const size_t bytes = strlen(f->op) + strlen(t->name) + strlen(label) + 3;
    char *name = malloc(bytes);
    if (name)
        snprintf(name, bytes, "%s/%s/%s", f->op, t->name, label);
    return name;
}

struct choice {
    const char *filter; /* the beginning of an op's name */
    uint64_t seed;
    size_t part, parts;
};

static bool wanted(const struct clq_family *f, size_t index, const struct choice *choice)
{
    return strncmp(f->op, choice->filter, strlen(choice->filter)) == 0 && index % choice->parts == choice->part;
}

/* One test per case and usable target; one visibly skipped test per op on a target that this CPU lacks. */
static size_t list_tests(struct CMUnitTest *tests, struct entry *entries, const struct choice *choice,
                         const struct clq_target *targets, size_t n_targets)
{
    size_t n = 0;
    for (const struct clq_family *const *f = clq_families; *f; f++) {
        for (size_t i = 0; i < (*f)->n_tests; i++) {
            if (!wanted(*f, i, choice)) continue;
            struct clq_case c;
            if (tests)
                clq_case_begin(&c, *f, i, false, choice->seed);
            for (size_t t = 0; t < n_targets; t++) {
                if (!targets[t].usable && i > 0)
                    continue;
                if (tests) {
                    entries[n] = (struct entry){*f, i, choice->seed, &targets[t]};
                    tests[n] = (struct CMUnitTest){.name = name_of(*f, &targets[t], c.label), .test_func = test_case,
                                                   .initial_state = &entries[n]};
                }
                n++;
            }
            if (tests)
                clq_case_end(&c);
        }
    }
    return n;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest fixed[] = {
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_every_op_has_cases),
        cmocka_unit_test(test_harness_finds_faults),
    };
    struct choice choice = {argc > 1 ? argv[1] : "", argc > 2 ? strtoull(argv[2], NULL, 0) : CLQ_SEED, 0, 1};
    if (argc > 3 && (sscanf(argv[3], "%zu/%zu", &choice.part, &choice.parts) != 2 || choice.part >= choice.parts)) {
        fprintf(stderr, "usage: %s [op] [seed] [part/parts]\n", argv[0]);
        return 2;
    }
    struct clq_target targets[CLQ_MAX_TARGETS];
    const size_t n_targets = clq_targets(targets), n_fixed = sizeof fixed / sizeof *fixed;
    const size_t n = list_tests(NULL, NULL, &choice, targets, n_targets);
    struct CMUnitTest *tests = calloc(n + n_fixed, sizeof *tests);
    struct entry *entries = calloc(n + 1, sizeof *entries);
    if (!tests || !entries)
        return 2;
    memcpy(tests, fixed, sizeof fixed);
    list_tests(tests + n_fixed, entries, &choice, targets, n_targets);
    const int failed = _cmocka_run_group_tests("kernels", tests, n + n_fixed, NULL, NULL);
    clq_case_end(&current);
    for (size_t i = 0; i < n; i++)
        free((void *)tests[n_fixed + i].name);
    free(tests);
    free(entries);
    return failed != 0;
}
