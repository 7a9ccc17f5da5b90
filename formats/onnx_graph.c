/* SPDX-License-Identifier: Apache-2.0
 * GraphProto to clq_graph: values, initializers, nodes and attributes. Nested graphs wait in a list, so that nothing
 * here recurses. */
#include <string.h>

#include "base/size.h"
#include "formats/onnx_internal.h"

static const char *text(const char *s)
{
    return s ? s : "";
}

static const char *copy(struct clq_onnx_reader *r, const char *s)
{
    return clq_arena_string(r->arena, text(s));
}

/* Array pointers stay NULL when there is nothing. */
static bool array(struct clq_onnx_reader *r, void *out, size_t n, size_t size)
{
    void *p = n ? clq_arena_array(r->arena, n, size) : NULL;
    memcpy(out, &p, sizeof p);
    return p || !n;
}

static bool enqueue(struct clq_onnx_reader *r, Onnx__GraphProto *from, struct clq_graph *to)
{
    struct clq_onnx_todo *t = clq_arena_array(&r->scratch, 1, sizeof *t);
    if (!t) return false;
    *t = (struct clq_onnx_todo){from, to, r->todo};
    r->todo = t;
    return true;
}

/* shape of a value; false when it has more dimensions than clq_value_info holds. */
static bool value_shape(struct clq_onnx_reader *r, struct clq_value_info *out, const Onnx__TensorShapeProto *s,
                        bool *memory)
{
    if (s->n_dim > CLQ_MAX_RANK) return false;
    out->rank = (int)s->n_dim;
    for (int i = 0; i < out->rank; i++) {
        const Onnx__TensorShapeProto__Dimension *d = s->dim[i];
        out->shape[i] = -1; /* a negative number means unknown, as onnxruntime reads it */
        out->symbol[i] = "";
        if (d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE && d->dim_value >= 0)
            out->shape[i] = d->dim_value;
        else if (d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM)
            out->symbol[i] = copy(r, d->dim_param);
        *memory = *memory && out->symbol[i];
    }
    return true;
}

enum role { INPUT, OUTPUT, RECORDED, INNER }; /* INNER: of a nested graph; those may lack a type */

/* Fills out. What clq_value_info cannot hold is UNSUPPORTED for inputs and outputs and left unknown elsewhere. */
static clq_status value(struct clq_onnx_reader *r, struct clq_value_info *out, const Onnx__ValueInfoProto *v,
                        enum role role)
{
    static const char *const roles[] = {"graph input", "graph output", "value", "inner value"};
    const Onnx__TypeProto *type = v->type;
    *out = (struct clq_value_info){.name = copy(r, v->name), .rank = -1};
    if (!out->name) return clq_onnx_no_memory(r->err);
    if (!out->name[0]) return clq_fail(r->err, CLQ_ERR_FORMAT, "a %s without a name", roles[role]);
    if (!type || type->value_case == ONNX__TYPE_PROTO__VALUE__NOT_SET)
        return role == INPUT ? clq_fail(r->err, CLQ_ERR_FORMAT, "graph input '%s' has no type", out->name) : CLQ_OK;
    if (type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE)
        return role == RECORDED ? CLQ_OK
                                : clq_fail(r->err, CLQ_ERR_UNSUPPORTED, "%s '%s' is not a dense tensor", roles[role],
                                           out->name);
    const Onnx__TypeProto__Tensor *tensor = type->tensor_type;
    int32_t number = tensor->has_elem_type ? tensor->elem_type : 0;
    out->dtype = clq_onnx_dtype(number);
    if (number == 0 && role == INPUT)
        return clq_fail(r->err, CLQ_ERR_FORMAT, "graph input '%s' has no element type", out->name);
    if (out->dtype == CLQ_DTYPE_NONE && number != 0 && role != RECORDED)
        return clq_fail(r->err, number < 0 || number > 26 ? CLQ_ERR_FORMAT : CLQ_ERR_UNSUPPORTED,
                        "%s '%s': element type %d is not supported", roles[role], out->name, number);
    bool memory = true;
    if (!tensor->shape) return CLQ_OK;
    if (!value_shape(r, out, tensor->shape, &memory) && role != RECORDED)
        return clq_fail(r->err, CLQ_ERR_UNSUPPORTED, "%s '%s': rank %zu, expected at most %d", roles[role], out->name,
                        tensor->shape->n_dim, CLQ_MAX_RANK);
    return memory ? CLQ_OK : clq_onnx_no_memory(r->err);
}

