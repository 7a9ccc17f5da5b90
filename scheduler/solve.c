/* SPDX-License-Identifier: Apache-2.0
 * The integer program of a precision problem, and the only home of CBC.
 *
 *   x[l][c] in {0,1}    layer l runs candidate c                sum over c of x[l][c] = 1
 *   in[l][d]            = sum of x[l][c] with domain d           equal among tied layers
 *   w[l][d]             = sum of x[l][c] with domain_out d
 *   u[t][a][b] >= 0     tensor t is converted from a to b:
 *                       u[t][a][b] <= w[producer][a]   and   w[producer][b] + sum over a of u[t][a][b] >= in[consumer][b]
 *
 * A bound k is a row scaled to 1, so errors from 1e-9 to 1e3 are well conditioned; candidates that break it alone, or
 * cost more than a known plan, are fixed at 0. In the elastic form each bounded row has a slack column instead. */
#include "scheduler/solve.h"

#include <float.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <coin/Cbc_C_Interface.h>

#include "scheduler/search.h"

#define OBJECTIVE_SCALE 1000.0 /* what the incumbent's objective becomes inside CBC */
#define NEGLIGIBLE 1e-13       /* shares of a bound below this are left out of its row */

struct entry {
    int row, column;
    double value;
};

struct program {
    const struct clq_search *search;
    struct clq_arena arena;
    size_t n_entries, cap_entries;
    struct entry *entries;
    int n_rows, n_columns, cap_rows, cap_columns;
    double *row_lower, *row_upper, *column_upper, *objective;
    bool *integer;
    int *x_at;   /* column of x[l][0] */
    bool failed; /* memory is out */
};

static void *grown(struct program *g, void *old, size_t old_bytes, size_t count, size_t size)
{
    void *fresh = clq_arena_array(&g->arena, count, size);
    if (!fresh)
        g->failed = true;
    else if (old_bytes)
        memcpy(fresh, old, old_bytes);
    return fresh;
}

static void put(struct program *g, int row, int column, double value)
{
    if (g->n_entries == g->cap_entries) {
        size_t cap = g->cap_entries ? 2 * g->cap_entries : 4096;
        struct entry *fresh = grown(g, g->entries, g->n_entries * sizeof *fresh, cap, sizeof *fresh);
        if (!fresh) return;
        g->entries = fresh;
        g->cap_entries = cap;
    }
    g->entries[g->n_entries++] = (struct entry){row, column, value};
}

static int add_row(struct program *g, double lower, double upper)
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

static int add_column(struct program *g, double upper, double objective, bool integer)
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

/* What one solve minimizes and keeps to. limit[] are the bounds as this solve sees them; cap[] is what no candidate of
 * an acceptable plan can cost by itself. */
struct goal {
    enum clq_axis objective;
    double limit[CLQ_AXIS_COUNT], cap[CLQ_AXIS_COUNT], scale[CLQ_AXIS_COUNT];
    double objective_scale; /* multiplies costs */
    double rank_cost;       /* in scaled units */
    double slack_cost;      /* > 0: elastic, cost of one whole scale[] over a limit */
};

static void put_layer_sum(struct program *g, int row, int layer, int domain, bool out, double factor)
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

static void build_layers(struct program *g, const struct goal *goal)
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
static void build_conversions(struct program *g, const struct goal *goal, int t, int b, int time_row)
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

static void build(struct program *g, const struct goal *goal)
{
    const struct clq_problem *p = g->search->problem;
    int bound_row[CLQ_AXIS_COUNT];
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
}

/* Hands the program to CBC, in compressed columns. */
static Cbc_Model *load(struct program *g)
{
    size_t n = (size_t)g->n_columns;
    int *start = clq_arena_array(&g->arena, n + 2, sizeof(int));
    int *index = clq_arena_array(&g->arena, g->n_entries + 1, sizeof(int));
    double *value = clq_arena_array(&g->arena, g->n_entries + 1, sizeof(double));
    double *lower = clq_arena_array(&g->arena, n + 1, sizeof(double));
    if (g->failed || !start || !index || !value || !lower) return NULL;
    for (size_t i = 0; i < g->n_entries; i++)
        start[g->entries[i].column + 2]++;
    for (size_t c = 0; c < n; c++)
        start[c + 2] += start[c + 1];
    for (size_t i = 0; i < g->n_entries; i++) {
        int at = start[g->entries[i].column + 1]++;
        index[at] = g->entries[i].row;
        value[at] = g->entries[i].value;
    }
    Cbc_Model *model = Cbc_newModel();
    if (!model) return NULL;
    Cbc_setLogLevel(model, 0);
    Cbc_loadProblem(model, g->n_columns, g->n_rows, start, index, value, lower, g->column_upper, g->objective, g->row_lower, g->row_upper);
    for (int c = 0; c < g->n_columns; c++)
        if (g->integer[c]) Cbc_setInteger(model, c);
    Cbc_setObjSense(model, 1);
    return model;
}

