/* SPDX-License-Identifier: Apache-2.0
 * Finds the units of a plan. */
#include "graph/units.h"

#include <math.h>
#include <string.h>

#include "graph/simplify.h"

struct builder {
    struct clq_units *u;
    const struct clq_model *model;
    const struct clq_program *program;
    struct clq_map values; /* name -> program value */
    struct clq_uses uses;
    struct clq_error *err;
};

static clq_status no_memory(struct builder *b)
{
    return clq_fail(b->err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

/* The program's value of a name when it is a float32 activation, else NULL. */
static const struct clq_value *activation(const struct builder *b, const char *name)
{
    int v = name[0] ? clq_map_get(&b->values, name) : -1;
    if (v < 0 || b->program->values[v].constant || b->program->values[v].hidden || b->program->values[v].t.dtype != CLQ_DTYPE_F32) return NULL;
    return &b->program->values[v];
}

static const struct clq_const *weights(const struct builder *b, const char *name)
{
    const struct clq_const *c = name[0] ? clq_graph_const(&b->model->graph, name) : NULL;
    return c && c->dtype == CLQ_DTYPE_F32 ? c : NULL;
}

static bool scalar_const(const struct builder *b, const char *name, float *out)
{
    const struct clq_const *c = weights(b, name);
    if (!c || c->bytes != sizeof *out) return false;
    memcpy(out, c->data, sizeof *out);
    return true;
}

static bool one_of(const char *type, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(type, *list) == 0) return true;
    return false;
}

static const char *const unary_types[] = {"Relu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "LeakyRelu", "Gelu",
                                          "Elu", "Softplus", "Mish", "Erf", "Selu", "Abs", "Sqrt", NULL};
static const char *const move_types[] = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "MaxPool", "DepthToSpace",
                                         "SpaceToDepth", "Slice", "Resize", NULL};

static bool all_inputs_constant(const struct builder *b, const struct clq_node *n, int from)
{
    for (int k = from; k < n->n_inputs; k++)
        if (n->inputs[k][0] && !clq_graph_const(&b->model->graph, n->inputs[k])) {
            int v = clq_map_get(&b->values, n->inputs[k]); /* folded from shapes */
            if (v < 0 || !b->program->values[v].constant) return false;
        }
    return true;
}

/* Describes a product; false when the node is none that the integer kernels take. */
static bool product(const struct builder *b, const struct clq_node *n, struct clq_unit *unit)
{
    bool turned = clq_node_is(n, "ConvTranspose") && clq_node_int(n, "group", 1) == 1;
    bool conv = clq_node_is(n, "Conv"), gemm = clq_node_is(n, "Gemm"), matmul = clq_node_is(n, "MatMul");
    if ((!conv && !turned && !gemm && !matmul) || n->n_inputs < 2 || !activation(b, n->inputs[0])) return false;
    const struct clq_const *w = weights(b, n->inputs[1]);
    if (!w || w->bytes == 0 || w->rank < 2 || w->rank > 4 || (!conv && !turned && w->rank != 2) || (turned && w->rank == 2)) return false;
    if (n->n_inputs > 2 && n->inputs[2][0] && !weights(b, n->inputs[2])) return false;
    if (gemm && (clq_node_int(n, "transA", 0) != 0 || clq_node_float(n, "alpha", 1) != 1 || clq_node_float(n, "beta", 1) != 1)) return false;
    unit->kind = CLQ_UNIT_PRODUCT;
    unit->weight = 1;
    unit->spatial = conv || turned;
    unit->bias = n->n_inputs > 2 && n->inputs[2][0] ? 2 : -1;
    unit->weight_axis = conv ? 0 : gemm && clq_node_int(n, "transB", 0) != 0 ? 0 : 1;
    unit->params = (double)(w->bytes / sizeof(float));
    if (unit->bias >= 0 && weights(b, n->inputs[2])->bytes != (size_t)w->shape[unit->weight_axis] * sizeof(float)) return false;
    return true;
}

