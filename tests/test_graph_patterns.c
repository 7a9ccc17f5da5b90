/* SPDX-License-Identifier: Apache-2.0
 * Patterns of several nodes as exporters spell them out: layer normalization, GELU, SiLU, masked scores. Each must be found
 * in its usual forms, and left alone where a number or a reader differs. */
#include "graph_check.h"

static void tokens(struct net *g, int64_t opset)
{
    net_start(g, opset);
    net_in(g, "x", CLQ_DTYPE_F32, DIMS(2, 5, 48));
}

static const char *mean(struct net *g, const char *x, int64_t opset)
{
    if (opset >= 18) return net_op(g, "ReduceMean", "%s %s", x, net_ints(g, DIMS(-1)));
    const char *y = net_op(g, "ReduceMean", "%s", x);
    net_list(g, "axes", DIMS(-1));
    return y;
}

/* square: 0 Pow, 1 Mul, 2 a difference of its own */
static const char *layernorm(struct net *g, const char *x, int64_t opset, int square, const char *epsilon)
{
    const char *d = net_op(g, "Sub", "%s %s", x, mean(g, x, opset));
    const char *e = square == 2 ? net_op(g, "Sub", "%s %s", x, mean(g, x, opset)) : d;
    const char *s = square == 1 ? net_op(g, "Mul", "%s %s", e, e) : net_op(g, "Pow", "%s %s", e, net_float(g, 2));
    const char *root = net_op(g, "Sqrt", "%s", net_op(g, "Add", "%s %s", mean(g, s, opset), epsilon));
    const char *y = net_op(g, "Mul", "%s %s", net_weights(g, 0.5f, 1.5f, DIMS(48)), net_op(g, "Div", "%s %s", d, root));
    return net_op(g, "Add", "%s %s", y, net_weights(g, -1, 1, DIMS(48)));
}

static void test_layernorm(void **state)
{
    (void)state;
    for (int form = 0; form < 3; form++)
        for (int64_t opset = 13; opset <= 18; opset += 5) {
            struct net g;
            struct kinds k;
            tokens(&g, opset);
            net_out(&g, layernorm(&g, "x", opset, form, net_float(&g, 1e-5f)));
            check("layer norm", &g, 1, &k);
            assert_int_equal(k.n[CLQ_STEP_LAYERNORM], 1);
            assert_int_equal(k.n[CLQ_STEP_OP], 0);
            net_end(&g);
        }
}

/* A scale or shift that broadcasts is no vector of the step's. */
static void test_layernorm_of_one_scale(void **state)
{
    (void)state;
    for (int form = 0; form < 3; form++) {
        struct net g;
        struct kinds k;
        tokens(&g, 17);
        const char *scale = form == 1 ? net_weights(&g, 0.5f, 1.5f, DIMS(48)) : net_weights(&g, 0.5f, 1.5f, DIMS(1));
        const char *shift = form == 2 ? net_weights(&g, -1, 1, DIMS(48)) : net_weights(&g, -1, 1, DIMS(1, 1));
        net_out(&g, net_op(&g, "LayerNormalization", "x %s %s", scale, shift));
        check("layer norm of one scale", &g, 1, &k);
        assert_int_equal(k.n[CLQ_STEP_LAYERNORM], 0);
        net_end(&g);
    }
}

static void test_layernorm_is_left_alone(void **state)
{
    (void)state;
    struct net g;
    struct kinds k;
    tokens(&g, 13); /* the epsilon is no scalar */
    net_out(&g, layernorm(&g, "x", 13, 0, net_weights(&g, 1e-6f, 1e-5f, DIMS(5, 1))));
    check("vector of epsilons", &g, 1, &k);
    assert_int_equal(k.n[CLQ_STEP_LAYERNORM], 0);
    net_end(&g);
    tokens(&g, 13); /* the difference is an output too */
    const char *d = net_op(&g, "Sub", "x %s", mean(&g, "x", 13));
    const char *v = mean(&g, net_op(&g, "Mul", "%s %s", d, d), 13);
    const char *n = net_op(&g, "Div", "%s %s", d, net_op(&g, "Sqrt", "%s", net_op(&g, "Add", "%s %s", v, net_float(&g, 1e-5f))));
    const char *y = net_op(&g, "Mul", "%s %s", n, net_weights(&g, 0.5f, 1.5f, DIMS(48)));
    net_out(&g, net_op(&g, "Add", "%s %s", y, net_weights(&g, -1, 1, DIMS(48))));
    net_out(&g, d);
    check("visible difference", &g, 1, &k);
    assert_int_equal(k.n[CLQ_STEP_LAYERNORM], 0);
    net_end(&g);
}

static const char *dense(struct net *g, const char *x)
{
    const char *y = net_op(g, "MatMul", "%s %s", x, net_weights(g, -0.3f, 0.3f, DIMS(48, 48)));
    return net_op(g, "Add", "%s %s", net_weights(g, -1, 1, DIMS(48)), y);
}

/* half: 0 last, 1 first; by: the erf's divisor */
static const char *gelu(struct net *g, const char *x, int half, float by)
{
    const char *e = net_op(g, "Erf", "%s", net_op(g, "Div", "%s %s", x, net_float(g, by)));
    const char *gate = net_op(g, "Add", "%s %s", e, net_float(g, 1));
    if (half) return net_op(g, "Mul", "%s %s", net_op(g, "Mul", "%s %s", x, net_float(g, 0.5f)), gate);
    return net_op(g, "Mul", "%s %s", net_op(g, "Mul", "%s %s", x, gate), net_float(g, 0.5f));
}

