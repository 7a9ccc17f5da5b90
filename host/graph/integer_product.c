/* SPDX-License-Identifier: Apache-2.0
 * Integer convolution and matrix product from their Q/DQ forms: collects the codes, proves that int32 holds every sum, and
 * computes the requantization multipliers (numerics.md 4 and 5). */
#include <math.h>
#include <string.h>

#include "graph/integer.h"

/* What both kinds of product share. */
struct product {
    struct clq_codes x, y;
    struct clq_weight w;
    bool float_out;
    int channels;
    int period;          /* channels with scales and biases of their own: all, or co of [phases][co] */
    size_t k;            /* products per output */
    int tail;            /* index of the step whose slot the integer step takes */
    int32_t lo, hi;
};

/* Follows activation steps from a product's output to the quantize step: their limits become limits of the code. */
static bool follow(const struct clq_program *p, int i, struct product *r)
{
    int at = i;
    float a = -INFINITY, b = INFINITY;
    for (int hops = 0; hops < 3; hops++) {
        int q = clq_codes_sink(p, p->steps[at].out[0], &r->y);
        if (q >= 0) {
            int32_t qa = isinf(a) ? 0 : clq_code_of(a, r->y.scale, r->y.zero), qb = isinf(b) ? 255 : clq_code_of(b, r->y.scale, r->y.zero);
            r->lo = qa;
            r->hi = qb < qa ? qa : qb;
            r->tail = q;
            return true;
        }
        int c = clq_program_find_consumer(p, p->steps[at].out[0]);
        if (c < 0 || hops == 2) return false;
        const struct clq_step *s = &p->steps[c];
        float lo = -INFINITY, hi = INFINITY;
        if (clq_op_is(s, "Relu")) lo = 0;
        else if (clq_op_is(s, "Clip")) {
            if (s->n_in == 1) {
                lo = clq_node_float(s->node, "min", -INFINITY);
                hi = clq_node_float(s->node, "max", INFINITY);
            } else {
                if (s->n_in > 1 && s->in[1] >= 0 && !clq_value_scalar_f32(p, s->in[1], &lo)) return false;
                if (s->n_in > 2 && s->in[2] >= 0 && !clq_value_scalar_f32(p, s->in[2], &hi)) return false;
            }
        } else return false;
        if (isnan(lo) || isnan(hi)) return false;
        /* clip(clip(v, a, b), lo, hi): the later limits win */
        a = a < lo ? lo : a > hi ? hi : a;
        b = b < lo ? lo : b > hi ? hi : b;
        at = c;
    }
    return false;
}

static int32_t weight_code(const struct clq_weight *w, size_t at)
{
    int32_t c = w->codes->t.dtype == CLQ_DTYPE_U8 ? ((const uint8_t *)w->codes->t.data)[at] : ((const int8_t *)w->codes->t.data)[at];
    return c - w->shift;
}

/* The real bias of a channel; false when the bias is neither a float constant nor a dequantized one. */
struct bias {
    const float *real;
    struct clq_weight codes;
    bool present;
};
static bool bias_source(const struct clq_program *p, int value, int channels, struct bias *out)
{
    size_t n;
    *out = (struct bias){0};
    if (value < 0) return true;
    out->present = true;
    if (clq_tensor_elements(&n, &p->values[value].t) != CLQ_OK || n != (size_t)channels) return false;
    if (p->values[value].constant && p->values[value].t.dtype == CLQ_DTYPE_F32) {
        out->real = p->values[value].t.data;
        return true;
    }
    return clq_weight_source(p, value, &out->codes) && out->codes.codes->t.dtype == CLQ_DTYPE_S32;
}

static double bias_code(const struct bias *b, int c, double scale)
{
    if (b->real) return rint((double)b->real[c] / scale);
    double code = (double)((const int32_t *)b->codes.codes->t.data)[c] - (double)b->codes.shift;
    float s = b->codes.scale[b->codes.n_scale > 1 ? c : 0];
    return s == (float)scale ? code : rint(code * (double)s / scale);
}

