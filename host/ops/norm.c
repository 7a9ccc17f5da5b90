/* SPDX-License-Identifier: Apache-2.0
 * Normalizations. Means and variances are taken in binary64, in the order of the data. */
#include <math.h>
#include <stdlib.h>

#include "base/parallel.h"
#include "ops/util.h"

clq_op_fn clq_infer_batch_norm, clq_eval_batch_norm, clq_infer_instance_norm, clq_eval_instance_norm,
    clq_infer_layer_norm, clq_eval_layer_norm, clq_infer_group_norm, clq_eval_group_norm, clq_infer_rms_norm,
    clq_eval_rms_norm, clq_eval_lp_norm, clq_infer_lp_norm, clq_eval_lrn, clq_eval_mvn;

/* Input i must be float32 [n]. */
static clq_status need_vector(struct clq_op_call *call, int i, int64_t n)
{
    CLQ_TRY(clq_op_need_type(call, i, CLQ_DTYPE_F32));
    CLQ_TRY(clq_op_need_rank(call, i, 1));
    if (call->in[i].shape[0] != n)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "input %d has %lld elements, expected %lld", i,
                           (long long)call->in[i].shape[0], (long long)n);
    return CLQ_OK;
}

/* y = x * a + b, one pair per block of `inner`. */
CLQ_CLONES static void scale_shift(float *y, const float *x, int64_t n, float a, float b)
{
    CLQ_IVDEP
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * a + b;
}

clq_status clq_infer_batch_norm(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_F32));
    if (x->rank < 1) return clq_op_fail(call, CLQ_ERR_FORMAT, "a scalar input");
    for (int i = 1; i < 5; i++) CLQ_TRY(need_vector(call, i, x->rank > 1 ? x->shape[1] : 1));
    if (clq_node_int(call->node, "training_mode", 0) != 0 || call->n_out > 1)
        return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "training mode");
    if (call->opset < 9 && clq_node_int(call->node, "spatial", 1) == 0)
        return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "spatial = 0");
    return clq_op_same(call);
}

clq_status clq_eval_batch_norm(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    const float *scale = call->in[1].data, *bias = call->in[2].data, *mean = call->in[3].data, *var = call->in[4].data;
    double epsilon = (double)clq_node_float(call->node, "epsilon", 1e-5f);
    int64_t channels = x->rank > 1 ? x->shape[1] : 1, inner = clq_op_span(x, x->rank > 1 ? 2 : 1, x->rank);
    for (int64_t o = 0; o < x->shape[0] * channels; o++) {
        int64_t c = o % channels;
        double a = (double)scale[c] / sqrt((double)var[c] + epsilon);
        scale_shift((float *)call->out[0].data + o * inner, (const float *)x->data + o * inner, inner, (float)a,
                    (float)((double)bias[c] - (double)mean[c] * a));
    }
    return CLQ_OK;
}

CLQ_CLONES static void moments(const float *x, int64_t n, double *mean, double *var)
{
    double lane[16] = {0}, square[16] = {0}, m;
    int64_t i = 0, whole = n - n % 16;
    for (i = 0; i < whole; i += 16)
        for (int k = 0; k < 16; k++) lane[k] += (double)x[i + k];
    for (; i < n; i++) lane[i % 16] += (double)x[i];
    for (int width = 8; width > 0; width /= 2)
        for (int k = 0; k < width; k++) lane[k] += lane[k + width];
    m = lane[0] / (double)n;
    for (i = 0; i < whole; i += 16)
        for (int k = 0; k < 16; k++) square[k] += ((double)x[i + k] - m) * ((double)x[i + k] - m);
    for (; i < n; i++) square[i % 16] += ((double)x[i] - m) * ((double)x[i] - m);
    for (int width = 8; width > 0; width /= 2)
        for (int k = 0; k < width; k++) square[k] += square[k + width];
    *mean = m;
    *var = square[0] / (double)n;
}

/* y = (x - mean) * inv, times scale, plus shift; scale and shift may be NULL. */
CLQ_CLONES static void normalize(float *y, const float *x, int64_t n, float mean, float inv, const float *scale,
                                 const float *shift)
{
    if (scale && shift) {
        CLQ_IVDEP
        for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean) * inv * scale[i] + shift[i];
    } else if (scale) {
        CLQ_IVDEP
        for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean) * inv * scale[i];
    } else {
        CLQ_IVDEP
        for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean) * inv;
    }
}

