/* SPDX-License-Identifier: Apache-2.0
 * Runs a program: walks the steps, cuts each into units for the threads, and times them when asked to. */
#include "graph/run.h"

#include <string.h>
#include <time.h>

enum { CHUNK = 16384, MAX_ARITY = 512 };

/* ---- Work that is cut into units ---- */
static void conv_units(void *state, size_t begin, size_t end, int thread)
{
    struct job *j = state;
    struct clq_conv_args a = j->s->conv;
    a.unit_begin = begin;
    a.unit_end = end;
    a.scratch = (char *)j->p->scratch + (size_t)thread * j->p->scratch_bytes;
    j->p->ctx->kernels.conv_u8s8(&a);
}

static void gemm_units(void *state, size_t begin, size_t end, int thread)
{
    struct job *j = state;
    struct clq_gemm_args a = j->s->gemm;
    a.unit_begin = begin;
    a.unit_end = end;
    a.scratch = (char *)j->p->scratch + (size_t)thread * j->p->scratch_bytes;
    j->p->ctx->kernels.gemm_u8s8(&a);
}

static void gemm4_units(void *state, size_t begin, size_t end, int thread)
{
    struct job *j = state;
    struct clq_gemm_u4_args a = j->s->gemm4;
    a.unit_begin = begin;
    a.unit_end = end;
    a.scratch = (char *)j->p->scratch + (size_t)thread * j->p->scratch_bytes;
    (j->s->n_in > 1 ? j->p->ctx->kernels.gemm_s8u4 : j->p->ctx->kernels.gemm_f32u4)(&a);
}

static void pool_rows(void *state, size_t begin, size_t end, int thread)
{
    (void)thread;
    struct job *j = state;
    struct clq_step *s = j->s;
    const clq_tensor *x = &j->p->values[s->in[0]].t;
    const struct clq_window *w = &s->window;
    struct clq_pool_args a = {
        .batch = (size_t)x->shape[0], .h = (size_t)w->in[0], .w = (size_t)w->in[1], .c = (size_t)x->shape[3],
        .oh = (size_t)w->out[0], .ow = (size_t)w->out[1], .kh = (size_t)w->kernel[0], .kw = (size_t)w->kernel[1],
        .stride_h = (size_t)w->stride[0], .stride_w = (size_t)w->stride[1], .pad_top = (size_t)w->pad_begin[0],
        .pad_left = (size_t)w->pad_begin[1], .dilation_h = (size_t)w->dilation[0], .dilation_w = (size_t)w->dilation[1],
        .x = x->data, .y = data(j->p, s->out[0]), .scale_x = s->in_scale[0], .scale_y = s->out_scale,
        .zero_point_x = s->in_zero[0], .zero_point_y = s->out_zero, .count_include_pad = s->include_pad,
        .row_begin = begin, .row_end = end,
    };
    if (s->kind == CLQ_STEP_QMAXPOOL) j->p->ctx->kernels.maxpool_u8(&a);
    else j->p->ctx->kernels.avgpool_u8(&a);
}

/* Elementwise steps over chunks of CHUNK elements. */
static void element_chunks(void *state, size_t begin, size_t end, int thread)
{
    (void)thread;
    struct job *j = state;
    struct clq_step *s = j->s;
    const struct clq_kernels *k = &j->p->ctx->kernels;
    size_t at = begin * CHUNK, n = (end * CHUNK < j->n ? end * CHUNK : j->n) - at;
    const uint8_t *a = data(j->p, s->in[0]), *b = s->n_in > 1 ? data(j->p, s->in[1]) : NULL;
    uint8_t *y = data(j->p, s->out[0]);
    switch (s->kind) {
    case CLQ_STEP_QUANTIZE:
        k->quantize_f32_u8(&(struct clq_quantize_args){(const float *)(const void *)a + at, y + at, n, s->out_scale, s->out_zero, false});
        break;
    case CLQ_STEP_DEQUANTIZE:
        k->dequantize_u8_f32(&(struct clq_dequantize_args){a + at, (float *)(void *)y + at, n, s->in_scale[0], s->in_zero[0], false});
        break;
    case CLQ_STEP_QLUT: k->lut_u8(&(struct clq_lut_args){a + at, y + at, n, s->tables}); break;
    default: {
        struct clq_binary_u8_args g = {a + at, b + at, y + at, n, s->in_scale[0], s->in_scale[1], s->out_scale,
                                       s->in_zero[0], s->in_zero[1], s->out_zero, s->lo, s->hi};
        if (s->kind == CLQ_STEP_QADD) k->add_u8(&g);
        else k->mul_u8(&g);
    }
    }
}

