/* SPDX-License-Identifier: Apache-2.0
 * Checked attributes, axes, outputs and broadcasting for the operator families. */
#include "ops/util.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"

int64_t clq_op_span(const clq_tensor *t, int from, int to)
{
    int64_t n = 1;
    for (int i = from; i < to; i++) n *= t->shape[i];
    return n;
}

int64_t clq_op_count(const clq_tensor *t)
{
    return clq_op_span(t, 0, t->rank);
}

clq_status clq_op_fail(struct clq_op_call *call, clq_status status, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return clq_fail(call->err, status, "node '%s' (%s): %s", call->node->name ? call->node->name : "",
                    call->node->op_type, text);
}

clq_status clq_op_no_memory(struct clq_op_call *call)
{
    return clq_op_fail(call, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

clq_status clq_op_bad_type(struct clq_op_call *call, int i)
{
    return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "element type %s of input %d is not supported",
                       clq_dtype_name(call->in[i].dtype), i);
}

clq_status clq_op_set_out(struct clq_op_call *call, int i, clq_dtype dtype, int rank, const int64_t *shape)
{
    if (i >= call->n_out) return CLQ_OK;
    if (rank < 0 || rank > CLQ_MAX_RANK)
        return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "output %d has rank %d, at most %d is supported", i, rank,
                           CLQ_MAX_RANK);
    if (clq_dtype_bits(dtype) == 0)
        return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "output %d has unsupported element type %d", i, (int)dtype);
    clq_tensor *t = &call->out[i];
    int64_t n = 1;
    for (int k = 0; k < rank; k++) {
        if (shape[k] < 0)
            return clq_op_fail(call, CLQ_ERR_FORMAT, "output %d has dimension %lld on axis %d, expected 0 or more", i,
                               (long long)shape[k], k);
        if (shape[k] > CLQ_OP_MAX_ELEMENTS || (shape[k] > 0 && n > CLQ_OP_MAX_ELEMENTS / shape[k]))
            return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "output %d has more than 2^31 elements", i);
        if (shape[k] > 0) n *= shape[k];
    }
    t->dtype = dtype;
    t->rank = rank;
    for (int k = 0; k < rank; k++) t->shape[k] = shape[k];
    return CLQ_OK;
}

clq_status clq_op_same(struct clq_op_call *call)
{
    return clq_op_set_out(call, 0, call->in[0].dtype, call->in[0].rank, call->in[0].shape);
}

clq_status clq_op_axis(struct clq_op_call *call, int *out, int64_t axis, int rank)
{
    *out = 0;
    if (axis < -rank || axis >= rank)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "axis %lld is out of range for rank %d", (long long)axis, rank);
    *out = (int)(axis < 0 ? axis + rank : axis);
    return CLQ_OK;
}

clq_status clq_op_need_type(struct clq_op_call *call, int i, clq_dtype dtype)
{
    if (!clq_op_has(call, i)) return clq_op_fail(call, CLQ_ERR_FORMAT, "input %d is missing", i);
    return call->in[i].dtype == dtype ? CLQ_OK : clq_op_bad_type(call, i);
}

clq_status clq_op_need_same_type(struct clq_op_call *call, int i)
{
    if (!clq_op_has(call, i)) return clq_op_fail(call, CLQ_ERR_FORMAT, "input %d is missing", i);
    if (call->in[i].dtype != call->in[0].dtype)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "input %d has type %s, expected %s as input 0", i,
                           clq_dtype_name(call->in[i].dtype), clq_dtype_name(call->in[0].dtype));
    return CLQ_OK;
}

clq_status clq_op_need_value(struct clq_op_call *call, int i)
{
    if (!clq_op_has(call, i)) return clq_op_fail(call, CLQ_ERR_FORMAT, "input %d is missing", i);
    if (call->in[i].data || clq_op_count(&call->in[i]) == 0) return CLQ_OK;
    call->needs_value = true;
    call->needed_input = i;
    return clq_op_fail(call, CLQ_ERR_UNSUPPORTED,
                       "the output shape depends on the value of input %d ('%s'), which is not a constant", i,
                       i < call->node->n_inputs ? call->node->inputs[i] : "");
}

clq_status clq_op_need_rank(struct clq_op_call *call, int i, int rank)
{
    if (!clq_op_has(call, i)) return clq_op_fail(call, CLQ_ERR_FORMAT, "input %d is missing", i);
    if (call->in[i].rank != rank)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "input %d has rank %d, expected %d", i, call->in[i].rank, rank);
    return CLQ_OK;
}

int64_t clq_op_int_at(const clq_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case CLQ_DTYPE_S64: return ((const int64_t *)t->data)[i];
    case CLQ_DTYPE_S32: return ((const int32_t *)t->data)[i];
    case CLQ_DTYPE_U32: return ((const uint32_t *)t->data)[i];
    case CLQ_DTYPE_S16: return ((const int16_t *)t->data)[i];
    case CLQ_DTYPE_U16: return ((const uint16_t *)t->data)[i];
    case CLQ_DTYPE_S8: return ((const int8_t *)t->data)[i];
    case CLQ_DTYPE_U8:
    case CLQ_DTYPE_BOOL: return ((const uint8_t *)t->data)[i];
    case CLQ_DTYPE_U64: {
        uint64_t v = ((const uint64_t *)t->data)[i];
        return v > INT64_MAX ? INT64_MAX : (int64_t)v;
    }
    default: return 0;
    }
}

double clq_op_scalar(const clq_tensor *t)
{
    if (t->dtype == CLQ_DTYPE_F32) return (double)*(const float *)t->data;
    if (t->dtype == CLQ_DTYPE_F64) return *(const double *)t->data;
    return (double)clq_op_int_at(t, 0);
}

