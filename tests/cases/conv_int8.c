/* SPDX-License-Identifier: Apache-2.0
 * Cases of conv_u8s8: drawn geometries (kernels 1..7, strides 1..3, dilation, groups, asymmetric padding, batches,
 * windows partly or wholly outside), depthwise with every channel remainder, 1x1 with and without stride, wide images,
 * all outputs and limits, residuals, extreme operands, and sums beyond 32 bits. Tests run the units out of order and on two
 * scratch buffers. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/harness.h"

struct window {
    struct clq_conv_args c;
    struct clq_residual residual;
    bool split;
};

/* What a geometry is drawn around; 0 means: draw. */
struct shape {
    size_t batch, oh, ow, ci, co, groups, kh, kw, stride_h, stride_w, dilation, pad;
};

enum { N_DRAWN = 500, N_DEPTHWISE = 300, N_POINTWISE = 60 };

static const struct shape fixed[] = {
    {1, 20, 21, 3, 32, 1, 3, 3, 2, 2, 1, 1},   /* stem */
    {1, 5, 300, 24, 24, 24, 3, 3, 1, 1, 1, 1}, /* wide depthwise: chunks of columns */
    {1, 4, 170, 40, 40, 40, 5, 5, 2, 2, 1, 2}, {1, 9, 150, 80, 80, 80, 5, 5, 2, 1, 1, 2},
    {1, 9, 21, 70, 70, 70, 3, 3, 1, 2, 1, 1},  {1, 8, 11, 32, 32, 32, 5, 5, 1, 2, 1, 2},
    {1, 8, 30, 32, 32, 32, 3, 3, 1, 1, 1, 1},  {1, 12, 30, 16, 16, 16, 5, 5, 1, 1, 1, 2}, /* strips of a narrow block */
    {1, 7, 7, 64, 128, 1, 3, 3, 1, 1, 1, 1},   {2, 7, 7, 96, 64, 1, 3, 3, 2, 2, 1, 1},    /* expanded */
    {1, 14, 14, 64, 80, 1, 3, 3, 1, 1, 2, 2},  {1, 7, 7, 128, 256, 1, 1, 1, 2, 2, 1, 0},
    {1, 30, 26, 16, 16, 1, 3, 3, 1, 1, 1, 1},  {1, 3, 1, 60, 70, 1, 7, 7, 1, 1, 1, 3},
    {1, 4, 4, 4, 144, 1, 4, 4, 4, 4, 1, 0}, /* in place */
    {1, 40, 9, 70, 30, 1, 5, 5, 1, 1, 1, 2},   {3, 6, 6, 32, 64, 4, 3, 3, 1, 1, 1, 1},
    {1, 6, 5, 24, 48, 24, 3, 3, 1, 1, 1, 1},   {1, 5, 5, 48, 24, 24, 3, 3, 1, 1, 1, 1}, /* depthwise with factors */
    {1, 300, 1, 8, 20, 1, 3, 1, 1, 1, 1, 1},   {1, 1, 300, 8, 20, 1, 1, 3, 1, 1, 1, 1},
    {1, 9, 9, 1, 1, 1, 3, 3, 1, 1, 1, 1},      {1, 6, 6, 66, 66, 66, 7, 7, 1, 1, 1, 3},
    {1, 6, 6, 70, 70, 70, 3, 3, 1, 1, 2, 2},   {1, 6, 6, 130, 130, 130, 3, 3, 3, 3, 1, 1},
    {1, 2, 2, 1100, 8, 1, 8, 8, 1, 1, 1, 0}, /* 70400 taps: beyond 32 bits with extreme operands */
};
enum { N_FIXED = 4 * (sizeof fixed / sizeof *fixed) };

static size_t draw(struct clq_case *c, size_t given, size_t most)
{
    return given ? given : 1 + clq_rng_below(&c->rng, most);
}

