/* SPDX-License-Identifier: Apache-2.0
 * Float fusion: heavy operators become oneDNN steps, and the bias, residual add and activation that alone follow them move
 * into their epilogue. The fused step takes the slot of the last operator, so that a residual exists by then. */
#include <math.h>
#include <string.h>

#include "graph/integer.h"
#include "ops/rows.h"

static bool is_f32(const struct clq_program *p, int value)
{
    return value >= 0 && p->values[value].t.dtype == CLQ_DTYPE_F32;
}

static bool constant_f32(const struct clq_program *p, int value)
{
    return is_f32(p, value) && p->values[value].constant;
}

static int64_t elements(const clq_tensor *t)
{
    size_t n = 0;
    return clq_tensor_elements(&n, t) == CLQ_OK ? (int64_t)n : 0;
}

/* Output padding that exceeds the padding at the far side adds rows that oneDNN has no word for. */
static bool grows_past_the_end(const struct clq_window *w)
{
    for (int d = 0; d < w->nd; d++)
        if ((w->in[d] - 1) * w->stride[d] + (w->kernel[d] - 1) * w->dilation[d] + 1 - w->pad_begin[d] < w->out[d]) return true;
    return false;
}

static clq_status make_conv(struct clq_program *p, struct clq_step *s, struct clq_error *err)
{
    bool transposed = clq_op_is(s, "ConvTranspose");
    if (!transposed && !clq_op_is(s, "Conv")) return CLQ_OK;
    const clq_tensor *x = &p->values[s->in[0]].t;
    if (!is_f32(p, s->in[0]) || !constant_f32(p, s->in[1]) || (x->rank != 4 && x->rank != 3) || elements(x) == 0) return CLQ_OK;
    int bias = s->n_in > 2 ? s->in[2] : -1;
    if (bias >= 0 && !constant_f32(p, bias)) return CLQ_OK;
    CLQ_TRY(clq_window_read(&s->window, s->node, x, &p->values[s->in[1]].t, transposed, err));
    if (transposed && grows_past_the_end(&s->window)) return CLQ_OK;
    s->kind = CLQ_STEP_CONV;
    s->transposed = transposed;
    s->weight = s->in[1];
    s->bias = bias;
    s->n_in = 1;
    return CLQ_OK;
}

static clq_status make_matmul(struct clq_program *p, struct clq_step *s)
{
    if (clq_op_is(s, "MatMul")) {
        const clq_tensor *a = &p->values[s->in[0]].t, *b = &p->values[s->in[1]].t;
        if (!is_f32(p, s->in[0]) || !is_f32(p, s->in[1]) || a->rank < 2 || b->rank < 2 || a->rank > 6 || b->rank > 6) return CLQ_OK;
        if (elements(a) == 0 || elements(b) == 0) return CLQ_OK;
        s->kind = CLQ_STEP_MATMUL;
        if (p->values[s->in[1]].constant && b->rank == 2) {
            s->weight = s->in[1];
            s->n_in = 1;
        }
        return CLQ_OK;
    }
    if (!clq_op_is(s, "Gemm")) return CLQ_OK;
    if (!is_f32(p, s->in[0]) || !constant_f32(p, s->in[1]) || elements(&p->values[s->in[0]].t) == 0) return CLQ_OK;
    int bias = s->n_in > 2 ? s->in[2] : -1;
    float beta = clq_node_float(s->node, "beta", 1);
    int64_t n = p->values[s->out[0]].t.shape[1];
    if (bias >= 0) {
        const clq_tensor *b = &p->values[bias].t;
        if (!constant_f32(p, bias) || beta != 1 || elements(b) != n || b->shape[b->rank - 1] != n) return CLQ_OK;
    }
    s->kind = CLQ_STEP_MATMUL;
    s->alpha = clq_node_float(s->node, "alpha", 1);
    s->transpose_a = clq_node_int(s->node, "transA", 0) != 0;
    s->transpose_b = clq_node_int(s->node, "transB", 0) != 0;
    s->weight = s->in[1];
    s->bias = bias;
    s->n_in = 1;
    return CLQ_OK;
}

