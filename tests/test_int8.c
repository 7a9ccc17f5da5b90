/* SPDX-License-Identifier: Apache-2.0
 * What the cases of the integer products cannot see: which version runs under which mask, when the exactness proof
 * sends a product to the reference, which columns may use vpmaddubsw, where the short epilogue is proved, how the work
 * is cut into units, and that many threads give the bytes of one. */
#include <setjmp.h>
#include <stdarg.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/panels.h"
#include "tests/harness.h"

static void *room(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 64) / 64 * 64);
    assert_non_null(p);
    memset(p, 0xa5, bytes);
    return p;
}

/* The table of a level, or false where this CPU cannot run it. */
static bool table(struct clq_kernels *k, const char *level)
{
    const unsigned mask = clq_cpu_parse(level);
    clq_kernels_init(k, mask);
    return (clq_cpu_detect() & mask) == mask;
}

static void test_variants(void **state)
{
    (void)state;
    static const char *const ops[] = {"gemm_u8s8", "gemm_s8s8", "conv_u8s8"};
#if defined(__x86_64__)
    static const char *const levels[] = {"ref", "avx2", "avx_vnni", "avx512", "avx512_vnni", "amx"};
#elif defined(__aarch64__)
    static const char *const levels[] = {"ref", "neon", "neon_dotprod", "neon_i8mm"};
#else
    static const char *const levels[] = {"ref"};
#endif
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        struct clq_kernels k;
        table(&k, levels[i]);
        for (size_t j = 0; j < sizeof ops / sizeof *ops; j++) assert_string_equal(clq_variant(&k, ops[j]), levels[i]);
        /* AVX-VNNI has the panels and blocks of AVX2, and AMX the panels of AVX512-VNNI. */
        const char *plan = strcmp(levels[i], "avx_vnni") == 0 ? "avx2" : levels[i];
        const char *pack = strcmp(levels[i], "amx") == 0 ? "avx512_vnni" : plan;
        assert_string_equal(k.variant.gemm_u8s8_plan, plan);
        assert_string_equal(k.variant.gemm_s8s8_pack, pack);
        assert_string_equal(k.variant.conv_u8s8_plan, plan);
        assert_string_equal(k.variant.conv_u8s8_pack, pack);
    }
}

static void test_proof(void **state)
{
    (void)state;
    struct clq_target targets[CLQ_MAX_TARGETS];
    const size_t n = clq_targets(targets);
    for (size_t t = 1; t < n; t++) {
        const struct clq_kernels *k = &targets[t].kernels;
        struct clq_gemm_args g = {.m = 8, .n = 8, .k = 8, .bound = INT32_MAX};
        struct clq_conv_args c = {.batch = 1,
                                  .h = 4,
                                  .w = 4,
                                  .ci = 4,
                                  .oh = 4,
                                  .ow = 4,
                                  .co = 4,
                                  .kh = 1,
                                  .kw = 1,
                                  .stride_h = 1,
                                  .stride_w = 1,
                                  .dilation_h = 1,
                                  .dilation_w = 1,
                                  .groups = 1,
                                  .bound = INT32_MAX};
        const bool fast = strcmp(k->variant.gemm_u8s8, "ref") != 0;
        for (int i = 0; i < 2; i++) {
            k->gemm_u8s8_plan(&g);
            assert_int_equal(g.packed_bytes > 0, fast && i == 0);
            k->gemm_s8s8_plan(&g);
            assert_int_equal(g.packed_bytes > 0, fast && i == 0);
            k->conv_u8s8_plan(&c);
            assert_int_equal(c.packed_bytes > 0, fast && i == 0);
            c.bound = ++g.bound;
        }
    }
}

/* One pair of 129 in column 20 takes vpmaddubsw from columns 16..31 alone. */
static void test_pairs(void **state)
{
    (void)state;
    enum { N = 40, K = 6 };
    struct clq_kernels k;
    if (!table(&k, "avx2")) skip();
    int8_t w[N * K];
    for (size_t i = 0; i < sizeof w; i++) w[i] = i % K % 2 ? -64 : 64;
    struct clq_gemm_args g = {.m = 1, .n = N, .k = K, .weight = w, .out = CLQ_OUT_S32, .bound = 255 * 128 * K};
    k.gemm_u8s8_plan(&g);
    g.packed = room(g.packed_bytes);
    k.gemm_u8s8_pack(&g);
    const uint8_t *pairs = clq_panels_pairs(g.packed, 0);
    assert_true(pairs[0] && pairs[1] && pairs[2]);
    w[20 * K + 1] = 64; /* 1 and 2 are no pair */
    w[20 * K + 2] = 65;
    k.gemm_u8s8_pack(&g);
    assert_true(pairs[0] && !pairs[1] && pairs[2]);
    w[20 * K + 3] = 63;
    k.gemm_u8s8_pack(&g);
    assert_true(pairs[0] && pairs[1] && pairs[2]);
    free(g.packed);
}

