/* SPDX-License-Identifier: Apache-2.0
 * The solved plan against the simpler ones: sums of layer times say which plan is good, timing whole models says which is best. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "profile_use.h"
#include "scheduler/policies.h"
#include "search_runtime.h"

enum { PAIRS = 40, CLOSE_PAIRS = 100, MOST_CLOSE_PAIRS = 5000, CLOSE_ROUNDS = 5, SOLVES = 3 };
static const double CLOSE_SECONDS = 0.5; /* more pairs of what is so fast, or the median of each round is noise */
static const double CLOSE = 0.03;       /* so well predicted a plan is not solved for again */
static const double CLOSE_RACE = 0.05;  /* so close a race is run again */
static const double LEAST_GAIN = 0.995; /* for less no plan is given up for another */
static const double DECIBEL = 1.26;     /* a plan that may be as fast is taken if its error is no decibel higher, or three lower */
static const double HOPELESS = 1.5;     /* a plan that is predicted to take so much longer is not timed */

static bool same(const struct clq_search *s, const struct clq_choice *a, const struct clq_choice *b)
{
    const size_t n = (size_t)s->units.n_units;
    return memcmp(a->mode, b->mode, n) == 0 && memcmp(a->on_device, b->on_device, n * sizeof *a->on_device) == 0;
}

/* best NULL: beside the float model. close: again, v has the times so far. */
static clq_status time_pair(struct clq_accept_verdict *v, struct clq_search *s, const struct clq_choice *other, const struct clq_choice *best, const clq_tensor *in,
                            bool close, struct clq_error *err)
{
    const double fit = close ? CLOSE_SECONDS / fmax(v->candidate + v->reference, 1e-9) : 0;
    const size_t pairs = !close ? PAIRS : (size_t)fmin(MOST_CLOSE_PAIRS, fmax(CLOSE_PAIRS, fit));
    const struct clq_timed_plans q = {.mode = other->mode, .on_device = other->on_device, .base = best ? best->mode : NULL, .base_on_device = best ? best->on_device : NULL,
                                      .inputs = in, .pairs = pairs, .rounds = close ? CLOSE_ROUNDS : 1, .apart = close};
    return clq_search_time_plans(v, s, &q, err);
}

/* Where memory lies makes some percent of difference between two programs, so those that come close are timed again, in fresh
 * processes as whoever runs the file has them. Both keep the budget, so the faster one is taken; where it is not sure which one
 * that is, the error has its say. */
static clq_status beats(bool *better, struct clq_accept_verdict *v, struct clq_search *s, const struct clq_choice *other, const struct clq_choice *best,
                        const clq_tensor *in, struct clq_error *err)
{
    const double own = best->measured.noise * clq_search_margin(&best->measured), its = other->measured.noise * clq_search_margin(&other->measured);
    CLQ_TRY(time_pair(v, s, other, best, in, false, err));
    if (fabs(v->ratio - 1) < CLOSE_RACE) CLQ_TRY(time_pair(v, s, other, best, in, true, err));
    *better = v->ratio < LEAST_GAIN && (v->hi < 1 || its < DECIBEL * own);
    *better = *better || (v->lo < 1 && v->ratio < 2 - LEAST_GAIN && its < own / 2);
    return CLQ_OK;
}

void clq_search_predict(struct clq_choice *c, const struct clq_search *s, double reference_us)
{
    double ratio = clq_search_timed(s, c->mode);
    if (!(ratio > 0) || !(reference_us > 0)) return;
    c->predicted_us = reference_us * ratio;
    if (c->model_us > 0) clq_context_log(s->ctx, "time of the plan: %.0f us as a whole, %.0f us by its layers", c->predicted_us, c->model_us);
}

bool clq_search_well_predicted(const struct clq_search *s, const struct clq_choice *c, double measured_us)
{
    if (fabs(measured_us / c->model_us - 1) < CLOSE) return true;
    clq_context_log(s->ctx, "our plan takes %.0f us as a whole where its layers say %.0f us: solved again with that in mind", measured_us, c->model_us);
    return false;
}

/* Solves again with times as whole plans show them, while that gives a faster one. */
static clq_status solve_again(struct clq_choice *best, struct clq_search *s, const struct clq_choose_request *q, const clq_tensor *in, struct clq_error *err)
{
    struct clq_accept_verdict v;
    struct clq_choice last = *best;
    for (int k = 0; k < SOLVES && best->feasible && clq_any_layer(last.mode, s->units.n_units); k++) {
        struct clq_choice next;
        bool better;
        CLQ_TRY(time_pair(&v, s, &last, NULL, in, false, err));
        if (clq_search_well_predicted(s, &last, q->reference_us * v.ratio)) break;
        CLQ_TRY(clq_search_choose(&next, s, q, err));
        if (!next.feasible || same(s, &next, &last) || !clq_any_layer(next.mode, s->units.n_units)) break;
        last = next;
        CLQ_TRY(beats(&better, &v, s, &next, best, in, err));
        if (better) *best = next;
    }
    return CLQ_OK;
}

