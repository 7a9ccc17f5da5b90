/* SPDX-License-Identifier: Apache-2.0
 * The public face of models: loading, describing, running. */
#include "session.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "formats/onnx.h"
#include "graph/simplify.h"
#include "graph/stages.h"
#include "graph/units.h"
#include "placement.h"

static clq_status load(struct clq_model *m, const char *path, bool follow_links, struct clq_error *err)
{
    struct clq_blob blob;
    CLQ_TRY(clq_file_read(&blob, path, 0, err));
    const char *slash = strrchr(path, '/');
    char *directory = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    clq_status st = directory ? clq_onnx_decode_links(m, blob.data, blob.bytes, directory, follow_links, err)
                              : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    if (st == CLQ_OK) {
        clq_hex(m->sha256, m->hash, sizeof m->hash);
        m->file_bytes = blob.bytes;
        m->path = clq_arena_string(&m->arena, path);
        if (!m->path) st = clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    }
    free(directory);
    free(blob.data);
    return st;
}

clq_status clq_model_load(clq_model **out, clq_context *ctx, const char *path, const clq_model_options *options)
{
    if (!out || !ctx || !path) return CLQ_ERR_INVALID_ARGUMENT;
    struct clq_model *m = calloc(1, sizeof *m);
    if (!m) return clq_fail(&ctx->error, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    clq_status st = load(m, path, options && options->follow_links, &ctx->error);
    if (st != CLQ_OK) {
        clq_model_free(m);
        return st;
    }
    *out = m;
    return CLQ_OK;
}

void clq_model_free(clq_model *model)
{
    if (!model) return;
    clq_model_release(model);
    free(model);
}

int clq_model_input_count(const clq_model *model)
{
    return model->graph.n_inputs;
}

int clq_model_output_count(const clq_model *model)
{
    return model->graph.n_outputs;
}

static clq_status describe(clq_value_desc *out, const struct clq_value_info *list, int n, int index)
{
    if (!out || index < 0 || index >= n) return CLQ_ERR_INVALID_ARGUMENT;
    *out = (clq_value_desc){.name = list[index].name, .dtype = list[index].dtype, .rank = list[index].rank};
    for (int d = 0; d < list[index].rank; d++) out->shape[d] = list[index].shape[d];
    return CLQ_OK;
}

clq_status clq_model_input(clq_value_desc *out, const clq_model *model, int index)
{
    return describe(out, model->graph.inputs, model->graph.n_inputs, index);
}

clq_status clq_model_output(clq_value_desc *out, const clq_model *model, int index)
{
    return describe(out, model->graph.outputs, model->graph.n_outputs, index);
}

static bool is_quantized(const struct clq_node *n)
{
    static const char *const types[] = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul",
                                        "ConvInteger", "MatMulInteger", "MatMulNBits", "QLinearAdd", "QGemm"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(n->op_type, types[i]) == 0) return true;
    return false;
}

static bool supported(const struct clq_model *m, const struct clq_node *n)
{
    int64_t opset = clq_model_opset(m, n->domain);
    return clq_control_kind(n, opset) != CLQ_CONTROL_NONE || clq_op_find(n->domain, n->op_type, opset) != NULL;
}

clq_status clq_model_summarize(clq_model_summary *out, const clq_model *model)
{
    if (!out || !model) return CLQ_ERR_INVALID_ARGUMENT;
    const struct clq_graph *g = &model->graph;
    *out = (clq_model_summary){.ir_version = model->ir_version, .opset = clq_model_opset(model, ""), .nodes = g->n_nodes, .constants = g->n_consts};
    for (int i = 0; i < g->n_consts; i++) {
        unsigned bits = clq_dtype_bits(g->consts[i].dtype);
        if (bits == 0) continue;
        out->parameters += g->consts[i].bytes * 8 / bits;
        out->parameter_bytes += g->consts[i].bytes;
    }
    for (int i = 0; i < g->n_nodes; i++) {
        const struct clq_attr *a = clq_node_attr(&g->nodes[i], "value");
        if (strcmp(g->nodes[i].op_type, "Constant") == 0 && a && a->tensor && clq_dtype_bits(a->tensor->dtype)) {
            out->parameters += a->tensor->bytes * 8 / clq_dtype_bits(a->tensor->dtype);
            out->parameter_bytes += a->tensor->bytes;
        }
        out->quantized_nodes += is_quantized(&g->nodes[i]);
        out->unsupported += !supported(model, &g->nodes[i]);
    }
    return CLQ_OK;
}

struct op_count {
    const char *domain, *type;
    int n;
    bool supported;
};

static int by_count(const void *a, const void *b)
{
    const struct op_count *x = a, *y = b;
    return x->n != y->n ? y->n - x->n : strcmp(x->type, y->type);
}

