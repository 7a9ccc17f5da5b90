/* SPDX-License-Identifier: Apache-2.0
 * The order of the model passes, and the small ones: constants, no-ops, dead nodes. */
#include "graph/simplify.h"

#include <string.h>

#include "ops/op.h"

bool clq_node_is(const struct clq_node *n, const char *type)
{
    return n->op_type && n->domain[0] == 0 && strcmp(n->op_type, type) == 0;
}

clq_status clq_uses_start(struct clq_uses *u, const struct clq_model *model, struct clq_error *err)
{
    const struct clq_graph *g = &model->graph;
    *u = (struct clq_uses){0};
    clq_map_start(&u->producer, &u->arena);
    clq_map_start(&u->count, &u->arena);
    bool ok = true;
    for (int i = 0; i < g->n_nodes && ok; i++) {
        const struct clq_node *n = &g->nodes[i];
        if (!n->op_type) continue;
        for (int k = 0; k < n->n_outputs && ok; k++)
            if (n->outputs[k][0]) ok = clq_map_set(&u->producer, n->outputs[k], i);
        for (int k = 0; k < n->n_inputs && ok; k++) {
            int c = clq_map_get(&u->count, n->inputs[k]);
            if (n->inputs[k][0]) ok = clq_map_set(&u->count, n->inputs[k], c < 0 ? 1 : c + 1);
        }
    }
    for (int i = 0; i < g->n_outputs && ok; i++) { /* a graph output can never be the only reader */
        int c = clq_map_get(&u->count, g->outputs[i].name);
        ok = clq_map_set(&u->count, g->outputs[i].name, (c < 0 ? 0 : c) + 1000);
    }
    if (ok) return CLQ_OK;
    clq_uses_free(u);
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

void clq_uses_free(struct clq_uses *u)
{
    clq_arena_free(&u->arena);
}

struct clq_node *clq_uses_producer(const struct clq_uses *u, struct clq_model *model, const char *value)
{
    int i = clq_map_get(&u->producer, value);
    return i < 0 || !model->graph.nodes[i].op_type ? NULL : &model->graph.nodes[i];
}

int clq_uses_count(const struct clq_uses *u, const char *value)
{
    int c = clq_map_get(&u->count, value);
    return c < 0 ? 0 : c;
}

void clq_model_compact(struct clq_model *model)
{
    struct clq_graph *g = &model->graph;
    int n = 0;
    for (int i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op_type) g->nodes[n++] = g->nodes[i];
    g->n_nodes = n;
}

void clq_model_rename(struct clq_model *model, const char *from, const char *to)
{
    struct clq_graph *g = &model->graph;
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; g->nodes[i].op_type && k < g->nodes[i].n_inputs; k++)
            if (strcmp(g->nodes[i].inputs[k], from) == 0) g->nodes[i].inputs[k] = to;
}

static bool is_output(const struct clq_model *model, const char *name)
{
    for (int i = 0; i < model->graph.n_outputs; i++)
        if (strcmp(model->graph.outputs[i].name, name) == 0) return true;
    return false;
}

/* Evaluates nodes whose inputs are all constants. DequantizeLinear stays: its codes are the point of a quantized file. */
static clq_status fold_node(struct clq_model *model, struct clq_node *n, struct clq_error *err)
{
    enum { MAX = 16 };
    const size_t limit = (size_t)64 << 20;
    clq_tensor in[MAX], out[MAX];
    int64_t opset = clq_model_opset(model, n->domain);
    const struct clq_op *op = clq_op_find(n->domain, n->op_type, opset);
    if (!op || n->n_inputs > MAX || n->n_outputs > MAX || clq_node_is(n, "DequantizeLinear") || clq_node_is(n, "QuantizeLinear")) return CLQ_OK;
    if (n->n_inputs == 0 && !clq_node_is(n, "Constant")) return CLQ_OK; /* random numbers and the like */
    for (int k = 0; k < n->n_outputs; k++)
        if (is_output(model, n->outputs[k])) return CLQ_OK;
    for (int k = 0; k < n->n_inputs; k++) {
        in[k] = (clq_tensor){.dtype = CLQ_DTYPE_NONE};
        if (n->inputs[k][0] == 0) continue;
        const struct clq_const *c = clq_graph_const(&model->graph, n->inputs[k]);
        if (!c) return CLQ_OK;
        in[k] = (clq_tensor){.dtype = c->dtype, .rank = c->rank, .data = (void *)(uintptr_t)c->data};
        memcpy(in[k].shape, c->shape, sizeof in[k].shape);
    }
    memset(out, 0, sizeof out);
    struct clq_op_call call = {.node = n, .opset = opset, .n_in = n->n_inputs, .n_out = n->n_outputs, .in = in, .out = out, .threads = 1, .err = err};
    CLQ_TRY(clq_op_infer(op, &call));
    for (int k = 0; k < n->n_outputs; k++) {
        size_t bytes;
        if (clq_tensor_bytes(&bytes, &out[k]) != CLQ_OK || bytes > limit) return CLQ_OK;
        out[k].data = clq_arena_alloc(&model->arena, bytes);
        if (!out[k].data) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    }
    CLQ_TRY(clq_op_eval(op, &call));
    for (int k = 0; k < n->n_outputs; k++) {
        size_t bytes = 0;
        if (n->outputs[k][0] == 0 || clq_tensor_bytes(&bytes, &out[k]) != CLQ_OK) continue;
        if (!clq_graph_add_const(model, &model->graph, n->outputs[k], out[k].dtype, out[k].rank, out[k].shape, out[k].data, bytes, false))
            return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    }
    n->op_type = NULL;
    return CLQ_OK;
}

