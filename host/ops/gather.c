/* SPDX-License-Identifier: Apache-2.0
 * Operators that read or write at indices which the model supplies: Gather*, Scatter*, Compress, ReverseSequence.
 * Every index is checked before it is used. */
#include <stdlib.h>

#include "base/parallel.h"
#include "ops/util.h"

static clq_status need_index(struct clq_op_call *call, int i)
{
    clq_dtype t = call->in[i].dtype;
    if (clq_op_size(call->in[0].dtype) == 0) return clq_op_bad_type(call, 0);
    return t == CLQ_DTYPE_S32 || t == CLQ_DTYPE_S64 ? CLQ_OK : clq_op_bad_type(call, i);
}

/* Element i of the indices, made non-negative. */
static clq_status index_at(struct clq_op_call *call, int64_t *out, const clq_tensor *t, int64_t i, int64_t dim)
{
    int64_t v = clq_op_int_at(t, i);
    *out = 0;
    if (v < -dim || v >= dim)
        return clq_op_fail(call, CLQ_ERR_INVALID_ARGUMENT, "index %lld is outside of an axis of %lld", (long long)v,
                           (long long)dim);
    *out = v < 0 ? v + dim : v;
    return CLQ_OK;
}

/* All indices, made non-negative; to be freed. */
static clq_status read_indices(struct clq_op_call *call, int64_t **out, const clq_tensor *t, int64_t dim)
{
    int64_t n = clq_op_count(t);
    *out = NULL;
    int64_t *p = malloc(((size_t)n + 1) * sizeof *p);
    if (!p) return clq_op_no_memory(call);
    for (int64_t i = 0; i < n; i++) {
        clq_status st = index_at(call, &p[i], t, i, dim);
        if (st != CLQ_OK) {
            free(p);
            return st;
        }
    }
    *out = p;
    return CLQ_OK;
}

clq_op_fn clq_infer_gather, clq_eval_gather, clq_infer_gather_elements, clq_eval_gather_elements, clq_infer_gather_nd,
    clq_eval_gather_nd;

clq_status clq_infer_gather(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0], *t = &call->in[1];
    int axis, rank = 0;
    int64_t shape[2 * CLQ_MAX_RANK];
    CLQ_TRY(need_index(call, 1));
    CLQ_TRY(clq_op_axis(call, &axis, clq_node_int(call->node, "axis", 0), x->rank));
    for (int k = 0; k < axis; k++) shape[rank++] = x->shape[k];
    for (int k = 0; k < t->rank; k++) shape[rank++] = t->shape[k];
    for (int k = axis + 1; k < x->rank; k++) shape[rank++] = x->shape[k];
    return clq_op_set_out(call, 0, x->dtype, rank, shape);
}

clq_status clq_eval_gather(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    int axis;
    CLQ_TRY(clq_op_axis(call, &axis, clq_node_int(call->node, "axis", 0), x->rank));
    int64_t n = clq_op_count(&call->in[1]), outer = clq_op_span(x, 0, axis), dim = x->shape[axis], *at;
    size_t run = (size_t)clq_op_span(x, axis + 1, x->rank) * clq_op_size(x->dtype);
    CLQ_TRY(read_indices(call, &at, &call->in[1], dim));
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < n; i++)
            memcpy((char *)call->out[0].data + (size_t)(o * n + i) * run,
                   (const char *)x->data + (size_t)(o * dim + at[i]) * run, run);
    free(at);
    return CLQ_OK;
}

clq_status clq_infer_gather_elements(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0], *t = &call->in[1];
    int axis;
    CLQ_TRY(need_index(call, 1));
    CLQ_TRY(clq_op_need_rank(call, 1, x->rank));
    CLQ_TRY(clq_op_axis(call, &axis, clq_node_int(call->node, "axis", 0), x->rank));
    for (int k = 0; k < x->rank; k++)
        if (k != axis && t->shape[k] > x->shape[k])
            return clq_op_fail(call, CLQ_ERR_FORMAT, "indices have %lld elements on axis %d, the data %lld",
                               (long long)t->shape[k], k, (long long)x->shape[k]);
    return clq_op_set_out(call, 0, x->dtype, t->rank, t->shape);
}

/* Offset in x of element i of t, with the coordinate on `axis` left out. */
static int64_t other_axes(const clq_tensor *t, const int64_t *stride, int axis, int64_t i)
{
    int64_t offset = 0;
    for (int k = t->rank - 1; k >= 0; k--) {
        if (k != axis) offset += i % t->shape[k] * stride[k];
        i /= t->shape[k];
    }
    return offset;
}

