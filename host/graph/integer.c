/* SPDX-License-Identifier: Apache-2.0
 * The integer pass: Q/DQ patterns become steps that work on codes. All codes are uint8 inside: int8 activations are shifted
 * by 128 together with their zero points, which changes no value. Each operator family has its own function. */
#include "graph/integer.h"

#include <math.h>
#include <string.h>

bool clq_op_is(const struct clq_step *s, const char *type)
{
    return s->kind == CLQ_STEP_OP && s->node->domain[0] == 0 && strcmp(s->node->op_type, type) == 0;
}

/* Reads a constant scalar zero point of an 8-bit type; absent is 0. */
static bool scalar_zero(const struct clq_program *p, const struct clq_step *s, clq_dtype dtype, int32_t *out)
{
    *out = 0;
    if (s->n_in < 3 || s->in[2] < 0) return true;
    const struct clq_value *v = &p->values[s->in[2]];
    size_t n;
    if (!v->constant || v->t.dtype != dtype || clq_tensor_elements(&n, &v->t) != CLQ_OK || n != 1) return false;
    *out = dtype == CLQ_DTYPE_U8 ? *(const uint8_t *)v->t.data : *(const int8_t *)v->t.data;
    return true;
}

static bool valid_scale(float s)
{
    return isfinite(s) && isnormal(s) && s > 0;
}

bool clq_codes_source(const struct clq_program *p, int value, struct clq_codes *out)
{
    if (value < 0 || p->values[value].producer < 0) return false;
    const struct clq_step *s = &p->steps[p->values[value].producer];
    if (s->kind != CLQ_STEP_DEQUANTIZE) return false;
    *out = (struct clq_codes){s->in[0], s->in_scale[0], s->in_zero[0]};
    return true;
}

int clq_codes_sink(const struct clq_program *p, int value, struct clq_codes *out)
{
    int c = clq_program_find_consumer(p, value);
    if (c < 0 || p->steps[c].kind != CLQ_STEP_QUANTIZE) return -1;
    *out = (struct clq_codes){p->steps[c].out[0], p->steps[c].out_scale, p->steps[c].out_zero};
    return c;
}

bool clq_weight_source(const struct clq_program *p, int value, struct clq_weight *out)
{
    if (value < 0 || p->values[value].producer < 0) return false;
    const struct clq_step *s = &p->steps[p->values[value].producer];
    if (!clq_op_is(s, "DequantizeLinear") || s->in[0] < 0 || s->in[1] < 0) return false;
    const struct clq_value *codes = &p->values[s->in[0]], *scale = &p->values[s->in[1]];
    if (!codes->constant || !scale->constant || scale->t.dtype != CLQ_DTYPE_F32 || scale->t.rank > 1) return false;
    if (codes->t.dtype != CLQ_DTYPE_S8 && codes->t.dtype != CLQ_DTYPE_U8 && codes->t.dtype != CLQ_DTYPE_S32) return false;
    if (clq_node_int(s->node, "block_size", 0) != 0) return false;
    *out = (struct clq_weight){.codes = codes, .scale = scale->t.data, .n_scale = 1};
    if (scale->t.rank == 1 && scale->t.shape[0] != 1) {
        int64_t axis = clq_node_int(s->node, "axis", 1);
        out->axis = (int)(axis < 0 ? axis + codes->t.rank : axis);
        if (out->axis < 0 || out->axis >= codes->t.rank || codes->t.shape[out->axis] != scale->t.shape[0]) return false;
        out->n_scale = (int)scale->t.shape[0];
    }
    for (int i = 0; i < out->n_scale; i++)
        if (!valid_scale(out->scale[i])) return false;
    if (s->n_in < 3 || s->in[2] < 0) return true;
    const struct clq_value *zero = &p->values[s->in[2]];
    size_t n;
    if (!zero->constant || zero->t.dtype != codes->t.dtype || clq_tensor_elements(&n, &zero->t) != CLQ_OK || n == 0) return false;
    for (size_t i = 0; i < n; i++) {
        int32_t z = zero->t.dtype == CLQ_DTYPE_U8   ? ((const uint8_t *)zero->t.data)[i]
                    : zero->t.dtype == CLQ_DTYPE_S8 ? ((const int8_t *)zero->t.data)[i]
                                                    : ((const int32_t *)zero->t.data)[i];
        if (i > 0 && z != out->shift) return false;
        out->shift = z;
    }
    return true;
}

