/* SPDX-License-Identifier: Apache-2.0
 * Products on rows that are quantized while running. Spelled out in standard operators they must give the bits of those
 * operators one by one; 4-bit weights must give those of rows quantized by the same rule, in all forms that files have. */
#include "graph_build.h"

enum { ROWS = 6, K = 40, N = 24 };

static void tokens(struct net *g)
{
    net_start(g, 13);
    net_in(g, "x", CLQ_DTYPE_F32, DIMS(2, ROWS / 2, K));
}

/* Codes and scales of rows, as the writer spells them out. */
static const char *scales(struct net *g, const char *x, float limit)
{
    const char *max = net_op(g, "ReduceMax", "%s", net_op(g, "Abs", "%s", x));
    net_list(g, "axes", DIMS(-1));
    net_int(g, "keepdims", 1);
    return net_op(g, "Max", "%s %s", net_op(g, "Div", "%s %s", max, net_float(g, limit)), net_float(g, 1.17549435e-38f));
}

static const char *codes_of(struct net *g, const char *quotients)
{
    const char *codes = net_op(g, "Cast", "%s", net_op(g, "Round", "%s", quotients));
    net_int(g, "to", CLQ_DTYPE_S8);
    return codes;
}

static const char *rows(struct net *g, const char *x, const char **scale, float limit)
{
    *scale = scales(g, x, limit);
    return codes_of(g, net_op(g, "Div", "%s %s", x, *scale));
}

static const char *integer_product(struct net *g, const char *codes, const char *scale, int64_t k, int64_t n)
{
    int8_t w[K * N];
    for (int64_t i = 0; i < k * n; i++) w[i] = (int8_t)((int)(net_random(g) % 255) - 127);
    const char *sum = net_op(g, "MatMulInteger", "%s %s", codes, net_const(g, NULL, CLQ_DTYPE_S8, DIMS(k, n), w));
    const char *real = net_op(g, "Cast", "%s", sum);
    net_int(g, "to", CLQ_DTYPE_F32);
    return net_op(g, "Mul", "%s %s", net_op(g, "Mul", "%s %s", real, net_weights(g, 0.001f, 0.002f, DIMS(n))), scale);
}

static void compare_bits(struct net *g, struct kinds *kinds, const char *isa)
{
    static const struct clq_program_options slow = {.no_fusion = true, .no_integer = true};
    struct feed a, b;
    net_sort(g);
    feed_start(&a, g, 1, -2, 3);
    ((float *)a.in[0].data)[K + 3] = 400; /* one row is far larger, one is all zeros */
    for (int i = 0; i < K; i++) ((float *)a.in[0].data)[2 * K + i] = 0;
    struct clq_context *ctx = net_context(2, isa);
    net_run(&a, ctx, &g->m, &slow, NULL);
    b = a;
    net_run(&b, ctx, &g->m, NULL, kinds);
    for (int i = 0; i < a.n_out; i++) {
        size_t bytes;
        assert_int_equal(clq_tensor_bytes(&bytes, &a.out[i]), CLQ_OK);
        assert_memory_equal(a.out[i].data, b.out[i].data, bytes);
    }
    feed_drop(&b, false);
    feed_drop(&a, true);
    clq_context_free(ctx);
}

static void test_spelled_out(void **state)
{
    (void)state;
    static const char *const isas[] = {"ref", "avx2", NULL};
    for (int i = 0; i < 3; i++) {
        struct net g;
        struct kinds k;
        const char *scale;
        tokens(&g);
        const char *codes = rows(&g, "x", &scale, 127);
        const char *a = integer_product(&g, codes, scale, K, N), *b = integer_product(&g, codes, scale, K, N);
        a = net_op(&g, "Add", "%s %s", net_weights(&g, -1, 1, DIMS(N)), a);
        net_out(&g, net_op(&g, "Add", "%s %s", a, b)); /* bias and residual */
        net_out(&g, net_op(&g, "Relu", "%s", integer_product(&g, codes, scale, K, N)));
        compare_bits(&g, &k, isas[i]);
        assert_int_equal(k.n[CLQ_STEP_QUANTIZE_ROWS], 1);
        assert_int_equal(k.n[CLQ_STEP_QGEMM], 3);
        assert_int_equal(k.n[CLQ_STEP_OP], 0);
        net_end(&g);
    }
}

