/* SPDX-License-Identifier: Apache-2.0
 * The integer products and convolutions on an OpenCL device that is this CPU, beside our own AVX512-VNNI kernels and the
 * ceiling of the same cores, in one interleaved run: usage compare_opencl [gemm|conv] [THREADS] [ROUNDS]. Operands are resident on
 * the device. Prints a table for perf/results/. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "device_cl.h"
#include "perf/probe.h"
#include "scheduler/stats.h"

enum { MOST_ROUNDS = 200, MOST_THREADS = 64 };

struct shape {
    const char *what;
    int times;                      /* in the network; 0: not of one */
    size_t m, n, k;                 /* a product, or */
    size_t side, ci, co, kernel, stride, groups; /* a convolution with side x side pixels */
};

static const struct shape gemms[] = {
    {.what = "512x512x512", .m = 512, .n = 512, .k = 512},         {.what = "1024x1024x1024", .m = 1024, .n = 1024, .k = 1024},
    {.what = "2048x2048x2048", .m = 2048, .n = 2048, .k = 2048},   {.what = "128x3072x768", .m = 128, .n = 3072, .k = 768},
    {.what = "128x768x3072", .m = 128, .n = 768, .k = 3072},       {.what = "3136x64x576", .m = 3136, .n = 64, .k = 576},
    {.what = "16x4096x4096", .m = 16, .n = 4096, .k = 4096},       {.what = "1x4096x4096", .m = 1, .n = 4096, .k = 4096},
    {.what = "64x4096x4096", .m = 64, .n = 4096, .k = 4096},       {.what = "196x512x4608", .m = 196, .n = 512, .k = 4608},
    {.what = "49x1280x320", .m = 49, .n = 1280, .k = 320},         {.what = "3136x144x24", .m = 3136, .n = 144, .k = 24},
};

#define CONV(times, side, ci, co, kernel, stride, groups) {"", times, 0, 0, 0, side, ci, co, kernel, stride, groups}
#define POINT(times, side, ci, co) CONV(times, side, ci, co, 1, 1, 1)
#define DEPTHWISE(times, side, c, kernel, stride) CONV(times, side, c, c, kernel, stride, c)
/* EfficientNet-Lite0 at 224 x 224. */
static const struct shape convs[] = {
    CONV(1, 224, 3, 32, 3, 2, 1), DEPTHWISE(1, 112, 32, 3, 1),  POINT(1, 112, 32, 16),  POINT(1, 112, 16, 96),
    DEPTHWISE(1, 112, 96, 3, 2),  POINT(1, 56, 96, 24),         POINT(2, 56, 24, 144),  DEPTHWISE(1, 56, 144, 3, 1),
    POINT(1, 56, 144, 24),        DEPTHWISE(1, 56, 144, 5, 2),  POINT(1, 28, 144, 40),  POINT(2, 28, 40, 240),
    DEPTHWISE(1, 28, 240, 5, 1),  POINT(1, 28, 240, 40),        DEPTHWISE(1, 28, 240, 3, 2), POINT(1, 14, 240, 80),
    POINT(3, 14, 80, 480),        DEPTHWISE(2, 14, 480, 3, 1),  POINT(2, 14, 480, 80),  DEPTHWISE(1, 14, 480, 5, 1),
    POINT(1, 14, 480, 112),       POINT(3, 14, 112, 672),       DEPTHWISE(2, 14, 672, 5, 1), POINT(2, 14, 672, 112),
    DEPTHWISE(1, 14, 672, 5, 2),  POINT(1, 7, 672, 192),        POINT(4, 7, 192, 1152), DEPTHWISE(3, 7, 1152, 5, 1),
    POINT(3, 7, 1152, 192),       DEPTHWISE(1, 7, 1152, 3, 1),  POINT(1, 7, 1152, 320), POINT(1, 7, 320, 1280),
};

struct work {
    struct clq_kernels kernels;
    struct clq_pool *pool;
    int threads;
    bool conv;
    struct clq_gemm_args gemm;
    struct clq_conv_args c;
    char *scratch;
    size_t stride;
    struct clq_cl *cl;
    struct clq_cl_weight *weight;
    struct clq_cl_buffer x, y;
    struct clq_error err;
    double operations;
};

static void must(clq_status st, const struct work *w)
{
    if (st == CLQ_OK) return;
    fprintf(stderr, "compare_opencl: %s\n", w->err.text);
    exit(4);
}

static void *bytes_of(size_t n, unsigned seed)
{
    unsigned char *p = aligned_alloc(64, (n + 64) / 64 * 64);
    if (!p) exit(4);
    for (size_t i = 0; i < n; i++) p[i] = (unsigned char)((seed = seed * 1664525u + 1013904223u) >> 24);
    return p;
}

/* ---- Our own kernels ---- */
static void units(void *state, size_t begin, size_t end, int thread)
{
    const struct work *w = state;
    struct clq_gemm_args g = w->gemm;
    struct clq_conv_args c = w->c;
    g.scratch = c.scratch = w->scratch + (size_t)thread * w->stride;
    g.unit_begin = c.unit_begin = begin;
    g.unit_end = c.unit_end = end;
    if (w->conv) w->kernels.conv_u8s8(&c);
    else w->kernels.gemm_u8s8(&g);
}

