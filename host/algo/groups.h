/* SPDX-License-Identifier: Apache-2.0
 * Weights of a product in groups along K: their codes, scales and zero points, and the ways to find them that need no data.
 * A matrix is [n outputs][k inputs]. Must not know models. */
#ifndef CLQ_ALGO_GROUPS_H
#define CLQ_ALGO_GROUPS_H

#include "base/arena.h"
#include "modes.h"

/* real = (code - zero) * scale, or table[code] * scale. Codes are stored unsigned: of `bits` bits, symmetric ones with the
 * zero point 2^(bits - 1). */
struct clq_group_weights {
    size_t n, k, group, groups; /* groups = ceil(k / group) */
    int bits;
    uint8_t *codes;             /* [n][k] */
    float *scale;               /* [n][groups] */
    uint8_t *zero;              /* [n][groups] */
    bool symmetric;             /* every zero is 2^(bits - 1) */
    bool has_table;
    float table[16];
    const char *algorithm;      /* that found them; NULL: nobody said */
    float *bias;                /* [n], added to the product's result: what the codes' error is on average; or NULL */
};

/* Rounding of a weight's quotient: to the nearest, or by the stream of a seed and the tensor's name (numerics.md 2). */
struct clq_weight_rounding {
    bool stochastic;
    uint64_t seed, tensor; /* FNV-1a 64 of the tensor's name */
};

/* The ways to choose scale and zero point of a group. */
enum clq_group_fit { CLQ_FIT_RANGE, CLQ_FIT_MSE, CLQ_FIT_HQQ };

struct clq_group_job {
    const float *weight;          /* [n][k], finite */
    size_t n, k;
    const struct clq_mode *mode;
    enum clq_group_fit fit;
    const double *importance;     /* [k] weight of each input's squared error, or NULL */
    struct clq_weight_rounding rounding;
};

/* Allocates out on the arena with the mode's format. */
clq_status clq_groups_start(struct clq_group_weights *out, struct clq_arena *arena, size_t n, size_t k, const struct clq_mode *mode, struct clq_error *err);
/* The same contents for another of the same format; to keeps its own arrays. The bias is not among them. */
void clq_groups_copy(struct clq_group_weights *to, const struct clq_group_weights *from);
/* Fills codes, scales and zero points. */
clq_status clq_groups_quantize(struct clq_group_weights *out, const struct clq_group_job *job, struct clq_error *err);
/* The code of one value; at is its index in the flattened matrix. */
uint8_t clq_groups_code(float w, float scale, uint8_t zero, const struct clq_group_weights *g, const struct clq_group_job *job, size_t at);
/* Whether a weight of this mode can have the code. */
bool clq_groups_code_known(uint8_t code, const struct clq_mode *mode);
float clq_groups_value(const struct clq_group_weights *g, size_t row, size_t column);

#endif
