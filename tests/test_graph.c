/* SPDX-License-Identifier: Apache-2.0
 * Float lowering: convolutions, pools, layouts and what is fused around them. */
#include "graph_check.h"

/* ---- Graphs: input x [N,8,9,7] unless said otherwise ---- */
static void image(struct net *g)
{
    net_start(g, 17);
    net_in(g, "x", CLQ_DTYPE_F32, DIMS(-1, 8, 9, 7));
}

static void conv_moves(struct net *g)
{
    image(g);
    const char *y = net_conv(g, "x", 12, 8, 1, 3, 1, 1);
    const char *r = net_op(g, "Reshape", "%s %s", y, net_ints(g, DIMS(0, 0, -1)));
    const char *t = net_op(g, "Transpose", "%s", r);
    net_list(g, "perm", DIMS(0, 2, 1));
    const char *c = net_op(g, "Concat", "%s %s", t, t);
    net_int(g, "axis", 2);
    net_out(g, c);
}

static void conv_resize_add(struct net *g)
{
    static const float twice[] = {1, 1, 2, 2};
    image(g);
    const char *y = net_conv(g, "x", 8, 8, 1, 1, 1, 0);
    const char *up = net_op(g, "Resize", "%s - %s", y, net_const(g, NULL, CLQ_DTYPE_F32, DIMS(4), twice));
    net_text(g, "mode", "nearest");
    net_text(g, "coordinate_transformation_mode", "asymmetric");
    net_text(g, "nearest_mode", "floor");
    const char *lin = net_op(g, "Resize", "%s - %s", y, net_const(g, NULL, CLQ_DTYPE_F32, DIMS(4), twice));
    net_text(g, "mode", "linear");
    net_out(g, net_op(g, "Add", "%s %s", up, lin));
}

static void broadcasts(struct net *g)
{
    image(g);
    const char *y = net_conv(g, "x", 6, 8, 1, 3, 2, 1); /* [N,6,5,4] */
    y = net_op(g, "Add", "%s %s", y, net_weights(g, -1, 1, DIMS(6, 1, 1)));
    y = net_op(g, "Sigmoid", "%s", y);
    y = net_op(g, "Mul", "%s %s", y, net_float(g, 0.75f));
    y = net_op(g, "Sub", "%s %s", net_weights(g, -1, 1, DIMS(1, 6, 1, 1)), y);
    y = net_op(g, "Mul", "%s %s", y, net_weights(g, -1, 1, DIMS(5, 1)));
    y = net_op(g, "Add", "%s %s", y, net_weights(g, -1, 1, DIMS(4)));
    y = net_op(g, "Add", "%s %s", y, net_weights(g, -1, 1, DIMS(6, 5, 4)));
    net_out(g, net_op(g, "Tanh", "%s", y));
}

static void rank_grows(struct net *g)
{
    image(g);
    const char *y = net_conv(g, "x", 6, 8, 1, 3, 2, 1);
    const char *s = net_op(g, "ReduceMean", "%s", y); /* [N,6] */
    net_list(g, "axes", DIMS(2, 3));
    net_int(g, "keepdims", 0);
    const char *u = net_op(g, "Unsqueeze", "%s %s", s, net_ints(g, DIMS(2, 3)));
    const char *z = net_op(g, "Mul", "%s %s", y, u);
    net_out(g, net_op(g, "Add", "%s %s", z, net_weights(g, -1, 1, DIMS(1, 1, 6, 5, 4))));
}

static void excite(struct net *g)
{
    image(g);
    const char *y = net_conv(g, "x", 16, 8, 1, 3, 1, 1);
    y = net_op(g, "HardSwish", "%s", y);
    const char *s = net_op(g, "GlobalAveragePool", "%s", y);
    s = net_conv(g, s, 4, 16, 1, 1, 1, 0);
    s = net_op(g, "Relu", "%s", s);
    s = net_conv(g, s, 16, 4, 1, 1, 1, 0);
    s = net_op(g, "HardSigmoid", "%s", s);
    net_f(g, "alpha", 0.1666667f);
    net_out(g, net_op(g, "Mul", "%s %s", s, y));
}

