/* SPDX-License-Identifier: Apache-2.0
 * Transposed convolutions on codes: every output against sums that are scattered tap by tap, on every version. */
#include "graph_build.h"

struct shape {
    int64_t batch, ci, co, in[2], kernel[2], stride[2], dilation[2], pad[4], more[2]; /* more: output padding */
    bool flat;      /* one spatial axis, the second */
    bool per_channel, relu, float_out, s32_bias;
};

static const struct shape shapes[] = {
    {1, 24, 24, {9, 11}, {2, 2}, {2, 2}, {1, 1}, {0, 0, 0, 0}, {0, 0}, false, true, true, false, true},
    {2, 7, 1, {5, 3}, {2, 2}, {2, 2}, {1, 1}, {0, 0, 0, 0}, {0, 0}, false, true, false, false, true},
    {1, 16, 4, {6, 5}, {2, 2}, {2, 2}, {1, 1}, {0, 0, 0, 0}, {0, 0}, false, false, false, true, false},
    {1, 5, 6, {4, 7}, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}, {1, 1}, false, true, true, false, true},
    {1, 5, 6, {4, 7}, {4, 4}, {2, 2}, {1, 1}, {1, 1, 1, 1}, {0, 0}, false, true, false, false, false},
    {2, 3, 9, {3, 4}, {5, 4}, {3, 2}, {1, 1}, {2, 0, 1, 1}, {0, 1}, false, true, false, true, true},
    {1, 33, 17, {8, 8}, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}, {0, 0}, false, false, true, false, true},
    {1, 4, 3, {1, 1}, {4, 4}, {4, 4}, {1, 1}, {0, 0, 0, 0}, {0, 0}, false, true, false, false, true},
    {1, 2, 2, {2, 6}, {2, 3}, {3, 3}, {1, 1}, {0, 0, 0, 0}, {1, 2}, false, true, false, false, true}, /* phases without a tap */
    {1, 6, 5, {5, 5}, {3, 2}, {2, 1}, {2, 1}, {2, 0, 1, 0}, {0, 0}, false, true, false, false, true},
    {1, 6, 5, {4, 6}, {6, 5}, {2, 2}, {1, 1}, {4, 4, 3, 3}, {0, 0}, false, true, false, false, true}, /* padded away at the border */
    {3, 8, 12, {1, 31}, {1, 2}, {1, 2}, {1, 1}, {0, 0, 0, 0}, {0, 0}, true, true, true, false, true},
    {1, 8, 3, {1, 17}, {1, 4}, {1, 3}, {1, 1}, {0, 1, 0, 2}, {0, 0}, true, false, false, true, false},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes, ZERO_X = 77, ZERO_Y = 131 };
static const float scale_x = 0.031f, scale_y = 0.27f;

struct layer {
    struct net g;
    int8_t *w;
    int32_t *bias; /* codes */
    float *scale;  /* [co] */
};

static float weight_scale(const struct shape *s, int64_t c)
{
    return s->per_channel ? 0.004f + 0.0007f * (float)c : 0.006f;
}

