/* SPDX-License-Identifier: Apache-2.0
 * Products with 4-bit weights on plain arrays, through the public headers: every target against the reference on one thread,
 * the reference against loops in binary64, the quantizers against plain loops, and wrong arguments. */
#include "buffers_targets.h"

struct shape {
    size_t m, n, k, group;
};

struct data {
    float *weight, *bias, *x;
    uint8_t *codes, *zero;
    void *scale;
    size_t groups;
};

static float scale_of(const struct data *d, clq_dtype dtype, size_t i)
{
    uint16_t h;
    if (dtype == CLQ_DTYPE_F32) return ((const float *)d->scale)[i];
    memcpy(&h, (const char *)d->scale + 2 * i, 2);
    const int exponent = h >> 10 & 31;
    return exponent ? ldexpf((float)(1024 + (h & 1023)), exponent - 25) : ldexpf((float)(h & 1023), -24);
}

static struct data make(const struct shape *s, clq_dtype dtype, bool points)
{
    struct data d = {.groups = clq_int4_groups(s->k, s->group)};
    d.weight = block(s->n * s->k * 4);
    d.bias = block(s->n * 4);
    d.x = block(s->m * s->k * 4);
    d.codes = block(s->n * ((s->k + 1) / 2));
    d.zero = points ? block(s->n * d.groups) : NULL;
    d.scale = block(s->n * d.groups * 4);
    for (size_t i = 0; i < s->n * s->k; i++) d.weight[i] = rnd_float() + (points ? 0.4f : 0);
    for (size_t i = 0; i < s->n; i++) d.bias[i] = rnd_float();
    for (size_t i = 0; i < s->m * s->k; i++) d.x[i] = 3 * rnd_float();
    clq_int4_weights w = {d.weight, s->n, s->k, s->group, dtype};
    OK(ref, clq_quantize_int4(ref, d.codes, d.scale, d.zero, &w));
    return d;
}

static void drop(struct data *d)
{
    free(d->weight), free(d->bias), free(d->x), free(d->codes), free(d->zero), free(d->scale);
}

static int code_at(const struct data *d, const struct shape *s, size_t n, size_t k)
{
    return d->codes[n * ((s->k + 1) / 2) + k / 2] >> (k % 2 * 4) & 15;
}

/* Scales and codes follow their rule; every weight is within half a step, and one more where the zero point was rounded. */
static void check_weights(const struct data *d, const struct shape *s, clq_dtype dtype)
{
    const size_t group = s->group ? s->group : s->k;
    for (size_t n = 0; n < s->n; n++) {
        for (size_t k = 0; k < s->k; k++) {
            const size_t i = n * d->groups + k / group;
            const float scale = scale_of(d, dtype, i), w = d->weight[n * s->k + k];
            const int z = d->zero ? d->zero[i] : 8, lo = d->zero ? 0 : 1;
            const double q = nearbyint((double)(w / scale)) + z;
            assert_int_equal(code_at(d, s, n, k), (int)(q < lo ? lo : q > 15 ? 15 : q));
            assert_true(fabs((double)w - (double)scale * (code_at(d, s, n, k) - z)) <= (d->zero ? 1.01 : 0.51) * (double)scale);
        }
    }
}

/* grouped: scale_a has a scale per group of a row. */
static void check_reference(const struct data *d, const struct shape *s, clq_dtype dtype, const int8_t *a, const float *scale_a, bool grouped, const float *y)
{
    const size_t group = s->group ? s->group : s->k;
    for (size_t m = 0; m < s->m; m++) {
        for (size_t n = 0; n < s->n; n++) {
            double sum = 0, size = 0;
            for (size_t k = 0; k < s->k; k++) {
                const size_t i = n * d->groups + k / group;
                const double sized = (double)a[m * s->k + k] * (double)scale_a[grouped ? m * d->groups + k / group : m];
                const double v = sized * (code_at(d, s, n, k) - (d->zero ? d->zero[i] : 8)) * (double)scale_of(d, dtype, i);
                sum += v;
                size += fabs(v);
            }
            sum += (double)d->bias[n];
            const double bound = (double)(d->groups + 8) * 0x1p-24 * (size + fabs((double)d->bias[n]));
            assert_true(fabs(sum - (double)y[m * s->n + n]) <= bound);
        }
    }
}

