/* SPDX-License-Identifier: Apache-2.0
 * Operands are drawn once. A histogram is filled anew in every run, so that every run does the same. */
#include "perf/work.h"

#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"

static const double most_bytes = 64e9;

/* Room for n elements, or NULL: more than any machine here has, or no memory. */
static void *room(double n, double element)
{
    if (n * element > most_bytes) return NULL;
    return aligned_alloc(64, ((size_t)(n * element) + 64 + 63) / 64 * 64);
}

/* Fills what lies behind the first `drawn` bytes with copies of them. */
static void repeat(void *memory, size_t drawn, size_t bytes)
{
    for (size_t done = drawn; done < bytes; done += drawn)
        memcpy((char *)memory + done, memory, bytes - done < drawn ? bytes - done : drawn);
}

/* Drawn numbers are repeated: large operands would take seconds. An odd number, so that rows differ. */
enum { DRAWN = 1000003 };

static void draw_codes(struct clq_rng *rng, void *memory, size_t bytes)
{
    const size_t drawn = bytes < DRAWN ? bytes : DRAWN;
    clq_fill_codes(rng, memory, drawn, CLQ_CODES_UNIFORM);
    repeat(memory, drawn, bytes);
}

static clq_status spoil(struct clq_work *w, clq_status st)
{
    clq_work_free(w);
    return st;
}

static size_t element_of(clq_dtype t)
{
    return t == CLQ_DTYPE_U8 || t == CLQ_DTYPE_S8 ? 1 : 4;
}

/* Operands of a product of `outputs` channels with `taps` weights each. */
static clq_status draw_product(struct clq_work *w, double inputs, double results, size_t outputs, double taps)
{
    struct clq_rng rng = clq_rng_make(CLQ_SEED, "work", outputs);
    const double weights = (double)outputs * taps;
    w->x = room(inputs, 1);
    w->w = room(weights, 1);
    w->y = room(results, (double)element_of(w->output));
    w->bias = room((double)outputs, sizeof *w->bias);
    w->multiplier = room((double)outputs, sizeof *w->multiplier);
    if (!w->x || !w->w || !w->y || !w->bias || !w->multiplier) return CLQ_ERR_OUT_OF_MEMORY;
    w->x_bytes = (size_t)inputs;
    w->w_bytes = (size_t)weights;
    w->y_bytes = (size_t)results * element_of(w->output);
    draw_codes(&rng, w->x, w->x_bytes);
    draw_codes(&rng, w->w, w->w_bytes);
    for (size_t i = 0; i < w->w_bytes; i++)
        if (w->w[i] == -128) w->w[i] = -127;
    for (size_t i = 0; i < outputs; i++) {
        w->bias[i] = clq_rng_range(&rng, -20000, 20000);
        w->multiplier[i] = (clq_rng_unit(&rng) + 0.5f) * 0.02f / (float)(taps + 1);
    }
    memset(w->y, 0, w->y_bytes);
    w->bytes = (double)w->x_bytes + (double)w->w_bytes + (double)w->y_bytes;
    return CLQ_OK;
}

/* A sum of four is bell-shaped, as activations are. */
static void draw_reals(struct clq_rng *rng, float *x, size_t n, double zeros)
{
    const size_t drawn = n < DRAWN ? n : DRAWN;
    for (size_t i = 0; i < drawn; i++) {
        const float bell = clq_rng_unit(rng) + clq_rng_unit(rng) + clq_rng_unit(rng) + clq_rng_unit(rng) - 2.0f;
        x[i] = (double)clq_rng_unit(rng) < zeros ? 0.0f : 6.0f * bell;
    }
    repeat(x, drawn * sizeof *x, n * sizeof *x);
}

static clq_product_output output_of(const struct clq_work *w)
{
    return (clq_product_output){.dtype = w->output, .multiplier = w->multiplier};
}

