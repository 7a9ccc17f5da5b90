/* SPDX-License-Identifier: Apache-2.0
 * Products whose activations are quantized while running, one scale per row (token). Two forms arrive here: integer products
 * spelled out in standard operators, as qdq_modes.c writes them, and products with 4-bit weights, which run on 8-bit rows as
 * onnxruntime's accuracy level 4 does, or on real rows where the file asks for another level. Many rows want such weights in 8 bits
 * (README.md). Rows that several products read are quantized once. */
#include <math.h>
#include <string.h>

#include "graph/integer.h"

static clq_status no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

static struct clq_step *maker(const struct clq_program *p, int value, const char *type)
{
    if (value < 0 || p->values[value].producer < 0 || p->values[value].is_output) return NULL;
    struct clq_step *s = &p->steps[p->values[value].producer];
    return !s->dead && clq_op_is(s, type) ? s : NULL;
}

static bool last_axis(const struct clq_program *p, const struct clq_step *s)
{
    int64_t axis = 0, rank = p->values[s->in[0]].t.rank;
    const struct clq_attr *a = clq_node_attr(s->node, "axes");
    size_t n = 0;
    if (a && a->type == CLQ_ATTR_INTS && a->n == 1) axis = a->ints[0];
    else if (!a && s->n_in > 1 && s->in[1] >= 0 && p->values[s->in[1]].constant && p->values[s->in[1]].t.dtype == CLQ_DTYPE_S64 &&
             clq_tensor_elements(&n, &p->values[s->in[1]].t) == CLQ_OK && n == 1)
        memcpy(&axis, p->values[s->in[1]].t.data, sizeof axis);
    else return false;
    return clq_node_int(s->node, "keepdims", 1) == 1 && (axis == -1 || axis == rank - 1);
}

/* The scale is written where the codes are, which may be later than where it was: nobody but the division reads it before. */
static bool scale_waits(const struct clq_program *p, const struct clq_step *cast, const struct clq_step *div, int scale)
{
    for (const struct clq_step *s = p->steps; s < cast; s++)
        for (int k = 0; k < s->n_in && !s->dead && s != div; k++)
            if (s->in[k] == scale) return false;
    return true;
}

/* The x of codes = Cast(Round(x / scale)) with scale = Max(ReduceMax(|x|) / 127, smallest normal). */
static int rows_of(const struct clq_program *p, const struct clq_step *cast, int *scale)
{
    float limit, least;
    if (!clq_op_is(cast, "Cast") || p->values[cast->out[0]].t.dtype != CLQ_DTYPE_S8) return -1;
    const struct clq_step *round = maker(p, cast->in[0], "Round"), *div = round ? maker(p, round->in[0], "Div") : NULL;
    const struct clq_step *max = div ? maker(p, div->in[1], "Max") : NULL, *share = max && max->n_in == 2 ? maker(p, max->in[0], "Div") : NULL;
    const struct clq_step *reduce = share ? maker(p, share->in[0], "ReduceMax") : NULL, *abs = reduce ? maker(p, reduce->in[0], "Abs") : NULL;
    if (!abs || abs->in[0] != div->in[0] || !last_axis(p, reduce)) return -1;
    if (!clq_value_scalar_f32(p, share->in[1], &limit) || limit != 127 || !clq_value_scalar_f32(p, max->in[1], &least) || least != CLQ_SMALLEST_SCALE) return -1;
    const clq_tensor *x = &p->values[div->in[0]].t;
    if (x->dtype != CLQ_DTYPE_F32 || x->rank < 2) return -1;
    if (p->values[round->out[0]].uses != 1 || p->values[div->out[0]].uses != 1 || !scale_waits(p, cast, div, div->in[1])) return -1;
    *scale = div->in[1];
    return div->in[0];
}

/* One product that reads row codes: MatMulInteger, Cast, Mul by the weights' scales, Mul by the rows' scales. */
struct chain {
    int product, tail;
    const struct clq_value *weight;
    const float *scale;
    bool per_channel;
};

