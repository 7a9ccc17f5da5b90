/* SPDX-License-Identifier: Apache-2.0
 * Conv, ConvTranspose and the exact integer convolutions, direct and in a fixed order: the oracle of the fast paths. */
#include "ops/conv.h"

#include <stdlib.h>

#include "base/parallel.h"
#include "ops/window.h"

struct job {
    struct clq_window w;
    int64_t batch, ci, co; /* channels of input and output */
    int64_t in_plane, out_plane, taps;
    bool transposed;
    const void *x, *weight, *bias;
    void *y;
    clq_conv_int_row *int_done;
    void *int_state;
};

CLQ_CLONES static void row_f32(float *y, const float *x, float w, int64_t n, int64_t ys, int64_t xs)
{
    if (ys == 1 && xs == 1) {
        CLQ_IVDEP
        for (int64_t i = 0; i < n; i++) y[i] = y[i] + w * x[i];
    } else {
        for (int64_t i = 0; i < n; i++) y[i * ys] = y[i * ys] + w * x[i * xs];
    }
}

CLQ_CLONES static void row_s64(int64_t *y, const int32_t *x, int32_t w, int64_t n, int64_t ys, int64_t xs)
{
    CLQ_IVDEP
    for (int64_t i = 0; i < n; i++) y[i * ys] = y[i * ys] + (int64_t)w * x[i * xs];
}

/* Adds one input plane times one kernel plane to one output plane. Iterates over the outputs, or over the inputs when
 * transposed; the other side's position is i * stride - pad + tap * dilation. */
#define PLANE(suffix, TY, TX) \
    static void plane_##suffix(const struct job *j, TY *y, const TX *x, const TX *weight) \
    { \
        const struct clq_window *w = &j->w; \
        const int64_t *own = j->transposed ? w->in : w->out, *far = j->transposed ? w->out : w->in; \
        for (int64_t t = 0; t < j->taps; t++) { \
            int64_t tap[3] = {t / (w->kernel[1] * w->kernel[2]), t / w->kernel[2] % w->kernel[1], t % w->kernel[2]}; \
            int64_t lo[3], hi[3], off[3]; \
            for (int d = 0; d < 3; d++) { \
                off[d] = tap[d] * w->dilation[d] - w->pad_begin[d]; \
                clq_window_range(&lo[d], &hi[d], own[d], w->stride[d], off[d], far[d]); \
            } \
            for (int64_t a = lo[0]; a < hi[0]; a++) \
                for (int64_t b = lo[1]; b < hi[1]; b++) { \
                    int64_t near_at = (a * own[1] + b) * own[2] + lo[2]; \
                    int64_t far_at = ((a * w->stride[0] + off[0]) * far[1] + b * w->stride[1] + off[1]) * far[2] + \
                                     lo[2] * w->stride[2] + off[2]; \
                    if (j->transposed) \
                        row_##suffix(y + far_at, x + near_at, weight[t], hi[2] - lo[2], w->stride[2], 1); \
                    else \
                        row_##suffix(y + near_at, x + far_at, weight[t], hi[2] - lo[2], 1, w->stride[2]); \
                } \
        } \
    }
PLANE(f32, float, float)
PLANE(s64, int64_t, int32_t)

/* Unit: one output plane. */
#define CHANNELS(suffix, TY, TX) \
    static void channels_##suffix(const struct job *j, TY *y, int64_t n, int64_t o) \
    { \
        int64_t per = j->co / j->w.groups, from = j->ci / j->w.groups, g = o / per; \
        for (int64_t c = 0; c < from; c++) { \
            const TX *x = (const TX *)j->x + (n * j->ci + g * from + c) * j->in_plane; \
            const TX *weight = \
                (const TX *)j->weight + (j->transposed ? (g * from + c) * per + o % per : o * from + c) * j->taps; \
            plane_##suffix(j, y, x, weight); \
        } \
    }
CHANNELS(f32, float, float)
CHANNELS(s64, int64_t, int32_t)

static void run_f32(void *state, size_t begin, size_t end, int thread)
{
    const struct job *j = state;
    (void)thread;
    for (size_t u = begin; u < end; u++) {
        float *y = (float *)j->y + (int64_t)u * j->out_plane;
        float bias = j->bias ? ((const float *)j->bias)[(int64_t)u % j->co] : 0.0f;
        for (int64_t i = 0; i < j->out_plane; i++) y[i] = bias;
        channels_f32(j, y, (int64_t)u / j->co, (int64_t)u % j->co);
    }
}

static clq_status plan(struct clq_op_call *call, struct job *j, const clq_tensor *x, const clq_tensor *w,
                       bool transposed, int64_t *shape)
{
    *j = (struct job){.transposed = transposed, .in_plane = 1, .out_plane = 1, .taps = 1};
    CLQ_TRY(clq_window_read(&j->w, call->node, x, w, transposed, call->err));
    j->batch = x->shape[0];
    j->ci = x->shape[1];
    if (transposed && w->shape[1] > CLQ_OP_MAX_ELEMENTS / j->w.groups)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "too many channels");
    j->co = transposed ? w->shape[1] * j->w.groups : w->shape[0];
    shape[0] = j->batch;
    shape[1] = j->co;
    for (int i = 0; i < j->w.nd; i++) shape[i + 2] = j->w.out[i];
    return CLQ_OK;
}

