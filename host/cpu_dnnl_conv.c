/* SPDX-License-Identifier: Apache-2.0
 * Convolution and transposed convolution over NHWC. Which oneDNN implementation is used depends on the shape
 * and on the CPU's vector width alone, by rules that were measured; oneDNN's own order is not always the fastest. */
#include <stdlib.h>

#include "base/size.h"
#include "cpu_dnnl_step.h"

struct layouts { /* of one convolution */
    dnnl_memory_desc_t x, y, weight, weight_plain, bias;
};

static int64_t extent(int64_t k, int64_t dilation)
{
    return (k - 1) * dilation + 1;
}

static bool window_ok(int64_t k, int64_t stride, int64_t dilation, int64_t begin, int64_t end)
{
    return k >= 1 && stride >= 1 && dilation >= 1 && begin >= 0 && end >= 0 && k <= INT32_MAX && stride <= INT32_MAX &&
           dilation <= INT32_MAX / k && begin <= INT32_MAX && end <= INT32_MAX;
}

/* The end padding that oneDNN needs to accept out positions from in: what is read, not what the model declares. */
static int64_t end_padding(int64_t in, int64_t out, int64_t k, int64_t stride, int64_t dilation, int64_t begin)
{
    int64_t need = (out - 1) * stride + extent(k, dilation) - in - begin;
    return need > 0 ? need : 0;
}

static double conv_nanoseconds(const struct clq_dnnl_conv *d)
{
    double in = (double)d->batch * (double)(d->h * d->w), out = (double)d->batch * (double)(d->oh * d->ow);
    double products = (d->transposed ? in : out) * (double)(d->kh * d->kw) * (double)(d->ci / d->groups) * (double)d->co;
    double speed = d->groups > 1 ? CLQ_DNNL_PRODUCTS / 4 : CLQ_DNNL_PRODUCTS;
    return products / speed + (in * (double)d->ci + out * (double)d->co) / CLQ_DNNL_ELEMENTS;
}

static clq_status conv_check(const struct clq_dnnl_conv *d, struct clq_error *err)
{
    int64_t g = d->groups;
    CLQ_TRY(clq_dnnl_dims("convolution input", 4, (int64_t[]){d->batch, d->h, d->w, d->ci}, err));
    CLQ_TRY(clq_dnnl_dims("convolution output", 4, (int64_t[]){d->batch, d->oh, d->ow, d->co}, err));
    if (g < 1 || d->ci % g != 0 || d->co % g != 0)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "convolution: %lld groups do not divide %lld and %lld channels",
                        (long long)g, (long long)d->ci, (long long)d->co);
    CLQ_TRY(clq_dnnl_dims("convolution weight", 4, (int64_t[]){d->co, d->ci / g, d->kh, d->kw}, err));
    if (!window_ok(d->kh, d->stride_h, d->dilation_h, d->pad_top, d->pad_bottom) ||
        !window_ok(d->kw, d->stride_w, d->dilation_w, d->pad_left, d->pad_right) || !d->weight)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "convolution: weight, stride, dilation or padding is missing or "
                        "out of range");
    /* The narrow side as a function of the wide one: output of input, or input of output when transposed. */
    int64_t wide_h = d->transposed ? d->oh : d->h, wide_w = d->transposed ? d->ow : d->w;
    int64_t narrow_h = d->transposed ? d->h : d->oh, narrow_w = d->transposed ? d->w : d->ow;
    int64_t over_h = (narrow_h - 1) * d->stride_h + extent(d->kh, d->dilation_h) - wide_h - d->pad_top;
    int64_t over_w = (narrow_w - 1) * d->stride_w + extent(d->kw, d->dilation_w) - wide_w - d->pad_left;
    if (over_h > d->pad_bottom || over_w > d->pad_right || -over_h >= d->stride_h || -over_w >= d->stride_w)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT,
                        "convolution: output %lldx%lld does not follow from input %lldx%lld, "
                        "kernel %lldx%lld and the padding",
                        (long long)d->oh, (long long)d->ow, (long long)d->h, (long long)d->w, (long long)d->kh,
                        (long long)d->kw);
    return CLQ_OK;
}

