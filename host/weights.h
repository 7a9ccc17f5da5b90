/* SPDX-License-Identifier: Apache-2.0
 * Weight quantization: per output channel, symmetric, with clipping by least squared error. Must not know models. */
#ifndef CLQ_WEIGHTS_H
#define CLQ_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* weights [outer][channels][inner] in the file's order, codes likewise. */
struct clq_weight_job {
    const float *weight;
    size_t outer, channels, inner;
    bool clip;             /* search the clip ratio by squared error; else the largest magnitude */
    const double *importance; /* [outer * inner] weight of each position's squared error, or NULL */
    float *scale;          /* [channels], out */
    int8_t *codes;         /* out, -127..127 */
};

/* CLQ_ERR_NUMERIC names the index of a value that is not finite. */
clq_status clq_weights_quantize(const struct clq_weight_job *job, const char *name, struct clq_error *err);

/* Quantizes one channel again with a given scale. */
void clq_weights_requantize(const struct clq_weight_job *job, size_t channel, float scale);

#endif
