/* SPDX-License-Identifier: Apache-2.0
 * The proof of speed: two models timed in interleaved pairs, in several fresh processes where an executable for that is
 * given, otherwise in several fresh sessions of this process. */
#ifndef CLQ_PROVE_H
#define CLQ_PROVE_H

#include "base/model.h"
#include "context.h"
#include "scheduler/compare.h"

struct clq_proof_request {
    const struct clq_model *reference, *candidate;
    const clq_tensor *inputs;  /* one per graph input */
    size_t pairs;              /* in all */
    const char *worker;        /* or NULL */
    int rounds;                /* fresh processes or, without a worker, sessions; 0: 5 */
    const char *phase;         /* for progress */
    const char *key;           /* what the profile knows the two models by; NULL: their bytes */
};

/* How often the request has the pairs timed anew. */
int clq_proof_rounds(const struct clq_proof_request *request);
clq_status clq_prove_speed(struct clq_accept_verdict *out, struct clq_context *ctx, const struct clq_proof_request *request, struct clq_error *err);

#endif
