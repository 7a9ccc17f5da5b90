/* SPDX-License-Identifier: Apache-2.0
 * Solving, and the only home of CBC. CBC 2.10 prints, takes over signal handlers, keeps global state and ends the process
 * on some inputs by an assertion. So it runs in a forked child, silent and with signals blocked, that sends back the
 * choice and nothing else; whatever happens there, this process goes on with what the local search found. */
#include "scheduler/solve.h"

#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <coin/Cbc_C_Interface.h>

#include "scheduler/program.h"
#include "scheduler/search.h"

#define OBJECTIVE_SCALE 1000.0 /* what the incumbent's objective becomes inside CBC */
#define CHILD_SECONDS 60       /* a child that is not back by then is killed; the node limit ends it long before */

/* Hands the program to CBC, in compressed columns. */
static Cbc_Model *load(struct clq_program *g)
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

enum outcome { SOLVED, STOPPED, NOTHING };

/* CBC's settings. The second row is for what the first one makes it stumble over. Numbers have no decimal point: CBC reads
 * them with the locale's rules. */
#define N_SETTINGS 2
static const char *const settings[N_SETTINGS][5][2] = {
    {{"increment", "1e-7"}, {"primalTolerance", "1e-9"}, {"dualTolerance", "1e-9"}, {"integerTolerance", "1e-9"}, {"ratioGap", "0"}},
    {{"increment", "1e-7"}, {"presolve", "off"}, {"preprocess", "off"}, {"cuts", "off"}, {"ratioGap", "0"}},
};

/* What the child sends: an outcome, then the choice. */
static enum outcome solve_here(int *choice, struct clq_program *g, int attempt, int max_nodes)
{
    const struct clq_problem *p = g->search->problem;
    char nodes[16];
    Cbc_Model *model = load(g);
    if (!model) return NOTHING;
    snprintf(nodes, sizeof nodes, "%d", max_nodes);
    Cbc_setParameter(model, "threads", "0");
    Cbc_setParameter(model, "maxNodes", nodes);
    Cbc_setParameter(model, "allowableGap", "1e-7");
    for (size_t i = 0; i < sizeof settings[0] / sizeof settings[0][0]; i++)
        Cbc_setParameter(model, settings[attempt][i][0], settings[attempt][i][1]);
    Cbc_solve(model);
    const double *x = Cbc_bestSolution(model);
    if (!x || Cbc_isProvenInfeasible(model)) return NOTHING;
    for (int l = 0; l < p->n_layers; l++) {
        choice[l] = 0;
        for (int c = 1; c < p->layers[l].n_candidates; c++)
            if (x[g->x_at[l] + c] > x[g->x_at[l] + choice[l]]) choice[l] = c;
    }
    return Cbc_isProvenOptimal(model) ? SOLVED : STOPPED;
}

static bool send_all(int fd, const void *data, size_t bytes)
{
    const char *at = data;
    while (bytes > 0) {
        ssize_t n = write(fd, at, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += n;
        bytes -= (size_t)n;
    }
    return true;
}

static _Noreturn void child(int fd, pid_t parent, int *choice, struct clq_program *g, int attempt, int max_nodes)
{
    sigset_t all;
    int null = open("/dev/null", O_RDWR);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || null < 0) _exit(1);
    for (int i = 0; i < 3; i++)
        dup2(null, i);
    for (int sig = 1; sig < NSIG; sig++) /* an assertion must not run this process' handlers */
        signal(sig, SIG_DFL);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    enum outcome outcome = solve_here(choice, g, attempt, max_nodes);
    bool sent = send_all(fd, &outcome, sizeof outcome) && send_all(fd, choice, (size_t)g->search->problem->n_layers * sizeof *choice);
    _exit(sent ? 0 : 1);
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool receive_all(int fd, void *data, size_t bytes, double deadline)
{
    char *at = data;
    while (bytes > 0) {
        double left = deadline - seconds_now();
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (left <= 0) return false;
        int got = poll(&ready, 1, (int)(left * 1000) + 1);
        if (got < 0 && errno != EINTR) return false;
        if (got <= 0) continue;
        ssize_t n = read(fd, at, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += n;
        bytes -= (size_t)n;
    }
    return true;
}

/* False if the child did not answer, or with numbers that are no choice. */
static bool solve_apart(enum outcome *outcome, int *choice, struct clq_program *g, int attempt, int max_nodes)
{
    const struct clq_problem *p = g->search->problem;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) child(ends[1], parent, choice, g, attempt, max_nodes);
    close(ends[1]);
    double deadline = seconds_now() + CHILD_SECONDS;
    bool ok = pid > 0 && receive_all(ends[0], outcome, sizeof *outcome, deadline) &&
              receive_all(ends[0], choice, (size_t)p->n_layers * sizeof *choice, deadline);
    close(ends[0]);
    if (pid > 0) {
        if (!ok) kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    for (int l = 0; l < p->n_layers && ok; l++)
        ok = choice[l] >= 0 && choice[l] < p->layers[l].n_candidates;
    return ok;
}

/* One integer program. SOLVED: choice is proven optimal for it; STOPPED: choice is some plan; NOTHING: no plan. */
static enum outcome run_cbc(int *choice, const struct clq_search *search, const struct clq_goal *goal, int max_nodes)
{
    struct clq_program g;
    enum outcome outcome = NOTHING;
    bool done = !clq_program_build(&g, search, goal);
    for (int attempt = 0; attempt < N_SETTINGS && !done; attempt++)
        done = solve_apart(&outcome, choice, &g, attempt, max_nodes);
    clq_arena_free(&g.arena);
    return done ? outcome : NOTHING;
}

/* The goal "least objective within the bounds", given the objective of a plan that meets them. */
static struct clq_goal main_goal(const struct clq_search *s, const struct clq_search_state *incumbent)
{
    const struct clq_problem *p = s->problem;
    struct clq_goal goal = {.objective = p->objective};
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
static struct clq_goal elastic_goal(const struct clq_search *s, const struct clq_search_state *incumbent)
{
    struct clq_goal goal = main_goal(s, incumbent);
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
        struct clq_goal goal = elastic_goal(s, best);
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
        struct clq_goal goal = main_goal(s, &best);
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