/* Rows of channels times one row of channels per image. */
static void mul_rows(void *state, size_t begin, size_t end, int thread)
{
    (void)thread;
    struct job *j = state;
    struct clq_step *s = j->s;
    const clq_tensor *x = &j->p->values[s->in[0]].t;
    size_t c = (size_t)x->shape[3], pixels = (size_t)x->shape[1] * (size_t)x->shape[2];
    for (size_t r = begin; r < end; r++) {
        struct clq_binary_u8_args g = {(const uint8_t *)x->data + r * c, (const uint8_t *)data(j->p, s->in[1]) + r / pixels * c,
                                       (uint8_t *)data(j->p, s->out[0]) + r * c, c, s->in_scale[0], s->in_scale[1], s->out_scale,
                                       s->in_zero[0], s->in_zero[1], s->out_zero, s->lo, s->hi};
        j->p->ctx->kernels.mul_u8(&g);
    }
}

static void run_elements(struct clq_program *p, struct clq_step *s)
{
    struct job j = {.p = p, .s = s, .n = count(&p->values[s->out[0]].t)};
    clq_pool_for(p->ctx->pool, threads_for(p, (double)j.n), (j.n + CHUNK - 1) / CHUNK, element_chunks, &j);
}

static void run_qmul(struct clq_program *p, struct clq_step *s)
{
    const clq_tensor *x = &p->values[s->in[0]].t;
    struct job j = {.p = p, .s = s};
    size_t n = count(x);
    if (n == count(&p->values[s->in[1]].t)) run_elements(p, s);
    else clq_pool_for(p->ctx->pool, threads_for(p, (double)n), n / (size_t)x->shape[3], mul_rows, &j);
}

/* ---- Concatenation: bands of rows, so that what all inputs write into stays in the cache ---- */
struct concat {
    const struct clq_program *p;
    const struct clq_step *s;
    size_t outer, inner, row, band; /* rows of y, elements behind the axis, bytes and rows of a band */
};

static void concat_bands(void *state, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct concat *c = state;
    for (size_t u = begin; u < end; u++) {
        const size_t first = u * c->band, rows = c->outer - first < c->band ? c->outer - first : c->band;
        uint8_t *y = (uint8_t *)data(c->p, c->s->out[0]) + first * c->row;
        for (int k = 0; k < c->s->n_in; k++) {
            const clq_tensor *x = &c->p->values[c->s->in[k]].t;
            const size_t n = (size_t)x->shape[c->s->axis] * c->inner;
            struct clq_copy_rows_args copy = {(const uint8_t *)x->data + first * n, y, rows, n, n, c->row,
                                              c->s->table_used[k] ? c->s->tables + 256 * (size_t)k : NULL};
            c->p->ctx->kernels.copy_rows_u8(&copy);
            y += n;
        }
    }
}

static void run_concat(struct clq_program *p, struct clq_step *s)
{
    const clq_tensor *y = &p->values[s->out[0]].t;
    struct concat c = {.p = p, .s = s, .outer = 1, .inner = 1};
    for (int d = 0; d < s->axis; d++) c.outer *= (size_t)y->shape[d];
    for (int d = s->axis + 1; d < y->rank; d++) c.inner *= (size_t)y->shape[d];
    c.row = (size_t)y->shape[s->axis] * c.inner;
    c.band = c.row > 0 && c.row < CHUNK ? CHUNK / c.row : 1;
    clq_pool_for(p->ctx->pool, threads_for(p, (double)count(y)), (c.outer + c.band - 1) / c.band, concat_bands, &c);
}

/* ---- Layout conversion: [n][rows][cols] -> [n][cols][rows], in bands across the shorter side ---- */
struct turn {
    const struct clq_program *p;
    const char *x;
    char *y;
    size_t rows, cols, size, band, bands; /* of an image; a band is so many rows or columns, whichever are more */
};

static void turn_band(const struct turn *t, struct clq_transpose_args *a)
{
    if (t->size == 1) t->p->ctx->kernels.transpose_u8(a);
    else if (t->size == 4) t->p->ctx->kernels.transpose_u32(a);
    else
        for (size_t c = 0; c < a->cols; c++)
            for (size_t r = 0; r < a->rows; r++)
                memcpy((char *)a->y + (c * a->y_stride + r) * t->size, (const char *)a->x + (r * a->x_stride + c) * t->size, t->size);
}