static clq_status initializers(struct clq_onnx_reader *r, struct clq_graph *g, const Onnx__GraphProto *from,
                               struct clq_map *names)
{
    if (from->n_sparse_initializer) {
        const Onnx__TensorProto *values = from->sparse_initializer[0]->values;
        return clq_fail(r->err, CLQ_ERR_UNSUPPORTED, "tensor '%s': sparse tensors are not supported",
                        values ? text(values->name) : "");
    }
    if (!array(r, &g->consts, from->n_initializer, sizeof *g->consts)) return clq_onnx_no_memory(r->err);
    for (size_t i = 0; i < from->n_initializer; i++) {
        struct clq_const *c = &g->consts[i];
        CLQ_TRY(clq_onnx_tensor(r, c, from->initializer[i]));
        if (!c->name[0]) return clq_fail(r->err, CLQ_ERR_FORMAT, "initializer %zu has no name", i);
        if (clq_map_get(names, c->name) >= 0)
            return clq_fail(r->err, CLQ_ERR_FORMAT, "initializer '%s' appears twice", c->name);
        if (!clq_map_set(names, c->name, (int)i) ||
            (c->dtype == CLQ_DTYPE_STRING && !clq_map_set(&r->texts, c->name, 0)))
            return clq_onnx_no_memory(r->err);
        g->n_consts++;
    }
    return CLQ_OK;
}

/* A value that a node or the outside reads must not be a tensor of strings. */
static clq_status check_read(struct clq_onnx_reader *r, const char *name)
{
    if (clq_map_get(&r->texts, name) < 0) return CLQ_OK;
    return clq_fail(r->err, CLQ_ERR_UNSUPPORTED, "tensor '%s': tensors of strings are not supported", name);
}

static clq_status values(struct clq_onnx_reader *r, struct clq_graph *g, const Onnx__GraphProto *from,
                         const struct clq_map *consts)
{
    bool main = g == &r->model->graph;
    struct clq_map outputs;
    clq_map_start(&outputs, &r->scratch);
    if (!array(r, &g->inputs, from->n_input, sizeof *g->inputs) ||
        !array(r, &g->outputs, from->n_output, sizeof *g->outputs) ||
        !array(r, &g->infos, from->n_value_info, sizeof *g->infos))
        return clq_onnx_no_memory(r->err);
    for (size_t i = 0; i < from->n_input; i++) {
        if (clq_map_get(consts, text(from->input[i]->name)) >= 0) continue;
        CLQ_TRY(value(r, &g->inputs[g->n_inputs], from->input[i], main ? INPUT : INNER));
        g->n_inputs++;
    }
    for (size_t i = 0; i < from->n_output; i++) {
        struct clq_value_info *v = &g->outputs[i];
        CLQ_TRY(value(r, v, from->output[i], main ? OUTPUT : INNER));
        CLQ_TRY(check_read(r, v->name));
        if (main && clq_map_get(&outputs, v->name) >= 0)
            return clq_fail(r->err, CLQ_ERR_FORMAT, "graph output '%s' appears twice", v->name);
        if (!clq_map_set(&outputs, v->name, 0)) return clq_onnx_no_memory(r->err);
        g->n_outputs++;
    }
    for (size_t i = 0; i < from->n_value_info; i++) {
        CLQ_TRY(value(r, &g->infos[g->n_infos], from->value_info[i], RECORDED));
        if (g->infos[g->n_infos].dtype != CLQ_DTYPE_NONE) g->n_infos++;
    }
    return CLQ_OK;
}

struct owner {
    struct clq_onnx_reader *r;
    const char *node;
    const Onnx__AttributeProto *from;
};

