/* SPDX-License-Identifier: Apache-2.0
 * What the names of modes mean for the search: how a product is computed, and how its weights are stored. Must not know
 * models. */
#ifndef CLQ_MODES_H
#define CLQ_MODES_H

#include "scheduler/plan.h"

enum { CLQ_MODES_MOST = 32 };

enum clq_arithmetic {
    CLQ_RUN_FLOAT,  /* f32 */
    CLQ_RUN_CODES,  /* int8: activations with ranges from calibration */
    CLQ_RUN_ROWS8,  /* int8-dynamic: 8-bit rows, 8-bit weights per channel; int8-tensor: one scale for all rows */
    CLQ_RUN_ROWS4,  /* int4-*: 8-bit rows, 4-bit weights in groups */
    CLQ_RUN_STORED  /* weights are stored in fewer bits and widened when the file is loaded; int16-int8: inputs rounded to 16 bits */
};

/* How weights are stored: real = (code - zero) * scale, or table[code] * scale. */
enum clq_weight_kind { CLQ_WEIGHT_INTEGER, CLQ_WEIGHT_TERNARY, CLQ_WEIGHT_BINARY, CLQ_WEIGHT_NF4, CLQ_WEIGHT_CODEBOOK };

struct clq_mode {
    struct clq_scheme scheme;
    enum clq_arithmetic run;
    enum clq_weight_kind kind;
    bool products_only; /* only MatMul and Gemm have this form */
};

/* CLQ_ERR_INVALID_ARGUMENT for an unknown name. name is borrowed. */
clq_status clq_mode_parse(struct clq_mode *out, const char *name, struct clq_error *err);

/* Appends the modes of a comma-separated list that are not there yet; names go to the arena. */
clq_status clq_modes_add(struct clq_mode *modes, int *n, struct clq_arena *arena, const char *list, struct clq_error *err);

/* Bytes of one weight in the file, its share of scales and zero points included. */
double clq_mode_bytes(const struct clq_mode *mode);

#endif
