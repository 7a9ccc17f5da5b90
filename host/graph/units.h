/* SPDX-License-Identifier: Apache-2.0
 * The units of a plan: each operator that can work on 8-bit codes, together with the activation that is fused into it, those whose
 * constants can be stored in fewer bits, and the float tensors between them. Built from a simplified model and its compiled float program, which knows types and shapes. */
#ifndef CLQ_GRAPH_UNITS_H
#define CLQ_GRAPH_UNITS_H

#include "base/map.h"
#include "graph/program.h"

enum clq_unit_kind {
    CLQ_UNIT_PRODUCT,  /* Conv, Gemm, MatMul with constant weights */
    CLQ_UNIT_LIGHT,    /* elementwise, pooling, concatenation: new scale */
    CLQ_UNIT_MOVE,     /* input and output share scale and zero point */
    CLQ_UNIT_STORED    /* Gather from a constant table, LSTM, GRU, RNN: computes in float; its constants can be stored in fewer bits */
};

struct clq_unit {
    enum clq_unit_kind kind;
    int node;              /* in the model */
    int act;               /* Relu or Clip that alone follows, or -1 */
    const char *name;      /* of the node */
    const char *op_type;
    int n_in;
    int *in;               /* tensors, see clq_units.tensors; one entry per non-constant input; none of CLQ_UNIT_STORED */
    int out;
    bool float_out;        /* its result stays in float when it works on codes: a MatMul with its bias behind it */
    int weight, bias;      /* input positions of the constants, or -1 */
    int weight_axis;       /* of the output channels; of a table its rows */
    int recurrent;         /* input position of a second constant, with the same axis: the recurrent weights; or -1 */
    bool spatial;          /* a product with a window: Conv or ConvTranspose */
    float bound_lo, bound_hi; /* of the output, from its activation; -inf, +inf: none */
    double params, macs;
};

/* Whether something adds a bias to its products, which then can take a correction. */
static inline bool clq_unit_adds_bias(const struct clq_unit *u)
{
    return u->bias >= 0 || u->float_out;
}

struct clq_unit_tensor {
    const char *name;
    int producer;          /* unit, or -1: graph input or a node that is no unit */
    bool needs_float;      /* read by something that is no unit, or a graph output */
    int value;             /* in the float program */
    int group;             /* tensors that share scale and zero point have the same group: the first such tensor */
    size_t elements;
    int rank;
    float bound_lo, bound_hi;
};

struct clq_units {
    struct clq_arena arena;
    int n_units, n_tensors;
    struct clq_unit *units;
    struct clq_unit_tensor *tensors;
    struct clq_map by_tensor; /* tensor name -> index */
    struct clq_map by_node;   /* node name -> unit */
};

clq_status clq_units_build(struct clq_units *out, const struct clq_model *model, const struct clq_program *program, struct clq_error *err);
void clq_units_free(struct clq_units *units);

#endif