/* The geometry; the image is as large as the window needs, less the padding, and at times a little larger. */
static void draw_geometry(struct clq_case *c, struct clq_conv_args *a, const struct shape *s)
{
    const bool drawn = s->oh == 0;
    a->batch = drawn ? 1 + (clq_rng_below(&c->rng, 4) == 0) : s->batch;
    a->kh = draw(c, s->kh, 7);
    a->kw = s->kw ? s->kw : clq_rng_below(&c->rng, 3) ? a->kh : draw(c, 0, 7);
    a->stride_h = draw(c, s->stride_h, 3);
    a->stride_w = s->stride_w ? s->stride_w : clq_rng_below(&c->rng, 3) ? a->stride_h : draw(c, 0, 3);
    a->dilation_h = s->dilation ? s->dilation : 1 + (clq_rng_below(&c->rng, 4) == 0);
    a->dilation_w = s->dilation ? s->dilation : clq_rng_below(&c->rng, 3) ? a->dilation_h : draw(c, 0, 2);
    a->oh = draw(c, s->oh, 12);
    a->ow = draw(c, s->ow, clq_rng_below(&c->rng, 4) ? 14 : 60);
    const size_t reach_h = (a->kh - 1) * a->dilation_h, reach_w = (a->kw - 1) * a->dilation_w;
    a->pad_top = drawn ? clq_rng_below(&c->rng, reach_h + 2) : s->pad;
    a->pad_left = drawn ? clq_rng_below(&c->rng, reach_w + 2) : s->pad;
    const size_t bottom = drawn ? clq_rng_below(&c->rng, reach_h + 2) : s->pad;
    const size_t right = drawn ? clq_rng_below(&c->rng, reach_w + 2) : s->pad;
    const size_t need_h = (a->oh - 1) * a->stride_h + reach_h + 1, need_w = (a->ow - 1) * a->stride_w + reach_w + 1;
    a->h = need_h > a->pad_top + bottom ? need_h - a->pad_top - bottom : 1;
    a->w = need_w > a->pad_left + right ? need_w - a->pad_left - right : 1;
    if (drawn) {
        a->h += clq_rng_below(&c->rng, a->stride_h);
        a->w += clq_rng_below(&c->rng, a->stride_w);
    }
}

static void draw_channels(struct clq_case *c, struct clq_conv_args *a, const struct shape *s)
{
    a->groups = s->groups ? s->groups : clq_rng_below(&c->rng, 4) ? 1 : 1 + clq_rng_below(&c->rng, 5);
    a->ci = s->ci ? s->ci : a->groups * draw(c, 0, clq_rng_below(&c->rng, 2) ? 6 : 40);
    a->co = s->co ? s->co : a->groups * draw(c, 0, clq_rng_below(&c->rng, 2) ? 20 : 90);
}

static void fill_weights(struct clq_case *c, int8_t *w, size_t n, size_t variation)
{
    for (size_t i = 0; i < n; i++) {
        const int r = clq_rng_range(&c->rng, -127, 127), side = clq_rng_range(&c->rng, 0, 2);
        w[i] = (int8_t)(variation % 4 == 0   ? (side == 0   ? 127
                                                : side == 1 ? -127
                                                            : -128)
                        : variation % 4 == 1 ? r / 2
                                             : r);
    }
}

static int64_t bound_of(const struct clq_conv_args *a)
{
    const int64_t most = a->zero_point_x > 127 ? a->zero_point_x : 255 - a->zero_point_x;
    const size_t taps = a->kh * a->kw * (a->ci / a->groups);
    int64_t bound = 0;
    for (size_t n = 0; n < a->co; n++) {
        int64_t sum = 0;
        for (size_t k = 0; k < taps; k++) sum += llabs(a->weight[n * taps + k]);
        sum = sum * most + (a->bias ? llabs(a->bias[n]) : 0);
        if (sum > bound) bound = sum;
    }
    return bound;
}

/* A third of the convolutions that leave codes add a residual of another distance of pixels. */
static void add_residual(struct clq_case *c, struct window *p, size_t variation)
{
    struct clq_conv_args *a = &p->c;
    if (variation % 3 != 1 || a->out != CLQ_OUT_U8) return;
    const size_t ld = a->co + (variation % 2 ? variation % 5 : 0), pixels = a->batch * a->oh * a->ow;
    const size_t n = pixels ? (pixels - 1) * ld + a->co : 0;
    uint8_t *r = clq_case_operand(c, "residual", CLQ_IN, CLQ_ELEM_U8, n, variation / 3 % 4);
    clq_fill_codes(&c->rng, r, n, (enum clq_fill_codes)(variation / 5 % CLQ_CODES_COUNT));
    clq_fill_residual(&c->rng, &p->residual, a->out);
    p->residual.codes = r;
    p->residual.ld = ld;
    a->residual = &p->residual;
}

