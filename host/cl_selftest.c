/* SPDX-License-Identifier: Apache-2.0
 * Exact self-tests of the kernels without weights against the reference kernels. Drivers exist that drop assembly,
 * contract products or round as they like, all without an error: only equal bits admit a kernel. */
#include "cl_selftest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

uint32_t clq_cl_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

void clq_cl_random_bytes(void *out, size_t n, uint64_t seed)
{
    static const unsigned char extremes[4] = {0, 255, 127, 128};
    unsigned char *p = out;
    for (size_t i = 0; i < n; i++) {
        const uint32_t r = clq_cl_random(&seed);
        p[i] = r >> 30 ? (unsigned char)r : extremes[r >> 8 & 3];
    }
}

clq_status clq_cl_trial_begin(struct clq_cl_trial *t, struct clq_cl *cl, const void *x, size_t x_bytes, const void *b,
                              size_t b_bytes, size_t y_bytes, struct clq_error *err)
{
    *t = (struct clq_cl_trial){.cl = cl};
    t->io = (struct clq_cl_io){.x = &t->x, .b = b ? &t->b : NULL, .y = &t->y};
    CLQ_TRY(clq_cl_alloc(&t->x, cl, x_bytes, err));
    CLQ_TRY(clq_cl_upload(cl, &t->x, x, x_bytes, err));
    if (b) {
        CLQ_TRY(clq_cl_alloc(&t->b, cl, b_bytes, err));
        CLQ_TRY(clq_cl_upload(cl, &t->b, b, b_bytes, err));
    }
    return clq_cl_alloc(&t->y, cl, y_bytes, err);
}

clq_status clq_cl_trial_end(struct clq_cl_trial *t, clq_status st, const void *expected, size_t bytes, const char *what,
                            struct clq_error *err)
{
    const unsigned char *want = expected;
    unsigned char *got = calloc(1, bytes ? bytes : 1);
    if (!got && st == CLQ_OK) st = clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "OpenCL self-test %s: out of memory", what);
    if (st == CLQ_OK) st = clq_cl_download(got, t->cl, &t->y, bytes, err);
    clq_cl_release(t->cl, &t->x);
    clq_cl_release(t->cl, &t->b);
    clq_cl_release(t->cl, &t->y);
    if (st == CLQ_OK && t->cl->dead) st = clq_cl_kill(t->cl, err, "%s", t->cl->reason);
    for (size_t i = 0; st == CLQ_OK && i < bytes; i++)
        if (got[i] != want[i])
            st = clq_fail(err, CLQ_ERR_NUMERIC, "self-test %s: byte %zu of %zu is %u, expected %u", what, i, bytes,
                          got[i], want[i]);
    free(got);
    return st;
}

/* Exact widening of a binary16. */
static float widen(unsigned half)
{
    const int exponent = (int)(half >> 10 & 31);
    const float m = (float)(half & 1023), sign = half & 0x8000 ? -1.0f : 1.0f;
    if (exponent == 31) return half & 1023 ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexpf(1024.0f + m, exponent - 25) : ldexpf(m, -24));
}

/* Half-way points of every code and their neighbors, then what numbers can be at worst, then all binary16 values. */
static size_t hard_floats(float *out, float scale)
{
    const float ends[] = {0.0f,      -0.0f,      INFINITY,  -INFINITY, NAN,     -NAN,
                          0x1p-149f, -0x1p-149f, 0x1p-126f, 3.4e38f,   -3.4e38f};
    size_t n = 0;
    for (int h = -260; h <= 260; h++) {
        float f = (float)(((double)h + 0.5) * (double)scale), low = f, high = f;
        out[n++] = f;
        for (int ulp = 0; ulp < 3; ulp++) {
            out[n++] = low = nextafterf(low, -INFINITY);
            out[n++] = high = nextafterf(high, INFINITY);
        }
    }
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) out[n++] = ends[i];
    for (unsigned h = 0; h < 65536; h++) out[n++] = widen(h);
    return n;
}

enum { HARD = 521 * 7 + 11 + 65536, PAIRS = 65536 + 3 };

