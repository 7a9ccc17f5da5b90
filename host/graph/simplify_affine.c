/* SPDX-License-Identifier: Apache-2.0
 * Folds what is affine per channel (BatchNormalization, Mul and Add with a constant per channel) into the weights of the
 * convolution before it. Computed in binary64 and rounded once. */
#include <math.h>
#include <string.h>

#include "graph/simplify.h"

/* y = scale * x + shift per channel. */
struct affine {
    double *scale, *shift;
};

static const float *constant_f32(const struct clq_model *model, const char *name, int64_t n)
{
    const struct clq_const *c = name[0] ? clq_graph_const(&model->graph, name) : NULL;
    return c && c->dtype == CLQ_DTYPE_F32 && c->bytes == (size_t)n * sizeof(float) ? c->data : NULL;
}

static bool read_batch_norm(struct clq_model *model, const struct clq_node *n, int64_t channels, const struct affine *a)
{
    if (!clq_node_is(n, "BatchNormalization") || n->n_inputs < 5 || clq_node_int(n, "training_mode", 0) != 0) return false;
    for (int k = 1; k < n->n_outputs; k++)
        if (n->outputs[k][0]) return false;
    const float *gamma = constant_f32(model, n->inputs[1], channels), *beta = constant_f32(model, n->inputs[2], channels);
    const float *mean = constant_f32(model, n->inputs[3], channels), *var = constant_f32(model, n->inputs[4], channels);
    if (!gamma || !beta || !mean || !var) return false;
    double eps = (double)clq_node_float(n, "epsilon", 1e-5f);
    for (int64_t c = 0; c < channels; c++) {
        a->scale[c] = (double)gamma[c] / sqrt((double)var[c] + eps);
        a->shift[c] = (double)beta[c] - (double)mean[c] * a->scale[c];
    }
    return true;
}

/* [C,1,1], [1,C,1,1] or one number against an output of the given rank. */
static bool per_channel(const struct clq_const *c, int64_t channels, int rank)
{
    int first = rank - 1 - c->rank; /* missing leading axes */
    if (c->dtype != CLQ_DTYPE_F32 || c->rank > rank) return false;
    if (c->bytes == sizeof(float)) return true;
    if (c->rank < rank - 1) return false;
    for (int d = 0; d < c->rank; d++) {
        int axis = d + first + 1;
        if (c->shape[d] != (axis == 1 ? channels : 1)) return false;
    }
    return true;
}

static bool read_elementwise(struct clq_model *model, const struct clq_node *n, int64_t channels, int rank, const struct affine *a)
{
    bool mul = clq_node_is(n, "Mul"), add = clq_node_is(n, "Add");
    if ((!mul && !add) || n->n_inputs != 2) return false;
    const struct clq_const *c = clq_graph_const(&model->graph, n->inputs[1]);
    if (!c) c = clq_graph_const(&model->graph, n->inputs[0]);
    if (!c || !per_channel(c, channels, rank)) return false;
    const float *v = c->data;
    bool one = c->bytes == sizeof(float);
    for (int64_t k = 0; k < channels; k++) {
        double x = (double)v[one ? 0 : k];
        a->scale[k] = mul ? x : 1;
        a->shift[k] = mul ? 0 : x;
    }
    return true;
}

static clq_status fold(struct clq_model *model, struct clq_node *conv, const struct clq_node *next, const struct clq_const *w,
                       int64_t channels, bool transposed, const struct affine *a, struct clq_error *err)
{
    const float *bias = conv->n_inputs > 2 ? constant_f32(model, conv->inputs[2], channels) : NULL;
    float *nw = clq_arena_alloc(&model->arena, w->bytes), *nb = clq_arena_array(&model->arena, (size_t)channels, sizeof *nb);
    const char *wname = clq_arena_printf(&model->arena, "%s_folded", w->name), *bname = clq_arena_printf(&model->arena, "%s_bias", next->outputs[0]);
    if (!nw || !nb || !wname || !bname) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    while (clq_graph_const(&model->graph, wname)) wname = clq_arena_printf(&model->arena, "%s_", wname); /* shared weights: one copy each */
    while (clq_graph_const(&model->graph, bname)) bname = clq_arena_printf(&model->arena, "%s_", bname);
    size_t taps = 1, n = w->bytes / sizeof(float);
    for (int d = 2; d < w->rank; d++) taps *= (size_t)w->shape[d];
    size_t per = transposed ? taps : n / (size_t)channels;
    const float *old = w->data;
    for (size_t i = 0; i < n; i++) nw[i] = (float)((double)old[i] * a->scale[i / per % (size_t)channels]);
    for (int64_t c = 0; c < channels; c++) nb[c] = (float)((bias ? (double)bias[c] : 0) * a->scale[c] + a->shift[c]);
    int64_t shape[CLQ_MAX_RANK];
    memcpy(shape, w->shape, sizeof shape);
    int rank = w->rank;
    size_t bytes = w->bytes;
    if (!clq_graph_add_const(model, &model->graph, wname, CLQ_DTYPE_F32, rank, shape, nw, bytes, false) ||
        !clq_graph_add_const(model, &model->graph, bname, CLQ_DTYPE_F32, 1, &channels, nb, (size_t)channels * sizeof *nb, false))
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    conv->inputs[1] = wname;
    if (conv->n_inputs > 2) conv->inputs[2] = bname;
    else if (!clq_node_add_input(model, conv, bname)) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    conv->outputs[0] = next->outputs[0];
    return CLQ_OK;
}

