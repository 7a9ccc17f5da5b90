/* SPDX-License-Identifier: Apache-2.0
 * INT8 products on plain arrays, through the public headers: every target against plain loops, the ends of int32, wrong
 * arguments, and what the device cannot take. */
#include "buffers_targets.h"

static size_t size_of(clq_dtype dtype)
{
    return clq_dtype_bits(dtype) / 8;
}

/* The result by plain loops, from the definition in buffers.h. */
static void plain_store(void *y, size_t at, const clq_product_output *o, size_t channel, int64_t v)
{
    const int low = o->dtype == CLQ_DTYPE_S8 ? -128 : 0;
    const int lo = o->lo == o->hi ? low : o->lo, hi = o->lo == o->hi ? low + 255 : o->hi;
    if (o->dtype == CLQ_DTYPE_S32) ((int32_t *)y)[at] = (int32_t)(uint32_t)v;
    else if (o->dtype == CLQ_DTYPE_F32) ((float *)y)[at] = (float)v * o->multiplier[channel];
    else {
        double q = nearbyint((double)((float)v * o->multiplier[channel])) + o->zero_point;
        ((uint8_t *)y)[at] = (uint8_t)(int)(q < lo ? lo : q > hi ? hi : q);
    }
}

static int code_at(const void *codes, size_t at, clq_dtype dtype)
{
    return dtype == CLQ_DTYPE_S8 ? ((const int8_t *)codes)[at] : ((const uint8_t *)codes)[at];
}

/* Adds code at_r of the residual to the product's code y[at]. */
static void plain_add(void *y, size_t at, const void *residual, size_t at_r, const clq_product_output *o)
{
    const clq_product_residual *r = o->residual;
    const int low = o->dtype == CLQ_DTYPE_S8 ? -128 : 0;
    const int lo = r->lo == r->hi ? low : r->lo, hi = r->lo == r->hi ? low + 255 : r->hi;
    const float a = (float)(code_at(y, at, o->dtype) - o->zero_point) * r->product_scale;
    const float b = (float)(code_at(residual, at_r, o->dtype) - r->zero_point) * r->scale;
    const double sum = nearbyint((double)((a + b) / r->sum_scale)) + r->sum_zero_point;
    ((uint8_t *)y)[at] = (uint8_t)(int)(sum < lo ? lo : sum > hi ? hi : sum);
}

/* What an OpenCL device is not asked to add. */
static bool device_refuses(const clq_product_output *o)
{
    return o->residual && o->dtype == CLQ_DTYPE_S8;
}

static void expect_refused(clq_context *ctx, clq_status st)
{
    assert_int_equal(st, CLQ_ERR_UNSUPPORTED);
    assert_non_null(strstr(clq_error_message(ctx), "residual"));
}

struct gemm_case {
    size_t m, n, k, lda, ldy;
    clq_dtype input, output;
    bool bias, limits;
    size_t ldr; /* 0: no residual */
};

