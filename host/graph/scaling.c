/* SPDX-License-Identifier: Apache-2.0
 * Exact scaling of channels between what makes a tensor and the products that read it. */
#include "graph/scaling.h"

#include <string.h>

#include "graph/simplify.h"

static const struct clq_const *constant(const struct clq_model *m, const struct clq_node *n, int input)
{
    const struct clq_const *c = input >= 0 && input < n->n_inputs ? clq_graph_const(&m->graph, n->inputs[input]) : NULL;
    return c && c->dtype == CLQ_DTYPE_F32 ? c : NULL;
}

/* Readers of a value among the nodes; a graph output counts as one, and so does a nested graph, whatever it reads. */
static int readers(const struct clq_model *m, const char *value)
{
    int n = 0;
    for (int i = 0; i < m->graph.n_nodes; i++) {
        for (int k = 0; k < m->graph.nodes[i].n_inputs; k++) n += strcmp(m->graph.nodes[i].inputs[k], value) == 0;
        for (int k = 0; k < m->graph.nodes[i].n_attrs; k++) n += m->graph.nodes[i].attrs[k].graph != NULL;
    }
    for (int i = 0; i < m->graph.n_outputs; i++) n += strcmp(m->graph.outputs[i].name, value) == 0;
    return n;
}

static int producer(const struct clq_model *m, const char *value)
{
    for (int i = 0; i < m->graph.n_nodes; i++)
        for (int k = 0; k < m->graph.nodes[i].n_outputs; k++)
            if (strcmp(m->graph.nodes[i].outputs[k], value) == 0) return i;
    return -1;
}

bool clq_scalable_reader(int *axis, const struct clq_model *model, const struct clq_unit *u, int t)
{
    const struct clq_node *n = &model->graph.nodes[u->node];
    if (u->kind != CLQ_UNIT_PRODUCT || u->n_in != 1 || u->in[0] != t || u->weight != 1 || !constant(model, n, 1)) return false;
    if (u->spatial && clq_node_int(n, "group", 1) != 1) return false;
    *axis = 1 - u->weight_axis;
    return true;
}

static bool add_maker(struct clq_scalable *s, const struct clq_model *m, int node, int input, int axis)
{
    const struct clq_const *c = constant(m, &m->graph.nodes[node], input);
    if (!c || axis < 0 || axis >= c->rank || c->shape[axis] != (int64_t)s->channels || s->n_makers == CLQ_MAKERS_MOST) return false;
    s->maker[s->n_makers++] = (struct clq_maker){node, input, axis};
    return true;
}

/* A constant that is one value per channel of the last axis. */
static int vector_input(const struct clq_scalable *s, const struct clq_model *m, const struct clq_node *n)
{
    for (int k = 0; k < n->n_inputs && n->n_inputs == 2 && !s->spatial; k++) {
        const struct clq_const *c = constant(m, n, k);
        if (c && c->rank >= 1 && c->shape[c->rank - 1] == (int64_t)s->channels && c->bytes == s->channels * sizeof(float)) return k;
    }
    return -1;
}

static bool product_maker(struct clq_scalable *s, const struct clq_model *m, const struct clq_units *units, int node)
{
    int u = clq_map_get(&units->by_node, m->graph.nodes[node].name);
    if (u < 0 || units->units[u].kind != CLQ_UNIT_PRODUCT || units->units[u].spatial != s->spatial || !add_maker(s, m, node, units->units[u].weight, units->units[u].weight_axis)) return false;
    s->product = node;
    const struct clq_const *b = constant(m, &m->graph.nodes[node], units->units[u].bias);
    return units->units[u].bias < 0 || (b && add_maker(s, m, node, units->units[u].bias, b->rank - 1));
}

/* One gain, and shift, per channel of the last axis. */
static bool norm_maker(struct clq_scalable *s, const struct clq_model *m, int node)
{
    const struct clq_node *n = &m->graph.nodes[node];
    if (s->spatial || clq_node_int(n, "axis", -1) != -1 || n->n_inputs < 2) return false;
    for (int k = 1; k < n->n_inputs && k < 3; k++) {
        const struct clq_const *c = constant(m, n, k);
        if (!c || c->rank != 1 || !add_maker(s, m, node, k, 0)) return false;
    }
    return true;
}

/* The last numbers of a vector of int64: of a constant, or of a concatenation that ends in constants. */
static bool last_numbers(int64_t *to, int count, const struct clq_model *m, const char *value)
{
    const struct clq_const *c = clq_graph_const(&m->graph, value);
    if (c) {
        size_t n = c->bytes / sizeof *to;
        if (c->dtype != CLQ_DTYPE_S64 || c->rank > 1 || n < (size_t)count) return false;
        memcpy(to, (const int64_t *)c->data + n - (size_t)count, (size_t)count * sizeof *to);
        return true;
    }
    int i = producer(m, value);
    if (i < 0 || !clq_node_is(&m->graph.nodes[i], "Concat")) return false;
    for (int k = m->graph.nodes[i].n_inputs - 1; count > 0; k--) {
        c = k >= 0 ? clq_graph_const(&m->graph, m->graph.nodes[i].inputs[k]) : NULL;
        if (!c || c->dtype != CLQ_DTYPE_S64 || c->rank > 1) return false;
        const int64_t *x = c->data;
        for (size_t n = c->bytes / sizeof *to; n > 0 && count > 0; n--) to[--count] = x[n - 1];
    }
    return true;
}