clq_status clq_simplify_constants(struct clq_model *model, struct clq_error *err)
{
    for (int i = 0; i < model->graph.n_nodes; i++) CLQ_TRY(fold_node(model, &model->graph.nodes[i], err));
    clq_model_compact(model);
    return CLQ_OK;
}

clq_status clq_simplify_identity(struct clq_model *model, struct clq_error *err)
{
    (void)err;
    for (int i = 0; i < model->graph.n_nodes; i++) {
        struct clq_node *n = &model->graph.nodes[i];
        if (n->n_inputs < 1 || n->n_outputs < 1) continue;
        bool drop = clq_node_is(n, "Identity") || (clq_node_is(n, "Dropout") && n->n_outputs == 1 && n->n_inputs < 3);
        if (!drop || is_output(model, n->outputs[0]) || n->inputs[0][0] == 0) continue;
        clq_model_rename(model, n->outputs[0], n->inputs[0]);
        n->op_type = NULL;
    }
    clq_model_compact(model);
    return CLQ_OK;
}

clq_status clq_simplify_dead(struct clq_model *model, struct clq_error *err)
{
    struct clq_graph *g = &model->graph;
    struct clq_arena arena = {0};
    struct clq_map live;
    clq_map_start(&live, &arena);
    bool ok = true;
    for (int i = 0; i < g->n_outputs && ok; i++) ok = clq_map_set(&live, g->outputs[i].name, 1);
    for (int i = g->n_nodes - 1; i >= 0 && ok; i--) { /* topological order */
        struct clq_node *n = &g->nodes[i];
        bool used = false;
        for (int k = 0; k < n->n_outputs; k++) used = used || (n->outputs[k][0] && clq_map_get(&live, n->outputs[k]) >= 0);
        if (!used) n->op_type = NULL;
        for (int k = 0; used && ok && k < n->n_inputs; k++)
            if (n->inputs[k][0]) ok = clq_map_set(&live, n->inputs[k], 1);
    }
    int kept = 0;
    for (int i = 0; i < g->n_consts && ok; i++)
        if (clq_map_get(&live, g->consts[i].name) >= 0) g->consts[kept++] = g->consts[i];
    if (ok) g->n_consts = kept;
    clq_arena_free(&arena);
    clq_model_compact(model);
    return ok ? CLQ_OK : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

/* Subgraphs read outer values that these passes do not see, so a model with If, Loop or Scan is left as it is. */
static bool has_subgraphs(const struct clq_model *model)
{
    for (int i = 0; i < model->graph.n_nodes; i++)
        for (int k = 0; k < model->graph.nodes[i].n_attrs; k++)
            if (model->graph.nodes[i].attrs[k].type == CLQ_ATTR_GRAPH) return true;
    return false;
}

/* The passes index inputs and outputs by what the operator promises, so the file has to keep that promise first. */
static clq_status check_arity(const struct clq_model *model, struct clq_error *err)
{
    for (int i = 0; i < model->graph.n_nodes; i++) {
        const struct clq_node *n = &model->graph.nodes[i];
        const struct clq_op *op = clq_op_find(n->domain, n->op_type, clq_model_opset(model, n->domain));
        if (!op) continue;
        if (n->n_inputs < op->min_in || (op->max_in >= 0 && n->n_inputs > op->max_in))
            return clq_fail(err, CLQ_ERR_FORMAT, "node '%s' (%s): %d inputs, expected %d to %d", n->name, n->op_type, n->n_inputs, op->min_in, op->max_in);
        if (n->n_outputs < op->min_out || n->n_outputs < 1)
            return clq_fail(err, CLQ_ERR_FORMAT, "node '%s' (%s): %d outputs, expected at least %d", n->name, n->op_type, n->n_outputs, op->min_out);
    }
    return CLQ_OK;
}

clq_status clq_model_simplify(struct clq_model *model, struct clq_error *err)
{
    CLQ_TRY(check_arity(model, err));
    if (has_subgraphs(model)) return CLQ_OK;
    CLQ_TRY(clq_simplify_constants(model, err));
    CLQ_TRY(clq_simplify_identity(model, err));
    CLQ_TRY(clq_simplify_constants(model, err)); /* what stood behind an Identity */
    CLQ_TRY(clq_simplify_widen(model, err));
    CLQ_TRY(clq_simplify_qlinear(model, err));
    CLQ_TRY(clq_simplify_affine(model, err));
    CLQ_TRY(clq_simplify_activations(model, err));
    CLQ_TRY(clq_simplify_forward(model, err));
    return clq_simplify_dead(model, err);
}
