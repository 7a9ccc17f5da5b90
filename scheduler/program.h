/* SPDX-License-Identifier: Apache-2.0
 * The integer program of a precision problem, as plain arrays.
 *
 *   x[l][c] in {0,1}    layer l runs candidate c                sum over c of x[l][c] = 1
 *   in[l][d]            = sum of x[l][c] with domain d           equal among tied layers
 *   w[l][d]             = sum of x[l][c] with domain_out d
 *   u[t][a][b] >= 0     tensor t is converted from a to b:
 *                       u[t][a][b] <= w[producer][a]   and   w[producer][b] + sum over a of u[t][a][b] >= in[consumer][b]
 *
 * A bound k is a row scaled to 1, so errors from 1e-9 to 1e3 are well conditioned; candidates that break it alone, or
 * cost more than a known plan, are fixed at 0. In the elastic form each bounded row has a slack column instead. */
#ifndef CLQ_SCHEDULER_PROGRAM_H
#define CLQ_SCHEDULER_PROGRAM_H

#include "scheduler/search.h"

struct clq_entry {
    int row, column;
    double value;
};

struct clq_program {
    const struct clq_search *search;
    struct clq_arena arena;
    size_t n_entries, cap_entries;
    struct clq_entry *entries;
    int n_rows, n_columns, cap_rows, cap_columns;
    double *row_lower, *row_upper, *column_upper, *objective;
    bool *integer;
    int *x_at;   /* column of x[l][0] */
    bool failed; /* memory is out */
};

/* What one solve minimizes and keeps to. limit[] are the bounds as this solve sees them; cap[] is what no candidate of
 * an acceptable plan can cost by itself. */
struct clq_goal {
    enum clq_axis objective;
    double limit[CLQ_AXIS_COUNT], cap[CLQ_AXIS_COUNT], scale[CLQ_AXIS_COUNT];
    double objective_scale; /* multiplies costs */
    double rank_cost;       /* in scaled units */
    double slack_cost;      /* > 0: elastic, cost of one whole scale[] over a limit */
};

/* False when memory is out; clq_arena_free(&program->arena) either way. */
bool clq_program_build(struct clq_program *program, const struct clq_search *search, const struct clq_goal *goal);

#endif
