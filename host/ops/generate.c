/* SPDX-License-Identifier: Apache-2.0
 * Operators that make values: Constant, ConstantOfShape, Range, OneHot, EyeLike, NonZero, Trilu. */
#include <math.h>
#include <stdlib.h>

#include "ops/convert.h"

clq_op_fn clq_infer_constant, clq_eval_constant, clq_infer_constant_of_shape, clq_eval_constant_of_shape,
    clq_infer_range, clq_eval_range, clq_infer_one_hot, clq_eval_one_hot, clq_infer_eye_like, clq_eval_eye_like,
    clq_infer_non_zero, clq_eval_non_zero, clq_infer_trilu, clq_eval_trilu;

/* The one attribute that holds the value, as a view. */
static clq_status constant_view(struct clq_op_call *call, clq_tensor *out)
{
    const struct clq_node *n = call->node;
    *out = (clq_tensor){.dtype = CLQ_DTYPE_NONE};
    for (int i = 0; i < n->n_attrs; i++) {
        const struct clq_attr *a = &n->attrs[i];
        if (strcmp(a->name, "value") == 0 && a->type == CLQ_ATTR_TENSOR && a->tensor) {
            if (a->tensor->rank < 0 || a->tensor->rank > CLQ_MAX_RANK) break;
            *out = (clq_tensor){.dtype = a->tensor->dtype, .rank = a->tensor->rank, .data = (void *)a->tensor->data};
            memcpy(out->shape, a->tensor->shape, sizeof out->shape);
        } else if (strcmp(a->name, "value_float") == 0 && a->type == CLQ_ATTR_FLOAT) {
            *out = (clq_tensor){.dtype = CLQ_DTYPE_F32, .data = (void *)&a->f};
        } else if (strcmp(a->name, "value_int") == 0 && a->type == CLQ_ATTR_INT) {
            *out = (clq_tensor){.dtype = CLQ_DTYPE_S64, .data = (void *)&a->i};
        } else if (strcmp(a->name, "value_floats") == 0 && a->type == CLQ_ATTR_FLOATS) {
            *out = (clq_tensor){.dtype = CLQ_DTYPE_F32, .rank = 1, .shape = {(int64_t)a->n}, .data = (void *)a->floats};
        } else if (strcmp(a->name, "value_ints") == 0 && a->type == CLQ_ATTR_INTS) {
            *out = (clq_tensor){.dtype = CLQ_DTYPE_S64, .rank = 1, .shape = {(int64_t)a->n}, .data = (void *)a->ints};
        }
    }
    if (out->dtype == CLQ_DTYPE_NONE)
        return clq_op_fail(call, CLQ_ERR_UNSUPPORTED,
                           "no numeric value (sparse and string constants are not supported)");
    return CLQ_OK;
}

clq_status clq_infer_constant(struct clq_op_call *call)
{
    clq_tensor t;
    CLQ_TRY(constant_view(call, &t));
    return clq_op_set_out(call, 0, t.dtype, t.rank, t.shape);
}

clq_status clq_eval_constant(struct clq_op_call *call)
{
    clq_tensor t;
    size_t bytes;
    CLQ_TRY(constant_view(call, &t));
    if (clq_tensor_bytes(&bytes, &t) == CLQ_OK && bytes) memcpy(call->out[0].data, t.data, bytes);
    return CLQ_OK;
}

static const struct clq_const *fill_value(const struct clq_op_call *call)
{
    const struct clq_attr *a = clq_node_attr(call->node, "value");
    return a && a->type == CLQ_ATTR_TENSOR ? a->tensor : NULL;
}

clq_status clq_infer_constant_of_shape(struct clq_op_call *call)
{
    struct clq_op_ints shape;
    const struct clq_const *v = fill_value(call);
    CLQ_TRY(clq_op_read_ints(call, &shape, 0, NULL));
    if (v && (clq_op_size(v->dtype) == 0 || v->bytes != clq_op_size(v->dtype)))
        return clq_op_fail(call, CLQ_ERR_FORMAT, "the value is not one element");
    return clq_op_set_out(call, 0, v ? v->dtype : CLQ_DTYPE_F32, shape.n, shape.v);
}

clq_status clq_eval_constant_of_shape(struct clq_op_call *call)
{
    const struct clq_const *v = fill_value(call);
    char zero[8] = {0};
    size_t size = clq_op_size(call->out[0].dtype);
    const void *value = v ? v->data : zero;
    for (int64_t i = 0, n = clq_op_count(&call->out[0]); i < n; i++)
        memcpy((char *)call->out[0].data + (size_t)i * size, value, size);
    return CLQ_OK;
}