static void turn_bands(void *state, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct turn *t = state;
    const bool tall = t->rows >= t->cols;
    for (size_t u = begin; u < end; u++) {
        const size_t image = u / t->bands * t->rows * t->cols, first = u % t->bands * t->band, all = tall ? t->rows : t->cols;
        const size_t n = all - first < t->band ? all - first : t->band, r = tall ? first : 0, c = tall ? 0 : first;
        struct clq_transpose_args a = {t->x + (image + r * t->cols + c) * t->size, t->y + (image + c * t->rows + r) * t->size,
                                       tall ? n : t->rows, tall ? t->cols : n, t->cols, t->rows};
        turn_band(t, &a);
    }
}

static void run_layout(struct clq_program *p, struct clq_step *s)
{
    const struct clq_value *x = &p->values[s->in[0]];
    size_t n = count(&x->t), images = (size_t)x->t.shape[0];
    if (n == 0) return;
    size_t c = (size_t)(x->layout == CLQ_LAYOUT_LAST ? x->t.shape[x->t.rank - 1] : x->t.shape[1]), pixels = n / images / c;
    struct turn t = {.p = p, .x = x->t.data, .y = data(p, s->out[0]), .size = clq_dtype_bits(x->t.dtype) / 8};
    t.rows = x->layout == CLQ_LAYOUT_LAST ? pixels : c;
    t.cols = x->layout == CLQ_LAYOUT_LAST ? c : pixels;
    if (t.rows == 1 || t.cols == 1) {
        memcpy(t.y, t.x, n * t.size);
        return;
    }
    const size_t shorter = t.rows < t.cols ? t.rows : t.cols, longer = t.rows < t.cols ? t.cols : t.rows;
    t.band = shorter < 64 ? 4096 / shorter / 64 * 64 : 64;
    t.bands = (longer + t.band - 1) / t.band;
    clq_pool_for(p->ctx->pool, threads_for(p, (double)n), images * t.bands, turn_bands, &t);
}

static clq_status run_op(struct clq_program *p, struct clq_step *s, struct clq_error *err)
{
    clq_tensor in[MAX_ARITY], out[MAX_ARITY];
    if (s->out[0] >= 0 && p->values[s->out[0]].alias >= 0) return CLQ_OK; /* shares its input's memory */
    for (int k = 0; k < s->n_in; k++) in[k] = s->in[k] < 0 ? (clq_tensor){.dtype = CLQ_DTYPE_NONE} : p->values[s->in[k]].t;
    for (int k = 0; k < s->n_out; k++) out[k] = s->out[k] < 0 ? (clq_tensor){.dtype = CLQ_DTYPE_NONE} : p->values[s->out[k]].t;
    struct clq_op_call call = {.node = s->node, .opset = s->opset, .n_in = s->n_in, .n_out = s->n_out, .in = in, .out = out,
                               .threads = p->ctx->threads, .err = err};
    return clq_op_eval(s->op, &call);
}

/* ---- Phases of a transposed convolution ---- */
struct spread {
    const unsigned char *x; /* [batch][oh][ow][phase_h][phase_w][run] */
    unsigned char *y;       /* [batch][rows][columns * run] */
    size_t oh, ow, phase_h, phase_w, rows, row_bytes, run; /* run: bytes of the channels of one pixel */
};

static void spread_rows(void *state, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct spread *f = state;
    const size_t run = f->phase_w * f->run, pixel = f->phase_h * run;
    for (size_t i = begin; i < end; i++) {
        const size_t image = i / f->rows, row = i % f->rows;
        const unsigned char *x = f->x + (image * f->oh + row / f->phase_h) * f->ow * pixel + row % f->phase_h * run;
        unsigned char *y = f->y + i * f->row_bytes;
        size_t left = f->row_bytes;
        if (run == 2) {
            for (; left >= 2; left -= 2, x += pixel, y += 2) memcpy(y, x, 2);
        } else if (run == 4) {
            for (; left >= 4; left -= 4, x += pixel, y += 4) memcpy(y, x, 4);
        }
        for (; left > 0; x += pixel) {
            const size_t n = left < run ? left : run;
            memcpy(y, x, n);
            y += n;
            left -= n;
        }
    }
}

