/* SPDX-License-Identifier: Apache-2.0
 * The calls on plain arrays, through the public headers: the bits of every instruction set, thread count and device against
 * those of the reference on one thread, and the reference against plain loops; splits of histograms; wrong arguments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include <clquant/clquant.h>

enum { MAX_TARGETS = 20 };

/* One way to compute: the first is the reference. */
static struct target {
    clq_context *ctx;
    char name[64];
} targets[MAX_TARGETS];
static size_t n_targets;
static clq_context *ref;
static bool have_opencl;

#define OK(ctx, call)                                                                  \
    do {                                                                               \
        clq_status ok_ = (call);                                                       \
        if (ok_ != CLQ_OK) fail_msg("%s: %s", #call, clq_error_message(ctx));          \
    } while (0)

static uint64_t seed = 0x9e3779b97f4a7c15u;
static uint32_t rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32);
}

static float rnd_float(void)
{
    return (float)((double)rnd() / 4294967296.0 * 2 - 1);
}

static void *block(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    if (!p) abort();
    return p;
}

static void fill_bytes(void *p, size_t n)
{
    for (size_t i = 0; i < n; i++) ((uint8_t *)p)[i] = (uint8_t)rnd();
}

/* Ordinary values with ties, infinities, NaN, subnormals and zeros in between. */
static float *make_reals(size_t n)
{
    static const float odd[] = {0, -0.0f, 0.5f, -0.5f, 1.5f, 1e-40f, -1e-40f, 3e38f, -3e38f, INFINITY, -INFINITY, NAN, 127.5f, -128.5f};
    float *x = block(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = rnd() % 8 == 0 ? odd[rnd() % (sizeof odd / sizeof *odd)] : 100 * rnd_float();
    return x;
}

static void add_target(const char *isa, int threads, const char *device)
{
    struct target *t = &targets[n_targets];
    clq_context_options o = {.isa = isa, .threads = threads, .device = device, .require_device = true};
    if (clq_context_create(&t->ctx, &o) != CLQ_OK) return;
    snprintf(t->name, sizeof t->name, "%s, %d threads, %s", device ? device : "cpu", threads, isa ? isa : "best");
    if (device) have_opencl = true;
    n_targets++;
}

static int set_up(void **state)
{
    static const char *const isa[] = {"ref", "avx2", "avx512", "avx512_vnni"};
    (void)state;
    for (size_t i = 0; i < sizeof isa / sizeof *isa; i++)
        for (int threads = 1; threads <= 3; threads++) add_target(isa[i], threads, NULL);
    add_target(NULL, 2, "opencl");
    if (!have_opencl) print_message("no OpenCL device: those targets are SKIPPED\n");
    ref = targets[0].ctx;
    return n_targets < 3;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_targets; i++) clq_context_free(targets[i].ctx);
    return 0;
}

static void same(const void *expected, const void *actual, size_t bytes, const struct target *t, const char *what)
{
    const unsigned char *e = expected, *a = actual;
    for (size_t i = 0; i < bytes; i++)
        if (e[i] != a[i]) fail_msg("%s on %s: byte %zu is %u, expected %u", what, t->name, i, a[i], e[i]);
}