static void check_gemm(struct gemm_case c)
{
    const size_t a_bytes = (c.m - 1) * c.lda + c.k, y_bytes = ((c.m - 1) * c.ldy + c.n) * size_of(c.output);
    uint8_t *a = block(a_bytes), *y = block(y_bytes + 8), *y_ref = block(y_bytes);
    int8_t *w = block(c.n * c.k);
    int32_t *bias = block(c.n * 4);
    float *mult = block(c.n * 4);
    const bool s8 = c.input == CLQ_DTYPE_S8;
    fill_bytes(a, a_bytes);
    fill_bytes(w, c.n * c.k);
    for (size_t i = 0; i < c.n; i++) {
        bias[i] = (int32_t)rnd() / 65536;
        mult[i] = (0.5f + (float)(rnd() % 1000) / 1000) * 0.01f / sqrtf((float)c.k);
    }
    clq_gemm_desc d = {.n = c.n, .k = c.k, .weight = w, .bias = c.bias ? bias : NULL, .input = c.input, .input_zero_point = (int)(rnd() % 256) - (s8 ? 128 : 0)};
    d.output = (clq_product_output){.dtype = c.output, .multiplier = c.output == CLQ_DTYPE_S32 ? NULL : mult};
    d.output.zero_point = c.output == CLQ_DTYPE_S8 ? -7 : c.output == CLQ_DTYPE_U8 ? 9 : 0;
    if (c.limits) d.output.lo = d.output.zero_point, d.output.hi = d.output.zero_point + 60;
    const clq_product_residual add = {.product_scale = 0.031f, .scale = 0.017f, .zero_point = c.output == CLQ_DTYPE_S8 ? -30 : 99, .sum_scale = 0.04f,
                                      .sum_zero_point = 11, .lo = c.bias ? 11 : 0, .hi = c.bias ? 120 : 0};
    const size_t r_bytes = (c.m - 1) * c.ldr + c.n;
    uint8_t *r = block(r_bytes);
    fill_bytes(r, r_bytes);
    d.output.residual = c.ldr ? &add : NULL;
    memset(y_ref, 0x5c, y_bytes);
    for (size_t i = 0; i < c.m; i++)
        for (size_t j = 0; j < c.n; j++) {
            int64_t v = c.bias ? bias[j] : 0;
            for (size_t k = 0; k < c.k; k++) v += ((s8 ? (int8_t)a[i * c.lda + k] : a[i * c.lda + k]) - d.input_zero_point) * (int64_t)w[j * c.k + k];
            plain_store(y_ref, i * c.ldy + j, &d.output, j, v);
            if (c.ldr) plain_add(y_ref, i * c.ldy + j, r, i * c.ldr + j, &d.output);
        }
    for (size_t t = 0; t < n_targets; t++) {
        clq_gemm *g;
        clq_context *ctx = targets[t].ctx;
        clq_product_info info;
        clq_gemm_desc copy = d;
        int8_t *w_copy = block(c.n * c.k); /* the handle keeps nothing of the caller's */
        memcpy(w_copy, w, c.n * c.k);
        copy.weight = w_copy;
        const bool device = strstr(targets[t].name, "opencl") != NULL;
        const clq_status st = clq_gemm_prepare(&g, ctx, &copy);
        if (device && device_refuses(&d.output)) {
            expect_refused(ctx, st);
            free(w_copy);
            continue;
        }
        OK(ctx, st);
        memset(w_copy, 0, c.n * c.k);
        free(w_copy);
        clq_gemm_describe(&info, g);
        assert_int_equal(info.on_device, device);
        for (int turn = 0; turn < 2; turn++) { /* other sizes in between must leave nothing behind */
            const clq_gemm_operands o = {.a = a, .lda = c.lda, .m = c.m, .residual = r, .ldr = c.ldr, .y = y, .ldy = c.ldy};
            memset(y, 0x5c, y_bytes + 8);
            if (c.ldr && device && (c.ldr > c.n || c.ldy > c.n)) {
                expect_refused(ctx, clq_gemm_run_operands(g, &o));
                continue;
            }
            if (c.ldr) {
                OK(ctx, clq_gemm_run_operands(g, &o));
                same(y_ref, y, y_bytes, &targets[t], "gemm with a residual");
                OK(ctx, clq_gemm_run_operands(g, &(clq_gemm_operands){.m = 0}));
                continue;
            }
            OK(ctx, clq_gemm_run(g, a, c.lda, c.m, y, c.ldy));
            same(y_ref, y, y_bytes, &targets[t], "gemm");
            for (int i = 0; i < 8; i++) assert_int_equal(y[y_bytes + (size_t)i], 0x5c);
            OK(ctx, clq_gemm_run(g, a, c.lda, 1, y, c.ldy));
            OK(ctx, clq_gemm_run(g, NULL, 0, 0, NULL, 0));
        }
        clq_gemm_free(g);
    }
    free(a), free(y), free(y_ref), free(w), free(bias), free(mult), free(r);
}

static void test_gemm(void **state)
{
    static const clq_dtype in[] = {CLQ_DTYPE_U8, CLQ_DTYPE_S8}, out[] = {CLQ_DTYPE_U8, CLQ_DTYPE_S8, CLQ_DTYPE_F32, CLQ_DTYPE_S32};
    (void)state;
    for (size_t i = 0; i < 32; i++)
        check_gemm((struct gemm_case){1 + rnd() % 40, 1 + rnd() % 150, 1 + rnd() % 200, 200 + rnd() % 9, 150 + rnd() % 3, in[i % 2], out[i / 2 % 4], i % 3 != 0, i % 5 == 0, 0});
    check_gemm((struct gemm_case){300, 130, 257, 257, 130, CLQ_DTYPE_U8, CLQ_DTYPE_U8, true, true, 0});
    check_gemm((struct gemm_case){90, 300, 128, 128, 300, CLQ_DTYPE_S8, CLQ_DTYPE_F32, true, false, 0});
}

