/* SPDX-License-Identifier: Apache-2.0
 * MaxPool, AveragePool, LpPool and the global pools, over 1 to 3 spatial axes. */
#include <math.h>
#include <stdlib.h>

#include "base/parallel.h"
#include "ops/util.h"
#include "ops/window.h"

enum kind { POOL_MAX, POOL_AVERAGE, POOL_LP };

struct job {
    struct clq_window w;
    enum kind kind;
    bool include_pad, column_major;
    int64_t in_plane, out_plane;
    double p;
    clq_dtype dtype;
    const void *x;
    void *y;
    int64_t *index;
};

/* The taps of one output that lie inside the image. */
struct taps {
    int64_t lo[3], hi[3], at[3];
    double count; /* the divisor of an average */
};

static void find_taps(const struct job *j, int64_t o, struct taps *t)
{
    const struct clq_window *w = &j->w;
    int64_t c[3] = {o / (w->out[1] * w->out[2]), o / w->out[2] % w->out[1], o % w->out[2]};
    t->count = 1.0;
    for (int d = 0; d < 3; d++) {
        int64_t lo, hi;
        t->at[d] = c[d] * w->stride[d] - w->pad_begin[d];
        clq_window_range(&t->lo[d], &t->hi[d], w->kernel[d], w->dilation[d], t->at[d], w->in[d]);
        clq_window_range(&lo, &hi, w->kernel[d], w->dilation[d], t->at[d] + w->pad_begin[d],
                         w->in[d] + w->pad_begin[d] + w->pad_end[d]);
        t->count *= (double)(j->include_pad ? hi - lo : t->hi[d] - t->lo[d]);
    }
}

static int64_t tap_offset(const struct job *j, const struct taps *t, int64_t a, int64_t b, int64_t c)
{
    const struct clq_window *w = &j->w;
    return ((t->at[0] + a * w->dilation[0]) * w->in[1] + t->at[1] + b * w->dilation[1]) * w->in[2] + t->at[2] +
           c * w->dilation[2];
}

#define EACH_TAP \
    for (int64_t a = t->lo[0]; a < t->hi[0]; a++) \
        for (int64_t b = t->lo[1]; b < t->hi[1]; b++) \
            for (int64_t c = t->lo[2]; c < t->hi[2]; c++)

#define MAX_TAPS(T, LOWEST) \
    { \
        T best = LOWEST; \
        EACH_TAP \
        { \
            int64_t k = tap_offset(j, t, a, b, c); \
            T v = ((const T *)j->x)[plane + k]; \
            if (at < 0 || v > best || (v != v && best == best)) { \
                best = v; \
                at = k; \
            } \
        } \
        ((T *)j->y)[o] = best; \
    }

/* The image's position in row-major order, or in column-major order. */
static int64_t index_of(const struct job *j, int64_t at)
{
    const struct clq_window *w = &j->w;
    if (!j->column_major || at < 0) return at;
    int64_t c[3] = {at / (w->in[1] * w->in[2]), at / w->in[2] % w->in[1], at % w->in[2]};
    const int64_t *in = w->in;
    return (c[2] * in[1] + c[1]) * in[0] + c[0];
}

static void max_one(const struct job *j, const struct taps *t, int64_t plane, int64_t o)
{
    int64_t at = -1;
    if (j->dtype == CLQ_DTYPE_F32)
        MAX_TAPS(float, -INFINITY)
    else if (j->dtype == CLQ_DTYPE_F64)
        MAX_TAPS(double, -INFINITY)
    else if (j->dtype == CLQ_DTYPE_U8)
        MAX_TAPS(uint8_t, 0)
    else
        MAX_TAPS(int8_t, INT8_MIN)
    if (j->index) j->index[o] = plane + index_of(j, at < 0 ? 0 : at);
}

static void sum_one(const struct job *j, const struct taps *t, int64_t plane, int64_t o)
{
    double sum = 0.0;
    const float *x = (const float *)j->x + plane;
    if (j->kind == POOL_AVERAGE) {
        EACH_TAP sum += (double)x[tap_offset(j, t, a, b, c)];
        ((float *)j->y)[o] = t->count > 0.0 ? (float)(sum / t->count) : 0.0f;
    } else {
        EACH_TAP sum += pow(fabs((double)x[tap_offset(j, t, a, b, c)]), j->p);
        ((float *)j->y)[o] = (float)pow(sum, 1.0 / j->p);
    }
}

static void run_planes(void *state, size_t begin, size_t end, int thread)
{
    const struct job *j = state;
    (void)thread;
    for (size_t u = begin; u < end; u++)
        for (int64_t i = 0; i < j->out_plane; i++) {
            struct taps t;
            find_taps(j, i, &t);
            if (j->kind == POOL_MAX)
                max_one(j, &t, (int64_t)u * j->in_plane, (int64_t)u * j->out_plane + i);
            else
                sum_one(j, &t, (int64_t)u * j->in_plane, (int64_t)u * j->out_plane + i);
        }
}

static clq_status eval_pool(struct clq_op_call *call, struct job *j)
{
    const clq_tensor *x = &call->in[0];
    j->dtype = x->dtype;
    j->x = x->data;
    j->y = call->out[0].data;
    j->in_plane = clq_op_span(x, 2, x->rank);
    j->out_plane = clq_op_span(&call->out[0], 2, x->rank);
    j->index = call->n_out > 1 ? call->out[1].data : NULL;
    if (!j->y) return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "indices without values");
    clq_parallel_for(clq_op_threads(call, (size_t)clq_op_count(&call->out[0]) * 9), (size_t)(x->shape[0] * x->shape[1]),
                     run_planes, j);
    return CLQ_OK;
}