static clq_status conv_layouts(struct layouts *l, const struct clq_dnnl_conv *d, struct clq_error *err)
{
    int64_t g = d->groups, ci = d->ci / g, co = d->co / g, k = d->kh * d->kw;
    int64_t dims[5] = {g, co, ci, d->kh, d->kw};
    /* The transposed weight is stored input channel first, the groups along the input channels. */
    int64_t strides[5] = {co * ci * k, d->transposed ? k : ci * k, d->transposed ? co * k : k, d->kw, 1};
    int skip = g == 1;
    CLQ_TRY(clq_dnnl_image(&l->x, d->batch, d->h, d->w, d->ci, err));
    CLQ_TRY(clq_dnnl_image(&l->y, d->batch, d->oh, d->ow, d->co, err));
    CLQ_TRY(clq_dnnl_strided(&l->weight, 5 - skip, dims + skip, NULL, err));
    CLQ_TRY(clq_dnnl_strided(&l->weight_plain, 5 - skip, dims + skip, strides + skip, err));
    return clq_dnnl_dense(&l->bias, 1, &d->co, err);
}

/* Measured on EfficientNet-Lite0's layers on Zen 4, one thread (perf/float_conv.c). Depthwise: jit_dw takes 0.75 of
 * the time of brdgmm_dw, oneDNN's first choice. Up to 4 input channels: jit takes 0.9 of brgconv. Where 512-bit vectors
 * run as two halves, AVX2 code has the same peak and wastes less on 8 or fewer channels in the last vector of 16 (0.75
 * at 24 channels, 0.85 at 40), and its 1x1 is faster for few input channels (0.88 at 16, 0.94 at 40, 0.97 at 64). */
static const char *conv_preference(const struct clq_dnnl *dnnl, const struct clq_dnnl_conv *d)
{
    int64_t tail = d->co % 16;
    bool half = tail >= 1 && tail <= 8, pointwise = d->kh == 1 && d->kw == 1;
    if (d->transposed) return NULL;
    if (d->groups > 1) return d->groups == d->ci && d->groups == d->co ? "jit_dw:" : NULL;
    if (d->ci <= 4 && !pointwise) return "jit:";
    if (!dnnl->narrow) return NULL;
    if (pointwise) return half || d->ci <= 64 ? "jit_1x1:avx2" : NULL;
    return half && d->co > 16 ? "jit:avx2" : NULL;
}

static clq_status conv_describe(dnnl_convolution_desc_t *conv, const struct clq_dnnl_conv *d, const struct layouts *l,
                                struct clq_error *err)
{
    const dnnl_memory_desc_t *bias = d->bias ? &l->bias : NULL;
    bool t = d->transposed;
    int64_t wide_h = t ? d->oh : d->h, wide_w = t ? d->ow : d->w, low_h = t ? d->h : d->oh, low_w = t ? d->w : d->ow;
    dnnl_dims_t stride = {d->stride_h, d->stride_w}, dilate = {d->dilation_h - 1, d->dilation_w - 1};
    dnnl_dims_t begin = {d->pad_top, d->pad_left};
    dnnl_dims_t end = {end_padding(wide_h, low_h, d->kh, d->stride_h, d->dilation_h, d->pad_top),
                       end_padding(wide_w, low_w, d->kw, d->stride_w, d->dilation_w, d->pad_left)};
    if (t)
        return clq_dnnl_check(dnnl_dilated_deconvolution_forward_desc_init(
                                  conv, dnnl_forward_inference, dnnl_deconvolution_direct, &l->x, &l->weight, bias,
                                  &l->y, stride, dilate, begin, end), "transposed convolution", err);
    return clq_dnnl_check(dnnl_dilated_convolution_forward_desc_init(conv, dnnl_forward_inference,
                                                                     dnnl_convolution_direct, &l->x, &l->weight, bias,
                                                                     &l->y, stride, dilate, begin, end),
                          "convolution", err);
}

