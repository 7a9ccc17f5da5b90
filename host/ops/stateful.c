/* SPDX-License-Identifier: Apache-2.0
 * Operators that carry a state from one call to the next: LinearAttention, CausalConvWithState, TensorScatter. */
#include <math.h>
#include <stdlib.h>

#include "ops/util.h"

clq_op_fn clq_infer_linear_attention, clq_eval_linear_attention, clq_infer_causal_conv, clq_eval_causal_conv, clq_infer_tensor_scatter,
    clq_eval_tensor_scatter;

/* ---- LinearAttention: a [dk][dv] state per head, updated by every token ---- */
struct heads {
    int64_t batch, tokens, q, kv, dk, dv;
    bool decays, delta, per_key; /* per_key: a decay of its own for each row of the state */
    int64_t beta;                /* update rates per token: 0, 1 or kv */
    float scale;
};

static clq_status packed(struct clq_op_call *call, int i, const struct heads *h, int64_t last, const char *what)
{
    const clq_tensor *t = &call->in[i];
    CLQ_TRY(clq_op_need_same_type(call, i));
    CLQ_TRY(clq_op_need_rank(call, i, 3));
    if (t->shape[0] == h->batch && t->shape[1] == h->tokens && t->shape[2] == last) return CLQ_OK;
    return clq_op_fail(call, CLQ_ERR_FORMAT, "%s has shape [%lld, %lld, %lld], expected [%lld, %lld, %lld]", what, (long long)t->shape[0],
                       (long long)t->shape[1], (long long)t->shape[2], (long long)h->batch, (long long)h->tokens, (long long)last);
}

static clq_status read_heads(struct clq_op_call *call, struct heads *h)
{
    const char *rule = clq_node_string(call->node, "update_rule", "gated_delta");
    *h = (struct heads){.q = clq_node_int(call->node, "q_num_heads", 0), .kv = clq_node_int(call->node, "kv_num_heads", 0),
                        .scale = clq_node_float(call->node, "scale", 0)};
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_F32));
    for (int i = 0; i < 3; i++) CLQ_TRY(clq_op_need_rank(call, i, 3));
    const clq_tensor *q = &call->in[0], *v = &call->in[2];
    h->batch = q->shape[0];
    h->tokens = q->shape[1];
    if (h->kv < 1 || h->q < h->kv || h->q > CLQ_OP_MAX_ELEMENTS || h->q % h->kv || q->shape[2] % h->q || v->shape[2] % h->kv)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "%lld query heads and %lld key heads do not fit the inputs", (long long)h->q, (long long)h->kv);
    h->dk = q->shape[2] / h->q;
    h->dv = v->shape[2] / h->kv;
    h->decays = strcmp(rule, "gated") == 0 || strcmp(rule, "gated_delta") == 0;
    h->delta = strcmp(rule, "delta") == 0 || strcmp(rule, "gated_delta") == 0;
    if (!h->decays && !h->delta && strcmp(rule, "linear") != 0) return clq_op_fail(call, CLQ_ERR_FORMAT, "update_rule '%s'", rule);
    if (h->scale == 0.0f && h->dk > 0) h->scale = 1.0f / sqrtf((float)h->dk);
    CLQ_TRY(packed(call, 1, h, h->kv * h->dk, "the key"));
    CLQ_TRY(packed(call, 2, h, h->kv * h->dv, "the value"));
    if (clq_op_has(call, 3)) {
        const clq_tensor *s = &call->in[3];
        CLQ_TRY(clq_op_need_same_type(call, 3));
        CLQ_TRY(clq_op_need_rank(call, 3, 4));
        if (s->shape[0] != h->batch || s->shape[1] != h->kv || s->shape[2] != h->dk || s->shape[3] != h->dv)
            return clq_op_fail(call, CLQ_ERR_FORMAT, "the past state does not have shape [batch, heads, %lld, %lld]", (long long)h->dk, (long long)h->dv);
    }
    if (h->decays) {
        h->per_key = clq_op_has(call, 4) && call->in[4].rank == 3 && call->in[4].shape[2] == h->kv * h->dk && h->dk > 1;
        CLQ_TRY(packed(call, 4, h, h->per_key ? h->kv * h->dk : h->kv, "the decay"));
    }
    if (h->delta) {
        h->beta = clq_op_has(call, 5) && call->in[5].rank == 3 && call->in[5].shape[2] == 1 ? 1 : h->kv;
        CLQ_TRY(packed(call, 5, h, h->beta, "the update rate"));
    }
    return CLQ_OK;
}