/* What rounds: every element to half a unit, the sums of pieces, and their sum. */
static void check_float(const struct data *d, const struct shape *s, clq_dtype dtype, const float *y)
{
    const size_t group = s->group ? s->group : s->k;
    for (size_t m = 0; m < s->m; m++) {
        float most = 0;
        for (size_t k = 0; k < s->k; k++) most = fmaxf(most, fabsf(d->x[m * s->k + k]));
        for (size_t n = 0; n < s->n; n++) {
            double sum = 0, size = 0;
            for (size_t k = 0; k < s->k; k++) {
                const size_t i = n * d->groups + k / group;
                const double w = (code_at(d, s, n, k) - (d->zero ? d->zero[i] : 8)) * (double)scale_of(d, dtype, i);
                sum += (double)d->x[m * s->k + k] * w;
                size += fabs(w) * (double)most;
            }
            sum += (double)d->bias[n];
            const double bound = 0x1p-22 * size + (double)(s->k / 256 + d->groups + 8) * 0x1p-24 * (size + fabs((double)d->bias[n]));
            assert_true(fabs(sum - (double)y[m * s->n + n]) <= bound);
        }
    }
}

/* Rows of floats that binary16 holds give the same bits in both types. */
static void run_floats(const struct data *d, const struct shape *s, clq_int4 *p, size_t t, bool halves, float *y_ref, float *y)
{
    float *out = t == 0 ? y_ref : y;
    memset(y, 0xaa, s->m * s->n * 4);
    OK(targets[t].ctx, clq_int4_run_float(p, d->x, CLQ_DTYPE_F32, s->k, s->m, out, s->n));
    same(y_ref, out, s->m * s->n * 4, &targets[t], "a product of floats");
    if (!halves) return;
    float *rounded = block(s->m * s->k * 4);
    uint16_t *half = block(s->m * s->k * 2);
    for (size_t i = 0; i < s->m * s->k; i++) {
        half[i] = (uint16_t)(rnd() % 0x7000u + (rnd() % 2 << 15));
        const float v = half[i] >> 10 & 31 ? ldexpf((float)(1024 + (half[i] & 1023)), (half[i] >> 10 & 31) - 25) : ldexpf((float)(half[i] & 1023), -24);
        rounded[i] = half[i] >> 15 ? -v : v;
    }
    float *other = block(s->m * s->n * 4);
    OK(targets[t].ctx, clq_int4_run_float(p, rounded, CLQ_DTYPE_F32, s->k, s->m, y, s->n));
    OK(targets[t].ctx, clq_int4_run_float(p, half, CLQ_DTYPE_F16, s->k, s->m, other, s->n));
    same(y, other, s->m * s->n * 4, &targets[t], "a product of float16");
    free(other), free(half), free(rounded);
}

/* Codes and scales of a group are those of a row that is the group alone. */
static void check_row_groups(const struct data *d, const struct shape *s, const int8_t *a, const float *scale_a)
{
    const size_t group = s->group ? s->group : s->k;
    int8_t *codes = block(group);
    for (size_t i = 0; i < s->m * d->groups; i++) {
        const size_t at = i / d->groups * s->k + i % d->groups * group, left = s->k - i % d->groups * group, n = left < group ? left : group;
        float scale;
        OK(ref, clq_quantize_rows(ref, codes, &scale, d->x + at, n, 1, n));
        assert_memory_equal(codes, a + at, n);
        assert_memory_equal(&scale, &scale_a[i], sizeof scale);
    }
    free(codes);
}

static void check_grouped(struct shape s, clq_dtype dtype, bool points)
{
    struct data d = make(&s, dtype, points);
    int8_t *a = block(s.m * s.k);
    float *scale_a = block(s.m * d.groups * 4), *y_ref = block(s.m * s.n * 4), *y = block(s.m * s.n * 4);
    check_weights(&d, &s, dtype);
    for (size_t t = 0; t < n_targets; t++) {
        clq_context *ctx = targets[t].ctx;
        clq_int4_desc desc = {s.n, s.k, s.group, d.codes, d.scale, dtype, d.zero, d.bias};
        clq_int4 *p = NULL;
        if (strstr(targets[t].name, "opencl") && s.group % 8 != 0 && s.group < s.k) continue; /* refused */
        memset(a, 0x55, s.m * s.k);
        OK(ctx, clq_quantize_row_groups(ctx, a, scale_a, d.x, s.k, s.m, s.k, s.group));
        check_row_groups(&d, &s, a, scale_a);
        OK(ctx, clq_int4_prepare(&p, ctx, &desc));
        OK(ctx, clq_int4_run_grouped(p, a, scale_a, s.k, s.m, t == 0 ? y_ref : y, s.n));
        same(y_ref, t == 0 ? y_ref : y, s.m * s.n * 4, &targets[t], "a product of rows in groups");
        clq_int4_free(p);
    }
    check_reference(&d, &s, dtype, a, scale_a, true, y_ref);
    free(a), free(scale_a), free(y_ref), free(y);
    drop(&d);
}

static void test_grouped(void **state)
{
    static const struct shape shapes[] = {{1, 130, 96, 32}, {9, 64, 1256, 64}, {40, 33, 1100, 128}, {17, 20, 300, 0}, {2, 9, 77, 12}};
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) check_grouped(shapes[i], i % 2 ? CLQ_DTYPE_F16 : CLQ_DTYPE_F32, i % 3 > 0);
}