static void residuals(struct net *g)
{
    image(g);
    const char *y = net_conv(g, "x", 8, 8, 8, 3, 1, 1);
    const char *a = net_op(g, "Add", "x %s", y);
    const char *r = net_op(g, "Relu", "%s", a);
    const char *z = net_conv(g, r, 8, 8, 1, 1, 1, 0);
    const char *b = net_op(g, "Add", "%s %s", z, r);
    const char *two = net_op(g, "Add", "%s %s", b, b);
    net_out(g, net_op(g, "Clip", "%s %s %s", two, net_float(g, -1.5f), net_float(g, 1.5f)));
    net_out(g, b);
    net_out(g, r);
}

static void pass_through(struct net *g)
{
    image(g);
    net_in(g, "i", CLQ_DTYPE_S64, DIMS(3));
    net_const(g, "k", CLQ_DTYPE_F32, DIMS(2), (const float[]){1, 2});
    const char *y = net_conv(g, "x", 4, 8, 1, 3, 1, 0);
    net_out(g, "x");
    net_out(g, y);
    net_out(g, "k");
    net_out(g, net_op(g, "Identity", "%s", y));
    net_out(g, net_op(g, "Identity", "i"));
    net_out(g, net_op(g, "Add", "k %s", net_float(g, 1)));
    net_out(g, "x");
}

static void shared_weights(struct net *g)
{
    image(g);
    const char *w = net_weights(g, -0.2f, 0.2f, DIMS(8, 8, 3, 3)), *one = net_weights(g, 0.5f, 1.5f, DIMS(8)), *zero = net_weights(g, -1, 1, DIMS(8));
    const char *y = net_op(g, "Conv", "x %s", w);
    net_list(g, "pads", DIMS(1, 1, 1, 1));
    const char *n = net_op(g, "BatchNormalization", "%s %s %s %s %s", y, one, zero, zero, one); /* folds into its own copy of w */
    const char *z = net_op(g, "Conv", "%s %s", n, w);
    net_list(g, "pads", DIMS(1, 1, 1, 1));
    net_out(g, net_op(g, "Conv", "%s %s", z, w));
    net_text(g, "auto_pad", "SAME_UPPER");
    net_list(g, "strides", DIMS(2, 2));
    net_out(g, y);
}

static void shape_chain(struct net *g)
{
    image(g);
    const char *y = net_conv(g, "x", 6, 8, 1, 3, 1, 1);
    const char *s = net_op(g, "Shape", "%s", y);
    const char *n = net_op(g, "Slice", "%s %s %s", s, net_ints(g, DIMS(0)), net_ints(g, DIMS(1)));
    const char *c = net_op(g, "Gather", "%s %s", s, net_ints(g, DIMS(1)));
    net_int(g, "axis", 0);
    const char *to = net_op(g, "Concat", "%s %s %s", n, c, net_ints(g, DIMS(-1)));
    net_int(g, "axis", 0);
    const char *r = net_op(g, "Reshape", "%s %s", y, to);
    const char *size = net_op(g, "Cast", "%s", n);
    net_int(g, "to", CLQ_DTYPE_F32);
    net_out(g, net_op(g, "Mul", "%s %s", r, size));
    net_out(g, to);
}