static void test_gemm_residual(void **state)
{
    (void)state;
    for (size_t i = 0; i < 8; i++) /* the first two without gaps */
        check_gemm((struct gemm_case){1 + rnd() % 40, 70 + i, 1 + rnd() % 200, 200, 70 + i + i / 4, i % 2 ? CLQ_DTYPE_S8 : CLQ_DTYPE_U8,
                                      i / 2 % 2 ? CLQ_DTYPE_S8 : CLQ_DTYPE_U8, i % 3 != 0, i % 5 == 0, 70 + i + (i > 1 ? i % 3 : 0)});
    check_gemm((struct gemm_case){300, 130, 257, 257, 130, CLQ_DTYPE_U8, CLQ_DTYPE_U8, true, true, 130});
}

/* Two products of int8, the second with the sums of rows that the first wrote. */
static void test_gemm_sums(void **state)
{
    enum { M = 75, N = 150, K = 70 };
    int8_t *w = block(N * K), *a = block(M * K), *y = block(M * N), *y_ref = block(M * N), *z = block(M * K), *z_ref = block(M * K);
    float m[N];
    int32_t sums[M];
    (void)state;
    fill_bytes(a, M * K);
    fill_bytes(w, N * K);
    for (int i = 0; i < N; i++) m[i] = 0.003f;
    const clq_gemm_desc first = {.n = N, .k = K, .weight = w, .input = CLQ_DTYPE_S8, .input_zero_point = 5, .output = {.dtype = CLQ_DTYPE_S8, .multiplier = m, .zero_point = -3}};
    const clq_gemm_desc second = {.n = K, .k = N, .weight = w, .input = CLQ_DTYPE_S8, .input_zero_point = -3, .output = {.dtype = CLQ_DTYPE_S8, .multiplier = m}};
    for (size_t t = 0; t < n_targets; t++) {
        clq_context *ctx = targets[t].ctx;
        clq_gemm *g, *h;
        OK(ctx, clq_gemm_prepare(&g, ctx, &first));
        OK(ctx, clq_gemm_prepare(&h, ctx, &second));
        OK(ctx, clq_gemm_run(g, a, K, M, t ? y : y_ref, N));
        OK(ctx, clq_gemm_run(h, t ? y : y_ref, N, M, t ? z : z_ref, K));
        memset(y, 0, M * N), memset(z, 0, M * K), memset(sums, 0x5c, sizeof sums);
        OK(ctx, clq_gemm_run_operands(g, &(clq_gemm_operands){.a = a, .lda = K, .m = M, .y = y, .ldy = N, .y_sums = sums}));
        OK(ctx, clq_gemm_run_operands(h, &(clq_gemm_operands){.a = y, .lda = N, .m = M, .a_sums = sums, .y = z, .ldy = K}));
        same(y_ref, y, M * N, &targets[t], "first product");
        same(z_ref, z, M * K, &targets[t], "second product");
        for (size_t i = 0; i < M; i++) {
            int32_t sum = 0;
            for (size_t n = 0; n < N; n++) sum += y_ref[i * N + n];
            assert_int_equal(sums[i], sum);
        }
        clq_gemm_free(g);
        clq_gemm_free(h);
    }
    free(w), free(a), free(y), free(y_ref), free(z), free(z_ref);
}

/* Sums at both sides of the end of int32. */
static void test_gemm_limits(void **state)
{
    const size_t most = 65794;
    uint8_t *a = block(most);
    int8_t *w = block(most);
    const float one = 1;
    float y;
    int32_t bias;
    (void)state;
    memset(a, 255, most);
    memset(w, -128, most);
    for (size_t k = most - 1; k <= most; k++)
        for (int extra = 0; extra < 2; extra++) {
            const int64_t sum = 255 * -128 * (int64_t)k;
            bias = k < most ? (int32_t)(-INT32_MAX - sum) - extra : -extra;
            const bool fits = k < most && !extra;
            for (size_t t = 0; t < n_targets; t++) {
                clq_context *ctx = targets[t].ctx;
                clq_gemm_desc d = {.n = 1, .k = k, .weight = w, .bias = &bias, .input = CLQ_DTYPE_U8, .output = {.dtype = CLQ_DTYPE_F32, .multiplier = &one}};
                clq_product_info info;
                clq_gemm *g = NULL;
                const bool device = strstr(targets[t].name, "opencl") != NULL;
                clq_status st = clq_gemm_prepare(&g, ctx, &d);
                if (device && !fits) { /* required: not a quiet step to the CPU */
                    assert_int_equal(st, CLQ_ERR_UNSUPPORTED);
                    assert_non_null(strstr(clq_error_message(ctx), "bound"));
                    continue;
                }
                OK(ctx, st);
                clq_gemm_describe(&info, g);
                assert_true(info.bound == -(sum + bias) && (info.bound <= INT32_MAX) == fits);
                if (!fits) assert_string_equal(info.kernel, "ref");
                OK(ctx, clq_gemm_run(g, a, k, 1, &y, 1));
                assert_true(y == (float)(sum + bias));
                clq_gemm_free(g);
            }
        }
    free(a), free(w);
}