static void fill_operands(struct clq_case *c, struct clq_conv_args *a, size_t variation)
{
    const size_t taps = a->kh * a->kw * (a->ci / a->groups), n_x = a->batch * a->h * a->w * a->ci;
    const size_t n_y = a->batch * a->oh * a->ow * a->co;
    const enum clq_fill_codes fill = (enum clq_fill_codes)(variation / 2 % CLQ_CODES_COUNT);
    static const enum clq_elem elem[] = {CLQ_ELEM_U8, CLQ_ELEM_S8, CLQ_ELEM_F32, CLQ_ELEM_S32};
    static const enum clq_out outs[] = {CLQ_OUT_U8, CLQ_OUT_F32, CLQ_OUT_U8, CLQ_OUT_S32, CLQ_OUT_U8};
    a->out = outs[variation % 5];
    a->zero_point_x = fill == CLQ_CODES_LOW ? 255 : fill == CLQ_CODES_HIGH ? 0 : (int)clq_rng_below(&c->rng, 256);
    a->zero_point_y = (int)clq_rng_below(&c->rng, 256);
    a->lo = variation % 2 ? a->zero_point_y : 0;
    a->hi = variation % 3 ? 255 : clq_rng_range(&c->rng, a->lo, 255);
    uint8_t *x = clq_case_operand(c, "x", CLQ_IN, CLQ_ELEM_U8, n_x, variation % 4);
    int8_t *w = clq_case_operand(c, "weight", CLQ_IN, CLQ_ELEM_S8, a->co * taps, 0);
    int32_t *bias = clq_case_operand(c, "bias", CLQ_IN, CLQ_ELEM_S32, a->co, 0);
    float *m = clq_case_operand(c, "multiplier", CLQ_IN, CLQ_ELEM_F32, a->co, 0);
    clq_fill_codes(&c->rng, x, n_x, fill);
    fill_weights(c, w, a->co * taps, variation);
    for (size_t i = 0; i < a->co; i++) {
        bias[i] = clq_rng_range(&c->rng, -20000, 20000);
        m[i] = (clq_rng_unit(&c->rng) + 0.1f) * 0.05f / (float)(taps + 1);
        if (variation % 7 == 3) m[i] = 1.0f / (float)(1u << clq_rng_below(&c->rng, 14)); /* ties */
        if (variation % 11 == 5 && i % 3 == 0) m[i] = 0x1p60f;
    }
    a->x = x;
    a->weight = w;
    a->bias = variation % 9 == 4 ? NULL : bias;
    a->multiplier = a->out == CLQ_OUT_S32 ? NULL : m;
    a->bound = bound_of(a);
    a->y = clq_case_operand(c, "y", CLQ_OUT, elem[a->out], n_y, a->out == CLQ_OUT_U8 ? variation / 4 % 4 : 0);
    c->bytes = (double)(n_x + n_y + a->co * taps);
    c->operations = 2.0 * (double)n_y * (double)taps;
}

static void describe(struct clq_case *c, const struct shape *s, size_t variation)
{
    struct window *p = clq_case_args(c, sizeof *p);
    struct clq_conv_args *a = &p->c;
    p->split = true;
    draw_geometry(c, a, s);
    draw_channels(c, a, s);
    fill_operands(c, a, variation);
    add_residual(c, p, variation);
    clq_case_label(
        c, "%zux%zux%zux%zu -> %zux%zux%zu k%zux%zu s%zu,%zu d%zu,%zu p%zu,%zu g%zu out %d zx %d zy %d %d..%d",
        a->batch, a->h, a->w, a->ci, a->oh, a->ow, a->co, a->kh, a->kw, a->stride_h, a->stride_w, a->dilation_h,
        a->dilation_w, a->pad_top, a->pad_left, a->groups, (int)a->out, a->zero_point_x, a->zero_point_y, a->lo, a->hi);
}

static void prepare(struct clq_case *c, size_t index)
{
    struct shape s = {0};
    if (index < N_DRAWN) {
        describe(c, &s, index);
        return;
    }
    index -= N_DRAWN;
    if (index < N_DEPTHWISE) { /* every remainder of 64 channels, mostly the kernels that networks use */
        s.groups = s.ci = s.co = index % 10 == 9 ? 16 * (1 + clq_rng_below(&c->rng, 12)) : 1 + index % 150;
        if (index % 4) {
            s.kh = s.kw = index % 8 < 5 ? 3 : 5;
            s.dilation = 1;
            s.stride_h = 1 + index % 3 % 2;
        }
        describe(c, &s, index);
        return;
    }
    index -= N_DEPTHWISE;
    if (index < N_POINTWISE) {
        s = (struct shape){.batch = 1 + index % 2,
                           .oh = 1 + index % 9,
                           .ow = 1 + index % 13,
                           .groups = 1,
                           .kh = 1,
                           .kw = 1,
                           .stride_h = 1 + index % 5 / 4,
                           .stride_w = 1 + index % 7 / 6,
                           .dilation = 1};
        describe(c, &s, index);
        return;
    }
    index -= N_POINTWISE;
    describe(c, &fixed[index / 4], index % 4 * 5 + index);
}

