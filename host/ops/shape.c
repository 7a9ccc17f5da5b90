/* SPDX-License-Identifier: Apache-2.0
 * Operators that keep the elements in order and change at most the shape, and those that read only a shape. */
#include "ops/convert.h"

clq_op_fn clq_eval_copy, clq_infer_any_same, clq_infer_reshape, clq_infer_flatten, clq_infer_squeeze,
    clq_infer_unsqueeze, clq_infer_shape, clq_eval_shape, clq_infer_size, clq_eval_size, clq_infer_dropout,
    clq_eval_dropout;

clq_status clq_eval_copy(struct clq_op_call *call)
{
    size_t bytes;
    if (clq_tensor_bytes(&bytes, &call->in[0]) != CLQ_OK) return clq_op_bad_type(call, 0);
    if (call->out[0].data && bytes && call->out[0].data != call->in[0].data)
        memcpy(call->out[0].data, call->in[0].data, bytes);
    return CLQ_OK;
}

clq_status clq_infer_any_same(struct clq_op_call *call)
{
    return clq_op_same(call);
}

static clq_status set_shape(struct clq_op_call *call, int rank, const int64_t *shape)
{
    return clq_op_set_out(call, 0, call->in[0].dtype, rank, shape);
}

clq_status clq_infer_reshape(struct clq_op_call *call)
{
    const clq_tensor *x = call->in;
    struct clq_op_ints want;
    bool zeros = call->opset >= 14 && clq_node_int(call->node, "allowzero", 0) != 0;
    int64_t have = clq_op_count(x), known = 1;
    int unknown = -1;
    CLQ_TRY(clq_op_read_ints(call, &want, 1, NULL));
    if (want.n < 0 || want.n > CLQ_MAX_RANK)
        return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "a shape of %d axes", want.n);
    for (int k = 0; k < want.n; k++) {
        if (want.v[k] == 0 && !zeros) {
            if (k >= x->rank)
                return clq_op_fail(call, CLQ_ERR_FORMAT, "shape[%d] copies an axis that the input lacks", k);
            want.v[k] = x->shape[k];
        }
        if (want.v[k] == -1 && unknown < 0) {
            unknown = k;
            continue;
        }
        if (want.v[k] < 0 || want.v[k] > CLQ_OP_MAX_ELEMENTS ||
            (want.v[k] > 0 && known > CLQ_OP_MAX_ELEMENTS / want.v[k]))
            return clq_op_fail(call, CLQ_ERR_FORMAT, "shape[%d] is %lld", k, (long long)want.v[k]);
        known *= want.v[k];
    }
    if (unknown >= 0) {
        want.v[unknown] = known > 0 ? have / known : 0;
        known *= want.v[unknown];
    }
    if (known != have)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "%lld elements do not fit the given shape", (long long)have);
    return set_shape(call, want.n, want.v);
}

clq_status clq_infer_flatten(struct clq_op_call *call)
{
    const clq_tensor *x = call->in;
    int64_t axis = clq_node_int(call->node, "axis", 1);
    if (axis < -x->rank || axis > x->rank)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "axis %lld for rank %d", (long long)axis, x->rank);
    int a = (int)(axis < 0 ? axis + x->rank : axis);
    return set_shape(call, 2, (const int64_t[]){clq_op_span(x, 0, a), clq_op_span(x, a, x->rank)});
}

clq_status clq_infer_squeeze(struct clq_op_call *call)
{
    const clq_tensor *x = call->in;
    struct clq_op_ints axes;
    unsigned mask;
    int rank = 0;
    int64_t shape[CLQ_MAX_RANK];
    bool input = call->opset >= 13;
    CLQ_TRY(clq_op_read_axes(call, &axes, &mask, input ? 1 : -1, input ? NULL : "axes", x->rank));
    for (int k = 0; k < x->rank; k++) {
        bool drop = axes.n < 0 ? x->shape[k] == 1 : (mask >> k & 1) != 0;
        if (drop && x->shape[k] != 1)
            return clq_op_fail(call, CLQ_ERR_FORMAT, "axis %d has %lld elements, expected 1", k,
                               (long long)x->shape[k]);
        if (!drop) shape[rank++] = x->shape[k];
    }
    return set_shape(call, rank, shape);
}

