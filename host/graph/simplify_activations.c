/* SPDX-License-Identifier: Apache-2.0
 * Gives spelled-out activations their name: x * clip(x + 3, 0, 6) / 6 and x * hardsigmoid(x) with slope 1/6 are HardSwish. */
#include <math.h>
#include <string.h>

#include "graph/simplify.h"

static bool scalar(const struct clq_model *model, const char *name, float *out)
{
    const struct clq_const *c = name[0] ? clq_graph_const(&model->graph, name) : NULL;
    if (!c || c->dtype != CLQ_DTYPE_F32 || c->bytes != sizeof *out) return false;
    memcpy(out, c->data, sizeof *out);
    return true;
}

/* The operand of a commutative node that is not the given constant; NULL when the other is not the constant. */
static const char *beside_scalar(const struct clq_model *model, const struct clq_node *n, float want)
{
    float v;
    if (n->n_inputs != 2) return NULL;
    if (scalar(model, n->inputs[1], &v) && v == want) return n->inputs[0];
    if (scalar(model, n->inputs[0], &v) && v == want) return n->inputs[1];
    return NULL;
}

static bool clip_0_6(const struct clq_model *model, const struct clq_node *n)
{
    float lo, hi;
    if (!clq_node_is(n, "Clip")) return false;
    if (n->n_inputs >= 3) return scalar(model, n->inputs[1], &lo) && scalar(model, n->inputs[2], &hi) && lo == 0 && hi == 6;
    return clq_node_float(n, "min", -1) == 0 && clq_node_float(n, "max", -1) == 6;
}

/* The x of gate(x), where 6 * gate is clip(x + 3, 0, 6) (sixth false) or hardsigmoid with slope 1/6 (sixth true). */
static const char *gate_of(struct clq_model *model, const struct clq_uses *u, const char *value, bool *sixth)
{
    const struct clq_node *g = clq_uses_producer(u, model, value);
    if (!g || clq_uses_count(u, value) != 1) return NULL;
    *sixth = false;
    if (clip_0_6(model, g)) {
        const struct clq_node *add = clq_uses_producer(u, model, g->inputs[0]);
        if (!add || !clq_node_is(add, "Add") || clq_uses_count(u, g->inputs[0]) != 1) return NULL;
        return beside_scalar(model, add, 3);
    }
    if (!clq_node_is(g, "HardSigmoid")) return NULL;
    *sixth = true;
    float slope = clq_node_float(g, "alpha", 0.2f), offset = clq_node_float(g, "beta", 0.5f);
    return fabsf(slope - 1.0f / 6) < 1e-6f && offset == 0.5f ? g->inputs[0] : NULL;
}

/* Matches the multiplication of x with its gate; returns x. */
static const char *gated(struct clq_model *model, const struct clq_uses *u, const struct clq_node *mul, bool *sixth)
{
    if (!clq_node_is(mul, "Mul") || mul->n_inputs != 2) return NULL;
    for (int k = 0; k < 2; k++) {
        const char *x = gate_of(model, u, mul->inputs[k], sixth);
        if (x && strcmp(x, mul->inputs[1 - k]) == 0) return x;
    }
    return NULL;
}

/* Rewrites one node; the parts that nobody reads any more die later. */
static bool rewrite(struct clq_model *model, const struct clq_uses *u, struct clq_node *n)
{
    bool sixth;
    const char *x = gated(model, u, n, &sixth);
    if (x && !sixth) return false; /* the division that follows is matched instead */
    if (!x) {
        const char *inner = NULL;
        float v;
        if (clq_node_is(n, "Div") && n->n_inputs == 2 && scalar(model, n->inputs[1], &v) && v == 6) inner = n->inputs[0];
        else if (clq_node_is(n, "Mul")) inner = beside_scalar(model, n, 1.0f / 6);
        const struct clq_node *mul = inner && clq_uses_count(u, inner) == 1 ? clq_uses_producer(u, model, inner) : NULL;
        x = mul ? gated(model, u, mul, &sixth) : NULL;
        if (!x || sixth) return false;
    }
    n->op_type = "HardSwish";
    n->inputs[0] = x;
    n->n_inputs = 1;
    n->n_attrs = 0;
    return true;
}

clq_status clq_simplify_activations(struct clq_model *model, struct clq_error *err)
{
    struct clq_uses uses;
    struct clq_error ignored;
    int64_t opset = clq_model_opset(model, "");
    CLQ_TRY(clq_uses_start(&uses, model, err));
    bool found = false;
    for (int i = 0; i < model->graph.n_nodes && !found; i++) {
        struct clq_node copy = model->graph.nodes[i];
        const char *inputs[2] = {copy.n_inputs > 0 ? copy.inputs[0] : "", copy.n_inputs > 1 ? copy.inputs[1] : ""};
        copy.inputs = inputs;
        found = copy.n_inputs == 2 && rewrite(model, &uses, &copy);
    }
    if (found && opset < 14 && clq_model_upgrade(model, 14, &ignored) == CLQ_OK) {
        clq_uses_free(&uses);
        CLQ_TRY(clq_uses_start(&uses, model, err));
        opset = 14;
    }
    for (int i = 0; found && opset >= 14 && i < model->graph.n_nodes; i++) rewrite(model, &uses, &model->graph.nodes[i]);
    clq_uses_free(&uses);
    return CLQ_OK;
}
