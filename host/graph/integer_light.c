/* SPDX-License-Identifier: Apache-2.0
 * Integer forms of the operators around the products: unary functions as tables, add, multiply, pooling, concatenation and
 * movement on codes. Each is bit-equal to dequantize, operator, quantize. */
#include <string.h>

#include "graph/integer.h"

static clq_status no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

clq_status clq_integer_table(struct clq_program *p, uint8_t *table, const struct clq_step *op, const struct clq_codes *from,
                             const struct clq_codes *to, struct clq_error *err)
{
    uint8_t codes[256];
    float x[256], y[256];
    for (int i = 0; i < 256; i++) codes[i] = (uint8_t)i;
    struct clq_dequantize_args dq = {.x = codes, .y = x, .n = 256, .scale = from->scale, .zero_point = from->zero};
    p->ctx->kernels.dequantize_u8_f32(&dq);
    if (op) {
        enum { MAX = 8 };
        clq_tensor in[MAX], out = {.dtype = CLQ_DTYPE_F32, .rank = 1, .shape = {256}, .data = y};
        in[0] = (clq_tensor){.dtype = CLQ_DTYPE_F32, .rank = 1, .shape = {256}, .data = x};
        for (int i = 1; i < op->n_in && i < MAX; i++)
            in[i] = op->in[i] < 0 ? (clq_tensor){.dtype = CLQ_DTYPE_NONE} : p->values[op->in[i]].t;
        struct clq_op_call call = {.node = op->node, .opset = op->opset, .n_in = op->n_in, .n_out = 1, .in = in, .out = &out,
                                   .threads = 1, .err = err};
        CLQ_TRY(clq_op_eval(op->op, &call));
    } else memcpy(y, x, sizeof y);
    struct clq_quantize_args q = {.x = y, .y = table, .n = 256, .scale = to->scale, .zero_point = to->zero};
    p->ctx->kernels.quantize_f32_u8(&q);
    return CLQ_OK;
}

void clq_integer_make_lut(struct clq_step *s, const struct clq_step *like, int from, int to, uint8_t *table)
{
    int *in = s->in, *out = s->out;
    *s = *like;
    s->dead = false;
    s->kind = CLQ_STEP_QLUT;
    s->in = in;
    s->out = out;
    s->in[0] = from;
    s->out[0] = to;
    s->n_in = s->n_out = 1;
    s->tables = table;
}

/* True when all inputs but the first are constants. */
static bool rest_constant(const struct clq_program *p, const struct clq_step *s)
{
    for (int k = 1; k < s->n_in; k++)
        if (s->in[k] >= 0 && !p->values[s->in[k]].constant) return false;
    return true;
}

clq_status clq_integer_unary(struct clq_program *p, int i, bool *done, struct clq_error *err)
{
    struct clq_step *s = &p->steps[i];
    struct clq_codes x, y;
    if (s->kind != CLQ_STEP_OP || !(s->op->flags & CLQ_OP_UNARY) || s->n_out != 1 || s->n_in > 8 || !rest_constant(p, s)) return CLQ_OK;
    if (p->values[s->out[0]].t.dtype != CLQ_DTYPE_F32 || !clq_codes_source(p, s->in[0], &x)) return CLQ_OK;
    int q = clq_codes_sink(p, s->out[0], &y);
    if (q < 0) return CLQ_OK;
    uint8_t *table = clq_arena_alloc(&p->arena, 256);
    if (!table) return no_memory(err);
    CLQ_TRY(clq_integer_table(p, table, s, &x, &y, err));
    s->dead = true;
    clq_integer_make_lut(&p->steps[q], s, x.value, y.value, table);
    *done = true;
    return CLQ_OK;
}