clq_status clq_infer_instance_norm(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_F32));
    if (x->rank < 2) return clq_op_fail(call, CLQ_ERR_FORMAT, "input of rank %d", x->rank);
    CLQ_TRY(need_vector(call, 1, x->shape[1]));
    CLQ_TRY(need_vector(call, 2, x->shape[1]));
    return clq_op_same(call);
}

clq_status clq_eval_instance_norm(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    int64_t inner = clq_op_span(x, 2, x->rank), channels = x->shape[1];
    double epsilon = (double)clq_node_float(call->node, "epsilon", 1e-5f), mean, var;
    for (int64_t o = 0; o < x->shape[0] * channels; o++) {
        const float *p = (const float *)x->data + o * inner;
        moments(p, inner, &mean, &var);
        double a = (double)((const float *)call->in[1].data)[o % channels] / sqrt(var + epsilon);
        scale_shift((float *)call->out[0].data + o * inner, p, inner, (float)a,
                    (float)((double)((const float *)call->in[2].data)[o % channels] - mean * a));
    }
    return CLQ_OK;
}

/* ---- LayerNormalization, RMSNormalization ---- */

/* Scale and shift must broadcast to the normalized axes x[axis..]. */
static clq_status need_tail(struct clq_op_call *call, int i, int axis)
{
    const clq_tensor *x = &call->in[0], *t = &call->in[i];
    CLQ_TRY(clq_op_need_type(call, i, CLQ_DTYPE_F32));
    bool fits = t->rank <= x->rank;
    for (int k = 0; fits && k < t->rank; k++) {
        int a = x->rank - t->rank + k;
        fits = t->shape[k] == 1 || (a >= axis && t->shape[k] == x->shape[a]);
    }
    return fits ? CLQ_OK
                : clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "input %d does not broadcast to the normalized axes", i);
}

static clq_status infer_tail_norm(struct clq_op_call *call, int *axis)
{
    const clq_tensor *x = &call->in[0];
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_F32));
    CLQ_TRY(clq_op_axis(call, axis, clq_node_int(call->node, "axis", -1), x->rank));
    CLQ_TRY(need_tail(call, 1, *axis));
    if (clq_op_has(call, 2)) CLQ_TRY(need_tail(call, 2, *axis));
    return clq_op_same(call);
}

clq_status clq_infer_layer_norm(struct clq_op_call *call)
{
    int axis;
    int64_t shape[CLQ_MAX_RANK];
    CLQ_TRY(infer_tail_norm(call, &axis));
    for (int k = 0; k < call->in[0].rank; k++) shape[k] = k < axis ? call->in[0].shape[k] : 1;
    CLQ_TRY(clq_op_set_out(call, 1, CLQ_DTYPE_F32, call->in[0].rank, shape));
    return clq_op_set_out(call, 2, CLQ_DTYPE_F32, call->in[0].rank, shape);
}

clq_status clq_infer_rms_norm(struct clq_op_call *call)
{
    int axis;
    return infer_tail_norm(call, &axis);
}

/* A copy of input i spread over the n normalized elements, or the input itself; NULL when it is absent. */
static const float *spread(struct clq_op_call *call, int i, int axis, int64_t n, float **owned)
{
    const clq_tensor *x = &call->in[0];
    *owned = NULL;
    if (!clq_op_has(call, i)) return NULL;
    const clq_tensor *t = &call->in[i];
    if (clq_op_count(t) == n) return t->data;
    struct clq_bcast b;
    clq_tensor tail = {.dtype = CLQ_DTYPE_F32, .rank = x->rank - axis}, flat = *t;
    memcpy(tail.shape, x->shape + axis, (size_t)tail.rank * sizeof *tail.shape);
    if (flat.rank > tail.rank) { /* leading axes of one element */
        memmove(flat.shape, flat.shape + flat.rank - tail.rank, (size_t)tail.rank * sizeof *flat.shape);
        flat.rank = tail.rank;
    }
    *owned = malloc((size_t)n * sizeof **owned);
    if (!*owned) return NULL;
    clq_op_bcast_make(&b, 1, (const clq_tensor *const[]){&flat}, &tail);
    for (int64_t k = 0; k < n; k++) {
        int64_t rest = k, at = 0;
        for (int d = b.rank - 1; d >= 0; d--) {
            at += rest % b.dim[d] * b.stride[0][d];
            rest /= b.dim[d];
        }
        (*owned)[k] = ((const float *)flat.data)[at];
    }
    return *owned;
}

