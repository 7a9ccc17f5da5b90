/* SPDX-License-Identifier: Apache-2.0
 * Writes a plan into a model: QuantizeLinear and DequantizeLinear around the units that work on codes, placed so that
 * onnxruntime fuses every one of them (formats.md 4). The written file is the arithmetic: running it is running the plan. The exception
 * are 4-bit weights of products that quantize their rows when they run (README.md). */
#ifndef CLQ_GRAPH_QDQ_H
#define CLQ_GRAPH_QDQ_H

#include "algo/groups.h"
#include "calibrate.h"
#include "graph/units.h"
#include "weights.h"

enum clq_target { CLQ_TARGET_GENERIC, CLQ_TARGET_ORT, CLQ_TARGET_TENSORRT, CLQ_TARGET_OPENVINO, CLQ_TARGET_COUNT };
const char *clq_target_name(enum clq_target target);

/* The quantized constants of one product unit. */
struct clq_unit_weights {
    bool ready;
    int64_t channels;
    float *scale;       /* [channels] */
    int8_t *codes;      /* in the file's order */
    double *correction; /* [channels], added to the float bias; NULL: none */
    float *recurrent_scale;  /* the same of a unit's second constant */
    int8_t *recurrent_codes;
};

struct clq_qdq_plan {
    const struct clq_units *units;
    const struct clq_mode *modes;       /* 0: f32, 1: int8 */
    const uint8_t *mode;                /* [units] index of modes */
    const struct clq_qparams *params;   /* [tensors]; a group's tensors are equal */
    const struct clq_unit_weights *weights; /* [units] */
    struct clq_group_weights *const *groups; /* [modes][units], for modes whose weights lie in groups; NULL entries elsewhere */
    enum clq_target target;
    bool matmul_nbits;                  /* 4-bit weights as com.microsoft MatMulNBits instead of blocked DequantizeLinear */
};

/* out becomes a rewritten clone of model, whose constants it shares. */
clq_status clq_qdq_rewrite(struct clq_model *out, const struct clq_model *model, const struct clq_qdq_plan *plan, struct clq_error *err);

#endif
