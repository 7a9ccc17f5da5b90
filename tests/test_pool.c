/* SPDX-License-Identifier: Apache-2.0
 * The pool runs every unit of every job exactly once, for any number of threads and units. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/pool.h"

enum { MOST = 300 };

struct job {
    _Atomic int count[MOST];
    _Atomic int bad_thread;
    int threads;
};

static void touch(void *state, size_t begin, size_t end, int thread)
{
    struct job *j = state;
    if (thread < 0 || thread >= j->threads) atomic_fetch_add(&j->bad_thread, 1);
    for (size_t i = begin; i < end; i++) atomic_fetch_add(&j->count[i], 1);
}

static void every_unit_once(void **state)
{
    (void)state;
    static const size_t units[] = {1, 2, 3, 7, 16, 17, 64, 255, MOST};
    for (int threads = 1; threads <= 8; threads++) {
        struct clq_pool *pool = clq_pool_create(threads);
        assert_non_null(pool);
        for (int round = 0; round < 10000; round++) {
            struct job j = {.threads = threads};
            size_t n = units[(size_t)round % (sizeof units / sizeof *units)];
            clq_pool_for(pool, threads, n, touch, &j);
            for (size_t i = 0; i < MOST; i++) assert_int_equal(atomic_load(&j.count[i]), i < n ? 1 : 0);
            assert_int_equal(atomic_load(&j.bad_thread), 0);
        }
        clq_pool_free(pool);
    }
}

static void no_pool_runs_in_the_caller(void **state)
{
    (void)state;
    struct job j = {.threads = 1};
    clq_pool_for(NULL, 4, 5, touch, &j);
    for (size_t i = 0; i < 5; i++) assert_int_equal(atomic_load(&j.count[i]), 1);
    clq_pool_for(NULL, 4, 0, touch, &j);
    clq_pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_unit_once), cmocka_unit_test(no_pool_runs_in_the_caller)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
