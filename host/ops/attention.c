/* SPDX-License-Identifier: Apache-2.0
 * Attention (grouped heads, masks, cache, softcap) and RotaryEmbedding, in float32 with sums in binary64. */
#include <math.h>
#include <stdlib.h>

#include "base/parallel.h"
#include "ops/util.h"

/* A tensor of heads, [B, H, S, D] or [B, S, H * D]. */
struct heads {
    const float *data;
    int64_t heads, rows, size; /* H, S, D */
    int64_t stride_b, stride_h, stride_s;
};

struct attention {
    struct heads q, k, v;
    int64_t batch, past, total; /* cached and all key rows */
    bool packed;                /* three axes */
    bool causal;
    float scale, softcap;
    int64_t qk_mode;
    const clq_tensor *mask, *lengths;
    const float *past_k, *past_v;
    int64_t mask_stride[4], mask_width;
    float *present_k, *present_v, *y, *qk;
    float *scratch; /* one row of scores per unit */
};

enum { QK_RAW, QK_CAPPED, QK_BIASED, QK_SOFTMAX };

static clq_status read_heads(struct clq_op_call *call, struct heads *h, int input, const char *attr)
{
    const clq_tensor *t = &call->in[input];
    CLQ_TRY(clq_op_need_type(call, input, CLQ_DTYPE_F32));
    CLQ_TRY(clq_op_need_rank(call, input, call->in[0].rank));
    h->data = t->data;
    if (t->rank == 4) {
        *h = (struct heads){t->data, t->shape[1], t->shape[2], t->shape[3], 0, 0, t->shape[3]};
        h->stride_h = h->rows * h->size;
        h->stride_b = h->heads * h->stride_h;
        return CLQ_OK;
    }
    CLQ_TRY(clq_op_need_rank(call, input, 3));
    int64_t n = clq_node_int(call->node, attr, 0);
    if (n < 1 || t->shape[2] % n != 0)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "%s %lld does not divide %lld", attr, (long long)n,
                           (long long)t->shape[2]);
    *h = (struct heads){t->data, n, t->shape[1], t->shape[2] / n, 0, t->shape[2] / n, t->shape[2]};
    h->stride_b = h->rows * h->stride_s;
    return CLQ_OK;
}

/* The cache is [B, heads, past, size]. */
static clq_status read_past(struct clq_op_call *call, struct attention *a)
{
    if (clq_op_has(call, 4) != clq_op_has(call, 5))
        return clq_op_fail(call, CLQ_ERR_FORMAT, "past_key and past_value come together");
    if (!clq_op_has(call, 4)) return CLQ_OK;
    for (int i = 4; i < 6; i++) {
        const clq_tensor *t = &call->in[i];
        const struct heads *h = i == 4 ? &a->k : &a->v;
        CLQ_TRY(clq_op_need_type(call, i, CLQ_DTYPE_F32));
        CLQ_TRY(clq_op_need_rank(call, i, 4));
        if (t->shape[0] != a->batch || t->shape[1] != h->heads || t->shape[3] != h->size ||
            t->shape[2] != call->in[4].shape[2])
            return clq_op_fail(call, CLQ_ERR_FORMAT, "input %d does not continue its cache", i);
    }
    a->past = call->in[4].shape[2];
    a->past_k = call->in[4].data;
    a->past_v = call->in[5].data;
    return CLQ_OK;
}

/* The mask broadcasts to [B, H, Sq, total]; its last axis may be shorter, the rest is then masked out. */
static clq_status read_mask(struct clq_op_call *call, struct attention *a)
{
    if (!clq_op_has(call, 3)) return CLQ_OK;
    const clq_tensor *m = &call->in[3];
    const int64_t want[4] = {a->batch, a->q.heads, a->q.rows, a->total};
    int64_t stride = 1;
    a->mask = m;
    if (m->dtype != CLQ_DTYPE_F32 && m->dtype != CLQ_DTYPE_BOOL) return clq_op_bad_type(call, 3);
    if (m->rank < 1 || m->rank > 4) return clq_op_fail(call, CLQ_ERR_FORMAT, "a mask of rank %d", m->rank);
    a->mask_width = m->shape[m->rank - 1];
    for (int k = m->rank - 1; k >= 0; k--) {
        int axis = 4 - m->rank + k;
        int64_t d = m->shape[k];
        if (d != 1 && d != want[axis] && !(axis == 3 && d < want[3]))
            return clq_op_fail(call, CLQ_ERR_FORMAT, "the mask has %lld elements on axis %d, expected %lld",
                               (long long)d, k, (long long)want[axis]);
        a->mask_stride[axis] = d == 1 ? 0 : stride;
        stride *= d;
    }
    if (a->mask_width == 1 && a->total > 1) a->mask_width = a->total; /* one element broadcasts */
    return CLQ_OK;
}

