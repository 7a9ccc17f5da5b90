/* SPDX-License-Identifier: Apache-2.0
 * Quantizes the constants of every unit to 8 bits, and computes the correction of its bias: the mean output error that the weights'
 * rounding causes, from the mean of each input channel. */
#include <string.h>

#include "base/parallel.h"
#include "search.h"

struct shape {
    size_t outer, channels, inner;
};

static struct shape weight_shape(const struct clq_const *w, int axis)
{
    struct shape s = {1, (size_t)w->shape[axis], 1};
    for (int d = 0; d < axis; d++) s.outer *= (size_t)w->shape[d];
    for (int d = axis + 1; d < w->rank; d++) s.inner *= (size_t)w->shape[d];
    return s;
}

/* The mean of the input that multiplies weight position (channel c, o, i). */
static void correct_bias(const struct clq_search *s, const struct clq_unit *u, const struct clq_const *w, struct clq_unit_weights *uw)
{
    const struct clq_tensor_record *r = &s->tensors[u->in[0]];
    const struct clq_node *n = &s->model.graph.nodes[u->node];
    struct shape sh = weight_shape(w, u->weight_axis);
    bool conv = strcmp(u->op_type, "Conv") == 0;
    size_t taps = 1;
    for (int d = 2; d < w->rank; d++) taps *= (size_t)w->shape[d];
    size_t per_group = conv ? (size_t)w->shape[1] : 0, groups = conv ? (size_t)clq_node_int(n, "group", 1) : 1;
    const float *x = w->data;
    double share = 1; /* of its taps that an output of a transposed convolution has, on average */
    const struct clq_attr *strides = strcmp(u->op_type, "ConvTranspose") == 0 ? clq_node_attr(n, "strides") : NULL;
    for (size_t d = 0; strides && d < strides->n; d++) share /= (double)strides->ints[d];
    for (size_t c = 0; c < sh.channels; c++) {
        double e = 0;
        for (size_t o = 0; o < sh.outer; o++)
            for (size_t i = 0; i < sh.inner; i++) {
                size_t at = (o * sh.channels + c) * sh.inner + i;
                size_t k = conv ? c / (sh.channels / groups) * per_group + i / taps : u->weight_axis == 0 ? i : o;
                e += ((double)uw->codes[at] * (double)uw->scale[c] - (double)x[at]) * (r->sum[k] / (double)r->rows);
            }
        uw->correction[c] = (double)(float)(-e * share); /* as a plan stores it */
    }
}

static clq_status quantize_constant(float **scale, int8_t **codes, struct clq_search *s, const struct clq_const *w, const struct shape *sh, struct clq_error *err)
{
    *scale = clq_arena_array(&s->arena, sh->channels, sizeof(float));
    *codes = clq_arena_array(&s->arena, w->bytes / sizeof(float), 1);
    if (!*scale || !*codes) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    struct clq_weight_job job = {.weight = w->data, .outer = sh->outer, .channels = sh->channels, .inner = sh->inner, .clip = s->weight_clip,
                                 .scale = *scale, .codes = *codes};
    return clq_weights_quantize(&job, w->name, err);
}

/* Constants of a unit that computes in float: wanted only where some mode stores them. */
static clq_status quantize_stored(struct clq_search *s, int i, struct clq_error *err)
{
    const struct clq_unit *u = &s->units.units[i];
    struct clq_unit_weights *uw = &s->weights[i];
    const struct clq_node *n = &s->model.graph.nodes[u->node];
    const struct clq_const *w = clq_graph_const(&s->model.graph, n->inputs[u->weight]);
    struct shape sh = weight_shape(w, u->weight_axis);
    if (!clq_search_has_choice(s, i)) return CLQ_OK;
    uw->channels = (int64_t)sh.channels;
    CLQ_TRY(quantize_constant(&uw->scale, &uw->codes, s, w, &sh, err));
    uw->ready = true;
    if (u->recurrent < 0) return CLQ_OK;
    w = clq_graph_const(&s->model.graph, n->inputs[u->recurrent]);
    sh = weight_shape(w, u->weight_axis);
    return quantize_constant(&uw->recurrent_scale, &uw->recurrent_codes, s, w, &sh, err);
}

static clq_status quantize_unit(struct clq_search *s, int i, struct clq_error *err)
{
    const struct clq_unit *u = &s->units.units[i];
    struct clq_unit_weights *uw = &s->weights[i];
    const struct clq_const *w = clq_graph_const(&s->model.graph, s->model.graph.nodes[u->node].inputs[u->weight]);
    struct shape sh = weight_shape(w, u->weight_axis);
    uw->channels = (int64_t)sh.channels;
    CLQ_TRY(quantize_constant(&uw->scale, &uw->codes, s, w, &sh, err));
    const struct clq_tensor_record *r = &s->tensors[u->in[0]];
    bool correct = s->bias_correction && r->rows > 0 && strcmp(u->op_type, "MatMul") != 0;
    bool conv = strcmp(u->op_type, "Conv") == 0;
    int64_t k = conv ? w->shape[1] * clq_node_int(&s->model.graph.nodes[u->node], "group", 1) : w->shape[1 - u->weight_axis];
    if (correct && r->channels == (size_t)k) {
        uw->correction = clq_arena_array(&s->arena, sh.channels, sizeof(double));
        if (!uw->correction) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
        correct_bias(s, u, w, uw);
    }
    uw->ready = true;
    return CLQ_OK;
}

clq_status clq_search_weights(struct clq_search *s, struct clq_error *err)
{
    s->weights = clq_arena_array(&s->arena, (size_t)s->units.n_units + 1, sizeof *s->weights);
    if (!s->weights) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; i < s->units.n_units; i++) {
        if (!clq_context_progress(s->ctx, "quantizing weights", (double)i / (double)s->units.n_units))
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
        if (s->units.units[i].kind == CLQ_UNIT_PRODUCT) CLQ_TRY(quantize_unit(s, i, err));
        if (s->units.units[i].kind == CLQ_UNIT_STORED) CLQ_TRY(quantize_stored(s, i, err));
    }
    return CLQ_OK;
}
