/* SPDX-License-Identifier: Apache-2.0
 * Solve, measure, correct, solve again: see refine.h. */
#include "scheduler/refine.h"

#include <math.h>
#include <string.h>

#include "scheduler/solve.h"

/* Close enough: within 1 dB of error and 10 % of time, the bars of the model; a bound that is used to so large a part has
 * little left to gain. */
static const double AGREES[CLQ_AXIS_COUNT] = {1.10, 1.2589, 1.02};
#define USED 0.85
#define STEADY 0.03

/* A plan that was measured. */
struct seen {
    int *choice;
    struct clq_whole whole;
    double predicted[CLQ_AXIS_COUNT], total[CLQ_AXIS_COUNT];
    double value[CLQ_AXIS_COUNT]; /* measured, or predicted where it was not */
    double violation;
    bool again; /* the corrected model chose it once more */
};

struct state {
    const struct clq_refine_request *q;
    struct clq_problem problem; /* with the bounds of this round */
    size_t bytes;               /* of a choice */
    double base[CLQ_AXIS_COUNT], scale[CLQ_AXIS_COUNT], limit[CLQ_AXIS_COUNT];
    double margin[CLQ_AXIS_COUNT]; /* what the next plan is solved for with: that of the newest one */
    struct seen *seen;
    int n_seen;
    double *factor;                /* [layers]: what a layer's error counts for beside the others */
    struct clq_candidate **costs;  /* [layers]: the candidates of problem, with corrected errors */
};

static double excess_of(double value, double bound)
{
    if (isinf(bound) || clq_bound_met(value, bound)) return 0;
    return bound > 0 ? value / bound - 1 : 1e6;
}

/* What the corrected model says of problem totals. */
static double model(const struct state *s, int axis, double total)
{
    return s->base[axis] + s->scale[axis] * total;
}

static double modeled_error(const struct state *s, const int *choice)
{
    double sum = 0;
    for (int l = 0; l < s->problem.n_layers; l++) sum += s->factor[l] * s->q->problem->layers[l].candidates[choice[l]].error;
    return sum;
}

static bool tells(const struct seen *e)
{
    return e->whole.axis[CLQ_AXIS_ERROR] > 0 && !isinf(e->whole.axis[CLQ_AXIS_ERROR]);
}

/* What all plans say of all layers, also of those that none of them has: the geometric mean of measured over modeled. */
static double common_factor(const struct state *s, const struct seen *without)
{
    double sum = 0;
    int n = 0;
    for (int i = 0; i < s->n_seen; i++) {
        double m = modeled_error(s, s->seen[i].choice);
        if (&s->seen[i] == without || !tells(&s->seen[i]) || !(m > 0)) continue;
        sum += log(s->seen[i].whole.axis[CLQ_AXIS_ERROR] / m);
        n++;
    }
    return n ? exp(sum / n) : 1;
}

/* Iterative proportional fitting: the factors of the layers that are in a plan are scaled until its errors add up to what was
 * measured, plan after plan, the newest last. A layer that is in all the bad plans ends up with a large one. */
static void fit_errors(struct state *s, const struct seen *without)
{
    enum { PASSES = 40 };
    int n = s->problem.n_layers;
    for (int l = 0; l < n; l++) s->factor[l] = s->q->scale[CLQ_AXIS_ERROR];
    double common = common_factor(s, without);
    for (int l = 0; l < n; l++) s->factor[l] *= common;
    for (int pass = 0; pass < PASSES; pass++)
        for (int i = 0; i < s->n_seen; i++) {
            const struct seen *e = &s->seen[i];
            double measured = e->whole.axis[CLQ_AXIS_ERROR], sum = modeled_error(s, e->choice);
            if (e == without || !tells(e) || !(sum > 0)) continue;
            for (int l = 0; l < n; l++)
                if (s->q->problem->layers[l].candidates[e->choice[l]].error > 0) s->factor[l] = fmin(1e6, fmax(1e-6, s->factor[l] * measured / sum));
        }
    for (int l = 0; l < n; l++)
        for (int c = 0; c < s->problem.layers[l].n_candidates; c++)
            s->costs[l][c].error = s->factor[l] * s->q->problem->layers[l].candidates[c].error;
}

static double margin_of(const struct state *s, const struct seen *e, int axis)
{
    return axis == CLQ_AXIS_ERROR ? fmax(s->q->margin[axis], e->whole.error_margin) : s->q->margin[axis];
}

static void weigh(struct state *s, struct seen *e)
{
    const struct clq_refine_request *q = s->q;
    e->violation = e->whole.refused ? fmax(e->whole.excess, 1e-6) : 0;
    for (int a = 0; a < CLQ_AXIS_COUNT; a++) {
        e->value[a] = isnan(e->whole.axis[a]) ? model(s, a, e->total[a]) : e->whole.axis[a];
        e->violation += excess_of(e->value[a] * margin_of(s, e, a), q->bound[a]);
    }
}