static void test_gemm_errors(void **state)
{
    const clq_status bad = CLQ_ERR_INVALID_ARGUMENT;
    int8_t w[12] = {1};
    uint8_t a[64] = {0}, y[64];
    float m[3] = {1, 1, 1};
    clq_gemm *g = NULL;
    const clq_gemm_desc good = {.n = 3, .k = 4, .weight = w, .input = CLQ_DTYPE_U8, .output = {.dtype = CLQ_DTYPE_U8, .multiplier = m}};
    clq_gemm_desc d = good;
    (void)state;
    assert_int_equal(clq_gemm_prepare(&g, NULL, &d), bad);
    expect(clq_gemm_prepare(NULL, ref, &d), bad, "out");
    expect(clq_gemm_prepare(&g, ref, NULL), bad, "desc");
#define BAD(change, status, part)                          \
    do {                                                   \
        d = good;                                          \
        change;                                            \
        expect(clq_gemm_prepare(&g, ref, &d), status, part); \
        assert_null(g);                                    \
    } while (0)
    BAD(d.n = 0, bad, "n and k");
    BAD(d.k = 0, bad, "n and k");
    BAD(d.k = (size_t)1 << 31, bad, "n and k");
    BAD((d.k = INT32_MAX, d.n = INT32_MAX), bad, "does not fit");
    BAD(d.weight = NULL, bad, "weight");
    BAD(d.input = CLQ_DTYPE_F32, bad, "input: expected uint8 or int8, got float32");
    BAD(d.input_zero_point = 256, bad, "got 256");
    BAD((d.input = CLQ_DTYPE_S8, d.input_zero_point = 128), bad, "-128 to 127, got 128");
    BAD(d.output.dtype = CLQ_DTYPE_U16, bad, "uint16");
    BAD(d.output.multiplier = NULL, bad, "multiplier");
    BAD(m[2] = 0, CLQ_ERR_NUMERIC, "multiplier[2]");
    m[2] = 1;
    BAD(d.output.zero_point = -1, bad, "zero_point");
    BAD((d.output.lo = 5, d.output.hi = 4), bad, "5 and 4");
    BAD(d.output.hi = 256, bad, "256");
    clq_product_residual r = {.product_scale = 1, .scale = 1, .sum_scale = 1};
#define BAD_RESIDUAL(change, status, part) BAD((d.output.residual = &r, change), status, part)
    BAD_RESIDUAL(d.output.dtype = CLQ_DTYPE_F32, bad, "residual: expected uint8 or int8 results, got float32");
    BAD_RESIDUAL(r.product_scale = 0, CLQ_ERR_NUMERIC, "residual.product_scale");
    BAD_RESIDUAL((r.product_scale = 1, r.scale = NAN), CLQ_ERR_NUMERIC, "residual.scale");
    BAD_RESIDUAL((r.scale = 1, r.sum_scale = -1), CLQ_ERR_NUMERIC, "residual.sum_scale");
    BAD_RESIDUAL((r.sum_scale = 1, r.zero_point = -1), bad, "residual.zero_point");
    BAD_RESIDUAL((r.zero_point = 0, r.sum_zero_point = 256), bad, "residual.sum_zero_point");
    BAD_RESIDUAL((r.sum_zero_point = 0, r.hi = 256), bad, "residual limits: expected 0 <= lo <= hi <= 255, got 0 and 256");
#undef BAD_RESIDUAL
#undef BAD
    OK(ref, clq_gemm_prepare(&g, ref, &good));
    assert_int_equal(clq_gemm_run(NULL, a, 4, 1, y, 3), bad);
    expect(clq_gemm_run(g, NULL, 4, 1, y, 3), bad, "a is NULL");
    expect(clq_gemm_run(g, a, 4, 1, NULL, 3), bad, "y is NULL");
    expect(clq_gemm_run(g, a, 3, 1, y, 3), bad, "lda");
    expect(clq_gemm_run(g, a, 4, 1, y, 2), bad, "ldy");
    expect(clq_gemm_run(g, a, SIZE_MAX / 2, 4, y, 3), bad, "do not fit");
    expect(clq_gemm_run(g, a, 4, 5, a + 19, 3), bad, "overlap");
    OK(ref, clq_gemm_run(g, a, 4, 5, a + 20, 3));
    int32_t sums[2];
    clq_gemm_operands o = {.a = a, .lda = 4, .m = 2, .residual = y, .ldr = 3, .y = y + 6, .ldy = 3};
    expect(clq_gemm_run_operands(g, &o), bad, "without a residual");
    expect(clq_gemm_run_operands(g, NULL), bad, "operands");
    o.residual = NULL;
    o.y_sums = (int32_t *)(void *)(a + 32);
    o.y = a + 35;
    expect(clq_gemm_run_operands(g, &o), bad, "y_sums and y overlap");
    clq_gemm_free(g);
    r.hi = 0;
    d = good;
    d.output.residual = &r;
    OK(ref, clq_gemm_prepare(&g, ref, &d));
    o.y_sums = sums;
    o.y = y + 6;
    assert_int_equal(clq_gemm_run_operands(NULL, &o), bad);
    expect(clq_gemm_run(g, a, 4, 1, y, 3), bad, "with a residual");
    expect(clq_gemm_run_operands(g, &o), bad, "with a residual");
    o.residual = y;
    o.ldr = 2;
    expect(clq_gemm_run_operands(g, &o), bad, "ldr");
    o.ldr = 3;
    o.y = y + 5;
    expect(clq_gemm_run_operands(g, &o), bad, "residual and y overlap");
    o.y = y + 6;
    OK(ref, clq_gemm_run_operands(g, &o));
    int32_t sums_too[2] = {0};
    uint8_t shared[24] __attribute__((aligned(4))) = {0};
    o.a_sums = sums;
    expect(clq_gemm_run_operands(g, &o), bad, "y_sums and a_sums overlap");
    o.y_sums = sums_too;
    OK(ref, clq_gemm_run_operands(g, &o));
    o.y_sums = (int32_t *)(void *)shared;
    o.a = shared + 4;
    expect(clq_gemm_run_operands(g, &o), bad, "y_sums and a overlap");
    o.a = a;
    o.residual = shared + 7;
    expect(clq_gemm_run_operands(g, &o), bad, "y_sums and residual overlap");
    o.residual = y;
    o.y_sums = NULL;
    o.a_sums = (int32_t *)(void *)shared;
    o.y = shared + 5;
    expect(clq_gemm_run_operands(g, &o), bad, "a_sums and y overlap");
    o.a_sums = NULL;
    o.y_sums = sums;
    o.y = y + 6;
    clq_gemm_free(g);
    d = good;
    d.output.dtype = CLQ_DTYPE_S32;
    OK(ref, clq_gemm_prepare(&g, ref, &d));
    o.residual = NULL;
    expect(clq_gemm_run_operands(g, &o), bad, "y_sums: expected uint8 or int8 results");
    clq_gemm_free(g);
    clq_gemm_free(NULL);
}

