/* SPDX-License-Identifier: Apache-2.0
 * Products of many rows with 4-bit weights: from CLQ_EXPAND_ROWS rows on they have the bits that 8-bit codes with one scale per
 * output give, on every instruction set, device and thread count; below, with real rows, and where 8 bits add too much noise, those
 * of the 4-bit kernels. */
#include <float.h>

#include "graph/integer.h"
#include "graph_build.h"

enum { MOST = 64, ROWS = CLQ_EXPAND_ROWS };

struct weights4 {
    size_t n, k, group, groups;
    uint8_t code[MOST * MOST], zero[MOST * MOST];
    float scale[MOST * MOST], bias[MOST];
};

/* shared: one scale per output for all groups. */
static void fill(struct weights4 *w, struct net *g, size_t n, size_t k, size_t group, bool symmetric, bool shared)
{
    *w = (struct weights4){.n = n, .k = k, .group = group, .groups = (k + group - 1) / group};
    for (size_t i = 0; i < n * k; i++) w->code[i] = (uint8_t)(net_random(g) % 16);
    for (size_t i = 0; i < n * w->groups; i++) {
        w->zero[i] = symmetric ? 8 : (uint8_t)(net_random(g) % 16);
        w->scale[i] = shared && i % w->groups ? w->scale[i - 1] : net_uniform(g, 0.01f, 0.03f);
    }
    for (size_t i = 0; i < n; i++) w->bias[i] = net_uniform(g, -1, 1);
}

static void put(uint8_t *to, size_t at, unsigned code)
{
    to[at / 2] = (uint8_t)(to[at / 2] | code << (at % 2 ? 4 : 0));
}

static const char *blocked(struct net *g, const struct weights4 *w, bool symmetric)
{
    uint8_t codes[MOST * MOST] = {0}, zeros[MOST * MOST] = {0};
    float scale[MOST * MOST];
    unsigned flip = symmetric ? 8 : 0;
    for (size_t n = 0; n < w->n; n++) {
        for (size_t k = 0; k < w->k; k++) put(codes, k * w->n + n, w->code[n * w->k + k] ^ flip);
        for (size_t b = 0; b < w->groups; b++) {
            scale[b * w->n + n] = w->scale[n * w->groups + b];
            put(zeros, b * w->n + n, w->zero[n * w->groups + b] ^ flip);
        }
    }
    clq_dtype dtype = symmetric ? CLQ_DTYPE_S4 : CLQ_DTYPE_U4;
    const char *c = net_const(g, NULL, dtype, DIMS((int64_t)w->k, (int64_t)w->n), codes);
    const char *s = net_const(g, NULL, CLQ_DTYPE_F32, DIMS((int64_t)w->groups, (int64_t)w->n), scale);
    const char *real = symmetric ? net_op(g, "DequantizeLinear", "%s %s", c, s)
                                 : net_op(g, "DequantizeLinear", "%s %s %s", c, s, net_const(g, NULL, dtype, DIMS((int64_t)w->groups, (int64_t)w->n), zeros));
    net_int(g, "axis", 0);
    net_int(g, "block_size", (int64_t)w->group);
    return net_op(g, "MatMul", "x %s", real);
}

static const char *nbits(struct net *g, const struct weights4 *w, int level)
{
    uint8_t codes[MOST * MOST] = {0}, zeros[MOST * MOST] = {0};
    const size_t row = w->groups * w->group / 2, zero_row = (w->groups + 1) / 2;
    for (size_t n = 0; n < w->n; n++) {
        for (size_t k = 0; k < w->k; k++) put(codes + n * row, k, w->code[n * w->k + k]);
        for (size_t b = 0; b < w->groups; b++) put(zeros + n * zero_row, b, w->zero[n * w->groups + b]);
    }
    const char *c = net_const(g, NULL, CLQ_DTYPE_U8, DIMS((int64_t)w->n, (int64_t)w->groups, (int64_t)w->group / 2), codes);
    const char *s = net_const(g, NULL, CLQ_DTYPE_F32, DIMS((int64_t)(w->n * w->groups)), w->scale);
    const char *z = net_const(g, NULL, CLQ_DTYPE_U8, DIMS((int64_t)(w->n * zero_row)), zeros);
    const char *y = net_op(g, "MatMulNBits", "x %s %s %s", c, s, z);
    g->m.graph.nodes[g->m.graph.n_nodes - 1].domain = "com.microsoft";
    net_int(g, "K", (int64_t)w->k), net_int(g, "N", (int64_t)w->n), net_int(g, "block_size", (int64_t)w->group);
    net_int(g, "bits", 4), net_int(g, "accuracy_level", level);
    return y;
}

enum form { BLOCKED_SYMMETRIC, BLOCKED_ASYMMETRIC, NBITS_ROWS, NBITS_REAL };