/* A quantize step that reads a dequantized value changes the scale of codes. */
clq_status clq_integer_requantize(struct clq_program *p, int i, bool *done, struct clq_error *err)
{
    struct clq_step *s = &p->steps[i];
    struct clq_codes x;
    if (s->kind != CLQ_STEP_QUANTIZE || !clq_codes_source(p, s->in[0], &x)) return CLQ_OK;
    struct clq_codes y = {s->out[0], s->out_scale, s->out_zero};
    uint8_t *table = clq_arena_alloc(&p->arena, 256);
    if (!table) return no_memory(err);
    CLQ_TRY(clq_integer_table(p, table, NULL, &x, &y, err));
    struct clq_step like = *s;
    clq_integer_make_lut(s, &like, x.value, y.value, table);
    *done = true;
    return CLQ_OK;
}

static bool same_shape(const clq_tensor *a, const clq_tensor *b)
{
    return a->rank == b->rank && memcmp(a->shape, b->shape, (size_t)a->rank * sizeof *a->shape) == 0;
}

/* [N,C,1,1] against [N,C,H,W]: the scale of a squeeze-and-excite block. */
static bool channel_shape(const clq_tensor *full, const clq_tensor *per_channel)
{
    if (full->rank != 4 || per_channel->rank != 4) return false;
    return full->shape[0] == per_channel->shape[0] && full->shape[1] == per_channel->shape[1] && per_channel->shape[2] == 1 &&
           per_channel->shape[3] == 1;
}

/* Add or Mul with one scalar constant operand is a function of the other. */
static clq_status binary_with_scalar(struct clq_program *p, int i, bool *done, struct clq_error *err)
{
    struct clq_step *s = &p->steps[i];
    struct clq_codes x, y;
    for (int side = 0; side < 2; side++) {
        float c;
        if (!clq_value_scalar_f32(p, s->in[1 - side], &c) || !clq_codes_source(p, s->in[side], &x)) continue;
        if (p->values[s->in[1 - side]].t.rank > p->values[s->in[side]].t.rank) continue;
        int q = clq_codes_sink(p, s->out[0], &y);
        if (q < 0) return CLQ_OK;
        uint8_t *table = clq_arena_alloc(&p->arena, 256), codes[256];
        if (!table) return no_memory(err);
        float a[256], out[256];
        for (int k = 0; k < 256; k++) codes[k] = (uint8_t)k;
        struct clq_dequantize_args dq = {.x = codes, .y = a, .n = 256, .scale = x.scale, .zero_point = x.zero};
        p->ctx->kernels.dequantize_u8_f32(&dq);
        clq_tensor in[2], o = {.dtype = CLQ_DTYPE_F32, .rank = 1, .shape = {256}, .data = out};
        in[side] = (clq_tensor){.dtype = CLQ_DTYPE_F32, .rank = 1, .shape = {256}, .data = a};
        in[1 - side] = (clq_tensor){.dtype = CLQ_DTYPE_F32, .rank = 0, .data = &c};
        struct clq_op_call call = {.node = s->node, .opset = s->opset, .n_in = 2, .n_out = 1, .in = in, .out = &o, .threads = 1, .err = err};
        CLQ_TRY(clq_op_eval(s->op, &call));
        struct clq_quantize_args qa = {.x = out, .y = table, .n = 256, .scale = y.scale, .zero_point = y.zero};
        p->ctx->kernels.quantize_f32_u8(&qa);
        s->dead = true;
        clq_integer_make_lut(&p->steps[q], s, x.value, y.value, table);
        *done = true;
        return CLQ_OK;
    }
    return CLQ_OK;
}

