/* SPDX-License-Identifier: Apache-2.0
 * Cases of maxpool_u8 and avgpool_u8: every channel count around the vector widths, padding on both sides, strides,
 * dilation, part of the rows, global windows, and windows of more than 257 codes, where a 16-bit sum overflows. */
#include <stdio.h>

#include "tests/harness.h"

struct geometry {
    size_t batch, h, w, kh, kw, stride, pad_top, pad_left, pad_bottom, pad_right, dilation;
};

static const struct geometry geometries[] = {
    {1, 5, 6, 2, 2, 2, 0, 0, 0, 0, 1},
    {2, 7, 5, 3, 3, 1, 1, 1, 1, 1, 1},
    {1, 7, 8, 3, 3, 2, 0, 1, 1, 0, 1}, /* odd padding on one side only */
    {1, 9, 9, 3, 2, 1, 2, 0, 2, 1, 2},
    {3, 7, 7, 7, 7, 1, 0, 0, 0, 0, 1}, /* global */
    {1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1},
    {1, 3, 40, 3, 40, 1, 0, 0, 0, 0, 1},
    {1, 18, 19, 18, 19, 1, 0, 0, 0, 0, 1}, /* 342 taps */
    {1, 6, 6, 5, 5, 3, 4, 4, 3, 3, 1},
    {1, 24, 25, 24, 25, 1, 3, 2, 4, 1, 1}, /* up to 600 taps, borders */
};
static const size_t channels[] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 67, 96, 131, 257};
static const struct {
    float scale_x, scale_y;
    int zero_point_x, zero_point_y;
} numbers[] = {
    {0.05f, 0.05f, 0, 0},   {0.0235f, 0.021f, 128, 120}, {1.0f, 1.0f, 255, 255}, {0.5f, 0.25f, 3, 128},
    {0x1p-126f, 0x1p-126f, 9, 7}, {0x1p120f, 1.0f, 100, 33}, {1.0f, 0x1p-70f, 5, 6},
};
enum {
    N_GEOMETRIES = sizeof geometries / sizeof *geometries,
    N_CHANNELS = sizeof channels / sizeof *channels,
    N_NUMBERS = sizeof numbers / sizeof *numbers,
    REPEAT = 3
};

static void describe(struct clq_case *c, const struct geometry *g, size_t channel_count, size_t variation)
{
    struct clq_pool_args *p = clq_case_args(c, sizeof *p);
    const size_t number = variation % N_NUMBERS, slack = variation % 4;
    const size_t oh = (g->h + g->pad_top + g->pad_bottom - (g->kh - 1) * g->dilation - 1) / g->stride + 1;
    const size_t ow = (g->w + g->pad_left + g->pad_right - (g->kw - 1) * g->dilation - 1) / g->stride + 1;
    const size_t rows = g->batch * oh;
    *p = (struct clq_pool_args){
        .batch = g->batch, .h = g->h, .w = g->w, .c = channel_count, .oh = oh, .ow = ow,
        .kh = g->kh, .kw = g->kw, .stride_h = g->stride, .stride_w = g->stride,
        .pad_top = g->pad_top, .pad_left = g->pad_left, .dilation_h = g->dilation, .dilation_w = g->dilation,
        .scale_x = numbers[number].scale_x, .scale_y = numbers[number].scale_y,
        .zero_point_x = numbers[number].zero_point_x, .zero_point_y = numbers[number].zero_point_y,
        .count_include_pad = variation / 2 % 2 != 0,
        .row_begin = variation % 5 == 4 ? rows / 3 : 0, .row_end = variation % 5 == 3 ? rows - rows / 3 : rows,
    };
    const enum clq_fill_codes fill = (enum clq_fill_codes)(variation % CLQ_CODES_COUNT);
    clq_case_label(c,
                   "%zux%zux%zux%zu k=%zux%zu stride=%zu pad=%zu,%zu dilation=%zu rows=%zu..%zu sx=%a sy=%a zx=%d %s",
                   g->batch, g->h, g->w, channel_count, g->kh, g->kw, g->stride, g->pad_top, g->pad_left, g->dilation,
                   p->row_begin, p->row_end, (double)p->scale_x, (double)p->scale_y, p->zero_point_x,
                   clq_codes_name(fill));
    const size_t n_x = g->batch * g->h * g->w * channel_count, n_y = rows * ow * channel_count;
    uint8_t *x = clq_case_operand(c, "x", CLQ_IN, CLQ_ELEM_U8, n_x, slack);
    clq_fill_codes(&c->rng, x, n_x, fill);
    p->x = x;
    p->y = clq_case_operand(c, "y", CLQ_OUT, CLQ_ELEM_U8, n_y, slack * 3 % 4);
    c->bytes = (double)(n_x + n_y);
    c->operations = (double)(n_y * g->kh * g->kw);
}

static void prepare(struct clq_case *c, size_t index)
{
    const size_t repeat = index % REPEAT, at = index / REPEAT;
    describe(c, &geometries[at % N_GEOMETRIES], channels[at / N_GEOMETRIES], repeat * 5 + at);
}

static const struct {
    struct geometry g;
    size_t channels;
} benches[] = {
    {{1, 112, 112, 3, 3, 2, 0, 0, 1, 1, 1}, 64}, /* ResNet's first pooling */
    {{1, 7, 7, 7, 7, 1, 0, 0, 0, 0, 1}, 1280},   /* global pooling before a classifier */
    {{1, 28, 28, 28, 28, 1, 0, 0, 0, 0, 1}, 72}, /* squeeze and excite */
};

static void prepare_bench(struct clq_case *c, size_t index)
{
    describe(c, &benches[index].g, benches[index].channels, 0);
}

static void run_max(struct clq_case *c, const struct clq_kernels *k)
{
    k->maxpool_u8(c->args);
}

static void run_avg(struct clq_case *c, const struct clq_kernels *k)
{
    k->avgpool_u8(c->args);
}

static void explain(const struct clq_case *c, size_t operand, size_t at, char *text, size_t bytes)
{
    const struct clq_pool_args *p = c->args;
    snprintf(text, bytes, "row %zu, column %zu, channel %zu of operand %zu", at / p->c / p->ow, at / p->c % p->ow,
             at % p->c, operand);
}

const struct clq_family clq_family_maxpool_u8 = {
    .op = "maxpool_u8", .n_tests = REPEAT * N_GEOMETRIES * N_CHANNELS, .n_benches = 3,
    .prepare = prepare, .prepare_bench = prepare_bench, .run = run_max, .explain = explain,
};

const struct clq_family clq_family_avgpool_u8 = {
    .op = "avgpool_u8", .n_tests = REPEAT * N_GEOMETRIES * N_CHANNELS, .n_benches = 3,
    .prepare = prepare, .prepare_bench = prepare_bench, .run = run_avg, .explain = explain,
};