static void build(struct net *g, const struct weights4 *w, enum form form, int64_t batch)
{
    g->m.opsets[g->m.n_opsets++] = (struct clq_opset){"com.microsoft", 1};
    net_in(g, "x", CLQ_DTYPE_F32, DIMS(batch, -1, (int64_t)w->k));
    const char *y = form <= BLOCKED_ASYMMETRIC ? blocked(g, w, form == BLOCKED_SYMMETRIC) : nbits(g, w, form == NBITS_ROWS ? 4 : 0);
    net_out(g, net_op(g, "Relu", "%s", net_op(g, "Add", "%s %s", y, net_const(g, NULL, CLQ_DTYPE_F32, DIMS((int64_t)w->n), w->bias))));
    net_sort(g);
}

/* The row's codes and scale. */
static float row_codes(int *code, const float *x, size_t k)
{
    float top = 0;
    for (size_t i = 0; i < k; i++) top = fmaxf(top, fabsf(x[i]));
    const float scale = fmaxf(top / 127.0f, FLT_MIN);
    for (size_t i = 0; i < k; i++) code[i] = (int)rintf(x[i] / scale);
    return scale;
}

/* An output's 8-bit codes and scale. */
static float output_codes(int *code, const struct weights4 *w, size_t n)
{
    const float *scale = w->scale + n * w->groups;
    float real[MOST], top = 0;
    bool shared = true;
    for (size_t b = 1; b < w->groups; b++) shared = shared && scale[b] == scale[0];
    for (size_t i = 0; i < w->k; i++) {
        code[i] = w->code[n * w->k + i] - w->zero[n * w->groups + i / w->group];
        real[i] = (float)code[i] * scale[i / w->group];
        top = fmaxf(top, fabsf(real[i]));
    }
    if (shared) return scale[0];
    top = fmaxf(top / 127.0f, FLT_MIN);
    for (size_t i = 0; i < w->k; i++) code[i] = (int)rintf(real[i] / top);
    return top;
}

/* What the file's weights give, exactly but for one rounding per operation of binary64; bound: how far 8 bits and binary32 may be off. */
static double exactly(double *bound, const struct weights4 *w, size_t n, const int *code, float scale)
{
    int wide[MOST];
    const double step = output_codes(wide, w, n);
    double sum = 0, size = 0;
    for (size_t i = 0; i < w->k; i++) {
        const double a = code[i] * (double)scale;
        const double real = (w->code[n * w->k + i] - w->zero[n * w->groups + i / w->group]) * (double)w->scale[n * w->groups + i / w->group];
        sum += a * real;
        size += fabs(a);
    }
    *bound = size * step * 0.5001 + (fabs(sum) + fabs((double)w->bias[n])) * 0x1p-20;
    return fmax(sum + (double)w->bias[n], 0);
}

static void expect_bits(const struct weights4 *w, const float *x, const float *y, size_t rows)
{
    int a[MOST], b[MOST];
    for (size_t r = 0; r < rows; r++) {
        const float scale = row_codes(a, x + r * w->k, w->k);
        for (size_t n = 0; n < w->n; n++) {
            const float step = output_codes(b, w, n);
            int32_t sum = 0;
            double bound;
            for (size_t i = 0; i < w->k; i++) sum += a[i] * b[i];
            float want = (float)sum * step;
            want = want * scale;
            want = fmaxf(want + w->bias[n], 0);
            assert_memory_equal(&want, &y[r * w->n + n], sizeof want);
            assert_true(fabs((double)want - exactly(&bound, w, n, a, scale)) <= bound);
        }
    }
}

static clq_context *device(void)
{
    clq_context *ctx;
    const clq_context_options o = {.threads = 1, .device = "opencl", .device_timeout_ms = 300000};
    assert_int_equal(clq_context_create(&ctx, &o), CLQ_OK);
    return ctx;
}

static void run_all(struct net *g, const struct weights4 *w, int64_t rows)
{
    static const struct clq_program_options on_device = {.device_all = true};
    struct feed f, run;
    struct kinds k;
    feed_start(&f, g, rows, -2, 3);
    for (const struct clq_cpu_level *l = clq_cpu_levels;; l++) {
        if (l->name && (clq_cpu_detect() & l->mask) != l->mask) continue;
        for (int threads = 1; threads <= (l->name ? 2 : 1); threads++) {
            clq_context *ctx = l->name ? net_context(threads, l->name) : device();
            run = f;
            net_run(&run, ctx, &g->m, l->name ? NULL : &on_device, &k);
            assert_int_equal(k.n[CLQ_STEP_QGEMM], 1);
            assert_int_equal(k.n[CLQ_STEP_QUANTIZE_ROWS], 1);
            assert_int_equal(k.n[CLQ_STEP_Q4GEMM] + k.n[CLQ_STEP_OP] + k.n[CLQ_STEP_MATMUL], 0);
            expect_bits(w, run.in[0].data, run.out[0].data, net_count(run.out[0].rank, run.out[0].shape) / w->n);
            feed_drop(&run, false);
            clq_context_free(ctx);
        }
        if (!l->name) break;
    }
    feed_drop(&f, true);
}