int32_t clq_code_of(float x, float scale, int32_t zero)
{
    float y = x / scale, lo = (float)(0 - zero), hi = (float)(255 - zero);
    if (isnan(y)) return zero;
    y = y < lo ? lo : y > hi ? hi : y;
    return (int32_t)rintf(y) + zero;
}

/* Every reader of these codes is a per-tensor DequantizeLinear, so their representation is ours to choose. */
static bool only_dequantized(const struct clq_program *p, int value)
{
    if (p->values[value].is_output) return false;
    for (int i = 0; i < p->n_steps; i++) {
        const struct clq_step *s = &p->steps[i];
        if (s->dead) continue;
        for (int k = 0; k < s->n_in; k++) {
            if (s->in[k] != value) continue;
            float scale;
            int32_t zero;
            if (k != 0 || !clq_op_is(s, "DequantizeLinear") || !clq_value_scalar_f32(p, s->in[1], &scale) || !valid_scale(scale) ||
                !scalar_zero(p, s, p->values[value].t.dtype, &zero))
                return false;
        }
    }
    return true;
}

/* Marks per-tensor Q steps and the DQ steps that read them. */
static void mark_pairs(struct clq_program *p)
{
    for (int i = 0; i < p->n_steps; i++) {
        struct clq_step *s = &p->steps[i];
        float scale;
        int32_t zero;
        if (s->dead || !clq_op_is(s, "QuantizeLinear") || p->values[s->in[0]].t.dtype != CLQ_DTYPE_F32) continue;
        struct clq_value *codes = &p->values[s->out[0]];
        clq_dtype dtype = codes->t.dtype;
        if ((dtype != CLQ_DTYPE_U8 && dtype != CLQ_DTYPE_S8) || !clq_value_scalar_f32(p, s->in[1], &scale) || !valid_scale(scale) ||
            !scalar_zero(p, s, dtype, &zero) || !only_dequantized(p, s->out[0]))
            continue;
        int32_t shift = dtype == CLQ_DTYPE_S8 ? 128 : 0;
        s->kind = CLQ_STEP_QUANTIZE;
        s->out_scale = scale;
        s->out_zero = zero + shift;
        s->n_in = 1;
        codes->t.dtype = CLQ_DTYPE_U8;
        codes->has_q = true;
        codes->scale = scale;
        codes->zero_point = zero + shift;
        for (int k = i + 1; k < p->n_steps; k++) {
            struct clq_step *d = &p->steps[k];
            if (d->dead || d->n_in < 1 || d->in[0] != s->out[0] || !clq_op_is(d, "DequantizeLinear")) continue;
            clq_value_scalar_f32(p, d->in[1], &d->in_scale[0]);
            scalar_zero(p, d, dtype, &d->in_zero[0]);
            d->in_zero[0] += shift;
            d->kind = CLQ_STEP_DEQUANTIZE;
            d->n_in = 1;
        }
    }
    clq_program_count_uses(p);
}

clq_status clq_pass_integer(struct clq_program *p, bool sums_apart, struct clq_error *err)
{
    static clq_integer_fn *const families[] = {
        clq_integer_conv,   clq_integer_transposed, clq_integer_matmul, clq_integer_binary,    clq_integer_pool,
        clq_integer_concat, clq_integer_unary,      clq_integer_move,   clq_integer_requantize,
    };
    mark_pairs(p);
    CLQ_TRY(clq_integer_rows(p, err));
    for (int i = 0; i < p->n_steps; i++) {
        bool done = false;
        for (size_t f = 0; f < sizeof families / sizeof *families && !done && !p->steps[i].dead; f++)
            CLQ_TRY(families[f](p, i, &done, err));
    }
    clq_program_count_uses(p);
    if (!sums_apart) clq_integer_residuals(p);
    return CLQ_OK;
}