static bool follow_chain(const struct clq_program *p, int i, int rows_scale, struct chain *c)
{
    const struct clq_step *s = &p->steps[i];
    size_t n = 0;
    *c = (struct chain){.product = i};
    if (!clq_op_is(s, "MatMulInteger") || s->in[1] < 0 || (s->n_in > 2 && s->in[2] >= 0) || (s->n_in > 3 && s->in[3] >= 0)) return false;
    c->weight = &p->values[s->in[1]];
    if (!c->weight->constant || c->weight->t.dtype != CLQ_DTYPE_S8 || c->weight->t.rank != 2) return false;
    int cast = clq_program_find_consumer(p, s->out[0]);
    if (cast < 0 || !clq_op_is(&p->steps[cast], "Cast") || p->values[p->steps[cast].out[0]].t.dtype != CLQ_DTYPE_F32) return false;
    int by = clq_program_find_consumer(p, p->steps[cast].out[0]);
    if (by < 0 || !clq_op_is(&p->steps[by], "Mul") || p->steps[by].in[0] != p->steps[cast].out[0]) return false;
    const struct clq_value *scale = &p->values[p->steps[by].in[1]];
    if (!scale->constant || scale->t.dtype != CLQ_DTYPE_F32 || scale->t.rank > 1 || clq_tensor_elements(&n, &scale->t) != CLQ_OK) return false;
    c->per_channel = n > 1;
    if (n != 1 && n != (size_t)c->weight->t.shape[1]) return false;
    c->scale = scale->t.data;
    c->tail = clq_program_find_consumer(p, p->steps[by].out[0]);
    if (c->tail < 0 || !clq_op_is(&p->steps[c->tail], "Mul")) return false;
    return p->steps[c->tail].in[0] == p->steps[by].out[0] && p->steps[c->tail].in[1] == rows_scale;
}

/* Every reader of the codes is such a product, so their representation is ours to choose. */
static bool only_products(const struct clq_program *p, int codes, int scale)
{
    struct chain c;
    if (p->values[codes].is_output) return false;
    for (int i = 0; i < p->n_steps; i++)
        for (int k = 0; k < p->steps[i].n_in && !p->steps[i].dead; k++)
            if (p->steps[i].in[k] == codes && (k != 0 || !follow_chain(p, i, scale, &c))) return false;
    return true;
}

/* The sums fit int32: numerics.md 4 with |a| <= 127. */
static bool take_weights(struct clq_program *p, struct clq_step *s, const struct chain *c, bool *memory)
{
    size_t k = (size_t)c->weight->t.shape[0], n = (size_t)c->weight->t.shape[1];
    const int8_t *w = c->weight->t.data;
    s->weight_codes = clq_arena_array(&p->arena, n * k + 1, 1);
    s->multiplier = clq_arena_array(&p->arena, n + 1, sizeof(float));
    *memory = s->weight_codes && s->multiplier;
    s->bound = 0;
    for (size_t o = 0; *memory && o < n; o++) {
        int64_t sum = 0;
        for (size_t i = 0; i < k; i++) {
            int code = w[i * n + o];
            s->weight_codes[o * k + i] = (int8_t)code;
            sum += code < 0 ? -code : code;
        }
        if (sum * 128 > s->bound) s->bound = sum * 128;
        s->multiplier[o] = c->scale[c->per_channel ? o : 0];
    }
    return *memory && n > 0 && k > 0 && s->bound <= INT32_MAX;
}

static clq_status make_product(struct clq_program *p, const struct chain *c, int codes, int scale, struct clq_error *err)
{
    struct clq_step *tail = &p->steps[c->tail], made = p->steps[c->product];
    bool memory;
    if (!take_weights(p, &made, c, &memory)) return memory ? CLQ_OK : no_memory(err);
    made.kind = CLQ_STEP_QGEMM;
    made.in = tail->in;
    made.out = tail->out;
    made.in[0] = codes;
    made.in[1] = scale;
    made.n_in = 2;
    made.in_zero[0] = 128;
    p->steps[c->product].dead = true;
    *tail = made;
    return CLQ_OK;
}

/* Marks one quantization of rows and everything that reads it. */
static clq_status rows_from_operators(struct clq_program *p, int i, struct clq_error *err)
{
    struct clq_step *s = &p->steps[i];
    int scale, x = rows_of(p, s, &scale), codes = s->out[0];
    if (x < 0 || !only_products(p, codes, scale)) return CLQ_OK;
    for (int k = i + 1; k < p->n_steps; k++) {
        struct chain c;
        if (p->steps[k].dead || p->steps[k].n_in < 1 || p->steps[k].in[0] != codes || !follow_chain(p, k, scale, &c)) continue;
        size_t most = (size_t)c.weight->t.shape[0];
        if (most > CLQ_ROWS_MOST_K || most == 0 || c.weight->t.shape[1] == 0) return CLQ_OK; /* before anything is changed */
    }
    int *out = clq_arena_array(&p->arena, 3, sizeof *out);
    if (!out) return no_memory(err);
    for (int k = i + 1; k < p->n_steps; k++) {
        struct chain c;
        if (!p->steps[k].dead && p->steps[k].n_in > 0 && p->steps[k].in[0] == codes && follow_chain(p, k, scale, &c)) CLQ_TRY(make_product(p, &c, codes, scale, err));
    }
    p->steps[p->values[scale].producer].dead = true;
    out[0] = codes;
    out[1] = scale;
    s->kind = CLQ_STEP_QUANTIZE_ROWS;
    s->in[0] = x;
    s->n_in = 1;
    s->out = out;
    s->n_out = 2;
    p->values[codes].t.dtype = CLQ_DTYPE_U8;
    clq_program_count_uses(p);
    return CLQ_OK;
}

