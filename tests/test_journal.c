/* SPDX-License-Identifier: Apache-2.0
 * The journal as a file: what was appended is found again; torn, flipped, moved and foreign bytes never are. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/journal.h"

enum { RECORDS = 5, HEAD = 8 + 32 * CLQ_JOURNAL_PARTS + CLQ_JOURNAL_SEAL, FRAME = 20 + CLQ_JOURNAL_SEAL };
static const size_t lengths[RECORDS] = {8, 0, 1, 5000, 40};
static char path[400];

static struct clq_journal_job job_of(unsigned char first)
{
    struct clq_journal_job job = {.name = {"model", "data set", "set of options", "device", "version of clquant"}};
    for (int k = 0; k < CLQ_JOURNAL_PARTS; k++) memset(job.digest[k], first + k, sizeof job.digest[k]);
    return job;
}

static struct clq_journal_key key_of(size_t i)
{
    return (struct clq_journal_key){{i * 0x9e3779b97f4a7c15u, i}};
}

static void value_of(unsigned char *v, size_t i)
{
    for (size_t k = 0; k < lengths[i]; k++) v[k] = (unsigned char)(k * 31 + i);
}

static clq_status try_open(struct clq_journal *j, bool must, char reason[300], struct clq_error *err)
{
    const struct clq_journal_job job = job_of(1);
    return clq_journal_open(j, path, &job, must, reason, 300, err);
}

static void open_own(struct clq_journal *j)
{
    char reason[300];
    struct clq_error err = {""};
    if (try_open(j, false, reason, &err) != CLQ_OK) fail_msg("%s", err.text);
}

static void append(struct clq_journal *j, size_t i)
{
    unsigned char v[5000];
    struct clq_error err = {""};
    value_of(v, i);
    assert_int_equal(clq_journal_append(j, key_of(i), v, lengths[i], &err), CLQ_OK);
}

/* Whether record i is there as it was written; anything else than its own value is a failure. */
static bool holds(struct clq_journal *j, size_t i)
{
    unsigned char v[5001], wanted[5000];
    size_t bytes;
    value_of(wanted, i);
    assert_false(clq_journal_find(j, key_of(i), v, lengths[i] + 1));
    if (!clq_journal_find(j, key_of(i), v, lengths[i])) return false;
    assert_true(clq_journal_size(&bytes, j, key_of(i)) && bytes == lengths[i]);
    assert_memory_equal(v, wanted, lengths[i]);
    return true;
}

static struct clq_blob slurp(void)
{
    struct clq_blob b;
    struct clq_error err = {""};
    if (clq_file_read(&b, path, 0, &err) != CLQ_OK) fail_msg("%s", err.text);
    return b;
}

