/* SPDX-License-Identifier: Apache-2.0
 * Times of units and conversions in a runtime of another maker. It fuses and renames nodes as it likes, so every node gets a
 * name with a mark that survives: what the runtime makes of a unit still holds it. */
#include "search_runtime.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"
#include "search_boundaries.h"
#include "scheduler/stats.h"

enum { RUNS = 21, MOST_RUNS = 201 };

/* Four models: all float, all on codes, and every second unit on codes, by its distance from the inputs: then every edge is
 * a boundary, in one of the two in this direction and in the other one in that. */
enum { PLAN_F32, PLAN_INT8, PLAN_EVEN, PLAN_ODD, PLANS };

struct profile {
    const struct clq_search *s;
    uint8_t *on;
    double *unit, *spread;  /* [units] us */
    double *convert[2];     /* [tensors] us: to codes, to float */
    double other, all;      /* what no node with a mark came after; everything */
    double pending;         /* nodes without a mark since the last one with one */
};

static clq_status no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

/* ---- Marks ---- */

/* The tensor that a Q or DQ of the rewritten model converts, or -1: one side of the pair has the tensor's name. */
static int converted(const struct clq_search *s, const struct clq_graph *g, const struct clq_node *n)
{
    bool q = strcmp(n->op_type, "QuantizeLinear") == 0;
    const char *real = q ? n->inputs[0] : n->outputs[0], *codes = q ? n->outputs[0] : n->inputs[0];
    int t = clq_map_get(&s->units.by_tensor, real);
    for (int i = 0; i < g->n_nodes && t < 0; i++) {
        const struct clq_node *m = &g->nodes[i];
        if (q && strcmp(m->op_type, "DequantizeLinear") == 0 && strcmp(m->inputs[0], codes) == 0) t = clq_map_get(&s->units.by_tensor, m->outputs[0]);
        if (!q && strcmp(m->op_type, "QuantizeLinear") == 0 && strcmp(m->outputs[0], codes) == 0) t = clq_map_get(&s->units.by_tensor, m->inputs[0]);
    }
    return t;
}

static int unit_of(const struct clq_search *s, const char *node)
{
    int u = clq_map_get(&s->units.by_node, node);
    for (int k = 0; k < s->units.n_units && u < 0; k++)
        if (s->units.units[k].act >= 0 && strcmp(s->model.graph.nodes[s->units.units[k].act].name, node) == 0) u = k;
    return u;
}

/* One use of a value: the mark of its maker, and its own name behind that so that it stays unique. */
static bool mark_value(struct clq_model *m, const struct clq_map *made, const char **name)
{
    int i = **name ? clq_map_get(made, *name) : -1;
    if (i >= 0) *name = clq_arena_printf(&m->arena, "%s_%s", m->graph.nodes[i].name, *name);
    return *name != NULL;
}

/* Some fusions name their node by the value that it makes: values get the marks of the nodes that make them. Nested graphs
 * read outer values by name; a model with such graphs keeps its own. */
static clq_status mark_values(struct clq_model *m, struct clq_error *err)
{
    struct clq_graph *g = &m->graph;
    struct clq_arena scratch = {0};
    struct clq_map made; /* value -> node */
    bool ok = true;
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_attrs; k++)
            if (g->nodes[i].attrs[k].graph) return CLQ_OK;
    clq_map_start(&made, &scratch);
    for (int i = 0; i < g->n_nodes && ok; i++)
        for (int k = 0; k < g->nodes[i].n_outputs && ok; k++) ok = clq_map_set(&made, g->nodes[i].outputs[k], i);
    for (int i = 0; i < g->n_nodes && ok; i++)
        for (int k = 0; k < g->nodes[i].n_inputs && ok; k++) ok = mark_value(m, &made, &g->nodes[i].inputs[k]);
    for (int i = 0; i < g->n_outputs && ok; i++) ok = mark_value(m, &made, &g->outputs[i].name);
    for (int i = 0; i < g->n_nodes && ok; i++)
        for (int k = 0; k < g->nodes[i].n_outputs && ok; k++) ok = mark_value(m, &made, &g->nodes[i].outputs[k]);
    g->n_infos = 0;
    clq_arena_free(&scratch);
    return ok ? CLQ_OK : no_memory(err);
}

