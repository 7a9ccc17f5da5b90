/* SPDX-License-Identifier: Apache-2.0
 * Attention as exporters spell it out: one step in its usual forms, with what stands around it read and written in place, and left
 * alone where somebody reads an inner tensor or a number differs. */
#include "graph_check.h"

enum { BATCH = 2, HEADS = 3, ROWS = 55, KEYS = 21, SIZE = 11, SIZE_V = 5 };

enum scaling { NOT_SCALED, SCORES_DIVIDED, SCORES_MULTIPLIED, QUERIES, BOTH, SCALINGS };

struct form {
    bool tokens;  /* heads come from, and go back to, rows of all heads */
    bool columns; /* keys come as [size][keys] */
    bool negative; /* transposes count their axes from the end */
    int kv_heads;
    enum scaling scaling;
    int mask_rank;
    int64_t mask[4];
};

static const char *times(struct net *g, const char *x, float c)
{
    return net_op(g, "Mul", "%s %s", x, net_float(g, c));
}

static const char *turned(struct net *g, const char *x, bool negative, int rank, const int64_t *perm)
{
    int64_t p[4];
    for (int d = 0; d < rank; d++) p[d] = perm[d] - (negative ? rank : 0);
    x = net_op(g, "Transpose", "%s", x);
    net_list(g, "perm", rank, p);
    return x;
}

/* [batch][rows][heads * size] as [batch][heads][rows][size], turned as perm says. */
static const char *heads(struct net *g, const char *x, int64_t n, int64_t size, bool negative, int rank, const int64_t *perm)
{
    const char *y = net_op(g, "Reshape", "%s %s", x, net_ints(g, 4, (const int64_t[]){0, 0, n, size}));
    return turned(g, y, negative, rank, perm);
}

static void operands(struct net *g, const struct form *f, const char **q, const char **k, const char **v)
{
    const int64_t kv = f->kv_heads;
    if (f->tokens) {
        net_in(g, "q", CLQ_DTYPE_F32, DIMS(BATCH, ROWS, HEADS * SIZE));
        net_in(g, "k", CLQ_DTYPE_F32, DIMS(BATCH, KEYS, kv * SIZE));
        net_in(g, "v", CLQ_DTYPE_F32, DIMS(BATCH, KEYS, kv * SIZE_V));
        *q = heads(g, "q", HEADS, SIZE, f->negative, DIMS(0, 2, 1, 3));
        *k = heads(g, "k", kv, SIZE, f->negative, DIMS(0, 2, 3, 1));
        *v = heads(g, "v", kv, SIZE_V, f->negative, DIMS(0, 2, 1, 3));
        return;
    }
    net_in(g, "q", CLQ_DTYPE_F32, DIMS(BATCH, HEADS, ROWS, SIZE));
    net_in(g, "v", CLQ_DTYPE_F32, DIMS(BATCH, kv, KEYS, SIZE_V));
    *q = "q";
    *v = "v";
    *k = "k";
    if (f->columns) {
        net_in(g, "k", CLQ_DTYPE_F32, DIMS(BATCH, kv, SIZE, KEYS));
    } else {
        net_in(g, "k", CLQ_DTYPE_F32, DIMS(BATCH, kv, KEYS, SIZE));
        *k = turned(g, "k", f->negative, DIMS(0, 1, 3, 2));
    }
}

/* The softmax's result, and through *v the values. */
static const char *shares(struct net *g, const struct form *f, const char **v)
{
    const char *q, *k;
    operands(g, f, &q, &k, v);
    if (f->scaling == QUERIES || f->scaling == BOTH) q = times(g, q, 0.6f);
    if (f->scaling == BOTH) k = times(g, k, 0.5f);
    const char *s = net_op(g, "MatMul", "%s %s", q, k);
    if (f->scaling == SCORES_MULTIPLIED) s = times(g, s, 0.3f);
    if (f->scaling == SCORES_DIVIDED) s = net_op(g, "Div", "%s %s", s, net_float(g, 3.3f));
    if (f->mask_rank > 0) {
        net_in(g, "m", CLQ_DTYPE_F32, f->mask_rank, f->mask);
        s = net_op(g, "Add", "%s %s", s, times(g, "m", -5));
    }
    s = net_op(g, "Softmax", "%s", s);
    net_int(g, "axis", -1);
    return s;
}

static const char *joined(struct net *g, const struct form *f, const char *y)
{
    if (!f->tokens) return y;
    y = turned(g, y, f->negative, DIMS(0, 2, 1, 3));
    return net_op(g, "Reshape", "%s %s", y, net_ints(g, 3, (const int64_t[]){0, 0, HEADS * SIZE_V}));
}

