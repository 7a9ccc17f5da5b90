/* SPDX-License-Identifier: Apache-2.0
 * Operators that cut, join and repeat: Slice, Split, Concat, Pad, Expand, Tile. */
#include <stdlib.h>

#include "base/parallel.h"
#include "ops/util.h"

static clq_status need_bytes(struct clq_op_call *call, int i)
{
    return clq_op_size(call->in[i].dtype) ? CLQ_OK : clq_op_bad_type(call, i);
}

/* Runs tables over input 0 and frees them. */
static clq_status finish(struct clq_op_call *call, struct clq_tables *t, const void *fill)
{
    clq_status st = clq_tables_run(call, t, call->out[0].data, call->in[0].data, clq_op_size(call->in[0].dtype), fill);
    free(t->memory);
    return st;
}

/* ---- Slice ---- */

struct slice {
    int64_t start[CLQ_MAX_RANK], step[CLQ_MAX_RANK], n[CLQ_MAX_RANK];
};

static void slice_axis(struct slice *s, int a, int64_t dim, int64_t start, int64_t end, int64_t step)
{
    const int64_t far = CLQ_OP_MAX_ELEMENTS + 1;
    step = step > far ? far : (step < -far ? -far : step);
    if (start < 0) start += dim;
    if (end < 0) end += dim;
    int64_t lo = step > 0 ? 0 : -1, hi = step > 0 ? dim : dim - 1;
    start = start < 0 ? 0 : (start > hi ? hi : start);
    end = end < lo ? lo : (end > hi ? hi : end);
    int64_t span = step > 0 ? end - start : start - end, width = step > 0 ? step : -step;
    s->start[a] = start;
    s->step[a] = step;
    s->n[a] = span <= 0 || dim == 0 ? 0 : (span + width - 1) / width;
}

static clq_status read_slice(struct clq_op_call *call, struct slice *s)
{
    const clq_tensor *x = &call->in[0];
    bool attributes = call->opset < 10;
    struct clq_op_ints start, end, axes, step;
    unsigned mask;
    CLQ_TRY(need_bytes(call, 0));
    CLQ_TRY(clq_op_read_ints(call, &start, attributes ? -1 : 1, "starts"));
    CLQ_TRY(clq_op_read_ints(call, &end, attributes ? -1 : 2, "ends"));
    CLQ_TRY(clq_op_read_axes(call, &axes, &mask, attributes ? -1 : 3, attributes ? "axes" : NULL, x->rank));
    CLQ_TRY(clq_op_read_ints(call, &step, attributes ? -1 : 4, NULL));
    int n = start.n;
    if (n < 0 || end.n != n || (axes.n >= 0 && axes.n != n) || (step.n >= 0 && step.n != n) || n > x->rank)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "%d starts, %d ends, %d axes, %d steps for rank %d", n, end.n, axes.n,
                           step.n, x->rank);
    for (int a = 0; a < x->rank; a++) slice_axis(s, a, x->shape[a], 0, x->shape[a], 1);
    for (int i = 0; i < n; i++) {
        int a = axes.n >= 0 ? (int)axes.v[i] : i;
        int64_t by = step.n >= 0 ? step.v[i] : 1;
        if (by == 0) return clq_op_fail(call, CLQ_ERR_FORMAT, "step 0 on axis %d", a);
        slice_axis(s, a, x->shape[a], start.v[i], end.v[i], by);
    }
    return CLQ_OK;
}

clq_op_fn clq_infer_slice, clq_eval_slice;

clq_status clq_infer_slice(struct clq_op_call *call)
{
    struct slice s;
    CLQ_TRY(read_slice(call, &s));
    return clq_op_set_out(call, 0, call->in[0].dtype, call->in[0].rank, s.n);
}

clq_status clq_eval_slice(struct clq_op_call *call)
{
    struct slice s;
    struct clq_tables t;
    int64_t stride[CLQ_MAX_RANK];
    CLQ_TRY(read_slice(call, &s));
    clq_op_strides(stride, &call->in[0]);
    if (!clq_tables_alloc(&t, call->in[0].rank, s.n)) return clq_op_no_memory(call);
    for (int k = 0; k < t.rank; k++)
        for (int64_t i = 0; i < s.n[k]; i++) t.table[k][i] = (s.start[k] + i * s.step[k]) * stride[k];
    return finish(call, &t, NULL);
}

/* ---- Split and Concat: runs of bytes ---- */