static clq_status read_attention(struct clq_op_call *call, struct attention *a)
{
    *a = (struct attention){.batch = call->in[0].shape[0], .packed = call->in[0].rank == 3};
    if (call->in[0].rank < 3) return clq_op_fail(call, CLQ_ERR_FORMAT, "input of rank %d", call->in[0].rank);
    CLQ_TRY(read_heads(call, &a->q, 0, "q_num_heads"));
    CLQ_TRY(read_heads(call, &a->k, 1, "kv_num_heads"));
    CLQ_TRY(read_heads(call, &a->v, 2, "kv_num_heads"));
    bool fits = a->k.heads == a->v.heads && a->k.rows == a->v.rows && a->q.size == a->k.size && a->k.heads > 0 &&
                a->q.heads % a->k.heads == 0 && call->in[1].shape[0] == a->batch && call->in[2].shape[0] == a->batch;
    if (!fits) return clq_op_fail(call, CLQ_ERR_FORMAT, "queries, keys and values do not fit each other");
    CLQ_TRY(read_past(call, a));
    a->total = a->past + a->k.rows;
    CLQ_TRY(read_mask(call, a));
    a->causal = clq_node_int(call->node, "is_causal", 0) != 0;
    a->scale = clq_node_float(call->node, "scale", a->q.size > 0 ? 1.0f / sqrtf((float)a->q.size) : 1.0f);
    a->softcap = clq_node_float(call->node, "softcap", 0.0f);
    a->qk_mode = clq_node_int(call->node, "qk_matmul_output_mode", 0);
    if (!clq_op_has(call, 6)) return CLQ_OK;
    a->lengths = &call->in[6];
    CLQ_TRY(clq_op_need_type(call, 6, CLQ_DTYPE_S64));
    if (clq_op_count(a->lengths) != a->batch)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "one length per batch entry is needed");
    return CLQ_OK;
}

clq_op_fn clq_infer_attention, clq_eval_attention, clq_infer_rotary, clq_eval_rotary;

clq_status clq_infer_attention(struct clq_op_call *call)
{
    struct attention a;
    CLQ_TRY(read_attention(call, &a));
    const int64_t packed[3] = {a.batch, a.q.rows, a.q.heads * a.v.size};
    const int64_t plain[4] = {a.batch, a.q.heads, a.q.rows, a.v.size};
    CLQ_TRY(clq_op_set_out(call, 0, CLQ_DTYPE_F32, a.packed ? 3 : 4, a.packed ? packed : plain));
    CLQ_TRY(clq_op_set_out(call, 1, CLQ_DTYPE_F32, 4, (const int64_t[]){a.batch, a.k.heads, a.total, a.k.size}));
    CLQ_TRY(clq_op_set_out(call, 2, CLQ_DTYPE_F32, 4, (const int64_t[]){a.batch, a.k.heads, a.total, a.v.size}));
    return clq_op_set_out(call, 3, CLQ_DTYPE_F32, 4, (const int64_t[]){a.batch, a.q.heads, a.q.rows, a.total});
}

/* Cache and new rows one after the other. */
static void join(float *out, const struct attention *a, const struct heads *h, const float *past)
{
    size_t row = (size_t)h->size * sizeof *out;
    for (int64_t b = 0; b < a->batch; b++)
        for (int64_t n = 0; n < h->heads; n++) {
            float *y = out + (b * h->heads + n) * a->total * h->size;
            if (a->past > 0) memcpy(y, past + (b * h->heads + n) * a->past * h->size, (size_t)a->past * row);
            for (int64_t s = 0; s < h->rows; s++)
                memcpy(y + (a->past + s) * h->size, h->data + b * h->stride_b + n * h->stride_h + s * h->stride_s, row);
        }
}

