/* SPDX-License-Identifier: Apache-2.0
 * Prepares steps for running: oneDNN primitives, packed integer weights, scratch memory, and the device of each step. */
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/size.h"
#include "graph/program.h"

static const clq_tensor *tensor(const struct clq_program *p, int v)
{
    return &p->values[v].t;
}

static const float *floats(const struct clq_program *p, int v)
{
    return v < 0 ? NULL : p->values[v].t.data;
}

/* Names the node in a failure of a backend that does not know it. */
static clq_status named(const struct clq_step *s, clq_status st, struct clq_error *err)
{
    if (st == CLQ_OK || !err) return st;
    struct clq_error inner = *err;
    return clq_fail(err, st, "node '%s' (%s): %s", s->node->name, s->node->op_type, inner.text);
}

/* A convolution along one row is a product per kernel column, added up in y: measured at 2.2 times the speed of oneDNN's
 * convolution for 512 positions of 256 channels, 5 taps, 512 outputs. */
static bool runs_as_taps(const struct clq_dnnl_conv *c)
{
    return c->batch == 1 && c->h == 1 && c->kh == 1 && c->oh == 1 && c->kw > 1 && c->kw <= 16 && c->stride_w == 1 && c->pad_left == 0 && c->pad_right == 0 &&
           c->groups == 1 && !c->transposed && !c->residual && c->ci >= 64 && c->co >= 64 && c->ow >= 64;
}

static clq_status prepare_taps(struct clq_program *p, struct clq_step *s, const struct clq_dnnl_conv *c, struct clq_error *err)
{
    size_t ci = (size_t)c->ci, co = (size_t)c->co, kw = (size_t)c->kw;
    float *w = malloc(ci * co * sizeof *w);
    s->taps = clq_arena_array(&p->arena, kw, sizeof *s->taps);
    clq_status st = w && s->taps ? CLQ_OK : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    for (size_t t = 0; t < kw && st == CLQ_OK; t++) {
        for (size_t o = 0; o < co; o++)
            for (size_t i = 0; i < ci; i++) w[i * co + o] = c->weight[(o * ci + i) * kw + t];
        bool last = t == kw - 1;
        struct clq_dnnl_matmul m = {.m = c->ow, .n = c->co, .k = c->ci, .residual = t > 0, .alpha = 1, .act = last ? c->act : CLQ_ACT_NONE,
                                    .a = last ? c->a : 0, .b = last ? c->b : 0, .weight = w, .bias = t == 0 ? c->bias : NULL};
        st = named(s, clq_dnnl_matmul(&s->taps[t], p->ctx->dnnl, &m, err), err);
        if (st == CLQ_OK) s->n_taps++;
    }
    s->tap_step = (size_t)c->dilation_w * ci;
    free(w);
    return st;
}

static clq_status prepare_conv(struct clq_program *p, struct clq_step *s, struct clq_error *err)
{
    const clq_tensor *x = tensor(p, s->in[0]), *y = tensor(p, s->out[0]);
    const struct clq_window *w = &s->window;
    int d0 = w->nd == 2 ? 0 : -1, d1 = w->nd == 2 ? 1 : 0; /* 1-D: height 1 */
    struct clq_dnnl_conv c = {
        .batch = x->shape[0], .ci = x->shape[x->rank - 1], .co = y->shape[y->rank - 1],
        .h = d0 < 0 ? 1 : w->in[d0], .w = w->in[d1], .oh = d0 < 0 ? 1 : w->out[d0], .ow = w->out[d1],
        .kh = d0 < 0 ? 1 : w->kernel[d0], .kw = w->kernel[d1], .stride_h = d0 < 0 ? 1 : w->stride[d0], .stride_w = w->stride[d1],
        .dilation_h = d0 < 0 ? 1 : w->dilation[d0], .dilation_w = w->dilation[d1],
        .pad_top = d0 < 0 ? 0 : w->pad_begin[d0], .pad_left = w->pad_begin[d1],
        .pad_bottom = d0 < 0 ? 0 : w->pad_end[d0], .pad_right = w->pad_end[d1],
        .groups = w->groups, .transposed = s->transposed, .residual = s->residual >= 0,
        .act = s->act, .a = s->act_a, .b = s->act_b, .weight = floats(p, s->weight), .bias = floats(p, s->bias),
    };
    if (c.w == 1 && c.kw == 1 && c.ow == 1) { /* a column is a row in memory, and rows are what the kernels block over */
        struct clq_dnnl_conv t = c;
        c.h = c.kh = c.oh = c.stride_h = c.dilation_h = 1;
        c.pad_top = c.pad_bottom = 0;
        c.w = t.h, c.kw = t.kh, c.ow = t.oh, c.stride_w = t.stride_h, c.dilation_w = t.dilation_h;
        c.pad_left = t.pad_top, c.pad_right = t.pad_bottom;
    }
    if (s->transposed) { /* output padding shortens the far side */
        c.pad_bottom = (c.h - 1) * c.stride_h + (c.kh - 1) * c.dilation_h + 1 - c.pad_top - c.oh;
        c.pad_right = (c.w - 1) * c.stride_w + (c.kw - 1) * c.dilation_w + 1 - c.pad_left - c.ow;
    }
    if (runs_as_taps(&c)) return prepare_taps(p, s, &c, err);
    return named(s, clq_dnnl_conv(&s->dnnl, p->ctx->dnnl, &c, err), err);
}

