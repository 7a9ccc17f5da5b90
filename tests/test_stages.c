/* SPDX-License-Identifier: Apache-2.0
 * Shapes that depend on values: programs in stages, and what If, Loop and Scan do with hostile graphs. ONNX's node cases hold
 * the ordinary ones. */
#include <clquant/model.h>

#include "graph_build.h"
#include "runner.h"

static struct clq_graph *body(struct net *g, int n_in, int n_out)
{
    struct clq_graph *b = clq_arena_array(&g->m.arena, 1, sizeof *b);
    assert_non_null(b);
    b->name = "body";
    b->inputs = clq_arena_array(&g->m.arena, (size_t)n_in + 1, sizeof *b->inputs);
    b->outputs = clq_arena_array(&g->m.arena, (size_t)n_out + 1, sizeof *b->outputs);
    assert_true(b->inputs && b->outputs);
    return b;
}

static void body_node(struct net *g, struct clq_graph *b, const char *type, const char *inputs, const char *outputs)
{
    struct clq_node *n = clq_graph_add_node(&g->m, b, "", type, outputs);
    assert_non_null(n);
    net_names(g, inputs, n, false);
    net_names(g, outputs, n, true);
}

static void body_in(struct clq_graph *b, const char *name, clq_dtype dtype)
{
    net_value(&b->inputs[b->n_inputs++], name, dtype, -1, NULL);
}

static void body_out(struct clq_graph *b, const char *name)
{
    net_value(&b->outputs[b->n_outputs++], name, CLQ_DTYPE_NONE, -1, NULL);
}

static void attach(struct net *g, const char *name, struct clq_graph *b)
{
    net_attr(g, name, CLQ_ATTR_GRAPH)->graph = b;
}

static clq_status run(struct clq_runner *r, const clq_tensor *in, clq_tensor *out, int n_out, struct clq_error *err)
{
    err->text[0] = 0;
    memset(out, 0, (size_t)n_out * sizeof *out);
    return clq_runner_run(r, in, out, NULL, NULL, err);
}

static clq_tensor floats(float *data, int64_t n)
{
    return (clq_tensor){.dtype = CLQ_DTYPE_F32, .rank = 1, .shape = {n}, .data = data};
}

static void expect_floats(const clq_tensor *t, int n, const float *want)
{
    size_t have;
    assert_int_equal(t->dtype, CLQ_DTYPE_F32);
    assert_int_equal(clq_tensor_elements(&have, t), CLQ_OK);
    assert_int_equal(have, n);
    for (int i = 0; i < n; i++) assert_true(((const float *)t->data)[i] == want[i]);
}

/* The values other than 0 of relu(x), then their negatives: rows change from run to run, outputs come from three stages. */
static void test_rows(void **state)
{
    (void)state;
    struct net g;
    struct clq_context *ctx = net_context(2, NULL);
    struct clq_runner r;
    clq_tensor in, out[3];
    float x[4] = {1, -2, 3, 4}, again[4] = {-1, 5, 0, -1};
    net_start(&g, 17);
    net_in(&g, "x", CLQ_DTYPE_F32, DIMS(-1));
    net_node(&g, "Relu", "x", "y");
    net_node(&g, "NonZero", "y", "rows");
    net_node(&g, "Transpose", "rows", "index");
    net_node(&g, "GatherND", "y index", "found");
    net_node(&g, "Neg", "found", "minus");
    net_out(&g, "minus");
    net_out(&g, "y");
    net_out(&g, "found");
    clq_runner_start(&r, ctx, &g.m, NULL);
    for (int round = 0; round < 3; round++) {
        in = floats(round == 1 ? again : x, 4);
        assert_int_equal(run(&r, &in, out, 3, &g.err), CLQ_OK);
        if (round == 1) {
            expect_floats(&out[0], 1, (float[]){-5});
            expect_floats(&out[1], 4, (float[]){0, 5, 0, 0});
            expect_floats(&out[2], 1, (float[]){5});
        } else {
            expect_floats(&out[0], 3, (float[]){-1, -3, -4});
            expect_floats(&out[1], 4, (float[]){1, 0, 3, 4});
            expect_floats(&out[2], 3, (float[]){1, 3, 4});
        }
    }
    struct clq_program *p;
    assert_int_equal(clq_runner_program(&p, &r, &in, &g.err), CLQ_OK);
    assert_non_null(p->rest); /* not the whole model */
    clq_runner_free(&r);
    clq_context_free(ctx);
    net_end(&g);
}