/* Steps over a node of this type that alone reads its input k; the value before it goes to *value. */
static const struct clq_node *step_over(const char **value, const struct clq_model *m, const char *type, int k)
{
    int i = producer(m, *value);
    const struct clq_node *n = i >= 0 ? &m->graph.nodes[i] : NULL;
    if (!n || !clq_node_is(n, type) || n->n_inputs <= k || readers(m, n->inputs[k]) != 1) return NULL;
    *value = n->inputs[k];
    return n;
}

static bool swaps_heads(const struct clq_node *n)
{
    static const int64_t order[] = {0, 2, 1, 3};
    const struct clq_attr *a = n ? clq_node_attr(n, "perm") : NULL;
    return a && a->n == 4 && memcmp(a->ints, order, sizeof order) == 0;
}

/* From the joined heads of attention back to what its right factor was split from: scores V is linear in V, row by row, so that
 * channel (head, d) of the one is channel (head, d) of the other. */
static bool through_heads(const char **value, const struct clq_model *m, size_t channels)
{
    const struct clq_node *n;
    int64_t joined, split[2];
    if (!(n = step_over(value, m, "Reshape", 0)) || n->n_inputs < 2 || !last_numbers(&joined, 1, m, n->inputs[1]) || joined != (int64_t)channels) return false;
    if (!swaps_heads(step_over(value, m, "Transpose", 0)) || !step_over(value, m, "MatMul", 1)) return false;
    if (!swaps_heads(step_over(value, m, "Transpose", 0)) || !(n = step_over(value, m, "Reshape", 0)) || n->n_inputs < 2) return false;
    return last_numbers(split, 2, m, n->inputs[1]) && split[0] > 0 && split[1] > 0 && split[0] <= joined && joined % split[0] == 0 && joined / split[0] == split[1];
}

bool clq_scalable_find(struct clq_scalable *out, const struct clq_model *m, const struct clq_units *units, int t)
{
    const char *value = units->tensors[t].name;
    int axis, read = 0, vector;
    bool heads = false;
    *out = (struct clq_scalable){.tensor = t, .product = -1};
    for (int i = 0; i < units->n_units; i++) {
        if (!clq_scalable_reader(&axis, m, &units->units[i], t)) continue;
        const size_t channels = (size_t)constant(m, &m->graph.nodes[units->units[i].node], 1)->shape[axis];
        if (read++ > 0 && (channels != out->channels || units->units[i].spatial != out->spatial)) return false;
        out->channels = channels;
        out->spatial = units->units[i].spatial;
    }
    if (read == 0 || out->channels == 0 || readers(m, value) != read) return false;
    for (int depth = 0; depth < CLQ_MAKERS_MOST; depth++) {
        int i = producer(m, value);
        if (i < 0 || (depth > 0 && readers(m, value) != 1)) return false;
        const struct clq_node *n = &m->graph.nodes[i];
        if (clq_node_is(n, "LayerNormalization")) return norm_maker(out, m, i);
        if (clq_node_is(n, "Relu")) value = n->inputs[0];
        else if (clq_node_is(n, "Reshape") && !out->spatial && !heads) {
            if (!through_heads(&value, m, out->channels)) return false;
            heads = true;
        } else if ((clq_node_is(n, "Add") || clq_node_is(n, "Mul")) && (vector = vector_input(out, m, n)) >= 0) {
            if (!add_maker(out, m, i, vector, constant(m, n, vector)->rank - 1)) return false;
            if (clq_node_is(n, "Mul")) return true;
            value = n->inputs[1 - vector];
        } else return product_maker(out, m, units, i);
    }
    return false;
}

/* The input becomes a constant of its own, multiplied or divided along an axis. */
static clq_status scaled(struct clq_model *m, int node, int input, int axis, const float *scale, size_t channels, bool divide, struct clq_error *err)
{
    const struct clq_const c = *clq_graph_const(&m->graph, m->graph.nodes[node].inputs[input]);
    size_t n = c.bytes / sizeof(float), inner = 1;
    if (c.shape[axis] != (int64_t)channels) return clq_fail(err, CLQ_ERR_INTERNAL, "'%s': %zu scales for %lld channels", c.name, channels, (long long)c.shape[axis]);
    for (int d = axis + 1; d < c.rank; d++) inner *= (size_t)c.shape[d];
    float *to = clq_arena_array(&m->arena, n + 1, sizeof *to);
    const char *name = clq_arena_printf(&m->arena, "%s_scaled_%d_%d", c.name, node, input);
    while (name && (clq_graph_const(&m->graph, name) || producer(m, name) >= 0)) name = clq_arena_printf(&m->arena, "%s_", name);
    const float *from = c.data;
    for (size_t i = 0; to && i < n; i++) to[i] = divide ? from[i] / scale[i / inner % channels] : from[i] * scale[i / inner % channels];
    if (!to || !name || !clq_graph_add_const(m, &m->graph, name, CLQ_DTYPE_F32, c.rank, c.shape, to, c.bytes, false))
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    m->graph.nodes[node].inputs[input] = name;
    return CLQ_OK;
}

clq_status clq_scalable_apply(struct clq_model *model, const struct clq_units *units, const struct clq_scalable *s, const float *scale, struct clq_error *err)
{
    int axis;
    for (int k = 0; k < s->n_makers; k++) CLQ_TRY(scaled(model, s->maker[k].node, s->maker[k].input, s->maker[k].axis, scale, s->channels, true, err));
    for (int i = 0; i < units->n_units; i++)
        if (clq_scalable_reader(&axis, model, &units->units[i], s->tensor)) CLQ_TRY(scaled(model, units->units[i].node, 1, axis, scale, s->channels, false, err));
    return CLQ_OK;
}