/* One shape of an array, in both directions, on all targets. */
static void check_arrays(clq_dtype dtype, size_t outer, size_t channels, size_t inner)
{
    const size_t n = outer * channels * inner;
    const int low = dtype == CLQ_DTYPE_S8 ? -128 : 0;
    float *x = make_reals(n), *scale = block(channels * sizeof *scale), *back = block(n * 4), *back_ref = block(n * 4);
    int32_t *zero = block(channels * sizeof *zero);
    unsigned char *y = block(n), *y_ref = block(n);
    for (size_t c = 0; c < channels; c++) {
        scale[c] = c % 5 == 4 ? 1.0f : 0.05f + (float)(rnd() % 1000) / 1000;
        zero[c] = low + (int)(rnd() % 256);
    }
    clq_array_params p = {dtype, outer, channels, inner, scale, channels % 2 ? zero : NULL};
    OK(ref, clq_quantize_array(ref, y_ref, x, &p));
    for (size_t i = 0; i < n; i++) {
        const size_t c = i / inner % channels;
        const int z = p.zero_point ? zero[c] : 0;
        double q = isnan(x[i]) ? 0 : nearbyint((double)(x[i] / scale[c]));
        q = q < low - z ? low - z : q > low + 255 - z ? low + 255 - z : q;
        assert_int_equal(dtype == CLQ_DTYPE_S8 ? (int8_t)y_ref[i] : y_ref[i], (int)q + z);
    }
    OK(ref, clq_dequantize_array(ref, back_ref, y_ref, &p));
    for (size_t i = 0; i < n; i++) {
        const size_t c = i / inner % channels;
        const int code = dtype == CLQ_DTYPE_S8 ? (int8_t)y_ref[i] : y_ref[i];
        assert_true(back_ref[i] == (float)(code - (p.zero_point ? zero[c] : 0)) * scale[c]);
    }
    for (size_t t = 1; t < n_targets; t++) {
        if (inner < 1024 && channels > 1 && strstr(targets[t].name, "opencl")) continue; /* see test_device_cannot */
        memset(y, 0xaa, n);
        OK(targets[t].ctx, clq_quantize_array(targets[t].ctx, y, x, &p));
        same(y_ref, y, n, &targets[t], "quantize");
        memset(back, 0xaa, n * 4);
        OK(targets[t].ctx, clq_dequantize_array(targets[t].ctx, back, y_ref, &p));
        same(back_ref, back, n * 4, &targets[t], "dequantize");
    }
    free(x), free(scale), free(zero), free(y), free(y_ref), free(back), free(back_ref);
}

static void test_arrays(void **state)
{
    static const size_t shape[][3] = {{1, 1, 1}, {1, 1, 63}, {3, 1, 77}, {1, 1, 100003}, {2, 3, 5}, {1, 7, 1}, {500, 65, 1}, {11, 13, 500}, {3, 4, 16}, {2, 3, 20011}, {0, 3, 4}};
    (void)state;
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
        check_arrays(CLQ_DTYPE_U8, shape[i][0], shape[i][1], shape[i][2]);
        check_arrays(CLQ_DTYPE_S8, shape[i][0], shape[i][1], shape[i][2]);
    }
}

static void expect(clq_status st, clq_status wanted, const char *part)
{
    assert_int_equal(st, wanted);
    if (!strstr(clq_error_message(ref), part)) fail_msg("the message '%s' does not name '%s'", clq_error_message(ref), part);
    assert_null(strchr(clq_error_message(ref), '\n'));
}

static void test_array_errors(void **state)
{
    const clq_status bad = CLQ_ERR_INVALID_ARGUMENT;
    float x[8] = {0};
    uint8_t y[8];
    float s[2] = {1, 1};
    int32_t z[2] = {0, 256};
    clq_array_params p = {CLQ_DTYPE_U8, 1, 2, 4, s, z};
    (void)state;
    assert_int_equal(clq_quantize_array(NULL, y, x, &p), bad);
    expect(clq_quantize_array(ref, y, x, NULL), bad, "params");
    expect(clq_quantize_array(ref, y, x, &p), bad, "zero_point[1]: expected 0 to 255, got 256");
    p.dtype = CLQ_DTYPE_S8;
    z[1] = -129;
    expect(clq_dequantize_array(ref, x, y, &p), bad, "zero_point[1]: expected -128 to 127, got -129");
    z[1] = -128;
    OK(ref, clq_dequantize_array(ref, x, y, &p));
    expect(clq_quantize_array(ref, NULL, x, &p), bad, "codes");
    expect(clq_quantize_array(ref, y, NULL, &p), bad, "x");
    expect(clq_quantize_array(ref, x, x, &p), bad, "overlap");
    expect(clq_dequantize_array(ref, x, (char *)x + 31, &p), bad, "overlap");
    const float wrong[] = {0, -1, NAN, INFINITY, 1e-40f};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        s[1] = wrong[i];
        expect(clq_quantize_array(ref, y, x, &p), CLQ_ERR_NUMERIC, "scale[1]");
    }
    p.scale = NULL;
    expect(clq_quantize_array(ref, y, x, &p), bad, "scale is NULL");
    p.scale = s;
    p.dtype = CLQ_DTYPE_S16;
    expect(clq_quantize_array(ref, y, x, &p), bad, "int16");
    p.dtype = CLQ_DTYPE_U8;
    p.outer = SIZE_MAX / 2;
    expect(clq_quantize_array(ref, y, x, &p), bad, "do not fit");
    p.outer = SIZE_MAX / 8 / 8 + 1; /* 2^63 bytes: one more than PTRDIFF_MAX */
    expect(clq_quantize_array(ref, y, x, &p), bad, "do not fit");
    p.outer = 0;
    OK(ref, clq_quantize_array(ref, NULL, NULL, &p));
}

