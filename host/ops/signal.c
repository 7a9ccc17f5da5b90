/* SPDX-License-Identifier: Apache-2.0
 * Signals: DFT, STFT, the window functions and MelWeightMatrix. Transforms are plain sums in binary64. */
#include <math.h>
#include <stdlib.h>

#include "ops/convert.h"

clq_op_fn clq_infer_dft, clq_eval_dft, clq_infer_stft, clq_eval_stft, clq_infer_signal_window, clq_eval_hann_window, clq_eval_hamming_window,
    clq_eval_blackman_window, clq_infer_mel_weights, clq_eval_mel_weights;

static const double turn = 6.283185307179586;
static const double most_work = 1073741824.0; /* products of one node: some seconds */

/* One whole number from input i. */
static clq_status whole(struct clq_op_call *call, int i, int64_t least, int64_t *out)
{
    CLQ_TRY(clq_op_need_value(call, i));
    if (!clq_op_is_int(call->in[i].dtype) || clq_op_count(&call->in[i]) != 1)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "input %d is not one integer", i);
    *out = clq_op_int_at(&call->in[i], 0);
    if (*out < least || *out > CLQ_OP_MAX_ELEMENTS) return clq_op_fail(call, CLQ_ERR_FORMAT, "input %d is %lld", i, (long long)*out);
    return CLQ_OK;
}

/* ---- One transform ---- */
struct transform {
    int64_t n, bins; /* length; results that are wanted */
    bool inverse;
    double *cosine, *sine; /* of i turns / n */
    double *x;             /* n complex values */
};

static bool start(struct transform *t)
{
    t->x = malloc(((size_t)t->n * 4 + 1) * sizeof *t->x);
    if (!t->x) return false;
    t->cosine = t->x + 2 * t->n;
    t->sine = t->cosine + t->n;
    for (int64_t i = 0; i < t->n; i++) {
        double angle = turn * (double)i / (double)t->n * (t->inverse ? 1.0 : -1.0);
        t->cosine[i] = cos(angle);
        t->sine[i] = sin(angle);
    }
    return true;
}

static void bin(const struct transform *t, int64_t k, double *re, double *im)
{
    *re = *im = 0;
    for (int64_t i = 0, at = 0; i < t->n; i++) {
        *re += t->x[2 * i] * t->cosine[at] - t->x[2 * i + 1] * t->sine[at];
        *im += t->x[2 * i] * t->sine[at] + t->x[2 * i + 1] * t->cosine[at];
        at += k;
        if (at >= t->n) at -= t->n;
    }
    if (!t->inverse) return;
    *re /= (double)t->n;
    *im /= (double)t->n;
}

/* ---- DFT ---- */
struct dft {
    struct transform t;
    int axis;
    int64_t outer, given, inner; /* given: values on the axis */
    int parts;                   /* 1 real, 2 complex */
    bool real_result;            /* onesided and inverse */
};

static clq_status read_dft(struct clq_op_call *call, struct dft *d)
{
    const clq_tensor *x = &call->in[0];
    int64_t axis = call->opset < 20 ? clq_node_int(call->node, "axis", 1) : -2;
    bool onesided = clq_node_int(call->node, "onesided", 0) != 0;
    *d = (struct dft){.t.inverse = clq_node_int(call->node, "inverse", 0) != 0};
    if (x->dtype != CLQ_DTYPE_F32 && x->dtype != CLQ_DTYPE_F64) return clq_op_bad_type(call, 0);
    if (x->rank < 2 || (x->shape[x->rank - 1] != 1 && x->shape[x->rank - 1] != 2))
        return clq_op_fail(call, CLQ_ERR_FORMAT, "the last axis of the input is neither 1 nor 2");
    if (clq_op_has(call, 2)) {
        CLQ_TRY(clq_op_need_value(call, 2));
        if (!clq_op_is_int(call->in[2].dtype) || clq_op_count(&call->in[2]) != 1) return clq_op_fail(call, CLQ_ERR_FORMAT, "the axis is not one integer");
        axis = clq_op_int_at(&call->in[2], 0);
    }
    CLQ_TRY(clq_op_axis(call, &d->axis, axis, x->rank));
    if (d->axis == x->rank - 1) return clq_op_fail(call, CLQ_ERR_FORMAT, "the axis is that of the complex parts");
    d->parts = (int)x->shape[x->rank - 1];
    d->outer = clq_op_span(x, 0, d->axis);
    d->given = x->shape[d->axis];
    d->inner = clq_op_span(x, d->axis + 1, x->rank - 1);
    d->real_result = onesided && d->t.inverse;
    d->t.n = d->real_result ? 2 * (d->given - 1) : d->given;
    if (clq_op_has(call, 1)) CLQ_TRY(whole(call, 1, 1, &d->t.n));
    if (d->t.n < 1) return clq_op_fail(call, CLQ_ERR_FORMAT, "a transform of %lld values", (long long)d->t.n);
    d->t.bins = onesided && !d->t.inverse ? d->t.n / 2 + 1 : d->t.n;
    if ((double)d->outer * (double)d->inner * (double)d->t.n * (double)d->t.bins > most_work)
        return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "a transform of %lld values over %lld rows is too much work", (long long)d->t.n, (long long)(d->outer * d->inner));
    return CLQ_OK;
}