static clq_status infer_pool(struct clq_op_call *call)
{
    struct clq_window w;
    int64_t shape[CLQ_MAX_RANK];
    const clq_tensor *x = &call->in[0];
    CLQ_TRY(clq_window_read(&w, call->node, x, NULL, false, call->err));
    shape[0] = x->shape[0];
    shape[1] = x->shape[1];
    for (int i = 0; i < w.nd; i++) shape[i + 2] = w.out[i];
    CLQ_TRY(clq_op_set_out(call, 0, x->dtype, x->rank, shape));
    return clq_op_set_out(call, 1, CLQ_DTYPE_S64, x->rank, shape);
}

clq_op_fn clq_infer_max_pool, clq_eval_max_pool, clq_infer_average_pool, clq_eval_average_pool, clq_eval_lp_pool,
    clq_infer_global_pool, clq_eval_global_average_pool, clq_eval_global_max_pool, clq_eval_global_lp_pool;

clq_status clq_infer_max_pool(struct clq_op_call *call)
{
    clq_dtype t = call->in[0].dtype;
    if (t != CLQ_DTYPE_F32 && t != CLQ_DTYPE_F64 && t != CLQ_DTYPE_U8 && t != CLQ_DTYPE_S8)
        return clq_op_bad_type(call, 0);
    return infer_pool(call);
}

clq_status clq_infer_average_pool(struct clq_op_call *call)
{
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_F32));
    return infer_pool(call);
}

static clq_status read_and_eval(struct clq_op_call *call, struct job *j)
{
    CLQ_TRY(clq_window_read(&j->w, call->node, &call->in[0], NULL, false, call->err));
    j->column_major = clq_node_int(call->node, "storage_order", 0) != 0;
    return eval_pool(call, j);
}

clq_status clq_eval_max_pool(struct clq_op_call *call)
{
    struct job j = {.kind = POOL_MAX};
    return read_and_eval(call, &j);
}

clq_status clq_eval_average_pool(struct clq_op_call *call)
{
    struct job j = {.kind = POOL_AVERAGE, .include_pad = clq_node_int(call->node, "count_include_pad", 0) != 0};
    return read_and_eval(call, &j);
}

clq_status clq_eval_lp_pool(struct clq_op_call *call)
{
    struct job j = {.kind = POOL_LP, .p = (double)clq_node_int(call->node, "p", 2)};
    if (j.p < 1.0) return clq_op_fail(call, CLQ_ERR_FORMAT, "p below 1");
    return read_and_eval(call, &j);
}

/* ---- global pools: any number of spatial axes ---- */

clq_status clq_infer_global_pool(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    int64_t shape[CLQ_MAX_RANK];
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_F32));
    if (x->rank < 2) return clq_op_fail(call, CLQ_ERR_FORMAT, "input of rank %d", x->rank);
    for (int k = 0; k < x->rank; k++) shape[k] = k < 2 ? x->shape[k] : 1;
    return clq_op_set_out(call, 0, x->dtype, x->rank, shape);
}

CLQ_CLONES static double sum_plane(const float *x, int64_t n)
{
    double lane[16] = {0};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int k = 0; k < 16; k++) lane[k] += (double)x[i + k];
    for (; i < n; i++) lane[i % 16] += (double)x[i];
    for (int width = 8; width > 0; width /= 2)
        for (int k = 0; k < width; k++) lane[k] += lane[k + width];
    return lane[0];
}

static void run_global(void *state, size_t begin, size_t end, int thread)
{
    const struct job *j = state;
    int64_t n = j->in_plane;
    (void)thread;
    for (size_t u = begin; u < end; u++) {
        const float *x = (const float *)j->x + (int64_t)u * n;
        double sum = 0.0;
        float top = -INFINITY;
        if (j->kind == POOL_AVERAGE)
            sum = sum_plane(x, n) / (double)n;
        else if (j->kind == POOL_LP)
            for (int64_t i = 0; i < n; i++) sum += pow(fabs((double)x[i]), j->p);
        else
            for (int64_t i = 0; i < n; i++) top = x[i] > top || x[i] != x[i] ? x[i] : top;
        ((float *)j->y)[u] = j->kind == POOL_MAX ? top : j->kind == POOL_LP ? (float)pow(sum, 1.0 / j->p) : (float)sum;
    }
}

static clq_status eval_global(struct clq_op_call *call, enum kind kind)
{
    const clq_tensor *x = &call->in[0];
    struct job j = {.kind = kind, .x = x->data, .y = call->out[0].data, .in_plane = clq_op_span(x, 2, x->rank)};
    j.p = (double)clq_node_int(call->node, "p", 2);
    if (j.p < 1.0) return clq_op_fail(call, CLQ_ERR_FORMAT, "p below 1");
    clq_parallel_for(clq_op_threads(call, (size_t)clq_op_count(x)), (size_t)(x->shape[0] * x->shape[1]), run_global,
                     &j);
    return CLQ_OK;
}

clq_status clq_eval_global_average_pool(struct clq_op_call *call)
{
    return eval_global(call, POOL_AVERAGE);
}

clq_status clq_eval_global_max_pool(struct clq_op_call *call)
{
    return eval_global(call, POOL_MAX);
}

clq_status clq_eval_global_lp_pool(struct clq_op_call *call)
{
    return eval_global(call, POOL_LP);
}
