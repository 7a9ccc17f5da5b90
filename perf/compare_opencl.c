/* SPDX-License-Identifier: Apache-2.0
 * The integer products and convolutions on an OpenCL device that is this CPU, beside our own AVX512-VNNI kernels and the
 * ceiling of the same cores, in one interleaved run: usage compare_opencl [gemm|conv|int4] [THREADS] [ROUNDS] [VARIANTS].
 * Operands are resident on the device. Prints a table for perf/results/. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perf/compare_opencl.h"
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
    struct clq_race race;
    bool conv;
    struct clq_gemm_args gemm;
    struct clq_conv_args c;
    struct clq_cl_weight *weight;
    struct clq_cl_buffer x, y;
};

void clq_race_must(clq_status st, const struct clq_race *race)
{
    if (st == CLQ_OK) return;
    fprintf(stderr, "compare_opencl: %s\n", race->err.text);
    exit(4);
}

void *clq_race_bytes(size_t n, unsigned seed)
{
    unsigned char *p = aligned_alloc(64, (n + 64) / 64 * 64);
    if (!p) exit(4);
    for (size_t i = 0; i < n; i++) p[i] = (unsigned char)((seed = seed * 1664525u + 1013904223u) >> 24);
    return p;
}

static void units(void *state, size_t begin, size_t end, int thread)
{
    struct clq_race *race = state;
    race->native(race, begin, end, race->scratch + (size_t)thread * race->stride);
}

void clq_race_native(struct clq_race *race)
{
    clq_pool_for(race->pool, race->threads, race->units, units, race);
}

static void device(struct clq_race *race)
{
    clq_race_must(race->device(race), race);
}

/* ---- The ceiling of all threads together ---- */
static double rates[MOST_THREADS];
static void probe(void *state, size_t begin, size_t end, int thread)
{
    struct clq_race *race = state;
    (void)thread;
    for (size_t i = begin; i < end; i++) rates[i] = race->ceiling(race);
}

static double ceiling(struct clq_race *race)
{
    double sum = 0;
    clq_pool_for(race->pool, race->threads, (size_t)race->threads, probe, race);
    for (int i = 0; i < race->threads; i++) sum += rates[i];
    return sum;
}

static double run(struct clq_race *race, void (*what)(struct clq_race *), int runs)
{
    const double t = clq_probe_now();
    for (int i = 0; i < runs; i++) what(race);
    if (what == device) clq_race_must(clq_cl_finish(race->cl, &race->err), race);
    return (clq_probe_now() - t) / runs;
}

struct clq_race_result clq_race_run(struct clq_race *race)
{
    static double a[MOST_ROUNDS], b[MOST_ROUNDS], share[MOST_ROUNDS], ratio[MOST_ROUNDS];
    const size_t rounds = (size_t)race->rounds;
    const double once = run(race, device, 3);
    const int runs = once > 1e-3 ? 1 : (int)(1e-3 / once) + 1;
    for (size_t i = 0; i < rounds; i++) {
        const double most = ceiling(race);
        a[i] = run(race, clq_race_native, runs);
        b[i] = run(race, device, runs);
        share[i] = race->work / b[i] / most;
        ratio[i] = a[i] / b[i];
    }
    return (struct clq_race_result){clq_median(a, rounds), clq_median(b, rounds), race->work / clq_median(b, rounds), clq_median(share, rounds),
                                    clq_median(ratio, rounds)};
}

/* ---- Products and convolutions of 8 bits ---- */
static const struct clq_probe *vnni;

static double dots(struct clq_race *race)
{
    (void)race;
    return vnni->run(4000);
}

static void native(struct clq_race *race, size_t begin, size_t end, char *scratch)
{
    const struct work *w = (const struct work *)race;
    struct clq_gemm_args g = w->gemm;
    struct clq_conv_args c = w->c;
    g.scratch = c.scratch = scratch;
    g.unit_begin = c.unit_begin = begin;
    g.unit_end = c.unit_end = end;
    if (w->conv) race->kernels.conv_u8s8(&c);
    else race->kernels.gemm_u8s8(&g);
}