static void spit(const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static struct clq_blob whole_journal(void)
{
    struct clq_journal j;
    unlink(path);
    open_own(&j);
    for (size_t i = 0; i < RECORDS; i++) append(&j, i);
    clq_journal_close(&j);
    return slurp();
}

static void test_round_trip(void **state)
{
    struct clq_journal j;
    (void)state;
    struct clq_blob b = whole_journal();
    free(b.data);
    open_own(&j);
    assert_int_equal(j.found, RECORDS);
    assert_int_equal(j.cut, 0);
    for (size_t i = 0; i < RECORDS; i++) assert_true(holds(&j, i));
    assert_false(clq_journal_find(&j, key_of(RECORDS), &(char){0}, 1));
    assert_int_equal(j.used, RECORDS);
    clq_journal_remove(&j);
    assert_int_equal(access(path, F_OK), -1);
    clq_journal_remove(&j);
    clq_journal_close(&j);
}

/* Cut at every byte: the whole records before the cut are there, and the file goes on behind them. */
static void test_torn(void **state)
{
    (void)state;
    struct clq_blob b = whole_journal();
    size_t end = HEAD, whole = 0;
    for (size_t n = HEAD; n <= b.bytes; n++) {
        struct clq_journal j;
        if (whole < RECORDS && n >= end + FRAME + lengths[whole]) end += FRAME + lengths[whole++];
        if (n > end + 1 && n % 97 != 0 && n + 1 < end + FRAME + (whole < RECORDS ? lengths[whole] : 0)) continue; /* inside a record */
        spit(b.data, n);
        open_own(&j);
        assert_int_equal(j.found, whole);
        assert_int_equal(j.cut, n - end);
        for (size_t i = 0; i < RECORDS; i++) assert_int_equal(holds(&j, i), i < whole);
        for (size_t i = whole; i < RECORDS; i++) append(&j, i);
        for (size_t i = 0; i < RECORDS; i++) assert_true(holds(&j, i));
        clq_journal_close(&j);
        struct clq_blob again = slurp();
        assert_int_equal(again.bytes, b.bytes);
        assert_memory_equal(again.data, b.data, b.bytes);
        free(again.data);
    }
    free(b.data);
}

/* A flipped bit in a record ends the journal before it; one in the head makes it somebody else's, or no journal. */
static void test_flipped(void **state)
{
    (void)state;
    struct clq_blob b = whole_journal();
    for (size_t at = 0; at < b.bytes; at += at > HEAD + 300 && at + 200 < b.bytes ? 331 : 3) {
        struct clq_journal j;
        char reason[300];
        struct clq_error err = {""};
        size_t whole = 0, end = HEAD;
        while (whole < RECORDS && at >= end + FRAME + lengths[whole]) end += FRAME + lengths[whole++];
        b.data[at] ^= (unsigned char)(1 << at % 8);
        spit(b.data, b.bytes);
        clq_status st = try_open(&j, at < HEAD, reason, &err);
        if (at >= HEAD) {
            assert_int_equal(st, CLQ_OK);
            assert_int_equal(j.found, whole);
            assert_int_equal(j.cut, b.bytes - end);
            for (size_t i = 0; i < RECORDS; i++) assert_int_equal(holds(&j, i), i < whole);
        } else {
            assert_int_equal(st, at < 7 ? CLQ_ERR_FORMAT : CLQ_ERR_INVALID_ARGUMENT);
            assert_int_equal(j.fd, -1);
            assert_non_null(strstr(err.text, path));
        }
        clq_journal_close(&j);
        b.data[at] ^= (unsigned char)(1 << at % 8);
    }
    free(b.data);
}

/* Whole records in another order, twice, or from another job. */
static void test_moved(void **state)
{
    (void)state;
    struct clq_blob b = whole_journal();
    struct clq_journal j;
    unsigned char *twice = malloc(b.bytes + FRAME + 8);
    assert_non_null(twice);
    memcpy(twice, b.data, b.bytes);
    memcpy(twice + b.bytes, b.data + HEAD, FRAME + 8);
    spit(twice, b.bytes + FRAME + 8);
    open_own(&j);
    assert_int_equal(j.found, RECORDS);
    clq_journal_close(&j);
    memmove(twice + HEAD, twice + HEAD + FRAME + 8, b.bytes - HEAD - FRAME - 8);
    spit(twice, b.bytes - FRAME - 8);
    open_own(&j);
    assert_int_equal(j.found, 0);
    clq_journal_close(&j);
    free(twice);
    free(b.data);
}

static void test_other_jobs(void **state)
{
    (void)state;
    for (int k = 0; k < CLQ_JOURNAL_PARTS; k++) {
        struct clq_journal j;
        struct clq_journal_job job = job_of(1);
        char reason[300];
        struct clq_error err = {""};
        struct clq_blob b = whole_journal();
        job.digest[k][31] ^= 1;
        assert_int_equal(clq_journal_open(&j, path, &job, true, reason, sizeof reason, &err), CLQ_ERR_INVALID_ARGUMENT);
        assert_non_null(strstr(err.text, job.name[k]));
        struct clq_blob after = slurp();
        assert_int_equal(after.bytes, b.bytes);
        assert_int_equal(clq_journal_open(&j, path, &job, false, reason, sizeof reason, &err), CLQ_OK);
        assert_non_null(strstr(reason, job.name[k]));
        assert_int_equal(j.found, 0);
        for (size_t i = 0; i < RECORDS; i++) assert_false(holds(&j, i));
        clq_journal_close(&j);
        free(after.data);
        free(b.data);
    }
}

static void test_other_files(void **state)
{
    static const char *const texts[] = {"x", "CLQJRN1", "a letter to somebody, in ten words and no more"};
    struct clq_journal j, second;
    char reason[300], target[420];
    struct clq_error err = {""};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        spit(texts[i], strlen(texts[i]));
        assert_int_equal(try_open(&j, false, reason, &err), CLQ_ERR_FORMAT);
        struct clq_blob b = slurp();
        assert_string_equal((char *)b.data, texts[i]);
        free(b.data);
    }
    for (size_t n = 0; n < HEAD; n += 7) { /* a head that was never finished */
        struct clq_blob b = whole_journal();
        spit(b.data, n);
        assert_int_equal(try_open(&j, true, reason, &err), CLQ_ERR_INVALID_ARGUMENT);
        assert_int_equal(try_open(&j, false, reason, &err), CLQ_OK);
        assert_int_equal(strlen(reason) > 0, n > 0);
        append(&j, 0);
        clq_journal_close(&j);
        free(b.data);
    }
    open_own(&j);
    assert_int_equal(try_open(&second, false, reason, &err), CLQ_ERR_IO); /* held */
    assert_non_null(strstr(err.text, "at work"));
    clq_journal_remove(&j);
    assert_int_equal(try_open(&j, true, reason, &err), CLQ_ERR_IO);
    snprintf(target, sizeof target, "%s.target", path);
    assert_int_equal(symlink(target, path), 0);
    assert_int_equal(try_open(&j, false, reason, &err), CLQ_ERR_IO);
    assert_int_equal(access(target, F_OK), -1);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(try_open(&j, false, reason, &err), CLQ_ERR_IO);
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(try_open(&j, false, reason, &err), CLQ_ERR_IO);
    rmdir(path);
}

static void test_full_disk(void **state)
{
    struct clq_journal j;
    struct clq_error err = {""};
    (void)state;
    unlink(path);
    open_own(&j);
    append(&j, 0);
    int old = j.fd;
    j.fd = open(path, O_RDONLY); /* every write fails */
    assert_int_equal(clq_journal_append(&j, key_of(1), "", 0, &err), CLQ_ERR_IO);
    assert_non_null(strstr(err.text, "nothing is kept"));
    assert_int_equal(clq_journal_append(&j, key_of(1), "", 0, &err), CLQ_OK);
    assert_false(holds(&j, 0));
    clq_journal_close(&j);
    close(old);
    open_own(&j);
    assert_int_equal(j.found, 1);
    clq_journal_remove(&j);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_torn),        cmocka_unit_test(test_flipped),   cmocka_unit_test(test_moved),
        cmocka_unit_test(test_other_jobs), cmocka_unit_test(test_other_files), cmocka_unit_test(test_full_disk),
    };
    snprintf(path, sizeof path, "%s/test_journal.journal", argc > 1 ? argv[1] : ".");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
