/* SPDX-License-Identifier: Apache-2.0
 * The shapes of the reports: the networks have as many layers and operations as they are known for, and shapes survive
 * being written and read. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/cases/suite.h"

static void networks(void **state)
{
    /* convolutions, and multiply-adds of them in millions as the papers have them */
    static const struct {
        const char *name;
        int layers;
        double macs;
    } known[] = {{"efficientnet-lite0", 49, 384}, {"mobilenetv2", 52, 300}, {"resnet50", 53, 4087}};
    static struct clq_layer l[CLQ_MAX_LAYERS], all[CLQ_MAX_LAYERS];
    size_t distinct = 0;
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        int layers = 0;
        double operations = 0;
        const size_t n = clq_suite_layers(l, known[i].name);
        for (size_t k = 0; k < n; k++) {
            assert_string_equal(l[k].network, known[i].name);
            layers += l[k].count;
            operations += l[k].count * clq_conv_operations(&l[k].shape);
            for (size_t j = 0; j < k; j++) assert_memory_not_equal(&l[j].shape, &l[k].shape, sizeof l[k].shape);
        }
        assert_int_equal(layers, known[i].layers);
        assert_true(fabs(operations / 2e6 / known[i].macs - 1) < 0.02);
        distinct += n;
    }
    assert_int_equal(clq_suite_layers(all, NULL), distinct);
    assert_int_equal(clq_suite_layers(all, "alexnet"), 0);
}

static void products(void **state)
{
    size_t n = 0;
    (void)state;
    for (const struct clq_gemm_shape *s = clq_suite_gemm("default"); s->m > 0; s++) n++;
    assert_int_equal(n, 12);
    assert_non_null(clq_suite_gemm("transformer"));
    assert_null(clq_suite_gemm("none"));
    for (const struct clq_gemm_shape *s = clq_suite_gemv(); s->m > 0; s++) assert_int_equal(s->m, 1);
}

static void texts(void **state)
{
    static struct clq_layer l[CLQ_MAX_LAYERS];
    const size_t n = clq_suite_layers(l, NULL);
    char text[CLQ_SHAPE_TEXT];
    struct clq_conv_shape c;
    struct clq_gemm_shape g;
    (void)state;
    for (size_t i = 0; i < n; i++) {
        clq_conv_shape_text(text, &l[i].shape);
        assert_true(clq_conv_shape_parse(&c, text));
        assert_memory_equal(&c, &l[i].shape, sizeof c);
    }
    assert_true(clq_conv_shape_parse(&c, "7x9x4-8:k3:s2:p1:q0:g2:d3"));
    const struct clq_conv_shape expected = {7, 9, 4, 8, 3, 2, 1, 0, 2, 3};
    assert_memory_equal(&c, &expected, sizeof c);
    assert_int_equal(clq_conv_out(&c, 7), 1);
    assert_int_equal(clq_conv_out(&c, 9), 2);
    assert_true(clq_gemm_shape_parse(&g, "12x3x1048576"));
    clq_gemm_shape_text(text, &g);
    assert_string_equal(text, "12x3x1048576");
}

static void no_shapes(void **state)
{
    static const char *const bad_gemm[] = {"", "1", "1x2", "1x2x", "x1x2", "1x2x3x4", "0x1x1", "1x1x1048577", "-1x1x1", "1x+2x3", " 1x2x3", "1x2x3 ", "99999999999999999999x1x1"};
    static const char *const bad_conv[] = {"", "4x4x4", "4x4x4-", "4x4-4", "4x4x4-4:", "4x4x4-4:k", "4x4x4-4:k0", "4x4x4-4:z3", "4x4x4-4:k3p1", "4x4x4-4:g3", "4x4x4-6:g4", "4x4x4-4:k5",
                                           "4x4x4-4:k3:", "4x4x4-4:p1048577"};
    struct clq_conv_shape c;
    struct clq_gemm_shape g;
    (void)state;
    for (size_t i = 0; i < sizeof bad_gemm / sizeof *bad_gemm; i++) assert_false(clq_gemm_shape_parse(&g, bad_gemm[i]));
    for (size_t i = 0; i < sizeof bad_conv / sizeof *bad_conv; i++) assert_false(clq_conv_shape_parse(&c, bad_conv[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(networks), cmocka_unit_test(products), cmocka_unit_test(texts), cmocka_unit_test(no_shapes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
