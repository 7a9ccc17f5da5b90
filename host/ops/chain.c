/* SPDX-License-Identifier: Apache-2.0
 * Running standard operators inside of others. */
#include "ops/chain.h"

#include <stdlib.h>

void clq_chain_start(struct clq_chain *c, struct clq_op_call *call, bool data)
{
    c->call = call;
    c->data = data;
    c->n_owned = 0;
}

void clq_chain_end(struct clq_chain *c)
{
    for (int i = 0; i < c->n_owned; i++) free(c->owned[i]);
    c->n_owned = 0;
}

clq_tensor clq_chain_input(const struct clq_chain *c, int i)
{
    clq_tensor t = {.dtype = CLQ_DTYPE_NONE};
    if (!clq_op_has(c->call, i)) return t;
    t = c->call->in[i];
    return t;
}

clq_status clq_chain_alloc(struct clq_chain *c, clq_tensor *t)
{
    size_t bytes;
    t->data = NULL;
    if (!c->data) return CLQ_OK;
    if (c->n_owned == CLQ_CHAIN_MOST) return clq_op_fail(c->call, CLQ_ERR_UNSUPPORTED, "more than %d intermediate arrays", CLQ_CHAIN_MOST);
    if (clq_tensor_bytes(&bytes, t) != CLQ_OK) return clq_op_fail(c->call, CLQ_ERR_UNSUPPORTED, "an intermediate array has no valid size");
    t->data = calloc(1, bytes ? bytes : 1);
    if (!t->data) return clq_op_no_memory(c->call);
    c->owned[c->n_owned++] = t->data;
    return CLQ_OK;
}

clq_status clq_chain_op(struct clq_chain *c, const char *type, int64_t opset, const struct clq_attr *attrs, int n_attrs, int n_in,
                        const clq_tensor *in, int n_out, clq_tensor *out)
{
    struct clq_node node = *c->call->node;
    const struct clq_op *op = clq_op_find("", type, opset);
    node.domain = "";
    node.attrs = (struct clq_attr *)(uintptr_t)attrs;
    node.n_attrs = n_attrs;
    struct clq_op_call call = *c->call;
    call.node = &node;
    call.opset = opset;
    call.n_in = n_in;
    call.n_out = n_out;
    call.in = in;
    call.out = out;
    while (call.n_in > 0 && in[call.n_in - 1].dtype == CLQ_DTYPE_NONE) call.n_in--;
    memset(out, 0, (size_t)n_out * sizeof *out);
    CLQ_TRY(clq_op_infer(op, &call));
    for (int i = 0; i < n_out; i++) CLQ_TRY(clq_chain_alloc(c, &out[i]));
    return c->data ? clq_op_eval(op, &call) : CLQ_OK;
}

clq_status clq_chain_same(struct clq_chain *c, const char *type, int64_t opset, int n_in, const clq_tensor *in, clq_tensor *out)
{
    return clq_chain_op(c, type, opset, c->call->node->attrs, c->call->node->n_attrs, n_in, in, 1, out);
}

clq_status clq_chain_plain(struct clq_chain *c, const char *type, int n_in, const clq_tensor *in, clq_tensor *out)
{
    return clq_chain_op(c, type, 13, NULL, 0, n_in, in, 1, out);
}

clq_status clq_chain_dequantize(struct clq_chain *c, const clq_tensor *codes, const clq_tensor *scale, const clq_tensor *zero, int axis,
                                clq_tensor *out)
{
    const struct clq_attr a = {.name = "axis", .type = CLQ_ATTR_INT, .i = axis, .s = ""};
    clq_tensor in[3] = {*codes, *scale, *zero};
    return clq_chain_op(c, "DequantizeLinear", 21, &a, 1, 3, in, 1, out);
}

clq_status clq_chain_quantize(struct clq_chain *c, const clq_tensor *real, const clq_tensor *scale, const clq_tensor *zero, clq_tensor *out)
{
    return clq_chain_plain(c, "QuantizeLinear", 3, (const clq_tensor[]){*real, *scale, *zero}, out);
}

clq_status clq_chain_output(struct clq_chain *c, int i, const clq_tensor *t)
{
    size_t bytes;
    if (!c->data) return clq_op_set_out(c->call, i, t->dtype, t->rank, t->shape);
    if (i >= c->call->n_out || !c->call->out[i].data) return CLQ_OK;
    if (clq_tensor_bytes(&bytes, t) == CLQ_OK && bytes) memcpy(c->call->out[i].data, t->data, bytes);
    return CLQ_OK;
}
