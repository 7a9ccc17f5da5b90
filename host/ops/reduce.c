/* SPDX-License-Identifier: Apache-2.0
 * Reductions over axes, ArgMax and ArgMin, cumulative sums. Sums of floats are taken in binary64 in an order that
 * depends on the shape alone. */
#include <math.h>
#include <stdlib.h>

#include "base/parallel.h"
#include "ops/util.h"

enum kind { SUM, MEAN, MAX, MIN, PROD, L1, L2, SUM_SQUARE, LOG_SUM, LOG_SUM_EXP };

/* The axes to reduce as a mask; opset at which they became an input: `input_since`. */
static clq_status read_reduce(struct clq_op_call *call, unsigned *mask, int input_since)
{
    struct clq_op_ints axes;
    const clq_tensor *x = &call->in[0];
    bool input = call->opset >= input_since;
    CLQ_TRY(clq_op_read_axes(call, &axes, mask, input ? 1 : -1, input ? NULL : "axes", x->rank));
    bool none = axes.n <= 0;
    if (none && !(call->opset >= 13 && clq_node_int(call->node, "noop_with_empty_axes", 0) != 0))
        *mask = (1u << x->rank) - 1;
    return CLQ_OK;
}

static clq_status infer_reduce(struct clq_op_call *call, int input_since)
{
    const clq_tensor *x = &call->in[0];
    unsigned mask;
    int rank = 0;
    int64_t shape[CLQ_MAX_RANK];
    bool keep = clq_node_int(call->node, "keepdims", 1) != 0;
    CLQ_TRY(read_reduce(call, &mask, input_since));
    for (int k = 0; k < x->rank; k++) {
        if (!(mask >> k & 1))
            shape[rank++] = x->shape[k];
        else if (keep)
            shape[rank++] = 1;
    }
    return clq_op_set_out(call, 0, x->dtype, rank, shape);
}

/* x as alternating kept and reduced axes. */
struct view {
    int rank;
    int64_t dim[CLQ_MAX_RANK], stride[CLQ_MAX_RANK];
    bool reduced[CLQ_MAX_RANK];
    int64_t n_kept, n_reduced;
};

static void make_view(struct view *v, const clq_tensor *x, unsigned mask)
{
    int64_t stride[CLQ_MAX_RANK];
    clq_op_strides(stride, x);
    *v = (struct view){.n_kept = 1, .n_reduced = 1};
    for (int k = 0; k < x->rank; k++) {
        bool r = (mask >> k & 1) != 0;
        if (r)
            v->n_reduced *= x->shape[k];
        else
            v->n_kept *= x->shape[k];
        if (x->shape[k] == 1) continue;
        if (v->rank > 0 && v->reduced[v->rank - 1] == r) {
            v->dim[v->rank - 1] *= x->shape[k];
            v->stride[v->rank - 1] = stride[k];
        } else {
            v->dim[v->rank] = x->shape[k];
            v->stride[v->rank] = stride[k];
            v->reduced[v->rank++] = r;
        }
    }
}

/* Offset of element i of the kept (or of the reduced) axes. */
static int64_t offset_of(const struct view *v, int64_t i, bool reduced)
{
    int64_t offset = 0;
    for (int k = v->rank - 1; k >= 0; k--) {
        if (v->reduced[k] != reduced) continue;
        offset += i % v->dim[k] * v->stride[k];
        i /= v->dim[k];
    }
    return offset;
}

struct job {
    struct view v;
    enum kind kind;
    const float *x;
    float *y;
};

static double start_of(enum kind kind)
{
    return kind == MAX ? -INFINITY : kind == MIN ? INFINITY : kind == PROD ? 1.0 : 0.0;
}

static inline double step(enum kind kind, double a, double x)
{
    switch (kind) {
    case MAX: return x > a || x != x ? x : a;
    case MIN: return x < a || x != x ? x : a;
    case PROD: return a * x;
    case L1: return a + fabs(x);
    case L2:
    case SUM_SQUARE: return a + x * x;
    default: return a + x;
    }
}