static clq_status make_pool(struct clq_program *p, struct clq_step *s, struct clq_error *err)
{
    bool global = clq_op_is(s, "GlobalAveragePool") || clq_op_is(s, "GlobalMaxPool");
    if (!global && !clq_op_is(s, "MaxPool") && !clq_op_is(s, "AveragePool")) return CLQ_OK;
    const clq_tensor *x = &p->values[s->in[0]].t;
    if (!is_f32(p, s->in[0]) || x->rank != 4 || elements(x) == 0 || (s->n_out > 1 && s->out[1] >= 0)) return CLQ_OK;
    if (global) {
        s->window = (struct clq_window){.nd = 2, .groups = 1};
        for (int d = 0; d < 2; d++) {
            s->window.in[d] = s->window.kernel[d] = x->shape[2 + d];
            s->window.out[d] = s->window.stride[d] = s->window.dilation[d] = 1;
        }
    } else {
        CLQ_TRY(clq_window_read(&s->window, s->node, x, NULL, false, err));
        bool max = clq_op_is(s, "MaxPool");
        if (!max && clq_node_int(s->node, "ceil_mode", 0) != 0) return CLQ_OK;
        for (int d = 0; d < 2; d++)
            if (s->window.pad_begin[d] >= s->window.kernel[d] || s->window.pad_end[d] >= s->window.kernel[d] || s->window.dilation[d] != 1)
                return CLQ_OK;
    }
    s->include_pad = clq_node_int(s->node, "count_include_pad", 0) != 0;
    s->kind = CLQ_STEP_POOL;
    s->n_out = 1;
    return CLQ_OK;
}

static void make_softmax(struct clq_program *p, struct clq_step *s)
{
    if (!clq_op_is(s, "Softmax") && !clq_op_is(s, "LogSoftmax")) return;
    if (!is_f32(p, s->in[0]) || elements(&p->values[s->in[0]].t) == 0) return;
    s->kind = CLQ_STEP_SOFTMAX;
}

/* A constant of n values: operators also take scales and shifts that broadcast. */
static bool is_tail(const struct clq_program *p, int value, int64_t n)
{
    return constant_f32(p, value) && elements(&p->values[value].t) == n;
}

static void make_layernorm(struct clq_program *p, struct clq_step *s)
{
    if (!clq_op_is(s, "LayerNormalization")) return;
    const clq_tensor *x = &p->values[s->in[0]].t;
    int64_t axis = clq_node_int(s->node, "axis", -1);
    if (!is_f32(p, s->in[0]) || (axis != -1 && axis != x->rank - 1) || elements(x) == 0) return;
    const int64_t n = x->shape[x->rank - 1];
    if (!is_tail(p, s->in[1], n) || (s->n_in > 2 && s->in[2] >= 0 && !is_tail(p, s->in[2], n))) return;
    for (int k = 1; k < s->n_out; k++)
        if (s->out[k] >= 0 && p->values[s->out[k]].uses > 0) return;
    s->weight = s->in[1];
    s->bias = s->n_in > 2 ? s->in[2] : -1;
    s->act_a = clq_node_float(s->node, "epsilon", 1e-5f);
    s->kind = CLQ_STEP_LAYERNORM;
    s->n_in = s->n_out = 1;
}

/* The fused form of an activation node, or false. */
static bool activation(const struct clq_program *p, const struct clq_step *s, enum clq_act *act, float *a, float *b)
{
    *a = *b = 0;
    if (clq_op_is(s, "Relu")) *act = CLQ_ACT_RELU;
    else if (clq_op_is(s, "HardSwish")) *act = CLQ_ACT_HARDSWISH;
    else if (clq_op_is(s, "Sigmoid")) *act = CLQ_ACT_SIGMOID;
    else if (clq_op_is(s, "Tanh")) *act = CLQ_ACT_TANH;
    else if (clq_op_is(s, "Gelu")) *act = strcmp(clq_node_string(s->node, "approximate", "none"), "tanh") == 0 ? CLQ_ACT_GELU_TANH : CLQ_ACT_GELU;
    else if (clq_op_is(s, "Swish") && clq_node_float(s->node, "alpha", 1) == 1) *act = CLQ_ACT_SWISH;
    else if (clq_op_is(s, "LeakyRelu")) {
        *act = CLQ_ACT_LEAKY;
        *a = clq_node_float(s->node, "alpha", 0.01f);
    } else if (clq_op_is(s, "HardSigmoid")) {
        *act = CLQ_ACT_HARDSIGMOID;
        *a = clq_node_float(s->node, "alpha", 0.2f);
        *b = clq_node_float(s->node, "beta", 0.5f);
    } else if (clq_op_is(s, "Clip")) {
        *act = CLQ_ACT_CLIP;
        *a = -3.402823466e38f;
        *b = 3.402823466e38f;
        if (s->n_in == 1) {
            *a = clq_node_float(s->node, "min", *a);
            *b = clq_node_float(s->node, "max", *b);
        } else {
            if (s->in[1] >= 0 && !clq_value_scalar_f32(p, s->in[1], a)) return false;
            if (s->n_in > 2 && s->in[2] >= 0 && !clq_value_scalar_f32(p, s->in[2], b)) return false;
        }
        if (!(*a <= *b)) return false;
    } else return false;
    return true;
}