/* The layers of EfficientNet-Lite0 that cost most, one of each kind, and convolutions of other networks. */
static const struct shape benches[] = {
    {1, 112, 112, 3, 32, 1, 3, 3, 2, 2, 1, 1},    {1, 112, 112, 32, 32, 32, 3, 3, 1, 1, 1, 1},
    {1, 112, 112, 16, 96, 1, 1, 1, 1, 1, 1, 0},   {1, 56, 56, 96, 96, 96, 3, 3, 2, 2, 1, 1},
    {1, 56, 56, 144, 24, 1, 1, 1, 1, 1, 1, 0},    {1, 28, 28, 144, 144, 144, 5, 5, 2, 2, 1, 2},
    {1, 14, 14, 480, 480, 480, 5, 5, 1, 1, 1, 2}, {1, 14, 14, 480, 80, 1, 1, 1, 1, 1, 1, 0},
    {1, 7, 7, 320, 1280, 1, 1, 1, 1, 1, 1, 0},    {1, 56, 56, 64, 64, 1, 3, 3, 1, 1, 1, 1},
    {1, 14, 14, 256, 256, 1, 3, 3, 1, 1, 1, 1},   {1, 7, 7, 512, 512, 1, 3, 3, 1, 1, 1, 1},
    {1, 7, 7, 512, 1024, 1, 1, 1, 2, 2, 1, 0},    {1, 14, 14, 96, 96, 96, 7, 7, 1, 1, 1, 3},
    {1, 28, 28, 128, 128, 32, 3, 3, 1, 1, 1, 1},
};

static void prepare_bench(struct clq_case *c, size_t index)
{
    describe(c, &benches[index], 2);
    struct window *p = c->args;
    p->split = false;
    p->c.zero_point_y = p->c.lo = 0;
}

enum { WORK_PACKED, WORK_SCRATCH, WORK_SCRATCH_TOO };

static void setup(struct clq_case *c, const struct clq_kernels *k)
{
    struct clq_conv_args *a = &((struct window *)c->args)->c;
    k->conv_u8s8_plan(a);
    a->packed = clq_case_work(c, WORK_PACKED, a->packed_bytes);
    clq_case_work(c, WORK_SCRATCH_TOO, a->scratch_bytes);
    a->scratch = clq_case_work(c, WORK_SCRATCH, a->scratch_bytes);
    k->conv_u8s8_pack(a);
}

/* Split: one to three units a call, the later calls first, on alternating scratch. */
static void run(struct clq_case *c, const struct clq_kernels *k)
{
    struct clq_conv_args a = ((struct window *)c->args)->c;
    if (!((struct window *)c->args)->split) {
        a.unit_begin = 0;
        a.unit_end = a.units;
        k->conv_u8s8(&a);
        return;
    }
    for (size_t end = a.units, call = 0; end > 0; call++) {
        const size_t taken = end < 1 + call % 3 ? end : 1 + call % 3;
        a.unit_end = end;
        a.unit_begin = end - taken;
        a.scratch = c->work[WORK_SCRATCH + call % 2].data;
        k->conv_u8s8(&a);
        end -= taken;
    }
}

static void explain(const struct clq_case *c, size_t operand, size_t at, char *text, size_t bytes)
{
    const struct clq_conv_args *a = &((const struct window *)c->args)->c;
    snprintf(text, bytes, "image %zu, row %zu, column %zu, channel %zu of operand %zu, bound %lld%s",
             at / a->co / a->ow / a->oh, at / a->co / a->ow % a->oh, at / a->co % a->ow, at % a->co, operand,
             (long long)a->bound, a->residual ? ", residual" : "");
}

const struct clq_family clq_family_conv_u8s8 = {
    .op = "conv_u8s8",
    .n_tests = N_DRAWN + N_DEPTHWISE + N_POINTWISE + N_FIXED,
    .n_benches = sizeof benches / sizeof *benches,
    .prepare = prepare,
    .prepare_bench = prepare_bench,
    .setup = setup,
    .run = run,
    .explain = explain,
};
