/* SPDX-License-Identifier: Apache-2.0
 * Writing ONNX. The model becomes a tree of messages that borrow every name and all data; protobuf-c then streams the
 * tree, so that writing needs no second copy of the weights. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "formats/onnx_internal.h"

enum { MAX_GRAPHS = 32, IR_LAST = 13, EXTERNAL_ALIGN = 4096 };
static const size_t external_above = 1500000000;

/* A constant whose data goes into the second file. */
struct outside {
    const struct clq_const *constant;
    size_t offset;
    struct outside *next;
};

struct builder {
    struct clq_arena arena;
    struct clq_onnx_todo *todo;
    int64_t ir; /* the lowest IR version that has the types */
    const char *location; /* of the second file, or NULL: all data inside */
    struct outside *first, **last; /* in the order of their offsets; last is where the next one is linked */
    size_t outside_end;
    struct clq_error *err;
};

static void need_type(struct builder *b, clq_dtype dtype)
{
    int64_t ir = dtype >= CLQ_DTYPE_U2 ? 13 : dtype == CLQ_DTYPE_F8E8M0 ? 12 : dtype == CLQ_DTYPE_F4E2M1 ? 11 : dtype >= CLQ_DTYPE_U4 ? 10
                 : dtype >= CLQ_DTYPE_F8E4M3FN ? 9 : 0;
    if (ir > b->ir) b->ir = ir;
}

static void *room(struct builder *b, size_t n, size_t size)
{
    return clq_arena_array(&b->arena, n, size);
}

static char *borrow(const char *s)
{
    return (char *)(uintptr_t)s; /* protobuf-c's structs are not const, but packing only reads them */
}

static char *borrow_nonempty(const char *s)
{
    return s && s[0] ? borrow(s) : NULL;
}

/* An array of n pointers to n messages: out[i] points to the i-th element of a block of messages of the given size. */
static void **messages(struct builder *b, size_t n, size_t size)
{
    void **list = room(b, n, sizeof *list);
    char *block = room(b, n, size);
    if (!list || !block) return NULL;
    for (size_t i = 0; i < n; i++) list[i] = block + i * size;
    return list;
}

#define MESSAGES(b, n, type) ((type **)(void *)messages(b, (size_t)(n), sizeof(type)))

static bool entry(Onnx__StringStringEntryProto *out, const char *key, const char *value)
{
    onnx__string_string_entry_proto__init(out);
    out->key = borrow(key);
    out->value = borrow(value);
    return value != NULL;
}

/* Gives a constant its place in the second file. */
static clq_status place_outside(struct builder *b, Onnx__TensorProto *out, const struct clq_const *c)
{
    struct outside *o = room(b, 1, sizeof *o);
    Onnx__StringStringEntryProto **list = MESSAGES(b, 3, Onnx__StringStringEntryProto);
    if (!o || !list) return clq_onnx_no_memory(b->err);
    *o = (struct outside){.constant = c};
    if (!clq_size_align(&o->offset, b->outside_end, EXTERNAL_ALIGN) ||
        !clq_size_add(&b->outside_end, o->offset, c->bytes))
        return clq_fail(b->err, CLQ_ERR_INTERNAL, "tensor '%s': external data is too long", c->name);
    if (!entry(list[0], "location", b->location) ||
        !entry(list[1], "offset", clq_arena_printf(&b->arena, "%zu", o->offset)) ||
        !entry(list[2], "length", clq_arena_printf(&b->arena, "%zu", c->bytes)))
        return clq_onnx_no_memory(b->err);
    out->external_data = list;
    out->n_external_data = 3;
    out->has_data_location = true;
    out->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    *b->last = o;
    b->last = &o->next;
    return CLQ_OK;
}