static clq_status prepare_matmul(struct clq_program *p, struct clq_step *s, struct clq_error *err)
{
    const clq_tensor *a = tensor(p, s->in[0]), *y = tensor(p, s->out[0]);
    struct clq_dnnl_matmul m = {
        .transpose_a = s->transpose_a, .transpose_b = s->transpose_b, .residual = s->residual >= 0, .alpha = s->alpha,
        .act = s->act, .a = s->act_a, .b = s->act_b, .weight = floats(p, s->weight), .bias = floats(p, s->bias),
    };
    m.n = y->shape[y->rank - 1];
    m.k = s->transpose_a ? a->shape[a->rank - 2] : a->shape[a->rank - 1];
    m.m = s->transpose_a ? a->shape[a->rank - 1] : a->shape[a->rank - 2];
    if (s->weight >= 0) {
        for (int d = 0; d < a->rank - 2; d++) m.m *= a->shape[d];
    } else {
        const clq_tensor *b = tensor(p, s->in[1]);
        m.batch_rank = (a->rank > b->rank ? a->rank : b->rank) - 2;
        for (int d = 0; d < m.batch_rank; d++) {
            int da = d - (m.batch_rank - (a->rank - 2)), db = d - (m.batch_rank - (b->rank - 2));
            m.batch_a[d] = da < 0 ? 1 : a->shape[da];
            m.batch_b[d] = db < 0 ? 1 : b->shape[db];
        }
    }
    return named(s, clq_dnnl_matmul(&s->dnnl, p->ctx->dnnl, &m, err), err);
}

static clq_status prepare_pool(struct clq_program *p, struct clq_step *s, struct clq_error *err)
{
    const clq_tensor *x = tensor(p, s->in[0]);
    const struct clq_window *w = &s->window;
    bool max = strcmp(s->node->op_type, "MaxPool") == 0 || strcmp(s->node->op_type, "GlobalMaxPool") == 0;
    struct clq_dnnl_pool d = {
        .kind = max ? CLQ_POOL_MAX : s->include_pad ? CLQ_POOL_AVG_INCLUDE_PAD : CLQ_POOL_AVG_EXCLUDE_PAD,
        .batch = x->shape[0], .h = w->in[0], .w = w->in[1], .c = x->shape[3], .oh = w->out[0], .ow = w->out[1],
        .kh = w->kernel[0], .kw = w->kernel[1], .stride_h = w->stride[0], .stride_w = w->stride[1],
        .dilation_h = w->dilation[0], .dilation_w = w->dilation[1],
        .pad_top = w->pad_begin[0], .pad_left = w->pad_begin[1], .pad_bottom = w->pad_end[0], .pad_right = w->pad_end[1],
    };
    return named(s, clq_dnnl_pool(&s->dnnl, p->ctx->dnnl, &d, err), err);
}

static clq_status prepare_softmax(struct clq_program *p, struct clq_step *s, struct clq_error *err)
{
    const clq_tensor *x = tensor(p, s->in[0]);
    if (clq_step_is_scores(s)) return CLQ_OK;
    bool flat = s->opset < 13; /* before 13 the axis cuts the shape into a matrix */
    int64_t axis = clq_node_int(s->node, "axis", flat ? 1 : -1), outer = 1, n = 1, inner = 1;
    if (axis < 0) axis += x->rank;
    for (int d = 0; d < x->rank; d++) {
        if (d < axis) outer *= x->shape[d];
        else if (d == axis || flat) n *= x->shape[d];
        else inner *= x->shape[d];
    }
    return named(s, clq_dnnl_softmax(&s->dnnl, p->ctx->dnnl, outer, n, inner, strcmp(s->node->op_type, "LogSoftmax") == 0, err), err);
}