/* Moves the entries of a window with fewer axes to the end, so that rows are long. */
static void right_align(struct clq_window *w)
{
    int64_t *lists[] = {w->in, w->out, w->kernel, w->stride, w->dilation, w->pad_begin, w->pad_end};
    for (int i = 0; i < 7; i++) {
        int64_t rest = i < 5 ? 1 : 0, v[3] = {rest, rest, rest};
        for (int d = 0; d < w->nd; d++) v[3 - w->nd + d] = lists[i][d];
        memcpy(lists[i], v, sizeof v);
    }
}

static void finish_plan(struct job *j)
{
    right_align(&j->w);
    for (int i = 0; i < 3; i++) {
        j->in_plane *= j->w.in[i];
        j->out_plane *= j->w.out[i];
        j->taps *= j->w.kernel[i];
    }
}

static clq_status infer_conv(struct clq_op_call *call, bool transposed)
{
    struct job j;
    int64_t shape[CLQ_MAX_RANK];
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_F32));
    CLQ_TRY(clq_op_need_same_type(call, 1));
    CLQ_TRY(plan(call, &j, &call->in[0], &call->in[1], transposed, shape));
    if (clq_op_has(call, 2)) {
        CLQ_TRY(clq_op_need_same_type(call, 2));
        CLQ_TRY(clq_op_need_rank(call, 2, 1));
        if (call->in[2].shape[0] != j.co)
            return clq_op_fail(call, CLQ_ERR_FORMAT, "%lld bias values for %lld channels",
                               (long long)call->in[2].shape[0], (long long)j.co);
    }
    return clq_op_set_out(call, 0, CLQ_DTYPE_F32, call->in[0].rank, shape);
}

static clq_status eval_conv(struct clq_op_call *call, bool transposed)
{
    struct job j;
    int64_t shape[CLQ_MAX_RANK];
    CLQ_TRY(plan(call, &j, &call->in[0], &call->in[1], transposed, shape));
    finish_plan(&j);
    j.x = call->in[0].data;
    j.weight = call->in[1].data;
    j.bias = clq_op_has(call, 2) ? call->in[2].data : NULL;
    j.y = call->out[0].data;
    clq_parallel_for(clq_op_threads(call, (size_t)(j.batch * j.co * j.out_plane) * 8), (size_t)(j.batch * j.co),
                     run_f32, &j);
    return CLQ_OK;
}

clq_op_fn clq_infer_conv, clq_eval_conv, clq_infer_conv_transpose, clq_eval_conv_transpose;

clq_status clq_infer_conv(struct clq_op_call *call)
{
    return infer_conv(call, false);
}

clq_status clq_eval_conv(struct clq_op_call *call)
{
    return eval_conv(call, false);
}

clq_status clq_infer_conv_transpose(struct clq_op_call *call)
{
    return infer_conv(call, true);
}

clq_status clq_eval_conv_transpose(struct clq_op_call *call)
{
    return eval_conv(call, true);
}

/* ---- exact integer sums, shared with quantized convolution ---- */

clq_status clq_conv_int_shape(struct clq_op_call *call, const clq_tensor *x, const clq_tensor *w, int64_t *shape)
{
    struct job j;
    return plan(call, &j, x, w, false, shape);
}

static void run_int(void *state, size_t begin, size_t end, int thread)
{
    const struct job *j = state;
    (void)thread;
    for (size_t u = begin; u < end; u++) {
        int64_t *sum = (int64_t *)j->y + (int64_t)u * j->out_plane;
        channels_s64(j, sum, (int64_t)u / j->co, (int64_t)u % j->co);
        j->int_done(j->int_state, sum, (int64_t)u * j->out_plane, j->out_plane, (int64_t)u % j->co);
    }
}

clq_status clq_conv_int_run(struct clq_op_call *call, const clq_tensor *x, const int32_t *xv, const clq_tensor *w,
                            const int32_t *wv, clq_conv_int_row *done, void *state)
{
    struct job j;
    int64_t shape[CLQ_MAX_RANK];
    CLQ_TRY(plan(call, &j, x, w, false, shape));
    finish_plan(&j);
    size_t n = (size_t)(j.batch * j.co * j.out_plane);
    int64_t *sums = calloc(n + 1, sizeof *sums);
    if (!sums) return clq_op_no_memory(call);
    j.x = xv;
    j.weight = wv;
    j.y = sums;
    j.int_done = done;
    j.int_state = state;
    clq_parallel_for(clq_op_threads(call, n * 8), (size_t)(j.batch * j.co), run_int, &j);
    free(sums);
    return CLQ_OK;
}