static void native(struct work *w)
{
    clq_pool_for(w->pool, w->threads, w->conv ? w->c.units : w->gemm.units, units, w);
}

static void device(struct work *w)
{
    const struct clq_cl_io io = {.x = &w->x, .y = &w->y};
    must(w->conv ? clq_cl_conv(w->cl, w->weight, &w->c, &io, &w->err) : clq_cl_gemm(w->cl, w->weight, &w->gemm, &io, &w->err), w);
}

/* ---- The ceiling of all threads together ---- */
static double rates[MOST_THREADS];
static void probe(void *state, size_t begin, size_t end, int thread)
{
    (void)thread;
    for (size_t i = begin; i < end; i++) rates[i] = ((const struct clq_probe *)state)->run(4000);
}

static double ceiling(struct work *w, const struct clq_probe *p)
{
    double sum = 0;
    clq_pool_for(w->pool, w->threads, (size_t)w->threads, probe, (void *)(uintptr_t)p);
    for (int i = 0; i < w->threads; i++) sum += rates[i];
    return sum;
}

static double run(struct work *w, void (*what)(struct work *), int runs)
{
    const double t = clq_probe_now();
    for (int i = 0; i < runs; i++) what(w);
    if (what == device) must(clq_cl_finish(w->cl, &w->err), w);
    return (clq_probe_now() - t) / runs;
}

/* ---- One shape ---- */
static void fill_conv(struct work *w, const struct shape *s)
{
    const size_t out = s->side / s->stride, all = (out - 1) * s->stride + s->kernel, pad = all > s->side ? (all - s->side) / 2 : 0;
    w->c = (struct clq_conv_args){.batch = 1, .h = s->side, .w = s->side, .ci = s->ci, .oh = out, .ow = out, .co = s->co, .kh = s->kernel,
                                  .kw = s->kernel, .stride_h = s->stride, .stride_w = s->stride, .pad_top = pad, .pad_left = pad,
                                  .dilation_h = 1, .dilation_w = 1, .groups = s->groups, .zero_point_x = 120, .zero_point_y = 128,
                                  .hi = 255, .bound = 1 << 28};
    w->operations = 2.0 * (double)(out * out * s->co) * (double)(s->kernel * s->kernel * (s->ci / s->groups));
}

struct result {
    double native, device, gops, share, ratio; /* seconds, seconds, of the device, of the ceiling, native / device */
};

static struct result measure(struct work *w, const struct shape *s, const struct clq_probe *p, int rounds)
{
    const size_t x = w->conv ? s->side * s->side * s->ci : s->m * s->k, n = w->conv ? s->co : s->n,
                 k = w->conv ? s->kernel * s->kernel * (s->ci / s->groups) : s->k,
                 rows = w->conv ? (s->side / s->stride) * (s->side / s->stride) : s->m;
    unsigned char *in = bytes_of(x, 1), *out = bytes_of(rows * n, 2), *back = bytes_of(rows * n, 3);
    int8_t *weight = bytes_of(n * k, 4);
    float *multiplier = malloc(n * sizeof *multiplier);
    void *packed = NULL;
    if (!multiplier) exit(4);
    for (size_t i = 0; i < n; i++) multiplier[i] = 0x1p-14f / sqrtf((float)k);
    w->gemm = (struct clq_gemm_args){.m = s->m, .n = s->n, .k = s->k, .lda = s->k, .ldy = s->n, .zero_point_a = 120, .zero_point_y = 128,
                                     .hi = 255, .bound = (int64_t)s->k * 255 * 128, .a = in, .y = out, .weight = weight, .multiplier = multiplier};
    w->operations = 2.0 * (double)s->m * (double)s->n * (double)s->k;
    if (w->conv) fill_conv(w, s);
    w->c.x = in;
    w->c.y = out;
    w->c.weight = weight;
    w->c.multiplier = multiplier;
    if (w->conv) w->kernels.conv_u8s8_plan(&w->c);
    else w->kernels.gemm_u8s8_plan(&w->gemm);
    packed = bytes_of(w->conv ? w->c.packed_bytes : w->gemm.packed_bytes, 5);
    w->stride = ((w->conv ? w->c.scratch_bytes : w->gemm.scratch_bytes) + 64) / 64 * 64;
    w->scratch = bytes_of(w->stride * (size_t)w->threads, 6);
    w->c.packed = w->gemm.packed = packed;
    w->c.scratch = w->gemm.scratch = w->scratch;
    if (w->conv) w->kernels.conv_u8s8_pack(&w->c);
    else w->kernels.gemm_u8s8_pack(&w->gemm);
    must(w->conv ? clq_cl_prepare_conv(&w->weight, w->cl, &w->c, &w->err) : clq_cl_prepare_gemm(&w->weight, w->cl, false, &w->gemm, &w->err), w);
    must(clq_cl_alloc(&w->x, w->cl, x, &w->err), w);
    must(clq_cl_alloc(&w->y, w->cl, rows * n, &w->err), w);
    must(clq_cl_upload(w->cl, &w->x, in, x, &w->err), w);
    native(w);
    device(w);
    must(clq_cl_download(back, w->cl, &w->y, rows * n, &w->err), w);
    if (memcmp(out, back, rows * n) != 0) {
        fprintf(stderr, "compare_opencl: the results differ\n");
        exit(1);
    }
    static double a[MOST_ROUNDS], b[MOST_ROUNDS], share[MOST_ROUNDS], ratio[MOST_ROUNDS];
    const double once = run(w, device, 3);
    const int runs = once > 1e-3 ? 1 : (int)(1e-3 / once) + 1;
    for (int i = 0; i < rounds; i++) {
        const double most = ceiling(w, p);
        a[i] = run(w, native, runs);
        b[i] = run(w, device, runs);
        share[i] = w->operations / b[i] / most;
        ratio[i] = a[i] / b[i];
    }
    const struct result r = {clq_median(a, (size_t)rounds), clq_median(b, (size_t)rounds), w->operations / clq_median(b, (size_t)rounds) * 1e-9,
                             clq_median(share, (size_t)rounds), clq_median(ratio, (size_t)rounds)};
    clq_cl_weight_free(w->cl, w->weight);
    clq_cl_release(w->cl, &w->x);
    clq_cl_release(w->cl, &w->y);
    free(in);
    free(out);
    free(back);
    free(weight);
    free(multiplier);
    free(packed);
    free(w->scratch);
    return r;
}

