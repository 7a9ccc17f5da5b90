/* SPDX-License-Identifier: Apache-2.0
 * NPY and NPZ: numpy's files read right, the plain ones write back byte for byte, rows stream in any order, and
 * what is not an array of numbers is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "formats/arrays.h"
#include "formats/npy.h"

#define GOLDEN CLQ_TEST_DATA "/golden/npy/"

static double value(const clq_tensor *t, size_t i)
{
    switch (t->dtype) {
    case CLQ_DTYPE_F16: { /* whole numbers from 0 to 2047 only */
        unsigned bits = ((const uint16_t *)t->data)[i], e = bits >> 10;
        return e == 0 ? 0 : e > 25 ? (double)((bits & 1023) + 1024) * (1 << (e - 25)) : (double)((bits & 1023) + 1024) / (1 << (25 - e));
    }
    case CLQ_DTYPE_F32: return (double)((const float *)t->data)[i];
    case CLQ_DTYPE_F64: return ((const double *)t->data)[i];
    case CLQ_DTYPE_S8: return ((const int8_t *)t->data)[i];
    case CLQ_DTYPE_S16: return ((const int16_t *)t->data)[i];
    case CLQ_DTYPE_S32: return ((const int32_t *)t->data)[i];
    case CLQ_DTYPE_S64: return (double)((const int64_t *)t->data)[i];
    case CLQ_DTYPE_U16: return ((const uint16_t *)t->data)[i];
    case CLQ_DTYPE_U32: return ((const uint32_t *)t->data)[i];
    case CLQ_DTYPE_U64: return (double)((const uint64_t *)t->data)[i];
    default: return ((const uint8_t *)t->data)[i];
    }
}

static const struct {
    const char *file;
    clq_dtype dtype;
    int rank;
    int64_t shape[8];
    int first;       /* the value of the first element; the others count up */
    bool writes_back;
} files[] = {
    {"c_f2.npy", CLQ_DTYPE_F16, 2, {3, 4}, 0, true},
    {"c_f4.npy", CLQ_DTYPE_F32, 2, {3, 4}, 0, true},
    {"c_f8.npy", CLQ_DTYPE_F64, 2, {3, 4}, 0, true},
    {"c_i1.npy", CLQ_DTYPE_S8, 2, {3, 4}, 0, true},
    {"c_i2.npy", CLQ_DTYPE_S16, 2, {3, 4}, 0, true},
    {"c_i4.npy", CLQ_DTYPE_S32, 2, {3, 4}, 0, true},
    {"c_i8.npy", CLQ_DTYPE_S64, 2, {3, 4}, 0, true},
    {"c_u1.npy", CLQ_DTYPE_U8, 2, {3, 4}, 0, true},
    {"c_u2.npy", CLQ_DTYPE_U16, 2, {3, 4}, 0, true},
    {"c_u4.npy", CLQ_DTYPE_U32, 2, {3, 4}, 0, true},
    {"c_u8.npy", CLQ_DTYPE_U64, 2, {3, 4}, 0, true},
    {"c_b1.npy", CLQ_DTYPE_BOOL, 2, {3, 4}, 0, true},
    {"big_f4.npy", CLQ_DTYPE_F32, 2, {3, 4}, 0, false},
    {"big_i2.npy", CLQ_DTYPE_S16, 2, {3, 4}, 0, false},
    {"big_u8.npy", CLQ_DTYPE_U64, 2, {3, 4}, 0, false},
    {"fortran_f4.npy", CLQ_DTYPE_F32, 3, {2, 3, 4}, 0, false},
    {"fortran_big_i4.npy", CLQ_DTYPE_S32, 2, {3, 4}, 0, false},
    {"scalar_f4.npy", CLQ_DTYPE_F32, 0, {0}, 7, true},
    {"vector_i8.npy", CLQ_DTYPE_S64, 1, {3}, 0, true},
    {"empty_f4.npy", CLQ_DTYPE_F32, 2, {0, 3}, 0, true},
    {"rank8_u1.npy", CLQ_DTYPE_U8, 8, {1, 2, 1, 2, 1, 2, 1, 3}, 0, true},
    {"version2_f4.npy", CLQ_DTYPE_F32, 2, {3, 4}, 0, false},
    {"version3_f4.npy", CLQ_DTYPE_F32, 2, {3, 4}, 0, false},
};