static clq_status tensor(struct builder *b, Onnx__TensorProto *out, const struct clq_const *c)
{
    clq_tensor view = {.dtype = c->dtype, .rank = c->rank};
    size_t bytes = 0;
    memcpy(view.shape, c->shape, sizeof view.shape);
    if (clq_tensor_bytes(&bytes, &view) != CLQ_OK || bytes != c->bytes || (bytes && !c->data))
        return clq_fail(b->err, CLQ_ERR_INTERNAL, "tensor '%s': %zu bytes of data, its shape needs %zu", c->name,
                        c->bytes, bytes);
    onnx__tensor_proto__init(out);
    out->n_dims = (size_t)c->rank;
    out->dims = room(b, out->n_dims, sizeof *out->dims);
    if (!out->dims) return clq_onnx_no_memory(b->err);
    if (c->rank) memcpy(out->dims, c->shape, out->n_dims * sizeof *out->dims);
    out->has_data_type = true;
    out->data_type = (int32_t)c->dtype;
    out->name = borrow_nonempty(c->name);
    need_type(b, c->dtype);
    if (b->location && c->bytes >= EXTERNAL_ALIGN) return place_outside(b, out, c);
    out->has_raw_data = true;
    out->raw_data = (ProtobufCBinaryData){c->bytes, (uint8_t *)(uintptr_t)c->data};
    return CLQ_OK;
}

static clq_status dimensions(struct builder *b, Onnx__TensorShapeProto *out, const struct clq_value_info *v)
{
    onnx__tensor_shape_proto__init(out);
    out->n_dim = (size_t)v->rank;
    out->dim = MESSAGES(b, v->rank, Onnx__TensorShapeProto__Dimension);
    if (!out->dim) return clq_onnx_no_memory(b->err);
    for (int i = 0; i < v->rank; i++) {
        Onnx__TensorShapeProto__Dimension *d = out->dim[i];
        onnx__tensor_shape_proto__dimension__init(d);
        if (v->shape[i] >= 0) {
            d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            d->dim_value = v->shape[i];
        } else if (v->symbol[i] && v->symbol[i][0]) {
            d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            d->dim_param = borrow(v->symbol[i]);
        }
    }
    return CLQ_OK;
}

static clq_status value(struct builder *b, Onnx__ValueInfoProto *out, const struct clq_value_info *v)
{
    onnx__value_info_proto__init(out);
    out->name = borrow(v->name);
    if (v->dtype == CLQ_DTYPE_NONE) return CLQ_OK;
    Onnx__TypeProto *type = room(b, 1, sizeof *type);
    Onnx__TypeProto__Tensor *t = room(b, 1, sizeof *t);
    Onnx__TensorShapeProto *shape = room(b, 1, sizeof *shape);
    if (!type || !t || !shape) return clq_onnx_no_memory(b->err);
    onnx__type_proto__init(type);
    onnx__type_proto__tensor__init(t);
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = t;
    t->has_elem_type = true;
    t->elem_type = (int32_t)v->dtype;
    out->type = type;
    need_type(b, v->dtype);
    if (v->rank < 0) return CLQ_OK;
    t->shape = shape;
    return dimensions(b, shape, v);
}

static clq_status values(struct builder *b, size_t *n_out, Onnx__ValueInfoProto ***out, const struct clq_value_info *v,
                         int n)
{
    Onnx__ValueInfoProto **list = MESSAGES(b, n, Onnx__ValueInfoProto);
    if (!list) return clq_onnx_no_memory(b->err);
    for (int i = 0; i < n; i++) CLQ_TRY(value(b, list[i], &v[i]));
    *out = list;
    *n_out = (size_t)n;
    return CLQ_OK;
}

static clq_status attr_graph(struct builder *b, Onnx__AttributeProto *out, const struct clq_attr *a)
{
    struct clq_onnx_todo *t = room(b, 1, sizeof *t);
    out->g = room(b, 1, sizeof *out->g);
    if (!t || !out->g) return clq_onnx_no_memory(b->err);
    *t = (struct clq_onnx_todo){out->g, a->graph, b->todo};
    b->todo = t;
    return CLQ_OK;
}

static clq_status attr_strings(struct builder *b, Onnx__AttributeProto *out, const struct clq_attr *a)
{
    out->strings = room(b, a->n, sizeof *out->strings);
    if (!out->strings) return clq_onnx_no_memory(b->err);
    for (size_t i = 0; i < a->n; i++)
        out->strings[i] = (ProtobufCBinaryData){strlen(a->strings[i]), (uint8_t *)borrow(a->strings[i])};
    out->n_strings = a->n;
    return CLQ_OK;
}