static void one_dimensional(struct net *g)
{
    net_start(g, 17);
    net_in(g, "x", CLQ_DTYPE_F32, DIMS(-1, 64, 80));
    const char *w = net_weights(g, -0.1f, 0.1f, DIMS(64, 64, 5)), *b = net_weights(g, -1, 1, DIMS(64));
    const char *y = net_op(g, "Conv", "x %s %s", w, b); /* the form that runs as products per tap at batch 1 */
    y = net_op(g, "Relu", "%s", y);
    const char *d = net_op(g, "Conv", "%s %s", y, net_weights(g, -0.5f, 0.5f, DIMS(64, 1, 3)));
    net_int(g, "group", 64);
    net_list(g, "dilations", DIMS(2));
    net_list(g, "pads", DIMS(1, 2));
    net_list(g, "strides", DIMS(2));
    const char *t = net_op(g, "Transpose", "%s", d);
    net_list(g, "perm", DIMS(0, 2, 1));
    const char *m = net_op(g, "MatMul", "%s %s", t, net_weights(g, -0.2f, 0.2f, DIMS(64, 10)));
    m = net_op(g, "Add", "%s %s", m, net_weights(g, -1, 1, DIMS(10)));
    net_out(g, net_op(g, "Softmax", "%s", m));
}

static void transposed(struct net *g)
{
    image(g);
    const char *w = net_weights(g, -0.2f, 0.2f, DIMS(8, 5, 2, 2)), *b = net_weights(g, -1, 1, DIMS(5));
    const char *y = net_op(g, "ConvTranspose", "x %s %s", w, b);
    net_list(g, "strides", DIMS(2, 2));
    y = net_op(g, "Relu", "%s", y);
    const char *z = net_op(g, "ConvTranspose", "%s %s", y, net_weights(g, -0.2f, 0.2f, DIMS(5, 4, 3, 3)));
    net_list(g, "strides", DIMS(2, 3));
    net_list(g, "pads", DIMS(1, 0, 1, 1));
    net_list(g, "output_padding", DIMS(1, 2));
    const char *grouped = net_op(g, "ConvTranspose", "x %s", net_weights(g, -0.2f, 0.2f, DIMS(8, 3, 3, 3)));
    net_int(g, "group", 4);
    net_out(g, net_op(g, "Sigmoid", "%s", z));
    net_out(g, grouped);
}

static void concat_axes(struct net *g)
{
    image(g);
    const char *a = net_conv(g, "x", 4, 8, 1, 3, 1, 1), *b = net_conv(g, "x", 4, 8, 2, 1, 1, 0);
    const char *c1 = net_op(g, "Concat", "%s %s x", a, b);
    net_int(g, "axis", 1);
    const char *c2 = net_op(g, "Concat", "%s %s", a, b);
    net_int(g, "axis", -2);
    const char *c3 = net_op(g, "Concat", "%s %s", c2, c2);
    net_int(g, "axis", 3);
    const char *c0 = net_op(g, "Concat", "%s %s", c3, c3);
    net_int(g, "axis", 0);
    net_out(g, c1);
    net_out(g, net_op(g, "Abs", "%s", c0));
}

static void pools(struct net *g)
{
    image(g);
    const char *y = net_conv(g, "x", 8, 8, 1, 3, 1, 1);
    const char *m = net_op(g, "MaxPool", "%s", y);
    net_list(g, "kernel_shape", DIMS(3, 3));
    net_list(g, "strides", DIMS(2, 2));
    net_list(g, "pads", DIMS(1, 1, 0, 1));
    net_out(g, m);
    net_out(g, net_op(g, "MaxPool", "%s", y));
    net_list(g, "kernel_shape", DIMS(3, 2));
    net_list(g, "strides", DIMS(2, 2));
    net_int(g, "ceil_mode", 1);
    for (int include = 0; include < 2; include++)
        for (int ceil = 0; ceil < 2; ceil++) {
            net_out(g, net_op(g, "AveragePool", "%s", y));
            net_list(g, "kernel_shape", DIMS(3, 2));
            net_list(g, "strides", DIMS(2, 3));
            net_list(g, "pads", DIMS(1, 0, 1, 1));
            net_int(g, "count_include_pad", include);
            net_int(g, "ceil_mode", ceil);
        }
    const char *r = net_op(g, "ReduceMax", "%s", y);
    net_list(g, "axes", DIMS(1, 3));
    net_out(g, r);
    net_out(g, net_op(g, "GlobalMaxPool", "%s", y));
    net_out(g, net_op(g, "Flatten", "%s", m));
}