static void test_forms(void **state)
{
    (void)state;
    static const struct {
        int rank;
        int64_t shape[4];
    } masks[] = {{0, {0}},        {4, {1, 1, 1, KEYS}},    {4, {BATCH, 1, 1, KEYS}},        {4, {BATCH, 1, ROWS, KEYS}},
                 {2, {ROWS, KEYS}}, {4, {1, HEADS, 1, KEYS}}, {4, {BATCH, HEADS, ROWS, KEYS}}, {1, {KEYS}}};
    enum { MASKS = sizeof masks / sizeof *masks };
    for (int i = 0; i < 3 * MASKS; i++) {
        struct form f = {.tokens = i % 3 == 0, .columns = i % 3 == 1, .negative = i % 2 == 1, .kv_heads = i % 4 == 3 ? 1 : HEADS, .scaling = (enum scaling)(i % SCALINGS),
                         .mask_rank = masks[i % MASKS].rank};
        struct net g;
        struct kinds k;
        const char *v;
        memcpy(f.mask, masks[i % MASKS].shape, sizeof f.mask);
        net_start(&g, 13);
        const char *p = shares(&g, &f, &v);
        net_out(&g, joined(&g, &f, net_op(&g, "MatMul", "%s %s", p, v)));
        check("attention", &g, 1, &k);
        assert_int_equal(k.n[CLQ_STEP_ATTENTION], 1);
        assert_int_equal(k.n[CLQ_STEP_SOFTMAX] + k.n[CLQ_STEP_MATMUL], 0);
        assert_int_equal(k.n[CLQ_STEP_OP], (f.mask_rank > 0) + (f.tokens ? 4 : 0)); /* the mask's product, and reshapes, which copy nothing */
        net_end(&g);
    }
}

/* Heads without images, and one head alone. */
static void test_ranks(void **state)
{
    (void)state;
    for (int rank = 2; rank <= 3; rank++) {
        struct net g;
        struct kinds k;
        net_start(&g, 13);
        net_in(&g, "q", CLQ_DTYPE_F32, rank, &(const int64_t[]){HEADS, ROWS, SIZE}[3 - rank]);
        net_in(&g, "k", CLQ_DTYPE_F32, rank, &(const int64_t[]){HEADS, SIZE, KEYS}[3 - rank]);
        net_in(&g, "v", CLQ_DTYPE_F32, rank, &(const int64_t[]){HEADS, KEYS, SIZE_V}[3 - rank]);
        net_out(&g, net_op(&g, "MatMul", "%s v", net_op(&g, "Softmax", "%s", times(&g, net_op(&g, "MatMul", "q k"), 0.3f))));
        check("attention of few axes", &g, 1, &k);
        assert_int_equal(k.n[CLQ_STEP_ATTENTION], 1);
        net_end(&g);
    }
}

