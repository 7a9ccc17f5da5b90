/* SPDX-License-Identifier: Apache-2.0
 * Building the integer program: see program.h. */
#include "scheduler/program.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define NEGLIGIBLE 1e-13 /* shares of a bound below this are left out of its row */

static void *grown(struct clq_program *g, void *old, size_t old_bytes, size_t count, size_t size)
{
    void *fresh = clq_arena_array(&g->arena, count, size);
    if (!fresh)
        g->failed = true;
    else if (old_bytes)
        memcpy(fresh, old, old_bytes);
    return fresh;
}

static void put(struct clq_program *g, int row, int column, double value)
{
    if (g->n_entries == g->cap_entries) {
        size_t cap = g->cap_entries ? 2 * g->cap_entries : 4096;
        struct clq_entry *fresh = grown(g, g->entries, g->n_entries * sizeof *fresh, cap, sizeof *fresh);
        if (!fresh) return;
        g->entries = fresh;
        g->cap_entries = cap;
    }
    g->entries[g->n_entries++] = (struct clq_entry){row, column, value};
}

static int add_row(struct clq_program *g, double lower, double upper)
{
    if (g->n_rows == g->cap_rows) {
        int cap = g->cap_rows ? 2 * g->cap_rows : 1024;
        size_t bytes = (size_t)g->n_rows * sizeof(double);
        double *lo = grown(g, g->row_lower, bytes, (size_t)cap, sizeof *lo);
        double *hi = grown(g, g->row_upper, bytes, (size_t)cap, sizeof *hi);
        if (!lo || !hi) return 0;
        g->row_lower = lo;
        g->row_upper = hi;
        g->cap_rows = cap;
    }
    g->row_lower[g->n_rows] = lower;
    g->row_upper[g->n_rows] = upper;
    return g->n_rows++;
}

static int add_column(struct clq_program *g, double upper, double objective, bool integer)
{
    if (g->n_columns == g->cap_columns) {
        int cap = g->cap_columns ? 2 * g->cap_columns : 1024;
        size_t n = (size_t)g->n_columns;
        double *hi = grown(g, g->column_upper, n * sizeof *hi, (size_t)cap, sizeof *hi);
        double *obj = grown(g, g->objective, n * sizeof *obj, (size_t)cap, sizeof *obj);
        bool *whole = grown(g, g->integer, n * sizeof *whole, (size_t)cap, sizeof *whole);
        if (!hi || !obj || !whole) return 0;
        g->column_upper = hi;
        g->objective = obj;
        g->integer = whole;
        g->cap_columns = cap;
    }
    g->column_upper[g->n_columns] = upper;
    g->objective[g->n_columns] = objective;
    g->integer[g->n_columns] = integer;
    return g->n_columns++;
}

static void put_layer_sum(struct clq_program *g, int row, int layer, int domain, bool out, double factor)
{
    const struct clq_problem_layer *l = &g->search->problem->layers[layer];
    for (int c = 0; c < l->n_candidates; c++)
        if ((out ? l->candidates[c].domain_out : l->candidates[c].domain) == domain) put(g, row, g->x_at[layer] + c, factor);
}

static bool layer_reaches(const struct clq_problem *p, int layer, int domain, bool out)
{
    if (layer < 0) return domain == 0;
    const struct clq_problem_layer *l = &p->layers[layer];
    for (int c = 0; c < l->n_candidates; c++)
        if ((out ? l->candidates[c].domain_out : l->candidates[c].domain) == domain) return true;
    return false;
}

static void build_layers(struct clq_program *g, const struct clq_goal *goal)
{
    const struct clq_problem *p = g->search->problem;
    g->x_at = clq_arena_array(&g->arena, (size_t)p->n_layers + 1, sizeof(int));
    if (!g->x_at) g->failed = true;
    for (int l = 0; l < p->n_layers && !g->failed; l++) {
        int row = add_row(g, 1, 1);
        g->x_at[l] = g->n_columns;
        for (int c = 0; c < p->layers[l].n_candidates; c++) {
            const struct clq_candidate *k = &p->layers[l].candidates[c];
            double cost = clq_candidate_cost(k, goal->objective) * goal->objective_scale;
            bool out = false;
            for (int a = 0; a < CLQ_AXIS_COUNT; a++)
                out |= clq_candidate_cost(k, a) > goal->cap[a];
            int x = add_column(g, out ? 0 : 1, out ? 0 : cost + goal->rank_cost * g->search->rank[g->search->rank_at[l] + c], true);
            put(g, row, x, 1);
        }
    }
    for (int i = 0; i < p->n_ties && !g->failed; i++)
        for (int j = 1; j < p->ties[i].n; j++)
            for (int d = 0; d < p->n_domains; d++) {
                if (p->ties[i].layers[0] == p->ties[i].layers[j]) continue;
                int row = add_row(g, 0, 0);
                put_layer_sum(g, row, p->ties[i].layers[0], d, false, 1);
                put_layer_sum(g, row, p->ties[i].layers[j], d, false, -1);
            }
}

