/* SPDX-License-Identifier: Apache-2.0
 * Scaling of channels: what may be scaled means the same afterwards, quantizes better, and replays; what may not is left. */
#include "graph_build.h"
#include "quantize_fixture.h"

#include "formats/onnx.h"
#include "graph/scaling.h"
#include "scheduler/plan.h"

enum { ROWS = 8, K = 32, H = 48 };

/* Channels of very different size: a normalization with some large gains, and two products around a Relu whose hidden channels
 * are uneven, too. keep: the normalized values are also an output, so that they have to stay. */
static void build(const char *path, bool normalized, bool keep)
{
    struct net g;
    float gain[K], w1[K * H], w2[H * K], bias[K];
    net_start(&g, 17);
    for (int c = 0; c < K; c++) gain[c] = c % 11 == 3 ? 30 : net_uniform(&g, 0.2f, 1);
    for (int i = 0; i < K * H; i++) w1[i] = net_uniform(&g, -1, 1) / (normalized ? gain[i / H] : 1) * (normalized || i % H % 9 ? 0.3f : 12);
    for (int i = 0; i < H * K; i++) w2[i] = net_uniform(&g, -1, 1) * (normalized || i / K % 9 ? 0.3f : 0.0075f);
    for (int c = 0; c < K; c++) bias[c] = net_uniform(&g, -1, 1);
    const char *x = "x";
    net_in(&g, x, CLQ_DTYPE_F32, DIMS(1, ROWS, K));
    if (normalized) {
        x = net_op(&g, "LayerNormalization", "x %s %s", net_const(&g, NULL, CLQ_DTYPE_F32, DIMS(K), gain), net_const(&g, NULL, CLQ_DTYPE_F32, DIMS(K), bias));
        net_int(&g, "axis", -1);
    }
    const char *a = net_op(&g, "MatMul", "%s %s", x, net_const(&g, NULL, CLQ_DTYPE_F32, DIMS(K, H), w1));
    const char *b = net_op(&g, "Add", "%s %s", a, net_weights(&g, 0, 0.1f, DIMS(H)));
    const char *c = net_op(&g, "Relu", "%s", b);
    const char *d = net_op(&g, "MatMul", "%s %s", c, net_const(&g, NULL, CLQ_DTYPE_F32, DIMS(H, K), w2));
    net_out(&g, net_op(&g, "Add", "%s %s", d, net_const(&g, NULL, CLQ_DTYPE_F32, DIMS(K), bias)));
    if (keep) net_out(&g, x);
    if (clq_onnx_write(path, &g.m, true, &g.err) != CLQ_OK) fail_msg("%s", g.err.text);
    net_end(&g);
}

static void write_data(const char *path)
{
    static float x[24 * ROWS * K];
    struct net g = {.seed = 7};
    clq_context *ctx = net_context(1, NULL);
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) x[i] = net_uniform(&g, -1, 1) + net_uniform(&g, -1, 1);
    clq_tensor t = {.dtype = CLQ_DTYPE_F32, .rank = 3, .shape = {24, ROWS, K}, .data = x};
    assert_int_equal(clq_array_save(ctx, path, &t, true), CLQ_OK);
    clq_context_free(ctx);
}

static double sqnr(const struct run *base, const char *scaling, const char *plan)
{
    struct ran r;
    struct run run = *base;
    run.options.scaling = scaling;
    quantize(&r, &run, plan);
    must(&r);
    free(r.bytes);
    return r.summary.sqnr_db;
}

static void test_gains(void **state)
{
    (void)state;
    const char *normalized = scratch("normalized.onnx"), *uneven = scratch("uneven.onnx"), *data = scratch("scaling.npy");
    build(normalized, true, false);
    build(uneven, false, false);
    write_data(data);
    const struct run rows = {.model = normalized, .data = data, .threads = 2, .options = {.uniform = "int8-dynamic"}};
    const struct run four = {.model = normalized, .data = data, .threads = 2, .options = {.uniform = "int4-g32", .algorithm = "minmax"}};
    const struct run learned = {.model = normalized, .data = data, .threads = 2, .options = {.uniform = "int4-g32"}};
    const struct run static8 = {.model = normalized, .data = data, .threads = 2, .options = {.uniform = "int8", .calibrator = "minmax"}};
    const struct run chain = {.model = uneven, .data = data, .threads = 2, .options = {.uniform = "int8-dynamic"}};
    assert_true(sqnr(&rows, "smoothquant", NULL) > sqnr(&rows, "none", NULL) + 6);
    assert_true(sqnr(&static8, "smoothquant", NULL) > sqnr(&static8, "none", NULL) + 3);
    assert_true(sqnr(&four, "awq", NULL) > sqnr(&four, "none", NULL) + 3);
    assert_true(sqnr(&chain, "equalize", NULL) > sqnr(&chain, "none", NULL) + 3);
    assert_true(sqnr(&chain, "auto", NULL) > sqnr(&chain, "none", NULL) + 3);
    /* unsaid it is auto with the algorithm auto, and none with another */
    assert_true(sqnr(&rows, NULL, NULL) > sqnr(&rows, "none", NULL) + 6);
    assert_true(sqnr(&four, NULL, NULL) == sqnr(&four, "none", NULL));
    assert_true(sqnr(&learned, NULL, NULL) >= sqnr(&learned, "none", NULL));
    struct ran r;
    quantize(&r, &(struct run){.threads = 1, .options = {.scaling = "some"}}, NULL);
    assert_int_equal(r.status, CLQ_ERR_INVALID_ARGUMENT);
}

