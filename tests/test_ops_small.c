/* SPDX-License-Identifier: Apache-2.0
 * Floating types of 8 and 4 bits: every code survives the way through its value, and what lies between two codes goes to
 * the nearer one, from the middle to the even one. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "ops/convert.h"

static const struct {
    clq_dtype type;
    unsigned codes, largest; /* number of codes; code of the largest finite value */
    double value;
    bool infinite;
} types[] = {
    {CLQ_DTYPE_F8E4M3FN, 256, 0x7e, 448.0, false},   {CLQ_DTYPE_F8E4M3FNUZ, 256, 0x7f, 240.0, false},
    {CLQ_DTYPE_F8E5M2, 256, 0x7b, 57344.0, true},    {CLQ_DTYPE_F8E5M2FNUZ, 256, 0x7f, 57344.0, false},
    {CLQ_DTYPE_F4E2M1, 16, 0x7, 6.0, false},
};
enum { TYPES = sizeof types / sizeof *types };

static unsigned to(int k, double v, bool saturate)
{
    return clq_to_small(types[k].type, (float)v, saturate, CLQ_ROUND_UP);
}

static void test_codes(void **state)
{
    (void)state;
    for (int k = 0; k < TYPES; k++) {
        assert_true(clq_from_small(types[k].type, types[k].largest) == types[k].value);
        for (unsigned c = 0; c < types[k].codes; c++) {
            double v = clq_from_small(types[k].type, c);
            unsigned back = to(k, v, false);
            if (isnan(v)) assert_true(isnan(clq_from_small(types[k].type, back)));
            else assert_int_equal(back, c);
        }
    }
}

static void test_rounding(void **state)
{
    (void)state;
    for (int k = 0; k < TYPES; k++)
        for (unsigned c = 0; c < types[k].largest; c++) {
            double a = clq_from_small(types[k].type, c), b = clq_from_small(types[k].type, c + 1), middle = (a + b) / 2;
            assert_true(b > a);
            assert_int_equal(to(k, middle, true), c % 2 ? c + 1 : c);
            assert_int_equal(to(k, nextafterf((float)middle, 0.0f), true), c);
            assert_int_equal(to(k, nextafterf((float)middle, INFINITY), true), c + 1);
        }
}

static void test_limits(void **state)
{
    (void)state;
    for (int k = 0; k < TYPES; k++) {
        unsigned sign = types[k].codes / 2;
        assert_int_equal(to(k, 1e30, true), types[k].largest);
        assert_int_equal(to(k, -INFINITY, true), types[k].largest | sign);
        double v = clq_from_small(types[k].type, to(k, 1e30, false));
        if (types[k].type == CLQ_DTYPE_F4E2M1) assert_true(v == 6.0);
        else if (types[k].infinite) assert_true(isinf(v));
        else assert_true(isnan(v));
    }
}

static void test_powers(void **state)
{
    (void)state;
    const clq_dtype t = CLQ_DTYPE_F8E8M0;
    for (unsigned c = 0; c < 255; c++) assert_int_equal(clq_to_small(t, (float)clq_from_small(t, c), true, CLQ_ROUND_NEAREST), c);
    assert_int_equal(clq_to_small(t, NAN, true, CLQ_ROUND_UP), 255);
    assert_int_equal(clq_to_small(t, 3.0f, true, CLQ_ROUND_UP), 129);
    assert_int_equal(clq_to_small(t, 3.0f, true, CLQ_ROUND_DOWN), 128);
    assert_int_equal(clq_to_small(t, 2.5f, true, CLQ_ROUND_NEAREST), 128);
}

static void test_packed(void **state)
{
    (void)state;
    static const clq_dtype packed[] = {CLQ_DTYPE_U4, CLQ_DTYPE_S4, CLQ_DTYPE_U2, CLQ_DTYPE_S2};
    for (int k = 0; k < 4; k++) {
        uint8_t bytes[8];
        clq_tensor x = {.dtype = packed[k], .rank = 1, .shape = {13}, .data = bytes};
        unsigned bits = clq_dtype_bits(packed[k]);
        bool is_signed = packed[k] == CLQ_DTYPE_S4 || packed[k] == CLQ_DTYPE_S2;
        int64_t low = is_signed ? -(1 << (bits - 1)) : 0, n = 1 << bits;
        memset(bytes, 0xff, sizeof bytes);
        clq_clear_padding(&x);
        for (int64_t i = 0; i < 13; i++) clq_store_int(&x, i, low + i % n);
        for (int64_t i = 0; i < 13; i++) assert_int_equal(clq_load_int(&x, i), low + i % n);
        assert_int_equal(bytes[(13 * bits + 7) / 8 - 1] >> (13 * bits % 8), 0);
        assert_int_equal(bytes[(13 * bits + 7) / 8], 0xff);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_codes), cmocka_unit_test(test_rounding), cmocka_unit_test(test_limits),
                                       cmocka_unit_test(test_powers), cmocka_unit_test(test_packed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