static void same_bytes(const char *a, const char *b)
{
    struct clq_blob x, y;
    assert_int_equal(clq_file_read(&x, a, 0, NULL), CLQ_OK);
    assert_int_equal(clq_file_read(&y, b, 0, NULL), CLQ_OK);
    assert_int_equal(x.bytes, y.bytes);
    assert_memory_equal(x.data, y.data, x.bytes);
    free(x.data);
    free(y.data);
}

static void golden(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        char path[256], copy[] = "/tmp/clq-npy-XXXXXX";
        clq_arrays *a;
        clq_tensor t;
        size_t n;
        struct clq_error err;
        snprintf(path, sizeof path, GOLDEN "%s", files[k].file);
        if (clq_arrays_open(&a, path, &err) != CLQ_OK) fail_msg("%s", err.text);
        assert_int_equal(clq_arrays_count(a), 1);
        assert_string_equal(clq_arrays_name(a, 0), "");
        assert_int_equal(clq_arrays_load(a, 0, &t, 0, &err), CLQ_OK);
        assert_int_equal(t.dtype, files[k].dtype);
        assert_int_equal(t.rank, files[k].rank);
        assert_memory_equal(t.shape, files[k].shape, sizeof(int64_t) * (size_t)t.rank);
        assert_int_equal(clq_tensor_elements(&n, &t), CLQ_OK);
        for (size_t i = 0; i < n; i++) {
            double want = t.dtype == CLQ_DTYPE_BOOL ? (double)(i & 1) : (double)files[k].first + (double)i;
            if (value(&t, i) != want) fail_msg("%s [%zu]: expected %g, found %g", path, i, want, value(&t, i));
        }
        if (files[k].writes_back) {
            struct clq_writer_options force = {.force = true};
            close(mkstemp(copy));
            assert_int_equal(clq_npy_write(copy, &t, &force, &err), CLQ_OK);
            same_bytes(path, copy);
            unlink(copy);
        }
        free(t.data);
        clq_arrays_close(a);
    }
}

/* Rows in forward, backward and repeated order equal the rows of the whole. */
static void rows_of(const char *path)
{
    clq_arrays *a;
    struct clq_error err;
    if (clq_arrays_open(&a, path, &err) != CLQ_OK) fail_msg("%s", err.text);
    for (size_t k = 0; k < clq_arrays_count(a); k++) {
        const clq_tensor *info = clq_arrays_info(a, k);
        clq_tensor whole;
        unsigned char part[512];
        size_t bytes;
        int64_t rows = info->rank ? info->shape[0] : 1;
        assert_null(info->data);
        assert_int_equal(clq_arrays_load(a, k, &whole, 0, &err), CLQ_OK);
        assert_int_equal(clq_tensor_bytes(&bytes, &whole), CLQ_OK);
        size_t row = rows ? bytes / (size_t)rows : 0;
        for (int64_t begin = rows; begin >= 0; begin--)
            for (int64_t end = begin; end <= rows; end++) {
                if (clq_arrays_rows(a, k, begin, end, part, &err) != CLQ_OK) fail_msg("%s", err.text);
                assert_memory_equal(part, (char *)whole.data + row * (size_t)begin, row * (size_t)(end - begin));
            }
        for (int64_t i = 0; i < rows; i++) {
            assert_int_equal(clq_arrays_rows(a, k, i, i + 1, part, &err), CLQ_OK);
            assert_memory_equal(part, (char *)whole.data + row * (size_t)i, row);
        }
        assert_int_equal(clq_arrays_rows(a, k, -1, 0, part, &err), CLQ_ERR_INVALID_ARGUMENT);
        assert_int_equal(clq_arrays_rows(a, k, rows, rows + 1, part, &err), CLQ_ERR_INVALID_ARGUMENT);
        if (bytes > 1) {
            clq_tensor t;
            assert_int_equal(clq_arrays_load(a, k, &t, bytes - 1, &err), CLQ_ERR_FORMAT);
        }
        free(whole.data);
    }
    clq_arrays_close(a);
}

static void rows(void **state)
{
    (void)state;
    rows_of(GOLDEN "c_f4.npy");
    rows_of(GOLDEN "big_i2.npy");
    rows_of(GOLDEN "fortran_f4.npy");
    rows_of(GOLDEN "scalar_f4.npy");
    rows_of(GOLDEN "empty_f4.npy");
    rows_of(GOLDEN "stored.npz");
    rows_of(GOLDEN "deflated.npz");
}

