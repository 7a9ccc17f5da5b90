/* SPDX-License-Identifier: Apache-2.0
 * Plans of all policies at several budgets, measured alike: see clquant/frontier.h. */
#include <clquant/frontier.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/onnx.h"
#include "profile_use.h"
#include "result.h"
#include "scheduler/policies.h"

enum { PAIRS = 40 };
#define SAME_TIME 1.03 /* the search keeps 2 % away from a bound on the time, and so few pairs are off by about one */
#define NO_LONGER 1.005 /* what the last word, pairs beside uniform int8 itself, lets pass */

static clq_status no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

/* Size and time of a plan. */
static clq_status measure(struct clq_result *r, struct clq_point *p, const struct clq_choose_request *q, struct clq_error *err)
{
    struct clq_search *s = &r->search;
    struct clq_model m;
    struct clq_accept_verdict v;
    unsigned char *bytes;
    clq_tensor *in = clq_arena_array(&s->arena, (size_t)s->model.graph.n_inputs + 1, sizeof *in);
    if (!in) return no_memory(err);
    p->public.bytes = r->summary.reference_bytes;
    p->public.speedup = p->public.speedup_lo = p->public.speedup_hi = 1;
    p->public.median_ms = q->reference_us * 1e-3;
    if (!clq_any_layer(p->mode, r->search.units.n_units)) return CLQ_OK;
    CLQ_TRY(s->calibration.get(s->calibration.state, 0, in, err));
    CLQ_TRY(clq_search_placed(&m, s, p->mode, p->on_device, err));
    clq_status st = clq_onnx_encode(&bytes, &p->public.bytes, &m, err);
    if (st == CLQ_OK) free(bytes);
    struct clq_proof_request proof = {.reference = &s->model, .candidate = &m, .inputs = in, .pairs = PAIRS, .phase = "timing the points"};
    if (st == CLQ_OK) st = clq_profile_prove(&v, s->profile, &proof, err);
    if (st == CLQ_OK) st = clq_search_remember(s, p->mode, v.ratio, err);
    clq_model_release(&m);
    CLQ_TRY(st);
    p->public.speedup = v.speedup;
    p->public.speedup_lo = v.speedup_lo;
    p->public.speedup_hi = v.speedup_hi;
    p->public.median_ms = q->reference_us * 1e-3 / v.speedup;
    return CLQ_OK;
}

/* An SQNR budget with the least time; without one (db NAN) the policy's only answer, and of ours the least error in the time
 * of uniform int8. */
static struct clq_budget point_budget(const struct clq_policy *policy, double db, double uniform_us)
{
    struct clq_budget budget = {.objective = CLQ_AXIS_TIME};
    for (int k = 0; k < CLQ_BOUND_COUNT; k++) budget.limit[k] = NAN;
    if (!isnan(db)) budget.limit[CLQ_BOUND_SQNR] = db;
    else if (policy->looks_at_bounds) {
        budget.objective = CLQ_AXIS_ERROR;
        budget.limit[CLQ_BOUND_LATENCY] = uniform_us * 1e-3 * SAME_TIME;
    }
    return budget;
}

/* The first point with the same plan: its own index where there is none. What was measured of it holds for both. */
static void share(struct clq_result *r, struct clq_point *p)
{
    const size_t n = (size_t)r->search.units.n_units;
    p->public.same_as = (int)r->n_points;
    for (size_t i = 0; i < r->n_points; i++) {
        const struct clq_point *o = &r->points[i];
        if (memcmp(o->mode, p->mode, n) != 0 || memcmp(o->on_device, p->on_device, n * sizeof *p->on_device) != 0) continue;
        p->public.same_as = (int)i;
        p->public.bytes = o->public.bytes;
        p->public.median_ms = o->public.median_ms;
        p->public.speedup = o->public.speedup;
        p->public.speedup_lo = o->public.speedup_lo;
        p->public.speedup_hi = o->public.speedup_hi;
        break;
    }
}

/* The point of uniform int8, or NULL. */
static const struct clq_point *uniform_point(const struct clq_result *r)
{
    for (size_t i = 0; i < r->n_points; i++)
        if (strcmp(r->points[i].public.id, "uniform-int8") == 0) return &r->points[i];
    return NULL;
}