static void same_counts(const clq_histogram_info *e, const clq_histogram_info *a, const struct target *t)
{
    if (e->count != a->count || e->exponent != a->exponent || e->n_nan != a->n_nan || e->n_pos_inf != a->n_pos_inf || e->n_neg_inf != a->n_neg_inf)
        fail_msg("%s: %llu values below 2^%d, expected %llu below 2^%d", t->name, (unsigned long long)a->count, a->exponent, (unsigned long long)e->count, e->exponent);
    assert_true(e->min == a->min && e->max == a->max && e->bins == a->bins);
    same(e->positive, a->positive, e->bins * 8, t, "positive counts");
    same(e->negative, a->negative, e->bins * 8, t, "negative counts");
}

/* Batches of growing, shrinking and equal magnitude, cut at random. */
static void test_histogram_splits(void **state)
{
    const size_t n = 300007;
    float *x = make_reals(n);
    clq_histogram *whole, *parts, *other;
    clq_histogram_info e, a;
    (void)state;
    for (size_t i = 0; i < n; i++)
        if (fabsf(x[i]) > 1e30f && isfinite(x[i])) x[i] = 1;
    for (size_t i = n / 3; i < n; i++) x[i] *= i < n / 2 ? 1e-3f : 37;
    OK(ref, clq_histogram_create(&whole, ref));
    OK(ref, clq_histogram_add(ref, whole, x, n));
    OK(ref, clq_histogram_read(&e, ref, whole));
    uint64_t bins = 0, bad = 0;
    for (size_t i = 0; i < e.bins; i++) bins += e.positive[i] + e.negative[i];
    for (size_t i = 0; i < n; i++) bad += !isfinite(x[i]);
    assert_int_equal(bins, e.count);
    assert_int_equal(e.count + bad, n);
    assert_int_equal(e.n_nan + e.n_pos_inf + e.n_neg_inf, bad);
    assert_true(ldexp(1, e.exponent - 1) <= fmax((double)e.max, -(double)e.min) && ldexp(1, e.exponent) > fmax((double)e.max, -(double)e.min));
    for (size_t t = 0; t < n_targets; t++)
        for (int way = 0; way < 3; way++) {
            clq_context *ctx = targets[t].ctx;
            OK(ctx, clq_histogram_create(&parts, ctx));
            OK(ctx, clq_histogram_create(&other, ctx));
            for (size_t at = 0, m; at < n; at += m) {
                m = way == 0 ? n : 1 + rnd() % (way == 1 ? 100000 : 200000);
                if (m > n - at) m = n - at;
                OK(ctx, clq_histogram_add(ctx, way == 2 && rnd() % 2 ? other : parts, x + at, m));
            }
            OK(ctx, clq_histogram_merge(ctx, parts, other));
            OK(ctx, clq_histogram_read(&a, ctx, parts));
            same_counts(&e, &a, &targets[t]);
            clq_histogram_free(parts);
            clq_histogram_free(other);
        }
    clq_histogram_free(whole);
    free(x);
}

