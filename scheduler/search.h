/* SPDX-License-Identifier: Apache-2.0
 * Deterministic local search on a precision problem: the solver's first incumbent, the polish of its answer and what
 * stands when it fails. Moves are one layer's candidate, one tied unit's domain, or a run of neighboring units' domain;
 * each is judged by exact totals. */
#ifndef CLQ_SCHEDULER_SEARCH_H
#define CLQ_SCHEDULER_SEARCH_H

#include "scheduler/problem.h"

/* Everything that the search derives from a problem. Arrays live in the arena. */
struct clq_search {
    const struct clq_problem *problem;
    int n_units;
    int *unit;                        /* [n_layers] */
    int *unit_start, *unit_layers;    /* layers of unit u: unit_layers[unit_start[u] .. unit_start[u + 1]) */
    int *touch_start, *touch;         /* tensors at layer l, each once: touch[touch_start[l] .. touch_start[l + 1]) */
    int *rank, *rank_at;              /* clq_problem_ranks; the ranks of layer l start at rank_at[l] */
    int *pick;                        /* [axis][layer][domain]: the cheapest candidate, or -1 */
    double scale[CLQ_AXIS_COUNT];     /* what an excess over a bound is divided by */
    double rank_cost;                 /* objective units per rank */
    int *stamp, stamp_now, *changed, *old;
};

/* A plan and what it is worth: less violation wins, then the smaller value. */
struct clq_search_state {
    int *choice, missing; /* missing: conversions that do not exist */
    double axis[CLQ_AXIS_COUNT];
    double violation; /* sum over bounds of excess / scale, plus 1e6 per conversion that does not exist */
    double value;     /* objective + rank_cost * sum of ranks */
};

/* Prepares the search for a checked problem. CLQ_ERR_INVALID_ARGUMENT names a tied group without a common domain. */
clq_status clq_search_prepare(struct clq_search *search, const struct clq_problem *problem, struct clq_arena *arena,
                              struct clq_error *err);

/* Sets rank_cost so that all ranks together weigh half of CLQ_TIE_TOLERANCE of an objective like this one. */
void clq_search_set_objective_scale(struct clq_search *search, double objective);

/* Fills axis, violation and value from choice. */
void clq_search_measure(const struct clq_search *search, struct clq_search_state *state);
bool clq_search_better(const struct clq_search_state *a, const struct clq_search_state *b);

/* Improves the state until no move helps. */
void clq_search_descend(struct clq_search *search, struct clq_search_state *state);

/* The best of descents from the uniform plans and from each axis' cheapest plan. out->choice is the caller's. */
clq_status clq_search_run(struct clq_search *search, struct clq_search_state *out, struct clq_arena *arena,
                          struct clq_error *err);

#endif