static double finish(enum kind kind, double a, int64_t n)
{
    switch (kind) {
    case MEAN: return a / (double)n;
    case L2: return sqrt(a);
    case LOG_SUM: return log(a);
    default: return a;
    }
}

enum { LANES = 16, COLUMNS = 64 };

/* Sums a contiguous run with 16 chains. */
CLQ_CLONES static double sum_run(const float *x, int64_t n)
{
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) lane[k] += (double)x[i + k];
    for (; i < n; i++) lane[i % LANES] += (double)x[i];
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int k = 0; k < width; k++) lane[k] += lane[k + width];
    return lane[0];
}

/* Adds n rows of at most COLUMNS columns into acc. */
CLQ_CLONES static void sum_rows(double *restrict acc, const float *restrict x, int64_t rows, int64_t stride,
                                int64_t columns)
{
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) {
        const float *p = x + r * stride, *q = p + stride, *s = q + stride, *t = s + stride;
        for (int64_t c = 0; c < columns; c++)
            acc[c] = (((acc[c] + (double)p[c]) + (double)q[c]) + (double)s[c]) + (double)t[c];
    }
    for (; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) acc[c] += (double)x[r * stride + c];
}

static double reduce_one(const struct job *j, const float *x)
{
    const struct view *v = &j->v;
    if (v->n_reduced == 0) return start_of(j->kind);
    if (v->rank > 0 && v->reduced[v->rank - 1]) {
        int64_t run = v->dim[v->rank - 1], n = v->n_reduced / run;
        double a = start_of(j->kind);
        for (int64_t i = 0; i < n; i++) {
            const float *p = x + offset_of(v, i * run, true);
            if (j->kind == SUM || j->kind == MEAN)
                a += sum_run(p, run);
            else
                for (int64_t k = 0; k < run; k++) a = step(j->kind, a, (double)p[k]);
        }
        return a;
    }
    double a = start_of(j->kind);
    for (int64_t i = 0; i < v->n_reduced; i++) a = step(j->kind, a, (double)x[offset_of(v, i, true)]);
    return a;
}

static float log_sum_exp(const struct job *j, const float *x)
{
    const struct view *v = &j->v;
    double top = -INFINITY, a = 0.0;
    for (int64_t i = 0; i < v->n_reduced; i++) top = step(MAX, top, (double)x[offset_of(v, i, true)]);
    if (isinf(top)) return (float)top;
    for (int64_t i = 0; i < v->n_reduced; i++) a += exp((double)x[offset_of(v, i, true)] - top);
    return (float)(log(a) + top);
}

static void run_kept(void *state, size_t begin, size_t end, int thread)
{
    const struct job *j = state;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        const float *x = j->x + offset_of(&j->v, (int64_t)i, false);
        j->y[i] = j->kind == LOG_SUM_EXP ? log_sum_exp(j, x) : (float)finish(j->kind, reduce_one(j, x), j->v.n_reduced);
    }
}

/* [outer, reduced, columns]: the columns side by side, so that memory is read in order. */
static void run_columns(void *state, size_t begin, size_t end, int thread)
{
    const struct job *j = state;
    const struct view *v = &j->v;
    int64_t columns = v->dim[v->rank - 1], rows = v->dim[v->rank - 2];
    size_t blocks = ((size_t)columns + COLUMNS - 1) / COLUMNS;
    (void)thread;
    for (size_t u = begin; u < end; u++) {
        double acc[COLUMNS];
        int64_t c = (int64_t)(u % blocks) * COLUMNS, o = (int64_t)(u / blocks),
                n = columns - c < COLUMNS ? columns - c : COLUMNS;
        const float *x = j->x + o * rows * columns + c;
        for (int64_t k = 0; k < n; k++) acc[k] = start_of(j->kind);
        if (j->kind == SUM || j->kind == MEAN)
            sum_rows(acc, x, rows, columns, n);
        else
            for (int64_t r = 0; r < rows; r++)
                for (int64_t k = 0; k < n; k++) acc[k] = step(j->kind, acc[k], (double)x[r * columns + k]);
        for (int64_t k = 0; k < n; k++) j->y[o * columns + c + k] = (float)finish(j->kind, acc[k], v->n_reduced);
    }
}