static void test_histogram_merge(void **state)
{
    const float small[] = {1e-12f, -3e-12f, 0}, large[] = {1e20f, -5, NAN};
    clq_histogram *a, *b, *both;
    clq_histogram_info x, y;
    (void)state;
    OK(ref, clq_histogram_create(&a, ref));
    OK(ref, clq_histogram_create(&b, ref));
    OK(ref, clq_histogram_create(&both, ref));
    OK(ref, clq_histogram_read(&x, ref, a));
    assert_true(x.count == 0 && x.min == 0 && x.max == 0 && x.bins == 1024);
    OK(ref, clq_histogram_add(ref, a, small, 3));
    OK(ref, clq_histogram_add(ref, b, large, 3));
    OK(ref, clq_histogram_add(ref, both, small, 3));
    OK(ref, clq_histogram_add(ref, both, large, 3));
    OK(ref, clq_histogram_merge(ref, b, a)); /* the finer one into the coarser one: all of it falls into bin 0 */
    OK(ref, clq_histogram_read(&x, ref, both));
    OK(ref, clq_histogram_read(&y, ref, b));
    same_counts(&x, &y, &targets[0]);
    assert_true(y.count == 5 && y.n_nan == 1 && y.positive[0] == 2 && y.negative[0] == 2);
    expect(clq_histogram_merge(ref, b, b), CLQ_ERR_INVALID_ARGUMENT, "from is into");
    expect(clq_histogram_merge(ref, b, NULL), CLQ_ERR_INVALID_ARGUMENT, "from is NULL");
    expect(clq_histogram_add(ref, b, NULL, 1), CLQ_ERR_INVALID_ARGUMENT, "x is NULL");
    expect(clq_histogram_add(ref, b, small, SIZE_MAX / 2), CLQ_ERR_INVALID_ARGUMENT, "do not fit");
    OK(ref, clq_histogram_add(ref, b, NULL, 0));
    expect(clq_histogram_read(NULL, ref, b), CLQ_ERR_INVALID_ARGUMENT, "out");
    expect(clq_histogram_create(NULL, ref), CLQ_ERR_INVALID_ARGUMENT, "out");
    clq_histogram_free(a);
    clq_histogram_free(b);
    clq_histogram_free(both);
    clq_histogram_free(NULL);
}

static clq_range_result search(const clq_histogram *h, clq_range_options o)
{
    clq_range_result r;
    OK(ref, clq_range_search(&r, ref, h, &o));
    assert_true(r.lo <= 0 && r.hi >= 0 && isnormal(r.scale) && r.scale > 0);
    return r;
}