/* Describes an operator whose constants can be stored in fewer bits; a table that others read too would be stored twice. */
static bool stored(const struct builder *b, const struct clq_node *n, struct clq_unit *unit)
{
    bool table = clq_node_is(n, "Gather"), recurrent = clq_node_is(n, "LSTM") || clq_node_is(n, "GRU") || clq_node_is(n, "RNN");
    if (n->n_inputs < (table ? 2 : 3) || (!table && !recurrent)) return false;
    const struct clq_const *w = weights(b, n->inputs[table ? 0 : 1]), *r = recurrent ? weights(b, n->inputs[2]) : NULL;
    if (!w || w->rank != (table ? 2 : 3) || w->bytes == 0 || clq_uses_count(&b->uses, w->name) != 1) return false;
    if (table && clq_node_int(n, "axis", 0) != 0 && clq_node_int(n, "axis", 0) != -2) return false;
    if (recurrent && (!r || r->rank != 3 || r->bytes == 0 || r->shape[1] != w->shape[1] || clq_uses_count(&b->uses, r->name) != 1)) return false;
    unit->kind = CLQ_UNIT_STORED;
    unit->weight = table ? 0 : 1;
    unit->weight_axis = table ? 0 : 1;
    unit->recurrent = recurrent ? 2 : -1;
    unit->params = (double)((w->bytes + (r ? r->bytes : 0)) / sizeof(float));
    return true;
}

static bool same_shape(const clq_tensor *a, const clq_tensor *b)
{
    return a->rank == b->rank && memcmp(a->shape, b->shape, (size_t)a->rank * sizeof *a->shape) == 0;
}

static size_t count(const clq_tensor *t)
{
    size_t n = 0;
    return clq_tensor_elements(&n, t) == CLQ_OK ? n : 0;
}

static bool binary(const struct builder *b, const struct clq_node *n)
{
    bool both = clq_node_is(n, "Add") || clq_node_is(n, "Mul");
    float c;
    if (n->n_inputs != 2 || (!both && !clq_node_is(n, "Sub") && !clq_node_is(n, "Div"))) return false;
    const struct clq_value *x = activation(b, n->inputs[0]), *y = activation(b, n->inputs[1]);
    if (x && !y) return scalar_const(b, n->inputs[1], &c);
    if (y && !x) return scalar_const(b, n->inputs[0], &c);
    if (!x || !y || !both) return false;
    if (same_shape(&x->t, &y->t)) return true;
    /* one value per channel times an image */
    return clq_node_is(n, "Mul") && x->t.rank == 4 && y->t.rank == 4 && count(&x->t) != count(&y->t);
}

static bool light(const struct builder *b, const struct clq_node *n)
{
    const struct clq_value *x = n->n_inputs > 0 ? activation(b, n->inputs[0]) : NULL;
    if (binary(b, n)) return true;
    if (!x) return false;
    if (clq_node_is(n, "Concat")) {
        for (int k = 0; k < n->n_inputs; k++)
            if (!activation(b, n->inputs[k])) return false;
        return true;
    }
    if (clq_node_is(n, "AveragePool")) return x->t.rank == 4 && clq_node_int(n, "ceil_mode", 0) == 0;
    if (clq_node_is(n, "GlobalAveragePool")) return x->t.rank == 4;
    return one_of(n->op_type, unary_types) && n->domain[0] == 0 && all_inputs_constant(b, n, 1);
}

static bool moves(const struct builder *b, const struct clq_node *n)
{
    const struct clq_value *x = n->n_inputs > 0 ? activation(b, n->inputs[0]) : NULL;
    if (!x || n->domain[0] != 0 || !one_of(n->op_type, move_types) || !all_inputs_constant(b, n, 1)) return false;
    for (int k = 1; k < n->n_outputs; k++)
        if (n->outputs[k][0]) return false;
    if (clq_node_is(n, "MaxPool")) return x->t.rank == 4;
    return !clq_node_is(n, "Resize") || strcmp(clq_node_string(n, "mode", "nearest"), "nearest") == 0;
}