clq_status clq_infer_linear_attention(struct clq_op_call *call)
{
    struct heads h;
    CLQ_TRY(read_heads(call, &h));
    CLQ_TRY(clq_op_set_out(call, 0, CLQ_DTYPE_F32, 3, (const int64_t[]){h.batch, h.tokens, h.q * h.dv}));
    return clq_op_set_out(call, 1, CLQ_DTYPE_F32, 4, (const int64_t[]){h.batch, h.kv, h.dk, h.dv});
}

/* One token of one key head: the state s[dk][dv] in binary64. */
static void update(const struct clq_op_call *call, const struct heads *h, double *s, double *change, int64_t b, int64_t t, int64_t head)
{
    int64_t at = b * h->tokens + t;
    const float *k = (const float *)call->in[1].data + (at * h->kv + head) * h->dk, *v = (const float *)call->in[2].data + (at * h->kv + head) * h->dv;
    double beta = h->delta ? (double)((const float *)call->in[5].data)[at * h->beta + (h->beta > 1 ? head : 0)] : 1.0;
    for (int64_t i = 0; h->decays && i < h->dk; i++) {
        const float *g = call->in[4].data;
        double factor = exp((double)(h->per_key ? g[(at * h->kv + head) * h->dk + i] : g[at * h->kv + head]));
        for (int64_t j = 0; j < h->dv; j++) s[i * h->dv + j] *= factor;
    }
    for (int64_t j = 0; j < h->dv; j++) change[j] = (double)v[j];
    for (int64_t i = 0; h->delta && i < h->dk; i++)
        for (int64_t j = 0; j < h->dv; j++) change[j] -= s[i * h->dv + j] * (double)k[i];
    for (int64_t i = 0; i < h->dk; i++)
        for (int64_t j = 0; j < h->dv; j++) s[i * h->dv + j] += beta * (double)k[i] * change[j];
}

static void read_out(const struct clq_op_call *call, const struct heads *h, const double *s, int64_t b, int64_t t, int64_t head)
{
    int64_t at = b * h->tokens + t, share = h->q / h->kv;
    if (!call->out[0].data) return;
    for (int64_t r = 0; r < share; r++) {
        int64_t qh = head * share + r;
        const float *q = (const float *)call->in[0].data + (at * h->q + qh) * h->dk;
        float *o = (float *)call->out[0].data + (at * h->q + qh) * h->dv;
        for (int64_t j = 0; j < h->dv; j++) {
            double sum = 0;
            for (int64_t i = 0; i < h->dk; i++) sum += (double)q[i] * s[i * h->dv + j];
            o[j] = (float)((double)h->scale * sum);
        }
    }
}

clq_status clq_eval_linear_attention(struct clq_op_call *call)
{
    struct heads h;
    CLQ_TRY(read_heads(call, &h));
    size_t n = (size_t)(h.dk * h.dv);
    double *s = calloc(n + (size_t)h.dv + 1, sizeof *s);
    if (!s) return clq_op_no_memory(call);
    for (int64_t u = 0; u < h.batch * h.kv; u++) {
        const float *past = clq_op_has(call, 3) ? (const float *)call->in[3].data + (size_t)u * n : NULL;
        for (size_t i = 0; i < n; i++) s[i] = past ? (double)past[i] : 0.0;
        for (int64_t t = 0; t < h.tokens; t++) {
            update(call, &h, s, s + n, u / h.kv, t, u % h.kv);
            read_out(call, &h, s, u / h.kv, t, u % h.kv);
        }
        float *present = call->n_out > 1 ? call->out[1].data : NULL;
        for (size_t i = 0; present && i < n; i++) present[(size_t)u * n + i] = (float)s[i];
    }
    free(s);
    return CLQ_OK;
}

/* ---- CausalConvWithState ---- */
clq_status clq_infer_causal_conv(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0], *w = &call->in[1];
    const char *activation = clq_node_string(call->node, "activation", "none");
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_F32));
    CLQ_TRY(clq_op_need_rank(call, 0, 3));
    CLQ_TRY(clq_op_need_same_type(call, 1));
    CLQ_TRY(clq_op_need_rank(call, 1, 3));
    if (w->shape[0] != x->shape[1] || w->shape[1] != 1 || w->shape[2] < 1)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "the weight does not have shape [%lld, 1, k]", (long long)x->shape[1]);
    if (strcmp(activation, "none") != 0 && strcmp(activation, "silu") != 0 && strcmp(activation, "swish") != 0)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "activation '%s'", activation);
    int64_t state[3] = {x->shape[0], x->shape[1], w->shape[2] - 1};
    if (clq_op_has(call, 2)) {
        CLQ_TRY(clq_op_need_same_type(call, 2));
        if (clq_op_count(&call->in[2]) != x->shape[1]) return clq_op_fail(call, CLQ_ERR_FORMAT, "%lld bias values", (long long)clq_op_count(&call->in[2]));
    }
    if (clq_op_has(call, 3)) {
        CLQ_TRY(clq_op_need_same_type(call, 3));
        CLQ_TRY(clq_op_need_rank(call, 3, 3));
        if (memcmp(call->in[3].shape, state, sizeof state) != 0) return clq_op_fail(call, CLQ_ERR_FORMAT, "the past state does not have the shape of the present one");
    }
    CLQ_TRY(clq_op_same(call));
    return clq_op_set_out(call, 1, CLQ_DTYPE_F32, 3, state);
}

