/* SPDX-License-Identifier: Apache-2.0
 * From the measurements of layers to one proven plan. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decision.h"
#include "profile_use.h"
#include "search_runtime.h"

static clq_status measure_final(struct clq_result *r, const uint8_t *on, const bool *on_device, const clq_quantize_options *o, struct clq_comparison *c,
                                struct clq_accept_verdict *speed, size_t pairs, const char *phase, struct clq_model *keep, struct clq_error *err)
{
    struct clq_search *s = &r->search;
    struct clq_model m;
    clq_tensor *in = clq_arena_array(&s->arena, (size_t)s->model.graph.n_inputs + 1, sizeof *in);
    if (!in) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    CLQ_TRY(clq_search_placed(&m, s, on, on_device, err));
    clq_status st = clq_search_compare(c, s, &s->validation, &m, on, err);
    if (st == CLQ_OK) st = s->calibration.get(s->calibration.state, 0, in, err);
    struct clq_proof_request q = {.reference = s->ctx->runtime ? r->source : &s->model, .candidate = &m, .inputs = in, .pairs = pairs, .worker = o->worker, .phase = phase};
    if (st == CLQ_OK && speed && !s->profile->other) st = clq_profile_prove(speed, s->profile, &q, err);
    if (st == CLQ_OK && keep) *keep = m;
    else clq_model_release(&m);
    return st;
}

double clq_eval_timeout(const clq_quantize_options *o)
{
    return o->eval_timeout_s > 0 ? o->eval_timeout_s : 600;
}

static size_t pairs_of(const clq_quantize_options *o)
{
    return o->timing_pairs ? o->timing_pairs : 200;
}

/* What uniform int8 reaches: the simplest plan, and a second point for the model of the time. */
static clq_status measure_uniform(struct clq_result *r, const clq_quantize_options *o, struct clq_decision *d, struct clq_error *err)
{
    struct clq_search *s = &r->search;
    int n = s->units.n_units;
    uint8_t *all = clq_arena_array(&s->arena, (size_t)n + 1, sizeof *all);
    if (!all) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    if (!clq_search_all_int8(all, s)) return CLQ_OK;
    if (!(d->all_on_device = clq_arena_array(&s->arena, (size_t)n + 1, sizeof(bool)))) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; i < n; i++) d->all_on_device[i] = all[i] && s->records[i].device_us >= 0;
    size_t pairs = pairs_of(o);
    CLQ_TRY(measure_final(r, all, d->all_on_device, o, &d->uniform, &d->uniform_speed, pairs / 4 < 40 ? 40 : pairs / 4, "timing uniform int8", NULL, err));
    if (!s->profile->other) CLQ_TRY(clq_search_remember(s, all, d->uniform_speed.ratio, err));
    if (s->profile->other) return CLQ_OK; /* the solved plan is the fastest by the only times there are */
    d->all = all;
    d->uniform_ok = d->budget.objective == CLQ_AXIS_TIME && !clq_budget_delivers(&d->budget) && !o->eval_command &&
                    clq_search_within(&d->uniform, &d->budget);
    return CLQ_OK;
}

/* The frontier, and the plan of the point that was picked. */
static clq_status take_point(struct clq_result *r, const clq_quantize_options *o, const struct clq_choose_request *q, struct clq_decision *d, struct clq_error *err)
{
    size_t n = (size_t)r->search.units.n_units;
    CLQ_TRY(clq_result_frontier(r, o, q, err));
    d->uniform_ok = false;
    d->choice.feasible = true;
    for (size_t i = 0; o->pick && i < r->n_points; i++) {
        if (strcmp(r->points[i].public.id, o->pick) != 0) continue;
        memcpy(d->mode, r->points[i].mode, n);
        d->choice.on_device = r->points[i].on_device;
        return CLQ_OK;
    }
    return o->pick ? clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "point '%s': there is none of this id", o->pick) : CLQ_OK;
}

/* With every capable layer on codes. */
static clq_status noise_on_codes(double *noise, struct clq_search *s, struct clq_error *err)
{
    struct clq_comparison c;
    uint8_t *on = clq_arena_array(&s->arena, (size_t)s->units.n_units + 1, sizeof *on);
    if (!on) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    clq_search_all_int8(on, s);
    CLQ_TRY(clq_search_compare_plan(&c, s, &s->tuning, on, err));
    *noise = c.noise;
    return CLQ_OK;
}

/* Opening a session of another runtime takes it longer than all samples take us, so calibrators and the errors of layers come
 * from our own kernels where both agree on the whole network within half a decibel. Whole plans are always compared there. */