static clq_status mark_nodes(struct clq_model *m, const struct clq_search *s, struct clq_error *err)
{
    struct clq_graph *g = &m->graph;
    for (int i = 0; i < g->n_nodes; i++) {
        struct clq_node *n = &g->nodes[i];
        bool q = strcmp(n->op_type, "QuantizeLinear") == 0, dq = strcmp(n->op_type, "DequantizeLinear") == 0;
        int u = unit_of(s, n->name), t = u < 0 && (q || dq) ? converted(s, g, n) : -1;
        char kind = u >= 0 ? 'u' : t < 0 ? 'o' : q ? 'q' : 'd';
        n->name = clq_arena_printf(&m->arena, "clq_%c%d_n%d", kind, u >= 0 ? u : t >= 0 ? t : i, i);
        if (!n->name) return no_memory(err);
    }
    return mark_values(m, err);
}

/* Nodes without a mark (layouts for what follows, the body of an operator that the runtime spells out) belong to the next one
 * with a mark. */
static void take_node(void *state, const char *node, double us, double spread)
{
    struct profile *p = state;
    const char *mark = strstr(node, "clq_");
    char kind = 'o';
    int n = -1;
    p->all += us;
    if (!mark || sscanf(mark, "clq_%c%d_", &kind, &n) != 2) {
        p->pending += us;
        return;
    }
    us += p->pending;
    p->pending = 0;
    if (kind == 'u' && n >= 0 && n < p->s->units.n_units) {
        p->unit[n] += us;
        p->spread[n] += spread;
    } else if ((kind == 'q' || kind == 'd') && n >= 0 && n < p->s->units.n_tensors) p->convert[kind == 'd'][n] += us;
    else p->other += us;
}

/* ---- Plans ---- */
static clq_status start_profile(struct profile *p, struct clq_search *s, struct clq_error *err)
{
    size_t n = (size_t)s->units.n_units + 1, m = (size_t)s->units.n_tensors + 1;
    *p = (struct profile){.s = s};
    p->on = clq_arena_array(&s->arena, n, sizeof *p->on);
    p->unit = clq_arena_array(&s->arena, n, sizeof *p->unit);
    p->spread = clq_arena_array(&s->arena, n, sizeof *p->spread);
    for (int d = 0; d < 2; d++)
        if (!(p->convert[d] = clq_arena_array(&s->arena, m, sizeof(double)))) return no_memory(err);
    return p->on && p->unit && p->spread ? CLQ_OK : no_memory(err);
}

static clq_status choose_units(struct profile *p, struct clq_search *s, struct clq_error *err)
{
    clq_search_all_int8(p[PLAN_INT8].on, s);
    CLQ_TRY(clq_search_alternate(p[PLAN_EVEN].on, s, false, err));
    return clq_search_alternate(p[PLAN_ODD].on, s, true, err);
}

/* The median time of whole runs of one model. */
static clq_status time_whole(double *us, int *runs, struct clq_search *s, const struct clq_model *m, const clq_tensor *in, struct clq_error *err)
{
    struct clq_runtime *rt = s->ctx->runtime;
    double t[RUNS];
    void *session;
    CLQ_TRY(rt->open(&session, rt, m, err));
    clq_status st = CLQ_OK;
    for (int i = -3; i < RUNS && st == CLQ_OK; i++) {
        double start = clq_now();
        st = rt->run(session, in, NULL, err);
        if (i >= 0) t[i] = (clq_now() - start) * 1e6;
    }
    rt->close(session);
    if (st == CLQ_OK) *us = clq_median(t, RUNS);
    if (st == CLQ_OK) *runs = *us > 0 ? (int)fmin(MOST_RUNS, fmax(RUNS, 1e6 / *us)) : RUNS; /* a second where that is more */
    return st;
}