/* Fills bias codes, multipliers and the bound from the signed codes [channels][k]; false when exactness fails. */
static bool finish_product(struct clq_step *s, const struct product *r, const struct bias *bias)
{
    int64_t reach = r->x.zero > 127 ? r->x.zero : 255 - r->x.zero;
    s->bound = 0;
    for (int c = 0; c < r->channels; c++) {
        int64_t sum = 0;
        for (size_t i = 0; i < r->k; i++) {
            int w = s->weight_codes[(size_t)c * r->k + i];
            sum += w < 0 ? -w : w;
        }
        int own = c % r->period;
        double acc = (double)r->x.scale * (double)r->w.scale[r->w.n_scale > 1 ? own : 0];
        double b = bias->present ? bias_code(bias, own, acc) : 0;
        if (!(fabs(b) <= 2147483647.0)) return false;
        int64_t bound = reach * sum + (int64_t)fabs(b);
        if (bound > INT32_MAX) return false;
        if (bound > s->bound) s->bound = bound;
        s->bias_codes[c] = (int32_t)b;
        s->multiplier[c] = (float)(r->float_out ? acc : acc / (double)r->y.scale);
        if (!isnormal(s->multiplier[c])) return false;
    }
    return true;
}

/* Turns the tail's slot into the integer step and retires the float ones. */
static struct clq_step *take_slot(struct clq_program *p, int i, const struct product *r, enum clq_step_kind kind)
{
    struct clq_step *from = &p->steps[i], *to = &p->steps[r->tail];
    const struct clq_node *node = from->node;
    int *in = from->in, *out = r->float_out ? from->out : to->out;
    struct clq_step made = *from;
    if (r->tail != i) from->dead = true;
    for (int k = i + 1; k < r->tail; k++) /* the activations between */
        if (!p->steps[k].dead && p->steps[k].n_in > 0 && p->steps[k].in[0] == from->out[0]) {
            p->steps[k].dead = true;
            from = &p->steps[k];
        }
    made.kind = kind;
    made.dead = false;
    made.node = node;
    made.in = in;
    made.out = out;
    made.n_in = 1;
    made.n_out = 1;
    in[0] = r->x.value;
    made.in_scale[0] = r->x.scale;
    made.in_zero[0] = r->x.zero;
    made.out_scale = r->y.scale;
    made.out_zero = r->y.zero;
    made.lo = r->lo;
    made.hi = r->hi;
    p->steps[r->tail] = made;
    return &p->steps[r->tail];
}

static bool allocate(struct clq_program *p, struct clq_step *s, const struct product *r)
{
    s->weight_codes = clq_arena_array(&p->arena, (size_t)r->channels * r->k, 1);
    s->bias_codes = clq_arena_array(&p->arena, (size_t)r->channels, sizeof(int32_t));
    s->multiplier = clq_arena_array(&p->arena, (size_t)r->channels, sizeof(float));
    return s->weight_codes && s->bias_codes && s->multiplier;
}

static bool store_code(int8_t *to, int32_t code)
{
    *to = (int8_t)code;
    return code >= -128 && code <= 127;
}

clq_status clq_integer_conv(struct clq_program *p, int i, bool *done, struct clq_error *err)
{
    struct clq_step *s = &p->steps[i];
    struct product r = {.tail = i};
    struct bias bias;
    if (!clq_op_is(s, "Conv") || !clq_codes_source(p, s->in[0], &r.x) || !clq_weight_source(p, s->in[1], &r.w)) return CLQ_OK;
    const clq_tensor *w = &r.w.codes->t;
    if (w->dtype == CLQ_DTYPE_S32 || (w->rank != 4 && w->rank != 3) || (r.w.n_scale > 1 && r.w.axis != 0)) return CLQ_OK;
    r.channels = r.period = (int)w->shape[0];
    r.float_out = !follow(p, i, &r);
    if (r.float_out) r.tail = i;
    if (r.channels == 0 || !bias_source(p, s->n_in > 2 ? s->in[2] : -1, r.channels, &bias)) return CLQ_OK;
    const clq_tensor *x = &p->values[s->in[0]].t;
    struct clq_step made = *s;
    CLQ_TRY(clq_window_read(&made.window, s->node, x, w, false, err));
    size_t cg = (size_t)w->shape[1], taps = 1;
    for (int d = 2; d < w->rank; d++) taps *= (size_t)w->shape[d];
    r.k = cg * taps;
    if (r.k == 0) return CLQ_OK;
    if (!allocate(p, &made, &r)) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    bool fits = true;
    for (size_t o = 0; o < (size_t)r.channels; o++)
        for (size_t c = 0; c < cg; c++)
            for (size_t t = 0; t < taps; t++)
                fits = store_code(&made.weight_codes[(o * taps + t) * cg + c], weight_code(&r.w, (o * cg + c) * taps + t)) && fits;
    if (!fits || !finish_product(&made, &r, &bias)) return CLQ_OK;
    *s = made;
    take_slot(p, i, &r, CLQ_STEP_QCONV);
    *done = true;
    return CLQ_OK;
}

