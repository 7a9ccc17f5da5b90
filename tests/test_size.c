/* SPDX-License-Identifier: Apache-2.0
 * Checked sizes against 128-bit arithmetic, for all pairs of boundary values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/size.h"

__extension__ typedef unsigned __int128 wide;

enum { MOST = 400 };

/* 0, 1, 2^k - 1, 2^k, 2^k + 1 and SIZE_MAX / d and its neighbors. */
static size_t boundaries(size_t *out)
{
    static const size_t divisors[] = {1, 2, 3, 4, 5, 7, 8, 16, 63, 64};
    size_t n = 0;
    out[n++] = 0;
    for (int k = 0; k < 64; k++)
        for (size_t d = 0; d < 3; d++) out[n++] = ((size_t)1 << k) + d - 1;
    for (size_t i = 0; i < sizeof divisors / sizeof *divisors; i++)
        for (size_t d = 0; d < 3; d++) out[n++] = SIZE_MAX / divisors[i] + d - 1;
    return n;
}

static void pairs(void **state)
{
    (void)state;
    size_t v[MOST], n = boundaries(v);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++) {
            size_t out = 77;
            bool ok = clq_size_add(&out, v[i], v[k]);
            wide exact = (wide)v[i] + v[k];
            assert_true(ok == (exact <= SIZE_MAX) && out == (ok ? (size_t)exact : 77));
            out = 77;
            ok = clq_size_mul(&out, v[i], v[k]);
            exact = (wide)v[i] * v[k];
            assert_true(ok == (exact <= SIZE_MAX) && out == (ok ? (size_t)exact : 77));
            out = 77;
            ok = clq_size_sub(&out, v[i], v[k]);
            assert_true(ok == (v[k] <= v[i]) && out == (ok ? v[i] - v[k] : 77));
        }
}

static void spans(void **state)
{
    (void)state;
    size_t v[MOST], n = boundaries(v);
    for (size_t i = 0; i < n; i += 2)
        for (size_t k = 0; k < n; k++)
            for (size_t m = 0; m < n; m += 3)
                assert_true(clq_size_span(v[i], v[k], v[m]) == ((wide)v[i] + v[k] <= v[m]));
}

static void aligned(void **state)
{
    (void)state;
    size_t v[MOST], n = boundaries(v);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++) {
            size_t out = 77, align = v[k];
            bool power = align != 0 && (align & (align - 1)) == 0;
            wide exact = power ? ((wide)v[i] + align - 1) / align * align : 0;
            bool ok = clq_size_align(&out, v[i], align);
            /* The check is on the sum before it is cut down, so it may refuse within align - 1 of the end only. */
            assert_true(ok == (power && (wide)v[i] + align - 1 <= SIZE_MAX));
            assert_true(out == (ok ? (size_t)exact : 77));
        }
}

static void bits(void **state)
{
    (void)state;
    size_t v[MOST], n = boundaries(v);
    for (size_t i = 0; i < n; i++)
        for (unsigned b = 0; b < 70; b++) {
            size_t out = 77;
            wide exact = ((wide)v[i] * b + 7) / 8;
            bool want = b > 0 && b <= 64 && exact <= SIZE_MAX, ok = clq_size_bits(&out, v[i], b);
            if (ok != want || out != (want ? (size_t)exact : 77)) fail_msg("%zu elements of %u bits", v[i], b);
        }
}

static void file_numbers(void **state)
{
    (void)state;
    size_t out = 77;
    assert_false(clq_size_from_i64(&out, -1));
    assert_false(clq_size_from_i64(&out, INT64_MIN));
    assert_true(out == 77);
    assert_true(clq_size_from_i64(&out, INT64_MAX) && out == (size_t)INT64_MAX);
    assert_true(clq_size_from_i64(&out, 0) && out == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(pairs), cmocka_unit_test(spans), cmocka_unit_test(aligned),
                                       cmocka_unit_test(bits), cmocka_unit_test(file_numbers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