clq_status clq_model_operators(const clq_model *model, clq_operator_fn *visit, void *user)
{
    if (!model || !visit) return CLQ_ERR_INVALID_ARGUMENT;
    const struct clq_graph *g = &model->graph;
    struct op_count *list = calloc((size_t)g->n_nodes + 1, sizeof *list);
    int n = 0;
    if (!list) return CLQ_ERR_OUT_OF_MEMORY;
    for (int i = 0; i < g->n_nodes; i++) {
        int k = 0;
        while (k < n && (strcmp(list[k].type, g->nodes[i].op_type) != 0 || strcmp(list[k].domain, g->nodes[i].domain) != 0)) k++;
        if (k == n) list[n++] = (struct op_count){g->nodes[i].domain, g->nodes[i].op_type, 0, supported(model, &g->nodes[i])};
        list[k].n++;
    }
    qsort(list, (size_t)n, sizeof *list, by_count);
    for (int k = 0; k < n; k++) visit(user, list[k].domain, list[k].type, list[k].n, list[k].supported);
    free(list);
    return CLQ_OK;
}

/* Inputs for shape inference where the caller gives none: unknown dimensions are 1. */
static void default_inputs(const struct clq_graph *g, clq_tensor *in)
{
    for (int i = 0; i < g->n_inputs; i++) {
        const struct clq_value_info *v = &g->inputs[i];
        in[i] = (clq_tensor){.dtype = v->dtype, .rank = v->rank < 0 ? 0 : v->rank};
        for (int d = 0; d < in[i].rank; d++) in[i].shape[d] = v->shape[d] < 0 ? 1 : v->shape[d];
    }
}

static clq_status visit_layers(struct clq_context *ctx, struct clq_model *m, const clq_tensor *in, clq_layer_fn *visit, void *user)
{
    struct clq_program *p;
    struct clq_units units;
    const struct clq_program_options observable = {.observable = true, .partial = true}; /* as quantize looks at it: Add is not fused away */
    CLQ_TRY(clq_program_compile(&p, ctx, m, in, &observable, &ctx->error));
    clq_status st = clq_units_build(&units, m, p, &ctx->error);
    for (int i = 0; st == CLQ_OK && i < units.n_units; i++) {
        const struct clq_unit *u = &units.units[i];
        visit(user, u->name, u->op_type, u->params, u->macs);
    }
    if (st == CLQ_OK) clq_units_free(&units);
    clq_program_free(p);
    return st;
}

clq_status clq_model_layers(clq_context *ctx, const clq_model *model, const clq_tensor *inputs, clq_layer_fn *visit, void *user)
{
    if (!ctx || !model || !visit) return CLQ_ERR_INVALID_ARGUMENT;
    struct clq_model m;
    CLQ_TRY(clq_model_clone(&m, model, &ctx->error));
    clq_tensor *in = calloc((size_t)m.graph.n_inputs + 1, sizeof *in);
    clq_status st = in ? clq_program_check_supported(&m, &ctx->error) : CLQ_ERR_OUT_OF_MEMORY;
    if (st == CLQ_OK) st = clq_model_simplify(&m, &ctx->error);
    if (st == CLQ_OK && !inputs) default_inputs(&m.graph, in);
    if (st == CLQ_OK) st = visit_layers(ctx, &m, inputs ? inputs : in, visit, user);
    free(in);
    clq_model_release(&m);
    return st;
}

/* ---- Sessions ---- */
clq_status clq_session_create(clq_session **out, clq_context *ctx, const clq_model *model)
{
    if (!out || !ctx || !model) return CLQ_ERR_INVALID_ARGUMENT;
    if (!ctx->runtime) CLQ_TRY(clq_program_check_supported(model, &ctx->error));
    struct clq_session *s = calloc(1, sizeof *s);
    if (!s) return clq_fail(&ctx->error, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    s->ctx = ctx;
    clq_status st = clq_model_clone(&s->model, model, &ctx->error);
    if (st == CLQ_OK && !ctx->runtime) st = clq_model_simplify(&s->model, &ctx->error); /* a runtime gets the file as it is */
    if (st != CLQ_OK) {
        clq_model_release(&s->model);
        free(s);
        return st;
    }
    bool placed = false;
    st = clq_placement_read(&placed, &s->on_device, &s->arena, &s->model, &ctx->error);
    struct clq_program_options options = {.device_all = ctx->cl != NULL && !placed, .device_nodes = placed ? &s->on_device : NULL};
    clq_runner_start(&s->runner, ctx, &s->model, &options);
    if (st == CLQ_OK) *out = s;
    else clq_session_free(s);
    return st;
}

void clq_session_free(clq_session *session)
{
    if (!session) return;
    clq_runner_free(&session->runner);
    clq_model_release(&session->model);
    clq_arena_free(&session->arena);
    free(session);
}

clq_status clq_session_run(clq_session *s, const clq_tensor *inputs, int n_inputs, clq_tensor *outputs, int n_outputs)
{
    if (!s || (n_inputs && !inputs) || (n_outputs && !outputs)) return CLQ_ERR_INVALID_ARGUMENT;
    struct clq_error *err = &s->ctx->error;
    if (n_inputs != s->model.graph.n_inputs)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "the model has %d inputs, %d were given", s->model.graph.n_inputs, n_inputs);
    if (n_outputs != s->model.graph.n_outputs)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "the model has %d outputs, room for %d was given", s->model.graph.n_outputs, n_outputs);
    for (int i = 0; i < n_inputs; i++) {
        size_t n;
        if (clq_tensor_bytes(&n, &inputs[i]) != CLQ_OK || (n > 0 && !inputs[i].data))
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "input '%s': the tensor has no valid shape or no data", s->model.graph.inputs[i].name);
    }
    return clq_runner_run(&s->runner, inputs, outputs, NULL, NULL, err);
}
