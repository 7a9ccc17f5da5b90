/* SPDX-License-Identifier: Apache-2.0
 * What a change of precision costs in place. Conversions alone tell too little: layouts change with the precision, fusions are
 * lost, and a float layer between codes finds other data in the caches. So two mixed plans are timed, each with every second
 * layer on codes. */
#include "search_boundaries.h"

#include <math.h>
#include <string.h>

#include "scheduler/stats.h"

static clq_status no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

clq_status clq_search_alternate(uint8_t *on, struct clq_search *s, bool odd, struct clq_error *err)
{
    int n = s->units.n_units;
    int *depth = clq_arena_array(&s->arena, (size_t)n + 1, sizeof *depth);
    if (!depth) return no_memory(err);
    for (int i = 0; i < n; i++) {
        const struct clq_unit *u = &s->units.units[i];
        for (int k = 0; k < u->n_in; k++) {
            int from = s->units.tensors[u->in[k]].producer;
            if (from >= 0 && from < i && depth[from] >= depth[i]) depth[i] = depth[from] + 1;
        }
        on[i] = s->records[i].capable && depth[i] % 2 == odd;
    }
    return CLQ_OK;
}

int clq_search_crossing(const struct clq_search *s, const uint8_t *on, int t)
{
    const struct clq_unit_tensor *x = &s->units.tensors[t];
    bool codes = x->producer >= 0 && on[x->producer] == 1; /* other modes read and write float */
    if (codes && x->needs_float) return 1;
    for (int i = 0; i < s->units.n_units; i++)
        for (int k = 0; k < s->units.units[i].n_in; k++)
            if (s->units.units[i].in[k] == t && (on[i] == 1) != codes) return codes;
    return -1;
}

clq_status clq_mixed_start(struct clq_mixed *m, struct clq_search *s, bool odd, const clq_tensor *in, size_t passes, struct clq_error *err)
{
    m->on = clq_arena_array(&s->arena, (size_t)s->units.n_units + 1, 1);
    m->total = clq_arena_array(&s->arena, passes, sizeof(double));
    m->convert = clq_arena_array(&s->arena, (size_t)s->units.n_tensors * passes + 1, sizeof(double));
    if (!m->on || !m->total || !m->convert) return no_memory(err);
    CLQ_TRY(clq_search_alternate(m->on, s, odd, err));
    CLQ_TRY(clq_search_model(&m->model, s, m->on, err));
    return clq_program_compile(&m->program, s->ctx, &m->model, in, &clq_search_first_stage, err);
}

void clq_mixed_end(struct clq_mixed *m)
{
    clq_program_free(m->program);
    clq_model_release(&m->model);
}

/* The tensor between units that a step converts, or -1: one side of a pair has its name. */
static int converted(const struct clq_search *s, const struct clq_program *p, const struct clq_step *st)
{
    const char *from = p->values[st->in[0]].name, *to = p->values[st->out[0]].name;
    int t = from ? clq_map_get(&s->units.by_tensor, from) : -1;
    return t < 0 && to ? clq_map_get(&s->units.by_tensor, to) : t;
}

void clq_mixed_forget(struct clq_mixed *m, const struct clq_search *s, size_t passes, size_t pass)
{
    m->total[pass] = 0;
    for (int t = 0; t < s->units.n_tensors; t++) m->convert[(size_t)t * passes + pass] = 0;
}

void clq_mixed_collect(struct clq_mixed *m, const struct clq_search *s, size_t passes, size_t pass)
{
    for (int i = 0; i < m->program->n_steps; i++) {
        const struct clq_step *st = &m->program->steps[i];
        if (st->dead) continue;
        m->total[pass] += st->seconds * 1e6;
        if (st->kind != CLQ_STEP_LAYOUT && st->kind != CLQ_STEP_QUANTIZE && st->kind != CLQ_STEP_DEQUANTIZE) continue;
        int t = converted(s, m->program, st);
        if (t >= 0) m->convert[(size_t)t * passes + pass] += st->seconds * 1e6;
    }
}

/* The conversions of crossing tensors as they are in place. */
static void take_in_place(struct clq_search *s, struct clq_mixed *m, size_t passes)
{
    for (int t = 0; t < s->units.n_tensors; t++) {
        int d = clq_search_crossing(s, m->on, t);
        if (d >= 0) s->convert_us[d][t] = fmax(s->convert_us[d][t], clq_median(m->convert + (size_t)t * passes, passes));
    }
}

/* What is left of a plan's time beside its units and conversions, per element of the tensors that it converts; >= 0. */
static double boundary_rate(const struct clq_search *s, const uint8_t *on, double total_us)
{
    double rest = total_us, elements = 0;
    for (int i = 0; i < s->units.n_units; i++) rest -= fmax(on[i] ? s->records[i].int8_us : s->records[i].f32_us, 0);
    for (int t = 0; t < s->units.n_tensors; t++) {
        int d = clq_search_crossing(s, on, t);
        if (d < 0) continue;
        rest -= s->convert_us[d][t];
        elements += (double)s->units.tensors[t].elements;
    }
    return rest > 0 && elements > 0 ? rest / elements : 0;
}

void clq_search_boundaries(struct clq_search *s, struct clq_mixed mixed[2], size_t passes, double outside_us)
{
    double rate[2];
    for (int k = 0; k < 2; k++) take_in_place(s, &mixed[k], passes);
    for (int k = 0; k < 2; k++) rate[k] = boundary_rate(s, mixed[k].on, clq_median(mixed[k].total, passes) - outside_us);
    double least = fmin(rate[0], rate[1]);
    clq_context_log(s->ctx, "boundaries: %.2f and %.2f ns an element beyond conversions, in two mixed plans", 1e3 * rate[0], 1e3 * rate[1]);
    for (int t = 0; t < s->units.n_tensors; t++)
        for (int d = 0; d < 2; d++) s->convert_us[d][t] += least * (double)s->units.tensors[t].elements;
}
