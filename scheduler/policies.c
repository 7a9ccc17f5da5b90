/* SPDX-License-Identifier: Apache-2.0
 * The table of policies: see policies.h. */
#include "scheduler/policies.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "scheduler/search.h"
#include "scheduler/solve.h"

static bool has_label(const struct clq_candidate *c, const char *label)
{
    size_t n = strlen(label);
    return c->label && strncmp(c->label, label, n) == 0 && (c->label[n] == 0 || strncmp(c->label + n, "-g", 2) == 0);
}

/* The preferred candidate of a layer in a domain, or -1; label NULL accepts all. */
static int find(const struct clq_search *s, int l, int domain, const char *label)
{
    const struct clq_problem_layer *layer = &s->problem->layers[l];
    const int *rank = s->rank + s->rank_at[l];
    int best = -1;
    for (int c = 0; c < layer->n_candidates; c++) {
        if (layer->candidates[c].domain != domain || (label && !has_label(&layer->candidates[c], label))) continue;
        if (best < 0 || rank[c] < rank[best]) best = c;
    }
    return best;
}

/* Gives unit u the label in the lowest domain that offers it to all its layers; false and untouched if there is none. */
static bool take_label(const struct clq_search *s, int *choice, int u, const char *label)
{
    for (int d = 0; d < s->problem->n_domains; d++) {
        bool all = true;
        for (int i = s->unit_start[u]; i < s->unit_start[u + 1]; i++)
            all &= find(s, s->unit_layers[i], d, label) >= 0;
        if (!all) continue;
        for (int i = s->unit_start[u]; i < s->unit_start[u + 1]; i++)
            choice[s->unit_layers[i]] = find(s, s->unit_layers[i], d, label);
        return true;
    }
    return false;
}

/* The domain whose preferred candidates have the least sum of ranks. */
static void take_precise(const struct clq_search *s, int *choice, int u)
{
    int best = -1, least = 0;
    for (int d = 0; d < s->problem->n_domains; d++) {
        int sum = 0;
        for (int i = s->unit_start[u]; i < s->unit_start[u + 1] && sum >= 0; i++) {
            int l = s->unit_layers[i], c = find(s, l, d, NULL);
            sum = c < 0 ? -1 : sum + s->rank[s->rank_at[l] + c];
        }
        if (sum < 0 || (best >= 0 && sum >= least)) continue;
        best = d;
        least = sum;
    }
    for (int i = s->unit_start[u]; i < s->unit_start[u + 1]; i++)
        choice[s->unit_layers[i]] = find(s, s->unit_layers[i], best, NULL);
}

static void take_uniform(const struct clq_search *s, int *choice, const char *label)
{
    for (int u = 0; u < s->n_units; u++)
        if (!take_label(s, choice, u, label)) take_precise(s, choice, u);
}

typedef clq_status with_search(struct clq_search *s, int *choice, struct clq_arena *arena, const char *label,
                               struct clq_error *err);

static clq_status run(with_search *body, int *choice, const struct clq_problem *problem, const char *label,
                      struct clq_error *err)
{
    struct clq_arena arena = {0};
    struct clq_search s;
    CLQ_TRY(clq_problem_check(problem, err));
    clq_status st = clq_search_prepare(&s, problem, &arena, err);
    if (st == CLQ_OK) st = body(&s, choice, &arena, label, err);
    clq_arena_free(&arena);
    return st;
}

static clq_status uniform(struct clq_search *s, int *choice, struct clq_arena *arena, const char *label, struct clq_error *err)
{
    (void)arena;
    (void)err;
    take_uniform(s, choice, label);
    return CLQ_OK;
}

clq_status clq_policy_uniform(int *choice, const struct clq_problem *problem, const char *label, struct clq_error *err)
{
    return run(uniform, choice, problem, label, err);
}

static clq_status uniform_f32(int *choice, const struct clq_problem *problem, struct clq_error *err)
{
    return run(uniform, choice, problem, "f32", err);
}

static clq_status uniform_int8(int *choice, const struct clq_problem *problem, struct clq_error *err)
{
    return run(uniform, choice, problem, "int8", err);
}

static clq_status uniform_dynamic(int *choice, const struct clq_problem *problem, struct clq_error *err)
{
    return run(uniform, choice, problem, "int8-dynamic", err);
}

static clq_status uniform_int4(int *choice, const struct clq_problem *problem, struct clq_error *err)
{
    return run(uniform, choice, problem, "int4", err);
}

/* INT8 but for the first and the last unit that could be. */
static clq_status first_last(struct clq_search *s, int *choice, struct clq_arena *arena, const char *label,
                             struct clq_error *err)
{
    int first = -1, last = -1;
    (void)arena;
    (void)err;
    for (int u = 0; u < s->n_units; u++) {
        if (!take_label(s, choice, u, label)) {
            take_precise(s, choice, u);
            continue;
        }
        if (first < 0) first = u;
        last = u;
    }
    if (first >= 0) take_precise(s, choice, first);
    if (last >= 0) take_precise(s, choice, last);
    return CLQ_OK;
}

static clq_status first_last_float(int *choice, const struct clq_problem *problem, struct clq_error *err)
{
    return run(first_last, choice, problem, "int8", err);
}

static double unit_error(const struct clq_search *s, const int *choice, int u)
{
    double sum = 0;
    for (int i = s->unit_start[u]; i < s->unit_start[u + 1]; i++)
        sum += s->problem->layers[s->unit_layers[i]].candidates[choice[s->unit_layers[i]]].error;
    return sum;
}