clq_status clq_work_gemm(struct clq_work *w, clq_context *ctx, const struct clq_gemm_shape *s, clq_dtype input, clq_dtype output, int weight_bits)
{
    clq_product_info info;
    *w = (struct clq_work){.kind = CLQ_WORK_GEMM, .ctx = ctx, .gemm_shape = *s, .input = input, .output = output};
    clq_status st = draw_product(w, (double)s->m * (double)s->k, (double)s->m * (double)s->n, s->n, (double)s->k);
    if (st != CLQ_OK) return spoil(w, st);
    for (size_t i = 0; weight_bits < 8 && i < w->w_bytes; i++) w->w[i] = (int8_t)(w->w[i] / (1 << (8 - weight_bits)));
    const clq_gemm_desc d = {.n = s->n, .k = s->k, .weight = w->w, .bias = w->bias, .input = input, .output = output_of(w)};
    st = clq_gemm_prepare(&w->gemm, ctx, &d);
    if (st != CLQ_OK) return spoil(w, st);
    clq_gemm_describe(&info, w->gemm);
    w->kernel = info.kernel;
    w->operations = 2.0 * (double)s->m * (double)s->n * (double)s->k;
    return CLQ_OK;
}

clq_status clq_work_int4(struct clq_work *w, clq_context *ctx, const struct clq_gemm_shape *s, size_t group, clq_dtype input)
{
    struct clq_rng rng = clq_rng_make(CLQ_SEED, "int4", s->n);
    clq_int4_info info;
    *w = (struct clq_work){.kind = CLQ_WORK_INT4, .ctx = ctx, .gemm_shape = *s, .input = input, .output = CLQ_DTYPE_F32};
    const size_t groups = clq_int4_groups(s->k, group), codes = s->n * ((s->k + 1) / 2), scales = s->n * groups;
    w->x = room((double)s->m * (double)s->k, sizeof(float));
    w->w = room((double)codes + 2 * (double)scales + 1, 1);
    w->y = room((double)s->m * (double)s->n, sizeof(float));
    if (!w->x || !w->w || !w->y) return spoil(w, CLQ_ERR_OUT_OF_MEMORY);
    w->x_bytes = s->m * s->k * sizeof(float);
    w->y_bytes = s->m * s->n * sizeof(float);
    w->w_bytes = codes + 2 * scales;
    draw_reals(&rng, w->x, s->m * s->k, 0);
    draw_codes(&rng, w->w, codes);
    uint16_t *scale = (uint16_t *)(void *)(w->w + (codes + 1) / 2 * 2);
    for (size_t i = 0; i < scales; i++) scale[i] = (uint16_t)(0x2000 + clq_rng_below(&rng, 1024)); /* from 2^-7 on */
    const clq_int4_desc d = {.n = s->n, .k = s->k, .group = group, .codes = (const uint8_t *)w->w, .scale = scale, .scale_dtype = CLQ_DTYPE_F16};
    const clq_status st = clq_int4_prepare(&w->int4, ctx, &d);
    if (st != CLQ_OK) return spoil(w, st);
    clq_int4_describe(&info, w->int4);
    w->kernel = info.kernel;
    w->bytes = (double)w->x_bytes + (double)w->w_bytes + (double)w->y_bytes;
    w->operations = 2.0 * (double)s->m * (double)s->n * (double)s->k;
    return CLQ_OK;
}

clq_status clq_work_conv(struct clq_work *w, clq_context *ctx, const struct clq_conv_shape *s, clq_dtype output)
{
    clq_product_info info;
    const double pixels = (double)clq_conv_out(s, s->h) * (double)clq_conv_out(s, s->w);
    const double taps = (double)(s->kernel * s->kernel) * (double)(s->ci / s->groups);
    *w = (struct clq_work){.kind = CLQ_WORK_CONV, .ctx = ctx, .conv_shape = *s, .input = CLQ_DTYPE_U8, .output = output};
    clq_status st = draw_product(w, (double)s->h * (double)s->w * (double)s->ci, pixels * (double)s->co, s->co, taps);
    if (st != CLQ_OK) return spoil(w, st);
    const clq_conv_desc d = {.h = s->h, .w = s->w, .ci = s->ci, .co = s->co, .kh = s->kernel, .kw = s->kernel, .stride_h = s->stride,
                             .stride_w = s->stride, .dilation_h = s->dilation, .dilation_w = s->dilation, .pad_top = s->pad_before,
                             .pad_left = s->pad_before, .pad_bottom = s->pad_behind, .pad_right = s->pad_behind, .groups = s->groups,
                             .weight = w->w, .bias = w->bias, .input = CLQ_DTYPE_U8, .output = output_of(w)};
    st = clq_conv_prepare(&w->conv, ctx, &d);
    if (st != CLQ_OK) return spoil(w, st);
    clq_conv_describe(&info, w->conv);
    w->kernel = info.kernel;
    w->operations = clq_conv_operations(s);
    return CLQ_OK;
}