clq_status clq_integer_binary(struct clq_program *p, int i, bool *done, struct clq_error *err)
{
    struct clq_step *s = &p->steps[i];
    struct clq_codes a, b, y;
    bool add = clq_op_is(s, "Add"), mul = clq_op_is(s, "Mul");
    if (!add && !mul && !clq_op_is(s, "Sub") && !clq_op_is(s, "Div")) return CLQ_OK;
    if (p->values[s->out[0]].t.dtype != CLQ_DTYPE_F32) return CLQ_OK;
    CLQ_TRY(binary_with_scalar(p, i, done, err));
    if (*done || (!add && !mul)) return CLQ_OK;
    if (!clq_codes_source(p, s->in[0], &a) || !clq_codes_source(p, s->in[1], &b)) return CLQ_OK;
    const clq_tensor *ta = &p->values[s->in[0]].t, *tb = &p->values[s->in[1]].t;
    bool wide = !same_shape(ta, tb);
    if (wide && !(mul && (channel_shape(ta, tb) || channel_shape(tb, ta)))) return CLQ_OK;
    int32_t lo = 0;
    int out = s->out[0], relu = -1, q = clq_codes_sink(p, out, &y);
    if (q < 0) { /* one Relu may stand between */
        relu = clq_program_find_consumer(p, out);
        if (relu < 0 || !clq_op_is(&p->steps[relu], "Relu")) return CLQ_OK;
        q = clq_codes_sink(p, p->steps[relu].out[0], &y);
        if (q < 0) return CLQ_OK;
        lo = y.zero;
    }
    if (wide && channel_shape(tb, ta)) { /* the full operand comes first */
        struct clq_codes t = a;
        a = b;
        b = t;
    }
    if (relu >= 0) p->steps[relu].dead = true;
    struct clq_step made = *s;
    s->dead = true;
    made.kind = add ? CLQ_STEP_QADD : CLQ_STEP_QMUL;
    made.in[0] = a.value;
    made.in[1] = b.value;
    made.out[0] = y.value;
    made.in_scale[0] = a.scale;
    made.in_scale[1] = b.scale;
    made.in_zero[0] = a.zero;
    made.in_zero[1] = b.zero;
    made.out_scale = y.scale;
    made.out_zero = y.zero;
    made.lo = lo;
    made.hi = 255;
    p->steps[q] = made;
    *done = true;
    return CLQ_OK;
}

/* The window of a pooling node; ReduceMean over all spatial axes counts as a global one. */
static bool pool_window(const struct clq_program *p, const struct clq_step *s, struct clq_window *w)
{
    const clq_tensor *x = &p->values[s->in[0]].t, *y = &p->values[s->out[0]].t;
    if (x->rank != 4 || y->rank != 4) return false;
    if (clq_op_is(s, "MaxPool") || clq_op_is(s, "AveragePool")) {
        if (s->n_out > 1 && s->out[1] >= 0) return false;
        return clq_window_read(w, s->node, x, NULL, false, NULL) == CLQ_OK && w->nd == 2;
    }
    if (!clq_op_is(s, "GlobalAveragePool") && !clq_op_is(s, "ReduceMean")) return false;
    if (clq_op_is(s, "ReduceMean") && (y->shape[0] != x->shape[0] || y->shape[1] != x->shape[1] || y->shape[2] != 1 || y->shape[3] != 1))
        return false;
    *w = (struct clq_window){.nd = 2, .groups = 1};
    for (int d = 0; d < 2; d++) {
        w->in[d] = w->kernel[d] = x->shape[2 + d];
        w->out[d] = w->stride[d] = w->dilation[d] = 1;
    }
    return w->in[0] > 0 && w->in[1] > 0;
}

/* The step's slot stays where it is and writes fresh codes in the scale of its input; the sink becomes a table. */
static clq_status then_requantize(struct clq_program *p, int i, int q, const struct clq_codes *x, const struct clq_codes *y, struct clq_error *err)
{
    clq_tensor t = p->values[p->steps[i].out[0]].t;
    t.dtype = CLQ_DTYPE_U8;
    t.data = NULL;
    int codes = clq_program_add_value(p, p->values[p->steps[i].out[0]].name, &t, false);
    uint8_t *table = clq_arena_alloc(&p->arena, 256);
    if (codes < 0 || !table) return no_memory(err);
    CLQ_TRY(clq_integer_table(p, table, NULL, x, y, err));
    clq_integer_make_lut(&p->steps[q], &p->steps[i], codes, y->value, table);
    p->steps[i].out[0] = codes;
    return CLQ_OK;
}

