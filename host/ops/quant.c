/* SPDX-License-Identifier: Apache-2.0
 * QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear, to the bit as the numeric contract says: the binary32
 * quotient is rounded half to even, limited before the conversion, and the zero point is added in integers. */
#include <math.h>

#include "base/parallel.h"
#include "ops/convert.h"

/* Which scale an element uses: the tensor is [outer, dim, inner] around the axis, with `blocks` blocks of `block` along
 * dim. Per tensor: one run of everything. */
struct grid {
    int64_t outer, dim, inner, block, blocks;
    bool whole, blocked;
};

static bool is_code(clq_dtype t)
{
    return t == CLQ_DTYPE_U8 || t == CLQ_DTYPE_S8 || t == CLQ_DTYPE_U16 || t == CLQ_DTYPE_S16 || t == CLQ_DTYPE_U4 ||
           t == CLQ_DTYPE_S4 || t == CLQ_DTYPE_U2 || t == CLQ_DTYPE_S2;
}

/* Floating codes; their zero point can only be 0. */
static bool is_small_code(clq_dtype t)
{
    return clq_is_small_float(t) && t != CLQ_DTYPE_F8E8M0;
}

static clq_status read_grid(struct clq_op_call *call, struct grid *g)
{
    const clq_tensor *x = &call->in[0], *s = &call->in[1];
    int64_t block = call->opset >= 21 || call->node->domain[0] ? clq_node_int(call->node, "block_size", 0) : 0;
    int axis;
    *g = (struct grid){.outer = 1, .dim = 1, .inner = clq_op_count(x), .block = 1, .blocks = 1};
    g->whole = s->rank <= 1 && clq_op_count(s) == 1 && block == 0;
    if (!clq_is_real(s->dtype) && s->dtype != CLQ_DTYPE_F8E8M0) return clq_op_bad_type(call, 1);
    if (clq_op_has(call, 2)) {
        bool same = call->in[2].rank == s->rank || (clq_op_count(s) == 1 && clq_op_count(&call->in[2]) == 1);
        for (int k = 0; same && !g->whole && k < s->rank; k++) same = call->in[2].shape[k] == s->shape[k];
        if (!same) return clq_op_fail(call, CLQ_ERR_FORMAT, "scale and zero point have different shapes");
    }
    if (g->whole) return CLQ_OK;
    if (call->opset < 13 && !call->node->domain[0])
        return clq_op_fail(call, CLQ_ERR_FORMAT, "a scale of %lld elements, expected 1", (long long)clq_op_count(s));
    CLQ_TRY(clq_op_axis(call, &axis, clq_node_int(call->node, "axis", 1), x->rank));
    g->outer = clq_op_span(x, 0, axis);
    g->dim = g->blocks = x->shape[axis];
    g->inner = clq_op_span(x, axis + 1, x->rank);
    if (block == 0) {
        if (s->rank == 1 && s->shape[0] == g->dim) return CLQ_OK;
        return clq_op_fail(call, CLQ_ERR_FORMAT, "a scale of rank %d and %lld elements for axis %d of %lld", s->rank,
                           (long long)clq_op_count(s), axis, (long long)g->dim);
    }
    if (block < 1 || block > CLQ_OP_MAX_ELEMENTS || s->rank != x->rank)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "block_size %lld", (long long)block);
    g->block = block;
    g->blocked = true;
    g->blocks = (g->dim + block - 1) / block;
    for (int k = 0; k < x->rank; k++)
        if (s->shape[k] != (k == axis ? g->blocks : x->shape[k]))
            return clq_op_fail(call, CLQ_ERR_FORMAT, "the scale has %lld elements on axis %d", (long long)s->shape[k],
                               k);
    return CLQ_OK;
}

/* The elements from i on that share a scale, and its index. */
static int64_t run_at(const struct grid *g, int64_t i, int64_t n, int64_t *scale)
{
    *scale = 0;
    if (g->whole) return n - i;
    int64_t in = i % g->inner, d = i / g->inner % g->dim, o = i / g->inner / g->dim;
    if (!g->blocked) {
        *scale = d;
        return g->inner - in;
    }
    *scale = (o * g->blocks + d / g->block) * g->inner + in;
    if (g->inner > 1) return 1;
    int64_t rest = g->block - d % g->block;
    return rest < g->dim - d ? rest : g->dim - d;
}

struct job {
    struct grid g;
    const clq_tensor *x, *s, *z, *y;
    int64_t n;
    float lo, hi; /* limits of the code */
    bool saturate;
};

enum { CHUNK = 16384 };

