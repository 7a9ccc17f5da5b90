/* SPDX-License-Identifier: Apache-2.0
 * Helpers of the self-tests: data, and one compared run on device buffers whose canaries are checked. */
#ifndef CLQ_CL_SELFTEST_H
#define CLQ_CL_SELFTEST_H

#include "cl_internal.h"

/* A run under test: inputs go to device buffers, the output comes back and must equal expected. */
struct clq_cl_trial {
    struct clq_cl *cl;
    struct clq_cl_buffer x, b, y;
    struct clq_cl_io io;
};

/* Uploads the inputs (b may be NULL) and makes room for the output. */
clq_status clq_cl_trial_begin(struct clq_cl_trial *t, struct clq_cl *cl, const void *x, size_t x_bytes, const void *b,
                              size_t b_bytes, size_t y_bytes, struct clq_error *err);
/* Fetches the output, releases the buffers, compares. st: status of the run. what: for the message. */
clq_status clq_cl_trial_end(struct clq_cl_trial *t, clq_status st, const void *expected, size_t bytes, const char *what,
                            struct clq_error *err);

/* How many of n cases are run: all, or one where the kernel has passed them all in an earlier process. */
static inline size_t clq_cl_cases(const struct clq_cl *cl, size_t n)
{
    return cl->brief && n > 1 ? 1 : n;
}

/* The next word of a small generator; any start value. */
uint32_t clq_cl_random(uint64_t *state);
/* Bytes with many extremes: a quarter are 0, 255, 127 or 128. */
void clq_cl_random_bytes(void *out, size_t n, uint64_t seed);

#endif