static void check_product(struct shape s, clq_dtype dtype, bool points)
{
    struct data d = make(&s, dtype, points);
    int8_t *a = block(s.m * s.k);
    float *scale_a = block(s.m * 4), *y_ref = block(s.m * s.n * 4), *y_float = block(s.m * s.n * 4), *y = block(s.m * s.n * 4);
    check_weights(&d, &s, dtype);
    OK(ref, clq_quantize_rows(ref, a, scale_a, d.x, s.k, s.m, s.k));
    for (size_t t = 0; t < n_targets; t++) {
        clq_context *ctx = targets[t].ctx;
        clq_int4_desc desc = {s.n, s.k, s.group, d.codes, d.scale, dtype, d.zero, d.bias};
        clq_int4 *p = NULL;
        if (strstr(targets[t].name, "opencl") && s.group % 8 != 0 && s.group < s.k) { /* the device is required */
            assert_int_equal(clq_int4_prepare(&p, ctx, &desc), CLQ_ERR_UNSUPPORTED);
            continue;
        }
        OK(ctx, clq_int4_prepare(&p, ctx, &desc));
        float *out = t == 0 ? y_ref : y;
        for (int real = 0; real < 2; real++) {
            memset(y, 0xaa, s.m * s.n * 4);
            if (real) OK(ctx, clq_int4_run_real(p, d.x, s.k, s.m, y, s.n));
            else OK(ctx, clq_int4_run(p, a, scale_a, s.k, s.m, out, s.n));
            same(y_ref, real ? y : out, s.m * s.n * 4, &targets[t], real ? "a real product" : "a product");
        }
        run_floats(&d, &s, p, t, dtype == CLQ_DTYPE_F32 && !points && s.m < 50, y_float, y);
        clq_int4_info info;
        clq_int4_describe(&info, p);
        assert_true(info.bytes >= s.n * (s.k / 2));
        if (s.group % 8 != 0 && s.group < s.k) assert_string_equal(info.kernel, "ref");
        clq_int4_free(p);
    }
    check_reference(&d, &s, dtype, a, scale_a, false, y_ref);
    check_float(&d, &s, dtype, y_float);
    free(a), free(scale_a), free(y_ref), free(y_float), free(y);
    drop(&d);
}

static void test_products(void **state)
{
    static const struct shape shapes[] = {
        {1, 1, 1, 0},     {1, 130, 96, 32},   {8, 65, 200, 16},  {9, 64, 256, 64},    {40, 33, 1100, 128}, {3, 70, 2050, 256},
        {17, 20, 300, 0}, {600, 70, 64, 32},  {2, 9, 77, 12},    {5, 300, 512, 32},   {1, 2000, 640, 32},
        {100, 200, THREAD_SANITIZER ? 77 : 777, 0}, /* two thirds of all work */
    };
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        for (int way = 0; way < 4; way += THREAD_SANITIZER ? 3 : 1) check_product(shapes[i], way % 2 ? CLQ_DTYPE_F16 : CLQ_DTYPE_F32, way / 2);
    }
}

static void test_rows(void **state)
{
    float x[4][5] = {{0, 0, -0.0f, 0, 0}, {1, -127, 63.5f, NAN, 0.5f}, {INFINITY, -2, 1, 0, -INFINITY}, {1e-45f, 1e-39f, 0, 0, 0}};
    static const int8_t expected[4][4] = {{0, 0, 0, 0}, {1, -127, 64, 0}, {127, -127, 64, 0}, {0, 0, 0, 0}};
    static const float scales[4] = {1, 1, 2.0f / 127, 1};
    int8_t codes[4][4];
    float scale[4];
    (void)state;
    for (size_t t = 0; t < n_targets; t++) {
        memset(codes, 0x55, sizeof codes);
        OK(targets[t].ctx, clq_quantize_rows(targets[t].ctx, codes[0], scale, x[0], 5, 4, 4));
        same(expected, codes, sizeof codes, &targets[t], "rows");
        same(scales, scale, sizeof scale, &targets[t], "scales of rows");
    }
}