static clq_status conv_bind(struct clq_dnnl_step *step, struct clq_dnnl_exec *exec, struct clq_dnnl *dnnl,
                            const struct clq_dnnl_conv *d, const struct layouts *l, const_dnnl_primitive_desc_t pd,
                            enum clq_dnnl_form form, struct clq_error *err)
{
    const dnnl_memory_desc_t *weight = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    CLQ_TRY(clq_dnnl_exec_create(step, exec, dnnl, pd, err));
    CLQ_TRY(clq_dnnl_bind(exec, dnnl, DNNL_ARG_SRC, &l->x, CLQ_DNNL_A, err));
    CLQ_TRY(clq_dnnl_bind(exec, dnnl, DNNL_ARG_DST, &l->y, CLQ_DNNL_Y, err));
    CLQ_TRY(clq_dnnl_bind_constant(step, exec, dnnl, DNNL_ARG_WEIGHTS, weight, &l->weight_plain, d->weight, err));
    if (d->bias)
        CLQ_TRY(clq_dnnl_bind_constant(step, exec, dnnl, DNNL_ARG_BIAS, &l->bias, &l->bias, d->bias, err));
    if (form != CLQ_DNNL_BINARY) return CLQ_OK;
    return clq_dnnl_bind(exec, dnnl, DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, &l->y, CLQ_DNNL_RESIDUAL, err);
}

static clq_status conv_form(struct clq_dnnl_step *step, struct clq_dnnl_exec *exec, struct clq_dnnl *dnnl,
                            const struct clq_dnnl_conv *d, const struct layouts *l, enum clq_dnnl_form form,
                            enum clq_act act, struct clq_error *err)
{
    dnnl_convolution_desc_t conv;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    struct clq_dnnl_epilogue e = {.alpha = 1, .form = form, .y = &l->y, .act = act, .a = d->a, .b = d->b};
    /* Both forms of one step take the same implementation where that is possible, and then share the weights. */
    const char *prefer = step->name[0] ? step->name : conv_preference(dnnl, d);
    CLQ_TRY(conv_describe(&conv, d, l, err));
    CLQ_TRY(clq_dnnl_attr(&attr, &e, err));
    /* A residual in y needs no tensor of its own, and the faster implementations take it: rather copy than im2col. */
    enum clq_dnnl_refuse refuse = form == CLQ_DNNL_BINARY ? CLQ_DNNL_NO_IM2COL : CLQ_DNNL_NO_REFERENCE;
    clq_status st = clq_dnnl_choose(&pd, dnnl, &conv, attr, prefer, refuse, err);
    if (st == CLQ_OK) st = conv_bind(step, exec, dnnl, d, l, pd, form, err);
    if (pd) dnnl_primitive_desc_destroy(pd);
    dnnl_primitive_attr_destroy(attr);
    return st;
}

/* y = act(y) as a step of its own. */
static clq_status activation_after(struct clq_dnnl_step *step, struct clq_dnnl *dnnl, const struct clq_dnnl_conv *d,
                                   const dnnl_memory_desc_t *y, struct clq_error *err)
{
    dnnl_eltwise_desc_t op;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    struct clq_dnnl_eltwise act[2];
    struct clq_dnnl_epilogue e = {.alpha = 1};
    int n = clq_dnnl_act(act, d->act, d->a, d->b);
    if (n == 0) return CLQ_OK;
    if (n < 0) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "convolution: unknown activation %d", (int)d->act);
    /* Of the two-part activations the second part is a clip. */
    if (n == 2) e = (struct clq_dnnl_epilogue){.alpha = 1, .act = CLQ_ACT_CLIP, .a = act[1].alpha, .b = act[1].beta};
    CLQ_TRY(clq_dnnl_check(dnnl_eltwise_forward_desc_init(&op, dnnl_forward_inference, act[0].alg, y, act[0].alpha,
                                                          act[0].beta), "activation", err));
    CLQ_TRY(clq_dnnl_attr(&attr, &e, err));
    clq_status st = clq_dnnl_choose(&pd, dnnl, &op, attr, NULL, CLQ_DNNL_TAKE_ALL, err);
    if (st == CLQ_OK) st = clq_dnnl_exec_create(step, &step->after, dnnl, pd, err);
    if (st == CLQ_OK) st = clq_dnnl_bind(&step->after, dnnl, DNNL_ARG_SRC, y, CLQ_DNNL_Y, err);
    if (st == CLQ_OK) st = clq_dnnl_bind(&step->after, dnnl, DNNL_ARG_DST, y, CLQ_DNNL_Y, err);
    if (pd) dnnl_primitive_desc_destroy(pd);
    dnnl_primitive_attr_destroy(attr);
    return st;
}

/* oneDNN runs the epilogue of a transposed convolution as scalar code, ten times slower than the product, so the
 * activation is a pass of its own. With a residual it stays inside: rare, and y cannot be read twice. */
