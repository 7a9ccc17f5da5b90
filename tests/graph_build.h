/* SPDX-License-Identifier: Apache-2.0
 * Small models from literals, and the two ways to run them: operator by operator (the oracle) and lowered. Value names are
 * given as one string with blanks between them, "-" for an absent input; attributes go to the node added last. */
#ifndef CLQ_TESTS_GRAPH_BUILD_H
#define CLQ_TESTS_GRAPH_BUILD_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <clquant/quantize.h>

#include "graph/program.h"
#include "graph/simplify.h"

enum { NET_MOST = 16 }; /* inputs, and outputs */

struct net {
    struct clq_model m;
    struct clq_error err;
    uint32_t seed;
    int made; /* names given */
};

#define DIMS(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__}
#define SCALAR 0, NULL

static inline void net_start(struct net *g, int64_t opset)
{
    memset(g, 0, sizeof *g);
    g->seed = 12345;
    g->m.ir_version = 8;
    g->m.graph.name = "net";
    g->m.producer = "tests";
    g->m.opsets = clq_arena_array(&g->m.arena, 2, sizeof *g->m.opsets);
    assert_non_null(g->m.opsets);
    g->m.opsets[0] = (struct clq_opset){"", opset};
    g->m.n_opsets = 1;
    g->m.graph.inputs = clq_arena_array(&g->m.arena, NET_MOST, sizeof *g->m.graph.inputs);
    g->m.graph.outputs = clq_arena_array(&g->m.arena, NET_MOST, sizeof *g->m.graph.outputs);
    assert_non_null(g->m.graph.inputs);
    assert_non_null(g->m.graph.outputs);
}

static inline void net_end(struct net *g)
{
    clq_model_release(&g->m);
}

static inline uint32_t net_random(struct net *g)
{
    g->seed = g->seed * 1664525u + 1013904223u;
    return g->seed >> 8;
}

/* Uniform in lo .. hi. */
static inline float net_uniform(struct net *g, float lo, float hi)
{
    return lo + (hi - lo) * (float)(net_random(g) & 0xffff) / 65535.0f;
}

static inline const char *net_name(struct net *g, const char *stem)
{
    const char *name = clq_arena_printf(&g->m.arena, "%s%d", stem, g->made++);
    assert_non_null(name);
    return name;
}

static inline void net_value(struct clq_value_info *v, const char *name, clq_dtype dtype, int rank, const int64_t *shape)
{
    *v = (struct clq_value_info){.name = name, .dtype = dtype, .rank = rank};
    for (int d = 0; d < CLQ_MAX_RANK; d++) v->symbol[d] = "";
    for (int d = 0; d < rank; d++) v->shape[d] = shape[d];
}

static inline void net_in(struct net *g, const char *name, clq_dtype dtype, int rank, const int64_t *shape)
{
    assert_true(g->m.graph.n_inputs < NET_MOST);
    net_value(&g->m.graph.inputs[g->m.graph.n_inputs++], name, dtype, rank, shape);
}

static inline void net_out(struct net *g, const char *name)
{
    assert_true(g->m.graph.n_outputs < NET_MOST);
    net_value(&g->m.graph.outputs[g->m.graph.n_outputs++], name, CLQ_DTYPE_NONE, -1, NULL);
}

static inline void net_out_f32(struct net *g, const char *name, int rank, const int64_t *shape)
{
    assert_true(g->m.graph.n_outputs < NET_MOST);
    net_value(&g->m.graph.outputs[g->m.graph.n_outputs++], name, CLQ_DTYPE_F32, rank, shape);
}

static inline size_t net_count(int rank, const int64_t *shape)
{
    size_t n = 1;
    for (int d = 0; d < rank; d++) n *= (size_t)shape[d];
    return n;
}

static inline const char *net_const(struct net *g, const char *name, clq_dtype dtype, int rank, const int64_t *shape, const void *data)
{
    size_t bytes = (net_count(rank, shape) * clq_dtype_bits(dtype) + 7) / 8;
    const struct clq_const *c = clq_graph_add_const(&g->m, &g->m.graph, name ? name : net_name(g, "c"), dtype, rank, shape, data, bytes, true);
    assert_non_null(c);
    return c->name;
}

static inline const char *net_ints(struct net *g, int n, const int64_t *v)
{
    int64_t shape = n;
    return net_const(g, NULL, CLQ_DTYPE_S64, 1, &shape, v);
}

static inline const char *net_float(struct net *g, float v)
{
    return net_const(g, NULL, CLQ_DTYPE_F32, SCALAR, &v);
}

static inline const char *net_weights(struct net *g, float lo, float hi, int rank, const int64_t *shape)
{
    size_t n = net_count(rank, shape);
    float *w = malloc((n + 1) * sizeof *w);
    assert_non_null(w);
    for (size_t i = 0; i < n; i++) w[i] = net_uniform(g, lo, hi);
    const char *name = net_const(g, NULL, CLQ_DTYPE_F32, rank, shape, w);
    free(w);
    return name;
}