static void test_ranges(void **state)
{
    const size_t n = 100000;
    float *x = block(n * sizeof *x);
    clq_histogram *h, *zeros;
    (void)state;
    for (size_t i = 0; i < n; i++) x[i] = rnd_float() + rnd_float() + 0.5f;
    x[7] = 40;
    x[8] = -2;
    OK(ref, clq_histogram_create(&h, ref));
    OK(ref, clq_histogram_add(ref, h, x, n));
    clq_range_result u = search(h, (clq_range_options){.dtype = CLQ_DTYPE_U8});
    assert_true(u.lo == -2 && u.hi == 40 && u.scale == (float)(42.0 / 255) && u.zero_point == 12 && u.clipped == 0);
    clq_range_result s = search(h, (clq_range_options){.dtype = CLQ_DTYPE_S8});
    assert_true(s.scale == u.scale && s.zero_point == 12 - 128 && s.mean_squared_error == u.mean_squared_error);
    s = search(h, (clq_range_options){.dtype = CLQ_DTYPE_S8, .symmetric = true});
    assert_true(s.scale == (float)(40.0 / 127) && s.zero_point == 0);
    s = search(h, (clq_range_options){.dtype = CLQ_DTYPE_U8, .symmetric = true});
    assert_true(s.zero_point == 128);
    s = search(h, (clq_range_options){.dtype = CLQ_DTYPE_U8, .lo = 0, .hi = 2});
    assert_true(s.lo == 0 && s.hi == 2 && s.zero_point == 0 && s.clipped > 0.1 && s.clipped < 0.5);
    /* One value of 40 among 100,000 below 2.5: cutting it off costs more squared error than it saves, so only the search for
     * the least error has less than the full range, and it has the least of all. */
    double least = u.mean_squared_error;
    for (int m = CLQ_RANGE_PERCENTILE; m <= CLQ_RANGE_MSE; m++) {
        s = search(h, (clq_range_options){.method = (clq_range_method)m, .dtype = CLQ_DTYPE_U8});
        assert_true(s.hi < 40 && s.hi > 2 && s.lo < -1 && s.clipped > 0);
        if (m == CLQ_RANGE_PERCENTILE) assert_true(s.hi < 2.6f && s.clipped <= 1.1e-4);
        if (m == CLQ_RANGE_MSE) assert_true(s.mean_squared_error < least);
        else least = s.mean_squared_error < least ? s.mean_squared_error : least;
    }
    OK(ref, clq_histogram_create(&zeros, ref));
    for (int pass = 0; pass < 2; pass++) { /* nothing, then nothing but zeros */
        s = search(zeros, (clq_range_options){.dtype = CLQ_DTYPE_S8});
        assert_true(s.scale == 1 && s.zero_point == 0);
        s = search(zeros, (clq_range_options){.dtype = CLQ_DTYPE_U8, .method = CLQ_RANGE_ENTROPY});
        assert_true(s.scale == 1 && s.zero_point == 0);
        OK(ref, clq_histogram_add(ref, zeros, (const float[4]){0, -0.0f, 1e-42f, 0}, 4));
    }
    clq_range_result r;
    clq_range_options o = {.dtype = CLQ_DTYPE_F32};
    expect(clq_range_search(&r, ref, h, &o), CLQ_ERR_INVALID_ARGUMENT, "float32");
    o = (clq_range_options){.dtype = CLQ_DTYPE_U8, .method = (clq_range_method)4};
    expect(clq_range_search(&r, ref, h, &o), CLQ_ERR_INVALID_ARGUMENT, "got 4");
    o = (clq_range_options){.dtype = CLQ_DTYPE_U8, .lo = 1, .hi = NAN};
    expect(clq_range_search(&r, ref, h, &o), CLQ_ERR_INVALID_ARGUMENT, "lo <= hi");
    expect(clq_range_search(&r, ref, NULL, &o), CLQ_ERR_INVALID_ARGUMENT, "histogram");
    expect(clq_range_search(&r, ref, h, NULL), CLQ_ERR_INVALID_ARGUMENT, "options");
    x[3] = NAN;
    OK(ref, clq_histogram_add(ref, h, x, 9));
    o = (clq_range_options){.dtype = CLQ_DTYPE_U8};
    expect(clq_range_search(&r, ref, h, &o), CLQ_ERR_NUMERIC, "1 NaN");
    o.skip_non_finite = true;
    OK(ref, clq_range_search(&r, ref, h, &o));
    clq_histogram_free(h);
    clq_histogram_free(zeros);
    free(x);
}