static void build(struct layer *l, const struct shape *s)
{
    struct net *g = &l->g;
    const int axes = s->flat ? 1 : 2;
    const int64_t x4[] = {s->batch, s->ci, s->in[0], s->in[1]}, x3[] = {s->batch, s->ci, s->in[1]};
    const int64_t w4[] = {s->ci, s->co, s->kernel[0], s->kernel[1]}, w3[] = {s->ci, s->co, s->kernel[1]};
    const size_t n = (size_t)(s->ci * s->co * s->kernel[0] * s->kernel[1]);
    net_start(g, 17);
    net_in(g, "x", CLQ_DTYPE_F32, axes + 2, s->flat ? x3 : x4);
    l->w = malloc(n);
    l->bias = malloc((size_t)s->co * sizeof *l->bias);
    l->scale = malloc((size_t)s->co * sizeof *l->scale);
    int8_t *zeros = calloc((size_t)s->co, 1);
    float *bias_scale = malloc((size_t)s->co * sizeof *bias_scale), *bias_real = malloc((size_t)s->co * sizeof *bias_real);
    assert_true(l->w && l->bias && l->scale && zeros && bias_scale && bias_real);
    for (size_t i = 0; i < n; i++) l->w[i] = (int8_t)((int)(net_random(g) % 255) - 127);
    for (int64_t c = 0; c < s->co; c++) {
        l->scale[c] = weight_scale(s, c);
        l->bias[c] = (int32_t)(net_random(g) % 20001) - 10000;
        bias_scale[c] = scale_x * l->scale[c];
        bias_real[c] = (float)((double)l->bias[c] * ((double)scale_x * (double)l->scale[c]));
    }
    const char *x = net_qdq(g, "x", scale_x, ZERO_X, CLQ_DTYPE_U8);
    const char *codes = net_const(g, NULL, CLQ_DTYPE_S8, axes + 2, s->flat ? w3 : w4, l->w), *w, *b;
    if (s->per_channel) {
        w = net_op(g, "DequantizeLinear", "%s %s %s", codes, net_const(g, NULL, CLQ_DTYPE_F32, DIMS(s->co), l->scale), net_const(g, NULL, CLQ_DTYPE_S8, DIMS(s->co), zeros));
        net_int(g, "axis", 1);
    } else w = net_op(g, "DequantizeLinear", "%s %s", codes, net_float(g, l->scale[0]));
    if (s->s32_bias) {
        b = net_op(g, "DequantizeLinear", "%s %s", net_const(g, NULL, CLQ_DTYPE_S32, DIMS(s->co), l->bias), net_const(g, NULL, CLQ_DTYPE_F32, DIMS(s->co), bias_scale));
        net_int(g, "axis", 0);
    } else b = net_const(g, NULL, CLQ_DTYPE_F32, DIMS(s->co), bias_real);
    const char *y = net_op(g, "ConvTranspose", "%s %s %s", x, w, b);
    const int from = 2 - axes;
    net_list(g, "strides", axes, s->stride + from);
    net_list(g, "dilations", axes, s->dilation + from);
    net_list(g, "output_padding", axes, s->more + from);
    net_list(g, "pads", 2 * axes, s->flat ? (const int64_t[]){s->pad[1], s->pad[3]} : s->pad);
    if (s->relu) y = net_op(g, "Relu", "%s", y);
    net_out(g, s->float_out ? y : net_qdq(g, y, scale_y, ZERO_Y, CLQ_DTYPE_U8));
    free(zeros);
    free(bias_scale);
    free(bias_real);
}

static void drop(struct layer *l)
{
    free(l->w);
    free(l->bias);
    free(l->scale);
    net_end(&l->g);
}

static int32_t code_of(float x, float scale, int32_t zero)
{
    float y = rintf(x / scale), lo = (float)-zero, hi = (float)(255 - zero);
    return (int32_t)(y < lo ? lo : y > hi ? hi : y) + zero;
}

/* The exact sum becomes a code, or a float, as numerics.md has it. */
static float finished(const struct shape *s, const struct layer *l, int64_t c, int64_t sum)
{
    const double acc = (double)scale_x * (double)l->scale[s->per_channel ? c : 0];
    const int64_t v = sum + l->bias[c];
    if (s->float_out) {
        const float y = (float)v * (float)acc;
        return s->relu && y < 0 ? 0 : y;
    }
    const float y = (float)v * (float)(acc / (double)scale_y);
    int32_t code = (int32_t)rintf(fminf(fmaxf(y, (float)-ZERO_Y), (float)(255 - ZERO_Y))) + ZERO_Y;
    if (s->relu && code < ZERO_Y) code = ZERO_Y;
    return (float)(code - ZERO_Y) * scale_y;
}

/* The output of channel c at one position: all inputs and taps that reach it. */
static float expected(const struct shape *s, const struct layer *l, const float *x, int64_t image, int64_t c, const int64_t at[2])
{
    int64_t sum = 0;
    for (int64_t i = 0; i < s->ci; i++)
        for (int64_t ky = 0; ky < s->kernel[0]; ky++)
            for (int64_t kx = 0; kx < s->kernel[1]; kx++) {
                const int64_t y = at[0] + s->pad[0] - ky * s->dilation[0], z = at[1] + s->pad[1] - kx * s->dilation[1];
                if (y < 0 || z < 0 || y % s->stride[0] || z % s->stride[1] || y / s->stride[0] >= s->in[0] || z / s->stride[1] >= s->in[1]) continue;
                const float real = x[((image * s->ci + i) * s->in[0] + y / s->stride[0]) * s->in[1] + z / s->stride[1]];
                sum += (int64_t)(code_of(real, scale_x, ZERO_X) - ZERO_X) * l->w[((i * s->co + c) * s->kernel[0] + ky) * s->kernel[1] + kx];
            }
    return finished(s, l, c, sum);
}

