/* SPDX-License-Identifier: Apache-2.0
 * Local search: see search.h. */
#include "scheduler/search.h"

#include <float.h>
#include <math.h>
#include <string.h>

static int *pick_of(const struct clq_search *s, int axis, int layer)
{
    return s->pick + ((size_t)axis * s->problem->n_layers + layer) * s->problem->n_domains;
}

static void fill_picks(struct clq_search *s)
{
    const struct clq_problem *p = s->problem;
    for (int a = 0; a < CLQ_AXIS_COUNT; a++)
        for (int l = 0; l < p->n_layers; l++) {
            const struct clq_problem_layer *layer = &p->layers[l];
            int *pick = pick_of(s, a, l);
            for (int d = 0; d < p->n_domains; d++)
                pick[d] = -1;
            for (int c = 0; c < layer->n_candidates; c++) {
                int *best = &pick[layer->candidates[c].domain];
                double cost = clq_candidate_cost(&layer->candidates[c], a);
                double least = *best < 0 ? DBL_MAX : clq_candidate_cost(&layer->candidates[*best], a);
                const int *rank = s->rank + s->rank_at[l];
                if (*best < 0 || cost < least || (cost <= least && rank[c] < rank[*best])) *best = c;
            }
        }
}

static bool unit_allows(const struct clq_search *s, int u, int domain)
{
    for (int i = s->unit_start[u]; i < s->unit_start[u + 1]; i++)
        if (pick_of(s, 0, s->unit_layers[i])[domain] < 0) return false;
    return true;
}

static void fill_units(struct clq_search *s)
{
    int n = s->problem->n_layers;
    for (int l = 0; l < n; l++)
        s->unit_start[s->unit[l] + 1]++;
    for (int u = 0; u < s->n_units; u++)
        s->unit_start[u + 1] += s->unit_start[u];
    int at = 0;
    for (int u = 0; u < s->n_units; u++)
        for (int l = 0; l < n; l++)
            if (s->unit[l] == u) s->unit_layers[at++] = l;
}

/* Calls that count first and store then: one pass with touch NULL, one with it. */
static void fill_touch(struct clq_search *s, int *count)
{
    const struct clq_problem *p = s->problem;
    memset(s->stamp, 0xff, ((size_t)p->n_layers + 1) * sizeof *s->stamp);
    for (int t = 0; t < p->n_tensors; t++) {
        const struct clq_problem_tensor *tensor = &p->tensors[t];
        for (int i = -1; i < tensor->n_consumers; i++) {
            int l = i < 0 ? tensor->producer : tensor->consumers[i];
            if (l < 0 || s->stamp[l] == t) continue;
            s->stamp[l] = t;
            if (s->touch) s->touch[s->touch_start[l] + count[l]] = t;
            count[l]++;
        }
    }
}

static void fill_scales(struct clq_search *s)
{
    const struct clq_problem *p = s->problem;
    for (int a = 0; a < CLQ_AXIS_COUNT; a++) {
        double least = 0, most = 0;
        for (int l = 0; l < p->n_layers; l++) {
            double lo = DBL_MAX;
            for (int c = 0; c < p->layers[l].n_candidates; c++) {
                double v = clq_candidate_cost(&p->layers[l].candidates[c], a);
                if (v < lo) lo = v;
                if (v > most) most = v;
            }
            least += lo;
        }
        s->scale[a] = isinf(p->bound[a]) || p->bound[a] < least ? least : p->bound[a];
        if (!(s->scale[a] > 0)) s->scale[a] = most > 0 ? most : 1;
    }
}