/* What is added to the score of query row s and key row t. */
static float bias_of(const struct attention *a, int64_t b, int64_t h, int64_t s, int64_t t)
{
    if (a->causal && t > a->past + s) return -INFINITY;
    if (a->lengths && t >= ((const int64_t *)a->lengths->data)[b]) return -INFINITY;
    if (!a->mask) return 0.0f;
    if (t >= a->mask_width) return -INFINITY;
    int64_t at = b * a->mask_stride[0] + h * a->mask_stride[1] + s * a->mask_stride[2] + t * a->mask_stride[3];
    if (a->mask->dtype == CLQ_DTYPE_F32) return ((const float *)a->mask->data)[at];
    return ((const uint8_t *)a->mask->data)[at] ? 0.0f : -INFINITY;
}

/* The scores of one query row, through softmax; a copy at the wanted point goes to qk. */
static void score_row(const struct attention *a, float *score, float *qk, int64_t b, int64_t h, int64_t s)
{
    const float *q = a->q.data + b * a->q.stride_b + h * a->q.stride_h + s * a->q.stride_s;
    const float *k = a->present_k + (b * a->k.heads + h / (a->q.heads / a->k.heads)) * a->total * a->k.size;
    float top = -INFINITY;
    double sum = 0.0;
    for (int64_t t = 0; t < a->total; t++) {
        double dot = 0.0;
        for (int64_t d = 0; d < a->k.size; d++) dot += (double)q[d] * (double)k[t * a->k.size + d];
        float v = (float)(dot * (double)a->scale), capped = a->softcap > 0.0f ? a->softcap * tanhf(v / a->softcap) : v;
        score[t] = capped + bias_of(a, b, h, s, t);
        if (qk) qk[t] = a->qk_mode == QK_RAW ? v : a->qk_mode == QK_CAPPED ? capped : score[t];
        top = score[t] > top || score[t] != score[t] ? score[t] : top;
    }
    for (int64_t t = 0; t < a->total; t++) {
        score[t] = expf(score[t] - top);
        sum += (double)score[t];
    }
    for (int64_t t = 0; t < a->total; t++) score[t] = (float)((double)score[t] / sum);
    if (qk && a->qk_mode == QK_SOFTMAX) memcpy(qk, score, (size_t)a->total * sizeof *qk);
}

static void run_rows(void *state, size_t begin, size_t end, int thread)
{
    const struct attention *a = state;
    float *score = a->scratch + (int64_t)thread * a->total;
    for (size_t u = begin; u < end; u++) {
        int64_t s = (int64_t)u % a->q.rows, h = (int64_t)u / a->q.rows % a->q.heads,
                b = (int64_t)u / a->q.rows / a->q.heads;
        const float *v = a->present_v + (b * a->k.heads + h / (a->q.heads / a->k.heads)) * a->total * a->v.size;
        score_row(a, score, a->qk ? a->qk + (int64_t)u * a->total : NULL, b, h, s);
        if (!a->y) continue;
        float *y = a->y + (a->packed ? (b * a->q.rows + s) * a->q.heads + h : (int64_t)u) * a->v.size;
        for (int64_t d = 0; d < a->v.size; d++) {
            double sum = 0.0;
            for (int64_t t = 0; t < a->total; t++) sum += (double)score[t] * (double)v[t * a->v.size + d];
            y[d] = (float)sum;
        }
    }
}

static float *output_or_memory(struct clq_op_call *call, int i, int64_t n, float **owned)
{
    *owned = NULL;
    if (i < call->n_out && call->out[i].data) return call->out[i].data;
    return *owned = calloc((size_t)n + 1, sizeof **owned);
}

clq_status clq_eval_attention(struct clq_op_call *call)
{
    struct attention a;
    float *k, *v;
    CLQ_TRY(read_attention(call, &a));
    int threads = call->threads > 1 ? call->threads : 1;
    int64_t rows = a.batch * a.k.heads * a.total;
    a.present_k = output_or_memory(call, 1, rows * a.k.size, &k);
    a.present_v = output_or_memory(call, 2, rows * a.v.size, &v);
    a.scratch = calloc((size_t)(a.total + 1) * (size_t)threads, sizeof *a.scratch);
    a.y = call->out[0].data;
    a.qk = call->n_out > 3 ? call->out[3].data : NULL;
    clq_status st = a.present_k && a.present_v && a.scratch ? CLQ_OK : clq_op_no_memory(call);
    if (st == CLQ_OK) {
        join(a.present_k, &a, &a.k, a.past_k);
        join(a.present_v, &a, &a.v, a.past_v);
        clq_parallel_for(threads, (size_t)(a.batch * a.q.heads * a.q.rows), run_rows, &a);
    }
    free(k);
    free(v);
    free(a.scratch);
    return st;
}