static void check_weights(size_t outer, size_t channels, size_t inner, bool clip)
{
    const size_t n = outer * channels * inner;
    float *w = block(n * sizeof *w), *scale = block(channels * 4), *scale_ref = block(channels * 4);
    int8_t *q = block(n), *q_ref = block(n);
    for (size_t i = 0; i < n; i++) w[i] = i / inner % channels == 1 ? 0 : rnd_float() * (rnd() % 50 == 0 ? 9 : 1);
    clq_weights_desc d = {w, outer, channels, inner, clip};
    OK(ref, clq_quantize_weights(ref, q_ref, scale_ref, &d));
    for (size_t c = 0; c < channels; c++) {
        float most = 0;
        for (size_t i = 0; i < n; i++)
            if (i / inner % channels == c && fabsf(w[i]) > most) most = fabsf(w[i]);
        const float full = most > 0 ? (float)((double)most / 127) : 1;
        assert_true(clip ? scale_ref[c] <= full && scale_ref[c] > full / 2 : scale_ref[c] == full);
    }
    for (size_t i = 0; i < n; i++) {
        float code = rintf(w[i] / scale_ref[i / inner % channels]);
        assert_int_equal(q_ref[i], code < -127 ? -127 : code > 127 ? 127 : (int)code);
    }
    for (size_t t = 1; t < n_targets; t++) {
        OK(targets[t].ctx, clq_quantize_weights(targets[t].ctx, q, scale, &d));
        same(q_ref, q, n, &targets[t], "weights");
        same(scale_ref, scale, channels * 4, &targets[t], "scales");
    }
    free(w), free(scale), free(scale_ref), free(q), free(q_ref);
}

static void test_weights(void **state)
{
    float w[4] = {1, 2, INFINITY, 4}, s[2], m[2], sw[2] = {0.5f, 3};
    int8_t q[4];
    int32_t b[2];
    (void)state;
    for (int clip = 0; clip < 2; clip++) {
        check_weights(1, 5, 33, clip);
        check_weights(1, 64, 577, clip);
        check_weights(9, 3, 4, clip);
    }
    clq_weights_desc d = {w, 1, 2, 2, false};
    expect(clq_quantize_weights(ref, q, s, &d), CLQ_ERR_NUMERIC, "weight[2]");
    expect(clq_quantize_weights(ref, NULL, s, &d), CLQ_ERR_INVALID_ARGUMENT, "codes");
    expect(clq_quantize_weights(ref, q, NULL, &d), CLQ_ERR_INVALID_ARGUMENT, "scale");
    expect(clq_quantize_weights(ref, q, s, NULL), CLQ_ERR_INVALID_ARGUMENT, "weights");
    expect(clq_quantize_weights(ref, (int8_t *)w, s, &d), CLQ_ERR_INVALID_ARGUMENT, "overlap");
    d.inner = SIZE_MAX / 2;
    expect(clq_quantize_weights(ref, q, s, &d), CLQ_ERR_INVALID_ARGUMENT, "do not fit");
    OK(ref, clq_multipliers(ref, m, 2, 0.1f, sw, 0.7f));
    assert_true(m[1] == (float)((double)0.1f * 3 / (double)0.7f));
    expect(clq_multipliers(ref, m, 2, 1e-30f, sw, 1e20f), CLQ_ERR_NUMERIC, "multiplier 0");
    expect(clq_multipliers(ref, m, 2, -1, sw, 1), CLQ_ERR_NUMERIC, "scale_a");
    expect(clq_multipliers(ref, NULL, 2, 1, sw, 1), CLQ_ERR_INVALID_ARGUMENT, "multiplier");
    OK(ref, clq_bias_codes(ref, b, (const float[2]){0.25f, -1e9f}, 2, 1, sw));
    assert_true(b[0] == 0 && b[1] == -333333333);
    expect(clq_bias_codes(ref, b, (const float[2]){0, 1e10f}, 2, 1, sw), CLQ_ERR_NUMERIC, "bias[1]");
    expect(clq_bias_codes(ref, b, (const float[2]){NAN, 0}, 2, 1, sw), CLQ_ERR_NUMERIC, "bias[0]");
    expect(clq_bias_codes(ref, b, NULL, 2, 1, sw), CLQ_ERR_INVALID_ARGUMENT, "bias");
}

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