static void test_left(void **state)
{
    (void)state;
    const char *path = scratch("kept.onnx"), *data = scratch("scaling.npy");
    struct ran r;
    build(path, true, true);
    write_data(data);
    quantize(&r, &(struct run){.model = path, .data = data, .threads = 1, .options = {.uniform = "int8-dynamic", .scaling = "smoothquant"}}, NULL);
    must(&r);
    assert_int_equal(lines_with(&r, "scaling smoothquant: the inputs of 2"), 0);
    free(r.bytes);
}

/* A product reads the rows and a convolution the columns of one tensor: no vector belongs to the channels of both. */
static void test_two_axes(void **state)
{
    (void)state;
    const char *path = scratch("axes.onnx"), *data = scratch("scaling.npy");
    struct net g;
    struct ran r;
    for (int first = 0; first < 2; first++) {
        net_start(&g, 17);
        net_in(&g, "x", CLQ_DTYPE_F32, DIMS(1, ROWS, K));
        const char *x = net_op(&g, "LayerNormalization", "x %s", net_weights(&g, 0.5f, 20, DIMS(ROWS, K)));
        net_int(&g, "axis", -2);
        if (first == 0) net_out(&g, net_op(&g, "MatMul", "%s %s", x, net_weights(&g, -1, 1, DIMS(K, H))));
        net_out(&g, net_op(&g, "Conv", "%s %s", x, net_weights(&g, -1, 1, DIMS(H, ROWS, 1))));
        if (first == 1) net_out(&g, net_op(&g, "MatMul", "%s %s", x, net_weights(&g, -1, 1, DIMS(K, H))));
        if (clq_onnx_write(path, &g.m, true, &g.err) != CLQ_OK) fail_msg("%s", g.err.text);
        net_end(&g);
        write_data(data);
        quantize(&r, &(struct run){.model = path, .data = data, .threads = 1, .options = {.uniform = "int4-g16", .scaling = "auto"}}, NULL);
        must(&r);
        assert_int_equal(lines_with(&r, "the inputs of 1") + lines_with(&r, "the inputs of 2"), 0);
        free(r.bytes);
    }
}

enum { HEADS = 4, WIDE = 8 }; /* K together */

/* What attention does with its values: split into heads, multiplied by scores, joined. shaped: the split's shape is put together
 * from the input's, as exporters do; order: of the axes when heads are joined. */
static void build_attention(struct net *g, bool shaped, const int64_t *order, bool keep)
{
    net_start(g, 17);
    net_in(g, "x", CLQ_DTYPE_F32, DIMS(2, ROWS, K));
    net_in(g, "scores", CLQ_DTYPE_F32, DIMS(2, HEADS, ROWS, ROWS));
    const char *v = net_op(g, "MatMul", "x %s", net_weights(g, -1, 1, DIMS(K, K)));
    v = net_op(g, "Add", "%s %s", net_weights(g, -1, 1, DIMS(K)), v);
    const char *shape = net_ints(g, 4, (int64_t[]){0, 0, HEADS, WIDE});
    if (shaped) {
        const char *all = net_op(g, "Shape", "x"), *front = net_op(g, "Slice", "%s %s %s", all, net_ints(g, 1, (int64_t[]){0}), net_ints(g, 1, (int64_t[]){2}));
        shape = net_op(g, "Concat", "%s %s %s", front, net_ints(g, 1, (int64_t[]){HEADS}), net_ints(g, 1, (int64_t[]){WIDE}));
        net_int(g, "axis", 0);
    }
    const char *split = net_op(g, "Transpose", "%s", net_op(g, "Reshape", "%s %s", v, shape));
    net_list(g, "perm", DIMS(0, 2, 1, 3));
    const char *joined = net_op(g, "Transpose", "%s", net_op(g, "MatMul", "scores %s", split));
    net_list(g, "perm", 4, order);
    joined = net_op(g, "Reshape", "%s %s", joined, net_ints(g, 3, (int64_t[]){0, -1, K}));
    net_out(g, net_op(g, "MatMul", "%s %s", joined, net_weights(g, -1, 1, DIMS(K, H))));
    if (keep) net_out(g, split);
}