static void test_short_epilogue(void **state)
{
    (void)state;
    struct clq_kernels k;
    if (!table(&k, "avx512_vnni")) skip();
    static const int8_t w[64];
    float m[16];
    for (size_t i = 0; i < 16; i++) m[i] = 0.5f;
    static const struct {
        int64_t bound;
        int lo, zero_point;
        enum clq_out out;
        float m;
        bool proved;
    } cases[] = {
        {(1 << 23) - 1, 7, 7, CLQ_OUT_U8, 255.0f, true}, {1 << 23, 7, 7, CLQ_OUT_U8, 1.0f, false},
        {1000, 6, 7, CLQ_OUT_U8, 1.0f, false},           {1000, 7, 7, CLQ_OUT_U8, 256.0f, false},
        {1000, 7, 7, CLQ_OUT_S8, 1.0f, false},           {1000, 7, 7, CLQ_OUT_F32, 1.0f, false},
        {1000, 7, 7, CLQ_OUT_U8, -1.0f, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        m[9] = cases[i].m;
        struct clq_gemm_args g = {.m = 1, .n = 16, .k = 4, .weight = w, .multiplier = m, .hi = 100};
        g.bound = cases[i].bound;
        g.lo = cases[i].lo;
        g.zero_point_y = cases[i].zero_point;
        g.out = cases[i].out;
        k.gemm_u8s8_plan(&g);
        g.packed = room(g.packed_bytes);
        k.gemm_u8s8_pack(&g);
        assert_int_equal(((const struct clq_panels *)g.packed)->relu != 0, cases[i].proved);
        free(g.packed);
    }
}

/* Only AVX512-VNNI doubles a last vector, and only one with 1..8 columns beside other vectors. */
static void test_doubled(void **state)
{
    (void)state;
    static const int8_t w[200 * 4];
    struct clq_kernels vnni, avx2;
    if (!table(&vnni, "avx512_vnni")) skip();
    clq_kernels_init(&avx2, clq_cpu_parse("avx2"));
    for (size_t n = 1; n <= 200; n++) {
        for (int i = 0; i < 2; i++) {
            const struct clq_kernels *k = i ? &avx2 : &vnni;
            struct clq_gemm_args g = {.m = 1, .n = n, .k = 4, .weight = w, .out = CLQ_OUT_S32, .bound = 1000};
            k->gemm_u8s8_plan(&g);
            g.packed = room(g.packed_bytes);
            k->gemm_u8s8_pack(&g);
            const bool doubled = ((const struct clq_panels *)g.packed)->doubled != 0;
            assert_int_equal(doubled, i == 0 && n > 16 && (n - 1) % 16 < 8);
            free(g.packed);
        }
    }
}

/* Panels cover the columns, are 16..64 wide and never end in a lone vector. */
static void test_panels(void **state)
{
    (void)state;
    for (size_t n = 1; n < 700; n++) {
        const size_t columns = clq_panels_columns(n), count = clq_panels_count(columns);
        assert_int_equal(clq_panels_start(columns, 0), 0);
        assert_int_equal(clq_panels_start(columns, count), columns);
        for (size_t p = 0; p < count; p++) {
            const size_t width = clq_panels_start(columns, p + 1) - clq_panels_start(columns, p);
            assert_in_range(width, count > 1 ? 32 : 16, 64);
            assert_int_equal(width % 16, 0);
        }
    }
}

/* Units cover the work once; large products have at least 8, so that threads can share them. */
static void test_grid(void **state)
{
    (void)state;
    static const size_t sizes[][3] = {{1, 4096, 4096},    {16, 4096, 4096}, {49, 1280, 320}, {196, 80, 480},
                                      {196, 480, 80},     {784, 40, 144},   {3136, 64, 576}, {12544, 96, 16},
                                      {2048, 2048, 2048}, {5, 7, 9}};
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
        const size_t m = sizes[i / 2][0], n = sizes[i / 2][1], k = sizes[i / 2][2], columns = clq_panels_columns(n), multiple = i % 2 ? 32 : 1;
        const struct clq_grid g = clq_grid_make(m, columns, (k + 3) / 4, multiple);
        assert_int_equal(g.rows % multiple, 0);
        assert_true((g.blocks - 1) * g.rows < m && g.blocks * g.rows >= m);
        assert_true((g.ranges - 1) * g.panels < clq_panels_count(columns));
        assert_true(g.ranges * g.panels >= clq_panels_count(columns));
        if (m * n * k >= 4 << 20) assert_in_range(g.blocks * g.ranges, 8, 64);
    }
    assert_int_equal(clq_grid_make(0, 64, 4, 1).blocks, 0);
    assert_int_equal(clq_grid_make(4, 0, 4, 1).blocks, 0);
}