static const char *gelu_tanh(struct net *g, const char *x)
{
    const char *cube = net_op(g, "Mul", "%s %s", net_float(g, 0.044715f), net_op(g, "Pow", "%s %s", x, net_float(g, 3)));
    const char *inner = net_op(g, "Mul", "%s %s", net_op(g, "Add", "%s %s", x, cube), net_float(g, 0.79788458f));
    const char *gate = net_op(g, "Add", "%s %s", net_op(g, "Tanh", "%s", inner), net_float(g, 1));
    return net_op(g, "Mul", "%s %s", net_op(g, "Mul", "%s %s", net_float(g, 0.5f), x), gate);
}

static void test_activations(void **state)
{
    (void)state;
    for (int form = 0; form < 5; form++) {
        struct net g;
        struct kinds k;
        tokens(&g, 13);
        const char *x = dense(&g, "x");
        const char *y = form < 2 ? gelu(&g, x, form, 1.41421354f) : form == 2 ? gelu_tanh(&g, x) : form == 3 ? net_op(&g, "Mul", "%s %s", x, net_op(&g, "Sigmoid", "%s", x)) : gelu(&g, x, 0, 1.5f);
        net_out(&g, dense(&g, y));
        check("activation", &g, 1, &k);
        assert_int_equal(k.n[CLQ_STEP_MATMUL], 2);
        if (form < 4) assert_int_equal(k.n[CLQ_STEP_OP], 0); /* in the product's epilogue */
        else assert_true(k.n[CLQ_STEP_OP] >= 5);           /* 1.5 is not the root of 2 */
        net_end(&g);
    }
}

/* A scalar of four axes makes a result of four, which the matrix behind it is not. */
static void test_scalars_of_many_axes(void **state)
{
    (void)state;
    static const float half[] = {2};
    for (int form = 0; form < 4; form++) {
        struct net g;
        struct kinds k;
        net_start(&g, 20);
        net_in(&g, "x", CLQ_DTYPE_F32, DIMS(5, 7));
        net_in(&g, "m", CLQ_DTYPE_F32, DIMS(1, 1, 5, 7));
        const char *c = net_const(&g, NULL, CLQ_DTYPE_F32, DIMS(1, 1, 1, 1), half);
        if (form < 2) {
            const char *y = net_op(&g, form ? "Mul" : "Div", "x %s", c);
            net_out(&g, net_op(&g, "Softmax", "%s", net_op(&g, "Add", "%s m", y)));
        } else if (form == 2) {
            net_out(&g, net_op(&g, "Softmax", "%s", net_op(&g, "Div", "x %s", c)));
        } else {
            net_out(&g, net_op(&g, "Mul", "%s %s", net_op(&g, "Mul", "x %s", net_const(&g, NULL, CLQ_DTYPE_F32, DIMS(1, 1, 1, 1), (const float[]){1})),
                               net_op(&g, "Sigmoid", "x")));
        }
        check("scalar of many axes", &g, 1, &k);
        net_end(&g);
    }
}

static void test_scores(void **state)
{
    (void)state;
    static const struct {
        int rank;
        int64_t shape[4];
    } masks[] = {{4, {2, 1, 1, 7}}, {4, {1, 1, 5, 7}}, {4, {2, 3, 5, 7}}, {1, {7}}, {2, {5, 1}}};
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
        struct net g;
        struct kinds k;
        net_start(&g, 13);
        net_in(&g, "x", CLQ_DTYPE_F32, DIMS(2, 3, 5, 7));
        net_in(&g, "m", CLQ_DTYPE_F32, masks[i].rank, masks[i].shape);
        const char *mask = net_op(&g, "Mul", "m %s", net_float(&g, -30));
        const char *y = net_op(&g, "Add", "%s %s", net_op(&g, "Div", "x %s", net_float(&g, 2.5f)), mask);
        net_out(&g, net_op(&g, "Softmax", "%s", y));
        net_int(&g, "axis", -1);
        check("scores", &g, 1, &k);
        assert_int_equal(k.n[CLQ_STEP_SOFTMAX], 1);
        assert_int_equal(k.n[CLQ_STEP_OP], i == 4 ? 3 : 1); /* the last mask is one number per row */
        net_end(&g);
    }
}

/* Rows that are written over those that they are made of: not while these are read later, are the mask or an output. */
static void test_rows_in_place(void **state)
{
    (void)state;
    for (int form = 0; form < 8; form++) {
        struct net g;
        struct kinds k;
        tokens(&g, 17);
        const char *x = net_op(&g, "Neg", "x"), *mask = form & 1 ? x : net_op(&g, "Abs", "x");
        const char *y = net_op(&g, "Softmax", "%s", net_op(&g, "Add", "%s %s", net_op(&g, "Mul", "%s %s", x, net_float(&g, 0.5f)), mask));
        const char *normal = net_op(&g, "LayerNormalization", "%s %s", y, net_weights(&g, 0.5f, 1.5f, DIMS(48)));
        if (form & 2) normal = net_op(&g, "Sub", "%s %s", normal, x);
        if (form & 4) normal = net_op(&g, "Sub", "%s %s", normal, y);
        net_out(&g, normal);
        if (form == 0) net_out(&g, y);
        check("rows in place", &g, form == 0 ? 2 : 1, &k);
        assert_int_equal(k.n[CLQ_STEP_SOFTMAX] + k.n[CLQ_STEP_LAYERNORM], 2);
        net_end(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_layernorm), cmocka_unit_test(test_layernorm_of_one_scale), cmocka_unit_test(test_layernorm_is_left_alone), cmocka_unit_test(test_rows_in_place),
                                       cmocka_unit_test(test_activations), cmocka_unit_test(test_scores), cmocka_unit_test(test_scalars_of_many_axes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