/* Whether a plan takes no longer than uniform int8, timed beside it. */
static clq_status no_longer(bool *yes, double *ratio, struct clq_search *s, const struct clq_choice *c, const struct clq_point *uniform, struct clq_error *err)
{
    enum { ROUNDS = 3 };
    struct clq_accept_verdict v;
    clq_tensor *in = clq_arena_array(&s->arena, (size_t)s->model.graph.n_inputs + 1, sizeof *in);
    if (!in) return no_memory(err);
    CLQ_TRY(s->calibration.get(s->calibration.state, 0, in, err));
    const struct clq_timed_plans pair = {.mode = c->mode, .on_device = c->on_device, .base = uniform->mode, .base_on_device = uniform->on_device,
                                         .inputs = in, .pairs = ROUNDS * PAIRS, .rounds = ROUNDS};
    CLQ_TRY(clq_search_time_plans(&v, s, &pair, err));
    clq_context_log(s->ctx, "in the time of uniform int8: %.2f dB in %.3f x of it", c->measured.sqnr_db, v.ratio);
    *ratio = v.ratio;
    *yes = v.ratio <= NO_LONGER;
    return CLQ_OK;
}

/* The least error in the time of uniform int8. The bound on the time was found beside the float model, so the plan is timed beside
 * uniform int8 too, and searched for again with what it was too slow by. Other points may be better still. */
static clq_status choose_same_time(struct clq_choice *out, struct clq_result *r, struct clq_choose_request *q, struct clq_budget *budget, struct clq_error *err)
{
    enum { TRIES = 4 };
    struct clq_search *s = &r->search;
    const struct clq_point *uniform = uniform_point(r);
    bool found = false;
    double ratio;
    if (!uniform) return clq_search_best(out, s, q, err);
    for (int k = 0; k < TRIES && !found; k++) {
        CLQ_TRY(clq_search_best(out, s, q, err));
        if (!out->feasible || !(out->measured.sqnr_db > uniform->public.sqnr_db)) break;
        CLQ_TRY(no_longer(&found, &ratio, s, out, uniform, err));
        budget->limit[CLQ_BOUND_LATENCY] /= fmax(1, ratio) * NO_LONGER;
    }
    if (!found) *out = uniform->choice;
    out->feasible = true;
    for (size_t i = 0; i < r->n_points; i++) {
        const struct clq_point *p = &r->points[i];
        bool fits;
        if (!(p->public.sqnr_db > out->measured.sqnr_db) || p->public.median_ms > 1.01 * uniform->public.median_ms) continue;
        CLQ_TRY(no_longer(&fits, &ratio, s, &p->choice, uniform, err));
        if (fits) *out = p->choice;
    }
    return CLQ_OK;
}

/* A plan that keeps a tighter budget keeps this one too. */
static clq_status collect_rivals(struct clq_choose_request *q, struct clq_result *r, struct clq_error *err)
{
    struct clq_rival *rivals = clq_arena_array(&r->search.arena, r->n_points + 1, sizeof *rivals);
    if (!rivals) return no_memory(err);
    for (size_t i = 0; i < r->n_points; i++) rivals[i] = (struct clq_rival){r->points[i].public.id, r->points[i].choice};
    q->rivals = rivals;
    q->n_rivals = (int)r->n_points;
    return CLQ_OK;
}

static clq_status make_point(struct clq_result *r, const struct clq_policy *policy, double db, const struct clq_choose_request *plain, struct clq_error *err)
{
    struct clq_search *s = &r->search;
    struct clq_point *p = &r->points[r->n_points];
    struct clq_budget budget = point_budget(policy, db, plain->uniform_us);
    struct clq_choose_request q = *plain;
    struct clq_choice choice;
    q.budget = &budget;
    q.policy = strcmp(policy->name, "measured") == 0 ? NULL : policy;
    q.eval_command = NULL;
    if (!q.policy && !isnan(db)) CLQ_TRY(collect_rivals(&q, r, err));
    CLQ_TRY(q.policy ? clq_search_choose(&choice, s, &q, err) : isnan(db) ? choose_same_time(&choice, r, &q, &budget, err) : clq_search_best(&choice, s, &q, err));
    p->choice = choice;
    p->mode = choice.mode;
    p->on_device = choice.on_device;
    if (!policy->looks_at_bounds && strcmp(policy->name, "uniform-f32") != 0 && !clq_any_layer(p->mode, r->search.units.n_units)) return CLQ_OK; /* no layer has such a candidate */
    const char *id = !isnan(db)                 ? clq_arena_printf(&s->arena, "%s@%g", policy->name, db)
                     : policy->looks_at_bounds ? clq_arena_printf(&s->arena, "%s@int8-time", policy->name)
                                               : policy->name;
    p->public = (clq_plan_point){.id = id, .policy = policy->name, .summary = policy->summary, .budget_db = db,
                                 .budget_met = choice.feasible, .sqnr_db = choice.measured.sqnr_db, .cosine = choice.measured.cosine,
                                 .sqnr_db_kept = choice.measured.sqnr_db - 10 * log10(clq_search_margin(&choice.measured)),
                                 .predicted_sqnr_db = choice.predicted_noise > 0 ? -10 * log10(choice.predicted_noise) : INFINITY,
                                 .predicted_ms = choice.predicted_us * 1e-3};
    if (!id) return no_memory(err);
    for (int i = 0; i < s->units.n_units; i++) p->public.int8_layers += p->mode[i] > 0;
    share(r, p);
    if (p->public.same_as == (int)r->n_points) CLQ_TRY(measure(r, p, plain, err));
    r->n_points++;
    return CLQ_OK;
}

