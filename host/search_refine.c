/* SPDX-License-Identifier: Apache-2.0
 * Whole plans in another maker's runtime: sums of layer times say where to look, timing the whole model says what holds. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/quantize.h>

#include "base/hash.h"
#include "profile_use.h"
#include "search_runtime.h"

enum { PAIRS = 31, LOOK = 7, SOLVES = 3, TRIALS = 48, PARTS = 8 };
static const double LEAST_GAIN = 1.01; /* below that a switch is not worth the trial's noise */
static const double LOOK_GAIN = 0.98;  /* what a first look has to show for a second one */
static const double MOST_SECONDS = 120; /* for all switches */

/* The best plan so far. */
struct plan {
    uint8_t *on;
    struct clq_comparison measured;
    double ratio;      /* time / float */
};

struct refiner {
    struct clq_search *s;
    const struct clq_choose_request *q;
    clq_tensor *in;
    struct plan best;
    uint8_t *trial, *seen, *first; /* first: what was chosen before any plan was timed, where the user's rules hold */
    int trials;
    double start; /* of the switches */
    uint64_t network;
};

static clq_status no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

/* What the profile knows a pair of plans by. Times do not depend on the values of weights, so the modes of the units do. */
static void name_pair(char out[96], const struct refiner *r, const uint8_t *on, const uint8_t *base)
{
    uint64_t h = r->network;
    for (int i = 0; i < r->s->units.n_units; i++)
        for (int k = 0; k < (base ? 2 : 1); k++) {
            const char *mode = r->s->modes[k ? base[i] : on[i]].scheme.mode;
            h = clq_fnv64(h, mode, strlen(mode) + 1);
        }
    snprintf(out, 96, "of plans %016" PRIx64 "/%016" PRIx64, r->network, h);
}

/* base NULL: against the float model. */
static clq_status time_plan(struct clq_accept_verdict *v, struct refiner *r, const uint8_t *on, const uint8_t *base, size_t pairs, struct clq_error *err)
{
    char key[96];
    name_pair(key, r, on, base);
    const struct clq_timed_plans q = {.mode = on, .base = base, .inputs = r->in, .pairs = pairs, .key = key};
    return clq_search_time_plans(v, r->s, &q, err);
}

static bool same(const struct clq_search *s, const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, (size_t)s->units.n_units * sizeof *a) == 0;
}

static bool can(const struct clq_search *s, int i, int mode)
{
    return mode == 0 || (mode == 1 ? s->records[i].capable : s->extra[mode][i].capable);
}

/* ---- Whole plans against float ---- */
static clq_status consider(struct refiner *r, const uint8_t *on, const struct clq_comparison *measured, double *ratio, struct clq_error *err)
{
    struct clq_search *s = r->s;
    struct clq_accept_verdict t;
    CLQ_TRY(time_plan(&t, r, on, NULL, PAIRS, err));
    *ratio = t.speedup > 0 ? 1 / t.speedup : 1;
    if (*ratio >= r->best.ratio) return CLQ_OK;
    memcpy(r->best.on, on, (size_t)s->units.n_units * sizeof *on);
    r->best.measured = *measured;
    r->best.ratio = *ratio;
    return CLQ_OK;
}

static clq_status solve_rounds(struct refiner *r, const struct clq_choice *first, struct clq_error *err)
{
    struct clq_search *s = r->s;
    struct clq_choice choice = *first;
    double ratio;
    for (int k = 0; k < SOLVES; k++) {
        if (!clq_context_progress(s->ctx, "timing plans", (double)k / (SOLVES + TRIALS))) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
        if (!clq_any_layer(choice.mode, s->units.n_units) || (k > 0 && same(s, choice.mode, r->seen))) break;
        memcpy(r->seen, choice.mode, (size_t)s->units.n_units * sizeof *r->seen);
        CLQ_TRY(consider(r, choice.mode, &choice.measured, &ratio, err));
        if (k + 1 == SOLVES || clq_search_well_predicted(s, &choice, r->q->reference_us * ratio)) break;
        CLQ_TRY(clq_search_choose(&choice, s, r->q, err));
    }
    return CLQ_OK;
}

