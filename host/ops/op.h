/* SPDX-License-Identifier: Apache-2.0
 * The operator registry: what every ONNX operator means, on plain row-major arrays. One row of ops.def per operator and
 * version range. infer() gives types and shapes, eval() computes; eval is the oracle of the fast paths, runs constant
 * folding, and executes every operator that has no faster step. Must not know graphs, devices or quantization plans. */
#ifndef CLQ_OPS_OP_H
#define CLQ_OPS_OP_H

#include <clquant/tensor.h>

#include "base/error.h"
#include "base/model.h"

/* One call. Absent optional inputs have dtype CLQ_DTYPE_NONE and data NULL. During infer an input's data is NULL unless
 * its value is known (a constant); infer fills dtype, rank and shape of the outputs. During eval all data is there and
 * outputs have the inferred shape and memory of their own, never overlapping the inputs. */
struct clq_op_call {
    const struct clq_node *node;
    int64_t opset; /* of the node's domain */
    int n_in, n_out;
    const clq_tensor *in;
    clq_tensor *out; /* an output that nobody reads may have data NULL during eval */
    int threads;
    struct clq_error *err;
    bool needs_value; /* infer sets it when it failed only because a value that decides a shape is not known yet: */
    int needed_input; /* that of this input */
};

typedef clq_status clq_op_fn(struct clq_op_call *call);

enum {
    CLQ_OP_UNARY = 1u << 0,      /* elementwise function of its first input alone: 8-bit tables are exact */
    CLQ_OP_BINARY = 1u << 1,     /* elementwise with broadcasting */
    CLQ_OP_MOVES = 1u << 2,      /* moves values without changing them: works on codes as on floats */
    CLQ_OP_DATA_SHAPE = 1u << 3, /* the output shape depends on values */
    CLQ_OP_SHAPE_ONLY = 1u << 4, /* reads only the shape of its input */
    CLQ_OP_TYPES = 1u << 5,      /* knows the 16-bit floats itself; for all others they are widened around every call */
    CLQ_OP_STASH = 1u << 6       /* outputs after the first are float32 even for 16-bit inputs */
};

struct clq_op {
    const char *domain; /* "" or "com.microsoft" */
    const char *op_type;
    int since;          /* first opset of this row; the row holds until the next row of the same operator */
    int min_in, max_in; /* max -1: any number */
    int min_out, max_out;
    clq_op_fn *infer;
    clq_op_fn *eval;
    unsigned flags;
};

/* The row that holds at an opset version, or NULL when the operator is not supported there. */
const struct clq_op *clq_op_find(const char *domain, const char *op_type, int64_t opset);

/* All rows, for tests and lists. A row without eval ends its operator's range. */
size_t clq_op_table(const struct clq_op **out);

/* Checks the number of inputs and outputs against the row, then infers. Messages name node and operator. A NULL op
 * gives CLQ_ERR_UNSUPPORTED. */
clq_status clq_op_infer(const struct clq_op *op, struct clq_op_call *call);

/* Checks as above, infers again and compares with the outputs' types and shapes, then evaluates. The elementwise
 * operators allow an output to be exactly one of their inputs' memory when the shapes are equal. */
clq_status clq_op_eval(const struct clq_op *op, struct clq_op_call *call);

/* Convolution and pooling geometry, for shape inference and for the fast paths: reads kernel_shape, strides, pads,
 * dilations, auto_pad, ceil_mode, output_padding and output_shape of a node with nd spatial axes. pad_begin and out
 * place every window; with ceil_mode or output_padding the last ones may reach past pad_end. Entries from nd on are 1
 * (pads 0). */
struct clq_window {
    int nd; /* 1 .. 3 */
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad_begin[3], pad_end[3];
    int64_t groups;
};
/* x and w as in Conv (w NULL for pooling). transposed: ConvTranspose. */
clq_status clq_window_read(struct clq_window *out, const struct clq_node *node, const clq_tensor *x,
                           const clq_tensor *w, bool transposed, struct clq_error *err);

#endif
