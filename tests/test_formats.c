/* SPDX-License-Identifier: Apache-2.0
 * Every file of data/malformed is refused with the status that its name says and one line of text; then deterministic
 * mutants of sound files, where anything but a crash, a hang or a leak is allowed. The argument of the first kind is
 * the folder; that it holds what make_malformed.py writes is checked by count. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "formats/arrays.h"
#include "formats/onnx.h"

#define MALFORMED CLQ_TEST_DATA "/malformed"
#define GOLDEN CLQ_TEST_DATA "/golden"

/* Opens a file and loads every array; what fails first counts. */
static clq_status load_arrays(const char *path, struct clq_error *err)
{
    clq_arrays *a;
    CLQ_TRY(clq_arrays_open(&a, path, err));
    clq_status status = CLQ_OK;
    for (size_t i = 0; status == CLQ_OK && i < clq_arrays_count(a); i++) {
        clq_tensor t;
        status = clq_arrays_load(a, i, &t, 64 << 20, err);
        if (status == CLQ_OK) free(t.data);
    }
    clq_arrays_close(a);
    return status;
}

static clq_status load_model(const char *path, struct clq_error *err)
{
    struct clq_model m;
    CLQ_TRY(clq_onnx_read(&m, path, err));
    clq_model_release(&m);
    return CLQ_OK;
}

static clq_status expected(const char *name)
{
    return strstr(name, "_unsupported.") ? CLQ_ERR_UNSUPPORTED : strstr(name, "_io.") ? CLQ_ERR_IO : CLQ_ERR_FORMAT;
}

static bool check(const char *name, clq_status got, const struct clq_error *err)
{
    bool line = err->text[0] && !strpbrk(err->text, "\n\r\x1b");
    if (got == expected(name) && line) return true;
    print_message("%s: expected %s, found %s (%s)\n", name, clq_status_name(expected(name)), clq_status_name(got), err->text);
    return false;
}

static void malformed(void **state)
{
    (void)state;
    DIR *dir = opendir(MALFORMED);
    assert_non_null(dir);
    int arrays = 0, models = 0, wrong = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        char path[512];
        struct clq_error err = {""};
        snprintf(path, sizeof path, "%s/%s", MALFORMED, e->d_name);
        if (strncmp(e->d_name, "onnx_", 5) == 0) {
            models++;
            wrong += !check(e->d_name, load_model(path, &err), &err);
        } else if (strncmp(e->d_name, "np", 2) == 0) {
            arrays++;
            wrong += !check(e->d_name, load_arrays(path, &err), &err);
        }
    }
    closedir(dir);
    assert_int_equal(wrong, 0);
    assert_true(models >= 110 && arrays >= 60);
}

static uint32_t next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 32);
}

/* One to four edits: a byte, a boundary value, a removed, doubled or moved span. Returns the new length, which is at
 * most n + 16. */
static size_t mutate(unsigned char *out, const unsigned char *in, size_t n, uint64_t *seed)
{
    static const unsigned char values[] = {0, 1, 2, 7, 0x7f, 0x80, 0xff, '-', '9', '\n'};
    memcpy(out, in, n);
    for (uint32_t edits = 1 + next(seed) % 4; edits > 0 && n > 20; edits--) {
        size_t at = next(seed) % n, span = 1 + next(seed) % 4;
        switch (next(seed) % 6) {
        case 0: out[at] = (unsigned char)next(seed); break;
        case 1: out[at] ^= (unsigned char)(1u << next(seed) % 8); break;
        case 2: out[at] = values[next(seed) % sizeof values]; break;
        case 3: out[at] = (unsigned char)(out[at] + (next(seed) & 1 ? 1 : -1)); break;
        case 4:
            if (at + span > n) span = n - at;
            memmove(out + at, out + at + span, n - at - span);
            n -= span;
            break;
        default:
            memmove(out + at + span, out + at, n - at);
            n += span;
            break;
        }
    }
    return n;
}

static void mutants_of_arrays(void **state)
{
    (void)state;
    static const char *const files[] = {"npy/c_f4.npy", "npy/fortran_f4.npy", "npy/version3_f4.npy", "npy/stored.npz", "npy/deflated.npz"};
    enum { ROUNDS = 4000 };
    char path[] = "/dev/shm/clq-mutant-XXXXXX";
    int fd = mkstemp(path), sound = 0;
    if (fd < 0) fail_msg("no /dev/shm");
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        char name[256];
        struct clq_blob blob;
        uint64_t seed = k;
        snprintf(name, sizeof name, GOLDEN "/%s", files[k]);
        assert_int_equal(clq_file_read(&blob, name, 0, NULL), CLQ_OK);
        unsigned char *mutant = malloc(blob.bytes + 16);
        assert_non_null(mutant);
        for (int i = 0; i < ROUNDS; i++) {
            struct clq_error err = {""};
            size_t n = mutate(mutant, blob.data, blob.bytes, &seed);
            assert_int_equal(pwrite(fd, mutant, n, 0), n);
            assert_int_equal(ftruncate(fd, (off_t)n), 0);
            clq_status status = load_arrays(path, &err);
            sound += status == CLQ_OK;
            if (status != CLQ_OK && (!err.text[0] || strpbrk(err.text, "\n\r\x1b"))) fail_msg("seed %zu, mutant %d", k, i);
        }
        free(mutant);
        free(blob.data);
    }
    close(fd);
    unlink(path);
    assert_in_range(sound, 1, 5 * ROUNDS - 1); /* neither everything refused nor everything accepted */
}

static void mutants_of_models(void **state)
{
    (void)state;
    enum { ROUNDS = 100000 };
    struct clq_blob blob;
    uint64_t seed = 1;
    int sound = 0;
    assert_int_equal(clq_file_read(&blob, GOLDEN "/onnx/every_field.onnx", 0, NULL), CLQ_OK);
    unsigned char *mutant = malloc(blob.bytes + 16);
    assert_non_null(mutant);
    for (int i = 0; i < ROUNDS; i++) {
        struct clq_model m;
        struct clq_error err = {""};
        size_t n = mutate(mutant, blob.data, blob.bytes, &seed);
        clq_status status = clq_onnx_decode(&m, mutant, n, NULL, &err);
        if (status != CLQ_OK) {
            if (!err.text[0] || strpbrk(err.text, "\n\r\x1b")) fail_msg("mutant %d: '%s'", i, err.text);
            continue;
        }
        sound++;
        unsigned char *again = NULL;
        size_t again_n;
        status = clq_onnx_encode(&again, &again_n, &m, &err);
        if (status != CLQ_OK && status != CLQ_ERR_UNSUPPORTED) fail_msg("mutant %d: not written: %s", i, err.text);
        free(again);
        clq_model_release(&m);
    }
    free(mutant);
    free(blob.data);
    assert_in_range(sound, ROUNDS / 1000, ROUNDS - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(malformed), cmocka_unit_test(mutants_of_arrays),
                                       cmocka_unit_test(mutants_of_models)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
