/* SPDX-License-Identifier: Apache-2.0
 * The model as data: growing lists, replaced attributes, deep copies, and the order of nodes with captures, cycles
 * and values that are missing or doubled. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/model.h"

static struct clq_graph *nested(struct clq_model *m, struct clq_node *node, const char *name)
{
    struct clq_attr *a = clq_node_add_attr(m, node, name, CLQ_ATTR_GRAPH);
    a->graph = clq_arena_array(&m->arena, 1, sizeof *a->graph);
    a->graph->name = name;
    return a->graph;
}

static void io(struct clq_model *m, struct clq_graph *g, const char *in, const char *out)
{
    struct clq_value_info *v = clq_arena_array(&m->arena, 2, sizeof *v);
    v[0] = (struct clq_value_info){.name = in, .rank = -1};
    v[1] = (struct clq_value_info){.name = out, .rank = -1};
    for (int i = 0; i < CLQ_MAX_RANK; i++) v[0].symbol[i] = v[1].symbol[i] = "";
    g->inputs = v;
    g->n_inputs = in[0] ? 1 : 0;
    g->outputs = v + 1;
    g->n_outputs = 1;
}

/* One node "out" from "a,b,c". */
static void node(struct clq_model *m, struct clq_graph *g, const char *out, const char *in)
{
    struct clq_node *n = clq_graph_add_node(m, g, "", "Op", out);
    assert_non_null(n);
    assert_true(clq_node_add_output(m, n, out));
    for (const char *p = in; *p;) {
        char name[32];
        size_t k = strcspn(p, ",");
        snprintf(name, sizeof name, "%.*s", (int)k, p);
        assert_true(clq_node_add_input(m, n, name));
        p += k + (p[k] == ',');
    }
}

static const char *order(const struct clq_graph *g)
{
    static char text[256];
    text[0] = 0;
    for (int i = 0; i < g->n_nodes; i++) {
        strcat(text, i ? " " : "");
        strcat(text, g->nodes[i].outputs[0]);
    }
    return text;
}

static void growing(void **state)
{
    (void)state;
    struct clq_model m = {0};
    static const float data[2] = {1, 2};
    int64_t shape[1] = {2};
    for (int i = 0; i < 1000; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        node(&m, &m.graph, name, i ? "x,y" : "x");
        assert_non_null(clq_graph_add_const(&m, &m.graph, name, CLQ_DTYPE_F32, 1, shape, data, sizeof data, i & 1));
    }
    assert_int_equal(m.graph.n_nodes, 1000);
    assert_string_equal(m.graph.nodes[999].name, "n999");
    assert_string_equal(m.graph.nodes[500].inputs[1], "y");
    assert_ptr_equal(clq_graph_const(&m.graph, "n10")->data, data);
    assert_ptr_not_equal(clq_graph_const(&m.graph, "n11")->data, data);
    assert_memory_equal(clq_graph_const(&m.graph, "n11")->data, data, sizeof data);
    assert_null(clq_graph_const(&m.graph, "none"));
    /* A pass may put an array of its own, without room, in place of the list. */
    struct clq_node *exact = clq_arena_array(&m.arena, 16, sizeof *exact);
    memcpy(exact, m.graph.nodes, 16 * sizeof *exact);
    m.graph.nodes = exact;
    m.graph.n_nodes = 16;
    node(&m, &m.graph, "late", "x");
    assert_ptr_not_equal(m.graph.nodes, exact);
    assert_int_equal(m.graph.n_nodes, 17);
    clq_model_release(&m);
    assert_null(m.graph.nodes);
}