static void print_all(struct work *w, const struct shape *shapes, size_t n, const struct clq_probe *p, int rounds)
{
    double log_ratio = 0, log_share = 0, sum_native = 0, sum_device = 0;
    int all = 0;
    printf("| shape | native us | OpenCL us | GOPS | %% of %s | native / OpenCL |\n|---|---|---|---|---|---|\n", p->name);
    for (size_t i = 0; i < n; i++) {
        const struct shape *s = &shapes[i];
        const struct result r = measure(w, s, p, rounds);
        const int times = s->times ? s->times : 1;
        if (w->conv)
            printf("| %zux%zu stride %zu, %zu to %zu at %zu%s, %d times ", s->kernel, s->kernel, s->stride, s->ci, s->co, s->side,
                   s->groups > 1 ? ", depthwise" : "", times);
        else printf("| %s ", s->what);
        printf("| %.1f | %.1f | %.0f | %.0f | %.2f |\n", r.native * 1e6, r.device * 1e6, r.gops, 100 * r.share, r.ratio);
        fflush(stdout);
        log_ratio += times * log(r.ratio);
        log_share += times * log(r.share);
        sum_native += times * r.native;
        sum_device += times * r.device;
        all += times;
    }
    printf("\nGeometric means: %.0f %% of the ceiling, %.2f x native. Sums: native %.3f ms, OpenCL %.3f ms, %.2f.\n",
           100 * exp(log_share / all), exp(log_ratio / all), sum_native * 1e3, sum_device * 1e3, sum_native / sum_device);
}

int main(int argc, char **argv)
{
    struct work w = {.conv = argc > 1 && strcmp(argv[1], "conv") == 0, .threads = argc > 2 ? atoi(argv[2]) : 1};
    int rounds = argc > 3 ? atoi(argv[3]) : 21;
    const struct clq_probe *p = clq_probe_of("avx512_vnni", 0);
    if (w.threads < 1 || w.threads > MOST_THREADS || rounds < 1 || rounds > MOST_ROUNDS || !p || (p->needs & ~clq_cpu_detect())) {
        fprintf(stderr, "usage: compare_opencl [gemm|conv] [THREADS] [ROUNDS], on a CPU with AVX512-VNNI\n");
        return 2;
    }
    char text[16];
    snprintf(text, sizeof text, "%d", w.threads);
    setenv("POCL_MAX_PTHREAD_COUNT", text, 0); /* as many workers as our own kernels have */
    setenv("POCL_AFFINITY", "1", 0);
    clq_kernels_init(&w.kernels, clq_cpu_parse("avx512_vnni") & clq_cpu_detect()); /* the instructions that F1 has */
    w.pool = clq_pool_create(w.threads);
    must(clq_cl_open(&w.cl, 0, &(struct clq_cl_options){.cpu = clq_cpu_detect()}, &w.err), &w);
    printf("%s, %d thread%s, %d rounds, variant %s\n\n", clq_cl_describe(w.cl)->name, w.threads, w.threads > 1 ? "s" : "", rounds,
           clq_cl_ready(w.cl, CLQ_CL_GEMM, &w.err) == CLQ_OK ? clq_cl_variant(w.cl, CLQ_CL_GEMM) : "refused");
    if (w.conv) print_all(&w, convs, sizeof convs / sizeof *convs, p, rounds);
    else print_all(&w, gemms, sizeof gemms / sizeof *gemms, p, rounds);
    clq_cl_close(w.cl);
    clq_pool_free(w.pool);
    return 0;
}