/* ---- 4-bit weights ---- */

/* Inserts a step that quantizes the rows of x before step i, or finds the one that does; true when one was inserted. */
static clq_status rows_before(struct clq_program *p, int i, int x, int *codes, int *scale, bool *inserted, struct clq_error *err)
{
    *inserted = false;
    for (int k = 0; k < i; k++)
        if (!p->steps[k].dead && p->steps[k].kind == CLQ_STEP_QUANTIZE_ROWS && p->steps[k].in[0] == x) {
            *codes = p->steps[k].out[0];
            *scale = p->steps[k].out[1];
            return CLQ_OK;
        }
    clq_tensor c = p->values[x].t, r = p->values[x].t;
    c.dtype = CLQ_DTYPE_U8;
    r.shape[r.rank - 1] = 1;
    c.data = r.data = NULL;
    *codes = clq_program_add_value(p, "", &c, false);
    *scale = clq_program_add_value(p, "", &r, false);
    struct clq_step *made = *codes < 0 || *scale < 0 ? NULL : clq_program_add_step(p, NULL, 1, 2);
    if (!made) return no_memory(err);
    struct clq_step step = *made;
    step.kind = CLQ_STEP_QUANTIZE_ROWS;
    step.node = p->steps[i].node;
    step.op = p->steps[i].op;
    step.opset = p->steps[i].opset;
    step.in[0] = x;
    step.out[0] = *codes;
    step.out[1] = *scale;
    memmove(&p->steps[i + 1], &p->steps[i], (size_t)(p->n_steps - 1 - i) * sizeof step);
    p->steps[i] = step;
    *inserted = true;
    return CLQ_OK;
}

static size_t rows_in(const clq_tensor *x)
{
    size_t rows = 1;
    for (int d = 0; d < x->rank - 1; d++) rows *= (size_t)x->shape[d];
    return rows;
}

/* Many rows want 8-bit codes, whose 4-bit ones are then not kept; where they do not fit, and for few rows, w has the 4-bit ones. */
static clq_status weights_of(struct clq_nibbles *w, struct clq_program *p, struct clq_step *s, bool *found, struct clq_error *err)
{
    struct clq_arena passing = {0};
    bool expanded = false;
    if (rows_in(&p->values[s->in[0]].t) >= CLQ_EXPAND_ROWS) {
        clq_status st = clq_nibbles_of(w, &passing, p, s, found, err);
        if (st == CLQ_OK && *found && !w->real) st = clq_nibbles_expand(s, p, w, &expanded, err);
        clq_arena_free(&passing);
        if (st != CLQ_OK || expanded || !*found) return st;
    }
    CLQ_TRY(clq_nibbles_of(w, &p->arena, p, s, found, err));
    if (!*found) return CLQ_OK;
    s->kind = CLQ_STEP_Q4GEMM;
    s->gemm4 = (struct clq_gemm_u4_args){.n = w->n, .k = w->k, .group = w->group, .weight = w->codes, .scale = w->scale, .zero_point = w->zero};
    return CLQ_OK;
}

/* A product with constant 4-bit weights: DequantizeLinear before MatMul or Gemm, or MatMulNBits. */
static clq_status take_int4(struct clq_program *p, int *i, struct clq_error *err)
{
    struct clq_step *s = &p->steps[*i];
    struct clq_nibbles w;
    const clq_tensor *x = s->n_in > 0 && s->in[0] >= 0 ? &p->values[s->in[0]].t : NULL;
    if (!x || s->kind != CLQ_STEP_OP || x->dtype != CLQ_DTYPE_F32 || x->rank < 2 || p->values[s->in[0]].constant) return CLQ_OK;
    bool found = false;
    CLQ_TRY(weights_of(&w, p, s, &found, err));
    if (!found) return CLQ_OK;
    int codes = s->in[0], scale = -1;
    bool inserted = false;
    if (!w.real) CLQ_TRY(rows_before(p, *i, s->in[0], &codes, &scale, &inserted, err));
    if (inserted) ++*i;
    s = &p->steps[*i];
    int *in = clq_arena_array(&p->arena, 3, sizeof *in);
    if (!in) return no_memory(err);
    in[0] = codes;
    in[1] = scale;
    s->in = in;
    s->n_in = w.real ? 1 : 2;
    s->bias = w.bias;
    clq_program_count_uses(p);
    return CLQ_OK;
}

clq_status clq_integer_rows(struct clq_program *p, struct clq_error *err)
{
    for (int i = 0; i < p->n_steps; i++)
        if (!p->steps[i].dead && p->steps[i].kind == CLQ_STEP_OP) CLQ_TRY(rows_from_operators(p, i, err));
    for (int i = 0; i < p->n_steps; i++)
        if (!p->steps[i].dead) CLQ_TRY(take_int4(p, &i, err));
    return CLQ_OK;
}