static clq_status reduce_f32(struct clq_op_call *call, struct job *j)
{
    const struct view *v = &j->v;
    size_t work = (size_t)(v->n_kept * v->n_reduced);
    bool columns =
        v->rank >= 2 && v->rank <= 3 && !v->reduced[v->rank - 1] && j->kind != LOG_SUM_EXP && v->n_reduced > 0;
    if (columns) {
        size_t outer = (size_t)(v->n_kept / v->dim[v->rank - 1]),
               blocks = ((size_t)v->dim[v->rank - 1] + COLUMNS - 1) / COLUMNS;
        clq_parallel_for(clq_op_threads(call, work), outer * blocks, run_columns, j);
    } else {
        clq_parallel_for(clq_op_threads(call, work), (size_t)v->n_kept, run_kept, j);
    }
    return CLQ_OK;
}

static int64_t int_step(enum kind kind, int64_t a, int64_t x)
{
    switch (kind) {
    case MAX: return x > a ? x : a;
    case MIN: return x < a ? x : a;
    case PROD: return (int64_t)((uint64_t)a * (uint64_t)x);
    case L1: return (int64_t)((uint64_t)a + (x < 0 ? 0 - (uint64_t)x : (uint64_t)x));
    case L2:
    case SUM_SQUARE: return (int64_t)((uint64_t)a + (uint64_t)x * (uint64_t)x);
    default: return (int64_t)((uint64_t)a + (uint64_t)x);
    }
}

static void store_int(const clq_tensor *y, int64_t i, int64_t v)
{
    switch (clq_op_size(y->dtype)) {
    case 1: ((uint8_t *)y->data)[i] = (uint8_t)v; break;
    case 2: ((uint16_t *)y->data)[i] = (uint16_t)v; break;
    case 4: ((uint32_t *)y->data)[i] = (uint32_t)v; break;
    default: ((uint64_t *)y->data)[i] = (uint64_t)v; break;
    }
}

static int64_t type_limit(clq_dtype t, bool high)
{
    unsigned bits = clq_dtype_bits(t);
    bool is_signed = t == CLQ_DTYPE_S8 || t == CLQ_DTYPE_S16 || t == CLQ_DTYPE_S32 || t == CLQ_DTYPE_S64;
    if (t == CLQ_DTYPE_BOOL) return high;
    if (!is_signed) return !high ? 0 : bits >= 64 ? INT64_MAX : (int64_t)((1ull << bits) - 1);
    int64_t top = (int64_t)((1ull << (bits - 1)) - 1);
    return high ? top : -top - 1;
}

static clq_status reduce_slow(struct clq_op_call *call, const struct view *v, enum kind kind)
{
    const clq_tensor *x = &call->in[0], *y = &call->out[0];
    for (int64_t i = 0; i < v->n_kept; i++) {
        int64_t base = offset_of(v, i, false);
        if (x->dtype == CLQ_DTYPE_F64) {
            double a = start_of(kind);
            if (kind == LOG_SUM_EXP) {
                double top = -INFINITY;
                for (int64_t r = 0; r < v->n_reduced; r++)
                    top = step(MAX, top, ((const double *)x->data)[base + offset_of(v, r, true)]);
                for (int64_t r = 0; r < v->n_reduced; r++)
                    a += exp(((const double *)x->data)[base + offset_of(v, r, true)] - top);
                ((double *)y->data)[i] = isinf(top) ? top : log(a) + top;
                continue;
            }
            for (int64_t r = 0; r < v->n_reduced; r++)
                a = step(kind, a, ((const double *)x->data)[base + offset_of(v, r, true)]);
            ((double *)y->data)[i] = finish(kind, a, v->n_reduced);
            continue;
        }
        int64_t a = kind == MAX ? type_limit(x->dtype, false) : kind == MIN ? type_limit(x->dtype, true) : kind == PROD;
        for (int64_t r = 0; r < v->n_reduced; r++)
            a = int_step(kind, a, clq_op_int_at(x, base + offset_of(v, r, true)));
        if (kind == MEAN) a = v->n_reduced ? a / v->n_reduced : 0;
        if (kind == L2) a = (int64_t)sqrt((double)a);
        if (kind == LOG_SUM || kind == LOG_SUM_EXP) return clq_op_bad_type(call, 0);
        store_int(y, i, a);
    }
    return CLQ_OK;
}