struct pieces {
    char *whole;
    char **part;
    size_t *bytes; /* of each part's run */
    size_t run;    /* sum of them */
    int n;
    bool join;
};

static void move_rows(void *state, size_t begin, size_t end, int thread)
{
    const struct pieces *p = state;
    (void)thread;
    for (size_t r = begin; r < end; r++) {
        char *w = p->whole + r * p->run;
        for (int i = 0; i < p->n; w += p->bytes[i++]) {
            if (!p->part[i] || p->bytes[i] == 0) continue;
            char *part = p->part[i] + r * p->bytes[i];
            memcpy(p->join ? w : part, p->join ? part : w, p->bytes[i]);
        }
    }
}

static clq_status move_pieces(struct clq_op_call *call, const clq_tensor *whole, const clq_tensor *parts, int n,
                              int axis, bool join)
{
    struct pieces p = {.whole = whole->data, .n = n, .join = join};
    size_t size = clq_op_size(whole->dtype), rows = (size_t)clq_op_span(whole, 0, axis);
    if (clq_op_count(whole) == 0) return CLQ_OK;
    p.part = malloc((size_t)n * sizeof *p.part);
    p.bytes = malloc((size_t)n * sizeof *p.bytes);
    if (!p.part || !p.bytes) {
        free(p.part);
        free(p.bytes);
        return clq_op_no_memory(call);
    }
    for (int i = 0; i < n; i++) {
        p.part[i] = parts[i].data;
        p.bytes[i] = (size_t)clq_op_span(&parts[i], axis, parts[i].rank) * size;
        p.run += p.bytes[i];
    }
    clq_parallel_for(clq_op_threads(call, rows * p.run / 4), rows, move_rows, &p);
    free(p.part);
    free(p.bytes);
    return CLQ_OK;
}

clq_op_fn clq_infer_concat, clq_eval_concat, clq_infer_split, clq_eval_split;

clq_status clq_infer_concat(struct clq_op_call *call)
{
    const clq_tensor *x = call->in;
    int axis;
    int64_t shape[CLQ_MAX_RANK];
    CLQ_TRY(need_bytes(call, 0));
    CLQ_TRY(clq_op_axis(call, &axis, clq_node_int(call->node, "axis", 1), x->rank));
    memcpy(shape, x->shape, sizeof shape);
    for (int i = 1; i < call->n_in; i++) {
        CLQ_TRY(clq_op_need_same_type(call, i));
        CLQ_TRY(clq_op_need_rank(call, i, x->rank));
        for (int k = 0; k < x->rank; k++)
            if (k != axis && x[i].shape[k] != shape[k])
                return clq_op_fail(call, CLQ_ERR_FORMAT, "input %d has dimension %lld on axis %d, expected %lld", i,
                                   (long long)x[i].shape[k], k, (long long)shape[k]);
        shape[axis] += x[i].shape[axis]; /* at most n_in * 2^31 */
    }
    return clq_op_set_out(call, 0, x->dtype, x->rank, shape);
}

clq_status clq_eval_concat(struct clq_op_call *call)
{
    int axis;
    CLQ_TRY(clq_op_axis(call, &axis, clq_node_int(call->node, "axis", 1), call->in[0].rank));
    return move_pieces(call, &call->out[0], call->in, call->n_in, axis, true);
}

clq_status clq_infer_split(struct clq_op_call *call)
{
    const clq_tensor *x = call->in;
    int axis;
    struct clq_op_ints sizes;
    int64_t shape[CLQ_MAX_RANK], sum = 0, n = call->n_out;
    CLQ_TRY(need_bytes(call, 0));
    CLQ_TRY(clq_op_axis(call, &axis, clq_node_int(call->node, "axis", 0), x->rank));
    CLQ_TRY(clq_op_read_ints(call, &sizes, call->opset >= 13 ? 1 : -1, call->opset < 13 ? "split" : NULL));
    if (sizes.n >= 0 && sizes.n != n)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "%d split sizes for %d outputs", sizes.n, (int)n);
    if (sizes.n < 0 && call->opset >= 18 && clq_node_int(call->node, "num_outputs", n) != n)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "num_outputs differs from the %d outputs", (int)n);
    if (sizes.n < 0 && call->opset < 18 && x->shape[axis] % n != 0)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "dimension %lld does not split into %d equal parts",
                           (long long)x->shape[axis], (int)n);
    int64_t part = (x->shape[axis] + n - 1) / n;
    memcpy(shape, x->shape, sizeof shape);
    for (int i = 0; i < n; i++) {
        int64_t left = x->shape[axis] - sum;
        shape[axis] = sizes.n >= 0 ? sizes.v[i] : (part < left ? part : left);
        if (shape[axis] < 0 || shape[axis] > left)
            return clq_op_fail(call, CLQ_ERR_FORMAT, "split size %lld, %lld elements are left", (long long)shape[axis],
                               (long long)left);
        sum += shape[axis];
        CLQ_TRY(clq_op_set_out(call, i, x->dtype, x->rank, shape));
    }
    if (sum != x->shape[axis])
        return clq_op_fail(call, CLQ_ERR_FORMAT, "split sizes add up to %lld, the axis has %lld", (long long)sum,
                           (long long)x->shape[axis]);
    return CLQ_OK;
}