static clq_status conv_transposed(struct clq_dnnl_step *step, struct clq_dnnl *dnnl, const struct clq_dnnl_conv *d,
                                  const struct layouts *l, struct clq_error *err)
{
    if (d->residual) return conv_form(step, &step->sum, dnnl, d, l, CLQ_DNNL_SUM, d->act, err);
    CLQ_TRY(conv_form(step, &step->main, dnnl, d, l, CLQ_DNNL_PLAIN, CLQ_ACT_NONE, err));
    return activation_after(step, dnnl, d, &l->y, err);
}

static bool has_no_overlap(const struct clq_dnnl_conv *d)
{
    return d->transposed && !d->residual && d->groups == 1 && d->kh == d->stride_h && d->kw == d->stride_w &&
           d->dilation_h == 1 && d->dilation_w == 1 && d->pad_top == 0 && d->pad_left == 0 &&
           d->oh == d->h * d->kh && d->ow == d->w * d->kw;
}

/* The weight of the product that a transposed convolution without overlap is: column (y, x, o) of row i is
 * w[y][x][o] of input channel i. By kernel row for conv_upsampling, by column for conv_upsampling_few. */
static void upsampling_weight(float *out, const struct clq_dnnl_conv *d, bool by_column)
{
    size_t ci = (size_t)d->ci, co = (size_t)d->co, kh = (size_t)d->kh, kw = (size_t)d->kw, run = kw * co;
    for (size_t i = 0; i < ci; i++)
        for (size_t o = 0; o < co; o++)
            for (size_t y = 0; y < kh; y++)
                for (size_t x = 0; x < kw; x++) {
                    size_t at = by_column ? ((y * kw + x) * co + o) * ci + i : (y * ci + i) * run + x * co + o;
                    out[at] = d->weight[((i * co + o) * kh + y) * kw + x];
                }
}

/* A transposed convolution whose windows do not overlap is a matrix product per kernel row: output row y * kh + ky is
 * [w, ci] times [ci, kw * co], already in NHWC order. Rows of pixels and kernel rows are the batch dimensions. */
static clq_status conv_upsampling(struct clq_dnnl_step **out, struct clq_dnnl *dnnl, const struct clq_dnnl_conv *d,
                                  const float *weight, const float *bias, struct clq_error *err)
{
    struct clq_dnnl_upsample u = {.rows = d->batch * d->h, .w = d->w, .k = d->ci, .n = d->kw * d->co, .kh = d->kh,
                                  .weight = weight, .bias = bias, .act = d->act, .a = d->a, .b = d->b};
    return clq_dnnl_upsample(out, dnnl, &u, err);
}

void clq_dnnl_shuffle(const struct clq_dnnl *dnnl, const struct clq_dnnl_shuffle *s, float *y)
{
    const float *x = (const float *)(const void *)((const char *)dnnl->scratch + s->temp_at);
    for (size_t r = 0; r < s->rows; r++)
        for (size_t k = 0; k < s->kh; k++)
            for (size_t w = 0; w < s->w; w++) {
                float *to = y + ((r * s->kh + k) * s->w + w) * s->run;
                const float *from = x + ((r * s->w + w) * s->kh + k) * s->run;
                for (size_t i = 0; i < s->run; i++) to[i] = from[i];
            }
}

/* With a few output channels a kernel row fills a fraction of a vector. All kernel rows together are one 1x1
 * convolution, then pixels are put in their places and the activation runs on whole vectors: 1.1 instead of
 * 3.1 ms for 24 channels of 320x320 to 1 channel, 2x2. */
static clq_status upsampling_few(struct clq_dnnl_step *step, struct clq_dnnl *dnnl, const struct clq_dnnl_conv *d,
                                 const float *weight, const float *bias, struct clq_error *err)
{
    struct layouts l;
    dnnl_memory_desc_t y;
    size_t temp, end;
    struct clq_dnnl_conv p = {.batch = d->batch, .h = d->h, .w = d->w, .ci = d->ci, .oh = d->h, .ow = d->w,
                              .co = d->kh * d->kw * d->co, .kh = 1, .kw = 1, .stride_h = 1, .stride_w = 1,
                              .dilation_h = 1, .dilation_w = 1, .groups = 1, .weight = weight, .bias = bias};
    CLQ_TRY(conv_layouts(&l, &p, err));
    CLQ_TRY(clq_dnnl_image(&y, d->batch, d->oh, d->ow, d->co, err));
    CLQ_TRY(conv_form(step, &step->main, dnnl, &p, &l, CLQ_DNNL_PLAIN, CLQ_ACT_NONE, err));
    CLQ_TRY(activation_after(step, dnnl, d, &y, err));
    if (!clq_size_align(&temp, step->scratch_bytes, 64) || !clq_size_add(&end, temp, dnnl_memory_desc_get_size(&l.y)))
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "transposed convolution: scratchpad size");
    step->shuffle = (struct clq_dnnl_shuffle){(size_t)(d->batch * d->h), (size_t)d->w, (size_t)d->kh,
                                              (size_t)(d->kw * d->co), temp};
    return clq_dnnl_grow_scratch(dnnl, end, err);
}