struct rows {
    const float *x, *scale, *shift;
    float *y, *mean, *inv;
    int64_t n;
    double epsilon;
    bool rms;
};

static void run_rows(void *state, size_t begin, size_t end, int thread)
{
    const struct rows *r = state;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        const float *x = r->x + (int64_t)i * r->n;
        double mean = 0.0, var = 0.0;
        if (r->rms) {
            for (int64_t k = 0; k < r->n; k++) var += (double)x[k] * (double)x[k];
            var /= (double)r->n;
        } else {
            moments(x, r->n, &mean, &var);
        }
        float inv = (float)(1.0 / sqrt(var + r->epsilon));
        if (r->y) normalize(r->y + (int64_t)i * r->n, x, r->n, (float)mean, inv, r->scale, r->shift);
        if (r->mean) r->mean[i] = (float)mean;
        if (r->inv) r->inv[i] = inv;
    }
}

static clq_status eval_tail_norm(struct clq_op_call *call, bool rms)
{
    const clq_tensor *x = &call->in[0];
    int axis;
    float *a, *b;
    CLQ_TRY(clq_op_axis(call, &axis, clq_node_int(call->node, "axis", -1), x->rank));
    int64_t n = clq_op_span(x, axis, x->rank), outer = clq_op_span(x, 0, axis);
    if (n == 0) return CLQ_OK;
    struct rows r = {.x = x->data,
                     .y = call->out[0].data,
                     .n = n,
                     .rms = rms,
                     .epsilon = (double)clq_node_float(call->node, "epsilon", 1e-5f)};
    r.mean = call->n_out > 1 ? call->out[1].data : NULL;
    r.inv = call->n_out > 2 ? call->out[2].data : NULL;
    r.scale = spread(call, 1, axis, n, &a);
    r.shift = spread(call, 2, axis, n, &b);
    bool lacks = !r.scale || (clq_op_has(call, 2) && !r.shift);
    if (!lacks) clq_parallel_for(clq_op_threads(call, (size_t)(n * outer)), (size_t)outer, run_rows, &r);
    free(a);
    free(b);
    return lacks ? clq_op_no_memory(call) : CLQ_OK;
}

clq_status clq_eval_layer_norm(struct clq_op_call *call)
{
    return eval_tail_norm(call, false);
}

clq_status clq_eval_rms_norm(struct clq_op_call *call)
{
    return eval_tail_norm(call, true);
}

/* ---- GroupNormalization: scale and bias per group in opset 18, per channel from 21 on ---- */

clq_status clq_infer_group_norm(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    int64_t groups = clq_node_int(call->node, "num_groups", 0);
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_F32));
    if (x->rank < 3 || groups < 1 || x->shape[1] % groups != 0)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "%lld groups do not fit the input", (long long)groups);
    CLQ_TRY(need_vector(call, 1, call->opset < 21 ? groups : x->shape[1]));
    CLQ_TRY(need_vector(call, 2, call->opset < 21 ? groups : x->shape[1]));
    return clq_op_same(call);
}

clq_status clq_eval_group_norm(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    int64_t groups = clq_node_int(call->node, "num_groups", 1), per = x->shape[1] / groups,
            inner = clq_op_span(x, 2, x->rank);
    double epsilon = (double)clq_node_float(call->node, "epsilon", 1e-5f), mean, var;
    for (int64_t o = 0; o < x->shape[0] * groups; o++) {
        moments((const float *)x->data + o * per * inner, per * inner, &mean, &var);
        for (int64_t c = 0; c < per; c++) {
            int64_t at = (o * per + c) * inner, which = call->opset < 21 ? o % groups : o % groups * per + c;
            double a = (double)((const float *)call->in[1].data)[which] / sqrt(var + epsilon);
            scale_shift((float *)call->out[0].data + at, (const float *)x->data + at, inner, (float)a,
                        (float)((double)((const float *)call->in[2].data)[which] - mean * a));
        }
    }
    return CLQ_OK;
}

