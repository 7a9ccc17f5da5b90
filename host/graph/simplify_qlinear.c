/* SPDX-License-Identifier: Apache-2.0
 * Spells QLinearConv, QLinearMatMul and com.microsoft's operators on codes as DequantizeLinear, operator, QuantizeLinear, so
 * that one integer path serves both forms of a quantized file. */
#include <string.h>

#include "graph/simplify.h"

static clq_status no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

/* Adds a Q or DQ node; axis < 0 leaves it out. Returns the new value's name, or NULL. */
static const char *add_linear(struct clq_model *m, const char *type, const char *x, const char *scale, const char *zero, const char *out, int axis)
{
    if (!out) return NULL;
    struct clq_node *n = clq_graph_add_node(m, &m->graph, "", type, out);
    bool ok = n && clq_node_add_input(m, n, x) && clq_node_add_input(m, n, scale) && (zero[0] == 0 || clq_node_add_input(m, n, zero)) &&
              clq_node_add_output(m, n, out) && (axis < 0 || clq_node_set_int(m, n, "axis", axis));
    return ok ? out : NULL;
}

/* The bias codes have the scale x_scale * w_scale: written out as a constant. */
static clq_status bias_scale(struct clq_model *m, const char *base, const char *xs, const char *ws, const char **out, struct clq_error *err)
{
    const struct clq_const *x = clq_graph_const(&m->graph, xs), *w = clq_graph_const(&m->graph, ws);
    *out = NULL;
    if (!x || !w || x->dtype != CLQ_DTYPE_F32 || w->dtype != CLQ_DTYPE_F32 || x->bytes != sizeof(float)) return CLQ_OK;
    size_t n = w->bytes / sizeof(float);
    float *v = clq_arena_array(&m->arena, n, sizeof *v);
    const char *name = clq_arena_printf(&m->arena, "%s_bias_scale", base);
    if (!v || !name) return no_memory(err);
    for (size_t i = 0; i < n; i++) v[i] = (float)((double)*(const float *)x->data * (double)((const float *)w->data)[i]);
    if (!clq_graph_add_const(m, &m->graph, name, CLQ_DTYPE_F32, w->rank, w->shape, v, w->bytes, false)) return no_memory(err);
    *out = name;
    return CLQ_OK;
}

static clq_status rewrite(struct clq_model *m, int i, struct clq_error *err)
{
    struct clq_node n = m->graph.nodes[i]; /* a copy: adding nodes moves the list */
    bool conv = clq_node_is(&n, "QLinearConv");
    if (n.n_inputs < 8) return CLQ_OK;
    const char *base = n.outputs[0], *bias = conv && n.n_inputs > 8 ? n.inputs[8] : "", *bscale = NULL;
    const struct clq_const *ws = clq_graph_const(&m->graph, n.inputs[4]);
    int per_axis = ws && ws->rank == 1 && ws->shape[0] > 1;
    if (!conv && (per_axis || !ws)) return CLQ_OK; /* row and column scales: the operator itself */
    if (bias[0]) {
        CLQ_TRY(bias_scale(m, base, n.inputs[1], n.inputs[4], &bscale, err));
        if (!bscale) return CLQ_OK;
    }
    struct clq_arena *a = &m->arena;
    const char *x = add_linear(m, "DequantizeLinear", n.inputs[0], n.inputs[1], n.inputs[2], clq_arena_printf(a, "%s_x_real", base), -1);
    const char *w = add_linear(m, "DequantizeLinear", n.inputs[3], n.inputs[4], n.inputs[5], clq_arena_printf(a, "%s_w_real", base), per_axis ? 0 : -1);
    const char *b = bias[0] ? add_linear(m, "DequantizeLinear", bias, bscale, "", clq_arena_printf(a, "%s_b_real", base), per_axis ? 0 : -1) : "";
    const char *y = clq_arena_printf(a, "%s_real", base);
    if (!x || !w || !b || !y || !add_linear(m, "QuantizeLinear", y, n.inputs[6], n.inputs[7], base, -1)) return no_memory(err);
    struct clq_node *p = &m->graph.nodes[i];
    p->op_type = conv ? "Conv" : "MatMul";
    p->inputs[0] = x;
    p->inputs[1] = w;
    p->n_inputs = 2;
    p->outputs[0] = y;
    return bias[0] && !clq_node_add_input(m, p, b) ? no_memory(err) : CLQ_OK;
}

