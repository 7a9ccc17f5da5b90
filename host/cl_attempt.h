/* SPDX-License-Identifier: Apache-2.0
 * Attempts to solve the tuner's problems on an opened OpenCL device. */
#ifndef CLQ_CL_ATTEMPT_H
#define CLQ_CL_ATTEMPT_H

#include "cl_internal.h"
#include "tune_problem.h"

struct clq_cl_attempt {
    struct clq_cl *cl;
    const struct clq_tune_problem *problem;
    struct clq_cl_weight *weight;
    struct clq_cl_u4 *u4;
    struct clq_cl_buffer x, b, y;
};

/* Uploads the operands. The caller ends with clq_cl_attempt_end, also after a failure. */
clq_status clq_cl_attempt_begin(struct clq_cl_attempt *a, struct clq_cl *cl, const struct clq_tune_problem *problem,
                                struct clq_error *err);
/* Queues one run. */
clq_status clq_cl_attempt_run(struct clq_cl_attempt *a, struct clq_error *err);
/* Runs once and compares every byte; CLQ_ERR_NUMERIC on a difference. */
clq_status clq_cl_attempt_check(struct clq_cl_attempt *a, struct clq_error *err);
void clq_cl_attempt_end(struct clq_cl_attempt *a);

#endif
