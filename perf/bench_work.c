/* SPDX-License-Identifier: Apache-2.0
 * bench gemm, gemv, conv, quantize and histogram: calls of clquant/buffers.h on shapes of the command line or of the suites,
 * with as many threads as asked for, on the CPU or a device. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perf/rows.h"
#include "perf/work.h"

static const struct type {
    const char *name;
    clq_dtype input;
    size_t group; /* of 4-bit weights, or 0 */
} types[] = {{"s8s8", CLQ_DTYPE_S8, 0},      {"u8s8", CLQ_DTYPE_U8, 0},       {"s8u4-g32", CLQ_DTYPE_S8, 32},
             {"s8u4-g128", CLQ_DTYPE_S8, 128}, {"f32u4-g32", CLQ_DTYPE_F32, 32}, {"f32u4-g128", CLQ_DTYPE_F32, 128}};
enum { N_TYPES = sizeof types / sizeof *types };

struct run {
    const struct clq_settings *s;
    struct clq_rows rows;
    clq_context *ctx;
    const char *device;
    int code; /* above 0: stop */
};

static int fail(struct run *r)
{
    fprintf(stderr, "clquant bench %s: %s\n", r->s->command, clq_error_message(r->ctx));
    return 4;
}

static bool wanted(const struct run *r, const char *type)
{
    return !r->s->type || strcmp(r->s->type, type) == 0;
}

/* Times a work whose preparation ended with st, adds its line and frees it. */
static void measure(struct run *r, struct clq_work *w, clq_status st, struct clq_row row, bool is_signed)
{
    if (st != CLQ_OK) {
        if (st == CLQ_ERR_OUT_OF_MEMORY && !*clq_error_message(r->ctx)) {
            fprintf(stderr, "clquant bench %s: %s: no memory for these operands\n", r->s->command, row.shape);
            r->code = 4;
        } else {
            r->code = fail(r);
        }
        return;
    }
    const bool cpu = strcmp(clq_context_device(r->ctx), "cpu") == 0, product = w->kind <= CLQ_WORK_CONV;
    const struct clq_job job = {clq_work_run, w, w->operations, w->bytes, !product && w->kind != CLQ_WORK_HISTOGRAM, is_signed};
    const struct clq_bench_options o = {.seconds = r->s->seconds, .cores = (int)r->s->threads, .level = cpu && product ? w->kernel : ""};
    clq_bench_run(&row.bench, &job, &o);
    if (!cpu) row.bench.share = -1; /* the ceilings are the CPU's */
    row.op = r->s->command;
    row.device = clq_context_device(r->ctx);
    row.kernel = w->kernel;
    row.threads = (int)r->s->threads;
    if (w->status != CLQ_OK) r->code = fail(r);
    else clq_rows_add(&r->rows, &row);
    clq_work_free(w);
}

/* ---- Products ---- */
/* 4-bit weights only where they are named, or for one row. */
static void products(struct run *r, const struct clq_gemm_shape *shapes, size_t n, bool one_row)
{
    for (size_t t = 0; t < N_TYPES; t++)
        for (size_t i = 0; i < n && r->code == 0 && wanted(r, types[t].name); i++) {
            if (types[t].group && !one_row && !r->s->type) continue;
            char text[CLQ_SHAPE_TEXT];
            struct clq_work w;
            clq_gemm_shape_text(text, &shapes[i]);
            const clq_status st = types[t].group ? clq_work_int4(&w, r->ctx, &shapes[i], types[t].group, types[t].input)
                                                 : clq_work_gemm(&w, r->ctx, &shapes[i], types[t].input, types[t].input, 8);
            measure(r, &w, st, (struct clq_row){.type = types[t].name, .shape = text}, types[t].input == CLQ_DTYPE_S8);
        }
}

static void gemm(struct run *r)
{
    const struct clq_gemm_shape *suite = clq_suite_gemm(r->s->suite);
    struct clq_gemm_shape one;
    size_t n = 0;
    if (!suite) {
        r->code = clq_bench_usage(r->s->command, "expected the suite default or transformer, got", r->s->suite);
        return;
    }
    while (suite[n].m > 0) n++;
    if (r->s->n_words == 0) products(r, suite, n, false);
    for (size_t i = 0; i < r->s->n_words && r->code == 0; i++) {
        if (clq_gemm_shape_parse(&one, r->s->words[i])) products(r, &one, 1, false);
        else r->code = clq_bench_usage(r->s->command, "expected MxNxK such as 128x3072x768, got", r->s->words[i]);
    }
}

static void gemv(struct run *r)
{
    const struct clq_gemm_shape *suite = clq_suite_gemv();
    struct clq_gemm_shape one;
    size_t n = 0;
    char text[CLQ_SHAPE_TEXT];
    while (suite[n].m > 0) n++;
    if (r->s->n_words == 0) products(r, suite, n, true);
    for (size_t i = 0; i < r->s->n_words && r->code == 0; i++) {
        snprintf(text, sizeof text, "1x%s", r->s->words[i]);
        if (clq_gemm_shape_parse(&one, text)) products(r, &one, 1, true);
        else r->code = clq_bench_usage(r->s->command, "expected NxK such as 4096x4096, got", r->s->words[i]);
    }
}