static void attributes(void **state)
{
    (void)state;
    struct clq_model m = {0};
    struct clq_node *n = clq_graph_add_node(&m, &m.graph, "", "Op", NULL);
    assert_string_equal(n->name, "");
    assert_true(clq_node_set_int(&m, n, "axis", 3));
    assert_true(clq_node_set_int(&m, n, "axis", -1));
    assert_int_equal(n->n_attrs, 1);
    assert_int_equal(clq_node_int(n, "axis", 9), -1);
    assert_int_equal(clq_node_int(n, "none", 9), 9);
    assert_true(clq_node_float(n, "axis", 0.5f) == 0.5f);
    assert_string_equal(clq_node_string(n, "axis", "text"), "text");
    struct clq_attr *a = clq_node_add_attr(&m, n, "axis", CLQ_ATTR_FLOAT);
    a->f = 2.0f;
    assert_int_equal(n->n_attrs, 1);
    assert_true(clq_node_float(n, "axis", 0) == 2.0f);
    clq_model_release(&m);
}

static void sorted(void **state)
{
    (void)state;
    static const struct {
        const char *nodes[6][2]; /* output, inputs */
        clq_status status;
        const char *expected; /* the order, or a part of the message */
    } cases[] = {
        {{{"a", "x"}, {"b", "a"}, {"y", "b"}}, CLQ_OK, "a b y"},
        {{{"y", "b"}, {"b", "a"}, {"a", "x"}}, CLQ_OK, "a b y"},
        {{{"c", "x"}, {"y", "b,c"}, {"b", "a"}, {"a", "x"}}, CLQ_OK, "c a b y"},
        {{{"b", "x"}, {"a", "x"}, {"y", "a,b"}}, CLQ_OK, "b a y"},
        {{{"y", "x,x,"}}, CLQ_OK, "y"},
        {{{"a", "b"}, {"b", "a"}, {"y", "a"}}, CLQ_ERR_FORMAT, "depends on itself"},
        {{{"y", "y"}}, CLQ_ERR_FORMAT, "'y' depends on itself"},
        {{{"y", "ghost"}}, CLQ_ERR_FORMAT, "'ghost'"},
        {{{"y", "x"}, {"y", "x"}}, CLQ_ERR_FORMAT, "'y' is produced twice"},
        {{{"x", "x"}, {"y", "x"}}, CLQ_ERR_FORMAT, "'x' is produced twice"},
        {{{"a", "x"}}, CLQ_ERR_FORMAT, "graph output 'y'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct clq_model m = {0};
        struct clq_error err = {""};
        io(&m, &m.graph, "x", "y");
        for (int k = 0; k < 6 && cases[i].nodes[k][0]; k++) node(&m, &m.graph, cases[i].nodes[k][0], cases[i].nodes[k][1]);
        clq_status got = clq_graph_sort(&m, &m.graph, &err);
        if (got != cases[i].status) fail_msg("case %zu: %s (%s)", i, clq_status_name(got), err.text);
        if (got == CLQ_OK)
            assert_string_equal(order(&m.graph), cases[i].expected);
        else if (!strstr(err.text, cases[i].expected))
            fail_msg("case %zu: message '%s'", i, err.text);
        clq_model_release(&m);
    }
}

/* An If whose branch, two levels down, reads a value of the outermost graph. */
static void captures(void **state)
{
    (void)state;
    struct clq_model m = {0};
    struct clq_error err = {""};
    io(&m, &m.graph, "x", "y");
    node(&m, &m.graph, "y", "x");
    struct clq_graph *branch = nested(&m, &m.graph.nodes[0], "then_branch");
    io(&m, branch, "", "inner");
    node(&m, branch, "inner", "local");
    node(&m, branch, "local", "x");
    struct clq_graph *deep = nested(&m, &branch->nodes[1], "body");
    io(&m, deep, "arg", "late");
    node(&m, deep, "z", "arg,local2");
    node(&m, &m.graph, "local2", "x");
    node(&m, &m.graph, "late", "local2");
    assert_int_equal(clq_graph_sort(&m, branch, &err), CLQ_OK);
    assert_string_equal(order(branch), "local inner");
    assert_int_equal(clq_graph_sort(&m, deep, &err), CLQ_OK);
    if (clq_graph_sort(&m, &m.graph, &err) != CLQ_OK) fail_msg("%s", err.text);
    assert_string_equal(order(&m.graph), "local2 late y");
    deep->outputs[0].name = "nowhere";
    assert_int_equal(clq_graph_sort(&m, &m.graph, &err), CLQ_ERR_FORMAT);
    assert_non_null(strstr(err.text, "nowhere"));
    clq_model_release(&m);
}

/* A chain of 200,000 nodes in the worst order: neither recursion nor quadratic time. */
static void long_chain(void **state)
{
    (void)state;
    enum { N = 200000 };
    struct clq_model m = {0};
    io(&m, &m.graph, "v0", "v200000");
    for (int i = N; i > 0; i--) {
        char out[16], in[16];
        snprintf(out, sizeof out, "v%d", i);
        snprintf(in, sizeof in, "v%d", i - 1);
        node(&m, &m.graph, out, in);
    }
    assert_int_equal(clq_graph_sort(&m, &m.graph, NULL), CLQ_OK);
    assert_string_equal(m.graph.nodes[0].outputs[0], "v1");
    assert_string_equal(m.graph.nodes[N - 1].outputs[0], "v200000");
    clq_model_release(&m);
}

static void cloned(void **state)
{
    (void)state;
    struct clq_model m = {.ir_version = 8, .producer = "test", .n_opsets = 1}, copy;
    static struct clq_opset opset = {"", 17};
    static const float data[2] = {1, 2};
    static const float floats[2] = {3, 4};
    int64_t shape[1] = {2};
    m.opsets = &opset;
    io(&m, &m.graph, "x", "y");
    m.graph.inputs[0].symbol[0] = "batch";
    node(&m, &m.graph, "y", "x,w");
    assert_non_null(clq_graph_add_const(&m, &m.graph, "w", CLQ_DTYPE_F32, 1, shape, data, sizeof data, true));
    struct clq_attr *a = clq_node_add_attr(&m, &m.graph.nodes[0], "f", CLQ_ATTR_FLOATS);
    a->n = 2;
    a->floats = floats;
    a = clq_node_add_attr(&m, &m.graph.nodes[0], "s", CLQ_ATTR_STRING);
    a->s = "with\0zero";
    a->s_len = 9;
    struct clq_graph *branch = nested(&m, &m.graph.nodes[0], "body");
    io(&m, branch, "", "inner");
    node(&m, branch, "inner", "x");
    assert_int_equal(clq_model_clone(&copy, &m, NULL), CLQ_OK);
    const void *shared = clq_graph_const(&m.graph, "w")->data;
    assert_ptr_equal(clq_graph_const(&copy.graph, "w")->data, shared);
    const struct clq_node *n = &copy.graph.nodes[0];
    assert_ptr_not_equal(n, &m.graph.nodes[0]);
    assert_ptr_not_equal(n->inputs[0], m.graph.nodes[0].inputs[0]);
    assert_string_equal(n->inputs[1], "w");
    assert_string_equal(copy.graph.inputs[0].symbol[0], "batch");
    assert_int_equal(clq_model_opset(&copy, ""), 17);
    assert_int_equal(clq_model_opset(&copy, "x"), 0);
    assert_true(clq_node_attr(n, "f")->floats[1] == 4.0f && clq_node_attr(n, "f")->floats != floats);
    assert_memory_equal(clq_node_attr(n, "s")->s, "with\0zero", 10);
    struct clq_graph *twin = clq_node_attr(n, "body")->graph;
    assert_ptr_not_equal(twin, branch);
    assert_string_equal(twin->nodes[0].outputs[0], "inner");
    node(&copy, &copy.graph, "more", "y");
    node(&copy, twin, "more", "inner");
    assert_int_equal(m.graph.n_nodes, 1);
    assert_int_equal(branch->n_nodes, 1);
    clq_model_release(&copy);
    assert_string_equal(m.graph.nodes[0].op_type, "Op");
    clq_model_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(growing), cmocka_unit_test(attributes), cmocka_unit_test(sorted),
                                       cmocka_unit_test(captures), cmocka_unit_test(long_chain), cmocka_unit_test(cloned)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