static void run_spread(struct clq_program *p, struct clq_step *s)
{
    const clq_tensor *y = &p->values[s->out[0]].t;
    const size_t run = (size_t)y->shape[y->rank - 1] * (clq_dtype_bits(y->dtype) / 8), columns = (size_t)y->shape[y->rank - 2];
    const size_t rows = y->rank == 4 ? (size_t)y->shape[1] : 1;
    struct spread f = {.x = s->phases, .y = y->data, .oh = (size_t)(s->window.nd == 2 ? s->window.out[0] : 1), .ow = (size_t)s->window.out[s->window.nd - 1],
                       .phase_h = (size_t)s->phase[0], .phase_w = (size_t)s->phase[1], .rows = rows, .row_bytes = columns * run, .run = run};
    clq_pool_for(p->ctx->pool, threads_for(p, (double)count(y)), s->conv.batch * rows, spread_rows, &f);
}

void *clq_step_conv_output(struct clq_program *p, const struct clq_step *s)
{
    return s->phases ? s->phases : data(p, s->out[0]);
}

static double product_work(const struct clq_step *s)
{
    if (s->kind == CLQ_STEP_Q4GEMM) return (double)s->gemm4.m * (double)s->gemm4.n * (double)s->gemm4.k / 32;
    if (s->kind == CLQ_STEP_QGEMM) return (double)s->gemm.m * (double)s->gemm.n * (double)s->gemm.k / 32;
    const struct clq_conv_args *c = &s->conv;
    double taps = (double)(c->kh * c->kw) * (double)(c->ci / (c->groups ? c->groups : 1));
    return (double)c->batch * (double)(c->oh * c->ow) * (double)c->co * taps / (c->groups == c->co ? 2 : 32);
}

static clq_status run_taps(struct clq_program *p, struct clq_step *s, struct clq_error *err)
{
    const float *x = data(p, s->in[0]);
    float *y = data(p, s->out[0]);
    for (int t = 0; t < s->n_taps; t++)
        CLQ_TRY(clq_dnnl_run(p->ctx->dnnl, s->taps[t], x + (size_t)t * s->tap_step, NULL, t ? y : NULL, y, err));
    return CLQ_OK;
}

