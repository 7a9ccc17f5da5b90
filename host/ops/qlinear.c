/* SPDX-License-Identifier: Apache-2.0
 * ConvInteger, MatMulInteger, QLinearConv, QLinearMatMul: exact integer sums, then one multiplier per channel,
 * M = RN32(RN64(s_x * s_w / s_y)), q = clamp(rne(RN32(RN32(v) * M)) + zp). */
#include <math.h>
#include <stdlib.h>

#include "ops/conv.h"
#include "ops/convert.h"
#include "ops/matmul.h"

static bool is_byte(clq_dtype t)
{
    return t == CLQ_DTYPE_U8 || t == CLQ_DTYPE_S8;
}

/* A zero point or scale: absent, one element, or one per `period` consecutive groups of `inner` elements. */
struct per {
    const clq_tensor *t;
    int64_t n, inner;
};

static int64_t index_of(const struct per *p, int64_t i)
{
    return p->n == 1 ? 0 : i / p->inner % p->n;
}

static clq_status read_per(struct clq_op_call *call, struct per *out, int input, int64_t channels, int64_t inner)
{
    *out = (struct per){NULL, 1, inner < 1 ? 1 : inner};
    if (!clq_op_has(call, input)) return CLQ_OK;
    out->t = &call->in[input];
    out->n = clq_op_count(out->t);
    if (out->n != 1 && out->n != channels)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "input %d has %lld elements, expected 1 or %lld", input,
                           (long long)out->n, (long long)channels);
    return CLQ_OK;
}

/* The codes of t minus their zero points; to be freed. */
static int32_t *widened(const clq_tensor *t, const struct per *zero)
{
    int64_t n = clq_op_count(t);
    int32_t *v = malloc(((size_t)n + 1) * sizeof *v);
    for (int64_t i = 0; v && i < n; i++)
        v[i] = (int32_t)clq_op_int_at(t, i) - (zero->t ? (int32_t)clq_op_int_at(zero->t, index_of(zero, i)) : 0);
    return v;
}

/* The operands of a product: x and w with their zero points. */
struct operands {
    const clq_tensor *x, *w;
    struct per x_zero, w_zero;
    int32_t *xv, *wv;
};

static clq_status widen_both(struct clq_op_call *call, struct operands *o)
{
    o->xv = widened(o->x, &o->x_zero);
    o->wv = widened(o->w, &o->w_zero);
    return o->xv && o->wv ? CLQ_OK : clq_op_no_memory(call);
}

static void free_both(struct operands *o)
{
    free(o->xv);
    free(o->wv);
}

static clq_status conv_operands(struct clq_op_call *call, struct operands *o, int x, int x_zero, int w, int w_zero)
{
    *o = (struct operands){.x = &call->in[x], .w = &call->in[w]};
    if (!is_byte(o->x->dtype)) return clq_op_bad_type(call, x);
    if (!is_byte(o->w->dtype)) return clq_op_bad_type(call, w);
    CLQ_TRY(read_per(call, &o->x_zero, x_zero, 1, 1));
    CLQ_TRY(read_per(call, &o->w_zero, w_zero, o->w->rank ? o->w->shape[0] : 1, clq_op_span(o->w, 1, o->w->rank)));
    if ((o->x_zero.t && o->x_zero.t->dtype != o->x->dtype) || (o->w_zero.t && o->w_zero.t->dtype != o->w->dtype))
        return clq_op_fail(call, CLQ_ERR_FORMAT, "a zero point differs in type from its tensor");
    return CLQ_OK;
}

/* Rows of a may have a zero point each, and columns of b. */
static clq_status matmul_operands(struct clq_op_call *call, struct operands *o, int a, int a_zero, int b, int b_zero)
{
    *o = (struct operands){.x = &call->in[a], .w = &call->in[b]};
    const clq_tensor *x = o->x, *w = o->w;
    if (!is_byte(x->dtype)) return clq_op_bad_type(call, a);
    if (!is_byte(w->dtype)) return clq_op_bad_type(call, b);
    if (x->rank < 1 || w->rank < 1) return clq_op_fail(call, CLQ_ERR_FORMAT, "a scalar operand");
    CLQ_TRY(read_per(call, &o->x_zero, a_zero, x->rank > 1 ? x->shape[x->rank - 2] : 1, x->shape[x->rank - 1]));
    CLQ_TRY(read_per(call, &o->w_zero, b_zero, w->rank > 1 ? w->shape[w->rank - 1] : 1, 1));
    return CLQ_OK;
}

