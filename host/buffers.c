/* SPDX-License-Identifier: Apache-2.0
 * Quantize, dequantize and weights on plain arrays, and the way from the device to the CPU. */
#include "buffers.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "kernels/ref/code.h"
#include "weights.h"
#ifdef CLQ_HAVE_OPENCL
#include "device_cl.h"
#endif

/* STREAMED: values whose codes, or reals, are more than the caches of a core hold, and are not read again soon. */
enum { CHUNK = 16384, SHORT_RUN = 16, LEAST_DEVICE_RUN = 1024, DEVICE_PIECE = 1 << 24, STREAMED = 1 << 24 };

bool clq_buffers_device(const struct clq_context *ctx)
{
    return ctx->cl && !ctx->cl_dead;
}

clq_status clq_buffers_fall_back(struct clq_context *ctx, const char *what, clq_status st, const struct clq_error *why)
{
    if (st == CLQ_ERR_DEVICE) ctx->cl_dead = true;
    snprintf(ctx->device_note, sizeof ctx->device_note, "%.60s: %.160s; %s on the CPU", what, why->text, ctx->cl_dead ? "everything runs" : "it ran");
    if (ctx->require_device) return clq_fail(&ctx->error, st, "%s: the required device cannot: %s", what, why->text);
    clq_context_log(ctx, "%s", ctx->device_note);
    return CLQ_OK;
}

clq_status clq_buffers_require(struct clq_context *ctx, const char *what)
{
    if (!ctx->require_device || !ctx->cl_dead) return CLQ_OK;
    return clq_fail(&ctx->error, CLQ_ERR_DEVICE, "%s: the required device has failed: %s", what, ctx->device_note);
}

clq_status clq_buffers_check_scales(struct clq_context *ctx, const char *what, const float *values, size_t n)
{
    if (n > 0 && !values) return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "%s is NULL", what);
    for (size_t i = 0; i < n; i++)
        if (!(values[i] >= FLT_MIN && values[i] <= FLT_MAX))
            return clq_fail(&ctx->error, CLQ_ERR_NUMERIC, "%s[%zu]: expected a normal positive number, got %g", what, i, (double)values[i]);
    return CLQ_OK;
}

bool clq_buffers_limits(clq_dtype dtype, int32_t *lo, int32_t *hi)
{
    *lo = dtype == CLQ_DTYPE_S8 ? -128 : 0;
    *hi = dtype == CLQ_DTYPE_S8 ? 127 : 255;
    return dtype == CLQ_DTYPE_S8 || dtype == CLQ_DTYPE_U8;
}

bool clq_buffers_overlap(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;
    return a_bytes > 0 && b_bytes > 0 && (x < y ? y - x < a_bytes : x - y < b_bytes);
}

/* One call on an array, in the direction of quantize or dequantize. */
struct job {
    struct clq_context *ctx;
    const char *what;
    const clq_array_params *p;
    float *real;         /* not written when quantizing */
    unsigned char *code; /* not written when dequantizing */
    bool quantize, is_signed;
    int32_t lo, hi;
    size_t n;
};

static int32_t zero_of(const clq_array_params *p, size_t channel)
{
    return p->zero_point ? p->zero_point[channel] : 0;
}

static void by_kernel(const struct job *j, size_t at, size_t n, size_t channel)
{
    const struct clq_kernels *k = &j->ctx->kernels;
    if (j->quantize) {
        struct clq_quantize_args a = {j->real + at, j->code + at, n, j->p->scale[channel], zero_of(j->p, channel), j->n >= STREAMED};
        (j->is_signed ? k->quantize_f32_s8 : k->quantize_f32_u8)(&a);
    } else {
        struct clq_dequantize_args a = {j->code + at, j->real + at, n, j->p->scale[channel], zero_of(j->p, channel), j->n >= STREAMED};
        (j->is_signed ? k->dequantize_s8_f32 : k->dequantize_u8_f32)(&a);
    }
}

/* Too few values for a call: the formulas of the references. */
static void by_value(const struct job *j, size_t at, size_t n, size_t channel)
{
    const float scale = j->p->scale[channel];
    const int32_t zero = zero_of(j->p, channel);
    for (size_t i = at; i < at + n; i++) {
        if (j->quantize) j->code[i] = (unsigned char)clq_code_ref(clq_load_ref(j->real, i), scale, zero, j->lo, j->hi);
        else clq_store_f32_ref(j->real, i, (float)((j->is_signed ? (int8_t)j->code[i] : j->code[i]) - zero) * scale);
    }
}

