/* SPDX-License-Identifier: Apache-2.0
 * The calibration pass: one run of the float model per sample, with taps that fill histograms and channel means. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/scaling.h"
#include "search.h"

enum { KEPT_ROWS = 256 };

struct collector {
    struct clq_search *s;
    size_t sample;
    const struct clq_program *program; /* of tensor_of */
    int *tensor_of;                    /* program value -> tensor, or -1 */
    int capacity;
    const clq_tensor *inputs;          /* of the sample */
    float *live;                       /* [live_room] rows without padding */
    size_t live_room;
};

/* Adds the values of a channel-carrying tensor to its channel sums. */
static void add_means(struct clq_tensor_record *r, const struct clq_value *v, size_t n)
{
    bool last = v->layout == CLQ_LAYOUT_LAST || v->t.rank < 3 || v->t.shape[v->t.rank - 1] == (int64_t)r->channels;
    const float *x = v->t.data;
    size_t c = r->channels;
    if (last && v->t.shape[v->t.rank - 1] == (int64_t)c) {
        for (size_t i = 0; i + c <= n; i += c)
            for (size_t k = 0; k < c; k++) r->sum[k] += (double)x[i + k];
    } else if (v->t.rank >= 3 && v->t.shape[1] == (int64_t)c) {
        size_t outer = (size_t)v->t.shape[0], inner = n / outer / c;
        for (size_t o = 0; o < outer; o++)
            for (size_t k = 0; k < c; k++)
                for (size_t i = 0; i < inner; i++) r->sum[k] += (double)x[(o * c + k) * inner + i];
    } else return;
    r->rows += n / c;
}

static clq_status not_finite(const struct collector *c, const struct clq_unit_tensor *t, const float *x, size_t n, struct clq_error *err)
{
    size_t i = 0;
    while (i < n && isfinite(x[i])) i++;
    return clq_fail(err, CLQ_ERR_NUMERIC, "tensor '%s': element %zu of sample %zu is %s", t->name, i, c->sample,
                    isnan(x[i]) ? "NaN" : "infinite");
}

/* Maps the program's values to tensors when the program changes (another input shape). */
static clq_status map_program(struct collector *c, const struct clq_program *p, struct clq_error *err)
{
    if (c->program == p) return CLQ_OK;
    if (p->n_values > c->capacity) {
        c->tensor_of = clq_arena_array(&c->s->arena, (size_t)p->n_values, sizeof(int));
        c->capacity = c->tensor_of ? p->n_values : 0;
        if (!c->tensor_of) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    }
    for (int v = 0; v < p->n_values; v++) {
        int t = p->values[v].name ? clq_map_get(&c->s->units.by_tensor, p->values[v].name) : -1;
        c->tensor_of[v] = t >= 0 && p->values[v].t.dtype == CLQ_DTYPE_F32 && !p->values[v].constant ? t : -1;
    }
    c->program = p;
    return CLQ_OK;
}

static clq_status add_live_rows(struct collector *c, struct clq_tensor_record *r, const struct clq_value *v, size_t n, struct clq_error *err)
{
    const size_t k = r->moments.k > 0 ? r->moments.k : r->kept_k;
    const float *x;
    if (v->layout != CLQ_LAYOUT_PLAIN || v->t.shape[v->t.rank - 1] != (int64_t)k) return CLQ_OK;
    if (n > c->live_room) {
        free(c->live);
        c->live = malloc(n * sizeof *c->live);
        c->live_room = c->live ? n : 0;
        if (!c->live) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    }
    size_t rows = clq_search_live_rows(&x, c->live, c->s, c->inputs, v->t.data, n / k, k);
    if (r->moments.k > 0) clq_moments_add(&r->moments, x, rows, c->s->ctx->pool, c->s->ctx->threads);
    size_t share = KEPT_ROWS / c->s->calibration.count + 1;
    for (size_t i = 0; r->kept && r->kept_k == k && i < share && i < rows && r->kept_rows < KEPT_ROWS; i++) /* spread over the sample's rows */
        memcpy(r->kept + r->kept_rows++ * k, x + i * (rows / (rows < share ? rows : share)) * k, k * sizeof *x);
    return CLQ_OK;
}

