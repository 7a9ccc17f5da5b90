/* SPDX-License-Identifier: Apache-2.0
 * Rewrites a float model into its Q/DQ form. */
#include "graph/qdq.h"

#include <math.h>
#include <string.h>

#include "graph/qdq_writer.h"
#include "graph/simplify.h"

const char *clq_target_name(enum clq_target target)
{
    static const char *const names[CLQ_TARGET_COUNT] = {"generic", "ort", "tensorrt", "openvino"};
    return (unsigned)target < CLQ_TARGET_COUNT ? names[target] : "unknown";
}

static clq_status no_memory(struct clq_qdq_writer *w)
{
    return clq_fail(w->err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

/* A new name built from base; NULL when memory is out. */
const char *clq_qdq_fresh(struct clq_qdq_writer *w, const char *base, const char *suffix)
{
    const char *name = clq_arena_printf(&w->m->arena, "%s%s", base, suffix);
    while (name && clq_map_get(&w->taken, name) >= 0) name = clq_arena_printf(&w->m->arena, "%s_", name);
    return name && clq_map_set(&w->taken, name, 1) ? name : NULL;
}

const char *clq_qdq_constant(struct clq_qdq_writer *w, const char *base, const char *suffix, clq_dtype dtype, int rank, const int64_t *shape,
                            const void *data, size_t bytes)
{
    const char *name = clq_qdq_fresh(w, base, suffix);
    return name && clq_graph_add_const(w->m, &w->m->graph, name, dtype, rank, shape, data, bytes, true) ? name : NULL;
}

/* Adds y = Q(x) or y = DQ(x); axis < 0: per tensor; zero NULL: none. */
const char *clq_qdq_linear(struct clq_qdq_writer *w, bool quantize, const char *x, const char *scale, const char *zero, const char *y, int axis)
{
    const char *name = y ? clq_qdq_fresh(w, y, quantize ? "_QuantizeLinear" : "_DequantizeLinear") : NULL;
    struct clq_node *n = name ? clq_graph_add_node(w->m, &w->m->graph, "", quantize ? "QuantizeLinear" : "DequantizeLinear", name) : NULL;
    bool ok = n && clq_node_add_input(w->m, n, x) && clq_node_add_input(w->m, n, scale) && (!zero || clq_node_add_input(w->m, n, zero)) &&
              clq_node_add_output(w->m, n, y) && (axis < 0 || clq_node_set_int(w->m, n, "axis", axis));
    return ok ? y : NULL;
}

static clq_status group_constants(struct clq_qdq_writer *w, int t)
{
    int g = w->plan->units->tensors[t].group;
    if (!w->scale[g]) {
        const struct clq_qparams *q = &w->plan->params[g];
        const char *base = w->plan->units->tensors[g].name;
        uint8_t code = (uint8_t)(w->is_signed ? q->zero_point - 128 : q->zero_point);
        w->scale[g] = clq_qdq_constant(w, base, "_scale", CLQ_DTYPE_F32, 0, NULL, &q->scale, sizeof q->scale);
        w->zero[g] = clq_qdq_constant(w, base, "_zero_point", w->is_signed ? CLQ_DTYPE_S8 : CLQ_DTYPE_U8, 0, NULL, &code, 1);
        if (!w->scale[g] || !w->zero[g]) return no_memory(w);
    }
    w->scale[t] = w->scale[g];
    w->zero[t] = w->zero[g];
    return CLQ_OK;
}

/* from -> Q -> DQ -> to */
static clq_status pair(struct clq_qdq_writer *w, int t, const char *from, const char *to)
{
    CLQ_TRY(group_constants(w, t));
    const char *codes = clq_qdq_fresh(w, w->plan->units->tensors[t].name, "_codes");
    if (!codes || !clq_qdq_linear(w, true, from, w->scale[t], w->zero[t], codes, -1) || !clq_qdq_linear(w, false, codes, w->scale[t], w->zero[t], to, -1))
        return no_memory(w);
    return CLQ_OK;
}

/* Makes sure that the dequantized form of a tensor exists. */
static clq_status need_real(struct clq_qdq_writer *w, int t)
{
    if (w->real[t]) return CLQ_OK;
    const struct clq_unit_tensor *tensor = &w->plan->units->tensors[t];
    const char *to = clq_qdq_fresh(w, tensor->name, "_real");
    if (!to) return no_memory(w);
    w->real[t] = to;
    return pair(w, t, tensor->name, to);
}

/* The unit's output leaves as codes: producer -> new name -> Q -> DQ -> the old name, which everybody keeps reading. */
static clq_status output_pair(struct clq_qdq_writer *w, const struct clq_unit *u)
{
    const struct clq_unit_tensor *tensor = &w->plan->units->tensors[u->out];
    const char *raw = clq_qdq_fresh(w, tensor->name, "_raw");
    if (!raw) return no_memory(w);
    struct clq_node *last = &w->m->graph.nodes[u->act >= 0 ? u->act : u->node];
    last->outputs[0] = raw;
    w->real[u->out] = tensor->name;
    return pair(w, u->out, raw, tensor->name);
}

/* The bias at scale s_x * s_w; a channel whose bias does not fit gets a larger weight scale (numerics.md 5). */
static bool quantize_bias(const struct clq_unit_weights *uw, const float *bias, const struct clq_qparams *x, float *scale, int32_t *codes, float *raised)
{
    bool fits = true;
    for (int64_t c = 0; c < uw->channels; c++) {
        double b = (bias ? (double)bias[c] : 0) + (uw->correction ? uw->correction[c] : 0);
        scale[c] = (float)((double)x->scale * (double)uw->scale[c]);
        double limit = 1073741824.0, code = b / ((double)x->scale * (double)uw->scale[c]);
        raised[c] = 0;
        if (!isnormal(scale[c]) || fabs(code) > limit) {
            double s = fmax(fabs(b) / limit, 1.2e-38) / (double)x->scale;
            raised[c] = (float)(s * 1.01);
            fits = false;
            continue;
        }
        codes[c] = (int32_t)nearbyint(b / (double)scale[c]);
    }
    return fits;
}

/* Weights and bias of a product become constants of codes with their DQ nodes. */
static clq_status product_constants(struct clq_qdq_writer *w, const struct clq_unit *u, const struct clq_unit_weights *uw)
{
    struct clq_arena *a = &w->m->arena;
    const struct clq_node *n = &w->m->graph.nodes[u->node];
    const struct clq_const *wc = clq_graph_const(&w->m->graph, n->inputs[u->weight]);
    const struct clq_const *bc = u->bias >= 0 ? clq_graph_const(&w->m->graph, n->inputs[u->bias]) : NULL;
    int64_t shape[CLQ_MAX_RANK];
    int rank = wc->rank;
    memcpy(shape, wc->shape, sizeof shape);
    const char *base = clq_qdq_fresh(w, u->name, "_weight");
    size_t channels = (size_t)uw->channels, codes_bytes = wc->bytes / sizeof(float);
    float *wscale = clq_arena_array(a, channels, sizeof(float)), *bscale = clq_arena_array(a, channels, sizeof(float));
    float *raised = clq_arena_array(a, channels, sizeof(float));
    int32_t *bcodes = clq_arena_array(a, channels, sizeof(int32_t));
    int8_t *codes = clq_arena_array(a, codes_bytes, 1), *zeros = clq_arena_array(a, channels, 1);
    if (!base || !wscale || !bscale || !raised || !bcodes || !codes || !zeros) return no_memory(w);
    memcpy(wscale, uw->scale, channels * sizeof(float));
    memcpy(codes, uw->codes, codes_bytes);
    struct clq_unit_weights local = *uw;
    local.scale = wscale;
    local.codes = codes;
    const struct clq_qparams *x = &w->plan->params[w->plan->units->tensors[u->in[0]].group];
    const float *bias = bc ? bc->data : NULL;
    if (!quantize_bias(&local, bias, x, bscale, bcodes, raised)) {
        size_t outer = 1, inner = 1;
        for (int d = 0; d < u->weight_axis; d++) outer *= (size_t)shape[d];
        for (int d = u->weight_axis + 1; d < rank; d++) inner *= (size_t)shape[d];
        struct clq_weight_job job = {.weight = wc->data, .outer = outer, .channels = channels, .inner = inner, .scale = wscale, .codes = codes};
        for (size_t c = 0; c < channels; c++)
            if (raised[c] > 0) clq_weights_requantize(&job, c, raised[c]);
        if (!quantize_bias(&local, bias, x, bscale, bcodes, raised))
            return clq_fail(w->err, CLQ_ERR_NUMERIC, "node '%s': a bias does not fit int32 at any scale", u->name);
    }
    bool has_bias = bc || uw->correction;
    const char *wq = clq_qdq_constant(w, base, "_codes", CLQ_DTYPE_S8, rank, shape, codes, codes_bytes);
    const char *ws = clq_qdq_constant(w, base, "_scale", CLQ_DTYPE_F32, 1, &uw->channels, wscale, channels * sizeof(float));
    const char *wz = clq_qdq_constant(w, base, "_zero_point", CLQ_DTYPE_S8, 1, &uw->channels, zeros, channels);
    const char *wd = wz ? clq_qdq_linear(w, false, wq, ws, wz, clq_qdq_fresh(w, base, "_real"), u->weight_axis) : NULL;
    if (!wq || !ws || !wd) return no_memory(w);
    const char *bd = NULL;
    if (has_bias && w->plan->target == CLQ_TARGET_TENSORRT) {
        for (size_t c = 0; c < channels; c++) bscale[c] = (float)((bias ? (double)bias[c] : 0) + (uw->correction ? uw->correction[c] : 0));
        bd = clq_qdq_constant(w, base, "_bias", CLQ_DTYPE_F32, 1, &uw->channels, bscale, channels * sizeof(float));
    } else if (has_bias) {
        const char *bq = clq_qdq_constant(w, base, "_bias_codes", CLQ_DTYPE_S32, 1, &uw->channels, bcodes, channels * sizeof(int32_t));
        const char *bs = clq_qdq_constant(w, base, "_bias_scale", CLQ_DTYPE_F32, 1, &uw->channels, bscale, channels * sizeof(float));
        bd = bq && bs ? clq_qdq_linear(w, false, bq, bs, NULL, clq_qdq_fresh(w, base, "_bias_real"), 0) : NULL;
    }
    if (has_bias && !bd) return no_memory(w);
    struct clq_node *p = &w->m->graph.nodes[u->node];
    p->inputs[u->weight] = wd;
    if (!bd) return CLQ_OK;
    if (u->bias >= 0) p->inputs[u->bias] = bd;
    else if (!clq_node_add_input(w->m, p, bd)) return no_memory(w);
    return CLQ_OK;
}

static clq_status rewrite_unit(struct clq_qdq_writer *w, int i)
{
    const struct clq_unit *u = &w->plan->units->units[i];
    for (int k = 0; k < u->n_in; k++) CLQ_TRY(need_real(w, u->in[k]));
    struct clq_node *n = &w->m->graph.nodes[u->node];
    for (int k = 0; k < n->n_inputs; k++) {
        int t = clq_map_get(&w->plan->units->by_tensor, n->inputs[k]);
        for (int j = 0; t >= 0 && j < u->n_in; j++)
            if (u->in[j] == t) {
                n->inputs[k] = w->real[t];
                break;
            }
    }
    if (u->kind == CLQ_UNIT_PRODUCT) CLQ_TRY(product_constants(w, u, &w->plan->weights[i]));
    return u->float_out ? CLQ_OK : output_pair(w, u);
}

static clq_status collect_names(struct clq_qdq_writer *w, struct clq_arena *arena)
{
    const struct clq_graph *g = &w->m->graph;
    clq_map_start(&w->taken, arena);
    bool ok = true;
    for (int i = 0; i < g->n_nodes && ok; i++) {
        ok = clq_map_set(&w->taken, g->nodes[i].name, 1);
        for (int k = 0; k < g->nodes[i].n_outputs && ok; k++) ok = clq_map_set(&w->taken, g->nodes[i].outputs[k], 1);
    }
    for (int i = 0; i < g->n_consts && ok; i++) ok = clq_map_set(&w->taken, g->consts[i].name, 1);
    for (int i = 0; i < g->n_inputs && ok; i++) ok = clq_map_set(&w->taken, g->inputs[i].name, 1);
    return ok ? CLQ_OK : no_memory(w);
}

static clq_status rewrite(struct clq_qdq_writer *w, struct clq_arena *arena)
{
    const struct clq_units *u = w->plan->units;
    size_t n = (size_t)u->n_tensors + 1;
    w->real = clq_arena_array(arena, n, sizeof *w->real);
    w->scale = clq_arena_array(arena, n, sizeof *w->scale);
    w->zero = clq_arena_array(arena, n, sizeof *w->zero);
    if (!w->real || !w->scale || !w->zero) return no_memory(w);
    CLQ_TRY(collect_names(w, arena));
    w->rows = clq_arena_array(arena, n, sizeof *w->rows);
    w->wide = clq_arena_array(arena, n, sizeof *w->wide);
    if (!w->rows || !w->wide) return no_memory(w);
    for (int i = 0; i < u->n_units; i++) {
        const struct clq_mode *mode = &w->plan->modes[w->plan->mode[i]];
        if (mode->run == CLQ_RUN_CODES) CLQ_TRY(rewrite_unit(w, i));
        else if (mode->run != CLQ_RUN_FLOAT) CLQ_TRY(clq_qdq_rewrite_mode(w, i));
    }
    CLQ_TRY(clq_graph_sort(w->m, &w->m->graph, w->err));
    return clq_simplify_dead(w->m, w->err);
}

clq_status clq_qdq_rewrite(struct clq_model *out, const struct clq_model *model, const struct clq_qdq_plan *plan, struct clq_error *err)
{
    struct clq_arena arena = {0};
    *out = (struct clq_model){0};
    CLQ_TRY(clq_model_clone(out, model, err));
    struct clq_qdq_writer w = {.m = out, .plan = plan, .is_signed = plan->target == CLQ_TARGET_TENSORRT, .err = err};
    clq_status st = rewrite(&w, &arena);
    clq_arena_free(&arena);
    if (st != CLQ_OK) clq_model_release(out);
    return st;
}