static void test_left_alone(void **state)
{
    (void)state;
    struct net g;
    struct kinds k;
    const char *scale;
    tokens(&g); /* another limit */
    const char *codes = rows(&g, "x", &scale, 100);
    net_out(&g, integer_product(&g, codes, scale, K, N));
    compare_bits(&g, &k, NULL);
    assert_int_equal(k.n[CLQ_STEP_QUANTIZE_ROWS], 0);
    net_end(&g);
    for (int i = 0; i < 2; i++) {
        tokens(&g); /* the scale, or what is rounded, is read by others before the codes are there */
        scale = scales(&g, "x", 127);
        if (i == 0) net_out(&g, net_op(&g, "Relu", "%s", scale));
        const char *quotients = net_op(&g, "Div", "x %s", scale);
        if (i == 1) net_out(&g, net_op(&g, "Relu", "%s", quotients));
        net_out(&g, integer_product(&g, codes_of(&g, quotients), scale, K, N));
        compare_bits(&g, &k, NULL);
        assert_int_equal(k.n[CLQ_STEP_QUANTIZE_ROWS], 0);
        net_end(&g);
    }
    tokens(&g); /* the codes are an output */
    codes = rows(&g, "x", &scale, 127);
    net_out(&g, integer_product(&g, codes, scale, K, N));
    net_out(&g, codes);
    compare_bits(&g, &k, NULL);
    assert_int_equal(k.n[CLQ_STEP_QUANTIZE_ROWS], 0);
    net_end(&g);
    tokens(&g); /* a product by other scales than those of the codes' rows */
    codes = rows(&g, "x", &scale, 127);
    net_out(&g, integer_product(&g, codes, net_op(&g, "Abs", "%s", scale), K, N));
    compare_bits(&g, &k, NULL);
    assert_int_equal(k.n[CLQ_STEP_QUANTIZE_ROWS], 0);
    net_end(&g);
}

/* ---- 4-bit weights ---- */
struct weights4 {
    size_t n, k, group, groups;
    uint8_t code[N * K], zero[N * K];
    float scale[N * K];
};

static void random_weights4(struct weights4 *w, struct net *g, size_t group, bool symmetric)
{
    *w = (struct weights4){.n = N, .k = K, .group = group, .groups = (K + group - 1) / group};
    for (size_t i = 0; i < N * K; i++) w->code[i] = (uint8_t)(net_random(g) % 16);
    for (size_t i = 0; i < w->n * w->groups; i++) {
        w->zero[i] = symmetric ? 8 : (uint8_t)(net_random(g) % 16);
        w->scale[i] = net_uniform(g, 0.01f, 0.02f);
    }
}

/* Segments of K shorter than 1024 are one chain: numerics.md 6. */
static void expected(float *y, const struct weights4 *w, const float *x, size_t m)
{
    for (size_t r = 0; r < m; r++) {
        float top = 0;
        int code[K];
        for (size_t i = 0; i < K; i++) top = fmaxf(top, fabsf(x[r * K + i]));
        float scale = fmaxf(top / 127.0f, 1.17549435e-38f);
        for (size_t i = 0; i < K; i++) code[i] = (int)rintf(x[r * K + i] / scale);
        for (size_t n = 0; n < N; n++) {
            float f = 0;
            for (size_t b = 0; b < w->groups; b++) {
                int32_t sum = 0;
                for (size_t i = b * w->group; i < K && i < (b + 1) * w->group; i++) sum += code[i] * (w->code[n * K + i] - w->zero[n * w->groups + b]);
                f = fmaf((float)sum, w->scale[n * w->groups + b], f);
            }
            y[r * N + n] = f * scale;
        }
    }
}

static void put(uint8_t *to, size_t at, unsigned code)
{
    to[at / 2] = (uint8_t)(to[at / 2] | code << (at % 2 ? 4 : 0));
}

/* The weights as DequantizeLinear of [K][N], or [N][K] for a transposed Gemm. */
static const char *dequantized(struct net *g, const struct weights4 *w, bool symmetric, bool turned)
{
    uint8_t codes[N * K / 2 + 1] = {0}, zeros[N * K / 2 + 1] = {0};
    float scale[N * K];
    unsigned flip = symmetric ? 8 : 0;
    for (size_t n = 0; n < N; n++) {
        for (size_t k = 0; k < K; k++) put(codes, turned ? n * K + k : k * N + n, w->code[n * K + k] ^ flip);
        for (size_t b = 0; b < w->groups; b++) {
            size_t at = turned ? n * w->groups + b : b * N + n;
            scale[at] = w->scale[n * w->groups + b];
            put(zeros, at, w->zero[n * w->groups + b] ^ flip);
        }
    }
    int64_t shape[2] = {turned ? N : K, turned ? K : N}, grid[2] = {turned ? N : (int64_t)w->groups, turned ? (int64_t)w->groups : N};
    clq_dtype dtype = symmetric ? CLQ_DTYPE_S4 : CLQ_DTYPE_U4;
    const char *c = net_const(g, NULL, dtype, 2, shape, codes), *s = net_const(g, NULL, CLQ_DTYPE_F32, 2, grid, scale);
    const char *real = symmetric ? net_op(g, "DequantizeLinear", "%s %s", c, s) : net_op(g, "DequantizeLinear", "%s %s %s", c, s, net_const(g, NULL, dtype, 2, grid, zeros));
    net_int(g, "axis", turned ? 1 : 0);
    net_int(g, "block_size", (int64_t)w->group);
    return real;
}

