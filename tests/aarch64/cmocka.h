/* SPDX-License-Identifier: Apache-2.0
 * The few calls of cmocka that the kernel tests use, for the cross build: Debian has no cmocka for another architecture
 * without that architecture's package lists. Failures and a summary are printed, passed tests are not. Include it from one
 * file of a program only, after the headers that cmocka wants before it. */
#ifndef CLQ_TESTS_AARCH64_CMOCKA_H
#define CLQ_TESTS_AARCH64_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*test_func)(void **state);
    int (*setup_func)(void **state);
    int (*teardown_func)(void **state);
    void *initial_state;
};

static struct {
    jmp_buf after;
    const char *name;
} clq_standin;

#define cmocka_unit_test(f) {#f, f, NULL, NULL, NULL}
#define cmocka_run_group_tests(tests, setup, teardown) \
    _cmocka_run_group_tests(#tests, tests, sizeof(tests) / sizeof *(tests), setup, teardown)
#define print_message(...) printf(__VA_ARGS__)
#define print_error(...) fprintf(stderr, __VA_ARGS__)
#define skip() longjmp(clq_standin.after, 2)
#define fail_msg(...) \
    (fprintf(stderr, "%s: %s:%d: ", clq_standin.name, __FILE__, __LINE__), fprintf(stderr, __VA_ARGS__), \
     fputc('\n', stderr), longjmp(clq_standin.after, 1))

static inline void clq_standin_check(bool holds, const char *text, const char *file, int line)
{
    if (holds) return;
    fprintf(stderr, "%s: %s:%d: %s does not hold\n", clq_standin.name, file, line, text);
    longjmp(clq_standin.after, 1);
}
#define CLQ_STANDIN(condition, text) clq_standin_check(condition, text, __FILE__, __LINE__)
#define assert_true(c) CLQ_STANDIN((c) ? true : false, #c)
#define assert_false(c) CLQ_STANDIN((c) ? false : true, "!(" #c ")")
#define assert_null(p) CLQ_STANDIN((p) == NULL, #p " == NULL")
#define assert_non_null(p) CLQ_STANDIN((p) != NULL, #p " != NULL")
#define assert_int_equal(a, b) CLQ_STANDIN((unsigned long long)(a) == (unsigned long long)(b), #a " == " #b)
#define assert_string_equal(a, b) CLQ_STANDIN(strcmp(a, b) == 0, #a " == " #b)
#define assert_memory_equal(a, b, bytes) CLQ_STANDIN(memcmp(a, b, bytes) == 0, #a " == " #b)
#define assert_memory_not_equal(a, b, bytes) CLQ_STANDIN(memcmp(a, b, bytes) != 0, #a " != " #b)

/* Returns the number of failed tests. */
static inline int _cmocka_run_group_tests(const char *group, const struct CMUnitTest *tests, size_t n,
                                          int (*setup)(void **state), int (*teardown)(void **state))
{
    volatile int failed = 0, skipped = 0;
    if (setup || teardown) return 1; /* no test here has one */
    for (volatile size_t i = 0; i < n; i++) {
        void *state = tests[i].initial_state;
        clq_standin.name = tests[i].name;
        const int jumped = setjmp(clq_standin.after);
        if (jumped == 0)
            tests[i].test_func(&state);
        else if (jumped == 2)
            skipped++;
        else
            failed++;
    }
    printf("%s: %zu tests, %d failed, %d skipped\n", group, n, failed, skipped);
    return failed;
}

#endif