/* ---- Other policies ---- */
struct race {
    struct clq_search *s;
    const clq_tensor *in;
    struct clq_choice *best;
    struct clq_choice *met; /* what was timed */
    int n_met;
};

/* Why a plan is not timed beside the best one, or NULL: it is another one, was not timed yet, and may win. */
static const char *hopeless(const struct race *r, const struct clq_choice *other)
{
    if (!other->feasible) return "over the budget";
    if (!clq_any_layer(other->mode, r->s->units.n_units)) return "nothing but float32";
    if (same(r->s, other, r->best)) return "the same";
    for (int i = 0; i < r->n_met; i++)
        if (same(r->s, other, &r->met[i])) return "one that was timed before";
    return other->predicted_us > HOPELESS * r->best->predicted_us ? "predicted to take much longer, not timed" : NULL;
}

/* quiet: says nothing of a plan that is not timed. */
static clq_status challenge(struct race *r, const char *name, bool quiet, const struct clq_choice *other, struct clq_error *err)
{
    struct clq_accept_verdict v;
    bool better;
    const char *why = hopeless(r, other);
    if (why && !quiet) clq_context_log(r->s->ctx, "beside our plan that of %s: %s", name, why);
    if (why) return CLQ_OK;
    CLQ_TRY(beats(&better, &v, r->s, other, r->best, r->in, err));
    clq_context_log(r->s->ctx, "beside our plan that of %s: takes %.3f x the time (%.3f to %.3f)%s", name, v.ratio, v.lo, v.hi, better ? ": it is ours now" : "");
    if (better) *r->best = *other;
    r->n_met++;
    return CLQ_OK;
}

static clq_status race(struct clq_choice *best, struct clq_search *s, const struct clq_choose_request *request, const clq_tensor *in, struct clq_error *err)
{
    size_t n;
    struct clq_choose_request q = *request;
    const struct clq_policy *policies = clq_policies(&n);
    struct race r = {.s = s, .in = in, .best = best, .met = clq_arena_array(&s->arena, n + 1 + (size_t)q.n_rivals, sizeof *r.met)};
    if (!r.met) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    r.met[r.n_met++] = *best;
    for (size_t i = 0; i + 1 < n; i++) { /* the last one is ours */
        q.policy = &policies[i];
        if (strcmp(policies[i].name, "uniform-f32") == 0) continue;
        if (!clq_context_progress(s->ctx, "timing plans", (double)i / (double)n)) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
        CLQ_TRY(clq_search_choose(&r.met[r.n_met], s, &q, err));
        /* a policy whose mode no layer has gives plain float32: that is no news */
        const bool quiet = !policies[i].looks_at_bounds && !clq_any_layer(r.met[r.n_met].mode, s->units.n_units);
        CLQ_TRY(challenge(&r, policies[i].name, quiet, &r.met[r.n_met], err));
    }
    for (int i = 0; i < q.n_rivals; i++) {
        r.met[r.n_met] = q.rivals[i].choice;
        r.met[r.n_met].feasible = clq_search_within(&q.rivals[i].choice.measured, q.budget);
        CLQ_TRY(challenge(&r, q.rivals[i].name, true, &r.met[r.n_met], err));
    }
    return CLQ_OK;
}

clq_status clq_search_best(struct clq_choice *out, struct clq_search *s, const struct clq_choose_request *q, struct clq_error *err)
{
    struct clq_choose_request shared = *q;
    struct clq_compared compared = {.room = 128};
    clq_tensor *in = clq_arena_array(&s->arena, (size_t)s->model.graph.n_inputs + 1, sizeof *in);
    if (!shared.compared) {
        compared.item = clq_arena_array(&s->arena, (size_t)compared.room, sizeof *compared.item);
        shared.compared = &compared;
    }
    if (!in || !shared.compared->item) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    CLQ_TRY(clq_search_choose(out, s, &shared, err));
    bool whole = q->budget->objective == CLQ_AXIS_TIME && q->reference_us > 0 && !clq_budget_delivers(q->budget);
    if (!whole || q->eval_command || s->profile->other || s->ctx->runtime) return CLQ_OK;
    CLQ_TRY(s->calibration.get(s->calibration.state, 0, in, err));
    if (!s->ctx->cl) CLQ_TRY(solve_again(out, s, &shared, in, err)); /* no model is fitted to plans with a device */
    if (out->feasible) CLQ_TRY(race(out, s, &shared, in, err));
    clq_search_predict(out, s, q->reference_us);
    return CLQ_OK;
}
