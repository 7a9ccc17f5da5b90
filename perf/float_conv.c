/* SPDX-License-Identifier: Apache-2.0
 * Float32 layers through oneDNN, one by one: the 49 convolutions of EfficientNet-Lite0 and a few that other networks
 * need. Prints the implementation, the median time and the rate beside the rate of a large matrix product taken in turn
 * with it, which is what this core can do. Usage: float_conv [threads] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cpu_dnnl.h"

enum { ROUNDS = 41, NETWORK = 49 };

struct timer {
    struct clq_dnnl *dnnl;
    struct clq_dnnl_step *probe;
    float *probe_x, *probe_y;
    double probe_gflop;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return v[n / 2];
}

static float *floats(int64_t n)
{
    float *p = aligned_alloc(64, ((size_t)n * sizeof *p + 63) / 64 * 64);
    if (!p) exit(1);
    for (int64_t i = 0; i < n; i++) p[i] = (float)(i % 17) / 17.0f - 0.4f;
    return p;
}

static void check(clq_status st, const struct clq_error *err)
{
    if (st == CLQ_OK) return;
    fprintf(stderr, "float_conv: %s\n", err->text);
    exit(1);
}

static double once(struct clq_dnnl *dnnl, struct clq_dnnl_step *s, const float *x, const float *r, float *y)
{
    struct clq_error err;
    double t = now();
    check(clq_dnnl_run(dnnl, s, x, NULL, r, y, &err), &err);
    return now() - t;
}

static double conv(const struct timer *t, struct clq_dnnl_conv d, const char *what)
{
    struct clq_error err;
    struct clq_dnnl_step *step = NULL;
    int64_t nx = d.batch * d.h * d.w * d.ci, ny = d.batch * d.oh * d.ow * d.co;
    int64_t nw = d.co * (d.ci / d.groups) * d.kh * d.kw;
    float *x = floats(nx), *y = floats(ny), *r = floats(ny), *w = floats(nw), *b = floats(d.co);
    double time[ROUNDS], rate[ROUNDS], gflop = 2e-9 * (double)nw * (double)(d.transposed ? d.h * d.w : d.oh * d.ow);
    gflop *= (double)d.batch;
    d.weight = w;
    d.bias = b;
    check(clq_dnnl_conv(&step, t->dnnl, &d, &err), &err);
    for (int i = -3; i < ROUNDS; i++) {
        double p = once(t->dnnl, t->probe, t->probe_x, NULL, t->probe_y);
        once(t->dnnl, step, x, d.residual ? r : NULL, y); /* brings the layer's data back into the cache */
        double s = once(t->dnnl, step, x, d.residual ? r : NULL, y);
        if (i < 0) continue;
        time[i] = s;
        rate[i] = gflop / s / (t->probe_gflop / p);
    }
    double s = median(time, ROUNDS);
    printf("%-10s %4lld -> %4lld k%lld s%lld %3lldx%-3lld %-24s %8.4f ms %6.1f GFLOPS %5.1f %% of a large product\n",
           what, (long long)d.ci, (long long)d.co, (long long)d.kh, (long long)d.stride_h, (long long)d.h,
           (long long)d.w, clq_dnnl_step_name(step), s * 1e3, gflop / s, 100 * median(rate, ROUNDS));
    clq_dnnl_step_free(step);
    free(x);
    free(y);
    free(r);
    free(w);
    free(b);
    return s * 1e3;
}

static struct clq_dnnl_conv same(int64_t ci, int64_t co, int64_t k, int64_t s, int64_t h, int64_t w, int64_t groups,
                                 bool clip)
{
    int64_t oh = (h + s - 1) / s, ow = (w + s - 1) / s;
    int64_t ph = (oh - 1) * s + k - h, pw = (ow - 1) * s + k - w;
    if (ph < 0) ph = 0;
    if (pw < 0) pw = 0;
    return (struct clq_dnnl_conv){.batch = 1, .h = h, .w = w, .ci = ci, .oh = oh, .ow = ow, .co = co, .kh = k, .kw = k,
                                  .stride_h = s, .stride_w = s, .dilation_h = 1, .dilation_w = 1, .pad_top = ph / 2,
                                  .pad_left = pw / 2, .pad_bottom = ph - ph / 2, .pad_right = pw - pw / 2,
                                  .groups = groups, .act = clip ? CLQ_ACT_CLIP : CLQ_ACT_NONE, .b = 6};
}

/* The 49 convolutions in order. */
static int network(struct clq_dnnl_conv *net)
{
    static const int blocks[7][5] = {{1, 3, 1, 16, 1}, {6, 3, 2, 24, 2}, {6, 5, 2, 40, 2}, {6, 3, 2, 80, 3},
                                     {6, 5, 1, 112, 3}, {6, 5, 2, 192, 4}, {6, 3, 1, 320, 1}}; /* expand k s co n */
    int n = 0;
    int64_t h = 112, c = 32;
    net[n++] = same(3, 32, 3, 2, 224, 224, 1, true);
    for (int b = 0; b < 7; b++)
        for (int r = 0; r < blocks[b][4]; r++) {
            int64_t m = c * blocks[b][0], k = blocks[b][1], s = r ? 1 : blocks[b][2];
            if (blocks[b][0] > 1) net[n++] = same(c, m, 1, 1, h, h, 1, true);
            net[n++] = same(m, m, k, s, h, h, m, true);
            h = (h + s - 1) / s;
            net[n] = same(m, blocks[b][3], 1, 1, h, h, 1, false);
            net[n++].residual = r > 0;
            c = blocks[b][3];
        }
    net[n++] = same(320, 1280, 1, 1, h, h, 1, true);
    return n;
}