/* Values that wait for each other: z is never bound, so each NonZero needs a stage of its own. */
static void test_chain(void **state)
{
    (void)state;
    struct clq_context *ctx = net_context(1, NULL);
    for (int length = 60; length <= 80; length += 20) {
        struct net g;
        struct clq_runner r;
        clq_tensor in[2], out[1];
        float x[1] = {1}, z[1] = {1};
        net_start(&g, 17);
        net_in(&g, "x", CLQ_DTYPE_F32, DIMS(1));
        net_in(&g, "z", CLQ_DTYPE_F32, DIMS(1));
        const char *from = "x";
        for (int i = 0; i < length; i++) {
            const char *rows = net_op(&g, "NonZero", "%s", net_op(&g, "Add", "%s z", from));
            const char *real = net_op(&g, "Cast", "%s", rows);
            net_int(&g, "to", CLQ_DTYPE_F32);
            from = net_op(&g, "ReduceMax", "%s", real);
            net_list(&g, "axes", DIMS(0, 1));
        }
        net_out(&g, from);
        clq_runner_start(&r, ctx, &g.m, NULL);
        in[0] = floats(x, 1);
        in[1] = floats(z, 1);
        clq_status st = run(&r, in, out, 1, &g.err);
        assert_int_equal(st, length < 64 ? CLQ_OK : CLQ_ERR_UNSUPPORTED);
        if (st == CLQ_OK) expect_floats(&out[0], 1, (float[]){0});
        else assert_non_null(strstr(g.err.text, "follow each other"));
        clq_runner_free(&r);
        net_end(&g);
    }
    clq_context_free(ctx);
}

/* Loop: v = v + step, collecting v; carried values swap places, so that an iteration reads what it overwrites. */
static void test_loop(void **state)
{
    (void)state;
    struct net g;
    struct clq_context *ctx = net_context(1, NULL);
    struct clq_runner r;
    clq_tensor in[3], out[3];
    int64_t trips = 5;
    float a[2] = {1, 2}, b[2] = {10, 20};
    net_start(&g, 17);
    net_in(&g, "trips", CLQ_DTYPE_S64, SCALAR);
    net_in(&g, "a", CLQ_DTYPE_F32, DIMS(2));
    net_in(&g, "b", CLQ_DTYPE_F32, DIMS(2));
    net_node(&g, "Loop", "trips - a b", "a_end b_end all");
    struct clq_graph *inner = body(&g, 4, 4);
    body_in(inner, "i", CLQ_DTYPE_S64);
    body_in(inner, "go", CLQ_DTYPE_BOOL);
    body_in(inner, "u", CLQ_DTYPE_F32);
    body_in(inner, "v", CLQ_DTYPE_F32);
    body_node(&g, inner, "Identity", "go", "go_on");
    body_node(&g, inner, "Add", "u v", "sum");
    body_node(&g, inner, "Sub", "sum b", "less"); /* b is the outer one */
    body_out(inner, "go_on");
    body_out(inner, "v");
    body_out(inner, "u");
    body_out(inner, "less");
    attach(&g, "body", inner);
    net_out(&g, "a_end");
    net_out(&g, "b_end");
    net_out(&g, "all");
    clq_runner_start(&r, ctx, &g.m, NULL);
    in[0] = (clq_tensor){.dtype = CLQ_DTYPE_S64, .data = &trips};
    in[1] = floats(a, 2);
    in[2] = floats(b, 2);
    if (run(&r, in, out, 3, &g.err) != CLQ_OK) fail_msg("%s", g.err.text);
    expect_floats(&out[0], 2, b);
    expect_floats(&out[1], 2, a);
    expect_floats(&out[2], 10, (float[]){1, 2, 1, 2, 1, 2, 1, 2, 1, 2});
    trips = 0;
    assert_int_equal(run(&r, in, out, 3, &g.err), CLQ_ERR_UNSUPPORTED); /* what would "all" be? */
    clq_runner_free(&r);
    clq_context_free(ctx);
    net_end(&g);
}