static size_t or_one(size_t n)
{
    return n ? n : 1;
}

static void plain_conv(const clq_conv_desc *d, size_t oh, size_t ow, const void *x, size_t batch, void *y)
{
    const size_t groups = or_one(d->groups), cg = d->ci / groups, per = d->co / groups;
    for (size_t at = 0; at < batch * oh * ow * d->co; at++) {
        const size_t o = at % d->co, ox = at / d->co % ow, oy = at / d->co / ow % oh, b = at / d->co / ow / oh;
        int64_t v = d->bias ? d->bias[o] : 0;
        for (size_t ky = 0; ky < d->kh; ky++)
            for (size_t kx = 0; kx < d->kw; kx++) {
                const ptrdiff_t iy = (ptrdiff_t)(oy * or_one(d->stride_h) + ky * or_one(d->dilation_h)) - (ptrdiff_t)d->pad_top;
                const ptrdiff_t ix = (ptrdiff_t)(ox * or_one(d->stride_w) + kx * or_one(d->dilation_w)) - (ptrdiff_t)d->pad_left;
                if (iy < 0 || ix < 0 || iy >= (ptrdiff_t)d->h || ix >= (ptrdiff_t)d->w) continue;
                for (size_t c = 0; c < cg; c++) {
                    const size_t from = ((b * d->h + (size_t)iy) * d->w + (size_t)ix) * d->ci + o / per * cg + c;
                    const int code = d->input == CLQ_DTYPE_S8 ? ((const int8_t *)x)[from] : ((const uint8_t *)x)[from];
                    v += (code - d->input_zero_point) * (int64_t)d->weight[((o * d->kh + ky) * d->kw + kx) * cg + c];
                }
            }
        plain_store(y, at, &d->output, o, v);
    }
}