clq_status clq_search_prepare(struct clq_search *s, const struct clq_problem *p, struct clq_arena *arena,
                              struct clq_error *err)
{
    memset(s, 0, sizeof *s);
    size_t n = (size_t)p->n_layers, candidates = 0;
    for (size_t l = 0; l < n; l++)
        candidates += (size_t)p->layers[l].n_candidates;
    s->problem = p;
    s->unit = clq_arena_array(arena, n + 1, sizeof(int));
    s->unit_start = clq_arena_array(arena, n + 2, sizeof(int));
    s->unit_layers = clq_arena_array(arena, n + 1, sizeof(int));
    s->touch_start = clq_arena_array(arena, n + 2, sizeof(int));
    s->rank = clq_arena_array(arena, candidates + 1, sizeof(int));
    s->rank_at = clq_arena_array(arena, n + 1, sizeof(int));
    s->pick = clq_arena_array(arena, n * CLQ_AXIS_COUNT * (size_t)p->n_domains + 1, sizeof(int));
    s->stamp = clq_arena_array(arena, (n > (size_t)p->n_tensors ? n : (size_t)p->n_tensors) + 1, sizeof(int));
    s->changed = clq_arena_array(arena, n + 1, sizeof(int));
    s->old = clq_arena_array(arena, n + 1, sizeof(int));
    int *count = clq_arena_array(arena, n + 1, sizeof(int));
    if (!s->unit || !s->unit_start || !s->unit_layers || !s->touch_start || !s->rank || !s->rank_at || !s->pick ||
        !s->stamp || !s->changed || !s->old || !count)
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory for a problem of %zu layers", n);
    clq_problem_ranks(p, s->rank);
    for (size_t l = 0, at = 0; l < n; at += (size_t)p->layers[l++].n_candidates)
        s->rank_at[l] = (int)at;
    s->n_units = clq_problem_units(p, s->unit);
    fill_units(s);
    fill_touch(s, count);
    for (size_t l = 0; l < n; l++) {
        s->touch_start[l + 1] = s->touch_start[l] + count[l];
        count[l] = 0;
    }
    s->touch = clq_arena_array(arena, (size_t)s->touch_start[n] + 1, sizeof(int));
    if (!s->touch) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory for a problem of %zu layers", n);
    fill_touch(s, count);
    memset(s->stamp, 0, ((size_t)p->n_tensors + 1) * sizeof *s->stamp);
    fill_picks(s);
    fill_scales(s);
    for (int u = 0; u < s->n_units; u++) {
        bool any = false;
        for (int d = 0; d < p->n_domains; d++)
            any |= unit_allows(s, u, d);
        int l = s->unit_layers[s->unit_start[u]];
        if (!any)
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "layer %d '%s' is tied to layers: no domain is common to all", l,
                            p->layers[l].name ? p->layers[l].name : "");
    }
    return CLQ_OK;
}

void clq_search_set_objective_scale(struct clq_search *s, double objective)
{
    const struct clq_problem *p = s->problem;
    double ranks = 1, least = DBL_MAX;
    for (int l = 0; l < p->n_layers; l++) {
        ranks += p->layers[l].n_candidates - 1;
        for (int c = 0; c < p->layers[l].n_candidates; c++) {
            double v = clq_candidate_cost(&p->layers[l].candidates[c], p->objective);
            if (v > 0 && v < least) least = v;
        }
    }
    if (!(objective > 0)) objective = least < DBL_MAX ? least : 1;
    s->rank_cost = objective * (CLQ_TIE_TOLERANCE / 2) / ranks;
}

static void judge(const struct clq_search *s, struct clq_search_state *state, int missing, double ranks)
{
    const struct clq_problem *p = s->problem;
    state->missing = missing;
    state->violation = missing * 1e6;
    for (int a = 0; a < CLQ_AXIS_COUNT; a++)
        if (!clq_bound_met(state->axis[a], p->bound[a])) state->violation += (state->axis[a] - p->bound[a]) / s->scale[a];
    state->value = state->axis[p->objective] + s->rank_cost * ranks;
}

static double total_ranks(const struct clq_search *s, const int *choice)
{
    double sum = 0;
    for (int l = 0; l < s->problem->n_layers; l++)
        sum += s->rank[s->rank_at[l] + choice[l]];
    return sum;
}

void clq_search_measure(const struct clq_search *s, struct clq_search_state *state)
{
    const struct clq_problem *p = s->problem;
    int missing = 0;
    for (int a = 0; a < CLQ_AXIS_COUNT; a++) {
        state->axis[a] = 0;
        for (int l = 0; l < p->n_layers; l++)
            state->axis[a] += clq_candidate_cost(&p->layers[l].candidates[state->choice[l]], a);
    }
    double convert = 0;
    for (int t = 0; t < p->n_tensors; t++)
        convert += clq_problem_tensor_cost(p, t, state->choice, &missing);
    state->axis[CLQ_AXIS_TIME] += convert;
    judge(s, state, missing, total_ranks(s, state->choice));
}