static void test_many_rows(void **state)
{
    static const struct {
        size_t n, k, group;
        enum form form;
        int64_t batch, rows;
        bool shared;
    } cases[] = {
        {24, 64, 32, BLOCKED_SYMMETRIC, 1, ROWS, false},   {23, 37, 16, BLOCKED_ASYMMETRIC, 1, ROWS + 5, false},
        {17, 63, 16, NBITS_ROWS, 4, ROWS / 4, false},      {1, 1, 16, BLOCKED_SYMMETRIC, ROWS, 1, false},
        {33, 48, 48, BLOCKED_SYMMETRIC, 2, ROWS, false},   {16, 40, 8, BLOCKED_ASYMMETRIC, 1, ROWS, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct net g;
        struct weights4 w;
        net_start(&g, 21);
        fill(&w, &g, cases[i].n, cases[i].k, cases[i].group, cases[i].form == BLOCKED_SYMMETRIC, cases[i].shared);
        build(&g, &w, cases[i].form, cases[i].batch);
        run_all(&g, &w, cases[i].rows);
        net_end(&g);
    }
}

/* The first of so many rows have the bits that they have among fewer: nothing was rounded. */
static void test_exact(void **state)
{
    (void)state;
    struct net g;
    struct weights4 w;
    struct feed many, few;
    struct kinds k;
    net_start(&g, 21);
    fill(&w, &g, 24, 40, 40, false, true);
    build(&g, &w, BLOCKED_ASYMMETRIC, 1);
    feed_start(&many, &g, ROWS, -2, 3);
    few = many;
    few.in[0].shape[1] = ROWS - 1;
    struct clq_context *ctx = net_context(2, NULL);
    net_run(&many, ctx, &g.m, NULL, &k);
    assert_int_equal(k.n[CLQ_STEP_QGEMM], 1);
    net_run(&few, ctx, &g.m, NULL, &k);
    assert_int_equal(k.n[CLQ_STEP_Q4GEMM], 1);
    assert_memory_equal(many.out[0].data, few.out[0].data, (ROWS - 1) * w.n * sizeof(float));
    feed_drop(&few, false);
    feed_drop(&many, true);
    clq_context_free(ctx);
    net_end(&g);
}

static void expect_four_bits(const struct weights4 *w, enum form form, int64_t batch, int64_t rows, int quantized)
{
    struct net g;
    struct feed f;
    struct kinds k;
    net_start(&g, 21);
    build(&g, w, form, batch);
    feed_start(&f, &g, rows, -2, 3);
    struct clq_context *ctx = net_context(1, NULL);
    net_run(&f, ctx, &g.m, NULL, &k);
    assert_int_equal(k.n[CLQ_STEP_Q4GEMM], 1);
    assert_int_equal(k.n[CLQ_STEP_QUANTIZE_ROWS], quantized);
    feed_drop(&f, true);
    clq_context_free(ctx);
    net_end(&g);
}

static void test_left_alone(void **state)
{
    (void)state;
    struct net g;
    struct weights4 w;
    net_start(&g, 21);
    fill(&w, &g, 24, 64, 16, true, false);
    expect_four_bits(&w, BLOCKED_SYMMETRIC, 1, ROWS - 1, 1); /* few rows */
    expect_four_bits(&w, NBITS_ROWS, 3, ROWS / 4, 1);
    expect_four_bits(&w, NBITS_REAL, 2, ROWS, 0); /* real rows stay real */
    w.scale[4 * 3] = 3e38f; /* no float holds its weights */
    expect_four_bits(&w, BLOCKED_SYMMETRIC, 1, ROWS, 1);
    fill(&w, &g, 24, 64, 2, true, false); /* one of many groups is so much larger that the others lose digits */
    for (size_t i = 0; i < w.n; i++) w.code[i * w.k] = 0, w.scale[i * w.groups] *= 30;
    expect_four_bits(&w, BLOCKED_SYMMETRIC, 1, ROWS, 1);
    net_end(&g);
}

/* Weights of zero, and those whose scale would be subnormal. */
static void test_tiny(void **state)
{
    (void)state;
    struct net g;
    struct weights4 w;
    net_start(&g, 21);
    fill(&w, &g, 8, 32, 16, true, false);
    for (size_t i = 0; i < 2; i++) w.scale[i] = 0;
    w.scale[2] = 0;
    w.scale[4] = 1e-44f;
    for (size_t i = 0; i < w.k; i++) w.code[3 * w.k + i] = 8;
    build(&g, &w, BLOCKED_SYMMETRIC, 1);
    run_all(&g, &w, ROWS);
    net_end(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_many_rows), cmocka_unit_test(test_exact), cmocka_unit_test(test_left_alone), cmocka_unit_test(test_tiny)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