/* A loop without an end, and one that doubles an array for ever. */
static void test_endless(void **state)
{
    (void)state;
#if defined(__SANITIZE_THREAD__)
    skip(); /* one thread, and shadow of gigabytes */
#endif
    struct clq_context *ctx = net_context(1, NULL);
    for (int grows = 0; grows < 2; grows++) {
        struct net g;
        struct clq_runner r;
        clq_tensor in, out[1];
        float x[1] = {1};
        net_start(&g, 17);
        net_in(&g, "x", CLQ_DTYPE_F32, DIMS(1));
        net_node(&g, "Loop", "- - x", "y");
        struct clq_graph *inner = body(&g, 3, 2);
        body_in(inner, "i", CLQ_DTYPE_S64);
        body_in(inner, "go", CLQ_DTYPE_BOOL);
        body_in(inner, "u", CLQ_DTYPE_F32);
        body_node(&g, inner, "Identity", "go", "go_on");
        if (grows) {
            struct clq_node *n = clq_graph_add_node(&g.m, inner, "", "Concat", "w");
            net_names(&g, "u u", n, false);
            net_names(&g, "w", n, true);
            assert_true(clq_node_set_int(&g.m, n, "axis", 0));
        } else body_node(&g, inner, "Neg", "u", "w");
        body_out(inner, "go_on");
        body_out(inner, "w");
        attach(&g, "body", inner);
        net_out(&g, "y");
        clq_runner_start(&r, ctx, &g.m, NULL);
        in = floats(x, 1);
        assert_int_equal(run(&r, &in, out, 1, &g.err), CLQ_ERR_UNSUPPORTED);
        assert_non_null(strstr(g.err.text, grows ? "GiB" : "iterations"));
        clq_runner_free(&r);
        net_end(&g);
    }
    clq_context_free(ctx);
}

/* Loops inside of loops, and branches inside of branches: some depth works, more is refused, nothing recurses. */
static void nest(struct net *g, struct clq_graph *at, int depth, bool loops)
{
    struct clq_graph *inner = body(g, 2, 2);
    const char *mine = clq_arena_printf(&g->m.arena, "s%d_%d", depth, loops), *next = clq_arena_printf(&g->m.arena, "s%d_%d", depth - 1, loops);
    struct clq_node *n = clq_graph_add_node(&g->m, at, "", loops ? "Loop" : "If", mine);
    assert_true(n && mine && next);
    net_names(g, loops ? "one -" : "yes", n, false);
    net_names(g, mine, n, true);
    struct clq_attr *a = clq_node_add_attr(&g->m, n, loops ? "body" : "then_branch", CLQ_ATTR_GRAPH);
    assert_non_null(a);
    a->graph = inner;
    if (loops) {
        body_in(inner, clq_arena_printf(&g->m.arena, "i%d", depth), CLQ_DTYPE_S64);
        body_in(inner, clq_arena_printf(&g->m.arena, "go%d", depth), CLQ_DTYPE_BOOL);
        body_out(inner, inner->inputs[1].name);
    }
    if (depth > 0) nest(g, inner, depth - 1, loops);
    else body_node(g, inner, "Identity", "x", next);
    body_out(inner, next);
}