static void npz_values(void **state)
{
    (void)state;
    static const char *const paths[] = {GOLDEN "stored.npz", GOLDEN "deflated.npz"};
    for (int k = 0; k < 2; k++) {
        clq_arrays *a;
        clq_tensor t;
        assert_int_equal(clq_arrays_open(&a, paths[k], NULL), CLQ_OK);
        assert_int_equal(clq_arrays_count(a), 4);
        assert_int_equal(clq_arrays_find(a, "none"), -1);
        int y = clq_arrays_find(a, "y");
        assert_true(y >= 0);
        assert_int_equal(clq_arrays_load(a, (size_t)y, &t, 0, NULL), CLQ_OK);
        assert_int_equal(t.dtype, CLQ_DTYPE_S16);
        for (size_t i = 0; i < 20; i++) assert_true(value(&t, i) == (double)i);
        free(t.data);
        clq_arrays_close(a);
    }
}

static void npz_written(void **state)
{
    (void)state;
    float x[300];
    uint8_t y[5] = {1, 2, 3, 4, 5};
    for (int i = 0; i < 300; i++) x[i] = (float)(i % 7);
    const char *names[] = {"input", "m\xc3\xa4sk", "none"};
    clq_tensor t[] = {{CLQ_DTYPE_F32, 3, {10, 5, 6}, x}, {CLQ_DTYPE_U8, 1, {5}, y}, {CLQ_DTYPE_S64, 2, {0, 9}, NULL}};
    struct clq_writer_options force = {.force = true};
    for (int deflate = 0; deflate < 2; deflate++) {
        char path[] = "/tmp/clq-npz-XXXXXX", again[] = "/tmp/clq-npz-XXXXXX";
        clq_arrays *a;
        clq_tensor back;
        struct clq_error err;
        close(mkstemp(path));
        close(mkstemp(again));
        setenv("TZ", deflate ? "Asia/Tokyo" : "UTC", 1);
        assert_int_equal(clq_npz_write(path, 3, names, t, deflate, &force, &err), CLQ_OK);
        setenv("TZ", "America/New_York", 1);
        assert_int_equal(clq_npz_write(again, 3, names, t, deflate, &force, &err), CLQ_OK);
        same_bytes(path, again);
        if (clq_arrays_open(&a, path, &err) != CLQ_OK) fail_msg("%s", err.text);
        assert_int_equal(clq_arrays_count(a), 3);
        for (size_t i = 0; i < 3; i++) {
            size_t bytes;
            int at = clq_arrays_find(a, names[i]);
            assert_true(at >= 0);
            assert_int_equal(clq_arrays_load(a, (size_t)at, &back, 0, &err), CLQ_OK);
            assert_int_equal(back.rank, t[i].rank);
            assert_memory_equal(back.shape, t[i].shape, sizeof(int64_t) * (size_t)back.rank);
            assert_int_equal(clq_tensor_bytes(&bytes, &back), CLQ_OK);
            if (bytes) assert_memory_equal(back.data, t[i].data, bytes);
            free(back.data);
        }
        clq_arrays_close(a);
        unlink(path);
        unlink(again);
    }
    clq_tensor half = {CLQ_DTYPE_BF16, 1, {1}, y};
    assert_int_equal(clq_npz_write("/tmp/clq-never", 1, names, &half, false, NULL, NULL), CLQ_ERR_UNSUPPORTED);
    assert_int_equal(access("/tmp/clq-never", F_OK), -1);
}

/* Headers only; data is not needed because the declared total is free to choose. */
static clq_status parse(const char *text, size_t data)
{
    char head[400] = "\x93NUMPY\x01";
    struct clq_npy npy;
    size_t n = strlen(text);
    head[8] = (char)(n & 255);
    head[9] = (char)(n >> 8);
    memcpy(head + 10, text, n);
    return clq_npy_parse(&npy, head, n + 10, n + 10 + data, "test", NULL);
}