/* The canonical sequence; the quotient is limited, so the addition of 1.5 * 2^23 rounds it half to even. */
static inline __attribute__((always_inline)) int32_t code_of(float x, float s, float lo, float hi, int32_t zero)
{
    float y = x / s;
    y = y != y ? 0.0f : y;
    y = y < lo ? lo : y;
    y = y > hi ? hi : y;
    union {
        float f;
        int32_t i;
    } u = {y + 12582912.0f};
    return u.i - 0x4b400000 + zero;
}

CLQ_CLONES static void quantize_8(uint8_t *y, const float *x, int64_t n, float s, float lo, float hi, int32_t zero)
{
    CLQ_IVDEP
    for (int64_t i = 0; i < n; i++) y[i] = (uint8_t)code_of(x[i], s, lo, hi, zero);
}

CLQ_CLONES static void quantize_16(uint16_t *y, const float *x, int64_t n, float s, float lo, float hi, int32_t zero)
{
    CLQ_IVDEP
    for (int64_t i = 0; i < n; i++) y[i] = (uint16_t)code_of(x[i], s, lo, hi, zero);
}

static void quantize_run(const struct job *j, int64_t i, int64_t n, float s, int32_t zero)
{
    float lo = j->lo - (float)zero, hi = j->hi - (float)zero;
    if (is_small_code(j->y->dtype)) {
        for (int64_t k = i; k < i + n; k++)
            clq_store_code(j->y, k, clq_to_small(j->y->dtype, (float)clq_load_real(j->x, k) / s + 0.0f, j->saturate, CLQ_ROUND_UP));
    } else if (j->x->dtype == CLQ_DTYPE_F32 && clq_op_size(j->y->dtype) == 1) {
        quantize_8((uint8_t *)j->y->data + i, (const float *)j->x->data + i, n, s, lo, hi, zero);
    } else if (j->x->dtype == CLQ_DTYPE_F32 && clq_op_size(j->y->dtype) == 2) {
        quantize_16((uint16_t *)j->y->data + i, (const float *)j->x->data + i, n, s, lo, hi, zero);
    } else {
        for (int64_t k = i; k < i + n; k++) {
            float x =
                j->x->dtype == CLQ_DTYPE_S32 ? (float)((const int32_t *)j->x->data)[k] : (float)clq_load_real(j->x, k);
            clq_store_int(j->y, k, code_of(x, s, lo, hi, zero));
        }
    }
}

static int32_t zero_at(const struct job *j, int64_t at)
{
    return j->z && !clq_is_small_float(j->z->dtype) ? (int32_t)clq_load_int(j->z, at) : 0;
}

static void run_quantize(void *state, size_t begin, size_t end, int thread)
{
    const struct job *j = state;
    int64_t to = (int64_t)end * CHUNK < j->n ? (int64_t)end * CHUNK : j->n;
    (void)thread;
    for (int64_t i = (int64_t)begin * CHUNK; i < to;) {
        int64_t at, run = run_at(&j->g, i, j->n, &at);
        if (run > to - i) run = to - i;
        quantize_run(j, i, run, (float)clq_load_real(j->s, at), zero_at(j, at));
        i += run;
    }
}

static void dequantize_run(const struct job *j, int64_t i, int64_t n, float s, int32_t zero)
{
    float *y = j->y->data;
    bool small = clq_is_small_float(j->x->dtype);
    for (int64_t k = i; k < i + n; k++) {
        float v = (small ? (float)clq_load_real(j->x, k) : (float)(clq_load_int(j->x, k) - zero)) * s;
        if (j->y->dtype == CLQ_DTYPE_F32)
            y[k] = v;
        else
            clq_store_real(j->y, k, (double)v);
    }
}

static void run_dequantize(void *state, size_t begin, size_t end, int thread)
{
    const struct job *j = state;
    int64_t to = (int64_t)end * CHUNK < j->n ? (int64_t)end * CHUNK : j->n;
    (void)thread;
    for (int64_t i = (int64_t)begin * CHUNK; i < to;) {
        int64_t at, run = run_at(&j->g, i, j->n, &at);
        if (run > to - i) run = to - i;
        dequantize_run(j, i, run, (float)clq_load_real(j->s, at), zero_at(j, at));
        i += run;
    }
}

static clq_status make_job(struct clq_op_call *call, struct job *j)
{
    *j = (struct job){.x = &call->in[0],
                      .s = &call->in[1],
                      .z = clq_op_has(call, 2) ? &call->in[2] : NULL,
                      .y = &call->out[0],
                      .n = clq_op_count(&call->in[0]),
                      .saturate = clq_node_int(call->node, "saturate", 1) != 0};
    return read_grid(call, &j->g);
}

clq_op_fn clq_infer_quantize, clq_eval_quantize, clq_infer_dequantize, clq_eval_dequantize, clq_infer_dynamic_quantize,
    clq_eval_dynamic_quantize;

