/* SPDX-License-Identifier: Apache-2.0
 * What a plan has to keep, and what is made as small as possible within that. One row of the table per kind of bound drives
 * options, judging, messages and the plan file. */
#ifndef CLQ_BUDGET_H
#define CLQ_BUDGET_H

#include <clquant/quantize.h>

#include "scheduler/problem.h"

enum clq_bound_kind {
    CLQ_BOUND_SQNR, CLQ_BOUND_COSINE, CLQ_BOUND_DROP, CLQ_BOUND_LATENCY, CLQ_BOUND_SPEEDUP, CLQ_BOUND_SIZE, CLQ_BOUND_BITS,
    CLQ_BOUND_MEMORY, CLQ_BOUND_COUNT
};

struct clq_bound_row {
    const char *name;     /* as options and plans spell it */
    enum clq_axis axis;   /* what is spent less of to keep it */
    const char *unit;
    bool at_least;        /* a lower bound */
};
extern const struct clq_bound_row clq_bounds[CLQ_BOUND_COUNT];

struct clq_budget {
    enum clq_axis objective;
    double limit[CLQ_BOUND_COUNT]; /* NAN: none */
    bool by_default;               /* the one bound was not asked for */
};

/* A whole plan as measured; NAN: not measured, such bounds are not judged. */
struct clq_whole_values {
    double value[CLQ_BOUND_COUNT];
};

/* Reads and checks the options. */
clq_status clq_budget_read(struct clq_budget *out, const clq_quantize_options *options, struct clq_error *err);
bool clq_budget_has(const struct clq_budget *budget, enum clq_bound_kind kind);
/* By what part of the bound the value misses it; 0: it is kept, or there is none. margin >= 1 asks for so much more. */
double clq_budget_excess(const struct clq_budget *budget, enum clq_bound_kind kind, double value, double margin);
/* The bound that is missed by the largest part, CLQ_BOUND_COUNT when all are kept; energies have to keep the margin. */
enum clq_bound_kind clq_budget_binding(const struct clq_budget *budget, const struct clq_whole_values *whole, double error_margin);
/* The first bound of the table that is set, for one-line summaries; CLQ_BOUND_COUNT: none. */
enum clq_bound_kind clq_budget_first(const struct clq_budget *budget);
/* True where float32 itself may miss the budget, or is not the aim: the plan is then delivered even if it is not faster. */
bool clq_budget_delivers(const struct clq_budget *budget);

#endif
