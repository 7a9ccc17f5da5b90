/* SPDX-License-Identifier: Apache-2.0
 * Additions of codes that move into the product before them: which do, and that no byte of any output changes. */
#include "graph_build.h"

static const int64_t channels = 20;

static float scale_of(struct net *g)
{
    return net_uniform(g, 0.01f, 0.06f);
}

/* The value as codes and back; half of them int8. */
static const char *codes(struct net *g, const char *x)
{
    const bool s8 = net_random(g) % 2;
    return net_qdq(g, x, scale_of(g), (int)(net_random(g) % 256), s8 ? CLQ_DTYPE_S8 : CLQ_DTYPE_U8);
}

static const char *weight(struct net *g, int rank, const int64_t *shape)
{
    const size_t n = net_count(rank, shape);
    int8_t *w = malloc(n);
    assert_non_null(w);
    for (size_t i = 0; i < n; i++) w[i] = (int8_t)((int)(net_random(g) % 255) - 127);
    const char *c = net_const(g, NULL, CLQ_DTYPE_S8, rank, shape, w);
    free(w);
    return net_op(g, "DequantizeLinear", "%s %s", c, net_float(g, 0.01f * net_uniform(g, 0.2f, 1)));
}

/* As many channels out as in. */
static const char *conv(struct net *g, const char *x, int64_t groups, int64_t k)
{
    const char *w = weight(g, DIMS(channels, channels / groups, k, k));
    const char *y = net_op(g, "Conv", "%s %s %s", x, w, net_weights(g, -0.5f, 0.5f, DIMS(channels)));
    net_list(g, "pads", DIMS(k / 2, k / 2, k / 2, k / 2));
    if (groups > 1) net_int(g, "group", groups);
    return y;
}

static const char *image(struct net *g)
{
    net_start(g, 17);
    net_in(g, "x", CLQ_DTYPE_F32, DIMS(-1, channels, 9, 7));
    return codes(g, "x");
}

/* Blocks of a mobile network: 1x1, 3x3 and depthwise, the last with a Relu behind the sum. */
static void blocks(struct net *g)
{
    const char *x = image(g);
    for (int i = 0; i < 3; i++) {
        const char *y = codes(g, conv(g, x, i == 2 ? channels : 1, i == 0 ? 1 : 3));
        const char *sum = net_op(g, "Add", "%s %s", i % 2 ? x : y, i % 2 ? y : x);
        x = codes(g, i == 2 ? net_op(g, "Relu", "%s", sum) : sum);
    }
    net_out(g, x);
}

/* Both operands are products: the later one takes the sum. A limit of the product's own stands before it. */
static void branches(struct net *g)
{
    const char *x = image(g), *a = codes(g, conv(g, x, 1, 3));
    const char *b = codes(g, net_op(g, "Relu", "%s", conv(g, x, 4, 3)));
    net_out(g, codes(g, net_op(g, "Add", "%s %s", a, b)));
}

/* The other operand is made behind the product. */
static void too_early(struct net *g)
{
    const char *x = image(g), *y = codes(g, conv(g, x, 1, 1)), *late = net_op(g, "MaxPool", "%s", x);
    net_list(g, "kernel_shape", DIMS(3, 3));
    net_list(g, "pads", DIMS(1, 1, 1, 1));
    net_out(g, codes(g, net_op(g, "Add", "%s %s", y, codes(g, late))));
}

/* Others read the product's codes too; a sum of a product with itself; a sum in float. */
static void read_twice(struct net *g)
{
    const char *x = image(g), *y = codes(g, conv(g, x, 1, 3));
    net_out(g, codes(g, net_op(g, "Add", "%s %s", x, y)));
    net_out(g, y);
    const char *z = codes(g, conv(g, x, 1, 1)), *w = codes(g, conv(g, x, 1, 1));
    net_out(g, codes(g, net_op(g, "Add", "%s %s", z, z)));
    net_out(g, net_op(g, "Add", "%s %s", w, x));
}