static void need_scratch(struct clq_program *p, size_t bytes)
{
    size_t aligned = (bytes + 63) / 64 * 64;
    if (aligned > p->scratch_bytes) p->scratch_bytes = aligned;
}

static clq_status prepare_qconv(struct clq_program *p, struct clq_step *s, struct clq_error *err)
{
    const clq_tensor *x = tensor(p, s->in[0]), *y = tensor(p, s->out[0]);
    const struct clq_window *w = &s->window;
    bool two = w->nd == 2;
    int d1 = two ? 1 : 0;
    size_t phases = s->transposed ? (size_t)s->phase[0] * (size_t)s->phase[1] : 1, bytes = 0;
    s->conv = (struct clq_conv_args){
        .batch = (size_t)x->shape[0], .h = two ? (size_t)w->in[0] : 1, .w = (size_t)w->in[d1], .ci = (size_t)x->shape[x->rank - 1],
        .oh = two ? (size_t)w->out[0] : 1, .ow = (size_t)w->out[d1], .co = phases * (size_t)y->shape[y->rank - 1],
        .kh = two ? (size_t)w->kernel[0] : 1, .kw = (size_t)w->kernel[d1], .stride_h = two ? (size_t)w->stride[0] : 1,
        .stride_w = (size_t)w->stride[d1], .pad_top = two ? (size_t)w->pad_begin[0] : 0, .pad_left = (size_t)w->pad_begin[d1],
        .dilation_h = two ? (size_t)w->dilation[0] : 1, .dilation_w = (size_t)w->dilation[d1], .groups = (size_t)w->groups,
        .weight = s->weight_codes, .bias = s->bias_codes, .multiplier = s->multiplier, .zero_point_x = s->in_zero[0],
        .zero_point_y = s->out_zero, .lo = s->lo, .hi = s->hi, .out = y->dtype == CLQ_DTYPE_F32 ? CLQ_OUT_F32 : CLQ_OUT_U8,
        .residual = s->residual < 0 ? NULL : &s->sum, .bound = s->bound,
    };
    s->sum.ld = s->conv.co;
    if (s->conv.w == 1 && s->conv.kw == 1 && s->conv.ow == 1) { /* as in prepare_conv */
        struct clq_conv_args t = s->conv;
        s->conv.h = s->conv.kh = s->conv.oh = s->conv.stride_h = s->conv.dilation_h = 1;
        s->conv.pad_top = 0;
        s->conv.w = t.h, s->conv.kw = t.kh, s->conv.ow = t.oh, s->conv.stride_w = t.stride_h, s->conv.dilation_w = t.dilation_h;
        s->conv.pad_left = t.pad_top;
    }
    p->ctx->kernels.conv_u8s8_plan(&s->conv);
    if (s->conv.packed_bytes > 0) {
        s->conv.packed = clq_arena_alloc(&p->arena, s->conv.packed_bytes);
        if (!s->conv.packed) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    }
    p->ctx->kernels.conv_u8s8_pack(&s->conv);
    need_scratch(p, s->conv.scratch_bytes);
    if (!s->transposed) return CLQ_OK;
    bool fits = clq_size_mul(&bytes, s->conv.batch, s->conv.oh) && clq_size_mul(&bytes, bytes, s->conv.ow) &&
                clq_size_mul(&bytes, bytes, s->conv.co) && clq_size_mul(&bytes, bytes, clq_dtype_bits(y->dtype) / 8);
    if (!fits || !(s->phases = clq_arena_alloc(&p->arena, bytes)))
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "node '%s': no memory for the phases of its output", s->node->name);
    return CLQ_OK;
}

static clq_status prepare_qgemm(struct clq_program *p, struct clq_step *s, struct clq_error *err)
{
    const clq_tensor *x = tensor(p, s->in[0]), *y = tensor(p, s->out[0]);
    size_t k = (size_t)x->shape[x->rank - 1], n = (size_t)y->shape[y->rank - 1], m = 1;
    for (int d = 0; d < x->rank - 1; d++) m *= (size_t)x->shape[d];
    s->gemm = (struct clq_gemm_args){
        .m = m, .n = n, .k = k, .lda = k, .ldy = n, .weight = s->weight_codes, .bias = s->bias_codes, .multiplier = s->multiplier,
        .zero_point_a = s->in_zero[0], .zero_point_y = s->out_zero, .lo = s->lo, .hi = s->hi,
        .out = y->dtype == CLQ_DTYPE_F32 ? CLQ_OUT_F32 : CLQ_OUT_U8, .bound = s->bound,
    };
    s->sum.ld = n;
    if (s->residual >= 0 && s->gemm.out == CLQ_OUT_U8) s->gemm.residual = &s->sum; /* real ones are added behind the kernel */
    p->ctx->kernels.gemm_u8s8_plan(&s->gemm);
    if (s->gemm.packed_bytes > 0) {
        s->gemm.packed = clq_arena_alloc(&p->arena, s->gemm.packed_bytes);
        if (!s->gemm.packed) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    }
    p->ctx->kernels.gemm_u8s8_pack(&s->gemm);
    need_scratch(p, s->gemm.scratch_bytes);
    return CLQ_OK;
}

