/* SPDX-License-Identifier: Apache-2.0
 * From additive costs to a plan that keeps its bounds as measured: solve, measure the whole plan, correct the model by what
 * was measured, solve again, for a handful of rounds. The measuring is the caller's; this is a pure function over it.
 *
 *     predicted[axis] of the network = base[axis] + scale[axis] * total[axis] of the problem
 *
 * Errors of layers interact, and the samples that judge see others than those that told the layers' errors: each layer has a
 * factor, fitted to all measured plans. Files and run times hold parts that no layer accounts for, so bytes correct the
 * base, and time its scale. */
#ifndef CLQ_SCHEDULER_REFINE_H
#define CLQ_SCHEDULER_REFINE_H

#include "scheduler/policies.h"

/* A whole plan, as measured. */
struct clq_whole {
    double axis[CLQ_AXIS_COUNT]; /* of the network; NAN: not measured, the prediction counts */
    double error_margin;         /* how sure the error is: the request's margin counts where it is more than this one */
    bool refused;                /* something that is no axis says no: labels, the user's program, peak memory */
    enum clq_axis blame;         /* refused: the axis whose bound is tightened for it */
    double excess;               /* refused: by what part, > 0 */
};
typedef clq_status clq_measure_whole(void *state, struct clq_whole *out, const int *choice, struct clq_error *err);

struct clq_refine_request {
    const struct clq_problem *problem;    /* its objective holds, its bounds are not looked at */
    const struct clq_policy *policy;      /* who chooses; NULL: clq_solve */
    double bound[CLQ_AXIS_COUNT];         /* of the network, as measured; INFINITY: none */
    double margin[CLQ_AXIS_COUNT];        /* a measured value times this has to keep the bound; >= 1 */
    double base[CLQ_AXIS_COUNT], scale[CLQ_AXIS_COUNT];
    int rounds;                           /* at most so many plans are solved for */
    clq_measure_whole *measure;
    void *state;
};

struct clq_refined {
    struct clq_whole measured;
    double predicted[CLQ_AXIS_COUNT];  /* by the model as it was before this plan was measured; the error by all other plans
                                        * that were. Where the corrected model chose the same plan again, by that model */
    int measurement;                   /* the how-manieth call of measure saw it, from 0 */
    int rounds;
    bool feasible;                     /* keeps all bounds, as measured, and is not refused */
    enum clq_axis binding;             /* infeasible: the bound with the largest relative excess */
    double excess;                     /* infeasible: that excess, as a part of the bound */
};

/* Starts from the plan of highest precision and fills choice[n_layers] with the best plan: one that keeps the bounds, with
 * the least objective; without any, the one with the least sum of relative excesses. */
clq_status clq_refine(struct clq_refined *out, int *choice, const struct clq_refine_request *request, struct clq_error *err);

#endif