/* Data-moving and reducing operators with axes straight behind a convolution. */
static void axes(struct net *g)
{
    image(g);
    const char *y = net_conv(g, "x", 8, 8, 1, 3, 1, 1);
    net_out(g, net_op(g, "Slice", "%s %s %s %s %s", y, net_ints(g, DIMS(1, -2)), net_ints(g, DIMS(6, -5)), net_ints(g, DIMS(1, 2)), net_ints(g, DIMS(2, -1))));
    net_out(g, net_op(g, "Pad", "%s %s", y, net_ints(g, DIMS(0, 1, 2, 0, 0, 0, 1, 3))));
    net_out(g, net_op(g, "DepthToSpace", "%s", y));
    net_int(g, "blocksize", 2);
    net_node(g, "Split", y, "s1 s2");
    net_int(g, "axis", 1);
    net_out(g, net_op(g, "Sub", "s1 s2"));
    net_out(g, net_op(g, "Softmax", "%s", y));
    net_int(g, "axis", 1);
    net_out(g, net_op(g, "ArgMax", "%s", y));
    net_int(g, "axis", 1);
    net_out(g, net_op(g, "ReduceSum", "%s %s", y, net_ints(g, DIMS(1))));
    net_out(g, net_op(g, "PRelu", "%s %s", y, net_weights(g, 0, 1, DIMS(8, 1, 1))));
    net_out(g, net_op(g, "InstanceNormalization", "%s %s %s", y, net_weights(g, 0.5f, 1, DIMS(8)), net_weights(g, -1, 1, DIMS(8))));
}

static void matrices(struct net *g)
{
    net_start(g, 20); /* the first with Gelu */
    net_in(g, "x", CLQ_DTYPE_F32, DIMS(-1, 4, 6, 16));
    const char *q = net_op(g, "MatMul", "x %s", net_weights(g, -0.3f, 0.3f, DIMS(16, 16)));
    const char *t = net_op(g, "Transpose", "x");
    net_list(g, "perm", DIMS(0, 1, 3, 2));
    const char *s = net_op(g, "MatMul", "%s %s", q, t);
    s = net_op(g, "Softmax", "%s", s);
    const char *o = net_op(g, "MatMul", "%s x", s);
    o = net_op(g, "LayerNormalization", "%s %s %s", o, net_weights(g, 0.5f, 1.5f, DIMS(16)), net_weights(g, -1, 1, DIMS(16)));
    const char *f = net_op(g, "Flatten", "%s", o);
    const char *gemm = net_op(g, "Gemm", "%s %s %s", f, net_weights(g, -0.1f, 0.1f, DIMS(5, 384)), net_weights(g, -1, 1, DIMS(5)));
    net_int(g, "transB", 1);
    net_f(g, "alpha", 0.5f);
    net_out(g, gemm);
    const char *beta = net_op(g, "Gemm", "%s %s %s", f, net_weights(g, -0.1f, 0.1f, DIMS(384, 5)), net_weights(g, -1, 1, DIMS(1, 5)));
    net_f(g, "beta", 0.25f);
    net_out(g, net_op(g, "Gelu", "%s", beta));
    net_out(g, net_op(g, "Gemm", "%s %s", f, net_weights(g, -0.1f, 0.1f, DIMS(384, 3))));
}

/* Numbers around a convolution fold into it, but not across its padding or into a value that others read. */
static void scales_and_shifts(struct net *g)
{
    image(g);
    const char *y = net_op(g, "Mul", "x %s", net_float(g, 2));
    y = net_op(g, "Add", "%s %s", y, net_float(g, -0.5f));
    y = net_conv(g, y, 6, 8, 1, 3, 1, 1);
    y = net_op(g, "Mul", "%s %s", y, net_weights(g, 0.5f, 2, DIMS(1, 6, 1, 1)));
    y = net_op(g, "Add", "%s %s", net_weights(g, -1, 1, DIMS(6, 1, 1)), y);
    const char *w = net_op(g, "Mul", "%s %s", y, net_weights(g, 0.5f, 2, DIMS(7))); /* along the width: no fold */
    const char *z = net_conv(g, net_op(g, "Add", "%s %s", w, net_float(g, 1)), 6, 6, 1, 1, 1, 0);
    net_out(g, net_op(g, "Mul", "%s %s", z, z));
    net_out(g, w);
    const char *both = net_op(g, "Mul", "x %s", net_float(g, 3));
    net_out(g, net_conv(g, both, 4, 8, 1, 3, 1, 1));
    net_out(g, net_op(g, "Neg", "%s", both));
}