/* Position at of a channel's past and input laid end to end. */
static float history(const float *past, const float *x, int64_t held, int64_t at)
{
    return at >= held ? x[at - held] : past ? past[at] : 0.0f;
}

clq_status clq_eval_causal_conv(struct clq_op_call *call)
{
    const clq_tensor *xt = &call->in[0];
    int64_t channels = xt->shape[1], length = xt->shape[2], k = call->in[1].shape[2], held = k - 1;
    bool silu = strcmp(clq_node_string(call->node, "activation", "none"), "none") != 0;
    for (int64_t row = 0; row < xt->shape[0] * channels; row++) {
        int64_t c = row % channels;
        const float *x = (const float *)xt->data + row * length, *w = (const float *)call->in[1].data + c * k;
        const float *past = clq_op_has(call, 3) && held ? (const float *)call->in[3].data + row * held : NULL;
        double bias = clq_op_has(call, 2) ? (double)((const float *)call->in[2].data)[c] : 0.0;
        for (int64_t t = 0; call->out[0].data && t < length; t++) {
            double sum = bias;
            for (int64_t i = 0; i < k; i++) sum += (double)w[i] * (double)history(past, x, held, t + i);
            if (silu) sum = sum / (1.0 + exp(-sum));
            ((float *)call->out[0].data)[row * length + t] = (float)sum;
        }
        for (int64_t i = 0; call->n_out > 1 && call->out[1].data && i < held; i++)
            ((float *)call->out[1].data)[row * held + i] = history(past, x, held, length + i);
    }
    return CLQ_OK;
}

/* ---- TensorScatter ---- */
clq_status clq_infer_tensor_scatter(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0], *u = &call->in[1];
    int axis;
    CLQ_TRY(clq_op_need_same_type(call, 1));
    if (clq_op_size(x->dtype) == 0) return clq_op_bad_type(call, 0);
    CLQ_TRY(clq_op_axis(call, &axis, clq_node_int(call->node, "axis", -2), x->rank));
    bool fits = axis > 0 && u->rank == x->rank;
    for (int d = 0; fits && d < x->rank; d++) fits = d == axis ? u->shape[d] <= x->shape[d] : u->shape[d] == x->shape[d];
    if (!fits) return clq_op_fail(call, CLQ_ERR_FORMAT, "the update does not fit the cache along axis %d", axis);
    if (clq_op_has(call, 2) && ((call->in[2].dtype != CLQ_DTYPE_S64 && call->in[2].dtype != CLQ_DTYPE_S32) || clq_op_count(&call->in[2]) != x->shape[0]))
        return clq_op_fail(call, CLQ_ERR_FORMAT, "write_indices is not one integer per batch");
    return clq_op_same(call);
}

clq_status clq_eval_tensor_scatter(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0], *u = &call->in[1];
    bool circular = strcmp(clq_node_string(call->node, "mode", "linear"), "circular") == 0;
    int axis;
    CLQ_TRY(clq_op_axis(call, &axis, clq_node_int(call->node, "axis", -2), x->rank));
    int64_t outer = clq_op_span(x, 0, axis), most = x->shape[axis], n = u->shape[axis];
    size_t inner = (size_t)clq_op_span(x, axis + 1, x->rank) * clq_op_size(x->dtype);
    memcpy(call->out[0].data, x->data, (size_t)outer * (size_t)most * inner);
    for (int64_t o = 0; o < outer; o++) {
        int64_t start = clq_op_has(call, 2) ? clq_op_int_at(&call->in[2], o / (outer / x->shape[0])) : 0;
        if (start < 0 || start > CLQ_OP_MAX_ELEMENTS || (!circular && start + n > most))
            return clq_op_fail(call, CLQ_ERR_FORMAT, "write index %lld is out of range for %lld of %lld positions", (long long)start, (long long)n, (long long)most);
        for (int64_t i = 0; i < n; i++) {
            int64_t at = circular ? (start + i) % most : start + i;
            memcpy((char *)call->out[0].data + (size_t)(o * most + at) * inner, (const char *)u->data + (size_t)(o * n + i) * inner, inner);
        }
    }
    return CLQ_OK;
}