/* Memory of one self-test. */
struct work {
    struct clq_kernels reference;
    float f[HARD];
    unsigned char a[PAIRS], b[PAIRS], expected[4 * HARD];
};

static clq_status test_quantize(struct clq_cl *cl, struct work *w, bool to_signed, struct clq_error *err)
{
    static const float scales[] = {0.05f, 1.0f / 127.5f, 0.37f, 1.0f, 0x1.fffffep-3f, 0x1p-30f, 0x1.8p40f};
    static const int32_t zero_points[] = {0, 128, 255, 3};
    for (size_t i = 0; i < clq_cl_cases(cl, sizeof scales / sizeof *scales); i++) {
        struct clq_cl_trial t;
        const size_t n = hard_floats(w->f, scales[i]) - i; /* all kinds of tails */
        struct clq_quantize_args q = {w->f, w->expected, n, scales[i], zero_points[i % 4] - (to_signed ? 128 : 0), false};
        if (to_signed) w->reference.quantize_f32_s8(&q);
        else w->reference.quantize_f32_u8(&q);
        clq_status st = clq_cl_trial_begin(&t, cl, w->f, n * sizeof(float), NULL, 0, n, err);
        if (st == CLQ_OK) st = clq_cl_quantize(cl, to_signed, &q, &t.io, err);
        CLQ_TRY(clq_cl_trial_end(&t, st, w->expected, n, "quantize", err));
    }
    return CLQ_OK;
}

static clq_status test_dequantize(struct clq_cl *cl, struct work *w, bool from_signed, struct clq_error *err)
{
    static const float scales[] = {0.05f, 1.0f / 127.5f, 0.37f, 0x1.fffffep-3f, 0x1p-32f, 0x1.8p40f};
    for (size_t i = 0; i < 16 * 16 + 5; i++) w->a[i] = (unsigned char)i;
    for (size_t i = 0; i < clq_cl_cases(cl, sizeof scales / sizeof *scales); i++) {
        struct clq_cl_trial t;
        const size_t n = 16 * 16 + 5 - i;
        const int32_t zero_point = from_signed ? (int32_t)(i * 51) - 128 : (int32_t)(i * 51);
        struct clq_dequantize_args d = {w->a, (float *)(void *)w->expected, n, scales[i], zero_point, false};
        if (from_signed) w->reference.dequantize_s8_f32(&d);
        else w->reference.dequantize_u8_f32(&d);
        clq_status st = clq_cl_trial_begin(&t, cl, w->a, n, NULL, 0, n * sizeof(float), err);
        if (st == CLQ_OK) st = clq_cl_dequantize(cl, from_signed, &d, &t.io, err);
        CLQ_TRY(clq_cl_trial_end(&t, st, w->expected, n * sizeof(float), "dequantize", err));
    }
    return CLQ_OK;
}

static clq_status test_minmax(struct clq_cl *cl, struct work *w, struct clq_error *err)
{
    const size_t all = hard_floats(w->f, 0.37f), sizes[] = {all, all - 1, 1, 17};
    for (size_t i = 0; i < clq_cl_cases(cl, sizeof sizes / sizeof *sizes); i++) {
        struct clq_minmax_args want = {.x = w->f, .n = sizes[i], .min = INFINITY, .max = -INFINITY}, got = want;
        w->reference.minmax_f32(&want);
        CLQ_TRY(clq_cl_minmax(cl, &got, NULL, err));
        if (memcmp(&want.min, &got.min, sizeof want.min) || memcmp(&want.max, &got.max, sizeof want.max) ||
            want.n_nan != got.n_nan || want.n_pos_inf != got.n_pos_inf || want.n_neg_inf != got.n_neg_inf)
            return clq_fail(err, CLQ_ERR_NUMERIC, "self-test minmax: n=%zu gives %g..%g, expected %g..%g", sizes[i],
                            (double)got.min, (double)got.max, (double)want.min, (double)want.max);
    }
    return CLQ_OK;
}