static clq_status prepare_q4gemm(struct clq_program *p, struct clq_step *s, struct clq_error *err)
{
    const clq_tensor *x = tensor(p, s->in[0]);
    struct clq_gemm_u4_args *g = &s->gemm4;
    g->m = 1;
    for (int d = 0; d < x->rank - 1; d++) g->m *= (size_t)x->shape[d];
    g->lda = g->k;
    g->ldy = g->n;
    g->flipped = true;
    (s->n_in > 1 ? p->ctx->kernels.gemm_s8u4_plan : p->ctx->kernels.gemm_f32u4_plan)(g);
    if (g->packed_bytes > 0) {
        g->packed = clq_arena_alloc(&p->arena, g->packed_bytes);
        if (!g->packed) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    }
    p->ctx->kernels.gemm_s8u4_pack(g);
    need_scratch(p, g->scratch_bytes);
    return CLQ_OK;
}

static clq_status prepare_attention(struct clq_program *p, struct clq_step *s, struct clq_error *err)
{
    struct clq_attention_args *a = &s->attention;
    size_t sizes, rows, copies, units;
    /* No version keeps more than 64 rows of each, and one head's keys and values, nor cuts more units than there are rows. */
    bool fits = clq_size_add(&sizes, a->size, a->size_v) && clq_size_add(&rows, sizes, a->keys) && clq_size_mul(&rows, rows, 64) &&
                clq_size_mul(&copies, sizes, a->keys) && clq_size_add(&copies, copies, rows) && clq_size_mul(&copies, copies, sizeof(float)) &&
                clq_size_mul(&units, a->batch, a->heads) && clq_size_mul(&units, units, a->rows);
    if (!fits) return clq_fail(err, CLQ_ERR_UNSUPPORTED, "node '%s': the size of its scratch overflows", s->node->name);
    p->ctx->kernels.attention_f32_plan(a);
    need_scratch(p, a->scratch_bytes);
    return CLQ_OK;
}

static bool wanted_on_device(const struct clq_program *p, const struct clq_step *s, const struct clq_program_options *o)
{
    if (!p->ctx->cl || !s->node) return false;
    if (o->device_all) return true;
    return o->device_nodes && clq_map_get(o->device_nodes, s->node->name) >= 0;
}

static clq_status prepare_step(struct clq_program *p, struct clq_step *s, struct clq_error *err)
{
    switch (s->kind) {
    case CLQ_STEP_CONV: return prepare_conv(p, s, err);
    case CLQ_STEP_MATMUL: return prepare_matmul(p, s, err);
    case CLQ_STEP_POOL: return prepare_pool(p, s, err);
    case CLQ_STEP_SOFTMAX: return prepare_softmax(p, s, err);
    case CLQ_STEP_ATTENTION: return prepare_attention(p, s, err);
    case CLQ_STEP_QCONV: return prepare_qconv(p, s, err);
    case CLQ_STEP_QGEMM: return prepare_qgemm(p, s, err);
    case CLQ_STEP_Q4GEMM: return prepare_q4gemm(p, s, err);
    default: return CLQ_OK;
    }
}

clq_status clq_pass_prepare(struct clq_program *p, const struct clq_program_options *options, struct clq_error *err)
{
    for (int i = 0; i < p->n_steps; i++) {
        struct clq_step *s = &p->steps[i];
        if (s->dead) continue;
        CLQ_TRY(prepare_step(p, s, err));
        s->on_device = wanted_on_device(p, s, options);
        if (s->on_device) CLQ_TRY(clq_step_device_prepare(p, s, err));
    }
    size_t bytes;
    if (p->scratch_bytes == 0) return CLQ_OK;
    if (!clq_size_mul(&bytes, p->scratch_bytes, (size_t)p->ctx->threads) || !(p->scratch = aligned_alloc(64, bytes)))
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "kernel scratch needs %zu bytes per thread", p->scratch_bytes);
    return CLQ_OK;
}