static clq_status attribute(struct builder *b, Onnx__AttributeProto *out, const struct clq_attr *a)
{
    onnx__attribute_proto__init(out);
    out->name = borrow(a->name);
    out->has_type = true;
    out->type = (Onnx__AttributeProto__AttributeType)a->type;
    switch (a->type) {
    case CLQ_ATTR_FLOAT: out->has_f = true; out->f = a->f; return CLQ_OK;
    case CLQ_ATTR_INT: out->has_i = true; out->i = a->i; return CLQ_OK;
    case CLQ_ATTR_STRING:
        out->has_s = true;
        out->s = (ProtobufCBinaryData){a->s_len, (uint8_t *)borrow(a->s)};
        return CLQ_OK;
    case CLQ_ATTR_TENSOR:
        out->t = room(b, 1, sizeof *out->t);
        return out->t ? tensor(b, out->t, a->tensor) : clq_onnx_no_memory(b->err);
    case CLQ_ATTR_GRAPH: return attr_graph(b, out, a);
    case CLQ_ATTR_FLOATS:
        out->n_floats = a->n;
        out->floats = (float *)(uintptr_t)a->floats;
        return CLQ_OK;
    case CLQ_ATTR_INTS:
        out->n_ints = a->n;
        out->ints = (int64_t *)(uintptr_t)a->ints;
        return CLQ_OK;
    case CLQ_ATTR_STRINGS: return attr_strings(b, out, a);
    }
    return clq_fail(b->err, CLQ_ERR_INTERNAL, "attribute '%s': type %d", a->name, (int)a->type);
}

static clq_status node(struct builder *b, Onnx__NodeProto *out, const struct clq_node *n)
{
    onnx__node_proto__init(out);
    out->name = borrow_nonempty(n->name);
    out->op_type = borrow(n->op_type);
    out->domain = borrow_nonempty(n->domain);
    out->n_input = (size_t)n->n_inputs;
    out->input = (char **)(uintptr_t)n->inputs;
    out->n_output = (size_t)n->n_outputs;
    out->output = (char **)(uintptr_t)n->outputs;
    out->n_attribute = (size_t)n->n_attrs;
    out->attribute = MESSAGES(b, n->n_attrs, Onnx__AttributeProto);
    if (!out->attribute) return clq_onnx_no_memory(b->err);
    for (int i = 0; i < n->n_attrs; i++) CLQ_TRY(attribute(b, out->attribute[i], &n->attrs[i]));
    return CLQ_OK;
}

static clq_status fill(struct builder *b, Onnx__GraphProto *out, const struct clq_graph *g)
{
    onnx__graph_proto__init(out);
    out->name = g->name && g->name[0] ? borrow(g->name) : borrow("graph"); /* the format requires one */
    out->node = MESSAGES(b, g->n_nodes, Onnx__NodeProto);
    out->initializer = MESSAGES(b, g->n_consts, Onnx__TensorProto);
    if (!out->node || !out->initializer) return clq_onnx_no_memory(b->err);
    for (int i = 0; i < g->n_nodes; i++) CLQ_TRY(node(b, out->node[i], &g->nodes[i]));
    out->n_node = (size_t)g->n_nodes;
    for (int i = 0; i < g->n_consts; i++)
        if (g->consts[i].dtype != CLQ_DTYPE_STRING)
            CLQ_TRY(tensor(b, out->initializer[out->n_initializer++], &g->consts[i]));
    CLQ_TRY(values(b, &out->n_input, &out->input, g->inputs, g->n_inputs));
    CLQ_TRY(values(b, &out->n_output, &out->output, g->outputs, g->n_outputs));
    return values(b, &out->n_value_info, &out->value_info, g->infos, g->n_infos);
}

/* The IR version that came with the first ONNX release of an operator set; 4 is the first in which initializers need
 * not be inputs. types: what the element types need. */
static int64_t ir_version(const struct clq_model *model, int64_t types)
{
    static const unsigned char table[] = {4, 4, 4, 4, 4, 4, 4, 4, 4, 4,  5,  6, 7,
                                          7, 7, 8, 8, 8, 8, 9, 9, 10, 10, 11, 12};
    int64_t opset = clq_model_opset(model, "");
    int64_t ir = opset < 0 || opset >= (int64_t)sizeof table ? IR_LAST : table[opset];
    return types > ir ? types : ir;
}

