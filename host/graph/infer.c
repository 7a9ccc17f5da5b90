/* SPDX-License-Identifier: Apache-2.0
 * Turns the model's nodes into steps: types and shapes of every value, and the constants that follow from them. With the
 * input shapes known, chains of Shape, Slice and Reshape fold away here. */
#include <string.h>

#include "base/map.h"
#include "base/size.h"
#include "graph/stages.h"

enum { MAX_ARITY = 512 };
static const size_t max_fold_bytes = (size_t)256 << 20;

static clq_status no_memory(struct clq_inference *f)
{
    return clq_fail(f->err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

static clq_status add_constants(struct clq_inference *f, const struct clq_graph *g)
{
    struct clq_program *p = f->p;
    for (int i = 0; i < g->n_consts; i++) {
        const struct clq_const *c = &g->consts[i];
        clq_tensor t = {.dtype = c->dtype, .rank = c->rank, .data = (void *)(uintptr_t)c->data};
        memcpy(t.shape, c->shape, sizeof t.shape);
        int v = clq_program_add_value(p, c->name, &t, true);
        if (v < 0 || !clq_map_set(&f->names, c->name, v)) return no_memory(f);
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

static clq_status add_inputs(struct clq_inference *f, const clq_tensor *inputs)
{
    struct clq_program *p = f->p;
    const struct clq_graph *g = &p->model->graph;
    p->n_inputs = g->n_inputs;
    p->inputs = clq_arena_array(&p->arena, (size_t)g->n_inputs + 1, sizeof *p->inputs);
    if (!p->inputs) return no_memory(f);
    for (int i = 0; i < g->n_inputs; i++) {
        bool bound = f->options->bind && f->options->bind[i];
        size_t bytes;
        CLQ_TRY(check_input(&g->inputs[i], &inputs[i], f->err));
        clq_tensor t = inputs[i];
        t.data = NULL;
        if (bound) {
            if (clq_tensor_bytes(&bytes, &t) != CLQ_OK || !(t.data = clq_arena_alloc(&p->arena, bytes))) return no_memory(f);
            if (bytes) memcpy(t.data, inputs[i].data, bytes);
        }
        int v = clq_program_add_value(p, g->inputs[i].name, &t, bound);
        if (v < 0 || !clq_map_set(&f->names, g->inputs[i].name, v)) return no_memory(f);
        p->values[v].is_input = true;
        p->inputs[i] = v;
    }
    return CLQ_OK;
}

/* A folded DequantizeLinear of weights would hide the codes from the integer pass, so it stays. */
static bool keeps_constants(const struct clq_node *n)
{
    return n->domain[0] == 0 && strcmp(n->op_type, "DequantizeLinear") == 0;
}

static clq_status allocate(struct clq_program *p, const struct clq_op_call *call, clq_tensor *out)
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
    return CLQ_OK;
}

/* Evaluates a step whose inputs are all known, and makes its outputs constants. */
static clq_status evaluate(struct clq_program *p, struct clq_op_call *call, const struct clq_op *op, clq_tensor *out)
{
    CLQ_TRY(allocate(p, call, out));
    return clq_op_eval(op, call);
}

/* What a node reads: *known when all of it is constant, *waits when some of it belongs to the rest. */
static clq_status resolve(struct clq_inference *f, const struct clq_node *n, int *ids, clq_tensor *in, bool *known, bool *waits)
{
    *known = true;
    *waits = false;
    for (int i = 0; i < n->n_inputs; i++) {
        ids[i] = -1;
        in[i] = (clq_tensor){.dtype = CLQ_DTYPE_NONE};
        if (n->inputs[i][0] == 0) continue;
        ids[i] = clq_map_get(&f->names, n->inputs[i]);
        if (ids[i] < 0 && clq_map_get(&f->waiting, n->inputs[i]) >= 0) {
            *waits = true;
            continue;
        }
        if (ids[i] < 0)
            return clq_fail(f->err, CLQ_ERR_FORMAT, "node '%s' (%s): input '%s' is not produced by anything", n->name,
                            n->op_type, n->inputs[i]);
        in[i] = f->p->values[ids[i]].t;
        if (!f->p->values[ids[i]].constant) {
            in[i].data = NULL;
            *known = false;
        }
    }
    return CLQ_OK;
}

static clq_status add_outputs(struct clq_inference *f, const struct clq_node *n, const clq_tensor *out, bool constant, int *made)
{
    for (int i = 0; i < n->n_outputs; i++) {
        made[i] = -1;
        if (n->outputs[i][0] == 0) continue;
        made[i] = clq_program_add_value(f->p, n->outputs[i], &out[i], constant);
        if (made[i] < 0 || !clq_map_set(&f->names, n->outputs[i], made[i])) return no_memory(f);
    }
    return CLQ_OK;
}

/* Marks the values that decide node's shapes: input, or all inputs for -1; and whole numbers, which mostly do, in short lists. */
static void mark(struct clq_inference *f, const struct clq_node *n, const int *ids, int input)
{
    for (int i = 0; i < n->n_inputs; i++) {
        size_t count = 0;
        if (ids[i] < 0) continue;
        struct clq_value *v = &f->p->values[ids[i]];
        bool whole = v->t.dtype == CLQ_DTYPE_S64 || v->t.dtype == CLQ_DTYPE_S32;
        bool list = whole && clq_tensor_elements(&count, &v->t) == CLQ_OK && count <= 64;
        if (input < 0 || i == input || list) v->decides = true;
    }
}

static clq_status wait_for(struct clq_inference *f, const struct clq_node *n, const int *ids, int input, const char *why)
{
    if (!f->options->partial) return clq_fail(f->err, CLQ_ERR_UNSUPPORTED, "%s", why);
    if (!f->why && !(f->why = clq_arena_string(&f->p->arena, why))) return no_memory(f);
    mark(f, n, ids, input);
    return clq_inference_defer(f, n);
}

static const char *depends(struct clq_inference *f, const struct clq_node *n)
{
    const char *why = clq_arena_printf(&f->p->arena, "node '%s' (%s): its output shape depends on data", n->name, n->op_type);
    return why ? why : "an output shape depends on data";
}

static clq_status add_step(struct clq_inference *f, const struct clq_node *n, const struct clq_op *op, int64_t opset, const int *ids, const int *made)
{
    struct clq_step *s = clq_program_add_step(f->p, NULL, n->n_inputs, n->n_outputs);
    if (!s) return no_memory(f);
    s->kind = CLQ_STEP_OP;
    s->node = n;
    s->op = op;
    s->opset = opset;
    memcpy(s->in, ids, (size_t)n->n_inputs * sizeof *ids);
    memcpy(s->out, made, (size_t)n->n_outputs * sizeof *made);
    return CLQ_OK;
}

static clq_status add_node(struct clq_inference *f, const struct clq_node *n, const int *ids, const clq_tensor *in, bool known)
{
    clq_tensor out[MAX_ARITY];
    int made[MAX_ARITY];
    int64_t opset = clq_model_opset(f->p->model, n->domain);
    const struct clq_op *op = clq_op_find(n->domain, n->op_type, opset);
    memset(out, 0, sizeof out);
    struct clq_op_call call = {.node = n, .opset = opset, .n_in = n->n_inputs, .n_out = n->n_outputs, .in = in, .out = out,
                               .threads = 1, .err = f->err};
    clq_status st = clq_op_infer(op, &call);
    if (st != CLQ_OK && call.needs_value && f->options->partial) return wait_for(f, n, ids, call.needed_input, f->err->text);
    CLQ_TRY(st);
    bool fold = (known || (op->flags & CLQ_OP_SHAPE_ONLY)) && !(known && n->n_inputs > 0 && keeps_constants(n));
    if (fold) CLQ_TRY(evaluate(f->p, &call, op, out));
    else if (op->flags & CLQ_OP_DATA_SHAPE) return wait_for(f, n, ids, -1, depends(f, n));
    CLQ_TRY(add_outputs(f, n, out, fold, made));
    return fold ? CLQ_OK : add_step(f, n, op, opset, ids, made);
}

/* ---- Nested graphs ---- */

/* What the graphs inside a node read from around it. */
static clq_status captures(struct clq_inference *f, const struct clq_node *n, bool *known, bool *waits, bool bind)
{
    struct clq_arena arena = {0};
    struct clq_nested walk;
    const struct clq_graph *g;
    const struct clq_graph shell = {.n_nodes = 1, .nodes = (struct clq_node *)(uintptr_t)n};
    clq_nested_start(&walk, &arena, &shell);
    clq_status st = clq_nested_next(&walk, &g, f->err);
    for (; st == CLQ_OK && g; st = clq_nested_next(&walk, &g, f->err))
        for (int i = -1; i < g->n_nodes; i++) {
            int count = i < 0 ? g->n_outputs : g->nodes[i].n_inputs;
            for (int k = 0; k < count; k++) {
                const char *name = i < 0 ? g->outputs[k].name : g->nodes[i].inputs[k];
                int v = name[0] ? clq_map_get(&f->names, name) : -1;
                if (v >= 0 && !f->p->values[v].constant) *known = false;
                if (v >= 0 && bind) f->p->values[v].decides = true;
                if (name[0] && clq_map_get(&f->waiting, name) >= 0) *waits = true;
            }
        }
    clq_arena_free(&arena);
    return st;
}

/* A branch that is being inlined: its nodes are added as if they stood where the If is. */
struct frame {
    const struct clq_graph *graph;
    const struct clq_node *owner; /* NULL: the model's own graph */
    int at;
};

/* The owner's outputs are the branch's. */
static clq_status end_branch(struct clq_inference *f, const struct frame *frame)
{
    const struct clq_node *n = frame->owner;
    for (int k = 0; k < n->n_outputs && k < frame->graph->n_outputs; k++) {
        const char *from = frame->graph->outputs[k].name;
        int v = clq_map_get(&f->names, from);
        if (n->outputs[k][0] == 0) continue;
        if (v >= 0) {
            if (!clq_map_set(&f->names, n->outputs[k], v)) return no_memory(f);
            continue;
        }
        struct clq_node *copy = clq_arena_array(&f->p->arena, 1, sizeof *copy);
        const char **names = clq_arena_array(&f->p->arena, 2, sizeof *names);
        if (!copy || !names) return no_memory(f);
        names[0] = from;
        names[1] = n->outputs[k];
        *copy = (struct clq_node){.name = n->outputs[k], .op_type = "Identity", .domain = "", .n_inputs = 1, .n_outputs = 1, .inputs = names, .outputs = names + 1};
        CLQ_TRY(clq_inference_defer(f, copy));
    }
    return CLQ_OK;
}

static clq_status branch(struct clq_inference *f, const struct clq_node *n, const clq_tensor *condition, struct frame *out)
{
    size_t count;
    if (condition->dtype != CLQ_DTYPE_BOOL || clq_tensor_elements(&count, condition) != CLQ_OK || count != 1)
        return clq_fail(f->err, CLQ_ERR_FORMAT, "node '%s' (If): the condition is not one bool", n->name);
    const char *name = *(const uint8_t *)condition->data ? "then_branch" : "else_branch";
    const struct clq_attr *a = clq_node_attr(n, name);
    if (!a || a->type != CLQ_ATTR_GRAPH || a->graph->n_outputs != n->n_outputs)
        return clq_fail(f->err, CLQ_ERR_FORMAT, "node '%s' (If): attribute '%s' is not a graph of %d outputs", n->name, name, n->n_outputs);
    CLQ_TRY(add_constants(f, a->graph));
    *out = (struct frame){.graph = a->graph, .owner = n};
    return CLQ_OK;
}

static clq_status add_loop(struct clq_inference *f, const struct clq_node *n, const int *ids, const clq_tensor *in, bool known)
{
    clq_tensor out[MAX_ARITY];
    int made[MAX_ARITY];
    bool waits = false;
    CLQ_TRY(captures(f, n, &known, &waits, true));
    if (waits) return clq_inference_defer(f, n);
    if (!known) return wait_for(f, n, ids, -1, depends(f, n));
    memset(out, 0, sizeof out);
    CLQ_TRY(clq_control_run(f, n, in, out));
    return add_outputs(f, n, out, true, made);
}

/* Adds a node; *entered when the node is an If whose branch comes next. */
static clq_status visit(struct clq_inference *f, const struct clq_node *n, struct frame *inner, bool *entered)
{
    int ids[MAX_ARITY];
    clq_tensor in[MAX_ARITY];
    bool known, waits;
    *entered = false;
    if (n->n_inputs > MAX_ARITY || n->n_outputs > MAX_ARITY)
        return clq_fail(f->err, CLQ_ERR_UNSUPPORTED, "node '%s' (%s): more than %d inputs or outputs", n->name, n->op_type, MAX_ARITY);
    CLQ_TRY(resolve(f, n, ids, in, &known, &waits));
    if (waits) return clq_inference_defer(f, n);
    enum clq_control kind = clq_control_kind(n, clq_model_opset(f->p->model, n->domain));
    if (kind == CLQ_CONTROL_NONE) return add_node(f, n, ids, in, known);
    if (kind != CLQ_CONTROL_IF) return add_loop(f, n, ids, in, known);
    if (n->n_inputs != 1 || ids[0] < 0) return clq_fail(f->err, CLQ_ERR_FORMAT, "node '%s' (If): %d inputs, expected 1", n->name, n->n_inputs);
    if (!known) return wait_for(f, n, ids, 0, depends(f, n));
    *entered = true;
    return branch(f, n, &in[0], inner);
}

clq_status clq_pass_infer(struct clq_program *p, const clq_tensor *inputs, const struct clq_program_options *options, struct clq_error *err)
{
    enum { DEEPEST = 64 }; /* the reader refuses deeper files */
    struct clq_inference f = {.p = p, .options = options, .err = err};
    struct frame stack[DEEPEST] = {{.graph = &p->model->graph}};
    clq_map_start(&f.names, &p->arena);
    clq_map_start(&f.waiting, &p->arena);
    CLQ_TRY(add_constants(&f, &p->model->graph));
    CLQ_TRY(add_inputs(&f, inputs));
    for (int depth = 0; depth >= 0;) {
        struct frame *top = &stack[depth];
        if (top->at == top->graph->n_nodes) {
            if (top->owner) CLQ_TRY(end_branch(&f, top));
            depth--;
            continue;
        }
        bool entered;
        if (depth + 1 == DEEPEST) return clq_fail(err, CLQ_ERR_UNSUPPORTED, "more than %d nested branches", DEEPEST);
        CLQ_TRY(visit(&f, &top->graph->nodes[top->at++], &stack[depth + 1], &entered));
        depth += entered;
    }
    return clq_inference_finish(&f);
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