/* The profiler's own work for each node is taken out: all nodes together take no longer than the whole run without it. */
static void rescale(struct profile *p, double whole)
{
    double f = p->all > whole && whole > 0 ? whole / p->all : 1;
    for (int i = 0; i < p->s->units.n_units; i++) {
        p->unit[i] *= f;
        p->spread[i] *= f;
    }
    for (int t = 0; t < p->s->units.n_tensors; t++)
        for (int d = 0; d < 2; d++) p->convert[d][t] *= f;
    p->other *= f;
    p->all *= f;
}

static clq_status profile_plan(struct profile *p, struct clq_search *s, const clq_tensor *in, struct clq_error *err)
{
    struct clq_model m;
    double whole = 0;
    int runs = RUNS;
    CLQ_TRY(clq_search_model(&m, s, p->on, err));
    clq_status st = mark_nodes(&m, s, err);
    if (st == CLQ_OK) st = time_whole(&whole, &runs, s, &m, in, err);
    if (st == CLQ_OK) st = s->ctx->runtime->profile(s->ctx->runtime, &m, in, runs, take_node, p, err);
    p->other += p->pending;
    if (st == CLQ_OK) rescale(p, whole);
    clq_model_release(&m);
    return st;
}

/* ---- Boundaries ---- */

/* What a mixed plan takes beyond its units and its named conversions (other layouts, lost fusions) lies at its boundaries:
 * it is shared by their sizes. */
static void take_boundaries(struct clq_search *s, const struct profile *mixed, const struct profile *f32, const struct profile *int8, double known[2][2])
{
    double rest = mixed->all - fmax(f32->other, int8->other), elements = 0;
    for (int i = 0; i < s->units.n_units; i++) rest -= mixed->on[i] ? int8->unit[i] : f32->unit[i];
    for (int t = 0; t < s->units.n_tensors; t++) {
        int d = clq_search_crossing(s, mixed->on, t);
        if (d < 0) continue;
        rest -= mixed->convert[d][t];
        elements += (double)s->units.tensors[t].elements;
    }
    double rate = rest > 0 && elements > 0 ? rest / elements : 0;
    for (int t = 0; t < s->units.n_tensors; t++) {
        int d = clq_search_crossing(s, mixed->on, t);
        if (d < 0) continue;
        double n = (double)s->units.tensors[t].elements;
        s->convert_us[d][t] = fmax(s->convert_us[d][t], mixed->convert[d][t] + rate * n);
        known[d][0] += s->convert_us[d][t];
        known[d][1] += n;
    }
}

/* A boundary that no plan has costs what the others do, by its size. */
static void fill_boundaries(struct clq_search *s, double known[2][2])
{
    for (int d = 0; d < 2; d++) {
        double rate = known[d][1] > 0 ? known[d][0] / known[d][1] : known[1 - d][1] > 0 ? known[1 - d][0] / known[1 - d][1] : 0;
        for (int t = 0; t < s->units.n_tensors; t++)
            if (s->convert_us[d][t] < 0) s->convert_us[d][t] = rate * (double)s->units.tensors[t].elements;
    }
}

/* A unit that the runtime does not run on codes keeps its conversions: a Q or DQ that stays between two units on codes is part
 * of its unit, the Q of the one that makes the tensor and the DQ of those that read it. */
static void charge_unfused(const struct clq_search *s, struct profile *p)
{
    for (int t = 0; t < s->units.n_tensors; t++) {
        int producer = s->units.tensors[t].producer, readers = 0;
        if (producer < 0 || !p->on[producer]) continue;
        p->unit[producer] += p->convert[0][t];
        if (clq_search_crossing(s, p->on, t) >= 0) continue;
        for (int pass = 0; pass < 2; pass++)
            for (int i = 0; i < s->units.n_units; i++)
                for (int k = 0; k < s->units.units[i].n_in; k++) {
                    if (s->units.units[i].in[k] != t) continue;
                    if (pass == 0) readers++;
                    else p->unit[i] += p->convert[1][t] / readers;
                }
    }
}