static bool beats(const clq_plan_point *a, const clq_plan_point *b)
{
    bool as_good = a->sqnr_db >= b->sqnr_db && a->speedup >= b->speedup && a->bytes <= b->bytes;
    return as_good && (a->sqnr_db > b->sqnr_db || a->speedup > b->speedup || a->bytes < b->bytes);
}

/* The b-th budget as they were given; sorted: the b-th tightest one. */
static double budget_of(const clq_quantize_options *o, size_t b, bool sorted)
{
    for (size_t i = 0; sorted && i < o->n_frontier_db; i++) {
        size_t before = 0;
        for (size_t k = 0; k < o->n_frontier_db; k++) before += o->frontier_db[k] > o->frontier_db[i] || (o->frontier_db[k] == o->frontier_db[i] && k < i);
        if (before == b) return o->frontier_db[i];
    }
    return o->frontier_db[b];
}

clq_status clq_result_frontier(struct clq_result *r, const clq_quantize_options *o, const struct clq_choose_request *q, struct clq_error *err)
{
    size_t n;
    struct clq_choose_request shared = *q;
    const struct clq_policy *policies = clq_policies(&n);
    struct clq_compared compared = {.room = 512};
    compared.item = clq_arena_array(&r->search.arena, (size_t)compared.room, sizeof *compared.item);
    r->points = clq_arena_array(&r->search.arena, n * (o->n_frontier_db + 1) + 1, sizeof *r->points);
    if (!compared.item || !r->points) return no_memory(err);
    shared.compared = &compared;
    for (size_t k = 0; k < n; k++) {
        size_t budgets = policies[k].looks_at_bounds ? o->n_frontier_db : 1;
        for (size_t b = 0; b < budgets; b++) {
            if (!clq_context_progress(r->ctx, "making the points", (double)k / (double)n)) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
            CLQ_TRY(make_point(r, &policies[k], policies[k].looks_at_bounds ? budget_of(o, b, k + 1 == n) : (double)NAN, &shared, err));
            /* points are timed in this process, where ratios differ by some percent from those of fresh ones */
            const clq_plan_point *last = r->n_points ? &r->points[r->n_points - 1].public : NULL;
            if (last && strcmp(last->id, "uniform-int8") == 0 && last->median_ms > 0) shared.uniform_us = last->median_ms * 1e3;
        }
    }
    if (shared.uniform_us > 0) CLQ_TRY(make_point(r, &policies[n - 1], NAN, &shared, err)); /* the last one is ours */
    for (size_t i = 0; i < r->n_points; i++) {
        r->points[i].public.on_frontier = true;
        for (size_t k = 0; k < r->n_points; k++)
            if (beats(&r->points[k].public, &r->points[i].public)) r->points[i].public.on_frontier = false;
    }
    return CLQ_OK;
}

size_t clq_result_point_count(const clq_result *r)
{
    return r->n_points;
}

const clq_plan_point *clq_result_point(const clq_result *r, size_t index)
{
    return index < r->n_points ? &r->points[index].public : NULL;
}

clq_status clq_result_write_point(clq_result *r, size_t index, const char *model_path, bool force)
{
    if (!r || index >= r->n_points || !model_path) return CLQ_ERR_INVALID_ARGUMENT;
    struct clq_error *err = &r->ctx->error;
    struct clq_writer_options o;
    struct clq_model m;
    CLQ_TRY(clq_result_output(&o, r, force, err));
    struct clq_onnx_write_options w = {.force = force, .inputs = o.inputs, .n_inputs = o.n_inputs};
    if (!clq_any_layer(r->points[index].mode, r->search.units.n_units))
        return r->source->path ? clq_onnx_copy(model_path, r->source, &w, err) : clq_onnx_write_with(model_path, r->source, &w, err);
    CLQ_TRY(clq_search_placed(&m, &r->search, r->points[index].mode, r->points[index].on_device, err));
    clq_status st = clq_onnx_write_with(model_path, &m, &w, err);
    clq_model_release(&m);
    return st;
}
