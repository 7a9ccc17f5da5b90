/* SPDX-License-Identifier: Apache-2.0
 * Softmax, LogSoftmax and Hardmax. Before opset 13 the input is flattened to two axes at `axis`. */
#include <math.h>

#include "base/parallel.h"
#include "ops/util.h"
#include "ops/vecmath.h"

enum kind { SOFT, LOG_SOFT, HARD };

struct job {
    const float *x;
    float *y;
    int64_t n, inner;
    enum kind kind;
};

CLQ_CLONES static float largest(const float *x, int64_t n)
{
    float lane[16];
    int64_t i = 0;
    for (int k = 0; k < 16; k++) lane[k] = x[0];
    for (; i + 16 <= n; i += 16)
        for (int k = 0; k < 16; k++) lane[k] = x[i + k] > lane[k] ? x[i + k] : lane[k];
    for (; i < n; i++) lane[0] = x[i] > lane[0] ? x[i] : lane[0];
    for (int k = 1; k < 16; k++) lane[0] = lane[k] > lane[0] ? lane[k] : lane[0];
    return lane[0];
}

CLQ_CLONES static void exponents(float *y, const float *x, int64_t n, float top)
{
    CLQ_IVDEP
    for (int64_t i = 0; i < n; i++) y[i] = clq_vec_exp(x[i] - top);
}

CLQ_CLONES static void scaled(float *y, int64_t n, float by)
{
    CLQ_IVDEP
    for (int64_t i = 0; i < n; i++) y[i] = y[i] * by;
}

CLQ_CLONES static void lowered(float *y, const float *x, int64_t n, float by)
{
    CLQ_IVDEP
    for (int64_t i = 0; i < n; i++) y[i] = x[i] - by;
}

CLQ_CLONES static double total(const float *y, int64_t n)
{
    double lane[16] = {0};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int k = 0; k < 16; k++) lane[k] += (double)y[i + k];
    for (; i < n; i++) lane[i % 16] += (double)y[i];
    for (int width = 8; width > 0; width /= 2)
        for (int k = 0; k < width; k++) lane[k] += lane[k + width];
    return lane[0];
}

static void row(const struct job *j, float *y, const float *x)
{
    float top = largest(x, j->n);
    exponents(y, x, j->n, top);
    double sum = total(y, j->n);
    if (j->kind == SOFT)
        scaled(y, j->n, (float)(1.0 / sum));
    else
        lowered(y, x, j->n, (float)((double)top + log(sum)));
}

/* One column of [n, inner]. */
static void column(const struct job *j, float *y, const float *x)
{
    int64_t best = 0, s = j->inner;
    for (int64_t k = 1; k < j->n; k++)
        if (x[k * s] > x[best * s]) best = k;
    if (j->kind == HARD) {
        for (int64_t k = 0; k < j->n; k++) y[k * s] = k == best ? 1.0f : 0.0f;
        return;
    }
    float top = x[best * s];
    double sum = 0.0;
    for (int64_t k = 0; k < j->n; k++) {
        float e = clq_vec_exp(x[k * s] - top);
        sum += (double)e;
        if (j->kind == SOFT) y[k * s] = e;
    }
    float by = j->kind == SOFT ? (float)(1.0 / sum) : (float)((double)top + log(sum));
    for (int64_t k = 0; k < j->n; k++) y[k * s] = j->kind == SOFT ? y[k * s] * by : x[k * s] - by;
}

static void run(void *state, size_t begin, size_t end, int thread)
{
    const struct job *j = state;
    (void)thread;
    for (size_t u = begin; u < end; u++) {
        int64_t at = (int64_t)u / j->inner * j->n * j->inner + (int64_t)u % j->inner;
        if (j->inner == 1 && j->kind != HARD)
            row(j, j->y + at, j->x + at);
        else
            column(j, j->y + at, j->x + at);
    }
}

static clq_status read_axis(struct clq_op_call *call, int *axis)
{
    int rank = call->in[0].rank;
    int64_t a = clq_node_int(call->node, "axis", call->opset >= 13 ? -1 : 1);
    if (call->opset < 13 && a == rank) { /* everything before the axis is the batch, each row one element */
        *axis = rank;
        return CLQ_OK;
    }
    if (rank == 0 && (a == 0 || a == -1)) {
        *axis = 0;
        return CLQ_OK;
    }
    return clq_op_axis(call, axis, a, rank);
}

static clq_status eval(struct clq_op_call *call, enum kind kind)
{
    const clq_tensor *x = &call->in[0];
    int axis;
    CLQ_TRY(read_axis(call, &axis));
    struct job j = {.x = x->data, .y = call->out[0].data, .kind = kind, .inner = 1};
    if (call->opset < 13 || x->rank == 0) {
        j.n = clq_op_span(x, axis, x->rank);
    } else {
        j.n = x->shape[axis];
        j.inner = clq_op_span(x, axis + 1, x->rank);
    }
    size_t n = (size_t)clq_op_count(x);
    clq_parallel_for(clq_op_threads(call, n * 4), n / (size_t)j.n, run, &j);
    return CLQ_OK;
}

clq_op_fn clq_infer_softmax, clq_eval_softmax, clq_eval_log_softmax, clq_eval_hardmax;

clq_status clq_infer_softmax(struct clq_op_call *call)
{
    int axis;
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_F32));
    CLQ_TRY(read_axis(call, &axis));
    return clq_op_same(call);
}

clq_status clq_eval_softmax(struct clq_op_call *call)
{
    return eval(call, SOFT);
}

clq_status clq_eval_log_softmax(struct clq_op_call *call)
{
    return eval(call, LOG_SOFT);
}

clq_status clq_eval_hardmax(struct clq_op_call *call)
{
    return eval(call, HARD);
}