clq_status clq_op_read_ints(struct clq_op_call *call, struct clq_op_ints *out, int input, const char *attr)
{
    const int64_t *p = NULL;
    int64_t n = 0;
    out->n = -1;
    memset(out->v, 0, sizeof out->v);
    if (input >= 0 && clq_op_has(call, input)) {
        const clq_tensor *t = &call->in[input];
        CLQ_TRY(clq_op_need_value(call, input));
        if (t->rank > 1 || (t->dtype != CLQ_DTYPE_S64 && t->dtype != CLQ_DTYPE_S32))
            return clq_op_fail(call, CLQ_ERR_FORMAT, "input %d has type %s and rank %d, expected int64 of rank 1",
                               input, clq_dtype_name(t->dtype), t->rank);
        n = clq_op_count(t);
        for (int64_t i = 0; i < n && i < 64; i++) out->v[i] = clq_op_int_at(t, i);
    } else {
        const struct clq_attr *a = attr ? clq_node_attr(call->node, attr) : NULL;
        if (!a) return CLQ_OK;
        if (a->type == CLQ_ATTR_INTS) {
            p = a->ints;
            n = a->n > 64 ? 65 : (int64_t)a->n;
        } else if (a->type == CLQ_ATTR_INT) {
            p = &a->i;
            n = 1;
        } else {
            return clq_op_fail(call, CLQ_ERR_FORMAT, "attribute '%s' is not a list of integers", attr);
        }
        for (int64_t i = 0; i < n && i < 64; i++) out->v[i] = p[i];
    }
    if (n > 64) return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "a list of more than 64 integers");
    out->n = (int)n;
    return CLQ_OK;
}

clq_status clq_op_read_axes(struct clq_op_call *call, struct clq_op_ints *out, unsigned *mask, int input,
                            const char *attr, int rank)
{
    *mask = 0;
    CLQ_TRY(clq_op_read_ints(call, out, input, attr));
    for (int i = 0; i < out->n; i++) {
        int a;
        CLQ_TRY(clq_op_axis(call, &a, out->v[i], rank));
        if (*mask & (1u << a)) return clq_op_fail(call, CLQ_ERR_FORMAT, "axis %d is given twice", a);
        *mask |= 1u << a;
        out->v[i] = a;
    }
    return CLQ_OK;
}

void clq_op_strides(int64_t *stride, const clq_tensor *t)
{
    int64_t s = 1;
    for (int k = t->rank - 1; k >= 0; k--) {
        stride[k] = s;
        s *= t->shape[k];
    }
}

clq_status clq_op_bcast_shape(struct clq_op_call *call, int n, int *rank, int64_t *shape)
{
    *rank = 0;
    for (int i = 0; i < n; i++) {
        if (!clq_op_has(call, i)) return clq_op_fail(call, CLQ_ERR_FORMAT, "input %d is missing", i);
        if (call->in[i].rank > *rank) *rank = call->in[i].rank;
    }
    for (int k = 0; k < *rank; k++) shape[k] = 1;
    for (int i = 0; i < n; i++) {
        const clq_tensor *t = &call->in[i];
        for (int k = 0; k < t->rank; k++) {
            int64_t *d = &shape[*rank - t->rank + k];
            if (t->shape[k] == 1 || t->shape[k] == *d) continue;
            if (*d != 1)
                return clq_op_fail(call, CLQ_ERR_FORMAT, "input %d has dimension %lld on axis %d, expected %lld or 1",
                                   i, (long long)t->shape[k], k, (long long)*d);
            *d = t->shape[k];
        }
    }
    return CLQ_OK;
}

void clq_op_bcast_make(struct clq_bcast *out, int n, const clq_tensor *const *in, const clq_tensor *y)
{
    int64_t stride[3][CLQ_MAX_RANK];
    for (int i = 0; i < n; i++) {
        int64_t own[CLQ_MAX_RANK];
        clq_op_strides(own, in[i]);
        for (int k = 0; k < y->rank; k++) {
            int a = k - (y->rank - in[i]->rank);
            stride[i][k] = a < 0 || in[i]->shape[a] == 1 ? 0 : own[a];
        }
    }
    out->rank = 0;
    for (int k = 0; k < y->rank; k++) {
        if (y->shape[k] == 1) continue;
        int r = out->rank;
        bool merge = r > 0;
        for (int i = 0; i < n && merge; i++) merge = out->stride[i][r - 1] == stride[i][k] * y->shape[k];
        if (merge) {
            r--;
            out->dim[r] *= y->shape[k];
        } else {
            out->dim[r] = y->shape[k];
            out->rank++;
        }
        for (int i = 0; i < n; i++) out->stride[i][r] = stride[i][k];
    }
    if (out->rank == 0) {
        out->rank = 1;
        out->dim[0] = 1;
        for (int i = 0; i < n; i++) out->stride[i][0] = 1;
    }
}

int clq_op_threads(const struct clq_op_call *call, size_t work)
{
    return work < CLQ_OP_PARALLEL_MIN ? 1 : call->threads;
}

size_t clq_op_size(clq_dtype dtype)
{
    unsigned bits = clq_dtype_bits(dtype);
    return bits % 8 == 0 ? bits / 8 : 0;
}

bool clq_op_is_int(clq_dtype t)
{
    return (t >= CLQ_DTYPE_U8 && t <= CLQ_DTYPE_S64) || t == CLQ_DTYPE_U32 || t == CLQ_DTYPE_U64;
}

bool clq_op_is_float(clq_dtype t)
{
    return t == CLQ_DTYPE_F32 || t == CLQ_DTYPE_F64 || t == CLQ_DTYPE_F16 || t == CLQ_DTYPE_BF16;
}