/* All layers in order, as in the network: weights and activations come from wherever the layers before have left them.
 * Three buffers take turns; a residual is read from the third. */
static double chain(const struct timer *t, struct clq_dnnl_conv *net, int n)
{
    struct clq_error err;
    struct clq_dnnl_step *steps[NETWORK];
    float *buffer[3], *bias = floats(1280);
    double time[ROUNDS];
    for (int i = 0; i < 3; i++) buffer[i] = floats(112 * 112 * 96);
    for (int i = 0; i < n; i++) {
        float *w = floats(net[i].co * (net[i].ci / net[i].groups) * net[i].kh * net[i].kw);
        net[i].weight = w;
        net[i].bias = bias;
        check(clq_dnnl_conv(&steps[i], t->dnnl, &net[i], &err), &err);
        free(w);
    }
    for (int r = -3; r < ROUNDS; r++) {
        double begin = now();
        for (int i = 0; i < n; i++)
            check(clq_dnnl_run(t->dnnl, steps[i], buffer[i % 3], NULL, net[i].residual ? buffer[(i + 2) % 3] : NULL,
                               buffer[(i + 1) % 3], &err), &err);
        if (r >= 0) time[r] = now() - begin;
    }
    for (int i = 0; i < n; i++) clq_dnnl_step_free(steps[i]);
    for (int i = 0; i < 3; i++) free(buffer[i]);
    free(bias);
    return 1e3 * median(time, ROUNDS);
}

static void efficientnet(const struct timer *t)
{
    static const char *const names[] = {"stem", "1x1", "1x1 + add", "depthwise"};
    struct clq_dnnl_conv net[NETWORK];
    double sum[4] = {0};
    int n = network(net);
    for (int i = 0; i < n; i++) {
        int kind = i == 0 ? 0 : net[i].groups > 1 ? 3 : net[i].residual ? 2 : 1;
        sum[kind] += conv(t, net[i], names[kind]);
    }
    printf("EfficientNet-Lite0: %.3f ms one by one (stem %.3f, depthwise %.3f, 1x1 %.3f)",
           sum[0] + sum[1] + sum[2] + sum[3], sum[0], sum[3], sum[1] + sum[2]);
    printf(", %.3f ms in a row\n", chain(t, net, n));
}

static void others(const struct timer *t)
{
    struct clq_dnnl_conv d = same(24, 24, 2, 1, 160, 160, 1, true);
    d.transposed = true;
    d.stride_h = d.stride_w = 2;
    d.pad_bottom = d.pad_right = 0;
    d.oh = d.ow = 320;
    conv(t, d, "upsample");
    d.h = d.w = 320;
    d.oh = d.ow = 640;
    d.co = 1;
    d.act = CLQ_ACT_SIGMOID;
    conv(t, d, "upsample");
    d = same(24, 24, 4, 1, 40, 40, 1, true);
    d.transposed = true;
    d.stride_h = d.stride_w = 2;
    d.pad_top = d.pad_left = d.pad_bottom = d.pad_right = 1;
    d.oh = d.ow = 80;
    conv(t, d, "transposed");
    conv(t, same(64, 64, 3, 1, 56, 56, 1, true), "3x3");
    conv(t, same(24, 24, 3, 1, 112, 112, 1, true), "3x3");
    conv(t, same(128, 128, 3, 1, 28, 28, 32, true), "grouped");
    conv(t, same(3, 16, 3, 2, 640, 640, 1, true), "stem");
    d = same(96, 96, 5, 1, 80, 80, 96, true);
    d.act = CLQ_ACT_HARDSWISH;
    conv(t, d, "hardswish");
}

int main(int argc, char **argv)
{
    struct clq_error err;
    struct timer t = {.probe_gflop = 2e-9 * 256 * 256 * 256};
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    float *w = floats(256 * 256);
    struct clq_dnnl_matmul d = {.m = 256, .n = 256, .k = 256, .alpha = 1, .weight = w};
    check(clq_dnnl_create(&t.dnnl, threads, &err), &err);
    check(clq_dnnl_matmul(&t.probe, t.dnnl, &d, &err), &err);
    t.probe_x = floats(256 * 256);
    t.probe_y = floats(256 * 256);
    printf("oneDNN %s, %d thread(s)\n", clq_dnnl_version(), threads);
    efficientnet(&t);
    others(&t);
    clq_dnnl_step_free(t.probe);
    clq_dnnl_free(t.dnnl);
    free(w);
    free(t.probe_x);
    free(t.probe_y);
    return 0;
}