clq_status clq_eval_split(struct clq_op_call *call)
{
    int axis;
    CLQ_TRY(clq_op_axis(call, &axis, clq_node_int(call->node, "axis", 0), call->in[0].rank));
    return move_pieces(call, &call->in[0], call->out, call->n_out, axis, false);
}

/* ---- Pad ---- */

static clq_status read_pads(struct clq_op_call *call, int64_t *begin, int64_t *shape)
{
    const clq_tensor *x = call->in;
    struct clq_op_ints pads, axes;
    unsigned mask;
    bool attributes = call->opset < 11;
    CLQ_TRY(need_bytes(call, 0));
    CLQ_TRY(clq_op_read_ints(call, &pads, attributes ? -1 : 1, attributes ? "pads" : NULL));
    CLQ_TRY(clq_op_read_axes(call, &axes, &mask, attributes ? -1 : 3, NULL, x->rank));
    int n = axes.n >= 0 ? axes.n : x->rank;
    if (pads.n != 2 * n) return clq_op_fail(call, CLQ_ERR_FORMAT, "%d pads for %d axes", pads.n, n);
    for (int k = 0; k < x->rank; k++) {
        begin[k] = 0;
        shape[k] = x->shape[k];
    }
    for (int i = 0; i < n; i++) {
        int a = axes.n >= 0 ? (int)axes.v[i] : i;
        int64_t b = pads.v[i], e = pads.v[n + i], limit = CLQ_OP_MAX_ELEMENTS;
        if (b < -limit || b > limit || e < -limit || e > limit)
            return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "padding of more than 2^31 on axis %d", a);
        begin[a] = b;
        shape[a] = x->shape[a] + b + e;
        if (shape[a] < 0) return clq_op_fail(call, CLQ_ERR_FORMAT, "padding removes more than axis %d has", a);
    }
    return CLQ_OK;
}

clq_op_fn clq_infer_pad, clq_eval_pad;

clq_status clq_infer_pad(struct clq_op_call *call)
{
    int64_t begin[CLQ_MAX_RANK], shape[CLQ_MAX_RANK];
    const char *mode = clq_node_string(call->node, "mode", "constant");
    if (strcmp(mode, "constant") && strcmp(mode, "edge") && strcmp(mode, "reflect") && strcmp(mode, "wrap"))
        return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "mode '%s'", mode);
    CLQ_TRY(read_pads(call, begin, shape));
    if (call->opset >= 11 && clq_op_has(call, 2)) {
        CLQ_TRY(clq_op_need_same_type(call, 2));
        if (clq_op_count(&call->in[2]) != 1)
            return clq_op_fail(call, CLQ_ERR_FORMAT, "the padding value is not a scalar");
    }
    for (int k = 0; k < call->in[0].rank; k++)
        if (call->in[0].shape[k] == 0 && shape[k] > 0 && strcmp(mode, "constant") != 0)
            return clq_op_fail(call, CLQ_ERR_FORMAT, "mode '%s' of an empty axis %d", mode, k);
    return clq_op_set_out(call, 0, call->in[0].dtype, call->in[0].rank, shape);
}

static int64_t pad_source(int64_t i, int64_t n, char mode)
{
    if (i >= 0 && i < n) return i;
    if (mode == 'c') return -1;
    if (mode == 'e') return i < 0 ? 0 : n - 1;
    int64_t period = mode == 'w' ? n : (n > 1 ? 2 * (n - 1) : 1), r = i % period;
    if (r < 0) r += period;
    return r < n ? r : period - r;
}