clq_status clq_infer_unsqueeze(struct clq_op_call *call)
{
    const clq_tensor *x = call->in;
    struct clq_op_ints axes;
    unsigned mask;
    int64_t shape[CLQ_MAX_RANK];
    bool input = call->opset >= 13;
    CLQ_TRY(clq_op_read_ints(call, &axes, input ? 1 : -1, input ? NULL : "axes"));
    if (axes.n < 0 || axes.n + x->rank > CLQ_MAX_RANK)
        return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "%d axes for an input of rank %d", axes.n, x->rank);
    int rank = x->rank + axes.n, from = 0;
    CLQ_TRY(clq_op_read_axes(call, &axes, &mask, input ? 1 : -1, input ? NULL : "axes", rank));
    for (int k = 0; k < rank; k++) shape[k] = mask >> k & 1 ? 1 : x->shape[from++];
    return set_shape(call, rank, shape);
}

static void shape_range(const struct clq_op_call *call, int64_t *start, int64_t *end)
{
    int64_t rank = call->in[0].rank;
    *start = call->opset >= 15 ? clq_node_int(call->node, "start", 0) : 0;
    *end = call->opset >= 15 ? clq_node_int(call->node, "end", rank) : rank;
    if (*start < 0) *start += rank;
    if (*end < 0) *end += rank;
    *start = *start < 0 ? 0 : (*start > rank ? rank : *start);
    *end = *end < *start ? *start : (*end > rank ? rank : *end);
}

clq_status clq_infer_shape(struct clq_op_call *call)
{
    int64_t start, end;
    shape_range(call, &start, &end);
    return clq_op_set_out(call, 0, CLQ_DTYPE_S64, 1, (const int64_t[]){end - start});
}

clq_status clq_eval_shape(struct clq_op_call *call)
{
    int64_t start, end;
    shape_range(call, &start, &end);
    for (int64_t k = start; k < end; k++) ((int64_t *)call->out[0].data)[k - start] = call->in[0].shape[k];
    return CLQ_OK;
}

clq_status clq_infer_size(struct clq_op_call *call)
{
    return clq_op_set_out(call, 0, CLQ_DTYPE_S64, 0, NULL);
}

clq_status clq_eval_size(struct clq_op_call *call)
{
    *(int64_t *)call->out[0].data = clq_op_count(&call->in[0]);
    return CLQ_OK;
}

/* Inference only: the values pass, the mask is all ones. Training mode with a ratio is refused. */
clq_status clq_infer_dropout(struct clq_op_call *call)
{
    if (clq_op_has(call, 2)) { /* a copy, unless values are dropped at random */
        CLQ_TRY(clq_op_need_value(call, 2));
        if (clq_op_has(call, 1)) CLQ_TRY(clq_op_need_value(call, 1));
        bool training = clq_op_count(&call->in[2]) == 1 && clq_op_int_at(&call->in[2], 0) != 0;
        bool keeps_all = clq_op_has(call, 1) && clq_op_count(&call->in[1]) == 1 && clq_load_real(&call->in[1], 0) == 0.0;
        if (training && !keeps_all) return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "training mode");
    }
    CLQ_TRY(clq_op_same(call));
    return clq_op_set_out(call, 1, call->opset < 10 ? call->in[0].dtype : CLQ_DTYPE_BOOL, call->in[0].rank,
                          call->in[0].shape);
}

clq_status clq_eval_dropout(struct clq_op_call *call)
{
    if (call->n_out > 1 && call->out[1].data) {
        int64_t n = clq_op_count(&call->out[1]);
        if (call->out[1].dtype == CLQ_DTYPE_BOOL)
            memset(call->out[1].data, 1, (size_t)n);
        else if (call->out[1].dtype == CLQ_DTYPE_F32)
            for (int64_t i = 0; i < n; i++) ((float *)call->out[1].data)[i] = 1.0f;
        else
            return clq_op_bad_type(call, 0);
    }
    return clq_eval_copy(call);
}