/* All that can be in one mode, and with `rest` what cannot be in int8. */
static clq_status try_uniform(struct refiner *r, int mode, bool rest, struct clq_error *err)
{
    struct clq_search *s = r->s;
    struct clq_comparison c;
    double ratio;
    for (int i = 0; i < s->units.n_units; i++) {
        r->trial[i] = (uint8_t)(can(s, i, mode) ? mode : rest && can(s, i, 1));
        if (s->records[i].rule) r->trial[i] = r->first[i];
    }
    if (!clq_any_layer(r->trial, s->units.n_units) || same(s, r->trial, r->best.on) || same(s, r->trial, r->seen)) return CLQ_OK;
    CLQ_TRY(clq_search_compare_plan(&c, s, &s->validation, r->trial, err));
    return clq_search_within(&c, r->q->budget) ? consider(r, r->trial, &c, &ratio, err) : CLQ_OK;
}

/* ---- Groups ---- */

/* Takes r->trial as the best plan when the whole model is faster with it, and within the budget. */
static clq_status try_switch(bool *taken, struct refiner *r, struct clq_error *err)
{
    struct clq_search *s = r->s;
    struct clq_accept_verdict t;
    struct clq_comparison c = {.sqnr_db = INFINITY, .cosine = 1};
    *taken = false;
    for (int i = 0; i < s->units.n_units; i++)
        if (s->records[i].rule) r->trial[i] = r->first[i]; /* the user's word holds */
    if (same(s, r->trial, r->best.on) || r->trials >= TRIALS || clq_now() - r->start > MOST_SECONDS) return CLQ_OK;
    if (!clq_context_progress(s->ctx, "timing plans", (double)(SOLVES + r->trials) / (SOLVES + TRIALS)))
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
    r->trials++;
    const uint8_t *base = clq_any_layer(r->best.on, s->units.n_units) ? r->best.on : NULL;
    CLQ_TRY(time_plan(&t, r, r->trial, base, LOOK, err));
    if (!(t.speedup > LOOK_GAIN)) return CLQ_OK;
    CLQ_TRY(time_plan(&t, r, r->trial, base, PAIRS, err));
    if (!(t.speedup > LEAST_GAIN && t.speedup_lo > 1)) return CLQ_OK;
    CLQ_TRY(clq_search_compare_plan(&c, s, &s->validation, r->trial, err));
    if (!clq_search_within(&c, r->q->budget)) return CLQ_OK;
    memcpy(r->best.on, r->trial, (size_t)s->units.n_units * sizeof *r->trial);
    r->best.measured = c;
    r->best.ratio /= t.speedup;
    *taken = true;
    return CLQ_OK;
}

/* Marks the units that are connected with first and in the same state, over tensors between them. */
static void island(const struct clq_search *s, const uint8_t *on, int first, bool *member)
{
    const struct clq_units *u = &s->units;
    bool grew = true;
    member[first] = true;
    while (grew) {
        grew = false;
        for (int i = 0; i < u->n_units; i++)
            for (int k = 0; k < u->units[i].n_in; k++) {
                int p = u->tensors[u->units[i].in[k]].producer;
                bool joined = p >= 0 && member[p] != member[i] && on[p] == on[i] && s->records[p].capable && s->records[i].capable;
                if (!joined) continue;
                member[p] = member[i] = true;
                grew = true;
            }
    }
}

/* Every island of units that int8 has goes to every other mode, one at a time. */
static clq_status switch_islands(bool *any_taken, struct refiner *r, struct clq_error *err)
{
    struct clq_search *s = r->s;
    size_t n = (size_t)s->units.n_units;
    bool *done = clq_arena_array(&s->arena, n + 1, sizeof *done), *member = clq_arena_array(&s->arena, n + 1, sizeof *member), taken;
    if (!done || !member) return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        if (done[i] || !s->records[i].capable) continue;
        memset(member, 0, n * sizeof *member);
        island(s, r->best.on, (int)i, member);
        const int from = r->best.on[i];
        for (size_t k = 0; k < n; k++) done[k] = done[k] || member[k];
        for (int to = 0; to < s->n_modes; to++) {
            if (to == from) continue;
            for (size_t k = 0; k < n; k++) r->trial[k] = member[k] && can(s, (int)k, to) ? (uint8_t)to : r->best.on[k];
            CLQ_TRY(try_switch(&taken, r, err));
            *any_taken = *any_taken || taken;
        }
    }
    return CLQ_OK;
}