static clq_status attr_fail(const struct owner *o, clq_status status, const char *what)
{
    return clq_fail(o->r->err, status, "node '%s', attribute '%s': %s", o->node, text(o->from->name), what);
}

/* Only the member that type names may be filled. */
static bool foreign_members(const Onnx__AttributeProto *a)
{
    int t = (int)a->type;
    return (a->has_f && t != CLQ_ATTR_FLOAT) || (a->has_i && t != CLQ_ATTR_INT) || (a->has_s && t != CLQ_ATTR_STRING) ||
           (a->t && t != CLQ_ATTR_TENSOR) || (a->g && t != CLQ_ATTR_GRAPH) || (a->n_floats && t != CLQ_ATTR_FLOATS) ||
           (a->n_ints && t != CLQ_ATTR_INTS) || (a->n_strings && t != CLQ_ATTR_STRINGS) || a->n_tensors ||
           a->n_graphs || a->sparse_tensor || a->n_sparse_tensors || a->tp || a->n_type_protos;
}

static clq_status attr_strings(const struct owner *o, struct clq_attr *out)
{
    const Onnx__AttributeProto *a = o->from;
    const char **list;
    if (!array(o->r, &list, a->n_strings, sizeof *list)) return clq_onnx_no_memory(o->r->err);
    for (size_t i = 0; i < a->n_strings; i++) {
        const ProtobufCBinaryData *s = &a->strings[i];
        if (s->len && memchr(s->data, 0, s->len)) return attr_fail(o, CLQ_ERR_UNSUPPORTED, "a text with a zero byte");
        list[i] = clq_arena_bytes(o->r->arena, s->data, s->len);
        if (!list[i]) return clq_onnx_no_memory(o->r->err);
    }
    out->strings = list;
    out->n = a->n_strings;
    return CLQ_OK;
}

static clq_status attr_tensor(const struct owner *o, struct clq_attr *out)
{
    if (!o->from->t) return attr_fail(o, CLQ_ERR_FORMAT, "its tensor is missing");
    struct clq_const *c = clq_arena_array(o->r->arena, 1, sizeof *c);
    if (!c) return clq_onnx_no_memory(o->r->err);
    CLQ_TRY(clq_onnx_tensor(o->r, c, o->from->t));
    if (c->dtype == CLQ_DTYPE_STRING)
        return attr_fail(o, CLQ_ERR_UNSUPPORTED, "tensors of strings are not supported");
    out->tensor = c;
    return CLQ_OK;
}

static clq_status attr_graph(const struct owner *o, struct clq_attr *out)
{
    if (!o->from->g) return attr_fail(o, CLQ_ERR_FORMAT, "its graph is missing");
    out->graph = clq_arena_array(o->r->arena, 1, sizeof *out->graph);
    return out->graph && enqueue(o->r, o->from->g, out->graph) ? CLQ_OK : clq_onnx_no_memory(o->r->err);
}

static clq_status attr_numbers(const struct owner *o, struct clq_attr *out, bool floats)
{
    const Onnx__AttributeProto *a = o->from;
    size_t n = floats ? a->n_floats : a->n_ints, size = floats ? sizeof *a->floats : sizeof *a->ints;
    void *list;
    if (!array(o->r, &list, n, size)) return clq_onnx_no_memory(o->r->err);
    if (n) memcpy(list, floats ? (const void *)a->floats : (const void *)a->ints, n * size);
    out->n = n;
    if (floats) out->floats = list;
    else out->ints = list;
    return CLQ_OK;
}