/* com.microsoft's operators on codes: operands are triples of codes, scale and zero point from input `first` on; 0 operands:
 * all triples that there are. */
static const struct form {
    const char *type, *standard;
    int operands, first, scale, zero;
} forms[] = {
    {"QLinearAdd", "Add", 2, 0, 6, 7},
    {"QLinearMul", "Mul", 2, 0, 6, 7},
    {"QLinearSigmoid", "Sigmoid", 1, 0, 3, 4},
    {"QLinearLeakyRelu", "LeakyRelu", 1, 0, 3, 4},
    {"QLinearSoftmax", "Softmax", 1, 0, 3, 4},
    {"QLinearAveragePool", "AveragePool", 1, 0, 3, 4},
    {"QLinearGlobalAveragePool", "GlobalAveragePool", 1, 0, 3, 4},
    {"QLinearConcat", "Concat", 0, 2, 0, 1},
};

static const struct form *form_of(const struct clq_model *m, const struct clq_node *n)
{
    int64_t opset = clq_model_opset(m, "");
    if (strcmp(n->domain, "com.microsoft") != 0 || opset < 10 || clq_node_int(n, "channels_last", 0) != 0) return NULL;
    bool softmax = strcmp(n->op_type, "QLinearSoftmax") == 0;
    if (softmax && (opset < 13) != (clq_node_int(n, "opset", 13) < 13)) return NULL;
    for (size_t k = 0; k < sizeof forms / sizeof *forms; k++)
        if (strcmp(forms[k].type, n->op_type) == 0) return &forms[k];
    return NULL;
}

static clq_status spell(struct clq_model *m, int i, const struct form *f, struct clq_error *err)
{
    struct clq_node n = m->graph.nodes[i]; /* a copy: adding nodes moves the list */
    struct clq_arena *a = &m->arena;
    int operands = f->operands ? f->operands : (n.n_inputs - f->first) / 3;
    if (operands < 1 || f->first + 3 * operands > n.n_inputs || f->zero >= n.n_inputs || !n.inputs[f->zero][0]) return CLQ_OK;
    const char **inputs = clq_arena_array(a, (size_t)operands, sizeof *inputs);
    const char *y = clq_arena_printf(a, "%s_real", n.outputs[0]);
    if (!inputs || !y) return no_memory(err);
    for (int k = 0; k < operands; k++) {
        const char *const *in = n.inputs + f->first + 3 * k;
        inputs[k] = add_linear(m, "DequantizeLinear", in[0], in[1], in[2], clq_arena_printf(a, "%s_%d_real", n.outputs[0], k), -1);
        if (!inputs[k]) return no_memory(err);
    }
    if (!add_linear(m, "QuantizeLinear", y, n.inputs[f->scale], n.inputs[f->zero], n.outputs[0], -1)) return no_memory(err);
    struct clq_node *p = &m->graph.nodes[i];
    p->op_type = f->standard;
    p->domain = "";
    p->inputs = inputs;
    p->n_inputs = operands;
    p->outputs[0] = y;
    return CLQ_OK;
}

clq_status clq_simplify_qlinear(struct clq_model *model, struct clq_error *err)
{
    bool any = false;
    int n = model->graph.n_nodes;
    for (int i = 0; i < n; i++) {
        const struct clq_node *node = &model->graph.nodes[i];
        const struct form *form = form_of(model, node);
        if (!form && !clq_node_is(node, "QLinearConv") && !clq_node_is(node, "QLinearMatMul")) continue;
        any = true;
        CLQ_TRY(form ? spell(model, i, form, err) : rewrite(model, i, err));
    }
    if (any && clq_model_opset(model, "") < 13) CLQ_TRY(clq_model_upgrade(model, 13, err));
    return any ? clq_graph_sort(model, &model->graph, err) : CLQ_OK;
}