/* The limits of a Relu or Clip node; false for other nodes or limits that are not constants. */
static bool limits(const struct builder *b, const struct clq_node *n, float *lo, float *hi)
{
    *lo = -INFINITY;
    *hi = INFINITY;
    if (clq_node_is(n, "Relu")) *lo = 0;
    else if (clq_node_is(n, "Clip")) {
        if (n->n_inputs == 1) {
            *lo = clq_node_float(n, "min", -INFINITY);
            *hi = clq_node_float(n, "max", INFINITY);
        }
        if (n->n_inputs > 1 && n->inputs[1][0] && !scalar_const(b, n->inputs[1], lo)) return false;
        if (n->n_inputs > 2 && n->inputs[2][0] && !scalar_const(b, n->inputs[2], hi)) return false;
    } else if (clq_node_is(n, "Sigmoid") || clq_node_is(n, "HardSigmoid")) {
        *lo = 0;
        *hi = 1;
    } else return false;
    return !isnan(*lo) && !isnan(*hi) && *lo <= *hi;
}

/* A value that 8 bits represent well must contain zero, so a clip away from it is left in float. */
static bool usable_limits(float lo, float hi)
{
    return lo <= 0 && hi > 0;
}

static int tensor_index(struct builder *b, const char *name)
{
    struct clq_units *u = b->u;
    int t = clq_map_get(&u->by_tensor, name);
    const struct clq_value *v = activation(b, name);
    if (t >= 0 || !v) return t;
    t = u->n_tensors++;
    u->tensors[t] = (struct clq_unit_tensor){.name = name, .producer = -1, .value = (int)(v - b->program->values), .group = t,
                                             .elements = count(&v->t), .rank = v->t.rank, .bound_lo = -INFINITY, .bound_hi = INFINITY};
    return clq_map_set(&u->by_tensor, name, t) ? t : -1;
}

static double product_macs(const struct builder *b, const struct clq_unit *unit, const struct clq_node *n)
{
    const struct clq_const *w = weights(b, n->inputs[1]);
    const bool turned = clq_node_is(n, "ConvTranspose"); /* every input meets every tap */
    const struct clq_value *y = activation(b, turned ? n->inputs[0] : n->outputs[0]);
    int64_t channels = w->shape[turned ? 0 : unit->weight_axis];
    return y && channels > 0 ? (double)count(&y->t) * (double)(w->bytes / sizeof(float)) / (double)channels : 0;
}

/* Takes the activation that alone reads the output into the unit. */
static void take_activation(struct builder *b, struct clq_unit *unit, bool *taken)
{
    const struct clq_node *n = &b->model->graph.nodes[unit->node];
    if (clq_uses_count(&b->uses, n->outputs[0]) != 1) return;
    bool add = clq_node_is(n, "Add");
    for (int i = unit->node + 1; i < b->model->graph.n_nodes; i++) {
        const struct clq_node *c = &b->model->graph.nodes[i];
        if (c->n_inputs < 1 || strcmp(c->inputs[0], n->outputs[0]) != 0) continue;
        float lo, hi;
        bool relu = clq_node_is(c, "Relu"), clip = clq_node_is(c, "Clip") && !add;
        if ((relu || clip) && limits(b, c, &lo, &hi) && usable_limits(lo, hi)) {
            unit->act = i;
            unit->bound_lo = lo;
            unit->bound_hi = hi;
            taken[i] = true;
        }
        return;
    }
}

/* A product whose only reader adds a constant vector: a second rounding to 8 bits before the bias would only cost. Not for
 * results of rank 2: onnxruntime makes a float Gemm of such a pair before it looks for codes. */
static bool biased_behind(const struct builder *b, int i)
{
    const struct clq_node *n = &b->model->graph.nodes[i];
    if (!clq_node_is(n, "MatMul") || clq_uses_count(&b->uses, n->outputs[0]) != 1 || activation(b, n->outputs[0])->t.rank < 3) return false;
    for (int k = i + 1; k < b->model->graph.n_nodes; k++) {
        const struct clq_node *c = &b->model->graph.nodes[k];
        for (int side = 0; side < c->n_inputs; side++) {
            if (strcmp(c->inputs[side], n->outputs[0]) != 0) continue;
            const struct clq_const *v = clq_node_is(c, "Add") && c->n_inputs == 2 ? weights(b, c->inputs[1 - side]) : NULL;
            return v && v->rank >= 1 && v->bytes == (size_t)v->shape[v->rank - 1] * sizeof(float) && v->bytes > sizeof(float);
        }
    }
    return false;
}