static void matrices(struct net *g)
{
    net_start(g, 17);
    net_in(g, "x", CLQ_DTYPE_F32, DIMS(-1, 5, 32));
    net_in(g, "u", CLQ_DTYPE_F32, DIMS(-1, 32));
    const char *x = codes(g, "x"), *u = codes(g, "u");
    net_out(g, codes(g, net_op(g, "Add", "%s %s", codes(g, net_op(g, "MatMul", "%s %s", x, weight(g, DIMS(32, 32)))), x)));
    const char *y = net_op(g, "Gemm", "%s %s", u, weight(g, DIMS(32, 32)));
    net_int(g, "transB", 1);
    net_out(g, codes(g, net_op(g, "Add", "%s %s", u, codes(g, y))));
}

static const struct {
    const char *name;
    void (*build)(struct net *);
    int sums, apart; /* additions that stay, fused and not */
} graphs[] = {
    {"blocks", blocks, 0, 3}, {"branches", branches, 0, 1}, {"too early", too_early, 1, 1}, {"read twice", read_twice, 2, 2}, {"matrices", matrices, 0, 2},
};
enum { N_GRAPHS = sizeof graphs / sizeof *graphs };

static void same_bytes(const char *what, const struct feed *a, const struct feed *b)
{
    for (int i = 0; i < a->n_out; i++) {
        size_t bytes;
        assert_int_equal(clq_tensor_bytes(&bytes, &a->out[i]), CLQ_OK);
        if (memcmp(a->out[i].data, b->out[i].data, bytes) != 0) fail_msg("%s: output %d differs", what, i);
    }
}

static void check(int i, const char *isa, int threads, uint32_t seed)
{
    static const struct clq_program_options ways[] = {{0}, {.retain = true}, {.device_all = true}, {.observable = true}};
    static const struct clq_program_options apart = {.sums_apart = true};
    struct net g;
    struct feed a, b;
    struct kinds k;
    struct clq_context *ctx = net_context(threads, isa);
    graphs[i].build(&g);
    g.seed += seed;
    net_sort(&g);
    feed_start(&a, &g, 1 + (int64_t)seed % 3, -3, 3);
    net_run(&a, ctx, &g.m, &apart, &k);
    assert_int_equal(k.n[CLQ_STEP_QADD], graphs[i].apart);
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        b = a;
        net_run(&b, ctx, &g.m, &ways[w], &k);
        assert_int_equal(k.n[CLQ_STEP_QADD], ways[w].observable ? graphs[i].apart : graphs[i].sums);
        same_bytes(graphs[i].name, &a, &b);
        feed_drop(&b, false);
    }
    feed_drop(&a, true);
    net_end(&g);
    clq_context_free(ctx);
}

static void test_bytes(void **state)
{
    (void)state;
    for (int i = 0; i < N_GRAPHS; i++)
        for (const struct clq_cpu_level *l = clq_cpu_levels; l->name; l++)
            if ((clq_cpu_detect() & l->mask) == l->mask)
                for (int threads = 1; threads <= 3; threads++) check(i, l->name, threads, (uint32_t)(threads + i));
}

/* The oracle computes the same sums operator by operator. A code may differ where its float sum does; the additions themselves round
 * once per step, so most bytes are equal and none is far off. */
static void test_oracle(void **state)
{
    static const struct clq_program_options slow = {.no_fusion = true, .no_integer = true};
    (void)state;
    struct clq_context *ctx = net_context(2, NULL);
    for (int i = 0; i < N_GRAPHS; i++) {
        struct net g;
        struct feed a, b;
        graphs[i].build(&g);
        net_sort(&g);
        feed_start(&a, &g, 2, -3, 3);
        net_run(&a, ctx, &g.m, &slow, NULL);
        b = a;
        net_run(&b, ctx, &g.m, NULL, NULL);
        for (int o = 0; o < a.n_out; o++) {
            const float *x = a.out[o].data, *y = b.out[o].data;
            const size_t n = net_count(a.out[o].rank, a.out[o].shape);
            size_t different = 0;
            for (size_t e = 0; e < n; e++) {
                different += x[e] != y[e];
                if (fabsf(x[e] - y[e]) > 0.25f) fail_msg("%s: output %d, element %zu is %.9g, expected %.9g", graphs[i].name, o, e, (double)y[e], (double)x[e]);
            }
            assert_true(different * 50 < n);
        }
        feed_drop(&a, false);
        feed_drop(&b, true);
        net_end(&g);
    }
    clq_context_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bytes), cmocka_unit_test(test_oracle)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