static void check_conv(clq_conv_desc d, size_t oh, size_t ow, size_t batch)
{
    const size_t n_w = d.co * d.kh * d.kw * (d.ci / or_one(d.groups)), y_bytes = batch * oh * ow * d.co * size_of(d.output.dtype);
    uint8_t *x = block(batch * d.h * d.w * d.ci), *y = block(y_bytes), *y_ref = block(y_bytes);
    int8_t *w = block(n_w);
    float *m = block(d.co * 4);
    int32_t *bias = block(d.co * 4);
    fill_bytes(x, batch * d.h * d.w * d.ci);
    fill_bytes(w, n_w);
    for (size_t i = 0; i < d.co; i++) m[i] = 0.001f + (float)(rnd() % 100) / 50000, bias[i] = (int32_t)(rnd() % 2000) - 1000;
    d.weight = w;
    d.bias = bias;
    d.output.multiplier = m;
    uint8_t *r = block(y_bytes);
    fill_bytes(r, y_bytes);
    plain_conv(&d, oh, ow, x, batch, y_ref);
    for (size_t i = 0; d.output.residual && i < y_bytes; i++) plain_add(y_ref, i, r, i, &d.output);
    for (size_t t = 0; t < n_targets; t++) {
        clq_context *ctx = targets[t].ctx;
        clq_conv *c;
        clq_product_info info;
        size_t h, v;
        OK(ctx, clq_conv_prepare(&c, ctx, &d));
        clq_conv_output_size(&h, &v, c);
        assert_true(h == oh && v == ow);
        clq_conv_describe(&info, c);
        assert_int_equal(info.on_device, strstr(targets[t].name, "opencl") != NULL);
        assert_true(info.kernel[0] != 0);
        for (size_t images = 1; images <= batch; images += batch > 1 ? batch - 1 : 1) {
            memset(y, 0x5c, y_bytes);
            OK(ctx, d.output.residual ? clq_conv_run_residual(c, x, images, r, y) : clq_conv_run(c, x, images, y));
        }
        same(y_ref, y, y_bytes, &targets[t], "conv");
        OK(ctx, d.output.residual ? clq_conv_run_residual(c, NULL, 0, NULL, NULL) : clq_conv_run(c, NULL, 0, NULL));
        clq_conv_free(c);
    }
    free(x), free(y), free(y_ref), free(w), free(m), free(bias), free(r);
}

