/* SPDX-License-Identifier: Apache-2.0
 * The tuning file: what is saved is found under the same key only, other devices' entries stay, and a damaged or stale file
 * is told in one line and not used. */
#include "scheduler/tuning.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char path[] = "test_tuning.json";
static const struct clq_tuning_key gpu = {"A GPU", "driver 1", "f00d", "0.1.0", 40};
static struct clq_error err;

static struct clq_tuning tuning_of(const char *variant)
{
    struct clq_tuning t = {.n = 2, .few_rows = 8};
    t.choice[0] = (struct clq_tuning_choice){"gemm_u8s8", "", 0.75, 0.02, 21};
    t.choice[1] = (struct clq_tuning_choice){"conv_u8s8", "generic", 1, 0, 0};
    snprintf(t.choice[0].variant, sizeof t.choice[0].variant, "%s", variant);
    return t;
}

static void save(const char *variant, struct clq_tuning_key key)
{
    const struct clq_tuning t = tuning_of(variant);
    if (clq_tuning_save(&t, path, &key, &err) != CLQ_OK) fail_msg("%s", err.text);
}

static struct clq_tuning load(struct clq_tuning_key key, const char *reason)
{
    struct clq_tuning t;
    char said[400];
    if (clq_tuning_load(&t, path, &key, said, sizeof said, &err) != CLQ_OK) fail_msg("%s", err.text);
    if (reason) assert_non_null(strstr(said, reason));
    else assert_string_equal(said, "");
    assert_null(strchr(said, '\n'));
    if (reason) assert_true(t.n == 0 && t.few_rows == -1);
    return t;
}

static void test_round_trip(void **state)
{
    (void)state;
    unlink(path);
    assert_int_equal(load(gpu, NULL).n, 0); /* no file is no news */
    save("mma_64x64", gpu);
    struct clq_tuning t = load(gpu, NULL);
    assert_int_equal(t.n, 2);
    assert_int_equal(t.few_rows, 8);
    assert_string_equal(t.choice[0].family, "gemm_u8s8");
    assert_string_equal(t.choice[0].variant, "mma_64x64");
    assert_true(t.choice[0].ratio == 0.75 && t.choice[0].spread == 0.02 && t.choice[0].pairs == 21);
    struct clq_tuning_key other = gpu;
    other.device = "Another GPU";
    assert_int_equal(load(other, NULL).n, 0);
    save("generic", other);
    save("mma_128x128", gpu);
    assert_string_equal(load(gpu, NULL).choice[0].variant, "mma_128x128");
    assert_string_equal(load(other, NULL).choice[0].variant, "generic");
    unlink(path);
}

/* Every part of the key counts. */
static void test_stale(void **state)
{
    (void)state;
    save("generic", gpu);
    struct clq_tuning_key k = gpu;
    k.driver = "driver 2";
    load(k, "another driver");
    k = gpu;
    k.kernel_hash = "beef";
    load(k, "other kernels");
    k = gpu;
    k.clquant = "0.2.0";
    load(k, "another clquant");
    k = gpu;
    k.units = 41;
    load(k, "compute units");
    save("tile_64x64", k); /* takes the place of the stale one */
    load(gpu, "compute units");
    assert_string_equal(load(k, NULL).choice[0].variant, "tile_64x64");
    unlink(path);
}

static void write_text(const char *text, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
}

static void test_damaged(void **state)
{
    static const char *const texts[] = {
        "", "{", "[]", "{\"version\": 2, \"devices\": []}", "{\"version\": 1, \"devices\": {}}", "{\"version\": 1}",
    };
    static const char *const entries[] = {
        "\"few_rows\": 1", "\"few_rows\": -2, \"choices\": []", "\"few_rows\": 0, \"choices\": [3]",
        "\"few_rows\": 0, \"choices\": [{\"family\": \"a b\", \"variant\": \"x\", \"ratio\": 1, \"spread\": 0, \"pairs\": 0}]",
        "\"few_rows\": 0, \"choices\": [{\"family\": \"a\", \"variant\": \"\", \"ratio\": 1, \"spread\": 0, \"pairs\": 0}]",
        "\"few_rows\": 0, \"choices\": [{\"family\": \"a\", \"variant\": \"x\", \"ratio\": 0, \"spread\": 0, \"pairs\": 0}]",
        "\"few_rows\": 0, \"choices\": [{\"family\": \"a\", \"variant\": \"x\", \"ratio\": 1, \"spread\": 0, \"pairs\": -1}]",
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        write_text(texts[i], strlen(texts[i]));
        load(gpu, "is not used");
    }
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        char text[1024];
        int n = snprintf(text, sizeof text,
                         "{\"version\": 1, \"devices\": [{\"device\": \"A GPU\", \"driver\": \"driver 1\", \"kernel_hash\": \"f00d\", "
                         "\"clquant\": \"0.1.0\", \"units\": 40, %s}]}", entries[i]);
        write_text(text, (size_t)n);
        load(gpu, "is not used");
    }
    save("generic", gpu); /* a damaged file is replaced */
    assert_int_equal(load(gpu, NULL).n, 2);
    FILE *f = fopen(path, "rb");
    char whole[4096];
    const size_t bytes = fread(whole, 1, sizeof whole, f);
    fclose(f);
    for (size_t cut = 0; cut < bytes - 1; cut++) { /* every truncation */
        write_text(whole, cut);
        struct clq_tuning t;
        char said[400];
        assert_int_equal(clq_tuning_load(&t, path, &gpu, said, sizeof said, &err), CLQ_OK);
        assert_int_equal(t.n, 0);
        assert_non_null(strstr(said, "is not used"));
    }
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_stale), cmocka_unit_test(test_damaged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