/* Folds node i into the convolution that feeds it; *done says whether it did. */
static clq_status fold_into_producer(struct clq_model *model, struct clq_uses *uses, int i, bool *done, struct clq_error *err)
{
    struct clq_node *n = &model->graph.nodes[i];
    *done = false;
    if (n->n_outputs < 1 || (!clq_node_is(n, "BatchNormalization") && !clq_node_is(n, "Mul") && !clq_node_is(n, "Add"))) return CLQ_OK;
    struct clq_node *conv = NULL;
    for (int k = 0; k < 2 && k < n->n_inputs && !conv; k++) {
        struct clq_node *c = clq_uses_producer(uses, model, n->inputs[k]);
        if (c && (clq_node_is(c, "Conv") || clq_node_is(c, "ConvTranspose")) && clq_uses_count(uses, n->inputs[k]) == 1 && c->n_inputs >= 2) conv = c;
        if (clq_node_is(n, "BatchNormalization")) break;
    }
    if (!conv) return CLQ_OK;
    bool transposed = clq_node_is(conv, "ConvTranspose");
    const struct clq_const *w = clq_graph_const(&model->graph, conv->inputs[1]);
    if (!w || w->dtype != CLQ_DTYPE_F32 || w->rank < 3 || w->bytes == 0 || (transposed && clq_node_int(conv, "group", 1) != 1)) return CLQ_OK;
    int64_t channels = w->shape[transposed ? 1 : 0];
    if (channels <= 0 || (conv->n_inputs > 2 && conv->inputs[2][0] && !constant_f32(model, conv->inputs[2], channels))) return CLQ_OK;
    struct clq_arena scratch = {0};
    struct affine a = {clq_arena_array(&scratch, (size_t)channels, sizeof(double)), clq_arena_array(&scratch, (size_t)channels, sizeof(double))};
    clq_status st = a.scale && a.shift ? CLQ_OK : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    if (st == CLQ_OK && (read_batch_norm(model, n, channels, &a) || read_elementwise(model, n, channels, w->rank, &a))) {
        struct clq_const copy = *w; /* adding constants may move the list */
        st = fold(model, conv, n, &copy, channels, transposed, &a, err);
        *done = st == CLQ_OK;
    }
    clq_arena_free(&scratch);
    return st;
}

clq_status clq_simplify_affine(struct clq_model *model, struct clq_error *err)
{
    struct clq_uses uses;
    CLQ_TRY(clq_uses_start(&uses, model, err));
    clq_status st = CLQ_OK;
    for (int i = 0; i < model->graph.n_nodes && st == CLQ_OK; i++) {
        bool done;
        struct clq_node *n = &model->graph.nodes[i];
        const char *name = n->outputs[0];
        st = fold_into_producer(model, &uses, i, &done, err);
        if (st != CLQ_OK || !done) continue;
        model->graph.nodes[i].op_type = NULL;
        for (int k = 0; k < model->graph.n_nodes; k++) /* the convolution now makes this value */
            if (model->graph.nodes[k].op_type && model->graph.nodes[k].n_outputs > 0 && model->graph.nodes[k].outputs[0] == name)
                if (!clq_map_set(&uses.producer, name, k)) st = clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    }
    clq_uses_free(&uses);
    clq_model_compact(model);
    return st;
}