/* ---- LpNormalization, LRN, MeanVarianceNormalization ---- */

clq_status clq_infer_lp_norm(struct clq_op_call *call)
{
    int axis;
    int64_t p = clq_node_int(call->node, "p", 2);
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_F32));
    CLQ_TRY(clq_op_axis(call, &axis, clq_node_int(call->node, "axis", -1), call->in[0].rank));
    if (p != 1 && p != 2) return clq_op_fail(call, CLQ_ERR_FORMAT, "p is %lld, expected 1 or 2", (long long)p);
    return clq_op_same(call);
}

clq_status clq_eval_lp_norm(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    int axis;
    bool two = clq_node_int(call->node, "p", 2) == 2;
    CLQ_TRY(clq_op_axis(call, &axis, clq_node_int(call->node, "axis", -1), x->rank));
    int64_t outer = clq_op_span(x, 0, axis), dim = x->shape[axis], inner = clq_op_span(x, axis + 1, x->rank);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++) {
            const float *p = (const float *)x->data + o * dim * inner + i;
            float *y = (float *)call->out[0].data + o * dim * inner + i;
            double sum = 0.0;
            for (int64_t k = 0; k < dim; k++)
                sum += two ? (double)p[k * inner] * (double)p[k * inner] : fabs((double)p[k * inner]);
            double norm = two ? sqrt(sum) : sum;
            for (int64_t k = 0; k < dim; k++) y[k * inner] = norm == 0.0 ? 0.0f : (float)((double)p[k * inner] / norm);
        }
    return CLQ_OK;
}

clq_status clq_eval_lrn(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    int64_t size = clq_node_int(call->node, "size", 1);
    if (x->rank < 2 || size < 1 || size > CLQ_OP_MAX_ELEMENTS)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "size %lld for rank %d", (long long)size, x->rank);
    double alpha = (double)clq_node_float(call->node, "alpha", 1e-4f),
           beta = (double)clq_node_float(call->node, "beta", 0.75f);
    double bias = (double)clq_node_float(call->node, "bias", 1.0f);
    int64_t channels = x->shape[1], inner = clq_op_span(x, 2, x->rank);
    for (int64_t o = 0; o < x->shape[0] * channels; o++)
        for (int64_t i = 0; i < inner; i++) {
            int64_t c = o % channels, lo = c - (size - 1) / 2, hi = c + size / 2;
            lo = lo < 0 ? 0 : lo;
            hi = hi > channels - 1 ? channels - 1 : hi;
            double sum = 0.0;
            for (int64_t k = lo; k <= hi; k++) {
                double v = (double)((const float *)x->data)[(o - c + k) * inner + i];
                sum += v * v;
            }
            ((float *)call->out[0].data)[o * inner + i] =
                (float)((double)((const float *)x->data)[o * inner + i] / pow(bias + alpha / (double)size * sum, beta));
        }
    return CLQ_OK;
}

/* Per channel over batch and image, which is the default of its axes; others are refused. */
clq_status clq_eval_mvn(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    struct clq_op_ints axes;
    unsigned mask, usual = ((1u << x->rank) - 1) & ~2u;
    CLQ_TRY(clq_op_read_axes(call, &axes, &mask, -1, "axes", x->rank));
    if (x->rank < 2 || (axes.n >= 0 && mask != usual))
        return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "axes other than all but the channel");
    int64_t channels = x->shape[1], inner = clq_op_span(x, 2, x->rank), batch = x->shape[0];
    for (int64_t c = 0; c < channels; c++) {
        double sum = 0.0, square = 0.0, n = (double)(batch * inner);
        for (int64_t i = 0; i < batch * inner; i++)
            sum += (double)((const float *)x->data)[(i / inner * channels + c) * inner + i % inner];
        double mean = sum / n;
        for (int64_t i = 0; i < batch * inner; i++) {
            double d = (double)((const float *)x->data)[(i / inner * channels + c) * inner + i % inner] - mean;
            square += d * d;
        }
        double deviation = sqrt(square / n) + 1e-9;
        for (int64_t i = 0; i < batch * inner; i++) {
            int64_t at = (i / inner * channels + c) * inner + i % inner;
            ((float *)call->out[0].data)[at] = (float)(((double)((const float *)x->data)[at] - mean) / deviation);
        }
    }
    return CLQ_OK;
}