clq_status clq_eval_gather_elements(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0], *t = &call->in[1];
    int axis;
    int64_t stride[CLQ_MAX_RANK], at;
    size_t size = clq_op_size(x->dtype);
    CLQ_TRY(clq_op_axis(call, &axis, clq_node_int(call->node, "axis", 0), x->rank));
    clq_op_strides(stride, x);
    for (int64_t i = 0, n = clq_op_count(t); i < n; i++) {
        CLQ_TRY(index_at(call, &at, t, i, x->shape[axis]));
        int64_t from = other_axes(t, stride, axis, i) + at * stride[axis];
        memcpy((char *)call->out[0].data + (size_t)i * size, (const char *)x->data + (size_t)from * size, size);
    }
    return CLQ_OK;
}

static clq_status nd_depth(struct clq_op_call *call, int batch, int *depth)
{
    const clq_tensor *x = &call->in[0], *t = &call->in[1];
    *depth = 0;
    CLQ_TRY(need_index(call, 1));
    if (t->rank < 1 || batch < 0 || batch >= t->rank || batch > x->rank || t->shape[t->rank - 1] < 1 ||
        t->shape[t->rank - 1] > x->rank - batch)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "indices of rank %d with %d batch axes do not fit data of rank %d",
                           t->rank, batch, x->rank);
    for (int k = 0; k < batch; k++)
        if (t->shape[k] != x->shape[k]) return clq_op_fail(call, CLQ_ERR_FORMAT, "batch axis %d differs", k);
    *depth = (int)t->shape[t->rank - 1];
    return CLQ_OK;
}

static int batch_dims(const struct clq_op_call *call)
{
    int64_t b = call->opset >= 12 ? clq_node_int(call->node, "batch_dims", 0) : 0;
    return b < 0 || b > CLQ_MAX_RANK ? -1 : (int)b;
}

clq_status clq_infer_gather_nd(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0], *t = &call->in[1];
    int depth, batch = batch_dims(call), rank = 0;
    int64_t shape[2 * CLQ_MAX_RANK];
    CLQ_TRY(nd_depth(call, batch, &depth));
    for (int k = 0; k < t->rank - 1; k++) shape[rank++] = t->shape[k];
    for (int k = batch + depth; k < x->rank; k++) shape[rank++] = x->shape[k];
    return clq_op_set_out(call, 0, x->dtype, rank, shape);
}

/* The element offset that index row i of t names. */
static clq_status nd_offset(struct clq_op_call *call, int64_t *out, const clq_tensor *x, const clq_tensor *t,
                            const int64_t *stride, int batch, int depth, int64_t i)
{
    int64_t offset = 0;
    *out = 0;
    for (int d = 0; d < depth; d++) {
        int64_t at;
        CLQ_TRY(index_at(call, &at, t, i * depth + d, x->shape[batch + d]));
        offset += at * stride[batch + d];
    }
    *out = offset;
    return CLQ_OK;
}

clq_status clq_eval_gather_nd(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0], *t = &call->in[1];
    int depth, batch = batch_dims(call);
    int64_t stride[CLQ_MAX_RANK], at;
    CLQ_TRY(nd_depth(call, batch, &depth));
    clq_op_strides(stride, x);
    size_t run = (size_t)clq_op_span(x, batch + depth, x->rank) * clq_op_size(x->dtype), size = clq_op_size(x->dtype);
    int64_t per_batch = clq_op_span(t, batch, t->rank - 1), slab = clq_op_span(x, batch, x->rank);
    for (int64_t i = 0, n = clq_op_span(t, 0, t->rank - 1); i < n; i++) {
        CLQ_TRY(nd_offset(call, &at, x, t, stride, batch, depth, i));
        at += i / per_batch * slab;
        memcpy((char *)call->out[0].data + (size_t)i * run, (const char *)x->data + (size_t)at * size, run);
    }
    return CLQ_OK;
}

/* ---- Scatter ---- */

enum reduction { REDUCE_NONE, REDUCE_ADD, REDUCE_MUL, REDUCE_MAX, REDUCE_MIN };

static clq_status read_reduction(struct clq_op_call *call, enum reduction *out)
{
    static const char *const names[] = {"none", "add", "mul", "max", "min"};
    *out = REDUCE_NONE;
    const char *text = call->opset >= 16 ? clq_node_string(call->node, "reduction", "none") : "none";
    for (int i = 0; i < 5; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (enum reduction)i;
            clq_dtype t = call->in[0].dtype;
            bool number = t == CLQ_DTYPE_F32 || t == CLQ_DTYPE_F64 || t == CLQ_DTYPE_S32 || t == CLQ_DTYPE_S64;
            return i == 0 || number ? CLQ_OK : clq_op_bad_type(call, 0);
        }
    return clq_op_fail(call, CLQ_ERR_FORMAT, "reduction '%s'", text);
}