static void test_depth(void **state)
{
    (void)state;
    struct clq_context *ctx = net_context(1, NULL);
    static const struct {
        int depth;
        bool loops;
        clq_status expected;
    } cases[] = {{5, true, CLQ_OK}, {30, true, CLQ_ERR_UNSUPPORTED}, {30, false, CLQ_OK}, {100, false, CLQ_ERR_UNSUPPORTED}};
    for (int k = 0; k < 4; k++) {
        struct net g;
        struct clq_runner r;
        clq_tensor in, out[1];
        float x[2] = {3, 4};
        int64_t one = 1;
        uint8_t yes = 1;
        net_start(&g, 17);
        net_in(&g, "x", CLQ_DTYPE_F32, DIMS(2));
        net_const(&g, "one", CLQ_DTYPE_S64, SCALAR, &one);
        net_const(&g, "yes", CLQ_DTYPE_BOOL, SCALAR, &yes);
        nest(&g, &g.m.graph, cases[k].depth, cases[k].loops);
        net_out(&g, clq_arena_printf(&g.m.arena, "s%d_%d", cases[k].depth, cases[k].loops));
        clq_runner_start(&r, ctx, &g.m, NULL);
        in = floats(x, 2);
        clq_status st = run(&r, &in, out, 1, &g.err);
        if (st != cases[k].expected) fail_msg("depth %d: %s", cases[k].depth, g.err.text);
        if (st == CLQ_OK) assert_int_equal(out[0].dtype, CLQ_DTYPE_F32);
        clq_runner_free(&r);
        net_end(&g);
    }
    clq_context_free(ctx);
}

static int find_step(clq_session_step *out, const clq_session *session, const char *op)
{
    int i = 0;
    while (clq_session_get_step(out, session, i) == CLQ_OK && strcmp(out->op, op) != 0) i++;
    return clq_session_get_step(out, session, i) == CLQ_OK ? i : -1;
}

/* A session's steps: those of all stages, in order, with the times of the runs that were asked for alone. */
static void test_steps(void **state)
{
    (void)state;
    struct net g;
    struct clq_context *ctx = net_context(2, NULL);
    clq_session *session;
    clq_session_step relu, neg;
    clq_tensor in, out[1];
    float x[4] = {1, -2, 3, 4};
    net_start(&g, 17);
    net_in(&g, "x", CLQ_DTYPE_F32, DIMS(-1));
    net_node(&g, "Relu", "x", "y");
    net_node(&g, "NonZero", "y", "rows");
    net_node(&g, "Transpose", "rows", "index");
    net_node(&g, "Sqrt", "y", "root"); /* decides nothing, so that what reads it is not folded */
    net_node(&g, "GatherND", "root index", "found");
    net_node(&g, "Neg", "found", "minus");
    net_out(&g, "minus");
    assert_int_equal(clq_session_create(&session, ctx, &g.m), CLQ_OK);
    assert_int_equal(clq_session_get_step(&relu, session, 0), CLQ_ERR_INVALID_ARGUMENT);
    for (int runs = 0; runs < 4; runs++) {
        in = floats(x, 4);
        memset(out, 0, sizeof out);
        assert_int_equal(clq_session_time_steps(session, runs > 1), CLQ_OK);
        assert_int_equal(clq_session_run(session, &in, 1, out, 1), CLQ_OK);
        int first = find_step(&relu, session, "Relu"), last = find_step(&neg, session, "Neg");
        assert_true(first >= 0 && last > first);
        assert_int_equal(relu.runs, runs > 1 ? runs - 1 : 0);
        assert_int_equal(neg.runs, relu.runs);
        assert_true((relu.seconds > 0) == (runs > 1) && (neg.seconds > 0) == (runs > 1));
        assert_int_equal(neg.rank, 1);
        assert_int_equal(neg.shape[0], 3);
        assert_true(neg.bytes == 24 && neg.macs == 0 && relu.bytes == 32);
        assert_int_equal(clq_session_get_step(&neg, session, last + 1), CLQ_ERR_INVALID_ARGUMENT);
        assert_int_equal(clq_session_get_step(&neg, session, -1), CLQ_ERR_INVALID_ARGUMENT);
    }
    clq_session_free(session);
    clq_context_free(ctx);
    net_end(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_steps), cmocka_unit_test(test_rows), cmocka_unit_test(test_chain), cmocka_unit_test(test_loop),
                                       cmocka_unit_test(test_endless), cmocka_unit_test(test_depth)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