/* Few rows, few in the last block of 32, and products with constants are left to oneDNN. */
static void test_not_worth(void **state)
{
    (void)state;
    static const float weights[SIZE * KEYS + KEYS * SIZE_V];
    static const struct {
        int64_t rows;
        bool constant_keys, constant_values;
        int steps;
    } cases[] = {{1, false, false, 0}, {23, false, false, 0}, {24, false, false, 1}, {33, false, false, 0}, {48, false, false, 1}, {64, true, false, 0}, {64, false, true, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct net g;
        struct kinds k;
        net_start(&g, 13);
        net_in(&g, "q", CLQ_DTYPE_F32, DIMS(cases[i].rows, SIZE));
        if (cases[i].constant_keys) net_const(&g, "k", CLQ_DTYPE_F32, DIMS(SIZE, KEYS), weights);
        else net_in(&g, "k", CLQ_DTYPE_F32, DIMS(SIZE, KEYS));
        if (cases[i].constant_values) net_const(&g, "v", CLQ_DTYPE_F32, DIMS(KEYS, SIZE_V), weights);
        else net_in(&g, "v", CLQ_DTYPE_F32, DIMS(KEYS, SIZE_V));
        net_out(&g, net_op(&g, "MatMul", "%s v", net_op(&g, "Softmax", "%s", net_op(&g, "MatMul", "q k"))));
        check("attention that does not pay", &g, 1, &k);
        assert_int_equal(k.n[CLQ_STEP_ATTENTION], cases[i].steps);
        net_end(&g);
    }
}

/* 0: shares are an output; 1: shares have a second reader; 2: so have scores; 3: shares are quantized; 4: softmax over another axis;
 * 5: a mask of one number per row; 6: the scale is no constant; 7: the product of scores is an output */
static void test_left_alone(void **state)
{
    (void)state;
    for (int why = 0; why < 8; why++) {
        struct form f = {.kv_heads = HEADS};
        struct net g;
        struct kinds k;
        const char *q, *keys, *v;
        net_start(&g, 13);
        operands(&g, &f, &q, &keys, &v);
        const char *dot = net_op(&g, "MatMul", "%s %s", q, keys), *s = dot;
        if (why == 5) net_in(&g, "m", CLQ_DTYPE_F32, DIMS(ROWS, 1));
        if (why == 6) net_in(&g, "m", CLQ_DTYPE_F32, SCALAR);
        if (why == 5 || why == 6) s = net_op(&g, why == 5 ? "Add" : "Mul", "%s m", s);
        const char *p = net_op(&g, "Softmax", "%s", s), *used = p;
        net_int(&g, "axis", why == 4 ? 2 : -1);
        if (why == 3) {
            const uint8_t zero = 0;
            const char *scale = net_float(&g, 1.0f / 255), *z = net_const(&g, NULL, CLQ_DTYPE_U8, SCALAR, &zero);
            used = net_op(&g, "DequantizeLinear", "%s %s %s", net_op(&g, "QuantizeLinear", "%s %s %s", p, scale, z), scale, z);
        }
        net_out(&g, net_op(&g, "MatMul", "%s %s", used, v));
        if (why == 0) net_out(&g, p);
        if (why == 1) net_out(&g, net_op(&g, "Neg", "%s", p));
        if (why == 2) net_out(&g, net_op(&g, "Neg", "%s", s));
        if (why == 7) net_out(&g, dot);
        if (why == 3) {
            struct clq_context *ctx = net_context(2, NULL); /* codes one apart are more than rounding: only the steps count */
            struct feed in;
            net_sort(&g);
            feed_start(&in, &g, 1, -1, 1);
            net_run(&in, ctx, &g.m, NULL, &k);
            feed_drop(&in, true);
            clq_context_free(ctx);
        } else {
            check("no attention", &g, why == 0 || why == 1 || why == 2 || why == 7 ? 2 : 1, &k);
        }
        assert_int_equal(k.n[CLQ_STEP_ATTENTION], 0);
        net_end(&g);
    }
}

/* Somebody else reads the transposed queries, and the result both before and after its transpose: those steps stay. */
static void test_shared_transposes(void **state)
{
    (void)state;
    for (int which = 0; which < 2; which++) {
        struct form f = {.tokens = true, .kv_heads = HEADS};
        struct net g;
        struct kinds k;
        const char *q, *keys, *v;
        net_start(&g, 13);
        operands(&g, &f, &q, &keys, &v);
        const char *y = net_op(&g, "MatMul", "%s %s", net_op(&g, "Softmax", "%s", net_op(&g, "MatMul", "%s %s", q, keys)), v);
        net_out(&g, joined(&g, &f, y));
        net_out(&g, net_op(&g, "Neg", "%s", which ? y : q));
        check("shared transposes", &g, 2, &k);
        assert_int_equal(k.n[CLQ_STEP_ATTENTION], 1);
        assert_int_equal(k.n[CLQ_STEP_OP], 4 + 1 + 1);
        net_end(&g);
    }
}

/* Masked keys are as if they were not there, and a row without keys is NaN, as the operators have it. */
static void test_masked_out(void **state)
{
    (void)state;
    static const struct clq_program_options slow = {.no_fusion = true, .no_integer = true};
    struct form f = {.kv_heads = HEADS, .mask_rank = 2, .mask = {ROWS, KEYS}};
    struct net g;
    struct kinds k;
    struct feed a, b;
    const char *q, *keys, *v;
    net_start(&g, 13);
    operands(&g, &f, &q, &keys, &v);
    net_in(&g, "m", CLQ_DTYPE_F32, f.mask_rank, f.mask);
    const char *s = net_op(&g, "Softmax", "%s", net_op(&g, "Add", "%s m", net_op(&g, "MatMul", "%s %s", q, keys)));
    net_out(&g, net_op(&g, "MatMul", "%s %s", s, v));
    net_sort(&g);
    feed_start(&a, &g, 1, -1, 1);
    float *m = a.in[3].data;
    for (int i = 0; i < ROWS * KEYS; i++) m[i] = i / KEYS == 3 || i % 5 == 1 ? -INFINITY : i / KEYS == 4 || i % 7 == 3 ? -3.402823466e38f : 0.0f;
    m[6 * KEYS + 2] = NAN;
    b = a;
    struct clq_context *ctx = net_context(2, NULL);
    net_run(&a, ctx, &g.m, &slow, NULL);
    net_run(&b, ctx, &g.m, NULL, &k);
    assert_int_equal(k.n[CLQ_STEP_ATTENTION], 1);
    const float *x = a.out[0].data, *y = b.out[0].data;
    int nans = 0;
    for (int i = 0; i < BATCH * HEADS * ROWS * SIZE_V; i++) {
        nans += isnan(x[i]) != 0;
        if (isnan(x[i]) ? !isnan(y[i]) : !(fabsf(x[i] - y[i]) <= graph_bound)) fail_msg("element %d is %g, expected %g", i, (double)y[i], (double)x[i]);
    }
    assert_int_equal(nans, 2 * BATCH * HEADS * SIZE_V);
    feed_drop(&b, false);
    feed_drop(&a, true);
    clq_context_free(ctx);
    net_end(&g);
}

int main(void)
{
    struct clq_context *ctx = net_context(1, NULL);
    const bool own = strcmp(ctx->kernels.variant.attention_f32, "ref") != 0;
    clq_context_free(ctx);
    if (!own) return 77; /* nothing is fused on such a CPU */
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms), cmocka_unit_test(test_ranks), cmocka_unit_test(test_not_worth), cmocka_unit_test(test_left_alone),
                                       cmocka_unit_test(test_shared_transposes), cmocka_unit_test(test_masked_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