static void run_chunks(void *state, size_t begin, size_t end, int thread)
{
    const struct job *j = state;
    const size_t inner = j->p->inner, to = end * CHUNK < j->n ? end * CHUNK : j->n;
    size_t at = begin * CHUNK, channel = at / inner % j->p->channels, left = inner - at % inner;
    (void)thread;
    while (at < to) {
        size_t n = left < to - at ? left : to - at;
        if (n < SHORT_RUN) by_value(j, at, n, channel);
        else by_kernel(j, at, n, channel);
        at += n;
        left = inner;
        if (++channel == j->p->channels) channel = 0;
    }
}

#ifdef CLQ_HAVE_OPENCL
static clq_status on_device_run(const struct job *j, size_t at, size_t n, size_t channel, struct clq_error *why)
{
    if (j->quantize) {
        struct clq_quantize_args a = {j->real + at, j->code + at, n, j->p->scale[channel], zero_of(j->p, channel), false};
        return clq_cl_quantize(j->ctx->cl, j->is_signed, &a, NULL, why);
    }
    struct clq_dequantize_args a = {j->code + at, j->real + at, n, j->p->scale[channel], zero_of(j->p, channel), false};
    return clq_cl_dequantize(j->ctx->cl, j->is_signed, &a, NULL, why);
}

static clq_status on_device(const struct job *j, struct clq_error *why)
{
    const clq_array_params *p = j->p;
    const size_t run = p->channels == 1 ? j->n : p->inner;
    if (run < LEAST_DEVICE_RUN && p->channels > 1)
        return clq_fail(why, CLQ_ERR_UNSUPPORTED, "channels of %zu consecutive values are too short for the device, which needs %d", run, LEAST_DEVICE_RUN);
    for (size_t at = 0, channel = 0; at < j->n; at += run) {
        for (size_t i = 0; i < run; i += DEVICE_PIECE)
            CLQ_TRY(on_device_run(j, at + i, run - i < DEVICE_PIECE ? run - i : DEVICE_PIECE, channel, why));
        if (++channel == p->channels) channel = 0;
    }
    return CLQ_OK;
}
#endif

static clq_status check(struct job *j)
{
    struct clq_error *err = &j->ctx->error;
    const clq_array_params *p = j->p;
    size_t bytes;
    if (!p) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: params is NULL", j->what);
    if (!clq_buffers_limits(p->dtype, &j->lo, &j->hi))
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: dtype of the codes: expected uint8 or int8, got %s", j->what, clq_dtype_name(p->dtype));
    j->is_signed = p->dtype == CLQ_DTYPE_S8;
    if (!clq_size_mul(&j->n, p->outer, p->channels) || !clq_size_mul(&j->n, j->n, p->inner) || !clq_size_mul(&bytes, j->n, sizeof(float)) || bytes > PTRDIFF_MAX)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: %zu x %zu x %zu elements do not fit into memory", j->what, p->outer, p->channels, p->inner);
    if (j->n == 0) return CLQ_OK;
    if (!j->real || !j->code) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: %s is NULL", j->what, j->real ? "codes" : "x");
    if (clq_buffers_overlap(j->real, bytes, j->code, j->n)) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: x and codes overlap", j->what);
    CLQ_TRY(clq_buffers_check_scales(j->ctx, "scale", p->scale, p->channels));
    for (size_t c = 0; p->zero_point && c < p->channels; c++)
        if (p->zero_point[c] < j->lo || p->zero_point[c] > j->hi)
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: zero_point[%zu]: expected %d to %d, got %d", j->what, c, j->lo, j->hi, p->zero_point[c]);
    return CLQ_OK;
}

static clq_status run(struct job *j)
{
    CLQ_TRY(check(j));
    if (j->n == 0) return CLQ_OK;
    CLQ_TRY(clq_buffers_require(j->ctx, j->what));
#ifdef CLQ_HAVE_OPENCL
    struct clq_error why = {""};
    if (clq_buffers_device(j->ctx)) {
        clq_status st = on_device(j, &why);
        if (st == CLQ_OK) return CLQ_OK;
        CLQ_TRY(clq_buffers_fall_back(j->ctx, j->what, st, &why));
    }
#endif
    clq_pool_for(j->ctx->pool, j->n < CLQ_BUFFERS_SERIAL ? 1 : j->ctx->threads, (j->n + CHUNK - 1) / CHUNK, run_chunks, j);
    return CLQ_OK;
}

clq_status clq_quantize_array(clq_context *ctx, void *codes, const float *x, const clq_array_params *params)
{
    if (!ctx) return CLQ_ERR_INVALID_ARGUMENT;
    struct job j = {.ctx = ctx, .what = "clq_quantize_array", .p = params, .real = (float *)x, .code = codes, .quantize = true};
    return run(&j);
}