clq_status clq_infer_dft(struct clq_op_call *call)
{
    struct dft d;
    int64_t shape[CLQ_MAX_RANK];
    CLQ_TRY(read_dft(call, &d));
    memcpy(shape, call->in[0].shape, sizeof shape);
    shape[d.axis] = d.t.bins;
    shape[call->in[0].rank - 1] = d.real_result ? 1 : 2;
    return clq_op_set_out(call, 0, call->in[0].dtype, call->in[0].rank, shape);
}

/* The values of one row; those of a half spectrum are continued by symmetry. */
static void load_row(struct dft *d, const clq_tensor *x, int64_t outer, int64_t inner)
{
    for (int64_t i = 0; i < d->t.n; i++) {
        int64_t from = d->real_result && i > d->t.n / 2 ? d->t.n - i : i;
        double re = 0, im = 0;
        if (from < d->given) {
            int64_t at = ((outer * d->given + from) * d->inner + inner) * d->parts;
            re = clq_load_real(x, at);
            im = d->parts > 1 ? clq_load_real(x, at + 1) : 0;
        }
        d->t.x[2 * i] = re;
        d->t.x[2 * i + 1] = from == i ? im : -im;
    }
}

clq_status clq_eval_dft(struct clq_op_call *call)
{
    struct dft d;
    CLQ_TRY(read_dft(call, &d));
    if (!start(&d.t)) return clq_op_no_memory(call);
    for (int64_t row = 0; row < d.outer * d.inner; row++) {
        int64_t outer = row / d.inner, inner = row % d.inner;
        load_row(&d, &call->in[0], outer, inner);
        for (int64_t k = 0; k < d.t.bins; k++) {
            double re, im;
            int64_t at = (outer * d.t.bins + k) * d.inner + inner;
            bin(&d.t, k, &re, &im);
            clq_store_real(&call->out[0], d.real_result ? at : 2 * at, re);
            if (!d.real_result) clq_store_real(&call->out[0], 2 * at + 1, im);
        }
    }
    free(d.t.x);
    return CLQ_OK;
}

/* ---- STFT: signal, frame_step, window, frame_length ---- */
struct stft {
    struct transform t;
    int64_t step, frames, length;
    int parts;
    const clq_tensor *window;
};

static clq_status read_stft(struct clq_op_call *call, struct stft *s)
{
    const clq_tensor *x = &call->in[0];
    *s = (struct stft){.window = clq_op_has(call, 2) ? &call->in[2] : NULL};
    if (x->dtype != CLQ_DTYPE_F32 && x->dtype != CLQ_DTYPE_F64) return clq_op_bad_type(call, 0);
    if ((x->rank != 2 && x->rank != 3) || (x->rank == 3 && x->shape[2] != 1 && x->shape[2] != 2))
        return clq_op_fail(call, CLQ_ERR_FORMAT, "the signal does not have shape [batch, length, 1 or 2]");
    s->parts = x->rank == 3 ? (int)x->shape[2] : 1;
    s->length = x->shape[1];
    CLQ_TRY(whole(call, 1, 1, &s->step));
    if (s->window) {
        CLQ_TRY(clq_op_need_same_type(call, 2));
        CLQ_TRY(clq_op_need_rank(call, 2, 1));
        s->t.n = s->window->shape[0];
    }
    if (clq_op_has(call, 3)) CLQ_TRY(whole(call, 3, 1, &s->t.n));
    if (s->t.n < 1 || s->t.n > s->length || (s->window && s->window->shape[0] != s->t.n))
        return clq_op_fail(call, CLQ_ERR_FORMAT, "frames of %lld values in a signal of %lld", (long long)s->t.n, (long long)s->length);
    s->t.bins = clq_node_int(call->node, "onesided", 1) ? s->t.n / 2 + 1 : s->t.n;
    s->frames = (s->length - s->t.n) / s->step + 1;
    if ((double)x->shape[0] * (double)s->frames * (double)s->t.n * (double)s->t.bins > most_work)
        return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "%lld transforms of %lld values are too much work", (long long)s->frames, (long long)s->t.n);
    return CLQ_OK;
}

clq_status clq_infer_stft(struct clq_op_call *call)
{
    struct stft s;
    CLQ_TRY(read_stft(call, &s));
    return clq_op_set_out(call, 0, call->in[0].dtype, 4, (const int64_t[]){call->in[0].shape[0], s.frames, s.t.bins, 2});
}