#define COMBINE(T, ADD, MUL) \
    { \
        T a, b; \
        memcpy(&a, y, sizeof a); \
        memcpy(&b, x, sizeof b); \
        a = r == REDUCE_ADD ? (ADD) : r == REDUCE_MUL ? (MUL) : r == REDUCE_MAX ? (a > b ? a : b) : (a < b ? a : b); \
        memcpy(y, &a, sizeof a); \
    }

static void put(char *y, const char *x, clq_dtype t, size_t size, enum reduction r)
{
    if (r == REDUCE_NONE)
        memcpy(y, x, size);
    else if (t == CLQ_DTYPE_F32)
        COMBINE(float, a + b, a * b)
    else if (t == CLQ_DTYPE_F64)
        COMBINE(double, a + b, a * b)
    else if (t == CLQ_DTYPE_S32)
        COMBINE(int32_t, (int32_t)((uint32_t)a + (uint32_t)b), (int32_t)((uint32_t)a * (uint32_t)b))
    else
        COMBINE(int64_t, (int64_t)((uint64_t)a + (uint64_t)b), (int64_t)((uint64_t)a * (uint64_t)b))
}

static void copy_data(struct clq_op_call *call)
{
    memcpy(call->out[0].data, call->in[0].data, (size_t)clq_op_count(&call->in[0]) * clq_op_size(call->in[0].dtype));
}

clq_op_fn clq_infer_scatter_elements, clq_eval_scatter_elements, clq_infer_scatter_nd, clq_eval_scatter_nd;

clq_status clq_infer_scatter_elements(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0], *t = &call->in[1], *u = &call->in[2];
    int axis;
    enum reduction r;
    CLQ_TRY(need_index(call, 1));
    CLQ_TRY(clq_op_need_same_type(call, 2));
    CLQ_TRY(clq_op_need_rank(call, 1, x->rank));
    CLQ_TRY(clq_op_need_rank(call, 2, x->rank));
    CLQ_TRY(read_reduction(call, &r));
    CLQ_TRY(clq_op_axis(call, &axis, clq_node_int(call->node, "axis", 0), x->rank));
    for (int k = 0; k < x->rank; k++)
        if (t->shape[k] != u->shape[k] || (k != axis && t->shape[k] > x->shape[k]))
            return clq_op_fail(call, CLQ_ERR_FORMAT, "indices and updates do not fit the data on axis %d", k);
    return clq_op_same(call);
}

clq_status clq_eval_scatter_elements(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0], *t = &call->in[1];
    int axis;
    enum reduction r;
    int64_t stride[CLQ_MAX_RANK], at;
    size_t size = clq_op_size(x->dtype);
    CLQ_TRY(read_reduction(call, &r));
    CLQ_TRY(clq_op_axis(call, &axis, clq_node_int(call->node, "axis", 0), x->rank));
    copy_data(call);
    clq_op_strides(stride, x);
    for (int64_t i = 0, n = clq_op_count(t); i < n; i++) {
        CLQ_TRY(index_at(call, &at, t, i, x->shape[axis]));
        int64_t to = other_axes(t, stride, axis, i) + at * stride[axis];
        put((char *)call->out[0].data + (size_t)to * size, (const char *)call->in[2].data + (size_t)i * size, x->dtype,
            size, r);
    }
    return CLQ_OK;
}

clq_status clq_infer_scatter_nd(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0], *t = &call->in[1], *u = &call->in[2];
    int depth;
    enum reduction r;
    CLQ_TRY(nd_depth(call, 0, &depth));
    CLQ_TRY(clq_op_need_same_type(call, 2));
    CLQ_TRY(read_reduction(call, &r));
    bool fits = u->rank == t->rank - 1 + x->rank - depth;
    for (int k = 0; fits && k < u->rank; k++)
        fits = u->shape[k] == (k < t->rank - 1 ? t->shape[k] : x->shape[k - (t->rank - 1) + depth]);
    if (!fits) return clq_op_fail(call, CLQ_ERR_FORMAT, "updates do not fit data and indices");
    return clq_op_same(call);
}

clq_status clq_eval_scatter_nd(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0], *t = &call->in[1];
    int depth;
    enum reduction r;
    int64_t stride[CLQ_MAX_RANK], at;
    size_t size = clq_op_size(x->dtype);
    CLQ_TRY(nd_depth(call, 0, &depth));
    CLQ_TRY(read_reduction(call, &r));
    copy_data(call);
    clq_op_strides(stride, x);
    int64_t run = clq_op_span(x, depth, x->rank);
    for (int64_t i = 0, n = clq_op_span(t, 0, t->rank - 1); i < n; i++) {
        CLQ_TRY(nd_offset(call, &at, x, t, stride, 0, depth, i));
        for (int64_t k = 0; k < run; k++)
            put((char *)call->out[0].data + (size_t)(at + k) * size,
                (const char *)call->in[2].data + (size_t)(i * run + k) * size, x->dtype, size, r);
    }
    return CLQ_OK;
}