static clq_status header(struct builder *b, Onnx__ModelProto *out, const struct clq_model *model)
{
    out->producer_name = borrow("clquant");
    out->opset_import = MESSAGES(b, model->n_opsets, Onnx__OperatorSetIdProto);
    out->metadata_props = MESSAGES(b, model->n_metadata, Onnx__StringStringEntryProto);
    if (!out->opset_import || !out->metadata_props) return clq_onnx_no_memory(b->err);
    for (int i = 0; i < model->n_opsets; i++) {
        Onnx__OperatorSetIdProto *o = out->opset_import[i];
        onnx__operator_set_id_proto__init(o);
        o->domain = borrow(model->opsets[i].domain);
        o->has_version = true;
        o->version = model->opsets[i].version;
    }
    for (int i = 0; i < model->n_metadata; i++) {
        Onnx__StringStringEntryProto *e = out->metadata_props[i];
        onnx__string_string_entry_proto__init(e);
        e->key = borrow(model->metadata[i].key);
        e->value = borrow(model->metadata[i].value);
    }
    out->n_opset_import = (size_t)model->n_opsets;
    out->n_metadata_props = (size_t)model->n_metadata;
    return CLQ_OK;
}

/* protobuf-c packs recursively: nesting is bounded as in the reader. */
static clq_status check_depth(struct builder *b, const struct clq_model *model)
{
    struct level {
        const struct clq_graph *graph;
        int depth;
        struct level *next;
    } *todo = room(b, 1, sizeof *todo);
    if (!todo) return clq_onnx_no_memory(b->err);
    *todo = (struct level){&model->graph, 0, NULL};
    while (todo) {
        struct level at = *todo;
        todo = at.next;
        if (at.depth > MAX_GRAPHS)
            return clq_fail(b->err, CLQ_ERR_INTERNAL, "graph '%s' is nested more than %d deep", at.graph->name,
                            MAX_GRAPHS);
        for (int i = 0; i < at.graph->n_nodes; i++)
            for (int k = 0; k < at.graph->nodes[i].n_attrs; k++) {
                if (at.graph->nodes[i].attrs[k].type != CLQ_ATTR_GRAPH) continue;
                struct level *fresh = room(b, 1, sizeof *fresh);
                if (!fresh) return clq_onnx_no_memory(b->err);
                *fresh = (struct level){at.graph->nodes[i].attrs[k].graph, at.depth + 1, todo};
                todo = fresh;
            }
    }
    return CLQ_OK;
}

static clq_status build(struct builder *b, Onnx__ModelProto *out, const struct clq_model *model, size_t *bytes)
{
    onnx__model_proto__init(out);
    CLQ_TRY(check_depth(b, model));
    CLQ_TRY(header(b, out, model));
    out->graph = room(b, 1, sizeof *out->graph);
    if (!out->graph) return clq_onnx_no_memory(b->err);
    CLQ_TRY(fill(b, out->graph, &model->graph));
    while (b->todo) {
        struct clq_onnx_todo *t = b->todo;
        b->todo = t->next;
        CLQ_TRY(fill(b, t->from, t->to));
    }
    out->has_ir_version = true;
    out->ir_version = ir_version(model, b->ir);
    *bytes = onnx__model_proto__get_packed_size(out);
    if (*bytes > INT32_MAX)
        return clq_fail(b->err, CLQ_ERR_UNSUPPORTED, "the model needs %zu bytes; an ONNX file ends before 2 GiB",
                        *bytes);
    return CLQ_OK;
}

clq_status clq_onnx_encode(unsigned char **out, size_t *n, const struct clq_model *model, struct clq_error *err)
{
    struct builder b = {.err = err};
    Onnx__ModelProto proto;
    size_t bytes;
    *out = NULL;
    *n = 0;
    clq_status status = build(&b, &proto, model, &bytes);
    if (status == CLQ_OK) {
        *out = malloc(bytes ? bytes : 1);
        if (*out) *n = onnx__model_proto__pack(&proto, *out);
        else status = clq_onnx_no_memory(err);
    }
    clq_arena_free(&b.arena);
    return status;
}

/* A protobuf-c buffer in front of a file. Small pieces are collected; base comes first, so that the pointer that
 * protobuf-c hands back is this struct. */
struct stream {
    ProtobufCBuffer base;
    struct clq_writer writer;
    struct clq_error *err;
    clq_status status;
    size_t used;
    unsigned char piece[64 * 1024];
};

static void flush(struct stream *s)
{
    if (s->status == CLQ_OK && s->used) s->status = clq_writer_write(&s->writer, s->piece, s->used, s->err);
    s->used = 0;
}

