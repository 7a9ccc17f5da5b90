/* SPDX-License-Identifier: Apache-2.0
 * The steps of a session's programs: how many there are of which kind, what each does, and the time that it took. */
#include <string.h>

#include "graph/stages.h"
#include "session.h"

static struct clq_program *latest_program(const struct clq_session *session)
{
    struct clq_program *p = NULL;
    uint64_t latest = 0;
    for (int i = 0; i < CLQ_RUNNER_KEEP; i++)
        if (session->runner.programs[i] && session->runner.used[i] >= latest) {
            p = session->runner.programs[i];
            latest = session->runner.used[i];
        }
    return p;
}

static struct clq_program *next_stage(const struct clq_program *p)
{
    return p->rest ? p->rest->stage.programs[p->rest->stage.latest] : NULL;
}

clq_status clq_session_describe(clq_session_stats *out, const clq_session *session)
{
    if (!out || !session) return CLQ_ERR_INVALID_ARGUMENT;
    *out = (clq_session_stats){0};
    const struct clq_program *p = latest_program(session);
    for (int i = 0; p && i < p->n_steps; i++) {
        const struct clq_step *s = &p->steps[i];
        if (s->dead) continue;
        if (s->on_device) out->device_steps++;
        if (s->kind >= CLQ_STEP_QCONV && s->kind <= CLQ_STEP_QMOVE) out->integer_steps++;
        else if (s->kind >= CLQ_STEP_CONV && s->kind <= CLQ_STEP_LAYERNORM) out->float_steps++;
        else out->other_steps++;
    }
    return CLQ_OK;
}

/* ---- Times ---- */

/* A program and the stages behind it, those that will be compiled too. */
static void time_program(struct clq_program *p, bool on)
{
    while (p) {
        struct clq_program *next = NULL;
        p->timed = on;
        if (p->rest) p->rest->stage.options.timed = on;
        for (int k = 0; p->rest && k < CLQ_STAGE_KEEP; k++) {
            struct clq_program *q = p->rest->stage.programs[k];
            if (q && k == p->rest->stage.latest) next = q;
            else if (q) q->timed = on;
        }
        p = next;
    }
}

clq_status clq_session_time_steps(clq_session *session, bool on)
{
    if (!session) return CLQ_ERR_INVALID_ARGUMENT;
    session->runner.options.timed = on;
    for (int i = 0; i < CLQ_RUNNER_KEEP; i++) time_program(session->runner.programs[i], on);
    return CLQ_OK;
}

/* ---- What a step is ---- */
static const char *kernel_of(const struct clq_program *p, const struct clq_step *s)
{
    const struct clq_kernels *k = &p->ctx->kernels;
    if (s->on_device) return "OpenCL";
    if (s->dnnl || s->n_taps) return "oneDNN";
    switch (s->kind) {
    case CLQ_STEP_QCONV: return k->variant.conv_u8s8;
    case CLQ_STEP_QGEMM: return k->variant.gemm_u8s8;
    case CLQ_STEP_Q4GEMM: return s->n_in > 1 ? k->variant.gemm_s8u4 : k->variant.gemm_f32u4;
    case CLQ_STEP_ATTENTION: return k->variant.attention_f32;
    case CLQ_STEP_QUANTIZE:
    case CLQ_STEP_QUANTIZE_ROWS: return k->variant.quantize_f32_u8;
    case CLQ_STEP_DEQUANTIZE: return k->variant.dequantize_u8_f32;
    case CLQ_STEP_QADD: return k->variant.add_u8;
    case CLQ_STEP_QMUL: return k->variant.mul_u8;
    case CLQ_STEP_QLUT: return k->variant.lut_u8;
    case CLQ_STEP_QCONCAT: return k->variant.copy_rows_u8;
    case CLQ_STEP_LAYOUT: return k->variant.transpose_u32;
    case CLQ_STEP_QMAXPOOL: return k->variant.maxpool_u8;
    case CLQ_STEP_QAVGPOOL: return k->variant.avgpool_u8;
    default: return "C";
    }
}

static const char *op_of(const struct clq_step *s)
{
    switch (s->kind) {
    case CLQ_STEP_SOFTMAX: return "Softmax";
    case CLQ_STEP_ATTENTION: return "Attention";
    case CLQ_STEP_LAYERNORM: return "LayerNormalization";
    case CLQ_STEP_QUANTIZE: return "QuantizeLinear";
    case CLQ_STEP_DEQUANTIZE: return "DequantizeLinear";
    case CLQ_STEP_QUANTIZE_ROWS: return "QuantizeRows";
    case CLQ_STEP_LAYOUT: return "Layout";
    default: return s->node ? s->node->op_type : "";
    }
}

static const char *activation_of(const struct clq_step *s)
{
    static const char *const names[] = {
        [CLQ_ACT_RELU] = "Relu", [CLQ_ACT_CLIP] = "Clip", [CLQ_ACT_LEAKY] = "LeakyRelu", [CLQ_ACT_HARDSWISH] = "HardSwish",
        [CLQ_ACT_HARDSIGMOID] = "HardSigmoid", [CLQ_ACT_SIGMOID] = "Sigmoid", [CLQ_ACT_TANH] = "Tanh", [CLQ_ACT_GELU] = "Gelu",
        [CLQ_ACT_GELU_TANH] = "Gelu", [CLQ_ACT_SWISH] = "Swish", [CLQ_ACT_ELU] = "Elu",
    };
    return (size_t)s->act < sizeof names / sizeof *names ? names[s->act] : NULL;
}