static inline void net_names(struct net *g, const char *list, struct clq_node *n, bool output)
{
    while (*list) {
        size_t len = strcspn(list, " ");
        const char *name = len == 1 && *list == '-' ? "" : clq_arena_bytes(&g->m.arena, list, len);
        assert_true(output ? clq_node_add_output(&g->m, n, name) : clq_node_add_input(&g->m, n, name));
        list += len + (list[len] == ' ');
    }
}

static inline void net_node(struct net *g, const char *type, const char *inputs, const char *outputs)
{
    char first[80];
    snprintf(first, sizeof first, "%.*s_node", (int)strcspn(outputs, " "), outputs);
    struct clq_node *n = clq_graph_add_node(&g->m, &g->m.graph, "", type, first);
    assert_non_null(n);
    net_names(g, inputs, n, false);
    net_names(g, outputs, n, true);
}

/* One node with one new output; inputs are formatted. */
static inline const char *net_op(struct net *g, const char *type, const char *format, ...) __attribute__((format(printf, 3, 4)));
static inline const char *net_op(struct net *g, const char *type, const char *format, ...)
{
    char inputs[400];
    va_list args;
    va_start(args, format);
    vsnprintf(inputs, sizeof inputs, format, args);
    va_end(args);
    const char *out = net_name(g, "v");
    net_node(g, type, inputs, out);
    return out;
}

static inline struct clq_attr *net_attr(struct net *g, const char *name, enum clq_attr_type type)
{
    struct clq_attr *a = clq_node_add_attr(&g->m, &g->m.graph.nodes[g->m.graph.n_nodes - 1], name, type);
    assert_non_null(a);
    return a;
}

static inline void net_int(struct net *g, const char *name, int64_t v)
{
    net_attr(g, name, CLQ_ATTR_INT)->i = v;
}

static inline void net_f(struct net *g, const char *name, float v)
{
    net_attr(g, name, CLQ_ATTR_FLOAT)->f = v;
}

static inline void net_text(struct net *g, const char *name, const char *v)
{
    struct clq_attr *a = net_attr(g, name, CLQ_ATTR_STRING);
    a->s = v;
    a->s_len = strlen(v);
}

static inline void net_list(struct net *g, const char *name, int n, const int64_t *v)
{
    struct clq_attr *a = net_attr(g, name, CLQ_ATTR_INTS);
    int64_t *own = clq_arena_array(&g->m.arena, (size_t)n, sizeof *own);
    assert_non_null(own);
    memcpy(own, v, (size_t)n * sizeof *own);
    a->ints = own;
    a->n = (size_t)n;
}

static inline void net_floats(struct net *g, const char *name, int n, const float *v)
{
    struct clq_attr *a = net_attr(g, name, CLQ_ATTR_FLOATS);
    float *own = clq_arena_array(&g->m.arena, (size_t)n, sizeof *own);
    assert_non_null(own);
    memcpy(own, v, (size_t)n * sizeof *own);
    a->floats = own;
    a->n = (size_t)n;
}

/* A convolution with random weights; pads are the same on all sides. */
static inline const char *net_conv(struct net *g, const char *x, int64_t co, int64_t ci, int64_t groups, int64_t k, int64_t stride, int64_t pad)
{
    float r = 1.0f / sqrtf((float)(ci / groups * k * k));
    const char *w = net_weights(g, -r, r, DIMS(co, ci / groups, k, k)), *b = net_weights(g, -0.2f, 0.2f, DIMS(co));
    const char *y = net_op(g, "Conv", "%s %s %s", x, w, b);
    net_list(g, "strides", DIMS(stride, stride));
    net_list(g, "pads", DIMS(pad, pad, pad, pad));
    if (groups > 1) net_int(g, "group", groups);
    return y;
}

/* x -> QuantizeLinear -> DequantizeLinear; returns the second's output. */
static inline const char *net_qdq(struct net *g, const char *x, float scale, int zero, clq_dtype dtype)
{
    uint8_t code = (uint8_t)zero;
    const char *s = net_float(g, scale), *z = net_const(g, NULL, dtype, SCALAR, &code);
    const char *q = net_op(g, "QuantizeLinear", "%s %s %s", x, s, z);
    return net_op(g, "DequantizeLinear", "%s %s %s", q, s, z);
}

/* ---- Running ---- */
struct feed {
    clq_tensor in[NET_MOST], out[NET_MOST];
    int n_in, n_out;
};

