/* SPDX-License-Identifier: Apache-2.0
 * Quantize, dequantize, histograms, ranges and weights on plain arrays, through the public headers: every target against the
 * reference on one thread, and the reference against plain loops; splits of histograms; wrong arguments. */
#include "buffers_targets.h"

/* Ordinary values with ties, infinities, NaN, subnormals and zeros in between. */
static float *make_reals(size_t n)
{
    static const float odd[] = {0, -0.0f, 0.5f, -0.5f, 1.5f, 1e-40f, -1e-40f, 3e38f, -3e38f, INFINITY, -INFINITY, NAN, 127.5f, -128.5f};
    float *x = block(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = rnd() % 8 == 0 ? odd[rnd() % (sizeof odd / sizeof *odd)] : 100 * rnd_float();
    return x;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arrays),          cmocka_unit_test(test_array_errors), cmocka_unit_test(test_histogram_splits),
        cmocka_unit_test(test_histogram_merge), cmocka_unit_test(test_ranges),       cmocka_unit_test(test_weights),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