static clq_status tap(void *state, const struct clq_value *v, struct clq_error *err)
{
    struct collector *c = state;
    int t = c->tensor_of[v - c->program->values];
    size_t n = 0;
    if (t < 0 || clq_tensor_elements(&n, &v->t) != CLQ_OK || n == 0) return CLQ_OK;
    struct clq_tensor_record *r = &c->s->tensors[t];
    if (r->hist) {
        clq_hist_add(r->hist, &c->s->ctx->kernels, v->t.data, n);
        if (r->hist->n_nan + r->hist->n_pos_inf + r->hist->n_neg_inf > 0) return not_finite(c, &c->s->units.tensors[t], v->t.data, n, err);
    }
    if (r->channels > 0) add_means(r, v, n);
    return r->moments.k > 0 || r->kept ? add_live_rows(c, r, v, n, err) : CLQ_OK;
}

/* Which tensors get a histogram (the first of each group), and which channel means (inputs of products). */
clq_status clq_search_tensors(struct clq_search *s, struct clq_error *err)
{
    const struct clq_units *u = &s->units;
    s->tensors = clq_arena_array(&s->arena, (size_t)u->n_tensors + 1, sizeof *s->tensors);
    s->params = clq_arena_array(&s->arena, (size_t)u->n_tensors + 1, sizeof *s->params);
    if (!s->tensors || !s->params) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    for (int t = 0; t < u->n_tensors; t++) {
        if (u->tensors[t].group != t) continue;
        s->tensors[t].hist = clq_arena_alloc(&s->arena, sizeof(struct clq_hist));
        if (!s->tensors[t].hist) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
        clq_hist_start(s->tensors[t].hist);
    }
    for (int i = 0; i < u->n_units && s->bias_correction; i++) {
        const struct clq_unit *unit = &u->units[i];
        if (unit->kind != CLQ_UNIT_PRODUCT || strcmp(unit->op_type, "MatMul") == 0) continue;
        const struct clq_const *w = clq_graph_const(&s->model.graph, s->model.graph.nodes[unit->node].inputs[unit->weight]);
        bool conv = strcmp(unit->op_type, "Conv") == 0;
        int64_t groups = conv ? clq_node_int(&s->model.graph.nodes[unit->node], "group", 1) : 1;
        int64_t k = conv ? w->shape[1] * groups : w->shape[1 - unit->weight_axis];
        struct clq_tensor_record *r = &s->tensors[unit->in[0]];
        if (r->channels == (size_t)k || k <= 0) continue;
        r->sum = clq_arena_array(&s->arena, (size_t)k, sizeof *r->sum);
        if (!r->sum) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
        r->channels = (size_t)k;
    }
    return CLQ_OK;
}

/* Second moments of what MatMul and Gemm read, where the weights' algorithm wants them; wide inputs go without. */
static clq_status start_moments(struct clq_search *s, struct clq_error *err)
{
    enum { WIDEST = 4096 };
    for (int i = 0; i < s->units.n_units && clq_search_wants_moments(s); i++) {
        const struct clq_unit *u = &s->units.units[i];
        if (u->kind != CLQ_UNIT_PRODUCT || u->spatial) continue;
        struct clq_tensor_record *r = &s->tensors[u->in[0]];
        const struct clq_const *w = clq_graph_const(&s->model.graph, s->model.graph.nodes[u->node].inputs[u->weight]);
        size_t k = (size_t)w->shape[1 - u->weight_axis];
        if (r->moments.k || k == 0 || k > WIDEST) continue;
        CLQ_TRY(clq_moments_start(&r->moments, &s->arena, k, err));
    }
    return CLQ_OK;
}

/* Some rows of what can be scaled, to try scales on; *any when something can. */
static clq_status start_kept(struct clq_search *s, bool *any, struct clq_error *err)
{
    struct clq_scalable q;
    for (int i = 0; i < s->units.n_units; i++) {
        const struct clq_unit *u = &s->units.units[i];
        if (u->kind != CLQ_UNIT_PRODUCT || u->spatial) continue;
        struct clq_tensor_record *r = &s->tensors[u->in[0]];
        if (r->kept || !clq_scalable_find(&q, &s->model, &s->units, u->in[0])) continue;
        r->kept = clq_arena_array(&s->arena, q.channels * KEPT_ROWS, sizeof *r->kept);
        r->kept_k = q.channels;
        *any = true;
        if (!r->kept) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    }
    return CLQ_OK;
}