static void append(ProtobufCBuffer *buffer, size_t n, const uint8_t *data)
{
    struct stream *s = (struct stream *)(void *)buffer;
    if (n > sizeof s->piece - s->used) flush(s);
    if (n > sizeof s->piece) {
        if (s->status == CLQ_OK) s->status = clq_writer_write(&s->writer, data, n, s->err);
    } else if (n) {
        memcpy(s->piece + s->used, data, n);
        s->used += n;
    }
}

static clq_status stream(const char *path, const Onnx__ModelProto *proto, struct clq_writer_options options,
                         struct clq_writer *data, struct clq_error *err)
{
    struct stream *s = malloc(sizeof *s);
    if (!s) return clq_onnx_no_memory(err);
    s->base.append = append;
    s->err = err;
    s->used = 0;
    s->status = clq_writer_open(&s->writer, path, &options, err);
    if (s->status == CLQ_OK) {
        onnx__model_proto__pack_to_buffer(proto, &s->base);
        flush(s);
        if (s->status == CLQ_OK && data) s->status = clq_writer_commit(data, err);
        if (s->status == CLQ_OK) s->status = clq_writer_commit(&s->writer, err);
        clq_writer_abort(&s->writer);
    }
    clq_status status = s->status;
    free(s);
    return status;
}

/* Of the outermost graph's constants. Attributes are seldom large; a file that is too long for them fails cleanly. */
static size_t data_bytes(const struct clq_model *model)
{
    size_t sum = 0;
    for (int i = 0; i < model->graph.n_consts; i++)
        if (!clq_size_add(&sum, sum, model->graph.consts[i].bytes)) return SIZE_MAX;
    return sum;
}

static clq_status write_outside(struct clq_writer *w, const struct outside *first, struct clq_error *err)
{
    static const unsigned char zeros[EXTERNAL_ALIGN];
    for (const struct outside *o = first; o; o = o->next) {
        CLQ_TRY(clq_writer_write(w, zeros, o->offset - (size_t)w->written, err));
        CLQ_TRY(clq_writer_write(w, o->constant->data, o->constant->bytes, err));
    }
    return CLQ_OK;
}

/* Builds the messages again with the large constants outside, and writes both files. */
static clq_status write_external(const char *path, const struct clq_model *model, struct clq_writer_options o,
                                 struct clq_error *err)
{
    struct builder b = {.err = err};
    Onnx__ModelProto proto;
    struct clq_writer data = {0};
    const char *slash = strrchr(path, '/');
    const char *data_path = clq_arena_printf(&b.arena, "%s.data", path);
    if (!data_path) return clq_onnx_no_memory(err);
    b.location = slash ? data_path + (slash + 1 - path) : data_path;
    b.last = &b.first;
    clq_status status = strchr(b.location, '\\')
                            ? clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "'%s': external data needs a name without backslash", path)
                            : build(&b, &proto, model, &(size_t){0});
    if (status == CLQ_OK) {
        o.bytes = b.outside_end;
        status = clq_writer_open(&data, data_path, &o, err);
    }
    if (status == CLQ_OK) status = write_outside(&data, b.first, err);
    o.bytes = 0;
    if (status == CLQ_OK) status = stream(path, &proto, o, &data, err);
    clq_writer_abort(&data);
    clq_arena_free(&b.arena);
    return status;
}

clq_status clq_onnx_write_with(const char *path, const struct clq_model *model,
                               const struct clq_onnx_write_options *options, struct clq_error *err)
{
    struct builder b = {.err = err};
    Onnx__ModelProto proto;
    size_t bytes = 0;
    struct clq_writer_options o = {.force = options->force, .inputs = options->inputs, .n_inputs = options->n_inputs};
    if (options->external || data_bytes(model) > external_above) return write_external(path, model, o, err);
    clq_status status = build(&b, &proto, model, &bytes);
    o.bytes = bytes;
    if (status == CLQ_OK) status = stream(path, &proto, o, NULL, err);
    clq_arena_free(&b.arena);
    return status;
}

clq_status clq_onnx_write(const char *path, const struct clq_model *model, bool force, struct clq_error *err)
{
    return clq_onnx_write_with(path, model, &(struct clq_onnx_write_options){.force = force}, err);
}