static clq_status eval_reduce(struct clq_op_call *call, enum kind kind, int input_since)
{
    const clq_tensor *x = &call->in[0];
    unsigned mask;
    struct job j = {.kind = kind, .x = x->data, .y = call->out[0].data};
    CLQ_TRY(read_reduce(call, &mask, input_since));
    if (mask == 0 && kind != L1 && kind != L2 && kind != SUM_SQUARE && kind != LOG_SUM) {
        memcpy(call->out[0].data, x->data, (size_t)clq_op_count(x) * clq_op_size(x->dtype));
        return CLQ_OK;
    }
    make_view(&j.v, x, mask);
    return x->dtype == CLQ_DTYPE_F32 ? reduce_f32(call, &j) : reduce_slow(call, &j.v, kind);
}

clq_op_fn clq_infer_reduce_13, clq_infer_reduce_18;

static clq_status check_number(struct clq_op_call *call)
{
    clq_dtype t = call->in[0].dtype;
    return t == CLQ_DTYPE_F32 || t == CLQ_DTYPE_F64 || t == CLQ_DTYPE_BOOL || clq_op_is_int(t)
               ? CLQ_OK
               : clq_op_bad_type(call, 0);
}

/* ReduceSum took its axes as an input from opset 13 on, the others from 18. */
clq_status clq_infer_reduce_13(struct clq_op_call *call)
{
    CLQ_TRY(check_number(call));
    return infer_reduce(call, 13);
}

clq_status clq_infer_reduce_18(struct clq_op_call *call)
{
    CLQ_TRY(check_number(call));
    return infer_reduce(call, 18);
}

#define REDUCE(name, kind, since) \
    clq_op_fn clq_eval_reduce_##name; \
    clq_status clq_eval_reduce_##name(struct clq_op_call *call) \
    { \
        return eval_reduce(call, kind, since); \
    }
REDUCE(sum, SUM, 13)
REDUCE(mean, MEAN, 18)
REDUCE(max, MAX, 18)
REDUCE(min, MIN, 18)
REDUCE(prod, PROD, 18)
REDUCE(l1, L1, 18)
REDUCE(l2, L2, 18)
REDUCE(sum_square, SUM_SQUARE, 18)
REDUCE(log_sum, LOG_SUM, 18)
REDUCE(log_sum_exp, LOG_SUM_EXP, 18)

/* ---- ArgMax, ArgMin ---- */

clq_op_fn clq_infer_arg, clq_eval_arg_max, clq_eval_arg_min, clq_infer_cumulative, clq_eval_cum_sum, clq_eval_cum_prod;

clq_status clq_infer_arg(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    int axis, rank = 0;
    int64_t shape[CLQ_MAX_RANK];
    bool keep = clq_node_int(call->node, "keepdims", 1) != 0;
    CLQ_TRY(check_number(call));
    CLQ_TRY(clq_op_axis(call, &axis, clq_node_int(call->node, "axis", 0), x->rank));
    if (x->shape[axis] == 0) return clq_op_fail(call, CLQ_ERR_FORMAT, "axis %d is empty", axis);
    for (int k = 0; k < x->rank; k++) {
        if (k != axis)
            shape[rank++] = x->shape[k];
        else if (keep)
            shape[rank++] = 1;
    }
    return clq_op_set_out(call, 0, CLQ_DTYPE_S64, rank, shape);
}