/* ---- Convolutions ---- */
static void layer(struct run *r, const struct clq_layer *l)
{
    char text[CLQ_SHAPE_TEXT];
    struct clq_work w;
    const char *type = clq_conv_depthwise(&l->shape) ? "dw" : l->shape.groups > 1 ? "group" : l->shape.kernel == 1 ? "1x1" : "kxk";
    if (!wanted(r, type) || r->code != 0) return;
    clq_conv_shape_text(text, &l->shape);
    const clq_status st = clq_work_conv(&w, r->ctx, &l->shape, CLQ_DTYPE_U8);
    measure(r, &w, st, (struct clq_row){.type = type, .shape = text, .layers = l->count}, false);
}

static void conv(struct run *r)
{
    struct clq_layer layers[CLQ_MAX_LAYERS];
    const bool all = strcmp(r->s->suite, "default") == 0;
    const size_t n = clq_suite_layers(layers, all ? NULL : r->s->suite);
    if (n == 0) r->code = clq_bench_usage(r->s->command, "expected the suite efficientnet-lite0, mobilenetv2 or resnet50, got", r->s->suite);
    for (size_t i = 0; i < n && r->s->n_words == 0; i++) {
        if (!r->s->json && !r->s->csv && (i == 0 || strcmp(layers[i].network, layers[i - 1].network) != 0)) printf("%s\n", layers[i].network);
        layer(r, &layers[i]);
    }
    for (size_t i = 0; i < r->s->n_words && r->code == 0; i++) {
        struct clq_layer one = {.count = 1};
        if (clq_conv_shape_parse(&one.shape, r->s->words[i])) layer(r, &one);
        else r->code = clq_bench_usage(r->s->command, "expected HxWxCI-CO[:kN][:sN][:pN][:gN][:dN], got", r->s->words[i]);
    }
}

/* ---- Arrays ---- */
static void array(struct run *r, enum clq_work_kind kind, const char *type, size_t n, clq_dtype codes, double zeros)
{
    char text[CLQ_SHAPE_TEXT];
    struct clq_work w;
    if (!wanted(r, type) || r->code != 0) return;
    snprintf(text, sizeof text, "%zu", n);
    measure(r, &w, clq_work_array(&w, r->ctx, kind, n, codes, zeros), (struct clq_row){.type = type, .shape = text}, false);
}

static void quantize_some(struct run *r, size_t n)
{
    array(r, CLQ_WORK_QUANTIZE, "q-u8", n, CLQ_DTYPE_U8, 0);
    array(r, CLQ_WORK_QUANTIZE, "q-s8", n, CLQ_DTYPE_S8, 0);
    array(r, CLQ_WORK_DEQUANTIZE, "dq-u8", n, CLQ_DTYPE_U8, 0);
    array(r, CLQ_WORK_DEQUANTIZE, "dq-s8", n, CLQ_DTYPE_S8, 0);
}

static void count_some(struct run *r, size_t n)
{
    if (r->s->zeros <= 0) array(r, CLQ_WORK_HISTOGRAM, "bell", n, CLQ_DTYPE_U8, 0);
    if (r->s->zeros != 0) array(r, CLQ_WORK_HISTOGRAM, "zeros", n, CLQ_DTYPE_U8, r->s->zeros < 0 ? 0.9 : r->s->zeros);
}

static void arrays(struct run *r, void (*some)(struct run *r, size_t n), const size_t *sizes, size_t n_sizes)
{
    for (size_t i = 0; i < n_sizes && r->s->n_words == 0; i++) some(r, sizes[i]);
    for (size_t i = 0; i < r->s->n_words && r->code == 0; i++) {
        char *end;
        const double v = strtod(r->s->words[i], &end);
        if (*end || !(v >= 1) || v > 1e10) r->code = clq_bench_usage(r->s->command, "expected a number of values, got", r->s->words[i]);
        else some(r, (size_t)v);
    }
}

static void quantize(struct run *r)
{
    static const size_t sizes[] = {(size_t)1 << 14, (size_t)1 << 18, (size_t)1 << 24, (size_t)1 << 28};
    arrays(r, quantize_some, sizes, 4);
}

static void histogram(struct run *r)
{
    static const size_t sizes[] = {(size_t)1 << 18, (size_t)1 << 24};
    arrays(r, count_some, sizes, 2);
}

/* ---- Devices ---- */
static void print_log(void *user, const char *text)
{
    fprintf(stderr, "clquant bench %s: %s\n", ((const struct run *)user)->s->command, text);
}

static void on_device(struct run *r, const char *device, void (*body)(struct run *r))
{
    const clq_context_options o = {.threads = (int)r->s->threads, .device = device, .isa = r->s->isa, .require_device = true, .log = print_log, .user = r};
    if (clq_context_create(&r->ctx, &o) == CLQ_OK) body(r);
    else r->code = 4;
    clq_context_free(r->ctx);
    r->ctx = NULL;
}