static clq_status look(struct state *s, struct seen **out, const int *choice, struct clq_error *err)
{
    struct clq_totals totals;
    for (int i = 0; i < s->n_seen; i++)
        if (memcmp(s->seen[i].choice, choice, s->bytes) == 0) {
            *out = &s->seen[i];
            return CLQ_OK;
        }
    struct seen *e = *out = &s->seen[s->n_seen];
    memcpy(e->choice, choice, s->bytes);
    CLQ_TRY(clq_problem_evaluate(&totals, &s->problem, choice, err));
    for (int a = 0; a < CLQ_AXIS_COUNT; a++) {
        e->total[a] = totals.axis[a];
        e->predicted[a] = model(s, a, totals.axis[a]);
    }
    e->whole = (struct clq_whole){.axis = {NAN, NAN, NAN}};
    CLQ_TRY(s->q->measure(s->q->state, &e->whole, choice, err));
    s->n_seen++;
    weigh(s, e);
    return CLQ_OK;
}

/* Takes what was measured into the model. True if that changed it. */
static bool correct(struct state *s, struct seen *e, bool again)
{
    const struct clq_refine_request *q = s->q;
    double error = modeled_error(s, e->choice);
    fit_errors(s, NULL);
    e->total[CLQ_AXIS_ERROR] = modeled_error(s, e->choice);
    s->margin[CLQ_AXIS_ERROR] = margin_of(s, e, CLQ_AXIS_ERROR);
    bool changed = fabs(e->total[CLQ_AXIS_ERROR] - error) > STEADY * error;
    for (int a = 0; a < CLQ_AXIS_COUNT; a++) {
        double measured = e->whole.axis[a], before = model(s, a, e->total[a]);
        bool missed = excess_of(e->value[a] * margin_of(s, e, a), q->bound[a]) > 0;
        if (isinf(measured)) s->scale[a] *= 2;
        else if (!isnan(measured) && a != CLQ_AXIS_ERROR) {
            if (a == CLQ_AXIS_BYTES) s->base[a] = measured - s->scale[a] * e->total[a];
            else if (e->total[a] > 0 && measured > s->base[a]) {
                double now = (measured - s->base[a]) / e->total[a];
                s->scale[a] = !missed || now > s->scale[a] ? now * (missed ? 1.02 : 1) : s->scale[a] * 1.15;
            }
        }
        changed = changed || fabs(model(s, a, e->total[a]) - before) > STEADY * fabs(before);
        if (missed && again && !isinf(s->limit[a])) { /* the same plan would be chosen for ever */
            s->limit[a] *= 0.9;
            changed = true;
        }
    }
    if (e->whole.refused) {
        int a = e->whole.blame;
        double value = e->value[a] * margin_of(s, e, a), limit = value * fmin(0.9, fmax(0.5, 1 / (1 + e->whole.excess)));
        s->limit[a] = fmin(s->limit[a], limit);
        changed = true;
    }
    return changed;
}

static bool agrees(const struct seen *e)
{
    for (int a = 0; a < CLQ_AXIS_COUNT; a++) {
        double m = e->whole.axis[a], p = e->predicted[a];
        if (isnan(m) || (m <= 0 && p <= 0)) continue;
        if (!(m <= p * AGREES[a] && p <= m * AGREES[a])) return false;
    }
    return true;
}

/* A bound that is nearly used up leaves little to gain. */
static bool used_up(const struct state *s, const struct seen *e)
{
    for (int a = 0; a < CLQ_AXIS_COUNT; a++)
        if (a != (int)s->q->problem->objective && !isinf(s->q->bound[a]) && e->value[a] * margin_of(s, e, a) > USED * s->q->bound[a]) return true;
    return false;
}

static clq_status solve(struct state *s, int *choice, struct clq_error *err)
{
    struct clq_solution solution;
    for (int a = 0; a < CLQ_AXIS_COUNT; a++) {
        double room = (s->limit[a] / s->margin[a] - s->base[a]) / s->scale[a];
        s->problem.bound[a] = isinf(s->limit[a]) ? INFINITY : fmax(room, 0);
    }
    if (s->q->policy) return s->q->policy->choose(choice, &s->problem, err);
    return clq_solve(&solution, choice, &s->problem, NULL, err);
}

/* Whether a is the better plan. Time is compared by the layers' own: whole plans are timed with more noise. */
static bool better(const struct state *s, const struct seen *a, const struct seen *b)
{
    int o = s->q->problem->objective;
    if (a->violation != b->violation) return a->violation < b->violation;
    return o == CLQ_AXIS_TIME ? a->total[o] < b->total[o] : a->value[o] < b->value[o];
}