static clq_status attribute(const struct owner *o, struct clq_attr *out)
{
    const Onnx__AttributeProto *a = o->from;
    if (!a->name || !a->name[0]) return attr_fail(o, CLQ_ERR_FORMAT, "has no name");
    if (a->ref_attr_name && a->ref_attr_name[0])
        return attr_fail(o, CLQ_ERR_FORMAT, "refers to an attribute of a function outside of one");
    if (!a->has_type || a->type == ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__UNDEFINED)
        return attr_fail(o, CLQ_ERR_FORMAT, "has no type");
    *out = (struct clq_attr){.name = copy(o->r, a->name), .type = (enum clq_attr_type)a->type, .s = ""};
    if (!out->name) return clq_onnx_no_memory(o->r->err);
    int type = (int)a->type;
    if (type < 0 || type > 14) return attr_fail(o, CLQ_ERR_FORMAT, "its type does not exist");
    if (type > CLQ_ATTR_STRINGS)
        return attr_fail(o, CLQ_ERR_UNSUPPORTED, "a list of tensors or graphs, a sparse tensor or a type");
    if (foreign_members(a)) return attr_fail(o, CLQ_ERR_FORMAT, "has a value of another type than it says");
    switch (out->type) {
    case CLQ_ATTR_FLOAT: out->f = a->f; return CLQ_OK;
    case CLQ_ATTR_INT: out->i = a->i; return CLQ_OK;
    case CLQ_ATTR_STRING:
        out->s_len = a->s.len;
        out->s = clq_arena_bytes(o->r->arena, a->s.data, a->s.len);
        return out->s ? CLQ_OK : clq_onnx_no_memory(o->r->err);
    case CLQ_ATTR_TENSOR: return attr_tensor(o, out);
    case CLQ_ATTR_GRAPH: return attr_graph(o, out);
    case CLQ_ATTR_STRINGS: return attr_strings(o, out);
    default: return attr_numbers(o, out, out->type == CLQ_ATTR_FLOATS);
    }
}

static clq_status attributes(struct clq_onnx_reader *r, struct clq_node *node, const Onnx__NodeProto *from)
{
    struct clq_map names;
    clq_map_start(&names, &r->scratch);
    if (!array(r, &node->attrs, from->n_attribute, sizeof *node->attrs)) return clq_onnx_no_memory(r->err);
    for (size_t i = 0; i < from->n_attribute; i++) {
        struct owner o = {r, node->name, from->attribute[i]};
        CLQ_TRY(attribute(&o, &node->attrs[i]));
        if (clq_map_get(&names, node->attrs[i].name) >= 0) return attr_fail(&o, CLQ_ERR_FORMAT, "appears twice");
        if (!clq_map_set(&names, node->attrs[i].name, 0)) return clq_onnx_no_memory(r->err);
        node->n_attrs++;
    }
    return CLQ_OK;
}

static clq_status names(struct clq_onnx_reader *r, const char ***out, int *n, char **from, size_t count, bool read)
{
    if (!array(r, out, count, sizeof **out)) return clq_onnx_no_memory(r->err);
    for (size_t i = 0; i < count; i++) {
        (*out)[i] = copy(r, from[i]);
        if (!(*out)[i]) return clq_onnx_no_memory(r->err);
        if (read) CLQ_TRY(check_read(r, (*out)[i]));
    }
    *n = (int)count;
    return CLQ_OK;
}

static clq_status operator(struct clq_onnx_reader *r, struct clq_node *node, const Onnx__NodeProto *from)
{
    node->op_type = copy(r, from->op_type);
    node->domain = strcmp(text(from->domain), "ai.onnx") == 0 ? "" : copy(r, from->domain);
    if (!node->op_type || !node->domain) return clq_onnx_no_memory(r->err);
    if (!node->op_type[0]) return clq_fail(r->err, CLQ_ERR_FORMAT, "node '%s' has no op_type", text(from->name));
    if (clq_model_opset(r->model, node->domain) == 0)
        return clq_fail(r->err, CLQ_ERR_FORMAT, "node '%s' (%s): the model imports no operator set of domain '%s'",
                        text(from->name), node->op_type, node->domain);
    if (r->functions.count) {
        const char *key = clq_arena_printf(&r->scratch, "%zu %s %s", strlen(node->domain), node->domain, node->op_type);
        if (!key) return clq_onnx_no_memory(r->err);
        if (clq_map_get(&r->functions, key) >= 0)
            return clq_fail(r->err, CLQ_ERR_UNSUPPORTED, "node '%s' calls the function '%s' of the model; functions "
                            "are not supported", text(from->name), node->op_type);
    }
    return CLQ_OK;
}