/* One axis of a transposed convolution as a convolution of stride 1 whose outputs are the `stride` phases of an output
 * position: output o = r + stride * q reads input q + (r + pad - dilation * k) / stride for every tap k that divides.
 * False where that is not worth it: the stride is the file's, and phases multiply the weights. */
static bool phase_axis(struct clq_window *to, const struct clq_window *from, int d)
{
    enum { MOST_STRIDE = 16, MOST_WASTE = 4 };
    int64_t s = from->stride[d], lo = 0, hi = 0;
    if (s > MOST_STRIDE) return false;
    for (int64_t r = 0; r < s; r++)
        for (int64_t k = 0; k < from->kernel[d]; k++) {
            int64_t at = r + from->pad_begin[d] - from->dilation[d] * k;
            if (at % s != 0) continue;
            if (at / s < lo) lo = at / s;
            if (at / s > hi) hi = at / s;
        }
    to->in[d] = from->in[d];
    to->out[d] = (from->out[d] + s - 1) / s;
    to->kernel[d] = hi - lo + 1;
    to->stride[d] = to->dilation[d] = 1;
    to->pad_begin[d] = -lo;
    to->pad_end[d] = hi;
    return to->kernel[d] <= from->kernel[d] && s * to->kernel[d] <= MOST_WASTE * from->kernel[d];
}

/* Stores code [ci][co][kh][kw] of the file at [phase_h][phase_w][co][tap_h][tap_w][ci]; taps that no phase has stay 0. */
static bool store_phases(struct clq_step *to, const struct product *r, const struct clq_window *from)
{
    const struct clq_window *w = &to->window;
    const clq_tensor *t = &r->w.codes->t;
    size_t ci = (size_t)t->shape[0], co = (size_t)t->shape[1], taps = r->k / ci;
    int64_t kh = w->nd == 2 ? from->kernel[0] : 1, kw = from->kernel[w->nd - 1];
    bool fits = true;
    for (int64_t phase = 0; phase < (int64_t)to->phase[0] * to->phase[1]; phase++)
        for (int64_t k = 0; k < kh * kw; k++) {
            const int64_t r0[2] = {phase / to->phase[1], phase % to->phase[1]}, k0[2] = {k / kw, k % kw};
            int64_t tap = 0;
            bool reads = true;
            for (int d = 0; d < w->nd; d++) {
                int a = d + 2 - w->nd;
                int64_t at = r0[a] + from->pad_begin[d] - from->dilation[d] * k0[a];
                reads = reads && at % to->phase[a] == 0;
                tap = tap * w->kernel[d] + at / to->phase[a] + w->pad_begin[d];
            }
            for (size_t i = 0; reads && i < ci * co; i++)
                fits = store_code(&to->weight_codes[(((size_t)phase * co + i % co) * taps + (size_t)tap) * ci + i / co],
                                  weight_code(&r->w, i * (size_t)(kh * kw) + (size_t)k)) && fits;
        }
    return fits;
}