static bool beats(const clq_tensor *x, int64_t a, int64_t b, bool max, bool ties)
{
    if (x->dtype == CLQ_DTYPE_F32 || x->dtype == CLQ_DTYPE_F64) {
        bool wide = x->dtype == CLQ_DTYPE_F64;
        double u = wide ? ((const double *)x->data)[a] : (double)((const float *)x->data)[a];
        double v = wide ? ((const double *)x->data)[b] : (double)((const float *)x->data)[b];
        return (max ? u > v : u < v) || (ties && u == v);
    }
    int64_t u = clq_op_int_at(x, a), v = clq_op_int_at(x, b);
    return (max ? u > v : u < v) || (ties && u == v);
}

static clq_status eval_arg(struct clq_op_call *call, bool max)
{
    const clq_tensor *x = &call->in[0];
    int axis;
    bool last = call->opset >= 12 && clq_node_int(call->node, "select_last_index", 0) != 0;
    CLQ_TRY(clq_op_axis(call, &axis, clq_node_int(call->node, "axis", 0), x->rank));
    int64_t outer = clq_op_span(x, 0, axis), dim = x->shape[axis], inner = clq_op_span(x, axis + 1, x->rank);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++) {
            int64_t base = o * dim * inner + i, best = 0;
            for (int64_t k = 1; k < dim; k++)
                if (beats(x, base + k * inner, base + best * inner, max, last)) best = k;
            ((int64_t *)call->out[0].data)[o * inner + i] = best;
        }
    return CLQ_OK;
}

clq_status clq_eval_arg_max(struct clq_op_call *call)
{
    return eval_arg(call, true);
}

clq_status clq_eval_arg_min(struct clq_op_call *call)
{
    return eval_arg(call, false);
}

/* ---- CumSum, CumProd ---- */

clq_status clq_infer_cumulative(struct clq_op_call *call)
{
    clq_dtype t = call->in[0].dtype;
    if (t != CLQ_DTYPE_F32 && t != CLQ_DTYPE_F64 && t != CLQ_DTYPE_S32 && t != CLQ_DTYPE_S64)
        return clq_op_bad_type(call, 0);
    if (clq_op_count(&call->in[1]) != 1 || (call->in[1].dtype != CLQ_DTYPE_S32 && call->in[1].dtype != CLQ_DTYPE_S64))
        return clq_op_fail(call, CLQ_ERR_FORMAT, "the axis is not one integer");
    return clq_op_same(call);
}

#define CUMULATE(T, W) \
    { \
        const T *x = (const T *)call->in[0].data + base; \
        T *y = (T *)call->out[0].data + base; \
        W a = product ? 1 : 0; \
        for (int64_t k = 0; k < dim; k++) { \
            int64_t at = (reverse ? dim - 1 - k : k) * inner; \
            W next = product ? a * (W)x[at] : a + (W)x[at]; \
            y[at] = (T)(exclusive ? a : next); \
            a = next; \
        } \
    }

static clq_status eval_cumulative(struct clq_op_call *call, bool product)
{
    const clq_tensor *t = &call->in[0];
    int axis;
    bool exclusive = clq_node_int(call->node, "exclusive", 0) != 0,
         reverse = clq_node_int(call->node, "reverse", 0) != 0;
    CLQ_TRY(clq_op_axis(call, &axis, clq_op_int_at(&call->in[1], 0), t->rank));
    int64_t outer = clq_op_span(t, 0, axis), dim = t->shape[axis], inner = clq_op_span(t, axis + 1, t->rank);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++) {
            int64_t base = o * dim * inner + i;
            if (t->dtype == CLQ_DTYPE_F32)
                CUMULATE(float, float)
            else if (t->dtype == CLQ_DTYPE_F64)
                CUMULATE(double, double)
            else if (t->dtype == CLQ_DTYPE_S32)
                CUMULATE(int32_t, uint32_t)
            else
                CUMULATE(int64_t, uint64_t)
        }
    return CLQ_OK;
}

clq_status clq_eval_cum_sum(struct clq_op_call *call)
{
    return eval_cumulative(call, false);
}

clq_status clq_eval_cum_prod(struct clq_op_call *call)
{
    return eval_cumulative(call, true);
}