/* Nothing around it changes: no tensor of its is ever on codes. */
static clq_status add_stored(struct builder *b, struct clq_unit *unit, const struct clq_node *n)
{
    int k = 0;
    while (k < n->n_outputs && !activation(b, n->outputs[k])) k++;
    if (k == n->n_outputs) return CLQ_OK;
    unit->in = clq_arena_array(&b->u->arena, 1, sizeof(int));
    unit->out = tensor_index(b, n->outputs[k]);
    if (!unit->in || unit->out < 0 || !clq_map_set(&b->u->by_node, n->name, b->u->n_units)) return no_memory(b);
    b->u->units[b->u->n_units++] = *unit;
    return CLQ_OK;
}

static clq_status add_unit(struct builder *b, int i, bool *taken)
{
    const struct clq_node *n = &b->model->graph.nodes[i];
    struct clq_unit unit = {.kind = CLQ_UNIT_LIGHT, .node = i, .act = -1, .name = n->name, .op_type = n->op_type, .weight = -1, .bias = -1,
                            .recurrent = -1, .bound_lo = -INFINITY, .bound_hi = INFINITY};
    if (!taken[i] && stored(b, n, &unit)) return add_stored(b, &unit, n);
    if (taken[i] || n->n_outputs < 1 || !activation(b, n->outputs[0]) || count(&activation(b, n->outputs[0])->t) == 0) return CLQ_OK;
    if (!product(b, n, &unit)) {
        if (moves(b, n)) unit.kind = CLQ_UNIT_MOVE;
        else if (!light(b, n)) return CLQ_OK;
    }
    if (limits(b, n, &unit.bound_lo, &unit.bound_hi) && !usable_limits(unit.bound_lo, unit.bound_hi)) return CLQ_OK;
    if (unit.kind == CLQ_UNIT_PRODUCT) unit.macs = product_macs(b, &unit, n);
    if (unit.kind == CLQ_UNIT_PRODUCT || clq_node_is(n, "Add")) take_activation(b, &unit, taken);
    unit.float_out = unit.kind == CLQ_UNIT_PRODUCT && unit.act < 0 && biased_behind(b, i);
    unit.in = clq_arena_array(&b->u->arena, (size_t)n->n_inputs + 1, sizeof(int));
    if (!unit.in) return no_memory(b);
    for (int k = 0; k < n->n_inputs; k++)
        if (activation(b, n->inputs[k])) {
            unit.in[unit.n_in] = tensor_index(b, n->inputs[k]);
            if (unit.in[unit.n_in++] < 0) return no_memory(b);
        }
    unit.out = tensor_index(b, b->model->graph.nodes[unit.act >= 0 ? unit.act : i].outputs[0]);
    if (unit.out < 0) return no_memory(b);
    struct clq_unit_tensor *out = &b->u->tensors[unit.out];
    out->producer = b->u->n_units;
    out->bound_lo = unit.bound_lo;
    out->bound_hi = unit.bound_hi;
    if (unit.kind == CLQ_UNIT_MOVE) {
        out->group = b->u->tensors[unit.in[0]].group;
        out->bound_lo = b->u->tensors[out->group].bound_lo;
        out->bound_hi = b->u->tensors[out->group].bound_hi;
    }
    if (!clq_map_set(&b->u->by_node, n->name, b->u->n_units)) return no_memory(b);
    b->u->units[b->u->n_units++] = unit;
    return CLQ_OK;
}

static void mark_float_readers(struct builder *b, const bool *taken)
{
    const struct clq_graph *g = &b->model->graph;
    for (int i = 0; i < g->n_nodes; i++) {
        int u = clq_map_get(&b->u->by_node, g->nodes[i].name);
        if (taken[i] || (u >= 0 && b->u->units[u].kind != CLQ_UNIT_STORED)) continue;
        for (int k = 0; k < g->nodes[i].n_inputs; k++) {
            int t = clq_map_get(&b->u->by_tensor, g->nodes[i].inputs[k]);
            if (t >= 0) b->u->tensors[t].needs_float = true;
        }
    }
    for (int i = 0; i < g->n_outputs; i++) {
        int t = clq_map_get(&b->u->by_tensor, g->outputs[i].name);
        if (t >= 0) b->u->tensors[t].needs_float = true;
    }
}