static clq_status test_histogram(struct clq_cl *cl, struct work *w, struct clq_error *err)
{
    enum { BINS = 1024 };
    static const int exponents[] = {128, 16, -3};
    const size_t n = hard_floats(w->f, 0.37f);
    for (size_t i = 0; i < clq_cl_cases(cl, sizeof exponents / sizeof *exponents); i++) {
        uint64_t want[2][BINS] = {{0}}, got[2][BINS] = {{0}};
        for (size_t j = 0; j < n; j++)
            if (isfinite(w->f[j]) && fabsf(w->f[j]) >= ldexpf(1.0f, exponents[i])) w->f[j] = 0.0f;
        struct clq_histogram_args h = {w->f, n - i, exponents[i], 10, want[0], want[1]};
        w->reference.histogram_f32(&h);
        h.positive = got[0];
        h.negative = got[1];
        CLQ_TRY(clq_cl_histogram(cl, &h, NULL, err));
        if (memcmp(want, got, sizeof want) != 0)
            return clq_fail(err, CLQ_ERR_NUMERIC, "self-test histogram: counts differ at exponent %d", exponents[i]);
    }
    return CLQ_OK;
}

static clq_status test_binary(struct clq_cl *cl, struct work *w, bool multiply, struct clq_error *err)
{
    static const struct {
        float a, b, y;
        int32_t za, zb, zy, lo, hi;
    } cases[] = {{0.05f, 0.037f, 0.11f, 128, 3, 77, 0, 255},
                 {1.0f, 0.5f, 1.0f, 0, 255, 128, 0, 255},
                 {0.3f, 0.3f, 0.1f, 12, 200, 0, 0, 64},
                 {0x1p-30f, 0x1.2p20f, 0x1.7p18f, 1, 2, 255, 9, 255}};
    for (size_t i = 0; i < PAIRS; i++) {
        w->a[i] = (unsigned char)i;
        w->b[i] = (unsigned char)(i >> 8);
    }
    for (size_t i = 0; i < clq_cl_cases(cl, sizeof cases / sizeof *cases); i++) {
        struct clq_cl_trial t;
        struct clq_binary_u8_args q = {w->a,       w->b,        w->expected, PAIRS - i,   cases[i].a,  cases[i].b,
                                       cases[i].y, cases[i].za, cases[i].zb, cases[i].zy, cases[i].lo, cases[i].hi};
        if (multiply) w->reference.mul_u8(&q);
        else w->reference.add_u8(&q);
        clq_status st = clq_cl_trial_begin(&t, cl, w->a, q.n, w->b, q.n, q.n, err);
        if (st == CLQ_OK) st = multiply ? clq_cl_mul(cl, &q, &t.io, err) : clq_cl_add(cl, &q, &t.io, err);
        CLQ_TRY(clq_cl_trial_end(&t, st, w->expected, q.n, multiply ? "mul" : "add", err));
    }
    return CLQ_OK;
}

static clq_status test_lut(struct clq_cl *cl, struct work *w, struct clq_error *err)
{
    struct clq_cl_trial t;
    unsigned char table[256];
    clq_cl_random_bytes(w->a, 5003, 7);
    clq_cl_random_bytes(table, sizeof table, 8);
    struct clq_lut_args l = {w->a, w->expected, 5003, table};
    w->reference.lut_u8(&l);
    clq_status st = clq_cl_trial_begin(&t, cl, w->a, l.n, table, sizeof table, l.n, err);
    if (st == CLQ_OK) st = clq_cl_lut(cl, &l, &t.io, err);
    return clq_cl_trial_end(&t, st, w->expected, l.n, "lut", err);
}

