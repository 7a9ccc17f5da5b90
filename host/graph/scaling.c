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

/* Readers of a value among the nodes; graph outputs count as one. */
static int readers(const struct clq_model *m, const char *value)
{
    int n = 0;
    for (int i = 0; i < m->graph.n_nodes; i++)
        for (int k = 0; k < m->graph.nodes[i].n_inputs; k++) n += strcmp(m->graph.nodes[i].inputs[k], value) == 0;
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

bool clq_scalable_find(struct clq_scalable *out, const struct clq_model *m, const struct clq_units *units, int t)
{
    const char *value = units->tensors[t].name;
    int axis, read = 0, vector;
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
        else if ((clq_node_is(n, "Add") || clq_node_is(n, "Mul")) && (vector = vector_input(out, m, n)) >= 0) {
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