/* The first free name of: base, base_1, base_2, ... Each base counts on from its last number, so that many equal names
 * take linear time. */
static const char *free_name(struct clq_onnx_reader *r, const char *base)
{
    int last = clq_map_get(&r->node_names, base);
    if (last < 0) return base;
    for (int i = last + 1; i < INT32_MAX; i++) {
        const char *name = clq_arena_printf(r->arena, "%s_%d", base, i);
        if (!name) return NULL;
        if (clq_map_get(&r->node_names, name) < 0) return clq_map_set(&r->node_names, base, i) ? name : NULL;
    }
    return NULL;
}

/* Names that the file gives and that are free stay; the other nodes are named after their first output. */
static clq_status node_names(struct clq_onnx_reader *r, struct clq_graph *g, const Onnx__GraphProto *from)
{
    for (size_t i = 0; i < from->n_node; i++) {
        const char *name = copy(r, from->node[i]->name);
        if (!name) return clq_onnx_no_memory(r->err);
        if (!name[0] || clq_map_get(&r->node_names, name) >= 0) continue;
        g->nodes[i].name = name;
        if (!clq_map_set(&r->node_names, name, 0)) return clq_onnx_no_memory(r->err);
    }
    for (size_t i = 0; i < from->n_node; i++) {
        const Onnx__NodeProto *n = from->node[i];
        if (g->nodes[i].name) continue;
        const char *base = n->n_output && n->output[0][0] ? n->output[0] : text(n->op_type);
        const char *own = copy(r, base);
        g->nodes[i].name = own ? free_name(r, own) : NULL;
        if (!g->nodes[i].name || !clq_map_set(&r->node_names, g->nodes[i].name, 0)) return clq_onnx_no_memory(r->err);
    }
    return CLQ_OK;
}

static clq_status nodes(struct clq_onnx_reader *r, struct clq_graph *g, const Onnx__GraphProto *from)
{
    if (!array(r, &g->nodes, from->n_node, sizeof *g->nodes)) return clq_onnx_no_memory(r->err);
    CLQ_TRY(node_names(r, g, from));
    for (size_t i = 0; i < from->n_node; i++) {
        const Onnx__NodeProto *n = from->node[i];
        struct clq_node *node = &g->nodes[i];
        CLQ_TRY(operator(r, node, n));
        CLQ_TRY(names(r, &node->inputs, &node->n_inputs, n->input, n->n_input, true));
        CLQ_TRY(names(r, &node->outputs, &node->n_outputs, n->output, n->n_output, false));
        if (node->n_outputs == 0) return clq_fail(r->err, CLQ_ERR_FORMAT, "node '%s' has no outputs", node->name);
        CLQ_TRY(attributes(r, node, n));
        g->n_nodes++;
    }
    return CLQ_OK;
}

static clq_status fill(struct clq_onnx_reader *r, struct clq_graph *g, Onnx__GraphProto *from)
{
    struct clq_map consts;
    clq_map_start(&consts, &r->scratch);
    g->name = copy(r, from->name);
    if (!g->name) return clq_onnx_no_memory(r->err);
    CLQ_TRY(initializers(r, g, from, &consts));
    CLQ_TRY(values(r, g, from, &consts));
    if (g->n_outputs == 0 && g == &r->model->graph)
        return clq_fail(r->err, CLQ_ERR_FORMAT, "graph '%s' has no outputs", g->name);
    return nodes(r, g, from);
}

clq_status clq_onnx_graphs(struct clq_onnx_reader *r, Onnx__GraphProto *from)
{
    if (!enqueue(r, from, &r->model->graph)) return clq_onnx_no_memory(r->err);
    while (r->todo) {
        struct clq_onnx_todo *t = r->todo;
        r->todo = t->next;
        t->next = r->done;
        r->done = t;
        CLQ_TRY(fill(r, t->to, t->from));
    }
    for (struct clq_onnx_todo *t = r->done; t; t = t->next) CLQ_TRY(clq_graph_sort(r->model, t->to, r->err));
    return CLQ_OK;
}