clq_status clq_step_run(struct clq_program *p, struct clq_step *s, struct clq_error *err)
{
    struct job j = {.p = p, .s = s};
    switch (s->kind) {
    case CLQ_STEP_OP:
    case CLQ_STEP_QMOVE: return run_op(p, s, err);
    case CLQ_STEP_CONV:
    case CLQ_STEP_MATMUL:
    case CLQ_STEP_POOL:
    case CLQ_STEP_SOFTMAX:
        if (clq_step_is_scores(s)) {
            clq_step_scores(p, s);
            return CLQ_OK;
        }
        if (s->n_taps) return run_taps(p, s, err);
        return clq_dnnl_run(p->ctx->dnnl, s->dnnl, data(p, s->in[0]), s->n_in > 1 ? data(p, s->in[1]) : NULL, data(p, s->residual),
                            data(p, s->out[0]), err);
    case CLQ_STEP_QCONV:
        s->conv.x = data(p, s->in[0]);
        s->conv.y = clq_step_conv_output(p, s);
        s->sum.codes = data(p, s->residual);
        clq_pool_for(p->ctx->pool, threads_for(p, product_work(s)), s->conv.units, conv_units, &j);
        if (s->phases) run_spread(p, s);
        return CLQ_OK;
    case CLQ_STEP_QGEMM:
        s->gemm.a = data(p, s->in[0]);
        s->gemm.y = data(p, s->out[0]);
        s->sum.codes = data(p, s->residual);
        clq_pool_for(p->ctx->pool, threads_for(p, product_work(s)), s->gemm.units, gemm_units, &j);
        clq_step_finish(p, s, s->n_in > 1 ? data(p, s->in[1]) : NULL, data(p, s->bias));
        return CLQ_OK;
    case CLQ_STEP_Q4GEMM:
        s->gemm4.a = data(p, s->in[0]);
        if (s->n_in > 1) s->gemm4.scale_a = data(p, s->in[1]);
        s->gemm4.bias = data(p, s->bias);
        s->gemm4.y = data(p, s->out[0]);
        clq_pool_for(p->ctx->pool, threads_for(p, product_work(s)), s->gemm4.units, gemm4_units, &j);
        clq_step_finish(p, s, NULL, NULL);
        return CLQ_OK;
    case CLQ_STEP_ATTENTION: clq_step_attention(p, s); return CLQ_OK;
    case CLQ_STEP_LAYERNORM: clq_step_layernorm(p, s); return CLQ_OK;
    case CLQ_STEP_QUANTIZE_ROWS: clq_step_quantize_rows(p, s); return CLQ_OK;
    case CLQ_STEP_QMAXPOOL:
    case CLQ_STEP_QAVGPOOL: {
        const clq_tensor *x = &p->values[s->in[0]].t;
        clq_pool_for(p->ctx->pool, threads_for(p, (double)count(x)), (size_t)x->shape[0] * (size_t)s->window.out[0], pool_rows, &j);
        return CLQ_OK;
    }
    case CLQ_STEP_QUANTIZE:
    case CLQ_STEP_DEQUANTIZE:
    case CLQ_STEP_QLUT:
    case CLQ_STEP_QADD: run_elements(p, s); return CLQ_OK;
    case CLQ_STEP_QMUL: run_qmul(p, s); return CLQ_OK;
    case CLQ_STEP_QCONCAT: run_concat(p, s); return CLQ_OK;
    case CLQ_STEP_LAYOUT: run_layout(p, s); return CLQ_OK;
    }
    return clq_fail(err, CLQ_ERR_INTERNAL, "node '%s': unknown kind of step", s->node ? s->node->name : "");
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static clq_status run_one(struct clq_program *p, struct clq_step *s, struct clq_error *err)
{
    bool done = false;
    if (s->on_device) CLQ_TRY(clq_step_device_run(p, s, &done, err));
    if (done && s->phases) run_spread(p, s);
    return done ? CLQ_OK : clq_step_run(p, s, err);
}

static clq_status tap_outputs(struct clq_program *p, const struct clq_step *s, clq_tap_fn *tap, void *state, struct clq_error *err)
{
    for (int k = 0; k < s->n_out; k++)
        if (s->out[k] >= 0 && s->kind != CLQ_STEP_LAYOUT) CLQ_TRY(tap(state, &p->values[s->out[k]], err));
    return CLQ_OK;
}

static clq_status bind_inputs(struct clq_program *p, const clq_tensor *inputs, struct clq_error *err)
{
    for (int i = 0; i < p->n_inputs; i++) {
        struct clq_value *v = &p->values[p->inputs[i]];
        const clq_tensor *t = &inputs[i];
        if (t->dtype != v->t.dtype || t->rank != v->t.rank || memcmp(t->shape, v->t.shape, (size_t)t->rank * sizeof *t->shape) != 0)
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "input '%s': the program was compiled for another type or shape", v->name);
        if (!v->constant) v->t.data = t->data; /* else it is bound: its value is compiled in */
    }
    for (int i = 0; i < p->n_values; i++) { /* aliases of inputs move with them */
        int r = i;
        while (p->values[r].alias >= 0) r = p->values[r].alias;
        if (r != i && p->values[r].is_input) p->values[i].t.data = p->values[r].t.data;
    }
    return CLQ_OK;
}

clq_status clq_program_run(struct clq_program *p, const clq_tensor *inputs, clq_tensor *outputs, clq_tap_fn *tap, void *tap_state,
                           struct clq_error *err)
{
    CLQ_TRY(bind_inputs(p, inputs, err));
    for (int i = 0; tap && i < p->n_inputs; i++) CLQ_TRY(tap(tap_state, &p->values[p->inputs[i]], err));
    for (int i = 0; i < p->n_steps; i++) {
        struct clq_step *s = &p->steps[i];
        if (s->dead) continue;
        double t = p->timed ? now() : 0;
        CLQ_TRY(run_one(p, s, err));
        if (p->timed) {
            s->seconds += now() - t;
            s->runs++;
        }
        if (tap) CLQ_TRY(tap_outputs(p, s, tap, tap_state, err));
    }
    for (int i = 0; outputs && i < p->n_outputs; i++) {
        const clq_tensor *t = &p->values[p->outputs[i]].t;
        size_t bytes;
        void *to = outputs[i].data;
        outputs[i] = *t;
        if (!to) continue;
        if (clq_tensor_bytes(&bytes, t) == CLQ_OK && bytes) memcpy(to, t->data, bytes);
        outputs[i].data = to;
    }
    return CLQ_OK;
}