/* All units of one operator, to float or to another mode. */
static clq_status switch_operators(bool *any_taken, struct refiner *r, struct clq_error *err)
{
    struct clq_search *s = r->s;
    for (int i = 0; i < s->units.n_units; i++) {
        const char *op = s->units.units[i].op_type;
        bool before = false, taken;
        for (int k = 0; k < i; k++) before = before || strcmp(s->units.units[k].op_type, op) == 0;
        for (int to = 0; to < s->n_modes && !before; to++) {
            for (int k = 0; k < s->units.n_units; k++) {
                bool own = can(s, k, to) && strcmp(s->units.units[k].op_type, op) == 0;
                r->trial[k] = own ? (uint8_t)to : r->best.on[k];
            }
            CLQ_TRY(try_switch(&taken, r, err));
            *any_taken = *any_taken || taken;
        }
    }
    return CLQ_OK;
}

/* Stretches of the network, in its order. */
static clq_status switch_stretches(bool *any_taken, struct refiner *r, struct clq_error *err)
{
    struct clq_search *s = r->s;
    int n = s->units.n_units;
    for (int part = 0; part < PARTS && n >= 2 * PARTS; part++)
        for (int to = 0; to < s->n_modes; to++) {
            bool taken;
            for (int k = 0; k < n; k++) {
                bool own = can(s, k, to) && k >= n * part / PARTS && k < n * (part + 1) / PARTS;
                r->trial[k] = own ? (uint8_t)to : r->best.on[k];
            }
            CLQ_TRY(try_switch(&taken, r, err));
            *any_taken = *any_taken || taken;
        }
    return CLQ_OK;
}

static clq_status switch_groups(struct refiner *r, struct clq_error *err)
{
    bool taken = true;
    r->start = clq_now();
    while (taken && r->trials < TRIALS) {
        taken = false;
        CLQ_TRY(switch_operators(&taken, r, err));
        CLQ_TRY(switch_islands(&taken, r, err));
        CLQ_TRY(switch_stretches(&taken, r, err));
    }
    return CLQ_OK;
}

static double sum_of_noise(const struct clq_search *s, const uint8_t *on)
{
    double noise = 0;
    for (int i = 0; i < s->units.n_units; i++) {
        double own = on[i] == 0 ? 0 : on[i] == 1 ? s->records[i].noise : s->extra[on[i]][i].noise;
        if (own > 0) noise += own;
    }
    return noise;
}

static void conclude(struct clq_choice *choice, const struct refiner *r)
{
    const struct clq_search *s = r->s;
    double before = sum_of_noise(s, choice->mode), interaction = before > 0 ? choice->predicted_noise / before : 1;
    memcpy(choice->mode, r->best.on, (size_t)s->units.n_units * sizeof *choice->mode);
    choice->measured = r->best.measured;
    choice->predicted_noise = sum_of_noise(s, r->best.on) * interaction;
    choice->predicted_us = r->q->reference_us * r->best.ratio;
    clq_search_values(&choice->values, &r->best.measured);
    choice->feasible = true;
    clq_context_log(s->ctx, "whole plans: the best of %d runs at %.3f x the time of float", r->trials, r->best.ratio);
}

clq_status clq_runtime_refine(struct clq_choice *choice, struct clq_search *s, const struct clq_choose_request *q, struct clq_error *err)
{
    size_t n = (size_t)s->units.n_units + 1;
    struct refiner r = {.s = s, .q = q, .best = {.ratio = 1, .measured = {.sqnr_db = INFINITY, .cosine = 1}}};
    r.best.on = clq_arena_array(&s->arena, n, 1);
    r.trial = clq_arena_array(&s->arena, n, 1);
    r.seen = clq_arena_array(&s->arena, n, 1);
    r.first = clq_arena_array(&s->arena, n, 1);
    r.in = clq_arena_array(&s->arena, (size_t)s->model.graph.n_inputs + 1, sizeof *r.in);
    if (!r.best.on || !r.trial || !r.seen || !r.first || !r.in) return no_memory(err);
    CLQ_TRY(s->calibration.get(s->calibration.state, 0, r.in, err));
    CLQ_TRY(clq_profile_network(&r.network, s, r.in, err));
    memcpy(r.first, choice->mode, n - 1);
    CLQ_TRY(solve_rounds(&r, choice, err));
    for (int m = 1; m < s->n_modes; m++)
        for (int rest = 0; rest < (m > 1 ? 2 : 1); rest++) CLQ_TRY(try_uniform(&r, m, rest, err));
    CLQ_TRY(switch_groups(&r, err));
    conclude(choice, &r);
    clq_context_progress(s->ctx, "timing plans", 1);
    return CLQ_OK;
}