static clq_status test_pool(struct clq_cl *cl, struct work *w, bool average, struct clq_error *err)
{
    static const struct clq_pool_args cases[] = {
        {2, 7, 5, 19, 4, 3, 3, 3, 2, 2, 1, 1, 1, 1, NULL, NULL, 0.05f, 0.043f, 17, 99, false, 0, 8},
        {1, 6, 6, 37, 4, 4, 3, 3, 1, 1, 0, 0, 1, 1, NULL, NULL, 0.3f, 0.3f, 128, 0, false, 1, 3},
        {1, 9, 8, 4, 5, 6, 3, 2, 2, 1, 2, 0, 2, 2, NULL, NULL, 1.0f, 0.37f, 255, 255, true, 0, 5},
        {3, 7, 7, 64, 1, 1, 7, 7, 1, 1, 0, 0, 1, 1, NULL, NULL, 0.02f, 0.013f, 3, 5, false, 0, 3},
    };
    clq_cl_random_bytes(w->a, sizeof w->a, 9);
    for (size_t i = 0; i < clq_cl_cases(cl, sizeof cases / sizeof *cases); i++) {
        struct clq_cl_trial t;
        struct clq_pool_args p = cases[i];
        const size_t in = p.batch * p.h * p.w * p.c, row = p.ow * p.c, out = p.batch * p.oh * row;
        p.x = w->a;
        p.y = w->expected;
        if (average) w->reference.avgpool_u8(&p);
        else w->reference.maxpool_u8(&p);
        clq_status st = clq_cl_trial_begin(&t, cl, w->a, in, NULL, 0, out, err);
        memset(w->b, 0x5a, out);
        memcpy(w->b + p.row_begin * row, w->expected + p.row_begin * row, (p.row_end - p.row_begin) * row);
        memset(w->expected, 0x5a, out);
        if (st == CLQ_OK) st = clq_cl_upload(cl, &t.y, w->expected, out, err);
        if (st == CLQ_OK) st = average ? clq_cl_avgpool(cl, &p, &t.io, err) : clq_cl_maxpool(cl, &p, &t.io, err);
        CLQ_TRY(clq_cl_trial_end(&t, st, w->b, out, average ? "avgpool" : "maxpool", err));
    }
    return CLQ_OK;
}

static clq_status run(struct clq_cl *cl, struct work *w, enum clq_cl_family family, struct clq_error *err)
{
    switch (family) {
    case CLQ_CL_QUANTIZE_U8: return test_quantize(cl, w, false, err);
    case CLQ_CL_QUANTIZE_S8: return test_quantize(cl, w, true, err);
    case CLQ_CL_DEQUANTIZE_U8: return test_dequantize(cl, w, false, err);
    case CLQ_CL_DEQUANTIZE_S8: return test_dequantize(cl, w, true, err);
    case CLQ_CL_MINMAX: return test_minmax(cl, w, err);
    case CLQ_CL_HISTOGRAM: return test_histogram(cl, w, err);
    case CLQ_CL_ADD: return test_binary(cl, w, false, err);
    case CLQ_CL_MUL: return test_binary(cl, w, true, err);
    case CLQ_CL_LUT: return test_lut(cl, w, err);
    case CLQ_CL_MAXPOOL: return test_pool(cl, w, false, err);
    case CLQ_CL_AVGPOOL: return test_pool(cl, w, true, err);
    case CLQ_CL_GEMM:
    case CLQ_CL_GEMV:
    case CLQ_CL_FLIP:
    case CLQ_CL_CONV:
    case CLQ_CL_GROUPED:
    case CLQ_CL_DEPTHWISE: return clq_cl_selftest_product(cl, family, err);
    case CLQ_CL_GEMM_U4:
    case CLQ_CL_GEMV_U4:
    case CLQ_CL_GEMM_U4_GROUPED:
    case CLQ_CL_GEMM_U4_REAL: return clq_cl_selftest_u4(cl, family, err);
    case CLQ_CL_FAMILIES: break;
    }
    return clq_fail(err, CLQ_ERR_INTERNAL, "OpenCL: no self-test for family %d", (int)family);
}

clq_status clq_cl_selftest(struct clq_cl *cl, enum clq_cl_family family, struct clq_error *err)
{
    struct work *w = calloc(1, sizeof *w);
    if (!w) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "OpenCL self-test: out of memory");
    clq_kernels_init(&w->reference, 0);
    clq_status st = run(cl, w, family, err);
    free(w);
    return st;
}
