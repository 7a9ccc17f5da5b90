/* SPDX-License-Identifier: Apache-2.0
 * The optimal plan of a precision problem: COIN-OR CBC with one thread, a fixed gap and a node limit in place of a time
 * limit, so that equal numbers give equal plans. Its answer is never trusted: it is rounded, totaled again exactly,
 * polished by local search, and replaced by the search's own plan where that is better or CBC fails. CBC runs in a forked
 * child (see solve.c), so it cannot print, end the process or touch its signal handlers; where a process may not fork, the
 * search's plan is returned.
 *
 * Ties (objectives within CLQ_TIE_TOLERANCE) go to the plan with the least sum of ranks: higher precision first, then
 * the lower index (clq_problem_ranks). */
#ifndef CLQ_SCHEDULER_SOLVE_H
#define CLQ_SCHEDULER_SOLVE_H

#include "scheduler/problem.h"

struct clq_solution {
    struct clq_totals totals;
    bool feasible;          /* every bound is met */
    bool proven;            /* CBC proved that nothing better exists (within CLQ_TIE_TOLERANCE) */
    bool from_cbc;          /* false: the local search's plan */
    enum clq_axis binding;  /* infeasible: the bound with the largest relative excess */
    double excess;          /* infeasible: total[binding] - bound[binding] */
    double least[CLQ_AXIS_COUNT]; /* infeasible: the least reachable value of every bounded axis by itself */
};

struct clq_solve_options {
    int max_nodes;    /* 0: 20000 */
    bool search_only; /* no CBC: what a failure of CBC falls back to; for tests */
};

/* Fills choice[n_layers] and out. An unreachable set of bounds is CLQ_OK with feasible == false: choice is then the plan
 * with the least sum of relative excesses (each divided by the larger of its bound and its least reachable value, or by
 * the largest candidate's cost where both are 0). CLQ_ERR_INVALID_ARGUMENT: a malformed problem, or one where ties and missing
 * conversions leave no plan at all. options may be NULL. */
clq_status clq_solve(struct clq_solution *out, int *choice, const struct clq_problem *problem,
                     const struct clq_solve_options *options, struct clq_error *err);

#endif
