/* SPDX-License-Identifier: Apache-2.0
 * Integer steps on the OpenCL device. A step that the device does not take, or fails, runs on the CPU with the same bytes; the
 * context then remembers why. */
#include <stdio.h>
#include <string.h>

#include "graph/program.h"

#ifdef CLQ_HAVE_OPENCL
#include "device_cl.h"

static void *data(const struct clq_program *p, int v)
{
    return p->values[v].t.data;
}

static size_t count(const struct clq_program *p, int v)
{
    size_t n = 0;
    return clq_tensor_elements(&n, &p->values[v].t) == CLQ_OK ? n : 0;
}

/* Says once why the CPU takes over, or fails where the device is required. */
static clq_status fall_back(struct clq_context *ctx, const struct clq_step *s, const struct clq_error *why, const char *what, struct clq_error *err)
{
    if (ctx->require_device)
        return clq_fail(err, CLQ_ERR_DEVICE, "node '%s' (%s): the required device failed: %s", s->node->name, s->node->op_type, why->text);
    if (ctx->device_note[0]) return CLQ_OK;
    snprintf(ctx->device_note, sizeof ctx->device_note, "node '%.60s': %.380s; %s on the CPU", s->node->name, why->text, what);
    clq_context_log(ctx, "device failed: %s", ctx->device_note);
    return CLQ_OK;
}

clq_status clq_step_device_prepare(struct clq_program *p, struct clq_step *s, struct clq_error *err)
{
    struct clq_error why = {0};
    struct clq_cl_weight *w = NULL;
    clq_status st = CLQ_OK;
    if (p->ctx->cl_dead) {
        s->on_device = false;
        return CLQ_OK;
    }
    if (s->kind == CLQ_STEP_QCONV) {
        st = clq_cl_supports_conv(p->ctx->cl, &s->conv) ? clq_cl_prepare_conv(&w, p->ctx->cl, &s->conv, &why) : CLQ_ERR_UNSUPPORTED;
    } else if (s->kind == CLQ_STEP_QGEMM) {
        bool alone = s->n_in == 1 && s->bias < 0 && (s->residual < 0 || s->gemm.residual) && s->act == CLQ_ACT_NONE; /* the rest is the CPU's */
        st = alone && clq_cl_supports_gemm(p->ctx->cl, &s->gemm) ? clq_cl_prepare_gemm(&w, p->ctx->cl, false, &s->gemm, &why) : CLQ_ERR_UNSUPPORTED;
    } else if (s->kind == CLQ_STEP_QMUL) s->on_device = count(p, s->in[0]) == count(p, s->in[1]);
    else if (s->kind != CLQ_STEP_QADD && s->kind != CLQ_STEP_QLUT && s->kind != CLQ_STEP_QUANTIZE && s->kind != CLQ_STEP_DEQUANTIZE)
        s->on_device = false;
    s->cl_object = w;
    if (st == CLQ_OK) return CLQ_OK;
    s->on_device = false;
    if (st == CLQ_ERR_DEVICE) p->ctx->cl_dead = true;
    return st == CLQ_ERR_UNSUPPORTED ? CLQ_OK : fall_back(p->ctx, s, &why, st == CLQ_ERR_DEVICE ? "the rest runs" : "such nodes run", err);
}

static clq_status run_on(struct clq_program *p, struct clq_step *s, struct clq_error *err)
{
    struct clq_cl *cl = p->ctx->cl;
    switch (s->kind) {
    case CLQ_STEP_QCONV:
        s->conv.x = data(p, s->in[0]);
        s->conv.y = clq_step_conv_output(p, s);
        if (s->residual >= 0) s->sum.codes = data(p, s->residual);
        return clq_cl_conv(cl, s->cl_object, &s->conv, NULL, err);
    case CLQ_STEP_QGEMM:
        s->gemm.a = data(p, s->in[0]);
        s->gemm.y = data(p, s->out[0]);
        if (s->residual >= 0) s->sum.codes = data(p, s->residual);
        return clq_cl_gemm(cl, s->cl_object, &s->gemm, NULL, err);
    case CLQ_STEP_QUANTIZE: {
        struct clq_quantize_args a = {data(p, s->in[0]), data(p, s->out[0]), count(p, s->out[0]), s->out_scale, s->out_zero, false};
        return clq_cl_supports_quantize(cl, &a) ? clq_cl_quantize(cl, false, &a, NULL, err) : CLQ_ERR_UNSUPPORTED;
    }
    case CLQ_STEP_DEQUANTIZE: {
        struct clq_dequantize_args a = {data(p, s->in[0]), data(p, s->out[0]), count(p, s->out[0]), s->in_scale[0], s->in_zero[0], false};
        return clq_cl_supports_dequantize(cl, &a) ? clq_cl_dequantize(cl, false, &a, NULL, err) : CLQ_ERR_UNSUPPORTED;
    }
    case CLQ_STEP_QLUT: {
        struct clq_lut_args a = {data(p, s->in[0]), data(p, s->out[0]), count(p, s->out[0]), s->tables};
        return clq_cl_lut(cl, &a, NULL, err);
    }
    default: {
        struct clq_binary_u8_args a = {data(p, s->in[0]), data(p, s->in[1]), data(p, s->out[0]), count(p, s->out[0]), s->in_scale[0],
                                       s->in_scale[1], s->out_scale, s->in_zero[0], s->in_zero[1], s->out_zero, s->lo, s->hi};
        if (!clq_cl_supports_binary(cl, &a)) return CLQ_ERR_UNSUPPORTED;
        return s->kind == CLQ_STEP_QADD ? clq_cl_add(cl, &a, NULL, err) : clq_cl_mul(cl, &a, NULL, err);
    }
    }
}

clq_status clq_step_device_run(struct clq_program *p, struct clq_step *s, bool *done, struct clq_error *err)
{
    struct clq_context *ctx = p->ctx;
    *done = false;
    if (ctx->cl_dead) return CLQ_OK;
    struct clq_error why = {0};
    clq_status st = run_on(p, s, &why);
    if (st == CLQ_OK) {
        *done = true;
        return CLQ_OK;
    }
    if (st == CLQ_ERR_UNSUPPORTED) {
        s->on_device = false;
        return CLQ_OK;
    }
    ctx->cl_dead = true;
    return fall_back(ctx, s, &why, "the rest runs", err);
}

void clq_step_device_free(struct clq_program *p, struct clq_step *s)
{
    if (s->cl_object) clq_cl_weight_free(p->ctx->cl, s->cl_object);
    s->cl_object = NULL;
}
#else
clq_status clq_step_device_prepare(struct clq_program *p, struct clq_step *s, struct clq_error *err)
{
    (void)p;
    (void)err;
    s->on_device = false;
    return CLQ_OK;
}

clq_status clq_step_device_run(struct clq_program *p, struct clq_step *s, bool *done, struct clq_error *err)
{
    (void)p;
    (void)s;
    (void)err;
    *done = false;
    return CLQ_OK;
}

void clq_step_device_free(struct clq_program *p, struct clq_step *s)
{
    (void)p;
    (void)s;
}
#endif