/* ---- Compress and ReverseSequence ---- */

clq_op_fn clq_infer_compress, clq_eval_compress, clq_infer_reverse_sequence, clq_eval_reverse_sequence;

/* The view [outer, dim, inner] along the attribute axis, or of the flattened data. */
static clq_status compress_view(struct clq_op_call *call, int *axis, int64_t *dim)
{
    const clq_tensor *x = &call->in[0];
    *axis = -1;
    *dim = clq_op_count(x);
    if (clq_op_size(x->dtype) == 0) return clq_op_bad_type(call, 0);
    CLQ_TRY(clq_op_need_type(call, 1, CLQ_DTYPE_BOOL));
    CLQ_TRY(clq_op_need_rank(call, 1, 1));
    if (!clq_node_attr(call->node, "axis")) return CLQ_OK;
    CLQ_TRY(clq_op_axis(call, axis, clq_node_int(call->node, "axis", 0), x->rank));
    *dim = x->shape[*axis];
    return CLQ_OK;
}

clq_status clq_infer_compress(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0], *c = &call->in[1];
    int axis;
    int64_t dim, n = 0, shape[CLQ_MAX_RANK];
    CLQ_TRY(compress_view(call, &axis, &dim));
    CLQ_TRY(clq_op_need_value(call, 1));
    for (int64_t i = 0; i < c->shape[0] && i < dim; i++) n += ((const uint8_t *)c->data)[i] != 0;
    if (axis < 0) return clq_op_set_out(call, 0, x->dtype, 1, &n);
    memcpy(shape, x->shape, sizeof shape);
    shape[axis] = n;
    return clq_op_set_out(call, 0, x->dtype, x->rank, shape);
}

clq_status clq_eval_compress(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0], *c = &call->in[1];
    int axis;
    int64_t dim;
    CLQ_TRY(compress_view(call, &axis, &dim));
    int64_t outer = axis < 0 ? 1 : clq_op_span(x, 0, axis), inner = axis < 0 ? 1 : clq_op_span(x, axis + 1, x->rank);
    size_t run = (size_t)inner * clq_op_size(x->dtype);
    char *y = call->out[0].data;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < dim && i < c->shape[0]; i++) {
            if (!((const uint8_t *)c->data)[i]) continue;
            memcpy(y, (const char *)x->data + (size_t)(o * dim + i) * run, run);
            y += run;
        }
    return CLQ_OK;
}

static clq_status reverse_axes(struct clq_op_call *call, int *time, int *batch)
{
    int64_t t = clq_node_int(call->node, "time_axis", 0), b = clq_node_int(call->node, "batch_axis", 1);
    *time = 0;
    *batch = 1;
    if (clq_op_size(call->in[0].dtype) == 0) return clq_op_bad_type(call, 0);
    if (call->in[0].rank < 2 || t < 0 || t > 1 || b != 1 - t)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "time and batch must be axes 0 and 1");
    *time = (int)t;
    *batch = (int)b;
    return CLQ_OK;
}

clq_status clq_infer_reverse_sequence(struct clq_op_call *call)
{
    int time, batch;
    CLQ_TRY(reverse_axes(call, &time, &batch));
    CLQ_TRY(need_index(call, 1));
    CLQ_TRY(clq_op_need_rank(call, 1, 1));
    if (call->in[1].shape[0] != call->in[0].shape[batch])
        return clq_op_fail(call, CLQ_ERR_FORMAT, "one length per batch entry is needed");
    return clq_op_same(call);
}

clq_status clq_eval_reverse_sequence(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    int time, batch;
    CLQ_TRY(reverse_axes(call, &time, &batch));
    size_t run = (size_t)clq_op_span(x, 2, x->rank) * clq_op_size(x->dtype);
    for (int64_t a = 0; a < x->shape[0]; a++)
        for (int64_t b = 0; b < x->shape[1]; b++) {
            int64_t c[2] = {a, b}, length = clq_op_int_at(&call->in[1], c[batch]);
            if (length < 0 || length > x->shape[time])
                return clq_op_fail(call, CLQ_ERR_INVALID_ARGUMENT, "sequence length %lld", (long long)length);
            if (c[time] < length) c[time] = length - 1 - c[time];
            memcpy((char *)call->out[0].data + (size_t)(a * x->shape[1] + b) * run,
                   (const char *)x->data + (size_t)(c[0] * x->shape[1] + c[1]) * run, run);
        }
    return CLQ_OK;
}