/* ConvTranspose: the product of every input pixel with all its taps, computed as a convolution whose channels are phases. */
clq_status clq_integer_transposed(struct clq_program *p, int i, bool *done, struct clq_error *err)
{
    struct clq_step *s = &p->steps[i];
    struct product r = {.tail = i};
    struct bias bias;
    struct clq_window from;
    if (!clq_op_is(s, "ConvTranspose") || !clq_codes_source(p, s->in[0], &r.x) || !clq_weight_source(p, s->in[1], &r.w)) return CLQ_OK;
    const clq_tensor *w = &r.w.codes->t, *x = &p->values[s->in[0]].t;
    if (w->dtype == CLQ_DTYPE_S32 || (w->rank != 4 && w->rank != 3) || (r.w.n_scale > 1 && r.w.axis != 1)) return CLQ_OK;
    CLQ_TRY(clq_window_read(&from, s->node, x, w, true, err));
    struct clq_step made = *s;
    made.transposed = true;
    made.window = (struct clq_window){.nd = from.nd, .groups = 1};
    bool good = from.groups == 1 && w->shape[0] > 0 && w->shape[1] > 0;
    r.k = (size_t)w->shape[0];
    for (int d = 0; d < from.nd && good; d++) {
        good = phase_axis(&made.window, &from, d);
        r.k *= (size_t)made.window.kernel[d];
    }
    if (!good) return CLQ_OK;
    made.phase[0] = from.nd == 2 ? (int)from.stride[0] : 1;
    made.phase[1] = (int)from.stride[from.nd - 1];
    r.period = (int)w->shape[1];
    if (w->shape[1] > INT32_MAX / (made.phase[0] * made.phase[1])) return CLQ_OK;
    r.channels = r.period * made.phase[0] * made.phase[1];
    r.float_out = !follow(p, i, &r);
    if (r.float_out) r.tail = i;
    if (!bias_source(p, s->n_in > 2 ? s->in[2] : -1, r.period, &bias)) return CLQ_OK;
    if (!allocate(p, &made, &r)) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    if (!store_phases(&made, &r, &from) || !finish_product(&made, &r, &bias)) return CLQ_OK;
    *s = made;
    take_slot(p, i, &r, CLQ_STEP_QCONV);
    *done = true;
    return CLQ_OK;
}

/* MatMul [.., k] x [k, n], or Gemm with a two-dimensional weight; alpha and beta must be 1. */
clq_status clq_integer_matmul(struct clq_program *p, int i, bool *done, struct clq_error *err)
{
    struct clq_step *s = &p->steps[i];
    struct product r = {.tail = i};
    struct bias bias;
    bool gemm = clq_op_is(s, "Gemm");
    if (!gemm && !clq_op_is(s, "MatMul")) return CLQ_OK;
    if (!clq_codes_source(p, s->in[0], &r.x) || !clq_weight_source(p, s->in[1], &r.w)) return CLQ_OK;
    const clq_tensor *w = &r.w.codes->t, *x = &p->values[s->in[0]].t;
    bool transposed = gemm && clq_node_int(s->node, "transB", 0) != 0;
    if (w->dtype == CLQ_DTYPE_S32 || w->rank != 2 || x->rank < 2 || (r.w.n_scale > 1 && r.w.axis != (transposed ? 0 : 1))) return CLQ_OK;
    if (gemm && (clq_node_int(s->node, "transA", 0) != 0 || clq_node_float(s->node, "alpha", 1) != 1 || clq_node_float(s->node, "beta", 1) != 1))
        return CLQ_OK;
    r.channels = r.period = (int)w->shape[transposed ? 0 : 1];
    r.k = (size_t)w->shape[transposed ? 1 : 0];
    if (r.channels == 0 || r.k == 0) return CLQ_OK;
    r.float_out = !follow(p, i, &r);
    if (r.float_out) r.tail = i;
    if (!bias_source(p, gemm && s->n_in > 2 ? s->in[2] : -1, r.channels, &bias)) return CLQ_OK;
    struct clq_step made = *s;
    if (!allocate(p, &made, &r)) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    bool fits = true;
    for (size_t o = 0; o < (size_t)r.channels; o++)
        for (size_t c = 0; c < r.k; c++) {
            size_t at = transposed ? o * r.k + c : c * (size_t)r.channels + o;
            fits = store_code(&made.weight_codes[o * r.k + c], weight_code(&r.w, at)) && fits;
        }
    if (!fits || !finish_product(&made, &r, &bias)) return CLQ_OK;
    *s = made;
    take_slot(p, i, &r, CLQ_STEP_QGEMM);
    *done = true;
    return CLQ_OK;
}