clq_status clq_infer_range(struct clq_op_call *call)
{
    clq_dtype t = call->in[0].dtype;
    int64_t n;
    if (t != CLQ_DTYPE_F32 && t != CLQ_DTYPE_F64 && t != CLQ_DTYPE_S16 && t != CLQ_DTYPE_S32 && t != CLQ_DTYPE_S64)
        return clq_op_bad_type(call, 0);
    for (int i = 0; i < 3; i++) {
        CLQ_TRY(clq_op_need_same_type(call, i));
        if (clq_op_count(&call->in[i]) != 1) return clq_op_fail(call, CLQ_ERR_FORMAT, "input %d is not a scalar", i);
        CLQ_TRY(clq_op_need_value(call, i));
    }
    if (clq_is_real(t)) {
        double count =
            ceil((clq_load_real(&call->in[1], 0) - clq_load_real(&call->in[0], 0)) / clq_load_real(&call->in[2], 0));
        if (count != count || count > (double)CLQ_OP_MAX_ELEMENTS)
            return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "a range of %g elements", count);
        n = count > 0.0 ? (int64_t)count : 0;
    } else {
        int64_t start = clq_load_int(&call->in[0], 0), limit = clq_load_int(&call->in[1], 0),
                delta = clq_load_int(&call->in[2], 0);
        if (delta == 0) return clq_op_fail(call, CLQ_ERR_FORMAT, "delta is 0");
        bool up = delta > 0, any = up ? limit > start : limit < start;
        uint64_t span = up ? (uint64_t)limit - (uint64_t)start : (uint64_t)start - (uint64_t)limit,
                 width = up ? (uint64_t)delta : 0 - (uint64_t)delta;
        uint64_t count = any ? (span - 1) / width + 1 : 0;
        if (count > (uint64_t)CLQ_OP_MAX_ELEMENTS)
            return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "a range of more than 2^31 elements");
        n = (int64_t)count;
    }
    return clq_op_set_out(call, 0, t, 1, &n);
}

clq_status clq_eval_range(struct clq_op_call *call)
{
    const clq_tensor *y = &call->out[0];
    for (int64_t i = 0; i < y->shape[0]; i++) {
        if (y->dtype == CLQ_DTYPE_F32)
            ((float *)y->data)[i] = *(const float *)call->in[0].data + (float)i * *(const float *)call->in[2].data;
        else if (y->dtype == CLQ_DTYPE_F64)
            ((double *)y->data)[i] = *(const double *)call->in[0].data + (double)i * *(const double *)call->in[2].data;
        else
            clq_store_int(y, i,
                          (int64_t)((uint64_t)clq_load_int(&call->in[0], 0) +
                                    (uint64_t)i * (uint64_t)clq_load_int(&call->in[2], 0)));
    }
    return CLQ_OK;
}

/* The position of the new axis and the depth. */
static clq_status read_one_hot(struct clq_op_call *call, int *axis, int64_t *depth)
{
    CLQ_TRY(clq_op_axis(call, axis, clq_node_int(call->node, "axis", -1), call->in[0].rank + 1));
    CLQ_TRY(clq_op_need_value(call, 1));
    if (!clq_is_number(call->in[0].dtype) || !clq_is_number(call->in[1].dtype) || clq_op_count(&call->in[1]) != 1 ||
        call->in[2].rank != 1 || call->in[2].shape[0] != 2 || clq_op_size(call->in[2].dtype) == 0)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "depth must be a number and values a pair");
    double d = clq_load_real(&call->in[1], 0);
    if (!(d >= 0.0 && d <= (double)CLQ_OP_MAX_ELEMENTS)) return clq_op_fail(call, CLQ_ERR_FORMAT, "depth %g", d);
    *depth = (int64_t)d;
    return CLQ_OK;
}

clq_status clq_infer_one_hot(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    int axis;
    int64_t depth = 0, shape[CLQ_MAX_RANK + 1];
    CLQ_TRY(read_one_hot(call, &axis, &depth));
    for (int k = 0; k <= x->rank; k++) shape[k] = k < axis ? x->shape[k] : k == axis ? depth : x->shape[k - 1];
    return clq_op_set_out(call, 0, call->in[2].dtype, x->rank + 1, shape);
}