/* Where a unary operator's input stops mattering: beyond these limits its output is constant, or constant to within half a
 * code of its own output range. */
static bool input_limits(const struct builder *b, const struct clq_node *n, float *lo, float *hi)
{
    *lo = -INFINITY;
    *hi = INFINITY;
    if (clq_node_is(n, "HardSwish")) *lo = -3;
    else if (clq_node_is(n, "HardSigmoid")) {
        float slope = clq_node_float(n, "alpha", 0.2f), offset = clq_node_float(n, "beta", 0.5f);
        if (!(slope > 0) || !(offset > 0 && offset < 1)) return false;
        *lo = -offset / slope;
        *hi = (1 - offset) / slope;
    } else if (clq_node_is(n, "Sigmoid")) {
        *lo = -7;
        *hi = 7;
    } else return (clq_node_is(n, "Relu") || clq_node_is(n, "Clip")) && limits(b, n, lo, hi);
    return true;
}

/* A tensor that is read by one such operator alone needs only that part of its range. */
static void bound_by_readers(struct builder *b)
{
    struct clq_units *u = b->u;
    for (int i = 0; i < u->n_units; i++) {
        const struct clq_unit *unit = &u->units[i];
        const struct clq_node *n = &b->model->graph.nodes[unit->node];
        if (unit->n_in != 1 || unit->kind != CLQ_UNIT_LIGHT) continue;
        struct clq_unit_tensor *t = &u->tensors[unit->in[0]];
        float lo, hi;
        bool alone = t->producer >= 0 && t->group == unit->in[0] && !t->needs_float && clq_uses_count(&b->uses, t->name) == 1;
        for (int k = 0; k < u->n_tensors && alone; k++) alone = k == unit->in[0] || u->tensors[k].group != unit->in[0];
        if (!alone || !input_limits(b, n, &lo, &hi)) continue;
        if (lo > t->bound_lo) t->bound_lo = lo;
        if (hi < t->bound_hi) t->bound_hi = hi;
    }
}

static clq_status build(struct builder *b)
{
    const struct clq_graph *g = &b->model->graph;
    struct clq_units *u = b->u;
    clq_map_start(&u->by_tensor, &u->arena);
    clq_map_start(&u->by_node, &u->arena);
    clq_map_start(&b->values, &u->arena);
    for (int v = b->program->n_values - 1; v >= 0; v--) { /* the first of a name is the plain one */
        const struct clq_value *val = &b->program->values[v];
        if (val->name && val->name[0] && !clq_map_set(&b->values, val->name, v)) return no_memory(b);
    }
    bool *taken = clq_arena_array(&u->arena, (size_t)g->n_nodes + 1, sizeof *taken);
    u->units = clq_arena_array(&u->arena, (size_t)g->n_nodes + 1, sizeof *u->units);
    size_t most = (size_t)b->program->n_values + 1;
    u->tensors = clq_arena_array(&u->arena, most, sizeof *u->tensors);
    if (!taken || !u->units || !u->tensors) return no_memory(b);
    for (int i = 0; i < g->n_nodes; i++) CLQ_TRY(add_unit(b, i, taken));
    mark_float_readers(b, taken);
    bound_by_readers(b);
    return CLQ_OK;
}

clq_status clq_units_build(struct clq_units *out, const struct clq_model *model, const struct clq_program *program, struct clq_error *err)
{
    struct builder b = {.u = out, .model = model, .program = program, .err = err};
    *out = (struct clq_units){0};
    CLQ_TRY(clq_uses_start(&b.uses, model, err));
    clq_status st = build(&b);
    clq_uses_free(&b.uses);
    if (st != CLQ_OK) clq_units_free(out);
    return st;
}

void clq_units_free(struct clq_units *units)
{
    clq_arena_free(&units->arena);
    *units = (struct clq_units){0};
}