/* ---- requantization ---- */

struct requant {
    struct per sx, sw;
    double sy;
    int32_t zero, lo, hi;
    const clq_tensor *y;
    const int32_t *bias;
};

static float multiplier(const struct requant *r, int64_t ix, int64_t iw)
{
    return (float)(clq_load_real(r->sx.t, ix) * clq_load_real(r->sw.t, iw) / r->sy);
}

static void store(const struct requant *r, int64_t at, int64_t v, float m)
{
    float q = (float)v * m, lo = (float)(r->lo - r->zero), hi = (float)(r->hi - r->zero);
    q = q != q ? 0.0f : q;
    q = q < lo ? lo : q > hi ? hi : q;
    ((uint8_t *)r->y->data)[at] = (uint8_t)((int32_t)rintf(q) + r->zero);
}

static clq_status read_output(struct clq_op_call *call, struct requant *r, int scale, int zero)
{
    const clq_tensor *s = &call->in[scale], *z = &call->in[zero];
    if (!clq_is_real(s->dtype) || clq_op_count(s) != 1)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "the output scale is not one float");
    if (!is_byte(z->dtype) || clq_op_count(z) != 1)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "the output zero point is not one code");
    if (!clq_is_real(r->sx.t->dtype) || !clq_is_real(r->sw.t->dtype))
        return clq_op_fail(call, CLQ_ERR_FORMAT, "a scale is not a float");
    r->y = &call->out[0];
    r->lo = z->dtype == CLQ_DTYPE_S8 ? -128 : 0;
    r->hi = z->dtype == CLQ_DTYPE_S8 ? 127 : 255;
    if (!s->data) return CLQ_OK;
    r->sy = clq_load_real(s, 0);
    r->zero = z->data ? (int32_t)clq_op_int_at(z, 0) : 0;
    return CLQ_OK;
}

clq_op_fn clq_infer_conv_integer, clq_eval_conv_integer, clq_infer_qlinear_conv, clq_eval_qlinear_conv,
    clq_infer_matmul_integer, clq_eval_matmul_integer, clq_infer_qlinear_matmul, clq_eval_qlinear_matmul;

/* ---- convolution ---- */

clq_status clq_infer_conv_integer(struct clq_op_call *call)
{
    struct operands o;
    int64_t shape[CLQ_MAX_RANK];
    CLQ_TRY(conv_operands(call, &o, 0, 2, 1, 3));
    CLQ_TRY(clq_conv_int_shape(call, o.x, o.w, shape));
    return clq_op_set_out(call, 0, CLQ_DTYPE_S32, o.x->rank, shape);
}

static void keep_s32(void *state, const int64_t *sum, int64_t at, int64_t n, int64_t channel)
{
    (void)channel;
    for (int64_t i = 0; i < n; i++) ((uint32_t *)state)[at + i] = (uint32_t)sum[i];
}

clq_status clq_eval_conv_integer(struct clq_op_call *call)
{
    struct operands o;
    CLQ_TRY(conv_operands(call, &o, 0, 2, 1, 3));
    clq_status st = widen_both(call, &o);
    if (st == CLQ_OK) st = clq_conv_int_run(call, o.x, o.xv, o.w, o.wv, keep_s32, call->out[0].data);
    free_both(&o);
    return st;
}

static clq_status qlinear_conv(struct clq_op_call *call, struct operands *o, struct requant *r)
{
    *r = (struct requant){0};
    CLQ_TRY(conv_operands(call, o, 0, 2, 3, 5));
    CLQ_TRY(read_per(call, &r->sx, 1, 1, 1));
    CLQ_TRY(read_per(call, &r->sw, 4, o->w->rank ? o->w->shape[0] : 1, 1));
    CLQ_TRY(read_output(call, r, 6, 7));
    if (!clq_op_has(call, 8)) return CLQ_OK;
    CLQ_TRY(clq_op_need_type(call, 8, CLQ_DTYPE_S32));
    CLQ_TRY(clq_op_need_rank(call, 8, 1));
    if (call->in[8].shape[0] != o->w->shape[0])
        return clq_op_fail(call, CLQ_ERR_FORMAT, "%lld bias values", (long long)call->in[8].shape[0]);
    r->bias = call->in[8].data;
    return CLQ_OK;
}

