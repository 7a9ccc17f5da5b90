/* SPDX-License-Identifier: Apache-2.0
 * The table made from ops.def, and the checks around every infer and eval. */
#include "ops/op.h"

#include <string.h>

#include "ops/util.h"

#define CLQ_ONNX_OP(domain, type, since, infer, eval, flags, min_in, max_in, min_out, max_out) \
    clq_op_fn clq_infer_##infer, clq_eval_##eval;
#define CLQ_ONNX_END(domain, type, since)
#include "ops/ops.def"
#undef CLQ_ONNX_OP
#undef CLQ_ONNX_END

static const struct clq_op ops[] = {
#define CLQ_ONNX_OP(domain, type, since, infer, eval, flags, min_in, max_in, min_out, max_out) \
    {domain, #type, since, min_in, max_in, min_out, max_out, clq_infer_##infer, clq_eval_##eval, flags},
#define CLQ_ONNX_END(domain, type, since) {domain, #type, since, 0, 0, 0, 0, NULL, NULL, 0},
#include "ops/ops.def"
#undef CLQ_ONNX_OP
#undef CLQ_ONNX_END
};

const struct clq_op *clq_op_find(const char *domain, const char *op_type, int64_t opset)
{
    const struct clq_op *best = NULL;
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (strcmp(ops[i].op_type, op_type) == 0 && strcmp(ops[i].domain, domain) == 0 && ops[i].since <= opset &&
            (!best || ops[i].since > best->since))
            best = &ops[i];
    return best && best->eval ? best : NULL;
}

size_t clq_op_table(const struct clq_op **out)
{
    *out = ops;
    return sizeof ops / sizeof *ops;
}

static clq_status check_counts(const struct clq_op *op, struct clq_op_call *call)
{
    if (!op)
        return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "no such operator in opset %lld of domain '%s'",
                           (long long)call->opset, call->node->domain ? call->node->domain : "");
    if (call->n_in < op->min_in || (op->max_in >= 0 && call->n_in > op->max_in))
        return clq_op_fail(call, CLQ_ERR_FORMAT, "%d inputs, expected %d to %d", call->n_in, op->min_in, op->max_in);
    if (call->n_out < op->min_out || (op->max_out >= 0 && call->n_out > op->max_out))
        return clq_op_fail(call, CLQ_ERR_FORMAT, "%d outputs, expected %d to %d", call->n_out, op->min_out,
                           op->max_out);
    for (int i = 0; i < call->n_in; i++) {
        size_t n;
        if (call->in[i].dtype == CLQ_DTYPE_NONE) {
            if (i < op->min_in) return clq_op_fail(call, CLQ_ERR_FORMAT, "required input %d is absent", i);
            continue;
        }
        if (clq_tensor_elements(&n, &call->in[i]) != CLQ_OK)
            return clq_op_fail(call, CLQ_ERR_FORMAT, "input %d has no valid shape", i);
        if (n > (size_t)CLQ_OP_MAX_ELEMENTS)
            return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "input %d has more than 2^31 elements", i);
        if (clq_dtype_bits(call->in[i].dtype) == 0) return clq_op_bad_type(call, i);
    }
    return CLQ_OK;
}

clq_status clq_op_infer(const struct clq_op *op, struct clq_op_call *call)
{
    CLQ_TRY(check_counts(op, call));
    return op->infer(call);
}

enum { FEW_OUTPUTS = 64 };

/* The values that infer saw may differ from those that are there now; shapes that no longer fit end here, so that eval
 * may rely on every check of infer. */
static clq_status check_outputs(const struct clq_op *op, struct clq_op_call *call)
{
    clq_tensor fresh[FEW_OUTPUTS];
    struct clq_op_call again = *call;
    if (call->n_out > FEW_OUTPUTS) return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "more than %d outputs", FEW_OUTPUTS);
    memset(fresh, 0, sizeof fresh);
    again.out = fresh;
    CLQ_TRY(op->infer(&again));
    for (int i = 0; i < call->n_out; i++) {
        const clq_tensor *a = &fresh[i], *b = &call->out[i];
        if (b->dtype == CLQ_DTYPE_NONE && !b->data) continue;
        bool same = a->dtype == b->dtype && a->rank == b->rank;
        for (int k = 0; same && k < a->rank; k++) same = a->shape[k] == b->shape[k];
        if (!same) return clq_op_fail(call, CLQ_ERR_INTERNAL, "output %d does not have the inferred type and shape", i);
    }
    return CLQ_OK;
}

clq_status clq_op_eval(const struct clq_op *op, struct clq_op_call *call)
{
    CLQ_TRY(check_counts(op, call));
    for (int i = 0; i < call->n_in && !(op->flags & CLQ_OP_SHAPE_ONLY); i++)
        if (call->in[i].dtype != CLQ_DTYPE_NONE && !call->in[i].data && clq_op_count(&call->in[i]) > 0)
            return clq_op_fail(call, CLQ_ERR_INTERNAL, "input %d has no data", i);
    CLQ_TRY(check_outputs(op, call));
    bool empty = true; /* nothing to write, or nobody reads it */
    for (int i = 0; i < call->n_out; i++) empty = empty && (!call->out[i].data || clq_op_count(&call->out[i]) == 0);
    return empty ? CLQ_OK : op->eval(call);
}
