/* SPDX-License-Identifier: Apache-2.0
 * All ways to compute a call on plain arrays (every instruction set on one to three threads, and an OpenCL device), the first
 * being the reference, and what their tests share. Public headers alone. */
#ifndef CLQ_TESTS_BUFFERS_TARGETS_H
#define CLQ_TESTS_BUFFERS_TARGETS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include <clquant/clquant.h>

enum { MAX_TARGETS = 20 };

/* It learns nothing from one thread, and from two what it learns from three. */
#if defined(__SANITIZE_THREAD__)
enum { THREAD_SANITIZER = 1 };
#else
enum { THREAD_SANITIZER = 0 };
#endif

/* One way to compute: the first is the reference. */
static struct target {
    clq_context *ctx;
    char name[64];
} targets[MAX_TARGETS];
static size_t n_targets;
static clq_context *ref;
static bool have_opencl;

#define OK(ctx, call)                                                                  \
    do {                                                                               \
        clq_status ok_ = (call);                                                       \
        if (ok_ != CLQ_OK) fail_msg("%s: %s", #call, clq_error_message(ctx));          \
    } while (0)

static uint64_t seed = 0x9e3779b97f4a7c15u;
static inline uint32_t rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32);
}

static inline float rnd_float(void)
{
    return (float)((double)rnd() / 4294967296.0 * 2 - 1);
}

static inline void *block(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    if (!p) abort();
    return p;
}

static inline void fill_bytes(void *p, size_t n)
{
    for (size_t i = 0; i < n; i++) ((uint8_t *)p)[i] = (uint8_t)rnd();
}

static inline void add_target(const char *isa, int threads, const char *device)
{
    struct target *t = &targets[n_targets];
    clq_context_options o = {.isa = isa, .threads = threads, .device = device, .require_device = true, .device_timeout_ms = 300000};
    if (clq_context_create(&t->ctx, &o) != CLQ_OK) return;
    snprintf(t->name, sizeof t->name, "%s, %d threads, %s", device ? device : "cpu", threads, isa ? isa : "best");
    if (device) have_opencl = true;
    n_targets++;
}

static inline int set_up(void **state)
{
    static const char *const isa[] = {"ref", "avx2", "avx512", "avx512_vnni", "amx"};
    (void)state;
    for (size_t i = 0; i < sizeof isa / sizeof *isa; i++)
        for (int threads = 1; threads <= 3; threads++)
            if (!THREAD_SANITIZER || threads == 3 || n_targets == 0) add_target(isa[i], threads, NULL);
    add_target(NULL, 2, "opencl");
    if (!have_opencl) print_message("no OpenCL device: those targets are SKIPPED\n");
    ref = targets[0].ctx;
    return n_targets < (THREAD_SANITIZER ? 2 : 3);
}

static inline int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_targets; i++) clq_context_free(targets[i].ctx);
    return 0;
}

static inline void same(const void *expected, const void *actual, size_t bytes, const struct target *t, const char *what)
{
    const unsigned char *e = expected, *a = actual;
    if (memcmp(e, a, bytes) == 0) return;
    for (size_t i = 0; i < bytes; i++)
        if (e[i] != a[i]) fail_msg("%s on %s: byte %zu is %u, expected %u", what, t->name, i, a[i], e[i]);
}

static inline void expect(clq_status st, clq_status wanted, const char *part)
{
    assert_int_equal(st, wanted);
    if (!strstr(clq_error_message(ref), part)) fail_msg("the message '%s' does not name '%s'", clq_error_message(ref), part);
    assert_null(strchr(clq_error_message(ref), '\n'));
}

#endif