static int on_devices(const struct clq_settings *s, void (*body)(struct run *r))
{
    const bool all = strcmp(s->device, "all") == 0;
    struct run r = {.s = s};
    clq_rows_start(&r.rows, s);
    on_device(&r, all ? "cpu" : s->device, body);
    if (all && r.code == 0) on_device(&r, "opencl", body);
    if (r.code == 0) return clq_rows_end(&r.rows);
    clq_json_free(r.rows.list);
    return r.code;
}

static int bench_gemm(const struct clq_settings *s) { return on_devices(s, gemm); }
static int bench_gemv(const struct clq_settings *s) { return on_devices(s, gemv); }
static int bench_conv(const struct clq_settings *s) { return on_devices(s, conv); }
static int bench_quantize(const struct clq_settings *s) { return on_devices(s, quantize); }
static int bench_histogram(const struct clq_settings *s) { return on_devices(s, histogram); }

enum { MOST_WORDS = 256 };
#define BESIDE "the share of the ceiling that was measured in turn with it on as many threads"

const struct clq_bench_command clq_bench_gemm = {
    .name = "gemm",
    .options = " suite type threads csv ",
    .most_words = MOST_WORDS,
    .help = "gemm [MxNxK ...] [options]\n\n"
            "Times INT8 matrix products through the library: codes in, codes out, weights packed before. Prints for each the median\n"
            "time, its rate and " BESIDE ":\n"
            "instructions with all operands in registers, or reading a working set of the same size, whichever allows less. An\n"
            "OpenCL device is timed with transfers and without a share. Suites: default (12 shapes), transformer. Types: s8s8, u8s8, and\n"
            "where named, with 4-bit weights and float results: s8u4-g32, s8u4-g128 (rows rounded to 8 bits in the call), f32u4-g32,\n"
            "f32u4-g128 (float rows).",
    .example = "  clquant bench gemm\n"
               "  clquant bench gemm 128x3072x768 1x4096x4096 --type u8s8 --threads 1\n"
               "  clquant bench gemm --suite transformer --json\n",
    .run = bench_gemm,
};

const struct clq_bench_command clq_bench_gemv = {
    .name = "gemv",
    .options = " type threads csv ",
    .most_words = MOST_WORDS,
    .help = "gemv [NxK ...] [options]\n\n"
            "Times INT8 and INT4 products of one row, which stream the weights: median time, GB/s, and\n" BESIDE ",\n"
            "which is reading a working set of the same size. Types: s8s8, u8s8; 4-bit weights in groups of 32 and 128 with a row that\n"
            "the call rounds to 8 bits, s8u4-g32 and s8u4-g128, or that stays float, f32u4-g32 and f32u4-g128.",
    .example = "  clquant bench gemv\n"
               "  clquant bench gemv 4096x11008 --type f32u4-g32 --threads 1 --csv\n",
    .run = bench_gemv,
};

const struct clq_bench_command clq_bench_conv = {
    .name = "conv",
    .options = " suite type threads csv ",
    .most_words = MOST_WORDS,
    .help = "conv [HxWxCI-CO[:kN][:sN][:pN][:qN][:gN][:dN] ...] [options]\n\n"
            "Times INT8 convolutions, u8 images in and out: kernel k, stride s, padding p before and behind (q: behind only), groups g,\n"
            "dilation d. Prints the median time, its rate, and\n" BESIDE ".\n"
            "Suites: efficientnet-lite0, mobilenetv2, resnet50 (default: all three, each distinct layer once, with its count).\n"
            "Types: 1x1, kxk, dw, group.",
    .example = "  clquant bench conv --suite mobilenetv2 --threads 1\n"
               "  clquant bench conv 56x56x64-64:k3:p1 112x112x32-32:k3:p1:g32\n",
    .run = bench_conv,
};

const struct clq_bench_command clq_bench_quantize = {
    .name = "quantize",
    .options = " type threads csv ",
    .most_words = MOST_WORDS,
    .help = "quantize [COUNT ...] [options]\n\n"
            "Times float32 to 8 bits and back for arrays of COUNT values: median time, bytes read plus written per second, and\n" BESIDE ",\n"
            "which is copying as many bytes. Types: q-u8, q-s8, dq-u8, dq-s8.",
    .example = "  clquant bench quantize\n"
               "  clquant bench quantize 1e6 --type q-u8 --json\n",
    .run = bench_quantize,
};

const struct clq_bench_command clq_bench_histogram = {
    .name = "histogram",
    .options = " type zeros threads csv ",
    .most_words = MOST_WORDS,
    .help = "histogram [COUNT ...] [options]\n\n"
            "Times histograms with minimum and maximum of COUNT float32 values, as calibration makes them: median time, bytes per\n"
            "second, and " BESIDE ",\nwhich is reading as many bytes. Types: bell (no zeros), zeros.",
    .example = "  clquant bench histogram\n"
               "  clquant bench histogram 16777216 --zeros 0.5 --threads 1\n",
    .run = bench_histogram,
};
