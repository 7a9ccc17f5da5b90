/* SPDX-License-Identifier: Apache-2.0
 * Raises a model's opset by rewriting the operators whose form changed: attributes that became inputs, and the softmax that
 * became one-axis. The source is ONNX's operator changelog. */
#include <string.h>

#include "graph/simplify.h"

struct pass {
    struct clq_model *model;
    int64_t from, to;
    struct clq_error *err;
};

static bool crosses(const struct pass *u, int64_t version)
{
    return u->from < version && u->to >= version;
}

static clq_status no_memory(struct pass *u)
{
    return clq_fail(u->err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

static void drop_attr(struct clq_node *n, const char *name)
{
    int kept = 0;
    for (int i = 0; i < n->n_attrs; i++)
        if (strcmp(n->attrs[i].name, name) != 0) n->attrs[kept++] = n->attrs[i];
    n->n_attrs = kept;
}

/* Appends a constant as input number at, filling the gap with absent inputs. */
static clq_status constant_input(struct pass *u, struct clq_node *n, int at, const char *what, clq_dtype dtype, int rank, int64_t count,
                                 const void *data, size_t bytes)
{
    struct clq_model *m = u->model;
    const char *name = clq_arena_printf(&m->arena, "%s_%s", n->outputs[0], what);
    while (name && clq_graph_const(&m->graph, name)) name = clq_arena_printf(&m->arena, "%s_", name);
    if (!name || !clq_graph_add_const(m, &m->graph, name, dtype, rank, &count, data, bytes, true)) return no_memory(u);
    while (n->n_inputs < at)
        if (!clq_node_add_input(m, n, "")) return no_memory(u);
    if (n->n_inputs > at) n->inputs[at] = name;
    else if (!clq_node_add_input(m, n, name)) return no_memory(u);
    return CLQ_OK;
}

static clq_status ints_to_input(struct pass *u, struct clq_node *n, const char *attr, int at)
{
    const struct clq_attr *a = clq_node_attr(n, attr);
    if (!a) return CLQ_OK;
    if (a->type != CLQ_ATTR_INTS)
        return clq_fail(u->err, CLQ_ERR_FORMAT, "node '%s' (%s): attribute '%s' is not a list of integers", n->name, n->op_type, attr);
    CLQ_TRY(constant_input(u, n, at, attr, CLQ_DTYPE_S64, 1, (int64_t)a->n, a->ints, a->n * sizeof(int64_t)));
    drop_attr(n, attr);
    return CLQ_OK;
}

static clq_status clip(struct pass *u, struct clq_node *n)
{
    static const char *const names[] = {"min", "max"};
    for (int k = 0; k < 2; k++) {
        const struct clq_attr *a = clq_node_attr(n, names[k]);
        if (!a) continue;
        if (a->type != CLQ_ATTR_FLOAT)
            return clq_fail(u->err, CLQ_ERR_FORMAT, "node '%s' (%s): attribute '%s' is not a number", n->name, n->op_type, names[k]);
        float v = a->f;
        CLQ_TRY(constant_input(u, n, 1 + k, names[k], CLQ_DTYPE_F32, 0, 0, &v, sizeof v));
        drop_attr(n, names[k]);
    }
    return CLQ_OK;
}

static clq_status pad(struct pass *u, struct clq_node *n)
{
    float value = clq_node_float(n, "value", 0);
    CLQ_TRY(ints_to_input(u, n, "pads", 1));
    drop_attr(n, "value");
    return constant_input(u, n, 2, "value", CLQ_DTYPE_F32, 0, 0, &value, sizeof value);
}

/* Upsample, and Resize of opset 10: asymmetric coordinates, rounded down. */
static clq_status resize(struct pass *u, struct clq_node *n)
{
    const struct clq_attr *scales = clq_node_attr(n, "scales");
    const char *given = n->n_inputs > 1 ? n->inputs[1] : "";
    if (n->n_inputs < 1 || (scales && scales->type != CLQ_ATTR_FLOATS) || !clq_node_string(n, "mode", "nearest"))
        return clq_fail(u->err, CLQ_ERR_FORMAT, "node '%s' (%s): its inputs or attributes are malformed", n->name, n->op_type);
    n->n_inputs = 1;
    if (!clq_node_add_input(u->model, n, "")) return no_memory(u);
    if (scales) {
        CLQ_TRY(constant_input(u, n, 2, "scales", CLQ_DTYPE_F32, 1, (int64_t)scales->n, scales->floats, scales->n * sizeof(float)));
        drop_attr(n, "scales");
    } else if (!clq_node_add_input(u->model, n, given)) return no_memory(u);
    n->op_type = "Resize";
    struct clq_attr *mode = clq_node_add_attr(u->model, n, "coordinate_transformation_mode", CLQ_ATTR_STRING);
    struct clq_attr *nearest = mode ? clq_node_add_attr(u->model, n, "nearest_mode", CLQ_ATTR_STRING) : NULL;
    if (!nearest) return no_memory(u);
    for (int i = 0; i < n->n_attrs; i++) {
        if (strcmp(n->attrs[i].name, "coordinate_transformation_mode") == 0) n->attrs[i].s = "asymmetric", n->attrs[i].s_len = 10;
        if (strcmp(n->attrs[i].name, "nearest_mode") == 0) n->attrs[i].s = "floor", n->attrs[i].s_len = 5;
        if (strcmp(n->attrs[i].name, "mode") == 0 && n->attrs[i].type == CLQ_ATTR_STRING && strcmp(n->attrs[i].s, "bilinear") == 0) n->attrs[i].s = "linear", n->attrs[i].s_len = 6;
    }
    return CLQ_OK;
}

/* Softmax before 13 works on the matrix that axis cuts the shape into: Flatten, Softmax over the last axis, Reshape back. */
static clq_status softmax(struct pass *u, int i)
{
    struct clq_model *m = u->model;
    struct clq_node *n = &m->graph.nodes[i];
    int64_t axis = clq_node_int(n, "axis", 1);
    if (axis == -1 || n->n_inputs < 1) return CLQ_OK;
    const char *base = n->outputs[0], *type = n->op_type, *x = n->inputs[0], *name = n->name;
    const char *shape = clq_arena_printf(&m->arena, "%s_shape", base), *flat = clq_arena_printf(&m->arena, "%s_flat", base);
    const char *soft = clq_arena_printf(&m->arena, "%s_soft", base);
    if (!shape || !flat || !soft) return no_memory(u);
    struct clq_node *s = clq_graph_add_node(m, &m->graph, "", "Shape", shape);
    if (!s || !clq_node_add_input(m, s, x) || !clq_node_add_output(m, s, shape)) return no_memory(u);
    struct clq_node *f = clq_graph_add_node(m, &m->graph, "", "Flatten", flat);
    if (!f || !clq_node_add_input(m, f, x) || !clq_node_add_output(m, f, flat) || !clq_node_set_int(m, f, "axis", axis)) return no_memory(u);
    struct clq_node *y = clq_graph_add_node(m, &m->graph, "", type, name);
    if (!y || !clq_node_add_input(m, y, flat) || !clq_node_add_output(m, y, soft) || !clq_node_set_int(m, y, "axis", -1)) return no_memory(u);
    n = &m->graph.nodes[i]; /* the list may have moved */
    n->op_type = "Reshape";
    n->name = clq_arena_printf(&m->arena, "%s_reshape", base);
    n->inputs[0] = soft;
    n->n_attrs = 0;
    return n->name && clq_node_add_input(m, n, shape) ? CLQ_OK : no_memory(u);
}

/* From 18 on reductions take their axes as an input, and an equal split says how many parts it has. */
static clq_status since_18(struct pass *u, struct clq_node *n)
{
    if (strncmp(n->op_type, "Reduce", 6) == 0 && n->domain[0] == 0) return ints_to_input(u, n, "axes", 1);
    if (!clq_node_is(n, "Split") || (n->n_inputs > 1 && n->inputs[1][0])) return CLQ_OK;
    return clq_node_set_int(u->model, n, "num_outputs", n->n_outputs) ? CLQ_OK : no_memory(u);
}

/* From 20 on GridSample's modes have the names of Resize's. */
static void since_20(struct clq_node *n)
{
    for (int i = 0; i < n->n_attrs && clq_node_is(n, "GridSample"); i++) {
        struct clq_attr *a = &n->attrs[i];
        if (strcmp(a->name, "mode") != 0 || a->type != CLQ_ATTR_STRING) continue;
        if (strcmp(a->s, "bilinear") == 0) a->s = "linear", a->s_len = 6;
        else if (strcmp(a->s, "bicubic") == 0) a->s = "cubic", a->s_len = 5;
    }
}

static clq_status upgrade_node(struct pass *u, int i)
{
    struct clq_node *n = &u->model->graph.nodes[i];
    if (n->n_outputs < 1) return CLQ_OK;
    if (crosses(u, 18)) CLQ_TRY(since_18(u, n));
    if (crosses(u, 20)) since_20(n);
    n = &u->model->graph.nodes[i];
    if (crosses(u, 9) && clq_node_is(n, "BatchNormalization")) drop_attr(n, "spatial");
    if (crosses(u, 10) && clq_node_is(n, "Slice")) {
        CLQ_TRY(ints_to_input(u, n, "starts", 1));
        CLQ_TRY(ints_to_input(u, n, "ends", 2));
        CLQ_TRY(ints_to_input(u, n, "axes", 3));
    }
    if (crosses(u, 10) && clq_node_is(n, "TopK")) {
        int64_t k = clq_node_int(n, "k", 1);
        drop_attr(n, "k");
        CLQ_TRY(constant_input(u, n, 1, "k", CLQ_DTYPE_S64, 1, 1, &k, sizeof k));
    }
    if (crosses(u, 11)) {
        if (clq_node_is(n, "Clip")) CLQ_TRY(clip(u, n));
        if (clq_node_is(n, "Pad")) CLQ_TRY(pad(u, n));
        if (clq_node_is(n, "Upsample") || clq_node_is(n, "Resize")) CLQ_TRY(resize(u, n));
        if (clq_node_is(n, "Scatter")) n->op_type = "ScatterElements";
    }
    if (crosses(u, 12) && clq_node_is(n, "Dropout")) drop_attr(n, "ratio");
    if (crosses(u, 13)) {
        if (clq_node_is(n, "Squeeze") || clq_node_is(n, "Unsqueeze") || clq_node_is(n, "ReduceSum")) CLQ_TRY(ints_to_input(u, n, "axes", 1));
        if (clq_node_is(n, "Split")) CLQ_TRY(ints_to_input(u, n, "split", 1));
        if (clq_node_is(n, "Softmax") || clq_node_is(n, "LogSoftmax") || clq_node_is(n, "Hardmax")) CLQ_TRY(softmax(u, i));
    }
    return CLQ_OK;
}

clq_status clq_model_upgrade(struct clq_model *model, int64_t opset, struct clq_error *err)
{
    struct pass u = {.model = model, .from = clq_model_opset(model, ""), .to = opset, .err = err};
    if (u.from >= opset) return CLQ_OK;
    if (u.from < 7) return clq_fail(err, CLQ_ERR_UNSUPPORTED, "opset %lld is older than 7, the oldest that can be upgraded", (long long)u.from);
    int n = model->graph.n_nodes;
    for (int i = 0; i < n; i++) {
        const struct clq_node *node = &model->graph.nodes[i];
        for (int k = 0; k < node->n_attrs; k++)
            if (node->attrs[k].type == CLQ_ATTR_GRAPH)
                return clq_fail(err, CLQ_ERR_UNSUPPORTED, "node '%s' (%s): a model with subgraphs cannot be raised from opset %lld to %lld",
                                node->name, node->op_type, (long long)u.from, (long long)opset);
    }
    for (int i = 0; i < n; i++) CLQ_TRY(upgrade_node(&u, i));
    for (int i = 0; i < model->n_opsets; i++)
        if (model->opsets[i].domain[0] == 0) model->opsets[i].version = opset;
    return clq_graph_sort(model, &model->graph, err);
}