bool clq_search_better(const struct clq_search_state *a, const struct clq_search_state *b)
{
    double slack = 1e-12 * (b->violation + 1e-3);
    if (fabs(a->violation - b->violation) > slack) return a->violation < b->violation;
    return a->value < b->value - 1e-13 * fabs(b->value);
}

/* A move is the layers listed in changed[], already written to choice, their former candidates in old[]. */
static void set(struct clq_search *s, int *choice, int *n, int layer, int candidate)
{
    if (choice[layer] == candidate) return;
    s->changed[*n] = layer;
    s->old[*n] = choice[layer];
    choice[layer] = candidate;
    ++*n;
}

static void undo(const struct clq_search *s, int *choice, int n)
{
    while (n-- > 0)
        choice[s->changed[n]] = s->old[n];
}

/* Conversion cost around the changed layers, each tensor once. */
static double local_cost(struct clq_search *s, const int *choice, int n, int *missing)
{
    double sum = 0;
    s->stamp_now++;
    for (int i = 0; i < n; i++)
        for (int j = s->touch_start[s->changed[i]]; j < s->touch_start[s->changed[i] + 1]; j++) {
            int t = s->touch[j];
            if (s->stamp[t] == s->stamp_now) continue;
            s->stamp[t] = s->stamp_now;
            sum += clq_problem_tensor_cost(s->problem, t, choice, missing);
        }
    return sum;
}

/* How good the move in changed[] is: 0 or less is no improvement. A feasible plan gains objective per share of bounds
 * that it uses up; one that is not, loses violation per share of objective that it pays. */
static double score(struct clq_search *s, const struct clq_search_state *now, int *choice, int n)
{
    const struct clq_problem *p = s->problem;
    struct clq_search_state next = *now;
    int after = 0, before = 0;
    double ranks = 0, convert = local_cost(s, choice, n, &after);
    for (int i = 0; i < n; i++) {
        int l = s->changed[i];
        const struct clq_candidate *to = &p->layers[l].candidates[choice[l]], *from = &p->layers[l].candidates[s->old[i]];
        for (int a = 0; a < CLQ_AXIS_COUNT; a++)
            next.axis[a] += clq_candidate_cost(to, a) - clq_candidate_cost(from, a);
        ranks += s->rank[s->rank_at[l] + choice[l]] - s->rank[s->rank_at[l] + s->old[i]];
    }
    undo(s, choice, n);
    next.axis[CLQ_AXIS_TIME] += convert - local_cost(s, choice, n, &before);
    judge(s, &next, now->missing + after - before, 0);
    next.value = next.axis[p->objective] + (now->value - now->axis[p->objective]) + s->rank_cost * ranks;
    if (!clq_search_better(&next, now)) return 0;
    if (now->violation > 0) {
        double paid = fmax(0, next.value - now->value) / (fabs(now->value) + DBL_MIN);
        return (now->violation - next.violation + 1e-15) / (paid + 1e-6);
    }
    double used = 1e-6;
    for (int a = 0; a < CLQ_AXIS_COUNT; a++)
        if (!isinf(p->bound[a])) used += fmax(0, next.axis[a] - now->axis[a]) / s->scale[a];
    return (now->value - next.value) / used;
}

struct move {
    double score;
    int first_unit, units, domain, picker; /* a run of units moves to a domain */
    int layer, candidate;                  /* or, with units == 0, one layer changes its candidate */
};

static int apply(struct clq_search *s, int *choice, const struct move *m)
{
    int n = 0;
    if (m->units == 0) {
        set(s, choice, &n, m->layer, m->candidate);
        return n;
    }
    for (int u = m->first_unit; u < m->first_unit + m->units; u++) {
        if (!unit_allows(s, u, m->domain)) continue;
        for (int i = s->unit_start[u]; i < s->unit_start[u + 1]; i++)
            set(s, choice, &n, s->unit_layers[i], pick_of(s, m->picker, s->unit_layers[i])[m->domain]);
    }
    return n;
}

static void consider(struct clq_search *s, struct clq_search_state *now, struct move *best, struct move m)
{
    int n = apply(s, now->choice, &m);
    if (n == 0) return;
    m.score = score(s, now, now->choice, n);
    if (m.score > best->score) *best = m;
}