/* Random inputs of the model's types; dim replaces every unknown dimension. */
static inline void feed_start(struct feed *f, struct net *g, int64_t dim, float lo, float hi)
{
    memset(f, 0, sizeof *f);
    f->n_in = g->m.graph.n_inputs;
    f->n_out = g->m.graph.n_outputs;
    assert_true(f->n_in <= NET_MOST && f->n_out <= NET_MOST); /* a model from a file has as many as it likes */
    for (int i = 0; i < f->n_in; i++) {
        const struct clq_value_info *v = &g->m.graph.inputs[i];
        clq_tensor *t = &f->in[i];
        *t = (clq_tensor){.dtype = v->dtype, .rank = v->rank};
        for (int d = 0; d < t->rank; d++) t->shape[d] = v->shape[d] < 0 ? dim : v->shape[d];
        size_t n = net_count(t->rank, t->shape);
        t->data = aligned_alloc(64, (n * 8 + 127) / 64 * 64);
        assert_non_null(t->data);
        for (size_t k = 0; k < n; k++) {
            if (t->dtype == CLQ_DTYPE_F32) ((float *)t->data)[k] = net_uniform(g, lo, hi);
            else if (t->dtype == CLQ_DTYPE_S64) ((int64_t *)t->data)[k] = net_random(g) % 4;
            else if (t->dtype == CLQ_DTYPE_S32) ((int32_t *)t->data)[k] = (int32_t)(net_random(g) % 4);
            else if (t->dtype == CLQ_DTYPE_BOOL) ((uint8_t *)t->data)[k] = net_random(g) & 1;
            else ((uint8_t *)t->data)[k] = (uint8_t)net_random(g);
        }
    }
}

static inline void feed_drop(struct feed *f, bool inputs)
{
    for (int i = 0; i < f->n_out; i++) free(f->out[i].data);
    for (int i = 0; inputs && i < f->n_in; i++) free(f->in[i].data);
}

struct kinds {
    int n[CLQ_STEP_LAYOUT + 1];
};

static inline int kinds_integer(const struct kinds *k)
{
    int n = 0;
    for (int i = CLQ_STEP_QCONV; i <= CLQ_STEP_QMOVE; i++) n += k->n[i];
    return n;
}

/* Steps that still compute in float32. */
static inline int kinds_float(const struct kinds *k)
{
    int n = k->n[CLQ_STEP_OP];
    for (int i = CLQ_STEP_CONV; i <= CLQ_STEP_LAYERNORM; i++) n += k->n[i];
    return n;
}

/* Compiles, runs twice (the second must give the same bytes) and copies the outputs into f->out. */
static inline void net_run(struct feed *f, struct clq_context *ctx, const struct clq_model *m, const struct clq_program_options *o, struct kinds *kinds)
{
    struct clq_program *p;
    struct clq_error err = {""};
    clq_tensor again[NET_MOST];
    if (clq_program_compile(&p, ctx, m, f->in, o, &err) != CLQ_OK) fail_msg("%s", err.text);
    memset(f->out, 0, sizeof f->out);
    if (clq_program_run(p, f->in, f->out, NULL, NULL, &err) != CLQ_OK) fail_msg("%s", err.text);
    for (int i = 0; i < f->n_out; i++) {
        size_t bytes;
        assert_int_equal(clq_tensor_bytes(&bytes, &f->out[i]), CLQ_OK);
        void *copy = malloc(bytes + 1);
        assert_non_null(copy);
        memcpy(copy, f->out[i].data, bytes);
        f->out[i].data = copy;
    }
    memset(again, 0, sizeof again);
    if (clq_program_run(p, f->in, again, NULL, NULL, &err) != CLQ_OK) fail_msg("%s", err.text);
    for (int i = 0; i < f->n_out; i++) {
        size_t bytes;
        assert_int_equal(clq_tensor_bytes(&bytes, &again[i]), CLQ_OK);
        assert_memory_equal(again[i].data, f->out[i].data, bytes);
    }
    if (kinds) memset(kinds, 0, sizeof *kinds);
    for (int i = 0; kinds && i < p->n_steps; i++)
        if (!p->steps[i].dead) kinds->n[p->steps[i].kind]++;
    clq_program_free(p);
}

static inline struct clq_context *net_context(int threads, const char *isa)
{
    clq_context *ctx;
    clq_context_options o = {.threads = threads, .isa = isa};
    assert_int_equal(clq_context_create(&ctx, &o), CLQ_OK);
    return ctx;
}

/* A clone of the model after the passes that every session runs. */
static inline void net_simplified(struct clq_model *out, struct net *g)
{
    if (clq_model_clone(out, &g->m, &g->err) != CLQ_OK || clq_model_simplify(out, &g->err) != CLQ_OK) fail_msg("%s", g->err.text);
}

static inline void net_sort(struct net *g)
{
    if (clq_graph_sort(&g->m, &g->m.graph, &g->err) != CLQ_OK) fail_msg("%s", g->err.text);
}

#endif