static void test_weights(void **state)
{
    const float zeros[3] = {0, -0.0f, 0}, big[2] = {1e6f, 0}, tiny[2] = {1e-9f, -1e-9f}, bad[2] = {0, NAN};
    uint8_t codes[2] = {0xaa, 0xaa}, zero = 0xaa;
    float scale;
    uint16_t half;
    (void)state;
    OK(ref, clq_quantize_int4(ref, codes, &scale, NULL, &(clq_int4_weights){zeros, 1, 3, 0, CLQ_DTYPE_F32}));
    assert_true(scale == 1 && codes[0] == 0x88 && codes[1] == 8);
    OK(ref, clq_quantize_int4(ref, codes, &scale, &zero, &(clq_int4_weights){zeros, 1, 3, 0, CLQ_DTYPE_F32}));
    assert_true(scale == 1 && codes[0] == 0 && zero == 0);
    OK(ref, clq_quantize_int4(ref, codes, &half, NULL, &(clq_int4_weights){tiny, 1, 2, 0, CLQ_DTYPE_F16}));
    assert_true(half == 1 && codes[0] == 0x88);
    expect(clq_quantize_int4(ref, codes, &half, NULL, &(clq_int4_weights){big, 1, 2, 0, CLQ_DTYPE_F16}), CLQ_ERR_NUMERIC, "float16");
    expect(clq_quantize_int4(ref, codes, &scale, NULL, &(clq_int4_weights){bad, 1, 2, 0, CLQ_DTYPE_F32}), CLQ_ERR_NUMERIC, "weight[1]");
    expect(clq_quantize_int4(ref, codes, &scale, NULL, &(clq_int4_weights){zeros, 1, 3, 0, CLQ_DTYPE_U8}), CLQ_ERR_INVALID_ARGUMENT, "scale_dtype");
    expect(clq_quantize_int4(ref, codes, &scale, NULL, &(clq_int4_weights){zeros, 0, 3, 0, CLQ_DTYPE_F32}), CLQ_ERR_INVALID_ARGUMENT, "empty");
}

static void test_wrong_arguments(void **state)
{
    const uint8_t codes[4] = {0}, points[4] = {0, 16, 0, 0};
    float scale[4] = {1, 1, 1, INFINITY}, y[8], x[8] = {0};
    clq_int4_desc d = {2, 4, 2, codes, scale, CLQ_DTYPE_F32, NULL, NULL}, wrong;
    clq_int4 *p = NULL;
    (void)state;
    expect(clq_int4_prepare(&p, ref, &d), CLQ_ERR_NUMERIC, "scale[3]");
    scale[3] = 1;
    wrong = d, wrong.zero_point = points;
    expect(clq_int4_prepare(&p, ref, &wrong), CLQ_ERR_INVALID_ARGUMENT, "zero_point[1]");
    wrong = d, wrong.n = 0;
    expect(clq_int4_prepare(&p, ref, &wrong), CLQ_ERR_INVALID_ARGUMENT, "n and k");
    wrong = d, wrong.k = 1118482, wrong.group = 0;
    expect(clq_int4_prepare(&p, ref, &wrong), CLQ_ERR_UNSUPPORTED, "1118481");
    wrong = d, wrong.codes = NULL;
    expect(clq_int4_prepare(&p, ref, &wrong), CLQ_ERR_INVALID_ARGUMENT, "codes is NULL");
    expect(clq_int4_prepare(&p, ref, NULL), CLQ_ERR_INVALID_ARGUMENT, "desc");
    OK(ref, clq_int4_prepare(&p, ref, &d));
    expect(clq_int4_run_real(p, x, 3, 1, y, 2), CLQ_ERR_INVALID_ARGUMENT, "k = 4");
    expect(clq_int4_run_real(p, x, 4, 1, y, 1), CLQ_ERR_INVALID_ARGUMENT, "ldy");
    expect(clq_int4_run_real(p, y, 4, 2, y, 2), CLQ_ERR_INVALID_ARGUMENT, "overlap");
    expect(clq_int4_run_float(p, x, CLQ_DTYPE_F32, 3, 1, y, 2), CLQ_ERR_INVALID_ARGUMENT, "k = 4");
    expect(clq_int4_run_float(p, x, CLQ_DTYPE_S8, 4, 1, y, 2), CLQ_ERR_INVALID_ARGUMENT, "int8");
    expect(clq_int4_run_float(p, NULL, CLQ_DTYPE_F16, 4, 1, y, 2), CLQ_ERR_INVALID_ARGUMENT, "NULL");
    expect(clq_int4_run(p, (const int8_t *)x, NULL, 4, 1, y, 2), CLQ_ERR_INVALID_ARGUMENT, "scale_a");
    expect(clq_int4_run_grouped(p, (const int8_t *)x, NULL, 4, 1, y, 2), CLQ_ERR_INVALID_ARGUMENT, "clq_int4_run_grouped: scale_a");
    expect(clq_quantize_row_groups(ref, (int8_t *)y, scale, x, 3, 1, 4, 2), CLQ_ERR_INVALID_ARGUMENT, "clq_quantize_row_groups: ldx");
    OK(ref, clq_int4_run_real(p, NULL, 0, 0, NULL, 0));
    clq_int4_free(p);
    clq_int4_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_grouped),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_wrong_arguments),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