clq_status clq_eval_stft(struct clq_op_call *call)
{
    struct stft s;
    CLQ_TRY(read_stft(call, &s));
    if (!start(&s.t)) return clq_op_no_memory(call);
    for (int64_t f = 0; f < call->in[0].shape[0] * s.frames; f++) {
        int64_t from = (f / s.frames * s.length + f % s.frames * s.step) * s.parts;
        for (int64_t i = 0; i < s.t.n; i++) {
            double w = s.window ? clq_load_real(s.window, i) : 1.0;
            s.t.x[2 * i] = w * clq_load_real(&call->in[0], from + i * s.parts);
            s.t.x[2 * i + 1] = s.parts > 1 ? w * clq_load_real(&call->in[0], from + i * s.parts + 1) : 0.0;
        }
        for (int64_t k = 0; k < s.t.bins; k++) {
            double re, im;
            bin(&s.t, k, &re, &im);
            clq_store_real(&call->out[0], (f * s.t.bins + k) * 2, re);
            clq_store_real(&call->out[0], (f * s.t.bins + k) * 2 + 1, im);
        }
    }
    free(s.t.x);
    return CLQ_OK;
}

/* ---- Windows ---- */
clq_status clq_infer_signal_window(struct clq_op_call *call)
{
    int64_t n, type = clq_node_int(call->node, "output_datatype", CLQ_DTYPE_F32);
    CLQ_TRY(whole(call, 0, 0, &n));
    if (type < 1 || type > 64 || !clq_is_number((clq_dtype)type)) return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "a window of type %lld", (long long)type);
    return clq_op_set_out(call, 0, (clq_dtype)type, 1, &n);
}

/* a - b cos(t) + c cos(2t) over one period, which the last value closes unless periodic is set. */
static clq_status cosines(struct clq_op_call *call, double a, double b, double c)
{
    const clq_tensor *y = &call->out[0];
    int64_t n = y->shape[0];
    double period = (double)(clq_node_int(call->node, "periodic", 1) ? n : n - 1);
    clq_clear_padding(y);
    for (int64_t i = 0; i < n; i++) {
        double t = period > 0 ? turn * (double)i / period : 0;
        clq_store_real(y, i, a - b * cos(t) + c * cos(2 * t));
    }
    return CLQ_OK;
}

clq_status clq_eval_hann_window(struct clq_op_call *call)
{
    return cosines(call, 0.5, 0.5, 0);
}

clq_status clq_eval_hamming_window(struct clq_op_call *call)
{
    return cosines(call, 25.0 / 46.0, 21.0 / 46.0, 0);
}

clq_status clq_eval_blackman_window(struct clq_op_call *call)
{
    return cosines(call, 0.42, 0.5, 0.08);
}

/* ---- MelWeightMatrix: bins, dft_length, sample_rate, lower and upper edge ---- */
clq_status clq_infer_mel_weights(struct clq_op_call *call)
{
    int64_t bins, length, rate, type = clq_node_int(call->node, "output_datatype", CLQ_DTYPE_F32);
    CLQ_TRY(whole(call, 0, 0, &bins));
    CLQ_TRY(whole(call, 1, 1, &length));
    CLQ_TRY(whole(call, 2, 1, &rate));
    for (int i = 3; i < 5; i++)
        if (!clq_is_real(call->in[i].dtype) || clq_op_count(&call->in[i]) != 1) return clq_op_fail(call, CLQ_ERR_FORMAT, "input %d is not one number", i);
    if (type < 1 || type > 64 || !clq_is_number((clq_dtype)type)) return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "weights of type %lld", (long long)type);
    return clq_op_set_out(call, 0, (clq_dtype)type, 2, (const int64_t[]){length / 2 + 1, bins});
}

/* The spectrum bin of edge i of the triangles. */
static int64_t edge(const struct clq_op_call *call, int64_t i, double low, double step)
{
    double hertz = 700.0 * (pow(10.0, ((double)i * step + low) / 2595.0) - 1.0);
    double at = floor((double)(clq_op_int_at(&call->in[1], 0) + 1) * hertz / (double)clq_op_int_at(&call->in[2], 0));
    return at > 0 ? (at < 1e9 ? (int64_t)at : 1000000000) : 0;
}

clq_status clq_eval_mel_weights(struct clq_op_call *call)
{
    const clq_tensor *y = &call->out[0];
    int64_t rows = y->shape[0], bins = y->shape[1];
    double low = 2595.0 * log10(1.0 + clq_load_real(&call->in[3], 0) / 700.0), high = 2595.0 * log10(1.0 + clq_load_real(&call->in[4], 0) / 700.0);
    double step = (high - low) / (double)(bins + 2);
    size_t bytes;
    if (clq_tensor_bytes(&bytes, y) == CLQ_OK) memset(y->data, 0, bytes);
    for (int64_t i = 0; i < bins; i++) {
        int64_t from = edge(call, i, low, step), center = edge(call, i + 1, low, step), to = edge(call, i + 2, low, step);
        for (int64_t j = from; j <= center && j < rows; j++)
            clq_store_real(y, j * bins + i, center == from ? 1.0 : (double)(j - from) / (double)(center - from));
        for (int64_t j = center; j < to && j < rows; j++) clq_store_real(y, j * bins + i, (double)(to - j) / (double)(to - center));
    }
    return CLQ_OK;
}
