/* SPDX-License-Identifier: Apache-2.0
 * Operators that are defined by other operators: a chain runs standard operators on temporary arrays. During infer only
 * types and shapes move through it. */
#ifndef CLQ_OPS_CHAIN_H
#define CLQ_OPS_CHAIN_H

#include "ops/util.h"

enum { CLQ_CHAIN_MOST = 160 };

struct clq_chain {
    struct clq_op_call *call;
    bool data; /* false: infer */
    void *owned[CLQ_CHAIN_MOST];
    int n_owned;
};

void clq_chain_start(struct clq_chain *chain, struct clq_op_call *call, bool data);
void clq_chain_end(struct clq_chain *chain);

/* Runs a standard operator with the node's attributes, or with the n_attrs given. Outputs get memory of the chain's. */
clq_status clq_chain_op(struct clq_chain *chain, const char *type, int64_t opset, const struct clq_attr *attrs, int n_attrs, int n_in,
                        const clq_tensor *in, int n_out, clq_tensor *out);
/* The same with one output and the attributes of the chain's own node. */
clq_status clq_chain_same(struct clq_chain *chain, const char *type, int64_t opset, int n_in, const clq_tensor *in, clq_tensor *out);
/* Without attributes. */
clq_status clq_chain_plain(struct clq_chain *chain, const char *type, int n_in, const clq_tensor *in, clq_tensor *out);

/* real = (codes - zero) * scale and back; zero may have no type; axis is where a scale of several elements lies. */
clq_status clq_chain_dequantize(struct clq_chain *chain, const clq_tensor *codes, const clq_tensor *scale, const clq_tensor *zero, int axis,
                                clq_tensor *out);
clq_status clq_chain_quantize(struct clq_chain *chain, const clq_tensor *real, const clq_tensor *scale, const clq_tensor *zero, clq_tensor *out);

/* Memory of the chain's for a tensor that has type and shape; nothing during infer. */
clq_status clq_chain_alloc(struct clq_chain *chain, clq_tensor *t);
/* The tensor is output i of the call: described during infer, copied during eval. */
clq_status clq_chain_output(struct clq_chain *chain, int i, const clq_tensor *t);

/* Input i, or a tensor without type where it is absent. */
clq_tensor clq_chain_input(const struct clq_chain *chain, int i);

#endif
