/* SPDX-License-Identifier: Apache-2.0
 * The solved plan against the simpler ones: sums of layer times say which plan is good, timing whole models says which is best. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "profile_use.h"
#include "scheduler/policies.h"
#include "search_runtime.h"

enum { PAIRS = 40, SOLVES = 3 };
static const double LEAST_GAIN = 0.98; /* for less the solved plan is not given up */
static const double HOPELESS = 1.15;   /* a plan that is predicted to take so much longer is not timed */

static bool same(const struct clq_search *s, const struct clq_choice *a, const struct clq_choice *b)
{
    return memcmp(a->mode, b->mode, (size_t)s->units.n_units) == 0;
}

/* best NULL: beside the float model. */
static clq_status time_pair(struct clq_accept_verdict *v, struct clq_search *s, const struct clq_choice *other, const struct clq_choice *best, const clq_tensor *in,
                            struct clq_error *err)
{
    const struct clq_timed_plans q = {.mode = other->mode, .base = best ? best->mode : NULL, .inputs = in, .pairs = PAIRS};
    return clq_search_time_plans(v, s, &q, err);
}

static bool faster(const struct clq_accept_verdict *v)
{
    return v->hi < 1 && v->ratio < LEAST_GAIN;
}

/* ---- Conversions as whole plans show them ---- */

/* The factor by which conversions would have to cost more, or less, for the plan to take what it took; 1 where it is close. */
static double conversion_factor(const struct clq_search *s, const struct clq_choice *c, double measured_us)
{
    double conversions;
    (void)clq_runtime_predict(s, c->mode, &conversions);
    if (!(conversions > 0) || !(c->predicted_us > 0) || fabs(measured_us / c->predicted_us - 1) < 0.03) return 1;
    return fmin(4, fmax(0.5, (conversions + measured_us - c->predicted_us) / conversions));
}

static void scale_conversions(struct clq_search *s, double factor)
{
    for (int d = 0; d < 2; d++)
        for (int t = 0; t < s->units.n_tensors; t++) s->convert_us[d][t] *= factor;
}

/* Solves again with conversions as the plan's own time says, while that gives a faster one. */
static clq_status solve_again(struct clq_choice *best, struct clq_search *s, const struct clq_choose_request *q, const clq_tensor *in, struct clq_error *err)
{
    struct clq_accept_verdict v;
    struct clq_choice last = *best;
    double scale = 1;
    clq_status st = CLQ_OK;
    for (int k = 0; k < SOLVES && st == CLQ_OK && best->feasible && clq_any_layer(last.mode, s->units.n_units); k++) {
        struct clq_choice next;
        st = time_pair(&v, s, &last, NULL, in, err);
        double factor = st == CLQ_OK ? conversion_factor(s, &last, q->reference_us * v.ratio) : 1;
        if (factor == 1) break;
        clq_context_log(s->ctx, "whole plan: %.0f us where %.0f were predicted; conversions are taken %.2f times as long", q->reference_us * v.ratio, last.predicted_us,
                        factor);
        scale_conversions(s, factor);
        scale *= factor;
        st = clq_search_choose(&next, s, q, err);
        if (st != CLQ_OK || !next.feasible || same(s, &next, &last)) break;
        last = next;
        st = time_pair(&v, s, &next, best, in, err);
        if (st == CLQ_OK && faster(&v)) *best = next;
    }
    scale_conversions(s, 1 / scale);
    return st;
}

/* ---- Other policies ---- */
/* Whether a plan is worth timing beside the best one: it is another one, was not timed yet, and may win. */
static bool rival(const struct clq_search *s, const struct clq_choice *other, const struct clq_choice *best, const struct clq_choice *met, int n_met)
{
    if (!other->feasible || !clq_any_layer(other->mode, s->units.n_units) || other->predicted_us > HOPELESS * best->predicted_us || same(s, other, best)) return false;
    for (int i = 0; i < n_met; i++)
        if (same(s, other, &met[i])) return false;
    return true;
}

static clq_status race(struct clq_choice *best, struct clq_search *s, const struct clq_choose_request *request, const clq_tensor *in, struct clq_error *err)
{
    size_t n;
    int n_met = 0;
    struct clq_choose_request q = *request;
    const struct clq_policy *policies = clq_policies(&n);
    struct clq_choice *met = clq_arena_array(&s->arena, n + 1, sizeof *met);
    if (!met) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    met[n_met++] = *best;
    for (size_t i = 0; i + 1 < n; i++) { /* the last one is ours */
        struct clq_accept_verdict v;
        struct clq_choice *other = &met[n_met];
        q.policy = &policies[i];
        if (strcmp(policies[i].name, "uniform-f32") == 0) continue;
        if (!clq_context_progress(s->ctx, "timing plans", (double)i / (double)n)) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
        CLQ_TRY(clq_search_choose(other, s, &q, err));
        if (!rival(s, other, best, met, n_met)) continue;
        n_met++;
        CLQ_TRY(time_pair(&v, s, other, best, in, err));
        if (!faster(&v)) continue;
        clq_context_log(s->ctx, "the plan of %s is faster than what was chosen before it: it is taken", policies[i].name);
        *best = *other;
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
    if (!whole || q->eval_command || s->profile->other || s->ctx->runtime || s->ctx->cl) return CLQ_OK;
    CLQ_TRY(s->calibration.get(s->calibration.state, 0, in, err));
    CLQ_TRY(solve_again(out, s, &shared, in, err));
    return out->feasible ? race(out, s, &shared, in, err) : CLQ_OK;
}