static void check(const struct shape *s, struct layer *l, const char *isa, int threads, int index)
{
    struct feed f;
    struct kinds k;
    struct clq_context *ctx = net_context(threads, isa);
    const struct clq_program_options o = {0};
    feed_start(&f, &l->g, 1, -3, 5);
    net_run(&f, ctx, &l->g.m, &o, &k);
    assert_int_equal(k.n[CLQ_STEP_QCONV], 1);
    assert_int_equal(k.n[CLQ_STEP_CONV], 0);
    int64_t out[2];
    for (int d = 0; d < 2; d++)
        out[d] = (s->in[d] - 1) * s->stride[d] + (s->kernel[d] - 1) * s->dilation[d] + 1 - s->pad[d] - s->pad[d + 2] + s->more[d];
    assert_int_equal(net_count(f.out[0].rank, f.out[0].shape), s->batch * s->co * out[0] * out[1]);
    const float *y = f.out[0].data;
    for (int64_t image = 0; image < s->batch; image++)
        for (int64_t c = 0; c < s->co; c++)
            for (int64_t at[2] = {0, 0}; at[0] < out[0]; at[0]++)
                for (at[1] = 0; at[1] < out[1]; at[1]++, y++) {
                    const float want = expected(s, l, f.in[0].data, image, c, at);
                    if (*y != want)
                        fail_msg("shape %d, %s: image %d channel %d (%d, %d): %a, expected %a", index, isa ? isa : "native", (int)image, (int)c, (int)at[0],
                                 (int)at[1], (double)*y, (double)want);
                }
    feed_drop(&f, true);
    clq_context_free(ctx);
}

static void test_exact(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++) {
        struct layer l;
        build(&l, &shapes[i]);
        check(&shapes[i], &l, "ref", 1, i);
        check(&shapes[i], &l, "avx2", 2, i);
        check(&shapes[i], &l, NULL, 3, i);
        drop(&l);
    }
}

/* Groups and strides that are out of proportion stay in float: the result is there all the same, and at once. */
static void stays_in_float(int64_t group, int64_t stride, int64_t out)
{
    struct net g;
    struct feed f;
    struct kinds k;
    static const int8_t codes[4 * 2 * 4] = {3, -7, 11, 5, 127, -127, 9, 2, 1, 2, 3, 4, 5, 6, 7, 8, -9, 10, -11, 12, 13, -14, 15, 16, 17, 18, -19, 20, 21, 22, 23, -24};
    net_start(&g, 17);
    net_in(&g, "x", CLQ_DTYPE_F32, DIMS(1, 4, 3, 3));
    const char *x = net_qdq(&g, "x", scale_x, ZERO_X, CLQ_DTYPE_U8);
    const char *w = net_op(&g, "DequantizeLinear", "%s %s", net_const(&g, NULL, CLQ_DTYPE_S8, DIMS(4, 2, 2, 2), codes), net_float(&g, 0.01f));
    const char *y = net_op(&g, "ConvTranspose", "%s %s", x, w);
    net_list(&g, "strides", DIMS(stride, 2));
    net_int(&g, "group", group);
    net_out(&g, net_qdq(&g, y, scale_y, ZERO_Y, CLQ_DTYPE_U8));
    struct clq_context *ctx = net_context(1, NULL);
    const struct clq_program_options o = {0};
    feed_start(&f, &g, 1, -3, 5);
    net_run(&f, ctx, &g.m, &o, &k);
    assert_int_equal(k.n[CLQ_STEP_QCONV], 0);
    assert_int_equal(net_count(f.out[0].rank, f.out[0].shape), out);
    feed_drop(&f, true);
    clq_context_free(ctx);
    net_end(&g);
}

static void test_left_in_float(void **state)
{
    (void)state;
    stays_in_float(2, 2, 4 * 6 * 6);
    stays_in_float(1, 100000, 2 * 200002 * 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_exact), cmocka_unit_test(test_left_in_float)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
