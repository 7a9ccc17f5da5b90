/* SPDX-License-Identifier: Apache-2.0
 * Single calls of clquant's library as a resident process with the protocol of perf/rivals/README.md:
 *   kernel_runner THREADS [ISA]
 *   kernel_runner --shapes gemm|conv
 * "open" draws the operands and writes them into the folder, from where the rivals read them: x, w, bias, multiplier. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/version.h>

#include "perf/rivals/runner.h"
#include "perf/work.h"

struct ours {
    clq_context *ctx;
    struct clq_work work;
    bool open;
};

static const struct {
    const char *kind, *type;
    enum clq_work_kind work;
    clq_dtype input, output;
    double zeros;
} kinds[] = {
    {"gemm", "s8s8", CLQ_WORK_GEMM, CLQ_DTYPE_S8, CLQ_DTYPE_S8, 0},        {"gemm", "u8s8", CLQ_WORK_GEMM, CLQ_DTYPE_U8, CLQ_DTYPE_U8, 0},
    {"gemm", "u8s7", CLQ_WORK_GEMM, CLQ_DTYPE_U8, CLQ_DTYPE_U8, 0},
    {"gemm32", "s8s8", CLQ_WORK_GEMM, CLQ_DTYPE_S8, CLQ_DTYPE_S32, 0},     {"gemm32", "u8s8", CLQ_WORK_GEMM, CLQ_DTYPE_U8, CLQ_DTYPE_S32, 0},
    {"conv", "u8s8", CLQ_WORK_CONV, CLQ_DTYPE_U8, CLQ_DTYPE_U8, 0},        {"quantize", "u8", CLQ_WORK_QUANTIZE, CLQ_DTYPE_U8, CLQ_DTYPE_U8, 0},
    {"dequantize", "u8", CLQ_WORK_DEQUANTIZE, CLQ_DTYPE_U8, CLQ_DTYPE_U8, 0}, {"histogram", "bell", CLQ_WORK_HISTOGRAM, CLQ_DTYPE_U8, CLQ_DTYPE_U8, 0},
    {"histogram", "zeros", CLQ_WORK_HISTOGRAM, CLQ_DTYPE_U8, CLQ_DTYPE_U8, 0.9},
};

static clq_status make(struct ours *o, size_t k, const char *shape)
{
    struct clq_gemm_shape g;
    struct clq_conv_shape c;
    if (kinds[k].work == CLQ_WORK_GEMM) {
        if (!clq_gemm_shape_parse(&g, shape)) return CLQ_ERR_INVALID_ARGUMENT;
        return clq_work_gemm(&o->work, o->ctx, &g, kinds[k].input, kinds[k].output, strcmp(kinds[k].type, "u8s7") == 0 ? 7 : 8);
    }
    if (kinds[k].work == CLQ_WORK_CONV) {
        if (!clq_conv_shape_parse(&c, shape)) return CLQ_ERR_INVALID_ARGUMENT;
        return clq_work_conv(&o->work, o->ctx, &c, kinds[k].output);
    }
    const double n = strtod(shape, NULL);
    if (!(n >= 1) || n > 1e10) return CLQ_ERR_INVALID_ARGUMENT;
    return clq_work_array(&o->work, o->ctx, kinds[k].work, (size_t)n, kinds[k].output, kinds[k].zeros);
}

static bool write_operands(const struct clq_work *w, const char *folder)
{
    const bool array = w->w == NULL;
    const size_t channels = w->kind == CLQ_WORK_GEMM ? w->gemm_shape.n : w->conv_shape.co;
    if (!clq_runner_write(folder, "x", w->x, w->x_bytes)) return false;
    return array || (clq_runner_write(folder, "w", w->w, w->w_bytes) && clq_runner_write(folder, "bias", w->bias, channels * sizeof *w->bias) &&
                     clq_runner_write(folder, "multiplier", w->multiplier, channels * sizeof *w->multiplier));
}

static bool open_work(void *state, const char *kind, const char *type, const char *shape, const char *folder, char *text, size_t bytes)
{
    struct ours *o = state;
    size_t k = 0;
    while (k < sizeof kinds / sizeof *kinds && (strcmp(kinds[k].kind, kind) != 0 || strcmp(kinds[k].type, type) != 0)) k++;
    if (o->open) clq_work_free(&o->work);
    o->open = false;
    if (k == sizeof kinds / sizeof *kinds || make(o, k, shape) != CLQ_OK) {
        snprintf(text, bytes, "%s %s %s: cannot be prepared", kind, type, shape);
        return false;
    }
    o->open = true;
    snprintf(text, bytes, "\"kernel\": \"%s\", \"operations\": %.0f, \"bytes\": %.0f", o->work.kernel, o->work.operations, o->work.bytes);
    if (write_operands(&o->work, folder)) return true;
    snprintf(text, bytes, "cannot write the operands");
    return false;
}

static bool run_work(void *state)
{
    struct ours *o = state;
    if (o->open) clq_work_run(&o->work);
    return o->open && o->work.status == CLQ_OK;
}

static const void *result(void *state, size_t *bytes)
{
    const struct ours *o = state;
    *bytes = o->open ? o->work.y_bytes : 0;
    return o->work.y;
}

/* The suites, one shape a line, each once. */
static int print_shapes(const char *kind)
{
    static struct clq_layer layers[CLQ_MAX_LAYERS];
    char text[CLQ_SHAPE_TEXT];
    const size_t n = clq_suite_layers(layers, NULL);
    const struct clq_gemm_shape *g = clq_suite_gemm("default");
    for (; strcmp(kind, "gemm") == 0 && g->m > 0; g++) {
        clq_gemm_shape_text(text, g);
        puts(text);
    }
    for (size_t i = 0; strcmp(kind, "conv") == 0 && i < n; i++) {
        size_t k = 0;
        while (memcmp(&layers[k].shape, &layers[i].shape, sizeof layers[i].shape) != 0) k++;
        clq_conv_shape_text(text, &layers[i].shape);
        if (k == i) puts(text);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--shapes") == 0) return print_shapes(argv[2]);
    struct ours o = {0};
    char facts[256];
    const clq_context_options options = {.threads = argc > 1 ? atoi(argv[1]) : 1, .isa = argc > 2 ? argv[2] : NULL};
    const struct clq_runner r = {&o, open_work, run_work, result};
    if (clq_context_create(&o.ctx, &options) != CLQ_OK) return 1;
    snprintf(facts, sizeof facts, "\"runtime\": \"clquant\", \"version\": \"%s\", \"isa\": \"%s\", \"threads\": %d", CLQ_VERSION, clq_context_isa(o.ctx),
             clq_context_threads(o.ctx));
    const int code = clq_runner_serve(&r, facts);
    if (o.open) clq_work_free(&o.work);
    clq_context_free(o.ctx);
    return code;
}