struct gemm_case {
    size_t m, n, k, lda, ldy;
    clq_dtype input, output;
    bool bias, limits;
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
    memset(y_ref, 0x5c, y_bytes);
    for (size_t i = 0; i < c.m; i++)
        for (size_t j = 0; j < c.n; j++) {
            int64_t v = c.bias ? bias[j] : 0;
            for (size_t k = 0; k < c.k; k++) v += ((s8 ? (int8_t)a[i * c.lda + k] : a[i * c.lda + k]) - d.input_zero_point) * (int64_t)w[j * c.k + k];
            plain_store(y_ref, i * c.ldy + j, &d.output, j, v);
        }
    for (size_t t = 0; t < n_targets; t++) {
        clq_gemm *g;
        clq_context *ctx = targets[t].ctx;
        clq_product_info info;
        clq_gemm_desc copy = d;
        int8_t *w_copy = block(c.n * c.k); /* the handle keeps nothing of the caller's */
        memcpy(w_copy, w, c.n * c.k);
        copy.weight = w_copy;
        OK(ctx, clq_gemm_prepare(&g, ctx, &copy));
        memset(w_copy, 0, c.n * c.k);
        free(w_copy);
        clq_gemm_describe(&info, g);
        assert_int_equal(info.on_device, strstr(targets[t].name, "opencl") != NULL);
        for (int turn = 0; turn < 2; turn++) { /* other sizes in between must leave nothing behind */
            memset(y, 0x5c, y_bytes + 8);
            OK(ctx, clq_gemm_run(g, a, c.lda, c.m, y, c.ldy));
            same(y_ref, y, y_bytes, &targets[t], "gemm");
            for (int i = 0; i < 8; i++) assert_int_equal(y[y_bytes + (size_t)i], 0x5c);
            OK(ctx, clq_gemm_run(g, a, c.lda, 1, y, c.ldy));
            OK(ctx, clq_gemm_run(g, NULL, 0, 0, NULL, 0));
        }
        clq_gemm_free(g);
    }
    free(a), free(y), free(y_ref), free(w), free(bias), free(mult);
}

static void test_gemm(void **state)
{
    static const clq_dtype in[] = {CLQ_DTYPE_U8, CLQ_DTYPE_S8}, out[] = {CLQ_DTYPE_U8, CLQ_DTYPE_S8, CLQ_DTYPE_F32, CLQ_DTYPE_S32};
    (void)state;
    for (size_t i = 0; i < 32; i++)
        check_gemm((struct gemm_case){1 + rnd() % 40, 1 + rnd() % 150, 1 + rnd() % 200, 200 + rnd() % 9, 150 + rnd() % 3, in[i % 2], out[i / 2 % 4], i % 3 != 0, i % 5 == 0});
    check_gemm((struct gemm_case){300, 130, 257, 257, 130, CLQ_DTYPE_U8, CLQ_DTYPE_U8, true, true});
    check_gemm((struct gemm_case){90, 300, 128, 128, 300, CLQ_DTYPE_S8, CLQ_DTYPE_F32, true, false});
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
    plain_conv(&d, oh, ow, x, batch, y_ref);
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
        OK(ctx, clq_conv_run(c, x, 1, y));
        memset(y, 0x5c, y_bytes);
        OK(ctx, clq_conv_run(c, x, batch, y));
        same(y_ref, y, y_bytes, &targets[t], "conv");
        OK(ctx, clq_conv_run(c, NULL, 0, NULL));
        clq_conv_free(c);
    }
    free(x), free(y), free(y_ref), free(w), free(m), free(bias);
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
    assert_int_equal(clq_context_create(&ctx, &(clq_context_options){.device = "opencl"}), CLQ_OK);
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
        cmocka_unit_test(test_arrays),     cmocka_unit_test(test_array_errors), cmocka_unit_test(test_histogram_splits), cmocka_unit_test(test_histogram_merge),
        cmocka_unit_test(test_ranges),     cmocka_unit_test(test_weights),      cmocka_unit_test(test_gemm),             cmocka_unit_test(test_gemm_limits),
        cmocka_unit_test(test_gemm_errors), cmocka_unit_test(test_conv),        cmocka_unit_test(test_conv_errors),      cmocka_unit_test(test_variants),
        cmocka_unit_test(test_device_cannot),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
