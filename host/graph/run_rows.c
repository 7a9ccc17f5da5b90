/* SPDX-License-Identifier: Apache-2.0
 * Steps that go by rows: softmax of scores, attention, layer normalization, rows with scales of their own, and what follows an integer product. */
#include "graph/run.h"
#include "ops/rows.h"

/* ---- Softmax of scaled and masked rows ---- */
struct scores {
    const struct clq_step *s;
    const clq_tensor *x, *mask;
    float *y;
    int64_t step[CLQ_MAX_RANK]; /* of the mask along each axis, 0 where it is shared */
};

/* What stays in the first-level cache. */
enum { ELEMENTS_TOGETHER = 4096 };

static size_t rows_together(size_t n)
{
    return n < ELEMENTS_TOGETHER / CLQ_ROWS_TOGETHER ? CLQ_ROWS_TOGETHER : n < ELEMENTS_TOGETHER ? ELEMENTS_TOGETHER / n : 1;
}

static int64_t mask_row(const struct scores *j, size_t row)
{
    int64_t at = 0, rest = (int64_t)row;
    for (int d = j->x->rank - 2; d >= 0; d--) {
        at += rest % j->x->shape[d] * j->step[d];
        rest /= j->x->shape[d];
    }
    return at;
}

static void score_rows(void *state, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct scores *j = state;
    const clq_tensor *x = j->x;
    const size_t n = (size_t)x->shape[x->rank - 1];
    const size_t most = rows_together(n);
    for (size_t r = begin; r < end; r += most) {
        const float *mask[CLQ_ROWS_TOGETHER];
        const size_t rows = end - r < most ? end - r : most;
        for (size_t k = 0; j->mask && k < rows; k++) mask[k] = (const float *)j->mask->data + mask_row(j, r + k);
        clq_rows_softmax(j->y + r * n, (const float *)x->data + r * n, j->mask ? mask : NULL, rows, n, j->s->alpha);
    }
}

void clq_step_scores(struct clq_program *p, struct clq_step *s)
{
    struct scores j = {.s = s, .x = &p->values[s->in[0]].t, .mask = s->n_in > 1 ? &p->values[s->in[1]].t : NULL, .y = data(p, s->out[0])};
    int64_t size = j.x->shape[j.x->rank - 1];
    for (int d = 2; j.mask && d <= j.mask->rank; d++) {
        int64_t extent = j.mask->shape[j.mask->rank - d];
        j.step[j.x->rank - d] = extent == 1 ? 0 : size;
        size *= extent;
    }
    size_t rows = count(j.x) / (size_t)j.x->shape[j.x->rank - 1];
    clq_pool_for(p->ctx->pool, threads_for(p, (double)count(j.x)), rows, score_rows, &j);
}

/* ---- Attention ---- */
static void attention_units(void *state, size_t begin, size_t end, int thread)
{
    struct job *j = state;
    struct clq_attention_args a = j->s->attention;
    a.unit_begin = begin;
    a.unit_end = end;
    a.scratch = (char *)j->p->scratch + (size_t)thread * j->p->scratch_bytes;
    j->p->ctx->kernels.attention_f32(&a);
}

void clq_step_attention(struct clq_program *p, struct clq_step *s)
{
    struct job j = {.p = p, .s = s};
    struct clq_attention_args *a = &s->attention;
    a->q = data(p, s->in[0]);
    a->k = data(p, s->in[1]);
    a->v = data(p, s->in[2]);
    a->mask = s->n_in > 3 ? data(p, s->in[3]) : NULL;
    a->y = data(p, s->out[0]);
    const double scores = (double)a->batch * (double)a->heads * (double)a->rows * (double)a->keys;
    clq_pool_for(p->ctx->pool, threads_for(p, scores * (double)(a->size + a->size_v) / 8), a->units, attention_units, &j);
}

/* ---- Layer normalization ---- */
static void normalize_rows(void *state, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct job *j = state;
    const clq_tensor *x = &j->p->values[j->s->in[0]].t;
    const size_t n = (size_t)x->shape[x->rank - 1], most = rows_together(n);
    for (size_t r = begin; r < end; r += most)
        clq_rows_layernorm((float *)data(j->p, j->s->out[0]) + r * n, (const float *)x->data + r * n, end - r < most ? end - r : most, n,
                           data(j->p, j->s->weight), data(j->p, j->s->bias), j->s->act_a);
}

void clq_step_layernorm(struct clq_program *p, struct clq_step *s)
{
    struct job j = {.p = p, .s = s};
    const clq_tensor *x = &p->values[s->in[0]].t;
    clq_pool_for(p->ctx->pool, threads_for(p, (double)count(x)), count(x) / (size_t)x->shape[x->rank - 1], normalize_rows, &j);
}

/* ---- Rows with scales of their own ---- */
static void quantize_rows(void *state, size_t begin, size_t end, int thread)
{
    (void)thread;
    struct job *j = state;
    const clq_tensor *x = &j->p->values[j->s->in[0]].t;
    const size_t n = (size_t)x->shape[x->rank - 1], most = rows_together(n);
    const float *from = x->data;
    float *scale = data(j->p, j->s->out[1]);
    uint8_t *to = data(j->p, j->s->out[0]);
    for (size_t first = begin; first < end; first += most) {
        const size_t last = end - first < most ? end : first + most;
        for (size_t r = first; r < last; r++) scale[r] = clq_rows_scale(from + r * n, n); /* all, so that no division is waited for */
        for (size_t r = first; r < last; r++)
            j->p->ctx->kernels.quantize_f32_u8(&(struct clq_quantize_args){from + r * n, to + r * n, n, scale[r], 128, false});
    }
}

void clq_step_quantize_rows(struct clq_program *p, struct clq_step *s)
{
    struct job j = {.p = p, .s = s};
    const clq_tensor *x = &p->values[s->in[0]].t;
    size_t rows = x->shape[x->rank - 1] ? count(x) / (size_t)x->shape[x->rank - 1] : 0;
    clq_pool_for(p->ctx->pool, threads_for(p, (double)count(x)), rows, quantize_rows, &j);
}

/* ---- Behind integer products ---- */
struct finish {
    float *y;
    size_t n;
    struct clq_rows_epilogue epilogue;
};

static void finish_rows(void *state, size_t begin, size_t end, int thread)
{
    (void)thread;
    struct finish *f = state;
    clq_rows_finish(f->y, begin, end, f->n, &f->epilogue);
}

void clq_step_finish(struct clq_program *p, struct clq_step *s, const float *scale, const float *bias)
{
    const clq_tensor *y = &p->values[s->out[0]].t;
    if (y->dtype != CLQ_DTYPE_F32 || (!scale && !bias && s->residual < 0 && s->act == CLQ_ACT_NONE)) return;
    struct finish f = {y->data, (size_t)y->shape[y->rank - 1], {scale, bias, data(p, s->residual), s->act}};
    clq_pool_for(p->ctx->pool, threads_for(p, (double)count(y)), count(y) / f.n, finish_rows, &f);
}