clq_status clq_eval_one_hot(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    int axis;
    int64_t depth = 0;
    CLQ_TRY(read_one_hot(call, &axis, &depth));
    int64_t outer = clq_op_span(x, 0, axis), inner = clq_op_span(x, axis, x->rank);
    size_t size = clq_op_size(call->in[2].dtype);
    const char *off = call->in[2].data, *on = off + size;
    char *y = call->out[0].data;
    for (int64_t i = 0, n = clq_op_count(&call->out[0]); i < n; i++) memcpy(y + (size_t)i * size, off, size);
    for (int64_t i = 0; i < outer * inner; i++) {
        double v = clq_load_real(x, i);
        if (v < 0.0) v += (double)depth;
        if (!(v >= 0.0 && v < (double)depth)) continue;
        memcpy(y + (size_t)((i / inner * depth + (int64_t)v) * inner + i % inner) * size, on, size);
    }
    return CLQ_OK;
}

clq_status clq_infer_eye_like(struct clq_op_call *call)
{
    int64_t t = clq_node_int(call->node, "dtype", call->in[0].dtype);
    CLQ_TRY(clq_op_need_rank(call, 0, 2));
    if (t < 1 || t > 64 || !clq_is_number((clq_dtype)t))
        return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "type %lld", (long long)t);
    return clq_op_set_out(call, 0, (clq_dtype)t, 2, call->in[0].shape);
}

clq_status clq_eval_eye_like(struct clq_op_call *call)
{
    const clq_tensor *y = &call->out[0];
    int64_t k = clq_node_int(call->node, "k", 0), rows = y->shape[0], cols = y->shape[1];
    size_t bytes;
    if (clq_tensor_bytes(&bytes, y) == CLQ_OK) memset(y->data, 0, bytes);
    if (k < -CLQ_OP_MAX_ELEMENTS || k > CLQ_OP_MAX_ELEMENTS) return CLQ_OK;
    for (int64_t i = 0; i < rows; i++)
        if (i + k >= 0 && i + k < cols) clq_store_real(y, i * cols + i + k, 1.0);
    return CLQ_OK;
}

static int64_t count_non_zero(const clq_tensor *x)
{
    int64_t n = 0;
    for (int64_t i = 0, all = clq_op_count(x); i < all; i++) n += clq_load_real(x, i) != 0.0;
    return n;
}

clq_status clq_infer_non_zero(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    if (!clq_is_number(x->dtype)) return clq_op_bad_type(call, 0);
    CLQ_TRY(clq_op_need_value(call, 0));
    return clq_op_set_out(call, 0, CLQ_DTYPE_S64, 2, (const int64_t[]){x->rank, count_non_zero(x)});
}

clq_status clq_eval_non_zero(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    int64_t n = call->out[0].shape[1], found = 0, *y = call->out[0].data;
    for (int64_t i = 0, all = clq_op_count(x); i < all && found < n; i++) {
        int64_t rest = i;
        if (clq_load_real(x, i) == 0.0) continue;
        for (int k = x->rank - 1; k >= 0; k--) {
            y[k * n + found] = rest % x->shape[k];
            rest /= x->shape[k];
        }
        found++;
    }
    return CLQ_OK;
}

clq_status clq_infer_trilu(struct clq_op_call *call)
{
    if (call->in[0].rank < 2) return clq_op_fail(call, CLQ_ERR_FORMAT, "input of rank %d", call->in[0].rank);
    if (clq_op_size(call->in[0].dtype) == 0) return clq_op_bad_type(call, 0);
    if (clq_op_has(call, 1) && (!clq_op_is_int(call->in[1].dtype) || clq_op_count(&call->in[1]) != 1))
        return clq_op_fail(call, CLQ_ERR_FORMAT, "k is not one integer");
    return clq_op_same(call);
}

clq_status clq_eval_trilu(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    bool upper = clq_node_int(call->node, "upper", 1) != 0;
    int64_t k = clq_op_has(call, 1) ? clq_op_int_at(&call->in[1], 0) : 0, far = CLQ_OP_MAX_ELEMENTS;
    k = k > far ? far : k < -far ? -far : k;
    int64_t rows = x->shape[x->rank - 2], cols = x->shape[x->rank - 1], n = clq_op_count(x);
    size_t size = clq_op_size(x->dtype);
    for (int64_t r = 0; r < n / cols; r++) {
        int64_t edge = r % rows + k; /* the column on the diagonal */
        int64_t from = upper ? edge : 0, to = upper ? cols : edge + 1;
        from = from < 0 ? 0 : from > cols ? cols : from;
        to = to < from ? from : to > cols ? cols : to;
        char *y = (char *)call->out[0].data + (size_t)(r * cols) * size;
        memset(y, 0, (size_t)cols * size);
        memcpy(y + (size_t)from * size, (const char *)x->data + (size_t)(r * cols + from) * size,
               (size_t)(to - from) * size);
    }
    return CLQ_OK;
}