clq_status clq_integer_pool(struct clq_program *p, int i, bool *done, struct clq_error *err)
{
    struct clq_step *s = &p->steps[i];
    struct clq_codes x, y;
    struct clq_window w;
    if (s->kind != CLQ_STEP_OP || !clq_codes_source(p, s->in[0], &x) || !pool_window(p, s, &w)) return CLQ_OK;
    int q = clq_codes_sink(p, s->out[0], &y);
    if (q < 0) return CLQ_OK;
    bool max = clq_op_is(s, "MaxPool"), moved = max && (x.scale != y.scale || x.zero != y.zero);
    if (moved) CLQ_TRY(then_requantize(p, i, q, &x, &y, err));
    struct clq_step made = *s;
    made.kind = max ? CLQ_STEP_QMAXPOOL : CLQ_STEP_QAVGPOOL;
    made.window = w;
    made.include_pad = clq_node_int(s->node, "count_include_pad", 0) != 0;
    made.in[0] = x.value;
    made.in_scale[0] = x.scale;
    made.in_zero[0] = x.zero;
    made.out_scale = y.scale;
    made.out_zero = y.zero;
    made.n_in = made.n_out = 1;
    if (moved) {
        *s = made;
    } else {
        s->dead = true;
        made.out[0] = y.value;
        p->steps[q] = made;
    }
    *done = true;
    return CLQ_OK;
}

clq_status clq_integer_concat(struct clq_program *p, int i, bool *done, struct clq_error *err)
{
    struct clq_step *s = &p->steps[i];
    struct clq_codes y, x;
    if (!clq_op_is(s, "Concat")) return CLQ_OK;
    for (int k = 0; k < s->n_in; k++)
        if (!clq_codes_source(p, s->in[k], &x)) return CLQ_OK;
    int q = clq_codes_sink(p, s->out[0], &y);
    if (q < 0) return CLQ_OK;
    struct clq_step made = *s;
    made.kind = CLQ_STEP_QCONCAT;
    made.tables = clq_arena_array(&p->arena, (size_t)s->n_in, 256);
    made.table_used = clq_arena_array(&p->arena, (size_t)s->n_in, sizeof(bool));
    if (!made.tables || !made.table_used) return no_memory(err);
    int64_t axis = clq_node_int(s->node, "axis", 1);
    made.axis = (int)(axis < 0 ? axis + p->values[s->out[0]].t.rank : axis);
    for (int k = 0; k < s->n_in; k++) {
        clq_codes_source(p, s->in[k], &x);
        made.table_used[k] = x.scale != y.scale || x.zero != y.zero;
        CLQ_TRY(clq_integer_table(p, made.tables + 256 * (size_t)k, NULL, &x, &y, err));
        made.in[k] = x.value;
    }
    s->dead = true;
    made.out[0] = y.value;
    p->steps[q] = made;
    *done = true;
    return CLQ_OK;
}

/* Operators that move values without looking at them work on codes. */
clq_status clq_integer_move(struct clq_program *p, int i, bool *done, struct clq_error *err)
{
    struct clq_step *s = &p->steps[i];
    struct clq_codes x, y;
    if (s->kind != CLQ_STEP_OP || !(s->op->flags & CLQ_OP_MOVES) || s->n_out != 1 || !rest_constant(p, s)) return CLQ_OK;
    if (clq_op_is(s, "Concat") || clq_op_is(s, "Pad") || !clq_codes_source(p, s->in[0], &x)) return CLQ_OK;
    if (clq_op_is(s, "Resize") && strcmp(clq_node_string(s->node, "mode", "nearest"), "nearest") != 0) return CLQ_OK;
    int q = clq_codes_sink(p, s->out[0], &y);
    if (q < 0) return CLQ_OK;
    if (x.scale != y.scale || x.zero != y.zero) {
        CLQ_TRY(then_requantize(p, i, q, &x, &y, err));
        s = &p->steps[i];
        s->kind = CLQ_STEP_QMOVE;
        s->in[0] = x.value;
    } else {
        struct clq_step made = *s;
        s->dead = true;
        made.kind = CLQ_STEP_QMOVE;
        made.in[0] = x.value;
        made.out[0] = y.value;
        p->steps[q] = made;
    }
    *done = true;
    return CLQ_OK;
}