static double elements(const struct clq_program *p, int value)
{
    size_t n;
    return value >= 0 && clq_tensor_elements(&n, &p->values[value].t) == CLQ_OK ? (double)n : 0;
}

static double bytes_of(const struct clq_program *p, int value)
{
    size_t n;
    return value >= 0 && clq_tensor_bytes(&n, &p->values[value].t) == CLQ_OK ? (double)n : 0;
}

static double macs_of(const struct clq_program *p, const struct clq_step *s)
{
    const clq_tensor *x = s->n_in > 0 && s->in[0] >= 0 ? &p->values[s->in[0]].t : NULL;
    switch (s->kind) {
    case CLQ_STEP_CONV: {
        const int64_t channels = p->values[s->weight].t.shape[0]; /* of the output, or transposed of the input */
        return channels > 0 ? elements(p, s->transposed ? s->in[0] : s->out[0]) * elements(p, s->weight) / (double)channels : 0;
    }
    case CLQ_STEP_MATMUL: return elements(p, s->out[0]) * (double)x->shape[x->rank - (s->transpose_a ? 2 : 1)];
    case CLQ_STEP_ATTENTION:
        return (double)s->attention.batch * (double)s->attention.heads * (double)s->attention.rows * (double)s->attention.keys *
               (double)(s->attention.size + s->attention.size_v);
    case CLQ_STEP_QCONV:
        return (double)s->conv.batch * (double)(s->conv.oh * s->conv.ow) * (double)s->conv.co * (double)(s->conv.kh * s->conv.kw) *
               (double)(s->conv.ci / s->conv.groups);
    case CLQ_STEP_QGEMM: return (double)s->gemm.m * (double)s->gemm.n * (double)s->gemm.k;
    case CLQ_STEP_Q4GEMM: return (double)s->gemm4.m * (double)s->gemm4.n * (double)s->gemm4.k;
    default: return 0;
    }
}

static double weight_bytes(const struct clq_program *p, const struct clq_step *s)
{
    const struct clq_gemm_u4_args *g = &s->gemm4;
    switch (s->kind) {
    case CLQ_STEP_QCONV: return (double)s->conv.co * (double)(s->conv.kh * s->conv.kw) * (double)(s->conv.ci / s->conv.groups);
    case CLQ_STEP_QGEMM: return (double)s->gemm.n * (double)s->gemm.k;
    case CLQ_STEP_Q4GEMM: return (double)g->n * ((double)g->k / 2 + (double)((g->k + g->group - 1) / g->group) * (g->scale_f16 ? 2 : 4));
    default: return bytes_of(p, s->weight);
    }
}

static const char *arithmetic_of(const struct clq_program *p, const struct clq_step *s)
{
    if (s->kind == CLQ_STEP_Q4GEMM) return "int4";
    if (s->kind == CLQ_STEP_QGEMM || s->kind == CLQ_STEP_QCONV) return "int8";
    if (s->n_out == 0 || s->out[0] < 0) return "";
    return clq_dtype_name(p->values[s->out[0]].t.dtype);
}

static void describe(clq_session_step *out, const struct clq_program *p, const struct clq_step *s)
{
    *out = (clq_session_step){.name = s->node ? s->node->name : "", .op = op_of(s), .kernel = kernel_of(p, s), .arithmetic = arithmetic_of(p, s),
                              .residual = s->residual >= 0, .activation = activation_of(s), .macs = macs_of(p, s),
                              .seconds = s->seconds, .runs = s->runs};
    out->bias = out->macs > 0 && (s->bias >= 0 || s->bias_codes);
    if (s->n_out > 0 && s->out[0] >= 0) {
        const clq_tensor *y = &p->values[s->out[0]].t;
        out->rank = y->rank;
        memcpy(out->shape, y->shape, sizeof out->shape);
    }
    for (int k = 0; k < s->n_in; k++)
        if (s->in[k] >= 0 && !p->values[s->in[k]].constant) out->bytes += bytes_of(p, s->in[k]);
    for (int k = 0; k < s->n_out; k++) out->bytes += bytes_of(p, s->out[k]);
    out->bytes += bytes_of(p, s->residual) + weight_bytes(p, s);
}

static bool runs(const struct clq_program *p, const struct clq_step *s)
{
    const bool moves = s->kind == CLQ_STEP_OP || s->kind == CLQ_STEP_QMOVE;
    return !s->dead && !(moves && s->n_out > 0 && s->out[0] >= 0 && p->values[s->out[0]].alias >= 0);
}

clq_status clq_session_get_step(clq_session_step *out, const clq_session *session, int index)
{
    if (!out || !session || index < 0 || session->ctx->runtime) return CLQ_ERR_INVALID_ARGUMENT;
    for (const struct clq_program *p = latest_program(session); p; p = next_stage(p))
        for (int i = 0; i < p->n_steps; i++)
            if (runs(p, &p->steps[i]) && index-- == 0) {
                describe(out, p, &p->steps[i]);
                return CLQ_OK;
            }
    return CLQ_ERR_INVALID_ARGUMENT;
}