/* Moves the product from slot i into the slot of the operator that follows it. */
static void move_to(struct clq_program *p, int i, int c)
{
    struct clq_step made = p->steps[i];
    int *out = p->steps[c].out;
    p->steps[i].dead = true;
    made.out = out;
    p->steps[c] = made;
    p->values[out[0]].producer = c;
}

static bool same_shape(const clq_tensor *a, const clq_tensor *b)
{
    return a->rank == b->rank && memcmp(a->shape, b->shape, (size_t)a->rank * sizeof *a->shape) == 0;
}

/* Bias [n] or [1,..,n] added to a product that has none. */
static bool takes_bias(const struct clq_program *p, const struct clq_step *s, int other)
{
    if (s->kind == CLQ_STEP_CONV || s->bias >= 0 || s->residual >= 0 || s->act != CLQ_ACT_NONE || !constant_f32(p, other)) return false;
    const clq_tensor *b = &p->values[other].t, *y = &p->values[s->out[0]].t;
    return b->rank >= 1 && b->rank <= y->rank && elements(b) == y->shape[y->rank - 1] && b->shape[b->rank - 1] == elements(b);
}

/* Steps whose epilogue takes float operators; integer products only those that rows.h has. */
static bool takes_float(const struct clq_program *p, const struct clq_step *s)
{
    if (s->kind == CLQ_STEP_CONV || s->kind == CLQ_STEP_MATMUL) return true;
    return (s->kind == CLQ_STEP_QGEMM || s->kind == CLQ_STEP_Q4GEMM) && is_f32(p, s->out[0]);
}

/* Fuses what follows step i, one operator after the other. */
static void fuse_following(struct clq_program *p, int i, bool observable)
{
    for (;;) {
        struct clq_step *s = &p->steps[i];
        int c = clq_program_find_consumer(p, s->out[0]);
        if (c < 0 || s->act != CLQ_ACT_NONE) return;
        const struct clq_step *next = &p->steps[c];
        enum clq_act act;
        float a, b;
        if (activation(p, next, &act, &a, &b) && next->in[0] == s->out[0]) {
            if (observable && act != CLQ_ACT_RELU && act != CLQ_ACT_CLIP) return;
            if (s->kind != CLQ_STEP_CONV && s->kind != CLQ_STEP_MATMUL && !clq_rows_takes_act(act)) return;
            s->act = act;
            s->act_a = a;
            s->act_b = b;
            move_to(p, i, c);
        } else if (!observable && clq_op_is(next, "Add")) {
            int other = next->in[0] == s->out[0] ? next->in[1] : next->in[0];
            if (other == s->out[0] || !same_shape(&p->values[next->out[0]].t, &p->values[s->out[0]].t)) return;
            if (takes_bias(p, s, other)) s->bias = other;
            else if (s->residual < 0 && is_f32(p, other) && same_shape(&p->values[other].t, &p->values[s->out[0]].t)) s->residual = other;
            else return;
            move_to(p, i, c);
        } else return;
        i = c;
    }
}

clq_status clq_pass_fuse(struct clq_program *p, bool observable, struct clq_error *err)
{
    for (int i = 0; i < p->n_steps; i++) {
        struct clq_step *s = &p->steps[i];
        if (s->dead || s->kind != CLQ_STEP_OP) continue;
        CLQ_TRY(clq_nbits_widen(p, s, err));
        CLQ_TRY(make_conv(p, s, err));
        if (s->kind == CLQ_STEP_OP) CLQ_TRY(make_matmul(p, s));
        if (s->kind == CLQ_STEP_OP) CLQ_TRY(make_pool(p, s, err));
        if (s->kind == CLQ_STEP_OP) make_softmax(p, s);
        if (s->kind == CLQ_STEP_OP) make_layernorm(p, s);
    }
    clq_program_count_uses(p);
    for (int i = 0; i < p->n_steps; i++)
        if (!p->steps[i].dead && takes_float(p, &p->steps[i])) fuse_following(p, i, observable);
    clq_program_count_uses(p);
    return CLQ_OK;
}