static clq_status take_times(struct clq_search *s, struct profile *p, struct clq_error *err)
{
    double known[2][2] = {{0}};
    for (int d = 0; d < 2; d++) {
        s->convert_us[d] = clq_arena_array(&s->arena, (size_t)s->units.n_tensors + 1, sizeof(double));
        if (!s->convert_us[d]) return no_memory(err);
        for (int t = 0; t < s->units.n_tensors; t++) s->convert_us[d][t] = -1;
    }
    charge_unfused(s, &p[PLAN_INT8]);
    for (int i = 0; i < s->units.n_units; i++) {
        struct clq_unit_record *r = &s->records[i];
        r->f32_us = p[PLAN_F32].unit[i];
        r->f32_spread = p[PLAN_F32].spread[i];
        r->int8_us = r->capable ? p[PLAN_INT8].unit[i] : r->f32_us;
        r->int8_spread = r->capable ? p[PLAN_INT8].spread[i] : r->f32_spread;
        r->device_us = -1;
        r->timings = RUNS;
    }
    for (int k = PLAN_EVEN; k <= PLAN_ODD; k++) take_boundaries(s, &p[k], &p[PLAN_F32], &p[PLAN_INT8], known);
    fill_boundaries(s, known);
    return CLQ_OK;
}

/* The other modes by whole models with all that can be in one: what it changes is shared by the units as their float times are. Where
 * that is wrong, timing whole plans says so (search_refine.c). */
static clq_status take_mode_times(struct clq_search *s, const struct profile *f32, int mode, const clq_tensor *in, struct clq_error *err)
{
    struct clq_model m;
    double whole = 0, changed = 0;
    int runs, n = s->units.n_units;
    uint8_t *on = clq_arena_array(&s->arena, (size_t)n + 1, sizeof *on);
    if (!on) return no_memory(err);
    for (int i = 0; i < n; i++) {
        on[i] = s->extra[mode][i].capable ? (uint8_t)mode : 0;
        if (on[i]) changed += s->records[i].f32_us;
    }
    if (!clq_any_layer(on, n)) return CLQ_OK;
    CLQ_TRY(clq_search_model(&m, s, on, err));
    clq_status st = time_whole(&whole, &runs, s, &m, in, err);
    clq_model_release(&m);
    CLQ_TRY(st);
    double share = changed > 0 ? fmax(0.02, 1 + (whole - f32->all) / changed) : 1;
    for (int i = 0; i < n; i++) {
        s->extra[mode][i].us = s->records[i].f32_us * share;
        s->extra[mode][i].spread = s->records[i].f32_spread;
    }
    return CLQ_OK;
}

clq_status clq_runtime_times(struct clq_search *s, const clq_tensor *in, struct clq_error *err)
{
    struct profile p[PLANS];
    for (int k = 0; k < PLANS; k++) CLQ_TRY(start_profile(&p[k], s, err));
    CLQ_TRY(choose_units(p, s, err));
    for (int k = 0; k < PLANS; k++) {
        if (!clq_context_progress(s->ctx, "measuring times", (double)k / PLANS)) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
        CLQ_TRY(profile_plan(&p[k], s, in, err));
    }
    CLQ_TRY(take_times(s, p, err));
    for (int m = 2; m < s->n_modes; m++) {
        if (!clq_context_progress(s->ctx, "measuring times", 1)) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
        CLQ_TRY(take_mode_times(s, &p[PLAN_F32], m, in, err));
    }
    clq_context_progress(s->ctx, "measuring times", 1);
    return CLQ_OK;
}