static void search_ranges(struct clq_search *s)
{
    for (int t = 0; t < s->units.n_tensors; t++) {
        struct clq_tensor_record *r = &s->tensors[t];
        if (!r->hist) continue;
        bool symmetric = s->target == CLQ_TARGET_TENSORRT;
        if (clq_hist_has_sentinel(r->hist)) continue; /* nothing works on its codes */
        for (int m = 0; m < CLQ_CAL_COUNT; m++) {
            r->range[m] = clq_hist_range(r->hist, (enum clq_calibrator)m, s->units.tensors[t].bound_lo, s->units.tensors[t].bound_hi);
            struct clq_qparams q = clq_range_params(r->range[m], symmetric);
            r->error[m] = clq_hist_error(r->hist, &q);
        }
    }
}

/* A range that nobody saw is no range, and neither is one that a mask sets. */
static void leave_without_range(struct clq_search *s)
{
    for (int i = 0; i < s->units.n_units; i++) {
        const struct clq_unit *u = &s->units.units[i];
        const char *reason = NULL;
        for (int k = u->float_out ? 0 : -1; k < u->n_in && !reason; k++) {
            const struct clq_hist *h = s->tensors[s->units.tensors[k < 0 ? u->out : u->in[k]].group].hist;
            if (h->count == 0) reason = "its values are not visible to calibration";
            else if (clq_hist_has_sentinel(h)) reason = "a mask or sentinel lies far from all other values, 8 bits cannot hold both";
        }
        for (int m = 2; reason && m < s->n_modes; m++)
            if (s->modes[m].scheme.act_bits == 16) s->extra[m][i].capable = false;
        if (!reason || !s->records[i].capable) continue;
        s->records[i].capable = false;
        s->records[i].reason = reason;
    }
}

static clq_status collect(struct collector *c, struct clq_error *err)
{
    struct clq_search *s = c->s;
    clq_tensor *inputs = clq_arena_array(&s->arena, (size_t)s->model.graph.n_inputs + 1, sizeof *inputs);
    if (!inputs) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    c->inputs = inputs;
    for (size_t i = 0; i < s->calibration.count; i++) {
        struct clq_program *p;
        if (!clq_context_progress(s->ctx, "calibrating", (double)i / (double)s->calibration.count))
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
        c->sample = s->calibration.index[i];
        CLQ_TRY(s->calibration.get(s->calibration.state, i, inputs, err));
        CLQ_TRY(clq_runner_program(&p, &s->reference, inputs, err));
        CLQ_TRY(map_program(c, p, err));
        CLQ_TRY(clq_program_run(p, inputs, NULL, tap, c, err));
    }
    clq_context_progress(s->ctx, "calibrating", 1);
    return CLQ_OK;
}

clq_status clq_search_calibrate(struct clq_search *s, struct clq_error *err)
{
    struct collector c = {.s = s};
    s->mask = -1;
    CLQ_TRY(clq_search_tensors(s, err));
    CLQ_TRY(start_moments(s, err));
    bool kept = false;
    if (s->scaling) CLQ_TRY(start_kept(s, &kept, err));
    if (kept || clq_search_wants_moments(s)) CLQ_TRY(clq_search_find_mask(s, err));
    clq_status st = collect(&c, err);
    free(c.live);
    CLQ_TRY(st);
    leave_without_range(s);
    search_ranges(s);
    return CLQ_OK;
}

void clq_search_params(struct clq_search *s, enum clq_calibrator method)
{
    bool symmetric = s->target == CLQ_TARGET_TENSORRT;
    for (int t = 0; t < s->units.n_tensors; t++) {
        const struct clq_tensor_record *r = &s->tensors[t];
        if (!r->hist) continue;
        s->params[t] = clq_range_params(r->range[method == CLQ_CAL_COUNT ? r->method : method], symmetric);
    }
    for (int t = 0; t < s->units.n_tensors; t++) s->params[t] = s->params[s->units.tensors[t].group];
}