static clq_status queue(struct clq_race *race)
{
    struct work *w = (struct work *)race;
    const struct clq_cl_io io = {.x = &w->x, .y = &w->y};
    return w->conv ? clq_cl_conv(race->cl, w->weight, &w->c, &io, &race->err) : clq_cl_gemm(race->cl, w->weight, &w->gemm, &io, &race->err);
}

static void fill_conv(struct work *w, const struct shape *s)
{
    const size_t out = s->side / s->stride, all = (out - 1) * s->stride + s->kernel, pad = all > s->side ? (all - s->side) / 2 : 0;
    w->c = (struct clq_conv_args){.batch = 1, .h = s->side, .w = s->side, .ci = s->ci, .oh = out, .ow = out, .co = s->co, .kh = s->kernel,
                                  .kw = s->kernel, .stride_h = s->stride, .stride_w = s->stride, .pad_top = pad, .pad_left = pad,
                                  .dilation_h = 1, .dilation_w = 1, .groups = s->groups, .zero_point_x = 120, .zero_point_y = 128,
                                  .hi = 255, .bound = 1 << 28};
    w->race.work = 2.0 * (double)(out * out * s->co) * (double)(s->kernel * s->kernel * (s->ci / s->groups));
}

static struct clq_race_result measure(struct work *w, const struct shape *s)
{
    const size_t x = w->conv ? s->side * s->side * s->ci : s->m * s->k, n = w->conv ? s->co : s->n,
                 k = w->conv ? s->kernel * s->kernel * (s->ci / s->groups) : s->k,
                 rows = w->conv ? (s->side / s->stride) * (s->side / s->stride) : s->m;
    unsigned char *in = clq_race_bytes(x, 1), *out = clq_race_bytes(rows * n, 2), *back = clq_race_bytes(rows * n, 3);
    int8_t *weight = clq_race_bytes(n * k, 4);
    float *multiplier = malloc(n * sizeof *multiplier);
    void *packed = NULL;
    if (!multiplier) exit(4);
    for (size_t i = 0; i < n; i++) multiplier[i] = 0x1p-14f / sqrtf((float)k);
    w->gemm = (struct clq_gemm_args){.m = s->m, .n = s->n, .k = s->k, .lda = s->k, .ldy = s->n, .zero_point_a = 120, .zero_point_y = 128,
                                     .hi = 255, .bound = (int64_t)s->k * 255 * 128, .a = in, .y = out, .weight = weight, .multiplier = multiplier};
    w->race.work = 2.0 * (double)s->m * (double)s->n * (double)s->k;
    if (w->conv) fill_conv(w, s);
    w->c.x = in;
    w->c.y = out;
    w->c.weight = weight;
    w->c.multiplier = multiplier;
    struct clq_race *race = &w->race;
    const struct clq_kernels *kernels = &race->kernels;
    if (w->conv) kernels->conv_u8s8_plan(&w->c);
    else kernels->gemm_u8s8_plan(&w->gemm);
    packed = clq_race_bytes(w->conv ? w->c.packed_bytes : w->gemm.packed_bytes, 5);
    race->units = w->conv ? w->c.units : w->gemm.units;
    race->stride = ((w->conv ? w->c.scratch_bytes : w->gemm.scratch_bytes) + 64) / 64 * 64;
    race->scratch = clq_race_bytes(race->stride * (size_t)race->threads, 6);
    w->c.packed = w->gemm.packed = packed;
    w->c.scratch = w->gemm.scratch = race->scratch;
    if (w->conv) kernels->conv_u8s8_pack(&w->c);
    else kernels->gemm_u8s8_pack(&w->gemm);
    clq_race_must(w->conv ? clq_cl_prepare_conv(&w->weight, race->cl, &w->c, &race->err)
                          : clq_cl_prepare_gemm(&w->weight, race->cl, false, &w->gemm, &race->err), race);
    clq_race_must(clq_cl_alloc(&w->x, race->cl, x, &race->err), race);
    clq_race_must(clq_cl_alloc(&w->y, race->cl, rows * n, &race->err), race);
    clq_race_must(clq_cl_upload(race->cl, &w->x, in, x, &race->err), race);
    clq_race_native(race);
    device(race);
    clq_race_must(clq_cl_download(back, race->cl, &w->y, rows * n, &race->err), race);
    if (memcmp(out, back, rows * n) != 0) {
        fprintf(stderr, "compare_opencl: the results differ\n");
        exit(1);
    }
    const struct clq_race_result r = clq_race_run(race);
    clq_cl_weight_free(race->cl, w->weight);
    clq_cl_release(race->cl, &w->x);
    clq_cl_release(race->cl, &w->y);
    free(in);
    free(out);
    free(back);
    free(weight);
    free(multiplier);
    free(packed);
    free(race->scratch);
    return r;
}