clq_status clq_dequantize_array(clq_context *ctx, float *x, const void *codes, const clq_array_params *params)
{
    if (!ctx) return CLQ_ERR_INVALID_ARGUMENT;
    struct job j = {.ctx = ctx, .what = "clq_dequantize_array", .p = params, .real = x, .code = (unsigned char *)codes};
    return run(&j);
}

/* Channels of a weight whose channels lie one after the other. */
static void quantize_channels(void *state, size_t begin, size_t end, int thread)
{
    struct clq_weight_job part = *(const struct clq_weight_job *)state;
    (void)thread;
    part.weight += begin * part.inner;
    part.codes += begin * part.inner;
    part.scale += begin;
    part.channels = end - begin;
    (void)clq_weights_quantize(&part, "weight", NULL); /* every value has been found finite */
}

clq_status clq_quantize_weights(clq_context *ctx, int8_t *codes, float *scale, const clq_weights_desc *w)
{
    size_t n, bytes;
    if (!ctx) return CLQ_ERR_INVALID_ARGUMENT;
    struct clq_error *err = &ctx->error;
    if (!w) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "clq_quantize_weights: weights is NULL");
    if (!clq_size_mul(&n, w->outer, w->channels) || !clq_size_mul(&n, n, w->inner) || !clq_size_mul(&bytes, n, sizeof(float)) || bytes > PTRDIFF_MAX)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "clq_quantize_weights: %zu x %zu x %zu elements do not fit into memory", w->outer, w->channels, w->inner);
    if ((w->channels > 0 && !scale) || (n > 0 && (!codes || !w->weight)))
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "clq_quantize_weights: %s is NULL", !scale ? "scale" : !codes ? "codes" : "weight");
    if (clq_buffers_overlap(w->weight, bytes, codes, n)) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "clq_quantize_weights: weight and codes overlap");
    for (size_t i = 0; i < n; i++)
        if (!isfinite(w->weight[i])) return clq_fail(err, CLQ_ERR_NUMERIC, "clq_quantize_weights: weight[%zu]: expected a finite value, got %g", i, (double)w->weight[i]);
    struct clq_weight_job j = {.weight = w->weight, .outer = w->outer, .channels = w->channels, .inner = w->inner, .clip = w->clip, .scale = scale, .codes = codes};
    if (w->outer > 1) return clq_weights_quantize(&j, "weight", err);
    clq_pool_for(ctx->pool, n < CLQ_BUFFERS_SERIAL ? 1 : ctx->threads, w->channels, quantize_channels, &j);
    return CLQ_OK;
}

clq_status clq_multipliers(clq_context *ctx, float *multiplier, size_t n, float scale_a, const float *scale_w, float scale_y)
{
    if (!ctx) return CLQ_ERR_INVALID_ARGUMENT;
    if (n > 0 && !multiplier) return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "clq_multipliers: multiplier is NULL");
    CLQ_TRY(clq_buffers_check_scales(ctx, "scale_a", &scale_a, 1));
    CLQ_TRY(clq_buffers_check_scales(ctx, "scale_w", scale_w, n));
    CLQ_TRY(clq_buffers_check_scales(ctx, "scale_y", &scale_y, 1));
    for (size_t i = 0; i < n; i++) {
        const float m = (float)((double)scale_a * (double)scale_w[i] / (double)scale_y);
        if (!isnormal(m)) return clq_fail(&ctx->error, CLQ_ERR_NUMERIC, "clq_multipliers: multiplier %zu: expected a normal number, got %g", i, (double)m);
        multiplier[i] = m;
    }
    return CLQ_OK;
}

clq_status clq_bias_codes(clq_context *ctx, int32_t *codes, const float *bias, size_t n, float scale_a, const float *scale_w)
{
    if (!ctx) return CLQ_ERR_INVALID_ARGUMENT;
    if (n > 0 && (!codes || !bias)) return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "clq_bias_codes: %s is NULL", codes ? "bias" : "codes");
    CLQ_TRY(clq_buffers_check_scales(ctx, "scale_a", &scale_a, 1));
    CLQ_TRY(clq_buffers_check_scales(ctx, "scale_w", scale_w, n));
    for (size_t i = 0; i < n; i++) {
        const float scale = (float)((double)scale_a * (double)scale_w[i]);
        if (!isnormal(scale)) return clq_fail(&ctx->error, CLQ_ERR_NUMERIC, "clq_bias_codes: scale of bias %zu: expected a normal number, got %g", i, (double)scale);
        const double code = rint((double)bias[i] / (double)scale);
        if (!(fabs(code) <= INT32_MAX))
            return clq_fail(&ctx->error, CLQ_ERR_NUMERIC, "clq_bias_codes: bias[%zu] = %g at scale %g: the code %g does not fit int32", i, (double)bias[i], (double)scale, code);
        codes[i] = (int32_t)code;
    }
    return CLQ_OK;
}