static void grammar(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t data;
        clq_status status;
    } cases[] = {
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", 24, CLQ_OK},
        {"{\"shape\":(2,3),\"descr\":\"<f4\",\"fortran_order\":True}\n", 24, CLQ_OK},
        {"{'descr': '=f4', 'fortran_order': False, 'shape': (), }  \n", 4, CLQ_OK},
        {"{'descr': '>u1', 'fortran_order': False, 'shape': (3,), }\n", 3, CLQ_OK},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", 25, CLQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 24, CLQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3), }\n", 12, CLQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3), }\n", 12, CLQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (03,), }\n", 12, CLQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,,), }\n", 12, CLQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3 3), }\n", 36, CLQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775808,), }\n", 0, CLQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }\n", 0, CLQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, }\n", 4, CLQ_ERR_FORMAT},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (), }\n", 4, CLQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (), 'x': 1}\n", 4, CLQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': Maybe, 'shape': ()}\n", 4, CLQ_ERR_FORMAT},
        {"{'descr': '<f4' 'fortran_order': False, 'shape': ()}\n", 4, CLQ_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': ()} x\n", 4, CLQ_ERR_FORMAT},
        {"__import__('os').system('true')\n", 4, CLQ_ERR_FORMAT},
        {"{'descr': 'f4', 'fortran_order': False, 'shape': ()}\n", 4, CLQ_ERR_FORMAT},
        {"{'descr': '|f4', 'fortran_order': False, 'shape': ()}\n", 4, CLQ_ERR_FORMAT},
        {"{'descr': '|O', 'fortran_order': False, 'shape': ()}\n", 8, CLQ_ERR_UNSUPPORTED},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': ()}\n", 8, CLQ_ERR_UNSUPPORTED},
        {"{'descr': '<U5', 'fortran_order': False, 'shape': ()}\n", 20, CLQ_ERR_UNSUPPORTED},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': ()}\n", 4, CLQ_ERR_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}\n", 4, CLQ_ERR_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        clq_status got = parse(cases[i].text, cases[i].data);
        if (got != cases[i].status) fail_msg("%s: %s", cases[i].text, clq_status_name(got));
    }
}

/* Booleans of other writers hold any byte; what is read holds 0 and 1. */
static void booleans(void **state)
{
    (void)state;
    struct clq_npy npy = {.tensor = {.dtype = CLQ_DTYPE_BOOL, .rank = 1, .shape = {3}}};
    unsigned char data[3] = {0, 2, 255};
    clq_npy_native(&npy, data, 3);
    assert_memory_equal(data, "\0\1\1", 3);
}

/* A deflated member of 256 MiB is read row by row in a few MiB. */
static void memory_is_flat(void **state)
{
    (void)state;
    enum { ROWS = 4096, ROW = 65536 };
    char path[] = "/tmp/clq-npz-XXXXXX";
    struct clq_writer_options force = {.force = true};
    struct clq_error err;
    const char *name = "x";
    uint8_t *big = malloc((size_t)ROWS * ROW), row[ROW];
    assert_non_null(big);
    for (size_t i = 0; i < ROWS; i++) memset(big + i * ROW, (int)(i * 7 & 255), ROW);
    clq_tensor t = {CLQ_DTYPE_U8, 2, {ROWS, ROW}, big};
    close(mkstemp(path));
    assert_int_equal(clq_npz_write(path, 1, &name, &t, true, &force, &err), CLQ_OK);
    free(big);
    struct rlimit old, small = {0, 0};
    getrlimit(RLIMIT_DATA, &old);
    small.rlim_max = old.rlim_max;
    small.rlim_cur = 64 << 20;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    small = old; /* its shadow memory alone is larger */
#endif
    setrlimit(RLIMIT_DATA, &small);
    clq_arrays *a;
    assert_int_equal(clq_arrays_open(&a, path, &err), CLQ_OK);
    for (int64_t i = 0; i < ROWS; i++) {
        assert_int_equal(clq_arrays_rows(a, 0, i, i + 1, row, &err), CLQ_OK);
        assert_int_equal(row[0], (uint8_t)(i * 7));
        assert_int_equal(row[ROW - 1], (uint8_t)(i * 7));
    }
    clq_arrays_close(a);
    setrlimit(RLIMIT_DATA, &old);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(golden), cmocka_unit_test(rows), cmocka_unit_test(npz_values),
                                       cmocka_unit_test(npz_written), cmocka_unit_test(grammar),
                                       cmocka_unit_test(booleans), cmocka_unit_test(memory_is_flat)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