static clq_status own_errors(bool *own, struct clq_search *s, struct clq_error *err)
{
    struct clq_runtime *runtime = s->ctx->runtime;
    double here = 0, there = 0;
    *own = false;
    if (!runtime) return CLQ_OK;
    CLQ_TRY(noise_on_codes(&there, s, err));
    s->ctx->runtime = NULL;
    clq_status st = noise_on_codes(&here, s, err);
    s->ctx->runtime = runtime;
    CLQ_TRY(st);
    *own = here == there || fabs(10 * log10(here / there)) < 0.5;
    clq_context_log(s->ctx, "every layer on 8 bits: %.2f dB in %s, %.2f dB by our own kernels%s", -10 * log10(there), clq_context_runtime(s->ctx),
                    -10 * log10(here), *own ? "; layers' errors are taken from these" : "");
    return CLQ_OK;
}

static clq_status ranges_and_errors(struct clq_search *s, int calibrator, bool errors, struct clq_error *err)
{
    bool codes = false; /* some unit reads ranges */
    for (int i = 0; i < s->units.n_units; i++) codes = codes || s->records[i].capable;
    if (calibrator == CLQ_CAL_COUNT && codes) CLQ_TRY(clq_search_calibrators(s, err));
    else {
        for (int t = 0; t < s->units.n_tensors; t++) s->tensors[t].method = calibrator == CLQ_CAL_COUNT ? CLQ_CAL_MINMAX : (enum clq_calibrator)calibrator;
        clq_search_params(s, CLQ_CAL_COUNT);
    }
    return errors ? clq_search_errors(s, err) : CLQ_OK;
}

/* A table of 4 bits costs more than the products' weights do, so it has to be a candidate to be chosen. */
static bool in_uniform(const struct clq_search *s, int i, int mode)
{
    return s->extra[mode][i].capable && (s->units.units[i].kind != CLQ_UNIT_STORED || s->modes[mode].scheme.weight_bits == 8);
}

static struct clq_choose_request request_of(const struct clq_result *r, const clq_quantize_options *o, const struct clq_decision *d)
{
    return (struct clq_choose_request){.budget = &d->budget, .reference_us = d->uniform_speed.reference * 1e6, .uniform_us = d->uniform_speed.candidate * 1e6,
                                       .reference_bytes = (double)r->summary.reference_bytes, .eval_command = o->eval_command,
                                       .eval_timeout_s = clq_eval_timeout(o), .reference_score = d->score_reference};
}

clq_status clq_decision_search(struct clq_result *r, const clq_quantize_options *o, int calibrator, struct clq_decision *d, struct clq_error *err)
{
    struct clq_search *s = &r->search;
    struct clq_runtime *runtime = s->ctx->runtime;
    int n = s->units.n_units;
    bool own;
    CLQ_TRY(own_errors(&own, s, err));
    if (own) s->ctx->runtime = NULL;
    clq_status st = ranges_and_errors(s, calibrator, !o->uniform, err);
    s->ctx->runtime = runtime;
    CLQ_TRY(st);
    if (o->uniform) {
        int mode = 0;
        for (int m = 0; m < s->n_modes; m++)
            if (strcmp(s->modes[m].scheme.mode, o->uniform) == 0) mode = m;
        for (int i = 0; i < n; i++) d->mode[i] = (uint8_t)(mode < 2 ? mode && s->records[i].capable : in_uniform(s, i, mode) ? mode : 0);
        d->choice.feasible = true;
        return CLQ_OK;
    }
    CLQ_TRY(clq_search_times(s, err));
    CLQ_TRY(measure_uniform(r, o, d, err));
    struct clq_choose_request q = request_of(r, o, d);
    if (o->frontier_db) return take_point(r, o, &q, d, err);
    if (s->profile->other) {
        for (int i = 0; i < n; i++) q.reference_us += fmax(s->records[i].f32_us, 0);
        q.reference_us += s->outside_us;
        d->uniform_speed.reference = q.reference_us * 1e-6;
    }
    CLQ_TRY(clq_search_best(&d->choice, s, &q, err));
    if (s->ctx->runtime && !clq_budget_delivers(&d->budget) && d->budget.objective == CLQ_AXIS_TIME && !o->eval_command)
        CLQ_TRY(clq_runtime_refine(&d->choice, s, &q, err));
    memcpy(d->mode, d->choice.mode, (size_t)n);
    d->score = d->choice.score;
    return CLQ_OK;
}

/* ---- The proof ---- */

/* Another machine's times stand for a proof that cannot be had here. */
static void predict_speed(struct clq_decision *d)
{
    double reference = d->uniform_speed.reference, us = d->choice.predicted_us;
    double speedup = us > 0 ? reference * 1e6 / us : 1;
    d->speed = (struct clq_accept_verdict){.speed = speedup > 1 ? CLQ_SPEED_FASTER : CLQ_SPEED_UNDECIDED, .ratio = 1 / speedup, .lo = 1 / speedup,
                                           .hi = 1 / speedup, .speedup = speedup, .speedup_lo = speedup, .speedup_hi = speedup, .reference = reference,
                                           .candidate = us * 1e-6};
}