static void check4(struct net *g, const struct weights4 *w, const float *bias)
{
    struct feed f;
    struct kinds k;
    net_sort(g);
    feed_start(&f, g, 1, -2, 3);
    struct clq_context *ctx = net_context(2, NULL);
    net_run(&f, ctx, &g->m, NULL, &k);
    float want[ROWS * N];
    expected(want, w, f.in[0].data, ROWS);
    for (size_t i = 0; bias && i < ROWS * N; i++) want[i] = want[i] + bias[i % N];
    assert_memory_equal(want, f.out[0].data, sizeof want);
    assert_int_equal(k.n[CLQ_STEP_Q4GEMM], 1);
    assert_int_equal(k.n[CLQ_STEP_QUANTIZE_ROWS], 1);
    assert_int_equal(k.n[CLQ_STEP_OP], 0);
    feed_drop(&f, true);
    clq_context_free(ctx);
}

static void test_four_bits(void **state)
{
    (void)state;
    for (int form = 0; form < 8; form++) {
        struct net g;
        struct weights4 w;
        bool symmetric = form & 1, gemm = form & 2, turned = form & 4;
        if (turned && !gemm) continue;
        net_start(&g, 21);
        net_in(&g, "x", CLQ_DTYPE_F32, DIMS(ROWS, K));
        random_weights4(&w, &g, 16, symmetric); /* the last group is ragged */
        const char *real = dequantized(&g, &w, symmetric, turned);
        float bias[N];
        for (int i = 0; i < N; i++) bias[i] = (float)i * 0.25f - 2;
        if (gemm) {
            net_out(&g, net_op(&g, "Gemm", "x %s %s", real, net_const(&g, NULL, CLQ_DTYPE_F32, DIMS(N), bias)));
            net_int(&g, "transB", turned);
        } else net_out(&g, net_op(&g, "MatMul", "x %s", real));
        check4(&g, &w, gemm ? bias : NULL);
        net_end(&g);
    }
}

/* MatMulNBits of another accuracy level than 4: real rows, the bits of the reference. */
static void test_real_rows(void **state)
{
    (void)state;
    enum { GROUP = 16, GROUPS = (K + GROUP - 1) / GROUP, CODES = GROUPS * GROUP / 2 };
    struct net g;
    struct weights4 w;
    struct feed f;
    struct kinds k;
    uint8_t codes[N * CODES] = {0}, zeros[N * (GROUPS + 1) / 2] = {0}, plain[N * K / 2] = {0};
    net_start(&g, 21);
    g.m.opsets[g.m.n_opsets++] = (struct clq_opset){"com.microsoft", 1};
    net_in(&g, "x", CLQ_DTYPE_F32, DIMS(ROWS, K));
    random_weights4(&w, &g, GROUP, false);
    for (size_t n = 0; n < N; n++) {
        for (size_t i = 0; i < K; i++) put(codes + n * CODES, i, w.code[n * K + i]), put(plain + n * K / 2, i, w.code[n * K + i]);
        for (size_t b = 0; b < GROUPS; b++) put(zeros + n * ((GROUPS + 1) / 2), b, w.zero[n * GROUPS + b]);
    }
    const char *c = net_const(&g, NULL, CLQ_DTYPE_U8, DIMS(N, GROUPS, GROUP / 2), codes);
    const char *s = net_const(&g, NULL, CLQ_DTYPE_F32, DIMS(N * GROUPS), w.scale);
    const char *z = net_const(&g, NULL, CLQ_DTYPE_U8, DIMS(N * ((GROUPS + 1) / 2)), zeros);
    net_out(&g, net_op(&g, "MatMulNBits", "x %s %s %s", c, s, z));
    g.m.graph.nodes[g.m.graph.n_nodes - 1].domain = "com.microsoft";
    net_int(&g, "K", K), net_int(&g, "N", N), net_int(&g, "block_size", GROUP), net_int(&g, "bits", 4);
    net_sort(&g);
    feed_start(&f, &g, 1, -2, 3);
    struct clq_context *ctx = net_context(2, NULL);
    net_run(&f, ctx, &g.m, NULL, &k);
    float want[ROWS * N];
    struct clq_kernels ref;
    struct clq_gemm_u4_args a = {.m = ROWS, .n = N, .k = K, .group = GROUP, .a = f.in[0].data, .lda = K, .weight = plain, .scale = w.scale, .zero_point = w.zero, .y = want, .ldy = N};
    clq_kernels_init(&ref, 0);
    ref.gemm_f32u4_plan(&a);
    a.unit_end = a.units;
    ref.gemm_f32u4(&a);
    assert_memory_equal(want, f.out[0].data, sizeof want);
    assert_int_equal(k.n[CLQ_STEP_Q4GEMM], 1);
    assert_int_equal(k.n[CLQ_STEP_QUANTIZE_ROWS] + k.n[CLQ_STEP_OP] + k.n[CLQ_STEP_MATMUL], 0);
    feed_drop(&f, true);
    clq_context_free(ctx);
    net_end(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_spelled_out), cmocka_unit_test(test_left_alone), cmocka_unit_test(test_four_bits), cmocka_unit_test(test_real_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