static void gates(struct net *g)
{
    image(g);
    const char *y = net_conv(g, "x", 8, 8, 1, 1, 1, 0);
    const char *a = net_op(g, "Add", "%s %s", y, net_float(g, 3));
    const char *c = net_op(g, "Clip", "%s %s %s", a, net_float(g, 0), net_float(g, 6));
    const char *m = net_op(g, "Mul", "%s %s", y, c);
    const char *h = net_op(g, "Div", "%s %s", m, net_float(g, 6));
    const char *s = net_op(g, "HardSigmoid", "%s", h);
    net_f(g, "alpha", 1.0f / 6);
    const char *k = net_op(g, "Mul", "%s %s", s, h);
    net_out(g, net_op(g, "Mul", "%s %s", k, net_op(g, "Sigmoid", "%s", k)));
}

static void tall(struct net *g)
{
    net_start(g, 17);
    net_in(g, "x", CLQ_DTYPE_F32, DIMS(-1, 6, 40, 1));
    const char *y = net_op(g, "Conv", "x %s", net_weights(g, -0.3f, 0.3f, DIMS(10, 6, 3, 1)));
    net_list(g, "pads", DIMS(2, 0, 1, 0));
    net_list(g, "strides", DIMS(2, 1));
    net_list(g, "dilations", DIMS(2, 1));
    net_out(g, net_op(g, "LeakyRelu", "%s", y));
}

static const struct {
    const char *name;
    void (*build)(struct net *);
} graphs[] = {
    {"conv, reshape, transpose, concat", conv_moves}, {"resize and add", conv_resize_add}, {"broadcasts", broadcasts},
    {"ranks that differ", rank_grows}, {"squeeze and excite", excite}, {"residual adds", residuals}, {"pass-through", pass_through},
    {"shared weights", shared_weights}, {"shape chain", shape_chain}, {"1-D convolution", one_dimensional}, {"transposed", transposed},
    {"concat along every axis", concat_axes}, {"pools", pools}, {"axes behind a convolution", axes}, {"matrices", matrices},
    {"scales and shifts", scales_and_shifts}, {"gates", gates}, {"one column", tall},
};

static void test_graphs(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof graphs / sizeof *graphs; i++)
        for (int64_t batch = 1; batch <= 3; batch++) {
            struct net g;
            graphs[i].build(&g);
            check(graphs[i].name, &g, batch, NULL);
            net_end(&g);
        }
}

/* Fusion and layout do happen: a test that compared the oracle with itself would pass as well. */
static void test_what_is_fused(void **state)
{
    (void)state;
    struct net g;
    struct kinds k;
    excite(&g);
    check("excite", &g, 1, &k);
    assert_int_equal(k.n[CLQ_STEP_CONV], 3);
    assert_int_equal(k.n[CLQ_STEP_POOL], 1);
    assert_int_equal(k.n[CLQ_STEP_OP], 1); /* Mul; the activations are in epilogues */
    assert_true(k.n[CLQ_STEP_LAYOUT] <= 2);
    net_end(&g);
    residuals(&g);
    check("residuals", &g, 1, &k);
    assert_int_equal(k.n[CLQ_STEP_CONV], 2);
    assert_int_equal(k.n[CLQ_STEP_OP], 2);
    net_end(&g);
    one_dimensional(&g);
    check("1-D", &g, 1, &k);
    assert_int_equal(k.n[CLQ_STEP_CONV], 2);
    assert_int_equal(k.n[CLQ_STEP_MATMUL], 1);
    assert_int_equal(k.n[CLQ_STEP_SOFTMAX], 1);
    net_end(&g);
    gates(&g);
    check("gates", &g, 1, &k);
    assert_int_equal(k.n[CLQ_STEP_CONV], 1);
    assert_true(k.n[CLQ_STEP_OP] <= 3);
    net_end(&g);
}

