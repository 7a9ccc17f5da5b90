/* SPDX-License-Identifier: Apache-2.0
 * The precision problem as data: layers with candidates, layers that must agree, tensors whose conversions cost time,
 * one objective and upper bounds. Pure: no devices, no files. Solved by solve.h, answered otherwise by policies.h.
 *
 *   total[time]  = sum of chosen time_us + sum over (tensor, from, to) in use of convert_us[from][to]
 *   total[error] = sum of chosen error       (noise powers at the network's outputs, taken as additive)
 *   total[bytes] = sum of chosen bytes
 */
#ifndef CLQ_SCHEDULER_PROBLEM_H
#define CLQ_SCHEDULER_PROBLEM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"

#define CLQ_MAX_DOMAINS 16
#define CLQ_MAX_CANDIDATES 1024 /* per layer */

enum clq_axis { CLQ_AXIS_TIME, CLQ_AXIS_ERROR, CLQ_AXIS_BYTES, CLQ_AXIS_COUNT };
const char *clq_axis_name(enum clq_axis axis); /* "time", "error", "bytes" */

/* One way to run a layer. A domain is a number format on a device, as the caller numbers them; 0 is float32 on the CPU. */
struct clq_candidate {
    const char *label; /* the precision's name, for policies and messages: "f32", "int8", ... */
    int domain;        /* what it reads, and what tied layers agree on */
    int domain_out;    /* what it writes; the same as domain unless the layer converts by itself */
    int weight_bits;   /* more is the higher precision: decides ties, and feeds the bits and operations policies */
    int act_bits;
    double time_us, error, bytes; /* finite, >= 0 */
};

struct clq_problem_layer {
    const char *name;
    int n_candidates; /* 1 .. CLQ_MAX_CANDIDATES */
    const struct clq_candidate *candidates;
    double params, macs; /* for the bits and operations policies; >= 0 */
};

/* Layers that must choose candidates of the same domain. */
struct clq_tie {
    int n;
    const int *layers;
};

/* A value that crosses layers. Converting it from one domain to another is paid once, however many consumers need it.
 * The diagonal is ignored. INFINITY says that there is no such conversion. */
struct clq_problem_tensor {
    int producer; /* a layer, or CLQ_GRAPH_INPUT: always domain 0 */
    int n_consumers;
    const int *consumers;      /* layers, or CLQ_GRAPH_OUTPUT: requires domain 0 */
    const double *convert_us;  /* [n_domains * n_domains], row: from, column: to */
};
#define CLQ_GRAPH_INPUT (-1)
#define CLQ_GRAPH_OUTPUT (-1)

struct clq_problem {
    int n_domains; /* 1 .. CLQ_MAX_DOMAINS */
    int n_layers, n_ties, n_tensors;
    const struct clq_problem_layer *layers;
    const struct clq_tie *ties;
    const struct clq_problem_tensor *tensors;
    enum clq_axis objective;
    double bound[CLQ_AXIS_COUNT]; /* upper bounds, >= 0; INFINITY: none. A zeroed problem bounds everything by 0. */
};

/* A bound counts as met up to this relative excess: the rounding of sums, nothing that could be measured. */
#define CLQ_BOUND_TOLERANCE 1e-9
/* Plans whose objectives differ by less than this part count as equal; the tie rule then decides. */
#define CLQ_TIE_TOLERANCE 1e-6

/* Totals of one choice of candidates, summed in layer order, then tensor order. */
struct clq_totals {
    double axis[CLQ_AXIS_COUNT];
    double convert_us; /* the part of the time that conversions take */
};

double clq_candidate_cost(const struct clq_candidate *candidate, enum clq_axis axis);

/* True if total meets bound within CLQ_BOUND_TOLERANCE. */
bool clq_bound_met(double total, double bound);

/* CLQ_ERR_INVALID_ARGUMENT names the layer, tie or tensor that breaks a rule written above. */
clq_status clq_problem_check(const struct clq_problem *problem, struct clq_error *err);

/* Totals of choice[n_layers] (candidate indices). CLQ_ERR_INVALID_ARGUMENT: an index out of range, tied layers in
 * different domains, or a conversion that does not exist. The problem must have passed clq_problem_check. */
clq_status clq_problem_evaluate(struct clq_totals *out, const struct clq_problem *problem, const int *choice,
                                struct clq_error *err);

/* The conversions that one tensor needs under choice; *missing is increased by those that do not exist. */
double clq_problem_tensor_cost(const struct clq_problem *problem, int tensor, const int *choice, int *missing);

/* Groups of layers that are tied directly or through others. unit[layer] is the group's number, numbered by first
 * layer; returns how many there are. */
int clq_problem_units(const struct clq_problem *problem, int *unit);

/* The place of every candidate in its layer's order of preference: more weight bits first, then more activation bits,
 * then the lower index. rank[] is layer after layer. The tie rule takes the plan with the least sum of ranks. */
void clq_problem_ranks(const struct clq_problem *problem, int *rank);

#endif