static const int guarded[] = {SIGINT, SIGTERM, SIGHUP, SIGABRT, SIGSEGV, SIGFPE};
#define N_GUARDED (sizeof guarded / sizeof *guarded)

/* CBC replaces the handler of SIGINT while it works. The thread's signals wait meanwhile, and the process's handlers are
 * put back before they are let in. */
static void solve_guarded(Cbc_Model *model)
{
    struct sigaction saved[N_GUARDED];
    sigset_t hold, before;
    sigemptyset(&hold);
    sigaddset(&hold, SIGINT);
    sigaddset(&hold, SIGTERM);
    sigaddset(&hold, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &hold, &before);
    for (size_t i = 0; i < N_GUARDED; i++)
        sigaction(guarded[i], NULL, &saved[i]);
    Cbc_solve(model);
    for (size_t i = 0; i < N_GUARDED; i++)
        sigaction(guarded[i], &saved[i], NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

enum outcome { SOLVED, STOPPED, NOTHING };

/* One integer program. SOLVED: choice is proven optimal for it; STOPPED: choice is some plan; NOTHING: no plan. */
static enum outcome run_cbc(int *choice, const struct clq_search *search, const struct goal *goal, int max_nodes)
{
    struct program g = {.search = search};
    enum outcome outcome = NOTHING;
    char nodes[16];
    build(&g, goal);
    Cbc_Model *model = load(&g);
    if (model) {
        /* Numbers without a decimal point: CBC reads them with the locale's rules. */
        snprintf(nodes, sizeof nodes, "%d", max_nodes);
        Cbc_setParameter(model, "threads", "0");
        Cbc_setParameter(model, "maxNodes", nodes);
        Cbc_setParameter(model, "ratioGap", "0");
        Cbc_setParameter(model, "allowableGap", "1e-7");
        Cbc_setParameter(model, "increment", "1e-7");
        Cbc_setParameter(model, "primalTolerance", "1e-9");
        Cbc_setParameter(model, "dualTolerance", "1e-9");
        Cbc_setParameter(model, "integerTolerance", "1e-9");
        solve_guarded(model);
        const double *x = Cbc_bestSolution(model);
        if (x && !Cbc_isProvenInfeasible(model)) {
            outcome = Cbc_isProvenOptimal(model) ? SOLVED : STOPPED;
            for (int l = 0; l < search->problem->n_layers; l++) {
                choice[l] = 0;
                for (int c = 1; c < search->problem->layers[l].n_candidates; c++)
                    if (x[g.x_at[l] + c] > x[g.x_at[l] + choice[l]]) choice[l] = c;
            }
        }
        Cbc_deleteModel(model);
    }
    clq_arena_free(&g.arena);
    return outcome;
}

/* The goal "least objective within the bounds", given the objective of a plan that meets them. */
static struct goal main_goal(const struct clq_search *s, const struct clq_search_state *incumbent)
{
    const struct clq_problem *p = s->problem;
    struct goal goal = {.objective = p->objective};
    double best = incumbent->violation > 0 ? INFINITY : incumbent->axis[p->objective];
    double unit = best < INFINITY ? best : incumbent->axis[p->objective];
    for (int a = 0; a < CLQ_AXIS_COUNT; a++) {
        goal.limit[a] = goal.cap[a] = p->bound[a];
        if (a == (int)p->objective && best < goal.cap[a]) goal.cap[a] = best;
        goal.cap[a] += goal.cap[a] * CLQ_BOUND_TOLERANCE;
        goal.scale[a] = p->bound[a] > 0 ? p->bound[a] : 1;
    }
    if (!(unit > 0)) unit = s->scale[p->objective];
    goal.objective_scale = OBJECTIVE_SCALE / unit;
    goal.rank_cost = s->rank_cost * goal.objective_scale;
    return goal;
}

/* The goal "least sum of relative excesses", with the objective deciding among equals. */
static struct goal elastic_goal(const struct clq_search *s, const struct clq_search_state *incumbent)
{
    struct goal goal = main_goal(s, incumbent);
    for (int a = 0; a < CLQ_AXIS_COUNT; a++) {
        goal.scale[a] = s->scale[a];
        goal.cap[a] = s->problem->bound[a] + incumbent->violation * s->scale[a];
        goal.cap[a] += goal.cap[a] * CLQ_BOUND_TOLERANCE;
    }
    goal.slack_cost = OBJECTIVE_SCALE * 1e3;
    goal.objective_scale *= 1e-3;
    goal.rank_cost *= 1e-3;
    return goal;
}

/* Takes over a plan of CBC's if it is better than the incumbent, after exact totals and a polish. */
static bool adopt(struct clq_search *s, struct clq_search_state *best, int *fresh)
{
    struct clq_search_state state = {.choice = fresh};
    for (int i = 0; i < s->problem->n_ties; i++)
        for (int j = 1; j < s->problem->ties[i].n; j++) {
            int p = s->problem->ties[i].layers[0], q = s->problem->ties[i].layers[j];
            if (s->problem->layers[p].candidates[fresh[p]].domain != s->problem->layers[q].candidates[fresh[q]].domain)
                return false;
        }
    clq_search_descend(s, &state);
    clq_search_measure(s, best);
    if (clq_search_better(best, &state)) return false;
    memcpy(best->choice, fresh, (size_t)s->problem->n_layers * sizeof *fresh);
    clq_search_measure(s, best);
    return true;
}

/* The least value that each bounded axis can have by itself. */
static clq_status least_values(double *least, const struct clq_problem *problem, const struct clq_solve_options *options,
                               int *choice, struct clq_error *err)
{
    for (int a = 0; a < CLQ_AXIS_COUNT; a++) {
        struct clq_problem alone = *problem;
        struct clq_solution found;
        least[a] = 0;
        if (isinf(problem->bound[a])) continue;
        alone.objective = a;
        for (int b = 0; b < CLQ_AXIS_COUNT; b++)
            alone.bound[b] = INFINITY;
        CLQ_TRY(clq_solve(&found, choice, &alone, options, err));
        least[a] = found.totals.axis[a];
    }
    return CLQ_OK;
}

/* The plan that misses the bounds least, and which bound it misses most. */
static clq_status solve_elastic(struct clq_solution *out, struct clq_search *s, struct clq_search_state *best, int *fresh,
                                const struct clq_solve_options *options, struct clq_error *err)
{
    const struct clq_problem *p = s->problem;
    CLQ_TRY(least_values(out->least, p, options, fresh, err));
    for (int a = 0; a < CLQ_AXIS_COUNT; a++) {
        if (isinf(p->bound[a])) continue;
        double scale = out->least[a] > p->bound[a] ? out->least[a] : p->bound[a];
        if (scale > 0) s->scale[a] = scale;
    }
    clq_search_descend(s, best);
    if (!options->search_only) {
        struct goal goal = elastic_goal(s, best);
        enum outcome outcome = run_cbc(fresh, s, &goal, options->max_nodes);
        out->proven = outcome == SOLVED;
        out->from_cbc = outcome != NOTHING && adopt(s, best, fresh);
    }
    double worst = -1;
    for (int a = 0; a < CLQ_AXIS_COUNT; a++) {
        double excess = best->axis[a] - p->bound[a];
        if (clq_bound_met(best->axis[a], p->bound[a]) || excess / s->scale[a] <= worst) continue;
        worst = excess / s->scale[a];
        out->binding = a;
        out->excess = excess;
    }
    out->feasible = worst < 0;
    return CLQ_OK;
}

static clq_status solve_in(struct clq_solution *out, int *choice, struct clq_search *s, struct clq_arena *arena,
                           const struct clq_solve_options *options, struct clq_error *err)
{
    const struct clq_problem *p = s->problem;
    struct clq_search_state best = {.choice = choice};
    int *fresh = clq_arena_array(arena, (size_t)p->n_layers + 1, sizeof(int));
    if (!fresh) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory for a problem of %d layers", p->n_layers);
    CLQ_TRY(clq_search_run(s, &best, arena, err));
    clq_search_set_objective_scale(s, best.axis[p->objective]);
    clq_search_descend(s, &best);
    /* A first incumbent far above the optimum would make the tie tolerance too coarse: solve again on its own scale. */
    for (int round = 0; round < 4 && !options->search_only; round++) {
        double before = best.violation > 0 ? INFINITY : best.axis[p->objective];
        struct goal goal = main_goal(s, &best);
        enum outcome outcome = run_cbc(fresh, s, &goal, options->max_nodes);
        if (outcome == NOTHING) break;
        out->proven = outcome == SOLVED;
        out->from_cbc = adopt(s, &best, fresh);
        if (best.violation > 0 || best.axis[p->objective] >= before / 2) break;
        clq_search_set_objective_scale(s, best.axis[p->objective]);
    }
    out->feasible = !(best.violation > 0);
    if (!out->feasible) CLQ_TRY(solve_elastic(out, s, &best, fresh, options, err));
    return clq_problem_evaluate(&out->totals, p, choice, err);
}

clq_status clq_solve(struct clq_solution *out, int *choice, const struct clq_problem *problem,
                     const struct clq_solve_options *options, struct clq_error *err)
{
    struct clq_solve_options opt = options ? *options : (struct clq_solve_options){0};
    struct clq_arena arena = {0};
    struct clq_search search;
    struct clq_solution found = {0};
    if (opt.max_nodes <= 0) opt.max_nodes = 20000;
    CLQ_TRY(clq_problem_check(problem, err));
    clq_status st = clq_search_prepare(&search, problem, &arena, err);
    if (st == CLQ_OK && problem->n_layers == 0) {
        st = clq_problem_evaluate(&found.totals, problem, choice, err);
        found.feasible = found.proven = true;
    } else if (st == CLQ_OK) {
        st = solve_in(&found, choice, &search, &arena, &opt, err);
    }
    clq_arena_free(&arena);
    if (st == CLQ_OK) *out = found;
    return st;
}