static void test_empty_batch(void **state)
{
    (void)state;
    struct net g;
    conv_moves(&g);
    check("empty batch", &g, 0, NULL);
    net_end(&g);
}

/* Random chains of unary, binary and moving operators behind convolutions: layouts must agree wherever they meet. */
static void test_random_graphs(void **state)
{
    (void)state;
    static const char *const unary[] = {"Relu", "Sigmoid", "HardSwish", "Abs", "Neg", "Tanh"};
    for (uint32_t seed = 1; seed <= 60; seed++) {
        struct net g;
        const char *live[12] = {"x"};
        int n = 1;
        net_start(&g, 17);
        g.seed = seed * 7919;
        net_in(&g, "x", CLQ_DTYPE_F32, DIMS(2, 6, 6, 6));
        while (n < 12) { /* every value has the shape [2,6,6,6] */
            const char *a = live[net_random(&g) % (unsigned)n], *b = live[net_random(&g) % (unsigned)n], *y = NULL;
            switch (net_random(&g) % 9) {
            case 0:
            case 1: y = net_conv(&g, a, 6, 6, net_random(&g) % 2 ? 6 : 1, 3, 1, 1); break;
            case 2: y = net_op(&g, unary[net_random(&g) % 6], "%s", a); break;
            case 3: y = net_op(&g, "Add", "%s %s", a, b); break;
            case 4: y = net_op(&g, "Mul", "%s %s", a, net_weights(&g, -1, 1, DIMS(6, 1, 1))); break;
            case 5:
                y = net_op(&g, "Transpose", "%s", a);
                net_list(&g, "perm", DIMS(0, 2, 3, 1));
                break;
            case 6:
                y = net_op(&g, "Concat", "%s %s", a, b);
                net_int(&g, "axis", 1);
                y = net_conv(&g, y, 6, 12, 2, 1, 1, 0);
                break;
            case 7:
                y = net_op(&g, "AveragePool", "%s", a);
                net_list(&g, "kernel_shape", DIMS(3, 3));
                net_list(&g, "pads", DIMS(1, 1, 1, 1));
                break;
            default: y = net_op(&g, "Mul", "%s %s", a, net_op(&g, "GlobalAveragePool", "%s", b)); break;
            }
            live[n++] = y;
        }
        net_out(&g, live[n - 1]);
        net_out(&g, live[n / 2]);
        char what[40];
        snprintf(what, sizeof what, "random graph %u", seed);
        check(what, &g, 2, NULL);
        net_end(&g);
    }
}

static void example(const char *name)
{
    char path[600];
    struct clq_context *ctx = net_context(2, NULL);
    clq_model *m;
    snprintf(path, sizeof path, "%s/%s", CLQ_TEST_EXAMPLE, name);
    assert_int_equal(clq_model_load(&m, ctx, path, NULL), CLQ_OK);
    struct net g = {.m = *m, .seed = 99};
    struct kinds k;
    check(name, &g, 3, &k);
    assert_true(k.n[CLQ_STEP_CONV] >= 10);
    assert_true(k.n[CLQ_STEP_OP] <= 2);
    assert_true(k.n[CLQ_STEP_LAYOUT] <= 2);
    *m = g.m;
    clq_model_free(m);
    clq_context_free(ctx);
}

static void test_examples(void **state)
{
    (void)state;
    example("model.onnx");
    example("model_bn.onnx");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_graphs), cmocka_unit_test(test_what_is_fused), cmocka_unit_test(test_empty_batch),
                                       cmocka_unit_test(test_random_graphs), cmocka_unit_test(test_examples)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