static void test_conv(void **state)
{
    const clq_product_output u8 = {.dtype = CLQ_DTYPE_U8, .zero_point = 31, .lo = 31, .hi = 200}, f32 = {.dtype = CLQ_DTYPE_F32}, s32 = {.dtype = CLQ_DTYPE_S32};
    const clq_product_output s8 = {.dtype = CLQ_DTYPE_S8, .zero_point = -5}, s8_relu = {.dtype = CLQ_DTYPE_S8, .zero_point = -128, .lo = -128, .hi = 90};
    (void)state;
    check_conv((clq_conv_desc){.h = 9, .w = 11, .ci = 5, .co = 70, .kh = 3, .kw = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1, .input = CLQ_DTYPE_U8, .input_zero_point = 77, .output = u8}, 9, 11, 2);
    check_conv((clq_conv_desc){.h = 14, .w = 15, .ci = 3, .co = 16, .kh = 5, .kw = 3, .stride_h = 2, .stride_w = 2, .pad_top = 2, .pad_right = 1, .input = CLQ_DTYPE_U8, .input_zero_point = 255, .output = f32}, 6, 7, 3);
    check_conv((clq_conv_desc){.h = 20, .w = 20, .ci = 64, .co = 48, .kh = 1, .kw = 1, .input = CLQ_DTYPE_U8, .input_zero_point = 3, .output = u8}, 20, 20, 2);
    check_conv((clq_conv_desc){.h = 12, .w = 13, .ci = 72, .co = 72, .kh = 3, .kw = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1, .groups = 72, .input = CLQ_DTYPE_U8, .output = u8}, 12, 13, 5);
    check_conv((clq_conv_desc){.h = 12, .w = 12, .ci = 8, .co = 12, .kh = 3, .kw = 3, .dilation_h = 2, .dilation_w = 3, .groups = 4, .input = CLQ_DTYPE_U8, .input_zero_point = 128, .output = s32}, 8, 6, 1);
    check_conv((clq_conv_desc){.h = 9, .w = 11, .ci = 5, .co = 70, .kh = 3, .kw = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1, .input = CLQ_DTYPE_S8, .input_zero_point = -128, .output = s8}, 9, 11, 2);
    check_conv((clq_conv_desc){.h = 12, .w = 13, .ci = 72, .co = 72, .kh = 3, .kw = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1, .groups = 72, .input = CLQ_DTYPE_S8, .input_zero_point = 7, .output = u8}, 12, 13, 5);
    check_conv((clq_conv_desc){.h = 60, .w = 60, .ci = 40, .co = 48, .kh = 1, .kw = 1, .input = CLQ_DTYPE_S8, .input_zero_point = 127, .output = s8_relu}, 60, 60, 1);
    check_conv((clq_conv_desc){.h = 12, .w = 12, .ci = 8, .co = 12, .kh = 3, .kw = 3, .input = CLQ_DTYPE_U8, .input_zero_point = 4, .output = s8}, 10, 10, 1);
    const clq_product_residual r_u8 = {.product_scale = 0.02f, .scale = 0.03f, .zero_point = 40, .sum_scale = 0.031f, .sum_zero_point = 70, .lo = 70, .hi = 250};
    const clq_product_residual r_s8 = {.product_scale = 0.02f, .scale = 0.01f, .zero_point = -40, .sum_scale = 0.04f, .sum_zero_point = 3};
    clq_product_output add_u8 = u8, add_s8 = s8;
    add_u8.residual = &r_u8;
    add_s8.residual = &r_s8;
    check_conv((clq_conv_desc){.h = 20, .w = 20, .ci = 64, .co = 48, .kh = 1, .kw = 1, .input = CLQ_DTYPE_U8, .input_zero_point = 3, .output = add_u8}, 20, 20, 2);
    check_conv((clq_conv_desc){.h = 9, .w = 11, .ci = 5, .co = 70, .kh = 3, .kw = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1, .input = CLQ_DTYPE_S8, .input_zero_point = -128, .output = add_s8}, 9, 11, 2);
    check_conv((clq_conv_desc){.h = 12, .w = 13, .ci = 72, .co = 72, .kh = 3, .kw = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1, .groups = 72, .input = CLQ_DTYPE_U8, .output = add_u8}, 12, 13, 3);
    check_conv((clq_conv_desc){.h = 12, .w = 12, .ci = 8, .co = 12, .kh = 3, .kw = 3, .groups = 4, .input = CLQ_DTYPE_U8, .input_zero_point = 128, .output = add_u8}, 10, 10, 1);
}

static void test_conv_errors(void **state)
{
    const clq_status bad = CLQ_ERR_INVALID_ARGUMENT;
    int8_t w[36] = {0};
    float m[4] = {1, 1, 1, 1};
    uint8_t x[64] = {0}, y[64];
    clq_conv *c = NULL;
    const clq_conv_desc good = {.h = 4, .w = 4, .ci = 1, .co = 4, .kh = 3, .kw = 3, .weight = w, .input = CLQ_DTYPE_U8, .output = {.dtype = CLQ_DTYPE_U8, .multiplier = m}};
    clq_conv_desc d;
    (void)state;
    assert_int_equal(clq_conv_prepare(&c, NULL, &good), bad);
    expect(clq_conv_prepare(&c, ref, NULL), bad, "desc");
#define BAD(change, status, part)                          \
    do {                                                   \
        d = good;                                          \
        change;                                            \
        expect(clq_conv_prepare(&c, ref, &d), status, part); \
        assert_null(c);                                    \
    } while (0)
    BAD(d.h = 0, bad, "h: expected 1");
    BAD(d.ci = (size_t)1 << 40, bad, "ci");
    BAD(d.pad_left = SIZE_MAX, bad, "pad_left");
    BAD(d.groups = 3, bad, "groups");
    BAD(d.kh = 5, bad, "covers 5");
    BAD((d.dilation_w = 2), bad, "covers 5");
    BAD((d.kh = 1 << 20, d.kw = 1 << 20, d.pad_top = 1 << 20, d.pad_left = 1 << 20), bad, "too large");
    BAD((d.h = d.w = d.ci = 1 << 20, d.kh = d.kw = 1, d.co = 1 << 20), bad, "fit into memory");
    BAD(d.input_zero_point = -1, bad, "input_zero_point");
    BAD((d.input = CLQ_DTYPE_S8, d.input_zero_point = 128), bad, "-128 to 127, got 128");
    BAD(d.input = CLQ_DTYPE_F32, bad, "float32");
    BAD(d.output.dtype = CLQ_DTYPE_U16, bad, "uint16");
    BAD(d.weight = NULL, bad, "weight");
    BAD(d.output.zero_point = 300, bad, "300");
    BAD(m[3] = NAN, CLQ_ERR_NUMERIC, "multiplier[3]");
    m[3] = 1;
    BAD((d.h = 1 << 24, d.w = 1 << 24, d.pad_top = 9), bad, "does not fit");
#undef BAD
    OK(ref, clq_conv_prepare(&c, ref, &good));
    assert_int_equal(clq_conv_run(NULL, x, 1, y), bad);
    expect(clq_conv_run(c, NULL, 1, y), bad, "x is NULL");
    expect(clq_conv_run(c, x, 1, NULL), bad, "y is NULL");
    expect(clq_conv_run(c, x, 1, x + 15), bad, "overlap");
    expect(clq_conv_run(c, x, SIZE_MAX / 8, y), bad, "do not fit");
    OK(ref, clq_conv_run(c, x, 1, x + 16));
    expect(clq_conv_run_residual(c, x, 1, y, y + 16), bad, "without a residual");
    clq_conv_free(c);
    const clq_product_residual r = {.product_scale = 1, .scale = 1, .sum_scale = 1};
    d = good;
    d.output.residual = &r;
    OK(ref, clq_conv_prepare(&c, ref, &d));
    assert_int_equal(clq_conv_run_residual(NULL, x, 1, y, y + 16), bad);
    expect(clq_conv_run(c, x, 1, y), bad, "with a residual");
    expect(clq_conv_run_residual(c, x, 1, NULL, y), bad, "residual is NULL");
    expect(clq_conv_run_residual(c, x, 1, y, y + 15), bad, "residual and y overlap");
    OK(ref, clq_conv_run_residual(c, x, 1, y, y + 16));
    clq_conv_free(c);
    clq_conv_free(NULL);
}