clq_status clq_infer_quantize(struct clq_op_call *call)
{
    struct grid g;
    clq_dtype x = call->in[0].dtype;
    int64_t wanted = call->opset >= 21 ? clq_node_int(call->node, "output_dtype", 0) : 0;
    if (!clq_is_real(x) && x != CLQ_DTYPE_S32) return clq_op_bad_type(call, 0);
    clq_dtype y = clq_op_has(call, 2) ? call->in[2].dtype : wanted ? (clq_dtype)wanted : CLQ_DTYPE_U8;
    if (!is_code(y) && !is_small_code(y)) return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "codes of type %s", clq_dtype_name(y));
    if (wanted && wanted != (int64_t)y)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "output_dtype differs from the zero point's type");
    CLQ_TRY(read_grid(call, &g));
    return clq_op_set_out(call, 0, y, call->in[0].rank, call->in[0].shape);
}

clq_status clq_eval_quantize(struct clq_op_call *call)
{
    struct job j;
    CLQ_TRY(make_job(call, &j));
    unsigned bits = clq_dtype_bits(j.y->dtype);
    bool is_signed = j.y->dtype == CLQ_DTYPE_S8 || j.y->dtype == CLQ_DTYPE_S16 || j.y->dtype == CLQ_DTYPE_S4 || j.y->dtype == CLQ_DTYPE_S2;
    j.lo = is_signed ? -(float)(1 << (bits - 1)) : 0.0f;
    j.hi = (float)((1 << (bits - is_signed)) - 1);
    clq_clear_padding(j.y);
    clq_parallel_for(clq_op_threads(call, (size_t)j.n), ((size_t)j.n + CHUNK - 1) / CHUNK, run_quantize, &j);
    return CLQ_OK;
}

clq_status clq_infer_dequantize(struct clq_op_call *call)
{
    struct grid g;
    clq_dtype x = call->in[0].dtype;
    int64_t wanted = call->opset >= 23 ? clq_node_int(call->node, "output_dtype", 0) : 0;
    clq_dtype y = wanted ? (clq_dtype)wanted : call->in[1].dtype;
    if (!is_code(x) && !is_small_code(x) && x != CLQ_DTYPE_S32) return clq_op_bad_type(call, 0);
    if (!wanted && y == CLQ_DTYPE_F8E8M0) y = CLQ_DTYPE_F32;
    if (!clq_is_real(y) || y == CLQ_DTYPE_F64)
        return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "a result of type %s", clq_dtype_name(y));
    if (clq_op_has(call, 2) && call->in[2].dtype != x)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "the zero point has type %s, expected %s",
                           clq_dtype_name(call->in[2].dtype), clq_dtype_name(x));
    CLQ_TRY(read_grid(call, &g));
    return clq_op_set_out(call, 0, y, call->in[0].rank, call->in[0].shape);
}

clq_status clq_eval_dequantize(struct clq_op_call *call)
{
    struct job j;
    CLQ_TRY(make_job(call, &j));
    clq_parallel_for(clq_op_threads(call, (size_t)j.n), ((size_t)j.n + CHUNK - 1) / CHUNK, run_dequantize, &j);
    return CLQ_OK;
}

clq_status clq_infer_dynamic_quantize(struct clq_op_call *call)
{
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_F32));
    CLQ_TRY(clq_op_set_out(call, 0, CLQ_DTYPE_U8, call->in[0].rank, call->in[0].shape));
    CLQ_TRY(clq_op_set_out(call, 1, CLQ_DTYPE_F32, 0, NULL));
    return clq_op_set_out(call, 2, CLQ_DTYPE_U8, 0, NULL);
}

/* NaN enters neither end of the range. A zero range gives scale 1 and zero point 0. */
clq_status clq_eval_dynamic_quantize(struct clq_op_call *call)
{
    const float *x = call->in[0].data;
    int64_t n = clq_op_count(&call->in[0]);
    float lo = 0.0f, hi = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    float scale = (hi - lo) / 255.0f, zero = 0.0f;
    if (!(scale > 0.0f))
        scale = 1.0f;
    else
        zero = rintf(fminf(fmaxf(0.0f - lo / scale, 0.0f), 255.0f));
    if (call->out[0].data) quantize_8(call->out[0].data, x, n, scale, 0.0f - zero, 255.0f - zero, (int32_t)zero);
    if (call->n_out > 1 && call->out[1].data) *(float *)call->out[1].data = scale;
    if (call->n_out > 2 && call->out[2].data) *(uint8_t *)call->out[2].data = (uint8_t)zero;
    return CLQ_OK;
}
