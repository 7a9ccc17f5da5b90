/* SPDX-License-Identifier: Apache-2.0
 * Named ways to answer a precision problem: ours, and the simpler ones that it is compared with. All get the same
 * candidates, errors and ties; only what they look at differs. Every answer keeps the ties; none but "measured" promises
 * to keep the bounds. */
#ifndef CLQ_SCHEDULER_POLICIES_H
#define CLQ_SCHEDULER_POLICIES_H

#include "scheduler/problem.h"

struct clq_policy {
    const char *name;
    const char *summary; /* one sentence for reports */
    bool looks_at_bounds; /* false: it has one answer, whatever the bounds */
    clq_status (*choose)(int *choice, const struct clq_problem *problem, struct clq_error *err);
};

/* The table, in the order of reports; the last one is ours. */
const struct clq_policy *clq_policies(size_t *count);
/* NULL when there is none of that name. */
const struct clq_policy *clq_policy_find(const char *name);

/* Every unit (tied layers together) takes the candidates labeled `label`, or `label` with a group size ("int4" takes
 * "int4-g32"), in the lowest domain where all its layers have one; elsewhere its candidates of highest precision. */
clq_status clq_policy_uniform(int *choice, const struct clq_problem *problem, const char *label, struct clq_error *err);

#endif
