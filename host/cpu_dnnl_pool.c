/* SPDX-License-Identifier: Apache-2.0
 * Pooling over NHWC, and softmax. */
#include <math.h>

#include "cpu_dnnl_step.h"

/* Finishes a step of one input and one output of given layouts. */
static clq_status unary(struct clq_dnnl_step *step, struct clq_dnnl *dnnl, const_dnnl_op_desc_t op,
                        const dnnl_memory_desc_t *x, const dnnl_memory_desc_t *y, double nanoseconds, struct clq_error *err)
{
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    struct clq_dnnl_epilogue e = {.alpha = 1};
    CLQ_TRY(clq_dnnl_attr(&attr, &e, err));
    step->threads = clq_dnnl_threads(dnnl, nanoseconds);
    int saved = clq_dnnl_enter(step->threads);
    clq_status st = clq_dnnl_choose(&pd, dnnl, op, attr, NULL, CLQ_DNNL_TAKE_ALL, err);
    if (st == CLQ_OK) st = clq_dnnl_exec_create(step, &step->main, dnnl, pd, err);
    clq_dnnl_leave(saved);
    if (st == CLQ_OK) st = clq_dnnl_bind(&step->main, dnnl, DNNL_ARG_SRC, x, CLQ_DNNL_A, err);
    if (st == CLQ_OK) st = clq_dnnl_bind(&step->main, dnnl, DNNL_ARG_DST, y, CLQ_DNNL_Y, err);
    if (pd) dnnl_primitive_desc_destroy(pd);
    dnnl_primitive_attr_destroy(attr);
    return st;
}

static clq_status deliver(struct clq_dnnl_step **out, struct clq_dnnl_step *step, clq_status st)
{
    if (st == CLQ_OK) *out = step;
    else clq_dnnl_step_free(step);
    return st;
}

/* One axis of a pooling window: the end padding that is read, or false when a window lies outside the input. */
static bool pool_axis(int64_t *end, int64_t in, int64_t out, int64_t k, int64_t stride, int64_t dilation,
                      int64_t begin)
{
    if (k < 1 || stride < 1 || dilation < 1 || begin < 0 || k > INT32_MAX || stride > INT32_MAX ||
        dilation > INT32_MAX / k)
        return false;
    int64_t extent = (k - 1) * dilation + 1, last = (out - 1) * stride - begin;
    *end = last + extent > in ? last + extent - in : 0;
    return begin < extent && last < in && *end < extent;
}

clq_status clq_dnnl_pool(struct clq_dnnl_step **out, struct clq_dnnl *dnnl, const struct clq_dnnl_pool *d,
                         struct clq_error *err)
{
    static const dnnl_alg_kind_t alg[] = {dnnl_pooling_max, dnnl_pooling_avg_exclude_padding,
                                          dnnl_pooling_avg_include_padding};
    struct clq_dnnl_step *step = NULL;
    dnnl_memory_desc_t x, y;
    dnnl_pooling_v2_desc_t op;
    int64_t end_h = 0, end_w = 0;
    CLQ_TRY(clq_dnnl_dims("pooling input", 4, (int64_t[]){d->batch, d->h, d->w, d->c}, err));
    CLQ_TRY(clq_dnnl_dims("pooling output", 4, (int64_t[]){d->batch, d->oh, d->ow, d->c}, err));
    if (!pool_axis(&end_h, d->h, d->oh, d->kh, d->stride_h, d->dilation_h, d->pad_top) ||
        !pool_axis(&end_w, d->w, d->ow, d->kw, d->stride_w, d->dilation_w, d->pad_left))
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "pooling: a window of %lldx%lld lies outside the input %lldx%lld",
                        (long long)d->kh, (long long)d->kw, (long long)d->h, (long long)d->w);
    /* oneDNN divides by the whole window, ONNX by the part inside the declared padding: they differ past that. */
    if (d->kind == CLQ_POOL_AVG_INCLUDE_PAD && (end_h > d->pad_bottom || end_w > d->pad_right))
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "pooling: an average that includes padding reads past it");
    CLQ_TRY(clq_dnnl_image(&x, d->batch, d->h, d->w, d->c, err));
    CLQ_TRY(clq_dnnl_image(&y, d->batch, d->oh, d->ow, d->c, err));
    CLQ_TRY(clq_dnnl_check(dnnl_pooling_v2_forward_desc_init(
                               &op, dnnl_forward_inference, alg[d->kind], &x, &y,
                               (dnnl_dims_t){d->stride_h, d->stride_w}, (dnnl_dims_t){d->kh, d->kw},
                               (dnnl_dims_t){d->dilation_h - 1, d->dilation_w - 1},
                               (dnnl_dims_t){d->pad_top, d->pad_left}, (dnnl_dims_t){end_h, end_w}), "pooling", err));
    double out_n = (double)d->batch * (double)(d->oh * d->ow) * (double)d->c;
    CLQ_TRY(clq_dnnl_step_new(&step, err));
    return deliver(out, step, unary(step, dnnl, &op, &x, &y, out_n * (double)(d->kh * d->kw) / CLQ_DNNL_ELEMENTS, err));
}

/* log y[i] = x[i] - max + log(y[argmax]). oneDNN's own log softmax is off by 3e-6 near zero; the softmax is good to a
 * few units in the last place, and so is the logarithm of its largest value. */
void clq_dnnl_log_after(const struct clq_dnnl_step *step, const float *x, float *y)
{
    size_t n = (size_t)step->log_n, inner = (size_t)step->log_inner, rows = (size_t)step->log_outer * inner;
    for (size_t r = 0; r < rows; r++) {
        size_t start = r / inner * n * inner + r % inner, at = start;
        for (size_t k = 1; k < n; k++)
            if (x[start + k * inner] > x[at]) at = start + k * inner;
        float max = x[at], log_sum = logf(y[at]);
        for (size_t k = 0; k < n; k++) y[start + k * inner] = x[start + k * inner] - max + log_sum;
    }
}

clq_status clq_dnnl_softmax(struct clq_dnnl_step **out, struct clq_dnnl *dnnl, int64_t outer, int64_t n,
                            int64_t inner, bool logarithm, struct clq_error *err)
{
    struct clq_dnnl_step *step = NULL;
    dnnl_memory_desc_t x;
    dnnl_softmax_v2_desc_t op;
    int64_t dims[3] = {outer, n, inner};
    CLQ_TRY(clq_dnnl_dims("softmax", 3, dims, err));
    CLQ_TRY(clq_dnnl_dense(&x, inner == 1 ? 2 : 3, dims, err));
    CLQ_TRY(clq_dnnl_check(dnnl_softmax_v2_forward_desc_init(&op, dnnl_forward_inference,
                                                             dnnl_softmax_accurate, &x, &x, 1), "softmax", err));
    CLQ_TRY(clq_dnnl_step_new(&step, err));
    step->log_outer = outer;
    step->log_n = logarithm ? n : 0;
    step->log_inner = inner;
    double elements = (double)outer * (double)n * (double)inner;
    return deliver(out, step, unary(step, dnnl, &op, &x, &x, elements * (inner == 1 ? 0.5 : 54), err));
}
