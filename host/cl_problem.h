/* SPDX-License-Identifier: Apache-2.0
 * Problems that the tuner times: operands on the host with the bytes that every variant must give, and attempts to solve
 * them on an opened device. */
#ifndef CLQ_CL_PROBLEM_H
#define CLQ_CL_PROBLEM_H

#include "cl_internal.h"

struct clq_cl_problem {
    enum clq_cl_family family;
    struct clq_gemm_args gemm; /* of GEMM and GEMV */
    struct clq_conv_args conv; /* of CONV and DEPTHWISE */
    size_t n;                  /* elements of the others */
    void *x, *b, *expected;
    size_t x_bytes, b_bytes, y_bytes;
    int8_t *weight;
    float *multiplier;
};

/* How many problems a family has; 0: it is not tuned. */
size_t clq_cl_problem_count(enum clq_cl_family family);
/* Problem i, for a device that is a CPU or something larger. */
clq_status clq_cl_problem_create(struct clq_cl_problem **out, enum clq_cl_family family, size_t i, bool large,
                                 struct clq_error *err);
/* A product of m rows, for the number of rows up to which the GEMV form is used. */
clq_status clq_cl_problem_rows(struct clq_cl_problem **out, size_t m, bool large, struct clq_error *err);
void clq_cl_problem_free(struct clq_cl_problem *problem);

struct clq_cl_attempt {
    struct clq_cl *cl;
    const struct clq_cl_problem *problem;
    struct clq_cl_weight *weight;
    struct clq_cl_buffer x, b, y;
};

/* Uploads the operands. The caller ends with clq_cl_attempt_end, also after a failure. */
clq_status clq_cl_attempt_begin(struct clq_cl_attempt *a, struct clq_cl *cl, const struct clq_cl_problem *problem,
                                struct clq_error *err);
/* Queues one run. */
clq_status clq_cl_attempt_run(struct clq_cl_attempt *a, struct clq_error *err);
/* Runs once and compares every byte; CLQ_ERR_NUMERIC on a difference. */
clq_status clq_cl_attempt_check(struct clq_cl_attempt *a, struct clq_error *err);
void clq_cl_attempt_end(struct clq_cl_attempt *a);

#endif
