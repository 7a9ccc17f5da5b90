/* SPDX-License-Identifier: Apache-2.0
 * Turns the model's nodes into steps: types and shapes of every value, and the constants that follow from them. With the
 * input shapes known, chains of Shape, Slice and Reshape fold away here. */
#include <string.h>

#include "base/map.h"
#include "base/size.h"
#include "graph/program.h"

enum { MAX_ARITY = 512 };
static const size_t max_fold_bytes = (size_t)256 << 20;

static bool is_op(const struct clq_node *n, const char *type)
{
    return n->domain[0] == 0 && strcmp(n->op_type, type) == 0;
}

static clq_status add_constants(struct clq_program *p, struct clq_map *names, struct clq_error *err)
{
    const struct clq_graph *g = &p->model->graph;
    for (int i = 0; i < g->n_consts; i++) {
        const struct clq_const *c = &g->consts[i];
        clq_tensor t = {.dtype = c->dtype, .rank = c->rank, .data = (void *)(uintptr_t)c->data};
        memcpy(t.shape, c->shape, sizeof t.shape);
        int v = clq_program_add_value(p, c->name, &t, true);
        if (v < 0 || !clq_map_set(names, c->name, v)) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
        p->values[v].t.data = (void *)(uintptr_t)c->data;
    }
    return CLQ_OK;
}

static clq_status check_input(const struct clq_value_info *info, const clq_tensor *t, struct clq_error *err)
{
    if (info->dtype != CLQ_DTYPE_NONE && t->dtype != info->dtype)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "input '%s': the model expects %s, the data is %s", info->name,
                        clq_dtype_name(info->dtype), clq_dtype_name(t->dtype));
    if (info->rank >= 0 && t->rank != info->rank)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "input '%s': the model expects rank %d, the data has rank %d",
                        info->name, info->rank, t->rank);
    for (int d = 0; d < info->rank; d++)
        if (info->shape[d] >= 0 && info->shape[d] != t->shape[d])
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "input '%s': the model expects %lld at axis %d, the data has %lld",
                            info->name, (long long)info->shape[d], d, (long long)t->shape[d]);
    return CLQ_OK;
}

static clq_status add_inputs(struct clq_program *p, struct clq_map *names, const clq_tensor *inputs, struct clq_error *err)
{
    const struct clq_graph *g = &p->model->graph;
    p->n_inputs = g->n_inputs;
    p->inputs = clq_arena_array(&p->arena, (size_t)g->n_inputs + 1, sizeof *p->inputs);
    if (!p->inputs) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; i < g->n_inputs; i++) {
        CLQ_TRY(check_input(&g->inputs[i], &inputs[i], err));
        clq_tensor t = inputs[i];
        t.data = NULL;
        int v = clq_program_add_value(p, g->inputs[i].name, &t, false);
        if (v < 0 || !clq_map_set(names, g->inputs[i].name, v)) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
        p->values[v].is_input = true;
        p->inputs[i] = v;
    }
    return CLQ_OK;
}

/* A folded DequantizeLinear of weights would hide the codes from the integer pass, so it stays. */
static bool keeps_constants(const struct clq_node *n)
{
    return is_op(n, "DequantizeLinear");
}