static struct move best_single(struct clq_search *s, struct clq_search_state *now)
{
    const struct clq_problem *p = s->problem;
    struct move best = {0};
    for (int u = 0; u < s->n_units; u++) {
        bool alone = s->unit_start[u + 1] - s->unit_start[u] == 1;
        for (int i = s->unit_start[u]; i < s->unit_start[u + 1]; i++) {
            int l = s->unit_layers[i], domain = p->layers[l].candidates[now->choice[l]].domain;
            for (int c = 0; c < p->layers[l].n_candidates; c++)
                if (alone || p->layers[l].candidates[c].domain == domain)
                    consider(s, now, &best, (struct move){.layer = l, .candidate = c});
        }
        for (int d = 0; !alone && d < p->n_domains; d++)
            for (int a = 0; a < CLQ_AXIS_COUNT; a++)
                consider(s, now, &best, (struct move){.first_unit = u, .units = 1, .domain = d, .picker = a});
    }
    return best;
}

static struct move best_run(struct clq_search *s, struct clq_search_state *now)
{
    struct move best = {0};
    for (int length = 2; length <= s->n_units; length += length < 4 ? 1 : length / 2)
        for (int u = 0; u + length <= s->n_units; u++)
            for (int d = 0; d < s->problem->n_domains; d++)
                for (int a = 0; a < CLQ_AXIS_COUNT; a++)
                    consider(s, now, &best, (struct move){.first_unit = u, .units = length, .domain = d, .picker = a});
    return best;
}

void clq_search_descend(struct clq_search *s, struct clq_search_state *state)
{
    clq_search_measure(s, state);
    for (int round = 0; round < 40 * s->n_units + 100; round++) {
        struct move m = best_single(s, state);
        if (!(m.score > 0)) m = best_run(s, state);
        if (!(m.score > 0)) return;
        struct clq_search_state before = *state;
        int n = apply(s, state->choice, &m);
        clq_search_measure(s, state);
        if (!clq_search_better(state, &before)) { /* the sum of differences was off by its rounding */
            undo(s, state->choice, n);
            *state = before;
            return;
        }
    }
}

/* Every unit in its domain that is cheapest by one axis, or in one domain where it can be. */
static void start_plan(struct clq_search *s, int *choice, int axis, int domain)
{
    for (int u = 0; u < s->n_units; u++) {
        int best = -1;
        double least = DBL_MAX;
        for (int d = 0; d < s->problem->n_domains; d++) {
            if (!unit_allows(s, u, d)) continue;
            double sum = d == domain ? -1 : 0;
            for (int i = s->unit_start[u]; sum >= 0 && i < s->unit_start[u + 1]; i++) {
                int l = s->unit_layers[i];
                sum += clq_candidate_cost(&s->problem->layers[l].candidates[pick_of(s, axis, l)[d]], axis);
            }
            if (domain >= 0 && sum >= 0) sum = d; /* elsewhere: the lowest domain that all allow */
            if (best < 0 || sum < least) {
                best = d;
                least = sum;
            }
        }
        for (int i = s->unit_start[u]; i < s->unit_start[u + 1]; i++)
            choice[s->unit_layers[i]] = pick_of(s, axis, s->unit_layers[i])[best];
    }
}

clq_status clq_search_run(struct clq_search *s, struct clq_search_state *out, struct clq_arena *arena,
                          struct clq_error *err)
{
    size_t n = (size_t)s->problem->n_layers;
    struct clq_search_state state = {.choice = clq_arena_array(arena, n + 1, sizeof(int))};
    if (!state.choice) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory for a problem of %zu layers", n);
    for (int start = 0; start < s->problem->n_domains + CLQ_AXIS_COUNT; start++) {
        int domain = start < s->problem->n_domains ? start : -1;
        start_plan(s, state.choice, domain < 0 ? start - s->problem->n_domains : (int)s->problem->objective, domain);
        clq_search_descend(s, &state);
        if (start > 0 && !clq_search_better(&state, out)) continue;
        memcpy(out->choice, state.choice, n * sizeof(int));
        int *kept = out->choice;
        *out = state;
        out->choice = kept;
    }
    return CLQ_OK;
}