static void print_all(struct work *w, const struct shape *shapes, size_t n)
{
    double log_ratio = 0, log_share = 0, sum_native = 0, sum_device = 0;
    int all = 0;
    printf("| shape | native us | OpenCL us | GOPS | %% of %s | native / OpenCL |\n|---|---|---|---|---|---|\n", vnni->name);
    for (size_t i = 0; i < n; i++) {
        const struct shape *s = &shapes[i];
        const struct clq_race_result r = measure(w, s);
        const int times = s->times ? s->times : 1;
        if (w->conv)
            printf("| %zux%zu stride %zu, %zu to %zu at %zu%s, %d times ", s->kernel, s->kernel, s->stride, s->ci, s->co, s->side,
                   s->groups > 1 ? ", depthwise" : "", times);
        else printf("| %s ", s->what);
        printf("| %.1f | %.1f | %.0f | %.0f | %.2f |\n", r.native * 1e6, r.device * 1e6, r.rate * 1e-9, 100 * r.share, r.ratio);
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
    const char *what = argc > 1 ? argv[1] : "gemm";
    struct work w = {.conv = strcmp(what, "conv") == 0};
    struct clq_race *race = &w.race;
    race->threads = argc > 2 ? atoi(argv[2]) : 1;
    race->rounds = argc > 3 ? atoi(argv[3]) : 21;
    race->native = native;
    race->device = queue;
    race->ceiling = dots;
    vnni = clq_probe_of("avx512_vnni", 0);
    if (race->threads < 1 || race->threads > MOST_THREADS || race->rounds < 1 || race->rounds > MOST_ROUNDS || !vnni || (vnni->needs & ~clq_cpu_detect())) {
        fprintf(stderr, "usage: compare_opencl [gemm|conv|int4] [THREADS] [ROUNDS], on a CPU with AVX512-VNNI\n");
        return 2;
    }
    char text[16];
    snprintf(text, sizeof text, "%d", race->threads);
    setenv("POCL_MAX_PTHREAD_COUNT", text, 0); /* as many workers as our own kernels have */
    setenv("POCL_AFFINITY", "1", 0);
    clq_kernels_init(&race->kernels, clq_cpu_parse("avx512_vnni") & clq_cpu_detect()); /* the instructions that F1 has */
    race->pool = clq_pool_create(race->threads);
    clq_race_must(clq_cl_open(&race->cl, 0, &(struct clq_cl_options){.cpu = clq_cpu_detect(), .only = argc > 4 ? argv[4] : NULL}, &race->err), race);
    printf("%s, %d thread%s, %d rounds, variant %s\n\n", clq_cl_describe(race->cl)->name, race->threads, race->threads > 1 ? "s" : "", race->rounds,
           clq_cl_ready(race->cl, CLQ_CL_GEMM, &race->err) == CLQ_OK ? clq_cl_variant(race->cl, CLQ_CL_GEMM) : "refused");
    if (strcmp(what, "int4") == 0) clq_race_u4(race);
    else if (w.conv) print_all(&w, convs, sizeof convs / sizeof *convs);
    else print_all(&w, gemms, sizeof gemms / sizeof *gemms);
    clq_cl_close(race->cl);
    clq_pool_free(race->pool);
    return 0;
}