/* Evaluates a step whose inputs are all known, and makes its outputs constants. */
static clq_status evaluate(struct clq_program *p, struct clq_op_call *call, const struct clq_op *op, clq_tensor *out)
{
    for (int i = 0; i < call->n_out; i++) {
        size_t bytes;
        if (out[i].dtype == CLQ_DTYPE_NONE) continue;
        if (clq_tensor_bytes(&bytes, &out[i]) != CLQ_OK || bytes > max_fold_bytes)
            return clq_fail(call->err, CLQ_ERR_UNSUPPORTED, "node '%s' (%s): the constant result is too large",
                            call->node->name, call->node->op_type);
        out[i].data = clq_arena_alloc(&p->arena, bytes);
        if (!out[i].data) return clq_fail(call->err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    }
    return clq_op_eval(op, call);
}

static clq_status resolve(struct clq_program *p, const struct clq_map *names, const struct clq_node *n, int *ids,
                          clq_tensor *in, bool *all_known, struct clq_error *err)
{
    *all_known = true;
    for (int i = 0; i < n->n_inputs; i++) {
        ids[i] = -1;
        in[i] = (clq_tensor){.dtype = CLQ_DTYPE_NONE};
        if (n->inputs[i][0] == 0) continue;
        ids[i] = clq_map_get(names, n->inputs[i]);
        if (ids[i] < 0)
            return clq_fail(err, CLQ_ERR_FORMAT, "node '%s' (%s): input '%s' is not produced by anything", n->name,
                            n->op_type, n->inputs[i]);
        in[i] = p->values[ids[i]].t;
        if (!p->values[ids[i]].constant) {
            in[i].data = NULL;
            *all_known = false;
        }
    }
    return CLQ_OK;
}

static clq_status add_node(struct clq_program *p, struct clq_map *names, const struct clq_node *n, struct clq_error *err)
{
    int ids[MAX_ARITY];
    clq_tensor in[MAX_ARITY], out[MAX_ARITY];
    if (n->n_inputs > MAX_ARITY || n->n_outputs > MAX_ARITY)
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "node '%s' (%s): more than %d inputs or outputs", n->name, n->op_type, MAX_ARITY);
    bool known;
    CLQ_TRY(resolve(p, names, n, ids, in, &known, err));
    int64_t opset = clq_model_opset(p->model, n->domain);
    const struct clq_op *op = clq_op_find(n->domain, n->op_type, opset);
    memset(out, 0, sizeof out);
    struct clq_op_call call = {.node = n, .opset = opset, .n_in = n->n_inputs, .n_out = n->n_outputs, .in = in, .out = out,
                               .threads = 1, .err = err};
    CLQ_TRY(clq_op_infer(op, &call));
    bool fold = (known || (op->flags & CLQ_OP_SHAPE_ONLY)) && !(known && n->n_inputs > 0 && keeps_constants(n));
    if (fold) CLQ_TRY(evaluate(p, &call, op, out));
    else if (op->flags & CLQ_OP_DATA_SHAPE)
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "node '%s' (%s): its output shape depends on data", n->name, n->op_type);
    int made[MAX_ARITY];
    for (int i = 0; i < n->n_outputs; i++) {
        made[i] = -1;
        if (n->outputs[i][0] == 0) continue;
        made[i] = clq_program_add_value(p, n->outputs[i], &out[i], fold);
        if (made[i] < 0 || !clq_map_set(names, n->outputs[i], made[i])) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    }
    if (fold) return CLQ_OK;
    struct clq_step *s = clq_program_add_step(p, NULL, n->n_inputs, n->n_outputs);
    if (!s) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    s->kind = CLQ_STEP_OP;
    s->node = n;
    s->op = op;
    s->opset = opset;
    memcpy(s->in, ids, (size_t)n->n_inputs * sizeof *ids);
    memcpy(s->out, made, (size_t)n->n_outputs * sizeof *made);
    return CLQ_OK;
}

clq_status clq_pass_infer(struct clq_program *p, const clq_tensor *inputs, struct clq_error *err)
{
    const struct clq_graph *g = &p->model->graph;
    struct clq_map names;
    clq_map_start(&names, &p->arena);
    CLQ_TRY(add_constants(p, &names, err));
    CLQ_TRY(add_inputs(p, &names, inputs, err));
    for (int i = 0; i < g->n_nodes; i++) CLQ_TRY(add_node(p, &names, &g->nodes[i], err));
    p->n_outputs = g->n_outputs;
    p->outputs = clq_arena_array(&p->arena, (size_t)g->n_outputs + 1, sizeof *p->outputs);
    if (!p->outputs) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; i < g->n_outputs; i++) {
        int v = clq_map_get(&names, g->outputs[i].name);
        if (v < 0) return clq_fail(err, CLQ_ERR_FORMAT, "output '%s' is not produced by anything", g->outputs[i].name);
        p->outputs[i] = v;
        p->values[v].is_output = true;
    }
    return CLQ_OK;
}

clq_status clq_pass_fold_dequantize(struct clq_program *p, struct clq_error *err)
{
    for (int i = 0; i < p->n_steps; i++) {
        struct clq_step *s = &p->steps[i];
        if (s->dead || s->kind != CLQ_STEP_OP || s->n_in > MAX_ARITY || s->n_out > MAX_ARITY) continue;
        clq_tensor in[MAX_ARITY], out[MAX_ARITY];
        bool known = true;
        for (int k = 0; k < s->n_in; k++) {
            in[k] = s->in[k] < 0 ? (clq_tensor){.dtype = CLQ_DTYPE_NONE} : p->values[s->in[k]].t;
            known = known && (s->in[k] < 0 || p->values[s->in[k]].constant);
        }
        if (!known) continue;
        for (int k = 0; k < s->n_out; k++) out[k] = s->out[k] < 0 ? (clq_tensor){.dtype = CLQ_DTYPE_NONE} : p->values[s->out[k]].t;
        struct clq_op_call call = {.node = s->node, .opset = s->opset, .n_in = s->n_in, .n_out = s->n_out, .in = in, .out = out,
                                   .threads = 1, .err = err};
        CLQ_TRY(evaluate(p, &call, s->op, out));
        for (int k = 0; k < s->n_out; k++)
            if (s->out[k] >= 0) {
                p->values[s->out[k]].t = out[k];
                p->values[s->out[k]].constant = true;
            }
        s->dead = true;
    }
    clq_program_count_uses(p);
    return CLQ_OK;
}