/* Which tensor can be scaled; its number in *units, or -1. */
static int find(struct clq_scalable *q, struct clq_units *units, const struct clq_model *m, struct clq_context *ctx, const struct feed *f)
{
    struct clq_error err = {""};
    struct clq_program *p;
    const struct clq_program_options tapped = {.observable = true};
    if (clq_program_compile(&p, ctx, m, f->in, &tapped, &err) != CLQ_OK || clq_units_build(units, m, p, &err) != CLQ_OK) fail_msg("%s", err.text);
    clq_program_free(p);
    for (int t = 0; t < units->n_tensors; t++)
        if (clq_scalable_find(q, m, units, t)) return t;
    return -1;
}

static void test_attention(void **state)
{
    (void)state;
    static const int64_t heads[] = {0, 2, 1, 3}, columns[] = {0, 3, 1, 2};
    clq_context *ctx = net_context(1, NULL);
    for (int kind = 0; kind < 4; kind++) {
        struct net g;
        struct feed f;
        struct clq_model m = {0};
        struct clq_scalable q;
        struct clq_units units;
        build_attention(&g, kind == 1, kind == 2 ? columns : heads, kind == 3);
        net_simplified(&m, &g);
        feed_start(&f, &g, 1, -1, 1);
        int t = find(&q, &units, &m, ctx, &f);
        assert_int_equal(t >= 0, kind < 2); /* joined another way, or read by others, it cannot be */
        if (t >= 0) {
            float scale[K];
            struct feed other = f;
            for (int c = 0; c < K; c++) scale[c] = net_uniform(&g, 0.1f, 8);
            net_run(&f, ctx, &m, NULL, NULL);
            assert_int_equal(clq_scalable_apply(&m, &units, &q, scale, &g.err), CLQ_OK);
            net_run(&other, ctx, &m, NULL, NULL);
            const float *a = f.out[0].data, *b = other.out[0].data;
            for (int i = 0; i < 2 * ROWS * H; i++) assert_true(fabsf(a[i] - b[i]) <= 1e-4f * 40); /* of sums of about 40 */
            feed_drop(&other, false);
        }
        feed_drop(&f, true);
        clq_units_free(&units);
        clq_model_release(&m);
        net_end(&g);
    }
    clq_context_free(ctx);
}

static void test_replay(void **state)
{
    (void)state;
    const char *path = scratch("normalized.onnx"), *data = scratch("scaling.npy"), *plan = scratch("scaled.plan.json"), *again = scratch("again.plan.json");
    struct ran a, b;
    build(path, true, false);
    write_data(data);
    static const char *const modes[] = {"int8", "int8-dynamic", "int4-g16"};
    for (int i = 0; i < 3; i++) {
        quantize(&a, &(struct run){.model = path, .data = data, .threads = 2, .options = {.uniform = modes[i], .scaling = "auto"}}, plan);
        must(&a);
        for (int round = 0; round < 2; round++) {
            struct run run = {.model = path, .data = data, .threads = 1, .isa = round ? NULL : "ref", .options = {.plan_path = round ? again : plan}, .samples = 5};
            quantize(&b, &run, round ? NULL : again);
            must(&b);
            assert_int_equal(a.n, b.n);
            assert_memory_equal(a.bytes, b.bytes, a.n);
            free(b.bytes);
        }
        free(a.bytes);
    }
    struct clq_plan_data p;
    struct clq_error err = {""};
    char *text;
    size_t n;
    assert_int_equal(clq_plan_read(&p, plan, &err), CLQ_OK);
    for (size_t l = 0; l < p.n_layers; l++)
        for (size_t k = 0; k < p.layers[l].n_arrays; k++)
            if (strcmp(p.layers[l].arrays[k].name, "input_scale") == 0) p.layers[l].arrays[k].values[1] = -1;
    assert_int_equal(clq_plan_text(&text, &n, &p, &err), CLQ_OK);
    spit(plan, text, n);
    free(text);
    clq_plan_release(&p);
    quantize(&b, &(struct run){.model = path, .data = data, .threads = 1, .options = {.plan_path = plan}}, NULL);
    assert_int_equal(b.status, CLQ_ERR_INVALID_ARGUMENT);
    assert_non_null(strstr(b.message, "input_scale[1]"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gains), cmocka_unit_test(test_left), cmocka_unit_test(test_two_axes), cmocka_unit_test(test_attention), cmocka_unit_test(test_replay)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