clq_status clq_eval_pad(struct clq_op_call *call)
{
    struct clq_tables t;
    int64_t begin[CLQ_MAX_RANK], shape[CLQ_MAX_RANK], stride[CLQ_MAX_RANK];
    const clq_tensor *x = call->in;
    char mode = clq_node_string(call->node, "mode", "constant")[0];
    CLQ_TRY(read_pads(call, begin, shape));
    clq_op_strides(stride, x);
    if (!clq_tables_alloc(&t, x->rank, shape)) return clq_op_no_memory(call);
    for (int k = 0; k < t.rank; k++)
        for (int64_t i = 0; i < shape[k]; i++) {
            int64_t from = pad_source(i - begin[k], x->shape[k], mode);
            t.table[k][i] = from < 0 ? -1 : from * stride[k];
        }
    float value = clq_node_float(call->node, "value", 0.0f);
    if (call->opset >= 11) return finish(call, &t, clq_op_has(call, 2) ? call->in[2].data : NULL);
    return finish(call, &t, x->dtype == CLQ_DTYPE_F32 ? &value : NULL);
}

/* ---- Expand and Tile ---- */

static clq_status expand_shape(struct clq_op_call *call, int *rank, int64_t *shape)
{
    const clq_tensor *x = call->in;
    struct clq_op_ints want;
    CLQ_TRY(need_bytes(call, 0));
    CLQ_TRY(clq_op_read_ints(call, &want, 1, NULL));
    *rank = want.n > x->rank ? want.n : x->rank;
    if (*rank > CLQ_MAX_RANK) return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "rank %d", *rank);
    for (int k = 0; k < *rank; k++) {
        int a = k - (*rank - x->rank), b = k - (*rank - want.n);
        int64_t have = a < 0 ? 1 : x->shape[a], to = b < 0 ? 1 : want.v[b];
        if (have != to && have != 1 && to != 1)
            return clq_op_fail(call, CLQ_ERR_FORMAT, "axis %d of %lld does not expand to %lld", k, (long long)have,
                               (long long)to);
        shape[k] = have == 1 ? to : have;
    }
    return CLQ_OK;
}

clq_op_fn clq_infer_expand, clq_eval_expand, clq_infer_tile, clq_eval_tile;

clq_status clq_infer_expand(struct clq_op_call *call)
{
    int rank;
    int64_t shape[CLQ_MAX_RANK];
    CLQ_TRY(expand_shape(call, &rank, shape));
    return clq_op_set_out(call, 0, call->in[0].dtype, rank, shape);
}

/* The result repeats x along every axis. */
static clq_status repeat(struct clq_op_call *call)
{
    const clq_tensor *x = call->in, *y = call->out;
    struct clq_tables t;
    int64_t stride[CLQ_MAX_RANK];
    clq_op_strides(stride, x);
    if (clq_op_count(y) == 0) return CLQ_OK;
    if (!clq_tables_alloc(&t, y->rank, y->shape)) return clq_op_no_memory(call);
    for (int k = 0; k < y->rank; k++) {
        int a = k - (y->rank - x->rank);
        for (int64_t i = 0; i < y->shape[k]; i++) t.table[k][i] = a < 0 ? 0 : i % x->shape[a] * stride[a];
    }
    return finish(call, &t, NULL);
}

clq_status clq_eval_expand(struct clq_op_call *call)
{
    return repeat(call);
}

clq_status clq_infer_tile(struct clq_op_call *call)
{
    const clq_tensor *x = call->in;
    struct clq_op_ints times;
    int64_t shape[CLQ_MAX_RANK];
    CLQ_TRY(need_bytes(call, 0));
    CLQ_TRY(clq_op_read_ints(call, &times, 1, NULL));
    if (times.n != x->rank) return clq_op_fail(call, CLQ_ERR_FORMAT, "%d repeats for rank %d", times.n, x->rank);
    for (int k = 0; k < x->rank; k++) {
        if (times.v[k] < 0 || times.v[k] > CLQ_OP_MAX_ELEMENTS)
            return clq_op_fail(call, CLQ_ERR_FORMAT, "%lld repeats on axis %d", (long long)times.v[k], k);
        shape[k] = x->shape[k] * times.v[k];
    }
    return clq_op_set_out(call, 0, x->dtype, x->rank, shape);
}

clq_status clq_eval_tile(struct clq_op_call *call)
{
    return repeat(call);
}