/* From all float, the least sensitive units become INT8, one after the other, until the next one would break the bound on
 * the error. Time is never looked at. */
static clq_status sensitivity(struct clq_search *s, int *choice, struct clq_arena *arena, const char *label,
                              struct clq_error *err)
{
    size_t n = (size_t)s->problem->n_layers;
    int *low = clq_arena_array(arena, n + 1, sizeof(int));
    bool *done = clq_arena_array(arena, n + 1, sizeof(bool));
    if (!low || !done) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory for a problem of %zu layers", n);
    take_uniform(s, choice, "f32");
    take_uniform(s, low, label);
    double error = 0;
    for (int u = 0; u < s->n_units; u++)
        error += unit_error(s, choice, u);
    for (int step = 0; step < s->n_units; step++) {
        int best = -1;
        double least = INFINITY;
        for (int u = 0; u < s->n_units; u++) {
            double added = done[u] ? INFINITY : unit_error(s, low, u) - unit_error(s, choice, u);
            if (added < least) {
                least = added;
                best = u;
            }
        }
        if (best < 0 || !clq_bound_met(error + least, s->problem->bound[CLQ_AXIS_ERROR])) break;
        error += least;
        done[best] = true;
        for (int i = s->unit_start[best]; i < s->unit_start[best + 1]; i++)
            choice[s->unit_layers[i]] = low[s->unit_layers[i]];
    }
    return CLQ_OK;
}

static clq_status greedy_by_sensitivity(int *choice, const struct clq_problem *problem, struct clq_error *err)
{
    return run(sensitivity, choice, problem, "int8", err);
}

static double modeled_cost(const struct clq_problem_layer *layer, const struct clq_candidate *c, bool operations)
{
    return operations ? layer->macs * c->weight_bits * c->act_bits : layer->params * c->weight_bits;
}

/* The same integer program with a model's cost in place of measured time, and free conversions. A bound on the time means
 * nothing to it and is dropped. */
static clq_status solve_modeled(int *choice, const struct clq_problem *problem, bool operations, struct clq_error *err)
{
    struct clq_arena arena = {0};
    struct clq_problem copy = *problem;
    struct clq_solution solution;
    CLQ_TRY(clq_problem_check(problem, err));
    struct clq_problem_layer *layers = clq_arena_array(&arena, (size_t)problem->n_layers + 1, sizeof *layers);
    struct clq_problem_tensor *tensors = clq_arena_array(&arena, (size_t)problem->n_tensors + 1, sizeof *tensors);
    bool ok = layers && tensors;
    for (int l = 0; l < problem->n_layers && ok; l++) {
        size_t n = (size_t)problem->layers[l].n_candidates;
        struct clq_candidate *c = clq_arena_array(&arena, n, sizeof *c);
        ok = c != NULL;
        layers[l] = problem->layers[l];
        layers[l].candidates = c;
        for (size_t i = 0; i < n && ok; i++) {
            c[i] = problem->layers[l].candidates[i];
            c[i].time_us = modeled_cost(&problem->layers[l], &c[i], operations);
        }
    }
    size_t cells = (size_t)problem->n_domains * problem->n_domains;
    for (int t = 0; t < problem->n_tensors && ok; t++) {
        double *convert = clq_arena_array(&arena, cells, sizeof *convert);
        ok = convert != NULL;
        tensors[t] = problem->tensors[t];
        tensors[t].convert_us = convert;
        for (size_t i = 0; i < cells && ok; i++)
            convert[i] = isinf(problem->tensors[t].convert_us[i]) ? INFINITY : 0;
    }
    copy.layers = layers;
    copy.tensors = tensors;
    copy.objective = CLQ_AXIS_TIME;
    copy.bound[CLQ_AXIS_TIME] = INFINITY;
    clq_status st = ok ? clq_solve(&solution, choice, &copy, NULL, err)
                       : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory for a problem of %d layers", problem->n_layers);
    clq_arena_free(&arena);
    return st;
}

static clq_status bits_only(int *choice, const struct clq_problem *problem, struct clq_error *err)
{
    return solve_modeled(choice, problem, false, err);
}

static clq_status ops_only(int *choice, const struct clq_problem *problem, struct clq_error *err)
{
    return solve_modeled(choice, problem, true, err);
}

static clq_status measured(int *choice, const struct clq_problem *problem, struct clq_error *err)
{
    struct clq_solution solution;
    return clq_solve(&solution, choice, problem, NULL, err);
}

static const struct clq_policy table[] = {
    {"uniform-f32", "every layer in float32", false, uniform_f32},
    {"uniform-int8", "every layer in INT8 where there is one", false, uniform_int8},
    {"uniform-int8-dynamic", "every layer in INT8 with a scale per row, where there is one", false, uniform_dynamic},
    {"uniform-int4", "every layer in INT4 where there is one", false, uniform_int4},
    {"first-last-float", "INT8, with the first and the last layer in float32", false, first_last_float},
    {"greedy-by-sensitivity", "INT8 from the least sensitive layer on, until the error budget is used up", true, greedy_by_sensitivity},
    {"bits-only", "an integer program that minimizes weight bits under the error budget", true, bits_only},
    {"ops-only", "an integer program that minimizes bit operations under the error budget", true, ops_only},
    {"measured", "clquant: measured error and measured time, boundaries included", true, measured},
};

const struct clq_policy *clq_policies(size_t *count)
{
    *count = sizeof table / sizeof *table;
    return table;
}

const struct clq_policy *clq_policy_find(const char *name)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].name, name) == 0) return &table[i];
    return NULL;
}