/* What all other measured plans together say of this one: its own measurement is not in it. */
static void predict_by_others(struct seen *best, struct state *s)
{
    if (best->again || s->n_seen < 3) return;
    fit_errors(s, best);
    best->predicted[CLQ_AXIS_ERROR] = modeled_error(s, best->choice);
}

static void report(struct clq_refined *out, const struct state *s, const struct seen *best, int rounds)
{
    *out = (struct clq_refined){.measured = best->whole, .measurement = (int)(best - s->seen),
                                .rounds = rounds, .feasible = best->violation <= 0, .binding = best->whole.blame,
                                .excess = best->whole.refused ? best->whole.excess : 0};
    memcpy(out->predicted, best->predicted, sizeof out->predicted);
    memcpy(out->measured.axis, best->value, sizeof best->value);
    for (int a = 0; a < CLQ_AXIS_COUNT; a++) {
        double e = excess_of(best->value[a] * margin_of(s, best, a), s->q->bound[a]);
        if (e <= out->excess) continue;
        out->excess = e;
        out->binding = (enum clq_axis)a;
    }
}

static clq_status rounds(struct clq_refined *out, int *choice, struct state *s, struct clq_error *err)
{
    struct seen *e, *best;
    int round = 0;
    CLQ_TRY(clq_policy_uniform(choice, s->q->problem, "f32", err));
    CLQ_TRY(look(s, &best, choice, err));
    bool own = s->q->policy == NULL, only = s->q->policy && !s->q->policy->looks_at_bounds;
    while (round < s->q->rounds) {
        int before = s->n_seen;
        CLQ_TRY(solve(s, choice, err));
        CLQ_TRY(look(s, &e, choice, err));
        bool again = s->n_seen == before;
        round++;
        e->again = again;
        if (again)
            for (int a = 0; a < CLQ_AXIS_COUNT; a++) e->predicted[a] = model(s, a, e->total[a]);
        if (only || (own ? better(s, e, best) : e->violation <= best->violation)) best = e; /* another policy's last word stands */
        bool met = e->violation <= 0;
        bool changed = correct(s, e, again);
        if (only || (met && agrees(e) && (used_up(s, e) || !changed)) || (again && (met || !changed))) break;
    }
    memcpy(choice, best->choice, s->bytes);
    predict_by_others(best, s);
    report(out, s, best, round);
    return CLQ_OK;
}

/* A copy of the layers whose errors can be corrected. */
static bool copy_layers(struct state *s, struct clq_arena *arena)
{
    size_t n = (size_t)s->problem.n_layers;
    struct clq_problem_layer *layers = clq_arena_array(arena, n + 1, sizeof *layers);
    s->factor = clq_arena_array(arena, n + 1, sizeof *s->factor);
    s->costs = clq_arena_array(arena, n + 1, sizeof *s->costs);
    if (!layers || !s->factor || !s->costs) return false;
    for (size_t l = 0; l < n; l++) {
        size_t count = (size_t)s->problem.layers[l].n_candidates;
        layers[l] = s->problem.layers[l];
        layers[l].candidates = s->costs[l] = clq_arena_array(arena, count, sizeof **s->costs);
        if (!s->costs[l]) return false;
        memcpy(s->costs[l], s->problem.layers[l].candidates, count * sizeof **s->costs);
    }
    s->problem.layers = layers;
    return true;
}

clq_status clq_refine(struct clq_refined *out, int *choice, const struct clq_refine_request *q, struct clq_error *err)
{
    struct clq_arena arena = {0};
    struct state s = {.q = q, .problem = *q->problem, .bytes = (size_t)q->problem->n_layers * sizeof(int)};
    CLQ_TRY(clq_problem_check(q->problem, err));
    memcpy(s.base, q->base, sizeof s.base);
    memcpy(s.scale, q->scale, sizeof s.scale);
    memcpy(s.limit, q->bound, sizeof s.limit);
    memcpy(s.margin, q->margin, sizeof s.margin);
    s.base[CLQ_AXIS_ERROR] = 0;
    s.scale[CLQ_AXIS_ERROR] = 1; /* it is in the factors */
    s.seen = clq_arena_array(&arena, (size_t)q->rounds + 1, sizeof *s.seen);
    bool ok = s.seen && copy_layers(&s, &arena);
    for (int i = 0; ok && i <= q->rounds; i++) ok = (s.seen[i].choice = clq_arena_alloc(&arena, s.bytes + sizeof(int))) != NULL;
    if (ok) fit_errors(&s, NULL);
    clq_status st = ok ? rounds(out, choice, &s, err) : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory for a problem of %d layers", q->problem->n_layers);
    clq_arena_free(&arena);
    return st;
}