/* Columns and rows of one tensor's conversions to domain b; u columns are made where a conversion exists. */
static void build_conversions(struct clq_program *g, const struct clq_goal *goal, int t, int b, int time_row)
{
    const struct clq_problem *p = g->search->problem;
    const struct clq_problem_tensor *tensor = &p->tensors[t];
    int u[CLQ_MAX_DOMAINS];
    for (int a = 0; a < p->n_domains; a++) {
        double cost = tensor->convert_us[a * p->n_domains + b];
        u[a] = -1;
        if (a == b || isinf(cost) || !layer_reaches(p, tensor->producer, a, true)) continue;
        u[a] = add_column(g, cost > goal->cap[CLQ_AXIS_TIME] ? 0 : 1,
                          goal->objective == CLQ_AXIS_TIME && cost <= goal->cap[CLQ_AXIS_TIME] ? cost * goal->objective_scale : 0, false);
        if (time_row >= 0 && cost > 0 && cost <= goal->cap[CLQ_AXIS_TIME])
            put(g, time_row, u[a], cost / goal->scale[CLQ_AXIS_TIME]);
        if (tensor->producer >= 0) {
            int row = add_row(g, -DBL_MAX, 0);
            put(g, row, u[a], 1);
            put_layer_sum(g, row, tensor->producer, a, true, -1);
        }
    }
    for (int i = 0; i < tensor->n_consumers; i++) {
        int k = tensor->consumers[i];
        bool repeated = false;
        for (int j = 0; j < i; j++)
            repeated |= tensor->consumers[j] == k;
        if (repeated || !layer_reaches(p, k, b, false)) continue;
        double constant = (tensor->producer < 0 && b == 0 ? 1 : 0) - (k < 0 ? 1 : 0);
        int row = add_row(g, -constant, DBL_MAX);
        for (int a = 0; a < p->n_domains; a++)
            if (u[a] >= 0) put(g, row, u[a], 1);
        if (tensor->producer >= 0) put_layer_sum(g, row, tensor->producer, b, true, 1);
        if (k >= 0) put_layer_sum(g, row, k, b, false, -1);
    }
}

bool clq_program_build(struct clq_program *g, const struct clq_search *search, const struct clq_goal *goal)
{
    const struct clq_problem *p = search->problem;
    int bound_row[CLQ_AXIS_COUNT];
    memset(g, 0, sizeof *g);
    g->search = search;
    build_layers(g, goal);
    for (int a = 0; a < CLQ_AXIS_COUNT && !g->failed; a++) {
        bound_row[a] = -1;
        if (isinf(goal->limit[a])) continue;
        double room = goal->limit[a] / goal->scale[a];
        bound_row[a] = add_row(g, -DBL_MAX, room + room * (CLQ_BOUND_TOLERANCE / 2));
        for (int l = 0; l < p->n_layers && !g->failed; l++)
            for (int c = 0; c < p->layers[l].n_candidates; c++) {
                double cost = clq_candidate_cost(&p->layers[l].candidates[c], a), share = cost / goal->scale[a];
                if (share > NEGLIGIBLE && cost <= goal->cap[a]) put(g, bound_row[a], g->x_at[l] + c, share);
            }
        if (goal->slack_cost > 0) put(g, bound_row[a], add_column(g, DBL_MAX, goal->slack_cost, false), -1);
    }
    for (int t = 0; t < p->n_tensors && !g->failed; t++)
        for (int b = 0; b < p->n_domains; b++)
            build_conversions(g, goal, t, b, bound_row[CLQ_AXIS_TIME]);
    return !g->failed;
}