/* ---- RotaryEmbedding ---- */

struct rotary {
    struct heads x;
    int64_t turned; /* elements of a head that are rotated, even */
    bool interleaved;
    const clq_tensor *cos, *sin, *position;
};

static clq_status read_rotary(struct clq_op_call *call, struct rotary *r)
{
    *r = (struct rotary){.cos = &call->in[1], .sin = &call->in[2]};
    CLQ_TRY(read_heads(call, &r->x, 0, "num_heads"));
    CLQ_TRY(clq_op_need_type(call, 1, CLQ_DTYPE_F32));
    CLQ_TRY(clq_op_need_type(call, 2, CLQ_DTYPE_F32));
    int64_t turned = clq_node_int(call->node, "rotary_embedding_dim", 0);
    r->turned = turned ? turned : r->x.size;
    r->interleaved = clq_node_int(call->node, "interleaved", 0) != 0;
    if (r->turned < 0 || r->turned > r->x.size || r->turned % 2 != 0)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "%lld rotated elements of %lld", (long long)r->turned,
                           (long long)r->x.size);
    int rank = 3;
    if (clq_op_has(call, 3)) {
        rank = 2;
        r->position = &call->in[3];
        CLQ_TRY(clq_op_need_type(call, 3, CLQ_DTYPE_S64));
        CLQ_TRY(clq_op_need_rank(call, 3, 2));
        if (r->position->shape[0] != call->in[0].shape[0] || r->position->shape[1] != r->x.rows)
            return clq_op_fail(call, CLQ_ERR_FORMAT, "one position per row is needed");
    }
    for (int i = 1; i < 3; i++) {
        const clq_tensor *t = &call->in[i];
        CLQ_TRY(clq_op_need_rank(call, i, rank));
        bool fits = t->shape[rank - 1] == r->turned / 2 && t->shape[0] == r->cos->shape[0];
        if (rank == 3) fits = fits && t->shape[0] == call->in[0].shape[0] && t->shape[1] == r->x.rows;
        if (!fits) return clq_op_fail(call, CLQ_ERR_FORMAT, "the cache of input %d does not fit", i);
    }
    return CLQ_OK;
}

clq_status clq_infer_rotary(struct clq_op_call *call)
{
    struct rotary r;
    CLQ_TRY(read_rotary(call, &r));
    return clq_op_same(call);
}

static void turn_head(const struct rotary *r, float *y, const float *x, int64_t angle)
{
    int64_t half = r->turned / 2;
    const float *c = (const float *)r->cos->data + angle * half, *s = (const float *)r->sin->data + angle * half;
    for (int64_t i = 0; i < half; i++) {
        int64_t p = r->interleaved ? 2 * i : i, q = r->interleaved ? 2 * i + 1 : half + i;
        y[p] = c[i] * x[p] - s[i] * x[q];
        y[q] = s[i] * x[p] + c[i] * x[q];
    }
    memcpy(y + r->turned, x + r->turned, (size_t)(r->x.size - r->turned) * sizeof *y);
}

clq_status clq_eval_rotary(struct clq_op_call *call)
{
    struct rotary r;
    CLQ_TRY(read_rotary(call, &r));
    for (int64_t b = 0; b < call->in[0].shape[0]; b++)
        for (int64_t s = 0; s < r.x.rows; s++) {
            int64_t angle = b * r.x.rows + s;
            if (r.position) {
                angle = ((const int64_t *)r.position->data)[angle];
                if (angle < 0 || angle >= r.cos->shape[0])
                    return clq_op_fail(call, CLQ_ERR_INVALID_ARGUMENT, "position %lld of %lld", (long long)angle,
                                       (long long)r.cos->shape[0]);
            }
            for (int64_t h = 0; h < r.x.heads; h++) {
                int64_t at = b * r.x.stride_b + h * r.x.stride_h + s * r.x.stride_s;
                turn_head(&r, (float *)call->out[0].data + at, r.x.data + at, angle);
            }
        }
    return CLQ_OK;
}
