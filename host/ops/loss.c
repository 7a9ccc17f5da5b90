/* SPDX-License-Identifier: Apache-2.0
 * NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss: [N, C, d...] against targets [N, d...]. */
#include <math.h>
#include <stdlib.h>

#include "ops/util.h"

static clq_status read_loss(struct clq_op_call *call, char *reduction)
{
    const clq_tensor *x = &call->in[0], *t = &call->in[1];
    const char *text = clq_node_string(call->node, "reduction", "mean");
    *reduction = text[0];
    if (strcmp(text, "mean") && strcmp(text, "sum") && strcmp(text, "none"))
        return clq_op_fail(call, CLQ_ERR_FORMAT, "reduction '%s'", text);
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_F32));
    if (t->dtype != CLQ_DTYPE_S32 && t->dtype != CLQ_DTYPE_S64) return clq_op_bad_type(call, 1);
    bool fits = x->rank >= 2 && t->rank == x->rank - 1 && t->shape[0] == x->shape[0];
    for (int k = 2; fits && k < x->rank; k++) fits = x->shape[k] == t->shape[k - 1];
    if (!fits) return clq_op_fail(call, CLQ_ERR_FORMAT, "the target does not fit the scores");
    if (!clq_op_has(call, 2)) return CLQ_OK;
    CLQ_TRY(clq_op_need_type(call, 2, CLQ_DTYPE_F32));
    CLQ_TRY(clq_op_need_rank(call, 2, 1));
    if (call->in[2].shape[0] != x->shape[1]) return clq_op_fail(call, CLQ_ERR_FORMAT, "one weight per class is needed");
    return CLQ_OK;
}

clq_op_fn clq_infer_nll_loss, clq_eval_nll_loss, clq_eval_softmax_loss;

clq_status clq_infer_nll_loss(struct clq_op_call *call)
{
    char reduction;
    CLQ_TRY(read_loss(call, &reduction));
    CLQ_TRY(clq_op_set_out(call, 0, CLQ_DTYPE_F32, reduction == 'n' ? call->in[1].rank : 0, call->in[1].shape));
    return clq_op_set_out(call, 1, CLQ_DTYPE_F32, call->in[0].rank, call->in[0].shape);
}

/* The loss of log probabilities p. */
static clq_status reduce_loss(struct clq_op_call *call, const float *p)
{
    const clq_tensor *x = &call->in[0], *t = &call->in[1];
    char reduction;
    CLQ_TRY(read_loss(call, &reduction));
    bool ignores = clq_node_attr(call->node, "ignore_index") != NULL;
    int64_t ignored = clq_node_int(call->node, "ignore_index", 0), classes = x->shape[1],
            inner = clq_op_span(x, 2, x->rank);
    const float *weight = clq_op_has(call, 2) ? call->in[2].data : NULL;
    float *y = call->out[0].data;
    double sum = 0.0, total = 0.0;
    for (int64_t i = 0, n = clq_op_count(t); i < n; i++) {
        int64_t c = clq_op_int_at(t, i);
        float loss = 0.0f;
        if (!ignores || c != ignored) {
            if (c < 0 || c >= classes)
                return clq_op_fail(call, CLQ_ERR_INVALID_ARGUMENT, "class %lld of %lld", (long long)c,
                                   (long long)classes);
            float w = weight ? weight[c] : 1.0f;
            loss = -p[(i / inner * classes + c) * inner + i % inner] * w;
            total += (double)w;
        }
        if (reduction == 'n' && y) y[i] = loss;
        sum += (double)loss;
    }
    if (reduction != 'n' && y) *y = (float)(reduction == 'm' ? sum / total : sum);
    return CLQ_OK;
}

clq_status clq_eval_nll_loss(struct clq_op_call *call)
{
    return reduce_loss(call, call->in[0].data);
}

clq_status clq_eval_softmax_loss(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    int64_t classes = x->shape[1], inner = clq_op_span(x, 2, x->rank), n = clq_op_count(x);
    bool wanted = call->n_out > 1 && call->out[1].data;
    float *p = wanted ? call->out[1].data : calloc((size_t)n + 1, sizeof *p);
    if (!p) return clq_op_no_memory(call);
    for (int64_t u = 0; classes > 0 && u < n / classes; u++) {
        int64_t base = u / inner * classes * inner + u % inner;
        const float *s = (const float *)x->data + base;
        double top = -INFINITY, sum = 0.0;
        for (int64_t c = 0; c < classes; c++) top = (double)s[c * inner] > top ? (double)s[c * inner] : top;
        for (int64_t c = 0; c < classes; c++) sum += exp((double)s[c * inner] - top);
        for (int64_t c = 0; c < classes; c++) p[base + c * inner] = (float)((double)s[c * inner] - top - log(sum));
    }
    clq_status st = reduce_loss(call, p);
    if (!wanted) free(p);
    return st;
}