/* The ladder really ends at different kernels, so the comparisons above compare something. */
static void test_variants(void **state)
{
    int8_t w[4] = {1, 2, 3, 4};
    const clq_gemm_desc d = {.n = 1, .k = 4, .weight = w, .input = CLQ_DTYPE_U8, .output = {.dtype = CLQ_DTYPE_S32}};
    clq_product_info info, best;
    clq_gemm *g;
    clq_context *ctx;
    (void)state;
    OK(ref, clq_gemm_prepare(&g, ref, &d));
    clq_gemm_describe(&info, g);
    assert_string_equal(info.kernel, "ref");
    assert_int_equal(info.bound, 255 * 10);
    clq_gemm_free(g);
    assert_int_equal(clq_context_create(&ctx, NULL), CLQ_OK);
    OK(ctx, clq_gemm_prepare(&g, ctx, &d));
    clq_gemm_describe(&best, g);
    assert_int_equal(strcmp(best.kernel, "ref") == 0, strcmp(clq_context_isa(ctx), "ref") == 0);
    clq_gemm_free(g);
    clq_context_free(ctx);
}

/* What the device cannot take runs on the CPU, which is said; where the device is required, it is an error. */
static void test_device_cannot(void **state)
{
    float x[12] = {1, -2, 3, 300}, s[4] = {1, 1, 1, 1};
    uint8_t y[12], y_ref[12];
    const clq_array_params p = {CLQ_DTYPE_U8, 3, 4, 1, s, NULL};
    clq_context *ctx;
    (void)state;
    if (!have_opencl) {
        print_message("no OpenCL device: SKIPPED\n");
        skip();
    }
    OK(ref, clq_quantize_array(ref, y_ref, x, &p));
    assert_int_equal(clq_context_create(&ctx, &(clq_context_options){.device = "opencl", .device_timeout_ms = 300000}), CLQ_OK);
    assert_string_equal(clq_context_fallback(ctx), "");
    OK(ctx, clq_quantize_array(ctx, y, x, &p));
    assert_memory_equal(y, y_ref, sizeof y);
    assert_non_null(strstr(clq_context_fallback(ctx), "too short"));
    assert_string_not_equal(clq_context_device(ctx), "cpu");
    clq_context_free(ctx);
    ctx = targets[n_targets - 1].ctx;
    assert_int_equal(clq_quantize_array(ctx, y, x, &p), CLQ_ERR_UNSUPPORTED);
    assert_non_null(strstr(clq_error_message(ctx), "too short"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm),        cmocka_unit_test(test_gemm_residual), cmocka_unit_test(test_gemm_sums), cmocka_unit_test(test_gemm_limits), cmocka_unit_test(test_gemm_errors),  cmocka_unit_test(test_conv),
        cmocka_unit_test(test_conv_errors), cmocka_unit_test(test_variants),    cmocka_unit_test(test_device_cannot),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