/* ---- threads ---- */

struct share {
    struct clq_conv_args c;
    const struct clq_kernels *k;
    pthread_t thread;
};

static void *run_share(void *state)
{
    struct share *s = state;
    s->k->conv_u8s8(&s->c);
    return NULL;
}

static void run_threads(const struct clq_kernels *k, struct clq_conv_args c, size_t threads)
{
    struct share share[8];
    for (size_t t = 0; t < threads; t++) {
        share[t] = (struct share){.c = c, .k = k};
        share[t].c.unit_begin = c.units * t / threads;
        share[t].c.unit_end = c.units * (t + 1) / threads;
        share[t].c.scratch = room(c.scratch_bytes);
        assert_int_equal(pthread_create(&share[t].thread, NULL, run_share, &share[t]), 0);
    }
    for (size_t t = 0; t < threads; t++) {
        pthread_join(share[t].thread, NULL);
        free(share[t].c.scratch);
    }
}

static void test_threads(void **state)
{
    (void)state;
    enum { H = 13, C = 96 };
    struct clq_target targets[CLQ_MAX_TARGETS];
    const size_t n_targets = clq_targets(targets);
    struct clq_rng rng = clq_rng_make(CLQ_SEED, "threads", 0);
    uint8_t *x = room(H * H * C), *expected = room(H * H * C), *y = room(H * H * C);
    int8_t *w = room(9 * C * C);
    float m[C];
    clq_fill_codes(&rng, x, H * H * C, CLQ_CODES_UNIFORM);
    clq_fill_codes(&rng, w, 9 * C * C, CLQ_CODES_UNIFORM);
    for (size_t i = 0; i < C; i++) m[i] = 1e-4f;
    for (size_t groups = 1; groups <= C; groups *= C) {
        for (size_t kernel = 1; kernel <= 3; kernel += 2) {
            struct clq_conv_args c = {.batch = 1,
                                      .h = H,
                                      .w = H,
                                      .ci = C,
                                      .oh = H,
                                      .ow = H,
                                      .co = C,
                                      .kh = kernel,
                                      .kw = kernel,
                                      .stride_h = 1,
                                      .stride_w = 1,
                                      .pad_top = kernel / 2,
                                      .pad_left = kernel / 2,
                                      .dilation_h = 1,
                                      .dilation_w = 1,
                                      .groups = groups,
                                      .x = x,
                                      .weight = w,
                                      .multiplier = m,
                                      .zero_point_x = 120,
                                      .zero_point_y = 128,
                                      .hi = 255,
                                      .bound = 255 * 128 * 9 * C};
            for (size_t t = 0; t < n_targets; t++) {
                if (!targets[t].usable) continue;
                targets[t].kernels.conv_u8s8_plan(&c);
                c.packed = room(c.packed_bytes);
                targets[t].kernels.conv_u8s8_pack(&c);
                for (size_t threads = 1; threads <= 8; threads += threads < 3 ? 1 : 5) {
                    c.y = t == 0 && threads == 1 ? expected : y;
                    run_threads(&targets[t].kernels, c, threads);
                    assert_memory_equal(c.y, expected, H * H * C);
                }
                free(c.packed);
            }
        }
    }
    free(x);
    free(expected);
    free(y);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variants),       cmocka_unit_test(test_proof),   cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_short_epilogue), cmocka_unit_test(test_doubled), cmocka_unit_test(test_panels),
        cmocka_unit_test(test_grid),           cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests_name("int8", tests, NULL, NULL);
}