clq_status clq_infer_qlinear_conv(struct clq_op_call *call)
{
    struct operands o;
    struct requant r;
    int64_t shape[CLQ_MAX_RANK];
    CLQ_TRY(conv_operands(call, &o, 0, 2, 3, 5));
    CLQ_TRY(clq_conv_int_shape(call, o.x, o.w, shape));
    CLQ_TRY(qlinear_conv(call, &o, &r));
    return clq_op_set_out(call, 0, call->in[7].dtype, o.x->rank, shape);
}

static void keep_codes(void *state, const int64_t *sum, int64_t at, int64_t n, int64_t channel)
{
    const struct requant *r = state;
    float m = multiplier(r, 0, index_of(&r->sw, channel));
    int64_t bias = r->bias ? r->bias[channel] : 0;
    for (int64_t i = 0; i < n; i++) store(r, at + i, sum[i] + bias, m);
}

clq_status clq_eval_qlinear_conv(struct clq_op_call *call)
{
    struct operands o;
    struct requant r;
    CLQ_TRY(qlinear_conv(call, &o, &r));
    clq_status st = widen_both(call, &o);
    if (st == CLQ_OK) st = clq_conv_int_run(call, o.x, o.xv, o.w, o.wv, keep_codes, &r);
    free_both(&o);
    return st;
}

/* ---- matrix product ---- */

static clq_status run_sums(struct clq_op_call *call, struct operands *o, int64_t **sum)
{
    *sum = malloc(((size_t)clq_op_count(&call->out[0]) + 1) * sizeof **sum);
    clq_status st = widen_both(call, o);
    if (st == CLQ_OK && !*sum) st = clq_op_no_memory(call);
    if (st == CLQ_OK) st = clq_matmul_int_run(call, o->x, o->xv, o->w, o->wv, *sum);
    free_both(o);
    if (st != CLQ_OK) {
        free(*sum);
        *sum = NULL;
    }
    return st;
}

clq_status clq_infer_matmul_integer(struct clq_op_call *call)
{
    struct operands o;
    int rank;
    int64_t shape[2 * CLQ_MAX_RANK];
    CLQ_TRY(matmul_operands(call, &o, 0, 2, 1, 3));
    CLQ_TRY(clq_matmul_int_shape(call, o.x, o.w, &rank, shape));
    return clq_op_set_out(call, 0, CLQ_DTYPE_S32, rank, shape);
}

clq_status clq_eval_matmul_integer(struct clq_op_call *call)
{
    struct operands o;
    int64_t *sum = NULL;
    CLQ_TRY(matmul_operands(call, &o, 0, 2, 1, 3));
    CLQ_TRY(run_sums(call, &o, &sum));
    keep_s32(call->out[0].data, sum, 0, clq_op_count(&call->out[0]), 0);
    free(sum);
    return CLQ_OK;
}

static clq_status qlinear_matmul(struct clq_op_call *call, struct operands *o, struct requant *r)
{
    *r = (struct requant){0};
    CLQ_TRY(matmul_operands(call, o, 0, 2, 3, 5));
    int64_t n = o->w->rank > 1 ? o->w->shape[o->w->rank - 1] : 1;
    CLQ_TRY(read_per(call, &r->sx, 1, o->x->rank > 1 ? o->x->shape[o->x->rank - 2] : 1, n));
    CLQ_TRY(read_per(call, &r->sw, 4, n, 1));
    return read_output(call, r, 6, 7);
}

clq_status clq_infer_qlinear_matmul(struct clq_op_call *call)
{
    struct operands o;
    struct requant r;
    int rank;
    int64_t shape[2 * CLQ_MAX_RANK];
    CLQ_TRY(qlinear_matmul(call, &o, &r));
    CLQ_TRY(clq_matmul_int_shape(call, o.x, o.w, &rank, shape));
    return clq_op_set_out(call, 0, call->in[7].dtype, rank, shape);
}

clq_status clq_eval_qlinear_matmul(struct clq_op_call *call)
{
    struct operands o;
    struct requant r;
    int64_t *sum = NULL;
    CLQ_TRY(qlinear_matmul(call, &o, &r));
    CLQ_TRY(run_sums(call, &o, &sum));
    for (int64_t i = 0, n = clq_op_count(&call->out[0]); i < n; i++)
        store(&r, i, sum[i], multiplier(&r, index_of(&r.sx, i), index_of(&r.sw, i)));
    free(sum);
    return CLQ_OK;
}