clq_status clq_work_array(struct clq_work *w, clq_context *ctx, enum clq_work_kind kind, size_t n, clq_dtype codes, double zeros)
{
    struct clq_rng rng = clq_rng_make(CLQ_SEED, "array", n);
    const size_t size_x = kind == CLQ_WORK_DEQUANTIZE ? 1 : 4, size_y = kind == CLQ_WORK_QUANTIZE ? 1 : kind == CLQ_WORK_DEQUANTIZE ? 4 : 0;
    *w = (struct clq_work){.kind = kind, .ctx = ctx, .n = n, .output = codes, .scale = 0.05f, .kernel = clq_context_isa(ctx)};
    w->x = room((double)n, (double)size_x);
    w->y = room((double)n, (double)size_y);
    if (!w->x || !w->y) return spoil(w, CLQ_ERR_OUT_OF_MEMORY);
    w->x_bytes = n * size_x;
    w->y_bytes = n * size_y;
    memset(w->y, 0, w->y_bytes);
    if (kind == CLQ_WORK_DEQUANTIZE) {
        draw_codes(&rng, w->x, n);
    } else {
        draw_reals(&rng, w->x, n, zeros);
    }
    w->bytes = (double)w->x_bytes + (double)w->y_bytes;
    clq_work_run(w);
    return w->status == CLQ_OK ? CLQ_OK : spoil(w, w->status);
}

static clq_status run_histogram(struct clq_work *w)
{
    clq_histogram_free(w->histogram);
    w->histogram = NULL;
    clq_status st = clq_histogram_create(&w->histogram, w->ctx);
    return st == CLQ_OK ? clq_histogram_add(w->ctx, w->histogram, w->x, w->n) : st;
}

void clq_work_run(void *state)
{
    struct clq_work *w = state;
    const struct clq_gemm_shape *s = &w->gemm_shape;
    const int32_t zero_point = 3;
    const clq_array_params p = {w->output, 1, 1, w->n, &w->scale, &zero_point};
    clq_status st = CLQ_OK;
    switch (w->kind) {
    case CLQ_WORK_GEMM: st = clq_gemm_run(w->gemm, w->x, s->k, s->m, w->y, s->n); break;
    case CLQ_WORK_INT4:
        if (w->input == CLQ_DTYPE_S8) st = clq_int4_run_real(w->int4, w->x, s->k, s->m, w->y, s->n);
        else st = clq_int4_run_float(w->int4, w->x, w->input, s->k, s->m, w->y, s->n);
        break;
    case CLQ_WORK_CONV: st = clq_conv_run(w->conv, w->x, 1, w->y); break;
    case CLQ_WORK_QUANTIZE: st = clq_quantize_array(w->ctx, w->y, w->x, &p); break;
    case CLQ_WORK_DEQUANTIZE: st = clq_dequantize_array(w->ctx, w->y, w->x, &p); break;
    case CLQ_WORK_HISTOGRAM: st = run_histogram(w); break;
    }
    if (st != CLQ_OK) w->status = st;
}

void clq_work_free(struct clq_work *w)
{
    clq_gemm_free(w->gemm);
    clq_int4_free(w->int4);
    clq_conv_free(w->conv);
    clq_histogram_free(w->histogram);
    free(w->x);
    free(w->y);
    free(w->w);
    free(w->bias);
    free(w->multiplier);
    w->gemm = NULL;
    w->int4 = NULL;
    w->conv = NULL;
    w->histogram = NULL;
    w->x = w->y = w->w = NULL;
    w->bias = NULL;
    w->multiplier = NULL;
}