static clq_status conv_upsampling_few(struct clq_dnnl_step **out, struct clq_dnnl *dnnl, const struct clq_dnnl_conv *d,
                                      const float *weight, const float *bias, struct clq_error *err)
{
    struct clq_dnnl_step *step = NULL;
    CLQ_TRY(clq_dnnl_step_new(&step, err));
    step->threads = clq_dnnl_threads(dnnl, conv_nanoseconds(d));
    int saved = clq_dnnl_enter(step->threads);
    clq_status st = upsampling_few(step, dnnl, d, weight, bias, err);
    clq_dnnl_leave(saved);
    if (st == CLQ_OK) *out = step;
    else clq_dnnl_step_free(step);
    return st;
}

static clq_status conv_without_overlap(struct clq_dnnl_step **out, struct clq_dnnl *dnnl, const struct clq_dnnl_conv *d,
                                       struct clq_error *err)
{
    size_t co = (size_t)d->co, columns = (size_t)(d->kh * d->kw) * co;
    bool few = d->kw * d->co <= 8;
    float *weight = malloc(columns * (size_t)d->ci * sizeof *weight), *tiled = malloc(columns * sizeof *tiled);
    const float *bias = d->bias ? tiled : NULL;
    clq_status st = CLQ_ERR_OUT_OF_MEMORY;
    if (weight && tiled) {
        upsampling_weight(weight, d, few);
        for (size_t i = 0; i < columns && bias; i++) tiled[i] = d->bias[i % co];
        st = few ? conv_upsampling_few(out, dnnl, d, weight, bias, err)
                 : conv_upsampling(out, dnnl, d, weight, bias, err);
    } else {
        clq_fail(err, st, "transposed convolution: out of memory for the weights");
    }
    free(weight);
    free(tiled);
    return st;
}

static clq_status conv_prepare(struct clq_dnnl_step *step, struct clq_dnnl *dnnl, const struct clq_dnnl_conv *d,
                               struct clq_error *err)
{
    struct layouts l;
    CLQ_TRY(conv_layouts(&l, d, err));
    step->residual = d->residual;
    step->y_bytes = dnnl_memory_desc_get_size(&l.y);
    if (d->transposed) return conv_transposed(step, dnnl, d, &l, err);
    if (!d->residual) return conv_form(step, &step->main, dnnl, d, &l, CLQ_DNNL_PLAIN, d->act, err);
    clq_status st = conv_form(step, &step->main, dnnl, d, &l, CLQ_DNNL_BINARY, d->act, err);
    if (st != CLQ_OK && st != CLQ_ERR_UNSUPPORTED) return st;
    return conv_form(step, &step->sum, dnnl, d, &l, CLQ_DNNL_SUM, d->act, err);
}

clq_status clq_dnnl_conv(struct clq_dnnl_step **out, struct clq_dnnl *dnnl, const struct clq_dnnl_conv *d,
                         struct clq_error *err)
{
    struct clq_dnnl_step *step = NULL;
    CLQ_TRY(conv_check(d, err));
    if (has_no_overlap(d)) return conv_without_overlap(out, dnnl, d, err);
    CLQ_TRY(clq_dnnl_step_new(&step, err));
    step->threads = clq_dnnl_threads(dnnl, conv_nanoseconds(d));
    int saved = clq_dnnl_enter(step->threads);
    clq_status st = conv_prepare(step, dnnl, d, err);
    clq_dnnl_leave(saved);
    if (st == CLQ_OK) *out = step;
    else clq_dnnl_step_free(step);
    return st;
}