/* A plan is never slower than uniform int8 where that meets the same budget: the simpler one is then taken. */
static clq_status prefer_uniform(struct clq_result *r, const clq_quantize_options *o, struct clq_decision *d, struct clq_error *err)
{
    size_t n = (size_t)r->search.units.n_units;
    bool same = d->uniform_ok && memcmp(d->all, d->mode, n) == 0 && memcmp(d->all_on_device, d->choice.on_device, n * sizeof(bool)) == 0;
    if (!d->uniform_ok || same || !(d->uniform_speed.ratio < d->speed.ratio)) return CLQ_OK;
    clq_context_log(r->ctx, "uniform int8 meets the budget and is faster than the solved plan (%.2f against %.2f x float): it is taken",
                    d->uniform_speed.speedup, d->speed.speedup);
    clq_model_release(&r->model);
    r->model = (struct clq_model){0};
    memcpy(d->mode, d->all, n);
    memcpy(d->choice.mode, d->all, n);
    d->choice.model_us = 0; /* it was not solved for */
    clq_search_predict(&d->choice, &r->search, d->uniform_speed.reference * 1e6);
    d->choice.on_device = d->all_on_device;
    return measure_final(r, d->mode, d->choice.on_device, o, &d->final, &d->speed, pairs_of(o), "proving the speed", &r->model, err);
}

/* By what part the proof misses the bounds on the time: its interval has to keep them. */
static double time_excess(const struct clq_budget *b, const struct clq_accept_verdict *v)
{
    double latency = v->speedup_lo > 0 ? v->reference * 1e3 / v->speedup_lo : INFINITY;
    return fmax(clq_budget_excess(b, CLQ_BOUND_LATENCY, latency, 1), clq_budget_excess(b, CLQ_BOUND_SPEEDUP, v->speedup_lo, 1));
}

/* What was searched for in one process may miss a bound on the time in fresh ones: the search is repeated with the bound
 * tightened by what was missed. The plan that comes nearest stays. */
static clq_status repair_time(struct clq_result *r, const clq_quantize_options *o, struct clq_decision *d, struct clq_error *err)
{
    enum { REPAIRS = 2 };
    size_t n = (size_t)r->search.units.n_units;
    struct clq_budget tight = d->budget;
    for (int k = 0; k < REPAIRS; k++) {
        struct clq_choice choice;
        struct clq_model m = {0};
        struct clq_comparison final;
        struct clq_accept_verdict speed;
        double missed = time_excess(&d->budget, &d->speed);
        if (!(missed > 0) || !d->choice.feasible || r->search.profile->other) return CLQ_OK;
        tight.limit[CLQ_BOUND_LATENCY] /= 1.01 * (1 + missed);
        tight.limit[CLQ_BOUND_SPEEDUP] *= 1.01 * (1 + missed);
        clq_context_log(r->ctx, "the proof misses the bound on the time by %.1f %%: the search is repeated for %.1f %% less time", 100 * missed,
                        100 - 100 / (1.01 * (1 + missed)));
        struct clq_choose_request q = request_of(r, o, d);
        q.budget = &tight;
        CLQ_TRY(clq_search_choose(&choice, &r->search, &q, err));
        if (!choice.feasible || !clq_any_layer(choice.mode, (int)n) || memcmp(choice.mode, d->mode, n) == 0) return CLQ_OK;
        CLQ_TRY(measure_final(r, choice.mode, choice.on_device, o, &final, &speed, pairs_of(o), "proving the speed", &m, err));
        if (!(time_excess(&d->budget, &speed) < missed)) {
            clq_model_release(&m);
            return CLQ_OK;
        }
        clq_model_release(&r->model);
        r->model = m;
        memcpy(d->mode, choice.mode, n);
        d->choice = choice;
        d->final = final;
        d->speed = speed;
        d->score = choice.score;
    }
    return CLQ_OK;
}

clq_status clq_decision_prove(struct clq_result *r, const clq_quantize_options *o, struct clq_decision *d, struct clq_error *err)
{
    CLQ_TRY(measure_final(r, d->mode, d->choice.on_device, o, &d->final, &d->speed, pairs_of(o), "proving the speed", &r->model, err));
    d->proven = true;
    if (r->search.profile->other) predict_speed(d);
    if (o->uniform || o->plan_path || o->pick) return CLQ_OK;
    CLQ_TRY(repair_time(r, o, d, err));
    return prefer_uniform(r, o, d, err);
}
